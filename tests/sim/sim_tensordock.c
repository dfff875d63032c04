/* TensorDock as a simulated cloud: struct sim_cloud_kind over tensordock_fake.h. See sim.h. */
#include <string.h>

#include "../../providers/providers.h"
#include "../fake/tensordock_fake.h"
#include "sim.h"

#define DESTROY_MAX_US (15 * SECOND_US)
#define THROTTLED      429

/* The account is asked of the older API always: a list that is only read as "the key works" could not be
 * told from one that is believed. */
static const struct sim_call calls[] = {
	{HTTP_GET, "/api/v2/locations", SIM_SEARCH},
	{HTTP_POST, "/api/v2/instances", SIM_CREATE},
	{HTTP_GET, "/api/v2/instances", SIM_LIST},
	{HTTP_GET, "/api/v2/instances/#", SIM_GET},
	{HTTP_DELETE, "/api/v2/instances/#", SIM_DESTROY},
	{HTTP_POST, "/api/v0/billing/balance", SIM_ACCOUNT},
};

/* FT_UNKNOWN, for which nothing fits: there is no such call. */
static const enum faketd_op ops[SIM_OP_COUNT] = {
	[SIM_SEARCH] = FT_SEARCH,   [SIM_CREATE] = FT_CREATE,	  [SIM_LIST] = FT_LIST,
	[SIM_GET] = FT_GET,	    [SIM_DESTROY] = FT_DESTROY,	  [SIM_ATTACH] = FT_UNKNOWN,
	[SIM_ACCOUNT] = FT_BALANCE, [SIM_TEMPLATES] = FT_UNKNOWN, [SIM_BOOT] = FT_BOOT,
};

/* ---- life ---- */

static void *make(struct chance *r)
{
	struct faketd_config c;

	faketd_defaults(&c);
	c.seed = chance_next(r);
	c.offers = chance_between(r, 5, 22);
	c.drift_ppm = chance_below(r, 2) * 20000;
	c.stale_ppm = chance_below(r, 2) * 200000;
	c.churn_us = chance_below(r, 2) * 10 * MINUTE_US;
	c.search_us = chance_between(r, 1, 5) * SECOND_US;
	c.create_max_us = chance_between(r, 20, 90) * SECOND_US;
	c.run_us = chance_between(r, 1, 60) * SECOND_US;
	c.address_us = chance_between(r, 5, 60) * SECOND_US;
	c.login_us = chance_between(r, 20, 150) * SECOND_US;
	c.destroy_us = chance_between(r, 1, DESTROY_MAX_US / SECOND_US) * SECOND_US;
	c.lag_us = chance_below(r, 3) ? 0 : chance_below(r, SIM_LISTS_LAG_US);
	c.terse_list = chance_below(r, 2);
	c.credit_u6 = chance_below(r, 10) ? 1000000000 : 2000000;
	return faketd_new(&c);
}

static void cloud_free(void *cloud)
{
	faketd_free(cloud);
}

static void request(void *cloud, int64_t now_us, const struct fake_http_request *q,
		    struct fake_http_reply *out)
{
	faketd_request(cloud, now_us, q, out);
}

/* ---- machines ---- */

static size_t count(const void *cloud)
{
	return faketd_count(cloud);
}

static void meet(void *cloud, int64_t now_us, size_t at, struct sim_identity *out)
{
	struct faketd_view v;

	faketd_view(cloud, now_us, at, &v);
	*out = (struct sim_identity){.ports = {v.ssh_port, v.ssh_port},
				     .created_us = v.created_us,
				     .foreign = v.foreign};
	COPY(out->id, v.id);
	COPY(out->host, v.ip);
	snprintf(out->label, sizeof out->label, "%.63s", v.name);
}

static void view(void *cloud, int64_t now_us, size_t at, struct sim_view *out)
{
	struct faketd_view v;
	bool running;

	faketd_view(cloud, now_us, at, &v);
	running = !strcasecmp(v.status, "running");
	*out = (struct sim_view){.status = v.status,
				 .alive = v.alive,
				 .login = v.login,
				 .running = running,
				 .ill = now_us >= v.running_us && !running,
				 .created_us = v.created_us,
				 .price_u6 = v.price_u6,
				 .rate_u6 = v.rate_u6,
				 .billed_u6 = v.billed_u6};
}

static void keys(void *cloud, int64_t now_us, size_t at, struct buf *out)
{
	faketd_keys(cloud, now_us, (int64_t)at + 1, out);
}

/* ---- what goes wrong ---- */

static const char *fault_name(unsigned kind)
{
	return faketd_fault_name((enum faketd_fault_kind)kind);
}

static const enum sim_param params[FTF_COUNT] = {
	[FTF_LATE] = PARAM_LATE,
	[FTF_LINGER] = PARAM_LINGER,
	[FTF_SLOW] = PARAM_SLOW,
	[FTF_HUGE] = PARAM_HUGE,
};

static struct sim_fault fault(enum sim_op op, unsigned kind)
{
	enum faketd_fault_kind k = (enum faketd_fault_kind)kind;
	bool lie = k == FTF_EMPTY_LIST || k == FTF_PARTIAL || k == FTF_GONE;
	bool plain = k == FTF_NONE || k == FTF_SLOW || k == FTF_IGNORED || k == FTF_LINGER;

	return (struct sim_fault){ops[op] != FT_UNKNOWN && faketd_fault_fits(ops[op], k), lie,
				  plain, params[k]};
}

static void set_fault(void *cloud, enum sim_op op, unsigned kind, int64_t param)
{
	CHECK(faketd_fault(cloud, ops[op], (enum faketd_fault_kind)kind, param, 1, 0) == 0);
}

static void no_faults(void *cloud)
{
	faketd_no_faults(cloud);
}

/* Containers do not exit there, and nothing is told of hosts. */
static bool fate(void *cloud, int64_t now_us, size_t at, enum sim_fate f)
{
	struct faketd_view v;

	if (f != FATE_VANISH && f != FATE_STOP)
		return false;
	faketd_view(cloud, now_us, at, &v);
	return faketd_event(cloud, now_us, v.id, f == FATE_STOP ? FTE_STOP : FTE_VANISH);
}

static void add_foreign(void *cloud, int64_t now_us, const char *label)
{
	faketd_add_foreign(cloud, now_us, label ? label : "");
}

static void set_key_dead(void *cloud, bool dead)
{
	faketd_set_key_dead(cloud, dead);
}

static void set_credit(void *cloud, int64_t now_us, int64_t credit_u6)
{
	faketd_set_credit(cloud, now_us, credit_u6);
}

static void be_kind(void *cloud)
{
	faketd_be_kind(cloud);
}

/* ---- its books ---- */

static size_t journal_count(const void *cloud)
{
	return faketd_journal_count(cloud);
}

static void journal(const void *cloud, size_t i, struct sim_entry *out)
{
	const struct faketd_entry *e = faketd_journal(cloud, i);

	*out = (struct sim_entry){e->at_us, e->method, e->path,
				  e->status == THROTTLED && e->fault == FTF_NONE};
}

static bool violation(const void *cloud, char *text, size_t size)
{
	const struct faketd_violation *v;

	if (!faketd_violation_count(cloud))
		return false;
	v = faketd_violation(cloud, 0);
	snprintf(text, size, "%s: %s", v->rule, v->text);
	return true;
}

/* ---- answers ---- */

/* A 404, also one in a 200, says that there is none. */
static bool speaks(enum sim_op op, const struct fake_http_reply *r)
{
	const char *body = r->body.data ? r->body.data : "";

	if (strstr(body, "Instance not found"))
		return true;
	if (r->status == 204)
		return op == SIM_DESTROY;
	return r->status == 200 && !strstr(body, "\"error\":");
}

static bool is_whole_list(const char *body)
{
	(void)body; /* there are no pages */
	return true;
}

/* Does `member` stand in the row that begins at `row`, before `end` (NULL: there is no other row)? */
static bool row_has(const char *row, const char *end, const char *member)
{
	const char *at = strstr(row, member);

	return at && (!end || at < end);
}

/* The rate stands behind the id. While it is deleted, what it costs is not told: a machine that was
 * stopped before shows the price of one that runs. */
static enum sim_word word(const char *body, const char *id)
{
	const char *row, *end;
	char member[60];

	snprintf(member, sizeof member, "\"id\":\"%s\"", id);
	row = strstr(body, member);
	if (!row)
		return WORD_NONE;
	end = strstr(row + 1, "\"id\":\"");
	return row_has(row, end, "\"rateHourly\":") && !row_has(row, end, "\"status\":\"deleting\"")
		       ? WORD_RATE
		       : WORD_EXISTS;
}

const struct sim_cloud_kind sim_tensordock = {
	.name = "tensordock",
	.base_url = "https://tensordock.test",
	.image = "ubuntu2404",
	.user = "user",
	.key = FAKETD_KEY,
	.balance_id = FAKETD_AUTH_ID,
	.label_member = "\"name\":\"",
	.calls = calls,
	.call_count = ARRAY_LEN(calls),
	.fault_kinds = FTF_COUNT,
	.destroy_us = DESTROY_MAX_US,
	.provider_new = provider_tensordock_new,
	.provider_free = provider_tensordock_free,
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
_Static_assert(FTF_COUNT <= SIM_FAULTS_MAX, "all are counted");
