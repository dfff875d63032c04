/*
 * The control language of the fake Vast.ai: one line in, lines out. For bats, through the server; the
 * commands are one table, which `help` prints.
 */
#include "control_words.h"
#include "vastai_parts.h"

struct command {
	const char *name, *usage;
	int least; /* words behind the name */
	int (*run)(struct fakevast *f, int64_t now_us, char **w, size_t n, struct buf *out);
};
static int run_help(struct fakevast *f, int64_t now_us, char **w, size_t n, struct buf *out);

/* ---- showing ---- */

static int run_meter(struct fakevast *f, int64_t now_us, char **w, size_t n, struct buf *out)
{
	struct fakevast_meter m;

	(void)w, (void)n;
	fakevast_meter(f, now_us, &m);
	buf_printf(
		out,
		"{\"alive\": %lld, \"ours\": %lld, \"created\": %lld, \"billed\": %.6f, \"rate\": "
		"%.6f, \"credit\": %.6f, \"requests\": %lld, \"throttled\": %lld, \"violations\": "
		"%lld, \"calls\": {",
		(long long)m.alive, (long long)m.alive_ours, (long long)m.created,
		(double)m.billed_u6 / 1e6, (double)m.rate_u6 / 1e6, (double)m.credit_u6 / 1e6,
		(long long)m.requests, (long long)m.throttled, (long long)m.violations);
	for (size_t i = 0; i < FV_UNKNOWN; i++)
		buf_printf(out, "%s\"%s\": %lld", i ? ", " : "", fakevast_op_names[i],
			   (long long)m.calls[i]);
	buf_puts(out, "}}\n");
	return 0;
}

static int run_instances(struct fakevast *f, int64_t now_us, char **w, size_t n, struct buf *out)
{
	bool all = n > 0 && !strcmp(w[0], "all");

	for (size_t i = 0; i < f->instance_count; i++) {
		struct fakevast_view v;

		fakevast_view(f, now_us, i, &v);
		if (!v.alive && !all)
			continue;
		buf_printf(out, "{\"id\": %lld, \"label\": ", (long long)v.id);
		buf_json(out, v.label, strlen(v.label));
		buf_printf(out,
			   ", \"alive\": %s, \"foreign\": %s, \"status\": \"%s\", \"offer\": %lld, "
			   "\"created_s\": %.6f, \"running_s\": %.6f, \"destroyed_s\": %.6f, "
			   "\"price\": "
			   "%.6f, \"rate\": %.6f, \"billed\": %.6f, \"keys\": %zu}\n",
			   v.alive ? "true" : "false", v.foreign ? "true" : "false", v.status,
			   (long long)v.offer_id, (double)v.created_us / 1e6,
			   v.running_us < 0 ? -1 : (double)v.running_us / 1e6,
			   v.destroyed_us < 0 ? -1 : (double)v.destroyed_us / 1e6,
			   (double)v.price_u6 / 1e6, (double)v.rate_u6 / 1e6,
			   (double)v.billed_u6 / 1e6, v.keys);
	}
	return 0;
}

static int run_journal(struct fakevast *f, int64_t now_us, char **w, size_t n, struct buf *out)
{
	int op = n ? control_name(fakevast_op_names, FV_OP_COUNT, w[0]) : -1;

	(void)now_us;
	if (n && op < 0)
		return complain(out, "no such operation", w[0]);
	for (size_t i = 0; i < f->journal_count; i++) {
		const struct fakevast_entry *e = &f->journal[i];

		if (n && e->op != (enum fakevast_op)op)
			continue;
		buf_printf(out, "%.6f %s %s ", (double)e->at_us / 1e6, fakevast_op_names[e->op],
			   e->method);
		buf_escape(out, e->path, strlen(e->path));
		buf_printf(out, " %d %s %016llx %lld %s%s %s\n", e->status,
			   fakevast_fault_name(e->fault), (unsigned long long)e->digest,
			   (long long)e->instance, e->early ? "early" : "-",
			   e->reused ? ",reused" : "", e->label[0] ? e->label : "-");
	}
	return 0;
}

static int run_violations(struct fakevast *f, int64_t now_us, char **w, size_t n, struct buf *out)
{
	(void)now_us, (void)w, (void)n;
	for (size_t i = 0; i < f->violation_count; i++)
		buf_printf(out, "%.6f %s: %s\n", (double)f->violations[i].at_us / 1e6,
			   f->violations[i].rule, f->violations[i].text);
	return 0;
}

static int run_faults(struct fakevast *f, int64_t now_us, char **w, size_t n, struct buf *out)
{
	(void)now_us, (void)w, (void)n;
	for (size_t i = 0; i < f->fault_count; i++) {
		const struct fault *t = &f->faults[i];

		if (t->count || t->ppm)
			buf_printf(out, "%s %s param %lld count %lld ppm %lld\n",
				   fakevast_op_names[t->op], fakevast_fault_name(t->kind),
				   (long long)t->param, (long long)t->count, (long long)t->ppm);
	}
	return 0;
}

/* ---- faults ---- */

static int run_fault(struct fakevast *f, int64_t now_us, char **w, size_t n, struct buf *out)
{
	int op = control_name(fakevast_op_names, FV_OP_COUNT, w[0]), kind = FVF_NONE + 1;
	struct control_fault t;
	int err = control_fault(w[1], n > 2 ? w[2] : NULL, &t, out);

	(void)now_us;
	if (err)
		return err;
	while (kind < FVF_COUNT && strcmp(fakevast_fault_name((unsigned)kind), w[1]) != 0)
		kind++;
	if (op < 0 || kind == FVF_COUNT || !fakevast_fault_fits((unsigned)op, (unsigned)kind))
		return complain(out, "no such fault of this operation", w[1]);
	return fakevast_fault(f, (unsigned)op, (unsigned)kind, t.param, t.count, t.ppm);
}

static int run_calm(struct fakevast *f, int64_t now_us, char **w, size_t n, struct buf *out)
{
	(void)now_us, (void)w, (void)n, (void)out;
	fakevast_be_kind(f);
	f->c.gone_variants = false;
	f->c.boot_max_us = f->c.boot_min_us;
	return 0;
}

/* ---- settings ---- */

static int run_set(struct fakevast *f, int64_t now_us, char **w, size_t n, struct buf *out)
{
	const struct {
		const char *name;
		double unit;
		int64_t *where, *also;
		bool *flag;
	} table[] = {
		{"boot_s", 1e6, &f->c.boot_min_us, &f->c.boot_max_us, NULL},
		{"boot_max_s", 1e6, &f->c.boot_max_us, NULL, NULL},
		{"created_s", 1e6, &f->c.created_us, NULL, NULL},
		{"loading_s", 1e6, &f->c.loading_us, NULL, NULL},
		{"attach_s", 1e6, &f->c.attach_us, NULL, NULL},
		{"destroy_s", 1e6, &f->c.destroy_us, NULL, NULL},
		{"lag_s", 1e6, &f->c.lag_us, NULL, NULL},
		{"lag_gone_s", 1e6, &f->c.lag_gone_us, NULL, NULL},
		{"sample", 1e4, &f->c.sample_ppm, NULL, NULL},
		{"stale", 1e4, &f->c.stale_ppm, NULL, NULL},
		{"spacing", 1e3, &f->c.spacing_permille, NULL, NULL},
		{"burst", 1, &f->c.burst_max, NULL, NULL},
		{"page_cap", 1, &f->c.page_cap, NULL, NULL},
		{"v0_gone", 1, NULL, NULL, &f->c.v0_gone},
		{"gone_variants", 1, NULL, NULL, &f->c.gone_variants},
		{"storage_rows", 1, NULL, NULL, &f->c.storage_rows},
		{"breaking_rows", 1, NULL, NULL, &f->c.breaking_rows},
		{"key_dead", 1, NULL, NULL, &f->key_dead},
	};
	double v;

	(void)now_us, (void)n;
	if (!control_number(w[1], &v) || v < 0)
		return complain(out, "no number", w[1]);
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		if (strcmp(table[i].name, w[0]) != 0)
			continue;
		if (table[i].flag)
			*table[i].flag = v != 0;
		if (table[i].where)
			*table[i].where = (int64_t)(v * table[i].unit);
		if (table[i].also)
			*table[i].also = *table[i].where;
		return 0;
	}
	return complain(out, "no such setting", w[0]);
}

static int run_offers(struct fakevast *f, int64_t now_us, char **w, size_t n, struct buf *out)
{
	double v = 0;

	(void)now_us;
	if (n && (!control_number(w[0], &v) || v > 100000 || v < 0))
		return complain(out, "no number of offers", w[0]);
	if (n)
		market_make(f, (size_t)v);
	for (size_t i = 0; !n && i < f->offer_count; i++) {
		const struct fv_offer *o = &f->offers[i];

		if (o->back_us == NEVER && !o->storage_only)
			buf_printf(out, "%lld %s x%d $%.6f%s machine %lld disk %.0f\n",
				   (long long)o->id, o->m.gpu->name, o->m.num_gpus,
				   (double)o->m.gpu_u6 / 1e6, o->rented ? " rented" : "",
				   (long long)o->m.machine_id, o->m.disk_gb);
	}
	return 0;
}

static int run_withdraw(struct fakevast *f, int64_t now_us, char **w, size_t n, struct buf *out)
{
	struct fv_offer *o = market_find(f, strtoll(w[0], NULL, 10));

	(void)now_us, (void)n;
	if (!o || o->rented)
		return complain(out, "no such offer", w[0]);
	market_withdraw(f, o);
	return 0;
}

static int run_credit(struct fakevast *f, int64_t now_us, char **w, size_t n, struct buf *out)
{
	double v;

	(void)n;
	if (!control_number(w[0], &v))
		return complain(out, "no amount", w[0]);
	fakevast_set_credit(f, now_us, (int64_t)(v * 1e6));
	return 0;
}

/* ---- instances ---- */

static int run_event(struct fakevast *f, int64_t now_us, char **w, size_t n, struct buf *out)
{
	static const char *const names[] = {
		[FVE_VANISH] = "vanish",   [FVE_STOP] = "stop",	      [FVE_EXIT] = "exit",
		[FVE_OFFLINE] = "offline", [FVE_UNHEARD] = "unheard", [FVE_BACK] = "back",
		[FVE_RUN] = "run"};
	int e = control_name(names, ARRAY_LEN(names), w[0]);

	(void)n;
	if (e < 0)
		return complain(out, "no such event", w[0]);
	if (!fakevast_event(f, now_us, strtoll(w[1], NULL, 10), (unsigned)e))
		return complain(out, "no such living instance, or it is not away", w[1]);
	return 0;
}

static int run_vanish(struct fakevast *f, int64_t now_us, char **w, size_t n, struct buf *out)
{
	(void)n;
	if (!fakevast_event(f, now_us, strtoll(w[0], NULL, 10), FVE_VANISH))
		return complain(out, "no such living instance", w[0]);
	return 0;
}

static int run_reset(struct fakevast *f, int64_t now_us, char **w, size_t n, struct buf *out)
{
	(void)w, (void)n, (void)out;
	for (size_t i = 0; i < f->instance_count; i++)
		fakevast_event(f, now_us, f->instances[i]->id, FVE_VANISH);
	fakevast_no_faults(f);
	fakevast_forget(f);
	return 0;
}

static int run_foreign(struct fakevast *f, int64_t now_us, char **w, size_t n, struct buf *out)
{
	buf_printf(out, "%lld\n", (long long)fakevast_add_foreign(f, now_us, n ? w[0] : NULL));
	return 0;
}

static int run_next(struct fakevast *f, int64_t now_us, char **w, size_t n, struct buf *out)
{
	int64_t next = fakevast_next_us(f);

	(void)w, (void)n;
	if (next == NEVER)
		buf_puts(out, "never\n");
	else
		buf_printf(out, "%.6f\n", (double)(next - now_us) / 1e6);
	return 0;
}

static int run_forget(struct fakevast *f, int64_t now_us, char **w, size_t n, struct buf *out)
{
	(void)now_us, (void)w, (void)n, (void)out;
	fakevast_forget(f);
	return 0;
}

static int run_no_faults(struct fakevast *f, int64_t now_us, char **w, size_t n, struct buf *out)
{
	(void)now_us, (void)w, (void)n, (void)out;
	fakevast_no_faults(f);
	return 0;
}

static const struct command commands[] = {
	{"help", "this", 0, run_help},
	{"meter", "totals and numbers of calls, as JSON", 0, run_meter},
	{"instances", "[all]: the living ones (or all that ever were), one JSON object a line", 0,
	 run_instances},
	{"journal", "[OP]: time, op, method, path, status, fault, digest, instance, flags, label",
	 0, run_journal},
	{"violations", "what the client did against the documents", 0, run_violations},
	{"fault",
	 "OP KIND[:PARAM] [COUNT|always|RATE%]; \"30s\" for durations, else bytes, rows, ...", 2,
	 run_fault},
	{"faults", "those that are set", 0, run_faults},
	{"no-faults", "none from now on", 0, run_no_faults},
	{"calm", "no faults and nothing by chance", 0, run_calm},
	{"set",
	 "NAME VALUE: boot_s created_s loading_s attach_s destroy_s lag_s lag_gone_s (seconds), "
	 "sample stale (percent), spacing (factor), burst, page_cap, v0_gone gone_variants "
	 "storage_rows breaking_rows key_dead (0, 1)",
	 2, run_set},
	{"offers", "[N]: what is listed; with N a new market of N", 0, run_offers},
	{"withdraw", "OFFER: it is gone", 1, run_withdraw},
	{"credit", "USD: the account's", 1, run_credit},
	{"vanish", "ID: gone, as if it had never been", 1, run_vanish},
	{"reset", "every instance vanishes; no faults, journal, violations or counters", 0,
	 run_reset},
	{"event", "vanish|stop|exit|offline|unheard|back|run ID", 2, run_event},
	{"foreign", "[LABEL]: somebody else's machine in this account; prints its id", 0,
	 run_foreign},
	{"next", "seconds until something happens by itself", 0, run_next},
	{"forget", "journal, violations and counters start anew", 0, run_forget},
};

static int run_help(struct fakevast *f, int64_t now_us, char **w, size_t n, struct buf *out)
{
	(void)f, (void)now_us, (void)w, (void)n;
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		buf_printf(out, "%s: %s\n", commands[i].name, commands[i].usage);
	buf_puts(out, "operations:");
	for (size_t i = 0; i < FV_OP_COUNT; i++)
		buf_printf(out, " %s", fakevast_op_names[i]);
	buf_puts(out, "\nfaults:");
	for (size_t i = 1; i < FVF_COUNT; i++)
		buf_printf(out, " %s", fakevast_fault_name((unsigned)i));
	buf_puts(out, "\n");
	return 0;
}

int fakevast_control(struct fakevast *f, int64_t now_us, const char *line, struct buf *out)
{
	FREE char *copy = copy_of(line);
	char *words[CONTROL_WORDS_MAX];
	int n;

	fakevast_advance(f, now_us);
	n = control_split(copy, words, out);
	if (n < 0)
		return n;
	for (size_t i = 0; n && i < ARRAY_LEN(commands); i++) {
		if (strcmp(commands[i].name, words[0]) != 0)
			continue;
		if (n - 1 < commands[i].least)
			return complain(out, "usage", commands[i].usage);
		return commands[i].run(f, now_us, words + 1, (size_t)n - 1, out);
	}
	return complain(out, "no such command (try help)", n ? words[0] : "");
}
