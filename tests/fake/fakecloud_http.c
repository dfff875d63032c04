/*
 * HTTP/1.1 for the fake cloud: a strict reader of requests, and a writer that can also cut, drip, stall or
 * close without an answer. Requests of one connection are answered in order; what is no well-formed
 * HTTP is answered with 400, closed, and written down as a violation of the client.
 */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "../../src/core/check.h"
#include "fakecloud.h"

#define HEAD_MAX   (16 << 10)
#define BODY_MAX   (1 << 20)
#define DRIP_STEPS 50 /* pieces of a dripped body */

struct conn {
	int fd;
	bool control;
	struct buf in, out;
	size_t sent;
	unsigned requests;
	bool busy;	   /* an answer is on its way */
	bool closing;	   /* closed when the answer is out (or at once if there is none) */
	int64_t due_us;	   /* not before this moment */
	int64_t step_us;   /* drip: pause between pieces; 0: all at once */
	size_t step_bytes; /* size of a piece */
};

/* What a request line and its headers said. Texts point into `head`, which is cut up. */
struct head {
	char *method, *target, *host, *auth, *type;
	int64_t length;		  /* -1: none given */
	const char *rule, *wrong; /* a violation; `rule` without `wrong` is only written down */
};

struct conn *conn_new(int fd, bool control)
{
	struct conn *c = xcalloc(1, sizeof(*c));

	c->fd = fd;
	c->control = control;
	c->in.max = HEAD_MAX + BODY_MAX;
	c->out.max = (size_t)300 << 20;
	return c;
}

void conn_free(struct conn *c)
{
	close(c->fd);
	buf_free(&c->in);
	buf_free(&c->out);
	free(c);
}

int conn_fd(const struct conn *c)
{
	return c->fd;
}

bool conn_is_control(const struct conn *c)
{
	return c->control;
}

/* ---- reading ---- */

static bool token(const char *s)
{
	const char *p = s;

	for (; *p; p++)
		if (!strchr("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
			    "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
			    *p))
			return false;
	return p > s;
}

static bool visible(const char *s)
{
	for (; *s; s++)
		if ((unsigned char)*s <= ' ' || (unsigned char)*s >= 127)
			return false;
	return true;
}

static bool value_ok(const char *s)
{
	for (; *s; s++)
		if (((unsigned char)*s < ' ' && *s != '\t') || *s == 127)
			return false;
	return true;
}

static bool wrong(struct head *h, const char *rule, const char *what)
{
	h->rule = rule;
	h->wrong = what;
	return false;
}

static bool request_line(struct head *h, char *line)
{
	char *version;

	h->method = strsep(&line, " ");
	h->target = line ? strsep(&line, " ") : NULL;
	version = line;
	if (!h->target || !version || strcmp(version, "HTTP/1.1") != 0 || !token(h->method))
		return wrong(h, "http-line", "the request line is not METHOD TARGET HTTP/1.1");
	if (h->target[0] != '/' || !visible(h->target) || strchr(h->target, '#'))
		return wrong(h, "http-target", "the target is no path in visible ASCII");
	return true;
}

static bool once(struct head *h, char **where, char *value)
{
	if (*where)
		return wrong(h, "http-twice", "a header stands twice");
	*where = value;
	return true;
}

static bool length_header(struct head *h, const char *value)
{
	size_t n = strspn(value, "0123456789");

	if (h->length >= 0 || n == 0 || value[n] || n > 9)
		return wrong(h, "http-length", "Content-Length is no single number");
	h->length = strtoll(value, NULL, 10);
	return h->length <= BODY_MAX || wrong(h, "http-length", "the body is above 1 MiB");
}

static bool header_line(struct head *h, char *line)
{
	char *value = strchr(line, ':');

	if (!value)
		return wrong(h, "http-header", "a header without a colon");
	*value++ = '\0';
	value += strspn(value, " \t");
	for (size_t n = strlen(value); n && (value[n - 1] == ' ' || value[n - 1] == '\t'); n--)
		value[n - 1] = '\0';
	if (!token(line) || !value_ok(value))
		return wrong(h, "http-header", "a header with bytes that no header has");
	if (!strcasecmp(line, "Host"))
		return once(h, &h->host, value);
	if (!strcasecmp(line, "Authorization"))
		return once(h, &h->auth, value);
	if (!strcasecmp(line, "Content-Type"))
		return once(h, &h->type, value);
	if (!strcasecmp(line, "Content-Length"))
		return length_header(h, value);
	if (!strcasecmp(line, "Transfer-Encoding"))
		return wrong(h, "http-encoding", "a request with Transfer-Encoding");
	if (!strcasecmp(line, "Expect")) {
		h->rule = "http-expect";
		h->wrong = NULL;
	}
	return true;
}

/* The head without its last CRLF CRLF. */
static bool head_parse(struct head *h, char *text, size_t n)
{
	bool first = true;

	*h = (struct head){.length = -1};
	if (memchr(text, '\0', n))
		return wrong(h, "http-header", "a NUL byte in the head");
	for (char *line = text, *end; line; line = end) {
		end = strstr(line, "\r\n");
		if (end) {
			*end = '\0';
			end += 2;
		}
		if (strpbrk(line, "\r\n"))
			return wrong(h, "http-line", "a line that ends without CRLF");
		if (!(first ? request_line(h, line) : header_line(h, line)))
			return false;
		first = false;
	}
	if (!h->host || !h->host[0])
		return wrong(h, "http-host", "a request without Host");
	if (h->length < 0 && (!strcmp(h->method, "PUT") || !strcmp(h->method, "POST")))
		return wrong(h, "http-length", "a PUT or POST without Content-Length");
	return true;
}

/* ---- answering ---- */

static const char *reason(int status)
{
	static const struct {
		int status;
		const char *text;
	} table[] = {{200, "OK"},
		     {308, "Permanent Redirect"},
		     {400, "Bad Request"},
		     {401, "Unauthorized"},
		     {403, "Forbidden"},
		     {404, "Not Found"},
		     {405, "Method Not Allowed"},
		     {410, "Gone"},
		     {411, "Length Required"},
		     {422, "Unprocessable Entity"},
		     {429, "Too Many Requests"},
		     {500, "Internal Server Error"},
		     {502, "Bad Gateway"},
		     {503, "Service Unavailable"},
		     {504, "Gateway Timeout"}};

	for (size_t i = 0; i < ARRAY_LEN(table); i++)
		if (table[i].status == status)
			return table[i].text;
	return "Unknown";
}

static void put_head(const struct server *s, struct buf *b, const struct fake_http_reply *r,
		     bool chunked, bool closing)
{
	time_t t = time(NULL) + (time_t)(s->skew_us / SECOND_US);
	struct tm tm;
	char date[64];

	strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&t, &tm));
	buf_printf(b, "HTTP/1.1 %d %s\r\nServer: nginx/1.18.0\r\nDate: %s\r\n", r->status,
		   reason(r->status), date);
	if (r->content_type && r->content_type[0])
		buf_printf(b, "Content-Type: %s\r\n", r->content_type);
	if (r->location[0])
		buf_printf(b, "Location: %s\r\n", r->location);
	if (r->retry_after_s)
		buf_printf(b, "Retry-After: %d\r\n", r->retry_after_s);
	if (chunked)
		buf_puts(b, "Transfer-Encoding: chunked\r\n");
	else
		buf_printf(b, "Content-Length: %zu\r\n", r->body.len);
	buf_printf(b, "Connection: %s\r\n\r\n", closing ? "close" : "keep-alive");
}

static void put_chunks(struct buf *b, const struct fake_http_reply *r, size_t n, bool last)
{
	const size_t piece = 1000;

	for (size_t at = 0; at < n; at += piece) {
		size_t m = n - at < piece ? n - at : piece;
		/* A cut falls into the middle of a chunk. */
		size_t said = !last && at + m == n ? m + 100 : m;

		buf_printf(b, "%zx\r\n", said);
		buf_add(b, r->body.data + at, m);
		if (said == m)
			buf_puts(b, "\r\n");
	}
	if (last)
		buf_puts(b, "0\r\n\r\n");
}

static void deliver(const struct server *s, struct conn *c, const struct fake_http_reply *r)
{
	bool cut = r->delivery == FAKE_TRUNCATE || r->delivery == FAKE_CHUNK_CUT;

	buf_reset(&c->out);
	c->sent = 0;
	c->busy = true;
	c->step_us = 0;
	c->due_us = server_now_us(s) + (r->delivery == FAKE_DRIP ? 0 : r->delay_us);
	c->closing = c->closing || cut;
	switch (r->delivery) {
	case FAKE_DROP:
	case FAKE_UNSENT:
		c->closing = true;
		return;
	case FAKE_CHUNKED:
	case FAKE_CHUNK_CUT:
		put_head(s, &c->out, r, true, false);
		put_chunks(&c->out, r, cut ? r->cut_at : r->body.len, !cut);
		break;
	case FAKE_DRIP:
		c->step_us = r->delay_us / DRIP_STEPS + 1;
		c->step_bytes = r->body.len / DRIP_STEPS + 1;
		/* fall through */
	case FAKE_WHOLE:
	case FAKE_TRUNCATE:
		put_head(s, &c->out, r, false, c->closing);
		buf_add(&c->out, r->body.data ? r->body.data : "", cut ? r->cut_at : r->body.len);
		break;
	}
	CHECK(!c->out.failed);
}

static void deliver_400(struct server *s, struct conn *c, const struct head *h)
{
	struct fake_http_reply r = {.status = 400, .content_type = "text/html"};

	s->cloud->violation(s->state, server_now_us(s), h->rule, h->wrong);
	buf_puts(&r.body,
		 "<html><body><center><h1>400 Bad Request</h1></center></body></html>\r\n");
	c->closing = true;
	deliver(s, c, &r);
	fake_http_reply_free(&r);
}

static void answer(struct server *s, struct conn *c, const struct head *h, const char *body)
{
	struct fake_http_reply r = {.status = 0};

	if (h->rule)
		s->cloud->violation(s->state, server_now_us(s), h->rule,
				    "the request has an Expect header");
	s->cloud->request(s->state, server_now_us(s),
			  &(struct fake_http_request){.method = h->method,
						      .target = h->target,
						      .host = h->host,
						      .auth = h->auth,
						      .content_type = h->type,
						      .body = h->length > 0 ? body : NULL,
						      .len = h->length > 0 ? (size_t)h->length : 0,
						      .reused = c->requests > 0},
			  &r);
	c->requests++;
	deliver(s, c, &r);
	fake_http_reply_free(&r);
}

static void eat(struct buf *b, size_t n)
{
	memmove(b->data, b->data + n, b->len - n);
	b->len -= n;
	b->data[b->len] = '\0';
}

/* One request, if it is whole. */
static void take_request(struct server *s, struct conn *c)
{
	char *end = c->in.len ? memmem(c->in.data, c->in.len, "\r\n\r\n", 4) : NULL;
	size_t n = end ? (size_t)(end - c->in.data) : 0;
	FREE char *text = NULL;
	struct head h = {.length = -1};

	if (!end) {
		if (c->in.len > HEAD_MAX && !wrong(&h, "http-head", "the head is above 16 KiB"))
			deliver_400(s, c, &h);
		return;
	}
	text = strndup(c->in.data, n);
	CHECK(text != NULL);
	if (memchr(c->in.data, '\0', n) ? !wrong(&h, "http-header", "a NUL byte in the head")
					: !head_parse(&h, text, n)) {
		deliver_400(s, c, &h);
		return;
	}
	n += 4;
	if (h.length > 0 && c->in.len < n + (size_t)h.length)
		return;
	answer(s, c, &h, c->in.data + n);
	eat(&c->in, n + (h.length > 0 ? (size_t)h.length : 0));
}

static void take_control(struct server *s, struct conn *c)
{
	char *end = c->in.len ? memchr(c->in.data, '\n', c->in.len) : NULL;

	if (!end)
		return;
	*end = '\0';
	control_line(s, c->in.data, &c->out);
	c->busy = c->closing = true;
	c->due_us = 0;
}

/* ---- a step ---- */

short conn_events(const struct conn *c, int64_t now_us, int64_t *due_us)
{
	if (!c->busy)
		return POLLIN;
	if (c->due_us > now_us) {
		*due_us = c->due_us < *due_us ? c->due_us : *due_us;
		return POLLRDHUP;
	}
	return POLLOUT;
}

static bool read_more(struct conn *c)
{
	char bytes[16384];
	ssize_t n = recv(c->fd, bytes, sizeof(bytes), 0);

	if (n > 0)
		buf_add(&c->in, bytes, (size_t)n);
	return n > 0 ? !c->in.failed : n < 0 && (errno == EAGAIN || errno == EINTR);
}

/* false: everything is out and the connection is to be closed, or it broke. */
static bool send_more(const struct server *s, struct conn *c)
{
	size_t left = c->out.len - c->sent, most = c->step_us ? c->step_bytes : left;
	ssize_t n;

	if (left) {
		n = send(c->fd, c->out.data + c->sent, left < most ? left : most, MSG_NOSIGNAL);
		if (n < 0)
			return errno == EAGAIN || errno == EINTR;
		c->sent += (size_t)n;
		if (c->step_us)
			c->due_us = server_now_us(s) + c->step_us;
	}
	if (c->sent < c->out.len)
		return true;
	c->busy = false;
	buf_reset(&c->out);
	c->sent = 0;
	return !c->closing;
}

bool conn_step(struct server *s, struct conn *c, short revents)
{
	if (c->busy && (revents & (POLLERR | POLLHUP | POLLRDHUP)))
		return false; /* the client gave up; what was done is done */
	if (!c->busy && (revents & (POLLIN | POLLERR | POLLHUP)) && !read_more(c))
		return false;
	for (;;) {
		if (!c->busy && c->control)
			take_control(s, c);
		else if (!c->busy)
			take_request(s, c);
		if (!c->busy || c->due_us > server_now_us(s))
			return true;
		if (!send_more(s, c))
			return false;
		if (c->busy || !c->in.len) /* else: the next request came with the last */
			return true;
	}
}
