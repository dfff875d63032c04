#!/usr/bin/env bats
# shellcheck shell=bash disable=SC2154
# The HTTP door: every endpoint and every refusal (api_golden/), what the predecessor's client sends, who
# may do what, and that both doors show one thing. Limits and hostile clients: http_limits.bats.

load lib
load life_lib
load http_lib

setup() { common_setup; }
teardown() {
	settle || true
	common_teardown
}

@test "every endpoint answers as it did (golden)" {
	open_start -o synthetic_offers=20,synthetic_seed=7,local_price_per_hour=0.4
	make app
	until_true 60 status_is "$ID" running
	say_all <<-'END' | api_golden answers
		GET /health
		GET /ready
		GET /api/v1/inventory?provider=local
		GET /api/v1/inventory?limit=2&offset=1
		GET /api/v1/inventory?gpu_type=RTX+4090&max_price=0.5
		GET /api/v1/inventory/local-cpu
		GET /api/v1/sessions
		GET /api/v1/sessions?consumer_id=app&status=running&provider=local&limit=5
		GET /api/v1/sessions?status=none-such
		GET /api/v1/sessions?offset=1
		GET /api/v1/sessions/@ID
		GET /api/v1/sessions/@ID/diagnostics
		GET /api/v1/sessions/@ID/key
		POST /api/v1/sessions/@ID/extend {"additional_hours":3}
		GET /api/v1/sessions/@ID
		POST /api/v1/sessions {"consumer_id":"b&<c>","offer_id":"local-cpu","workload_type":"training","reservation_hours":1,"storage_policy":"destroy","launch_mode":"ssh","auto_retry":true,"retry_scope":"any","ssh_timeout_minutes":10,"newer_field":{"x":[1]}}
		POST /api/v1/sessions/@ID/done
		OPTIONS /api/v1/sessions
	END
	until_true 60 status_is "$ID" stopped
	say_all <<-'END' | api_golden ended
		GET /api/v1/sessions/@ID
		POST /api/v1/sessions/@ID/done
		GET /api/v1/sessions/@ID/key
		GET /api/v1/sessions/@ID/diagnostics
		POST /api/v1/sessions/@ID/extend {"additional_hours":1}
		DELETE /api/v1/sessions/@ID
		DELETE /api/v1/sessions/@ID
		GET /api/v1/sessions/@ID
	END
	[ "$(alice cat "$M/history/$ID/state")" = stopped ]
	# With the extension the session cost nothing more than its price says.
	curl -s "$S/$ID" | jq -e '.total_cost >= 0 and .total_cost < 0.4' >/dev/null
}

@test "every refusal answers as it did (golden)" {
	open_start
	make app
	until_true 60 status_is "$ID" running
	say_all <<-'END' | api_golden refusals
		GET /
		GET /api/v1
		GET /api/v1/costs
		GET /api/v1/benchmarks
		PUT /api/v1/sessions
		DELETE /health
		GET /api/v1/sessions/
		POST /api/v1/sessions/?a=b
		GET /api/v1/sessions/@ID/
		GET /api/v1/inventory/none
		GET /api/v1/inventory/a%2Fb
		GET /api/v1/inventory?provider=none
		GET /api/v1/inventory?min_vram=abc
		GET /api/v1/inventory?min_vram=-1
		GET /api/v1/inventory?min_vram=99999999999999999999
		GET /api/v1/inventory?min_vram=
		GET /api/v1/inventory?max_price=NaN
		GET /api/v1/inventory?max_price=-0.0000001
		GET /api/v1/inventory?gpu_count=1.0
		GET /api/v1/inventory?min_gpu_count=%2B
		GET /api/v1/inventory?min_reliability=2
		GET /api/v1/inventory?min_availability_confidence=-1
		GET /api/v1/inventory?min_cuda=0x1
		GET /api/v1/inventory?template_hash_id=a
		GET /api/v1/inventory?limit=0
		GET /api/v1/inventory?limit=abc&limit=1
		GET /api/v1/inventory?offset=-1
		GET /api/v1/sessions?limit=0
		GET /api/v1/sessions?limit=%3Cb%3E
		GET /api/v1/sessions?offset=x
		GET /api/v1/sessions/none
		DELETE /api/v1/sessions/none
		POST /api/v1/sessions/none/done
		POST /api/v1/sessions/none/extend {"additional_hours":1}
		GET /api/v1/sessions/none/key
		GET /api/v1/sessions/none/diagnostics
		POST /api/v1/sessions
		POST /api/v1/sessions x
		POST /api/v1/sessions []
		POST /api/v1/sessions {}
		POST /api/v1/sessions {"consumer_id":
		POST /api/v1/sessions {"consumer_id":"","offer_id":null,"workload_type":"llm","reservation_hours":0}
		POST /api/v1/sessions {"consumer_id":"a","offer_id":"local-cpu","workload_type":"llm","reservation_hours":-1}
		POST /api/v1/sessions {"consumer_id":"a","offer_id":"local-cpu","workload_type":"llm","reservation_hours":13}
		POST /api/v1/sessions {"consumer_id":"a","offer_id":"local-cpu","workload_type":"llm","reservation_hours":"2"}
		POST /api/v1/sessions {"consumer_id":"a","offer_id":"local-cpu","workload_type":"llm","reservation_hours":2.0}
		POST /api/v1/sessions {"consumer_id":"a","offer_id":"local-cpu","workload_type":"llm","reservation_hours":NaN}
		POST /api/v1/sessions {"consumer_id":7,"offer_id":"local-cpu","workload_type":"llm","reservation_hours":2}
		POST /api/v1/sessions {"consumer_id":"a","offer_id":"local-cpu","workload_type":"games","reservation_hours":2}
		POST /api/v1/sessions {"consumer_id":"a","offer_id":"none<b>","workload_type":"llm","reservation_hours":2}
		POST /api/v1/sessions {"consumer_id":"app","offer_id":"local-cpu","workload_type":"llm","reservation_hours":2}
		POST /api/v1/sessions {"consumer_id":"a","offer_id":"local-cpu","workload_type":"llm","reservation_hours":2,"auto_retry":true,"retry_scope":"all"}
		POST /api/v1/sessions {"consumer_id":"a","offer_id":"local-cpu","workload_type":"llm","reservation_hours":2,"idle_threshold_minutes":5}
		POST /api/v1/sessions {"consumer_id":"a","offer_id":"local-cpu","workload_type":"llm","reservation_hours":2,"storage_policy":"preserve"}
		POST /api/v1/sessions {"consumer_id":"a","offer_id":"local-cpu","workload_type":"llm","reservation_hours":2,"launch_mode":"entrypoint"}
		POST /api/v1/sessions {"consumer_id":"a","offer_id":"local-cpu","workload_type":"llm","reservation_hours":2,"docker_image":"x"}
		POST /api/v1/sessions {"consumer_id":"a","offer_id":"local-cpu","workload_type":"llm","reservation_hours":2,"model_id":"x"}
		POST /api/v1/sessions {"consumer_id":"a","offer_id":"local-cpu","workload_type":"llm","reservation_hours":2,"quantization":"x"}
		POST /api/v1/sessions {"consumer_id":"a","offer_id":"local-cpu","workload_type":"llm","reservation_hours":2,"exposed_ports":[80]}
		POST /api/v1/sessions {"consumer_id":"a","offer_id":"local-cpu","workload_type":"llm","reservation_hours":2,"template_hash_id":"x"}
		POST /api/v1/sessions {"consumer_id":"a","offer_id":"local-cpu","workload_type":"llm","reservation_hours":2,"on_start_cmd":"x"}
		POST /api/v1/sessions {"consumer_id":"a","offer_id":"local-cpu","workload_type":"llm","reservation_hours":2,"disk_gb":50}
		POST /api/v1/sessions {"consumer_id":"a","offer_id":"local-cpu","workload_type":"llm","reservation_hours":2,"vcpus":8}
		POST /api/v1/sessions {"consumer_id":"a","offer_id":"local-cpu","workload_type":"llm","reservation_hours":2,"ram_gb":32}
		POST /api/v1/sessions {"consumer_id":"a","offer_id":"local-cpu","workload_type":"llm","reservation_hours":2,"vcpus":"8"}
		POST /api/v1/sessions {"consumer_id":"a","offer_id":"local-cpu","workload_type":"llm","reservation_hours":2,"vcpus":0.5}
		POST /api/v1/sessions {"consumer_id":"a","offer_id":"local-cpu","workload_type":"llm","reservation_hours":2,"label":7}
		POST /api/v1/sessions {"consumer_id":"a","offer_id":"local-cpu","workload_type":"llm","reservation_hours":2,"ssh_public_key":"ssh-rsa x"}
		POST /api/v1/sessions {"consumer_id":"a","offer_id":"local-cpu","workload_type":"llm","reservation_hours":2,"protect":1}
		POST /api/v1/sessions {"consumer_id":"a","offer_id":"local-cpu","workload_type":"llm","reservation_hours":2,"ssh_timeout_minutes":61}
		POST /api/v1/sessions {"consumer_id":"a\u0000","offer_id":"local-cpu","workload_type":"llm","reservation_hours":2}
		POST /api/v1/sessions/@ID/extend
		POST /api/v1/sessions/@ID/extend {}
		POST /api/v1/sessions/@ID/extend {"additional_hours":-1}
		POST /api/v1/sessions/@ID/extend {"additional_hours":13}
		POST /api/v1/sessions/@ID/extend {"additional_hours":12}
	END
	# None of them left a draft, or a session.
	[ "$(curl -s "$S" | jq .count)" = 1 ]
	until_true 10 eval '[ "$(ls "$M/sessions")" = "$ID" ]'
}

@test "orders that the engine refuses: protected, no money for more sessions, draining, offer taken" {
	open_start -o max_sessions_per_user=2,local_max_sessions=3
	make one
	alice sh -c 'echo 1 > "$1"' sh "$M/sessions/$ID/protect"
	ask DELETE "/api/v1/sessions/$ID"
	says 409 protected
	ask POST "/api/v1/sessions/$ID/done"
	says 409 protected
	[ -d "$M/sessions/$ID" ]
	make two
	ask POST /api/v1/sessions "$(order three)"
	says 402 MAX_SESSIONS_PER_USER
	echo drain > "$M/ctl"
	ask POST /api/v1/sessions "$(order three)"
	says 503 draining
	jq -e '.error_type == "provider_unavailable" and .retry_suggested == true and (.request_id | length) == 36' \
		<<< "$body"
	ask GET /ready
	says 200 true
	echo undrain > "$M/ctl"
	alice sh -c 'echo 0 > "$1"' sh "$M/sessions/$ID/protect"
	[ "$(ls "$M/sessions" | wc -l)" = 2 ]
}

@test "an offer that is taken: 503 stale_inventory, and no draft stays" {
	open_start -o local_max_sessions=1
	make one
	until_true 60 status_is "$ID" running
	until_true 30 eval '[ "$(curl -s "$API/api/v1/inventory" | jq .total)" = 0 ]'
	ask GET /api/v1/inventory/local-cpu # still found: a session may be on it
	says 200 '"available":false'
	ask POST /api/v1/sessions "$(order two)"
	says 503 stale_inventory
	jq -e '.offer_id == "local-cpu" and .provider == "local" and .retry_suggested == true and
		(.message | startswith("The selected offer is no longer available."))' <<< "$body"
	until_true 10 eval '[ "$(ls "$M/sessions")" = "$ID" ]'
}

@test "the requests of the predecessor's own client, as recorded" {
	open_start
	go() { curl -sS -m 30 -A Go-http-client/1.1 -H 'Accept-Encoding: gzip' "$@"; }
	go "$API/api/v1/inventory?provider=local&gpu_type=CPU&max_price=1.00&min_vram=0&min_gpu_count=0" |
		jq -e '.count == 1 and .offers[0].id == "local-cpu" and (.offers[0].fetched_at | fromdate) > 0'
	go -w '\n%{http_code}\n' "$S" -H 'Content-Type: application/json' -d '{"consumer_id":"cli","offer_id":"local-cpu","reservation_hours":2,"storage_policy":"destroy","workload_type":"llm"}' > "$T/made"
	[ "$(tail -n 1 "$T/made")" = 201 ]
	head -n 1 "$T/made" | jq -e '(.session | .id and .provider and .gpu_type and .status and
		(.price_per_hour | type) == "number" and (.expires_at | fromdate) > 0) and
		(.ssh_private_key | startswith("-----BEGIN ") and endswith("\n"))'
	ID=$(head -n 1 "$T/made" | jq -r .session.id)
	go "$S?consumer_id=cli&status=" | jq -e '.count == 1 and (.sessions | length) == 1'
	until_true 60 status_is "$ID" running
	go "$S/$ID" | jq -e --arg id "$ID" '.id == $id and (.ssh_port | floor) == .ssh_port and
		(.gpu_count | type) == "number"'
	[ "$(go -o /dev/null -w '%{http_code}' "$S/none")" = 404 ]
	go -X POST "$S/$ID/extend" -d '{"additional_hours":1}' | jq -e '.new_expires_at | fromdate > 0'
	[ "$(go -o /dev/null -w '%{http_code}' -X POST "$S/$ID/done")" = 200 ]
	[ "$(go -o /dev/null -w '%{http_code}' -X DELETE "$S/$ID")" = 200 ]
	go "$S/$ID" | jq -e '.status | test("^stopp")'
}

@test "one thing behind two doors: sessions, keys, orders" {
	open_start
	make app
	[ "$(ls "$M/sessions")" = "$ID" ]
	[ "$(stat -c %U "$M/sessions/$ID")" = gpufs-alice ]
	[ "$(alice cat "$M/sessions/$ID/consumer")" = app ]
	jq -r .ssh_private_key <<< "$body" > "$T/key"
	chmod 600 "$T/key"
	chown gpufs-alice "$T/key"
	[ "$(alice timeout 60 cat "$M/sessions/$ID/wait/ready")" = running ]
	diff <(alice cat "$M/sessions/$ID/ssh/key") <(jq -j .ssh_private_key <<< "$body")
	diff <(curl -s "$S/$ID/key" | jq -r .ssh_private_key) <(jq -r .ssh_private_key <<< "$body")
	local port
	port=$(curl -s "$S/$ID" | jq .ssh_port)
	[ "$(alice ssh -n -i "$T/key" -p "$port" -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null \
		-o LogLevel=ERROR gpufs-alice@127.0.0.1 echo in)" = in ]
	# The other way round; drafts are not in the list.
	alice mkdir "$M/sessions/draft"
	[ "$(curl -s "$S" | jq .count)" = 1 ]
	ask GET "/api/v1/sessions/$(cat "$M/sessions/draft/id")"
	says 404
	buy train
	local id
	id=$(cat "$M/sessions/train/id")
	curl -s "$S" | jq -e --arg id "$id" '.count == 2 and .sessions[0].id == $id and .sessions[0].name == "train"'
	# DELETE is rmdir: it leaves sessions/, and its end is proven.
	ask DELETE "/api/v1/sessions/$id"
	says 200 '"session'
	no test -d "$M/sessions/train"
	gone train | grep -q 'proof complete'
	ask DELETE "/api/v1/sessions/$id"
	says 200 '"session destroyed"'
	# done leaves the directory; a name given at the mount is the session's name here.
	alice mv "$M/sessions/$ID" "$M/sessions/better"
	ask POST "/api/v1/sessions/$ID/done"
	says 200 '"session shutdown initiated"'
	until_true 60 status_is "$ID" stopped
	[ "$(alice cat "$M/sessions/better/state")" = stopped ]
	curl -s "$S/$ID" | jq -e '.name == "better" and .stopped_at and .reason'
}

@test "tokens: each sees and ends only its own, an administrator all; without one 401" {
	token_start
	local id
	ask GET /api/v1/sessions
	says 401 'valid token'
	jq -e '.request_id' <<< "$body"
	for bad in "Bearer nonsense-nonsense" "Basic $ALICE" "$ALICE" "Bearer" "Bearer $ALICE-" "Bearer ${ALICE%f}"; do
		ask GET /api/v1/sessions '' -H "Authorization: $bad"
		says 401
	done
	ask GET /health
	says 200
	ask GET /metrics
	says 200
	make team-a -H "Authorization: Bearer $ALICE"
	[ "$(stat -c %U "$M/sessions/$ID")" = gpufs-alice ]
	ask_as "$ALICE" GET "/api/v1/sessions/$ID"
	says 200 team-a
	ask_as "$ROOT" GET "/api/v1/sessions/$ID"
	says 200 team-a
	# Bob is told nothing, and nothing is logged that would help to guess.
	local before
	before=$(wc -l < "$T/state/gpufs.log")
	for what in "GET $ID" "DELETE $ID" "POST $ID/done" "GET $ID/key" "GET $ID/diagnostics"; do
		ask_as "$BOB" "${what% *}" "/api/v1/sessions/${what#* }"
		says 404 "session not found: $ID"
	done
	ask_as "$BOB" POST "/api/v1/sessions/$ID/extend" '{"additional_hours":1}'
	says 404 "session not found"
	no grep -q "$ID" <(tail -n +$((before + 1)) "$T/state/gpufs.log" | grep -i http)
	ask_as "$BOB" GET /api/v1/sessions
	says 200 '{"count":0,"sessions":[]}'
	# A token is for its consumer; an administrator's for all.
	ask_as "$BOB" POST /api/v1/sessions "$(order team-a)"
	says 403 'consumer team-b only'
	id=$ID
	make anybody -H "Authorization: Bearer $ROOT"
	ask_as "$ALICE" GET "/api/v1/sessions/$ID"
	says 404
	ask_as "$ROOT" GET /api/v1/sessions
	jq -e '.count == 2' <<< "$body"
	# bob may use the same offer at the same time
	make team-b -H "Authorization: Bearer $BOB"
	ask_as "$ROOT" DELETE "/api/v1/sessions/$id"
	says 200
	no grep -rq "$ALICE" "$T/state"
}

@test "tokens are read again at SIGHUP; a bad file changes nothing and is an alarm" {
	token_start
	sed -i "/^$BOB/d" "$T/tokens"
	echo "carol-0123456789abcdef team-c gpufs-bob" >> "$T/tokens"
	kill -HUP "$(holder_pid)"
	new_token() { ask_as carol-0123456789abcdef GET /api/v1/sessions && [ "$code" = 200 ]; }
	until_true 20 new_token
	ask_as "$BOB" GET /api/v1/sessions
	says 401
	chmod 644 "$T/tokens"
	kill -HUP "$(holder_pid)"
	until_true 20 grep -q 'chmod 600' "$M/alarms"
	new_token
	chmod 600 "$T/tokens"
	kill -HUP "$(holder_pid)"
	until_true 20 eval '[ ! -s "$M/alarms" ]'
}

@test "how the API is switched on: no tokens 403; bad tokens files and users refuse the start" {
	http_start
	ask GET /api/v1/sessions
	says 403 'API_TOKENS_FILE'
	ask GET /api/v1/none
	says 404
	ask GET /metrics
	says 200 gpufs_build_info
	gpufs_stop
	refused() {
		run gpufs_start -o server_port="$PORT" "$@"
		[ "$status" -ne 0 ]
	}
	refused -o api_auth=none
	[[ $output == *API_UID* ]]
	refused -o api_auth=none,api_uid=no-such-user
	[[ $output == *"no user called 'no-such-user'"* ]]
	refused -o api_tokens_file="$T/none"
	[[ $output == *"cannot be read"* ]]
	printf '%s team-a\n' "$ALICE" > "$T/tokens"
	chmod 600 "$T/tokens"
	refused -o api_tokens_file="$T/tokens"
	[[ $output == *"line 1: must be TOKEN CONSUMER UID"* && $output != *"$ALICE"* ]]
	chmod 640 "$T/tokens"
	refused -o api_tokens_file="$T/tokens"
	[[ $output == *"chmod 600"* ]]
	refused -o api_tokens_file="$T"
	[[ $output == *"not a regular file"* ]]
	refused -o server_host=localhost
	[[ $output == *"address in numbers"* ]]
	refused -o server_port=70000 2>/dev/null || true
	open_start -o server_host=::1 || skip "no IPv6 here"
}

@test "--check says whether the port and the access of HTTP are good, and fails where a start would" {
	PORT=$(free_port)
	# check OPTIONS STATUS TEXT...: how it ends, and lines that it prints.
	check() {
		run env GPUFS_SERVER_PORT="$PORT" "$GPUFS_BIN" --check -o database_path="$DB${1:+,$1}"
		[ "$status" -eq "$2" ] || { echo "$output" >&2; return 1; }
		shift 2
		local text
		for text in "$@"; do grep -Eq "$text" <<< "$output" || { echo "no $text in: $output" >&2; return 1; }; done
	}
	check '' 0 "HTTP port +ok +127.0.0.1 port $PORT is free" 'HTTP access +ok +no tokens'
	check server_port=0 0 'HTTP port +ok +switched off'
	check api_auth=none,api_uid=gpufs-alice 0 'HTTP access +ok +whoever can connect acts as gpufs-alice'
	check api_auth=none,api_uid=no-such-user 1 "HTTP access +BAD +there is no user called 'no-such-user'"
	check api_tokens_file="$T/none" 1 'HTTP access +BAD .*cannot be read' 'A start would fail'
	printf '%s team-a gpufs-alice\n%s team-b gpufs-bob\n' "$ALICE" "$BOB" > "$T/tokens"
	chmod 644 "$T/tokens"
	check api_tokens_file="$T/tokens" 1 'HTTP access +BAD .*chmod 600 it'
	chmod 600 "$T/tokens"
	check api_tokens_file="$T/tokens" 0 "HTTP access +ok +2 tokens in $T/tokens"
	[[ $output != *"$ALICE"* ]]
	echo 'short team-c 0' >> "$T/tokens"
	check api_tokens_file="$T/tokens" 1 'HTTP access +BAD .*line 3: a token is'
	# With HTTP switched off a start does not read it either.
	check server_port=0,api_tokens_file="$T/tokens" 0 'HTTP access +ok +not looked at'
	gpufs_start -o server_port=0,api_tokens_file="$T/tokens"
	gpufs_stop
	# A port in use is a warning: the mount works. Looking at it takes it from nobody.
	python3 -c 'import signal, socket, sys
s = socket.socket(); s.bind(("127.0.0.1", int(sys.argv[1]))); s.listen()
print("bound", flush=True); signal.pause()' "$PORT" > "$T/bound" 3>&- &
	local holder=$!
	until_true 10 grep -q bound "$T/bound"
	check '' 0 "HTTP port +warn +127.0.0.1 port $PORT cannot be had: .*in use; the mount works" 'A start would work'
	run "$GPUFS_BIN" --check --json -o database_path="$DB",server_port="$PORT"
	jq -e '.works == true and .start["HTTP port"].good == false and .start["HTTP port"].needed == false and
		.start["HTTP access"].good == true' <<< "$output"
	kill "$holder"
	wait "$holder" 2>/dev/null || true
	check '' 0 "HTTP port +ok"
	check '' 0 "HTTP port +ok"
}

@test "before the first offers are there: /ready and /health are 503, and the rest answers" {
	[ ! -e /proc/driver/nvidia/gpus ] || skip 'this machine has GPUs'
	PORT=$(free_port)
	mkdir -p "$T/bin"
	mkfifo "$T/go"
	# The driver is asked, and does not answer before the test says so.
	printf '#!/bin/sh\nread -r line < "%s"\necho "0, NVIDIA GeForce RTX 4090, 24564"\n' "$T/go" > "$T/bin/nvidia-smi"
	chmod -R 755 "$T/bin"
	export API=http://127.0.0.1:$PORT
	run unshare -m bash -ec "
		BATS_TEST_DIRNAME='$BATS_TEST_DIRNAME'
		source '$BATS_TEST_DIRNAME/lib.bash'
		mount -t tmpfs tmpfs /proc/driver
		mkdir -p /proc/driver/nvidia/gpus/0000:01:00.0
		printf 'Model: \t\t NVIDIA GeForce RTX 4090\n' > /proc/driver/nvidia/gpus/0000:01:00.0/information
		GPUFS_BIN='$GPUFS_BIN'
		PATH='$T/bin':\$PATH gpufs_start -o server_port=$PORT,api_auth=none,api_uid=gpufs-alice
		grep -q 'state starting' '$M/status'
		curl -s -w '\n%{http_code}\n' '$API/ready' '$API/health' '$API/api/v1/inventory'
		echo go > '$T/go'
		until_true 20 curl -sf '$API/ready'
		curl -s -w '\n%{http_code}\n' '$API/health'
	" 3>&-
	echo "$output"
	[ "$status" -eq 0 ]
	[ "$(grep -cx 503 <<< "$output")" = 2 ]
	[ "$(grep -cx 200 <<< "$output")" = 2 ]
	grep -q '"ready":false,"timestamp"' <<< "$output"
	grep -q '"status":"unavailable",.*"inventory":"starting","lifecycle":"running","ready":"false"' <<< "$output"
	grep -q '"status":"ok",.*"ready":"true"' <<< "$output"
}

@test "API_AUTH=none is not for web pages: Origin and foreign Host names are refused" {
	open_start
	ask POST /api/v1/sessions "$(order app)" -H 'Origin: http://evil.example'
	says 403 Origin
	ask GET /api/v1/sessions '' -H 'Host: evil.example:8080'
	says 403 Host
	for host in localhost:1 gpufs 127.0.0.1 '[::1]:8080'; do
		ask GET /api/v1/sessions '' -H "Host: $host"
		says 200
	done
	[ -z "$(ls "$M/sessions")" ]
}

@test "SESSIONS_ACCESS counts here too" {
	token_start -o sessions_access=owner:gpufs-bob
	ask_as "$ALICE" POST /api/v1/sessions "$(order team-a)"
	says 403 SESSIONS_ACCESS
	make team-b -H "Authorization: Bearer $BOB"
	settle
	gpufs_stop
	token_start -o sessions_access=group:gpufs-alice
	ask_as "$BOB" POST /api/v1/sessions "$(order team-b)"
	says 403 SESSIONS_ACCESS
	make team-a -H "Authorization: Bearer $ALICE"
}

@test "X-Request-ID: a harmless one comes back, anything else is replaced, and errors carry it" {
	open_start
	given() { curl -s -D - -o "$T/body" "$@" | tr -d '\r' | sed -n 's/^X-Request-ID: //p'; }
	[ "$(given -H 'X-Request-ID: my.Own_id-1' "$API/health")" = my.Own_id-1 ]
	[ "$(given -H 'X-Request-ID: my.Own_id-1' "$API/none")" = my.Own_id-1 ]
	[ "$(jq -r .request_id "$T/body")" = my.Own_id-1 ]
	for bad in 'a b' '' 'é' '<b>' "$(printf '%0129d' 0)"; do
		[[ $(given -H "X-Request-ID: $bad" "$API/none") =~ ^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$ ]]
	done
	[ "$(given -H "X-Request-ID: $(printf '%0128d' 0)" "$API/health")" = "$(printf '%0128d' 0)" ]
	[ -n "$(given -X OPTIONS "$API/health")" ]
	[ -n "$(given "$API/metrics")" ]
}

@test "HEAD and OPTIONS work everywhere; a slash at the end is a redirect that keeps the query" {
	open_start
	for path in /health /ready /metrics /api/v1/inventory /api/v1/sessions /api/v1/openapi.json /api/v1/events; do
		[ "$(curl -s -m 10 -I -o "$T/head" -w '%{http_code} %{size_download}' "$API$path")" = "200 0" ]
		[ "$(curl -s -m 10 -X OPTIONS -o /dev/null -w '%{http_code}' "$API$path")" = 204 ]
	done
	[ "$(curl -s -o /dev/null -w '%{http_code} %{redirect_url}' "$API/api/v1/inventory/?a=%2F&b")" = \
		"301 $API/api/v1/inventory?a=%2F&b" ]
	[ "$(curl -s -X POST -o /dev/null -w '%{http_code}' "$S/")" = 307 ]
	[ "$(curl -s -L -d "$(order app)" -o /dev/null -w '%{http_code}' "$S/")" = 201 ]
	[ "$(curl -s --path-as-is -o /dev/null -w '%{http_code}' "$API//evil.example/")" = 404 ]
}

@test "it answers while the disk stalls; the order that cannot be recorded is a 500, and nothing is made" {
	export GPUFS_TEST_STORE_STALL=$T/stall
	open_start
	touch "$T/stall"
	curl -s -m 30 -o "$T/late" -w '%{http_code}' -d "$(order app)" "$S" > "$T/code" &
	local maker=$!
	for path in /health /api/v1/inventory /api/v1/sessions /metrics; do
		[ "$(curl -s -m 2 -o /dev/null -w '%{http_code}' "$API$path")" = 200 ]
	done
	wait "$maker"
	[ "$(cat "$T/code")" = 500 ]
	grep -q 'provision_failed.*"retry_suggested":true' "$T/late"
	rm "$T/stall"
	until_true 20 eval '[ -z "$(ls "$M/sessions")" ]'
	[ "$(curl -s "$S" | jq .count)" = 0 ]
}

@test "the port is taken: the mount works, alarms says so, and HTTP answers once it is free" {
	PORT=$(free_port)
	python3 -c 'import signal, socket, sys
s = socket.socket(); s.bind(("127.0.0.1", int(sys.argv[1]))); s.listen()
print("bound", flush=True); signal.pause()' "$PORT" > "$T/bound" 3>&- &
	local holder=$!
	until_true 10 grep -q bound "$T/bound"
	gpufs_start -o server_port="$PORT"
	grep -q "http.*port $PORT.*in use" "$M/alarms"
	buy train
	kill "$holder"
	API=http://127.0.0.1:$PORT
	until_true 20 answers_ready
	until_true 10 eval '[ ! -s "$M/alarms" ]'
}

@test "a stop answers who waits, ends streams, and a restart finds everything" {
	open_start
	make app
	curl -s -N "$API/api/v1/events" > "$T/events" 3>&- &
	local reader=$!
	until_true 10 grep -q retry "$T/events"
	settle
	gpufs_stop
	wait "$reader" # the stream ended by itself
	open_start
	curl -s "$S/$ID" | jq -e '.consumer_id == "app"'
	until_true 60 status_is "$ID" running
}

@test "requests are counted by method, route and status, with bounded labels" {
	open_start
	for i in 1 2 3; do ask GET "/api/v1/sessions/none-$i"; done
	ask GET "/api/v1/nothing/like/this"
	ask BREW /health
	ask GET /metrics
	grep -qxF 'http_requests_total{method="GET",path="/api/v1/sessions/:id",status="404"} 3' <<< "$body"
	grep -qxF 'http_requests_total{method="GET",path="unknown",status="404"} 1' <<< "$body"
	grep -q 'http_requests_total{method="other",path="unknown",status="405"} 1' <<< "$body"
	grep -qE 'http_request_duration_seconds_count\{method="GET",path="/api/v1/sessions/:id"\} 3' <<< "$body"
	no grep -q none-1 <<< "$body"
	if command -v promtool >/dev/null; then promtool check metrics <<< "$body"; fi
}
