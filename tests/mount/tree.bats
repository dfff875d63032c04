#!/usr/bin/env bats
# shellcheck shell=bash
# The rules that hold everywhere (tree.md): every row of the table is in the tree, and says one thing in one way.

load lib

setup() { common_setup; }
teardown() { common_teardown; }

# A tree with an offer of each kind, a session running, a draft, one ended.
full_tree() {
	gpufs_start -o synthetic_offers=20,synthetic_seed=7 -o admin_group=gpufs-bob
	buy x 'offer=local-cpu hours=2 label=first workload_type=batch env.A=1'
	draft d
	buy z
	Z=$(val z id)
	alice rmdir "$M/sessions/z"
	timeout 30 cat "$M/history/last/z/wait/gone" >/dev/null
	# What a look-up of any query shows is the same as what all/ shows.
	RESULT=$(basename "$(ls -d "$M/search/all/"*.local-cpu)")
}

@test "every row of schema.json is in the tree with its type, mode and doc, and nothing else is" {
	full_tree
	is "rows $(wc -l <"$M/schema.json")" "$(probe schema "$M" inventory/OFFER=inventory/local-cpu sessions/NAME=sessions/x \
		"history/ID=history/$Z" history/last/NAME=history/last/z providers/NAME=providers/local \
		search/QUERY=search/all "search/QUERY/NNN.OFFER=search/all/$RESULT" \
		sessions/NAME/ports/N=)" # this machine maps none
	[ "$(wc -l <"$M/schema.json")" -gt 130 ]
	cmp "$M/schema.json" <("$GPUFS_BIN" --print=schema.json)
}

@test "st_size is what can be read, of every file, for root and for a user" {
	full_tree
	run probe sizes "$M"
	is "files $(find "$M" -type f ! -name ctl | wc -l)" "$output"
	run alice_probe sizes "$M"
	[[ "$output" =~ ^files\ [0-9]+$ ]]
	# Also by name alone, before anybody opened it.
	local f
	for f in README version schema.json inventory/local-cpu/info sessions/x/id sessions/x/ssh/key sessions/x/log \
		"history/$Z/receipt"; do
		is "$(wc -c <"$M/$f")" "$(stat -c %s "$M/$f")"
	done
}

@test "info, info.json and the files of an object say the same" {
	full_tree
	local d
	for d in "$M/inventory"/*/ "$M/sessions/x" "$M/sessions/d" "$M/history/$Z" "$M/providers"/*/; do
		run probe twins "$d"
		[[ "$output" =~ ^same\ [0-9]+$ ]] || { echo "$d: $output"; false; }
	done
	is running "$(jq -r .state "$M/sessions/x/info.json")"
	is number:boolean:string "$(jq -r '[(.gpu_count, .protect, .expires_at) | type] | join(":")' "$M/sessions/x/info.json")"
	is null "$(jq .stopped_at "$M/sessions/x/info.json")"
	jq -e . "$M/status.json" >/dev/null
	is "$(grep -v '^why' "$M/status" | sed 's/ .*//')" "$(jq -r 'keys_unsorted[]' "$M/status.json")"
	is ok "$(jq -r .state "$M/status.json")"
	is 1 "$(jq '."sessions.running"' "$M/status.json")"
	is 1 "$(jq '."sessions.draft"' "$M/status.json")"
}

@test "one value is one line with a newline; unknown is an empty file; tables begin with one # line" {
	full_tree
	local f rows
	rows=$(jq -r 'select(.path | startswith("sessions/NAME/")) | select(.type | IN("integer", "boolean", "money", "decimal", "time"))
		| .path | ltrimstr("sessions/NAME/")' "$M/schema.json")
	[ "$(wc -l <<<"$rows")" -gt 12 ]
	for f in $rows; do
		is 1 "$(wc -l <"$M/sessions/x/$f")" || is 0 "$(stat -c %s "$M/sessions/x/$f")"
	done
	for f in created_at bought_at running_at expires_at; do
		[[ "$(val x $f)" =~ ^20[0-9]{2}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-6][0-9]Z$ ]]
	done
	[[ "$(val x remaining)" =~ ^[0-9]+$ ]]
	[[ "$(val x price_per_hour)" =~ ^[0-9]+\.[0-9]{2,6}$ ]]
	# Absent is not zero: of a draft nothing is known but who made it and when.
	for f in provider instance_id offer_id gpu_type gpu_count vram_gb location price_per_hour price_quoted bought_at \
		running_at expires_at stopped_at remaining cost_max ssh/host ssh/port ssh/user ssh/command ssh/known_hosts; do
		is "" "$(cat "$M/sessions/d/$f")"
		is 0 "$(stat -c %s "$M/sessions/d/$f")"
	done
	no [ -e "$M/sessions/d/offer" ]
	[ ! -s "$M/sessions/x/stopped_at" ]
	is 0 "$(stat -c %s "$M/alarms")"
	is 1 "$(grep -c '^#' "$M/list")"
	is 1 "$(grep -c '^#' "$M/search/all/table.tsv")"
	is "$(head -n 1 "$M/list" | tr '\t' '\n' | wc -l)" "$(tail -n 1 "$M/list" | tr '\t' '\n' | wc -l)"
	is 1 "$(tail -n +1 "$M/search/all/table.tsv" | awk -F'\t' '{print NF}' | sort -u | wc -l)"
}

@test "names that gpufs makes need no quotes" {
	full_tree
	is "" "$(find "$M" -printf '%P\n' | grep -v '^[]A-Za-z0-9._=,+/-]*$')"
}

@test "README fits one screen and shows the five commands of a session's life" {
	gpufs_start -o public_mount=/gpu
	[ "$(wc -l <"$M/README")" -le 40 ]
	[ "$(awk '{print length}' "$M/README" | sort -n | tail -n 1)" -le 100 ]
	local word
	for word in 'mkdir /gpu/sessions/' '/spec' 'wait/ready' 'ssh -F' 'rmdir /gpu/sessions/' 'error'; do
		grep -qF -- "$word" "$M/README"
	done
}

@test "version, modes and owners of the root are as documented" {
	gpufs_start
	is "$("$GPUFS_BIN" --version | grep -o '[0-9][0-9.]*')" "$(cat "$M/version")"
	is "root:root:755" "$(stat -c %U:%G:%a "$M")"
	is "root:root:555" "$(stat -c %U:%G:%a "$M/inventory")"
	is "root:root:400" "$(stat -c %U:%G:%a "$M/counters")"
	is "" "$(ls "$M" | grep -x counters)"
	is 0 "$(stat -f -c %b "$M")"
	is "fuse.gpufs" "$(awk -v m="$M" '$2 == m {print $3}' /proc/mounts)"
	awk -v m="$M" '$2 == m {print $4}' /proc/mounts | grep -q nosuid
	awk -v m="$M" '$2 == m {print $4}' /proc/mounts | grep -q nodev
}

@test "remaining: +2h adds, a number sets, and the hard maximum cannot be passed" {
	gpufs_start
	buy x
	local s=$M/sessions/x
	[ "$(val x remaining)" -gt 7100 ] && [ "$(val x remaining)" -le 7200 ]
	alice sh -c "echo +2h > '$s/remaining'"
	[ "$(val x remaining)" -gt 14300 ] && [ "$(val x remaining)" -le 14400 ]
	alice sh -c "echo 600 > '$s/remaining'"
	[ "$(val x remaining)" -le 600 ]
	is "ERANGE write" "$(echo 13h | alice_probe write "$s/remaining")"
	is "ERANGE write" "$(echo +12h | alice_probe write "$s/remaining")"
	grep -q ' ERANGE ' "$s/error"
	for bad in soon -5 1.5h +; do
		[[ "$(echo $bad | alice_probe write "$s/remaining")" =~ ^(EINVAL|ERANGE)\ write$ ]]
	done
	[ "$(val x remaining)" -le 600 ]
	is ok "$(echo 'extend 1h' | alice_probe write "$s/ctl")"
	[ "$(val x remaining)" -gt 4000 ]
	is "EINVAL write" "$(printf '600\n700\n' | alice_probe write "$s/remaining")"
	is "EINVAL write" "$(printf '60\0' | alice_probe write "$s/remaining")"
	is "EINVAL write" "$(head -c 100000 /dev/zero | tr '\0' 1 | alice_probe write "$s/remaining")"
	# Several verbs, one a line: in order, up to the first refusal.
	is "EINVAL write" "$(printf 'extend 1h\nnonsense\nextend 1h\n' | alice_probe write "$s/ctl")"
	[ "$(val x remaining)" -gt 7600 ] && [ "$(val x remaining)" -le 8000 ]
}

@test "offer links into the inventory, last/NAME into history" {
	full_tree
	is ../../inventory/local-cpu "$(readlink "$M/sessions/x/offer")"
	is CPU "$(cat "$M/sessions/x/offer/gpu_type")"
	is "../$Z" "$(readlink "$M/history/last/z")"
	is z "$(cat "$M/history/last/z/name")"
	is stopped "$(cat "$M/history/last/z/state")"
}
