/*
 * The root of the tree: what is true of gpufs as a whole, and what each reader may see of it. Loop
 * thread.
 *
 * Invariants: a row that depends on who reads is C_READER, because the kernel's page cache is
 * shared by all users (tree, rule 10). Nothing here is longer than a line a session or provider.
 * Tests: tests/unit/test_rows.c, tests/unit/test_docs.c (README fits a screen), tests/mount/.
 */
#include <string.h>

#include "rows.h"

static int show_version(const struct ctx *x, struct buf *out)
{
	return put_line(out, x->args->version);
}

/* status and status.json: the same keys through two printers. */
struct status_out {
	struct buf *out;
	bool json;
};

static void status_put(const struct status_out *o, const char *prefix, const char *key,
		       enum value_type type, const char *value)
{
	char name[96];

	copy_text(name, sizeof(name), prefix);
	copy_text(name + strlen(name), sizeof(name) - strlen(name), key);
	if (!value || !*value)
		return;
	if (o->json) {
		put_json_key(o->out, name);
		put_json_value(o->out, type, value, strlen(value));
		return;
	}
	buf_printf(o->out, "%s ", name);
	put_line(o->out, value);
}

static void status_put_number(const struct status_out *o, const char *prefix, const char *key,
			      int64_t value)
{
	BUF text = {0};

	buf_printf(&text, "%lld", (long long)value);
	status_put(o, prefix, key, V_INT, text.data);
}

static void status_put_all(const struct ctx *x, const struct status_out *o)
{
	struct status_view v = {0};
	struct provider_view p;
	BUF text = {0};

	engine_status(x->e, &v);
	status_put(o, "", "state", V_TEXT, v.state);
	status_put(o, "", "why", V_TEXT, v.why);
	put_time(&text, v.started_us);
	status_put(o, "", "started_at", V_TIME, text.data);
	for (int i = 0; i < S_COUNT; i++)
		status_put_number(o, "sessions.", state_name((enum session_state)i), v.by_state[i]);
	buf_reset(&text);
	put_money(&text, v.burn_u6);
	status_put(o, "", "burn_rate_per_hour", V_MONEY, text.data);
	for (size_t i = 0; i < engine_provider_count(x->e); i++)
		if (engine_provider_view(x->e, i, &p))
			status_put(o, "provider.", p.name, V_TEXT, p.state);
}

static int show_status(const struct ctx *x, struct buf *out)
{
	status_put_all(x, &(struct status_out){.out = out});
	return 0;
}

static int show_status_json(const struct ctx *x, struct buf *out)
{
	buf_putc(out, '{');
	status_put_all(x, &(struct status_out){.out = out, .json = true});
	buf_puts(out, "}\n");
	return 0;
}

static int show_alarms(const struct ctx *x, struct buf *out)
{
	engine_alarms(x->e, out);
	return 0;
}

bool session_visible(const struct ctx *x, const struct session *s)
{
	if (x->who.uid == 0 || x->who.admin || s->owner_uid == x->who.uid)
		return true;
	if (s->owner_gid == x->who.gid)
		return (s->dir_mode & 050) == 050;
	return (s->dir_mode & 05) == 05;
}

static void list_put(const struct ctx *x, const struct session *s, struct buf *out)
{
	static int (*const shows[])(const struct ctx *, struct buf *) = {
		session_show_state,	     session_show_provider,  session_show_gpu_type,
		session_show_price_per_hour, session_show_remaining, session_show_cost,
		session_show_consumer,	     session_show_id,
	};
	struct ctx one = *x;

	one.class = OBJ_SESSION;
	one.session = s;
	buf_puts(out, s->name);
	for (size_t i = 0; i < sizeof(shows) / sizeof(shows[0]); i++) {
		buf_putc(out, '\t');
		shows[i](&one, out);
		if (out->len > 0 && out->data[out->len - 1] == '\n')
			out->data[--out->len] = '\0';
	}
	buf_putc(out, '\n');
}

static int show_list(const struct ctx *x, struct buf *out)
{
	const struct session *s = engine_next(x->e, 0, false);

	for (; s; s = engine_next(x->e, s->serial, false)) {
		if (!session_visible(x, s))
			continue;
		if (out->len == 0)
			buf_puts(out, "# name\tstate\tprovider\tgpu\tprice_per_hour\tremaining\t"
				      "cost\tconsumer\tid\n");
		list_put(x, s, out);
	}
	return 0;
}

static int show_error(const struct ctx *x, struct buf *out)
{
	const char *s = mount_last_error(x->m, x->who.uid);

	if (s)
		buf_puts(out, s);
	return 0;
}

static int show_ssh_config(const struct ctx *x, struct buf *out)
{
	const struct session *s = engine_next(x->e, 0, false);

	for (; s; s = engine_next(x->e, s->serial, false))
		if (s->owner_uid == x->who.uid && s->state == S_RUNNING)
			ssh_put_block(x, s, out);
	return 0;
}

static int show_counters(const struct ctx *x, struct buf *out)
{
	mount_counters(x->m, out);
	return 0;
}

static int show_metrics(const struct ctx *x, struct buf *out)
{
	mount_metrics(x->m, out);
	return 0;
}

static void store_ctl(const struct ctx *x, struct str text, order_cb cb, void *arg)
{
	engine_root_ctl(x->e, &x->who, text, cb, arg);
}

#define FILE_ROW(name, caching, value_type, function, text) \
	READ_ROW(name, 0444, 0, caching, value_type, function, text)
#define DIR_ROW(name, bits, entries, text)                                                     \
	{                                                                                      \
		.path = name, .mode = bits, .flags = ROW_DIR, .children = entries, .doc = text \
	}

const struct row root_rows[] = {
	FILE_ROW("README", C_PLAIN, V_TEXT, show_readme,
		 "one screen: the commands of a session's life, then where to look"),
	READ_ROW("version", 0444, ROW_FIXED, C_PLAIN, V_TEXT, show_version, "version of gpufs"),
	FILE_ROW("status", C_DERIVED, V_TEXT, show_status,
		 "how gpufs is, sessions by state, USD an hour, providers"),
	FILE_ROW("status.json", C_DERIVED, V_JSON, show_status_json,
		 "the same as one line of JSON"),
	FILE_ROW("alarms", C_DERIVED, V_TABLE, show_alarms,
		 "what needs a person; empty while all is well"),
	FILE_ROW("list", C_READER, V_TABLE, show_list, "one line a session that you may see"),
	FILE_ROW("error", C_READER, V_TEXT, show_error,
		 "your own last refusal: when, where, errno, why"),
	FILE_ROW("ssh_config", C_READER, V_TEXT, show_ssh_config,
		 "Host NAME.gpu of your own running sessions: Include it in ~/.ssh/config once"),
	READ_ROW("schema.json", 0444, ROW_FIXED, C_PLAIN, V_JSON, show_schema,
		 "every kind of file, one JSON object a line"),
	{.path = "ctl",
	 .mode = 0220,
	 .flags = ROW_LINES | ROW_ADMIN,
	 .cache = C_DERIVED,
	 .type = V_TEXT,
	 .store = store_ctl,
	 .doc = "write verbs, one a line; for administrators"},
	DIR_ROW("inventory", 0555, OBJ_OFFER, "one directory an offer that is on the market now"),
	DIR_ROW("search", 0555, OBJ_QUERY,
		"queries over the inventory, such as search/gpu=RTX_4090"),
	DIR_ROW("sessions", 01777, OBJ_SESSION,
		"one directory a session: mkdir makes one, rmdir destroys it"),
	DIR_ROW("history", 0555, OBJ_HISTORY, "sessions that were ended, with receipts"),
	{.path = "history/last",
	 .mode = 0555,
	 .flags = ROW_DIR,
	 .cache = C_READER,
	 .children = OBJ_LAST,
	 .doc = "NAME leads to your newest ended session of that name"},
	DIR_ROW("providers", 0555, OBJ_PROVIDER, "one directory a configured provider"),
	{.path = "watch",
	 .mode = 0555,
	 .flags = ROW_DIR | ROW_UNLISTED,
	 .doc = "files that stream; never listed, so that grep -r cannot fall in"},
	{.path = "watch/events",
	 .mode = 0444,
	 .cache = C_STREAM,
	 .type = V_JSON,
	 .doc = "events of the sessions that you may see, from the open on, one JSON object a "
		"line"},
	READ_ROW("counters", 0400, ROW_ROOT_ONLY | ROW_UNLISTED, C_DERIVED, V_TEXT, show_counters,
		 "requests served since the start, by operation"),
	FILE_ROW("metrics", C_DERIVED, V_TEXT, show_metrics, "the Prometheus text"),
	{.path = NULL},
};
