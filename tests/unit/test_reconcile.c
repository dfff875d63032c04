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

/* Nobody looked while gpufs was down: a machine that is ready by now is not given up for that. */
static void limits_of_a_boot_count_from_the_restart(void **state)
{
	(void)state;
	s.state = S_PROVISIONING;
	COPY(s.ssh_host, "h");
	s.ssh_port = 22;
	assert_int_equal(act(), ACT_FAIL_ATTEMPT);
	o.watched_us = NOW;
	assert_int_equal(act(), ACT_PROBE);
	o.watched_us = NOW - p.ssh_verify_timeout_us;
	assert_int_equal(act(), ACT_FAIL_ATTEMPT);
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

/* Where lists show everything the first of them says when to ask directly: one query is enough. */
static void gone_by_lists_needs_one_query(void **state)
{
	(void)state;
	s.state = S_STOPPING;
	o.by_list = true;
	o.destroy_ok_us = NOW - SECOND_US;
	o.next_list_us = NOW + SECOND_US;
	assert_int_equal(act(), ACT_WAIT);
	assert_int_equal(reconcile(&s, &o, &p, NOW).at_us, o.next_list_us);
	o.next_list_us = NOW;
	assert_int_equal(act(), ACT_LIST);
	o.absent_us[1] = NOW - 1;
	assert_int_equal(act(), ACT_LOOK);
	o.gone_us[1] = NOW;
	o.absent_us[1] = NOW - 1;
	assert_int_equal(act(), ACT_LIST);
	o.absent_us[1] = NOW + 1;
	assert_int_equal(act(), ACT_GONE);
	/* Lists that go on showing it are not waited for. */
	o.gone_us[1] = o.absent_us[1] = 0;
	o.list_busy = true;
	o.destroy_ok_us = NOW - 20 * SECOND_US;
	assert_int_equal(act(), ACT_LOOK);
}

static void boot_by_lists(void)
{
	s.state = S_PROVISIONING;
	s.booted_us = s.running_us = 0;
	s.asked_us = NOW - MINUTE_US;
	o.by_list = true;
	o.lag_us = 10 * MINUTE_US;
}

static void a_boot_is_watched_by_lists(void **state)
{
	(void)state;
	boot_by_lists();
	o.next_look_us = 0;
	assert_int_equal(act(), ACT_LIST);
	o.next_list_us = NOW + SECOND_US;
	assert_int_equal(reconcile(&s, &o, &p, NOW).at_us, o.next_list_us);
	o.absent_us[1] = NOW - SECOND_US;
	o.absent_since_us = NOW - 19 * SECOND_US;
	assert_int_equal(act(), ACT_WAIT);
	o.absent_since_us = NOW - 20 * SECOND_US;
	assert_int_equal(act(), ACT_LOOK);
	o.next_look_us = NOW + 1;
	assert_int_equal(act(), ACT_WAIT);
	/* Twice gone within the lag is no proof yet. */
	o.gone_us[0] = s.asked_us + 1;
	o.gone_us[1] = NOW - 20;
	o.absent_us[0] = NOW - 10;
	o.absent_us[1] = NOW - 5;
	assert_int_equal(act(), ACT_WAIT);
	o.absent_us[0] = s.asked_us + o.lag_us + 1;
	o.absent_us[1] = o.absent_us[0] + 1;
	assert_int_equal(act(), ACT_FAIL_ATTEMPT);
}

static void keys_are_attached_one_by_one(void **state)
{
	(void)state;
	boot_by_lists();
	COPY(s.ssh_host, "192.0.2.1");
	s.ssh_port = 22;
	o.keys = 2;
	assert_int_equal(act(), ACT_ATTACH);
	o.attach_busy = true;
	assert_int_equal(act(), ACT_PROBE); /* which does not wait for it */
	o.attach_busy = false;
	o.probe_busy = true;
	o.next_attach_us = NOW + 5;
	o.next_list_us = NOW + 9;
	assert_int_equal(reconcile(&s, &o, &p, NOW).at_us, NOW + 5);
	o.next_attach_us = 0;
	s.attached = 1;
	assert_int_equal(act(), ACT_ATTACH);
	s.state = S_RUNNING; /* the second one, when the first already worked */
	assert_int_equal(act(), ACT_ATTACH);
	s.attached = 2;
	assert_int_equal(act(), ACT_WAIT);
	s.attached = 0; /* of what ends, nothing */
	s.state = S_STOPPING;
	assert_int_equal(act(), ACT_DESTROY);
}

static void stopped_is_believed_the_second_time(void **state)
{
	(void)state;
	o.next_list_us = NOW + SECOND_US;
	o.stopped_us[1] = NOW - 5;
	assert_int_equal(reconcile(&s, &o, &p, NOW).at_us, s.expires_us);
	s.bid_u6 = 500000; /* asked again soon */
	assert_int_equal(reconcile(&s, &o, &p, NOW).at_us, o.next_list_us);
	o.stopped_us[0] = NOW - 9;
	assert_int_equal(reconcile(&s, &o, &p, NOW).cause, END_PREEMPTED);
	s.bid_u6 = UNKNOWN;
	assert_int_equal(act(), ACT_WAIT); /* on demand: nobody ordered its end */
	boot_by_lists();
	assert_int_equal(act(), ACT_FAIL_ATTEMPT);
	o.stopped_us[0] = 0;
	assert_int_equal(act(), ACT_WAIT);
}

static void a_price_above_the_cap_ends_it(void **state)
{
	(void)state;
	o.over_price = true;
	assert_int_equal(reconcile(&s, &o, &p, NOW).cause, END_PRICE);
	assert_int_equal(act(), ACT_END);
	boot_by_lists();
	o.probe_ok = true;
	assert_int_equal(act(), ACT_FAIL_ATTEMPT);
}

/* The create may have left any time before the last process ended. */
static void after_a_restart_the_lag_counts_from_there(void **state)
{
	(void)state;
	s.state = S_PROVISIONING;
	s.instance_state = I_ASKED;
	o.lag_us = 10 * MINUTE_US;
	o.sent_by_us = NOW - MINUTE_US;
	o.absent_us[0] = NOW - 3;
	o.absent_us[1] = NOW - 2;
	assert_int_equal(act(), ACT_LIST);
	o.absent_us[0] = o.sent_by_us + o.lag_us + 1;
	assert_int_equal(act(), ACT_VOID);
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
		T(limits_of_a_boot_count_from_the_restart),
		T(nothing_is_sent_before_it_is_on_disk),
		T(an_unknown_create_is_looked_for),
		T(gone_needs_a_query_and_a_later_list),
		T(lost_needs_two_lists_and_two_queries),
		T(gone_by_lists_needs_one_query),
		T(a_boot_is_watched_by_lists),
		T(keys_are_attached_one_by_one),
		T(stopped_is_believed_the_second_time),
		T(a_price_above_the_cap_ends_it),
		T(after_a_restart_the_lag_counts_from_there),
		T(logins_are_tried_until_their_limit),
		T(a_given_up_attempt_is_removed_before_the_next),
		T(what_ended_is_looked_at_once_more_and_kept),
		T(a_released_hold_has_its_grace),
		T(back_off_grows_to_its_limit),
	};

	return cmocka_run_group_tests_name("reconcile", tests, NULL, NULL);
}
