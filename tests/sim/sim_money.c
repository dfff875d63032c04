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

#define DESTROY_US (3 * SECOND_US) /* a DELETE takes a moment at the cloud */

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

/* It lives, or again, although it was told to be gone; since when nobody knows. */
static void deny(const struct sim *s, struct sim_machine *m, int64_t price_u6)
{
	if (price_u6 < s->attempts[m->attempt].price_u6)
		price_u6 = s->attempts[m->attempt].price_u6;
	if (m->denied_us != m->told_gone_us)
		m->unknown_u6 += cost_of(price_u6, s->now_us - m->told_gone_us);
	m->denied_us = m->told_gone_us;
}

void sim_money_watch(struct sim *s)
{
	int64_t dt = s->now_us - s->watched_us, charged_u6;
	struct fakevast_view v;

	if (dt <= 0)
		return;
	s->watched_us = s->now_us;
	for (size_t i = 0; i < s->machine_count; i++) {
		struct sim_machine *m = &s->machines[i];

		if (m->attempt == SIZE_MAX)
			continue;
		fakevast_view(s->cloud, s->now_us, i, &v);
		charged_u6 = m->told_gone ? 0 : cost_of(m->seen_rate_u6, dt);
		m->unknown_u6 += size_of(v.billed_u6 - m->billed_u6 - charged_u6);
		/* What lives on, or again, against the provider's own word is booked at the rate that it
		 * had when it was deleted. */
		if (m->denied_us && v.alive)
			m->unknown_u6 += cost_of(v.price_u6, dt);
		/* By whatever answer: it knows. */
		if (s->e && owned(s, m) &&
		    session_rate_u6(engine_by_id(s->e, m->session)) == v.rate_u6)
			m->seen_rate_u6 = v.rate_u6;
		m->billed_u6 = v.billed_u6;
		m->died = m->died || !v.alive;
		if (m->told_gone && v.alive && s->now_us > m->told_gone_us + DESTROY_US)
			deny(s, m, v.price_u6);
		if (v.running_us >= 0 && strcmp(v.status, "running"))
			m->stopped_us = s->now_us;
	}
}

void sim_money_exists(struct sim *s, struct sim_machine *m, const struct fakevast_view *v)
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

	if (!r->alive) /* a list that lags shows what is gone as it was */
		return m->seen_rate_u6;
	if (owned(s, m) && of->state == S_RUNNING && !m->told_running &&
	    session_rate_u6(of) == r->price_u6)
		return r->price_u6;
	return r->rate_u6;
}

static void told_alive(struct sim *s, struct sim_machine *m, const struct sim_rate *r, bool plain)
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
	if (m->told_gone) {
		m->denied_us = 0;
		deny(s, m, r->price_u6);
	}
	if (!m->told || m->told_gone || m->seen_rate_u6 != rate_u6)
		sim_tell(s, "told: machine %lld costs %lld micro-dollars an hour", (long long)m->id,
			 (long long)rate_u6);
	m->told = true;
	m->told_gone = false;
	m->seen_rate_u6 = rate_u6;
}

static void told_gone(struct sim *s, struct sim_machine *m)
{
	if (!m->told_gone)
		sim_tell(s, "told: machine %lld is not there", (long long)m->id);
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
void sim_money_told(struct sim *s, enum fakevast_op op, int64_t id, const struct sim_rate *rates,
		    size_t rate_count, const struct fake_http_reply *r, bool plain)
{
	const char *body = r->body.data ? r->body.data : "";
	bool whole = strstr(body, "\"next_token\": null") != NULL;
	char needle[40];

	if (op != FV_LIST && op != FV_GET && (op != FV_DESTROY || !plain))
		return;
	if (r->status != 200 && !(r->status == 404 && strstr(body, "no_such_instance")))
		return;
	for (size_t i = 0; i < rate_count; i++) {
		struct sim_machine *m = &s->machines[i];

		if (m->attempt == SIZE_MAX || (op != FV_LIST && m->id != id) || awaited(s, m))
			continue;
		snprintf(needle, sizeof needle, "\"id\": %lld,", (long long)m->id);
		if (op == FV_DESTROY)
			told_gone(s, m);
		else if (strstr(body, needle) && (plain || believed(s, m, &rates[i])))
			told_alive(s, m, &rates[i], plain);
		else if (plain && op == FV_LIST && whole && !rates[i].alive)
			told_gone(s, m);
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
	struct fakevast_view v;

	for (size_t i = 0; i < s->machine_count; i++) {
		struct sim_machine *m = &s->machines[i];
		const struct session *of = m->attempt == SIZE_MAX ? NULL
								  : engine_by_id(s->e, m->session);

		fakevast_view(s->cloud, s->now_us, i, &v);
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
	struct fakevast_view v;

	for (size_t i = 0; i < s->machine_count; i++) {
		const struct sim_machine *m = &s->machines[i];

		if (strcmp(m->session, of->id))
			continue;
		fakevast_view(s->cloud, s->now_us, i, &v);
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
