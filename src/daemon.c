/*
 * The daemon: wires the rooms together, loads the journal into the engine, opens the mount, runs the
 * loop, and stops in the reverse order. Nothing here decides anything about sessions.
 *
 * It must never touch a path below the mount point while it serves: the loop would wait for itself,
 * and not even SIGKILL would end that (fuse.md, 6). So "is the mount alive" is the holder's
 * question, and the one detach here (when the holder is gone) comes after /dev/fuse was closed.
 *
 * A stop leaves sessions running. Loop thread; reload work runs on a worker (daemon_reload.c).
 * Tests: tests/mount.
 */
#include "daemon.h"

#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../fs/mount.h"
#include "core/check.h"
#include "core/text.h"
#include "daemon_parts.h"
#include "holder.h"
#include "io/io.h"
#include "mountpoint.h"
#include "names.h"

#define STORE_CLOSE_US \
	(5 * SECOND_US) /* what is queued should reach the disk; a stalled one may not hold us */
#define DESTROY_LIMIT_MS 60000 /* --on-exit=destroy */
#define DRAIN_LIMIT_MS	 2000  /* for workers that are still busy at the end */
#define CLOSE_TURNS_MAX	 16

/* ---- what the mount asks ---- */

static bool mount_is_admin(void *arg, int64_t uid, int64_t gid)
{
	const struct daemon *d = arg;

	return names_is_admin(d->names, uid, gid);
}

static const char *mount_user_name(void *arg, int64_t uid)
{
	struct daemon *d = arg;

	return names_user(d->names, uid);
}

/* ---- stopping ---- */

static void stop_fired(uv_timer_t *t)
{
	struct daemon *d = t->data;

	uv_stop(&d->loop);
}

/* Out of whatever callback asks for it: a mount must not be freed from inside its own request. */
static void stop_soon(struct daemon *d)
{
	uv_timer_start(&d->stop_timer, stop_fired, 0, 0);
}

static void all_destroyed(void *arg, int err, const struct error *why)
{
	struct daemon *d = arg;

	if (err)
		log_line(LOG_ERROR_, "stopping, but not everything is destroyed: %s", why->text);
	else
		log_line(LOG_INFO_, "every session is destroyed");
	stop_soon(d);
}

static void destroy_too_slow(uv_timer_t *t)
{
	struct daemon *d = t->data;

	log_line(LOG_ERROR_,
		 "stopping, but not every session is proven gone after %d s; the orders "
		 "to destroy are on disk and go on at the next start",
		 DESTROY_LIMIT_MS / 1000);
	engine_forget(d->engine, all_destroyed, d);
	stop_fired(t);
}

static void stop_wanted(struct daemon *d, const char *reason)
{
	static const struct caller root = {.name = "root", .admin = true};
	struct caller who = root;

	if (d->args->options->destroy_on_exit && !d->destroying) {
		d->destroying = true;
		log_line(LOG_INFO_, "%s: destroying every session first", reason);
		uv_timer_start(&d->stop_timer, destroy_too_slow, DESTROY_LIMIT_MS, 0);
		who.pid = getpid();
		engine_destroy_all(d->engine, &who, all_destroyed, d);
		return;
	}
	log_line(LOG_INFO_, "%s: stopping; sessions keep running", reason);
	if (d->destroying) /* asked twice */
		engine_forget(d->engine, all_destroyed, d);
	stop_soon(d);
}

static void mount_gone(void *arg)
{
	struct daemon *d = arg;

	stop_wanted(d, "unmounted");
}

static void signal_came(uv_signal_t *s, int number)
{
	struct daemon *d = s->data;

	if (number == SIGHUP)
		daemon_reload(d);
	else
		stop_wanted(d, number == SIGINT ? "SIGINT" : "SIGTERM");
}

/* The holder never writes: readable means that it is gone. Then this process unmounts at the end.
 */
static void holder_event(uv_poll_t *p, int status, int events)
{
	struct daemon *d = p->data;
	char byte;

	(void)events;
	if (status == 0 && recv(d->holder_fd, &byte, 1, MSG_DONTWAIT) > 0)
		return;
	d->orphan = true;
	uv_poll_stop(p);
	log_line(LOG_WARN_, "the holder is gone; serving on, but nobody would start a new daemon");
}

/* ---- starting ---- */

static int load_row(void *arg, const struct journal_op *row)
{
	struct daemon *d = arg;

	return engine_load(d->engine, row, &d->why);
}

static int start_host(struct daemon *d)
{
	BUF dir = {.max = 4200}, note = {.max = 512};
	const char *db = d->args->settings->value[SET_DATABASE_PATH];

	buf_printf(&dir, "%.*s/local", (int)(strrchr(db, '/') - db), db);
	if (!dir.data)
		return fail(&d->why, ERR_NO_MEMORY, "out of memory");
	d->host = local_host_new(&d->loop, dir.data, d->policy.deployment, &note, &d->why);
	if (!d->host)
		return -err_errno(d->why.code);
	if (note.len)
		log_line(LOG_INFO_, "%s", note.data);
	return 0;
}

/* Everything that can refuse, in the order in which one needs the other. */
static int start_rooms(struct daemon *d, int fuse_fd)
{
	const struct settings *s = d->args->settings;
	const struct start *st = d->args->start;
	int err = keys_load(s->value[SET_KEY_PATH], s->value[SET_DEPLOYMENT_ID],
			    d->policy.deployment, d->policy.label_key, &d->why);
	if (!err)
		err = store_open(s->value[SET_DATABASE_PATH], &d->store, &d->why);
	if (!err)
		err = start_host(d);
	if (!err && !(d->io.client = http_client_new(&d->loop, NULL, &d->why)))
		err = -err_errno(d->why.code);
	if (!err)
		err = daemon_providers_start(d);
	if (!err)
		err = names_admin_resolve(d->names, s->value[SET_ADMIN_GROUP], &d->policy.admin_gid,
					  &d->why);
	if (err)
		return err;
	if (st->user_mount)
		names_set_owner(d->names, st->owner_uid);
	d->engine = engine_new(&d->world, &d->policy, d->providers, d->provider_count);
	if (!d->engine)
		return fail(&d->why, ERR_NO_MEMORY, "out of memory");
	engine_set_metrics(d->engine, d->metrics);
	err = store_load(d->store, load_row, d, &d->why);
	if (!err && store_start(d->store, &d->loop) != 0)
		err = fail(&d->why, ERR_NO_MEMORY, "the database's worker cannot be started");
	if (err)
		return err;
	struct mount_args m = {.fuse_fd = fuse_fd,
			       .owner_uid = st->owner_uid,
			       .owner_gid = st->owner_gid,
			       .user_mount = st->user_mount,
			       .version = GPUFS_VERSION,
			       .is_admin = mount_is_admin,
			       .user_name = mount_user_name,
			       .arg = d,
			       .metrics = d->metrics,
			       .gone = mount_gone};
	d->mount = mount_new(&d->loop, d->engine, &m, &d->why);
	return d->mount ? daemon_http_start(d) : -err_errno(d->why.code);
}

static void start_handles(struct daemon *d)
{
	static const int numbers[DAEMON_SIGNALS] = {SIGTERM, SIGINT, SIGHUP};

	CHECK(uv_loop_init(&d->loop) == 0);
	CHECK(uv_timer_init(&d->loop, &d->stop_timer) == 0);
	CHECK(uv_timer_init(&d->loop, &d->lag_timer) == 0);
	d->stop_timer.data = d->lag_timer.data = d;
	for (size_t i = 0; i < DAEMON_SIGNALS; i++) {
		CHECK(uv_signal_init(&d->loop, &d->signals[i]) == 0);
		d->signals[i].data = d;
		CHECK(uv_signal_start(&d->signals[i], signal_came, numbers[i]) == 0);
	}
	CHECK(uv_poll_init(&d->loop, &d->holder_poll, d->holder_fd) == 0);
	d->holder_poll.data = d;
	CHECK(uv_poll_start(&d->holder_poll, UV_READABLE | UV_DISCONNECT, holder_event) == 0);
}

/* ---- the end ---- */

static void close_handles(struct daemon *d)
{
	uv_close((uv_handle_t *)&d->stop_timer, NULL);
	uv_close((uv_handle_t *)&d->lag_timer, NULL);
	uv_close((uv_handle_t *)&d->holder_poll, NULL);
	uv_close((uv_handle_t *)&d->turn, NULL);
	for (size_t i = 0; i < DAEMON_SIGNALS; i++)
		uv_close((uv_handle_t *)&d->signals[i], NULL);
	names_close(d->names);
}

/* Let what is under way come back, for a moment, to an engine that only lets go of it. False: a worker
 * is still busy. */
static bool drain(struct daemon *d)
{
	uv_timer_t limit;

	CHECK(uv_timer_init(&d->loop, &limit) == 0);
	limit.data = d;
	uv_timer_start(&limit, stop_fired, DRAIN_LIMIT_MS, 0);
	uv_unref((uv_handle_t *)&limit);
	uv_run(&d->loop, UV_RUN_DEFAULT);
	bool quiet = !uv_loop_alive(&d->loop);
	uv_close((uv_handle_t *)&limit, NULL);
	uv_run(&d->loop, UV_RUN_NOWAIT);
	return quiet;
}

static void free_rooms(struct daemon *d)
{
	if (d->mount)
		mount_free(d->mount);
	if (d->engine)
		engine_free(d->engine);
	http_free(d->http);
	local_host_free(d->host); /* before the provider, whose calls it holds */
	daemon_providers_free(d);
	names_free(d->names);
	metrics_free(d->metrics); /* last: all of them count in it */
}

/* Answer who waits, write what is queued, unmount if nobody else will, and let go of everything. */
static int daemon_stop(struct daemon *d, int fuse_fd, const char *device)
{
	if (d->mount)
		mount_stop(d->mount);
	if (d->engine)
		engine_stop(d->engine);
	/* what is under way is cancelled: the loop shall become quiet */
	http_client_free(d->io.client);
	d->io.client = NULL;
	http_stop(d->http);
	if (d->store)
		store_close(d->store, STORE_CLOSE_US);
	d->store = NULL;
	close_handles(d);
	if (d->mount)
		mount_free(d->mount); /* closes /dev/fuse: whoever still waits is let go */
	else
		close(fuse_fd);
	d->mount = NULL;
	if (d->orphan) {
		mountpoint_detach(d->args->start->mountpoint, device);
		mountpoint_unclaim(d->claim_fd, d->args->start->mountpoint);
	}
	bool quiet = drain(d);
	if (!quiet) /* exit(3) would wait for the busy worker */
		return -1;
	free_rooms(d);
	/* what was freed just now closes its handles in the next turns */
	for (int turn = 0; uv_loop_close(&d->loop) == UV_EBUSY && turn < CLOSE_TURNS_MAX; turn++)
		uv_run(&d->loop, UV_RUN_NOWAIT);
	explicit_bzero(d->policy.label_key, sizeof(d->policy.label_key));
	return 0;
}

/* A market is megabytes that come and go as one, made by a worker and freed elsewhere: from the arenas of
 * threads little of it returns to the system (70 MB stay, with 10,000 offers; so 35 do). */
static void bound_memory(void)
{
#ifdef M_MMAP_THRESHOLD
	mallopt(M_MMAP_THRESHOLD, 128 << 10); /* its default, which else grows */
#endif
}

int daemon_run(void *arg, int fuse_fd, int holder_fd, const char *device)
{
	struct daemon *d = calloc(1, sizeof(*d));
	const struct daemon_args *args = arg;
	int status = 0;

	CHECK(d != NULL);
	d->args = args;
	d->policy = args->start->policy;
	d->holder_fd = holder_fd;
	d->claim_fd = args->claim_fd;
	daemon_world_fill(d);
	signal(SIGPIPE, SIG_IGN);
	bound_memory();
	start_handles(d);
	daemon_metrics_start(d);
	d->names = names_new(&d->loop);
	if (start_rooms(d, fuse_fd) != 0) {
		if (!args->options->foreground) /* there the holder says it on the same stderr */
			log_line(LOG_ERROR_, "%s", d->why.text);
		holder_tell(holder_fd, d->why.text);
		status = EXIT_DAEMON_REFUSED;
	} else {
		engine_start(d->engine);
		daemon_providers_switch(d);
		log_line(LOG_INFO_, "gpufs %s serves %s, deployment %s, database %s", GPUFS_VERSION,
			 args->start->mountpoint, d->policy.deployment,
			 args->settings->value[SET_DATABASE_PATH]);
		holder_tell(holder_fd, NULL);
		uv_run(&d->loop, UV_RUN_DEFAULT);
		log_line(LOG_INFO_, "stopped");
	}
	if (daemon_stop(d, fuse_fd, device) != 0)
		_exit(status);
	free(d);
	return status;
}
