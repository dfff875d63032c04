/*
 * The control language of the fake TensorDock: one line in, lines out, the same words as that of the fake
 * Vast.ai where they mean the same; the commands are one table, which `help` prints.
 */
#include "control_words.h"
#include "tensordock_parts.h"

struct command {
	const char *name, *usage;
	int least; /* words behind the name */
	int (*run)(struct faketd *f, int64_t now_us, char **w, size_t n, struct buf *out);
};

static double seconds(int64_t us)
{
	return us == NEVER ? -1 : (double)us / 1e6;
}

static int run_meter(struct faketd *f, int64_t now_us, char **w, size_t n, struct buf *out)
{
	struct faketd_meter m;

	(void)w, (void)n;
	faketd_meter(f, now_us, &m);
	buf_printf(out,
		   "{\"alive\": %lld, \"ours\": %lld, \"created\": %lld, \"billed\": %.6f, "
		   "\"rate\": %.6f, \"credit\": %.6f, \"requests\": %lld, \"throttled\": %lld, "
		   "\"violations\": %lld, \"calls\": {",
		   (long long)m.alive, (long long)m.alive_ours, (long long)m.created,
		   (double)m.billed_u6 / 1e6, (double)m.rate_u6 / 1e6, (double)m.credit_u6 / 1e6,
		   (long long)m.requests, (long long)m.throttled, (long long)m.violations);
	for (size_t i = 0; i < FT_UNKNOWN; i++)
		buf_printf(out, "%s\"%s\": %lld", i ? ", " : "", faketd_op_names[i],
			   (long long)m.calls[i]);
	buf_puts(out, "}}\n");
	return 0;
}

static int run_instances(struct faketd *f, int64_t now_us, char **w, size_t n, struct buf *out)
{
	bool all = n > 0 && !strcmp(w[0], "all");

	for (size_t i = 0; i < f->vm_count; i++) {
		struct faketd_view v;

		faketd_view(f, now_us, i, &v);
		if (!v.alive && !all)
			continue;
		buf_printf(out, "{\"id\": \"%s\", \"label\": ", v.id);
		buf_json(out, v.name, strlen(v.name));
		buf_printf(out,
			   ", \"alive\": %s, \"foreign\": %s, \"status\": \"%s\", \"model\": "
			   "\"%s\", \"vcpus\": %lld, \"ram\": %lld, \"disk\": %lld, \"address\": "
			   "%s, \"created_s\": %.6f, \"running_s\": %.6f, \"destroyed_s\": %.6f, "
			   "\"price\": %.6f, \"rate\": %.6f, \"billed\": %.6f}\n",
			   v.alive ? "true" : "false", v.foreign ? "true" : "false", v.status,
			   v.model, (long long)v.vcpus, (long long)v.ram_gb, (long long)v.disk_gb,
			   v.address ? "true" : "false", seconds(v.created_us),
			   seconds(v.running_us), seconds(v.gone_us), (double)v.price_u6 / 1e6,
			   (double)v.rate_u6 / 1e6, (double)v.billed_u6 / 1e6);
	}
	return 0;
}

static int run_journal(struct faketd *f, int64_t now_us, char **w, size_t n, struct buf *out)
{
	int op = n ? control_name(faketd_op_names, FT_OP_COUNT, w[0]) : -1;

	(void)now_us;
	if (n && op < 0)
		return complain(out, "no such operation", w[0]);
	for (size_t i = 0; i < f->journal_count; i++) {
		const struct faketd_entry *e = &f->journal[i];

		if (n && e->op != (enum faketd_op)op)
			continue;
		buf_printf(out, "%.6f %s %s ", (double)e->at_us / 1e6, faketd_op_names[e->op],
			   e->method);
		buf_escape(out, e->path, strlen(e->path));
		buf_printf(out, " %d %s %s %s\n", e->status, faketd_fault_name(e->fault),
			   e->reused ? "reused" : "-", e->name[0] ? e->name : "-");
	}
	return 0;
}

static int run_violations(struct faketd *f, int64_t now_us, char **w, size_t n, struct buf *out)
{
	(void)now_us, (void)w, (void)n;
	for (size_t i = 0; i < f->violation_count; i++)
		buf_printf(out, "%.6f %s: %s\n", (double)f->violations[i].at_us / 1e6,
			   f->violations[i].rule, f->violations[i].text);
	return 0;
}

static int run_fault(struct faketd *f, int64_t now_us, char **w, size_t n, struct buf *out)
{
	int op = control_name(faketd_op_names, FT_OP_COUNT, w[0]), kind = FTF_NONE + 1;
	struct control_fault t;
	int err = control_fault(w[1], n > 2 ? w[2] : NULL, &t, out);

	(void)now_us;
	if (err)
		return err;
	while (kind < FTF_COUNT && strcmp(faketd_fault_name((unsigned)kind), w[1]) != 0)
		kind++;
	if (op < 0 || kind == FTF_COUNT || !faketd_fault_fits((unsigned)op, (unsigned)kind))
		return complain(out, "no such fault of this operation", w[1]);
	return faketd_fault(f, (unsigned)op, (unsigned)kind, t.param, t.count, t.ppm);
}

static int run_no_faults(struct faketd *f, int64_t now_us, char **w, size_t n, struct buf *out)
{
	(void)now_us, (void)w, (void)n, (void)out;
	faketd_no_faults(f);
	return 0;
}

static int run_set(struct faketd *f, int64_t now_us, char **w, size_t n, struct buf *out)
{
	const struct {
		const char *name;
		double unit;
		int64_t *where;
		bool *flag;
	} table[] = {
		{"search_s", 1e6, &f->c.search_us, NULL},
		{"create_min_s", 1e6, &f->c.create_min_us, NULL},
		{"create_max_s", 1e6, &f->c.create_max_us, NULL},
		{"other_s", 1e6, &f->c.other_us, NULL},
		{"run_s", 1e6, &f->c.run_us, NULL},
		{"address_s", 1e6, &f->c.address_us, NULL},
		{"login_s", 1e6, &f->c.login_us, NULL},
		{"destroy_s", 1e6, &f->c.destroy_us, NULL},
		{"lag_s", 1e6, &f->c.lag_us, NULL},
		{"churn_s", 1e6, &f->c.churn_us, NULL},
		{"stale", 1e4, &f->c.stale_ppm, NULL},
		{"drift", 1e4, &f->c.drift_ppm, NULL},
		{"terse_list", 1, NULL, &f->c.terse_list},
		{"limited", 1, NULL, &f->c.limited},
		{"key_dead", 1, NULL, &f->key_dead},
	};
	double v;

	(void)now_us, (void)n;
	if (!control_number(w[1], &v))
		return complain(out, "no number", w[1]);
	if (!strcmp(w[0], "list_form") && v >= -1 && v <= 3) {
		f->c.list_form = (int)v;
		return 0;
	}
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		if (strcmp(table[i].name, w[0]) != 0 || v < 0)
			continue;
		if (table[i].flag)
			*table[i].flag = v != 0;
		else
			*table[i].where = (int64_t)(v * table[i].unit);
		return 0;
	}
	return complain(out, "no such setting", w[0]);
}

static int run_offers(struct faketd *f, int64_t now_us, char **w, size_t n, struct buf *out)
{
	double v = 0;

	if (n && (!control_number(w[0], &v) || v > 100000 || v < 0))
		return complain(out, "no number of offers", w[0]);
	for (size_t i = 0; n && i < f->vm_count; i++)
		if (td_vm_alive(f->vms[i], now_us))
			return complain(out, "machines are living", f->vms[i]->id);
	for (size_t i = 0; n && i < f->vm_count; i++)
		f->vms[i]->row = NULL;
	if (n)
		td_market_make(f, (size_t)v);
	for (size_t i = 0; !n && i < f->row_count; i++)
		buf_printf(out, "%s %s x%lld $%.6f\n", f->rows[i].location, f->rows[i].model,
			   (long long)td_row_most(f, &f->rows[i], now_us),
			   (double)f->rows[i].gpu_u6 / 1e6);
	return 0;
}

static int run_credit(struct faketd *f, int64_t now_us, char **w, size_t n, struct buf *out)
{
	double v;

	(void)n;
	if (!control_number(w[0], &v))
		return complain(out, "no amount", w[0]);
	faketd_set_credit(f, now_us, (int64_t)(v * 1e6));
	return 0;
}

static int run_event(struct faketd *f, int64_t now_us, char **w, size_t n, struct buf *out)
{
	static const char *const names[] = {
		[FTE_VANISH] = "vanish", [FTE_STOP] = "stop", [FTE_RUN] = "run"};
	int e = control_name(names, ARRAY_LEN(names), w[0]);

	(void)n;
	if (e < 0 || !faketd_event(f, now_us, w[1], (unsigned)e))
		return complain(out, "no such event or living machine", w[1]);
	return 0;
}

static int run_foreign(struct faketd *f, int64_t now_us, char **w, size_t n, struct buf *out)
{
	buf_printf(out, "%s\n", faketd_add_foreign(f, now_us, n ? w[0] : "somebody-elses"));
	return 0;
}

static int run_reset(struct faketd *f, int64_t now_us, char **w, size_t n, struct buf *out)
{
	(void)w, (void)n, (void)out;
	for (size_t i = 0; i < f->vm_count; i++)
		faketd_event(f, now_us, f->vms[i]->id, FTE_VANISH);
	faketd_no_faults(f);
	f->journal_count = f->violation_count = 0;
	memset(f->calls, 0, sizeof f->calls);
	return 0;
}

static int run_help(struct faketd *f, int64_t now_us, char **w, size_t n, struct buf *out);

static const struct command commands[] = {
	{"help", "", 0, run_help},
	{"meter", ": what lives and what it cost, calls of each kind, as JSON", 0, run_meter},
	{"instances", "[all]: one JSON object each", 0, run_instances},
	{"journal", "[OP]: time, operation, method, path, status, fault, connection, name", 0,
	 run_journal},
	{"violations", ": what the client did against the documents", 0, run_violations},
	{"fault", "OP KIND[:PARAM[s]] [COUNT | always | RATE%]", 2, run_fault},
	{"no-faults", "", 0, run_no_faults},
	{"set", "NAME VALUE: durations in seconds (not scaled), rates in per cent, flags 0 and 1",
	 2, run_set},
	{"offers", "[N]: the market, or N models at locations from now on", 0, run_offers},
	{"credit", "USD", 1, run_credit},
	{"event", "vanish|stop|run ID", 2, run_event},
	{"foreign", "[NAME]: somebody else's machine; prints its id", 0, run_foreign},
	{"reset", ": no machine, no fault, empty books", 0, run_reset},
};

static int run_help(struct faketd *f, int64_t now_us, char **w, size_t n, struct buf *out)
{
	(void)f, (void)now_us, (void)w, (void)n;
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		buf_printf(out, "%s%s%s\n", commands[i].name,
			   commands[i].usage[0] && commands[i].usage[0] != ':' ? " " : "",
			   commands[i].usage);
	return 0;
}

int faketd_control(struct faketd *f, int64_t now_us, const char *line, struct buf *out)
{
	FREE char *copy = strdup(line);
	char *w[CONTROL_WORDS_MAX];
	int n;

	CHECK(copy);
	n = control_split(copy, w, out);
	if (n < 0)
		return n;
	for (size_t i = 0; n && i < ARRAY_LEN(commands); i++) {
		if (strcmp(commands[i].name, w[0]) != 0)
			continue;
		if (n - 1 < commands[i].least)
			return complain(out, "words are missing; usage", commands[i].usage);
		return commands[i].run(f, now_us, w + 1, (size_t)n - 1, out);
	}
	return complain(out, "no such command", n ? w[0] : "");
}
