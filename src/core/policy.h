/*
 * The settings that decide, as numbers: what src/settings.c reads and core and engine obey.
 * Durations in microseconds. Filled once at start (and on SIGHUP); read only in between.
 */
#ifndef GPUFS_CORE_POLICY_H
#define GPUFS_CORE_POLICY_H

#include <stdbool.h>
#include <stdint.h>

enum sessions_access { ACCESS_AUTO, ACCESS_ALL, ACCESS_OWNER, ACCESS_GROUP };

struct policy {
	int64_t tick_us;	   /* LIFECYCLE_CHECK_INTERVAL */
	int64_t reconcile_us;	   /* RECONCILIATION_INTERVAL */
	int64_t market_us;	   /* INVENTORY_CACHE_TTL: refresh while somebody looks */
	int64_t market_idle_us;	   /* 5 min: otherwise (lifecycle.md, Timers) */
	int64_t market_backoff_us; /* INVENTORY_BACKOFF_TTL */
	int64_t start_timeout_us, boot_timeout_us, ssh_verify_timeout_us, ssh_backoff_max_us;
	int64_t hold_grace_us, keep_ended_us, history_keep_us;
	int64_t hard_max_us;
	int64_t default_hours;	      /* UNKNOWN: the spec must say it */
	int64_t default_max_price_u6; /* UNKNOWN: likewise */
	int64_t default_retries, default_retry_scope;
	int64_t price_tolerance_pct;
	int64_t max_sessions, max_sessions_per_user;
	bool auto_commit;
	int64_t admin_gid;	       /* UNKNOWN: only uid 0 is an administrator */
	char protected_consumers[512]; /* comma list */
	enum sessions_access access;   /* never ACCESS_AUTO once main.c has resolved it */
	int64_t access_uid, access_gid;
	char public_mount[256]; /* how readers see the mount point; absolute */
	char deployment[16];	/* 4 to 8 of [a-z0-9] */
	unsigned char label_key[32];
	int64_t local_max_sessions;
	int64_t orphan_grace_us; /* ORPHAN_GRACE_PERIOD */
	bool orphan_destroy;	 /* ORPHAN_ACTION=destroy */
	/* DEFAULT_DISK_GB, DEFAULT_VCPUS, DEFAULT_RAM_GB; UNKNOWN: the spec must say it */
	int64_t default_disk_gb, default_vcpus, default_ram_gb;
};

#define DRAFTS_PER_USER_MAX 100 /* lifecycle.md, States */

#endif
