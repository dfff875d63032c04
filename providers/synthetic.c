/*
 * The provider "synthetic", for benchmarks and tests of a large market: as many offers as asked for, made
 * from a seed, the same in every run. They are never sold: a create is refused, so nothing ever exists
 * there. Part of test builds only.
 *
 * Owner: the loop thread. Answers at once, inside the call.
 * Tests: tests/unit/test_local_host.c
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../src/core/check.h"
#include "providers.h"

struct synthetic {
	struct provider p;
	struct offer *offers;
	struct drift {
		int64_t base_u6, step; /* of DRIFT_STEPS: a price is 95 to 105 % of its base */
	} * drifts;		       /* one for each offer */
	size_t count;
	int64_t churn_m;
	uint64_t random; /* of the churn */
	bool asked;
};
#define DRIFT_STEPS 100

struct card {
	const char *name;
	int64_t vram_gb, price_u6; /* about what one costs an hour */
};
static const struct card cards[] = {
	{"RTX 3060", 12, 60000},    {"RTX 3090", 24, 180000},	{"RTX 4070", 12, 110000},
	{"RTX 4080", 16, 170000},   {"RTX 4090", 24, 350000},	{"RTX 4090 D", 24, 320000},
	{"RTX 5090", 32, 550000},   {"RTX A4000", 16, 120000},	{"RTX A6000", 48, 450000},
	{"A10", 24, 200000},	    {"A40", 48, 400000},	{"A100 PCIE", 40, 700000},
	{"A100 SXM4", 80, 1000000}, {"L4", 24, 300000},		{"L40S", 48, 700000},
	{"H100 PCIE", 80, 1900000}, {"H100 SXM", 80, 2200000},	{"H200", 141, 3000000},
	{"Tesla T4", 16, 100000},   {"Tesla V100", 32, 250000}, {"MI300X", 192, 2500000},
};
static const char *const places[] = {"Quebec, CA", "Texas, US",	  "California, US", "Iceland, IS",
				     "Hesse, DE",  "Bavaria, DE", "Stockholm, SE",  "Tokyo, JP",
				     "Seoul, KR",  "Taipei, TW",  "London, GB",	    ""};
static const int64_t cudas[] = {11800, 12000, 12200, 12400, 12600, 12800, UNKNOWN};

/* splitmix64: small, and the same everywhere; nothing secret depends on it. */
static uint64_t next_random(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15U;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
	return z ^ (z >> 31);
}

static int64_t below(uint64_t *state, size_t n)
{
	return (int64_t)(next_random(state) % n);
}

static void make_offer(uint64_t *r, size_t i, struct offer *o)
{
	const struct card *card = &cards[below(r, ARRAY_LEN(cards))];

	snprintf(o->id, sizeof(o->id), "synthetic-%zu", 100000 + i);
	COPY(o->provider, "synthetic");
	snprintf(o->provider_id, sizeof(o->provider_id), "%zu", 100000 + i);
	COPY(o->gpu_type, card->name);
	COPY(o->location, places[below(r, ARRAY_LEN(places))]);
	snprintf(o->machine_id, sizeof(o->machine_id), "%lld", (long long)below(r, 1 + i / 2) + 1);
	o->gpu_count = (int64_t)1 << below(r, 4);
	o->vram_gb = card->vram_gb;
	o->price_u6 = o->gpu_count * card->price_u6 * (60 + below(r, 90)) / 100;
	o->ports_max = UNKNOWN;
	o->min_bid_u6 = below(r, 5) == 0 ? o->price_u6 / 2 : UNKNOWN;
	o->reliability_m = below(r, 10) == 0 ? UNKNOWN : 850 + below(r, 151);
	o->confidence_m = 500 + below(r, 501);
	o->max_duration_hours = below(r, 3) == 0 ? UNKNOWN : 1 + below(r, 2000);
	o->cuda_m = cudas[below(r, ARRAY_LEN(cudas))];
	o->available = true;
}

/* Each price stays near its base, and one that changes always becomes another one. */
static void churn(struct synthetic *s)
{
	for (size_t i = 0; i < s->count; i++) {
		struct drift *d = &s->drifts[i];
		struct offer *o = &s->offers[i];

		if (below(&s->random, 1000) >= s->churn_m)
			continue;
		d->step = (d->step + 1 + below(&s->random, DRIFT_STEPS - 1)) % DRIFT_STEPS;
		o->price_u6 = d->base_u6 * (950 + d->step) / 1000;
		if (o->interruptible)
			o->min_bid_u6 = o->price_u6;
	}
}

static void synthetic_act(struct provider *p, struct world *w, const struct call *call,
			  result_cb cb, void *arg)
{
	struct synthetic *s = p->state;
	struct result res = {.verdict = SURE_YES, .complete = true};
	struct instance gone = {.status = INST_GONE, .price_u6 = UNKNOWN};

	(void)w;
	switch (call->op) {
	case CALL_OFFERS:
		if (s->asked)
			churn(s);
		s->asked = true;
		res.offers = s->offers;
		res.count = s->count;
		break;
	case CALL_CREATE:
		res.verdict = SURE_NO;
		res.error = PE_STALE_OFFER;
		COPY(res.text, "synthetic offers are for measuring and are never sold");
		break;
	case CALL_LIST:
		break;
	case CALL_LOOK:
		COPY(gone.id, call->instance_id);
		res.instances = &gone;
		res.count = 1;
		__attribute__((fallthrough));
	case CALL_DESTROY:
	case CALL_ATTACH:
	case CALL_ACCOUNT:
	case CALL_TEMPLATES:
	case CALL_OP_COUNT:
		res.error = PE_GONE;
		COPY(res.text, "nothing was ever made here");
		COPY(res.evidence, "nothing was ever made here");
		break;
	}
	cb(arg, &res);
}

static void make_bid(const struct offer *demand, struct offer *o)
{
	size_t n = strlen(demand->id);

	*o = *demand;
	copy_text(o->id + n, sizeof(o->id) - n, "-bid");
	o->interruptible = true;
	o->price_u6 = o->min_bid_u6 = demand->price_u6 / 2;
}

struct provider *provider_synthetic_new(uint64_t seed, size_t count, size_t bids, int64_t churn_m)
{
	struct synthetic *s = xcalloc(1, sizeof(*s));
	uint64_t state = seed;

	bids = bids < count ? bids : count;
	s->offers = xcalloc(count + bids, sizeof(*s->offers));
	s->count = count + bids;
	for (size_t i = 0; i < count; i++)
		make_offer(&state, i, &s->offers[i]);
	for (size_t i = 0; i < bids; i++)
		make_bid(&s->offers[i], &s->offers[count + i]);
	s->drifts = xcalloc(s->count, sizeof(*s->drifts));
	for (size_t i = 0; i < s->count; i++)
		s->drifts[i] = (struct drift){s->offers[i].price_u6, DRIFT_STEPS / 2};
	s->churn_m = churn_m;
	s->random = state;
	s->p = (struct provider){.name = "synthetic",
				 .doc = "offers made from a seed, for measuring; never sold",
				 .lag_us = 0,
				 .boot_poll_us = SECOND_US,
				 .free_of_charge = true,
				 .act = synthetic_act,
				 .state = s};
	return &s->p;
}

void provider_synthetic_free(struct provider *p)
{
	struct synthetic *s = p ? p->state : NULL;

	if (!s)
		return;
	free(s->offers);
	free(s->drifts);
	free(s);
}
