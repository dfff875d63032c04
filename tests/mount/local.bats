#!/usr/bin/env bats
# shellcheck shell=bash disable=SC2154
# This machine as the provider: its offers, what each sshd is allowed, machines that are lost, neighbours
# that must be left alone.

load lib
load life_lib

setup() { common_setup; }
teardown() { common_teardown; }

# instance_of NAME: the directory of the session's machine.
instance_of() { echo "$T/state/local/$(cat "$M/sessions/$1/instance_id")"; }
# sshd_of NAME: the pid of its listening sshd.
sshd_of() { pgrep -f -- "-D -e -f $(instance_of "$1")/sshd_config" | head -n 1; }

# with_gpus COMMANDS: run them in a private view of a machine with two GPUs, gpufs mounted.
with_gpus() {
	mkdir -p "$T/bin" "$T/gpus"
	cat > "$T/bin/nvidia-smi" <<-'END'
		#!/bin/sh
		echo '0, NVIDIA GeForce RTX 4090, 24564'
		echo '1, NVIDIA A100-SXM4-80GB, 81920'
	END
	chmod -R 755 "$T/bin" "$T/gpus"
	run unshare -m bash -ec "
		BATS_TEST_DIRNAME='$BATS_TEST_DIRNAME'
		source '$BATS_TEST_DIRNAME/lib.bash'
		source '$BATS_TEST_DIRNAME/life_lib.bash'
		mount -t tmpfs tmpfs /proc/driver
		mkdir -p /proc/driver/nvidia/gpus/0000:01:00.0 /proc/driver/nvidia/gpus/0000:02:00.0
		printf 'Model: \t\t NVIDIA GeForce RTX 4090\n' > /proc/driver/nvidia/gpus/0000:01:00.0/information
		printf 'Model: \t\t NVIDIA A100-SXM4-80GB\n' > /proc/driver/nvidia/gpus/0000:02:00.0/information
		GPUFS_BIN='$GPUFS_BIN'
		PATH='$T/bin':\$PATH gpufs_start
		until_true 20 test -d '$M/inventory/local-gpu0'
		$1
	" 3>&-
	[ "$status" -eq 0 ] || { echo "$output" >&2; return 1; }
}

@test "a machine without a GPU offers its CPU, with every value" {
	[ ! -e /proc/driver/nvidia/gpus ] || skip 'this machine has GPUs'
	gpufs_start
	until_true 20 test -d "$M/inventory/local-cpu"
	[ "$(ls "$M/inventory")" = local-cpu ]
	o=$M/inventory/local-cpu
	[ "$(cat "$o/provider")" = local ]
	[ "$(cat "$o/gpu_type")" = CPU ]
	[ "$(cat "$o/gpu_count")" = 0 ]
	[ "$(cat "$o/vram_gb")" = 0 ]
	[ "$(cat "$o/price_per_hour")" = 0.00 ]
	[ "$(cat "$o/available")" = 1 ]
	[ -n "$(cat "$o/location")" ]
	[ ! -s "$o/cuda_version" ] # unknown, not zero
	[ ! -s "$o/min_bid" ]
	[ "$(cat "$M/providers/local/state")" = ok ]
	[ "$(cat "$M/providers/local/offers")" = 1 ]
}

@test "a machine with GPUs offers each, nominal memory and plain names" {
	with_gpus "
		ls '$M/inventory'
		for f in gpu_type gpu_count vram_gb available; do cat '$M/inventory/local-gpu0/'\$f; done
		for f in gpu_type vram_gb; do cat '$M/inventory/local-gpu1/'\$f; done
		ls '$M/search'"
	[ "${lines[0]}" = local-gpu0 ]
	[ "${lines[1]}" = local-gpu1 ]
	[ "${lines[2]}" = 'RTX 4090' ]
	[ "${lines[3]}" = 1 ]
	[ "${lines[4]}" = 24 ]
	[ "${lines[5]}" = 1 ]
	[ "${lines[6]}" = A100-SXM4-80GB ]
	[ "${lines[7]}" = 80 ]
	[[ "$output" == *gpu=RTX_4090* ]]
}

@test "a session on a GPU sees that GPU alone, and nobody else gets it meanwhile" {
	with_gpus "
		buy one 'gpu=A100 max_price=1 hours=1'
		value sessions/one/offer_id
		on one 'echo \$CUDA_VISIBLE_DEVICES \$CUDA_DEVICE_ORDER'
		until_true 20 grep -qx 0 '$M/inventory/local-gpu1/available'
		alice mkdir '$M/sessions/two'
		! alice bash -c 'echo gpu=A100 max_price=1 hours=1 commit > \$1' bash '$M/sessions/two/spec'
		say 'gpu=RTX_4090 max_price=1 hours=1' '$M/sessions/two/spec'
		alice timeout 60 cat '$M/sessions/two/wait/ready'
		on two 'echo \$CUDA_VISIBLE_DEVICES'
		alice rmdir '$M/sessions/one'
		gone one > /dev/null
		until_true 20 grep -qx 1 '$M/inventory/local-gpu1/available'
		alice mkdir '$M/sessions/three'
		say 'offer=local-gpu1 hours=1' '$M/sessions/three/spec'
		alice timeout 60 cat '$M/sessions/three/wait/ready'"
	[ "${lines[0]}" = local-gpu1 ]
	[ "${lines[1]}" = '1 PCI_BUS_ID' ]
	[[ "$output" == *'No space left on device'* ]]
	[ "${lines[-1]}" = running ]
	[ "${lines[-2]}" = 0 ]
	[ "${lines[-3]}" = running ]
}

@test "each sshd runs as the session's owner, listens on loopback only, and has its own host key" {
	gpufs_start
	buy one 'offer=local-cpu hours=1 env.TOKEN=hush'
	buy two
	pid=$(sshd_of one)
	[ "$(stat -c %U "/proc/$pid")" = gpufs-alice ]
	port=$(cat "$M/sessions/one/ssh/port")
	[ "$(cat "$M/sessions/one/ssh/host")" = 127.0.0.1 ]
	hex=$(printf '%04X' "$port")
	awk -v p=":$hex" '$4 == "0A" && index($2, p) { print $2 }' /proc/net/tcp | grep -qx "0100007F:$hex"
	[ -z "$(awk -v p=":$hex" '$4 == "0A" && index($2, p) { print $2 }' /proc/net/tcp6)" ]
	[ "$port" != "$(cat "$M/sessions/two/ssh/port")" ]
	[ "$(cut -d' ' -f3 "$M/sessions/one/ssh/known_hosts")" != \
		"$(cut -d' ' -f3 "$M/sessions/two/ssh/known_hosts")" ]
	# bob can read neither its host key nor the values of env.NAME, which may be secrets.
	run bob cat "$(instance_of one)/host_key"
	[[ "$output" == *'Permission denied' ]]
	run bob grep -rs hush "$(instance_of one)"
	[ "$status" -ne 0 ]
	[ -z "$output" ]
	grep -rqs hush "$(instance_of one)"
	run bob ls "$T/state/local"
	[ "$status" -ne 0 ]
}

@test "sftp and scp work too" {
	gpufs_start
	buy one
	echo 'some data' > "$T/data"
	chmod 644 "$T/data"
	mkdir "$T/to"
	chown gpufs-alice "$T/to"
	alice scp -q -F "$M/sessions/one/ssh/config" "$T/data" "one.gpu:$T/to/data"
	[ "$(cat "$T/to/data")" = 'some data' ]
}

@test "nothing of the daemon leaks into a session: no descriptors, no environment" {
	gpufs_start
	buy one
	run on one 'env; ls -l /proc/self/fd'
	[ "$status" -eq 0 ]
	[[ "$output" != *gpufs.db* ]]
	[[ "$output" != */dev/fuse* ]]
	[[ "$output" != *BATS* ]]
	[ -z "$(find "/proc/$(sshd_of one)/fd" -lname '*gpufs.db*' -o -lname /dev/fuse)" ]
	[[ "$(tr '\0' '\n' < "/proc/$(sshd_of one)/environ")" != *BATS* ]]
}

@test "a machine that dies is noticed: instance lost, proven, and the name can be removed" {
	gpufs_start -o reconciliation_interval=1s
	buy one
	buy two
	watched "$M/sessions/one/wait/change" "$T/out"
	for pid in $(pgrep -f -- "-f $(instance_of one)/sshd_config"); do kill -KILL "$pid"; done
	wait "$waiter"
	until_true 60 reads sessions/one/state stopped
	reads sessions/one/reason 'instance lost'
	run alice timeout 20 cat "$M/sessions/one/wait/ready"
	[ "$status" -ne 0 ]
	[[ "$output" == *'Host is down'* ]]
	reads sessions/two/state running
	[ "$(on two id -un)" = gpufs-alice ]
	alice rmdir "$M/sessions/one"
	[[ "$(gone one)" == *"proof complete"* ]]
}

@test "a machine that died while gpufs was away is found lost at the start" {
	gpufs_start
	buy one
	pids=$(pgrep -f -- "-f $(instance_of one)/sshd_config")
	both_killed
	for pid in $pids; do kill -KILL "$pid"; done
	gpufs_start -o reconciliation_interval=1s
	until_true 60 reads sessions/one/state stopped
	reads sessions/one/reason 'instance lost'
}

@test "two gpufs on one machine leave each other's sessions alone" {
	gpufs_start -o reconciliation_interval=1s
	buy one
	M1=$M DB1=$DB
	M=$T/gpu2 DB=$T/state2/gpufs.db
	gpufs_start -o reconciliation_interval=1s
	buy one
	[ "$(on one id -un)" = gpufs-alice ]
	alice rmdir "$M/sessions/one"
	gone one > /dev/null
	[ "$(ls "$M/sessions")" = '' ]
	gpufs_stop
	umount -l "$M" 2>/dev/null || true
	M=$M1 DB=$DB1
	reads sessions/one/state running
	[ "$(on one id -un)" = gpufs-alice ]
	sshds_are 1
}

@test "gpufs started inside its own session is refused, another's is not" {
	install -m 755 "$GPUFS_BIN" "$T/gpufs"
	gpufs_start
	buy one
	run on one "$T/gpufs --check -o database_path=$T/home/x.db"
	[[ "$output" != *'unknown setting'* ]] || { echo "$output" >&2; return 1; }
	[[ "$output" == *'What a start would find'* ]]
}

@test "an owner who cannot log in here fails with a sentence" {
	useradd --shell /usr/sbin/nologin "gpufs-t$$" 2>/dev/null || skip 'no user can be made'
	gpufs_start
	as "gpufs-t$$" mkdir "$M/sessions/x"
	as "gpufs-t$$" sh -c 'echo "offer=local-cpu hours=1" > "$1"' sh "$M/sessions/x/spec"
	run as "gpufs-t$$" timeout 60 cat "$M/sessions/x/wait/ready"
	userdel --force "gpufs-t$$" # (its number may have been another user's, of whom a process is left)
	[ "$status" -ne 0 ]
	until_true 30 grep -qx failed "$M/sessions/x/state"
	grep -q 'may not log in on this machine (shell /usr/sbin/nologin)' "$M/sessions/x/reason"
}

@test "a port that somebody else took is no obstacle" {
	mkdir "$T/bin"
	# This sshd finds its port taken the first time, as if another program had been quicker.
	cat > "$T/bin/sshd" <<-END
		#!/bin/sh
		if [ ! -e "$T/tried/once" ]; then
			: > "$T/tried/once"
			echo 'error: Bind to port 1 on 127.0.0.1 failed: Address already in use.' >&2
			echo 'fatal: Cannot bind any address.' >&2
			exit 255
		fi
		exec /usr/sbin/sshd "\$@"
	END
	mkdir -m 777 "$T/tried"
	chmod 755 "$T/bin" "$T/bin/sshd"
	PATH=$T/bin:$PATH gpufs_start
	buy one
	[ -e "$T/tried/once" ]
	[ "$(on one id -un)" = gpufs-alice ]
	sshds_are 1
}

@test "PROVIDERS_LOCAL_ENABLED=no: no purchases, but what runs is watched and destroyed" {
	gpufs_start
	buy one
	gpufs_stop
	gpufs_start -o providers_local_enabled=no
	reads sessions/one/state running
	alice mkdir "$M/sessions/two"
	run alice bash -c 'echo "offer=local-cpu hours=1 commit" > "$1"' bash "$M/sessions/two/spec"
	[ "$status" -ne 0 ]
	reads sessions/two/state draft
	alice rmdir "$M/sessions/one"
	[[ "$(gone one)" == *"proof complete"* ]]
	# The switch in the tree is an administrator's.
	run alice bash -c 'echo 1 > "$1"' bash "$M/providers/local/enabled"
	[ "$status" -ne 0 ]
	echo 1 > "$M/providers/local/enabled"
	until_true 20 test -d "$M/inventory/local-cpu"
	say 'offer=local-cpu hours=1' "$M/sessions/two/spec"
	[ "$(alice timeout 60 cat "$M/sessions/two/wait/ready")" = running ]
}

@test "drain stops purchases, undrain allows them again, sessions go on" {
	gpufs_start
	buy one
	echo drain > "$M/ctl"
	alice mkdir "$M/sessions/two"
	run alice bash -c 'echo "offer=local-cpu hours=1 commit" > "$1"' bash "$M/sessions/two/spec"
	[ "$status" -ne 0 ]
	[[ "$output" == *'Read-only file system'* ]]
	grep -q '^state draining' "$M/status"
	reads sessions/one/state running
	echo undrain > "$M/ctl"
	say 'offer=local-cpu hours=1' "$M/sessions/two/spec"
	[ "$(alice timeout 60 cat "$M/sessions/two/wait/ready")" = running ]
	run alice bash -c 'echo drain > "$1"' bash "$M/ctl"
	[ "$status" -ne 0 ]
}
