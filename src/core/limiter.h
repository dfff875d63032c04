/*
 * How often a provider may be asked: a bucket of tokens per kind of request and one for the account
 * (GCRA: one number instead of a counter and a clock), and a breaker that stops asking a provider
 * that does not answer. Pure: monotonic time comes in, microseconds everywhere. No thread of its
 * own: whoever owns the struct. Tests: tests/unit/test_limiter.c.
 */
#ifndef GPUFS_CORE_LIMITER_H
#define GPUFS_CORE_LIMITER_H

#include <stdbool.h>
#include <stdint.h>

#include "text.h"

/* Pauses after a 429 without a word about how long: 1-2 s, doubling to 60 s, what every long-lived
 * client of Vast.ai converged on (wire page, 2). */
#define PAUSE_FIRST_US	(2 * SECOND_US)
#define PAUSE_MAX_US	(60 * SECOND_US)
#define RETRY_AFTER_MAX (15 * MINUTE_US) /* a longer word of the provider is not believed */

#define BREAKER_FAILURES 5 /* in a row, until it opens */
#define BREAKER_FIRST_US (5 * SECOND_US)
#define BREAKER_MAX_US	 (60 * SECOND_US)

struct bucket {
	int64_t spacing_us; /* 0: no limit */
	int64_t burst;	    /* tokens when it is full; at least 1 */
	int64_t full_us;    /* when it will be full again (GCRA's "theoretical arrival time") */
	int64_t paused_us;  /* nothing before this, whatever it holds */
	unsigned refusals;  /* 429s in a row */
};
/* A full bucket; CHECKs the bounds. */
void bucket_init(struct bucket *b, int64_t spacing_us, int64_t burst);
/* How long until a token may be taken that leaves `reserve` behind; 0: now. Pauses do not count.
 * reserve < burst, else it would be never. */
int64_t bucket_wait_us(const struct bucket *b, int64_t reserve, int64_t now_us);
void bucket_take(struct bucket *b, int64_t now_us);
/* The rest of the pause; 0: none. */
int64_t bucket_pause_us(const struct bucket *b, int64_t now_us);
/* A 429: pause for the provider's own word if there is one (retry_after_us > 0; UNKNOWN and 0 say
 * nothing), else with growing pauses; `penalty_us` more. Never shortens a pause. Returns its length
 * without the penalty. */
int64_t bucket_refused(struct bucket *b, int64_t retry_after_us, int64_t penalty_us, int64_t now_us,
		       uint32_t random);
void bucket_hold(struct bucket *b, int64_t until_us); /* pause, without counting a refusal */
void bucket_accepted(struct bucket *b);		      /* no 429: pauses start over */

enum breaker_state { BREAKER_CLOSED, BREAKER_OPEN, BREAKER_HALF_OPEN };
struct breaker {
	unsigned failures; /* in a row, while closed */
	unsigned opened;   /* times in a row */
	int64_t until_us;  /* 0: closed; open until then, half open afterwards */
	bool trying;	   /* half open, and the one that may pass is under way */
};
enum breaker_state breaker_state(const struct breaker *b, int64_t now_us);
/* May one more request pass? Half open lets one through at a time. */
bool breaker_passes(const struct breaker *b, int64_t now_us);
void breaker_sent(struct breaker *b, int64_t now_us); /* one was sent */
/* Its outcome. True: the breaker has just opened, or opened again. */
bool breaker_outcome(struct breaker *b, bool failed, int64_t now_us);

/* Full jitter: anything from 0 to base * 2^n, at most max. */
int64_t full_jitter_us(int64_t base_us, int64_t max_us, unsigned n, uint32_t random);

#endif
