/*
 * The directory of an instance: <dir>/<label>/ with sshd_config, host_key, authorized_keys, sshd.log and
 * `instance`, the record by which a later daemon finds what an earlier one started.
 *
 * A directory is made aside (".new-LABEL") and renamed into place with its record inside, before any
 * process exists. While a start goes on, its worker holds a lock (flock) on the record, so that a list
 * that runs at the same time does not take "not yet" for "gone". A killed daemon drops the lock.
 * Nothing is synced to disk: what a power failure takes, it takes together with the processes.
 *
 * Owner: any worker; calls about one label never overlap (local_host.c). A record that cannot be read is
 * never a reason to forget an instance: what follows from the label alone stands in for it.
 * Tests: tests/unit/test_local_host.c
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../core/check.h"
#include "io_parts.h"
#include "local_parts.h"

#define RECORD_NAME "instance"
#define RECORD_MAX  ((size_t)8 << 10)
#define LABEL_CHARS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_."

/* It becomes a file name, a cgroup's name and a word in an environment. */
bool local_label_ok(const char *label)
{
	size_t n = label ? strlen(label) : 0;

	if (n < 1 || n >= sizeof(((struct local_record *)NULL)->label))
		return false;
	return strspn(label, LABEL_CHARS) == n && label[0] != '.' && label[0] != '-';
}

int local_path(const struct local_conf *c, const char *label, const char *file, char out[PATH_MAX])
{
	int n = snprintf(out, PATH_MAX, "%s/%s%s%s", c->dir, label, file[0] ? "/" : "", file);

	return n < 0 || n >= PATH_MAX ? -ENAMETOOLONG : 0;
}

/* ---- reading ---- */

/* All of it, at most max - 1 bytes (its end, if it is longer); -errno, or the length. */
static ssize_t read_tail(int fd, char *out, size_t max)
{
	struct stat st;
	off_t from = 0;
	size_t n = 0;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	if (st.st_size > (off_t)(max - 1))
		from = st.st_size - (off_t)(max - 1);
	while (n < max - 1) {
		ssize_t got = pread(fd, out + n, max - 1 - n, from + (off_t)n);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (got == 0)
			break;
		n += (size_t)got;
	}
	out[n] = '\0';
	return (ssize_t)n;
}

void local_file_tail(const char *dir, const char *name, char *out, size_t max)
{
	char path[PATH_MAX];
	FD fd = -1;
	ssize_t n;

	out[0] = '\0';
	if (snprintf(path, sizeof(path), "%s/%s", dir, name) >= (int)sizeof(path))
		return;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0)
		return;
	n = read_tail(fd, out, max);
	if (n < 0)
		out[0] = '\0';
	for (ssize_t i = 0; i < n; i++) /* the log is written by the owner's process: hostile */
		if (out[i] == '\0')
			out[i] = '?';
}

void local_last_line(const char *text, char *out, size_t size)
{
	size_t end = strlen(text), begin, n = 0;

	while (end > 0 && (unsigned char)text[end - 1] <= ' ')
		end--;
	begin = end;
	while (begin > 0 && text[begin - 1] != '\n')
		begin--;
	for (size_t i = begin; i < end && n + 1 < size; i++) {
		unsigned char ch = (unsigned char)text[i];

		out[n++] = ch >= ' ' && ch < 0x7f ? text[i] : '?';
	}
	out[n] = '\0';
}

/* What is known without a record. */
static void record_guess(const struct local_conf *c, const char *label, struct local_record *r)
{
	memset(r, 0, sizeof(*r));
	COPY(r->label, label);
	COPY(r->deployment, c->deployment);
	r->uid = UNKNOWN;
	if (c->cgroup_root)
		snprintf(r->cgroup, sizeof(r->cgroup), "%s/%s", c->cgroup_root, label);
}

static bool take_text(char *out, size_t size, const char *value)
{
	if (strlen(value) >= size)
		return false;
	copy_text(out, size, value);
	return true;
}

static bool record_line(struct local_record *r, const char *key, const char *value)
{
	const struct {
		const char *key;
		char *text;
		size_t size;
		int64_t *number, max;
	} lines[] = {
		{"label", r->label, sizeof(r->label), NULL, 0},
		{"deployment", r->deployment, sizeof(r->deployment), NULL, 0},
		{"uid", NULL, 0, &r->uid, UINT32_MAX - 1},
		{"user", r->user, sizeof(r->user), NULL, 0},
		{"port", NULL, 0, &r->port, 65535},
		{"host_key", r->host_key, sizeof(r->host_key), NULL, 0},
		{"visible", r->visible_devices, sizeof(r->visible_devices), NULL, 0},
		{"cgroup", r->cgroup, sizeof(r->cgroup), NULL, 0},
		{"created_us", NULL, 0, &r->created_us, INT64_MAX},
	};

	for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
		if (strcmp(lines[i].key, key) != 0)
			continue;
		if (lines[i].text)
			return take_text(lines[i].text, lines[i].size, value);
		return parse_int(str_of(value), 0, lines[i].max, lines[i].number, NULL) == 0;
	}
	return true; /* of a later version */
}

static bool record_parse(struct local_record *r, char *text)
{
	char *rest = text;

	while (rest && *rest) {
		char *line = strsep(&rest, "\n");
		char *value = strchr(line, ' ');

		if (!value)
			return false;
		*value++ = '\0';
		if (!record_line(r, line, value))
			return false;
	}
	return r->uid != UNKNOWN && r->port > 0;
}

int local_record_load(const struct local_conf *c, const char *label, struct local_record *r,
		      bool *starting)
{
	char path[PATH_MAX], text[RECORD_MAX] = "";
	struct stat st;
	FD fd = -1;
	ssize_t n;
	int err;

	*starting = false;
	record_guess(c, label, r);
	err = local_path(c, label, "", path);
	if (err)
		return err;
	if (lstat(path, &st) < 0)
		return errno == ENOENT ? -ENOENT : -EIO;
	err = local_path(c, label, RECORD_NAME, path);
	if (err)
		return err;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0)
		return -EIO;
	if (flock(fd, LOCK_SH | LOCK_NB) < 0 && errno == EWOULDBLOCK)
		*starting = true;
	n = read_tail(fd, text, sizeof(text));
	if (n <= 0 || strlen(text) != (size_t)n || !record_parse(r, text) ||
	    strcmp(r->label, label) != 0) {
		record_guess(c, label, r);
		return -EIO;
	}
	return 0;
}

/* ---- writing ---- */

int local_record_store(const char *dir, const struct local_record *r, int *lock_fd)
{
	char aside[PATH_MAX], path[PATH_MAX];
	BUF text = {.max = RECORD_MAX - 1};
	FD fd = -1;
	int err;

	buf_printf(&text, "label %s\ndeployment %s\nuid %lld\nuser %s\nport %lld\n", r->label,
		   r->deployment, (long long)r->uid, r->user, (long long)r->port);
	buf_printf(&text, "host_key %s\nvisible %s\ncgroup %s\ncreated_us %lld\n", r->host_key,
		   r->visible_devices, r->cgroup, (long long)r->created_us);
	if (text.failed)
		return -ENOMEM;
	if (snprintf(aside, sizeof(aside), "%s/" RECORD_NAME ".new", dir) >= (int)sizeof(aside) ||
	    snprintf(path, sizeof(path), "%s/" RECORD_NAME, dir) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	if (unlink(aside) < 0 && errno != ENOENT)
		return -errno;
	fd = open(aside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);
	if (fd < 0 || fchmod(fd, 0644) < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0)
		return -errno;
	err = fd_write_all(fd, text.data, text.len);
	if (!err && rename(aside, path) < 0)
		err = -errno;
	if (err) {
		unlink(aside);
		return err;
	}
	if (*lock_fd >= 0)
		close(*lock_fd); /* of the record before: the new one is locked already */
	*lock_fd = fd;
	fd = -1;
	return 0;
}

int local_file_write(const char *dir, const char *name, const char *text, size_t n, unsigned mode,
		     int64_t uid, int64_t gid)
{
	char path[PATH_MAX];
	FD fd = -1;
	int err;

	if (snprintf(path, sizeof(path), "%s/%s", dir, name) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	if (unlink(path) < 0 && errno != ENOENT)
		return -errno;
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	err = fd_write_all(fd, text, n);
	if (!err && uid != UNKNOWN && fchown(fd, (uid_t)uid, (gid_t)gid) < 0)
		err = -errno;
	if (!err && fchmod(fd, (mode_t)mode) < 0)
		err = -errno;
	return err;
}

/* One directory; what was made gets its mode whatever the umask says. */
static int dir_make(const char *path, unsigned mode)
{
	if (mkdir(path, (mode_t)mode) < 0)
		return errno == EEXIST ? 0 : -errno;
	return chmod(path, (mode_t)mode) < 0 ? -errno : 0;
}

int local_dirs_make(const char *path, unsigned mode)
{
	FREE char *copy = strdup(path);
	int err;

	if (!copy)
		return -ENOMEM;
	for (char *p = copy + 1; *p; p++) {
		if (*p != '/')
			continue;
		*p = '\0';
		err = dir_make(copy, mode);
		if (err)
			return err;
		*p = '/';
	}
	return dir_make(copy, mode);
}

/* The record goes last: until then a removal that was cut short is found and finished. */
int local_dir_remove(const char *path)
{
	FD fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct dirent *e;
	DIR *d;
	int err = 0;

	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	d = fdopendir(dup(fd));
	if (!d)
		return -errno;
	while ((e = readdir(d)) != NULL) {
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 ||
		    strcmp(e->d_name, RECORD_NAME) == 0)
			continue;
		if (unlinkat(fd, e->d_name, 0) < 0 && errno != ENOENT)
			err = -errno;
	}
	closedir(d);
	if (err)
		return err;
	if (unlinkat(fd, RECORD_NAME, 0) < 0 && errno != ENOENT)
		return -errno;
	return rmdir(path) < 0 && errno != ENOENT ? -errno : 0;
}
