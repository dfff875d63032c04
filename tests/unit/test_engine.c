/*
 * The engine in a virtual world: every order, every deadline, and the faults that cost money. Each
 * test ends with an audit: nothing lives that nobody wants, no label was created twice.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "fake_world.h"

#include <cmocka.h>

static const char SPEC[] = "offer=fake-1 hours=2\n";

static struct fake f;

static int begin(void **state)
{
	(void)state;
	fake_init(&f);
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

static void make_running(const char *name)
{
	make(name, SPEC);
	assert_true(fake_until(&f, name, S_RUNNING, MINUTE_US));
}

static void settle_and_audit(size_t alive)
{
	fake_run(&f, 30 * MINUTE_US);
	assert_int_equal(fake_alive(&f), alive);
}

/* ---- the main job ---- */

static void a_whole_life(void **state)
{
	const struct session *s;

	(void)state;
	assert_int_equal(fake_mkdir(&f, "train"), 0);
	s = fake_get(&f, "train");
	assert_int_equal(s->state, S_DRAFT);
	assert_int_equal(f.creates, 0);
	assert_int_equal(fake_spec(&f, "train", SPEC), 0);
	assert_int_equal(fake_get(&f, "train")->state,
			 S_PENDING); /* at once, when close returned */
	assert_true(fake_until(&f, "train", S_RUNNING, MINUTE_US));
	s = fake_get(&f, "train");
	assert_int_equal(s->expires_us, s->bought_us + 2 * HOUR_US);
	assert_string_equal(s->host_key, "ssh-ed25519 HOSTKEY");
	assert_non_null(s->private_key.bytes);
	fake_run(&f, 10 * MINUTE_US);
	assert_int_equal(fake_rmdir(&f, "train"), 0);
	assert_null(engine_by_name(f.e, "train"));
	assert_true(fake_until(&f, "train", S_STOPPED, MINUTE_US));
	s = fake_get(&f, "train");
	assert_true(session_in_history(s));
	assert_null(s->private_key.bytes);
	assert_string_equal(s->reason, "destroyed by alice");
	assert_true(engine_proven(s));
	settle_and_audit(0);
	s = fake_get(&f, "train");
	/* Our books against the cloud's meter: within 10 s of the price. */
	assert_in_range(session_billed_us(s, f.now_us),
			fake_meter_us(&f, s->label) - 10 * SECOND_US,
			fake_meter_us(&f, s->label) + 10 * SECOND_US);
}

static void a_draft_costs_nothing(void **state)
{
	(void)state;
	assert_int_equal(fake_mkdir(&f, "d"), 0);
	assert_int_equal(fake_rmdir(&f, "d"), 0);
	assert_null(fake_get(&f, "d"));
	fake_run(&f, HOUR_US);
	assert_int_equal(f.creates, 0);
}

static void names_are_checked(void **state)
{
	(void)state;
	assert_int_equal(fake_mkdir(&f, ".."), -EINVAL);
	assert_int_equal(fake_mkdir(&f, "a b"), -EINVAL);
	assert_int_equal(fake_mkdir(&f, "a\x01"), -EINVAL);
	assert_int_equal(fake_mkdir(&f, ""), -EINVAL);
	assert_int_equal(fake_mkdir(&f, "x234567890123456789012345678901234567890123456789012345678"
					"901234"),
			 -ENAMETOOLONG);
	assert_int_equal(fake_mkdir(&f, "ok"), 0);
	assert_int_equal(fake_mkdir(&f, "ok"), -EEXIST);
}

static void drafts_are_bounded(void **state)
{
	char name[16];

	(void)state;
	for (int i = 0; i < DRAFTS_PER_USER_MAX; i++) {
		snprintf(name, sizeof name, "d%d", i);
		assert_int_equal(fake_mkdir(&f, name), 0);
	}
	assert_int_equal(fake_mkdir(&f, "one-more"), -EDQUOT);
}

/* ---- buying ---- */

static void refusals_of_a_purchase(void **state)
{
	static const struct {
		const char *spec;
		int err;
	} rows[] = {
		{"offer=none-such hours=2\n", -ENOENT},
		{"offer=fake-1 hours=13\n", -ERANGE},
		{"offer=fake-1 hours=0\n", -ERANGE},
		{"offer=fake-1 hours=1.5\n", -EINVAL},
		{"offer=fake-1 hours=NaN\n", -EINVAL},
		{"bogus=1\n", -EINVAL},
		{"gpu=RTX_4090 max_price=0.10 hours=2\n", -ENOSPC},
		{"offer=fake-1 max_price=0.10 hours=2\n", -ENOSPC},
		{"offer=fake-1 hours=20 override_hard_max=1\n", -EPERM},
	};

	(void)state;
	assert_int_equal(fake_mkdir(&f, "x"), 0);
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		assert_int_equal(fake_spec(&f, "x", rows[i].spec), rows[i].err);
		assert_true(f.last_why.text[0] != '\0');
		assert_int_equal(fake_get(&f, "x")->state, S_DRAFT);
	}
	fake_run(&f, HOUR_US);
	assert_int_equal(f.creates, 0);
}

static void a_refusal_at_close_is_explained(void **state)
{
	(void)state;
	assert_int_equal(fake_mkdir(&f, "x"), 0);
	assert_int_equal(fake_spec(&f, "x", "gpu=RTX_4090 max_price=0.10 hours=2\n"), -ENOSPC);
	assert_non_null(engine_session_refusal(f.e, fake_get(&f, "x")));
	assert_true(strstr(fake_get(&f, "x")->reason, "not bought") != NULL);
	assert_true(strstr(engine_session_error(f.e, fake_get(&f, "x")), "ENOSPC") != NULL);
	/* Written again, it is forgotten. */
	assert_int_equal(fake_spec(&f, "x", "hours=2\n"), 0);
	assert_null(engine_session_refusal(f.e, fake_get(&f, "x")));
}

static void an_unfinished_line_buys_nothing(void **state)
{
	(void)state;
	assert_int_equal(fake_mkdir(&f, "x"), 0);
	assert_int_equal(fake_spec(&f, "x", "offer=fake-1 hours=2"), 0);
	assert_int_equal(fake_get(&f, "x")->state, S_DRAFT);
	assert_true(strstr(fake_get(&f, "x")->reason, "unfinished") != NULL);
	fake_run(&f, HOUR_US);
	assert_int_equal(f.creates, 0);
}

static void the_cheapest_match_is_taken(void **state)
{
	(void)state;
	make("x", "gpu=RTX_4090 max_price=0.60 hours=1\n");
	assert_true(fake_until(&f, "x", S_RUNNING, MINUTE_US));
	assert_string_equal(fake_get(&f, "x")->offer_id, "fake-1");
	make("y", "gpu=RTX_3090 max_price=0.60 hours=1\n");
	assert_true(fake_until(&f, "y", S_RUNNING, MINUTE_US));
	assert_string_equal(fake_get(&f, "y")->offer_id, "fake-2");
}

static void the_same_spec_again_changes_nothing(void **state)
{
	(void)state;
	make_running("x");
	assert_int_equal(fake_spec(&f, "x", SPEC), 0);
	assert_int_equal(fake_spec(&f, "x", "offer=fake-2 hours=2\n"), -EBUSY);
	assert_int_equal(fake_ctl(&f, "x", "commit"), 0);
	assert_int_equal(f.creates, 1);
}

static void wait_makes_it_pending(void **state)
{
	(void)state;
	f.offers = 0;
	fake_run(&f, 10 * MINUTE_US);
	make("x", "gpu=RTX_4090 max_price=1 hours=1 wait=60\n");
	fake_run(&f, 20 * MINUTE_US);
	assert_int_equal(fake_get(&f, "x")->state, S_PENDING);
	assert_int_equal(fake_get(&f, "x")->bought_us, 0);
	f.offers = 1;
	assert_true(fake_until(&f, "x", S_RUNNING, 10 * MINUTE_US));
	/* And one that finds nothing in time fails, without ever asking for a machine. */
	f.offers = 0;
	fake_run(&f, 10 * MINUTE_US);
	make("y", "gpu=RTX_4090 max_price=1 hours=1 wait=5\n");
	assert_true(fake_until(&f, "y", S_FAILED, 6 * MINUTE_US));
	assert_int_equal(end_cause_err((enum end_cause)fake_get(&f, "y")->end_cause), ERR_NO_MATCH);
}

static void session_counts_are_limited(void **state)
{
	(void)state;
	f.p.max_sessions_per_user = 1;
	make_running("x");
	assert_int_equal(fake_mkdir(&f, "y"), 0);
	assert_int_equal(fake_spec(&f, "y", SPEC), -EDQUOT);
	assert_int_equal(f.creates, 1);
}

/* ---- time ---- */

static void expiry_is_exact(void **state)
{
	const struct session *s;

	(void)state;
	make_running("x");
	s = fake_get(&f, "x");
	assert_true(fake_until(&f, "x", S_STOPPING, 3 * HOUR_US));
	assert_in_range(f.now_us, s->expires_us, s->expires_us + SECOND_US);
	assert_string_equal(s->reason, "expired");
	assert_true(fake_until(&f, "x", S_STOPPED, MINUTE_US));
	assert_false(session_in_history(s)); /* ended by itself: it stays until it is removed */
	settle_and_audit(0);
	fake_run(&f, 25 * HOUR_US);
	assert_null(engine_by_name(f.e, "x"));
	assert_non_null(engine_last(f.e, "x", 1001));
}

static void extensions_never_pass_the_hard_maximum(void **state)
{
	const struct session *s;
	int64_t most;

	(void)state;
	make_running("x");
	s = fake_get(&f, "x");
	most = s->bought_us + 12 * HOUR_US;
	for (int i = 0; i < 30; i++) {
		fake_ctl(&f, "x", "extend 1h");
		s = fake_get(&f, "x");
		assert_true(s->expires_us <= most);
	}
	assert_int_equal(f.last_err, -ERANGE);
	assert_true(fake_until(&f, "x", S_STOPPING, 13 * HOUR_US));
	assert_true(f.now_us <= most + SECOND_US);
	settle_and_audit(0);
}

static void the_tick_survives_a_clock_that_steps_back(void **state)
{
	(void)state;
	make_running("x");
	f.wall_step_us -= DAY_US;
	fake_run(&f, 10 * MINUTE_US);
	assert_int_equal(fake_get(&f, "x")->state, S_RUNNING);
	assert_int_equal(fake_alive(&f), 1);
}

static void the_market_goes_on_after_a_clock_that_steps_back(void **state)
{
	const struct inventory *inv;

	(void)state;
	fake_run(&f, 10 * MINUTE_US);
	f.wall_step_us -= DAY_US;
	f.price_u6 += 100000;
	fake_run(&f, 20 * MINUTE_US);
	inv = engine_inventory(f.e);
	assert_true(inv->count > 0);
	assert_int_equal(inv->offers[0].price_u6, f.price_u6);
}

/* One that is under way when its attempt is given up neither says why nor keeps the next from trying. */
static void a_login_belongs_to_its_attempt(void **state)
{
	const struct session *s;

	(void)state;
	f.probe_us = 9 * SECOND_US;
	f.probe_verdict = PROBE_NOT_YET;
	make("x", "gpu=RTX_4090 max_price=1 hours=1 retry_scope=any\n");
	s = fake_get(&f, "x");
	for (int i = 0; i < 10000 && !s->ssh_host[0]; i++)
		fake_step(&f);
	assert_true(s->ssh_host[0]);
	fake_run(&f, SECOND_US);
	f.boot_us = 0;
	assert_int_equal(fake_ctl(&f, "x", "retry"), 0);
	while (s->attempt == 1) {
		assert_null(strstr(s->reason, "waiting for its SSH server"));
		assert_true(fake_step(&f));
	}
	f.probe_verdict = PROBE_OK;
	assert_true(fake_until(&f, "x", S_RUNNING, MINUTE_US));
	assert_int_equal(s->attempt, 2);
}

static void hold_ends_the_session_after_the_grace(void **state)
{
	(void)state;
	make_running("x");
	engine_hold(f.e, fake_get(&f, "x"), true);
	fake_run(&f, 10 * MINUTE_US);
	assert_int_equal(fake_get(&f, "x")->state, S_RUNNING);
	engine_hold(f.e, fake_get(&f, "x"), false);
	fake_run(&f, 20 * SECOND_US);
	assert_int_equal(fake_get(&f, "x")->state, S_RUNNING);
	fake_run(&f, 20 * SECOND_US);
	assert_string_equal(fake_get(&f, "x")->reason, "hold released");
	settle_and_audit(0);
}

static void a_restart_never_releases_a_hold(void **state)
{
	BUF alarms = {0};

	(void)state;
	make_running("x");
	engine_hold(f.e, fake_get(&f, "x"), true);
	fake_run(&f, SECOND_US);
	fake_crash(&f);
	fake_run(&f, 10 * MINUTE_US);
	assert_int_equal(fake_get(&f, "x")->state, S_RUNNING);
	engine_alarms(f.e, &alarms);
	assert_true(strstr(alarms.data, "hold") != NULL);
}

/* ---- ends ---- */

static void protect_refuses_every_end(void **state)
{
	int before;

	(void)state;
	make_running("x");
	before = f.answered;
	engine_protect(f.e, &alice, fake_get(&f, "x"), str_of("1"), fake_answered, &f);
	while (f.answered == before)
		fake_step(&f);
	assert_int_equal(fake_rmdir(&f, "x"), -EBUSY);
	assert_int_equal(fake_ctl(&f, "x", "destroy"), -EBUSY);
	assert_int_equal(fake_ctl(&f, "x", "done"), -EBUSY);
	fake_run(&f, MINUTE_US);
	assert_int_equal(fake_alive(&f), 1);
}

static void every_verb_in_every_state(void **state)
{
	(void)state;
	assert_int_equal(fake_mkdir(&f, "x"), 0);
	assert_int_equal(fake_ctl(&f, "x", "done"), -EBUSY);
	assert_int_equal(fake_ctl(&f, "x", "destroy"), -EBUSY);
	assert_int_equal(fake_ctl(&f, "x", "retry"), -EBUSY);
	assert_int_equal(fake_ctl(&f, "x", "probe"), -EBUSY);
	assert_int_equal(fake_ctl(&f, "x", "extend 1h"), -EBUSY);
	assert_int_equal(fake_ctl(&f, "x", "commit"), -EINVAL);
	assert_int_equal(fake_ctl(&f, "x", "frobnicate"), -EINVAL);
	assert_true(strstr(f.last_why.text, "frobnicate") != NULL);
	assert_int_equal(fake_ctl(&f, "x", "extend"), -EINVAL);
	assert_int_equal(fake_ctl(&f, "x", "done now"), -EINVAL);
	assert_int_equal(fake_spec(&f, "x", SPEC), 0);
	assert_true(fake_until(&f, "x", S_RUNNING, MINUTE_US));
	assert_int_equal(fake_ctl(&f, "x", "retry"), -EBUSY);
	assert_int_equal(fake_ctl(&f, "x", "probe"), 0);
	assert_int_equal(fake_ctl(&f, "x", "done"), 0);
	assert_int_equal(fake_ctl(&f, "x", "destroy"), 0);
	assert_true(fake_until(&f, "x", S_STOPPED, MINUTE_US));
	assert_int_equal(fake_ctl(&f, "x", "done"), -EBUSY);
	assert_int_equal(fake_ctl(&f, "x", "destroy"), 0);
	assert_int_equal(fake_ctl(&f, "x", "extend 1h"), -EBUSY);
	assert_string_equal(fake_get(&f, "x")->reason, "done");
	settle_and_audit(0);
}

static void rmdir_while_provisioning(void **state)
{
	(void)state;
	for (int i = 0; i < 40; i++) { /* at every point of the way */
		char name[16];

		snprintf(name, sizeof name, "x%d", i);
		make(name, SPEC);
		for (int k = 0; k < i; k++)
			fake_step(&f);
		if (engine_by_name(f.e, name))
			assert_int_equal(fake_rmdir(&f, name), 0);
		settle_and_audit(0);
		assert_true(engine_proven(fake_get(&f, name)));
	}
}

static void destroy_is_tried_for_ever(void **state)
{
	BUF alarms = {0};

	(void)state;
	make_running("x");
	f.destroy_answer = ANSWER_LOST;
	f.destroy_effect = false;
	assert_int_equal(fake_rmdir(&f, "x"), 0);
	fake_run(&f, HOUR_US);
	assert_int_equal(fake_get(&f, "x")->state, S_STOPPING);
	assert_true(strstr(fake_get(&f, "x")->reason, "destroyed by alice (not gone yet: ") !=
		    NULL);
	assert_true(f.destroys > 10);
	engine_alarms(f.e, &alarms);
	assert_true(strstr(alarms.data, "stopping") != NULL);
	f.destroy_answer = ANSWER_OK;
	f.destroy_effect = true;
	assert_true(fake_until(&f, "x", S_STOPPED, 10 * MINUTE_US));
	assert_string_equal(fake_get(&f, "x")->reason, "destroyed by alice");
	settle_and_audit(0);
}

/* The cloud says "deleted" and deletes nothing: only its "not found" counts. */
static void an_acknowledged_destroy_is_not_gone(void **state)
{
	(void)state;
	make_running("x");
	f.destroy_effect = false;
	assert_int_equal(fake_rmdir(&f, "x"), 0);
	fake_run(&f, 20 * MINUTE_US);
	assert_int_equal(fake_get(&f, "x")->state, S_STOPPING);
	f.destroy_effect = true;
	assert_true(fake_until(&f, "x", S_STOPPED, 10 * MINUTE_US));
	settle_and_audit(0);
}

static void a_resurrection_is_seen_and_ended(void **state)
{
	BUF alarms = {0};

	(void)state;
	make_running("x");
	assert_int_equal(fake_rmdir(&f, "x"), 0);
	assert_true(fake_until(&f, "x", S_STOPPED, MINUTE_US));
	f.machines[0].alive = true;
	fake_run(&f, 11 * MINUTE_US);
	engine_alarms(f.e, &alarms);
	assert_true(alarms.data && strstr(alarms.data, "resurrection") != NULL);
	settle_and_audit(0);
	assert_int_equal(fake_get(&f, "x")->state, S_STOPPED);
}

/* ---- lost answers, wrong lists ---- */

static void a_lost_answer_with_effect_is_found(void **state)
{
	(void)state;
	f.create_answer = ANSWER_LOST;
	make("x", SPEC);
	assert_true(fake_until(&f, "x", S_RUNNING, 5 * MINUTE_US));
	assert_int_equal(f.creates, 1);
	assert_int_equal(fake_alive(&f), 1);
}

static void a_lost_answer_without_effect_is_void(void **state)
{
	(void)state;
	f.create_answer = ANSWER_LOST;
	f.create_effect = false;
	make("x", SPEC);
	while (f.creates < 1)
		fake_step(&f);
	f.create_answer = ANSWER_OK;
	f.create_effect = true;
	assert_true(fake_until(&f, "x", S_RUNNING, 5 * MINUTE_US));
	assert_int_equal(f.creates, 2); /* under another label */
	assert_int_equal(fake_alive(&f), 1);
	assert_int_equal(fake_rmdir(&f, "x"), 0);
	settle_and_audit(0);
}

/* A provider that loses every order is asked ever more seldom, and not for ever. */
static void lost_orders_back_off(void **state)
{
	(void)state;
	f.create_answer = ANSWER_LOST;
	f.create_effect = false;
	make("x", SPEC);
	assert_true(fake_until(&f, "x", S_FAILED, HOUR_US));
	assert_in_range(f.creates, 2, 40);
	settle_and_audit(0);
}

static void a_lost_answer_then_rmdir(void **state)
{
	(void)state;
	f.create_answer = ANSWER_LOST;
	make("x", SPEC);
	fake_run(&f, 60000);
	assert_int_equal(fake_rmdir(&f, "x"), 0);
	settle_and_audit(0);
	assert_true(engine_proven(fake_get(&f, "x")));
}

/* One complete list that lost everything decides nothing. */
static void an_empty_list_changes_nothing(void **state)
{
	(void)state;
	make_running("x");
	make_running("y");
	f.list_empty = true;
	fake_run(&f, HOUR_US);
	assert_int_equal(fake_get(&f, "x")->state, S_RUNNING);
	assert_int_equal(fake_get(&f, "y")->state, S_RUNNING);
	assert_int_equal(fake_alive(&f), 2);
}

static void a_failing_list_changes_nothing(void **state)
{
	(void)state;
	make_running("x");
	f.list_answer = f.look_answer = ANSWER_LOST;
	fake_run(&f, HOUR_US);
	assert_int_equal(fake_get(&f, "x")->state, S_RUNNING);
}

static void a_lost_machine_is_proven_lost(void **state)
{
	const struct session *s;

	(void)state;
	make_running("x");
	f.machines[0].alive = false;
	f.machines[0].died_us = f.now_us;
	assert_true(fake_until(&f, "x", S_STOPPED, 30 * MINUTE_US));
	s = fake_get(&f, "x");
	assert_string_equal(s->reason, "instance lost");
	assert_int_equal(end_cause_err((enum end_cause)s->end_cause), ERR_LOST);
}

/* ---- attempts ---- */

static void a_stale_offer_is_retried_within_its_limits(void **state)
{
	(void)state;
	f.create_answer = ANSWER_STALE;
	f.create_effect = false;
	make("x", "gpu=RTX_4090 max_price=1 hours=1 retries=1 retry_scope=any\n");
	for (int i = 0; f.creates < 1 && i < 1000; i++)
		fake_step(&f);
	fake_run(&f, 10000);
	f.create_answer = ANSWER_OK;
	f.create_effect = true;
	assert_true(fake_until(&f, "x", S_RUNNING, MINUTE_US));
	assert_string_equal(fake_get(&f, "x")->offer_id, "fake-3"); /* the other RTX 4090 */
	assert_string_equal(fake_get(&f, "x")->failed_offers, "fake-1");
	assert_int_equal(fake_get(&f, "x")->attempt, 2);
}

static void a_refused_create_fails_and_costs_nothing(void **state)
{
	const struct session *s;

	(void)state;
	f.create_answer = ANSWER_NO;
	f.create_effect = false;
	make("x", SPEC);
	assert_true(fake_until(&f, "x", S_FAILED, MINUTE_US));
	s = fake_get(&f, "x");
	assert_true(strstr(s->reason, "create refused") != NULL);
	assert_int_equal(session_cost_u6(s, f.now_us + HOUR_US), 0);
	assert_true(engine_proven(s));
	/* retry starts again. */
	f.create_answer = ANSWER_OK;
	f.create_effect = true;
	assert_int_equal(fake_ctl(&f, "x", "retry"), 0);
	assert_true(fake_until(&f, "x", S_RUNNING, MINUTE_US));
}

static void ssh_that_never_answers_ends_the_attempt(void **state)
{
	(void)state;
	f.probe_verdict = PROBE_NOT_YET;
	make("x", SPEC);
	assert_true(fake_until(&f, "x", S_FAILED, 15 * MINUTE_US));
	assert_true(strstr(fake_get(&f, "x")->reason, "SSH verification timeout") != NULL);
	assert_int_equal(end_cause_err((enum end_cause)fake_get(&f, "x")->end_cause),
			 ERR_TIMED_OUT);
	settle_and_audit(0);
}

static void refused_logins_are_normal_for_minutes(void **state)
{
	(void)state;
	f.probe_verdict = PROBE_LOGIN_REFUSED;
	make("x", SPEC);
	fake_run(&f, 5 * MINUTE_US);
	assert_int_equal(fake_get(&f, "x")->state, S_PROVISIONING);
	f.probe_verdict = PROBE_OK;
	assert_true(fake_until(&f, "x", S_RUNNING, 10 * SECOND_US));
}

static void another_host_key_is_never_trusted(void **state)
{
	BUF alarms = {0};

	(void)state;
	make_running("x");
	f.probe_verdict = PROBE_HOST_KEY;
	assert_int_equal(fake_ctl(&f, "x", "probe"), 0);
	fake_run(&f, SECOND_US);
	assert_string_equal(fake_get(&f, "x")->host_key, "ssh-ed25519 HOSTKEY");
	engine_alarms(f.e, &alarms);
	assert_true(strstr(alarms.data, "host_key") != NULL);
	assert_int_equal(fake_ctl(&f, "x", "done"), 0);
	buf_reset(&alarms);
	engine_alarms(f.e, &alarms);
	assert_true(!alarms.data ||
		    !strstr(alarms.data, "host_key")); /* it ends with its machine */
}

/* ---- the disk ---- */

static void a_full_disk_buys_nothing_and_destroys(void **state)
{
	(void)state;
	make_running("x");
	assert_int_equal(fake_mkdir(&f, "y"), 0);
	f.disk_err = -ENOSPC;
	f.ballast = false;
	assert_int_equal(fake_mkdir(&f, "z"), -EIO);
	assert_null(fake_get(&f, "z"));
	assert_int_equal(fake_spec(&f, "y", SPEC), -EIO);
	fake_run(&f, MINUTE_US);
	assert_int_equal(fake_get(&f, "y")->state, S_DRAFT);
	assert_int_equal(f.creates, 1);
	/* The order to destroy is carried out; the directory stays until it is durable. */
	assert_int_equal(fake_rmdir(&f, "x"), -EIO);
	fake_run(&f, MINUTE_US);
	assert_int_equal(fake_alive(&f), 0);
	assert_non_null(engine_by_name(f.e, "x"));
	f.disk_err = 0;
	fake_run(&f, MINUTE_US);
	assert_null(engine_by_name(f.e, "x"));
	assert_int_equal(fake_get(&f, "x")->state, S_STOPPED);
}

static void the_ballast_saves_an_order_to_destroy(void **state)
{
	(void)state;
	make_running("x");
	f.disk_err = -ENOSPC;
	f.ballast = true;
	assert_int_equal(fake_rmdir(&f, "x"), 0);
	assert_null(engine_by_name(f.e, "x"));
	settle_and_audit(0);
}

static void a_slow_disk_answers_in_time_and_revokes(void **state)
{
	int64_t asked;

	(void)state;
	assert_int_equal(fake_mkdir(&f, "x"), 0);
	f.disk_delay_us = 10 * SECOND_US;
	asked = f.now_us;
	assert_int_equal(fake_mkdir(&f, "y"), 0); /* a draft: after 200 ms */
	assert_in_range(f.now_us - asked, 1, 250000);
	asked = f.now_us;
	assert_int_equal(fake_spec(&f, "x", SPEC), -EIO);
	assert_in_range(f.now_us - asked, SECOND_US, 2100000);
	fake_run(&f, MINUTE_US);
	/* The commit landed late: nothing came of it, here or after a restart. */
	assert_int_equal(fake_get(&f, "x")->state, S_DRAFT);
	fake_crash(&f);
	fake_run(&f, MINUTE_US);
	assert_int_equal(fake_get(&f, "x")->state, S_DRAFT);
	assert_int_equal(f.creates, 0);
}

static void a_rmdir_on_a_slow_disk_is_carried_out(void **state)
{
	(void)state;
	make_running("x");
	f.disk_delay_us = 10 * SECOND_US;
	assert_int_equal(fake_rmdir(&f, "x"), -EIO);
	assert_non_null(engine_by_name(f.e, "x"));
	settle_and_audit(0);
	assert_null(engine_by_name(f.e, "x"));
}

/* ---- kill -9 between any two steps ---- */

static void crash_at_every_step_of_a_life(void **state)
{
	bool ended = false;

	(void)state;
	for (int at = 0; at < 300 && !ended; at++) {
		const struct session *s;

		fake_free(&f);
		fake_init(&f);
		fake_start(&f);
		make("x", SPEC);
		for (int i = 0; i < at && !ended; i++) {
			s = fake_get(&f, "x");
			if (s->state == S_RUNNING)
				ended = true;
			fake_step(&f);
		}
		fake_crash(&f);
		s = fake_get(&f, "x");
		assert_non_null(s);
		assert_true(fake_until(&f, "x", S_RUNNING, 20 * MINUTE_US));
		assert_int_equal(fake_alive(&f), 1);
		assert_int_equal(f.double_creates, 0);
		assert_int_equal(fake_rmdir(&f, "x"), 0);
		fake_run(&f, 20 * MINUTE_US);
		assert_int_equal(fake_alive(&f), 0);
	}
	assert_true(ended);
}

static void crash_at_every_step_of_an_end(void **state)
{
	bool ended = false;

	(void)state;
	for (int at = 0; at < 300 && !ended; at++) {
		fake_free(&f);
		fake_init(&f);
		fake_start(&f);
		make_running("x");
		assert_int_equal(fake_rmdir(&f, "x"), 0);
		for (int i = 0; i < at && !ended; i++) {
			ended = fake_get(&f, "x")->state == S_STOPPED;
			fake_step(&f);
		}
		fake_crash(&f);
		assert_null(engine_by_name(f.e, "x")); /* a rmdir that returned 0 is kept */
		fake_run(&f, 30 * MINUTE_US);
		assert_int_equal(fake_alive(&f), 0);
		assert_int_equal(fake_get(&f, "x")->state, S_STOPPED);
	}
	assert_true(ended);
}

static void serials_are_never_reused(void **state)
{
	int64_t serial;

	(void)state;
	assert_int_equal(fake_mkdir(&f, "x"), 0);
	serial = fake_get(&f, "x")->serial;
	assert_int_equal(fake_rmdir(&f, "x"), 0);
	fake_run(&f, SECOND_US);
	fake_crash(&f);
	assert_int_equal(fake_mkdir(&f, "x"), 0);
	assert_true(fake_get(&f, "x")->serial > serial);
}

static void running_sessions_cost_no_calls(void **state)
{
	unsigned one, ten;

	(void)state;
	make_running("a");
	fake_run(&f, 10 * MINUTE_US);
	f.lists = f.looks = 0;
	fake_run(&f, 30 * MINUTE_US);
	one = f.lists + f.looks;
	for (char name[2] = "b"; name[0] <= 'j'; name[0]++)
		make_running(name);
	fake_run(&f, 10 * MINUTE_US);
	f.lists = f.looks = 0;
	fake_run(&f, 30 * MINUTE_US);
	ten = f.lists + f.looks;
	assert_in_range(ten, 0, one + 1);
}

static void draining_refuses_purchases(void **state)
{
	int before = f.answered;

	(void)state;
	engine_root_ctl(f.e, &root_user, str_of("drain\n"), fake_answered, &f);
	while (f.answered == before)
		fake_step(&f);
	assert_int_equal(fake_mkdir(&f, "x"), 0);
	assert_int_equal(fake_spec(&f, "x", SPEC), -EROFS);
}

static void a_rename_keeps_everything_else(void **state)
{
	int before;

	(void)state;
	make_running("x");
	before = f.answered;
	engine_rename(f.e, &alice, fake_get(&f, "x"), "y", fake_answered, &f);
	while (f.answered == before)
		fake_step(&f);
	assert_null(engine_by_name(f.e, "x"));
	assert_int_equal(fake_get(&f, "y")->state, S_RUNNING);
	fake_crash(&f);
	assert_int_equal(fake_get(&f, "y")->state, S_RUNNING);
}

static void destroy_all_ends_everything(void **state)
{
	int before;

	(void)state;
	make_running("x");
	make("y", SPEC);
	before = f.answered;
	engine_destroy_all(f.e, &root_user, fake_answered, &f);
	for (int i = 0; f.answered == before && i < 100000; i++)
		fake_step(&f);
	assert_int_equal(f.answered, before + 1);
	assert_int_equal(fake_alive(&f), 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		T(a_whole_life),
		T(a_draft_costs_nothing),
		T(names_are_checked),
		T(drafts_are_bounded),
		T(refusals_of_a_purchase),
		T(a_refusal_at_close_is_explained),
		T(an_unfinished_line_buys_nothing),
		T(the_cheapest_match_is_taken),
		T(the_same_spec_again_changes_nothing),
		T(wait_makes_it_pending),
		T(session_counts_are_limited),
		T(expiry_is_exact),
		T(extensions_never_pass_the_hard_maximum),
		T(a_login_belongs_to_its_attempt),
		T(the_tick_survives_a_clock_that_steps_back),
		T(the_market_goes_on_after_a_clock_that_steps_back),
		T(hold_ends_the_session_after_the_grace),
		T(a_restart_never_releases_a_hold),
		T(protect_refuses_every_end),
		T(every_verb_in_every_state),
		T(rmdir_while_provisioning),
		T(destroy_is_tried_for_ever),
		T(an_acknowledged_destroy_is_not_gone),
		T(a_resurrection_is_seen_and_ended),
		T(a_lost_answer_with_effect_is_found),
		T(a_lost_answer_without_effect_is_void),
		T(lost_orders_back_off),
		T(a_lost_answer_then_rmdir),
		T(an_empty_list_changes_nothing),
		T(a_failing_list_changes_nothing),
		T(a_lost_machine_is_proven_lost),
		T(a_stale_offer_is_retried_within_its_limits),
		T(a_refused_create_fails_and_costs_nothing),
		T(ssh_that_never_answers_ends_the_attempt),
		T(refused_logins_are_normal_for_minutes),
		T(another_host_key_is_never_trusted),
		T(a_full_disk_buys_nothing_and_destroys),
		T(the_ballast_saves_an_order_to_destroy),
		T(a_slow_disk_answers_in_time_and_revokes),
		T(a_rmdir_on_a_slow_disk_is_carried_out),
		T(crash_at_every_step_of_a_life),
		T(crash_at_every_step_of_an_end),
		T(serials_are_never_reused),
		T(running_sessions_cost_no_calls),
		T(draining_refuses_purchases),
		T(a_rename_keeps_everything_else),
		T(destroy_all_ends_everything),
	};

	return cmocka_run_group_tests_name("engine", tests, NULL, NULL);
}
