/*
 * Tests of the fake Vast.ai itself: lives of instances and what they cost, keys, faults, control.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#undef fail /* cmocka's macro; ours is in error.h */

#include <jansson.h>

#include "../../src/core/check.h"
#include "../../src/core/text.h"
#include "../fake/vastai_fake.h"
#include "fake_vastai_ask.h"

#define KEY_LINE \
	"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl me"

/* ---- a life, and what it costs ---- */

static void test_life_and_meter(void **state)
{
	int64_t id, disk;
	json_t *i;
	struct fakevast_view v;

	(void)state;
	begin(NULL);
	id = create("one");
	assert_string_equal("null", status_of(id));
	i = json_object_get(answer, "instances");
	assert_true(json_is_null(json_object_get(i, "ssh_host")));
	now = 2 * SECOND_US;
	assert_string_equal("created", status_of(id));
	now = 4 * SECOND_US;
	assert_string_equal("loading", status_of(id));
	i = json_object_get(answer, "instances");
	assert_true(json_is_string(json_object_get(i, "ssh_host")));
	assert_true(json_is_null(json_object_get(i, "ports")));
	now = 30 * SECOND_US - 1;
	assert_string_equal("loading", status_of(id));
	disk = view(0).rate_u6;
	now = 30 * SECOND_US;
	assert_string_equal("running", status_of(id));
	i = json_object_get(answer, "instances");
	assert_true(json_is_object(json_object_get(i, "ports")));
	v = view(0);
	assert_int_equal(v.rate_u6, v.price_u6);
	assert_true(disk > 0 && disk < v.price_u6);
	now = 3630 * SECOND_US;
	assert_int_equal(200, call("DELETE", "/", id, "{}"));
	now += HOUR_US;
	v = view(0);
	assert_string_equal("gone", v.status);
	assert_int_equal(3632 * SECOND_US, v.destroyed_us);
	/* Half a minute of disk and an hour of everything, to the micro-dollar. */
	assert_int_equal(v.price_u6 + disk * 30 / 3600, v.billed_u6);
	assert_int_equal(3600, v.gpu_seconds);
	assert_int_equal(100000000 - v.billed_u6 - 1, meter().credit_u6);
	assert_int_equal(0, meter().alive);
	assert_int_equal(0, fakevast_violation_count(fake));
}

static void test_offline_is_free(void **state)
{
	int64_t id, before;

	(void)state;
	begin(NULL);
	id = create("one");
	now = MINUTE_US;
	assert_true(fakevast_event(fake, now, id, FVE_OFFLINE));
	before = view(0).billed_u6;
	now += HOUR_US;
	assert_string_equal("offline", status_of(id));
	assert_int_equal(before, view(0).billed_u6);
	assert_true(fakevast_event(fake, now, id, FVE_BACK));
	assert_string_equal("running", status_of(id));
	now += HOUR_US;
	assert_int_equal(before + view(0).price_u6, view(0).billed_u6);
}

static void little_credit(struct fakevast_config *c)
{
	c->credit_u6 = 1000000;
}

static void test_credit_runs_out(void **state)
{
	int64_t id;
	struct fakevast_view v;

	(void)state;
	begin(little_credit);
	id = create("one");
	now = 100 * HOUR_US;
	v = view(0);
	assert_string_equal("exited", status_of(id));
	assert_true(v.rate_u6 > 0 && v.rate_u6 < v.price_u6);
	assert_true(meter().credit_u6 < 0); /* the disk goes on being billed */
	assert_int_equal(400, create_with(an_offer(), CREATE("two") "}"));
	assert_string_equal("insufficient_credit", text_at("error"));
	assert_int_equal(200, ask("GET", "/api/v0/users/current/", NULL));
	assert_true(real(answer, "credit") == 0 && real(answer, "balance") < 0);
	/* Whoever looked, and when, makes no difference. */
	assert_int_equal(v.billed_u6, view(0).billed_u6);
}

static void test_keys(void **state)
{
	int64_t id;
	BUF lines = {.data = NULL};

	(void)state;
	begin(NULL);
	id = create("one");
	assert_int_equal(200, call("POST", "/ssh/", id, "{\"ssh_key\":\"" KEY_LINE "\"}"));
	now = 12 * SECOND_US - 1;
	fakevast_keys(fake, now, id, &lines);
	assert_int_equal(0, lines.len);
	now = 12 * SECOND_US;
	fakevast_keys(fake, now, id, &lines);
	assert_string_equal(KEY_LINE "\n", lines.data);
	assert_int_equal(200, call("GET", "/ssh/", id, NULL));
	assert_true(json_is_string(json_object_get(answer, "ssh_keys")));
	assert_int_equal(400, call("POST", "/ssh/", id, "{\"ssh_key\":\"nonsense\"}"));
	assert_int_equal(1, broken("ssh-key"));
	assert_int_equal(404, call("POST", "/ssh/", 5, "{\"ssh_key\":\"" KEY_LINE "\"}"));
	/* The account's keys are baked in. */
	assert_int_equal(404, ask("GET", "/api/v0/ssh/", NULL));
	assert_int_equal(200, ask("POST", "/api/v0/ssh/", "{\"ssh_key\":\"" KEY_LINE "\"}"));
	create("two");
	assert_int_equal(1, view(1).keys);
}

static void test_login(void **state)
{
	int64_t id, whose, proxy, direct;
	char host_key[96], host[64], ip[64];
	json_t *i;

	(void)state;
	begin(NULL);
	id = create("one");
	assert_int_equal(200, call("POST", "/ssh/", id, "{\"ssh_key\":\"" KEY_LINE "\"}"));
	now = 10 * SECOND_US;
	i = instance(id);
	COPY(host, json_string_value(json_object_get(i, "ssh_host")));
	proxy = json_integer_value(json_object_get(i, "ssh_port"));
	assert_int_equal(FV_SSH_SILENT,
			 fakevast_login(fake, now, host, proxy, KEY_LINE, &whose, host_key));
	assert_int_equal(id, whose);
	now = 30 * SECOND_US;
	i = instance(id);
	printable_text(ip, sizeof(ip), json_string_value(json_object_get(i, "public_ipaddr")));
	direct = strtoll(
		json_string_value(json_object_get(
			json_array_get(json_object_get(json_object_get(i, "ports"), "22/tcp"), 0),
			"HostPort")),
		NULL, 10);
	assert_int_equal(FV_SSH_OK,
			 fakevast_login(fake, now, host, proxy, KEY_LINE, &whose, host_key));
	assert_int_equal(FV_SSH_OK,
			 fakevast_login(fake, now, ip, direct, KEY_LINE, &whose, host_key));
	assert_int_equal(FV_SSH_DENIED, fakevast_login(fake, now, host, proxy, "ssh-ed25519 AAAA",
						       &whose, host_key));
	assert_int_equal(FV_SSH_REFUSED,
			 fakevast_login(fake, now, host, proxy + 1, KEY_LINE, &whose, host_key));
	assert_true(fakevast_event(fake, now, id, FVE_VANISH));
	assert_int_equal(FV_SSH_REFUSED,
			 fakevast_login(fake, now, host, proxy, KEY_LINE, &whose, host_key));
}

static void test_destroyed(void **state)
{
	int64_t id;

	(void)state;
	begin(NULL);
	id = create("one");
	now = MINUTE_US;
	assert_int_equal(200, call("DELETE", "/", id, NULL));
	assert_string_equal("exited", status_of(id)); /* "unloaded", for two seconds */
	now += 2 * SECOND_US;
	assert_string_equal("gone", status_of(id));
	assert_int_equal(404, call("DELETE", "/", id, NULL));
	assert_int_equal(404, call("DELETE", "/", id, NULL));
	assert_int_equal(200, call("DELETE", "/", id, NULL));
	assert_string_equal("no_such_instance", text_at("error"));
	assert_int_equal(400, ask("DELETE", "/api/v0/instances/x/", NULL));
	assert_string_equal("invalid_args", text_at("error"));
}

/* ---- faults of effects ---- */

static void test_lost_and_late(void **state)
{
	(void)state;
	begin(NULL);
	fakevast_fault(fake, FV_CREATE, FVF_LOST, 0, 1, 0);
	fakevast_fault(fake, FV_CREATE, FVF_DROP, 0, 1, 0);
	fakevast_fault(fake, FV_CREATE, FVF_LATE_DROP, 30 * SECOND_US, 1, 0);
	fakevast_fault(fake, FV_CREATE, FVF_NO_ID, 0, 1, 0);
	fakevast_fault(fake, FV_CREATE, FVF_CONTRADICT, 0, 1, 0);
	create_with(an_offer(), CREATE("lost") "}");
	assert_int_equal(FAKE_DROP, reply.delivery);
	assert_int_equal(1, meter().created);
	create_with(an_offer(), CREATE("dropped") "}");
	assert_int_equal(FAKE_DROP, reply.delivery);
	assert_int_equal(1, meter().created);
	create_with(an_offer(), CREATE("late") "}");
	assert_int_equal(FAKE_DROP, reply.delivery);
	now += 30 * SECOND_US - 1;
	assert_int_equal(1, meter().created);
	now++;
	assert_int_equal(2, meter().created);
	assert_string_equal("late", view(1).label);
	assert_int_equal(200, create_with(an_offer(), CREATE("no id") "}"));
	assert_null(json_object_get(answer, "new_contract"));
	assert_int_equal(3, meter().created);
	assert_int_equal(200, create_with(an_offer(), CREATE("contradiction") "}"));
	assert_true(json_is_false(json_object_get(answer, "success")));
	assert_true(json_integer_value(json_object_get(answer, "new_contract")) > 0);
	assert_int_equal(4, meter().alive_ours);
}

static void test_deletes_that_lie(void **state)
{
	int64_t id;

	(void)state;
	begin(NULL);
	id = create("one");
	now = MINUTE_US;
	fakevast_fault(fake, FV_DESTROY, FVF_IGNORED, 0, 1, 0);
	fakevast_fault(fake, FV_DESTROY, FVF_LINGER, 10 * SECOND_US, 1, 0);
	assert_int_equal(200, call("DELETE", "/", id, NULL));
	now += MINUTE_US;
	assert_string_equal("running", status_of(id));
	assert_int_equal(200, call("DELETE", "/", id, NULL));
	now += 10 * SECOND_US - 1;
	assert_string_equal("running", status_of(id));
	assert_true(view(0).deleted && view(0).rate_u6 > 0);
	now++;
	assert_string_equal("gone", status_of(id));
	id = create("two");
	now += MINUTE_US;
	fakevast_fault(fake, FV_DESTROY, FVF_RESURRECT, 20 * SECOND_US, 1, 0);
	assert_int_equal(200, call("DELETE", "/", id, NULL));
	now += 10 * SECOND_US;
	assert_string_equal("gone", status_of(id));
	now += 12 * SECOND_US;
	assert_string_equal("running", status_of(id));
	assert_int_equal(1, meter().alive);
	assert_int_equal(200, call("DELETE", "/", id, NULL));
	now += 10 * SECOND_US;
	assert_int_equal(0, meter().alive);
}

static void test_lives(void **state)
{
	static const struct {
		enum fakevast_fault_kind kind;
		int64_t param;
		const char *after[4]; /* at 10 s, 35 s, 65 s, 200 s */
	} table[] = {
		{FVF_NONE, 0, {"loading", "running", "running", "running"}},
		{FVI_STUCK, 0, {"loading", "loading", "loading", "loading"}},
		{FVI_MANIFEST, 0, {"loading", "loading", "loading", "loading"}},
		{FVI_ABANDONED, 0, {"created", "created", "created", "created"}},
		{FVI_RACE, 0, {"loading", "loading", "loading", "loading"}},
		{FVI_EXITED, 0, {"loading", "running", "exited", "exited"}},
		{FVI_VANISH, 0, {"loading", "running", "gone", "gone"}},
		{FVI_VANISH_BOOT, 0, {"gone", "gone", "gone", "gone"}},
		{FVI_OFFLINE, 0, {"loading", "offline", "offline", "running"}},
		{FVI_UNHEARD, 0, {"loading", "unknown", "unknown", "running"}},
		{FVI_OUTBID, 0, {"loading", "running", "exited", "exited"}},
		{FVI_FROZEN, 0, {"loading", "running", "frozen", "frozen"}},
		{FVI_SLOW_BOOT, 100 * SECOND_US, {"loading", "loading", "loading", "running"}},
	};
	static const int64_t at[] = {10, 35, 65, 200};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		int64_t id;

		begin(NULL);
		if (table[i].kind)
			fakevast_fault(fake, FV_BOOT, table[i].kind, table[i].param, 1, 0);
		id = create("one");
		for (size_t k = 0; k < ARRAY_LEN(at); k++) {
			now = at[k] * SECOND_US;
			assert_string_equal(table[i].after[k], status_of(id));
		}
		end(state);
	}
}

static void test_price_surprise(void **state)
{
	(void)state;
	begin(NULL);
	fakevast_fault(fake, FV_BOOT, FVI_PRICE, 2000, 1, 0);
	create("dear");
	create("fair");
	now = MINUTE_US;
	assert_true(view(0).price_u6 > view(1).price_u6);
}

/* ---- faults of answers ---- */

static void test_bodies(void **state)
{
	static const struct {
		enum fakevast_fault_kind kind;
		bool json; /* a plain parser still reads it */
	} table[] = {{FVF_TYPE, true},	    {FVF_CHUNKED, true},  {FVF_EMPTY, false},
		     {FVF_NOT_JSON, false}, {FVF_DEEP, false},	  {FVF_UTF8, false},
		     {FVF_NUL, false},	    {FVF_EXTRA, false},	  {FVF_DUPLICATE, true},
		     {FVF_TYPES, true},	    {FVF_DONE_502, false}};

	(void)state;
	begin(NULL);
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		assert_int_equal(0, fakevast_fault(fake, FV_ACCOUNT, table[i].kind, 0, 1, 0));
		ask("GET", "/api/v0/users/current/", NULL);
		print_message("%s\n", fakevast_fault_name(table[i].kind));
		assert_int_equal(table[i].json, answer != NULL);
		if (table[i].kind == FVF_DUPLICATE) /* the last one counts, and is the truth */
			assert_true(near(100.0, real(answer, "credit")));
	}
	fakevast_fault(fake, FV_ACCOUNT, FVF_HUGE, 1 << 20, 1, 0);
	ask("GET", "/api/v0/users/current/", NULL);
	assert_true(reply.body.len > 1 << 20 && answer);
	fakevast_fault(fake, FV_ACCOUNT, FVF_TRUNCATE, 0, 1, 0);
	ask("GET", "/api/v0/users/current/", NULL);
	assert_int_equal(FAKE_TRUNCATE, reply.delivery);
	assert_true(reply.cut_at > 0 && reply.cut_at < reply.body.len);
}

static void test_fits(void **state)
{
	(void)state;
	begin(NULL);
	assert_int_equal(-EINVAL, fakevast_fault(fake, FV_SEARCH, FVF_LINGER, 0, 1, 0));
	assert_int_equal(-EINVAL, fakevast_fault(fake, FV_BOOT, FVF_LOST, 0, 1, 0));
	/* Every kind has a name and an operation, and every call survives every fault of its own. */
	for (unsigned k = FVF_NONE + 1; k < FVF_COUNT; k++) {
		bool any = false;

		assert_non_null(fakevast_fault_name(k));
		for (unsigned op = 0; op < FV_OP_COUNT; op++)
			any = any || fakevast_fault_fits(op, k);
		assert_true(any);
	}
}

/* ---- what is not ours, determinism, control ---- */

static void test_foreign(void **state)
{
	int64_t id;

	(void)state;
	begin(NULL);
	id = fakevast_add_foreign(fake, now, "theirs");
	assert_string_equal("running", status_of(id));
	assert_int_equal(1, listed());
	assert_int_equal(0, fakevast_violation_count(fake));
	call("DELETE", "/", id, NULL);
	assert_int_equal(1, broken("foreign"));
	assert_int_equal(0, meter().created);
	assert_int_equal(0, meter().billed_u6);
}

/* The bytes of many calls under all kinds of chance. */
static uint64_t trace(uint64_t seed)
{
	struct fakevast_config c;
	uint64_t sum = seed, dice = seed;
	char label[40], body[300];

	fakevast_defaults(&c);
	c.seed = seed;
	c.spacing_permille = 100;
	now = 0;
	fake = fakevast_new(&c);
	for (unsigned op = 0; op < FV_OP_COUNT; op++)
		for (unsigned k = 1; k < FVF_COUNT; k++)
			if (k != FVF_HUGE && fakevast_fault_fits(op, k))
				fakevast_fault(fake, op, k, 0, 0, 10000);
	for (int i = 0; i < 400; i++) {
		dice = dice * 6364136223846793005u + 1442695040888963407u;
		now += (int64_t)(dice >> 44);
		switch (dice >> 33 & 7) {
		case 0:
			snprintf(label, sizeof(label), "l%d", i);
			snprintf(body, sizeof(body), CREATE("%s") "}", label);
			ask("POST", "/api/v0/bundles/", "{\"limit\":1}");
			create_with(json_integer_value(json_object_get(
					    json_array_get(json_object_get(answer, "offers"), 0),
					    "id")),
				    body);
			break;
		case 1:
		case 2:
			ask("GET", "/api/v1/instances/", NULL);
			break;
		case 3:
			if (fakevast_count(fake))
				call("DELETE", "/", view(dice % fakevast_count(fake)).id, "{}");
			break;
		default:
			if (fakevast_count(fake))
				call("GET", "/", view(dice % fakevast_count(fake)).id, NULL);
			break;
		}
		sum = hash64(reply.body.data ? reply.body.data : "", reply.body.len, sum);
		sum += (uint64_t)reply.status + (uint64_t)reply.delivery;
	}
	end(NULL);
	return sum;
}

static void test_same_seed_same_bytes(void **state)
{
	(void)state;
	assert_int_equal(trace(7), trace(7));
	assert_int_not_equal(trace(7), trace(8));
	begin(NULL);
}

static void test_control(void **state)
{
	static const struct {
		const char *line;
		int result;
	} table[] = {{"help", 0},
		     {"meter", 0},
		     {"instances all", 0},
		     {"journal create", 0},
		     {"violations", 0},
		     {"fault create lost", 0},
		     {"fault create late:20s 3", 0},
		     {"fault list partial:2 50%", 0},
		     {"fault boot price:2000 always", 0},
		     {"faults", 0},
		     {"no-faults", 0},
		     {"set boot_s 0.2", 0},
		     {"offers 30", 0},
		     {"offers", 0},
		     {"credit 10", 0},
		     {"foreign x", 0},
		     {"forget", 0},
		     {"next", 0},
		     {"reset", 0},
		     {"vanish 5", -EINVAL},
		     {"calm", 0},
		     {"", -EINVAL},
		     {"nonsense", -EINVAL},
		     {"fault create", -EINVAL},
		     {"fault create linger", -EINVAL},
		     {"fault create lost 0", -EINVAL},
		     {"set boot_s x", -EINVAL},
		     {"set nothing 1", -EINVAL},
		     {"event vanish 5", -EINVAL},
		     {"event explode 5", -EINVAL}};

	(void)state;
	begin(NULL);
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		BUF out = {.data = NULL};

		assert_int_equal(table[i].result, fakevast_control(fake, now, table[i].line, &out));
		if (table[i].result)
			assert_non_null(strstr(out.data, "error: "));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_life_and_meter, end),
		cmocka_unit_test_teardown(test_offline_is_free, end),
		cmocka_unit_test_teardown(test_credit_runs_out, end),
		cmocka_unit_test_teardown(test_keys, end),
		cmocka_unit_test_teardown(test_login, end),
		cmocka_unit_test_teardown(test_destroyed, end),
		cmocka_unit_test_teardown(test_lost_and_late, end),
		cmocka_unit_test_teardown(test_deletes_that_lie, end),
		cmocka_unit_test_teardown(test_lives, end),
		cmocka_unit_test_teardown(test_price_surprise, end),
		cmocka_unit_test_teardown(test_bodies, end),
		cmocka_unit_test_teardown(test_fits, end),
		cmocka_unit_test_teardown(test_foreign, end),
		cmocka_unit_test_teardown(test_same_seed_same_bytes, end),
		cmocka_unit_test_teardown(test_control, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
