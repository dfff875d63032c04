#!/usr/bin/env bats
# shellcheck shell=bash disable=SC2154
# The HTTP door's limits: bodies, headers, connections, slow and vanishing clients, hostile ids.

load lib
load life_lib
load http_lib

setup() { common_setup; }
teardown() {
	settle || true
	common_teardown
}

client() { local how=$1; shift; timeout 90 python3 "$BATS_TEST_DIRNAME/http_client.py" "$how" 127.0.0.1 "$PORT" "$@"; }

@test "bodies: exactly 1 MiB is read, one byte more is 400, with and without leave to send" {
	open_start
	# The object, then blanks up to N bytes: text behind the first value does not count.
	sized() { order "$1" > "$T/data"; truncate -s "$2" "$T/data"; tr '\0' ' ' < "$T/data" > "$T/sized"; }
	sized app 1048576
	ask POST /api/v1/sessions '' --data-binary "@$T/sized"
	says 201
	for more in -H@/dev/null '-HTransfer-Encoding: chunked' '-HExpect:' '-HContent-Type: text/plain'; do
		sized two 1048577
		ask POST /api/v1/sessions '' --data-binary "@$T/sized" "$more"
		says 400 'http: request body too large'
	done
	sized two 5000000
	ask POST /api/v1/sessions '' --data-binary "@$T/sized" -H Expect:
	says 400 'http: request body too large'
	# Where no body is wanted it is ignored.
	sized two 3000000
	ask GET /api/v1/sessions '' --data-binary "@$T/sized"
	says 200 '"count":1'
	ask POST /api/v1/sessions "$(order chunked)" -H 'Transfer-Encoding: chunked'
	says 201
}

@test "bodies: depth 10 000, duplicate keys, other case, text behind it, bad UTF-8, NUL" {
	open_start
	python3 -c 'print("[" * 10000)' > "$T/deep"
	ask POST /api/v1/sessions '' --data-binary "@$T/deep"
	says 400 'not valid JSON'
	python3 -c 'print("{\"a\":" * 10000)' > "$T/deep"
	ask POST /api/v1/sessions '' --data-binary "@$T/deep"
	says 400 'not valid JSON'
	ask POST /api/v1/sessions '{"CONSUMER_ID":"first","Offer_Id":"local-cpu","workload_type":"llm","reservation_hours":99,"reservation_hours":1,"consumer_id":"last"} and more'
	says 201 '"consumer_id":"last"'
	jq -e '.session.reservation_hours == 1' <<< "$body"
	printf '{"consumer_id":"\xff\xfe"}' > "$T/bad"
	ask POST /api/v1/sessions '' --data-binary "@$T/bad"
	says 400 'not valid JSON'
	printf '{"consumer_id":"a\0b"}' > "$T/bad"
	ask POST /api/v1/sessions '' --data-binary "@$T/bad"
	says 400 'not valid JSON'
	# What a refusal quotes never holds the body's own text.
	ask POST /api/v1/sessions '{"consumer_id":"hunter2-secret'
	says 400
	[[ $body != *hunter2* ]]
}

@test "ids from outside: long, binary, with line breaks and markup" {
	open_start
	ask GET "/api/v1/sessions/%0d%0aSet-Cookie:%20a=b" '' -D "$T/head"
	says 404
	no grep -qi '^set-cookie' "$T/head"
	ask GET '/api/v1/sessions/%3Cscript%3E%00%ff%fe'
	says 404 'session not found: script%00'
	jq -e . <<< "$body"
	ask GET "/api/v1/sessions/$(printf 'a%.0s' {1..8000})"
	says 404
	[ "${#body}" -lt 400 ]
	ask GET '/api/v1/sessions/..%2f..%2fetc'
	says 404
	ask GET '/api/v1/sessions/../health'
	says 404
	# What no header block may hold ends with an error of the server, and the next client is served.
	[ "$(printf 'GET / HTTP/9.9\r\n\r\n' | client raw | head -c 12)" != "HTTP/1.1 200" ]
	[[ $(printf 'GET /%s HTTP/1.1\r\nHost: a\r\n\r\n' "$(printf 'a%.0s' {1..40000})" | client raw) != *200* ]]
	[[ $(printf 'GET /ready HTTP/1.1\r\nHost: a\r\nX: %s\r\n\r\n' "$(printf 'a%.0s' {1..40000})" | client raw) != *200* ]]
	[[ $(printf '\0\1\2\377garbage\r\n\r\n' | client raw) != *200* ]]
	ask GET /ready
	says 200
	# Two requests in one packet are two answers.
	[ "$(printf 'GET /ready HTTP/1.1\r\nHost: a\r\n\r\nGET /ready HTTP/1.1\r\nHost: a\r\n\r\n' | client raw)" = \
		"$(printf 'HTTP/1.1 200 OK\nHTTP/1.1 200 OK')" ]
}

@test "1 000 connections at once: all are answered, and the mount too" {
	open_start
	ulimit -n 4096
	[ "$(client many 1000)" = 1000 ]
	[ "$(cat "$M/version")" = "$("$GPUFS_BIN" --version | sed 's/gpufs //')" ]
	ask GET /ready
	says 200
}

@test "slow-loris: a head or body that drips is cut" {
	export GPUFS_TEST_HTTP_LIMIT_MS=300
	open_start
	[ "$(client drip head)" = cut ]
	[ "$(client drip body)" = cut ]
	ask GET /ready
	says 200
}

@test "a client that vanishes at every byte of the answer to a create: the session is there, and its key" {
	open_start -o local_max_sessions=1000,max_sessions=2000,max_sessions_per_user=2000
	[ "$(timeout 500 python3 "$BATS_TEST_DIRNAME/http_client.py" vanish_all 127.0.0.1 "$PORT")" = all ]
	# Each was made once, and ended once: nothing is left.
	none_left() { [ "$(curl -s "$S" | jq '[.sessions[] | select(.status != "stopped" and .status != "failed")] | length')" = 0 ]; }
	until_true 300 none_left
	[ -z "$(ls "$M/sessions")" ]
	curl -s "$S" | jq -e '([.sessions[].consumer_id] | unique | length) == .count and .count > 800'
}

@test "what libmicrohttpd refuses by itself: its own page, and neither JSON nor X-Request-ID" {
	open_start
	answer() { client whole; }
	# own STATUS TITLE TEXT: the bytes that come.
	own() {
		local page="<html><head><title>$2</title></head><body>$3</body></html>"
		printf 'HTTP/1.1 %s\nDate: DATE\nConnection: close\nContent-Length: %d\n\n%s\n' "$1" "${#page}" "$page"
	}
	local long big='Your HTTP header was too big for the memory constraints of this webserver.'
	long=$(printf 'a%.0s' {1..40000})
	diff <(own '431 Request Header Fields Too Large' 'Request too big' "$big") \
		<(printf 'GET /ready HTTP/1.1\r\nHost: a\r\nX-Request-ID: mine\r\nX: %s\r\n\r\n' "$long" | answer)
	diff <(own '414 URI Too Long' 'Request too big' "$big") \
		<(printf 'GET /%s HTTP/1.1\r\nHost: a\r\nX-Request-ID: mine\r\n\r\n' "$long" | answer)
	diff <(own '400 Bad Request' 'Request malformed' 'Your HTTP request was syntactically incorrect.') \
		<(printf 'GET /ready HTTP/1.1\r\nHost: a\r\nX-Request-ID: mine\r\nno colon\r\n\r\n' | answer)
	diff <(own '505 HTTP Version Not Supported' 'Requested HTTP version is not supported' \
		'Requested HTTP version is not supported.') <(printf 'GET /ready HTTP/9.9\r\n\r\n' | answer)
	# They are refused before a request exists, so nothing is counted either.
	ask GET /metrics
	no grep -q 'status="4[13][0-9]"' <<< "$body"
}

@test "many creates and reads side by side: each is answered once, and nothing is bought twice" {
	open_start -o local_max_sessions=50,max_sessions_per_user=50
	local i
	for i in {1..10}; do
		curl -s -m 60 -o "$T/made.$i" -w '%{http_code}\n' -d "$(order "c$i")" "$S" > "$T/code.$i" 3>&- &
		curl -s -m 60 -o "$T/twin.$i" -w '%{http_code}\n' -d "$(order "c$i")" "$S" > "$T/twin-code.$i" 3>&- &
		curl -s -m 60 -o /dev/null "$S" 3>&- &
	done
	wait
	[ "$(cat "$T"/code.* "$T"/twin-code.* | sort | uniq -c | tr -s ' \n' ' ')" = " 10 201 10 409 " ]
	[ "$(curl -s "$S" | jq '[.sessions[].consumer_id] | unique | length')" = 10 ]
	[ "$(curl -s "$S" | jq .count)" = 10 ]
}
