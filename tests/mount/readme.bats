#!/usr/bin/env bats
# shellcheck shell=bash disable=SC2154
# The README's transcript, line by line, as an ordinary user, in the shells people have.

load lib
load life_lib
load fake
load vastai_lib
load tensordock_lib

setup() {
	common_setup
	README=$BATS_TEST_DIRNAME/../../README.md
	[ ! -e /proc/driver/nvidia/gpus ] || skip 'the transcript is that of a machine without a GPU'
}
teardown() {
	fake_teardown
	common_teardown
}

@test "the README's transcript works as printed in bash" {
	gpufs_start
	transcript bash "$README"
	transcript bash "$README" # and a second time, over the history of the first
}

@test "the README's transcript works as printed in dash" {
	gpufs_start
	transcript dash "$README"
}

@test "the README's transcript works as printed in busybox sh" {
	gpufs_start
	transcript 'busybox sh' "$README"
}

@test "the five commands of the tree's own README work as printed" {
	gpufs_start
	until_true 20 test -d "$M/inventory/local-cpu"
	grep -E '^  (mkdir|echo|timeout|ssh|rmdir) ' "$M/README" | sed 's|train.gpu$|train.gpu uname|' > "$T/commands"
	[ "$(wc -l < "$T/commands")" -eq 5 ]
	while IFS= read -r line <&4; do
		alice dash -c "$line" < /dev/null > "$T/out" 2> "$T/err" || {
			echo "$line: $(cat "$T/err")" >&2
			return 1
		}
		case $line in
		*timeout*) [ "$(cat "$T/out")" = running ] ;;
		*ssh*) [ "$(cat "$T/out")" = Linux ] ;;
		esac
	done 4< "$T/commands"
	[[ "$(gone train)" == *"proof complete"* ]]
}

# clouds_start: with the README's own settings, against both fakes.
clouds_start() {
	needs_machines
	fakevast_start
	FAKE=td faketd_start
	awk '/^<!-- used by tests\/mount\/readme.bats: \/etc/ { on = 1; next } on && /^```ini/ { in_block = 1; next }
		in_block && /^```/ { exit } in_block' "$README" | sed "s|/etc/gpufs|$T|" > "$T/gpufs.conf"
	for key in vastai tensordock; do
		install -m 600 /dev/null "$T/$key.key"
		echo "$FAKE_KEY" > "$T/$key.key"
	done
	gpufs_start --config "$T/gpufs.conf" \
		-o vastai_base_url="$(fake_url)",tensordock_base_url="$(FAKE=td fake_url)"
	until_true 60 market_there
	until_true 60 td_market_there
	until_true 60 test -d "$M/inventory/local-cpu"
}

# clouds_transcript SHELL: one machine was bought at each, and ended (one that is listed still gets another DELETE).
clouds_transcript() {
	clouds_start
	transcript "$1" "$README" 2
	is '1 1' "$(fake_calls create) $(fake_calls destroy)"
	[[ "$(FAKE=td fake_calls create) $(FAKE=td fake_calls destroy)" =~ ^1\ [12]$ ]]
	fake_stop
	FAKE=td fake_stop
}

@test "the README's transcript of two clouds and this machine works as printed in bash" { clouds_transcript bash; }
@test "the README's transcript of two clouds and this machine works as printed in dash" { clouds_transcript dash; }
@test "the README's transcript of two clouds and this machine works as printed in busybox sh" {
	clouds_transcript 'busybox sh'
}
