/*
 * The inside of the engine, shared by its files and by nobody else.
 *	engine.c   life and look-ups          orders.c   durable orders, the journal's answers
 *	buy.c      spec, plan, commit         ends.c     rmdir, verbs, extensions, hold
 *	drive.c    carries out what reconcile says       calls.c    providers' answers
 *	market.c   offers and lists           events.c   events, alarms, status
 *	receipt.c  receipts			 counts.c   metrics
 */
#ifndef GPUFS_ENGINE_INTERNAL_H
#define GPUFS_ENGINE_INTERNAL_H

#include "../core/check.h"
#include "../core/reconcile.h"
#include "engine.h"

#define ORDER_LIMIT_US	   (2 * SECOND_US)	 /* tree rule 7: then EIO */
#define DRAFT_LIMIT_US	   (200 * (int64_t)1000) /* tree rule 7: a draft costs nothing */
#define STOPPING_ALARM_US  (15 * MINUTE_US)	 /* lifecycle.md, States */
#define LATE_LOOK_US	   (10 * MINUTE_US)	 /* faults.md, Destroying, 4 */
#define TRANSIT_LIST_US	   (10 * SECOND_US)	 /* lifecycle.md, Timers */
#define LOOK_MAX_US	   (10 * SECOND_US)
#define DESTROY_MAX_US	   (5 * MINUTE_US)
#define PROBE_LIMIT_US	   (10 * SECOND_US)	 /* one whole attempt */
#define PROBE_PAUSE_US	   (500 * (int64_t)1000) /* between attempts; only refused logins back off */
#define LIST_PAUSE_US	   (50 * (int64_t)1000)	 /* between lists that complete a proof */
#define OLD_EVENTS_MAX	   10000		 /* erased at one start; the rest at the next */
#define ATTEMPTS_MAX	   999			 /* what a label has room for */
#define EVENTS_PER_SESSION 256			 /* kept in memory for `log` */

struct event {
	int64_t time_us;
	char *json, *text;
};

/* A session with what only this process knows about it. */
struct life {
	struct session s;
	struct observed o;
	struct engine *e;
	unsigned puts;		 /* journal writes under way */
	bool dirty;		 /* memory is ahead of the disk: write again */
	int64_t want_removed_us; /* rmdir was ordered; it leaves sessions/ once that is durable */
	bool removal_retry;	 /* its record failed: the next one that lands settles it */
	bool ordering;		 /* a purchase or extension waits for its record */
	bool erasing; /* its row is being erased: nothing may write it again behind that */
	bool driving, dead;
	unsigned refs;				   /* answers that still have to come */
	unsigned destroys, login_refusals, logins; /* of this attempt */
	int64_t addressed_us; /* monotonic: when its address became known; 0 = not seen */
	bool end_counted;
	int64_t next_us, next_put_us;
	struct probe *probe;
	struct error refusal; /* of a purchase at close */
	char *error_text;     /* the last failed command */
	struct event events[EVENTS_PER_SESSION];
	size_t event_count;
};

/* One provider and its part of the market. */
struct source {
	struct engine *e;
	struct provider *p;
	size_t index;
	bool enabled, offers_busy, list_busy, refresh_again, complete;
	struct offer *offers;
	size_t offer_count;
	int64_t fetched_us, next_refresh_us, next_list_us, list_begun_us, changed_us;
	int64_t offers_asked_us, list_asked_us; /* monotonic */
	int64_t calls, errors, foreign;
	unsigned failures;
	const char *state;
	char reason[256];
};

struct alarm {
	char what[24], subject[72], text[256];
	int64_t since_us;
};

struct order;

struct engine {
	struct world *w;
	const struct policy *p;
	struct source *sources;
	size_t source_count;
	struct life **lives; /* by serial */
	size_t life_count, life_cap;
	int64_t last_serial, next_seq;
	int64_t *old_events; /* read at start and older than HISTORY_KEEP: to be erased */
	size_t old_event_count;
	struct inventory *inv;
	struct door *doors;
	struct alarm *alarms;
	size_t alarm_count;
	struct order *orders;
	struct relay *relays;
	struct timer *timer;
	int64_t looked_us, started_us, next_tick_us;
	bool started, stopping, draining;
	order_cb all_gone;
	void *all_gone_arg;
	struct metrics *metrics; /* may be NULL */
	struct metric_source metric_source;
};

/* ---- engine.c ---- */
struct life *life_of(const struct engine *e, const struct session *s);
struct life *life_new(struct engine *e, const struct session *s); /* takes what *s owns */
void life_unref(struct life *l);
void life_drop(struct life *l); /* out of the tree and memory (once nothing waits for it) */
void tell(struct engine *e, enum change_kind kind, const struct session *s, const char *text);
void life_changed(struct life *l); /* journal and tell */
void life_wake(struct life *l);	   /* let reconcile look at it soon */
void engine_wake(struct engine *e, int64_t at_us);
bool session_living(const struct session *s); /* counts against MAX_SESSIONS */

/* The one place where a state changes: asserts the arrow, stamps, reports. Does not journal. */
void life_state(struct life *l, enum session_state to, const char *reason,
		const struct caller *who);
void life_reason(struct life *l, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* ---- orders.c ---- */
enum order_kind {
	ORDER_SOFT,  /* applied already; answered when durable, or after 200 ms; refused if it fails
		     */
	ORDER_FIRM,  /* applied already; answered when durable, or EIO after 2 s; carried out anyway
		     */
	ORDER_SWAP,  /* applied only once durable; after 2 s EIO, and revoked if it lands late */
	ORDER_ERASE, /* a draft's row: gone once that is durable; after 2 s EIO, and it goes later */
};
void life_removed(struct life *l); /* the rmdir is on disk */
void life_put(struct life *l);	   /* journal the present record; failures are tried again */
/* Journal `next` (ORDER_SWAP; taken) or the present record, then answer. */
void order_put(struct life *l, enum order_kind kind, struct session *next,
	       void (*landed)(struct life *l), order_cb cb, void *arg);
void order_erase(struct life *l, order_cb cb, void *arg); /* a draft; drops the life */
/* A journal write that is not a living session's row. */
void order_op(struct engine *e, struct journal_op *op, int64_t limit_us, order_cb cb, void *arg);
/* Answer without a journal write; from the loop, not from inside the call. */
void order_answer(struct engine *e, int err, const struct error *why, order_cb cb, void *arg);
/* An order's answer that the engine looks at before its door does. Its `done` ends with relay_answer. */
struct relay {
	struct relay *next;
	struct life *l; /* one ref */
	order_cb cb;
	void *arg;
};
struct relay *relay_new(struct life *l, order_cb cb, void *arg);
void relay_answer(struct relay *r, int err, const struct error *why); /* and frees it */
void orders_stop(struct engine *e); /* nobody is answered any more */
void orders_free(struct engine *e);

/* ---- buy.c ---- */
/* Choose and record the offer of the next attempt; false: none now. */
bool buy_choose(struct life *l, struct error *why);
bool failed_offer(const struct session *s, const char *id);
int parse_spec_of(const struct session *s, struct spec *out, struct error *why);

/* ---- ends.c ---- */
void life_end(struct life *l, enum end_cause cause, const char *text, const struct caller *who);

/* ---- drive.c ---- */
void engine_drive(struct engine *e); /* everything that is due */
void drive_now(struct life *l);
int64_t attempt_pause_us(struct life *l);
void probe_now(struct life *l); /* start one SSH attempt, if an address is known */

/* ---- calls.c ---- */
void call_create(struct life *l);
void call_look(struct life *l, bool late);
void call_destroy(struct life *l);
void reason_settled(struct life *l); /* gone: only the cause stays in `reason` */
void forget_proof(struct life *l);   /* start over with proving that it is gone */

/* ---- market.c ---- */
struct source *source_of(const struct engine *e, const char *provider);
void market_refresh(struct source *src);
void market_list(struct source *src);
void market_drive(struct engine *e, int64_t now_us);
int64_t market_next_us(const struct engine *e);
/* asked_us: what count_call said; UNKNOWN: nothing was sent. */
void source_note(struct source *src, const struct result *res, enum call_op op, int64_t asked_us);

/* ---- events.c ---- */
void event(struct engine *e, struct life *l, const struct caller *who, const char *what,
	   const char *fmt, ...) __attribute__((format(printf, 5, 6)));
void event_load(struct engine *e, const struct journal_op *row);
void events_forget_old(struct engine *e); /* erase what engine_load found too old */
void events_free(struct life *l);
bool alarm_stands(struct engine *e, const char *what, const char *subject);

/* ---- counts.c ---- */
void count_bought(struct life *l);			   /* its order is durable */
void count_state(struct life *l, enum session_state from); /* it changed just now */
void count_end(struct life *l, enum end_cause cause);	   /* an end that nobody ordered */
void count_attempt_failed(struct life *l, enum end_cause cause);
void count_addressed(struct life *l);			/* its address is known */
void count_login(struct life *l, enum probe_verdict v); /* before o.probe_ok is set */
void count_destroy_failed(struct life *l);
void count_orphan(struct source *src);
void count_mismatch(struct source *src);		 /* once a list */
int64_t count_call(struct source *src, enum call_op op); /* a call goes out: monotonic time */
void count_answer(struct source *src, const struct result *res, enum call_op op, int64_t asked_us);

#endif
