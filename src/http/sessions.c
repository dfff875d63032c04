/*
 * /sessions, all but the create: what is shown, and the orders done, extend and DELETE. Every
 * decision is the engine's; here is only whose session it is (engine_may: what is not yours is not
 * there), and the predecessor's words. Loop thread. Tests: tests/mount/http.bats.
 */
#include <stdlib.h>
#include <string.h>

#include "parts.h"

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
	if (v[SP_CONSUMER].set && strcmp(v[SP_CONSUMER].text, s->consumer) != 0)
		return false;
	if (v[SP_STATUS].set &&
	    strcmp(v[SP_STATUS].text, state_name((enum session_state)s->state)) != 0)
		return false;
	return !v[SP_PROVIDER].set || !strcmp(v[SP_PROVIDER].text, s->provider);
}

/* Both directories in order of serial; each is walked once, however long the history is. */
struct walk {
	const struct engine *e;
	const struct session *next[2]; /* of sessions/ and of history/ */
};

static void walk_begin(struct walk *w, const struct engine *e)
{
	w->e = e;
	for (int dir = 0; dir < 2; dir++)
		w->next[dir] = engine_next(e, 0, dir == 1);
}

static const struct session *walk_next(struct walk *w)
{
	const struct session *a = w->next[0], *b = w->next[1];
	int dir = !a || (b && b->serial < a->serial);
	const struct session *s = w->next[dir];

	if (s)
		w->next[dir] = engine_next(w->e, s->serial, dir == 1);
	return s;
}

struct found {
	const struct session **list;
	size_t count, cap;
};

static bool found_add(struct found *f, const struct session *s)
{
	if (f->count == f->cap) {
		size_t cap = f->cap ? 2 * f->cap : 64;
		const struct session **more = reallocarray((void *)f->list, cap,
							   sizeof(const struct session *));

		if (!more)
			return false;
		f->list = more;
		f->cap = cap;
	}
	f->list[f->count++] = s;
	return true;
}

void get_sessions(struct request *r)
{
	struct value v[SP_COUNT];
	struct found f = {0};
	struct walk w;
	bool room = true;
	int64_t skip, most, count = 0;

	if (params_read(r, sessions_params, SP_COUNT, v) != 0)
		return;
	skip = v[SP_OFFSET].set ? v[SP_OFFSET].num : 0;
	most = v[SP_LIMIT].set ? v[SP_LIMIT].num : INT64_MAX;
	walk_begin(&w, r->h->e);
	for (const struct session *s; room && (s = walk_next(&w));)
		if (wanted(r, s, v))
			room = found_add(&f, s);
	buf_puts(&r->out, "{\"count\":");
	if ((int64_t)f.count > skip)
		count = (int64_t)f.count - skip < most ? (int64_t)f.count - skip : most;
	put_json_int(&r->out, count);
	buf_puts(&r->out, ",\"sessions\":[");
	for (int64_t i = 0; i < count; i++) { /* the newest first */
		if (i)
			buf_putc(&r->out, ',');
		put_session(r, f.list[f.count - 1 - (size_t)(skip + i)]);
	}
	buf_puts(&r->out, "]}");
	free((void *)f.list);
	if (room)
		answer(r, 200);
	else
		answer_fail(r, 500, "out of memory");
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
	r->secret = true;
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
