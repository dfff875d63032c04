/* Whether everything has settled, and what must hold then. See sim.h. */
#include <string.h>

#include "sim.h"

static bool is_its(const struct sim_machine *m, const struct session *of)
{
	return !strcmp(m->cloud->kind->name, of->provider) && !strcmp(m->id, of->instance_id);
}

static bool session_settled(struct sim *s, const struct session *of, char *why, size_t size)
{
	struct sim_view v;

	switch ((enum session_state)of->state) {
	case S_DRAFT:
	case S_PENDING:
		return true;
	case S_PROVISIONING: /* between attempts, waiting for an offer */
		if (of->instance_state == I_NONE)
			return true;
		break;
	case S_RUNNING:
		for (size_t i = 0; i < s->machine_count; i++) {
			if (!is_its(&s->machines[i], of))
				continue;
			sim_see(s, &s->machines[i], &v);
			if (v.alive)
				return true;
		}
		snprintf(why, size, "%s is running, and its machine %s is not there", of->name,
			 of->instance_id);
		return false;
	case S_STOPPING:
		break;
	case S_STOPPED:
	case S_FAILED:
		if (engine_proven(of))
			return true;
		break;
	case S_COUNT:
		CHECK(false);
	}
	snprintf(why, size, "%s is %s, its instance %s %s: %s", of->name,
		 state_name((enum session_state)of->state), of->instance_id,
		 instance_state_name((enum instance_state)of->instance_state), of->reason);
	return false;
}

/* Everything of ours that lives belongs to a session that is running on it. */
static bool machines_settled(struct sim *s, char *why, size_t size)
{
	struct sim_view v;
	int64_t number;

	for (size_t i = 0; i < s->machine_count; i++) {
		const struct sim_machine *m = &s->machines[i];
		const struct session *of;

		sim_see(s, m, &v);
		if (m->attempt == SIZE_MAX || !v.alive)
			continue;
		of = sim_owner(s, s->attempts[m->attempt].label, &number);
		if (of && of->state == S_RUNNING && is_its(m, of))
			continue;
		snprintf(why, size,
			 "machine %s (%s, %s) lives and belongs to nobody who runs on it", m->id,
			 s->attempts[m->attempt].label, v.status);
		return false;
	}
	return true;
}

/* So many machines vanished that lists are doubted, and not one of ours is left: then the engine decides
 * nothing (the key could be another account's) until people do. What waits for that waits. */
static bool braked_at(struct sim *s, const struct sim_cloud *c, const char *alarms)
{
	char line[60];
	struct sim_view v;

	snprintf(line, sizeof line, "\tbrake\t%s\t", c->kind->name);
	if (!strstr(alarms, line))
		return false;
	for (size_t i = 0; i < s->machine_count; i++) {
		if (s->machines[i].cloud != c || s->machines[i].attempt == SIZE_MAX)
			continue;
		sim_see(s, &s->machines[i], &v);
		if (v.alive)
			return false;
	}
	return true;
}

static bool braked(struct sim *s)
{
	BUF alarms = {0};

	engine_alarms(s->e, &alarms);
	for (size_t i = 0; i < s->cloud_count; i++)
		if (alarms.data && braked_at(s, &s->clouds[i], alarms.data))
			return true;
	return false;
}

bool sim_settled(struct sim *s, char *why, size_t size)
{
	if (s->dead)
		return false;
	if (braked(s))
		return true;
	for (int history = 0; history < 2; history++) {
		const struct session *of = NULL;

		while ((of = engine_next(s->e, of ? of->serial : 0, history)) != NULL)
			if (!session_settled(s, of, why, size))
				return false;
	}
	for (size_t i = 0; i < s->order_count; i++)
		if (!s->orders[i]->answers) {
			snprintf(why, size, "`%s %s` is not answered", s->orders[i]->what,
				 s->orders[i]->name);
			return false;
		}
	return machines_settled(s, why, size);
}

void sim_audit(struct sim *s)
{
	bool undecided = braked(s);
	struct sim_view v;

	s->counts->braked += undecided;
	for (size_t i = 0; i < s->session_count && !s->lost_disk && !undecided; i++) {
		const struct sim_session *x = &s->sessions[i];
		const struct session *of = engine_by_id(s->e, x->id);

		/* A draft that was removed leaves no trace. */
		if (x->gone_promised && of && (!session_in_history(of) || !engine_proven(of)))
			sim_wrong(s, "rmdir of %s returned 0, and it is %s, %s", of->name,
				  state_name((enum session_state)of->state),
				  session_in_history(of) ? "in history" : "in sessions");
		if (x->bought && (!of || of->state == S_DRAFT))
			sim_wrong(s, "a purchase that was durable is forgotten: %s", x->id);
	}
	for (size_t i = 0; i < s->machine_count; i++) {
		if (s->machines[i].attempt != SIZE_MAX)
			continue;
		sim_see(s, &s->machines[i], &v);
		if (!v.alive)
			sim_wrong(s, "somebody else's machine %s is gone", s->machines[i].id);
	}
	for (size_t i = 0; i < s->order_count; i++)
		if (s->orders[i]->answers != 1)
			sim_wrong(s, "`%s %s` was answered %u times", s->orders[i]->what,
				  s->orders[i]->name, s->orders[i]->answers);
	if (!undecided)
		sim_money_audit(s);
}
