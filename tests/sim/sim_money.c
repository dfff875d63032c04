/*
 * Money: what the cloud's meter says against what the books say. The books follow what was told: between
 * a change of a machine's rate and the first whole answer that shows it nobody can know it. So for every
 * machine the difference between the meter and the rate that was told last is summed up (unknown_u6),
 * and that much, beside 1 % or 10 s of the price an attempt, the books may be off. Further differences
 * that no books could avoid, each added where it arises:
 * - a clock that steps: recorded times are of that clock;
 * - a process that died: records that were not durable yet are older than what was told;
 * - a machine of an attempt that was over: when it came to be is not known before a list shows it.
 */
#include <string.h>

#include "sim.h"

static int64_t size_of(int64_t u6)
{
	return u6 < 0 ? -u6 : u6;
}

/* Is this the living attempt's machine, as its session's record has it? */
static bool owned(const struct sim *s, const struct sim_machine *m)
{
	const struct session *of = engine_by_id(s->e, m->session);

	return of && !strcmp(of->label, s->attempts[m->attempt].label) &&
	       of->instance_state != I_NONE;
}

/* That session; NULL: it is not, or no process lives. */
static const struct session *owner(const struct sim *s, const struct sim_machine *m)
{
	return s->e && m->attempt != SIZE_MAX && owned(s, m) ? engine_by_id(s->e, m->session)
							     : NULL;
}

/* By the rate that was told last, in micro-dollars; what is less than one is kept for the next time. */
static int64_t charge(struct sim_machine *m, int64_t us)
{
	int64_t whole_u6;

	m->charged_n9 += cost_of(m->seen_rate_u6 * 1000, us);
	whole_u6 = m->charged_n9 / 1000;
	m->charged_n9 %= 1000;
	return whole_u6;
}

/* It lives, or again, although it was told to be gone; since when nobody knows. */
static void deny(const struct sim *s, struct sim_machine *m, int64_t price_u6)
{
	if (price_u6 < s->attempts[m->attempt].price_u6)
		price_u6 = s->attempts[m->attempt].price_u6;
	if (m->denied_us != m->told_gone_us)
		m->unknown_u6 += cost_of(price_u6, s->now_us - m->told_gone_us);
	m->denied_us = m->told_gone_us;
}

/* A DELETE was accepted: from then on it costs nothing by its record, unless it turns out to stand. Then it
 * cost all the time. */
static void note_end(const struct sim *s, struct sim_machine *m, const struct session *of)
{
	if (!of || !of->delete_us == !m->ended_us)
		return;
	if (m->ended_us)
		m->unknown_u6 += cost_of(m->seen_rate_u6, s->now_us - m->ended_us);
	m->ended_us = of->delete_us ? s->now_us : 0;
}

void sim_money_watch(struct sim *s)
{
	int64_t dt = s->now_us - s->watched_us, charged_u6;
	struct sim_view v;

	if (dt <= 0)
		return;
	s->watched_us = s->now_us;
	for (size_t i = 0; i < s->machine_count; i++) {
		struct sim_machine *m = &s->machines[i];
		const struct session *of = owner(s, m);

		if (m->attempt == SIZE_MAX)
			continue;
		sim_see(s, &s->machines[i], &v);
		note_end(s, m, of);
		charged_u6 = m->told_gone || m->ended_us ? 0 : charge(m, dt);
		m->unknown_u6 += size_of(v.billed_u6 - m->billed_u6 - charged_u6);
		/* What lives on, or again, against the provider's own word is booked at the rate that it
		 * had when it was deleted. */
		if (m->denied_us && v.alive)
			m->unknown_u6 += cost_of(v.price_u6, dt);
		/* By whatever answer: it knows. */
		if (of && session_rate_u6(of) == v.rate_u6)
			m->seen_rate_u6 = v.rate_u6;
		m->billed_u6 = v.billed_u6;
		m->died = m->died || !v.alive;
		if (m->told_gone && v.alive &&
		    s->now_us > m->told_gone_us + m->cloud->kind->destroy_us)
			deny(s, m, v.price_u6);
		if (v.ill)
			m->stopped_us = s->now_us;
	}
}

void sim_money_exists(struct sim *s, struct sim_machine *m, const struct sim_view *v)
{
	const struct sim_attempt *a = &s->attempts[m->attempt];
	int64_t dear_u6 = v->price_u6 > a->price_u6 ? v->price_u6 : a->price_u6;

	m->seen_rate_u6 = a->price_u6;
	m->billed_u6 = v->billed_u6;
	/* Nobody can tell when an order was carried out whose answer was lost. */
	m->unknown_u6 = cost_of(dear_u6, s->now_us - a->sent_us) - v->billed_u6;
}

/* What the record charges after a row that must be believed: the row's rate; or, where a login worked and
 * the provider has not said running yet, the price, for a while, since lists may lag (observe.c). What
 * that is wrong by cannot be known either. */
static int64_t taken_rate(const struct sim *s, const struct sim_machine *m,
			  const struct sim_rate *r)
{
	const struct session *of = engine_by_id(s->e, m->session);

	/* A list that lags shows what is gone as it was; where that was not known, it costs its price. */
	if (!r->alive)
		return owned(s, m) && session_rate_u6(of) == r->price_u6 ? r->price_u6
									 : m->seen_rate_u6;
	if (owned(s, m) && of->state == S_RUNNING && !m->told_running &&
	    session_rate_u6(of) == r->price_u6)
		return r->price_u6;
	return r->rate_u6;
}

/* It is there; what it costs is not said, or not yet. */
static void told_exists(struct sim *s, struct sim_machine *m, int64_t price_u6)
{
	if (!m->told_gone)
		return;
	m->denied_us = 0;
	deny(s, m, price_u6);
	m->told_gone = false;
	sim_tell(s, "told: machine %s is there", m->id);
}

static void told_rate(struct sim *s, struct sim_machine *m, const struct sim_rate *r, bool plain)
{
	const struct sim_attempt *a = &s->attempts[m->attempt];
	int64_t since_us = s->now_us - a->sent_us, rate_u6, first_u6;

	m->told_running |= plain && r->alive && r->running;
	rate_u6 = taken_rate(s, m, r);
	/* The first word holds since the order (or, of a machine that no attempt owns, since a time that
	 * nobody knows). */
	first_u6 = owned(s, m) ? size_of(m->billed_u6 - cost_of(rate_u6, since_us))
			       : cost_of(r->price_u6, since_us);
	if (!m->told && first_u6 > m->unknown_u6)
		m->unknown_u6 = first_u6;
	told_exists(s, m, r->price_u6);
	if (!m->told || m->seen_rate_u6 != rate_u6)
		sim_tell(s, "told: machine %s costs %lld micro-dollars an hour", m->id,
			 (long long)rate_u6);
	m->told = true;
	m->seen_rate_u6 = rate_u6;
}

static void told_gone(struct sim *s, struct sim_machine *m)
{
	if (!m->told_gone)
		sim_tell(s, "told: machine %s is not there", m->id);
	if (!m->told_gone)
		m->told_gone_us = s->now_us;
	m->told_gone = true;
}

/* Until its create is answered or given up, lists say nothing about it. */
static bool awaited(const struct sim *s, const struct sim_machine *m)
{
	const struct session *of = engine_by_id(s->e, m->session);

	return owned(s, m) && (of->instance_state == I_ASKED || of->instance_state == I_UNSURE);
}

static bool believed(const struct sim *s, const struct sim_machine *m, const struct sim_rate *r)
{
	const struct session *of = engine_by_id(s->e, m->session);

	return owned(s, m) && (!r->alive || session_rate_u6(of) == r->rate_u6);
}

/* What is gone costs until the first list without it or the DELETE; a query alone ends no bill. */
void sim_money_told(struct sim *s, const struct sim_cloud *c, enum sim_op op, const char *id,
		    const struct sim_rate *rates, size_t rate_count,
		    const struct fake_http_reply *r, bool plain)
{
	const char *body = r->body.data ? r->body.data : "";
	bool all = op == SIM_LIST && plain && c->kind->is_whole_list(body);

	if ((op != SIM_LIST && op != SIM_GET && (op != SIM_DESTROY || !plain)) ||
	    !c->kind->speaks(op, r))
		return;
	for (size_t i = 0; i < rate_count; i++) {
		struct sim_machine *m = &s->machines[i];
		enum sim_word word;

		if (m->cloud != c || m->attempt == SIZE_MAX ||
		    (op != SIM_LIST && strcmp(m->id, id)) || awaited(s, m))
			continue;
		word = op == SIM_DESTROY ? WORD_NONE : c->kind->word(body, m->id);
		/* A DELETE that is under way ends the bill itself. */
		if (op == SIM_DESTROY ||
		    (all && word == WORD_NONE && !rates[i].alive && !m->deletes))
			told_gone(s, m);
		else if (word == WORD_EXISTS && plain)
			told_exists(s, m, rates[i].price_u6);
		else if (word == WORD_RATE && (plain || believed(s, m, &rates[i])))
			told_rate(s, m, &rates[i], plain);
	}
}

void sim_money_runs(struct sim *s, const struct session *of)
{
	s->counts->running++;
	for (size_t i = 0; i < s->machine_count; i++)
		if (s->machines[i].attempt != SIZE_MAX && !strcmp(s->machines[i].session, of->id) &&
		    owned(s, &s->machines[i]))
			s->machines[i].seen_rate_u6 = session_rate_u6(of);
}

/* ---- clocks and processes ---- */

/* Recorded times are of this clock: what is charged now is off by the step. */
void sim_money_clock(struct sim *s, int64_t step_us)
{
	struct sim_view v;

	for (size_t i = 0; i < s->machine_count; i++) {
		struct sim_machine *m = &s->machines[i];
		const struct session *of = m->attempt == SIZE_MAX ? NULL
								  : engine_by_id(s->e, m->session);

		sim_see(s, &s->machines[i], &v);
		if (m->attempt == SIZE_MAX ||
		    (!v.alive && !(of && owned(s, m) && of->instance_state != I_GONE)))
			continue;
		m->unknown_u6 += cost_of(v.price_u6 > m->seen_rate_u6 ? v.price_u6
								      : m->seen_rate_u6,
					 size_of(step_us));
		if (step_us < 0 && m->told_gone && !v.alive) { /* evidence begins anew */
			m->unknown_u6 += cost_of(m->seen_rate_u6, s->now_us - m->told_gone_us);
			m->told_gone = false;
		}
	}
}

void sim_money_die(struct sim *s)
{
	sim_money_watch(s);
	s->died_wall_us = sim_wall_us(s);
	for (size_t i = 0; i < s->session_count; i++) {
		const struct session *of = engine_by_id(s->e, s->sessions[i].id);
		struct sim_session *x = &s->sessions[i];

		x->cost_u6 = of ? session_cost_u6(of, s->died_wall_us) : 0;
		x->hourly_u6 = of ? session_cost_u6(of, s->died_wall_us + HOUR_US) - x->cost_u6 : 0;
	}
}

/* The records that a process finds may be older than what the last one knew: what they differ by now. */
void sim_money_born(struct sim *s)
{
	int64_t now = sim_wall_us(s);

	for (size_t i = 0; i < s->session_count; i++) {
		const struct session *of = engine_by_id(s->e, s->sessions[i].id);
		struct sim_session *x = &s->sessions[i];

		if (of)
			x->unknown_u6 += size_of(session_cost_u6(of, now) - x->cost_u6 -
						 cost_of(x->hourly_u6, now - s->died_wall_us));
	}
	for (size_t i = 0; i < s->machine_count; i++) {
		struct sim_machine *m = &s->machines[i];
		const struct session *of = m->attempt == SIZE_MAX ? NULL
								  : engine_by_id(s->e, m->session);

		if (!of || !owned(s, m) || of->delete_us)
			continue;
		m->seen_rate_u6 = session_rate_u6(of);
		if (m->told_gone) /* evidence that was only in memory: it begins anew */
			m->unknown_u6 += cost_of(m->seen_rate_u6, s->now_us - m->told_gone_us);
		m->told_gone = m->told_running = false;
		/* The record of its id or rate is lost: the next word about it is the first again. */
		m->told = m->told && of->instance_state == I_EXISTS && of->rate_us;
	}
}

/* ---- the audit ---- */

static void audit_session(struct sim *s, const struct session *of)
{
	int64_t meter = 0, slack = sim_session_of(s, of->id)->unknown_u6 + 10, most = 0;
	int64_t books = session_cost_u6(of, sim_wall_us(s));
	struct sim_view v;

	for (size_t i = 0; i < s->machine_count; i++) {
		const struct sim_machine *m = &s->machines[i];

		if (strcmp(m->session, of->id))
			continue;
		sim_see(s, &s->machines[i], &v);
		meter += v.billed_u6;
		slack += m->unknown_u6 + (m->told ? 0 : v.billed_u6);
		most = v.price_u6 > most ? v.price_u6 : most;
	}
	most = cost_of(most, of->attempt * 10 * SECOND_US);
	slack += most > meter / 100 ? most : meter / 100;
	if (size_of(books - meter) > slack)
		sim_wrong(s,
			  "%s (%s) cost %lld micro-dollars by its books and %lld by the meter; "
			  "%lld can be explained",
			  of->name, of->id, (long long)books, (long long)meter, (long long)slack);
}

void sim_money_audit(struct sim *s)
{
	sim_money_watch(s);
	/* Untrue answers, a clock that is a day off, and lists that are not believed go into the books. */
	if (s->lying || s->lost_disk || s->braked || (s->clock_stepped && s->clock_days))
		return;
	for (int history = 0; history < 2; history++) {
		const struct session *of = NULL;

		while ((of = engine_next(s->e, of ? of->serial : 0, history)) != NULL)
			if (of->state != S_DRAFT)
				audit_session(s, of);
	}
}
