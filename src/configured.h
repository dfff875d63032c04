/*
 * The clouds that the settings configure, for commands that work without a daemon (--check --online,
 * --orphans). The daemon makes its own from the same table (daemon_providers.c). The command's thread.
 */
#ifndef GPUFS_CONFIGURED_H
#define GPUFS_CONFIGURED_H

#include "core/provider.h"
#include "settings.h"

#define CONFIGURED_MAX 4

struct configured {
	struct provider *p; /* has a dialect; owned */
	const struct maker *maker;
	bool off; /* no new purchases there */
};
/* Not this machine, which has no account. The settings must outlive them: a key is borrowed. -ENOMEM
 * and a sentence; configured_free in any case. */
int configured_make(const struct settings *s, const struct policy *p,
		    struct configured out[CONFIGURED_MAX], size_t *count, struct error *why);
void configured_free(struct configured *list, size_t count);

#endif
