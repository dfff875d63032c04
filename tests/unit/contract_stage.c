/* See contract.h. */
#include "contract.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../providers/providers.h"
#include "../../src/core/check.h"
#include "../fake/tensordock_fake.h"
#include "../fake/vastai_fake.h"
#include "../toy/toy.h"

#include <cmocka.h>
#include <jansson.h>
#undef fail

#define PUBLIC_KEY \
	"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8g us"

/* ---- providers ---- */

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

static void *toy_make(void)
{
	return faketoy_new();
}

static void toy_free(void *fake)
{
	faketoy_free(fake);
}

static void toy_request(void *fake, int64_t now_us, const struct fake_http_request *q,
			struct fake_http_reply *out)
{
	faketoy_request(fake, now_us, q, out);
}

static int toy_control(void *fake, int64_t now_us, const char *line, struct buf *out)
{
	return faketoy_control(fake, now_us, line, out);
}

const struct kind kinds[] = {
	{.name = "local"},
	{"vastai", provider_vastai_new, FAKEVAST_KEY, "ubuntu:22.04", "stale-offer", vastai_make,
	 vastai_free, vastai_request, vastai_control},
	{"tensordock", provider_tensordock_new, FAKETD_KEY, "ubuntu2404", "nodes", tensordock_make,
	 tensordock_free, tensordock_request, tensordock_control, FAKETD_AUTH_ID},
	/* The example of docs/providers.md. */
	{"toy", provider_toy_new, FAKETOY_KEY, "debian", "sold-out", toy_make, toy_free,
	 toy_request, toy_control},
};
_Static_assert(ARRAY_LEN(kinds) == KIND_COUNT, "contract.h counts them");

/* ---- a provider on its stage ---- */

void serve(struct fake *f, const struct http_args *args, struct fake_reply *r)
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

struct stage *stage_new(const struct kind *k)
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

void stage_free(struct stage *st)
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
const char *control(struct stage *st, const char *fmt, ...)
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
int64_t meter(struct stage *st, const char *name)
{
	json_t *o = json_loads(control(st, "meter"), 0, NULL);
	int64_t v;

	assert_non_null(o);
	v = json_integer_value(json_object_get(o, name));
	json_decref(o);
	return v;
}

int64_t alive(struct stage *st)
{
	return st->fake ? meter(st, "ours") : (int64_t)st->guest_count;
}

/* ---- calls ---- */

void answered(void *arg, const struct result *res)
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
void act(struct stage *st, const struct call *call)
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

void search(struct stage *st)
{
	const struct shape wanted = {50, 8, 32};
	struct page_ask page = {.limit = 64, .shape = provider_shape(st->p, &wanted)};

	act(st, &(struct call){.op = CALL_OFFERS, .page = &page});
}

void create(struct stage *st, const char *label)
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

void list(struct stage *st)
{
	act(st, &(struct call){.op = CALL_LIST});
}

void look(struct stage *st, const char *id)
{
	act(st, &(struct call){.op = CALL_LOOK, .instance_id = id});
}

void destroy(struct stage *st, const char *id)
{
	act(st, &(struct call){.op = CALL_DESTROY, .instance_id = id});
}

/* The row of the last list with that label; NULL. */
const struct instance *listed(const struct stage *st, const char *label)
{
	for (size_t i = 0; i < st->got.count; i++)
		if (!strcmp(st->instances[i].label, label))
			return &st->instances[i];
	return NULL;
}

/* One label, one create: each has its own. */
const char *new_label(void)
{
	static char label[64];
	static unsigned n;

	snprintf(label, sizeof label, "gpufs-test1-%u", n++);
	return label;
}

/* A machine of an offer that was found; its id. */
void have_one(struct stage *st, char id[96])
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

void prove_gone(struct stage *st, const char *id)
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
