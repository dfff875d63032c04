/*
 * The index of offers: what is listed and found by serial, names that collide, and that following a
 * market from what differs gives what making it anew would, with everything that was remembered.
 */
#include "tree_fake.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h> /* after ours: it makes `fail` a macro */

#include "../../src/core/check.h"

#define ALICE 1000

static int setup(void **state)
{
	(void)state;
	fake_reset();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	fake_free();
	return 0;
}

static void make_offers(struct offer *o, size_t n)
{
	memset(o, 0, n * sizeof(*o));
	for (size_t i = 0; i < n; i++) {
		snprintf(o[i].id, sizeof(o[i].id), "local-%zu", i);
		COPY(o[i].provider, "local");
		COPY(o[i].gpu_type, "RTX 4090");
		o[i].price_u6 = (int64_t)((i * 7919) % n);
		o[i].available = true;
		o[i].min_bid_u6 = o[i].reliability_m = o[i].max_duration_hours = o[i].cuda_m =
			UNKNOWN;
	}
}

/* Lists inventory/ to its end; returns the number of entries, which must come by growing serial. */
static size_t list_offers(void)
{
	struct ctx x = fake_ctx(OBJ_ROOT, 0, ALICE);
	uint64_t after = 0, serial, found;
	size_t n = 0;
	char name[256];

	for (; object_classes[OBJ_OFFER].next(&x, after, &serial, name); after = serial, n++) {
		struct ctx o = fake_ctx(OBJ_OFFER, serial, ALICE);

		assert_true(serial > after);
		assert_true(object_classes[OBJ_OFFER].find(&x, name, &found));
		assert_int_equal(found, serial);
		assert_true(object_classes[OBJ_OFFER].resolve(&o));
		assert_string_equal(o.offer->id, name);
		assert_int_equal(offer_serial(&fake_mount, name), serial);
	}
	return n;
}

static void offers_are_found_and_listed(void **state)
{
	struct offer o[50];
	struct ctx x = fake_ctx(OBJ_ROOT, 0, ALICE);
	uint64_t serial, before;

	(void)state;
	make_offers(o, ARRAY_LEN(o));
	assert_int_equal(list_offers(), 0);
	fake_market(o, 50);
	assert_int_equal(list_offers(), 50);
	assert_true(object_classes[OBJ_OFFER].find(&x, "local-7", &before));
	assert_false(object_classes[OBJ_OFFER].find(&x, "local-50", &serial));
	fake_market(o, 10);
	assert_int_equal(list_offers(), 10);
	assert_true(object_classes[OBJ_OFFER].find(&x, "local-7", &serial));
	assert_int_equal(serial, before); /* a name keeps its node id */
	assert_true(fake_engine.looked > 0);
}

static void colliding_names_keep_their_serials(void **state)
{
	struct offer o[60];
	uint64_t serials[60];

	(void)state;
	offer_index_free(fake_mount.offers);
	fake_mount.offers = offer_index_new_masked(7); /* seven hashes for sixty names */
	make_offers(o, ARRAY_LEN(o));
	fake_market(o, 60);
	assert_int_equal(list_offers(), 60);
	for (size_t i = 0; i < 60; i++)
		serials[i] = offer_serial(&fake_mount, o[i].id);
	for (size_t round = 0; round < 5; round++) { /* other prices, the same names */
		for (size_t i = 0; i < 60; i++)
			o[i].price_u6 = (int64_t)((i * 31 + round * 17) % 60);
		fake_market(o, 60);
		assert_int_equal(list_offers(), 60);
		for (size_t i = 0; i < 60; i++)
			assert_int_equal(serials[i], offer_serial(&fake_mount, o[i].id));
	}
}

/* What follow must give for `after`, and keep of the rows that were marked. */
static void followed(const struct inventory *before, const struct inventory *after,
		     const uint64_t *serials)
{
	struct offer_index *ix = fake_mount.offers;
	uint64_t serial = 0;
	size_t n = 0;

	for (const struct offer *o = offer_index_after(ix, 0, &serial); o; n++) {
		struct indexed_offer *row = offer_index_row_of(ix, o);
		const struct offer *old = inventory_find(before, o->id);

		assert_ptr_equal(inventory_find(after, o->id), o);
		assert_ptr_equal(row, offer_index_row(ix, serial));
		assert_int_equal(offer_index_serial(ix, o->id), serial);
		if (old) { /* it stayed: the same serial, and what is remembered of it */
			assert_int_equal(serials[old - before->offers], serial);
			assert_int_equal(row->came_ns, serial);
			assert_int_equal(row->untold, (uint32_t)serial | 1);
			assert_int_equal(row->mtimes[3], serial);
		} else {
			assert_true(row->came_ns == 0 && row->untold == 0 && !row->mtimes);
		}
		o = offer_index_after(ix, serial, &serial);
	}
	assert_int_equal(n, after->count);
}

/* Every row gets marks that name it; returns the serials, by offer. */
static uint64_t *mark_rows(const struct inventory *inv)
{
	uint64_t *serials = xcalloc(inv->count + 1, sizeof(*serials));

	for (size_t i = 0; i < inv->count; i++) {
		struct indexed_offer *row = offer_index_row_of(fake_mount.offers, &inv->offers[i]);

		serials[i] = row->serial;
		row->came_ns = (int64_t)row->serial;
		row->untold = (uint32_t)row->serial | 1;
		if (!row->mtimes)
			row->mtimes = xcalloc(OFFER_NODE_FIELDS, sizeof(*row->mtimes));
		row->mtimes[3] = (int64_t)row->serial;
	}
	return serials;
}

/* Markets that lose, gain and reprice offers, one after the other. */
static void follow_markets(uint64_t mask, int rounds)
{
	enum { N = 60 };
	struct offer all[N], some[N];
	struct inventory *before = inventory_new(NULL, 0, 1), *after;
	unsigned seed = 7;

	offer_index_free(fake_mount.offers);
	fake_mount.offers = offer_index_new_masked(mask);
	offer_index_update(fake_mount.offers, before);
	make_offers(all, N);
	for (int round = 0; round < rounds; round++) {
		FREE struct inventory_change *diffs = NULL;
		FREE uint64_t *serials = mark_rows(before);
		unsigned keep = (unsigned)rand_r(&seed) % 5; /* 0: nearly all vanish at once */
		size_t n = 0, diff_count;

		for (size_t i = 0; i < N; i++) {
			if (rand_r(&seed) % 10 == 0)
				all[i].price_u6 = rand_r(&seed) % 50;
			if ((unsigned)rand_r(&seed) % 5 <= keep)
				some[n++] = all[i];
		}
		after = inventory_next(before, some, n);
		assert_non_null(after);
		diffs = inventory_changes(before, after, &diff_count);
		offer_index_follow(fake_mount.offers, before, after, diffs, diff_count);
		followed(before, after, serials);
		inventory_unref(before);
		before = after;
	}
	offer_index_update(fake_mount.offers, fake_engine.inv); /* it borrows no freed one */
	inventory_unref(before);
}

static void the_index_follows_the_market(void **state)
{
	(void)state;
	follow_markets(UINT64_MAX >> 16, 500);
	follow_markets(255, 300); /* names that collide */
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(offers_are_found_and_listed),
		TEST(colliding_names_keep_their_serials),
		TEST(the_index_follows_the_market),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
