/*
 * The inside of market.h: rows (market.c) and which page comes next (market_pages.c).
 */
#ifndef GPUFS_CORE_MARKET_PARTS_H
#define GPUFS_CORE_MARKET_PARTS_H

#include <string.h>

#include "market.h"

#define MODELS_KNOWN_MAX 512 /* models that it ever showed */
#define MODEL_ASKS_MAX	 32  /* model pages that one refresh chooses from */
#define MACHINES_MAX	 128 /* that failed; the one that failed longest ago goes first */
#define GONE_MAX	 256

struct row {
	struct offer o;
	uint64_t machine;   /* hash of machine_id, or of the id where that is unknown */
	uint64_t model;	    /* hash of gpu_type */
	int64_t misses;	    /* refreshes in a row that covered and did not show it */
	bool seen, covered; /* in this refresh */
	bool dead;
};

struct model_name {
	char name[64];
	uint64_t hash;
};

struct machine {
	uint64_t key;
	char offer_id[OFFER_ID_MAX], gpu_type[64];
	int64_t failed_us[MACHINE_HIDE_AT]; /* newest first; 0: none */
	int64_t count, hidden_us, until_us;
	const char *kind;
	char reason[160];
};

struct gone {
	char id[OFFER_ID_MAX]; /* without BID_SUFFIX */
	char gpu_type[64];
	uint64_t hash, machine;
	int64_t until_us;
};

/* The rotation over one of the two markets. */
struct side {
	int64_t from_u6;	   /* where it goes on */
	int64_t pages, last_pages; /* of this round; of the last whole one, 0: there was none */
	bool began, done;	   /* in this refresh: the round; all of one round */
	int64_t tie_u6; /* one price fills a page: it is asked for model by model; or UNKNOWN */
	size_t tie_at;	/* next model */
};

enum page_kind { PAGE_NONE, PAGE_MODEL, PAGE_ROUND, PAGE_TIE };

/* What market_lend lends. */
struct market_loan {
	struct market *m; /* NULL: it went on with a copy, and `rows` is ours */
	struct row *rows;
	size_t count;
	struct machine machines[MACHINES_MAX]; /* as they were */
	size_t machine_count;
};

struct market {
	struct market_shape shape;
	struct row *rows; /* rows_own before they change */
	struct market_loan *loan;
	size_t count, cap;
	uint32_t *slots; /* by hash of the id: index + 1, or 0 */
	size_t slot_count;
	bool indexed;
	struct model_name models[MODELS_KNOWN_MAX];
	size_t model_count;
	struct machine machines[MACHINES_MAX];
	size_t machine_count;
	struct gone gone[GONE_MAX];
	size_t gone_count, gone_at;
	bool whole; /* the provider tells everything at once */

	/* the refresh under way */
	struct side sides[2]; /* on demand, bids */
	bool bids;
	struct page_ask model_asks[MODEL_ASKS_MAX];
	size_t model_ask_count, model_turn, model_quota;
	int64_t budget;
	bool rest_first; /* with a budget of one page, models and the rest take turns */
	unsigned side_turn;
	enum page_kind kind;
	struct page_ask ask;
};

static inline uint64_t text_hash(const char *s)
{
	return hash64(s, strlen(s), 0);
}

/* Rows of a page are put among those that are known. */
void rows_merge(struct market *m, const struct offer *offers, size_t n, bool bids, int64_t now_us);
/* No row of the market of bids is current any more. */
void rows_drop_bids(struct market *m);
void rows_compact(struct market *m); /* forget dead rows */
/* False: memory is out, they must stay as they are. */
bool rows_own(struct market *m);

#endif
