# shellcheck shell=bash disable=SC2154,SC2034
# What the tests of the HTTP door share besides lib.bash: a server on a port of its own, requests, masks.

free_port() {
	python3 -c 'import socket
s = socket.socket()
s.bind(("127.0.0.1", 0))
print(s.getsockname()[1])'
}

answers_ready() { curl -sf -m 5 -o /dev/null "$API/ready"; }

# http_start [OPTION...]: mounted, HTTP answers at $API, and the offers are there.
http_start() {
	PORT=${PORT:-$(free_port)}
	API=http://127.0.0.1:$PORT
	S=$API/api/v1/sessions
	gpufs_start -o server_port="$PORT" "$@" || return 1
	until_true 30 answers_ready
}

# open_start: as the predecessor's client needs it: no tokens, all requests act as alice.
open_start() { http_start -o api_auth=none,api_uid=gpufs-alice "$@"; }

# token_start: one token each for alice, bob and root.
ALICE=alice-0123456789abcdef BOB=bob-0123456789abcdef ROOT=root-0123456789abcdef
token_start() {
	install -m 600 /dev/null "$T/tokens"
	printf '# TOKEN CONSUMER UID\n%s team-a gpufs-alice\n%s team-b %s\n\n%s ops 0\n' \
		"$ALICE" "$BOB" "$(id -u gpufs-bob)" "$ROOT" > "$T/tokens"
	http_start -o api_tokens_file="$T/tokens" "$@"
}

# ask METHOD PATH [BODY] [CURL-OPTION...]: the status is in $code, the body in $body.
ask() {
	local method=$1 path=$2 data=()
	shift 2
	if [ $# -gt 0 ]; then
		[ -z "$1" ] || data=(--data-binary "$1")
		shift
	fi
	code=$(curl -sS -m 30 --path-as-is -X "$method" -o "$T/body" -w '%{http_code}' "${data[@]}" "$@" \
		"$API$path") || return 1
	body=$(tr -d '\0' < "$T/body")
}
# ask_as TOKEN METHOD PATH [BODY]
ask_as() {
	local token=$1 method=$2 path=$3
	shift 3
	ask "$method" "$path" "${1:-}" -H "Authorization: Bearer $token"
}
# says STATUS [TEXT]: what the last request was answered.
says() {
	[[ $code == "$1" && $body == *"${2:-}"* ]] && return
	printf 'wanted: %s %s\n   got: %s %s\n' "$1" "${2:-}" "$code" "$body" >&2
	return 1
}

# order CONSUMER [FIELDS]: the body of a create.
order() {
	printf '{"consumer_id":"%s","offer_id":"local-cpu","workload_type":"llm","reservation_hours":2%s}' \
		"$1" "${2:-}"
}
# make CONSUMER: a session; its id is in $ID.
make() {
	ask POST /api/v1/sessions "$(order "$1")" "${@:2}"
	says 201 || return 1
	ID=$(jq -r .session.id <<< "$body")
}
# status_is ID STATE
status_is() { [ "$(curl -s -m 10 "${AS[@]}" "$S/$1" | jq -r .status)" = "$2" ]; }
AS=() # curl options of the requests of helpers

# settle: no machine is on its way any more. Before a stop: the answer to a call that a stopping daemon
# still waits for never comes, and the sanitizer calls what remembers that call a leak.
settled() { ! cat "$M"/sessions/*/state 2>/dev/null | grep -qE 'pending|provisioning|stopping'; }
settle() { mountpoint -q "$M" && until_true 60 settled; }

mask() {
	sed -E \
		-e 's/[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}/UUID/g' \
		-e 's/gpufs-[a-z0-9]{4,8}-[a-z0-9]{26}-([0-9]+)-[a-z0-9]{10}/INSTANCE/g' \
		-e 's/20[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9:]{8}Z/TIME/g' \
		-e 's/-----BEGIN OPENSSH PRIVATE KEY-----[^"]*-----END OPENSSH PRIVATE KEY-----/KEY/g' \
		-e 's/"total_cost":0\.[0-9]+/"total_cost":COST/g' \
		-e 's/"ssh_port":[0-9]+/"ssh_port":PORT/g' \
		-e "s/\"location\":\"$HOSTNAME\"/\"location\":\"HOST\"/g" \
		-e 's/"(uptime|time_to_expiry)":"[^"]*"/"\1":"SPAN"/g'
}

# say_all: requests from standard input (METHOD PATH [BODY], @ID and @OLD for sessions), each with its answer.
say_all() {
	local method path data
	while read -r method path data; do
		[ -n "$method" ] || continue
		data=${data//@ID/$ID}
		ask "$method" "${path//@ID/$ID}" "$data" || return 1
		printf '%s %s%s\n%s %s\n\n' "$method" "$path" "${data:+ $data}" "$code" "$body" | mask
	done
}

# api_golden NAME: standard input is what tests/mount/api_golden/NAME says. After a change that is meant:
# GOLDEN_UPDATE=1 bats tests/mount/http.bats, and read the difference in git.
api_golden() {
	local file=$BATS_TEST_DIRNAME/api_golden/$1
	sed -e 's/@ID/UUID/g' > "$T/got"
	if [ -n "${GOLDEN_UPDATE:-}" ]; then cp "$T/got" "$file"; fi
	diff -u "$file" "$T/got"
}
