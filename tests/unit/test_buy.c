/*
 * Which offer a spec takes, at what price, and every way in which it is refused: the engine in the
 * virtual world with a market that each test writes. What plan shows is what commit records, and what
 * cannot be had is refused with its sentence, while the spec is written where that is known already.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../src/engine/internal.h"
#include "fake_world.h"

#include <cmocka.h>

static struct fake f;
static struct offer shop[8]; /* what the provider offers now */
static size_t shop_count;
static struct result shop_answer;
static void (*other_calls)(struct provider *p, struct world *w, const struct call *call,
			   result_cb cb, void *arg);

struct asked {
	result_cb cb;
	void *arg;
};

static void answer_offers(struct fake *world, void *arg)
{
	struct asked *a = arg;
	struct result res = shop_answer;

	(void)world;
	if (res.verdict == SURE_YES) {
		res.offers = shop;
		res.count = shop_count;
		res.complete = true;
	}
	a->cb(a->arg, &res);
	free(a);
}

static void act(struct provider *p, struct world *w, const struct call *call, result_cb cb,
		void *arg)
{
	struct asked *a;

	/* A key that is refused, or a network that is gone, is so for every call. */
	if (call->op != CALL_OFFERS && shop_answer.verdict == SURE_YES) {
		other_calls(p, w, call, cb, arg);
		return;
	}
	a = malloc(sizeof(*a));
	assert_non_null(a);
	*a = (struct asked){cb, arg};
	fake_later(&f, 1000, answer_offers, free, a);
}

/* An offer with a disk of 50 GB in its price; each GB more costs rate_u9 10^-9 USD an hour. */
static struct offer *put_offer(const char *id, int64_t price_u6, int64_t rate_u9)
{
	struct offer *o = &shop[shop_count++];

	assert_true(shop_count <= ARRAY_LEN(shop));
	*o = (struct offer){.price_u6 = price_u6,
			    .gpu_count = 1,
			    .vram_gb = 24,
			    .disk = {50, rate_u9, 500},
			    .ports_max = UNKNOWN,
			    .min_bid_u6 = UNKNOWN,
			    .max_duration_hours = UNKNOWN,
			    .cuda_m = UNKNOWN,
			    .reliability_m = 1000,
			    .confidence_m = 1000,
			    .available = true};
	COPY(o->id, id);
	COPY(o->provider, "fake");
	COPY(o->gpu_type, "RTX 4090");
	return o;
}

static void put_bid(const char *id, int64_t price_u6, int64_t min_bid_u6)
{
	struct offer *o = put_offer(id, price_u6, 1000000);

	o->interruptible = true;
	o->min_bid_u6 = min_bid_u6;
}

static int begin(void **state)
{
	(void)state;
	fake_init(&f);
	other_calls = f.provider.act;
	f.provider.act = act;
	f.provider.can = WANT_ALL;
	f.p.default_disk_gb = 50;
	f.p.price_tolerance_pct = 5;
	shop_count = 0;
	shop_answer = (struct result){.verdict = SURE_YES};
	return 0;
}

static int end(void **state)
{
	(void)state;
	assert_int_equal(f.double_creates, 0);
	fake_free(&f);
	return 0;
}

static void expect_part(const char *text, const char *part)
{
	if (!strstr(text, part))
		fail_msg("'%s' is not in '%s'", part, text);
}

static void plan_has(const char *name, const char *part)
{
	BUF out = {0};

	engine_plan(f.e, fake_get(&f, name), &alice, &out);
	expect_part(out.data, part);
}

/* A fresh draft whose spec does not buy by itself: it has no hours. */
static void draft(const char *name, const char *spec)
{
	assert_int_equal(fake_mkdir(&f, name), 0);
	assert_int_equal(fake_spec(&f, name, spec), 0);
	assert_int_equal(fake_get(&f, name)->state, S_DRAFT);
}

/* The write itself is refused. */
static void refuse_write(const char *spec, int err, const char *part)
{
	struct error why = {0};
	enum spec_end finished;
	bool commit;

	assert_int_equal(fake_mkdir(&f, "w"), 0);
	assert_int_equal(engine_spec_set(f.e, &alice, fake_get(&f, "w"), spec, strlen(spec),
					 &finished, &commit, &why),
			 err);
	expect_part(why.text, part);
	assert_int_equal(fake_rmdir(&f, "w"), 0);
}

/* The write is accepted, a commit is refused, and plan says the same. */
static void refuse_commit(const char *spec, int err, const char *part)
{
	struct error why = {0};
	enum spec_end finished;
	unsigned creates = f.creates;
	bool commit;
	BUF text = {0};

	assert_int_equal(fake_mkdir(&f, "c"), 0);
	if (engine_spec_set(f.e, &alice, fake_get(&f, "c"), spec, strlen(spec), &finished, &commit,
			    &why))
		fail_msg("%s: %s", spec, why.text);
	if (fake_ctl(&f, "c", "commit") != err)
		fail_msg("%s: %d %s", spec, f.last_err, f.last_why.text);
	expect_part(f.last_why.text, part);
	buf_printf(&text, "refused %s\nwhy %s", errno_name(-err), f.last_why.text);
	plan_has("c", text.data);
	assert_int_equal(fake_get(&f, "c")->state, S_DRAFT);
	assert_int_equal(f.creates, creates);
	assert_int_equal(fake_rmdir(&f, "c"), 0);
}

static void bought(const char *name, const char *offer, int64_t price_u6, int64_t disk_gb,
		   int64_t cap_u6)
{
	const struct session *s = fake_get(&f, name);

	assert_int_not_equal(s->state, S_DRAFT);
	assert_string_equal(s->offer_id, offer);
	assert_int_equal(s->price_u6, price_u6);
	assert_int_equal(s->price_quoted_u6, price_u6);
	assert_int_equal(s->disk_gb, disk_gb);
	assert_int_equal(s->cap_u6, cap_u6);
}

static void buy(const char *name, const char *spec)
{
	assert_int_equal(fake_mkdir(&f, name), 0);
	if (fake_spec(&f, name, spec))
		fail_msg("%s: %s", spec, f.last_why.text);
}

/* ---- the disk ---- */

static void the_price_is_that_of_the_disk(void **state)
{
	(void)state;
	put_offer("fake-a", 500000, 1000000); /* 0.001 USD per GB and hour */
	fake_start(&f);
	draft("p", "offer=fake-a disk_gb=150\n");
	draft("q", "offer=fake-a\n");
	assert_int_equal(fake_spec(&f, "p", "offer=fake-a disk_gb=150 hours=2\n"), 0);
	bought("p", "fake-a", 600000, 150, 630000);
	assert_true(fake_until(&f, "p", S_RUNNING, MINUTE_US));
	assert_int_equal(fake_get(&f, "p")->disk_gb, 150);
	/* The list's own price is below the cap, that of the machine is not. */
	refuse_commit("offer=fake-a disk_gb=150 hours=2 max_price=0.55\n", -ENOSPC, "0.60 an hour");
	refuse_commit("gpu=RTX_4090 disk_gb=150 hours=2 max_price=0.55\n", -ENOSPC, "no offer");
	refuse_write("offer=fake-a disk_gb=501\n", -ERANGE, "at most 500 GB");
	refuse_commit("gpu=RTX_4090 disk_gb=501 hours=2 max_price=9\n", -ENOSPC, "at most 500 GB");
	buy("r", "offer=fake-a hours=2\n");
	bought("r", "fake-a", 500000, 50, 525000);
}

static void plan_shows_the_disk(void **state)
{
	(void)state;
	f.p.auto_commit = false;
	put_offer("fake-a", 500000, 1000000);
	fake_start(&f);
	draft("p", "offer=fake-a disk_gb=150 hours=2\n");
	plan_has("p",
		 "offer fake-a\nprovider fake\nprice_per_hour 0.60\ndisk_gb 150\nmax_price 0.63\n"
		 "hours 2\ncost_max 1.20\n");
}

static void a_providers_own_minimum_wins(void **state)
{
	static const struct dialect large = {.disk_min_gb = 100};

	(void)state;
	f.p.auto_commit = false;
	put_offer("fake-a", 500000, 1000000);
	fake_start(&f);
	f.provider.dialect = &large; /* its calls stay those of the fake */
	draft("p", "offer=fake-a disk_gb=10 hours=1\n");
	plan_has("p", "price_per_hour 0.55\ndisk_gb 100\n");
	draft("q", "offer=fake-a hours=1\n");
	plan_has("q", "price_per_hour 0.55\ndisk_gb 100\n");
	draft("r", "offer=fake-a disk_gb=101 hours=1\n");
	plan_has("r", "disk_gb 101\n");
	f.provider.dialect = NULL;
}

static void the_disk_can_be_demanded(void **state)
{
	(void)state;
	f.p.default_disk_gb = UNKNOWN; /* DEFAULT_DISK_GB=none */
	put_offer("fake-a", 500000, 1000000);
	fake_start(&f);
	refuse_commit("offer=fake-a hours=2\n", -EINVAL, "disk_gb");
	refuse_commit("gpu=RTX_4090 hours=2 max_price=1\n", -ENOSPC, "disk_gb");
	buy("p", "offer=fake-a hours=2 disk_gb=60\n");
	bought("p", "fake-a", 510000, 60, 535500);
}

static void the_cheapest_is_the_cheapest_machine(void **state)
{
	(void)state;
	put_offer("fake-a", 500000, 2000000); /* cheap, with a dear disk */
	put_offer("fake-c", 520000, 100000);
	put_offer("fake-b", 520000, 100000); /* ties go by id */
	put_offer("fake-d", 540000, 0);
	fake_start(&f);
	buy("small", "gpu=RTX_4090 max_price=1 hours=1\n");
	bought("small", "fake-a", 500000, 50, 1000000);
	buy("large", "gpu=RTX_4090 max_price=1 hours=1 disk_gb=150\n");
	bought("large", "fake-b", 530000, 150, 1000000);
	buy("huge", "gpu=RTX_4090 max_price=1 hours=1 disk_gb=500\n");
	bought("huge", "fake-d", 540000, 500, 1000000);
}

static void ports_need_a_host_that_has_them(void **state)
{
	(void)state;
	put_offer("fake-a", 500000, 0)->ports_max = 0; /* SSH by proxy only */
	put_offer("fake-b", 510000, 0)->ports_max = 2; /* and SSH takes one */
	put_offer("fake-c", 520000, 0)->ports_max = 3;
	put_offer("fake-d", 530000, 0);
	fake_start(&f);
	refuse_write("offer=fake-b ports=80,81\n", -ERANGE, "2 ports, SSH's own among them");
	buy("none", "gpu=RTX_4090 max_price=1 hours=1\n");
	bought("none", "fake-a", 500000, 50, 1000000);
	buy("two", "gpu=RTX_4090 max_price=1 hours=1 ports=80,81\n");
	bought("two", "fake-c", 520000, 50, 1000000);
	buy("three",
	    "gpu=RTX_4090 max_price=1 hours=1 ports=80,81,82\n"); /* where it is not said */
	bought("three", "fake-d", 530000, 50, 1000000);
}

/* ---- what a provider has not ---- */

static void what_cannot_be_had_is_refused(void **state)
{
	static const struct {
		const char *words, *part;
	} rows[] = {
		{"disk_gb=60", "disk_gb: the provider fake has no disks"},
		{"image=a/b:c", "image: the provider fake has no container images"},
		{"template=t", "template: the provider fake has no templates"},
		{"on_start='a b'", "on_start: the provider fake has no start scripts"},
		{"ports=80", "ports: the provider fake has no mapped ports"},
		{"interruptible=1", "interruptible: the provider fake has no market of bids"},
		{"bid=0.5", "interruptible: the provider fake has no market of bids"},
	};
	char spec[128];

	(void)state;
	f.provider.can = 0;
	put_offer("fake-a", 500000, 0);
	fake_start(&f);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		snprintf(spec, sizeof(spec), "offer=fake-a %s\n", rows[i].words);
		refuse_write(spec, -EINVAL, rows[i].part);
		if (strstr(rows[i].words, "bid") || strstr(rows[i].words, "interr"))
			continue;
		snprintf(spec, sizeof(spec), "gpu=RTX_4090 max_price=1 hours=1 %s\n",
			 rows[i].words);
		refuse_commit(spec, -ENOSPC, rows[i].part);
	}
	/* Without such a wish, and with the one way of starting there is, it is bought. */
	buy("p", "offer=fake-a hours=1 launch_mode=ssh\n");
	bought("p", "fake-a", 500000, UNKNOWN, 525000);
}

/* ---- bids ---- */

static void a_bid_and_its_offer_belong_together(void **state)
{
	(void)state;
	put_offer("fake-a", 500000, 1000000);
	put_bid("fake-a-bid", 210000, 200000); /* 0.20, and 0.01 for the disk */
	fake_start(&f);
	refuse_commit("offer=fake-a-bid hours=1\n", -EINVAL, "interruptible=1");
	refuse_commit("offer=fake-a-bid hours=1 interruptible=1\n", -EINVAL, "bid=USD");
	refuse_commit("offer=fake-a-bid hours=1 bid=0.3\n", -EINVAL, "interruptible=1");
	refuse_commit("offer=fake-a hours=1 bid=0.3\n", -EINVAL, "interruptible=1");
	refuse_write("offer=fake-a interruptible=1\n", -EINVAL, "is not a machine that is bid for");
	refuse_write("offer=fake-a-bid interruptible=1 bid=0.199999\n", -ERANGE, "from 0.20 on");
	/* What is missing may still be written: nothing is refused, and nothing is bought. */
	draft("p", "offer=fake-a-bid hours=1 interruptible=1\n");
	expect_part(fake_get(&f, "p")->reason, "bid=USD");
	/* The bid pays for the machine, and its disk comes on top. */
	assert_int_equal(fake_spec(&f, "p", "offer=fake-a-bid hours=1 interruptible=1 bid=0.25\n"),
			 0);
	bought("p", "fake-a-bid", 260000, 50, 260000);
	assert_int_equal(fake_get(&f, "p")->bid_u6, 250000);
	buy("q", "offer=fake-a-bid hours=1 interruptible=1 bid=0.20 disk_gb=150\n");
	bought("q", "fake-a-bid", 310000, 150, 310000);
	/* max_price is a hard cap on all of it. */
	refuse_commit("offer=fake-a-bid hours=1 interruptible=1 bid=0.25 max_price=0.255\n",
		      -ENOSPC, "0.26 an hour");
	buy("r", "offer=fake-a-bid hours=1 interruptible=1 bid=0.25 max_price=0.26\n");
	bought("r", "fake-a-bid", 260000, 50, 260000);
	buy("s", "offer=fake-a hours=1\n");
	assert_int_equal(fake_get(&f, "s")->bid_u6, UNKNOWN);
}

static void a_bid_selects_among_bids(void **state)
{
	(void)state;
	put_offer("fake-a", 100000, 0); /* cheaper, but on demand */
	put_bid("fake-b-bid", 210000, 200000);
	put_bid("fake-c-bid", 160000, 150000);
	fake_start(&f);
	buy("p", "gpu=RTX_4090 max_price=1 hours=1 interruptible=1 bid=0.25\n");
	bought("p", "fake-c-bid", 260000, 50, 1000000);
	refuse_commit("gpu=RTX_4090 max_price=1 hours=1 interruptible=1 bid=0.149\n", -ENOSPC,
		      "the lowest bid that one of them takes is 0.15");
	buy("q", "gpu=RTX_4090 max_price=1 hours=1\n");
	bought("q", "fake-a", 100000, 50, 1000000);
}

/* ---- the provider ---- */

static void a_refused_key_stops_purchases(void **state)
{
	(void)state;
	put_offer("fake-a", 500000, 0);
	fake_start(&f);
	buy("before", "offer=fake-a hours=2\n");
	assert_true(fake_until(&f, "before", S_RUNNING, MINUTE_US));
	shop_answer = (struct result){.verdict = KEY_DEAD, .error = PE_AUTH};
	COPY(shop_answer.text, "the key is not accepted");
	fake_run(&f, SECOND_US); /* answers that were under way */
	market_refresh(&f.e->sources[0]);
	fake_run(&f, SECOND_US);
	refuse_commit("offer=fake-a hours=2\n", -EKEYREJECTED, "the key is not accepted");
	refuse_commit("gpu=RTX_4090 max_price=1 hours=2\n", -EKEYREJECTED, "provider fake");
	refuse_commit("gpu=RTX_4090 max_price=1 hours=2 wait=5\n", -EKEYREJECTED, "provider fake");
	refuse_commit("gpu=RTX_4090 max_price=1 hours=2 provider=other\n", -ENOSPC, "no offer");
	assert_int_equal(fake_get(&f, "before")->state, S_RUNNING);
}

/* Wrong from the first day on: there never was a list. */
static void a_key_that_never_worked(void **state)
{
	(void)state;
	put_offer("fake-a", 500000, 0);
	shop_answer = (struct result){.verdict = KEY_DEAD, .error = PE_AUTH};
	fake_start(&f);
	refuse_write("offer=fake-a hours=2\n", -EKEYREJECTED, "refuses the key");
	refuse_write("offer=other-a hours=2\n", -ENOENT, "no such offer");
	refuse_commit("gpu=RTX_4090 max_price=1 hours=2\n", -EKEYREJECTED, "refuses the key");
}

static void no_credit_no_purchase(void **state)
{
	(void)state;
	put_offer("fake-a", 500000, 0);
	fake_start(&f);
	f.e->sources[0].balance_u6 = 0;
	refuse_commit("offer=fake-a hours=2\n", -EDQUOT, "no credit left");
	refuse_commit("gpu=RTX_4090 max_price=1 hours=2\n", -EDQUOT, "no credit left");
	f.e->sources[0].balance_u6 = -1500000;
	refuse_commit("offer=fake-a hours=2\n", -EDQUOT, "no credit left");
	f.e->sources[0].balance_u6 = UNKNOWN;
	buy("p", "offer=fake-a hours=2\n");
	bought("p", "fake-a", 500000, 50, 525000);
}

static void an_old_list_sells_nothing(void **state)
{
	(void)state;
	put_offer("fake-a", 500000, 0);
	fake_start(&f);
	shop_answer = (struct result){.verdict = LATER, .error = PE_UNAVAILABLE};
	COPY(shop_answer.text, "no route to host");
	fake_run(&f, 6 * MINUTE_US);
	assert_string_equal(f.e->sources[0].state, "down");
	buy("early", "offer=fake-a hours=2\n"); /* down, but known not long ago: the create waits */
	fake_run(&f, 10 * MINUTE_US);
	assert_non_null(inventory_find(f.e->inv, "fake-a")); /* stale, and visible */
	refuse_commit("offer=fake-a hours=2\n", -EHOSTUNREACH, "no route to host");
	refuse_commit("offer=fake-a hours=2 wait=9\n", -EHOSTUNREACH, "no route to host");
	refuse_commit("gpu=RTX_4090 max_price=1 hours=2\n", -EHOSTUNREACH, "no route to host");
	/* Whoever waits for a match waits for the provider too. */
	buy("patient", "gpu=RTX_4090 max_price=1 hours=2 wait=60\n");
	fake_run(&f, MINUTE_US);
	assert_int_equal(fake_get(&f, "patient")->state, S_PENDING);
	shop_answer = (struct result){.verdict = SURE_YES};
	put_offer("fake-b", 510000, 0);
	market_refresh(&f.e->sources[0]);
	assert_true(fake_until(&f, "patient", S_RUNNING, MINUTE_US));
	bought("patient", fake_get(&f, "patient")->offer_id, fake_get(&f, "patient")->price_u6, 50,
	       1000000);
}

static void switched_off_is_off_the_market(void **state)
{
	(void)state;
	put_offer("fake-a", 500000, 0);
	fake_start(&f);
	assert_non_null(inventory_find(f.e->inv, "fake-a"));
	engine_provider_enable(f.e, &root_user, 0, str_of("0"), fake_answered, &f);
	fake_run(&f, SECOND_US);
	assert_null(inventory_find(f.e->inv, "fake-a"));
	refuse_write("offer=fake-a hours=2\n", -EHOSTUNREACH, "switched off");
	refuse_commit("gpu=RTX_4090 max_price=1 hours=2\n", -ENOSPC, "no offer matches");
	engine_provider_enable(f.e, &root_user, 0, str_of("1"), fake_answered, &f);
	fake_run(&f, SECOND_US);
	buy("p", "offer=fake-a hours=2\n");
	bought("p", "fake-a", 500000, 50, 525000);
}

/* The first failure of a retry stays within scope for the machine that is wanted, not for the list's. */
static void a_retry_counts_the_disk(void **state)
{
	(void)state;
	put_offer("fake-a", 500000, 0);
	put_offer("fake-b", 510000, 2000000); /* with 150 GB 0.71: more than 1.2 times the first */
	put_offer("fake-c", 560000, 0);
	fake_start(&f);
	f.create_answer = ANSWER_STALE;
	f.create_effect = false;
	buy("p", "gpu=RTX_4090 max_price=1 hours=2 disk_gb=150 retries=2\n");
	bought("p", "fake-a", 500000, 150, 1000000);
	while (f.creates < 1 && fake_step(&f))
		;
	f.create_answer = ANSWER_OK;
	f.create_effect = true;
	assert_true(fake_until(&f, "p", S_RUNNING, 5 * MINUTE_US));
	assert_string_equal(fake_get(&f, "p")->offer_id, "fake-c");
	assert_int_equal(fake_get(&f, "p")->price_quoted_u6, 500000);
}

/* ---- the clock ---- */

static int64_t server_behind_us;

static void serve(struct fake *world, const struct http_args *args, struct fake_reply *reply)
{
	(void)args;
	reply->body = "{}";
	reply->date_us = world->now_us - server_behind_us;
}

static int plain_build(const struct provider *p, const struct call *call, const char *cursor,
		       struct wire_request *out, struct error *why)
{
	(void)p;
	(void)call;
	(void)cursor;
	(void)why;
	buf_puts(&out->path, "/x");
	return 0;
}

static void plain_parse(const struct wire_ask *ask, const struct wire_reply *reply,
			struct wire_result *out)
{
	(void)ask;
	(void)reply;
	wire_say(out, SURE_YES, PE_NONE, "fine");
	out->r.complete = true;
}

static bool clock_alarm(const char *part)
{
	BUF text = {0};

	engine_alarms(f.e, &text);
	return text.data && strstr(text.data, "\tclock\tfake\t") && strstr(text.data, part);
}

static void a_wrong_clock_is_an_alarm(void **state)
{
	static const struct endpoint endpoints[] = {{"all", 1000, 10, 0}};
	static const struct dialect plain = {.auth_prefix = "Authorization: ",
					     .endpoints = endpoints,
					     .endpoint_count = 1,
					     .account_spacing_us = 1000,
					     .account_burst = 10,
					     .page_rows = 64,
					     .pages_per_refresh = 1,
					     .build = plain_build,
					     .parse = plain_parse};

	(void)state;
	f.provider.act = NULL;
	f.provider.dialect = &plain;
	f.provider.account.key = "k";
	COPY(f.provider.account.base_url, "http://127.0.0.1:1");
	f.serve = serve;
	fake_start(&f);
	fake_run(&f, 10 * MINUTE_US);
	assert_false(clock_alarm(""));
	server_behind_us = 2 * MINUTE_US; /* or we are ahead */
	fake_run(&f, 30 * MINUTE_US);
	assert_true(clock_alarm("ahead of that of provider fake"));
	server_behind_us = 0;
	fake_run(&f, 30 * MINUTE_US);
	assert_false(clock_alarm(""));
	server_behind_us = -2 * MINUTE_US;
	fake_run(&f, 30 * MINUTE_US);
	assert_true(clock_alarm("behind that of provider fake"));
	server_behind_us = 0;
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, begin, end)
	const struct CMUnitTest tests[] = {
		T(the_price_is_that_of_the_disk),
		T(plan_shows_the_disk),
		T(a_providers_own_minimum_wins),
		T(the_disk_can_be_demanded),
		T(the_cheapest_is_the_cheapest_machine),
		T(ports_need_a_host_that_has_them),
		T(what_cannot_be_had_is_refused),
		T(a_bid_and_its_offer_belong_together),
		T(a_bid_selects_among_bids),
		T(a_refused_key_stops_purchases),
		T(a_key_that_never_worked),
		T(no_credit_no_purchase),
		T(an_old_list_sells_nothing),
		T(switched_off_is_off_the_market),
		T(a_retry_counts_the_disk),
		T(a_wrong_clock_is_an_alarm),
	};

	return cmocka_run_group_tests_name("buy", tests, NULL, NULL);
}
