/* Vast.ai as a simulated cloud: struct sim_cloud_kind over vastai_fake.h. See sim.h. */
#include <string.h>

#include "../../providers/providers.h"
#include "../fake/vastai_fake.h"
#include "sim.h"

#define PROXY_PORT  10000
#define DIRECT_PORT 20000

static const struct sim_call calls[] = {
	{HTTP_POST, "/api/v0/bundles/", SIM_SEARCH},
	{HTTP_PUT, "/api/v0/asks/#/", SIM_CREATE},
	{HTTP_GET, "/api/v1/instances/", SIM_LIST},
	{HTTP_GET, "/api/v0/instances/#/", SIM_GET},
	{HTTP_DELETE, "/api/v0/instances/#/", SIM_DESTROY},
	{HTTP_POST, "/api/v0/instances/#/ssh/", SIM_ATTACH},
	{HTTP_GET, "/api/v0/users/current/", SIM_ACCOUNT},
	{HTTP_GET, "/api/v0/template/", SIM_TEMPLATES},
};

static const enum fakevast_op ops[SIM_OP_COUNT] = {
	[SIM_SEARCH] = FV_SEARCH,   [SIM_CREATE] = FV_CREATE,	    [SIM_LIST] = FV_LIST,
	[SIM_GET] = FV_GET,	    [SIM_DESTROY] = FV_DESTROY,	    [SIM_ATTACH] = FV_ATTACH,
	[SIM_ACCOUNT] = FV_ACCOUNT, [SIM_TEMPLATES] = FV_TEMPLATES, [SIM_BOOT] = FV_BOOT,
};

/* ---- life ---- */

static void *make(struct chance *r)
{
	struct fakevast_config c;

	fakevast_defaults(&c);
	c.seed = chance_next(r);
	c.epoch_us = SIM_EPOCH_US;
	c.offers = chance_between(r, 4, 24);
	c.sample_ppm = chance_below(r, 2) * 250000;
	c.stale_ppm = chance_below(r, 2) * 250000;
	c.storage_rows = c.breaking_rows = chance_below(r, 2);
	c.terse = true;
	c.boot_min_us = 10 * SECOND_US;
	c.boot_max_us = chance_between(r, 20, 180) * SECOND_US;
	c.lag_us = chance_below(r, 3) ? 0 : chance_below(r, SIM_LISTS_LAG_US);
	c.lag_gone_us = chance_below(r, 3) ? 0 : chance_below(r, MINUTE_US);
	c.credit_u6 = chance_below(r, 10) ? 1000000000 : 2000000;
	c.own_ssh = true;
	return fakevast_new(&c);
}

static void cloud_free(void *cloud)
{
	fakevast_free(cloud);
}

static void request(void *cloud, int64_t now_us, const struct fake_http_request *q,
		    struct fake_http_reply *out)
{
	fakevast_request(cloud, now_us, q, out);
}

/* ---- machines ---- */

static size_t count(const void *cloud)
{
	return fakevast_count(cloud);
}

static void meet(void *cloud, int64_t now_us, size_t at, struct sim_identity *out)
{
	struct fakevast_view v;

	fakevast_view(cloud, now_us, at, &v);
	*out = (struct sim_identity){.ports = {PROXY_PORT, DIRECT_PORT},
				     .created_us = v.created_us,
				     .foreign = v.foreign};
	snprintf(out->id, sizeof out->id, "%lld", (long long)v.id);
	snprintf(out->host, sizeof out->host, "m%lld.sim", (long long)v.id);
	snprintf(out->label, sizeof out->label, "%.63s", v.label);
	fakevast_set_endpoint(cloud, v.id, out->host, PROXY_PORT, DIRECT_PORT);
}

static void view(void *cloud, int64_t now_us, size_t at, struct sim_view *out)
{
	struct fakevast_view v;
	bool running;

	fakevast_view(cloud, now_us, at, &v);
	running = !strcmp(v.status, "running");
	*out = (struct sim_view){.status = v.status,
				 .alive = v.alive,
				 .login = v.login,
				 .running = running,
				 .ill = v.running_us >= 0 && !running,
				 .created_us = v.created_us,
				 .price_u6 = v.price_u6,
				 .rate_u6 = v.rate_u6,
				 .billed_u6 = v.billed_u6};
}

static int64_t id_of(void *cloud, int64_t now_us, size_t at)
{
	struct fakevast_view v;

	fakevast_view(cloud, now_us, at, &v);
	return v.id;
}

static void keys(void *cloud, int64_t now_us, size_t at, struct buf *out)
{
	fakevast_keys(cloud, now_us, id_of(cloud, now_us, at), out);
}

/* ---- what goes wrong ---- */

static const char *fault_name(unsigned kind)
{
	return fakevast_fault_name((enum fakevast_fault_kind)kind);
}

static const enum sim_param params[FVF_COUNT] = {
	[FVF_LATE] = PARAM_LATE,	[FVF_LATE_DROP] = PARAM_LATE, [FVF_LINGER] = PARAM_LINGER,
	[FVF_RESURRECT] = PARAM_LINGER, [FVF_SLOW] = PARAM_SLOW,      [FVF_DRIP] = PARAM_SLOW,
	[FVF_OUTDATED] = PARAM_PAST,	[FVF_HUGE] = PARAM_HUGE,
};

static struct sim_fault fault(enum sim_op op, unsigned kind)
{
	enum fakevast_fault_kind k = (enum fakevast_fault_kind)kind;
	bool lie = k == FVF_EMPTY_LIST || k == FVF_GONE;
	bool plain = k == FVF_NONE || k == FVF_SLOW || k == FVF_DRIP || k == FVF_CHUNKED ||
		     k == FVF_IGNORED || k == FVF_LINGER || k == FVF_RESURRECT;

	if (k == FVF_OTHER || k == FVF_TYPES)
		lie = op == SIM_LIST || op == SIM_GET;
	return (struct sim_fault){fakevast_fault_fits(ops[op], k), lie, plain, params[k]};
}

static void set_fault(void *cloud, enum sim_op op, unsigned kind, int64_t param)
{
	CHECK(fakevast_fault(cloud, ops[op], (enum fakevast_fault_kind)kind, param, 1, 0) == 0);
}

static void no_faults(void *cloud)
{
	fakevast_no_faults(cloud);
}

static bool fate(void *cloud, int64_t now_us, size_t at, enum sim_fate f)
{
	static const enum fakevast_event events[] = {
		[FATE_VANISH] = FVE_VANISH,   [FATE_STOP] = FVE_STOP,	    [FATE_EXIT] = FVE_EXIT,
		[FATE_OFFLINE] = FVE_OFFLINE, [FATE_UNHEARD] = FVE_UNHEARD, [FATE_BACK] = FVE_BACK,
	};

	return fakevast_event(cloud, now_us, id_of(cloud, now_us, at), events[f]);
}

static void add_foreign(void *cloud, int64_t now_us, const char *label)
{
	fakevast_add_foreign(cloud, now_us, label);
}

static void set_key_dead(void *cloud, bool dead)
{
	fakevast_set_key_dead(cloud, dead);
}

static void set_credit(void *cloud, int64_t now_us, int64_t credit_u6)
{
	fakevast_set_credit(cloud, now_us, credit_u6);
}

static void be_kind(void *cloud)
{
	fakevast_be_kind(cloud);
}

/* ---- its books ---- */

static size_t journal_count(const void *cloud)
{
	return fakevast_journal_count(cloud);
}

static void journal(const void *cloud, size_t i, struct sim_entry *out)
{
	const struct fakevast_entry *e = fakevast_journal(cloud, i);

	*out = (struct sim_entry){e->at_us, e->method, e->path, e->early};
}

static bool violation(const void *cloud, char *text, size_t size)
{
	const struct fakevast_violation *v;

	if (!fakevast_violation_count(cloud))
		return false;
	v = fakevast_violation(cloud, 0);
	snprintf(text, size, "%s: %s", v->rule, v->text);
	return true;
}

/* ---- answers ---- */

static bool speaks(enum sim_op op, const struct fake_http_reply *r)
{
	(void)op;
	return r->status == 200 ||
	       (r->status == 404 && r->body.data && strstr(r->body.data, "no_such_instance"));
}

static bool is_whole_list(const char *body)
{
	return strstr(body, "\"next_token\": null") != NULL;
}

static enum sim_word word(const char *body, const char *id)
{
	char member[60];

	snprintf(member, sizeof member, "\"id\": %s,", id);
	return strstr(body, member) ? WORD_RATE : WORD_NONE;
}

const struct sim_cloud_kind sim_vastai = {
	.name = "vastai",
	.base_url = "https://vastai.test",
	.image = "image:tag",
	.user = "root",
	.key = FAKEVAST_KEY,
	.label_member = "\"label\":\"",
	.calls = calls,
	.call_count = ARRAY_LEN(calls),
	.fault_kinds = FVF_COUNT,
	.destroy_us = 3 * SECOND_US,
	.provider_new = provider_vastai_new,
	.provider_free = provider_vastai_free,
	.make = make,
	.free = cloud_free,
	.request = request,
	.count = count,
	.meet = meet,
	.view = view,
	.keys = keys,
	.fault_name = fault_name,
	.fault = fault,
	.set_fault = set_fault,
	.no_faults = no_faults,
	.fate = fate,
	.add_foreign = add_foreign,
	.set_key_dead = set_key_dead,
	.set_credit = set_credit,
	.be_kind = be_kind,
	.journal_count = journal_count,
	.journal = journal,
	.violation = violation,
	.speaks = speaks,
	.is_whole_list = is_whole_list,
	.word = word,
};
_Static_assert(FVF_COUNT <= SIM_FAULTS_MAX, "all are counted");
