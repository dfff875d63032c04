/*
 * Where a life is found by its id, its name or the offer that it is ordering: hash tables with chains
 * through the lives, so that a look-up costs the same among thousands that are history. An id never
 * changes; a name only in engine_rename. Loop thread. Tests: tests/unit/test_turns.c, test_engine_cloud.c.
 */
#include <string.h>

#include "internal.h"

#define BUCKETS_MIN 64

static uint64_t text_hash(const char *s)
{
	return hash64(s, strlen(s), 0);
}

static struct life **bucket(struct life **table, const struct life_index *ix, const char *key)
{
	return &table[text_hash(key) & (ix->buckets - 1)];
}

static void enter_name(struct life_index *ix, struct life *l)
{
	struct life **at = bucket(ix->by_name, ix, l->s.name);

	l->same_name = *at;
	*at = l;
}

static void enter_offer(struct life_index *ix, struct life *l)
{
	struct life **at = bucket(ix->by_offer, ix, l->s.offer_id);

	l->same_offer = *at;
	*at = l;
}

static void enter(struct life_index *ix, struct life *l)
{
	struct life **at = bucket(ix->by_id, ix, l->s.id);

	l->same_id = *at;
	*at = l;
	enter_name(ix, l);
	if (l->offer_ordered)
		enter_offer(ix, l);
}

/* Room for one more: chains of one on the average. */
static void grow(struct engine *e)
{
	struct life_index *ix = &e->index;

	if (e->life_count < ix->buckets)
		return;
	index_free(ix);
	ix->buckets = BUCKETS_MIN;
	while (ix->buckets <= e->life_count)
		ix->buckets *= 2;
	ix->by_id = xcalloc(ix->buckets, sizeof(struct life *));
	ix->by_name = xcalloc(ix->buckets, sizeof(struct life *));
	ix->by_offer = xcalloc(ix->buckets, sizeof(struct life *));
	for (size_t i = 0; i < e->life_count; i++)
		enter(ix, e->lives[i]);
}

void index_add(struct life *l)
{
	grow(l->e);
	enter(&l->e->index, l);
}

static void drop_name(struct life *l)
{
	struct life **at = bucket(l->e->index.by_name, &l->e->index, l->s.name);

	while (*at != l)
		at = &(*at)->same_name;
	*at = l->same_name;
}

void index_drop(struct life *l)
{
	struct life **at = bucket(l->e->index.by_id, &l->e->index, l->s.id);

	while (*at != l)
		at = &(*at)->same_id;
	*at = l->same_id;
	drop_name(l);
	index_order_drop(l);
}

void index_order_add(struct life *l)
{
	index_order_drop(l);
	l->offer_ordered = true;
	enter_offer(&l->e->index, l);
}

void index_order_drop(struct life *l)
{
	struct life **at;

	if (!l->offer_ordered)
		return;
	at = bucket(l->e->index.by_offer, &l->e->index, l->s.offer_id);
	while (*at != l)
		at = &(*at)->same_offer;
	*at = l->same_offer;
	l->offer_ordered = false;
}

bool index_offer_ordered(const struct engine *e, const char *offer_id)
{
	const struct life *l = e->index.buckets ? *bucket(e->index.by_offer, &e->index, offer_id)
						: NULL;

	while (l && strcmp(l->s.offer_id, offer_id) != 0)
		l = l->same_offer;
	return l != NULL;
}

void index_rename(struct life *l, const char *name)
{
	drop_name(l);
	COPY(l->s.name, name);
	enter_name(&l->e->index, l);
}

void index_free(struct life_index *ix)
{
	free(ix->by_id);
	free(ix->by_name);
	free(ix->by_offer);
	*ix = (struct life_index){0};
}

struct life *index_by_id(const struct engine *e, const char *id)
{
	struct life *l = e->index.buckets ? *bucket(e->index.by_id, &e->index, id) : NULL;

	while (l && strcmp(l->s.id, id) != 0)
		l = l->same_id;
	return l;
}

struct life *index_by_name(const struct engine *e, const char *name)
{
	return e->index.buckets ? *bucket(e->index.by_name, &e->index, name) : NULL;
}
