/*
 * Between mountpoint.c and mountpoint_mount.c only: one line of /proc/self/mountinfo.
 */
#ifndef GPUFS_MOUNTPOINT_PARTS_H
#define GPUFS_MOUNTPOINT_PARTS_H

#include "mountpoint.h"

struct mount_entry {
	char type[64], device[32];
	const char *point;
	bool ours;
};
/* The topmost mount on exactly this path; with a device only that one. */
bool mount_entry_find(const char *path, const char *device, struct mount_entry *found);
/* Does somebody hold PATH's claim, and who? */
bool mountpoint_claimed(const char *path, pid_t *holder, pid_t *daemon);

#endif
