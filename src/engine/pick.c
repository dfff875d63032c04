/*
 * Which offer a spec takes, and what it costs there: one set of rules for plan, commit, the choice of
 * each attempt and the checks while a spec is written, so that none of them promises what another
 * refuses. Prices are all-in for the shape of the machine that is asked for, never the list's price for
 * its default shape. Loop thread. Tests: tests/unit/test_buy.c.
 */
#include "pick.h"

#include <inttypes.h>
#include <string.h>

/* What a spec may ask for that a provider may not have, as a sentence about it. */
static const struct {
	unsigned want;
	const char *key, *what;
} abilities[] = {
	{WANT_DISK, "disk_gb", "disks to choose from: its machines have the disk that they have"},
	{WANT_VCPUS, "vcpus", "vCPUs to choose: its machines have the CPUs that they have"},
	{WANT_RAM, "ram_gb", "memory to choose: its machines have the memory that they have"},
	{WANT_IMAGE, "image", "container images"},
	{WANT_TEMPLATE, "template", "templates"},
	{WANT_ON_START, "on_start", "start scripts: log in and run it"},
	{WANT_PORTS, "ports", "mapped ports: programs listen on the machine's own"},
	{WANT_BID, "interruptible", "market of bids"},
};

static int fail_lacking(const struct offer *o, unsigned lacks, struct error *why)
{
	for (size_t i = 0; i < ARRAY_LEN(abilities); i++)
		if (lacks & abilities[i].want)
			return fail(
				why, ERR_INVALID,
				"%s: the provider %s has no %s; leave it out, or choose another "
				"offer",
				abilities[i].key, o->provider, abilities[i].what);
	return 0;
}

/* ---- what it costs ---- */

/* What a machine there would get; UNKNOWN in it: what it has. A provider's own minimum wins. */
static struct shape shape_of(const struct engine *e, const struct source *src,
			     const struct spec *sp)
{
	const struct policy *p = e->p;
	const struct shape wanted = {sp->disk_gb != UNKNOWN ? sp->disk_gb : p->default_disk_gb,
				     sp->vcpus != UNKNOWN ? sp->vcpus : p->default_vcpus,
				     sp->ram_gb != UNKNOWN ? sp->ram_gb : p->default_ram_gb};

	return provider_shape(src->p, &wanted);
}

/* The most that it may cost in an hour; UNKNOWN: the machine has not so much. The market of bids shows
 * prices at the lowest bid, disk included, and a bid pays for the rest. */
int64_t price_of(const struct offer *o, const struct shape *shape, int64_t bid_u6)
{
	int64_t price = offer_price(o, shape);

	if (price == UNKNOWN || bid_u6 == UNKNOWN)
		return price;
	if (o->min_bid_u6 == UNKNOWN)
		return price > bid_u6 ? price : bid_u6;
	return price + bid_u6 - o->min_bid_u6;
}

static void take(struct pick *p, const struct offer *o, const struct source *src)
{
	p->offer = o;
	p->shape = shape_of(p->e, src, p->sp);
	p->price_u6 = price_of(o, &p->shape, p->sp->bid_u6);
}

/* ---- may it be bought there, now ---- */

/* Older than this, a list says nothing about what can be bought. */
static int64_t age_limit(const struct policy *p)
{
	return 2 * p->market_idle_us > OFFERS_AGE_MAX_US ? 2 * p->market_idle_us
							 : OFFERS_AGE_MAX_US;
}

/* An offer's provider must be switched on, know us, have our money, and have spoken not long ago. That it
 * is throttled or down at this moment is no refusal: the create waits its turn. */
static int check_source(const struct engine *e, const struct source *src, struct error *why)
{
	const char *name = src->p->name;
	int64_t age = engine_now(e) - src->fetched_us;

	if (!src->enabled)
		return fail(why, ERR_UNREACHABLE,
			    "provider %s is switched off for new purchases (providers/%s/enabled)",
			    name, name);
	if (!src->fetched_us && !strcmp(src->state, "ok"))
		return 0; /* gpufs has just started */
	if (src->key_dead)
		return fail(why, ERR_KEY_REFUSED,
			    "provider %s refuses the key, so nothing can be bought there: %s; an "
			    "administrator has to set a valid one and start gpufs again",
			    name, src->reason);
	if (src->balance_u6 != UNKNOWN && src->balance_u6 <= 0)
		return fail(why, ERR_QUOTA,
			    "the account at provider %s has no credit left; add some, then write "
			    "`refresh %s` to ctl",
			    name, name);
	if (!src->fetched_us)
		return fail(
			why, ERR_UNREACHABLE,
			"the offers of provider %s could not be fetched yet (%s%s%s); try again "
			"later",
			name, src->state, src->reason[0] ? ": " : "", src->reason);
	if (age > age_limit(e->p))
		return fail(why, ERR_UNREACHABLE,
			    "the offers of provider %s are %" PRId64 " min old, and no newer list "
			    "comes (%s%s%s); try again later",
			    name, age / MINUTE_US, src->state, src->reason[0] ? ": " : "",
			    src->reason);
	return 0;
}

int pick_missing(const struct engine *e, const char *id, struct error *why)
{
	for (size_t i = 0; i < e->source_count; i++) {
		const struct source *src = &e->sources[i];
		size_t n = strlen(src->p->name);
		int err = strncmp(id, src->p->name, n) || id[n] != '-' ? 0
								       : check_source(e, src, why);

		if (err)
			return err;
	}
	return fail(why, ERR_NO_OFFER,
		    "offer=%s: there is no such offer on the market; see inventory/", id);
}

/* What the spec must say of the machine where no default says it. */
static int check_shape_said(const struct engine *e, const struct source *src, const struct spec *sp,
			    struct error *why)
{
	const struct policy *p = e->p;
	const struct {
		unsigned want;
		int64_t said, fallback;
		const char *key, *what, *setting;
	} parts[] = {
		{WANT_DISK, sp->disk_gb, p->default_disk_gb, "disk_gb",
		 "the size of the machine's disk", "DEFAULT_DISK_GB"},
		{WANT_VCPUS, sp->vcpus, p->default_vcpus, "vcpus", "the machine's virtual CPUs",
		 "DEFAULT_VCPUS"},
		{WANT_RAM, sp->ram_gb, p->default_ram_gb, "ram_gb", "the machine's memory in GB",
		 "DEFAULT_RAM_GB"},
	};

	for (size_t i = 0; i < ARRAY_LEN(parts); i++)
		if (provider_can(src->p) & parts[i].want && parts[i].said == UNKNOWN &&
		    parts[i].fallback == UNKNOWN)
			return fail(why, ERR_INVALID, "the spec needs %s=N, %s (%s is none)",
				    parts[i].key, parts[i].what, parts[i].setting);
	return 0;
}

int pick_check(const struct engine *e, const struct offer *o, const struct spec *sp, bool whole,
	       struct error *why)
{
	const struct source *src = source_of(e, o->provider);
	unsigned lacks = src ? spec_wants(sp) & ~provider_can(src->p) : 0;
	struct shape shape = {UNKNOWN, UNKNOWN, UNKNOWN};
	struct shape_excess excess;
	BUF bid = {.max = 32}, low = {.max = 32};

	if (lacks)
		return fail_lacking(o, lacks, why);
	if (whole && src && check_shape_said(e, src, sp, why))
		return -EINVAL;
	if (src)
		shape = shape_of(e, src, sp);
	excess = offer_lacks(o, &shape);
	if (excess.key)
		return fail(why, ERR_RANGE, "%s: offer=%s has at most %" PRId64 "%s, not %" PRId64,
			    excess.key, o->id, excess.max, excess.unit, excess.asked);
	if (sp->port_count && o->ports_max != UNKNOWN && o->ports_max <= (int64_t)sp->port_count)
		return fail(why, ERR_RANGE,
			    "ports: offer=%s can map %" PRId64 " ports, SSH's own among them; the "
			    "spec wants %zu",
			    o->id, o->ports_max, sp->port_count);
	if (!o->interruptible && spec_interruptible(sp))
		return fail(why, ERR_INVALID,
			    "interruptible=1: offer=%s is not a machine that is bid for; see "
			    "search/interruptible=1, or leave it out",
			    o->id);
	if (o->interruptible && whole && !spec_interruptible(sp))
		return fail(why, ERR_INVALID,
			    "offer=%s can be taken away by a higher bid: write interruptible=1 "
			    "bid=USD if that is wanted",
			    o->id);
	if (o->interruptible && sp->bid_u6 != UNKNOWN && sp->bid_u6 < o->min_bid_u6) {
		put_money(&bid, sp->bid_u6);
		put_money(&low, o->min_bid_u6);
		return fail(why, ERR_RANGE, "bid=%s: offer=%s takes bids from %s on", bid.data,
			    o->id, low.data);
	}
	return 0;
}

int pick_named(struct pick *p, struct error *why)
{
	const struct offer *o = inventory_find(p->e->inv, p->sp->offer);
	const struct source *src = o ? source_of(p->e, o->provider) : NULL;
	BUF price = {.max = 32};
	int err;

	p->offer = NULL;
	if (!src)
		return pick_missing(p->e, p->sp->offer, why);
	err = pick_check(p->e, o, p->sp, true, why);
	if (!err)
		err = check_source(p->e, src, why);
	if (err)
		return err;
	take(p, o, src);
	p->offer = NULL;
	if (p->cap_u6 == UNKNOWN && p->sp->bid_u6 == UNKNOWN)
		p->cap_u6 = p->price_u6 + p->price_u6 * p->e->p->price_tolerance_pct / 100;
	else if (p->cap_u6 == UNKNOWN)
		p->cap_u6 = p->price_u6; /* a bid is the most that is charged */
	put_money(&price, p->price_u6);
	if (p->price_u6 > p->cap_u6)
		return fail(
			why, ERR_NO_MATCH,
			"offer=%s costs %s an hour now, more than max_price allows; raise it or "
			"choose another",
			o->id, price.data);
	if (o->max_duration_hours != UNKNOWN && o->max_duration_hours < p->hours)
		return fail(why, ERR_NO_MATCH, "offer=%s is rented for at most %d hours", o->id,
			    (int)o->max_duration_hours);
	if (!o->available || in_list(p->s->failed_offers, o->id))
		return fail(why, ERR_NO_MATCH,
			    "offer=%s is taken at the moment; wait for it with wait=MINUTES, or "
			    "choose another",
			    o->id);
	p->offer = o;
	return 0;
}

/* ---- the cheapest match ---- */

/* Retry scopes and their price limits: lifecycle.md, Retry. */
static bool in_scope(const struct pick *p, const struct offer *o, int64_t price_u6)
{
	static const int64_t percent[] = {
		[RETRY_SAME_GPU] = 120, [RETRY_SAME_VRAM] = 150, [RETRY_ANY] = 200};

	if (!p->first)
		return true;
	if (price_u6 * 100 > p->first->price_u6 * percent[p->scope])
		return false;
	switch (p->scope) {
	case RETRY_SAME_GPU:
		return gpu_model_match(p->first->gpu_type, o->gpu_type, true);
	case RETRY_SAME_VRAM:
		return o->vram_gb >= p->first->vram_gb;
	case RETRY_ANY:
		return true;
	}
	return false;
}

/* Why matches were passed over, so that "none" is explained: what stands first here is said. */
struct passed {
	struct error source;   /* the key, the money, the age of the list */
	struct error machine;  /* what the spec wants is not to be had there */
	int64_t lowest_bid_u6; /* that was too high for the spec's; UNKNOWN */
};

/* Could it be bought, whatever its price? */
static bool usable(const struct pick *p, const struct offer *o, const struct source *src,
		   struct passed *passed)
{
	struct error why = {0};

	if (in_list(p->s->failed_offers, o->id) || !src->enabled ||
	    o->interruptible != spec_interruptible(p->sp))
		return false;
	if (o->max_duration_hours != UNKNOWN && o->max_duration_hours < p->hours)
		return false;
	if (check_source(p->e, src, &why)) {
		passed->source = why;
		return false;
	}
	if (pick_check(p->e, o, p->sp, true, &why) == 0)
		return true;
	if (o->interruptible && p->sp->bid_u6 < o->min_bid_u6 &&
	    (passed->lowest_bid_u6 == UNKNOWN || o->min_bid_u6 < passed->lowest_bid_u6))
		passed->lowest_bid_u6 = o->min_bid_u6;
	passed->machine = why;
	return false;
}

/* A provider that the spec may mean and whose offers were never seen. */
static int check_unseen(const struct pick *p, struct error *why)
{
	for (size_t i = 0; i < p->e->source_count; i++) {
		const struct source *src = &p->e->sources[i];
		struct offer any = {0};
		int err;

		COPY(any.provider, src->p->name);
		if (src->offer_count || !src->enabled ||
		    !query_match_key(&p->sp->query, Q_PROVIDER, &any))
			continue;
		err = check_source(p->e, src, why);
		if (err)
			return err;
	}
	return 0;
}

static int fail_none(const struct pick *p, const struct passed *passed, struct error *why)
{
	BUF low = {.max = 32};
	int err;

	if (passed->source.code)
		return fail(why, passed->source.code, "%s", passed->source.text);
	if (passed->lowest_bid_u6 != UNKNOWN) {
		put_money(&low, passed->lowest_bid_u6);
		return fail(why, ERR_NO_MATCH,
			    "offers match, but the lowest bid that one of them takes is %s; raise "
			    "bid=, or add wait=MINUTES",
			    low.data);
	}
	if (passed->machine.code)
		return fail(why, ERR_NO_MATCH, "offers match, but cannot be taken. %s",
			    passed->machine.text);
	err = check_unseen(p, why);
	if (err)
		return err;
	return fail(why, ERR_NO_MATCH,
		    "no offer matches the spec now; see search/ with the same words (`why` tells "
		    "which condition), or add wait=MINUTES");
}

/* Of bids that cost the same, the one that leaves the most above the lowest is lost last. */
static bool cheaper(const struct pick *a, const struct pick *b)
{
	if (a->price_u6 != b->price_u6)
		return a->price_u6 < b->price_u6;
	if (a->offer->interruptible && a->offer->min_bid_u6 != b->offer->min_bid_u6)
		return a->offer->min_bid_u6 < b->offer->min_bid_u6;
	return strcmp(a->offer->id, b->offer->id) < 0;
}

int pick_best(struct pick *p, struct error *why)
{
	struct passed passed = {.lowest_bid_u6 = UNKNOWN};
	const struct inventory *inv = p->e->inv;
	struct query q = p->sp->query;

	/* Not the list's price for its own disk: the cap is on what this machine would cost. */
	q.set &= ~(UINT32_C(1) << Q_MAX_PRICE);
	p->offer = NULL;
	for (size_t i = 0; inv && i < inv->count; i++) {
		const struct offer *o = &inv->offers[i];
		const struct source *src;
		struct pick one = *p;

		if (!query_match(&q, o) || !(src = source_of(p->e, o->provider)))
			continue;
		take(&one, o, src);
		if (one.price_u6 != UNKNOWN &&
		    (one.price_u6 > p->cap_u6 || (p->offer && !cheaper(&one, p))))
			continue;
		if (usable(p, o, src, &passed) && in_scope(p, o, one.price_u6))
			take(p, o, src);
	}
	return p->offer ? 0 : fail_none(p, &passed, why);
}
