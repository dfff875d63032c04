/* The standard life, killed once at a given boundary of the journal or of HTTP. See sim.h. */
#include <string.h>

#include "sim.h"

#define PATIENCE_US (45 * MINUTE_US) /* a create that a kill left open is void after the lag only */
#define AGAIN_US    (5 * SECOND_US)  /* until people look whether it is as they want it */

static void pursue(struct sim *s, bool gone)
{
	int64_t limit_us = s->now_us + PATIENCE_US;

	while (!s->wrong[0] && !sim_want(s, "train", gone)) {
		if (s->now_us > limit_us)
			sim_wrong(s, "train is not %s after %d minutes", gone ? "gone" : "running",
				  (int)(PATIENCE_US / MINUTE_US));
		sim_run_until(s, s->now_us + AGAIN_US);
	}
}

bool sim_standard_life(struct sim *s, uint64_t at, FILE *story, struct sim_counts *counts)
{
	sim_begin(s, 1, story, counts);
	s->lying = s->beyond_lag = false;
	s->crash_ppm = 0;
	s->crash_at = at;
	fakevast_be_kind(s->cloud);
	sim_start(s);
	sim_run_until(s, 5 * SECOND_US);
	pursue(s, false);
	sim_run_until(s, s->now_us + 10 * MINUTE_US);
	pursue(s, true);
	if (!s->wrong[0])
		sim_settle(s);
	if (!s->wrong[0])
		sim_audit(s);
	sim_end(s);
	return !s->wrong[0];
}
