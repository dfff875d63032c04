/*
 * What a transfer that is over has to say: a whole reply, or one sentence why there is none and whether
 * anything of the request may have left.
 *
 * Whole is: libcurl ended without an error and the status is one. Everything else is status 0, also
 * where a status came first: half an answer to a create must not be read as an answer. An answer that
 * names no length ends with its connection and counts as whole; its JSON says the rest.
 * Sentences name host and port; never path, query, key or body. libcurl's own text is quoted only for
 * errors of the connection, before it has seen a request (`detail` in the table).
 * Loop thread; no state. Tests: tests/unit/test_http_client.c
 */
#include <ctype.h>
#include <string.h>

#include "../core/check.h"
#include "../core/text.h"
#include "http_parts.h"

/* Nobody sane asks for more, and a hostile number must not become an overflow. */
#define RETRY_AFTER_MAX_US DAY_US

static const struct {
	CURLcode code;
	bool detail;
	const char *text;
} reasons[] = {
	{CURLE_COULDNT_RESOLVE_HOST, false, "its name could not be resolved; is there a network?"},
	{CURLE_COULDNT_RESOLVE_PROXY, false, "the name of the proxy could not be resolved"},
	{CURLE_COULDNT_CONNECT, false, "no connection"},
	{CURLE_PEER_FAILED_VERIFICATION, true, "its certificate is not trusted"},
	{CURLE_SSL_CACERT_BADFILE, false,
	 "the trusted certificates cannot be read; is ca-certificates installed?"},
	{CURLE_SSL_CONNECT_ERROR, true, "no TLS connection"},
	{CURLE_PROXY, true, "the proxy refused"},
	{CURLE_GOT_NOTHING, false, "it closed the connection without an answer"},
	{CURLE_SEND_ERROR, false, "the connection broke while the request was sent"},
	{CURLE_RECV_ERROR, false, "the connection broke before the answer was whole"},
	{CURLE_PARTIAL_FILE, false, "the answer was cut off"},
	{CURLE_BAD_CONTENT_ENCODING, false, "the compression of the answer is broken"},
	{CURLE_HTTP2, false, "HTTP/2 broke down"},
	{CURLE_HTTP2_STREAM, false, "it gave the HTTP/2 stream up"},
	{CURLE_WEIRD_SERVER_REPLY, false, "what it answers is not HTTP"},
	{CURLE_UNSUPPORTED_PROTOCOL, false, "what it answers is not HTTP"},
	{CURLE_OUT_OF_MEMORY, false, "out of memory"},
};

/* False is a proof (faults.md): error codes say nothing about it, the bytes that were handed to the
 * socket do. On a shared connection HTTP/2 counts them only after all frames went out, so there a
 * ready connection is reason enough for doubt. */
static bool anything_sent(const struct http_outcome *o)
{
	long request = 0, status = 0;
	curl_off_t upload = 0, ready_us = 0;

	curl_easy_getinfo(o->easy, CURLINFO_REQUEST_SIZE, &request);
	curl_easy_getinfo(o->easy, CURLINFO_SIZE_UPLOAD_T, &upload);
	curl_easy_getinfo(o->easy, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_getinfo(o->easy, CURLINFO_PRETRANSFER_TIME_T, &ready_us);
	return request > 0 || upload > 0 || status > 0 || (!o->fresh && ready_us > 0);
}

static double seconds(int64_t us)
{
	return (double)us / (double)SECOND_US;
}

static void put_timeout(struct buf *b, const struct http_outcome *o, bool sent)
{
	curl_off_t resolved_us = 0;

	curl_easy_getinfo(o->easy, CURLINFO_NAMELOOKUP_TIME_T, &resolved_us);
	if (sent)
		buf_printf(b, "no whole answer within %g s", seconds(o->timeout_us));
	else
		buf_printf(b, "%s within %g s",
			   resolved_us > 0 ? "no connection" : "its name was not resolved",
			   seconds(o->end == HTTP_END_TIMEOUT ? o->timeout_us : o->connect_us));
}

static void put_code(struct buf *b, const struct http_outcome *o)
{
	long error = 0, proxy = 0;
	char detail[CURL_ERROR_SIZE];

	curl_easy_getinfo(o->easy, CURLINFO_HTTP_CONNECTCODE, &proxy);
	if (proxy >= 300) {
		buf_printf(b, "the proxy refused the way there, with status %ld", proxy);
		return;
	}
	for (size_t i = 0; i < ARRAY_LEN(reasons); i++) {
		if (reasons[i].code != o->code)
			continue;
		buf_puts(b, reasons[i].text);
		printable_text(detail, sizeof(detail), reasons[i].detail ? o->error : "");
		curl_easy_getinfo(o->easy, CURLINFO_OS_ERRNO, &error);
		if (detail[0])
			buf_printf(b, ": %s", detail);
		else if (o->code == CURLE_COULDNT_CONNECT && error > 0)
			buf_printf(b, ": %s", strerror((int)error));
		return;
	}
	buf_puts(b, curl_easy_strerror(o->code)); /* a fixed text of libcurl */
}

static void say_why(struct http_reply *r, const struct http_outcome *o)
{
	BUF b = {.max = 1024};

	buf_printf(&b, "%s: ", o->where);
	switch (o->end) {
	case HTTP_END_TIMEOUT:
		put_timeout(&b, o, r->sent);
		break;
	case HTTP_END_BODY_LONG:
		buf_printf(&b, "the answer is longer than %zu bytes and was refused", o->reply_max);
		break;
	case HTTP_END_HEADERS_LONG:
		buf_printf(&b, "the answer has more than %zu bytes of headers and was refused",
			   HTTP_HEADERS_MAX);
		break;
	case HTTP_END_MEMORY:
		buf_puts(&b, "out of memory for the answer");
		break;
	case HTTP_END_CURL:
		if (o->code == CURLE_OPERATION_TIMEDOUT)
			put_timeout(&b, o, r->sent);
		else if (o->code == CURLE_OK)
			buf_puts(&b, "what it answers is not HTTP");
		else
			put_code(&b, o);
		break;
	}
	COPY(r->text, b.data ? b.data : "out of memory");
}

/* The last one of several: a proxy on the way adds in front. NULL: absent. */
static const char *header_of(CURL *easy, const char *name)
{
	struct curl_header *h = NULL;

	/* CURLH_HEADER: of the final answer only, no trailer, no 1xx, no CONNECT */
	if (curl_easy_header(easy, name, 0, CURLH_HEADER, -1, &h) != CURLHE_OK)
		return NULL;
	if (h->amount > 1 &&
	    curl_easy_header(easy, name, h->amount - 1, CURLH_HEADER, -1, &h) != CURLHE_OK)
		return NULL;
	return h->value;
}

/* "Sun, 06 Nov 1994 08:49:37 GMT" and the two older forms, that begin with the weekday as well. */
static int64_t http_date_us(const char *s)
{
	time_t at;

	if (!s || !isalpha((unsigned char)*s))
		return UNKNOWN;
	at = curl_getdate(s, NULL);
	return at < 0 || at > INT64_MAX / SECOND_US ? UNKNOWN : (int64_t)at * SECOND_US;
}

/* A moment counts from the answer's own Date: whose clock is wrong does not matter then. */
static int64_t retry_after(const char *s, int64_t date_us)
{
	int64_t us, at_us, now_us = date_us == UNKNOWN ? clock_wall_us() : date_us;
	size_t digits;

	if (!s)
		return UNKNOWN;
	digits = strspn(s, "0123456789");
	if (digits > 0 && s[digits] == '\0') {
		if (parse_int(str_of(s), 0, RETRY_AFTER_MAX_US / SECOND_US, &us, NULL) != 0)
			return RETRY_AFTER_MAX_US;
		return us * SECOND_US;
	}
	at_us = http_date_us(s);
	if (at_us == UNKNOWN)
		return UNKNOWN;
	us = at_us > now_us ? at_us - now_us : 0;
	return us < RETRY_AFTER_MAX_US ? us : RETRY_AFTER_MAX_US;
}

static void reply_nothing(struct http_reply *r)
{
	*r = (struct http_reply){
		.content_type = "", .body = "", .retry_after_us = UNKNOWN, .date_us = UNKNOWN};
}

void http_reply_fill(struct http_reply *r, const struct http_outcome *o, char *content_type,
		     size_t content_type_size)
{
	long status = 0;
	const char *type;

	reply_nothing(r);
	r->sent = anything_sent(o);
	curl_easy_getinfo(o->easy, CURLINFO_RESPONSE_CODE, &status);
	if (o->end != HTTP_END_CURL || o->code != CURLE_OK || status < 100 || status > 599) {
		say_why(r, o);
		return;
	}
	r->status = (int)status;
	type = header_of(o->easy, "Content-Type");
	printable_text(content_type, content_type_size, type ? type : "");
	r->content_type = content_type;
	if (o->body->data) {
		r->body = o->body->data;
		r->len = o->body->len;
		r->owner = o->body;
	}
	r->date_us = http_date_us(header_of(o->easy, "Date"));
	r->retry_after_us = retry_after(header_of(o->easy, "Retry-After"), r->date_us);
}

void http_reply_refuse(struct http_reply *r, const char *where, const char *why)
{
	BUF b = {.max = 1024};

	reply_nothing(r);
	buf_printf(&b, "%s%snot sent: %s", where, *where ? ": " : "", why);
	COPY(r->text, b.data ? b.data : "out of memory");
}
