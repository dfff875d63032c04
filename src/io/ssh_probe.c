/*
 * One attempt to log in over SSH, on the loop, without ever blocking it.
 *
 * Steps: name -> address (uv_getaddrinfo, only for what is not numeric), connect, handshake, host key
 * against the pinned one, public key login, `echo ok`, read it, leave. One timer limits the whole.
 * libssh2 works on a non-blocking socket that a uv_poll watches; what it reads and allocates goes through
 * ssh_wire.c.
 *
 * Owner: the loop thread. Life: the struct is freed when its last libuv handle is closed; `over` is set
 * before the callback runs, so that it runs once and never after ssh_probe_cancel.
 * The other end is hostile: what is read is bounded in ssh_wire.c, and its words are made printable.
 * Must never: answer inside ssh_probe_start, keep a private key in freed memory.
 * Tests: tests/unit/test_ssh_probe.c
 */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../core/check.h"
#include "io.h"
#include "io_parts.h"
#include "ssh_parts.h"

#define REPLY_MAX ((size_t)8 << 10) /* greetings of a shell before our "ok" */
#define COMMAND	  "echo ok"

enum probe_step {
	STEP_BEGIN,
	STEP_RESOLVE,
	STEP_CONNECT,
	STEP_HANDSHAKE,
	STEP_LOGIN,
	STEP_CHANNEL,
	STEP_COMMAND,
	STEP_REPLY,
	STEP_LEAVE,
};

static const char *const step_doing[] = {
	[STEP_BEGIN] = "starting",
	[STEP_RESOLVE] = "looking up the address",
	[STEP_CONNECT] = "connecting",
	[STEP_HANDSHAKE] = "waiting for the SSH handshake",
	[STEP_LOGIN] = "logging in",
	[STEP_CHANNEL] = "opening a channel",
	[STEP_COMMAND] = "starting '" COMMAND "'",
	[STEP_REPLY] = "waiting for the answer of '" COMMAND "'",
	[STEP_LEAVE] = "leaving",
};

struct probe {
	uv_loop_t *loop;
	uv_timer_t timer;
	uv_poll_t poll;
	uv_getaddrinfo_t lookup;
	unsigned handles; /* libuv objects that still point here */
	bool polling, looking_up, over;

	char *host, *user, *public_key, *pinned;
	struct secret private_key;
	int64_t port, timeout_us;

	struct addrinfo *addresses, *next; /* of a looked-up name */
	enum probe_step step;
	int fd;
	struct ssh_wire wire;
	char *host_key; /* "type base64", once seen */
	char reply[REPLY_MAX + 1];
	size_t reply_len;

	probe_cb cb;
	void *arg;
};

static void probe_advance(struct probe *p);
static void probe_connect_next(struct probe *p);

/* ---- the end ---- */

static void probe_release(struct probe *p)
{
	CHECK(p->handles > 0);
	if (--p->handles > 0)
		return;
	uv_freeaddrinfo(p->addresses);
	free(p->host);
	free(p->user);
	free(p->public_key);
	free(p->pinned);
	free(p->host_key);
	free(p);
}

static void timer_closed(uv_handle_t *h)
{
	probe_release(container_of((uv_timer_t *)(void *)h, struct probe, timer));
}

static void poll_closed(uv_handle_t *h)
{
	probe_release(container_of((uv_poll_t *)(void *)h, struct probe, poll));
}

static void probe_drop_socket(struct probe *p)
{
	ssh_wire_close(&p->wire);
	if (p->polling) {
		p->polling = false;
		uv_poll_stop(&p->poll);
		uv_close((uv_handle_t *)&p->poll, poll_closed);
	}
	if (p->fd >= 0)
		close(p->fd); /* after uv_poll_stop: libuv forgets the descriptor there */
	p->fd = -1;
}

static void probe_end(struct probe *p)
{
	CHECK(!p->over);
	p->over = true;
	secret_wipe(&p->private_key);
	probe_drop_socket(p);
	if (p->looking_up)
		/* Or its callback comes when the resolver is done. */
		uv_cancel((uv_req_t *)&p->lookup);
	uv_close((uv_handle_t *)&p->timer, timer_closed);
}

static void probe_answer(struct probe *p, enum probe_verdict v, const char *text)
{
	FREE char *key = p->host_key;

	p->host_key = NULL;
	probe_end(p);
	p->cb(p->arg, v, key ? key : "", text);
}

__attribute__((format(printf, 3, 4))) static void probe_say(struct probe *p, enum probe_verdict v,
							    const char *fmt, ...)
{
	char raw[400];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(raw, sizeof(raw), fmt, ap);
	va_end(ap);
	printable(raw); /* parts of it may be the other end's words */
	probe_answer(p, v, raw);
}

static void probe_not_yet(struct probe *p, const char *what)
{
	probe_say(p, PROBE_NOT_YET, "%s port %lld, while %s: %s", p->host, (long long)p->port,
		  step_doing[p->step], what);
}

/* libssh2's own words, or what happened to the socket. */
static void probe_not_yet_ssh(struct probe *p)
{
	char *text = NULL;

	if (ssh_wire_flooded(&p->wire)) {
		probe_not_yet(p, "it sends without end; this is no SSH server");
		return;
	}
	libssh2_session_last_error(p->wire.ssh, &text, NULL, 0);
	probe_not_yet(p, text && text[0] ? text : "the connection was closed");
}

/* ---- the steps; each returns true when the next may begin, false when it waits or has answered ---- */

static bool step_connected(struct probe *p)
{
	int err = 0;
	socklen_t n = sizeof(err);

	if (getsockopt(p->fd, SOL_SOCKET, SO_ERROR, &err, &n) < 0)
		err = errno;
	if (err) {
		if (p->next) { /* the name has more addresses */
			probe_connect_next(p);
			return false;
		}
		probe_not_yet(p, strerror(err));
		return false;
	}
	if (ssh_wire_open(&p->wire, p->pinned)) {
		probe_not_yet(p, "out of memory here");
		return false;
	}
	p->step = STEP_HANDSHAKE;
	return true;
}

static bool step_handshake(struct probe *p)
{
	int rc = libssh2_session_handshake(p->wire.ssh, p->fd);

	if (rc == LIBSSH2_ERROR_EAGAIN)
		return false;
	if (rc) {
		probe_not_yet_ssh(p);
		return false;
	}
	p->host_key = ssh_host_key_text(p->wire.ssh);
	if (!p->host_key) {
		probe_not_yet(p, "its host key cannot be read");
		return false;
	}
	if (p->pinned[0] && !ssh_host_key_is(p->pinned, p->host_key)) {
		probe_say(p, PROBE_HOST_KEY,
			  "%s port %lld shows another host key than the known one; nothing was "
			  "sent to it",
			  p->host, (long long)p->port);
		return false;
	}
	p->step = STEP_LOGIN;
	return true;
}

static bool step_login(struct probe *p)
{
	int rc = libssh2_userauth_publickey_frommemory(
		p->wire.ssh, p->user, strlen(p->user), p->public_key, strlen(p->public_key),
		p->private_key.bytes, p->private_key.len, NULL);

	if (rc == LIBSSH2_ERROR_EAGAIN)
		return false;
	if (rc == 0) {
		secret_wipe(&p->private_key);
		p->step = STEP_CHANNEL;
		return true;
	}
	if (rc == LIBSSH2_ERROR_AUTHENTICATION_FAILED || rc == LIBSSH2_ERROR_PUBLICKEY_UNVERIFIED)
		probe_say(p, PROBE_LOGIN_REFUSED,
			  "%s port %lld does not accept the key for user %s", p->host,
			  (long long)p->port, p->user);
	else
		probe_not_yet_ssh(p);
	return false;
}

static bool step_channel(struct probe *p)
{
	p->wire.channel = libssh2_channel_open_session(p->wire.ssh);
	if (!p->wire.channel) {
		if (libssh2_session_last_errno(p->wire.ssh) != LIBSSH2_ERROR_EAGAIN)
			probe_not_yet_ssh(p);
		return false;
	}
	p->step = STEP_COMMAND;
	return true;
}

static bool step_command(struct probe *p)
{
	int rc = libssh2_channel_exec(p->wire.channel, COMMAND);

	if (rc == LIBSSH2_ERROR_EAGAIN)
		return false;
	if (rc) {
		probe_not_yet_ssh(p);
		return false;
	}
	p->step = STEP_REPLY;
	return true;
}

/* "ok" as a line of its own: a shell may greet before and after. */
static bool reply_ok(const char *s)
{
	for (const char *at = s; (at = strstr(at, "ok")) != NULL; at += 2)
		if ((at == s || at[-1] == '\n') && (at[2] == '\n' || at[2] == '\r'))
			return true;
	return false;
}

static bool step_reply(struct probe *p)
{
	for (;;) {
		ssize_t n = libssh2_channel_read(p->wire.channel, p->reply + p->reply_len,
						 REPLY_MAX - p->reply_len);

		if (n == LIBSSH2_ERROR_EAGAIN)
			return false;
		if (n < 0) {
			probe_not_yet_ssh(p);
			return false;
		}
		p->reply_len += (size_t)n;
		p->reply[p->reply_len] = '\0';
		if (strlen(p->reply) == p->reply_len && reply_ok(p->reply)) {
			p->step = STEP_LEAVE;
			return true;
		}
		if (n == 0 || p->reply_len == REPLY_MAX)
			break;
	}
	probe_not_yet(p, "the command did not answer 'ok'");
	return false;
}

/* One polite word, not waited for. */
static bool step_leave(struct probe *p)
{
	libssh2_channel_send_eof(p->wire.channel);
	libssh2_session_disconnect(p->wire.ssh, "checked");
	probe_say(p, PROBE_OK, "logged in to %s port %lld as %s", p->host, (long long)p->port,
		  p->user);
	return false;
}

static bool probe_step(struct probe *p)
{
	switch (p->step) {
	case STEP_BEGIN:
	case STEP_RESOLVE:
		return false;
	case STEP_CONNECT:
		return step_connected(p);
	case STEP_HANDSHAKE:
		return step_handshake(p);
	case STEP_LOGIN:
		return step_login(p);
	case STEP_CHANNEL:
		return step_channel(p);
	case STEP_COMMAND:
		return step_command(p);
	case STEP_REPLY:
		return step_reply(p);
	case STEP_LEAVE:
		return step_leave(p);
	}
	return false;
}

/* ---- events ---- */

static void on_socket(uv_poll_t *poll, int status, int events)
{
	struct probe *p = container_of(poll, struct probe, poll);

	(void)events;
	if (p->over)
		return;
	/* An error of the descriptor (EBADF) is told by the next system call on it. */
	(void)status;
	probe_advance(p);
}

static void probe_wait(struct probe *p)
{
	int want = 0, dirs;

	if (p->step == STEP_CONNECT) {
		want = UV_WRITABLE;
	} else {
		dirs = libssh2_session_block_directions(p->wire.ssh);
		if (dirs & LIBSSH2_SESSION_BLOCK_OUTBOUND)
			want |= UV_WRITABLE;
		if (dirs & LIBSSH2_SESSION_BLOCK_INBOUND || !want)
			want |= UV_READABLE;
	}
	if (uv_poll_start(&p->poll, want, on_socket))
		probe_not_yet(p, "the event loop does not take the socket");
}

static void probe_advance(struct probe *p)
{
	int fd = p->fd;

	ssh_wire_turn(&p->wire);
	while (probe_step(p))
		;
	if (!p->over && p->fd >= 0 && p->fd == fd)
		probe_wait(p);
}

/* ---- connecting ---- */

static int probe_open_socket(struct probe *p, const struct sockaddr *to, socklen_t n)
{
	int one = 1, err;

	p->fd = socket(to->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (p->fd < 0)
		return -errno;
	setsockopt(p->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (connect(p->fd, to, n) < 0 && errno != EINPROGRESS) {
		err = -errno;
		close(p->fd);
		p->fd = -1;
		return err;
	}
	return 0;
}

/* Goes on with the next address where one is refused at once (IPv6 on a host without it). */
static void probe_connect(struct probe *p, const struct sockaddr *to, socklen_t n)
{
	int err;

	p->step = STEP_CONNECT;
	for (;;) {
		err = probe_open_socket(p, to, n);
		if (!err || !p->next)
			break;
		to = p->next->ai_addr;
		n = p->next->ai_addrlen;
		p->next = p->next->ai_next;
	}
	if (!err)
		err = uv_poll_init(p->loop, &p->poll, p->fd);
	if (err) {
		probe_not_yet(p, strerror(-err));
		return;
	}
	p->polling = true;
	p->handles++;
	probe_wait(p);
}

/* The handle lives inside the struct, so the old one must be closed before the next address. */
static void poll_closed_next(uv_handle_t *h)
{
	struct probe *p = container_of((uv_poll_t *)(void *)h, struct probe, poll);
	struct addrinfo *a = p->next;

	if (!p->over && a) {
		p->next = a->ai_next;
		probe_connect(p, a->ai_addr, a->ai_addrlen);
	}
	probe_release(p);
}

static void probe_connect_next(struct probe *p)
{
	p->polling = false;
	uv_poll_stop(&p->poll);
	uv_close((uv_handle_t *)&p->poll, poll_closed_next);
	close(p->fd);
	p->fd = -1;
}

static void on_lookup(uv_getaddrinfo_t *req, int status, struct addrinfo *res)
{
	struct probe *p = container_of(req, struct probe, lookup);

	p->looking_up = false;
	p->addresses = res;
	if (!p->over && (status || !res)) {
		probe_not_yet(p, status ? uv_strerror(status) : "the name has no address");
	} else if (!p->over) {
		p->next = res->ai_next;
		probe_connect(p, res->ai_addr, res->ai_addrlen);
	}
	probe_release(p);
}

static void probe_look_up(struct probe *p)
{
	struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
	char port[16];
	int err;

	p->step = STEP_RESOLVE;
	snprintf(port, sizeof(port), "%lld", (long long)p->port);
	err = uv_getaddrinfo(p->loop, &p->lookup, on_lookup, p->host, port, &hints);
	if (err) {
		probe_not_yet(p, uv_strerror(err));
		return;
	}
	p->looking_up = true;
	p->handles++;
}

static void on_deadline(uv_timer_t *timer)
{
	struct probe *p = container_of(timer, struct probe, timer);

	probe_not_yet(p, "no answer in time");
}

static uint64_t ms_of(int64_t us)
{
	return us <= 0 ? 1 : (uint64_t)(us + 999) / 1000;
}

static void on_begin(uv_timer_t *timer)
{
	struct probe *p = container_of(timer, struct probe, timer);
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;

	uv_timer_start(&p->timer, on_deadline, ms_of(p->timeout_us), 0);
	if (p->port < 1 || p->port > 65535 || !p->host[0] || !p->private_key.bytes)
		probe_not_yet(p, "the address, the port or the key is not known");
	else if (uv_ip4_addr(p->host, (int)p->port, &v4) == 0)
		probe_connect(p, (const struct sockaddr *)&v4, sizeof(v4));
	else if (uv_ip6_addr(p->host, (int)p->port, &v6) == 0)
		probe_connect(p, (const struct sockaddr *)&v6, sizeof(v6));
	else
		probe_look_up(p);
}

/* ---- the two calls ---- */

struct probe *ssh_probe_start(uv_loop_t *loop, const struct probe_args *args, probe_cb cb,
			      void *arg)
{
	struct probe *p = xcalloc(1, sizeof(*p));

	p->loop = loop;
	p->host = copy_of(args->host);
	p->user = copy_of(args->user);
	p->public_key = copy_of(args->public_key);
	p->pinned = copy_of(args->host_key);
	if (args->private_key && args->private_key->bytes)
		secret_set(&p->private_key, args->private_key->bytes, args->private_key->len);
	p->port = args->port;
	p->timeout_us = args->timeout_us;
	p->fd = -1;
	p->cb = cb;
	p->arg = arg;
	CHECK(uv_timer_init(loop, &p->timer) == 0);
	p->handles = 1;
	uv_timer_start(&p->timer, on_begin, 0, 0);
	return p;
}

void ssh_probe_cancel(struct probe *p)
{
	if (p)
		probe_end(p);
}
