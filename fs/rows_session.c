/*
 * sessions/NAME/: a session's values, its orders, its key, and the files that wait. The values that
 * history/ shows too come from SESSION_VALUES (rows.h); how to log in comes from rows_ssh.c. Loop
 * thread.
 *
 * Invariants: nothing here decides: orders go to the engine with their caller and are answered
 * once. A secret is shown by its own 0400 row only. Everything that can be written is derived,
 * since the kernel's page cache would keep the written text (fuse.md 5.2). Tests:
 * tests/unit/test_rows.c, tests/mount/.
 */
#include <inttypes.h>
#include <string.h>

#include "../src/core/check.h"
#include "rows.h"
#include "rows_ssh.h"

#define TEXT(name, field)                                             \
	int session_show_##name(const struct ctx *x, struct buf *out) \
	{                                                             \
		return put_line(out, x->session->field);              \
	}
#define NUMBER(name, put, value)                                      \
	int session_show_##name(const struct ctx *x, struct buf *out) \
	{                                                             \
		const struct session *s = x->session;                 \
                                                                      \
		return put(out, value);                               \
	}
/* Facts of the offer are unknown until one was taken, zero GPUs included. */
#define OF_OFFER(field) (s->offer_id[0] ? s->field : UNKNOWN)

TEXT(id, id)
TEXT(reason, reason)
TEXT(consumer, consumer)
TEXT(workload_type, workload)
TEXT(label, label_text)
TEXT(provider, provider)
TEXT(instance_id, instance_id)
TEXT(offer_id, offer_id)
TEXT(gpu_type, gpu_type)
TEXT(location, location)
TEXT(failed_offers, failed_offers)
NUMBER(state, put_line, state_name((enum session_state)s->state))
NUMBER(gpu_count, put_int_line, OF_OFFER(gpu_count))
NUMBER(vram_gb, put_int_line, OF_OFFER(vram_gb))
NUMBER(price_per_hour, put_money_line, OF_OFFER(price_u6))
NUMBER(price_quoted, put_money_line, OF_OFFER(price_quoted_u6))
NUMBER(created_at, put_time_line, s->created_us)
NUMBER(bought_at, put_time_line, s->bought_us)
NUMBER(running_at, put_time_line, s->running_us)
NUMBER(expires_at, put_time_line, s->expires_us)
NUMBER(stopped_at, put_time_line, s->stopped_us)
NUMBER(cost, put_money_line, session_cost_u6(s, x->now_us))
NUMBER(cost_max, put_money_line, session_cost_max_u6(s))
NUMBER(attempts, put_int_line, s->attempt)
NUMBER(protect, put_int_line, s->protect != 0)
NUMBER(hold, put_int_line, s->held != 0)

int session_show_owner(const struct ctx *x, struct buf *out)
{
	const struct session *s = x->session;

	return s->owner_name[0] ? put_line(out, s->owner_name) : put_int_line(out, s->owner_uid);
}

int session_show_offer(const struct ctx *x, struct buf *out)
{
	if (!x->session->offer_id[0])
		return -ENOENT;
	/* The link stays when the offer left the market: then it dangles, and says so by that. */
	buf_printf(out, "../../inventory/%s", x->session->offer_id);
	return 0;
}

int session_show_error(const struct ctx *x, struct buf *out)
{
	const char *s = engine_session_error(x->e, x->session);
	size_t n = s ? strlen(s) : 0;

	while (n > 0 && s[n - 1] == '\n')
		n--;
	if (n > 0) {
		buf_escape(out, s, n);
		buf_putc(out, '\n');
	}
	return 0;
}

int session_show_log(const struct ctx *x, struct buf *out)
{
	engine_session_log(x->e, x->session, false, out);
	return 0;
}

int session_show_events(const struct ctx *x, struct buf *out)
{
	engine_session_log(x->e, x->session, true, out);
	return 0;
}

int session_show_provider_log(const struct ctx *x, struct buf *out)
{
	engine_provider_log(x->e, x->session, out);
	return 0;
}

/* No provider reports it yet: unknown, which is not zero. */
int session_show_provider_cost(const struct ctx *x, struct buf *out)
{
	(void)x;
	return put_money_line(out, UNKNOWN);
}

static int show_spec(const struct ctx *x, struct buf *out)
{
	if (x->session->spec)
		buf_puts(out, x->session->spec);
	return 0;
}

static int show_plan(const struct ctx *x, struct buf *out)
{
	engine_plan(x->e, x->session, &x->who, out);
	return 0;
}

int session_show_remaining(const struct ctx *x, struct buf *out)
{
	const struct session *s = x->session;

	if (s->expires_us <= 0)
		return 0;
	if (state_terminal((enum session_state)s->state) || s->expires_us < x->now_us)
		return put_int_line(out, 0);
	return put_int_line(out, (s->expires_us - x->now_us) / SECOND_US);
}

/* ---- orders ---- */

static void store_ctl(const struct ctx *x, struct str text, order_cb cb, void *arg)
{
	engine_ctl(x->e, &x->who, x->session, text, cb, arg);
}

static void store_remaining(const struct ctx *x, struct str text, order_cb cb, void *arg)
{
	engine_remaining(x->e, &x->who, x->session, text, cb, arg);
}

static void store_protect(const struct ctx *x, struct str text, order_cb cb, void *arg)
{
	engine_protect(x->e, &x->who, x->session, text, cb, arg);
}

/* Only that it is open for writing counts; what is written is accepted and means nothing. */
static void store_hold(const struct ctx *x, struct str text, order_cb cb, void *arg)
{
	(void)x;
	(void)text;
	cb(arg, 0, NULL);
}

/* ---- waits ---- */

static int wait_fails(const struct session *s, enum err code, struct error *why)
{
	return fail(why, code, "%s will not run: %s", s->name[0] ? s->name : s->id,
		    s->reason[0] ? s->reason : err_text(code));
}

/* A copy, since the engine's own refusal may be gone before the reader sees it. */
static int wait_refused(const struct error *refusal, struct error *why)
{
	if (why)
		*why = *refusal;
	return -err_errno(refusal->code);
}

static int wait_ready(const struct ctx *x, int64_t *seen, struct buf *out, struct error *why)
{
	const struct session *s = x->session;
	enum session_state state = (enum session_state)s->state;
	const struct error *refusal;
	enum err code;

	(void)seen;
	switch (state) {
	case S_RUNNING:
		buf_puts(out, "running\n");
		return 1;
	case S_DRAFT:
		if (session_in_history(s))
			return fail(why, ERR_DRAFT_GONE, "the draft %s was removed", s->name);
		refusal = engine_session_refusal(x->e, s);
		return refusal ? wait_refused(refusal, why) : 0;
	case S_PENDING:
	case S_PROVISIONING:
		return 0;
	case S_STOPPING:
	case S_STOPPED:
	case S_FAILED:
	case S_COUNT:
		break;
	}
	code = end_cause_err((enum end_cause)s->end_cause);
	return wait_fails(s, code == ERR_NONE ? ERR_CANCELED : code, why);
}

/* *seen is the state at the first look, plus one. */
static int wait_change(const struct ctx *x, int64_t *seen, struct buf *out, struct error *why)
{
	const struct session *s = x->session;

	(void)why;
	if (*seen == 0)
		*seen = s->state + 1;
	if (*seen == s->state + 1)
		return 0;
	put_line(out, state_name((enum session_state)s->state));
	return 1;
}

#define LIVING_ROW(name, type, unit, living, ended, text) VALUE_ROW(name, type, unit, living, text),
#define SSH_ROW(name, bits, more, value_type, function, text) \
	READ_ROW("ssh/" name, bits, more, C_PLAIN, value_type, function, text)

const struct row session_rows[] = {
	READ_ROW("spec", 0600, ROW_SPEC, C_DERIVED, V_TEXT, show_spec,
		 "what to buy: write key=value words or JSON; a complete spec buys when it is "
		 "closed"),
	READ_ROW("plan", 0440, 0, C_DERIVED, V_TEXT, show_plan,
		 "what a commit would do now: offer, price, cost at the end; or why it would not"),
	{.path = "ctl",
	 .mode = 0200,
	 .flags = ROW_LINES,
	 .cache = C_DERIVED,
	 .type = V_TEXT,
	 .store = store_ctl,
	 .doc = "write verbs, one a line"},
	READ_ROW("state", 0440, ROW_INFO | ROW_STATE_POLL, C_DERIVED, V_TEXT, session_show_state,
		 "draft, pending, provisioning, running, stopping, stopped or failed; poll(2) says "
		 "POLLPRI when it changed since this descriptor read it"),
	SESSION_VALUES(LIVING_ROW)
	/* The values end with a comma. */
	READ_ROW("error", 0440, 0, C_DERIVED, V_TEXT, session_show_error,
		 "the last failed command on this session"),
	READ_ROW("offer", 0777, 0, C_PLAIN, V_LINK, session_show_offer,
		 "leads to the offer that was bought, while it is on the market"),
	{.path = "remaining",
	 .mode = 0600,
	 .flags = ROW_INFO,
	 .cache = C_DERIVED,
	 .type = V_INT,
	 .unit = "s",
	 .show = session_show_remaining,
	 .store = store_remaining,
	 .doc = "time until expires_at; write +2h to add, or 7200 to set it, up to the hard "
		"maximum"},
	{.path = "protect",
	 .mode = 0600,
	 .flags = ROW_INFO,
	 .cache = C_DERIVED,
	 .type = V_BOOL,
	 .show = session_show_protect,
	 .store = store_protect,
	 .doc = "write 1 and nothing can destroy it before a 0 is written: rmdir says EBUSY"},
	{.path = "hold",
	 .mode = 0600,
	 .flags = ROW_INFO | ROW_HOLD,
	 .cache = C_DERIVED,
	 .type = V_BOOL,
	 .show = session_show_hold,
	 .store = store_hold,
	 .doc = "a dead man's switch: it is destroyed soon after the last one who holds this open "
		"for "
		"writing closes it; reads 1 while held"},
	READ_ROW("env", 0400, ROW_SECRET, C_PLAIN, V_TEXT, ssh_show_env,
		 "GPU_HOST='...' lines, safe to source in any shell"),
	READ_ROW("log", 0440, 0, C_DERIVED, V_TEXT, session_show_log,
		 "what happened to it, readable; `tail -f` works"),
	READ_ROW("events.json", 0440, 0, C_DERIVED, V_JSON, session_show_events,
		 "the same events, one JSON object a line"),
	INFO_ROWS(0440, C_DERIVED, "; ssh/host is ssh_host"),
	{.path = "ssh", .mode = 0550, .flags = ROW_DIR, .doc = "how to log in; empty until known"},
	SSH_ROW("host", 0440, ROW_INFO, V_TEXT, session_show_ssh_host, "name or address"),
	SSH_ROW("port", 0440, ROW_INFO, V_INT, session_show_ssh_port, "TCP port"),
	SSH_ROW("user", 0440, ROW_INFO, V_TEXT, session_show_ssh_user, "whom to log in as"),
	SSH_ROW("command", 0440, 0, V_TEXT, ssh_show_command, "a command line that logs in"),
	SSH_ROW("key", 0400, ROW_SECRET, V_TEXT, ssh_show_key,
		"the private key, OpenSSH format, for ssh -i; there until the session ends"),
	SSH_ROW("key.pub", 0440, 0, V_TEXT, ssh_show_key_pub, "the public key"),
	SSH_ROW("known_hosts", 0440, 0, V_TEXT, ssh_show_known_hosts,
		"the machine's host key, pinned at the first verified login"),
	SSH_ROW("config", 0440, 0, V_TEXT, ssh_show_config,
		"for ssh -F: Host NAME.gpu with key and strict host key check"),
	{.path = "wait",
	 .mode = 0550,
	 .flags = ROW_DIR | ROW_UNLISTED,
	 .doc = "files that wait; never listed, so that grep -r cannot fall in"},
	{.path = "wait/ready",
	 .mode = 0440,
	 .cache = C_WAIT,
	 .type = V_TEXT,
	 .wait = wait_ready,
	 .doc = "waits until it is running; fails with ECANCELED (destroyed), ENOSPC (no offer "
		"left), "
		"ETIMEDOUT (not ready in time), EHOSTDOWN (lost), ENODATA (the draft was removed)"},
	{.path = "wait/change",
	 .mode = 0440,
	 .cache = C_WAIT,
	 .type = V_TEXT,
	 .wait = wait_change,
	 .doc = "waits for the next change of state after this open, and reads as the new state"},
	{.path = "watch",
	 .mode = 0550,
	 .flags = ROW_DIR | ROW_UNLISTED,
	 .doc = "files that stream; never listed"},
	{.path = "watch/events",
	 .mode = 0440,
	 .cache = C_STREAM,
	 .type = V_JSON,
	 .doc = "this session's events from the open on, one JSON object a line"},
	SESSION_LATER_ROWS,
	{.path = NULL},
};
