#!/usr/bin/env bats
# shellcheck shell=bash disable=SC2154
# Every parameter and every field of docs/openapi.json with every kind of bad value: always 400 with its
# name, and nothing is made. A parameter that is new there is tested here without a line more.

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

# try NAME TYPE VALUE WANTED: a list with ?NAME=VALUE.
try() {
	ask GET "$path?$1=$3"
	[ "$code" = "$4" ] || { echo "$path?$1=$3 ($2): $code $body, not $4" >&2; return 1; }
	[ "$4" != 400 ] || [[ $body == *"$1"* ]]
}

@test "query parameters: absent, empty, valid, bad, negative, huge, NaN" {
	open_start -o synthetic_offers=50
	local path name type value good rows=0
	while read -r path name type; do
		rows=$((rows + 1))
		good=200
		[[ $path == */templates ]] && good=500 # no provider here has any
		for value in '' "&$name=1"; do try "$name" "$type" "$value" $good; done
		try "$name&x" "$type" 1 $good # another name: ignored
		case $type in
		boolean)
			for value in 1 t T true True TRUE 0 f F false False FALSE; do
				try "$name" "$type" "$value" $good
			done
			for value in 2 yes no tRUE 01 -1 %20true true%20 %00 "$(printf '1%.0s' {1..300})x"; do
				try "$name" "$type" "$value" 400
			done
			;;
		integer | number)
			try "$name" "$type" 1 200
			for value in abc -1 -99999999999999999999 NaN nan inf -inf Infinity 0x1 1e3 1_0 %201 1%20 \
				%00 1%00 -0x1 1,5 .5 1. ++1 %2B1 '%D9%A1' "$(printf '9%.0s' {1..300})x"; do
				try "$name" "$type" "$value" 400
			done
			;;
		esac
		if [ "$type" = integer ]; then
			for value in 1.0 0.5 99999999999999999999 "$(printf '9%.0s' {1..300})"; do
				try "$name" "$type" "$value" 400
			done
			try "$name" "$type" 9223372036854775807 200
		fi
	done < <(jq -r '.paths | to_entries[] | .key as $p | .value.get.parameters[]? |
		select(.in == "query") | "\($p) \(.name) \(.schema.type)"' "$DOCS/openapi.json")
	[ "$rows" -ge 17 ]
	# Text that names nothing: an empty page, except for a provider that is none.
	for name in gpu_type location; do
		path=/api/v1/inventory try "$name" string nothing-like-this 200
	done
	path=/api/v1/inventory try provider string nothing-like-this 400
	for name in consumer_id status provider; do
		path=/api/v1/sessions try "$name" string "$(printf 'a%.0s' {1..5000})" 200
		[ "$(jq -c . <<< "$body")" = '{"count":0,"sessions":[]}' ]
	done
}

@test "fields of bodies: every wrong type, negative, huge, NaN, null and missing" {
	open_start
	make app
	local name type json
	# wrong PATH FIELD JSON [TEXT]: the good body with this one field replaced.
	wrong() {
		local good='{"consumer_id":"c","offer_id":"local-cpu","workload_type":"llm","reservation_hours":2}'
		[[ $1 == *extend ]] && good='{"additional_hours":1}'
		local replaced
		replaced=$(jq -c --arg f "$2" 'del(.[$f])' <<< "$good")
		replaced="${replaced%\}},\"$2\":$3}"
		ask POST "$1" "${replaced/\{,/\{}"
		[[ $code == 400 && $body == *"${4:-$2}"* ]] || { echo "$2:$3: $code $body" >&2; return 1; }
	}
	while read -r path name type; do
		path=${path//\{id\}/$ID}
		case $type in
		string) set -- 7 1.5 true '[]' '{}' '["a"]' ;;
		integer) set -- '"2"' 2.0 1e1 true '[]' '{}' 1.5 ;;
		boolean) set -- '"true"' 1 '[]' '{}' ;;
		array) set -- 7 '"a"' true '{}' ;;
		*) false ;;
		esac
		for json in "$@"; do wrong "$path" "$name" "$json"; done
		if [ "$type" = integer ]; then
			for json in 99999999999999999999 -99999999999999999999 NaN Infinity 0x1 01 +1 --1; do
				wrong "$path" "$name" "$json" 'not valid JSON'
			done
		fi
	done < <(jq -r '. as $d | .paths | to_entries[] | .key as $p | .value.post.requestBody? // empty |
		.content["application/json"].schema | (if has("$ref") then
			$d.components.schemas[.["$ref"] | ltrimstr("#/components/schemas/")] else . end) |
		.properties | to_entries[] | "\($p) \(.key) \(.value.type)"' "$DOCS/openapi.json")
	for name in consumer_id offer_id workload_type reservation_hours; do
		for json in null '""' 0; do
			[ "$name$json" = reservation_hours'""' ] && continue
			[ "$json" = 0 ] && [ "$name" != reservation_hours ] && continue
			wrong /api/v1/sessions "$name" "$json" "$name is required"
		done
	done
	for json in null 0; do wrong "/api/v1/sessions/$ID/extend" additional_hours "$json" 'is required'; done
	[ "$(curl -s "$S" | jq .count)" = 1 ]
	until_true 10 eval '[ "$(ls "$M/sessions")" = "$ID" ]'
}
