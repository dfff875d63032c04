/*
 * The mount: the tree served from an open /dev/fuse descriptor on the loop. It never touches a path
 * below the mount point and never waits. Loop thread.
 */
#ifndef GPUFS_FS_MOUNT_H
#define GPUFS_FS_MOUNT_H

#include <uv.h>

#include "../src/engine/engine.h"

struct mount;

struct mount_args {
	int fuse_fd; /* taken over; closed by mount_free */
	int64_t owner_uid,
		owner_gid; /* who owns the root's files: 0, or the user of a user mount */
	bool user_mount;   /* one user only */
	const char *version;
	/* May be called often; must not block. True if uid (with its groups as main.c resolved
	 * them) is an administrator. */
	bool (*is_admin)(void *arg, int64_t uid, int64_t gid);
	/* Name of a uid for `owner`, from a cache that workers fill; never blocks; may be "". */
	const char *(*user_name)(void *arg, int64_t uid);
	void *arg;
	/* What /gpu/metrics shows, and to which the requests are told; NULL: nothing. Borrowed. */
	struct metrics *metrics;
	/* The kernel side is gone (umount, abort): the daemon should stop. */
	void (*gone)(void *arg);
};
struct mount *mount_new(uv_loop_t *loop, struct engine *e, const struct mount_args *args,
			struct error *why);
/* Answer everything that waits, stop reading requests; orders under way stand. After engine_stop, since
 * the engine's doors cannot be taken off. */
void mount_stop(struct mount *m);
/* The descriptor is closed when the loop has run once more. */
void mount_free(struct mount *m);

/* Printed from the tree's table: what = "README", "schema.json", "man" (gpufs-tree(7)). */
int mount_print(const char *what, struct buf *out);

#endif
