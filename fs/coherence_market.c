/*
 * Coherence of inventory/: a new market gives what differs a newer mtime at once, in the turn of the
 * loop in which it is swapped in, and the kernel is told in slices of a millisecond, because ten
 * thousand offers are tens of thousands of notifications. Whoever opens a file that the kernel is
 * still to be told of has it told then: so an open never shows the old value. Owner: the loop thread.
 *
 * Invariants: all changes of one market have one time, later than that of any market before, whatever
 * the clock does: so every mtime grows strictly. An offer stands in the queue once while it is on the
 * market, and what the kernel is to be told of it stands in its row of the index: another market
 * meanwhile only adds to that. An offer that is queued and no longer there is told by its directory.
 * The kernel knows no file without its directory, so a directory that it does not know ends the matter.
 * Tests: tests/mount/scale.bats, tests/mount/coherence.bats.
 */
#include <string.h>

#include "internal.h"
#include "offer_index.h"

#define SLICE_NS   ((uint64_t)1000000) /* of one turn of the loop: requests come in between */
#define QUEUE_MIN  1024
#define AT_ONCE	   64 /* offers of which the kernel is told in the turn of the change itself */
#define DIR_BIT	   UINT32_C(1) /* in untold: it came, and its files may be known from before */
#define FIELD_BITS UINT32_MAX

/* ---- what is open, and its last record ---- */

static struct open_offer **open_place(struct mount *m, uint64_t serial)
{
	struct open_offer **p = &m->open_offers[serial % OPEN_OFFER_BUCKETS];

	while (*p && (*p)->serial != serial)
		p = &(*p)->next;
	return p;
}

void offer_opened(struct mount *m, uint64_t serial)
{
	struct open_offer **p = open_place(m, serial);

	if (!*p)
		*p = calloc(1, sizeof(**p));
	if (!*p)
		return; /* should the offer go, this reader finds nothing more */
	(*p)->serial = serial;
	(*p)->opens++;
}

void offer_closed(struct mount *m, uint64_t serial)
{
	struct open_offer **p = open_place(m, serial), *o = *p;

	if (!o || --o->opens)
		return;
	*p = o->next;
	free(o->gone);
	free(o);
}

/* Most of ten thousand that vanish are not open: they cost a look into a table that is nearly empty. */
static void open_offer_keep(struct mount *m, uint64_t serial, const struct offer *last)
{
	struct open_offer *o = *open_place(m, serial);

	if (!o)
		return;
	if (!o->gone)
		o->gone = malloc(sizeof(*o->gone));
	if (o->gone)
		*o->gone = *last;
}

const struct offer *gone_offer_find(const struct mount *m, uint64_t serial)
{
	const struct open_offer *o = m->open_offers[serial % OPEN_OFFER_BUCKETS];

	while (o && o->serial != serial)
		o = o->next;
	return o ? o->gone : NULL;
}

/* ---- telling the kernel ---- */

static void tell_fields(struct mount *m, uint64_t serial, uint32_t bits)
{
	for (unsigned field = 1; field < OFFER_NODE_FIELDS; field++)
		if (bits & UINT32_C(1) << field)
			notify_attr(m, node_id(OBJ_OFFER, serial, field));
}

static void tell(struct mount *m, uint64_t serial)
{
	uint64_t dir = node_id(OBJ_OFFER, serial, 0);
	struct indexed_offer *row = offer_index_row(m->offers, serial);
	uint32_t bits = row ? row->untold : 0;

	if (!row) {
		/* Only the directory: paths below it are ENOENT then, while a descriptor that is
		 * open keeps its file's attributes and reads the last record. */
		notify_attr(m, dir);
		return;
	}
	row->untold = 0;
	if (!(bits & DIR_BIT))
		tell_fields(m, serial, bits);
	else if (notify_attr(m, dir))
		tell_fields(m, serial, FIELD_BITS); /* cached as they were in an earlier life */
}

void market_tell_now(struct mount *m, uint64_t ino)
{
	const struct indexed_offer *row;
	uint32_t bit = UINT32_C(1) << (ino & 255) % OFFER_NODE_FIELDS;

	if (m->notify.done == m->notify.n)
		return;
	row = offer_index_row(m->offers, node_serial(ino));
	if (row && row->untold & (bit | DIR_BIT))
		notify_attr(m, ino);
}

static void queue_put(struct mount *m, uint64_t serial)
{
	struct notify_queue *q = &m->notify;

	if (q->n == q->room) {
		size_t room = q->room ? q->room * 2 : QUEUE_MIN;
		uint64_t *at = reallocarray(q->serial, room, sizeof(*at));

		if (!at) {
			tell(m, serial);
			return;
		}
		q->serial = at;
		q->room = room;
	}
	q->serial[q->n++] = serial;
}

bool coherence_slice(struct mount *m)
{
	struct notify_queue *q = &m->notify;
	uint64_t end_ns = uv_hrtime() + SLICE_NS;

	while (q->done < q->n) {
		tell(m, q->serial[q->done++]);
		if (q->done < q->n && uv_hrtime() >= end_ns)
			return true;
	}
	free(q->serial);
	memset(q, 0, sizeof(*q));
	return false;
}

/* ---- a new market ---- */

/* By field of an offer's node: the values of an offer that it shows. info shows them all. */
static void fields_shown(uint64_t shown[OFFER_NODE_FIELDS])
{
	const struct row *rows = class_rows(OBJ_OFFER);

	for (unsigned r = 0; rows[r].path; r++) {
		CHECK(r + 1 < OFFER_NODE_FIELDS);
		shown[r + 1] = UINT64_MAX;
		for (size_t i = 0; i < offer_field_count && i < 64; i++)
			if (strcmp(offer_fields[i].name, rows[r].path) == 0)
				shown[r + 1] = (uint64_t)1 << i;
	}
}

static void untold_add(struct mount *m, struct indexed_offer *row, uint32_t bits)
{
	bool queued = row->untold != 0;

	row->untold |= bits;
	if (bits && !queued)
		queue_put(m, row->serial);
}

/* These values read differently from now_ns on. */
static void offer_changed(struct mount *m, struct indexed_offer *row, uint64_t values,
			  const uint64_t shown[OFFER_NODE_FIELDS], int64_t now_ns)
{
	uint32_t bits = 0;

	for (unsigned field = 1; field < OFFER_NODE_FIELDS; field++)
		if (values & shown[field])
			bits |= UINT32_C(1) << field;
	if (!bits)
		return;
	if (!row->mtimes)
		row->mtimes = calloc(OFFER_NODE_FIELDS, sizeof(*row->mtimes));
	for (unsigned field = 1; field < OFFER_NODE_FIELDS && row->mtimes; field++)
		if (bits & UINT32_C(1) << field)
			row->mtimes[field] = now_ns;
	if (!row->mtimes) /* memory is out: all of its files are as new */
		row->came_ns = now_ns;
	untold_add(m, row, bits);
}

/* Before the index follows: then their rows are gone. */
static void offers_leave(struct mount *m, const struct change *c)
{
	for (size_t i = 0; i < c->diff_count; i++) {
		const struct offer *o = c->diffs[i].before;
		const struct indexed_offer *row;

		if (c->diffs[i].after)
			continue;
		row = offer_index_row_of(m->offers, o);
		if (!row)
			continue;
		open_offer_keep(m, row->serial, o);
		if (!row->untold) /* else it is queued already */
			queue_put(m, row->serial);
	}
}

/* true: some are new. */
static bool offers_follow(struct mount *m, const struct change *c, int64_t now_ns)
{
	uint64_t shown[OFFER_NODE_FIELDS] = {0};
	bool names = false;

	fields_shown(shown);
	for (size_t i = 0; i < c->diff_count; i++) {
		const struct inventory_change *d = &c->diffs[i];
		struct indexed_offer *row = d->after ? offer_index_row_of(m->offers, d->after)
						     : NULL;

		names = names || !d->before || !d->after;
		if (!row)
			continue;
		if (d->before) {
			offer_changed(m, row, d->fields & ~OFFER_TERMS, shown, now_ns);
			continue;
		}
		row->came_ns = now_ns;
		untold_add(m, row, DIR_BIT);
	}
	return names;
}

void market_changed(struct mount *m, const struct change *c)
{
	int64_t now_ns = engine_now(m->e) * NS_PER_US;
	bool names = true;

	if (!c->after)
		return;
	if (now_ns <= m->market_last_ns)
		now_ns = m->market_last_ns + 1;
	m->market_last_ns = now_ns;
	offer_index_update(m->offers, c->before);
	if (!m->market_seen && (!c->before || c->before->count == 0)) {
		m->market_ns = now_ns; /* nothing of it is known to anybody */
		offer_index_update(m->offers, c->after);
	} else {
		offers_leave(m, c);
		offer_index_follow(m->offers, c->before, c->after, c->diffs, c->diff_count);
		names = offers_follow(m, c, now_ns);
	}
	m->market_seen = m->market_seen || c->after->count > 0;
	if (names)
		touch(m, root_dir_of(OBJ_OFFER));
	touch(m, root_dir_of(OBJ_QUERY));
	texts_forget(m);
	if (m->notify.n - m->notify.done <= AT_ONCE)
		coherence_slice(m);
	mount_later(m);
}

int64_t offer_mtime_ns(const struct mount *m, uint64_t ino)
{
	const struct indexed_offer *row = offer_index_row(m->offers, node_serial(ino));
	unsigned field = ino & 255;
	int64_t ns = m->market_ns;

	if (row && row->came_ns > ns)
		ns = row->came_ns;
	if (row && row->mtimes && field < OFFER_NODE_FIELDS && row->mtimes[field] > ns)
		ns = row->mtimes[field];
	return ns;
}

void coherence_market_free(struct mount *m)
{
	for (size_t i = 0; i < OPEN_OFFER_BUCKETS; i++) {
		for (struct open_offer *o = m->open_offers[i], *next; o; o = next) {
			next = o->next;
			free(o->gone);
			free(o);
		}
		m->open_offers[i] = NULL;
	}
	free(m->notify.serial);
	memset(&m->notify, 0, sizeof(m->notify));
}
