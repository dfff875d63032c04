/*
 * What goes wrong, as one table; and which fault the next call gets. A row that is never drawn, or a
 * fault that is never set, fails the test (test_sim.c): the table is the fault matrix. See sim.h.
 */
#include <errno.h>
#include <string.h>

#include "sim.h"

#define LATE_MAX_US   (500 * SECOND_US)	 /* within the provider's lag, with room for its lists */
#define BEYOND_MAX_US (1200 * SECOND_US) /* twice the lag */
#define HUGE_BYTES    ((int64_t)1200000) /* above HTTP_BODY_MAX */

/* ---- the next call's fault ---- */

/* Answers that are whole and untrue. The engine can only doubt them; a life with them is judged with
 * what it was told in mind. */
static bool is_lie(enum fakevast_op op, enum fakevast_fault_kind k)
{
	switch ((int)k) {
	case FVF_OTHER:
	case FVF_TYPES:
		return op == FV_LIST || op == FV_GET;
	case FVF_EMPTY_LIST:
	case FVF_GONE:
		return true;
	default:
		return false;
	}
}

/* Megabytes cost the simulator more than they teach: seldom, and never the 32 MiB of a search. */
static bool is_slow(struct sim *s, enum fakevast_op op, enum fakevast_fault_kind k)
{
	return k == FVF_HUGE && (op == FV_SEARCH || chance_below(&s->trouble, 20));
}

static int64_t fault_param(struct sim *s, enum fakevast_op op, enum fakevast_fault_kind k)
{
	int64_t us;

	switch ((int)k) {
	case FVF_LATE:
	case FVF_LATE_DROP:
		us = chance_between(&s->trouble, SECOND_US,
				    op == FV_CREATE && s->beyond_lag ? BEYOND_MAX_US : LATE_MAX_US);
		break;
	case FVF_LINGER:
	case FVF_RESURRECT:
		us = chance_between(&s->trouble, SECOND_US, 5 * MINUTE_US);
		break;
	case FVF_SLOW:
	case FVF_DRIP:
		return chance_between(&s->trouble, SECOND_US, 130 * SECOND_US);
	case FVF_OUTDATED:
		return chance_between(&s->trouble, SECOND_US, LATE_MAX_US);
	case FVF_HUGE:
		return HUGE_BYTES;
	default:
		return 0;
	}
	if (s->now_us + us + MINUTE_US > s->late_until_us)
		s->late_until_us = s->now_us + us + MINUTE_US;
	return us;
}

static enum fakevast_fault_kind draw(struct sim *s, enum fakevast_op op)
{
	for (int tries = 0; tries < 200; tries++) {
		enum fakevast_fault_kind k = (enum fakevast_fault_kind)chance_between(
			&s->trouble, 1, FVF_COUNT - 1);

		if (!fakevast_fault_fits(op, k) || (is_lie(op, k) && !s->lying) ||
		    is_slow(s, op, k))
			continue;
		return k;
	}
	return FVF_NONE;
}

static void set_fault(struct sim *s, enum fakevast_op op, enum fakevast_fault_kind k)
{
	CHECK(fakevast_fault(s->cloud, op, k, fault_param(s, op, k), 1, 0) == 0);
	s->counts->faults[op][k]++;
	if (is_lie(op, k)) {
		s->list_lies += op == FV_LIST;
		s->get_lies += op != FV_LIST;
	}
}

enum fakevast_fault_kind sim_draw_fault(struct sim *s, enum fakevast_op op)
{
	enum fakevast_fault_kind k = FVF_NONE;

	fakevast_no_faults(s->cloud);
	if (op == FV_CREATE && chance_hit(&s->trouble, s->weather[FV_BOOT]))
		set_fault(s, FV_BOOT, draw(s, FV_BOOT));
	if (op < FV_UNKNOWN && chance_hit(&s->trouble, s->weather[op]))
		k = draw(s, op);
	if (k)
		set_fault(s, op, k);
	return k;
}

/* ---- weather ---- */

static void weather_all(struct sim *s, int64_t per_mille)
{
	for (size_t i = 0; i < FV_OP_COUNT; i++)
		s->weather[i] = per_mille;
}

static void fair(struct sim *s)
{
	weather_all(s, 0);
}

static void rain(struct sim *s)
{
	weather_all(s, chance_between(&s->trouble, 50, 250));
}

static void storm(struct sim *s)
{
	static const enum fakevast_op ops[] = {FV_CREATE, FV_DESTROY, FV_LIST,	  FV_GET,
					       FV_ATTACH, FV_SEARCH,  FV_ACCOUNT, FV_BOOT};

	s->weather[ops[chance_below(&s->trouble, ARRAY_LEN(ops))]] = chance_between(&s->trouble,
										    300, 1000);
}

static void black_hole(struct sim *s)
{
	weather_all(s, 1000);
}

static void key_dies(struct sim *s)
{
	fakevast_set_key_dead(s->cloud, true);
}

static void key_lives(struct sim *s)
{
	fakevast_set_key_dead(s->cloud, false);
}

static void money_ends(struct sim *s)
{
	fakevast_set_credit(s->cloud, s->now_us, 0);
}

static void money_comes(struct sim *s)
{
	fakevast_set_credit(s->cloud, s->now_us, 1000000000);
}

/* ---- machines ---- */

static void machine_event(struct sim *s, enum fakevast_event e)
{
	struct sim_machine *m;
	struct fakevast_view v;
	size_t i;

	if (!s->machine_count)
		return;
	i = (size_t)chance_below(&s->trouble, (int64_t)s->machine_count);
	m = &s->machines[i];
	fakevast_view(s->cloud, s->now_us, i, &v);
	if (!v.alive || m->attempt == SIZE_MAX)
		return;
	/* One by one: what vanishes all at once is for the brake. */
	if (e == FVE_VANISH && s->vanished_us && s->now_us < s->vanished_us + 30 * MINUTE_US)
		return;
	if (!fakevast_event(s->cloud, s->now_us, m->id, e))
		return;
	sim_tell(s, "machine %lld: event %d", (long long)m->id, (int)e);
	m->stopped_us = s->now_us;
	if (e == FVE_VANISH)
		s->vanished_us = s->now_us;
	s->dirty = true;
}

static void vanishes(struct sim *s)
{
	machine_event(s, FVE_VANISH);
}

static void is_stopped(struct sim *s)
{
	machine_event(s, FVE_STOP);
}

static void exits(struct sim *s)
{
	machine_event(s, FVE_EXIT);
}

static void goes_offline(struct sim *s)
{
	machine_event(s, FVE_OFFLINE);
}

static void goes_silent(struct sim *s)
{
	machine_event(s, FVE_UNHEARD);
}

static void comes_back(struct sim *s)
{
	machine_event(s, FVE_BACK);
}

/* Not ours: without a label, of people, a look-alike, another deployment's, our words and a wrong mac. */
static void foreign_machine(struct sim *s)
{
	static const unsigned char their_key[32] = "another deployment's key";
	char label[64];

	switch (chance_below(&s->trouble, 5)) {
	case 0:
		fakevast_add_foreign(s->cloud, s->now_us, NULL);
		break;
	case 1:
		fakevast_add_foreign(s->cloud, s->now_us, "their-job");
		break;
	case 2:
		fakevast_add_foreign(s->cloud, s->now_us, "gpufs-test1-");
		break;
	case 3:
		label_make(label, "other1", "01234567-89ab-4cde-8f01-23456789abcd", 1, their_key);
		fakevast_add_foreign(s->cloud, s->now_us, label);
		break;
	default:
		label_make(label, "test1", "01234567-89ab-4cde-8f01-23456789abcd", 1, their_key);
		fakevast_add_foreign(s->cloud, s->now_us, label);
		break;
	}
	sim_machines_look(s);
}

/* ---- disk, clock, process ---- */

static void disk_full(struct sim *s)
{
	s->disk.err = -ENOSPC;
}

static void disk_fails(struct sim *s)
{
	s->disk.err = -EIO;
}

static void disk_slow(struct sim *s)
{
	s->disk.delay_us = chance_between(&s->trouble, 100000, 5 * SECOND_US);
}

static void disk_well(struct sim *s)
{
	s->disk.err = 0;
	s->disk.delay_us = 300;
	s->disk.ballast = true;
}

/* By a day only in some lives: there the books are not compared with the meter. */
static void clock_steps(struct sim *s)
{
	static const int64_t steps[] = {-5 * MINUTE_US, 5 * MINUTE_US, -DAY_US, DAY_US};
	int64_t kinds = s->clock_days ? 4 : 2;
	int64_t to = s->wall_step_us ? 0 : steps[chance_below(&s->trouble, kinds)];

	sim_money_clock(s, to - s->wall_step_us);
	s->clock_stepped = true;
	s->wall_step_us = to;
}

static void crash(struct sim *s)
{
	sim_kill(s, "at rest");
}

/* Rare: what follows from it is another promise (orphans end after their grace). */
static void database_lost(struct sim *s)
{
	if (chance_below(&s->trouble, 20) || s->lost_disk)
		return;
	sim_kill(s, "and its database is lost");
	sim_disk_lose(s);
	s->lost_disk = true;
	for (size_t i = 0; i < s->session_count; i++)
		s->sessions[i].gone_promised = s->sessions[i].bought = false;
}

static const struct {
	const char *name;
	int weight;
	void (*run)(struct sim *s);
} rows[] = {
	{"fair weather", 8, fair},
	{"rain: some of all calls fail", 8, rain},
	{"storm: most calls of one kind fail", 14, storm},
	{"black hole: all calls fail", 2, black_hole},
	{"the key is refused", 2, key_dies},
	{"the key is accepted", 4, key_lives},
	{"the credit is used up", 1, money_ends},
	{"credit was bought", 2, money_comes},
	{"a machine vanishes", 3, vanishes},
	{"a machine is stopped", 3, is_stopped},
	{"a container exits", 3, exits},
	{"a host is offline", 3, goes_offline},
	{"a host is not heard of", 3, goes_silent},
	{"a host is back", 5, comes_back},
	{"somebody else's machine", 3, foreign_machine},
	{"the disk is full", 2, disk_full},
	{"the disk fails", 2, disk_fails},
	{"the disk is slow", 2, disk_slow},
	{"the disk is well", 7, disk_well},
	{"the clock steps", 2, clock_steps},
	{"gpufs is killed", 5, crash},
	{"the database is lost", 1, database_lost},
};
_Static_assert(ARRAY_LEN(rows) <= ARRAY_LEN(((struct sim_counts *)0)->troubles), "all are counted");

size_t sim_trouble_count(void)
{
	return ARRAY_LEN(rows);
}

const char *sim_trouble_name(size_t i)
{
	return rows[i].name;
}

void sim_trouble(struct sim *s)
{
	int64_t total = 0, at;
	size_t i = 0;

	for (size_t k = 0; k < ARRAY_LEN(rows); k++)
		total += rows[k].weight;
	for (at = chance_below(&s->trouble, total); at >= rows[i].weight; i++)
		at -= rows[i].weight;
	sim_tell(s, "trouble: %s", rows[i].name);
	s->counts->troubles[i]++;
	rows[i].run(s);
}

void sim_peace(struct sim *s)
{
	fair(s);
	disk_well(s);
	key_lives(s);
	money_comes(s);
	s->crash_ppm = 0;
	if (s->wall_step_us)
		clock_steps(s);
	fakevast_be_kind(s->cloud);
	for (size_t i = 0; i < s->machine_count; i++)
		fakevast_event(s->cloud, s->now_us, s->machines[i].id, FVE_BACK);
}
