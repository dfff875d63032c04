#!/usr/bin/env bats
# shellcheck shell=bash disable=SC2154,SC2034
# TensorDock from the market to the receipt: a real mount, the fake cloud with its meter, and real ssh, as the
# account `user` that its images have. Beside Vast.ai: two_clouds.bats.

load lib
load life_lib
load fake
load http_lib # before vastai_lib, whose order is meant
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

@test "over HTTP: a create with vcpus and ram_gb buys that machine, with a label and a key of one's own" {
	faketd_start
	PORT=$(free_port)
	API=http://127.0.0.1:$PORT
	td_start -o server_port="$PORT",api_auth=none,api_uid=gpufs-alice
	until_true 30 answers_ready
	best=$(basename "$(readlink "$M/search/gpu=RTX_4090/best")")
	ssh-keygen -q -t ed25519 -N '' -C me@home -f "$T/mine"
	create() { # FIELDS
		ask POST /api/v1/sessions "$(printf '{"consumer_id":"app","offer_id":"%s","workload_type":"training",
			"reservation_hours":2%s}' "$best" "$1")"
	}
	create ',"vcpus":18'
	says 400 'at most 16, not 18'
	create ',"vcpus":-1'
	says 400 'vcpus'
	create ',"label":"'"$(printf '%064d' 0)"'"'
	says 400 'label'
	is '' "$(ls "$M/sessions")"
	create ',"vcpus":15,"ram_gb":40,"disk_gb":30,"label":"first try","protect":true,"ssh_public_key":"'"$(cat "$T/mine.pub")"'"'
	says 201 '"price_per_hour":0.545667'
	ID=$(jq -r .session.id <<< "$body")
	ready "$ID"
	is '16 48 100 0.545667' "$(td_machine "$ID" | jq -r '"\(.vcpus) \(.ram) \(.disk) \(.price)"')"
	is 'first try' "$(val "$ID" label)"
	is Linux "$(ssh -n -F "$M/sessions/$ID/ssh/config" -o IdentitiesOnly=yes -o IdentityFile="$T/mine" "$ID.gpu" uname)"
	ask DELETE "/api/v1/sessions/$ID"
	says 409 protected
	echo 0 > "$M/sessions/$ID/protect"
	ask DELETE "/api/v1/sessions/$ID"
	says 200
	gone "$ID"
	fake_stop
}

@test "gpu-shopper: one provider's offers, the cheapest of it, and the machine that was asked for" {
	faketd_start
	td_start -o providers_local_enabled=yes
	shopper() { alice env GPUFS_MOUNT="$M" "$T/gpu-shopper" "$@"; }
	install -m 755 "$BATS_TEST_DIRNAME/../../examples/gpu-shopper" "$T/gpu-shopper"
	is tensordock "$(shopper inventory -p tensordock --json | jq -r '.[].provider' | sort -u)"
	is local "$(shopper inventory -p local --json | jq -r '.[].provider' | sort -u)"
	run shopper provision -c app -t 1 -g RTX_4090 --vcpus 18
	[[ $status = 1 && $output == *'at most 16, not 18'* ]]
	run shopper provision -c app -t 1 -g RTX_4090 -p local
	[[ $status = 1 && $output == *'No offers found'* ]]
	run shopper provision -c app -t 1 -i local-cpu -p local
	[ "$status" = 2 ]
	is '' "$(ls "$M/sessions")"
	shopper provision -c app -t 1 -g RTX_4090 -p tensordock --vcpus 15 --ram-gb 40 --disk-gb 30 --name a --wait
	is '16 48 100' "$(td_machine a | jq -r '"\(.vcpus) \(.ram) \(.disk)"')"
	is running "$(shopper sessions get a | sed -n 's/^state //p')"
	shopper sessions destroy a
	alice rmdir "$M/sessions/a"
	gone a
	fake_stop
}
