/*
 * Calls about one machine and what their answers mean: create (once per attempt, never again),
 * look, destroy. Loop thread. Tests: tests/unit/test_engine.c.
 */
#include <string.h>

#include "internal.h"

struct call_ref {
	struct life *l;
	struct source *src;
	char label[64]; /* answers about an earlier attempt are recognised by it */
	int64_t begun_us;
	int64_t asked_us; /* monotonic; UNKNOWN: nothing was sent */
	bool late;
	struct spec spec; /* keeps what a create's arguments point into */
	char *keys;
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

/* Take over what the provider says about the machine. True if something durable changed. */
static bool take_instance(struct life *l, const struct instance *in)
{
	struct session *s = &l->s;
	bool changed = false;

	l->o.status = in->status;
	if (in->status == INST_GONE)
		return false;
	if (in->id[0] && strcmp(s->instance_id, in->id)) {
		COPY(s->instance_id, in->id);
		changed = true;
	}
	if (in->ssh_host[0] && (strcmp(s->ssh_host, in->ssh_host) || s->ssh_port != in->ssh_port)) {
		COPY(s->ssh_host, in->ssh_host);
		COPY(s->ssh_user, in->ssh_user);
		s->ssh_port = in->ssh_port;
		count_addressed(l);
		changed = true;
	}
	if (in->host_key[0] && (!s->host_key || !s->host_key[0])) {
		free(s->host_key);
		s->host_key = strdup(in->host_key);
		CHECK(s->host_key);
		changed = true;
	}
	if (in->price_u6 != UNKNOWN && in->price_u6 != s->price_u6) {
		s->price_u6 = in->price_u6;
		changed = true;
	}
	if (in->status == INST_RUNNING && !s->booted_us) {
		s->booted_us = engine_now(l->e);
		changed = true;
	}
	return changed;
}

/* ---- create ---- */

static void create_refused(struct life *l, const struct result *res)
{
	struct session *s = &l->s;

	s->instance_state = I_NONE;
	s->asked_us = 0;
	s->attempt_cause = res->error == PE_STALE_OFFER || res->error == PE_GONE ? END_NO_OFFER
										 : END_REFUSED;
	if (s->attempt_cause == END_NO_OFFER)
		life_reason(l, "offer taken: %s", res->text);
	else
		life_reason(l, "create refused: %s", res->text);
	event(l->e, l, NULL, "create_refused", "%s", res->text);
}

static void create_done(void *arg, const struct result *res)
{
	struct call_ref *r = arg;
	struct life *l = r->l;
	struct session *s = &l->s;

	source_note(r->src, res, CALL_CREATE, r->asked_us);
	l->o.call_busy = false;
	if (!ref_current(r)) {
		ref_free(r);
		return;
	}
	switch (res->verdict) {
	case SURE_YES:
		CHECK(res->count == 1);
		s->instance_state = I_EXISTS;
		take_instance(l, &res->instances[0]);
		event(l->e, l, NULL, "created", "%s at %s", s->instance_id, r->src->p->name);
		if (s->state == S_PROVISIONING)
			life_reason(l, "the machine is starting");
		break;
	case SURE_NO:
	case KEY_DEAD:
		create_refused(l, res);
		break;
	case LATER: /* not done, may be tried again: under a new label */
		s->instance_state = I_NONE;
		s->asked_us = 0;
		l->o.next_choose_us = engine_now(l->e) + attempt_pause_us(l);
		life_reason(l, "the provider asks to wait: %s", res->text);
		break;
	case UNSURE: /* rule 2: never sent again; a list will tell */
		s->instance_state = I_UNSURE;
		life_reason(l, "the outcome of the order is unknown, looking for it: %s",
			    res->text);
		event(l->e, l, NULL, "unsure", "%s", res->text);
		/* Read an id out of every answer: something that has one costs money. */
		if (res->count == 1 && res->instances[0].id[0]) {
			s->instance_state = I_EXISTS;
			take_instance(l, &res->instances[0]);
		}
		break;
	}
	life_changed(l);
	market_refresh(r->src);
	ref_free(r);
}

void call_create(struct life *l)
{
	struct engine *e = l->e;
	struct session *s = &l->s;
	struct call_ref *r = ref_new(l);
	struct create_args args = {
		.label = s->label, .owner_uid = s->owner_uid, .owner_gid = s->owner_gid};
	struct call call = {.op = CALL_CREATE, .create = &args};
	BUF keys = {0};

	CHECK(l->o.may_create && !l->o.journal_busy && s->instance_state == I_ASKED);
	l->o.may_create = false; /* one label, one create: from here on the answer is unknown */
	l->o.call_busy = true;
	s->creates++;
	/* Billing and the session's time begin with the first create, not with its record. */
	if (s->bought_us == s->asked_us) {
		s->bought_us = engine_now(e);
		s->expires_us = s->bought_us + s->hours * HOUR_US;
	}
	s->asked_us = engine_now(e);
	args.offer = inventory_find(e->inv, s->offer_id);
	if (!args.offer) {
		struct result res = {.verdict = SURE_NO, .error = PE_STALE_OFFER};

		COPY(res.text, "it left the market");
		create_done(r, &res);
		return;
	}
	parse_spec_of(s, &r->spec, NULL);
	buf_printf(&keys, "%s\n", s->public_key ? s->public_key : "");
	if (r->spec.ssh_public_key)
		buf_printf(&keys, "%s\n", r->spec.ssh_public_key);
	CHECK(!keys.failed);
	r->keys = buf_take(&keys);
	args.authorized_keys = r->keys;
	args.env = r->spec.env;
	args.env_count = r->spec.env_count;
	r->asked_us = count_call(r->src, CALL_CREATE);
	event(e, l, NULL, "create", "%s", s->label);
	r->src->p->act(r->src->p, e->w, &call, create_done, r);
}

/* ---- look ---- */

static int64_t look_pause(const struct life *l)
{
	int64_t base = source_of(l->e, l->s.provider)->p->boot_poll_us;
	uint32_t r;

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
	forget_proof(l);
	life_state(l, S_STOPPING, "found again after it was gone", NULL);
	life_changed(l);
}

static void look_done(void *arg, const struct result *res)
{
	struct call_ref *r = arg;
	struct life *l = r->l;
	struct session *s = &l->s;
	const struct instance *in = res->count ? &res->instances[0] : NULL;

	source_note(r->src, res, CALL_LOOK, r->asked_us);
	l->o.call_busy = false;
	if (!ref_current(r)) {
		ref_free(r);
		return;
	}
	l->o.next_look_us = engine_now(l->e) + look_pause(l);
	if (res->verdict == SURE_YES && in && in->status == INST_GONE) {
		note_pair(l->o.gone_us, r->begun_us);
		l->o.status = INST_GONE;
		if (!r->late)
			set_evidence(l, res->evidence[0] ? res->evidence : res->text);
	} else if (res->verdict == SURE_YES && in) {
		l->o.gone_us[0] = l->o.gone_us[1] = 0;
		l->o.destroy_ok_us = 0; /* it still stands: the DELETE is sent again, later */
		if (s->state == S_PROVISIONING && in->status_text[0] && !l->probe)
			life_reason(l, "%s", in->status_text);
		if (take_instance(l, in))
			life_changed(l);
	} /* errors are "unknown" and change nothing (rule 4) */
	if (r->late) {
		if (res->verdict == SURE_YES && in && in->status != INST_GONE) {
			resurrected(l);
		} else if (res->verdict == SURE_YES) {
			l->o.late_look_done = true;
			s->late_look_us = 0;
			life_changed(l);
		}
	}
	life_wake(l);
	ref_free(r);
}

void forget_proof(struct life *l)
{
	memset(l->o.absent_us, 0, sizeof l->o.absent_us);
	memset(l->o.gone_us, 0, sizeof l->o.gone_us);
	l->o.destroy_ok_us = 0;
	l->o.next_look_us = l->o.next_list_us = l->o.next_destroy_us = 0;
	l->destroys = 0;
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
	r->src->p->act(r->src->p, l->e->w, &call, look_done, r);
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
	if (res->verdict == SURE_YES || res->error == PE_GONE) {
		l->o.destroy_ok_us = now;
		l->o.next_look_us = l->o.next_list_us = 0;
		if (!l->s.delete_us)
			l->s.delete_us = now;
		event(l->e, l, NULL, "deleted", "%s was accepted: %s", l->s.instance_id, res->text);
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
	r->src->p->act(r->src->p, l->e->w, &call, destroy_done, r);
}
