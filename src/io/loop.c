/*
 * The loop's clock, its random numbers, its timers and its workers, for struct world.
 *
 * Owner: the loop thread for timers; the clocks and random_bytes may be called from any thread.
 * Invariants: a timer never fires early (deadlines are compared with the clock by whoever set it,
 * and an early bell would make it set the same deadline again in a tight circle); a timer is
 * one-shot; freeing it is allowed at any time, also from inside its own callback, because libuv
 * keeps the handle until its close callback and that is where the memory goes. Tests:
 * tests/unit/test_store.c (timers), all mount tests.
 */
#include <stdint.h>
#include <sys/random.h>
#include <time.h>

#include "../core/check.h"
#include "../core/text.h"
#include "io.h"

#define DELAY_MAX_US \
	(100 * 365 * DAY_US) /* "never" stays a number that libuv can add to its clock */

struct timer {
	uv_timer_t handle;
	void (*fire)(void *arg);
	void *arg;
};

static void timer_fired(uv_timer_t *h)
{
	struct timer *t = container_of(h, struct timer, handle);

	t->fire(t->arg);
}

static void timer_closed(uv_handle_t *h)
{
	free(container_of((uv_timer_t *)h, struct timer, handle));
}

struct timer *loop_timer_new(uv_loop_t *loop, void (*fire)(void *), void *arg)
{
	struct timer *t = xcalloc(1, sizeof(*t));

	CHECK(fire != NULL);
	CHECK(uv_timer_init(loop, &t->handle) == 0);
	t->fire = fire;
	t->arg = arg;
	return t;
}

void loop_timer_set(struct timer *t, int64_t delay_us)
{
	uint64_t ms = 0;

	CHECK(!uv_is_closing((uv_handle_t *)&t->handle));
	if (delay_us < 0) {
		uv_timer_stop(&t->handle);
		return;
	}
	if (delay_us > DELAY_MAX_US)
		delay_us = DELAY_MAX_US;
	/* libuv's clock is cut to whole milliseconds: one more, or the bell rings up to 1 ms early.
	 */
	if (delay_us > 0)
		ms = (uint64_t)((delay_us + 999) / 1000) + 1;
	/* Counted from now, not from when the loop last woke: a long callback must not shorten it.
	 */
	uv_update_time(t->handle.loop);
	CHECK(uv_timer_start(&t->handle, timer_fired, ms, 0) == 0);
}

void loop_timer_free(struct timer *t)
{
	if (t == NULL)
		return;
	uv_close((uv_handle_t *)&t->handle, timer_closed);
}

static int64_t clock_us(clockid_t which)
{
	struct timespec ts;

	CHECK(clock_gettime(which, &ts) == 0);
	return (int64_t)ts.tv_sec * SECOND_US + ts.tv_nsec / 1000;
}

int64_t clock_wall_us(void)
{
	return clock_us(CLOCK_REALTIME);
}

int64_t clock_mono_us(void)
{
	return clock_us(CLOCK_MONOTONIC);
}

void random_bytes(void *out, size_t n)
{
	unsigned char *p = out;

	while (n > 0) {
		ssize_t got = getrandom(p, n, 0);

		if (got < 0 && errno == EINTR)
			continue;
		/* Ids and labels guard money: without random numbers there is no going on. */
		CHECK(got > 0);
		p += got;
		n -= (size_t)got;
	}
}

/* ---- work on a worker ---- */

struct job {
	uv_work_t req;
	void (*run)(void *arg);
	void (*done)(void *arg);
	void *arg;
};

static void job_run(uv_work_t *req)
{
	struct job *j = container_of(req, struct job, req);

	j->run(j->arg);
}

static void job_done(uv_work_t *req, int status)
{
	struct job *j = container_of(req, struct job, req);

	CHECK(status == 0); /* nobody cancels it */
	j->done(j->arg);
	free(j);
}

void loop_work(uv_loop_t *loop, void (*run)(void *), void (*done)(void *), void *arg)
{
	struct job *j = xcalloc(1, sizeof(*j));

	CHECK(run != NULL && done != NULL);
	j->run = run;
	j->done = done;
	j->arg = arg;
	CHECK(uv_queue_work(loop, &j->req, job_run, job_done) == 0);
}
