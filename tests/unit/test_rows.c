/*
 * What each row reads as: golden values of a session before and after its purchase, of an offer, of
 * the root for several readers; hostile texts that must stay on their line; the files that wait;
 * orders; and the classes' find and next. The engine and the mount are fakes (tree_fake.c).
 */
#include "tree_fake.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h> /* after ours: it makes `fail` a macro */
#include <jansson.h>

#include "../../src/core/check.h"

#define ALICE 1000
#define BOB   1001

static void expect(struct ctx x, const char *path, const char *wanted)
{
	FREE char *text = fake_show(x, path);

	if (!text)
		fail_msg("%s: nothing", path);
	if (strcmp(text, wanted) != 0)
		fail_msg("%s: got '%s', wanted '%s'", path, text, wanted);
}

static int setup(void **state)
{
	(void)state;
	fake_reset();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	fake_free();
	return 0;
}

/* A session that runs on a bought machine. */
static struct session *running(int64_t serial, const char *name, int64_t uid)
{
	struct session *s = fake_session(serial, name, uid);

	s->state = S_RUNNING;
	COPY(s->owner_name, uid == ALICE ? "alice" : "bob");
	COPY(s->provider, "local");
	COPY(s->offer_id, "local-gpu0");
	COPY(s->gpu_type, "RTX 4090");
	s->gpu_count = 1;
	s->vram_gb = 24;
	s->price_u6 = 500000;
	s->price_quoted_u6 = 490000;
	s->bought_us = s->asked_us = SECOND_US * 1400;
	s->running_us = SECOND_US * 1500;
	s->expires_us = SECOND_US * 8600;
	s->attempt = 1;
	s->instance_state = I_EXISTS;
	COPY(s->ssh_host, "127.0.0.1");
	s->ssh_port = 2201;
	COPY(s->ssh_user, "alice");
	s->host_key = strdup("ssh-ed25519 AAAAC3Nz");
	s->public_key = strdup("ssh-ed25519 AAAAkey train\n");
	secret_set(&s->private_key, "-----BEGIN KEY-----", 19);
	return s;
}

static void a_draft_is_empty(void **state)
{
	static const char *const empty[] = {
		"spec",	      "reason",	     "provider",  "instance_id",    "offer_id",
		"gpu_type",   "gpu_count",   "vram_gb",	  "price_per_hour", "price_quoted",
		"bought_at",  "expires_at",  "remaining", "ssh/host",	    "ssh/port",
		"ssh/user",   "ssh/command", "ssh/key",	  "ssh/key.pub",    "ssh/known_hosts",
		"ssh/config", "env",	     "error",	  "failed_offers",
	};
	struct ctx x = fake_ctx(OBJ_SESSION, 3, ALICE);

	(void)state;
	fake_session(3, "train", ALICE);
	for (size_t i = 0; i < ARRAY_LEN(empty); i++)
		expect(x, empty[i], "");
	expect(x, "state", "draft\n");
	expect(x, "owner", "1000\n"); /* a uid without a name */
	expect(x, "created_at", "1970-01-01T00:16:40Z\n");
	expect(x, "protect", "0\n");
	assert_null(fake_show(x, "offer")); /* ENOENT: no link */
}

static void a_running_session(void **state)
{
	struct ctx x = fake_ctx(OBJ_SESSION, 3, ALICE);

	(void)state;
	running(3, "train", ALICE);
	expect(x, "state", "running\n");
	expect(x, "owner", "alice\n");
	expect(x, "gpu_type", "RTX 4090\n");
	expect(x, "vram_gb", "24\n");
	expect(x, "price_per_hour", "0.50\n");
	expect(x, "remaining", "3600\n");
	expect(x, "cost", "0.50\n"); /* 3600 s since asked_us */
	expect(x, "offer", "../../inventory/local-gpu0");
	expect(x, "plan", "plan of train for 1000\n");
	expect(x, "ssh/key", "-----BEGIN KEY-----\n");
	expect(x, "ssh/key.pub", "ssh-ed25519 AAAAkey train\n");
	expect(x, "ssh/known_hosts", "train.gpu,[127.0.0.1]:2201 ssh-ed25519 AAAAC3Nz\n");
	expect(x, "ssh/command", "ssh -F /gpu/sessions/train/ssh/config train.gpu\n");
	expect(x, "ssh/config",
	       "Host train.gpu\n"
	       "    HostName 127.0.0.1\n"
	       "    Port 2201\n"
	       "    User alice\n"
	       "    IdentityFile \"/gpu/sessions/train/ssh/key\"\n"
	       "    IdentitiesOnly yes\n"
	       "    UserKnownHostsFile \"/gpu/sessions/train/ssh/known_hosts\"\n"
	       "    HostKeyAlias train.gpu\n"
	       "    GlobalKnownHostsFile /dev/null\n"
	       "    StrictHostKeyChecking yes\n"
	       "    UpdateHostKeys no\n");
	fake_engine.sessions[3].ssh_port = 22;
	expect(x, "ssh/known_hosts", "train.gpu,127.0.0.1 ssh-ed25519 AAAAC3Nz\n");
}

static void zero_gpus_are_known_once_bought(void **state)
{
	struct session *s = running(3, "train", ALICE);

	(void)state;
	s->gpu_count = s->vram_gb = s->price_u6 = 0;
	expect(fake_ctx(OBJ_SESSION, 3, ALICE), "gpu_count", "0\n");
	expect(fake_ctx(OBJ_SESSION, 3, ALICE), "price_per_hour", "0.00\n");
}

static void paths_are_quoted(void **state)
{
	struct ctx x = fake_ctx(OBJ_SESSION, 3, ALICE);

	(void)state;
	running(3, "train", ALICE);
	COPY(fake_engine.policy.public_mount, "/my 100%/\"g'pu");
	expect(x, "ssh/command",
	       "ssh -F '/my 100%/\"g'\\''pu/sessions/train/ssh/config' train.gpu\n");
	FREE char *config = fake_show(x, "ssh/config");

	assert_non_null(
		strstr(config, "IdentityFile \"/my 100%%/\\\"g'pu/sessions/train/ssh/key\"\n"));
}

/* A provider's words must not become an option, a line, or a command. */
static void hostile_addresses_are_unknown(void **state)
{
	static const char *const hosts[] = {
		"-oProxyCommand=x", "a\nProxyCommand x", "a b", "$(x)", "a\tb", "a'b", "\xff"};
	struct ctx x = fake_ctx(OBJ_SESSION, 3, ALICE);
	struct session *s = running(3, "train", ALICE);

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(hosts); i++) {
		COPY(s->ssh_host, hosts[i]);
		expect(x, "ssh/host", "");
		expect(x, "ssh/config", "");
		expect(x, "ssh/command", "");
		expect(x, "ssh/known_hosts", "");
	}
	COPY(s->ssh_host, "127.0.0.1");
	COPY(s->ssh_user, "-l root");
	expect(x, "ssh/user", "");
	expect(x, "ssh/config", "");
	COPY(s->ssh_user, "alice");
	s->ssh_port = 70000;
	expect(x, "ssh/port", "");
	expect(x, "ssh/command", "");
	COPY(s->reason, "boot\nfailed\x1b[31m");
	expect(x, "reason", "boot\\x0afailed\\x1b[31m\n");
}

static void env_is_safe_to_source(void **state)
{
	struct session *s = running(3, "train", ALICE);

	(void)state;
	COPY(s->gpu_type, "a'; touch /x; '");
	FREE char *env = fake_show(fake_ctx(OBJ_SESSION, 3, ALICE), "env");

	assert_non_null(strstr(env, "GPU_NAME='train'\n"));
	assert_non_null(strstr(env, "GPU_HOST='127.0.0.1'\nGPU_PORT='2201'\nGPU_USER='alice'\n"));
	assert_non_null(strstr(env, "GPU_TYPE='a'\\''; touch /x; '\\'''\n"));
	assert_non_null(strstr(env, "GPU_KEY='/gpu/sessions/train/ssh/key'\n"));
}

static void info_holds_no_secret(void **state)
{
	struct ctx x = fake_ctx(OBJ_SESSION, 3, ALICE);
	struct session *s = running(3, "train", ALICE);

	(void)state;
	s->spec = strdup("env.TOKEN=hunter2\n");
	FREE char *info = fake_show(x, "info");
	FREE char *json = fake_show(x, "info.json");
	json_t *o = json_loads(json, 0, NULL);

	assert_non_null(o);
	assert_int_equal(strcspn(json, "\n"), strlen(json) - 1); /* one line */
	assert_null(strstr(info, "hunter2"));
	assert_null(strstr(json, "hunter2"));
	assert_null(strstr(json, "BEGIN"));
	assert_non_null(strstr(info, "ssh_port 2201\n"));
	assert_non_null(strstr(info, "gpu_type RTX 4090\n"));
	assert_null(strstr(info, "stopped_at"));
	assert_true(json_is_integer(json_object_get(o, "vram_gb")));
	assert_true(json_is_real(json_object_get(o, "price_per_hour")));
	assert_true(json_is_false(json_object_get(o, "protect")));
	assert_string_equal(json_string_value(json_object_get(o, "expires_at")),
			    "1970-01-01T02:23:20Z");
	assert_null(json_object_get(o, "stopped_at"));
	json_decref(o);
}

static void json_types_are_checked(void **state)
{
	static const struct {
		enum value_type type;
		const char *in, *out;
	} cases[] = {
		{V_INT, "7", "7"},
		{V_INT, "max", "\"max\""},
		{V_INT, "007", "\"007\""},
		{V_MONEY, "0.50", "0.50"},
		{V_MONEY, "1.", "\"1.\""},
		{V_MONEY, ".5", "\".5\""},
		{V_DECIMAL, "-1", "-1"},
		{V_DECIMAL, "-", "\"-\""},
		{V_DECIMAL, "NaN", "\"NaN\""},
		{V_BOOL, "1", "true"},
		{V_BOOL, "yes", "\"yes\""},
		{V_TEXT, "1", "\"1\""},
		{V_INT, "0", "0"},
		{V_DECIMAL, "1.2.3", "\"1.2.3\""},
		{V_INT, "1e9", "\"1e9\""},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		BUF out = {0};

		put_json_value(&out, cases[i].type, cases[i].in, strlen(cases[i].in));
		assert_string_equal(out.data, cases[i].out);
	}
}

static void list_is_per_reader(void **state)
{
	struct ctx root = fake_ctx(OBJ_READER, 0, 0), alice = fake_ctx(OBJ_READER, ALICE, ALICE),
		   bob = fake_ctx(OBJ_READER, BOB, BOB);

	(void)state;
	expect(root, "list", "");
	running(3, "train", ALICE);
	fake_session(5, "mine", BOB)->dir_mode = 0755;
	expect(alice, "list",
	       "# name\tstate\tprovider\tgpu\tprice_per_hour\tremaining\tcost\tconsumer\tid\n"
	       "train\trunning\tlocal\tRTX 4090\t0.50\t3600\t0.50\t\t"
	       "00000000-0000-4000-8000-000000000003\n"
	       "mine\tdraft\t\t\t\t\t0.00\t\t00000000-0000-4000-8000-000000000005\n");
	expect(bob, "list",
	       "# name\tstate\tprovider\tgpu\tprice_per_hour\tremaining\tcost\tconsumer\tid\n"
	       "mine\tdraft\t\t\t\t\t0.00\t\t00000000-0000-4000-8000-000000000005\n");
	FREE char *all = fake_show(root, "list");

	assert_non_null(strstr(all, "\ntrain\t"));
	bob.who.gid = ALICE; /* a colleague: 0750 lets the group look */
	FREE char *both = fake_show(bob, "list");

	assert_non_null(strstr(both, "\ntrain\t"));
	fake_engine.sessions[3].dir_mode = 0705; /* the kernel would refuse the group, others not */
	FREE char *less = fake_show(bob, "list");

	assert_null(strstr(less, "\ntrain\t"));
}

static void ssh_config_is_of_own_running_ones(void **state)
{
	(void)state;
	running(3, "train", ALICE);
	running(4, "stop", ALICE)->state = S_STOPPING;
	running(5, "bobs", BOB);
	FREE char *text = fake_show(fake_ctx(OBJ_READER, ALICE, ALICE), "ssh_config");

	assert_non_null(strstr(text, "Host train.gpu\n"));
	assert_null(strstr(text, "stop.gpu"));
	assert_null(strstr(text, "bobs.gpu"));
	expect(fake_ctx(OBJ_READER, 0, 0), "ssh_config", ""); /* root has none of its own */
}

static void status_has_twins(void **state)
{
	struct ctx x = fake_ctx(OBJ_ROOT, 0, ALICE);

	(void)state;
	fake_engine.status.why = "the disk is full";
	fake_engine.status.state = "degraded";
	fake_engine.status.by_state[S_RUNNING] = 2;
	fake_engine.status.burn_u6 = 1250000;
	fake_engine.provider_count = 1;
	fake_engine.providers[0] = (struct provider_view){.name = "local", .state = "ok"};
	expect(x, "status",
	       "state degraded\nwhy the disk is full\nsessions.draft 0\nsessions.pending 0\n"
	       "sessions.provisioning 0\nsessions.running 2\nsessions.stopping 0\n"
	       "sessions.stopped 0\nsessions.failed 0\nburn_rate_per_hour 1.25\n"
	       "provider.local ok\n");
	expect(x, "status.json",
	       "{\"state\":\"degraded\",\"why\":\"the disk is full\",\"sessions.draft\":0,"
	       "\"sessions.pending\":0,\"sessions.provisioning\":0,\"sessions.running\":2,"
	       "\"sessions.stopping\":0,\"sessions.stopped\":0,\"sessions.failed\":0,"
	       "\"burn_rate_per_hour\":1.25,\"provider.local\":\"ok\"}\n");
	expect(x, "version", "0.0.test\n");
	expect(x, "alarms", "");
}

static void a_provider(void **state)
{
	struct ctx x = fake_ctx(OBJ_PROVIDER, 1, ALICE);

	(void)state;
	fake_engine.provider_count = 1;
	fake_engine.providers[0] = (struct provider_view){.name = "local",
							  .state = "ok",
							  .reason = "",
							  .offers = 3,
							  .list_age_us = 2 * SECOND_US + 1,
							  .list_complete = true,
							  .balance_u6 = UNKNOWN,
							  .enabled = true};
	expect(x, "state", "ok\n");
	expect(x, "list_age", "2\n");
	expect(x, "balance", "");
	expect(x, "info",
	       "state ok\noffers 3\nlist_age 2\nlist_complete 1\ncalls 0\nerrors 0\ndropped 0\n"
	       "foreign 0\nenabled 1\n");
	fake_engine.providers[0].list_age_us = UNKNOWN; /* never asked */
	expect(x, "list_age", "");
	fake_engine.providers[0].balance_u6 = 12500000;
	expect(x, "balance", "12.50\n");
	fake_engine.providers[0].balance_u6 = 0; /* known, which is another thing than unknown */
	expect(x, "balance", "0.00\n");
	fake_engine.providers[0].balance_u6 = -250000; /* overdrawn */
	expect(x, "balance", "-0.25\n");
}

static void what_the_provider_says(void **state)
{
	struct ctx x = fake_ctx(OBJ_SESSION, 3, ALICE);

	(void)state;
	running(3, "train", ALICE);
	expect(x, "provider_cost", "");
	expect(x, "provider.log", "");
	fake_engine.provider_log = "2026-11-28T00:00:00Z pulling\n";
	expect(x, "provider.log", "2026-11-28T00:00:00Z pulling\n");
}

/* The names in ports/, in order. */
static void expect_ports(enum object class, const char *wanted)
{
	const struct object_class *ports = &object_classes[OBJ_PORT];
	struct ctx x = fake_ctx(class, 3, ALICE);
	uint64_t serial = 0;
	char name[256];
	BUF names = {0};

	assert_true(object_classes[class].resolve(&x));
	x.row = fake_row(class, "ports");
	assert_int_equal(x.row->children, OBJ_PORT);
	buf_puts(&names, "");
	while (ports->next(&x, serial, &serial, name)) {
		uint64_t same = 0;

		assert_true(ports->find(&x, name, &same));
		assert_true(serial == same);
		buf_printf(&names, "%s ", name);
	}
	assert_string_equal(names.data, wanted);
}

static void expect_port(uint64_t port, const char *wanted)
{
	struct ctx x = fake_ctx(OBJ_PORT, UINT64_C(3) << PORT_BITS | port, ALICE);
	BUF out = {0};

	assert_int_equal(object_classes[OBJ_PORT].resolve(&x), wanted != NULL);
	if (!wanted)
		return;
	x.row = object_classes[OBJ_PORT].link;
	assert_int_equal(x.row->show(&x, &out), 0);
	assert_string_equal(out.data, wanted);
}

static void ports_are_those_of_the_spec(void **state)
{
	static const char *const not_there[] = {"", "0", "08000", "8001", "22", "65536", "x", "-1"};
	struct session *s = running(3, "train", ALICE);
	struct ctx x = fake_ctx(OBJ_SESSION, 3, ALICE);
	uint64_t serial;

	(void)state;
	assert_true(object_classes[OBJ_SESSION].resolve(&x));
	expect_ports(OBJ_SESSION, "");
	s->spec = strdup("hours=2\non_start='ports=9'\nports=8000,443,70\nenv.A='ports=22'\n");
	expect_ports(OBJ_SESSION, ""); /* asked for, but the machine does not run yet */
	/* Also SSH's own, which nobody asked for; one without a place; one that no spec has. */
	s->ports = strdup("22 1.2.3.4 40022\n8000 1.2.3.4 40001\n443 2001:db8::1 40002\n70  40003\n"
			  "9 1.2.3.4 40009\n");
	expect_ports(OBJ_SESSION, "443 8000 ");
	expect_port(8000, "1.2.3.4:40001\n");
	expect_port(443, "[2001:db8::1]:40002\n");
	expect_port(22, NULL);
	expect_port(70, NULL);
	expect_port(0, NULL);
	for (size_t i = 0; i < ARRAY_LEN(not_there); i++)
		assert_false(object_classes[OBJ_PORT].find(&x, not_there[i], &serial));
	s->removed_us = 1;
	expect_ports(OBJ_HISTORY, "443 8000 ");
	expect_port(8000, "1.2.3.4:40001\n"); /* the same inode as before */
	/* A database is hostile until parsed. */
	free(s->ports);
	s->ports = strdup("8000 evil\nhost 1\n");
	expect_ports(OBJ_HISTORY, "");
	free(s->ports);
	s->ports = strdup("8000 a\033b 1\n443 h 2");
	expect_ports(OBJ_HISTORY, "8000 ");
	expect_port(8000, "a\\x1bb:1\n");
}

static int wait_on(enum object class, const char *path, int64_t *seen, struct error *why)
{
	struct ctx x = fake_ctx(class, 3, ALICE);
	BUF out = {0};

	x.row = fake_row(class, path);
	assert_true(object_classes[class].resolve(&x));
	return x.row->wait(&x, seen, &out, why);
}

static void wait_ready_ends_with_the_cause(void **state)
{
	struct session *s = fake_session(3, "train", ALICE);
	struct error why = {0};
	int64_t seen = 0;

	(void)state;
	assert_int_equal(wait_on(OBJ_SESSION, "wait/ready", &seen, &why), 0);
	fake_engine.refusal = (struct error){.code = ERR_NO_MATCH, .text = "no offer matches"};
	assert_int_equal(wait_on(OBJ_SESSION, "wait/ready", &seen, &why), -ENOSPC);
	assert_string_equal(why.text, "no offer matches");
	s->state = S_PROVISIONING;
	assert_int_equal(wait_on(OBJ_SESSION, "wait/ready", &seen, &why), 0);
	s->state = S_RUNNING;
	assert_int_equal(wait_on(OBJ_SESSION, "wait/ready", &seen, &why), 1);
	s->state = S_STOPPING;
	s->end_cause = END_DESTROYED;
	assert_int_equal(wait_on(OBJ_SESSION, "wait/ready", &seen, &why), -ECANCELED);
	s->end_cause = END_LOST;
	assert_int_equal(wait_on(OBJ_SESSION, "wait/ready", &seen, &why), -EHOSTDOWN);
	s->state = S_FAILED;
	s->end_cause = END_NONE;
	assert_int_equal(wait_on(OBJ_SESSION, "wait/ready", &seen, NULL), -ECANCELED);
}

static void wait_change_is_the_next_state(void **state)
{
	struct session *s = fake_session(3, "train", ALICE);
	int64_t seen = 0;

	(void)state;
	s->state = S_RUNNING;
	assert_int_equal(wait_on(OBJ_SESSION, "wait/change", &seen, NULL), 0);
	assert_int_equal(wait_on(OBJ_SESSION, "wait/change", &seen, NULL), 0);
	s->state = S_STOPPING;
	assert_int_equal(wait_on(OBJ_SESSION, "wait/change", &seen, NULL), 1);
}

static void wait_gone_is_the_receipt(void **state)
{
	struct session *s = running(3, "train", ALICE);
	int64_t seen = 0;

	(void)state;
	s->state = S_STOPPED;
	s->removed_us = 1;
	assert_int_equal(wait_on(OBJ_HISTORY, "wait/gone", &seen, NULL), 0);
	fake_engine.proven = true;
	assert_int_equal(wait_on(OBJ_HISTORY, "wait/gone", &seen, NULL), 1);
	expect(fake_ctx(OBJ_HISTORY, 3, ALICE), "receipt", "receipt of train\n");
	expect(fake_ctx(OBJ_HISTORY, 3, ALICE), "name", "train\n");
	assert_null(fake_row(OBJ_HISTORY, "ssh/key"));
	assert_null(fake_row(OBJ_HISTORY, "spec"));
	assert_null(fake_show(fake_ctx(OBJ_SESSION, 3, ALICE), "state")); /* it left sessions/ */
}

static void count_answer(void *arg, int err, const struct error *why)
{
	(void)why;
	assert_int_equal(err, 0);
	++*(int *)arg;
}

static void orders_reach_the_engine_once(void **state)
{
	static const struct {
		enum object class;
		const char *path, *text, *order;
	} cases[] = {
		{OBJ_ROOT, "ctl", "drain", "root drain"},
		{OBJ_SESSION, "ctl", "done", "train done"},
		{OBJ_SESSION, "remaining", "+2h", "remaining +2h"},
		{OBJ_SESSION, "protect", "1", "protect 1"},
		{OBJ_SESSION, "hold", "x", ""},
		{OBJ_PROVIDER, "enabled", "0", "enable 0"},
	};

	(void)state;
	running(1, "train", ALICE);
	fake_engine.provider_count = 1;
	fake_engine.providers[0] = (struct provider_view){.name = "local", .state = "ok"};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct ctx x = fake_ctx(cases[i].class, cases[i].class == OBJ_ROOT ? 0 : 1, ALICE);
		int answers = 0;

		assert_true(object_classes[x.class].resolve(&x));
		x.row = fake_row(x.class, cases[i].path);
		fake_engine.order[0] = '\0';
		x.row->store(&x, str_of(cases[i].text), count_answer, &answers);
		assert_int_equal(answers, 1);
		assert_string_equal(fake_engine.order, cases[i].order);
	}
}

/* ---- classes ---- */

static void last_is_per_reader(void **state)
{
	struct ctx alice = fake_ctx(OBJ_READER, ALICE, ALICE), root = fake_ctx(OBJ_READER, 0, 0);
	const struct object_class *last = &object_classes[OBJ_LAST];
	uint64_t serial = 0;
	char name[256];
	int64_t uid, gid, changed;
	mode_t mode;

	(void)state;
	running(1, "train", ALICE)->removed_us = 1;
	running(2, "train", ALICE)->removed_us = 1;
	running(3, "train", BOB)->removed_us = 1;
	running(4, "other", BOB)->removed_us = 1;
	assert_true(last->find(&alice, "train", &serial));
	assert_int_equal(serial, 2);
	assert_false(last->find(&alice, "other", &serial));
	assert_true(last->find(&root, "train", &serial));
	assert_int_equal(serial, 3);
	assert_true(last->next(&alice, 0, &serial, name));
	assert_int_equal(serial, 2);
	assert_string_equal(name, "train");
	assert_false(last->next(&alice, 2, &serial, name));
	struct ctx x = fake_ctx(OBJ_LAST, 2, ALICE);
	BUF out = {0};

	assert_true(last->resolve(&x));
	last->link->show(&x, &out);
	assert_string_equal(out.data, "../00000000-0000-4000-8000-000000000002");
	object_classes[OBJ_HISTORY].attr(&x, &uid, &gid, &mode, &changed);
	assert_int_equal(mode, 0550);
	assert_int_equal(uid, ALICE);
}

static void an_offer(void **state)
{
	struct offer o[1];
	uint64_t serial;
	struct ctx x = fake_ctx(OBJ_ROOT, 0, ALICE);

	(void)state;
	memset(o, 0, sizeof(o));
	COPY(o[0].id, "local-0");
	COPY(o[0].provider, "local");
	COPY(o[0].gpu_type, "RTX 4090");
	o[0].price_u6 = 1000;
	o[0].min_bid_u6 = o[0].max_duration_hours = o[0].cuda_m = UNKNOWN;
	o[0].reliability_m = 987;
	o[0].vram_gb = 24;
	o[0].gpu_count = 2;
	fake_market(o, 1);
	assert_true(object_classes[OBJ_OFFER].find(&x, "local-0", &serial));
	x = fake_ctx(OBJ_OFFER, serial, ALICE);
	expect(x, "gpu_type", "RTX 4090\n");
	expect(x, "reliability", "0.987\n");
	expect(x, "cuda_version", "");
	expect(x, "interruptible", "0\n");
	FREE char *json = fake_show(x, "info.json");

	assert_non_null(strstr(json, "\"gpu_count\":2,\"vram_gb\":24,"));
	assert_non_null(strstr(json, "\"interruptible\":false}\n"));
	assert_null(strstr(json, "cuda_version"));
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(a_draft_is_empty),
		TEST(a_running_session),
		TEST(zero_gpus_are_known_once_bought),
		TEST(paths_are_quoted),
		TEST(hostile_addresses_are_unknown),
		TEST(env_is_safe_to_source),
		TEST(info_holds_no_secret),
		TEST(json_types_are_checked),
		TEST(list_is_per_reader),
		TEST(ssh_config_is_of_own_running_ones),
		TEST(status_has_twins),
		TEST(a_provider),
		TEST(what_the_provider_says),
		TEST(ports_are_those_of_the_spec),
		TEST(wait_ready_ends_with_the_cause),
		TEST(wait_change_is_the_next_state),
		TEST(wait_gone_is_the_receipt),
		TEST(orders_reach_the_engine_once),
		TEST(last_is_per_reader),
		TEST(an_offer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
