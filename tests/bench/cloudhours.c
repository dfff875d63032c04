/*
 * What sessions at Vast.ai cost in API calls, over hours of virtual time: the real engine, its HTTP
 * engine and the real dialect against the state machine of the strict fake (tests/fake), in the virtual
 * world of the unit tests. For tests/bench/cloud. One line of words and numbers per question:
 *
 *	one create N attach N destroy N get N list N     a session's life of an hour, and 15 minutes more
 *	hour SESSIONS list N get N search N other N      an hour with so many running
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../providers/providers.h"
#include "../../src/core/check.h"
#include "../fake/vastai_fake.h"
#include "../unit/fake_world.h"

#define ORIGIN "https://console.vast.ai"
#define KEY_LINE \
	"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl me"
#define OFFERS 1200

static struct fake f;
static struct fakevast *cloud;
static struct provider *vast;
static struct fake_http_reply answer; /* of the last request; lives until the next */
static int64_t began_us;

/* ---- the world ---- */

static int64_t cloud_now(void)
{
	return f.now_us - began_us;
}

static void serve(struct fake *world, const struct http_args *args, struct fake_reply *reply)
{
	static const char *const methods[] = {[HTTP_GET] = "GET",
					      [HTTP_POST] = "POST",
					      [HTTP_PUT] = "PUT",
					      [HTTP_DELETE] = "DELETE"};
	struct fake_http_request q = {.method = methods[args->method],
				      .target = args->url + strlen(ORIGIN),
				      .auth = args->auth + strlen("Authorization: "),
				      .content_type = args->body ? "application/json" : NULL,
				      .body = args->body,
				      .len = args->body_len};

	(void)world;
	CHECK(!strncmp(args->url, ORIGIN "/", strlen(ORIGIN) + 1));
	fake_http_reply_free(&answer);
	answer = (struct fake_http_reply){0};
	fakevast_request(cloud, cloud_now(), &q, &answer);
	reply->status = answer.status;
	reply->body = answer.body.data;
	reply->delay_us = 100 * 1000 + answer.delay_us;
}

struct key_asked {
	keygen_cb cb;
	void *arg;
};

static void key_made(struct fake *world, void *arg)
{
	struct key_asked *k = arg;

	(void)world;
	k->cb(k->arg, "PRIVATE-KEY", KEY_LINE, NULL);
	free(k);
}

static void keygen(void *self, const char *comment, keygen_cb cb, void *arg)
{
	struct key_asked *k = xcalloc(1, sizeof(*k));

	(void)comment;
	*k = (struct key_asked){cb, arg};
	fake_later(self, 1000, key_made, free, k);
}

struct probe {
	probe_cb cb;
	void *arg;
	struct fake_event *ev;
	char host[128];
	int64_t port;
};

static void probe_now(struct fake *world, void *arg)
{
	static const enum probe_verdict verdicts[] = {[FV_SSH_REFUSED] = PROBE_NOT_YET,
						      [FV_SSH_SILENT] = PROBE_NOT_YET,
						      [FV_SSH_DENIED] = PROBE_LOGIN_REFUSED,
						      [FV_SSH_OK] = PROBE_OK};
	struct probe *p = arg;
	char host_key[96];
	int64_t id;
	enum fakevast_ssh how = fakevast_login(cloud, cloud_now(), p->host, p->port, KEY_LINE, &id,
					       host_key);

	(void)world;
	p->cb(p->arg, verdicts[how], host_key, "");
	free(p);
}

static struct probe *probe(void *self, const struct probe_args *args, probe_cb cb, void *arg)
{
	struct probe *p = xcalloc(1, sizeof(*p));

	*p = (struct probe){.cb = cb, .arg = arg, .port = args->port};
	COPY(p->host, args->host);
	p->ev = fake_later(self, 50 * 1000, probe_now, free, p);
	return p;
}

static void probe_cancel(void *self, struct probe *p)
{
	fake_forget(self, p->ev);
	free(p);
}

static void begin(void)
{
	static const struct account account = {
		.base_url = ORIGIN, .key = FAKEVAST_KEY, .image = "ubuntu:22.04"};
	struct fakevast_config c;

	fake_init(&f);
	began_us = f.now_us;
	fakevast_calm(&c);
	c.offers = OFFERS;
	c.credit_u6 = 100000 * INT64_C(1000000);
	c.epoch_us = f.now_us;
	c.terse = true;
	cloud = fakevast_new(&c);
	vast = provider_vastai_new(&account);
	f.providers[0] = vast;
	f.serve = serve;
	f.w.keygen = keygen;
	f.w.probe = probe;
	f.w.probe_cancel = probe_cancel;
	f.p.max_sessions = f.p.max_sessions_per_user = 1000;
	f.p.default_disk_gb = 50;
	fake_start(&f);
	fake_run(&f, 10 * MINUTE_US); /* the market is known, the start is over */
}

static void end(void)
{
	fake_free(&f);
	fakevast_free(cloud);
	provider_vastai_free(vast);
	fake_http_reply_free(&answer);
	answer = (struct fake_http_reply){0};
}

/* ---- the questions ---- */

static void rent(int i)
{
	char name[16];

	snprintf(name, sizeof(name), "s%d", i);
	CHECK(fake_mkdir(&f, name) == 0);
	if (fake_spec(&f, name, "max_price=5 hours=10\n") != 0) {
		fprintf(stderr, "%s: %s\n", name, f.last_why.text);
		exit(1);
	}
	if (!fake_until(&f, name, S_RUNNING, HOUR_US)) {
		fprintf(stderr, "%s: %s\n", name, fake_get(&f, name)->reason);
		exit(1);
	}
}

static struct fakevast_meter since(void)
{
	struct fakevast_meter m;

	fakevast_meter(cloud, cloud_now(), &m);
	CHECK(m.violations == 0 && m.throttled == 0);
	return m;
}

static void one(void)
{
	struct fakevast_meter m;

	begin();
	fakevast_forget(cloud);
	rent(0);
	fake_run(&f, HOUR_US);
	CHECK(fake_rmdir(&f, "s0") == 0);
	fake_run(&f, 15 * MINUTE_US); /* with the look after ten minutes */
	m = since();
	CHECK(m.alive_ours == 0);
	printf("one create %lld attach %lld destroy %lld get %lld list %lld\n",
	       (long long)m.calls[FV_CREATE], (long long)m.calls[FV_ATTACH],
	       (long long)m.calls[FV_DESTROY], (long long)m.calls[FV_GET],
	       (long long)m.calls[FV_LIST]);
	end();
}

static void hour(int sessions)
{
	struct fakevast_meter m;

	begin();
	for (int i = 0; i < sessions; i++)
		rent(i);
	fake_run(&f, 20 * MINUTE_US); /* nothing is in transition any more */
	fakevast_forget(cloud);
	fake_run(&f, HOUR_US);
	m = since();
	CHECK(m.alive_ours == sessions);
	printf("hour %d list %lld get %lld search %lld other %lld\n", sessions,
	       (long long)m.calls[FV_LIST], (long long)m.calls[FV_GET],
	       (long long)m.calls[FV_SEARCH],
	       (long long)(m.requests - m.calls[FV_LIST] - m.calls[FV_GET] - m.calls[FV_SEARCH]));
	end();
}

int main(void)
{
	one();
	hour(0);
	hour(1);
	hour(10);
	hour(200);
	return 0;
}
