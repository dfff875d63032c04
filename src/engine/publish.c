/*
 * From the sources' rows to the one immutable snapshot that everybody reads. Sorting ten thousand
 * offers and rendering their lines takes 15 to 70 ms, so that of a large market is made on a worker,
 * from rows that the loop only lends, and swapped in by pointer. Loop thread. Tests:
 * tests/unit/test_engine_market.c.
 */
#include <string.h>

#include "internal.h"

#define PUBLISH_INLINE 128 /* offers whose snapshot takes less than a millisecond */

struct publish {
	struct engine *e; /* NULL: it is gone meanwhile */
	struct lent {
		struct market_loan *loan; /* NULL: its offers cannot be bought now */
		size_t shown;
	} * lent;
	size_t source_count;
	int64_t now_us;
	struct inventory *before, *next;
	struct inventory_change *diffs;
	size_t diff_count;
};

/* On a worker: `before` is immutable, and nobody here touches its count of references. */
static void publish_sort(void *arg)
{
	struct publish *p = arg;
	size_t room = 0, count = 0;
	struct offer *offers;

	for (size_t i = 0; i < p->source_count; i++)
		room += p->lent[i].loan ? market_loan_rows(p->lent[i].loan) : 0;
	offers = reallocarray(NULL, room + 1, sizeof(*offers));
	CHECK(offers);
	for (size_t i = 0; i < p->source_count; i++) {
		struct lent *x = &p->lent[i];

		x->shown = x->loan ? market_loan_put(x->loan, p->now_us, offers + count) : 0;
		count += x->shown;
	}
	p->next = inventory_next(p->before, offers, count);
	CHECK(p->next);
	free(offers);
	p->diffs = inventory_changes(p->before, p->next, &p->diff_count);
}

static void publish_swap(struct engine *e, struct publish *p)
{
	e->inv = inventory_ref(p->next);
	for (struct door *d = e->doors; d; d = d->next)
		d->changed(d, &(struct change){.kind = CH_MARKET,
					       .before = p->before,
					       .after = p->next,
					       .diffs = p->diffs,
					       .diff_count = p->diff_count});
	inventory_unref(p->before); /* the engine's own; the job has another */
	tell_soon(e, CH_STATUS);
	/* Whoever waits for an offer looks again. */
	for (size_t i = 0; i < e->life_count; i++) {
		struct life *l = e->lives[i];

		if (l->o.next_choose_us != INT64_MAX && !l->asked_market_us)
			continue;
		l->o.next_choose_us = 0;
		life_wake(l);
	}
}

static void drop_run(void *arg)
{
	inventory_unref(arg);
}

static void drop_done(void *arg)
{
	(void)arg;
}

/* Giving back a large one's memory takes a millisecond: on a worker, if nobody else has it. */
static void drop_inventory(struct engine *e, struct inventory *inv)
{
	if (inv && inv->refs == 1 && inv->count > PUBLISH_INLINE && e && !e->stopping)
		e->w->work(e->w->self, drop_run, drop_done, inv);
	else
		inventory_unref(inv);
}

static void publish_done(void *arg)
{
	struct publish *p = arg;
	struct engine *e = p->e;
	bool was = e && e->ready;

	for (size_t i = 0; i < p->source_count; i++)
		if (p->lent[i].loan)
			market_loan_end(p->lent[i].loan);
	if (e) {
		e->publish = NULL;
		for (size_t i = 0; i < p->source_count; i++)
			e->sources[i].offer_count = p->lent[i].shown;
		if (p->diff_count && !e->stopping)
			publish_swap(e, p);
	}
	drop_inventory(e, p->before);
	drop_inventory(e, p->next);
	free(p->lent);
	free(p->diffs);
	free(p);
	if (!e)
		return;
	engine_wake(e, 0); /* who waited for the rows goes on */
	if (e->publish_again) {
		e->publish_again = false;
		market_publish(e);
		return;
	}
	e->ready = true;
	for (size_t i = 0; i < e->source_count; i++)
		e->ready = e->ready && (e->sources[i].fetched_us || e->sources[i].failures);
	if (e->ready != was) /* it was `starting` until now */
		tell_soon(e, CH_STATUS);
}

static void publish_lend(struct engine *e, struct publish *p)
{
	p->now_us = engine_now(e);
	p->source_count = e->source_count;
	p->lent = xcalloc(e->source_count, sizeof(*p->lent));
	for (size_t i = 0; i < e->source_count; i++) {
		struct source *src = &e->sources[i];

		/* What cannot be bought is not on the market. */
		p->lent[i].loan = src->enabled ? market_lend(src->market) : NULL;
		src->unhide_us = market_unhide_us(src->market, p->now_us);
	}
}

static size_t all_rows(const struct engine *e)
{
	size_t rows = 0;

	for (size_t i = 0; i < e->source_count; i++)
		rows += market_rows(e->sources[i].market);
	return rows;
}

void publish_now(struct engine *e)
{
	struct publish *p;

	e->publish_due = false;
	if (e->stopping)
		return;
	if (e->publish) { /* what is being sorted is older than what the caller knows */
		e->publish_again = true;
		return;
	}
	p = xcalloc(1, sizeof(*p));
	*p = (struct publish){.e = e, .before = inventory_ref(e->inv)};
	e->publish = p;
	publish_lend(e, p);
	if (all_rows(e) > PUBLISH_INLINE) {
		e->w->work(e->w->self, publish_sort, publish_done, p);
		return;
	}
	publish_sort(p);
	publish_done(p);
}

/* A small market shows at once. A large one in the engine's next turn: whatever changes it until then is
 * in the same snapshot. */
void market_publish(struct engine *e)
{
	if (all_rows(e) <= PUBLISH_INLINE) {
		publish_now(e);
		return;
	}
	e->publish_due = true;
	engine_wake(e, 0);
}

void publish_forget(struct engine *e)
{
	if (e->publish)
		e->publish->e = NULL;
	e->publish = NULL;
}
