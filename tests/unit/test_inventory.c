/*
 * Tests of offers and of the market as a snapshot: values as files, order, duplicates, look-up,
 * differences, and that 100 000 offers are no problem.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#undef fail /* cmocka's macro; ours is in error.h */

#include "../../src/core/check.h"
#include "../../src/core/inventory.h"

static struct offer make(const char *id, int64_t price_u6)
{
	struct offer o = {
		.price_u6 = price_u6,
		.gpu_count = 1,
		.vram_gb = 24,
		.min_bid_u6 = UNKNOWN,
		.reliability_m = UNKNOWN,
		.confidence_m = 1000,
		.max_duration_hours = UNKNOWN,
		.cuda_m = 12400,
		.available = true,
	};

	COPY(o.id, id);
	COPY(o.provider, "local");
	COPY(o.provider_id, "gpu0");
	COPY(o.gpu_type, "RTX 4090");
	return o;
}

static void test_fields(void **state)
{
	static const char *const names[] = {
		"provider",
		"provider_id",
		"gpu_type",
		"gpu_count",
		"vram_gb",
		"price_per_hour",
		"location",
		"reliability",
		"available",
		"max_duration_hours",
		"availability_confidence",
		"cuda_version",
		"machine_id",
		"interruptible",
		"min_bid",
	};
	static const char *const values[] = {"local", "gpu0", "RTX 4090", "1", "24",
					     "0.50",  "",     "",	  "1", "",
					     "1.0",   "12.4", "",	  "0", ""};
	struct offer o = make("local-gpu0", 500000);

	(void)state;
	assert_int_equal(offer_field_count, ARRAY_LEN(names));
	for (size_t i = 0; i < offer_field_count; i++) {
		BUF b = {0};

		assert_string_equal(offer_fields[i].name, names[i]);
		assert_true(strlen(offer_fields[i].doc) > 10);
		offer_fields[i].show(&o, &b);
		assert_string_equal(b.data ? b.data : "", values[i]);
	}
}

static void test_fields_hostile(void **state)
{
	struct offer o = make("x", 1);
	BUF b = {0};

	(void)state;
	COPY(o.location, "a\nb\tc\xff");
	memset(o.machine_id, 'm', sizeof(o.machine_id)); /* no NUL at all */
	for (size_t i = 0; i < offer_field_count; i++)
		offer_fields[i].show(&o, &b);
	assert_null(strchr(b.data, '\n'));
	assert_null(strchr(b.data, '\t'));
	assert_true(utf8_valid(b.data, b.len));
}

static void test_diff_of_offers(void **state)
{
	struct offer a = make("a", 5), b = a;

	(void)state;
	assert_true(offer_diff(&a, &b) == 0);
	b.price_u6 = 6;
	assert_true(offer_diff(&a, &b) == UINT64_C(1) << 5);
	b.price_u6 = 5;
	b.location[5] = 'x'; /* behind the NUL: reads the same */
	assert_true(offer_diff(&a, &b) == 0);
	b.available = false;
	b.reliability_m = 0;
	assert_true(offer_diff(&a, &b) == (UINT64_C(1) << 8 | UINT64_C(1) << 7));
	b = a; /* what another shape costs shows in no field, and is a change */
	b.ram.rate_u9++;
	assert_true(offer_diff(&a, &b) == OFFER_TERMS);
	b = a;
	b.reach = REACH_ADDRESS;
	assert_true(offer_diff(&a, &b) == OFFER_TERMS);
}

static void test_order_and_find(void **state)
{
	struct offer in[] = {make("c", 3), make("b", 1), make("a", 3), make("b", 9), make("d", 2)};
	struct inventory *inv = inventory_new(in, ARRAY_LEN(in), 42), *same;
	static const char *const order[] = {"b", "d", "a", "c"};

	(void)state;
	assert_non_null(inv);
	assert_int_equal(inv->count, 4);
	assert_int_equal(inv->generation, 42);
	for (size_t i = 0; i < 4; i++) {
		assert_string_equal(inv->offers[i].id, order[i]);
		assert_ptr_equal(inventory_find(inv, order[i]), &inv->offers[i]);
	}
	assert_int_equal(inventory_find(inv, "b")->price_u6, 1); /* the first of two */
	assert_null(inventory_find(inv, "e"));
	assert_null(inventory_find(inv, ""));
	same = inventory_ref(inv);
	inventory_unref(inv);
	assert_int_equal(same->refs, 1);
	inventory_unref(same);
	inventory_unref(NULL);
}

static void test_empty(void **state)
{
	struct inventory *inv = inventory_new(NULL, 0, 1);

	(void)state;
	assert_non_null(inv);
	assert_int_equal(inv->count, 0);
	assert_null(inventory_find(inv, "x"));
	inventory_unref(inv);
}

static void note_diff(void *arg, const struct offer *a, const struct offer *b)
{
	buf_printf(arg, "%s>%s ", a ? a->id : "-", b ? b->id : "-");
}

static void test_diff(void **state)
{
	struct offer before[] = {make("a", 1), make("b", 2), make("c", 3), make("e", 4)};
	struct offer after[] = {make("b", 2), make("c", 9), make("d", 1), make("f", 1)};
	struct inventory *x = inventory_new(before, ARRAY_LEN(before), 1);
	struct inventory *y = inventory_new(after, ARRAY_LEN(after), 2);
	BUF b = {0};

	(void)state;
	inventory_diff(x, y, note_diff, &b);
	assert_string_equal(b.data, "a>- c>c ->d e>- ->f ");
	buf_reset(&b);
	inventory_diff(NULL, x, note_diff, &b);
	assert_string_equal(b.data, "->a ->b ->c ->e ");
	buf_reset(&b);
	inventory_diff(x, NULL, note_diff, &b);
	inventory_diff(x, x, note_diff, &b);
	inventory_diff(NULL, NULL, note_diff, &b);
	assert_string_equal(b.data, "a>- b>- c>- e>- ");
	inventory_unref(x);
	inventory_unref(y);
}

static void test_many(void **state)
{
	enum { N = 100000 };
	struct offer *in = calloc(N, sizeof(*in));
	uint64_t rng = 99;
	struct inventory *inv;

	(void)state;
	assert_non_null(in);
	for (size_t i = 0; i < N; i++) {
		rng = rng * UINT64_C(6364136223846793005) + 1442695040888963407u;
		in[i] = make("", (int64_t)(rng >> 40) % 5000);
		snprintf(in[i].id, sizeof(in[i].id), "synthetic-%05llu",
			 (unsigned long long)(rng >> 33) % 90000);
	}
	inv = inventory_new(in, N, 7);
	assert_non_null(inv);
	assert_true(inv->count < 90000 && inv->count > 50000);
	for (size_t i = 1; i < inv->count; i++) {
		const struct offer *a = &inv->offers[i - 1], *b = &inv->offers[i];

		assert_true(a->price_u6 < b->price_u6 ||
			    (a->price_u6 == b->price_u6 && strcmp(a->id, b->id) < 0));
		assert_true(strcmp(inv->offers[inv->by_id[i - 1]].id,
				   inv->offers[inv->by_id[i]].id) < 0);
	}
	for (size_t i = 0; i < N; i += 97)
		assert_non_null(inventory_find(inv, in[i].id));
	inventory_unref(inv);
	free(in);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fields),	       cmocka_unit_test(test_fields_hostile),
		cmocka_unit_test(test_diff_of_offers), cmocka_unit_test(test_order_and_find),
		cmocka_unit_test(test_empty),	       cmocka_unit_test(test_diff),
		cmocka_unit_test(test_many),
	};

	return cmocka_run_group_tests_name("inventory", tests, NULL, NULL);
}
