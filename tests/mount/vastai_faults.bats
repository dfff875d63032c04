#!/usr/bin/env bats
# shellcheck shell=bash disable=SC2154,SC2034
# What goes wrong at a cloud, end to end: lost answers, deaths in between, dead keys, no money, a provider
# that hangs or talks nonsense, machines that vanish. After each test the meter shows no machine of ours.

load lib
load life_lib
load fake
load vastai_lib

setup() {
	common_setup
	needs_machines
}
teardown() {
	[ -z "${SERVER:-}" ] || kill "$SERVER" 2>/dev/null || true
	fake_teardown
	common_teardown
}

# ---- buying ----

@test "an offer that was taken is another attempt, and leaves the market; without retries it is said" {
	fakevast_start
	vast_start
	fake_ctl fault create stale-offer 2
	rent a 'max_price=1 hours=1 retries=3 retry_scope=any'
	is 3 "$(val a attempts)"
	is 1 "$(creates)"
	[[ $(val a failed_offers) == vastai-*,vastai-* ]]
	for offer in $(val a failed_offers | tr , ' '); do
		[ "$offer" != "$(val a offer_id)" ]
		no test -e "$M/inventory/$offer"
	done
	fake_ctl fault create stale-offer 1
	order b 'gpu=RTX_4090 max_price=1 hours=1'
	run alice timeout 60 cat "$M/sessions/b/wait/ready"
	[[ $status = 1 && $output == *'No space left'* ]]
	over b
	[[ $(val b reason) == *'offer'* ]]
	alice rmdir "$M/sessions/a"
	gone a
	fake_stop
}

@test "sessions ordered at once take different offers, and need no retries for it" {
	fakevast_start
	vast_start
	for name in a b c; do order "$name" 'max_price=1 hours=1'; done
	for name in a b c; do ready "$name"; done
	is 3 "$(for name in a b c; do val "$name" offer_id; done | sort -u | wc -l)"
	is 3 "$(creates)"
	for name in a b c; do alice rmdir "$M/sessions/$name"; done
	for name in a b c; do gone "$name"; done
	fake_stop
}

@test "a create whose answer is lost makes one machine, which the lists find and which runs" {
	fakevast_start
	vast_start
	fake_ctl fault create lost
	rent a
	is '1 1' "$(creates) $(val a attempts)"
	grep -q 'found' "$M/sessions/a/log"
	on a true
	alice rmdir "$M/sessions/a"
	gone a
	is 1 "$(fake_calls create)"
	fake_stop
}

@test "a create that was lost without effect is void once lists show nothing; only then comes another" {
	fakevast_start
	vast_start
	fake_ctl fault create drop
	rent a 'gpu=RTX_4090 max_price=1 hours=1 retries=1'
	is '2 1' "$(fake_calls create) $(creates)"
	# Two labels, and between the two creates at least two lists.
	is 2 "$(fake_ctl journal create | awk '{print $NF}' | sort -u | wc -l)"
	[ "$(fake_ctl journal | awk '$2 == "create" { n++ } $2 == "list" && n == 1 { l++ } END { print l }')" -ge 2 ]
	alice rmdir "$M/sessions/a"
	gone a
	fake_stop
}

@test "kill -9 between the create and its answer: one machine, found by its mark" {
	fakevast_start
	vast_start
	fake_ctl fault create slow:300s
	order a
	until_true 30 eval '[ "$(creates)" = 1 ]'
	both_killed
	umount -l "$M" || true
	vast_start
	ready a
	is '1 1' "$(creates) $(val a attempts)"
	alice rmdir "$M/sessions/a"
	gone a
	fake_stop
}

@test "rmdir while the create is under way: the machine that comes of it is destroyed" {
	fakevast_start
	vast_start
	fake_ctl fault create slow:3s
	order a
	until_true 30 eval '[ "$(creates)" = 1 ]'
	alice rmdir "$M/sessions/a"
	[[ $(gone a) == *'proof complete'* ]]
	is '1 0' "$(creates) $(fake_living)"
	fake_stop
}

@test "charged more than the cap: destroyed, and said so" {
	fakevast_start
	vast_start
	fake_ctl fault boot price:3000 1
	order a 'gpu=RTX_4090 max_price=0.50 hours=1'
	run alice timeout 60 cat "$M/sessions/a/wait/ready"
	[ "$status" = 1 ]
	over a
	[[ $(val a reason) =~ more\ than.*0\.50 ]]
	nothing_living
	is 1 "$(creates)"
	fake_stop
}

@test "a key that does not work for a while is waited for; a boot that gets nowhere is another attempt" {
	fakevast_start
	vast_start -o boot_timeout=1m
	fake_ctl set attach_s 6
	rent a
	[ "$(fake_ctl journal attach | wc -l)" -le 2 ]
	fake_ctl set attach_s 0
	fake_ctl fault boot abandoned 1
	rent b 'max_price=1 hours=1 retries=1 retry_scope=any'
	is 2 "$(val b attempts)"
	until_true 60 eval '[ "$(fake_living)" = 2 ]'
	alice rmdir "$M/sessions/a"
	alice rmdir "$M/sessions/b"
	gone a
	gone b
	fake_stop
}

# ---- the account ----

@test "a key that is refused: badkey, EKEYREJECTED, and what runs is not thought gone" {
	fakevast_start
	vast_start
	rent a
	fake_ctl set key_dead 1
	until_true 60 V_is state badkey
	[ -n "$(V reason)" ]
	no grep -r "$FAKE_KEY" "$M/providers" "$T/state/gpufs.log"
	alice mkdir "$M/sessions/b"
	run alice bash -c 'echo "gpu=RTX_4090 max_price=1 hours=1 commit" > "$1"' bash "$M/sessions/b/spec"
	[[ $output == *'Key was rejected'* ]]
	grep -q 'refuses the key' "$M/sessions/b/error"
	is running "$(val a state)"
	on a true
	# An order given meanwhile is kept until the key is accepted again.
	alice rmdir "$M/sessions/a"
	until_true 30 eval '[ "$(fake_ctl journal destroy | wc -l)" -ge 1 ]'
	is 1 "$(fake_living)"
	no grep -q '^proof complete' "$M/history/last/a/receipt"
	fake_ctl set key_dead 0
	gone a
	until_true 60 V_is state ok
	rent c
	alice rmdir "$M/sessions/c"
	gone c
	fake_stop
}

@test "no credit is EDQUOT at the order, and a refused create says the provider's words" {
	fakevast_start
	vast_start
	fake_ctl fault create no-credit 1
	order a
	over a
	[[ $(val a reason) == *credit* ]]
	is 0 "$(creates)"
	fake_ctl credit 0
	echo 'refresh vastai' > "$M/ctl"
	until_true 60 V_is balance 0.00
	alice mkdir "$M/sessions/b"
	run alice bash -c 'echo "gpu=RTX_4090 max_price=1 hours=1 commit" > "$1"' bash "$M/sessions/b/spec"
	[[ $output == *'Disk quota exceeded'* ]]
	grep -q 'no credit' "$M/sessions/b/error"
	is 0 "$(creates)"
	fake_stop
}

# ---- the provider as a whole ----

# walk: everything below the mount, with a limit that only a reader who waits for a provider reaches.
walk() {
	timeout 10 ls -R "$M" > "$T/walk" || return
	timeout 10 grep -rs . "$M/providers" "$M/sessions" > /dev/null || [ $? = 2 ] # ctl cannot be read
}

@test "a provider that hangs: everything is answered at once, of both providers, and orders are kept" {
	fakevast_start
	vast_start -o providers_local_enabled=yes
	rent a
	fake_ctl mode hang
	order b # its create is under way from now on
	walk
	grep -q 'sessions/a' "$T/walk"
	[[ $(val b state) =~ ^(pending|provisioning)$ ]]
	buy here # at the other provider
	timeout 5 rmdir "$M/sessions/a"
	timeout 5 rmdir "$M/sessions/b"
	alice rmdir "$M/sessions/here"
	gone here
	walk
	is 1 "$(fake_living)"
	fake_ctl mode ok
	for name in a b; do
		timeout 200 cat "$M/history/last/$name/wait/gone" > "$T/receipt"
		grep -q -e 'proof complete' -e 'nothing was ever made' "$T/receipt"
	done
	fake_stop
}

@test "a provider that is not there when gpufs starts is down, and comes back" {
	fakevast_start
	fake_ctl mode refuse
	NO_MARKET=1 vast_start -o providers_local_enabled=yes
	until_true 60 V_is state down
	[[ $(V reason) == *refused* || -n $(V reason) ]]
	walk
	buy here
	alice rmdir "$M/sessions/here"
	fake_ctl mode ok
	until_true 120 market_there
	until_true 60 V_is state ok
	fake_stop
}

@test "nonsense in every form, to lists and searches: nothing is lost, nothing is bought" {
	fakevast_start
	vast_start
	rent a
	for kind in 502 html-403 not-json empty truncate chunk-cut redirect utf8 nul types duplicate deep huge:2000000 \
		contradict partial null-list empty-list repeat-page other; do
		n=$(fake_ctl journal list | wc -l)
		fake_ctl fault list "$kind" 1
		fake_ctl fault search "$kind" 1 2>/dev/null || true # some are of lists only
		until_true 60 eval '[ "$(fake_ctl journal list | wc -l)" -ge '$((n + 1))' ]'
		is "running $kind" "$(val a state) $kind"
	done
	fake_ctl no-faults
	on a true
	is 1 "$(creates)"
	is 0 "$(fake_calls destroy)"
	alice rmdir "$M/sessions/a"
	gone a
	fake_stop
}

@test "every answer to a create that says nothing certain makes one machine, or none and says so" {
	fakevast_start --offers 600
	vast_start
	n=0
	for kind in done-502 not-json empty truncate no-id contradict type 502 html-403 429; do
		n=$((n + 1))
		fake_ctl fault create "$kind" 1
		order "s$n" 'max_price=1 hours=1 retries=5 retry_scope=any'
	done
	for i in $(seq $n); do
		until_true 120 eval '[[ $(val s'"$i"' state) =~ ^(running|failed)$ ]]'
	done
	running=0
	for i in $(seq $n); do [ "$(val "s$i" state)" != running ] || running=$((running + 1)); done
	until_true 60 eval '[ "$(fake_living)" = '"$running"' ]'
	for i in $(seq $n); do alice rmdir "$M/sessions/s$i"; done
	until_true 120 nothing_living
	fake_stop
}

@test "a redirect is not followed, and nothing of the key goes to another host" {
	fakevast_start
	python3 -c '
import http.server, sys
class H(http.server.BaseHTTPRequestHandler):
    def any(self):
        open(sys.argv[2], "a").write(self.path + str(self.headers))
        self.send_response(302); self.send_header("Location", sys.argv[3] + self.path); self.end_headers()
    do_GET = do_POST = do_PUT = do_DELETE = any
    def log_message(self, *a): pass
s = http.server.ThreadingHTTPServer(("127.0.0.1", 0), H)
open(sys.argv[1], "w").write(str(s.server_port)); s.serve_forever()' "$T/port" "$T/asked" "http://localhost:$(cat "$T/fake/port")" 3>&- &
	SERVER=$!
	until_true 20 test -s "$T/port"
	URL=http://127.0.0.1:$(cat "$T/port") NO_MARKET=1 vast_start
	until_true 60 eval '[ "$(V errors)" -ge 2 ]'
	[ -s "$T/asked" ]
	[[ $(V reason) == *redirect* ]]
	is 0 "$(fake_ctl journal | wc -l)"
	fake_stop
}

# ---- machines ----

@test "a machine that vanishes: lost only once lists and queries agree, and said so" {
	fakevast_start
	vast_start
	rent a
	fake_ctl vanish "$(val a instance_id)"
	over a
	is stopped "$(val a state)"
	[[ $(val a reason) == *lost* ]]
	run alice timeout 10 cat "$M/sessions/a/wait/ready"
	[[ $output == *'Host is down'* ]]
	alice rmdir "$M/sessions/a"
	[[ $(gone a) == *'proof complete'* ]]
	# One that is still booting when it vanishes is a failed attempt.
	fake_ctl fault boot vanish-boot
	rent b 'max_price=1 hours=1 retries=1 retry_scope=any'
	is 2 "$(val b attempts)"
	alice rmdir "$M/sessions/b"
	gone b
	fake_stop
}

@test "a host that loses the network, or is not heard of, ends nothing" {
	fakevast_start
	vast_start
	rent a
	for event in offline unheard; do
		fake_ctl event "$event" "$(val a instance_id)"
		n=$(fake_ctl journal list | wc -l)
		until_true 60 eval '[ "$(fake_ctl journal list | wc -l)" -ge '$((n + 3))' ]'
		is "running $event" "$(val a state) $event"
		fake_ctl event back "$(val a instance_id)"
	done
	is 0 "$(fake_calls destroy)"
	alice rmdir "$M/sessions/a"
	gone a
	fake_stop
}

# aged DB: its books are an hour old, so that orphans are not only watched.
aged() {
	python3 -c '
import sqlite3, sys
d = sqlite3.connect(sys.argv[1])
d.execute("update session set created_us = created_us - 3600000000")
d.commit()' "$DB"
}

@test "an orphan of ours is shown, then destroyed after its grace; with ORPHAN_ACTION=alert never" {
	fakevast_start
	fake_ctl set spacing 0
	vast_start
	alice mkdir "$M/sessions/draft"
	gpufs_stop
	aged
	vast_start -o orphan_grace_period=1s,orphan_action=alert
	fake_create "$(our_label 7)"
	until_true 60 alarm orphan
	grep -q 'it is not touched' "$M/alarms"
	gpufs_stop
	is 1 "$(fake_living)"
	vast_start -o orphan_grace_period=1s
	until_true 90 nothing_living
	grep -q 'orphan_destroy' "$T/state/gpufs.log"
	until_true 60 no alarm orphan
	fake_stop
}

@test "with fresh books a mark of ours is only watched" {
	fakevast_start
	fake_ctl set spacing 0
	vast_start -o orphan_grace_period=1s
	fake_create "$(our_label 7)"
	until_true 60 alarm orphan
	n=$(fake_ctl journal list | wc -l)
	until_true 60 eval '[ "$(fake_ctl journal list | wc -l)" -ge '$((n + 2))' ]'
	is 1 "$(fake_living)"
	fake_stop living
}

# ---- what is written in an answer ----

@test "names with escapes, slashes and 100 KiB, prices that are none: dropped or harmless, and counted" {
	LOG=$T/requests
	{
		echo '1001 RTX 4090 0.30 1'
		printf '1002 \033[31mRTX\033]0;owned\007 4090 0.31 2\n'
		echo '1003 ../../../etc/passwd 0.32 3'
		printf '1004 %0102400d 0.33 4\n' 7
		echo '1005 RTX 4090 -0.50 5'
		echo '1006 RTX 4090 nan 6'
		echo '1007 RTX 4090 inf 7'
		echo '1008 RTX 4090 1e12 8'
		echo '1009 RTX 4090 0 9'
	} > "$LOG.rows"
	touch "$LOG.raw"
	python3 "$BATS_TEST_DIRNAME/market_server.py" "$T/port" "$LOG" /dev/null 3>&- &
	SERVER=$!
	until_true 20 test -s "$T/port"
	URL=http://127.0.0.1:$(cat "$T/port") vast_start
	until_true 60 test -e "$M/inventory/vastai-1001"
	for bad in 1005 1006 1007 1008 1009; do no test -e "$M/inventory/vastai-$bad"; done
	is 'RTX 4090' "$(cat "$M/inventory/vastai-1001/gpu_type")"
	# What is shown of the others holds no control byte and no line of its own, and nothing leads out of the tree.
	no grep -rlP '[\x00-\x08\x0b-\x1f\x7f]' "$M/inventory" "$M/search" "$M/list"
	for f in "$M"/inventory/*/gpu_type; do
		is "1 $f" "$(wc -l < "$f") $f"
		[ "$(wc -c < "$f")" -le 300 ]
	done
	is 1001 "$(cat "$M/search/gpu=RTX_4090/best/provider_id")"
	[ "$(V dropped)" -ge 5 ]
}
