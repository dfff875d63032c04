/*
 * The mount point from outside. Three rules, each learned by measurement (fuse.md 5.7 and 6):
 *  - a dead mount of ours answers ENOTCONN to everything and must be detached before a new one;
 *  - a hung one answers nothing, so only a child with a time limit ever asks the mount itself;
 *  - a detach names the device number of the mount it made, so that a mount that somebody else put
 *    there meanwhile is never taken away.
 * What is mounted is read from /proc/self/mountinfo. Mounting itself is in mountpoint_mount.c.
 *
 * One thread (the command, the holder, or a daemon that has stopped serving). Tests: tests/mount.
 */
#include "mountpoint.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/check.h"
#include "core/text.h"
#include "io/io.h"
#include "mountpoint_parts.h"

#define MOUNTINFO_BYTES_MAX ((size_t)16 << 20)
#define LINKS_MAX	    40		    /* as the kernel's own limit */
#define DYING_LIMIT_US	    (3 * SECOND_US) /* a killed process with much memory takes a moment */
#define DEAD_MAX	    16
#define ASK_LIMIT_MS	    2000 /* how long a mount may take to answer one stat */

/* ---- paths ---- */

/* The target of a symbolic link, or NULL. Never asks a mount: a mount point is no link. */
static char *link_target(const char *path)
{
	char target[PATH_MAX];
	ssize_t n = readlink(path, target, sizeof(target) - 1);

	if (n < 0)
		return NULL;
	target[n] = '\0';
	return strdup(target);
}

/* realpath(3) would lstat the mount point, and a dead or hung one answers badly; so only the parent
 * is resolved that way, and a link in the last place by hand. */
int mountpoint_resolve(const char *path, char **out, struct error *why)
{
	FREE char *now = strdup(path);
	char parent[PATH_MAX];

	for (int i = 0; now && i < LINKS_MAX; i++) {
		size_t n = strlen(now);

		while (n > 1 && now[n - 1] == '/')
			now[--n] = '\0';
		char *slash = strrchr(now, '/');
		const char *base = slash ? slash + 1 : now;
		bool dots = !*base || !strcmp(base, ".") || !strcmp(base, "..");
		FREE char *dir = dots		? strdup(now)
				 : !slash	? strdup(".")
				 : slash == now ? strdup("/")
						: strndup(now, (size_t)(slash - now));

		if (!*now)
			return fail(why, ERR_INVALID, "the mount point is an empty word");
		if (!dir || !realpath(dir, parent))
			return fail(
				why, ERR_INVALID,
				"%.200s: cannot be a mount point: %s; make the directory above it "
				"first",
				path, strerror(errno));
		BUF full = {.max = PATH_MAX};
		buf_printf(&full, "%s%s%s", parent, dots || !parent[1] ? "" : "/",
			   dots ? "" : base);
		if (!full.data || full.failed)
			return fail(why, ERR_INVALID, "%.200s: this path is too long", path);
		FREE char *target = dots ? NULL : link_target(full.data);
		if (!target) {
			for (const char *p = full.data; *p; p++)
				if ((unsigned char)*p < 0x20 || *p == 0x7f || *p == '"')
					return fail(why, ERR_INVALID,
						    "the mount point's path holds a quote or a "
						    "control byte; "
						    "it could not be written into an ssh_config");
			if (full.len > 255) /* policy.public_mount */
				return fail(why, ERR_INVALID, "%.200s: at most 255 bytes, please",
					    path);
			*out = buf_take(&full);
			return *out ? 0 : -ENOMEM;
		}
		buf_reset(&full);
		buf_printf(&full, "%s%s%s", *target == '/' ? "" : parent, *target == '/' ? "" : "/",
			   target);
		free(now);
		now = buf_take(&full);
	}
	return fail(why, ERR_INVALID, "%.200s: too many symbolic links", path);
}

/* ---- what is mounted ---- */

static bool read_mountinfo(struct buf *out)
{
	char piece[16384];
	ssize_t n = 0;
	int fd = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);

	out->max = MOUNTINFO_BYTES_MAX;
	while (fd >= 0 && (n = read(fd, piece, sizeof(piece))) > 0)
		buf_add(out, piece, (size_t)n);
	if (fd >= 0)
		close(fd);
	return fd >= 0 && n == 0 && !out->failed && out->data;
}

/* mountinfo writes space, tab, newline and backslash as three octal digits. */
static void unescape(char *s)
{
	char *to = s;

	for (; *s; s++, to++) {
		*to = *s;
		if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] >= '0' && s[2] <= '7' &&
		    s[3] >= '0' && s[3] <= '7') {
			*to = (char)((s[1] - '0') * 64 + (s[2] - '0') * 8 + (s[3] - '0'));
			s += 3;
		}
	}
	*to = '\0';
}

/* "ID PARENT DEVICE ROOT POINT OPTIONS [TAGS] - TYPE SOURCE OPTIONS" */
static bool parse_mount(char *line, struct mount_entry *m)
{
	char *save = NULL, *field[5] = {NULL}, *dash = strstr(line, " - ");

	if (!dash)
		return false;
	*dash = '\0';
	for (size_t i = 0; i < ARRAY_LEN(field); i++)
		if (!(field[i] = strtok_r(i ? NULL : line, " ", &save)))
			return false;
	unescape(field[4]);
	char *type = dash + 3;
	type[strcspn(type, " ")] = '\0';
	COPY(m->type, type);
	COPY(m->device, field[2]);
	m->ours = !strcmp(m->type, "fuse.gpufs");
	m->point = field[4];
	return true;
}

bool mount_entry_find(const char *path, const char *device, struct mount_entry *found)
{
	BUF text = {0};
	char *save = NULL;
	bool any = false;

	if (!read_mountinfo(&text))
		return false;
	for (char *l = strtok_r(text.data, "\n", &save); l; l = strtok_r(NULL, "\n", &save)) {
		struct mount_entry m = {0};

		if (!parse_mount(l, &m) || strcmp(m.point, path) != 0)
			continue;
		if (device && strcmp(m.device, device) != 0)
			continue;
		m.point = NULL; /* borrowed from the text, which ends here */
		*found = m;	/* the last line is the topmost mount */
		any = true;
	}
	return any;
}

/* statx(2) in a child with a limit: 0, a positive errno, or ETIMEDOUT if nothing came back. A child
 * that hangs in the kernel is left behind; it ends when that mount does. Never from the cache: while
 * a killed daemon is still on its way out, cached attributes would make a dead mount look alive. */
static int ask_mount(const char *path)
{
	int pipe_fd[2];
	unsigned char eno = 0;
	struct statx st;

	if (pipe2(pipe_fd, O_CLOEXEC) != 0)
		return errno;
	pid_t pid = fork();
	if (pid < 0) {
		int saved = errno;
		close(pipe_fd[0]);
		close(pipe_fd[1]);
		return saved;
	}
	if (pid == 0) {
		int asked = statx(AT_FDCWD, path, AT_STATX_FORCE_SYNC, STATX_BASIC_STATS, &st);

		eno = asked == 0 ? 0 : (unsigned char)errno;
		_exit(write(pipe_fd[1], &eno, 1) == 1 ? 0 : 1);
	}
	close(pipe_fd[1]);
	struct pollfd p = {.fd = pipe_fd[0], .events = POLLIN};
	bool came = poll(&p, 1, ASK_LIMIT_MS) == 1 && read(pipe_fd[0], &eno, 1) == 1;
	close(pipe_fd[0]);
	if (!came)
		kill(pid, SIGKILL);
	waitpid(pid, NULL, came ? 0 : WNOHANG);
	return came ? eno : ETIMEDOUT;
}

/* ---- looking ---- */

static bool dir_is_empty(const char *path, int *eno)
{
	DIR *d = opendir(path);
	bool empty = true;

	*eno = d ? 0 : errno;
	for (struct dirent *e; d && empty && (e = readdir(d));)
		empty = !strcmp(e->d_name, ".") || !strcmp(e->d_name, "..");
	if (d)
		closedir(d);
	return empty;
}

static void say(struct mountpoint_view *v, enum mountpoint_state state, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
static void say(struct mountpoint_view *v, enum mountpoint_state state, const char *fmt, ...)
{
	va_list ap;

	v->state = state;
	va_start(ap, fmt);
	vsnprintf(v->text, sizeof(v->text), fmt, ap);
	va_end(ap);
}

static bool is_dead(int eno)
{
	return eno == ENOTCONN || eno == ECONNABORTED || eno == EIO;
}

static void look_at_ours(const char *path, struct mountpoint_view *v)
{
	int eno = ask_mount(path);
	char who[32] = "";

	if (mountpoint_claimed(path, &v->holder, &v->daemon))
		snprintf(who, sizeof(who), " (pid %d)", (int)(v->holder ? v->holder : v->daemon));
	if (is_dead(eno)) /* if it is claimed all the same, mountpoint_claim decides */
		say(v, MP_DEAD, "%s: a gpufs that died is still mounted; it is detached first",
		    path);
	else if (eno == ETIMEDOUT)
		say(v, MP_NO_ANSWER,
		    "%s: a gpufs%s is mounted there and does not answer; detach it with umount -l "
		    "%s",
		    path, who, path);
	else
		say(v, MP_LIVE, "gpufs is mounted on %s already%s; umount %s stops it", path, who,
		    path);
}

void mountpoint_look(const char *path, bool nonempty, struct mountpoint_view *v)
{
	struct mount_entry m;
	struct stat st;
	int eno = 0;

	*v = (struct mountpoint_view){0};
	if (mount_entry_find(path, NULL, &m)) {
		if (m.ours)
			look_at_ours(path, v);
		else
			say(v, MP_OTHER,
			    "%s: something else is mounted there (%s); unmount it or take another "
			    "directory",
			    path, m.type);
		return;
	}
	if (lstat(path, &st) != 0) {
		if (errno == ENOENT)
			say(v, MP_MISSING, "%s: does not exist yet; it is made", path);
		else
			say(v, MP_BAD, "%s: %s", path, strerror(errno));
		return;
	}
	if (!S_ISDIR(st.st_mode)) {
		say(v, MP_BAD, "%s: is not a directory", path);
		return;
	}
	if (nonempty || dir_is_empty(path, &eno))
		say(v, MP_EMPTY, "%s: an empty directory", path);
	else
		say(v, MP_NOT_EMPTY,
		    "%s: is not empty, and a mount would cover what is there; take an empty "
		    "directory, "
		    "or say -o nonempty",
		    path);
	if (!nonempty && eno)
		say(v, MP_BAD, "%s: cannot be read: %s", path, strerror(eno));
}

int mountpoint_clear(const char *path, struct error *why)
{
	struct mount_entry m;

	for (int i = 0; i < DEAD_MAX; i++) { /* dead ones may lie on each other */
		if (!mount_entry_find(path, NULL, &m))
			return 0;
		if (!m.ours || !is_dead(ask_mount(path)))
			return fail(why, ERR_BUSY, "%s: something was mounted there just now",
				    path);
		mountpoint_detach(path, m.device);
	}
	return fail(why, ERR_BUSY, "%s: a dead mount cannot be detached; try umount -l %s", path,
		    path);
}

/* ---- the claim ---- */

/* Where claims are kept: outside the mount, writable for whoever starts gpufs, gone after a reboot
 * if the system offers such a place. */
static bool claim_dir(struct buf *out)
{
	const char *run = getenv("XDG_RUNTIME_DIR"), *state = getenv("XDG_STATE_HOME");
	const char *home = getenv("HOME");

	if (geteuid() == 0)
		buf_puts(out, "/run/gpufs");
	else if (run && *run == '/' && access(run, W_OK) == 0)
		buf_printf(out, "%s/gpufs", run);
	else if (state && *state == '/')
		buf_printf(out, "%s/gpufs", state);
	else if (home && *home == '/')
		buf_printf(out, "%s/.local/state/gpufs", home);
	return out->data && !out->failed;
}

static bool claim_path(const char *path, bool make, struct buf *out)
{
	out->max = PATH_MAX;
	if (!claim_dir(out))
		return false;
	if (make) {
		for (char *p = out->data + 1; (p = strchr(p, '/')); p++) {
			*p = '\0';
			(void)mkdir(out->data, 0755);
			*p = '/';
		}
		/* 0711 as the store makes it: where both share a directory, session owners pass
		 * through */
		(void)mkdir(out->data, geteuid() == 0 ? 0755 : 0711);
	}
	buf_printf(out, "/mount-%016llx", (unsigned long long)hash64(path, strlen(path), 0));
	return !out->failed;
}

static void claim_read(int fd, pid_t *holder, pid_t *daemon)
{
	char text[1024] = "";
	int a = 0, b = 0;
	ssize_t n = pread(fd, text, sizeof(text) - 1, 0);

	*holder = *daemon = 0;
	if (n > 0 && sscanf(text, "holder %d\ndaemon %d\n", &a, &b) == 2) {
		*holder = a;
		*daemon = b;
	}
}

bool mountpoint_claimed(const char *path, pid_t *holder, pid_t *daemon)
{
	BUF file = {0};
	bool held = false;

	*holder = *daemon = 0;
	if (!claim_path(path, false, &file))
		return false;
	int fd = open(file.data, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return false;
	held = flock(fd, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
	if (held)
		claim_read(fd, holder, daemon);
	close(fd);
	return held;
}

/* Wait until a process has ended, which is when it has let go of its locks; false after the limit. */
static bool await_end(pid_t pid, int64_t until_us)
{
	char path[48], name[32] = "", ours[32] = "";
	int64_t left_ms;

	if (pid <= 0)
		return true;
	snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
	FILE *comm = fopen(path, "re");
	if (comm && !fgets(name, sizeof(name), comm))
		name[0] = '\0';
	if (comm)
		fclose(comm);
	if (prctl(PR_GET_NAME, ours) != 0 || strncmp(name, ours, strlen(ours)) != 0)
		return true; /* that number belongs to somebody else by now */
	struct pollfd p = {.fd = pidfd_open(pid, 0), .events = POLLIN};
	if (p.fd < 0)
		return true;
	left_ms = (until_us - clock_mono_us()) / 1000;
	bool ended = poll(&p, 1, left_ms > 0 ? (int)left_ms : 0) == 1;
	close(p.fd);
	return ended;
}

/* Take the lock. Whoever was killed just now still holds it for a moment: its end is awaited, and so is
 * that of a predecessor whose lock is free already, since its other files close after this one. */
static int claim_lock(int fd, const char *path, struct error *why)
{
	int64_t until_us = clock_mono_us() + DYING_LIMIT_US;
	bool mine = flock(fd, LOCK_EX | LOCK_NB) == 0;
	pid_t holder, daemon;

	claim_read(fd, &holder, &daemon);
	if (await_end(holder, until_us) && await_end(daemon, until_us) && !mine)
		mine = flock(fd, LOCK_EX | LOCK_NB) == 0;
	if (mine)
		return 0;
	return fail(why, ERR_BUSY,
		    "%s: gpufs is mounted there already, or just being started (pid %d)", path,
		    (int)(holder ? holder : daemon));
}

int mountpoint_claim(const char *path, int *claim_fd, struct error *why)
{
	BUF file = {0};
	struct stat mine, there;

	*claim_fd = -1;
	if (!claim_path(path, true, &file))
		return 0;
	for (int i = 0; i < 8; i++) {
		int fd = open(file.data, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
		if (fd < 0)
			return 0; /* nowhere to write: then only the names of the pids are missing */
		int err = claim_lock(fd, path, why);
		if (err) {
			close(fd);
			return err;
		}
		/* the one before may have removed the file between our open and our lock */
		if (fstat(fd, &mine) == 0 && lstat(file.data, &there) == 0 &&
		    mine.st_ino == there.st_ino && mine.st_dev == there.st_dev) {
			*claim_fd = fd;
			mountpoint_sign(fd, path, getpid(), 0);
			return 0;
		}
		close(fd);
	}
	return 0;
}

void mountpoint_sign(int claim_fd, const char *path, pid_t holder, pid_t daemon)
{
	BUF text = {.max = 1024};

	if (claim_fd < 0)
		return;
	buf_printf(&text, "holder %d\ndaemon %d\nmountpoint %s\n", (int)holder, (int)daemon, path);
	if (ftruncate(claim_fd, 0) != 0 || pwrite(claim_fd, text.data, text.len, 0) < 0)
		return; /* a full /run: the lock counts, the pids are for people */
}

void mountpoint_unclaim(int claim_fd, const char *path)
{
	BUF file = {0};

	if (claim_fd >= 0 && claim_path(path, false, &file))
		(void)unlink(file.data);
}
