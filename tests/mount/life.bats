#!/usr/bin/env bats
# shellcheck shell=bash disable=SC2154
# The main job, as an ordinary user: mkdir, spec, ready, ssh, cost, rmdir, receipt; what runs inside a
# session, who may log in, and that nothing of it is left afterwards.

load lib
load life_lib

setup() { common_setup; }
teardown() { common_teardown; }

# start_stubborn_jobs NAME WORD: one job behind nohup, one behind setsid, both carrying the word.
start_stubborn_jobs() {
	on "$1" "nohup bash -c 'exec -a $2-nohup sleep 100000' >/dev/null 2>&1 </dev/null &
		setsid bash -c 'exec -a $2-setsid sleep 100000' >/dev/null 2>&1 </dev/null &
		exit 0"
	until_true 20 pgrep -f -- "$2-nohup"
	until_true 20 pgrep -f -- "$2-setsid"
}

# ssh_with KEY USER: a login at session train with nothing but this key.
ssh_with() {
	ssh -n -F /dev/null -i "$1" -o IdentitiesOnly=yes -o BatchMode=yes -o ConnectTimeout=30 \
		-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR \
		-p "$(cat "$M/sessions/train/ssh/port")" "$2@127.0.0.1" id -un
}

# own_key FILE: a key pair of alice's own.
own_key() {
	mkdir -p "$T/keys"
	chown gpufs-alice "$T/keys"
	alice ssh-keygen -q -t ed25519 -N '' -C 'alice@home' -f "$1"
}

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

@test "jobs behind nohup and behind setsid are gone when the receipt says so" {
	local word=job-${T##*.}
	gpufs_start
	buy train
	start_stubborn_jobs train "$word"
	[ "$(jobs_left "$word")" -ge 2 ]
	alice rmdir "$M/sessions/train"
	run gone train
	[ "$status" -eq 0 ]
	[[ "$output" == *"proof complete"* ]]
	no_jobs "$word"
	sshds_are 0
}

@test "a job that cleared its environment and left its parents is gone too (cgroup)" {
	local word=job-${T##*.}
	gpufs_start
	# Where no cgroup v2 can be written the marks are used, and local_procs.c says what escapes them.
	if "$GPUFS_BIN" --check "$T/other" -o database_path="$DB" | grep -q 'no cgroup v2'; then
		skip "no writable cgroup v2 here"
	fi
	buy train
	on train "env -i setsid bash -c 'exec -a $word sleep 100000' >/dev/null 2>&1 </dev/null & exit 0"
	until_true 20 pgrep -f -- "$word"
	alice rmdir "$M/sessions/train"
	gone train
	no_jobs "$word"
}

@test "without cgroups the marks do: whole life, nohup and setsid included" {
	local word=job-${T##*.}
	GPUFS_TEST_NO_CGROUP=1 gpufs_start
	buy train
	[ "$(on train id -un)" = gpufs-alice ]
	start_stubborn_jobs train "$word"
	alice rmdir "$M/sessions/train"
	run gone train
	[ "$status" -eq 0 ]
	[[ "$output" == *"proof complete"* ]]
	no_jobs "$word"
	sshds_are 0
}

@test "only the session's key opens it" {
	gpufs_start
	buy train
	own_key "$T/keys/other"
	run alice bash -c "$(declare -f ssh_with); ssh_with '$T/keys/other' gpufs-alice"
	[ "$status" -eq 255 ]
	[[ "$output" == *"Permission denied (publickey)"* ]]
	[ "$(alice bash -c "$(declare -f ssh_with); ssh_with '$M/sessions/train/ssh/key' gpufs-alice")" = \
		gpufs-alice ]
}

@test "another user gets neither the key nor in" {
	gpufs_start
	buy train
	run bob ssh -n -F "$M/sessions/train/ssh/config" train.gpu true
	[ "$status" -ne 0 ]
	run bob cat "$M/sessions/train/ssh/key"
	[ "$status" -ne 0 ]
	[[ "$output" == *"Permission denied"* ]] || { echo "$output" >&2; return 1; }
	# Even with a stolen key: the sshd serves its owner alone, not bob and not root.
	cat "$M/sessions/train/ssh/key" > "$T/stolen"
	chmod 600 "$T/stolen"
	for user in gpufs-bob root; do
		run ssh_with "$T/stolen" "$user"
		[ "$status" -eq 255 ]
		[[ "$output" == *"Permission denied"* ]]
	done
}

@test "the host key is pinned and a changed one is refused by ssh" {
	gpufs_start
	buy train
	[ "$(wc -l < "$M/sessions/train/ssh/known_hosts")" -eq 1 ]
	port=$(cat "$M/sessions/train/ssh/port")
	own_key "$T/keys/fake"
	cp "$M/sessions/train/ssh/config" "$T/config"
	printf 'train.gpu,[127.0.0.1]:%s %s\n' "$port" "$(cut -d' ' -f1,2 "$T/keys/fake.pub")" > "$T/known"
	chmod 644 "$T/config" "$T/known"
	run alice ssh -n -F "$T/config" -o UserKnownHostsFile="$T/known" train.gpu true
	[ "$status" -eq 255 ]
	[[ "$output" == *"Host key verification failed"* ]]
}

@test "one Include in the user's own ssh configuration reaches every session" {
	gpufs_start
	buy train
	buy second
	mkdir "$T/dotssh"
	echo "Include $M/ssh_config" > "$T/dotssh/config"
	chown -R gpufs-alice "$T/dotssh"
	chmod 700 "$T/dotssh"
	# ssh takes the home from passwd and checks who owns what: so the real ~/.ssh, in a private view.
	home=$(getent passwd gpufs-alice | cut -d: -f6)
	alice mkdir -p "$home/.ssh"
	for name in train second; do
		run unshare -m bash -c "$(declare -f as alice)
			mount --bind '$T/dotssh' '$home/.ssh' && alice ssh -n -o BatchMode=yes $name.gpu id -un"
		[ "$status" -eq 0 ]
		[ "${lines[-1]}" = gpufs-alice ]
	done
	# Per reader: bob's and root's show nothing of alice's.
	[ -z "$(bob cat "$M/ssh_config")" ]
	[ -z "$(cat "$M/ssh_config")" ]
}

@test "the machine sees CUDA_VISIBLE_DEVICES and the spec's env.NAME" {
	gpufs_start
	buy train "offer=local-cpu hours=1 env.GREETING='hello there' env.QUOTES='a\"b\\\\c%d \$x'"
	run on train 'printf "%s\n" "$GREETING" "$QUOTES" "${CUDA_VISIBLE_DEVICES-unset}"'
	[ "$status" -eq 0 ]
	[ "${lines[0]}" = "hello there" ]
	[ "${lines[1]}" = 'a"b\c%d $x' ]
	[ "${lines[2]-}" = "" ] # set, and empty: there is no GPU in local-cpu
}

@test "with ssh_public_key the user's own key works too" {
	gpufs_start
	own_key "$T/keys/mine"
	buy train "offer=local-cpu hours=1 ssh_public_key='$(cat "$T/keys/mine.pub")'"
	[ "$(alice bash -c "$(declare -f ssh_with); ssh_with '$T/keys/mine' gpufs-alice")" = gpufs-alice ]
	[ "$(on train id -un)" = gpufs-alice ]
}

@test "workload, label and consumer stand in their files, in info and in list" {
	gpufs_start
	buy train 'offer=local-cpu hours=1 workload_type=training label=run-7 consumer=my-app'
	s=$M/sessions/train
	[ "$(alice cat "$s/workload_type")" = training ]
	[ "$(alice cat "$s/label")" = run-7 ]
	[ "$(alice cat "$s/consumer")" = my-app ]
	[ "$(alice cat "$s/owner")" = gpufs-alice ]
	alice grep -qx 'label run-7' "$s/info"
	alice grep -q '"consumer":"my-app"' "$s/info.json"
	alice grep -q "^train	running	local	CPU	.*	my-app	$(alice cat "$s/id")\$" "$M/list"
	buy plain
	[ "$(alice cat "$M/sessions/plain/workload_type")" = llm ]
	[ "$(alice cat "$M/sessions/plain/consumer")" = gpufs-alice ]
}

@test "the times and the prices of a running session are those of its order" {
	gpufs_start -o local_price_per_hour=0.36
	buy train
	s=$M/sessions/train
	[ "$(alice cat "$s/price_per_hour")" = 0.36 ]
	[ "$(alice cat "$s/cost_max")" = 0.72 ]
	bought=$(date -d "$(alice cat "$s/bought_at")" +%s)
	expires=$(date -d "$(alice cat "$s/expires_at")" +%s)
	[ $((expires - bought)) -eq 7200 ]
	left=$(alice cat "$s/remaining")
	[ "$left" -gt 3600 ]
	[ "$left" -le 7200 ]
	until_true 60 bash -c '[ "$(cat "$1")" != 0.00 ]' sh "$s/cost"
}

@test "two sessions of one user and one of another live side by side" {
	gpufs_start
	buy one
	buy two
	bob mkdir "$M/sessions/three"
	bob sh -c 'echo "offer=local-cpu hours=1" > "$1"' sh "$M/sessions/three/spec"
	[ "$(bob timeout 60 cat "$M/sessions/three/wait/ready")" = running ]
	[ "$(bob ssh -n -F "$M/sessions/three/ssh/config" three.gpu id -un)" = gpufs-bob ]
	sshds_are 3
	alice rmdir "$M/sessions/one"
	gone one
	sshds_are 2
	[ "$(on two id -un)" = gpufs-alice ]
}

@test "LOCAL_MAX_SESSIONS bounds them, and an end makes room" {
	gpufs_start -o local_max_sessions=1
	buy one
	alice mkdir "$M/sessions/two"
	until_true 20 grep -qx 0 "$M/inventory/local-cpu/available"
	run alice sh -c 'echo "offer=local-cpu hours=1 commit" > "$1"' sh "$M/sessions/two/spec"
	[ "$status" -ne 0 ]
	[ "$(alice cat "$M/sessions/two/state")" = draft ]
	[ -s "$M/sessions/two/error" ]
	sshds_are 1
	alice rmdir "$M/sessions/one"
	gone one
	until_true 20 grep -qx 1 "$M/inventory/local-cpu/available"
	say 'offer=local-cpu hours=1' "$M/sessions/two/spec"
	[ "$(alice timeout 60 cat "$M/sessions/two/wait/ready")" = running ]
}
