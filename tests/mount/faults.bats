#!/usr/bin/env bats
# shellcheck shell=bash disable=SC2154
# Faults around gpufs: no sshd, a full or stalled disk, a database that is none, bad settings, a mount
# point that cannot be one. Each gives a clear sentence, and none loses or buys a machine.

load lib
load life_lib

setup() {
	common_setup
	SMALL=
}
teardown() {
	rm -f "$T/stall" "$T/full"
	common_teardown
	[ -z "$SMALL" ] || umount -l "$SMALL" 2>/dev/null || true
	rm -rf "$T"
}

# refuses STATUS WORDS... -- COMMAND...: it ends with STATUS and stderr has every WORD.
refuses() {
	local wanted=$1 words=()
	shift
	while [ "$1" != -- ]; do
		words+=("$1")
		shift
	done
	shift
	run "$@"
	[ "$status" -eq "$wanted" ] || { echo "status $status: $output" >&2; return 1; }
	[[ "$output" == gpufs:* ]] || { echo "no sentence: $output" >&2; return 1; }
	for word in "${words[@]}"; do
		[[ "$output" == *"$word"* ]] || { echo "no '$word' in: $output" >&2; return 1; }
	done
	run mountpoint -q "$M"
	[ "$status" -ne 0 ]
}

# echo_as_alice TEXT FILE: bash's echo names the errno; dash says "I/O error" to everything.
echo_as_alice() { alice bash -c 'echo "$1" > "$2"' bash "$1" "$2"; }

# ---- sshd ----

@test "without sshd a session fails with a sentence that says what to install" {
	touch "$T/empty" # not executable: as if it were not there
	# All of it in a private view of the file system in which sshd is hidden.
	run unshare -m bash -ec "
		set -uo pipefail
		BATS_TEST_DIRNAME='$BATS_TEST_DIRNAME'
		source '$BATS_TEST_DIRNAME/lib.bash'
		source '$BATS_TEST_DIRNAME/life_lib.bash'
		for d in /usr/sbin /usr/local/sbin /usr/bin; do
			[ ! -e \$d/sshd ] || mount --bind '$T/empty' \$d/sshd
		done
		GPUFS_BIN='$GPUFS_BIN'
		gpufs_start
		alice mkdir '$M/sessions/x'
		say 'offer=local-cpu hours=1' '$M/sessions/x/spec'
		! alice timeout 60 cat '$M/sessions/x/wait/ready'
		until_true 30 reads sessions/x/state failed
		value sessions/x/reason
		'$GPUFS_BIN' --check -o database_path='$T/other.db' | grep sshd
	" 3>&-
	[ "$status" -eq 0 ] || { echo "$output" >&2; return 1; }
	[[ "$output" == *"sshd is not installed: apt-get install openssh-server"* ]]
	[[ "$output" == *"missing: sessions on this machine cannot start"* ]]
}

@test "an sshd that cannot run fails the session with what it said" {
	mkdir "$T/bin"
	printf '#!/bin/sh\necho "fatal: no entropy left" >&2\nexit 255\n' > "$T/bin/sshd"
	chmod 755 "$T/bin" "$T/bin/sshd"
	PATH=$T/bin:$PATH gpufs_start
	alice mkdir "$M/sessions/x"
	say 'offer=local-cpu hours=1' "$M/sessions/x/spec"
	run alice timeout 60 cat "$M/sessions/x/wait/ready"
	[ "$status" -ne 0 ]
	until_true 30 reads sessions/x/state failed
	alice grep -q 'no entropy left' "$M/sessions/x/reason"
	sshds_are 0
}

@test "an sshd that never listens is given up and nothing of it is left" {
	mkdir "$T/bin"
	slow_sshd "$T/bin/sshd" "$T/never"
	PATH=$T/bin:$PATH gpufs_start
	alice mkdir "$M/sessions/x"
	say 'offer=local-cpu hours=1 ssh_timeout_minutes=1' "$M/sessions/x/spec"
	run alice timeout 120 cat "$M/sessions/x/wait/ready"
	[ "$status" -eq 1 ]
	until_true 30 reads sessions/x/state failed
	[ -s "$M/sessions/x/reason" ]
	sshds_are 0
}

# ---- the disk ----

# small_disk: the state directory is a file system of its own of 24 MB.
small_disk() {
	mkdir "$T/state"
	mount -t tmpfs -o size=24m,mode=0711 tmpfs "$T/state"
	SMALL=$T/state
}
fill() { head -c 64M /dev/zero > "$T/state/filler" 2>/dev/null || true; }

@test "a full disk: mkdir and purchases are EIO with a sentence and buy nothing; reading goes on" {
	small_disk
	gpufs_start
	alice mkdir "$M/sessions/early"
	fill
	# A small row may still fit into pages that are there: so many that it cannot.
	for i in $(seq 400); do
		run alice bash -c 'mkdir "$1"' bash "$M/sessions/d$((i % 90))-$i"
		[ "$status" -eq 0 ] || break
		rmdir "$M/sessions/d$((i % 90))-$i" 2>/dev/null || true
	done
	[ "$status" -ne 0 ]
	[[ "$output" == *"Input/output error"* ]]
	alice grep -q 'database did not take it' "$M/error"
	alice grep -q 'try again when the disk is well' "$M/error"
	run echo_as_alice 'offer=local-cpu hours=1 commit' "$M/sessions/early/spec"
	[ "$status" -ne 0 ]
	[[ "$output" == *"Input/output error"* ]]
	reads sessions/early/state draft
	sshds_are 0
	ls -R "$M" >/dev/null
	# Room again: everything works again, without a restart.
	rm "$T/state/filler"
	say 'offer=local-cpu hours=1 commit' "$M/sessions/early/spec"
	[ "$(alice timeout 60 cat "$M/sessions/early/wait/ready")" = running ]
}

@test "a full disk: rmdir of a running session destroys it and is recorded (the ballast)" {
	small_disk
	gpufs_start
	buy train
	fill
	alice rmdir "$M/sessions/train" || true
	until_true 60 sshds_are 0
	until_true 60 test ! -e "$M/sessions/train"
	[[ "$(gone train)" == *"proof complete"* ]]
	both_killed
	gpufs_start
	[[ "$(gone train)" == *"proof complete"* ]]
	[ ! -e "$M/sessions/train" ]
}

@test "a start on a full disk finds its sessions" {
	small_disk
	gpufs_start
	buy train
	fill
	both_killed
	gpufs_start
	reads sessions/train/state running
	[ "$(on train id -un)" = gpufs-alice ]
	alice rmdir "$M/sessions/train" || true
	until_true 60 sshds_are 0
	[[ "$(gone train)" == *"proof complete"* ]]
}

@test "a disk that refuses until the ballast is dropped still takes the order to destroy" {
	GPUFS_TEST_STORE_FULL=$T/full gpufs_start
	buy train
	touch "$T/full"
	run alice bash -c 'mkdir "$1"' bash "$M/sessions/more"
	[ "$status" -ne 0 ]
	[[ "$output" == *"Input/output error"* ]]
	[ ! -e "$M/sessions/more" ]
	alice rmdir "$M/sessions/train"
	[[ "$(gone train)" == *"proof complete"* ]]
	sshds_are 0
}

@test "a stalled disk: mkdir answers, purchases are EIO after 2 s and buy nothing, ls goes on" {
	GPUFS_TEST_STORE_STALL=$T/stall gpufs_start
	alice mkdir "$M/sessions/early"
	touch "$T/stall"
	before=$(date +%s%N)
	alice mkdir "$M/sessions/x"
	took_ms=$((($(date +%s%N) - before) / 1000000))
	[ "$took_ms" -ge 150 ] # it was the disk's fault: the limit is 200 ms
	run timeout 30 bash -c "$(declare -f as alice echo_as_alice)
		echo_as_alice 'offer=local-cpu hours=1 commit' '$M/sessions/x/spec'"
	[ "$status" -ne 0 ]
	[[ "$output" == *"Input/output error"* ]]
	reads sessions/x/state draft
	alice grep -q 'the database did not take it' "$M/sessions/x/error"
	timeout 20 ls -lR "$M" >/dev/null
	timeout 20 grep -rq local "$M/inventory"
	alice mkdir "$M/sessions/y"
	until_true 20 grep -q 'disk' "$M/alarms"
	rm "$T/stall"
	# The order that was refused lands late and is revoked: still a draft, no machine, nothing owed.
	until_true 20 test ! -s "$M/alarms"
	reads sessions/x/state draft
	reads sessions/x/bought_at ''
	sshds_are 0
	both_killed
	gpufs_start
	reads sessions/x/state draft
	sshds_are 0
	say 'offer=local-cpu hours=1' "$M/sessions/x/spec"
	[ "$(alice timeout 60 cat "$M/sessions/x/wait/ready")" = running ]
}

@test "a stalled disk: rmdir destroys from memory, says EIO, and the directory stays until it is durable" {
	GPUFS_TEST_STORE_STALL=$T/stall gpufs_start
	buy train
	touch "$T/stall"
	run timeout 30 bash -c "$(declare -f as alice); alice rmdir '$M/sessions/train'"
	[ "$status" -ne 0 ]
	[[ "$output" == *"Input/output error"* ]]
	alice grep -q 'it is carried out all the same' "$M/error"
	until_true 30 sshds_are 0
	[ -d "$M/sessions/train" ]
	rm "$T/stall"
	until_true 30 test ! -e "$M/sessions/train"
	[[ "$(gone train)" == *"proof complete"* ]]
}

@test "a stalled disk: an extension is EIO and moves nothing" {
	GPUFS_TEST_STORE_STALL=$T/stall gpufs_start
	buy train
	expires=$(alice cat "$M/sessions/train/expires_at")
	touch "$T/stall"
	run timeout 30 bash -c "$(declare -f as alice echo_as_alice)
		echo_as_alice +1h '$M/sessions/train/remaining'"
	[ "$status" -ne 0 ]
	[[ "$output" == *"Input/output error"* ]]
	reads sessions/train/expires_at "$expires"
	rm "$T/stall"
	until_true 20 echo_as_alice +1h "$M/sessions/train/remaining"
	[ "$(alice cat "$M/sessions/train/expires_at")" != "$expires" ]
}

@test "a stalled disk does not keep gpufs from stopping within seconds" {
	GPUFS_TEST_STORE_STALL=$T/stall gpufs_start
	buy train
	touch "$T/stall"
	alice mkdir "$M/sessions/x"
	h=$(holder_pid)
	kill -TERM "$h"
	until_true 20 pid_gone "$h"
	run mountpoint -q "$M"
	[ "$status" -ne 0 ]
	rm "$T/stall"
	until_true 20 gpufs_start
	[ "$(on train id -un)" = gpufs-alice ]
}

# ---- the database ----

@test "a database of a newer gpufs is left alone" {
	gpufs_start
	alice mkdir "$M/sessions/x"
	gpufs_stop
	python3 -c 'import sqlite3, sys
c = sqlite3.connect(sys.argv[1]); c.execute("PRAGMA user_version=999"); c.commit(); c.close()' "$DB"
	cksum < "$DB" > "$T/sum"
	refuses 1 newer 999 "$DB" -- "$GPUFS_BIN" "$M" -o database_path="$DB"
	cksum < "$DB" | diff "$T/sum" -
}

@test "a file that is no database is left alone" {
	mkdir "$T/state"
	echo 'shopping list: milk, bread, and more than one page of it' > "$DB"
	refuses 1 'not a database' "$DB" DATABASE_PATH -- "$GPUFS_BIN" "$M" -o database_path="$DB"
	grep -q 'shopping list' "$DB"
}

@test "the database of another program is left alone" {
	mkdir "$T/state"
	python3 -c 'import sqlite3, sys
c = sqlite3.connect(sys.argv[1]); c.execute("CREATE TABLE songs (title)"); c.commit(); c.close()' "$DB"
	refuses 1 'another program' "$DB" -- "$GPUFS_BIN" "$M" -o database_path="$DB"
}

@test "a directory in the database's place is refused" {
	mkdir -p "$DB"
	refuses 1 'not a regular file' "$DB" -- "$GPUFS_BIN" "$M" -o database_path="$DB"
}

@test "a read-only state directory is refused" {
	mkdir "$T/state"
	mount -t tmpfs -o ro tmpfs "$T/state"
	SMALL=$T/state
	refuses 1 'Read-only' "$T/state" DATABASE_PATH -- "$GPUFS_BIN" "$M" -o database_path="$DB"
}

@test "a damaged key file is refused before anything is mounted for long" {
	gpufs_start
	gpufs_stop
	echo 'deployment ab' > "$T/state/gpufs.key"
	refuses 1 damaged gpufs.key backup -- "$GPUFS_BIN" "$M" -o database_path="$DB"
}

@test "a deployment id that differs from the kept one is refused" {
	gpufs_start
	gpufs_stop
	refuses 1 deployment -- "$GPUFS_BIN" "$M" -o database_path="$DB",deployment_id=other1
}

# ---- settings ----

@test "an unknown setting stops the start: file, environment, -o" {
	printf '# fine\nhours_max = 3\n' > "$T/conf"
	refuses 2 conf:2 hours_max -- "$GPUFS_BIN" "$M" --config "$T/conf" -o database_path="$DB"
	refuses 2 GPUFS_HOURS_MAX -- env GPUFS_HOURS_MAX=3 "$GPUFS_BIN" "$M" -o database_path="$DB"
	refuses 2 hours_max -- "$GPUFS_BIN" "$M" -o database_path="$DB",hours_max=3
	refuses 2 'neither a mount option nor a setting' -- "$GPUFS_BIN" "$M" -o wibble
}

@test "a bad value stops the start: file, environment, -o" {
	printf 'hard_max_hours = 12\nkeep_ended = soon\n' > "$T/conf"
	refuses 2 conf:2 KEEP_ENDED soon -- "$GPUFS_BIN" "$M" --config "$T/conf"
	refuses 2 HARD_MAX_HOURS 9999 -- env GPUFS_HARD_MAX_HOURS=9999 "$GPUFS_BIN" "$M"
	refuses 2 LOCAL_MAX_SESSIONS many -- "$GPUFS_BIN" "$M" -o local_max_sessions=many
	refuses 2 LOCAL_PRICE_PER_HOUR -- "$GPUFS_BIN" "$M" -o local_price_per_hour=-1
	refuses 2 ADMIN_GROUP -- "$GPUFS_BIN" "$M" -o admin_group=no-such-group-here
	refuses 2 SESSIONS_ACCESS -- "$GPUFS_BIN" "$M" -o sessions_access=owner:nobody-of-that-name
	refuses 2 "$T/none" -- "$GPUFS_BIN" "$M" --config "$T/none"
	printf 'half a line' > "$T/conf"
	refuses 2 conf:1 -- "$GPUFS_BIN" "$M" --config "$T/conf"
}

@test "nonsense on the command line is refused" {
	refuses 2 --frobnicate -- "$GPUFS_BIN" "$M" --frobnicate
	refuses 2 'where should it be mounted' -- "$GPUFS_BIN"
	refuses 2 'one word too many' -- "$GPUFS_BIN" none "$M" more
	refuses 2 '--on-exit=destroy' -- "$GPUFS_BIN" "$M" --on-exit=party
	refuses 2 'needs a value' -- "$GPUFS_BIN" "$M" -o
}

# ---- the mount point ----

@test "a mount point that is busy, not empty, a file, or below nothing is refused" {
	gpufs_start
	run "$GPUFS_BIN" "$M" -o database_path="$T/other/gpufs.db"
	[ "$status" -eq 1 ]
	[[ "$output" == *"mounted"*"already"* ]]
	[[ "$output" == *"$(holder_pid)"* ]]
	gpufs_stop
	touch "$M/mine"
	refuses 1 'not empty' "$M" nonempty -- "$GPUFS_BIN" "$M" -o database_path="$DB"
	rm "$M/mine"
	rmdir "$M"
	touch "$M"
	refuses 1 'not a directory' "$M" -- "$GPUFS_BIN" "$M" -o database_path="$DB"
	rm "$M"
	run "$GPUFS_BIN" "$T/no/such/gpu" -o database_path="$DB"
	[ "$status" -ne 0 ]
	[[ "$output" == gpufs:*"$T/no"* ]]
	mkdir "$M"
	mount -t tmpfs tmpfs "$M"
	run "$GPUFS_BIN" "$M" -o database_path="$DB"
	umount "$M"
	[ "$status" -eq 1 ]
	[[ "$output" == *"something else is mounted there (tmpfs)"* ]]
}

@test "-o nonempty covers what is there, and it is there again afterwards" {
	mkdir "$M"
	echo kept > "$M/mine"
	gpufs_start -o nonempty
	[ ! -e "$M/mine" ]
	gpufs_stop
	[ "$(cat "$M/mine")" = kept ]
}

@test "a missing mount point is made" {
	[ ! -e "$M" ]
	gpufs_start
	[ -s "$M/version" ]
}

# ---- processes ----

@test "without cgroup v2 it starts, and --check says what that means" {
	run unshare -m bash -c '
		awk "\$9 == \"cgroup2\" || \$3 == \"cgroup2\" { print \$2 }" /proc/mounts |
			while read -r at; do umount -l "$at"; done
		exec "$1" --check -o database_path="$2"' bash "$GPUFS_BIN" "$DB"
	[ "$status" -eq 0 ]
	[[ "$output" == *"no cgroup v2 that can be written"* ]]
	run unshare -m bash -ec "
		BATS_TEST_DIRNAME='$BATS_TEST_DIRNAME'
		source '$BATS_TEST_DIRNAME/lib.bash'
		source '$BATS_TEST_DIRNAME/life_lib.bash'
		GPUFS_BIN='$GPUFS_BIN'
		awk '\$3 == \"cgroup2\" { print \$2 }' /proc/mounts | while read -r at; do umount -l \"\$at\"; done
		gpufs_start
		buy train
		[ \"\$(on train id -un)\" = gpufs-alice ]
		alice rmdir '$M/sessions/train'
		gone train
	" 3>&-
	[ "$status" -eq 0 ] || { echo "$output" >&2; return 1; }
	[[ "$output" == *"proof complete"* ]]
	sshds_are 0
	grep -qi 'cgroup' "$T/state/gpufs.log"
}
