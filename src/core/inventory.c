/*
 * The market as an immutable snapshot (inventory.h). Sorting moves 4-byte indexes, not offers of
 * half a kilobyte: 100 000 offers take a fraction of a second. Nothing here changes an offer once
 * the snapshot is returned. Loop thread, or one worker before it is shared. Tests:
 * tests/unit/test_inventory.c.
 */
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "inventory_parts.h"

static int offer_compare_id(const void *a, const void *b, void *arg)
{
	const struct offer *offers = arg;
	uint32_t i = *(const uint32_t *)a, j = *(const uint32_t *)b;
	int by_id = strcmp(offers[i].id, offers[j].id);

	return by_id ? by_id : (i > j) - (i < j); /* so that the first of duplicates stays first */
}

/* An offer while they are put in order; by_id is its place among the ids. */
struct sort_key {
	int64_t price_u6;
	uint32_t by_id, index;
};

static int key_compare(const void *a, const void *b)
{
	const struct sort_key *x = a, *y = b;

	if (x->price_u6 != y->price_u6)
		return x->price_u6 < y->price_u6 ? -1 : 1;
	return (x->by_id > y->by_id) - (x->by_id < y->by_id);
}

/* The offers that stay, by price. Returns how many. Ids are compared in one sort only: each of those
 * comparisons misses the cache twice. */
static size_t inventory_order(const struct offer *offers, size_t n, uint32_t *order,
			      struct sort_key *keys)
{
	size_t kept = 0;

	for (size_t i = 0; i < n; i++) {
		CHECK(memchr(offers[i].id, '\0', sizeof(offers[i].id)));
		order[i] = (uint32_t)i;
	}
	qsort_r(order, n, sizeof(*order), offer_compare_id, (void *)(uintptr_t)offers);
	for (size_t i = 0; i < n; i++) {
		const struct offer *o = &offers[order[i]];

		if (kept && strcmp(offers[keys[kept - 1].index].id, o->id) == 0)
			continue;
		keys[kept] = (struct sort_key){o->price_u6, (uint32_t)kept, order[i]};
		kept++;
	}
	qsort(keys, kept, sizeof(*keys), key_compare);
	return kept;
}

/* `before` may be NULL. */
static struct inventory *inventory_make(const struct inventory *before, const struct offer *offers,
					size_t n, uint64_t generation)
{
	struct inventory *inv;
	FREE uint32_t *order = NULL;
	FREE struct sort_key *keys = NULL;

	if (n >= UINT32_MAX)
		return NULL;
	inv = calloc(1, sizeof(*inv));
	order = calloc(n + 1, sizeof(*order));
	keys = calloc(n + 1, sizeof(*keys));
	if (!inv || !order || !keys) {
		free(inv);
		return NULL;
	}
	inv->refs = 1;
	inv->generation = generation;
	inv->count = n ? inventory_order(offers, n, order, keys) : 0;
	inv->offers = calloc(inv->count + 1, sizeof(*inv->offers));
	inv->by_id = calloc(inv->count + 1, sizeof(*inv->by_id));
	if (!inv->offers || !inv->by_id) {
		inventory_unref(inv);
		return NULL;
	}
	for (size_t i = 0; i < inv->count; i++) {
		inv->offers[i] = offers[keys[i].index];
		inv->by_id[keys[i].by_id] = (uint32_t)i;
	}
	if (inventory_number_words(inv) && inventory_collect_numbers(inv) &&
	    inventory_collect_parts(inv) && inventory_render_lines(inv, before))
		return inv;
	inventory_unref(inv);
	return NULL;
}

struct inventory *inventory_new(const struct offer *offers, size_t n, uint64_t generation)
{
	return inventory_make(NULL, offers, n, generation);
}

struct inventory *inventory_next(const struct inventory *before, const struct offer *offers,
				 size_t n)
{
	return inventory_make(before, offers, n, before->generation + 1);
}

struct inventory *inventory_ref(struct inventory *inv)
{
	CHECK(inv->refs > 0);
	inv->refs++;
	return inv;
}

void inventory_unref(struct inventory *inv)
{
	if (!inv)
		return;
	CHECK(inv->refs > 0);
	if (--inv->refs)
		return;
	for (enum inventory_word w = 0; w < WORD_COUNT; w++) {
		free(inv->words[w].text);
		free(inv->words[w].of);
	}
	free(inv->numbers[0]); /* one block */
	free(inv->parts);
	for (enum inventory_line l = 0; l < LINE_COUNT; l++) {
		free(inv->lines[l].text);
		free(inv->lines[l].end);
	}
	free(inv->offers);
	free(inv->by_id);
	free(inv);
}

const struct offer *inventory_find(const struct inventory *inv, const char *id)
{
	size_t low = 0, high = inv->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		const struct offer *o = &inv->offers[inv->by_id[middle]];
		int order = strcmp(o->id, id);

		if (order == 0)
			return o;
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

static const struct offer *inventory_nth(const struct inventory *inv, size_t i)
{
	return inv && i < inv->count ? &inv->offers[inv->by_id[i]] : NULL;
}

/* Room for one more. */
static struct inventory_change *change_add(struct inventory_change **list, size_t *count)
{
	if ((*count & (*count - 1)) == 0) { /* full: it holds powers of two */
		size_t room = *count ? *count * 2 : 1;

		*list = reallocarray(*list, room, sizeof(**list));
		CHECK(*list); /* a change that is lost would never show */
	}
	return &(*list)[(*count)++];
}

struct inventory_change *inventory_changes(const struct inventory *before,
					   const struct inventory *after, size_t *count)
{
	struct inventory_change *list = NULL;
	size_t i = 0, j = 0;

	*count = 0;
	for (;;) {
		const struct offer *a = inventory_nth(before, i), *b = inventory_nth(after, j);
		int order = !a ? 1 : !b ? -1 : strcmp(a->id, b->id);
		uint64_t fields;

		if (!a && !b)
			return list;
		fields = order ? UINT64_MAX : offer_diff(a, b);
		if (fields)
			*change_add(&list, count) = (struct inventory_change){
				order <= 0 ? a : NULL, order >= 0 ? b : NULL, fields};
		i += order <= 0;
		j += order >= 0;
	}
}
