/*
 * The contract of provider.h, once for every provider: each case runs against each of them, the clouds
 * through the HTTP engine against their strict fakes, `local` against a host in memory, all in virtual time.
 * What a case needs of a fake it says in the fakes' control language, which has the same words for the same
 * things. The table of providers and cases is printed at the end. A new provider is one row in `kinds`.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../providers/providers.h"
#include "../../src/core/check.h"
#include "../../src/engine/cloud.h"
#include "../fake/tensordock_fake.h"
#include "../fake/vastai_fake.h"
#include "fake_world.h"

#include <cmocka.h>
#include <jansson.h>
#undef fail

#define PUBLIC_KEY \
	"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8g us"

/* ---- providers ---- */

struct kind {
	const char *name;
	/* A cloud, and its fake. NULL: this machine. */
	struct provider *(*provider)(const struct account *account);
	const char *key, *image, *stale; /* stale: the fault of an offer that was taken */
	void *(*make)(void);
	void (*free)(void *fake);
	void (*request)(void *fake, int64_t now_us, const struct fake_http_request *q,
			struct fake_http_reply *out);
	int (*control)(void *fake, int64_t now_us, const char *line, struct buf *out);
	const char *balance_id;
};

static void *vastai_make(void)
{
	struct fakevast_config c;

	fakevast_calm(&c);
	return fakevast_new(&c);
}

static void vastai_free(void *fake)
{
	fakevast_free(fake);
}

static void vastai_request(void *fake, int64_t now_us, const struct fake_http_request *q,
			   struct fake_http_reply *out)
{
	fakevast_request(fake, now_us, q, out);
}

static int vastai_control(void *fake, int64_t now_us, const char *line, struct buf *out)
{
	return fakevast_control(fake, now_us, line, out);
}

static void *tensordock_make(void)
{
	struct faketd_config c;

	faketd_calm(&c);
	return faketd_new(&c);
}

static void tensordock_free(void *fake)
{
	faketd_free(fake);
}

static void tensordock_request(void *fake, int64_t now_us, const struct fake_http_request *q,
			       struct fake_http_reply *out)
{
	faketd_request(fake, now_us, q, out);
}

static int tensordock_control(void *fake, int64_t now_us, const char *line, struct buf *out)
{
	return faketd_control(fake, now_us, line, out);
}

static const struct kind kinds[] = {
	{.name = "local"},
	{"vastai", provider_vastai_new, FAKEVAST_KEY, "ubuntu:22.04", "stale-offer", vastai_make,
	 vastai_free, vastai_request, vastai_control},
	{"tensordock", provider_tensordock_new, FAKETD_KEY, "ubuntu2404", "nodes", tensordock_make,
	 tensordock_free, tensordock_request, tensordock_control, FAKETD_AUTH_ID},
};

/* ---- a provider on its stage ---- */

#define GUESTS 8
struct stage {
	struct fake f; /* first: the world's callbacks get it */
	const struct kind *kind;
	struct provider *p;
	struct cloud *c; /* NULL: native */
	void *fake;
	struct fake_http_reply reply;
	/* this machine */
	struct host_instance guests[GUESTS];
	size_t guest_count;
	/* the last answer, and what of it outlives the callback */
	int answers;
	struct result got;
	struct offer offer; /* the first */
	struct instance instances[32];
};

static void serve(struct fake *f, const struct http_args *args, struct fake_reply *r)
{
	struct stage *st = (struct stage *)f;
	const char *path = strchr(strstr(args->url, "://") + 3, '/');
	struct fake_http_request q = {.method = http_method_names[args->method],
				      .target = path,
				      .auth = args->auth ? strchr(args->auth, ' ') + 1 : NULL,
				      .content_type = !args->body ? NULL
						      : args->form
							      ? "application/x-www-form-urlencoded"
							      : "application/json",
				      .body = args->body,
				      .len = args->body_len};

	st->kind->request(st->fake, f->now_us, &q, &st->reply);
	r->delay_us = st->reply.delay_us;
	r->unsent = st->reply.delivery == FAKE_UNSENT;
	r->status = st->reply.delivery <= FAKE_DRIP ? st->reply.status : 0;
	r->body = st->reply.body.data;
	if (st->reply.retry_after_s)
		r->retry_after_us = st->reply.retry_after_s * SECOND_US;
}

/* This machine: what is started runs, until it is killed. */
static void host(void *self, const struct host_call *call, host_cb cb, void *arg)
{
	struct stage *st = self;
	struct host_result res = {.instances = st->guests, .count = st->guest_count};
	size_t at = 0;

	if (call->op == HOST_LIST || call->op == HOST_GPUS) {
		if (call->op == HOST_GPUS)
			res.count = 0;
		cb(arg, &res);
		return;
	}
	while (at < st->guest_count && strcmp(st->guests[at].label, call->label) != 0)
		at++;
	if (call->op == HOST_START && at == st->guest_count && at < GUESTS) {
		st->guests[at] = (struct host_instance){.alive = true, .listening = true};
		COPY(st->guests[at].label, call->label);
		st->guests[at].port = 2200 + (int64_t)at;
		st->guest_count++;
	}
	if (call->op == HOST_KILL && at < st->guest_count) {
		memmove(&st->guests[at], &st->guests[at + 1],
			(--st->guest_count - at) * sizeof st->guests[0]);
		at = st->guest_count;
	}
	res.instances = &st->guests[at];
	res.count = at < st->guest_count;
	res.err = !res.count && call->op == HOST_LOOK ? -ENOENT : 0;
	COPY(res.text, "no process is left");
	cb(arg, &res);
}

static struct stage *stage_new(const struct kind *k)
{
	struct account a = {.key = k->key};
	struct stage *st = xcalloc(1, sizeof *st);

	fake_init(&st->f);
	st->kind = k;
	if (!k->provider) {
		st->p = provider_local_new(100000, 4);
		st->f.w.host = host;
		return st;
	}
	snprintf(a.base_url, sizeof a.base_url, "https://%s.invalid", k->name);
	COPY(a.image, k->image);
	a.balance_id = k->balance_id;
	snprintf(a.balance_url, sizeof a.balance_url, "https://old.%s.invalid", k->name);
	st->p = k->provider(&a);
	st->fake = k->make();
	st->f.serve = serve;
	st->c = cloud_new(&st->f.w, st->p);
	return st;
}

static void stage_free(struct stage *st)
{
	cloud_free(st->c);
	fake_drop(&st->f);
	fake_http_reply_free(&st->reply);
	if (st->kind->provider) {
		st->kind->free(st->fake);
		free(st->p);
	} else {
		provider_local_free(st->p);
	}
	free(st);
}

/* A line to the fake; the answer's first line, without its newline. */
static const char *control(struct stage *st, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
static const char *control(struct stage *st, const char *fmt, ...)
{
	static char answer[4096];
	char line[256];
	BUF out = {0};
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof line, fmt, ap);
	va_end(ap);
	if (st->kind->control(st->fake, st->f.now_us, line, &out))
		print_error("%s: %s: %s\n", st->kind->name, line, out.data ? out.data : "");
	copy_text(answer, sizeof answer, out.data ? out.data : "");
	answer[strcspn(answer, "\n")] = '\0';
	assert_int_not_equal(strncmp(answer, "error", 5), 0);
	return answer;
}

/* A number of the fake's meter. */
static int64_t meter(struct stage *st, const char *name)
{
	json_t *o = json_loads(control(st, "meter"), 0, NULL);
	int64_t v;

	assert_non_null(o);
	v = json_integer_value(json_object_get(o, name));
	json_decref(o);
	return v;
}

static int64_t alive(struct stage *st)
{
	return st->fake ? meter(st, "ours") : (int64_t)st->guest_count;
}

/* ---- calls ---- */

static void answered(void *arg, const struct result *res)
{
	struct stage *st = arg;

	st->answers++;
	st->got = *res;
	if (res->offers && res->count)
		st->offer = res->offers[0];
	st->got.count = res->count < ARRAY_LEN(st->instances) ? res->count
							      : ARRAY_LEN(st->instances);
	if (res->instances)
		memcpy(st->instances, res->instances, st->got.count * sizeof st->instances[0]);
	st->got.offers = NULL;
	st->got.instances = NULL;
	st->got.templates = NULL;
}

/* Until it is answered, however long that takes. */
static void act(struct stage *st, const struct call *call)
{
	int before = st->answers;

	if (st->c)
		cloud_act(st->c, call, answered, st);
	else
		st->p->act(st->p, &st->f.w, call, answered, st);
	for (int i = 0; st->answers == before && i < 100000 && fake_step(&st->f); i++)
		;
	assert_int_equal(st->answers, before + 1);
}

static void search(struct stage *st)
{
	const struct shape wanted = {50, 8, 32};
	struct page_ask page = {.limit = 64, .shape = provider_shape(st->p, &wanted)};

	act(st, &(struct call){.op = CALL_OFFERS, .page = &page});
}

static void create(struct stage *st, const char *label)
{
	const struct shape wanted = {50, 8, 32};
	struct create_args a = {.label = label,
				.offer = &st->offer,
				.authorized_keys = PUBLIC_KEY "\n",
				.shape = provider_shape(st->p, &wanted),
				.image = st->kind->image,
				.bid_u6 = UNKNOWN,
				.reach = st->offer.reach & REACH_FORWARD};

	act(st, &(struct call){.op = CALL_CREATE, .create = &a});
}

static void list(struct stage *st)
{
	act(st, &(struct call){.op = CALL_LIST});
}

static void look(struct stage *st, const char *id)
{
	act(st, &(struct call){.op = CALL_LOOK, .instance_id = id});
}

static void destroy(struct stage *st, const char *id)
{
	act(st, &(struct call){.op = CALL_DESTROY, .instance_id = id});
}

/* The row of the last list with that label; NULL. */
static const struct instance *listed(const struct stage *st, const char *label)
{
	for (size_t i = 0; i < st->got.count; i++)
		if (!strcmp(st->instances[i].label, label))
			return &st->instances[i];
	return NULL;
}

#define LABEL "gpufs-test1-aaaaaaaaaaaaaaaaaaaaaaaaaa-1-aaaaaaaaaa"

/* One label, one create: each has its own. */
static const char *new_label(void)
{
	static char label[64];
	static unsigned n;

	snprintf(label, sizeof label, "gpufs-test1-%u", n++);
	return label;
}

/* A machine of an offer that was found; its id. */
static void have_one(struct stage *st, char id[96])
{
	search(st);
	assert_int_equal(st->got.verdict, SURE_YES);
	assert_true(st->got.count > 0);
	create(st, LABEL);
	if (st->got.verdict != SURE_YES)
		print_error("%s: %s\n", st->kind->name, st->got.text);
	assert_int_equal(st->got.verdict, SURE_YES);
	assert_int_equal(st->got.count, 1);
	assert_true(st->instances[0].id[0]);
	copy_text(id, 96, st->instances[0].id);
	assert_int_equal(alive(st), 1);
}

static void prove_gone(struct stage *st, const char *id)
{
	fake_run(&st->f, 5 * MINUTE_US);
	look(st, id);
	assert_true(says_gone(&st->got));
	list(st);
	assert_int_equal(st->got.verdict, SURE_YES);
	assert_true(st->got.complete);
	assert_null(listed(st, LABEL));
	assert_int_equal(alive(st), 0);
}

/* ---- cases ---- */

static void offers_are_whole(struct stage *st)
{
	const struct shape wanted = {50, 8, 32};
	const struct shape shape = provider_shape(st->p, &wanted);
	const struct offer *o = &st->offer;

	search(st);
	assert_int_equal(st->got.verdict, SURE_YES);
	assert_true(st->got.count > 0);
	assert_int_equal(strncmp(o->id, st->p->name, strlen(st->p->name)), 0);
	assert_int_equal(o->id[strlen(st->p->name)], '-');
	assert_string_equal(o->provider, st->p->name);
	assert_true(o->provider_id[0] && o->gpu_type[0] && o->price_u6 > 0 && o->available);
	/* The list's price is that of the shape that was asked for. */
	assert_int_equal(offer_price(o, &shape), o->price_u6);
}

static void the_account_is_told(struct stage *st)
{
	act(st, &(struct call){.op = CALL_ACCOUNT});
	assert_int_equal(st->got.verdict, SURE_YES);
	assert_int_equal(st->got.balance_u6, 100 * 1000000);
}

static void a_machine_lives_and_ends(struct stage *st)
{
	const struct instance *in;
	char id[96];

	have_one(st, id);
	fake_run(&st->f, 10 * MINUTE_US); /* it boots */
	list(st);
	assert_true(st->got.complete);
	in = listed(st, LABEL);
	assert_non_null(in);
	assert_string_equal(in->id, id);
	look(st, id);
	in = &st->instances[0];
	assert_int_equal(st->got.verdict, SURE_YES);
	assert_int_equal(in->status, INST_RUNNING);
	assert_true(in->ssh_host[0] && in->ssh_port > 0 && in->price_u6 > 0);
	destroy(st, id);
	assert_int_equal(st->got.verdict, SURE_YES);
	prove_gone(st, id);
}

static void destroyed_twice(struct stage *st)
{
	char id[96];

	have_one(st, id);
	destroy(st, id);
	assert_int_equal(st->got.verdict, SURE_YES);
	fake_run(&st->f, 5 * MINUTE_US);
	destroy(st, id);
	assert_int_equal(st->got.verdict, SURE_YES);
	prove_gone(st, id);
}

/* Made, and the answer lost: nobody knows, until a list tells. Sent once. */
static void a_create_without_an_answer(struct stage *st)
{
	const struct instance *in;
	char id[96];

	search(st);
	control(st, "fault create lost 1");
	create(st, LABEL);
	assert_int_equal(st->got.verdict, UNSURE);
	assert_int_equal(meter(st, "created"), 1);
	list(st);
	in = listed(st, LABEL);
	assert_non_null(in);
	copy_text(id, sizeof id, in->id);
	destroy(st, id);
	prove_gone(st, id);
	assert_int_equal(meter(st, "created"), 1);
}

/* Nothing arrived, or a gateway stood in between: unsure as well, and a list shows nothing. */
static void a_create_that_made_nothing(struct stage *st)
{
	static const char *const faults[] = {"drop", "502", "500", "503"};

	search(st);
	for (size_t i = 0; i < ARRAY_LEN(faults); i++) {
		control(st, "fault create %s 1", faults[i]);
		create(st, new_label());
		assert_int_equal(st->got.verdict, UNSURE);
		list(st);
		assert_true(st->got.complete);
		assert_int_equal(st->got.count, 0);
		fake_run(&st->f, 10 * MINUTE_US); /* a breaker may have opened */
	}
	control(st, "fault create unsent 1");
	create(st, new_label());
	assert_int_equal(st->got.verdict, LATER);
	assert_int_equal(meter(st, "created"), 0);
}

/* A list says of a late one nothing yet, and then shows it. */
static void a_create_that_comes_late(struct stage *st)
{
	char id[96];

	search(st);
	control(st, "fault create late:40s 1");
	create(st, LABEL);
	assert_int_equal(st->got.verdict, UNSURE);
	fake_run(&st->f, MINUTE_US);
	list(st);
	assert_non_null(listed(st, LABEL));
	copy_text(id, sizeof id, listed(st, LABEL)->id);
	destroy(st, id);
	prove_gone(st, id);
}

static void expect(struct stage *st, const char *fault, enum verdict v, enum provider_error e)
{
	if (st->got.verdict != v || st->got.error != e)
		print_error("%s: %s: %s %s, %s\n", st->kind->name, fault,
			    verdict_names[st->got.verdict], provider_error_names[st->got.error],
			    st->got.text);
	assert_int_equal(st->got.verdict, v);
	assert_int_equal(st->got.error, e);
}

static void refused_creates(struct stage *st)
{
	search(st);
	control(st, "fault create %s 1", st->kind->stale);
	create(st, new_label());
	assert_int_equal(st->got.verdict, SURE_NO);
	assert_int_equal(st->got.error, PE_STALE_OFFER);
	control(st, "fault create no-credit 1");
	create(st, new_label());
	assert_int_equal(st->got.verdict, SURE_NO);
	assert_int_equal(st->got.error, PE_MONEY);
	assert_true(st->got.text[0]);
	control(st, "fault create 429 1");
	create(st, new_label());
	expect(st, "429", LATER, PE_RATE);
	fake_run(&st->f, 10 * MINUTE_US);
	control(st, "fault create auth 1");
	create(st, new_label());
	expect(st, "auth", KEY_DEAD, PE_AUTH);
	assert_int_equal(meter(st, "created"), 0);
}

static void gone_by_itself(struct stage *st)
{
	char id[96];

	have_one(st, id);
	fake_run(&st->f, 10 * MINUTE_US);
	if (st->fake)
		control(st, "event vanish %s", id);
	else
		st->guest_count = 0;
	prove_gone(st, id);
}

/* An id that never was is gone, for a look and for a destroy. */
static void an_id_that_never_was(struct stage *st)
{
	char id[96];

	have_one(st, id);
	id[strlen(id) - 1] = id[strlen(id) - 1] == '7' ? '8' : '7';
	look(st, id);
	assert_true(says_gone(&st->got));
	destroy(st, id);
	assert_int_equal(st->got.verdict, SURE_YES);
	assert_int_equal(alive(st), 1);
}

/* Machines of others are listed as they are; nothing we do concerns them. */
static void foreign_machines(struct stage *st)
{
	char id[96];

	control(st, "foreign somebody-elses");
	have_one(st, id);
	list(st);
	assert_non_null(listed(st, "somebody-elses"));
	destroy(st, id);
	prove_gone(st, id);
	assert_non_null(listed(st, "somebody-elses"));
	assert_int_equal(meter(st, "alive"), 1);
}

/* ---- errors, each in its class ---- */

static const struct failure {
	const char *fault;
	enum verdict read, write;
	enum provider_error error;
} failures[] = {
	{"429", LATER, LATER, PE_RATE},
	{"500", LATER, UNSURE, PE_UNAVAILABLE},
	{"502", LATER, UNSURE, PE_UNAVAILABLE},
	{"503", LATER, UNSURE, PE_UNAVAILABLE},
	{"drop", LATER, UNSURE, PE_UNAVAILABLE},
	{"truncate", LATER, UNSURE, PE_UNAVAILABLE},
	{"not-json", LATER, UNSURE, PE_UNAVAILABLE},
	{"empty", LATER, UNSURE, PE_UNAVAILABLE},
	{"auth", KEY_DEAD, KEY_DEAD, PE_AUTH},
};

static void call_by_name(struct stage *st, const char *op, const char *id)
{
	if (!strcmp(op, "search"))
		search(st);
	else if (!strcmp(op, "list"))
		list(st);
	else if (!strcmp(op, "get"))
		look(st, id);
	else
		destroy(st, id);
}

/* None of them may call a machine gone, or a list complete. */
static void errors_in_their_class(struct stage *st)
{
	static const char *const ops[] = {"search", "list", "get", "destroy"};
	char id[96];

	have_one(st, id);
	for (size_t o = 0; o < ARRAY_LEN(ops); o++)
		for (size_t i = 0; i < ARRAY_LEN(failures); i++) {
			bool write = !strcmp(ops[o], "destroy");

			control(st, "fault %s %s always", ops[o], failures[i].fault);
			call_by_name(st, ops[o], id);
			expect(st, failures[i].fault, write ? failures[i].write : failures[i].read,
			       failures[i].error);
			assert_false(says_gone(&st->got));
			assert_false(st->got.complete);
			control(st, "no-faults");
			fake_run(&st->f, HOUR_US); /* pauses and breakers end */
			if (!alive(st))
				break; /* the effect came, and only the answer was lost */
		}
	destroy(st, id);
	prove_gone(st, id);
}

/* A destroy that is answered wrongly is tried until a query says gone. */
static void destroys_that_fail(struct stage *st)
{
	static const char *const faults[] = {"lost", "done-502", "500", "linger:30s", "ignored"};
	char id[96];

	for (size_t i = 0; i < ARRAY_LEN(faults); i++) {
		search(st);
		create(st, new_label());
		assert_int_equal(st->got.verdict, SURE_YES);
		copy_text(id, sizeof id, st->instances[0].id);
		control(st, "fault destroy %s 1", faults[i]);
		destroy(st, id);
		assert_false(says_gone(&st->got));
		for (int k = 0; k < 5 && alive(st); k++) {
			fake_run(&st->f, MINUTE_US);
			destroy(st, id);
		}
		prove_gone(st, id);
	}
}

/* As much as a caller may ask for: the provider's own limits hold, and nothing is refused. */
static void limits_are_kept(struct stage *st)
{
	int before, n = 120;
	char id[96];

	have_one(st, id);
	before = st->answers;
	for (int i = 0; i < n; i++) {
		cloud_act(st->c, &(struct call){.op = CALL_LOOK, .instance_id = id}, answered, st);
		cloud_act(st->c, &(struct call){.op = CALL_LIST}, answered, st);
	}
	for (int i = 0; st->answers < before + 2 * n && i < 1000000 && fake_step(&st->f); i++)
		;
	assert_int_equal(st->answers, before + 2 * n);
	assert_int_equal(meter(st, "throttled"), 0);
	destroy(st, id);
	prove_gone(st, id);
}

/* ---- two at once ---- */

struct other {
	int answers;
	enum verdict verdict;
};

static void other_answered(void *arg, const struct result *res)
{
	struct other *o = arg;

	o->answers++;
	o->verdict = res->verdict;
}

/* One host answers with a gateway's page, the other as its fake. */
static void serve_both(struct fake *f, const struct http_args *args, struct fake_reply *r)
{
	if (strstr(args->url, "https://broken.invalid/")) {
		*r = (struct fake_reply){.status = 502,
					 .body = "<html>bad</html>",
					 .delay_us = 20 * SECOND_US,
					 .retry_after_us = UNKNOWN,
					 .date_us = UNKNOWN};
		return;
	}
	serve(f, args, r);
}

static void one_that_fails_hides_nothing(struct stage *st)
{
	struct account a = {.base_url = "https://broken.invalid", .key = "key-of-the-broken-one"};
	struct page_ask page = {.limit = 64};
	struct other seen = {0};
	struct provider *p;
	struct cloud *c;
	char id[96];

	COPY(a.image, st->kind->image);
	p = st->kind->provider(&a);
	st->f.serve = serve_both;
	c = cloud_new(&st->f.w, p);
	for (int i = 0; i < 20; i++)
		cloud_act(c, &(struct call){.op = CALL_OFFERS, .page = &page}, other_answered,
			  &seen);
	have_one(st, id);
	list(st);
	assert_true(st->got.complete);
	destroy(st, id);
	prove_gone(st, id);
	for (int i = 0; seen.answers < 20 && i < 100000 && fake_step(&st->f); i++)
		;
	assert_int_equal(seen.answers, 20);
	assert_int_equal(seen.verdict, LATER);
	cloud_free(c);
	free(p);
}

/* ---- the table ---- */

static const struct {
	const char *name;
	void (*run)(struct stage *st);
	bool cloud; /* about an account, a network or a fault: nothing of it concerns this machine */
} cases[] = {
	{"offers", offers_are_whole},
	{"account", the_account_is_told, true},
	{"life", a_machine_lives_and_ends},
	{"destroy twice", destroyed_twice},
	{"create, answer lost", a_create_without_an_answer, true},
	{"create, nothing made", a_create_that_made_nothing, true},
	{"create, made late", a_create_that_comes_late, true},
	{"create, refused", refused_creates, true},
	{"gone by itself", gone_by_itself},
	{"id that never was", an_id_that_never_was},
	{"foreign untouched", foreign_machines, true},
	{"errors in their class", errors_in_their_class, true},
	{"destroys that fail", destroys_that_fail, true},
	{"limits kept", limits_are_kept, true},
	{"one provider fails", one_that_fails_hides_nothing, true},
};

static char results[ARRAY_LEN(cases)][ARRAY_LEN(kinds)]; /* 0 not run, else the letter */

struct cell {
	size_t which, kind;
	struct stage *st;
};

static int cell_setup(void **state)
{
	struct cell *cell = *state;

	cell->st = stage_new(&kinds[cell->kind]);
	results[cell->which][cell->kind] = '!'; /* until it ends well */
	return 0;
}

static int cell_teardown(void **state)
{
	struct cell *cell = *state;

	stage_free(cell->st);
	return 0;
}

static void cell_run(void **state)
{
	struct cell *cell = *state;
	char *result = &results[cell->which][cell->kind];

	cases[cell->which].run(cell->st);
	if (cell->st->fake && *control(cell->st, "violations"))
		print_error("%s\n", control(cell->st, "violations"));
	if (cell->st->fake)
		assert_int_equal(meter(cell->st, "violations"), 0);
	*result = '+';
}

static void print_table(void)
{
	print_message("# %-24s", "");
	for (size_t k = 0; k < ARRAY_LEN(kinds); k++)
		print_message("%-12s", kinds[k].name);
	print_message("\n");
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		print_message("# %-24s", cases[i].name);
		for (size_t k = 0; k < ARRAY_LEN(kinds); k++)
			print_message("%-12s", results[i][k] == '+'   ? "ok"
					       : results[i][k] == '-' ? "-"
								      : "FAILED");
		print_message("\n");
	}
}

int main(void)
{
	static struct CMUnitTest tests[ARRAY_LEN(cases) * ARRAY_LEN(kinds)];
	static struct cell cells[ARRAY_LEN(tests)];
	static char names[ARRAY_LEN(tests)][64];
	size_t n = 0;
	int failed;

	for (size_t at = 0; at < ARRAY_LEN(tests); at++) {
		struct cell cell = {.which = at / ARRAY_LEN(kinds), .kind = at % ARRAY_LEN(kinds)};

		if (cases[cell.which].cloud && !kinds[cell.kind].make) {
			results[cell.which][cell.kind] = '-';
			continue;
		}
		cells[n] = cell;
		snprintf(names[n], sizeof names[n], "%s: %s", kinds[cells[n].kind].name,
			 cases[cells[n].which].name);
		tests[n] = (struct CMUnitTest){names[n], cell_run, cell_setup, cell_teardown,
					       &cells[n]};
		n++;
	}
	failed = _cmocka_run_group_tests("contract", tests, n, NULL, NULL);
	print_table();
	return failed;
}
