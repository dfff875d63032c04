/*
 * The market: fetches offers, keeps one immutable snapshot of all providers, and lists what exists.
 * One list a provider observes every session there, however many there are (architecture.md,
 * Reconciliation). Loop thread. Tests: tests/unit/test_engine.c.
 */
#include <string.h>

#include "internal.h"

#define STARTUP_TRANSIT_US (3 * MINUTE_US) /* lists come every 10 s for so long after a start */
#define MARKET_ERROR_US	   (5 * SECOND_US) /* first pause after a refresh that failed */

struct source *source_of(const struct engine *e, const char *provider)
{
	for (size_t i = 0; i < e->source_count; i++)
		if (!strcmp(e->sources[i].p->name, provider))
			return &e->sources[i];
	return NULL;
}

static void source_state(struct source *src, const char *state, const char *reason)
{
	if (!strcmp(src->state, state) && !strcmp(src->reason, reason))
		return;
	src->state = state;
	copy_text(src->reason, sizeof src->reason, reason);
	src->changed_us = engine_now(src->e);
	tell(src->e, CH_PROVIDER, NULL, NULL);
	tell(src->e, CH_STATUS, NULL, NULL);
}

/* What every answer says about the provider's health. */
void source_note(struct source *src, const struct result *res, enum call_op op, int64_t asked_us)
{
	bool bad = res->verdict == UNSURE || res->verdict == LATER || res->verdict == KEY_DEAD;

	if (src->e->stopping)
		return;
	count_answer(src, res, op, asked_us);
	if (!bad) {
		if (op == CALL_OFFERS || op == CALL_LIST)
			source_state(src, "ok", "");
		return;
	}
	src->errors++;
	if (res->verdict == KEY_DEAD)
		source_state(src, "badkey", res->text);
	else if (res->error == PE_RATE)
		source_state(src, "throttled", res->text);
	else
		source_state(src, "down", res->text);
}

/* ---- offers ---- */

static void count_change(void *arg, const struct offer *a, const struct offer *b)
{
	(void)a;
	(void)b;
	++*(size_t *)arg;
}

static void market_publish(struct engine *e)
{
	struct offer *all = NULL;
	struct inventory *next, *before = e->inv;
	size_t n = 0, at = 0, changes = 0;

	for (size_t i = 0; i < e->source_count; i++)
		n += e->sources[i].offer_count;
	all = xcalloc(n, sizeof *all);
	for (size_t i = 0; i < e->source_count; i++) {
		struct source *src = &e->sources[i];

		if (src->offer_count)
			memcpy(all + at, src->offers, src->offer_count * sizeof *all);
		at += src->offer_count;
	}
	next = inventory_new(all, n, before->generation + 1);
	free(all);
	CHECK(next);
	inventory_diff(before, next, count_change, &changes);
	if (!changes) {
		inventory_unref(next);
		return;
	}
	e->inv = next;
	for (struct door *d = e->doors; d; d = d->next)
		d->changed(d, &(struct change){.kind = CH_MARKET, .before = before, .after = next});
	inventory_unref(before);
	tell(e, CH_STATUS, NULL, NULL);
	/* Whoever waits for an offer looks again. */
	for (size_t i = 0; i < e->life_count; i++) {
		struct life *l = e->lives[i];

		if (l->o.next_choose_us != INT64_MAX)
			continue;
		l->o.next_choose_us = 0;
		life_wake(l);
	}
}

static void offers_done(void *arg, const struct result *res)
{
	struct source *src = arg;
	struct engine *e = src->e;
	int64_t now = engine_now(e);
	uint32_t chance;

	src->offers_busy = false;
	if (e->stopping)
		return;
	source_note(src, res, CALL_OFFERS, src->offers_asked_us);
	if (res->verdict != SURE_YES) {
		/* A stale list stays visible with its age. */
		e->w->random(e->w->self, &chance, sizeof chance);
		src->next_refresh_us = now + (res->error == PE_RATE
						      ? e->p->market_backoff_us
						      : backoff_us(MARKET_ERROR_US,
								   e->p->market_backoff_us,
								   src->failures++, chance));
	} else {
		src->failures = 0;
		src->fetched_us = now;
		src->complete = res->complete;
		src->next_refresh_us = 0;
		free(src->offers);
		src->offers = xcalloc(res->count, sizeof *src->offers);
		if (res->count)
			memcpy(src->offers, res->offers, res->count * sizeof *src->offers);
		src->offer_count = res->count;
		market_publish(e);
	}
	tell(e, CH_PROVIDER, NULL, NULL);
	if (src->refresh_again) {
		src->refresh_again = false;
		market_refresh(src);
	}
	engine_wake(e, 0);
}

void market_refresh(struct source *src)
{
	struct call call = {.op = CALL_OFFERS};

	if (!src || src->e->stopping)
		return;
	if (src->offers_busy) { /* what is under way may be older than what the asker knows */
		src->refresh_again = true;
		return;
	}
	src->offers_busy = true;
	src->offers_asked_us = count_call(src, CALL_OFFERS);
	src->p->act(src->p, src->e->w, &call, offers_done, src);
}

static int64_t refresh_due(const struct source *src, int64_t now)
{
	const struct policy *p = src->e->p;
	bool watched = now - src->e->looked_us < 2 * p->market_us;

	if (src->next_refresh_us)
		return src->next_refresh_us;
	if (!src->fetched_us)
		return 0;
	return src->fetched_us + (watched ? p->market_us : p->market_idle_us);
}

void engine_looked_at_market(struct engine *e)
{
	int64_t now = engine_now(e), age = e->p->market_us;

	for (size_t i = 0; i < e->source_count; i++)
		if (!e->sources[i].offers_busy && !e->sources[i].next_refresh_us &&
		    e->sources[i].fetched_us && now - e->sources[i].fetched_us > age &&
		    now - e->looked_us > age)
			market_refresh(&e->sources[i]);
	e->looked_us = now;
}

const struct inventory *engine_inventory(const struct engine *e)
{
	return e->inv;
}

/* ---- lists ---- */

static bool awaits_list(const struct life *l)
{
	const struct session *s = &l->s;

	return s->label[0] &&
	       (s->instance_state == I_UNSURE || s->instance_state == I_EXISTS ||
		(s->instance_state == I_ASKED && !l->o.may_create && !l->o.call_busy));
}

/* Is something being created or stopped there, so that lists should come often? */
static bool in_transit(const struct source *src, int64_t now)
{
	if (now - src->e->started_us < STARTUP_TRANSIT_US)
		return true;
	for (size_t i = 0; i < src->e->life_count; i++) {
		const struct life *l = src->e->lives[i];

		if (awaits_list(l) && l->s.state != S_RUNNING &&
		    !strcmp(l->s.provider, src->p->name))
			return true;
	}
	return false;
}

static void list_seen(struct life *l, const struct instance *in)
{
	struct session *s = &l->s;

	memset(l->o.absent_us, 0, sizeof l->o.absent_us);
	l->o.status = in->status;
	if (s->instance_state == I_EXISTS)
		return;
	/* The lost create is found: it exists, it costs, it is ours. */
	s->instance_state = I_EXISTS;
	COPY(s->instance_id, in->id);
	l->o.next_look_us = 0;
	event(l->e, l, NULL, "found", "%s: the order had worked", in->id);
	if (s->state == S_PROVISIONING && !s->attempt_cause)
		life_reason(l, "the machine is starting");
	life_changed(l);
}

/* An orphan is counted when it is first seen, not with every list. */
static void orphan_seen(struct source *src, const char *label)
{
	bool known = alarm_stands(src->e, "orphan", label);

	engine_alarm(src->e, "orphan", label,
		     "a machine that carries our mark belongs to no session we know of; it is not "
		     "touched");
	if (!known && alarm_stands(src->e, "orphan", label))
		count_orphan(src);
}

/* True: one of them is not in our books. */
static bool list_instances(struct source *src, const struct result *res)
{
	struct engine *e = src->e;
	char session_id[40];
	bool unknown = false;
	int64_t attempt;

	src->foreign = 0;
	for (size_t i = 0; i < res->count; i++) {
		const char *label = res->instances[i].label;

		if (!label_verify(label, e->p->deployment, e->p->label_key, session_id, &attempt)) {
			src->foreign++; /* never touched, only counted (rule 5) */
		} else if (!engine_by_id(e, session_id)) {
			orphan_seen(src, label);
			unknown = true;
		}
	}
	return unknown;
}

/* Absent although nobody sent it away. */
static bool misses(const struct source *src, const struct life *l)
{
	return l->s.instance_state == I_EXISTS && !l->s.delete_us &&
	       src->list_begun_us >= l->s.asked_us + src->p->lag_us;
}

static void list_done(void *arg, const struct result *res)
{
	struct source *src = arg;
	struct engine *e = src->e;
	int64_t now = engine_now(e);
	bool odd = false;

	src->list_busy = false;
	if (e->stopping)
		return;
	source_note(src, res, CALL_LIST, src->list_asked_us);
	src->next_list_us = now + (in_transit(src, now) ? TRANSIT_LIST_US : e->p->reconcile_us);
	if (res->verdict == SURE_YES)
		odd = list_instances(src, res);
	for (size_t i = 0; i < e->life_count; i++) {
		struct life *l = e->lives[i];
		const struct instance *in = NULL;

		if (strcmp(l->s.provider, src->p->name) || !awaits_list(l))
			continue;
		l->o.next_list_us = now + LIST_PAUSE_US;
		life_wake(l);
		if (res->verdict != SURE_YES)
			continue;
		for (size_t k = 0; k < res->count && !in; k++)
			if (!strcmp(res->instances[k].label, l->s.label))
				in = &res->instances[k];
		/* An incomplete list may add knowledge and never removes any. */
		if (in && in->status != INST_GONE) {
			odd = odd || l->s.instance_state != I_EXISTS;
			list_seen(l, in);
		} else if (res->complete && src->list_begun_us >= l->s.asked_us) {
			odd = odd || misses(src, l);
			note_pair(l->o.absent_us, src->list_begun_us);
		}
	}
	if (odd && res->complete)
		count_mismatch(src);
	engine_wake(e, 0);
}

void market_list(struct source *src)
{
	struct call call = {.op = CALL_LIST};

	if (!src || src->list_busy || src->e->stopping)
		return;
	src->list_busy = true;
	src->list_begun_us = engine_now(src->e);
	src->list_asked_us = count_call(src, CALL_LIST);
	src->p->act(src->p, src->e->w, &call, list_done, src);
}

/* ---- time ---- */

void market_drive(struct engine *e, int64_t now_us)
{
	for (size_t i = 0; i < e->source_count; i++) {
		struct source *src = &e->sources[i];

		if (!src->offers_busy && now_us >= refresh_due(src, now_us))
			market_refresh(src);
		if (!src->list_busy && now_us >= src->next_list_us)
			market_list(src);
	}
}

int64_t market_next_us(const struct engine *e)
{
	int64_t now = engine_now(e), next = INT64_MAX;

	for (size_t i = 0; i < e->source_count; i++) {
		const struct source *src = &e->sources[i];
		int64_t due = src->offers_busy ? INT64_MAX : refresh_due(src, now);
		int64_t list = src->list_busy ? INT64_MAX : src->next_list_us;

		next = due < next ? due : next;
		next = list < next ? list : next;
	}
	return next;
}

/* ---- looking ---- */

size_t engine_provider_count(const struct engine *e)
{
	return e->source_count;
}

bool engine_provider_view(const struct engine *e, size_t i, struct provider_view *out)
{
	const struct source *src;

	if (i >= e->source_count)
		return false;
	src = &e->sources[i];
	*out = (struct provider_view){
		.name = src->p->name,
		.state = src->enabled ? src->state : "off",
		.reason = src->reason,
		.offers = (int64_t)src->offer_count,
		.list_age_us = src->fetched_us ? engine_now(e) - src->fetched_us : UNKNOWN,
		.calls = src->calls,
		.errors = src->errors,
		.foreign = src->foreign,
		.list_complete = src->complete,
		.enabled = src->enabled,
		.changed_us = src->changed_us ? src->changed_us : e->started_us,
	};
	return true;
}
