/*
 * core/market.h: a market put together from pages, against a provider that is played here: it shows a
 * cap of rows a page, hides a quarter of them at random, and has ties and models of its own.
 */
#include <string.h>

#include "../../src/core/check.h"
#include "../../src/core/market.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define CAP	  64
#define WORLD_MAX 12000

/* ---- a provider ---- */

struct world {
	struct offer all[WORLD_MAX];
	size_t count;
	int missing_pct;
	bool after_cap; /* rows go missing after the cap was applied, not before */
	int64_t cap;
	uint64_t seed;
	size_t pages; /* that were asked for */
	struct offer reply[WORLD_MAX];
};

static uint64_t chance(struct world *w, uint64_t n)
{
	w->seed = w->seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
	return (w->seed >> 33) % n;
}

static struct world *world_new(void)
{
	struct world *w = xcalloc(1, sizeof(*w));

	w->cap = CAP;
	w->seed = 7;
	return w;
}

static struct offer *world_add(struct world *w, const char *model, int64_t price_u6)
{
	struct offer *o = &w->all[w->count];

	assert_true(w->count < WORLD_MAX);
	*o = (struct offer){.price_u6 = price_u6,
			    .gpu_count = 1,
			    .vram_gb = 24,
			    .min_bid_u6 = UNKNOWN,
			    .reliability_m = 990,
			    .confidence_m = 1000,
			    .max_duration_hours = UNKNOWN,
			    .cuda_m = 12400,
			    .available = true,
			    .disk.max = UNKNOWN};
	snprintf(o->id, sizeof(o->id), "cloud-%zu", w->count);
	snprintf(o->machine_id, sizeof(o->machine_id), "m%zu", w->count / 2);
	COPY(o->provider, "cloud");
	COPY(o->gpu_type, model);
	w->count++;
	return o;
}

static int by_price(const void *a, const void *b)
{
	const struct offer *x = a, *y = b;

	return (x->price_u6 > y->price_u6) - (x->price_u6 < y->price_u6);
}

/* The reply to one search, as wire page 4.3 describes it. */
static struct result world_search(struct world *w, const struct page_ask *ask)
{
	struct result res = {.verdict = SURE_YES, .offers = w->reply};
	int64_t most = w->cap < ask->limit ? w->cap : ask->limit;
	size_t n = 0;

	w->pages++;
	assert_true(ask->limit >= CAP);
	for (size_t i = 0; i < w->count; i++) {
		const struct offer *o = &w->all[i];

		if (o->price_u6 < ask->from_price_u6 || !o->available ||
		    (ask->gpu[0] && strcmp(o->gpu_type, ask->gpu)) ||
		    (!w->after_cap && chance(w, 100) < (uint64_t)w->missing_pct))
			continue;
		w->reply[n++] = *o;
	}
	qsort(w->reply, n, sizeof(w->reply[0]), by_price);
	n = n < (size_t)most ? n : (size_t)most;
	for (size_t i = 0; i < n; i++) {
		if (w->after_cap && chance(w, 100) < (uint64_t)w->missing_pct)
			continue;
		w->reply[res.count] = w->reply[i];
		w->reply[res.count].interruptible = ask->interruptible;
		res.last_price_u6 = w->reply[res.count++].price_u6;
	}
	res.rows = res.count;
	return res;
}

static struct market *market_make(int64_t budget, int64_t page_rows)
{
	struct market_shape shape = {.provider = "cloud",
				     .page_rows = page_rows,
				     .budget = budget,
				     .machine = {40, 8, 32},
				     .bids = true};

	return market_new(&shape);
}

static const struct interests nothing;

/* One refresh; returns how many pages it took. */
static size_t refresh(struct market *m, struct world *w, const struct interests *in, int64_t now_us)
{
	struct page_ask ask;
	size_t pages = 0;

	market_begin(m, in, now_us);
	while (market_next(m, &ask)) {
		struct result res = world_search(w, &ask);

		assert_int_equal(ask.shape.disk_gb, 40);
		assert_int_equal(ask.shape.ram_gb, 32);
		market_page(m, &res, now_us);
		pages++;
	}
	market_end(m);
	return pages;
}

static struct offer visible[WORLD_MAX];

static size_t look(struct market *m, int64_t now_us)
{
	struct market_loan *l = market_lend(m);
	size_t n;

	assert_true(market_loan_rows(l) <= WORLD_MAX);
	n = market_loan_put(l, now_us, visible);

	market_loan_end(l);
	return n;
}

static const struct offer *shown(struct market *m, const char *id, int64_t now_us)
{
	size_t n = look(m, now_us);

	for (size_t i = 0; i < n; i++)
		if (!strcmp(visible[i].id, id))
			return &visible[i];
	return NULL;
}

static struct interests ask_for(const char *query, int64_t now_us)
{
	struct interests in = {0};
	struct query q = {0};

	assert_int_equal(query_parse(&q, query, NULL), 0);
	interest_note(&in, &q, now_us);
	return in;
}

/* ---- the rotation ---- */

static void test_rotation(void **state)
{
	struct world *w = world_new();
	struct market *m = market_make(4, CAP);
	size_t refreshes = 0;

	(void)state;
	for (size_t i = 0; i < 1000; i++)
		world_add(w, i % 3 ? "RTX 4090" : "H100 SXM",
			  (int64_t)(100000 + i * 997 % 3000000));
	while (!market_complete(m)) {
		assert_int_equal(refresh(m, w, &nothing, 1), 4);
		assert_true(++refreshes < 10);
		/* Each goes on where the last one stopped: 63 new ones a page. */
		assert_int_equal(look(m, 1), refreshes < 4 ? refreshes * 4 * (CAP - 1) + 1 : 1000);
	}
	assert_int_equal(refreshes, 5);
	assert_int_equal(look(m, 1), 1000);
	/* Nothing goes while everything is shown, however often. */
	for (int i = 0; i < 40; i++)
		refresh(m, w, &nothing, 1);
	assert_int_equal(look(m, 1), 1000);
	for (size_t i = 0; i < 1000; i++)
		assert_int_equal(visible[i].confidence_m, 1000);
	market_free(m);
	free(w);
}

static void test_small_market(void **state)
{
	struct world *w = world_new();
	struct market *m = market_make(4, CAP);
	struct interests in = ask_for("gpu=RTX_4090", 1);

	(void)state;
	assert_false(market_complete(m));
	assert_int_equal(refresh(m, w, &nothing, 1),
			 1); /* an empty market is one page, and whole */
	assert_true(market_complete(m));
	for (int i = 0; i < 20; i++)
		world_add(w, "RTX 4090", 400000 + i);
	assert_int_equal(refresh(m, w, &in, 1), 1); /* what fits on a page is asked for once */
	assert_int_equal(look(m, 1), 20);
	assert_true(market_complete(m));
	market_free(m);
	free(w);
}

/* A provider that shows as much as is asked for: nothing is asked for twice. */
static void test_no_cap(void **state)
{
	struct world *w = world_new();
	struct market *m = market_make(4, CAP);

	(void)state;
	w->cap = 1000000;
	for (int i = 0; i < 500; i++)
		world_add(w, "L4", 100000 + i * 13);
	assert_int_equal(refresh(m, w, &nothing, 1), 2);
	assert_true(market_complete(m));
	assert_int_equal(look(m, 1), 500);
	market_free(m);
	free(w);
}

static void sampled(bool after_cap)
{
	struct world *w = world_new();
	struct market *m = market_make(8, CAP);
	size_t least = SIZE_MAX;

	w->missing_pct = 25;
	w->after_cap = after_cap;
	for (size_t i = 0; i < 400; i++)
		world_add(w, i % 2 ? "RTX 4090" : "RTX 3090",
			  (int64_t)(100000 + i * 7919 % 2000000));
	for (int i = 0; i < 6; i++)
		refresh(m, w, &nothing, 1);
	assert_true(market_complete(m));
	for (int i = 0; i < 200; i++) {
		size_t n;

		refresh(m, w, &nothing, 1);
		n = look(m, 1);
		least = n < least ? n : least;
		for (size_t k = 0; k < n; k++)
			assert_true(visible[k].confidence_m == 1000 ||
				    visible[k].confidence_m == 700 ||
				    visible[k].confidence_m == 490);
	}
	/* Three misses in a row have a chance of 1 in 64; one reply alone shows 300. */
	assert_true(least > 372);
	market_free(m);
	free(w);
}

static void test_samples(void **state)
{
	(void)state;
	sampled(false);
	sampled(true);
}

/* What was rented elsewhere leaves after three refreshes that covered it, and not before. */
static void test_leaves(void **state)
{
	static const int64_t confidence[] = {700, 490};
	struct world *w = world_new();
	struct market *m = market_make(40, CAP);

	(void)state;
	for (int i = 0; i < 300; i++)
		world_add(w, "L4", 100000 + i * 1000);
	refresh(m, w, &nothing, 1);
	assert_int_equal(look(m, 1), 300);
	w->all[100].available = false;
	for (size_t i = 0; i < ARRAY_LEN(confidence); i++) {
		refresh(m, w, &nothing, 1);
		assert_int_equal(shown(m, "cloud-100", 1)->confidence_m, confidence[i]);
		assert_int_equal(shown(m, "cloud-101", 1)->confidence_m, 1000);
	}
	w->all[100].available = true; /* it was only not shown */
	refresh(m, w, &nothing, 1);
	assert_int_equal(shown(m, "cloud-100", 1)->confidence_m, 1000);
	w->all[100].available = false;
	for (int i = 0; i < 3; i++) {
		assert_non_null(shown(m, "cloud-100", 1));
		refresh(m, w, &nothing, 1);
	}
	assert_null(shown(m, "cloud-100", 1));
	assert_int_equal(look(m, 1), 299);
	market_free(m);
	free(w);
}

/* What no page covered keeps its row, as old as it is. */
static void test_not_covered(void **state)
{
	struct world *w = world_new();
	struct market *m = market_make(2, CAP);
	struct interests in = ask_for("gpu=L4", 1);

	(void)state;
	for (int i = 0; i < 300; i++)
		world_add(w, i % 2 ? "L4" : "A40", 100000 + i * 1000);
	while (!market_complete(m))
		refresh(m, w, &nothing, 1);
	assert_int_equal(look(m, 1), 300);
	w->count = 2; /* all but one of each are rented */
	for (int i = 0; i < 3; i++) {
		struct page_ask ask;
		struct result res;

		market_begin(m, &in, 1);
		assert_true(market_next(m, &ask));
		assert_string_equal(ask.gpu, "L4");
		res = world_search(w, &ask);
		market_page(m, &res, 1); /* and then the connection breaks */
		market_end(m);
	}
	assert_int_equal(look(m, 1), 151); /* every A40, and the L4 that is left */
	market_free(m);
	free(w);
}

/* ---- ties ---- */

static void test_one_price(void **state)
{
	static const char *const models[] = {"L4", "A40", "RTX 4090", "Tesla V100"};
	struct world *w = world_new();
	struct market *m = market_make(40, CAP);

	(void)state;
	for (int i = 0; i < 200; i++)
		world_add(w, models[i % 4], 500000);
	for (int i = 0; i < 50; i++)
		world_add(w, models[i % 4], 100000 + i);
	for (int i = 0; i < 50; i++)
		world_add(w, models[i % 4], 500001 + i * 100);
	refresh(m, w, &nothing, 1);
	assert_true(market_complete(m));
	assert_int_equal(look(m, 1), 300);
	for (int i = 0; i < 10; i++)
		refresh(m, w, &nothing, 1);
	assert_int_equal(look(m, 1), 300);
	market_free(m);
	free(w);
}

/* More of one model at one price than a page shows: the rotation goes on all the same. */
static void test_tie_without_end(void **state)
{
	struct world *w = world_new();
	struct market *m = market_make(3, CAP);

	(void)state;
	for (int i = 0; i < 200; i++)
		world_add(w, "L4", 0);
	for (int i = 0; i < 200; i++)
		world_add(w, "L4", 300000);
	for (int i = 0; i < 10; i++)
		world_add(w, "L4", 900000);
	for (int i = 0; i < 20 && !market_complete(m); i++)
		assert_true(refresh(m, w, &nothing, 1) <= 3);
	assert_true(market_complete(m));
	assert_true(look(m, 1) >= 2 * CAP + 10);
	market_free(m);
	free(w);
}

/* ---- interest ---- */

static void test_interest_first(void **state)
{
	struct world *w = world_new();
	struct market *m = market_make(4, CAP);
	struct interests in = {0};
	struct page_ask ask;
	struct query q = {0};
	struct result res;

	(void)state;
	for (int i = 0; i < 900; i++)
		world_add(w,
			  i % 3 == 0   ? "A100 PCIE"
			  : i % 3 == 1 ? "A100 SXM4"
				       : "Tesla V100",
			  1000000 + i * 1000);
	/* Nothing is known yet: the words of the query, then the rest. */
	assert_int_equal(query_parse(&q, "gpu=Tesla_V100", NULL), 0);
	assert_true(interest_note(&in, &q, 1));
	assert_false(interest_note(&in, &q, 2));
	market_begin(m, &in, 2);
	assert_true(market_next(m, &ask));
	assert_string_equal(ask.gpu, "Tesla V100");
	assert_int_equal(ask.from_price_u6, 0);
	res = world_search(w, &ask);
	market_page(m, &res, 2);
	assert_true(market_next(m, &ask));
	assert_string_equal(ask.gpu, "");
	res = world_search(w, &ask);
	market_page(m, &res, 2);
	market_end(m);
	/* Now they are, and "A100" means two of theirs; the rest gets a page of the budget too. */
	in = ask_for("gpu=a100", 3);
	market_begin(m, &in, 3);
	assert_true(market_next(m, &ask)); /* models take turns, and one was asked for before */
	assert_string_equal(ask.gpu, "A100 SXM4");
	res = world_search(w, &ask);
	market_page(m, &res, 3);
	assert_true(market_next(m, &ask));
	assert_string_equal(ask.gpu, "A100 PCIE");
	res = world_search(w, &ask);
	market_page(m, &res, 3);
	for (int i = 0; i < 2; i++) {
		assert_true(market_next(m, &ask));
		assert_string_equal(ask.gpu, "");
		assert_true(ask.from_price_u6 > 0);
		res = world_search(w, &ask);
		market_page(m, &res, 3);
	}
	assert_false(market_next(m, &ask));
	market_end(m);
	/* The model as its provider calls it. */
	in = ask_for("gpu=V100", 4);
	market_begin(m, &in, 4);
	assert_true(market_next(m, &ask));
	assert_string_equal(ask.gpu, "Tesla V100");
	market_end(m);
	/* Forgotten after ten minutes, and not of another provider. */
	market_begin(m, &in, 4 + INTEREST_US);
	assert_true(market_next(m, &ask));
	assert_string_equal(ask.gpu, "");
	market_end(m);
	in = ask_for("gpu=V100,provider=other", 5);
	market_begin(m, &in, 5);
	assert_true(market_next(m, &ask));
	assert_string_equal(ask.gpu, "");
	market_end(m);
	in = ask_for("gpu=V100,provider=CLOUD", 5);
	market_begin(m, &in, 5);
	assert_true(market_next(m, &ask));
	assert_string_equal(ask.gpu, "Tesla V100");
	market_end(m);
	market_free(m);
	free(w);
}

/* However much is asked for, the rotation comes around, and so does each model. */
static void test_interest_fair(void **state)
{
	struct world *w = world_new();
	struct interests in = {0};
	size_t asked[20] = {0};

	(void)state;
	for (int i = 0; i < 1200; i++) {
		char model[16];

		snprintf(model, sizeof(model), "G%d", i % 20);
		world_add(w, model, 1000000 + i * 1000);
	}
	for (int i = 0; i < 20; i++) {
		struct query q = {0};
		char text[16];

		snprintf(text, sizeof(text), "gpu==G%d", i);
		assert_int_equal(query_parse(&q, text, NULL), 0);
		assert_true(interest_note(&in, &q, i + 1));
	}
	assert_int_equal(in.count, INTERESTS_MAX);
	for (int64_t budget = 1; budget <= 3; budget++) {
		struct market *m = market_make(budget, CAP);
		int refreshes = 0;

		memset(asked, 0, sizeof(asked));
		while (!market_complete(m) || refreshes < 60) {
			struct page_ask ask;
			int64_t pages = 0;

			market_begin(m, &in, 30);
			while (market_next(m, &ask)) {
				struct result res = world_search(w, &ask);

				market_page(m, &res, 30);
				pages++;
				if (ask.gpu[0])
					asked[atoi(ask.gpu + 1)]++;
			}
			market_end(m);
			assert_true(pages <= budget);
			assert_true(++refreshes < 100);
		}
		for (int i = 0; i < 20; i++) /* the first four were pushed out */
			assert_true(i < 4 ? asked[i] == 0 : asked[i] > 0);
		market_free(m);
	}
	free(w);
}

static void test_interest_words(void **state)
{
	struct interests in = {0};
	struct query q = {0};

	(void)state;
	assert_false(interest_note(&in, &q, 1)); /* all */
	assert_int_equal(query_parse(&q, "max_price=1,interruptible=0", NULL), 0);
	assert_false(interest_note(&in, &q, 1));
	assert_int_equal(in.count, 0);
	memset(&q, 0, sizeof(q));
	assert_int_equal(query_parse(&q, "interruptible=1", NULL), 0);
	assert_true(interest_note(&in, &q, 1));
	assert_true(in.list[0].bids && !in.list[0].gpu[0]);
	assert_true(interest_note(&in, &q, 1 + INTEREST_US)); /* forgotten, and asked for again */
	assert_int_equal(in.count, 1);
	assert_int_equal(query_parse(&q, "gpu==RTX_4090", NULL), 0);
	assert_true(interest_note(&in, &q, 2));
	assert_string_equal(in.list[1].gpu, "RTX 4090");
	assert_true(in.list[1].exact && in.list[1].bids);
}

/* ---- bids ---- */

static void test_bids(void **state)
{
	struct world *w = world_new();
	struct market *m = market_make(6, CAP);
	struct interests in = ask_for("interruptible=1", 1);
	const struct offer *o;

	(void)state;
	for (int i = 0; i < 100; i++)
		world_add(w, "L4", 100000 + i * 1000);
	refresh(m, w, &nothing, 1);
	assert_int_equal(look(m, 1), 100);
	assert_null(shown(m, "cloud-3-bid", 1));
	refresh(m, w, &in, 1);
	refresh(m, w, &in, 1);
	assert_int_equal(look(m, 1), 200);
	o = shown(m, "cloud-3-bid", 1);
	assert_non_null(o);
	assert_true(o->interruptible);
	assert_false(shown(m, "cloud-3", 1)->interruptible);
	assert_string_equal(shown(m, "cloud-3-bid", 1)->machine_id,
			    shown(m, "cloud-3", 1)->machine_id);
	/* One ask: taken one way, it is taken. */
	assert_true(market_gone(m, "cloud-3-bid", 9));
	assert_null(shown(m, "cloud-3", 1));
	assert_null(shown(m, "cloud-3-bid", 1));
	assert_true(market_gone(m, "cloud-4", 9));
	assert_null(shown(m, "cloud-4-bid", 1));
	assert_false(market_gone(m, "cloud-4", 9));
	/* Nobody asks any more: they are not kept current, so they go. */
	refresh(m, w, &in, 1 + INTEREST_US);
	assert_int_equal(look(m, 1), 98);
	market_free(m);
	free(w);
}

/* ---- what was taken, and what failed ---- */

static void test_gone(void **state)
{
	struct world *w = world_new();
	struct market *m = market_make(4, CAP);

	(void)state;
	for (int i = 0; i < 10; i++)
		world_add(w, "L4", 100000 + i * 1000);
	refresh(m, w, &nothing, 1);
	assert_true(market_gone(m, "cloud-2", 1));
	assert_int_equal(look(m, 1), 9);
	refresh(m, w, &nothing, 2); /* a list that lags still shows it */
	assert_null(shown(m, "cloud-2", 2));
	refresh(m, w, &nothing, 1 + GONE_MEMORY_US);
	assert_non_null(shown(m, "cloud-2", 1 + GONE_MEMORY_US));
	/* Ever so many: the memory is bounded. */
	for (int i = 0; i < 2000; i++) {
		char id[32];

		snprintf(id, sizeof(id), "cloud-%d", i + 5000);
		market_gone(m, id, 1);
	}
	refresh(m, w, &nothing, 2);
	assert_int_equal(look(m, 2), 10);
	market_free(m);
	free(w);
}

struct health {
	size_t count;
	int64_t failures, multiplier_m, until_us;
	char ids[512], kind[32], reason[160];
};

static void health_take(void *arg, const struct offer_health *h)
{
	struct health *all = arg;
	size_t n = strlen(all->ids);

	all->count++;
	all->failures = h->failures;
	all->multiplier_m = h->multiplier_m;
	all->until_us = h->until_us;
	COPY(all->kind, h->kind);
	COPY(all->reason, h->reason);
	snprintf(all->ids + n, sizeof(all->ids) - n, "%s ", h->offer_id);
	assert_string_equal(h->provider, "cloud");
}

static void test_failures(void **state)
{
	struct world *w = world_new();
	struct market *m = market_make(4, CAP);
	struct health h = {0};
	int64_t t = HOUR_US;

	(void)state;
	for (int i = 0; i < 10; i++) /* two offers of each machine */
		world_add(w, "L4", 100000 + i * 1000);
	refresh(m, w, &nothing, t);
	market_gone(m, "cloud-4", t); /* bought, and then it does not boot */
	market_failed(m, "cloud-4", "boot_failed", "no\nsuch\x1b image", t);
	assert_int_equal(shown(m, "cloud-5", t)->confidence_m, 700);
	assert_int_equal(shown(m, "cloud-6", t)->confidence_m, 1000);
	refresh(m, w, &nothing, t); /* being shown again does not repair it */
	assert_int_equal(shown(m, "cloud-5", t)->confidence_m, 700);
	market_failed(m, "cloud-5", "ssh_timeout", "twelve refusals", t + 10 * MINUTE_US);
	assert_int_equal(shown(m, "cloud-5", t + 10 * MINUTE_US)->confidence_m, 490);
	market_health(m, t + 10 * MINUTE_US, health_take, &h);
	assert_int_equal(h.count, 1);
	assert_string_equal(h.ids, "cloud-5 ");
	assert_int_equal(h.failures, 2);
	assert_int_equal(h.multiplier_m, 490);
	assert_int_equal(h.until_us, 0);
	assert_string_equal(h.kind, "ssh_timeout");
	assert_string_equal(h.reason, "twelve refusals");
	assert_int_equal(market_unhide_us(m, t), INT64_MAX);
	/* The third within half an hour hides the machine for half an hour. */
	t += 30 * MINUTE_US;
	market_failed(m, "cloud-5", "boot_failed", "again", t);
	assert_null(shown(m, "cloud-5", t));
	refresh(m, w, &nothing, t);
	assert_null(shown(m, "cloud-5", t));
	assert_null(shown(m, "cloud-4", t));
	assert_non_null(shown(m, "cloud-6", t));
	assert_int_equal(market_unhide_us(m, t), t + MACHINE_HIDE_US);
	memset(&h, 0, sizeof(h));
	market_health(m, t, health_take, &h);
	/* What is hidden is told of here; and what was taken long ago is shown again. */
	assert_string_equal(h.ids, "cloud-5 cloud-4 ");
	assert_int_equal(h.until_us, t + MACHINE_HIDE_US);
	assert_null(shown(m, "cloud-5", t + MACHINE_HIDE_US - 1));
	assert_int_equal(shown(m, "cloud-5", t + MACHINE_HIDE_US)->confidence_m, 343);
	/* One more much later is not the third of half an hour. */
	market_failed(m, "cloud-5", "boot_failed", "later", t + 2 * HOUR_US);
	assert_non_null(shown(m, "cloud-5", t + 2 * HOUR_US));
	/* In a day it is forgotten. */
	assert_int_equal(shown(m, "cloud-5", t + 3 * DAY_US)->confidence_m, 1000);
	memset(&h, 0, sizeof(h));
	market_health(m, t + 3 * DAY_US, health_take, &h);
	assert_int_equal(h.count, 0);
	/* One that nobody knows is told of by its own id. */
	market_failed(m, "cloud-77", "boot_failed", "", t);
	memset(&h, 0, sizeof(h));
	market_health(m, t, health_take, &h);
	assert_non_null(strstr(h.ids, "cloud-77 "));
	market_free(m);
	free(w);
}

static void test_whole(void **state)
{
	struct world *w = world_new();
	struct market *m = market_make(1, 0);

	(void)state;
	for (int i = 0; i < 2000; i++)
		world_add(w, "L4", 100000 + i);
	market_whole(m, w->all, 2000);
	assert_int_equal(look(m, 1), 2000);
	assert_false(market_gone(m, "cloud-7", 1)); /* such a provider says so itself */
	market_failed(m, "cloud-7", "boot_failed", "", 1);
	assert_int_equal(shown(m, "cloud-6", 1)->confidence_m, 700);
	market_whole(m, w->all, 7);
	assert_int_equal(look(m, 1), 7);
	assert_int_equal(shown(m, "cloud-6", 1)->confidence_m, 700);
	market_whole(m, NULL, 0);
	assert_int_equal(look(m, 1), 0);
	market_free(m);
	free(w);
}

/* The bound is for what others say; this one is ourselves. */
static void test_whole_is_not_cut_off(void **state)
{
	struct market *m = market_make(1, 0);
	size_t n = MARKET_ROWS_MAX + 1;
	struct offer *all = calloc(n, sizeof(*all));

	(void)state;
	assert_non_null(all);
	market_whole(m, all, n);
	assert_int_equal(market_rows(m), n);
	market_free(m);
	free(all);
}

/* Random worlds, random trouble: never more pages than the budget, never a stop, no offer that the
 * world does not have for longer than it takes to notice. */
static void test_random(void **state)
{
	struct world *w = world_new();

	(void)state;
	for (int round = 0; round < 30; round++) {
		int64_t budget = 1 + (int64_t)chance(w, 6), now = 1;
		struct market *m = market_make(budget, CAP);
		struct interests in = {0};

		w->count = 0;
		w->missing_pct = (int)chance(w, 40);
		w->after_cap = chance(w, 2);
		w->cap = chance(w, 3) ? CAP : 1000000;
		for (uint64_t i = chance(w, 800); i > 0; i--)
			world_add(
				w, chance(w, 2) ? "L4" : "A40",
				(int64_t)(chance(w, 2) ? chance(w, 4) * 1000 : chance(w, 2000000)));
		for (int i = 0; i < 300; i++) {
			struct page_ask ask;
			int64_t pages = 0;

			now += MINUTE_US;
			if (chance(w, 20) == 0)
				in = ask_for(chance(w, 2) ? "gpu=L4" : "interruptible=1,gpu=A40",
					     now);
			market_begin(m, &in, now);
			while (market_next(m, &ask)) {
				struct result res = world_search(w, &ask);

				assert_true(++pages <= budget);
				if (chance(w, 10) == 0)
					break; /* the page was lost */
				market_page(m, &res, now);
			}
			market_end(m);
			if (w->count && chance(w, 10) == 0)
				market_gone(m, w->all[chance(w, w->count)].id, now);
		}
		assert_true(market_complete(m));
		for (size_t i = 0; i < w->count; i++)
			w->all[i].available = false;
		for (int i = 0; i < 120; i++)
			refresh(m, w, &nothing, now + INTEREST_US);
		assert_int_equal(look(m, now), 0);
		market_free(m);
	}
	free(w);
}

/* A worker reads the rows that were lent, whatever the market does meanwhile, and even when it is gone. */
static void test_loan(void **state)
{
	struct world *w = world_new();
	struct market *m = market_make(4, CAP);
	struct market_loan *l;

	(void)state;
	for (int i = 0; i < 10; i++)
		world_add(w, "L4", 100000 + i * 1000);
	refresh(m, w, &nothing, 1);
	assert_int_equal(look(m, 1), 10);
	l = market_lend(m);
	assert_true(market_gone(m, "cloud-2", 1)); /* it changes: it goes on with a copy */
	assert_int_equal(market_loan_put(l, 1, visible), 10);
	assert_int_equal(look(m, 1), 9); /* lends again meanwhile */
	market_loan_end(l);
	assert_int_equal(look(m, 1), 9);
	l = market_lend(m);
	market_failed(m, "cloud-3", "boot_failed", "", 1);
	assert_int_equal(market_loan_put(l, 1, visible), 9);
	market_whole(m, NULL, 0);
	assert_int_equal(market_loan_put(l, 1, visible), 9);
	market_loan_end(l);
	assert_int_equal(look(m, 1), 0);
	l = market_lend(m);
	market_free(m);
	assert_int_equal(market_loan_put(l, 1, visible), 0);
	market_loan_end(l);
	free(w);
}

/* A page that is put in slice by slice is the same page; what is taken between two slices stays away. */
static void test_slices(void **state)
{
	struct world *w = world_new();
	struct market *m = market_make(1, CAP);
	struct page_ask ask;
	struct result res;
	size_t at = 0;

	(void)state;
	for (int i = 0; i < 30; i++)
		world_add(w, "L4", 100000 + i * 1000);
	market_begin(m, &nothing, 1);
	assert_true(market_next(m, &ask));
	res = world_search(w, &ask);
	assert_int_equal(res.count, 30);
	assert_false(market_page_slice(m, &res, &at, 20, 1));
	assert_int_equal(at, 20);
	assert_int_equal(look(m, 1), 20);
	assert_false(market_complete(m));
	market_gone(m, res.offers[3].id, 1);
	market_gone(m, res.offers[25].id, 1);
	assert_true(market_page_slice(m, &res, &at, 20, 1));
	market_end(m);
	assert_int_equal(at, 30);
	assert_int_equal(look(m, 1), 28);
	assert_true(market_complete(m));
	market_free(m);
	free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rotation),       cmocka_unit_test(test_small_market),
		cmocka_unit_test(test_no_cap),	       cmocka_unit_test(test_samples),
		cmocka_unit_test(test_leaves),	       cmocka_unit_test(test_not_covered),
		cmocka_unit_test(test_one_price),      cmocka_unit_test(test_tie_without_end),
		cmocka_unit_test(test_interest_first), cmocka_unit_test(test_interest_fair),
		cmocka_unit_test(test_interest_words), cmocka_unit_test(test_bids),
		cmocka_unit_test(test_gone),	       cmocka_unit_test(test_failures),
		cmocka_unit_test(test_whole),	       cmocka_unit_test(test_whole_is_not_cut_off),
		cmocka_unit_test(test_random),	       cmocka_unit_test(test_loan),
		cmocka_unit_test(test_slices),
	};

	return cmocka_run_group_tests_name("market", tests, NULL, NULL);
}
