/*
 * The inside of the HTTP engine, shared by its files and by nobody else.
 *	cloud.c        life, answers, what can be seen   cloud_queue.c  whose turn it is, sending
 *	cloud_reply.c  from a reply to a verdict         cloud_list.c   lists over all their pages
 *
 * A request is one call of provider.h on its way: queued, sent, being parsed, answered. A read that
 * is tried again and a list with more pages go back into the queue. Everything it needs is built
 * when it is asked for, so that nothing of the caller is borrowed but `go`.
 */
#ifndef GPUFS_ENGINE_CLOUD_PARTS_H
#define GPUFS_ENGINE_CLOUD_PARTS_H

#include "../core/check.h"
#include "../core/limiter.h"
#include "cloud.h"

#define IN_FLIGHT_MAX	 4    /* requests of one account at once; a destroy may be one more */
#define QUEUE_MAX	 1000 /* calls that wait; destroys are always let in */
#define WAIT_MAX_US	 (30 * SECOND_US) /* who would have to wait longer is told so instead */
#define AGED_US		 (30 * SECOND_US) /* who waited so long is as urgent as ATTACH */
#define RETRIES_MAX	 2		  /* of reads */
#define RETRY_US	 (SECOND_US / 2)  /* first pause, full jitter, doubling */
#define CONNECT_US	 (10 * SECOND_US)
#define PARSE_INLINE_MAX ((size_t)64 << 10) /* bytes; larger replies are parsed on a worker */
#define PAGES_MAX	 400		    /* of one list: 10 000 machines of 25 a page */
#define SKEWS		 5		    /* last replies whose median is the skew */

/* What differs between the operations (one row each, cloud_queue.c). */
struct op_row {
	int rank;	    /* urgency: 0 goes first */
	bool read;	    /* changes nothing: may be tried again */
	bool destroys;	    /* takes the reserve, has its own breaker */
	int64_t timeout_us; /* of one request, and of a read with all that it is tried again */
	size_t reply_max;
};
extern const struct op_row op_rows[CALL_OP_COUNT];

enum request_state { REQ_QUEUED, REQ_SENT, REQ_PARSING };

struct parse_job;
struct walk;

struct request {
	struct request *next; /* of one account, in order of arrival */
	struct cloud *c;
	enum call_op op;
	bool (*go)(void *arg);
	result_cb cb;
	void *arg;
	struct wire_ask ask;
	struct wire_request wire;
	int build_err;	/* the dialect cannot say it */
	bool unwelcome; /* too many waited when it came */
	struct error build_why;

	enum request_state state;
	int64_t queued_us;     /* when the call came */
	int64_t not_before_us; /* a retry's pause */
	int64_t deadline_us;   /* of all tries; 0: not sent yet */
	int64_t sent_us;
	int64_t took_us; /* the last exchange */
	unsigned tries;
	char trouble[200];	/* why the last try failed */
	struct http_send *http; /* REQ_SENT */
	struct buf url, auth;	/* borrowed by the world until the reply */
	struct parse_job *job;	/* REQ_PARSING */
	struct walk *walk;	/* CALL_LIST */
};

struct cloud {
	struct world *w;
	struct provider *p;
	struct timer *timer;
	struct request *requests;
	size_t queued, in_flight;
	bool create_busy;  /* sent and not answered yet */
	char trouble[200]; /* the last request that got no answer, or a 5xx */
	struct bucket account, *endpoints;
	struct breaker breaker, destroy_breaker;
	int64_t sent;
	int64_t skews[SKEWS];
	size_t skew_count;
	unsigned busy; /* callbacks on the stack; freed by the outermost */
	bool closed;
};

static inline int64_t cloud_now(const struct cloud *c)
{
	return c->w->mono_us(c->w->self);
}

static inline uint32_t cloud_chance(const struct cloud *c)
{
	uint32_t r;

	c->w->random(c->w->self, &r, sizeof r);
	return r;
}

/* ---- cloud.c ---- */
/* Around everything that may call back: cloud_free may come from there. After cloud_enter the cloud
 * stays where it is, though it may be `closed`, until cloud_leave. */
void cloud_enter(struct cloud *c);
void cloud_leave(struct cloud *c);
void cloud_kick(struct cloud *c); /* look at the queue, from the loop */
/* The one way out of a request: unlinks it, tells, frees it. */
void request_answer(struct request *r, struct result *res);
/* The same, where no reply is behind it. */
void request_say(struct request *r, enum verdict v, enum provider_error e, int64_t retry_after_us,
		 const char *fmt, ...) __attribute__((format(printf, 5, 6)));
/* Build what is to be sent; for lists the page of `cursor`. A failure is kept in the request. */
void request_build(struct request *r, const struct call *call, const char *cursor);
void request_requeue(struct request *r, int64_t not_before_us); /* sent or parsed; once more */

/* ---- cloud_queue.c ---- */
void cloud_pump(void *arg); /* the timer's callback */
static inline struct breaker *request_breaker(const struct request *r)
{
	return op_rows[r->op].destroys ? &r->c->destroy_breaker : &r->c->breaker;
}

/* ---- cloud_reply.c ---- */
void reply_came(void *arg, const struct http_reply *reply); /* http_cb */
void parse_abandon(struct parse_job *job); /* its request is freed; the worker may still run */

/* ---- cloud_list.c ---- */
struct walk *walk_new(void);
void walk_free(struct walk *wk); /* NULL is fine */
/* Take a page's answer (status 0: no page came). True: the next page is to be fetched (its cursor is
 * in ask.cursor); false: *out is the answer of the whole call, its rows borrowed from the walk. */
bool walk_page(struct walk *wk, int status, const struct wire_result *page, char cursor[512],
	       struct result *out);

#endif
