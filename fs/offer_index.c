/*
 * The index of offers: an offer's node id is a 48-bit hash of its name, and the market is listed in
 * order of those. Loop thread.
 *
 * Invariants: a name keeps its serial for the life of the mount, also when two names collide (one
 * of them is probed and remembered); memory is bounded by the market and MOVED_OFFERS_MAX. The
 * market is only borrowed: offer_index_update comes before every look, with the engine's present
 * one. Tests: tests/unit/test_rows.c.
 */
#include <string.h>

#include "../src/core/check.h"
#include "rows.h"

#define SERIAL_MASK (((uint64_t)1 << 48) - 1)
#define MOVED_OFFERS_MAX \
	1024 /* collisions of 48 bits among 100 k names: about one in 60,000 markets */
#define PROBE_MAX (MOVED_OFFERS_MAX + 16)

struct indexed {
	uint64_t serial;
	uint32_t offer; /* in inv->offers */
};

/* A name that could not have the serial of its hash. */
struct moved_offer {
	uint64_t serial;
	char id[OFFER_ID_MAX];
};

struct offer_index {
	uint64_t mask;
	const struct inventory *inv; /* borrowed: valid while the engine's is the same pointer */
	uint64_t generation;
	struct indexed *rows; /* by serial */
	size_t count, room;
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
	free(ix->rows);
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
	const struct indexed *x = a, *y = b;

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

static void index_fill(struct offer_index *ix, const struct inventory *inv)
{
	for (size_t i = 0; i < inv->count; i++) {
		ix->rows[i].serial = offer_index_serial(ix, inv->offers[i].id);
		ix->rows[i].offer = (uint32_t)i;
	}
	ix->count = inv->count;
	if (ix->count > 1)
		qsort(ix->rows, ix->count, sizeof(*ix->rows), indexed_compare);
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

	memmove(&ix->rows[out], &ix->rows[out + 1], (ix->count - out - 1) * sizeof(*ix->rows));
	ix->count--;
}

void offer_index_update(struct offer_index *ix, const struct inventory *inv)
{
	size_t i, moved = ix->moved_count;

	if (!inv || (inv == ix->inv && inv->generation == ix->generation))
		return;
	if (inv->count > ix->room) {
		free(ix->rows);
		ix->rows = xcalloc(inv->count, sizeof(*ix->rows));
		ix->room = inv->count;
	}
	ix->inv = inv;
	ix->generation = inv->generation;
	index_fill(ix, inv);
	for (i = collision_find(ix); i; i = collision_find(ix)) {
		collision_settle(ix, inv, i);
		if (ix->moved_count != moved)
			index_fill(ix, inv);
		moved = ix->moved_count;
	}
}

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
