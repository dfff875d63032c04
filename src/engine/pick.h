/*
 * Which offer a spec takes: pick.c, for buy.c only. Loop thread.
 */
#ifndef GPUFS_ENGINE_PICK_H
#define GPUFS_ENGINE_PICK_H

#include "internal.h"

#define OFFERS_AGE_MAX_US (10 * MINUTE_US) /* twice the idle refresh of lifecycle.md, Timers */

struct pick {
	const struct engine *e;
	const struct session *s; /* its failed offers are left out */
	const struct spec *sp;
	int64_t hours;
	int64_t cap_u6; /* UNKNOWN with offer=: filled in from its price */
	/* Of a retry: what was bought first, and how far from it the next may be; else NULL. */
	const struct offer *first;
	enum retry_scope scope;
	bool uncontested; /* only what no other session is ordering now; pick_best's own */

	/* What was chosen. */
	const struct offer *offer; /* NULL: none. Borrowed from the market */
	int64_t price_u6;	   /* all-in for the shape below, at the bid */
	struct shape shape;	   /* UNKNOWN in it: the machine's own */
};

/* Does the spec ask for what this offer has not? `whole`: it is complete, so that what is missing counts
 * too; else a shell may still be writing it. */
int pick_check(const struct engine *e, const struct offer *o, const struct spec *sp, bool whole,
	       struct error *why);
/* The sentence about an offer that is not on the market: perhaps its provider is the reason. */
int pick_missing(const struct engine *e, const char *id, struct error *why);
/* offer=ID. */
int pick_named(struct pick *p, struct error *why);
/* The cheapest that matches the selection keys, ties by id. What another session is ordering comes last:
 * of ten that are bought at once each gets its own, instead of all but one losing nine races. */
int pick_best(struct pick *p, struct error *why);

#endif
