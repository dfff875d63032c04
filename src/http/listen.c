/*
 * The listener on the loop: libmicrohttpd's epoll descriptor is watched, its timeouts are a timer,
 * and it runs only here, never in a thread of its own. A port that is taken is an alarm and is
 * tried again. Start, reload and stop of the whole door. Loop thread. Tests:
 * tests/mount/http.bats.
 */
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "parts.h"

#define FLUSH_TURNS 64

/* ---- libmicrohttpd's turns ---- */

static void run_due(uv_timer_t *t);
static void run_again(uv_idle_t *t);

/* Not a timer of 0 ms for "at once": this libuv would run it again before it looks at any
 * descriptor, and the mount would never get its turn. */
static void run(struct http *h)
{
	MHD_UNSIGNED_LONG_LONG ms;

	if (!h->mhd)
		return;
	h->turn_ns = uv_hrtime();
	MHD_run(h->mhd);
	turn_next(h, false);
	if (MHD_get_timeout(h->mhd, &ms) != MHD_YES)
		uv_timer_stop(&h->run_timer);
	else if (ms > 0)
		uv_timer_start(&h->run_timer, run_due, ms, 0);
	else
		uv_idle_start(&h->again, run_again);
}

static void run_again(uv_idle_t *t)
{
	uv_idle_stop(t);
	run(t->data);
}

static void run_due(uv_timer_t *t)
{
	run(t->data);
}

static void readable(uv_poll_t *p, int status, int events)
{
	(void)status;
	(void)events;
	struct http *h = p->data;

	if (!uv_is_active(
		    (uv_handle_t *)&h->again)) /* else one turn of the loop would give it two */
		run(h);
}

void http_kick(struct http *h)
{
	if (h->mhd && !h->stopped)
		uv_idle_start(&h->again, run_again);
}

/* ---- the listener ---- */

static int parse_address(const struct http_options *a, struct sockaddr_storage *out, socklen_t *len)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)out;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)out;

	memset(out, 0, sizeof(*out));
	if (inet_pton(AF_INET, a->host, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons((uint16_t)a->port);
		*len = sizeof(*v4);
		return 0;
	}
	if (inet_pton(AF_INET6, a->host, &v6->sin6_addr) != 1)
		return -EINVAL;
	v6->sin6_family = AF_INET6;
	v6->sin6_port = htons((uint16_t)a->port);
	*len = sizeof(*v6);
	return 0;
}

/* A bound socket, or a negative errno. */
static int bind_open(const struct http_options *a)
{
	struct sockaddr_storage at;
	socklen_t len = 0;
	int err = parse_address(a, &at, &len), one = 1, fd;

	if (err)
		return err;
	fd = socket(at.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&at, len) != 0) {
		err = -errno;
		close(fd);
		return err;
	}
	return fd;
}

/* A listening socket, or a negative errno. */
static int listen_open(const struct http_options *a)
{
	int fd = bind_open(a), err;

	if (fd < 0 || listen(fd, SOMAXCONN) == 0)
		return fd;
	err = -errno;
	close(fd);
	return err;
}

int http_check_port(const struct http_options *o, struct error *why)
{
	int fd = bind_open(o);

	if (fd < 0)
		return fail(
			why, ERR_BUSY,
			"%s port %d cannot be had: %s; the mount works, and HTTP answers once it "
			"is free (SERVER_HOST, SERVER_PORT)",
			o->host, o->port, strerror(-fd));
	close(fd);
	return 0;
}

static struct MHD_Daemon *mhd_start(struct http *h, int fd)
{
	unsigned flags = MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME;

	if (strchr(h->args.host, ':'))
		flags |= MHD_USE_IPv6;
	return MHD_start_daemon(flags, 0, NULL, NULL, request_turn, h, MHD_OPTION_LISTEN_SOCKET, fd,
				MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS_MAX,
				MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_LIMIT_S,
				MHD_OPTION_CONNECTION_MEMORY_LIMIT, CONNECTION_MEMORY,
				MHD_OPTION_NOTIFY_CONNECTION, conn_event, h,
				MHD_OPTION_NOTIFY_COMPLETED, request_ended, h,
				MHD_OPTION_URI_LOG_CALLBACK, request_seen, h,
				MHD_OPTION_UNESCAPE_CALLBACK, uri_unescape, h, MHD_OPTION_END);
}

static void listen_again(uv_timer_t *t);

static void listen_begin(struct http *h)
{
	int fd = listen_open(&h->args);
	char text[256];

	if (fd >= 0) {
		h->mhd = mhd_start(h, fd); /* the socket is its own now */
		fd = h->mhd ? 0 : -ENOMEM;
	}
	if (!h->mhd) {
		snprintf(
			text, sizeof(text),
			"HTTP does not answer on %s port %d: %s; the mount is not affected, and it "
			"is tried again every %d s (SERVER_HOST, SERVER_PORT)",
			h->args.host, h->args.port, strerror(-fd), RETRY_MS / 1000);
		engine_alarm(h->e, "http", "server", text);
		uv_timer_start(&h->retry_timer, listen_again, RETRY_MS, 0);
		return;
	}
	engine_alarm_clear(h->e, "http", "server");
	const union MHD_DaemonInfo *i = MHD_get_daemon_info(h->mhd, MHD_DAEMON_INFO_EPOLL_FD);
	CHECK(i != NULL);
	CHECK(uv_poll_init(h->loop, &h->poll, i->epoll_fd) == 0);
	h->poll.data = h;
	h->polling = true;
	CHECK(uv_poll_start(&h->poll, UV_READABLE, readable) == 0);
	run(h);
}

static void listen_again(uv_timer_t *t)
{
	listen_begin(t->data);
}

/* Every connection is a descriptor, and the usual soft limit is 1024. */
static void raise_descriptors(void)
{
	struct rlimit l;
	rlim_t wanted = CONNECTIONS_MAX + 1024;

	if (getrlimit(RLIMIT_NOFILE, &l) != 0 || l.rlim_cur >= wanted)
		return;
	l.rlim_cur = l.rlim_max < wanted ? l.rlim_max : wanted;
	(void)setrlimit(RLIMIT_NOFILE, &l);
}

/* ---- the door ---- */

static void changed(struct door *d, const struct change *c)
{
	struct http *h = container_of(d, struct http, door);

	if (h->stopped)
		return;
	switch (c->kind) {
	case CH_SESSION:
	case CH_SESSION_GONE:
		creates_changed(h, c);
		break;
	case CH_EVENT:
		stream_changed(h, c);
		break;
	case CH_PROVIDER:
		templates_changed(h);
		break;
	case CH_SESSION_NEW:
	case CH_SESSION_STATE:
	case CH_SESSION_NAME:
	case CH_SESSION_ENDED:
	case CH_SESSION_PROVEN:
	case CH_MARKET:
	case CH_ALARMS:
	case CH_STATUS:
		break;
	}
}

static int read_access(const struct http_options *o, struct api_account *account,
		       struct tokens *tokens, struct error *why)
{
	if (o->auth == API_AUTH_NONE)
		return account_find(o->api_user, account, why);
	if (!o->tokens_file[0])
		return 0;
	return tokens_read(o->tokens_file, tokens, why);
}

int http_check_access(const struct http_options *o, size_t *count, struct error *why)
{
	struct api_account account;
	struct tokens tokens = {0};
	int err = read_access(o, &account, &tokens, why);

	*count = tokens.count;
	tokens_free(&tokens);
	return err;
}

static void limits_begin(struct http *h)
{
	h->head_limit_ms = HEAD_LIMIT_MS;
	h->body_limit_ms = BODY_LIMIT_MS;
#ifdef GPUFS_TEST
	const char *ms = getenv("GPUFS_TEST_HTTP_LIMIT_MS"); /* slow clients, tested quickly */
	if (ms && parse_int(str_of(ms), 1, 3600000, &h->head_limit_ms, NULL) == 0)
		h->body_limit_ms = h->head_limit_ms;
#endif
}

struct http *http_new(uv_loop_t *loop, struct engine *e, const struct http_options *args,
		      struct error *why)
{
	struct http *h = calloc(1, sizeof(*h));
	uv_timer_t *timers[3];

	if (!h) {
		(void)fail(why, ERR_NO_MEMORY, "out of memory");
		return NULL;
	}
	h->args = *args;
	h->e = e;
	h->loop = loop;
	h->deadline_ms = INT64_MAX;
	if (read_access(args, &h->account, &h->tokens, why) != 0) {
		free(h);
		return NULL;
	}
	limits_begin(h);
	raise_descriptors();
	timers[0] = &h->run_timer;
	timers[1] = &h->deadline_timer;
	timers[2] = &h->retry_timer;
	for (size_t i = 0; i < ARRAY_LEN(timers); i++) {
		CHECK(uv_timer_init(loop, timers[i]) == 0);
		timers[i]->data = h;
	}
	CHECK(uv_idle_init(loop, &h->again) == 0);
	h->again.data = h;
	streams_begin(h);
	h->door.changed = changed;
	engine_add_door(e, &h->door);
	listen_begin(h);
	return h;
}

void http_reload(struct http *h)
{
	if (h && !h->stopped && h->args.auth == API_AUTH_TOKEN)
		reload_begin(h);
}

void http_stop(struct http *h)
{
	if (!h || h->stopped)
		return;
	creates_stop(h);
	streams_stop(h);
	for (struct conn *k = h->conns; k; k = k->next)
		if (k->r && k->r->suspended)
			answer_fail(k->r, 503,
				    "gpufs is stopping; if the order was recorded it stands: look "
				    "again in a moment");
	h->stopped = true;
	turn_next(h, true);
	for (int i = 0; h->mhd && i < FLUSH_TURNS; i++)
		MHD_run(h->mhd);
	if (h->polling)
		uv_close((uv_handle_t *)&h->poll, NULL);
	uv_close((uv_handle_t *)&h->run_timer, NULL);
	uv_close((uv_handle_t *)&h->again, NULL);
	uv_close((uv_handle_t *)&h->deadline_timer, NULL);
	uv_close((uv_handle_t *)&h->retry_timer, NULL);
	if (h->mhd)
		MHD_stop_daemon(h->mhd);
	h->mhd = NULL;
}

void http_free(struct http *h)
{
	if (!h)
		return;
	market_text_unref(h->market);
	streams_free(h);
	tokens_free(&h->tokens);
	free(h);
}
