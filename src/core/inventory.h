/*
 * The market as an immutable snapshot: offers sorted by price, ties by id, with a look-up by id. A
 * snapshot is shared by reference; a reader that holds one keeps it. The newest is swapped in by
 * pointer. Loop thread (or one worker before it is shared).
 */
#ifndef GPUFS_CORE_INVENTORY_H
#define GPUFS_CORE_INVENTORY_H

#include "offer.h"

struct inventory {
	unsigned refs;
	uint64_t generation; /* grows by one with every snapshot that differs */
	size_t count;
	struct offer *offers; /* by price, then id */
	uint32_t *by_id;      /* indexes into offers, by id */
};

/* Takes a copy of the offers; duplicates of an id keep the first. NULL if memory is out. */
struct inventory *inventory_new(const struct offer *offers, size_t n, uint64_t generation);
struct inventory *inventory_ref(struct inventory *inv);
void inventory_unref(struct inventory *inv); /* NULL is fine */
const struct offer *inventory_find(const struct inventory *inv, const char *id);

/* Calls fn once for every id in which the two differ; a or b is NULL where it is not in that one.
 */
void inventory_diff(const struct inventory *before, const struct inventory *after,
		    void (*fn)(void *arg, const struct offer *a, const struct offer *b), void *arg);

#endif
