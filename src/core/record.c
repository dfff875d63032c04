/*
 * Building and freeing what the journal writes (record.h). Texts may be secrets (a private key is a
 * column), so every one is wiped before it is freed. Pure; an op belongs to one thread at a time.
 * Tests: tests/unit/test_text.c.
 */
#include "record.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

void journal_op_free(struct journal_op *op)
{
	CHECK(op->n <= JOURNAL_COLUMNS_MAX);
	for (size_t i = 0; i < op->n; i++) {
		struct journal_value *v = &op->v[i];

		if (v->text) {
			explicit_bzero(v->text, v->len);
			free(v->text);
		}
		*v = (struct journal_value){0};
	}
	op->n = 0;
}

int journal_op_int(struct journal_op *op, int64_t v)
{
	CHECK(op->n <
	      JOURNAL_COLUMNS_MAX); /* the columns are a fixed table: a longer one is a bug */
	op->v[op->n++] = (struct journal_value){.type = JV_INT, .i = v};
	return 0;
}

int journal_op_text(struct journal_op *op, const char *s, size_t n)
{
	struct journal_value v = {.type = JV_NULL};

	CHECK(op->n < JOURNAL_COLUMNS_MAX);
	if (s) {
		if (n == SIZE_MAX)
			return -ENOMEM;
		v.text = malloc(n + 1);
		if (!v.text)
			return -ENOMEM;
		memcpy(v.text, s, n);
		v.text[n] = '\0';
		v.type = JV_TEXT;
		v.len = n;
	}
	op->v[op->n++] = v;
	return 0;
}
