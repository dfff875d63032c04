/*
 * See world_io.h. Nothing here decides anything.
 */
#include "world_io.h"

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
	struct world_io *io = self;

	return loop_timer_new(io->loop, fire, arg);
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
	struct world_io *io = self;

	return io->client ? http_client_send(io->client, args, cb, arg) : NULL;
}

/* With the client went its requests. */
static void world_http_cancel(void *self, struct http_send *h)
{
	struct world_io *io = self;

	if (io->client)
		http_client_cancel(h);
}

static void world_work(void *self, void (*run)(void *arg), void (*done)(void *arg), void *arg)
{
	struct world_io *io = self;

	loop_work(io->loop, run, done, arg);
}

void world_io_fill(struct world *w, struct world_io *io)
{
	w->self = io;
	w->wall_us = world_wall_us;
	w->mono_us = world_mono_us;
	w->random = world_random;
	w->timer_new = world_timer_new;
	w->timer_set = world_timer_set;
	w->timer_free = world_timer_free;
	w->http = world_http;
	w->http_cancel = world_http_cancel;
	w->work = world_work;
}
