#!/usr/bin/env bats
# shellcheck shell=bash
# Golden values: mode, owner and content of every file, with what differs from run to run masked. After a
# change that is meant: GOLDEN_UPDATE=1 bats tests/mount/golden.bats, and read the difference in git.

load lib

setup() { common_setup; }
teardown() { common_teardown; }

mask() {
	sed -E \
		-e "s#$T#DIR#g" \
		-e 's/[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}/UUID/g' \
		-e 's/gpufs-[a-z0-9]{4,8}-[a-z0-9]{26}-([0-9]+)-[a-z0-9]{10}/gpufs-DEPLOYMENT-SESSION-\1-MAC/g' \
		-e 's/20[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9:]{8}Z/TIME/g' \
		-e "s#AAAAC3Nza[A-Za-z0-9+/=]*#KEY#g" \
		-e '/^    [A-Za-z0-9+\/=]{30,70}$/d' \
		-e 's/"(seq|uid|pid)":[0-9]+/"\1":N/g' \
		-e "s/\"location\":\"$HOSTNAME\"/\"location\":\"HOST\"/; s/^((    )?location) $HOSTNAME$/\1 HOST/" \
		-e 's/((_port"?|Port|PORT=.|port)[ :]?)[0-9]{4,5}/\1NNNNN/g; s/\[127\.0\.0\.1\]:[0-9]+/[127.0.0.1]:NNNNN/' \
		-e 's/("?remaining"?[ :])[0-9]+/\1SECONDS/g' \
		-e 's/((list_age|calls|seconds_billed)"?[ :])[0-9]+/\1N/g; s/(destroy|look)=[0-9]+/\1=N/g' \
		-e 's/(was accepted: )[^"]*/\1EVIDENCE/' | uniq
}

# dump DIR: every entry, also the unlisted ones that do not block; one line each, content below it.
dump() {
	local f
	(
		cd "$1"
		{ find . -mindepth 1 -maxdepth "${2:-9}"; find ./wait ./watch -mindepth 1 2>/dev/null; } |
			LC_ALL=C sort -u | while read -r f; do
			stat -c "%A %U:%G ${f#./}" "$f"
			case $f in
			./ssh/port | ./remaining | ./list_age | ./calls) [ ! -s "$f" ] || echo '    N' ;;
			./location) sed "s/^$HOSTNAME$/HOST/; s/^/    /" "$f" ;;
			./wait/* | ./watch/* | ./schema.json | ./metrics | ./provider.log) ;;
			*)
				if [ -L "$f" ]; then
					echo "    -> $(readlink "$f")"
				elif [ -f "$f" ] && [ "${f##*/}" != ctl ]; then
					sed 's/^/    /' "$f"
				fi
				;;
			esac
		done
	) | mask
}

# golden NAME: standard input is what tests/mount/golden/NAME says.
golden() {
	local file=$BATS_TEST_DIRNAME/golden/$1
	cat >"$T/got"
	if [ -n "${GOLDEN_UPDATE:-}" ]; then cp "$T/got" "$file"; fi
	diff -u "$file" "$T/got"
}

start() { gpufs_start -o synthetic_offers=20,synthetic_seed=7 -o public_mount=/gpu "$@"; }

@test "golden: the root" {
	start
	dump "$M" 1 | golden root
}

@test "golden: schema.json" {
	start
	golden schema.json <"$M/schema.json"
}

@test "golden: an offer of this machine, and a made-up one" {
	start
	dump "$M/inventory/local-cpu" | golden offer-local
	dump "$M/inventory/synthetic-100003" | golden offer-synthetic
}

@test "golden: a draft, and a draft whose spec was refused" {
	start
	draft x
	dump "$M/sessions/x" | golden draft
	is "ERANGE write" "$(put x 'offer=local-cpu hours=13\n')"
	is "ENOSPC close" "$(put x 'gpu=RTX_4090 hours=2 max_price=0.01 label=test\n')"
	dump "$M/sessions/x" | golden draft-refused
}

@test "golden: a running session" {
	start
	buy x "offer=local-cpu hours=2 label='two words' consumer=team-a env.A=b"
	dump "$M/sessions/x" | golden session
	alice cat "$M/list" | awk -F'\t' -v OFS='\t' 'NR > 1 {$6 = "SECONDS"} {print}' | mask | golden list
	alice cat "$M/ssh_config" | mask | golden ssh_config
	cat "$M/status" | mask | golden status
}

@test "golden: an ended session" {
	start
	buy x "offer=local-cpu hours=2 label='two words'"
	alice rmdir "$M/sessions/x"
	timeout 30 cat "$M/history/last/x/wait/gone" >/dev/null
	dump "$M/history/last/x" | golden history
}

@test "golden: a provider" {
	start
	dump "$M/providers/local" | golden provider
}

@test "golden: a query" {
	start
	dump "$M/search/gpu=RTX_4090" | golden query
	dump "$M/search/min_vram=48,max_price=1" | golden query-narrow
}
