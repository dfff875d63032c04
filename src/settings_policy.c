/*
 * What a setting's text may be, and what it means in numbers: one checker driven by the rows of the
 * table (settings_docs.c), and the policy that core and engine obey. Every value passed the check
 * before it becomes policy, so the second half only refuses what no single row can know.
 *
 * Pure; any thread. Tests: tests/unit/test_settings.c.
 */
#include "settings.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <string.h>

#include "core/check.h"
#include "core/text.h"
#include "core/url.h"

/* ---- values ---- */

struct number {
	const char *type;
	int (*parse)(struct str s, int64_t *out, struct error *why);
};

static int parse_number(struct str s, int64_t *out, struct error *why)
{
	return parse_int(s, 0, INT64_MAX / 2, out, why);
}

static const struct number numbers[] = {
	{"number", parse_number},
	{"duration", parse_duration},
	{"USD", parse_money},
};

/* Is `text` one of the alternatives of the range? Its bounds are ours, so they must parse. */
static bool in_range(const struct setting *row, const struct number *num, struct str text)
{
	int64_t v = 0, lo = 0, hi = 0;

	for (const char *p = row->range; *p; p += strcspn(p, "|"), p += *p == '|') {
		size_t n = strcspn(p, "|");
		const char *dots = memmem(p, n, "..", 2);

		if (!dots) {
			if (n == text.n && !memcmp(p, text.p, n))
				return true;
			continue;
		}
		CHECK(num != NULL);
		CHECK(num->parse((struct str){p, (size_t)(dots - p)}, &lo, NULL) == 0);
		CHECK(num->parse((struct str){dots + 2, n - (size_t)(dots - p) - 2}, &hi, NULL) ==
		      0);
		if (num->parse(text, &v, NULL) == 0 && v >= lo && v <= hi)
			return true;
	}
	return false;
}

static bool all_of(const char *s, const char *extra)
{
	for (; *s; s++)
		if (!isalnum((unsigned char)*s) && !strchr(extra, *s))
			return false;
	return true;
}

static bool name_ok(const char *s)
{
	return *s && strlen(s) <= 63 && all_of(s, "._-@+");
}

#define KEY_BYTES_MAX 512 /* of a provider's key; they have 64 or so */

/* It goes into one header line as it is. */
static bool key_ok(const char *s)
{
	size_t n = 0;

	for (; s[n]; n++)
		if (s[n] < 0x21 || s[n] > 0x7e)
			return false;
	return n <= KEY_BYTES_MAX;
}

/* A value that is neither a number nor a word of a list; NULL if it is fine, else what it must be.
 */
static const char *text_wants(const struct setting *row, const char *v)
{
	if (!strcmp(row->type, "path")) {
		if (*v != '/' && *v)
			return "must be an absolute path";
		/* policy.public_mount is this long; quotes would end the string in ssh_config */
		if (row == &settings_table[SET_PUBLIC_MOUNT] && (strlen(v) > 255 || strchr(v, '"')))
			return "must be at most 255 bytes, without quotes";
		return NULL;
	}
	if (!strcmp(row->type, "id"))
		return *v && (strlen(v) < 4 || strlen(v) > 8 || !all_of(v, "") ||
			      strpbrk(v, "ABCDEFGHIJKLMNOPQRSTUVWXYZ"))
			       ? "must be 4 to 8 of a-z and 0-9"
			       : NULL;
	if (!strcmp(row->type, "name"))
		return name_ok(v) ? NULL : "must be the name of a group, or none";
	if (!strcmp(row->type, "user"))
		return name_ok(v) ? NULL : "must be the name or number of a user, or none";
	if (!strcmp(row->type, "address"))
		return inet_pton(AF_INET, v, &(struct in_addr){0}) == 1 ||
				       inet_pton(AF_INET6, v, &(struct in6_addr){0}) == 1
			       ? NULL
			       : "must be an IPv4 or IPv6 address in numbers, such as 127.0.0.1";
	if (!strcmp(row->type, "key"))
		return key_ok(v) ? NULL
				 : "must be at most 512 printable ASCII characters, no spaces";
	if (!strcmp(row->type, "image"))
		return *v && strlen(v) < 256 && isalnum((unsigned char)*v) && all_of(v, "._-/:@")
			       ? NULL
			       : "must be the name of a container image, at most 255 bytes";
	if (!strcmp(row->type, "names"))
		return *v && strlen(v) < sizeof(((struct policy *)NULL)->protected_consumers)
			       ? NULL
			       : "must be names divided by commas (511 bytes at most), or none";
	if (!strncmp(v, "owner:", 6) || !strncmp(v, "group:", 6))
		return name_ok(v + 6) ? NULL
				      : "must have the name of a user or group behind the ':'";
	return "";
}

int settings_check(enum setting_key key, const char *where, const char *v, struct error *why)
{
	const struct setting *row = &settings_table[key];
	const struct number *num = NULL;
	struct str text = str_of(v);
	const char *wants = "";
	BUF shown = {.max = 256}, kind = {0};
	bool b;

	for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
		if (!strcmp(row->type, numbers[i].type))
			num = &numbers[i];
	for (const char *p = v; *p; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			return fail(why, ERR_INVALID,
				    "%s: %s: control bytes are not allowed in a value", where,
				    row->name);
	if (in_range(row, num, text))
		return 0;
	if (!strcmp(row->type, "yes/no") && parse_bool(text, &b, NULL) == 0)
		return 0;
	if (!strcmp(row->type, "URL")) {
		/* Whether http:// is allowed is another setting: settings_policy. */
		struct error form = {0};

		return cloud_url_check(v, true, &form)
			       ? fail(why, ERR_INVALID, "%s: %s: %s", where, row->name, form.text)
			       : 0;
	}
	if (!num && strcmp(row->type, "yes/no") != 0 && strcmp(row->type, "word") != 0) {
		wants = text_wants(row, v);
		if (!wants)
			return 0;
	}
	if (!*wants) {
		if (row->range[0] && !num)
			buf_printf(&kind, "must be one of %s", row->range);
		else
			buf_printf(&kind, "must be a %s%s%s", row->type,
				   row->range[0] ? " within " : "", row->range);
		wants = kind.data ? kind.data : "is not a good value";
	}
	buf_escape(&shown, v, strnlen(v, 60));
	return fail(why, num ? ERR_RANGE : ERR_INVALID, "%s: %s = %s: %s", where, row->name,
		    row->secret	 ? "(secret)"
		    : shown.data ? shown.data
				 : "",
		    wants);
}

/* ---- policy ---- */

/* The value of a checked number; `none` is UNKNOWN. */
static int64_t number_of(const struct settings *s, enum setting_key key)
{
	int64_t v = UNKNOWN;
	struct str text = str_of(s->value[key]);

	if (str_is(text, "none"))
		return UNKNOWN;
	for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
		if (!strcmp(settings_table[key].type, numbers[i].type))
			CHECK(numbers[i].parse(text, &v, NULL) == 0);
	return v;
}

struct policy_number {
	enum setting_key key;
	size_t offset;
};
#define POLICY(key, field)                          \
	{                                           \
		key, offsetof(struct policy, field) \
	}
static const struct policy_number policy_numbers[] = {
	POLICY(SET_LIFECYCLE_CHECK_INTERVAL, tick_us),
	POLICY(SET_RECONCILIATION_INTERVAL, reconcile_us),
	POLICY(SET_INVENTORY_CACHE_TTL, market_us),
	POLICY(SET_INVENTORY_BACKOFF_TTL, market_backoff_us),
	POLICY(SET_START_TIMEOUT, start_timeout_us),
	POLICY(SET_BOOT_TIMEOUT, boot_timeout_us),
	POLICY(SET_SSH_VERIFY_TIMEOUT, ssh_verify_timeout_us),
	POLICY(SET_SSH_CHECK_INTERVAL, ssh_backoff_max_us),
	POLICY(SET_HOLD_GRACE, hold_grace_us),
	POLICY(SET_KEEP_ENDED, keep_ended_us),
	POLICY(SET_HISTORY_KEEP, history_keep_us),
	POLICY(SET_DEFAULT_HOURS, default_hours),
	POLICY(SET_DEFAULT_MAX_PRICE, default_max_price_u6),
	POLICY(SET_DEFAULT_DISK_GB, default_disk_gb),
	POLICY(SET_DEFAULT_VCPUS, default_vcpus),
	POLICY(SET_DEFAULT_RAM_GB, default_ram_gb),
	POLICY(SET_ORPHAN_GRACE_PERIOD, orphan_grace_us),
	POLICY(SET_DEFAULT_RETRIES, default_retries),
	POLICY(SET_PRICE_TOLERANCE, price_tolerance_pct),
	POLICY(SET_MAX_SESSIONS, max_sessions),
	POLICY(SET_MAX_SESSIONS_PER_USER, max_sessions_per_user),
	POLICY(SET_LOCAL_MAX_SESSIONS, local_max_sessions),
};

/* Where a word stands in its row's list. */
static int64_t word_of(const struct settings *s, enum setting_key key)
{
	const char *p = settings_table[key].range;

	for (int64_t i = 0;; i++) {
		size_t n = strcspn(p, "|");

		if (n == strlen(s->value[key]) && !memcmp(p, s->value[key], n))
			return i;
		CHECK(p[n] == '|'); /* a checked word is in its list */
		p += n + 1;
	}
}

static enum sessions_access access_of(const char *v)
{
	if (!strcmp(v, "all"))
		return ACCESS_ALL;
	if (!strncmp(v, "owner", 5))
		return ACCESS_OWNER;
	return !strncmp(v, "group:", 6) ? ACCESS_GROUP : ACCESS_AUTO;
}

bool settings_paid(const struct settings *s)
{
	for (size_t key = 0; key < SET_COUNT; key++)
		if (settings_table[key].cloud && s->value[key][0])
			return true;
	return false;
}

bool settings_local_on(const struct settings *s)
{
	bool on = !settings_paid(s);

	(void)parse_bool(str_of(s->value[SET_PROVIDERS_LOCAL_ENABLED]), &on, NULL); /* else: auto */
	return on;
}

/* Keys go to these; what one row cannot know is whether http:// is wanted. */
static int check_urls(const struct settings *s, struct error *why)
{
	struct error form = {0};
	bool insecure = false;

	CHECK(parse_bool(str_of(s->value[SET_ALLOW_INSECURE]), &insecure, NULL) == 0);
	for (size_t key = 0; key < SET_COUNT; key++)
		if (!strcmp(settings_table[key].type, "URL") &&
		    cloud_url_check(s->value[key], insecure, &form))
			return fail(why, ERR_INVALID, "%s: %s: %s", s->origin[key],
				    settings_table[key].name, form.text);
	return 0;
}

/* Accepted settings have an effect, or are refused. */
static int check_account_key(const struct settings *s, struct error *why)
{
	bool yes = false;

	CHECK(parse_bool(str_of(s->value[SET_VASTAI_ACCOUNT_KEY]), &yes, NULL) == 0);
	if (!yes)
		return 0;
	return fail(why, ERR_INVALID,
		    "%s: VASTAI_ACCOUNT_KEY = yes is not supported yet; leave it out: a session's "
		    "key is given to its own machine",
		    s->origin[SET_VASTAI_ACCOUNT_KEY]);
}

int settings_policy(const struct settings *s, struct policy *p, struct error *why)
{
	const char *consumers = s->value[SET_PROTECTED_CONSUMERS];
	int64_t hours = number_of(s, SET_HARD_MAX_HOURS);
	int err;

	*p = (struct policy){.admin_gid = UNKNOWN, .access_uid = UNKNOWN, .access_gid = UNKNOWN};
	for (size_t i = 0; i < ARRAY_LEN(policy_numbers); i++)
		*(int64_t *)(void *)((char *)p + policy_numbers[i].offset) = number_of(
			s, policy_numbers[i].key);
	p->market_idle_us = p->market_us > 5 * MINUTE_US ? p->market_us : 5 * MINUTE_US;
	p->hard_max_us = hours * HOUR_US;
	p->default_retry_scope = word_of(s, SET_DEFAULT_RETRY_SCOPE);
	CHECK(parse_bool(str_of(s->value[SET_AUTO_COMMIT]), &p->auto_commit, NULL) == 0);
	if (strcmp(consumers, "none") != 0)
		COPY(p->protected_consumers, consumers);
	p->access = access_of(s->value[SET_SESSIONS_ACCESS]);
	p->orphan_destroy = word_of(s, SET_ORPHAN_ACTION) == 0;
	if (p->default_hours != UNKNOWN && p->default_hours > hours)
		return fail(why, ERR_RANGE,
			    "%s: DEFAULT_HOURS = %s is more than HARD_MAX_HOURS = %s, so no spec "
			    "could use it; lower the one or raise the other",
			    s->origin[SET_DEFAULT_HOURS], s->value[SET_DEFAULT_HOURS],
			    s->value[SET_HARD_MAX_HOURS]);
	if (!strcmp(s->value[SET_API_AUTH], "none") && !strcmp(s->value[SET_API_UID], "none"))
		return fail(why, ERR_INVALID,
			    "%s: API_AUTH = none needs API_UID: the user as whom all requests act",
			    s->origin[SET_API_AUTH]);
	err = check_urls(s, why);
	return err ? err : check_account_key(s, why);
}
