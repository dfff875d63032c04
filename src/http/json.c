/*
 * JSON out: the predecessor's objects as tables of members (name, type, when left out, how it is
 * written), which the OpenAPI document is printed from too. Integers have no fraction, other
 * numbers are the shortest decimal, times are RFC 3339 in UTC; no double is involved. Loop thread.
 * Tests: tests/unit/test_http_parse.c, tests/mount/http.bats.
 */
#include <string.h>

#include "parts.h"

/* ---- values ---- */

static void put_escaped(struct buf *b, const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (s[i] == '<' || s[i] == '>' || s[i] == '&')
			buf_printf(b, "\\u%04x", (unsigned)s[i]);
		else
			buf_putc(b, s[i]);
	}
}

void put_json_text(struct buf *b, const char *s)
{
	BUF text = {.secret = b->secret};

	if (!strpbrk(s, "<>&")) {
		buf_json(b, s, strlen(s));
		return;
	}
	buf_json(&text, s, strlen(s));
	if (text.failed)
		b->failed = true;
	else
		put_escaped(b, text.data, text.len);
}

void put_json_int(struct buf *b, int64_t v)
{
	char digits[24];
	size_t at = sizeof(digits);
	uint64_t u = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;

	do {
		digits[--at] = (char)('0' + u % 10);
		u /= 10;
	} while (u);
	if (v < 0)
		digits[--at] = '-';
	buf_add(b, digits + at, sizeof(digits) - at);
}

void put_json_fixed(struct buf *b, int64_t v, int places)
{
	char digits[24];
	uint64_t u = v < 0 ? 0 - (uint64_t)v : (uint64_t)v, scale = 1, whole;
	int used = places;

	for (int i = 0; i < places; i++)
		scale *= 10;
	if (v < 0)
		buf_putc(b, '-');
	whole = u / scale;
	put_json_int(b, (int64_t)whole);
	u -= whole * scale;
	if (u == 0)
		return;
	for (int i = places; i-- > 0; u /= 10)
		digits[i] = (char)('0' + u % 10);
	while (digits[used - 1] == '0')
		used--;
	buf_putc(b, '.');
	buf_add(b, digits, (size_t)used);
}

void put_json_time(struct buf *b, int64_t wall_us)
{
	buf_putc(b, '"');
	if (wall_us > 0)
		put_time(b, wall_us);
	else
		buf_puts(b, "0001-01-01T00:00:00Z");
	buf_putc(b, '"');
}

void put_json_object(struct buf *b, const struct member *m, size_t n, const struct render *x)
{
	bool first = true;

	buf_putc(b, '{');
	for (size_t i = 0; i < n; i++) {
		size_t before = b->len;

		buf_puts(b, first ? "\"" : ",\"");
		buf_puts(b, m[i].name);
		buf_puts(b, "\":");
		if (m[i].put(x, b)) {
			first = false;
		} else if (!b->failed) {
			CHECK(m[i].optional);
			b->len = before;
			b->data[before] = '\0';
		}
	}
	buf_putc(b, '}');
}

void clean(char out[REQUEST_ID_MAX + 1], const char *s)
{
	size_t n = strnlen(s, REQUEST_ID_MAX), at = 0;

	for (size_t i = 0; i < n; i++)
		if ((unsigned char)s[i] >= 0x20 && s[i] != 0x7f && s[i] != '<' && s[i] != '>')
			out[at++] = s[i];
	out[at] = '\0';
}

bool member_text(struct buf *b, const char *s)
{
	put_json_text(b, s);
	return true;
}

bool member_optional(struct buf *b, const char *s)
{
	return s[0] && member_text(b, s);
}

bool member_int(struct buf *b, int64_t v)
{
	put_json_int(b, v == UNKNOWN ? 0 : v);
	return true;
}

bool member_fixed(struct buf *b, int64_t v, int places)
{
	put_json_fixed(b, v == UNKNOWN ? 0 : v, places);
	return true;
}

bool member_bool(struct buf *b, bool v)
{
	buf_puts(b, v ? "true" : "false");
	return true;
}

bool member_time(struct buf *b, int64_t us)
{
	put_json_time(b, us);
	return true;
}

/* ---- an offer ---- */

#define OFFER(name, how) SHOW_MEMBER(offer, offer, o, name, how)
OFFER(id, member_text(b, o->id))
OFFER(provider, member_text(b, o->provider))
OFFER(provider_id, member_text(b, o->provider_id))
OFFER(gpu_type, member_text(b, o->gpu_type))
OFFER(gpu_count, member_int(b, o->gpu_count))
OFFER(vram_gb, member_int(b, o->vram_gb))
OFFER(price, member_fixed(b, o->price_u6, 6))
OFFER(location, member_text(b, o->location))
OFFER(reliability, member_fixed(b, o->reliability_m, 3))
OFFER(available, member_bool(b, o->available))
OFFER(max_duration, member_int(b, o->max_duration_hours))
OFFER(fetched, ((void)o, member_time(b, x->fetched_us)))
OFFER(confidence, member_fixed(b, o->confidence_m, 3))
OFFER(cuda, o->cuda_m > 0 && member_fixed(b, o->cuda_m, 3))
OFFER(machine, member_optional(b, o->machine_id))
OFFER(interruptible, o->interruptible &&member_bool(b, true))
OFFER(min_bid, o->min_bid_u6 > 0 && member_fixed(b, o->min_bid_u6, 6))

const struct member offer_members[] = {
	{"id", JT_TEXT, false, show_offer_id, "what a session's offer_id names"},
	{"provider", JT_TEXT, false, show_offer_provider, "who rents it out"},
	{"provider_id", JT_TEXT, false, show_offer_provider_id, "the provider's own id of it"},
	{"gpu_type", JT_TEXT, false, show_offer_gpu_type, "model; CPU where there is no GPU"},
	{"gpu_count", JT_INT, false, show_offer_gpu_count, "GPUs in the machine"},
	{"vram_gb", JT_INT, false, show_offer_vram_gb, "memory of each GPU in GB"},
	{"price_per_hour", JT_NUMBER, false, show_offer_price, "USD an hour"},
	{"location", JT_TEXT, false, show_offer_location, "empty if it is not known"},
	{"reliability", JT_NUMBER, false, show_offer_reliability, "0 to 1; 0 if it is not known"},
	{"available", JT_BOOL, false, show_offer_available, "can be rented now"},
	{"max_duration_hours", JT_INT, false, show_offer_max_duration, "0: no limit is known"},
	{"fetched_at", JT_TIME, false, show_offer_fetched, "when the provider said so"},
	{"availability_confidence", JT_NUMBER, false, show_offer_confidence, "0 to 1"},
	{"cuda_version", JT_NUMBER, true, show_offer_cuda, "newest CUDA that its driver supports"},
	{"machine_id", JT_TEXT, true, show_offer_machine, "the machine behind the offer"},
	{"interruptible", JT_BOOL, true, show_offer_interruptible, "may be taken away"},
	{"min_bid", JT_NUMBER, true, show_offer_min_bid, "of an interruptible one, USD an hour"},
};
const size_t offer_member_count = ARRAY_LEN(offer_members);

/* ---- a session ---- */

#define SESSION(name, how) SHOW_MEMBER(session, session, s, name, how)

/* Until the machine is ordered, the end is what it would be if that were now. */
static int64_t ends_us(const struct session *s)
{
	return s->expires_us > 0 ? s->expires_us : s->created_us + s->hours * HOUR_US;
}

/* Extensions move the end only, and the predecessor's hours grow with them. */
static int64_t hours_of(const struct session *s)
{
	if (s->expires_us <= 0 || s->bought_us <= 0)
		return s->hours;
	return (s->expires_us - s->bought_us + HOUR_US - 1) / HOUR_US;
}

static bool put_error(struct buf *b, const struct session *s)
{
	return s->state == S_FAILED && member_optional(b, s->reason);
}

static bool put_template(struct buf *b, const struct session *s)
{
	enum spec_end end;
	struct spec spec;
	bool put;

	if (!s->spec || spec_parse(s->spec, strlen(s->spec), &spec, &end, NULL))
		return false;
	put = member_optional(b, spec.template_id);
	spec_free(&spec);
	return put;
}

static bool put_duration_text(struct buf *b, int64_t us)
{
	int64_t minutes = us / MINUTE_US;

	if (us < 0)
		return member_text(b, "expired");
	buf_putc(b, '"');
	if (minutes >= 60)
		buf_printf(b, "%lldh ", (long long)(minutes / 60));
	buf_printf(b, "%lldm\"", (long long)(minutes % 60));
	return true;
}

SESSION(id, member_text(b, s->id))
SESSION(consumer, member_text(b, session_consumer(s)))
SESSION(provider, member_text(b, s->provider))
SESSION(gpu_type, member_text(b, s->gpu_type))
SESSION(gpu_count, member_int(b, s->gpu_count))
SESSION(status, member_text(b, state_name((enum session_state)s->state)))
SESSION(error, put_error(b, s))
SESSION(ssh_host, member_optional(b, s->ssh_host))
SESSION(ssh_port, s->ssh_port > 0 && member_int(b, s->ssh_port))
SESSION(ssh_user, member_optional(b, s->ssh_user))
SESSION(launch_mode, ((void)s, x->created &&member_text(b, "ssh")))
SESSION(template, x->created &&put_template(b, s))
SESSION(disk, s->disk_gb > 0 && member_int(b, s->disk_gb))
SESSION(workload, member_text(b, s->workload))
SESSION(hours, member_int(b, hours_of(s)))
SESSION(price, member_fixed(b, s->price_u6, 6))
SESSION(created, member_time(b, s->created_us))
SESSION(expires, member_time(b, ends_us(s)))
SESSION(retries, s->attempt > 1 && member_int(b, s->attempt - 1))
SESSION(failed_offers, s->failed_offers &&member_optional(b, s->failed_offers))
SESSION(name, member_text(b, s->name))
SESSION(offer, member_optional(b, s->offer_id))
SESSION(instance, member_optional(b, s->instance_id))
SESSION(reason, member_optional(b, s->reason))
SESSION(stopped, s->stopped_us > 0 && member_time(b, s->stopped_us))
SESSION(cost, member_fixed(b, session_cost_u6(s, x->now_us), 6))
SESSION(uptime, put_duration_text(b, x->now_us - s->running_us))
SESSION(time_left, put_duration_text(b, s->expires_us - x->now_us))
SESSION(ssh_known, member_bool(b, s->ssh_host[0] && s->ssh_port > 0))
SESSION(note,
	((void)s, member_text(b, "Full SSH diagnostics (GPU status, health checks) require "
				 "client-side SSH access. The owner reads the private key at " API
				 "/sessions/ID/key.")))

#define COMMON_SSH                                                                                \
	{"ssh_host", JT_TEXT, true, show_session_ssh_host, "address of the machine, once known"}, \
		{"ssh_port", JT_INT, true, show_session_ssh_port, "port of its SSH server"},      \
	{                                                                                         \
		"ssh_user", JT_TEXT, true, show_session_ssh_user, "user to log in as"             \
	}

const struct member session_members[] = {
	{"id", JT_TEXT, false, show_session_id,
	 "UUID; also its directory in sessions/ if made here"},
	{"consumer_id", JT_TEXT, false, show_session_consumer, "whose cost it is"},
	{"provider", JT_TEXT, false, show_session_provider, "who rents the machine out"},
	{"gpu_type", JT_TEXT, false, show_session_gpu_type, "model of its GPUs"},
	{"gpu_count", JT_INT, false, show_session_gpu_count, "number of its GPUs"},
	{"status", JT_TEXT, false, show_session_status,
	 "pending, provisioning, running, stopping, stopped or failed"},
	{"error", JT_TEXT, true, show_session_error, "of a failed session: why"},
	COMMON_SSH,
	{"launch_mode", JT_TEXT, true, show_session_launch_mode, "in the answer to a create: ssh"},
	{"template_hash_id", JT_TEXT, true, show_session_template,
	 "in the answer to a create: as ordered"},
	{"disk_gb", JT_INT, true, show_session_disk, "size of its disk, where there is a choice"},
	{"workload_type", JT_TEXT, false, show_session_workload, "as ordered"},
	{"reservation_hours", JT_INT, false, show_session_hours, "as ordered, with extensions"},
	{"price_per_hour", JT_NUMBER, false, show_session_price, "USD an hour"},
	{"created_at", JT_TIME, false, show_session_created, "when the session was made"},
	{"expires_at", JT_TIME, false, show_session_expires, "when it ends by itself"},
	{"retry_count", JT_INT, true, show_session_retries, "attempts after the first"},
	{"failed_offers", JT_TEXT, true, show_session_failed_offers, "offers given up, comma list"},
	{"name", JT_TEXT, false, show_session_name, "its directory's name in sessions/"},
	{"offer_id", JT_TEXT, true, show_session_offer, "the offer that was taken"},
	{"provider_instance_id", JT_TEXT, true, show_session_instance,
	 "the machine at the provider"},
	{"reason", JT_TEXT, true, show_session_reason, "why it is in this state"},
	{"stopped_at", JT_TIME, true, show_session_stopped, "when it ended"},
	{"total_cost", JT_NUMBER, false, show_session_cost, "USD so far"},
};
const size_t session_member_count = ARRAY_LEN(session_members);

const struct member diagnostics_members[] = {
	{"session_id", JT_TEXT, false, show_session_id, "id of the session"},
	{"status", JT_TEXT, false, show_session_status, "running"},
	{"provider", JT_TEXT, false, show_session_provider, "who rents the machine out"},
	{"gpu_type", JT_TEXT, false, show_session_gpu_type, "model of its GPUs"},
	{"gpu_count", JT_INT, false, show_session_gpu_count, "number of its GPUs"},
	COMMON_SSH,
	{"created_at", JT_TIME, false, show_session_created, "when the session was made"},
	{"expires_at", JT_TIME, false, show_session_expires, "when it ends by itself"},
	{"uptime", JT_TEXT, false, show_session_uptime, "since it runs, such as 1h 30m"},
	{"time_to_expiry", JT_TEXT, false, show_session_time_left, "such as 30m, or expired"},
	{"ssh_available", JT_BOOL, false, show_session_ssh_known, "host and port are known"},
	{"note", JT_TEXT, false, show_session_note, "how to find out more"},
};
const size_t diagnostics_member_count = ARRAY_LEN(diagnostics_members);
