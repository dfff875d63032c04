/*
 * The disk: one writer, in order, as the real store. Durable and acknowledged are two moments: a crash
 * between them keeps the row and nobody was told, and of what was not acknowledged a crash keeps any
 * prefix. See sim.h.
 */
#include <errno.h>
#include <string.h>

#include "sim.h"

struct sim_write {
	struct sim_write *next;
	struct journal_op op;
	journal_cb cb;
	void *arg;
	int64_t at_us;
	struct sim_event *ev;
};

static size_t column_of(const char *name)
{
	for (size_t i = 0; i < session_field_count; i++)
		if (!strcmp(session_fields[i].name, name))
			return i;
	CHECK(false);
	return 0;
}

/* ---- rows ---- */

static bool same_key(const struct journal_op *a, const struct journal_op *b)
{
	if (a->table != b->table || a->v[0].type != b->v[0].type)
		return false;
	return a->v[0].type == JV_INT ? a->v[0].i == b->v[0].i
				      : !strcmp(a->v[0].text, b->v[0].text);
}

/* Takes op's values. Events are told (sim_rules.c) and not kept. */
static void row_write(struct sim *s, struct journal_op *op)
{
	struct sim_disk *d = &s->disk;
	size_t at = 0;

	d->writes++;
	s->dirty = true;
	if (op->table == J_EVENT)
		return;
	while (at < d->row_count && !same_key(&d->rows[at], op))
		at++;
	if (at < d->row_count)
		journal_op_free(&d->rows[at]);
	if (op->erase) {
		if (at < d->row_count)
			d->rows[at] = d->rows[--d->row_count];
		return;
	}
	if (at == d->row_count) {
		d->rows = sim_grow(d->rows, d->row_count, &d->row_cap, sizeof *d->rows);
		d->row_count++;
	}
	d->rows[at] = *op;
	op->n = 0;
}

static void op_hash(struct sim *s, const struct journal_op *op)
{
	sim_hash(s, &op->table, sizeof op->table);
	for (size_t i = 0; i < op->n; i++)
		if (op->v[i].type == JV_TEXT)
			sim_hash(s, op->v[i].text, op->v[i].len);
		else
			sim_hash(s, &op->v[i].i, sizeof op->v[i].i);
}

static void write_free(struct sim_write *w)
{
	journal_op_free(&w->op);
	free(w);
}

/* ---- the queue ---- */

static void disk_turn(struct sim *s, void *arg)
{
	struct sim_write *w = arg;
	int err = s->disk.err;

	CHECK(s->disk.first == w);
	if (!err)
		sim_boundary(s, "before a commit");
	s->disk.first = w->next;
	s->disk.waiting--;
	if (!err && !s->dead) {
		row_write(s, &w->op);
		sim_boundary(s, "after a commit");
	}
	if (w->cb)
		w->cb(w->arg, s->dead ? -EIO : err);
	write_free(w);
}

static void journal(void *self, struct journal_op *op, journal_cb cb, void *arg)
{
	struct sim *s = self;
	struct sim_write *w = xcalloc(1, sizeof *w), **end = &s->disk.first;
	int64_t at_us = s->now_us + (s->dead ? 1000 : s->disk.delay_us);

	if (!s->dead)
		op_hash(s, op);
	*w = (struct sim_write){.op = *op, .cb = cb, .arg = arg};
	op->n = 0;
	for (; *end; end = &(*end)->next) /* a fast write waits for a slow one before it */
		at_us = at_us > (*end)->at_us ? at_us : (*end)->at_us;
	*end = w;
	s->disk.waiting++;
	w->at_us = at_us;
	w->ev = sim_later(s, at_us - s->now_us, disk_turn, NULL, w);
}

static bool journal_ballast(void *self)
{
	struct sim *s = self;
	bool had = s->disk.ballast;

	if (s->dead)
		return false;
	s->disk.ballast = false;
	if (had && s->disk.err == -ENOSPC) {
		s->disk.err = 0;
		sim_tell(s, "disk: the ballast was freed");
	}
	return had;
}

/* ---- from outside ---- */

void sim_disk_crash(struct sim *s)
{
	size_t keep = (size_t)chance_below(&s->trouble, (int64_t)s->disk.waiting + 1);
	size_t n = 0;

	if (s->disk.err)
		keep = 0;
	for (struct sim_write *w = s->disk.first; w && n < keep; w = w->next, n++) {
		struct journal_op op = {.table = w->op.table, .erase = w->op.erase};

		for (size_t i = 0; i < w->op.n; i++)
			CHECK((w->op.v[i].type == JV_INT ? journal_op_int(&op, w->op.v[i].i)
							 : journal_op_text(&op, w->op.v[i].text,
									   w->op.v[i].len)) == 0);
		row_write(s, &op);
		journal_op_free(&op);
	}
	if (s->disk.waiting)
		sim_tell(s, "disk: %zu of %zu commits under way survived", keep, s->disk.waiting);
}

void sim_disk_lose(struct sim *s)
{
	for (size_t i = 0; i < s->disk.row_count; i++)
		journal_op_free(&s->disk.rows[i]);
	s->disk.row_count = 0;
}

void sim_disk_free(struct sim *s)
{
	sim_disk_lose(s);
	free(s->disk.rows);
	while (s->disk.first) {
		struct sim_write *w = s->disk.first;

		s->disk.first = w->next;
		sim_cancel(s, w->ev);
		write_free(w);
	}
}

bool sim_disk_intends(const struct sim *s, const char *label)
{
	static size_t label_at, state_at;

	if (!label_at) {
		label_at = column_of("label");
		state_at = column_of("instance_state");
	}
	for (size_t i = 0; i < s->disk.row_count; i++) {
		const struct journal_op *op = &s->disk.rows[i];

		if (op->table == J_SESSION && op->v[label_at].type == JV_TEXT &&
		    !strcmp(op->v[label_at].text, label))
			return op->v[state_at].i == I_ASKED;
	}
	return false;
}

void sim_disk_world(struct world *w)
{
	w->journal = journal;
	w->journal_ballast = journal_ballast;
}
