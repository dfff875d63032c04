/*
 * What the journal can hold: rows of a few tables, as typed values. The store turns them into SQL,
 * the simulator keeps them in memory; neither knows what they mean.
 */
#ifndef GPUFS_CORE_RECORD_H
#define GPUFS_CORE_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define JOURNAL_COLUMNS_MAX 80

enum journal_table {
	J_SESSION, /* columns: session_fields; key: column 0 */
	J_EVENT,   /* seq, time_us, session_id, json; key: seq */
	J_META,	   /* name, value; key: name */
	J_TABLE_COUNT
};

struct journal_value {
	enum { JV_NULL, JV_INT, JV_TEXT } type;
	int64_t i;
	char *text; /* owned by the op; wiped before it is freed, since it may be a secret */
	size_t len;
};

/* One write: insert or replace the row, or erase it (then only column 0 counts). */
struct journal_op {
	enum journal_table table;
	bool erase;
	size_t n;
	struct journal_value v[JOURNAL_COLUMNS_MAX];
};

void journal_op_free(struct journal_op *op); /* the values' texts; not op itself */
int journal_op_int(struct journal_op *op, int64_t v);
int journal_op_text(struct journal_op *op, const char *s, size_t n); /* s NULL: SQL NULL */

#endif
