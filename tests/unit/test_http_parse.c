/*
 * Tests of what the HTTP door parses and prints by itself: numbers of query strings, JSON bodies,
 * token files, Authorization, routes, JSON values, and the OpenAPI document. Also with random
 * damage, since all of it comes from outside.
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

#include <jansson.h>

#include "../../src/http/parts.h"

static int64_t read_as(enum param_type type, int64_t min, int64_t max, const char *text)
{
	const struct param p = {"x", type, min, max, ""};
	struct error why;
	int64_t v = 0;

	return number_read(&p, text, &v, &why) ? INT64_MIN : v;
}

static void test_numbers(void **state)
{
	static const char *const bad[] = {"",	 "-",	"+1",	 " 1", "1 ", "abc", "NaN", "inf",
					  "0x1", "1e3", "1.2.3", "1.", ".5", "--1", "1_0"};
	(void)state;
	assert_int_equal(read_as(PT_INT, 0, INT64_MAX, "0"), 0);
	assert_int_equal(read_as(PT_INT, 0, INT64_MAX, "9223372036854775807"), INT64_MAX);
	assert_int_equal(read_as(PT_INT, 0, INT64_MAX, "9223372036854775808"), INT64_MIN);
	assert_int_equal(read_as(PT_INT, 0, INT64_MAX, "-1"), INT64_MIN);
	assert_int_equal(read_as(PT_INT, 0, INT64_MAX, "1.0"), INT64_MIN);
	assert_int_equal(read_as(PT_INT, 1, INT64_MAX, "0"), INT64_MIN);
	assert_int_equal(read_as(PT_REAL, 0, INT64_MAX, "0.45"), 450000);
	assert_int_equal(read_as(PT_REAL, 0, INT64_MAX, "12"), 12000000);
	assert_int_equal(read_as(PT_REAL, 0, INT64_MAX, "0.1234567891"), 123456);
	assert_int_equal(read_as(PT_REAL, 0, INT64_MAX, "-0"), 0);
	assert_int_equal(read_as(PT_REAL, 0, INT64_MAX, "-0.0000001"), INT64_MIN);
	assert_int_equal(read_as(PT_REAL, 0, 1, "1"), 1000000);
	assert_int_equal(read_as(PT_REAL, 0, 1, "1.000001"), INT64_MIN);
	assert_true(read_as(PT_REAL, 0, INT64_MAX, "99999999999999999999999999999999") > 1000000);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		assert_int_equal(read_as(PT_INT, INT64_MIN, INT64_MAX, bad[i]), INT64_MIN);
		assert_int_equal(read_as(PT_REAL, 0, INT64_MAX, bad[i]), INT64_MIN);
	}
}

/* ---- bodies ---- */

static const struct field fields[] = {
	{"name", PT_TEXT, true, 0, 0, ""},   {"hours", PT_INT, true, 1, 12, ""},
	{"retry", PT_BOOL, false, 0, 0, ""}, {"ports", PT_LIST, false, 0, 0, ""},
	{"more", PT_TEXT, false, 0, 0, ""},
};

static void body_is(const char *text, const char *sentence)
{
	struct value v[ARRAY_LEN(fields)];
	struct error why = {0};
	void *root;
	int err = body_parse(text, strlen(text), fields, ARRAY_LEN(fields), v, &root, &why);

	if (!sentence)
		assert_int_equal(err, 0);
	else if (strcmp(why.text, sentence) != 0)
		wrong("%s:\nwanted %s\n   got %s", text, sentence, why.text);
	body_free(root);
}

static void test_bodies(void **state)
{
	struct value v[ARRAY_LEN(fields)];
	struct error why;
	void *root;
	const char *text = "{\"NAME\":\"a\",\"hours\":99,\"hours\":2,\"retry\":true,\"ports\":[1],"
			   "\"new\":{\"x\":[null]},\"more\":null} trailing";

	(void)state;
	assert_int_equal(body_parse(text, strlen(text), fields, 5, v, &root, &why), 0);
	assert_string_equal(v[0].text, "a");
	assert_int_equal(v[1].num, 2);
	assert_true(v[2].num && v[3].set && !v[4].set);
	body_free(root);
	body_is("{\"name\":\"a\",\"hours\":12}", NULL);
	body_is("{}", "name is required; hours is required");
	body_is("{\"name\":\"\",\"hours\":0}", "name is required; hours is required");
	body_is("{\"name\":\"a\",\"hours\":13}", "hours must be at most 12");
	body_is("{\"hours\":-1}", "name is required; hours must be at least 1");
	body_is("{\"name\":1,\"hours\":1}", "name must be a string");
	body_is("{\"name\":\"a\",\"hours\":1,\"retry\":1}", "retry must be true or false");
	body_is("{\"name\":\"a\",\"hours\":1,\"ports\":{}}", "ports must be a list");
	body_is("{\"hours\":2.0}",
		"hours must be a whole number, without quotes and without a fraction");
	body_is("", "EOF: the request has no body; send one JSON object");
	body_is("[]", "the body must be one JSON object");
	body_is("{\"name\":\"hunter2",
		"the body is not valid JSON: line 1, column 16: unexpected EOF");
}

/* ---- tokens ---- */

#define TOKEN "0123456789abcdef"

static void tokens_are(const char *text, size_t count, const char *sentence)
{
	struct tokens t;
	struct error why = {0};
	int err = tokens_parse(text, strlen(text), &t, &why);

	if (sentence && (!err || !strstr(why.text, sentence)))
		wrong("wanted %s\n   got %s", sentence, why.text);
	if (!sentence)
		assert_int_equal(err, 0);
	assert_int_equal(t.count, count);
	assert_null(strstr(why.text, TOKEN));
	tokens_free(&t);
}

static void test_tokens(void **state)
{
	struct tokens t;
	struct error why;
	static const char text[] = "# all\n\n" TOKEN " team root\r\n\t" TOKEN "2\tother 12345\n";

	(void)state;
	assert_int_equal(tokens_parse(text, sizeof(text) - 1, &t, &why), 0);
	assert_int_equal(t.count, 2);
	assert_int_equal(t.list[0].account.uid, 0);
	assert_int_equal(t.list[0].account.gid, 0);
	assert_int_equal(t.list[1].account.uid, 12345);
	assert_ptr_equal(tokens_find(&t, "Bearer " TOKEN), &t.list[0]);
	assert_ptr_equal(tokens_find(&t, "bearer  " TOKEN "2"), &t.list[1]);
	assert_string_equal(t.list[1].consumer, "other");
	assert_null(tokens_find(&t, NULL));
	assert_null(tokens_find(&t, ""));
	assert_null(tokens_find(&t, "Bearer "));
	assert_null(tokens_find(&t, "Basic " TOKEN));
	assert_null(tokens_find(&t, "Bearer " TOKEN "3"));
	assert_null(tokens_find(&t, "Bearer 0123456789abcde"));
	assert_null(tokens_find(&t, "Bearer " TOKEN " "));
	tokens_free(&t);
	tokens_are("", 0, NULL);
	tokens_are("# nothing", 0, NULL);
	tokens_are(TOKEN " a 0\n" TOKEN " b 0\n", 0, "line 2: the same token");
	tokens_are(TOKEN " a\n", 0, "line 1: must be TOKEN CONSUMER UID");
	tokens_are(TOKEN " a 0 x\n", 0, "line 1: must be TOKEN CONSUMER UID");
	tokens_are("short a 0\n", 0, "line 1: a token is");
	tokens_are(TOKEN "! a 0\n", 0, "line 1: a token is");
	tokens_are("\n" TOKEN " a no-such-user-here\n", 0, "line 2: there is no user");
	tokens_are(TOKEN " \xff 0\n", 0, "not UTF-8");
}

static void test_browsers(void **state)
{
	(void)state;
	assert_null(browser_refusal(NULL, NULL));
	assert_null(browser_refusal(NULL, "localhost:8080"));
	assert_null(browser_refusal(NULL, "127.0.0.1:8080"));
	assert_null(browser_refusal(NULL, "[::1]:8080"));
	assert_null(browser_refusal(NULL, "gpufs"));
	assert_non_null(browser_refusal(NULL, "evil.example"));
	assert_non_null(browser_refusal(NULL, "127.0.0.1.evil.example:80"));
	assert_non_null(browser_refusal(NULL, "1.2.3"));
	/* A first label of 63 characters, the longest that DNS has. */
	assert_non_null(browser_refusal(
		NULL, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
		      ".evil.example:8080"));
	assert_non_null(browser_refusal("http://127.0.0.1", "127.0.0.1"));
	assert_non_null(browser_refusal("null", NULL));
}

/* ---- routes ---- */

static const char *route_of(const char *method, const char *path, bool *known)
{
	static char param[PARAM_MAX + 1];
	const struct route *r = route_find(method, path, param, known);

	return r ? param : NULL;
}

static void test_routes(void **state)
{
	bool known;
	char path[600], param[PARAM_MAX + 1];

	(void)state;
	assert_string_equal(route_of("GET", API "/sessions/abc", &known), "abc");
	assert_string_equal(route_of("POST", API "/sessions/a b/done", &known), "a b");
	assert_string_equal(route_of("GET", "/health", &known), "");
	assert_null(route_of("PUT", "/health", &known));
	assert_true(known);
	assert_null(route_of("GET", API "/sessions/", &known));
	assert_false(known);
	assert_null(route_of("GET", API "/sessions//key", &known));
	assert_null(route_of("GET", API "/sessions/a/b", &known));
	assert_null(route_of("GET", API "/sessions/a/key/", &known));
	assert_null(route_of("GET", API "/Sessions", &known));
	assert_null(route_of("GET", "", &known));
	memset(path, 'a', sizeof(path));
	memcpy(path, API "/inventory/", strlen(API "/inventory/"));
	path[sizeof(path) - 1] = '\0';
	assert_non_null(route_find("GET", path, param, &known));
	assert_int_equal(strlen(param), PARAM_MAX);
	for (size_t i = 0; i < route_count; i++) {
		assert_true(strlen(routes[i].doc) > 5);
		assert_non_null(routes[i].handle);
		assert_int_equal(routes[i].reads_body, routes[i].fields != NULL);
	}
}

/* ---- values ---- */

static void fixed_is(int64_t v, int places, const char *text)
{
	BUF b = {0};

	put_json_fixed(&b, v, places);
	assert_string_equal(b.data, text);
}

static void text_is(const char *text, const char *json)
{
	BUF b = {0};

	put_json_text(&b, text);
	assert_string_equal(b.data, json);
}

static void test_values(void **state)
{
	char shown[REQUEST_ID_MAX + 1];
	BUF b = {0};

	(void)state;
	fixed_is(0, 6, "0");
	fixed_is(400000, 6, "0.4");
	fixed_is(100000000, 6, "100");
	fixed_is(1, 6, "0.000001");
	fixed_is(-1500000, 6, "-1.5");
	fixed_is(INT64_MAX, 6, "9223372036854.775807");
	fixed_is(12400, 3, "12.4");
	put_json_int(&b, INT64_MIN);
	assert_string_equal(b.data, "-9223372036854775808");
	buf_reset(&b);
	put_json_time(&b, 0);
	assert_string_equal(b.data, "\"0001-01-01T00:00:00Z\"");
	text_is("a<b>&\"\\\n", "\"a\\u003cb\\u003e\\u0026\\\"\\\\\\n\"");
	text_is("\xff", "\"\xef\xbf\xbd\"");
	clean(shown, "<a>\n\x01\x7f b");
	assert_string_equal(shown, "a b");
}

static void test_openapi(void **state)
{
	json_error_t e;
	BUF b = {0};
	json_t *doc;

	(void)state;
	http_openapi(&b);
	assert_false(b.failed);
	doc = json_loadb(b.data, b.len, JSON_REJECT_DUPLICATES, &e);
	if (!doc)
		wrong("line %d: %s", e.line, e.text);
	json_decref(doc);
}

/* ---- damage ---- */

static uint32_t next_random(uint32_t *seed)
{
	*seed = *seed * 1664525u + 1013904223u;
	return *seed >> 8;
}

static void test_damage(void **state)
{
	static const char good[] =
		"{\"name\":\"a\\u00e9\",\"hours\":2,\"retry\":false,\"ports\":[1,2],"
		"\"x\":{\"y\":[{}]}}";
	static const char file[] = "# c\n" TOKEN " team root\n" TOKEN "2 other 7\n";
	uint32_t seed = 7;

	(void)state;
	for (int round = 0; round < 20000; round++) {
		struct value v[ARRAY_LEN(fields)];
		char body[sizeof(good)], list[sizeof(file)];
		struct error why = {0};
		struct tokens t;
		void *root;

		memcpy(body, good, sizeof(good));
		memcpy(list, file, sizeof(file));
		for (int i = 0; i < 3; i++)
			body[next_random(&seed) % (sizeof(good) - 1)] = (char)next_random(&seed);
		list[next_random(&seed) % (sizeof(file) - 1)] = (char)next_random(&seed);
		if (body_parse(body, next_random(&seed) % sizeof(body), fields, 5, v, &root, &why))
			assert_true(why.code != ERR_NONE && why.text[0]);
		body_free(root);
		if (round % 20)
			continue;
		if (tokens_parse(list, sizeof(list) - 1, &t, &why))
			assert_null(strstr(why.text, TOKEN));
		(void)tokens_find(&t, body);
		tokens_free(&t);
	}
}

/* Objects that only a cloud fills: every member, and none of those that may be left out. */
static void test_cloud_objects(void **state)
{
	struct offer_health health = {.provider = "vastai",
				      .offer_id = "vastai-7",
				      .gpu_type = "RTX 4090",
				      .failures = 3,
				      .hidden_us = 1750000000 * SECOND_US,
				      .until_us = 1750001800 * SECOND_US,
				      .multiplier_m = 343,
				      .last_us = 1750000000 * SECOND_US,
				      .kind = "boot_failed",
				      .reason = "no <image>"};
	struct template_info t = {.id = "4e17",
				  .name = "vLLM",
				  .image = "vastai/vllm:1",
				  .tag = "1",
				  .number = 7,
				  .recommended = true,
				  .use_ssh = true,
				  .runtype = "ssh",
				  .disk_gb = 64,
				  .extra_filters = "{\"a\":1}",
				  .creator = 9,
				  .count_created = 5,
				  .created_us = 1750000000 * SECOND_US};
	struct render x = {.thing = &health};
	BUF b = {0};

	(void)state;
	put_json_object(&b, offer_health_members, offer_health_member_count, &x);
	assert_string_equal(
		b.data, "{\"offer_id\":\"vastai-7\",\"provider\":\"vastai\",\"gpu_type\":\"RTX "
			"4090\",\"recent_failures\":3,\"is_suppressed\":true,\"suppressed_at\":"
			"\"2025-06-15T15:06:40Z\",\"suppressed_until\":\"2025-06-15T15:36:40Z\","
			"\"confidence_multiplier\":0.343,\"last_failure\":"
			"\"2025-06-15T15:06:40Z\",\"last_failure_type\":\"boot_failed\","
			"\"last_failure_reason\":\"no \\u003cimage\\u003e\"}");
	buf_reset(&b);
	health = (struct offer_health){.provider = "p",
				       .offer_id = "o",
				       .gpu_type = "",
				       .multiplier_m = 1000,
				       .kind = "",
				       .reason = ""};
	put_json_object(&b, offer_health_members, offer_health_member_count, &x);
	assert_string_equal(b.data, "{\"offer_id\":\"o\",\"provider\":\"p\",\"gpu_type\":\"\","
				    "\"recent_failures\":0,\"is_suppressed\":false,"
				    "\"confidence_multiplier\":1}");
	buf_reset(&b);
	x.thing = &t;
	put_json_object(&b, template_members, template_member_count, &x);
	assert_string_equal(
		b.data,
		"{\"id\":7,\"hash_id\":\"4e17\",\"name\":\"vLLM\",\"image\":\"vastai/vllm\","
		"\"tag\":\"1\",\"runtype\":\"ssh\",\"use_ssh\":true,\"ssh_direct\":false,"
		"\"recommended\":true,\"recommended_disk_space\":64,"
		"\"extra_filters\":\"{\\\"a\\\":1}\",\"creator_id\":9,"
		"\"created_at\":\"2025-06-15T15:06:40Z\",\"count_created\":5}");
	buf_reset(&b);
	t = (struct template_info){.id = "h",
				   .image = "a:b",
				   .number = UNKNOWN,
				   .disk_gb = UNKNOWN,
				   .creator = UNKNOWN,
				   .count_created = UNKNOWN};
	put_json_object(&b, template_members, template_member_count, &x);
	assert_string_equal(b.data, "{\"id\":0,\"hash_id\":\"h\",\"name\":\"\",\"image\":\"a:b\","
				    "\"use_ssh\":false,\"ssh_direct\":false,\"recommended\":false,"
				    "\"created_at\":\"0001-01-01T00:00:00Z\"}");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_numbers), cmocka_unit_test(test_bodies),
		cmocka_unit_test(test_tokens),	cmocka_unit_test(test_browsers),
		cmocka_unit_test(test_routes),	cmocka_unit_test(test_values),
		cmocka_unit_test(test_openapi), cmocka_unit_test(test_cloud_objects),
		cmocka_unit_test(test_damage),
	};

	return cmocka_run_group_tests_name("http_parse", tests, NULL, NULL);
}
