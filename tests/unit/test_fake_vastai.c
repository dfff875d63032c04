/*
 * Tests of the fake Vast.ai itself, what it takes and refuses: forms, keys, spacings, searches, creates, lists. The
 * clients that are tested against it can only be as good as it is. Time is virtual; all is exact.
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

#include <jansson.h>

#include "../../src/core/check.h"
#include "../../src/core/text.h"
#include "../fake/vastai_fake.h"
#include "fake_vastai_ask.h"

/* ---- form and key ---- */

static void test_keys_and_forms(void **state)
{
	static const struct {
		const char *auth, *method, *target, *body;
		int status;
		const char *error, *rule;
	} table[] = {
		{NULL, "GET", "/api/v0/instances/5/", NULL, 403, "auth_error", NULL},
		{"Bearer no", "GET", "/api/v0/instances/5/", NULL, 401, "auth_error", NULL},
		{"Bearer no", "POST", "/api/v0/bundles/", "{}", 404, "auth_error", NULL},
		{"Bearer no", "GET", "/api/v0/charges/", NULL, 404, "auth_error", NULL},
		{NULL, "GET", "/api/v0/volumes/", NULL, 401, NULL, NULL},
		{NULL, "POST", "/api/v0/bundles/", "{}", 200, NULL, NULL},
		{NULL, "GET", "/api/v0/users/current/?api_key=" FAKEVAST_KEY, NULL, 200, NULL,
		 "key-in-url"},
		{"Bearer " FAKEVAST_KEY, "GET", "/api/v0/instances/5", NULL, 308, NULL, "slash"},
		{"Bearer " FAKEVAST_KEY, "DELETE", "/api/v0/instances/5", NULL, 404, NULL, "slash"},
		{"Bearer " FAKEVAST_KEY, "GET", "/api/v0/nothing/", NULL, 404, NULL, "path"},
		{"Bearer " FAKEVAST_KEY, "POST", "/api/v0/asks/5/", "{}", 405, NULL, "method"},
		{"Bearer " FAKEVAST_KEY, "GET", "/api/v1/instances/", "{}", 400, "invalid_request",
		 "get-body"},
		{"Bearer " FAKEVAST_KEY, "POST", "/api/v0/bundles/", "{", 400, "invalid_request",
		 "json"},
		{"Bearer " FAKEVAST_KEY, "POST", "/api/v0/bundles/", "{\"num_gpus\":1}", 400,
		 "invalid_request", "bare-filter"},
		{"Bearer " FAKEVAST_KEY, "POST", "/api/v0/bundles/", "{\"num_gpus\":{\"is\":1}}",
		 400, "invalid_request", "filter"},
		{"Bearer " FAKEVAST_KEY, "GET", "/api/v0/instances/x/", NULL, 400, "invalid_args",
		 "instance-id"},
		{"Bearer " FAKEVAST_KEY, "GET", "/api/v0/instances/", NULL, 200, NULL,
		 "deprecated"},
		{"Bearer " FAKEVAST_KEY, "POST", "/api/v0/instances/start", "{\"IDs\":[1]}", 200,
		 NULL, NULL},
	};

	(void)state;
	begin(NULL);
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		size_t before = fakevast_violation_count(fake);

		now += 10 * SECOND_US;
		print_message("%s %s\n", table[i].method, table[i].target);
		assert_int_equal(table[i].status, ask_as(table[i].auth, table[i].method,
							 table[i].target, table[i].body));
		if (table[i].error)
			assert_string_equal(table[i].error, text_at("error"));
		assert_int_equal(fakevast_violation_count(fake) - before, table[i].rule ? 1 : 0);
		if (table[i].rule)
			assert_string_equal(table[i].rule, fakevast_violation(fake, before)->rule);
	}
}

static void test_body_without_type(void **state)
{
	(void)state;
	begin(NULL);
	fakevast_request(
		fake, 0,
		&(struct fake_http_request){
			.method = "POST", .target = "/api/v0/bundles/", .body = "{}", .len = 2},
		&reply);
	assert_int_equal(400, reply.status);
	assert_int_equal(1, broken("content-type"));
}

static void test_dead_key(void **state)
{
	(void)state;
	begin(NULL);
	fakevast_set_key_dead(fake, true);
	assert_int_equal(401, ask("GET", "/api/v1/instances/", NULL));
	assert_string_equal("auth_error", text_at("error"));
	fakevast_set_key_dead(fake, false);
	assert_int_equal(200, ask("GET", "/api/v1/instances/", NULL));
	assert_int_equal(0, fakevast_fault(fake, FV_LIST, FVF_EXPIRED, 0, 1, 0));
	assert_int_equal(404, ask("GET", "/api/v1/instances/", NULL));
	assert_string_equal("auth_error", text_at("error"));
}

/* ---- spacing ---- */

static void full_spacing(struct fakevast_config *c)
{
	c->spacing_permille = 1000;
}

static void test_spacing(void **state)
{
	(void)state;
	begin(full_spacing);
	assert_int_equal(200, ask("GET", "/api/v0/instances/5/", NULL));
	now = 2 * SECOND_US - 1;
	/* Another endpoint, and another method of the same path, have their own. */
	assert_int_equal(429, ask("GET", "/api/v0/instances/5/", NULL));
	assert_int_equal(404, ask("DELETE", "/api/v0/instances/5/", NULL));
	now = 2 * SECOND_US;
	assert_int_equal(200, ask("GET", "/api/v0/instances/5/", NULL));
	assert_int_equal(1, meter().throttled);
	assert_true(fakevast_journal(fake, 1)->early);
	assert_int_equal(0, fakevast_violation_count(fake));
}

static void test_spacing_of_create(void **state)
{
	(void)state;
	begin(full_spacing);
	assert_int_equal(400, create_with(5, CREATE("a") "}"));
	now = 4 * SECOND_US;
	assert_int_equal(429, create_with(5, CREATE("b") "}"));
	now = 15 * SECOND_US; /* 4.5 s are over, the penalty of 12 s is not */
	assert_int_equal(429, create_with(5, CREATE("c") "}"));
	now = 16 * SECOND_US;
	assert_int_not_equal(429, create_with(5, CREATE("d") "}"));
	assert_int_equal(0, meter().created);
}

static void test_ten_searches_a_minute(void **state)
{
	(void)state;
	begin(full_spacing);
	for (int i = 0; i < 10; i++)
		assert_int_equal(200, ask("POST", "/api/v0/bundles/", "{}"));
	now = MINUTE_US - 1;
	assert_int_equal(429, ask("POST", "/api/v0/bundles/", "{}"));
	now = MINUTE_US;
	assert_int_equal(200, ask("POST", "/api/v0/bundles/", "{}"));
}

static void ten_times_faster(struct fakevast_config *c)
{
	c->spacing_permille = 1000;
	c->time_permille = 100;
}

static void test_time_factor(void **state)
{
	int64_t id;

	(void)state;
	begin(ten_times_faster);
	id = create("a");
	now = 199999;
	assert_string_equal("null", status_of(id));
	now += 200000;
	assert_string_equal("created", status_of(id));
	now = 2999999;
	assert_string_equal("loading", status_of(id));
	now = 3200000;
	assert_string_equal("running", status_of(id));
}

static void test_shapes_of_429(void **state)
{
	static const char *const members[] = {"message", "detail", "msg", NULL, "retry_after"};

	(void)state;
	begin(NULL);
	for (int shape = 1; shape <= 5; shape++) {
		fakevast_fault(fake, FV_ACCOUNT, FVF_429, shape, 1, 0);
		assert_int_equal(429, ask("GET", "/api/v0/users/current/", NULL));
		if (members[shape - 1])
			assert_non_null(json_object_get(answer, members[shape - 1]));
		else
			assert_null(answer);
	}
}

static void with_bursts(struct fakevast_config *c)
{
	c->spacing_permille = 1000;
	c->burst_max = 5;
}

static void test_burst(void **state)
{
	(void)state;
	begin(with_bursts);
	for (int i = 0; i < 5; i++)
		assert_int_equal(200, ask("GET", "/api/v0/users/current/", NULL));
	assert_int_equal(403, ask("GET", "/api/v0/users/current/", NULL));
	assert_string_equal("text/html", reply.content_type);
	assert_null(answer);
	now = SECOND_US;
	assert_int_equal(200, ask("GET", "/api/v0/users/current/", NULL));
}

/* ---- search ---- */

static void test_search(void **state)
{
	size_t i;
	json_t *row;
	double last = 0;

	(void)state;
	begin(NULL);
	assert_int_equal(
		200,
		ask("POST", "/api/v0/bundles/",
		    "{\"gpu_name\":{\"in\":[\"RTX 4090\",\"RTX 5090\"]},\"num_gpus\":{\"lte\":4},"
		    "\"verified\":{\"eq\":true},\"dph_total\":{\"gte\":0.1,\"lt\":2.0},\"order\":[["
		    "\"dph_total\",\"asc\"]],\"type\":\"on-demand\",\"limit\":512,"
		    "\"allocated_storage\":40}"));
	assert_true(json_array_size(json_object_get(answer, "offers")) > 3);
	json_array_foreach(json_object_get(answer, "offers"), i, row)
	{
		const char *name = json_string_value(json_object_get(row, "gpu_name"));
		double disk = real(row, "storage_cost") * 40 / 720;

		assert_true(!strcmp(name, "RTX 4090") || !strcmp(name, "RTX 5090"));
		assert_true(real(row, "num_gpus") <= 4 && real(row, "dph_total") < 2);
		assert_true(real(row, "disk_space") >= 40);
		assert_string_equal("verified",
				    json_string_value(json_object_get(row, "verification")));
		assert_true(real(row, "dph_total") >= last);
		last = real(row, "dph_total");
		assert_true(near(last, real(row, "dph_base") + disk));
	}
	assert_int_equal(0, fakevast_violation_count(fake));
}

static size_t rows_of(const char *body)
{
	assert_int_equal(200, ask("POST", "/api/v0/bundles/", body));
	return json_array_size(json_object_get(answer, "offers"));
}

static void test_search_traps(void **state)
{
	(void)state;
	begin(NULL);
	assert_int_equal(64, rows_of("{\"limit\":3000}"));
	assert_int_equal(64, rows_of("{}"));
	assert_int_equal(7, rows_of("{\"limit\":7}"));
	assert_int_equal(0, rows_of("{\"gpu_name\":{\"eq\":\"RTX_4090\"}}"));
	assert_int_equal(1, broken("gpu-name"));
	assert_int_equal(0, rows_of("{\"id\":{\"gt\":0}}"));
	assert_int_equal(1, broken("id-filter"));
	assert_int_equal(64, rows_of("{\"no_such_column\":{\"eq\":1}}"));
	assert_int_equal(1, broken("unknown-field"));
	assert_true(rows_of("{\"geolocation\":{\"in\":[\"CA\"]}}") > 0);
	assert_true(rows_of("{\"type\":\"bid\"}") > 0);
	assert_true(json_is_true(
		json_object_get(json_array_get(json_object_get(answer, "offers"), 0), "is_bid")));
	assert_true(rows_of("{\"gpu_name\":{\"notin\":[\"H200\"]},\"num_gpus\":{\"neq\":1}}") > 0);
	assert_int_equal(200, ask("PUT", "/api/v0/search/asks/",
				  "{\"select_cols\":[\"*\"],\"q\":{\"num_gpus\":{\"eq\":1}}}"));
	assert_int_equal(
		200,
		ask("GET", "/api/v0/bundles/?q=%7B%22num_gpus%22%3A%7B%22eq%22%3A1%7D%7D", NULL));
	assert_int_equal(400, ask("POST", "/api/v0/bundles/", "{\"type\":\"spot\"}"));
}

static void sampled(struct fakevast_config *c)
{
	c->sample_ppm = 250000;
	c->storage_rows = c->breaking_rows = true;
	c->page_cap = 1000;
}

static void test_sample(void **state)
{
	size_t all = 0, odd = 0, i;
	json_t *row;

	(void)state;
	begin(sampled);
	for (int k = 0; k < 100; k++) {
		all += rows_of("{\"limit\":1000}");
		json_array_foreach(json_object_get(answer, "offers"), i, row) odd += !strcmp(
			"disk", json_string_value(json_object_get(row, "resource_type")));
	}
	assert_in_range(all, 13000, 16000); /* of 20 000 */
	assert_true(odd > 0);
	odd = 0;
	for (int k = 0; k < 100; k++) {
		rows_of("{\"limit\":1000,\"gpu_name\":{\"eq\":\"H200\"}}");
		json_array_foreach(json_object_get(answer, "offers"), i, row)
		{
			const char *name = json_string_value(json_object_get(row, "gpu_name"));

			odd += !name || strcmp("H200", name) != 0;
		}
	}
	assert_true(odd > 0);
}

/* ---- create ---- */

static void test_create_refuses(void **state)
{
	static const struct {
		const char *body, *error, *rule;
		int status;
	} table[] = {
		{CREATE("a") ",\"gpu\":1}", "invalid_args", "create-body", 400},
		{CREATE("a") ",\"price\":0}", "invalid_price", "price", 400},
		{CREATE("a") ",\"price\":129}", "invalid_price", "price", 400},
		{CREATE("a") ",\"onstart\":7}", "invalid_args", "create-body", 400},
		{CREATE("a") ",\"env\":{\"A\":1}}", "invalid_args", "create-body", 400},
		{CREATE("a") ",\"env\":{\"-p x\":\"1\"}}", "invalid_args", "create-body", 400},
		{CREATE("a") ",\"target_state\":\"on\"}", "invalid_args", "create-body", 400},
		{CREATE("a") ",\"template_hash_id\":\"x\"}", "invalid_args", "create-body", 400},
		{CREATE("a") ",\"template_id\":7}", "invalid_args", "create-body", 400},
		{"{\"disk\":40,\"label\":\"a\",\"cancel_unavail\":true}", "invalid_args",
		 "create-body", 400},
		{"{\"image\":\"x\",\"disk\":7,\"label\":\"a\",\"cancel_unavail\":true}",
		 "invalid_args", "create-body", 400},
		{"{\"image\":\"x\",\"runtype\":\"telnet\",\"label\":\"a\"}", "invalid_args",
		 "create-body", 400},
		{"{\"image\":\"x\",\"disk\":90000,\"label\":\"a\",\"cancel_unavail\":true}",
		 "invalid_args", "create-body", 400},
		{NULL, "invalid_args", "create-body", 400},
	};
	json_int_t offer;

	(void)state;
	begin(NULL);
	offer = an_offer();
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		size_t before, last;

		before = broken(table[i].rule);
		assert_int_equal(table[i].status, create_with(offer, table[i].body));
		assert_string_equal(table[i].error, text_at("error"));
		assert_int_equal(before + 1, broken(table[i].rule));
		last = fakevast_violation_count(fake) - 1;
		assert_string_equal(table[i].rule, fakevast_violation(fake, last)->rule);
	}
	assert_int_equal(0, meter().created);
}

static void test_create_warns(void **state)
{
	(void)state;
	begin(NULL);
	assert_int_equal(200, create_with(an_offer(), "{\"image\":\"vastai/base-image:x\"}"));
	assert_int_equal(1, broken("label-missing"));
	assert_int_equal(1, broken("cancel-unavail"));
	assert_int_equal(200, create_with(an_offer(), CREATE("one") ",\"env\":\"-e A=1\"}"));
	assert_int_equal(1, broken("env-text"));
	assert_int_equal(200, create_with(an_offer(), CREATE("one") ",\"ssh_key\":\"x\"}"));
	assert_int_equal(1, broken("undocumented-member"));
	assert_int_equal(1, broken("label-twice"));
	assert_int_equal(3, meter().created);
}

/* A label is used up by being sent, whatever came of it. */
static void test_label_after_a_drop(void **state)
{
	(void)state;
	begin(NULL);
	fakevast_fault(fake, FV_CREATE, FVF_DROP, 0, 1, 0);
	create_with(an_offer(), CREATE("one") "}");
	assert_int_equal(FAKE_DROP, reply.delivery);
	assert_string_equal("one", fakevast_journal(fake, 1)->label);
	assert_int_equal(0, broken("label-twice"));
	assert_int_equal(200, create_with(an_offer(), CREATE("one") "}"));
	assert_int_equal(1, broken("label-twice"));
}

static void test_offer_is_used_up(void **state)
{
	static const int statuses[] = {400, 400, 404, 410};
	json_int_t offer;
	char label[40], body[300];

	(void)state;
	begin(NULL);
	offer = an_offer();
	assert_int_equal(200, create_with(offer, CREATE("a") "}"));
	for (int i = 0; i < 4; i++) {
		snprintf(label, sizeof(label), "again-%d", i);
		snprintf(body, sizeof(body), CREATE("%s") "}", label);
		assert_int_equal(statuses[i], create_with(offer, body));
		assert_non_null(strstr(reply.body.data, "no_such_ask"));
	}
	assert_int_equal(1, meter().created);
	assert_int_not_equal(offer, an_offer());
}

static void always_stale(struct fakevast_config *c)
{
	c->stale_ppm = 250000;
	c->offers = 400;
}

static void test_stale_offers(void **state)
{
	int gone = 0;
	char label[40], body[300];

	(void)state;
	begin(always_stale);
	for (int i = 0; i < 200; i++) {
		snprintf(label, sizeof(label), "l%d", i);
		snprintf(body, sizeof(body), CREATE("%s") "}", label);
		gone += create_with(an_offer(), body) != 200;
	}
	assert_in_range(gone, 30, 70);
	assert_int_equal(200 - gone, meter().created);
}

static void test_bids(void **state)
{
	int64_t id;
	struct fakevast_view v;

	(void)state;
	begin(NULL);
	assert_int_equal(200, create_with(an_offer(), CREATE("high") ",\"price\":100}"));
	v = view(0);
	now = MINUTE_US;
	/* Charged is the price on demand. */
	assert_true(view(0).rate_u6 == v.price_u6 && v.price_u6 < 20000000);
	assert_int_equal(200, create_with(an_offer(), CREATE("low") ",\"price\":0.001}"));
	assert_true(json_is_false(json_object_get(answer, "success")));
	id = json_integer_value(json_object_get(answer, "new_contract"));
	assert_true(id > 0);
	now += MINUTE_US;
	assert_string_equal("exited", status_of(id));
	assert_true(view(1).rate_u6 > 0 && view(1).gpu_seconds == 0);
}

/* ---- lists ---- */

static const char *next_page(char *target, size_t size)
{
	const char *token = text_at("next_token");

	if (!token)
		return NULL;
	snprintf(target, size, "/api/v1/instances/?limit=25&after_token=%s", token);
	for (char *p = strchr(target, '?'); (p = strchr(p, '=')) != NULL; p++)
		if (p > strstr(target, "token=") + 5) {
			memmove(p + 3, p + 1, strlen(p + 1) + 1);
			memcpy(p, "%3D", 3);
		}
	return target;
}

static void test_pages(void **state)
{
	char target[300];
	json_int_t last = 0;
	size_t rows = 0, pages = 0, i;
	json_t *row;
	const char *next = "/api/v1/instances/";

	(void)state;
	begin(NULL);
	for (i = 0; i < 60; i++)
		fakevast_add_foreign(fake, now, i % 2 ? "theirs" : NULL);
	for (; next; next = next_page(target, sizeof(target)), pages++) {
		assert_int_equal(200, ask("GET", next, NULL));
		assert_int_equal(60,
				 json_integer_value(json_object_get(answer, "total_instances")));
		assert_int_equal(30, json_integer_value(json_object_get(
					     json_object_get(answer, "label_counts"), "")));
		json_array_foreach(json_object_get(answer, "instances"), i, row)
		{
			assert_true(json_integer_value(json_object_get(row, "id")) > last);
			last = json_integer_value(json_object_get(row, "id"));
			rows++;
		}
	}
	assert_int_equal(60, rows);
	assert_int_equal(3, pages);
	assert_int_equal(400, ask("GET", "/api/v1/instances/?after_token=abc", NULL));
	assert_string_equal("invalid_token", text_at("error"));
	assert_int_equal(
		400,
		ask("GET",
		    "/api/v1/instances/?select_filters=%7B%22dph_total%22%3A%7B%22gt%22%3A0%7D%7D",
		    NULL));
	assert_int_equal(200, ask("GET",
				  "/api/v1/instances/"
				  "?select_filters=%7B%22label%22%3A%7B%22in%22%3A%5Bnull%5D%7D%7D",
				  NULL));
	assert_int_equal(30, json_integer_value(json_object_get(answer, "total_instances")));
	assert_int_equal(200, ask("GET", "/api/v1/instances/?limit=0", NULL));
	assert_int_equal(5, json_integer_value(json_object_get(answer, "instances_found")));
}

static void lagging(struct fakevast_config *c)
{
	c->lag_us = 120 * SECOND_US;
	c->lag_gone_us = 30 * SECOND_US;
}

static void test_lag(void **state)
{
	int64_t id;

	(void)state;
	begin(lagging);
	id = create("one");
	now = 120 * SECOND_US - 1;
	assert_int_equal(0, listed());
	assert_string_equal("running", status_of(id));
	now++;
	assert_int_equal(1, listed());
	assert_int_equal(200, call("DELETE", "/", id, NULL));
	now += 31 * SECOND_US;
	assert_string_equal("gone", status_of(id));
	assert_int_equal(1, listed());
	now += SECOND_US;
	assert_int_equal(0, listed());
}

static void test_list_faults(void **state)
{
	(void)state;
	begin(NULL);
	for (int i = 0; i < 30; i++)
		fakevast_add_foreign(fake, now, "x");
	now = MINUTE_US;
	fakevast_fault(fake, FV_LIST, FVF_PARTIAL, 0, 1, 0);
	fakevast_fault(fake, FV_LIST, FVF_EMPTY_LIST, 0, 1, 0);
	fakevast_fault(fake, FV_LIST, FVF_NULL_LIST, 0, 1, 0);
	fakevast_fault(fake, FV_LIST, FVF_OUTDATED, 0, 1, 0);
	fakevast_fault(fake, FV_LIST, FVF_OTHER, 0, 1, 0);
	assert_int_equal(30, listed());
	assert_int_equal(12, json_array_size(json_object_get(answer, "instances")));
	assert_int_equal(0, listed());
	assert_int_equal(30, listed());
	assert_true(json_is_null(json_object_get(answer, "instances")));
	assert_int_equal(0, listed());
	assert_int_equal(30, listed());
	assert_string_equal(
		"their-job",
		json_string_value(json_object_get(
			json_array_get(json_object_get(answer, "instances"), 0), "label")));
	assert_int_equal(30, listed());
	assert_int_equal(25, json_array_size(json_object_get(answer, "instances")));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_keys_and_forms, end),
		cmocka_unit_test_teardown(test_body_without_type, end),
		cmocka_unit_test_teardown(test_dead_key, end),
		cmocka_unit_test_teardown(test_spacing, end),
		cmocka_unit_test_teardown(test_spacing_of_create, end),
		cmocka_unit_test_teardown(test_ten_searches_a_minute, end),
		cmocka_unit_test_teardown(test_time_factor, end),
		cmocka_unit_test_teardown(test_shapes_of_429, end),
		cmocka_unit_test_teardown(test_burst, end),
		cmocka_unit_test_teardown(test_search, end),
		cmocka_unit_test_teardown(test_search_traps, end),
		cmocka_unit_test_teardown(test_sample, end),
		cmocka_unit_test_teardown(test_create_refuses, end),
		cmocka_unit_test_teardown(test_create_warns, end),
		cmocka_unit_test_teardown(test_label_after_a_drop, end),
		cmocka_unit_test_teardown(test_offer_is_used_up, end),
		cmocka_unit_test_teardown(test_stale_offers, end),
		cmocka_unit_test_teardown(test_bids, end),
		cmocka_unit_test_teardown(test_pages, end),
		cmocka_unit_test_teardown(test_lag, end),
		cmocka_unit_test_teardown(test_list_faults, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
