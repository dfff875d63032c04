#!/usr/bin/env bats
# shellcheck shell=bash disable=SC2154
# consumer_id may be any text but NUL: kept whole, shown escaped in the tree, the same after a restart.

load lib
load life_lib
load http_lib

setup() { common_setup; }
teardown() {
	settle || true
	common_teardown
}

# order_of FILE: a create whose consumer_id is the text in FILE, whatever it is.
order_of() {
	python3 -c 'import json, sys
print(json.dumps({"consumer_id": open(sys.argv[1], newline="").read(), "offer_id": "local-cpu",
                  "workload_type": "llm", "reservation_hours": 1}))' "$1"
}
# made_for FILE: the session is made, and says so; its id is in $ID.
made_for() {
	order_of "$1" > "$T/order"
	ask POST /api/v1/sessions '' --data-binary "@$T/order"
	says 201 || return 1
	ID=$(jq -r .session.id <<< "$body")
	jq -j .session.consumer_id "$T/body" | cmp - "$1"
}

@test "line breaks, control characters, quotes, markup, other scripts: whole over HTTP, escaped in the tree" {
	open_start
	printf 'a\nb\tc\r\033[31m"it'\''s" \\ <b>&\302\205\342\200\250 \303\251\360\237\230\200 #x=y' > "$T/text"
	made_for "$T/text"
	curl -s "$S/$ID" | jq -j .consumer_id | cmp - "$T/text"
	local file=$M/sessions/$ID shown
	shown='a\x0ab\x09c\x0d\x1b[31m"it'\''s" \ <b>&\xc2\x85\xe2\x80\xa8 é😀 #x=y'
	is "$shown" "$(alice cat "$file/consumer")"
	alice grep -qxF "consumer $shown" "$file/info"
	is "$shown" "$(alice jq -r .consumer "$file/info.json")"
	# One line each: nothing forges a second one.
	[ "$(alice wc -l < "$M/list")" = 2 ]
	alice tail -n 1 "$M/list" | cut -f 8 | grep -qxF "$shown"
	is 'consumer="a\x0ab\x09c\x0d\x1b[31m\"it'\''s\" \\ <b>&\xc2\x85\xe2\x80\xa8 é😀 #x=y"' \
		"$(alice grep ^consumer= "$file/spec")"
	# What the spec reads back is the same order: nothing to change, no other text.
	alice sh -c 'cat "$1/spec" > "$1/spec.copy" 2>/dev/null; cat "$1/spec"' sh "$file" > "$T/spec"
	is ok "$(alice_probe write "$file/spec" < "$T/spec")"
	# It is found by its name, and is one consumer.
	local name
	name=$(jq -Rsr @uri "$T/text")
	curl -s "$S?consumer_id=$name" | jq -e '.count == 1'
	curl -s "$S?consumer_id=${name}x" | jq -e '.count == 0'
	ask POST /api/v1/sessions '' --data-binary "@$T/order"
	says 409 "already has active session $ID"
	settle
	gpufs_stop
	open_start
	curl -s "$S/$ID" | jq -j .consumer_id | cmp - "$T/text"
	is "$shown" "$(alice cat "$file/consumer")"
	ask DELETE "/api/v1/sessions/$ID"
	says 200
	until_true 60 status_is "$ID" stopped
	is "$shown" "$(alice cat "$M/history/$ID/consumer")"
}

@test "64 bytes and 40 000 bytes are kept whole; events show the beginning; more than a spec holds is 413" {
	open_start
	printf '%064d' 0 > "$T/text"
	made_for "$T/text"
	is "$(cat "$T/text")" "$(alice cat "$M/sessions/$ID/consumer")"
	# 40 001 bytes in characters of two bytes behind one of one byte: a cut must not split one.
	python3 -c 'print("x" + "é" * 20000, end="")' > "$T/text"
	made_for "$T/text"
	alice cat "$M/sessions/$ID/consumer" | tr -d '\n' | cmp - "$T/text"
	curl -s "$S/$ID" | jq -j .consumer_id | cmp - "$T/text"
	until_true 60 status_is "$ID" running
	alice tail -n 1 "$M/sessions/$ID/events.json" > "$T/event"
	jq -e '.consumer | utf8bytelength == 255 and startswith("xé") and endswith("é")' "$T/event"
	settle
	gpufs_stop
	open_start
	curl -s "$S/$ID" | jq -j .consumer_id | cmp - "$T/text"
	python3 -c 'print("x" * 70000, end="")' > "$T/text"
	order_of "$T/text" > "$T/order"
	ask POST /api/v1/sessions '' --data-binary "@$T/order"
	says 413 'consumer_id: the order would be longer than 64 KiB'
	# Short enough as JSON, too long as the spec that is kept.
	python3 -c 'print("\n" * 20000, end="")' > "$T/text"
	order_of "$T/text" > "$T/order"
	ask POST /api/v1/sessions '' --data-binary "@$T/order"
	says 413 'more than 64 KiB'
	until_true 10 eval '[ "$(ls "$M/sessions" | wc -l)" = 2 ]' # no draft stays
	printf '{"consumer_id":"a\\u0000b","offer_id":"local-cpu","workload_type":"llm","reservation_hours":1}' > "$T/order"
	ask POST /api/v1/sessions '' --data-binary "@$T/order"
	says 400 'u0000 is not allowed'
}
