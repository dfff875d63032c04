/*
 * A wall clock that was set back: times of ours that lie ahead of it would make the engine wait for as
 * long as it was set back, and with it what must not wait (a DELETE, a proof). Looked at with every turn,
 * which the tick brings whatever the deadlines say. Loop thread. Tests: tests/sim.
 */
#include <string.h>

#include "internal.h"

#define PAUSE_MAX_US HOUR_US /* no pause is longer: one that seems to be was set by another clock */

void clock_shorten(int64_t *until_us, int64_t now_us)
{
	if (*until_us > now_us + PAUSE_MAX_US && *until_us != INT64_MAX)
		*until_us = now_us;
}

void clock_not_later(int64_t *then_us, int64_t now_us)
{
	if (*then_us > now_us)
		*then_us = now_us;
}

/* What happened did not happen later than now, and what waits does not wait for days. Evidence from a
 * time to come is none. */
void clock_follow(struct life *l, int64_t now_us)
{
	struct observed *o = &l->o;

	clock_shorten(&o->next_look_us, now_us);
	clock_shorten(&o->next_list_us, now_us);
	clock_shorten(&o->next_probe_us, now_us);
	clock_shorten(&o->next_destroy_us, now_us);
	clock_shorten(&o->next_choose_us, now_us);
	clock_shorten(&o->next_attach_us, now_us);
	clock_shorten(&l->next_put_us, now_us);
	clock_not_later(&o->destroy_ok_us, now_us);
	clock_not_later(&o->hold_released_us, now_us);
	clock_not_later(&o->watched_us, now_us);
	clock_not_later(&o->sent_by_us, now_us);
	clock_not_later(&l->asked_market_us, now_us);
	if (l->s.instance_state != I_GONE) { /* its bill is still open */
		clock_not_later(&l->s.asked_us, now_us);
		clock_not_later(&l->s.booted_us, now_us);
		clock_not_later(&l->s.rate_us, now_us);
		clock_not_later(&l->s.delete_us, now_us);
	}
	if (o->absent_us[1] > now_us || o->gone_us[1] > now_us)
		seen_alive(l);
	if (o->stopped_us[1] > now_us)
		memset(o->stopped_us, 0, sizeof o->stopped_us);
}

void clock_follow_sources(struct engine *e, int64_t now_us)
{
	clock_not_later(&e->looked_us, now_us);
	for (size_t i = 0; i < e->source_count; i++) {
		struct source *src = &e->sources[i];

		clock_shorten(&src->next_list_us, now_us);
		clock_shorten(&src->next_refresh_us, now_us);
		clock_shorten(&src->next_account_us, now_us);
		clock_shorten(&src->wanted_us, now_us);
		clock_not_later(&src->fetched_us, now_us); /* else a list of yesterday is fresh */
		clock_not_later(&src->refreshed_us, now_us);
		clock_not_later(&src->tried_us, now_us);
		clock_not_later(&src->whole_list_us, now_us);
		strays_follow_clock(src, now_us);
	}
}
