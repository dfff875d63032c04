/*
 * The HTTP door: a second way to the engine beside the mount, on the same loop (libmicrohttpd's
 * epoll descriptor). It orders and observes through engine.h and decides nothing. Contract: the
 * predecessor's REST API, Prometheus text, an event stream. Loop thread.
 */
#ifndef GPUFS_HTTP_HTTP_H
#define GPUFS_HTTP_HTTP_H

#include <uv.h>

#include "../core/metrics.h"
#include "../engine/engine.h"

struct http;

enum api_auth { API_AUTH_TOKEN, API_AUTH_NONE };

/* Texts are borrowed for the life of the server. */
struct http_options {
	const char *host; /* SERVER_HOST: a numeric address */
	int port;	  /* SERVER_PORT; not 0 */
	enum api_auth auth;
	const char *tokens_file; /* "" = none: /api/v1 answers 403 and says how to switch it on */
	const char *api_user;	 /* API_AUTH=none: as whom all requests act; a number or a name */
	const char *version;
	struct metrics *metrics;
	bool (*is_admin)(void *arg, int64_t uid, int64_t gid);
	const char *(*user_name)(void *arg, int64_t uid); /* lives as long as the server */
	void *arg;
};

/* At start, before engine_start: may block on the tokens file and on names of users. NULL and a
 * sentence for a tokens file or user that is not good. Never fails for a port in use: then the
 * alarm `http` says so and it is tried again every 5 s. */
struct http *http_new(uv_loop_t *loop, struct engine *e, const struct http_options *args,
		      struct error *why);
/* SIGHUP: read the tokens file again, on a worker. A bad one changes nothing and is an alarm. */
void http_reload(struct http *h);
/* Answer what waits, close every connection and handle; after engine_stop. */
void http_stop(struct http *h);
/* After the loop has closed the handles, and after engine_free. NULL is fine. */
void http_free(struct http *h);

/* For --check: what a start would find, and the sentence that it would say. Both may block, and leave
 * nothing behind. A port that cannot be had does not stop a start; access that is not good does. */
int http_check_port(const struct http_options *o, struct error *why);
int http_check_access(const struct http_options *o, size_t *tokens, struct error *why);

/* OpenAPI 3.1, printed from the table of routes. */
void http_openapi(struct buf *out);

#endif
