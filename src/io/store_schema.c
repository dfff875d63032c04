/*
 * The store's SQL: opening, judging, migrating and checking a database; rows in and out.
 *
 * Owner: whoever holds the struct db: main until store_start, then the worker alone.
 * Invariants: migrations are frozen text (a released one is never edited, a change is a new one)
 * and run in one transaction with their user_version; after them the columns must be what this
 * program writes, by name, type and order, or the start is refused. The file is hostile until that
 * is proven: bounded lengths, no triggers or views of a stranger, SQLite's own check first.
 * Messages quote SQLite's fixed texts, not bytes of the file. Tests: tests/unit/test_store.c.
 */
#include <stdlib.h>
#include <string.h>

#include "../core/check.h"
#include "../core/session.h"
#include "store_parts.h"

#define BUSY_MS	  500 /* nobody else should write; a stranger's lock is reported, not waited for */
#define VALUE_MAX (16 << 20)
#define APPLICATION_ID \
	1735423334 /* "gpuf": in the file's header, so that strangers' files are known */

/* ---- what this program writes ---- */

struct column {
	const char *name, *type;
};
static const struct column session_columns[] = {
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
static const struct column event_columns[] = {
	{"seq", "INTEGER"}, {"time_us", "INTEGER"}, {"session_id", "TEXT"}, {"json", "TEXT"}};
static const struct column meta_columns[] = {{"name", "TEXT"}, {"value", "TEXT"}};

_Static_assert(ARRAY_LEN(session_columns) <= JOURNAL_COLUMNS_MAX, "a session fits into one record");

static const struct table {
	const char *name;
	const struct column *columns;
	size_t n;
} tables[J_TABLE_COUNT] = {
	[J_SESSION] = {"session", session_columns, ARRAY_LEN(session_columns)},
	[J_EVENT] = {"event", event_columns, ARRAY_LEN(event_columns)},
	[J_META] = {"meta", meta_columns, ARRAY_LEN(meta_columns)},
};

/* From version i to i + 1. Frozen: never edit one that was released. */
static const char *const migrations[STORE_VERSION] = {
	"PRAGMA application_id = 1735423334;"
	"CREATE TABLE session ("
	" id TEXT PRIMARY KEY NOT NULL,"
	" serial INTEGER, name TEXT, owner_uid INTEGER, owner_gid INTEGER, owner_name TEXT,"
	" dir_mode INTEGER, consumer TEXT, workload TEXT, label_text TEXT,"
	" state INTEGER, state_us INTEGER, reason TEXT, spec TEXT,"
	" created_us INTEGER, bought_us INTEGER, running_us INTEGER, expires_us INTEGER,"
	" stopped_us INTEGER, removed_us INTEGER, changed_us INTEGER,"
	" hours INTEGER, hard_max_us INTEGER, start_by_us INTEGER, ssh_timeout_us INTEGER,"
	" protect INTEGER, held INTEGER,"
	" provider TEXT, offer_id TEXT, gpu_type TEXT, gpu_count INTEGER, vram_gb INTEGER,"
	" location TEXT, price_u6 INTEGER, price_quoted_u6 INTEGER, cap_u6 INTEGER,"
	" attempt INTEGER, attempt_cause INTEGER, retries_left INTEGER, failed_offers TEXT, label "
	"TEXT,"
	" instance_state INTEGER, instance_id TEXT, asked_us INTEGER, booted_us INTEGER,"
	" delete_us INTEGER, gone_us INTEGER, billed_prior_us INTEGER, cost_prior_u6 INTEGER,"
	" ssh_host TEXT, ssh_port INTEGER, ssh_user TEXT, host_key TEXT,"
	" private_key TEXT, public_key TEXT,"
	" end_cause INTEGER, end_by TEXT, end_by_uid INTEGER, end_us INTEGER,"
	" creates INTEGER, deletes INTEGER, looks INTEGER, evidence TEXT, late_look_us INTEGER"
	") STRICT;"
	"CREATE TABLE event ("
	" seq INTEGER PRIMARY KEY, time_us INTEGER, session_id TEXT, json TEXT"
	") STRICT;"
	"CREATE TABLE meta (name TEXT PRIMARY KEY NOT NULL, value TEXT) STRICT;",
	/* To 2: rates, disk, bids, mapped ports. */
	"ALTER TABLE session ADD COLUMN rate_u6 INTEGER DEFAULT -1;"
	"ALTER TABLE session ADD COLUMN rate_us INTEGER DEFAULT 0;"
	"ALTER TABLE session ADD COLUMN settled_u6 INTEGER DEFAULT 0;"
	"ALTER TABLE session ADD COLUMN disk_gb INTEGER DEFAULT -1;"
	"ALTER TABLE session ADD COLUMN bid_u6 INTEGER DEFAULT -1;"
	"ALTER TABLE session ADD COLUMN attached INTEGER DEFAULT 0;"
	"ALTER TABLE session ADD COLUMN ports TEXT;",
	/* To 3: shapes, and how a machine is reached. */
	"ALTER TABLE session ADD COLUMN vcpus INTEGER DEFAULT -1;"
	"ALTER TABLE session ADD COLUMN ram_gb INTEGER DEFAULT -1;"
	"ALTER TABLE session ADD COLUMN reach INTEGER DEFAULT 0;",
};

/* ---- errors ---- */

/* SQLite's answer as the negative errno of the contract. */
static int db_errno(sqlite3 *h, int rc)
{
	int eno;

	switch (rc & 0xff) {
	case SQLITE_OK:
	case SQLITE_ROW:
	case SQLITE_DONE:
		return 0;
	case SQLITE_FULL:
		return -ENOSPC;
	case SQLITE_READONLY:
		return -EROFS;
	case SQLITE_NOMEM:
		return -ENOMEM;
	case SQLITE_IOERR:
	case SQLITE_CANTOPEN:
		eno = h ? sqlite3_system_errno(h) : 0;
		if (eno == ENOSPC || eno == EDQUOT)
			return -ENOSPC;
		return eno == EROFS ? -EROFS : -EIO;
	default:
		return -EIO;
	}
}

int db_fail(sqlite3 *h, int rc, const char *path, struct error *why)
{
	const char *text = sqlite3_errstr(rc);

	switch (rc & 0xff) {
	case SQLITE_NOTADB:
		return fail(why, ERR_INVALID,
			    "%s is not a database (%s); move it away, or set DATABASE_PATH to "
			    "another file",
			    path, text);
	case SQLITE_CORRUPT:
		return fail(
			why, ERR_INVALID,
			"the database %s is damaged (%s); put a backup in its place, or repair a "
			"copy with: sqlite3 %s .recover",
			path, text, path);
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return fail(why, ERR_BUSY,
			    "another program holds the database %s (%s); end it and start again",
			    path, text);
	default:
		break;
	}
	switch (db_errno(h, rc)) {
	case -ENOSPC:
		return fail(why, ERR_NOT_DURABLE,
			    "the database %s cannot be written: the disk is full; free some space "
			    "and start again",
			    path);
	case -EROFS:
		return fail(why, ERR_NOT_DURABLE,
			    "the database %s cannot be written: it is read only; make it and its "
			    "directory writable, or set DATABASE_PATH to another place",
			    path);
	case -ENOMEM:
		return fail(why, ERR_NO_MEMORY, "out of memory in the database %s", path);
	default:
		return fail(why, ERR_NOT_DURABLE,
			    "the database %s cannot be used: %s; look at that disk and the rights "
			    "of its directory",
			    path, text);
	}
}

/* ---- small steps ---- */

static void stmt_free(sqlite3_stmt **st)
{
	sqlite3_finalize(*st);
}
#define STMT __attribute__((cleanup(stmt_free))) sqlite3_stmt

static int sql_run(sqlite3 *h, const char *sql)
{
	return sqlite3_exec(h, sql, NULL, NULL, NULL);
}

/* The first column of the first row; 0 if there is none. */
static int sql_int(sqlite3 *h, const char *sql, int64_t *out)
{
	STMT *st = NULL;
	int rc = sqlite3_prepare_v2(h, sql, -1, &st, NULL);

	*out = 0;
	if (rc == SQLITE_OK)
		rc = sqlite3_step(st);
	if (rc == SQLITE_ROW)
		*out = sqlite3_column_int64(st, 0);
	return rc == SQLITE_ROW || rc == SQLITE_DONE ? SQLITE_OK : rc;
}

/* SQLite's own check of the whole file: one damaged page is found now, not in the middle of a life.
 */
static int db_check_pages(sqlite3 *h, const char *path, struct error *why)
{
	STMT *st = NULL;
	const char *text;
	int rc = sqlite3_prepare_v2(h, "PRAGMA quick_check(1)", -1, &st, NULL);

	if (rc == SQLITE_OK)
		rc = sqlite3_step(st);
	if (rc != SQLITE_ROW)
		return db_fail(h, rc == SQLITE_DONE ? SQLITE_CORRUPT : rc, path, why);
	text = (const char *)sqlite3_column_text(st, 0);
	if (text == NULL || strcmp(text, "ok") != 0)
		return db_fail(h, SQLITE_CORRUPT, path, why);
	return 0;
}

/* Is this our file, and of a version that we understand? Changes nothing. */
static int db_judge(sqlite3 *h, const char *path, int64_t *version, struct error *why)
{
	int64_t application = 0, objects = 0;
	int rc = sql_int(h, "PRAGMA user_version", version);

	if (rc == SQLITE_OK)
		rc = sql_int(h, "PRAGMA application_id", &application);
	if (rc == SQLITE_OK)
		rc = sql_int(h, "SELECT count(*) FROM sqlite_schema", &objects);
	if (rc != SQLITE_OK)
		return db_fail(h, rc, path, why);
	if (objects == 0 && *version == 0 && application == 0)
		return 0; /* empty: to be made */
	if (application != APPLICATION_ID || *version < 1)
		return fail(why, ERR_INVALID,
			    "%s is the database of another program; set DATABASE_PATH to another "
			    "file",
			    path);
	if (*version > STORE_VERSION)
		return fail(why, ERR_INVALID,
			    "the database %s has version %lld, and this gpufs knows versions up to "
			    "%d; start the newer gpufs that wrote it",
			    path, (long long)*version, STORE_VERSION);
	return db_check_pages(h, path, why);
}

static int db_migrate(sqlite3 *h, const char *path, int64_t version, struct error *why)
{
	for (int64_t v = version; v < STORE_VERSION; v++) {
		char stamp[48];
		int rc = sql_run(h, "BEGIN IMMEDIATE");

		sqlite3_snprintf(sizeof(stamp), stamp, "PRAGMA user_version = %lld", v + 1);
		if (rc == SQLITE_OK)
			rc = sql_run(h, migrations[v]);
		if (rc == SQLITE_OK)
			rc = sql_run(h, stamp);
		if (rc == SQLITE_OK)
			rc = sql_run(h, "COMMIT");
		if (rc != SQLITE_OK)
			return db_fail(h, rc, path, why);
	}
	return 0;
}

/* Row i of table_info must be column i of ours; past the end there must be no row. */
static int column_verify(sqlite3_stmt *st, const struct table *t, size_t i, const char *path,
			 struct error *why)
{
	const char *name = (const char *)sqlite3_column_text(st, 1);
	const char *type = (const char *)sqlite3_column_text(st, 2);
	bool key = sqlite3_column_int(st, 5) != 0;

	if (i < t->n && name && type && strcmp(name, t->columns[i].name) == 0 &&
	    strcmp(type, t->columns[i].type) == 0 && key == (i == 0))
		return 0;
	return fail(why, ERR_INVALID,
		    "the database %s has another shape than this gpufs writes: column %zu of table "
		    "%s is not %s %s; put a backup in its place",
		    path, i + 1, t->name, i < t->n ? t->columns[i].name : "expected",
		    i < t->n ? t->columns[i].type : "at all");
}

static int table_verify(sqlite3 *h, const struct table *t, const char *path, struct error *why)
{
	STMT *st = NULL;
	BUF sql = {0};
	size_t i = 0;
	int rc, err = 0;

	buf_printf(&sql, "PRAGMA table_info(%s)", t->name);
	if (sql.failed)
		return fail(why, ERR_NO_MEMORY, "out of memory in the database %s", path);
	rc = sqlite3_prepare_v2(h, sql.data, -1, &st, NULL);
	if (rc != SQLITE_OK)
		return db_fail(h, rc, path, why);
	while (!err && (rc = sqlite3_step(st)) == SQLITE_ROW)
		err = column_verify(st, t, i++, path, why);
	if (err)
		return err;
	if (rc != SQLITE_DONE)
		return db_fail(h, rc, path, why);
	if (i != t->n)
		return fail(
			why, ERR_INVALID,
			"the database %s has another shape than this gpufs writes: table %s has "
			"%zu columns and not %zu; put a backup in its place",
			path, t->name, i, t->n);
	return 0;
}

/* ---- opening ---- */

/* A file from outside gets no say: no triggers, views or functions of its own, no endless values.
 */
static void db_harden(sqlite3 *h)
{
	sqlite3_busy_timeout(h, BUSY_MS);
	sqlite3_limit(h, SQLITE_LIMIT_LENGTH, VALUE_MAX);
	sqlite3_db_config(h, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
	sqlite3_db_config(h, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
	sqlite3_db_config(h, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, NULL);
	sqlite3_db_config(h, SQLITE_DBCONFIG_ENABLE_VIEW, 0, NULL);
	sqlite3_db_config(h, SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0, NULL);
}

static int db_durable(sqlite3 *h, const char *path, struct error *why)
{
	STMT *st = NULL;
	const char *mode = NULL;
	int rc = sqlite3_prepare_v2(h, "PRAGMA journal_mode = WAL", -1, &st, NULL);

	if (rc == SQLITE_OK)
		rc = sqlite3_step(st);
	if (rc == SQLITE_ROW)
		mode = (const char *)sqlite3_column_text(st, 0);
	if (mode == NULL)
		return db_fail(h, rc, path, why);
	if (strcmp(mode, "wal") != 0)
		return fail(
			why, ERR_NOT_DURABLE,
			"the database %s cannot keep a write-ahead log on that file system; set "
			"DATABASE_PATH to a local disk",
			path);
	sqlite3_reset(st);
	/* secure_delete: a private key is gone from the file when its session is over. */
	rc = sql_run(h, "PRAGMA synchronous = FULL; PRAGMA secure_delete = ON;"
			"PRAGMA temp_store = MEMORY; PRAGMA cell_size_check = ON;");
	return rc == SQLITE_OK ? 0 : db_fail(h, rc, path, why);
}

static int table_prepare(struct db *db, enum journal_table i, const char *path, struct error *why)
{
	const struct table *t = &tables[i];
	BUF put = {0}, erase = {0};
	int rc;

	buf_printf(&put, "INSERT OR REPLACE INTO %s VALUES (?", t->name);
	for (size_t c = 1; c < t->n; c++)
		buf_puts(&put, ",?");
	buf_putc(&put, ')');
	buf_printf(&erase, "DELETE FROM %s WHERE %s = ?", t->name, t->columns[0].name);
	if (put.failed || erase.failed)
		return fail(why, ERR_NO_MEMORY, "out of memory in the database %s", path);
	rc = sqlite3_prepare_v3(db->h, put.data, -1, SQLITE_PREPARE_PERSISTENT, &db->put[i], NULL);
	if (rc == SQLITE_OK)
		rc = sqlite3_prepare_v3(db->h, erase.data, -1, SQLITE_PREPARE_PERSISTENT,
					&db->erase[i], NULL);
	return rc == SQLITE_OK ? 0 : db_fail(db->h, rc, path, why);
}

static int db_set_up(struct db *db, const char *path, struct error *why)
{
	int64_t version = 0;
	int err;

	db_harden(db->h);
	err = db_judge(db->h, path, &version, why);
	if (!err)
		err = db_durable(db->h, path, why);
	if (!err)
		err = db_migrate(db->h, path, version, why);
	for (size_t i = 0; !err && i < J_TABLE_COUNT; i++) {
		err = table_verify(db->h, &tables[i], path, why);
		if (!err)
			err = table_prepare(db, (enum journal_table)i, path, why);
	}
	return err;
}

int db_open(struct db *db, const char *path, struct error *why)
{
	int rc, err;

	memset(db, 0, sizeof(*db));
	CHECK(path[0] == '/'); /* a relative name could read as an URI */
	rc = sqlite3_open_v2(path, &db->h,
			     SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE,
			     NULL);
	err = rc == SQLITE_OK ? db_set_up(db, path, why) : db_fail(db->h, rc, path, why);
	if (err)
		db_close(db);
	return err;
}

void db_close(struct db *db)
{
	for (size_t i = 0; i < J_TABLE_COUNT; i++) {
		sqlite3_finalize(db->put[i]);
		sqlite3_finalize(db->erase[i]);
	}
	/* Nothing is left unfinished, so this cannot be refused. */
	CHECK(sqlite3_close(db->h) == SQLITE_OK);
	memset(db, 0, sizeof(*db));
}

/* ---- rows ---- */

static int value_bind(sqlite3_stmt *st, int at, const struct journal_value *v)
{
	switch (v->type) {
	case JV_NULL:
		return sqlite3_bind_null(st, at);
	case JV_INT:
		return sqlite3_bind_int64(st, at, v->i);
	case JV_TEXT:
		return sqlite3_bind_text64(st, at, v->text, v->len, SQLITE_STATIC, SQLITE_UTF8);
	}
	return SQLITE_MISUSE;
}

int db_begin(struct db *db)
{
	return db_errno(db->h, sql_run(db->h, "BEGIN IMMEDIATE"));
}

int db_apply(struct db *db, const struct journal_op *op)
{
	sqlite3_stmt *st;
	size_t n;
	int rc = SQLITE_OK;

	if ((size_t)op->table >= J_TABLE_COUNT)
		return -EINVAL;
	st = op->erase ? db->erase[op->table] : db->put[op->table];
	n = op->erase ? 1 : tables[op->table].n;
	/* A key of NULL would be a new row each time, or a number that SQLite invents. */
	if (op->n < n || (!op->erase && op->n != n) || op->v[0].type == JV_NULL)
		return -EINVAL;
	for (size_t i = 0; i < n && rc == SQLITE_OK; i++)
		rc = value_bind(st, (int)i + 1, &op->v[i]);
	if (rc == SQLITE_OK)
		rc = sqlite3_step(st);
	rc = db_errno(db->h, rc);
	sqlite3_reset(st);
	sqlite3_clear_bindings(st);
	return rc;
}

int db_commit(struct db *db)
{
	return db_errno(db->h, sql_run(db->h, "COMMIT"));
}

void db_rollback(struct db *db)
{
	/* Some errors (a full disk) already rolled back. */
	if (!sqlite3_get_autocommit(db->h))
		sql_run(db->h, "ROLLBACK");
}

static int row_read(sqlite3_stmt *st, const struct table *t, struct journal_op *op,
		    struct error *why)
{
	for (size_t i = 0; i < t->n; i++) {
		int at = (int)i, err = 0;
		const char *text;

		switch (sqlite3_column_type(st, at)) {
		case SQLITE_NULL:
			err = journal_op_text(op, NULL, 0);
			break;
		case SQLITE_INTEGER:
			err = journal_op_int(op, sqlite3_column_int64(st, at));
			break;
		case SQLITE_TEXT:
			text = (const char *)sqlite3_column_text(st, at);
			if (text == NULL)
				return fail(why, ERR_NO_MEMORY, "out of memory in the database");
			err = journal_op_text(op, text, (size_t)sqlite3_column_bytes(st, at));
			break;
		default:
			return fail(
				why, ERR_INVALID,
				"the database is damaged: table %s, column %s holds neither text "
				"nor an integer; put a backup in its place",
				t->name, t->columns[i].name);
		}
		if (err)
			return fail(why, ERR_NO_MEMORY, "out of memory in the database");
	}
	return 0;
}

static int table_load(struct db *db, enum journal_table which,
		      int (*fn)(void *arg, const struct journal_op *row), void *arg,
		      struct error *why)
{
	const struct table *t = &tables[which];
	STMT *st = NULL;
	BUF sql = {0};
	int rc, err = 0;

	buf_printf(&sql, "SELECT * FROM %s ORDER BY %s", t->name, t->columns[0].name);
	if (sql.failed)
		return fail(why, ERR_NO_MEMORY, "out of memory in the database");
	rc = sqlite3_prepare_v2(db->h, sql.data, -1, &st, NULL);
	while (rc == SQLITE_OK && (rc = sqlite3_step(st)) == SQLITE_ROW) {
		struct journal_op op = {.table = which};

		rc = SQLITE_OK;
		err = row_read(st, t, &op, why);
		if (!err)
			err = fn(arg, &op);
		journal_op_free(&op);
		if (err < 0)
			return err;
	}
	return rc == SQLITE_DONE ? 0 : db_fail(db->h, rc, sqlite3_db_filename(db->h, "main"), why);
}

int db_load(struct db *db, int (*fn)(void *arg, const struct journal_op *row), void *arg,
	    struct error *why)
{
	int err = 0;

	for (size_t i = 0; !err && i < J_TABLE_COUNT; i++)
		err = table_load(db, (enum journal_table)i, fn, arg, why);
	return err;
}

/* ---- --check ---- */

static void uri_of(struct buf *b, const char *path, bool quiet)
{
	static const char hex[] = "0123456789ABCDEF";

	buf_puts(b, "file:");
	for (const char *p = path; *p; p++) {
		unsigned char c = (unsigned char)*p;

		if (c == '?' || c == '#' || c == '%') {
			buf_putc(b, '%');
			buf_putc(b, hex[c >> 4]);
			buf_putc(b, hex[c & 15]);
		} else {
			buf_putc(b, *p);
		}
	}
	buf_puts(b, quiet ? "?immutable=1" : "?mode=ro");
}

int db_peek(struct db *db, const char *path, bool quiet, int64_t *version, struct error *why)
{
	BUF uri = {0};
	int rc, err;

	memset(db, 0, sizeof(*db));
	uri_of(&uri, path, quiet);
	if (uri.failed)
		return fail(why, ERR_NO_MEMORY, "out of memory while looking at the database");
	rc = sqlite3_open_v2(uri.data, &db->h,
			     SQLITE_OPEN_READONLY | SQLITE_OPEN_URI | SQLITE_OPEN_EXRESCODE, NULL);
	if (rc != SQLITE_OK) {
		err = db_fail(db->h, rc, path, why);
	} else {
		db_harden(db->h);
		err = db_judge(db->h, path, version, why);
	}
	if (err)
		db_close(db);
	return err;
}

int db_look(const char *path, bool quiet, int64_t *version, int64_t *sessions, struct error *why)
{
	struct db db;
	int rc = SQLITE_OK, err = db_peek(&db, path, quiet, version, why);

	if (err)
		return err;
	if (*version > 0)
		rc = sql_int(db.h, "SELECT count(*) FROM session", sessions);
	err = rc == SQLITE_OK ? 0 : db_fail(db.h, rc, path, why);
	db_close(&db);
	return err;
}
