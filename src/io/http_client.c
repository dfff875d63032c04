/*
 * The HTTP client for providers' APIs: libcurl's multi interface on the loop, for world.http.
 *
 * What it promises:
 *  - A request is handed to libcurl once. libcurl sends again by itself what went over a reused
 *    connection that closed without an answer, and reports success: two effects (faults.md, first
 *    fact; also a PUT). So every PUT and POST has a connection of its own, whatever the caller says,
 *    and speaks HTTP/1.1 there: HTTP/2 knows a refused stream, which libcurl sends again as well.
 *    GET and DELETE, which may come twice, share connections, over TLS with HTTP/2 where offered.
 *  - The loop never waits: names are resolved in libcurl's threads, and QUICK_EXIT leaves such a
 *    thread alone when its transfer is given up (9.5 s of joining otherwise; measured).
 *  - Orders are not held up by reads: two lanes, each a multi with its own connections. Six lists that
 *    hang take every connection of theirs, and none of a DELETE's.
 *  - The limit of the whole is a timer of ours: it also counts while a request waits for a connection,
 *    where libcurl 7.88 looks at no clock.
 *  - Redirects are answers: nothing is followed, so no key goes anywhere else.
 *
 * Secrets: key, URL and body are borrowed, not copied; the memory that libcurl copies them to is wiped
 * as it is freed (its allocator below), and so are the bodies of replies, which hold keys of machines.
 *
 * A proxy: as with curl, https_proxy (HTTPS_PROXY), http_proxy, all_proxy (ALL_PROXY) and no_proxy
 * (NO_PROXY) of the daemon's environment count; never for a base URL on loopback. A request that a
 * proxy has seen is `sent`, since CONNECT is counted too: more doubt than needed, never less.
 *
 * Owner: the loop thread. Libuv's objects outlive the transfer until their close callback, and point
 * to nothing else by then. Must never: answer inside http_client_send, call back after a cancel.
 * Tests: tests/unit/test_http_client.c
 */
#include <arpa/inet.h>
#include <dirent.h>
#include <malloc.h>
#include <string.h>
#include <strings.h>

#include "../core/check.h"
#include "../core/text.h"
#include "http_parts.h"
#include "io_parts.h"

#define HOST_CONNECTIONS_MAX 6L /* at once to one host, a lane; what browsers do */
#define KEPT_CONNECTIONS_MAX 16L
#define HEADERS_OF_REQUEST   3

enum lane_name { LANE_READS, LANE_ORDERS, LANES };

struct lane {
	struct http_client *client;
	CURLM *multi;
	struct timer *timer; /* when libcurl wants to be called */
};

struct http_client {
	uv_loop_t *loop;
	char *ca_file, *ca_folder; /* what to trust; both NULL: as libcurl was built */
	struct lane lanes[LANES];
	struct http_send *sends; /* all that are not answered */
};

/* One socket of libcurl's that the loop watches. */
struct watch {
	uv_poll_t poll;
	struct lane *lane;
	curl_socket_t fd;
};

struct http_send {
	struct http_send *next, **link;
	struct lane *lane;
	CURL *easy;
	bool added;	     /* to the lane's multi */
	const char *refused; /* not given to libcurl: why; a fixed text */
	struct timer *limit;
	struct curl_slist headers[HEADERS_OF_REQUEST];
	struct buf body;
	size_t header_bytes;
	struct http_outcome outcome;
	char where[HTTP_WHERE_MAX], error[CURL_ERROR_SIZE], content_type[128];
	http_cb cb;
	void *arg;
};

/* ---- libcurl's memory: keys and bodies pass through it ---- */

static void curl_memory_free(void *p)
{
	if (p)
		explicit_bzero(p, malloc_usable_size(p));
	free(p);
}

static void *curl_memory_realloc(void *p, size_t n)
{
	size_t had = p ? malloc_usable_size(p) : 0;
	void *to = malloc(n);

	if (!to || !p)
		return to;
	memcpy(to, p, had < n ? had : n);
	curl_memory_free(p);
	return to;
}

/* ---- the end of one ---- */

/* Take it out of libcurl and of the list; what a reply borrows stays. */
static void send_detach(struct http_send *h)
{
	if (h->added)
		curl_multi_remove_handle(h->lane->multi, h->easy);
	h->added = false;
	curl_easy_cleanup(h->easy);
	h->easy = NULL;
	loop_timer_free(h->limit);
	h->limit = NULL;
	*h->link = h->next;
	if (h->next)
		h->next->link = h->link;
}

static void send_free(struct http_send *h)
{
	buf_free(&h->body);
	free(h);
}

static void send_answer(struct http_send *h, CURLcode code, enum http_end end)
{
	struct http_reply reply;

	if (h->outcome.end == HTTP_END_CURL) /* or a callback of libcurl's knew better */
		h->outcome.end = end;
	h->outcome.code = code;
	if (h->refused)
		http_reply_refuse(&reply, h->where, h->refused);
	else
		http_reply_fill(&reply, &h->outcome, h->content_type, sizeof(h->content_type));
	send_detach(h);
	h->cb(h->arg, &reply);
	send_free(h);
}

static void limit_reached(void *arg)
{
	send_answer(arg, CURLE_OPERATION_TIMEDOUT, HTTP_END_TIMEOUT);
}

/* ---- libcurl on the loop ---- */

/* Callbacks run here, after libcurl has returned: they may send and cancel. */
static void lane_collect(struct lane *l)
{
	CURLMsg *m;
	int left;

	while ((m = curl_multi_info_read(l->multi, &left)) != NULL) {
		CURLcode code = m->data.result; /* m dies with its handle */
		char *h = NULL;

		if (m->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &h);
		send_answer((struct http_send *)(void *)h, code, HTTP_END_CURL);
	}
}

static void lane_act(struct lane *l, curl_socket_t fd, int what)
{
	int running;

	/* Out of memory is the one failure; what it hits ends by its limit. */
	curl_multi_socket_action(l->multi, fd, what, &running);
	lane_collect(l);
}

static void lane_timer_fired(void *arg)
{
	lane_act(arg, CURL_SOCKET_TIMEOUT, 0);
}

static int lane_wants_timer(CURLM *multi, long ms, void *arg)
{
	struct lane *l = arg;

	(void)multi;
	loop_timer_set(l->timer, ms < 0 ? -1 : (int64_t)ms * 1000);
	return 0;
}

static void watch_event(uv_poll_t *p, int status, int events)
{
	struct watch *w = container_of(p, struct watch, poll);
	int what = status < 0 ? CURL_CSELECT_ERR : 0;

	if (events & UV_READABLE)
		what |= CURL_CSELECT_IN;
	if (events & UV_WRITABLE)
		what |= CURL_CSELECT_OUT;
	lane_act(w->lane, w->fd, what);
}

static void watch_closed(uv_handle_t *p)
{
	free(container_of((uv_poll_t *)(void *)p, struct watch, poll));
}

static int lane_wants_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *watch)
{
	struct lane *l = arg;
	struct watch *w = watch;
	int events = 0;

	(void)easy;
	if (what == CURL_POLL_REMOVE) {
		if (!w)
			return 0;
		curl_multi_assign(l->multi, fd, NULL);
		uv_poll_stop(&w->poll); /* now: libcurl closes the descriptor next */
		uv_close((uv_handle_t *)&w->poll, watch_closed);
		return 0;
	}
	if (!w) {
		w = xcalloc(1, sizeof(*w));
		w->lane = l;
		w->fd = fd;
		CHECK(uv_poll_init_socket(l->client->loop, &w->poll, fd) == 0);
		curl_multi_assign(l->multi, fd, w);
	}
	if (what & CURL_POLL_IN)
		events |= UV_READABLE;
	if (what & CURL_POLL_OUT)
		events |= UV_WRITABLE;
	CHECK(uv_poll_start(&w->poll, events, watch_event) == 0);
	return 0;
}

/* ---- what comes ---- */

#define RESERVE_MAX ((size_t)4 << 20) /* what a server says of its length costs at most so much */

/* Doubling by and by is four times the new pages, in one turn of the loop. */
static void reserve_body(struct http_send *h)
{
	curl_off_t said = 0;

	if (h->body.cap ||
	    curl_easy_getinfo(h->outcome.easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &said) !=
		    CURLE_OK ||
	    said <= 0)
		return;
	if ((uint64_t)said <= h->outcome.reply_max)
		buf_reserve(&h->body, (size_t)said < RESERVE_MAX ? (size_t)said : RESERVE_MAX);
}

/* Of the decompressed body: the ceiling counts what would be kept. */
static size_t body_came(char *p, size_t size, size_t n, void *arg)
{
	struct http_send *h = arg;

	n *= size;
	if (n > h->outcome.reply_max - h->body.len) {
		h->outcome.end = HTTP_END_BODY_LONG;
		return 0;
	}
	reserve_body(h);
	buf_add(&h->body, p, n);
	if (h->body.failed) {
		h->outcome.end = HTTP_END_MEMORY;
		return 0;
	}
	return n;
}

static size_t header_came(char *p, size_t size, size_t n, void *arg)
{
	struct http_send *h = arg;

	(void)p;
	n *= size;
	h->header_bytes += n;
	if (h->header_bytes <= HTTP_HEADERS_MAX)
		return n;
	h->outcome.end = HTTP_END_HEADERS_LONG;
	return 0;
}

/* ---- a request ---- */

struct place {
	bool tls, loopback;
};

static bool is_loopback(const char *host)
{
	struct in_addr v4;

	return strcasecmp(host, "localhost") == 0 || strcmp(host, "[::1]") == 0 ||
	       (inet_pton(AF_INET, host, &v4) == 1 && ntohl(v4.s_addr) >> 24 == IN_LOOPBACKNET);
}

/* NULL, or why this is no address of ours. */
static const char *place_read(CURLU *u, const char *url, struct place *out, char *where,
			      size_t where_size)
{
	char *scheme = NULL, *host = NULL, *port = NULL, *user = NULL;
	const char *why = NULL;

	if (curl_url_set(u, CURLUPART_URL, url, 0) != CURLUE_OK ||
	    curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK ||
	    curl_url_get(u, CURLUPART_HOST, &host, 0) != CURLUE_OK ||
	    curl_url_get(u, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) != CURLUE_OK ||
	    (strcmp(scheme, "https") != 0 && strcmp(scheme, "http") != 0))
		why = "the address is not a URL of http or https";
	else if (curl_url_get(u, CURLUPART_USER, &user, 0) == CURLUE_OK)
		why = "the address holds a user or password";
	if (!why) {
		BUF b = {.max = 1024};

		out->tls = strcmp(scheme, "https") == 0;
		out->loopback = is_loopback(host);
		buf_printf(&b, "%s:%s", host, port);
		printable_text(where, where_size, b.data ? b.data : "");
	}
	curl_free(scheme);
	curl_free(host);
	curl_free(port);
	curl_free(user);
	return why;
}

/* Options that are the same for every request. */
static const struct {
	CURLoption option;
	long value;
} always[] = {
	{CURLOPT_QUICK_EXIT, 1},
	{CURLOPT_NOSIGNAL, 1},
	{CURLOPT_FOLLOWLOCATION, 0},
	{CURLOPT_SSL_VERIFYPEER, 1},
	{CURLOPT_SSL_VERIFYHOST, 2},
	{CURLOPT_SSLVERSION, CURL_SSLVERSION_TLSv1_2},
	{CURLOPT_PATH_AS_IS, 1}, /* ids are encoded already; "..": as it was built */
	{CURLOPT_SUPPRESS_CONNECT_HEADERS, 1},
	{CURLOPT_NETRC, CURL_NETRC_IGNORED},
};

/* Remember the first failure: all of them are out of memory, or a library without what we need. */
#define SET(option, value) \
	(code = code != CURLE_OK ? code : curl_easy_setopt(h->easy, option, value))

static CURLcode set_always(struct http_send *h)
{
	CURLcode code = CURLE_OK;

	for (size_t i = 0; i < ARRAY_LEN(always); i++)
		SET(always[i].option, always[i].value);
	SET(CURLOPT_PROTOCOLS_STR, "http,https");
	SET(CURLOPT_ACCEPT_ENCODING, ""); /* all that this libcurl can undo */
	SET(CURLOPT_USERAGENT, "gpufs/" GPUFS_VERSION);
	SET(CURLOPT_ERRORBUFFER, h->error);
	SET(CURLOPT_PRIVATE, h);
	SET(CURLOPT_WRITEFUNCTION, body_came);
	SET(CURLOPT_WRITEDATA, h);
	SET(CURLOPT_HEADERFUNCTION, header_came);
	SET(CURLOPT_HEADERDATA, h);
	return code;
}

static CURLcode set_trust(struct http_send *h, const struct http_client *c)
{
	CURLcode code = CURLE_OK;

	if (!c->ca_file && !c->ca_folder)
		return code;
	SET(CURLOPT_CAINFO, c->ca_file);
	SET(CURLOPT_CAPATH, c->ca_folder);
	return code;
}

static CURLcode set_connection(struct http_send *h, const struct place *to)
{
	CURLcode code = CURLE_OK;
	bool fresh = h->outcome.fresh;
	long connect_ms = (long)((h->outcome.connect_us + 999) / 1000);

	SET(CURLOPT_FRESH_CONNECT, (long)fresh);
	SET(CURLOPT_FORBID_REUSE, (long)fresh);
	SET(CURLOPT_HTTP_VERSION,
	    (long)(fresh || !to->tls ? CURL_HTTP_VERSION_1_1 : CURL_HTTP_VERSION_2TLS));
	SET(CURLOPT_CONNECTTIMEOUT_MS, connect_ms > 0 ? connect_ms : 1L);
	if (to->loopback)
		SET(CURLOPT_NOPROXY, "*");
	return code;
}

/* The nodes and what they point to are ours and the caller's: nothing is copied here. */
static CURLcode set_headers(struct http_send *h, const struct http_args *args)
{
	static char no_expect[] = "Expect:", json[] = "Content-Type: application/json";
	static char form[] = "Content-Type: application/x-www-form-urlencoded";
	static char no_type[] = "Content-Type:";
	CURLcode code = CURLE_OK;

	h->headers[0].data = no_expect;
	h->headers[1].data = !args->body ? no_type : args->form ? form : json;
	h->headers[0].next = &h->headers[1];
	if (args->auth) {
		h->headers[2].data = (char *)args->auth;
		h->headers[1].next = &h->headers[2];
	}
	SET(CURLOPT_HTTPHEADER, h->headers);
	return code;
}

static CURLcode set_body(struct http_send *h, const struct http_args *args)
{
	CURLcode code = CURLE_OK;

	if (args->body || args->method == HTTP_PUT || args->method == HTTP_POST) {
		/* a size first: then libcurl borrows the bytes */
		SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)(args->body ? args->body_len : 0));
		SET(CURLOPT_POSTFIELDS, args->body ? args->body : "");
	}
	if (args->method != HTTP_GET || args->body)
		SET(CURLOPT_CUSTOMREQUEST, http_method_names[args->method]);
	return code;
}

/* NULL, or why it cannot be sent. */
static const char *send_prepare(struct http_client *c, struct http_send *h,
				const struct http_args *args)
{
	CURLU *u = curl_url();
	struct place to = {.tls = false};
	const char *why;
	CURLcode code;

	if (!h->easy || !u) {
		curl_url_cleanup(u);
		return "out of memory";
	}
	why = place_read(u, args->url, &to, h->where, sizeof(h->where));
	curl_url_cleanup(u);
	if (why)
		return why;
	if (args->auth && strpbrk(args->auth, "\r\n"))
		return "the key holds a line break";
	code = set_always(h);
	SET(CURLOPT_URL, args->url);
	code = code != CURLE_OK ? code : set_trust(h, c);
	code = code != CURLE_OK ? code : set_connection(h, &to);
	code = code != CURLE_OK ? code : set_headers(h, args);
	code = code != CURLE_OK ? code : set_body(h, args);
	if (code == CURLE_OUT_OF_MEMORY)
		return "out of memory";
	if (code != CURLE_OK)
		return "this libcurl lacks what is needed (7.87 or later is)";
	if (curl_multi_add_handle(h->lane->multi, h->easy) != CURLM_OK)
		return "libcurl did not take it";
	h->added = true;
	return NULL;
}

struct http_send *http_client_send(struct http_client *c, const struct http_args *args, http_cb cb,
				   void *arg)
{
	struct http_send *h = xcalloc(1, sizeof(*h));

	CHECK(args->reply_max > 0 && args->timeout_us > 0);
	h->lane = &c->lanes[args->method == HTTP_GET ? LANE_READS : LANE_ORDERS];
	h->cb = cb;
	h->arg = arg;
	h->body = (struct buf){.max = args->reply_max, .secret = true};
	h->easy = curl_easy_init();
	h->outcome = (struct http_outcome){
		.easy = h->easy,
		.where = h->where,
		.error = h->error,
		.reply_max = args->reply_max,
		.connect_us = args->connect_us,
		.timeout_us = args->timeout_us,
		.fresh = args->fresh || args->method == HTTP_PUT || args->method == HTTP_POST,
		.body = &h->body,
	};
	h->next = c->sends;
	h->link = &c->sends;
	if (h->next)
		h->next->link = &h->next;
	c->sends = h;
	h->limit = loop_timer_new(c->loop, limit_reached, h);
	h->refused = send_prepare(c, h, args);
	loop_timer_set(h->limit, h->refused ? 0 : args->timeout_us);
	return h;
}

void http_client_cancel(struct http_send *h)
{
	if (!h)
		return;
	send_detach(h);
	send_free(h);
}

/* ---- the client ---- */

/* Certificates under the names that OpenSSL looks for: "5a7722fb.0". */
static bool is_hashed_folder(const char *path)
{
	DIR *d = path ? opendir(path) : NULL;
	bool found = false;

	for (const struct dirent *e; d && !found && (e = readdir(d)) != NULL;)
		found = strspn(e->d_name, "0123456789abcdef") == 8 &&
			strcmp(e->d_name + 8, ".0") == 0;
	if (d)
		closedir(d);
	return found;
}

/* Not both, as libcurl has it: a file of all authorities takes 40 to 100 ms of the loop to read, at
 * each connection if there is a folder as well (measured); only alone does libcurl keep it, for a day
 * (CURLOPT_CA_CACHE_TIMEOUT). A folder costs one small file a connection, about 1 ms. */
static void choose_trust(struct http_client *c, const char *wanted)
{
	CURL *easy = curl_easy_init();
	char *file = NULL, *folder = NULL;

	if (easy && !wanted) {
		curl_easy_getinfo(easy, CURLINFO_CAINFO, &file);
		curl_easy_getinfo(easy, CURLINFO_CAPATH, &folder);
	}
	if (wanted)
		folder = file = (char *)wanted;
	if (is_hashed_folder(folder))
		c->ca_folder = copy_of(folder);
	else if (file)
		c->ca_file = copy_of(file);
	curl_easy_cleanup(easy);
}

static bool lane_open(struct http_client *c, struct lane *l)
{
	l->client = c;
	l->timer = loop_timer_new(c->loop, lane_timer_fired, l);
	l->multi = curl_multi_init();
	return l->multi &&
	       curl_multi_setopt(l->multi, CURLMOPT_SOCKETFUNCTION, lane_wants_socket) ==
		       CURLM_OK &&
	       curl_multi_setopt(l->multi, CURLMOPT_SOCKETDATA, l) == CURLM_OK &&
	       curl_multi_setopt(l->multi, CURLMOPT_TIMERFUNCTION, lane_wants_timer) == CURLM_OK &&
	       curl_multi_setopt(l->multi, CURLMOPT_TIMERDATA, l) == CURLM_OK &&
	       curl_multi_setopt(l->multi, CURLMOPT_MAX_HOST_CONNECTIONS, HOST_CONNECTIONS_MAX) ==
		       CURLM_OK &&
	       curl_multi_setopt(l->multi, CURLMOPT_MAXCONNECTS, KEPT_CONNECTIONS_MAX) == CURLM_OK;
}

struct http_client *http_client_new(uv_loop_t *loop, const char *trusted, struct error *why)
{
	struct http_client *c = xcalloc(1, sizeof(*c));
	bool ok = true;

	if (curl_global_init_mem(CURL_GLOBAL_DEFAULT, malloc, curl_memory_free, curl_memory_realloc,
				 strdup, calloc) != CURLE_OK) {
		free(c);
		fail(why, ERR_NO_MEMORY, "libcurl cannot be started");
		return NULL;
	}
	c->loop = loop;
	choose_trust(c, trusted);
	for (size_t i = 0; i < LANES; i++)
		ok = lane_open(c, &c->lanes[i]) && ok;
	if (ok)
		return c;
	http_client_free(c);
	fail(why, ERR_NO_MEMORY, "libcurl cannot be started: out of memory");
	return NULL;
}

void http_client_free(struct http_client *c)
{
	if (!c)
		return;
	while (c->sends)
		http_client_cancel(c->sends);
	for (size_t i = 0; i < LANES; i++) {
		/* closes the kept connections: watches are removed through lane_wants_socket */
		curl_multi_cleanup(c->lanes[i].multi);
		loop_timer_free(c->lanes[i].timer);
	}
	curl_global_cleanup();
	free(c->ca_file);
	free(c->ca_folder);
	free(c);
}
