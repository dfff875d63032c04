/*
 * fakecloud: a strict fake of a GPU cloud over HTTP on loopback, for tests.
 *
 *	fakecloud --provider vastai|tensordock --control SOCKET [--port N] [--ready-file F] [--seed S]
 *		[--time-factor X] [--offers N] [--key K] [--calm] [--ssh --dir D]
 *	fakecloud --ctl SOCKET COMMAND...        (`help` lists the commands)
 *
 * Port 0 (the default) takes a free one; it is printed, and written to the ready file when requests are
 * answered. --time-factor scales every documented duration (0.1: ten times faster). --calm: nothing by
 * chance. --ssh: a real sshd for each machine, in directories below D; needs root.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "../../src/core/check.h"
#include "fakecloud.h"

static const struct fake_cloud *const clouds[] = {&fake_cloud_vastai, &fake_cloud_tensordock};

static volatile sig_atomic_t told_to_end;

static void on_signal(int sig)
{
	(void)sig;
	told_to_end = 1;
}

static int64_t clock_us(clockid_t which)
{
	struct timespec t;

	clock_gettime(which, &t);
	return (int64_t)t.tv_sec * SECOND_US + t.tv_nsec / 1000;
}

int64_t server_now_us(const struct server *s)
{
	return clock_us(CLOCK_MONOTONIC) - s->start_us;
}

/* ---- sockets ---- */

static int http_listen(struct server *s)
{
	struct sockaddr_in a = {.sin_family = AF_INET,
				.sin_port = htons((uint16_t)s->port),
				.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t n = sizeof(a);
	int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
	    bind(fd, (const struct sockaddr *)&a, n) < 0 || listen(fd, 256) < 0 ||
	    getsockname(fd, (struct sockaddr *)&a, &n) < 0) {
		perror("fakecloud: HTTP socket");
		if (fd >= 0)
			close(fd);
		return -1;
	}
	s->port = ntohs(a.sin_port);
	return fd;
}

static void take(struct server *s, int listen_fd, bool control)
{
	int one = 1, fd;
	struct linger hard = {.l_onoff = 1, .l_linger = 0};

	while ((fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0) {
		if (!control && s->mode == MODE_RESET) {
			setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
			close(fd);
			continue;
		}
		if (!control)
			setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		s->conns = realloc(s->conns, (s->conn_count + 1) * sizeof(struct conn *));
		CHECK(s->conns != NULL);
		s->conns[s->conn_count++] = conn_new(fd, control);
	}
}

/* Refusing is not listening; what was connected is closed. */
static void mode_apply(struct server *s)
{
	bool closed = s->mode == MODE_REFUSE || s->mode == MODE_RESET;

	if (s->mode == MODE_REFUSE && s->listen_fd >= 0) {
		close(s->listen_fd);
		s->listen_fd = -1;
	} else if (s->mode != MODE_REFUSE && s->listen_fd < 0) {
		s->listen_fd = http_listen(s);
	}
	for (size_t i = 0; closed && i < s->conn_count;) {
		if (conn_is_control(s->conns[i])) {
			i++;
			continue;
		}
		conn_free(s->conns[i]);
		s->conns[i] = s->conns[--s->conn_count];
	}
}

/* ---- the loop ---- */

static bool conn_hangs(const struct server *s, const struct conn *c)
{
	return s->mode == MODE_HANG && !conn_is_control(c);
}

static void conns_step(struct server *s, const struct pollfd *p, size_t n)
{
	/* Those that came meanwhile are behind n. Backwards: an ended one is replaced by the last. */
	for (size_t i = n; i-- > 0;) {
		if (conn_hangs(s, s->conns[i]))
			continue;
		if (conn_step(s, s->conns[i], p[i].revents))
			continue;
		conn_free(s->conns[i]);
		s->conns[i] = s->conns[--s->conn_count];
	}
}

static void turn(struct server *s)
{
	int64_t due = s->cloud->next_us(s->state), now;
	size_t n = s->conn_count;
	struct pollfd *p = xcalloc(n + 2, sizeof(*p));
	int wait;

	guests_step(s, &due);
	for (size_t i = 0; i < n; i++)
		p[i] = (struct pollfd){.fd = conn_hangs(s, s->conns[i]) ? -1 : conn_fd(s->conns[i]),
				       .events = conn_events(s->conns[i], server_now_us(s), &due)};
	p[n] = (struct pollfd){.fd = s->control_fd, .events = POLLIN};
	p[n + 1] = (struct pollfd){.fd = s->listen_fd, .events = POLLIN};
	now = server_now_us(s);
	wait = due <= now ? 0 : due - now > 3600 * SECOND_US ? -1 : (int)((due - now) / 1000) + 1;
	if (poll(p, n + 2, wait) < 0 && errno != EINTR) {
		perror("fakecloud: poll");
		s->quit = true;
	}
	conns_step(s, p, n);
	if (p[n].revents)
		take(s, s->control_fd, true);
	if (p[n + 1].revents && s->listen_fd >= 0)
		take(s, s->listen_fd, false);
	mode_apply(s);
	free(p);
}

static bool ready(const struct server *s)
{
	char aside[PATH_MAX];
	FILE *f;
	bool good;

	printf("%d\n", s->port);
	fflush(stdout);
	if (!s->o.ready_file)
		return true;
	if (snprintf(aside, sizeof(aside), "%s.new", s->o.ready_file) >= (int)sizeof(aside))
		return false;
	f = fopen(aside, "w");
	good = f && fprintf(f, "%d\n", s->port) > 0;
	good = f && fclose(f) == 0 && good;
	return good && rename(aside, s->o.ready_file) == 0;
}

static int serve(const struct fake_options *o, const struct fake_cloud *cloud)
{
	struct server s = {.o = *o, .cloud = cloud, .port = o->port, .control_fd = -1};
	struct sigaction end = {.sa_handler = on_signal};
	bool good;

	sigaction(SIGTERM, &end, NULL);
	sigaction(SIGINT, &end, NULL);
	s.start_us = clock_us(CLOCK_MONOTONIC);
	s.state = cloud->make(o, clock_us(CLOCK_REALTIME));
	s.listen_fd = http_listen(&s);
	s.control_fd = control_listen(o->control);
	good = s.listen_fd >= 0 && s.control_fd >= 0 && ready(&s);
	while (good && !s.quit && !told_to_end)
		turn(&s);
	guests_free(&s);
	while (s.conn_count)
		conn_free(s.conns[--s.conn_count]);
	free(s.conns);
	cloud->free(s.state);
	unlink(o->control);
	return !good;
}

static int usage(void)
{
	fprintf(stderr, "usage: fakecloud --provider NAME --control SOCKET [--port N] "
			"[--ready-file F] [--seed S]\n"
			"                 [--time-factor X] [--offers N] [--key K] [--calm] [--ssh "
			"--dir D]\n"
			"       fakecloud --ctl SOCKET COMMAND...\n");
	return 2;
}

int main(int argc, char **argv)
{
	enum { PROVIDER = 'a', CONTROL, PORT, READY, SEED, FACTOR, OFFERS, KEY, CALM, SSH, DIR };
	static const struct option table[] = {{"provider", required_argument, NULL, PROVIDER},
					      {"control", required_argument, NULL, CONTROL},
					      {"port", required_argument, NULL, PORT},
					      {"ready-file", required_argument, NULL, READY},
					      {"seed", required_argument, NULL, SEED},
					      {"time-factor", required_argument, NULL, FACTOR},
					      {"offers", required_argument, NULL, OFFERS},
					      {"key", required_argument, NULL, KEY},
					      {"calm", no_argument, NULL, CALM},
					      {"ssh", no_argument, NULL, SSH},
					      {"dir", required_argument, NULL, DIR},
					      {NULL, 0, NULL, 0}};
	struct fake_options o = {.seed = 1, .time_factor = 1, .offers = UNKNOWN};
	int word;

	if (argc > 3 && !strcmp(argv[1], "--ctl"))
		return control_client(argv[2], argc - 3, argv + 3);
	while ((word = getopt_long(argc, argv, "", table, NULL)) != -1) {
		switch (word) {
		case PROVIDER:
			o.provider = optarg;
			break;
		case CONTROL:
			o.control = optarg;
			break;
		case PORT:
			o.port = atoi(optarg);
			break;
		case READY:
			o.ready_file = optarg;
			break;
		case SEED:
			o.seed = strtoull(optarg, NULL, 10);
			break;
		case FACTOR:
			o.time_factor = strtod(optarg, NULL);
			break;
		case OFFERS:
			o.offers = strtoll(optarg, NULL, 10);
			break;
		case KEY:
			o.key = optarg;
			break;
		case CALM:
			o.calm = true;
			break;
		case SSH:
			o.ssh = true;
			break;
		case DIR:
			o.dir = optarg;
			break;
		default:
			return usage();
		}
	}
	if (optind != argc || !o.provider || !o.control || (o.ssh && !o.dir) || o.time_factor <= 0)
		return usage();
	for (size_t i = 0; i < ARRAY_LEN(clouds); i++)
		if (!strcmp(clouds[i]->name, o.provider))
			return serve(&o, clouds[i]);
	fprintf(stderr, "fakecloud: there is no provider %s\n", o.provider);
	return 2;
}
