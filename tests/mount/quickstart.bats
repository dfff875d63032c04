#!/usr/bin/env bats
# shellcheck shell=bash disable=SC2154
# From a fresh copy of the tree to a session, with the two commands that the README names. Slow: it builds.

# bats file_tags=slow

load lib
load life_lib

setup() { common_setup; }
teardown() { common_teardown; }

# The daemon of quickstart takes its database from the environment: the real one is left alone.
quickstart() { env GPUFS_DATABASE_PATH="$DB" "$T/copy/deploy/quickstart" "$@" 3>&-; }

@test "quickstart mounts, a session lives as the README prints it, kill -9 and quickstart again find it" {
	mkdir "$T/copy"
	tar -C "$BATS_TEST_DIRNAME/../.." --exclude=.git --exclude='./build*' -cf - . | tar -C "$T/copy" -xf -
	chmod 755 "$T/copy"
	run quickstart "$M"
	[ "$status" -eq 0 ] || { echo "$output" >&2; return 1; }
	[[ "$output" == *"gpufs is mounted on $M"* ]]
	[ "$(grep -cE '^ +(mkdir|echo|cat|timeout|ssh|rmdir) .*sessions/' <<< "$output")" -eq 5 ]
	transcript dash "$T/copy/README.md"

	# Again is harmless.
	d=$(daemon_pid)
	run quickstart "$M"
	[ "$status" -eq 0 ]
	[[ "$output" == *"already"* ]]
	[ "$(daemon_pid)" = "$d" ]

	# kill -9 of both in the middle of a session, and quickstart again.
	buy train
	both_killed
	run quickstart "$M"
	[ "$status" -eq 0 ] || { echo "$output" >&2; return 1; }
	reads sessions/train/state running
	[ "$(on train id -un)" = gpufs-alice ]

	# --stop unmounts and leaves the session.
	d=$(daemon_pid)
	run quickstart --stop "$M"
	[ "$status" -eq 0 ]
	until_true 20 pid_gone "$d"
	run mountpoint -q "$M"
	[ "$status" -ne 0 ]
	sshds_are 1
	run quickstart --stop "$M"
	[ "$status" -eq 0 ]
}
