#!/usr/bin/env bats
# The main job, as an ordinary user: mkdir, spec, ready, ssh, cost, rmdir, receipt.

load lib

setup() { common_setup; }
teardown() { common_teardown; }

@test "a session's whole life" {
	gpufs_start
	buy train
	run alice ssh -F "$M/sessions/train/ssh/config" train.gpu 'id -un; uname'
	[ "$status" -eq 0 ]
	[ "${lines[0]}" = gpufs-alice ]
	[ "${lines[1]}" = Linux ]
	[ "$(alice cat "$M/sessions/train/cost")" = 0.00 ]
	alice rmdir "$M/sessions/train"
	[ ! -e "$M/sessions/train" ]
	run alice timeout 30 cat "$M/history/last/train/wait/gone"
	[ "$status" -eq 0 ]
	[[ "$output" == *"proof complete"* ]]
}
