/*
 * Connections and requests. A request whose answer has to wait is suspended and resumed by the
 * order's callback; a client that goes away meanwhile changes nothing.
 *
 * Limits: connections, headers (CONNECTION_MEMORY), one body, all bodies together, and the time of
 * each phase: libmicrohttpd ends connections that are silent, the deadlines here end those that
 * drip. A refused body is read to its end (up to DRAIN_MAX), so that the client can read why.
 *
 * Loop thread. Tests: tests/mount/http.bats, tests/mount/http_limits.bats.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>

#include "parts.h"

/* ---- time ---- */

static void deadlines_due(uv_timer_t *t);

void deadline_arm(struct http *h, int64_t at_ms)
{
	int64_t now = (int64_t)uv_now(h->loop);

	if (at_ms >= h->deadline_ms || h->stopped)
		return;
	h->deadline_ms = at_ms;
	uv_timer_start(&h->deadline_timer, deadlines_due, at_ms > now ? (uint64_t)(at_ms - now) : 0,
		       0);
}

void conn_phase(struct http *h, struct conn *k, enum phase phase, int64_t limit_ms)
{
	k->phase = phase;
	k->deadline_ms = limit_ms ? (int64_t)uv_now(h->loop) + limit_ms : INT64_MAX;
	deadline_arm(h, k->deadline_ms);
}

void request_deadline(struct request *r, int64_t limit_ms, void (*late)(struct request *r))
{
	r->late = late;
	conn_phase(r->h, r->conn, PH_WORK, limit_ms);
}

static void conn_late(struct conn *k)
{
	const union MHD_ConnectionInfo *i;

	k->deadline_ms = INT64_MAX;
	if (k->phase == PH_WORK) {
		if (k->r && k->r->late)
			k->r->late(k->r);
		return;
	}
	i = MHD_get_connection_info(k->c, MHD_CONNECTION_INFO_CONNECTION_FD);
	if (i)
		shutdown(i->connect_fd, SHUT_RDWR); /* libmicrohttpd sees the end and closes it */
}

static void deadlines_due(uv_timer_t *t)
{
	struct http *h = t->data;
	int64_t now = (int64_t)uv_now(h->loop), next;

	h->deadline_ms = INT64_MAX;
	stream_beat(h, now);
	creates_due(h, now);
	next = stream_beat_ms(h) < creates_due_ms(h) ? stream_beat_ms(h) : creates_due_ms(h);
	for (struct conn *k = h->conns; k; k = k->next) {
		if (k->deadline_ms <= now)
			conn_late(k);
		if (k->deadline_ms < next)
			next = k->deadline_ms;
	}
	if (next != INT64_MAX)
		deadline_arm(h, next);
}

/* ---- connections ---- */

void conn_event(void *cls, struct MHD_Connection *c, void **slot,
		enum MHD_ConnectionNotificationCode code)
{
	struct http *h = cls;
	struct conn *k = *slot;

	if (code == MHD_CONNECTION_NOTIFY_STARTED) {
		k = calloc(1, sizeof(*k));
		if (!k)
			return; /* its requests are refused */
		k->c = c;
		k->h = h;
		k->next = h->conns;
		if (k->next)
			k->next->at = &k->next;
		k->at = &h->conns;
		h->conns = k;
		*slot = k;
		conn_phase(h, k, PH_HEAD, h->head_limit_ms);
	} else if (k) {
		*k->at = k->next;
		if (k->next)
			k->next->at = k->at;
		free(k);
		*slot = NULL;
	}
}

static struct conn *conn_of(struct MHD_Connection *c)
{
	const union MHD_ConnectionInfo *i = MHD_get_connection_info(
		c, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

	return i ? i->socket_context : NULL;
}

/* ---- one request ---- */

void make_uuid(char out[40])
{
	unsigned char b[16];

	CHECK(getrandom(b, sizeof(b), 0) == (ssize_t)sizeof(b));
	b[6] = (unsigned char)((b[6] & 0x0f) | 0x40);
	b[8] = (unsigned char)((b[8] & 0x3f) | 0x80);
	snprintf(out, 40, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
		 b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12],
		 b[13], b[14], b[15]);
}

/* The client's own if it is harmless, else a new one. */
static void request_name(struct request *r)
{
	const char *given = MHD_lookup_connection_value(r->c, MHD_HEADER_KIND, "X-Request-ID");
	size_t n = given ? strspn(given, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
					 "0123456789._-")
			 : 0;
	char uuid[40];

	if (n > 0 && n <= REQUEST_ID_MAX && !given[n]) {
		COPY(r->id, given);
		return;
	}
	make_uuid(uuid);
	COPY(r->id, uuid);
}

void *request_seen(void *cls, const char *uri, struct MHD_Connection *c)
{
	struct request *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->h = cls;
	r->c = c;
	r->uri = strdup(uri);
	r->conn = conn_of(c);
	r->begun_ns = (int64_t)uv_hrtime();
	r->body.secret = true; /* people put tokens where they do not belong */
	if (r->uri && r->conn)
		return r;
	free(r->uri);
	free(r);
	return NULL;
}

static void body_drop(struct request *r)
{
	r->h->body_bytes -= r->body.len;
	buf_free(&r->body);
}

void request_ended(void *cls, struct MHD_Connection *c, void **slot,
		   enum MHD_RequestTerminationCode code)
{
	struct request *r = *slot;

	(void)cls;
	(void)c;
	(void)code;
	*slot = NULL;
	if (!r)
		return;
	if (r->conn) {
		r->conn->r = NULL;
		conn_phase(r->h, r->conn, PH_HEAD, r->h->head_limit_ms);
	}
	body_drop(r);
	buf_free(&r->out);
	if (r->job_free)
		r->job_free(r->job);
	if (r->stream)
		MHD_destroy_response(r->stream);
	free(r->location);
	free(r->uri);
	free(r);
}

static void request_wake(struct request *r)
{
	if (!r->suspended)
		return;
	r->suspended = false;
	MHD_resume_connection(r->c);
	http_kick(r->h);
}

void request_again(struct request *r)
{
	r->began = false;
	request_wake(r);
}

void answer(struct request *r, int status)
{
	if (r->answered)
		return;
	r->answered = true;
	r->status = status;
	r->late = NULL;
	request_wake(r);
}

static void put_failure(struct request *r, const char *text)
{
	buf_reset(&r->out);
	buf_puts(&r->out, "{\"error\":");
	put_json_text(&r->out, text);
	buf_puts(&r->out, ",\"request_id\":");
	put_json_text(&r->out, r->id);
	buf_putc(&r->out, '}');
}

void answer_fail(struct request *r, int status, const char *fmt, ...)
{
	struct error why;
	char text[sizeof(why.text)];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	(void)fail(&why, ERR_INVALID, "%s", text); /* one line, valid UTF-8 */
	put_failure(r, why.text);
	answer(r, status);
}

void answer_error(struct request *r, const struct error *why)
{
	put_failure(r, why->text);
	answer(r, err_http(why->code));
}

void answer_message(struct request *r, const char *message, const char *session_id)
{
	buf_puts(&r->out, "{\"message\":");
	put_json_text(&r->out, message);
	buf_puts(&r->out, ",\"session_id\":");
	put_json_text(&r->out, session_id);
	buf_putc(&r->out, '}');
	answer(r, 200);
}

/* ---- the answer goes out ---- */

void answer_secret(struct request *r)
{
	r->secret = r->out.secret = true;
}

static void sent_free(void *arg)
{
	struct buf *sent = arg;

	buf_free(sent);
	free(sent);
}

/* Not of a secret: libmicrohttpd's own copy of a slice would not be wiped. */
static struct MHD_Response *response_large(struct request *r)
{
	struct large *l = large_new(r);

	if (!l)
		return NULL;
	l->own = r->out;
	r->out = (struct buf){0};
	if (large_add(l, l->own.data, l->own.len))
		return large_response(l);
	large_free(l);
	return NULL;
}

static struct MHD_Response *response_make(struct request *r)
{
	static char sorry[] = "{\"error\":\"out of memory\"}";
	struct buf *sent;
	struct MHD_Response *m;

	if (r->stream) {
		m = r->stream;
		r->stream = NULL;
		return m;
	}
	buf_add(&r->out, "", 0);
	if (!r->out.failed && r->out.len >= LARGE_ANSWER && !r->secret)
		return response_large(r);
	sent = r->out.failed ? NULL : calloc(1, sizeof(*sent));
	if (!sent) {
		r->status = 500;
		return MHD_create_response_from_buffer(strlen(sorry), sorry,
						       MHD_RESPMEM_PERSISTENT);
	}
	*sent = r->out;
	r->out = (struct buf){0};
	m = MHD_create_response_from_buffer_with_free_callback_cls(sent->len, sent->data, sent_free,
								   sent);
	if (!m)
		sent_free(sent);
	return m;
}

static void count_request(const struct request *r)
{
	struct metrics *m = r->h->args.metrics;
	const char *path = r->route ? r->route->path : "unknown";
	char status[16];

	if (!m)
		return;
	snprintf(status, sizeof(status), "%d", r->status);
	metric_add(m, METRIC_HTTP_REQUESTS, r->method, path, status, 1);
	if (r->conn->phase != PH_STREAM)
		metric_observe(m, METRIC_HTTP_TIME, r->method, path,
			       ((int64_t)uv_hrtime() - r->begun_ns) / 1000);
}

static enum MHD_Result request_reply(struct request *r)
{
	struct MHD_Response *m = response_make(r);
	enum MHD_Result queued;
	const char *type = r->type ? r->type : "application/json; charset=utf-8";

	if (!m)
		return MHD_NO;
	body_drop(r);
	if (r->status != 204)
		MHD_add_response_header(m, "Content-Type", type);
	MHD_add_response_header(m, "X-Request-ID", r->id);
	MHD_add_response_header(m, "X-Content-Type-Options", "nosniff");
	if (r->secret || r->conn->phase == PH_STREAM)
		MHD_add_response_header(m, "Cache-Control", "no-store");
	if (r->status == 401)
		MHD_add_response_header(m, "WWW-Authenticate", "Bearer realm=\"gpufs\"");
	if (r->allow[0])
		MHD_add_response_header(m, "Allow", r->allow);
	if (r->location)
		MHD_add_response_header(m, "Location", r->location);
	count_request(r);
	if (r->conn->phase != PH_STREAM)
		conn_phase(r->h, r->conn, PH_SEND, SEND_LIMIT_MS);
	queued = MHD_queue_response(r->c, (unsigned)r->status, m);
	MHD_destroy_response(m);
	return queued;
}

/* ---- the request comes in ---- */

static enum MHD_Result request_start(struct request *r, const char *url, const char *method)
{
	const char *expect = MHD_lookup_connection_value(r->c, MHD_HEADER_KIND, "Expect");
	const char *length = MHD_lookup_connection_value(r->c, MHD_HEADER_KIND, "Content-Length");
	int64_t n = 0;

	r->started = true;
	r->conn->r = r;
	conn_phase(r->h, r->conn, PH_BODY, r->h->body_limit_ms);
	request_name(r);
	route_begin(r, url, method);
	if (!r->answered && r->route->reads_body && length &&
	    (parse_int(str_of(length), 0, INT64_MAX, &n, NULL) != 0 || n > (int64_t)BODY_MAX))
		answer_fail(r, 400, "http: request body too large");
	/* A client that waits for leave to send its body is told at once. */
	return r->answered && expect ? request_reply(r) : MHD_YES;
}

/* False: it goes on and on, so the connection is cut. */
static bool request_take(struct request *r, const char *data, size_t n)
{
	struct http *h = r->h;

	if (r->answered || !r->route->reads_body) {
		r->drained += n;
		return r->drained <= DRAIN_MAX;
	}
	if (r->body.len + n > BODY_MAX) {
		body_drop(r);
		answer_fail(r, 400, "http: request body too large");
		return true;
	}
	if (h->body_bytes + n > BODIES_MAX) {
		body_drop(r);
		answer_fail(r, 503, "too many large requests at once; try again in a moment");
		return true;
	}
	buf_add(&r->body, data, n);
	if (r->body.failed) {
		answer_fail(r, 500, "out of memory");
		return true;
	}
	h->body_bytes += n;
	return true;
}

/* False: this turn is spent, and there is more to do. Orders never wait: libmicrohttpd forgets a
 * suspended request whose client has gone meanwhile, and an order that was received is carried out. */
static bool request_work(struct request *r)
{
	bool order;

	if (r->h->stopped && !r->answered)
		answer_fail(r, 503, "gpufs is stopping; try again in a moment");
	if (r->answered)
		return true;
	CHECK(r->route != NULL);
	order = strcmp(r->route->method, "GET") != 0;
	while (!r->answered && (!r->began || r->step)) {
		if (!order && turn_spent(r->h))
			return false;
		if (r->began) {
			r->step(r);
			continue;
		}
		r->began = true;
		conn_phase(r->h, r->conn, PH_WORK, 0);
		r->route->handle(r);
	}
	return true;
}

enum MHD_Result request_turn(void *cls, struct MHD_Connection *c, const char *url,
			     const char *method, const char *version, const char *data,
			     size_t *size, void **slot)
{
	struct request *r = *slot;

	(void)cls;
	(void)version;
	if (!r)
		return MHD_NO;
	if (!r->started)
		return request_start(r, url, method);
	if (*size) {
		bool more = request_take(r, data, *size);

		*size = 0;
		return more ? MHD_YES : MHD_NO;
	}
	if (!request_work(r)) {
		turn_wait(r->conn);
		return MHD_YES;
	}
	if (r->answered)
		return request_reply(r);
	r->suspended = true;
	MHD_suspend_connection(c);
	return MHD_YES;
}

/* As usual, but a NUL stays written out: no id or value ends early. */
size_t uri_unescape(void *cls, struct MHD_Connection *c, char *s)
{
	char *from = s, *to = s;

	(void)cls;
	(void)c;
	while (*from) {
		unsigned byte;
		char hex[3] = {0};

		if (from[0] == '%' && from[1] && from[2]) {
			memcpy(hex, from + 1, 2);
			if (strspn(hex, "0123456789abcdefABCDEF") == 2 && strcmp(hex, "00") != 0) {
				byte = (unsigned)strtoul(hex, NULL, 16);
				*to++ = (char)byte;
				from += 3;
				continue;
			}
		}
		*to++ = *from++;
	}
	*to = '\0';
	return (size_t)(to - s);
}
