/*
 * The provider "toy": a cloud that does not exist, which docs/providers.md explains line by line. Its API:
 *	GET    /v1/offers		all there is; prices in cents
 *	POST   /v1/machines		a new one, answered 202 while it is being made
 *	GET    /v1/machines?after=T	those that live, page by page
 *	GET    /v1/machines/ID		one, for a while also after its end
 *	DELETE /v1/machines/ID		202: it will end
 *	GET    /v1/account
 * Failures are {"error":{"code":…,"message":…}}. Pure; any thread. Tests: tests/unit/test_contract.c,
 * tests/wire, tests/fuzz.
 */
#include "toy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../src/core/check.h"
#include "../../src/core/text.h"
#include "../../src/core/url.h"
#include "../../src/core/wire.h"
#include "../../src/core/wire_json.h"

#define CENTS	     1e4		   /* micro-dollars of one */
#define PRICE_MAX_U6 (INT64_C(1000000000)) /* 1000 USD an hour is a mistake of somebody */
#define TIME_MAX_US  (INT64_C(4102444800) * SECOND_US) /* the year 2100 */
#define GPUS_MAX     64
#define MEMORY_MAX   (INT64_C(1) << 30) /* MB */

/* "60 requests in 10 seconds": 20 at once and 4 a second are never more. */
enum toy_endpoint { EP_OFFERS, EP_CREATE, EP_LIST, EP_LOOK, EP_DESTROY, EP_ACCOUNT };
static const struct endpoint endpoints[] = {
	[EP_OFFERS] = {.name = "offers", .spacing_us = 10 * SECOND_US, .burst = 2},
	[EP_CREATE] = {.name = "create", .spacing_us = SECOND_US, .burst = 2},
	[EP_LIST] = {.name = "list", .spacing_us = SECOND_US / 4, .burst = 4},
	[EP_LOOK] = {.name = "look", .spacing_us = SECOND_US / 4, .burst = 10},
	[EP_DESTROY] = {.name = "destroy", .spacing_us = SECOND_US / 4, .burst = 10},
	[EP_ACCOUNT] = {.name = "account", .spacing_us = 10 * SECOND_US, .burst = 1},
};

/* ---- requests ---- */

static void put_text(struct buf *b, const char *s)
{
	buf_json(b, s, strlen(s));
}

/* Each line is a key. */
static void put_keys(struct buf *b, const char *lines)
{
	const char *comma = "";

	for (const char *p = lines; *p; p += *p == '\n') {
		size_t n = strcspn(p, "\n");

		if (n) {
			buf_puts(b, comma);
			buf_json(b, p, n);
			comma = ",";
		}
		p += n;
	}
}

static int build_create(const struct create_args *c, struct wire_request *out, struct error *why)
{
	struct buf *b = &out->body;

	if (!c->image[0])
		return fail(why, ERR_INVALID,
			    "toy: no image: set image= in the spec, or TOY_IMAGE");
	if (!c->authorized_keys || !c->authorized_keys[0])
		return fail(why, ERR_INVALID, "toy: a machine needs a public key");
	buf_puts(&out->path, "/v1/machines");
	buf_puts(b, "{\"sku\":");
	put_text(b, c->offer->provider_id);
	buf_puts(b, ",\"tags\":{\"name\":");
	put_text(b, c->label);
	buf_puts(b, "},\"image\":");
	put_text(b, c->image);
	buf_puts(b, ",\"ssh_keys\":[");
	put_keys(b, c->authorized_keys);
	buf_puts(b, "],\"env\":{");
	for (size_t i = 0; i < c->env_count; i++) {
		buf_puts(b, i ? "," : "");
		put_text(b, c->env[i].name);
		buf_putc(b, ':');
		put_text(b, c->env[i].value);
	}
	buf_puts(b, "},\"user_data\":");
	put_text(b, c->on_start ? c->on_start : "");
	buf_putc(b, '}');
	return 0;
}

static int build_machine(const char *id, struct wire_request *out, struct error *why)
{
	if (!wire_id_ok(id))
		return fail(why, ERR_INVALID, "toy: this is no id of a machine");
	buf_printf(&out->path, "/v1/machines/%s", id);
	return 0;
}

static int toy_build(const struct provider *p, const struct call *call, const char *cursor,
		     struct wire_request *out, struct error *why)
{
	static const struct {
		enum http_method method;
		enum toy_endpoint endpoint;
		const char *path; /* NULL: it is built */
	} requests[CALL_OP_COUNT] = {
		[CALL_OFFERS] = {HTTP_GET, EP_OFFERS, "/v1/offers"},
		[CALL_CREATE] = {HTTP_POST, EP_CREATE, NULL},
		[CALL_LIST] = {HTTP_GET, EP_LIST, "/v1/machines"},
		[CALL_LOOK] = {HTTP_GET, EP_LOOK, NULL},
		[CALL_DESTROY] = {HTTP_DELETE, EP_DESTROY, NULL},
		[CALL_ACCOUNT] = {HTTP_GET, EP_ACCOUNT, "/v1/account"},
	};

	(void)p;
	if (call->op == CALL_ATTACH || call->op == CALL_TEMPLATES)
		return fail(why, ERR_INVALID, "toy: there is no such call");
	out->method = requests[call->op].method;
	out->endpoint = requests[call->op].endpoint;
	if (call->op == CALL_CREATE)
		return build_create(call->create, out, why);
	if (call->op == CALL_LOOK || call->op == CALL_DESTROY)
		return build_machine(call->instance_id, out, why);
	buf_puts(&out->path, requests[call->op].path);
	if (cursor[0]) {
		buf_puts(&out->path, "?after=");
		url_put_encoded(&out->path, cursor);
	}
	return 0;
}

/* ---- replies: what all have in common ---- */

struct toy_reply {
	const struct wire_ask *ask;
	const struct wire_reply *http;
	struct wire_json json;
	struct wire_result *out;
};

static void unreadable(struct toy_reply *r, const char *why)
{
	wire_unclear(r->ask, r->out, "toy answered with HTTP %d, but %s", r->http->status, why);
}

/* Status and code must both be as documented; one alone may come from a proxy. */
static const struct refusal {
	int status;
	const char *code;
	enum verdict verdict;
	enum provider_error error;
} refusals[] = {
	{401, "bad_key", KEY_DEAD, PE_AUTH},	   {403, "not_allowed", KEY_DEAD, PE_AUTH},
	{402, "no_credit", SURE_NO, PE_MONEY},	   {404, "no_such_machine", SURE_NO, PE_GONE},
	{409, "already_ended", SURE_NO, PE_GONE},  {409, "sold_out", SURE_NO, PE_STALE_OFFER},
	{422, "bad_request", SURE_NO, PE_INVALID},
};

static const struct refusal *find_refusal(int status, const char *code)
{
	for (size_t i = 0; code && i < ARRAY_LEN(refusals); i++)
		if (refusals[i].status == status && strcmp(refusals[i].code, code) == 0)
			return &refusals[i];
	return NULL;
}

static void say_gone(struct toy_reply *r, const char *how)
{
	wire_say(r->out, r->ask->op == CALL_DESTROY ? SURE_YES : SURE_NO, PE_GONE,
		 "toy has no such machine (HTTP %d, %s)", r->http->status, how);
	snprintf(r->out->r.evidence, sizeof r->out->r.evidence, "toy: HTTP %d, %s", r->http->status,
		 how);
}

static void read_failure(struct toy_reply *r)
{
	const json_t *error = json_object_get(r->json.root, "error");
	const struct refusal *known = find_refusal(r->http->status, wire_word(error, "code"));
	bool about_one = r->ask->op == CALL_LOOK || r->ask->op == CALL_DESTROY;
	char words[160];

	wire_text(error, "message", words, sizeof words);
	wire_hide_secrets(words);
	if (r->http->status == 429) {
		wire_say(r->out, LATER, PE_RATE, "toy throttles: %s", words);
		wire_scaled(error, "retry_ms", 1e3, 0, HOUR_US, &r->out->r.retry_after_us);
	} else if (!known || (known->error == PE_GONE && !about_one)) {
		wire_unclear(r->ask, r->out, "toy answered HTTP %d%s%s", r->http->status,
			     words[0] ? ": " : "", words);
	} else if (known->error == PE_GONE) {
		say_gone(r, known->code);
	} else {
		wire_say(r->out, known->verdict, known->error, "toy refused (HTTP %d): %s",
			 r->http->status, words[0] ? words : known->code);
	}
}

/* ---- offers ---- */

/* Its words for models; what is not in here is shown as it came. */
static void read_gpu(const json_t *row, char *out, size_t size)
{
	static const struct {
		const char *theirs, *ours;
	} models[] = {
		{"a100-sxm-80", "A100 SXM4"}, {"h100-sxm", "H100 SXM"}, {"rtx-4090", "RTX 4090"}};
	const char *word = wire_word(row, "gpu");

	wire_text(row, "gpu", out, size);
	for (size_t i = 0; word && i < ARRAY_LEN(models); i++)
		if (strcmp(word, models[i].theirs) == 0)
			copy_text(out, size, models[i].ours);
}

/* False: it cannot be read. */
static bool read_offer(const json_t *row, struct offer *o)
{
	const char *sku = wire_word(row, "sku");
	int64_t left, mb;

	*o = (struct offer){.provider = "toy",
			    .vram_gb = UNKNOWN,
			    .min_bid_u6 = UNKNOWN,
			    .reliability_m = UNKNOWN,
			    .confidence_m = 1000,
			    .max_duration_hours = UNKNOWN,
			    .cuda_m = UNKNOWN,
			    .disk.max = UNKNOWN,
			    .vcpus.max = UNKNOWN,
			    .ram.max = UNKNOWN,
			    .ports_max = UNKNOWN};
	if (!sku || !wire_id_ok(sku) || strlen(sku) >= sizeof o->provider_id ||
	    !wire_scaled(row, "cents_per_hour", CENTS, 1, PRICE_MAX_U6, &o->price_u6) ||
	    !wire_int(row, "gpus", 1, GPUS_MAX, &o->gpu_count) ||
	    !wire_int(row, "left", 0, INT64_MAX, &left))
		return false;
	snprintf(o->id, sizeof o->id, "toy-%s", sku);
	COPY(o->provider_id, sku);
	read_gpu(row, o->gpu_type, sizeof o->gpu_type);
	wire_text(row, "region", o->location, sizeof o->location);
	if (wire_int(row, "gpu_memory_mb", 1, MEMORY_MAX, &mb))
		o->vram_gb = vram_nominal_gb(mb);
	o->available = left > 0;
	return o->gpu_type[0] != '\0';
}

static void read_offers(struct toy_reply *r)
{
	if (r->json.kind != WIRE_ROWS_ARRAY) {
		unreadable(r, "no offers in it");
		return;
	}
	wire_done(r->out);
	r->out->r.rows = r->json.row_count;
	for (size_t i = 0; i < r->json.row_count; i++) {
		json_t *row = wire_json_row(&r->json, i);
		struct offer o, *at;

		if (!read_offer(row, &o))
			r->out->r.dropped++;
		else if (o.available && (at = wire_add_offer(r->out)))
			*at = o;
		json_decref(row);
	}
	r->out->r.complete = true;
}

/* ---- machines ---- */

static enum instance_status read_state(const json_t *row)
{
	static const struct {
		const char *word;
		enum instance_status status;
	} states[] = {
		{"queued", INST_BOOTING},      {"starting", INST_BOOTING}, {"up", INST_RUNNING},
		{"ending", INST_STOPPING},     {"paused", INST_STOPPED},   {"failed", INST_BROKEN},
		{"unreachable", INST_OFFLINE}, {"ended", INST_GONE},
	};
	const char *word = wire_word(row, "state");

	for (size_t i = 0; word && i < ARRAY_LEN(states); i++)
		if (strcmp(word, states[i].word) == 0)
			return states[i].status;
	return INST_UNKNOWN; /* a new word of theirs: keep asking */
}

/* False: it has no id. */
static bool read_machine(const json_t *row, struct instance *in)
{
	const char *id = wire_word(row, "id");

	*in = (struct instance){.price_u6 = UNKNOWN, .rate_u6 = UNKNOWN};
	if (!id || !wire_id_ok(id))
		return false;
	COPY(in->id, id);
	wire_label(json_object_get(row, "tags"), "name", in->label, sizeof in->label);
	in->status = read_state(row);
	wire_text(row, "note", in->status_text, sizeof in->status_text);
	wire_host(row, "ip", in->ssh_host, sizeof in->ssh_host);
	if (in->ssh_host[0]) {
		in->ssh_port = 22;
		COPY(in->ssh_user, "ubuntu");
	}
	wire_text(row, "host_key", in->host_key, sizeof in->host_key);
	wire_scaled(row, "created_ms", 1e3, 0, TIME_MAX_US, &in->created_us);
	wire_scaled(row, "cents_per_hour", CENTS, 1, PRICE_MAX_U6, &in->price_u6);
	in->rate_u6 = in->status == INST_STOPPED ? 0 : in->price_u6; /* paused costs nothing */
	return true;
}

static void read_list(struct toy_reply *r)
{
	const json_t *after = json_object_get(r->json.root, "after");
	const char *next = json_is_string(after) ? json_string_value(after) : "";

	if (r->json.kind != WIRE_ROWS_ARRAY || (!json_is_null(after) && !next[0])) {
		unreadable(r, "it is no page of a list");
		return;
	}
	wire_done(r->out);
	r->out->r.rows = r->json.row_count;
	for (size_t i = 0; i < r->json.row_count; i++) {
		json_t *row = wire_json_row(&r->json, i);
		struct instance in, *at;

		if (!read_machine(row, &in))
			r->out->r.dropped++;
		else if ((at = wire_add_instance(r->out)))
			*at = in;
		json_decref(row);
	}
	wire_int(r->json.root, "count", 0, INT64_MAX, &r->out->total);
	r->out->truncated_cursor = strlen(next) >= sizeof r->out->next;
	COPY(r->out->next, next);
	r->out->r.complete = !next[0] && !r->out->r.dropped;
}

static void read_look(struct toy_reply *r)
{
	struct instance in, *at;

	if (!read_machine(json_object_get(r->json.root, "machine"), &in) ||
	    (r->ask->instance_id[0] && strcmp(r->ask->instance_id, in.id) != 0)) {
		unreadable(r, "it is not about this machine");
	} else if (in.status == INST_GONE) {
		say_gone(r, "ended");
	} else if ((at = wire_add_instance(r->out))) {
		wire_done(r->out);
		*at = in;
	}
}

/* ---- the rest ---- */

/* Whatever else is said: a machine that is named exists and costs money. Beside a failure the engine makes
 * UNSURE of it. */
static void add_created(struct toy_reply *r)
{
	struct instance in, *at;

	if (read_machine(json_object_get(r->json.root, "machine"), &in) &&
	    (at = wire_add_instance(r->out)))
		*at = in;
}

static void read_create(struct toy_reply *r)
{
	if (r->out->r.count)
		wire_done(r->out);
	else
		unreadable(r, "without the machine's id");
}

static void read_destroy(struct toy_reply *r)
{
	if (r->http->status == 202 && read_state(r->json.root) == INST_STOPPING)
		wire_done(r->out);
	else
		unreadable(r, "it does not say that it will end");
}

static void read_account(struct toy_reply *r)
{
	if (!wire_balance(r->json.root, "credit_cents", CENTS, &r->out->r.balance_u6)) {
		unreadable(r, "no account in it");
		return;
	}
	wire_done(r->out);
	wire_text(r->json.root, "account", r->out->r.account, sizeof r->out->r.account);
}

static void toy_parse(const struct wire_ask *ask, const struct wire_reply *reply,
		      struct wire_result *out)
{
	static const struct {
		const char *rows; /* the member that holds them; NULL: none */
		void (*read)(struct toy_reply *r);
	} readings[CALL_OP_COUNT] = {
		[CALL_OFFERS] = {"offers", read_offers}, [CALL_CREATE] = {NULL, read_create},
		[CALL_LIST] = {"machines", read_list},	 [CALL_LOOK] = {NULL, read_look},
		[CALL_DESTROY] = {NULL, read_destroy},	 [CALL_ACCOUNT] = {NULL, read_account},
	};
	struct toy_reply r = {.ask = ask, .http = reply, .out = out};

	wire_json_read(&r.json, reply->body, reply->len, readings[ask->op].rows);
	if (ask->op == CALL_CREATE)
		add_created(&r);
	if (reply->status >= 400)
		read_failure(&r);
	else if (reply->status / 100 != 2 || !json_is_object(r.json.root) ||
		 !readings[ask->op].read)
		unreadable(&r, "not in a form that is known");
	else
		readings[ask->op].read(&r);
	wire_json_free(&r.json);
}

/* ---- the provider ---- */

static const struct dialect toy = {
	.auth_prefix = "X-Api-Key: ",
	.endpoints = endpoints,
	.endpoint_count = ARRAY_LEN(endpoints),
	.account_spacing_us = SECOND_US / 4,
	.account_burst = 20,
	.page_rows = WIRE_ROWS_MAX,
	.pages_per_refresh = 1,
	.whole_market = true,
	/* Its machines are made in one size, with all ports open. */
	.lacks = WANT_DISK | WANT_VCPUS | WANT_RAM | WANT_PORTS | WANT_TEMPLATE,
	.lists_show_boot = true,
	.build = toy_build,
	.parse = toy_parse,
};

struct provider *provider_toy_new(const struct account *account)
{
	struct provider *p = calloc(1, sizeof *p);

	if (!p)
		return NULL;
	p->name = "toy";
	p->doc = "Toy: machines that do not exist";
	p->lag_us = 2 * MINUTE_US; /* its lists do not lag; a create is given up after one minute */
	p->boot_poll_us = 5 * SECOND_US;
	p->dialect = &toy;
	p->account = *account;
	return p;
}

void provider_toy_free(struct provider *p)
{
	free(p);
}
