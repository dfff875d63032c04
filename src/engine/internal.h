/*
 * The inside of the engine, shared by its files and by nobody else.
 *	engine.c   life and look-ups          orders.c   durable orders, the journal's answers
 *	buy.c      spec, plan, commit         ends.c     rmdir, verbs, extensions, hold
 *	drive.c    carries out what reconcile says       calls.c    calls about one machine
 *	observe.c  what answers say about a machine      strays.c   machines that no session has
 *	pick.c     which offer (pick.h)       attempts.c  the next attempt
 *	market.c   offers                     lists.c    lists of what exists
 *	events.c   events, alarms, status     receipt.c  receipts
 *	counts.c   metrics                    cloud.c    HTTP calls of dialects (cloud.h)
 *	publish.c  the snapshot               account.c  balance, templates
 *	turns.c    who is driven when         index.c    look-ups by id and name
 */
#ifndef GPUFS_ENGINE_INTERNAL_H
#define GPUFS_ENGINE_INTERNAL_H

#include "../core/check.h"
#include "../core/market.h"
#include "../core/reconcile.h"
#include "cloud.h"
#include "engine.h"

#define ORDER_LIMIT_US	  (2 * SECOND_US)	/* tree rule 7: then EIO */
#define DRAFT_LIMIT_US	  (200 * (int64_t)1000) /* tree rule 7: a draft costs nothing */
#define STOPPING_ALARM_US (15 * MINUTE_US)	/* lifecycle.md, States */
#define LATE_LOOK_US	  (10 * MINUTE_US)	/* faults.md, Destroying, 4 */
#define TRANSIT_LIST_US	  (10 * SECOND_US)	/* lifecycle.md, Timers */
#define LOOK_MAX_US	  (10 * SECOND_US)
#define DESTROY_MAX_US	  (5 * MINUTE_US)
#define PROBE_LIMIT_US	  (10 * SECOND_US)	/* one whole attempt */
#define PROBE_PAUSE_US	  (500 * (int64_t)1000) /* between attempts; only refused logins back off */
#define RETRY_MARKET_US	  MINUTE_US /* two refreshes fit in, even if the next search must wait */
#define LIST_PAUSE_US	  (50 * (int64_t)1000) /* between lists that complete a proof */
#define POLL_MIN_US	  (2 * SECOND_US)      /* lifecycle.md, Timers: status poll in transition */
#define POLL_MAX_US	  (10 * SECOND_US)
/* A login works and the provider still says booting: so long it is not believed. */
#define UNTOLD_US	   (10 * MINUTE_US)
#define ATTACH_MAX_US	   (30 * SECOND_US)
#define SAID_MAX	   64	 /* lines of a session's provider.log */
#define OLD_EVENTS_MAX	   10000 /* erased at one start; the rest at the next */
#define ATTEMPTS_MAX	   999	 /* what a label has room for */
#define EVENTS_PER_SESSION 256	 /* kept in memory for `log` */

struct event {
	int64_t time_us;
	char *json, *text;
};

/* A line of provider.log: what the provider said about the machine, in its words. */
struct said {
	int64_t time_us;
	char *text;
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
	unsigned refs;		/* answers that still have to come */
	char billed_ids[4][96]; /* machines of earlier attempts, proven gone and in the sums */
	unsigned billed_count;
	unsigned undone; /* attempts in a row that had no effect; since the last retry or start */
	int64_t asked_market_us; /* a retry without an offer asked for more of the market; 0: not */
	unsigned destroys, login_refusals, logins; /* of this attempt */
	unsigned polls, attach_failures; /* lists that served it in transition; likewise */
	int64_t keys;			 /* that the spec wants on a machine; 0: not counted yet */
	char reach_offer[OFFER_ID_MAX];	 /* where ways to be reached were tried, and which */
	unsigned reach_tried;
	bool priced;	      /* the price charged was seen */
	bool told_running;    /* the provider has said so, of this attempt */
	int64_t addressed_us; /* monotonic: when its address became known; 0 = not seen */
	bool end_counted;
	int64_t next_us, next_put_us;
	struct life *line_next, **line_at; /* turns.c; line_at NULL: it is not in the line */
	size_t heap_at;			   /* its place + 1; 0: it is not in the heap */
	int64_t due_us;			   /* in the heap */
	bool untold;			   /* its turn owes the doors a CH_SESSION */
	bool waits;			   /* for an offer, as its last turn left it */
	struct life *same_id, *same_name;  /* index.c: the chains of its hashes */
	struct life *same_offer;	   /* while offer_ordered */
	bool offer_ordered;		   /* between index_order_add and index_order_drop */
	struct probe *probe;
	struct error refusal; /* of a purchase at close */
	char *error_text;     /* the last failed command */
	struct event events[EVENTS_PER_SESSION];
	size_t event_count;
	struct said said[SAID_MAX]; /* oldest first */
	size_t said_count;
};

/* A machine with our mark that no living attempt owns: strays.c. */
struct stray;

/* One provider and its part of the market. */
struct source {
	struct engine *e;
	struct provider *p;
	struct cloud *cloud; /* of a dialect; NULL: native */
	size_t index;
	bool enabled, offers_busy, list_busy, refresh_again, complete;
	struct market *market;
	size_t offer_count;	    /* visible ones, as last published */
	struct page_ask page;	    /* of the search under way */
	struct arrival *arrival;    /* of a large page, that is put into the market in slices */
	char (*gone)[OFFER_ID_MAX]; /* to be taken out of a large market, all in one turn */
	size_t gone_count, gone_cap;
	int64_t refreshed_us, tried_us, unhide_us, dropped;
	int64_t wanted_us; /* a refresh, because somebody asks */
	bool key_dead;	   /* refused, and not accepted since */
	bool throttled;	   /* searches are, until next_refresh_us */
	bool account_busy, templates_busy;
	int64_t next_account_us, account_begun_us;
	int64_t account_asked_us; /* monotonic */
	struct template_info *templates;
	size_t template_count;
	int64_t templates_us, templates_tried_us, templates_asked_us;
	char templates_error[256];
	int64_t fetched_us, next_refresh_us, next_list_us, list_begun_us, changed_us;
	int64_t offers_asked_us, list_asked_us; /* monotonic */
	int64_t calls, errors, foreign;
	int64_t balance_u6;   /* USD left in the account, or UNKNOWN */
	char account[48];     /* whose it is, as last said; "" not known */
	char home[48];	      /* the account whose lists showed machines of ours */
	int64_t account_us;   /* when the last answer about it was asked for */
	int64_t brake_us;     /* since when the brake is on */
	struct stray *strays; /* rebuilt from lists */
	size_t stray_count;
	int64_t whole_list_us; /* begin of the last complete list; 0: none yet */
	bool ghost_brake, orphan_brake;
	unsigned failures;
	const char *state;
	char reason[256];
};

struct past_line {
	int64_t seq, owner_uid;
	char *json;
};

struct alarm {
	char what[24], subject[72], text[256];
	int64_t since_us;
};

struct order;

struct life_index {
	struct life **by_id, **by_name, **by_offer; /* heads of chains */
	size_t buckets;				    /* a power of two; 0: empty */
};

struct engine {
	struct world *w;
	const struct policy *p;
	struct source *sources;
	size_t source_count;
	struct life **lives; /* by serial */
	size_t life_count, life_cap;
	struct life_index index;
	struct life *line, **line_end, **heap; /* turns.c */
	size_t line_count, heap_count, heap_cap;
	size_t waiting; /* lives that wait for an offer */
	int64_t last_serial, next_seq;
	int64_t *old_events; /* read at start and older than HISTORY_KEEP: to be erased */
	size_t old_event_count;
	struct past_line *past; /* a ring, until engine_start */
	size_t past_at, past_count;
	struct inventory *inv;
	struct publish *publish;   /* the next snapshot, being sorted on a worker */
	bool publish_due;	   /* in the next turn of the engine */
	bool publish_again, ready; /* ready: everybody's first offers were published */
	struct interests interests;
	struct door *doors;
	struct alarm *alarms;
	size_t alarm_count;
	struct order *orders;
	struct relay *relays;
	struct timer *timer, *tell_timer;
	unsigned untold; /* bits of change_kind: what tell_soon owes the doors */
	int64_t looked_us, started_us, next_tick_us;
	int64_t known_since_us; /* the oldest thing in our books; 0: nothing, they are fresh */
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
/* A kind that says only "look again": once, at the end of this turn of the loop, however often. */
void tell_soon(struct engine *e, enum change_kind kind);
void life_changed(struct life *l);	/* journal and tell */
void life_changed_soon(struct life *l); /* its next turn journals and tells */
void life_tell(struct life *l);		/* CH_SESSION */
void life_wake(struct life *l);		/* let reconcile look at it soon */
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

/* ---- buy.c, pick.c ---- */
/* Choose and record the offer of the next attempt; false: none now. */
bool buy_choose(struct life *l, struct error *why);
bool in_list(const char *list, const char *word); /* one of its words between commas; NULL: empty */
/* All-in for that shape, at that bid (UNKNOWN: on demand); UNKNOWN: the machine has not so much. */
int64_t price_of(const struct offer *o, const struct shape *shape, int64_t bid_u6);
int parse_spec_of(const struct session *s, struct spec *out, struct error *why);

/* ---- ends.c ---- */
void life_end(struct life *l, enum end_cause cause, const char *text, const struct caller *who);

/* ---- attempts.c ---- */
void attempt_choose(struct life *l); /* the next one, journaled; or wait, or fail */
void attempt_next(struct life *l);   /* one was given up and nothing of it is left */

/* ---- drive.c ---- */
uint32_t engine_chance(struct engine *e);
void drive_now(struct life *l);
int64_t attempt_pause_us(struct life *l);
void attempt_bill(struct life *l);	/* its money joins the sums of earlier attempts */
void attempt_forget(struct session *s); /* its machine, its money: a new one begins */
void probe_now(struct life *l);		/* start one SSH attempt, if an address is known */
void probe_stop(struct life *l);	/* nobody wants to know any more how it ends */

/* ---- turns.c ---- */
void engine_drive(struct engine *e);		   /* what is due, for about a millisecond */
void turns_wake(struct life *l);		   /* it is due now */
void turns_wait(struct life *l, int64_t until_us); /* it is due then, unless it is due already */
void turns_leave(struct life *l);		   /* never again */
void turns_free(struct engine *e);

/* ---- index.c ---- */
void index_add(struct life *l); /* before it is counted in life_count */
void index_drop(struct life *l);
void index_rename(struct life *l, const char *name); /* sets s.name */
void index_free(struct life_index *ix);
struct life *index_by_id(const struct engine *e, const char *id);
/* The first of a chain (same_name) that all lives of this name are in, and others. */
struct life *index_by_name(const struct engine *e, const char *name);
/* From the choice of an offer until its create is answered; its offer_id stays the same so long. */
void index_order_add(struct life *l);
void index_order_drop(struct life *l); /* no more; nothing if it does not */
bool index_offer_ordered(const struct engine *e, const char *offer_id);

/* ---- clock.c ---- */
/* Times of this session, or of all sources, that lie ahead of the clock: it was set back. */
void clock_follow(struct life *l, int64_t now_us);
void clock_follow_sources(struct engine *e, int64_t now_us);
void clock_not_later(int64_t *then_us, int64_t now_us); /* what happened */
void clock_shorten(int64_t *until_us, int64_t now_us);	/* a pause; INT64_MAX stays */

/* ---- calls.c ---- */
void call_create(struct life *l);
void call_look(struct life *l, bool late);
void call_destroy(struct life *l);
void call_attach(struct life *l);
void offer_taken(struct source *src, const struct session *s); /* it leaves the market */
void reason_settled(struct life *l); /* gone: only the cause stays in `reason` */
void forget_proof(struct life *l);   /* start over with proving that it is gone */

/* ---- observe.c ---- */
/* Take over what the provider says about the machine; begun_us: when it was asked. True if something
 * durable changed (journal it). */
bool take_instance(struct life *l, const struct instance *in, int64_t begun_us);
/* It was seen alive: what spoke for its absence is void. */
void seen_alive(struct life *l);
/* Its DELETE was accepted a moment ago, and the provider says that it is on its way out. */
bool is_leaving(const struct life *l, const struct instance *in);
/* Alarms that follow from how long it says something; with every turn. */
void watch_status(struct life *l, int64_t now_us);
/* The session is ending: what its machine did wrong is settled with it. */
void forget_status_alarms(struct life *l);
void said_free(struct life *l);

/* ---- strays.c ---- */
/* One machine of a list that no living attempt owns and that carries the mark of (session, attempt). */
void stray_seen(struct source *src, const struct instance *in, const char *session_id,
		int64_t attempt);
/* The list is over. True: one of its machines is not in our books. */
bool strays_listed(struct source *src, bool complete);
void strays_drive(struct source *src, int64_t now_us);
int64_t strays_next_us(const struct source *src);
bool strays_await_list(const struct source *src);
void strays_follow_clock(struct source *src, int64_t now_us); /* clock.c */
void strays_free(struct source *src);

/* ---- market.c ---- */
struct source *source_of(const struct engine *e, const char *provider);
void market_refresh(struct source *src);
/* Every call of the engine goes through this. */
void source_act(struct source *src, const struct call *call, result_cb cb, void *arg);
void market_drive(struct engine *e, int64_t now_us);
/* The provider called it gone, or it was bought: it leaves every view at once. */
void market_offer_gone(struct source *src, const char *offer_id);
/* A machine bought there did not boot, or took no login (`cause`): lifecycle.md, Retry. */
void market_machine_failed(struct engine *e, const char *provider, const char *offer_id,
			   enum end_cause cause, const char *reason);
int64_t market_next_us(const struct engine *e);
void market_drop_arrival(struct source *src); /* the engine goes */
/* asked_us: what count_call said; UNKNOWN: nothing was sent. */
void source_note(struct source *src, const struct result *res, enum call_op op, int64_t asked_us);

/* ---- publish.c ---- */
struct publish;
void market_publish(struct engine *e); /* the sources' rows changed */
void publish_now(struct engine *e);    /* what is due */
void publish_forget(struct engine *e); /* the engine goes; a worker may still sort */

/* ---- account.c ---- */
void account_drive(struct source *src, int64_t now_us);
int64_t account_next_us(const struct source *src);
void account_spent(struct source *src); /* the balance changes soon */
void account_refresh(struct source *src);

/* ---- lists.c ---- */
void market_list(struct source *src);

/* ---- events.c ---- */
void event(struct engine *e, struct life *l, const struct caller *who, const char *what,
	   const char *fmt, ...) __attribute__((format(printf, 5, 6)));
void event_load(struct engine *e, const struct journal_op *row);
/* Something in our books is that old: they are not fresh. */
void books_reach(struct engine *e, int64_t time_us);
void events_forget_old(struct engine *e); /* erase what engine_load found too old */
void events_past_free(struct engine *e);
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
