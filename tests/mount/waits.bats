#!/usr/bin/env bats
# shellcheck shell=bash
# What blocks: wait/ and watch/, poll(2), signals, O_NONBLOCK. And that nothing else does.

load lib

setup() { common_setup; }
teardown() {
	exec 4>&- 5<&- 6<&- 7<&-
	common_teardown
}

# waiter PATH [USER]: opens PATH, then reads it in the background; what it got goes to fd 5, after "open".
waiter() {
	mkfifo -m 666 "$T/waiter.$1"
	"${3:-alice}" python3 "$PROBE" wait-read "$2" >"$T/waiter.$1" 4>&- 5<&- 6<&- &
}
# opened FD: the waiter behind FD has opened its file.
opened() {
	local line
	read -r -u "$1" line
	is open "$line"
}

@test "wait/ready waits from a draft on, and reads running" {
	gpufs_start
	draft x
	waiter a "$M/sessions/x/wait/ready"
	exec 5<"$T/waiter.a"
	opened 5
	is ok "$(put x 'offer=local-cpu hours=2\n')"
	is running "$(cat <&5)"
	is running "$(alice cat "$M/sessions/x/wait/ready")"
}

@test "wait/ready ends with ENODATA when the draft is removed" {
	gpufs_start
	draft x
	waiter a "$M/sessions/x/wait/ready"
	exec 5<"$T/waiter.a"
	opened 5
	alice rmdir "$M/sessions/x"
	is "ENODATA read" "$(cat <&5)"
	alice cat "$M/error" | grep -q 'wait/ready .*: .*removed'
}

@test "wait/ready ends with ECANCELED when the session is destroyed" {
	gpufs_start
	draft x
	is ok "$(put x 'gpu=RTX_4090 max_price=1 hours=1 wait=60\n')"
	is pending "$(val x state)"
	waiter a "$M/sessions/x/wait/ready"
	exec 5<"$T/waiter.a"
	opened 5
	alice rmdir "$M/sessions/x"
	is "ECANCELED read" "$(cat <&5)"
	# And of one that was ended by a verb, whenever it is asked.
	buy y
	is ok "$(echo destroy | alice_probe write "$M/sessions/y/ctl")"
	is "ECANCELED read" "$(alice_probe read "$M/sessions/y/wait/ready")"
	until_true 30 grep -qx stopped "$M/sessions/y/state"
	is "ECANCELED read" "$(alice_probe read "$M/sessions/y/wait/ready")"
}

@test "wait/ready fails with the errno of a purchase that was refused at close, until the spec is written again" {
	gpufs_start
	draft x
	waiter a "$M/sessions/x/wait/ready"
	exec 5<"$T/waiter.a"
	opened 5
	is "ENOSPC close" "$(put x 'gpu=RTX_4090 max_price=1 hours=1\n')"
	is "ENOSPC read" "$(cat <&5)"
	is "ENOSPC read" "$(alice_probe read "$M/sessions/x/wait/ready")"
	is ok "$(put x 'gpu=RTX_4090 max_price=1\n')"
	is "EAGAIN read" "$(alice_probe read "$M/sessions/x/wait/ready" 100 nonblock)"
	is ok "$(put x 'offer=local-cpu hours=1\n')"
	ready x
}

@test "wait/change gives the next state after its open" {
	gpufs_start
	draft x
	waiter a "$M/sessions/x/wait/change"
	exec 5<"$T/waiter.a"
	opened 5
	is ok "$(put x 'gpu=RTX_4090 max_price=1 hours=1 wait=60\n')"
	is pending "$(cat <&5)"
	exec 5<&-
	waiter b "$M/sessions/x/wait/change"
	exec 5<"$T/waiter.b"
	opened 5
	alice rmdir "$M/sessions/x"
	[[ "$(cat <&5)" =~ ^(stopping|stopped|failed)$ ]]
}

@test "many wait on one file, and all of them are answered" {
	gpufs_start
	draft x
	local i
	exec 4> >(cat >"$T/answers")
	for i in 1 2 3 4 5 6 7 8 9 10 11 12; do
		alice cat "$M/sessions/x/wait/ready" >&4 &
	done
	# Meanwhile everything else answers.
	is draft "$(val x state)"
	timeout 20 ls -lR "$M" >/dev/null
	is ok "$(put x 'offer=local-cpu hours=2\n')"
	exec 4>&-
	wait
	until_true 10 test "$(grep -cx running "$T/answers")" = 12
}

@test "O_NONBLOCK gives EAGAIN where a read would block" {
	gpufs_start
	draft x
	local f
	for f in sessions/x/wait/ready sessions/x/wait/change sessions/x/watch/events watch/events; do
		is "EAGAIN read" "$(alice_probe read "$M/$f" 100 nonblock)"
	done
	is draft "$(alice_probe read "$M/sessions/x/state" 100 nonblock)"
	is ok "$(put x 'offer=local-cpu hours=2\n')"
	ready x
	is running "$(alice_probe read "$M/sessions/x/wait/ready" 100 nonblock)"
}

@test "a signal ends a wait at once" {
	gpufs_start
	draft x
	local f
	for f in sessions/x/wait/ready sessions/x/wait/change sessions/x/watch/events watch/events; do
		is EINTR "$(alice_probe interrupt "$M/$f")"
	done
	# As Ctrl-C does; the daemon forgot the waiter and goes on.
	run alice timeout -s INT 0.2 cat "$M/sessions/x/wait/ready"
	[ "$status" -eq 124 ]
	run alice timeout -s KILL 0.2 cat "$M/watch/events"
	[ "$status" -eq 137 ]
	is draft "$(val x state)"
	is ok "$(put x 'offer=local-cpu hours=2\n')"
	ready x
}

@test "one byte at a time is fine: read of dash, bash and busybox sh" {
	gpufs_start
	buy x
	local sh
	for sh in dash bash 'busybox sh'; do
		is running "$(alice $sh -c "read -r s < '$M/sessions/x/wait/ready'; echo \"\$s\"")"
	done
	is running "$(alice_probe read "$M/sessions/x/wait/ready" 1)"
	is running "$(alice_probe read "$M/sessions/x/wait/ready" 3)"
	alice rmdir "$M/sessions/x"
	alice timeout 30 cat "$M/history/last/x/wait/gone" >"$T/receipt"
	alice_probe read "$M/history/last/x/wait/gone" 1 | cmp - "$T/receipt"
	# A stream too.
	waiter a "$M/watch/events"
	exec 5<"$T/waiter.a"
	opened 5
	exec 6< <(alice dash -c "exec 3<'$M/watch/events'; echo open; read -r s <&3; echo \"\$s\"")
	opened 6
	draft y
	read -r -u 6 line
	is y "$(jq -r .name <<<"$line")"
}

@test "poll(2) on wait/ready: not ready, then readable for every poller" {
	gpufs_start
	draft x
	mkfifo -m 666 "$T/p"
	alice_probe poll "$M/sessions/x/wait/ready" 3 >"$T/p" &
	exec 5<"$T/p"
	read -r -u 5 line
	is "ready now 0" "$line"
	read -r -u 5 line
	is armed "$line"
	is ok "$(put x 'offer=local-cpu hours=2\n')"
	is "$(printf 'IN running\nIN running\nIN running')" "$(cat <&5)"
}

@test "poll(2) on state: POLLPRI and POLLERR for every poller once it changed" {
	gpufs_start
	draft x
	mkfifo -m 666 "$T/p"
	alice_probe poll "$M/sessions/x/state" 3 >"$T/p" &
	exec 5<"$T/p"
	read -r -u 5 line
	is "ready now 0" "$line"
	read -r -u 5 line
	is armed "$line"
	is ok "$(put x 'gpu=RTX_4090 max_price=1 hours=1 wait=60\n')"
	is "$(printf 'PRI ERR pending\nPRI ERR pending\nPRI ERR pending')" "$(cat <&5)"
}

@test "select and poll say of every value file that it is readable" {
	gpufs_start
	draft x
	is True "$(alice python3 -c "
import select
fs = [open('$M/' + f) for f in ('version', 'status', 'list', 'sessions/x/state', 'sessions/x/cost', 'sessions/x/id')]
print(len(select.select(fs, [], [], 0)[0]) == len(fs))")"
}

@test "watch/events of a session: its own events as JSON lines, from the open on, then the end" {
	gpufs_start
	draft x
	draft y
	waiter a "$M/sessions/x/watch/events"
	exec 5<"$T/waiter.a"
	opened 5
	is ok "$(put y 'gpu=RTX_4090 max_price=1 hours=1 wait=60\n')"
	is ok "$(put x 'offer=local-cpu hours=2\n')"
	ready x
	alice rmdir "$M/sessions/x"
	timeout 30 cat "$M/history/last/x/wait/gone" >/dev/null
	cat <&5 >"$T/got" # the stream ends with the session
	jq -e . "$T/got" >/dev/null
	is '["x"]' "$(jq -sc '[.[].name] | unique' "$T/got")"
	jq -r .event "$T/got" >"$T/words"
	is commit "$(head -n 1 "$T/words")"
	grep -qx running "$T/words"
	is "$(jq .seq "$T/got")" "$(jq .seq "$T/got" | sort -n)"
	# What the stream said is what the session's own record says.
	jq -c . "$T/got" | grep -Ff - "$M/history/last/x/events.json" >/dev/null
}

@test "watch/events of the root: two readers have cursors of their own, and see only their own sessions" {
	gpufs_start
	draft before
	waiter a "$M/watch/events"
	exec 5<"$T/waiter.a"
	opened 5
	waiter b "$M/watch/events" bob
	exec 6<"$T/waiter.b"
	opened 6
	waiter c "$M/watch/events" env
	exec 7<"$T/waiter.c"
	opened 7
	draft hers
	bob mkdir "$M/sessions/his"
	draft hers2
	# alice reads two, bob one, root all three; nobody takes anything away from another.
	for want in hers hers2; do
		read -r -u 5 line
		is "$want" "$(jq -r .name <<<"$line")"
	done
	read -r -u 6 line
	is his "$(jq -r .name <<<"$line")"
	for want in hers his hers2; do
		read -r -u 7 line
		is "$want" "$(jq -r .name <<<"$line")"
	done
}

@test "a slow reader of watch/events is told how many lines it lost, and goes on" {
	gpufs_start
	mkfifo -m 666 "$T/in" "$T/out"
	alice_probe wait-read "$M/watch/events" hold <"$T/in" >"$T/out" 4>&- 5<&- &
	local reader=$!
	exec 4>"$T/in" 5<"$T/out"
	opened 5
	local start
	alice python3 -c "
import os
for i in range(1100):
    os.mkdir('$M/sessions/s')
    os.rmdir('$M/sessions/s')
"
	start=$(grep -c . "$M/sessions"/*/log 2>/dev/null || true)
	exec 4>&-
	local n=0 lost='' line
	while read -r -t 60 -u 5 line; do
		if [[ "$line" = '{"lost":'* ]]; then
			lost=$(jq .lost <<<"$line")
			break
		fi
		n=$((n + 1))
	done
	echo "read $n lines, lost $lost ($start)"
	[ "$n" -ge 100 ] && [ "$n" -le 1024 ]
	[ "$lost" -ge 1 ]
	[ $((n + lost)) -ge 1100 ]
	draft after
	read -r -u 5 line
	is after "$(jq -r .name <<<"$line")"
	kill "$reader" 2>/dev/null || true
}

@test "wait/ and watch/ are never listed, but there" {
	gpufs_start
	buy x
	is "" "$(find "$M" -name wait -o -name watch)"
	is "" "$(ls -a "$M" "$M/sessions/x" | grep -xE 'wait|watch')"
	[ -d "$M/watch" ] && [ -d "$M/sessions/x/wait" ] && [ -d "$M/sessions/x/watch" ]
	[ -f "$M/sessions/x/wait/ready" ] && [ -f "$M/watch/events" ]
	is "change ready" "$(ls "$M/sessions/x/wait" | xargs)"
}

@test "hold: while somebody has it open for writing the session lives; then it ends" {
	gpufs_start -o hold_grace=0
	buy x
	mkfifo -m 666 "$T/in" "$T/out"
	is 0 "$(val x hold)"
	alice_probe hold-open "$M/sessions/x/hold" w <"$T/in" >"$T/out" 5<&- &
	local holder=$!
	exec 4>"$T/in" 5<"$T/out"
	opened 5
	is 1 "$(val x hold)"
	# Reading it holds nothing.
	is 1 "$(alice cat "$M/sessions/x/hold")"
	is running "$(val x state)"
	kill -9 "$holder" "$(pgrep -P "$holder")" 2>/dev/null || kill -9 "$holder" 2>/dev/null || true
	until_true 30 grep -qxE 'stopping|stopped' "$M/sessions/x/state"
	until_true 30 grep -qx stopped "$M/sessions/x/state"
	grep -qi hold "$M/sessions/x/reason"
}
