#!/usr/bin/env bats
# shellcheck shell=bash disable=SC2154,SC2034
# Vast.ai, TensorDock and this machine at once: one market, machines at all three; and one cloud that fails in
# each way while the others go on: nothing of it is destroyed, forgotten, or bought twice.

load lib
load life_lib
load fake
load vastai_lib
load tensordock_lib

setup() {
	common_setup
	needs_machines
}
teardown() {
	fake_teardown
	common_teardown
}

# both_stop: nothing of ours lives at either, and no rule was broken.
both_stop() { fake_stop && FAKE=td fake_stop; }

td() { FAKE=td fake_ctl "$@"; }
# P PROVIDER FILE: a value of providers/PROVIDER.
P() { cat "$M/providers/$1/$2"; }
P_is() { [ "$(P "$1" "$2")" = "$3" ]; }

# a_machine_each: sessions v, t and here, running.
a_machine_each() {
	order v 'gpu=RTX_4090 provider=vastai max_price=1 hours=1' || return
	order t 'gpu=RTX_4090 provider=tensordock max_price=1 hours=1' || return
	order here 'offer=local-cpu hours=1' || return
	for name in v t here; do ready "$name" || return; done
	V_ID=$(val v instance_id) T_ID=$(val t instance_id)
}
# all_end: also what was ordered to end while its cloud failed.
all_end() {
	for name in $(ls "$M/sessions"); do alice rmdir "$M/sessions/$name" || return; done
	for name in v t here "$@"; do
		gone "$name" | grep -q '^proof complete$' || { echo "$name: no proof" >&2; return 1; }
	done
}
# lists_pass: both providers were asked for their machines three times more, or it was tried.
lists_pass() {
	local v t
	v=$(P vastai calls) t=$(P tensordock calls)
	until_true 60 eval '[ "$(P vastai calls)" -ge $(('"$v"' + 3)) ]' &&
		until_true 60 eval '[ "$(P tensordock calls)" -ge $(('"$t"' + 3)) ]'
}
# untouched: the machines of v and t are the ones that they were, known, and nobody sent a DELETE.
untouched() {
	is "running $V_ID running $T_ID" "$(val v state) $(val v instance_id) $(val t state) $(val t instance_id)" &&
		is '0 0' "$(fake_calls destroy) $(FAKE=td fake_calls destroy)" &&
		no alarm orphan
}

@test "two clouds and this machine: one market by price, a machine at each, each ends with proof" {
	both_start
	is 'local tensordock vastai' "$(ls "$M/providers" | xargs)"
	for name in local tensordock vastai; do
		is "$name ok" "$name $(P "$name" state)"
		[ "$(ls "$M/inventory" | grep -c "^$name-")" -ge 1 ]
	done
	# One order of price over all of them, and each condition on the provider is the whole minus the others.
	jq -r .price_per_hour "$M/search/all/offers.json" | sort -g -c
	is "$(cat "$M/search/all/count")" \
		$(($(cat "$M/search/provider=vastai/count") + $(cat "$M/search/provider=tensordock/count") + $(cat "$M/search/provider=local/count")))
	is "$(jq -r .provider "$M/search/gpu=RTX_4090/offers.json" | sort -u | xargs)" 'tensordock vastai'
	a_machine_each
	is 'vastai tensordock local' "$(val v provider) $(val t provider) $(val here provider)"
	for name in v t here; do is Linux "$(on "$name" uname)"; done
	is '1 1' "$(creates) $(FAKE=td creates)"
	all_end
	both_stop
}

@test "one cloud is down: the other's offers stay, orders go on there, and what is ordered here is kept" {
	both_start
	a_machine_each
	offers=$(P vastai offers)
	td mode refuse
	until_true 60 P_is tensordock state down
	[[ $(P tensordock reason) == *127.0.0.1* ]]
	lists_pass
	untouched
	is "ok $offers" "$(P vastai state) $(P vastai offers)"
	[ -d "$M/search/provider=vastai,gpu=RTX_4090/best/" ]
	on t true # it is not gpufs that carries this
	alice rmdir "$M/sessions/v"
	gone v
	rent w 'gpu=RTX_4090 provider=vastai max_price=1 hours=1'
	alice rmdir "$M/sessions/t"
	[ "$(P tensordock calls)" -gt 0 ] && lists_pass
	no grep -q '^proof complete' "$M/history/last/t/receipt"
	is 1 "$(td meter | jq .ours)"
	td mode ok
	until_true 60 P_is tensordock state ok
	all_end w
	is '2 1' "$(creates) $(FAKE=td creates)"
	both_stop
}

@test "one cloud refuses the key: badkey there, and the other sells to whoever asks for no provider" {
	both_start
	a_machine_each
	fake_ctl set key_dead 1 # of the cheaper one
	until_true 60 P_is vastai state badkey
	[ -n "$(P vastai reason)" ]
	is ok "$(P tensordock state)"
	rent w 'gpu=RTX_3090 provider=tensordock max_price=1 hours=1'
	rent x 'gpu=RTX_4090 max_price=1 hours=1'
	is tensordock "$(val x provider)"
	is "running $V_ID" "$(val v state) $(val v instance_id)"
	is '0 1' "$(fake_calls destroy) $(creates)"
	on v true
	alice rmdir "$M/sessions/v"
	until_true 30 eval '[ "$(fake_ctl journal destroy | wc -l)" -ge 1 ]'
	is 1 "$(fake_living)"
	fake_ctl set key_dead 0
	until_true 60 P_is vastai state ok
	all_end w x
	both_stop
}

@test "one cloud answers slowly: slow with the seconds, nothing waits for it, and it is bought from all the same" {
	both_start
	a_machine_each
	td fault list slow:6s always
	until_true 60 P_is tensordock state slow
	[[ $(P tensordock reason) == *'took '*' s' ]]
	is ok "$(P vastai state)"
	timeout 5 ls -R "$M" > /dev/null
	timeout 5 cat "$M/search/all/table" > "$T/table"
	grep -q vastai "$T/table"
	grep -q tensordock "$T/table"
	rent w 'gpu=RTX_4090 provider=vastai max_price=1 hours=1'
	untouched
	td no-faults
	until_true 60 P_is tensordock state ok
	all_end w
	both_stop
}
