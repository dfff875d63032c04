/*
 * A session at a provider like the clouds, in the virtual world: what it costs in calls, keys that are
 * attached, boots that are watched by lists, statuses and what they cost, creates that wait their turn,
 * prices that surprise, lists that lag or lie.
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

static int begin(void **state)
{
	(void)state;
	fake_init(&f);
	fake_cloudlike(&f);
	fake_start(&f);
	return 0;
}

static int end(void **state)
{
	(void)state;
	assert_int_equal(f.double_creates, 0);
	fake_free(&f);
	return 0;
}

static void make(const char *name, const char *spec)
{
	assert_int_equal(fake_mkdir(&f, name), 0);
	assert_int_equal(fake_spec(&f, name, spec), 0);
}

/* Each with an offer of its own: the market shows one that was bought no more. */
static void make_running(const char *name)
{
	make(name, "max_price=2 hours=2\n");
	assert_true(fake_until(&f, name, S_RUNNING, 2 * MINUTE_US));
}

static bool alarmed(const char *what, const char *subject)
{
	BUF alarms = {0};
	BUF row = {0};

	engine_alarms(f.e, &alarms);
	buf_printf(&row, "\t%s\t%s\t", what, subject);
	return alarms.data && strstr(alarms.data, row.data);
}

static enum err cause(const char *name)
{
	return end_cause_err((enum end_cause)fake_get(&f, name)->end_cause);
}

static struct machine *machine_of(const char *name)
{
	struct machine *m = fake_machine(&f, fake_get(&f, name)->label);

	assert_non_null(m);
	return m;
}

/* Our books against the cloud's meter: within 1 % or so many seconds of its price. */
static void books_are_right(const char *name, int64_t seconds)
{
	const struct session *s = fake_get(&f, name);
	int64_t meter = fake_meter_u6(&f, s->id), books = session_cost_u6(s, f.now_us);
	int64_t most = cost_of(f.price_u6, seconds * SECOND_US) + 1;

	if (most < meter / 100)
		most = meter / 100;
	if (books < meter - most || books > meter + most)
		fail_msg("%s: books %lld, meter %lld", name, (long long)books, (long long)meter);
}

static void ends_well(const char *name)
{
	assert_int_equal(fake_rmdir(&f, name), 0);
	assert_true(fake_until(&f, name, S_STOPPED, 5 * MINUTE_US));
	assert_true(engine_proven(fake_get(&f, name)));
}

/* ---- what a session costs ---- */

static void a_life_costs_five_calls(void **state)
{
	(void)state;
	make_running("x");
	assert_int_equal(fake_get(&f, "x")->attached, 1);
	fake_run(&f, 40 * MINUTE_US);
	assert_int_equal(f.looks, 0); /* a running session costs nothing of its own */
	books_are_right("x", 10);
	ends_well("x");
	fake_run(&f, 30 * MINUTE_US);
	assert_int_equal(f.creates, 1);
	assert_int_equal(f.attaches, 1);
	assert_int_equal(f.destroys, 1);
	assert_int_equal(f.looks, 2); /* the proof, and the late look */
	books_are_right("x", 10);
	assert_int_equal(fake_alive(&f), 0);
}

static void lists_serve_everything_that_boots(void **state)
{
	unsigned one, ten;
	char name[8];

	(void)state;
	f.offers = 16;
	f.boot_us = 5 * MINUTE_US;
	fake_run(&f, 10 * MINUTE_US);
	f.lists = 0;
	make("one", "max_price=2 hours=2\n");
	assert_true(fake_until(&f, "one", S_RUNNING, 6 * MINUTE_US));
	one = f.lists;
	assert_in_range(one, 30, 60); /* from every 2 s to every 10 s */
	fake_run(&f, 10 * MINUTE_US);
	f.lists = 0;
	for (int i = 0; i < 10; i++) {
		snprintf(name, sizeof name, "n%d", i);
		make(name, "max_price=2 hours=2\n");
	}
	for (int i = 0; i < 10; i++) {
		snprintf(name, sizeof name, "n%d", i);
		assert_true(fake_until(&f, name, S_RUNNING, 6 * MINUTE_US));
	}
	ten = f.lists;
	assert_in_range(ten, one - 10, one + 20);
	assert_int_equal(f.looks, 0);
}

/* From the machine's readiness to `running` it takes a login, whatever lists say. */
static void running_within_a_second(void **state)
{
	(void)state;
	f.boot_us = 3 * MINUTE_US;
	make("x", SPEC);
	assert_true(fake_until(&f, "x", S_RUNNING, 4 * MINUTE_US));
	assert_in_range(f.now_us - machine_of("x")->boots_us, 0, SECOND_US);
	assert_int_equal(session_rate_u6(fake_get(&f, "x")),
			 f.price_u6); /* before a list says so */
}

static void lists_that_lag(void **state)
{
	(void)state;
	f.list_lag_us = 2 * MINUTE_US;
	make("x", SPEC);
	assert_true(fake_until(&f, "x", S_RUNNING, 5 * MINUTE_US));
	assert_in_range(f.looks, 1, 10); /* known and not listed: asked for directly, seldom */
	fake_run(&f, 20 * MINUTE_US);
	books_are_right("x", 10);
	f.looks = 0;
	ends_well("x");
	assert_in_range(f.looks, 1, 3);
	fake_run(&f, 30 * MINUTE_US);
	assert_int_equal(f.destroys, 1);
	assert_false(alarmed("late", fake_get(&f, "x")->label));
	books_are_right("x", 10);
}

/* ---- keys ---- */

static void both_keys_are_attached(void **state)
{
	(void)state;
	make("x", "offer=fake-1 hours=2 ssh_public_key='ssh-ed25519 "
		  "AAAAC3NzaC1lZDI1NTE5AAAAIJ0xTJdR2xT4Jd8vvYqAqvFWGZIL0Gk0bXH0mJrrl6Ch me'\n");
	assert_true(fake_until(&f, "x", S_RUNNING, 2 * MINUTE_US));
	fake_run(&f, MINUTE_US);
	assert_int_equal(fake_get(&f, "x")->attached, 2);
	assert_int_equal(machine_of("x")->keys, 2);
	fake_crash(&f);
	fake_run(&f, 20 * MINUTE_US);
	assert_int_equal(f.attaches, 2); /* it is on record */
}

static void a_key_that_is_not_taken_is_tried_again(void **state)
{
	(void)state;
	f.attach_answer = ANSWER_LATER;
	make("x", SPEC);
	fake_run(&f, 5 * MINUTE_US);
	assert_int_equal(fake_get(&f, "x")->state, S_PROVISIONING);
	assert_in_range(f.attaches, 10, 25); /* from 2 s to every 30 s */
	f.attach_answer = ANSWER_OK;
	assert_true(fake_until(&f, "x", S_RUNNING, MINUTE_US));
}

static void a_new_attempt_has_its_own_keys(void **state)
{
	(void)state;
	make("x", "max_price=2 hours=2 retries=1 retry_scope=any\n");
	assert_true(fake_until(&f, "x", S_PROVISIONING, MINUTE_US));
	fake_run(&f, 4 * SECOND_US);
	assert_int_equal(fake_get(&f, "x")->attached, 1);
	fake_force(&f, machine_of("x"), INST_BROKEN);
	assert_true(fake_until(&f, "x", S_RUNNING, 5 * MINUTE_US));
	assert_int_equal(fake_get(&f, "x")->attempt, 2);
	assert_int_equal(f.attaches, 2);
	assert_int_equal(fake_alive(&f), 1);
	books_are_right("x", 20);
}

/* The market was not seen whole yet: a retry asks for its model before it fails. */
static void a_retry_asks_the_market_first(void **state)
{
	(void)state;
	f.offers = 1;
	fake_run(&f, HOUR_US);
	make("x", "max_price=2 hours=2 retries=1\n");
	assert_true(fake_until(&f, "x", S_PROVISIONING, MINUTE_US));
	fake_run(&f, 4 * SECOND_US);
	fake_force(&f, machine_of("x"), INST_BROKEN);
	while (!strstr(fake_get(&f, "x")->reason, "asking the provider for more"))
		fake_step(&f);
	f.offers = 3;
	assert_true(fake_until(&f, "x", S_RUNNING, 2 * MINUTE_US));
	assert_int_equal(fake_get(&f, "x")->attempt, 2);
	f.offers = 1; /* and where there is none, it fails within its time */
	assert_int_equal(fake_rmdir(&f, "x"), 0);
	fake_run(&f, HOUR_US);
	make("z", "max_price=2 hours=2 retries=1\n");
	assert_true(fake_until(&f, "z", S_PROVISIONING, MINUTE_US));
	fake_run(&f, 4 * SECOND_US);
	fake_force(&f, machine_of("z"), INST_BROKEN);
	assert_true(fake_until(&f, "z", S_FAILED, 3 * MINUTE_US));
	assert_int_equal(cause("z"), ERR_NO_MATCH);
}

/* ---- boots ---- */

static void a_boot_that_failed_is_seen_twice(void **state)
{
	(void)state;
	f.boot_us = 5 * MINUTE_US;
	make("x", SPEC);
	fake_run(&f, 10 * SECOND_US);
	fake_force(&f, machine_of("x"), INST_BROKEN);
	f.lists = 0;
	while (f.lists < 1)
		fake_step(&f);
	fake_run(&f, 60000);
	fake_force(&f, machine_of("x"), 0); /* a restart: it was said once */
	fake_run(&f, MINUTE_US);
	assert_int_equal(fake_get(&f, "x")->attempt_cause, END_NONE);
	fake_force(&f, machine_of("x"), INST_STOPPED);
	assert_true(fake_until(&f, "x", S_FAILED, 2 * MINUTE_US));
	assert_true(strstr(fake_get(&f, "x")->reason, "boot failed") != NULL);
	assert_int_equal(cause("x"), ERR_TIMED_OUT);
	assert_int_equal(fake_alive(&f), 0);
	books_are_right("x", 10);
}

static void what_the_provider_says_is_kept(void **state)
{
	BUF log = {0};
	const struct session *s;

	(void)state;
	make("x", SPEC);
	fake_run(&f, 5 * SECOND_US);
	s = fake_get(&f, "x");
	assert_string_equal(s->reason, "pulling the image");
	assert_true(fake_until(&f, "x", S_RUNNING, MINUTE_US));
	fake_run(&f, MINUTE_US);
	engine_provider_log(f.e, s, &log);
	assert_non_null(log.data);
	assert_non_null(strstr(log.data, "Z pulling the image\n"));
	assert_null(strstr(strchr(log.data, '\n') + 1, "pulling")); /* the same again is no news */
	assert_string_equal(s->ports, "8000 198.51.100.7 40123\n");
	assert_string_equal(s->ssh_host, "192.0.2.0");
}

/* ---- price ---- */

static void a_price_above_the_cap_is_not_paid(void **state)
{
	(void)state;
	f.charge_u6 = f.price_u6 * 2;
	make("x", SPEC);
	assert_true(fake_until(&f, "x", S_FAILED, 5 * MINUTE_US));
	assert_string_equal(fake_get(&f, "x")->reason,
			    "charged 1.00 an hour, more than the cap 0.525");
	assert_int_equal(cause("x"), ERR_NO_MATCH);
	assert_int_equal(fake_alive(&f), 0);
	fake_run(&f, 20 * MINUTE_US);
	books_are_right("x", 20);
}

static void rounding_is_no_surprise(void **state)
{
	(void)state;
	f.charge_u6 = f.price_u6 + f.price_u6 * 5 / 100 + 1;
	make_running("x");
}

static void a_price_raised_later_is_told(void **state)
{
	(void)state;
	make_running("x");
	fake_run(&f, 20 * MINUTE_US);
	fake_force(&f, machine_of("x"), 0); /* reads the meter */
	machine_of("x")->price_u6 = 3 * f.price_u6;
	machine_of("x")->price_u6 *= 2; /* above 2 USD */
	fake_run(&f, 6 * MINUTE_US);
	assert_int_equal(fake_get(&f, "x")->state, S_RUNNING);
	assert_true(alarmed("price", "x"));
	assert_int_equal(fake_get(&f, "x")->price_u6, 6 * f.price_u6);
	fake_crash(&f);
	fake_run(&f, 10 * MINUTE_US);
	assert_int_equal(fake_get(&f, "x")->state, S_RUNNING);
	ends_well("x");
	assert_false(alarmed("price", "x"));
}

/* The first list that tells its price tells it since the create. */
static void what_boots_has_only_booted_so_far(void **state)
{
	const struct session *s;

	(void)state;
	f.list_lag_us = 15 * SECOND_US;
	f.boot_us = 5 * MINUTE_US;
	make("x", SPEC);
	s = fake_get(&f, "x");
	fake_run(&f, 10 * SECOND_US);
	assert_int_equal(session_rate_u6(s), f.price_u6); /* nothing is known yet: as quoted */
	fake_run(&f, 15 * SECOND_US);
	assert_int_equal(session_rate_u6(s), f.price_u6 / 10);
	assert_int_equal(session_cost_u6(s, f.now_us),
			 cost_of(f.price_u6 / 10, f.now_us - s->asked_us));
}

/* ---- statuses of what ran ---- */

static void stopped_in_the_console_is_not_destroyed(void **state)
{
	int64_t cost;

	(void)state;
	make_running("x");
	fake_run(&f, 20 * MINUTE_US);
	fake_force(&f, machine_of("x"), INST_STOPPED);
	fake_run(&f, 20 * MINUTE_US);
	assert_int_equal(fake_get(&f, "x")->state, S_RUNNING);
	assert_true(alarmed("stopped", "x"));
	assert_non_null(strstr(fake_get(&f, "x")->reason, "stopped"));
	assert_int_equal(session_rate_u6(fake_get(&f, "x")), f.price_u6 / 10);
	cost = session_cost_u6(fake_get(&f, "x"), f.now_us);
	assert_int_equal(session_cost_u6(fake_get(&f, "x"), f.now_us + HOUR_US) - cost,
			 f.price_u6 / 10);
	fake_force(&f, machine_of("x"), 0);
	fake_run(&f, 6 * MINUTE_US);
	assert_false(alarmed("stopped", "x"));
	assert_string_equal(fake_get(&f, "x")->reason, "running again");
	assert_int_equal(f.destroys, 0);
	books_are_right("x", 10 * 60); /* a change is seen with the next list */
}

static void an_interruptible_one_is_preempted(void **state)
{
	(void)state;
	f.bids = true;
	fake_run(&f, 6 * MINUTE_US);
	make("x", "offer=fake-1 hours=2 interruptible=1 bid=0.6\n");
	assert_true(fake_until(&f, "x", S_RUNNING, MINUTE_US));
	assert_int_equal(fake_get(&f, "x")->bid_u6, 600000);
	fake_run(&f, 20 * MINUTE_US);
	fake_force(&f, machine_of("x"), INST_STOPPED);
	assert_true(fake_until(&f, "x", S_STOPPED, 10 * MINUTE_US));
	assert_string_equal(fake_get(&f, "x")->reason, "preempted");
	assert_int_equal(cause("x"), ERR_LOST);
	assert_false(alarmed("stopped", "x"));
	assert_int_equal(fake_alive(&f), 0);
}

static void offline_is_waited_for(void **state)
{
	(void)state;
	make_running("x");
	fake_run(&f, 10 * MINUTE_US);
	fake_force(&f, machine_of("x"), INST_OFFLINE);
	fake_run(&f, 10 * MINUTE_US);
	assert_false(alarmed("offline", "x"));
	fake_run(&f, 15 * MINUTE_US);
	assert_true(alarmed("offline", "x"));
	assert_int_equal(session_rate_u6(fake_get(&f, "x")), 0);
	assert_int_equal(fake_get(&f, "x")->state, S_RUNNING);
	fake_force(&f, machine_of("x"), 0);
	fake_run(&f, 6 * MINUTE_US);
	assert_false(alarmed("offline", "x"));
	assert_int_equal(f.destroys, 0);
}

static void the_address_may_move(void **state)
{
	(void)state;
	make_running("x");
	f.machines[1] = f.machines[0]; /* the same machine, told at another address */
	f.machines[0] = (struct machine){.label = "moved", .id = "moved"};
	f.machine_count = 2;
	fake_run(&f, 6 * MINUTE_US);
	assert_string_equal(fake_get(&f, "x")->ssh_host, "192.0.2.1");
	assert_string_equal(fake_get(&f, "x")->host_key, "ssh-ed25519 HOSTKEY");
	assert_int_equal(fake_get(&f, "x")->state, S_RUNNING);
}

/* ---- creates that wait their turn ---- */

static void removed_while_waiting_for_its_turn(void **state)
{
	(void)state;
	f.queue_us = MINUTE_US;
	make("x", SPEC);
	fake_run(&f, 10 * SECOND_US);
	assert_int_equal(fake_rmdir(&f, "x"), 0);
	assert_true(fake_until(&f, "x", S_FAILED, 2 * MINUTE_US));
	assert_int_equal(f.creates, 0);
	assert_int_equal(f.withdrawn, 1);
	assert_int_equal(fake_get(&f, "x")->creates, 0);
	assert_int_equal(session_cost_u6(fake_get(&f, "x"), f.now_us + HOUR_US), 0);
	assert_string_equal(fake_get(&f, "x")->reason, "destroyed by alice");
}

static void its_time_begins_when_it_is_sent(void **state)
{
	int64_t asked;

	(void)state;
	f.queue_us = MINUTE_US;
	asked = f.now_us;
	make("x", SPEC);
	assert_true(fake_until(&f, "x", S_RUNNING, 3 * MINUTE_US));
	assert_true(fake_get(&f, "x")->asked_us >= asked + MINUTE_US);
	assert_int_equal(fake_get(&f, "x")->bought_us, fake_get(&f, "x")->asked_us);
	assert_int_equal(fake_get(&f, "x")->expires_us, fake_get(&f, "x")->asked_us + 2 * HOUR_US);
	books_are_right("x", 10);
}

static void an_offer_that_left_while_waiting(void **state)
{
	(void)state;
	f.queue_us = 2 * MINUTE_US;
	make("x", SPEC);
	fake_run(&f, SECOND_US);
	f.offers = 0;
	assert_true(fake_until(&f, "x", S_FAILED, 40 * MINUTE_US));
	assert_int_equal(f.creates, 0);
	assert_non_null(strstr(fake_get(&f, "x")->reason, "offer taken"));
	assert_int_equal(cause("x"), ERR_NO_MATCH);
}

static void switched_off_while_waiting(void **state)
{
	int before = f.answered;

	(void)state;
	f.queue_us = MINUTE_US;
	make("x", "max_price=2 hours=2 wait=60\n");
	fake_run(&f, SECOND_US);
	before = f.answered;
	engine_provider_enable(f.e, &root_user, 0, str_of("0"), fake_answered, &f);
	while (f.answered == before)
		fake_step(&f);
	fake_run(&f, 10 * MINUTE_US);
	assert_int_equal(f.creates, 0);
	assert_int_equal(fake_get(&f, "x")->state, S_PROVISIONING);
	assert_int_equal(fake_get(&f, "x")->bought_us, 0);
	engine_provider_enable(f.e, &root_user, 0, str_of("1"), fake_answered, &f);
	assert_true(fake_until(&f, "x", S_RUNNING, 15 * MINUTE_US));
	assert_int_equal(f.creates, 1);
}

static void later_is_asked_again_under_another_label(void **state)
{
	(void)state;
	f.create_answer = ANSWER_LATER;
	f.create_effect = false;
	make("x", SPEC);
	fake_run(&f, MINUTE_US);
	assert_in_range(f.creates, 3, 12);
	f.create_answer = ANSWER_OK;
	f.create_effect = true;
	assert_true(fake_until(&f, "x", S_RUNNING, 5 * MINUTE_US));
	/* The provider's throttling is not the session's time. */
	assert_int_equal(fake_get(&f, "x")->bought_us, fake_get(&f, "x")->asked_us);
}

/* However many attempts there were: only those in a row that had no effect lengthen the pause. */
static void the_pause_after_later_starts_over(void **state)
{
	int64_t attempt, told_us;
	unsigned creates;

	(void)state;
	f.offers = 4;
	fake_run(&f, 10 * MINUTE_US);
	f.create_answer = ANSWER_LATER;
	f.create_effect = false;
	make("x", "max_price=2 hours=2 retries=2\n");
	while (fake_get(&f, "x")->attempt < 8)
		fake_step(&f);
	f.create_answer = ANSWER_OK;
	f.create_effect = true;
	while (fake_get(&f, "x")->instance_state != I_EXISTS)
		fake_step(&f);
	f.create_answer = ANSWER_LATER;
	f.create_effect = false;
	creates = f.creates;
	fake_force(&f, machine_of("x"), INST_BROKEN);
	while (f.creates == creates)
		fake_step(&f);
	attempt = fake_get(&f, "x")->attempt;
	told_us = f.now_us;
	assert_true(attempt > 8);
	while (fake_get(&f, "x")->attempt == attempt)
		fake_step(&f);
	assert_true(f.now_us - told_us < 2 * SECOND_US);
	f.create_answer = ANSWER_OK;
	f.create_effect = true;
	assert_true(fake_until(&f, "x", S_RUNNING, 5 * MINUTE_US));
}

static void ten_at_once_take_ten_offers(void **state)
{
	char name[8];

	(void)state;
	f.offers = 10;
	fake_run(&f, 10 * MINUTE_US);
	f.queue_us = 10 * SECOND_US;
	for (int i = 0; i < 10; i++) {
		snprintf(name, sizeof name, "n%d", i);
		make(name, "max_price=2 hours=2\n");
	}
	fake_run(&f, 2 * MINUTE_US);
	for (int i = 0; i < 10; i++) {
		snprintf(name, sizeof name, "n%d", i);
		assert_int_equal(fake_get(&f, name)->state, S_RUNNING);
		assert_int_equal(fake_get(&f, name)->attempt, 1);
	}
	assert_int_equal(f.withdrawn, 0);
}

static void what_another_is_ordering_is_better_than_nothing(void **state)
{
	(void)state;
	f.offers = 1;
	fake_run(&f, 10 * MINUTE_US);
	f.queue_us = 10 * SECOND_US;
	make("x", "max_price=2 hours=2\n");
	make("y", "max_price=2 hours=2\n"); /* not refused: x may not get it */
	fake_run(&f, SECOND_US);
	assert_int_equal(fake_get(&f, "y")->state, S_PROVISIONING);
	assert_int_equal(fake_rmdir(&f, "x"), 0);
	assert_true(fake_until(&f, "y", S_RUNNING, 2 * MINUTE_US));
	assert_int_equal(fake_get(&f, "y")->attempt, 1);
	assert_int_equal(f.creates, 1);
}

static void an_order_that_is_over_is_not_in_the_way(void **state)
{
	(void)state;
	f.offers = 3;
	fake_run(&f, 10 * MINUTE_US);
	f.create_answer = ANSWER_LOST;
	f.create_effect = false;
	make("unsure", "max_price=2 hours=2\n");
	while (fake_get(&f, "unsure")->instance_state != I_UNSURE)
		fake_step(&f);
	f.create_answer = ANSWER_OK;
	f.create_effect = true;
	f.queue_us = 10 * SECOND_US;
	make("removed", "max_price=2 hours=2\n");
	fake_run(&f, SECOND_US);
	assert_string_equal(fake_get(&f, "removed")->offer_id, "fake-1");
	assert_int_equal(fake_rmdir(&f, "removed"), 0);
	assert_true(fake_until(&f, "removed", S_FAILED, MINUTE_US));
	make("next", "max_price=2 hours=2\n");
	fake_run(&f, SECOND_US);
	assert_string_equal(fake_get(&f, "next")->offer_id, "fake-1");
}

/* ---- refusals ---- */

static void a_dead_key_stops_purchases_and_nothing_else(void **state)
{
	(void)state;
	make_running("x");
	f.create_answer = f.list_answer = f.look_answer = ANSWER_KEY;
	f.create_effect = false;
	make("y", "max_price=2 hours=2\n");
	assert_true(fake_until(&f, "y", S_FAILED, 5 * MINUTE_US));
	assert_int_equal(cause("y"), ERR_KEY_REFUSED);
	fake_run(&f, HOUR_US);
	assert_int_equal(fake_get(&f, "x")->state, S_RUNNING);
	assert_int_equal(fake_get(&f, "x")->instance_state, I_EXISTS);
	/* Destroying goes on being tried, and nothing is thought gone. */
	f.destroy_answer = ANSWER_KEY;
	assert_int_equal(fake_rmdir(&f, "x"), 0);
	fake_run(&f, 30 * MINUTE_US);
	assert_int_equal(fake_get(&f, "x")->state, S_STOPPING);
	f.destroy_answer = f.list_answer = f.look_answer = ANSWER_OK;
	assert_true(fake_until(&f, "x", S_STOPPED, 15 * MINUTE_US));
	assert_int_equal(fake_alive(&f), 0);
}

/* A list that shows nothing, and a query that is refused for its key: nobody said gone. */
static void an_auth_error_is_never_gone(void **state)
{
	(void)state;
	make_running("x");
	f.list_empty = true;
	f.look_answer = ANSWER_KEY;
	fake_run(&f, HOUR_US);
	assert_true(f.looks > 0);
	assert_int_equal(fake_get(&f, "x")->state, S_RUNNING);
	f.destroy_answer = ANSWER_KEY;
	assert_int_equal(fake_rmdir(&f, "x"), 0);
	fake_run(&f, HOUR_US);
	assert_int_equal(fake_get(&f, "x")->state, S_STOPPING);
	assert_int_equal(fake_get(&f, "x")->delete_us, 0);
	f.list_empty = false;
	f.look_answer = f.destroy_answer = ANSWER_OK;
	assert_true(fake_until(&f, "x", S_STOPPED, 15 * MINUTE_US));
}

static void no_credit_is_said_in_the_providers_words(void **state)
{
	(void)state;
	f.create_answer = ANSWER_MONEY;
	f.create_effect = false;
	make("x", SPEC);
	assert_true(fake_until(&f, "x", S_FAILED, MINUTE_US));
	assert_string_equal(fake_get(&f, "x")->reason, "create refused: as the test wants");
	assert_int_equal(cause("x"), ERR_QUOTA);
}

/* A refusal with an id in it: something exists and costs. */
static void a_refusal_with_an_id_is_a_machine(void **state)
{
	(void)state;
	f.create_answer = ANSWER_NO;
	f.create_tells_id = true;
	make("x", SPEC);
	assert_true(fake_until(&f, "x", S_RUNNING, 2 * MINUTE_US));
	assert_int_equal(f.creates, 1);
	ends_well("x");
	assert_int_equal(fake_alive(&f), 0);
}

/* ---- unsure creates ---- */

static void void_is_proven_only_after_the_lag(void **state)
{
	int64_t asked;

	(void)state;
	f.create_answer = ANSWER_LOST;
	f.create_effect = false;
	make("x", SPEC);
	while (f.creates < 1)
		fake_step(&f);
	asked = f.now_us;
	f.create_answer = ANSWER_OK;
	f.create_effect = true;
	f.lists = 0;
	fake_run(&f, 3 * MINUTE_US);
	assert_in_range(f.lists, 15, 25); /* every 10 s for three minutes */
	assert_non_null(strstr(fake_get(&f, "x")->reason, "unknown"));
	fake_run(&f, asked + 599 * SECOND_US - f.now_us);
	assert_int_equal(f.creates, 1);
	assert_in_range(f.lists, 15, 30); /* then the normal pace */
	assert_true(fake_until(&f, "x", S_RUNNING, 2 * MINUTE_US));
	assert_int_equal(f.creates, 2);
	assert_int_equal(fake_alive(&f), 1);
}

static void an_effect_within_the_lag_is_adopted(void **state)
{
	(void)state;
	f.create_answer = ANSWER_LOST;
	f.late_us = 5 * MINUTE_US;
	make("x", SPEC);
	assert_true(fake_until(&f, "x", S_RUNNING, 12 * MINUTE_US));
	assert_int_equal(f.creates, 1);
	assert_int_equal(fake_alive(&f), 1);
}

static void an_effect_after_the_lag_is_destroyed_on_sight(void **state)
{
	const struct session *s;
	struct machine *late;

	(void)state;
	f.create_answer = ANSWER_LOST;
	f.late_us = 20 * MINUTE_US;
	make("x", SPEC);
	while (f.creates < 1)
		fake_step(&f);
	late = &f.machines[0];
	f.create_answer = ANSWER_OK;
	f.late_us = 0;
	assert_true(fake_until(&f, "x", S_RUNNING, 15 * MINUTE_US));
	s = fake_get(&f, "x");
	assert_string_not_equal(s->label, late->label);
	assert_true(late->alive);
	fake_run(&f, late->born_us + 7 * MINUTE_US - f.now_us);
	assert_false(late->alive);
	assert_true(late->died_us - late->born_us <= 6 * MINUTE_US); /* one reconciliation */
	fake_run(&f, 2 * MINUTE_US);
	assert_false(alarmed("late", late->label));
	assert_int_equal(s->state, S_RUNNING);
	assert_int_equal(fake_alive(&f), 1);
	books_are_right("x", 6 * 60); /* since when it lived only a list can tell */
	assert_true(session_cost_u6(s, f.now_us) >= fake_meter_u6(&f, s->id));
}

/* The create left before the crash, at a moment that no record tells. */
static void a_crash_while_it_waits_its_turn(void **state)
{
	(void)state;
	f.queue_us = 5 * MINUTE_US;
	make("x", SPEC);
	fake_run(&f, 4 * MINUTE_US);
	f.queue_us = 0;
	fake_crash(&f);
	fake_run(&f, 9 * MINUTE_US); /* since the record more than the lag, since the crash not */
	assert_int_equal(f.creates, 0);
	assert_true(fake_until(&f, "x", S_RUNNING, 5 * MINUTE_US));
	assert_int_equal(f.creates, 1);
}

/* ---- lists that lie ---- */

static void vanish(int from, int to)
{
	for (int i = from; i < to; i++)
		fake_kill(&f, &f.machines[i]);
}

static int running_count(void)
{
	struct status_view v;

	engine_status(f.e, &v);
	return (int)v.by_state[S_RUNNING];
}

static void make_ten(void)
{
	char name[8];

	f.offers = 16;
	fake_run(&f, 6 * MINUTE_US);
	for (int i = 0; i < 10; i++) {
		snprintf(name, sizeof name, "n%d", i);
		make(name, "max_price=2 hours=12\n");
	}
	fake_run(&f, 20 * MINUTE_US);
	assert_int_equal(running_count(), 10);
}

static void an_empty_list_decides_nothing(void **state)
{
	(void)state;
	make_ten();
	f.list_empty = true;
	fake_run(&f, HOUR_US);
	assert_int_equal(running_count(), 10);
	assert_true(alarmed("brake", "fake"));
	assert_true(f.looks >= 10); /* asked one by one */
	assert_int_equal(f.destroys, 0);
	f.list_empty = false;
	fake_run(&f, 10 * MINUTE_US);
	assert_false(alarmed("brake", "fake"));
	assert_int_equal(running_count(), 10);
}

/* The key of another account: nothing of ours is there, whomever one asks. */
static void another_account_decides_nothing(void **state)
{
	(void)state;
	f.account = "me";
	make_ten();
	f.account = "you";
	vanish(0, 10);
	fake_run(&f, 2 * HOUR_US);
	assert_int_equal(running_count(), 10);
	assert_true(alarmed("brake", "fake"));
	assert_in_range(f.lists, 0, 200);
}

/* It is still our account that says so: then they are lost, all of them. */
static void our_own_account_is_believed(void **state)
{
	(void)state;
	f.account = "me";
	make_ten();
	vanish(0, 10);
	fake_run(&f, HOUR_US);
	assert_int_equal(running_count(), 0);
	assert_int_equal(cause("n0"), ERR_LOST);
	assert_false(alarmed("brake", "fake"));
}

/* What we sent away under the brake gets its receipt: this account took the DELETE. */
static void what_was_sent_away_is_proven_under_the_brake(void **state)
{
	(void)state;
	make_ten();
	vanish(0, 10);
	fake_run(&f, 20 * MINUTE_US);
	assert_true(alarmed("brake", "fake"));
	assert_int_equal(fake_rmdir(&f, "n0"), 0);
	fake_run(&f, 30 * MINUTE_US);
	assert_true(engine_proven(engine_last(f.e, "n0", 0)));
	assert_int_equal(running_count(), 9);
}

static void four_of_ten_are_asked_for_one_by_one(void **state)
{
	(void)state;
	make_ten();
	vanish(0, 4);
	fake_run(&f, HOUR_US);
	assert_int_equal(running_count(), 6);
	assert_int_equal(cause("n0"), ERR_LOST);
	assert_false(alarmed("brake", "fake"));
}

static void three_of_ten_are_lost(void **state)
{
	(void)state;
	make_ten();
	vanish(0, 3);
	fake_run(&f, 20 * MINUTE_US);
	assert_int_equal(running_count(), 7);
	assert_int_equal(cause("n2"), ERR_LOST);
}

static void an_incomplete_list_removes_nothing(void **state)
{
	(void)state;
	make_running("x");
	make_running("y");
	f.list_cut = true;
	fake_run(&f, HOUR_US);
	assert_int_equal(running_count(), 2);
	assert_int_equal(f.looks, 0);
}

static void a_machine_that_vanished_is_proven_lost(void **state)
{
	(void)state;
	make_running("x");
	fake_run(&f, 15 * MINUTE_US);
	vanish(0, 1);
	assert_true(fake_until(&f, "x", S_STOPPED, 15 * MINUTE_US));
	assert_string_equal(fake_get(&f, "x")->reason, "instance lost");
	books_are_right("x", 6 * 60); /* until the first list without it */
}

/* Relabelled in the provider's console: its id is what counts. */
static void a_label_that_was_dropped(void **state)
{
	(void)state;
	make_running("x");
	COPY(machine_of("x")->label, "my nice machine");
	fake_run(&f, HOUR_US);
	assert_int_equal(running_count(), 1);
	assert_int_equal(f.looks, 0);
}

static void a_machine_that_is_back_is_seen_by_lists(void **state)
{
	(void)state;
	make_running("x");
	ends_well("x");
	fake_run(&f, 20 * MINUTE_US); /* after the late look */
	f.machines[0].alive = true;
	assert_true(fake_until(&f, "x", S_STOPPING, 6 * MINUTE_US));
	assert_true(fake_until(&f, "x", S_STOPPED, 5 * MINUTE_US));
	assert_true(alarmed("resurrection", "x"));
	assert_int_equal(fake_alive(&f), 0);
}

/* An accepted DELETE without effect: it is sent again, and the time until then is billed. */
static void a_delete_without_effect(void **state)
{
	(void)state;
	make_running("x");
	fake_run(&f, 10 * MINUTE_US);
	f.destroy_effect = false;
	assert_int_equal(fake_rmdir(&f, "x"), 0);
	fake_run(&f, 20 * MINUTE_US);
	assert_int_equal(fake_get(&f, "x")->state, S_STOPPING);
	f.destroy_effect = true;
	assert_true(fake_until(&f, "x", S_STOPPED, 10 * MINUTE_US));
	books_are_right("x", 10);
}

/* The provider says that it is being deleted: a while that is believed, and its bill is over. */
static void what_is_being_deleted_is_not_deleted_again_at_once(void **state)
{
	int64_t delete_us;

	(void)state;
	make_running("x");
	f.destroy_effect = false;
	assert_int_equal(fake_rmdir(&f, "x"), 0);
	fake_run(&f, SECOND_US);
	fake_force(&f, machine_of("x"), INST_STOPPING);
	delete_us = fake_get(&f, "x")->delete_us;
	assert_true(delete_us > 0);
	fake_run(&f, 40 * SECOND_US);
	assert_int_equal(f.destroys, 1);
	assert_int_equal(fake_get(&f, "x")->delete_us, delete_us);
	fake_run(&f, 5 * MINUTE_US);
	assert_true(f.destroys > 1);
	f.destroy_effect = true;
	assert_true(fake_until(&f, "x", S_STOPPED, 10 * MINUTE_US));
}

/* ---- kill -9 between any two steps ---- */

static void crash_at_every_step(void **state)
{
	bool ended = false;

	(void)state;
	for (int at = 0; at < 400 && !ended; at++) {
		fake_free(&f);
		fake_init(&f);
		fake_cloudlike(&f);
		f.queue_us = SECOND_US;
		f.boot_us = 4 * SECOND_US;
		fake_start(&f);
		make("x", SPEC);
		for (int i = 0; i < at && !ended; i++) {
			if (fake_get(&f, "x")->state == S_RUNNING)
				ended = true;
			fake_step(&f);
		}
		fake_crash(&f);
		if (!fake_until(&f, "x", S_RUNNING, 40 * MINUTE_US))
			fail_msg("crash at step %d: %s", at, fake_get(&f, "x")->reason);
		assert_int_equal(fake_alive(&f), 1);
		assert_int_equal(f.double_creates, 0);
		assert_int_equal(fake_rmdir(&f, "x"), 0);
		fake_run(&f, 30 * MINUTE_US);
		assert_int_equal(fake_alive(&f), 0);
	}
	assert_true(ended);
}

/* ---- how a machine is reached ---- */

static void offers_with(unsigned reach)
{
	f.reach = reach;
	fake_run(&f, 6 * MINUTE_US); /* a refresh */
}

/* Forwarded ports first; refused for that, the same offer is tried with an address, and no retry is used. */
static void another_way_to_be_reached(void **state)
{
	(void)state;
	f.offers = 1;
	offers_with(REACH_FORWARD | REACH_ADDRESS);
	f.reach_refused = REACH_FORWARD;
	make_running("x");
	assert_int_equal(f.creates, 2);
	assert_int_equal(fake_get(&f, "x")->reach, REACH_ADDRESS);
	assert_int_equal(fake_get(&f, "x")->attempt, 2);
	assert_string_equal(fake_get(&f, "x")->offer_id, "fake-1");
	ends_well("x");
}

/* Once each: then the offer counts as taken. */
static void no_way_to_be_reached(void **state)
{
	(void)state;
	f.offers = 1;
	offers_with(REACH_FORWARD | REACH_ADDRESS);
	f.reach_refused = REACH_FORWARD | REACH_ADDRESS;
	make("x", "max_price=2 hours=2\n");
	assert_true(fake_until(&f, "x", S_FAILED, 5 * MINUTE_US));
	assert_int_equal(f.creates, 2);
	assert_int_equal(fake_get(&f, "x")->end_cause, END_NO_OFFER);
	assert_int_equal(fake_alive(&f), 0);
}

/* Forwards that were accepted and ignored: on the host's own port somebody else may answer, so that is
 * never an address; after a minute the boot has failed. */
static void ignored_forwards_fail_fast(void **state)
{
	(void)state;
	offers_with(REACH_FORWARD);
	f.reach_ignored = REACH_FORWARD;
	make("x", "max_price=2 hours=2\n");
	fake_run(&f, MINUTE_US);
	assert_int_equal(f.creates, 1);
	assert_int_equal(f.probes, 0);
	assert_string_equal(fake_get(&f, "x")->ssh_host, "");
	assert_true(fake_until(&f, "x", S_FAILED, 5 * MINUTE_US));
	assert_non_null(strstr(fake_get(&f, "x")->reason, "not forwarded"));
	fake_run(&f, 15 * MINUTE_US);
	assert_int_equal(fake_alive(&f), 0);
}

/* With an address all ports are open: those that the spec names are shown as they are. */
static void an_address_of_its_own_has_all_ports(void **state)
{
	(void)state;
	offers_with(REACH_ADDRESS);
	f.own_ports = true;
	make("x", "max_price=2 hours=2 ports=8000,22\n");
	assert_true(fake_until(&f, "x", S_RUNNING, 2 * MINUTE_US));
	fake_run(&f, 6 * MINUTE_US); /* a list that tells it */
	assert_non_null(fake_get(&f, "x")->ports);
	assert_string_equal(fake_get(&f, "x")->ports,
			    "8000 198.51.100.7 8000\n22 198.51.100.7 22\n");
	ends_well("x");
}

#define T(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		T(a_life_costs_five_calls),
		T(lists_serve_everything_that_boots),
		T(running_within_a_second),
		T(lists_that_lag),
		T(both_keys_are_attached),
		T(a_key_that_is_not_taken_is_tried_again),
		T(a_new_attempt_has_its_own_keys),
		T(a_retry_asks_the_market_first),
		T(a_boot_that_failed_is_seen_twice),
		T(what_the_provider_says_is_kept),
		T(a_price_above_the_cap_is_not_paid),
		T(rounding_is_no_surprise),
		T(a_price_raised_later_is_told),
		T(what_boots_has_only_booted_so_far),
		T(stopped_in_the_console_is_not_destroyed),
		T(an_interruptible_one_is_preempted),
		T(offline_is_waited_for),
		T(the_address_may_move),
		T(removed_while_waiting_for_its_turn),
		T(its_time_begins_when_it_is_sent),
		T(an_offer_that_left_while_waiting),
		T(switched_off_while_waiting),
		T(later_is_asked_again_under_another_label),
		T(the_pause_after_later_starts_over),
		T(ten_at_once_take_ten_offers),
		T(what_another_is_ordering_is_better_than_nothing),
		T(an_order_that_is_over_is_not_in_the_way),
		T(a_dead_key_stops_purchases_and_nothing_else),
		T(an_auth_error_is_never_gone),
		T(no_credit_is_said_in_the_providers_words),
		T(a_refusal_with_an_id_is_a_machine),
		T(void_is_proven_only_after_the_lag),
		T(an_effect_within_the_lag_is_adopted),
		T(an_effect_after_the_lag_is_destroyed_on_sight),
		T(a_crash_while_it_waits_its_turn),
		T(an_empty_list_decides_nothing),
		T(another_account_decides_nothing),
		T(our_own_account_is_believed),
		T(what_was_sent_away_is_proven_under_the_brake),
		T(four_of_ten_are_asked_for_one_by_one),
		T(three_of_ten_are_lost),
		T(an_incomplete_list_removes_nothing),
		T(a_machine_that_vanished_is_proven_lost),
		T(a_label_that_was_dropped),
		T(a_machine_that_is_back_is_seen_by_lists),
		T(a_delete_without_effect),
		T(what_is_being_deleted_is_not_deleted_again_at_once),
		T(crash_at_every_step),
		T(another_way_to_be_reached),
		T(no_way_to_be_reached),
		T(ignored_forwards_fail_fast),
		T(an_address_of_its_own_has_all_ports),
	};

	return cmocka_run_group_tests_name("engine_cloud", tests, NULL, NULL);
}
