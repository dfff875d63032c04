/*
 * What must hold after every event (faults.md, The simulator): the checks look at the cloud, the disk and
 * the engine's records from outside and share no code with what they judge. See sim.h.
 */
#include <string.h>

#include "sim.h"

#define EVENTS_MAX   4000	      /* queued at once */
#define WRITES_MAX   4000	      /* not acknowledged */
#define FORGOTTEN_US (70 * SECOND_US) /* a new process does not know what the old one asked for */

/* ---- who is who ---- */

struct sim_session *sim_session_of(struct sim *s, const char *id)
{
	for (size_t i = 0; i < s->session_count; i++)
		if (!strcmp(s->sessions[i].id, id))
			return &s->sessions[i];
	s->sessions = sim_grow(s->sessions, s->session_count, &s->session_cap, sizeof *s->sessions);
	s->sessions[s->session_count] = (struct sim_session){.state = S_DRAFT};
	COPY(s->sessions[s->session_count].id, id);
	return &s->sessions[s->session_count++];
}

const struct session *sim_owner(const struct sim *s, const char *label, int64_t *attempt)
{
	char id[40];

	if (!label_verify(label, s->p.deployment, s->p.label_key, id, attempt))
		return NULL;
	return engine_by_id(s->e, id);
}

static struct sim_machine *machine_of(struct sim *s, int64_t id)
{
	for (size_t i = 0; i < s->machine_count; i++)
		if (s->machines[i].id == id)
			return &s->machines[i];
	return NULL;
}

static size_t attempt_of(const struct sim *s, const char *label)
{
	for (size_t i = 0; i < s->attempt_count; i++)
		if (!strcmp(s->attempts[i].label, label))
			return i;
	return SIZE_MAX;
}

/* Machines that came to be at the cloud since the last look. */
void sim_machines_look(struct sim *s)
{
	char host[32];

	while (s->machine_count < fakevast_count(s->cloud)) {
		struct sim_machine *m;
		struct fakevast_view v;

		s->machines = sim_grow(s->machines, s->machine_count, &s->machine_cap,
				       sizeof *s->machines);
		fakevast_view(s->cloud, s->now_us, s->machine_count, &v);
		m = &s->machines[s->machine_count++];
		*m = (struct sim_machine){.id = v.id, .attempt = SIZE_MAX};
		snprintf(host, sizeof host, "m%lld.sim", (long long)v.id);
		fakevast_set_endpoint(s->cloud, v.id, host, 10000, 20000);
		s->dirty = true;
		if (v.foreign)
			continue;
		m->attempt = attempt_of(s, v.label);
		if (m->attempt == SIZE_MAX) {
			sim_wrong(s, "machine %lld bears %s, which no create bore", (long long)v.id,
				  v.label);
			continue;
		}
		COPY(m->session, s->attempts[m->attempt].session);
		sim_money_exists(s, m, &v);
		sim_tell(s, "machine %lld exists, at %lld micro-dollars an hour: %s",
			 (long long)v.id, (long long)v.price_u6, v.label);
	}
}

/* Its existence could be hidden from the engine: it came later than the provider's lag (with room for its
 * lists), it was gone and came back, or answers lied: two lists, or a list and a query. */
static bool hidden(const struct sim *s, const struct sim_machine *m, const struct fakevast_view *v)
{
	const struct sim_attempt *a = &s->attempts[m->attempt];
	unsigned lies = s->list_lies - a->list_lies;

	if (v->created_us > a->sent_us + s->provider->lag_us - 2 * MINUTE_US || m->died)
		return true;
	return s->lost_disk || lies >= 2 || (lies && s->get_lies);
}

/* ---- creates ---- */

/* An earlier machine of the same session lives: did the engine have to know? */
static void check_alone(struct sim *s, const char *session, const char *label)
{
	struct fakevast_view v;

	for (size_t i = 0; i < s->machine_count; i++) {
		if (strcmp(s->machines[i].session, session))
			continue;
		fakevast_view(s->cloud, s->now_us, i, &v);
		if (v.alive && !hidden(s, &s->machines[i], &v))
			sim_wrong(s, "create of %s, while machine %lld (%s) of this session lives",
				  label, (long long)v.id, v.label);
	}
}

void sim_rules_create(struct sim *s, const char *label)
{
	int64_t number = 0;
	const struct session *of = sim_owner(s, label, &number);
	struct sim_attempt *a;

	if (!of) {
		sim_wrong(s, "create of '%s', which is no label of a session", label);
		return;
	}
	if (!sim_disk_intends(s, label))
		sim_wrong(s, "create of %s without a durable intent", label);
	if (attempt_of(s, label) != SIZE_MAX)
		sim_wrong(s, "the label %s in a second create", label);
	if (of->state != S_PROVISIONING || of->attempt_cause || strcmp(of->label, label))
		sim_wrong(s, "create of %s, which is not wanted: %s is %s", label, of->name,
			  state_name((enum session_state)of->state));
	check_alone(s, of->id, label);
	s->attempts = sim_grow(s->attempts, s->attempt_count, &s->attempt_cap, sizeof *s->attempts);
	a = &s->attempts[s->attempt_count++];
	*a = (struct sim_attempt){
		.sent_us = s->now_us, .price_u6 = of->price_u6, .list_lies = s->list_lies};
	COPY(a->label, label);
	COPY(a->session, of->id);
}

/* ---- deletes ---- */

void sim_rules_delete(struct sim *s, int64_t id)
{
	const struct sim_machine *m = machine_of(s, id);
	const struct session *of;
	int64_t number = 0;
	char text[24];

	if (!m) {
		if (!s->lying)
			sim_wrong(s, "DELETE of %lld, which never existed", (long long)id);
		return;
	}
	if (m->attempt == SIZE_MAX) {
		sim_wrong(s, "DELETE of somebody else's machine %lld", (long long)id);
		return;
	}
	of = sim_owner(s, s->attempts[m->attempt].label, &number);
	if (!of) {
		if (!s->lost_disk)
			sim_wrong(s, "DELETE of machine %lld, whose session is unknown",
				  (long long)id);
		return;
	}
	snprintf(text, sizeof text, "%lld", (long long)id);
	if (number < of->attempt || of->instance_state == I_NONE || strcmp(of->instance_id, text))
		return; /* a stray: no living attempt owns it */
	if (of->state != S_STOPPING && !of->attempt_cause)
		sim_wrong(s, "DELETE of machine %lld of %s, which is %s and not given up",
			  (long long)id, of->name, state_name((enum session_state)of->state));
}

/* ---- ends ---- */

static const struct sim_machine *own_machine(struct sim *s, const struct session *of,
					     struct fakevast_view *v)
{
	for (size_t i = 0; i < s->machine_count; i++) {
		fakevast_view(s->cloud, s->now_us, i, v);
		if (s->machines[i].attempt != SIZE_MAX && !strcmp(v->label, of->label))
			return &s->machines[i];
	}
	return NULL;
}

/* It ran, and that record was lost: a new process looks at it as long as at any, unless something happened
 * to the machine meanwhile. */
static bool may_give_up(struct sim *s, const struct sim_session *x)
{
	struct fakevast_view v;

	if (x->state == S_RUNNING)
		return false;
	if (s->now_us >= s->started_us + s->p.ssh_verify_timeout_us)
		return true;
	for (size_t i = 0; i < s->machine_count; i++) {
		if (strcmp(s->machines[i].session, x->id))
			continue;
		fakevast_view(s->cloud, s->now_us, i, &v);
		if (v.alive && !s->machines[i].stopped_us)
			return false;
	}
	return true;
}

/* Promise 2: no session is destroyed unless someone ordered it, its time ended, or a limit was reached. */
static void check_end(struct sim *s, const struct session *of, const struct sim_session *x)
{
	int64_t now = sim_wall_us(s);
	struct fakevast_view v;
	const struct sim_machine *m = own_machine(s, of, &v);
	bool ran = x->state == S_RUNNING, just = true;

	switch ((enum end_cause)of->end_cause) {
	case END_DESTROYED:
	case END_DONE:
		just = x->end_ordered;
		break;
	case END_EXPIRED:
		just = now >= of->expires_us;
		break;
	case END_HARD_MAX:
		just = now >= of->bought_us + of->hard_max_us;
		break;
	case END_HOLD:
		just = x->held_once;
		break;
	case END_LOST:
		just = ran && (!m || !v.alive || m->died || s->lying);
		break;
	case END_PREEMPTED:
		just = ran && of->bid_u6 != UNKNOWN && m && m->stopped_us;
		break;
	case END_PRICE:
		just = !ran || (m && v.price_u6 > of->cap_u6) || s->lying;
		break;
	case END_NO_OFFER:
	case END_BOOT:
	case END_SSH:
	case END_REFUSED:
	case END_MONEY:
	case END_KEY:
		just = !x->ran || may_give_up(s, x);
		break;
	case END_NONE:
	case END_COUNT:
		just = false;
		break;
	}
	if (state_terminal(x->state)) /* a resurrection */
		just = m && (v.alive || m->died);
	if (!just)
		sim_wrong(s, "%s (%s) is being ended without a reason: cause %d, %s", of->name,
			  state_name(x->state), (int)of->end_cause, of->reason);
}

/* A receipt says that nothing costs any more. */
static void check_receipt(struct sim *s, const struct session *of)
{
	struct fakevast_view v;

	s->counts->receipts++;
	for (size_t i = 0; i < s->machine_count; i++) {
		if (strcmp(s->machines[i].session, of->id))
			continue;
		fakevast_view(s->cloud, s->now_us, i, &v);
		if (v.alive && !hidden(s, &s->machines[i], &v))
			sim_wrong(s, "a receipt for %s, while its machine %lld (%s) lives",
				  of->name, (long long)v.id, v.status);
	}
}

static void state_changed(struct sim *s, const struct session *of)
{
	struct sim_session *x = sim_session_of(s, of->id);

	if (of->state == S_STOPPING && x->state != S_STOPPING)
		check_end(s, of, x);
	if (of->state == S_PENDING)
		x->ran = false; /* `retry` begins anew */
	if (of->state == S_RUNNING) {
		x->ran = true;
		sim_money_runs(s, of);
	}
	sim_tell(s, "%s is %s: %s", of->name, state_name((enum session_state)of->state),
		 of->reason);
	x->state = (enum session_state)of->state;
}

static void changed(struct door *d, const struct change *c)
{
	struct sim *s = container_of(d, struct sim, door);

	if (s->dead)
		return;
	s->dirty = true;
	switch (c->kind) {
	case CH_SESSION_STATE:
		state_changed(s, c->session);
		break;
	case CH_SESSION_PROVEN:
		check_receipt(s, c->session);
		break;
	case CH_EVENT:
		sim_tell(s, "event: %s", c->text);
		s->braked = s->braked || strstr(c->text, "machines are missing");
		break;
	case CH_SESSION_NEW:
	case CH_SESSION:
	case CH_SESSION_NAME:
	case CH_SESSION_ENDED:
	case CH_SESSION_GONE:
	case CH_MARKET:
	case CH_PROVIDER:
	case CH_ALARMS:
	case CH_STATUS:
		break;
	}
}

/* A process that starts finds sessions as they were. */
void sim_rules_born(struct sim *s)
{
	for (int history = 0; history < 2; history++) {
		const struct session *of = NULL;

		while ((of = engine_next(s->e, of ? of->serial : 0, history)) != NULL)
			sim_session_of(s, of->id)->state = (enum session_state)of->state;
	}
}

void sim_rules_init(struct sim *s)
{
	s->door.changed = changed;
}

/* ---- after every event ---- */

static void check_labels(struct sim *s)
{
	struct fakevast_view v, w;

	for (size_t i = 0; i < s->machine_count; i++) {
		if (s->machines[i].attempt == SIZE_MAX || s->machines[i].died)
			continue;
		fakevast_view(s->cloud, s->now_us, i, &v);
		for (size_t k = 0; v.alive && k < i; k++) {
			if (s->machines[k].attempt != s->machines[i].attempt)
				continue;
			fakevast_view(s->cloud, s->now_us, k, &w);
			if (w.alive)
				sim_wrong(s, "two living machines of the label %s", v.label);
		}
	}
}

/* What the cloud wrote down about us. */
static void check_journal(struct sim *s)
{
	size_t n = fakevast_journal_count(s->cloud);

	for (; s->journal_seen < n; s->journal_seen++) {
		const struct fakevast_entry *e = fakevast_journal(s->cloud, s->journal_seen);

		if (e->early && e->at_us > s->started_us + FORGOTTEN_US)
			sim_wrong(s, "%s %s came too early", e->method, e->path);
	}
	if (fakevast_violation_count(s->cloud))
		sim_wrong(s, "against the provider's documents: %s: %s",
			  fakevast_violation(s->cloud, 0)->rule,
			  fakevast_violation(s->cloud, 0)->text);
}

void sim_rules_event(struct sim *s)
{
	sim_machines_look(s);
	if (!s->dirty)
		return;
	s->dirty = false;
	check_labels(s);
	check_journal(s);
	if (s->queued > EVENTS_MAX)
		sim_wrong(s, "%zu events are queued", s->queued);
	if (s->disk.waiting > WRITES_MAX)
		sim_wrong(s, "%zu writes are queued", s->disk.waiting);
}
