/*
 * Buying: what a spec means for this caller now, the plan, the commit, and the choice of the offer
 * for each attempt. One function (buy_evaluate) answers for plan, commit and choice alike, so that
 * plan cannot promise what commit refuses. Loop thread. Tests: tests/unit/test_engine.c.
 */
#include <string.h>

#include "internal.h"

/* What the spec amounts to now. offer NULL with err 0: none matches yet, and the spec waits. */
struct purchase {
	struct spec spec;
	const struct offer *offer;
	int64_t hours, cap_u6, hard_max_us;
};

int parse_spec_of(const struct session *s, struct spec *out, struct error *why)
{
	enum spec_end end;

	return spec_parse(s->spec ? s->spec : "", s->spec ? strlen(s->spec) : 0, out, &end, why);
}

bool failed_offer(const struct session *s, const char *id)
{
	size_t n = strlen(id);

	for (const char *p = s->failed_offers; p && (p = strstr(p, id)); p += n)
		if ((p == s->failed_offers || p[-1] == ',') && (p[n] == ',' || !p[n]))
			return true;
	return false;
}

struct skip_arg {
	const struct session *s;
	const struct engine *e;
	int64_t hours;
};

static bool skip_offer(void *arg, const struct offer *o)
{
	struct skip_arg *a = arg;
	struct source *src = source_of(a->e, o->provider);

	return failed_offer(a->s, o->id) || !src || !src->enabled ||
	       (o->max_duration_hours != UNKNOWN && o->max_duration_hours < a->hours);
}

static bool in_list(const char *list, const char *word)
{
	size_t n = strlen(word);

	for (const char *p = list; n && (p = strstr(p, word)); p += n)
		if ((p == list || p[-1] == ',') && (p[n] == ',' || !p[n]))
			return true;
	return false;
}

/* Rights and ranges that only the engine knows; the parser checked the rest. */
static int check_rights(struct engine *e, const struct caller *who, const struct spec *sp,
			struct error *why)
{
	const struct policy *p = e->p;

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
	if (sp->consumer[0] && !who->admin && strcmp(sp->consumer, who->name)) {
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
	if (sp->offer[0] && !inventory_find(e->inv, sp->offer))
		return fail(why, ERR_NO_OFFER,
			    "offer=%s: there is no such offer on the market; see inventory/",
			    sp->offer);
	return 0;
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

/* The offer named by the spec: its price now, against the cap. */
static int evaluate_offer(const struct engine *e, struct purchase *b, struct error *why)
{
	const struct offer *o = inventory_find(e->inv, b->spec.offer);
	struct source *src = o ? source_of(e, o->provider) : NULL;
	bool capped = b->spec.query.set & 1u << Q_MAX_PRICE;
	BUF price = {0};

	if (!o)
		return fail(why, ERR_NO_OFFER,
			    "offer=%s: it is not on the market any more; see inventory/",
			    b->spec.offer);
	if (!src || !src->enabled)
		return fail(why, ERR_UNREACHABLE,
			    "provider %s is switched off for new purchases (providers/%s/enabled)",
			    o->provider, o->provider);
	b->cap_u6 = capped ? b->spec.query.num[Q_MAX_PRICE]
			   : o->price_u6 + o->price_u6 * e->p->price_tolerance_pct / 100;
	put_money(&price, o->price_u6);
	if (o->price_u6 > b->cap_u6)
		return fail(
			why, ERR_NO_MATCH,
			"offer=%s costs %s an hour now, more than max_price allows; raise it or "
			"choose another",
			o->id, price.data);
	if (o->max_duration_hours != UNKNOWN && o->max_duration_hours < b->hours)
		return fail(why, ERR_NO_MATCH, "offer=%s is rented for at most %d hours", o->id,
			    (int)o->max_duration_hours);
	if (!o->available)
		return fail(why, ERR_NO_MATCH,
			    "offer=%s is taken at the moment; wait for it with wait=MINUTES, or "
			    "choose another",
			    o->id);
	b->offer = o;
	return 0;
}

/* Everything that a purchase needs, for this session, now. On success b->spec is the caller's to
 * free. */
static int buy_evaluate(struct engine *e, const struct caller *who, const struct session *s,
			struct purchase *b, struct error *why)
{
	struct skip_arg skip = {.s = s, .e = e};
	struct query q;
	int err = parse_spec_of(s, &b->spec, why);

	b->offer = NULL;
	if (err)
		return err;
	b->hours = b->spec.hours != UNKNOWN ? b->spec.hours : e->p->default_hours;
	b->hard_max_us = b->spec.override_hard_max ? b->hours * HOUR_US : e->p->hard_max_us;
	if (b->hard_max_us < e->p->hard_max_us)
		b->hard_max_us = e->p->hard_max_us;
	if (b->hours == UNKNOWN) {
		err = fail(why, ERR_INVALID, "the spec does not say hours=N yet");
		goto out;
	}
	if (!(b->spec.query.set & 1u << Q_MAX_PRICE) && !b->spec.offer[0] &&
	    e->p->default_max_price_u6 == UNKNOWN) {
		err = fail(why, ERR_INVALID,
			   "the spec needs offer=ID, or max_price=USD with the other conditions");
		goto out;
	}
	err = check_rights(e, who, &b->spec, why);
	if (!err && e->draining)
		err = fail(why, ERR_DRAINING,
			   "gpufs is draining: no new purchases until an administrator writes "
			   "`undrain` to ctl");
	if (!err)
		err = check_counts(e, s, why);
	if (err)
		goto out;
	if (b->spec.offer[0]) {
		err = evaluate_offer(e, b, why);
	} else {
		q = b->spec.query;
		if (!(q.set & 1u << Q_MAX_PRICE)) {
			q.set |= 1u << Q_MAX_PRICE;
			q.num[Q_MAX_PRICE] = e->p->default_max_price_u6;
		}
		b->cap_u6 = q.num[Q_MAX_PRICE];
		skip.hours = b->hours;
		b->offer = query_best(&q, e->inv, skip_offer, &skip);
		if (!b->offer)
			err = fail(why, ERR_NO_MATCH,
				   "no offer matches the spec now; see search/ with the same words "
				   "(`why` tells which condition), or add wait=MINUTES");
	}
	if (err == -ENOSPC && b->spec.wait_us > 0)
		err = 0; /* it becomes `pending` until an offer matches */
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

static void fill_offer(struct session *s, const struct offer *o)
{
	COPY(s->provider, o->provider);
	COPY(s->offer_id, o->id);
	COPY(s->gpu_type, o->gpu_type);
	COPY(s->location, o->location);
	s->gpu_count = o->gpu_count;
	s->vram_gb = o->vram_gb;
	s->price_quoted_u6 = s->price_u6 = o->price_u6;
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
	COPY(next->consumer, sp->consumer[0] ? sp->consumer : next->owner_name);
	COPY(next->workload, workload_names[sp->workload != UNKNOWN ? sp->workload : W_LLM]);
	COPY(next->label_text, sp->label);
	COPY(next->reason,
	     b->offer ? "the order is recorded" : "waiting for an offer that matches");
	next->bought_us = next->running_us = next->expires_us = next->stopped_us = 0;
	if (b->offer)
		fill_offer(next, b->offer);
}

/* The order's record is on disk. */
static void bought(struct life *l)
{
	count_bought(l);
	event(l->e, l, NULL, "pending", "%s", l->s.reason);
	tell(l->e, CH_SESSION_STATE, &l->s, NULL);
	tell(l->e, CH_SESSION, &l->s, NULL);
	tell(l->e, CH_STATUS, NULL, NULL);
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

/* Does the draft's spec say all that a purchase needs? An incomplete one may be finished later. */
static bool spec_complete(const struct engine *e, const struct session *s)
{
	struct spec sp;
	bool whole;

	if (parse_spec_of(s, &sp, NULL))
		return false;
	whole = (sp.hours != UNKNOWN || e->p->default_hours != UNKNOWN) &&
		(sp.offer[0] || (sp.query.set & 1u << Q_MAX_PRICE) ||
		 (sp.query.set && e->p->default_max_price_u6 != UNKNOWN));
	spec_free(&sp);
	return whole;
}

void engine_spec_close(struct engine *e, const struct caller *who, const struct session *s,
		       bool spoilt, bool unfinished, order_cb cb, void *arg)
{
	struct life *l = life_of(e, s);
	struct error why = {0};

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
	if (!spec_complete(e, s) || !e->p->auto_commit) {
		if (s->spec && s->spec[0]) {
			life_reason(l, "%s",
				    spec_complete(e, s)
					    ? "write `commit` to ctl to buy (AUTO_COMMIT is off)"
					    : "the spec is not complete: it needs hours, and an "
					      "offer or a "
					      "max_price");
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
		put_money(out, b.offer->price_u6);
	} else {
		buf_puts(out, "offer\nwhy no offer matches now: it would wait for one");
	}
	buf_puts(out, "\nmax_price ");
	put_money(out, b.cap_u6);
	buf_printf(out, "\nhours %d\ncost_max ", (int)b.hours);
	put_money(out, b.offer ? b.offer->price_u6 * b.hours : b.cap_u6 * b.hours);
	buf_putc(out, '\n');
	spec_free(&b.spec);
}

/* ---- the offer of the next attempt ---- */

struct retry_arg {
	struct skip_arg skip;
	const struct offer *first; /* a copy of what was bought first; NULL: the first attempt */
	enum retry_scope scope;
};

/* Retry scopes and their price limits: lifecycle.md, Retry. */
static bool out_of_scope(void *arg, const struct offer *o)
{
	static const int64_t percent[] = {
		[RETRY_SAME_GPU] = 120, [RETRY_SAME_VRAM] = 150, [RETRY_ANY] = 200};
	struct retry_arg *r = arg;

	if (skip_offer(&r->skip, o))
		return true;
	if (!r->first)
		return false;
	if (o->price_u6 * 100 > r->first->price_u6 * percent[r->scope])
		return true;
	switch (r->scope) {
	case RETRY_SAME_GPU:
		return !gpu_model_match(r->first->gpu_type, o->gpu_type, true);
	case RETRY_SAME_VRAM:
		return o->vram_gb < r->first->vram_gb;
	case RETRY_ANY:
		return false;
	}
	return true;
}

bool buy_choose(struct life *l, struct error *why)
{
	struct engine *e = l->e;
	struct session *s = &l->s;
	struct offer first = {0};
	struct retry_arg r = {.skip = {.s = s, .e = e, .hours = s->hours}};
	const struct offer *o = NULL;
	struct spec sp;
	struct query q;

	if (parse_spec_of(s, &sp, why))
		return false;
	q = sp.query;
	q.set |= 1u << Q_MAX_PRICE;
	q.num[Q_MAX_PRICE] = s->cap_u6;
	r.scope = (enum retry_scope)(sp.retry_scope != UNKNOWN ? sp.retry_scope
							       : e->p->default_retry_scope);
	if (s->failed_offers && s->failed_offers[0]) {
		COPY(first.gpu_type, s->gpu_type);
		first.vram_gb = s->vram_gb;
		first.price_u6 = s->price_quoted_u6;
		r.first = &first;
	}
	if (sp.offer[0] && !r.first) {
		o = inventory_find(e->inv, sp.offer);
		if (o && (!o->available || o->price_u6 > s->cap_u6 || skip_offer(&r.skip, o)))
			o = NULL;
	} else {
		o = query_best(&q, e->inv, out_of_scope, &r);
	}
	spec_free(&sp);
	if (!o) {
		fail(why, ERR_NO_MATCH, "no offer matches now");
		return false;
	}
	/* The first quote stays the measure of later attempts. */
	first.price_u6 = s->price_quoted_u6;
	fill_offer(s, o);
	if (r.first)
		s->price_quoted_u6 = first.price_u6;
	return true;
}
