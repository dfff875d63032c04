/*
 * Servers for test_http_client.c: a real socket on loopback and a thread a connection, so that a test
 * says byte by byte what a provider answers, and when it does not.
 */
#ifndef GPUFS_TESTS_WEB_FAKE_H
#define GPUFS_TESTS_WEB_FAKE_H

#include <openssl/ssl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#define WEB_CONNECTIONS_MAX 512

struct web;
struct web_conn {
	struct web *web;
	pthread_t thread;
	int fd;
	SSL *tls; /* NULL: plain */
};
struct web {
	int fd, port;
	void (*serve)(struct web_conn *c); /* on a thread; the connection is closed after it */
	const void *arg;		   /* for serve */
	SSL_CTX *tls;			   /* NULL: plain */
	pthread_t thread;
	pthread_mutex_t lock;
	struct web_conn conns[WEB_CONNECTIONS_MAX];
	atomic_size_t accepted; /* connections, ever */
	atomic_int requests, effects, active, active_max;
};
struct web_request {
	char method[8], target[256];
	char head[8192], body[4096]; /* NUL-terminated; the body is cut to its room */
	size_t body_len;	     /* as it came */
};

void web_start(struct web *w, void (*serve)(struct web_conn *c), const void *arg, SSL_CTX *tls);
/* Cuts every connection and waits for the threads. */
void web_stop(struct web *w);

/* A whole request, counted; false: the client has gone. */
bool web_read(struct web_conn *c, struct web_request *r);
/* False: nobody listens any more. */
bool web_write(struct web_conn *c, const void *p, size_t n);
bool web_say(struct web_conn *c, const char *text);
/* A whole answer with Content-Length that keeps the connection open. */
bool web_answer(struct web_conn *c, int status, const char *headers, const char *body);
/* Until the client closes, or web_stop. */
void web_wait_for_close(struct web_conn *c);

/* A certificate for one IPv4 address that is its own authority; the PEM goes to `file`. h2: offer
 * HTTP/2. */
SSL_CTX *web_tls_new(const char *address, const char *file, bool h2);
/* Answers every HTTP/2 stream with 200 and `arg` as the body; to be called where ALPN chose h2. */
void web_serve_h2(struct web_conn *c);
bool web_is_h2(struct web_conn *c);

#endif
