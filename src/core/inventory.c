/*
 * The market as an immutable snapshot (inventory.h). Sorting moves 4-byte indexes, not offers of
 * half a kilobyte: 100 000 offers take a fraction of a second. Nothing here changes an offer once
 * the snapshot is returned. Loop thread, or one worker before it is shared. Tests:
 * tests/unit/test_inventory.c.
 */
#include "inventory.h"

#include <stdlib.h>
#include <string.h>

#include "check.h"

static int offer_compare_id(const void *a, const void *b, void *arg)
{
	const struct offer *offers = arg;
	uint32_t i = *(const uint32_t *)a, j = *(const uint32_t *)b;
	int by_id = strcmp(offers[i].id, offers[j].id);

	return by_id ? by_id : (i > j) - (i < j); /* so that the first of duplicates stays first */
}

static int offer_compare_price(const void *a, const void *b, void *arg)
{
	const struct offer *offers = arg;
	const struct offer *x = &offers[*(const uint32_t *)a], *y = &offers[*(const uint32_t *)b];

	if (x->price_u6 != y->price_u6)
		return x->price_u6 < y->price_u6 ? -1 : 1;
	return strcmp(x->id, y->id);
}

/* Indexes of the offers that stay, by price. Returns how many. */
static size_t inventory_order(const struct offer *offers, size_t n, uint32_t *order)
{
	size_t kept = 0;

	for (size_t i = 0; i < n; i++) {
		CHECK(memchr(offers[i].id, '\0', sizeof(offers[i].id)));
		order[i] = (uint32_t)i;
	}
	qsort_r(order, n, sizeof(*order), offer_compare_id, (void *)(uintptr_t)offers);
	for (size_t i = 0; i < n; i++)
		if (kept == 0 || strcmp(offers[order[kept - 1]].id, offers[order[i]].id) != 0)
			order[kept++] = order[i];
	qsort_r(order, kept, sizeof(*order), offer_compare_price, (void *)(uintptr_t)offers);
	return kept;
}

struct inventory *inventory_new(const struct offer *offers, size_t n, uint64_t generation)
{
	struct inventory *inv;
	FREE uint32_t *order = NULL;

	if (n >= UINT32_MAX)
		return NULL;
	inv = calloc(1, sizeof(*inv));
	order = calloc(n + 1, sizeof(*order));
	if (!inv || !order) {
		free(inv);
		return NULL;
	}
	inv->refs = 1;
	inv->generation = generation;
	inv->count = n ? inventory_order(offers, n, order) : 0;
	inv->offers = calloc(inv->count + 1, sizeof(*inv->offers));
	inv->by_id = calloc(inv->count + 1, sizeof(*inv->by_id));
	if (!inv->offers || !inv->by_id) {
		inventory_unref(inv);
		return NULL;
	}
	for (size_t i = 0; i < inv->count; i++) {
		inv->offers[i] = offers[order[i]];
		inv->by_id[i] = (uint32_t)i;
	}
	if (inv->count)
		qsort_r(inv->by_id, inv->count, sizeof(*inv->by_id), offer_compare_id, inv->offers);
	return inv;
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

void inventory_diff(const struct inventory *before, const struct inventory *after,
		    void (*fn)(void *arg, const struct offer *a, const struct offer *b), void *arg)
{
	size_t i = 0, j = 0;

	for (;;) {
		const struct offer *a = inventory_nth(before, i), *b = inventory_nth(after, j);
		int order = !a ? 1 : !b ? -1 : strcmp(a->id, b->id);

		if (!a && !b)
			return;
		if (order < 0)
			fn(arg, a, NULL);
		else if (order > 0)
			fn(arg, NULL, b);
		else if (offer_diff(a, b))
			fn(arg, a, b);
		i += order <= 0;
		j += order >= 0;
	}
}
