#!/usr/bin/env bats
# shellcheck shell=bash disable=SC2154,SC2034
# TensorDock from the market to the receipt, alone and beside Vast.ai: a real mount, the fake cloud with its
# meter, and real ssh, as the account `user` that its images have.

load lib
load life_lib
load fake
load vastai_lib

setup() {
	common_setup
	[ "$(id -u)" = 0 ] || skip "needs root"
}
teardown() {
	fake_teardown
	[ -z "${OTHER_PID:-}" ] || kill -KILL "$OTHER_PID" 2>/dev/null || true
	common_teardown
}

# faketd_start [OPTION...]: the fake, nothing by chance, answers at once and a boot of a second.
faketd_start() {
	fake_start --provider tensordock --key "$FAKE_KEY" --calm --ssh --time-factor 0.02 "$@" || return
	for words in 'run_s 0.5' 'address_s 0.8' 'login_s 1' 'create_min_s 0.2' 'create_max_s 0.2' \
		'destroy_s 0.5'; do
		# shellcheck disable=SC2086 # name and value
		fake_ctl set $words || return
	done
}

# td_start [OPTION...]: gpufs with the token to it, for all users, once it has seen the market.
td_start() {
	TENSORDOCK_API_KEY=$FAKE_KEY TENSORDOCK_BASE_URL=$(fake_url) GPUFS_TEST_LAG_MS=1000 \
		GPUFS_TEST_SPACING_PERMILLE=100 \
		TENSORDOCK_AUTH_ID=${AUTH_ID:-} GPUFS_TENSORDOCK_BALANCE_URL=$(fake_url) \
		gpufs_start -o sessions_access=all,reconciliation_interval=2s "$@" || return 1
	until_true 60 td_market_there
}
td_market_there() { [ "$(cat "$M/providers/tensordock/offers")" -gt 0 ]; }

# td_machine NAME: the fake's view of the machine of a session; its ids are texts.
td_machine() { fake_ctl instances all | jq -c "select(.id == \"$(val "$1" instance_id)\")"; }

@test "an hour at TensorDock: search, plan, buy, ssh, ports, rmdir, receipt, and the meter stands still" {
	faketd_start
	AUTH_ID=7b1c5c36-7a52-4a5e-9c1f-0d3b8a7f2e11 td_start
	is ok "$(cat "$M/providers/tensordock/state")"
	is 100.00 "$(cat "$M/providers/tensordock/balance")"
	is 1 "$(cat "$M/providers/tensordock/list_complete")"
	best=$(basename "$(readlink "$M/search/gpu=RTX_4090/best")")
	is tensordock-8dd95ff0-dff9-489c-9b02-b38a366b6ab1-geforcertx4090-pcie-24gb "$best"
	is 0.489667 "$(value "inventory/$best/price_per_hour")"
	is 2 "$(value "inventory/$best-x2/gpu_count")"
	[ ! -e "$M/inventory/$best-x4" ]
	[ ! -e "$M/inventory/tensordock-8dd95ff0-dff9-489c-9b02-b38a366b6ab1-rtxa6000-pcie-48gb" ] # no vCPU
	alice mkdir "$M/sessions/train"
	say "offer=$best hours=2 vcpus=15 ram_gb=40 disk_gb=30 ports=8888 on_start='echo hi' env.TOKEN=x" \
		"$M/sessions/train/spec"
	is running "$(alice timeout 60 cat "$M/sessions/train/wait/ready")"
	# 15 vCPUs are 16, 40 GB are 48, and no disk is below 100: 0.396667 + 0.048 + 0.096 + 0.005.
	is 0.545667 "$(val train price_per_hour)"
	is '16 48 100 0.545667' "$(td_machine train | jq -r '"\(.vcpus) \(.ram) \(.disk) \(.price)"')"
	grep -q '^ *User user$' "$M/sessions/train/ssh/config"
	[[ $(on train uname) == Linux ]]
	[[ $(value sessions/train/ports/8888) =~ ^127\.0\.0\.1:[0-9]+$ ]]
	alice rmdir "$M/sessions/train"
	gone train > "$T/receipt"
	grep -q '^proof complete$' "$T/receipt"
	grep -q '^calls create=1 destroy=' "$T/receipt"
	nothing_living
	is 0 "$(fake_ctl meter | jq .throttled)"
	is 1 "$(creates)"
	fake_stop
}

@test "plan shows the machine that a spec means there, and what is more than it has is refused" {
	faketd_start
	td_start -o auto_commit=no
	alice mkdir "$M/sessions/p"
	say 'gpu=RTX_4090 max_price=1 hours=1' "$M/sessions/p/spec"
	grep -q '^disk_gb 100$' "$M/sessions/p/plan"
	grep -q '^vcpus 8$' "$M/sessions/p/plan"
	grep -q '^ram_gb 32$' "$M/sessions/p/plan"
	grep -q '^price_per_hour 0.483$\|^price_per_hour 0.489667$' "$M/sessions/p/plan"
	best=$(basename "$(readlink "$M/search/gpu=RTX_4090/best")")
	run say "offer=$best hours=1 vcpus=18" "$M/sessions/p/spec"
	[ "$status" -ne 0 ]
	grep -q 'at most 16, not 18' "$M/sessions/p/error"
	run say "offer=$best hours=1 template=abc" "$M/sessions/p/spec"
	[ "$status" -ne 0 ]
	grep -q 'template: the provider tensordock has no templates' "$M/sessions/p/error"
	alice rmdir "$M/sessions/p"
	fake_stop
}

@test "an answer that is lost buys once; an offer that was taken is told, and another one tried" {
	faketd_start
	td_start
	fake_ctl fault create lost 1
	rent a 'gpu=RTX_4090 max_price=1 hours=1'
	is 1 "$(creates)"
	on a true
	fake_ctl fault create nodes 1
	rent b 'gpu=RTX_3090 max_price=1 hours=1 retries=1 retry_scope=any' || true
	until_true 60 eval '[[ $(val b state) =~ ^(running|failed)$ ]]'
	is running "$(val b state)"
	is 2 "$(creates)"
	alice rmdir "$M/sessions/a"
	alice rmdir "$M/sessions/b"
	gone a
	gone b
	fake_stop
}

@test "both clouds at once: one market, machines at both, and one that is down hides nothing of the other" {
	faketd_start
	mkdir -p "$T/other/machines"
	"$FAKECLOUD_BIN" --provider vastai --control "$T/other/control" --ready-file "$T/other/port" \
		--dir "$T/other/machines" --calm --ssh --time-factor 0.02 >"$T/other/log" 2>&1 3>&- 4>&- &
	OTHER_PID=$!
	until_true 20 test -s "$T/other/port"
	"$FAKECLOUD_BIN" --ctl "$T/other/control" set boot_s 1
	VASTAI_API_KEY=$FAKE_KEY VASTAI_BASE_URL=http://127.0.0.1:$(cat "$T/other/port") td_start
	until_true 60 market_there
	rent v 'gpu=RTX_4090 provider=vastai max_price=1 hours=1'
	rent t 'gpu=RTX_4090 provider=tensordock max_price=1 hours=1'
	is 'vastai tensordock' "$(val v provider) $(val t provider)"
	on v true
	on t true
	fake_ctl mode refuse
	alice rmdir "$M/sessions/v"
	gone v
	is running "$(val t state)"
	fake_ctl mode ok
	alice rmdir "$M/sessions/t"
	gone t
	is 0 "$("$FAKECLOUD_BIN" --ctl "$T/other/control" meter | jq .ours)"
	is '' "$("$FAKECLOUD_BIN" --ctl "$T/other/control" violations)"
	fake_stop
}
