/*
 * The session record: the table of its fields, and the ways in and out of the journal. One column
 * list serves insert, update and select, so no field can be forgotten in one of them (lessons.md, C
 * "e2e"). Pure. Tests: tests/unit/test_session.c.
 */
#include "session.h"

#include <stdlib.h>
#include <string.h>

#include "check.h"

const struct session_field session_fields[] = {
#define T(name, size) {#name, F_TEXT, offsetof(struct session, name), size},
#define N(name)	      {#name, F_INT, offsetof(struct session, name), 0},
#define L(name)	      {#name, F_LONG, offsetof(struct session, name), 0},
#define K(name)	      {#name, F_SECRET, offsetof(struct session, name), 0},
	SESSION_FIELDS(T, N, L, K)
#undef T
#undef N
#undef L
#undef K
};
const size_t session_field_count = ARRAY_LEN(session_fields);
_Static_assert(ARRAY_LEN(session_fields) <= JOURNAL_COLUMNS_MAX,
	       "a journal row must hold a session");

#define NUMBER_MAX     ((int64_t)1 << 60)  /* of one number; in microseconds 36,000 years */
#define LONG_MAX_BYTES ((size_t)256 << 10) /* of one text column read back from a database */

static void *field_at(const struct session *s, const struct session_field *f)
{
	return (char *)(uintptr_t)s + f->offset;
}

void secret_wipe(struct secret *s)
{
	if (s->bytes)
		explicit_bzero(s->bytes, s->len);
	free(s->bytes);
	s->bytes = NULL;
	s->len = 0;
}

void secret_set(struct secret *s, const char *bytes, size_t len)
{
	secret_wipe(s);
	s->bytes = xcalloc(len + 1, 1);
	memcpy(s->bytes, bytes, len);
	s->len = len;
}

void session_init(struct session *s)
{
	memset(s, 0, sizeof *s);
	s->owner_uid = s->owner_gid = s->end_by_uid = UNKNOWN;
	s->dir_mode = 0750;
	s->hours = s->gpu_count = s->vram_gb = UNKNOWN;
	s->price_u6 = s->price_quoted_u6 = s->cap_u6 = UNKNOWN;
	s->rate_u6 = s->disk_gb = s->vcpus = s->ram_gb = s->bid_u6 = UNKNOWN;
}

void session_free(struct session *s)
{
	for (size_t i = 0; i < session_field_count; i++) {
		const struct session_field *f = &session_fields[i];

		if (f->kind == F_LONG) {
			free(*(char **)field_at(s, f));
			*(char **)field_at(s, f) = NULL;
		} else if (f->kind == F_SECRET) {
			secret_wipe(field_at(s, f));
		}
	}
}

int session_copy(struct session *to, const struct session *from)
{
	*to = *from;
	for (size_t i = 0; i < session_field_count; i++) {
		const struct session_field *f = &session_fields[i];

		if (f->kind == F_LONG) {
			char **p = field_at(to, f);

			if (*p)
				*p = strdup(*p);
			CHECK(!*(char **)field_at(from, f) || *p);
		} else if (f->kind == F_SECRET) {
			const struct secret *k = field_at(from, f);
			struct secret *mine = field_at(to, f);

			*mine = (struct secret){NULL, 0};
			if (k->bytes)
				secret_set(mine, k->bytes, k->len);
		}
	}
	return 0;
}

int session_pack(const struct session *s, struct journal_op *op)
{
	int err = 0;

	*op = (struct journal_op){.table = J_SESSION};
	for (size_t i = 0; i < session_field_count && !err; i++) {
		const struct session_field *f = &session_fields[i];
		const void *at = field_at(s, f);

		switch (f->kind) {
		case F_TEXT:
			err = journal_op_text(op, at, strlen(at));
			break;
		case F_INT:
			err = journal_op_int(op, *(const int64_t *)at);
			break;
		case F_LONG: {
			const char *text = *(char *const *)at;

			err = journal_op_text(op, text, text ? strlen(text) : 0);
			break;
		}
		case F_SECRET: {
			const struct secret *k = at;

			err = journal_op_text(op, k->bytes, k->len);
			break;
		}
		}
	}
	if (err)
		journal_op_free(op);
	return err;
}

/* So that sums of times and of money cannot overflow, whatever a database holds. */
static bool number_ok(const struct session_field *f, int64_t v)
{
	return (v >= UNKNOWN && v <= NUMBER_MAX) ||
	       (v == INT64_MAX && f->offset == offsetof(struct session, start_by_us));
}

/* One column. A database can have been edited by anything: every bound is checked. */
static int unpack_field(struct session *s, const struct session_field *f,
			const struct journal_value *v, struct error *why)
{
	void *at = field_at(s, f);

	if (f->kind == F_INT) {
		if (v->type != JV_INT)
			return fail(why, ERR_INVALID, "column %s is not a number", f->name);
		if (!number_ok(f, v->i))
			return fail(why, ERR_INVALID, "column %s is out of range", f->name);
		*(int64_t *)at = v->i;
		return 0;
	}
	if (v->type == JV_NULL) {
		if (f->kind == F_TEXT)
			return fail(why, ERR_INVALID, "column %s is empty", f->name);
		return 0;
	}
	if (v->type != JV_TEXT || memchr(v->text, '\0', v->len))
		return fail(why, ERR_INVALID, "column %s is not text", f->name);
	if (v->len >= (f->kind == F_TEXT ? f->size : LONG_MAX_BYTES))
		return fail(why, ERR_INVALID, "column %s is too long (%zu bytes)", f->name, v->len);
	switch (f->kind) {
	case F_TEXT:
		memcpy(at, v->text, v->len);
		((char *)at)[v->len] = '\0';
		break;
	case F_LONG: {
		char *copy = xcalloc(v->len + 1, 1);

		memcpy(copy, v->text, v->len);
		free(*(char **)at);
		*(char **)at = copy;
		break;
	}
	case F_SECRET:
		secret_set(at, v->text, v->len);
		break;
	case F_INT:
		break;
	}
	return 0;
}

static bool in_range(int64_t v, int64_t count)
{
	return v >= 0 && v < count;
}

int session_unpack(struct session *s, const struct journal_op *op, struct error *why)
{
	session_init(s);
	if (op->table != J_SESSION || op->n != session_field_count)
		return fail(why, ERR_INVALID, "a session row has %zu columns, not %zu",
			    session_field_count, op->n);
	for (size_t i = 0; i < op->n; i++) {
		int err = unpack_field(s, &session_fields[i], &op->v[i], why);

		if (err) {
			session_free(s);
			return err;
		}
	}
	if (strlen(s->id) != 36 || s->serial <= 0 || s->serial >= (int64_t)1 << 48 ||
	    !in_range(s->state, S_COUNT) || !in_range(s->instance_state, I_COUNT) ||
	    !in_range(s->end_cause, END_COUNT) || name_check(s->name, NULL)) {
		session_free(s);
		return fail(why, ERR_INVALID, "session row '%.40s' holds values that cannot be",
			    op->v[0].type == JV_TEXT ? op->v[0].text : "");
	}
	return 0;
}
