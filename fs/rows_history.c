/*
 * history/ID/: what is kept of an ended session, and the proof that its machine is gone. The values
 * are those of sessions/ (SESSION_VALUES), read-only. Loop thread.
 *
 * Invariants: no secret of the session survives here (no spec, key or env). While the machine is
 * not proven gone, state, reason, cost and receipt still move: they stay derived. Tests:
 * tests/unit/test_rows.c, tests/mount/.
 */
#include "rows.h"

static int show_name(const struct ctx *x, struct buf *out)
{
	return put_line(out, x->session->name);
}

static int show_receipt(const struct ctx *x, struct buf *out)
{
	engine_receipt(x->e, x->session, out);
	return 0;
}

static int wait_gone(const struct ctx *x, int64_t *seen, struct buf *out, struct error *why)
{
	(void)seen;
	(void)why;
	if (!engine_proven(x->session))
		return 0;
	engine_receipt(x->e, x->session, out);
	return 1;
}

#define VALUE_ROW(name, value_type, value_unit, living, ended, text) \
	{.path = #name,                                              \
	 .mode = 0440,                                               \
	 .flags = ROW_INFO,                                          \
	 .cache = ended,                                             \
	 .type = value_type,                                         \
	 .unit = value_unit,                                         \
	 .show = session_show_##name,                                \
	 .doc = text},

const struct row history_rows[] = {
	{.path = "name",
	 .mode = 0440,
	 .flags = ROW_INFO,
	 .cache = C_PLAIN,
	 .type = V_TEXT,
	 .show = show_name,
	 .doc = "its last name in sessions/"},
	{.path = "state",
	 .mode = 0440,
	 .flags = ROW_INFO,
	 .cache = C_DERIVED,
	 .type = V_TEXT,
	 .show = session_show_state,
	 .doc = "stopping until the machine is proven gone, then stopped or failed"},
	{.path = "receipt",
	 .mode = 0440,
	 .cache = C_DERIVED,
	 .type = V_TEXT,
	 .show = show_receipt,
	 .doc = "who ended it and when, calls made, evidence that the machine is gone, seconds "
		"billed, cost; says so while it is still stopping"},
	{.path = "error",
	 .mode = 0440,
	 .cache = C_DERIVED,
	 .type = V_TEXT,
	 .show = session_show_error,
	 .doc = "the last failed command on this session"},
	{.path = "offer",
	 .mode = 0777,
	 .cache = C_PLAIN,
	 .type = V_LINK,
	 .show = session_show_offer,
	 .doc = "leads to the offer that was bought, while it is on the market"},
	{.path = "log",
	 .mode = 0440,
	 .cache = C_DERIVED,
	 .type = V_TEXT,
	 .show = session_show_log,
	 .doc = "what happened to it, readable"},
	{.path = "events.json",
	 .mode = 0440,
	 .cache = C_DERIVED,
	 .type = V_JSON,
	 .show = session_show_events,
	 .doc = "the same events, one JSON object a line"},
	{.path = "info",
	 .mode = 0440,
	 .cache = C_DERIVED,
	 .type = V_TEXT,
	 .show = show_info,
	 .doc = "all values at once, one `key value` a line; ssh/host is ssh_host"},
	{.path = "info.json",
	 .mode = 0440,
	 .cache = C_DERIVED,
	 .type = V_JSON,
	 .show = show_info_json,
	 .doc = "the same as one line of JSON; an unknown value has no key"},
	{.path = "ssh", .mode = 0550, .flags = ROW_DIR, .doc = "where it could be reached"},
	{.path = "ssh/host",
	 .mode = 0440,
	 .flags = ROW_INFO,
	 .cache = C_PLAIN,
	 .type = V_TEXT,
	 .show = session_show_ssh_host,
	 .doc = "name or address"},
	{.path = "ssh/port",
	 .mode = 0440,
	 .flags = ROW_INFO,
	 .cache = C_PLAIN,
	 .type = V_INT,
	 .show = session_show_ssh_port,
	 .doc = "TCP port"},
	{.path = "ssh/user",
	 .mode = 0440,
	 .flags = ROW_INFO,
	 .cache = C_PLAIN,
	 .type = V_TEXT,
	 .show = session_show_ssh_user,
	 .doc = "whom one logged in as"},
	{.path = "wait",
	 .mode = 0550,
	 .flags = ROW_DIR | ROW_UNLISTED,
	 .doc = "files that wait; never listed, so that grep -r cannot fall in"},
	{.path = "wait/gone",
	 .mode = 0440,
	 .cache = C_WAIT,
	 .type = V_TEXT,
	 .wait = wait_gone,
	 .doc = "waits until the machine is proven gone, and reads as the receipt"},
	SESSION_VALUES(VALUE_ROW){.path = NULL},
};
