#!/usr/bin/env bats
# shellcheck shell=bash disable=SC2154
# GET /events: the lines of watch/events as server-sent events, to be continued, and honest about losses.

load lib
load life_lib
load http_lib

setup() { common_setup; }
teardown() {
	[ -z "${readers:-}" ] || kill $readers 2>/dev/null || true
	settle || true
	common_teardown
}

# listen FILE [CURL-OPTION...]: a reader in the background.
listen() {
	local file=$1
	shift
	curl -s -N "$@" "$API/api/v1/events" > "$file" 3>&- &
	readers+=" $!"
	reader=$!
	until_true 10 grep -q '^retry:' "$file"
}
lines() { sed -n 's/^data: //p' "$1"; }
has_event() { lines "$1" | jq -e --arg e "$2" 'select(.event == $e)' | grep -q .; }

@test "every event comes as one message, with its number, as the mount tells it" {
	open_start
	watched "$M/watch/events" "$T/mount"
	listen "$T/events"
	make app
	until_true 60 has_event "$T/events" running
	ask DELETE "/api/v1/sessions/$ID"
	until_true 60 has_event "$T/events" receipt
	until_true 60 grep -q '"receipt"' "$T/mount"
	kill "$waiter"
	# Each line is JSON, its id is its number, and alice saw the same at the mount.
	paste -d' ' <(sed -n 's/^id: //p' "$T/events") <(lines "$T/events" | jq .seq) | awk '$1 != $2 {exit 1}'
	diff <(grep "$ID" "$T/mount") <(lines "$T/events" | grep "$ID" | head -n "$(grep -c "$ID" "$T/mount")")
}

@test "Last-Event-ID goes on where it broke off, over a restart of gpufs too" {
	open_start
	make app
	until_true 60 status_is "$ID" running
	listen "$T/all" -H 'Last-Event-ID: 0'
	until_true 20 has_event "$T/all" running
	local third
	third=$(sed -n 's/^id: //p' "$T/all" | sed -n 3p)
	listen "$T/rest" -H "Last-Event-ID: $third"
	until_true 20 has_event "$T/rest" running
	no grep -q "^id: $third\$" "$T/rest"
	[ "$(sed -n 's/^id: //p' "$T/rest" | head -n 1)" -gt "$third" ]
	gpufs_stop
	open_start
	listen "$T/again" -H "Last-Event-ID: $third"
	until_true 20 has_event "$T/again" running
	diff <(lines "$T/rest" | grep "$ID") <(lines "$T/again" | grep "$ID" | head -n "$(lines "$T/rest" | grep -c "$ID")")
	for bad in -1 abc 1.5 99999999999999999999; do
		ask GET /api/v1/events '' -H "Last-Event-ID: $bad"
		says 400 Last-Event-ID
	done
}

@test "after a restart the store continues a stream: alarms too, and of what is gone only for administrators" {
	token_start
	alice mkdir "$M/sessions/mine"
	alice rmdir "$M/sessions/mine" # a draft leaves nothing but its events
	chmod 644 "$T/tokens"
	kill -HUP "$(holder_pid)"
	until_true 20 grep -q 'chmod 600' "$M/alarms"
	chmod 600 "$T/tokens"
	kill -HUP "$(holder_pid)"
	until_true 20 eval '[ ! -s "$M/alarms" ]'
	make team-a -H "Authorization: Bearer $ALICE"
	listen "$T/before" -H "Authorization: Bearer $ALICE" -H 'Last-Event-ID: 0'
	until_true 60 has_event "$T/before" running
	listen "$T/before.root" -H "Authorization: Bearer $ROOT" -H 'Last-Event-ID: 0'
	until_true 20 has_event "$T/before.root" running
	settle
	gpufs_stop
	token_start
	listen "$T/after" -H "Authorization: Bearer $ALICE" -H 'Last-Event-ID: 0'
	listen "$T/after.root" -H "Authorization: Bearer $ROOT" -H 'Last-Event-ID: 0'
	listen "$T/after.bob" -H "Authorization: Bearer $BOB" -H 'Last-Event-ID: 0'
	until_true 20 has_event "$T/after" running
	until_true 20 has_event "$T/after.root" running
	has_event "$T/after" alarm
	has_event "$T/after" alarm_cleared
	has_event "$T/after.bob" alarm
	# All that root saw, in the same order; alice all but what is gone; bob nothing of hers.
	lines "$T/before.root" > "$T/want"
	diff "$T/want" <(lines "$T/after.root" | head -n "$(wc -l < "$T/want")")
	grep -q '"event":"rmdir"' "$T/want"
	diff <(lines "$T/before" | grep -v '"name":"mine"') \
		<(lines "$T/after" | head -n "$(lines "$T/before" | grep -vc '"name":"mine"')")
	no grep -q team-a "$T/after.bob"
	no grep -q '^event: lost' "$T/after" "$T/after.root"
}

@test "an id older than what is kept: the reader is told how much it lost, after a restart too" {
	open_start
	alice mkdir "$M/sessions/x"
	python3 - "$M/sessions/x" <<-'END'
	import os, sys
	os.setegid(int(os.stat(sys.argv[1]).st_gid)); os.seteuid(int(os.stat(sys.argv[1]).st_uid))
	a = sys.argv[1]
	for i in range(5000):
	    b = a.rsplit("/", 1)[0] + "/y%d" % (i % 2)
	    os.rename(a, b)
	    a = b
	END
	# told FILE: exactly the last 4096 events are replayed, and all before them are counted.
	told() {
		local first lost
		lost=$(grep -A1 '^event: lost' "$1" | lines /dev/stdin | jq .lost)
		first=$(sed -n 's/^id: //p' "$1" | head -n 1)
		[ "$lost" -gt 800 ] && [ "$first" = $((lost + 2)) ]
	}
	listen "$T/old" -H 'Last-Event-ID: 1'
	until_true 20 eval '[ "$(grep -c "^id: " "$T/old")" -ge 4096 ]'
	told "$T/old"
	gpufs_stop
	open_start
	listen "$T/again" -H 'Last-Event-ID: 1'
	until_true 20 eval '[ "$(grep -c "^id: " "$T/again")" -ge 4096 ]'
	told "$T/again"
}

@test "a stream shows only what its token may see" {
	token_start
	listen "$T/alice" -H "Authorization: Bearer $ALICE"
	listen "$T/bob" -H "Authorization: Bearer $BOB"
	bob_reader=$reader
	listen "$T/root" -H "Authorization: Bearer $ROOT"
	make team-a -H "Authorization: Bearer $ALICE"
	until_true 60 has_event "$T/alice" running
	until_true 60 has_event "$T/root" running
	make team-b -H "Authorization: Bearer $BOB"
	until_true 60 has_event "$T/bob" running
	no grep -q team-a "$T/bob"
	# A token that is withdrawn ends its stream.
	sed -i "/^$BOB/d" "$T/tokens"
	kill -HUP "$(holder_pid)"
	ended_with "$bob_reader"
	[ "$status" -eq 0 ]
	ask GET /api/v1/events
	says 401
}

@test "a reader that is too slow is told how much it lost" {
	open_start
	alice mkdir "$M/sessions/x"
	listen "$T/slow"
	kill -STOP "$reader"
	python3 - "$M/sessions/x" <<-'END'
	import os, sys
	os.setegid(int(os.stat(sys.argv[1]).st_gid)); os.seteuid(int(os.stat(sys.argv[1]).st_uid))
	a = sys.argv[1]
	for i in range(30000):
	    b = a.rsplit("/", 1)[0] + "/x%d" % (i % 2)
	    if a != b:
	        os.rename(a, b)
	        a = b
	END
	kill -CONT "$reader"
	until_true 30 grep -q '^event: lost' "$T/slow"
	grep -A1 '^event: lost' "$T/slow" | lines /dev/stdin | jq -e '.lost > 0'
	alice mkdir "$M/sessions/y"
	until_true 30 has_event "$T/slow" mkdir
}

@test "too many streams are refused, and readers that leave make room" {
	open_start
	python3 - "$PORT" <<-'END'
	import socket, sys
	def stream():
	    s = socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=20)
	    s.sendall(b"GET /api/v1/events HTTP/1.1\r\nHost: a\r\n\r\n")
	    return s, s.recv(15)
	open_ones = [stream() for _ in range(128)]
	assert all(b"200" in head for _, head in open_ones)
	s, head = stream()
	assert b"503" in head, head
	END
	ask GET /ready
	says 200
	streams_again() { alice mkdir "$M/sessions/$RANDOM"; [ "$(curl -s -m 1 -o /dev/null -w '%{http_code}' "$API/api/v1/events")" = 200 ]; }
	until_true 30 streams_again
}
