# shellcheck shell=bash disable=SC2154,SC2034
# What the tests of sessions at Vast.ai share besides lib.bash, life_lib.bash and fake.bash: gpufs against the
# fake cloud, with real sshds. The fake runs fifty times as fast as the real one, gpufs asks ten times as fast
# (readme.bats keeps the real pace).

# fakevast_start [OPTION...]: the fake, nothing by chance, a boot of a second.
fakevast_start() {
	fake_start --calm --ssh --time-factor 0.02 "$@" && fake_ctl set boot_s 1
}

# vast_start [OPTION...]: gpufs with the key to it, for all users, once it has seen the market. Proofs of
# absence wait a second for lists that lag, not ten minutes; lists come every 2 s.
vast_start() {
	VASTAI_API_KEY=$FAKE_KEY VASTAI_BASE_URL=${URL:-$(fake_url)} GPUFS_TEST_LAG_MS=${LAG_MS:-1000} \
		GPUFS_TEST_SPACING_PERMILLE=100 \
		gpufs_start -o sessions_access=all,reconciliation_interval=2s "$@" || return 1
	[ -n "${NO_MARKET:-}" ] || until_true 60 market_there
}
market_there() { [ "$(V offers)" -gt 0 ]; }

# V FILE: a value of providers/vastai.
V() { cat "$M/providers/vastai/$1"; }
V_is() { [ "$(V "$1")" = "$2" ]; }

# order NAME [WORDS]: alice's session, bought; not waited for.
order() {
	alice mkdir "$M/sessions/$1" && say "${2:-gpu=RTX_4090 max_price=0.50 hours=2}" "$M/sessions/$1/spec"
}
# rent NAME [WORDS]: and waited for.
rent() { order "$@" && ready "$1"; }
# over NAME: it failed or stopped, and the proof is complete.
over() { until_true 90 eval '[[ $(val '"$1"' state) =~ ^(failed|stopped)$ ]]'; }

# machine NAME: the fake's view of the machine of a session.
machine() { fake_ctl instances all | jq -c "select(.id == $(val "$1" instance_id))"; }
creates() { fake_ctl meter | jq .created; }
nothing_living() { [ "$(fake_living)" = 0 ]; }

# our_label SESSION-NUMBER [ATTEMPT]: the label that this deployment gives session 00000000-…-NUMBER.
our_label() {
	python3 - "$T/state/gpufs.key" "$1" "${2:-1}" <<-'PY'
		import base64, hashlib, hmac, sys, uuid
		words = dict(l.split() for l in open(sys.argv[1]) if not l.startswith("#"))
		b32 = lambda b, n: base64.b32encode(b + bytes(8)).decode().lower()[:n]
		body = f"gpufs-{words['deployment']}-{b32(uuid.UUID(int=int(sys.argv[2])).bytes, 26)}-{sys.argv[3]}"
		print(body + "-" + b32(hmac.new(bytes.fromhex(words["key"]), body.encode(), hashlib.sha256).digest(), 10))
	PY
}

# alarm KIND: it stands in alarms.
alarm() { cat "$M/alarms" | grep -q "$1"; }
