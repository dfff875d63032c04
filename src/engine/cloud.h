/*
 * The HTTP engine of all dialects: what carries a call of provider.h out over world.http, so that it
 * cannot buy twice. Per account one limiter (GCRA per endpoint and over all, with a reserve for
 * destroys), one breaker and one more for destroys, a queue in order of urgency; reads are tried
 * again with full jitter, creates never; transport outcomes become verdicts by the table of faults.md
 * (Buying, 3). Lists are walked over all their pages and are `complete` only if every page came, the
 * counts agree and no page repeated. Large replies are parsed on a worker. Used by the engine (one per
 * source), and without a daemon by --check and --orphans. Loop thread. Tests: tests/unit/test_cloud.c.
 */
#ifndef GPUFS_ENGINE_CLOUD_H
#define GPUFS_ENGINE_CLOUD_H

#include "world.h"

struct cloud;

/* p has a dialect and an account; both borrowed for life. */
struct cloud *cloud_new(struct world *w, struct provider *p);
/* The end of a process: everything that waits is answered now, from inside of this call (sent writes
 * UNSURE, the rest LATER), so that whoever asked can free what belongs to the call. */
void cloud_hang_up(struct cloud *c);
/* Calls that were not answered yet are dropped, their callbacks do not come. May be called from a
 * callback of its own. What a worker is still parsing is thrown away when it comes back. NULL is fine. */
void cloud_free(struct cloud *c);

/* Carry the call out; cb comes exactly once, from the loop, never from inside this call. Everything is
 * read from *call before this returns, but `go`, which is asked with `arg` before each sending.
 *
 * A create that provably did not leave (no connection) is LATER with PE_UNAVAILABLE: nothing was made,
 * and the engine may try again under a new label. One that may have left and got no whole answer is
 * UNSURE. A list of which some pages came is SURE_YES and not complete. LATER comes at once, and
 * nothing is sent, while the breaker is open or a pause of more than 30 s stands. */
void cloud_act(struct cloud *c, const struct call *call, result_cb cb, void *arg);

#define SKEW_ALARM_US MINUTE_US /* our clock against a provider's: more is said */

struct cloud_view {
	int64_t requests;	    /* that were sent */
	int64_t throttled_until_us; /* monotonic; 0: not */
	int breaker;		    /* 0 closed, 1 open, 2 half open */
	int destroy_breaker;
	int64_t skew_us; /* our clock minus the provider's Date; UNKNOWN: not seen */
	size_t queued;
};
void cloud_view(const struct cloud *c, struct cloud_view *out);

#endif
