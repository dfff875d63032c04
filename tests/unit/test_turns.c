/*
 * The engine with many sessions: what one turn of the loop does is bounded and fair, nobody is forgotten,
 * doors are told once a turn what they only have to look at again, and sessions are found among many.
 * Counts of steps, never times: the clock of these tests advances when it is looked at.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "../../src/core/check.h"
#include "../../src/engine/internal.h"
#include "fake_world.h"

#include <cmocka.h>

#define SESSIONS   100
#define TURN_LIVES 10 /* looks at the clock that make a turn */

static struct fake f;
static struct door door;
static unsigned told[CH_EVENT + 1];

static void changed(struct door *d, const struct change *c)
{
	(void)d;
	told[c->kind]++;
}

static int begin(void **state)
{
	(void)state;
	memset(told, 0, sizeof told);
	fake_init(&f);
	f.p.max_sessions_per_user = 2 * SESSIONS;
	f.p.default_hours = 4;
	return 0;
}

static int end(void **state)
{
	(void)state;
	fake_free(&f);
	return 0;
}

static void start(void)
{
	fake_start(&f);
	door = (struct door){.changed = changed};
	engine_add_door(f.e, &door);
}

static const char *name_of(int i)
{
	static char name[16];

	snprintf(name, sizeof name, "s%d", i);
	return name;
}

/* So many sessions that wait for a cheaper offer than there is. */
static void wait_all(void)
{
	for (int i = 0; i < SESSIONS; i++) {
		assert_int_equal(fake_mkdir(&f, name_of(i)), 0);
		assert_int_equal(
			fake_spec(&f, name_of(i), "gpu=RTX_4090\nmax_price=0.3\nwait=600\n"), 0);
	}
	fake_run(&f, SECOND_US);
	for (int i = 0; i < SESSIONS; i++)
		assert_int_equal(fake_get(&f, name_of(i))->state, S_PENDING);
}

static size_t in_state(enum session_state state)
{
	size_t n = 0;

	for (int i = 0; i < SESSIONS; i++)
		n += fake_get(&f, name_of(i))->state == (int64_t)state;
	return n;
}

/* The most sessions that changed state in one event of the next `us`. */
static unsigned most_in_one_event(int64_t us)
{
	int64_t until = f.now_us + us;
	unsigned most = 0, before = told[CH_SESSION_STATE];

	while (f.now_us < until && fake_step(&f)) {
		most = told[CH_SESSION_STATE] - before > most ? told[CH_SESSION_STATE] - before
							      : most;
		before = told[CH_SESSION_STATE];
	}
	return most;
}

/* ---- turns ---- */

/* Without the bound one callback would choose for all of them. */
static void a_market_change_wakes_a_few_at_a_time(void **state)
{
	unsigned most;

	(void)state;
	start();
	wait_all();
	f.price_u6 = 250000;
	f.look_us = TURN_US / TURN_LIVES;
	most = most_in_one_event(5 * MINUTE_US);
	assert_in_range(most, 1, TURN_LIVES);
	assert_int_equal(in_state(S_RUNNING), SESSIONS); /* and none was forgotten */
	f.look_us = 0;
}

/* Even if one life alone is longer than a turn, each turn drives one. */
static void a_turn_drives_one_at_least(void **state)
{
	(void)state;
	start();
	wait_all();
	f.price_u6 = 250000;
	f.look_us = 10 * (int64_t)TURN_US;
	assert_int_equal(most_in_one_event(5 * MINUTE_US), 1);
	assert_int_equal(in_state(S_RUNNING), SESSIONS);
	f.look_us = 0;
}

static bool all_woken(const int64_t *states_us)
{
	for (int i = 0; i < SESSIONS; i++)
		if (fake_get(&f, name_of(i))->state_us == states_us[i])
			return false;
	return true;
}

/* First come, first served, whatever wakes the first ones again meanwhile. */
static void nobody_starves(void **state)
{
	int64_t states_us[SESSIONS];

	(void)state;
	start();
	wait_all();
	for (int i = 0; i < SESSIONS; i++)
		states_us[i] = fake_get(&f, name_of(i))->state_us;
	f.price_u6 = 250000;
	f.look_us = TURN_US;
	while (!told[CH_MARKET] && fake_step(&f))
		;
	for (int n = 0; !all_woken(states_us) && n < 100 * SESSIONS && fake_step(&f); n++)
		for (int i = 0; i < 5; i++)
			life_wake(life_of(f.e, fake_get(&f, name_of(i))));
	assert_true(all_woken(states_us));
	f.look_us = 0;
}

/* The clock is set back by a day: no deadline that lies ahead of it holds anybody up. */
static void a_clock_that_was_set_back(void **state)
{
	(void)state;
	start();
	wait_all();
	f.wall_step_us = -DAY_US;
	f.price_u6 = 250000;
	fake_run(&f, 15 * MINUTE_US);
	assert_int_equal(in_state(S_RUNNING), SESSIONS);
}

/* ---- telling ---- */

/* A hundred sessions that end in one turn: the root's rows are looked at once for all of them. */
static void status_is_told_once_a_turn(void **state)
{
	(void)state;
	start();
	wait_all();
	fake_run(&f, SECOND_US);
	memset(told, 0, sizeof told);
	for (int i = 0; i < SESSIONS; i++)
		engine_ctl(f.e, &alice, fake_get(&f, name_of(i)), str_of("destroy"), fake_answered,
			   &f);
	assert_int_equal(told[CH_SESSION_STATE], SESSIONS);
	assert_int_equal(told[CH_STATUS], 0);
	while (!told[CH_STATUS] && fake_step(&f))
		;
	assert_int_equal(told[CH_STATUS], 1);
	fake_run(&f, 0);
	assert_in_range(told[CH_STATUS], 1, 3);
	fake_run(&f, MINUTE_US);
	assert_int_equal(in_state(S_FAILED), SESSIONS);
}

/* While a machine boots, its login is tried twice a second; each says the same. */
static void the_same_reason_is_told_once(void **state)
{
	unsigned tried;

	(void)state;
	start();
	f.probe_verdict = PROBE_NOT_YET;
	f.boot_us = 0;
	assert_int_equal(fake_mkdir(&f, "a"), 0);
	assert_int_equal(fake_spec(&f, "a", "gpu=RTX_4090\nmax_price=1\n"), 0);
	fake_run(&f, MINUTE_US);
	assert_string_equal(fake_get(&f, "a")->reason,
			    "waiting for its SSH server: as the test wants");
	memset(told, 0, sizeof told);
	tried = f.probes;
	fake_run(&f, MINUTE_US);
	assert_true(f.probes > tried + 60);
	assert_in_range(told[CH_SESSION], 0, 3);
}

/* ---- a list ---- */

/* A hundred machines that all say something new in one list: its answer tells and writes nothing, the
 * sessions' turns do. */
static void a_list_leaves_writing_to_the_turns(void **state)
{
	unsigned before, most = 0;
	int64_t until;

	(void)state;
	fake_cloudlike(&f);
	f.boot_us = 5 * MINUTE_US;
	start();
	wait_all();
	f.price_u6 = 250000;
	fake_run(&f, 4 * MINUTE_US);
	assert_int_equal(in_state(S_PROVISIONING), SESSIONS);
	f.look_us = TURN_US / TURN_LIVES;
	until = f.now_us + 5 * MINUTE_US;
	before = told[CH_SESSION];
	while (f.now_us < until && fake_step(&f)) {
		most = told[CH_SESSION] - before > most ? told[CH_SESSION] - before : most;
		before = told[CH_SESSION];
	}
	assert_in_range(most, 1, TURN_LIVES);
	assert_int_equal(in_state(S_RUNNING), SESSIONS);
	f.look_us = 0;
}

/* ---- look-ups ---- */

static const struct session *made(const char *name)
{
	assert_int_equal(fake_mkdir(&f, name), 0);
	return engine_by_name(f.e, name);
}

static void found_by_name_and_id(void **state)
{
	const struct session *s, *t;
	char id[40];

	(void)state;
	start();
	assert_null(engine_by_name(f.e, "a"));
	assert_null(engine_by_id(f.e, "a"));
	wait_all(); /* the tables grow meanwhile */
	for (int i = 0; i < SESSIONS; i++) {
		s = engine_by_name(f.e, name_of(i));
		assert_non_null(s);
		assert_string_equal(s->name, name_of(i));
		assert_ptr_equal(engine_by_id(f.e, s->id), s);
	}
	/* A name moves, and the old one is free. */
	s = made("a");
	COPY(id, s->id);
	engine_rename(f.e, &alice, s, "b", fake_answered, &f);
	assert_null(engine_by_name(f.e, "a"));
	assert_ptr_equal(engine_by_name(f.e, "b"), s);
	assert_ptr_equal(engine_by_id(f.e, id), s);
	t = made("a");
	assert_ptr_not_equal(s, t);
	/* What is in history keeps its name beside the one that has it now; the newest counts. */
	for (int i = 0; i < 2; i++) {
		assert_int_equal(fake_rmdir(&f, "s7"), 0);
		fake_run(&f, MINUTE_US);
		s = engine_last(f.e, "s7", 0);
		assert_non_null(s);
		assert_null(engine_by_name(f.e, "s7"));
		assert_null(engine_last(f.e, "s7", bob.uid));
		t = made("s7");
		assert_ptr_equal(engine_by_name(f.e, "s7"), t);
		assert_ptr_equal(engine_last(f.e, "s7", 0), s);
		assert_int_equal(fake_spec(&f, "s7", "gpu=RTX_4090\nmax_price=0.3\nwait=600\n"), 0);
	}
	/* A draft leaves without a trace. */
	fake_run(&f, SECOND_US);
	assert_int_equal(fake_rmdir(&f, "b"), 0);
	fake_run(&f, SECOND_US);
	assert_null(engine_by_name(f.e, "b"));
	assert_null(engine_by_id(f.e, id));
}

/* The same after a restart, which reads them from the journal. */
static void found_after_a_restart(void **state)
{
	(void)state;
	start();
	wait_all();
	assert_int_equal(fake_rmdir(&f, "s3"), 0);
	fake_run(&f, MINUTE_US);
	fake_crash(&f);
	assert_null(engine_by_name(f.e, "s3"));
	assert_non_null(engine_last(f.e, "s3", 0));
	assert_int_equal(engine_by_name(f.e, "s4")->state, S_PENDING);
	f.price_u6 = 250000;
	fake_run(&f, 10 * MINUTE_US);
	assert_int_equal(in_state(S_RUNNING), SESSIONS - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
		TEST(a_market_change_wakes_a_few_at_a_time),
		TEST(a_turn_drives_one_at_least),
		TEST(nobody_starves),
		TEST(a_clock_that_was_set_back),
		TEST(status_is_told_once_a_turn),
		TEST(the_same_reason_is_told_once),
		TEST(a_list_leaves_writing_to_the_turns),
		TEST(found_by_name_and_id),
		TEST(found_after_a_restart),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
