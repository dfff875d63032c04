#!/usr/bin/env bats
# The fake cloud itself, over real sockets: its answers have the shapes of the recorded and documented ones,
# what the documents send is taken, faults arrive at a client as they would, and machines have a real sshd.

load lib
load fake

setup() {
	common_setup
	mkdir -p "$T/fake"
}
teardown() {
	fake_teardown
	common_teardown
}

# like FIXTURE: the last body equals the fixture, numbers aside.
like() {
	diff <(jq -S . "$FAKE_FIXTURES/$1" | sed -E 's/[0-9]+(\.[0-9]+)?/N/g') \
		<(jq -S . <<< "$body" | sed -E 's/[0-9]+(\.[0-9]+)?/N/g')
}
# lacking FIXTURE JQ-PATH JQ-PATH: members that the fixture has (second path) and the body lacks (first).
lacking() {
	comm -23 <(jq -r "$3 | keys[]" "$FAKE_FIXTURES/$1" | sort) <(jq -r "$2 | keys[]" <<< "$body" | sort)
}

@test "errors are those of the fixtures" {
	fake_start --calm
	fake_ctl set spacing 0
	anonymous() { FAKE_AUTH='X-None: 1' fake_ask "$@"; }
	stranger() { FAKE_AUTH='Authorization: Bearer nobody' fake_ask "$@"; }

	anonymous GET /api/v0/charges/
	[ "$code" = 403 ]
	like error_403_login_required.json
	stranger GET /api/v0/instances/5/
	[ "$code" = 401 ]
	like error_401_invalid_key.json
	stranger GET /api/v0/charges/
	[ "$code" = 404 ]
	like error_404_invalid_key.json
	anonymous GET /api/v0/volumes/
	[ "$code" = 401 ]
	like error_401_detail.json
	fake_ask POST /api/v0/bundles/ '{'
	[ "$code" = 400 ]
	like error_400_invalid_json.json
	fake_ask GET '/api/v1/instances/?select_filters=%7B%22dph_total%22%3A%7B%22gt%22%3A0%7D%7D'
	[ "$code" = 400 ]
	like error_400_list_search_key.json
	fake_ask GET '/api/v1/instances/?after_token=no'
	[ "$code" = 400 ]
	like error_400_invalid_token.json
	fake_ask GET /api/v0/charges/
	[ "$code" = 400 ]
	like error_400_charges_range.json
	fake_ask DELETE /api/v0/instances/x/
	[ "$code" = 400 ]
	like error_400_destroy_invalid_id.json
	fake_ask PUT /api/v0/asks/5/ '{"image":"x","label":"a","cancel_unavail":true}'
	[ "$code" = 400 ]
	like error_400_no_such_ask.json
	fake_ctl set v0_gone 1
	fake_ask GET /api/v0/instances/
	[ "$code" = 410 ]
	like error_410_deprecated_list.json
	fake_ctl fault get 502
	fake_ask GET /api/v0/instances/5/
	[ "$code" = 502 ]
	[[ $body == *'<h1>502 Bad Gateway</h1>'* ]]
	fake_ctl credit 0
	fake_ask PUT "/api/v0/asks/$(fake_offer)/" '{"image":"x","label":"b","cancel_unavail":true}'
	[ "$code" = 400 ]
	like error_400_insufficient_credit.json
	fake_stop violations
}

@test "the forms of a 429 and of gone are those of the fixtures" {
	fake_start --calm
	fake_ctl set spacing 0
	for shape in 1:create 2:detail 3:destroy 5:retry_after; do
		fake_ctl fault get "429:${shape%:*}"
		fake_ask GET /api/v0/instances/5/
		[ "$code" = 429 ]
		like "error_429_${shape#*:}.json"
	done
	fake_ask GET /api/v0/instances/5/
	like instance_gone.json
	fake_ask DELETE /api/v0/instances/5/
	[ "$code" = 404 ]
	like error_404_no_such_instance.json
	fake_ask DELETE /api/v0/instances/5/
	[ "$code" = 404 ]
	like error_404_destroy_not_found.json
	fake_ask DELETE /api/v0/instances/5/
	[ "$code" = 200 ]
	like error_200_destroy_no_such_instance.json
	fake_stop
}

@test "rows have every member of the recorded ones" {
	fake_start --calm --time-factor 0.001
	fake_ctl set spacing 0
	fake_ask POST /api/v0/bundles/ '{"limit":64}'
	is '' "$(lacking offer_rtx4090_recorded.json '.offers[0]' .)"
	fake_create one
	until_true 20 eval '[[ $(fake_ctl instances) == *\"running\"* ]]'
	fake_ask GET "/api/v0/instances/$ID/"
	is '' "$(lacking instance_state_running_direct.json .instances .instances)"
	is string "$(jq -r '.instances.ports["22/tcp"][0].HostPort | type' <<< "$body")"
	fake_ask GET '/api/v1/instances/?limit=25'
	is '["instances","instances_found","label_counts","next_token","success","total_instances"]' \
		"$(jq -c keys <<< "$body")"
	fake_ask GET /api/v0/users/current/
	is '' "$(lacking user_current_constructed.json . .)"
	fake_ask GET '/api/v0/template/?select_filters=%7B%22recommended%22%3A%7B%22eq%22%3Atrue%7D%7D'
	is 2 "$(jq .templates_found <<< "$body")"
	fake_ask DELETE "/api/v0/instances/$ID/" '{}'
	like destroy_success.json
	until_true 20 eval '[ "$(fake_living)" = 0 ]'
	fake_stop
}

@test "what the documents and other clients send is taken" {
	fake_start --calm --offers 400
	fake_ctl set spacing 0
	for f in "$FAKE_FIXTURES"/req_search_*.json; do
		case $f in
		*asks*) fake_ask PUT /api/v0/search/asks/ "$(cat "$f")" ;;
		*go_project*) fake_ask GET "/api/v0/bundles/?q=$(jq -rc '@uri "\(.)"' "$f")" ;;
		*) fake_ask POST /api/v0/bundles/ "$(cat "$f")" ;;
		esac
		is "200 $f" "$code $f"
		[ "$(jq '.offers | length' <<< "$body")" -le 64 ]
	done
	is '' "$(fake_ctl violations)"
	for f in "$FAKE_FIXTURES"/req_create_*.json; do
		fake_ask PUT "/api/v0/asks/$(fake_offer 60)/" "$(cat "$f")"
		is "200 $f" "$code $f"
		[ "$(jq .new_contract <<< "$body")" -gt 0 ]
	done
	# What only another client does: told, but taken.
	is 'cancel-unavail label-missing undocumented-member' \
		"$(fake_ctl violations | sed 's/^[^ ]* \([^:]*\):.*/\1/' | sort -u | tr '\n' ' ' | sed 's/ $//')"
	fake_stop living violations
}

@test "an answer is lost, cut, late, or none comes, as over a real line" {
	fake_start --calm
	fake_ctl set spacing 0
	offer=$(fake_offer)
	fake_ctl fault create lost
	run fake_ask PUT "/api/v0/asks/$offer/" '{"image":"x","label":"a","cancel_unavail":true}'
	[ "$status" = 52 ]
	is 1 "$(fake_living)"
	fake_ctl fault create drop
	run fake_ask PUT "/api/v0/asks/$(fake_offer)/" '{"image":"x","label":"b","cancel_unavail":true}'
	[ "$status" = 52 ]
	is 1 "$(fake_living)"
	fake_ctl fault account truncate
	run fake_ask GET /api/v0/users/current/
	[ "$status" = 18 ]
	fake_ctl fault account chunk-cut
	run fake_ask GET /api/v0/users/current/
	[ "$status" = 18 ]
	fake_ctl fault account chunked
	fake_ask GET /api/v0/users/current/
	is 123456 "$(jq .id <<< "$body")"
	fake_ctl fault account drip:0.5s
	fake_ask GET /api/v0/users/current/
	is 123456 "$(jq .id <<< "$body")"
	fake_ctl fault account slow:30s
	run fake_ask GET /api/v0/users/current/ '' -m 0.3
	[ "$status" = 28 ]
	fake_ctl fault account huge:3000000
	fake_ask GET /api/v0/users/current/
	[ "$(wc -c < "$T/fake/body")" -gt 3000000 ]
	fake_ctl mode hang
	run fake_ask GET /api/v0/users/current/ '' -m 0.3
	[ "$status" = 28 ]
	fake_ctl mode reset
	run fake_ask GET /api/v0/users/current/
	[[ $status =~ ^(7|52|55|56)$ ]] # whether curl had connected and written already
	fake_ctl mode refuse
	run fake_ask GET /api/v0/users/current/
	[ "$status" = 7 ]
	fake_ctl mode ok
	fake_ask GET /api/v0/users/current/
	[ "$code" = 200 ]
	fake_stop living
}

@test "HTTP is read strictly" {
	fake_start --calm
	fake_ctl set spacing 0
	send() { # REQUEST: the status of the answer
		printf "$1" | timeout 10 python3 -c '
import socket, sys
s = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
s.sendall(sys.stdin.buffer.read())
s.shutdown(socket.SHUT_WR) if len(sys.argv) > 2 else None
print((s.recv(65536).split() + [b"none", b"none"])[1].decode())' "$(cat "$T/fake/port")"
	}
	rules() { fake_ctl violations | sed 's/^[^ ]* \([^:]*\):.*/\1/' | tr '\n' ' '; }
	H='Host: x\r\n'
	is 200 "$(send "GET /api/v0/users/current/ HTTP/1.1\r\n${H}Authorization: Bearer $FAKE_KEY\r\n\r\n")"
	is '' "$(rules)"
	is 400 "$(send "GET  /api/v0/users/current/ HTTP/1.1\r\n${H}\r\n")"
	is 400 "$(send "GET /api/v0/users/current/ HTTP/1.0\r\n${H}\r\n")"
	is 400 "$(send "GET http://x/ HTTP/1.1\r\n${H}\r\n")"
	is 400 "$(send "GET / HTTP/1.1\r\n\r\n")"
	is 400 "$(send "GET / HTTP/1.1\r\n${H}${H}\r\n")"
	is 400 "$(send "GET / HTTP/1.1\r\n${H}A : b\r\n\r\n")"
	is 400 "$(send "GET / HTTP/1.1\n${H}\r\n\r\n")"
	is 400 "$(send "POST /api/v0/ssh/ HTTP/1.1\r\n${H}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n")"
	is 400 "$(send "POST /api/v0/ssh/ HTTP/1.1\r\n${H}\r\n")"
	is 400 "$(send "GET / HTTP/1.1\r\n${H}Content-Length: 1, 1\r\n\r\n")"
	is 'http-line http-line http-target http-host http-twice http-header http-line http-encoding http-length http-length ' \
		"$(rules)"
	fake_ctl forget
	# A create on a connection that was used: curl keeps it for the second address.
	offer=$(fake_offer)
	curl -sS -m 10 -o /dev/null -o /dev/null -H "Authorization: Bearer $FAKE_KEY" \
		"$(fake_url)/api/v0/users/current/" --next -sS -X PUT -o /dev/null \
		-H "Authorization: Bearer $FAKE_KEY" -H 'Content-Type: application/json' \
		-d '{"image":"x","label":"a","cancel_unavail":true}' "$(fake_url)/api/v0/asks/$offer/"
	is 'reused ' "$(rules)"
	fake_stop living violations
}

@test "the control door says what is wrong" {
	fake_start --calm
	run fake_ctl nonsense
	[ "$status" = 1 ]
	[[ $output == *'no such command'* ]]
	run fake_ctl fault create linger
	[ "$status" = 1 ]
	fake_ctl help | grep -q '^fault: '
	is "$(cat "$T/fake/port")" "$(fake_ctl port)"
	fake_ctl quit
	until_true 10 test ! -d "/proc/$FAKE_PID"
	run fake_ctl meter
	[ "$status" = 2 ]
}

# The sshds of this test's machines.
sshds() { fake_ctl sshd | awk '$2 > 0 {print $2}'; }
login() { # PORT COMMAND
	timeout 20 ssh -F /dev/null -o BatchMode=yes -o LogLevel=ERROR -o StrictHostKeyChecking=no \
		-o UserKnownHostsFile=/dev/null -o IdentitiesOnly=yes -i "$T/key" -p "$1" root@127.0.0.1 "$2"
}
no_process() { [ ! -d "/proc/$1" ] || [ "$(awk '{print $3}' "/proc/$1/stat")" = Z ]; }

@test "a machine has a real sshd: TCP first, then a banner, then the key, and nothing after its end" {
	needs_machines
	fake_start --calm --ssh
	fake_ctl set spacing 0
	fake_ctl set created_s 0
	fake_ctl set loading_s 0
	fake_ctl set boot_s 3600
	fake_ctl set attach_s 3600
	ssh-keygen -q -t ed25519 -N '' -f "$T/key"
	fake_create one
	fake_ask GET "/api/v0/instances/$ID/"
	port=$(jq .instances.ssh_port <<< "$body")
	is 127.0.0.1 "$(jq -r .instances.ssh_host <<< "$body")"
	is loading "$(jq -r .instances.actual_status <<< "$body")"
	# Accepted, and silent.
	run timeout 1 bash -c "exec 5<>/dev/tcp/127.0.0.1/$port && read -r line <&5"
	[ "$status" = 124 ]
	fake_ctl event run "$ID"
	until_true 20 bash -c "exec 5<>/dev/tcp/127.0.0.1/$port && read -r -t 5 line <&5 && [[ \$line == SSH-2* ]]"
	run login "$port" true
	[[ $status = 255 && $output == *'Permission denied'* ]]
	# An attached key takes a while; this one does not.
	fake_ctl set attach_s 0
	fake_ask POST "/api/v0/instances/$ID/ssh/" "$(jq -n --arg k "$(cat "$T/key.pub")" '{ssh_key: $k}')"
	until_true 20 login "$port" true
	is "C.$ID" "$(login "$port" hostname)"
	fake_ask GET "/api/v0/instances/$ID/"
	direct=$(jq -r '.instances.ports["22/tcp"][0].HostPort' <<< "$body")
	[ "$direct" != "$port" ]
	is "C.$ID" "$(login "$direct" hostname)"
	# What a user left running ends with the machine.
	login "$port" 'nohup setsid sleep 4321 > /dev/null 2>&1 &'
	pid=$(sshds)
	inside=$(pgrep -f '^sleep 4321$' --nslist pid --ns "$pid")
	[ -n "$inside" ]
	fake_ask DELETE "/api/v0/instances/$ID/"
	until_true 20 no_process "$pid"
	until_true 20 no_process "$inside"
	[ -z "$(ls "$T/fake/machines")" ]
	fake_stop
}

@test "an sshd dies with the server, even if that is killed" {
	needs_machines
	fake_start --calm --ssh
	fake_ctl set spacing 0
	for how in -TERM -KILL; do
		[ -n "$FAKE_PID" ] || fake_start --calm --ssh
		fake_create one
		fake_ctl event run "$ID"
		until_true 20 eval '[ -n "$(sshds)" ]'
		pid=$(sshds)
		fake_kill "$how"
		until_true 20 no_process "$pid"
		rm -rf "$T/fake/machines"
	done
}
