/*
 * One GET of an HTTP/1.1 server, again and again over kept connections, each one timed:
 *
 *	httpload ADDRESS PORT CLIENTS SECONDS PATH
 *
 * Each client (a process) has one connection and one request under way, as a scraper or a script has; the
 * next request goes out when the last byte of the answer is in. Prints `count p50 p99 max bytes`
 * (nanoseconds; bytes of one answer's body) of all clients together. Exits with 1 if an answer is not a
 * 200 with a Content-Length, or the connection ends.
 *
 * Every sample is kept (4 bytes each), so the percentiles are exact. Used by tests/bench/http.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CLIENTS_MAX 64
#define SAMPLES_MAX ((size_t)1 << 20) /* of one client */
#define HEAD_MAX    8192

struct client {
	size_t count, bytes;
	char failure[160]; /* "" = none */
	uint32_t ns[SAMPLES_MAX];
};

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static int fail(struct client *c, const char *what)
{
	snprintf(c->failure, sizeof(c->failure), "%.150s", what);
	return -1;
}

static int server_connect(const char *address, int port)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || inet_pton(AF_INET, address, &to.sin_addr) != 1 ||
	    connect(fd, (struct sockaddr *)&to, sizeof(to))) {
		if (fd >= 0)
			close(fd);
		return -1;
	}
	return fd;
}

/* Reads the head of an answer; *body is what of the body came with it. */
static int head_read(struct client *c, int fd, size_t *length, size_t *body)
{
	static char head[HEAD_MAX];
	size_t n = 0;

	for (;;) {
		const char *end, *at;
		ssize_t got = recv(fd, head + n, sizeof(head) - 1 - n, 0);

		if (got <= 0)
			return fail(c, got ? strerror(errno) : "the server closed the connection");
		n += (size_t)got;
		head[n] = '\0';
		end = strstr(head, "\r\n\r\n");
		if (!end) {
			if (n == sizeof(head) - 1)
				return fail(c, "the head of the answer is too long");
			continue;
		}
		if (strncmp(head, "HTTP/1.1 200 ", 13)) {
			head[strcspn(head, "\r")] = '\0';
			return fail(c, head);
		}
		at = strcasestr(head, "\r\nContent-Length:");
		if (!at || at > end)
			return fail(c, "an answer without Content-Length");
		*length = strtoul(at + 17, NULL, 10);
		*body = n - (size_t)(end + 4 - head);
		return 0;
	}
}

static int get_once(struct client *c, int fd, const char *text, size_t n, char *buf, size_t cap)
{
	size_t length, have;

	if (send(fd, text, n, MSG_NOSIGNAL) != (ssize_t)n)
		return fail(c, strerror(errno));
	if (head_read(c, fd, &length, &have))
		return -1;
	while (have < length) {
		ssize_t got = recv(fd, buf, cap, 0);

		if (got <= 0)
			return fail(c, got ? strerror(errno) : "the answer was cut short");
		have += (size_t)got;
	}
	c->bytes = length;
	return 0;
}

static void client_run(struct client *c, const char *const *argv, uint64_t until)
{
	static char buf[256 << 10], text[2048];
	int n = snprintf(text, sizeof(text), "GET %s HTTP/1.1\r\nHost: %s:%s\r\n\r\n", argv[5],
			 argv[1], argv[2]);
	int fd = server_connect(argv[1], atoi(argv[2]));

	if (fd < 0 || n < 0 || (size_t)n >= sizeof(text)) {
		fail(c, fd < 0 ? strerror(errno) : "the path is too long");
		return;
	}
	while (c->count < SAMPLES_MAX) {
		uint64_t start = now_ns(), took;

		if (start >= until || get_once(c, fd, text, (size_t)n, buf, sizeof(buf)))
			break;
		took = now_ns() - start;
		c->ns[c->count++] = took < UINT32_MAX ? (uint32_t)took : UINT32_MAX;
	}
	close(fd);
}

static int compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static int report(const struct client *c, int clients)
{
	size_t count = 0, at = 0;
	uint32_t *all;

	for (int i = 0; i < clients; i++) {
		if (c[i].failure[0]) {
			fprintf(stderr, "httpload: %s\n", c[i].failure);
			return 1;
		}
		count += c[i].count;
	}
	all = count ? malloc(count * sizeof(*all)) : NULL;
	if (!all) {
		fprintf(stderr, "httpload: nothing was answered in time\n");
		return 1;
	}
	for (int i = 0; i < clients; i++) {
		memcpy(all + at, c[i].ns, c[i].count * sizeof(*all));
		at += c[i].count;
	}
	qsort(all, count, sizeof(*all), compare);
	printf("%zu %u %u %u %zu\n", count, all[count / 2], all[count * 99 / 100], all[count - 1],
	       c[0].bytes);
	free(all);
	return 0;
}

int main(int argc, char **argv)
{
	int clients = argc == 6 ? atoi(argv[3]) : 0;
	struct client *c;
	uint64_t until;

	if (clients < 1 || clients > CLIENTS_MAX || atof(argv[4]) <= 0) {
		fprintf(stderr, "usage: httpload ADDRESS PORT CLIENTS SECONDS PATH\n");
		return 2;
	}
	c = mmap(NULL, (size_t)clients * sizeof(*c), PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (c == MAP_FAILED) {
		perror("httpload: mmap");
		return 1;
	}
	until = now_ns() + (uint64_t)(atof(argv[4]) * 1e9);
	for (int i = 0; i < clients; i++) {
		pid_t pid = fork();

		if (pid < 0) {
			perror("httpload: fork");
			return 1;
		}
		if (!pid) {
			client_run(&c[i], (const char *const *)argv, until);
			_exit(0);
		}
	}
	while (wait(NULL) > 0)
		;
	return report(c, clients);
}
