/*
 * Lists over all their pages: complete only if everything agrees, and whatever came is handed over.
 * See test_cloud.c.
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

struct list_row {
	const char *what;
	struct fake_reply pages[5];
	size_t sent;
	enum verdict verdict;
	bool complete;
	const char *ids, *says;
};

static const struct list_row list_rows[] = {
	{"one page", {SAYS(200, "id a\nid b\ntotal 2")}, 1, SURE_YES, true, "a b ", ""},
	{"nothing, and it says so", {SAYS(200, "total 0")}, 1, SURE_YES, true, "", ""},
	{"nothing", {SAYS(200, "")}, 1, SURE_YES, true, "", ""},
	{"three pages",
	 {SAYS(200, "id a\nnext 1\ntotal 3"), SAYS(200, "id b\nnext 2"),
	  SAYS(200, "id c\ntotal 3")},
	 3,
	 SURE_YES,
	 true,
	 "a b c ",
	 ""},
	{"too few", {SAYS(200, "id a\ntotal 2")}, 1, SURE_YES, false, "a ", "counts 2"},
	{"too many", {SAYS(200, "id a\nid b\ntotal 1")}, 1, SURE_YES, false, "a b ", "counts 1"},
	{"the total changes",
	 {SAYS(200, "id a\nnext 1\ntotal 3"), SAYS(200, "id b\ntotal 2")},
	 2,
	 SURE_YES,
	 false,
	 "a b ",
	 "changed"},
	{"an id twice on a page",
	 {SAYS(200, "id a\nid a\nid b")},
	 1,
	 SURE_YES,
	 false,
	 "a b ",
	 "twice"},
	{"an id on two pages",
	 {SAYS(200, "id b\nid a\nnext 1"), SAYS(200, "id a\nid c")},
	 2,
	 SURE_YES,
	 false,
	 "b a c ",
	 "twice"},
	{"no id", {SAYS(200, "id \nid a")}, 1, SURE_YES, false, " a ", "without an id"},
	{"a dropped row",
	 {SAYS(200, "id a\ndropped 1")},
	 1,
	 SURE_YES,
	 false,
	 "a ",
	 "could not be read"},
	{"a cut cursor", {SAYS(200, "id a\ncut")}, 1, SURE_YES, false, "a ", "too long"},
	{"a page that says it is not whole",
	 {SAYS(200, "partial")},
	 1,
	 SURE_YES,
	 false,
	 "",
	 "not whole"},
	{"only the last page knows that it is the last",
	 {SAYS(200, "partial\nid a\nnext 1"), SAYS(200, "id b")},
	 2,
	 SURE_YES,
	 true,
	 "a b ",
	 ""},
	{"a last page that is not whole",
	 {SAYS(200, "id a\nnext 1"), SAYS(200, "partial\nid b")},
	 2,
	 SURE_YES,
	 false,
	 "a b ",
	 "not whole"},
	{"a yes that is no 200",
	 {SAYS(500, "verdict sure_yes\nid a")},
	 1,
	 SURE_YES,
	 false,
	 "a ",
	 "500"},
	{"a cursor that points at itself",
	 {SAYS(200, "id a\nnext 1"), SAYS(200, "id b\nnext 1")},
	 2,
	 SURE_YES,
	 false,
	 "a b ",
	 "seen before"},
	{"a loop of two",
	 {SAYS(200, "id a\nnext 1"), SAYS(200, "id b\nnext 2"), SAYS(200, "id c\nnext 1")},
	 3,
	 SURE_YES,
	 false,
	 "a b c ",
	 "seen before"},
	{"the second page fails",
	 {SAYS(200, "id a\nnext 1"), SAYS(500, "")},
	 2,
	 SURE_YES,
	 false,
	 "a ",
	 "page 2 did not come"},
	{"the second page is lost",
	 {SAYS(200, "id a\nnext 1"), LOST},
	 4,
	 SURE_YES,
	 false,
	 "a ",
	 "page 2 did not come"},
	{"the second page is throttled",
	 {SAYS(200, "id a\nnext 1"), SAYS(429, "")},
	 2,
	 SURE_YES,
	 false,
	 "a ",
	 "page 2 did not come"},
	{"a retry saves the second page",
	 {SAYS(200, "id a\nnext 1"), LOST, SAYS(503, ""), SAYS(200, "id b")},
	 4,
	 SURE_YES,
	 true,
	 "a b ",
	 ""},
	{"the first page fails", {SAYS(500, "id a")}, 1, LATER, false, "", "status 500"},
	{"the first page is lost", {LOST}, 3, LATER, false, "", "timed out"},
	{"the key is dead", {SAYS(401, "")}, 1, KEY_DEAD, false, "", ""},
	{"the key dies between pages",
	 {SAYS(200, "id a\nnext 1"), SAYS(401, "")},
	 2,
	 KEY_DEAD,
	 false,
	 "",
	 ""},
};

static void lists_are_complete_only_if_everything_agrees(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(list_rows); i++) {
		const struct list_row *row = &list_rows[i];
		size_t n = 0;
		struct told *t;

		while (n < ARRAY_LEN(row->pages) && row->pages[n].delay_us)
			n++;
		stage_init(&st);
		stage_open(&st);
		script(&st, CALL_LIST, row->pages, n);
		t = ask_and_wait(&st, CALL_LIST);
		if (t->res.verdict != row->verdict || t->res.complete != row->complete ||
		    strcmp(t->ids, row->ids) || st.sent_count != row->sent ||
		    !strstr(t->res.text, row->says))
			fail_msg("%s: %s, complete %d, [%s], %zu sent: %s", row->what,
				 verdict_names[t->res.verdict], t->res.complete, t->ids,
				 st.sent_count, t->res.text);
		stage_close(&st);
	}
}

static void pages_are_asked_for_by_their_cursor(void **state)
{
	(void)state;
	st.endpoints[CALL_LIST].spacing_us = SECOND_US;
	stage_open(&st);
	SCRIPT(&st, CALL_LIST, SAYS(200, "next c1"), SAYS(200, "next c2"), SAYS(200, ""));
	ask_and_wait(&st, CALL_LIST);
	assert_string_equal(st.sent[0].path, "/list");
	assert_string_equal(st.sent[1].path, "/list?after=c1");
	assert_string_equal(st.sent[2].path, "/list?after=c2");
	assert_int_equal(st.sent[2].at_us - st.sent[0].at_us, 2 * SECOND_US);
	assert_true(st.told[0].res.complete);
}

/* A server that always has one more page. */
static void endless(struct fake *f, const struct http_args *args, struct fake_reply *reply)
{
	static char body[64];

	(void)args;
	snprintf(body, sizeof body, "next %zu", ++((struct stage *)f)->sent_count);
	reply->body = body;
	reply->delay_us = 1000;
}

static void a_list_without_an_end_ends(void **state)
{
	struct told *t;

	(void)state;
	stage_open(&st);
	st.f.serve = endless;
	t = ask_and_wait(&st, CALL_LIST);
	assert_int_equal(st.sent_count, 400);
	assert_int_equal(t->res.verdict, SURE_YES);
	assert_false(t->res.complete);
	assert_non_null(strstr(t->res.text, "400 pages"));
}

static void the_breaker_can_cut_a_list_short(void **state)
{
	struct told *t;

	(void)state;
	st.endpoints[CALL_LIST].spacing_us = 2 * SECOND_US;
	stage_open(&st);
	SCRIPT(&st, CALL_LIST, SAYS(200, "id a\nnext 1"), SAYS(200, "id b"));
	SCRIPT(&st, CALL_LOOK, SAYS(500, ""));
	t = ask(&st, CALL_LIST);
	fake_run(&st.f, SECOND_US);
	for (int i = 0; i < 5; i++)
		ask_and_wait(&st, CALL_LOOK);
	fake_run(&st.f, SECOND_US / 2); /* page 2 waits for its turn, and is not sent */
	assert_int_equal(sent_of(&st, CALL_LIST), 1);
	assert_int_equal(t->res.verdict, SURE_YES);
	assert_false(t->res.complete);
	assert_string_equal(t->ids, "a ");
	assert_non_null(strstr(t->res.text, "page 2 did not come: plain failed 5 times"));
}

#define T(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(lists_are_complete_only_if_everything_agrees),
		T(pages_are_asked_for_by_their_cursor),
		T(a_list_without_an_end_ends),
		T(the_breaker_can_cut_a_list_short),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
