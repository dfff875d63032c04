/*
 * The daemon's own metrics: which build this is, how long turns of the loop take, how long writes
 * wait for the disk. What the engine, the mount and HTTP count comes from there.
 *
 * A turn is measured from one poll to the next, less the time in which the loop slept in it (libuv
 * counts that), so an idle daemon shows nothing and is never woken for it. The longest turn is
 * handed out once: each scrape begins a new one. Loop thread. Tests: tests/mount/metrics.bats.
 */
#include "core/check.h"
#include "daemon_parts.h"
#include "io/io.h"

#define NS_PER_US 1000

/* Before each poll: everything since the last one, less the sleep, was work. */
static void turn_ends(uv_prepare_t *p)
{
	struct daemon *d = p->data;
	uint64_t now_ns = uv_hrtime(), idle_ns = uv_metrics_idle_time(&d->loop);
	uint64_t passed_ns = now_ns - d->turn_ns, slept_ns = idle_ns - d->idle_ns;
	int64_t busy_us = passed_ns > slept_ns ? (int64_t)((passed_ns - slept_ns) / NS_PER_US) : 0;

	if (d->turn_ns && busy_us > d->turn_max_us)
		d->turn_max_us = busy_us;
	d->turn_ns = now_ns;
	d->idle_ns = idle_ns;
}

static void collect(struct metric_source *src, struct metric_sink *sink)
{
	struct daemon *d = container_of(src, struct daemon, metric_source);

	metric_put(sink, METRIC_BUILD_INFO, GPUFS_VERSION, NULL, 1);
	metric_put(sink, METRIC_LOOP_LAG, NULL, NULL, d->turn_max_us);
	d->turn_max_us = 0;
	if (d->store)
		metric_put(sink, METRIC_JOURNAL_LAG, NULL, NULL, store_lag_us(d->store));
}

void daemon_metrics_start(struct daemon *d)
{
	d->metrics = metrics_new();
	d->metric_source.collect = collect;
	metrics_add_source(d->metrics, &d->metric_source);
	CHECK(uv_loop_configure(&d->loop, UV_METRICS_IDLE_TIME) == 0);
	CHECK(uv_prepare_init(&d->loop, &d->turn) == 0);
	d->turn.data = d;
	CHECK(uv_prepare_start(&d->turn, turn_ends) == 0);
	uv_unref(
		(uv_handle_t *)&d->turn); /* it must not keep the loop of a stopping daemon alive */
}
