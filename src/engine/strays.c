/*
 * Strays: machines that carry our verified mark and that no living attempt owns (faults.md: Buying 4,
 * Destroying 4, Reconciling). The late arrival of an attempt that was void or given up, and the second
 * machine of one create, are destroyed on sight; so is an orphan, whose session nobody knows, after its
 * grace; a mark that is newer than our books is only shown, for then the books are an old copy. Kept in
 * memory and rebuilt from lists, so a restart can only delay a decision. Loop thread. Tests:
 * tests/unit/test_strays.c.
 */
#include <string.h>

#include "../core/mutant.h"
#include "internal.h"

#define ORPHAN_AGE_US  (2 * MINUTE_US)	/* or in two complete lists: then it is one */
#define FRESH_WATCH_US (30 * MINUTE_US) /* fresh books only observe for so long */
#define STRAYS_MAX     512 /* of one provider; more are met again once these are gone */

enum stray_kind { STRAY_ORPHAN, STRAY_LATE, STRAY_NEWER };

struct stray {
	struct stray *next;
	char id[96], label[64], session[40];
	enum stray_kind kind;
	int64_t first_us; /* begin of the first list that showed it */
	unsigned lists;	  /* complete lists that showed it */
	unsigned lacking; /* complete lists in a row that do not */
	bool seen;	  /* in the list that is being read */
	bool shown;	  /* alarmed and counted */
	bool braked, asked, condemned, busy;
	bool alive; /* a direct answer said so: it is not only in an old list */
	unsigned tries;
	int64_t next_us;		/* when the next call may go out */
	int64_t destroy_ok_us, gone_us; /* as in struct observed */
	/* Money: charged at rate_u6 since paid_us, cost_u6 before. */
	int64_t from_us, paid_us, rate_u6, cost_u6;
};

static const char *const alarm_names[] = {
	[STRAY_ORPHAN] = "orphan", [STRAY_LATE] = "late", [STRAY_NEWER] = "newer"};

static struct life *life_behind(const struct source *src, const struct stray *x)
{
	const struct session *s = engine_by_id(src->e, x->session);

	return s ? life_of(src->e, s) : NULL;
}

static void stray_remove(struct source *src, struct stray *x)
{
	CHECK(!x->busy);
	for (struct stray **p = &src->strays; *p; p = &(*p)->next) {
		if (*p != x)
			continue;
		*p = x->next;
		break;
	}
	src->stray_count--;
	engine_alarm_clear(src->e, alarm_names[x->kind], x->label);
	free(x);
}

void strays_free(struct source *src)
{
	while (src->strays) {
		struct stray *x = src->strays;

		src->strays = x->next;
		free(x);
	}
	src->stray_count = 0;
}

/* ---- what an orphan waits for ---- */

/* From when on it may be destroyed without anybody's order; INT64_MAX: never. */
static int64_t due_us(const struct source *src, const struct stray *x)
{
	const struct engine *e = src->e;
	int64_t known_us = e->known_since_us ? e->known_since_us : e->started_us, due;

	if (x->kind == STRAY_LATE)
		return x->first_us;
	if (x->kind == STRAY_NEWER || x->braked || !e->p->orphan_destroy)
		return INT64_MAX;
	due = x->first_us + e->p->orphan_grace_us;
	return due > known_us + FRESH_WATCH_US ? due : known_us + FRESH_WATCH_US;
}

static bool is_orphan(const struct stray *x, int64_t now_us)
{
	return x->lists >= 2 || now_us >= x->first_us + ORPHAN_AGE_US;
}

static void show(struct source *src, struct stray *x)
{
	int64_t due = due_us(src, x);
	BUF text = {0};

	x->shown = true;
	buf_printf(&text, "%s %s, first seen ", src->p->name, x->id);
	put_time(&text, x->first_us);
	switch (x->kind) {
	case STRAY_LATE:
		buf_puts(&text, ": a machine of an attempt that had been given up, or a second one "
				"of it; it is being destroyed");
		break;
	case STRAY_NEWER:
		buf_puts(&text,
			 ": its attempt is newer than our books (was an old copy restored?); it "
			 "is not touched");
		break;
	case STRAY_ORPHAN:
		buf_puts(&text, ": it carries our mark and belongs to no session we know of; ");
		if (due == INT64_MAX)
			buf_puts(&text, "it is not touched");
		else
			buf_puts(&text, "it will be destroyed at ");
		if (due != INT64_MAX)
			put_time(&text, due);
		count_orphan(src);
		break;
	}
	engine_alarm(src->e, alarm_names[x->kind], x->label, text.data);
}

/* Every automatic destroy says its rule, its evidence and the age (faults.md, Reconciling). */
static void condemn(struct source *src, struct stray *x, int64_t now_us)
{
	BUF age = {0};

	x->condemned = true;
	x->next_us = now_us;
	put_duration(&age, now_us > x->first_us ? now_us - x->first_us : 0);
	event(src->e, life_behind(src, x), NULL,
	      x->kind == STRAY_LATE ? "late_arrival" : "orphan_destroy",
	      "%s %s (%s): rule %s; seen in %u lists, first %s ago", src->p->name, x->id, x->label,
	      x->kind == STRAY_LATE ? "an attempt that is over owns nothing"
				    : "no session of this mark is known and its grace is over",
	      x->lists, age.data);
}

/* ---- its end ---- */

struct stray_call {
	struct source *src;
	struct stray *x;
	int64_t begun_us, asked_us;
};

static struct stray_call *call_new(struct source *src, struct stray *x, enum call_op op)
{
	struct stray_call *c = xcalloc(1, sizeof *c);

	*c = (struct stray_call){src, x, engine_now(src->e), count_call(src, op)};
	x->busy = true;
	return c;
}

/* True: the engine goes on, and *next_us is when the next call about it may go out. */
static bool call_over(struct stray_call *c, const struct result *res, enum call_op op)
{
	struct engine *e = c->src->e;
	struct stray *x = c->x;
	uint32_t chance;

	x->busy = false;
	source_note(c->src, res, op, c->asked_us);
	e->w->random(e->w->self, &chance, sizeof chance);
	x->next_us = engine_now(e) + backoff_us(POLL_MIN_US, DESTROY_MAX_US, x->tries, chance);
	engine_wake(e, 0);
	return !e->stopping;
}

static void stray_destroyed(void *arg, const struct result *res)
{
	struct stray_call *c = arg;
	struct stray *x = c->x;

	if (call_over(c, res, CALL_DESTROY)) {
		x->tries++;
		x->alive |= res->verdict == SURE_YES && !says_gone(res);
		if (res->verdict == SURE_YES || says_gone(res)) {
			x->destroy_ok_us = engine_now(c->src->e);
			x->next_us = x->destroy_ok_us + POLL_MIN_US;
		}
		event(c->src->e, life_behind(c->src, x), NULL,
		      x->destroy_ok_us ? "deleted" : "destroy_failed", "%s: %s", x->id, res->text);
	}
	free(c);
}

static void stray_looked(void *arg, const struct result *res)
{
	struct stray_call *c = arg;
	struct stray *x = c->x;

	if (call_over(c, res, CALL_LOOK)) {
		if (says_gone(res))
			x->gone_us = c->begun_us;
		else if (res->verdict == SURE_YES) {
			x->alive = true;
			x->destroy_ok_us = 0; /* it stands: the DELETE again, later */
		}
	}
	free(c);
}

static void stray_call(struct source *src, struct stray *x, enum call_op op)
{
	struct call call = {.op = op, .instance_id = x->id};

	source_act(src, &call, op == CALL_LOOK ? stray_looked : stray_destroyed,
		   call_new(src, x, op));
}

static void pay(struct stray *x, int64_t until_us)
{
	if (until_us <= x->paid_us)
		return;
	x->cost_u6 += cost_of(x->rate_u6, until_us - x->paid_us);
	x->paid_us = until_us;
}

/* An old list showed what its attempt was billed for already. */
static bool billed_already(const struct life *l, const struct stray *x)
{
	for (size_t i = 0; l && i < ARRAY_LEN(l->billed_ids); i++)
		if (!strcmp(l->billed_ids[i], x->id))
			return !x->alive;
	return false;
}

/* Proven gone by a direct query and a complete list begun afterwards: its cost goes to its session. */
static void stray_gone(struct source *src, struct stray *x)
{
	struct life *l = life_behind(src, x);
	int64_t billed_us;
	BUF cost = {0};

	pay(x, x->destroy_ok_us);
	if (billed_already(l, x)) {
		x->from_us = x->destroy_ok_us;
		x->cost_u6 = 0;
	}
	billed_us = x->destroy_ok_us - x->from_us;
	put_money(&cost, x->cost_u6);
	event(src->e, l, NULL, "gone", "%s (%s) is proven gone; it cost about %s", x->id, x->label,
	      cost.data);
	if (l) {
		l->s.cost_prior_u6 += x->cost_u6;
		l->s.billed_prior_us += billed_us > 0 ? billed_us : 0;
		life_changed(l);
	}
	stray_remove(src, x);
}

/* ---- lists ---- */

static struct stray *stray_find(const struct source *src, const char *id)
{
	for (struct stray *x = src->strays; x; x = x->next)
		if (!strcmp(x->id, id))
			return x;
	return NULL;
}

/* A machine that was proven gone is in a list again: a direct query decides whether it is (a list may
 * be older than the deletion); if so, the record is reopened. */
static void look_again(struct source *src, struct life *l)
{
	if (!state_terminal((enum session_state)l->s.state) || l->o.call_busy ||
	    src->list_begun_us <= l->s.gone_us || engine_now(src->e) < l->o.next_look_us)
		return;
	l->o.late_look_done = false;
	l->s.late_look_us = engine_now(src->e);
	life_wake(l);
}

/* False: an attempt that lives owns it, or it is dealt with elsewhere. */
static bool kind_of(struct source *src, const struct instance *in, struct life *l, int64_t attempt,
		    enum stray_kind *kind)
{
	switch (session_mark(l ? &l->s : NULL, attempt, in->id)) {
	case MARK_ORPHAN:
		*kind = STRAY_ORPHAN;
		return true;
	case MARK_NEWER:
		*kind = STRAY_NEWER;
		return true;
	case MARK_LATE:
		*kind = STRAY_LATE;
		return true;
	case MARK_RISEN:
		CHECK(l);
		look_again(src, l);
		return false;
	case MARK_OURS:
		break;
	}
	return false;
}

static struct stray *stray_add(struct source *src, const struct instance *in,
			       const char *session_id, enum stray_kind kind)
{
	struct stray *x = xcalloc(1, sizeof *x);

	x->kind = kind;
	COPY(x->id, in->id);
	COPY(x->label, in->label);
	copy_text(x->session, sizeof x->session, session_id);
	x->first_us = src->list_begun_us;
	/* It may exist since the last complete list that did not show it. */
	x->from_us = x->paid_us = src->whole_list_us ? src->whole_list_us : x->first_us;
	x->next = src->strays;
	src->strays = x;
	src->stray_count++;
	return x;
}

void stray_seen(struct source *src, const struct instance *in, const char *session_id,
		int64_t attempt)
{
	const struct session *s = engine_by_id(src->e, session_id);
	struct stray *x = stray_find(src, in->id);
	enum stray_kind kind;
	int64_t rate_u6;

	if (!in->id[0] || MUTANT(9) ||
	    (!x && !kind_of(src, in, s ? life_of(src->e, s) : NULL, attempt, &kind)))
		return;
	if (!x && src->stray_count == STRAYS_MAX)
		return;
	if (!x)
		x = stray_add(src, in, session_id, kind);
	x->seen = true;
	rate_u6 = in->rate_u6 != UNKNOWN ? in->rate_u6 : in->price_u6;
	if (rate_u6 == UNKNOWN)
		rate_u6 = s && s->price_u6 != UNKNOWN ? s->price_u6 : 0;
	pay(x, x->lists ? src->list_begun_us : x->paid_us);
	x->rate_u6 = rate_u6;
}

/* More orphans at once than an accident makes: our books are wrong rather than the cloud. */
static void brake(struct source *src)
{
	size_t fresh = 0, braked = 0;
	char subject[72], text[200];

	for (struct stray *x = src->strays; x; x = x->next)
		fresh += x->kind == STRAY_ORPHAN && x->seen && x->lists == 0;
	for (struct stray *x = src->strays; x; x = x->next) {
		if (fresh > ORPHANS_AT_ONCE && x->kind == STRAY_ORPHAN && x->seen && x->lists == 0)
			x->braked = true;
		braked += x->braked;
	}
	snprintf(subject, sizeof subject, "%s orphans", src->p->name);
	if (braked) {
		snprintf(
			text, sizeof text,
			"%zu machines of ours that no session knows appeared at once; none of them "
			"is destroyed by itself: are these the right books?",
			braked);
		engine_alarm(src->e, "brake", subject, text);
	} else if (src->orphan_brake) {
		engine_alarm_clear(src->e, "brake", subject);
	}
	src->orphan_brake = braked > 0;
}

/* This list does not show it. */
static void stray_lacking(struct source *src, struct stray *x)
{
	x->lacking++;
	if (x->busy)
		return;
	if (x->condemned && x->gone_us && src->list_begun_us > x->gone_us) {
		stray_gone(src, x);
	} else if (!x->condemned && (x->lacking >= 2 || x->gone_us)) {
		event(src->e, life_behind(src, x), NULL, "stray_left",
		      "%s (%s) is not there any more", x->id, x->label);
		stray_remove(src, x);
	}
}

bool strays_listed(struct source *src, bool complete)
{
	struct stray *next;
	bool odd = false;

	brake(src);
	for (struct stray *x = src->strays; x; x = next) {
		next = x->next;
		if (!x->seen) {
			if (complete)
				stray_lacking(src, x);
			continue;
		}
		odd = true;
		x->seen = false;
		x->lacking = 0;
		x->lists += complete;
		/* It stands, although a query said gone longer ago than lists lag. */
		if (x->gone_us && src->list_begun_us > x->gone_us + src->p->lag_us)
			x->gone_us = x->destroy_ok_us = 0;
	}
	strays_drive(src, engine_now(src->e));
	return odd;
}

/* ---- time ---- */

void strays_follow_clock(struct source *src, int64_t now_us)
{
	for (struct stray *x = src->strays; x; x = x->next) {
		clock_shorten(&x->next_us, now_us);
		clock_not_later(&x->first_us, now_us);
		clock_not_later(&x->from_us, now_us);
		clock_not_later(&x->paid_us, now_us);
		clock_not_later(&x->destroy_ok_us, now_us);
		if (x->gone_us > now_us)
			x->gone_us = 0;
	}
}

static void stray_turn(struct source *src, struct stray *x, int64_t now_us)
{
	if (!x->shown && (x->kind != STRAY_ORPHAN || is_orphan(x, now_us)))
		show(src, x);
	if (x->busy)
		return;
	if (!x->condemned && x->shown && now_us >= due_us(src, x))
		condemn(src, x, now_us);
	if (now_us < x->next_us)
		return;
	if (x->condemned && !x->destroy_ok_us) {
		stray_call(src, x, CALL_DESTROY);
	} else if (x->condemned && x->gone_us < x->destroy_ok_us) {
		stray_call(src, x, CALL_LOOK);
	} else if (x->braked && !x->asked) { /* one by one */
		x->asked = true;
		stray_call(src, x, CALL_LOOK);
	}
}

void strays_drive(struct source *src, int64_t now_us)
{
	for (struct stray *x = src->strays; x && !src->e->stopping; x = x->next)
		stray_turn(src, x, now_us);
}

static int64_t stray_next_us(const struct source *src, const struct stray *x)
{
	if (x->kind == STRAY_ORPHAN && !x->shown)
		return x->first_us + ORPHAN_AGE_US;
	if (x->busy)
		return INT64_MAX;
	if (!x->condemned)
		return x->braked && !x->asked ? x->next_us : due_us(src, x);
	return !x->destroy_ok_us || x->gone_us < x->destroy_ok_us ? x->next_us : INT64_MAX;
}

int64_t strays_next_us(const struct source *src)
{
	int64_t next = INT64_MAX;

	for (const struct stray *x = src->strays; x; x = x->next)
		if (stray_next_us(src, x) < next)
			next = stray_next_us(src, x);
	return next;
}

bool strays_await_list(const struct source *src)
{
	for (const struct stray *x = src->strays; x; x = x->next)
		if (x->condemned)
			return true;
	return false;
}
