/*
 * Requests to the fake TensorDock: which call it is, who may make it, how many come in a minute, the fault it
 * gets, and what that does to the answer.
 */
#include <errno.h>

#include "tensordock_parts.h"

#define MINUTE_LIMIT 100
#define STALL_US     (240 * SECOND_US)
#define SLOW_US	     (60 * SECOND_US)
#define HUGE_BYTES   (40 << 20)

#define OP(x)	 (1u << FT_##x)
#define ANY_CALL ((1u << FT_UNKNOWN) - 1u)

static const struct {
	const char *name;
	unsigned ops;
} kinds[FTF_COUNT] = {
	[FTF_NONE] = {"none", 0},
	[FTF_DROP] = {"drop", ANY_CALL},
	[FTF_UNSENT] = {"unsent", ANY_CALL},
	[FTF_STALL] = {"stall", ANY_CALL},
	[FTF_LOST] = {"lost", ANY_CALL},
	[FTF_LOST_SLOW] = {"lost-slow", ANY_CALL},
	[FTF_SLOW] = {"slow", ANY_CALL},
	[FTF_LATE] = {"late", OP(CREATE)},
	[FTF_429] = {"429", ANY_CALL},
	[FTF_500] = {"500", ANY_CALL},
	[FTF_502] = {"502", ANY_CALL},
	[FTF_503] = {"503", ANY_CALL},
	[FTF_DONE_502] = {"done-502", ANY_CALL},
	[FTF_AUTH] = {"auth", ANY_CALL},
	[FTF_403_HTML] = {"html-403", ANY_CALL},
	[FTF_BODY_500] = {"body-500", ANY_CALL},
	[FTF_TRUNCATE] = {"truncate", ANY_CALL},
	[FTF_EMPTY] = {"empty", ANY_CALL},
	[FTF_NOT_JSON] = {"not-json", ANY_CALL},
	[FTF_UTF8] = {"utf8", ANY_CALL},
	[FTF_HUGE] = {"huge", ANY_CALL},
	[FTF_NODES] = {"nodes", OP(CREATE)},
	[FTF_NO_IP] = {"no-ip", OP(CREATE)},
	[FTF_UNEXPECTED] = {"unexpected", OP(CREATE)},
	[FTF_NO_CREDIT] = {"no-credit", OP(CREATE)},
	[FTF_NO_ID] = {"no-id", OP(CREATE)},
	[FTF_EMPTY_LIST] = {"empty-list", OP(LIST)},
	[FTF_PARTIAL] = {"partial", OP(LIST)},
	[FTF_GONE] = {"gone", OP(GET) | OP(DESTROY)},
	[FTF_LINGER] = {"linger", OP(DESTROY)},
	[FTF_IGNORED] = {"ignored", OP(DESTROY)},
	[FTI_STUCK] = {"stuck", OP(BOOT)},
	[FTI_FAILED] = {"failed", OP(BOOT)},
	[FTI_STOPS] = {"stops", OP(BOOT)},
	[FTI_DISASSOCIATED] = {"disassociated", OP(BOOT)},
	[FTI_VANISH] = {"vanish", OP(BOOT)},
	[FTI_ODD_CASE] = {"odd-case", OP(BOOT)},
	[FTI_WORD] = {"word", OP(BOOT)},
	[FTI_NO_FORWARDS] = {"no-forwards", OP(BOOT)},
	[FTI_PRICE] = {"price", OP(BOOT)},
	[FTI_NO_LOGIN] = {"no-login", OP(BOOT)},
};
const char *const faketd_op_names[FT_OP_COUNT] = {
	"search", "create", "list", "get", "destroy", "manage", "balance", "unknown", "boot",
};

/* ---- faults ---- */

const char *faketd_fault_name(enum faketd_fault_kind kind)
{
	return kinds[kind].name;
}

bool faketd_fault_fits(enum faketd_op op, enum faketd_fault_kind kind)
{
	return op < FT_OP_COUNT && kind < FTF_COUNT && (kinds[kind].ops & 1u << op);
}

int faketd_fault(struct faketd *f, enum faketd_op op, enum faketd_fault_kind kind, int64_t param,
		 int64_t count, int64_t ppm)
{
	if (!faketd_fault_fits(op, kind))
		return -EINVAL;
	f->faults = reallocarray(f->faults, f->fault_count + 1, sizeof *f->faults);
	CHECK(f->faults);
	f->faults[f->fault_count++] = (struct td_fault){op, kind, param, count, count ? 0 : ppm};
	return 0;
}

void faketd_no_faults(struct faketd *f)
{
	f->fault_count = 0;
}

enum faketd_fault_kind td_fault_draw(struct faketd *f, enum faketd_op op, int64_t *param)
{
	*param = 0;
	for (size_t i = 0; i < f->fault_count; i++) {
		struct td_fault t = f->faults[i];

		if (t.op != op || (!t.count && !td_chance(f, t.ppm)))
			continue;
		if (t.count > 0 && --f->faults[i].count == 0)
			memmove(f->faults + i, f->faults + i + 1,
				(--f->fault_count - i) * sizeof t);
		*param = t.param;
		return t.kind;
	}
	return FTF_NONE;
}

/* ---- answers ---- */

void td_answer(struct td_call *x, int status, json_t *body)
{
	char *text = json_dumps(body, JSON_COMPACT);

	CHECK(text);
	x->out->status = status;
	x->out->content_type = "application/json";
	buf_reset(&x->out->body);
	buf_puts(&x->out->body, text);
	free(text);
	json_decref(body);
}

void td_error(struct td_call *x, int status, const char *text)
{
	td_answer(x, status, json_pack("{s:s}", "error", text));
}

/* The order of the members varies. */
void td_error_200(struct td_call *x, int status, const char *text)
{
	bool first = x->f->turn++ % 2;

	td_answer(x, 200,
		  first ? json_pack("{s:i, s:s}", "status", status, "error", text)
			: json_pack("{s:s, s:i}", "error", text, "status", status));
}

static void text_answer(struct td_call *x, int status, const char *type, const char *text)
{
	x->out->status = status;
	x->out->content_type = type;
	buf_reset(&x->out->body);
	buf_puts(&x->out->body, text);
}

static void html(struct td_call *x, int status, const char *title)
{
	char page[200];

	snprintf(page, sizeof page, "<html><head><title>%d %s</title></head><body></body></html>",
		 status, title);
	text_answer(x, status, "text/html", page);
}

static void unauthorized(struct td_call *x)
{
	if (x->f->turn++ % 2)
		text_answer(x, 401, "text/plain", "Unauthorized");
	else
		td_error(x, 401, "Invalid API credentials");
}

static void throttled(struct td_call *x)
{
	x->f->throttled++;
	td_error(x, 429, "Rate limit exceeded. Please try again later.");
	if (x->f->turn++ % 2)
		x->out->retry_after_s = 5;
}

/* ---- the balance, by the older API ---- */

/* A form's member, decoded; false: it is not there. */
static bool form_value(const char *body, size_t len, const char *name, char *out, size_t size)
{
	size_t n = strlen(name), at = 0;

	for (size_t i = 0; i + n < len; i++) {
		if ((i && body[i - 1] != '&') || strncmp(body + i, name, n) || body[i + n] != '=')
			continue;
		for (i += n + 1; i < len && body[i] != '&' && at + 1 < size; i++) {
			unsigned c = (unsigned char)body[i];

			if (c == '%' && i + 2 < len && sscanf(body + i + 1, "%2x", &c) == 1)
				i += 2;
			out[at++] = (char)c;
		}
		out[at] = '\0';
		return true;
	}
	return false;
}

static void balance(struct td_call *x)
{
	struct faketd *f = x->f;
	const struct fake_http_request *q = x->q;
	char id[100] = "", token[100] = "";
	int64_t rate = 0;

	if (!q->content_type || strcmp(q->content_type, "application/x-www-form-urlencoded") != 0)
		td_violate(x, "no-form", "the older API takes forms");
	if (q->auth)
		td_violate(x, "header-at-older-api", "it takes both in the form");
	if (!q->body || !form_value(q->body, q->len, "api_key", id, sizeof id) ||
	    !form_value(q->body, q->len, "api_token", token, sizeof token) ||
	    strcmp(id, f->c.auth_id) != 0 || strcmp(token, f->c.key) != 0 || f->key_dead) {
		td_answer(x, 200,
			  json_pack("{s:b, s:s}", "success", 0, "error", "Invalid credentials"));
		return;
	}
	for (size_t i = 0; i < f->vm_count; i++)
		rate += td_vm_rate_u6(f->vms[i], x->now_us);
	td_answer(x, 200,
		  json_pack("{s:f, s:f, s:b}", "balance", (double)td_credit_u6(f, x->now_us) / 1e6,
			    "hourly_cost", (double)rate / 1e6, "success", 1));
}

/* ---- which call it is ---- */

static void unknown_path(struct td_call *x)
{
	td_violate(x, "unknown-path", "%s", x->q->method);
	html(x, 404, "Not Found");
}

static void (*const handlers[FT_OP_COUNT])(struct td_call *x) = {
	[FT_SEARCH] = td_search, [FT_CREATE] = td_create,     [FT_LIST] = td_list,
	[FT_GET] = td_get,	 [FT_DESTROY] = td_destroy,   [FT_MANAGE] = td_manage,
	[FT_BALANCE] = balance,	 [FT_UNKNOWN] = unknown_path,
};

static enum faketd_op route(struct td_call *x)
{
	static const char instances[] = "/api/v2/instances";
	const char *t = x->q->target, *m = x->q->method, *rest;
	size_t n = strcspn(t, "?");

	if (n == strlen("/api/v2/locations") && !strncmp(t, "/api/v2/locations", n))
		return strcmp(m, "GET") ? FT_UNKNOWN : FT_SEARCH;
	if (!strcmp(t, "/api/v0/billing/balance"))
		return strcmp(m, "POST") ? FT_UNKNOWN : FT_BALANCE;
	if (strncmp(t, instances, sizeof instances - 1) != 0)
		return FT_UNKNOWN;
	rest = t + sizeof instances - 1;
	if (!*rest)
		return !strcmp(m, "GET") ? FT_LIST : !strcmp(m, "POST") ? FT_CREATE : FT_UNKNOWN;
	n = strcspn(rest + 1, "/?");
	if (*rest != '/' || !n || n >= sizeof x->id)
		return FT_UNKNOWN;
	memcpy(x->id, rest + 1, n);
	rest += n + 1;
	x->verb = *rest ? rest + 1 : rest;
	if (*rest)
		return !strcmp(m, "POST") && (!strcmp(rest, "/start") || !strcmp(rest, "/stop"))
			       ? FT_MANAGE
			       : FT_UNKNOWN;
	return !strcmp(m, "GET") ? FT_GET : !strcmp(m, "DELETE") ? FT_DESTROY : FT_UNKNOWN;
}

/* Locations are told to everybody; a wrong key is refused even there. */
static bool authorised(struct td_call *x)
{
	const char *auth = x->q->auth;

	if (strstr(x->q->target, x->f->c.key))
		td_violate(x, "key-in-url", "%s", x->q->method);
	if (x->op == FT_BALANCE)
		return true;
	if (!auth)
		return x->op == FT_SEARCH;
	return !strncmp(auth, "Bearer ", 7) && !strcmp(auth + 7, x->f->c.key) && !x->f->key_dead;
}

/* More than 100 in a minute, of all together. The older API does not count. */
static bool too_many(struct td_call *x)
{
	struct faketd *f = x->f;
	int64_t *oldest = &f->recent[f->recent_at];
	int64_t minute = MINUTE_US * f->c.time_permille / 1000;

	if (!f->c.limited || x->op == FT_BALANCE)
		return false;
	if (*oldest && x->now_us - *oldest < minute)
		return true;
	*oldest = x->now_us ? x->now_us : 1;
	f->recent_at = (f->recent_at + 1) % MINUTE_LIMIT;
	return false;
}

/* True: that is the answer, and nothing is done. */
static bool fault_before(struct td_call *x)
{
	struct fake_http_reply *out = x->out;

	switch ((int)x->fault) {
	case FTF_DROP:
	case FTF_STALL:
		out->delivery = FAKE_DROP;
		if (x->fault == FTF_STALL)
			out->delay_us = x->param ? x->param : STALL_US;
		return true;
	case FTF_UNSENT:
		out->delivery = FAKE_UNSENT;
		return true;
	case FTF_429:
		throttled(x);
		return true;
	case FTF_500:
		td_error(x, 500, "Internal server error");
		return true;
	case FTF_502:
		html(x, 502, "Bad Gateway");
		return true;
	case FTF_503:
		td_error(x, 503, "Service temporarily unavailable");
		return true;
	case FTF_AUTH:
		unauthorized(x);
		return true;
	case FTF_403_HTML:
		html(x, 403, "Forbidden");
		return true;
	case FTF_BODY_500:
		td_error_200(x, 500, "Internal server error");
		return true;
	default:
		return false;
	}
}

static void put_huge(struct td_call *x)
{
	BUF huge = {0};
	size_t n = (size_t)(x->param ? x->param : HUGE_BYTES);
	FREE char *filler = xcalloc(n + 1, 1);

	memset(filler, 'x', n);
	buf_puts(&huge, "{\"extra\":\"");
	buf_add(&huge, filler, n);
	buf_puts(&huge, "\",");
	if (x->out->body.len)
		buf_add(&huge, x->out->body.data + 1, x->out->body.len - 1);
	buf_free(&x->out->body);
	x->out->body = huge;
	huge = (struct buf){0};
}

static void fault_after(struct td_call *x)
{
	struct fake_http_reply *out = x->out;
	char *quote;

	switch ((int)x->fault) {
	case FTF_LOST:
	case FTF_LOST_SLOW:
		out->delivery = FAKE_DROP;
		if (x->fault == FTF_LOST_SLOW)
			out->delay_us = x->param ? x->param : STALL_US;
		break;
	case FTF_SLOW:
		out->delay_us = x->param ? x->param : SLOW_US;
		break;
	case FTF_DONE_502:
		html(x, 502, "Bad Gateway");
		break;
	case FTF_TRUNCATE:
		out->delivery = FAKE_TRUNCATE;
		out->cut_at = x->param ? (size_t)x->param : out->body.len / 2;
		break;
	case FTF_EMPTY:
		text_answer(x, 200, "application/json", "");
		break;
	case FTF_NOT_JSON:
		html(x, 200, "Welcome");
		break;
	case FTF_UTF8:
		quote = out->body.len ? strstr(out->body.data, "\":\"") : NULL;
		if (quote && quote[3] != '"')
			quote[3] = (char)0xff;
		break;
	case FTF_HUGE:
		put_huge(x);
		break;
	default:
		break;
	}
}

/* ---- a request ---- */

static int64_t pause_of(struct td_call *x)
{
	const struct faketd_config *c = &x->f->c;

	if (x->op == FT_SEARCH)
		return c->search_us;
	if (x->op == FT_CREATE)
		return c->create_min_us + td_below(x->f, c->create_max_us - c->create_min_us + 1);
	return c->other_us;
}

static void note(struct td_call *x, bool answered)
{
	struct faketd *f = x->f;
	struct faketd_entry *e;

	f->journal = reallocarray(f->journal, f->journal_count + 1, sizeof *f->journal);
	CHECK(f->journal);
	e = &f->journal[f->journal_count++];
	*e = (struct faketd_entry){.at_us = x->now_us,
				   .op = x->op,
				   .status = answered ? x->out->status : 0,
				   .reused = x->q->reused,
				   .fault = x->fault};
	copy_text(e->method, sizeof e->method, x->q->method);
	copy_text(e->path, sizeof e->path, x->q->target);
	e->path[strcspn(e->path, "?")] = '\0';
	COPY(e->name, x->name);
	f->calls[x->op]++;
}

void faketd_request(struct faketd *f, int64_t now_us, const struct fake_http_request *q,
		    struct fake_http_reply *out)
{
	struct td_call x = {.f = f, .now_us = now_us, .q = q, .out = out, .verb = ""};
	bool json = q->content_type && !strcmp(q->content_type, "application/json");

	fake_http_reply_free(out);
	*out = (struct fake_http_reply){.status = 500, .content_type = ""};
	x.op = route(&x);
	x.fault = td_fault_draw(f, x.op, &x.param);
	out->delay_us = pause_of(&x);
	if (q->len && !json && x.op != FT_BALANCE)
		td_violate(&x, "no-json", "a body of another type");
	if (q->len && !strcmp(q->method, "GET"))
		td_violate(&x, "body-of-get", "%zu bytes", q->len);
	if (fault_before(&x))
		;
	else if (!authorised(&x))
		unauthorized(&x);
	else if (too_many(&x))
		throttled(&x);
	else
		handlers[x.op](&x);
	fault_after(&x);
	note(&x, out->delivery != FAKE_DROP && out->delivery != FAKE_UNSENT);
}
