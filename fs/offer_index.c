/*
 * The index of offers: an offer's node id is a 48-bit hash of its name, and the market is listed in
 * order of those. Loop thread.
 *
 * Invariants: a name keeps its serial for the life of the mount, also when two names collide (one
 * of them is probed and remembered); memory is bounded by the market and MOVED_OFFERS_MAX. A price
 * that changes moves offers within the market but no row of the index, so following a market costs
 * no hashing and no sorting of what stays (10 000 offers: well below a millisecond).
 * Tests: tests/unit/test_offer_index.c.
 */
#include "offer_index.h"

#include <stdlib.h>
#include <string.h>

#include "../src/core/check.h"

#define SERIAL_MASK (((uint64_t)1 << 48) - 1)
#define MOVED_OFFERS_MAX \
	1024 /* collisions of 48 bits among 100 k names: about one in 60,000 markets */
#define PROBE_MAX (MOVED_OFFERS_MAX + 16)

/* A name that could not have the serial of its hash. */
struct moved_offer {
	uint64_t serial;
	char id[OFFER_ID_MAX];
};

struct offer_index {
	uint64_t mask;
	const struct inventory *inv; /* borrowed: valid while the engine's is the same pointer */
	uint64_t generation;
	struct indexed_offer *rows; /* by serial */
	size_t count;
	uint32_t *row_of; /* by offer: its row + 1; 0: it is left out */
	struct moved_offer *moved;
	size_t moved_count;
};

struct offer_index *offer_index_new_masked(uint64_t mask)
{
	struct offer_index *ix = xcalloc(1, sizeof(*ix));

	ix->mask = mask;
	return ix;
}

struct offer_index *offer_index_new(void)
{
	return offer_index_new_masked(SERIAL_MASK);
}

void offer_index_free(struct offer_index *ix)
{
	if (!ix)
		return;
	for (size_t i = 0; i < ix->count; i++)
		free(ix->rows[i].mtimes);
	free(ix->rows);
	free(ix->row_of);
	free(ix->moved);
	free(ix);
}

/* Zero is no serial: readdir begins after it. */
static uint64_t serial_of_hash(const struct offer_index *ix, const char *id)
{
	uint64_t h = hash64(id, strlen(id), 0) & ix->mask;

	return h ? h : 1;
}

static const struct moved_offer *moved_find(const struct offer_index *ix, const char *id)
{
	for (size_t i = 0; i < ix->moved_count; i++)
		if (strcmp(ix->moved[i].id, id) == 0)
			return &ix->moved[i];
	return NULL;
}

uint64_t offer_index_serial(const struct offer_index *ix, const char *offer_id)
{
	const struct moved_offer *m = moved_find(ix, offer_id);

	return m ? m->serial : serial_of_hash(ix, offer_id);
}

static int indexed_compare(const void *a, const void *b)
{
	const struct indexed_offer *x = a, *y = b;

	if (x->serial != y->serial)
		return x->serial < y->serial ? -1 : 1;
	return x->offer < y->offer ? -1 : x->offer > y->offer;
}

static bool serial_taken(const struct offer_index *ix, uint64_t serial)
{
	for (size_t i = 0; i < ix->moved_count; i++)
		if (ix->moved[i].serial == serial)
			return true;
	for (size_t lo = 0, hi = ix->count; lo < hi;) {
		size_t mid = lo + (hi - lo) / 2;

		if (ix->rows[mid].serial == serial)
			return true;
		if (ix->rows[mid].serial < serial)
			lo = mid + 1;
		else
			hi = mid;
	}
	return false;
}

/* Gives the name the next free serial and remembers it; false if the memory for such names is full.
 */
static bool moved_add(struct offer_index *ix, const char *id, uint64_t from)
{
	if (!ix->moved)
		ix->moved = xcalloc(MOVED_OFFERS_MAX, sizeof(*ix->moved));
	if (ix->moved_count == MOVED_OFFERS_MAX)
		return false;
	for (uint64_t n = 1; n <= ix->count + PROBE_MAX; n++) {
		uint64_t serial = (from + n) & SERIAL_MASK;

		if (serial == 0 || serial_taken(ix, serial))
			continue;
		struct moved_offer *m = &ix->moved[ix->moved_count++];

		m->serial = serial;
		COPY(m->id, id);
		return true;
	}
	return false;
}

/* What is remembered of an offer goes with its serial. Both are by serial. */
static void rows_inherit(struct indexed_offer *rows, size_t count, struct indexed_offer *old,
			 size_t old_count)
{
	size_t i = 0;

	for (size_t k = 0; k < old_count; k++) {
		while (i < count && rows[i].serial < old[k].serial)
			i++;
		if (i == count || rows[i].serial != old[k].serial) {
			free(old[k].mtimes);
			continue;
		}
		rows[i].came_ns = old[k].came_ns;
		rows[i].untold = old[k].untold;
		rows[i].mtimes = old[k].mtimes;
		i++;
	}
}

static void rows_replace(struct offer_index *ix, struct indexed_offer *rows, size_t count)
{
	free(ix->rows);
	ix->rows = rows;
	ix->count = count;
}

/* From the names alone. */
static void index_fill(struct offer_index *ix, const struct inventory *inv)
{
	struct indexed_offer *rows = xcalloc(inv->count + 1, sizeof(*rows));

	for (size_t i = 0; i < inv->count; i++) {
		rows[i].serial = offer_index_serial(ix, inv->offers[i].id);
		rows[i].offer = (uint32_t)i;
	}
	if (inv->count > 1)
		qsort(rows, inv->count, sizeof(*rows), indexed_compare);
	rows_inherit(rows, inv->count, ix->rows, ix->count);
	rows_replace(ix, rows, inv->count);
}

/* The first pair of rows with one serial, as the index of the second; 0 if there is none. */
static size_t collision_find(const struct offer_index *ix)
{
	for (size_t i = 1; i < ix->count; i++)
		if (ix->rows[i].serial == ix->rows[i - 1].serial)
			return i;
	return 0;
}

/* Of two names with one serial the smaller name keeps it, unless the other's is a remembered one:
 * that does not depend on prices, so the answer is the same at every refresh. */
static void collision_settle(struct offer_index *ix, const struct inventory *inv, size_t i)
{
	const char *a = inv->offers[ix->rows[i - 1].offer].id;
	const char *b = inv->offers[ix->rows[i].offer].id;
	bool a_stays = moved_find(ix, a) || (!moved_find(ix, b) && strcmp(a, b) < 0);

	if (moved_add(ix, a_stays ? b : a, ix->rows[i].serial))
		return;
	/* No memory left for names like this: the offer is left out of the directory, not mixed up.
	 */
	size_t out = a_stays ? i : i - 1;

	free(ix->rows[out].mtimes);
	memmove(&ix->rows[out], &ix->rows[out + 1], (ix->count - out - 1) * sizeof(*ix->rows));
	ix->count--;
}

/* Every serial once, and from an offer to its row. */
static void index_finish(struct offer_index *ix, const struct inventory *inv)
{
	size_t moved = ix->moved_count;

	ix->inv = inv;
	ix->generation = inv->generation;
	for (size_t i = collision_find(ix); i; i = collision_find(ix)) {
		collision_settle(ix, inv, i);
		if (ix->moved_count != moved)
			index_fill(ix, inv);
		moved = ix->moved_count;
	}
	free(ix->row_of);
	ix->row_of = xcalloc(inv->count + 1, sizeof(*ix->row_of));
	for (size_t i = 0; i < ix->count; i++)
		ix->row_of[ix->rows[i].offer] = (uint32_t)i + 1;
}

static bool is_of(const struct offer_index *ix, const struct inventory *inv)
{
	return inv == ix->inv && inv->generation == ix->generation;
}

void offer_index_update(struct offer_index *ix, const struct inventory *inv)
{
	if (!inv || is_of(ix, inv))
		return;
	index_fill(ix, inv);
	index_finish(ix, inv);
}

/* ---- from one market to the next ---- */

#define GONE UINT32_MAX

/* Where each offer of `before` is in `after`, from walking both by id beside the differences; no
 * name is read. Returns how many came, or -1 if the three do not fit together. */
static ptrdiff_t offers_map(const struct inventory *before, const struct inventory *after,
			    const struct inventory_change *diff, size_t n, uint32_t *to)
{
	const struct inventory_change *end = diff + n;
	size_t i = 0, j = 0;
	ptrdiff_t came = 0;

	while (i < before->count || j < after->count) {
		const struct offer *a = i < before->count ? &before->offers[before->by_id[i]]
							  : NULL;
		const struct offer *b = j < after->count ? &after->offers[after->by_id[j]] : NULL;

		if (diff < end && a && diff->before == a && !diff->after) {
			to[before->by_id[i++]] = GONE;
			diff++;
		} else if (diff < end && b && diff->after == b && !diff->before) {
			j++;
			came++;
			diff++;
		} else if (a && b) {
			diff += diff < end && diff->before == a;
			to[before->by_id[i++]] = after->by_id[j++];
		} else {
			return -1;
		}
	}
	return came;
}

/* The rows of those that came, by serial. */
static struct indexed_offer *rows_came(const struct offer_index *ix, const struct inventory *after,
				       const struct inventory_change *diffs, size_t n, size_t came)
{
	struct indexed_offer *rows = xcalloc(came + 1, sizeof(*rows));
	size_t used = 0;

	for (size_t i = 0; i < n; i++) {
		if (diffs[i].before)
			continue;
		CHECK(used < came);
		rows[used].serial = offer_index_serial(ix, diffs[i].after->id);
		rows[used++].offer = (uint32_t)(diffs[i].after - after->offers);
	}
	if (used > 1)
		qsort(rows, used, sizeof(*rows), indexed_compare);
	return rows;
}

/* Who came cannot have the serial of one that is there: it gets another, and keeps that. true: some did. */
static bool came_collide(struct offer_index *ix, const struct inventory *after,
			 const struct indexed_offer *fresh, size_t came)
{
	bool some = false;

	for (size_t i = 0; i < came; i++)
		if (offer_index_row(ix, fresh[i].serial))
			some = moved_add(ix, after->offers[fresh[i].offer].id, fresh[i].serial) ||
			       some;
	return some;
}

void offer_index_follow(struct offer_index *ix, const struct inventory *before,
			const struct inventory *after, const struct inventory_change *diffs,
			size_t diff_count)
{
	FREE uint32_t *to = NULL;
	ptrdiff_t came = -1;

	/* An offer that was left out may find its place now. */
	if (before && is_of(ix, before) && ix->count == before->count) {
		to = xcalloc(before->count + 1, sizeof(*to));
		came = offers_map(before, after, diffs, diff_count, to);
	}
	if (came < 0) {
		offer_index_update(ix, after);
		return;
	}
	FREE struct indexed_offer *fresh = rows_came(ix, after, diffs, diff_count, (size_t)came);
	if (came_collide(ix, after, fresh, (size_t)came)) {
		offer_index_update(ix, after);
		return;
	}
	struct indexed_offer *rows = xcalloc(after->count + 1, sizeof(*rows));
	size_t used = 0, k = 0;

	for (size_t i = 0; i < ix->count; i++) {
		struct indexed_offer *row = &ix->rows[i];

		if (to[row->offer] == GONE) {
			free(row->mtimes);
			continue;
		}
		while (k < (size_t)came && fresh[k].serial < row->serial)
			rows[used++] = fresh[k++];
		rows[used] = *row;
		rows[used++].offer = to[row->offer];
	}
	while (k < (size_t)came)
		rows[used++] = fresh[k++];
	CHECK(used == after->count);
	rows_replace(ix, rows, used);
	index_finish(ix, after);
}

/* ---- looking ---- */

static size_t index_first_after(const struct offer_index *ix, uint64_t after)
{
	size_t lo = 0, hi = ix->count;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (ix->rows[mid].serial > after)
			hi = mid;
		else
			lo = mid + 1;
	}
	return lo;
}

const struct offer *offer_index_after(const struct offer_index *ix, uint64_t after,
				      uint64_t *serial)
{
	size_t i = index_first_after(ix, after);

	if (!ix->inv || i >= ix->count)
		return NULL;
	*serial = ix->rows[i].serial;
	return &ix->inv->offers[ix->rows[i].offer];
}

const struct offer *offer_index_get(const struct offer_index *ix, uint64_t serial)
{
	uint64_t found;
	const struct offer *o = serial ? offer_index_after(ix, serial - 1, &found) : NULL;

	return o && found == serial ? o : NULL;
}

struct indexed_offer *offer_index_row(struct offer_index *ix, uint64_t serial)
{
	size_t i = serial ? index_first_after(ix, serial - 1) : ix->count;

	return i < ix->count && ix->rows[i].serial == serial ? &ix->rows[i] : NULL;
}

struct indexed_offer *offer_index_row_of(struct offer_index *ix, const struct offer *o)
{
	CHECK(ix->inv && o >= ix->inv->offers && o < ix->inv->offers + ix->inv->count);
	uint32_t row = ix->row_of[o - ix->inv->offers];

	return row ? &ix->rows[row - 1] : NULL;
}
