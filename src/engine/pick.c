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

static int fail_lacking(const struct source *src, unsigned lacks, struct error *why)
{
	for (size_t i = 0; i < ARRAY_LEN(abilities); i++)
		if (lacks & abilities[i].want)
			return fail(
				why, ERR_INVALID,
				"%s: the provider %s has no %s; leave it out, or choose another "
				"offer",
				abilities[i].key, src->p->name, abilities[i].what);
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

static void take(struct pick *p, const struct offer *o, const struct shape *shape)
{
	p->offer = o;
	p->shape = *shape;
	p->price_u6 = price_of(o, shape, p->sp->bid_u6);
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

/* Does the spec ask for what no machine of this provider has, or leave out what it needs (`whole`)? */
static int check_spec(const struct engine *e, const struct source *src, const struct spec *sp,
		      bool whole, struct error *why)
{
	unsigned lacks = spec_wants(sp) & ~provider_can(src->p);

	if (lacks)
		return fail_lacking(src, lacks, why);
	return whole ? check_shape_said(e, src, sp, why) : 0;
}

static int fail_low_bid(const struct offer *o, const struct spec *sp, struct error *why)
{
	BUF bid = {.max = 32}, low = {.max = 32};

	put_money(&bid, sp->bid_u6);
	put_money(&low, o->min_bid_u6);
	return fail(why, ERR_RANGE, "bid=%s: offer=%s takes bids from %s on", bid.data, o->id,
		    low.data);
}

/* What depends on the offer itself. */
static int check_offer(const struct offer *o, const struct shape *shape, const struct spec *sp,
		       bool whole, struct error *why)
{
	struct shape_excess excess = offer_lacks(o, shape);

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
	if (o->interruptible && sp->bid_u6 != UNKNOWN && sp->bid_u6 < o->min_bid_u6)
		return why ? fail_low_bid(o, sp, why) : -ERANGE;
	return 0;
}

int pick_check(const struct engine *e, const struct offer *o, const struct spec *sp, bool whole,
	       struct error *why)
{
	const struct source *src = source_of(e, o->provider);
	struct shape shape = {UNKNOWN, UNKNOWN, UNKNOWN};
	int err = src ? check_spec(e, src, sp, whole, why) : 0;

	if (err)
		return err;
	if (src)
		shape = shape_of(e, src, sp);
	return check_offer(o, &shape, sp, whole, why);
}

int pick_named(struct pick *p, struct error *why)
{
	const struct offer *o = inventory_find(p->e->inv, p->sp->offer);
	const struct source *src = o ? source_of(p->e, o->provider) : NULL;
	BUF price = {.max = 32};
	struct shape shape;
	int err;

	p->offer = NULL;
	if (!src)
		return pick_missing(p->e, p->sp->offer, why);
	err = pick_check(p->e, o, p->sp, true, why);
	if (!err)
		err = check_source(p->e, src, why);
	if (err)
		return err;
	shape = shape_of(p->e, src, p->sp);
	take(p, o, &shape);
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
static const int64_t scope_percent[] = {
	[RETRY_SAME_GPU] = 120, [RETRY_SAME_VRAM] = 150, [RETRY_ANY] = 200};

static bool in_scope(const struct pick *p, int64_t price_u6)
{
	return !p->first || price_u6 * 100 <= p->first->price_u6 * scope_percent[p->scope];
}

/* What the list must say beside what the spec asks for: that a shape cheaper by saves_u6 may be within the
 * cap, and the scope of a retry. With a bid, the list's price is no limit: it is that of the lowest bid. */
static struct query beside_spec(const struct pick *p, int64_t saves_u6)
{
	struct query q = {0};

	if (p->sp->bid_u6 == UNKNOWN) {
		q.set |= UINT32_C(1) << Q_MAX_PRICE;
		q.num[Q_MAX_PRICE] = p->cap_u6 + saves_u6;
	}
	if (p->first && p->scope == RETRY_SAME_GPU) {
		q.set |= UINT32_C(1) << Q_GPU;
		q.gpu_exact = true;
		COPY(q.text[Q_GPU], p->first->gpu_type);
	} else if (p->first && p->scope == RETRY_SAME_VRAM && p->first->vram_gb >= 0) {
		q.set |= UINT32_C(1) << Q_MIN_VRAM;
		q.num[Q_MIN_VRAM] = p->first->vram_gb;
	}
	return q;
}

/* What holds for all offers of one provider, found out once and not for each of thousands. */
struct seller {
	const struct source *src; /* NULL: nothing is bought there */
	struct shape shape;
	bool open; /* check_source */
	bool able; /* check_spec */
	bool told; /* it is not open, and `passed` knows */
};

/* By the snapshot's provider words; freed by the caller. saves_u6: the most that any offer costs less at
 * its shape than in the list. */
static struct seller *sellers_of(const struct pick *p, int64_t *saves_u6)
{
	const struct inventory *inv = p->e->inv;
	const struct inventory_words *names = &inv->words[WORD_PROVIDER];
	struct seller *sellers = xcalloc(names->count, sizeof(*sellers));

	*saves_u6 = 0;
	for (uint32_t i = 0; i < names->count; i++) {
		struct seller *v = &sellers[i];
		int64_t saves;

		v->src = source_of(p->e, names->text[i]);
		if (!v->src || !v->src->enabled) {
			v->src = NULL;
			continue;
		}
		v->shape = shape_of(p->e, v->src, p->sp);
		v->open = check_source(p->e, v->src, NULL) == 0;
		v->able = check_spec(p->e, v->src, p->sp, true, NULL) == 0;
		saves = inventory_saves(inv, i, &v->shape);
		if (*saves_u6 < saves)
			*saves_u6 = saves;
	}
	return sellers;
}

/* Matches that were passed over, so that "none" is explained: what stands first here is said, in the
 * words of one of its kind. */
struct passed {
	const struct source *source; /* the key, the money, the age of the list */
	const struct offer *machine; /* what the spec wants is not to be had there */
	int64_t lowest_bid_u6;	     /* that was too high for the spec's; UNKNOWN */
	bool contested;		     /* one that another session is ordering */
};

/* Could it be bought, whatever its price? */
static bool usable(const struct pick *p, const struct offer *o, struct seller *v,
		   struct passed *passed)
{
	if (in_list(p->s->failed_offers, o->id) || o->interruptible != spec_interruptible(p->sp))
		return false;
	if (o->max_duration_hours != UNKNOWN && o->max_duration_hours < p->hours)
		return false;
	if (!v->open) {
		passed->source = v->src;
		v->told = true;
		return false;
	}
	if (v->able && check_offer(o, &v->shape, p->sp, true, NULL) == 0) {
		bool contested = p->uncontested && index_offer_ordered(p->e, o->id);

		passed->contested |= contested;
		return !contested;
	}
	if (o->interruptible && p->sp->bid_u6 < o->min_bid_u6 &&
	    (passed->lowest_bid_u6 == UNKNOWN || o->min_bid_u6 < passed->lowest_bid_u6))
		passed->lowest_bid_u6 = o->min_bid_u6;
	passed->machine = o;
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
	struct error inner = {0};
	BUF low = {.max = 32};
	int err;

	err = passed->source ? check_source(p->e, passed->source, why) : 0;
	if (err)
		return err;
	if (passed->lowest_bid_u6 != UNKNOWN) {
		put_money(&low, passed->lowest_bid_u6);
		return fail(why, ERR_NO_MATCH,
			    "offers match, but the lowest bid that one of them takes is %s; raise "
			    "bid=, or add wait=MINUTES",
			    low.data);
	}
	if (passed->machine) {
		pick_check(p->e, passed->machine, p->sp, true, &inner);
		return fail(why, ERR_NO_MATCH, "offers match, but cannot be taken. %s", inner.text);
	}
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

static void pick_scan(struct pick *p, const struct query_scan *scan, struct seller *sellers,
		      int64_t saves_u6, struct passed *passed)
{
	const struct inventory *inv = p->e->inv;
	const uint32_t *provider = inv->words[WORD_PROVIDER].of;

	for (size_t i = query_scan_next(scan, 0); i < inv->count;
	     i = query_scan_next(scan, i + 1)) {
		const struct offer *o = &inv->offers[i];
		struct seller *v = &sellers[provider[i]];
		struct pick one = {.sp = p->sp};

		if (!v->src || v->told)
			continue;
		/* In order of the list's price: from here on none is cheaper. */
		if (p->offer && p->sp->bid_u6 == UNKNOWN && o->price_u6 - saves_u6 > p->price_u6)
			return;
		take(&one, o, &v->shape);
		if (one.price_u6 != UNKNOWN &&
		    (one.price_u6 > p->cap_u6 || (p->offer && !cheaper(&one, p))))
			continue;
		if (usable(p, o, v, passed) && in_scope(p, one.price_u6))
			take(p, o, &v->shape);
	}
}

int pick_best(struct pick *p, struct error *why)
{
	struct passed passed = {.lowest_bid_u6 = UNKNOWN};
	struct query q = p->sp->query, beside;
	const struct query *levels[] = {&q, &beside};
	struct query_scan *scan;
	struct seller *sellers;
	int64_t saves_u6;
	bool looked;

	/* Not the list's price for its own disk: the cap is on what this machine would cost. */
	q.set &= ~(UINT32_C(1) << Q_MAX_PRICE);
	p->offer = NULL;
	sellers = sellers_of(p, &saves_u6);
	beside = beside_spec(p, saves_u6);
	scan = query_scan_new(levels, ARRAY_LEN(levels), p->e->inv);
	looked = scan != NULL;
	p->uncontested = true;
	if (looked)
		pick_scan(p, scan, sellers, saves_u6, &passed);
	p->uncontested = false;
	if (looked && !p->offer && passed.contested)
		pick_scan(p, scan, sellers, saves_u6, &passed);
	free(sellers);
	query_scan_free(scan);
	if (!looked)
		return fail(why, ERR_NO_MEMORY, "out of memory for a choice");
	return p->offer ? 0 : fail_none(p, &passed, why);
}
