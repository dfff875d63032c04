#!/usr/bin/env bats
# shellcheck shell=bash disable=SC2154
# examples/gpu-shopper: the commands of the public predecessor over a real mount, as an ordinary user, under
# the shells that people have: tables, JSON, both spellings of every flag, refusals and exit statuses.

bats_require_minimum_version 1.5.0
load lib
load life_lib

setup() {
	common_setup
	install -m 755 "$BATS_TEST_DIRNAME/../../examples/gpu-shopper" "$T/gpu-shopper"
	install -d -o gpufs-alice "$T/home"
	SH=
}
teardown() { common_teardown; }

# shopper WORD...: as alice, under the shell in $SH, from a folder of hers.
shopper() {
	# shellcheck disable=SC2086 # busybox sh is two words
	(cd "$T/home" && alice env GPUFS_MOUNT="$M" $SH "$T/gpu-shopper" "$@")
}
# refuses STATUS TEXT WORD...: nothing on standard output; the sentence holds TEXT.
refuses() {
	local wanted=$1 text=$2 got=0
	shift 2
	shopper "$@" >"$T/out" 2>"$T/err" || got=$?
	[ "$got" = "$wanted" ] && [ ! -s "$T/out" ] && grep -qF -- "$text" "$T/err" || {
		printf '%s gpu-shopper %s: wanted %s and "%s", got %s:\n%s\n%s\n' "$SH" "$*" "$wanted" \
			"$text" "$got" "$(cat "$T/out")" "$(cat "$T/err")" >&2
		return 1
	}
}
# same COMMAND, FLAGS, FLAGS...: each of these spellings (a string of words) prints the same.
same() {
	local command=$1 first
	shift
	# shellcheck disable=SC2086
	first=$(shopper $command $1)
	[ -n "$first" ]
	for flags in "$@"; do
		# shellcheck disable=SC2086
		is "$first" "$(shopper $command $flags)" || return 1
	done
}
market() {
	gpufs_start -o synthetic_offers="${1:-200}",synthetic_seed=7
	until_true 20 test -d "$M/inventory/synthetic-100000"
}

inventory_transcript() {
	SH=$1
	# The table: headers as in the predecessor's manual, one line an offer, in the tree's order.
	shopper inventory --gpu-type 'RTX 4090' >"$T/table"
	is 'OFFER ID          PROVIDER    GPU TYPE     VRAM   PRICE/HR   LOCATION' "$(head -n 1 "$T/table")"
	is "$(grep -v '^#' "$M/search/gpu=RTX_4090/table.tsv" | cut -f1)" \
		"$(tail -n +2 "$T/table" | cut -d' ' -f1)"
	local id row
	id=$(sed -n '2s/ .*//p' "$T/table")
	row=$(tail -n +2 "$T/table" | head -n 1)
	is "$(cat "$M/inventory/$id/price_per_hour")" "$(sed 's/.*\$\([0-9.]*\) .*/\1/' <<<"$row")"
	is "$(cat "$M/inventory/$id/location")" "$(sed 's/.*\$[0-9.]* *//' <<<"$row")"
	is "$(grep -c . "$M/search/all/offers.json")" "$(shopper inventory | tail -n +2 | grep -c .)"
	# JSON: the tree's own objects, in one array.
	is "$(jq -cs . "$M/search/all/offers.json")" "$(shopper inventory --json | jq -c .)"
	is "$(jq -cs . "$M/search/gpu=RTX_4090,min_vram=24/offers.json")" \
		"$(shopper inventory -o json -g RTX_4090 --min-vram 24 | jq -c .)"
	same inventory '--json' '-o json' '-o=json' '-ojson' '--output json' '--output=json'
	same inventory '-p synthetic' '--provider synthetic' '--provider=synthetic' '-psynthetic'
	same inventory '-g RTX_4090' '--gpu RTX_4090' '--gpu-type RTX_4090' '--gpu=rtx4090'
	same inventory '-g =RTX_4090' '--gpu==RTX_4090'
	same inventory '--min-gpus 4 --max-price 9.50' '--max-price=9.50 --min-gpu-count=4'
	# Nothing found: what each condition left over, and status 1; JSON is an array all the same.
	refuses 1 "$(tail -n 1 "$M/search/gpu=NoSuch/why")" inventory -g NoSuch
	run --separate-stderr shopper inventory --json -g NoSuch
	is '1 []' "$status $output"
	[[ "$stderr" == *gpu=NoSuch* ]]
	# The tree judges values, in its own words; its structure cannot be reached through one.
	refuses 1 'max_price=abc: must be an amount of USD' inventory --max-price abc
	refuses 1 'min_vram=-1: ' inventory --min-vram -1
	refuses 2 "no value has '/'" inventory -g ../../sessions
	refuses 2 "no value has '/' or ','" inventory -g CPU,min_vram=1
}

@test "inventory: tables, JSON, flags, nothing found (dash)" { market && inventory_transcript dash; }
@test "inventory: tables, JSON, flags, nothing found (bash)" { market && inventory_transcript bash; }
@test "inventory: tables, JSON, flags, nothing found (busybox sh)" { market && inventory_transcript 'busybox sh'; }

life_transcript() {
	SH=$1
	local id s=$M/sessions
	shopper provision --consumer-id my-app --offer-id local-cpu --hours 2 --name train --wait \
		--workload-type training --storage destroy --save-key "$T/home/key" >"$T/out" 2>"$T/err"
	id=$(cat "$s/train/id")
	is "Session ID:  $id" "$(sed -n 1p "$T/out")"
	is "Name:        train" "$(sed -n 2p "$T/out")"
	is "SSH:         $(cat "$s/train/ssh/command")" "$(sed -n 3p "$T/out")"
	is "train: running" "$(tail -n 1 "$T/err")"
	is "training my-app" "$(cat "$s/train/workload_type" "$s/train/consumer" | xargs)"
	is "600 gpufs-alice" "$(stat -c '%a %U' "$T/home/key")"
	cmp "$T/home/key" "$s/train/ssh/key"
	is gpufs-alice "$(alice sh -c "$(sed -n '3s/^SSH: *//p' "$T/out") -n id -un")"

	shopper sessions list >"$T/list"
	local when
	when=$(sed 's/T/ /; s/Z//' "$s/train/expires_at")
	printf '%-38s%-14s%-12s%-11s%s\n' 'SESSION ID' CONSUMER 'GPU TYPE' STATUS 'EXPIRES AT' \
		"$id" my-app CPU running "$when" | diff - "$T/list"
	is "$id" "$(shopper sessions list -o json | jq -r '.[] | .id')"
	same 'sessions list' '-c my-app' '--consumer my-app' '--consumer-id=my-app' '-s running' '--status running'
	refuses 1 'No sessions found.' sessions list -c other
	refuses 1 'No sessions found.' sessions list -s stopped
	run --separate-stderr shopper sessions list -s stopped -o json
	is '1 []' "$status $output"

	is "$(jq -r .id "$s/train/info.json") running" \
		"$(shopper sessions get "$id" -o json | jq -r '.id + " " + .state')"
	is "id $id" "$(shopper sessions get train | grep '^id ')"

	shopper sessions extend train --hours 3 >"$T/out"
	printf 'Session train extended by 3 hours.\nNew expiration: %s\n' "$(cat "$s/train/expires_at")" |
		diff - "$T/out"
	refuses 1 'past the hard maximum' sessions extend "$id" -t 9
	is "Session $id shutdown initiated." "$(shopper sessions 'done' "$id" | sed 's/destroyed/shutdown initiated/')"
	until_true 30 reads sessions/train/state stopped
	is "Session train destroyed." "$(shopper sessions destroy train)"
	is "Session $id destroyed." "$(shopper sessions delete "$id")"
	refuses 1 'stopped' sessions extend train -t 1
	alice rmdir "$s/train"
	is "stopped" "$(shopper sessions get train -o json | jq -r .state)"
	is "name train" "$(shopper sessions get "$id" | sed -n 1p)"
	is "Session $id destroyed." "$(shopper sessions destroy "$id")"
	refuses 1 "session $id has ended: it is stopped" sessions 'done' "$id"
}

@test "a session's life: provision, list, get, extend, done, destroy (dash)" { gpufs_start && life_transcript dash; }
@test "a session's life: provision, list, get, extend, done, destroy (bash)" { gpufs_start && life_transcript bash; }
@test "a session's life: provision, list, get, extend, done, destroy (busybox sh)" {
	gpufs_start && life_transcript 'busybox sh'
}

# buys FLAGS...: a purchase by these words; then it is ended again.
buys() {
	local name
	name=$(shopper provision "$@" 2>/dev/null | sed -n 's/^Name: *//p')
	[ -d "$M/sessions/${name:?}" ] && cat "$M/sessions/$name/spec" | xargs
	alice rmdir "$M/sessions/$name"
	gone "$name" >/dev/null
}

@test "provision: both spellings of every flag, the cheapest of a model, words that need quotes" {
	gpufs_start
	for SH in dash bash 'busybox sh'; do
		local spec='offer=local-cpu hours=1 consumer=x workload_type=llm'
		is "$spec" "$(buys -c x -i local-cpu -t 1)"
		is "$spec" "$(buys --consumer x --offer local-cpu --hours=1 --workload llm)"
		is "$spec" "$(buys --consumer-id=x --offer-id=local-cpu -t1 --workload-type=llm)"
		is "$spec" "$(buys -cx -g CPU -t 1 -w llm)"
		is "$spec" "$(buys -cx --gpu CPU -t 1)"
		is "$spec" "$(buys -cx --gpu-type=cpu -t 1 --storage=destroy)"
		run --separate-stderr shopper provision -c "it's \"x\" \\ \$HOME" -i local-cpu -t 1 -o json --name q --wait
		is "0 it's \"x\" \\ \$HOME running" "$status $(jq -r '.consumer + " " + .state' <<<"$output")"
		is q "$(basename "$M"/sessions/*)"
		is running "$(shopper sessions list -c "it's \"x\" \\ \$HOME" -o json | jq -r '.[].state')"
		alice rmdir "$M/sessions/q"
		gone q >/dev/null
	done
}

@test "provision: what is refused buys nothing, leaves nothing, and says why" {
	market 5
	for SH in dash bash 'busybox sh'; do
		local ok='provision -c x -i local-cpu -t 1'
		refuses 2 '--consumer-id NAME is required' provision -i local-cpu -t 1
		refuses 2 '--hours N is required' provision -c x -i local-cpu
		refuses 2 '--hours N is required' provision -c x -i local-cpu -t 1.5
		refuses 2 'say --offer-id ID or --gpu-type TYPE' provision -c x -t 1
		refuses 2 'say --offer-id ID or --gpu-type TYPE' provision -c x -t 1 -i local-cpu -g CPU
		refuses 2 'does not watch for idle machines' $ok --idle-timeout 30
		refuses 2 'no disk is kept' $ok --storage preserve
		refuses 2 'cannot be written' $ok --save-key /nowhere/key
		refuses 2 'cannot be written' $ok --save-key "$T/home"
		refuses 2 "--name '../x'" $ok --name ../x
		refuses 2 'needs a value' provision -c
		refuses 2 'unknown flag --priority' $ok --priority 1
		refuses 2 'one word too many: now' $ok now
		refuses 1 'hours=13: must be 1 to 12' provision -c x -i local-cpu -t 13
		refuses 1 'there is no such offer on the market' provision -c x -i vastai-12345 -t 1
		refuses 1 'workload_type=magic' $ok -w magic
		refuses 1 'gpu=NoSuch' provision -c x -g NoSuch -t 1
		refuses 2 'required, one line' provision -c "$(printf 'a\nhours=12')" -i local-cpu -t 1
		is '' "$(ls "$M/sessions")"
		# A name in use, also by a draft, which stays.
		draft used
		refuses 1 'File exists' $ok --name used
		is draft "$(val used state)"
		refuses 1 'a draft has no machine: remove it with rmdir' sessions destroy used
		alice rmdir "$M/sessions/used"
	done
	no compgen -G "$T/state/local/gpufs-*"
}

@test "provision --wait of what fails ends with 1 and the reason; on a terminal on one line" {
	market 5
	for SH in dash bash 'busybox sh'; do
		run --separate-stderr shopper provision -c x -i synthetic-100001 -t 1 --wait --name bad
		is 1 "$status"
		[[ "$stderr" == *'bad is failed: '*'never sold'* ]]
		alice rmdir "$M/sessions/bad"
		# shellcheck disable=SC2086
		alice env GPUFS_MOUNT="$M" script -qec "$SH '$T/gpu-shopper' provision -c x -i local-cpu -t 1 --wait --name tty" \
			"$T/home/typescript" </dev/null >"$T/out"
		grep -qF "$(printf '\rtty: running\033[K')" "$T/out"
		alice rmdir "$M/sessions/tty"
		gone tty >/dev/null
	done
}

@test "somebody else's sessions are neither listed nor found; a colleague may look" {
	gpufs_start
	buy train
	for SH in dash bash 'busybox sh'; do
		# shellcheck disable=SC2086
		bobs() { bob env GPUFS_MOUNT="$M" $SH "$T/gpu-shopper" "$@"; }
		# shellcheck disable=SC2086
		colleagues() { colleague env GPUFS_MOUNT="$M" $SH "$T/gpu-shopper" "$@"; }
		run bobs sessions list
		is '1 gpu-shopper: No sessions found.' "$status $output"
		for id in train "$(val train id)"; do
			for verb in get 'done' destroy; do
				run bobs sessions $verb "$id"
				is "1 gpu-shopper: session not found: $id" "$status $output"
			done
		done
		is running "$(colleagues sessions get train -o json | jq -r .state)"
		run colleagues sessions destroy train
		is "1 gpu-shopper: session train is gpufs-alice's: you may only look at it" "$status $output"
	done
	is running "$(val train state)"
}

@test "wrong use ends with 2, what is not there with 1, help with 0" {
	gpufs_start
	for SH in dash bash 'busybox sh'; do
		refuses 2 'inventory: what is on the market' # no command: the help
		refuses 2 'unknown command: rent' rent
		refuses 2 'unknown flag --nonsense' inventory --nonsense
		refuses 2 'unknown flag -p' sessions list -p x
		refuses 2 'unknown flag --json' sessions list --json
		refuses 2 "--output is table or json, not 'xml'" inventory -o xml
		refuses 2 'one word too many: x' inventory x
		refuses 2 'one word too many: x' sessions list x
		refuses 2 'one word too many: b' sessions get a b
		refuses 2 "'sessions '" sessions
		refuses 2 "'sessions burn'" sessions burn x
		refuses 2 'of which session?' sessions get
		refuses 2 '--hours N is required' sessions extend x
		refuses 2 'keeps no costs/' costs
		refuses 2 'keeps no costs/' costs summary -c x --period daily
		refuses 2 'no orphans/' cleanup-orphans --execute --force
		local id
		for id in nope '..' '../sessions' '/etc' '-' "$(printf 'a\nb')" '*' '%s%n' "$(printf '%300s' | tr ' ' x)"; do
			refuses 1 'session not found: ' sessions get "$id"
		done
		[[ "$(shopper --help)" == *'--save-key FILE'*'Exit status'* ]]
		[[ "$(shopper provision --help)" == 'provision: rent a machine'* ]]
		[[ "$(shopper sessions get -h)" == *'sessions get ID'* ]]
		is "gpu-shopper of gpufs $(cat "$M/version")" "$(shopper --version)"
		# Where the mount is: a flag goes before the environment.
		refuses 1 'no gpufs is mounted at /nowhere' --mount /nowhere inventory
		refuses 1 'no gpufs is mounted at ./-x' inventory --mount=-x
		# shellcheck disable=SC2086
		alice env GPUFS_MOUNT=/nowhere $SH "$T/gpu-shopper" inventory --mount "$M/" | grep -q ^local-cpu
	done
}

@test "the script reads and writes below the mount only, parses everywhere, stays small" {
	local script=$T/gpu-shopper
	for SH in dash bash 'busybox sh'; do $SH -n "$script"; done
	[ "$(wc -l <"$script")" -lt 300 ]
	no grep -nE 'curl|wget|sqlite|http:|gpufs\.db' "$script"
	! command -v shellcheck || shellcheck "$script"
}
