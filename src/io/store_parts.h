/*
 * The parts of the store, for its own files only: store.c (worker, and the loop's side), store_queue.c
 * (what waits), store_schema.c (SQL) and store_files.c (directories, lock, ballast, --check). Nobody else
 * includes this.
 */
#ifndef GPUFS_IO_STORE_PARTS_H
#define GPUFS_IO_STORE_PARTS_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>

#include "../core/buf.h"
#include "../core/error.h"
#include "../core/record.h"
#include "../engine/world.h"

#define STORE_VERSION	    3 /* PRAGMA user_version that this program writes */
#define STORE_BALLAST_BYTES ((int64_t)4 << 20)

/* ---- store_queue.c: one thread at a time, which store.c sees to ---- */
struct item {
	struct item *next;
	struct journal_op *op; /* owned; NULL: refused before it reached the disk, err says why */
	journal_cb cb;
	void *arg;
	int64_t queued_us;
	size_t bytes;
	int err;
	bool spare; /* goes back to the spares */
};
struct item_list {
	struct item *first, **last;
};
void items_init(struct item_list *l);
void items_add(struct item_list *l, struct item *it);
/* Everything in `from` goes to the end of `to`. */
void items_move(struct item_list *to, struct item_list *from);
void items_free(struct item_list *l); /* the items too; no callback */
void spares_fill(struct item **spares);
void spares_free(struct item **spares);
/* A spare one if there is no memory. */
struct item *item_new(struct item **spares);
/* Take the op into the item, or say why not in err; its texts are ours either way. */
void item_take(struct item *it, struct journal_op *op);
void item_drop_op(struct item *it); /* wiped and freed */
void item_free(struct item **spares, struct item *it);

/* ---- store_schema.c: one connection, used by one thread at a time ---- */
struct db {
	sqlite3 *h;
	sqlite3_stmt *put[J_TABLE_COUNT], *erase[J_TABLE_COUNT];
};
/* The file must exist (empty is fine). On a refusal nothing is left open. */
int db_open(struct db *db, const char *path, struct error *why);
void db_close(struct db *db);
int db_load(struct db *db, int (*fn)(void *arg, const struct journal_op *row), void *arg,
	    struct error *why);
/* Each 0 or a negative errno: -ENOSPC, -EROFS, -ENOMEM, -EINVAL (a row of a wrong shape), else -EIO. */
int db_begin(struct db *db);
int db_apply(struct db *db, const struct journal_op *op);
int db_commit(struct db *db);
void db_rollback(struct db *db);
/* What SQLite's answer rc means, as a sentence. */
int db_fail(sqlite3 *h, int rc, const char *path, struct error *why);
/* Open read only and judge: *version 0 means empty. `quiet` as below. Nothing is left open on a
 * refusal; only db_close may follow. */
int db_peek(struct db *db, const char *path, bool quiet, int64_t *version, struct error *why);
/* For --check: opens read only, says version and number of sessions. `quiet`: no writer is active and
 * no write-ahead log waits, so that the file can be read without touching anything beside it. */
int db_look(const char *path, bool quiet, int64_t *version, int64_t *sessions, struct error *why);

/* ---- store_files.c ---- */
char *files_absolute(const char *path);			      /* malloc'd; NULL: no memory */
int files_make_parents(const char *path, struct error *why);  /* mkdir -p, 0711 */
int files_lock(const char *path, int *fd, struct error *why); /* flock on PATH.lock */
void files_unlock(int fd);				      /* -1 is fine */
/* 0: the lock is free. Positive: held by that process. Negative: held, by whom is not known. */
int64_t files_holder(const char *path);
bool files_wal_waits(const char *path); /* a write-ahead log that is not empty */
int files_make_database(const char *path, struct error *why); /* 0600, a regular file */
int64_t files_room(const char *path);			      /* bytes free; 0 if unknown */
bool files_ballast_make(const char *path);		      /* true: it is there, whole */
bool files_ballast_drop(const char *path);		      /* true: there was one */

#endif
