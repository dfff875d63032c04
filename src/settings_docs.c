/*
 * The table of settings, and everything that is printed from it: --help-settings, the example
 * gpufs.conf, gpufs.conf(5) and the first part of --check. One row is parser, checker and manual
 * (style.md, D4), so they cannot disagree. settings.c reads values by these rows.
 *
 * The range is a list of alternatives divided by '|': words, or MIN..MAX in the notation of the
 * type. Start-up; any thread after. Tests: tests/unit/test_settings.c.
 */
#include "settings.h"

#include <ctype.h>
#include <string.h>

#include "core/check.h"
#include "core/text.h"

#define LIVE	    .reload = true
#define RESTART	    .reload = false
#define STAR(name)  "*" name
#define PERIOD_DAYS "1m..36500d"

/* clang-format off: one row, one block */
const struct setting settings_table[SET_COUNT] = {
	[SET_VASTAI_API_KEY] =
		{"VASTAI_API_KEY", STAR("VASTAI_API_KEY"), "key", "", "", RESTART, .secret = true,
		 .cloud = true,
		 .doc = "Key of Vast.ai; setting it configures that provider. Better in a file "
			"(VASTAI_API_KEY_FILE) than on a command line, which everybody can read."},
	[SET_VASTAI_BASE_URL] =
		{"VASTAI_BASE_URL", STAR("VASTAI_BASE_URL"), "URL", "", "https://console.vast.ai",
		 RESTART,
		 .doc = "Origin of Vast.ai's API, scheme://host:port. http:// is accepted for this "
			"machine only, unless ALLOW_INSECURE says otherwise."},
	[SET_ALLOW_INSECURE] =
		{"ALLOW_INSECURE", "", "yes/no", "", "no", RESTART,
		 .doc = "yes: a base URL may be http:// to another machine. Keys then travel "
			"unencrypted."},
	[SET_VASTAI_ACCOUNT_KEY] =
		{"VASTAI_ACCOUNT_KEY", "", "yes/no", "", "no", RESTART,
		 .doc = "yes: also register a session's key with the Vast.ai account while it "
			"boots. "
			"Such a key opens every machine that is created meanwhile. "
			"Not supported yet: yes stops the start."},
	[SET_VASTAI_IMAGE] =
		{"VASTAI_IMAGE", "", "image", "", "nvidia/cuda:12.4.1-runtime-ubuntu22.04", RESTART,
		 .doc = "Container image of a machine at Vast.ai when the spec names none. "
			"Vast.ai adds its SSH server to it."},
	[SET_PROVIDERS_VASTAI_ENABLED] =
		{"PROVIDERS_VASTAI_ENABLED", "", "yes/no", "", "yes", RESTART,
		 .doc = "no: nothing new is bought at Vast.ai; what exists is still watched and "
			"destroyed. Without a key it means nothing."},
	[SET_TENSORDOCK_API_TOKEN] =
		{"TENSORDOCK_API_TOKEN",
		 STAR("TENSORDOCK_API_TOKEN") "," STAR("TENSORDOCK_API_KEY"), "key", "", "",
		 RESTART, .secret = true, .cloud = true,
		 .doc = "API token of TensorDock; setting it configures that provider. Better in a "
			"file (TENSORDOCK_API_TOKEN_FILE) than on a command line, which everybody "
			"can read."},
	[SET_TENSORDOCK_AUTH_ID] =
		{"TENSORDOCK_AUTH_ID", STAR("TENSORDOCK_AUTH_ID"), "key", "", "", RESTART,
		 .secret = true,
		 .doc = "Authorization ID of TensorDock, for the balance only, which an older API "
			"tells. Without it the balance is not known."},
	[SET_TENSORDOCK_BASE_URL] =
		{"TENSORDOCK_BASE_URL", STAR("TENSORDOCK_BASE_URL"), "URL", "",
		 "https://dashboard.tensordock.com", RESTART,
		 .doc = "Origin of TensorDock's API, scheme://host:port. http:// is accepted for "
			"this machine only, unless ALLOW_INSECURE says otherwise."},
	[SET_TENSORDOCK_BALANCE_URL] =
		{"TENSORDOCK_BALANCE_URL", "", "URL", "", "https://marketplace.tensordock.com",
		 RESTART,
		 .doc = "Origin of the older API of TensorDock that tells the balance; likewise."},
	[SET_TENSORDOCK_DEFAULT_IMAGE] =
		{"TENSORDOCK_DEFAULT_IMAGE", STAR("TENSORDOCK_DEFAULT_IMAGE"), "image", "",
		 "ubuntu2404", RESTART,
		 .doc = "Image of a machine at TensorDock when the spec names none, such as "
			"ubuntu2404_ml_pytorch. It is an operating system and no container."},
	[SET_PROVIDERS_TENSORDOCK_ENABLED] =
		{"PROVIDERS_TENSORDOCK_ENABLED", "", "yes/no", "", "yes", RESTART,
		 .doc = "no: nothing new is bought at TensorDock; what exists is still watched and "
			"destroyed. Without a token it means nothing."},
	[SET_PROVIDERS_LOCAL_ENABLED] =
		{"PROVIDERS_LOCAL_ENABLED", "", "yes/no", "auto", "auto", RESTART,
		 .doc = "Offer this machine. auto: only while no other provider is configured. no: "
			"nothing new "
			"is started here; what runs is still watched and destroyed."},
	[SET_DEFAULT_RETRIES] = {"DEFAULT_RETRIES", "", "number", "0..5", "0", LIVE,
				 .doc = "How many other offers are tried after a failed attempt, "
					"if the spec does not say."},
	[SET_DEFAULT_RETRY_SCOPE] = {"DEFAULT_RETRY_SCOPE", "", "word", "same_gpu|same_vram|any",
				     "same_gpu", LIVE,
				     .doc = "Which other offers a retry may take."},
	[SET_PRICE_TOLERANCE] = {"PRICE_TOLERANCE", "", "number", "0..100", "5", LIVE,
				 .doc = "Per cent over the quote of offer=ID that may be charged. "
					"An explicit max_price is "
					"never exceeded."},
	[SET_LOCAL_PRICE_PER_HOUR] =
		{"LOCAL_PRICE_PER_HOUR", "", "USD", "0..1000000", "0", RESTART,
		 .doc = "The price that offers of this machine show, in USD an hour."},
	[SET_LOCAL_MAX_SESSIONS] =
		{"LOCAL_MAX_SESSIONS", "", "number", "1..1000", "4", RESTART,
		 .doc = "Sessions at the same time on this machine if it has no GPU."},
	[SET_DATABASE_PATH] =
		{"DATABASE_PATH", STAR("DATABASE_PATH"), "path", "", "", RESTART,
		 .doc = "The SQLite file, made with its directory, mode 0600. Default: "
			"/var/lib/gpufs/gpufs.db as root, the state directory under systemd, else "
			"$XDG_STATE_HOME/gpufs/gpufs.db."},
	[SET_KEY_PATH] = {"KEY_PATH", "", "path", "", "", RESTART,
			  .doc = "Deployment id and the key that signs our marks; made at first "
				 "start, mode 0600. Back "
				 "it up. Default: gpufs.key beside the database."},
	[SET_DEPLOYMENT_ID] = {"DEPLOYMENT_ID", STAR("DEPLOYMENT_ID"), "id", "", "", RESTART,
			       .doc = "4 to 8 of a-z and 0-9. Made once and kept in gpufs.key; a "
				      "value that differs from the "
				      "kept one stops the start."},
	[SET_SERVER_HOST] = {"SERVER_HOST", STAR("SERVER_HOST"), "address", "", "127.0.0.1",
			     RESTART,
			     .doc = "The address on which HTTP answers, as a number. 0.0.0.0: on "
				    "all of them."},
	[SET_SERVER_PORT] =
		{"SERVER_PORT", STAR("SERVER_PORT"), "number", "0..65535", "8080", RESTART,
		 .doc = "The port of HTTP. 0: none. If it is taken, the mount works all the same, "
			"alarms says so, and it is tried again."},
	[SET_API_AUTH] =
		{"API_AUTH", "", "word", "token|none", "token", RESTART,
		 .doc = "token: each request under /api/v1 needs a token of API_TOKENS_FILE. none: "
			"whoever can connect acts as API_UID."},
	[SET_API_TOKENS_FILE] =
		{"API_TOKENS_FILE", "", "path", "", "", RESTART,
		 .doc = "A file of mode 0600 with lines TOKEN CONSUMER UID (a number or a name). "
			"Its content is read again at SIGHUP. Without it the API answers 403."},
	[SET_API_UID] = {"API_UID", "", "user", "", "none", RESTART,
			 .doc = "With API_AUTH = none: the user, by number or name, as whom all "
				"requests act."},
	[SET_LOG_LEVEL] = {"LOG_LEVEL", STAR("LOG_LEVEL"), "word", "debug|info|warn|error", "info",
			   LIVE, .doc = "What is logged at least. AUDIT lines always are."},
	[SET_LOG_FORMAT] = {"LOG_FORMAT", STAR("LOG_FORMAT"), "word", "auto|text|json", "auto",
			    LIVE, .doc = "auto: text on a terminal, else JSON."},
	[SET_LIFECYCLE_CHECK_INTERVAL] =
		{"LIFECYCLE_CHECK_INTERVAL", STAR("LIFECYCLE_CHECK_INTERVAL"), "duration", "1s..1h",
		 "60s", LIVE, .doc = "The safety tick. Deadlines have exact timers besides."},
	[SET_HARD_MAX_HOURS] = {"HARD_MAX_HOURS",
				STAR("HARD_MAX_HOURS") "," STAR("LIFECYCLE_HARD_MAX_HOURS"),
				"number", "1..8760", "12", LIVE,
				.doc = "No session becomes older, whatever its extensions; only an "
				       "administrator may say "
				       "otherwise for a session."},
	[SET_ORPHAN_GRACE_PERIOD] = {"ORPHAN_GRACE_PERIOD",
				     STAR("ORPHAN_GRACE_PERIOD") "," STAR(
					     "LIFECYCLE_ORPHAN_GRACE_PERIOD"),
				     "duration", "0s..30d", "15m", LIVE,
				     .doc = "How long a machine that carries our mark and belongs "
					    "to no session is left "
					    "alone before it is destroyed."},
	[SET_ORPHAN_ACTION] =
		{"ORPHAN_ACTION", "", "word", "destroy|alert", "destroy", LIVE,
		 .doc = "alert: such a machine is never destroyed by itself; an alarm "
			"says that it is there."},
	[SET_RECONCILIATION_INTERVAL] =
		{"RECONCILIATION_INTERVAL",
		 STAR("RECONCILIATION_INTERVAL") "," STAR("LIFECYCLE_RECONCILIATION_INTERVAL"),
		 "duration", "1s..24h", "5m", LIVE,
		 .doc = "How often what should be is compared with what providers list."},
	[SET_INVENTORY_CACHE_TTL] =
		{"INVENTORY_CACHE_TTL", STAR("INVENTORY_CACHE_TTL"), "duration", "1s..24h", "60s",
		 LIVE, .doc = "How old the list of offers may be while somebody looks at it."},
	[SET_INVENTORY_BACKOFF_TTL] =
		{"INVENTORY_BACKOFF_TTL", STAR("INVENTORY_BACKOFF_TTL"), "duration", "1s..24h",
		 "300s", LIVE, .doc = "Pause after a provider said that it was asked too often."},
	[SET_SSH_VERIFY_TIMEOUT] =
		{"SSH_VERIFY_TIMEOUT", STAR("SSH_VERIFY_TIMEOUT"), "duration", "1s..1h", "10m",
		 LIVE, .doc = "How long a machine that runs may take until somebody can log in."},
	[SET_SSH_CHECK_INTERVAL] = {"SSH_CHECK_INTERVAL", STAR("SSH_CHECK_INTERVAL"), "duration",
				    "1s..10m", "5s", LIVE,
				    .doc = "The longest pause between two attempts to log in."},
	[SET_START_TIMEOUT] =
		{"START_TIMEOUT", "", "duration", "1s..30d", "30m", LIVE,
		 .doc = "How long an order may wait for an offer or for the provider."},
	[SET_BOOT_TIMEOUT] =
		{"BOOT_TIMEOUT", "", "duration", "1s..24h", "30m", LIVE,
		 .doc = "How long a machine may take until its provider calls it running."},
	[SET_HOLD_GRACE] = {"HOLD_GRACE", "", "duration", "0s..24h", "30s", LIVE,
			    .doc = "How long a session lives on after its hold file was closed."},
	[SET_KEEP_ENDED] = {"KEEP_ENDED", "", "duration", "0s..36500d", "24h", LIVE,
			    .doc = "How long a session that ended by itself stays in sessions/."},
	[SET_HISTORY_KEEP] = {"HISTORY_KEEP", "", "duration", PERIOD_DAYS, "400d", LIVE,
			      .doc = "How long receipts are kept."},
	[SET_AUTO_COMMIT] =
		{"AUTO_COMMIT", "", "yes/no", "", "yes", LIVE,
		 .doc = "yes: closing a complete spec buys. no: only the word commit buys."},
	[SET_DEFAULT_HOURS] =
		{"DEFAULT_HOURS", "", "number", "none|1..8760", "none", LIVE,
		 .doc = "Hours of a spec that says none. none: a spec must say them."},
	[SET_DEFAULT_MAX_PRICE] = {"DEFAULT_MAX_PRICE", "", "USD", "none|0..1000000", "none", LIVE,
				   .doc = "max_price of a spec that says none, in USD an hour. "
					  "none: a spec must say it."},
	[SET_DEFAULT_DISK_GB] =
		{"DEFAULT_DISK_GB", "", "number", "none|1..1000000", "50", LIVE,
		 .doc = "disk_gb of a spec that says none; prices of offers are shown for it. A "
			"provider's own minimum wins. none: a spec must say it."},
	[SET_DEFAULT_VCPUS] =
		{"DEFAULT_VCPUS", "", "number", "none|1..1024", "8", LIVE,
		 .doc = "vcpus of a spec that says none, where a provider lets them be chosen; "
			"prices of offers are shown for it. none: a spec must say it."},
	[SET_DEFAULT_RAM_GB] =
		{"DEFAULT_RAM_GB", "", "number", "none|1..65536", "32", LIVE,
		 .doc = "ram_gb of a spec that says none, where a provider lets it be chosen; "
			"prices of offers are shown for it. none: a spec must say it."},
	[SET_MAX_SESSIONS] = {"MAX_SESSIONS", "", "number", "0..100000", "200", LIVE,
			      .doc = "Living sessions of all users together."},
	[SET_MAX_SESSIONS_PER_USER] = {"MAX_SESSIONS_PER_USER", "", "number", "0..100000", "20",
				       LIVE, .doc = "Living sessions of one user."},
	[SET_SESSIONS_ACCESS] = {"SESSIONS_ACCESS", "", "access",
				 "auto|all|owner|owner:USER|group:NAME", "auto", RESTART,
				 .doc = "Who may make sessions. auto: all while every provider is "
					"free of charge, else owner, "
					"the user who started gpufs (through sudo too). A user "
					"mount is always for its user "
					"alone."},
	[SET_ADMIN_GROUP] = {"ADMIN_GROUP", "", "name", "", "none", RESTART,
			     .doc = "The group of administrators; root always is one. Who is in it "
				    "is looked up again at "
				    "SIGHUP."},
	[SET_PROTECTED_CONSUMERS] =
		{"PROTECTED_CONSUMERS", "", "names", "", "none", LIVE,
		 .doc = "Consumer names, divided by commas, that only administrators may use."},
	[SET_PUBLIC_MOUNT] = {"PUBLIC_MOUNT", "", "path", "", "", RESTART,
			      .doc = "The path under which readers see the tree, used in "
				     "ssh_config. Default: the mount "
				     "point."},
#ifdef GPUFS_TEST
	[SET_SYNTHETIC_OFFERS] =
		{"SYNTHETIC_OFFERS", "", "number", "0..1000000", "0", RESTART,
		 .doc = "Test builds only: a market of so many offers that nobody can buy."},
	[SET_SYNTHETIC_SEED] = {"SYNTHETIC_SEED", "", "number", "0..1000000000", "1", RESTART,
				.doc = "Test builds only: the seed of that market."},
	[SET_SYNTHETIC_BIDS] = {"SYNTHETIC_BIDS", "", "number", "0..1000000", "0", RESTART,
				.doc = "Test builds only: so many of those are on the market of "
				       "bids too."},
	[SET_SYNTHETIC_CHURN] =
		{"SYNTHETIC_CHURN", "", "number", "0..1000", "0", RESTART,
		 .doc = "Test builds only: so many of a thousand prices change at each refresh."},
#endif
};
/* clang-format on */

static void put_lower(struct buf *out, const char *name)
{
	for (; *name; name++)
		buf_putc(out, (char)tolower((unsigned char)*name));
}

/* "a|b|1..5" as people read it: "a, b or 1 to 5". */
static void put_range(struct buf *out, const char *range)
{
	while (*range) {
		size_t n = strcspn(range, "|");
		const char *dots = strstr(range, "..");

		if (dots && dots < range + n) {
			buf_add(out, range, (size_t)(dots - range));
			buf_puts(out, " to ");
			buf_add(out, dots + 2, (size_t)(range + n - dots - 2));
		} else {
			buf_add(out, range, n);
		}
		range += n;
		if (*range)
			buf_puts(out, strchr(++range, '|') ? ", " : " or ");
	}
}

/* What a value looks like: "number, 0 to 5". */
static void put_kind(struct buf *out, const struct setting *row)
{
	bool words = !strcmp(row->type, "word") || !strcmp(row->type, "access");

	if (!words)
		buf_puts(out, row->type);
	if (!words && row->range[0])
		buf_puts(out, ", ");
	put_range(out, row->range);
}

/* Fold text at 78 columns behind `lead`, so that it reads well in a terminal and in a file. */
static void put_folded(struct buf *out, const char *lead, const char *text)
{
	while (*text) {
		size_t width = 78 - strlen(lead), n = strlen(text);

		if (n > width) {
			for (n = width; n > 0 && text[n] != ' ';)
				n--;
			if (n == 0)
				n = strcspn(text, " ");
		}
		buf_puts(out, lead);
		buf_add(out, text, n);
		buf_putc(out, '\n');
		text += n;
		text += strspn(text, " ");
	}
}

void settings_help(struct buf *out)
{
	buf_puts(out, "Settings are written key = value in gpufs.conf, GPUFS_KEY=value in the "
		      "environment, or\n"
		      "-o key=value on the command line; the later of these wins. KEY_FILE names a "
		      "file that\n"
		      "holds the value. Durations: 90s, 5m, 1h30m, 2d, or a number of seconds.\n");
	for (size_t i = 0; i < SET_COUNT; i++) {
		const struct setting *row = &settings_table[i];

		buf_putc(out, '\n');
		put_lower(out, row->name);
		buf_puts(out, "  (");
		put_kind(out, row);
		if (row->fallback[0])
			buf_printf(out, "; default %s", row->fallback);
		buf_puts(out, ")\n");
		put_folded(out, "    ", row->doc);
		if (row->reload)
			buf_puts(out, "    Read again at SIGHUP.\n");
		bool first = true;
		for (const char *a = row->aliases; *a; a += strcspn(a, ","), a += *a == ',') {
			buf_puts(out, first ? "    Also read from: " : ", ");
			a += *a == '*';
			buf_add(out, a, strcspn(a, ","));
			first = false;
		}
		if (!first)
			buf_puts(out, ".\n");
	}
}

void settings_example(struct buf *out)
{
	buf_puts(out,
		 "# gpufs.conf: every setting with its default. Remove the # to change one.\n"
		 "# Printed by gpufs --print=gpufs.conf; gpufs --check shows what is in effect.\n");
	for (size_t i = 0; i < SET_COUNT; i++) {
		const struct setting *row = &settings_table[i];

		buf_putc(out, '\n');
		put_folded(out, "# ", row->doc);
		buf_puts(out, "# (");
		put_kind(out, row);
		buf_puts(out, ")\n#");
		put_lower(out, row->name);
		buf_printf(out, " = %s\n", row->fallback);
	}
}

/* Text for man: a leading dot or quote would be a request, a backslash an escape. */
static void put_roff(struct buf *out, const char *text)
{
	if (*text == '.' || *text == '\'')
		buf_puts(out, "\\&");
	for (; *text; text++) {
		if (*text == '\\')
			buf_puts(out, "\\e");
		else if (*text == '-')
			buf_puts(out, "\\-");
		else
			buf_putc(out, *text);
	}
	buf_putc(out, '\n');
}

void settings_man(struct buf *out)
{
	buf_puts(
		out,
		".TH GPUFS.CONF 5 2026-11-24 gpufs \"File formats\"\n"
		".SH NAME\n"
		"gpufs.conf \\- settings of gpufs\n"
		".SH SYNOPSIS\n"
		".nf\n/etc/gpufs/gpufs.conf\n$XDG_CONFIG_HOME/gpufs/gpufs.conf\n.fi\n"
		".SH DESCRIPTION\n"
		"One setting a line, key = value; # begins a comment. The first file is read when\n"
		"root starts gpufs, the second for other users; \\-\\-config names another one.\n"
		"Each setting can also be given as GPUFS_KEY in the environment, and as\n"
		"\\-o key=value on the command line; the command line wins over the environment,\n"
		"and the environment over the file. key_file names a file that holds the value, "
		"and\n"
		"so does a file called key in $CREDENTIALS_DIRECTORY. An empty variable is not "
		"set.\n"
		"An unknown key or a bad value stops the start with a sentence that says where.\n"
		"Durations are written 90s, 5m, 1h30m, 2d, or as a number of seconds.\n"
		".SH SETTINGS\n");
	for (size_t i = 0; i < SET_COUNT; i++) {
		const struct setting *row = &settings_table[i];
		BUF line = {0};

		buf_puts(out, ".TP\n.B ");
		put_lower(out, row->name);
		buf_putc(out, '\n');
		put_roff(out, row->doc);
		put_kind(&line, row);
		if (row->fallback[0])
			buf_printf(&line, "; default %s", row->fallback);
		buf_printf(&line, ".%s", row->reload ? " Read again at SIGHUP." : "");
		buf_puts(out, ".br\n");
		put_roff(out, line.data ? line.data : "");
		buf_reset(&line);
		for (const char *a = row->aliases; *a; a += strcspn(a, ","), a += *a == ',') {
			buf_puts(&line, line.len ? ", " : "Also read from the environment as ");
			a += *a == '*';
			buf_add(&line, a, strcspn(a, ","));
		}
		if (line.len) {
			buf_puts(out, ".br\n");
			buf_putc(&line, '.');
			put_roff(out, line.data);
		}
	}
	buf_puts(out, ".SH SEE ALSO\ngpufs \\-\\-help, gpufs \\-\\-check\n");
}

void settings_report(const struct settings *s, bool json, struct buf *out)
{
	if (json)
		buf_putc(out, '{');
	for (size_t i = 0; i < SET_COUNT; i++) {
		const struct setting *row = &settings_table[i];
		const char *v = s->value[i];

		if (row->secret)
			v = v[0] ? "set" : "not set";
		if (json) {
			buf_printf(out, "%s\"%s\":{\"value\":", i ? "," : "", row->name);
			buf_json(out, v, strlen(v));
			buf_puts(out, ",\"origin\":");
			buf_json(out, s->origin[i], strlen(s->origin[i]));
			buf_putc(out, '}');
			continue;
		}
		buf_printf(out, "  %-26s ", row->name);
		buf_escape(out, v[0] ? v : "-", strlen(v[0] ? v : "-"));
		buf_puts(out, "  (");
		buf_escape(out, s->origin[i], strlen(s->origin[i]));
		buf_puts(out, ")\n");
	}
	if (json)
		buf_putc(out, '}');
}
