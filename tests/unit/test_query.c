/*
 * Tests of selections: the grammar of search/ names and its refusals, which models are one model,
 * what matches, nesting, and the table that explains a selection.
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
#define wrong(...)                         \
	do {                               \
		print_error(__VA_ARGS__);  \
		_fail(__FILE__, __LINE__); \
	} while (0)

#include "../../src/core/check.h"
#include "../../src/core/query.h"

static struct offer make(const char *id, const char *gpu, int64_t vram, int64_t price_u6)
{
	struct offer o = {
		.price_u6 = price_u6,
		.gpu_count = 1,
		.vram_gb = vram,
		.min_bid_u6 = UNKNOWN,
		.reliability_m = UNKNOWN,
		.confidence_m = 1000,
		.max_duration_hours = UNKNOWN,
		.cuda_m = UNKNOWN,
		.available = true,
	};

	COPY(o.id, id);
	COPY(o.provider, "local");
	COPY(o.gpu_type, gpu);
	return o;
}

static void test_models(void **state)
{
	static const struct {
		const char *wanted, *model;
		bool match, exact;
	} rows[] = {
		{"A100", "A100", true, true},
		{"A100", "A100 SXM4", true, false},
		{"A100", "A100-SXM4-80GB", true, false},
		{"A100", "NVIDIA A100 80GB PCIe", true, false},
		{"a100", "A100 PCIE 40 GB", true, false},
		{"A100", "A100SXM4", true, false},
		{"A100", "A100X", false, false},
		{"A100", "A100D", false, false},
		{"A10", "A100", false, false},
		{"A10", "A100 80GB", false, false},
		{"A10", "A10G", false, false},
		{"L4", "L40", false, false},
		{"L4", "L40S 48GB", false, false},
		{"L40", "L40S", false, false},
		{"L4", "NVIDIA L4", true, true},
		{"H100", "H100 NVL", true, false},
		{"H100", "NVIDIA H100 80GB HBM3", true, false},
		{"H100", "h100-sxm5-80gb", true, false},
		{"H100", "GH200 480GB", false, false},
		{"H100_SXM", "H100 SXM5", true, false},
		{"H100_SXM5", "H100 PCIe", false, false},
		{"H100_PCIE", "H100 PCIe 80GB", true, false},
		{"A100_80GB", "A100 SXM4 80GB", true, false},
		{"A100_80GB", "A100 SXM4 40GB", false, false},
		{"A100_SXM4", "A100", false, false},
		{"RTX_4090", "RTX 4090", true, true},
		{"RTX_4090", "NVIDIA GeForce RTX 4090", true, true},
		{"NVIDIA_RTX_4090", "RTX 4090", true, true},
		{"rtx4090", "geforcertx4090-pcie-24gb", true, false},
		{"RTX_4090", "RTX 4090 D", false, false},
		{"RTX_4090", "RTX 4090D", false, false},
		{"RTX_4090_D", "RTX 4090D", true, true},
		{"RTX_4090", "RTX 4090 24GB", true, false},
		{"RTX_40", "RTX 4090 24GB", false, false},
		{"RTX_4090", "RTX 4090 Laptop GPU", false, false},
		{"RTX_4070", "RTX 4070 Ti", false, false},
		{"RTX_4070_Ti", "RTX 4070 Ti SUPER", false, false},
		{"RTX_4070", "RTX 4070 SUPER", false, false},
		{"RTX_2080", "RTX 2080 Max-Q", false, false},
		{"RTX_3080", "RTX 3080 Mobile", false, false},
		{"RTX_6000", "RTX 6000 Ada", false, false},
		{"RTX_6000_Ada", "RTX 6000Ada", true, true},
		{"RTX_6000", "Quadro RTX 6000", true, true},
		{"V100", "Tesla V100-SXM2-16GB", true, false},
		{"T4", "Tesla T4", true, true},
		{"T4", "T400 4GB", false, false},
		{"MI300X", "AMD Instinct MI300X", true, true},
		{"A100", "A100 SXM4 40GB MIG 1g.5gb", false, false},
		{"CPU", "CPU", true, true},
		{"A100", "", false, false},
		{"A100", "80GB", false, false},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		if (gpu_model_match(rows[i].wanted, rows[i].model, false) != rows[i].match)
			wrong("%s against %s", rows[i].wanted, rows[i].model);
		if (gpu_model_match(rows[i].wanted, rows[i].model, true) != rows[i].exact)
			wrong("%s exactly %s", rows[i].wanted, rows[i].model);
	}
}

static void test_parse(void **state)
{
	struct query q = {0};
	struct error why;
	BUF b = {0};

	(void)state;
	assert_int_equal(query_parse(&q, "max_price=0.5,gpu=RTX_4090,min_vram=024", &why), 0);
	assert_int_equal(q.set, 1u << Q_GPU | 1u << Q_MAX_PRICE | 1u << Q_MIN_VRAM);
	assert_int_equal(q.num[Q_MAX_PRICE], 500000);
	assert_int_equal(q.num[Q_MIN_VRAM], 24);
	query_put(&q, &b);
	assert_string_equal(b.data, "gpu=RTX_4090,min_vram=24,max_price=0.50");
	memset(&q, 0, sizeof(q));
	assert_int_equal(query_parse(&q,
				     "gpu==A100_SXM4,max_price=0,min_cuda=12.4,interruptible=no,"
				     "min_reliability=0.95,min_confidence=1",
				     &why),
			 0);
	assert_true(q.gpu_exact);
	assert_int_equal(q.num[Q_MAX_PRICE], 0);
	assert_int_equal(q.num[Q_MIN_CUDA], 12400);
	assert_int_equal(q.num[Q_MIN_RELIABILITY], 950);
	buf_reset(&b);
	query_put(&q, &b);
	assert_string_equal(b.data, "gpu==A100_SXM4,max_price=0.00,min_reliability=0.95,"
				    "min_confidence=1.0,min_cuda=12.4,interruptible=0");
	memset(&q, 0, sizeof(q));
	assert_int_equal(query_parse(&q, "all", &why), 0);
	buf_reset(&b);
	query_put(&q, &b);
	assert_string_equal(b.data, "all");
}

static void test_refusals(void **state)
{
	static const struct {
		const char *text;
		int err, column;
		const char *sentence; /* a part of it */
	} rows[] = {
		{"", -EINVAL, 1, "key=value"},
		{"gpu", -EINVAL, 1, "key=value"},
		{"gpu=", -EINVAL, 1, "value is missing"},
		{"gpu==", -EINVAL, 1, "value is missing"},
		{"gpu=_", -EINVAL, 1, "must not be empty"},
		{"gpu=A100,", -EINVAL, 10, "nothing between"},
		{",gpu=A100", -EINVAL, 1, "nothing between"},
		{"gpu=A100,bogus=1", -EINVAL, 10, "min_reliability min_confidence min_cuda"},
		{"all,gpu=A100", -EINVAL, 1, "key=value"},
		{"location=\xc3\xa4,x=1", -EINVAL, 12, "unknown key"}, /* in characters */
		{"max_price=NaN", -EINVAL, 1, "max_price=NaN: must be an amount"},
		{"max_price=inf", -EINVAL, 1, ""},
		{"max_price=-1", -EINVAL, 1, ""},
		{"max_price=0x1", -EINVAL, 1, ""},
		{"max_price=1e3", -EINVAL, 1, ""},
		{"max_price=.5", -EINVAL, 1, ""},
		{"max_price=99999999999", -ERANGE, 1, ""},
		{"min_vram=-1", -ERANGE, 1, "from 0"},
		{"min_vram=1.5", -EINVAL, 1, ""},
		{"min_vram=9999999999999999999999", -ERANGE, 1, ""},
		{"gpu_count=two", -EINVAL, 1, ""},
		{"min_reliability=1.001", -ERANGE, 1, "0 to 1"},
		{"min_reliability=0.9999", -EINVAL, 1, "3 digits"},
		{"interruptible=2", -EINVAL, 1, ""},
		{"location=a\nb", -EINVAL, 1, "control"},
		{"location=\xff", -EINVAL, 1, "UTF-8"},
		{"gpu=0123456789012345678901234567890123456789012345678901234567890123", -EINVAL, 1,
		 "63"},
		{"GPU=A100", -EINVAL, 1, "unknown key"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct query q = {.set = 1u << Q_MIN_VRAM, .num = {[Q_MIN_VRAM] = 3}};
		struct query before = q;
		struct error why = {0};

		if (query_parse(&q, rows[i].text, &why) != rows[i].err)
			wrong("%s: %s", rows[i].text, why.text);
		assert_int_equal(why.column, rows[i].column);
		if (!strstr(why.text, rows[i].sentence))
			wrong("%s: %s", rows[i].text, why.text);
		assert_memory_equal(&q, &before, sizeof(q)); /* all or nothing */
	}
}

static void test_nesting(void **state)
{
	static const struct {
		const char *first, *second, *both; /* NULL: refused */
	} rows[] = {
		{"min_vram=24", "min_vram=48", "min_vram=48"},
		{"min_vram=48", "min_vram=24", "min_vram=48"},
		{"max_price=1", "max_price=2", "max_price=1.00"},
		{"max_price=2", "max_price=1", "max_price=1.00"},
		{"gpu=A100", "gpu=A100_SXM4", "gpu=A100_SXM4"},
		{"gpu=A100_SXM4", "gpu=A100", "gpu=A100_SXM4"},
		{"gpu=A100", "gpu==A100_SXM4", "gpu==A100_SXM4"},
		{"gpu==A100_SXM4", "gpu=A100", "gpu==A100_SXM4"},
		{"gpu=A100", "gpu=H100", NULL},
		{"location=US", "location=Texas,_US", NULL},
		{"location=Texas_US", "location=us", "location=Texas_US"},
		{"location=us", "location=Texas_US", "location=Texas_US"},
		{"gpu_count=1", "gpu_count=2", NULL},
		{"interruptible=1", "interruptible=0", NULL},
		{"provider=local", "provider=LOCAL", "provider=LOCAL"},
		{"provider=local", "provider=vastai", NULL},
		{"gpu=A100", "min_vram=80", "gpu=A100,min_vram=80"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct query q = {0};
		struct error why = {0};
		BUF b = {0};
		int err;

		assert_int_equal(query_parse(&q, rows[i].first, &why), 0);
		err = query_parse(&q, rows[i].second, &why);
		query_put(&q, &b);
		if (!rows[i].both)
			assert_int_equal(err, -EINVAL);
		else
			assert_string_equal(b.data, rows[i].both);
	}
}

static void test_match(void **state)
{
	struct offer o = make("x", "RTX 4090", 24, 400000);
	static const struct {
		const char *query;
		bool match;
	} rows[] = {
		{"all", true},
		{"provider=Local", true},
		{"provider=loc", false},
		{"gpu=rtx-4090", true},
		{"gpu_count=1", true},
		{"gpu_count=2", false},
		{"min_gpu_count=1,min_vram=24,max_vram=24", true},
		{"min_vram=25", false},
		{"max_vram=23", false},
		{"max_price=0.40", true},
		{"max_price=0.399999", false},
		{"max_price=0", false},
		{"location=new_york", true},
		{"location=york,gpu=RTX_4090", true},
		{"location=Boston", false},
		{"min_reliability=0", false}, /* unknown is not zero */
		{"min_cuda=0", false},
		{"min_confidence=1", true},
		{"interruptible=0", true},
		{"interruptible=1", false},
	};
	struct query q;

	(void)state;
	COPY(o.location, "New-York, US");
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		memset(&q, 0, sizeof(q));
		assert_int_equal(query_parse(&q, rows[i].query, NULL), 0);
		if (query_match(&q, &o) != rows[i].match)
			wrong("%s", rows[i].query);
	}
	memset(&q, 0, sizeof(q));
	o.available = false;
	assert_false(query_match(&q, &o));
}

/* A machine that may be taken away is never what somebody gets who did not ask for it. */
static void test_interruptible(void **state)
{
	struct offer in[] = {make("a", "L4", 24, 100000), make("a-bid", "L4", 24, 50000)};
	static const struct {
		const char *query;
		bool demand, bid;
	} rows[] = {{"all", true, false},
		    {"gpu=L4", true, false},
		    {"gpu=L4,interruptible=0", true, false},
		    {"interruptible=1", false, true},
		    {"gpu=L4,max_price=0.06", false, false},
		    {"gpu=L4,max_price=0.06,interruptible=1", false, true}};
	struct inventory *inv;
	struct query q;
	BUF b = {0};

	(void)state;
	in[1].interruptible = true;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		memset(&q, 0, sizeof(q));
		assert_int_equal(query_parse(&q, rows[i].query, NULL), 0);
		if (query_match(&q, &in[0]) != rows[i].demand ||
		    query_match(&q, &in[1]) != rows[i].bid)
			wrong("%s", rows[i].query);
	}
	memset(&q, 0, sizeof(q));
	assert_true(query_match_said(&q, &in[1])); /* one level of several: another may say it */
	inv = inventory_new(in, ARRAY_LEN(in), 1);
	assert_int_equal(query_parse(&q, "gpu=L4", NULL), 0);
	assert_string_equal(query_best(&q, inv, NULL, NULL)->id, "a");
	query_why(&q, inv, &b);
	assert_string_equal(b.data, "# condition\tleft\tnearest_removed\n"
				    "all\t2\t\n"
				    "gpu=L4\t2\t\n"
				    "interruptible=0\t1\ta-bid 1\n");
	buf_reset(&b);
	assert_int_equal(query_parse(&q, "interruptible=1", NULL), 0);
	query_why(&q, inv, &b);
	assert_string_equal(b.data, "# condition\tleft\tnearest_removed\n"
				    "all\t2\t\n"
				    "gpu=L4\t2\t\n"
				    "interruptible=1\t1\ta 0\n");
	inventory_unref(inv);
}

static bool skip_id(void *arg, const struct offer *o)
{
	return strcmp(arg, o->id) == 0;
}

static void test_best(void **state)
{
	struct offer in[] = {make("b", "A100 PCIE", 80, 2), make("a", "A100 SXM4", 80, 2),
			     make("c", "L4", 24, 1), make("d", "A100", 80, 1)};
	struct inventory *inv;
	struct query q = {0};
	char first[] = "a";

	(void)state;
	in[3].available = false;
	inv = inventory_new(in, ARRAY_LEN(in), 1);
	assert_int_equal(query_parse(&q, "gpu=A100", NULL), 0);
	assert_string_equal(query_best(&q, inv, NULL, NULL)->id, "a");
	assert_string_equal(query_best(&q, inv, skip_id, first)->id, "b");
	assert_int_equal(query_parse(&q, "max_price=0", NULL), 0);
	assert_null(query_best(&q, inv, NULL, NULL));
	assert_null(query_best(&q, NULL, NULL, NULL));
	inventory_unref(inv);
}

static void test_why(void **state)
{
	struct offer in[] = {
		make("a", "RTX 3090", 24, 200000), make("b", "RTX 4090 D", 24, 300000),
		make("c", "RTX 4090", 24, 500000), make("d", "RTX 4090", 48, 900000),
		make("e", "RTX 4090", 24, 100000),
	};
	struct inventory *inv;
	struct query q = {0};
	BUF b = {0};

	(void)state;
	in[4].available = false;
	inv = inventory_new(in, ARRAY_LEN(in), 1);
	assert_int_equal(query_parse(&q, "max_price=0.40,min_reliability=0.9,gpu=RTX_4090", NULL),
			 0);
	query_why(&q, inv, &b);
	assert_string_equal(b.data, "# condition\tleft\tnearest_removed\n"
				    "all\t5\t\n"
				    "available=1\t4\te 0\n"
				    "gpu=RTX_4090\t2\tb RTX 4090 D\n"
				    "max_price=0.40\t0\tc 0.50\n"
				    "min_reliability=0.9\t0\t\n");
	buf_reset(&b);
	memset(&q, 0, sizeof(q));
	assert_int_equal(query_parse(&q, "min_vram=40,min_cuda=12.1", NULL), 0);
	query_why(&q, inv, &b);
	assert_string_equal(b.data, "# condition\tleft\tnearest_removed\n"
				    "all\t5\t\n"
				    "available=1\t4\te 0\n"
				    "min_vram=40\t1\ta 24\n"
				    "min_cuda=12.1\t0\td unknown\n");
	buf_reset(&b);
	query_why(&q, NULL, &b);
	assert_non_null(strstr(b.data, "all\t0\t\n"));
	inventory_unref(inv);
}

/* Random names: never a crash; what is accepted prints to something that is accepted and the same.
 */
static void test_random(void **state)
{
	static const char *const pieces[] = {
		"gpu=",	      "min_vram=", ",",	 "A100",      "_",   "=",
		"max_price=", "0.5",	   "24", "-",	      "all", "location=",
		"\xc3\xa4",   "\xff",	   "\t", "min_cuda=", "9",   "interruptible=",
		"1",	      "RTX 4090"};
	uint64_t rng = 1234567;
	size_t accepted = 0;

	(void)state;
	for (int round = 0; round < 30000; round++) {
		struct query q = {0}, again = {0};
		BUF text = {0};
		BUF out = {0};
		BUF out_again = {0};

		buf_puts(&text, "");
		do {
			rng = rng * UINT64_C(6364136223846793005) + 1442695040888963407u;
			buf_puts(&text, pieces[(rng >> 33) % ARRAY_LEN(pieces)]);
		} while ((rng >> 28) % 8);
		if (query_parse(&q, text.data, NULL) != 0)
			continue;
		accepted++;
		query_put(&q, &out);
		if (query_parse(&again, out.data, NULL) != 0)
			wrong("%s prints as %s, which is refused", text.data, out.data);
		query_put(&again, &out_again);
		assert_string_equal(out.data, out_again.data);
		assert_int_equal(q.set, again.set);
	}
	assert_true(accepted > 100);
}

/* ---- scans ---- */

static uint64_t scan_rng = 20261129;

static size_t pick_one_of(size_t n)
{
	scan_rng = scan_rng * UINT64_C(6364136223846793005) + 1442695040888963407u;
	return (size_t)(scan_rng >> 33) % n;
}

#define ONE_OF(array) ((array)[pick_one_of(ARRAY_LEN(array))])

static const char *const scan_models[] = {"RTX 4090",	    "RTX_4090", "A100",	    "A100 SXM4",
					  "A100-SXM4-80GB", "CPU",	"RTX 4090D"};
static const char *const scan_places[] = {"Texas, US", "US", "", "New-York, us", "Oslo, NO"};
static const char *const scan_providers[] = {"local", "vastai", "Local", "toy"};
static const int64_t scan_numbers[] = {UNKNOWN, 0, 1, 2, 24, 80, 900, 1000, 12400};

static struct offer random_offer(size_t i)
{
	struct offer o = make("", ONE_OF(scan_models), ONE_OF(scan_numbers), ONE_OF(scan_numbers));

	snprintf(o.id, sizeof(o.id), "o-%03zu", i);
	COPY(o.provider, ONE_OF(scan_providers));
	COPY(o.location, ONE_OF(scan_places));
	o.gpu_count = ONE_OF(scan_numbers);
	o.reliability_m = ONE_OF(scan_numbers);
	o.confidence_m = ONE_OF(scan_numbers);
	o.cuda_m = ONE_OF(scan_numbers);
	o.available = pick_one_of(8) > 0;
	o.interruptible = pick_one_of(4) == 0;
	return o;
}

/* Few conditions, or nothing would match. */
static struct query random_query(void)
{
	struct query q = {0};

	for (enum query_key k = 0; k < Q_KEY_COUNT; k++) {
		if (pick_one_of(10))
			continue;
		q.set |= UINT32_C(1) << k;
		q.num[k] = k == Q_INTERRUPTIBLE ? (int64_t)pick_one_of(2) : ONE_OF(scan_numbers);
	}
	q.gpu_exact = pick_one_of(4) == 0;
	COPY(q.text[Q_GPU], ONE_OF(scan_models));
	COPY(q.text[Q_LOCATION], ONE_OF(scan_places));
	COPY(q.text[Q_PROVIDER], ONE_OF(scan_providers));
	return q;
}

static bool plain_match(const struct query *levels, size_t n, const struct offer *o)
{
	bool said = false;

	for (size_t i = 0; i < n; i++) {
		if (!query_match_said(&levels[i], o))
			return false;
		said = said || levels[i].set & UINT32_C(1) << Q_INTERRUPTIBLE;
	}
	return said || !o->interruptible;
}

/* A scan says of every offer what the comparison of one offer says, wherever it begins. */
static void test_scan(void **state)
{
	size_t matches = 0, misses = 0;

	(void)state;
	for (int round = 0; round < 3000; round++) {
		struct offer offers[60];
		struct query q[QUERY_LEVELS_MAX];
		const struct query *levels[QUERY_LEVELS_MAX];
		size_t n = pick_one_of(ARRAY_LEN(offers) + 1);
		size_t depth = pick_one_of(2) ? 1 : 1 + pick_one_of(QUERY_LEVELS_MAX);
		struct inventory *inv;
		struct query_scan *scan;

		for (size_t i = 0; i < n; i++)
			offers[i] = random_offer(i);
		for (size_t i = 0; i < depth; i++) {
			q[i] = random_query();
			levels[i] = &q[i];
		}
		inv = inventory_new(offers, n, 1);
		scan = query_scan_new(levels, depth, inv);
		assert_non_null(scan);
		for (size_t from = pick_one_of(n + 1), at = n, i = n + 1; i-- > from;) {
			bool match = i < n && plain_match(q, depth, &inv->offers[i]);

			at = match ? i : at;
			matches += match;
			misses += !match;
			assert_int_equal(query_scan_next(scan, i), at);
		}
		query_scan_free(scan);
		inventory_unref(inv);
	}
	assert_true(matches > 3000 && misses > 3000);
	query_scan_free(NULL);
}

static void test_table(void **state)
{
	(void)state;
	for (size_t i = 0; i < Q_KEY_COUNT; i++) {
		assert_true(strlen(query_keys[i].doc) > 10);
		assert_int_equal(query_key_find(str_of(query_keys[i].name)), i);
	}
	assert_int_equal(query_key_find(str_of("gpu_")), -1);
	assert_int_equal(query_key_find(str_of("")), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_models),	 cmocka_unit_test(test_parse),
		cmocka_unit_test(test_refusals), cmocka_unit_test(test_nesting),
		cmocka_unit_test(test_match),	 cmocka_unit_test(test_best),
		cmocka_unit_test(test_why),	 cmocka_unit_test(test_random),
		cmocka_unit_test(test_table),	 cmocka_unit_test(test_interruptible),
		cmocka_unit_test(test_scan),
	};

	return cmocka_run_group_tests_name("query", tests, NULL, NULL);
}
