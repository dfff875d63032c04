/*
 * One provider's part of the market, put together from pages. Some providers show samples: a search
 * brings at most so many rows, and a quarter of them is missing from the next reply of the same
 * search (wire page of Vast.ai, 4.3). So a refresh is a few pages within a budget: first the cheapest
 * of each model that somebody asked for, then the rest in rotation over the prices; a row that was
 * not covered stays as it was, and one that was covered and not shown loses confidence and leaves
 * after the third time. Also the memory of offers that were taken and of machines that failed.
 * Pure: the clock comes in, pages come in, what to ask next goes out. Loop thread.
 */
#ifndef GPUFS_CORE_MARKET_H
#define GPUFS_CORE_MARKET_H

#include "provider.h"
#include "query.h"

#define INTERESTS_MAX	  16		   /* the least recently asked for goes first */
#define INTEREST_US	  (10 * MINUTE_US) /* remembered for so long */
#define PAGE_ASK_ROWS	  3000		   /* rows asked for; clients are known to ask so */
#define MISSES_MAX	  3		   /* tree, inventory/: then an offer leaves */
#define MACHINE_HIDE_US	  (30 * MINUTE_US) /* lifecycle.md, Retry: three in 30 min, for 30 */
#define MACHINE_HIDE_AT	  3		   /* failures */
#define MACHINE_MEMORY_US (24 * HOUR_US)   /* a failure is forgotten after so long */
#define GONE_MEMORY_US	  (10 * MINUTE_US) /* a list may show so long what was taken */
#define MARKET_ROWS_MAX	  50000		   /* from pages; Vast.ai speaks of "more than 10 000" */
#define BID_SUFFIX	  "-bid"	   /* of the same ask on the market of bids */

/* ---- what is asked for ---- */

struct interest {
	char provider[64]; /* "": of any */
	char gpu[64];	   /* "": every model, of the market of bids */
	bool exact, bids;
	int64_t asked_us;
};
struct interests {
	struct interest list[INTERESTS_MAX];
	size_t count;
};
/* Somebody looks for this. True: nobody did in the last ten minutes. */
bool interest_note(struct interests *all, const struct query *q, int64_t now_us);

/* ---- a market ---- */

struct market;

struct market_shape {
	const char *provider;	   /* borrowed for the market's life */
	int64_t page_rows, budget; /* the dialect's page_rows and pages_per_refresh */
	struct shape machine;	   /* offers are priced for it */
	bool bids;		   /* it has a market of bids */
	bool whole;		   /* a page without a filter is all of it */
};
struct market *market_new(const struct market_shape *shape);
void market_free(struct market *m); /* NULL is fine */

/* A provider that tells everything at once: these are all. */
void market_whole(struct market *m, const struct offer *offers, size_t n);

/* One refresh: begin; then next and page in turns until next is false or a page failed; then end. */
void market_begin(struct market *m, const struct interests *all, int64_t now_us);
bool market_next(struct market *m, struct page_ask *out);
void market_page(struct market *m, const struct result *res, int64_t now_us); /* of that ask */
/* The same in slices: up to `most` more rows from *at, which grows. True: that was the last. Rows that
 * are taken between two slices (market_gone) stay away. */
bool market_page_slice(struct market *m, const struct result *res, size_t *at, size_t most,
		       int64_t now_us);
void market_end(struct market *m);

bool market_complete(const struct market *m); /* every price range was seen in the last rotation */

/* Taken, or called gone. Its twin on the market of bids goes too. False: it was not there. */
bool market_gone(struct market *m, const char *offer_id, int64_t now_us);
/* The same of several, which in a large market costs hardly more than one. True: some were there. */
bool market_gone_all(struct market *m, const char (*offer_ids)[OFFER_ID_MAX], size_t n,
		     int64_t now_us);
/* A boot or a login failed there. `kind` is a literal, `reason` is copied. */
void market_failed(struct market *m, const char *offer_id, const char *kind, const char *reason,
		   int64_t now_us);

size_t market_rows(const struct market *m);
/* The rows as they are now, for a worker to read while the market goes on: it makes itself a copy only if
 * it changes before they are given back, and may be freed before. One loan at a time. */
struct market_loan *market_lend(struct market *m);
bool market_lent(const struct market *m);    /* whoever can wait with a change, does */
void market_loan_end(struct market_loan *l); /* loop thread */
/* What was visible then, into out, which has room for market_loan_rows(l); returns how many. Any thread. */
size_t market_loan_rows(const struct market_loan *l);
size_t market_loan_put(const struct market_loan *l, int64_t now_us, struct offer *out);
/* When hidden machines show again; INT64_MAX: none is hidden. */
int64_t market_unhide_us(const struct market *m, int64_t now_us);

struct offer_health {
	const char *provider, *offer_id, *gpu_type;
	int64_t failures;	     /* remembered ones of its machine */
	int64_t hidden_us, until_us; /* 0: not hidden */
	int64_t multiplier_m;	     /* thousandths */
	int64_t last_us;
	const char *kind, *reason; /* of the last failure */
};
/* Every offer whose machine failed. Texts are borrowed during the call. */
void market_health(const struct market *m, int64_t now_us,
		   void (*fn)(void *arg, const struct offer_health *h), void *arg);

#endif
