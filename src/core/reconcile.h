/*
 * Reconciliation: one pure function compares what a session wants with what was observed, the clock
 * and the policy, and names one action. Level triggered: it is asked whenever anything changed and
 * on every tick, remembers nothing, and so leads to the same end after a kill between any two
 * instructions. Pure; loop thread. Tests: tests/unit/test_reconcile.c.
 */
#ifndef GPUFS_CORE_RECONCILE_H
#define GPUFS_CORE_RECONCILE_H

#include "policy.h"
#include "provider.h"
#include "session.h"

/* What is known about a session's instance beyond its record. Forgotten at a restart. Times are
 * wall clock; 0 = never. */
struct observed {
	bool journal_busy; /* the record is not durable yet: nothing that costs may be sent */
	bool call_busy;	   /* a create, look or destroy of it is under way */
	bool list_busy;	   /* a list that serves it is under way */
	bool probe_busy, keygen_busy, attach_busy;
	bool may_create; /* this process journaled the attempt and has not sent it yet */
	int64_t lag_us;	 /* of the provider */
	bool by_list;	 /* lists tell all about it: direct queries are for proofs */
	int64_t keys;	 /* that its machine is to be given after the create; 0 = none */
	/* After a restart: the create left before this, if it did. 0: asked_us is when it left. */
	int64_t sent_by_us;
	/* After a restart: since when this process looks. Nobody looked before, so no limit of booting and
	 * of the login ran. */
	int64_t watched_us;
	enum instance_status status; /* last said */
	int64_t status_us;	     /* since when it says so; 0 = it said nothing yet */
	/* Begin of the last two observations in a row that said stopped or failed; older first. */
	int64_t stopped_us[2];
	bool over_price;	 /* the first price that it charged is above the cap */
	int64_t absent_since_us; /* begin of the first complete list of those that lack it now */
	int64_t absent_us[2]; /* begin of the last two complete lists that lacked it; older first */
	int64_t gone_us[2];   /* begin of the last two direct queries that said gone; older first */
	int64_t destroy_ok_us; /* the DELETE was accepted */
	int64_t next_look_us, next_list_us, next_probe_us, next_destroy_us, next_choose_us;
	int64_t next_attach_us;
	int64_t hold_released_us; /* the last holder closed it */
	bool probe_ok;		  /* an SSH login worked (in this attempt) */
	bool late_look_done;
};

enum action {
	ACT_WAIT, /* until at_us (INT64_MAX: until something changes) */
	ACT_KEYGEN,
	ACT_CHOOSE,	  /* choose an offer, journal the attempt with its label */
	ACT_CREATE,	  /* send it, once */
	ACT_LIST,	  /* ask the provider for everything that carries our mark */
	ACT_LOOK,	  /* ask for this instance */
	ACT_VOID,	  /* proven: the create never had an effect */
	ACT_ATTACH,	  /* give its machine the next key */
	ACT_PROBE,	  /* try to log in */
	ACT_RUNNING,	  /* the login worked */
	ACT_FAIL_ATTEMPT, /* give this attempt up, for `cause` */
	ACT_END,	  /* order the end, for `cause` */
	ACT_DESTROY,	  /* send the DELETE */
	ACT_GONE,	  /* proven gone: billing ends */
	ACT_NEXT_ATTEMPT, /* a given-up attempt is proven gone: retry, or fail */
	ACT_FINISH,	  /* stopping, and nothing exists any more */
	ACT_LATE_LOOK,	  /* the look ten minutes after the receipt */
	ACT_RETIRE,	  /* ended long ago: from sessions/ to history/ */
	ACT_PURGE,	  /* kept long enough in history/ */
};

struct step {
	enum action act;
	enum end_cause cause;
	int64_t at_us;
};

struct step reconcile(const struct session *s, const struct observed *o, const struct policy *p,
		      int64_t now_us);

/* A pause of half to all of min(base * 2^n, max), by chance. */
int64_t backoff_us(int64_t base_us, int64_t max_us, unsigned n, uint32_t random);

/* Note the begin of an observation in one of the pairs above. */
static inline void note_pair(int64_t pair[2], int64_t begun_us)
{
	pair[0] = pair[1];
	pair[1] = begun_us;
}

#endif
