/*
 * What a reply of Vast.ai means: one of the five verdicts (faults.md, Buying 3; wire page 3 and 5.3). The
 * status comes first, then the member `error`, then the words: a 404 may be a refused key, a 400 an offer
 * that is gone, a 200 a failure, and a failure may have made something. An id is looked for in every
 * answer to a create. Pure; any thread. Tests: tests/unit/test_vastai.c, tests/wire.
 */
#include <stdio.h>
#include <string.h>

#include "../src/core/check.h"
#include "../src/core/text.h"
#include "vastai_parts.h"

#define SAYS_MAX	     ((size_t)8192)
#define RETRY_AFTER_MAX_S    3600.0 /* a longer word is none */
#define TEMPLATE_MINIMUM_MAX INT64_C(10000000)
#define TEMPLATE_TIME_MAX_US (INT64_C(4102444800) * 1000000) /* the year 2100 */

/* Refusals, by what stands in the body. The first that fits counts. */
static const struct {
	const char *words;
	enum provider_error error;
} refusals[] = {
	{"no_such_ask", PE_STALE_OFFER},   {"rate_limit_exceeded", PE_RATE},
	{"HTTPTooManyRequests", PE_RATE},  {"requests too frequent", PE_RATE},
	{"insufficient_credit", PE_MONEY}, {"missing_billing", PE_MONEY},
	{"spend_rate_limit", PE_MONEY},	   {"nsufficient credit", PE_MONEY},
	{"lacks credit", PE_MONEY},	   {"no_such_instance", PE_GONE},
	{"invalid_args", PE_INVALID},	   {"invalid_request", PE_INVALID},
	{"invalid_price", PE_INVALID},	   {"invalid_token", PE_INVALID},
	{"label_too_long", PE_INVALID},	   {"no_ssh_key", PE_INVALID}, /* and no_ssh_key_for_vm */
};

bool vast_says(const struct vast_reply *r, const char *what)
{
	size_t n = r->http->len < SAYS_MAX ? r->http->len : SAYS_MAX;

	return n && memmem(r->http->body, n, what, strlen(what));
}

void vast_unreadable(struct vast_reply *r, const char *why)
{
	wire_unclear(r->ask, r->out, "Vast.ai answered with HTTP %d, but %s", r->http->status, why);
}

void vast_gone(struct vast_reply *r, const char *how)
{
	bool destroy = r->ask->op == CALL_DESTROY;

	wire_say(r->out, destroy ? SURE_YES : SURE_NO, PE_GONE,
		 "Vast.ai has no such instance (HTTP %d, %s)", r->http->status, how);
	snprintf(r->out->r.evidence, sizeof r->out->r.evidence, "Vast.ai: HTTP %d, %s",
		 r->http->status, how);
}

static void read_words(struct vast_reply *r)
{
	static const char *const keys[] = {"msg", "message", "detail", "error"};
	const char *code = wire_word(r->json.root, "error");

	r->code = code ? code : "";
	for (size_t i = 0; i < ARRAY_LEN(keys) && !r->words[0]; i++)
		wire_text(r->json.root, keys[i], r->words, sizeof r->words);
	wire_hide_secrets(r->words);
}

/* A reply in the form of an error: an object with words in it. */
static bool is_error_object(const struct vast_reply *r)
{
	return json_is_object(r->json.root) && r->words[0];
}

/* Vast.ai's word for what it refused, and what that is. */
static enum provider_error refused_as(const struct vast_reply *r)
{
	for (size_t i = 0; i < ARRAY_LEN(refusals); i++)
		if (vast_says(r, refusals[i].words))
			return refusals[i].error;
	return PE_UNKNOWN;
}

static void say_rate(struct vast_reply *r, const char *why)
{
	double seconds;

	wire_say(r->out, LATER, PE_RATE, "Vast.ai throttles: %s", why);
	if (wire_number(r->json.root, "retry_after", &seconds) && seconds >= 0 &&
	    seconds <= RETRY_AFTER_MAX_S)
		r->out->r.retry_after_us = (int64_t)(seconds * (double)SECOND_US);
}

static void say_dead(struct vast_reply *r)
{
	wire_say(r->out, KEY_DEAD, PE_AUTH, "Vast.ai refuses the key (HTTP %d%s%s)",
		 r->http->status, r->words[0] ? ": " : "", r->words);
}

/* True if the key was refused, the burst guard spoke, or the endpoint is busy, down or withdrawn: what
 * every call has in common. */
static bool read_common(struct vast_reply *r)
{
	int status = r->http->status;
	bool object = is_error_object(r);

	if (status == 429) {
		say_rate(r, r->words[0] ? r->words : "too many requests");
		return true;
	}
	/* Before any "not found": after a DELETE it would be taken for gone. */
	if (status == 401 || strcmp(r->code, "auth_error") == 0) {
		say_dead(r);
		return true;
	}
	if (status == 403 && !object) { /* the edge proxy under bursts (wire page 3, rule 4) */
		say_rate(r, "its proxy answered HTTP 403 to a burst");
		return true;
	}
	if (status == 403 && refused_as(r) == PE_UNKNOWN) { /* a scope is missing; texts vary */
		say_dead(r);
		return true;
	}
	if (status >= 500) {
		wire_unclear(r->ask, r->out, "Vast.ai answered HTTP %d%s%s", status,
			     r->words[0] ? ": " : "", r->words);
		return true;
	}
	if (status == 410 && (r->ask->op != CALL_CREATE || strstr(r->code, "deprecated"))) {
		wire_say(r->out, LATER, PE_UNAVAILABLE,
			 "Vast.ai has withdrawn this endpoint (HTTP 410%s%s); a newer gpufs is "
			 "needed",
			 r->words[0] ? ": " : "", r->words);
		return true;
	}
	return false;
}

/* "Instance 12345 not found." in the provider's own form; a 404 alone is no proof, as a wrong path or a
 * proxy says that too. */
static bool is_gone(const struct vast_reply *r)
{
	enum call_op op = r->ask->op;

	if (op != CALL_LOOK && op != CALL_DESTROY && op != CALL_ATTACH)
		return false;
	if (r->http->status != 404 && r->http->status / 100 != 2)
		return false;
	if (strcmp(r->code, "no_such_instance") == 0)
		return true;
	return strcmp(r->code, "not_found") == 0 &&
	       (op == CALL_DESTROY || strstr(r->words, "nstance"));
}

static void say_refused(struct vast_reply *r, enum provider_error error)
{
	wire_say(r->out, SURE_NO, error, "Vast.ai refused (HTTP %d): %s", r->http->status,
		 r->words);
}

/* A 4xx, or a 2xx that says that it failed. */
static void read_refusal(struct vast_reply *r)
{
	enum provider_error error = refused_as(r);
	int status = r->http->status;
	bool create = r->ask->op == CALL_CREATE;

	/* Raw text counts too (wire page 3, rule 1), where its words are certain. */
	if (error == PE_RATE) {
		say_rate(r, r->words[0] ? r->words : "too many requests");
	} else if (create && error == PE_STALE_OFFER) {
		wire_say(r->out, SURE_NO, error, "the offer is gone: %s",
			 r->words[0] ? r->words : "no_such_ask");
	} else if (create && status == 410 && is_error_object(r)) {
		wire_say(r->out, SURE_NO, PE_STALE_OFFER, "the offer is gone: %s", r->words);
	} else if (!is_error_object(r) || status == 408) {
		vast_unreadable(r, "not in a form that is known");
	} else if (is_gone(r)) {
		vast_gone(r, r->code);
	} else if (strcmp(r->code, "server_error") == 0) {
		vast_unreadable(r, "it is an internal error of theirs"); /* undocumented effect */
	} else if (error == PE_MONEY || error == PE_INVALID) {
		say_refused(r, error);
	} else if (status >= 400 && wire_is_write(r->ask->op)) {
		say_refused(r, status == 402 ? PE_MONEY
			       : status == 400 || status == 411 || status == 413 || status == 422
				       ? PE_INVALID
				       : PE_UNKNOWN);
	} else if (status == 400 || status == 422) {
		say_refused(r, PE_INVALID);
	} else {
		vast_unreadable(r, r->words);
	}
}

/* ---- each call ---- */

static void add_created(struct vast_reply *r, const char *id, enum instance_status status)
{
	struct instance *in = wire_add_instance(r->out);

	if (!in) /* unsure without an id is resolved by the label */
		return;
	vast_instance_init(in);
	in->status = status;
	COPY(in->id, id);
}

static void read_create(struct vast_reply *r)
{
	const json_t *said = json_object_get(r->json.root, "success");
	int success = said && !json_is_null(said) ? wire_flag(r->json.root, "success") : 1;
	bool ok = r->http->status / 100 == 2;
	char id[24];

	if (wire_id(r->json.root, "new_contract", id, sizeof id)) {
		if (ok && success == 1) {
			wire_done(r->out);
			add_created(r, id, INST_BOOTING);
			return;
		}
		/* Something exists and costs money, whatever else is said (wire page 5.2). */
		wire_say(r->out, UNSURE, refused_as(r),
			 "Vast.ai answered HTTP %d and a failure, with the instance %s: %s",
			 r->http->status, id, r->words);
		add_created(r, id, INST_UNKNOWN);
		return;
	}
	if (read_common(r))
		return;
	if (r->http->status / 100 == 4 || (ok && success == 0))
		read_refusal(r);
	else
		vast_unreadable(r, r->json.root ? "without the instance's number"
						: "not in a form that can be read");
}

static void read_account(struct vast_reply *r)
{
	const json_t *o = r->json.root;
	int64_t *left = &r->out->r.balance_u6;
	/* `credit` is what can be spent; `balance` where it is missing. */
	bool known = wire_balance(o, "credit", 1e6, left) || wire_balance(o, "balance", 1e6, left);

	if (!known && !json_object_get(o, "id")) {
		vast_unreadable(r, "no account in it");
		return;
	}
	wire_done(r->out);
	wire_id(o, "id", r->out->r.account, sizeof r->out->r.account);
}

bool vast_is_hash(const char *s)
{
	return strlen(s) == 32 && strspn(s, "0123456789abcdef") == 32;
}

/* {"gte": 12.6}; "gt" asks for a little more, which a card's memory has. */
static void read_minimum(const json_t *filters, const char *key, double scale, int64_t *out)
{
	const json_t *o = json_object_get(filters, key);

	if (!wire_scaled(o, "gte", scale, 1, TEMPLATE_MINIMUM_MAX, out))
		wire_scaled(o, "gt", scale, 1, TEMPLATE_MINIMUM_MAX, out);
}

/* What it asks of a machine: an object, or the same as text (wire page 10). */
static void read_demands(const json_t *row, struct template_info *t)
{
	const json_t *o = json_object_get(row, "extra_filters");
	json_t *filters = json_is_string(o) ? json_loads(json_string_value(o), 0, NULL)
					    : json_incref((json_t *)(uintptr_t)o);
	char *text = json_is_object(filters) ? json_dumps(filters, JSON_COMPACT) : NULL;

	if (text && strlen(text) < sizeof t->extra_filters)
		COPY(t->extra_filters, text);
	if (text) {
		read_minimum(filters, "cuda_max_good", 1000, &t->min_cuda_m);
		read_minimum(filters, "gpu_total_ram", 1, &t->min_vram_mb);
		read_minimum(filters, "gpu_ram", 1, &t->min_vram_mb);
	}
	free(text);
	json_decref(filters);
}

/* What only the API shows of it. */
static void read_template(const json_t *row, struct template_info *t)
{
	t->number = t->disk_gb = t->creator = t->count_created = UNKNOWN;
	t->min_cuda_m = t->min_vram_mb = UNKNOWN;
	wire_int(row, "id", 1, INT64_MAX, &t->number);
	wire_text(row, "tag", t->tag, sizeof t->tag);
	wire_text(row, "runtype", t->runtype, sizeof t->runtype);
	t->use_ssh = wire_flag(row, "use_ssh") == 1;
	t->ssh_direct = wire_flag(row, "ssh_direct") == 1;
	wire_int(row, "recommended_disk_space", 1, TEMPLATE_MINIMUM_MAX, &t->disk_gb);
	wire_int(row, "creator_id", 1, INT64_MAX, &t->creator);
	wire_int(row, "count_created", 0, INT64_MAX, &t->count_created);
	wire_scaled(row, "created_at", 1e6, 0, TEMPLATE_TIME_MAX_US, &t->created_us);
	read_demands(row, t);
}

static void add_template(struct vast_reply *r, const json_t *row)
{
	char hash[64], tag[64];
	struct template_info *t;
	size_t n;

	wire_text(row, "hash_id", hash, sizeof hash);
	t = vast_is_hash(hash) ? wire_add_template(r->out) : NULL;
	if (!t) {
		r->out->r.dropped++;
		return;
	}
	COPY(t->id, hash);
	wire_text(row, "name", t->name, sizeof t->name);
	wire_text(row, "image", t->image, sizeof t->image);
	wire_text(row, "tag", tag, sizeof tag);
	n = strlen(t->image);
	if (n && tag[0] && n + 1 + strlen(tag) < sizeof t->image)
		snprintf(t->image + n, sizeof t->image - n, ":%s", tag);
	t->recommended = wire_flag(row, "recommended") == 1;
	read_template(row, t);
}

static void read_templates(struct vast_reply *r)
{
	if (r->json.kind != WIRE_ROWS_ARRAY) {
		vast_unreadable(r, "no templates in it");
		return;
	}
	wire_done(r->out);
	for (size_t i = 0; i < r->json.row_count; i++) {
		json_t *row = wire_json_row(&r->json, i);

		add_template(r, row);
		json_decref(row);
	}
	r->out->r.rows = r->json.row_count;
}

/* DELETE and attach: done is only what says so. */
static void read_done(struct vast_reply *r)
{
	if (wire_flag(r->json.root, "success") == 1)
		wire_done(r->out);
	else
		vast_unreadable(r, r->json.root ? "it does not say that it was done"
						: "not in a form that can be read");
}

static const struct {
	const char *rows_key; /* member that holds the rows; NULL: none */
	void (*read)(struct vast_reply *r);
} readings[CALL_OP_COUNT] = {
	[CALL_OFFERS] = {"offers", vast_read_offers},
	[CALL_CREATE] = {NULL, NULL}, /* read_create: it looks at failures too */
	[CALL_LIST] = {"instances", vast_read_list},
	[CALL_LOOK] = {"instances", vast_read_look},
	[CALL_DESTROY] = {NULL, read_done},
	[CALL_ATTACH] = {NULL, read_done},
	[CALL_ACCOUNT] = {NULL, read_account},
	[CALL_TEMPLATES] = {"templates", read_templates},
};

void vast_parse(const struct wire_ask *ask, const struct wire_reply *reply, struct wire_result *out)
{
	struct vast_reply r = {.ask = ask, .http = reply, .out = out, .code = ""};
	int family = reply->status / 100;

	CHECK(ask->op < CALL_OP_COUNT);
	wire_json_read(&r.json, reply->body, reply->len, readings[ask->op].rows_key);
	read_words(&r);
	if (ask->op == CALL_CREATE)
		read_create(&r);
	else if (read_common(&r))
		;
	else if (family == 4 || (family == 2 && wire_flag(r.json.root, "success") == 0))
		read_refusal(&r);
	else if (family != 2)
		vast_unreadable(&r, "a redirect is not followed: check VASTAI_BASE_URL");
	else if (!r.json.root)
		vast_unreadable(&r, "not in a form that can be read");
	else
		readings[ask->op].read(&r);
	wire_json_free(&r.json);
}
