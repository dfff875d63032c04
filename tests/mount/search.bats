#!/usr/bin/env bats
# shellcheck shell=bash
# Queries over a market of 2000 made-up offers, and listings of a large one.

load lib

setup() { common_setup; }
teardown() { common_teardown; }

market() {
	gpufs_start -o synthetic_offers="${1:-2000}",synthetic_seed=7 "${@:2}"
	until_true 20 all_are_there
}
all_are_there() { ! grep -q '^state starting' "$M/status"; }
# ids QUERY: the offers of a query in their order, by its links.
ids() { ls -1 "$M/search/$1" | sed -n 's/^[0-9]*\.//p'; }

@test "all/ links every offer in order of price, ties by id" {
	market
	local n=$M/search/all
	is 2001 "$(cat "$n/count")"
	is 2001 "$(ids all | wc -l)"
	is 2001 "$(ls "$M/inventory" | wc -l)"
	jq -r '[.price_per_hour, .id] | @tsv' "$n/offers.json" >"$T/got"
	LC_ALL=C sort -s -t '	' -k1,1g -k2,2 "$T/got" | diff - "$T/got"
	ids all | diff - <(cut -f2 "$T/got")
	# Each link leads to its offer, by name and by content.
	is "../../inventory/$(sed -n 7p "$T/got" | cut -f2)" "$(readlink "$n"/*7.* | sed -n 1p | cat)" || true
	is "$(sed -n 1p "$T/got" | cut -f2)" "$(basename "$(readlink "$n/best")")"
	is local "$(cat "$n/best/provider")"
	for i in 2 1000 2001; do
		id=$(sed -n "${i}p" "$T/got" | cut -f2)
		[ -d "$n/$(printf %04d "$i").$id" ]
		is "$(cat "$M/inventory/$id/price_per_hour")" "$(cat "$n/$(printf %04d "$i").$id/price_per_hour")"
	done
}

@test "count, links, table, table.tsv, offers.json and why agree with each other" {
	market
	local q n
	for q in all gpu=RTX_4090 gpu=H200,max_price=10 location=DE,min_vram=48 min_cuda=12.4,min_reliability=0.99 \
		interruptible=1 interruptible=0,gpu_count=8 min_gpu_count=4,max_vram=16 provider=synthetic,gpu=A100 \
		min_confidence=0.9,gpu=L4/max_price=2 gpu=NoSuchCard max_price=0.01,gpu=H100; do
		n=$(cat "$M/search/$q/count")
		is "$n" "$(ids "$q" | wc -l)"
		is "$n" "$(grep -vc '^#' "$M/search/$q/table.tsv" || true)"
		is "$n" "$(grep -vc '^#' "$M/search/$q/table" || true)"
		is "$n" "$(wc -l <"$M/search/$q/offers.json")"
		is "$n" "$(tail -n 1 "$M/search/$q/why" | cut -f2)"
		is "$(ids "$q")" "$(grep -v '^#' "$M/search/$q/table.tsv" | cut -f1)"
		is "$(ids "$q")" "$(jq -r .id "$M/search/$q/offers.json")"
		if [ "$n" -eq 0 ]; then
			is "ENOENT readlink" "$(probe call readlink "$M/search/$q/best")"
			is 0 "$(stat -c %s "$M/search/$q/table.tsv")"
		else
			is "../../inventory/$(ids "$q" | head -n 1)" "$(readlink "$M/search/${q%/*}/best" | sed 's,.*/\.\./,../,')" ||
				is "$(ids "$q" | head -n 1)" "$(basename "$(readlink "$M/search/$q/best")")"
		fi
	done
}

@test "each condition means what it says" {
	market
	local all=$M/search/all/offers.json
	want() { is "$(jq -r "select($2) | .id" "$all")" "$(ids "$1")"; }
	want gpu=RTX_4090 '.gpu_type == "RTX 4090"'
	want gpu=rtx4090 '.gpu_type == "RTX 4090"'
	want gpu=RTX-4090_D '.gpu_type == "RTX 4090 D"'
	want gpu=A100 '.gpu_type | startswith("A100")'
	want gpu==A100_SXM4 '.gpu_type == "A100 SXM4"'
	want gpu==A100 'false'
	want gpu=A10 '.gpu_type == "A10"'
	want gpu_count=4 '.gpu_count == 4'
	want min_gpu_count=4 '.gpu_count >= 4'
	want min_vram=48 '.vram_gb >= 48'
	want max_vram=16 '.vram_gb <= 16'
	want max_price=0.5 '.price_per_hour <= 0.5'
	want location=de '(.location // "") | ascii_downcase | contains("de")'
	want location=Texas '(.location // "") | contains("Texas")'
	want min_reliability=0.99 '(.reliability // -1) >= 0.99'
	want min_cuda=12.4 '(.cuda_version // -1) >= 12.4'
	want interruptible=0 true
	want interruptible=1 false # this market has none
	want provider=local '.provider == "local"'
	want gpu=RTX_4090,max_price=2,location=JP '.gpu_type == "RTX 4090" and .price_per_hour <= 2 and ((.location // "") | contains("JP"))'
}

@test "a machine that may be taken away is for those who ask for it" {
	market 200 -o synthetic_bids=40
	is 241 "$(ls "$M/inventory" | wc -l)"
	is 201 "$(cat "$M/search/all/count")"
	is 40 "$(cat "$M/search/interruptible=1/count")"
	is "$(grep -lx 1 "$M"/inventory/*/interruptible | sed -E 's,.*/inventory/(.*)/.*,\1,' | sort)" \
		"$(ids interruptible=1 | sort)"
	is "$(ids all)" "$(ids interruptible=0)"
	# On whichever level it stands.
	is 40 "$(cat "$M/search/min_vram=1/interruptible=1/count")"
	is 40 "$(cat "$M/search/interruptible=1/min_vram=1/count")"
	is 0 "$(cat "$M/search/interruptible=1/interruptible=0/count")"
	# Half the price, and still no match for who did not ask; `why` says so.
	local id=synthetic-100000-bid
	is 1 "$(cat "$M/inventory/$id/interruptible")"
	is "$(cat "$M/inventory/$id/min_bid")" "$(cat "$M/inventory/$id/price_per_hour")"
	is "$(cat "$M/inventory/${id%-bid}/machine_id")" "$(cat "$M/inventory/$id/machine_id")"
	grep -qP '^interruptible=0\t201\tsynthetic-' "$M/search/all/why"
	is "interruptible=1	40" "$(tail -n 1 "$M/search/interruptible=1/why" | cut -f1,2)"
}

@test "levels nest and AND, and their links lead where they should" {
	market
	is "$(ids gpu=RTX_3090,max_price=1)" "$(ids gpu=RTX_3090/max_price=1)"
	is "$(ids gpu=RTX_3090,max_price=1,gpu_count=2)" "$(ids gpu_count=2/max_price=1/gpu=RTX_3090)"
	is "$(ids min_vram=48)" "$(ids min_vram=24/min_vram=48/min_vram=16)"
	is 0 "$(cat "$M/search/gpu=RTX_3090/gpu=RTX_4090/count")"
	local best=$M/search/gpu=RTX_3090/max_price=1/best
	is "$(ids gpu=RTX_3090,max_price=1 | head -n 1)" "$(basename "$(readlink "$best")")"
	is 'RTX 3090' "$(cat "$best/gpu_type")"
	is "$(cat "$best/price_per_hour")" "$(cat "$M/search/gpu=RTX_3090/max_price=1/"*1."$(basename "$(readlink "$best")")/price_per_hour")"
}

@test "a malformed query is EINVAL at look-up, with a sentence in error" {
	market 50
	local q
	for q in gpu= gpu=A,nonsense=1 =4 max_price=cheap min_vram=-1 max_price= gpu=A,,max_price=1 \
		'gpu=\xff' 'gpu=\x1b' interruptible=perhaps min_reliability=x; do
		got=$(probe call stat "$M/search/$q")
		[[ "$got" = "EINVAL stat" || "$got" = "ERANGE stat" ]] || is "EINVAL stat" "$got $q"
		grep -qE 'search/.* (EINVAL|ERANGE): ' "$M/error"
		is 1 "$(wc -l <"$M/error")"
	done
	is "ERANGE stat" "$(probe call stat "$M/search/min_reliability=1.5")"
	is "EINVAL stat" "$(probe call stat "$M/search/all/max_price=cheap")"
	is "ENOENT stat" "$(probe call stat "$M/search/no.such.query")"
	probe call stat "$M/search/gpu=A100,min_vrom=8"
	grep -q 'min_vrom: unknown key; a query may use: provider gpu' "$M/error"
}

@test "search lists all and one query per model on the market, and those teach the syntax" {
	market
	is 22 "$(ls "$M/search" | grep -c '^gpu=')"
	is "$({ echo all; cat "$M"/inventory/*/gpu_type | LC_ALL=C sort -u | tr ' ' _ | sed s/^/gpu=/; } | LC_ALL=C sort)" \
		"$(ls "$M/search" | LC_ALL=C sort)"
	local q
	for q in $(ls "$M/search"); do [ "$(cat "$M/search/$q/count")" -ge 1 ]; done
}

@test "why says how many each condition leaves over, and the nearest that it removed" {
	market
	local why=$M/search/gpu=RTX_4090,max_price=0.01/why
	is '# condition	left	nearest_removed' "$(sed -n 1p "$why")"
	is 'all	2001	' "$(sed -n 2p "$why")"
	local n cheapest
	n=$(cat "$M/search/gpu=RTX_4090/count")
	cheapest=$(basename "$(readlink "$M/search/gpu=RTX_4090/best")")
	is "gpu=RTX_4090	$n" "$(sed -n 3p "$why" | cut -f1,2)"
	is "max_price=0.01	0	$cheapest $(cat "$M/inventory/$cheapest/price_per_hour")" "$(sed -n 4p "$why")"
	# Left numbers never grow from row to row.
	cut -f2 "$M/search/min_vram=24,max_price=1,location=US,gpu_count=2/why" | tail -n +2 >"$T/left"
	sort -rn "$T/left" | diff - "$T/left"
}

@test "thousands of different queries cost bounded memory" {
	market
	local before after i
	rss() { awk '/^VmRSS/ {print $2}' "/proc/$(daemon_pid)/status"; }
	cat "$M/search/all/table" >/dev/null
	cat "$M/search/gpu=RTX_4090/count" >/dev/null
	before=$(rss)
	python3 - "$M" <<-'PY'
		import os, sys
		for i in range(6000):
		    with open(f"{sys.argv[1]}/search/max_price={i}.5,min_vram={i % 50}/count") as f:
		        f.read()
	PY
	after=$(rss)
	echo "RSS $before kB, then $after kB"
	# Under AddressSanitizer freed memory is kept on purpose, so the number says nothing there.
	ldd "$GPUFS_BIN" | grep -q libasan || [ $((after - before)) -lt 60000 ]
	is 2001 "$(cat "$M/search/all/count")"
	# What was dropped to make room is found again.
	[ "$(cat "$M/search/max_price=1.5,min_vram=1/count")" -gt 0 ]
	[ "$(cat "$M/search/max_price=0.5,min_vram=0/best/gpu_count")" -ge 0 ]
	exec 4< <(cd "$M/search/max_price=5999.5,min_vram=49" && ls)
	grep -qx table <&4
	exec 4<&-
}

@test "a directory of 10 000 offers lists each exactly once" {
	market 10000
	is 10001 "$(ls -f "$M/inventory" | grep -vcE '^\.\.?$')"
	is 10001 "$(ls -f "$M/inventory" | grep -vE '^\.\.?$' | sort -u | wc -l)"
	is 10001 "$(python3 -c "import os,sys; print(len({e.inode() for e in os.scandir('$M/inventory')}))")"
	is 10001 "$(cat "$M/search/all/count")"
	is 10001 "$(ls "$M/search/all" | grep -c '^[0-9]*\.')"
	is 10001 "$(ls -l "$M/inventory" | grep -c ^d)"
	# By a small buffer, while the market is read again.
	exec 4< <(busybox find "$M/inventory" -maxdepth 1 -mindepth 1)
	echo refresh >"$M/ctl"
	is 10001 "$(sort -u <&4 | wc -l)"
	exec 4<&-
}
