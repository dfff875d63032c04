/*
 * The spec: decides which grammar a text is in, refuses bytes that no spec may hold, checks the
 * whole, and prints it back canonically. All or nothing: a refused text leaves nothing behind.
 * Pure; loop thread. Tests: tests/unit/test_spec.c (what is printed parses back to the same, for
 * random specs).
 */
#include "spec.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "spec_parts.h"
#include "text_parts.h"

void spec_init(struct spec *s)
{
	*s = (struct spec){
		.hours = UNKNOWN,
		.workload = UNKNOWN,
		.retries = UNKNOWN,
		.retry_scope = UNKNOWN,
		.ssh_timeout_us = UNKNOWN,
		.wait_us = UNKNOWN,
		.protect = UNKNOWN,
		.bid_u6 = UNKNOWN,
		.disk_gb = UNKNOWN,
		.vcpus = UNKNOWN,
		.ram_gb = UNKNOWN,
		.launch_mode = UNKNOWN,
	};
}

void spec_free(struct spec *s)
{
	if (s->env) /* people put tokens there */
		explicit_bzero(s->env, SPEC_ENV_MAX * sizeof(*s->env));
	free(s->env);
	if (s->on_start) /* and there */
		explicit_bzero(s->on_start, strlen(s->on_start));
	free(s->on_start);
	free(s->ssh_public_key);
	free(s->consumer);
	spec_init(s);
}

/* ---- environment ---- */

static bool env_name_valid(struct str name)
{
	if (name.n == 0 || name.n > 63 || (name.p[0] >= '0' && name.p[0] <= '9'))
		return false;
	for (size_t i = 0; i < name.n; i++) {
		char c = name.p[i];

		if (!((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
		      c == '_'))
			return false;
	}
	return true;
}

/* Where the name is, or where it belongs: sorted, so that the same spec always prints the same. */
static size_t env_find(const struct spec *s, struct str name, bool *found)
{
	size_t i = 0;

	*found = false;
	for (; i < s->env_count; i++) {
		size_t n = strlen(s->env[i].name);
		int order = memcmp(s->env[i].name, name.p, n < name.n ? n : name.n);

		if (order == 0 && n == name.n)
			*found = true;
		if (order > 0 || (order == 0 && n >= name.n))
			break;
	}
	return i;
}

int spec_env_set(struct spec *s, struct str name, struct str value, bool once, struct error *why)
{
	struct spec_env *entry;
	bool found;
	size_t at;

	if (!env_name_valid(name))
		return fail(
			why, ERR_INVALID,
			"the name behind 'env.' must be 1 to 63 letters, digits or '_', and not "
			"begin with a digit");
	if (value.n >= SPEC_ENV_VALUE)
		return fail(why, ERR_INVALID, "the value is too long; at most %d bytes are allowed",
			    SPEC_ENV_VALUE - 1);
	at = env_find(s, name, &found);
	if (found && once)
		return fail(why, ERR_INVALID, "is there twice; leave out one of them");
	if (!found && s->env_count == SPEC_ENV_MAX)
		return fail(why, ERR_INVALID, "at most %d variables are allowed", SPEC_ENV_MAX);
	if (!found) {
		if (!s->env) /* for all of them at once: 70 KB, and no growth to get wrong */
			s->env = calloc(SPEC_ENV_MAX, sizeof(*s->env));
		if (!s->env)
			return fail(why, ERR_NO_MEMORY, "out of memory");
		memmove(s->env + at + 1, s->env + at, (s->env_count - at) * sizeof(*s->env));
		s->env_count++;
	}
	entry = &s->env[at];
	memset(entry, 0, sizeof(*entry));
	memcpy(entry->name, name.p, name.n);
	if (value.n)
		memcpy(entry->value, value.p, value.n);
	return 0;
}

/* ---- parsing ---- */

/* Refuse what no spec holds: NUL, control bytes, invalid UTF-8. A character that the end of the
 * text cuts in two is no error: the shell may still be writing it; *n is then shortened and *cut is
 * set. */
static int check_bytes(struct spec_parse_state *st, const char *text, size_t *n, bool json,
		       bool *cut)
{
	const char *what = NULL;
	int line, column;
	size_t i = 0;

	*cut = false;
	while (i < *n && !what) {
		int step = utf8_step(text + i, *n - i);
		char c = text[i];

		if (step == UTF8_CUT) {
			*n = i;
			*cut = true;
			return 0;
		}
		if (step == 0)
			what = "a byte that is not valid UTF-8";
		else if (c == '\0')
			what = "a NUL byte";
		else if (c == '\r' && !json)
			what = "a carriage return; end lines with a newline only (tr -d '\\r')";
		else if (c != '\n' && c != '\t' && c != '\r' && utf8_is_control(text + i, step))
			what = "a control character";
		else
			i += (size_t)step;
	}
	if (!what)
		return 0;
	text_place(text, i, &line, &column);
	return fail_at(st->why, ERR_INVALID, line, column, "the spec holds %s", what);
}

/* hours=13 without override_hard_max, wherever in the text the latter could have stood. */
static int check_hours(struct spec_parse_state *st)
{
	struct spec *s = st->out;

	if (s->hours <= SPEC_HOURS_MAX || s->override_hard_max)
		return 0;
	if (st->hours_undecided) { /* of an unfinished text: not refused, and not taken either */
		s->hours = UNKNOWN;
		return 0;
	}
	return fail_at(st->why, ERR_RANGE, st->place[K_HOURS].line, st->place[K_HOURS].column,
		       "hours=%" PRId64
		       ": must be 1 to %d (an administrator may add override_hard_max=1)",
		       s->hours, SPEC_HOURS_MAX);
}

static int check_pair(struct spec_parse_state *st, enum query_key low, enum query_key high)
{
	const struct query *q = &st->out->query;
	uint32_t both = UINT32_C(1) << low | UINT32_C(1) << high;

	if ((q->set & both) != both || q->num[low] <= q->num[high])
		return 0;
	return fail_at(st->why, ERR_INVALID, st->query_place[low].line, st->query_place[low].column,
		       "%s=%s and %s=%s: no offer can be both; change one of them",
		       query_keys[low].name, q->text[low], query_keys[high].name, q->text[high]);
}

/* A bid belongs to the market of bids, and is a price. That one is missing is no contradiction: shells
 * write line by line, so the purchase asks for it. */
static int check_bid(struct spec_parse_state *st)
{
	const struct query *q = &st->out->query;
	int line = st->place[K_BID].line, column = st->place[K_BID].column;
	BUF bid = {.max = 32};

	if (st->out->bid_u6 == UNKNOWN)
		return 0;
	put_money(&bid, st->out->bid_u6);
	if (q->set & UINT32_C(1) << Q_INTERRUPTIBLE && !q->num[Q_INTERRUPTIBLE])
		return fail_at(st->why, ERR_INVALID, line, column,
			       "bid=%s: only an interruptible machine takes a bid; write "
			       "interruptible=1, or leave the bid out",
			       bid.data);
	if (q->set & UINT32_C(1) << Q_MAX_PRICE && st->out->bid_u6 > q->num[Q_MAX_PRICE])
		return fail_at(st->why, ERR_INVALID, line, column,
			       "bid=%s is more than max_price=%s; lower the one or raise the other",
			       bid.data, q->text[Q_MAX_PRICE]);
	return 0;
}

/* Combinations that can never be bought. */
static int check_whole(struct spec_parse_state *st)
{
	const struct query *q = &st->out->query;
	int err = check_hours(st);

	for (size_t i = 0; st->out->offer[0] && err == 0 && i < Q_KEY_COUNT; i++)
		if (q->set & UINT32_C(1) << i && i != Q_MAX_PRICE &&
		    !(i == Q_INTERRUPTIBLE && q->num[i]))
			err = fail_at(st->why, ERR_INVALID, st->query_place[i].line,
				      st->query_place[i].column,
				      "%s: offer= already says which one; leave out either (only "
				      "max_price may stand beside offer=, as a cap, and "
				      "interruptible=1 with a bid)",
				      query_keys[i].name);
	if (err == 0)
		err = check_pair(st, Q_MIN_VRAM, Q_MAX_VRAM);
	if (err == 0)
		err = check_pair(st, Q_MIN_GPU_COUNT, Q_GPU_COUNT);
	if (err == 0)
		err = check_bid(st);
	return err;
}

/* Escapes can make the canonical text longer than what was written, and it is what is kept. */
static int check_size(const struct spec_parse_state *st)
{
	BUF canonical = {.max = SPEC_MAX};

	spec_put(st->out, &canonical);
	if (!canonical.failed)
		return 0;
	return fail(st->why, ERR_TOO_BIG,
		    "with every quote and control character escaped this is a spec of more than "
		    "%zu KiB; write less",
		    SPEC_MAX / 1024);
}

static bool looks_like_json(const char *text, size_t n)
{
	size_t i = 0;

	while (i < n && (text[i] == ' ' || text[i] == '\t' || text[i] == '\n' || text[i] == '\r'))
		i++;
	return i < n && text[i] == '{';
}

int spec_parse(const char *text, size_t n, struct spec *out, enum spec_end *end, struct error *why)
{
	struct spec_parse_state st = {.out = out, .why = why};
	bool json = looks_like_json(text, n), cut;
	struct error ignored;
	int err;

	if (!why)
		st.why = &ignored;
	spec_init(out);
	*end = SPEC_FINISHED;
	if (n > SPEC_MAX)
		return fail(why, ERR_TOO_BIG, "a spec of more than %zu KiB; write less",
			    SPEC_MAX / 1024);
	err = check_bytes(&st, text, &n, json, &cut);
	if (err == 0)
		err = json ? spec_parse_json(&st, text, n, end)
			   : spec_parse_words(&st, text, n, end);
	if (err == 0)
		err = check_whole(&st);
	if (err == 0 &&
	    n > SPEC_MAX / 4) /* no escape is four times as long as what it stands for */
		err = check_size(&st);
	if (cut)
		*end = SPEC_UNFINISHED;
	if (err)
		spec_free(out);
	return err;
}

/* ---- printing ---- */

/* Characters that need no quotes anywhere in a value. */
static bool is_plain(const char *v)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
				    "._=,+/:@%-";

	return *v && v[strspn(v, plain)] == '\0';
}

static bool has_control(const char *v)
{
	size_t n = strlen(v);

	for (size_t i = 0; i < n;) {
		int step = utf8_step(v + i, n - i);

		if (step <= 0 || utf8_is_control(v + i, step))
			return true;
		i += (size_t)step;
	}
	return false;
}

/* Inside "...": whatever else would end the line or the quotes. */
static void put_quoted(const char *v, struct buf *out)
{
	size_t n = strlen(v);

	for (size_t i = 0; i < n;) {
		int step = utf8_step(v + i, n - i);
		size_t k = step <= 0 ? 1 : (size_t)step;

		if (step <= 0 || utf8_is_control(v + i, step))
			for (size_t j = 0; j < k; j++)
				buf_printf(out, "\\x%02x", (unsigned char)v[i + j]);
		else if (v[i] == '"' || v[i] == '\\')
			buf_printf(out, "\\%c", v[i]);
		else
			buf_add(out, v + i, k);
		i += k;
	}
}

static void spec_put_pair(const char *key, const char *value, struct buf *out)
{
	buf_printf(out, "%s=", key);
	if (is_plain(value)) {
		buf_puts(out, value);
	} else if (!strchr(value, '\'') && !has_control(value)) {
		buf_putc(out, '\'');
		buf_puts(out, value);
		buf_putc(out, '\'');
	} else {
		buf_putc(out, '"');
		put_quoted(value, out);
		buf_putc(out, '"');
	}
	buf_putc(out, '\n');
}

static void put_int(const char *key, int64_t v, struct buf *out)
{
	char text[24];
	BUF b = {0};

	if (v == UNKNOWN)
		return;
	buf_printf(&b, "%" PRId64, v);
	COPY(text, b.data ? b.data : "");
	spec_put_pair(key, text, out);
}

static void put_text(const char *key, const char *v, struct buf *out)
{
	if (v && *v)
		spec_put_pair(key, v, out);
}

static void put_ports(const char *key, const struct spec *s, struct buf *out)
{
	BUF list = {.max = 8 * SPEC_PORTS_MAX};

	for (size_t i = 0; i < s->port_count; i++)
		buf_printf(&list, "%s%" PRId64, i ? "," : "", s->ports[i]);
	put_text(key, list.data, out);
}

static void spec_put_key(const struct spec *s, enum spec_key_id id, struct buf *out)
{
	const char *name = spec_keys[id].name;

	switch (id) {
	case K_OFFER:
		put_text(name, s->offer, out);
		break;
	case K_OVERRIDE_HARD_MAX:
		put_text(name, s->override_hard_max ? "1" : "", out);
		break;
	case K_HOURS:
		put_int(name, s->hours, out);
		break;
	case K_CONSUMER:
		put_text(name, s->consumer, out);
		break;
	case K_WORKLOAD_TYPE:
		put_text(name, s->workload == UNKNOWN ? "" : workload_names[s->workload], out);
		break;
	case K_LABEL:
		put_text(name, s->label, out);
		break;
	case K_RETRIES:
		put_int(name, s->retries, out);
		break;
	case K_RETRY_SCOPE:
		put_text(name, s->retry_scope == UNKNOWN ? "" : retry_scope_names[s->retry_scope],
			 out);
		break;
	case K_SSH_PUBLIC_KEY:
		put_text(name, s->ssh_public_key, out);
		break;
	case K_SSH_TIMEOUT_MINUTES:
		put_int(name,
			s->ssh_timeout_us == UNKNOWN ? UNKNOWN : s->ssh_timeout_us / MINUTE_US,
			out);
		break;
	case K_WAIT:
		if (s->wait_us == INT64_MAX)
			put_text(name, "max", out);
		else
			put_int(name, s->wait_us == UNKNOWN ? UNKNOWN : s->wait_us / MINUTE_US,
				out);
		break;
	case K_PROTECT:
		put_int(name, s->protect, out);
		break;
	case K_BID:
		if (s->bid_u6 != UNKNOWN) {
			BUF money = {.max = 32};

			put_money(&money, s->bid_u6);
			put_text(name, money.data, out);
		}
		break;
	case K_DISK_GB:
		put_int(name, s->disk_gb, out);
		break;
	case K_VCPUS:
		put_int(name, s->vcpus, out);
		break;
	case K_RAM_GB:
		put_int(name, s->ram_gb, out);
		break;
	case K_IMAGE:
		put_text(name, s->image, out);
		break;
	case K_TEMPLATE:
		put_text(name, s->template_id, out);
		break;
	case K_ON_START:
		put_text(name, s->on_start, out);
		break;
	case K_PORTS:
		put_ports(name, s, out);
		break;
	case K_LAUNCH_MODE:
		put_text(name, s->launch_mode == UNKNOWN ? "" : launch_mode_names[s->launch_mode],
			 out);
		break;
	case K_ENV:
		for (size_t i = 0; i < s->env_count; i++) {
			char key[4 + 64];

			COPY(key, "env.");
			copy_text(key + 4, sizeof(key) - 4, s->env[i].name);
			spec_put_pair(key, s->env[i].value, out);
		}
		break;
	case K_COMMIT: /* an order, not a part of the spec */
	case K_COUNT:
		break;
	}
}

static void spec_put_query(const struct query *q, struct buf *out)
{
	for (size_t i = 0; i < Q_KEY_COUNT; i++) {
		char value[65] = "=";

		if (!(q->set & UINT32_C(1) << i))
			continue;
		copy_text(value + 1, sizeof(value) - 1, q->text[i]);
		spec_put_pair(query_keys[i].name, i == Q_GPU && q->gpu_exact ? value : value + 1,
			      out);
	}
}

void spec_put(const struct spec *s, struct buf *out)
{
	for (enum spec_key_id id = 0; id < K_COUNT; id++) {
		spec_put_key(s, id, out);
		if (id == K_OFFER)
			spec_put_query(&s->query, out);
	}
}
