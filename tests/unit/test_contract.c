/*
 * The contract of provider.h, once for every provider: each case runs against each of them, the clouds
 * through the HTTP engine against their strict fakes, `local` against a host in memory, all in virtual time.
 * What a case needs of a fake it says in the fakes' control language, which has the same words for the same
 * things. The table of providers and cases is printed at the end. A new provider is one row in `kinds`
 * (contract_stage.c).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../src/core/check.h"
#include "contract.h"

#include <cmocka.h>
#undef fail

/* ---- cases ---- */

static void offers_are_whole(struct stage *st)
{
	const struct shape wanted = {50, 8, 32};
	const struct shape shape = provider_shape(st->p, &wanted);
	const struct offer *o = &st->offer;

	search(st);
	assert_int_equal(st->got.verdict, SURE_YES);
	assert_true(st->got.count > 0);
	assert_int_equal(strncmp(o->id, st->p->name, strlen(st->p->name)), 0);
	assert_int_equal(o->id[strlen(st->p->name)], '-');
	assert_string_equal(o->provider, st->p->name);
	assert_true(o->provider_id[0] && o->gpu_type[0] && o->price_u6 > 0 && o->available);
	/* The list's price is that of the shape that was asked for. */
	assert_int_equal(offer_price(o, &shape), o->price_u6);
}

static void the_account_is_told(struct stage *st)
{
	act(st, &(struct call){.op = CALL_ACCOUNT});
	assert_int_equal(st->got.verdict, SURE_YES);
	assert_int_equal(st->got.balance_u6, 100 * 1000000);
}

static void a_machine_lives_and_ends(struct stage *st)
{
	const struct instance *in;
	char id[96];

	have_one(st, id);
	fake_run(&st->f, 10 * MINUTE_US); /* it boots */
	list(st);
	assert_true(st->got.complete);
	in = listed(st, LABEL);
	assert_non_null(in);
	assert_string_equal(in->id, id);
	look(st, id);
	in = &st->instances[0];
	assert_int_equal(st->got.verdict, SURE_YES);
	assert_int_equal(in->status, INST_RUNNING);
	assert_true(in->ssh_host[0] && in->ssh_port > 0 && in->price_u6 > 0);
	destroy(st, id);
	assert_int_equal(st->got.verdict, SURE_YES);
	prove_gone(st, id);
}

static void destroyed_twice(struct stage *st)
{
	char id[96];

	have_one(st, id);
	destroy(st, id);
	assert_int_equal(st->got.verdict, SURE_YES);
	fake_run(&st->f, 5 * MINUTE_US);
	destroy(st, id);
	assert_int_equal(st->got.verdict, SURE_YES);
	prove_gone(st, id);
}

/* Made, and the answer lost: nobody knows, until a list tells. Sent once. */
static void a_create_without_an_answer(struct stage *st)
{
	const struct instance *in;
	char id[96];

	search(st);
	control(st, "fault create lost 1");
	create(st, LABEL);
	assert_int_equal(st->got.verdict, UNSURE);
	assert_int_equal(meter(st, "created"), 1);
	list(st);
	in = listed(st, LABEL);
	assert_non_null(in);
	copy_text(id, sizeof id, in->id);
	destroy(st, id);
	prove_gone(st, id);
	assert_int_equal(meter(st, "created"), 1);
}

/* Nothing arrived, or a gateway stood in between: unsure as well, and a list shows nothing. */
static void a_create_that_made_nothing(struct stage *st)
{
	static const char *const faults[] = {"drop", "502", "500", "503"};

	search(st);
	for (size_t i = 0; i < ARRAY_LEN(faults); i++) {
		control(st, "fault create %s 1", faults[i]);
		create(st, new_label());
		assert_int_equal(st->got.verdict, UNSURE);
		list(st);
		assert_true(st->got.complete);
		assert_int_equal(st->got.count, 0);
		fake_run(&st->f, 10 * MINUTE_US); /* a breaker may have opened */
	}
	control(st, "fault create unsent 1");
	create(st, new_label());
	assert_int_equal(st->got.verdict, LATER);
	assert_int_equal(meter(st, "created"), 0);
}

/* A list says of a late one nothing yet, and then shows it. */
static void a_create_that_comes_late(struct stage *st)
{
	char id[96];

	search(st);
	control(st, "fault create late:40s 1");
	create(st, LABEL);
	assert_int_equal(st->got.verdict, UNSURE);
	fake_run(&st->f, MINUTE_US);
	list(st);
	assert_non_null(listed(st, LABEL));
	copy_text(id, sizeof id, listed(st, LABEL)->id);
	destroy(st, id);
	prove_gone(st, id);
}

static void expect(struct stage *st, const char *fault, enum verdict v, enum provider_error e)
{
	if (st->got.verdict != v || st->got.error != e)
		print_error("%s: %s: %s %s, %s\n", st->kind->name, fault,
			    verdict_names[st->got.verdict], provider_error_names[st->got.error],
			    st->got.text);
	assert_int_equal(st->got.verdict, v);
	assert_int_equal(st->got.error, e);
}

static void refused_creates(struct stage *st)
{
	search(st);
	control(st, "fault create %s 1", st->kind->stale);
	create(st, new_label());
	assert_int_equal(st->got.verdict, SURE_NO);
	assert_int_equal(st->got.error, PE_STALE_OFFER);
	control(st, "fault create no-credit 1");
	create(st, new_label());
	assert_int_equal(st->got.verdict, SURE_NO);
	assert_int_equal(st->got.error, PE_MONEY);
	assert_true(st->got.text[0]);
	control(st, "fault create 429 1");
	create(st, new_label());
	expect(st, "429", LATER, PE_RATE);
	fake_run(&st->f, 10 * MINUTE_US);
	control(st, "fault create auth 1");
	create(st, new_label());
	expect(st, "auth", KEY_DEAD, PE_AUTH);
	assert_int_equal(meter(st, "created"), 0);
}

static void gone_by_itself(struct stage *st)
{
	char id[96];

	have_one(st, id);
	fake_run(&st->f, 10 * MINUTE_US);
	if (st->fake)
		control(st, "event vanish %s", id);
	else
		st->guest_count = 0;
	prove_gone(st, id);
}

/* An id that never was is gone, for a look and for a destroy. */
static void an_id_that_never_was(struct stage *st)
{
	char id[96];

	have_one(st, id);
	id[strlen(id) - 1] = id[strlen(id) - 1] == '7' ? '8' : '7';
	look(st, id);
	assert_true(says_gone(&st->got));
	destroy(st, id);
	assert_int_equal(st->got.verdict, SURE_YES);
	assert_int_equal(alive(st), 1);
}

/* Machines of others are listed as they are; nothing we do concerns them. */
static void foreign_machines(struct stage *st)
{
	char id[96];

	control(st, "foreign somebody-elses");
	have_one(st, id);
	list(st);
	assert_true(st->got.complete);
	assert_non_null(listed(st, "somebody-elses"));
	assert_non_null(listed(st, LABEL));
	destroy(st, id);
	prove_gone(st, id);
	assert_non_null(listed(st, "somebody-elses"));
	assert_int_equal(meter(st, "alive"), 1);
}

/* More machines than a page shows, ours among them: the list is whole, or says that it is not. */
static void lists_over_pages(struct stage *st)
{
	const size_t n = ARRAY_LEN(st->instances) - 2;
	char id[96];

	for (size_t i = 0; i < n / 2; i++)
		control(st, "foreign before-%zu", i);
	have_one(st, id);
	for (size_t i = n / 2; i < n; i++)
		control(st, "foreign behind-%zu", i);
	list(st);
	assert_int_equal(st->got.verdict, SURE_YES);
	assert_true(st->got.complete);
	assert_int_equal(st->got.count, n + 1);
	assert_non_null(listed(st, LABEL));
	control(st, "fault list 500 always");
	list(st);
	assert_false(st->got.complete);
	control(st, "no-faults");
	fake_run(&st->f, 10 * MINUTE_US);
	destroy(st, id);
	prove_gone(st, id);
	assert_int_equal(st->got.count, n);
}

/* ---- errors, each in its class ---- */

static const struct failure {
	const char *fault;
	enum verdict read, write;
	enum provider_error error;
} failures[] = {
	{"429", LATER, LATER, PE_RATE},
	{"500", LATER, UNSURE, PE_UNAVAILABLE},
	{"502", LATER, UNSURE, PE_UNAVAILABLE},
	{"503", LATER, UNSURE, PE_UNAVAILABLE},
	{"drop", LATER, UNSURE, PE_UNAVAILABLE},
	{"truncate", LATER, UNSURE, PE_UNAVAILABLE},
	{"not-json", LATER, UNSURE, PE_UNAVAILABLE},
	{"empty", LATER, UNSURE, PE_UNAVAILABLE},
	{"auth", KEY_DEAD, KEY_DEAD, PE_AUTH},
};

static void call_by_name(struct stage *st, const char *op, const char *id)
{
	if (!strcmp(op, "search"))
		search(st);
	else if (!strcmp(op, "list"))
		list(st);
	else if (!strcmp(op, "get"))
		look(st, id);
	else
		destroy(st, id);
}

/* None of them may call a machine gone, or a list complete. */
static void errors_in_their_class(struct stage *st)
{
	static const char *const ops[] = {"search", "list", "get", "destroy"};
	char id[96];

	have_one(st, id);
	for (size_t o = 0; o < ARRAY_LEN(ops); o++)
		for (size_t i = 0; i < ARRAY_LEN(failures); i++) {
			bool write = !strcmp(ops[o], "destroy");

			control(st, "fault %s %s always", ops[o], failures[i].fault);
			call_by_name(st, ops[o], id);
			expect(st, failures[i].fault, write ? failures[i].write : failures[i].read,
			       failures[i].error);
			assert_false(says_gone(&st->got));
			assert_false(st->got.complete);
			control(st, "no-faults");
			fake_run(&st->f, HOUR_US); /* pauses and breakers end */
			if (!alive(st))
				break; /* the effect came, and only the answer was lost */
		}
	destroy(st, id);
	prove_gone(st, id);
}

/* A destroy that is answered wrongly is tried until a query says gone. */
static void destroys_that_fail(struct stage *st)
{
	static const char *const faults[] = {"lost", "done-502", "500", "linger:30s", "ignored"};
	char id[96];

	for (size_t i = 0; i < ARRAY_LEN(faults); i++) {
		search(st);
		create(st, new_label());
		assert_int_equal(st->got.verdict, SURE_YES);
		copy_text(id, sizeof id, st->instances[0].id);
		control(st, "fault destroy %s 1", faults[i]);
		destroy(st, id);
		assert_false(says_gone(&st->got));
		for (int k = 0; k < 5 && alive(st); k++) {
			fake_run(&st->f, MINUTE_US);
			destroy(st, id);
		}
		prove_gone(st, id);
	}
}

/* As much as a caller may ask for: the provider's own limits hold, and nothing is refused. */
static void limits_are_kept(struct stage *st)
{
	int before, n = 120;
	char id[96];

	have_one(st, id);
	before = st->answers;
	for (int i = 0; i < n; i++) {
		cloud_act(st->c, &(struct call){.op = CALL_LOOK, .instance_id = id}, answered, st);
		cloud_act(st->c, &(struct call){.op = CALL_LIST}, answered, st);
	}
	for (int i = 0; st->answers < before + 2 * n && i < 1000000 && fake_step(&st->f); i++)
		;
	assert_int_equal(st->answers, before + 2 * n);
	assert_int_equal(meter(st, "throttled"), 0);
	destroy(st, id);
	prove_gone(st, id);
}

/* ---- two at once ---- */

struct other {
	int answers;
	enum verdict verdict;
};

static void other_answered(void *arg, const struct result *res)
{
	struct other *o = arg;

	o->answers++;
	o->verdict = res->verdict;
}

/* One host answers with a gateway's page, the other as its fake. */
static void serve_both(struct fake *f, const struct http_args *args, struct fake_reply *r)
{
	if (strstr(args->url, "https://broken.invalid/")) {
		*r = (struct fake_reply){.status = 502,
					 .body = "<html>bad</html>",
					 .delay_us = 20 * SECOND_US,
					 .retry_after_us = UNKNOWN,
					 .date_us = UNKNOWN};
		return;
	}
	serve(f, args, r);
}

static void one_that_fails_hides_nothing(struct stage *st)
{
	struct account a = {.base_url = "https://broken.invalid", .key = "key-of-the-broken-one"};
	struct page_ask page = {.limit = 64};
	struct other seen = {0};
	struct provider *p;
	struct cloud *c;
	char id[96];

	COPY(a.image, st->kind->image);
	p = st->kind->provider(&a);
	st->f.serve = serve_both;
	c = cloud_new(&st->f.w, p);
	for (int i = 0; i < 20; i++)
		cloud_act(c, &(struct call){.op = CALL_OFFERS, .page = &page}, other_answered,
			  &seen);
	have_one(st, id);
	list(st);
	assert_true(st->got.complete);
	destroy(st, id);
	prove_gone(st, id);
	for (int i = 0; seen.answers < 20 && i < 100000 && fake_step(&st->f); i++)
		;
	assert_int_equal(seen.answers, 20);
	assert_int_equal(seen.verdict, LATER);
	cloud_free(c);
	free(p);
}

/* ---- the table ---- */

static const struct {
	const char *name;
	void (*run)(struct stage *st);
	bool cloud; /* about an account, a network or a fault: nothing of it concerns this machine */
} cases[] = {
	{"offers", offers_are_whole},
	{"account", the_account_is_told, true},
	{"life", a_machine_lives_and_ends},
	{"destroy twice", destroyed_twice},
	{"create, answer lost", a_create_without_an_answer, true},
	{"create, nothing made", a_create_that_made_nothing, true},
	{"create, made late", a_create_that_comes_late, true},
	{"create, refused", refused_creates, true},
	{"gone by itself", gone_by_itself},
	{"id that never was", an_id_that_never_was},
	{"foreign untouched", foreign_machines, true},
	{"lists over pages", lists_over_pages, true},
	{"errors in their class", errors_in_their_class, true},
	{"destroys that fail", destroys_that_fail, true},
	{"limits kept", limits_are_kept, true},
	{"one provider fails", one_that_fails_hides_nothing, true},
};

static char results[ARRAY_LEN(cases)][ARRAY_LEN(kinds)]; /* 0 not run, else the letter */

struct cell {
	size_t which, kind;
	struct stage *st;
};

static int cell_setup(void **state)
{
	struct cell *cell = *state;

	cell->st = stage_new(&kinds[cell->kind]);
	results[cell->which][cell->kind] = '!'; /* until it ends well */
	return 0;
}

static int cell_teardown(void **state)
{
	struct cell *cell = *state;

	stage_free(cell->st);
	return 0;
}

static void cell_run(void **state)
{
	struct cell *cell = *state;
	char *result = &results[cell->which][cell->kind];

	cases[cell->which].run(cell->st);
	if (cell->st->fake && *control(cell->st, "violations"))
		print_error("%s\n", control(cell->st, "violations"));
	if (cell->st->fake)
		assert_int_equal(meter(cell->st, "violations"), 0);
	*result = '+';
}

static void print_table(void)
{
	print_message("# %-24s", "");
	for (size_t k = 0; k < ARRAY_LEN(kinds); k++)
		print_message("%-12s", kinds[k].name);
	print_message("\n");
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		print_message("# %-24s", cases[i].name);
		for (size_t k = 0; k < ARRAY_LEN(kinds); k++)
			print_message("%-12s", results[i][k] == '+'   ? "ok"
					       : results[i][k] == '-' ? "-"
								      : "FAILED");
		print_message("\n");
	}
}

int main(void)
{
	static struct CMUnitTest tests[ARRAY_LEN(cases) * ARRAY_LEN(kinds)];
	static struct cell cells[ARRAY_LEN(tests)];
	static char names[ARRAY_LEN(tests)][64];
	size_t n = 0;
	int failed;

	for (size_t at = 0; at < ARRAY_LEN(tests); at++) {
		struct cell cell = {.which = at / ARRAY_LEN(kinds), .kind = at % ARRAY_LEN(kinds)};

		if (cases[cell.which].cloud && !kinds[cell.kind].make) {
			results[cell.which][cell.kind] = '-';
			continue;
		}
		cells[n] = cell;
		snprintf(names[n], sizeof names[n], "%s: %s", kinds[cells[n].kind].name,
			 cases[cells[n].which].name);
		tests[n] = (struct CMUnitTest){names[n], cell_run, cell_setup, cell_teardown,
					       &cells[n]};
		n++;
	}
	failed = _cmocka_run_group_tests("contract", tests, n, NULL, NULL);
	print_table();
	return failed;
}
