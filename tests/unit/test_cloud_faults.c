/*
 * The HTTP engine where things go wrong: 429s, the breakers, an end at any moment, and
 * chance: whatever a server answers, a create is sent once. See test_cloud.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "../../src/core/check.h"
#include "fake_dialect.h"

#include <cmocka.h>

static struct stage st;

static int begin(void **state)
{
	(void)state;
	stage_init(&st);
	return 0;
}

static int end(void **state)
{
	(void)state;
	stage_close(&st);
	return 0;
}

static struct cloud_view view(void)
{
	struct cloud_view v;

	cloud_view(st.c, &v);
	return v;
}

/* ---- 429 ---- */

static void a_429_pauses_its_endpoint_only(void **state)
{
	struct told *t;
	int64_t refused_at;

	(void)state;
	st.endpoints[CALL_CREATE].penalty_us = 12 * SECOND_US;
	stage_open(&st);
	SCRIPT(&st, CALL_CREATE, {.status = 429, .retry_after_us = 7 * SECOND_US},
	       SAYS(200, "id m1"));
	t = ask_and_wait(&st, CALL_CREATE);
	refused_at = t->at_us;
	assert_int_equal(t->res.verdict, LATER);
	assert_int_equal(t->res.error, PE_RATE);
	assert_int_equal(t->res.retry_after_us, 7 * SECOND_US);
	assert_int_equal(view().throttled_until_us, refused_at + 19 * SECOND_US);
	ask_and_wait(&st, CALL_LOOK); /* others go on */
	assert_true(st.f.now_us < refused_at + SECOND_US);
	assert_int_equal(ask_and_wait(&st, CALL_CREATE)->res.verdict, SURE_YES); /* waits: short */
	assert_int_equal(st.sent[2].at_us, refused_at + 19 * SECOND_US);
	assert_int_equal(view().throttled_until_us, 0);
}

static void a_long_pause_is_told_at_once_and_bounded(void **state)
{
	struct told *t, *waiting;
	int64_t refused_at;

	(void)state;
	st.endpoints[CALL_LOOK].spacing_us = SECOND_US;
	stage_open(&st);
	SCRIPT(&st, CALL_LOOK, SAYS(429, "retry 86400000000"));
	t = ask(&st, CALL_LOOK);
	waiting = ask(&st, CALL_LOOK);
	fake_run(&st.f, SECOND_US);
	refused_at = t->at_us;
	assert_int_equal(t->res.retry_after_us, 15 * MINUTE_US);
	assert_int_equal(view().throttled_until_us, refused_at + 15 * MINUTE_US);
	assert_int_equal(waiting->res.error, PE_RATE); /* told, and not sent */
	t = ask_and_wait(&st, CALL_LOOK);
	assert_true(t->at_us < refused_at + 2 * SECOND_US);
	assert_int_equal(st.sent_count, 1);
	assert_int_equal(t->res.verdict, LATER);
	assert_int_equal(t->res.error, PE_RATE);
	assert_in_range(t->res.retry_after_us, 14 * MINUTE_US, 15 * MINUTE_US);
	fake_run(&st.f, 14 * MINUTE_US + 40 * SECOND_US);
	SCRIPT(&st, CALL_LOOK, SAYS(200, ""));
	t = ask_and_wait(&st, CALL_LOOK); /* the rest of it is short enough to wait for */
	assert_int_equal(t->res.verdict, SURE_YES);
	assert_true(t->at_us >= refused_at + 15 * MINUTE_US);
}

static void pauses_grow_until_one_is_let_in(void **state)
{
	static const int64_t tops[] = {2, 4, 8, 16, 32, 60, 60};

	(void)state;
	stage_open(&st);
	SCRIPT(&st, CALL_OFFERS, SAYS(429, ""));
	for (size_t i = 0; i < ARRAY_LEN(tops); i++) {
		int64_t pause;

		ask_and_wait(&st, CALL_OFFERS);
		pause = view().throttled_until_us - st.f.now_us;
		assert_in_range(pause, tops[i] * SECOND_US / 2, tops[i] * SECOND_US);
		fake_run(&st.f, pause);
	}
	SCRIPT(&st, CALL_OFFERS,
	       SAYS(403, "verdict later\nerror rate")); /* a burst block of the edge */
	ask_and_wait(&st, CALL_OFFERS);
	assert_in_range(view().throttled_until_us - st.f.now_us, 30 * SECOND_US, 60 * SECOND_US);
	fake_run(&st.f, MINUTE_US);
	SCRIPT(&st, CALL_OFFERS, SAYS(200, ""), SAYS(429, ""));
	ask_and_wait(&st, CALL_OFFERS);
	ask_and_wait(&st, CALL_OFFERS);
	assert_in_range(view().throttled_until_us - st.f.now_us, SECOND_US, 2 * SECOND_US);
}

/* What was sent before the pause and is answered during it does not make the next one short. */
static void a_late_success_forgives_nothing(void **state)
{
	(void)state;
	stage_open(&st);
	SCRIPT(&st, CALL_LOOK, SAYS(429, ""),
	       {.status = 200, .delay_us = 20000, .retry_after_us = UNKNOWN}, SAYS(429, ""));
	ask(&st, CALL_LOOK);
	ask(&st, CALL_LOOK);
	fake_run(&st.f, SECOND_US / 2);
	assert_int_equal(st.told[1].res.verdict, SURE_YES);
	ask_and_wait(&st, CALL_LOOK);
	assert_in_range(view().throttled_until_us - st.f.now_us, 2 * SECOND_US, 4 * SECOND_US);
}

static void two_endpoints_pause_the_account_but_no_destroy(void **state)
{
	struct told *account, *destroy;
	int64_t until;

	(void)state;
	stage_open(&st);
	SCRIPT(&st, CALL_LOOK, {.status = 429, .retry_after_us = 20 * SECOND_US});
	SCRIPT(&st, CALL_LIST, {.status = 429, .retry_after_us = 25 * SECOND_US});
	ask_and_wait(&st, CALL_LOOK);
	ask_and_wait(&st, CALL_ACCOUNT); /* one alone does not */
	assert_int_equal(sent_of(&st, CALL_ACCOUNT), 1);
	ask_and_wait(&st, CALL_LIST);
	until = st.f.now_us + 25 * SECOND_US;
	account = ask(&st, CALL_ACCOUNT);
	destroy = ask(&st, CALL_DESTROY);
	fake_run(&st.f, SECOND_US);
	assert_int_equal(account->times, 0);
	assert_int_equal(destroy->times, 1);
	fake_run(&st.f, MINUTE_US);
	assert_int_equal(st.sent[st.sent_count - 1].op, CALL_ACCOUNT);
	assert_int_equal(st.sent[st.sent_count - 1].at_us, until);
}

/* ---- breakers ---- */

static void break_with(enum call_op op, int n)
{
	SCRIPT(&st, op, SAYS(500, ""));
	for (int i = 0; i < n; i++)
		ask_and_wait(&st, op);
}

static void five_failures_leave_the_provider_alone(void **state)
{
	struct told *t, *create, *second;
	int64_t opened_at;

	(void)state;
	stage_open(&st);
	break_with(CALL_LOOK, 4);
	assert_int_equal(view().breaker, 0);
	break_with(CALL_LOOK, 1);
	assert_int_equal(view().breaker, 1);
	opened_at = st.f.now_us;
	fake_run(&st.f, 1500000);
	create = ask(&st, CALL_CREATE);
	t = ask_and_wait(&st, CALL_LIST);
	assert_int_equal(t->res.verdict, LATER);
	assert_int_equal(t->res.error, PE_UNAVAILABLE);
	assert_non_null(strstr(t->res.text, "tried again in 4 s"));
	assert_int_equal(create->res.verdict, LATER);
	assert_int_equal(create->asked, 0);
	assert_int_equal(st.sent_count, 5);
	fake_run(&st.f, opened_at + 5 * SECOND_US - st.f.now_us);
	assert_int_equal(view().breaker, 2);
	t = ask(&st, CALL_LOOK); /* half open: one, and the second waits for its outcome */
	second = ask(&st, CALL_ACCOUNT);
	fake_run(&st.f, 5000);
	assert_int_equal(st.sent_count, 6);
	fake_run(&st.f, SECOND_US);
	assert_int_equal(st.sent_count, 6);
	assert_int_equal(second->res.verdict, LATER);
	assert_non_null(strstr(second->res.text, "tried again in 10 s"));
	SCRIPT(&st, CALL_LOOK, SAYS(200, ""));
	fake_run(&st.f, 10 * SECOND_US);
	t = ask(&st, CALL_LOOK);
	second = ask(&st, CALL_ACCOUNT);
	fake_run(&st.f, SECOND_US);
	assert_int_equal(t->res.verdict, SURE_YES);
	assert_int_equal(second->res.verdict, SURE_YES);
	assert_int_equal(view().breaker, 0);
}

static void a_refusal_is_no_failure(void **state)
{
	(void)state;
	stage_open(&st);
	SCRIPT(&st, CALL_LOOK, SAYS(500, ""), SAYS(500, ""), SAYS(500, ""), SAYS(500, ""),
	       SAYS(404, ""), SAYS(500, ""), SAYS(401, ""));
	for (int i = 0; i < 20; i++)
		ask_and_wait(&st, CALL_LOOK);
	assert_int_equal(view().breaker, 0);
	assert_int_equal(st.sent_count, 20);
}

static void retries_count_and_stop_when_it_opens(void **state)
{
	struct told *t;

	(void)state;
	stage_open(&st);
	SCRIPT(&st, CALL_LOOK, LOST);
	ask_and_wait(&st, CALL_LOOK);
	t = ask_and_wait(&st, CALL_LOOK);
	assert_int_equal(st.sent_count, 5); /* 3 + 2 */
	assert_int_equal(t->res.verdict, LATER);
	assert_non_null(strstr(t->res.text, "timed out"));
}

static void unsure_creates_are_failures(void **state)
{
	(void)state;
	stage_open(&st);
	SCRIPT(&st, CALL_CREATE, SAYS(200, "verdict unsure"));
	for (int i = 0; i < 5; i++)
		ask_and_wait(&st, CALL_CREATE);
	assert_int_equal(view().breaker, 1);
}

static void destroys_have_a_breaker_of_their_own(void **state)
{
	struct told *t;
	int64_t t0;

	(void)state;
	stage_open(&st);
	break_with(CALL_LOOK, 5);
	assert_int_equal(view().breaker, 1);
	assert_int_equal(ask_and_wait(&st, CALL_DESTROY)->res.verdict, SURE_YES);
	assert_int_equal(view().breaker, 1); /* says nothing about the others */
	break_with(CALL_DESTROY, 5);
	assert_int_equal(view().destroy_breaker, 1);
	t0 = st.f.now_us;
	SCRIPT(&st, CALL_DESTROY, SAYS(200, ""));
	t = ask_and_wait(&st, CALL_DESTROY); /* waits until it may, and is sent */
	assert_int_equal(t->res.verdict, SURE_YES);
	assert_int_equal(st.sent[st.sent_count - 1].at_us - t0, 5 * SECOND_US);
	assert_int_equal(view().destroy_breaker, 0);
	/* A door that stays shut for long is told. */
	SCRIPT(&st, CALL_DESTROY, SAYS(500, ""));
	for (t = NULL; !t || t->res.verdict == UNSURE;)
		t = ask_and_wait(&st, CALL_DESTROY);
	assert_int_equal(t->res.verdict, LATER);
	assert_int_equal(t->res.error, PE_UNAVAILABLE);
	assert_non_null(strstr(t->res.text, "tried again in 40 s"));
}

/* ---- an end at any moment ---- */

static char big[80 * 1024];

/* A bit of everything: queued, sent, waiting to be sent again, parsed on a worker, a list half done. */
static void a_busy_cloud(void)
{
	stage_init(&st);
	st.d.account_spacing_us = SECOND_US / 10;
	st.endpoints[CALL_LOOK].spacing_us = SECOND_US;
	stage_open(&st);
	memset(big, '\n', sizeof big - 1);
	memcpy(big, "id m1\nnext 7", 12);
	SCRIPT(&st, CALL_LIST, SAYS(200, big), SAYS(200, "id m2\nnext 8"), SAYS(502, ""));
	SCRIPT(&st, CALL_OFFERS, LOST, SAYS(503, ""), SAYS(200, big));
	SCRIPT(&st, CALL_CREATE, SAYS(200, big), SAYS(429, ""));
	SCRIPT(&st, CALL_DESTROY, SAYS(500, ""));
	for (int op = 0; op < CALL_OP_COUNT; op++)
		for (int i = 0; i < 3; i++)
			ask(&st, (enum call_op)op);
}

static void it_can_be_freed_at_any_moment(void **state)
{
	size_t steps = 0;
	bool more = true;

	(void)state;
	for (; more; steps++) {
		a_busy_cloud();
		more = true;
		for (size_t i = 0; i < steps && more; i++)
			more = fake_step(&st.f);
		stage_close(&st); /* no callback comes any more: fake_dialect checks it */
		for (size_t i = 0; i < st.told_count; i++)
			assert_true(st.told[i].times <= 1);
	}
	assert_true(steps > 100);
	for (size_t i = 0; i < st.told_count; i++) /* the last one ran to its end */
		assert_int_equal(st.told[i].times, 1);
}

/* Everybody is told, once, and a create that was sent is never called undone. */
static void hanging_up_answers_everybody(void **state)
{
	bool told[CALLS_MAX];

	(void)state;
	for (int steps = 0; steps < 150; steps++) {
		a_busy_cloud();
		for (int i = 0; i < steps; i++)
			fake_step(&st.f);
		for (size_t i = 0; i < st.told_count; i++)
			told[i] = st.told[i].times;
		cloud_hang_up(st.c);
		assert_int_equal(view().queued, 0);
		for (size_t i = 0; i < st.told_count; i++) {
			assert_int_equal(st.told[i].times, 1);
			if (st.told[i].op == CALL_CREATE && st.told[i].asked && !told[i])
				assert_int_equal(st.told[i].res.verdict, UNSURE);
		}
		stage_close(&st);
	}
}

static void it_can_be_freed_from_its_own_callbacks(void **state)
{
	(void)state;
	for (int after = 0; after < 60; after++) {
		for (int which = 0; which < 2; which++) {
			a_busy_cloud();
			for (int i = 0; i < after; i++)
				fake_step(&st.f);
			st.free_in_answer = which;
			st.free_in_go = !which;
			while (st.c && fake_step(&st.f))
				;
			stage_close(&st);
		}
	}
}

/* ---- chance ---- */

static void random_load(int calls)
{
	for (int i = 0; i < calls; i++) {
		uint32_t r;
		char label[32];
		struct told *t;

		st.f.w.random(&st.f, &r, sizeof r);
		snprintf(label, sizeof label, "label-%d", i);
		t = ask_named(&st, r % 3 ? (enum call_op)(r % CALL_OP_COUNT) : CALL_CREATE, label);
		t->wanted = (r >> 8) % 8;
		fake_run(&st.f, (r >> 16) % 3000000);
	}
}

static void check_spacing(enum call_op op)
{
	int64_t last = -HOUR_US;

	for (size_t i = 0; i < st.sent_count; i++) {
		if (st.sent[i].op != op)
			continue;
		assert_true(st.sent[i].at_us - last >= st.endpoints[op].spacing_us);
		last = st.sent[i].at_us;
	}
}

/* How often the server saw the create of this label. */
static int seen_creates(const char *label)
{
	int n = 0;

	for (size_t i = 0; i < st.sent_count; i++)
		n += st.sent[i].op == CALL_CREATE && !strcmp(st.sent[i].body, label);
	return n;
}

static void a_create_is_sent_once_whatever_comes(void **state)
{
	size_t creates = 0;

	(void)state;
	for (uint64_t seed = 1; seed <= 400; seed++) {
		size_t gone = 0;

		stage_init(&st);
		st.f.seed = seed;
		st.random_replies = true;
		st.d.account_spacing_us = SECOND_US / 2;
		for (int op = 0; op < CALL_OP_COUNT; op++)
			st.endpoints[op].spacing_us = SECOND_US / 4 * op;
		st.endpoints[CALL_CREATE].penalty_us = 12 * SECOND_US;
		stage_open(&st);
		random_load(60);
		fake_run(&st.f, 2 * HOUR_US);
		for (size_t i = 0; i < st.told_count; i++) {
			const struct told *t = &st.told[i];
			char label[32];

			assert_int_equal(t->times, 1); /* everybody is answered, once */
			if (t->op != CALL_CREATE)
				continue;
			snprintf(label, sizeof label, "label-%zu", i);
			assert_true(t->asked <= 1);
			assert_int_equal(seen_creates(label), t->asked && t->wanted);
			gone += t->asked && t->wanted;
		}
		assert_int_equal(sent_of(&st, CALL_CREATE), gone);
		for (int op = 0; op < CALL_OP_COUNT; op++)
			check_spacing((enum call_op)op);
		assert_true(st.open_most <= 5 && st.open_most_ordinary <= 4);
		assert_int_equal(view().queued, 0);
		creates += gone;
		stage_close(&st);
	}
	assert_true(creates > 1000); /* it was not the breaker that kept the promise */
}

#define T(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_429_pauses_its_endpoint_only),
		T(a_long_pause_is_told_at_once_and_bounded),
		T(pauses_grow_until_one_is_let_in),
		T(a_late_success_forgives_nothing),
		T(two_endpoints_pause_the_account_but_no_destroy),
		T(five_failures_leave_the_provider_alone),
		T(a_refusal_is_no_failure),
		T(retries_count_and_stop_when_it_opens),
		T(unsure_creates_are_failures),
		T(destroys_have_a_breaker_of_their_own),
		T(it_can_be_freed_at_any_moment),
		T(hanging_up_answers_everybody),
		T(it_can_be_freed_from_its_own_callbacks),
		T(a_create_is_sent_once_whatever_comes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
