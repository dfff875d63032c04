/*
 * The fake TensorDock behind the server: fake_cloud's table over tensordock_fake.h.
 */
#include <stdlib.h>

#include "../../src/core/check.h"
#include "fakecloud.h"
#include "tensordock_fake.h"

struct cloud {
	struct faketd *f;
	int64_t now_us; /* of the last call: next_us is asked without one */
};

static void *make(const struct fake_options *o, int64_t epoch_us)
{
	struct cloud *c = xcalloc(1, sizeof *c);
	struct faketd_config config;

	(void)epoch_us; /* it tells no times */
	if (o->calm)
		faketd_calm(&config);
	else
		faketd_defaults(&config);
	config.seed = o->seed;
	config.time_permille = (int64_t)(o->time_factor * 1000 + 0.5);
	config.own_ssh = o->ssh;
	if (o->key)
		config.key = o->key;
	if (o->offers >= 0)
		config.offers = o->offers;
	c->f = faketd_new(&config);
	return c;
}

static void cloud_free(void *cloud)
{
	struct cloud *c = cloud;

	faketd_free(c->f);
	free(c);
}

static void request(void *cloud, int64_t now_us, const struct fake_http_request *q,
		    struct fake_http_reply *out)
{
	struct cloud *c = cloud;

	c->now_us = now_us;
	faketd_request(c->f, now_us, q, out);
}

static int control(void *cloud, int64_t now_us, const char *line, struct buf *out)
{
	struct cloud *c = cloud;

	c->now_us = now_us;
	return faketd_control(c->f, now_us, line, out);
}

static int64_t next_us(void *cloud)
{
	struct cloud *c = cloud;

	return faketd_next_us(c->f, c->now_us);
}

static void violation(void *cloud, int64_t now_us, const char *rule, const char *text)
{
	faketd_add_violation(((struct cloud *)cloud)->f, now_us, rule, text);
}

static size_t guests(void *cloud)
{
	return faketd_count(((struct cloud *)cloud)->f);
}

static void guest(void *cloud, int64_t now_us, size_t i, struct fake_guest *out)
{
	struct cloud *c = cloud;
	struct faketd_view v;

	c->now_us = now_us;
	faketd_view(c->f, now_us, i, &v);
	*out = (struct fake_guest){
		.id = v.number, .wanted = v.alive && !v.foreign, .login = v.login};
}

static void keys(void *cloud, int64_t now_us, int64_t id, struct buf *out)
{
	faketd_keys(((struct cloud *)cloud)->f, now_us, id, out);
}

static void endpoint(void *cloud, int64_t id, const char *host, int port, int direct_port)
{
	(void)direct_port;
	faketd_set_endpoint(((struct cloud *)cloud)->f, id, host, port);
}

const struct fake_cloud fake_cloud_tensordock = {
	.name = "tensordock",
	.user = "user",
	.make = make,
	.free = cloud_free,
	.request = request,
	.control = control,
	.next_us = next_us,
	.violation = violation,
	.guests = guests,
	.guest = guest,
	.keys = keys,
	.endpoint = endpoint,
};
