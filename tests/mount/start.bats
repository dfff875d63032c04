#!/usr/bin/env bats
# shellcheck shell=bash disable=SC2154
# The command: what it prints, what it checks, the ways to mount (by itself, through mount(8), in front, as
# an ordinary user), and settings from file, environment and -o. Refusals at start are in faults.bats.

load lib
load life_lib

setup() { common_setup; }
teardown() { common_teardown; }

# user_mount: from here on $M and $DB are alice's own, and gpufs is started by her.
user_mount() {
	install -D -m 755 "$GPUFS_BIN" "$T/bin/gpufs"
	chmod 755 "$T/bin"
	# Debian ships it set-uid root; where somebody took that away, a copy that has it.
	if [ ! -u "$(command -v fusermount3)" ]; then
		install -m 4755 "$(command -v fusermount3)" "$T/bin/fusermount3"
	fi
	mkdir "$T/home"
	chown gpufs-alice "$T/home"
	M=$T/home/gpu
	alice mkdir "$M"
	DB=$T/state/gpufs.db
	mkdir "$T/state"
	chown gpufs-alice "$T/state"
}
user_start() { alice env PATH="$T/bin:$PATH" "$T/bin/gpufs" "$M" -o database_path="$DB" "$@"; }

@test "--help, --version and --help-settings print and end with 0, without touching anything" {
	run "$GPUFS_BIN" --help
	[ "$status" -eq 0 ]
	[[ "$output" == *"gpufs MOUNTPOINT"* ]]
	[[ "$output" == *"--on-exit=destroy"* ]]
	[[ "$output" == *"Exit status"* ]]
	run "$GPUFS_BIN" -h
	[ "$status" -eq 0 ]
	run "$GPUFS_BIN" --version
	[ "$status" -eq 0 ]
	[[ "$output" =~ ^gpufs\ [0-9]+\.[0-9]+\.[0-9]+$ ]]
	run "$GPUFS_BIN" --help-settings
	[ "$status" -eq 0 ]
	for name in database_path hard_max_hours sessions_access local_max_sessions hold_grace vastai_api_key \
		vastai_base_url tensordock_api_token tensordock_base_url allow_insecure default_disk_gb default_vcpus orphan_grace_period orphan_action; do
		grep -q "^$name  (" <<< "$output"
	done
	# Help also stands beside a bad environment.
	run env GPUFS_NONSENSE=1 "$GPUFS_BIN" --help
	[ "$status" -eq 0 ]
	# No line is wider than a terminal.
	[ -z "$("$GPUFS_BIN" --help | awk 'length($0) > 90')" ]
	[ -z "$("$GPUFS_BIN" --help-settings | awk 'length($0) > 90')" ]
}

@test "every setting that --help-settings knows is accepted with its default" {
	"$GPUFS_BIN" --print=gpufs.conf > "$T/conf"
	sed 's/^#\([a-z_]* = .\)/\1/' "$T/conf" | grep -E '^[a-z_]+ = .' > "$T/all"
	[ "$(wc -l < "$T/all")" -gt 20 ]
	run "$GPUFS_BIN" --check --config "$T/all"
	[[ "$output" != *"unknown setting"* ]] || { echo "$output" >&2; return 1; }
	run "$GPUFS_BIN" --check --config "$T/conf" -o database_path="$DB"
	[ "$status" -eq 0 ] || { echo "$output" >&2; return 1; }
}

@test "--print gives README, schema.json, man, gpufs.conf and gpufs.conf.5" {
	"$GPUFS_BIN" --print=README | grep -q sessions
	"$GPUFS_BIN" --print=schema.json | python3 -c '
import json, sys
rows = [json.loads(line) for line in sys.stdin]
assert len(rows) > 80 and all(r["path"] and r["mode"] and r["doc"] for r in rows)'
	for page in man gpufs.conf.5; do
		"$GPUFS_BIN" --print=$page > "$T/page"
		[ -s "$T/page" ]
		if command -v mandoc >/dev/null; then
			# From its standard input: it would compare the section with the name of a file.
			mandoc -T lint -W warning < "$T/page" > "$T/lint" || cat "$T/lint" >&2
			[ ! -s "$T/lint" ]
		elif command -v groff >/dev/null; then
			[ -z "$(groff -mandoc -T utf8 -ww "$T/page" 2>&1 >/dev/null)" ]
		fi
	done
	run "$GPUFS_BIN" --print=poem
	[ "$status" -eq 2 ]
	[[ "$output" == *"choose README"* ]]
	gpufs_start
	"$GPUFS_BIN" --print=schema.json | diff - "$M/schema.json"
}

@test "--check shows values with their origins, what a start would find, and ends with 0 or 1" {
	printf 'hold_grace = 5s\nlog_level = warn\n' > "$T/conf"
	run env GPUFS_HARD_MAX_HOURS=7 LOG_LEVEL=debug "$GPUFS_BIN" --check "$M" --config "$T/conf" \
		-o database_path="$DB" -o local_max_sessions=9
	[ "$status" -eq 0 ] || { echo "$output" >&2; return 1; }
	grep -Eq 'HOLD_GRACE +5s +\(.*conf:1\)' <<< "$output"
	grep -Eq 'HARD_MAX_HOURS +7 +\(.*environment.*\)' <<< "$output"
	grep -Eq 'LOG_LEVEL +debug ' <<< "$output" # the environment comes before the file
	grep -Eq 'LOCAL_MAX_SESSIONS +9 +\(-o\)' <<< "$output"
	grep -Eq 'KEEP_ENDED +24h +\(default\)' <<< "$output"
	[[ "$output" == *"A start would work."* ]]
	# It changes nothing.
	[ ! -e "$DB" ]
	[ ! -e "$M" ]
	touch "$M"
	run "$GPUFS_BIN" --check "$M" -o database_path="$DB"
	[ "$status" -eq 1 ]
	[[ "$output" == *"not a directory"* ]]
	[[ "$output" == *"A start would fail."* ]]
	rm "$M"
	gpufs_start
	run "$GPUFS_BIN" --check "$M" -o database_path="$DB"
	[ "$status" -eq 1 ]
	[[ "$output" == *"held by"* || "$output" == *"is a gpufs"* ]]
	run "$GPUFS_BIN" --check --json -o database_path="$T/other.db"
	[ "$status" -eq 0 ]
	python3 -c 'import json, sys
d = json.load(sys.stdin)
assert d["works"] is True and d["settings"]["HOLD_GRACE"]["value"] == "30s", d' <<< "$output"
	run "$GPUFS_BIN" --check -o hold_grace=never
	[ "$status" -eq 2 ]
}

# A cloud that nobody answers for: the discard port of this machine.
CLOUD=vastai_base_url=http://127.0.0.1:9

@test "a provider's key configures it: --check says so, and never shows the key" {
	export VASTAI_API_KEY=TOPSECRET
	run "$GPUFS_BIN" --check -o database_path="$DB" -o $CLOUD
	[ "$status" -eq 0 ] || { echo "$output" >&2; return 1; }
	[[ "$output" != *TOPSECRET* ]]
	grep -Eq 'VASTAI_API_KEY +set +\(environment\)' <<< "$output"
	grep -Eq '^  vastai +ok +http://127.0.0.1:9, with a key$' <<< "$output"
	grep -Eq '^  local +ok +this machine, beside another provider .*no new purchases' <<< "$output"
	run "$GPUFS_BIN" --check --json -o database_path="$DB" -o $CLOUD -o providers_vastai_enabled=no
	[[ "$output" != *TOPSECRET* ]]
	jq -e '.settings.VASTAI_API_KEY.value == "set" and (.start.vastai.text | test("no new purchases"))' <<< "$output"
	unset VASTAI_API_KEY
	run "$GPUFS_BIN" --check -o database_path="$DB"
	grep -Eq '^  vastai +ok +not configured' <<< "$output"
	grep -Eq 'VASTAI_API_KEY +not set ' <<< "$output"
}

@test "a key or base URL that cannot be right stops the start with its place, without the key" {
	printf 'vastai_api_key = TOP SECRET\n' > "$T/conf"
	run gpufs_start --config "$T/conf"
	[ "$status" -eq 2 ]
	[[ "$output" == *"conf:1: VASTAI_API_KEY"*"no spaces"* ]]
	[[ "$output" != *SECRET* ]]
	run gpufs_start -o vastai_base_url=http://cloud.example
	[ "$status" -eq 2 ]
	[[ "$output" == *"VASTAI_BASE_URL"*"ALLOW_INSECURE"* ]]
	run gpufs_start -o vastai_base_url=https://cloud.example/api
	[ "$status" -eq 2 ]
	run "$GPUFS_BIN" --check -o database_path="$DB" -o vastai_base_url=http://cloud.example,allow_insecure=yes
	[ "$status" -eq 0 ]
	run mountpoint -q "$M"
	[ "$status" -ne 0 ]
}

@test "beside a cloud this machine is off the market, and sessions are the owner's, unless said otherwise" {
	echo TOPSECRET > "$T/key"
	gpufs_start -o vastai_api_key_file="$T/key" -o $CLOUD
	is "$(printf 'local\nvastai')" "$(ls "$M/providers")"
	is off "$(cat "$M/providers/local/state")"
	[ ! -s "$M/providers/vastai/balance" ]
	is 755 "$(stat -c %a "$M/sessions" | tail -c 4)"
	until_true 20 grep -q down "$M/providers/vastai/state"
	[ -s "$M/providers/vastai/reason" ]
	is 0 "$(cat "$M/providers/vastai/offers")"
	[ -z "$(ls "$M/inventory")" ]
	no grep -rqs TOPSECRET "$T/state/gpufs.log" "$M/providers" "$M/status" "$M/alarms"
	# Who wants to buy there hears why nothing is to be had.
	mkdir "$M/sessions/x"
	run bash -c 'echo "gpu=RTX_4090 max_price=1 hours=1 commit" > "$1"' bash "$M/sessions/x/spec"
	[ "$status" -ne 0 ]
	[[ "$output" == *"No route to host"* ]]
	gpufs_stop
	gpufs_start -o vastai_api_key_file="$T/key" -o $CLOUD -o providers_local_enabled=yes,sessions_access=all
	is 1777 "$(stat -c %a "$M/sessions")"
	until_true 20 test -d "$M/inventory/local-cpu"
}

@test "a setting from the file, the environment and -o: the later wins, and takes effect" {
	printf '# comment\n\nlocal_price_per_hour = 1\nhard_max_hours = 3\n' > "$T/conf"
	GPUFS_LOCAL_PRICE_PER_HOUR=2 gpufs_start --config "$T/conf"
	until_true 20 test -d "$M/inventory/local-cpu"
	[ "$(cat "$M/inventory/local-cpu/price_per_hour")" = 2.00 ]
	alice mkdir "$M/sessions/x"
	run alice bash -c 'echo "offer=local-cpu hours=4 commit" > "$1"' bash "$M/sessions/x/spec"
	[ "$status" -ne 0 ]
	[[ "$output" == *"out of range"* ]]
	gpufs_stop
	GPUFS_LOCAL_PRICE_PER_HOUR=2 gpufs_start --config "$T/conf" -o local_price_per_hour=3
	until_true 20 test -d "$M/inventory/local-cpu"
	[ "$(cat "$M/inventory/local-cpu/price_per_hour")" = 3.00 ]
}

@test "a value can come from a file of its own" {
	echo 4.5 > "$T/price"
	GPUFS_LOCAL_PRICE_PER_HOUR_FILE=$T/price gpufs_start
	until_true 20 test -d "$M/inventory/local-cpu"
	[ "$(cat "$M/inventory/local-cpu/price_per_hour")" = 4.50 ]
}

@test "SIGHUP reads the settings again; a bad file changes nothing and is told" {
	echo 'hard_max_hours = 12' > "$T/conf"
	gpufs_start --config "$T/conf"
	alice mkdir "$M/sessions/x"
	echo 'hard_max_hours = 2' > "$T/conf"
	kill -HUP "$(holder_pid)"
	try() { alice bash -c 'echo "offer=local-cpu hours=3" > "$1"' bash "$M/sessions/x/spec"; }
	not_any_more() { ! alice bash -c 'echo "offer=no-such hours=3" > "$1"' bash "$M/sessions/x/spec" &&
		alice grep -q ' 2' "$M/sessions/x/error" && alice grep -q hours "$M/sessions/x/error"; }
	until_true 20 not_any_more
	run try
	[ "$status" -ne 0 ]
	[[ "$output" == *"out of range"* ]]
	echo 'hard_max_hours = lots' > "$T/conf"
	kill -HUP "$(holder_pid)"
	until_true 20 grep -q HARD_MAX_HOURS "$T/state/gpufs.log"
	run try
	[ "$status" -ne 0 ]
	[ -d "/proc/$(daemon_pid)" ]
}

@test "in front (-f): it stays, says what it does, and SIGINT ends it with 0" {
	# bash lets its background jobs ignore SIGINT; a terminal does not.
	env --default-signal=INT "$GPUFS_BIN" "$M" -f -o database_path="$DB" 2> "$T/said" 3>&- &
	front=$!
	until_true 30 test -s "$M/version"
	[ -d "/proc/$front" ]
	kill -INT "$front"
	ended_with "$front"
	[ "$status" -eq 0 ]
	grep -q 'serves' "$T/said"
	run mountpoint -q "$M"
	[ "$status" -ne 0 ]
	[ ! -e "$T/state/gpufs.log" ]
}

@test "in front (-f): a start that fails says why on the terminal and ends with 1" {
	mkdir -p "$DB"
	run "$GPUFS_BIN" "$M" -f -o database_path="$DB"
	[ "$status" -eq 1 ]
	[[ "$output" == *"not a regular file"* ]]
}

@test "in the background it returns when the mount answers, and keeps no descriptor of its caller" {
	gpufs_start
	[ -s "$M/version" ]
	for pid in "$(daemon_pid)" "$(holder_pid)"; do
		[ "$(readlink "/proc/$pid/fd/0")" = /dev/null ]
		[ "$(readlink "/proc/$pid/fd/1")" = "$T/state/gpufs.log" ]
		[ "$(readlink "/proc/$pid/fd/2")" = "$T/state/gpufs.log" ]
		[ "$(readlink "/proc/$pid/cwd")" = / ]
	done
	[ "$(stat -c %a "$T/state/gpufs.log")" = 600 ]
}

@test "mount -t fuse.gpufs mounts, options and settings included" {
	mkdir -p "$T/bin" "$M"
	install -m 755 "$GPUFS_BIN" "$T/bin/gpufs"
	# mount(8) looks for gpufs in its own PATH: so a private view in which it is installed. What it
	# mounts is to be seen in there alone.
	run unshare -m bash -ec "
		BATS_TEST_DIRNAME='$BATS_TEST_DIRNAME'
		source '$BATS_TEST_DIRNAME/lib.bash'
		mount --bind '$T/bin' /usr/local/bin
		mount -t fuse.gpufs none '$M' -o 'database_path=$DB,local_price_per_hour=7,noexec,x-systemd.automount'
		grep -F ' $M ' /proc/self/mounts
		until_true 20 test -d '$M/inventory/local-cpu'
		cat '$M/inventory/local-cpu/price_per_hour'
		d=\$(daemon_pid)
		umount '$M'
		until_true 15 test ! -d /proc/\$d
		! mount -t fuse.gpufs none '$M' -o 'database_path=$DB,wibble=7'
	" 3>&-
	[ "$status" -eq 0 ] || { echo "$output" >&2; return 1; }
	grep -q '^gpufs .* fuse.gpufs .*noexec' <<< "$output"
	[[ "$output" == *$'\n7.00\n'* ]]
	[[ "$output" == *"unknown setting 'wibble'"* ]]
}

@test "mount.fuse3 mounts it as well" {
	mkdir -p "$T/bin" "$M"
	ln -s "$GPUFS_BIN" "$T/bin/gpufs"
	PATH=$T/bin:$PATH /sbin/mount.fuse3 none "$M" -t fuse.gpufs -o "database_path=$DB" 3>&-
	[ -s "$M/version" ]
}

@test "-o ro shows the market and refuses every change" {
	gpufs_start -o ro
	until_true 20 test -d "$M/inventory/local-cpu"
	run alice mkdir "$M/sessions/x"
	[ "$status" -ne 0 ]
	[[ "$output" == *"Read-only file system"* ]]
}

@test "the mount is safe by its flags: nosuid, nodev, default_permissions" {
	gpufs_start
	grep -F " $M " /proc/self/mounts | grep -q 'nosuid,nodev.*default_permissions.*allow_other'
}

@test "an ordinary user's own mount: a whole life, ssh included" {
	user_mount
	user_start
	[ "$(alice cat "$M/version")" = "$("$GPUFS_BIN" --version | cut -d' ' -f2)" ]
	[ "$(stat -c %U "/proc/$(daemon_pid)")" = gpufs-alice ]
	buy train
	[ "$(on train id -un)" = gpufs-alice ]
	# ssh accepts the included file: it is the user's own.
	[ "$(alice stat -c %U "$M/ssh_config")" = gpufs-alice ]
	word=job-${T##*.}
	on train "nohup bash -c 'exec -a $word sleep 100000' >/dev/null 2>&1 </dev/null & exit 0"
	until_true 20 pgrep -f -- "$word"
	alice rmdir "$M/sessions/train"
	[[ "$(gone train)" == *"proof complete"* ]]
	no_jobs "$word"
	sshds_are 0
	# It is for that user alone.
	run bob ls "$M"
	[ "$status" -ne 0 ]
}

@test "an ordinary user's own mount: kill -9 of both, started again, the session runs and ssh works" {
	user_mount
	user_start
	buy train
	both_killed
	user_start
	reads sessions/train/state running
	[ "$(on train id -un)" = gpufs-alice ]
	sshds_are 1
	h=$(holder_pid)
	old=$(daemon_pid)
	kill -KILL "$old"
	anew() { [ "$(daemon_pid)" != "$old" ] && reads sessions/train/state running; }
	until_true 30 anew
	kill -TERM "$h"
	until_true 15 pid_gone "$h"
	[ -z "$(grep -F " $M " /proc/self/mounts)" ]
	sshds_are 1
}

@test "an ordinary user is told when /dev/fuse, the directory or the setting is not for users" {
	user_mount
	run user_start -o sessions_access=all
	[ "$status" -eq 2 ]
	[[ "$output" == *"for that user alone"* ]]
	mkdir "$T/roots"
	run alice env PATH="$T/bin:$PATH" "$T/bin/gpufs" "$T/roots" -o database_path="$DB"
	[ "$status" -eq 1 ]
	[[ "$output" == gpufs:*"$T/roots"* ]]
	run alice env PATH=/nowhere "$T/bin/gpufs" "$M" -o database_path="$DB"
	[ "$status" -eq 1 ]
	[[ "$output" == *"apt-get install fuse3"* ]]
}
