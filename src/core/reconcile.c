/*
 * One action from (record, observation, policy, now). Rules are cited by the numbers of the
 * invariants in docs/DESIGN.md. Reads nothing else and changes nothing. Tests:
 * tests/unit/test_reconcile.c.
 */
#include "reconcile.h"

#include "check.h"
#include "mutant.h"

/* How long lists may lack an instance whose id we know before it is asked for directly, and how long
 * they may go on showing one whose DELETE was accepted. */
#define LIST_DOUBT_US (20 * SECOND_US)

static struct step wait_until(int64_t at_us)
{
	return (struct step){.act = ACT_WAIT, .at_us = at_us};
}

static struct step do_act(enum action act)
{
	return (struct step){.act = act};
}

static struct step do_cause(enum action act, enum end_cause cause)
{
	return (struct step){.act = act, .cause = cause};
}

static int64_t earlier(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static int64_t later(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

/* act when `due` has come, else wait for it but not beyond `limit`. */
static struct step when(int64_t due_us, int64_t now_us, enum action act, int64_t limit_us)
{
	if (now_us >= due_us)
		return do_act(act);
	return wait_until(earlier(due_us, limit_us));
}

/* Rule 4: absence needs proof, and lists begun before the provider's lag is over prove nothing. */
static bool two_lists_after(const struct observed *o, int64_t since_us)
{
	return o->absent_us[MUTANT(3)] > since_us + (MUTANT(5) ? 0 : o->lag_us);
}

/* The create's outcome is unknown (rule 2): only complete lists resolve it. */
static struct step resolve_create(const struct session *s, const struct observed *o, int64_t now_us,
				  int64_t limit_us)
{
	if (two_lists_after(o, s->asked_us > o->sent_by_us ? s->asked_us : o->sent_by_us))
		return do_act(ACT_VOID);
	if (o->list_busy)
		return wait_until(limit_us);
	return when(o->next_list_us, now_us, ACT_LIST, limit_us);
}

/* The DELETE was accepted. "gone": a direct query says so, and a complete list begun afterwards lacks
 * it. Where lists show everything the first of them tells when to ask, so that one query is enough. */
static struct step prove_gone(const struct observed *o, int64_t now_us)
{
	int64_t doubt_us = o->destroy_ok_us + LIST_DOUBT_US;

	if (MUTANT(6))
		return do_act(ACT_GONE);
	if (o->gone_us[1] < o->destroy_ok_us) {
		if (!o->by_list || o->absent_us[1] >= o->destroy_ok_us || now_us >= doubt_us)
			return when(o->next_look_us, now_us, ACT_LOOK, INT64_MAX);
		if (o->list_busy)
			return wait_until(doubt_us);
		return when(o->next_list_us, now_us, ACT_LIST, doubt_us);
	}
	if (o->absent_us[1] >= o->gone_us[1])
		return do_act(ACT_GONE);
	if (o->list_busy)
		return wait_until(INT64_MAX);
	return when(o->next_list_us, now_us, ACT_LIST, INT64_MAX);
}

/* The instance is not wanted any more: on to the proof that it is gone (rules 3, 4, 12). */
static struct step remove_instance(const struct session *s, const struct observed *o,
				   int64_t now_us)
{
	switch ((enum instance_state)s->instance_state) {
	case I_NONE:
	case I_GONE:
		return do_act(s->state == S_PROVISIONING ? ACT_NEXT_ATTEMPT : ACT_FINISH);
	case I_ASKED:
		if (o->call_busy || o->journal_busy)
			return wait_until(INT64_MAX);
		/* Journaled by this process and never sent: nothing can exist. */
		if (o->may_create)
			return do_act(ACT_VOID);
		return resolve_create(s, o, now_us, INT64_MAX);
	case I_UNSURE:
		return resolve_create(s, o, now_us, INT64_MAX);
	case I_EXISTS:
		break;
	case I_COUNT:
		CHECK(false);
	}
	if (o->call_busy)
		return wait_until(INT64_MAX);
	if (!o->destroy_ok_us)
		return when(o->next_destroy_us, now_us, ACT_DESTROY, INT64_MAX);
	return prove_gone(o, now_us);
}

/* Limits that end whatever costs money (rule 10); returns the deadline if none is reached. */
static bool limit_reached(const struct session *s, const struct observed *o, const struct policy *p,
			  int64_t now_us, struct step *out, int64_t *next_us)
{
	int64_t hold = o->hold_released_us ? o->hold_released_us + p->hold_grace_us : INT64_MAX;
	int64_t hard = s->bought_us ? s->bought_us + s->hard_max_us : INT64_MAX;
	int64_t expires = s->bought_us ? s->expires_us : INT64_MAX;

	if (now_us >= hold)
		*out = do_cause(ACT_END, END_HOLD);
	else if (now_us >= expires)
		*out = do_cause(ACT_END, END_EXPIRED);
	else if (now_us >= hard)
		*out = do_cause(ACT_END, END_HARD_MAX);
	else {
		*next_us = earlier(earlier(hold, hard), expires);
		return false;
	}
	return true;
}

static struct step pending(const struct session *s, const struct observed *o,
			   const struct policy *p, int64_t now_us)
{
	int64_t limit = s->start_by_us;
	struct step end;
	int64_t next;

	if (limit_reached(s, o, p, now_us, &end, &next))
		return end;
	limit = earlier(limit, next);
	if (now_us >= s->start_by_us)
		return do_cause(ACT_END, END_NO_OFFER);
	if (!s->private_key.bytes)
		return o->keygen_busy ? wait_until(limit) : do_act(ACT_KEYGEN);
	if (o->journal_busy)
		return wait_until(limit);
	return when(o->next_choose_us, now_us, ACT_CHOOSE, limit);
}

/* Is there a key to be given to the machine now? Else *limit_us is when. */
static bool attach_due(const struct session *s, const struct observed *o, int64_t now_us,
		       int64_t *limit_us)
{
	if (s->attached >= o->keys || o->attach_busy)
		return false;
	if (now_us >= o->next_attach_us)
		return true;
	*limit_us = earlier(*limit_us, o->next_attach_us);
	return false;
}

/* Do complete lists lack it for so long that it is asked for directly? */
static bool absence_doubted(const struct observed *o, int64_t now_us)
{
	if (!o->absent_us[1])
		return false;
	return !o->by_list || now_us >= o->absent_since_us + LIST_DOUBT_US;
}

/* The next look at a machine that boots: by lists where they tell all, which serves every machine that
 * boots with one call; else by a direct query. */
static struct step watch_boot(const struct observed *o, int64_t now_us, int64_t limit_us)
{
	if (o->by_list && !o->call_busy && absence_doubted(o, now_us)) {
		if (now_us >= o->next_look_us)
			return do_act(ACT_LOOK);
		limit_us = earlier(limit_us, o->next_look_us);
	}
	if ((o->by_list || o->gone_us[1]) && !o->list_busy) {
		if (now_us >= o->next_list_us)
			return do_act(ACT_LIST);
		limit_us = earlier(limit_us, o->next_list_us);
	}
	if (o->by_list || o->call_busy)
		return wait_until(limit_us);
	return when(o->next_look_us, now_us, ACT_LOOK, limit_us);
}

/* The machine exists and is wanted: wait for it to boot, then for its SSH server. */
static struct step boot(const struct session *s, const struct observed *o, const struct policy *p,
			int64_t ssh_timeout_us, int64_t now_us, int64_t limit_us)
{
	bool addressed = s->ssh_host[0] && s->ssh_port;
	int64_t deadline;

	if (o->over_price)
		return do_cause(ACT_FAIL_ATTEMPT, END_PRICE);
	if (o->probe_ok)
		return do_act(ACT_RUNNING);
	if (o->stopped_us[0])
		return do_cause(ACT_FAIL_ATTEMPT, END_BOOT);
	if (o->gone_us[0] > s->asked_us && o->absent_us[1] > o->gone_us[0] &&
	    (!o->lag_us || two_lists_after(o, s->asked_us)))
		return do_cause(ACT_FAIL_ATTEMPT, END_BOOT);
	deadline = s->booted_us ? later(s->booted_us, o->watched_us) + ssh_timeout_us
				: later(s->asked_us, o->watched_us) + p->boot_timeout_us;
	if (now_us >= deadline)
		return do_cause(ACT_FAIL_ATTEMPT, s->booted_us ? END_SSH : END_BOOT);
	limit_us = earlier(limit_us, deadline);
	if (attach_due(s, o, now_us, &limit_us))
		return do_act(ACT_ATTACH);
	/* TCP is tried from the moment when an address is known; it does not wait for the status.
	 */
	if (addressed && !o->probe_busy && now_us >= o->next_probe_us)
		return do_act(ACT_PROBE);
	if (addressed && !o->probe_busy)
		limit_us = earlier(limit_us, o->next_probe_us);
	return watch_boot(o, now_us, limit_us);
}

static struct step provisioning(const struct session *s, const struct observed *o,
				const struct policy *p, int64_t ssh_timeout_us, int64_t now_us)
{
	struct step end;
	int64_t limit = INT64_MAX;

	if (limit_reached(s, o, p, now_us, &end, &limit))
		return end;
	if (s->attempt_cause)
		return remove_instance(s, o, now_us);
	switch ((enum instance_state)s->instance_state) {
	case I_NONE: /* a void attempt, or one that was given up: choose anew, under a new label */
	case I_GONE:
		if (now_us >= s->start_by_us)
			return do_cause(ACT_END, END_NO_OFFER);
		if (o->journal_busy)
			return wait_until(limit);
		return when(o->next_choose_us, now_us, ACT_CHOOSE, earlier(limit, s->start_by_us));
	case I_ASKED:
		if (o->call_busy || (o->journal_busy && !MUTANT(4))) /* rule 1: intent first */
			return wait_until(limit);
		if (o->may_create)
			return do_act(ACT_CREATE);
		return resolve_create(s, o, now_us, limit);
	case I_UNSURE:
		return resolve_create(s, o, now_us, limit);
	case I_EXISTS:
		return boot(s, o, p, ssh_timeout_us, now_us, limit);
	case I_COUNT:
		break;
	}
	CHECK(false);
	return wait_until(limit);
}

static struct step running(const struct session *s, const struct observed *o,
			   const struct policy *p, int64_t now_us)
{
	struct step end;
	int64_t limit = INT64_MAX;

	if (limit_reached(s, o, p, now_us, &end, &limit))
		return end;
	if (o->over_price)
		return do_cause(ACT_END, END_PRICE);
	/* Taken back by the provider. One on demand that was stopped (no credit, in the console) is
	 * not ours to destroy: nobody ordered it. */
	if (s->bid_u6 != UNKNOWN && o->stopped_us[0])
		return do_cause(ACT_END, END_PREEMPTED);
	/* Lost: two complete lists and two direct queries agree (rule 4). A list comes with every
	 * reconciliation; one that lacks it asks for a closer look. */
	if (o->absent_us[0] && o->gone_us[0] && two_lists_after(o, s->asked_us))
		return do_cause(ACT_END, END_LOST);
	if (attach_due(s, o, now_us, &limit))
		return do_act(ACT_ATTACH);
	if (absence_doubted(o, now_us) && !o->call_busy && o->gone_us[1] <= o->absent_us[1])
		return when(o->next_look_us, now_us, ACT_LOOK, limit);
	if ((o->gone_us[1] || (o->stopped_us[1] && s->bid_u6 != UNKNOWN)) && !o->list_busy)
		return when(o->next_list_us, now_us, ACT_LIST, limit);
	if (o->absent_us[1] && !absence_doubted(o, now_us))
		limit = earlier(limit, o->absent_since_us + LIST_DOUBT_US);
	return wait_until(limit);
}

static struct step ended(const struct session *s, const struct observed *o, const struct policy *p,
			 int64_t now_us)
{
	int64_t late = s->late_look_us && !o->late_look_done ? s->late_look_us : INT64_MAX;
	int64_t retire = s->stopped_us + p->keep_ended_us;
	int64_t purge = s->stopped_us + p->history_keep_us;

	if (o->journal_busy || o->call_busy)
		return wait_until(INT64_MAX);
	if (now_us >= late)
		return do_act(ACT_LATE_LOOK);
	if (!s->removed_us)
		return when(retire, now_us, ACT_RETIRE, late);
	return when(purge, now_us, ACT_PURGE, late);
}

struct step reconcile(const struct session *s, const struct observed *o, const struct policy *p,
		      int64_t now_us)
{
	switch ((enum session_state)s->state) {
	case S_DRAFT:
		return wait_until(INT64_MAX);
	case S_PENDING:
		return pending(s, o, p, now_us);
	case S_PROVISIONING:
		return provisioning(
			s, o, p, s->ssh_timeout_us ? s->ssh_timeout_us : p->ssh_verify_timeout_us,
			now_us);
	case S_RUNNING:
		return running(s, o, p, now_us);
	case S_STOPPING:
		return remove_instance(s, o, now_us);
	case S_STOPPED:
	case S_FAILED:
		return ended(s, o, p, now_us);
	case S_COUNT:
		break;
	}
	CHECK(false);
	return wait_until(now_us);
}

int64_t backoff_us(int64_t base_us, int64_t max_us, unsigned n, uint32_t random)
{
	int64_t top = base_us;

	for (unsigned i = 0; i < n && top < max_us; i++)
		top *= 2;
	top = earlier(top, max_us);
	return top / 2 + (int64_t)((uint64_t)top / 2 * random / UINT32_MAX);
}
