/*
 * The world of a command that only asks clouds: clock, timers, HTTP and workers of src/io/. See online.h.
 */
#include <signal.h>

#include "core/check.h"
#include "io/io.h"
#include "online.h"

static int64_t world_wall_us(void *self)
{
	(void)self;
	return clock_wall_us();
}

static int64_t world_mono_us(void *self)
{
	(void)self;
	return clock_mono_us();
}

static void world_random(void *self, void *out, size_t n)
{
	(void)self;
	random_bytes(out, n);
}

static struct timer *world_timer_new(void *self, void (*fire)(void *arg), void *arg)
{
	struct online *o = self;

	return loop_timer_new(&o->loop, fire, arg);
}

static void world_timer_set(void *self, struct timer *t, int64_t delay_us)
{
	(void)self;
	loop_timer_set(t, delay_us);
}

static void world_timer_free(void *self, struct timer *t)
{
	(void)self;
	loop_timer_free(t);
}

static struct http_send *world_http(void *self, const struct http_args *args, http_cb cb, void *arg)
{
	struct online *o = self;

	return http_client_send(o->client, args, cb, arg);
}

static void world_http_cancel(void *self, struct http_send *h)
{
	(void)self;
	http_client_cancel(h);
}

static void world_work(void *self, void (*run)(void *arg), void (*done)(void *arg), void *arg)
{
	struct online *o = self;

	loop_work(&o->loop, run, done, arg);
}

/* What matters is in the answers, which are printed. */
static void world_log(void *self, enum log_level level, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
static void world_log(void *self, enum log_level level, const char *fmt, ...)
{
	(void)self;
	(void)level;
	(void)fmt;
}

int online_new(struct online *o, const struct settings *s, const struct policy *p,
	       struct error *why)
{
	int err;

	*o = (struct online){.world = {.self = o,
				       .wall_us = world_wall_us,
				       .mono_us = world_mono_us,
				       .random = world_random,
				       .timer_new = world_timer_new,
				       .timer_set = world_timer_set,
				       .timer_free = world_timer_free,
				       .http = world_http,
				       .http_cancel = world_http_cancel,
				       .work = world_work,
				       .log = world_log}};
	CHECK(uv_loop_init(&o->loop) == 0);
	signal(SIGPIPE, SIG_IGN); /* a connection that closes is an answer that did not come */
	o->client = http_client_new(&o->loop, NULL, why);
	if (!o->client)
		return -err_errno(why->code);
	err = configured_make(s, p, o->clouds, &o->count, why);
	for (size_t i = 0; !err && i < o->count; i++)
		o->cloud[i] = cloud_new(&o->world, o->clouds[i].p);
	return err;
}

void online_wait(struct online *o)
{
	while (o->pending)
		uv_run(&o->loop, UV_RUN_ONCE);
}

void online_free(struct online *o)
{
	for (size_t i = 0; i < o->count; i++)
		if (o->cloud[i])
			cloud_free(o->cloud[i]);
	http_client_free(o->client);
	uv_run(&o->loop, UV_RUN_DEFAULT); /* workers come back, handles close */
	CHECK(uv_loop_close(&o->loop) == 0);
	configured_free(o->clouds, o->count);
}
