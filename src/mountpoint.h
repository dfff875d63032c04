/*
 * The mount point from outside: what is there now, mounting, detaching, and the small file that
 * says who serves it. Used by the command and by the holder, and by a daemon whose holder is gone;
 * never by the loop while it serves (fuse.md 6: touching the own mount from the loop deadlocks).
 */
#ifndef GPUFS_MOUNTPOINT_H
#define GPUFS_MOUNTPOINT_H

#include <sys/types.h>

#include "core/buf.h"
#include "core/error.h"

enum mountpoint_state {
	MP_EMPTY,     /* an empty directory: good */
	MP_MISSING,   /* not there, its parent is: it would be made */
	MP_NOT_EMPTY, /* files would be covered */
	MP_OTHER,     /* something else is mounted there */
	MP_LIVE,      /* a gpufs is mounted there and answers */
	MP_DEAD,      /* a gpufs that died: to be detached first */
	MP_NO_ANSWER, /* a gpufs that does not answer in time */
	MP_BAD,	      /* no directory, no parent, no permission: see text */
};
struct mountpoint_view {
	enum mountpoint_state state;
	pid_t holder, daemon; /* MP_LIVE: who serves it; 0 unknown */
	char text[320];	      /* a sentence for people */
};

/* An absolute path without symbolic links that never asks the mount itself. Owned by the caller. */
int mountpoint_resolve(const char *path, char **out, struct error *why);
void mountpoint_look(const char *path, bool nonempty, struct mountpoint_view *v);

/* Detach what is dead there. Call it holding the claim: then whatever is of ours is nobody's. */
int mountpoint_clear(const char *path, struct error *why);

struct mount_how {
	bool read_only, noexec, nonempty;
};
/* Mount there (root: mount(2); else fusermount3). `device` gets "MAJOR:MINOR", by which
 * mountpoint_detach knows this mount from one that came later. */
int mountpoint_mount(const char *path, const struct mount_how *how, int *fuse_fd, char device[32],
		     struct error *why);
/* Detach exactly this mount, if it is still there. device "": the topmost, if it is a gpufs. */
void mountpoint_detach(const char *path, const char *device);

/* ---- who serves a mount point: a locked file outside of it ---- */

/* Lock PATH's file. -EBUSY with a sentence that names the pid if somebody else has it. The lock is
 * shared by everyone who inherits the descriptor. No place for such files is not an error: -1. */
int mountpoint_claim(const char *path, int *claim_fd, struct error *why);
void mountpoint_sign(int claim_fd, const char *path, pid_t holder, pid_t daemon);
/* Remove the file. The descriptor stays open. */
void mountpoint_unclaim(int claim_fd, const char *path);

#endif
