/*
 * Tests of the dialect of Vast.ai: requests to the letter, the verdict of every kind of answer to every
 * call, rows of a search and of a list, and junk. The recorded replies are in tests/wire.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../providers/providers.h"
#include "../../src/core/check.h"
#include "../../src/core/text.h"
#include "wire_test.h"

#include <cmocka.h>
#include <jansson.h>
#undef fail

static struct provider *vast;

static int setup(void **state)
{
	static const struct account account = {.base_url = "https://console.vast.ai",
					       .key = "secret",
					       .image = "nvidia/cuda:12.6.3-runtime-ubuntu22.04"};

	(void)state;
	vast = provider_vastai_new(&account);
	return vast ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	provider_vastai_free(vast);
	return 0;
}

/* ---- requests ---- */

static void build(struct request *q, const struct call *call, const char *cursor)
{
	wire_build(vast, call, cursor, q);
}

static void assert_request(struct request *q, enum http_method method, const char *path,
			   const char *body)
{
	json_t *got, *wanted;

	assert_int_equal(q->err, 0);
	assert_int_equal(q->r.method, method);
	assert_string_equal(q->r.path.data, path);
	assert_null(strstr(q->r.path.data, "secret"));
	if (!body) {
		assert_int_equal(q->r.body.len, 0);
		return;
	}
	assert_null(strstr(q->r.body.data, "secret"));
	got = json_loads(q->r.body.data, JSON_REJECT_DUPLICATES, NULL);
	wanted = json_loads(body, 0, NULL);
	assert_non_null(got);
	assert_non_null(wanted);
	if (!json_equal(got, wanted))
		print_error("got %s\nwanted %s\n", q->r.body.data, body);
	assert_true(json_equal(got, wanted));
	json_decref(got);
	json_decref(wanted);
}

static void assert_search(const struct page_ask *page, const char *body)
{
	struct call call = {.op = CALL_OFFERS, .page = page};
	REQUEST q;

	build(&q, &call, NULL);
	assert_request(&q, HTTP_POST, "/api/v0/bundles/", body);
}

#define FILTERS                                                                            \
	"\"verified\":{\"eq\":true},\"rentable\":{\"eq\":true},\"rented\":{\"eq\":false}," \
	"\"external\":{\"eq\":false},\"order\":[[\"dph_total\",\"asc\"]]"

static void test_search_requests(void **state)
{
	(void)state;
	assert_search(&(struct page_ask){.limit = 64, .shape.disk_gb = 30},
		      "{" FILTERS
		      ",\"type\":\"on-demand\",\"limit\":64,\"disk_space\":{\"gte\":30},"
		      "\"allocated_storage\":30}");
	assert_search(&(struct page_ask){.gpu = "RTX 4090",
					 .limit = 64,
					 .shape.disk_gb = 30,
					 .from_price_u6 = 246676,
					 .interruptible = true},
		      "{" FILTERS ",\"gpu_name\":{\"in\":[\"RTX 4090\"]},\"type\":\"bid\","
		      "\"dph_total\":{\"gte\":0.246675},\"limit\":64,\"disk_space\":{\"gte\":30},"
		      "\"allocated_storage\":30}");
	/* Whatever somebody called a model stays a text. */
	assert_search(&(struct page_ask){.gpu = "x\"]},\"verified\":{\"in\":[\"", .limit = 1},
		      "{" FILTERS
		      ",\"gpu_name\":{\"in\":[\"x\\\"]},\\\"verified\\\":{\\\"in\\\":[\\\"\"]},"
		      "\"type\":\"on-demand\",\"limit\":1}");
}

/* Names that are changed on the way in are asked for in Vast.ai's spelling too. */
static void test_gpu_names_travel_both_ways(void **state)
{
	static const struct {
		const char *raw, *name;
	} t[] = {
		{"RTX 4090", "RTX 4090"},
		{"RTX 4090 D", "RTX 4090 D"},
		{"RTX 3090 Ti", "RTX 3090 Ti"},
		{"RTX 4080S", "RTX 4080 SUPER"},
		{"RTX 4070S Ti", "RTX 4070 Ti SUPER"},
		{"RTX 6000Ada", "RTX 6000 Ada"},
		{"RTX A5000", "RTX A5000"},
		{"Q RTX 8000", "RTX 8000"},
		{"Tesla V100", "V100"},
		{"Tesla T4", "T4"},
		{"A100 SXM4", "A100 SXM4"},
		{"A100 PCIE", "A100 PCIE"},
		{"H100 SXM", "H100 SXM"},
		{"H100 NVL", "H100 NVL"},
		{"H200", "H200"},
		{"L40S", "L40S"},
		{"RX 7900 XTX", "RX 7900 XTX"},
	};
	static const struct {
		const char *raw, *name;
	} only_in[] = {
		{"NVIDIA GeForce RTX 4090", "RTX 4090"},
		{"Radeon RX 7900 XTX", "RX 7900 XTX"},
		{"Radeon VII", "Radeon VII"},
		{"NVIDIA ", "NVIDIA"},
		{"RTX_4090", "RTX 4090"},
		{"Instinct MI300X", "MI300X"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(t) + ARRAY_LEN(only_in); i++) {
		bool both = i < ARRAY_LEN(t);
		const char *raw = both ? t[i].raw : only_in[i - ARRAY_LEN(t)].raw;
		const char *name = both ? t[i].name : only_in[i - ARRAY_LEN(t)].name;
		struct wire_ask ask = {.op = CALL_OFFERS};
		struct wire_reply reply = {.status = 200};
		struct wire_result w;
		struct call call = {.op = CALL_OFFERS, .page = &ask.page};
		REQUEST q;
		BUF body = {0};

		buf_puts(&body,
			 "{\"offers\":[{\"id\":5,\"num_gpus\":1,\"dph_total\":0.5,\"gpu_name\":");
		buf_json(&body, raw, strlen(raw));
		buf_puts(&body, "}]}");
		reply.body = body.data;
		reply.len = body.len;
		wire_result_init(&w);
		vast->dialect->parse(&ask, &reply, &w);
		assert_int_equal(w.r.count, 1);
		assert_string_equal(w.offers[0].gpu_type, name);
		COPY(ask.page.gpu, w.offers[0].gpu_type);
		wire_result_free(&w);
		build(&q, &call, NULL);
		body.len = 0;
		buf_json(&body, raw, strlen(raw));
		if (both)
			assert_non_null(strstr(q.r.body.data, body.data));
	}
}

static void assert_create(const struct create_args *c, const char *path, const char *body)
{
	struct call call = {.op = CALL_CREATE, .create = c};
	REQUEST q;

	build(&q, &call, NULL);
	assert_request(&q, HTTP_PUT, path, body);
}

static void assert_no_create(const struct create_args *c, const char *word)
{
	struct call call = {.op = CALL_CREATE, .create = c};
	REQUEST q;

	build(&q, &call, NULL);
	assert_true(q.err < 0);
	assert_non_null(strstr(q.why.text, word));
}

/* req_create_ondemand.json, req_create_bid.json and req_create_template.json of the wire page. */
static void test_create_requests(void **state)
{
	static const struct offer offer = {.provider_id = "29907796", .disk.size = 20};
	struct spec_env env = {"MODEL_ID", "x"};
	int64_t port = 8000;
	struct create_args c = {.label = "job-3f2a",
				.offer = &offer,
				.authorized_keys = "ssh-ed25519 AAAA secret",
				.env = &env,
				.env_count = 1,
				.shape = {.disk_gb = 40},
				.image = vast->account.image,
				.on_start = "touch /root/ready",
				.ports = &port,
				.port_count = 1,
				.bid_u6 = UNKNOWN};

	(void)state;
	assert_create(&c, "/api/v0/asks/29907796/",
		      "{\"client_id\":\"me\",\"image\":\"nvidia/cuda:12.6.3-runtime-ubuntu22.04\","
		      "\"disk\":40,\"label\":\"job-3f2a\",\"runtype\":\"ssh_direct\","
		      "\"target_state\":\"running\",\"cancel_unavail\":true,"
		      "\"env\":{\"MODEL_ID\":\"x\",\"-p 8000:8000\":\"1\"},"
		      "\"onstart\":\"touch /root/ready\"}");
	c.env_count = c.port_count = 0;
	c.on_start = NULL;
	c.image = "ubuntu:22.04";
	c.shape.disk_gb = 16;
	c.bid_u6 = 160000;
	assert_create(
		&c, "/api/v0/asks/29907796/",
		"{\"client_id\":\"me\",\"image\":\"ubuntu:22.04\",\"disk\":16,\"label\":"
		"\"job-3f2a\",\"runtype\":\"ssh_direct\",\"target_state\":\"running\",\"price\":"
		"0.16,\"cancel_unavail\":true}");
	c.bid_u6 = UNKNOWN;
	c.template_id = "4e17788f74f075dd9aab7d0d4427968f";
	c.shape.disk_gb = UNKNOWN;
	c.image = vast->account.image; /* the default does not beat the template's */
	assert_create(
		&c, "/api/v0/asks/29907796/",
		"{\"client_id\":\"me\",\"template_hash_id\":\"4e17788f74f075dd9aab7d0d4427968f\","
		"\"disk\":20,\"label\":\"job-3f2a\",\"runtype\":\"ssh_direct\",\"target_state\":"
		"\"running\",\"cancel_unavail\":true}");
	c.image = "ubuntu:22.04";
	c.shape.disk_gb = 1; /* below the provider's minimum */
	assert_create(
		&c, "/api/v0/asks/29907796/",
		"{\"client_id\":\"me\",\"template_hash_id\":\"4e17788f74f075dd9aab7d0d4427968f\","
		"\"image\":\"ubuntu:22.04\",\"disk\":8,\"label\":\"job-3f2a\",\"runtype\":"
		"\"ssh_direct\",\"target_state\":\"running\",\"cancel_unavail\":true}");
}

static void test_what_cannot_be_asked(void **state)
{
	static const char *const ids[] = {"",	"12/34", "../x", "12?a=b", "1234567890123456789",
					  "-5", "a"};
	struct offer offer = {.provider_id = "1"};
	struct spec_env env = {"A", "x"};
	int64_t port = 8000;
	char text[5000];
	struct create_args good = {.label = "l",
				   .offer = &offer,
				   .env = &env,
				   .env_count = 1,
				   .shape = {.disk_gb = UNKNOWN},
				   .image = "i",
				   .ports = &port,
				   .port_count = 1,
				   .bid_u6 = UNKNOWN};
	struct create_args c;

	(void)state;
	memset(text, 'x', sizeof text - 1);
	text[sizeof text - 1] = '\0';
	for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
		struct call calls[] = {
			{.op = CALL_LOOK, .instance_id = ids[i]},
			{.op = CALL_DESTROY, .instance_id = ids[i]},
			{.op = CALL_ATTACH, .instance_id = ids[i], .public_key = "k"}};

		for (size_t k = 0; k < ARRAY_LEN(calls); k++) {
			REQUEST q;

			build(&q, &calls[k], NULL);
			assert_true(q.err < 0);
		}
		COPY(offer.provider_id, ids[i]);
		assert_no_create(&good, "number");
	}
	COPY(offer.provider_id, "1");
	c = good, c.label = text, assert_no_create(&c, "label");
	c = good, c.image = text, assert_no_create(&c, "image");
	c = good, c.image = "", assert_no_create(&c, "VASTAI_IMAGE");
	c = good, c.on_start = text, assert_no_create(&c, "on_start");
	c = good, c.template_id = "../../x", assert_no_create(&c, "template");
	c = good, c.bid_u6 = 0, assert_no_create(&c, "bid");
	c = good, c.bid_u6 = 128000001, assert_no_create(&c, "bid");
	port = 70000, c = good, assert_no_create(&c, "port");
	port = 8000;
	COPY(env.name, "-p 22:22"), assert_no_create(&good, "variable");
	COPY(env.name, "--privileged"), assert_no_create(&good, "variable");
	COPY(env.name, "A"), memset(env.value, 'x', 257), env.value[257] = '\0';
	assert_no_create(&good, "256");
	{
		struct call call = {.op = CALL_ATTACH, .instance_id = "1", .public_key = "a\nb"};
		REQUEST q;

		build(&q, &call, NULL);
		assert_true(q.err < 0);
	}
}

static void test_other_requests(void **state)
{
	static const struct {
		struct call call;
		const char *cursor;
		enum http_method method;
		const char *path, *body;
	} t[] = {
		{{.op = CALL_LIST},
		 "",
		 HTTP_GET,
		 "/api/v1/instances/"
		 "?limit=25&order_by=%5B%7B%22col%22%3A%22id%22%2C%22dir%22%3A%22asc%22%7D%5D",
		 NULL},
		{{.op = CALL_LIST},
		 "eyJ2+/x&=",
		 HTTP_GET,
		 "/api/v1/instances/"
		 "?limit=25&order_by=%5B%7B%22col%22%3A%22id%22%2C%22dir%22%3A%22asc%22%7D%5D"
		 "&after_token=eyJ2%2B%2Fx%26%3D",
		 NULL},
		{{.op = CALL_LOOK, .instance_id = "33402296"},
		 NULL,
		 HTTP_GET,
		 "/api/v0/instances/33402296/",
		 NULL},
		{{.op = CALL_DESTROY, .instance_id = "33402296"},
		 NULL,
		 HTTP_DELETE,
		 "/api/v0/instances/33402296/",
		 "{}"},
		{{.op = CALL_ATTACH, .instance_id = "7", .public_key = "ssh-ed25519 AAAA a \"b\""},
		 NULL,
		 HTTP_POST,
		 "/api/v0/instances/7/ssh/",
		 "{\"ssh_key\":\"ssh-ed25519 AAAA a \\\"b\\\"\"}"},
		{{.op = CALL_ACCOUNT}, NULL, HTTP_GET, "/api/v0/users/current/", NULL},
		{{.op = CALL_TEMPLATES},
		 NULL,
		 HTTP_GET,
		 "/api/v0/template/?select_filters=%7B%22recommended%22%3A%7B%22eq%22%3Atrue%7D%7D"
		 "&select_cols=%5B%22%2A%22%5D",
		 NULL},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		REQUEST q;

		build(&q, &t[i].call, t[i].cursor);
		assert_request(&q, t[i].method, t[i].path, t[i].body);
	}
}

/* 10 searches in any minute, and a reserve for destroys (wire page 2). */
static void test_limits(void **state)
{
	const struct dialect *d = vast->dialect;

	(void)state;
	for (size_t i = 0; i < d->endpoint_count; i++) {
		const struct endpoint *e = &d->endpoints[i];

		assert_true(e->spacing_us > 0 && e->burst >= 1);
		if (strcmp(e->name, "search") == 0) {
			assert_true(e->burst + MINUTE_US / e->spacing_us <= 10);
			assert_true(d->pages_per_refresh < 10);
		}
	}
	assert_true(d->account_burst >= 2);
}

/* ---- replies ---- */

static void parse(struct wire_result *w, enum call_op op, int status, const char *body)
{
	struct wire_ask ask = {.op = op};

	wire_parse(vast, &ask, status, body, strlen(body), w);
}

#define AUTH "{\"success\":false,\"error\":\"auth_error\",\"msg\":\"Session expired.\"}"
#define NO_ASK \
	"{\"success\":false,\"error\":\"invalid_args\",\"msg\":\"error 404/3603: no_such_ask\"}"
#define HTML "<html><title>oops</title></html>"

static void test_verdicts(void **state)
{
	static const struct {
		enum call_op op;
		int status;
		const char *body;
		enum verdict verdict;
		enum provider_error error;
	} t[] = {
		/* a create that went well, and what looks like one */
		{CALL_CREATE, 200, "{\"success\":true,\"new_contract\":5}", SURE_YES, PE_NONE},
		{CALL_CREATE, 201, "{\"new_contract\":\"5\"}", SURE_YES, PE_NONE},
		{CALL_CREATE, 200, "{\"success\":true}", UNSURE, PE_UNAVAILABLE},
		{CALL_CREATE, 200, "{\"success\":true,\"new_contract\":0}", UNSURE, PE_UNAVAILABLE},
		{CALL_CREATE, 200, "{\"success\":true,\"new_contract\":1.5}", UNSURE,
		 PE_UNAVAILABLE},
		{CALL_CREATE, 200, "{\"success\":true,\"new_contract\":1e400}", UNSURE,
		 PE_UNAVAILABLE},
		{CALL_CREATE, 200, "{\"success\":true,\"new_contract\":-5}", UNSURE,
		 PE_UNAVAILABLE},
		{CALL_CREATE, 200, "{\"success\":true,\"new_contract\":5,\"new_contract\":6}",
		 UNSURE, PE_UNAVAILABLE},
		{CALL_CREATE, 200, "{\"success\":\"false\",\"new_contract\":5}", UNSURE,
		 PE_UNKNOWN},
		{CALL_CREATE, 200, "{\"success\":true,\"new_contract\":5", UNSURE, PE_UNAVAILABLE},
		{CALL_CREATE, 200, "", UNSURE, PE_UNAVAILABLE},
		{CALL_CREATE, 200, HTML, UNSURE, PE_UNAVAILABLE},
		{CALL_CREATE, 204, "", UNSURE, PE_UNAVAILABLE},
		{CALL_CREATE, 308, "", UNSURE, PE_UNAVAILABLE},
		/* an id in a failure */
		{CALL_CREATE, 200, "{\"success\":false,\"new_contract\":5}", UNSURE, PE_UNKNOWN},
		{CALL_CREATE, 400,
		 "{\"success\":false,\"error\":\"invalid_price\",\"new_contract\":5}", UNSURE,
		 PE_INVALID},
		{CALL_CREATE, 429, "{\"new_contract\":5}", UNSURE, PE_UNKNOWN},
		{CALL_CREATE, 401, "{\"error\":\"auth_error\",\"new_contract\":5}", UNSURE,
		 PE_UNKNOWN},
		{CALL_CREATE, 500, "{\"new_contract\":5}", UNSURE, PE_UNKNOWN},
		/* an offer that is gone, in every shape */
		{CALL_CREATE, 400, NO_ASK, SURE_NO, PE_STALE_OFFER},
		{CALL_CREATE, 404, NO_ASK, SURE_NO, PE_STALE_OFFER},
		{CALL_CREATE, 410, NO_ASK, SURE_NO, PE_STALE_OFFER},
		{CALL_CREATE, 200, NO_ASK, SURE_NO, PE_STALE_OFFER},
		{CALL_CREATE, 400, "error 404/3603: no_such_ask", SURE_NO, PE_STALE_OFFER},
		{CALL_CREATE, 410, "{\"error\":\"x\"}", SURE_NO, PE_STALE_OFFER},
		{CALL_CREATE, 410, HTML, UNSURE, PE_UNAVAILABLE},
		{CALL_CREATE, 410, "{\"error\":\"deprecated_endpoint\"}", LATER, PE_UNAVAILABLE},
		/* other refusals */
		{CALL_CREATE, 400, "{\"error\":\"insufficient_credit\"}", SURE_NO, PE_MONEY},
		{CALL_CREATE, 403, "{\"error\":\"spend_rate_limit\",\"msg\":\"x\"}", SURE_NO,
		 PE_MONEY},
		{CALL_CREATE, 403, "{\"error\":\"invalid_args\",\"msg\":\"error 403/3586\"}",
		 SURE_NO, PE_INVALID},
		{CALL_CREATE, 400, "{\"error\":\"server_error\"}", UNSURE, PE_UNAVAILABLE},
		{CALL_CREATE, 400, "{\"error\":\"news\"}", SURE_NO, PE_INVALID},
		{CALL_CREATE, 409, "{\"error\":\"news\"}", SURE_NO, PE_UNKNOWN},
		{CALL_CREATE, 408, "{\"error\":\"timeout\"}", UNSURE, PE_UNAVAILABLE},
		{CALL_CREATE, 400, HTML, UNSURE, PE_UNAVAILABLE},
		{CALL_CREATE, 400, "{}", UNSURE, PE_UNAVAILABLE},
		{CALL_CREATE, 404, HTML, UNSURE, PE_UNAVAILABLE},
		{CALL_CREATE, 200, "{\"success\":false,\"error\":\"news\"}", UNSURE,
		 PE_UNAVAILABLE},
		/* throttled, in every shape */
		{CALL_CREATE, 429, "API requests too frequent", LATER, PE_RATE},
		{CALL_CREATE, 429, "", LATER, PE_RATE},
		{CALL_CREATE, 403, HTML, LATER, PE_RATE},
		{CALL_DESTROY, 200, "{\"success\":false,\"error\":\"rate_limit_exceeded\"}", LATER,
		 PE_RATE},
		{CALL_LOOK, 403, HTML, LATER, PE_RATE},
		/* a key that is dead is never "gone" */
		{CALL_CREATE, 404, AUTH, KEY_DEAD, PE_AUTH},
		{CALL_DESTROY, 404, AUTH, KEY_DEAD, PE_AUTH},
		{CALL_LOOK, 404, AUTH, KEY_DEAD, PE_AUTH},
		{CALL_LIST, 404, AUTH, KEY_DEAD, PE_AUTH},
		{CALL_OFFERS, 404, AUTH, KEY_DEAD, PE_AUTH},
		{CALL_ATTACH, 403, AUTH, KEY_DEAD, PE_AUTH},
		{CALL_LOOK, 200, AUTH, KEY_DEAD, PE_AUTH},
		{CALL_ACCOUNT, 401, HTML, KEY_DEAD, PE_AUTH},
		{CALL_LIST, 403, "{\"msg\":\"missing scope\"}", KEY_DEAD, PE_AUTH},
		/* gone, and what is not */
		{CALL_LOOK, 200, "{\"instances\":null}", SURE_NO, PE_GONE},
		{CALL_LOOK, 404, "{\"error\":\"no_such_instance\"}", SURE_NO, PE_GONE},
		{CALL_LOOK, 404, "{\"error\":\"not_found\",\"msg\":\"Instance not found\"}",
		 SURE_NO, PE_GONE},
		{CALL_LOOK, 404, "{\"error\":\"not_found\"}", LATER, PE_UNAVAILABLE},
		{CALL_LOOK, 404, HTML, LATER, PE_UNAVAILABLE},
		{CALL_LOOK, 404, "{\"detail\":\"Not found.\"}", LATER, PE_UNAVAILABLE},
		{CALL_LOOK, 500, "{\"error\":\"no_such_instance\"}", LATER, PE_UNAVAILABLE},
		{CALL_LOOK, 410, "{\"error\":\"no_such_instance\"}", LATER, PE_UNAVAILABLE},
		{CALL_LOOK, 200, "{}", LATER, PE_UNAVAILABLE},
		{CALL_LOOK, 200, "null", LATER, PE_UNAVAILABLE},
		{CALL_LOOK, 200, "{\"instances\":[]}", LATER, PE_UNAVAILABLE},
		{CALL_LOOK, 200, "{\"instances\":{}}", LATER, PE_UNAVAILABLE},
		{CALL_LOOK, 200, "{\"instances\":0}", LATER, PE_UNAVAILABLE},
		{CALL_LOOK, 200, "{\"instances\":{\"id\":1},\"instances\":null}", LATER,
		 PE_UNAVAILABLE},
		{CALL_LOOK, 200, "{\"instances\":null", LATER, PE_UNAVAILABLE},
		{CALL_LOOK, 200, "{\"instances\":NaN}", LATER, PE_UNAVAILABLE},
		{CALL_LOOK, 200, "{\"instances\":1e400}", LATER, PE_UNAVAILABLE},
		{CALL_LIST, 404, "{\"error\":\"no_such_instance\"}", LATER, PE_UNAVAILABLE},
		{CALL_DESTROY, 200, "{\"success\":true}", SURE_YES, PE_NONE},
		{CALL_DESTROY, 404, "{\"error\":\"no_such_instance\"}", SURE_YES, PE_GONE},
		{CALL_DESTROY, 200, "{\"success\":false,\"error\":\"not_found\"}", SURE_YES,
		 PE_GONE},
		{CALL_DESTROY, 404, HTML, UNSURE, PE_UNAVAILABLE},
		{CALL_DESTROY, 410, HTML, LATER, PE_UNAVAILABLE},
		{CALL_DESTROY, 400, "{\"error\":\"invalid_args\"}", SURE_NO, PE_INVALID},
		{CALL_DESTROY, 200, "{}", UNSURE, PE_UNAVAILABLE},
		{CALL_DESTROY, 502, HTML, UNSURE, PE_UNAVAILABLE},
		{CALL_ATTACH, 200, "{\"success\":true}", SURE_YES, PE_NONE},
		{CALL_ATTACH, 404, "{\"error\":\"no_such_instance\"}", SURE_NO, PE_GONE},
		{CALL_ATTACH, 503, HTML, UNSURE, PE_UNAVAILABLE},
		/* lists: an absence must be said */
		{CALL_LIST, 200, "{\"instances\":[],\"total_instances\":0}", SURE_YES, PE_NONE},
		{CALL_LIST, 200, "{\"instances\":null,\"total_instances\":0}", SURE_YES, PE_NONE},
		{CALL_LIST, 200, "{\"instances\":null}", LATER, PE_UNAVAILABLE},
		{CALL_LIST, 200, "{\"instances\":null,\"total_instances\":3}", LATER,
		 PE_UNAVAILABLE},
		{CALL_LIST, 200, "{\"instances\":null,\"instances_found\":0}", LATER,
		 PE_UNAVAILABLE},
		{CALL_LIST, 200, "{\"instances\":[]}", LATER, PE_UNAVAILABLE},
		{CALL_LIST, 200, "{\"instances\":{}}", LATER, PE_UNAVAILABLE},
		{CALL_LIST, 200, "{\"instances\":NaN,\"total_instances\":0}", LATER,
		 PE_UNAVAILABLE},
		{CALL_LIST, 200, "{\"total_instances\":0}", LATER, PE_UNAVAILABLE},
		{CALL_LIST, 200, "[]", LATER, PE_UNAVAILABLE},
		{CALL_LIST, 410, "{\"error\":\"deprecated_endpoint\"}", LATER, PE_UNAVAILABLE},
		{CALL_LIST, 400, "{\"error\":\"invalid_token\"}", SURE_NO, PE_INVALID},
		/* searches, account, templates */
		{CALL_OFFERS, 200, "{\"offers\":[]}", SURE_YES, PE_NONE},
		{CALL_OFFERS, 200, "[]", SURE_YES, PE_NONE},
		{CALL_OFFERS, 200, "{}", LATER, PE_UNAVAILABLE},
		{CALL_OFFERS, 200, HTML, LATER, PE_UNAVAILABLE},
		{CALL_OFFERS, 302, "", LATER, PE_UNAVAILABLE},
		{CALL_OFFERS, 400, "{\"error\":\"invalid_request\"}", SURE_NO, PE_INVALID},
		{CALL_ACCOUNT, 200, "{\"id\":1}", SURE_YES, PE_NONE},
		{CALL_ACCOUNT, 200, "{}", LATER, PE_UNAVAILABLE},
		{CALL_ACCOUNT, 200, "[]", LATER, PE_UNAVAILABLE},
		{CALL_TEMPLATES, 200, "{\"templates\":null}", LATER, PE_UNAVAILABLE},
		{CALL_TEMPLATES, 200, "{\"templates\":[]}", SURE_YES, PE_NONE},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		RESULT w;

		parse(&w, t[i].op, t[i].status, t[i].body);
		if (w.r.verdict != t[i].verdict || w.r.error != t[i].error)
			print_error("%s %d %s: %s %s (%s)\n", call_op_names[t[i].op], t[i].status,
				    t[i].body, verdict_names[w.r.verdict],
				    provider_error_names[w.r.error], w.r.text);
		assert_int_equal(w.r.verdict, t[i].verdict);
		assert_int_equal(w.r.error, t[i].error);
		assert_true(w.r.error != PE_GONE || w.r.evidence[0]);
		if (strstr(t[i].body, "\"new_contract\":5}")) {
			assert_int_equal(w.r.count, 1);
			assert_string_equal(w.instances[0].id, "5");
			assert_int_equal(w.instances[0].price_u6, UNKNOWN);
		}
	}
}

static void test_retry_after(void **state)
{
	RESULT a, b, c;

	(void)state;
	parse(&a, CALL_LIST, 429, "{\"error\":\"HTTPTooManyRequests\",\"retry_after\":3.2}");
	assert_int_equal(a.r.retry_after_us, 3200000);
	parse(&b, CALL_LIST, 429, "{\"retry_after\":1e9}");
	assert_int_equal(b.r.retry_after_us, UNKNOWN);
	parse(&c, CALL_LIST, 429, "{\"retry_after\":-1}");
	assert_int_equal(c.r.retry_after_us, UNKNOWN);
}

static void test_balance(void **state)
{
	static const struct {
		const char *body;
		int64_t left;
	} t[] = {
		{"{\"id\":1,\"credit\":12.34,\"balance\":5}", 12340000},
		{"{\"id\":1,\"credit\":0.0,\"balance\":-0.37}", 0},
		{"{\"id\":1,\"balance\":-0.000001}", 0},
		{"{\"id\":1,\"balance\":\"2.5\"}", 2500000},
		{"{\"id\":1,\"credit\":null}", UNKNOWN},
		{"{\"id\":1,\"credit\":NaN}", UNKNOWN},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		RESULT w;

		parse(&w, CALL_ACCOUNT, 200, t[i].body);
		assert_int_equal(w.r.verdict, SURE_YES);
		assert_int_equal(w.r.balance_u6, t[i].left);
	}
}

/* ---- rows of a search ---- */

#define ROW "\"id\":5,\"gpu_name\":\"RTX 4090\",\"num_gpus\":1,\"dph_total\":0.5"

static void parse_rows(struct wire_result *w, const struct page_ask *page, const char *rows)
{
	struct wire_ask ask = {.op = CALL_OFFERS, .page = *page};
	BUF body = {0};

	buf_printf(&body, "{\"offers\":[%s]}", rows);
	wire_parse(vast, &ask, 200, body.data, body.len, w);
	assert_int_equal(w->r.verdict, SURE_YES);
}

static void test_rows_that_are_dropped(void **state)
{
	static const char *const rows[] = {
		"{" ROW ",\"verification\":\"unverified\"}",
		"{" ROW ",\"verification\":\"deverified\"}",
		"{" ROW ",\"verified\":false}",
		"{" ROW ",\"rentable\":false}",
		"{" ROW ",\"rented\":true}",
		"{" ROW ",\"external\":true}",
		"{" ROW ",\"resource_type\":\"disk\"}",
		"{" ROW ",\"disk_space\":29.9}",
		"{" ROW ",\"storage_cost\":-1}",
		"{" ROW ",\"storage_cost\":1e9}",
		"{" ROW ",\"ask_contract_id\":6}",
		"{\"gpu_name\":\"RTX 4090\",\"num_gpus\":1,\"dph_total\":0.5}",
		"{\"id\":\"../x\",\"gpu_name\":\"RTX 4090\",\"num_gpus\":1,\"dph_total\":0.5}",
		"{\"id\":5,\"num_gpus\":1,\"dph_total\":0.5}",
		"{\"id\":5,\"gpu_name\":\"RTX 3090\",\"num_gpus\":1,\"dph_total\":0.5}",
		"{\"id\":5,\"gpu_name\":\"RTX 4090\",\"dph_total\":0.5}",
		"{\"id\":5,\"gpu_name\":\"RTX 4090\",\"num_gpus\":0,\"dph_total\":0.5}",
		"{\"id\":5,\"gpu_name\":\"RTX 4090\",\"num_gpus\":1.5,\"dph_total\":0.5}",
		"{\"id\":5,\"gpu_name\":\"RTX 4090\",\"num_gpus\":1}",
		"{\"id\":5,\"gpu_name\":\"RTX 4090\",\"num_gpus\":1,\"dph_total\":null}",
		"{\"id\":5,\"gpu_name\":\"RTX 4090\",\"num_gpus\":1,\"dph_total\":-0.5}",
		"{\"id\":5,\"gpu_name\":\"RTX 4090\",\"num_gpus\":1,\"dph_total\":0}",
		"{\"id\":5,\"gpu_name\":\"RTX 4090\",\"num_gpus\":1,\"dph_total\":NaN}",
		"{\"id\":5,\"gpu_name\":\"RTX 4090\",\"num_gpus\":1,\"dph_total\":1e400}",
		"{\"id\":5,\"gpu_name\":\"RTX 4090\",\"num_gpus\":1,\"dph_total\":1e12}",
		"{\"id\":5,\"gpu_name\":\"RTX 4090\",\"num_gpus\":1,\"dph_total\":0.39}",
		"{" ROW ",\"id\":6}",
		"null",
		"5",
	};
	static const struct page_ask page = {
		.gpu = "RTX 4090", .shape.disk_gb = 30, .from_price_u6 = 400000};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		BUF both = {0};
		RESULT w;

		buf_printf(
			&both,
			"%s,{\"id\":7,\"gpu_name\":\"RTX 4090\",\"num_gpus\":1,\"dph_total\":0.6}",
			rows[i]);
		parse_rows(&w, &page, both.data);
		if (w.r.count != 1)
			print_error("%s\n", rows[i]);
		assert_int_equal(w.r.count, 1);
		assert_string_equal(w.offers[0].id, "vastai-7");
		assert_int_equal(w.r.dropped, 1);
		assert_int_equal(w.r.rows, 2);
		assert_int_equal(w.r.last_price_u6, 600000);
	}
}

static void test_an_offer(void **state)
{
	static const struct shape larger = {130, UNKNOWN, UNKNOWN};
	static const struct page_ask page = {.shape.disk_gb = 30};
	const struct offer *o;
	RESULT w, bid;

	(void)state;
	parse_rows(&w, &page,
		   "{\"id\":\"11684738\",\"ask_contract_id\":11684738.0,\"gpu_name\":\"RTX "
		   "4090\",\"num_gpus\":"
		   "2.0,\"gpu_ram\":24564,\"dph_total\":\"0.2466759259\",\"min_bid\":0.2,\"is_"
		   "bid\":false,"
		   "\"reliability2\":1.33,\"cuda_max_good\":12.4,\"machine_id\":22990,"
		   "\"geolocation\":\", "
		   "CN\",\"duration\":7199.9,\"storage_cost\":0.15,\"disk_space\":1607.875,"
		   "\"external\":null,\"direct_port_count\":249,"
		   "\"verification\":\"verified\",\"rentable\":true,\"rented\":false}");
	assert_int_equal(w.r.count, 1);
	o = &w.offers[0];
	assert_string_equal(o->id, "vastai-11684738");
	assert_string_equal(o->provider_id, "11684738");
	assert_string_equal(o->provider, "vastai");
	assert_int_equal(o->gpu_count, 2);
	assert_int_equal(o->vram_gb, 24);
	assert_int_equal(o->price_u6, 246676);
	assert_int_equal(o->min_bid_u6, 200000);
	assert_false(o->interruptible);
	assert_true(o->available);
	assert_int_equal(o->reliability_m, 1000);
	assert_int_equal(o->confidence_m, 1000);
	assert_int_equal(o->cuda_m, 12400);
	assert_string_equal(o->machine_id, "22990");
	assert_string_equal(o->location, "CN");
	assert_int_equal(o->max_duration_hours, 2);
	assert_int_equal(o->disk.size, 30);
	assert_int_equal(o->disk.rate_u9, 208333);
	assert_int_equal(o->disk.max, 1607);
	assert_int_equal(o->ports_max, 249);
	assert_int_equal(offer_price(o, &larger), 246676 + 20834);
	parse_rows(&bid, &(struct page_ask){.interruptible = true}, "{" ROW "}");
	assert_true(bid.offers[0].interruptible);
	assert_int_equal(bid.offers[0].reliability_m, UNKNOWN);
	assert_int_equal(bid.offers[0].vram_gb, UNKNOWN);
	assert_int_equal(bid.offers[0].min_bid_u6, UNKNOWN);
	assert_int_equal(bid.offers[0].ports_max, UNKNOWN);
	assert_string_equal(bid.offers[0].machine_id, "");
}

/* ---- machines ---- */

static void test_states(void **state)
{
	static const struct {
		const char *actual, *intended, *contract, *text;
		enum instance_status status;
		int64_t rate_u6;
	} t[] = {
		{"null", "\"running\"", "\"running\"", "null", INST_BOOTING, 10000},
		{"\"created\"", "\"running\"", "\"running\"", "null", INST_BOOTING, 10000},
		{"\"loading\"", "\"running\"", "\"running\"", "null", INST_BOOTING, 10000},
		{"\"loading\"", "null", "null", "null", INST_BOOTING, 10000},
		{"\"loading\"", "\"stopped\"", "\"stopped\"", "null", INST_BOOTING, 10000},
		{"\"created\"", "\"stopped\"", "\"stopped\"", "\"OCI runtime create failed\"",
		 INST_BROKEN, 10000},
		{"\"created\"", "\"stopped\"", "\"stopped\"", "null", INST_BROKEN, 10000},
		{"\"loading\"", "\"running\"", "\"running\"", "\"manifest for x:9 not found\"",
		 INST_BROKEN, 10000},
		{"\"loading\"", "\"running\"", "\"running\"", "\"pull access denied for x\"",
		 INST_BROKEN, 10000},
		{"null", "\"stopped\"", "\"stopped\"", "null", INST_STOPPED, 10000},
		{"\"running\"", "\"running\"", "\"running\"", "null", INST_RUNNING, 500000},
		{"\"running\"", "null", "null", "null", INST_RUNNING, 500000},
		{"\"running\"", "\"stopped\"", "\"running\"", "null", INST_STOPPING, 500000},
		{"\"running\"", "\"running\"", "\"stopped\"", "null", INST_UNKNOWN, 500000},
		{"\"exited\"", "\"running\"", "\"running\"", "null", INST_BOOTING, 10000},
		{"\"exited\"", "\"running\"", "\"stopped\"", "null", INST_UNKNOWN, 10000},
		{"\"exited\"", "\"stopped\"", "\"stopped\"", "null", INST_STOPPED, 10000},
		{"\"stopped\"", "\"stopped\"", "\"stopped\"", "null", INST_STOPPED, 10000},
		{"\"exited\"", "\"stopped\"", "\"unloaded\"", "null", INST_STOPPING, 10000},
		{"\"frozen\"", "\"frozen\"", "\"running\"", "null", INST_STOPPED, 500000},
		{"\"rebooting\"", "\"running\"", "\"running\"", "null", INST_BOOTING, UNKNOWN},
		{"\"unknown\"", "\"running\"", "\"running\"", "null", INST_UNKNOWN, UNKNOWN},
		{"\"offline\"", "\"running\"", "\"running\"", "null", INST_OFFLINE, 0},
		{"\"offline\"", "\"stopped\"", "\"stopped\"", "null", INST_OFFLINE, 0},
		{"\"hovering\"", "\"running\"", "\"running\"", "null", INST_UNKNOWN, UNKNOWN},
		{"5", "[]", "{}", "7", INST_BOOTING, 10000},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		BUF body = {0};
		RESULT w;

		buf_printf(
			&body,
			"{\"instances\":{\"id\":1,\"actual_status\":%s,\"intended_status\":%s,"
			"\"cur_state\":%s,\"status_msg\":%s,\"dph_total\":0.5,\"dph_base\":0.49}}",
			t[i].actual, t[i].intended, t[i].contract, t[i].text);
		parse(&w, CALL_LOOK, 200, body.data);
		assert_int_equal(w.r.verdict, SURE_YES);
		if (w.instances[0].status != t[i].status)
			print_error("%s: %s\n", body.data,
				    instance_status_names[w.instances[0].status]);
		assert_int_equal(w.instances[0].status, t[i].status);
		assert_int_equal(w.instances[0].rate_u6, t[i].rate_u6);
		assert_int_equal(w.instances[0].price_u6, 500000);
		assert_true(w.instances[0].status_text[0]);
	}
}

static void test_addresses(void **state)
{
	static const struct {
		const char *members, *host;
		int64_t port;
	} t[] = {
		{"\"ssh_host\":\"ssh3.vast.ai\",\"ssh_port\":12296", "ssh3.vast.ai", 12296},
		{"\"ssh_host\":\"ssh3.vast.ai\",\"ssh_port\":\"12296\"", "ssh3.vast.ai", 12296},
		{"\"ssh_host\":\"ssh3.vast.ai\",\"ssh_port\":12296,\"image_runtype\":\"jupyter_"
		 "proxy\"",
		 "ssh3.vast.ai", 12297},
		{"\"ssh_host\":\"ssh3.vast.ai\",\"ssh_port\":65535,\"image_runtype\":\"jupyter\"",
		 "", 0},
		{"\"ssh_host\":\"ssh3.vast.ai\",\"ssh_port\":0", "", 0},
		{"\"ssh_host\":\"ssh3.vast.ai\"", "", 0},
		{"\"ssh_host\":\"-oProxyCommand=x\",\"ssh_port\":22", "", 0},
		{"\"ssh_host\":\"a b\",\"ssh_port\":22", "", 0},
		{"\"ssh_host\":\"a/b\",\"ssh_port\":22", "", 0},
		{"\"ssh_host\":\"...\",\"ssh_port\":22", "", 0},
		{"\"ssh_host\":null,\"ssh_port\":null", "", 0},
		{"\"public_ipaddr\":\" 203.0.113.33 "
		 "\\n\",\"ssh_host\":\"s\",\"ssh_port\":1,\"ports\":{"
		 "\"22/tcp\":[{\"HostIp\":\"::\",\"HostPort\":\"x\"},{\"HostPort\":\"30022\"}]}",
		 "203.0.113.33", 30022},
		{"\"public_ipaddr\":\"2001:db8::1\",\"ports\":{\"22/tcp\":[{\"HostPort\":30022}]}",
		 "2001:db8::1", 30022},
		{"\"public_ipaddr\":null,\"ssh_host\":\"s\",\"ssh_port\":1,\"ports\":{\"22/tcp\":[{"
		 "\"HostPort\":\"30022\"}]}",
		 "s", 1},
		{"\"public_ipaddr\":\"1.2.3.4\",\"ssh_host\":\"s\",\"ssh_port\":1,\"ports\":[8080,"
		 "8081]",
		 "s", 1},
		{"\"public_ipaddr\":\"1.2.3.4\",\"ssh_host\":\"s\",\"ssh_port\":1,\"ports\":{\"22/"
		 "udp\":[{"
		 "\"HostPort\":\"30022\"}],\"22/tcp\":null}",
		 "s", 1},
		{"\"public_ipaddr\":\"1.2.3.4\",\"ssh_host\":\"s\",\"ssh_port\":1,\"ports\":{\"22/"
		 "tcp\":[{"
		 "\"HostPort\":\"70000\"}]}",
		 "s", 1},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		BUF body = {0};
		RESULT w;

		buf_printf(&body, "{\"instances\":{\"id\":1,%s}}", t[i].members);
		parse(&w, CALL_LOOK, 200, body.data);
		assert_int_equal(w.r.verdict, SURE_YES);
		if (strcmp(w.instances[0].ssh_host, t[i].host) != 0)
			print_error("%s\n", t[i].members);
		assert_string_equal(w.instances[0].ssh_host, t[i].host);
		assert_int_equal(w.instances[0].ssh_port, t[i].port);
	}
}

static void test_ports_are_bounded(void **state)
{
	BUF body = {0};
	RESULT w;

	(void)state;
	buf_puts(&body,
		 "{\"instances\":{\"id\":1,\"public_ipaddr\":\"1.2.3.4\",\"ports\":{\"x/tcp\":[],"
		 "\"70001/tcp\":[{\"HostPort\":\"70001\"}],\"-1/tcp\":[{\"HostPort\":\"1\"}]");
	for (int i = 0; i < 200; i++)
		buf_printf(&body, ",\"%d/tcp\":[{\"HostPort\":\"%d\"}]", 1000 + i, 2000 + i);
	buf_puts(&body, "}}}");
	parse(&w, CALL_LOOK, 200, body.data);
	assert_int_equal(w.instances[0].port_count, PORTS_MAX);
	assert_int_equal(w.instances[0].ports[0].port, 1000);
	assert_int_equal(w.instances[0].ports[0].host_port, 2000);
	assert_string_equal(w.instances[0].port_host, "1.2.3.4");
}

/* A label that would only become ours by cleaning it must stay foreign. */
static void test_labels(void **state)
{
	static const struct {
		const char *json, *label;
	} t[] = {
		{"\"gpufs-a-b-1-c\"", "gpufs-a-b-1-c"},
		{"null", ""},
		{"5", ""},
		{"\"gpufs-a-b-1-c \"", "?gpufs-a-b-1-c"},
		{"\" gpufs-a-b-1-c\"", "?gpufs-a-b-1-c"},
		{"\"gpufs-a-b-1-c\\n\"", "?gpufs-a-b-1-c"},
		{"\"\\u001b[2Jx\"", "??[2Jx"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		BUF body = {0};
		RESULT w;

		buf_printf(&body, "{\"instances\":{\"id\":1,\"label\":%s}}", t[i].json);
		parse(&w, CALL_LOOK, 200, body.data);
		assert_string_equal(w.instances[0].label, t[i].label);
	}
}

static void test_lists(void **state)
{
	struct wire_ask ask = {.op = CALL_LIST};
	RESULT w, last, v0, bad;
	static const char page[] =
		"{\"success\":true,\"instances_found\":3,\"total_instances\":42,"
		"\"next_token\":\"eyJ2\",\"instances\":[{\"id\":1},{\"label\":\"x\"},"
		"{\"id\":3,\"status_msg\":\"\xff\\u0000\\ud800\",\"dph_total\":1e400}]}";
	BUF big = {0};

	(void)state;
	parse(&w, CALL_LIST, 200, page);
	assert_int_equal(w.r.verdict, SURE_YES);
	assert_int_equal(w.r.count, 2); /* the one without an id costs itself */
	assert_int_equal(w.r.dropped, 1);
	assert_string_equal(w.next, "eyJ2");
	assert_int_equal(w.total, 42);
	assert_int_equal(w.instances[1].price_u6, UNKNOWN);
	parse(&last, CALL_LIST, 200,
	      "{\"instances_found\":1,\"total_instances\":1,\"next_token\":null,\"instances\":[{"
	      "\"id\":1}]}");
	assert_string_equal(last.next, "");
	assert_false(last.truncated_cursor);
	assert_int_equal(last.total, 1);
	COPY(ask.cursor, "x"); /* a page in the middle: its count is no total */
	wire_parse(vast, &ask, 200, "{\"instances_found\":1,\"instances\":[{\"id\":1}]}", 44, &v0);
	assert_int_equal(v0.r.verdict, SURE_YES);
	assert_int_equal(v0.total, UNKNOWN);
	buf_puts(&big, "{\"total_instances\":9,\"instances\":[],\"next_token\":\"");
	for (int i = 0; i < 600; i++)
		buf_putc(&big, 'x');
	buf_puts(&big, "\"}");
	parse(&bad, CALL_LIST, 200, big.data);
	assert_true(bad.truncated_cursor);
	assert_string_equal(bad.next, "");
}

static void test_another_instance_answers(void **state)
{
	struct wire_ask ask = {.op = CALL_LOOK, .instance_id = "7"};
	static const char body[] = "{\"instances\":{\"id\":8,\"actual_status\":\"running\"}}";
	static const char nameless[] = "{\"instances\":{\"actual_status\":\"running\"}}";
	static const char array[] = "{\"instances\":[{\"id\":7,\"actual_status\":\"running\"}]}";
	RESULT a, b, c;

	(void)state;
	wire_parse(vast, &ask, 200, body, sizeof body - 1, &a);
	assert_int_equal(a.r.verdict, LATER);
	wire_parse(vast, &ask, 200, nameless, sizeof nameless - 1, &b);
	assert_int_equal(b.r.verdict, SURE_YES);
	assert_string_equal(b.instances[0].id, "7");
	wire_parse(vast, &ask, 200, array, sizeof array - 1, &c);
	assert_int_equal(c.r.verdict, SURE_YES);
}

static void test_templates(void **state)
{
	RESULT w;

	(void)state;
	parse(&w, CALL_TEMPLATES, 200,
	      "{\"templates\":[{\"hash_id\":\"4e17788f74f075dd9aab7d0d4427968f\",\"name\":"
	      "\"A\\nB\",\"image\":"
	      "\"vastai/"
	      "vllm\",\"tag\":\"1\",\"recommended\":true,\"id\":7,\"use_ssh\":true,\"created_at\":"
	      "1750000000.5,\"recommended_disk_space\":64.0,\"extra_filters\":\"{\\\"cuda_max_"
	      "good\\\""
	      ":{\\\"gte\\\":12.9},\\\"gpu_total_ram\\\":{\\\"gt\\\":20000}}\"},{\"hash_id\":\"x\"}"
	      ",{"
	      "\"extra_filters\":{\"gpu_ram\":{\"gte\":\"22000\"}},\"hash_id\":"
	      "\"a8a44c7363cbca20056020397e3bf072\",\"image\":\"i\",\"tag\":\"\"}]}");
	assert_int_equal(w.r.count, 2);
	assert_int_equal(w.r.dropped, 1);
	assert_string_equal(w.templates[0].name, "A B");
	assert_string_equal(w.templates[0].image, "vastai/vllm:1");
	assert_true(w.templates[0].recommended);
	assert_string_equal(w.templates[1].image, "i");
	/* What only the API shows, and what a machine must have. */
	assert_int_equal(w.templates[0].number, 7);
	assert_string_equal(w.templates[0].tag, "1");
	assert_true(w.templates[0].use_ssh && !w.templates[1].use_ssh);
	assert_int_equal(w.templates[0].created_us, 1750000000500000);
	assert_int_equal(w.templates[0].disk_gb, 64);
	assert_int_equal(w.templates[0].min_cuda_m, 12900);
	assert_int_equal(w.templates[0].min_vram_mb, 20000);
	assert_string_equal(w.templates[0].extra_filters,
			    "{\"cuda_max_good\":{\"gte\":12.9},\"gpu_total_ram\":{\"gt\":20000}}");
	assert_int_equal(w.templates[1].min_vram_mb, 22000);
	assert_int_equal(w.templates[1].min_cuda_m, UNKNOWN);
	assert_int_equal(w.templates[1].number, UNKNOWN);
}

/* ---- secrets and junk ---- */

#define SECRET "5ec2e75ec2e75ec2e75ec2e75ec2e75ec2e75ec2e75ec2e75ec2e75ec2e75ec2e"

static bool holds(const void *p, size_t n)
{
	return n && memmem(p, n, SECRET, 32);
}

static void test_secrets_stay_in_the_parser(void **state)
{
	static const char *const bodies[] = {
		"{\"success\":true,\"new_contract\":5,\"instance_api_key\":\"" SECRET "\"}",
		"{\"success\":false,\"error\":\"x\",\"msg\":\"the key " SECRET " is bad\"}",
		"{\"error\":\"auth_error\",\"msg\":\"Invalid user key " SECRET "\"}",
		"{\"id\":1,\"credit\":1,\"api_key\":\"" SECRET "\",\"sid\":\"" SECRET "\"}",
		"{\"instances\":{\"id\":1,\"jupyter_token\":\"" SECRET
		"\",\"extra_env\":[[\"A\",\"" SECRET "\"]],\"onstart\":\"" SECRET
		"\",\"instance_api_key\":\"" SECRET "\"}}",
		"{\"total_instances\":1,\"instances\":[{\"id\":1,\"jupyter_token\":\"" SECRET
		"\"}]}",
	};
	static const int statuses[] = {200, 400, 401, 403, 404, 429, 500};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bodies); i++)
		for (size_t s = 0; s < ARRAY_LEN(statuses); s++)
			for (int op = 0; op < CALL_OP_COUNT; op++) {
				RESULT w;

				parse(&w, (enum call_op)op, statuses[s], bodies[i]);
				assert_false(holds(&w, sizeof w));
				if (w.instances)
					assert_false(holds(w.instances,
							   w.r.count * sizeof *w.instances));
			}
}

/* Every value of a real row replaced by every other kind: no harm, and never "gone". */
static void test_wrong_types_everywhere(void **state)
{
	static const char *const keys[] = {
		"id",
		"label",
		"actual_status",
		"intended_status",
		"cur_state",
		"status_msg",
		"ssh_host",
		"ssh_port",
		"public_ipaddr",
		"ports",
		"image_runtype",
		"dph_total",
		"dph_base",
		"storage_cost",
		"storage_total_cost",
		"disk_space",
		"is_bid",
		"gpu_name",
		"num_gpus",
		"gpu_ram",
		"ask_contract_id",
		"geolocation",
		"duration",
		"verification",
		"rentable",
		"new_contract",
		"success",
		"error",
		"msg",
		"credit",
		"instances",
		"offers",
		"next_token",
		"total_instances",
		"templates",
		"hash_id",
		"retry_after",
	};
	static const int statuses[] = {200, 400, 404, 410, 500};

	(void)state;
	for (size_t k = 0; k < ARRAY_LEN(keys); k++)
		for (size_t v = 0; v < WIRE_JUNK_COUNT; v++)
			for (size_t s = 0; s < ARRAY_LEN(statuses); s++)
				for (int op = 0; op < CALL_OP_COUNT; op++) {
					BUF body = {0};
					RESULT flat, list, one;

					buf_printf(&body, "{\"%s\":%s}", keys[k], wire_junk[v]);
					parse(&flat, (enum call_op)op, statuses[s], body.data);
					assert_true(flat.r.error != PE_GONE ||
						    (strcmp(keys[k], "instances") == 0 &&
						     strcmp(wire_junk[v], "null") == 0));
					buf_reset(&body);
					buf_printf(&body,
						   "{\"total_instances\":1,\"instances\":[{\"id\":"
						   "1,\"x\":2,"
						   "\"%s\":%s}],\"offers\":[{" ROW ",\"%s\":%s}]}",
						   keys[k], wire_junk[v], keys[k], wire_junk[v]);
					parse(&list, (enum call_op)op, statuses[s], body.data);
					assert_true(list.r.error != PE_GONE);
					buf_reset(&body);
					buf_printf(&body, "{\"instances\":{\"id\":1,\"%s\":%s}}",
						   keys[k], wire_junk[v]);
					parse(&one, (enum call_op)op, statuses[s], body.data);
					assert_true(one.r.error != PE_GONE);
				}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_search_requests),
		cmocka_unit_test(test_gpu_names_travel_both_ways),
		cmocka_unit_test(test_create_requests),
		cmocka_unit_test(test_what_cannot_be_asked),
		cmocka_unit_test(test_other_requests),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_verdicts),
		cmocka_unit_test(test_retry_after),
		cmocka_unit_test(test_balance),
		cmocka_unit_test(test_rows_that_are_dropped),
		cmocka_unit_test(test_an_offer),
		cmocka_unit_test(test_states),
		cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_ports_are_bounded),
		cmocka_unit_test(test_labels),
		cmocka_unit_test(test_lists),
		cmocka_unit_test(test_another_instance_answers),
		cmocka_unit_test(test_templates),
		cmocka_unit_test(test_secrets_stay_in_the_parser),
		cmocka_unit_test(test_wrong_types_everywhere),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
