/*
 * A request to a fake cloud and its answer, as the state machines of tests/fake see them: no sockets, no
 * clock. The server (fakecloud.c) reads and delivers them over TCP, the simulator over virtual time.
 */
#ifndef FAKE_HTTP_H
#define FAKE_HTTP_H

#include "../../src/core/buf.h"

/* Everything borrowed for the call. */
struct fake_http_request {
	const char *method;	  /* "GET", "PUT", ... */
	const char *target;	  /* path and query as they stood in the request line */
	const char *host;	  /* value of Host, or NULL: not looked at */
	const char *auth;	  /* whole value of Authorization ("Bearer ..."), or NULL: none */
	const char *content_type; /* or NULL: none */
	const char *body;	  /* NULL: none */
	size_t len;
	bool reused; /* the connection has carried a request before this one */
};

/* How an answer travels. */
enum fake_delivery {
	FAKE_WHOLE,	/* as it is */
	FAKE_CHUNKED,	/* whole, in chunks and without Content-Length */
	FAKE_DRIP,	/* whole, but so slowly that it takes another `delay_us` */
	FAKE_DROP,	/* nothing: the connection is closed after `delay_us` */
	FAKE_TRUNCATE,	/* Content-Length of the whole, then only `cut_at` bytes, then closed */
	FAKE_CHUNK_CUT, /* chunked, closed after `cut_at` bytes without the last chunk */
	FAKE_UNSENT,	/* the request never reached the cloud (the server, which has it, drops) */
};

struct fake_http_reply {
	int status;
	const char *content_type; /* static; "" = the header is left out */
	char location[256];	  /* header Location, or "" */
	int retry_after_s;	  /* header Retry-After; 0: none */
	struct buf body;
	int64_t delay_us; /* from the request to the first byte (or to the closing) */
	enum fake_delivery delivery;
	size_t cut_at;
};
void fake_http_reply_free(struct fake_http_reply *r);

#endif
