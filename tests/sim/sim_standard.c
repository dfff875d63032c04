/* Lives that follow a plan: one kill at a given boundary, or one cloud that fails. See sim.h. */
#include <string.h>

#include "sim.h"

#define PATIENCE_US (45 * MINUTE_US) /* a create that a kill left open is void after the lag only */
#define PROMPT_US \
	(6 * MINUTE_US)		 /* where nothing is wrong: the market, a create, a boot, a login */
#define AGAIN_US (5 * SECOND_US) /* until people look whether it is as they want it */

#define A_SPEC "max_price=30 hours=3 wait=max retries=5"

static void pursue(struct sim *s, const char *spec, int64_t patience_us)
{
	int64_t limit_us = s->now_us + patience_us;

	while (!s->wrong[0] && !sim_want(s, "train", spec)) {
		if (s->now_us > limit_us)
			sim_wrong(s, "train is not %s after %d minutes", spec ? "running" : "gone",
				  (int)(patience_us / MINUTE_US));
		sim_run_until(s, s->now_us + AGAIN_US);
	}
}

static void begin(struct sim *s, unsigned clouds, FILE *story, struct sim_counts *counts)
{
	sim_begin(s, 1, clouds, story, counts);
	s->lying = s->beyond_lag = false;
	s->crash_ppm = 0;
	for (size_t i = 0; i < s->cloud_count; i++)
		s->clouds[i].kind->be_kind(s->clouds[i].state);
}

static bool end(struct sim *s)
{
	if (!s->wrong[0])
		sim_settle(s);
	if (!s->wrong[0])
		sim_audit(s);
	sim_end(s);
	return !s->wrong[0];
}

bool sim_standard_life(struct sim *s, unsigned clouds, uint64_t at, FILE *story,
		       struct sim_counts *counts)
{
	begin(s, clouds, story, counts);
	s->crash_at = at;
	sim_start(s);
	sim_run_until(s, 5 * SECOND_US);
	pursue(s, A_SPEC "\n", PATIENCE_US);
	sim_run_until(s, s->now_us + 10 * MINUTE_US);
	pursue(s, NULL, PATIENCE_US);
	return end(s);
}

static void break_cloud(struct sim_cloud *c, enum sim_failure how)
{
	static const char *const faults[] = {[NEVER_ANSWERS] = "stall", [ANSWERS_503] = "503"};

	if (how == REFUSES_THE_KEY) {
		c->kind->set_key_dead(c->state, true);
		return;
	}
	for (unsigned k = 1; k < c->kind->fault_kinds; k++)
		if (!strcmp(c->kind->fault_name(k), faults[how]))
			c->always = k;
	CHECK(c->always);
}

/* If it fails from the beginning on, nothing of it is on the market, and the order goes elsewhere by itself;
 * later, people say where. */
bool sim_beside_life(struct sim *s, size_t failing, enum sim_failure how, bool later, FILE *story,
		     struct sim_counts *counts)
{
	const char *well = sim_cloud_kinds[failing ? 0 : 1]->name;
	char spec[120];

	begin(s, SIM_ALL_CLOUDS, story, counts);
	snprintf(spec, sizeof spec, "%s%s " A_SPEC "\n", later ? "provider=" : "",
		 later ? well : "");
	if (!later)
		break_cloud(&s->clouds[failing], how);
	sim_start(s);
	sim_run_until(s, MINUTE_US);
	if (later)
		break_cloud(&s->clouds[failing], how);
	pursue(s, spec, PROMPT_US);
	sim_run_until(s, s->now_us + 10 * MINUTE_US);
	pursue(s, NULL, PROMPT_US);
	return end(s);
}
