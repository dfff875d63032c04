#!/usr/bin/env bats
# shellcheck shell=bash disable=SC2154
# Large answers go out in slices: whole and right for every client at once, beside readers that stall or
# leave in the middle, while the mount answers; and a stop does not wait for them.

load lib
load life_lib
load http_lib

setup() { common_setup; }
teardown() {
	[ -z "${stalled:-}" ] || kill "$stalled" 2>/dev/null || true
	settle || true
	common_teardown
}

market_start() {
	open_start -o synthetic_offers=10000,synthetic_seed=7
	market_full() { [ "$(curl -s "$API/api/v1/inventory?limit=1" | jq .total)" -ge 10000 ]; }
	until_true 30 market_full
}

# stall PATH N: N clients ask, read the first bytes and nothing more, until they are killed.
stall() {
	python3 - "$PORT" "$1" "$2" > "$T/stalled" 3>&- <<-'END' &
	import signal, socket, sys
	socks = []
	for _ in range(int(sys.argv[3])):
	    s = socket.socket()
	    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
	    s.connect(("127.0.0.1", int(sys.argv[1])))
	    s.sendall(b"GET %s HTTP/1.1\r\nHost: a\r\n\r\n" % sys.argv[2].encode())
	    assert s.recv(15) == b"HTTP/1.1 200 OK"
	    socks.append(s)
	print("stalled", flush=True)
	signal.pause()
	END
	stalled=$!
	until_true 20 grep -q stalled "$T/stalled"
}

@test "the whole market: the same as its pages, for 30 clients at once, with HEAD and pipelined" {
	market_start
	curl -s "$API/api/v1/inventory" > "$T/whole"
	jq -e '.count == 10001 and .total == 10001 and (.offers | length) == 10001 and
		([.offers[].id] | unique | length) == 10001' "$T/whole"
	# In order of price, and each as it is by itself.
	jq -e '[.offers[].price_per_hour] | . == sort' "$T/whole"
	local id
	for id in synthetic-100000 synthetic-105555 local-cpu; do
		diff <(jq -c --arg id "$id" '.offers[] | select(.id == $id)' "$T/whole") \
			<(curl -s "$API/api/v1/inventory/$id" | jq -c .)
	done
	# Pages of every size: those that need no text of the market, and those made of pieces of it.
	for at in 0 1 63 64 65 4000; do
		for n in 1 64 65 1000; do
			diff <(jq -c ".offers[$at:$((at + n))]" "$T/whole") \
				<(curl -s "$API/api/v1/inventory?offset=$at&limit=$n" | jq -c .offers)
		done
	done
	diff <(jq -c '[.offers[] | select(.gpu_type == "RTX 4090" and .vram_gb >= 24)]' "$T/whole") \
		<(curl -s "$API/api/v1/inventory?gpu_type=rtx_4090&min_vram=24" | jq -c .offers)
	local size
	size=$(stat -c %s "$T/whole")
	[ "$(curl -sI "$API/api/v1/inventory" | tr -d '\r' | sed -n 's/^Content-Length: //p')" = "$size" ]
	for i in {1..30}; do curl -s -m 60 -o "$T/many.$i" "$API/api/v1/inventory" 3>&- & done
	wait
	for i in {1..30}; do cmp "$T/whole" "$T/many.$i"; done
	printf 'GET /api/v1/inventory HTTP/1.1\r\nHost: a\r\n\r\nGET /ready HTTP/1.1\r\nHost: a\r\n\r\n' |
		timeout 60 python3 "$BATS_TEST_DIRNAME/http_client.py" raw 127.0.0.1 "$PORT" > "$T/lines"
	[ "$(grep -c '^HTTP/1.1 200 OK' "$T/lines")" = 2 ]
}

@test "readers that stall or leave in the middle hold up nobody, and a stop does not wait for them" {
	market_start
	stall /api/v1/inventory 50
	for i in {1..20}; do curl -s -m 20 -r 0-99 -o /dev/null "$API/api/v1/inventory" & done
	[ "$(curl -s -m 20 "$API/api/v1/inventory" | jq .count)" = 10001 ]
	[ "$(timeout 20 cat "$M/inventory/local-cpu/provider")" = local ]
	alice timeout 20 mkdir "$M/sessions/x"
	# The market changes while old answers are under way: theirs stays, the next one is new.
	make app
	until_true 60 status_is "$ID" running
	wait $(jobs -p | grep -v "^$stalled\$") || true
	kill -KILL "$stalled"
	wait "$stalled" 2>/dev/null || true
	stall /api/v1/inventory 20
	settle
	gpufs_stop
	open_start -o synthetic_offers=10
	[ "$(curl -s "$API/api/v1/inventory?provider=synthetic" | jq .total)" = 10 ]
}

@test "a long list of sessions: whole, by pages and by filters, while sessions come and go" {
	open_start -o synthetic_offers=300,max_sessions=1000,max_sessions_per_user=1000
	python3 - "$API" <<-'END'
	import json, sys, urllib.request
	def get(path):
	    return json.load(urllib.request.urlopen(sys.argv[1] + "/api/v1" + path, timeout=30))
	def post(path, body):
	    return json.load(urllib.request.urlopen(sys.argv[1] + "/api/v1" + path, json.dumps(body).encode(), 30))
	offers = get("/inventory?provider=synthetic&limit=300")["offers"]
	made = [post("/sessions", {"consumer_id": "c%d" % (i % 3), "offer_id": o["id"], "workload_type": "llm",
	                           "reservation_hours": 1})["session"]["id"] for i, o in enumerate(offers)]
	whole = get("/sessions")
	assert whole["count"] == 300, whole["count"]
	ids = [s["id"] for s in whole["sessions"]]
	assert ids == made[::-1]  # the newest first
	for offset in (0, 1, 15, 16, 17, 150, 299, 300, 1000):
	    for limit in (1, 16, 17, 300, 1000):
	        page = get("/sessions?offset=%d&limit=%d" % (offset, limit))
	        want = ids[offset:offset + limit]
	        assert [s["id"] for s in page["sessions"]] == want and page["count"] == len(want), (offset, limit)
	assert get("/sessions?consumer_id=c1")["count"] == 100
	assert get("/sessions?consumer_id=c1&limit=7&offset=95")["count"] == 5
	END
	all_failed() { [ "$(curl -s "$S?status=failed" | jq .count)" = 300 ]; }
	until_true 60 all_failed
	# Lists while half of them leave for history/: each of them is there once in every list.
	ls "$M/sessions" | head -n 150 | while read -r name; do rmdir "$M/sessions/$name"; done 3>&- &
	local mover=$!
	for i in {1..20}; do
		curl -s "$S" | jq -e '.count == 300 and ([.sessions[].id] | unique | length) == 300'
	done
	wait "$mover"
	curl -s "$S" | jq -e '.count == 300'
	# What a failed session answers.
	ID=$(curl -s "$S?limit=1" | jq -r '.sessions[0].id')
	curl -s "$S/$ID" | jq -e '.status == "failed" and (.error | length) > 0'
	ask POST "/api/v1/sessions/$ID/done"
	says 409 "session $ID is in terminal state: failed"
	ask POST "/api/v1/sessions/$ID/extend" '{"additional_hours":1}'
	says 409 "session $ID is in terminal state: failed"
	ask GET "/api/v1/sessions/$ID/diagnostics"
	says 400 'session is not running'
	ask GET "/api/v1/sessions/$ID/key"
	says 404 'has no key'
	ask DELETE "/api/v1/sessions/$ID"
	says 200 '"session destroyed"'
}
