/*
 * Metrics: one table declares name, type, labels and help; counters and histograms are kept here, gauges
 * are asked for at scrape time from whoever owns the state. The same text is /metrics over HTTP and the
 * file /gpu/metrics. Label values are bounded: each metric keeps at most METRIC_SERIES_MAX label sets,
 * further ones are counted under "other". A metric without a source does not exist. Loop thread.
 */
#ifndef GPUFS_CORE_METRICS_H
#define GPUFS_CORE_METRICS_H

#include "buf.h"

#define METRIC_SERIES_MAX 128
#define METRIC_LABELS_MAX 3

enum metric_type { M_COUNTER, M_GAUGE, M_HISTOGRAM };
/* How a stored integer reads: as it is, micro-dollars as USD, microseconds as seconds. */
enum metric_unit { MU_NONE, MU_USD, MU_SECONDS };

/*   id, name, type, unit, labels ("a,b"), help. The predecessor's names first; ours begin with gpufs_. */
#define METRIC_TABLE(X)                                                                           \
	X(SESSIONS_ACTIVE, "gpu_sessions_active", M_GAUGE, MU_NONE, "provider,status",            \
	  "Sessions that are not drafts and have not ended, by provider and state.")              \
	X(SESSIONS_CREATED, "gpu_sessions_created_total", M_COUNTER, MU_NONE, "provider",         \
	  "Sessions that were bought.")                                                           \
	X(SESSIONS_DESTROYED, "gpu_sessions_destroyed_total", M_COUNTER, MU_NONE,                 \
	  "provider,reason", "Sessions whose end is proven, by cause.")                           \
	X(ORPHANS_DETECTED, "gpu_orphans_detected_total", M_COUNTER, MU_NONE, "provider",         \
	  "Machines with our mark and without a session.")                                        \
	X(GHOSTS_DETECTED, "gpu_ghosts_detected_total", M_COUNTER, MU_NONE, "provider",           \
	  "Sessions whose machine was proven lost.")                                              \
	X(MISMATCHES, "gpu_reconciliation_mismatches_total", M_COUNTER, MU_NONE, "provider",      \
	  "Complete lists that lacked a machine we hold, or showed one we did not know.")         \
	X(DESTROY_FAILURES, "gpu_destroy_failures_total", M_COUNTER, MU_NONE, "provider",         \
	  "Orders to destroy that the provider did not carry out at once; they are repeated.")    \
	X(HARD_MAX, "gpu_hard_max_enforced_total", M_COUNTER, MU_NONE, "provider",                \
	  "Sessions ended at the hard maximum.")                                                  \
	X(SSH_DURATION, "gpu_ssh_verify_duration_seconds", M_HISTOGRAM, MU_SECONDS, "provider",   \
	  "From the machine's first known address to the first login.")                           \
	X(SSH_ATTEMPTS, "gpu_ssh_verify_attempts", M_HISTOGRAM, MU_NONE, "provider",              \
	  "Login attempts until the first that worked.")                                          \
	X(SSH_FAILURES, "gpu_ssh_verify_failures_total", M_COUNTER, MU_NONE, "provider",          \
	  "Attempts given up because SSH never worked.")                                          \
	X(SSH_ERRORS, "gpu_ssh_verify_errors_by_type", M_COUNTER, MU_NONE, "provider,error_type", \
	  "Single login attempts that did not work, by kind.")                                    \
	X(PROVISIONING, "gpu_provisioning_duration_seconds", M_HISTOGRAM, MU_SECONDS, "provider", \
	  "From the purchase to running.")                                                        \
	X(COST_ACCRUED, "gpu_cost_accrued_usd", M_GAUGE, MU_USD, "provider",                      \
	  "Cost of all sessions on record, an estimate of the bill.")                             \
	X(API_ERRORS, "gpu_provider_api_errors_total", M_COUNTER, MU_NONE, "provider,operation",  \
	  "Calls to a provider that were answered with an error or not at all.")                  \
	X(API_CALLS, "gpu_provider_api_calls_total", M_COUNTER, MU_NONE, "provider,operation",    \
	  "Calls to a provider.")                                                                 \
	X(API_TIME, "gpu_provider_api_response_time_seconds", M_HISTOGRAM, MU_SECONDS,            \
	  "provider,operation", "How long a provider took to answer.")                            \
	X(HTTP_REQUESTS, "http_requests_total", M_COUNTER, MU_NONE, "method,path,status",         \
	  "HTTP requests by method, route pattern and status.")                                   \
	X(HTTP_TIME, "http_request_duration_seconds", M_HISTOGRAM, MU_SECONDS, "method,path",     \
	  "How long HTTP requests took, by method and route pattern.")                            \
	X(BURN_RATE, "gpufs_burn_rate_usd_per_hour", M_GAUGE, MU_USD, "",                         \
	  "What everything that may exist now costs an hour.")                                    \
	X(LOOP_LAG, "gpufs_loop_lag_seconds", M_GAUGE, MU_SECONDS, "",                            \
	  "The longest turn of the loop since the last scrape.")                                  \
	X(JOURNAL_LAG, "gpufs_journal_lag_seconds", M_GAUGE, MU_SECONDS, "",                      \
	  "How long the oldest write that is not on disk has waited.")                            \
	X(LIST_AGE, "gpufs_offers_age_seconds", M_GAUGE, MU_SECONDS, "provider",                  \
	  "Age of the list of offers.")                                                           \
	X(OFFERS, "gpufs_offers", M_GAUGE, MU_NONE, "provider", "Offers on the market.")          \
	X(STOPPING, "gpufs_sessions_stopping_longest_seconds", M_GAUGE, MU_SECONDS, "",           \
	  "How long the session that has been stopping longest has been so.")                     \
	X(ALARMS, "gpufs_alarms", M_GAUGE, MU_NONE, "", "Alarms that stand.")                     \
	X(FUSE_REQUESTS, "gpufs_fuse_requests_total", M_COUNTER, MU_NONE, "operation",            \
	  "Requests of the kernel to the mount.")                                                 \
	X(BUILD_INFO, "gpufs_build_info", M_GAUGE, MU_NONE, "version", "Always 1.")

enum metric {
#define X(id, name, type, unit, labels, help) METRIC_##id,
	METRIC_TABLE(X)
#undef X
		METRIC_COUNT
};
struct metric_info {
	const char *name, *labels, *help;
	enum metric_type type;
	enum metric_unit unit;
};
extern const struct metric_info metric_table[METRIC_COUNT];

struct metrics;
struct metrics *metrics_new(void);
void metrics_free(struct metrics *m);
/* Label values in the order of the table's labels; NULL for those it has not. */
void metric_add(struct metrics *m, enum metric id, const char *a, const char *b, const char *c,
		int64_t n);
/* One observation of a histogram, in its stored unit (microseconds, or a count). */
void metric_observe(struct metrics *m, enum metric id, const char *a, const char *b, int64_t v);

/* At scrape time: every source writes its gauges (and counters that it keeps itself) here. */
struct metric_sink;
void metric_put(struct metric_sink *s, enum metric id, const char *a, const char *b, int64_t v);
struct metric_source {
	void (*collect)(struct metric_source *src, struct metric_sink *sink);
	struct metric_source *next;
};
void metrics_add_source(struct metrics *m, struct metric_source *src);
/* The Prometheus text, families in the order of the table; a family without a sample is left out. */
void metrics_text(struct metrics *m, struct buf *out);

#endif
