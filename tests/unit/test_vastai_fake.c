/*
 * The dialect vastai against the strict fake: what it asks is documented and nothing else, and under every
 * fault, one at a time and by chance, its verdict never says more than what is true. That is what keeps
 * machines from being bought twice or thought gone.
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

#include "../../providers/providers.h"
#include "../../src/core/check.h"
#include "../../src/core/wire.h"
#include "../fake/vastai_fake.h"

#define KEY_LINE \
	"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl me"

static struct provider *vast;
static struct fakevast *fake;
static int64_t now;
static struct wire_result got;
static bool arrived; /* a whole reply came: there was something to parse */
static char offer_id[64];

static void begin(uint64_t seed)
{
	static const struct account account = {.base_url = "https://console.vast.ai",
					       .key = FAKEVAST_KEY,
					       .image = "ubuntu:22.04"};
	struct fakevast_config c;

	fakevast_calm(&c);
	c.seed = seed;
	c.spacing_permille = 0;
	c.burst_max = 0;
	c.offers = 40;
	now = 0;
	vast = provider_vastai_new(&account);
	fake = fakevast_new(&c);
	wire_result_init(&got);
}

static int end(void **state)
{
	(void)state;
	wire_result_free(&got);
	wire_result_init(&got);
	fakevast_free(fake);
	provider_vastai_free(vast);
	fake = NULL;
	vast = NULL;
	return 0;
}

/* What was asked, for the parser. */
static struct wire_ask ask_of(const struct call *call, const char *cursor)
{
	struct wire_ask ask = {.op = call->op};

	if (call->page)
		ask.page = *call->page;
	COPY(ask.instance_id, call->instance_id ? call->instance_id : "");
	COPY(ask.cursor, cursor ? cursor : "");
	return ask;
}

static void act(const struct call *call, const char *cursor)
{
	struct wire_request q = {.endpoint = 0};
	struct fake_http_reply reply = {.status = 0};
	struct wire_ask ask = ask_of(call, cursor);
	struct error why = {.code = 0};

	assert_int_equal(0, vast->dialect->build(vast, call, cursor, &q, &why));
	fakevast_request(
		fake, now,
		&(struct fake_http_request){.method = http_method_names[q.method],
					    .target = q.path.data,
					    .auth = "Bearer " FAKEVAST_KEY,
					    .content_type = q.body.len ? "application/json" : NULL,
					    .body = q.body.len ? q.body.data : NULL,
					    .len = q.body.len},
		&reply);
	buf_free(&q.path);
	buf_free(&q.body);
	wire_result_free(&got);
	wire_result_init(&got);
	arrived = reply.delivery == FAKE_WHOLE || reply.delivery == FAKE_CHUNKED ||
		  reply.delivery == FAKE_DRIP;
	if (arrived)
		vast->dialect->parse(
			&ask,
			&(struct wire_reply){.status = reply.status,
					     .content_type = reply.content_type,
					     .body = reply.body.data ? reply.body.data : "",
					     .len = reply.body.len},
			&got);
	fake_http_reply_free(&reply);
}

static void search(bool interruptible)
{
	struct page_ask page = {.limit = 64, .shape.disk_gb = 40, .interruptible = interruptible};

	act(&(struct call){.op = CALL_OFFERS, .page = &page}, "");
}

static void create(const char *label)
{
	struct offer o = {.price_u6 = 1000000, .gpu_count = 1};
	static const int64_t ports[] = {8000};
	struct spec_env env[] = {{.name = "MODEL_ID", .value = "x"}};
	struct create_args a = {.label = label,
				.offer = &o,
				.env = env,
				.env_count = 1,
				.shape = {.disk_gb = 40},
				.image = "ubuntu:22.04",
				.on_start = "touch /root/ready",
				.ports = ports,
				.port_count = 1,
				.bid_u6 = UNKNOWN};

	COPY(o.provider, "vastai");
	COPY(o.provider_id, offer_id);
	snprintf(o.id, sizeof(o.id), "vastai-%s", offer_id);
	act(&(struct call){.op = CALL_CREATE, .create = &a}, "");
}

static void about(enum call_op op, const char *id)
{
	act(&(struct call){.op = op, .instance_id = id, .public_key = KEY_LINE}, "");
}

static struct fakevast_meter meter(void)
{
	struct fakevast_meter m;

	fakevast_meter(fake, now, &m);
	return m;
}

#define complain(...)                                   \
	do {                                            \
		print_error(__VA_ARGS__);               \
		print_error("\n");                      \
		assert_true(false); /* as said above */ \
	} while (0)

static void no_violation(void)
{
	if (fakevast_violation_count(fake))
		complain("%s: %s", fakevast_violation(fake, 0)->rule,
			 fakevast_violation(fake, 0)->text);
}

static void take_offer(void)
{
	search(false);
	assert_int_equal(SURE_YES, got.r.verdict);
	assert_true(got.r.count > 0);
	COPY(offer_id, got.r.offers[0].provider_id);
}

/* ---- a life without faults ---- */

static void test_a_life(void **state)
{
	char id[96];

	(void)state;
	begin(1);
	search(true);
	assert_true(got.r.count > 0 && got.r.offers[0].interruptible);
	take_offer();
	create("gpufs-x-1");
	assert_int_equal(SURE_YES, got.r.verdict);
	COPY(id, got.r.instances[0].id);
	about(CALL_LOOK, id);
	assert_int_equal(INST_BOOTING, got.r.instances[0].status);
	assert_int_equal(0, got.r.instances[0].ssh_port);
	about(CALL_ATTACH, id);
	assert_int_equal(SURE_YES, got.r.verdict);
	now = MINUTE_US;
	about(CALL_LOOK, id);
	assert_int_equal(INST_RUNNING, got.r.instances[0].status);
	assert_string_equal("gpufs-x-1", got.r.instances[0].label);
	assert_true(got.r.instances[0].ssh_port > 0);
	assert_int_equal(2, got.r.instances[0].port_count); /* 22, and the one asked for */
	/* The same to a micro-dollar or two: the page tells prices as floats. */
	assert_in_range(got.r.instances[0].rate_u6, meter().rate_u6 - 2, meter().rate_u6 + 2);
	act(&(struct call){.op = CALL_LIST}, "");
	assert_int_equal(1, got.r.count);
	assert_int_equal(1, got.total);
	act(&(struct call){.op = CALL_ACCOUNT}, "");
	assert_true(got.r.balance_u6 > 99000000 && got.r.balance_u6 <= 100000000);
	act(&(struct call){.op = CALL_TEMPLATES}, "");
	assert_true(got.r.count > 0);
	about(CALL_DESTROY, id);
	assert_int_equal(SURE_YES, got.r.verdict);
	now += MINUTE_US;
	for (int i = 0; i < 8; i++) { /* each way of saying it */
		about(CALL_LOOK, id);
		assert_int_equal(SURE_NO, got.r.verdict);
		assert_int_equal(PE_GONE, got.r.error);
		about(CALL_DESTROY, id);
		assert_int_equal(SURE_YES, got.r.verdict);
		assert_int_equal(PE_GONE, got.r.error);
	}
	assert_int_equal(0, meter().alive);
	no_violation();
}

/* Every page of a long list, by the cursors. */
static void test_pages(void **state)
{
	char cursor[512] = "";
	size_t rows = 0;

	(void)state;
	begin(1);
	for (int i = 0; i < 60; i++)
		fakevast_add_foreign(fake, now, i % 2 ? "theirs" : NULL);
	do {
		act(&(struct call){.op = CALL_LIST}, cursor);
		assert_int_equal(SURE_YES, got.r.verdict);
		assert_int_equal(60, got.total);
		rows += got.r.count;
		COPY(cursor, got.next);
	} while (cursor[0] && rows < 1000);
	assert_int_equal(60, rows);
	no_violation();
}

/* ---- every fault ---- */

/* A fault that tells of another account, or that lies about an effect in a well-formed answer: no parser
 * can know. The engine's proofs are made for them. */
static bool lies(enum fakevast_fault_kind k)
{
	return k == FVF_OTHER || k == FVF_GONE || k == FVF_LINGER || k == FVF_IGNORED ||
	       k == FVF_RESURRECT || k == FVF_TYPES;
}

/* The last instance that was made. */
static void check_made(const char *name, int64_t made)
{
	struct fakevast_view v;
	char id[32];

	if (made != 1 || got.r.count != 1)
		complain("create under %s: sure yes, and %lld made", name, (long long)made);
	fakevast_view(fake, now, fakevast_count(fake) - 1, &v);
	snprintf(id, sizeof(id), "%lld", (long long)v.id);
	assert_string_equal(id, got.r.instances[0].id);
}

static void check_create(enum fakevast_fault_kind kind, int64_t made)
{
	const char *name = fakevast_fault_name(kind);

	if (!arrived)
		return;
	if (got.r.verdict == SURE_YES)
		check_made(name, made);
	else if (got.r.verdict != UNSURE && (made || kind == FVF_LATE))
		complain("create under %s: %s, though something may exist", name,
			 verdict_names[got.r.verdict]);
}

static void test_create_under_every_fault(void **state)
{
	(void)state;
	for (unsigned k = FVF_NONE; k < FVF_COUNT; k++) {
		if (k && !fakevast_fault_fits(FV_CREATE, k))
			continue;
		for (int repeat = 0; repeat < 6; repeat++) { /* forms in rotation */
			int64_t before;

			begin(k * 10 + (unsigned)repeat);
			take_offer();
			before = meter().created;
			if (k)
				fakevast_fault(fake, FV_CREATE, k, k == FVF_HUGE ? 1 << 20 : 0, 6,
					       0);
			for (int i = 0; i < repeat; i++) {
				take_offer();
				create("gpufs-warm");
				before = meter().created;
			}
			take_offer();
			before = meter().created;
			create("gpufs-x-1");
			check_create(k, meter().created - before);
			end(state);
		}
	}
	begin(1);
}

static void check_destroy(enum fakevast_fault_kind kind)
{
	if (arrived && got.r.verdict == SURE_YES && !lies(kind) && meter().alive)
		complain("destroy under %s: sure yes, and it lives", fakevast_fault_name(kind));
	if (arrived && got.r.error == PE_GONE && !lies(kind))
		complain("destroy under %s: gone, before anything was done",
			 fakevast_fault_name(kind));
}

static void check_look(enum fakevast_fault_kind kind)
{
	if (arrived && got.r.error == PE_GONE && !lies(kind))
		complain("look under %s: gone, and it lives", fakevast_fault_name(kind));
	if (arrived && got.r.verdict == SURE_YES && !lies(kind) &&
	    got.r.instances[0].status != INST_RUNNING)
		complain("look under %s: %s, and it runs", fakevast_fault_name(kind),
			 instance_status_names[got.r.instances[0].status]);
}

/* A list that is not the whole truth must not pass for "none", but where it says so itself. */
static void check_list(enum fakevast_fault_kind kind)
{
	bool says_none = kind == FVF_EMPTY_LIST || kind == FVF_OUTDATED;

	if (arrived && got.r.verdict == SURE_YES && !lies(kind) && !says_none && !got.r.count &&
	    got.total == 0)
		complain("list under %s: complete and empty", fakevast_fault_name(kind));
}

static void test_calls_under_every_fault(void **state)
{
	static const struct {
		enum call_op op;
		enum fakevast_op fault;
		void (*check)(enum fakevast_fault_kind kind);
	} table[] = {{CALL_DESTROY, FV_DESTROY, check_destroy},
		     {CALL_LOOK, FV_GET, check_look},
		     {CALL_LIST, FV_LIST, check_list}};
	char id[96];

	(void)state;
	for (size_t t = 0; t < ARRAY_LEN(table); t++) {
		for (unsigned k = FVF_NONE + 1; k < FVF_COUNT; k++) {
			if (!fakevast_fault_fits(table[t].fault, k))
				continue;
			begin(k);
			take_offer();
			create("gpufs-x-1");
			COPY(id, got.r.instances[0].id);
			now = MINUTE_US;
			fakevast_fault(fake, table[t].fault, k, k == FVF_HUGE ? 1 << 20 : 0, 1, 0);
			if (table[t].op == CALL_LIST)
				act(&(struct call){.op = CALL_LIST}, "");
			else
				about(table[t].op, id);
			table[t].check(k);
			if (arrived && (k == FVF_AUTH || k == FVF_EXPIRED))
				assert_int_equal(KEY_DEAD, got.r.verdict);
			no_violation();
			end(state);
		}
	}
	begin(1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_a_life, end),
		cmocka_unit_test_teardown(test_pages, end),
		cmocka_unit_test_teardown(test_create_under_every_fault, end),
		cmocka_unit_test_teardown(test_calls_under_every_fault, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
