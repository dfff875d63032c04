/*
 * The store's files: directories, the lock against a second daemon, the database file's mode, the
 * ballast, and what --check says about all of them.
 *
 * Owner: main at start and end; afterwards the ballast is dropped by the loop and remade by the
 * worker (store.c orders the two). Nothing here keeps state. Invariants: files are 0600 and
 * directories made here 0711 (owners of local sessions must be able to walk through them to their
 * instance's directory); nothing is followed through a symbolic link but the database itself, which
 * an administrator may have moved; every descriptor is O_CLOEXEC, so no child inherits the lock.
 * Tests: tests/unit/test_store.c.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "../core/check.h"
#include "../core/text.h"
#include "io.h"
#include "io_parts.h"
#include "store_parts.h"

/* One sentence for everything that open, mkdir and the like refuse: what, where, why, what to do.
 */
static int files_fail(struct error *why, int eno, const char *doing, const char *path)
{
	const char *advice = "look at that path, or set DATABASE_PATH to another place";
	const char *text = strerrordesc_np(eno);

	if (eno == EACCES || eno == EPERM)
		advice = "start as a user who may write there, or set DATABASE_PATH to another "
			 "place";
	else if (eno == EROFS)
		advice = "make it writable (mount -o remount,rw), or set DATABASE_PATH to another "
			 "place";
	else if (eno == ENOSPC || eno == EDQUOT)
		advice = "free some space on that disk and start again";
	return fail(why, ERR_NOT_DURABLE, "the database cannot be used: %s %s: %s; %s", doing, path,
		    text ? text : "unknown error", advice);
}

static char *files_beside(const char *path, const char *suffix)
{
	char *s = NULL;

	if (asprintf(&s, "%s%s", path, suffix) < 0)
		return NULL;
	return s;
}

/* One name for one file, whatever links lead to it: the lock and the rest lie beside the real one.
 */
char *files_absolute(const char *path)
{
	FREE char *cwd = NULL;
	char *s = realpath(path, NULL);

	if (s)
		return s;
	if (path[0] == '/')
		return strdup(path);
	cwd = getcwd(NULL, 0);
	if (cwd == NULL || asprintf(&s, "%s/%s", cwd, path) < 0)
		return NULL;
	return s;
}

static int dir_make(const char *dir, struct error *why)
{
	struct stat st;

	if (stat(dir, &st) == 0) {
		if (!S_ISDIR(st.st_mode))
			return files_fail(why, ENOTDIR, "going through", dir);
		return 0;
	}
	if (mkdir(dir, 0711) < 0)
		return errno == EEXIST ? 0 : files_fail(why, errno, "making the directory", dir);
	if (chmod(dir, 0711) < 0) /* the umask may have cut it */
		return files_fail(why, errno, "setting the mode of", dir);
	return 0;
}

int files_make_parents(const char *path, struct error *why)
{
	FREE char *dir = strdup(path);

	if (dir == NULL)
		return fail(why, ERR_NO_MEMORY, "out of memory while opening the database");
	for (char *p = dir + 1; (p = strchr(p, '/')) != NULL; p++) {
		int err;

		*p = '\0';
		err = dir_make(dir, why);
		if (err)
			return err;
		*p = '/';
	}
	return 0;
}

/* The process that holds the lock, from what it wrote there; 0 if that is not a number. */
static int64_t lock_holder(int fd)
{
	char text[32];
	ssize_t n = pread(fd, text, sizeof(text), 0);
	const char *end;
	int64_t pid = 0;

	if (n <= 0)
		return 0;
	end = memchr(text, '\n', (size_t)n);
	if (end == NULL ||
	    parse_int((struct str){text, (size_t)(end - text)}, 1, INT32_MAX, &pid, NULL) < 0)
		return 0;
	return pid;
}

static int lock_refused(int fd, const char *path, struct error *why)
{
	int64_t pid = lock_holder(fd);

	if (pid == 0)
		return fail(why, ERR_BUSY,
			    "another gpufs uses the database %s; stop that one, or set "
			    "DATABASE_PATH to another file",
			    path);
	return fail(why, ERR_BUSY,
		    "process %lld is a gpufs that uses the database %s; stop that one, or set "
		    "DATABASE_PATH to another file",
		    (long long)pid, path);
}

int files_lock(const char *path, int *out, struct error *why)
{
	FREE char *name = files_beside(path, ".lock");
	FD fd = -1;

	*out = -1;
	if (name == NULL)
		return fail(why, ERR_NO_MEMORY, "out of memory while locking the database");
	fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
	if (fd < 0)
		return files_fail(why, errno, "opening the lock", name);
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		if (errno == EWOULDBLOCK)
			return lock_refused(fd, path, why);
		return files_fail(why, errno, "locking", name);
	}
	/* The number is for people. A full disk must not keep the daemon from its destroy orders,
	 * so that it could not be written is no reason to stop: the lock is the flock. */
	if (ftruncate(fd, 0) == 0 && dprintf(fd, "%ld\n", (long)getpid()) < 0)
		errno = 0;
	*out = fd;
	fd = -1;
	return 0;
}

void files_unlock(int fd)
{
	if (fd < 0)
		return;
	/* Emptied, never removed: a successor may have it open already and would lock a ghost. */
	if (ftruncate(fd, 0) < 0)
		errno = 0;
	close(fd);
}

/* A backup that was copied back may be readable for all; the rows hold private keys. */
static void mode_tighten(const char *path, const char *suffix)
{
	FREE char *name = files_beside(path, suffix);
	struct stat st;

	if (name && lstat(name, &st) == 0 && S_ISREG(st.st_mode) && (st.st_mode & 077) != 0 &&
	    chmod(name, 0600) < 0)
		log_line(LOG_WARN_,
			 "database file %s can be read by others and its mode cannot be "
			 "changed: %m",
			 name);
}

static int dir_sync(const char *path, struct error *why)
{
	FREE char *dir = strdup(path);
	FD fd = -1;

	if (dir == NULL)
		return fail(why, ERR_NO_MEMORY, "out of memory while opening the database");
	strrchr(dir, '/')[1] = '\0';
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	/* A directory that may be written but not read cannot be synced; the file still works. */
	if (fd >= 0 && fsync(fd) < 0 && errno != EINVAL)
		return files_fail(why, errno, "syncing", dir);
	return 0;
}

int files_make_database(const char *path, struct error *why)
{
	struct stat st;
	FD fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0600);

	if (fd < 0)
		return files_fail(why, errno, "opening", path);
	if (fstat(fd, &st) < 0)
		return files_fail(why, errno, "looking at", path);
	if (!S_ISREG(st.st_mode))
		return fail(why, ERR_INVALID,
			    "the database %s is not a regular file; set DATABASE_PATH to a file",
			    path);
	/* SQLite gives its -wal and -shm the mode of the database. */
	if ((st.st_mode & 077) != 0 && fchmod(fd, 0600) < 0)
		return files_fail(why, errno, "setting the mode of", path);
	mode_tighten(path, "-wal");
	mode_tighten(path, "-shm");
	return st.st_size == 0 ? dir_sync(path, why) : 0;
}

/* ---- the ballast: space that a full disk cannot take from orders to destroy ---- */

int64_t files_room(const char *path)
{
	FREE char *dir = strdup(path);
	struct statvfs v;
	uint64_t bytes;

	if (dir == NULL)
		return 0;
	strrchr(dir, '/')[1] = '\0';
	if (statvfs(dir, &v) < 0 || __builtin_mul_overflow(v.f_bavail, v.f_frsize, &bytes))
		return 0;
	return bytes > INT64_MAX ? INT64_MAX : (int64_t)bytes;
}

bool files_ballast_make(const char *path)
{
	FREE char *name = files_beside(path, ".ballast");
	struct stat st;
	FD fd = -1;

	if (name == NULL)
		return false;
	fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return false;
	if (st.st_size >= STORE_BALLAST_BYTES && st.st_blocks * 512 >= STORE_BALLAST_BYTES)
		return true;
	/* The disk may be nearly full already: leave as much again for the database itself. */
	if (files_room(path) >= 2 * STORE_BALLAST_BYTES &&
	    posix_fallocate(fd, 0, STORE_BALLAST_BYTES) == 0)
		return true;
	unlink(name);
	return false;
}

bool files_ballast_drop(const char *path)
{
	FREE char *name = files_beside(path, ".ballast");

	return name != NULL && unlink(name) == 0;
}

/* ---- --check ---- */

int64_t files_holder(const char *path)
{
	FREE char *name = files_beside(path, ".lock");
	FD fd = -1;
	int64_t pid;

	if (name == NULL)
		return 0;
	fd = open(name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0 || flock(fd, LOCK_SH | LOCK_NB) == 0)
		return 0;
	pid = lock_holder(fd);
	return pid ? pid : -1;
}

/* There is no database yet: could one be made? Looks at the nearest directory that exists. */
static int probe_missing(const char *path, struct buf *out, struct error *why)
{
	FREE char *dir = strdup(path);
	struct stat st;
	char *slash;
	int err;

	if (dir == NULL)
		return fail(why, ERR_NO_MEMORY, "out of memory while looking at the database");
	do {
		slash = strrchr(dir, '/');
		slash[slash == dir ? 1 : 0] = '\0';
		err = stat(dir, &st) < 0 ? errno : 0;
	} while (err == ENOENT && slash != dir);
	if (!err && !S_ISDIR(st.st_mode))
		err = ENOTDIR;
	if (!err && faccessat(AT_FDCWD, dir, W_OK | X_OK, AT_EACCESS) < 0)
		err = errno;
	if (err)
		return files_fail(why, err, "making a file below", dir);
	buf_puts(out, "database file: would be made\n");
	return 0;
}

bool files_wal_waits(const char *path)
{
	FREE char *name = files_beside(path, "-wal");
	struct stat st;

	return name != NULL && stat(name, &st) == 0 && st.st_size > 0;
}

static int probe_existing(const char *path, int64_t holder, struct buf *out, struct error *why)
{
	FREE char *dir = strdup(path);
	int64_t version = 0, sessions = 0;
	int err;

	if (dir == NULL)
		return fail(why, ERR_NO_MEMORY, "out of memory while looking at the database");
	strrchr(dir, '/')[1] = '\0';
	/* The write-ahead log is made beside it. */
	if (faccessat(AT_FDCWD, dir, W_OK | X_OK, AT_EACCESS) < 0)
		return files_fail(why, errno, "making files in", dir);
	if (faccessat(AT_FDCWD, path, R_OK | W_OK, AT_EACCESS) < 0)
		return files_fail(why, errno, "opening", path);
	err = db_look(path, holder == 0 && !files_wal_waits(path), &version, &sessions, why);
	if (err)
		return err;
	buf_printf(out, "database file: exists, version %lld (this program writes %d), writable\n",
		   (long long)version, STORE_VERSION);
	buf_printf(out, "database sessions: %lld\n", (long long)sessions);
	return 0;
}

int store_probe(const char *given, struct buf *out, struct error *why)
{
	FREE char *path = files_absolute(given);
	struct stat st;
	int64_t holder;
	int err;

	if (path == NULL)
		return fail(why, ERR_NO_MEMORY, "out of memory while looking at the database");
	buf_puts(out, "database: ");
	buf_escape(out, path, strlen(path));
	buf_putc(out, '\n');
	holder = files_holder(path);
	if (stat(path, &st) == 0) {
		if (!S_ISREG(st.st_mode))
			return fail(why, ERR_INVALID,
				    "the database %s is not a regular file; set DATABASE_PATH to a "
				    "file",
				    path);
		err = probe_existing(path, holder, out, why);
	} else if (errno == ENOENT) {
		err = probe_missing(path, out, why);
	} else {
		err = files_fail(why, errno, "looking at", path);
	}
	if (err)
		return err;
	if (holder > 0)
		buf_printf(out, "database lock: held by process %lld\n", (long long)holder);
	else
		buf_printf(out, "database lock: %s\n", holder ? "held by another gpufs" : "free");
	return 0;
}
