/*
 * src/io/http_client.c against real servers on loopback (web_fake.c) that answer well, badly, too late
 * or not at all. Every reply of every test is searched for the key, the query and the body of its
 * request. The linker sends free and realloc here (--wrap), so that memory is searched as it is freed.
 * The test of a silent name server needs root: it has a resolv.conf in a mount namespace of its own.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <malloc.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../src/core/check.h"
#include "../../src/core/text.h"
#include "../../src/io/io.h"
#include "web_fake.h"

#include <cmocka.h> /* after ours: it makes `fail` a macro */

#define KEY	"KEYSECRET"
#define QUERY	"QUERYSECRET"
#define CONTENT "BODYSECRET"
#define AUTH	"Authorization: Bearer " KEY
#define JSON	"{\"onstart\":\"" CONTENT "\"}"
#define LATE_US (10 * SECOND_US) /* never reached; the loop would stand still for 30 s */

static struct {
	char dir[64], ca[96];
	uv_loop_t loop;
	struct http_client *client;
	char name_server[32];		/* an address that no other run of this test uses */
	bool own_names;			/* resolv.conf is ours */
	pthread_t thread;		/* of the loop */
	int found;			/* blocks freed on it with a secret inside */
	int64_t last_tick, longest_gap; /* of the loop */
} t;

struct seen {
	int calls, status;
	bool sent;
	size_t len;
	int64_t retry_after_us, date_us, took_us;
	char type[64], body[256], text[200], url[160];
};

/* ---- memory ---- */

void __real_free(void *p);
void *__real_realloc(void *p, size_t n);
void __wrap_free(void *p);
void *__wrap_realloc(void *p, size_t n);

static void look_for_secrets(const void *p)
{
	size_t n;

	if (!p || !pthread_equal(pthread_self(), t.thread))
		return;
	n = malloc_usable_size((void *)p);
	if (memmem(p, n, KEY, strlen(KEY)) || memmem(p, n, CONTENT, strlen(CONTENT)))
		t.found++;
}

void __wrap_free(void *p)
{
	look_for_secrets(p);
	__real_free(p);
}

void *__wrap_realloc(void *p, size_t n)
{
	look_for_secrets(p);
	return __real_realloc(p, n);
}

/* ---- asking ---- */

static void on_reply(void *arg, const struct http_reply *r)
{
	struct seen *s = arg;

	s->calls++;
	s->status = r->status;
	s->sent = r->sent;
	s->len = r->len;
	s->retry_after_us = r->retry_after_us;
	s->date_us = r->date_us;
	s->took_us = clock_mono_us() - s->took_us;
	COPY(s->type, r->content_type);
	COPY(s->body, r->body);
	COPY(s->text, r->text);
	assert_int_equal(r->body[r->len], '\0');
	assert_null(strstr(r->text, KEY));
	assert_null(strstr(r->text, QUERY));
	assert_null(strstr(r->text, CONTENT));
	assert_null(strstr(r->text, "/v0"));
	if (r->status == 0) {
		assert_int_equal(r->len, 0);
		assert_true(strlen(r->text) > 10);
	} else {
		assert_true(r->sent);
		assert_string_equal(r->text, "");
	}
}

static const char *url_of(struct seen *s, const char *scheme, int port, const char *path)
{
	snprintf(s->url, sizeof(s->url), "%s://127.0.0.1:%d/v0%s?q=" QUERY, scheme, port, path);
	return s->url;
}

static struct http_args args_of(enum http_method method, const char *url)
{
	bool has_body = method == HTTP_PUT || method == HTTP_POST;

	return (struct http_args){.method = method,
				  .url = url,
				  .auth = AUTH,
				  .body = has_body ? JSON : NULL,
				  .body_len = has_body ? strlen(JSON) : 0,
				  .reply_max = 1 << 20,
				  .connect_us = LATE_US,
				  .timeout_us = 2 * LATE_US};
}

static struct http_send *ask(struct seen *s, const struct http_args *args)
{
	struct http_send *h;

	s->calls = 0;
	s->took_us = clock_mono_us();
	h = http_client_send(t.client, args, on_reply, s);
	assert_int_equal(s->calls, 0); /* never inside the call */
	return h;
}

static void await(struct seen *s)
{
	while (!s->calls)
		uv_run(&t.loop, UV_RUN_ONCE);
	assert_int_equal(s->calls, 1);
}

static void fetch(struct seen *s, const struct http_args *args)
{
	ask(s, args);
	await(s);
}

static void fetch_from(struct seen *s, const struct web *w, enum http_method method,
		       const char *path)
{
	struct http_args args = args_of(method,
					url_of(s, w->tls ? "https" : "http", w->port, path));

	fetch(s, &args);
}

/* No reply, and the sentence says so. */
static void expect_none(const struct seen *s, bool sent, const char *says)
{
	if (s->status != 0 || s->sent != sent || !strstr(s->text, says))
		fail_msg("wanted no reply, sent %d, '%s'; got status %d, sent %d: %s", sent, says,
			 s->status, s->sent, s->text);
}

static void expect(const struct seen *s, int status, const char *body)
{
	if (s->status != status || strcmp(s->body, body) != 0)
		fail_msg("wanted %d '%s', got %d '%s' (%s)", status, body, s->status, s->body,
			 s->text);
}

/* ---- before and after each ---- */

static int open_client(void **state)
{
	struct error why;

	(void)state;
	assert_int_equal(uv_loop_init(&t.loop), 0);
	t.client = http_client_new(&t.loop, t.ca, &why);
	assert_non_null(t.client);
	t.found = 0;
	return 0;
}

/* Another client, that trusts others. */
static void use_trust(const char *trusted)
{
	struct error why;

	http_client_free(t.client);
	t.client = http_client_new(&t.loop, trusted, &why);
	assert_non_null(t.client);
}

static int close_client(void **state)
{
	(void)state;
	http_client_free(t.client);
	uv_run(&t.loop, UV_RUN_DEFAULT); /* ends: nothing is left alive */
	assert_int_equal(uv_loop_close(&t.loop), 0);
	assert_int_equal(t.found, 0);
	return 0;
}

static void tick(uv_timer_t *timer)
{
	int64_t now = clock_mono_us();

	(void)timer;
	if (now - t.last_tick > t.longest_gap)
		t.longest_gap = now - t.last_tick;
	t.last_tick = now;
}

/* As fetch, and the loop must never have stood still for as long as it would without QUICK_EXIT. */
static void fetch_ticking(struct seen *s, const struct http_args *args)
{
	uv_timer_t timer;

	t.last_tick = clock_mono_us();
	t.longest_gap = 0;
	assert_int_equal(uv_timer_init(&t.loop, &timer), 0);
	assert_int_equal(uv_timer_start(&timer, tick, 1, 1), 0);
	fetch(s, args);
	tick(&timer);
	uv_close((uv_handle_t *)&timer, NULL);
	uv_run(&t.loop, UV_RUN_NOWAIT);
	assert_true(t.longest_gap < LATE_US);
}

/* ---- number one: an order is carried out once ---- */

/* "/drop": the effect happens, the answer does not. */
static void serve_effects(struct web_conn *c)
{
	struct web_request r;

	while (web_read(c, &r)) {
		if (strstr(r.target, "/drop")) {
			c->web->effects++;
			return;
		}
		if (!web_answer(c, 200, "", "{}"))
			return;
	}
}

static void order_is_carried_out_once(void **state)
{
	struct web w;
	struct seen s;
	struct http_args args;

	(void)state;
	web_start(&w, serve_effects, NULL, NULL);
	for (enum http_method m = HTTP_PUT; m <= HTTP_POST; m++)
		for (int fresh = 0; fresh <= 1; fresh++) {
			/* a connection of the same lane that waits to be used again */
			fetch_from(&s, &w, HTTP_DELETE, "/keep");
			expect(&s, 200, "{}");
			w.effects = 0;
			args = args_of(m, url_of(&s, "http", w.port, "/drop"));
			args.fresh = fresh;
			fetch(&s, &args);
			assert_int_equal(w.effects, 1);
			expect_none(&s, true, "without an answer");
		}
	/* and a fresh one of any kind */
	fetch_from(&s, &w, HTTP_DELETE, "/keep");
	w.effects = 0;
	args = args_of(HTTP_DELETE, url_of(&s, "http", w.port, "/drop"));
	args.fresh = true;
	fetch(&s, &args);
	assert_int_equal(w.effects, 1);
	expect_none(&s, true, "without an answer");
	web_stop(&w);
}

static void read_uses_a_connection_again(void **state)
{
	struct web w;
	struct seen s;

	(void)state;
	web_start(&w, serve_effects, NULL, NULL);
	for (int i = 0; i < 5; i++) {
		fetch_from(&s, &w, HTTP_GET, "/keep");
		expect(&s, 200, "{}");
	}
	assert_int_equal(w.accepted, 1);
	for (int i = 0; i < 3; i++) /* never shared, not even with each other */
		fetch_from(&s, &w, HTTP_PUT, "/keep");
	assert_int_equal(w.accepted, 4);
	fetch_from(&s, &w, HTTP_DELETE, "/keep"); /* nor left to others */
	assert_int_equal(w.accepted, 5);
	web_stop(&w);
}

/* ---- what leaves ---- */

static struct web_request last; /* under the server's lock */

static void serve_and_keep(struct web_conn *c)
{
	struct web_request r;

	while (web_read(c, &r)) {
		pthread_mutex_lock(&c->web->lock);
		last = r;
		pthread_mutex_unlock(&c->web->lock);
		if (!web_answer(c, 200, "Content-Type: application/json\r\n", "{\"a\":1}"))
			return;
	}
}

static void request_is_what_was_asked(void **state)
{
	static char large[2 << 20];
	static const char *const never[] = {"\r\nExpect:", "\r\nCookie:", "urlencoded"};
	struct web w;
	struct seen s;
	struct http_args args;

	(void)state;
	web_start(&w, serve_and_keep, NULL, NULL);
	for (enum http_method m = HTTP_GET; m <= HTTP_DELETE; m++) {
		fetch_from(&s, &w, m, "/a/../b%2Fc/");
		expect(&s, 200, "{\"a\":1}");
		assert_string_equal(s.type, "application/json");
		assert_string_equal(last.method, http_method_names[m]);
		assert_string_equal(last.target, "/v0/a/../b%2Fc/?q=" QUERY);
		assert_non_null(strstr(last.head, "\r\n" AUTH "\r\n"));
		assert_non_null(strstr(last.head, "\r\nUser-Agent: gpufs/" GPUFS_VERSION "\r\n"));
		assert_non_null(strstr(last.head, "gzip"));
		for (size_t i = 0; i < ARRAY_LEN(never); i++)
			assert_null(strcasestr(last.head, never[i]));
		assert_string_equal(last.body, m == HTTP_PUT || m == HTTP_POST ? JSON : "");
		assert_int_equal(strstr(last.head, "Content-Type: application/json") != NULL,
				 m == HTTP_PUT || m == HTTP_POST);
	}
	memset(large, 'x', sizeof(large));
	args = args_of(HTTP_PUT, url_of(&s, "http", w.port, "/"));
	args.body = large;
	args.body_len = sizeof(large);
	fetch(&s, &args);
	expect(&s, 200, "{\"a\":1}");
	assert_int_equal(last.body_len, sizeof(large));
	assert_null(strcasestr(last.head, "\r\nExpect:"));
	args = args_of(HTTP_POST, s.url);
	args.body = NULL;
	fetch(&s, &args);
	expect(&s, 200, "{\"a\":1}");
	assert_non_null(strcasestr(last.head, "\r\nContent-Length: 0\r\n"));
	assert_null(strcasestr(last.head, "\r\nContent-Type:"));
	args = args_of(HTTP_POST, s.url);
	args.form = true;
	fetch(&s, &args);
	expect(&s, 200, "{\"a\":1}");
	assert_non_null(
		strstr(last.head, "\r\nContent-Type: application/x-www-form-urlencoded\r\n"));
	assert_null(strstr(last.head, "application/json"));
	web_stop(&w);
}

static void refuses_before_sending(void **state)
{
	static const struct {
		const char *url, *auth, *says;
	} bad[] = {
		{"", AUTH, "not a URL"},
		{"/v0/x", AUTH, "not a URL"},
		{"ftp://127.0.0.1/v0", AUTH, "not a URL of http"},
		{"file:///etc/passwd", AUTH, "not a URL"},
		{"http://me:KEYSECRET@127.0.0.1/v0", AUTH, "user or password"},
		{"http://127.0.0.1:99999/v0", AUTH, "not a URL"},
		{"http://127.0.0.1/v0", AUTH "\r\nX: y", "line break"},
	};
	struct seen s;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct http_args args = args_of(HTTP_PUT, bad[i].url);

		args.auth = bad[i].auth;
		fetch(&s, &args);
		expect_none(&s, false, bad[i].says);
	}
}

/* ---- no connection ---- */

static int closed_port(void)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t n = sizeof(at);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (void *)&at, n), 0);
	assert_int_equal(getsockname(fd, (void *)&at, &n), 0);
	close(fd);
	return ntohs(at.sin_port);
}

static void refused_port_is_proof(void **state)
{
	struct seen s;
	struct http_args args = args_of(HTTP_PUT, url_of(&s, "http", closed_port(), "/"));

	(void)state;
	fetch(&s, &args);
	expect_none(&s, false, "no connection: Connection refused");
}

/* A backlog that is full: Linux drops further SYNs. */
static void black_hole_ends_by_its_limits(void **state)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t n = sizeof(at);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), fill[4];
	struct seen s;
	struct http_args args;

	(void)state;
	assert_int_equal(bind(fd, (void *)&at, n), 0);
	assert_int_equal(listen(fd, 0), 0);
	assert_int_equal(getsockname(fd, (void *)&at, &n), 0);
	for (size_t i = 0; i < ARRAY_LEN(fill); i++) {
		fill[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		connect(fill[i], (void *)&at, n);
	}
	assert_int_equal(poll(&(struct pollfd){.fd = fill[0], .events = POLLOUT}, 1, 10000), 1);

	args = args_of(HTTP_PUT, url_of(&s, "http", ntohs(at.sin_port), "/"));
	args.connect_us = 200000;
	fetch_ticking(&s, &args);
	expect_none(&s, false, "no connection within 0.2 s");
	assert_true(s.took_us >= 200000);
	args.connect_us = LATE_US;
	args.timeout_us = 200000;
	fetch_ticking(&s, &args);
	expect_none(&s, false, "no connection within 0.2 s");
	assert_true(s.took_us >= 200000);
	for (size_t i = 0; i < ARRAY_LEN(fill); i++)
		close(fill[i]);
	close(fd);
}

/* ---- a name server that says nothing ---- */

static int name_server(void)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(53)};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	inet_pton(AF_INET, t.name_server, &at.sin_addr);
	/* A resolver asks port 53 of who stands in /etc/resolv.conf: only root can listen there, and only
	 * in a mount namespace can that file be another one. */
	if (!t.own_names || bind(fd, (void *)&at, sizeof(at)) < 0) {
		print_message("no %s (%s): skipped\n", t.own_names ? "port 53" : "mount namespace",
			      strerror(errno));
		skip();
	}
	return fd;
}

/* "No such name" to all that asked, so that the threads that wait come to an end. */
static int name_server_end(int fd)
{
	struct sockaddr_in from;
	socklen_t n = sizeof(from);
	unsigned char query[512];
	ssize_t got;
	int asked = 0;

	while ((got = recvfrom(fd, query, sizeof(query), 0, (void *)&from, &n)) >= 12) {
		query[2] |= 0x80; /* an answer */
		query[3] = 3;	  /* NXDOMAIN */
		sendto(fd, query, (size_t)got, 0, (void *)&from, n);
		asked++;
	}
	close(fd);
	return asked;
}

static void silent_name_server_ends_by_the_limits(void **state)
{
	int fd = name_server();
	struct seen s;
	struct http_args args = args_of(HTTP_PUT, "https://one.cloud.test/v0/x?q=" QUERY);

	(void)state;
	args.connect_us = 300000;
	fetch_ticking(&s, &args);
	expect_none(&s, false, "its name was not resolved within 0.3 s");
	assert_true(s.took_us >= 300000);
	args.url = "https://two.cloud.test/v0/x?q=" QUERY;
	args.method = HTTP_GET;
	args.connect_us = LATE_US;
	args.timeout_us = 300000;
	fetch_ticking(&s, &args);
	expect_none(&s, false, "its name was not resolved within 0.3 s");
	assert_true(s.took_us >= 300000);

	/* and nobody waits for the resolver at the end either */
	args.timeout_us = 2 * LATE_US;
	args.url = "https://three.cloud.test/v0/x";
	ask(&s, &args);
	for (int i = 0; i < 3; i++)
		uv_run(&t.loop, UV_RUN_NOWAIT);
	s.took_us = clock_mono_us();
	use_trust(NULL); /* frees the client */
	assert_true(clock_mono_us() - s.took_us < LATE_US);
	assert_int_equal(s.calls, 0);
	assert_true(name_server_end(fd) > 0); /* it was asked indeed */
}

static void unknown_name_is_proof(void **state)
{
	int fd = name_server();
	struct seen s;
	struct http_args args = args_of(HTTP_PUT, "http://nowhere.cloud.test/v0?q=" QUERY);

	(void)state;
	ask(&s, &args);
	while (!s.calls) { /* answers what is asked, a moment later */
		uv_run(&t.loop, UV_RUN_NOWAIT);
		poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, 5);
		name_server_end(dup(fd));
	}
	expect_none(&s, false, "nowhere.cloud.test:80: its name could not be resolved");
	name_server_end(fd);
}

/* ---- TLS ---- */

static void serve_tls(struct web_conn *c)
{
	struct web_request r;

	if (web_is_h2(c)) {
		web_serve_h2(c);
		return;
	}
	while (web_read(c, &r))
		if (!web_answer(c, 200, "", "by HTTP/1.1"))
			return;
}

static void certificate_must_be_trusted(void **state)
{
	struct web w;
	struct seen s;

	(void)state;
	web_start(&w, serve_tls, NULL, web_tls_new("127.0.0.1", t.ca, false));
	fetch_from(&s, &w, HTTP_PUT, "/");
	expect(&s, 200, "by HTTP/1.1"); /* so that nothing else is what fails below */
	use_trust(NULL);		/* the system's */
	for (enum http_method m = HTTP_GET; m <= HTTP_DELETE; m++) {
		fetch_from(&s, &w, m, "/");
		expect_none(&s, false, "its certificate is not trusted");
	}
	assert_int_equal(w.requests, 1);
	web_stop(&w);
}

/* As /etc/ssl/certs is built. */
static void folder_of_certificates_is_trusted(void **state)
{
	struct web w;
	struct seen s;
	char folder[96], name[128];
	SSL_CTX *ctx = web_tls_new("127.0.0.1", t.ca, false);

	(void)state;
	snprintf(folder, sizeof(folder), "%s/certs", t.dir);
	snprintf(name, sizeof(name), "%s/%08lx.0", folder,
		 X509_subject_name_hash(SSL_CTX_get0_certificate(ctx)));
	assert_int_equal(mkdir(folder, 0700), 0);
	assert_int_equal(symlink(t.ca, name), 0);
	web_start(&w, serve_tls, NULL, ctx);
	use_trust(folder);
	fetch_from(&s, &w, HTTP_PUT, "/");
	expect(&s, 200, "by HTTP/1.1");
	assert_int_equal(unlink(name), 0);
	fetch_from(&s, &w, HTTP_PUT, "/");
	expect_none(&s, false, "its certificate is not trusted");
	assert_int_equal(rmdir(folder), 0);
	web_stop(&w);
}

static void certificate_must_name_the_host(void **state)
{
	struct web w;
	struct seen s;

	(void)state;
	web_start(&w, serve_tls, NULL, web_tls_new("127.0.0.2", t.ca, false));
	fetch_from(&s, &w, HTTP_PUT, "/");
	expect_none(&s, false, "its certificate is not trusted");
	assert_int_equal(w.requests, 0);
	web_stop(&w);
}

static void serve_silence(struct web_conn *c)
{
	web_wait_for_close(c);
}

static void serve_words(struct web_conn *c)
{
	web_say(c, "220 mail.example ESMTP\r\n");
	web_wait_for_close(c);
}

static void tls_that_is_none_is_proof(void **state)
{
	struct web w;
	struct seen s;
	struct http_args args;

	(void)state;
	web_start(&w, serve_silence, NULL, NULL);
	args = args_of(HTTP_PUT, url_of(&s, "https", w.port, "/"));
	args.connect_us = 200000;
	fetch(&s, &args);
	expect_none(&s, false, "no connection within 0.2 s");
	web_stop(&w);
	web_start(&w, serve_words, NULL, NULL);
	args = args_of(HTTP_PUT, url_of(&s, "https", w.port, "/"));
	fetch(&s, &args);
	expect_none(&s, false, "no TLS connection");
	web_stop(&w);
}

static void http2_is_for_what_may_come_twice(void **state)
{
	struct web w;
	struct seen many[8], s;
	struct http_args args;

	(void)state;
	web_start(&w, serve_tls, "by HTTP/2", web_tls_new("127.0.0.1", t.ca, true));
	fetch_from(&s, &w, HTTP_GET, "/");
	expect(&s, 200, "by HTTP/2");
	fetch_from(&s, &w, HTTP_DELETE, "/");
	expect(&s, 200, "by HTTP/2");
	for (size_t i = 0; i < ARRAY_LEN(many); i++) {
		args = args_of(HTTP_GET, url_of(&many[i], "https", w.port, "/"));
		ask(&many[i], &args);
	}
	for (size_t i = 0; i < ARRAY_LEN(many); i++) {
		await(&many[i]);
		expect(&many[i], 200, "by HTTP/2");
	}
	assert_int_equal(w.accepted, 2); /* one for each lane */
	fetch_from(&s, &w, HTTP_PUT, "/");
	expect(&s, 200, "by HTTP/1.1");
	fetch_from(&s, &w, HTTP_POST, "/");
	expect(&s, 200, "by HTTP/1.1");
	assert_int_equal(w.accepted, 4);
	web_stop(&w);
}

/* ---- answers ---- */

static void serve_redirect(struct web_conn *c)
{
	struct web_request r;
	char head[128];

	snprintf(head, sizeof(head), "Location: http://127.0.0.1:%d/v0/x\r\n",
		 *(const int *)c->web->arg);
	while (web_read(c, &r))
		web_answer(c, strstr(r.target, "/307") ? 307 : 302, head, "elsewhere");
}

static void redirect_is_an_answer(void **state)
{
	struct web w, other;
	struct seen s;

	(void)state;
	web_start(&other, serve_and_keep, NULL, NULL);
	web_start(&w, serve_redirect, &other.port, NULL);
	for (enum http_method m = HTTP_GET; m <= HTTP_DELETE; m++) {
		fetch_from(&s, &w, m, "/302");
		expect(&s, 302, "elsewhere");
		fetch_from(&s, &w, m, "/307");
		expect(&s, 307, "elsewhere");
	}
	assert_int_equal(other.accepted, 0);
	web_stop(&w);
	web_stop(&other);
}

struct bytes {
	const char *p;
	size_t n;
};

static void serve_bytes(struct web_conn *c)
{
	const struct bytes *b = c->web->arg;
	struct web_request r;

	if (web_read(c, &r))
		web_write(c, b->p, b->n);
}

static void fetch_bytes(struct seen *s, const char *p, size_t n)
{
	const struct bytes b = {p, n};
	struct web w;

	web_start(&w, serve_bytes, &b, NULL);
	fetch_from(s, &w, HTTP_PUT, "/");
	assert_int_equal(w.requests, 1);
	web_stop(&w);
}

#define OK_HEAD "HTTP/1.1 200 OK\r\n"

static void half_an_answer_is_none(void **state)
{
	static const struct {
		const char *bytes, *says;
	} bad[] = {
		{"", "closed the connection without an answer"},
		{"HTTP/1.1 200", "without an answer"},
		{OK_HEAD "Content-Length: 10\r\n", "cut off"},
		{OK_HEAD "Content-Length: 10\r\n\r\n", "cut off"},
		{OK_HEAD "Content-Length: 10\r\n\r\n123456789", "cut off"},
		{OK_HEAD "Transfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n", "cut off"},
		{OK_HEAD "Transfer-Encoding: chunked\r\n\r\n5\r\n123", "cut off"},
		{OK_HEAD "Transfer-Encoding: chunked\r\n\r\nzz\r\n123", "connection broke"},
		{OK_HEAD "Content-Encoding: gzip\r\nContent-Length: 9\r\n\r\nnot gzip!",
		 "compression"},
		{"SSH-2.0-OpenSSH_9.2\r\n", "not HTTP"},
		{"HTTP/1.1 000 Zero\r\nContent-Length: 0\r\n\r\n", "not HTTP"},
		{"HTTP/1.1 999 Many\r\nContent-Length: 0\r\n\r\n", "not HTTP"},
	};
	struct seen s;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		fetch_bytes(&s, bad[i].bytes, strlen(bad[i].bytes));
		expect_none(&s, true, bad[i].says);
	}
}

static void odd_answer_is_one(void **state)
{
	static const struct {
		const char *bytes;
		int status;
		const char *body;
	} good[] = {
		{"HTTP/1.1 204 None\r\n\r\n", 204, ""},
		{"HTTP/1.0 404 Old\r\n\r\nuntil the end", 404, "until the end"},
		{"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nRetry-After: 9\r\n\r\n" OK_HEAD
		 "Content-Length: 2\r\n\r\n{}",
		 200, "{}"},
		{OK_HEAD "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nRetry-After: 9\r\n\r\n",
		 200, "{}"},
		{"HTTP/1.1 599 Last\r\nContent-Length: 1\r\n\r\nx", 599, "x"},
	};
	struct seen s;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		fetch_bytes(&s, good[i].bytes, strlen(good[i].bytes));
		expect(&s, good[i].status, good[i].body);
		assert_int_equal(s.retry_after_us, UNKNOWN);
		assert_int_equal(s.date_us, UNKNOWN);
		assert_string_equal(s.type, "");
	}
}

/* A head, then the output of a command, without a length. */
static struct bytes answer_of(const char *head, const char *command)
{
	static char room[4 << 20];
	size_t n = strlen(head), got;
	FILE *f = popen(command, "re");

	assert_non_null(f);
	memcpy(room, head, n);
	while ((got = fread(room + n, 1, sizeof(room) - n, f)) > 0)
		n += got;
	assert_int_equal(pclose(f), 0);
	return (struct bytes){room, n};
}

static void long_answer_is_refused(void **state)
{
	static const char *const gzip = OK_HEAD "Content-Encoding: gzip\r\n\r\n";
	struct seen s;
	struct bytes b = answer_of(OK_HEAD "\r\n", "head -c 1048576 /dev/zero");

	(void)state;
	fetch_bytes(&s, b.p, b.n);
	assert_int_equal(s.status, 200); /* exactly at the ceiling */
	assert_int_equal(s.len, 1048576);
	b = answer_of(OK_HEAD "\r\n", "head -c 1048577 /dev/zero");
	fetch_bytes(&s, b.p, b.n);
	expect_none(&s, true, "longer than 1048576 bytes");
	/* decompressed bytes count: 1 GiB in 1 MiB is a bomb, and 1 MiB in 1 KiB is not */
	b = answer_of(gzip, "head -c 1048576 /dev/zero | gzip -9c");
	assert_true(b.n < 4096);
	fetch_bytes(&s, b.p, b.n);
	assert_int_equal(s.status, 200);
	assert_int_equal(s.len, 1048576);
	b = answer_of(gzip, "head -c 64M /dev/zero | gzip -9c");
	fetch_bytes(&s, b.p, b.n);
	expect_none(&s, true, "longer than 1048576 bytes");
	b = answer_of(OK_HEAD, "seq -f 'X-Header-%g: 0123456789' 5000");
	fetch_bytes(&s, b.p, b.n);
	expect_none(&s, true, "bytes of headers");
}

/* Replies hold keys of machines: memory is searched as it is freed, and the buffer grows often. */
static void long_answer_leaves_nothing_behind(void **state)
{
	struct seen s;
	struct bytes b = answer_of(OK_HEAD "\r\n", "yes " KEY " 2>/dev/null | head -c 300000");

	(void)state;
	fetch_bytes(&s, b.p, b.n);
	assert_int_equal(s.len, 300000);
	b = answer_of(OK_HEAD "Content-Length: 900000\r\n\r\n",
		      "yes " KEY " 2>/dev/null | head -c 300000");
	fetch_bytes(&s, b.p, b.n);
	expect_none(&s, true, "cut off");
}

static void waits_and_dates_are_read(void **state)
{
	static const struct {
		const char *headers;
		int64_t retry_s, date_s;
	} rows[] = {
		{"Retry-After: 120\r\n", 120, -1},
		{"Retry-After: 0\r\n", 0, -1},
		{"retry-after:   7  \r\n", 7, -1},
		{"Retry-After: 99999999999999999999999\r\n", 86400, -1},
		{"Retry-After: -5\r\n", -1, -1},
		{"Retry-After: 1.5\r\n", -1, -1},
		{"Retry-After: soon\r\n", -1, -1},
		{"Retry-After: \r\n", -1, -1},
		{"Retry-After: 20260101\r\nRetry-After: 3\r\n", 3, -1},
		{"Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n", -1, 784111777},
		{"Date: Sunday, 06-Nov-94 08:49:37 GMT\r\n", -1, 784111777},
		{"Date: Sun Nov  6 08:49:37 1994\r\n", -1, 784111777},
		{"Date: 784111777\r\n", -1, -1},
		{"Date: 20260101\r\n", -1, -1},
		{"Date: yesterday\r\n", -1, -1},
		{"Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
		 "Retry-After: Sun, 06 Nov 1994 08:50:07 GMT\r\n",
		 30, 784111777},
		{"Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
		 "Retry-After: Sun, 06 Nov 1994 08:49:00 GMT\r\n",
		 0, 784111777},
		{"Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
		 "Retry-After: Sat, 06 Nov 2094 08:49:00 GMT\r\n",
		 86400, 784111777},
		{"Retry-After: Sat, 06 Nov 2094 08:49:00 GMT\r\n", 86400, -1},
		{"Retry-After: Sun, 06 Nov 1994 08:49:37 GMT\r\n", 0, -1},
	};
	char bytes[512];
	struct seen s;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		int64_t retry = rows[i].retry_s, date = rows[i].date_s;

		snprintf(bytes, sizeof(bytes),
			 "HTTP/1.1 429 Slow down\r\n%sContent-Length: 0\r\n\r\n", rows[i].headers);
		fetch_bytes(&s, bytes, strlen(bytes));
		if (s.status != 429 ||
		    s.retry_after_us != (retry < 0 ? UNKNOWN : retry * SECOND_US) ||
		    s.date_us != (date < 0 ? UNKNOWN : date * SECOND_US))
			fail_msg("%s: status %d, retry after %lld us, date %lld us",
				 rows[i].headers, s.status, (long long)s.retry_after_us,
				 (long long)s.date_us);
	}
}

static void strange_words_are_made_printable(void **state)
{
	static const char bytes[] = "HTTP/1.1 200 OK\r\nContent-Type: \x1b[31mred\xff\r\n"
				    "Content-Length: 3\r\n\r\n\0a\0";
	struct seen s;

	(void)state;
	fetch_bytes(&s, bytes, sizeof(bytes) - 1);
	assert_int_equal(s.status, 200);
	assert_int_equal(s.len, 3); /* a NUL is a byte as any other */
	assert_string_equal(s.type, "?[31mred?");
}

/* ---- time ---- */

static void serve_drip(struct web_conn *c)
{
	struct web_request r;

	if (!web_read(c, &r) || !web_say(c, OK_HEAD "Content-Length: 100000\r\n\r\n"))
		return;
	while (web_say(c, "x"))
		usleep(5000); /* nothing is waited for: this is how slow it is */
}

static void serve_hang(struct web_conn *c)
{
	struct web_request r;

	while (web_read(c, &r)) {
		if (strstr(r.target, "/hang")) {
			web_wait_for_close(c);
			return;
		}
		if (!web_answer(c, 200, "", "{}"))
			return;
	}
}

static void drip_and_silence_end_by_the_limit(void **state)
{
	static void (*const serve[])(struct web_conn *) = {serve_drip, serve_hang};
	struct web w;
	struct seen s;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(serve); i++)
		for (enum http_method m = HTTP_GET; m <= HTTP_DELETE; m++) {
			web_start(&w, serve[i], NULL, NULL);
			struct http_args args = args_of(m, url_of(&s, "http", w.port, "/hang"));
			args.timeout_us = 150000;
			fetch(&s, &args);
			expect_none(&s, true, "no whole answer within 0.15 s");
			assert_true(s.took_us >= 150000);
			web_stop(&w);
		}
}

/* Six reads that hang take all connections of their lane. */
static void hung_reads_hold_no_order_up(void **state)
{
	struct web w;
	struct seen hung[6], waiting, s;
	struct http_args args;
	struct http_send *sends[6];

	(void)state;
	web_start(&w, serve_hang, NULL, NULL);
	for (size_t i = 0; i < ARRAY_LEN(hung); i++) {
		args = args_of(HTTP_GET, url_of(&hung[i], "http", w.port, "/hang"));
		sends[i] = ask(&hung[i], &args);
	}
	while (w.requests < 6)
		uv_run(&t.loop, UV_RUN_NOWAIT);
	args = args_of(HTTP_GET, url_of(&waiting, "http", w.port, "/late"));
	args.timeout_us = 200000; /* also counts where libcurl only queues */
	ask(&waiting, &args);
	fetch_from(&s, &w, HTTP_DELETE, "/");
	expect(&s, 200, "{}");
	fetch_from(&s, &w, HTTP_PUT, "/");
	expect(&s, 200, "{}");
	await(&waiting);
	expect_none(&waiting, false, "within 0.2 s");
	args.timeout_us = LATE_US;
	ask(&waiting, &args);
	http_client_cancel(sends[0]); /* makes room */
	await(&waiting);
	expect(&waiting, 200, "{}");
	for (size_t i = 1; i < ARRAY_LEN(hung); i++)
		http_client_cancel(sends[i]);
	for (size_t i = 0; i < ARRAY_LEN(hung); i++)
		assert_int_equal(hung[i].calls, 0);
	web_stop(&w);
}

static void hundred_at_once_are_answered(void **state)
{
	static struct seen seen[200];
	static const enum http_method methods[] = {HTTP_GET, HTTP_PUT, HTTP_GET, HTTP_DELETE};
	struct web w;

	(void)state;
	web_start(&w, serve_and_keep, NULL, NULL);
	for (size_t i = 0; i < ARRAY_LEN(seen); i++) {
		struct http_args args = args_of(methods[i % 4],
						url_of(&seen[i], "http", w.port, "/"));
		ask(&seen[i], &args);
	}
	for (size_t i = 0; i < ARRAY_LEN(seen); i++) {
		await(&seen[i]);
		expect(&seen[i], 200, "{\"a\":1}");
	}
	assert_int_equal(w.requests, 200);
	web_stop(&w);
}

static void serve_slowly(struct web_conn *c)
{
	struct web_request r;

	while (web_read(c, &r)) {
		usleep(2000); /* a client that opens more of them finds the time to */
		if (!web_answer(c, 200, "", "{}"))
			return;
	}
}

static void connections_to_a_host_are_few(void **state)
{
	static struct seen seen[100];
	struct web w;

	(void)state;
	web_start(&w, serve_slowly, NULL, NULL);
	for (size_t i = 0; i < ARRAY_LEN(seen); i++) {
		struct http_args args = args_of(HTTP_GET, url_of(&seen[i], "http", w.port, "/"));
		ask(&seen[i], &args);
	}
	for (size_t i = 0; i < ARRAY_LEN(seen); i++) {
		await(&seen[i]);
		expect(&seen[i], 200, "{}");
	}
	assert_true(w.accepted <= 6);
	web_stop(&w);
}

/* ---- giving up ---- */

/* Cancels after 0, 1, 2, ... turns of the loop, until the answer is there first. */
static void cancel_at_every_turn(const struct http_args *args)
{
	for (int turns = 0;; turns++) {
		struct seen s;
		struct http_send *h = ask(&s, args);

		for (int i = 0; i < turns && !s.calls; i++)
			uv_run(&t.loop, UV_RUN_ONCE);
		if (s.calls)
			break;
		http_client_cancel(h);
		for (int i = 0; i < 3; i++)
			uv_run(&t.loop, UV_RUN_NOWAIT);
		assert_int_equal(s.calls, 0);
		assert_true(turns < 1000);
	}
}

static void serve_in_pieces(struct web_conn *c)
{
	static const char *const pieces[] = {"HTTP/1.1 200", " OK\r\nContent-", "Length: 4\r\n",
					     "\r\n12", "34"};
	struct web_request r;

	while (web_read(c, &r))
		for (size_t i = 0; i < ARRAY_LEN(pieces); i++) {
			usleep(1000); /* so that most of them are read one by one */
			if (!web_say(c, pieces[i]))
				return;
		}
}

static void cancel_at_every_stage(void **state)
{
	struct web w;
	struct seen s;
	struct http_args args;

	(void)state;
	for (int tls = 0; tls <= 1; tls++) {
		SSL_CTX *ctx = tls ? web_tls_new("127.0.0.1", t.ca, false) : NULL;

		web_start(&w, serve_in_pieces, NULL, ctx);
		for (enum http_method m = HTTP_GET; m <= HTTP_DELETE; m++) {
			args = args_of(m, url_of(&s, tls ? "https" : "http", w.port, "/"));
			cancel_at_every_turn(&args);
		}
		web_stop(&w);
	}
	args = args_of(HTTP_PUT, url_of(&s, "http", closed_port(), "/"));
	cancel_at_every_turn(&args);
	args.url = "no URL";
	cancel_at_every_turn(&args);
	http_client_cancel(NULL);
}

struct chain {
	struct http_send *other;
	struct seen s, others;
	struct http_args args;
};

/* From inside a callback: another one is cancelled, and a new one is sent. */
static void on_reply_cancel(void *arg, const struct http_reply *r)
{
	struct chain *c = arg;

	assert_int_equal(r->status, 200);
	http_client_cancel(c->other);
	c->other = NULL;
	ask(&c->s, &c->args);
}

static void callback_may_cancel_and_send(void **state)
{
	struct web w;
	struct chain c = {.other = NULL};
	struct seen url;

	(void)state;
	web_start(&w, serve_hang, NULL, NULL);
	c.args = args_of(HTTP_GET, url_of(&url, "http", w.port, "/hang"));
	c.other = ask(&c.others, &c.args);
	c.args = args_of(HTTP_GET, url_of(&url, "http", w.port, "/"));
	http_client_send(t.client, &c.args, on_reply_cancel, &c);
	while (c.other)
		uv_run(&t.loop, UV_RUN_ONCE);
	await(&c.s);
	expect(&c.s, 200, "{}");
	assert_int_equal(c.others.calls, 0);
	web_stop(&w);
}

static void free_cancels_everything(void **state)
{
	static struct seen seen[40];
	struct web w, tls;

	(void)state;
	for (int turns = 0; turns < 12; turns++) {
		web_start(&w, serve_hang, NULL, NULL);
		web_start(&tls, serve_tls, "by HTTP/2", web_tls_new("127.0.0.1", t.ca, true));
		for (size_t i = 0; i < ARRAY_LEN(seen); i++) {
			bool plain = i % 2;
			struct http_args args = args_of((enum http_method)(i / 2 % 4),
							url_of(&seen[i], plain ? "http" : "https",
							       plain ? w.port : tls.port,
							       plain ? "/hang" : "/"));
			ask(&seen[i], &args);
		}
		for (int i = 0; i < turns * turns; i++)
			uv_run(&t.loop, UV_RUN_NOWAIT);
		int before = 0, after = 0;
		for (size_t i = 0; i < ARRAY_LEN(seen); i++)
			before += seen[i].calls;
		use_trust(NULL); /* frees the client */
		uv_run(&t.loop, UV_RUN_DEFAULT);
		for (size_t i = 0; i < ARRAY_LEN(seen); i++)
			after += seen[i].calls;
		assert_int_equal(before, after);
		web_stop(&w);
		web_stop(&tls);
	}
}

/* ---- a proxy ---- */

static void serve_no_tunnel(struct web_conn *c)
{
	struct web_request r;

	while (web_read(c, &r))
		if (!web_answer(c, strcmp(r.method, "CONNECT") == 0 ? 403 : 200, "", "plain"))
			return;
}

static void proxy_of_the_environment(void **state)
{
	struct web proxy, w;
	struct seen s;
	struct http_args args;
	char address[64];

	(void)state;
	web_start(&proxy, serve_no_tunnel, NULL, NULL);
	web_start(&w, serve_effects, NULL, NULL);
	snprintf(address, sizeof(address), "http://127.0.0.1:%d", proxy.port);
	setenv("http_proxy", address, 1);
	setenv("HTTPS_PROXY", address, 1);
	args = args_of(HTTP_GET, "http://cloud.test/v0/x?q=" QUERY);
	fetch(&s, &args);
	expect(&s, 200, "plain");
	fetch_from(&s, &w, HTTP_GET, "/"); /* loopback: not through it */
	expect(&s, 200, "{}");
	assert_int_equal(proxy.requests, 1);
	args = args_of(HTTP_PUT, "https://cloud.test/v0/x?q=" QUERY);
	fetch(&s, &args);
	expect_none(&s, true, "cloud.test:443: the proxy refused the way there, with status 403");
	web_stop(&proxy);
	fetch(&s, &args);
	expect_none(&s, false, "no connection: Connection refused");
	unsetenv("http_proxy");
	unsetenv("HTTPS_PROXY");
	web_stop(&w);
}

/* ---- workers ---- */

struct job {
	pthread_t ran;
	int runs, dones;
};

static void job_run(void *arg)
{
	struct job *j = arg;

	j->ran = pthread_self();
	j->runs++;
}

static void job_done(void *arg)
{
	struct job *j = arg;

	assert_int_equal(j->runs, 1);
	assert_true(pthread_equal(pthread_self(), t.thread));
	assert_false(pthread_equal(j->ran, t.thread));
	j->dones++;
}

static void work_runs_on_a_worker(void **state)
{
	struct job j = {.runs = 0};

	(void)state;
	loop_work(&t.loop, job_run, job_done, &j);
	assert_int_equal(j.dones, 0);
	uv_run(&t.loop, UV_RUN_DEFAULT);
	assert_int_equal(j.dones, 1);
}

/* ---- all ---- */

static bool own_name_server(void)
{
	char path[96];
	FILE *f;

	snprintf(path, sizeof(path), "%s/resolv.conf", t.dir);
	f = fopen(path, "we");
	assert_non_null(f);
	snprintf(t.name_server, sizeof(t.name_server), "127.90.%d.%d", getpid() >> 7 & 127,
		 (getpid() & 127) + 1);
	fprintf(f, "nameserver %s\noptions timeout:30 attempts:1\n", t.name_server);
	fclose(f);
	return unshare(CLONE_NEWNS) == 0 &&
	       mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
	       mount(path, "/etc/resolv.conf", NULL, MS_BIND, NULL) == 0;
}

static int before_all(void **state)
{
	(void)state;
	signal(SIGPIPE, SIG_IGN); /* as the daemon */
	t.thread = pthread_self();
	COPY(t.dir, "/tmp/gpufs-http.XXXXXX");
	assert_non_null(mkdtemp(t.dir));
	snprintf(t.ca, sizeof(t.ca), "%s/ca.pem", t.dir);
	t.own_names = own_name_server(); /* while there is one thread */
	for (size_t i = 0; i < 3; i++) {
		static const char *const names[] = {"http_proxy", "HTTPS_PROXY", "ALL_PROXY"};

		unsetenv(names[i]);
	}
	return 0;
}

static int after_all(void **state)
{
	char path[96];

	(void)state;
	umount2("/etc/resolv.conf", MNT_DETACH);
	snprintf(path, sizeof(path), "%s/resolv.conf", t.dir);
	unlink(path);
	unlink(t.ca);
	return rmdir(t.dir);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_client, close_client)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(order_is_carried_out_once),
		TEST(read_uses_a_connection_again),
		TEST(request_is_what_was_asked),
		TEST(refuses_before_sending),
		TEST(refused_port_is_proof),
		TEST(black_hole_ends_by_its_limits),
		TEST(silent_name_server_ends_by_the_limits),
		TEST(unknown_name_is_proof),
		TEST(certificate_must_be_trusted),
		TEST(folder_of_certificates_is_trusted),
		TEST(certificate_must_name_the_host),
		TEST(tls_that_is_none_is_proof),
		TEST(http2_is_for_what_may_come_twice),
		TEST(redirect_is_an_answer),
		TEST(half_an_answer_is_none),
		TEST(odd_answer_is_one),
		TEST(long_answer_is_refused),
		TEST(long_answer_leaves_nothing_behind),
		TEST(waits_and_dates_are_read),
		TEST(strange_words_are_made_printable),
		TEST(drip_and_silence_end_by_the_limit),
		TEST(hung_reads_hold_no_order_up),
		TEST(hundred_at_once_are_answered),
		TEST(connections_to_a_host_are_few),
		TEST(cancel_at_every_stage),
		TEST(callback_may_cancel_and_send),
		TEST(free_cancels_everything),
		TEST(proxy_of_the_environment),
		TEST(work_runs_on_a_worker),
	};

	return cmocka_run_group_tests(tests, before_all, after_all);
}
