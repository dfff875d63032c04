#!/usr/bin/env bats
# shellcheck shell=bash disable=SC2154
# Deaths and restarts: whatever is killed, and whenever, sessions go on, nothing is bought or billed twice,
# no reader is left waiting, and a new start finds everything as it was.

load lib
load life_lib

setup() { common_setup; }
teardown() { common_teardown; }

# new_daemon OLD: another daemon than OLD serves the mount.
new_daemon() {
	local p
	p=$(daemon_pid)
	[ -n "$p" ] && [ "$p" != "$1" ] && ! pid_gone "$p" && timeout 5 cat "$M/version"
}

# facts NAME: what must survive a restart to the byte.
facts() {
	local s=$M/sessions/$1 f
	for f in id state spec owner consumer instance_id offer_id bought_at running_at expires_at \
		created_at ssh/host ssh/port ssh/user ssh/key ssh/key.pub ssh/known_hosts protect label; do
		printf '%s %s %s\n' "$f" "$(stat -c %i "$s/$f")" "$(cat "$s/$f" | cksum)"
	done
	stat -c '%n %i %U %G %a' "$s" "$M" "$M/sessions" "$M/inventory/local-cpu" \
		"$M/inventory/local-cpu/price_per_hour"
}

at_least() { awk -v a="$1" -v b="$2" 'BEGIN { exit !(a + 0 >= b + 0) }'; }

mounted() { mountpoint -q "$M"; }
not_mounted() { ! grep -qF " $M " /proc/self/mountinfo; }

@test "kill -9 of the daemon: mounted afresh, sessions run on, nobody is left waiting" {
	gpufs_start
	buy train
	old=$(daemon_pid)
	holder=$(holder_pid)
	watched "$M/sessions/train/wait/change" "$T/waited"
	kill -KILL "$old"
	ended_with "$waiter"
	[ "$status" -ne 0 ]
	until_true 30 new_daemon "$old"
	[ "$(holder_pid)" = "$holder" ]
	[ "$(alice cat "$M/sessions/train/state")" = running ]
	[ "$(on train id -un)" = gpufs-alice ]
	sshds_are 1
	alice rmdir "$M/sessions/train"
	[[ "$(gone train)" == *"proof complete"* ]]
	sshds_are 0
}

@test "kill -9 of both and a new start: the dead mount is cleared, everything is as it was" {
	gpufs_start -o local_price_per_hour=3600
	buy train 'offer=local-cpu hours=2 label=keep'
	alice mkdir "$M/sessions/draft"
	say 1 "$M/sessions/train/protect"
	facts train > "$T/before"
	until_true 30 bash -c '[ "$(cat "$1")" != 0.00 ]' sh "$M/sessions/train/cost"
	cost=$(cat "$M/sessions/train/cost")
	both_killed
	run ls "$M"
	[ "$status" -ne 0 ]
	run gpufs_start -o local_price_per_hour=3600
	[ "$status" -eq 0 ]
	[ "$(grep -cF " $M " /proc/self/mountinfo)" -eq 1 ]
	facts train > "$T/after"
	diff "$T/before" "$T/after"
	at_least "$(cat "$M/sessions/train/cost")" "$cost"
	[ "$(alice cat "$M/sessions/draft/state")" = draft ]
	[ "$(on train id -un)" = gpufs-alice ]
	sshds_are 1
	run alice rmdir "$M/sessions/train"
	[ "$status" -ne 0 ]
	say 0 "$M/sessions/train/protect"
	alice rmdir "$M/sessions/train"
	[[ "$(gone train)" == *"proof complete"* ]]
}

@test "history, receipts and the next serial survive kill -9" {
	gpufs_start
	buy train
	alice rmdir "$M/sessions/train"
	gone train > "$T/receipt"
	id=$(basename "$(readlink -f "$M/history/last/train")")
	ino=$(stat -L -c %i "$M/history/last/train")
	both_killed
	gpufs_start
	gone train | diff "$T/receipt" -
	[ "$(basename "$(readlink -f "$M/history/last/train")")" = "$id" ]
	[ "$(stat -L -c %i "$M/history/last/train")" = "$ino" ]
	alice mkdir "$M/sessions/train"
	[ "$(stat -c %i "$M/sessions/train")" != "$ino" ]
}

# A life that goes on as far as it gets; every step may find a dead mount.
whole_life() {
	alice mkdir "$M/sessions/x"
	say 'offer=local-cpu hours=1' "$M/sessions/x/spec"
	[ "$(alice timeout 60 cat "$M/sessions/x/wait/ready")" = running ]
	alice rmdir "$M/sessions/x"
	gone x
}

# What may be there after a death at any point: nothing, a draft, a running session, or a proven end.
settle() {
	local state=none
	[ -e "$M/sessions/x" ] && state=$(alice cat "$M/sessions/x/state")
	case $state in
	none) ;;
	draft)
		sshds_are 0
		alice rmdir "$M/sessions/x"
		;;
	pending | provisioning | running)
		[ "$(alice timeout 90 cat "$M/sessions/x/wait/ready")" = running ]
		sshds_are 1
		[ "$(on x id -un)" = gpufs-alice ]
		alice rmdir "$M/sessions/x"
		;;
	*)
		echo "unexpected state $state" >&2
		return 1
		;;
	esac
	if [ -e "$M/history/last/x" ]; then
		[[ "$(gone x)" == *"proof complete"* ]]
	fi
	sshds_are 0
}

die_at_random() {
	local round ms life
	for round in 1 2 3 4 5; do
		gpufs_start
		whole_life > /dev/null 2>&1 3>&- &
		life=$!
		# The point in time is the test's input, not a wait for something.
		ms=$((RANDOM % 900))
		perl -e "select undef, undef, undef, $ms / 1000"
		both_killed
		wait "$life" || true
		gpufs_start
		settle || { echo "round $round, killed after $ms ms" >&2; return 1; }
		gpufs_stop
	done
	# One life, one purchase: whoever is in history was created once at most.
	gpufs_start
	run grep -h '^calls' "$M"/history/*-*/receipt
	[[ "$output" != *"create=2"* ]]
}

@test "kill -9 at any point of a life, 1 to 5" { die_at_random; }
@test "kill -9 at any point of a life, 6 to 10" { die_at_random; }
@test "kill -9 at any point of a life, 11 to 15" { die_at_random; }
@test "kill -9 at any point of a life, 16 to 20" { die_at_random; }

@test "kill -9 while sshd is starting: found again, not bought again" {
	mkdir "$T/bin"
	slow_sshd "$T/bin/sshd" "$T/go"
	PATH=$T/bin:$PATH gpufs_start
	alice mkdir "$M/sessions/x"
	say 'offer=local-cpu hours=1' "$M/sessions/x/spec"
	until_true 30 sshds_are 1
	both_killed
	touch "$T/go"
	PATH=$T/bin:$PATH gpufs_start
	[ "$(alice timeout 90 cat "$M/sessions/x/wait/ready")" = running ]
	sshds_are 1
	[ "$(on x id -un)" = gpufs-alice ]
}

@test "SIGTERM unmounts within seconds and leaves the session running" {
	gpufs_start
	buy train
	facts train > "$T/before"
	d=$(daemon_pid)
	h=$(holder_pid)
	kill -TERM "$h"
	until_true 10 pid_gone "$h"
	pid_gone "$d"
	not_mounted
	sshds_are 1
	gpufs_start
	facts train | diff "$T/before" -
	[ "$(on train id -un)" = gpufs-alice ]
}

@test "SIGTERM to the daemon itself is the same" {
	gpufs_start
	h=$(holder_pid)
	kill -TERM "$(daemon_pid)"
	until_true 10 pid_gone "$h"
	not_mounted
}

@test "SIGTERM does not wait for blocked readers" {
	gpufs_start
	buy train
	watched "$M/sessions/train/wait/change" "$T/waited"
	h=$(holder_pid)
	kill -TERM "$h"
	until_true 10 pid_gone "$h"
	not_mounted
	ended_with "$waiter"
	[ "$status" -ne 0 ]
}

@test "umount stops gpufs and leaves the session running" {
	gpufs_start
	buy train
	d=$(daemon_pid)
	h=$(holder_pid)
	umount "$M"
	until_true 10 pid_gone "$d"
	until_true 10 pid_gone "$h"
	not_mounted
	sshds_are 1
	gpufs_start
	[ "$(alice cat "$M/sessions/train/state")" = running ]
	[ "$(on train id -un)" = gpufs-alice ]
}

@test "--on-exit=destroy: stopping ends every session, with proof" {
	gpufs_start --on-exit=destroy
	buy one
	buy two
	alice mkdir "$M/sessions/draft"
	h=$(holder_pid)
	kill -TERM "$h"
	until_true 60 pid_gone "$h"
	not_mounted
	sshds_are 0
	gpufs_start
	for name in one two; do
		[ "$(alice cat "$M/sessions/$name/state")" = stopped ]
		alice rmdir "$M/sessions/$name"
		[[ "$(gone $name)" == *"proof complete"* ]]
	done
	[ "$(alice cat "$M/sessions/draft/state")" = draft ]
}

@test "a second gpufs on the same database is refused, and the sentence names the pid" {
	gpufs_start
	mkdir "$T/gpu2"
	run "$GPUFS_BIN" "$T/gpu2" -o database_path="$DB"
	[ "$status" -eq 1 ]
	[[ "$output" == *"is a gpufs that uses the database"* ]]
	[[ "$output" == *"$(daemon_pid)"* ]]
	[[ "$output" == *"DATABASE_PATH"* ]]
	run mountpoint -q "$T/gpu2"
	[ "$status" -ne 0 ]
	alice mkdir "$M/sessions/still"
}

@test "kill -9 of the holder: the mount goes on, and a stop of the daemon unmounts" {
	gpufs_start
	buy train
	d=$(daemon_pid)
	h=$(holder_pid)
	kill -KILL "$h"
	until_true 20 pid_gone "$h"
	[ "$(alice cat "$M/sessions/train/state")" = running ]
	alice mkdir "$M/sessions/more"
	until_true 20 grep -q 'holder is gone' "$T/state/gpufs.log"
	kill -TERM "$d"
	until_true 15 pid_gone "$d"
	not_mounted
	sshds_are 1
}

@test "five deaths in a row: unmounted and given up, with a sentence; sessions run on" {
	gpufs_start
	buy train
	h=$(holder_pid)
	for _ in 1 2 3 4; do
		old=$(daemon_pid)
		kill -KILL "$old"
		until_true 30 new_daemon "$old"
	done
	kill -KILL "$(daemon_pid)"
	until_true 20 pid_gone "$h"
	not_mounted
	grep -q 'died 5 times within a minute' "$T/state/gpufs.log"
	sshds_are 1
	gpufs_start
	[ "$(on train id -un)" = gpufs-alice ]
}

@test "a restart never releases a hold" {
	gpufs_start -o hold_grace=0s
	buy train
	hold train
	until_true 20 reads sessions/train/hold 1
	old=$(daemon_pid)
	kill -KILL "$old"
	until_true 30 new_daemon "$old"
	kill -KILL "$holding"
	# Some seconds of the session's own clock later it still runs, and an alarm tells of it.
	left=$(cat "$M/sessions/train/remaining")
	until_true 60 bash -c '[ "$(cat "$1")" -lt "$2" ]' sh "$M/sessions/train/remaining" $((left - 2))
	[ "$(alice cat "$M/sessions/train/state")" = running ]
	grep -q hold "$M/alarms"
}
