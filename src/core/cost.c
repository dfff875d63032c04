/*
 * Money as a function of recorded times and prices (invariant 9): never sampled, so it is right at
 * any moment and after any restart. Billing of an attempt begins when its create was sent (the
 * machine may exist from then on) and ends when it is proven gone, set back to the answer of the
 * DELETE that worked. A void attempt (nothing was ever made) costs nothing. Pure. Tests:
 * tests/unit/test_session.c.
 */
#include "check.h"
#include "session.h"

/* Numbers of a damaged database: so that the sum of a few costs fits. */
#define COST_MAX_U6 ((int64_t)1 << 60)

int64_t cost_of(int64_t price_u6, int64_t us)
{
	__int128 cost;

	if (price_u6 <= 0 || us <= 0)
		return 0;
	/* price (<= 2^40) times time (<= 2^59) does not fit 64 bits. */
	cost = ((__int128)price_u6 * us + HOUR_US / 2) / HOUR_US;
	return cost < COST_MAX_U6 ? (int64_t)cost : COST_MAX_U6;
}

/* The present attempt's billed time. */
static int64_t attempt_us(const struct session *s, int64_t now_us)
{
	int64_t end = now_us;

	if (!s->asked_us || s->instance_state == I_NONE)
		return 0;
	if (s->instance_state == I_GONE)
		end = s->delete_us ? s->delete_us : s->gone_us;
	return end > s->asked_us ? end - s->asked_us : 0;
}

int64_t session_rate_u6(const struct session *s)
{
	return s->rate_u6 != UNKNOWN ? s->rate_u6 : s->price_u6;
}

/* What the present attempt cost: settled at every change of the rate, so that a price that moves or a
 * status that costs less splits the bill where it happened. */
static int64_t attempt_u6(const struct session *s, int64_t now_us)
{
	int64_t from = s->rate_us > s->asked_us ? s->rate_us : s->asked_us;
	int64_t billed = attempt_us(s, now_us);

	if (!billed)
		return 0;
	return s->settled_u6 + cost_of(session_rate_u6(s), s->asked_us + billed - from);
}

int64_t session_billed_us(const struct session *s, int64_t now_us)
{
	return s->billed_prior_us + attempt_us(s, now_us);
}

int64_t session_cost_u6(const struct session *s, int64_t now_us)
{
	return s->cost_prior_u6 + attempt_u6(s, now_us);
}

bool session_charge(struct session *s, int64_t price_u6, int64_t rate_u6, int64_t now_us)
{
	if (s->price_u6 == price_u6 && s->rate_u6 == rate_u6)
		return false;
	s->settled_u6 = attempt_u6(s, now_us);
	s->rate_us = now_us;
	s->price_u6 = price_u6;
	s->rate_u6 = rate_u6;
	return true;
}

int64_t session_cost_max_u6(const struct session *s)
{
	int64_t end = s->expires_us;

	if (s->price_u6 < 0 || !s->bought_us)
		return UNKNOWN;
	if (s->instance_state == I_GONE)
		return session_cost_u6(s, s->gone_us);
	/* What is settled, and from then on the full price: the dearest reading. Before the first create of
	 * this attempt that is from the purchase on. */
	if (s->asked_us && s->rate_us > s->asked_us)
		return s->cost_prior_u6 + s->settled_u6 + cost_of(s->price_u6, end - s->rate_us);
	return s->cost_prior_u6 +
	       cost_of(s->price_u6, end - (s->asked_us ? s->asked_us : s->bought_us));
}
