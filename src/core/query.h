/*
 * Selections: the conditions of search/ and of a spec without offer=. One table of keys serves
 * both, so that what search shows is what a purchase takes. Matching of models and places: tree,
 * "search/QUERY/".
 */
#ifndef GPUFS_CORE_QUERY_H
#define GPUFS_CORE_QUERY_H

#include "inventory.h"

/* Selection keys. Order is the order in which `why` applies them. */
enum query_key {
	Q_PROVIDER,
	Q_GPU,
	Q_GPU_COUNT,
	Q_MIN_GPU_COUNT,
	Q_MIN_VRAM,
	Q_MAX_VRAM,
	Q_MAX_PRICE,
	Q_LOCATION,
	Q_MIN_RELIABILITY,
	Q_MIN_CONFIDENCE,
	Q_MIN_CUDA,
	Q_INTERRUPTIBLE,
	Q_KEY_COUNT
};

struct query_key_info {
	const char *name, *unit, *doc;
	enum value_type type;
};
extern const struct query_key_info query_keys[Q_KEY_COUNT];

struct query {
	uint32_t set;		    /* bit per query_key: absent is not zero */
	bool gpu_exact;		    /* gpu==MODEL */
	char text[Q_KEY_COUNT][64]; /* canonical value of each key that is set */
	int64_t num[Q_KEY_COUNT];   /* its number: count, GB, u6, thousandths, 0/1 */
};

/* -1 if the word is not a selection key. */
int query_key_find(struct str key);
/* Set one condition, checking the value; a later one of the same key replaces the earlier. The
 * value of gpu= may begin with '=' (exact). `underscore`: '_' stands for a space (in search/
 * names). */
int query_set(struct query *q, enum query_key key, struct str value, struct error *why);
/* "gpu=RTX_4090,min_vram=24": adds to q; all or nothing. -EINVAL or -ERANGE with the column. */
int query_parse(struct query *q, const char *text, struct error *why);
void query_put(const struct query *q, struct buf *out); /* canonical, comma separated */

/* Only available offers match, and interruptible ones only where the query says interruptible=1. */
bool query_match(const struct query *q, const struct offer *o);
/* The same without what is not said: for queries that are one of several levels. */
bool query_match_said(const struct query *q, const struct offer *o);
bool query_match_key(const struct query *q, enum query_key key, const struct offer *o);
bool gpu_model_match(const char *wanted, const char *model, bool exact);

/* Queries that must all hold (the levels of search/), prepared for one snapshot: texts are compared once
 * each, then offers are looked through in order of price. Borrows both for its life. At most
 * QUERY_LEVELS_MAX levels. Any thread that may read the snapshot. */
#define QUERY_LEVELS_MAX 8
extern const enum query_key query_word_keys[WORD_COUNT]; /* which key asks for this text */
struct query_scan;
/* NULL if memory is out. */
struct query_scan *query_scan_new(const struct query *const *levels, size_t n,
				  const struct inventory *inv);
/* The first match at `from` or behind it, as an index into inv->offers; inv->count: none. An interruptible
 * offer matches only if some level speaks of interruptible. */
size_t query_scan_next(const struct query_scan *s, size_t from);
void query_scan_free(struct query_scan *s); /* NULL is fine */

/* The cheapest match, ties by id; skip(arg, offer) true leaves one out. NULL if none. Borrowed. */
const struct offer *query_best(const struct query *q, const struct inventory *inv,
			       bool (*skip)(void *arg, const struct offer *o), void *arg);
/* The text of search/QUERY/why: what each condition left over, and the nearest one that it removed.
 */
void query_why(const struct query *q, const struct inventory *inv, struct buf *out);

#endif
