/*
 * Settings and the command line: every row of the table, the order of the sources, and every sentence
 * of a refusal (settings.md). Each test builds its own files in a directory of its own and starts from
 * an environment without any variable of ours.
 */
#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../src/core/check.h"
#include "../../src/core/text.h"
#include "../../src/options.h"
#include "../../src/settings.h"

/* last: it defines a macro called fail */
#include <cmocka.h>

extern char **environ;

struct fixture {
	char dir[64], conf[96];
};

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	if (!f)
		return -1;
	clearenv();
	COPY(f->dir, "/tmp/gpufs-settings-XXXXXX");
	if (!mkdtemp(f->dir))
		return -1;
	snprintf(f->conf, sizeof(f->conf), "%s/gpufs.conf", f->dir);
	setenv("HOME", f->dir, 1);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	char path[128];

	unlink(f->conf);
	snprintf(path, sizeof(path), "%s/value", f->dir);
	unlink(path);
	snprintf(path, sizeof(path), "%s/log_level", f->dir);
	unlink(path);
	rmdir(f->dir);
	free(f);
	return 0;
}

static void write_file(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_int_equal(fwrite(text, 1, strlen(text), f), strlen(text));
	assert_int_equal(fclose(f), 0);
}

static void expect(const struct settings *s, enum setting_key key, const char *value,
		   const char *origin)
{
	assert_string_equal(s->value[key], value);
	assert_string_equal(s->origin[key], origin);
}

/* Reading `text` as gpufs.conf must be refused with a sentence that has `part` in it. */
static void refuse_conf(struct fixture *f, const char *text, const char *part)
{
	struct settings s;
	struct error why = {0};

	write_file(f->conf, text);
	assert_true(settings_read(&s, f->conf, NULL, &why) < 0);
	if (!strstr(why.text, part))
		fail_msg("'%s' is not in '%s'", part, why.text);
	for (int i = 0; i < SET_COUNT; i++)
		assert_null(s.value[i]);
}

static void refuse_option(const char *option, const char *part)
{
	const char *const options[] = {option, NULL};
	struct settings s;
	struct error why = {0};

	assert_true(settings_read(&s, NULL, options, &why) < 0);
	if (!strstr(why.text, part))
		fail_msg("'%s' is not in '%s'", part, why.text);
}

static void test_table(void **state)
{
	(void)state;
	for (int i = 0; i < SET_COUNT; i++) {
		const struct setting *row = &settings_table[i];
		struct error why = {0};

		assert_non_null(row->name);
		assert_true(strlen(row->name) > 2 && strlen(row->name) < 64);
		for (const char *p = row->name; *p; p++)
			assert_true(isupper((unsigned char)*p) || *p == '_');
		assert_true(strlen(row->doc) > 10);
		assert_true(row->doc[strlen(row->doc) - 1] == '.');
		assert_true(settings_known(row->name));
		if (row->fallback[0] &&
		    settings_check((enum setting_key)i, "default", row->fallback, &why))
			fail_msg("%s", why.text);
		for (int j = 0; j < i; j++)
			assert_string_not_equal(row->name, settings_table[j].name);
	}
}

static void test_defaults(void **state)
{
	struct fixture *f = *state;
	struct settings s;
	struct error why = {0};
	struct policy p;
	char path[160];

	setenv("XDG_STATE_HOME", f->dir, 1);
	write_file(f->conf, "");
	assert_int_equal(settings_read(&s, f->conf, NULL, &why), 0);
	expect(&s, SET_HARD_MAX_HOURS, "12", "default");
	snprintf(path, sizeof(path), "%s/gpufs/gpufs.db", f->dir);
	expect(&s, SET_DATABASE_PATH, geteuid() == 0 ? "/var/lib/gpufs/gpufs.db" : path, "default");
	assert_non_null(strstr(s.value[SET_KEY_PATH], "/gpufs.key"));
	assert_int_equal(settings_policy(&s, &p, &why), 0);
	assert_true(p.hard_max_us == 12 * HOUR_US);
	assert_true(p.history_keep_us == 400 * DAY_US);
	assert_true(p.default_hours == UNKNOWN);
	assert_true(p.default_max_price_u6 == UNKNOWN);
	assert_true(p.ssh_verify_timeout_us == 10 * MINUTE_US);
	assert_true(p.price_tolerance_pct == 5);
	assert_true(p.default_disk_gb == 50);
	assert_true(p.default_vcpus == 8 && p.default_ram_gb == 32);
	assert_true(p.orphan_grace_us == 15 * MINUTE_US);
	assert_true(p.orphan_destroy);
	assert_true(!settings_paid(&s) && settings_local_on(&s));
	assert_true(p.auto_commit);
	assert_int_equal(p.access, ACCESS_AUTO);
	assert_string_equal(p.protected_consumers, "");
	settings_free(&s);
}

static void test_order_of_sources(void **state)
{
	struct fixture *f = *state;
	const char *const options[] = {"hard_max_hours=5", NULL};
	struct settings s;
	struct error why = {0};

	write_file(f->conf, "# a comment\n\nhard_max_hours = 2   # of the file\nboot_timeout = 7m\n"
			    "default_hours = \"3\"\n  LOG_LEVEL=debug  \n");
	assert_int_equal(settings_read(&s, f->conf, NULL, &why), 0);
	expect(&s, SET_HARD_MAX_HOURS, "2", "gpufs.conf:3");
	expect(&s, SET_BOOT_TIMEOUT, "7m", "gpufs.conf:4");
	expect(&s, SET_DEFAULT_HOURS, "3", "gpufs.conf:5");
	expect(&s, SET_LOG_LEVEL, "debug", "gpufs.conf:6");
	settings_free(&s);

	setenv("LIFECYCLE_HARD_MAX_HOURS", "3", 1); /* the alias of a name with a star */
	setenv("HOLD_GRACE", "nonsense", 1);	    /* without a star: not ours */
	assert_int_equal(settings_read(&s, f->conf, NULL, &why), 0);
	expect(&s, SET_HARD_MAX_HOURS, "3", "environment");
	expect(&s, SET_HOLD_GRACE, "30s", "default");
	settings_free(&s);

	setenv("GPUFS_HARD_MAX_HOURS", "4", 1);
	assert_int_equal(settings_read(&s, f->conf, NULL, &why), 0);
	expect(&s, SET_HARD_MAX_HOURS, "4", "environment");
	settings_free(&s);

	assert_int_equal(settings_read(&s, f->conf, options, &why), 0);
	expect(&s, SET_HARD_MAX_HOURS, "5", "-o");
	settings_free(&s);

	setenv("GPUFS_HARD_MAX_HOURS", "", 1); /* empty is not set */
	setenv("LIFECYCLE_HARD_MAX_HOURS", "", 1);
	assert_int_equal(settings_read(&s, f->conf, NULL, &why), 0);
	expect(&s, SET_HARD_MAX_HOURS, "2", "gpufs.conf:3");
	settings_free(&s);
}

static void test_value_files(void **state)
{
	struct fixture *f = *state;
	struct settings s;
	struct error why = {0};
	char path[128], text[256];

	snprintf(path, sizeof(path), "%s/value", f->dir);
	write_file(path, "9\n");
	setenv("GPUFS_HARD_MAX_HOURS_FILE", path, 1);
	write_file(f->conf, "");
	assert_int_equal(settings_read(&s, f->conf, NULL, &why), 0);
	assert_string_equal(s.value[SET_HARD_MAX_HOURS], "9");
	assert_non_null(strstr(s.origin[SET_HARD_MAX_HOURS], path));
	settings_free(&s);

	setenv("GPUFS_HARD_MAX_HOURS", "8", 1);
	assert_true(settings_read(&s, f->conf, NULL, &why) < 0);
	assert_non_null(strstr(why.text, "both set"));
	unsetenv("GPUFS_HARD_MAX_HOURS");
	unsetenv("GPUFS_HARD_MAX_HOURS_FILE");

	snprintf(text, sizeof(text), "hard_max_hours_file = %s\n", path);
	write_file(f->conf, text);
	assert_int_equal(settings_read(&s, f->conf, NULL, &why), 0);
	assert_string_equal(s.value[SET_HARD_MAX_HOURS], "9");
	settings_free(&s);
	refuse_conf(f, "hard_max_hours_file = /nowhere/at/all\n", "cannot be read");
	refuse_conf(f, "hard_max_hours_file = value\n", "absolute");
	refuse_conf(f, "hard_max_hours_file = /dev/zero\n", "not a regular file");

	snprintf(path, sizeof(path), "%s/log_level", f->dir);
	write_file(path, "warn\n");
	setenv("CREDENTIALS_DIRECTORY", f->dir, 1);
	write_file(f->conf, "log_level = error\n");
	assert_int_equal(settings_read(&s, f->conf, NULL, &why), 0);
	assert_string_equal(s.value[SET_LOG_LEVEL], "warn");
	settings_free(&s);
	setenv("LOG_LEVEL", "info", 1);
	assert_int_equal(settings_read(&s, f->conf, NULL, &why), 0);
	expect(&s, SET_LOG_LEVEL, "info", "environment");
	settings_free(&s);
}

static void test_refusals(void **state)
{
	static const struct {
		const char *text, *part;
	} rows[] = {
		{"a\n", "gpufs.conf:1: there is no '='"},
		{"\n\nfoo = 1\n", "gpufs.conf:3: unknown setting 'foo'"},
		{"hard_max_hour = 1\n", "did you mean hard_max_hours"},
		{"hard_max_hours = 1\nHARD_MAX_HOURS = 2\n",
		 "gpufs.conf:2: 'HARD_MAX_HOURS' was already set on line 1"},
		{"hard_max_hours = 0\n", "HARD_MAX_HOURS = 0"},
		{"hard_max_hours = 8761\n", "1..8760"},
		{"hard_max_hours = -1\n", "HARD_MAX_HOURS"},
		{"hard_max_hours = 1.5\n", "HARD_MAX_HOURS"},
		{"hard_max_hours = nan\n", "HARD_MAX_HOURS"},
		{"hard_max_hours = 0x10\n", "HARD_MAX_HOURS"},
		{"hard_max_hours =\n", "HARD_MAX_HOURS"},
		{"hard_max_hours = 99999999999999999999\n", "HARD_MAX_HOURS"},
		{"boot_timeout = 5 minutes\n", "BOOT_TIMEOUT"},
		{"boot_timeout = 0\n", "1s..24h"},
		{"local_price_per_hour = -0.5\n", "LOCAL_PRICE_PER_HOUR"},
		{"local_price_per_hour = 1e3\n", "LOCAL_PRICE_PER_HOUR"},
		{"default_retry_scope = all\n", "same_gpu|same_vram|any"},
		{"auto_commit = perhaps\n", "AUTO_COMMIT"},
		{"log_level = loud\n", "debug|info|warn|error"},
		{"database_path = relative.db\n", "absolute path"},
		{"deployment_id = ABCDEF\n", "4 to 8"},
		{"deployment_id = abc\n", "4 to 8"},
		{"sessions_access = group:\n", "name of a user or group"},
		{"sessions_access = everybody\n", "auto|all|owner"},
		{"admin_group = a b\n", "name of a group"},
		{"log_level = \"info\n", "quote"},
		{"log_level = \"info\" x\n", "quote"},
		{"log_level = in\x01"
		 "fo\n",
		 "control bytes"},
		/* settings of later stages do not exist yet, so naming them is an error */
		{"runpod_api_key = x\n", "unknown setting"},
		{"vastai_api_key = a b\n", "no spaces"},
		{"vastai_api_key = \xc3\xa4\n", "printable ASCII"},
		{"vastai_api_key = a\x7f\n", "control bytes"},
		{"vastai_base_url =\n", "VASTAI_BASE_URL"},
		{"vastai_base_url = ftp://x\n", "must begin with https://"},
		{"vastai_base_url = https://u:secret@x\n", "has a setting of its own"},
		{"vastai_base_url = https://x/v0\n", "a path"},
		{"vastai_image = a b\n", "container image"},
		{"vastai_image =\n", "container image"},
		{"allow_insecure = perhaps\n", "ALLOW_INSECURE"},
		{"default_disk_gb = 0\n", "none|1..1000000"},
		{"orphan_action = adopt\n", "destroy|alert"},
		{"orphan_grace_period = 31d\n", "0s..30d"},
		{"server_port = 65536\n", "0..65535"},
		{"server_host = localhost\n", "address in numbers"},
		{"server_host = 1.2.3\n", "address in numbers"},
		{"api_auth = off\n", "token|none"},
		{"api_tokens_file = tokens\n", "absolute path"},
		{"api_uid = a b\n", "name or number of a user"},
		{"budget_monthly = 5\n", "unknown setting"},
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		refuse_conf(f, rows[i].text, rows[i].part);
}

static void test_hostile_files(void **state)
{
	struct fixture *f = *state;
	struct settings s;
	struct error why = {0};
	FILE *out = fopen(f->conf, "w");

	assert_non_null(out);
	assert_int_equal(fwrite("a\0b = c\n", 1, 8, out), 8);
	fclose(out);
	assert_true(settings_read(&s, f->conf, NULL, &why) < 0);
	assert_non_null(strstr(why.text, "NUL byte"));

	out = fopen(f->conf, "w");
	for (int i = 0; i < 300000; i++)
		fputs("# filler\n", out);
	fclose(out);
	assert_true(settings_read(&s, f->conf, NULL, &why) < 0);
	assert_non_null(strstr(why.text, "larger than"));
	assert_true(settings_read(&s, f->dir, NULL, &why) < 0); /* a directory */
	assert_true(settings_read(&s, "/nowhere/gpufs.conf", NULL, &why) < 0);
	assert_non_null(strstr(why.text, "cannot be read"));

	/* seeded noise: whatever it is, it is refused or read, never more than that */
	uint64_t seed = 7;
	for (int round = 0; round < 300; round++) {
		out = fopen(f->conf, "w");
		for (int i = 0; i < 200; i++) {
			static const char letters[] = "=# \"\n\t_ahlogdmx0129\\\x80\xff";
			seed = seed * 6364136223846793005u + 1442695040888963407u;
			fputc(letters[(seed >> 33) % (sizeof(letters) - 1)], out);
		}
		fclose(out);
		if (settings_read(&s, f->conf, NULL, &why) == 0)
			settings_free(&s);
		else
			assert_true(why.text[0] != '\0');
	}
}

static void test_environment(void **state)
{
	struct settings s;
	struct error why = {0};

	(void)state;
	setenv("GPUFS_MOUNT", "/gpu", 1);
	setenv("GPUFS_LIVE", "1", 1);
	assert_int_equal(settings_read(&s, NULL, NULL, &why), 0);
	settings_free(&s);
	setenv("GPUFS_HARD_MAX_HOUR", "1", 1);
	assert_true(settings_read(&s, NULL, NULL, &why) < 0);
	assert_non_null(strstr(why.text, "environment"));
	assert_non_null(strstr(why.text, "did you mean GPUFS_HARD_MAX_HOURS"));
	unsetenv("GPUFS_HARD_MAX_HOUR");
	setenv("GPUFS_HARD_MAX_HOURS", "many", 1);
	assert_true(settings_read(&s, NULL, NULL, &why) < 0);
	assert_non_null(strstr(why.text, "GPUFS_HARD_MAX_HOURS"));
	unsetenv("GPUFS_HARD_MAX_HOURS");
	setenv("HARD_MAX_HOURS", "many", 1);
	assert_true(settings_read(&s, NULL, NULL, &why) < 0);
	unsetenv("HARD_MAX_HOURS");
	refuse_option("nonsense=1", "-o: unknown setting");
	refuse_option("log_level=loud", "-o: LOG_LEVEL = loud");
}

/* Every row accepts a second value, and it is the one that --check shows. */
static void test_every_setting_has_an_effect(void **state)
{
	static const struct {
		const char *type, *value;
	} samples[] = {
		{"number", "3"},	  {"duration", "2m"},
		{"USD", "0.75"},	  {"yes/no", "no"},
		{"path", "/tmp/x/y"},	  {"id", "abcd12"},
		{"access", "owner:root"}, {"name", "staff"},
		{"names", "a,b"},	  {"address", "::1"},
		{"user", "12345"},	  {"URL", "https://cloud.example:8443"},
		{"key", "abc-123"},	  {"image", "a/b:c"},
	};

	(void)state;
	for (int i = 0; i < SET_COUNT; i++) {
		const struct setting *row = &settings_table[i];
		const char *value = !strcmp(row->name, "DEFAULT_RETRY_SCOPE") ? "any"
				    : !strcmp(row->name, "LOG_LEVEL")	      ? "warn"
				    : !strcmp(row->name, "LOG_FORMAT")	      ? "json"
				    : !strcmp(row->name, "API_AUTH")	      ? "token"
				    : !strcmp(row->name, "ORPHAN_ACTION")     ? "alert"
									      : NULL;
		char option[128], shown[128];
		const char *const options[] = {option, NULL};
		struct settings s;
		struct policy p;
		struct error why = {0};
		BUF text = {0};

		for (size_t k = 0; k < ARRAY_LEN(samples) && !value; k++)
			if (!strcmp(samples[k].type, row->type))
				value = samples[k].value;
		assert_non_null(value);
		snprintf(option, sizeof(option), "%s=%s", row->name, value);
		if (settings_read(&s, NULL, options, &why) != 0)
			fail_msg("%s", why.text);
		expect(&s, (enum setting_key)i, value, "-o");
		assert_int_equal(settings_policy(&s, &p, &why), 0);
		settings_report(&s, false, &text);
		snprintf(shown, sizeof(shown), "%s  (-o)\n", row->secret ? "set" : value);
		assert_non_null(strstr(text.data, shown));
		settings_free(&s);
	}
}

static void test_policy(void **state)
{
	const char *const options[] = {"default_hours=4",
				       "default_disk_gb=none",
				       "default_vcpus=none",
				       "default_ram_gb=64",
				       "orphan_action=alert",
				       "orphan_grace_period=1h",
				       "default_max_price=0.5",
				       "default_retry_scope=any",
				       "sessions_access=group:staff",
				       "protected_consumers=a,b",
				       "auto_commit=no",
				       "hold_grace=0",
				       NULL};
	const char *const crossed[] = {"default_hours=13", NULL};
	const char *const nobody[] = {"api_auth=none", NULL};
	struct settings s;
	struct policy p;
	struct error why = {0};

	(void)state;
	assert_int_equal(settings_read(&s, NULL, options, &why), 0);
	assert_int_equal(settings_policy(&s, &p, &why), 0);
	assert_true(p.default_hours == 4);
	assert_true(p.default_max_price_u6 == 500000);
	assert_true(p.default_retry_scope == 2);
	assert_true(p.default_disk_gb == UNKNOWN && p.default_vcpus == UNKNOWN);
	assert_true(p.default_ram_gb == 64);
	assert_true(!p.orphan_destroy && p.orphan_grace_us == HOUR_US);
	assert_int_equal(p.access, ACCESS_GROUP);
	assert_string_equal(p.protected_consumers, "a,b");
	assert_false(p.auto_commit);
	assert_true(p.hold_grace_us == 0);
	settings_free(&s);
	assert_int_equal(settings_read(&s, NULL, crossed, &why), 0);
	assert_true(settings_policy(&s, &p, &why) < 0);
	assert_non_null(strstr(why.text, "HARD_MAX_HOURS"));
	settings_free(&s);
	assert_int_equal(settings_read(&s, NULL, nobody, &why), 0);
	assert_true(settings_policy(&s, &p, &why) < 0);
	assert_non_null(strstr(why.text, "API_UID"));
	settings_free(&s);
}

/* A provider's key: where it may come from, where it must not show, and what it changes. */
static void test_provider_key(void **state)
{
	struct fixture *f = *state;
	const char *const both[] = {"providers_local_enabled=yes", NULL};
	char path[128], conf[256];
	struct settings s;
	struct error why = {0};
	BUF text = {0}, json = {0}, longest = {0};

	setenv("VASTAI_API_KEY", "TOPSECRET", 1);
	assert_int_equal(settings_read(&s, NULL, NULL, &why), 0);
	expect(&s, SET_VASTAI_API_KEY, "TOPSECRET", "environment");
	settings_lock(&s);
	assert_true(settings_paid(&s));
	assert_false(settings_local_on(&s)); /* auto: only while no other provider is configured */
	settings_report(&s, false, &text);
	settings_report(&s, true, &json);
	assert_null(strstr(text.data, "TOPSECRET"));
	assert_null(strstr(json.data, "TOPSECRET"));
	assert_non_null(strstr(json.data, "\"VASTAI_API_KEY\":{\"value\":\"set\""));
	settings_free(&s);
	assert_int_equal(settings_read(&s, NULL, both, &why), 0);
	assert_true(settings_local_on(&s));
	settings_free(&s);
	unsetenv("VASTAI_API_KEY");

	snprintf(path, sizeof(path), "%s/value", f->dir);
	write_file(path, "FILESECRET\n");
	snprintf(conf, sizeof(conf), "vastai_api_key_file = %s\n", path);
	write_file(f->conf, conf);
	assert_int_equal(settings_read(&s, f->conf, NULL, &why), 0);
	assert_string_equal(s.value[SET_VASTAI_API_KEY], "FILESECRET");
	settings_free(&s);

	/* 512 bytes are a key; one more is refused, and never quoted. */
	buf_puts(&longest, "vastai_api_key = ");
	for (int i = 0; i < 512; i++)
		buf_putc(&longest, 'k');
	write_file(f->conf, longest.data);
	assert_int_equal(settings_read(&s, f->conf, NULL, &why), 0);
	assert_int_equal(strlen(s.value[SET_VASTAI_API_KEY]), 512);
	settings_free(&s);
	buf_putc(&longest, 'k');
	write_file(f->conf, longest.data);
	assert_true(settings_read(&s, f->conf, NULL, &why) < 0);
	assert_non_null(strstr(why.text, "(secret)"));
	assert_null(strstr(why.text, "kk"));
}

static void test_what_goes_together(void **state)
{
	static const char *const plain = "vastai_base_url=http://cloud.example";
	const char *const loopback[] = {"vastai_base_url=http://127.0.0.1:8443", NULL};
	const char *const refused[] = {plain, NULL};
	const char *const allowed[] = {plain, "allow_insecure=yes", NULL};
	const char *const account[] = {"vastai_account_key=yes", NULL};
	struct settings s;
	struct policy p;
	struct error why = {0};

	(void)state;
	assert_int_equal(settings_read(&s, NULL, loopback, &why), 0);
	assert_int_equal(settings_policy(&s, &p, &why), 0);
	settings_free(&s);
	assert_int_equal(settings_read(&s, NULL, refused, &why), 0);
	assert_int_equal(settings_policy(&s, &p, &why), -EINVAL);
	assert_non_null(strstr(why.text, "-o: VASTAI_BASE_URL"));
	assert_non_null(strstr(why.text, "ALLOW_INSECURE"));
	settings_free(&s);
	assert_int_equal(settings_read(&s, NULL, allowed, &why), 0);
	assert_int_equal(settings_policy(&s, &p, &why), 0);
	settings_free(&s);
	assert_int_equal(settings_read(&s, NULL, account, &why), 0);
	assert_int_equal(settings_policy(&s, &p, &why), -EINVAL);
	assert_non_null(strstr(why.text, "VASTAI_ACCOUNT_KEY"));
	settings_free(&s);
}

static void test_printed(void **state)
{
	struct fixture *f = *state;
	struct settings s;
	struct error why = {0};
	BUF help = {0}, example = {0}, man = {0}, json = {0};

	settings_help(&help);
	settings_example(&example);
	settings_man(&man);
	for (int i = 0; i < SET_COUNT; i++) {
		char lower[64];

		COPY(lower, settings_table[i].name);
		for (char *p = lower; *p; p++)
			*p = (char)tolower((unsigned char)*p);
		assert_non_null(strstr(help.data, lower));
		assert_non_null(strstr(example.data, lower));
		assert_non_null(strstr(man.data, lower));
	}
	for (const char *l = help.data; *l; l += strcspn(l, "\n") + 1)
		assert_true(strcspn(l, "\n") <= 100);
	/* the example as it is changes nothing, and neither do its lines with the # removed */
	write_file(f->conf, example.data);
	assert_int_equal(settings_read(&s, f->conf, NULL, &why), 0);
	settings_report(&s, true, &json);
	assert_non_null(
		strstr(json.data, "\"HARD_MAX_HOURS\":{\"value\":\"12\",\"origin\":\"default\"}"));
	settings_free(&s);
	for (char *p = example.data; (p = strstr(p, "\n#")); p++)
		if (islower((unsigned char)p[2]))
			p[1] = ' ';
	write_file(f->conf, example.data);
	if (settings_read(&s, f->conf, NULL, &why) != 0)
		fail_msg("%s", why.text);
	for (int i = 0; i < SET_COUNT; i++)
		if (settings_table[i].fallback[0])
			assert_string_equal(s.value[i], settings_table[i].fallback);
	settings_free(&s);
}

/* ---- the command line ---- */

static int parse(struct options *o, struct error *why, const char *const *words)
{
	char *argv[16];
	int argc = 0;

	argv[argc++] = (char *)(uintptr_t) "gpufs";
	for (; words[argc - 1]; argc++)
		argv[argc] = (char *)(uintptr_t)words[argc - 1];
	argv[argc] = NULL;
	return options_parse(argc, argv, o, why);
}
#define PARSE(o, ...) parse(o, &why, (const char *const[]){__VA_ARGS__, NULL})

static void test_options(void **state)
{
	struct options o;
	struct error why = {0};

	(void)state;
	assert_int_equal(
		PARSE(&o, "/gpu", "-f", "-o", "ro,hard_max_hours=3,noexec", "--config", "/c"), 0);
	assert_string_equal(o.mountpoint, "/gpu");
	assert_true(o.foreground && o.read_only && o.noexec && !o.nonempty);
	assert_string_equal(o.config, "/c");
	assert_int_equal(o.settings_count, 1);
	assert_string_equal(o.settings[0], "hard_max_hours=3");
	options_free(&o);

	/* as mount(8) and mount.fuse3 write it */
	assert_int_equal(
		PARSE(&o, "none", "/gpu", "-o",
		      "rw,nosuid,nodev,dev,suid,_netdev,nofail,user,noauto,x-systemd.automount,"
		      "allow_other,protected_consumers=a\\,b"),
		0);
	assert_string_equal(o.mountpoint, "/gpu");
	assert_string_equal(o.settings[0], "protected_consumers=a,b");
	options_free(&o);

	assert_int_equal(PARSE(&o, "--on-exit=destroy", "--", "-odd"), 0);
	assert_true(o.destroy_on_exit);
	assert_string_equal(o.mountpoint, "-odd");
	options_free(&o);
	assert_int_equal(PARSE(&o, "--check", "--json"), 0);
	options_free(&o);
	assert_int_equal(PARSE(&o, "--check", "--online", "/gpu"), 0);
	assert_true(o.check && o.online);
	options_free(&o);
	assert_int_equal(PARSE(&o, "--orphans", "--json", "-o", "log_level=warn"), 0);
	assert_true(o.orphans && !o.destroy && !o.yes);
	options_free(&o);
	assert_int_equal(PARSE(&o, "--orphans", "--destroy", "--yes"), 0);
	assert_true(o.orphans && o.destroy && o.yes);
	options_free(&o);
	assert_int_equal(PARSE(&o, "--print=README"), 0);
	assert_string_equal(o.print, "README");
	options_free(&o);
}

static void test_options_refused(void **state)
{
	static const char *const rows[][4] = {
		{NULL},
		{"--online", "/gpu", NULL},
		{"--destroy", "/gpu", NULL},
		{"--yes", "/gpu", NULL},
		{"--orphans", "--yes", NULL},
		{"--orphans", "--check", NULL},
		{"--orphans", "--online", NULL},
		{"--orphans", "/gpu", NULL},
		{"--check", "--destroy", NULL},
		{"--json", "/gpu", NULL},
		{"/a", "/b", "/c", NULL},
		{"/gpu", "-x", NULL},
		{"/gpu", "--on-exit=keep", NULL},
		{"/gpu", "-o", NULL},
		{"/gpu", "-o", "wat", NULL},
		{"/gpu", "--config", NULL},
		{"/gpu", "--config=", NULL},
		{"/gpu", "--configure=x", NULL},
		{"--help-me", NULL},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct options o;
		struct error why = {0};

		assert_true(parse(&o, &why, rows[i]) < 0);
		assert_true(strlen(why.text) > 10);
		options_free(&o);
	}
}

static void test_options_help(void **state)
{
	BUF out = {0};
	int lines = 0;

	(void)state;
	options_help(&out);
	for (const char *l = out.data; *l; l += strcspn(l, "\n") + 1, lines++)
		assert_true(strcspn(l, "\n") <= 80);
	assert_true(lines <= 30);
	assert_non_null(strstr(out.data, "Exit status"));
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		T(test_table),
		T(test_defaults),
		T(test_order_of_sources),
		T(test_value_files),
		T(test_refusals),
		T(test_hostile_files),
		T(test_environment),
		T(test_every_setting_has_an_effect),
		T(test_policy),
		T(test_provider_key),
		T(test_what_goes_together),
		T(test_printed),
		T(test_options),
		T(test_options_refused),
		T(test_options_help),
	};

	return cmocka_run_group_tests_name("settings", tests, NULL, NULL);
}
