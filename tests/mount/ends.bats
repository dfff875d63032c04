#!/usr/bin/env bats
# shellcheck shell=bash disable=SC2154
# How a session ends, by whom, and what is left: rmdir, verbs, expiry, hold, protection, history, receipts.

load lib
load life_lib

setup() { common_setup; }
teardown() { common_teardown; }

# slow_start: gpufs with an sshd that waits for $T/go, so that a session stays provisioning.
slow_start() {
	mkdir "$T/bin"
	slow_sshd "$T/bin/sshd" "$T/go"
	PATH=$T/bin:$PATH gpufs_start "$@"
}

# broken_start: gpufs with an sshd that ends at once until $T/go is there.
broken_start() {
	mkdir "$T/bin"
	printf '#!/bin/sh\n[ -e "%s" ] || { echo "no luck today" >&2; exit 1; }\nexec /usr/sbin/sshd "$@"\n' \
		"$T/go" > "$T/bin/sshd"
	chmod 755 "$T/bin" "$T/bin/sshd"
	PATH=$T/bin:$PATH gpufs_start "$@"
}

# refused COMMAND...: it fails with the errno's words, as alice.
refused() {
	local words=$1
	shift
	run alice "$@"
	[ "$status" -ne 0 ]
	[[ "$output" == *"$words"* ]] || { echo "said: $output" >&2; return 1; }
}
ctl() { alice sh -c 'echo "$1" > "$2"' sh "$2" "$M/sessions/$1/ctl"; }
ended_as() { until_true 60 reads "sessions/$1/state" "$2"; }

@test "rmdir while provisioning: the machine that is being made goes too" {
	slow_start
	alice mkdir "$M/sessions/x"
	say 'offer=local-cpu hours=1' "$M/sessions/x/spec"
	until_true 30 sshds_are 1
	reads sessions/x/state provisioning
	alice rmdir "$M/sessions/x"
	[ ! -e "$M/sessions/x" ]
	run gone x
	[ "$status" -eq 0 ]
	[[ "$output" == *"proof complete"* ]]
	sshds_are 0
	[ "$(alice cat "$M/history/last/x/state")" = failed ] # it never ran
}

@test "who waits for ready is told ECANCELED when the session is destroyed" {
	slow_start
	alice mkdir "$M/sessions/x"
	say 'offer=local-cpu hours=1' "$M/sessions/x/spec"
	watched "$M/sessions/x/wait/ready" "$T/out"
	alice rmdir "$M/sessions/x"
	ended_with "$waiter"
	[ "$status" -eq 1 ]
	grep -q 'Operation canceled' "$T/out"
	grep -q 'destroyed by gpufs-alice' "$M/history"/*-*/reason
}

@test "who waits for a draft's ready is told ENODATA when the draft is removed" {
	gpufs_start
	alice mkdir "$M/sessions/x"
	watched "$M/sessions/x/wait/ready" "$T/out"
	alice rmdir "$M/sessions/x"
	ended_with "$waiter"
	[ "$status" -eq 1 ]
	grep -q 'No data available' "$T/out"
	[ ! -e "$M/history/last/x" ] # a draft leaves nothing
}

@test "rmdir twice at once: one succeeds, the other finds nothing, one proof" {
	gpufs_start
	for _ in 1 2 3; do
		buy x
		alice rmdir "$M/sessions/x" 2> "$T/one" 3>&- &
		one=$!
		alice rmdir "$M/sessions/x" 2> "$T/two" 3>&- &
		two=$!
		done_well=0
		wait "$one" && done_well=$((done_well + 1))
		wait "$two" && done_well=$((done_well + 1))
		[ "$done_well" -eq 1 ]
		cat "$T/one" "$T/two" | grep -Eq 'No such file|busy'
		[[ "$(gone x)" == *"proof complete"* ]]
		sshds_are 0
	done
	[ "$(find "$M/history" -maxdepth 1 -name '*-*' | wc -l)" -eq 3 ]
}

@test "a protected session refuses rmdir, done and destroy, with a sentence; unprotected it ends" {
	gpufs_start
	buy x
	say 1 "$M/sessions/x/protect"
	refused 'Device or resource busy' rmdir "$M/sessions/x"
	alice grep -q 'protected: write 0' "$M/error"
	alice grep -q "sessions/x" "$M/error"
	refused 'resource busy' bash -c 'echo done > "$1"' sh "$M/sessions/x/ctl"
	refused 'resource busy' bash -c 'echo destroy > "$1"' sh "$M/sessions/x/ctl"
	alice grep -q 'protected: write 0' "$M/sessions/x/error"
	[ "$(on x id -un)" = gpufs-alice ]
	# find -delete sends rmdir first: that is what protect is for.
	alice find "$M/sessions/x" -delete >/dev/null 2>&1 || true
	reads sessions/x/state running
	say 0 "$M/sessions/x/protect"
	alice rmdir "$M/sessions/x"
	[[ "$(gone x)" == *"proof complete"* ]]
}

@test "expiry ends a protected session all the same" {
	gpufs_start
	buy x
	say 1 "$M/sessions/x/protect"
	watched "$M/sessions/x/wait/change" "$T/out"
	say 2 "$M/sessions/x/remaining"
	wait "$waiter"
	[ "$(cat "$T/out")" = stopping ]
	ended_as x stopped
}

@test "another user can neither end, move nor order it" {
	gpufs_start
	buy x
	s=$M/sessions/x
	for command in "rmdir '$s'" "mv '$s' '$M/sessions/y'" "echo destroy > '$s/ctl'" \
		"echo 60 > '$s/remaining'" "echo x=1 > '$s/spec'" "echo 0 > '$s/protect'" \
		"exec 9> '$s/hold'" "chmod 777 '$s'"; do
		run bob sh -c "$command"
		[ "$status" -ne 0 ]
		[[ "$output" == *ermi* ]] || { echo "$command: $output" >&2; return 1; }
	done
	reads sessions/x/state running
	[ "$(on x id -un)" = gpufs-alice ]
	# After the owner's chmod a colleague may look, and no more.
	alice chmod 755 "$s"
	run bob rmdir "$s"
	[ "$status" -ne 0 ]
	# Root may end anybody's.
	rmdir "$s"
	[[ "$(gone x)" == *"ordered_by root"* ]]
}

@test "expiry: stopping, then stopped, reason expired; the directory stays until rmdir" {
	gpufs_start
	buy x
	watched "$M/sessions/x/wait/change" "$T/out"
	say 2 "$M/sessions/x/remaining"
	wait "$waiter"
	[ "$(cat "$T/out")" = stopping ]
	ended_as x stopped
	reads sessions/x/reason expired
	sshds_are 0
	[ -s "$M/sessions/x/stopped_at" ]
	[ ! -s "$M/sessions/x/ssh/key" ]
	refused 'Operation canceled' timeout 20 cat "$M/sessions/x/wait/ready"
	[ ! -s "$M/ssh_config" ]
	alice rmdir "$M/sessions/x"
	run gone x
	[[ "$output" == *"proof complete"* ]]
	[[ "$output" == *"ordered_by gpufs"* ]]
	[[ "$output" == *"reason expired"* ]]
}

@test "the hard maximum bounds every extension" {
	gpufs_start -o hard_max_hours=3
	buy x 'offer=local-cpu hours=2'
	say +30m "$M/sessions/x/remaining"
	ctl x 'extend 15m'
	left=$(alice cat "$M/sessions/x/remaining")
	[ "$left" -gt 9000 ]
	[ "$left" -le 9900 ]
	refused 'out of range' bash -c 'echo "extend 30m" > "$1"' sh "$M/sessions/x/ctl"
	alice grep -q 'hard maximum' "$M/sessions/x/error"
	refused 'out of range' bash -c 'echo 4h > "$1"' sh "$M/sessions/x/remaining"
	refused 'Invalid argument' bash -c 'echo soon > "$1"' sh "$M/sessions/x/remaining"
	[ "$(alice cat "$M/sessions/x/remaining")" -le "$left" ]
	reads sessions/x/state running
}

@test "hold: when the last holder closes, the session ends after the grace" {
	gpufs_start -o hold_grace=1s
	buy x
	hold x
	first=$holding
	hold x
	kill -TERM "$first"
	until_true 20 pid_gone "$first"
	reads sessions/x/hold 1
	reads sessions/x/state running
	kill -TERM "$holding"
	ended_as x stopped
	reads sessions/x/reason 'hold released'
	sshds_are 0
}

@test "hold: kill -9 of the holder releases it too" {
	gpufs_start -o hold_grace=1s
	buy x
	hold x
	watched "$M/sessions/x/wait/change" "$T/out"
	kill -KILL "$holding"
	wait "$waiter"
	[ "$(cat "$T/out")" = stopping ]
	ended_as x stopped
	reads sessions/x/reason 'hold released'
}

@test "hold: taken again within the grace, the session lives" {
	gpufs_start -o hold_grace=1h
	buy x
	hold x
	kill -KILL "$holding"
	until_true 20 reads sessions/x/hold 0
	hold x
	reads sessions/x/state running
	# Reading it holds nothing.
	alice cat "$M/sessions/x/hold"
	reads sessions/x/state running
	kill -KILL "$holding"
}

@test "done ends the machine and leaves the directory" {
	gpufs_start
	buy x
	ctl x done
	ended_as x stopped
	reads sessions/x/reason done
	sshds_are 0
	refused 'resource busy' bash -c 'echo done > "$1"' sh "$M/sessions/x/ctl"
	alice grep -q 'has ended' "$M/sessions/x/error"
	ctl x destroy # repeating that one is always allowed
	alice rmdir "$M/sessions/x"
	[[ "$(gone x)" == *"reason done"* ]]
}

@test "destroy ends the machine and leaves the directory" {
	gpufs_start
	buy x
	ctl x destroy
	ended_as x stopped
	reads sessions/x/reason 'destroyed by gpufs-alice'
	sshds_are 0
}

@test "unknown verbs and verbs in the wrong state are refused with a sentence" {
	gpufs_start
	alice mkdir "$M/sessions/x"
	refused 'Invalid argument' bash -c 'echo explode > "$1"' sh "$M/sessions/x/ctl"
	alice grep -q "unknown verb 'explode'" "$M/sessions/x/error"
	alice grep -q 'commit done extend' "$M/sessions/x/error"
	refused 'Invalid argument' bash -c 'echo extend > "$1"' sh "$M/sessions/x/ctl"
	refused 'Invalid argument' bash -c 'echo "extend soon" > "$1"' sh "$M/sessions/x/ctl"
	refused 'Invalid argument' bash -c 'echo "done now" > "$1"' sh "$M/sessions/x/ctl"
	for verb in done destroy retry probe 'extend 1h'; do
		refused 'resource busy' bash -c 'echo "$1" > "$2"' sh "$verb" "$M/sessions/x/ctl"
	done
	refused 'Permission denied' cat "$M/sessions/x/ctl"
	run cat "$M/sessions/x/ctl" # root neither
	[ "$status" -ne 0 ]
	reads sessions/x/state draft
}

@test "commit in ctl buys, and once only" {
	gpufs_start -o auto_commit=no
	alice mkdir "$M/sessions/x"
	say 'offer=local-cpu hours=1' "$M/sessions/x/spec"
	reads sessions/x/state draft
	ctl x commit
	[ "$(alice timeout 60 cat "$M/sessions/x/wait/ready")" = running ]
	id=$(alice cat "$M/sessions/x/instance_id")
	run ctl x commit
	reads sessions/x/instance_id "$id"
	sshds_are 1
}

@test "probe tries the login again and its outcome is in the log" {
	gpufs_start
	buy x
	ctl x probe
	until_true 30 alice grep -q 'probe: the login works' "$M/sessions/x/log"
	reads sessions/x/state running
}

@test "a machine that does not start fails the session with a reason, and retry starts again" {
	broken_start
	alice mkdir "$M/sessions/x"
	say 'offer=local-cpu hours=1' "$M/sessions/x/spec"
	run alice timeout 60 cat "$M/sessions/x/wait/ready"
	[ "$status" -eq 1 ]
	ended_as x failed
	alice grep -q 'no luck today' "$M/sessions/x/reason"
	sshds_are 0
	[ "$(alice cat "$M/sessions/x/cost")" = 0.00 ]
	touch "$T/go"
	ctl x retry
	[ "$(alice timeout 60 cat "$M/sessions/x/wait/ready")" = running ]
	[ "$(on x id -un)" = gpufs-alice ]
	sshds_are 1
	alice rmdir "$M/sessions/x"
	[[ "$(gone x)" == *"proof complete"* ]]
}

@test "retry while provisioning gives the attempt up; without another offer it fails, and may start again" {
	slow_start
	alice mkdir "$M/sessions/x"
	say 'offer=local-cpu hours=1' "$M/sessions/x/spec"
	until_true 30 sshds_are 1
	ctl x retry
	refused 'No space left' timeout 60 cat "$M/sessions/x/wait/ready"
	ended_as x failed
	reads sessions/x/failed_offers local-cpu
	sshds_are 0
	touch "$T/go"
	ctl x retry
	[ "$(alice timeout 60 cat "$M/sessions/x/wait/ready")" = running ]
	sshds_are 1
	[ "$(on x id -un)" = gpufs-alice ]
	alice rmdir "$M/sessions/x"
	[[ "$(gone x)" == *"proof complete"* ]]
	sshds_are 0
}

@test "the receipt says who, when, what it cost, which calls, and the evidence" {
	gpufs_start -o local_price_per_hour=3600
	buy x 'offer=local-cpu hours=1 label=bench'
	id=$(alice cat "$M/sessions/x/id")
	instance=$(alice cat "$M/sessions/x/instance_id")
	until_true 60 grep -q '^[1-9]' "$M/sessions/x/cost"
	alice rmdir "$M/sessions/x"
	gone x > "$T/receipt"
	while read -r key value; do
		printf '%s\n' "$value" > "$T/r.$key"
	done < "$T/receipt"
	[ "$(cat "$T/r.session")" = "$id" ]
	[ "$(cat "$T/r.name")" = x ]
	[ "$(cat "$T/r.proof")" = complete ]
	[ "$(cat "$T/r.provider")" = local ]
	[ "$(cat "$T/r.offer_id")" = local-cpu ]
	[ "$(cat "$T/r.instance_id")" = "$instance" ]
	[ "$(cat "$T/r.ordered_by")" = gpufs-alice ]
	[ "$(cat "$T/r.reason")" = 'destroyed by gpufs-alice' ]
	for key in ordered_at bought_at running_at gone_at; do
		date -d "$(cat "$T/r.$key")" >/dev/null
		[[ "$(cat "$T/r.$key")" == *Z ]]
	done
	grep -Eq '^create=1 destroy=[1-9]' "$T/r.calls"
	[ -s "$T/r.evidence" ]
	seconds=$(cat "$T/r.seconds_billed")
	[ "$seconds" -ge 1 ]
	# A dollar a second: the receipt's cost is its seconds, to the fraction that was cut.
	awk -v c="$(cat "$T/r.cost")" -v s="$seconds" 'BEGIN { exit !(c >= s && c < s + 1.01) }'
	[ "$(alice cat "$M/history/last/x/cost")" = "$(cat "$T/r.cost")" ]
	alice cat "$M/history/last/x/receipt" | diff "$T/receipt" -
	[ "$(alice cat "$M/history/last/x/label")" = bench ]
	# No secret is left of it.
	for file in spec env ssh/key; do [ ! -e "$M/history/last/x/$file" ]; done
}

@test "while still stopping the receipt says so, and wait/gone waits" {
	slow_start
	alice mkdir "$M/sessions/x"
	say 'offer=local-cpu hours=1' "$M/sessions/x/spec"
	until_true 30 sshds_are 1
	id=$(alice cat "$M/sessions/x/id")
	alice rmdir "$M/sessions/x"
	state=$(alice cat "$M/history/$id/state")
	[[ "$state" == stopping || "$state" == failed ]]
	alice timeout 60 cat "$M/history/$id/wait/gone" | grep -qx 'proof complete'
	reads "history/$id/state" failed
}

@test "history/last is per reader, and another user's history is closed" {
	gpufs_start
	buy x
	id=$(alice cat "$M/sessions/x/id")
	alice rmdir "$M/sessions/x"
	gone x >/dev/null
	[ "$(alice ls "$M/history/last")" = x ]
	[ -z "$(bob ls "$M/history/last")" ]
	[ "$(ls "$M/history/last")" = x ] # root: among all
	run bob cat "$M/history/last/x/receipt"
	[ "$status" -ne 0 ]
	run bob cat "$M/history/$id/receipt"
	[ "$status" -ne 0 ]
	[[ "$output" == *"Permission denied"* ]]
	# The newest life of the name counts.
	buy x
	alice rmdir "$M/sessions/x"
	gone x >/dev/null
	[ "$(basename "$(alice readlink -f "$M/history/last/x")")" != "$id" ]
	run alice rmdir "$M/history/$id"
	[ "$status" -ne 0 ]
}

@test "keep_ended: an ended session moves to history by itself" {
	gpufs_start -o keep_ended=1s
	buy x
	id=$(alice cat "$M/sessions/x/id")
	say 1 "$M/sessions/x/remaining"
	until_true 60 test ! -e "$M/sessions/x"
	[[ "$(gone x)" == *"reason expired"* ]]
	[ "$(alice cat "$M/history/$id/state")" = stopped ]
}

@test "a renamed session keeps its machine, and ends under its last name" {
	gpufs_start
	buy x
	instance=$(alice cat "$M/sessions/x/instance_id")
	alice mv "$M/sessions/x" "$M/sessions/y"
	[ ! -e "$M/sessions/x" ]
	reads sessions/y/instance_id "$instance"
	[ "$(on y id -un)" = gpufs-alice ]
	alice mkdir "$M/sessions/x" # the name is free again
	refused 'exists' mv -T "$M/sessions/y" "$M/sessions/x"
	alice rmdir "$M/sessions/y"
	[[ "$(gone y)" == *"name y"* ]]
}

@test "rmdir frees the name at once, whatever the machine still does" {
	gpufs_start
	for _ in 1 2 3; do
		buy x
		alice rmdir "$M/sessions/x"
	done
	buy x
	sshds=$(alice cat "$M/sessions/x/instance_id")
	until_true 60 sshds_are 1
	reads sessions/x/instance_id "$sshds"
	[ "$(on x id -un)" = gpufs-alice ]
}

@test "the session's own log and stream tell its life in order" {
	gpufs_start
	alice mkdir "$M/sessions/x"
	watched "$M/sessions/x/watch/events" "$T/events"
	say 'offer=local-cpu hours=1' "$M/sessions/x/spec"
	[ "$(alice timeout 60 cat "$M/sessions/x/wait/ready")" = running ]
	alice rmdir "$M/sessions/x"
	gone x >/dev/null
	wait "$waiter" # the stream ends with the session
	python3 - "$T/events" <<-'END'
		import json, sys
		kinds = [json.loads(line) for line in open(sys.argv[1])]
		text = json.dumps(kinds)
		at = -1
		for word in ("commit", "provisioning", "running", "rmdir", "stopping", "gone"):
		    found = text.find(word, at + 1)
		    assert found > at, (word, text)
		    at = found
	END
}
