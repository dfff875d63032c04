/*
 * Buying: what a spec means for this caller now, the plan, the commit, and the choice of the offer
 * for each attempt. One function (buy_evaluate) answers for plan, commit and choice alike, so that
 * plan cannot promise what commit refuses. Loop thread. Tests: tests/unit/test_engine.c.
 */
#include <string.h>

#include "pick.h"

/* What the spec amounts to now. offer NULL with err 0: none matches yet, and the spec waits. */
struct purchase {
	struct spec spec;
	const struct offer *offer;
	int64_t price_u6; /* of a machine for this spec there */
	struct shape shape;
	int64_t hours, cap_u6, hard_max_us;
};

int parse_spec_of(const struct session *s, struct spec *out, struct error *why)
{
	enum spec_end end;

	return spec_parse(s->spec ? s->spec : "", s->spec ? strlen(s->spec) : 0, out, &end, why);
}

bool in_list(const char *list, const char *word)
{
	size_t n = strlen(word);

	for (const char *p = list; n && p && (p = strstr(p, word)); p += n)
		if ((p == list || p[-1] == ',') && (p[n] == ',' || !p[n]))
			return true;
	return false;
}

/* Rights and ranges that only the engine knows; the parser checked the rest. */
static int check_rights(struct engine *e, const struct caller *who, const struct spec *sp,
			struct error *why)
{
	const struct policy *p = e->p;
	const struct offer *o;

	if (sp->override_hard_max && !who->admin)
		return fail(
			why, ERR_FORBIDDEN,
			"override_hard_max=1: only an administrator may set it; leave it out and "
			"ask for at most %d hours",
			(int)(p->hard_max_us / HOUR_US));
	if (sp->hours != UNKNOWN && !sp->override_hard_max && sp->hours * HOUR_US > p->hard_max_us)
		return fail(why, ERR_RANGE,
			    "hours=%d: at most %d (HARD_MAX_HOURS); an administrator may add "
			    "override_hard_max=1",
			    (int)sp->hours, (int)(p->hard_max_us / HOUR_US));
	if (sp->consumer && !who->admin && strcmp(sp->consumer, who->name)) {
		if (in_list(p->protected_consumers, sp->consumer))
			return fail(why, ERR_FORBIDDEN,
				    "consumer=%s is protected (PROTECTED_CONSUMERS): only an "
				    "administrator may use it; choose another word",
				    sp->consumer);
		for (size_t i = 0; i < e->life_count; i++)
			if (e->lives[i]->s.owner_uid != who->uid &&
			    !strcmp(e->lives[i]->s.owner_name, sp->consumer))
				return fail(why, ERR_FORBIDDEN,
					    "consumer=%s is the name of another user: choose "
					    "another word, or ask an administrator",
					    sp->consumer);
	}
	if (!sp->offer[0])
		return 0;
	o = inventory_find(e->inv, sp->offer);
	return o ? pick_check(e, o, sp, false, why) : pick_missing(e, sp->offer, why);
}

static int check_counts(const struct engine *e, const struct session *s, struct error *why)
{
	int64_t all = 0, mine = 0;

	for (size_t i = 0; i < e->life_count; i++) {
		if (!session_living(&e->lives[i]->s) && !e->lives[i]->ordering)
			continue;
		if (&e->lives[i]->s == s)
			continue;
		all++;
		mine += e->lives[i]->s.owner_uid == s->owner_uid;
	}
	if (all >= e->p->max_sessions)
		return fail(why, ERR_QUOTA,
			    "%d sessions live already, which is all that MAX_SESSIONS allows; wait "
			    "for one to end",
			    (int)all);
	if (mine >= e->p->max_sessions_per_user)
		return fail(why, ERR_QUOTA,
			    "you have %d living sessions, which is all that MAX_SESSIONS_PER_USER "
			    "allows; end one first",
			    (int)mine);
	return 0;
}

/* What the spec does not say yet; NULL: it is complete. */
static const char *spec_lacks(const struct engine *e, const struct spec *sp)
{
	if (sp->hours == UNKNOWN && e->p->default_hours == UNKNOWN)
		return "the spec does not say hours=N yet";
	if (!sp->offer[0] && !(sp->query.set & UINT32_C(1) << Q_MAX_PRICE) &&
	    (!sp->query.set || e->p->default_max_price_u6 == UNKNOWN))
		return "the spec needs offer=ID, or max_price=USD with the other conditions";
	if (spec_interruptible(sp) && sp->bid_u6 == UNKNOWN)
		return "interruptible=1 needs bid=USD, what you pay for an hour at most";
	if (!spec_interruptible(sp) && sp->bid_u6 != UNKNOWN)
		return "bid= needs interruptible=1: such a machine can be taken away";
	return NULL;
}

/* The offer, its price and the cap. */
static int choose(const struct engine *e, const struct session *s, struct purchase *b,
		  struct error *why)
{
	const struct query *q = &b->spec.query;
	bool capped = q->set & UINT32_C(1) << Q_MAX_PRICE;
	struct pick p = {.e = e, .s = s, .sp = &b->spec, .hours = b->hours};
	int err;

	p.cap_u6 = capped	      ? q->num[Q_MAX_PRICE]
		   : b->spec.offer[0] ? UNKNOWN
				      : e->p->default_max_price_u6;
	err = b->spec.offer[0] ? pick_named(&p, why) : pick_best(&p, why);
	b->offer = p.offer;
	b->price_u6 = p.price_u6;
	b->shape = p.shape;
	b->cap_u6 = p.cap_u6;
	if (b->spec.wait_us > 0 && p.cap_u6 != UNKNOWN &&
	    (err == -ENOSPC || (err == -EHOSTUNREACH && !b->spec.offer[0])))
		err = 0; /* it becomes `pending` until an offer matches */
	return err;
}

/* Everything that a purchase needs, for this session, now. On success b->spec is the caller's to
 * free. */
static int buy_evaluate(struct engine *e, const struct caller *who, const struct session *s,
			struct purchase *b, struct error *why)
{
	const char *lacks;
	int err = parse_spec_of(s, &b->spec, why);

	b->offer = NULL;
	if (err)
		return err;
	b->hours = b->spec.hours != UNKNOWN ? b->spec.hours : e->p->default_hours;
	b->hard_max_us = b->spec.override_hard_max ? b->hours * HOUR_US : e->p->hard_max_us;
	if (b->hard_max_us < e->p->hard_max_us)
		b->hard_max_us = e->p->hard_max_us;
	lacks = spec_lacks(e, &b->spec);
	if (lacks) {
		err = fail(why, ERR_INVALID, "%s", lacks);
		goto out;
	}
	err = check_rights(e, who, &b->spec, why);
	if (!err && e->draining)
		err = fail(why, ERR_DRAINING,
			   "gpufs is draining: no new purchases until an administrator writes "
			   "`undrain` to ctl");
	if (!err)
		err = check_counts(e, s, why);
	if (!err)
		err = choose(e, s, b, why);
out:
	if (err)
		spec_free(&b->spec);
	return err;
}

/* ---- spec ---- */

/* The spec of a session that was bought is settled: the same again is fine, other text is not. */
static int spec_settled(const struct session *s, const struct spec *sp, struct error *why)
{
	BUF now = {0};

	spec_put(sp, &now);
	if (!strcmp(now.data ? now.data : "", s->spec ? s->spec : ""))
		return 0;
	return fail(why, ERR_BUSY,
		    "this session was bought already (it is %s), and its spec cannot change; make "
		    "another session",
		    state_name((enum session_state)s->state));
}

static int spec_read(struct engine *e, const struct caller *who, const struct session *s,
		     const char *text, size_t n, struct spec *sp, enum spec_end *end,
		     struct error *why)
{
	int err = spec_parse(text, n, sp, end, why);

	if (err)
		return err;
	if (s->state != S_DRAFT) {
		/* A text that is not finished yet may still become the same. */
		err = *end == SPEC_UNFINISHED ? 0 : spec_settled(s, sp, why);
	} else if (life_of(e, s)->ordering) {
		err = fail(why, ERR_BUSY, "this session is being bought right now");
	} else {
		err = check_rights(e, who, sp, why);
	}
	if (err)
		spec_free(sp);
	return err;
}

int engine_spec_check(struct engine *e, const struct caller *who, const struct session *s,
		      const char *text, size_t n, enum spec_end *end, bool *commit,
		      struct error *why)
{
	struct spec sp;
	int err = spec_read(e, who, s, text, n, &sp, end, why);

	if (err)
		return err;
	*commit = sp.commit;
	spec_free(&sp);
	return 0;
}

int engine_spec_set(struct engine *e, const struct caller *who, const struct session *s,
		    const char *text, size_t n, enum spec_end *end, bool *commit, struct error *why)
{
	struct life *l = life_of(e, s);
	struct spec sp;
	BUF canonical = {0};
	int err = spec_read(e, who, s, text, n, &sp, end, why);

	if (err)
		return err;
	*commit = sp.commit;
	engine_asked_for(e, &sp.query);
	if (s->state == S_DRAFT) {
		spec_put(&sp, &canonical);
		CHECK(!canonical.failed);
		free(l->s.spec);
		l->s.spec = buf_take(&canonical);
		copy_text(l->s.label_text, sizeof l->s.label_text, sp.label);
		l->refusal = (struct error){0};
		l->s.reason[0] = '\0';
		life_changed(l);
	}
	spec_free(&sp);
	return 0;
}

/* ---- commit ---- */

static void fill_offer(struct session *s, const struct offer *o, int64_t price_u6,
		       const struct shape *shape)
{
	COPY(s->provider, o->provider);
	COPY(s->offer_id, o->id);
	COPY(s->gpu_type, o->gpu_type);
	COPY(s->location, o->location);
	s->gpu_count = o->gpu_count;
	s->vram_gb = o->vram_gb;
	s->price_quoted_u6 = s->price_u6 = price_u6;
	s->disk_gb = shape->disk_gb;
	s->vcpus = shape->vcpus;
	s->ram_gb = shape->ram_gb;
}

static void fill_order(struct session *next, const struct purchase *b, const struct policy *p,
		       int64_t now)
{
	const struct spec *sp = &b->spec;

	next->state = S_PENDING;
	next->state_us = now;
	next->hours = b->hours;
	next->hard_max_us = b->hard_max_us;
	next->cap_u6 = b->cap_u6;
	next->start_by_us = sp->wait_us == INT64_MAX
				    ? INT64_MAX
				    : now + (sp->wait_us > 0 ? sp->wait_us : p->start_timeout_us);
	next->retries_left = sp->retries != UNKNOWN ? sp->retries : p->default_retries;
	next->ssh_timeout_us = sp->ssh_timeout_us > 0 ? sp->ssh_timeout_us : 0;
	if (sp->protect != UNKNOWN)
		next->protect = sp->protect;
	free(next->consumer);
	next->consumer = strdup(sp->consumer ? sp->consumer : next->owner_name);
	CHECK(next->consumer);
	COPY(next->workload, workload_names[sp->workload != UNKNOWN ? sp->workload : W_LLM]);
	COPY(next->label_text, sp->label);
	COPY(next->reason,
	     b->offer ? "the order is recorded" : "waiting for an offer that matches");
	next->bought_us = next->running_us = next->expires_us = next->stopped_us = 0;
	next->bid_u6 = sp->bid_u6;
	if (b->offer)
		fill_offer(next, b->offer, b->price_u6, &b->shape);
}

/* The order's record is on disk. */
static void bought(struct life *l)
{
	count_bought(l);
	event(l->e, l, NULL, "pending", "%s", l->s.reason);
	tell(l->e, CH_SESSION_STATE, &l->s, NULL);
	tell(l->e, CH_SESSION, &l->s, NULL);
	tell_soon(l->e, CH_STATUS);
	life_wake(l);
}

void engine_commit(struct engine *e, const struct caller *who, const struct session *s, order_cb cb,
		   void *arg)
{
	struct life *l = life_of(e, s);
	struct purchase b = {0};
	struct error why = {0};
	struct session next;
	BUF cap = {0};
	int err;

	if (s->state != S_DRAFT) {
		order_answer(e, 0, NULL, cb, arg); /* the same order again changes nothing */
		return;
	}
	if (l->ordering)
		err = fail(&why, ERR_BUSY, "this session is being bought right now");
	else
		err = buy_evaluate(e, who, s, &b, &why);
	if (err) {
		order_answer(e, err, &why, cb, arg);
		return;
	}
	session_copy(&next, s);
	fill_order(&next, &b, e->p, engine_now(e));
	put_money(&cap, b.cap_u6);
	event(e, l, who, "commit", "%s for %d h, at most %s USD an hour",
	      b.offer ? b.offer->id : "the first match", (int)b.hours, cap.data);
	spec_free(&b.spec);
	order_put(l, ORDER_SWAP, &next, bought, cb, arg);
}

static void refused_at_close(struct life *l, const struct error *why)
{
	l->refusal = *why;
	life_reason(l, "not bought: %s", why->text);
	engine_note_error(l->e, &l->s, why);
	life_changed(l);
}

/* A purchase at close that was refused: nobody saw an errno, so it is said where people look. */
static void close_done(void *arg, int err, const struct error *why)
{
	struct relay *r = arg;

	if (err && !r->l->dead && r->l->s.state == S_DRAFT)
		refused_at_close(r->l, why);
	relay_answer(r, err, why);
}

/* What the draft's spec does not say yet; NULL: it is complete. */
static const char *draft_lacks(const struct engine *e, const struct session *s)
{
	const char *lacks;
	struct spec sp;

	if (parse_spec_of(s, &sp, NULL))
		return "the spec cannot be read any more; write it again";
	lacks = spec_lacks(e, &sp);
	spec_free(&sp);
	return lacks;
}

void engine_spec_close(struct engine *e, const struct caller *who, const struct session *s,
		       bool spoilt, bool unfinished, order_cb cb, void *arg)
{
	struct life *l = life_of(e, s);
	struct error why = {0};
	const char *lacks;

	if (s->state != S_DRAFT || l->ordering) {
		order_answer(e, 0, NULL, cb, arg);
		return;
	}
	if (spoilt || unfinished) {
		if (spoilt)
			fail(&why, ERR_INVALID,
			     "a line of the spec was refused, so nothing of it was bought; see "
			     "error, and write the spec again");
		else
			fail(&why, ERR_INVALID,
			     "the last line of the spec is unfinished (it has no newline), so "
			     "nothing "
			     "was bought; write the spec again");
		l->refusal = why;
		life_reason(l, "not bought: %s", why.text);
		if (unfinished)
			engine_note_error(e, s, &why);
		life_changed(l);
		order_answer(e, 0, NULL, cb, arg);
		return;
	}
	lacks = draft_lacks(e, s);
	if (lacks || !e->p->auto_commit) {
		if (s->spec && s->spec[0]) {
			if (lacks)
				life_reason(l, "the spec is not complete: %s", lacks);
			else
				life_reason(l, "write `commit` to ctl to buy (AUTO_COMMIT is off)");
			life_changed(l);
		}
		order_answer(e, 0, NULL, cb, arg);
		return;
	}
	engine_commit(e, who, s, close_done, relay_new(l, cb, arg));
}

/* ---- plan ---- */

void engine_plan(struct engine *e, const struct session *s, const struct caller *who,
		 struct buf *out)
{
	struct purchase b = {0};
	struct error why = {0};
	int err;

	if (s->state != S_DRAFT) {
		buf_printf(out, "bought %s\n", state_name((enum session_state)s->state));
		return;
	}
	err = buy_evaluate(e, who, s, &b, &why);
	if (err) {
		buf_printf(out, "refused %s\nwhy %s\n", errno_name(-err), why.text);
		return;
	}
	if (b.offer) {
		buf_printf(out, "offer %s\nprovider %s\nprice_per_hour ", b.offer->id,
			   b.offer->provider);
		put_money(out, b.price_u6);
		if (b.shape.disk_gb != UNKNOWN)
			buf_printf(out, "\ndisk_gb %d", (int)b.shape.disk_gb);
		if (b.shape.vcpus != UNKNOWN)
			buf_printf(out, "\nvcpus %d", (int)b.shape.vcpus);
		if (b.shape.ram_gb != UNKNOWN)
			buf_printf(out, "\nram_gb %d", (int)b.shape.ram_gb);
	} else {
		buf_puts(out, "offer\nwhy no offer matches now: it would wait for one");
	}
	if (b.spec.bid_u6 != UNKNOWN) {
		buf_puts(out, "\nbid ");
		put_money(out, b.spec.bid_u6);
	}
	buf_puts(out, "\nmax_price ");
	put_money(out, b.cap_u6);
	buf_printf(out, "\nhours %d\ncost_max ", (int)b.hours);
	put_money(out, (b.offer ? b.price_u6 : b.cap_u6) * b.hours);
	buf_putc(out, '\n');
	spec_free(&b.spec);
}

/* ---- the offer of the next attempt ---- */

/* How a machine of this offer is to be reached: a way that was not refused there yet, forwarded ports
 * before an address, which are few. */
static unsigned reach_of(struct life *l, const struct offer *o)
{
	unsigned left;

	if (strcmp(l->reach_offer, o->id) != 0) {
		COPY(l->reach_offer, o->id);
		l->reach_tried = 0;
	}
	left = o->reach & ~l->reach_tried;
	if (!left)
		left = o->reach;
	return left & REACH_FORWARD ? REACH_FORWARD : left;
}

bool buy_choose(struct life *l, struct error *why)
{
	struct engine *e = l->e;
	struct session *s = &l->s;
	struct offer first = {.price_u6 = s->price_quoted_u6, .vram_gb = s->vram_gb};
	struct pick p = {.e = e, .s = s, .hours = s->hours, .cap_u6 = s->cap_u6};
	struct spec sp;
	int err;

	if (parse_spec_of(s, &sp, why))
		return false;
	p.sp = &sp;
	p.scope = (enum retry_scope)(sp.retry_scope != UNKNOWN ? sp.retry_scope
							       : e->p->default_retry_scope);
	COPY(first.gpu_type, s->gpu_type);
	if (s->failed_offers && s->failed_offers[0])
		p.first = &first;
	err = sp.offer[0] && !p.first ? pick_named(&p, why) : pick_best(&p, why);
	spec_free(&sp);
	if (err)
		return false;
	index_order_drop(l);
	fill_offer(s, p.offer, p.price_u6, &p.shape);
	s->reach = reach_of(l, p.offer);
	if (p.first) /* the first quote stays the measure of later attempts */
		s->price_quoted_u6 = first.price_u6;
	return true;
}
