/*
 * Attempts: choosing the offer of the next one and recording it with its label before anything is sent
 * (rules 1 and 2), and what becomes of one that was given up. Loop thread. Tests:
 * tests/unit/test_engine.c, test_engine_cloud.c.
 */
#include <string.h>

#include "../core/mutant.h"
#include "internal.h"

/* Ever longer, so that a provider that loses orders is spared. Attempts that another session's purchase
 * made void before they were sent do not count. */
int64_t attempt_pause_us(struct life *l)
{
	return backoff_us(SECOND_US, DESTROY_MAX_US, l->undone++, engine_chance(l->e));
}

void attempt_bill(struct life *l)
{
	struct session *s = &l->s;
	int64_t now = engine_now(l->e);

	s->billed_prior_us = session_billed_us(s, now);
	s->cost_prior_u6 = session_cost_u6(s, now);
	if (s->instance_state == I_GONE)
		COPY(l->billed_ids[l->billed_count++ % ARRAY_LEN(l->billed_ids)], s->instance_id);
}

void attempt_forget(struct session *s)
{
	s->instance_state = I_NONE;
	s->instance_id[0] = '\0';
	s->asked_us = s->booted_us = s->delete_us = s->gone_us = 0;
	s->rate_u6 = UNKNOWN;
	s->rate_us = s->settled_u6 = s->attached = 0;
}

static void reset_attempt(struct session *s)
{
	attempt_forget(s);
	s->label[0] = '\0';
	s->ssh_host[0] = s->ssh_user[0] = '\0';
	s->ssh_port = 0;
	free(s->host_key);
	free(s->ports);
	s->host_key = s->ports = NULL;
}

static void forget_observed(struct life *l)
{
	struct observed *o = &l->o;
	bool busy = o->journal_busy, keygen = o->keygen_busy;
	int64_t hold = o->hold_released_us;

	probe_stop(l); /* what the last machine answers says nothing about the next one */
	*o = (struct observed){.journal_busy = busy,
			       .keygen_busy = keygen,
			       .hold_released_us = hold,
			       .lag_us = o->lag_us};
	l->destroys = l->login_refusals = l->logins = l->polls = l->attach_failures = 0;
	l->addressed_us = 0;
	l->priced = l->told_running = false;
}

/* Did the spec say wait=? Then a retry, too, waits for an offer. */
static bool spec_waits(const struct session *s)
{
	struct spec sp;
	bool waits;

	if (parse_spec_of(s, &sp, NULL))
		return false;
	waits = sp.wait_us > 0;
	spec_free(&sp);
	return waits;
}

/* A retry without an offer. A cloud shows samples, and the pages of this model may not have been asked
 * for yet: ask for them, once, before the session fails. True: wait, every change of the market asks
 * again. */
static bool asks_market_first(struct life *l, int64_t now)
{
	struct session *s = &l->s;
	struct query q = {0};

	if (!source_of(l->e, s->provider)->p->dialect ||
	    (l->asked_market_us && now >= l->asked_market_us + RETRY_MARKET_US)) {
		l->asked_market_us = 0;
		return false;
	}
	if (!l->asked_market_us) {
		l->asked_market_us = now;
		if (query_set(&q, Q_GPU, str_of(s->gpu_type), NULL) == 0)
			engine_asked_for(l->e, &q);
		life_reason(l, "no other offer is known within the limits of a retry; asking the "
			       "provider for more");
		life_changed(l);
	}
	l->o.next_choose_us = l->asked_market_us + RETRY_MARKET_US;
	return true;
}

void attempt_choose(struct life *l)
{
	struct engine *e = l->e;
	struct session *s = &l->s;
	struct error why = {0};
	int64_t now = engine_now(e);

	if (!buy_choose(l, &why)) {
		if (s->failed_offers && s->failed_offers[0] && !spec_waits(s)) {
			if (asks_market_first(l, now))
				return;
			life_end(l, END_NO_OFFER, "no other offer is within the limits of a retry",
				 NULL);
			return;
		}
		/* Every change of the market asks again. */
		l->o.next_choose_us = INT64_MAX;
		if (strcmp(s->reason, "waiting for an offer that matches")) {
			life_reason(l, "waiting for an offer that matches");
			life_changed(l);
		}
		return;
	}
	if (s->attempt >= ATTEMPTS_MAX) {
		life_end(l, END_REFUSED, "create refused: too many attempts had no effect", NULL);
		return;
	}
	l->asked_market_us = 0;
	reset_attempt(s);
	forget_observed(l);
	s->attempt += !MUTANT(11) || !s->attempt;
	s->attempt_cause = END_NONE;
	label_make(s->label, e->p->deployment, s->id, s->attempt, e->p->label_key);
	/* Journaled as asked before it is sent: after a crash in between, "asked" means "unknown",
	 * and only a list resolves it (rules 1 and 2). */
	s->instance_state = I_ASKED;
	s->asked_us = now;
	l->o.may_create = true;
	if (!s->bought_us) {
		s->bought_us = now;
		s->expires_us = now + s->hours * HOUR_US;
	}
	l->o.lag_us = source_of(e, s->provider)->p->lag_us;
	if (source_of(e, s->provider)->p->dialect)
		index_order_add(l);
	life_state(l, S_PROVISIONING, "asking the provider", NULL);
	event(e, l, NULL, "attempt", "%d: %s as %s", (int)s->attempt, s->offer_id, s->label);
	life_changed(l);
}

/* An attempt was given up and nothing of it is left: the next one, or the end. */
void attempt_next(struct life *l)
{
	struct session *s = &l->s;
	enum end_cause cause = (enum end_cause)s->attempt_cause;
	int64_t now = engine_now(l->e);
	BUF failed = {0};

	attempt_bill(l);
	if (s->retries_left <= 0) {
		int64_t gone = s->gone_us;

		s->asked_us = s->settled_u6 = 0; /* it is in the sums of earlier attempts now */
		s->gone_us = gone;
		life_end(l, cause, s->reason, NULL);
		return;
	}
	s->retries_left--;
	/* A boot may have taken as long as a start may: the next attempt has its own time. */
	if (s->start_by_us < now + l->e->p->start_timeout_us)
		s->start_by_us = now + l->e->p->start_timeout_us;
	buf_printf(&failed, "%s%s%s", s->failed_offers ? s->failed_offers : "",
		   s->failed_offers && s->failed_offers[0] ? "," : "", s->offer_id);
	CHECK(!failed.failed);
	free(s->failed_offers);
	s->failed_offers = buf_take(&failed);
	reset_attempt(s);
	forget_observed(l);
	l->undone = 0;
	s->attempt_cause = END_NONE;
	s->state_us = now; /* the boot limit counts anew */
	life_reason(l, "looking for another offer");
	life_changed(l);
}
