/*
 * The journal on disk: SQLite behind one queue (store_queue.c) and one worker thread.
 *
 * The loop appends to a queue and goes on; the worker takes the whole queue, writes it in one
 * transaction (group commit: 64 rows cost what one costs, faults.md), moves the finished writes to
 * a second list and wakes the loop, which runs their callbacks in order. If a transaction fails,
 * its rows are written one by one, so that one bad row or a disk that is almost full does not
 * refuse the others.
 *
 * Owners: `lock` guards the two lists, the flags and the ballast; no callback and no disk access
 * happens under it, so the loop never waits for a disk. The connection belongs to main until
 * store_start, then to the worker. Everything else in struct store is said at its field. Never: a
 * callback from inside store_write; a secret that stays in freed memory; a lock on the database
 * given up while a stalled worker may still write.
 * Tests: tests/unit/test_store.c; a disk that stalls or is full: tests/mount.
 */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "../core/check.h"
#include "../core/text.h"
#include "io.h"
#include "store_parts.h"

/* What may wait for a stalled disk; more is refused, since the queue must not eat the machine. */
#define QUEUE_ITEMS_MAX 16384
#define QUEUE_BYTES_MAX ((size_t)64 << 20)
#define ROOM_TIGHT	((int64_t)1 << 20) /* less room than this at start: the ballast is given up */

struct store {
	char *path;	     /* absolute; set once */
	int lock_fd;	     /* set once; closed by whoever frees the store */
	struct db db;	     /* main, then the worker */
	pthread_t worker;    /* main */
	bool running;	     /* main */
	struct item *spares; /* loop only */
	uv_prepare_t *turn;  /* loop only */
	bool written;	     /* loop only: since the last turn; the worker is told at its end */

	pthread_mutex_t lock;
	pthread_cond_t work,
		idle; /* for the worker: something to do; for store_close: nothing is */
	/* guarded by lock: */
	uv_async_t *wake; /* NULL: the loop no longer listens */
	struct item_list queue, done;
	size_t items, bytes;
	bool busy, stop, detached, closed, ballast;

	_Atomic int64_t oldest_us; /* monotonic; 0: nothing is unfinished. Written under lock */
	bool failing;	 /* worker only: the last batch was refused, and the log said so */
	char fault[160]; /* worker only: SQLite's message of the last refusal */
#ifdef GPUFS_TEST
	const char *stall_file, *full_file;
	_Atomic int64_t dropped_us; /* wall time of the last dropped ballast */
#endif
};

/* ---- faults on order, in test builds ---- */

#ifdef GPUFS_TEST
static void test_setup(struct store *s)
{
	s->stall_file = getenv("GPUFS_TEST_STORE_STALL");
	s->full_file = getenv("GPUFS_TEST_STORE_FULL");
}

/* A disk that does not answer, and one without room; -ENOSPC until the ballast was dropped after
 * the file appeared. */
static int test_commit(struct store *s)
{
	const struct timespec pause = {.tv_nsec = 20000000};
	struct stat st;

	while (s->stall_file && access(s->stall_file, F_OK) == 0)
		nanosleep(&pause, NULL);
	if (s->full_file == NULL || stat(s->full_file, &st) < 0)
		return 0;
	return s->dropped_us > (int64_t)st.st_mtim.tv_sec * SECOND_US + st.st_mtim.tv_nsec / 1000
		       ? 0
		       : -ENOSPC;
}

static void test_dropped(struct store *s)
{
	s->dropped_us = clock_wall_us();
}

static bool test_is_full(const struct store *s)
{
	return s->full_file && access(s->full_file, F_OK) == 0;
}
#else
static void test_setup(struct store *s)
{
	(void)s;
}

static int test_commit(struct store *s)
{
	(void)s;
	return 0;
}

static void test_dropped(struct store *s)
{
	(void)s;
}

static bool test_is_full(const struct store *s)
{
	(void)s;
	return false;
}
#endif

/* ---- opening ---- */

static void store_free(struct store *s)
{
	db_close(&s->db);
	files_unlock(s->lock_fd);
	items_free(&s->queue);
	spares_free(&s->spares);
	pthread_cond_destroy(&s->work);
	pthread_cond_destroy(&s->idle);
	pthread_mutex_destroy(&s->lock);
	free(s->path);
	free(s);
}

static struct store *store_new(const char *path)
{
	struct store *s = xcalloc(1, sizeof(*s));
	pthread_condattr_t attr;

	s->path = files_absolute(path);
	s->lock_fd = -1;
	items_init(&s->queue);
	items_init(&s->done);
	spares_fill(&s->spares);
	CHECK(s->path != NULL);
	CHECK(pthread_mutex_init(&s->lock, NULL) == 0);
	CHECK(pthread_condattr_init(&attr) == 0);
	/* Waiting is counted on the clock that never steps. */
	CHECK(pthread_condattr_setclock(&attr, CLOCK_MONOTONIC) == 0);
	CHECK(pthread_cond_init(&s->work, &attr) == 0);
	CHECK(pthread_cond_init(&s->idle, &attr) == 0);
	pthread_condattr_destroy(&attr);
	test_setup(s);
	return s;
}

/* The file exists now: follow the links to it, since two names of one database must meet at one
 * lock. */
static int path_settle(struct store *s, struct error *why)
{
	char *real = files_absolute(s->path);

	if (real == NULL)
		return fail(why, ERR_NO_MEMORY, "out of memory while opening the database");
	free(s->path);
	s->path = real;
	return 0;
}

int store_open(const char *path, struct store **out, struct error *why)
{
	struct store *s = store_new(path);
	int err = files_make_parents(s->path, why);

	*out = NULL;
	if (!err)
		err = files_make_database(s->path, why);
	if (!err)
		err = path_settle(s, why);
	if (!err)
		err = files_lock(s->path, &s->lock_fd, why);
	if (!err)
		err = db_open(&s->db, s->path, why);
	/* A start on a full disk is when orders to destroy need the ballast most. */
	if (err == -EIO && s->lock_fd >= 0 && files_room(s->path) < ROOM_TIGHT &&
	    files_ballast_drop(s->path)) {
		log_line(LOG_WARN_, "the disk under %s is full: its ballast was given up to start",
			 s->path);
		err = db_open(&s->db, s->path, why);
	}
	if (err) {
		store_free(s);
		return err;
	}
	s->ballast = files_ballast_make(s->path);
	*out = s;
	return 0;
}

int store_load(struct store *s, int (*fn)(void *arg, const struct journal_op *row), void *arg,
	       struct error *why)
{
	CHECK(!s->running); /* the connection is the worker's from then on */
	return db_load(&s->db, fn, arg, why);
}

/* ---- the worker ---- */

/* One transaction of the items from `first`, or of that item alone. 0 or a negative errno. `began`
 * false: nothing can be written at all at the moment, whatever the row. */
static int batch_commit(struct store *s, struct item *first, bool alone, bool *began)
{
	int err = db_begin(&s->db);

	*began = !err;
	for (struct item *it = first; it && !err; it = alone ? NULL : it->next) {
		if (it->op)
			err = db_apply(&s->db, it->op);
	}
	if (!err)
		err = test_commit(s);
	if (!err)
		err = db_commit(&s->db);
	if (!err)
		return 0;
	/* For the log. SQLite's messages name tables and columns, never values. */
	COPY(s->fault, err == -EINVAL ? "a row of a wrong shape" : sqlite3_errmsg(s->db.h));
	db_rollback(&s->db);
	return err;
}

static void batch_log(struct store *s, int err)
{
	if (err && !s->failing)
		log_line(LOG_ERROR_, "database %s: a write was refused: %s (SQLite: %s)", s->path,
			 strerrordesc_np(-err), s->fault);
	if (!err && s->failing)
		log_line(LOG_INFO_, "database %s: writes work again", s->path);
	s->failing = err != 0;
}

/* true if everything that was tried is on disk. */
static bool batch_write(struct store *s, struct item *first)
{
	bool began, alone = first->next == NULL;
	int err = batch_commit(s, first, false, &began), worst = 0;

	for (struct item *it = first; it; it = it->next) {
		if (err && it->op) {
			/* A stranger's lock costs half a second a try: not once for every row. */
			it->err = began && !alone ? batch_commit(s, it, true, &began) : err;
			worst = it->err ? it->err : worst;
			err = it->err && !began ? it->err : err;
		}
		item_drop_op(it); /* it may be a secret: wiped as soon as it is carried out */
	}
	batch_log(s, worst);
	return worst == 0;
}

/* A write went through: if there is room again, so should the ballast be. */
static void ballast_remake(struct store *s)
{
	bool there;

	pthread_mutex_lock(&s->lock);
	there = s->ballast;
	pthread_mutex_unlock(&s->lock);
	if (there || test_is_full(s) || files_room(s->path) < 2 * STORE_BALLAST_BYTES)
		return;
	if (!files_ballast_make(s->path))
		return;
	pthread_mutex_lock(&s->lock);
	s->ballast = true;
	pthread_mutex_unlock(&s->lock);
}

/* The batch is finished: to the loop with it. Called with the lock. */
static void batch_hand_over(struct store *s, struct item_list *batch)
{
	s->oldest_us = s->queue.first ? s->queue.first->queued_us : 0;
	items_move(&s->done, batch);
	if (s->wake)
		uv_async_send(s->wake);
}

static void *worker_main(void *arg)
{
	struct store *s = arg;
	bool detached;

	pthread_mutex_lock(&s->lock);
	for (;;) {
		struct item_list batch;
		bool good;

		while (s->queue.first == NULL && !s->stop)
			pthread_cond_wait(&s->work, &s->lock);
		if (s->queue.first == NULL)
			break;
		items_init(&batch);
		items_move(&batch, &s->queue);
		s->items = s->bytes = 0;
		s->busy = true;
		pthread_mutex_unlock(&s->lock);

		good = batch_write(s, batch.first);

		pthread_mutex_lock(&s->lock);
		batch_hand_over(s, &batch);
		pthread_mutex_unlock(&s->lock);
		if (good)
			ballast_remake(s);
		pthread_mutex_lock(&s->lock);
		s->busy = false;
		pthread_cond_signal(&s->idle);
	}
	pthread_mutex_unlock(&s->lock);
	db_close(&s->db); /* here and not in store_close: it may write and sync as well */
	pthread_mutex_lock(&s->lock);
	s->closed = true;
	pthread_cond_signal(&s->idle);
	detached = s->detached;
	pthread_mutex_unlock(&s->lock);
	if (detached) { /* nobody joins: the disk came back after store_close had given up */
		items_move(&s->queue, &s->done);
		store_free(s);
	}
	return NULL;
}

/* ---- the loop's side ---- */

/* Back to the front; the next turn of the loop goes on there. */
static void deliver_later(struct store *s, struct item_list *rest)
{
	pthread_mutex_lock(&s->lock);
	items_move(rest, &s->done);
	items_move(&s->done, rest);
	if (s->wake)
		uv_async_send(s->wake);
	pthread_mutex_unlock(&s->lock);
}

/* In order, for `limit_us` at most: hundreds of sessions may have changed in one transaction. */
static void deliver(struct store *s, int64_t limit_us)
{
	int64_t begun_us = clock_mono_us();
	struct item_list done;
	struct item *it;

	items_init(&done);
	pthread_mutex_lock(&s->lock);
	items_move(&done, &s->done);
	pthread_mutex_unlock(&s->lock);
	while ((it = done.first) != NULL) {
		if (clock_mono_us() - begun_us >= limit_us) {
			deliver_later(s, &done);
			return;
		}
		done.first = it->next;
		if (it->cb)
			it->cb(it->arg, it->err);
		item_free(&s->spares, it);
	}
}

static void wake_called(uv_async_t *h)
{
	deliver(h->data, TURN_US);
}

/* The worker is woken once a turn of the loop, so that what one request writes (its row, its event)
 * is one transaction and one fsync. */
static void turn_ends(uv_prepare_t *h)
{
	struct store *s = h->data;

	if (!s->written)
		return;
	s->written = false;
	pthread_mutex_lock(&s->lock);
	pthread_cond_signal(&s->work);
	pthread_mutex_unlock(&s->lock);
}

static void wake_closed(uv_handle_t *h)
{
	free(h);
}

/* The worker gets no signals: they belong to the loop's thread. */
static int worker_start(struct store *s)
{
	sigset_t all, old;
	int eno;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	eno = pthread_create(&s->worker, NULL, worker_main, s);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return -eno;
}

int store_start(struct store *s, uv_loop_t *loop)
{
	uv_async_t *wake = xcalloc(1, sizeof(*wake));
	int err;

	CHECK(!s->running);
	err = uv_async_init(loop, wake, wake_called);
	if (err) {
		free(wake);
		return err;
	}
	wake->data = s;
	s->wake = wake;
	err = worker_start(s);
	if (err) {
		s->wake = NULL;
		uv_close((uv_handle_t *)wake, wake_closed);
		return err;
	}
	s->turn = xcalloc(1, sizeof(*s->turn));
	s->turn->data = s;
	CHECK(uv_prepare_init(loop, s->turn) == 0 && uv_prepare_start(s->turn, turn_ends) == 0);
	uv_unref((uv_handle_t *)s->turn);
	s->running = true;
	return 0;
}

void store_write(struct store *s, struct journal_op *op, journal_cb cb, void *arg)
{
	struct item *it = item_new(&s->spares);
	bool full;

	CHECK(op->n <= JOURNAL_COLUMNS_MAX);
	item_take(it, op);
	it->cb = cb;
	it->arg = arg;
	it->queued_us = clock_mono_us();
	pthread_mutex_lock(&s->lock);
	full = s->items >= QUEUE_ITEMS_MAX || s->bytes + it->bytes > QUEUE_BYTES_MAX;
	s->items++;
	s->bytes += full ? 0 : it->bytes;
	if (full) { /* it keeps its place: callbacks come in order */
		item_drop_op(it);
		it->err = -EIO;
	}
	if (s->oldest_us == 0)
		s->oldest_us = it->queued_us;
	items_add(&s->queue, it);
	s->written = true;
	pthread_mutex_unlock(&s->lock);
}

bool store_drop_ballast(struct store *s)
{
	bool had;

	pthread_mutex_lock(&s->lock);
	had = s->ballast;
	s->ballast = false;
	pthread_mutex_unlock(&s->lock);
	if (!had || !files_ballast_drop(s->path))
		return false;
	test_dropped(s);
	return true;
}

int64_t store_lag_us(const struct store *s)
{
	int64_t since = s->oldest_us;

	return since ? clock_mono_us() - since : 0;
}

/* ---- the end ---- */

/* Wait for the worker to say something. false: the time is up. Called with the lock. */
static bool lock_wait(struct store *s, int64_t deadline_us)
{
	const struct timespec until = {.tv_sec = deadline_us / SECOND_US,
				       .tv_nsec = deadline_us % SECOND_US * 1000};

	return pthread_cond_timedwait(&s->idle, &s->lock, &until) != ETIMEDOUT;
}

/* Wait until nothing is queued, written or undelivered. false: the time is up. Called with the
 * lock. */
static bool drain(struct store *s, int64_t deadline_us)
{
	for (;;) {
		if (s->done.first) {
			pthread_mutex_unlock(&s->lock);
			deliver(s, INT64_MAX); /* may write again: that is waited for too */
			pthread_mutex_lock(&s->lock);
		}
		if (s->queue.first == NULL && !s->busy && s->done.first == NULL)
			return true;
		if (clock_mono_us() >= deadline_us)
			return false;
		pthread_cond_signal(&s->work);
		if (s->done.first == NULL)
			lock_wait(s, deadline_us);
	}
}

/* The worker hangs in the disk. It keeps the lock on the database and what is queued, writes that
 * if the disk comes back in time, and then frees the store. Callbacks of what is unfinished never
 * come: nobody can say whether it will be on disk. Called with the lock. */
static void worker_leave(struct store *s)
{
	log_line(LOG_WARN_,
		 "database %s: the disk does not answer; stopping without waiting for it", s->path);
	s->detached = true;
	pthread_detach(s->worker);
}

void store_close(struct store *s, int64_t timeout_us)
{
	int64_t deadline_us = clock_mono_us();
	uv_async_t *wake;
	uv_prepare_t *turn;
	bool ended = true;

	if (s == NULL)
		return;
	if (!s->running) {
		store_free(s);
		return;
	}
	deadline_us += timeout_us < 0 ? 0 : timeout_us > HOUR_US ? HOUR_US : timeout_us;
	pthread_mutex_lock(&s->lock);
	if (drain(s, deadline_us) && deadline_us < clock_mono_us() + SECOND_US)
		deadline_us = clock_mono_us() + SECOND_US; /* closing has a second at least */
	wake = s->wake;
	turn = s->turn;
	s->wake = NULL;
	s->stop = true;
	pthread_cond_signal(&s->work);
	while (!s->closed && ended)
		ended = lock_wait(s, deadline_us);
	if (!s->closed)
		worker_leave(s);
	ended = s->closed;
	pthread_mutex_unlock(&s->lock);
	uv_close((uv_handle_t *)wake, wake_closed);
	uv_close((uv_handle_t *)turn, wake_closed);
	if (!ended)
		return;
	CHECK(pthread_join(s->worker, NULL) == 0);
	store_free(s);
}
