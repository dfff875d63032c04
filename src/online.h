/*
 * Commands that ask the clouds without a daemon: --check --online and --orphans. They use what the daemon
 * uses (engine/cloud.h over the HTTP client), with a world that has a clock, timers, HTTP and workers, and
 * neither journal nor machines. The command's thread, which runs the loop. Tests: tests/mount/online.bats.
 */
#ifndef GPUFS_ONLINE_H
#define GPUFS_ONLINE_H

#include <uv.h>

#include "configured.h"
#include "engine/cloud.h"
#include "options.h"
#include "world_io.h"

struct online {
	uv_loop_t loop;
	struct world_io io;
	struct world world;
	struct configured clouds[CONFIGURED_MAX];
	struct cloud *cloud[CONFIGURED_MAX]; /* of the same index */
	size_t count;
	size_t pending; /* callbacks that online_wait waits for; counted by whoever asks */
};
/* The configured clouds, ready to be asked. online_free in any case. */
int online_new(struct online *o, const struct settings *s, const struct policy *p,
	       struct error *why);
/* Run the loop until nothing is pending. Every call is answered or times out, so it ends. */
void online_wait(struct online *o);
void online_free(struct online *o);

/* --check --online: whether each cloud is reached, takes the key, has credit and offers, and agrees about
 * the time; as text, or as the member "online" of a JSON object. False: a start would fail. */
bool online_check(const struct settings *s, const struct policy *p, bool json, struct buf *out);

/* --orphans [--destroy [--yes]] [--json]; prints. The exit status: 0 done, 1 refused or not all gone, 2
 * wrong use, 3 a list was incomplete, so that there may be more. */
int orphans_run(const struct options *o, const struct settings *s, const struct policy *p);

#endif
