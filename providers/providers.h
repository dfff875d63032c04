/*
 * The providers that exist, by constructor. main.c makes those that are configured and owns them.
 */
#ifndef GPUFS_PROVIDERS_H
#define GPUFS_PROVIDERS_H

#include "../src/core/provider.h"

/* This machine. At most max_sessions at a time on its CPU-only offer; price: what its offers show. */
struct provider *provider_local_new(int64_t price_u6, int64_t max_sessions);
/* Calls that were not answered yet are dropped; free the world's local host first, since its answers
 * would come here. */
void provider_local_free(struct provider *p);

/* Vast.ai (wire page vastai.md), a dialect. Copies the account, except for the key's bytes, which must
 * outlive it. NULL when memory is out. */
struct provider *provider_vastai_new(const struct account *account);
void provider_vastai_free(struct provider *p);

/* TensorDock (wire page tensordock.md), a dialect. Likewise; balance_id is borrowed as the key is. */
struct provider *provider_tensordock_new(const struct account *account);
void provider_tensordock_free(struct provider *p);

/* Test builds: `count` offers that follow from the seed, and that nobody can buy; the first `bids` of
 * them are there a second time, interruptible, at half the price. At each refresh after the first about
 * churn_m per mille of the prices change, by at most 5 % from where they began. */
struct provider *provider_synthetic_new(uint64_t seed, size_t count, size_t bids, int64_t churn_m);
void provider_synthetic_free(struct provider *p);

#endif
