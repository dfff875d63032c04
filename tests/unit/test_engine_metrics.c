/*
 * The engine's metrics in the virtual world: each moves where the thing happens, gauges equal the
 * sessions after every scenario, counters only grow, nothing is negative (lessons.md F).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "../../src/core/check.h"
#include "fake_world.h"

#include <cmocka.h>

static const char SPEC[] = "offer=fake-1 hours=2\n";

static struct fake f;
static struct metrics *m;
static char text[1 << 18];

static void attach(void)
{
	m = metrics_new();
	engine_set_metrics(f.e, m);
}

static int begin(void **state)
{
	(void)state;
	fake_init(&f);
	fake_start(&f);
	attach();
	return 0;
}

static void make(const char *name, const char *spec)
{
	assert_int_equal(fake_mkdir(&f, name), 0);
	assert_int_equal(fake_spec(&f, name, spec), 0);
}

static void make_running(const char *name)
{
	make(name, SPEC);
	assert_true(fake_until(&f, name, S_RUNNING, MINUTE_US));
}

/* The value of a series as it stands in the text, in millionths; UNKNOWN if it is not there. */
static int64_t value(const char *series)
{
	int64_t whole, part = 0, scale = 1000000;
	BUF out = {0};
	BUF want = {0};
	char *p;

	metrics_text(m, &out);
	assert_true(out.len < sizeof text);
	memcpy(text, out.data, out.len + 1);
	buf_printf(&want, "\n%s ", series);
	p = strstr(text, want.data);
	if (!p)
		return UNKNOWN;
	p += want.len;
	assert_true(*p >= '0' && *p <= '9'); /* nothing is negative */
	whole = strtoll(p, &p, 10);
	if (*p == '.')
		for (p++; *p >= '0' && *p <= '9'; p++) {
			scale /= 10;
			part += (*p - '0') * scale;
		}
	return whole * 1000000 + part;
}

static void is(const char *series, int64_t n)
{
	int64_t got = value(series);

	if (got != n * 1000000)
		fail_msg("%s is %lld millionths, not %lld\n%s", series, (long long)got,
			 (long long)n, text);
}

#define OF "{provider=\"fake\"}"

/* ---- the end of every test: gauges against the sessions ---- */

static void active_is(enum session_state state, int64_t n)
{
	BUF fake = {0};
	BUF none = {0};
	int64_t waiting;

	buf_printf(&fake, "gpu_sessions_active{provider=\"fake\",status=\"%s\"}",
		   state_name(state));
	buf_printf(&none, "gpu_sessions_active{provider=\"none\",status=\"%s\"}",
		   state_name(state));
	waiting = value(none.data);
	assert_int_equal(value(fake.data) + (waiting == UNKNOWN ? 0 : waiting), n * 1000000);
}

static void gauges_equal_the_sessions(void)
{
	int64_t by_state[S_COUNT] = {0}, cost_u6 = 0;
	struct status_view v;

	for (int history = 0; history < 2; history++) {
		const struct session *s = NULL;

		while ((s = engine_next(f.e, s ? s->serial : 0, history))) {
			by_state[s->state]++;
			cost_u6 += session_cost_u6(s, f.now_us);
		}
	}
	for (int i = S_PENDING; i <= S_STOPPING; i++)
		active_is((enum session_state)i, by_state[i]);
	assert_int_equal(value("gpu_sessions_active{provider=\"fake\",status=\"draft\"}"), UNKNOWN);
	assert_int_equal(value("gpu_sessions_active{provider=\"fake\",status=\"stopped\"}"),
			 UNKNOWN);
	assert_int_equal(value("gpu_cost_accrued_usd" OF), cost_u6);
	engine_status(f.e, &v);
	assert_int_equal(value("gpufs_burn_rate_usd_per_hour"), v.burn_u6);
	assert_int_equal(value("gpufs_offers" OF), (int64_t)engine_inventory(f.e)->count * 1000000);
}

static int end(void **state)
{
	(void)state;
	gauges_equal_the_sessions();
	fake_free(&f);
	metrics_free(m);
	return 0;
}

/* ---- scenarios ---- */

static void a_whole_life_is_counted_once(void **state)
{
	(void)state;
	assert_int_equal(fake_mkdir(&f, "x"), 0);
	gauges_equal_the_sessions();
	is("gpu_cost_accrued_usd" OF, 0);
	assert_int_equal(value("gpu_sessions_created_total" OF), UNKNOWN); /* a draft is nothing */
	assert_int_equal(fake_spec(&f, "x", SPEC), 0);
	is("gpu_sessions_created_total" OF, 1);
	active_is(S_PENDING, 1);
	assert_true(fake_until(&f, "x", S_PROVISIONING, MINUTE_US));
	gauges_equal_the_sessions();
	assert_true(fake_until(&f, "x", S_RUNNING, MINUTE_US));
	gauges_equal_the_sessions();
	active_is(S_RUNNING, 1);
	is("gpu_provisioning_duration_seconds_count" OF, 1);
	is("gpu_ssh_verify_duration_seconds_count" OF, 1);
	is("gpu_ssh_verify_attempts_count" OF, 1);
	is("gpu_ssh_verify_attempts_sum" OF, 1);
	assert_int_equal(value("gpu_provisioning_duration_seconds_sum" OF),
			 fake_get(&f, "x")->running_us - fake_get(&f, "x")->bought_us);
	fake_run(&f, HOUR_US);
	gauges_equal_the_sessions();
	assert_true(value("gpu_cost_accrued_usd" OF) > 500000);
	assert_int_equal(fake_rmdir(&f, "x"), 0);
	gauges_equal_the_sessions();
	active_is(S_STOPPING, 1);
	assert_true(fake_until(&f, "x", S_STOPPED, MINUTE_US));
	is("gpu_sessions_destroyed_total{provider=\"fake\",reason=\"destroyed\"}", 1);
	is("gpu_sessions_created_total" OF, 1);
	is("gpufs_burn_rate_usd_per_hour", 0);
	is("gpufs_sessions_stopping_longest_seconds", 0);
}

static void calls_and_answers(void **state)
{
	int64_t created;
	struct provider_view v;

	(void)state;
	make_running("x");
	is("gpu_provider_api_calls_total{provider=\"fake\",operation=\"create\"}", 1);
	is("gpu_provider_api_response_time_seconds_count{provider=\"fake\",operation=\"create\"}",
	   1);
	/* the fake cloud's answers take call_delay_us */
	created = value("gpu_provider_api_response_time_seconds_sum{provider=\"fake\",operation="
			"\"create\"}");
	assert_int_equal(created, f.call_delay_us);
	assert_int_equal(
		value("gpu_provider_api_errors_total{provider=\"fake\",operation=\"create\"}"),
		UNKNOWN);
	assert_true(engine_provider_view(f.e, 0, &v));
	assert_true(v.calls > 1);
	f.list_answer = ANSWER_LOST;
	fake_run(&f, 10 * MINUTE_US);
	assert_true(value("gpu_provider_api_errors_total{provider=\"fake\",operation=\"list\"}") >=
		    1000000);
	assert_true(value("gpufs_offers_age_seconds" OF) <= 5 * MINUTE_US + 2 * f.call_delay_us);
	f.list_answer = ANSWER_OK;
}

static void an_offer_that_left_is_no_call(void **state)
{
	(void)state;
	f.create_answer = ANSWER_STALE;
	make("x", SPEC);
	assert_true(fake_until(&f, "x", S_FAILED, 40 * MINUTE_US));
	is("gpu_provider_api_calls_total{provider=\"fake\",operation=\"create\"}", 1);
	is("gpu_provider_api_errors_total{provider=\"fake\",operation=\"create\"}", 1);
	is("gpu_sessions_destroyed_total{provider=\"fake\",reason=\"no_offer\"}", 1);
}

static void a_purchase_that_waits_has_no_provider(void **state)
{
	(void)state;
	make("x", "gpu=RTX_4090 max_price=0.10 hours=2 wait=30\n");
	is("gpu_sessions_created_total{provider=\"none\"}", 1);
	is("gpu_sessions_active{provider=\"none\",status=\"pending\"}", 1);
	gauges_equal_the_sessions();
	assert_true(fake_until(&f, "x", S_FAILED, HOUR_US));
	is("gpu_sessions_destroyed_total{provider=\"none\",reason=\"no_offer\"}", 1);
}

static void a_retry_of_what_failed_is_bought_again(void **state)
{
	(void)state;
	f.create_answer = ANSWER_NO;
	f.create_effect = false;
	make("x", SPEC);
	assert_true(fake_until(&f, "x", S_FAILED, MINUTE_US));
	is("gpu_sessions_destroyed_total{provider=\"fake\",reason=\"create_refused\"}", 1);
	f.create_answer = ANSWER_OK;
	f.create_effect = true;
	assert_int_equal(fake_ctl(&f, "x", "retry"), 0);
	assert_true(fake_until(&f, "x", S_RUNNING, MINUTE_US));
	is("gpu_sessions_created_total" OF, 2);
	assert_int_equal(fake_ctl(&f, "x", "done"), 0);
	assert_true(fake_until(&f, "x", S_STOPPED, MINUTE_US));
	is("gpu_sessions_destroyed_total{provider=\"fake\",reason=\"done\"}", 1);
}

static void logins_that_do_not_work(void **state)
{
	(void)state;
	f.probe_verdict = PROBE_NOT_YET;
	make("x", SPEC);
	while (f.probes < 3)
		fake_step(&f);
	is("gpu_ssh_verify_errors_by_type{provider=\"fake\",error_type=\"no_answer\"}", 3);
	f.probe_verdict = PROBE_LOGIN_REFUSED;
	while (f.probes < 5)
		fake_step(&f);
	is("gpu_ssh_verify_errors_by_type{provider=\"fake\",error_type=\"key_refused\"}", 2);
	f.probe_verdict = PROBE_OK;
	assert_true(fake_until(&f, "x", S_RUNNING, MINUTE_US));
	is("gpu_ssh_verify_attempts_sum" OF, 6);
	is("gpu_ssh_verify_duration_seconds_count" OF, 1);
	assert_true(value("gpu_ssh_verify_duration_seconds_sum" OF) >= 2 * SECOND_US);
	f.probe_verdict = PROBE_HOST_KEY;
	assert_int_equal(fake_ctl(&f, "x", "probe"), 0);
	fake_run(&f, SECOND_US);
	is("gpu_ssh_verify_errors_by_type{provider=\"fake\",error_type=\"host_key\"}", 1);
	is("gpufs_alarms", 1);
	/* A login that works later verifies nothing anew. */
	f.probe_verdict = PROBE_OK;
	assert_int_equal(fake_ctl(&f, "x", "probe"), 0);
	fake_run(&f, SECOND_US);
	is("gpu_ssh_verify_attempts_count" OF, 1);
	is("gpufs_alarms", 0);
}

static void ssh_that_never_works(void **state)
{
	(void)state;
	f.probe_verdict = PROBE_NOT_YET;
	make("x", SPEC);
	assert_true(fake_until(&f, "x", S_FAILED, 30 * MINUTE_US));
	is("gpu_ssh_verify_failures_total" OF, 1);
	is("gpu_sessions_destroyed_total{provider=\"fake\",reason=\"ssh_timeout\"}", 1);
	assert_int_equal(value("gpu_ssh_verify_attempts_count" OF), UNKNOWN);
}

static void orders_to_destroy_that_fail(void **state)
{
	int64_t failed;

	(void)state;
	make_running("x");
	f.destroy_answer = ANSWER_LATER;
	f.destroy_effect = false;
	assert_int_equal(fake_rmdir(&f, "x"), 0);
	fake_run(&f, 20 * MINUTE_US);
	failed = value("gpu_destroy_failures_total" OF);
	assert_true(failed >= 3 * 1000000 && failed == (int64_t)f.destroys * 1000000);
	assert_int_equal(value("gpufs_sessions_stopping_longest_seconds"),
			 f.now_us - fake_get(&f, "x")->state_us);
	is("gpufs_alarms", 1);
	gauges_equal_the_sessions();
	f.destroy_answer = ANSWER_OK;
	f.destroy_effect = true;
	assert_true(fake_until(&f, "x", S_STOPPED, 10 * MINUTE_US));
	assert_int_equal(value("gpu_destroy_failures_total" OF), failed);
	is("gpufs_alarms", 0);
}

static void a_machine_that_was_lost(void **state)
{
	(void)state;
	make_running("x");
	assert_int_equal(value("gpu_reconciliation_mismatches_total" OF), UNKNOWN);
	f.machines[0].alive = false;
	f.machines[0].died_us = f.now_us;
	assert_true(fake_until(&f, "x", S_STOPPED, 30 * MINUTE_US));
	is("gpu_ghosts_detected_total" OF, 1);
	assert_true(value("gpu_reconciliation_mismatches_total" OF) >= 2 * 1000000);
	is("gpu_sessions_destroyed_total{provider=\"fake\",reason=\"lost\"}", 1);
	is("gpufs_burn_rate_usd_per_hour", 0);
}

static void a_normal_end_is_no_mismatch(void **state)
{
	(void)state;
	make_running("x");
	fake_run(&f, 20 * MINUTE_US);
	assert_int_equal(fake_rmdir(&f, "x"), 0);
	assert_true(fake_until(&f, "x", S_STOPPED, 10 * MINUTE_US));
	fake_run(&f, 20 * MINUTE_US);
	assert_int_equal(value("gpu_reconciliation_mismatches_total" OF), UNKNOWN);
	assert_int_equal(value("gpu_ghosts_detected_total" OF), UNKNOWN);
}

static void a_machine_without_a_session(void **state)
{
	struct machine *o = fake_plant(&f, "01234567-89ab-4def-8123-456789abcdef", 1);
	int64_t lists;

	(void)state;
	fake_run(&f, 30 * MINUTE_US);
	is("gpu_orphans_detected_total" OF, 1); /* seen by many lists, found once */
	is("gpufs_alarms", 1);
	lists = value("gpu_reconciliation_mismatches_total" OF);
	assert_true(lists > 2 * 1000000);
	o->alive = false;
	fake_run(&f, 30 * MINUTE_US);
	assert_int_equal(value("gpu_reconciliation_mismatches_total" OF), lists);
	is("gpu_orphans_detected_total" OF, 1);
}

static void a_create_that_was_lost_and_found(void **state)
{
	(void)state;
	f.create_answer = ANSWER_LOST;
	make("x", SPEC);
	assert_true(fake_until(&f, "x", S_RUNNING, 5 * MINUTE_US));
	is("gpu_reconciliation_mismatches_total" OF, 1);
	is("gpu_provider_api_errors_total{provider=\"fake\",operation=\"create\"}", 1);
}

static void the_hard_maximum(void **state)
{
	(void)state;
	make("x", "offer=fake-1 hours=12\n");
	assert_true(fake_until(&f, "x", S_RUNNING, MINUTE_US));
	make_running("y"); /* two hours: an expiry and no more */
	assert_true(fake_until(&f, "y", S_STOPPED, 3 * HOUR_US));
	assert_int_equal(value("gpu_hard_max_enforced_total" OF), UNKNOWN);
	is("gpu_sessions_destroyed_total{provider=\"fake\",reason=\"expired\"}", 1);
	assert_true(fake_until(&f, "x", S_STOPPED, 12 * HOUR_US));
	is("gpu_hard_max_enforced_total" OF, 1);
}

static void a_resurrection_ends_one_session(void **state)
{
	(void)state;
	make_running("x");
	assert_int_equal(fake_rmdir(&f, "x"), 0);
	assert_true(fake_until(&f, "x", S_STOPPED, MINUTE_US));
	f.machines[0].alive = true;
	assert_true(fake_until(&f, "x", S_STOPPING, 20 * MINUTE_US));
	gauges_equal_the_sessions();
	assert_true(fake_until(&f, "x", S_STOPPED, 10 * MINUTE_US));
	is("gpu_sessions_destroyed_total{provider=\"fake\",reason=\"destroyed\"}", 1);
}

static void after_a_crash_gauges_are_right_and_counters_begin_anew(void **state)
{
	(void)state;
	make_running("x");
	make("y", SPEC);
	assert_true(fake_until(&f, "y", S_PROVISIONING, MINUTE_US));
	f.probe_verdict = PROBE_NOT_YET;
	fake_run(&f, 100000);
	metrics_free(m);
	m = NULL;
	fake_crash(&f);
	attach();
	gauges_equal_the_sessions();
	active_is(S_RUNNING, 1);
	assert_int_equal(value("gpu_sessions_created_total" OF), UNKNOWN);
	f.probe_verdict = PROBE_OK;
	assert_true(fake_until(&f, "y", S_RUNNING, 5 * MINUTE_US));
	active_is(S_RUNNING, 2);
	is("gpu_provisioning_duration_seconds_count" OF, 1);
}

/* ---- random lives ---- */

struct sample {
	char series[160];
	int64_t v;
};

/* Every counter of the text, and that it did not shrink since the last look. */
static void counters_only_grow(struct sample *samples, size_t *count, size_t max)
{
	bool counter = false;

	value("x"); /* scrapes */
	for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
		char *space = strrchr(line, ' ');
		size_t i = 0;

		if (!strncmp(line, "# TYPE ", 7))
			counter = strcmp(space, " gauge") != 0;
		if (*line == '#')
			continue;
		assert_int_not_equal(space[1], '-');
		if (!counter)
			continue;
		*space = '\0';
		while (i < *count && strcmp(samples[i].series, line))
			i++;
		if (i == *count) {
			assert_true(*count < max);
			COPY(samples[i].series, line);
			samples[(*count)++].v = 0;
		}
		int64_t v = (int64_t)(strtod(space + 1, NULL) * 1e6);
		assert_true(v >= samples[i].v);
		samples[i].v = v;
	}
}

/* Whatever happens: gauges equal the sessions, counters grow, and bought - ended = living. */
static void whatever_happens(void **state)
{
	static struct sample samples[512];
	static const char *const verbs[] = {"done", "destroy", "retry", "probe", "extend 10m"};
	size_t count = 0;
	char name[16];

	(void)state;
	for (int i = 0; i < 600; i++) {
		uint32_t r;

		f.w.random(&f, &r, sizeof r);
		snprintf(name, sizeof name, "s%u", r % 5);
		f.create_answer = r >> 8 & 1 ? ANSWER_OK : (enum fake_answer)(r >> 9 & 3);
		f.create_effect = f.create_answer == ANSWER_OK || f.create_answer == ANSWER_LOST;
		f.look_answer = r >> 12 & 3 ? ANSWER_OK : ANSWER_LOST;
		f.list_answer = r >> 14 & 3 ? ANSWER_OK : ANSWER_LATER;
		f.destroy_answer = r >> 16 & 3 ? ANSWER_OK : ANSWER_LATER;
		f.probe_verdict = (enum probe_verdict)(r >> 18 & 3);
		if (f.machine_count > MACHINES_MAX - 4)
			break;
		if (!engine_by_name(f.e, name)) {
			fake_mkdir(&f, name);
			fake_spec(&f, name,
				  r >> 20 & 1 ? SPEC : "max_price=0.55 hours=1 retries=2\n");
		} else if (r >> 21 & 1) {
			fake_ctl(&f, name, verbs[(r >> 22) % ARRAY_LEN(verbs)]);
		} else {
			fake_rmdir(&f, name);
		}
		fake_run(&f, (int64_t)(r >> 24) * SECOND_US);
		gauges_equal_the_sessions();
		counters_only_grow(samples, &count, ARRAY_LEN(samples));
	}
	int64_t bought = 0, ended = 0, living = 0;
	for (size_t i = 0; i < count; i++) {
		bought += strstr(samples[i].series, "gpu_sessions_created_total") ? samples[i].v
										  : 0;
		ended += strstr(samples[i].series, "gpu_sessions_destroyed_total") ? samples[i].v
										   : 0;
	}
	for (int history = 0; history < 2; history++)
		for (const struct session *s = NULL;
		     (s = engine_next(f.e, s ? s->serial : 0, history));)
			living += s->state != S_DRAFT && s->state != S_STOPPED &&
				  s->state != S_FAILED;
	assert_true(bought >= 10 * 1000000);
	assert_int_equal(bought - ended, living * 1000000);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, begin, end)
	const struct CMUnitTest tests[] = {
		T(a_whole_life_is_counted_once),
		T(calls_and_answers),
		T(an_offer_that_left_is_no_call),
		T(a_purchase_that_waits_has_no_provider),
		T(a_retry_of_what_failed_is_bought_again),
		T(logins_that_do_not_work),
		T(ssh_that_never_works),
		T(orders_to_destroy_that_fail),
		T(a_machine_that_was_lost),
		T(a_normal_end_is_no_mismatch),
		T(a_machine_without_a_session),
		T(a_create_that_was_lost_and_found),
		T(the_hard_maximum),
		T(a_resurrection_ends_one_session),
		T(after_a_crash_gauges_are_right_and_counters_begin_anew),
		T(whatever_happens),
	};

	return cmocka_run_group_tests_name("engine_metrics", tests, NULL, NULL);
}
