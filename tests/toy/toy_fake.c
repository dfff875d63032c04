/*
 * The cloud that toy.c is a dialect of: one account, its machines, its limit and its faults. Strict: what the
 * API does not have is a violation. Effects and answers are separate things, and time is passed in.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "../../src/core/check.h"
#include "../../src/core/text.h"
#include "../fake/control_words.h"
#include "toy.h"

#define NEVER	     INT64_MAX
#define UP_US	     MINUTE_US
#define END_US	     (10 * SECOND_US)
#define ANSWER_US    (SECOND_US / 5)
#define LIMIT	     60 /* requests in LIMIT_US */
#define LIMIT_US     (10 * SECOND_US)
#define PAGE_ROWS    1 /* so that every test turns pages */
#define MACHINES_MAX 256
#define FAULTS_MAX   16

struct machine {
	char id[24], label[64];
	bool foreign;
	int64_t created_us, gone_us;
	int64_t end_us; /* a DELETE was accepted */
};

struct fault {
	char op[12], kind[12];
	int64_t param, count; /* -1: always */
};

struct faketoy {
	struct machine machines[MACHINES_MAX];
	size_t count;
	struct fault faults[FAULTS_MAX];
	size_t fault_count;
	int64_t recent[LIMIT]; /* when the last requests came, a ring */
	size_t recent_at;
	int64_t created, throttled, violations;
	struct buf said; /* the violations */
};

/* A request being answered. */
struct ask {
	struct faketoy *f;
	int64_t now_us;
	const struct fake_http_request *q;
	struct fake_http_reply *out;
	const char *op, *rest; /* rest: what stands behind the path */
	char kind[12];	       /* its fault; "": none */
	int64_t param;
};

struct faketoy *faketoy_new(void)
{
	return xcalloc(1, sizeof(struct faketoy));
}

void faketoy_free(struct faketoy *f)
{
	if (f)
		buf_free(&f->said);
	free(f);
}

static bool has(const struct ask *x, const char *kind)
{
	return !strcmp(x->kind, kind);
}

static void violate(struct ask *x, const char *what)
{
	x->f->violations++;
	buf_printf(&x->f->said, "%s %s: %s\n", x->q->method, x->q->target, what);
}

/* Takes the body. */
static void answer(struct ask *x, int status, json_t *body)
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

static void html(struct ask *x, int status)
{
	x->out->status = status;
	x->out->content_type = "text/html";
	buf_reset(&x->out->body);
	buf_printf(&x->out->body, "<html><body>%d</body></html>", status);
}

static void refuse(struct ask *x, int status, const char *code, const char *message)
{
	answer(x, status, json_pack("{s:{s:s, s:s}}", "error", "code", code, "message", message));
}

static void throttle(struct ask *x)
{
	x->f->throttled++;
	answer(x, 429,
	       json_pack("{s:{s:s, s:s, s:i}}", "error", "code", "slow_down", "message",
			 "too many requests", "retry_ms", 2500));
}

/* ---- machines ---- */

static struct machine *machine_new(struct faketoy *f, const char *label, int64_t at_us)
{
	struct machine *m = &f->machines[f->count++];

	CHECK(f->count <= MACHINES_MAX);
	*m = (struct machine){.created_us = at_us, .gone_us = NEVER, .end_us = NEVER};
	snprintf(m->id, sizeof m->id, "m-%04x%04zu", 0xa000u + (unsigned)f->count, f->count);
	COPY(m->label, label);
	return m;
}

static bool alive(const struct machine *m, int64_t now_us)
{
	return m->created_us <= now_us && now_us < m->gone_us;
}

static struct machine *find(struct ask *x)
{
	for (size_t i = 0; i < x->f->count; i++)
		if (!strcmp(x->f->machines[i].id, x->rest) &&
		    x->f->machines[i].created_us <= x->now_us)
			return &x->f->machines[i];
	refuse(x, 404, "no_such_machine", "There is no machine of this id.");
	return NULL;
}

static json_t *show(const struct machine *m, int64_t now_us)
{
	bool up = now_us >= m->created_us + UP_US;
	const char *state = now_us >= m->gone_us  ? "ended"
			    : now_us >= m->end_us ? "ending"
			    : up		  ? "up"
						  : "starting";

	return json_pack("{s:s, s:{s:s}, s:s, s:s, s:s?, s:f, s:I}", "id", m->id, "tags", "name",
			 m->label, "state", state, "note", "all is well", "ip",
			 up ? "203.0.113.7" : NULL, "cents_per_hour", 249.5, "created_ms",
			 (json_int_t)(m->created_us / 1000));
}

/* ---- calls ---- */

static void do_offers(struct ask *x)
{
	json_t *rows = json_array();

	json_array_append_new(rows,
			      json_pack("{s:s, s:s, s:i, s:i, s:f, s:s, s:i}", "sku", "a100.2",
					"gpu", "a100-sxm-80", "gpus", 2, "gpu_memory_mb", 81920,
					"cents_per_hour", 249.5, "region", "north", "left", 3));
	json_array_append_new(rows,
			      json_pack("{s:s, s:s, s:i, s:i, s:i, s:s, s:i}", "sku", "4090.1",
					"gpu", "rtx-4090", "gpus", 1, "gpu_memory_mb", 24564,
					"cents_per_hour", 40, "region", "south", "left", 0));
	answer(x, 200, json_pack("{s:o}", "offers", rows));
}

static void check_create(struct ask *x, const json_t *o)
{
	static const char *const members[] = {"sku",	  "tags", "image",
					      "ssh_keys", "env",  "user_data"};

	if (json_object_size(o) != ARRAY_LEN(members))
		violate(x, "a create has six members");
	for (size_t i = 0; i < ARRAY_LEN(members); i++)
		if (!json_object_get(o, members[i]))
			violate(x, members[i]);
	if (!json_array_size(json_object_get(o, "ssh_keys")))
		violate(x, "nobody can log in");
}

static void do_create(struct ask *x)
{
	json_t *o = json_loadb(x->q->body ? x->q->body : "", x->q->len, 0, NULL);
	const char *label = json_string_value(json_object_get(json_object_get(o, "tags"), "name"));
	const char *sku = json_string_value(json_object_get(o, "sku"));
	bool late = has(x, "late");
	struct machine *m;

	check_create(x, o);
	if (!label || !sku || strlen(label) >= sizeof m->label) {
		refuse(x, 422, "bad_request", "A machine needs a name and a sku.");
	} else if (has(x, "sold-out") || strcmp(sku, "a100.2") != 0) {
		refuse(x, 409, "sold_out", "There is no such machine left.");
	} else if (has(x, "no-credit")) {
		refuse(x, 402, "no_credit", "Add credit first.");
	} else {
		for (size_t i = 0; i < x->f->count; i++)
			if (!strcmp(x->f->machines[i].label, label))
				violate(x, "a second create with this name");
		m = machine_new(x->f, label, x->now_us + (late ? x->param : 0));
		x->f->created++;
		answer(x, 202, json_pack("{s:o}", "machine", show(m, x->now_us)));
		if (late)
			html(x, 504);
	}
	json_decref(o);
}

/* Those that live, in order; the token is the number of the last one seen. */
static void do_list(struct ask *x)
{
	size_t from = !strncmp(x->rest, "?after=", 7) ? (size_t)atoi(x->rest + 7) : 0;
	json_t *rows = json_array();
	int64_t count = 0;
	char token[24] = "";
	bool more = false;

	for (size_t i = 0; i < x->f->count; i++) {
		if (!alive(&x->f->machines[i], x->now_us))
			continue;
		count++;
		if (i < from)
			continue;
		more = json_array_size(rows) == PAGE_ROWS;
		if (more)
			continue;
		json_array_append_new(rows, show(&x->f->machines[i], x->now_us));
		snprintf(token, sizeof token, "%zu", i + 1);
	}
	answer(x, 200,
	       json_pack("{s:o, s:I, s:s?}", "machines", rows, "count", (json_int_t)count, "after",
			 more ? token : NULL));
}

static void do_get(struct ask *x)
{
	const struct machine *m = find(x);

	if (m)
		answer(x, 200, json_pack("{s:o}", "machine", show(m, x->now_us)));
}

static void do_destroy(struct ask *x)
{
	struct machine *m = find(x);

	if (!m)
		return;
	if (!alive(m, x->now_us)) {
		refuse(x, 409, "already_ended", "It has ended.");
		return;
	}
	if (m->end_us == NEVER && !has(x, "ignored")) {
		m->end_us = x->now_us;
		m->gone_us = x->now_us + END_US + (has(x, "linger") ? x->param : 0);
	}
	answer(x, 202, json_pack("{s:s}", "state", "ending"));
}

static void do_account(struct ask *x)
{
	answer(x, 200, json_pack("{s:s, s:i}", "account", "acct-7", "credit_cents", 10000));
}

static const struct {
	const char *op, *method, *path;
	char behind; /* what may follow the path: an id ('/'), a query ('?'), nothing */
	void (*run)(struct ask *x);
} routes[] = {
	{"search", "GET", "/v1/offers", 0, do_offers},
	{"create", "POST", "/v1/machines", 0, do_create},
	{"list", "GET", "/v1/machines", '?', do_list},
	{"get", "GET", "/v1/machines/", '/', do_get},
	{"destroy", "DELETE", "/v1/machines/", '/', do_destroy},
	{"account", "GET", "/v1/account", 0, do_account},
};

static size_t route(struct ask *x)
{
	size_t i = 0;

	for (; i < ARRAY_LEN(routes); i++) {
		size_t n = strlen(routes[i].path);

		if (strcmp(x->q->method, routes[i].method) != 0 ||
		    strncmp(x->q->target, routes[i].path, n) != 0)
			continue;
		x->rest = x->q->target + n;
		if (!*x->rest ? routes[i].behind != '/'
			      : routes[i].behind == '/' || *x->rest == routes[i].behind)
			break;
	}
	x->op = i < ARRAY_LEN(routes) ? routes[i].op : "unknown";
	return i;
}

/* ---- faults ---- */

static void draw_fault(struct ask *x)
{
	struct faketoy *f = x->f;

	for (size_t i = 0; i < f->fault_count; i++) {
		if (strcmp(f->faults[i].op, x->op) != 0)
			continue;
		COPY(x->kind, f->faults[i].kind);
		x->param = f->faults[i].param;
		if (f->faults[i].count > 0 && !--f->faults[i].count)
			f->faults[i] = f->faults[--f->fault_count];
		return;
	}
}

/* True: that is the answer, and nothing is done. */
static bool fault_before(struct ask *x)
{
	if (has(x, "drop"))
		x->out->delivery = FAKE_DROP;
	else if (has(x, "unsent"))
		x->out->delivery = FAKE_UNSENT;
	else if (has(x, "429"))
		throttle(x);
	else if (has(x, "500"))
		refuse(x, 500, "internal", "Something went wrong.");
	else if (has(x, "502"))
		html(x, 502);
	else if (has(x, "503"))
		html(x, 503);
	else if (has(x, "auth"))
		refuse(x, 401, "bad_key", "Unknown key.");
	else
		return false;
	return true;
}

static void fault_after(struct ask *x)
{
	if (has(x, "lost")) {
		x->out->delivery = FAKE_DROP;
	} else if (has(x, "done-502")) {
		html(x, 502);
	} else if (has(x, "not-json")) {
		html(x, 200);
	} else if (has(x, "empty")) {
		buf_reset(&x->out->body);
	} else if (has(x, "truncate")) {
		x->out->delivery = FAKE_TRUNCATE;
		x->out->cut_at = x->out->body.len / 2;
	}
}

static bool too_many(struct ask *x)
{
	int64_t *oldest = &x->f->recent[x->f->recent_at];

	if (*oldest && x->now_us - *oldest < LIMIT_US)
		return true;
	*oldest = x->now_us ? x->now_us : 1;
	x->f->recent_at = (x->f->recent_at + 1) % LIMIT;
	return false;
}

void faketoy_request(struct faketoy *f, int64_t now_us, const struct fake_http_request *q,
		     struct fake_http_reply *out)
{
	struct ask x = {.f = f, .now_us = now_us, .q = q, .out = out};
	size_t i = route(&x);

	fake_http_reply_free(out);
	*out = (struct fake_http_reply){.status = 500, .content_type = "", .delay_us = ANSWER_US};
	draw_fault(&x);
	if (strstr(q->target, FAKETOY_KEY))
		violate(&x, "the key stands in the URL");
	if (q->len && strcmp(q->method, "POST") != 0)
		violate(&x, "a body that nobody reads");
	if (fault_before(&x)) {
		;
	} else if (!q->auth || strcmp(q->auth, FAKETOY_KEY) != 0) {
		refuse(&x, 401, "bad_key", "Unknown key.");
	} else if (too_many(&x)) {
		throttle(&x);
	} else if (i == ARRAY_LEN(routes)) {
		violate(&x, "there is no such path");
		html(&x, 404);
	} else {
		routes[i].run(&x);
		fault_after(&x);
	}
}

/* ---- the control language ---- */

static void show_meter(const struct faketoy *f, int64_t now_us, struct buf *out)
{
	int64_t all = 0, ours = 0;

	for (size_t i = 0; i < f->count; i++) {
		all += alive(&f->machines[i], now_us);
		ours += alive(&f->machines[i], now_us) && !f->machines[i].foreign;
	}
	buf_printf(out,
		   "{\"alive\": %lld, \"ours\": %lld, \"created\": %lld, \"throttled\": %lld, "
		   "\"violations\": %lld}\n",
		   (long long)all, (long long)ours, (long long)f->created, (long long)f->throttled,
		   (long long)f->violations);
}

static int add_fault(struct faketoy *f, char **w, int n, struct buf *out)
{
	static const char *const kinds[] = {
		"drop",	    "unsent",	"429",	     "500",    "502",	 "503",
		"auth",	    "sold-out", "no-credit", "late",   "lost",	 "done-502",
		"not-json", "empty",	"truncate",  "linger", "ignored"};
	struct control_fault t;
	struct fault *at = &f->faults[f->fault_count];
	int err = control_fault(w[2], n > 3 ? w[3] : NULL, &t, out);

	if (err)
		return err;
	if (f->fault_count == FAULTS_MAX || !t.count ||
	    control_name(kinds, ARRAY_LEN(kinds), w[2]) < 0)
		return complain(out, "no such fault", w[2]);
	*at = (struct fault){.param = t.param, .count = t.count};
	COPY(at->op, w[1]);
	COPY(at->kind, w[2]);
	f->fault_count++;
	return 0;
}

int faketoy_control(struct faketoy *f, int64_t now_us, const char *line, struct buf *out)
{
	FREE char *copy = strdup(line);
	char *w[CONTROL_WORDS_MAX];
	int n;

	CHECK(copy);
	n = control_split(copy, w, out);
	if (n < 1)
		return -EINVAL;
	if (!strcmp(w[0], "meter")) {
		show_meter(f, now_us, out);
		return 0;
	}
	if (!strcmp(w[0], "violations")) {
		buf_puts(out, f->said.data ? f->said.data : "");
		return 0;
	}
	if (!strcmp(w[0], "no-faults")) {
		f->fault_count = 0;
		return 0;
	}
	if (!strcmp(w[0], "foreign")) {
		machine_new(f, n > 1 ? w[1] : "somebody-elses", now_us)->foreign = true;
		return 0;
	}
	if (!strcmp(w[0], "fault") && n > 2)
		return add_fault(f, w, n, out);
	for (size_t i = 0; n > 2 && !strcmp(w[0], "event") && i < f->count; i++)
		if (!strcmp(w[1], "vanish") && !strcmp(f->machines[i].id, w[2])) {
			f->machines[i].gone_us = now_us;
			return 0;
		}
	return complain(out, "not understood", w[0]);
}
