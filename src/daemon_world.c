/*
 * struct world of the daemon: world_io.h, and what only a daemon has, all of src/io/. Nothing here decides
 * anything.
 *
 * After the stop (store and client are NULL then) an order to write or to send is dropped: the engine
 * only lets go of what is left. Loop thread. Tests: tests/mount.
 */
#include "core/check.h"
#include "core/text.h"
#include "daemon_parts.h"

#define LAG_ALARM_US (2 * SECOND_US) /* tree.md, rule 7: then orders begin to fail with EIO */
#define LAG_LOOK_MS  1000

static struct daemon *daemon_of(void *self)
{
	return container_of((struct world_io *)self, struct daemon, io);
}

/* A write that stays away too long is an alarm. The look is armed by writes, so an idle daemon
 * sleeps. */
static void lag_look(uv_timer_t *t)
{
	struct daemon *d = t->data;
	int64_t lag_us = store_lag_us(d->store);
	BUF text = {.max = 256};

	if (lag_us >= LAG_ALARM_US) {
		buf_printf(&text,
			   "the disk under the database has not answered for %lld s: orders that "
			   "must be "
			   "durable fail until it does",
			   (long long)(lag_us / SECOND_US));
		d->lag_alarm = true;
		if (text.data)
			engine_alarm(d->engine, "disk", "database", text.data);
	} else if (d->lag_alarm) {
		d->lag_alarm = false;
		engine_alarm_clear(d->engine, "disk", "database");
	}
	if (lag_us > 0)
		uv_timer_start(t, lag_look, LAG_LOOK_MS, 0);
}

static void world_journal(void *self, struct journal_op *op, journal_cb cb, void *arg)
{
	struct daemon *d = daemon_of(self);

	if (!d->store) { /* stopped: an answer that came too late to be written */
		journal_op_free(op);
		return;
	}
	if (!uv_is_active((uv_handle_t *)&d->lag_timer))
		uv_timer_start(&d->lag_timer, lag_look, LAG_ALARM_US / 1000 + 100, 0);
	store_write(d->store, op, cb, arg);
}

static bool world_ballast(void *self)
{
	struct daemon *d = daemon_of(self);

	return d->store && store_drop_ballast(d->store);
}

static void world_keygen(void *self, const char *comment, keygen_cb cb, void *arg)
{
	struct daemon *d = daemon_of(self);

	keys_make_async(&d->loop, comment, cb, arg);
}

static struct probe *world_probe(void *self, const struct probe_args *args, probe_cb cb, void *arg)
{
	struct daemon *d = daemon_of(self);

	return ssh_probe_start(&d->loop, args, cb, arg);
}

static void world_probe_cancel(void *self, struct probe *p)
{
	(void)self;
	ssh_probe_cancel(p);
}

static void world_host(void *self, const struct host_call *call, host_cb cb, void *arg)
{
	struct daemon *d = daemon_of(self);

	local_host_call(d->host, call, cb, arg);
}

static void world_log(void *self, enum log_level level, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
static void world_log(void *self, enum log_level level, const char *fmt, ...)
{
	va_list ap;

	(void)self;
	va_start(ap, fmt);
	log_vline(level, fmt, ap);
	va_end(ap);
}

void daemon_world_fill(struct daemon *d)
{
	d->world = (struct world){.journal = world_journal,
				  .journal_ballast = world_ballast,
				  .keygen = world_keygen,
				  .probe = world_probe,
				  .probe_cancel = world_probe_cancel,
				  .host = world_host,
				  .log = world_log};
	d->io.loop = &d->loop;
	world_io_fill(&d->world, &d->io);
}
