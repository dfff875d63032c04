/*
 * The providers that the settings configure: made at start, switched off where the settings say so,
 * freed at the end. An account's key stays in the settings' own locked pages; a provider borrows it.
 * A change of these settings needs a restart.
 *
 * Loop thread, at start and end. Tests: tests/mount.
 */
#include <stdlib.h>
#include <string.h>

#include "../providers/providers.h"
#include "configured.h"
#include "core/check.h"
#include "core/text.h"
#include "daemon_parts.h"

/* PROVIDERS_*_ENABLED=no, or what auto stands for. */
static bool local_off(const struct settings *s)
{
	return !settings_local_on(s);
}

static bool is_no(const struct settings *s, enum setting_key key)
{
	bool on = true;

	CHECK(parse_bool(str_of(s->value[key]), &on, NULL) == 0);
	return !on;
}

static bool vastai_off(const struct settings *s)
{
	return is_no(s, SET_PROVIDERS_VASTAI_ENABLED);
}

static bool tensordock_off(const struct settings *s)
{
	return is_no(s, SET_PROVIDERS_TENSORDOCK_ENABLED);
}

/* ---- making ---- */

static struct provider *local_new(const struct settings *s, const struct policy *p)
{
	int64_t price_u6 = 0;

	CHECK(parse_money(str_of(s->value[SET_LOCAL_PRICE_PER_HOUR]), &price_u6, NULL) == 0);
	return provider_local_new(price_u6, p->local_max_sessions);
}

static bool local_wanted(const struct settings *s)
{
	(void)s;
	return true; /* also while it is off: its sessions are watched and destroyed */
}

/* What is absent is believed to be after a provider's lag, ten minutes at Vast.ai, and a create waits 4.5 s
 * for the one before: too long for tests, whose cloud keeps other times. */
static struct provider *with_test_times(struct provider *p)
{
#ifdef GPUFS_TEST
	const char *lag_ms = getenv("GPUFS_TEST_LAG_MS");
	const char *permille = getenv("GPUFS_TEST_SPACING_PERMILLE");

	if (p && lag_ms)
		p->lag_us = strtoll(lag_ms, NULL, 10) * 1000;
	if (p && permille) {
		static struct dialect paced[4];
		static struct endpoint endpoints[ARRAY_LEN(paced)][32];
		static size_t n;
		int64_t k = strtoll(permille, NULL, 10);
		struct dialect *d = &paced[n];

		CHECK(n < ARRAY_LEN(paced) && k >= 0 && k <= 1000);
		*d = *p->dialect;
		CHECK(d->endpoint_count <= ARRAY_LEN(endpoints[n]));
		for (size_t i = 0; i < d->endpoint_count; i++) {
			endpoints[n][i] = d->endpoints[i];
			endpoints[n][i].spacing_us = d->endpoints[i].spacing_us * k / 1000;
			endpoints[n][i].penalty_us = d->endpoints[i].penalty_us * k / 1000;
		}
		d->account_spacing_us = d->account_spacing_us * k / 1000;
		d->endpoints = endpoints[n++];
		p->dialect = d;
	}
#endif
	return p;
}

static struct provider *vastai_new(const struct settings *s, const struct policy *p)
{
	struct account a = {.key = s->value[SET_VASTAI_API_KEY]};

	(void)p;
	COPY(a.base_url, s->value[SET_VASTAI_BASE_URL]);
	COPY(a.image, s->value[SET_VASTAI_IMAGE]);
	CHECK(parse_bool(str_of(s->value[SET_VASTAI_ACCOUNT_KEY]), &a.account_key, NULL) == 0);
	return with_test_times(provider_vastai_new(&a));
}

static bool vastai_wanted(const struct settings *s)
{
	return s->value[SET_VASTAI_API_KEY][0] != '\0';
}

static struct provider *tensordock_new(const struct settings *s, const struct policy *p)
{
	struct account a = {.key = s->value[SET_TENSORDOCK_API_TOKEN],
			    .balance_id = s->value[SET_TENSORDOCK_AUTH_ID]};

	(void)p;
	COPY(a.base_url, s->value[SET_TENSORDOCK_BASE_URL]);
	COPY(a.balance_url, s->value[SET_TENSORDOCK_BALANCE_URL]);
	COPY(a.image, s->value[SET_TENSORDOCK_DEFAULT_IMAGE]);
	return with_test_times(provider_tensordock_new(&a));
}

static bool tensordock_wanted(const struct settings *s)
{
	return s->value[SET_TENSORDOCK_API_TOKEN][0] != '\0';
}

#ifdef GPUFS_TEST
static int64_t synthetic_number(const struct settings *s, enum setting_key key)
{
	int64_t v = 0;

	CHECK(parse_int(str_of(s->value[key]), 0, INT64_MAX, &v, NULL) == 0);
	return v;
}

static struct provider *synthetic_new(const struct settings *s, const struct policy *p)
{
	(void)p;
	return provider_synthetic_new((uint64_t)synthetic_number(s, SET_SYNTHETIC_SEED),
				      (size_t)synthetic_number(s, SET_SYNTHETIC_OFFERS),
				      (size_t)synthetic_number(s, SET_SYNTHETIC_BIDS),
				      synthetic_number(s, SET_SYNTHETIC_CHURN));
}

static bool synthetic_wanted(const struct settings *s)
{
	return synthetic_number(s, SET_SYNTHETIC_OFFERS) > 0;
}

static bool never_off(const struct settings *s)
{
	(void)s;
	return false;
}
#endif

/* In the order of providers/, whose inode numbers follow from it: add at the end. */
static const struct maker {
	bool (*wanted)(const struct settings *s); /* is it configured? */
	bool (*off)(const struct settings *s);	  /* no new purchases there */
	struct provider *(*make)(const struct settings *s, const struct policy *p);
	void (*free)(struct provider *p);
} makers[] = {
	{local_wanted, local_off, local_new, provider_local_free},
	{vastai_wanted, vastai_off, vastai_new, provider_vastai_free},
#ifdef GPUFS_TEST
	{synthetic_wanted, never_off, synthetic_new, provider_synthetic_free},
#endif
	{tensordock_wanted, tensordock_off, tensordock_new, provider_tensordock_free},
};
_Static_assert(ARRAY_LEN(makers) <= DAEMON_PROVIDERS_MAX, "every provider has a place");
_Static_assert(DAEMON_PROVIDERS_MAX <= CONFIGURED_MAX, "here too");

int daemon_providers_start(struct daemon *d)
{
	bool all_free = true;

	settings_lock(d->args->settings);
	for (size_t i = 0; i < ARRAY_LEN(makers); i++) {
		struct provider *p;

		if (!makers[i].wanted(d->args->settings))
			continue;
		p = makers[i].make(d->args->settings, &d->policy);
		if (!p)
			return fail(&d->why, ERR_NO_MEMORY, "out of memory");
		d->maker[d->provider_count] = &makers[i];
		d->providers[d->provider_count++] = p;
		all_free = all_free && p->free_of_charge;
	}
	d->policy.access = start_access(d->policy.access, all_free);
	return 0;
}

static void ignore_answer(void *arg, int err, const struct error *why)
{
	(void)arg;
	(void)err;
	(void)why;
}

void daemon_providers_switch(struct daemon *d)
{
	const struct caller root = {.name = "root", .admin = true};

	for (size_t i = 0; i < d->provider_count; i++)
		if (d->maker[i]->off(d->args->settings))
			engine_provider_enable(d->engine, &root, i, str_of("0"), ignore_answer, d);
}

void daemon_providers_free(struct daemon *d)
{
	for (size_t i = 0; i < d->provider_count; i++)
		d->maker[i]->free(d->providers[i]);
	d->provider_count = 0;
}

/* ---- without a daemon ---- */

int configured_make(const struct settings *s, const struct policy *p,
		    struct configured out[CONFIGURED_MAX], size_t *count, struct error *why)
{
	*count = 0;
	settings_lock(s);
	for (size_t i = 0; i < ARRAY_LEN(makers); i++) {
		struct configured made = {.maker = &makers[i]};

		if (!makers[i].wanted(s))
			continue;
		made.p = makers[i].make(s, p);
		if (!made.p)
			return fail(why, ERR_NO_MEMORY, "out of memory");
		made.off = makers[i].off(s);
		if (!made.p->dialect) {
			makers[i].free(made.p);
			continue;
		}
		out[(*count)++] = made;
	}
	return 0;
}

void configured_free(struct configured *list, size_t count)
{
	for (size_t i = 0; i < count; i++)
		list[i].maker->free(list[i].p);
}
