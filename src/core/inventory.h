/*
 * The market as an immutable snapshot: offers sorted by price, ties by id, with a look-up by id. A
 * snapshot is shared by reference; a reader that holds one keeps it. The newest is swapped in by
 * pointer. Loop thread (or one worker before it is shared).
 */
#ifndef GPUFS_CORE_INVENTORY_H
#define GPUFS_CORE_INVENTORY_H

#include "offer.h"

/* Texts that many offers share, numbered: a query compares each of them once, not every offer. */
enum inventory_word { WORD_PROVIDER, WORD_MODEL, WORD_LOCATION, WORD_COUNT };
struct inventory_words {
	size_t count;
	const char **text; /* distinct; borrowed from the offers */
	uint32_t *of;	   /* by offer: which of them */
};

/* Numbers that queries have conditions on, each of all offers side by side: half a kilobyte lies between
 * two offers, so that looking at one number of each of them would be ten thousand cache misses. */
enum inventory_number {
	NUMBER_GPU_COUNT,
	NUMBER_VRAM,
	NUMBER_PRICE,
	NUMBER_RELIABILITY,
	NUMBER_CONFIDENCE,
	NUMBER_CUDA,
	NUMBER_AVAILABLE,
	NUMBER_INTERRUPTIBLE,
	NUMBER_COUNT
};

/* Each offer's line of search/QUERY/table.tsv and offers.json, newline included, in the order of
 * offers: rendered before the snapshot is shared, since ten thousand take tens of milliseconds. */
enum inventory_line { LINE_TSV, LINE_JSON, LINE_COUNT };
struct inventory_lines {
	char *text;
	size_t *end; /* line i: from end[i - 1] (0 for the first) to end[i] */
};

/* The largest size and rate of each part among the offers of one provider. */
struct inventory_parts {
	struct part disk, vcpus, ram;
};

struct inventory {
	unsigned refs;
	uint64_t generation; /* grows by one with every snapshot that differs */
	size_t count;
	struct offer *offers; /* by price, then id */
	uint32_t *by_id;      /* indexes into offers, by id */
	struct inventory_words words[WORD_COUNT];
	int64_t *numbers[NUMBER_COUNT]; /* by offer */
	struct inventory_parts *parts;	/* by WORD_PROVIDER */
	struct inventory_lines lines[LINE_COUNT];
};

/* Takes a copy of the offers; duplicates of an id keep the first. NULL if memory is out. */
struct inventory *inventory_new(const struct offer *offers, size_t n, uint64_t generation);
struct inventory *inventory_ref(struct inventory *inv);
void inventory_unref(struct inventory *inv); /* NULL is fine */
const struct offer *inventory_find(const struct inventory *inv, const char *id);

/* How much less than its price_u6 an offer of that provider (a word) costs at most at this shape; at least
 * 0. With it, who looks for the cheapest at a shape knows where in the list to stop. */
int64_t inventory_saves(const struct inventory *inv, uint32_t provider, const struct shape *shape);

/* The one that follows `before` (generation + 1): lines of offers that are the same are copied from it.
 * `before` is only read, so a worker may do this while others read it. NULL if memory is out. */
struct inventory *inventory_next(const struct inventory *before, const struct offer *offers,
				 size_t n);

/* One id in which two snapshots differ. Borrows from both. */
struct inventory_change {
	const struct offer *before, *after; /* NULL where it is not in that one */
	uint64_t fields;		    /* offer_diff, if it is in both; else all bits */
};
/* All of them, by id. Allocated; NULL and 0 if there are none. */
struct inventory_change *inventory_changes(const struct inventory *before,
					   const struct inventory *after, size_t *count);

#endif
