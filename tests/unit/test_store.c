/*
 * The store on real SQLite files in a temporary directory, with a real libuv loop; and its
 * neighbours loop.c and log.c. Faults are real where that can be had (a full and a read-only tmpfs
 * in a mount namespace of a child, a stranger's lock, kill -9, a torn file); a stalled disk is
 * played by the worker, which waits while a file exists (test builds). Nothing here sleeps: the
 * loop runs until what is awaited has come.
 */
#include <fcntl.h>
#include <ftw.h>
#include <sched.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../src/core/check.h"
#include "../../src/core/session.h"
#include "../../src/core/text.h"
#include "../../src/io/io.h"

/* Last: cmocka has a macro `fail`, and core/error.h a function. */
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define BALLAST ((off_t)4 << 20)

/* ---- a fresh directory and loop for each test ---- */

struct fixture {
	char dir[128], db[256], log[192];
	int log_fd;
	uv_loop_t loop;
	struct error why;
	/* answers, in the order in which they came */
	int answers[64], order[64];
	size_t count;
	bool inside; /* a call of ours is running: no callback may come now */
};

struct asked { /* one write: who asked, and as which number */
	struct fixture *f;
	int number;
};
static struct asked asked[64];

static int set_up(void **state)
{
	struct fixture *f = xcalloc(1, sizeof(*f));

	snprintf(f->dir, sizeof(f->dir), "%s/gpufs-store-XXXXXX",
		 getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->db, sizeof(f->db), "%s/a/b/gpufs.db", f->dir);
	snprintf(f->log, sizeof(f->log), "%s/log", f->dir);
	f->log_fd = open(f->log, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	assert_true(f->log_fd >= 0);
	log_open(f->log_fd, LOG_INFO_, LOG_TEXT);
	assert_int_equal(uv_loop_init(&f->loop), 0);
	*state = f;
	return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	unsetenv("GPUFS_TEST_STORE_STALL");
	unsetenv("GPUFS_TEST_STORE_FULL");
	uv_run(&f->loop, UV_RUN_DEFAULT); /* the close callbacks */
	assert_int_equal(uv_loop_close(&f->loop), 0);
	log_open(STDERR_FILENO, LOG_INFO_, LOG_TEXT);
	close(f->log_fd);
	nftw(f->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	free(f);
	return 0;
}

/* The path of a file in the test's directory. */
static void say(struct fixture *f, const char *name, char out[256])
{
	snprintf(out, 256, "%s/%s", f->dir, name);
}

/* The path of a file beside the database. */
static void beside(struct fixture *f, const char *suffix, char out[256])
{
	assert_true(snprintf(out, 256, "%s%s", f->db, suffix) < 256);
}

static struct store *opened(struct fixture *f)
{
	struct store *s = NULL;
	int err = store_open(f->db, &s, &f->why);

	if (err)
		print_error("store_open: %s\n", f->why.text);
	assert_int_equal(err, 0);
	assert_non_null(s);
	return s;
}

static struct store *started(struct fixture *f)
{
	struct store *s = opened(f);

	assert_int_equal(store_start(s, &f->loop), 0);
	return s;
}

/* Opening must be refused, with this errno and these words in the sentence. */
static void refused(struct fixture *f, int eno, const char *words)
{
	struct store *s = NULL;

	memset(&f->why, 0, sizeof(f->why));
	assert_int_equal(store_open(f->db, &s, &f->why), -eno);
	assert_null(s);
	if (strstr(f->why.text, words) == NULL)
		fail_msg("'%s' is not in '%s'", words, f->why.text);
}

static void answered(void *arg, int err)
{
	struct asked *a = arg;
	struct fixture *f = a->f;

	assert_false(f->inside);
	assert_true(f->count < ARRAY_LEN(f->answers));
	f->order[f->count] = a->number;
	f->answers[f->count++] = err;
}

static void ask(struct fixture *f, struct store *s, struct journal_op *op, int number)
{
	asked[number] = (struct asked){f, number};
	f->inside = true;
	store_write(s, op, answered, &asked[number]);
	f->inside = false;
	assert_int_equal(op->n, 0); /* taken */
}

static void await(struct fixture *f, size_t count)
{
	while (f->count < count)
		uv_run(&f->loop, UV_RUN_ONCE);
}

static struct journal_op event_op(int64_t seq, const char *json)
{
	struct journal_op op = {.table = J_EVENT};

	journal_op_int(&op, seq);
	journal_op_int(&op, seq / 2);
	journal_op_text(&op, "some-session", 12);
	journal_op_text(&op, json, json ? strlen(json) : 0);
	return op;
}

static struct journal_op meta_op(const char *name, const char *value)
{
	struct journal_op op = {.table = J_META};

	journal_op_text(&op, name, name ? strlen(name) : 0);
	journal_op_text(&op, value, value ? strlen(value) : 0);
	return op;
}

static void ask_event(struct fixture *f, struct store *s, int number)
{
	struct journal_op op = event_op(number + 1, "{}");

	ask(f, s, &op, number);
}

/* Texts longer than their column are the core's business: the store keeps any. */
static struct journal_op session_op(const char *id, const char *key)
{
	struct journal_op op = {.table = J_SESSION};
	int64_t i = 0;

#define T(name, size) \
	i++;          \
	journal_op_text(&op, i == 1 ? id : #name, strlen(i == 1 ? id : #name));
#define N(name) \
	i++;    \
	journal_op_int(&op, i);
#define L(name) \
	i++;    \
	journal_op_text(&op, NULL, 0);
#define K(name) \
	i++;    \
	journal_op_text(&op, key, key ? strlen(key) : 0);
	SESSION_FIELDS(T, N, L, K)
#undef T
#undef N
#undef L
#undef K
	return op;
}

/* ---- rows that were loaded ---- */

/* A session of version 1 is one that was bought on demand, at its price, with the default disk. */
static int load_old_row(void *arg, const struct journal_op *row)
{
	struct session *s = arg;

	if (row->table != J_SESSION)
		return 0;
	session_init(s);
	for (size_t i = 0; i < session_field_count; i++) {
		const struct session_field *field = &session_fields[i];

		if (field->kind == F_INT)
			*(int64_t *)(void *)((char *)s + field->offset) = row->v[i].i;
		else if (field->kind == F_LONG)
			assert_int_equal(row->v[i].type, JV_NULL);
	}
	return 0;
}

struct loaded {
	struct buf text; /* "table:key;" of each row */
	int stop_at;	 /* answer -ESTALE at this row, counted from 1; 0 = never */
	int rows;
	int64_t biggest, smallest;
	size_t longest;
};

static int load_row(void *arg, const struct journal_op *row)
{
	struct loaded *l = arg;

	if (++l->rows == l->stop_at)
		return -ESTALE;
	buf_printf(&l->text, "%d:", (int)row->table);
	if (row->v[0].type == JV_INT)
		buf_printf(&l->text, "%lld;", (long long)row->v[0].i);
	else
		buf_printf(&l->text, "%s;", row->v[0].text);
	for (size_t i = 0; i < row->n; i++) {
		const struct journal_value *v = &row->v[i];

		if (v->type == JV_INT && v->i > l->biggest)
			l->biggest = v->i;
		if (v->type == JV_INT && v->i < l->smallest)
			l->smallest = v->i;
		if (v->type == JV_TEXT && v->len > l->longest)
			l->longest = v->len;
	}
	return 0;
}

static void assert_rows(struct fixture *f, struct store *s, const char *want)
{
	struct loaded l = {0};

	assert_int_equal(store_load(s, load_row, &l, &f->why), 0);
	assert_string_equal(l.text.data ? l.text.data : "", want);
	buf_free(&l.text);
}

/* ---- the schema ---- */

static int sql(const char *path, const char *text)
{
	sqlite3 *h = NULL;
	int rc = sqlite3_open(path, &h);

	if (rc == SQLITE_OK)
		rc = sqlite3_exec(h, text, NULL, NULL, NULL);
	sqlite3_close(h);
	return rc;
}

static void columns_are_the_fields(void **state)
{
	static const char *const want[][2] = {
#define T(name, size) {#name, "TEXT"},
#define N(name)	      {#name, "INTEGER"},
#define L(name)	      {#name, "TEXT"},
#define K(name)	      {#name, "TEXT"},
		SESSION_FIELDS(T, N, L, K)
#undef T
#undef N
#undef L
#undef K
	};
	struct fixture *f = *state;
	sqlite3_stmt *st;
	sqlite3 *h;
	size_t i = 0;

	store_close(opened(f), 0);
	assert_int_equal(sqlite3_open(f->db, &h), SQLITE_OK);
	assert_int_equal(sqlite3_prepare_v2(h, "PRAGMA table_info(session)", -1, &st, NULL), 0);
	for (; sqlite3_step(st) == SQLITE_ROW; i++) {
		assert_true(i < ARRAY_LEN(want));
		assert_string_equal((const char *)sqlite3_column_text(st, 1), want[i][0]);
		assert_string_equal((const char *)sqlite3_column_text(st, 2), want[i][1]);
	}
	assert_int_equal(i, ARRAY_LEN(want));
	assert_int_equal(i, session_field_count);
	for (i = 0; i < session_field_count; i++)
		assert_string_equal(session_fields[i].name, want[i][0]);
	sqlite3_finalize(st);
	/* STRICT: a text in a number's column is refused by the file itself. */
	assert_int_not_equal(sqlite3_exec(h, "INSERT INTO event VALUES(1,'x','','')", 0, 0, 0), 0);
	sqlite3_close(h);
}

static void rows_come_back(void **state)
{
	struct fixture *f = *state;
	struct store *s = started(f);
	struct loaded l = {0};
	struct journal_op op;
	int n = 0;

	op = meta_op("zone", "1");
	ask(f, s, &op, n++);
	op = meta_op("alpha", NULL);
	ask(f, s, &op, n++);
	op = event_op(10, "ten");
	ask(f, s, &op, n++);
	op = event_op(9, NULL);
	ask(f, s, &op, n++);
	op = event_op(INT64_MIN, "least");
	ask(f, s, &op, n++);
	op = event_op(11, "gone soon");
	ask(f, s, &op, n++);
	op = session_op("bbb", "secret");
	ask(f, s, &op, n++);
	op = session_op("aaa", NULL);
	ask(f, s, &op, n++);
	op = (struct journal_op){.table = J_EVENT, .erase = true};
	journal_op_int(&op, 11);
	ask(f, s, &op, n++);
	op = (struct journal_op){.table = J_META};
	journal_op_text(&op, "nul", 3);
	journal_op_text(&op, "a\0b\xff\x01", 5); /* bytes are kept as they are */
	ask(f, s, &op, n++);
	op = meta_op("zone", "2");
	ask(f, s, &op, n++);
	await(f, (size_t)n);
	for (int i = 0; i < n; i++) {
		assert_int_equal(f->order[i], i);
		assert_int_equal(f->answers[i], 0);
	}
	assert_true(store_lag_us(s) == 0);
	store_close(s, SECOND_US);

	s = opened(f);
	assert_rows(f, s, "0:aaa;0:bbb;1:-9223372036854775808;1:9;1:10;2:alpha;2:nul;2:zone;");
	assert_int_equal(store_load(s, load_row, &l, &f->why), 0);
	assert_true(l.smallest == INT64_MIN);
	buf_free(&l.text);
	l = (struct loaded){.stop_at = 3};
	assert_int_equal(store_load(s, load_row, &l, &f->why), -ESTALE);
	assert_int_equal(l.rows, 3);
	buf_free(&l.text);
	store_close(s, 0);
}

static void secrets_leave_the_file(void **state)
{
	struct fixture *f = *state;
	struct store *s = started(f);
	struct journal_op op = session_op("id", "PLANTED-PRIVATE-KEY");
	char *bytes = xcalloc(1, 1 << 20);
	ssize_t n;
	int fd;

	ask(f, s, &op, 0);
	await(f, 1);
	op = session_op("id", NULL);
	ask(f, s, &op, 1);
	await(f, 2);
	store_close(s, SECOND_US);
	fd = open(f->db, O_RDONLY | O_CLOEXEC);
	n = read(fd, bytes, 1 << 20);
	close(fd);
	assert_true(n > 4096);
	assert_null(memmem(bytes, (size_t)n, "PLANTED", 7));
	free(bytes);
}

/* ---- refusals of single rows ---- */

static void one_bad_row(void **state)
{
	struct fixture *f = *state;
	struct store *s = opened(f); /* not started: all five become one batch */
	struct journal_op op;

	ask_event(f, s, 0);
	op = (struct journal_op){.table = J_EVENT};
	journal_op_int(&op, 77);
	journal_op_text(&op, "not a time", 10);
	journal_op_text(&op, NULL, 0);
	journal_op_text(&op, NULL, 0);
	ask(f, s, &op, 1);
	ask_event(f, s, 2);
	op = meta_op(NULL, "no key");
	ask(f, s, &op, 3);
	op = (struct journal_op){.table = J_META};
	journal_op_text(&op, "too few", 7);
	ask(f, s, &op, 4);
	ask_event(f, s, 5);
	assert_int_equal(store_start(s, &f->loop), 0);
	await(f, 6);
	assert_int_equal(f->answers[0], 0);
	assert_int_equal(f->answers[1], -EIO);
	assert_int_equal(f->answers[2], 0);
	assert_int_equal(f->answers[3], -EINVAL);
	assert_int_equal(f->answers[4], -EINVAL);
	assert_int_equal(f->answers[5], 0);
	for (int i = 0; i < 6; i++)
		assert_int_equal(f->order[i], i);
	store_close(s, SECOND_US);
	s = opened(f);
	assert_rows(f, s, "1:1;1:3;1:6;");
	store_close(s, 0);
}

/* Somebody else writes: every row is refused, in time that does not grow with their number. */
static void a_strangers_lock(void **state)
{
	struct fixture *f = *state;
	struct store *s = opened(f);
	int64_t begin_us;
	sqlite3 *h;

	assert_int_equal(sqlite3_open(f->db, &h), 0);
	assert_int_equal(sqlite3_exec(h, "BEGIN IMMEDIATE", 0, 0, 0), 0);
	for (int i = 0; i < 20; i++)
		ask_event(f, s, i);
	begin_us = clock_mono_us();
	assert_int_equal(store_start(s, &f->loop), 0);
	await(f, 20);
	assert_true(clock_mono_us() - begin_us < 8 * SECOND_US); /* 20 tries would be 10 s */
	for (int i = 0; i < 20; i++)
		assert_int_equal(f->answers[i], -EIO);
	assert_int_equal(sqlite3_exec(h, "ROLLBACK", 0, 0, 0), 0);
	sqlite3_close(h);
	ask_event(f, s, 20);
	await(f, 21);
	assert_int_equal(f->answers[20], 0);
	store_close(s, SECOND_US);
}

/* ---- refusals to open ---- */

static void a_second_daemon(void **state)
{
	struct fixture *f = *state;
	struct store *s = opened(f);
	char words[64], link[256];

	snprintf(words, sizeof(words), "process %ld is a gpufs", (long)getpid());
	refused(f, EBUSY, words);
	say(f, "link.db", link);
	assert_int_equal(symlink(f->db, link), 0);
	COPY(f->db, link); /* another name of the same file */
	refused(f, EBUSY, words);
	store_close(s, 0);
	store_close(opened(f), 0);
}

static void other_versions(void **state)
{
	struct fixture *f = *state;

	store_close(opened(f), 0);
	assert_int_equal(sql(f->db, "PRAGMA user_version = 99"), 0);
	refused(f, EINVAL, "has version 99");
	assert_int_equal(sql(f->db, "PRAGMA user_version = -1"), 0);
	refused(f, EINVAL, "another program");
	assert_int_equal(sql(f->db, "PRAGMA user_version = 1; PRAGMA application_id = 5"), 0);
	refused(f, EINVAL, "another program");
}

static void version_1_is_taken_over(void **state)
{
	struct fixture *f = *state;
	struct journal_op op = session_op("one", NULL);
	struct store *st = started(f);
	struct session s;

	ask(f, st, &op, 0);
	await(f, 1);
	store_close(st, SECOND_US);
	assert_int_equal(sql(f->db,
			     "ALTER TABLE session DROP COLUMN rate_u6;"
			     "ALTER TABLE session DROP COLUMN rate_us;"
			     "ALTER TABLE session DROP COLUMN settled_u6;"
			     "ALTER TABLE session DROP COLUMN disk_gb;"
			     "ALTER TABLE session DROP COLUMN bid_u6;"
			     "ALTER TABLE session DROP COLUMN attached;"
			     "ALTER TABLE session DROP COLUMN ports;"
			     "ALTER TABLE session DROP COLUMN vcpus;"
			     "ALTER TABLE session DROP COLUMN ram_gb;"
			     "ALTER TABLE session DROP COLUMN reach; PRAGMA user_version = 1"),
			 0);
	st = opened(f);
	session_init(&s);
	assert_int_equal(store_load(st, load_old_row, &s, &f->why), 0);
	assert_int_equal(s.serial, 2); /* session_op numbers the columns */
	assert_int_equal(s.rate_u6, UNKNOWN);
	assert_int_equal(s.rate_us, 0);
	assert_int_equal(s.settled_u6, 0);
	assert_int_equal(s.disk_gb, UNKNOWN);
	assert_int_equal(s.bid_u6, UNKNOWN);
	assert_int_equal(s.attached, 0);
	assert_int_equal(s.vcpus, UNKNOWN);
	assert_int_equal(s.ram_gb, UNKNOWN);
	assert_int_equal(s.reach, 0);
	store_close(st, 0);
}

static void strangers_files(void **state)
{
	struct fixture *f = *state;
	char junk[8192];
	int fd;

	say(f, "other.db", f->db);
	assert_int_equal(sql(f->db, "CREATE TABLE bookmarks (url)"), 0);
	refused(f, EINVAL, "another program");

	say(f, "junk.db", f->db);
	memset(junk, 'j', sizeof(junk));
	fd = open(f->db, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	assert_int_equal(write(fd, junk, sizeof(junk)), sizeof(junk));
	close(fd);
	refused(f, EINVAL, "is not a database");

	COPY(f->db, f->dir);
	refused(f, EIO, "Is a directory");
	say(f, "fifo", f->db);
	assert_int_equal(mkfifo(f->db, 0600), 0);
	refused(f, EINVAL, "not a regular file");
	say(f, "junk.db/below/gpufs.db", f->db);
	refused(f, EIO, "Not a directory");
}

static void damaged_pages(void **state)
{
	struct fixture *f = *state;
	struct store *s = started(f);
	char junk[4096];
	int fd;

	for (int i = 0; i < 60; i++)
		ask_event(f, s, i);
	await(f, 60);
	store_close(s, SECOND_US);
	memset(junk, 0xa5, sizeof(junk));
	fd = open(f->db, O_WRONLY | O_CLOEXEC);
	for (off_t page = 1; page < 6; page++)
		assert_int_equal(pwrite(fd, junk, sizeof(junk), page * 4096), sizeof(junk));
	close(fd);
	refused(f, EINVAL, "is damaged");
}

static void other_shapes(void **state)
{
	struct fixture *f = *state;

	store_close(opened(f), 0);
	assert_int_equal(sql(f->db, "ALTER TABLE session ADD COLUMN surprise TEXT"), 0);
	refused(f, EINVAL, "of table session is not expected at all");
	assert_int_equal(sql(f->db, "ALTER TABLE session DROP COLUMN surprise"), 0);
	store_close(opened(f), 0);
	assert_int_equal(sql(f->db, "ALTER TABLE session RENAME COLUMN serial TO sequel"), 0);
	refused(f, EINVAL, "column 2 of table session is not serial INTEGER");
	assert_int_equal(sql(f->db, "ALTER TABLE session RENAME COLUMN sequel TO serial"), 0);
	assert_int_equal(sql(f->db, "DROP TABLE meta; CREATE TABLE meta (name TEXT PRIMARY KEY)"),
			 0);
	refused(f, EINVAL, "table meta has 1 columns and not 2");
	assert_int_equal(sql(f->db, "DROP TABLE meta"), 0);
	refused(f, EINVAL, "table meta has 0 columns and not 2");
}

/* A row that no STRICT table could hold, as a hostile file may: a sentence, not a crash. */
static void hostile_values(void **state)
{
	struct fixture *f = *state;
	struct store *s = opened(f);
	struct loaded l = {0};

	store_close(s, 0);
	assert_int_equal(sql(f->db, "DROP TABLE meta; CREATE TABLE meta (name TEXT PRIMARY KEY, "
				    "value TEXT); INSERT INTO meta VALUES ('x', x'0102')"),
			 0);
	s = opened(f);
	assert_int_equal(store_load(s, load_row, &l, &f->why), -EINVAL);
	assert_non_null(strstr(f->why.text, "table meta, column value"));
	buf_free(&l.text);
	store_close(s, 0);
}

static int mode_of(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 ? (int)(st.st_mode & 07777) : -1;
}

static void modes(void **state)
{
	static const char *const files[] = {"gpufs.db", "gpufs.db-wal", "gpufs.db-shm",
					    "gpufs.db.lock", "gpufs.db.ballast"};
	struct fixture *f = *state;
	struct store *s;
	char path[512];

	for (int i = 0; i < 2; i++) {
		mode_t old = umask(i ? 0 : 077);

		snprintf(f->db, sizeof(f->db), "%s/m%d/n/gpufs.db", f->dir, i);
		s = started(f);
		umask(old);
		f->count = 0;
		ask_event(f, s, 0);
		await(f, 1);
		snprintf(path, sizeof(path), "%s/m%d", f->dir, i);
		assert_int_equal(mode_of(path), 0711);
		for (size_t k = 0; k < ARRAY_LEN(files); k++) {
			snprintf(path, sizeof(path), "%s/m%d/n/%s", f->dir, i, files[k]);
			assert_int_equal(mode_of(path), 0600);
		}
		store_close(s, SECOND_US);
	}
	assert_int_equal(chmod(f->db, 0644), 0); /* a backup, carelessly copied back */
	store_close(opened(f), 0);
	assert_int_equal(mode_of(f->db), 0600);
}

/* ---- ballast, full and stalled disks ---- */

static void ballast_is_kept(void **state)
{
	struct fixture *f = *state;
	struct store *s = started(f);
	char path[256];
	struct stat st;

	beside(f, ".ballast", path);
	assert_int_equal(stat(path, &st), 0);
	assert_true(st.st_size == BALLAST && st.st_blocks * 512 >= BALLAST);
	assert_true(store_drop_ballast(s));
	assert_false(store_drop_ballast(s));
	assert_int_equal(stat(path, &st), -1);
	ask_event(f, s, 0); /* a write that works, on a disk with room: it is made again */
	await(f, 1);
	store_close(s, 10 * SECOND_US);
	assert_int_equal(stat(path, &st), 0);
	assert_true(st.st_blocks * 512 >= BALLAST);
	assert_int_equal(truncate(path, 10), 0); /* a crash in the middle of making it */
	store_close(opened(f), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_true(st.st_blocks * 512 >= BALLAST);
}

/* The faults on order are compiled into test builds only. */
static void needs_test_build(void)
{
#ifndef GPUFS_TEST
	print_message("skipped: this is no test build\n");
	skip();
#endif
}

static void touch(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	close(fd);
}

static void played_full_disk(void **state)
{
	struct fixture *f = *state;
	char file[256];
	struct store *s;

	say(f, "full", file);
	needs_test_build();
	setenv("GPUFS_TEST_STORE_FULL", file, 1);
	s = started(f);
	ask_event(f, s, 0);
	await(f, 1);
	assert_int_equal(f->answers[0], 0);
	touch(file);
	for (int i = 1; i < 4; i++)
		ask_event(f, s, i);
	await(f, 4);
	for (int i = 1; i < 4; i++)
		assert_int_equal(f->answers[i], -ENOSPC);
	assert_true(store_drop_ballast(s));
	ask_event(f, s, 4);
	await(f, 5);
	assert_int_equal(f->answers[4], 0);
	unlink(file);
	store_close(s, SECOND_US);
}

static void ring(void *arg)
{
	++*(int *)arg;
}

/* The loop lives on while the disk does not answer; the lag tells. */
static void stalled_disk(void **state)
{
	struct fixture *f = *state;
	struct timer *t;
	char file[256];
	struct store *s;
	int rings = 0;
	int64_t lag_us;

	say(f, "stall", file);
	needs_test_build();
	setenv("GPUFS_TEST_STORE_STALL", file, 1);
	touch(file);
	s = started(f);
	assert_true(store_lag_us(s) == 0);
	ask_event(f, s, 0);
	t = loop_timer_new(&f->loop, ring, &rings);
	for (int i = 1; i <= 3; i++) {
		loop_timer_set(t, 5000);
		while (rings < i)
			uv_run(&f->loop, UV_RUN_ONCE);
	}
	assert_int_equal(f->count, 0);
	lag_us = store_lag_us(s);
	assert_true(lag_us >= 15000);
	ask_event(f, s, 1); /* waits behind it */
	assert_true(store_lag_us(s) >= lag_us);
	assert_int_equal(unlink(file), 0);
	await(f, 2);
	assert_int_equal(f->answers[0], 0);
	assert_int_equal(f->answers[1], 0);
	assert_true(store_lag_us(s) == 0);
	loop_timer_free(t);
	store_close(s, SECOND_US);
}

/* A close that cannot wait leaves; the lock stays until the worker has really ended. */
static void close_on_a_stalled_disk(void **state)
{
	struct fixture *f = *state;
	char file[256], lock[256];
	struct store *s;
	int fd;

	say(f, "stall", file);
	needs_test_build();
	setenv("GPUFS_TEST_STORE_STALL", file, 1);
	touch(file);
	s = started(f);
	ask_event(f, s, 0);
	ask_event(f, s, 1);
	store_close(s, 30000);
	assert_int_equal(f->count, 0);
	refused(f, EBUSY, "is a gpufs");
	assert_int_equal(unlink(file), 0);
	beside(f, ".lock", lock);
	fd = open(lock, O_RDWR | O_CLOEXEC);
	assert_int_equal(flock(fd, LOCK_EX), 0); /* waits for the worker's end */
	close(fd);
	s = opened(f);
	assert_rows(f, s, "1:1;1:2;");
	store_close(s, 0);
}

/* What waits for a stalled disk is bounded; the refusal keeps its place in the order. */
static void queue_is_bounded(void **state)
{
	struct fixture *f = *state;
	struct store *s = opened(f);
	char *big = xcalloc(1, (15 << 20) + 1);
	struct journal_op op;

	memset(big, 'b', 15 << 20);
	for (int i = 0; i < 6; i++) {
		op = event_op(i + 1, big);
		ask(f, s, &op, i);
	}
	ask_event(f, s, 6); /* small: fits still */
	free(big);
	assert_int_equal(store_start(s, &f->loop), 0);
	await(f, 7);
	for (int i = 0; i < 7; i++) {
		assert_int_equal(f->order[i], i);
		assert_int_equal(f->answers[i], i == 4 || i == 5 ? -EIO : 0);
	}
	store_close(s, 10 * SECOND_US);
}

/* ---- the end ---- */

struct chain {
	struct fixture *f;
	struct store *s;
	int left;
};

static void chain_next(void *arg, int err)
{
	struct chain *c = arg;
	struct journal_op op;

	assert_int_equal(err, 0);
	if (c->left-- == 0)
		return;
	op = event_op(100 + c->left, "chained");
	store_write(c->s, &op, chain_next, c);
}

/* A close writes what is queued, and what the answers to that write in their turn. */
static void close_drains(void **state)
{
	struct fixture *f = *state;
	struct store *s = started(f);
	struct chain c = {f, s, 3};
	struct journal_op op = event_op(50, "first");

	store_write(s, &op, chain_next, &c);
	store_close(s, 10 * SECOND_US);
	assert_int_equal(c.left, -1);
	s = opened(f);
	assert_rows(f, s, "1:50;1:100;1:101;1:102;");
	store_close(s, 0);
	store_close(NULL, 0);
}

/* What was answered with 0 is there after kill -9. */
static void killed(void **state)
{
	struct fixture *f = *state;
	struct store *s;
	int status;
	pid_t pid;

	store_close(opened(f), 0);
	pid = fork();
	if (pid == 0) {
		uv_loop_fork(&f->loop);
		s = started(f);
		for (int i = 0; i < 5; i++)
			ask_event(f, s, i);
		await(f, 5);
		raise(SIGKILL);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	s = opened(f);
	assert_rows(f, s, "1:1;1:2;1:3;1:4;1:5;");
	store_close(s, 0);
}

/* ---- a disk that is really full, really read only: a tmpfs in a namespace of a child ---- */

#define MUST(cond)                                                                                \
	do {                                                                                      \
		if (!(cond)) {                                                                    \
			fprintf(stderr, "%s:%d: child: must hold: %s (%s)\n", __FILE__, __LINE__, \
				#cond, f->why.text);                                              \
			_exit(1);                                                                 \
		}                                                                                 \
	} while (0)

static bool own_disk(struct fixture *f)
{
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("tmpfs", f->dir, "tmpfs", 0, "size=16m") < 0)
		return false;
	snprintf(f->db, sizeof(f->db), "%s/gpufs.db", f->dir);
	return true;
}

static void fill(struct fixture *f)
{
	static char block[4096];
	char path[256];
	int fd;

	say(f, "filler", path);
	fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	MUST(fd >= 0);
	while (write(fd, block, sizeof(block)) > 0)
		;
	MUST(errno == ENOSPC);
	close(fd);
}

/* A write that needs new pages, so that a full disk cannot take it. */
static void ask_big(struct fixture *f, struct store *s, int number)
{
	static char text[400000];
	struct journal_op op;

	memset(text, 'x', sizeof(text) - 1);
	op = event_op(number + 1, text);
	ask(f, s, &op, number);
	await(f, (size_t)number + 1);
}

static void full_disk_child(struct fixture *f)
{
	struct store *s = NULL;
	char path[256];
	struct stat st;

	MUST(store_open(f->db, &s, &f->why) == 0 && store_start(s, &f->loop) == 0);
	ask_big(f, s, 0);
	MUST(f->answers[0] == 0);
	fill(f);
	ask_big(f, s, 1);
	MUST(f->answers[1] == -ENOSPC);
	MUST(store_drop_ballast(s));
	ask_big(f, s, 2); /* the same handle works again at once */
	MUST(f->answers[2] == 0);
	beside(f, ".ballast", path);
	MUST(stat(path, &st) < 0); /* not made again while it is tight */
	store_close(s, SECOND_US);

	say(f, "filler", path);
	MUST(unlink(path) == 0);
	MUST(store_open(f->db, &s, &f->why) == 0);
	store_close(s, SECOND_US);
	fill(f); /* a start on a full disk gives up the ballast */
	MUST(store_open(f->db, &s, &f->why) == 0 && store_start(s, &f->loop) == 0);
	ask_event(f, s, 3);
	await(f, 4);
	MUST(f->answers[3] == 0);
	store_close(s, SECOND_US);

	say(f, "new.db", f->db);
	fill(f);
	MUST(store_open(f->db, &s, &f->why) == -EIO && s == NULL);
	MUST(strstr(f->why.text, "free some space") != NULL);
}

static void read_only_child(struct fixture *f)
{
	struct store *s = NULL;
	BUF out = {0};

	MUST(store_open(f->db, &s, &f->why) == 0);
	store_close(s, SECOND_US);
	MUST(mount(NULL, f->dir, NULL, MS_REMOUNT | MS_RDONLY, NULL) == 0);
	MUST(store_open(f->db, &s, &f->why) == -EIO && s == NULL);
	MUST(strstr(f->why.text, "Read-only") != NULL && strstr(f->why.text, f->db) != NULL);
	MUST(store_probe(f->db, &out, &f->why) == -EIO);
	snprintf(f->db, sizeof(f->db), "%s/deep/er/gpufs.db", f->dir);
	MUST(store_open(f->db, &s, &f->why) == -EIO);
	MUST(strstr(f->why.text, "making the directory") != NULL);
	MUST(store_probe(f->db, &out, &f->why) == -EIO);
}

static void in_own_disk(struct fixture *f, void (*run)(struct fixture *f))
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		uv_loop_fork(&f->loop);
		if (!own_disk(f))
			_exit(77);
		run(f);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77) {
		print_message("skipped: this user may not mount a tmpfs of their own\n");
		skip();
	}
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void really_full_disk(void **state)
{
	in_own_disk(*state, full_disk_child);
}

static void really_read_only(void **state)
{
	in_own_disk(*state, read_only_child);
}

/* ---- --check ---- */

static void assert_probe(struct fixture *f, int err, const char *words)
{
	BUF out = {0};

	memset(&f->why, 0, sizeof(f->why));
	assert_int_equal(store_probe(f->db, &out, &f->why), err);
	if (strstr(err ? f->why.text : out.data, words) == NULL)
		fail_msg("'%s' is not in '%s'", words, err ? f->why.text : out.data);
}

static void probing(void **state)
{
	struct fixture *f = *state;
	struct journal_op op = session_op("one", NULL);
	char words[64], path[256];
	struct store *s;

	assert_probe(f, 0, "database file: would be made");
	assert_int_equal(mode_of(f->db), -1);
	say(f, "a", path);
	assert_int_equal(mode_of(path), -1); /* nothing was made by looking */
	s = started(f);
	ask(f, s, &op, 0);
	await(f, 1);
	assert_probe(f, 0, "database sessions: 1\n"); /* read through the write-ahead log */
	assert_probe(f, 0, "exists, version 3 (this program writes 3), writable");
	snprintf(words, sizeof(words), "database lock: held by process %ld\n", (long)getpid());
	assert_probe(f, 0, words);
	store_close(s, SECOND_US);
	assert_probe(f, 0, "database sessions: 1\n");
	assert_probe(f, 0, "database lock: free\n");
	beside(f, "-wal", path);
	assert_int_equal(mode_of(path), -1);
	assert_int_equal(sql(f->db, "PRAGMA user_version = 4"), 0);
	assert_probe(f, -EINVAL, "has version 4");
	say(f, "log/x/gpufs.db", f->db);
	assert_probe(f, -EIO, "Not a directory");
	COPY(f->db, f->dir);
	assert_probe(f, -EINVAL, "not a regular file");
}

/* ---- books ---- */

static struct journal_op life_op(const char *id, int64_t attempt, enum instance_state i)
{
	struct journal_op op;
	struct session s;

	session_init(&s);
	COPY(s.id, id);
	COPY(s.name, "train");
	COPY(s.instance_id, "77");
	s.attempt = attempt;
	s.instance_state = i;
	s.state = S_RUNNING;
	secret_set(&s.private_key, "hush", 4);
	assert_int_equal(session_pack(&s, &op), 0);
	session_free(&s);
	return op;
}

static void assert_books(const struct store_books *b)
{
	const struct store_row *row = store_books_find(b, "bbb");

	assert_true(b->exists);
	assert_int_equal(b->count, 3);
	assert_non_null(row);
	assert_string_equal(row->name, "train");
	assert_string_equal(row->instance_id, "77");
	assert_int_equal(row->attempt, 2);
	assert_int_equal(row->state, S_RUNNING);
	assert_int_equal(row->instance_state, I_UNSURE);
	assert_null(store_books_find(b, "bb"));
	assert_null(store_books_find(b, "ddd"));
}

static void books_are_read_beside_a_daemon(void **state)
{
	struct fixture *f = *state;
	struct journal_op ops[] = {life_op("ccc", 1, I_GONE), life_op("bbb", 2, I_UNSURE),
				   life_op("aaa", 1, I_EXISTS)};
	struct store_books b;
	struct store *s;
	char path[256];
	int lock = -2;

	/* Nothing is made by looking, and where nothing is nothing needs a lock. */
	assert_int_equal(store_books_read(f->db, false, &b, &f->why), 0);
	assert_true(!b.exists && !b.count && !b.holder && !store_books_find(&b, "aaa"));
	assert_int_equal(store_lock(f->db, &lock, &f->why), 0);
	assert_int_equal(lock, -1);
	store_unlock(lock);
	say(f, "a", path);
	assert_int_equal(mode_of(path), -1);

	s = started(f);
	for (int i = 0; i < 3; i++)
		ask(f, s, &ops[i], i);
	await(f, 3);
	assert_int_equal(store_books_read(f->db, false, &b, &f->why), 0);
	assert_books(&b);
	assert_int_equal(b.holder, getpid());
	store_books_free(&b);
	assert_int_equal(store_lock(f->db, &lock, &f->why), -EBUSY);
	assert_int_equal(lock, -1);
	store_close(s, SECOND_US);

	assert_int_equal(store_lock(f->db, &lock, &f->why), 0);
	assert_true(lock >= 0);
	assert_int_equal(store_books_read(f->db, true, &b, &f->why), 0);
	assert_books(&b);
	assert_int_equal(b.holder, 0);
	store_books_free(&b);
	refused(f, EBUSY, "is a gpufs that uses the database");
	store_unlock(lock);
	beside(f, "-wal", path);
	assert_int_equal(mode_of(path), -1); /* no file was made beside it */
	store_close(opened(f), 0);
}

static void books_of_other_shapes(void **state)
{
	struct fixture *f = *state;
	struct journal_op op = life_op("bbb", 2, I_UNSURE);
	struct store *s = started(f);
	struct store_books b;

	ask(f, s, &op, 0);
	await(f, 1);
	store_close(s, SECOND_US);
	/* An older version is read as it is. */
	assert_int_equal(sql(f->db, "ALTER TABLE session DROP COLUMN ports;"
				    "PRAGMA user_version = 1"),
			 0);
	assert_int_equal(store_books_read(f->db, false, &b, &f->why), 0);
	assert_int_equal(b.count, 1);
	store_books_free(&b);
	assert_int_equal(sql(f->db, "UPDATE session SET instance_state = 99"), 0);
	assert_int_equal(store_books_read(f->db, false, &b, &f->why), -EINVAL);
	assert_non_null(strstr(f->why.text, "damaged"));
	assert_int_equal(sql(f->db, "UPDATE session SET instance_state = 1,"
				    " instance_id = hex(randomblob(100))"),
			 0);
	assert_int_equal(store_books_read(f->db, false, &b, &f->why), -EINVAL);
	assert_int_equal(sql(f->db, "PRAGMA user_version = 99"), 0);
	assert_int_equal(store_books_read(f->db, false, &b, &f->why), -EINVAL);
	assert_non_null(strstr(f->why.text, "has version 99"));
	COPY(f->db, f->dir);
	assert_int_equal(store_books_read(f->db, false, &b, &f->why), -EINVAL);
}

/* ---- timers ---- */

struct bell {
	struct timer *t;
	int rings;
	bool free_inside;
};

static void bell_rings(void *arg)
{
	struct bell *b = arg;

	b->rings++;
	if (b->free_inside) {
		loop_timer_free(b->t);
		b->t = NULL;
	}
}

static void timers(void **state)
{
	static const int64_t delays_us[] = {0, 1, 999, 1000, 1001, 7300};
	struct fixture *f = *state;
	struct bell once = {.free_inside = true}, never = {0}, stopped = {0};

	for (size_t i = 0; i < ARRAY_LEN(delays_us); i++) {
		int64_t begin_us = clock_mono_us();

		once.rings = 0;
		once.t = loop_timer_new(&f->loop, bell_rings, &once);
		loop_timer_set(once.t, delays_us[i]);
		while (once.rings == 0)
			uv_run(&f->loop, UV_RUN_ONCE);
		assert_true(clock_mono_us() - begin_us >= delays_us[i]); /* never early */
		assert_int_equal(once.rings, 1);
		assert_null(once.t);
	}
	never.t = loop_timer_new(&f->loop, bell_rings, &never);
	loop_timer_set(never.t, INT64_MAX);
	stopped.t = loop_timer_new(&f->loop, bell_rings, &stopped);
	loop_timer_set(stopped.t, 1000);
	loop_timer_set(stopped.t, -1);
	once.rings = 0;
	once.t = loop_timer_new(&f->loop, bell_rings, &once);
	loop_timer_set(once.t, HOUR_US);
	loop_timer_set(once.t, 10000); /* the last word counts */
	while (once.rings == 0)
		uv_run(&f->loop, UV_RUN_ONCE);
	assert_int_equal(never.rings, 0);
	assert_int_equal(stopped.rings, 0);
	loop_timer_free(never.t);
	loop_timer_free(stopped.t);
	loop_timer_free(NULL);
}

static void clocks_and_chance(void **state)
{
	unsigned char a[300] = {0}, b[300] = {0};
	int64_t mono_us = clock_mono_us();

	(void)state;
	random_bytes(a, sizeof(a));
	random_bytes(b, sizeof(b));
	random_bytes(b, 0);
	assert_memory_not_equal(a, b, sizeof(a));
	assert_true(clock_mono_us() >= mono_us);
	assert_true(clock_wall_us() > (int64_t)1600000000 * SECOND_US);
}

/* ---- log ---- */

static char *log_text(struct fixture *f, char *out, size_t size)
{
	ssize_t n = pread(f->log_fd, out, size - 1, 0);

	assert_true(n >= 0);
	out[n] = '\0';
	assert_int_equal(ftruncate(f->log_fd, 0), 0);
	return out;
}

static void log_lines(void **state)
{
	struct fixture *f = *state;
	char text[16384], many[6000];

	errno = EXDEV;
	log_line(LOG_INFO_, "hello %s", "there\n2026-01-01T00:00:00Z AUDIT forged\x1b[31m");
	assert_int_equal(errno, EXDEV);
	log_text(f, text, sizeof(text));
	assert_non_null(strstr(text, "Z INFO hello there\\x0a2026"));
	assert_null(strchr(text, '\x1b'));
	assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
	assert_int_equal(text[4], '-');
	assert_int_equal(text[10], 'T');

	log_line(LOG_DEBUG_, "hidden");
	assert_string_equal(log_text(f, text, sizeof(text)), "");
	log_open(f->log_fd, LOG_ERROR_, LOG_TEXT);
	log_line(LOG_WARN_, "hidden");
	log_line(LOG_AUDIT_, "shown");
	assert_non_null(strstr(log_text(f, text, sizeof(text)), " AUDIT shown\n"));

	log_open(f->log_fd, LOG_INFO_, LOG_JSON);
	log_line(LOG_WARN_, "a \"quoted\"\nword");
	log_text(f, text, sizeof(text));
	assert_ptr_equal(strstr(text, "{\"time\":\"2"), text);
	assert_non_null(
		strstr(text, "Z\",\"level\":\"warn\",\"message\":\"a \\\"quoted\\\"\\nword\"}\n"));

	memset(many, 'm', sizeof(many) - 1);
	many[sizeof(many) - 1] = '\0';
	log_line(LOG_INFO_, "%s", many); /* too long: cut, and still one whole line */
	log_text(f, text, sizeof(text));
	assert_true(strlen(text) > 4000 && strlen(text) < sizeof(many));
	assert_string_equal(text + strlen(text) - 3, "\"}\n");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(columns_are_the_fields),
		TEST(rows_come_back),
		TEST(secrets_leave_the_file),
		TEST(one_bad_row),
		TEST(a_strangers_lock),
		TEST(a_second_daemon),
		TEST(other_versions),
		TEST(version_1_is_taken_over),
		TEST(strangers_files),
		TEST(damaged_pages),
		TEST(other_shapes),
		TEST(hostile_values),
		TEST(modes),
		TEST(ballast_is_kept),
		TEST(played_full_disk),
		TEST(stalled_disk),
		TEST(close_on_a_stalled_disk),
		TEST(queue_is_bounded),
		TEST(close_drains),
		TEST(killed),
		TEST(really_full_disk),
		TEST(really_read_only),
		TEST(probing),
		TEST(books_are_read_beside_a_daemon),
		TEST(books_of_other_shapes),
		TEST(timers),
		TEST(clocks_and_chance),
		TEST(log_lines),
	};
#undef TEST
	return cmocka_run_group_tests_name("store", tests, NULL, NULL);
}
