/*
 * The index of offers by serial (the middle of a node id): it lists the market in an order that does
 * not depend on prices, and remembers for each offer what the mount must know while it is there. Loop
 * thread.
 *
 * Invariants: a name keeps its serial for the life of the mount. The market is only borrowed: one of
 * offer_index_update and offer_index_follow comes before every look, with the engine's present one.
 */
#ifndef GPUFS_FS_OFFER_INDEX_H
#define GPUFS_FS_OFFER_INDEX_H

#include "../src/core/inventory.h"

#define OFFER_NODE_FIELDS 20 /* fields of an offer's node ids: its directory (0) and its rows */

struct indexed_offer {
	uint64_t serial;
	int64_t came_ns; /* wall clock; 0: it was there from the first market on */
	int64_t *mtimes; /* OFFER_NODE_FIELDS, by field: when it last changed; NULL: none did */
	uint32_t offer;	 /* index into the market's offers */
	uint32_t untold; /* by field: the kernel is not told yet that it changed */
};

struct offer_index;
struct offer_index *offer_index_new(void);
/* For tests of collisions: only these bits of the hash count. */
struct offer_index *offer_index_new_masked(uint64_t mask);
void offer_index_free(struct offer_index *ix); /* NULL is fine */

/* Bring it up to date with this market; nothing to do if it is. */
void offer_index_update(struct offer_index *ix, const struct inventory *inv);
/* The same when the market `before` was replaced by `after`, from what differs (inventory_changes):
 * names that stay are not looked at. */
void offer_index_follow(struct offer_index *ix, const struct inventory *before,
			const struct inventory *after, const struct inventory_change *diffs,
			size_t diff_count);

const struct offer *offer_index_get(const struct offer_index *ix, uint64_t serial);
/* The first with a greater serial; NULL: none. */
const struct offer *offer_index_after(const struct offer_index *ix, uint64_t after,
				      uint64_t *serial);
/* The serial that a name has, or would have if it came now. */
uint64_t offer_index_serial(const struct offer_index *ix, const char *offer_id);
/* Borrowed until the market changes; NULL: not there. `o` is of the market that the index is of. */
struct indexed_offer *offer_index_row(struct offer_index *ix, uint64_t serial);
struct indexed_offer *offer_index_row_of(struct offer_index *ix, const struct offer *o);

#endif
