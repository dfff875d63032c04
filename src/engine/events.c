/*
 * Events, alarms and status. Every state change, order, refusal and automatic act is one event: it
 * goes to the store, the session's log, the streams, and the log as an AUDIT line. Loop thread.
 * Tests: tests/unit/test_engine.c.
 */
#include <stdarg.h>
#include <string.h>

#include "internal.h"

#define ALARMS_MAX	   256
#define EVENT_CONSUMER_MAX 256 /* bytes */

/* ---- events ---- */

static void remember(struct life *l, struct event ev)
{
	if (l->event_count == EVENTS_PER_SESSION) {
		free(l->events[0].json);
		free(l->events[0].text);
		memmove(&l->events[0], &l->events[1],
			(EVENTS_PER_SESSION - 1) * sizeof l->events[0]);
		l->event_count--;
	}
	l->events[l->event_count++] = ev;
}

void events_free(struct life *l)
{
	for (size_t i = 0; i < l->event_count; i++) {
		free(l->events[i].json);
		free(l->events[i].text);
	}
	l->event_count = 0;
}

static void event_stored(void *arg, int err)
{
	(void)arg;
	(void)err; /* an event is history, not an order: the log has it too */
}

/* It may be as long as a spec, and hundreds of events of a session are kept: events show its
 * beginning, the session has all of it. */
static void put_consumer(struct buf *b, const char *s)
{
	size_t n = strnlen(s, EVENT_CONSUMER_MAX + 1);

	if (n == 0)
		return;
	if (n > EVENT_CONSUMER_MAX)
		for (n = EVENT_CONSUMER_MAX; n && ((unsigned char)s[n] & 0xc0) == 0x80;)
			n--; /* never half a character */
	buf_puts(b, ",\"consumer\":");
	buf_json(b, s, n);
}

static void event_json(struct buf *b, const struct engine *e, const struct life *l,
		       const struct caller *who, const char *what, const char *text, int64_t now)
{
	buf_printf(b, "{\"seq\":%lld,\"time\":\"", (long long)e->next_seq);
	put_time(b, now);
	buf_puts(b, "\",\"event\":");
	buf_json(b, what, strlen(what));
	if (l) {
		buf_puts(b, ",\"session\":");
		buf_json(b, l->s.id, strlen(l->s.id));
		buf_puts(b, ",\"name\":");
		buf_json(b, l->s.name, strlen(l->s.name));
		buf_puts(b, ",\"state\":");
		buf_json(b, state_name((enum session_state)l->s.state),
			 strlen(state_name((enum session_state)l->s.state)));
		put_consumer(b, session_consumer(&l->s));
	}
	if (who)
		buf_printf(b, ",\"uid\":%lld,\"pid\":%lld", (long long)who->uid,
			   (long long)who->pid);
	buf_puts(b, ",\"text\":");
	buf_json(b, text, strlen(text));
	buf_putc(b, '}');
}

void event(struct engine *e, struct life *l, const struct caller *who, const char *what,
	   const char *fmt, ...)
{
	struct journal_op op = {.table = J_EVENT};
	int64_t now = engine_now(e);
	BUF text = {0};
	BUF json = {0};
	BUF line = {0};
	char said[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(said, sizeof said, fmt, ap);
	va_end(ap);
	buf_escape(&text, said, strlen(said));
	event_json(&json, e, l, who, what, said, now);
	buf_printf(&line, "%s%s%s%s%s", what, l ? " " : "", l ? l->s.name : "",
		   text.len ? ": " : "", text.data ? text.data : "");
	e->w->log(e->w->self, LOG_AUDIT_, "%s%s%s", line.data, l ? " session=" : "",
		  l ? l->s.id : "");
	CHECK(journal_op_int(&op, e->next_seq++) == 0);
	CHECK(journal_op_int(&op, now) == 0);
	CHECK(journal_op_text(&op, l ? l->s.id : "", l ? strlen(l->s.id) : 0) == 0);
	CHECK(journal_op_text(&op, json.data, json.len) == 0);
	e->w->journal(e->w->self, &op, event_stored, e);
	if (l) {
		BUF own = {0};

		put_time(&own, now);
		buf_printf(&own, " %s%s%s", what, text.len ? ": " : "", text.data ? text.data : "");
		remember(l, (struct event){now, strdup(json.data), buf_take(&own)});
	}
	tell(e, CH_EVENT, l ? &l->s : NULL, json.data);
}

void books_reach(struct engine *e, int64_t time_us)
{
	if (time_us > 0 && (!e->known_since_us || time_us < e->known_since_us))
		e->known_since_us = time_us;
}

static void note_old(struct engine *e, int64_t seq)
{
	if (e->old_event_count == OLD_EVENTS_MAX)
		return;
	if (!e->old_events)
		e->old_events = xcalloc(OLD_EVENTS_MAX, sizeof *e->old_events);
	e->old_events[e->old_event_count++] = seq;
}

void events_forget_old(struct engine *e)
{
	for (size_t i = 0; i < e->old_event_count; i++) {
		struct journal_op op = {.table = J_EVENT, .erase = true};

		CHECK(journal_op_int(&op, e->old_events[i]) == 0);
		e->w->journal(e->w->self, &op, event_stored, e);
	}
	free(e->old_events);
	e->old_events = NULL;
	e->old_event_count = 0;
}

static void note_past(struct engine *e, int64_t seq, int64_t owner_uid, const char *json)
{
	struct past_line *p;

	if (!e->past)
		e->past = xcalloc(EVENTS_PAST_MAX, sizeof *e->past);
	p = &e->past[e->past_at];
	free(p->json);
	*p = (struct past_line){seq, owner_uid, strdup(json)};
	CHECK(p->json);
	e->past_at = (e->past_at + 1) % EVENTS_PAST_MAX;
	e->past_count += e->past_count < EVENTS_PAST_MAX;
}

int64_t engine_past_events(const struct engine *e,
			   void (*each)(void *arg, int64_t seq, int64_t owner_uid,
					const char *json),
			   void *arg)
{
	size_t first = e->past_at + EVENTS_PAST_MAX - e->past_count;

	for (size_t i = 0; i < e->past_count; i++) {
		const struct past_line *p = &e->past[(first + i) % EVENTS_PAST_MAX];

		each(arg, p->seq, p->owner_uid, p->json);
	}
	return (e->past_count ? e->past[first % EVENTS_PAST_MAX].seq : e->next_seq) - 1;
}

void events_past_free(struct engine *e)
{
	for (size_t i = 0; e->past && i < EVENTS_PAST_MAX; i++)
		free(e->past[i].json);
	free(e->past);
	e->past = NULL;
	e->past_at = e->past_count = 0;
}

void event_load(struct engine *e, const struct journal_op *row)
{
	const struct session *s;

	if (row->n != 4 || row->v[0].type != JV_INT || row->v[1].type != JV_INT ||
	    row->v[2].type != JV_TEXT || row->v[3].type != JV_TEXT)
		return;
	if (row->v[0].i >= e->next_seq)
		e->next_seq = row->v[0].i + 1;
	books_reach(e, row->v[1].i);
	if (row->v[1].i < engine_now(e) - e->p->history_keep_us) {
		note_old(e, row->v[0].i);
		return;
	}
	s = engine_by_id(e, row->v[2].text);
	note_past(e, row->v[0].i, s ? s->owner_uid : row->v[2].len ? 0 : UNKNOWN, row->v[3].text);
	if (!s)
		return;
	/* The text for people is made from the JSON when somebody reads it: see engine_session_log.
	 */
	remember(life_of(e, s), (struct event){row->v[1].i, strdup(row->v[3].text), NULL});
}

/* The value of "key":"…" in one of our own lines, still escaped as in JSON. */
static void put_member(struct buf *out, const char *json, const char *key)
{
	char want[32];
	const char *p;

	snprintf(want, sizeof want, "\"%s\":\"", key);
	p = strstr(json, want);
	if (!p)
		return;
	for (p += strlen(want); *p && *p != '"'; p++) {
		if (*p == '\\' && p[1])
			buf_putc(out, *p++);
		buf_putc(out, *p);
	}
}

void engine_session_log(const struct engine *e, const struct session *s, bool json, struct buf *out)
{
	struct life *l = life_of(e, s);

	for (size_t i = 0; i < l->event_count; i++) {
		const struct event *ev = &l->events[i];

		if (json) {
			buf_puts(out, ev->json);
		} else if (ev->text) {
			buf_puts(out, ev->text);
		} else {
			put_time(out, ev->time_us);
			buf_putc(out, ' ');
			put_member(out, ev->json, "event");
			buf_puts(out, ": ");
			put_member(out, ev->json, "text");
		}
		buf_putc(out, '\n');
	}
}

/* ---- alarms ---- */

static struct alarm *alarm_find(struct engine *e, const char *what, const char *subject)
{
	for (size_t i = 0; i < e->alarm_count; i++)
		if (!strcmp(e->alarms[i].what, what) && !strcmp(e->alarms[i].subject, subject))
			return &e->alarms[i];
	return NULL;
}

bool alarm_stands(struct engine *e, const char *what, const char *subject)
{
	return alarm_find(e, what, subject) != NULL;
}

void engine_alarm(struct engine *e, const char *what, const char *subject, const char *text)
{
	struct alarm *a = alarm_find(e, what, subject);

	if (a && !strcmp(a->text, text))
		return;
	if (!a) {
		if (e->alarm_count == ALARMS_MAX)
			return;
		e->alarms = reallocarray(e->alarms, e->alarm_count + 1, sizeof *e->alarms);
		CHECK(e->alarms);
		a = &e->alarms[e->alarm_count++];
		*a = (struct alarm){.since_us = engine_now(e)};
		COPY(a->what, what);
		COPY(a->subject, subject);
	}
	COPY(a->text, text);
	event(e, NULL, NULL, "alarm", "%s %s: %s", what, subject, text);
	tell_soon(e, CH_ALARMS);
	tell_soon(e, CH_STATUS);
}

void engine_alarm_clear(struct engine *e, const char *what, const char *subject)
{
	struct alarm *a = alarm_find(e, what, subject);

	if (!a)
		return;
	*a = e->alarms[--e->alarm_count];
	event(e, NULL, NULL, "alarm_cleared", "%s %s", what, subject);
	tell_soon(e, CH_ALARMS);
	tell_soon(e, CH_STATUS);
}

void engine_alarms(const struct engine *e, struct buf *out)
{
	if (e->alarm_count)
		buf_puts(out, "#since\talarm\tsubject\ttext\n");
	for (size_t i = 0; i < e->alarm_count; i++) {
		const struct alarm *a = &e->alarms[i];

		put_time(out, a->since_us);
		buf_printf(out, "\t%s\t%s\t", a->what, a->subject);
		buf_escape(out, a->text, strlen(a->text));
		buf_putc(out, '\n');
	}
}

/* ---- status ---- */

void engine_status(const struct engine *e, struct status_view *out)
{
	bool fetched = true;

	*out = (struct status_view){.state = "ok", .why = "", .started_us = e->started_us};
	for (size_t i = 0; i < e->life_count; i++) {
		const struct session *s = &e->lives[i]->s;

		if (session_in_history(s) && state_terminal((enum session_state)s->state))
			continue;
		out->by_state[s->state]++;
		if ((s->instance_state == I_EXISTS || s->instance_state == I_UNSURE ||
		     s->instance_state == I_ASKED) &&
		    session_rate_u6(s) > 0)
			out->burn_u6 += session_rate_u6(s);
	}
	for (size_t i = 0; i < e->source_count; i++)
		fetched = fetched && (e->sources[i].fetched_us || e->sources[i].failures);
	if (e->draining) {
		out->state = "draining";
		out->why = "no new purchases until an administrator writes `undrain` to ctl";
	} else if (!fetched || ((e->publish || e->publish_due) && !e->ready)) {
		out->state = "starting";
		out->why = "the offers are being fetched";
	} else if (e->alarm_count) {
		out->state = "degraded";
		out->why = e->alarms[0].text;
	}
}
