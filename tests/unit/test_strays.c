/*
 * Machines with our mark that no living attempt owns: who is destroyed, when, and who is not; and what
 * brakes. In the virtual world, at a provider like the clouds.
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

#define NOBODY "01234567-89ab-4def-8123-456789abcd00"

static struct fake f;

static int begin(void **state)
{
	(void)state;
	fake_init(&f);
	fake_cloudlike(&f);
	f.p.orphan_grace_us = 15 * MINUTE_US;
	f.p.orphan_destroy = true;
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

static void make_running(const char *name)
{
	assert_int_equal(fake_mkdir(&f, name), 0);
	assert_int_equal(fake_spec(&f, name, "max_price=2 hours=12\n"), 0);
	assert_true(fake_until(&f, name, S_RUNNING, 2 * MINUTE_US));
}

/* Books that are older than the half hour of observation. */
static void grow_old(void)
{
	make_running("old");
	fake_run(&f, 40 * MINUTE_US);
}

static bool alarmed(const char *what, const char *subject)
{
	BUF alarms = {0};
	BUF row = {0};

	engine_alarms(f.e, &alarms);
	buf_printf(&row, "\t%s\t%s\t", what, subject);
	return alarms.data && strstr(alarms.data, row.data);
}

static bool dead_within(const struct machine *m, int64_t us)
{
	fake_run(&f, us);
	return !m->alive;
}

static void an_orphan_has_its_grace(void **state)
{
	struct machine *m;

	(void)state;
	grow_old();
	m = fake_plant(&f, NOBODY, 1);
	fake_run(&f, 8 * MINUTE_US);
	assert_true(alarmed("orphan", m->label));
	assert_false(dead_within(m, 6 * MINUTE_US));
	assert_true(dead_within(m, 7 * MINUTE_US));
	assert_true(m->died_us >= m->born_us + 15 * MINUTE_US);
	fake_run(&f, 2 * MINUTE_US);
	assert_false(alarmed("orphan", m->label));
	assert_int_equal(f.destroys, 1);
	assert_int_equal(f.looks, 1);
	assert_int_equal(fake_get(&f, "old")->state, S_RUNNING);
}

static void alert_only(void **state)
{
	struct machine *m;

	(void)state;
	f.p.orphan_destroy = false;
	grow_old();
	m = fake_plant(&f, NOBODY, 1);
	assert_false(dead_within(m, DAY_US));
	assert_true(alarmed("orphan", m->label));
	fake_kill(&f, m);
	fake_run(&f, 20 * MINUTE_US);
	assert_false(alarmed("orphan", m->label));
}

/* Nothing is in the books, and they are new: perhaps they were lost. */
static void fresh_books_only_observe(void **state)
{
	struct machine *m = fake_plant(&f, NOBODY, 1);

	(void)state;
	assert_false(dead_within(m, 29 * MINUTE_US));
	assert_true(dead_within(m, 3 * MINUTE_US));
}

static void a_restart_makes_no_books_old(void **state)
{
	struct machine *m = fake_plant(&f, NOBODY, 1);

	(void)state;
	make_running("x");
	fake_crash(&f);
	assert_false(dead_within(m, 25 * MINUTE_US));
	assert_true(dead_within(m, 10 * MINUTE_US));
}

static void many_orphans_at_once_are_braked(void **state)
{
	struct machine *first;
	char subject[32], id[40];

	(void)state;
	grow_old();
	first = &f.machines[f.machine_count];
	for (int i = 0; i < 6; i++) {
		snprintf(id, sizeof id, "%.34s%02d", NOBODY, i);
		fake_plant(&f, id, 1);
	}
	fake_run(&f, 3 * HOUR_US);
	COPY(subject, "fake orphans");
	assert_true(alarmed("brake", subject));
	assert_int_equal(fake_alive(&f), 7);
	assert_int_equal(f.destroys, 0);
	assert_int_equal(f.looks, 6); /* one by one */
	for (int i = 0; i < 6; i++)
		fake_kill(&f, &first[i]);
	fake_run(&f, 20 * MINUTE_US);
	assert_false(alarmed("brake", subject));
}

static void five_orphans_are_not_many(void **state)
{
	char id[40];

	(void)state;
	grow_old();
	for (int i = 0; i < 5; i++) {
		snprintf(id, sizeof id, "%.34s%02d", NOBODY, i);
		fake_plant(&f, id, 1);
	}
	fake_run(&f, 25 * MINUTE_US);
	assert_int_equal(fake_alive(&f), 1);
}

static void look_alikes_are_foreign(void **state)
{
	struct machine *m;
	struct provider_view v;

	(void)state;
	grow_old();
	m = fake_plant(&f, NOBODY, 1);
	m->label[strlen(m->label) - 1] ^= 1;
	fake_run(&f, 2 * HOUR_US);
	assert_true(m->alive);
	assert_false(alarmed("orphan", m->label));
	assert_true(engine_provider_view(f.e, 0, &v));
	assert_int_equal(v.foreign, 1);
}

/* One create that became two machines: the one that is not on record goes. */
static void a_double_of_a_living_machine(void **state)
{
	struct machine *twin;

	(void)state;
	make_running("x");
	twin = fake_plant(&f, fake_get(&f, "x")->id, 1);
	fake_run(&f, 6 * MINUTE_US);
	assert_false(twin->alive);
	assert_true(f.machines[0].alive);
	assert_int_equal(fake_get(&f, "x")->state, S_RUNNING);
	assert_int_equal(fake_get(&f, "x")->instance_state, I_EXISTS);
}

static void late_arrivals_of_what_ended(void **state)
{
	const struct session *s;
	struct machine *late;
	int64_t cost;

	(void)state;
	make_running("x");
	assert_int_equal(fake_rmdir(&f, "x"), 0);
	assert_true(fake_until(&f, "x", S_STOPPED, 5 * MINUTE_US));
	fake_run(&f, 15 * MINUTE_US);
	s = fake_get(&f, "x");
	cost = session_cost_u6(s, f.now_us);
	late = fake_plant(&f, s->id, s->attempt);
	fake_run(&f, 10 * MINUTE_US);
	assert_false(late->alive);
	assert_true(session_cost_u6(s, f.now_us) >= cost + late->meter_u6);
	assert_int_equal(s->state, S_STOPPED);
	assert_true(engine_proven(s));
}

/* The cloud refused the create and made the machine all the same. */
static void a_refusal_that_lied(void **state)
{
	(void)state;
	f.create_answer = ANSWER_NO;
	assert_int_equal(fake_mkdir(&f, "x"), 0);
	assert_int_equal(fake_spec(&f, "x", "offer=fake-1 hours=1\n"), 0);
	assert_true(fake_until(&f, "x", S_FAILED, MINUTE_US));
	assert_int_equal(fake_alive(&f), 1);
	fake_run(&f, 6 * MINUTE_US);
	assert_int_equal(fake_alive(&f), 0);
}

/* An old copy of the books was restored: what is newer than they are is not ours to judge. */
static void newer_than_the_books_is_not_touched(void **state)
{
	struct machine *m;

	(void)state;
	make_running("x");
	m = fake_plant(&f, fake_get(&f, "x")->id, 7);
	assert_false(dead_within(m, 5 * HOUR_US));
	assert_true(alarmed("newer", m->label));
	assert_int_equal(fake_get(&f, "x")->state, S_RUNNING);
}

static void its_destruction_is_tried_for_ever(void **state)
{
	struct machine *m;

	(void)state;
	make_running("x");
	m = fake_plant(&f, fake_get(&f, "x")->id, 1);
	f.destroy_effect = false;
	f.destroy_answer = ANSWER_LOST;
	fake_run(&f, 30 * MINUTE_US);
	assert_in_range(f.destroys, 5, 30);
	assert_true(alarmed("late", m->label));
	f.destroy_answer = ANSWER_OK; /* accepted, and nothing happens */
	fake_run(&f, 30 * MINUTE_US);
	assert_true(alarmed("late", m->label));
	f.destroy_effect = true;
	assert_true(dead_within(m, 6 * MINUTE_US));
	fake_run(&f, 2 * MINUTE_US);
	assert_false(alarmed("late", m->label));
}

static void its_destruction_does_not_wait_for_a_clock_that_was_set_back(void **state)
{
	struct machine *m;

	(void)state;
	make_running("x");
	m = fake_plant(&f, fake_get(&f, "x")->id, 1);
	f.destroy_effect = false;
	f.destroy_answer = ANSWER_LOST;
	fake_run(&f, 10 * MINUTE_US);
	assert_true(alarmed("late", m->label));
	f.wall_step_us = -DAY_US;
	f.destroy_effect = true;
	f.destroy_answer = ANSWER_OK;
	assert_true(dead_within(m, 6 * MINUTE_US));
	fake_run(&f, 2 * MINUTE_US);
	assert_false(alarmed("late", m->label));
	assert_int_equal(fake_get(&f, "x")->state, S_RUNNING);
}

static void a_dead_key_condemns_nobody(void **state)
{
	struct machine *m;

	(void)state;
	grow_old();
	m = fake_plant(&f, NOBODY, 1);
	f.destroy_answer = f.look_answer = ANSWER_KEY;
	fake_run(&f, HOUR_US);
	assert_true(m->alive);
	assert_true(alarmed("orphan", m->label));
	f.destroy_answer = f.look_answer = ANSWER_OK;
	assert_true(dead_within(m, 10 * MINUTE_US));
}

/* A list that is taken while the create is under way shows it: it is the living attempt's. */
static void a_list_during_the_create(void **state)
{
	(void)state;
	f.call_delay_us = 20 * SECOND_US;
	fake_run(&f, MINUTE_US);
	assert_int_equal(fake_mkdir(&f, "x"), 0);
	assert_int_equal(fake_spec(&f, "x", "offer=fake-1 hours=1\n"), 0);
	assert_true(fake_until(&f, "x", S_RUNNING, 10 * MINUTE_US));
	fake_run(&f, 20 * MINUTE_US);
	assert_int_equal(f.destroys, 0);
	assert_int_equal(fake_alive(&f), 1);
}

/* Removed by hand while it waited for its grace; then another one, and the daemon is killed. */
static void strays_are_rebuilt_from_lists(void **state)
{
	struct machine *m;

	(void)state;
	grow_old();
	m = fake_plant(&f, NOBODY, 1);
	fake_run(&f, 10 * MINUTE_US);
	fake_crash(&f);
	fake_run(&f, 2 * MINUTE_US);
	assert_true(alarmed("orphan", m->label));
	assert_true(dead_within(m, 16 * MINUTE_US));
}

#define T(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		T(an_orphan_has_its_grace),
		T(alert_only),
		T(fresh_books_only_observe),
		T(a_restart_makes_no_books_old),
		T(many_orphans_at_once_are_braked),
		T(five_orphans_are_not_many),
		T(look_alikes_are_foreign),
		T(a_double_of_a_living_machine),
		T(late_arrivals_of_what_ended),
		T(a_refusal_that_lied),
		T(newer_than_the_books_is_not_touched),
		T(its_destruction_is_tried_for_ever),
		T(its_destruction_does_not_wait_for_a_clock_that_was_set_back),
		T(a_dead_key_condemns_nobody),
		T(a_list_during_the_create),
		T(strays_are_rebuilt_from_lists),
	};

	return cmocka_run_group_tests_name("strays", tests, NULL, NULL);
}
