/*
 * What the engine counts, and the gauges that are read from its sessions, sources and alarms at
 * scrape time. Every counter moves where the thing itself happens and is called from one place; no
 * gauge is kept (lessons.md F). An engine without metrics (unit tests) counts nothing. Loop thread.
 *
 * Of every session that was bought exactly one end is counted, so that bought - ended is by how much
 * the number of living sessions has changed since the start (summed over the providers: a retry may
 * change the provider). Tests:
 * tests/unit/test_engine_metrics.c, tests/mount/metrics.bats.
 */
#include <string.h>

#include "internal.h"

#define NO_PROVIDER "none" /* bought, and waiting for an offer that matches */

static const char *const cause_words[END_COUNT] = {
	[END_NONE] = "unknown",	   [END_DESTROYED] = "destroyed",    [END_DONE] = "done",
	[END_EXPIRED] = "expired", [END_HARD_MAX] = "hard_max",	     [END_HOLD] = "hold_released",
	[END_LOST] = "lost",	   [END_NO_OFFER] = "no_offer",	     [END_BOOT] = "boot_failed",
	[END_SSH] = "ssh_timeout", [END_REFUSED] = "create_refused", [END_PREEMPTED] = "preempted",
	[END_MONEY] = "no_credit", [END_PRICE] = "over_price",	     [END_KEY] = "key_refused",
};

static const char *provider_word(const struct session *s)
{
	return s->provider[0] ? s->provider : NO_PROVIDER;
}

static void count_one(struct engine *e, enum metric id, const char *a, const char *b)
{
	metric_add(e->metrics, id, a, b, NULL, 1);
}

/* ---- sessions ---- */

void count_bought(struct life *l)
{
	l->end_counted = false;
	count_one(l->e, METRIC_SESSIONS_CREATED, provider_word(&l->s), NULL);
}

void count_state(struct life *l, enum session_state from)
{
	const struct session *s = &l->s;
	enum session_state to = (enum session_state)s->state;

	if (from == S_FAILED && to == S_PENDING)
		count_bought(l); /* the verb `retry` on what had ended */
	if (to == S_RUNNING)
		metric_observe(l->e->metrics, METRIC_PROVISIONING, s->provider, NULL,
			       s->running_us - s->bought_us);
	/* A machine that was found again after its receipt ends twice; the session counts once. */
	if (state_terminal(to) && !l->end_counted) {
		l->end_counted = true;
		count_one(l->e, METRIC_SESSIONS_DESTROYED, provider_word(s),
			  cause_words[s->end_cause]);
	}
}

void count_end(struct life *l, enum end_cause cause)
{
	const struct session *s = &l->s;
	int64_t hard_us = s->bought_us ? s->bought_us + s->hard_max_us : INT64_MAX;

	if (cause == END_LOST)
		count_one(l->e, METRIC_GHOSTS_DETECTED, s->provider, NULL);
	/* An expiry that was moved as far as it goes is the hard maximum under another name. */
	if (cause == END_HARD_MAX || (cause == END_EXPIRED && s->expires_us >= hard_us))
		count_one(l->e, METRIC_HARD_MAX, provider_word(s), NULL);
}

void count_attempt_failed(struct life *l, enum end_cause cause)
{
	if (cause == END_SSH)
		count_one(l->e, METRIC_SSH_FAILURES, l->s.provider, NULL);
}

void count_addressed(struct life *l)
{
	if (!l->addressed_us)
		l->addressed_us = l->e->w->mono_us(l->e->w->self);
}

void count_login(struct life *l, enum probe_verdict v)
{
	struct engine *e = l->e;
	const char *provider = l->s.provider;
	bool first = l->s.state == S_PROVISIONING && !l->o.probe_ok;

	l->logins++;
	switch (v) {
	case PROBE_OK:
		/* After a restart nobody knows when the address came: no observation is better
		 * than a wrong one. */
		if (!first || !l->addressed_us)
			return;
		metric_observe(e->metrics, METRIC_SSH_DURATION, provider, NULL,
			       e->w->mono_us(e->w->self) - l->addressed_us);
		metric_observe(e->metrics, METRIC_SSH_ATTEMPTS, provider, NULL, l->logins);
		return;
	case PROBE_NOT_YET:
		count_one(e, METRIC_SSH_ERRORS, provider, "no_answer");
		return;
	case PROBE_LOGIN_REFUSED:
		count_one(e, METRIC_SSH_ERRORS, provider, "key_refused");
		return;
	case PROBE_HOST_KEY:
		count_one(e, METRIC_SSH_ERRORS, provider, "host_key");
		return;
	}
}

void count_destroy_failed(struct life *l)
{
	count_one(l->e, METRIC_DESTROY_FAILURES, l->s.provider, NULL);
}

/* ---- providers ---- */

void count_orphan(struct source *src)
{
	count_one(src->e, METRIC_ORPHANS_DETECTED, src->p->name, NULL);
}

void count_mismatch(struct source *src)
{
	count_one(src->e, METRIC_MISMATCHES, src->p->name, NULL);
}

int64_t count_call(struct source *src, enum call_op op)
{
	src->calls++;
	count_one(src->e, METRIC_API_CALLS, src->p->name, call_op_names[op]);
	return src->e->w->mono_us(src->e->w->self);
}

void count_answer(struct source *src, const struct result *res, enum call_op op, int64_t asked_us)
{
	struct engine *e = src->e;

	if (asked_us == UNKNOWN) /* answered by ourselves: nothing was sent */
		return;
	metric_observe(e->metrics, METRIC_API_TIME, src->p->name, call_op_names[op],
		       e->w->mono_us(e->w->self) - asked_us);
	if (res->verdict != SURE_YES && res->error != PE_GONE) /* gone is what was asked for */
		count_one(e, METRIC_API_ERRORS, src->p->name, call_op_names[op]);
}

/* ---- at scrape time ---- */

static void put_source(const struct source *src, struct metric_sink *sink, int64_t now_us)
{
	const char *name = src->p->name;
	int64_t age_us = now_us - src->fetched_us;

	metric_put(sink, METRIC_OFFERS, name, NULL, (int64_t)src->offer_count);
	if (src->fetched_us)
		metric_put(sink, METRIC_LIST_AGE, name, NULL, age_us > 0 ? age_us : 0);
	metric_put(sink, METRIC_COST_ACCRUED, name, NULL, 0);
	/* Zeros too: an alert rule on an absent series never fires. */
	for (int i = S_PENDING; i <= S_STOPPING; i++)
		metric_put(sink, METRIC_SESSIONS_ACTIVE, name, state_name((enum session_state)i),
			   0);
}

static void collect(struct metric_source *ms, struct metric_sink *sink)
{
	struct engine *e = container_of(ms, struct engine, metric_source);
	int64_t now_us = engine_now(e), longest_us = 0;
	struct status_view v;

	for (size_t i = 0; i < e->source_count; i++)
		put_source(&e->sources[i], sink, now_us);
	for (size_t i = 0; i < e->life_count; i++) {
		const struct session *s = &e->lives[i]->s;
		int64_t cost_u6 = session_cost_u6(s, now_us);

		if (cost_u6 > 0)
			metric_put(sink, METRIC_COST_ACCRUED, provider_word(s), NULL, cost_u6);
		if (session_living(s))
			metric_put(sink, METRIC_SESSIONS_ACTIVE, provider_word(s),
				   state_name((enum session_state)s->state), 1);
		if (s->state == S_STOPPING && now_us - s->state_us > longest_us)
			longest_us = now_us - s->state_us;
	}
	engine_status(e, &v);
	metric_put(sink, METRIC_BURN_RATE, NULL, NULL, v.burn_u6);
	metric_put(sink, METRIC_STOPPING, NULL, NULL, longest_us);
	metric_put(sink, METRIC_ALARMS, NULL, NULL, (int64_t)e->alarm_count);
}

void engine_set_metrics(struct engine *e, struct metrics *m)
{
	CHECK(!e->metrics && m);
	e->metrics = m;
	e->metric_source.collect = collect;
	metrics_add_source(m, &e->metric_source);
}
