/*
 * The daemon: builds the world, wires the rooms together, runs the loop, stops. Started by the
 * holder in a child of its own.
 */
#ifndef GPUFS_DAEMON_H
#define GPUFS_DAEMON_H

#include "options.h"
#include "settings.h"
#include "start.h"

struct daemon_args {
	const struct options *options;
	struct settings *settings;
	const struct start *start;
	int claim_fd; /* of mountpoint_claim; kept open as long as this mount is served */
};
/* holder_args.daemon: arg is a struct daemon_args. */
int daemon_run(void *arg, int fuse_fd, int holder_fd, const char *device);

#endif
