/*
 * The cgroup v2 of an instance: where ours may be made, whether one is populated, its kill, its removal.
 *
 * `cgroup.kill` ends all that is inside, nohup and setsid or not; `populated 0` is the proof (zombies do
 * not count there). Both are what the kernel says at the moment of asking: nothing is remembered here.
 * What follows from them, together with the marks, is local_procs.c.
 *
 * Owner: any worker. local_cgroup_kill blocks until its deadline at most. An error is "unsure", never
 * "empty".
 * Tests: tests/unit/test_local_host.c
 */
#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../core/check.h"
#include "io_parts.h"
#include "local_parts.h"

#define CGROUPS_MAX 10000 /* nested ones that a session may have made */
#define DEPTH_MAX   64

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

static enum cgroup_look open_events(const char *path, int *fd)
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

enum cgroup_look local_cgroup_look(const char *path)
{
	FD fd = -1;

	return open_events(path, &fd);
}

static void kill_once(const char *path)
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

enum cgroup_look local_cgroup_kill(const char *path, int64_t deadline_us)
{
	FD fd = -1;
	enum cgroup_look look = open_events(path, &fd);

	while (look == CG_POPULATED) {
		struct pollfd p = {.fd = fd, .events = POLLPRI};
		int wait = ms_until(deadline_us, 1000);

		kill_once(path);
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
	for (int depth = 0; depth < DEPTH_MAX; depth++) {
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
void local_cgroup_remove(const char *path)
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
