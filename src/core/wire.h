/*
 * A dialect: how one provider's HTTP API says the calls of provider.h. Pure translation, no I/O, no
 * clock, no state: recorded replies test it, a fuzzer feeds it, and a reply is parsed on a worker
 * thread as well as on the loop. Everything that sends, waits, counts or tries again is
 * src/engine/cloud.c, once for all dialects; a difference between providers is a field or a function
 * here, never an `if` on a name.
 */
#ifndef GPUFS_CORE_WIRE_H
#define GPUFS_CORE_WIRE_H

#include "buf.h"
#include "error.h"
#include "provider.h"

enum http_method { HTTP_GET, HTTP_PUT, HTTP_POST, HTTP_DELETE };
extern const char *const http_method_names[4];

#define HTTP_BODY_MAX_OFFERS ((size_t)32 << 20) /* bytes of a search's reply; more is refused */
#define HTTP_BODY_MAX	     ((size_t)1 << 20)	/* of any other */

/* What a request asks for: copyable, so that it can accompany its reply to a worker. */
struct wire_ask {
	enum call_op op;
	struct page_ask page; /* CALL_OFFERS */
	char instance_id[96]; /* LOOK, DESTROY, ATTACH */
	char cursor[512];     /* CALL_LIST: "" = first page */
};

struct wire_request {
	enum http_method method;
	struct buf path;   /* from the first slash, query encoded; never a secret */
	struct buf body;   /* empty: none */
	unsigned endpoint; /* index into the dialect's endpoints */
	bool form;	   /* the body is application/x-www-form-urlencoded, not application/json */
	bool keyless;	   /* the key stands in the body, which is secret, not in a header */
	const char *origin; /* instead of the account's base_url, borrowed from it; NULL: no */
};

/* A whole reply. Bytes are hostile. */
struct wire_reply {
	int status; /* 100..599 */
	const char *content_type;
	const char *body;
	size_t len;
};

/* The typed reading of a reply. Owns its arrays; wire_result_free. `r` points into them. */
struct wire_result {
	struct result r;
	struct offer *offers;
	struct instance *instances;
	struct template_info *templates;
	size_t cap; /* room in the one array in use */
	/* LIST: cursor of the next page; "" = this was the last. r.complete of a page counts only
	 * there: the list ends here, and nothing on this page is missing. */
	char next[512];
	int64_t total;	       /* LIST: how many the provider says there are in all; UNKNOWN */
	bool truncated_cursor; /* there is a next page whose cursor does not fit: never complete */
};
void wire_result_init(struct wire_result *w);
void wire_result_free(struct wire_result *w);
/* Append a zeroed row; NULL when memory is out or the bound is reached (then r.dropped grows). */
struct offer *wire_add_offer(struct wire_result *w);
struct instance *wire_add_instance(struct wire_result *w);
struct template_info *wire_add_template(struct wire_result *w);
#define WIRE_ROWS_MAX 20000 /* of one reply */

/* Set verdict, error and sentence. Control bytes and invalid UTF-8 of the provider become '?'. */
void wire_say(struct wire_result *w, enum verdict v, enum provider_error e, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
/* SURE_YES without a word: what was asked for is here, or done. */
void wire_done(struct wire_result *w);
/* What came is not what is promised, so nobody knows: of a write UNSURE, of a read LATER. */
void wire_unclear(const struct wire_ask *ask, struct wire_result *w, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* Does the call change something? Then no answer means that it may have been done. */
bool wire_is_write(enum call_op op);
/* A provider's words may quote tokens and keys: runs of 32 and more of their characters become '*'. */
void wire_hide_secrets(char *text);
/* An id that may be a part of a path as it is: 1 to 95 of A-Za-z0-9._-, the first no dot. */
bool wire_id_ok(const char *id);

/* Requests of one kind that the provider wants spaced. */
struct endpoint {
	const char *name;
	int64_t spacing_us; /* least time between two of them (source: the wire page) */
	int64_t burst;	    /* how many may come at once before spacing counts; at least 1 */
	int64_t penalty_us; /* additional pause after a 429 of this endpoint; 0: none */
	int64_t timeout_us; /* of one request where it is known to be slow; 0: the engine's */
};

/* The shape that a machine of this spec gets: no smaller than the provider makes them, UNKNOWN where it
 * leaves no choice. */
struct shape provider_shape(const struct provider *p, const struct shape *wanted);

struct dialect {
	const char *auth_prefix; /* header that carries the key: "Authorization: Bearer " */
	const struct endpoint *endpoints;
	size_t endpoint_count;
	int64_t account_spacing_us, account_burst; /* over all endpoints; burst at least 2: one is
						    * kept for destroys */
	int64_t page_rows; /* rows that a search page may bring, the provider's cap if it has one */
	int64_t pages_per_refresh; /* searches of one refresh of the market (lifecycle.md, Timers) */
	bool whole_market;   /* one search brings all offers there are, and it knows no filter */
	int64_t disk_min_gb; /* the provider's own minimum */
	/* Round what is known of a shape up to what the provider makes. NULL: every size is made. */
	void (*fit)(struct shape *shape);
	unsigned lacks;	      /* what a spec cannot ask for: bits of enum spec_want, bids aside */
	bool attach_key;      /* CALL_ATTACH exists and is needed after a create */
	bool bids;	      /* interruptible=1 exists */
	bool templates;	      /* CALL_TEMPLATES exists */
	bool lists_show_boot; /* a list tells what a look tells: booting machines are polled by it */

	/* The request for a call; cursor only for CALL_LIST. -EINVAL and a sentence where the dialect
	 * cannot say it (then nothing is sent). PE_INVALID is the engine's reading of that. */
	int (*build)(const struct provider *p, const struct call *call, const char *cursor,
		     struct wire_request *out, struct error *why);
	/* Read a whole reply. Any thread; never fails: what cannot be read is said in the verdict. */
	void (*parse)(const struct wire_ask *ask, const struct wire_reply *reply,
		      struct wire_result *out);
};

#endif
