/*
 * The engine's market of a provider that shows pages: what is asked for, when, what a failure changes,
 * and what everybody sees meanwhile. A dialect of one line a row over the real HTTP engine, in the
 * virtual world.
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

#define PAGE_ROWS 8
#define ROWS	  3000
#define SENT_MAX  4096

/* ---- the provider ---- */

static struct {
	struct fake f;
	struct dialect dialect;
	struct endpoint endpoint;
	int rows, models;	   /* row i: price 100000 + i * 1000, model i % models */
	int status[CALL_OP_COUNT]; /* of the next replies; 0: 200 */
	int64_t delay_us;
	int page;   /* rows */
	int rented; /* this row is not shown; -1 */
	char body[ROWS * 64];
	struct {
		enum call_op op;
		struct page_ask page;
		int64_t at_us;
	} sent[SENT_MAX];
	size_t sent_count;
} t;

static const char *const models[] = {"RTX 4090", "H100 SXM", "A100 PCIE", "A100 SXM4", "L4"};

static int build(const struct provider *p, const struct call *call, const char *cursor,
		 struct wire_request *out, struct error *why)
{
	(void)p, (void)cursor, (void)why;
	buf_printf(&out->path, "/%d", call->op);
	if (call->op == CALL_OFFERS)
		buf_printf(&out->path, "?%d/%lld/%lld/%lld/%s", call->page->interruptible,
			   (long long)call->page->from_price_u6, (long long)call->page->limit,
			   (long long)call->page->shape.disk_gb, call->page->gpu);
	return 0;
}

static void read_rows(const struct wire_ask *ask, const char *body, struct wire_result *out)
{
	char model[64];
	long long price;
	int id, used;

	while (sscanf(body, "%d %lld %63[^\n]\n%n", &id, &price, model, &used) == 3) {
		struct offer *o = wire_add_offer(out);

		body += used;
		out->r.rows++;
		out->r.last_price_u6 = price;
		if (!o)
			continue;
		snprintf(o->id, sizeof o->id, "fake-%d", id);
		snprintf(o->machine_id, sizeof o->machine_id, "%d", id / 2);
		COPY(o->provider, "fake");
		COPY(o->gpu_type, model);
		o->gpu_count = 1;
		o->vram_gb = 24;
		o->price_u6 = price;
		o->interruptible = ask->page.interruptible;
		o->min_bid_u6 = o->interruptible ? price : UNKNOWN;
		o->max_duration_hours = o->cuda_m = o->reliability_m = o->disk.max = UNKNOWN;
		o->confidence_m = 1000;
		o->available = true;
	}
	out->r.dropped = 2; /* as if two more had come */
	out->r.rows += 2;
}

static void parse(const struct wire_ask *ask, const struct wire_reply *reply,
		  struct wire_result *out)
{
	if (reply->status == 401) {
		wire_say(out, KEY_DEAD, PE_AUTH, "the key is refused");
		return;
	}
	if (reply->status == 429) {
		wire_say(out, LATER, PE_RATE, "too many requests");
		return;
	}
	if (reply->status != 200) {
		wire_say(out, LATER, PE_UNAVAILABLE, "it is on fire");
		return;
	}
	wire_say(out, SURE_YES, PE_NONE, "%s", "");
	if (ask->op == CALL_OFFERS)
		read_rows(ask, reply->body, out);
	else if (ask->op == CALL_ACCOUNT)
		out->r.balance_u6 = 12500000;
	else if (ask->op == CALL_LIST)
		out->total = 0;
	else if (ask->op == CALL_TEMPLATES)
		COPY(wire_add_template(out)->name, "PyTorch");
	if (ask->op == CALL_TEMPLATES)
		out->r.count = 1;
}

static void serve(struct fake *f, const struct http_args *args, struct fake_reply *reply)
{
	struct page_ask page = {0};
	long long from = 0, limit = 0, disk = 0;
	int op = atoi(strchr(args->url + 8, '/') + 1), bids = 0, n = 0;
	size_t at = 0;

	if (op == CALL_OFFERS) {
		const char *q = strchr(args->url, '?') + 1;

		assert_true(sscanf(q, "%d/%lld/%lld/%lld/%63[^\n]", &bids, &from, &limit, &disk,
				   page.gpu) >= 4);
		page.from_price_u6 = from;
		page.limit = limit;
		page.shape.disk_gb = disk;
		page.interruptible = bids != 0;
	}
	assert_true(t.sent_count < SENT_MAX);
	t.sent[t.sent_count].op = (enum call_op)op;
	t.sent[t.sent_count].page = page;
	t.sent[t.sent_count++].at_us = f->now_us;
	t.body[0] = '\0';
	for (int i = 0; op == CALL_OFFERS && i < t.rows && n < t.page; i++) {
		long long price = bids ? 50000 + i * 1000 : 100000 + i * 1000;

		if (price < from || i == t.rented ||
		    (page.gpu[0] && strcmp(page.gpu, models[i % t.models])))
			continue;
		at += (size_t)snprintf(t.body + at, sizeof t.body - at, "%d %lld %s\n", i, price,
				       models[i % t.models]);
		n++;
	}
	reply->status = t.status[op] ? t.status[op] : 200;
	reply->delay_us = t.delay_us;
	reply->body = t.body;
}

static int begin(void **state)
{
	(void)state;
	memset(&t, 0, sizeof t);
	fake_init(&t.f);
	t.endpoint = (struct endpoint){.name = "all", .spacing_us = SECOND_US / 100, .burst = 4};
	t.dialect = (struct dialect){.auth_prefix = "Authorization: Bearer ",
				     .endpoints = &t.endpoint,
				     .endpoint_count = 1,
				     .account_spacing_us = SECOND_US / 100,
				     .account_burst = 4,
				     .page_rows = PAGE_ROWS,
				     .pages_per_refresh = 4,
				     .disk_min_gb = 10,
				     .bids = true,
				     .templates = true,
				     .build = build,
				     .parse = parse};
	t.f.provider.act = NULL;
	t.f.provider.dialect = &t.dialect;
	t.f.provider.account = (struct account){.base_url = "https://x.test", .key = "k"};
	t.f.serve = serve;
	t.f.p.default_disk_gb = 40;
	t.page = PAGE_ROWS;
	t.rows = 100;
	t.models = 1;
	t.rented = -1;
	return 0;
}

static int end(void **state)
{
	(void)state;
	if (t.f.e)
		fake_free(&t.f);
	return 0;
}

/* ---- helpers ---- */

static struct provider_view view(void)
{
	struct provider_view v;

	assert_true(engine_provider_view(t.f.e, 0, &v));
	return v;
}

static const struct offer *offer(const char *id)
{
	return inventory_find(engine_inventory(t.f.e), id);
}

/* How many calls of one kind were sent since then. */
static size_t sent_since(size_t from, enum call_op op)
{
	size_t n = 0;

	for (size_t i = from; i < t.sent_count; i++)
		n += t.sent[i].op == op;
	return n;
}

/* The first page of a search that was sent since then. */
static const struct page_ask *page_since(size_t from)
{
	for (size_t i = from; i < t.sent_count; i++)
		if (t.sent[i].op == CALL_OFFERS)
			return &t.sent[i].page;
	fail_msg("nothing was asked for");
	return NULL;
}

static void ask(const char *query)
{
	struct query q = {0};

	assert_int_equal(query_parse(&q, query, NULL), 0);
	engine_asked_for(t.f.e, &q);
}

static void minutes(int n)
{
	fake_run(&t.f, n * MINUTE_US);
}

/* ---- pages ---- */

static void a_market_comes_in_pages(void **state)
{
	size_t before;

	(void)state;
	fake_start(&t.f);
	assert_int_equal(sent_since(0, CALL_OFFERS), 4);
	assert_int_equal(page_since(0)->shape.disk_gb, 40);
	assert_true(engine_inventory(t.f.e)->count > PAGE_ROWS);
	assert_false(view().list_complete);
	assert_int_equal(view().dropped, 8);
	assert_int_equal(view().offers, engine_inventory(t.f.e)->count);
	/* The rest comes with the next refreshes, each within its budget. */
	for (int i = 0; i < 5; i++) {
		before = t.sent_count;
		engine_looked_at_market(t.f.e);
		minutes(1);
		assert_true(sent_since(before, CALL_OFFERS) <= 4);
	}
	assert_int_equal(engine_inventory(t.f.e)->count, 100);
	assert_true(view().list_complete);
	assert_true(view().list_age_us < MINUTE_US);
	/* What was rented leaves when three rounds did not show it, and loses confidence before. */
	t.rented = 50;
	for (int i = 0; i < 40 && offer("fake-50"); i++) {
		engine_looked_at_market(t.f.e);
		minutes(1);
	}
	assert_null(offer("fake-50"));
	assert_int_equal(engine_inventory(t.f.e)->count, 99);
}

static void nobody_looks(void **state)
{
	size_t before;

	(void)state;
	fake_start(&t.f);
	minutes(5);
	before = t.sent_count;
	minutes(20); /* every five minutes, four pages */
	assert_true(sent_since(before, CALL_OFFERS) <= 16 + 4);
	assert_true(sent_since(before, CALL_OFFERS) >= 12);
}

static void what_is_asked_for_comes_first(void **state)
{
	size_t before;

	(void)state;
	t.models = 5;
	fake_start(&t.f);
	minutes(2);
	before = t.sent_count;
	ask("gpu=A100");
	assert_int_equal(t.sent_count, before); /* nothing happens inside the question */
	fake_run(&t.f, 20 * SECOND_US);
	assert_string_equal(page_since(before)->gpu, "A100 PCIE");
	assert_int_equal(page_since(before)->from_price_u6, 0);
	assert_int_equal(sent_since(before, CALL_OFFERS), 4);
	/* The same question again is answered from what was fetched. */
	before = t.sent_count;
	ask("gpu=A100");
	fake_run(&t.f, 10 * SECOND_US);
	assert_int_equal(sent_since(before, CALL_OFFERS), 0);
	minutes(12);
	before = t.sent_count;
	engine_looked_at_market(t.f.e);
	minutes(2);
	assert_string_equal(page_since(before)->gpu, ""); /* forgotten */
}

static void drafts_and_orders_ask_too(void **state)
{
	size_t before;
	bool seen = false;

	(void)state;
	t.models = 5;
	fake_start(&t.f);
	assert_int_equal(fake_mkdir(&t.f, "x"), 0);
	assert_int_equal(fake_spec(&t.f, "x", "gpu==H100_SXM max_price=0.01\n"), 0);
	minutes(60); /* long after somebody asked */
	before = t.sent_count;
	minutes(6);
	for (size_t i = before; i < t.sent_count; i++)
		seen = seen || !strcmp(t.sent[i].page.gpu, "H100 SXM");
	assert_true(seen);
	/* An order that waits is a reason to look every minute. */
	assert_int_equal(fake_spec(&t.f, "x", "gpu==H100_SXM max_price=0.01 hours=1 wait=max\n"),
			 0);
	assert_int_equal(fake_get(&t.f, "x")->state, S_PENDING);
	before = t.sent_count;
	minutes(10);
	assert_true(sent_since(before, CALL_OFFERS) >= 9 * 4);
	assert_int_equal(fake_rmdir(&t.f, "x"), 0);
}

static void bids_only_while_somebody_wants_them(void **state)
{
	(void)state;
	t.rows = 20;
	fake_start(&t.f);
	minutes(3);
	assert_int_equal(engine_inventory(t.f.e)->count, 20);
	for (size_t i = 0; i < t.sent_count; i++)
		assert_false(t.sent[i].page.interruptible);
	ask("interruptible=1");
	fake_run(&t.f, 5 * SECOND_US);
	minutes(2);
	assert_int_equal(engine_inventory(t.f.e)->count, 40);
	assert_true(offer("fake-7-bid")->interruptible);
	assert_int_equal(offer("fake-7-bid")->price_u6, 57000);
	assert_string_equal(offer("fake-7-bid")->provider_id, offer("fake-7")->provider_id);
	minutes(16);
	assert_int_equal(engine_inventory(t.f.e)->count, 20);
}

/* ---- failures ---- */

static void a_limit_is_respected(void **state)
{
	int64_t age;
	size_t before;

	(void)state;
	fake_start(&t.f);
	minutes(8);
	t.status[CALL_OFFERS] = 429;
	engine_looked_at_market(t.f.e);
	fake_run(&t.f, 2 * SECOND_US);
	assert_string_equal(view().state, "throttled");
	before = t.sent_count;
	t.status[CALL_OFFERS] = 0;
	age = view().list_age_us;
	market_list(source_of(t.f.e, "fake"));
	for (int i = 0; i < 280; i++) { /* however often somebody asks, and whatever else works */
		ask("gpu=L4");
		fake_run(&t.f, SECOND_US);
	}
	assert_int_equal(sent_since(before, CALL_OFFERS), 0);
	assert_true(sent_since(before, CALL_LIST) > 0);
	assert_string_equal(view().state, "throttled");
	assert_true(engine_inventory(t.f.e)->count > 0);
	assert_true(view().list_age_us >= age + 280 * SECOND_US);
	fake_run(&t.f, 30 * SECOND_US);
	assert_string_equal(view().state, "ok");
	assert_true(sent_since(before, CALL_OFFERS) > 0);
}

static void an_outage_is_waited_for(void **state)
{
	size_t before, first;

	(void)state;
	fake_start(&t.f);
	minutes(6);
	for (int op = 0; op < CALL_OP_COUNT; op++)
		t.status[op] = 500;
	before = t.sent_count;
	minutes(30);
	assert_string_equal(view().state, "down");
	assert_true(view().reason[0] != '\0');
	assert_true(engine_inventory(t.f.e)->count > 0);
	first = sent_since(before, CALL_OFFERS);
	assert_true(first >= 5 && first < 40);
	assert_true(view().errors >= 5);
	/* Asking is answered from memory, and tries again earlier. */
	minutes(5);
	memset(t.status, 0, sizeof t.status);
	fake_run(&t.f, MINUTE_US / 2);
	engine_looked_at_market(t.f.e);
	minutes(1);
	engine_looked_at_market(t.f.e);
	minutes(1);
	assert_string_equal(view().state, "ok");
	assert_true(view().list_age_us < 2 * MINUTE_US);
}

static void a_dead_key_stays_dead(void **state)
{
	size_t count;

	(void)state;
	fake_start(&t.f);
	minutes(6);
	count = engine_inventory(t.f.e)->count;
	t.status[CALL_LIST] = t.status[CALL_ACCOUNT] = t.status[CALL_LOOK] = 401;
	minutes(6);
	assert_string_equal(view().state, "badkey");
	/* A search needs no key there: it proves nothing. */
	engine_looked_at_market(t.f.e);
	minutes(3);
	assert_string_equal(view().state, "badkey");
	assert_true(engine_inventory(t.f.e)->count >= count);
	t.status[CALL_OFFERS] = 500; /* and what else fails does not hide it */
	minutes(6);
	assert_string_equal(view().state, "badkey");
	memset(t.status, 0, sizeof t.status);
	minutes(6);
	assert_string_equal(view().state, "ok");
}

static void slow_is_said(void **state)
{
	(void)state;
	t.delay_us = 7 * SECOND_US;
	fake_start(&t.f);
	minutes(1);
	assert_string_equal(view().state, "slow");
	assert_non_null(strstr(view().reason, "took 7 s"));
	t.delay_us = 0;
	engine_looked_at_market(t.f.e);
	minutes(6);
	assert_string_equal(view().state, "ok");
}

/* ---- what was taken, and what failed ---- */

static void what_is_gone_leaves_at_once(void **state)
{
	struct source *src;

	(void)state;
	t.rows = 6;
	fake_start(&t.f);
	src = source_of(t.f.e, "fake");
	assert_non_null(offer("fake-3"));
	market_offer_gone(src, "fake-3");
	assert_null(offer("fake-3"));
	engine_looked_at_market(t.f.e);
	minutes(3);
	assert_null(offer("fake-3"));
	minutes(12);
	assert_non_null(offer("fake-3"));
}

static void take_health(void *arg, const struct offer_health *h)
{
	char *out = arg;
	size_t n = strlen(out);

	snprintf(out + n, 200 - n, "%s %s %lld;", h->offer_id, h->kind, (long long)h->failures);
}

static void machines_that_fail_are_hidden(void **state)
{
	char health[200] = "";
	int64_t hidden_us;

	(void)state;
	t.rows = 6;
	fake_start(&t.f);
	market_machine_failed(t.f.e, "fake", "fake-2", END_BOOT, "no image");
	assert_int_equal(offer("fake-3")->confidence_m, 700); /* of the same machine */
	assert_int_equal(offer("fake-4")->confidence_m, 1000);
	market_machine_failed(t.f.e, "fake", "fake-3", END_SSH, "refused");
	market_machine_failed(t.f.e, "nobody", "fake-3", END_SSH, "refused");
	engine_offer_health(t.f.e, take_health, health);
	assert_string_equal(health, "fake-2 ssh_timeout 2;fake-3 ssh_timeout 2;");
	market_machine_failed(t.f.e, "fake", "fake-3", END_BOOT, "again");
	hidden_us = t.f.now_us;
	assert_null(offer("fake-2"));
	assert_null(offer("fake-3"));
	assert_int_equal(view().offers, 4);
	minutes(29);
	assert_null(offer("fake-2"));
	fake_run(&t.f, hidden_us + MACHINE_HIDE_US - t.f.now_us);
	assert_int_equal(offer("fake-2")->confidence_m, 343);
}

/* ---- account, templates ---- */

static void balance_and_templates(void **state)
{
	struct templates_view v;
	size_t before;

	(void)state;
	fake_start(&t.f);
	assert_int_equal(view().balance_u6, 12500000);
	before = t.sent_count;
	minutes(31);
	assert_int_equal(sent_since(before, CALL_ACCOUNT), 2);
	assert_int_equal(sent_since(0, CALL_TEMPLATES), 0);
	assert_true(engine_templates(t.f.e, &v)); /* not before somebody asks */
	assert_true(v.busy && !v.fetched_us && !v.count);
	fake_run(&t.f, SECOND_US);
	assert_true(engine_templates(t.f.e, &v));
	assert_false(v.busy);
	assert_int_equal(v.count, 1);
	assert_string_equal(v.list[0].name, "PyTorch");
	t.status[CALL_TEMPLATES] = 500;
	minutes(61);
	assert_true(engine_templates(t.f.e, &v));
	assert_int_equal(v.count, 1); /* the old ones, meanwhile */
	minutes(1);
	assert_true(engine_templates(t.f.e, &v));
	assert_int_equal(v.count, 1);
	assert_string_equal(v.error, "it is on fire");
}

/* ---- a large market ---- */

static void a_large_market_is_sorted_on_a_worker(void **state)
{
	const struct inventory *before;

	(void)state;
	t.dialect.page_rows = 0;
	t.page = t.rows = ROWS;
	t.f.work_us = SECOND_US / 10;
	fake_start(&t.f);
	assert_int_equal(engine_inventory(t.f.e)->count, ROWS);
	assert_true(t.f.works > 0);
	/* The worker sorts while the world goes on, and what it brings is already old. */
	before = engine_inventory(t.f.e);
	market_offer_gone(source_of(t.f.e, "fake"), "fake-5");
	market_offer_gone(source_of(t.f.e, "fake"), "fake-6");
	assert_ptr_equal(engine_inventory(t.f.e), before);
	fake_run(&t.f, SECOND_US);
	assert_null(offer("fake-5"));
	assert_null(offer("fake-6"));
	/* And it may still be at it when the engine goes. */
	market_offer_gone(source_of(t.f.e, "fake"), "fake-7");
	engine_stop(t.f.e);
	engine_free(t.f.e);
	t.f.e = NULL;
	while (fake_step(&t.f))
		;
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
	const struct CMUnitTest tests[] = {
		TEST(a_market_comes_in_pages),
		TEST(nobody_looks),
		TEST(what_is_asked_for_comes_first),
		TEST(drafts_and_orders_ask_too),
		TEST(bids_only_while_somebody_wants_them),
		TEST(a_limit_is_respected),
		TEST(an_outage_is_waited_for),
		TEST(a_dead_key_stays_dead),
		TEST(slow_is_said),
		TEST(what_is_gone_leaves_at_once),
		TEST(machines_that_fail_are_hidden),
		TEST(balance_and_templates),
		TEST(a_large_market_is_sorted_on_a_worker),
	};

	return cmocka_run_group_tests_name("engine_market", tests, NULL, NULL);
}
