/*
 * Orders and the journal: when an order is durable, who is answered, what happens when the disk is
 * slow or full. Memory is the state, the store its journal. Three kinds (internal.h): a draft's
 * business is answered after 200 ms at the latest; an end is carried out from memory whatever the
 * disk does; a purchase or extension changes nothing before its record is durable, and one that
 * lands after its asker was told EIO is revoked by a second record before anything acts on it. Loop
 * thread. Tests: tests/unit/test_engine.c (slow, failing and full journals).
 */
#include <string.h>

#include "../core/mutant.h"
#include "internal.h"

struct order {
	struct order *next;
	struct engine *e;
	struct life *l; /* one ref, or NULL */
	enum order_kind kind;
	struct session swap;
	bool has_swap, answered, tried_again;
	int64_t base_us; /* changed_us of the record that the swap was made from */
	int err;
	struct error why;
	void (*landed)(struct life *l);
	order_cb cb;
	void *arg;
	struct timer *timer;
};

static void order_unlink(struct order *o)
{
	for (struct order **p = &o->e->orders; *p; p = &(*p)->next) {
		if (*p != o)
			continue;
		*p = o->next;
		return;
	}
}

static void order_free(struct order *o)
{
	struct world *w = o->e->w;

	order_unlink(o);
	w->timer_free(w->self, o->timer);
	if (o->has_swap)
		session_free(&o->swap);
	if (o->l)
		life_unref(o->l);
	free(o);
}

static void order_reply(struct order *o, int err, const struct error *why)
{
	order_cb cb = o->cb;

	o->answered = true;
	o->e->w->timer_set(o->e->w->self, o->timer, -1);
	o->cb = NULL;
	if (cb)
		cb(o->arg, err, why);
}

static int not_durable(struct error *why, const char *what)
{
	return fail(why, ERR_NOT_DURABLE,
		    "the database did not take it (%s), so nothing was ordered; try again when the "
		    "disk is well",
		    what);
}

static void order_late(void *arg)
{
	struct order *o = arg;
	struct error why = {0};

	if (o->answered)
		return;
	switch (o->kind) {
	case ORDER_SOFT:
		order_reply(o, 0, NULL);
		return;
	case ORDER_FIRM:
		o->e->w->journal_ballast(o->e->w->self);
		fail(&why, ERR_NOT_DURABLE,
		     "the disk is too slow to record this order within 2 s; it is carried out all "
		     "the same, and the directory stays until the record is safe");
		break;
	case ORDER_ERASE:
		fail(&why, ERR_NOT_DURABLE,
		     "the disk is too slow to record this within 2 s; the draft goes when it is");
		break;
	case ORDER_SWAP:
		not_durable(&why, "it is too slow");
		/* Queued behind the order's own record, so whatever the disk does, the last word
		 * about this session is the state before the order. */
		if (o->l)
			life_put(o->l);
		break;
	}
	order_reply(o, -EIO, &why);
}

static struct order *order_new(struct engine *e, enum order_kind kind, order_cb cb, void *arg)
{
	struct order *o = xcalloc(1, sizeof *o);

	o->e = e;
	o->kind = kind;
	o->cb = cb;
	o->arg = arg;
	o->timer = e->w->timer_new(e->w->self, order_late, o);
	o->next = e->orders;
	e->orders = o;
	return o;
}

/* ---- a session's row ---- */

/* A removal stands in the record from the order on, but in memory only once that is durable. */
static void life_pack(struct life *l, struct journal_op *op)
{
	CHECK(l != NULL);
	int64_t removed_us = l->s.removed_us;

	if (l->want_removed_us)
		l->s.removed_us = l->want_removed_us;
	CHECK(session_pack(&l->s, op) == 0);
	l->s.removed_us = removed_us;
}

void life_removed(struct life *l)
{
	if (!l->want_removed_us)
		return;
	l->s.removed_us = l->want_removed_us;
	l->want_removed_us = 0;
	l->removal_retry = false;
	tell(l->e, CH_SESSION_ENDED, &l->s, NULL);
	tell_soon(l->e, CH_STATUS);
}

static void put_done(void *arg, int err)
{
	struct life *l = arg;

	CHECK(l->puts > 0);
	l->puts--;
	l->o.journal_busy = l->puts > 0 || l->dirty;
	if (err && !l->dead) {
		l->dirty = true;
		l->o.journal_busy = true;
		l->next_put_us = engine_now(l->e) + SECOND_US;
		engine_alarm(l->e, "disk", "database",
			     "the database cannot be written: new purchases are refused, orders to "
			     "destroy are carried out from memory; free some space");
	} else if (!err) {
		engine_alarm_clear(l->e, "disk", "database");
		if (!l->dead && l->removal_retry)
			life_removed(l);
	}
	if (!l->dead && !l->e->stopping)
		life_wake(l);
	life_unref(l);
}

void life_put(struct life *l)
{
	struct journal_op op;
	struct world *w = l->e->w;

	if (l->dead)
		return;
	if (l->erasing) {
		l->dirty = true;
		return;
	}
	life_pack(l, &op);
	l->dirty = false;
	l->puts++;
	l->refs++;
	l->o.journal_busy = true;
	w->journal(w->self, &op, put_done, l);
}

/* The purchase or extension is on disk: make it true, unless it was revoked or overtaken. */
static bool swap_landed(struct order *o)
{
	struct life *l = o->l;
	struct error why;

	l->ordering = false;
	if (o->answered) /* its asker was told EIO: the record that revokes it is queued already */
		return false;
	if (l->s.changed_us != o->base_us) {
		life_put(l);
		fail(&why, ERR_BUSY,
		     "the session changed while the order was being recorded (it is %s now); "
		     "nothing was ordered, look and try again",
		     state_name((enum session_state)l->s.state));
		order_reply(o, -EBUSY, &why);
		return false;
	}
	session_free(&l->s);
	l->s = o->swap;
	o->has_swap = false;
	return true;
}

static void order_failed(struct order *o, int err)
{
	struct life *l = o->l;
	struct error why = {0};

	if (l && (o->kind == ORDER_SWAP || o->kind == ORDER_ERASE)) {
		l->ordering = l->erasing = false;
	} else if (l && !l->dead) {
		l->dirty = true;
		l->o.journal_busy = true;
		l->next_put_us = engine_now(o->e) + SECOND_US;
		l->removal_retry = l->want_removed_us != 0;
	}
	if (o->kind == ORDER_FIRM)
		fail(&why, ERR_NOT_DURABLE,
		     "the database did not take this order (%s); it is carried out from memory all "
		     "the same, and the directory stays until the record is safe",
		     strerror(-err));
	else
		not_durable(&why, strerror(-err));
	if (!o->answered)
		order_reply(o, MUTANT(10) ? 0 : -EIO, &why);
}

static void order_done(void *arg, int err);

/* A full disk must not stop an order to destroy: free the reserve and write it once more. */
static bool order_again(struct order *o)
{
	struct world *w = o->e->w;
	struct journal_op op;

	if (o->kind != ORDER_FIRM || o->tried_again || !w->journal_ballast(w->self))
		return false;
	o->tried_again = true;
	event(o->e, o->l, NULL, "ballast",
	      "the disk is full: the reserve beside the database was freed");
	life_pack(o->l, &op);
	o->l->puts++;
	w->journal(w->self, &op, order_done, o);
	return true;
}

static void order_done(void *arg, int err)
{
	struct order *o = arg;
	struct life *l = o->l;
	bool late = o->answered;

	if (l) {
		l->puts--;
		l->o.journal_busy = l->puts > 0 || l->dirty;
	}
	if (err && order_again(o))
		return;
	if (err) {
		order_failed(o, err);
	} else {
		bool apply = l && !l->dead;

		if (apply && o->kind == ORDER_SWAP)
			apply = swap_landed(o);
		if (apply && o->kind == ORDER_ERASE)
			life_drop(l);
		if (apply && o->landed)
			o->landed(l);
		if (!o->answered)
			order_reply(o, 0, NULL);
	}
	if (l && !l->dead && late) /* whoever was told EIO may order again from here on */
		tell(o->e, CH_SESSION, &l->s, NULL);
	if (l && !l->dead && !o->e->stopping)
		life_wake(l);
	order_free(o);
}

void order_put(struct life *l, enum order_kind kind, struct session *next,
	       void (*landed)(struct life *l), order_cb cb, void *arg)
{
	struct order *o = order_new(l->e, kind, cb, arg);
	struct world *w = l->e->w;
	struct journal_op op;

	CHECK((next != NULL) == (kind == ORDER_SWAP));
	o->l = l;
	l->refs++;
	o->landed = landed;
	if (next) {
		CHECK(!l->ordering);
		o->swap = *next;
		o->base_us = l->s.changed_us;
		o->swap.changed_us = o->base_us + 1;
		o->has_swap = true;
		l->ordering = true;
	}
	if (next)
		CHECK(session_pack(&o->swap, &op) == 0);
	else
		life_pack(l, &op);
	if (!next)
		l->dirty = false;
	l->puts++;
	l->o.journal_busy = true;
	w->timer_set(w->self, o->timer, kind == ORDER_SOFT ? DRAFT_LIMIT_US : ORDER_LIMIT_US);
	w->journal(w->self, &op, order_done, o);
}

void order_erase(struct life *l, order_cb cb, void *arg)
{
	struct order *o = order_new(l->e, ORDER_ERASE, cb, arg);
	struct journal_op op = {.table = J_SESSION, .erase = true};
	struct world *w = l->e->w;

	CHECK(!l->ordering);
	CHECK(journal_op_text(&op, l->s.id, strlen(l->s.id)) == 0);
	o->l = l;
	l->refs++;
	l->puts++;
	l->ordering = l->erasing = true;
	l->dirty = false;
	w->timer_set(w->self, o->timer, ORDER_LIMIT_US);
	w->journal(w->self, &op, order_done, o);
}

void order_op(struct engine *e, struct journal_op *op, int64_t limit_us, order_cb cb, void *arg)
{
	struct order *o = order_new(e, ORDER_SOFT, cb, arg);

	e->w->timer_set(e->w->self, o->timer, limit_us);
	e->w->journal(e->w->self, op, order_done, o);
}

static void answer_now(void *arg)
{
	struct order *o = arg;

	order_reply(o, o->err, &o->why);
	order_free(o);
}

void order_answer(struct engine *e, int err, const struct error *why, order_cb cb, void *arg)
{
	struct order *o = order_new(e, ORDER_SOFT, cb, arg);
	struct world *w = e->w;

	o->err = err;
	if (why)
		o->why = *why;
	w->timer_free(w->self, o->timer);
	o->timer = w->timer_new(w->self, answer_now, o);
	w->timer_set(w->self, o->timer, 0);
}

struct relay *relay_new(struct life *l, order_cb cb, void *arg)
{
	struct relay *r = xcalloc(1, sizeof *r);

	*r = (struct relay){.next = l->e->relays, .l = l, .cb = cb, .arg = arg};
	l->e->relays = r;
	l->refs++;
	return r;
}

static void relay_free(struct relay *r)
{
	struct relay **p = &r->l->e->relays;

	while (*p != r)
		p = &(*p)->next;
	*p = r->next;
	life_unref(r->l);
	free(r);
}

void relay_answer(struct relay *r, int err, const struct error *why)
{
	if (r->cb)
		r->cb(r->arg, err, why);
	relay_free(r);
}

void engine_forget(struct engine *e, order_cb cb, void *arg)
{
	for (struct order *o = e->orders; o; o = o->next)
		if (o->cb == cb && o->arg == arg)
			o->cb = NULL;
	for (struct relay *r = e->relays; r; r = r->next)
		if (r->cb == cb && r->arg == arg)
			r->cb = NULL;
}

void orders_stop(struct engine *e)
{
	for (struct order *o = e->orders; o; o = o->next) {
		o->cb = NULL;
		o->answered = true;
		e->w->timer_set(e->w->self, o->timer, -1);
	}
	for (struct relay *r = e->relays; r; r = r->next)
		r->cb = NULL;
}

/* At the very end: what no answer of the journal has freed. */
void orders_free(struct engine *e)
{
	while (e->orders)
		order_free(e->orders);
	while (e->relays)
		relay_free(e->relays);
}
