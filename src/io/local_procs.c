/*
 * Which processes belong to an instance, and how they are ended with proof.
 *
 * First way: a cgroup v2 of its own (local_cgroup.c), which no nohup and no setsid leaves. Second way,
 * where no cgroup can be written, and as a second look where one can (su and PAM may move a process
 * elsewhere): the mark GPUFS_INSTANCE=label. A process is marked if its environment says so, if its
 * stderr is the instance's log (sshd overwrites its own environment with its title, so that only the log
 * tells it), or if its parent is marked. A mark counts only for the owner's real uid and for root's:
 * others could carry a copied mark to keep an ended session looking alive. A process that clears its
 * environment and leaves its parent escapes the second way; this is why the first is preferred.
 *
 * Owner: any worker. Blocks at most LOCAL_WAIT_US. An error is "unsure", never "gone".
 * Tests: tests/unit/test_local_host.c
 */
#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../core/check.h"
#include "io_parts.h"
#include "local_parts.h"

#define CHUNK	      ((size_t)64 << 10)
#define ENVIRON_MAX   ((size_t)4 << 20)
#define GENERATIONS   64 /* parents that are followed upwards */
#define WAIT_FDS      64
#define PASS_WAIT_MS  100
#define PROOF_PASSES  2
#define TCP_LISTEN_ST 0x0AU

/* ---- marks ---- */

struct proc {
	pid_t pid, ppid;
	int64_t start; /* with the pid, this names a process for ever */
	bool marked;
};
struct proc_list {
	struct proc *p;
	size_t n, cap, marked;
};

static void proc_list_free(struct proc_list *l)
{
	free(l->p);
}

static int proc_open(pid_t pid, const char *name)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	return open(path, O_RDONLY | O_CLOEXEC);
}

static bool proc_read(pid_t pid, const char *name, char *text, size_t size)
{
	FD fd = proc_open(pid, name);
	ssize_t n = fd < 0 ? -1 : read(fd, text, size - 1);

	if (n <= 0)
		return false;
	text[n] = '\0';
	return true;
}

/* pid's parent and start time; false for what is gone or a zombie. */
static bool proc_stat(pid_t pid, struct proc *out)
{
	char text[1024], *after;
	char state;
	int ppid;
	long long start;

	if (!proc_read(pid, "stat", text, sizeof(text)))
		return false;
	after = strrchr(text, ')'); /* the name before may hold anything */
	if (!after || sscanf(after,
			     ") %c %d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d "
			     "%*d %*d %lld",
			     &state, &ppid, &start) != 3)
		return false;
	*out = (struct proc){.pid = pid, .ppid = ppid, .start = start};
	return state != 'Z' && state != 'X';
}

/* Does the environment hold exactly "NAME=label"? Searched in pieces: it may be megabytes. */
static bool environ_has(pid_t pid, const char *needle, size_t len)
{
	FREE char *buf = malloc(CHUNK + len + 1);
	size_t kept = 1, total = 0;
	FD fd = proc_open(pid, "environ");

	if (fd < 0 || !buf)
		return false;
	buf[0] = '\0'; /* as if a variable had ended before the first one */
	while (total < ENVIRON_MAX) {
		ssize_t got = read(fd, buf + kept, CHUNK);
		size_t have, keep;

		if (got <= 0)
			return false;
		total += (size_t)got;
		have = kept + (size_t)got;
		if (memmem(buf, have, needle, len))
			return true;
		keep = have < len ? have : len - 1;
		memmove(buf, buf + have - keep, keep);
		kept = keep;
	}
	return false;
}

static bool stderr_is(pid_t pid, const struct stat *log)
{
	char path[64];
	struct stat st;

	if (!log->st_ino)
		return false;
	snprintf(path, sizeof(path), "/proc/%d/fd/2", (int)pid);
	return stat(path, &st) == 0 && st.st_dev == log->st_dev && st.st_ino == log->st_ino;
}

static bool real_uid_ok(pid_t pid, int64_t owner)
{
	char text[2048], *at;
	unsigned uid;

	if (owner == UNKNOWN)
		return true;
	if (!proc_read(pid, "status", text, sizeof(text)))
		return false;
	at = strstr(text, "\nUid:");
	return at && sscanf(at, "\nUid: %u", &uid) == 1 && (uid == 0 || uid == owner);
}

static int list_add(struct proc_list *l, const struct proc *p)
{
	if (l->n == l->cap) {
		size_t cap = l->cap ? l->cap * 2 : 256;
		struct proc *more = reallocarray(l->p, cap, sizeof(*more));

		if (!more)
			return -ENOMEM;
		l->p = more;
		l->cap = cap;
	}
	l->p[l->n++] = *p;
	return 0;
}

static int by_pid(const void *a, const void *b)
{
	const struct proc *x = a, *y = b;

	return (x->pid > y->pid) - (x->pid < y->pid);
}

static void mark_children(struct proc_list *l)
{
	bool more = l->marked > 0;

	if (l->n)
		qsort(l->p, l->n, sizeof(*l->p), by_pid);
	for (int depth = 0; more && depth < GENERATIONS; depth++) {
		more = false;
		for (size_t i = 0; i < l->n; i++) {
			struct proc key = {.pid = l->p[i].ppid};
			struct proc *parent = bsearch(&key, l->p, l->n, sizeof(*l->p), by_pid);

			if (l->p[i].marked || !parent || !parent->marked)
				continue;
			l->p[i].marked = more = true;
			l->marked++;
		}
	}
}

/* All processes, the instance's own marked. */
static int marks_scan(const struct local_conf *c, const struct local_record *r, struct proc_list *l)
{
	char needle[sizeof(LOCAL_MARK) + sizeof(r->label) + 2], log[PATH_MAX];
	struct stat log_st = {.st_ino = 0};
	size_t len = sizeof(LOCAL_MARK) + 1 + strlen(r->label) + 1;
	DIR *d = opendir("/proc");
	struct dirent *e;
	int err = 0;

	if (!d)
		return -errno;
	snprintf(needle, sizeof(needle), "%c" LOCAL_MARK "=%s", '\0', r->label);
	if (local_path(c, r->label, "sshd.log", log) || lstat(log, &log_st) < 0)
		log_st.st_ino = 0;
	while (!err && (errno = 0, e = readdir(d)) != NULL) {
		pid_t pid = (pid_t)strtol(e->d_name, NULL, 10);
		struct proc p;

		if (pid <= 1 || pid == getpid() || !proc_stat(pid, &p))
			continue;
		p.marked = (environ_has(pid, needle, len) || stderr_is(pid, &log_st)) &&
			   real_uid_ok(pid, r->uid);
		l->marked += p.marked;
		err = list_add(l, &p);
	}
	if (!err && errno)
		err = -errno;
	closedir(d);
	if (!err)
		mark_children(l);
	return err;
}

/* A process cannot be mistaken for another of the same number: the descriptor is opened first, then
 * the start time is compared. */
static int kill_one(const struct proc *p)
{
	struct proc again;
	int fd = pidfd_open(p->pid, 0);

	if (fd < 0)
		return -1;
	if (!proc_stat(p->pid, &again) || again.start != p->start ||
	    pidfd_send_signal(fd, SIGKILL, NULL, 0) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

static void kill_pass(const struct proc_list *l, int64_t deadline_us)
{
	struct pollfd fds[WAIT_FDS];
	nfds_t n = 0;

	for (size_t i = 0; i < l->n; i++) {
		int fd = l->p[i].marked ? kill_one(&l->p[i]) : -1;

		if (fd < 0)
			continue;
		if (n < WAIT_FDS)
			fds[n++] = (struct pollfd){.fd = fd, .events = POLLIN};
		else
			close(fd);
	}
	if (n)
		poll(fds, n, ms_until(deadline_us, PASS_WAIT_MS));
	for (nfds_t i = 0; i < n; i++)
		close(fds[i].fd);
}

static int marks_kill(const struct local_conf *c, const struct local_record *r, int64_t deadline_us,
		      size_t *left)
{
	int none = 0;

	*left = 0;
	while (none < PROOF_PASSES) {
		__attribute__((cleanup(proc_list_free))) struct proc_list l = {.n = 0};
		int err = marks_scan(c, r, &l);

		if (err)
			return err;
		*left = l.marked;
		none = l.marked ? 0 : none + 1;
		if (l.marked && clock_mono_us() >= deadline_us)
			return -EBUSY;
		if (l.marked)
			kill_pass(&l, deadline_us);
	}
	return 0;
}

/* ---- the two questions ---- */

static const char *const cgroup_words[] = {
	[CG_ABSENT] = "no cgroup",
	[CG_EMPTY] = "cgroup populated 0",
	[CG_POPULATED] = "cgroup populated 1",
	[CG_UNSURE] = "its cgroup cannot be read",
};

enum local_life local_life(const struct local_conf *c, const struct local_record *r, char *evidence,
			   size_t size)
{
	__attribute__((cleanup(proc_list_free))) struct proc_list l = {.n = 0};
	enum cgroup_look look = local_cgroup_look(r->cgroup);

	snprintf(evidence, size, "%s", cgroup_words[look]);
	if (look == CG_POPULATED)
		return LIFE_SOME;
	if (look == CG_UNSURE)
		return LIFE_UNSURE;
	if (marks_scan(c, r, &l)) {
		snprintf(evidence, size, "the list of processes cannot be read");
		return LIFE_UNSURE;
	}
	if (l.marked) {
		snprintf(evidence, size, "%s, %zu processes carry its mark", cgroup_words[look],
			 l.marked);
		return LIFE_SOME;
	}
	snprintf(evidence, size, "%s, no process carries its mark", cgroup_words[look]);
	return LIFE_NONE;
}

int local_kill(const struct local_conf *c, const struct local_record *r, char *evidence,
	       size_t size)
{
	int64_t deadline_us = clock_mono_us() + LOCAL_WAIT_US;
	enum cgroup_look look = local_cgroup_kill(r->cgroup, deadline_us);
	size_t left = 0;
	int err;

	snprintf(evidence, size, "%s", cgroup_words[look]);
	if (look == CG_POPULATED)
		return -EBUSY;
	if (look == CG_UNSURE)
		return -EIO;
	err = marks_kill(c, r, deadline_us, &left);
	if (err == -EBUSY)
		snprintf(evidence, size, "%zu processes that carry its mark do not end", left);
	else if (err)
		snprintf(evidence, size, "the list of processes cannot be read");
	else
		snprintf(evidence, size, "%s, no process carries its mark", cgroup_words[look]);
	if (!err && r->cgroup[0])
		local_cgroup_remove(r->cgroup);
	return err;
}

bool local_port_listens(int64_t port, int64_t uid)
{
	FILE *f = fopen("/proc/net/tcp", "re");
	FREE char *line = NULL;
	size_t cap = 0;
	bool found = false;

	while (f && !found && getline(&line, &cap, f) > 0) {
		unsigned addr, at, state, owner;

		if (sscanf(line, " %*u: %8X:%4X %*8X:%*4X %2X %*s %*s %*s %u", &addr, &at, &state,
			   &owner) != 4)
			continue;
		found = state == TCP_LISTEN_ST && addr == htonl(INADDR_LOOPBACK) && at == port &&
			owner == uid;
	}
	if (f)
		fclose(f);
	return found;
}
