/*
 * GET /events: server-sent events, the same lines as the file watch/events, for who may see their
 * session. Each stream has a queue of bounded size; what does not fit is counted and the reader is
 * told (`event: lost`). The last PAST_EVENTS events are kept, so that Last-Event-ID continues
 * where a reader was cut off, over a restart too: the store has them.
 *
 * A stream with nothing to say is suspended. A comment now and then finds out whether its client
 * is still there. Loop thread. Tests: tests/mount/http_events.bats.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "parts.h"

struct stream {
	struct stream *next, **at;
	struct http *h;
	struct MHD_Connection *c;
	struct caller who;
	struct buf queue;
	size_t sent; /* of the queue */
	int64_t lost;
	int64_t beat_ms; /* when the next comment is due */
	bool suspended, ending;
};

/* ---- the past ---- */

static int64_t line_seq(const char *json, size_t n)
{
	static const char head[] = "{\"seq\":";
	struct str digits = {json + sizeof(head) - 1, 0};
	int64_t seq = 0;

	if (n < sizeof(head) || memcmp(json, head, sizeof(head) - 1) != 0)
		return 0;
	while (sizeof(head) - 1 + digits.n < n && digits.p[digits.n] >= '0' &&
	       digits.p[digits.n] <= '9')
		digits.n++;
	return parse_int(digits, 1, INT64_MAX, &seq, NULL) == 0 ? seq : 0;
}

static void past_add(struct http *h, int64_t seq, int64_t owner_uid, const char *json, size_t n)
{
	struct past_event *p = &h->past[h->past_at];
	char *copy = strndup(json, n);

	if (!copy || !seq) {
		free(copy);
		return;
	}
	if (h->past_count == PAST_EVENTS)
		h->past_lost_seq = p->seq;
	else
		h->past_count++;
	free(p->json);
	*p = (struct past_event){.seq = seq, .owner_uid = owner_uid, .json = copy};
	h->past_at = (h->past_at + 1) % PAST_EVENTS;
}

static void past_load(void *arg, int64_t seq, int64_t owner_uid, const char *json)
{
	past_add(arg, seq, owner_uid, json, strlen(json));
}

void streams_begin(struct http *h)
{
	h->past = calloc(PAST_EVENTS, sizeof(*h->past));
	CHECK(h->past != NULL); /* start-up */
	h->past_lost_seq = engine_past_events(h->e, past_load, h);
}

void streams_free(struct http *h)
{
	for (size_t i = 0; h->past && i < PAST_EVENTS; i++)
		free(h->past[i].json);
	free(h->past);
	h->past = NULL;
}

/* ---- one stream ---- */

static bool may_see(const struct caller *who, int64_t owner_uid)
{
	return owner_uid == UNKNOWN || who->admin || who->uid == owner_uid;
}

static void stream_wake(struct stream *st)
{
	if (!st->suspended)
		return;
	st->suspended = false;
	MHD_resume_connection(st->c);
	http_kick(st->h);
}

static size_t waiting(const struct stream *st)
{
	return st->queue.len - st->sent;
}

static void put_event(struct buf *b, int64_t seq, const char *json)
{
	buf_printf(b, "id: %" PRId64 "\ndata: ", seq);
	buf_puts(b, json);
	buf_puts(b, "\n\n");
}

/* As soon as there is room, before anything newer. */
static void tell_lost(struct stream *st)
{
	if (!st->lost || waiting(st) > STREAM_QUEUE_MAX / 2)
		return;
	buf_printf(&st->queue, "event: lost\ndata: {\"lost\":%" PRId64 "}\n\n", st->lost);
	st->lost = 0;
}

static void stream_event(struct stream *st, int64_t seq, const char *json)
{
	tell_lost(st);
	if (st->lost || waiting(st) + strlen(json) > STREAM_QUEUE_MAX) {
		st->lost++;
		return;
	}
	put_event(&st->queue, seq, json);
	stream_wake(st);
}

static ssize_t stream_read(void *arg, uint64_t pos, char *out, size_t max)
{
	struct stream *st = arg;
	size_t n = waiting(st);

	(void)pos;
	if (n == 0)
		tell_lost(st);
	n = waiting(st) < max ? waiting(st) : max;
	if (n == 0) {
		if (st->ending || st->queue.failed)
			return MHD_CONTENT_READER_END_OF_STREAM;
		st->suspended = true;
		MHD_suspend_connection(st->c);
		return 0;
	}
	memcpy(out, st->queue.data + st->sent, n);
	st->sent += n;
	if (st->sent == st->queue.len) {
		buf_reset(&st->queue);
		st->sent = 0;
	} else if (st->sent > STREAM_QUEUE_MAX) { /* never empty: give back what is sent */
		st->queue.len -= st->sent;
		memmove(st->queue.data, st->queue.data + st->sent, st->queue.len + 1);
		st->sent = 0;
	}
	return (ssize_t)n;
}

static void stream_free(void *arg)
{
	struct stream *st = arg;

	*st->at = st->next;
	if (st->next)
		st->next->at = st->at;
	st->h->stream_count--;
	buf_free(&st->queue);
	free(st);
}

/* ---- what is told ---- */

void stream_changed(struct http *h, const struct change *c)
{
	int64_t owner = c->session ? c->session->owner_uid : UNKNOWN;
	int64_t seq = line_seq(c->text, strlen(c->text));

	past_add(h, seq, owner, c->text, strlen(c->text));
	for (struct stream *st = h->streams; st; st = st->next)
		if (may_see(&st->who, owner))
			stream_event(st, seq, c->text);
}

int64_t stream_beat_ms(const struct http *h)
{
	int64_t next = INT64_MAX;

	for (const struct stream *st = h->streams; st; st = st->next)
		if (st->beat_ms < next)
			next = st->beat_ms;
	return next;
}

void stream_beat(struct http *h, int64_t now_ms)
{
	for (struct stream *st = h->streams; st; st = st->next) {
		if (st->beat_ms > now_ms)
			continue;
		st->beat_ms = now_ms + STREAM_BEAT_MS;
		if (waiting(st))
			continue;
		buf_puts(&st->queue, ":\n\n");
		stream_wake(st);
	}
}

void streams_stop(struct http *h)
{
	for (struct stream *st = h->streams; st; st = st->next) {
		st->ending = true;
		stream_wake(st);
	}
}

static void replay(struct stream *st, int64_t after)
{
	const struct http *h = st->h;

	if (after < h->past_lost_seq)
		st->lost = h->past_lost_seq - after;
	for (size_t i = 0; i < h->past_count; i++) {
		const struct past_event *p =
			&h->past[(h->past_at + PAST_EVENTS - h->past_count + i) % PAST_EVENTS];

		if (p->seq > after && may_see(&st->who, p->owner_uid)) {
			tell_lost(st);
			put_event(&st->queue, p->seq, p->json);
		}
	}
}

void get_events(struct request *r)
{
	static const struct param last = {"Last-Event-ID", PT_INT, 0, INT64_MAX, ""};
	const char *after = MHD_lookup_connection_value(r->c, MHD_HEADER_KIND, last.name);
	struct http *h = r->h;
	struct stream *st;
	struct error why;
	int64_t seq = 0;

	if (after && after[0] && number_read(&last, after, &seq, &why) != 0) {
		answer_error(r, &why);
		return;
	}
	r->type = "text/event-stream";
	if (!strcmp(r->method, "HEAD")) {
		answer(r, 200);
		return;
	}
	st = h->stream_count < STREAMS_MAX ? calloc(1, sizeof(*st)) : NULL;
	if (st)
		r->stream = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 16384, stream_read,
							      st, stream_free);
	if (!st || !r->stream) {
		r->type = NULL;
		free(st);
		answer_fail(r, 503, "there are %d event streams already; close one", STREAMS_MAX);
		return;
	}
	*st = (struct stream){.h = h, .c = r->c, .who = r->who};
	st->beat_ms = (int64_t)uv_now(h->loop) + STREAM_BEAT_MS;
	st->next = h->streams;
	if (st->next)
		st->next->at = &st->next;
	st->at = &h->streams;
	h->streams = st;
	h->stream_count++;
	buf_puts(&st->queue, "retry: 2000\n\n");
	if (after && after[0])
		replay(st, seq);
	/* A reader may be silent as long as it likes, and stalled for five minutes. */
	MHD_set_connection_option(r->c, MHD_CONNECTION_OPTION_TIMEOUT, 300U);
	conn_phase(h, r->conn, PH_STREAM, STREAM_BEAT_MS);
	r->conn->deadline_ms = INT64_MAX;
	answer(r, 200);
}
