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

static struct sim_machine *machine_of(struct sim *s, const struct sim_cloud *c, const char *id)
{
	for (size_t i = 0; i < s->machine_count; i++)
		if (s->machines[i].cloud == c && !strcmp(s->machines[i].id, id))
			return &s->machines[i];
	return NULL;
}

static bool is_met(const struct sim *s, const struct sim_cloud *c, size_t at)
{
	for (size_t i = 0; i < s->machine_count; i++)
		if (s->machines[i].cloud == c && s->machines[i].at == at)
			return true;
	return false;
}

static size_t attempt_of(const struct sim *s, const char *label)
{
	for (size_t i = 0; i < s->attempt_count; i++)
		if (!strcmp(s->attempts[i].label, label))
			return i;
	return SIZE_MAX;
}

static void meet(struct sim *s, struct sim_cloud *c, size_t at)
{
	struct sim_machine *m;
	struct sim_identity who;
	struct sim_view v;

	s->machines = sim_grow(s->machines, s->machine_count, &s->machine_cap, sizeof *s->machines);
	m = &s->machines[s->machine_count++];
	c->kind->meet(c->state, s->now_us, at, &who);
	*m = (struct sim_machine){
		.cloud = c, .at = at, .ports = {who.ports[0], who.ports[1]}, .attempt = SIZE_MAX};
	COPY(m->id, who.id);
	COPY(m->host, who.host);
	s->dirty = true;
	if (who.foreign)
		return;
	m->attempt = attempt_of(s, who.label);
	if (m->attempt == SIZE_MAX) {
		sim_wrong(s, "machine %s bears %s, which no create bore", m->id, who.label);
		return;
	}
	COPY(m->session, s->attempts[m->attempt].session);
	sim_see(s, m, &v);
	sim_money_exists(s, m, &v);
	sim_tell(s, "machine %s exists at %s, at %lld micro-dollars an hour: %s", m->id,
		 c->kind->name, (long long)v.price_u6, who.label);
}

/* Machines that came to be at the clouds since the last look. Some are counted before they come to be. */
void sim_machines_look(struct sim *s)
{
	for (size_t i = 0; i < s->cloud_count; i++) {
		struct sim_cloud *c = &s->clouds[i];
		size_t n = c->kind->count(c->state);
		struct sim_view v;

		for (size_t at = c->met; at < n; at++) {
			if (is_met(s, c, at))
				continue;
			c->kind->view(c->state, s->now_us, at, &v);
			if (v.created_us <= s->now_us)
				meet(s, c, at);
		}
		while (c->met < n && is_met(s, c, c->met))
			c->met++;
	}
}

/* Its existence could be hidden from the engine: it came later than the provider's lag (with room for its
 * lists), it was gone and came back, or answers lied: two lists, or a list and a query. */
static bool hidden(const struct sim *s, const struct sim_machine *m, const struct sim_view *v)
{
	const struct sim_attempt *a = &s->attempts[m->attempt];
	unsigned lies = m->cloud->list_lies - a->list_lies;

	if (v->created_us > a->sent_us + m->cloud->provider->lag_us - 2 * MINUTE_US || m->died)
		return true;
	/* Until lists show it, they need not lie. */
	lies += s->now_us < v->created_us + SIM_LISTS_LAG_US;
	return s->lost_disk || lies >= 2 || (lies && m->cloud->get_lies);
}

static const char *label_of(const struct sim *s, const struct sim_machine *m)
{
	return m->attempt == SIZE_MAX ? "" : s->attempts[m->attempt].label;
}

/* ---- creates ---- */

/* An earlier machine of the same session lives: did the engine have to know? */
static void check_alone(struct sim *s, const char *session, const char *label)
{
	struct sim_view v;

	for (size_t i = 0; i < s->machine_count; i++) {
		if (strcmp(s->machines[i].session, session))
			continue;
		sim_see(s, &s->machines[i], &v);
		if (v.alive && !hidden(s, &s->machines[i], &v))
			sim_wrong(s, "create of %s, while machine %s of this session lives (%s)",
				  label, s->machines[i].id, label_of(s, &s->machines[i]));
	}
}

static void count_move(struct sim *s, const struct sim_cloud *c, const char *session)
{
	for (size_t i = s->attempt_count; i-- > 0;)
		if (!strcmp(s->attempts[i].session, session)) {
			s->counts->moved += s->attempts[i].cloud != c;
			return;
		}
}

void sim_rules_create(struct sim *s, const struct sim_cloud *c, const char *label)
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
	if (strcmp(of->provider, c->kind->name))
		sim_wrong(s, "create of %s at %s, and its record says %s", label, c->kind->name,
			  of->provider);
	check_alone(s, of->id, label);
	count_move(s, c, of->id);
	s->attempts = sim_grow(s->attempts, s->attempt_count, &s->attempt_cap, sizeof *s->attempts);
	a = &s->attempts[s->attempt_count++];
	*a = (struct sim_attempt){.cloud = c,
				  .sent_us = s->now_us,
				  .price_u6 = of->price_u6,
				  .list_lies = c->list_lies};
	COPY(a->label, label);
	COPY(a->session, of->id);
}

/* ---- deletes ---- */

void sim_delete_over(struct sim *s, const struct sim_cloud *c, const char *id)
{
	struct sim_machine *m = machine_of(s, c, id);

	if (m && m->deletes)
		m->deletes--;
}

void sim_rules_delete(struct sim *s, const struct sim_cloud *c, const char *id)
{
	struct sim_machine *m = machine_of(s, c, id);
	const struct session *of;
	int64_t number = 0;

	if (!m) {
		if (!s->lying)
			sim_wrong(s, "DELETE of %s, which never existed", id);
		return;
	}
	if (m->attempt == SIZE_MAX) {
		sim_wrong(s, "DELETE of somebody else's machine %s", id);
		return;
	}
	m->deletes++;
	of = sim_owner(s, label_of(s, m), &number);
	if (!of) {
		if (!s->lost_disk)
			sim_wrong(s, "DELETE of machine %s, whose session is unknown", id);
		return;
	}
	if (number < of->attempt || of->instance_state == I_NONE || strcmp(of->instance_id, id))
		return; /* a stray: no living attempt owns it */
	if (of->state != S_STOPPING && !of->attempt_cause)
		sim_wrong(s, "DELETE of machine %s of %s, which is %s and not given up", id,
			  of->name, state_name((enum session_state)of->state));
}

/* ---- ends ---- */

static const struct sim_machine *own_machine(struct sim *s, const struct session *of,
					     struct sim_view *v)
{
	for (size_t i = 0; i < s->machine_count; i++) {
		if (s->machines[i].attempt == SIZE_MAX ||
		    strcmp(label_of(s, &s->machines[i]), of->label))
			continue;
		sim_see(s, &s->machines[i], v);
		return &s->machines[i];
	}
	return NULL;
}

/* It ran, and that record was lost: a new process looks at it as long as at any, unless something happened
 * to the machine meanwhile. */
static bool may_give_up(struct sim *s, const struct sim_session *x)
{
	struct sim_view v;

	if (x->state == S_RUNNING)
		return false;
	if (s->now_us >= s->started_us + s->p.ssh_verify_timeout_us)
		return true;
	for (size_t i = 0; i < s->machine_count; i++) {
		if (strcmp(s->machines[i].session, x->id))
			continue;
		sim_see(s, &s->machines[i], &v);
		if (v.alive && !s->machines[i].stopped_us)
			return false;
	}
	return true;
}

/* Promise 2: no session is destroyed unless someone ordered it, its time ended, or a limit was reached. */
static void check_end(struct sim *s, const struct session *of, const struct sim_session *x)
{
	int64_t now = sim_wall_us(s);
	struct sim_view v;
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
	struct sim_view v;

	s->counts->receipts++;
	for (size_t i = 0; i < s->machine_count; i++) {
		if (strcmp(s->machines[i].session, of->id))
			continue;
		sim_see(s, &s->machines[i], &v);
		if (v.alive && !hidden(s, &s->machines[i], &v))
			sim_wrong(s, "a receipt for %s, while its machine %s (%s) lives", of->name,
				  s->machines[i].id, v.status);
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
	struct sim_view v, w;

	for (size_t i = 0; i < s->machine_count; i++) {
		if (s->machines[i].attempt == SIZE_MAX || s->machines[i].died)
			continue;
		sim_see(s, &s->machines[i], &v);
		for (size_t k = 0; v.alive && k < i; k++) {
			if (s->machines[k].attempt != s->machines[i].attempt)
				continue;
			sim_see(s, &s->machines[k], &w);
			if (w.alive)
				sim_wrong(s, "two living machines of the label %s",
					  label_of(s, &s->machines[i]));
		}
	}
}

/* What a cloud wrote down about us. */
static void check_journal(struct sim *s, struct sim_cloud *c)
{
	size_t n = c->kind->journal_count(c->state);
	struct sim_entry e;
	char text[300];

	for (; c->journal_seen < n; c->journal_seen++) {
		c->kind->journal(c->state, c->journal_seen, &e);
		if (e.early && e.at_us > s->started_us + FORGOTTEN_US)
			sim_wrong(s, "%s: %s %s came too early", c->kind->name, e.method, e.path);
	}
	if (c->kind->violation(c->state, text, sizeof text))
		sim_wrong(s, "against the documents of %s: %s", c->kind->name, text);
}

void sim_rules_event(struct sim *s)
{
	sim_machines_look(s);
	if (!s->dirty)
		return;
	s->dirty = false;
	check_labels(s);
	for (size_t i = 0; i < s->cloud_count; i++)
		check_journal(s, &s->clouds[i]);
	if (s->queued > EVENTS_MAX)
		sim_wrong(s, "%zu events are queued", s->queued);
	if (s->disk.waiting > WRITES_MAX)
		sim_wrong(s, "%zu writes are queued", s->disk.waiting);
}
