#!/usr/bin/env bats
# shellcheck shell=bash disable=SC2154
# A market that comes in pages, through the whole of gpufs: the real HTTP client, the Vast.ai dialect, the
# inventory, search/ and the HTTP door. market_server.py plays the provider's search.

load lib
load http_lib

setup() {
	common_setup
	FIXTURES=$BATS_TEST_DIRNAME/../wire/fixtures/vastai
	LOG=$T/requests
	# 200 offers: every tenth an A100, the dear half of the market; two offers a machine.
	awk 'BEGIN { for (i = 0; i < 200; i++)
		printf "%d %s %.6f %d\n", 1000 + i, i % 10 ? "RTX 4090" : "A100 SXM4", 0.1 + i * 0.001, i / 2 }' \
		> "$LOG.rows"
}
teardown() {
	[ -z "${SERVER:-}" ] || kill "$SERVER" 2>/dev/null || true
	common_teardown
}

# cloud_start [OPTION...]: a provider, and gpufs with the key to it.
cloud_start() {
	python3 "$BATS_TEST_DIRNAME/market_server.py" "$T/port" "$LOG" "$FIXTURES/templates_list.json" 3>&- &
	SERVER=$!
	until_true 20 test -s "$T/port"
	VASTAI_API_KEY=$(printf 'a%.0s' {1..64}) VASTAI_BASE_URL=http://127.0.0.1:$(cat "$T/port") ALLOW_INSECURE=yes \
		open_start "$@"
}
V() { cat "$M/providers/vastai/$1"; }
is_complete() { [ "$(V list_complete)" = 1 ]; }
shows() { [ "$(ls "$M/inventory" | grep -c '^vastai-[0-9]*$')" = "$1" ]; }
searches() { grep -c '^POST /api/v0/bundles/' "$LOG"; }

@test "pages by price become one market, and its providers/ says how complete it is" {
	cloud_start
	until_true 60 shows 200
	is 200 "$(V offers)"
	is ok "$(V state)"
	is 12.50 "$(V balance)"
	until_true 60 is_complete
	# Every search is whole: its filters, its order, and the disk it is priced for.
	! grep '^POST /api/v0/bundles/' "$LOG" | grep -v '"verified":{"eq":true},"rentable":{"eq":true}' || false
	[ "$(grep -c '"dph_total":{"gte":' "$LOG")" -ge 3 ]
	! grep -q '"type":"bid"' "$LOG" || false
	is 'A100 SXM4' "$(cat "$M/search/gpu=A100/best/gpu_type")"
	is 20 "$(cat "$M/search/gpu=A100/count")"
	is 0.10 "$(cat "$M/inventory/vastai-1000/price_per_hour")"
	ask GET '/api/v1/inventory?provider=vastai&min_availability_confidence=1&limit=3'
	says 200 '"total":200}'
	# The market of bids is asked for when somebody wants one.
	is 0 "$(cat "$M/search/interruptible=1/count")"
	until_true 90 test -d "$M/inventory/vastai-1000-bid"
	is "vastai-1000-bid" "$(basename "$(readlink "$M/search/interruptible=1/best")")"
	is 0.05 "$(cat "$M/inventory/vastai-1000-bid/price_per_hour")"
	is 200 "$(cat "$M/search/all/count")"
}

@test "a provider in trouble keeps its offers, with their age, and hides none of the others" {
	cloud_start -o providers_local_enabled=true
	until_true 60 shows 200
	until_true 60 is_complete
	echo 429 > "$LOG.status"
	echo 'refresh vastai' > "$M/ctl"
	throttled() { [ "$(V state)" = throttled ]; }
	until_true 60 throttled
	[ -n "$(V reason)" ]
	shows 200
	[ "$(V list_age)" -ge 0 ]
	is ok "$(cat "$M/providers/local/state")"
	[ "$(ls "$M/inventory" | grep -c '^local-')" -ge 1 ]
}

@test "templates: who asks first waits for them, then they are answered from memory" {
	local hash=a4d2a0b85ae6719c0906ff66e7b3b434
	cloud_start
	until_true 60 shows 200
	curl -s -m 60 "$API/api/v1/templates" > "$T/first" &
	local first=$!
	until_true 30 grep -q '^GET /api/v0/template/' "$LOG"
	ask GET /health # meanwhile everything else is answered
	says 200
	touch "$LOG.go"
	wait "$first"
	is 3 "$(jq .count "$T/first")"
	is '["4e17788f74f075dd9aab7d0d4427968f","library/ubuntu","22.04",true,8,"2025-10-21T01:03:38Z"]' \
		"$(jq -c '.templates[0] | [.hash_id, .image, .tag, .use_ssh, .recommended_disk_space, .created_at]' "$T/first")"
	ask GET '/api/v1/templates?recommended=true&name=VLLM'
	says 200 '{"count":1,'
	ask GET '/api/v1/templates?use_ssh=0'
	says 200 '"name":"Open Webui (Ollama)"'
	ask GET "/api/v1/templates/$hash"
	says 200 '"id":2048,'
	ask GET /api/v1/templates/none
	says 404 'template not found: none'
	ask GET /api/v1/inventory/vastai-1000/compatible-templates
	# vLLM wants CUDA 12.9, the machine has 12.8.
	is '["4e17788f74f075dd9aab7d0d4427968f","a8a44c7363cbca20056020397e3bf072"]' \
		"$(jq -c '[.compatible_templates[].hash_id]' <<< "$body")"
	ask GET "/api/v1/inventory?template_hash_id=$hash"
	says 200 '"total":0}'
	ask GET '/api/v1/inventory?template_hash_id=4e17788f74f075dd9aab7d0d4427968f&limit=1'
	says 200 '"total":200}'
	ask GET "/api/v1/inventory?provider=vastai&template_hash_id=nothing"
	says 404 'template not found: nothing'
	ask GET /api/v1/inventory/vastai-9/compatible-templates
	says 404 'offer not found: vastai-9'
	is 1 "$(grep -c '^GET /api/v0/template/' "$LOG")"
	ask GET /api/v1/offer-health
	says 200 '{"count":0,"gpu_types":[],"offers":[]}'
}
