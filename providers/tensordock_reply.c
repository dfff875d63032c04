/*
 * What a reply of TensorDock means: one of the five verdicts (faults.md, Buying 3; wire page 8). A 200 may
 * be a failure with a status of its own in the body; words count more than numbers, and the same words mean
 * the same under every status; errors come as arrays, objects, bare text and HTML. Pure; any thread.
 * Tests: tests/unit/test_tensordock.c, tests/wire.
 */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "../src/core/check.h"
#include "../src/core/text.h"
#include "tensordock_parts.h"

#define TEXT_MAX ((size_t)1000) /* of a body that is bare text */

/* The narrow list of the wire page: elsewhere there may be another. Very broad words ("maximum") would hide
 * a quota or a mistake of ours. */
static const char *const capacity[] = {
	"no available nodes",
	"no available public ip",
	"hostnode unavailable",
	"insufficient capacity",
	"not enough capacity",
	"out of stock",
	"sold out",
	"resource unavailable",
	"gpu unavailable",
	"location unavailable",
	"datacenter unavailable",
	"region unavailable",
	"under maintenance",
	"high demand",
	"at capacity",
	"no capacity",
	"fully allocated",
	"allocation failed",
	"unexpected error during deployment",
};
static const char *const money[] = {"balance", "need at least $", "insufficient funds"};
static const char *const missing[] = {"not found", "does not exist", "no such",
				      "already terminated", "already deleted"};
/* Refused for the way to be reached that was asked for: an address, which are few. */
static const char *const no_address[] = {"public ip", "dedicated ip"};

void td_unreadable(struct td_reply *r, const char *why)
{
	wire_unclear(r->ask, r->out, "TensorDock answered with HTTP %d, but %s", r->http->status,
		     why);
}

/* ---- the provider's words ---- */

static bool words_have(const struct td_reply *r, const char *const *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (strcasestr(r->words, list[i]))
			return true;
	return false;
}
#define WORDS_HAVE(r, list) words_have(r, list, ARRAY_LEN(list))

/* "unavailable" behind what it is that is not available: "GPU is currently unavailable". */
static bool is_capacity(const struct td_reply *r)
{
	static const char *const what[] = {"gpu", "location", "datacenter", "region"};

	return WORDS_HAVE(r, capacity) ||
	       (strcasestr(r->words, "unavailable") && WORDS_HAVE(r, what));
}

static void add_words(struct td_reply *r, const json_t *o, const char *key)
{
	size_t n = strlen(r->words);
	char text[sizeof r->words];

	wire_text(o, key, text, sizeof text);
	if (!text[0] || n + 3 >= sizeof r->words)
		return;
	if (n)
		memcpy(r->words + n, "; ", sizeof "; ");
	n = strlen(r->words);
	copy_text(r->words + n, sizeof r->words - n, text);
}

/* 8a, the issues of a validator: their messages one after the other. */
static void read_issues(struct td_reply *r, const json_t *issues)
{
	for (size_t i = 0; i < json_array_size(issues) && i < 4; i++) {
		add_words(r, json_array_get(issues, i), "message");
		add_words(r, json_array_get(issues, i), "detail");
	}
}

/* 8b and 8c: {"error": …} or {"message": …}, with or without a status, also in `data`. */
static void read_object(struct td_reply *r, const json_t *o)
{
	const json_t *data = json_object_get(o, "data"), *error = json_object_get(o, "error");
	int64_t status;
	bool numbered = json_is_number(json_object_get(o, "status")) &&
			wire_int(o, "status", 100, 599, &status) && status >= 400;

	r->failed = numbered || (error && !json_is_null(error) && !json_is_false(error)) ||
		    json_is_string(json_object_get(data, "error")) ||
		    wire_flag(o, "success") == 0 ||
		    strcasecmp(json_string_length(json_object_get(o, "success"))
				       ? wire_word(o, "success")
				       : "",
			       "false") == 0;
	if (numbered && r->http->status / 100 == 2)
		r->status = (int)status;
	add_words(r, o, "error");
	add_words(r, error, "message");
	add_words(r, data, "error");
	read_issues(r, json_object_get(o, "errors"));
	if (r->failed || r->http->status >= 400)
		add_words(r, o, "message");
}

static bool is_html(const struct td_reply *r)
{
	size_t n = r->http->len < TEXT_MAX ? r->http->len : TEXT_MAX;

	return n && memchr(r->http->body, '<', n);
}

/* 8d: "Unauthorized". */
static void read_bare_text(struct td_reply *r)
{
	char text[TEXT_MAX + 1];
	size_t n = r->http->len < TEXT_MAX ? r->http->len : TEXT_MAX;

	if (is_html(r) || r->http->status < 400)
		return;
	memcpy(text, r->http->body, n);
	text[n] = '\0';
	printable_text(r->words, sizeof r->words, text);
}

static void read_words(struct td_reply *r)
{
	json_t *first = NULL;

	if (json_is_object(r->json.root)) {
		read_object(r, r->json.root);
	} else if (json_is_array(r->json.root)) {
		r->failed = true; /* a validator's issues; nothing else is an array */
		read_issues(r, r->json.root);
		/* Where rows are looked for, they are taken for them. */
		first = wire_json_row(&r->json, 0);
		add_words(r, first, "message");
		json_decref(first);
	} else {
		read_bare_text(r);
	}
	wire_hide_secrets(r->words);
}

/* ---- verdicts of failures ---- */

static void say_refused(struct td_reply *r, enum provider_error error)
{
	wire_say(r->out, SURE_NO, error, "TensorDock refused (HTTP %d): %s", r->http->status,
		 r->words);
}

static void say_gone(struct td_reply *r)
{
	bool destroy = r->ask->op == CALL_DESTROY;

	wire_say(r->out, destroy ? SURE_YES : SURE_NO, PE_GONE,
		 "TensorDock has no such instance (HTTP %d): %s", r->http->status, r->words);
	snprintf(r->out->r.evidence, sizeof r->out->r.evidence, "TensorDock: HTTP %d, %.100s",
		 r->http->status, r->words);
}

/* In the provider's own words; a 404 alone is no proof, as a wrong path or a proxy says that too. */
static bool is_gone(const struct td_reply *r)
{
	if (r->ask->op != CALL_LOOK && r->ask->op != CALL_DESTROY && r->ask->op != CALL_ATTACH)
		return false;
	return (r->status == 404 || r->status == 410 || strcasestr(r->words, "already ")) &&
	       WORDS_HAVE(r, missing);
}

/* What every call has in common. True: it is said. */
static bool read_common(struct td_reply *r)
{
	if (r->status == 429) {
		wire_say(r->out, LATER, PE_RATE, "TensorDock throttles: %s",
			 r->words[0] ? r->words : "too many requests");
		return true;
	}
	/* Before any "not found". HTML is a gateway's, which knows no keys. */
	if (r->status == 403 && is_html(r)) {
		wire_say(r->out, LATER, PE_UNAVAILABLE,
			 "a gateway in front of TensorDock refused (HTTP 403)");
		return true;
	}
	/* The older API has another id besides: what it refuses says nothing of the key. */
	if ((r->status == 401 || r->status == 403) && !json_object_get(r->json.root, "success")) {
		wire_say(r->out, KEY_DEAD, PE_AUTH, "TensorDock refuses the token (HTTP %d%s%s)",
			 r->http->status, r->words[0] ? ": " : "", r->words);
		return true;
	}
	return false;
}

/* Of a create: the words decide, where they are on the lists; a failure of the server's may have made
 * something all the same. */
static void read_create_failure(struct td_reply *r)
{
	bool lost = r->http->status >= 500;
	enum provider_error error = is_capacity(r)	   ? PE_STALE_OFFER
				    : WORDS_HAVE(r, money) ? PE_MONEY
							   : PE_UNKNOWN;

	if (lost || (r->status >= 500 && error == PE_UNKNOWN)) {
		wire_say(r->out, UNSURE, error == PE_UNKNOWN ? PE_UNAVAILABLE : error,
			 "TensorDock answered HTTP %d%s%s", r->http->status,
			 r->words[0] ? ": " : "", r->words);
		return;
	}
	if (!r->words[0]) {
		td_unreadable(r, "not in a form that is known");
		return;
	}
	if (error == PE_STALE_OFFER) {
		wire_say(r->out, SURE_NO, error, "the offer is gone: %s", r->words);
		r->out->r.other_reach = WORDS_HAVE(r, no_address);
		return;
	}
	if (error == PE_UNKNOWN && r->status == 402)
		error = PE_MONEY;
	if (error == PE_UNKNOWN && (r->status == 400 || r->status == 422))
		error = PE_INVALID;
	say_refused(r, error);
}

/* A 4xx or 5xx, or a 2xx that says that it failed. */
static void read_failure(struct td_reply *r)
{
	if (read_common(r))
		return;
	if (r->ask->op == CALL_CREATE) {
		read_create_failure(r);
	} else if (r->status >= 500) {
		wire_unclear(r->ask, r->out, "TensorDock answered HTTP %d%s%s", r->http->status,
			     r->words[0] ? ": " : "", r->words);
	} else if (is_gone(r)) {
		say_gone(r);
	} else if (!r->words[0]) {
		td_unreadable(r, "not in a form that is known");
	} else if (wire_is_write(r->ask->op)) {
		say_refused(r, r->status == 400 || r->status == 422 ? PE_INVALID : PE_UNKNOWN);
	} else if (r->status == 400 || r->status == 422) {
		say_refused(r, PE_INVALID);
	} else {
		td_unreadable(r, r->words);
	}
}

/* ---- each call ---- */

/* Where the reply to a create names a machine: wrapped, or flat (then it looks like one). */
static const char *created_id(const struct td_reply *r)
{
	const json_t *root = r->json.root, *data = json_object_get(root, "data");
	const char *id = wire_word(data, "id");

	if (!id && !json_object_get(root, "error") &&
	    (json_object_get(root, "name") || json_is_string(json_object_get(root, "status"))))
		id = wire_word(root, "id");
	return id && wire_id_ok(id) ? id : NULL;
}

static void read_create(struct td_reply *r)
{
	const char *id = created_id(r);
	struct instance *in = id ? wire_add_instance(r->out) : NULL;

	if (in) {			   /* unsure without an id is resolved by the name */
		in->status = INST_BOOTING; /* it is called running long before it is */
		in->price_u6 = in->rate_u6 = UNKNOWN;
		copy_text(in->id, sizeof in->id, id);
	}
	if (in && !r->failed && r->http->status / 100 == 2)
		wire_done(r->out);
	else if (in) /* something exists and costs money, whatever else is said */
		wire_say(r->out, UNSURE, PE_UNKNOWN,
			 "TensorDock answered HTTP %d and a failure, with the instance %s: %s",
			 r->http->status, id, r->words);
	else if (r->failed || r->http->status >= 400)
		read_failure(r);
	else
		td_unreadable(r, r->json.root ? "without the instance's id"
					      : "not in a form that can be read");
}

/* Done is only what says so: 204, or a reply with the message of it. */
static void read_done(struct td_reply *r)
{
	const json_t *root = r->json.root, *data = json_object_get(root, "data");

	if (r->http->status == 204 || json_object_size(data) || wire_word(root, "message") ||
	    wire_flag(root, "success") == 1)
		wire_done(r->out);
	else
		td_unreadable(r, "it does not say that it was done");
}

static void read_no_such_call(struct td_reply *r)
{
	td_unreadable(r, "there is no such call");
}

/* The balance, from the older API; or a list of machines, which is told to a key that is accepted. */
static void read_account(struct td_reply *r)
{
	bool known = wire_balance(r->json.root, "balance", 1e6, &r->out->r.balance_u6);

	if (!known && !td_list_rows(r)) {
		td_unreadable(r, "no account in it");
		return;
	}
	wire_done(r->out);
}

static const struct {
	const char *rows_key;
	void (*read)(struct td_reply *r);
} readings[CALL_OP_COUNT] = {
	[CALL_OFFERS] = {"data.locations", td_read_offers},
	[CALL_CREATE] = {NULL, NULL}, /* read_create: it looks at failures too */
	[CALL_LIST] = {NULL, td_read_list},
	[CALL_LOOK] = {NULL, td_read_look},
	[CALL_DESTROY] = {NULL, read_done},
	[CALL_ATTACH] = {NULL, read_no_such_call},
	[CALL_ACCOUNT] = {NULL, read_account},
	[CALL_TEMPLATES] = {NULL, read_no_such_call},
};

void td_parse(const struct wire_ask *ask, const struct wire_reply *reply, struct wire_result *out)
{
	struct td_reply r = {.ask = ask, .http = reply, .out = out, .status = reply->status};

	CHECK(ask->op < CALL_OP_COUNT);
	wire_json_read(&r.json, reply->body, reply->len, readings[ask->op].rows_key);
	read_words(&r);
	if (ask->op == CALL_CREATE)
		read_create(&r);
	else if (r.failed || reply->status >= 400)
		read_failure(&r);
	else if (reply->status / 100 != 2)
		td_unreadable(&r, "a redirect is not followed: check TENSORDOCK_BASE_URL");
	else if (!r.json.root && reply->status != 204)
		td_unreadable(&r, "not in a form that can be read");
	else
		readings[ask->op].read(&r);
	wire_json_free(&r.json);
}
