/*
 * /sessions, all but the create: what is shown, and the orders done, extend and DELETE. Every
 * decision is the engine's; here is only whose session it is (engine_may: what is not yours is not
 * there), and the predecessor's words. Loop thread. Tests: tests/mount/http.bats.
 */
#include <stdlib.h>
#include <string.h>

#include "parts.h"

#define WALK_A_STEP  512
#define SHOWN_A_STEP 16 /* about 50 us */

static void put_session(struct request *r, const struct session *s)
{
	struct render x = {.e = r->h->e, .now_us = engine_now(r->h->e), .thing = s};

	put_json_object(&r->out, session_members, session_member_count, &x);
}

const struct session *session_of(struct request *r)
{
	const struct session *s = engine_by_id(r->h->e, r->param);
	char shown[REQUEST_ID_MAX + 1];

	if (s && s->state != S_DRAFT && engine_may(&r->who, s))
		return s;
	clean(shown, r->param);
	answer_fail(r, 404, "session not found: %s", shown);
	return NULL;
}

/* ---- looking ---- */

enum { SP_CONSUMER, SP_STATUS, SP_PROVIDER, SP_LIMIT, SP_OFFSET, SP_COUNT };

const struct param sessions_params[] = {
	[SP_CONSUMER] = {"consumer_id", PT_TEXT, 0, 0, "exact"},
	[SP_STATUS] = {"status", PT_TEXT, 0, 0, "exact"},
	[SP_PROVIDER] = {"provider", PT_TEXT, 0, 0, "exact"},
	[SP_LIMIT] = {"limit", PT_INT, 1, INT64_MAX, "sessions on a page; all if left out"},
	[SP_OFFSET] = {"offset", PT_INT, 0, INT64_MAX, "sessions before the page"},
};
const size_t sessions_param_count = ARRAY_LEN(sessions_params);
_Static_assert(ARRAY_LEN(sessions_params) == SP_COUNT, "every parameter has a row");

static bool wanted(const struct request *r, const struct session *s, const struct value *v)
{
	if (s->state == S_DRAFT || !engine_may(&r->who, s))
		return false;
	if (v[SP_CONSUMER].set && strcmp(v[SP_CONSUMER].text, session_consumer(s)) != 0)
		return false;
	if (v[SP_STATUS].set &&
	    strcmp(v[SP_STATUS].text, state_name((enum session_state)s->state)) != 0)
		return false;
	return !v[SP_PROVIDER].set || !strcmp(v[SP_PROVIDER].text, s->provider);
}

/* The list as a job: a history of 400 days is long. First the serials of what is wanted, in order,
 * from both directories; then, the newest first, what is still there and still wanted. */
struct listing {
	struct value
		v[SP_COUNT]; /* texts: of the query string, which lives as long as the request */
	int64_t last;	     /* serial: walked up to here */
	bool walked;
	int64_t *serials;
	size_t count, cap, at; /* at: the next to show, counted from the newest */
	int64_t shown;
	struct buf text;
};

static void listing_free(void *job)
{
	struct listing *l = job;

	buf_free(&l->text);
	free(l->serials);
	free(l);
}

static bool listing_add(struct listing *l, int64_t serial)
{
	if (l->count == l->cap) {
		size_t cap = l->cap ? 2 * l->cap : 64;
		int64_t *more = reallocarray(l->serials, cap, sizeof(*more));

		if (!more)
			return false;
		l->serials = more;
		l->cap = cap;
	}
	l->serials[l->count++] = serial;
	return true;
}

/* False: memory is out. */
static bool listing_walk(const struct request *r, struct listing *l)
{
	const struct engine *e = r->h->e;
	const struct session *next[2] = {engine_next(e, l->last, false),
					 engine_next(e, l->last, true)};

	for (int i = 0; i < WALK_A_STEP; i++) {
		int dir = !next[0] || (next[1] && next[1]->serial < next[0]->serial);
		const struct session *s = next[dir];

		l->walked = !s;
		if (!s)
			break;
		l->last = s->serial;
		if (wanted(r, s, l->v) && !listing_add(l, s->serial))
			return false;
		next[dir] = engine_next(e, s->serial, dir == 1);
	}
	return true;
}

static void listing_show(const struct request *r, struct listing *l)
{
	struct render x = {.e = r->h->e, .now_us = engine_now(r->h->e)};
	int64_t most = l->v[SP_LIMIT].set ? l->v[SP_LIMIT].num : INT64_MAX;

	for (int i = 0; i < SHOWN_A_STEP && l->at < l->count; i++, l->at++) {
		const struct session *s = engine_by_serial(r->h->e,
							   l->serials[l->count - 1 - l->at]);

		if (!s || !wanted(r, s, l->v))
			continue;
		if (l->shown++)
			buf_putc(&l->text, ',');
		x.thing = s;
		put_json_object(&l->text, session_members, session_member_count, &x);
		if (l->shown == most)
			l->at = l->count - 1; /* the page is full */
	}
}

static void listing_step(struct request *r)
{
	struct listing *l = r->job;
	int64_t skip = l->v[SP_OFFSET].set ? l->v[SP_OFFSET].num : 0;

	if (!l->walked) {
		if (!listing_walk(r, l))
			answer_fail(r, 500, "out of memory");
		else if (l->walked)
			l->at = skip < (int64_t)l->count ? (size_t)skip : l->count;
		return;
	}
	if (l->at < l->count) {
		listing_show(r, l);
		return;
	}
	buf_puts(&r->out, "{\"count\":");
	put_json_int(&r->out, l->shown);
	buf_puts(&r->out, ",\"sessions\":[");
	buf_add(&r->out, l->text.data, l->text.len);
	buf_puts(&r->out, "]}");
	if (l->text.failed)
		answer_fail(r, 500, "out of memory");
	else
		answer(r, 200);
}

void get_sessions(struct request *r)
{
	struct value v[SP_COUNT];
	struct listing *l;

	if (params_read(r, sessions_params, SP_COUNT, v) != 0)
		return;
	l = calloc(1, sizeof(*l));
	if (!l) {
		answer_fail(r, 500, "out of memory");
		return;
	}
	memcpy(l->v, v, sizeof(v));
	r->job = l;
	r->job_free = listing_free;
	r->step = listing_step;
}

void get_session(struct request *r)
{
	const struct session *s = session_of(r);

	if (!s)
		return;
	put_session(r, s);
	answer(r, 200);
}

void get_diagnostics(struct request *r)
{
	const struct session *s = session_of(r);
	struct render x = {.e = r->h->e, .now_us = engine_now(r->h->e), .thing = s};

	if (!s)
		return;
	if (s->state != S_RUNNING) {
		answer_fail(r, 400,
			    "session is not running; diagnostics only available for running "
			    "sessions");
		return;
	}
	put_json_object(&r->out, diagnostics_members, diagnostics_member_count, &x);
	answer(r, 200);
}

/* As at the mount, where the file is 0400: its owner and root, no other administrator. */
void get_key(struct request *r)
{
	const struct session *s = session_of(r);

	if (!s)
		return;
	if (r->who.uid != 0 && r->who.uid != s->owner_uid) {
		answer_fail(r, 404, "only the owner of session %s can read its key", s->id);
		return;
	}
	if (state_terminal((enum session_state)s->state) || !s->private_key.len) {
		answer_fail(r, 404, "session %s has no key: it is %s", s->id,
			    state_name((enum session_state)s->state));
		return;
	}
	answer_secret(r);
	buf_puts(&r->out, "{\"ssh_private_key\":");
	put_json_text(&r->out, s->private_key.bytes);
	buf_putc(&r->out, '}');
	answer(r, 200);
}

/* ---- orders ---- */

static void ended(void *arg, int err, const struct error *why)
{
	struct request *r = arg;
	const struct session *s = engine_by_id(r->h->e, r->session);

	if (err)
		answer_error(r, why);
	else
		answer_message(r,
			       !strcmp(r->method, "DELETE") && (!s || engine_proven(s))
				       ? "session destroyed"
				       : "session shutdown initiated",
			       r->session);
}

void delete_session(struct request *r)
{
	const struct session *s = session_of(r);

	if (!s)
		return;
	COPY(r->session, s->id);
	if (!session_in_history(s))
		engine_rmdir(r->h->e, &r->who, s, ended, r);
	else if (engine_proven(s))
		answer_message(r, "session destroyed", s->id);
	else /* it left sessions/ already and is being destroyed: a real order each time */
		engine_ctl(r->h->e, &r->who, s, str_of("destroy"), ended, r);
}

static bool refuse_ended(struct request *r, const struct session *s, bool stopping_too)
{
	enum session_state state = (enum session_state)s->state;

	if (!state_terminal(state) && !(stopping_too && state == S_STOPPING))
		return false;
	answer_fail(r, 409, "session %s is in terminal state: %s", s->id, state_name(state));
	return true;
}

void post_done(struct request *r)
{
	const struct session *s = session_of(r);

	if (!s || refuse_ended(r, s, false))
		return;
	COPY(r->session, s->id);
	engine_ctl(r->h->e, &r->who, s, str_of("done"), ended, r);
}

const struct field extend_fields[] = {
	{"additional_hours", PT_INT, true, 1, 12, "how far to move the end"},
};
const size_t extend_field_count = ARRAY_LEN(extend_fields);

static void extended(void *arg, int err, const struct error *why)
{
	struct request *r = arg;
	const struct session *s = engine_by_id(r->h->e, r->session);
	int64_t tenths;

	if (err == -ERANGE && s) {
		tenths = (engine_now(r->h->e) - s->bought_us) / (HOUR_US / 10);
		answer_fail(
			r, 400,
			"extension would exceed %lld-hour hard max: session %s has been running "
			"for %lld.%lld hours, requested %lld more hours",
			(long long)(s->hard_max_us / HOUR_US), s->id, (long long)(tenths / 10),
			(long long)(tenths % 10), (long long)r->number);
		return;
	}
	if (err || !s) {
		if (err)
			answer_error(r, why);
		else
			answer_fail(r, 404, "session not found: %s", r->session);
		return;
	}
	buf_puts(&r->out, "{\"message\":\"session extended\",\"new_expires_at\":");
	put_json_time(&r->out, s->expires_us);
	buf_puts(&r->out, ",\"session_id\":");
	put_json_text(&r->out, s->id);
	buf_putc(&r->out, '}');
	answer(r, 200);
}

void post_extend(struct request *r)
{
	const struct session *s;
	struct value v[1];
	struct error why;
	void *root;
	char order[32];

	if (body_parse(r->body.data, r->body.len, extend_fields, 1, v, &root, &why) != 0) {
		answer_error(r, &why);
		return;
	}
	body_free(root);
	s = session_of(r);
	if (!s || refuse_ended(r, s, true))
		return;
	r->number = v[0].num;
	COPY(r->session, s->id);
	snprintf(order, sizeof(order), "extend %lldh", (long long)r->number);
	engine_ctl(r->h->e, &r->who, s, str_of(order), extended, r);
}
