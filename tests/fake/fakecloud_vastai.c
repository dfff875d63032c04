/*
 * The fake Vast.ai behind the server: fake_cloud's table over vastai_fake.h.
 */
#include "fakecloud.h"
#include "vastai_fake.h"

#define JITTER_US (50 * 1000) /* what a loaded test machine may shift a request by */

static void *make(const struct fake_options *o, int64_t epoch_us)
{
	struct fakevast_config c;

	if (o->calm)
		fakevast_calm(&c);
	else
		fakevast_defaults(&c);
	c.seed = o->seed;
	c.epoch_us = epoch_us;
	c.time_permille = (int64_t)(o->time_factor * 1000 + 0.5);
	c.tolerance_us = JITTER_US;
	c.own_ssh = o->ssh;
	if (o->key)
		c.key = o->key;
	if (o->offers >= 0)
		c.offers = o->offers;
	return fakevast_new(&c);
}

static void cloud_free(void *cloud)
{
	fakevast_free(cloud);
}

static void request(void *cloud, int64_t now_us, const struct fake_http_request *q,
		    struct fake_http_reply *out)
{
	fakevast_request(cloud, now_us, q, out);
}

static int control(void *cloud, int64_t now_us, const char *line, struct buf *out)
{
	return fakevast_control(cloud, now_us, line, out);
}

static int64_t next_us(void *cloud)
{
	return fakevast_next_us(cloud);
}

static void violation(void *cloud, int64_t now_us, const char *rule, const char *text)
{
	fakevast_add_violation(cloud, now_us, rule, text);
}

static size_t guests(void *cloud)
{
	return fakevast_count(cloud);
}

static void guest(void *cloud, int64_t now_us, size_t i, struct fake_guest *out)
{
	struct fakevast_view v;

	fakevast_view(cloud, now_us, i, &v);
	*out = (struct fake_guest){.id = v.id, .wanted = v.alive && !v.foreign, .login = v.login};
}

static void keys(void *cloud, int64_t now_us, int64_t id, struct buf *out)
{
	fakevast_keys(cloud, now_us, id, out);
}

static void endpoint(void *cloud, int64_t id, const char *host, int port, int direct_port)
{
	fakevast_set_endpoint(cloud, id, host, port, direct_port);
}

const struct fake_cloud fake_cloud_vastai = {
	.name = "vastai",
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
