/* The provider of the virtual world, with a meter that the engine never sees: see fake_world.h. */
#include <string.h>

#include "../../src/core/check.h"
#include "fake_world.h"

/* ---- machines ---- */

struct machine *fake_machine(struct fake *f, const char *label)
{
	for (size_t i = 0; i < f->machine_count; i++)
		if (!strcmp(f->machines[i].label, label))
			return &f->machines[i];
	return NULL;
}

static struct machine *machine_of_id(struct fake *f, const char *id)
{
	for (size_t i = 0; i < f->machine_count; i++)
		if (!strcmp(f->machines[i].id, id))
			return &f->machines[i];
	return NULL;
}

static bool is_there(const struct fake *f, const struct machine *m)
{
	return m->alive && f->now_us >= m->born_us;
}

size_t fake_alive(const struct fake *f)
{
	size_t n = 0;

	for (size_t i = 0; i < f->machine_count; i++)
		n += f->machines[i].alive;
	return n;
}

int64_t fake_meter_us(const struct fake *f, const char *label)
{
	const struct machine *m = fake_machine((struct fake *)(uintptr_t)f, label);

	if (!m)
		return 0;
	return (m->alive ? f->now_us : m->died_us) - m->born_us;
}

/* What a status costs there: a tenth for the disk, nothing while the host is offline. */
static int64_t rate_of(const struct fake *f, const struct machine *m, enum instance_status status)
{
	switch (status) {
	case INST_BOOTING:
	case INST_STOPPED:
	case INST_BROKEN:
		return f->provider.dialect ? m->price_u6 / 10 : m->price_u6;
	case INST_OFFLINE:
		return 0;
	case INST_UNKNOWN:
	case INST_RUNNING:
	case INST_STOPPING:
	case INST_GONE:
	case INST_COUNT:
		break;
	}
	return m->price_u6;
}

static void meter_to(struct fake *f, struct machine *m, int64_t until_us,
		     enum instance_status status)
{
	if (until_us <= m->paid_us)
		return;
	m->meter_u6 += cost_of(rate_of(f, m, status), until_us - m->paid_us);
	m->paid_us = until_us;
}

static void meter_read(struct fake *f, struct machine *m)
{
	if (!m->alive)
		return;
	if (m->forced) {
		meter_to(f, m, f->now_us, m->forced);
		return;
	}
	meter_to(f, m, f->now_us < m->boots_us ? f->now_us : m->boots_us, INST_BOOTING);
	meter_to(f, m, f->now_us, INST_RUNNING);
}

void fake_force(struct fake *f, struct machine *m, enum instance_status status)
{
	meter_read(f, m);
	m->forced = status;
}

void fake_kill(struct fake *f, struct machine *m)
{
	meter_read(f, m);
	m->alive = false;
	m->died_us = f->now_us;
}

int64_t fake_meter_u6(struct fake *f, const char *session_id)
{
	int64_t sum = 0, attempt;
	char id[40];

	for (size_t i = 0; i < f->machine_count; i++) {
		struct machine *m = &f->machines[i];

		meter_read(f, m);
		if (label_verify(m->label, f->p.deployment, f->p.label_key, id, &attempt) &&
		    !strcmp(id, session_id))
			sum += m->meter_u6;
	}
	return sum;
}

static struct machine *machine_new(struct fake *f, const char *label, int64_t price_u6)
{
	struct machine *m = &f->machines[f->machine_count];

	CHECK(f->machine_count < MACHINES_MAX);
	*m = (struct machine){.alive = true,
			      .born_us = f->now_us + f->late_us,
			      .boots_us = f->now_us + f->late_us + f->boot_us,
			      .price_u6 = f->charge_u6 != UNKNOWN ? f->charge_u6 : price_u6};
	m->paid_us = m->born_us;
	COPY(m->label, label);
	COPY(m->id, label);
	if (f->provider.dialect)
		snprintf(m->id, sizeof m->id, "%zu", 9000 + f->machine_count);
	f->machine_count++;
	return m;
}

struct machine *fake_plant(struct fake *f, const char *session_id, int64_t attempt)
{
	char label[64];

	label_make(label, f->p.deployment, session_id, attempt, f->p.label_key);
	return machine_new(f, label, f->price_u6);
}

static enum instance_status status_of(const struct fake *f, const struct machine *m)
{
	if (!is_there(f, m))
		return INST_GONE;
	if (m->forced)
		return m->forced;
	return f->now_us < m->boots_us ? INST_BOOTING : INST_RUNNING;
}

/* An SSH login at the address that a list told. */
enum probe_verdict fake_login(struct fake *f, const char *host)
{
	size_t i;

	if (!f->provider.dialect || f->probe_verdict != PROBE_OK)
		return f->probe_verdict;
	if (sscanf(host, "192.0.2.%zu", &i) != 1 || i >= f->machine_count ||
	    status_of(f, &f->machines[i]) != INST_RUNNING)
		return PROBE_NOT_YET;
	return f->machines[i].keys ? PROBE_OK : PROBE_LOGIN_REFUSED;
}

/* ---- calls ---- */

struct cloud_call {
	enum call_op op;
	char id[96];
	const struct create_args *create; /* lives until the answer */
	bool (*go)(void *arg);
	result_cb cb;
	void *arg;
	enum fake_answer answer;
	bool gone, withdrawn, incomplete, other_reach;
	struct instance seen[MACHINES_MAX];
	size_t count;
};

static void describe(const struct fake *f, const struct machine *m, struct instance *in)
{
	*in = (struct instance){.ssh_port = 2222, .price_u6 = UNKNOWN, .rate_u6 = UNKNOWN};
	COPY(in->id, m->id);
	COPY(in->label, m->label);
	COPY(in->ssh_host, "192.0.2.1");
	COPY(in->ssh_user, "root");
	in->status = status_of(f, m);
	if (!f->provider.dialect)
		return;
	snprintf(in->ssh_host, sizeof in->ssh_host, "192.0.2.%zu", (size_t)(m - f->machines));
	in->price_u6 = m->price_u6;
	in->rate_u6 = rate_of(f, m, in->status);
	if (in->status == INST_BOOTING)
		COPY(in->status_text, "pulling the image");
	in->reach = m->reach;
	if (in->status == INST_RUNNING && f->own_ports) {
		COPY(in->port_host, "198.51.100.7");
	} else if (in->status == INST_RUNNING) {
		COPY(in->port_host, "198.51.100.7");
		in->ports[in->port_count++] = (struct port_map){8000, 40123};
	}
}

static void answer_verdict(const struct cloud_call *c, struct result *res)
{
	static const struct {
		enum verdict verdict;
		enum provider_error error;
	} rows[] = {
		[ANSWER_OK] = {SURE_YES, PE_NONE},	    [ANSWER_NO] = {SURE_NO, PE_INVALID},
		[ANSWER_LOST] = {UNSURE, PE_UNKNOWN},	    [ANSWER_LATER] = {LATER, PE_RATE},
		[ANSWER_STALE] = {SURE_NO, PE_STALE_OFFER}, [ANSWER_MONEY] = {SURE_NO, PE_MONEY},
		[ANSWER_KEY] = {KEY_DEAD, PE_AUTH},
	};

	res->verdict = rows[c->answer].verdict;
	res->error = rows[c->answer].error;
	if (c->withdrawn) {
		res->verdict = SURE_NO;
		res->error = PE_NONE;
	} else if (c->gone && c->answer == ANSWER_OK) {
		/* As dialects say it: a look is refused, a destroy has its effect. */
		res->verdict = c->op == CALL_DESTROY ? SURE_YES : SURE_NO;
		res->error = PE_GONE;
	}
}

static void answer_offers(const struct fake *f, struct offer *offers, struct result *res)
{
	memset(offers, 0, 16 * sizeof *offers);
	for (int i = 0; i < f->offers; i++) {
		struct offer *o = &offers[i];

		snprintf(o->id, sizeof o->id, "fake-%d", i + 1);
		COPY(o->provider, "fake");
		COPY(o->gpu_type, i % 2 ? "RTX 3090" : "RTX 4090");
		o->gpu_count = 1;
		o->vram_gb = 24;
		o->price_u6 = f->price_u6 + i * 10000;
		o->min_bid_u6 = o->max_duration_hours = o->cuda_m = o->disk.max = UNKNOWN;
		o->ports_max = UNKNOWN;
		o->reliability_m = o->confidence_m = 1000;
		o->available = true;
		o->reach = f->reach;
		o->interruptible = f->bids;
		if (f->bids)
			o->min_bid_u6 = o->price_u6;
	}
	res->offers = offers;
	res->count = (size_t)f->offers;
}

static void cloud_answer(struct fake *f, void *arg)
{
	struct cloud_call *c = arg;
	struct result res = {
		.complete = !c->incomplete, .other_reach = c->other_reach, .balance_u6 = UNKNOWN};
	struct offer offers[16];

	answer_verdict(c, &res);
	COPY(res.text, "as the test wants");
	COPY(res.evidence, "the fake cloud says so");
	if (c->op == CALL_ACCOUNT)
		COPY(res.account, f->account ? f->account : "");
	if (c->op == CALL_OFFERS && c->answer == ANSWER_OK) {
		answer_offers(f, offers, &res);
	} else if ((c->answer == ANSWER_OK && res.verdict == SURE_YES) ||
		   (c->op == CALL_CREATE && f->create_tells_id)) {
		res.instances = c->seen;
		res.count = c->count;
	}
	c->cb(c->arg, &res);
	free(c);
}

static void cloud_create(struct fake *f, struct cloud_call *c)
{
	const struct create_args *a = c->create;
	struct machine *m = fake_machine(f, a->label);

	f->creates++;
	if (m)
		f->double_creates++;
	c->answer = f->create_answer;
	if (a->reach & f->reach_refused) {
		c->answer = ANSWER_STALE;
		c->other_reach = true;
		return;
	}
	if (!f->create_effect)
		return;
	m = machine_new(f, a->label, a->offer->price_u6);
	m->reach = a->reach & f->reach_ignored ? (unsigned)REACH_ADDRESS : a->reach;
	describe(f, m, &c->seen[0]);
	if (f->provider.dialect) /* it says the id, and no more */
		c->seen[0] = (struct instance){.price_u6 = UNKNOWN, .rate_u6 = UNKNOWN};
	COPY(c->seen[0].id, m->id);
	c->count = 1;
}

/* Its turn has come in the limiter. */
static void cloud_turn(struct fake *f, void *arg)
{
	struct cloud_call *c = arg;

	if (c->go && !c->go(c->arg)) {
		f->withdrawn++;
		c->withdrawn = true;
	} else {
		cloud_create(f, c);
	}
	fake_later(f, f->call_delay_us, cloud_answer, free, c);
}

static void cloud_destroy(struct fake *f, struct cloud_call *c)
{
	struct machine *m = machine_of_id(f, c->id);

	f->destroys++;
	c->answer = f->destroy_answer;
	c->gone = f->provider.dialect && (!m || !is_there(f, m));
	if (m && is_there(f, m) && f->destroy_effect && f->destroy_answer != ANSWER_KEY)
		fake_kill(f, m);
}

static void cloud_look(struct fake *f, struct cloud_call *c)
{
	struct machine *m = machine_of_id(f, c->id);

	f->looks++;
	c->answer = f->look_answer;
	c->count = 1;
	c->seen[0] = (struct instance){
		.status = INST_GONE, .price_u6 = UNKNOWN, .rate_u6 = UNKNOWN};
	if (m)
		describe(f, m, &c->seen[0]);
	c->gone = f->provider.dialect && c->seen[0].status == INST_GONE;
}

/* Lists may be older than the truth: they show what stood a while ago, with today's status. */
static bool listed(const struct fake *f, const struct machine *m)
{
	int64_t then = f->now_us - f->list_lag_us;

	return then >= m->born_us && (m->alive || then < m->died_us);
}

static void cloud_list(struct fake *f, struct cloud_call *c)
{
	f->lists++;
	c->answer = f->list_answer;
	for (size_t i = 0; i < f->machine_count && !f->list_empty; i++) {
		struct instance *in = &c->seen[c->count];

		if (!listed(f, &f->machines[i]))
			continue;
		describe(f, &f->machines[i], in);
		if (in->status == INST_GONE)
			in->status = INST_RUNNING;
		c->count++;
	}
	if (!f->list_cut)
		return;
	c->incomplete = true;
	c->count -= c->count > 0;
}

static void cloud_attach(struct fake *f, const struct call *call, struct cloud_call *c)
{
	struct machine *m = machine_of_id(f, c->id);

	CHECK(call->public_key && f->provider.dialect);
	f->attaches++;
	c->answer = f->attach_answer;
	c->gone = !m || !is_there(f, m);
	if (!c->gone && c->answer == ANSWER_OK)
		m->keys++;
}

void fake_act(struct provider *p, struct world *w, const struct call *call, result_cb cb, void *arg)
{
	struct fake *f = p->state;
	struct cloud_call *c = xcalloc(1, sizeof *c);

	(void)w;
	*c = (struct cloud_call){
		.op = call->op, .create = call->create, .go = call->go, .cb = cb, .arg = arg};
	if (call->instance_id)
		COPY(c->id, call->instance_id);
	switch (call->op) {
	case CALL_CREATE:
		if (p->dialect) {
			fake_later(f, f->queue_us, cloud_turn, free, c);
			return;
		}
		cloud_create(f, c);
		break;
	case CALL_LIST:
		cloud_list(f, c);
		break;
	case CALL_LOOK:
		cloud_look(f, c);
		break;
	case CALL_DESTROY:
		cloud_destroy(f, c);
		break;
	case CALL_ATTACH:
		cloud_attach(f, call, c);
		break;
	case CALL_OFFERS:
	case CALL_ACCOUNT:
	case CALL_TEMPLATES:
	case CALL_OP_COUNT:
		break;
	}
	fake_later(f, f->call_delay_us, cloud_answer, free, c);
}

/* ---- a provider like the clouds ---- */

void fake_cloudlike(struct fake *f)
{
	f->dialect = (struct dialect){.attach_key = true,
				      .lists_show_boot = true,
				      .bids = true,
				      .page_rows = 64,
				      .pages_per_refresh = 4,
				      .disk_min_gb = 8};
	f->provider.dialect = &f->dialect;
	f->provider.lag_us = 10 * MINUTE_US;
	f->provider.boot_poll_us = 2 * SECOND_US;
	COPY(f->provider.account.image, "image:tag");
}
