/*
 * Faults of the fake Vast.ai: which one a call gets, and what it does to the answer. Faults that change an
 * effect (late, linger, stale offer, lists) are carried out by their handlers; here is what needs no
 * knowledge of the call: before it (nothing is done) and after it (done, told wrongly or not at all).
 */
#include <errno.h>

#include "vastai_parts.h"

#define STALL_US    (180 * SECOND_US) /* longer than the official client's time-out of 120 s */
#define SLOW_US	    (45 * SECOND_US)
#define HUGE_BYTES  (40 << 20) /* above every limit of a client */
#define DEEP_LEVELS 5000

#define OP(x)	  (1u << FV_##x)
#define ANY_CALL  ((1u << FV_UNKNOWN) - 1u)
#define WITH_BODY ANY_CALL

static const struct {
	const char *name;
	unsigned ops;
} kinds[FVF_COUNT] = {
	[FVF_NONE] = {"none", 0},
	[FVF_DROP] = {"drop", ANY_CALL},
	[FVF_UNSENT] = {"unsent", ANY_CALL},
	[FVF_STALL] = {"stall", ANY_CALL},
	[FVF_LOST] = {"lost", ANY_CALL},
	[FVF_LOST_SLOW] = {"lost-slow", ANY_CALL},
	[FVF_SLOW] = {"slow", ANY_CALL},
	[FVF_DRIP] = {"drip", ANY_CALL},
	[FVF_LATE] = {"late", OP(CREATE) | OP(DESTROY)},
	[FVF_LATE_DROP] = {"late-drop", OP(CREATE) | OP(DESTROY)},
	[FVF_429] = {"429", ANY_CALL},
	[FVF_500] = {"500", ANY_CALL},
	[FVF_502] = {"502", ANY_CALL},
	[FVF_503] = {"503", ANY_CALL},
	[FVF_504] = {"504", ANY_CALL},
	[FVF_DONE_502] = {"done-502", ANY_CALL},
	[FVF_HTML_403] = {"html-403", ANY_CALL},
	[FVF_AUTH] = {"auth", ANY_CALL},
	[FVF_EXPIRED] = {"expired", ANY_CALL},
	[FVF_REDIRECT] = {"redirect", ANY_CALL},
	[FVF_TRUNCATE] = {"truncate", WITH_BODY},
	[FVF_CHUNK_CUT] = {"chunk-cut", WITH_BODY},
	[FVF_CHUNKED] = {"chunked", WITH_BODY},
	[FVF_TYPE] = {"type", WITH_BODY},
	[FVF_EMPTY] = {"empty", WITH_BODY},
	[FVF_NOT_JSON] = {"not-json", WITH_BODY},
	[FVF_HUGE] = {"huge", WITH_BODY},
	[FVF_DEEP] = {"deep", WITH_BODY},
	[FVF_DUPLICATE] = {"duplicate", WITH_BODY},
	[FVF_UTF8] = {"utf8", WITH_BODY},
	[FVF_NUL] = {"nul", WITH_BODY},
	[FVF_TYPES] = {"types", WITH_BODY},
	[FVF_EXTRA] = {"extra", WITH_BODY},
	[FVF_CONTRADICT] = {"contradict", OP(CREATE) | OP(MANAGE) | OP(DESTROY) | OP(ATTACH) |
						  OP(LIST) | OP(TEMPLATES) | OP(CHARGES)},
	[FVF_NO_ID] = {"no-id", OP(CREATE)},
	[FVF_OTHER] = {"other", OP(LIST) | OP(GET) | OP(ACCOUNT)},
	[FVF_STALE_OFFER] = {"stale-offer", OP(CREATE)},
	[FVF_NO_CREDIT] = {"no-credit", OP(CREATE)},
	[FVF_SPEND_LIMIT] = {"spend-limit", OP(CREATE)},
	[FVF_PARTIAL] = {"partial", OP(LIST)},
	[FVF_OUTDATED] = {"outdated", OP(LIST)},
	[FVF_EMPTY_LIST] = {"empty-list", OP(LIST)},
	[FVF_NULL_LIST] = {"null-list", OP(LIST)},
	[FVF_REPEAT_PAGE] = {"repeat-page", OP(LIST)},
	[FVF_SHUFFLE_PAGE] = {"shuffle-page", OP(LIST)},
	[FVF_410] = {"410", ANY_CALL},
	[FVF_GONE] = {"gone", OP(GET) | OP(DESTROY) | OP(ATTACH)},
	[FVF_LINGER] = {"linger", OP(DESTROY)},
	[FVF_IGNORED] = {"ignored", OP(DESTROY)},
	[FVF_RESURRECT] = {"resurrect", OP(DESTROY)},
	[FVI_STUCK] = {"stuck", OP(BOOT)},
	[FVI_MANIFEST] = {"manifest", OP(BOOT)},
	[FVI_ABANDONED] = {"abandoned", OP(BOOT)},
	[FVI_RACE] = {"race", OP(BOOT)},
	[FVI_EXITED] = {"exited", OP(BOOT)},
	[FVI_VANISH] = {"vanish", OP(BOOT)},
	[FVI_VANISH_BOOT] = {"vanish-boot", OP(BOOT)},
	[FVI_OFFLINE] = {"offline", OP(BOOT)},
	[FVI_UNHEARD] = {"unheard", OP(BOOT)},
	[FVI_OUTBID] = {"outbid", OP(BOOT)},
	[FVI_FROZEN] = {"frozen", OP(BOOT)},
	[FVI_SLOW_BOOT] = {"slow-boot", OP(BOOT)},
	[FVI_PRICE] = {"price", OP(BOOT)},
	[FVI_NO_LOGIN] = {"no-login", OP(BOOT)},
	[FVI_DEAF] = {"deaf", OP(BOOT)},
	[FVI_PROXY_ONLY] = {"proxy-only", OP(BOOT)},
};

const char *fakevast_fault_name(enum fakevast_fault_kind kind)
{
	return kinds[kind].name;
}

bool fakevast_fault_fits(enum fakevast_op op, enum fakevast_fault_kind kind)
{
	return op < FV_OP_COUNT && kind < FVF_COUNT && (kinds[kind].ops & 1u << op);
}

int fakevast_fault(struct fakevast *f, enum fakevast_op op, enum fakevast_fault_kind kind,
		   int64_t param, int64_t count, int64_t ppm)
{
	if (!fakevast_fault_fits(op, kind))
		return -EINVAL;
	f->faults = grow(f->faults, f->fault_count, sizeof(*f->faults));
	f->faults[f->fault_count++] = (struct fault){op, kind, param, count, count ? 0 : ppm};
	return 0;
}

void fakevast_no_faults(struct fakevast *f)
{
	free(f->faults);
	f->faults = NULL;
	f->fault_count = 0;
}

enum fakevast_fault_kind fault_draw(struct fakevast *f, enum fakevast_op op, int64_t *param)
{
	*param = 0;
	for (size_t i = 0; i < f->fault_count; i++) {
		struct fault t = f->faults[i];

		if (t.op != op || (!t.count && !random_hit(&f->rnd_fault, t.ppm)))
			continue;
		if (t.count > 0 && --f->faults[i].count == 0)
			memmove(f->faults + i, f->faults + i + 1,
				(--f->fault_count - i) * sizeof(t));
		*param = t.param;
		return t.kind;
	}
	return FVF_NONE;
}

bool fault_is(const struct ctx *x, enum fakevast_fault_kind k)
{
	return x->fault == k;
}

int64_t fault_param(const struct ctx *x, int64_t otherwise)
{
	return x->param ? x->param : otherwise;
}

/* ---- before ---- */

bool fault_before(struct ctx *x)
{
	struct fake_http_reply *out = x->out;

	switch ((int)x->fault) {
	case FVF_DROP:
		out->delivery = FAKE_DROP;
		return true;
	case FVF_UNSENT:
		out->delivery = FAKE_UNSENT;
		return true;
	case FVF_STALL:
		out->delivery = FAKE_DROP;
		out->delay_us = fault_param(x, STALL_US);
		return true;
	case FVF_429:
		say_429(x, (int)x->param);
		return true;
	case FVF_500:
		refuse(x, 500, "server_error", "Something went wrong on the server");
		return true;
	case FVF_502:
		html(x, 502, "502 Bad Gateway");
		return true;
	case FVF_503:
		html(x, 503, "503 Service Temporarily Unavailable");
		return true;
	case FVF_504:
		html(x, 504, "504 Gateway Time-out");
		return true;
	case FVF_HTML_403:
		html(x, 403, "403 Forbidden");
		return true;
	case FVF_AUTH:
	case FVF_EXPIRED:
		say_auth(x, x->fault);
		return true;
	case FVF_410:
		say(x, 410,
		    "{\"error\": \"deprecated_endpoint\", \"msg\": \"This endpoint was "
		    "withdrawn\"}");
		return true;
	case FVF_SPEND_LIMIT:
		refuse(x, 400, "spend_rate_limit",
		       "Your account has reached its limit of hourly spending.");
		return true;
	case FVF_REDIRECT:
		html(x, 308, "308 Permanent Redirect");
		COPY(out->location, x->f->c.redirect_to);
		return true;
	default:
		return false;
	}
}

/* ---- after: other bytes ---- */

/* Text right behind the first brace of the body. */
static void put_in_front(struct ctx *x, const char *text, size_t n)
{
	struct buf *b = &x->out->body;
	BUF old = {.data = NULL, .max = b->max};

	if (!b->data || !b->len || b->data[0] != '{')
		return;
	buf_add(&old, b->data + 1, b->len - 1);
	buf_reset(b);
	buf_puts(b, "{");
	buf_add(b, text, n);
	buf_add(b, old.data, old.len);
}

static void put_repeated(struct ctx *x, const char *before, char c, size_t n, const char *between,
			 char d, size_t m, const char *after)
{
	BUF t = {.data = NULL, .max = (size_t)256 << 20};

	buf_puts(&t, before);
	for (size_t i = 0; i < n; i++)
		buf_putc(&t, c);
	buf_puts(&t, between);
	for (size_t i = 0; i < m; i++)
		buf_putc(&t, d);
	buf_puts(&t, after);
	put_in_front(x, t.data, t.len);
}

/* Behind the opening quote of texts that nothing depends on, and in a member of its own. */
static void put_in_texts(struct ctx *x, const char *bytes)
{
	static const char *const places[] = {"\"status_msg\": \"", "\"msg\": \"",
					     "\"cpu_name\": \"", "\"username\": \"",
					     "\"mobo_name\": \""};
	BUF old = {.data = NULL, .max = x->out->body.max};
	BUF note = {.data = NULL};

	buf_add(&old, x->out->body.data, x->out->body.len);
	buf_reset(&x->out->body);
	for (size_t at = 0; at < old.len; at++) {
		buf_putc(&x->out->body, old.data[at]);
		for (size_t k = 0; k < ARRAY_LEN(places); k++) {
			size_t n = strlen(places[k]);

			if (at + 1 >= n && !memcmp(old.data + at + 1 - n, places[k], n))
				buf_puts(&x->out->body, bytes);
		}
	}
	buf_printf(&note, "\"note\": \"%s\", ", bytes);
	put_in_front(x, note.data, note.len);
}

/* Every member of the outermost object a second time, with another value, first: the last counts. */
static void put_duplicates(struct ctx *x, const json_t *root)
{
	BUF t = {.data = NULL};
	const char *key;
	json_t *v;

	json_object_foreach((json_t *)root, key, v)
	{
		buf_json(&t, key, strlen(key));
		buf_printf(&t, ": %s, ",
			   json_is_string(v)   ? "\"first\""
			   : json_is_object(v) ? "{}"
					       : "0");
	}
	if (t.len)
		put_in_front(x, t.data, t.len);
}

#define WALK_MAX 12 /* levels of the bodies made here */

static json_t *other_type(struct ctx *x, const json_t *v)
{
	char text[64];

	if (json_is_number(v)) {
		snprintf(text, sizeof(text), "%.6f", json_number_value(v));
		return random_hit(&x->f->rnd_reply, 500000) ? json_string(text) : json_null();
	}
	if (json_is_string(v))
		return random_hit(&x->f->rnd_reply, 500000) ? json_integer(7) : json_array();
	if (json_is_boolean(v))
		return json_string(json_is_true(v) ? "true" : "false");
	return json_is_null(v) ? json_object() : json_null();
}

static void change_types(struct ctx *x, json_t *v, int level)
{
	const char *key;
	void *next;
	size_t i;
	json_t *child;

	if (level == WALK_MAX)
		return;
	json_object_foreach_safe(v, next, key, child)
	{
		if (random_hit(&x->f->rnd_reply, 330000))
			json_object_set_new(v, key, other_type(x, child));
		else
			change_types(x, child, level + 1);
	}
	json_array_foreach(v, i, child)
	{
		change_types(x, child, level + 1);
	}
}

/* Rows of somebody else: other ids, other labels. */
static void change_rows(json_t *root)
{
	json_t *rows = json_object_get(root, "instances"), *row;
	size_t i;

	if (json_is_object(rows)) {
		json_object_set_new(
			rows, "id",
			json_integer(json_integer_value(json_object_get(rows, "id")) + 5000000));
		json_object_set_new(rows, "label", json_string("their-job"));
	}
	json_array_foreach(rows, i, row)
	{
		json_object_set_new(
			row, "id",
			json_integer(json_integer_value(json_object_get(row, "id")) + 5000000));
		json_object_set_new(row, "label", json_string("their-job"));
	}
}

static void rewrite(struct ctx *x)
{
	struct buf *b = &x->out->body;
	json_t *root = json_loadb(b->data ? b->data : "", b->len, 0, NULL);
	char *text;

	if (!root)
		return;
	if (x->fault == FVF_DUPLICATE) {
		put_duplicates(x, root);
	} else {
		if (x->fault == FVF_TYPES)
			change_types(x, root, 0);
		else if (x->fault == FVF_OTHER)
			change_rows(root);
		else if (json_object_get(root, "success"))
			json_object_set_new(root, "success", json_false());
		text = json_dumps(root, 0);
		CHECK(text != NULL);
		buf_reset(b);
		buf_puts(b, text);
		free(text);
	}
	json_decref(root);
}

static void change_body(struct ctx *x)
{
	size_t n;

	switch ((int)x->fault) {
	case FVF_EMPTY:
		say(x, 200, "%s", "");
		break;
	case FVF_NOT_JSON:
		say(x, x->out->status, "The server is busy, please come back later");
		break;
	case FVF_HUGE:
		n = (size_t)fault_param(x, HUGE_BYTES);
		put_repeated(x, "\"padding\": \"", 'x', n, "", ' ', 0, "\", ");
		break;
	case FVF_DEEP:
		n = (size_t)fault_param(x, DEEP_LEVELS);
		put_repeated(x, "\"nested\": ", '[', n, "", ']', n, ", ");
		break;
	case FVF_UTF8:
		put_in_texts(x, "\xff\xfe");
		break;
	case FVF_NUL:
		put_in_texts(x, "\\u0000");
		break;
	case FVF_EXTRA: {
		static const char more[] =
			"\"beta\": {\"a\": [1.0, 1e400, -0, null], \"n\": "
			"123456789012345678901234567890}, \"lone\": \"\\ud800\", ";

		put_in_front(x, more, sizeof(more) - 1);
		break;
	}
	case FVF_DUPLICATE:
	case FVF_TYPES:
	case FVF_OTHER:
		rewrite(x);
		break;
	case FVF_CONTRADICT:
		if (x->route->op != FV_CREATE && x->route->op != FV_MANAGE)
			rewrite(x);
		break;
	default:
		break;
	}
}

/* ---- after: another way to tell ---- */

void fault_after(struct ctx *x)
{
	struct fake_http_reply *out = x->out;
	size_t half;

	if (!out->status) { /* a handler that put its effect off */
		html(x, 504, "504 Gateway Time-out");
		out->delivery = x->fault == FVF_LATE_DROP ? FAKE_DROP : FAKE_WHOLE;
		return;
	}
	change_body(x);
	half = out->body.len / 2;
	switch ((int)x->fault) {
	case FVF_LOST:
		out->delivery = FAKE_DROP;
		break;
	case FVF_LOST_SLOW:
		out->delivery = FAKE_DROP;
		out->delay_us = fault_param(x, STALL_US);
		break;
	case FVF_SLOW:
		out->delay_us = fault_param(x, SLOW_US);
		break;
	case FVF_DRIP:
		out->delivery = FAKE_DRIP;
		out->delay_us = fault_param(x, SLOW_US);
		break;
	case FVF_DONE_502:
		html(x, 502, "502 Bad Gateway");
		break;
	case FVF_TRUNCATE:
	case FVF_CHUNK_CUT:
		out->delivery = x->fault == FVF_TRUNCATE ? FAKE_TRUNCATE : FAKE_CHUNK_CUT;
		out->cut_at = (size_t)fault_param(x, (int64_t)half);
		out->cut_at = out->cut_at < out->body.len ? out->cut_at : half;
		break;
	case FVF_CHUNKED:
		out->delivery = FAKE_CHUNKED;
		break;
	case FVF_TYPE:
		out->content_type = "text/html";
		break;
	default:
		break;
	}
}
