/*
 * The control door of the fake cloud: a unix socket, one line in, the answer out, closed. What concerns the
 * server is answered here, everything else by the provider's state machine. And its client:
 * fakecloud --ctl SOCKET WORD...
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "../../src/core/check.h"
#include "fakecloud.h"

static const char *const modes[] = {
	[MODE_OK] = "ok", [MODE_HANG] = "hang", [MODE_RESET] = "reset", [MODE_REFUSE] = "refuse"};

static void set_mode(struct server *s, const char *word, struct buf *out)
{
	for (size_t i = 0; i < ARRAY_LEN(modes); i++)
		if (!strcmp(modes[i], word)) {
			s->mode = (enum server_mode)i;
			return;
		}
	buf_printf(out, "error: mode is ok, hang, reset or refuse, not %s\n", word);
}

bool control_line(struct server *s, const char *line, struct buf *out)
{
	char word[64] = "", rest[64] = "";

	sscanf(line, "%63s %63s", word, rest);
	if (!strcmp(word, "quit")) {
		s->quit = true;
	} else if (!strcmp(word, "port")) {
		buf_printf(out, "%d\n", s->port);
	} else if (!strcmp(word, "mode")) {
		set_mode(s, rest, out);
	} else if (!strcmp(word, "date-skew")) {
		s->skew_us = strtoll(rest, NULL, 10) * SECOND_US;
	} else if (!strcmp(word, "sshd")) {
		guests_show(s, out);
	} else if (!strcmp(word, "now")) {
		buf_printf(out, "%.6f\n", (double)server_now_us(s) / 1e6);
	} else {
		if (!strcmp(word, "help"))
			buf_puts(out, "quit\nport: of HTTP\nmode: ok|hang|reset|refuse\ndate-skew: "
				      "SECONDS "
				      "that the Date header is ahead\nsshd: id, pid, ports, "
				      "directory\nnow: "
				      "seconds since the start\n");
		return s->cloud->control(s->state, server_now_us(s), line, out) == 0;
	}
	return true;
}

static int unix_address(const char *path, struct sockaddr_un *a)
{
	*a = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (strlen(path) >= sizeof(a->sun_path)) {
		fprintf(stderr, "fakecloud: the path of the socket is too long: %s\n", path);
		return -1;
	}
	copy_text(a->sun_path, sizeof(a->sun_path), path);
	return 0;
}

int control_listen(const char *path)
{
	struct sockaddr_un a;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	unlink(path);
	if (fd < 0 || unix_address(path, &a) ||
	    bind(fd, (const struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, 64) < 0) {
		perror("fakecloud: control socket");
		return -1;
	}
	return fd;
}

int control_client(const char *path, int argc, char **argv)
{
	struct sockaddr_un a;
	BUF line = {.data = NULL};
	BUF answer = {.data = NULL};
	char bytes[16384];
	ssize_t n;
	bool bad;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	for (int i = 0; i < argc; i++)
		buf_printf(&line, "%s%s", i ? " " : "", argv[i]);
	buf_puts(&line, "\n");
	if (fd < 0 || unix_address(path, &a) ||
	    connect(fd, (const struct sockaddr *)&a, sizeof(a)) < 0 ||
	    send(fd, line.data, line.len, MSG_NOSIGNAL) != (ssize_t)line.len) {
		fprintf(stderr, "fakecloud: %s: %s\n", path, strerror(errno));
		return 2;
	}
	while ((n = recv(fd, bytes, sizeof(bytes), 0)) > 0)
		buf_add(&answer, bytes, (size_t)n);
	close(fd);
	bad = answer.len >= 7 && !strncmp(answer.data, "error: ", 7);
	if (answer.len)
		fwrite(answer.data, 1, answer.len, bad ? stderr : stdout);
	return n < 0 || bad;
}
