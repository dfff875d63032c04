/*
 * The fake cloud as a server: what its files share. One process, one thread, poll. It owns the sockets,
 * the clock and the sshds; what a cloud does is the state machine of its provider.
 */
#ifndef FAKECLOUD_H
#define FAKECLOUD_H

#include "../../src/core/text.h"
#include "fake_http.h"

struct fake_options {
	const char *provider, *ready_file, *control, *key, *dir;
	uint64_t seed;
	int port;
	double time_factor;
	int64_t offers;
	bool ssh, calm;
};

/* One machine, as far as a server must know it. */
struct fake_guest {
	int64_t id;
	bool wanted; /* exists: has an address, and its ports are taken */
	bool login;  /* its sshd is to run */
};

/* A provider's state machine behind a server. */
struct fake_cloud {
	const char *name;
	const char *user; /* whom its machines let in; NULL: root */
	void *(*make)(const struct fake_options *o, int64_t epoch_us);
	void (*free)(void *cloud);
	void (*request)(void *cloud, int64_t now_us, const struct fake_http_request *q,
			struct fake_http_reply *out);
	int (*control)(void *cloud, int64_t now_us, const char *line, struct buf *out);
	int64_t (*next_us)(void *cloud);
	/* `rule` is static. */
	void (*violation)(void *cloud, int64_t now_us, const char *rule, const char *text);
	size_t (*guests)(void *cloud); /* all that ever were */
	void (*guest)(void *cloud, int64_t now_us, size_t i, struct fake_guest *out);
	void (*keys)(void *cloud, int64_t now_us, int64_t id, struct buf *out);
	void (*endpoint)(void *cloud, int64_t id, const char *host, int port, int direct_port);
};
extern const struct fake_cloud fake_cloud_vastai, fake_cloud_tensordock;

enum server_mode {
	MODE_OK,
	MODE_HANG,   /* connections are taken, nothing is ever answered */
	MODE_RESET,  /* connections are taken and reset */
	MODE_REFUSE, /* nobody listens */
};

struct conn;
struct guest;
struct pollfd;
struct server {
	struct fake_options o;
	const struct fake_cloud *cloud;
	void *state;
	int64_t start_us, skew_us; /* monotonic; what Date is ahead by */
	enum server_mode mode;
	int listen_fd, control_fd, port;
	struct conn **conns;
	size_t conn_count;
	struct guest **guests;
	size_t guest_count, guests_seen;
	int alive[2]; /* a pipe whose end tells children that the server is dead */
	bool quit;
};

int64_t server_now_us(const struct server *s); /* since the start, as the state machine counts */

/* fakecloud_http.c. Strict: what is no well-formed HTTP/1.1 is refused and is a violation. */
struct conn *conn_new(int fd, bool control);
void conn_free(struct conn *c);
int conn_fd(const struct conn *c);
bool conn_is_control(const struct conn *c);
/* Which events are waited for; *due_us falls to the moment when something is to be sent. */
short conn_events(const struct conn *c, int64_t now_us, int64_t *due_us);
/* Reads, answers, sends. false: it is over. */
bool conn_step(struct server *s, struct conn *c, short revents);

/* fakecloud_control.c: one line, one answer, closed. */
bool control_line(struct server *s, const char *line, struct buf *out);
int control_client(const char *path, int argc, char **argv);
int control_listen(const char *path);

/* fakecloud_sshd.c: a real sshd for each running machine. */
void guests_step(struct server *s, int64_t *due_us); /* after anything that may have changed them */
void guests_free(struct server *s);		     /* kills all */
void guests_show(const struct server *s, struct buf *out);

#endif
