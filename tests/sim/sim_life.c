/*
 * A life: the process that is started, killed and started again, and the phases. See sim.h.
 *
 * A kill takes effect at once: from then on nothing that the process does reaches the disk, the cloud or
 * a person. Its memory is given back afterwards by an ordinary stop inside of a world that answers
 * everything with a failure, for which time is turned back.
 */
#include <string.h>

#include "sim.h"

#define DOWN_MIN_US SECOND_US
#define DOWN_MAX_US (5 * MINUTE_US)
#define DRAIN_US    (2 * HOUR_US)
#define LOOK_US	    (15 * SECOND_US) /* between looks whether everything has settled */

/* Everything must settle within ten minutes, plus what a proof or a limit needs:
 * - an unsure create, or one that a crash left open, is void only by lists begun after the provider's
 *   lag (Vast.ai: 600 s, TensorDock: 300 s) since the last restart;
 * - a machine that will never boot or take a login is given up after the boot and the SSH limit;
 * - orphans (only after the database was lost) wait while fresh books only observe, and their grace. */
static int64_t settle_limit_us(const struct sim *s)
{
	int64_t limit = 10 * MINUTE_US + s->p.boot_timeout_us + s->p.ssh_verify_timeout_us;
	int64_t lag_us = 0;

	for (size_t i = 0; i < s->cloud_count; i++)
		if (s->clouds[i].provider->lag_us > lag_us)
			lag_us = s->clouds[i].provider->lag_us;
	limit += lag_us;

	if (s->clock_stepped) /* a wait that began before a step back lasts so much longer */
		limit += 10 * MINUTE_US;
	if (s->lost_disk)
		limit += 30 * MINUTE_US + s->p.orphan_grace_us;
	return limit;
}

/* ---- the process ---- */

void sim_start(struct sim *s)
{
	struct provider *providers[SIM_CLOUDS];
	struct error why = {0};

	for (size_t i = 0; i < s->cloud_count; i++)
		providers[i] = s->clouds[i].provider;
	s->process++;
	s->dead = false;
	s->started_us = s->now_us;
	/* Another boot of the machine: the monotonic clock begins anew. */
	s->mono_base_us = chance_below(&s->trouble, 30 * DAY_US);
	sim_tell(s, "gpufs: started, process %u", s->process);
	s->e = engine_new(&s->w, &s->p, providers, s->cloud_count);
	engine_add_door(s->e, &s->door);
	for (size_t i = 0; i < s->disk.row_count; i++)
		if (engine_load(s->e, &s->disk.rows[i], &why)) {
			sim_wrong(s, "a row of the journal cannot be loaded: %s", why.text);
			return;
		}
	sim_rules_born(s);
	sim_money_born(s);
	engine_start(s->e);
}

/* Give back what the process held. */
static void process_free(struct sim *s)
{
	int64_t now_us = s->now_us;

	s->dead = true;
	engine_stop(s->e);
	while (s->queue && sim_next_us(s) < now_us + DRAIN_US)
		sim_step(s);
	engine_free(s->e);
	s->e = NULL;
	sim_lose_events(s);
	s->now_us = now_us;
	for (size_t i = 0; i < s->cloud_count; i++)
		s->clouds[i].open_https = 0;
	for (size_t i = 0; i < s->machine_count; i++)
		s->machines[i].deletes = 0;
}

void sim_kill(struct sim *s, const char *where)
{
	if (s->dead)
		return;
	s->dead = true;
	s->counts->crashes++;
	sim_tell(s, "gpufs: killed %s", where);
	sim_money_die(s);
	sim_disk_crash(s);
	sim_orders_die(s);
}

void sim_boundary(struct sim *s, const char *where)
{
	if (s->dead)
		return;
	s->boundaries++;
	if (s->boundaries == s->crash_at ||
	    (s->crash_ppm && chance_below(&s->boundary, 1000000) < s->crash_ppm))
		sim_kill(s, where);
}

/* ---- time passes ---- */

static void pass_to(struct sim *s, int64_t at_us)
{
	if (at_us > s->now_us)
		s->now_us = at_us;
	sim_money_watch(s);
}

static void restart(struct sim *s)
{
	process_free(s);
	pass_to(s, s->now_us + chance_between(&s->trouble, DOWN_MIN_US, DOWN_MAX_US));
	sim_machines_look(s);
	sim_start(s);
}

void sim_run_until(struct sim *s, int64_t end_us)
{
	while (!s->wrong[0]) {
		if (s->dead) {
			restart(s);
			continue;
		}
		if (sim_next_us(s) > end_us)
			break;
		pass_to(s, sim_next_us(s));
		sim_step(s);
		if (!s->dead)
			sim_rules_event(s);
	}
	if (!s->wrong[0])
		pass_to(s, end_us);
}

/* Mostly soon, sometimes much later. */
static int64_t pause_us(struct sim *s)
{
	switch (chance_below(&s->people, 8)) {
	case 0:
		return chance_below(&s->people, 15 * MINUTE_US);
	case 1:
	case 2:
		return chance_below(&s->people, 2 * MINUTE_US);
	case 3:
		return chance_below(&s->people, 50000);
	default:
		return chance_below(&s->people, 15 * SECOND_US);
	}
}

static void safety(struct sim *s)
{
	int64_t span = SIM_SAFETY_MAX_US - SIM_SAFETY_MIN_US;
	int64_t end_us = s->now_us + SIM_SAFETY_MIN_US + chance_below(&s->people, span);

	while (s->now_us < end_us && !s->wrong[0]) {
		if (chance_below(&s->people, 3))
			sim_person(s);
		else
			sim_trouble(s);
		sim_run_until(s, s->now_us + pause_us(s));
		sim_orders_check(s);
	}
}

void sim_settle(struct sim *s)
{
	int64_t begin_us = s->now_us > s->late_until_us ? s->now_us : s->late_until_us;
	int64_t limit_us = begin_us + settle_limit_us(s);
	char why[300] = "";

	while (!s->wrong[0] && !(s->now_us >= begin_us && sim_settled(s, why, sizeof why))) {
		if (s->now_us > limit_us)
			sim_wrong(s, "not settled %d minutes after the faults stopped: %s",
				  (int)((s->now_us - begin_us) / MINUTE_US), why);
		sim_run_until(s, s->now_us + LOOK_US);
	}
	if (s->now_us - begin_us > s->counts->settle_max_us)
		s->counts->settle_max_us = s->now_us - begin_us;
}

static void liveness(struct sim *s)
{
	sim_tell(s, "---- the faults stop");
	sim_peace(s);
	sim_settle(s);
	sim_tell(s, "---- settled");
	if (s->seed % 8)
		return;
	/* Late looks; what is settled goes on, and settles again. */
	sim_run_until(s, s->now_us + 20 * MINUTE_US);
	sim_orders_check(s);
	sim_settle(s);
}

/* ---- a life ---- */

static void policy_init(struct policy *p)
{
	*p = (struct policy){.tick_us = MINUTE_US,
			     .reconcile_us = 5 * MINUTE_US,
			     .market_us = 2 * MINUTE_US,
			     .market_idle_us = 5 * MINUTE_US,
			     .market_backoff_us = 5 * MINUTE_US,
			     .start_timeout_us = 10 * MINUTE_US,
			     .boot_timeout_us = 8 * MINUTE_US,
			     .ssh_verify_timeout_us = 4 * MINUTE_US,
			     .ssh_backoff_max_us = 15 * SECOND_US,
			     .hold_grace_us = 30 * SECOND_US,
			     .keep_ended_us = 30 * MINUTE_US,
			     .history_keep_us = 400 * DAY_US,
			     .hard_max_us = 12 * HOUR_US,
			     .default_hours = UNKNOWN,
			     .default_max_price_u6 = UNKNOWN,
			     .price_tolerance_pct = 5,
			     .max_sessions = 200,
			     .max_sessions_per_user = 20,
			     .auto_commit = true,
			     .admin_gid = UNKNOWN,
			     .access = ACCESS_ALL,
			     .public_mount = "/gpu",
			     .deployment = "test1",
			     .label_key = "a key of the simulator's own",
			     .orphan_grace_us = 5 * MINUTE_US,
			     .orphan_destroy = true,
			     .default_disk_gb = 16};
}

static void add_cloud(struct sim *s, size_t number)
{
	const struct sim_cloud_kind *k = sim_cloud_kinds[number];
	struct sim_cloud *c = &s->clouds[s->cloud_count++];
	struct account account = {.key = k->key, .balance_id = k->balance_id};

	COPY(account.base_url, k->base_url);
	COPY(account.image, k->image);
	if (k->balance_id)
		COPY(account.balance_url, k->base_url);
	*c = (struct sim_cloud){.kind = k, .number = number};
	c->provider = k->provider_new(&account);
	CHECK(c->provider);
	c->state = k->make(&s->trouble);
}

void sim_begin(struct sim *s, uint64_t seed, unsigned clouds, FILE *story,
	       struct sim_counts *counts)
{
	struct chance seeds = {seed};
	struct chance *const all[] = {&s->own, &s->people, &s->trouble, &s->net, &s->boundary};

	memset(s, 0, sizeof *s);
	s->seed = seed;
	s->story = story;
	s->counts = counts;
	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		all[i]->state = chance_next(&seeds);
	s->w.self = s;
	sim_time_world(&s->w);
	sim_disk_world(&s->w);
	sim_net_world(&s->w);
	policy_init(&s->p);
	s->disk.delay_us = 300;
	s->disk.ballast = true;
	if (!clouds)
		clouds = (unsigned)chance_between(&s->trouble, 1, SIM_ALL_CLOUDS);
	for (size_t i = 0; i < SIM_CLOUDS; i++)
		if (clouds & 1u << i)
			add_cloud(s, i);
	s->lying = chance_below(&s->trouble, 4) == 0;
	s->beyond_lag = chance_below(&s->trouble, 4) == 0;
	s->clock_days = chance_below(&s->trouble, 8) == 0;
	if (chance_below(&s->trouble, 2))
		s->crash_ppm = chance_between(&s->trouble, 100, 4000);
	sim_rules_init(s);
}

void sim_end(struct sim *s)
{
	process_free(s);
	sim_orders_free(s);
	sim_disk_free(s);
	for (size_t i = 0; i < s->cloud_count; i++) {
		s->clouds[i].kind->free(s->clouds[i].state);
		s->clouds[i].kind->provider_free(s->clouds[i].provider);
	}
	free(s->attempts);
	free(s->machines);
	free(s->sessions);
}

bool sim_life(struct sim *s, uint64_t seed, FILE *story, struct sim_counts *counts)
{
	sim_begin(s, seed, 0, story, counts);
	sim_start(s);
	sim_run_until(s, SECOND_US);
	safety(s);
	if (!s->wrong[0])
		liveness(s);
	if (!s->wrong[0])
		sim_audit(s);
	counts->lives++;
	counts->machines += s->machine_count;
	counts->sessions += s->session_count;
	sim_end(s);
	return !s->wrong[0];
}
