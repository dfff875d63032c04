/*
 * From the sources' rows to the one immutable snapshot that everybody reads. Sorting ten thousand
 * offers takes about 10 ms, so a large market is sorted on a worker and swapped in by pointer; the
 * loop only copies it (2 ms). Loop thread. Tests: tests/unit/test_engine_market.c.
 */
#include <string.h>

#include "internal.h"

#define PUBLISH_INLINE 512 /* offers that are sorted in well below a millisecond */

struct publish {
	struct engine *e; /* NULL: it is gone meanwhile */
	struct offer *offers;
	size_t count, changes;
	struct inventory *before, *next;
};

static void count_change(void *arg, const struct offer *a, const struct offer *b)
{
	(void)a;
	(void)b;
	++*(size_t *)arg;
}

/* On a worker: `before` is immutable, and nobody here touches its count of references. */
static void publish_sort(void *arg)
{
	struct publish *p = arg;

	p->next = inventory_new(p->offers, p->count, p->before->generation + 1);
	CHECK(p->next);
	inventory_diff(p->before, p->next, count_change, &p->changes);
}

static void publish_swap(struct engine *e, struct publish *p)
{
	e->inv = inventory_ref(p->next);
	for (struct door *d = e->doors; d; d = d->next)
		d->changed(d, &(struct change){
				      .kind = CH_MARKET, .before = p->before, .after = p->next});
	inventory_unref(p->before); /* the engine's own; the job has another */
	tell(e, CH_STATUS, NULL, NULL);
	/* Whoever waits for an offer looks again. */
	for (size_t i = 0; i < e->life_count; i++) {
		struct life *l = e->lives[i];

		if (l->o.next_choose_us != INT64_MAX && !l->asked_market_us)
			continue;
		l->o.next_choose_us = 0;
		life_wake(l);
	}
}

static void publish_done(void *arg)
{
	struct publish *p = arg;
	struct engine *e = p->e;
	bool was = e && e->ready;

	if (e) {
		e->publish = NULL;
		if (p->changes && !e->stopping)
			publish_swap(e, p);
	}
	inventory_unref(p->before);
	inventory_unref(p->next);
	free(p->offers);
	free(p);
	if (!e)
		return;
	if (e->publish_again) {
		e->publish_again = false;
		market_publish(e);
		return;
	}
	e->ready = true;
	for (size_t i = 0; i < e->source_count; i++)
		e->ready = e->ready && (e->sources[i].fetched_us || e->sources[i].failures);
	if (e->ready != was) /* it was `starting` until now */
		tell(e, CH_STATUS, NULL, NULL);
}

static void publish_gather(struct engine *e, struct publish *p)
{
	int64_t now = engine_now(e);
	size_t room = 0;

	for (size_t i = 0; i < e->source_count; i++)
		room += market_rows(e->sources[i].market);
	p->offers = xcalloc(room, sizeof(*p->offers));
	for (size_t i = 0; i < e->source_count; i++) {
		struct source *src = &e->sources[i];

		/* What cannot be bought is not on the market. */
		src->offer_count = src->enabled ? market_put(src->market, now, p->offers + p->count)
						: 0;
		src->unhide_us = market_unhide_us(src->market, now);
		p->count += src->offer_count;
	}
}

void market_publish(struct engine *e)
{
	struct publish *p;

	if (e->stopping)
		return;
	if (e->publish) { /* what is being sorted is older than what the caller knows */
		e->publish_again = true;
		return;
	}
	p = xcalloc(1, sizeof(*p));
	*p = (struct publish){.e = e, .before = inventory_ref(e->inv)};
	e->publish = p;
	publish_gather(e, p);
	if (p->count > PUBLISH_INLINE) {
		e->w->work(e->w->self, publish_sort, publish_done, p);
		return;
	}
	publish_sort(p);
	publish_done(p);
}

void publish_forget(struct engine *e)
{
	if (e->publish)
		e->publish->e = NULL;
	e->publish = NULL;
}
