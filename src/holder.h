/*
 * The holder: the small parent that mounts, holds /dev/fuse, starts the daemon, and cleans up after
 * it (fuse.md 5.7). It never touches a path below the mount point.
 */
#ifndef GPUFS_HOLDER_H
#define GPUFS_HOLDER_H

#include "mountpoint.h"

#define EXIT_DAEMON_REFUSED 3 /* the daemon said why on its socket: starting it again is no use */

struct holder_args {
	const char *mountpoint; /* resolved */
	struct mount_how how;
	int claim_fd;	   /* of mountpoint_claim, or -1 */
	int caller_fd;	   /* where the outcome of the start is told; -1: on stderr */
	int stop_limit_ms; /* between the forwarded SIGTERM and SIGKILL */
	/* Runs in the child until the daemon ends; what it returns is its exit status. On
	 * `holder_fd` it says that it is ready (daemon_ready) or why not; end of file there means
	 * that the holder is gone. */
	int (*daemon)(void *arg, int fuse_fd, int holder_fd, const char *device);
	void *arg;
};
/* Mount, serve until the end, unmount. Returns the exit status. */
int holder_run(const struct holder_args *a);

/* What the daemon says on holder_fd: ready (NULL), or the sentence of why it cannot start. */
void holder_tell(int holder_fd, const char *refusal);
/* What the command reads on its end of caller_fd: 0 = it is mounted, else 1 and the sentence. */
int holder_outcome(int caller_fd, struct buf *sentence);

#endif
