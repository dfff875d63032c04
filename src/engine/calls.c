/*
 * Calls about one machine and what their answers mean: create (once per attempt, never again),
 * attach, look, destroy. Loop thread. Tests: tests/unit/test_engine.c, test_engine_cloud.c.
 */
#include <stdarg.h>
#include <string.h>

#include "../core/mutant.h"
#include "internal.h"

struct call_ref {
	struct life *l;
	struct source *src;
	char label[64]; /* answers about an earlier attempt are recognised by it */
	int64_t begun_us;
	int64_t asked_us; /* monotonic; UNKNOWN: nothing was sent */
	bool late;
	/* What a create's or attach's arguments point into. */
	struct create_args args;
	struct offer offer;
	struct spec spec;
	char *keys;
	bool sent;		   /* create: its turn came and it was wanted */
	const char *unwanted;	   /* else why not */
	enum provider_error unfit; /* PE_STALE_OFFER: its offer is not what was chosen any more */
};

static struct call_ref *ref_new(struct life *l)
{
	struct call_ref *r = xcalloc(1, sizeof *r);

	r->l = l;
	r->src = source_of(l->e, l->s.provider);
	CHECK(r->src);
	r->begun_us = engine_now(l->e);
	r->asked_us = UNKNOWN;
	COPY(r->label, l->s.label);
	spec_init(&r->spec);
	l->refs++;
	return r;
}

static void ref_free(struct call_ref *r)
{
	spec_free(&r->spec);
	free(r->keys);
	life_unref(r->l);
	free(r);
}

/* Everything after the answer is common: is it still about the present attempt? */
static bool ref_current(const struct call_ref *r)
{
	return !r->l->dead && !r->l->e->stopping && !strcmp(r->l->s.label, r->label);
}

/* ---- create ---- */

/* Words about the attempt, unless something more important stands there: why the session ends. */
__attribute__((format(printf, 2, 3))) static void attempt_reason(struct life *l, const char *fmt,
								 ...)
{
	char text[sizeof l->s.reason];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	if (l->s.state == S_PROVISIONING)
		life_reason(l, "%s", text);
}

/* It never left, or the provider was to be asked again later: nothing was made, and the session's time
 * has not begun by it. */
static void create_undone(struct session *s)
{
	if (s->bought_us == s->asked_us)
		s->bought_us = s->expires_us = 0;
	s->instance_state = I_NONE;
	s->asked_us = 0;
}

void offer_taken(struct source *src, const struct session *s)
{
	if (src->p->dialect) /* what is left at a native provider only a new list tells */
		market_offer_gone(src, s->offer_id);
}

static enum end_cause refusal_cause(const struct result *res)
{
	if (res->verdict == KEY_DEAD)
		return END_KEY;
	switch (res->error) {
	case PE_STALE_OFFER:
	case PE_GONE:
		return END_NO_OFFER;
	case PE_MONEY:
		return END_MONEY;
	case PE_AUTH:
		return END_KEY;
	case PE_NONE:
	case PE_RATE:
	case PE_UNAVAILABLE:
	case PE_INVALID:
	case PE_UNKNOWN:
	case PE_COUNT:
		break;
	}
	return END_REFUSED;
}

static void create_refused(struct life *l, struct source *src, const struct result *res)
{
	struct session *s = &l->s;

	s->instance_state = I_NONE;
	s->asked_us = 0;
	s->attempt_cause = refusal_cause(res);
	if (s->attempt_cause == END_NO_OFFER) {
		attempt_reason(l, "offer taken: %s", res->text);
		offer_taken(src, s);
	} else {
		attempt_reason(l, "create refused: %s", res->text);
	}
	event(l->e, l, NULL, "create_refused", "%s", res->text);
}

/* Refused only for the way in which it was to be reached, and there is another: a new attempt at the same
 * offer takes that. */
static bool create_other_reach(struct call_ref *r, const struct result *res)
{
	struct life *l = r->l;
	struct session *s = &l->s;

	if (res->verdict != SURE_NO || !res->other_reach || !s->reach)
		return false;
	l->reach_tried |= (unsigned)s->reach;
	if (!(r->offer.reach & ~l->reach_tried))
		return false;
	create_undone(s);
	l->o.next_choose_us = engine_now(l->e);
	attempt_reason(l, "it is tried with another way to be reached: %s", res->text);
	event(l->e, l, NULL, "create_refused", "%s; another way to be reached is tried", res->text);
	return true;
}

/* Its turn came and it was not wanted any more, or not at these terms. Nothing was sent. */
static void create_withdrawn(struct call_ref *r)
{
	struct life *l = r->l;

	event(l->e, l, NULL, "withdrawn", "%s", r->unwanted);
	create_undone(&l->s);
	/* Whoever did not name an offer takes the next one, as at the purchase: somebody else bought it
	 * while this waited its turn, and that is not what retries are for. */
	if (r->unfit == PE_STALE_OFFER && !r->spec.offer[0]) {
		l->o.next_choose_us = engine_now(l->e);
		attempt_reason(l, "another offer is chosen: %s", r->unwanted);
		return;
	}
	if (r->unfit == PE_STALE_OFFER) {
		l->s.attempt_cause = END_NO_OFFER;
		attempt_reason(l, "offer taken: %s", r->unwanted);
		return;
	}
	l->o.next_choose_us = engine_now(l->e) + attempt_pause_us(l);
	attempt_reason(l, "not bought: %s", r->unwanted);
}

/* Something with an id exists and costs, whatever else the answer says. */
static void create_exists(struct call_ref *r, const struct result *res)
{
	struct life *l = r->l;
	struct session *s = &l->s;

	s->instance_state = I_EXISTS;
	/* Give lists a moment to show it. */
	l->o.next_list_us = engine_now(l->e) + POLL_MIN_US;
	take_instance(l, &res->instances[0], r->begun_us);
	event(l->e, l, NULL, "created", "%s at %s", s->instance_id, r->src->p->name);
	if (res->verdict != SURE_YES)
		event(l->e, l, NULL, "unsure", "it exists, although the answer was: %s", res->text);
	attempt_reason(l, "the machine is starting");
	offer_taken(r->src, s);
}

static void create_unsure(struct life *l, const struct result *res)
{
	l->s.instance_state = I_UNSURE; /* rule 2: never sent again; a list will tell */
	attempt_reason(l, "the outcome of the order is unknown, looking for it: %s", res->text);
	event(l->e, l, NULL, "unsure", "%s", res->text);
}

static void create_answered(struct call_ref *r, const struct result *res)
{
	struct life *l = r->l;

	if (res->count && res->instances && res->instances[0].id[0]) {
		create_exists(r, res);
		return;
	}
	if (!r->sent && r->unwanted) {
		create_withdrawn(r);
		return;
	}
	switch (MUTANT(1) && res->verdict == UNSURE ? LATER : res->verdict) {
	case SURE_NO:
	case KEY_DEAD:
		if (!create_other_reach(r, res))
			create_refused(l, r->src, res);
		break;
	case LATER: /* not done, may be tried again: under a new label */
		create_undone(&l->s);
		l->o.next_choose_us = engine_now(l->e) + attempt_pause_us(l);
		attempt_reason(l, "the provider asks to wait: %s", res->text);
		event(l->e, l, NULL, "create_later", "%s", res->text);
		break;
	case SURE_YES: /* without an id it is not sure */
	case UNSURE:
		create_unsure(l, res);
		break;
	}
}

static void create_done(void *arg, const struct result *res)
{
	struct call_ref *r = arg;
	struct life *l = r->l;

	source_note(r->src, res, CALL_CREATE, r->asked_us);
	l->o.call_busy = false;
	index_order_drop(l);
	if (ref_current(r)) {
		create_answered(r, res);
		life_changed(l);
		if (!r->src->p->dialect)
			market_refresh(r->src);
	}
	ref_free(r);
}

static bool unwanted(struct call_ref *r, enum provider_error unfit, const char *why)
{
	r->unfit = unfit;
	r->unwanted = why;
	return false;
}

/* UNKNOWN: not to be had any more. */
static int64_t price_now(const struct offer *o, const struct session *s)
{
	const struct shape shape = {s->disk_gb, s->vcpus, s->ram_gb};

	if (s->bid_u6 != UNKNOWN && s->bid_u6 < o->min_bid_u6)
		return UNKNOWN;
	return price_of(o, &shape, s->bid_u6);
}

/* Is it still wanted, at the terms of its choice? It may have waited its turn for minutes. */
static bool still_wanted(struct call_ref *r)
{
	struct session *s = &r->l->s;
	const struct offer *o = inventory_find(r->l->e->inv, s->offer_id);
	int64_t price_u6 = o ? price_now(o, s) : UNKNOWN;

	if (!ref_current(r) || s->state != S_PROVISIONING || s->attempt_cause ||
	    s->instance_state != I_ASKED)
		return unwanted(r, PE_NONE, "it is not wanted any more");
	if (!r->src->enabled)
		return unwanted(r, PE_NONE, "the provider was switched off");
	if (engine_now(r->l->e) >= s->start_by_us)
		return unwanted(r, PE_NONE, "its turn came too late");
	if (!o || !o->available)
		return unwanted(r, PE_STALE_OFFER, "it left the market");
	if (price_u6 == UNKNOWN || price_u6 > s->cap_u6)
		return unwanted(r, PE_STALE_OFFER, "it costs more than the cap now");
	return true;
}

/* The last word before the first byte of a create leaves. Billing and the session's time begin here,
 * not with the attempt's record. */
static bool create_go(void *arg)
{
	struct call_ref *r = arg;
	struct life *l = r->l;
	struct session *s = &l->s;
	bool first = s->bought_us == s->asked_us;

	CHECK(!r->sent);
	if (!still_wanted(r))
		return false;
	r->sent = true;
	r->begun_us = s->asked_us = engine_now(l->e);
	if (first) {
		s->bought_us = s->asked_us;
		s->expires_us = s->bought_us + s->hours * HOUR_US;
	}
	s->creates++;
	r->asked_us = count_call(r->src, CALL_CREATE);
	event(l->e, l, NULL, "create", "%s", s->label);
	/* After minutes in the limiter the record is to say when it left; a native provider's turn
	 * comes at once, and the record says that already. */
	if (r->src->p->dialect)
		life_changed(l);
	return true;
}

static void create_fill(struct call_ref *r)
{
	const struct session *s = &r->l->s;
	const struct spec *sp = &r->spec;
	BUF keys = {0};

	parse_spec_of(s, &r->spec, NULL);
	buf_printf(&keys, "%s\n", s->public_key ? s->public_key : "");
	if (sp->ssh_public_key)
		buf_printf(&keys, "%s\n", sp->ssh_public_key);
	CHECK(!keys.failed);
	r->keys = buf_take(&keys);
	r->args = (struct create_args){
		.label = r->label,
		.offer = &r->offer,
		.owner_uid = s->owner_uid,
		.owner_gid = s->owner_gid,
		.authorized_keys = r->keys,
		.env = sp->env,
		.env_count = sp->env_count,
		.shape = {s->disk_gb, s->vcpus, s->ram_gb},
		.reach = (unsigned)s->reach,
		.image = sp->image[0] ? sp->image : r->src->p->account.image,
		.template_id = sp->template_id[0] ? sp->template_id : NULL,
		.on_start = sp->on_start,
		.ports = sp->ports,
		.port_count = sp->port_count,
		.bid_u6 = s->bid_u6,
	};
}

void call_create(struct life *l)
{
	struct session *s = &l->s;
	struct call_ref *r = ref_new(l);
	struct call call = {.op = CALL_CREATE, .create = &r->args};
	const struct offer *o = inventory_find(l->e->inv, s->offer_id);

	CHECK(l->o.may_create && (MUTANT(4) || !l->o.journal_busy) && s->instance_state == I_ASKED);
	l->o.may_create = false; /* one label, one create: from here on the answer is unknown */
	l->o.call_busy = true;
	if (o)
		r->offer = *o;
	create_fill(r);
	if (r->src->p->dialect && o) {
		call.go = create_go;
	} else if (!o || !create_go(r)) { /* native providers do not ask */
		struct result res = {.verdict = SURE_NO};

		if (!o)
			unwanted(r, PE_STALE_OFFER, "it left the market");
		create_done(r, &res);
		return;
	}
	source_act(r->src, &call, create_done, r);
}

/* ---- attach ---- */

static void attach_done(void *arg, const struct result *res)
{
	struct call_ref *r = arg;
	struct life *l = r->l;
	uint32_t chance;

	source_note(r->src, res, CALL_ATTACH, r->asked_us);
	if (!ref_current(r)) {
		ref_free(r);
		return;
	}
	l->o.attach_busy = false;
	if (res->verdict == SURE_YES && res->error == PE_NONE) {
		l->s.attached++;
		l->attach_failures = 0;
		l->o.next_attach_us = l->o.next_probe_us = 0;
		event(l->e, l, NULL, "attached", "key %d of %d", (int)l->s.attached,
		      (int)l->o.keys);
	} else {
		l->e->w->random(l->e->w->self, &chance, sizeof chance);
		l->o.next_attach_us = engine_now(l->e) + backoff_us(2 * POLL_MIN_US, ATTACH_MAX_US,
								    l->attach_failures, chance);
		if (!l->attach_failures++)
			event(l->e, l, NULL, "attach_failed", "%s; it is tried again", res->text);
		if (l->s.state == S_PROVISIONING && !l->s.attempt_cause)
			life_reason(l, "its key is not on the machine yet: %s", res->text);
	}
	life_changed(l);
	ref_free(r);
}

/* Our own key first: it is what the login is verified with. */
void call_attach(struct life *l)
{
	struct call_ref *r = ref_new(l);
	struct call call = {.op = CALL_ATTACH, .instance_id = l->s.instance_id};

	parse_spec_of(&l->s, &r->spec, NULL);
	call.public_key = l->s.public_key;
	if (l->s.attached > 0)
		call.public_key = r->spec.ssh_public_key;
	CHECK(call.public_key && l->s.attached < l->o.keys);
	r->keys = strdup(call.public_key);
	CHECK(r->keys);
	call.public_key = r->keys;
	l->o.attach_busy = true;
	r->asked_us = count_call(r->src, CALL_ATTACH);
	source_act(r->src, &call, attach_done, r);
}

/* ---- look ---- */

static int64_t look_pause(const struct life *l)
{
	int64_t base = source_of(l->e, l->s.provider)->p->boot_poll_us;
	uint32_t r;

	if (l->o.by_list) /* a direct query is the exception there: lists tell */
		return LOOK_MAX_US;
	if (l->s.state == S_STOPPING || l->s.attempt_cause)
		base = LIST_PAUSE_US;
	l->e->w->random(l->e->w->self, &r, sizeof r);
	return backoff_us(base, LOOK_MAX_US, (unsigned)(l->s.looks > 20 ? 20 : l->s.looks) / 2, r);
}

static void set_evidence(struct life *l, const char *text)
{
	BUF b = {0};

	put_time(&b, engine_now(l->e));
	buf_printf(&b, " %s", text);
	free(l->s.evidence);
	l->s.evidence = buf_take(&b);
}

/* The late look found it: the record is reopened, and it is destroyed again. */
static void resurrected(struct life *l)
{
	engine_alarm(l->e, "resurrection", l->s.name,
		     "a machine that was proven gone is there again; it is being destroyed");
	l->s.instance_state = I_EXISTS;
	l->s.gone_us = l->s.delete_us = 0;
	if (!l->s.asked_us) /* its first life is in the sums already: from here on it is billed anew */
		l->s.asked_us = engine_now(l->e);
	forget_proof(l);
	life_state(l, S_STOPPING, "found again after it was gone", NULL);
	life_changed(l);
}

/* It was asked for directly and stands. */
static void look_alive(struct life *l, const struct instance *in, int64_t begun_us)
{
	bool leaving = is_leaving(l, in), changed = !leaving && l->s.delete_us != 0;

	seen_alive(l);
	/* The DELETE that was accepted had no effect: it is sent again, later, and billing goes on. */
	if (!leaving)
		l->o.destroy_ok_us = l->s.delete_us = 0;
	changed |= take_instance(l, in, begun_us);
	if (changed)
		life_changed(l);
}

static void look_done(void *arg, const struct result *res)
{
	struct call_ref *r = arg;
	struct life *l = r->l;
	struct session *s = &l->s;
	bool gone = says_gone(res);
	const struct instance *in = !gone && res->verdict == SURE_YES && res->count
					    ? &res->instances[0]
					    : NULL;

	source_note(r->src, res, CALL_LOOK, r->asked_us);
	l->o.call_busy = false;
	if (!ref_current(r)) {
		ref_free(r);
		return;
	}
	l->o.next_look_us = engine_now(l->e) + look_pause(l);
	if (gone) {
		note_pair(l->o.gone_us, r->begun_us);
		l->o.status = INST_GONE;
		if (!r->late)
			set_evidence(l, res->evidence[0] ? res->evidence : res->text);
	} else if (in && !r->late) {
		look_alive(l, in, r->begun_us);
	} /* errors are "unknown" and change nothing (rule 4) */
	if (r->late && in) {
		resurrected(l);
	} else if (r->late && gone) {
		l->o.late_look_done = true;
		s->late_look_us = 0;
		life_changed(l);
	}
	life_wake(l);
	ref_free(r);
}

void forget_proof(struct life *l)
{
	seen_alive(l);
	l->o.destroy_ok_us = 0;
	l->o.next_look_us = l->o.next_list_us = l->o.next_destroy_us = 0;
	l->destroys = l->polls = 0;
}

void call_look(struct life *l, bool late)
{
	struct call_ref *r = ref_new(l);
	struct call call = {.op = CALL_LOOK, .instance_id = l->s.instance_id};

	r->late = late;
	l->o.call_busy = true;
	l->s.looks++;
	r->asked_us = count_call(r->src, CALL_LOOK);
	if (late) /* an unanswered one is repeated after the usual pause */
		l->s.late_look_us = r->begun_us + LATE_LOOK_US;
	source_act(r->src, &call, look_done, r);
}

/* ---- destroy ---- */

#define NOT_GONE " (not gone yet: "

/* Why it ends stays readable in front of what is in the way. */
static void not_gone_yet(struct life *l, const char *text)
{
	char cause[128];

	reason_settled(l);
	COPY(cause, l->s.reason);
	life_reason(l, "%s" NOT_GONE "%s)", cause, text);
}

void reason_settled(struct life *l)
{
	char *at = strstr(l->s.reason, NOT_GONE);

	if (at)
		*at = '\0';
}

static void destroy_done(void *arg, const struct result *res)
{
	struct call_ref *r = arg;
	struct life *l = r->l;
	int64_t now = engine_now(l->e);
	uint32_t chance;

	source_note(r->src, res, CALL_DESTROY, r->asked_us);
	l->o.call_busy = false;
	if (!ref_current(r)) {
		ref_free(r);
		return;
	}
	if (res->verdict == SURE_YES || says_gone(res)) {
		l->o.destroy_ok_us = now;
		l->o.next_look_us = 0;
		/* Its effect is visible within seconds: a list at once would be wasted. */
		l->o.next_list_us = l->o.by_list ? now + POLL_MIN_US : 0;
		l->polls = 0;
		/* It existed until now, whatever an earlier DELETE was told; what had gone by itself
		 * cost until the first list without it. */
		if (!says_gone(res))
			l->s.delete_us = now;
		else if (!l->s.delete_us)
			l->s.delete_us = l->o.absent_since_us ? l->o.absent_since_us : now;
		event(l->e, l, NULL, "deleted", "%s was accepted%s%s", l->s.instance_id,
		      res->text[0] ? ": " : "", res->text);
	} else {
		not_gone_yet(l, res->text);
		count_destroy_failed(l);
		event(l->e, l, NULL, "destroy_failed", "%s", res->text);
	}
	l->e->w->random(l->e->w->self, &chance, sizeof chance);
	/* Back-off, full jitter, for ever (faults.md, Destroying, 2). */
	l->o.next_destroy_us = now + backoff_us(SECOND_US, DESTROY_MAX_US, l->destroys, chance);
	l->destroys++;
	life_changed(l);
	ref_free(r);
}

void call_destroy(struct life *l)
{
	struct call_ref *r = ref_new(l);
	struct call call = {.op = CALL_DESTROY, .instance_id = l->s.instance_id};

	l->o.call_busy = true;
	l->s.deletes++;
	r->asked_us = count_call(r->src, CALL_DESTROY);
	event(l->e, l, NULL, "delete", "%s", l->s.instance_id);
	source_act(r->src, &call, destroy_done, r);
}
