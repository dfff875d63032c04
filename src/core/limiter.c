/* See limiter.h. */
#include "limiter.h"

#include "check.h"

/* ---- buckets ---- */

void bucket_init(struct bucket *b, int64_t spacing_us, int64_t burst)
{
	CHECK(spacing_us >= 0 && spacing_us <= DAY_US && burst >= 1 && burst <= 1000000);
	*b = (struct bucket){.spacing_us = spacing_us, .burst = burst};
}

int64_t bucket_wait_us(const struct bucket *b, int64_t reserve, int64_t now_us)
{
	int64_t early; /* how long before it is full there are tokens enough */

	CHECK(reserve >= 0 && reserve < b->burst);
	early = (b->burst - 1 - reserve) * b->spacing_us;
	return b->full_us - early > now_us ? b->full_us - early - now_us : 0;
}

void bucket_take(struct bucket *b, int64_t now_us)
{
	if (b->full_us < now_us)
		b->full_us = now_us;
	b->full_us += b->spacing_us;
}

int64_t bucket_pause_us(const struct bucket *b, int64_t now_us)
{
	return b->paused_us > now_us ? b->paused_us - now_us : 0;
}

void bucket_hold(struct bucket *b, int64_t until_us)
{
	if (b->paused_us < until_us)
		b->paused_us = until_us;
}

/* base * 2^n without overflow, at most max. */
static int64_t doubled(int64_t base_us, int64_t max_us, unsigned n)
{
	int64_t us = base_us;

	while (n-- && us < max_us)
		us *= 2;
	return us < max_us ? us : max_us;
}

/* That share of us which `random` is of its range. */
static int64_t share(int64_t us, uint32_t random)
{
	return (int64_t)((uint64_t)us * random / UINT32_MAX);
}

int64_t full_jitter_us(int64_t base_us, int64_t max_us, unsigned n, uint32_t random)
{
	/* share() multiplies by 2^32: more than that would overflow. */
	CHECK(base_us > 0 && max_us >= base_us && max_us <= HOUR_US);
	return share(doubled(base_us, max_us, n), random);
}

int64_t bucket_refused(struct bucket *b, int64_t retry_after_us, int64_t penalty_us, int64_t now_us,
		       uint32_t random)
{
	int64_t top = doubled(PAUSE_FIRST_US, PAUSE_MAX_US, b->refusals), pause;

	if (retry_after_us > 0)
		pause = retry_after_us < RETRY_AFTER_MAX ? retry_after_us : RETRY_AFTER_MAX;
	else
		pause = top / 2 + share(top / 2, random);
	b->refusals++;
	bucket_hold(b, now_us + pause + penalty_us);
	return pause;
}

void bucket_accepted(struct bucket *b)
{
	b->refusals = 0;
}

/* ---- breaker ---- */

enum breaker_state breaker_state(const struct breaker *b, int64_t now_us)
{
	if (!b->until_us)
		return BREAKER_CLOSED;
	return now_us < b->until_us ? BREAKER_OPEN : BREAKER_HALF_OPEN;
}

bool breaker_passes(const struct breaker *b, int64_t now_us)
{
	switch (breaker_state(b, now_us)) {
	case BREAKER_CLOSED:
		return true;
	case BREAKER_OPEN:
		return false;
	case BREAKER_HALF_OPEN:
		return !b->trying;
	}
	return false;
}

void breaker_sent(struct breaker *b, int64_t now_us)
{
	b->trying = breaker_state(b, now_us) == BREAKER_HALF_OPEN;
}

bool breaker_outcome(struct breaker *b, bool failed, int64_t now_us)
{
	if (!failed) { /* whenever it was sent: the provider answers */
		*b = (struct breaker){0};
		return false;
	}
	switch (breaker_state(b, now_us)) {
	case BREAKER_OPEN: /* sent before it opened: says nothing new */
		return false;
	case BREAKER_CLOSED:
		if (++b->failures < BREAKER_FAILURES)
			return false;
		break;
	case BREAKER_HALF_OPEN:
		break;
	}
	b->until_us = now_us + doubled(BREAKER_FIRST_US, BREAKER_MAX_US, b->opened);
	b->opened++;
	b->failures = 0;
	b->trying = false;
	return true;
}
