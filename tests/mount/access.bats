#!/usr/bin/env bats
# shellcheck shell=bash
# Who may see and do what: two real users, a colleague in the same group, and root.

load lib

setup() { common_setup; }
teardown() { common_teardown; }

@test "a session belongs to its maker: another user can neither look nor act" {
	gpufs_start
	buy x
	local s=$M/sessions/x f
	is gpufs-alice:gpufs-alice:750 "$(stat -c %U:%G:%a "$s")"
	for f in state reason info info.json spec ctl log ssh/key ssh/config env wait/ready watch/events; do
		is "EACCES open" "$(bob_probe call open "$s/$f")"
	done
	for f in spec ctl remaining protect hold; do
		is "EACCES open" "$(bob_probe call open "$s/$f" w)"
	done
	is "EACCES listdir" "$(bob_probe call listdir "$s")"
	is "EPERM rmdir" "$(bob_probe call rmdir "$s")"
	is "EPERM rename" "$(bob_probe call rename "$s" "$M/sessions/mine")"
	is "EPERM chmod" "$(bob_probe call chmod "$s" 777)"
	is running "$(val x state)"
	is 750 "$(stat -c %a "$s")"
	# The name is visible, as in any directory, and in use.
	bob ls "$M/sessions" | grep -qx x
	is "EEXIST mkdir" "$(bob_probe call mkdir "$s")"
}

@test "a colleague in the same group may look, and act only after chmod g+w" {
	gpufs_start
	buy x
	local s=$M/sessions/x
	is running "$(colleague cat "$s/state")"
	colleague cat "$s/info" | grep -qx 'state running'
	is running "$(colleague timeout 20 cat "$s/wait/ready")"
	is "EACCES open" "$(colleague_probe call open "$s/spec")"
	is "EACCES open" "$(colleague_probe call open "$s/spec" w)"
	is "EACCES open" "$(colleague_probe call open "$s/ctl" w)"
	is "EACCES open" "$(colleague_probe call open "$s/ssh/key")"
	is "EACCES open" "$(colleague_probe call open "$s/env")"
	alice chmod g+w "$s"
	is 770 "$(stat -c %a "$s")"
	is 660 "$(stat -c %a "$s/remaining")"
	is 220 "$(stat -c %a "$s/ctl")"
	is "offer=local-cpu" "$(colleague head -n 1 "$s/spec")"
	colleague sh -c "echo 10000 > '$s/remaining'"
	[ "$(val x remaining)" -gt 9000 ]
	# Secrets stay the owner's, and the directory is in a sticky one.
	is "EACCES open" "$(colleague_probe call open "$s/ssh/key")"
	is "EACCES open" "$(colleague_probe call open "$s/env")"
	is "EPERM rmdir" "$(colleague_probe call rmdir "$s")"
	is "EACCES open" "$(bob_probe call open "$s/ctl" w)"
	alice chmod g-w "$s"
	is "EACCES open" "$(colleague_probe call open "$s/ctl" w)"
	alice chmod g+w "$s"
	colleague sh -c "echo destroy > '$s/ctl'"
	until_true 30 grep -qx stopped "$s/state"
	grep -q gpufs-bob "$s/reason"
}

@test "mkdir -m: less than 0750 is kept, more is only the owner's chmod" {
	gpufs_start
	alice mkdir -m 700 "$M/sessions/a"
	is 700 "$(stat -c %a "$M/sessions/a")"
	is "EACCES open" "$(colleague_probe call open "$M/sessions/a/state")"
	is ok "$(alice_probe call mkdir "$M/sessions/b" 777)"
	is 750 "$(stat -c %a "$M/sessions/b")"
	# It is kept across a restart, like all of it.
	alice chmod 755 "$M/sessions/b"
	gpufs_stop
	gpufs_start
	is 700 "$(stat -c %a "$M/sessions/a")"
	is 755 "$(stat -c %a "$M/sessions/b")"
}

@test "secrets are 0400, ctl is 0200 and cannot be read by root either" {
	gpufs_start
	buy x
	local f
	for f in ssh/key env; do is 400 "$(stat -c %a "$M/sessions/x/$f")"; done
	is 200 "$(stat -c %a "$M/sessions/x/ctl")"
	is "EACCES open" "$(probe call open "$M/sessions/x/ctl")"
	is "EACCES open" "$(probe call open "$M/sessions/x/ctl" rw)"
	is "EACCES open" "$(probe call open "$M/ctl")"
	is "EACCES open" "$(probe call open "$M/sessions/x/state" w)"
	is "EACCES open" "$(probe call open "$M/version" w)"
	is "EACCES open" "$(alice_probe call open "$M/counters")"
	is "EACCES open" "$(alice_probe call open "$M/ctl" w)"
	# No secret is in anything that others may read.
	alice sed -n 2p "$M/sessions/x/ssh/key" >"$T/secret"
	[ -s "$T/secret" ]
	no grep -rqFf "$T/secret" "$M/sessions/x" --exclude-dir=ssh
	no grep -qFf "$T/secret" "$M/sessions/x/ssh/config" "$M/sessions/x/ssh/command"
}

@test "sessions_access: owner, group and all decide who may mkdir" {
	gpufs_start
	is 1777 "$(stat -c %a "$M/sessions")" # auto: every provider is free of charge
	is ok "$(bob_probe call mkdir "$M/sessions/b")"
	gpufs_stop
	gpufs_start -o sessions_access=owner:gpufs-alice
	is gpufs-alice:1755 "$(stat -c %U:%a "$M/sessions")"
	is ok "$(alice_probe call mkdir "$M/sessions/a1")"
	is "EACCES mkdir" "$(bob_probe call mkdir "$M/sessions/b1")"
	gpufs_stop
	gpufs_start -o sessions_access=owner
	is root:1755 "$(stat -c %U:%a "$M/sessions")"
	is "EACCES mkdir" "$(alice_probe call mkdir "$M/sessions/a2")"
	is ok "$(probe call mkdir "$M/sessions/r")"
	gpufs_stop
	gpufs_start -o sessions_access=group:gpufs-alice
	is root:gpufs-alice:3775 "$(stat -c %U:%G:%a "$M/sessions")"
	is ok "$(alice_probe call mkdir "$M/sessions/a3")"
	is ok "$(colleague_probe call mkdir "$M/sessions/c")"
	is "EACCES mkdir" "$(bob_probe call mkdir "$M/sessions/b3")"
	gpufs_stop
	gpufs_start -o sessions_access=all
	is 1777 "$(stat -c %a "$M/sessions")"
	is ok "$(bob_probe call mkdir "$M/sessions/b4")"
	# Sessions of earlier settings are all there, each still its maker's.
	is gpufs-bob "$(stat -c %U "$M/sessions/b")"
	is gpufs-alice "$(stat -c %U "$M/sessions/a1")"
	is root "$(stat -c %U "$M/sessions/r")"
}

@test "admin_group: its members may give orders to gpufs, others may not" {
	gpufs_start -o admin_group=gpufs-bob
	is root:gpufs-bob:220 "$(stat -c %U:%G:%a "$M/ctl")"
	is root:gpufs-bob:664 "$(stat -c %U:%G:%a "$M/providers/local/enabled")"
	is "EACCES open" "$(alice_probe call open "$M/ctl" w)"
	is ok "$(echo drain | bob_probe write "$M/ctl")"
	draft x
	is "EROFS write" "$(put x 'offer=local-cpu hours=1 commit\n')"
	is ok "$(echo undrain | bob_probe write "$M/ctl")"
	is "EINVAL write" "$(echo dance | bob_probe write "$M/ctl")"
	bob cat "$M/error" | grep -q 'ctl EINVAL'
	bob sh -c "echo 0 > '$M/providers/local/enabled'"
	is 0 "$(cat "$M/providers/local/enabled")"
	is "EHOSTUNREACH write" "$(put x 'offer=local-cpu hours=1 commit\n')"
	bob sh -c "echo 1 > '$M/providers/local/enabled'"
	is ok "$(put x 'offer=local-cpu hours=1 commit\n')"
}

@test "list shows each reader what that reader may see" {
	gpufs_start
	buy a
	bob mkdir "$M/sessions/b"
	is a "$(alice cut -f1 "$M/list" | grep -v '^#')"
	is b "$(bob cut -f1 "$M/list" | grep -v '^#')"
	is "a b" "$(cut -f1 "$M/list" | grep -v '^#' | xargs)"
	alice chmod o+rx "$M/sessions/a"
	is "a b" "$(bob cut -f1 "$M/list" | grep -v '^#' | xargs)"
	alice chmod o-rx "$M/sessions/a"
	is b "$(bob cut -f1 "$M/list" | grep -v '^#')"
	is "running local CPU 0.00" "$(alice awk '$1 == "a" {print $2, $3, $4, $5}' "$M/list")"
	# Nobody's at all: an empty file, without a header.
	alice rmdir "$M/sessions/a"
	is 0 "$(alice stat -c %s "$M/list")"
}

@test "error holds the reader's own last refusal, with time, path, errno and sentence" {
	gpufs_start
	[ ! -s "$M/error" ]
	is "EINVAL mkdir" "$(alice_probe call mkdir "$M/sessions/bad name")"
	[[ "$(alice cat "$M/error")" =~ ^20[0-9-]+T[0-9:]+Z\ "$M/sessions/bad name EINVAL: " ]]
	is 0 "$(bob stat -c %s "$M/error")"
	is "EINVAL stat" "$(bob_probe call stat "$M/search/max_price=cheap")"
	bob cat "$M/error" | grep -q 'search/max_price=cheap EINVAL: '
	alice cat "$M/error" | grep -q 'bad name'
}

@test "per-reader files show no other user's bytes, through mmap neither" {
	gpufs_start
	buy a
	bob mkdir "$M/sessions/b"
	alice_probe call mkdir "$M/sessions/alice bad"
	bob_probe call mkdir "$M/sessions/bob bad"
	local i f
	for i in 1 2 3; do
		for f in list error; do
			alice_probe mmap "$M/$f" >"$T/a.$f"
			bob_probe mmap "$M/$f" >"$T/b.$f"
		done
		alice cat "$M/ssh_config" >"$T/a.ssh"
		bob cat "$M/ssh_config" >"$T/b.ssh"
		grep -q 'alice bad' "$T/a.error"
		no grep -q 'bob bad' "$T/a.error"
		grep -q 'bob bad' "$T/b.error"
		no grep -q 'alice bad' "$T/b.error"
		grep -q '^a	' "$T/a.list"
		no grep -q '^b	' "$T/a.list"
		grep -q '^b	' "$T/b.list"
		no grep -q '^a	' "$T/b.list"
		grep -q '^Host a.gpu' "$T/a.ssh"
		[ ! -s "$T/b.ssh" ]
	done
	# Each reader's is a file of its own.
	[ "$(alice stat -c %i "$M/list")" != "$(bob stat -c %i "$M/list")" ]
}

@test "ssh_config has the reader's own running sessions, and ssh accepts it" {
	gpufs_start
	buy x
	draft y
	is "Host x.gpu" "$(alice grep ^Host "$M/ssh_config")"
	is 0 "$(stat -c %s "$M/ssh_config")"
	is root "$(stat -c %U "$M/ssh_config")"
	run alice ssh -F "$M/ssh_config" x.gpu id -un
	is gpufs-alice "$output"
	mkdir -m 777 "$T/home"
	alice sh -c "echo 'Include $M/ssh_config' > '$T/home/config'"
	run alice ssh -F "$T/home/config" x.gpu id -un
	is gpufs-alice "$output"
	alice rmdir "$M/sessions/x"
	is 0 "$(alice stat -c %s "$M/ssh_config")"
}

@test "history is its owner's: last/NAME and history/ID tell nobody else anything" {
	gpufs_start
	buy x
	local id
	id=$(val x id)
	alice rmdir "$M/sessions/x"
	alice timeout 30 cat "$M/history/last/x/wait/gone" >"$T/receipt"
	is "$(cat "$T/receipt")" "$(alice cat "$M/history/$id/receipt")"
	is x "$(alice ls "$M/history/last")"
	is x "$(ls "$M/history/last")"
	is "" "$(bob ls "$M/history/last")"
	is "ENOENT stat" "$(bob_probe call stat "$M/history/last/x")"
	is "ENOENT readlink" "$(bob_probe call readlink "$M/history/last/x")"
	is "EACCES listdir" "$(bob_probe call listdir "$M/history/$id")"
	is "EACCES open" "$(bob_probe call open "$M/history/$id/receipt")"
	is "EACCES open" "$(bob_probe call open "$M/history/$id/wait/gone")"
	is 550 "$(stat -c %a "$M/history/$id")"
	# bob's own life of the same name is his, and alice's stays hers.
	bob mkdir "$M/sessions/x"
	bob sh -c "echo 'offer=local-cpu hours=1' > '$M/sessions/x/spec'"
	bob timeout 60 cat "$M/sessions/x/wait/ready"
	bob rmdir "$M/sessions/x"
	bob timeout 30 cat "$M/history/last/x/wait/gone" | grep -qx 'ordered_by gpufs-bob'
	is "../$id" "$(alice readlink "$M/history/last/x")"
	[ "$(readlink "$M/history/last/x")" != "../$id" ] # root: the newest of all
	# Nothing in history can be changed, by its owner neither.
	is "EPERM chmod" "$(alice_probe call chmod "$M/history/$id" 777)"
	is "EACCES open" "$(alice_probe call open "$M/history/$id/state" w)"
	[ "$(alice_probe call rmdir "$M/history/$id")" != ok ]
	is "EPERM rmdir" "$(probe call rmdir "$M/history/$id")"
}

@test "chmod, chown, touch and truncate change nothing that they must not" {
	gpufs_start
	draft x
	local s=$M/sessions/x f
	is "EPERM chmod" "$(alice_probe call chmod "$s/state" 777)"
	is "EPERM chmod" "$(alice_probe call chmod "$s/ssh/key" 644)"
	is "EPERM chmod" "$(alice_probe call chmod "$s/ssh" 777)"
	is "EPERM chmod" "$(probe call chmod "$M/inventory" 777)"
	is "EPERM chmod" "$(probe call chmod "$M" 777)"
	is "EPERM chown" "$(probe call chown "$s" 0 0)"
	is "EPERM chown" "$(alice_probe call chown "$s" "$(id -u gpufs-bob)" -1)"
	is "EPERM chown" "$(probe call chown "$M/version" 1 1)"
	is "EPERM utime" "$(alice_probe call utime "$s/state")"
	is "EPERM utime" "$(probe call utime "$M/version")"
	is ok "$(alice_probe call utime "$s/spec")"
	for f in state info version; do
		[ -e "$s/$f" ] || continue
		[[ "$(alice_probe call truncate "$s/$f" 0)" =~ ^(EACCES|EPERM)\ truncate$ ]]
	done
	is "EPERM truncate" "$(probe call truncate "$M/version" 0)"
	grep -q 'read-only' "$M/error"
	is gpufs-alice:750 "$(stat -c %U:%a "$s")"
}
