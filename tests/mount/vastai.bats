#!/usr/bin/env bats
# shellcheck shell=bash disable=SC2154,SC2034
# Vast.ai from the market to the receipt: a real mount, the fake cloud with its meter, and real ssh.

load lib
load life_lib
load fake
load vastai_lib

setup() {
	common_setup
	needs_machines
}
teardown() {
	fake_teardown
	common_teardown
}

Q=search/gpu=RTX_4090,max_price=0.50

@test "an hour at Vast.ai: search, buy, ssh, ports, cost, rmdir, receipt, and the meter stands still" {
	fakevast_start
	vast_start
	is ok "$(V state)"
	is 100.00 "$(V balance)"
	is off "$(cat "$M/providers/local/state")" # by itself: a cloud is configured
	best=$(basename "$(readlink "$M/$Q/best")")
	is 'RTX 4090' "$(value "$Q/best/gpu_type")"
	is 24 "$(value "$Q/best/vram_gb")"
	price=$(value "$Q/best/price_per_hour")
	alice mkdir "$M/sessions/train"
	say 'gpu=RTX_4090 max_price=0.50 hours=2' "$M/sessions/train/spec"
	is running "$(alice timeout 60 cat "$M/sessions/train/wait/ready")"
	is "vastai $best $price $price" "$(val train provider) $(val train offer_id) $(val train price_per_hour) $(val train price_quoted)"
	id=$(val train instance_id)
	is '"running"' "$(machine train | jq .status)"
	is "\"C.$id\"" "\"$(on train hostname)\""
	[[ $(on train 'nvidia-smi || uname') == *Linux* ]]
	grep -q 'success, running' "$M/sessions/train/provider.log"
	until_true 30 eval '[[ $(val train cost) > 0.0000 ]]'
	alice rmdir "$M/sessions/train"
	gone train > "$T/receipt"
	grep -q '^proof complete$' "$T/receipt"
	grep -q '^reason destroyed by gpufs-alice$' "$T/receipt"
	grep -q '^calls create=1 destroy=1 look=1$' "$T/receipt"
	grep -q "^instance_id $id$" "$T/receipt"
	grep -q "^price_per_hour $price$" "$T/receipt"
	nothing_living
	# The meter and the books: within what the seconds between order and effect cost.
	billed=$(fake_ctl meter | jq .billed)
	cost=$(sed -n 's/^cost //p' "$T/receipt")
	jq -en "$billed > 0 and $cost >= $billed - 0.000002 and $cost - $billed < 10 * $price / 3600" >/dev/null
	is '1 1 1 1' "$(fake_ctl meter | jq -r '.calls | "\(.create) \(.attach) \(.destroy) \(.get)"')"
	fake_stop
}

@test "what a spec asks for reaches the provider, and only once" {
	fakevast_start
	vast_start
	rent big 'gpu=RTX_4090 max_price=1 hours=1 disk_gb=120 image=ubuntu:22.04 on_start="echo hi" ports=8080 env.TOKEN=abc'
	ID=$(val big instance_id)
	fake_ask GET "/api/v0/instances/$ID/"
	is '120 ubuntu:22.04 "echo hi"' "$(jq -r '.instances | "\(.disk_space) \(.image_uuid) \(.onstart | tojson)"' <<< "$body")"
	# A port that was asked for is mapped, and no other is shown.
	until_true 30 test -e "$M/sessions/big/ports/8080"
	is 8080 "$(ls "$M/sessions/big/ports")"
	[[ $(value sessions/big/ports/8080) =~ ^[0-9.]+:[0-9]+$ ]]
	# The price is that of the disk asked for.
	is "$(machine big | jq .price)" "$(val big price_per_hour)"
	is 1 "$(creates)"
	alice rmdir "$M/sessions/big"
	gone big
	fake_stop
}

@test "kill -9 and a new start: the machine runs on, is found again, and ends with its order" {
	fakevast_start
	vast_start
	rent a
	order b
	both_killed
	umount -l "$M" || true
	vast_start
	ready b
	is running "$(val a state)"
	on a true
	on b true
	is 2 "$(creates)"
	alice rmdir "$M/sessions/a"
	alice rmdir "$M/sessions/b"
	both_killed # with both orders durable
	umount -l "$M" || true
	vast_start
	gone a
	gone b
	fake_stop
}

@test "a machine that is bid for: bought at the bid, taken away, and said so" {
	fakevast_start
	vast_start -o inventory_cache_ttl=5s
	is 0 "$(value search/interruptible=1,gpu=RTX_4090/count)"
	until_true 90 eval '[ "$(value search/interruptible=1,gpu=RTX_4090/count)" -gt 0 ]'
	bid=$(value search/interruptible=1,gpu=RTX_4090/best/price_per_hour)
	rent spot "gpu=RTX_4090 interruptible=1 bid=$bid max_price=1 hours=1"
	[[ $(val spot offer_id) == *-bid ]]
	is "$(machine spot | jq .price)" "$(jq -n "$(val spot price_per_hour)")" # the bid, and the disk
	fake_ctl event stop "$(val spot instance_id)"
	over spot
	[[ $(val spot reason) == *preempted* ]]
	nothing_living
	alice rmdir "$M/sessions/spot"
	gone spot
	fake_stop
}

@test "machines without our mark are counted, and never touched" {
	fakevast_start
	fake_ctl foreign
	fake_ctl foreign my-notebook
	fake_ctl foreign gpufs-abcd-aaaaaaaaaaaaaaaaaaaaaaaaaa-1-aaaaaaaaaa
	vast_start -o orphan_grace_period=1s
	# A mark of this deployment with a wrong signature, and one of another deployment.
	label=$(our_label 7)
	fake_ctl foreign "${label%?}$(tr 'a-y2-6z7' 'b-z3-7a2' <<< "${label: -1}")"
	fake_ctl foreign "$(our_label 7 | sed 's/^gpufs-[^-]*/gpufs-zzzz9/')"
	rent mine
	until_true 30 V_is foreign 5
	alice rmdir "$M/sessions/mine"
	gone mine
	is 5 "$(V foreign)"
	is 5 "$(fake_ctl instances | grep -c '"foreign": true')"
	fake_stop
}
