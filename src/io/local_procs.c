/*
 * Which processes belong to an instance, and how they are ended with proof.
 *
 * First way: a cgroup v2 of its own. `cgroup.kill` ends all, nohup and setsid or not; `populated 0` is the
 * proof (zombies do not count there). Second way, where no cgroup can be written, and as a second look
 * where one can (su and PAM may move a process elsewhere): the mark GPUFS_INSTANCE=label. A process is
 * marked if its environment says so, if its stderr is the instance's log (sshd overwrites its own
 * environment with its title, so that only the log tells it), or if its parent is marked. A mark counts
 * only for the owner's real uid and for root's: others could carry a copied mark to keep an ended session
 * looking alive. A process that clears its environment and leaves its parent escapes the second way; this
 * is why the first is preferred.
 *
 * Owner: any worker. Blocks at most LOCAL_WAIT_US. An error is "unsure", never "gone".
 * Tests: tests/unit/test_local_host.c
 */
#include <arpa/inet.h>
#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "../core/check.h"
#include "local_parts.h"

#define CHUNK	      ((size_t)64 << 10)
#define ENVIRON_MAX   ((size_t)4 << 20)
#define GENERATIONS   64 /* parents that are followed upwards */
#define WAIT_FDS      64
#define CGROUPS_MAX   10000 /* nested ones that a session may have made */
#define PASS_WAIT_MS  100
#define PROOF_PASSES  2
#define TCP_LISTEN_ST 0x0AU

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}
#define FD __attribute__((cleanup(close_fd))) int

static int64_t now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * SECOND_US + t.tv_nsec / 1000;
}

static int ms_until(int64_t deadline_us, int64_t at_most_ms)
{
	int64_t ms = (deadline_us - now_us() + 999) / 1000;

	if (ms < 0)
		return 0;
	return (int)(ms < at_most_ms ? ms : at_most_ms);
}

/* ---- finding the cgroup ---- */

/* mountinfo writes space, tab, newline and backslash as \ooo. */
static void unescape_octal(char *s)
{
	char *to = s;

	for (; *s; s++) {
		if (s[0] == '\\' && isdigit((unsigned char)s[1]) && isdigit((unsigned char)s[2]) &&
		    isdigit((unsigned char)s[3])) {
			*to++ = (char)((s[1] - '0') * 64 + (s[2] - '0') * 8 + (s[3] - '0'));
			s += 3;
		} else {
			*to++ = *s;
		}
	}
	*to = '\0';
}

/* Mount point and root of the first cgroup2 mount. */
static bool find_cgroup2(char mount[PATH_MAX], char root[PATH_MAX])
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	FREE char *line = NULL;
	size_t cap = 0;
	bool found = false;

	while (f && !found && getline(&line, &cap, f) > 0) {
		char *dash = strstr(line, " - "), *rest = line, *field[5];

		if (!dash || strncmp(dash + 3, "cgroup2 ", 8) != 0)
			continue;
		for (size_t i = 0; i < ARRAY_LEN(field); i++)
			field[i] = strsep(&rest, " ");
		if (!field[4])
			continue;
		copy_text(root, PATH_MAX, field[3]);
		copy_text(mount, PATH_MAX, field[4]);
		unescape_octal(root);
		unescape_octal(mount);
		found = true;
	}
	if (f)
		fclose(f);
	return found;
}

static bool own_cgroup(char out[PATH_MAX])
{
	FILE *f = fopen("/proc/self/cgroup", "re");
	FREE char *line = NULL;
	size_t cap = 0;
	bool found = false;

	while (f && !found && getline(&line, &cap, f) > 0) {
		if (strncmp(line, "0::/", 4) != 0)
			continue;
		line[strcspn(line, "\n")] = '\0';
		copy_text(out, PATH_MAX, line + 3);
		found = true;
	}
	if (f)
		fclose(f);
	return found;
}

static bool path_plain(const char *s)
{
	for (const char *p = s; *p; p++)
		if ((unsigned char)*p < ' ')
			return false;
	return strstr(s, "/..") == NULL;
}

/* Our own cgroup's directory; NULL or why not. */
static const char *own_cgroup_dir(char out[PATH_MAX])
{
	char mount[PATH_MAX], root[PATH_MAX], own[PATH_MAX];
	const char *below = own;
	size_t n;

	if (!find_cgroup2(mount, root))
		return "no cgroup v2 is mounted";
	if (!own_cgroup(own))
		return "this process is in no cgroup v2";
	n = strlen(root);
	if (n > 1 && strncmp(own, root, n) == 0 && (own[n] == '/' || own[n] == '\0'))
		below = own + n;
	if (strcmp(below, "/") == 0)
		below = "";
	if (!path_plain(mount) || !path_plain(below) ||
	    snprintf(out, PATH_MAX, "%s%s", mount, below) >= PATH_MAX)
		return "the path of our own cgroup cannot be used";
	return NULL;
}

static bool can_write(const char *dir, const char *file)
{
	char path[PATH_MAX];

	if (snprintf(path, sizeof(path), "%s/%s", dir, file) >= (int)sizeof(path))
		return false;
	return faccessat(AT_FDCWD, path, W_OK, AT_EACCESS) == 0;
}

char *local_cgroup_find(const char *deployment, struct buf *note)
{
	char own[PATH_MAX];
	const char *problem = NULL;
	char *root = NULL;

#ifdef GPUFS_TEST
	if (getenv("GPUFS_TEST_NO_CGROUP"))
		problem = "the test asked for it";
#endif
	if (!problem)
		problem = own_cgroup_dir(own);
	if (!problem && asprintf(&root, "%s/gpufs-%s", own, deployment) < 0) {
		root = NULL;
		problem = "out of memory";
	}
	if (!problem && mkdir(root, 0755) < 0 && errno != EEXIST)
		problem = strerror(errno);
	/* Moving a process needs the right to write at the place that it leaves, too. */
	if (!problem && (!can_write(root, "cgroup.procs") || !can_write(own, "cgroup.procs")))
		problem = "our own cgroup may not be written";
	if (!problem && !can_write(root, "cgroup.kill"))
		problem = "this kernel has no cgroup.kill (Linux 5.14 has)";
	if (!problem) {
		buf_printf(note, "processes of local sessions are counted by cgroup v2 in %s",
			   root);
		return root;
	}
	buf_printf(note,
		   "processes of local sessions are counted by the mark " LOCAL_MARK
		   " in their environment, since there is no cgroup for them: %s",
		   problem);
	free(root);
	return NULL;
}

int local_cgroup_make(const char *path, int *procs_fd)
{
	FREE char *parent = strdup(path);
	char procs[PATH_MAX];
	char *slash = parent ? strrchr(parent, '/') : NULL;

	if (!slash)
		return -ENOMEM;
	*slash = '\0';
	if (mkdir(parent, 0755) < 0 && errno != EEXIST)
		return -errno;
	if (mkdir(path, 0755) < 0 && errno != EEXIST)
		return -errno;
	if (snprintf(procs, sizeof(procs), "%s/cgroup.procs", path) >= (int)sizeof(procs))
		return -ENAMETOOLONG;
	*procs_fd = open(procs, O_WRONLY | O_CLOEXEC);
	return *procs_fd < 0 ? -errno : 0;
}

/* ---- cgroup: is it populated, kill, remove ---- */

enum cgroup_look { CG_ABSENT, CG_EMPTY, CG_POPULATED, CG_UNSURE };

static enum cgroup_look events_read(int fd)
{
	char text[512];
	ssize_t n = pread(fd, text, sizeof(text) - 1, 0);

	if (n < 0)
		return errno == ENODEV ? CG_ABSENT : CG_UNSURE; /* removed while it was open */
	text[n] = '\0';
	if (strstr(text, "populated 1"))
		return CG_POPULATED;
	return strstr(text, "populated 0") ? CG_EMPTY : CG_UNSURE;
}

static enum cgroup_look cgroup_open_events(const char *path, int *fd)
{
	char file[PATH_MAX];

	*fd = -1;
	if (!path[0])
		return CG_ABSENT;
	if (snprintf(file, sizeof(file), "%s/cgroup.events", path) >= (int)sizeof(file))
		return CG_UNSURE;
	*fd = open(file, O_RDONLY | O_CLOEXEC);
	if (*fd < 0)
		return errno == ENOENT || errno == ENOTDIR ? CG_ABSENT : CG_UNSURE;
	return events_read(*fd);
}

static void cgroup_kill_once(const char *path)
{
	char file[PATH_MAX];
	FD fd = -1;
	ssize_t put;

	if (snprintf(file, sizeof(file), "%s/cgroup.kill", path) >= (int)sizeof(file))
		return;
	fd = open(file, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	put = write(fd, "1", 1);
	(void)put; /* whether it worked is read from cgroup.events */
}

static enum cgroup_look cgroup_kill(const char *path, int64_t deadline_us)
{
	FD fd = -1;
	enum cgroup_look look = cgroup_open_events(path, &fd);

	while (look == CG_POPULATED) {
		struct pollfd p = {.fd = fd, .events = POLLPRI};
		int wait = ms_until(deadline_us, 1000);

		cgroup_kill_once(path);
		look = events_read(fd);
		if (look != CG_POPULATED || wait == 0)
			break;
		poll(&p, 1, wait);
		look = events_read(fd);
	}
	return look;
}

/* The path of some cgroup inside `path` that has none inside itself. */
static bool deepest_cgroup(char path[PATH_MAX])
{
	for (int depth = 0; depth < GENERATIONS; depth++) {
		DIR *d = opendir(path);
		struct dirent *e;
		size_t n = strlen(path);
		bool deeper = false;

		if (!d)
			return false;
		while (!deeper && (e = readdir(d)) != NULL) {
			if (e->d_type != DT_DIR || e->d_name[0] == '.')
				continue;
			if (snprintf(path + n, PATH_MAX - n, "/%s", e->d_name) >=
			    (int)(PATH_MAX - n)) {
				closedir(d);
				return false;
			}
			deeper = true;
		}
		closedir(d);
		if (!deeper)
			return true;
	}
	return false;
}

/* What is left over is empty, so it costs nothing and proves nothing wrong: no error. */
static void cgroup_remove(const char *path)
{
	for (int i = 0; i < CGROUPS_MAX; i++) {
		char at[PATH_MAX];

		copy_text(at, sizeof(at), path);
		if (rmdir(at) == 0 || errno != EBUSY)
			return;
		if (!deepest_cgroup(at) || strcmp(at, path) == 0 || rmdir(at) < 0)
			return;
	}
}

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

/* pid's parent and start time; false for what is gone or a zombie. */
static bool proc_stat(pid_t pid, struct proc *out)
{
	char path[64], text[1024], *after;
	FD fd = -1;
	ssize_t n;
	char state;
	int ppid;
	long long start;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (n <= 0)
		return false;
	text[n] = '\0';
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
	char path[64];
	FREE char *buf = malloc(CHUNK + len + 1);
	size_t kept = 1, total = 0;
	FD fd = -1;

	snprintf(path, sizeof(path), "/proc/%d/environ", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
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
	char path[64], text[2048], *at;
	FD fd = -1;
	ssize_t n;
	unsigned uid;

	if (owner == UNKNOWN)
		return true;
	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (n <= 0)
		return false;
	text[n] = '\0';
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
		if (l.marked && now_us() >= deadline_us)
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
	FD fd = -1;
	enum cgroup_look look = cgroup_open_events(r->cgroup, &fd);

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
	int64_t deadline_us = now_us() + LOCAL_WAIT_US;
	enum cgroup_look look = cgroup_kill(r->cgroup, deadline_us);
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
		cgroup_remove(r->cgroup);
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
