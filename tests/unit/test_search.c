/*
 * search/: the table of queries (bounds, references, reuse), what a query shows, nested queries, names
 * and targets of results, and that a market of 100 k offers is looked at once.
 */
#include "tree_fake.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h> /* after ours: it makes `fail` a macro */
#include <jansson.h>

#include "../../src/core/check.h"

static struct offer market[6];

static void put_offer(size_t i, const char *id, const char *gpu, int64_t vram, int64_t price)
{
	struct offer *o = &market[i];

	memset(o, 0, sizeof(*o));
	COPY(o->id, id);
	COPY(o->provider, "fake");
	COPY(o->gpu_type, gpu);
	COPY(o->location, "Oslo, NO");
	o->gpu_count = 1;
	o->vram_gb = vram;
	o->price_u6 = price;
	o->available = true;
	o->confidence_m = 1000;
	o->min_bid_u6 = o->reliability_m = o->max_duration_hours = o->cuda_m = UNKNOWN;
}

static int setup(void **state)
{
	(void)state;
	fake_reset();
	put_offer(0, "fake-a", "RTX 4090", 24, 400000);
	put_offer(1, "fake-b", "RTX 4090", 24, 300000);
	put_offer(2, "fake-c", "A100 SXM4", 80, 1500000);
	put_offer(3, "fake-d", "A100 PCIE", 40, 1200000);
	put_offer(4, "fake-e", "T4", 16, 100000);
	put_offer(5, "fake-f", "bad/name", 1, 50000);
	fake_market(market, ARRAY_LEN(market));
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	fake_free();
	return 0;
}

/* The serial of PATH ("gpu=A100/max_price=1"), each level looked up and referenced like the kernel. */
static uint64_t look_up(const char *path)
{
	char text[256], *save;
	struct query_node *q = NULL;
	uint64_t serial = 0;

	copy_text(text, sizeof(text), path);
	for (char *w = strtok_r(text, "/", &save); w; w = strtok_r(NULL, "/", &save)) {
		struct error why = {0};

		if (query_table_get(fake_mount.queries, q, w, &fake_engine, &serial, &why) < 0)
			fail_msg("%s: %s", w, why.text);
		q = query_table_find(fake_mount.queries, serial);
		assert_non_null(q);
		query_node_ref(fake_mount.queries, q);
	}
	return serial;
}

static void expect(const char *path, const char *file, const char *wanted)
{
	FREE char *text = fake_show(fake_ctx(OBJ_QUERY, look_up(path), 1000), file);

	if (!text)
		fail_msg("%s/%s: nothing", path, file);
	if (strcmp(text, wanted) != 0)
		fail_msg("%s/%s: got '%s', wanted '%s'", path, file, text, wanted);
}

static void queries_show_what_matches(void **state)
{
	(void)state;
	expect("all", "count", "6\n");
	expect("gpu=RTX_4090", "count", "2\n");
	expect("gpu=rtx4090,max_price=0.35", "count", "1\n");
	expect("gpu=A100", "count", "2\n");
	expect("gpu==A100_SXM4", "count", "1\n");
	expect("gpu=H100", "count", "0\n");
	expect("gpu=RTX_4090", "best", "../../inventory/fake-b");
	expect("all/gpu=A100/min_vram=80", "best", "../../../../inventory/fake-c");
	assert_null(fake_show(fake_ctx(OBJ_QUERY, look_up("gpu=H100"), 1000), "best"));
	expect("gpu=H100", "table", "");
	expect("gpu=H100", "table.tsv", "");
	expect("gpu=H100", "offers.json", "");
	assert_true(fake_engine.looked > 0);
}

static void tables_are_aligned(void **state)
{
	(void)state;
	expect("gpu=RTX_4090", "table",
	       "# id    gpu_type  gpu_count  vram_gb  price_per_hour  reliability  "
	       "availability_confidence  location\n"
	       "fake-b  RTX 4090          1       24            0.30            -  "
	       "                    1.0  Oslo, NO\n"
	       "fake-a  RTX 4090          1       24            0.40            -  "
	       "                    1.0  Oslo, NO\n");
	FREE char *tsv = fake_show(fake_ctx(OBJ_QUERY, look_up("gpu=T4"), 1000), "table.tsv");

	assert_memory_equal(tsv, "# id\tprovider\tprovider_id\tgpu_type\t", 35);
	assert_non_null(strstr(tsv, "\nfake-e\tfake\t\tT4\t1\t16\t0.10\tOslo, NO\t\t1\t"));
	FREE char *json = fake_show(fake_ctx(OBJ_QUERY, look_up("gpu=T4"), 1000), "offers.json");
	json_t *o = json_loads(json, 0, NULL);

	assert_non_null(o);
	assert_string_equal(json_string_value(json_object_get(o, "id")), "fake-e");
	assert_true(json_is_true(json_object_get(o, "available")));
	json_decref(o);
}

/* Whether machines that may be taken away match is said on any level, or they do not. */
static void bids_are_asked_for(void **state)
{
	struct offer more[6];

	(void)state;
	memcpy(more, market, sizeof(more));
	COPY(more[1].id, "fake-a-bid");
	more[1].interruptible = true;
	COPY(more[1].gpu_type, "RTX 4090");
	fake_market(more, 6);
	expect("all", "count", "5\n");
	expect("all/interruptible=1", "count", "1\n");
	expect("interruptible=1/gpu=RTX_4090", "best", "../../../inventory/fake-a-bid");
	assert_int_equal(fake_engine.asked.num[Q_INTERRUPTIBLE], 1);
	assert_string_equal(fake_engine.asked.text[Q_GPU], "RTX_4090");
	expect("gpu=RTX_4090/interruptible=1", "count", "1\n");
	expect("gpu=RTX_4090/interruptible=0/max_price=9", "best", "../../../../inventory/fake-a");
	assert_string_equal(fake_engine.asked.text[Q_MAX_PRICE], "9.00");
}

/* Levels AND, also when they name one key twice. */
static void levels_and(void **state)
{
	(void)state;
	expect("max_price=1/max_price=0.35", "count", "3\n");
	expect("max_price=0.35/max_price=1", "count", "3\n");
	expect("gpu=RTX_4090/gpu=A100", "count", "0\n");
	expect("gpu=A100/gpu==A100_SXM4", "count", "1\n");
	FREE char *why = fake_show(
		fake_ctx(OBJ_QUERY, look_up("gpu=RTX_4090/gpu=A100/min_vram=1"), 1000), "why");

	assert_non_null(strstr(why, "gpu=RTX_4090\t2\t"));
	assert_non_null(strstr(why, "\ngpu=A100\t0\t\nmin_vram=1\t0\t\n"));
	FREE char *one = fake_show(fake_ctx(OBJ_QUERY, look_up("gpu=A100/min_vram=80"), 1000),
				   "why");

	assert_non_null(strstr(one, "min_vram=80\t1\tfake-d 40\n"));
}

static void refusals_have_sentences(void **state)
{
	struct error why = {0};
	uint64_t serial;
	struct query_table *t = fake_mount.queries;
	size_t before = query_table_count(t);

	(void)state;
	assert_int_equal(query_table_get(t, NULL, "color=red", &fake_engine, &serial, &why),
			 -EINVAL);
	assert_true(strlen(why.text) > 10);
	assert_int_equal(query_table_get(t, NULL, "max_price=NaN", &fake_engine, &serial, &why),
			 -EINVAL);
	assert_int_equal(query_table_get(t, NULL, "gpu=", &fake_engine, &serial, &why), -EINVAL);
	assert_int_equal(query_table_get(t, NULL, ".git", &fake_engine, &serial, &why), -ENOENT);
	assert_int_equal(query_table_get(t, NULL, "All", &fake_engine, &serial, NULL), -ENOENT);
	struct query_node *q = query_table_find(t, look_up("gpu=T4"));

	assert_int_equal(query_table_get(t, q, "all", &fake_engine, &serial, &why), -ENOENT);
	assert_int_equal(query_table_count(t), before + 1);
	look_up("gpu=T4/gpu=T4/gpu=T4/gpu=T4/gpu=T4/gpu=T4/gpu=T4/gpu=T4");
	q = query_table_find(t, look_up("gpu=T4/gpu=T4/gpu=T4/gpu=T4/gpu=T4/gpu=T4/gpu=T4/gpu=T4"));
	assert_int_equal(query_table_get(t, q, "gpu=T4", &fake_engine, &serial, &why), -EINVAL);
}

static void one_canonical_text_is_one_node(void **state)
{
	(void)state;
	assert_int_equal(look_up("min_vram=24,gpu=RTX_4090"), look_up("gpu=RTX_4090,min_vram=24"));
	assert_int_not_equal(look_up("gpu=T4"), look_up("all/gpu=T4"));
}

static void search_lists_models(void **state)
{
	static const char *const wanted[] = {"all", "gpu=A100_PCIE", "gpu=A100_SXM4",
					     "gpu=RTX_4090", "gpu=T4"};
	struct ctx x = fake_ctx(OBJ_ROOT, 0, 1000);
	uint64_t after = 0, serial, again;
	char name[256];
	size_t n = 0;
	unsigned found = 0;

	(void)state;
	for (; object_classes[OBJ_QUERY].next(&x, after, &serial, name); after = serial, n++) {
		for (size_t i = 0; i < ARRAY_LEN(wanted); i++)
			if (strcmp(wanted[i], name) == 0)
				found |= 1u << i;
		assert_true(object_classes[OBJ_QUERY].find(&x, name, &again));
		assert_int_equal(again, serial);
	}
	assert_int_equal(n, ARRAY_LEN(wanted)); /* "bad/name" cannot be a path */
	assert_int_equal(found, 31);
	fake_market(market, 2); /* only RTX 4090 is left */
	for (n = 0, after = 0; object_classes[OBJ_QUERY].next(&x, after, &serial, name);
	     after = serial)
		n++;
	assert_int_equal(n, 2);
	struct ctx inside = fake_ctx(OBJ_QUERY, look_up("gpu=T4"), 1000);

	assert_true(object_classes[OBJ_QUERY].resolve(&inside));
	assert_false(object_classes[OBJ_QUERY].next(&inside, 0, &serial, name));
}

static void results_are_links(void **state)
{
	struct ctx x = fake_ctx(OBJ_QUERY, look_up("gpu=A100"), 1000);
	const struct object_class *c = &object_classes[OBJ_RESULT];
	uint64_t serial = 0, found;
	char name[256];
	BUF out = {0};

	(void)state;
	assert_true(object_classes[OBJ_QUERY].resolve(&x));
	assert_true(c->next(&x, 0, &serial, name));
	assert_string_equal(name, "001.fake-d");
	assert_true(c->next(&x, serial, &serial, name));
	assert_string_equal(name, "002.fake-c");
	assert_false(c->next(&x, serial, &found, name));
	assert_true(c->find(&x, "002.fake-c", &found));
	assert_int_equal(found, serial);
	assert_false(c->find(&x, "002.fake-d", &found));
	assert_false(c->find(&x, "2.fake-c", &found));
	assert_false(c->find(&x, "99999999999999999999.fake-c", &found));
	assert_false(c->find(&x, "", &found));
	struct ctx r = fake_ctx(OBJ_RESULT, serial, 1000);

	assert_true(c->resolve(&r));
	r.row = c->link;
	assert_int_equal(r.row->show(&r, &out), 0);
	assert_string_equal(out.data, "../../inventory/fake-c");
	fake_market(market, 2);
	assert_false(c->resolve(&r)); /* the market moved on */
}

static void names_are_of_one_width(void **state)
{
	char name[256];

	(void)state;
	result_put_name(name, 7, 999, &market[0]);
	assert_string_equal(name, "007.fake-a");
	result_put_name(name, 7, 1000, &market[0]);
	assert_string_equal(name, "0007.fake-a");
	result_put_name(name, 100000, 100000, &market[0]);
	assert_string_equal(name, "100000.fake-a");
}

static int get(const char *name, struct query_node *parent, uint64_t *serial)
{
	return query_table_get(fake_mount.queries, parent, name, &fake_engine, serial, NULL);
}

static void the_table_is_bounded(void **state)
{
	struct query_table *t = fake_mount.queries;
	uint64_t held, parent, serial, first = 0;
	char name[64];

	(void)state;
	held = look_up("gpu=T4");
	assert_int_equal(get("gpu=A100", NULL, &parent), 0);
	assert_int_equal(get("min_vram=1", query_table_find(t, parent), &serial), 0);
	query_node_ref(t, query_table_find(t, serial)); /* the child is held, its parent is not */
	for (int i = 0; i < 3 * QUERY_NODES_MAX; i++) {
		snprintf(name, sizeof(name), "max_price=%d", i + 1);
		assert_int_equal(get(name, NULL, &serial), 0);
		first = first ? first : serial;
	}
	assert_int_equal(query_table_count(t), QUERY_NODES_MAX);
	assert_null(query_table_find(t, first)); /* the oldest went */
	assert_non_null(query_table_find(t, held));
	assert_non_null(query_table_find(t, parent));
	assert_non_null(query_table_find(t, serial));
}

/* The kernel may hold every look-up for as long as it likes: the oldest goes all the same. */
static void a_full_table_drops_the_oldest(void **state)
{
	struct query_table *t = fake_mount.queries;
	uint64_t serial = 0, first = 0, second = 0, free_one = 0;
	char name[64];

	(void)state;
	for (int i = 0; i < 2 * QUERY_NODES_MAX; i++) {
		snprintf(name, sizeof(name), "max_price=%d", i + 1);
		assert_int_equal(get(name, NULL, &serial), 0);
		query_node_ref(t, query_table_find(t, serial));
		query_node_ref(t, query_table_find(t, serial));
		second = i == 1 ? serial : second;
		first = i == 0 ? serial : first;
	}
	assert_int_equal(query_table_count(t), QUERY_NODES_MAX);
	assert_null(query_table_find(t, first));
	assert_null(query_table_find(t, second));
	assert_non_null(query_table_find(t, serial));
	/* One that the kernel forgot goes before older ones that it holds. */
	free_one = serial;
	query_node_forget(t, free_one, 5); /* more than there were: not trusted below zero */
	query_node_forget(t, first, 1);
	assert_int_equal(get("max_price=99999", NULL, &serial), 0);
	assert_null(query_table_find(t, free_one));
	assert_int_equal(query_table_count(t), QUERY_NODES_MAX);
}

/* 100 k offers: tables are rendered once per market, results are found without a search. */
static void a_large_market(void **state)
{
	enum { N = 100000 };
	struct offer *many = xcalloc(N, sizeof(*many));
	struct ctx x;
	uint64_t serial = 0;
	size_t n = 0;
	char name[256];

	(void)state;
	for (size_t i = 0; i < N; i++) {
		many[i] = market[i % 5];
		snprintf(many[i].id, sizeof(many[i].id), "fake-%zu", i);
		many[i].price_u6 = (int64_t)(i * 7919 % N);
	}
	fake_market(many, N);
	free(many);
	x = fake_ctx(OBJ_QUERY, look_up("gpu=RTX_4090"), 1000);
	assert_true(object_classes[OBJ_QUERY].resolve(&x));
	while (object_classes[OBJ_RESULT].next(&x, serial, &serial, name))
		n++;
	assert_int_equal(n, 2 * N / 5);
	FREE char *one = fake_show(x, "table.tsv");
	FREE char *two = fake_show(x, "table.tsv");

	assert_string_equal(one, two);
	assert_int_equal(fake_mount.cache_hits, 1);
	for (int i = 0; i < 50; i++) { /* lists of matches are bounded: these would be 20 MB */
		snprintf(name, sizeof(name), "max_price=%d", i + 1);
		expect(name, "count", "100000\n");
	}
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(queries_show_what_matches),
		TEST(tables_are_aligned),
		TEST(levels_and),
		TEST(bids_are_asked_for),
		TEST(refusals_have_sentences),
		TEST(one_canonical_text_is_one_node),
		TEST(search_lists_models),
		TEST(results_are_links),
		TEST(names_are_of_one_width),
		TEST(the_table_is_bounded),
		TEST(a_full_table_drops_the_oldest),
		TEST(a_large_market),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
