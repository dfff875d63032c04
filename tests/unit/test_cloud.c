/*
 * The HTTP engine: what is sent when, in which order, how often, and what its answer is. A scripted
 * server in virtual time; the dialect is fake_dialect.c. Limits, breakers and chance: test_cloud_faults.c.
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

/* ---- one request ---- */

static void a_request_is_what_the_dialect_says(void **state)
{
	struct told *t;

	(void)state;
	stage_open(&st);
	t = ask_and_wait(&st, CALL_CREATE);
	ask_and_wait(&st, CALL_OFFERS);
	ask_and_wait(&st, CALL_LOOK);
	assert_int_equal(t->times, 1);
	assert_int_equal(st.sent_count, 3);
	assert_string_equal(st.sent[0].path, "/create");
	assert_string_equal(st.sent[0].body, "m1"); /* built before the caller's words went */
	assert_true(st.sent[0].fresh);
	assert_int_equal(st.sent[0].timeout_us, 120 * SECOND_US);
	assert_int_equal(st.sent[0].connect_us, 10 * SECOND_US);
	assert_int_equal(st.sent[0].reply_max, HTTP_BODY_MAX);
	assert_false(st.sent[1].fresh);
	assert_int_equal(st.sent[1].timeout_us, 60 * SECOND_US);
	assert_int_equal(st.sent[1].reply_max, HTTP_BODY_MAX_OFFERS);
	assert_string_equal(st.sent[2].path, "/look/m1");
	assert_int_equal(st.sent[2].timeout_us, 30 * SECOND_US);
	assert_int_equal(view().requests, 3);
}

static void what_cannot_be_said_is_not_sent(void **state)
{
	(void)state;
	stage_open(&st);
	st.refuse_build = true;
	for (int op = 0; op < CALL_OP_COUNT; op++) {
		struct told *t = ask_and_wait(&st, (enum call_op)op);

		assert_int_equal(t->res.verdict, SURE_NO);
		assert_int_equal(t->res.error, PE_INVALID);
		assert_non_null(strstr(t->res.text, "no words for it"));
		assert_int_equal(t->asked, 0);
	}
	assert_int_equal(st.sent_count, 0);
	assert_int_equal(view().queued, 0);
}

static void a_quoted_key_is_not_passed_on(void **state)
{
	struct told *t;

	(void)state;
	stage_open(&st);
	SCRIPT(&st, CALL_ACCOUNT, SAYS(401, "say wrong key " TEST_KEY " sent"));
	t = ask_and_wait(&st, CALL_ACCOUNT);
	assert_int_equal(t->res.verdict, KEY_DEAD);
	assert_null(strstr(t->res.text, TEST_KEY));
	assert_int_equal(sent_of(&st, CALL_ACCOUNT), 1);
}

/* ---- whose turn ---- */

static void the_most_urgent_goes_first(void **state)
{
	static const enum call_op order[] = {CALL_DESTROY, CALL_CREATE,	  CALL_ATTACH,
					     CALL_LOOK,	   CALL_LIST,	  CALL_ACCOUNT,
					     CALL_OFFERS,  CALL_TEMPLATES};

	(void)state;
	st.d.account_spacing_us = SECOND_US;
	stage_open(&st);
	for (size_t i = ARRAY_LEN(order); i-- > 0;) /* the least urgent asks first */
		ask(&st, order[i]);
	assert_int_equal(view().queued, ARRAY_LEN(order));
	fake_run(&st.f, MINUTE_US);
	assert_int_equal(st.sent_count, ARRAY_LEN(order));
	for (size_t i = 0; i < ARRAY_LEN(order); i++)
		assert_int_equal(st.sent[i].op, order[i]);
}

static void equals_go_in_the_order_of_arrival(void **state)
{
	(void)state;
	st.endpoints[CALL_LOOK].spacing_us = SECOND_US;
	stage_open(&st);
	ask_named(&st, CALL_LOOK, "a");
	ask_named(&st, CALL_LOOK, "b");
	ask_named(&st, CALL_LOOK, "c");
	fake_run(&st.f, 10 * SECOND_US);
	assert_string_equal(st.sent[0].path, "/look/a");
	assert_string_equal(st.sent[1].path, "/look/b");
	assert_string_equal(st.sent[2].path, "/look/c");
}

/* Strict urgency would let attaches starve the lists that proofs are made of. */
static void who_waited_long_is_not_starved(void **state)
{
	struct told *list;

	(void)state;
	st.d.account_spacing_us = SECOND_US;
	stage_open(&st);
	list = ask(&st, CALL_LIST);
	for (int i = 0; i < 100; i++)
		ask(&st, CALL_ATTACH);
	fake_run(&st.f, 20 * SECOND_US);
	assert_int_equal(list->times, 0);
	fake_run(&st.f, 15 * SECOND_US);
	assert_int_equal(list->times, 1);
}

static void spacing_is_kept_exactly(void **state)
{
	int64_t t0 = st.f.now_us;

	(void)state;
	st.endpoints[CALL_LOOK].spacing_us = 2 * SECOND_US;
	st.endpoints[CALL_LIST].spacing_us = 3 * SECOND_US;
	st.endpoints[CALL_LIST].burst = 2;
	stage_open(&st);
	for (int i = 0; i < 4; i++) {
		ask(&st, CALL_LOOK);
		ask(&st, CALL_LIST);
	}
	fake_run(&st.f, MINUTE_US);
	for (size_t i = 0, looks = 0, lists = 0; i < st.sent_count; i++) {
		static const int64_t list_at[] = {0, 0, 3, 6};
		const struct sent *s = &st.sent[i];

		if (s->op == CALL_LOOK)
			assert_int_equal(s->at_us - t0, (int64_t)looks++ * 2 * SECOND_US);
		else
			assert_int_equal(s->at_us - t0, list_at[lists++] * SECOND_US);
	}
	assert_int_equal(st.sent_count, 8);
}

static void one_token_is_kept_for_destroys(void **state)
{
	int64_t t0 = st.f.now_us;

	(void)state;
	st.d.account_spacing_us = SECOND_US;
	st.d.account_burst = 3;
	stage_open(&st);
	for (int i = 0; i < 4; i++)
		ask(&st, CALL_LOOK);
	fake_run(&st.f, 0);
	assert_int_equal(sent_of(&st, CALL_LOOK), 2);
	ask(&st, CALL_DESTROY);
	fake_run(&st.f, 0);
	assert_int_equal(sent_of(&st, CALL_DESTROY), 1); /* at once */
	fake_run(&st.f, 10 * SECOND_US);
	assert_int_equal(st.sent[3].at_us - t0, 2 * SECOND_US); /* its token is paid back first */
	assert_int_equal(st.sent[4].at_us - t0, 3 * SECOND_US);
}

static void at_most_four_at_once_and_a_destroy(void **state)
{
	(void)state;
	stage_open(&st);
	SCRIPT(&st, CALL_LOOK, {.status = 200, .delay_us = 5 * SECOND_US});
	SCRIPT(&st, CALL_DESTROY, {.status = 200, .delay_us = 5 * SECOND_US});
	for (int i = 0; i < 6; i++)
		ask(&st, CALL_LOOK);
	fake_run(&st.f, SECOND_US);
	assert_int_equal(st.f.https_open, 4);
	ask(&st, CALL_DESTROY);
	ask(&st, CALL_DESTROY);
	fake_run(&st.f, SECOND_US);
	assert_int_equal(sent_of(&st, CALL_DESTROY), 1);
	assert_int_equal(st.f.https_open, 5);
	fake_run(&st.f, MINUTE_US);
	assert_int_equal(sent_of(&st, CALL_LOOK), 6);
	assert_int_equal(sent_of(&st, CALL_DESTROY), 2);
	assert_int_equal(st.open_most, 5);
	assert_int_equal(st.open_most_ordinary, 4);
}

static void the_queue_is_bounded_and_lets_destroys_in(void **state)
{
	struct told *last, *destroy;

	(void)state;
	st.d.account_spacing_us = SECOND_US;
	stage_open(&st);
	for (int i = 0; i < 1000; i++)
		ask(&st, CALL_LOOK);
	last = ask(&st, CALL_CREATE);
	destroy = ask(&st, CALL_DESTROY);
	fake_run(&st.f, SECOND_US / 2);
	assert_int_equal(last->times, 1);
	assert_int_equal(last->res.verdict, LATER);
	assert_int_equal(last->asked, 0);
	assert_int_equal(destroy->res.verdict, SURE_YES);
}

/* ---- create ---- */

static void creates_go_one_at_a_time_and_once(void **state)
{
	struct told *a, *b;

	(void)state;
	st.endpoints[CALL_CREATE].burst = 5;
	stage_open(&st);
	SCRIPT(&st, CALL_CREATE, {.delay_us = 200 * SECOND_US}, SAYS(200, "id m2"));
	a = ask_named(&st, CALL_CREATE, "label-a");
	b = ask_named(&st, CALL_CREATE, "label-b");
	fake_run(&st.f, 119 * SECOND_US);
	assert_int_equal(sent_of(&st, CALL_CREATE), 1);
	assert_int_equal(b->asked, 0); /* only right before its own sending */
	fake_run(&st.f, 2 * SECOND_US);
	assert_int_equal(a->res.verdict, UNSURE);
	assert_int_equal(b->res.verdict, SURE_YES);
	assert_string_equal(b->ids, "m2 ");
	fake_run(&st.f, HOUR_US);
	assert_int_equal(sent_of(&st, CALL_CREATE), 2);
	assert_int_equal(a->asked, 1);
	assert_string_equal(st.sent[0].body, "label-a");
	assert_string_equal(st.sent[1].body, "label-b");
}

static void what_is_not_wanted_any_more_is_withdrawn(void **state)
{
	struct told *a, *b;

	(void)state;
	st.endpoints[CALL_CREATE].spacing_us = HOUR_US;
	stage_open(&st);
	a = ask_named(&st, CALL_CREATE, "label-a");
	b = ask_named(&st, CALL_CREATE, "label-b");
	a->wanted = false;
	fake_run(&st.f, SECOND_US);
	assert_int_equal(a->asked, 1);
	assert_int_equal(a->res.verdict, SURE_NO);
	assert_int_equal(a->res.error, PE_NONE);
	assert_int_equal(b->times, 1); /* it took no token: the next one need not wait an hour */
	assert_int_equal(st.sent_count, 1);
	assert_string_equal(st.sent[0].body, "label-b");
}

static void every_outcome_of_a_create(void **state)
{
	static const struct {
		struct fake_reply reply;
		enum verdict verdict;
		enum provider_error error;
		size_t count;
	} rows[] = {
		{UNSENT, LATER, PE_UNAVAILABLE, 0}, /* provably nothing was made */
		{LOST, UNSURE, PE_UNAVAILABLE, 0},
		{SAYS(200, "id m7"), SURE_YES, PE_NONE, 1},
		{SAYS(201, "id m7\nid m8"), SURE_YES, PE_NONE, 1},
		{SAYS(200, ""), UNSURE, PE_NONE, 0}, /* yes without an id */
		{SAYS(200, "id "), UNSURE, PE_NONE, 0},
		{SAYS(200, "verdict unsure"), UNSURE, PE_NONE, 0},
		{SAYS(200, "verdict unsure\nid m7"), UNSURE, PE_NONE, 1},
		{SAYS(200, "verdict later"), UNSURE, PE_NONE, 0}, /* guard */
		{SAYS(200, "verdict sure_no\nerror money"), SURE_NO, PE_MONEY, 0},
		{SAYS(200, "verdict sure_no\nid m7"), UNSURE, PE_NONE, 1}, /* something exists */
		{SAYS(401, "id m7"), UNSURE, PE_AUTH, 1},
		{SAYS(429, "id m7"), UNSURE, PE_RATE, 1},
		{SAYS(400, "verdict sure_yes\nid m7"), UNSURE, PE_INVALID, 1},
		{SAYS(302, "verdict sure_yes\nid m7"), UNSURE, PE_INVALID, 1},
		{SAYS(500, ""), UNSURE, PE_UNAVAILABLE, 0},
		{SAYS(502, "verdict later"), UNSURE, PE_UNAVAILABLE, 0}, /* guard */
		{SAYS(503, "verdict sure_no"), UNSURE, PE_UNAVAILABLE, 0},
		{SAYS(504, "verdict key_dead"), UNSURE, PE_UNAVAILABLE, 0},
		{SAYS(500, "verdict sure_yes\nid m7"), UNSURE, PE_UNAVAILABLE, 1},
		{SAYS(400, ""), SURE_NO, PE_INVALID, 0},
		{SAYS(404, "error stale_offer"), SURE_NO, PE_STALE_OFFER, 0},
		{SAYS(401, ""), KEY_DEAD, PE_AUTH, 0},
		{SAYS(429, ""), LATER, PE_RATE, 0},
		{SAYS(429, "error unknown"), LATER, PE_RATE, 0},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct told *t;

		stage_init(&st);
		stage_open(&st);
		script(&st, CALL_CREATE, &rows[i].reply, 1);
		t = ask_and_wait(&st, CALL_CREATE);
		fake_run(&st.f, HOUR_US);
		if (t->res.verdict != rows[i].verdict || t->res.error != rows[i].error ||
		    t->res.count != rows[i].count)
			fail_msg("row %zu: %s %s %zu: %s", i, verdict_names[t->res.verdict],
				 provider_error_names[t->res.error], t->res.count, t->res.text);
		assert_int_equal(t->times, 1);
		assert_int_equal(sent_of(&st, CALL_CREATE), 1);
		assert_string_equal(t->ids, rows[i].count ? "m7 " : "");
		stage_close(&st);
	}
}

/* ---- reads, destroys, attaches ---- */

static void only_reads_are_tried_again(void **state)
{
	static const struct {
		enum call_op op;
		struct fake_reply reply;
		size_t sent;
		enum verdict verdict;
	} rows[] = {
		{CALL_LOOK, LOST, 3, LATER},
		{CALL_LOOK, UNSENT, 3, LATER},
		{CALL_LIST, SAYS(502, ""), 3, LATER},
		{CALL_ACCOUNT, SAYS(503, ""), 3, LATER},
		{CALL_OFFERS, SAYS(504, ""), 3, LATER},
		{CALL_TEMPLATES, LOST, 3, LATER},
		{CALL_LOOK, SAYS(500, ""), 1, LATER},
		{CALL_LOOK, SAYS(429, ""), 1, LATER},
		{CALL_LOOK, SAYS(404, ""), 1, SURE_NO},
		{CALL_LOOK, SAYS(401, ""), 1, KEY_DEAD},
		{CALL_LIST, SAYS(401, ""), 1, KEY_DEAD},
		{CALL_LOOK, SAYS(302, ""), 1, SURE_NO},
		{CALL_DESTROY, LOST, 1, UNSURE},
		{CALL_DESTROY, UNSENT, 1, LATER},
		{CALL_DESTROY, SAYS(503, ""), 1, UNSURE},
		{CALL_DESTROY, SAYS(404, "verdict sure_yes"), 1, SURE_YES},
		{CALL_ATTACH, LOST, 1, UNSURE},
		{CALL_ATTACH, UNSENT, 1, LATER},
		{CALL_ATTACH, SAYS(502, ""), 1, UNSURE},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct told *t;

		stage_init(&st);
		stage_open(&st);
		script(&st, rows[i].op, &rows[i].reply, 1);
		t = ask_and_wait(&st, rows[i].op);
		fake_run(&st.f, HOUR_US);
		if (st.sent_count != rows[i].sent || t->res.verdict != rows[i].verdict)
			fail_msg("row %zu: %zu sent, %s: %s", i, st.sent_count,
				 verdict_names[t->res.verdict], t->res.text);
		assert_int_equal(t->times, 1);
		stage_close(&st);
	}
}

static void a_retry_can_save_a_read(void **state)
{
	struct told *t;

	(void)state;
	stage_open(&st);
	SCRIPT(&st, CALL_LOOK, LOST, SAYS(502, ""), SAYS(200, "id m1"));
	t = ask_and_wait(&st, CALL_LOOK);
	assert_int_equal(t->res.verdict, SURE_YES);
	assert_string_equal(t->ids, "m1 ");
	assert_int_equal(st.sent_count, 3);
	assert_in_range(st.sent[1].at_us - st.sent[0].at_us, 10000, 510000);
	assert_in_range(st.sent[2].at_us - st.sent[1].at_us, 10000, 1010000);
}

static void a_read_ends_within_its_time(void **state)
{
	struct told *look, *offers;
	int64_t t0 = st.f.now_us;

	(void)state;
	stage_open(&st);
	SCRIPT(&st, CALL_LOOK, {.delay_us = 25 * SECOND_US}, {.delay_us = HOUR_US});
	SCRIPT(&st, CALL_OFFERS, {.delay_us = HOUR_US});
	look = ask(&st, CALL_LOOK);
	offers = ask(&st, CALL_OFFERS);
	fake_run(&st.f, HOUR_US);
	assert_int_equal(sent_of(&st, CALL_LOOK), 2);
	assert_int_equal(look->res.verdict, LATER);
	assert_int_equal(look->at_us - t0, 30 * SECOND_US);
	assert_int_equal(offers->at_us - t0, 60 * SECOND_US);
}

static void a_read_that_may_not_be_repeated_in_time_is_answered(void **state)
{
	struct told *t;
	int64_t t0 = st.f.now_us;

	(void)state;
	st.endpoints[CALL_LOOK].spacing_us = HOUR_US;
	stage_open(&st);
	SCRIPT(&st, CALL_LOOK, LOST);
	t = ask_and_wait(&st, CALL_LOOK);
	assert_int_equal(t->at_us - t0, 30 * SECOND_US);
	assert_int_equal(t->res.verdict, LATER);
	assert_int_equal(t->res.error, PE_UNAVAILABLE);
	assert_non_null(strstr(t->res.text, "timed out"));
	assert_int_equal(st.sent_count, 1);
}

static void a_retry_waits_as_long_as_the_provider_asks(void **state)
{
	struct told *t;

	(void)state;
	stage_open(&st);
	SCRIPT(&st, CALL_LOOK, {.status = 503, .retry_after_us = 9 * SECOND_US}, SAYS(200, ""));
	t = ask_and_wait(&st, CALL_LOOK);
	assert_int_equal(t->res.verdict, SURE_YES);
	assert_int_equal(st.sent[1].at_us - st.sent[0].at_us, 9 * SECOND_US);
	SCRIPT(&st, CALL_LIST, {.status = 503, .retry_after_us = MINUTE_US});
	t = ask_and_wait(&st, CALL_LIST); /* longer than its time */
	assert_int_equal(sent_of(&st, CALL_LIST), 1);
	assert_int_equal(t->res.retry_after_us, MINUTE_US);
}

static void no_error_means_gone(void **state)
{
	static const int statuses[] = {401, 403, 429, 500, 503};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(statuses); i++) {
		static const char *const bodies[] = {"verdict sure_no\nerror gone",
						     "verdict sure_yes\ngone"};

		for (size_t k = 0; k < ARRAY_LEN(bodies); k++) {
			struct told *t;

			stage_init(&st);
			stage_open(&st);
			SCRIPT(&st, CALL_LOOK, SAYS(statuses[i], bodies[k]));
			t = ask_and_wait(&st, CALL_LOOK);
			assert_int_equal(t->res.verdict, LATER);
			assert_int_not_equal(t->res.error, PE_GONE);
			assert_int_equal(t->res.count, 0);
			stage_close(&st);
		}
	}
	stage_init(&st);
	stage_open(&st);
	SCRIPT(&st, CALL_LOOK, SAYS(404, ""), SAYS(200, "gone"));
	assert_int_equal(ask_and_wait(&st, CALL_LOOK)->res.error, PE_GONE);
	assert_int_equal(ask_and_wait(&st, CALL_LOOK)->res.count, 1);
}

/* ---- replies ---- */

static char big[100 * 1024];

static void large_replies_are_parsed_on_a_worker(void **state)
{
	struct told *t;

	(void)state;
	stage_open(&st);
	memset(big, '\n', sizeof big);
	memcpy(big, "id m1", 5);
	big[64 << 10] = '\0';
	SCRIPT(&st, CALL_LOOK, SAYS(200, big));
	ask_and_wait(&st, CALL_LOOK);
	assert_int_equal(st.f.works, 0);
	big[64 << 10] = '\n';
	big[(64 << 10) + 1] = '\0';
	SCRIPT(&st, CALL_LOOK, SAYS(200, big));
	t = ask_and_wait(&st, CALL_LOOK);
	assert_int_equal(st.f.works, 1);
	assert_int_equal(t->res.verdict, SURE_YES);
	assert_string_equal(t->ids, "m1 ");
	SCRIPT(&st, CALL_CREATE, SAYS(200, big), SAYS(200, "id m2"));
	t = ask(&st, CALL_CREATE);
	ask(&st, CALL_CREATE);
	while (st.f.works < 2)
		fake_step(&st.f);
	fake_run(&st.f, st.f.work_us / 2); /* answered is when it is parsed */
	assert_int_equal(sent_of(&st, CALL_CREATE), 1);
	fake_run(&st.f, SECOND_US);
	assert_int_equal(sent_of(&st, CALL_CREATE), 2);
	assert_string_equal(t->ids, "m1 ");
}

static void the_clock_is_checked_by_the_date(void **state)
{
	static const int64_t off_s[] = {90, 90, -86400 * 365, 91, 89};
	int64_t half = SECOND_US / 2;

	(void)state;
	stage_open(&st);
	assert_int_equal(view().skew_us, UNKNOWN);
	SCRIPT(&st, CALL_LOOK, {.status = 200, .date_us = 0, .retry_after_us = UNKNOWN});
	ask_and_wait(&st, CALL_LOOK);
	assert_int_equal(view().skew_us, UNKNOWN); /* 1970 is nobody's clock */
	for (size_t i = 0; i < ARRAY_LEN(off_s); i++) {
		SCRIPT(&st, CALL_LOOK,
		       {.status = 200,
			.retry_after_us = UNKNOWN,
			.date_us = st.f.now_us - off_s[i] * SECOND_US});
		ask_and_wait(&st, CALL_LOOK);
	}
	assert_int_equal(view().skew_us, 90 * SECOND_US - half); /* one liar changes nothing */
	for (int i = 0; i < 3; i++) {
		SCRIPT(&st, CALL_LOOK,
		       {.status = 200,
			.retry_after_us = UNKNOWN,
			.date_us = st.f.now_us - half - UNKNOWN});
		ask_and_wait(&st, CALL_LOOK);
	}
	assert_int_equal(view().skew_us, 0); /* known, and not UNKNOWN */
}

#define T(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_request_is_what_the_dialect_says),
		T(what_cannot_be_said_is_not_sent),
		T(a_quoted_key_is_not_passed_on),
		T(the_most_urgent_goes_first),
		T(equals_go_in_the_order_of_arrival),
		T(who_waited_long_is_not_starved),
		T(spacing_is_kept_exactly),
		T(one_token_is_kept_for_destroys),
		T(at_most_four_at_once_and_a_destroy),
		T(the_queue_is_bounded_and_lets_destroys_in),
		T(creates_go_one_at_a_time_and_once),
		T(what_is_not_wanted_any_more_is_withdrawn),
		T(every_outcome_of_a_create),
		T(only_reads_are_tried_again),
		T(a_retry_can_save_a_read),
		T(a_read_ends_within_its_time),
		T(a_read_that_may_not_be_repeated_in_time_is_answered),
		T(a_retry_waits_as_long_as_the_provider_asks),
		T(no_error_means_gone),
		T(large_replies_are_parsed_on_a_worker),
		T(the_clock_is_checked_by_the_date),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
