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

#define ENDED_ROW(name, type, unit, living, ended, text) VALUE_ROW(name, type, unit, ended, text),

const struct row history_rows[] = {
	READ_ROW("name", 0440, ROW_INFO, C_PLAIN, V_TEXT, show_name, "its last name in sessions/"),
	READ_ROW("state", 0440, ROW_INFO, C_DERIVED, V_TEXT, session_show_state,
		 "stopping until the machine is proven gone, then stopped or failed"),
	READ_ROW("receipt", 0440, 0, C_DERIVED, V_TEXT, show_receipt,
		 "who ended it and when, calls made, evidence that the machine is gone, seconds "
		 "billed, cost; says so while it is still stopping"),
	READ_ROW("error", 0440, 0, C_DERIVED, V_TEXT, session_show_error,
		 "the last failed command on this session"),
	READ_ROW("offer", 0777, 0, C_PLAIN, V_LINK, session_show_offer,
		 "leads to the offer that was bought, while it is on the market"),
	READ_ROW("log", 0440, 0, C_DERIVED, V_TEXT, session_show_log,
		 "what happened to it, readable"),
	READ_ROW("events.json", 0440, 0, C_DERIVED, V_JSON, session_show_events,
		 "the same events, one JSON object a line"),
	INFO_ROWS(0440, C_DERIVED, "; ssh/host is ssh_host"),
	{.path = "ssh", .mode = 0550, .flags = ROW_DIR, .doc = "where it could be reached"},
	READ_ROW("ssh/host", 0440, ROW_INFO, C_PLAIN, V_TEXT, session_show_ssh_host,
		 "name or address"),
	READ_ROW("ssh/port", 0440, ROW_INFO, C_PLAIN, V_INT, session_show_ssh_port, "TCP port"),
	READ_ROW("ssh/user", 0440, ROW_INFO, C_PLAIN, V_TEXT, session_show_ssh_user,
		 "whom one logged in as"),
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
	SESSION_VALUES(ENDED_ROW)
	/* The values end with a comma. */
	SESSION_LATER_ROWS,
	{.path = NULL},
};
