/*
 * Settings: one table is the parser, the checker, --help-settings, the example gpufs.conf,
 * gpufs.conf(5) and the output of --check. Precedence: command line (-o key=value), environment,
 * file, default. An unknown key or a bad value stops the start with a sentence that says where.
 * Start-up; any thread after.
 */
#ifndef GPUFS_SETTINGS_H
#define GPUFS_SETTINGS_H

#include "core/buf.h"
#include "core/error.h"
#include "core/policy.h"
#include "engine/world.h"
#include "io/io.h"

enum setting_key {
	SET_VASTAI_API_KEY,
	SET_VASTAI_BASE_URL,
	SET_ALLOW_INSECURE,
	SET_VASTAI_ACCOUNT_KEY,
	SET_VASTAI_IMAGE,
	SET_PROVIDERS_VASTAI_ENABLED,
	SET_TENSORDOCK_API_TOKEN,
	SET_TENSORDOCK_AUTH_ID,
	SET_TENSORDOCK_BASE_URL,
	SET_TENSORDOCK_BALANCE_URL,
	SET_TENSORDOCK_DEFAULT_IMAGE,
	SET_PROVIDERS_TENSORDOCK_ENABLED,
	SET_PROVIDERS_LOCAL_ENABLED,
	SET_DEFAULT_RETRIES,
	SET_DEFAULT_RETRY_SCOPE,
	SET_PRICE_TOLERANCE,
	SET_LOCAL_PRICE_PER_HOUR,
	SET_LOCAL_MAX_SESSIONS,
	SET_DATABASE_PATH,
	SET_KEY_PATH,
	SET_DEPLOYMENT_ID,
	SET_SERVER_HOST,
	SET_SERVER_PORT,
	SET_API_AUTH,
	SET_API_TOKENS_FILE,
	SET_API_UID,
	SET_LOG_LEVEL,
	SET_LOG_FORMAT,
	SET_LIFECYCLE_CHECK_INTERVAL,
	SET_HARD_MAX_HOURS,
	SET_ORPHAN_GRACE_PERIOD,
	SET_ORPHAN_ACTION,
	SET_RECONCILIATION_INTERVAL,
	SET_INVENTORY_CACHE_TTL,
	SET_INVENTORY_BACKOFF_TTL,
	SET_SSH_VERIFY_TIMEOUT,
	SET_SSH_CHECK_INTERVAL,
	SET_START_TIMEOUT,
	SET_BOOT_TIMEOUT,
	SET_HOLD_GRACE,
	SET_KEEP_ENDED,
	SET_HISTORY_KEEP,
	SET_AUTO_COMMIT,
	SET_DEFAULT_HOURS,
	SET_DEFAULT_MAX_PRICE,
	SET_DEFAULT_DISK_GB,
	SET_DEFAULT_VCPUS,
	SET_DEFAULT_RAM_GB,
	SET_MAX_SESSIONS,
	SET_MAX_SESSIONS_PER_USER,
	SET_SESSIONS_ACCESS,
	SET_ADMIN_GROUP,
	SET_PROTECTED_CONSUMERS,
	SET_PUBLIC_MOUNT,
#ifdef GPUFS_TEST
	SET_SYNTHETIC_OFFERS,
	SET_SYNTHETIC_SEED, /* test builds only: a market of many offers */
	SET_SYNTHETIC_BIDS,
	SET_SYNTHETIC_CHURN,
#endif
	SET_COUNT
};

struct setting {
	const char *name;    /* "DATABASE_PATH"; lower case in gpufs.conf */
	const char *aliases; /* other names, comma separated; a '*' in front: also read from the
				environment without GPUFS_ */
	const char *type, *range, *fallback, *doc;
	bool secret, reload; /* reload: SIGHUP takes a new value */
	bool cloud;	     /* the key of a cloud: setting it configures that provider */
};
extern const struct setting settings_table[SET_COUNT];

struct settings {
	char *value
		[SET_COUNT]; /* owned; the effective text, never NULL after settings_read. A secret
				  * has pages of its own that no core dump holds */
	char *origin[SET_COUNT]; /* owned; "default", "gpufs.conf:3", "environment", "-o" */
};

/* options: NULL-ended "key=value" of -o that are settings. file: NULL = the standard places. */
int settings_read(struct settings *s, const char *file, const char *const *options,
		  struct error *why);
void settings_free(struct settings *s);
/* Keep the secrets out of swap, as far as RLIMIT_MEMLOCK allows. Locks are not inherited: each process
 * that goes on using them calls it. */
void settings_lock(const struct settings *s);
/* Is `v` a good value? `where` begins the sentence if not. */
int settings_check(enum setting_key key, const char *where, const char *v, struct error *why);
bool settings_known(const char *key); /* lower or upper case: is it a setting's name? */
/* Is a provider other than this machine configured? Then PROVIDERS_LOCAL_ENABLED=auto means no. */
bool settings_paid(const struct settings *s);
/* Is this machine to be offered, whatever `auto` stands for? */
bool settings_local_on(const struct settings *s);
/* Everything but names of users and groups, labels and public_mount (main.c resolves those). */
int settings_policy(const struct settings *s, struct policy *p, struct error *why);
void settings_help(struct buf *out);					    /* --help-settings */
void settings_example(struct buf *out);					    /* gpufs.conf */
void settings_man(struct buf *out);					    /* gpufs.conf(5) */
void settings_report(const struct settings *s, bool json, struct buf *out); /* part of --check */

#endif
