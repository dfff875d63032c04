/*
 * The world of a command that only asks clouds: world_io.h and nothing else. See online.h.
 */
#include <signal.h>

#include "core/check.h"
#include "online.h"

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

	*o = (struct online){.world = {.log = world_log}, .io = {.loop = &o->loop}};
	world_io_fill(&o->world, &o->io);
	CHECK(uv_loop_init(&o->loop) == 0);
	signal(SIGPIPE, SIG_IGN); /* a connection that closes is an answer that did not come */
	o->io.client = http_client_new(&o->loop, NULL, why);
	if (!o->io.client)
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
	http_client_free(o->io.client);
	uv_run(&o->loop, UV_RUN_DEFAULT); /* workers come back, handles close */
	CHECK(uv_loop_close(&o->loop) == 0);
	configured_free(o->clouds, o->count);
}
