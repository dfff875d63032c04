#!/usr/bin/env bats
# shellcheck shell=bash disable=SC2154
# /gpu/metrics on a real mount: what Prometheus's own checker says, that the gauges equal the tree, and that
# the metrics move whose source is the mount, the daemon or the real provider. Those that need faults of a
# provider move in tests/unit/test_engine_metrics.c.

load lib
load life_lib

setup() { common_setup; }
teardown() { common_teardown; }

# metric SERIES: its value now; nothing if it is not there.
metric() { awk -v s="$1 " 'index($0, s) == 1 {print substr($0, length(s) + 1)}' "$M/metrics"; }
# linted: what is in the file is clean for promtool, which also says nothing.
linted() { is "" "$(promtool check metrics <"$M/metrics" 2>&1)" && promtool check metrics <"$M/metrics"; }
# active STATE: living sessions of the provider in it.
active() { metric "gpu_sessions_active{provider=\"local\",status=\"$1\"}"; }
# gauges_equal_the_tree: sessions by state, offers and alarms, as the directories say.
gauges_equal_the_tree() {
	local state n
	for state in pending provisioning running stopping; do
		n=$(cat "$M"/sessions/*/state "$M"/history/*-*/state 2>/dev/null |
			awk -v s="$state" '$1 == s {n++} END {print n + 0}')
		is "$n" "$(active "$state")"
	done
	is "$(cat "$M/providers/local/offers")" "$(metric 'gpufs_offers{provider="local"}')"
	is "$(awk '!/^#/ {n++} END {print n + 0}' "$M/alarms")" "$(metric gpufs_alarms)"
}

@test "metrics: a mount without a session is clean, and says which build it is" {
	gpufs_start
	until_true 20 test -d "$M/inventory/local-cpu"
	is "444 root:root" "$(stat -c '%a %U:%G' "$M/metrics")"
	linted
	is 1 "$(metric "gpufs_build_info{version=\"$(cat "$M/version")\"}")"
	gauges_equal_the_tree
	is 0 "$(active running)"
	is 0 "$(metric gpufs_burn_rate_usd_per_hour)"
	is 0 "$(metric gpufs_sessions_stopping_longest_seconds)"
	[ "$(alice cat "$M/metrics" | grep -c '^# TYPE')" -gt 5 ] # everybody may read it
	is "" "$(metric 'gpu_sessions_created_total{provider="local"}')"
}

@test "metrics: every family has one HELP, one TYPE and a sample, and nothing is negative" {
	gpufs_start -o synthetic_offers=20
	buy x
	cat "$M/metrics" >"$T/text"
	is "$(grep -c '^# HELP' "$T/text")" "$(grep -c '^# TYPE' "$T/text")"
	is "" "$(awk '/^# TYPE/ {print $3}' "$T/text" | sort | uniq -d)"
	is "" "$(grep -vE '^(# (HELP|TYPE) .*|[a-z_]+(\{([a-z_]+="[^"]*",?)+\})? [0-9]+(\.[0-9]+)?)$' "$T/text")"
	is 20 "$(metric 'gpufs_offers{provider="synthetic"}')"
	linted
}

@test "metrics: a session's life moves its counters, and the gauges equal the tree at every step" {
	gpufs_start -o local_price_per_hour=3.60
	draft x
	gauges_equal_the_tree
	is "" "$(metric 'gpu_sessions_created_total{provider="local"}')"
	put x 'offer=local-cpu hours=2\n'
	ready x
	is 1 "$(active running)"
	gauges_equal_the_tree
	is 1 "$(metric 'gpu_sessions_created_total{provider="local"}')"
	is 1 "$(metric 'gpu_provisioning_duration_seconds_count{provider="local"}')"
	is 1 "$(metric 'gpu_ssh_verify_duration_seconds_count{provider="local"}')"
	is 1 "$(metric 'gpu_ssh_verify_attempts_count{provider="local"}')"
	is 1 "$(metric 'gpu_provider_api_calls_total{provider="local",operation="create"}')"
	is 1 "$(metric 'gpu_provider_api_response_time_seconds_count{provider="local",operation="create"}')"
	is 3.6 "$(metric gpufs_burn_rate_usd_per_hour)"
	costs() { awk -v c="$(metric 'gpu_cost_accrued_usd{provider="local"}')" 'BEGIN {exit !(c > 0)}' </dev/null; }
	until_true 20 costs
	linted
	alice rmdir "$M/sessions/x"
	gone x >/dev/null
	gauges_equal_the_tree
	is 1 "$(metric 'gpu_sessions_destroyed_total{provider="local",reason="destroyed"}')"
	is 1 "$(metric 'gpu_sessions_created_total{provider="local"}')"
	is 0 "$(metric gpufs_burn_rate_usd_per_hour)"
	[ "$(metric 'gpu_provider_api_calls_total{provider="local",operation="destroy"}')" -ge 1 ]
	# What it cost stays on record, as the receipt says.
	awk -v m="$(metric 'gpu_cost_accrued_usd{provider="local"}')" -v r="$(cat "$M/history/last/x/cost")" \
		'BEGIN {exit !(m > 0 && m - r < 0.01 && r - m < 0.01)}' </dev/null
	is "" "$(metric 'gpu_destroy_failures_total{provider="local"}')"
	linted
}

@test "metrics: a machine that is lost is a ghost, and two lists lacked it" {
	gpufs_start -o reconciliation_interval=1s
	buy x
	pkill -KILL -f -- "-f $T/state/local/$(val x instance_id)/sshd_config"
	until_true 60 reads sessions/x/state stopped
	is 1 "$(metric 'gpu_ghosts_detected_total{provider="local"}')"
	[ "$(metric 'gpu_reconciliation_mismatches_total{provider="local"}')" -ge 2 ]
	is 1 "$(metric 'gpu_sessions_destroyed_total{provider="local",reason="lost"}')"
	gauges_equal_the_tree
	linted
}

@test "metrics: after a restart the gauges are right and the counters begin anew" {
	gpufs_start
	buy x
	gpufs_stop
	gpufs_start
	until_true 20 test -d "$M/inventory/local-cpu"
	is 1 "$(active running)"
	gauges_equal_the_tree
	is "" "$(metric 'gpu_sessions_created_total{provider="local"}')"
	linted
}

@test "metrics: what stat says is what is read, and news are shown at once" {
	gpufs_start
	local i size bytes same=0
	for i in $(seq 60); do
		size=$(stat -c %s "$M/metrics")
		bytes=$(cat "$M/metrics" | wc -c)
		# A text stands for a second: one that ended between the two says nothing.
		[ "$size" = "$(stat -c %s "$M/metrics")" ] || continue
		is "$size" "$bytes"
		same=$((same + 1))
	done
	[ "$same" -ge 30 ]
	is 0 "$(active pending)"
	draft x
	put x 'gpu=RTX_4090 hours=1 max_price=1 wait=30\n'
	is 1 "$(metric 'gpu_sessions_active{provider="none",status="pending"}')"
	is 1 "$(metric 'gpu_sessions_created_total{provider="none"}')"
	alice rmdir "$M/sessions/x"
	gone x >/dev/null
	is "" "$(metric 'gpu_sessions_active{provider="none",status="pending"}')"
}

@test "metrics: requests of the kernel are those of the file counters, and only grow" {
	gpufs_start
	cat "$M/metrics" >"$T/m1"
	cat "$M/counters" >"$T/c"
	draft x # else the text of before may stand for a second
	cat "$M/metrics" >"$T/m2"
	local op before now after
	while read -r op now; do
		before=$(awk -v s="gpufs_fuse_requests_total{operation=\"$op\"}" '$1 == s {print $2}' "$T/m1")
		after=$(awk -v s="gpufs_fuse_requests_total{operation=\"$op\"}" '$1 == s {print $2}' "$T/m2")
		[ "${before:-0}" -le "$now" ]
		[ "$now" -le "${after:-0}" ]
	done <"$T/c"
	[ "$(awk '$1 == "OPEN" {print $2}' "$T/c")" -ge 2 ]
}

@test "metrics: the longest turn of the loop, the age of the list and the disk's delay are told" {
	gpufs_start -o synthetic_offers=10000
	until_true 20 test -d "$M/inventory/local-cpu"
	cat "$M/metrics" >/dev/null
	find "$M/inventory" -maxdepth 1 | wc -l # 10 000 names are some work
	lag=$(metric gpufs_loop_lag_seconds)
	awk -v l="$lag" 'BEGIN {exit !(l > 0 && l < 10)}' </dev/null
	awk -v a="$(metric 'gpufs_offers_age_seconds{provider="local"}')" 'BEGIN {exit !(a > 0 && a < 60)}' </dev/null
	awk -v a="$(metric gpufs_journal_lag_seconds)" 'BEGIN {exit !(a >= 0 && a < 10)}' </dev/null
	# A disk that does not answer: the holder of the write lock keeps the writer waiting.
	python3 - "$DB" "$T/locked" "$T/go" <<-'END' 3>&- &
		import os, sqlite3, sys
		db = sqlite3.connect(sys.argv[1], isolation_level=None)
		db.execute("BEGIN IMMEDIATE")
		os.mkfifo(sys.argv[3])
		open(sys.argv[2], "w").close()
		open(sys.argv[3]).read()
		db.execute("ROLLBACK")
	END
	locker=$!
	until_true 20 test -e "$T/locked"
	draft x
	lagging() { awk -v a="$(metric gpufs_journal_lag_seconds)" 'BEGIN {exit !(a > 0.1)}' </dev/null; }
	held=0
	until_true 10 lagging || held=$?
	echo >"$T/go"
	wait "$locker"
	is 0 "$held"
	caught_up() { is 0 "$(metric gpufs_journal_lag_seconds)"; }
	until_true 20 caught_up
}

@test "metrics: every metric that is declared is looked at by some test" {
	local name missing=
	for name in $(grep -oE '"(gpu|gpufs|http)_[a-z_]+"' "$BATS_TEST_DIRNAME/../../src/core/metrics.h" | tr -d '"'); do
		grep -qE "$name" "$BATS_TEST_DIRNAME"/*.bats "$BATS_TEST_DIRNAME"/../unit/test_engine*.c ||
			missing+=" $name"
	done
	is "" "$missing"
}
