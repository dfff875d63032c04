#!/usr/bin/env bats
# shellcheck shell=bash
# What the kernel caches follows every change, and costs nothing while nothing changes.

load lib

setup() { common_setup; }
teardown() { common_teardown; }

count() { awk -v o="$1" '$1 == o {print $2}' "$2"; }
# newer FILE MTIME: FILE changed since then.
newer() { [[ "$(mtime "$1")" > "$2" ]] || { echo "$1: mtime $(mtime "$1"), not newer than $2"; return 1; }; }
mtime() { stat -c %.9Y "$1"; }

@test "a value that changes is seen at once, with a newer mtime and the right size" {
	gpufs_start
	draft x
	local f id s=$M/sessions/x
	for f in provider instance_id running_at ssh/port ssh/key price_per_hour; do
		alice cat "$s/$f" >/dev/null # into the kernel's cache, unknown yet
		mtime "$s/$f" >"$T/${f//\//_}"
	done
	is 0 "$(stat -c %s "$s/provider")"
	id=$(mtime "$s/id")
	is ok "$(put x 'offer=local-cpu hours=2\n')"
	ready x
	for f in provider instance_id running_at ssh/port ssh/key price_per_hour; do
		[ -n "$(cat "$s/$f")" ]
		is "$(stat -c %s "$s/$f")" "$(wc -c <"$s/$f")"
		newer "$s/$f" "$(cat "$T/${f//\//_}")"
	done
	is local "$(cat "$s/provider")"
	# What did not change kept its mtime.
	is "$id" "$(mtime "$s/id")"
	[[ "$id" < "$(mtime "$s/ssh/port")" ]]
}

@test "a new value of the same length is seen, also through a descriptor that is open" {
	gpufs_start -o auto_commit=no
	draft x
	local i old new
	is ok "$(put x 'label=one00\n')"
	exec 4<"$M/sessions/x/label"
	for i in 1 2 3 4 5 6 7 8; do
		old=$(mtime "$M/sessions/x/label")
		is ok "$(put x "label=one0$i\n")"
		is "one0$i" "$(cat "$M/sessions/x/label")"
		is "one0$i" "$(alice cat "$M/sessions/x/label")"
		is "one0$i" "$(python3 -c "import os; print(os.pread(4, 99, 0).decode().strip())")"
		new=$(mtime "$M/sessions/x/label")
		[[ "$new" > "$old" ]]
	done
	exec 4<&-
	is ok "$(put x 'label=a-much-longer-label\n')"
	is a-much-longer-label "$(cat "$M/sessions/x/label")"
	is ok "$(put x 'hours=1\n')"
	is 0 "$(stat -c %s "$M/sessions/x/label")"
	is "" "$(cat "$M/sessions/x/label")"
}

@test "names follow: what is made, renamed and removed is listed and found at once" {
	gpufs_start
	local i
	for i in 1 2 3 4 5; do
		draft "s$i"
		is "s$i" "$(ls "$M/sessions")"
		is ok "$(alice_probe call rename "$M/sessions/s$i" "$M/sessions/t$i")"
		is "t$i" "$(ls "$M/sessions")"
		[ ! -e "$M/sessions/s$i" ]
		is draft "$(val "t$i" state)"
		is ok "$(alice_probe call rmdir "$M/sessions/t$i")"
		is "" "$(ls "$M/sessions")"
		[ ! -e "$M/sessions/t$i/state" ]
	done
}

@test "inode numbers are stable over a restart, and no two things share one" {
	gpufs_start -o synthetic_offers=50,synthetic_seed=7
	buy x
	buy y
	alice rmdir "$M/sessions/y"
	timeout 30 cat "$M/history/last/y/wait/gone" >/dev/null
	inodes() { find "$M" -path "$M/search/*/*" -prune -o -printf '%P %i %y\n' | grep -v '^search/' | LC_ALL=C sort; }
	inodes >"$T/before"
	is "" "$(awk '{print $2}' "$T/before" | sort | uniq -d)"
	[ "$(wc -l <"$T/before")" -gt 900 ]
	gpufs_stop
	gpufs_start -o synthetic_offers=50,synthetic_seed=7
	ready x
	inodes | diff "$T/before" -
}

# sends_none "OPERATIONS" COMMAND...: run it warm; none of these requests may come of it. A kernel that
# reclaims cold pages by itself (DAMON does, on some machines) reads a few again, so one quiet run of
# eight is asked for: what gpufs does wrong would show in each.
sends_none() {
	local ops=$1 op own got try
	shift
	for try in 1 2 3 4 5 6 7 8; do
		cat "$M/counters" >"$T/c0" # reading the counters costs a READ or two: measured first
		cat "$M/counters" >"$T/c1"
		"$@" >"$T/again"
		cat "$M/counters" >"$T/c2"
		cmp "$T/first" "$T/again"
		local quiet=yes
		for op in $ops; do
			own=$(($(count "$op" "$T/c1") - $(count "$op" "$T/c0")))
			got=$(($(count "$op" "$T/c2") - $(count "$op" "$T/c1")))
			[ "$own" = "$got" ] || { quiet=no; echo "run $try: $op: $got, of which $own for the counters"; }
		done
		[ $quiet = no ] || return 0
	done
	return 1
}

@test "a warm grep -r of the inventory sends no LOOKUP, READ or FLUSH" {
	gpufs_start -o synthetic_offers=300,synthetic_seed=7
	grep -r . "$M/inventory" >"$T/first"
	grep -r . "$M/inventory" >/dev/null
	is 301 "$(grep -c '/gpu_type:' "$T/first")"
	sends_none "LOOKUP READ FLUSH" grep -r . "$M/inventory"
	[ $(($(count OPEN "$T/c2") - $(count OPEN "$T/c1"))) -ge 4800 ]
}

@test "a warm ls -lR and find of the inventory send no LOOKUP and no READDIR" {
	gpufs_start -o synthetic_offers=300,synthetic_seed=7
	ls -lR "$M/inventory" >"$T/first"
	ls -lR "$M/inventory" >/dev/null
	sends_none "LOOKUP READDIR READDIRPLUS READ" ls -lR "$M/inventory"
	find "$M/inventory" >"$T/first"
	sends_none "LOOKUP READDIR READDIRPLUS READ" find "$M/inventory"
}

@test "refresh: an offer that is taken changes or leaves, and comes back as the same inode" {
	gpufs_start -o local_max_sessions=1
	local o=$M/inventory/local-cpu ino old
	ino=$(stat -c %i "$o")
	grep -r . "$o" >/dev/null
	is 1 "$(cat "$o/available")"
	is 1 "$(cat "$M/search/all/count")"
	exec 4<"$o/info"
	taken() { echo refresh >"$M/ctl"; [ ! -e "$o" ] || [ "$(cat "$o/available")" = 0 ]; }
	buy x
	until_true 20 taken
	is 0 "$(cat "$M/search/all/count")"
	is "ENOENT readlink" "$(probe call readlink "$M/search/all/best")"
	[ -e "$o" ] || is "" "$(ls "$M/inventory")"
	# Whoever had it open reads on.
	grep -q '^gpu_type CPU' <&4
	exec 4<&-
	draft y
	[[ "$(put y 'offer=local-cpu hours=1 commit\n')" =~ ^(ENOSPC|ENOENT)\ write$ ]]
	alice rmdir "$M/sessions/x"
	timeout 30 cat "$M/history/last/x/wait/gone" >/dev/null
	back() { echo refresh >"$M/ctl"; [ "$(cat "$o/available")" = 1 ]; }
	until_true 20 back
	is 1 "$(cat "$M/search/all/count")"
	is "$ino" "$(stat -c %i "$o")"
	is local-cpu "$(ls "$M/inventory")"
	is ok "$(put y 'offer=local-cpu hours=1 commit\n')"
	ready y
}

@test "ctl refresh PROVIDER takes a provider's name and refuses others" {
	gpufs_start -o synthetic_offers=5
	local before
	before=$(cat "$M/providers/synthetic/calls")
	echo 'refresh synthetic' >"$M/ctl"
	until_true 10 test "$(cat "$M/providers/synthetic/calls")" -gt "$before" || true
	[ "$(cat "$M/providers/synthetic/calls")" -gt "$before" ]
	is "EINVAL write" "$(echo 'refresh nobody' | probe write "$M/ctl")"
	is "EINVAL write" "$(echo 'refresh local synthetic' | probe write "$M/ctl")"
	is "EINVAL write" "$(echo 'frobnicate' | probe write "$M/ctl")"
	grep -q 'ctl EINVAL' "$M/error"
}
