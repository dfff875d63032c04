#!/usr/bin/env bats
# shellcheck shell=bash disable=SC2154
# The HTTP door's documents: docs/openapi.json is what the binary prints and serves, it describes every
# answer that the server gives, and every request of docs/API.md is answered as it says.

load lib
load life_lib
load http_lib

setup() {
	common_setup
	DOCS=$BATS_TEST_DIRNAME/../../docs
}
teardown() {
	settle || true
	common_teardown
}

# What is the same in an example and in a test: shapes, words, order.
alike() {
	mask | sed -E -e 's/"ssh_private_key":"KEY(\\n)?"/"ssh_private_key":"KEY"/' \
		-e 's/"location":"[^"]*"/"location":"HOST"/g' -e 's/"total_cost":[0-9.]+/"total_cost":COST/g'
}

@test "docs/openapi.json is printed by the binary, served, and names every route once" {
	"$GPUFS_BIN" --print=openapi | diff - "$DOCS/openapi.json"
	open_start
	curl -s "$API/api/v1/openapi.json" | diff - "$DOCS/openapi.json"
	jq -e '[.paths[] | to_entries[] | .value.summary] | length == 19 and (unique | length) == 19' \
		"$DOCS/openapi.json"
	# Every reference leads somewhere.
	jq -e '[.. | objects | .["$ref"]? // empty | ltrimstr("#/components/schemas/")] - (.components.schemas | keys) == []' \
		"$DOCS/openapi.json"
	# Every route is one that the server has.
	jq -r '.paths | to_entries[] | .key as $p | .value | keys[] | "\(.) \($p)"' "$DOCS/openapi.json" |
		while read -r method path; do
			ask "${method^^}" "${path//\{id\}/none}" '' -m 1 || true
			[[ $code != 405 && $body != *"nothing at this address"* ]] || { echo "$method $path"; exit 1; }
		done
}

@test "the answers have the members that the document says, in its order and of its types" {
	open_start
	make app
	until_true 60 status_is "$ID" running
	# check SCHEMA: the body has no other members, all required ones, in order, of the right type.
	check() {
		jq -e --slurpfile doc "$DOCS/openapi.json" --arg name "$1" '
			($doc[0].components.schemas[$name]) as $s | . as $o |
			((keys_unsorted - ($s.properties | keys_unsorted)) == []) and
			(($s.required - keys_unsorted) == []) and
			(keys_unsorted == [$s.properties | keys_unsorted[] | select(. as $k | $o | has($k))]) and
			all($o | to_entries[]; . as $e | $s.properties[$e.key].type as $t |
				if $t == "integer" then ($e.value | type) == "number" and ($e.value | floor) == $e.value
				elif $t == null then true else ($e.value | type) == $t end)' || { echo "$1: $body" >&2; return 1; }
	}
	ask GET "/api/v1/sessions/$ID" && check Session <<< "$body"
	ask GET "/api/v1/sessions" && check SessionList <<< "$body"
	jq '.sessions[0]' <<< "$body" | check Session
	ask GET "/api/v1/sessions/$ID/diagnostics" && check Diagnostics <<< "$body"
	ask GET "/api/v1/sessions/$ID/key" && check Key <<< "$body"
	ask POST "/api/v1/sessions/$ID/extend" '{"additional_hours":1}' && check Extended <<< "$body"
	ask GET "/api/v1/inventory" && check OfferList <<< "$body"
	ask GET "/api/v1/inventory/local-cpu" && check Offer <<< "$body"
	ask GET /health && check Health <<< "$body"
	ask GET /ready && check Ready <<< "$body"
	ask GET /none && check Error <<< "$body"
	ask POST /api/v1/sessions "$(order two)" && check Created <<< "$body"
	jq .session <<< "$body" | check Session
	ask DELETE "/api/v1/sessions/$ID" && check Message <<< "$body"
}

@test "every request of docs/API.md is answered as it says" {
	open_start
	export API ID
	python3 - "$DOCS/API.md" "$T" <<-'END'
	import re, sys
	text = open(sys.argv[1]).read().split("<!-- run by", 1)[1]
	pairs = re.findall(r"```sh\n(.*?)```\n```(?:json|text)\n(.*?)```", text, re.S)
	assert len(pairs) == text.count("```sh") >= 17, len(pairs)
	for i, (command, answer) in enumerate(pairs):
	    open("%s/%02d.sh" % (sys.argv[2], i), "w").write(command)
	    open("%s/%02d.want" % (sys.argv[2], i), "w").write(answer)
	END
	local script
	for script in "$T"/[0-9]*.sh; do
		timeout 60 bash "$script" > "$T/out"
		[ -z "$(tail -c 1 "$T/out")" ] || echo >> "$T/out"
		diff <(alike < "${script%.sh}.want") <(alike < "$T/out")
		if grep -q '"ssh_private_key"' "$T/out" && [ -z "${ID:-}" ]; then
			ID=$(jq -r .session.id "$T/out")
			until_true 60 status_is "$ID" running
		fi
	done
}
