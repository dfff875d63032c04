# shellcheck shell=bash disable=SC2154,SC2034
# The fake cloud (tests/fake) for tests on a real mount, besides lib.bash: its start and its end, its control
# door, and requests to it with curl.
#
#	setup() { common_setup; needs_machines; fake_start --calm; }
#	teardown() { fake_teardown; common_teardown; }
#	... fake_stop        # at the end of a test: nothing of ours lives, no rule was broken
#
# More than one: all of these speak to the one that FAKE names, as in `FAKE=td fake_ctl meter`.

FAKE=fake

# Machines are SSH servers that log in as other users, which only root can start.
needs_machines() { [ "$(id -u)" = 0 ] || skip "only root can start the SSH servers of the fake's machines"; }

FAKE_KEY=5f3c9a7e21b84d06f1e2d3c4b5a69788796a5b4c3d2e1f0f1e2d3c4b5a697887
FAKE_FIXTURES=$BATS_TEST_DIRNAME/../wire/fixtures/vastai

# fake_start [OPTION...]: Vast.ai unless --provider says otherwise; its address is $(fake_url).
fake_start() {
	mkdir -p "$T/$FAKE/machines"
	rm -f "$T/$FAKE/port"
	"$FAKECLOUD_BIN" --provider vastai --control "$T/$FAKE/control" --ready-file "$T/$FAKE/port" \
		--dir "$T/$FAKE/machines" "$@" >"$T/$FAKE/log" 2>&1 3>&- 4>&- &
	FAKE_PID=$!
	echo "$FAKE_PID" > "$T/$FAKE/fake.pid"
	until_true 20 fake_answered
	[ -s "$T/$FAKE/port" ] || { cat "$T/$FAKE/log" >&2; return 1; }
}

fake_answered() { [ -s "$T/$FAKE/port" ] || [ ! -d "/proc/$FAKE_PID" ]; }

fake_url() { echo "http://127.0.0.1:$(cat "$T/$FAKE/port")"; }

# fake_ctl COMMAND...: `fake_ctl help` lists them.
fake_ctl() { "$FAKECLOUD_BIN" --ctl "$T/$FAKE/control" "$@"; }

# fake_living: how many machines of ours are billed.
fake_living() { fake_ctl meter | jq .ours; }

# fake_calls OP: how many calls of a kind came.
fake_calls() { fake_ctl meter | jq ".calls.$1"; }

# fake_kill [SIGNAL]
fake_kill() {
	local pid
	pid=$(cat "$T/$FAKE/fake.pid" 2>/dev/null) || return 0
	rm "$T/$FAKE/fake.pid"
	kill "${1:--TERM}" "$pid" 2>/dev/null || true
	until_true 10 test ! -d "/proc/$pid" || kill -KILL "$pid"
	[ "$pid" != "${FAKE_PID:-}" ] || FAKE_PID=
}

# fake_stop [living] [violations]: ends the fake; unless named, machines of ours that live and violations of the
# client are failures.
fake_stop() {
	local bad=0
	if [[ " $* " != *" living "* ]] && [ "$(fake_living)" != 0 ]; then
		echo "machines are still billed:" >&2
		fake_ctl instances >&2
		bad=1
	fi
	if [[ " $* " != *" violations "* ]] && [ -n "$(fake_ctl violations)" ]; then
		echo "the client broke rules:" >&2
		fake_ctl violations >&2
		bad=1
	fi
	fake_kill -TERM
	if grep -E -A 30 'ERROR: [A-Za-z]*Sanitizer|: runtime error: ' "$T/$FAKE/log" >&2; then bad=1; fi
	return $bad
}

# fake_teardown: all of them.
fake_teardown() {
	local pid
	for pid in "$T"/*/fake.pid; do FAKE=$(basename "$(dirname "$pid")") fake_kill -KILL; done
}

# fake_ask METHOD PATH [BODY] [CURL-OPTION...]: with the key (or the header FAKE_AUTH); the status is in $code, the body in $body.
fake_ask() {
	local method=$1 path=$2 data=()
	shift 2
	if [ $# -gt 0 ]; then
		[ -z "$1" ] || data=(-H 'Content-Type: application/json' --data-binary "$1")
		shift
	fi
	code=$(curl -sS -m 30 -X "$method" -o "$T/$FAKE/body" -w '%{http_code}' "${data[@]}" \
		-H "${FAKE_AUTH-Authorization: Bearer $FAKE_KEY}" "$@" "$(fake_url)$path") || return
	body=$(tr -d '\0' < "$T/$FAKE/body")
}

# fake_offer [GB]: the cheapest offer with that much room.
# shellcheck disable=SC2120
fake_offer() {
	fake_ask POST /api/v0/bundles/ "{\"rentable\":{\"eq\":true},\"disk_space\":{\"gte\":${1:-40}},
		\"order\":[[\"dph_total\",\"asc\"]],\"allocated_storage\":${1:-40},\"limit\":1}" &&
		jq '.offers[0].id' <<< "$body"
}

# fake_create LABEL: an instance; its id is in $ID.
fake_create() {
	fake_ask PUT "/api/v0/asks/$(fake_offer)/" "{\"client_id\":\"me\",\"image\":\"ubuntu:22.04\",
		\"disk\":40,\"runtype\":\"ssh_direct\",\"cancel_unavail\":true,\"label\":\"$1\"}" || return
	ID=$(jq '.new_contract // empty' <<< "$body")
}
