/*
 * The words of the states: names, documents and the table of legal arrows. Pure.
 * Tests: tests/unit/test_session.c.
 */
#include <stddef.h>

#include "check.h"
#include "session.h"
#include "wire.h"

static const char *const state_names[S_COUNT] = {
#define X(name, word, doc) [S_##name] = #word,
	STATE_TABLE(X)
#undef X
};

static const char *const state_docs[S_COUNT] = {
#define X(name, word, doc) [S_##name] = doc,
	STATE_TABLE(X)
#undef X
};

#define BIT(s) (1u << (s))
/* From each state, where it may go (lifecycle.md, States). failed -> pending is the verb `retry`.
 */
static const unsigned arrows[S_COUNT] = {
	[S_DRAFT] = BIT(S_PENDING),
	[S_PENDING] = BIT(S_PROVISIONING) | BIT(S_STOPPING) | BIT(S_FAILED),
	[S_PROVISIONING] = BIT(S_RUNNING) | BIT(S_STOPPING) | BIT(S_PENDING),
	[S_RUNNING] = BIT(S_STOPPING),
	[S_STOPPING] = BIT(S_STOPPED) | BIT(S_FAILED),
	[S_STOPPED] = BIT(S_STOPPING), /* a resurrection reopens the record */
	[S_FAILED] = BIT(S_PENDING) | BIT(S_STOPPING),
};

const char *state_name(enum session_state s)
{
	CHECK(s < S_COUNT);
	return state_names[s];
}

const char *state_doc(enum session_state s)
{
	CHECK(s < S_COUNT);
	return state_docs[s];
}

bool state_may(enum session_state from, enum session_state to)
{
	CHECK(from < S_COUNT && to < S_COUNT);
	return from == to || (arrows[from] & BIT(to)) != 0;
}

bool state_terminal(enum session_state s)
{
	return s == S_STOPPED || s == S_FAILED;
}

const char *instance_state_name(enum instance_state i)
{
	static const char *const names[I_COUNT] = {
		[I_NONE] = "none",     [I_ASKED] = "asked", [I_UNSURE] = "unsure",
		[I_EXISTS] = "exists", [I_GONE] = "gone",
	};

	CHECK(i < I_COUNT);
	return names[i];
}

enum err end_cause_err(enum end_cause c)
{
	static const enum err errs[END_COUNT] = {
		[END_NONE] = ERR_CANCELED,	 [END_DESTROYED] = ERR_CANCELED,
		[END_DONE] = ERR_CANCELED,	 [END_EXPIRED] = ERR_CANCELED,
		[END_HARD_MAX] = ERR_CANCELED,	 [END_HOLD] = ERR_CANCELED,
		[END_LOST] = ERR_LOST,		 [END_NO_OFFER] = ERR_NO_MATCH,
		[END_BOOT] = ERR_TIMED_OUT,	 [END_SSH] = ERR_TIMED_OUT,
		[END_REFUSED] = ERR_UNREACHABLE, [END_PREEMPTED] = ERR_LOST,
		[END_MONEY] = ERR_QUOTA,	 [END_PRICE] = ERR_NO_MATCH,
		[END_KEY] = ERR_KEY_REFUSED,
	};

	CHECK(c < END_COUNT);
	return errs[c];
}

const char *const call_op_names[CALL_OP_COUNT] = {
	[CALL_OFFERS] = "offers",   [CALL_CREATE] = "create",	    [CALL_LIST] = "list",
	[CALL_LOOK] = "look",	    [CALL_DESTROY] = "destroy",	    [CALL_ATTACH] = "attach",
	[CALL_ACCOUNT] = "account", [CALL_TEMPLATES] = "templates",
};

const char *const verdict_names[5] = {
	[SURE_YES] = "sure_yes", [SURE_NO] = "sure_no",	  [UNSURE] = "unsure",
	[LATER] = "later",	 [KEY_DEAD] = "key_dead",
};

const char *const instance_status_names[INST_COUNT] = {
	[INST_UNKNOWN] = "unknown",   [INST_BOOTING] = "booting", [INST_RUNNING] = "running",
	[INST_STOPPING] = "stopping", [INST_STOPPED] = "stopped", [INST_BROKEN] = "failed",
	[INST_OFFLINE] = "offline",   [INST_GONE] = "gone",
};

const char *const http_method_names[4] = {
	[HTTP_GET] = "GET", [HTTP_PUT] = "PUT", [HTTP_POST] = "POST", [HTTP_DELETE] = "DELETE"};

const char *const provider_error_names[PE_COUNT] = {
	[PE_NONE] = "none",
	[PE_GONE] = "gone",
	[PE_STALE_OFFER] = "stale_offer",
	[PE_AUTH] = "auth",
	[PE_MONEY] = "money",
	[PE_RATE] = "rate",
	[PE_UNAVAILABLE] = "unavailable",
	[PE_INVALID] = "invalid",
	[PE_UNKNOWN] = "unknown",
};
