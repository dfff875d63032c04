/* One action from (record, observation, policy, now): the rules one by one, without a world. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "../../src/core/check.h"
#include "../../src/core/reconcile.h"

#include <cmocka.h>

#define NOW (1800000000 * SECOND_US)

static struct session s;
static struct observed o;
static const struct policy p = {.boot_timeout_us = 30 * MINUTE_US,
				.ssh_verify_timeout_us = 10 * MINUTE_US,
				.hold_grace_us = 30 * SECOND_US,
				.keep_ended_us = DAY_US,
				.history_keep_us = 400 * DAY_US};

static enum action act(void)
{
	return reconcile(&s, &o, &p, NOW).act;
}

/* A session in the middle of a two hours' life, nothing observed. */
static int begin(void **state)
{
	(void)state;
	session_init(&s);
	memset(&o, 0, sizeof o);
	s.state = S_RUNNING;
	s.state_us = s.bought_us = s.asked_us = NOW - HOUR_US;
	s.booted_us = s.running_us = NOW - HOUR_US;
	s.expires_us = NOW + HOUR_US;
	s.hard_max_us = 12 * HOUR_US;
	s.start_by_us = NOW + HOUR_US;
	s.instance_state = I_EXISTS;
	secret_set(&s.private_key, "k", 1);
	return 0;
}

static int end(void **state)
{
	(void)state;
	session_free(&s);
	return 0;
}

static void every_state_that_costs_has_a_deadline(void **state)
{
	(void)state;
	assert_int_equal(reconcile(&s, &o, &p, NOW).at_us, s.expires_us);
	s.expires_us = NOW;
	assert_int_equal(act(), ACT_END);
	assert_int_equal(reconcile(&s, &o, &p, NOW).cause, END_EXPIRED);
	s.expires_us = NOW + 20 * HOUR_US; /* whatever was extended, the hard maximum holds */
	s.bought_us = NOW - 12 * HOUR_US;
	assert_int_equal(reconcile(&s, &o, &p, NOW).cause, END_HARD_MAX);
	s.state = S_PROVISIONING;
	assert_int_equal(reconcile(&s, &o, &p, NOW).cause, END_HARD_MAX);
	s.bought_us = 0;
	s.state = S_PENDING;
	s.start_by_us = NOW;
	assert_int_equal(reconcile(&s, &o, &p, NOW).cause, END_NO_OFFER);
}

static void nothing_is_sent_before_it_is_on_disk(void **state)
{
	(void)state;
	s.state = S_PROVISIONING;
	s.instance_state = I_ASKED;
	o.may_create = o.journal_busy = true;
	assert_int_equal(act(), ACT_WAIT);
	o.journal_busy = false;
	assert_int_equal(act(), ACT_CREATE);
}

/* After a restart nobody knows whether it was sent: look, never send again. */
static void an_unknown_create_is_looked_for(void **state)
{
	(void)state;
	s.state = S_PROVISIONING;
	s.instance_state = I_ASKED;
	assert_int_equal(act(), ACT_LIST);
	s.instance_state = I_UNSURE;
	assert_int_equal(act(), ACT_LIST);
	o.lag_us = 10 * MINUTE_US;
	o.absent_us[0] = s.asked_us + 9 * MINUTE_US; /* begun before the lag was over: no proof */
	o.absent_us[1] = NOW;
	assert_int_equal(act(), ACT_LIST);
	o.absent_us[0] = s.asked_us + 11 * MINUTE_US;
	assert_int_equal(act(), ACT_VOID);
}

static void gone_needs_a_query_and_a_later_list(void **state)
{
	(void)state;
	s.state = S_STOPPING;
	assert_int_equal(act(), ACT_DESTROY);
	o.destroy_ok_us = NOW - 10;
	assert_int_equal(act(), ACT_LOOK); /* an accepted DELETE proves nothing */
	o.gone_us[1] = NOW - 20;	   /* a query from before it neither */
	assert_int_equal(act(), ACT_LOOK);
	o.gone_us[1] = NOW - 5;
	assert_int_equal(act(), ACT_LIST);
	o.absent_us[1] = NOW - 6; /* a list from before the query */
	assert_int_equal(act(), ACT_LIST);
	o.absent_us[1] = NOW - 4;
	assert_int_equal(act(), ACT_GONE);
	s.instance_state = I_GONE;
	assert_int_equal(act(), ACT_FINISH);
}

static void lost_needs_two_lists_and_two_queries(void **state)
{
	(void)state;
	o.absent_us[0] = NOW - 40;
	o.absent_us[1] = NOW - 30;
	assert_int_equal(act(), ACT_LOOK);
	o.gone_us[1] = NOW - 20;
	assert_int_equal(act(), ACT_LIST);
	o.gone_us[0] = o.gone_us[1];
	o.gone_us[1] = NOW - 10;
	assert_int_equal(act(), ACT_END);
	assert_int_equal(reconcile(&s, &o, &p, NOW).cause, END_LOST);
}

static void logins_are_tried_until_their_limit(void **state)
{
	(void)state;
	s.state = S_PROVISIONING;
	s.booted_us = NOW - MINUTE_US;
	COPY(s.ssh_host, "192.0.2.1");
	s.ssh_port = 22;
	assert_int_equal(act(), ACT_PROBE);
	o.probe_busy = true;
	o.next_look_us = NOW + SECOND_US;
	assert_int_equal(act(), ACT_WAIT);
	o.probe_ok = true;
	assert_int_equal(act(), ACT_RUNNING);
	o.probe_ok = false;
	s.booted_us = NOW - 10 * MINUTE_US;
	assert_int_equal(reconcile(&s, &o, &p, NOW).cause, END_SSH);
	s.ssh_timeout_us = 20 * MINUTE_US; /* the spec's own limit */
	assert_int_equal(act(), ACT_WAIT);
}

static void a_given_up_attempt_is_removed_before_the_next(void **state)
{
	(void)state;
	s.state = S_PROVISIONING;
	s.attempt_cause = END_BOOT;
	assert_int_equal(act(), ACT_DESTROY);
	s.instance_state = I_GONE;
	assert_int_equal(act(), ACT_NEXT_ATTEMPT);
}

static void what_ended_is_looked_at_once_more_and_kept(void **state)
{
	(void)state;
	s.state = S_STOPPED;
	s.instance_state = I_GONE;
	s.stopped_us = NOW - HOUR_US;
	s.late_look_us = NOW;
	assert_int_equal(act(), ACT_LATE_LOOK);
	o.late_look_done = true;
	assert_int_equal(act(), ACT_WAIT);
	s.stopped_us = NOW - DAY_US;
	assert_int_equal(act(), ACT_RETIRE);
	s.removed_us = NOW;
	assert_int_equal(act(), ACT_WAIT);
	s.stopped_us = NOW - 400 * DAY_US;
	assert_int_equal(act(), ACT_PURGE);
}

static void a_released_hold_has_its_grace(void **state)
{
	(void)state;
	o.hold_released_us = NOW - 29 * SECOND_US;
	assert_int_equal(act(), ACT_WAIT);
	o.hold_released_us = NOW - 30 * SECOND_US;
	assert_int_equal(reconcile(&s, &o, &p, NOW).cause, END_HOLD);
}

static void back_off_grows_to_its_limit(void **state)
{
	(void)state;
	for (unsigned n = 0; n < 40; n++) {
		int64_t low = backoff_us(SECOND_US, 5 * MINUTE_US, n, 0);
		int64_t high = backoff_us(SECOND_US, 5 * MINUTE_US, n, UINT32_MAX);

		assert_in_range(low, SECOND_US / 2, 5 * MINUTE_US);
		assert_in_range(high, low, 5 * MINUTE_US);
	}
}

#define T(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		T(every_state_that_costs_has_a_deadline),
		T(nothing_is_sent_before_it_is_on_disk),
		T(an_unknown_create_is_looked_for),
		T(gone_needs_a_query_and_a_later_list),
		T(lost_needs_two_lists_and_two_queries),
		T(logins_are_tried_until_their_limit),
		T(a_given_up_attempt_is_removed_before_the_next),
		T(what_ended_is_looked_at_once_more_and_kept),
		T(a_released_hold_has_its_grace),
		T(back_off_grows_to_its_limit),
	};

	return cmocka_run_group_tests_name("reconcile", tests, NULL, NULL);
}
