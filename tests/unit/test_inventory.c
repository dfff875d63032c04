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

static void put_changes(struct buf *b, const struct inventory *before,
			const struct inventory *after)
{
	size_t n = 99;
	FREE struct inventory_change *list = inventory_changes(before, after, &n);

	assert_int_equal(list != NULL, n != 0);
	for (size_t i = 0; i < n; i++) {
		const struct offer *x = list[i].before, *y = list[i].after;

		buf_printf(b, "%s>%s ", x ? x->id : "-", y ? y->id : "-");
		assert_true(list[i].fields == (x && y ? offer_diff(x, y) : UINT64_MAX));
	}
	buf_puts(b, ";");
}

static void test_changes(void **state)
{
	struct offer before[] = {make("a", 1), make("b", 2), make("c", 3), make("e", 4)};
	struct offer after[] = {make("b", 2), make("c", 9), make("d", 1), make("f", 1)};
	struct inventory *x = inventory_new(before, ARRAY_LEN(before), 1);
	struct inventory *y = inventory_new(after, ARRAY_LEN(after), 2);
	BUF b = {0};

	(void)state;
	put_changes(&b, x, y);
	put_changes(&b, NULL, x);
	put_changes(&b, x, NULL);
	put_changes(&b, x, x);
	put_changes(&b, NULL, NULL);
	assert_string_equal(b.data, "a>- c>c ->d e>- ->f ;->a ->b ->c ->e ;a>- b>- c>- e>- ;;;");
	inventory_unref(x);
	inventory_unref(y);
}

/* What is the same in a snapshot that was made from scratch and in one that followed another. */
static void assert_same(const struct inventory *x, const struct inventory *y)
{
	assert_int_equal(x->count, y->count);
	assert_memory_equal(x->by_id, y->by_id, x->count * sizeof(*x->by_id));
	for (size_t i = 0; i < x->count; i++)
		assert_true(offer_diff(&x->offers[i], &y->offers[i]) == 0);
	for (enum inventory_line l = 0; l < LINE_COUNT; l++) {
		assert_memory_equal(x->lines[l].end, y->lines[l].end,
				    x->count * sizeof(*x->lines[l].end));
		assert_string_equal(x->lines[l].text, y->lines[l].text);
	}
}

/* Lines are those of the offers that stand there, whatever was copied from the snapshot before. */
static void test_lines(void **state)
{
	enum { N = 200 };
	struct offer in[N];
	struct inventory *inv = inventory_new(NULL, 0, 6);
	uint64_t rng = 5;

	(void)state;
	assert_string_equal(inv->lines[LINE_TSV].text, "");
	for (size_t i = 0; i < N; i++) {
		in[i] = make("", (int64_t)i % 7);
		snprintf(in[i].id, sizeof(in[i].id), "o-%03zu", i * 37 % N);
	}
	for (int round = 0; round < 20; round++) {
		size_t from = (size_t)round * 5 % 40, n = N - from - (size_t)round;
		struct inventory *fresh = inventory_new(in + from, n, 1);
		struct inventory *next = inventory_next(inv, in + from, n);

		assert_int_equal(next->generation, 7 + round);
		assert_same(fresh, next);
		for (size_t i = 0, begin = 0; i < n; begin = next->lines[LINE_JSON].end[i++]) {
			BUF b = {0};

			offer_put_json(&next->offers[i], &b);
			buf_putc(&b, '\n');
			assert_int_equal(next->lines[LINE_JSON].end[i] - begin, b.len);
			assert_memory_equal(next->lines[LINE_JSON].text + begin, b.data, b.len);
		}
		inventory_unref(inv);
		inventory_unref(fresh);
		inv = next;
		for (size_t i = 0; i < N; i++) {
			rng = rng * UINT64_C(6364136223846793005) + 1442695040888963407u;
			if (rng >> 61 == 0)
				in[i].price_u6 = (int64_t)(rng >> 33) % 9;
			else if (rng >> 61 == 1)
				snprintf(in[i].location, sizeof(in[i].location), "Place %d", round);
			else if (rng >> 61 == 2)
				in[i].disk.rate_u9++; /* in no line */
		}
	}
	inventory_unref(inv);
}

static void test_line_texts(void **state)
{
	struct offer o = make("local-gpu0", 500000);
	struct inventory *inv = inventory_new(&o, 1, 1);

	(void)state;
	assert_string_equal(inv->lines[LINE_TSV].text,
			    "local-gpu0\tlocal\tgpu0\tRTX 4090\t1\t24\t0.50\t\t\t1\t\t1.0\t"
			    "12.4\t\t0\t\n");
	assert_string_equal(
		inv->lines[LINE_JSON].text,
		"{\"id\":\"local-gpu0\",\"provider\":\"local\",\"provider_id\":\"gpu0\","
		"\"gpu_type\":\"RTX 4090\",\"gpu_count\":1,\"vram_gb\":24,\"price_per_hour\":0.50,"
		"\"available\":true,\"availability_confidence\":1.0,\"cuda_version\":12.4,"
		"\"interruptible\":false}\n");
	inventory_unref(inv);
}

static void test_words(void **state)
{
	struct offer in[] = {make("a", 1), make("b", 2), make("c", 3)};
	struct inventory *inv;

	(void)state;
	COPY(in[1].gpu_type, "L4");
	COPY(in[2].provider, "toy");
	COPY(in[2].location, "Oslo");
	inv = inventory_new(in, ARRAY_LEN(in), 1);
	assert_int_equal(inv->words[WORD_PROVIDER].count, 2);
	assert_int_equal(inv->words[WORD_MODEL].count, 2);
	assert_int_equal(inv->words[WORD_LOCATION].count, 2);
	for (size_t i = 0; i < inv->count; i++) {
		const struct offer *o = &inv->offers[i];

#define WORD(kind) inv->words[kind].text[inv->words[kind].of[i]]
		assert_string_equal(WORD(WORD_PROVIDER), o->provider);
		assert_string_equal(WORD(WORD_MODEL), o->gpu_type);
		assert_string_equal(WORD(WORD_LOCATION), o->location);
		assert_int_equal(inv->numbers[NUMBER_PRICE][i], o->price_u6);
		assert_int_equal(inv->numbers[NUMBER_CUDA][i], o->cuda_m);
	}
	inventory_unref(inv);
}

/* Whatever the shape, no offer of the provider costs less than that below its price in the list. */
static void test_saves(void **state)
{
	struct offer in[] = {make("a", 900000), make("b", 800000), make("c", 700000)};
	static const int64_t sizes[] = {UNKNOWN, 1, 8, 10, 49, 50, 51, 100};
	struct inventory *inv;

	(void)state;
	in[0].disk = (struct part){50, 200999, UNKNOWN};
	in[1].disk = (struct part){10, 333333, 60};
	in[1].ram = (struct part){32, 1000001, UNKNOWN};
	in[2].vcpus = (struct part){8, 12345678, UNKNOWN};
	COPY(in[2].provider, "toy");
	inv = inventory_new(in, ARRAY_LEN(in), 1);
	for (size_t k = 0; k < ARRAY_LEN(sizes) * ARRAY_LEN(sizes); k++) {
		struct shape shape = {sizes[k % ARRAY_LEN(sizes)], sizes[k / ARRAY_LEN(sizes)],
				      sizes[k / ARRAY_LEN(sizes)]};

		for (size_t i = 0; i < inv->count; i++) {
			const struct offer *o = &inv->offers[i];
			int64_t price = offer_price(o, &shape);
			uint32_t provider = inv->words[WORD_PROVIDER].of[i];

			if (price != UNKNOWN)
				assert_true(price >=
					    o->price_u6 - inventory_saves(inv, provider, &shape));
		}
	}
	assert_int_equal(inventory_saves(inv, inv->words[WORD_PROVIDER].of[2],
					 &(struct shape){50, UNKNOWN, 32}),
			 0);
	inventory_unref(inv);
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
		cmocka_unit_test(test_empty),	       cmocka_unit_test(test_changes),
		cmocka_unit_test(test_lines),	       cmocka_unit_test(test_line_texts),
		cmocka_unit_test(test_words),	       cmocka_unit_test(test_saves),
		cmocka_unit_test(test_many),
	};

	return cmocka_run_group_tests_name("inventory", tests, NULL, NULL);
}
