/*
 * The daemon's own state, shared by daemon.c and daemon_*.c only. Loop thread.
 */
#ifndef GPUFS_DAEMON_PARTS_H
#define GPUFS_DAEMON_PARTS_H

#include <uv.h>

#include "../fs/mount.h"
#include "daemon.h"
#include "http/http.h"
#include "names.h"
#include "world_io.h"

#define DAEMON_SIGNALS	     3
#define DAEMON_PROVIDERS_MAX 4

struct daemon {
	const struct daemon_args *args;
	uv_loop_t loop;
	uv_signal_t signals[DAEMON_SIGNALS];
	uv_timer_t stop_timer, lag_timer;
	uv_poll_t holder_poll;
	int holder_fd, claim_fd;
	struct world world;
	struct world_io io;   /* client NULL: not started, or stopped */
	struct policy policy; /* the engine reads it; changed on the loop only */
	struct store *store;
	struct local_host *host;
	struct names *names;
	struct provider *providers[DAEMON_PROVIDERS_MAX];
	const struct maker *maker[DAEMON_PROVIDERS_MAX]; /* how each was made */
	size_t provider_count;
	struct engine *engine;
	struct mount *mount;
	struct http *http; /* NULL: SERVER_PORT is 0 */
	struct metrics *metrics;
	struct metric_source metric_source;
	uv_prepare_t turn;
	uint64_t turn_ns, idle_ns; /* when this turn of the loop began, and the sleep until then */
	int64_t turn_max_us;	   /* since the last scrape */
	struct error why;	   /* of a start that is refused */
	bool destroying, orphan, lag_alarm;
	bool reloading, reload_again;
};

/* d->world, from src/io/. */
void daemon_world_fill(struct daemon *d);

/* The configured providers; also settles who may make sessions (SESSIONS_ACCESS=auto). */
int daemon_providers_start(struct daemon *d);
/* After engine_start: those that the settings switch off buy nothing new. */
void daemon_providers_switch(struct daemon *d);
void daemon_providers_free(struct daemon *d); /* after the engine */

/* SIGHUP: settings that may change are read again, on a worker. */
void daemon_reload(struct daemon *d);

/* The HTTP door, unless it is switched off; d->why if it cannot be. */
int daemon_http_start(struct daemon *d);

/* metrics_new, and what the daemon itself tells it. */
void daemon_metrics_start(struct daemon *d);

#endif
