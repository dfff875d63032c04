/*
 * What goes wrong, as one table; and which fault the next call gets. A row that is never drawn, or a
 * fault that is never set, fails the test (test_sim.c): the table is the fault matrix. See sim.h.
 */
#include <errno.h>
#include <string.h>

#include "sim.h"

#define LISTS_ROOM_US \
	(100 * SECOND_US) /* what comes late leaves the provider's lag so much for its lists */
#define HUGE_BYTES ((int64_t)1200000) /* above HTTP_BODY_MAX */

/* ---- the next call's fault ---- */

/* The 32 MiB of a search. */
bool sim_fault_never(enum sim_op op, const struct sim_fault *f)
{
	return f->param == PARAM_HUGE && op == SIM_SEARCH;
}

/* Megabytes cost the simulator more than they teach: seldom. Creates are few. */
static bool is_wanted(struct sim *s, enum sim_op op, const struct sim_fault *f)
{
	return f->fits && (!f->lie || s->lying) && !sim_fault_never(op, f) &&
	       (f->param != PARAM_HUGE || !chance_below(&s->trouble, op == SIM_CREATE ? 3 : 20));
}

static int64_t late_max_us(const struct sim_cloud *c)
{
	return c->provider->lag_us - LISTS_ROOM_US;
}

static int64_t fault_param(struct sim *s, const struct sim_cloud *c, enum sim_op op,
			   enum sim_param param)
{
	bool beyond = op == SIM_CREATE && s->beyond_lag;
	int64_t us = 0;

	switch (param) {
	case PARAM_LATE:
		us = chance_between(&s->trouble, SECOND_US,
				    beyond ? 2 * c->provider->lag_us : late_max_us(c));
		break;
	case PARAM_LINGER:
		us = chance_between(&s->trouble, SECOND_US, 5 * MINUTE_US);
		break;
	case PARAM_SLOW:
		return chance_between(&s->trouble, SECOND_US, 130 * SECOND_US);
	case PARAM_PAST:
		return chance_between(&s->trouble, SECOND_US, late_max_us(c));
	case PARAM_HUGE:
		return HUGE_BYTES;
	case PARAM_NONE:
		return 0;
	}
	if (s->now_us + us + MINUTE_US > s->late_until_us)
		s->late_until_us = s->now_us + us + MINUTE_US;
	return us;
}

static unsigned draw(struct sim *s, const struct sim_cloud *c, enum sim_op op)
{
	for (int tries = 0; tries < 200; tries++) {
		unsigned k = (unsigned)chance_between(&s->trouble, 1, c->kind->fault_kinds - 1);
		struct sim_fault f = c->kind->fault(op, k);

		if (is_wanted(s, op, &f))
			return k;
	}
	return 0;
}

static void set_fault(struct sim *s, struct sim_cloud *c, enum sim_op op, unsigned k)
{
	struct sim_fault f = c->kind->fault(op, k);

	if (!k)
		return;
	c->kind->set_fault(c->state, op, k, fault_param(s, c, op, f.param));
	s->counts->faults[c->number][op][k]++;
	c->list_lies += f.lie && op == SIM_LIST;
	c->get_lies += f.lie && op != SIM_LIST;
}

unsigned sim_draw_fault(struct sim *s, struct sim_cloud *c, enum sim_op op)
{
	unsigned k = c->always;

	c->kind->no_faults(c->state);
	if (op == SIM_CREATE && chance_hit(&s->trouble, c->weather[SIM_BOOT]))
		set_fault(s, c, SIM_BOOT, draw(s, c, SIM_BOOT));
	if (!k && op < SIM_OP_COUNT && chance_hit(&s->trouble, c->weather[op]))
		k = draw(s, c, op);
	set_fault(s, c, op, k);
	return k;
}

/* ---- weather ---- */

static struct sim_cloud *some_cloud(struct sim *s)
{
	return &s->clouds[chance_below(&s->trouble, (int64_t)s->cloud_count)];
}

static void weather_at(struct sim_cloud *c, int64_t per_mille)
{
	for (size_t i = 0; i < SIM_OP_COUNT; i++)
		c->weather[i] = per_mille;
}

/* At one cloud, or at all. */
static void weather(struct sim *s, int64_t per_mille)
{
	size_t one = (size_t)chance_below(&s->trouble, (int64_t)s->cloud_count + 1);

	for (size_t i = 0; i < s->cloud_count; i++)
		if (one == i || one == s->cloud_count)
			weather_at(&s->clouds[i], per_mille);
}

static void fair(struct sim *s)
{
	for (size_t i = 0; i < s->cloud_count; i++)
		weather_at(&s->clouds[i], 0);
}

static void rain(struct sim *s)
{
	weather(s, chance_between(&s->trouble, 50, 250));
}

static void storm(struct sim *s)
{
	static const enum sim_op ops[] = {SIM_CREATE, SIM_DESTROY, SIM_LIST,	SIM_GET,
					  SIM_ATTACH, SIM_SEARCH,  SIM_ACCOUNT, SIM_BOOT};

	some_cloud(s)->weather[ops[chance_below(&s->trouble, ARRAY_LEN(ops))]] = chance_between(
		&s->trouble, 300, 1000);
}

static void black_hole(struct sim *s)
{
	weather(s, 1000);
}

static void key_dies(struct sim *s)
{
	struct sim_cloud *c = some_cloud(s);

	c->kind->set_key_dead(c->state, true);
}

static void key_lives(struct sim *s)
{
	for (size_t i = 0; i < s->cloud_count; i++)
		s->clouds[i].kind->set_key_dead(s->clouds[i].state, false);
}

static void money_ends(struct sim *s)
{
	struct sim_cloud *c = some_cloud(s);

	c->kind->set_credit(c->state, s->now_us, 0);
}

static void money_comes(struct sim *s)
{
	for (size_t i = 0; i < s->cloud_count; i++)
		s->clouds[i].kind->set_credit(s->clouds[i].state, s->now_us, 1000000000);
}

/* ---- machines ---- */

static void machine_event(struct sim *s, enum sim_fate fate)
{
	struct sim_machine *m;
	struct sim_view v;

	if (!s->machine_count)
		return;
	m = &s->machines[chance_below(&s->trouble, (int64_t)s->machine_count)];
	sim_see(s, m, &v);
	if (!v.alive || m->attempt == SIZE_MAX)
		return;
	/* One by one: what vanishes all at once is for the brake. */
	if (fate == FATE_VANISH && s->vanished_us && s->now_us < s->vanished_us + 30 * MINUTE_US)
		return;
	if (!m->cloud->kind->fate(m->cloud->state, s->now_us, m->at, fate))
		return;
	sim_tell(s, "machine %s: event %d", m->id, (int)fate);
	m->stopped_us = s->now_us;
	if (fate == FATE_VANISH)
		s->vanished_us = s->now_us;
	s->dirty = true;
}

static void vanishes(struct sim *s)
{
	machine_event(s, FATE_VANISH);
}

static void is_stopped(struct sim *s)
{
	machine_event(s, FATE_STOP);
}

static void exits(struct sim *s)
{
	machine_event(s, FATE_EXIT);
}

static void goes_offline(struct sim *s)
{
	machine_event(s, FATE_OFFLINE);
}

static void goes_silent(struct sim *s)
{
	machine_event(s, FATE_UNHEARD);
}

static void comes_back(struct sim *s)
{
	machine_event(s, FATE_BACK);
}

/* Not ours: without a label, of people, a look-alike, another deployment's, our words and a wrong mac. */
static void foreign_machine(struct sim *s)
{
	static const unsigned char their_key[32] = "another deployment's key";
	static const char *const labels[] = {NULL, "their-job", "gpufs-test1-"};
	static const char session[] = "01234567-89ab-4cde-8f01-23456789abcd";
	size_t which = (size_t)chance_below(&s->trouble, ARRAY_LEN(labels) + 2);
	struct sim_cloud *c = some_cloud(s);
	char made[64];

	label_make(made, which == ARRAY_LEN(labels) ? "other1" : "test1", session, 1, their_key);
	c->kind->add_foreign(c->state, s->now_us, which < ARRAY_LEN(labels) ? labels[which] : made);
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
	for (size_t i = 0; i < s->cloud_count; i++)
		s->clouds[i].kind->be_kind(s->clouds[i].state);
	for (size_t i = 0; i < s->machine_count; i++) {
		const struct sim_machine *m = &s->machines[i];

		m->cloud->kind->fate(m->cloud->state, s->now_us, m->at, FATE_BACK);
	}
}
