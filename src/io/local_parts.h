/*
 * Between the parts of the local host: local_host.c (calls, workers), local_record.c (the directory of
 * an instance), local_owner.c (as whom), local_config.c (sshd_config), local_sshd.c (files and start of
 * sshd), local_cgroup.c, local_procs.c (/proc, and the proof), local_gpus.c.
 * Nobody else includes this, except their unit test. Everything here runs on a worker, touches no state
 * of the loop, and may block within the bounds that it names.
 *
 * An instance is its label. It is found through three places, never through memory: its directory, its
 * cgroup, and the mark GPUFS_INSTANCE=label that its processes carry.
 */
#ifndef GPUFS_IO_LOCAL_PARTS_H
#define GPUFS_IO_LOCAL_PARTS_H

#include <limits.h>
#include <sys/types.h>

#include "../core/spec.h"
#include "io.h"

#define LOCAL_MARK	 "GPUFS_INSTANCE"
#define LOCAL_WAIT_US	 (5 * SECOND_US) /* a start, and a kill, take no longer */
#define LOCAL_PORT_TRIES 5
#define LOCAL_ASIDE	 ".new-" /* directories that are still being made */

/* What is fixed after local_host_new: shared by the workers, read only. */
struct local_conf {
	char *dir;
	char deployment[16];
	char *cgroup_root; /* ".../gpufs-<deployment>"; NULL: count by marker */
	int64_t uid;	   /* of this process; 0 may start sessions for everybody */
	/* For tests: another way to choose a port, other places to look for GPUs. */
	int (*pick_port)(void *arg);
	void *pick_port_arg;
	const char *nvidia_dir, *nvidia_smi;
};

/* The file `instance`: what a start wrote down before anything ran. */
struct local_record {
	char label[64];
	char deployment[16];
	int64_t uid; /* UNKNOWN where the record cannot be read */
	char user[64];
	int64_t port;
	char host_key[256];
	char visible_devices[64];
	char cgroup[PATH_MAX]; /* "": none was used */
	int64_t created_us;
};

/* ---- local_record.c ---- */
bool local_label_ok(const char *label);
int local_path(const struct local_conf *c, const char *label, const char *file, char out[PATH_MAX]);
/* 0; -ENOENT: no directory; another error: the directory is there, its record is not readable, and r
 * holds what follows from the label alone. `starting`: a start holds its lock right now. */
int local_record_load(const struct local_conf *c, const char *label, struct local_record *r,
		      bool *starting);
/* Written aside and renamed into place. The returned descriptor holds the lock that says "starting". */
int local_record_store(const char *dir, const struct local_record *r, int *lock_fd);
int local_file_write(const char *dir, const char *name, const char *text, size_t n, unsigned mode,
		     int64_t uid, int64_t gid);
/* Text of a small file, at most `max` bytes from its end; NUL-terminated, "" if there is none. */
void local_file_tail(const char *dir, const char *name, char *out, size_t max);
/* The last line that says something, without control bytes. */
void local_last_line(const char *text, char *out, size_t size);
int local_dirs_make(const char *path, unsigned mode);
/* A directory of plain files, whole. Follows no link. */
int local_dir_remove(const char *path);

/* ---- local_cgroup.c; a path of "": no cgroup was used ---- */
enum cgroup_look { CG_ABSENT, CG_EMPTY, CG_POPULATED, CG_UNSURE };
/* The root of our cgroups if it can be used, malloc'd; else NULL and why not. */
char *local_cgroup_find(const char *deployment, struct buf *note);
/* Makes the instance's cgroup and opens its cgroup.procs for the child; -errno. */
int local_cgroup_make(const char *path, int *procs_fd);
enum cgroup_look local_cgroup_look(const char *path);
/* Ends all inside, and says what it saw last. */
enum cgroup_look local_cgroup_kill(const char *path, int64_t deadline_us);
void local_cgroup_remove(const char *path); /* with those that were made inside */

/* ---- local_procs.c ---- */
enum local_life { LIFE_NONE, LIFE_SOME, LIFE_UNSURE };
/* Is any process left? Evidence says how that was established. */
enum local_life local_life(const struct local_conf *c, const struct local_record *r, char *evidence,
			   size_t size);
/* Ends every process; 0 only when proven. Takes at most LOCAL_WAIT_US. */
int local_kill(const struct local_conf *c, const struct local_record *r, char *evidence,
	       size_t size);
/* Does uid listen on 127.0.0.1:port? From /proc/net/tcp: nobody else can fake the uid, and sshd is not
 * disturbed by a connection. */
bool local_port_listens(int64_t port, int64_t uid);

/* ---- local_owner.c ---- */
struct local_owner {
	int64_t uid, gid;
	char name[64], home[PATH_MAX], shell[256];
	gid_t groups[256];
	int group_count;
};
int local_owner_find(const struct local_conf *c, int64_t uid, struct local_owner *o,
		     struct error *why);

/* ---- local_config.c ---- */
int local_env_check(const struct host_call *call, struct error *why);
/* The text of sshd_config. */
void local_sshd_config(const char *dir, const struct local_record *r, const struct host_call *call,
		       struct buf *out);

/* ---- local_sshd.c ---- */
/* Makes files, cgroup, process; waits until it listens. 0 and the record; or a negative errno, with
 * *maybe if something may be left. */
int local_sshd_start(const struct local_conf *c, const struct host_call *call,
		     struct local_record *r, bool *maybe, struct error *why);

/* ---- local_gpus.c ---- */
/* Number of GPUs written to out. */
size_t local_gpus(const struct local_conf *c, struct host_gpu *out, size_t max);

/* ---- local_host.c, for tests ---- */
struct local_conf *local_host_conf(struct local_host *h);

#endif
