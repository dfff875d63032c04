/*
 * What a database says about its sessions, read by a command beside a daemon that may be using it: which
 * machines belong to whom, and nothing else. Columns of version 1 only, so every version that this
 * program knows can be read without being migrated; secrets are never read. The file is hostile until
 * its values are bounded. The command's thread. Tests: tests/unit/test_store.c.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../core/check.h"
#include "../core/session.h"
#include "io.h"
#include "store_parts.h"

#define ROWS_MAX 1000000 /* sessions of one database; more is no database of ours */

enum { COL_ID, COL_NAME, COL_INSTANCE, COL_ATTEMPT, COL_STATE, COL_INSTANCE_STATE };
static const char rows_sql[] = "SELECT id, name, instance_id, attempt, state, instance_state "
			       "FROM session ORDER BY id";

/* A text that fits whole; NULL is "". */
static bool take_text(sqlite3_stmt *st, int column, char *out, size_t size)
{
	const char *text = (const char *)sqlite3_column_text(st, column);
	size_t n = (size_t)sqlite3_column_bytes(st, column);

	if (n >= size || (n && (!text || memchr(text, '\0', n))))
		return false;
	if (n)
		memcpy(out, text, n);
	out[n] = '\0';
	return true;
}

static bool take_row(sqlite3_stmt *st, struct store_row *r)
{
	r->attempt = sqlite3_column_int64(st, COL_ATTEMPT);
	r->state = sqlite3_column_int64(st, COL_STATE);
	r->instance_state = sqlite3_column_int64(st, COL_INSTANCE_STATE);
	return take_text(st, COL_ID, r->id, sizeof(r->id)) && r->id[0] &&
	       take_text(st, COL_NAME, r->name, sizeof(r->name)) &&
	       take_text(st, COL_INSTANCE, r->instance_id, sizeof(r->instance_id)) &&
	       r->attempt >= 0 && r->state >= 0 && r->state < S_COUNT && r->instance_state >= 0 &&
	       r->instance_state < I_COUNT;
}

static int add_row(struct store_books *b, sqlite3_stmt *st, const char *path, struct error *why)
{
	if ((b->count & (b->count - 1)) == 0) { /* full: 0, 1, 2, 4, 8, ... */
		size_t cap = b->count ? b->count * 2 : 1;
		struct store_row *more = reallocarray(b->rows, cap, sizeof(*more));

		if (!more)
			return fail(why, ERR_NO_MEMORY, "out of memory in the database %s", path);
		b->rows = more;
	}
	if (b->count == ROWS_MAX || !take_row(st, &b->rows[b->count]))
		return fail(why, ERR_INVALID,
			    "the database %s is damaged: session %zu of it holds no sensible "
			    "values; put a backup in its place",
			    path, b->count + 1);
	b->count++;
	return 0;
}

static int read_rows(struct store_books *b, sqlite3 *h, const char *path, struct error *why)
{
	sqlite3_stmt *st = NULL;
	int err = 0, rc = sqlite3_prepare_v2(h, rows_sql, -1, &st, NULL);

	while (rc == SQLITE_OK && !err && (rc = sqlite3_step(st)) == SQLITE_ROW) {
		err = add_row(b, st, path, why);
		rc = SQLITE_OK;
	}
	if (!err && rc != SQLITE_DONE)
		err = db_fail(h, rc, path, why);
	sqlite3_finalize(st);
	return err;
}

int store_books_read(const char *given, bool locked, struct store_books *out, struct error *why)
{
	FREE char *path = files_absolute(given);
	int64_t version = 0;
	struct stat st;
	struct db db;
	int err;

	*out = (struct store_books){0};
	if (!path)
		return fail(why, ERR_NO_MEMORY, "out of memory while looking at the database");
	if (stat(path, &st) < 0) {
		if (errno == ENOENT)
			return 0;
		return fail(why, ERR_INVALID, "the database %s cannot be looked at: %s", path,
			    strerror(errno));
	}
	if (!S_ISREG(st.st_mode))
		return fail(why, ERR_INVALID,
			    "the database %s is not a regular file; set DATABASE_PATH to a file",
			    path);
	out->holder = locked ? 0 : files_holder(path);
	err = db_peek(&db, path, out->holder == 0 && !files_wal_waits(path), &version, why);
	if (err)
		return err;
	out->exists = version > 0; /* an empty file is as good as none */
	if (out->exists)
		err = read_rows(out, db.h, path, why);
	db_close(&db);
	if (err)
		store_books_free(out);
	return err;
}

void store_books_free(struct store_books *b)
{
	free(b->rows);
	*b = (struct store_books){0};
}

static int by_id(const void *key, const void *row)
{
	return strcmp(key, ((const struct store_row *)row)->id);
}

const struct store_row *store_books_find(const struct store_books *b, const char *id)
{
	return b->count ? bsearch(id, b->rows, b->count, sizeof(*b->rows), by_id) : NULL;
}

int store_lock(const char *given, int *fd, struct error *why)
{
	FREE char *path = files_absolute(given);
	FREE char *dir = path ? strdup(path) : NULL;

	*fd = -1;
	if (!dir)
		return fail(why, ERR_NO_MEMORY, "out of memory while locking the database");
	strrchr(dir, '/')[1] = '\0';
	if (access(dir, F_OK) < 0 && errno == ENOENT)
		return 0;
	return files_lock(path, fd, why);
}

void store_unlock(int fd)
{
	files_unlock(fd);
}
