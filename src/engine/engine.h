/*
 * The engine: owns every session, the market and the alarms; carries out what core decides. Doors
 * (the mount, HTTP) order and observe through this header and decide nothing. It never blocks: an
 * order that must be durable is answered through its callback. No client owns work: an order whose
 * callback was forgotten (engine_forget) is carried out all the same. Loop thread only.
 */
#ifndef GPUFS_ENGINE_ENGINE_H
#define GPUFS_ENGINE_ENGINE_H

#include "../core/error.h"
#include "../core/inventory.h"
#include "../core/market.h"
#include "../core/metrics.h"
#include "../core/policy.h"
#include "../core/provider.h"
#include "../core/session.h"
#include "world.h"

struct engine;

/* Who orders. `admin`: uid 0 or a member of ADMIN_GROUP, as the door established without blocking.
 */
struct caller {
	int64_t uid, gid, pid;
	const char *name; /* of the uid, for `owner` and the books; "" if it has none. Borrowed */
	bool admin;
};

/* Answer to an order: err 0 or negative errno with its sentence in why (borrowed). Exactly once. */
typedef void (*order_cb)(void *arg, int err, const struct error *why);

/* ---- life of the engine ---- */

/* Borrows world, policy and providers for its whole life. */
struct engine *engine_new(struct world *w, const struct policy *p, struct provider **providers,
			  size_t provider_count);
/* Count in m, and tell it the gauges at every scrape; once, before engine_start. Borrowed until
 * engine_free, after which metrics_text must not be called. Without it nothing is counted. */
void engine_set_metrics(struct engine *e, struct metrics *m);
/* One loaded row, before engine_start; a refusal says which row and why. */
int engine_load(struct engine *e, const struct journal_op *row, struct error *why);
void engine_start(struct engine *e);
/* Stop timers, probes and callbacks, flush what is not yet journaled. Sessions go on running. */
void engine_stop(struct engine *e);
void engine_free(struct engine *e);
const struct policy *engine_policy(const struct engine *e);
int64_t engine_now(const struct engine *e); /* wall_us */
/* For --on-exit=destroy: order the end of everything; cb when all is proven gone. */
void engine_destroy_all(struct engine *e, const struct caller *who, order_cb cb, void *arg);

/* ---- what doors are told ---- */

enum change_kind {
	CH_SESSION_NEW,	   /* a draft appeared in sessions/ */
	CH_SESSION,	   /* something of it changed */
	CH_SESSION_STATE,  /* its state changed (CH_SESSION follows) */
	CH_SESSION_NAME,   /* renamed (old name in `text`) */
	CH_SESSION_ENDED,  /* left sessions/, is now in history/ */
	CH_SESSION_PROVEN, /* its receipt is complete */
	CH_SESSION_GONE, /* a removed draft, or history that was purged: pointer dies after this */
	CH_MARKET,	 /* before, after, diffs: alive during the call; ref what is kept */
	CH_PROVIDER,
	CH_ALARMS,
	CH_STATUS,
	CH_EVENT, /* `text` is the JSON line without newline; session may be NULL */
};
struct change {
	enum change_kind kind;
	const struct session *session;
	const char *text;
	const struct inventory *before, *after;
	const struct inventory_change *diffs; /* what differs, by id (computed off the loop) */
	size_t diff_count;
};
struct door {
	void (*changed)(struct door *d, const struct change *c);
	struct door *next;
};
void engine_add_door(struct engine *e, struct door *d);

/* ---- looking ---- */

const struct session *engine_by_name(const struct engine *e, const char *name); /* sessions/ only */
const struct session *engine_by_id(const struct engine *e, const char *id);	/* both */
const struct session *engine_by_serial(const struct engine *e, int64_t serial); /* both */
/* In order of serial, the first greater than `after`; history says which of the two directories. */
const struct session *engine_next(const struct engine *e, int64_t after, bool history);
/* Newest life of `name` in history/ that uid may see as its own (uid 0: among all); NULL if none.
 */
const struct session *engine_last(const struct engine *e, const char *name, int64_t uid);
static inline bool session_in_history(const struct session *s)
{
	return s->removed_us != 0;
}
/* May this caller see the session and give orders about it? The kernel asks the mount's permissions; a
 * door without a kernel in front of it asks this. */
bool engine_may(const struct caller *who, const struct session *s);
/* The last failed command on this session ("" if none): time and sentence. */
const char *engine_session_error(const struct engine *e, const struct session *s);
/* A purchase that was refused at close, until the spec is written again; NULL if none. */
const struct error *engine_session_refusal(const struct engine *e, const struct session *s);
void engine_note_error(struct engine *e, const struct session *s, const struct error *why);
/* The session's event lines, oldest first: text for people, or JSON lines. */
void engine_session_log(const struct engine *e, const struct session *s, bool json,
			struct buf *out);
/* What was recorded before this start, oldest first, the last EVENTS_PAST_MAX events; only before
 * engine_start. owner_uid: whose it is; UNKNOWN: of no session, everybody's; 0: of a session that is
 * no more. Returns the number up to which nothing is known any more. */
#define EVENTS_PAST_MAX 4096
int64_t engine_past_events(const struct engine *e,
			   void (*each)(void *arg, int64_t seq, int64_t owner_uid,
					const char *json),
			   void *arg);
/* Text of `plan`: what commit would do now. */
void engine_plan(struct engine *e, const struct session *s, const struct caller *who,
		 struct buf *out);
void engine_receipt(const struct engine *e, const struct session *s, struct buf *out);
/* What the provider said about the machine since gpufs started, in its words: `TIME TEXT` a line,
 * escaped, oldest first, the last 64 that differ from their predecessor. */
void engine_provider_log(const struct engine *e, const struct session *s, struct buf *out);
bool engine_proven(const struct session *s); /* terminal, and an instance, if any, is gone */

const struct inventory *engine_inventory(const struct engine *e);
void engine_looked_at_market(struct engine *e); /* somebody reads inventory/ or search/ */
/* The same, for this query: its models, and the market of bids, are kept current for a while. */
void engine_asked_for(struct engine *e, const struct query *q);
/* Offers whose machines failed lately. */
void engine_offer_health(const struct engine *e,
			 void (*fn)(void *arg, const struct offer_health *h), void *arg);

/* Templates of the first provider that has any, from memory. Asking refreshes what is older than an
 * hour; CH_PROVIDER tells when it came. False: no provider has templates. */
struct templates_view {
	const char *provider;
	const struct template_info *list;
	size_t count;
	int64_t fetched_us; /* 0: not yet */
	bool busy;	    /* being fetched */
	const char *error;  /* of the last attempt; "" */
};
bool engine_templates(struct engine *e, struct templates_view *out);

struct provider_view {
	const char *name, *state, *reason; /* state: ok slow throttled down nokey badkey off */
	int64_t offers, list_age_us, calls, errors, foreign;
	int64_t balance_u6; /* USD, or UNKNOWN */
	int64_t dropped; /* rows of searches that were malformed or broke a filter, since the start */
	bool list_complete, enabled;
	int64_t changed_us;
};
size_t engine_provider_count(const struct engine *e);
bool engine_provider_view(const struct engine *e, size_t i, struct provider_view *out);

struct status_view {
	const char *state, *why; /* starting ok degraded draining */
	int64_t by_state[S_COUNT];
	int64_t burn_u6; /* USD an hour of what runs now */
	int64_t started_us;
};
void engine_status(const struct engine *e, struct status_view *out);
void engine_alarms(const struct engine *e, struct buf *out); /* table; empty = all well */
/* Doors and io raise and clear alarms too; one per (what, subject). */
void engine_alarm(struct engine *e, const char *what, const char *subject, const char *text);
void engine_alarm_clear(struct engine *e, const char *what, const char *subject);

/* ---- orders ---- */

/* mkdir: the draft. Answered when durable, or after 200 ms. Its serial is at once in *serial. */
void engine_mkdir(struct engine *e, const struct caller *who, const char *name, int64_t mode,
		  order_cb cb, void *arg);
/* rmdir: a draft is gone; of anything else the order to destroy is made durable. */
void engine_rmdir(struct engine *e, const struct caller *who, const struct session *s, order_cb cb,
		  void *arg);
void engine_rename(struct engine *e, const struct caller *who, const struct session *s,
		   const char *name, order_cb cb, void *arg);
void engine_chmod(struct engine *e, const struct session *s, int64_t mode, order_cb cb, void *arg);

/* Check a whole spec text against this session (parse, ranges, offer on the market, rights) without
 * changing anything. After the purchase: 0 for the same spec, else -EBUSY. */
int engine_spec_check(struct engine *e, const struct caller *who, const struct session *s,
		      const char *text, size_t n, enum spec_end *end, bool *commit,
		      struct error *why);
/* The same, and make it the draft's spec. */
int engine_spec_set(struct engine *e, const struct caller *who, const struct session *s,
		    const char *text, size_t n, enum spec_end *end, bool *commit,
		    struct error *why);
/* What a close of the spec does: buy if complete and AUTO_COMMIT; else leave a reason. `spoilt` or
 * `unfinished`: only leave the reason. A refusal leaves the draft with reason and error filled. */
void engine_spec_close(struct engine *e, const struct caller *who, const struct session *s,
		       bool spoilt, bool unfinished, order_cb cb, void *arg);
void engine_commit(struct engine *e, const struct caller *who, const struct session *s, order_cb cb,
		   void *arg);
/* One line of a session's ctl: commit done destroy retry probe extend. */
void engine_ctl(struct engine *e, const struct caller *who, const struct session *s,
		struct str line, order_cb cb, void *arg);
/* One line of the root's ctl: refresh [PROVIDER], reconcile, drain, undrain. */
void engine_root_ctl(struct engine *e, const struct caller *who, struct str line, order_cb cb,
		     void *arg);
/* `remaining`: "+2h" moves it by so much, "7200" sets it. */
void engine_remaining(struct engine *e, const struct caller *who, const struct session *s,
		      struct str text, order_cb cb, void *arg);
void engine_protect(struct engine *e, const struct caller *who, const struct session *s,
		    struct str text, order_cb cb, void *arg);
void engine_provider_enable(struct engine *e, const struct caller *who, size_t provider,
			    struct str text, order_cb cb, void *arg);
/* hold: somebody opened it for writing / the last one closed. */
void engine_hold(struct engine *e, const struct session *s, bool held);
/* A callback that must no longer come (the asker is gone). The order itself stands. */
void engine_forget(struct engine *e, order_cb cb, void *arg);

/* Verbs and what they take, for documentation and error texts. */
struct verb {
	const char *name, *args, *doc;
};
extern const struct verb session_verbs[], root_verbs[]; /* end with an empty name */

#endif
