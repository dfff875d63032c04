# shellcheck shell=bash disable=SC2154,SC2034
# What the tests of sessions at TensorDock share besides lib.bash, life_lib.bash, fake.bash and vastai_lib.bash:
# gpufs against the fake cloud, alone (the fake of $FAKE) or beside Vast.ai (FAKE=td and FAKE=fake).

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
	TENSORDOCK_API_KEY=$FAKE_KEY TENSORDOCK_BASE_URL=${TD_URL:-$(fake_url)} GPUFS_TEST_LAG_MS=1000 \
		GPUFS_TEST_SPACING_PERMILLE=100 \
		TENSORDOCK_AUTH_ID=${AUTH_ID:-} GPUFS_TENSORDOCK_BALANCE_URL=${TD_URL:-$(fake_url)} \
		gpufs_start -o sessions_access=all,reconciliation_interval=2s "$@" || return 1
	until_true 60 td_market_there
}
td_market_there() { [ "$(cat "$M/providers/tensordock/offers")" -gt 0 ]; }

# both_start [OPTION...]: both fakes, and gpufs with both and this machine, once it has seen all three.
both_start() {
	fakevast_start || return
	FAKE=td faketd_start || return
	VASTAI_API_KEY=$FAKE_KEY VASTAI_BASE_URL=$(fake_url) TD_URL=$(FAKE=td fake_url) \
		td_start -o providers_local_enabled=yes "$@" || return
	until_true 60 market_there
}

# td_machine NAME: the fake's view of the machine of a session; its ids are texts.
td_machine() { fake_ctl instances all | jq -c "select(.id == \"$(val "$1" instance_id)\")"; }
