#!/usr/bin/env bats
# shellcheck shell=bash disable=SC2154
# Ten thousand offers that change, vanish and come back at once, while the kernel has them cached.

load lib

N=10000

setup() { common_setup; }
teardown() {
	touch "$T/stop"
	wait
	common_teardown
}

market() {
	gpufs_start -o synthetic_offers=$N,synthetic_seed=7,providers_local_enabled=no "$@"
	until_true 60 counts $N
}
counts() { [ "$(cat "$M/search/all/count")" = "$1" ]; }
# prices: "ID PRICE" of each offer, as search/ says: that is never cached.
prices() { cut -f 1,7 "$M/search/all/table.tsv" | grep -v '^#' | tr '\t' ' ' | LC_ALL=C sort; }
# read_prices: the same from the files of inventory/.
read_prices() { (cd "$M/inventory" && grep -H . ./*/price_per_hour | sed 's,^\./,,; s,/price_per_hour:, ,') | LC_ALL=C sort; }
refresh() { echo refresh >"$M/ctl"; }
moved() { ! prices | cmp -s - "$1"; }
mtime() { stat -c %.9Y "$@"; }
inv() { printf '%s/inventory/synthetic-%s/%s' "$M" "$1" "$2"; }

@test "after a refresh every file that is opened has the new price, cached or not" {
	market -o synthetic_churn=1000
	local old o same
	prices >"$T/p0"
	is $N "$(wc -l <"$T/p0")"
	read_prices | cmp - "$T/p0" # into the kernel's cache
	cat "$M"/inventory/*/info >/dev/null
	old=$(mtime "$(inv 100000 price_per_hour)")
	same=$(mtime "$(inv 100000 vram_gb)")
	exec 4<"$(inv 100001 price_per_hour)"
	for o in 1 2 3; do
		refresh
		until_true 60 moved "$T/p$((o - 1))"
		# At once, while the kernel is still being told of tens of thousands of files.
		prices >"$T/p$o"
		read_prices | cmp - "$T/p$o"
	done
	[ "$(join "$T/p0" "$T/p3" | awk '$2 != $3' | wc -l)" -gt $((N / 2)) ]
	is "$(inv_price 100002)" "$(sed -n 's/^price_per_hour //p' "$(inv 100002 info)")"
	newer() { [[ "$(mtime "$1")" > "$2" ]]; }
	until_true 60 newer "$(inv 100000 price_per_hour)" "$old"
	is "$(stat -c %s "$(inv 100000 price_per_hour)")" "$(wc -c <"$(inv 100000 price_per_hour)")"
	is "$same" "$(mtime "$(inv 100000 vram_gb)")"
	# A descriptor that is open all the time follows as well.
	follows() { is "$(inv_price 100001)" "$(python3 -c "import os; print(os.pread(4, 99, 0).decode().strip())")"; }
	until_true 60 follows
	exec 4<&-
}
inv_price() { sed -n "s/^synthetic-$1 //p" "$T/p3"; }

@test "an open has the new price even before the kernel was told of all of them" {
	market -o synthetic_churn=1000
	read_prices >/dev/null
	cat >"$T/race" <<'PY'
import os, sys
gpu = sys.argv[1]
last = [f"synthetic-{n}" for n in range(109900, 110000)]  # the kernel is told in order of the names

def prices():
    with open(f"{gpu}/search/all/table.tsv") as f:
        rows = [line.split("\t") for line in f]
    return {r[0]: r[6] for r in rows[1:]}

def price(offer):
    with open(f"{gpu}/inventory/{offer}/price_per_hour") as f:
        return f.read().strip()

def market():
    return os.stat(f"{gpu}/search/all/count").st_mtime_ns  # never cached

wrong = 0
for _ in range(10):
    before = prices()
    assert all(price(o) == before[o] for o in last)  # cached
    old = market()
    with open(f"{gpu}/ctl", "w") as f:
        f.write("refresh\n")
    while market() == old:
        pass
    read = {o: price(o) for o in last}
    now = prices()
    assert now != before
    wrong += sum(read[o] != now[o] for o in last)
print(wrong)
PY
	is 0 "$(python3 "$T/race" "$M")"
}

@test "stat alone sees a newer mtime and the right size soon" {
	market -o synthetic_churn=1000
	local all=("$M"/inventory/*/price_per_hour)
	is $N "${#all[@]}"
	attributes() { find "$M/inventory" -name price_per_hour -printf '%h %s %T@\n' | sed 's,.*/,,' | LC_ALL=C sort; }
	attributes >"$T/a0"
	prices >"$T/p0"
	refresh
	until_true 60 moved "$T/p0"
	prices >"$T/p1"
	# Of every offer whose price is another one: a newer mtime, and the size of the new text.
	join "$T/p0" "$T/p1" | awk '$2 != $3 {print $1, length($3) + 1}' >"$T/wanted"
	join "$T/p0" "$T/p1" | awk '$2 == $3 {print $1}' >"$T/kept"
	[ "$(wc -l <"$T/wanted")" -gt $((N / 2)) ]
	follow() {
		attributes >"$T/a1"
		join "$T/a0" "$T/a1" | awk '$5 > $3 {print $1, $4}' | cmp - "$T/wanted"
	}
	until_true 60 follow
	join "$T/kept" "$T/a0" | cmp - <(join "$T/kept" "$T/a1")
}

@test "ten thousand offers that vanish and come back: names, inodes, and who reads on" {
	market
	local o=$M/inventory/synthetic-100000 ino i old
	ino=$(stat -c %i "$o" "$o/info")
	old=$(mtime "$o/info")
	cat "$M"/inventory/*/info >"$T/info"
	find "$M/inventory" >"$T/names"
	is $((17 * N + N + 1)) "$(wc -l <"$T/names")"
	exec 4<"$o/info" 5<"$M/inventory/synthetic-105000/gpu_type"
	cat "$o/gpu_count" >"$T/before"
	for i in 1 2; do
		echo 0 >"$M/providers/synthetic/enabled"
		until_true 60 counts 0
		is "" "$(ls "$M/inventory")"
		is "ENOENT open" "$(probe_open "$o/price_per_hour")"
		vanished() { [ ! -e "$o" ] && [ ! -e "$M/inventory/synthetic-109999" ]; }
		until_true 60 vanished
		[ -n "$(python3 -c "import os; print(os.pread(5, 99, 0).decode().strip())")" ]
		echo 1 >"$M/providers/synthetic/enabled"
		refresh
		until_true 60 counts $N
		is $N "$(find "$M/inventory" -mindepth 1 -maxdepth 1 | wc -l)"
		is "$ino" "$(stat -c %i "$o" "$o/info")"
		cat "$M"/inventory/*/info | cmp - "$T/info"
	done
	find "$M/inventory" | cmp - "$T/names"
	newer() { [[ "$(mtime "$o/info")" > "$old" ]]; }
	until_true 60 newer
	grep -q '^gpu_type ' <&4
	exec 4<&- 5<&-
}
probe_open() { python3 -c 'import errno, os, sys
try:
    os.open(sys.argv[1], os.O_RDONLY)
    print("ok")
except OSError as e:
    print(errno.errorcode[e.errno], "open")' "$1"; }

@test "readers of the tables see whole markets while prices change" {
	market -o synthetic_churn=100
	local r
	cat >"$T/reader" <<'SH'
while [ ! -e "$T/stop" ]; do
	awk -F '\t' 'NF != 16 {bad = 1} END {exit bad || NR != ENVIRON["N"] + 1}' "$M/search/all/table.tsv" || echo table.tsv
	[ "$(wc -l < "$M/search/all/offers.json")" = "$N" ] || echo offers.json
	[ -d "$M/search/gpu=RTX_4090,min_vram=$((RANDOM % 24))/best/" ] || echo best
	echo done >&2
done
SH
	export N
	for r in 1 2 3 4 5 6; do
		bash "$T/reader" >>"$T/wrong" 2>"$T/done.$r" &
	done
	for _ in 1 2 3 4 5; do
		prices >"$T/p"
		refresh
		until_true 60 moved "$T/p"
	done
	all_read() { for r in 1 2 3 4 5 6; do [ -s "$T/done.$r" ] || return 1; done; }
	until_true 120 all_read
	touch "$T/stop"
	wait
	is "" "$(cat "$T/wrong")"
}
