/*
 * What blocks: files below wait/ and watch/, and poll(2). A blocked read is a request in a list,
 * never a thread. Owner: the loop thread.
 *
 * Invariants: an answer is never longer than asked (a shell reads one byte at a time); the rest is
 * kept per open. A signal ends a read at once, and an interrupted read takes no event away.
 * O_NONBLOCK is the only EAGAIN. Every wait ends: with its answer, with a telling error, or when
 * the session is gone. A stream is bounded: what did not fit is counted, and the reader is told
 * {"lost":N}.
 * Tests: tests/mount/.
 */
#include <fcntl.h>
#include <poll.h>
#include <string.h>

#include "internal.h"

struct waiter {
	struct waiter *next, **at;
	struct file *f;
	fuse_req_t req;
	size_t size;
	off_t off;
};

/* ---- who waits ---- */

/* Of a session, in sessions/ or in history/, or of the root: those that a change can concern. */
static struct file **watchers_of(struct mount *m, uint64_t serial)
{
	return &m->watchers[serial % WATCH_BUCKETS];
}

static bool is_of_session(const struct file *f)
{
	return f->class == OBJ_SESSION || f->class == OBJ_HISTORY;
}

static void watch(struct file *f)
{
	struct file **list = is_of_session(f) ? watchers_of(f->m, f->serial) : &f->m->root_watchers;

	f->watch_next = *list;
	if (f->watch_next)
		f->watch_next->watch_at = &f->watch_next;
	f->watch_at = list;
	*list = f;
}

/* fn may end the watching of the one that it is called with. */
static void watchers_each(struct file *list, void (*fn)(struct file *f, const struct change *c),
			  const struct change *c)
{
	for (struct file *f = list, *next; f; f = next) {
		next = f->watch_next;
		fn(f, c);
	}
}

static void watchers_all(struct mount *m, void (*fn)(struct file *f, const struct change *c))
{
	for (size_t i = 0; i < WATCH_BUCKETS; i++)
		watchers_each(m->watchers[i], fn, NULL);
	watchers_each(m->root_watchers, fn, NULL);
}

static void waiter_free(struct waiter *w)
{
	*w->at = w->next;
	if (w->next)
		w->next->at = w->at;
	free(w);
}

/* Ctrl-C: answering from inside this call is safe (fuse.md 5.5). */
static void interrupted(fuse_req_t req, void *arg)
{
	waiter_free(arg);
	fuse_reply_err(req, EINTR);
}

static void wait_begin(fuse_req_t req, struct file *f, size_t size, off_t off)
{
	struct waiter *w;

	if (f->flags & O_NONBLOCK) {
		fuse_reply_err(req, EAGAIN);
		return;
	}
	w = calloc(1, sizeof(*w));
	if (!w) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	w->f = f;
	w->req = req;
	w->size = size;
	w->off = off;
	w->next = f->waiters;
	if (w->next)
		w->next->at = &w->next;
	w->at = &f->waiters;
	f->waiters = w;
	/* Last: if the signal came already, w is gone when this returns. */
	fuse_req_interrupt_func(req, interrupted, w);
}

static void wake_poll(struct file *f)
{
	struct fuse_pollhandle *ph = f->ph;

	if (!ph)
		return;
	f->ph = NULL; /* a poller that goes on asks again */
	fuse_lowlevel_notify_poll(ph);
	fuse_pollhandle_destroy(ph);
}

/* ---- wait/: one answer ---- */

/* Ask the row. 1: f->text is the answer; 0: wait on; negative: it ended so. */
static int wait_ask(struct file *f, const struct ctx *x, struct error *why)
{
	int r;

	if (f->rendered)
		return 1;
	buf_reset(&f->text);
	r = f->row->wait(x, &f->seen, &f->text, why);
	if (r == 1 && f->text.failed)
		r = -ENOMEM;
	f->rendered = r == 1;
	file_charge(f);
	return r;
}

static int wait_gone(struct error *why)
{
	return fail(why, ERR_DRAFT_GONE, "the session was removed: what is awaited cannot come");
}

/* Everybody who reads this descriptor gets what came. r is not 0. */
static void wait_serve(struct file *f, const struct ctx *x, int r, const struct error *why)
{
	if (r < 0 && f->waiters)
		refusal_note(x, NULL, r, why);
	while (f->waiters) {
		struct waiter w = *f->waiters;

		waiter_free(f->waiters);
		if (r < 0)
			fuse_reply_err(w.req, -r);
		else
			reply_slice(w.req, &f->text, w.size, w.off);
	}
	wake_poll(f);
}

void wait_read(fuse_req_t req, struct file *f, size_t size, off_t off)
{
	struct error why = {0};
	struct ctx x;
	int r = file_ctx(f, &x) ? wait_gone(&why) : 0;

	if (f->rendered) {
		reply_slice(req, &f->text, size, off);
		return;
	}
	if (off > 0) { /* after an error: the end */
		fuse_reply_buf(req, NULL, 0);
		return;
	}
	if (r == 0)
		r = wait_ask(f, &x, &why);
	if (r == 0)
		wait_begin(req, f, size, off);
	else if (r < 0)
		refuse(req, &x, NULL, r, &why);
	else
		reply_slice(req, &f->text, size, off);
}

static void wait_change(struct file *f, const struct change *c)
{
	struct error why = {0};
	struct ctx x;
	int r;

	ctx_init(f->m, NULL, &x);
	file_who(f, &x.who);
	x.class = f->class;
	x.serial = f->serial;
	x.row = f->row;
	x.session = c->session; /* it may be on its way out of every table */
	r = wait_ask(f, &x, &why);
	if (r == 0 && c->kind == CH_SESSION_GONE)
		r = wait_gone(&why);
	if (r != 0)
		wait_serve(f, &x, r, &why);
}

/* ---- watch/: a stream of lines ---- */

static size_t stream_pending(const struct file *f)
{
	return f->text.len - f->head;
}

static void stream_compact(struct file *f)
{
	if (f->head == 0)
		return;
	memmove(f->text.data, f->text.data + f->head, stream_pending(f));
	f->text.len -= f->head;
	f->text.data[f->text.len] = '\0';
	f->head = 0;
}

static void stream_put(struct file *f, const char *line)
{
	buf_puts(&f->text, line);
	buf_putc(&f->text, '\n');
	f->lines++;
}

static void stream_tell_lost(struct file *f)
{
	if (f->lost == 0)
		return;
	buf_printf(&f->text, "{\"lost\":%lld}\n", (long long)f->lost);
	f->lines++;
	f->lost = 0;
}

static bool stream_room(const struct file *f, size_t n)
{
	return f->lines < STREAM_LINES_MAX && stream_pending(f) + n < STREAM_BYTES_MAX;
}

static void stream_taken(struct file *f, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (f->text.data[f->head + i] == '\n')
			f->lines--;
	f->head += n;
	if (f->head == f->text.len) {
		buf_reset(&f->text);
		f->head = 0;
		stream_tell_lost(f);
	} else if (f->head > STREAM_BYTES_MAX / 2) {
		stream_compact(f);
	}
	file_charge(f);
}

static void stream_reply(struct file *f, fuse_req_t req, size_t size)
{
	size_t n = stream_pending(f) < size ? stream_pending(f) : size;

	/* If the reader was interrupted meanwhile it did not get them: then they stay. */
	if (fuse_reply_buf(req, n ? f->text.data + f->head : NULL, n) == 0)
		stream_taken(f, n);
}

void stream_read(fuse_req_t req, struct file *f, size_t size)
{
	if (stream_pending(f) || f->ended)
		stream_reply(f, req, size);
	else
		wait_begin(req, f, size, 0);
}

static void stream_wake(struct file *f)
{
	while (f->waiters && (stream_pending(f) || f->ended)) {
		struct waiter w = *f->waiters;

		waiter_free(f->waiters);
		stream_reply(f, w.req, w.size);
	}
	wake_poll(f);
}

/* The root's stream shows what concerns nobody in particular, and the reader's own sessions. */
static bool stream_wants(const struct file *f, const struct change *c)
{
	if (is_of_session(f))
		return c->session && (uint64_t)c->session->serial == f->serial;
	return !c->session || f->uid == 0 || c->session->owner_uid == f->uid;
}

static void stream_event(struct file *f, const struct change *c)
{
	if (f->ended || !c->text || !stream_wants(f, c))
		return;
	if (!stream_room(f, strlen(c->text))) {
		f->lost++;
		return;
	}
	stream_tell_lost(f);
	stream_put(f, c->text);
	if (f->text.failed) { /* memory is out: the stream cannot go on whole */
		f->ended = true;
		buf_reset(&f->text);
		f->head = f->lines = 0;
	}
	file_charge(f);
	stream_wake(f);
}

static bool stream_is_of(const struct file *f, const struct session *s)
{
	return is_of_session(f) && s && (uint64_t)s->serial == f->serial;
}

/* ---- state: poll(2) as in sysfs ---- */

void state_read(struct file *f, const struct ctx *x)
{
	f->state = x->session ? x->session->state : UNKNOWN;
	f->state_us = x->session ? x->session->state_us : 0;
}

static bool state_changed(const struct file *f)
{
	struct ctx x;

	if (file_ctx(f, &x) != 0 || !x.session)
		return true;
	return x.session->state != f->state || x.session->state_us != f->state_us;
}

/* ---- open and close ---- */

void wait_open(struct file *f, const struct ctx *x)
{
	struct error why = {0};

	watch(f);
	if (f->row->cache == C_WAIT) {
		/* Lets the row note where things stand now; the answer is given at the first
		 * read. */
		f->row->wait(x, &f->seen, &f->text, &why);
		buf_reset(&f->text);
	} else if (f->row->flags & ROW_STATE_POLL) {
		state_read(f, x);
	}
}

void wait_release(struct file *f)
{
	while (f->waiters) {
		fuse_req_t req = f->waiters->req;

		waiter_free(f->waiters);
		fuse_req_interrupt_func(req, NULL, NULL);
		fuse_reply_err(req, ECANCELED);
	}
	if (f->ph)
		fuse_pollhandle_destroy(f->ph);
	f->ph = NULL;
	if (!f->watch_at)
		return;
	*f->watch_at = f->watch_next;
	if (f->watch_next)
		f->watch_next->watch_at = f->watch_at;
	f->watch_at = NULL;
}

static void watcher_stop(struct file *f, const struct change *c)
{
	(void)c;
	wait_release(f);
}

void waits_stop(struct mount *m)
{
	watchers_all(m, watcher_stop);
}

/* ---- changes ---- */

static void watcher_change(struct file *f, const struct change *c)
{
	bool mine = stream_is_of(f, c->session);

	if (f->row->cache == C_STREAM) {
		if (c->kind == CH_EVENT)
			stream_event(f, c);
		/* The last lines may still come in this turn of the loop; then it ends. */
		if (stream_is_of(f, c->session) && !f->ended &&
		    (c->kind == CH_SESSION_GONE ||
		     (c->kind == CH_SESSION_PROVEN && session_in_history(c->session)) ||
		     (c->kind == CH_SESSION_ENDED && engine_proven(c->session)))) {
			f->ending = f->m->streams_end = true;
			mount_later(f->m);
		}
	} else if (mine && c->kind != CH_EVENT) {
		if (f->row->cache == C_WAIT)
			wait_change(f, c);
		else
			wake_poll(f);
	}
}

void waits_change(struct mount *m, const struct change *c)
{
	if (c->session)
		watchers_each(*watchers_of(m, (uint64_t)c->session->serial), watcher_change, c);
	if (c->session || c->kind == CH_EVENT)
		watchers_each(m->root_watchers, watcher_change, c);
}

static void watcher_later(struct file *f, const struct change *c)
{
	(void)c;
	if (!f->ending || f->ended)
		return;
	f->ended = true;
	stream_wake(f);
}

void waits_later(struct mount *m)
{
	if (m->streams_end)
		watchers_all(m, watcher_later);
	m->streams_end = false;
}

/* ---- poll(2) ---- */

static bool wait_ready(struct file *f)
{
	struct error why = {0};
	struct ctx x;

	return f->rendered || file_ctx(f, &x) != 0 || wait_ask(f, &x, &why) != 0;
}

/* What is ready; *keep: whether something else may become ready later. */
static unsigned ready_now(struct file *f, bool *keep)
{
	unsigned events = POLLIN | POLLRDNORM | POLLOUT | POLLWRNORM;

	*keep = false;
	if (!f)
		return events;
	if (f->row->cache == C_WAIT) {
		*keep = !wait_ready(f);
		return *keep ? 0 : POLLIN | POLLRDNORM;
	}
	if (f->row->cache == C_STREAM) {
		*keep = !stream_pending(f) && !f->ended;
		return *keep ? 0 : POLLIN | POLLRDNORM;
	}
	if (f->row->flags & ROW_STATE_POLL) {
		*keep = !state_changed(f);
		return *keep ? events : events | POLLPRI | POLLERR;
	}
	return events;
}

void op_poll(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, struct fuse_pollhandle *ph)
{
	struct file *f = file_find(fuse_req_userdata(req), fi->fh);
	bool keep;
	unsigned events = ready_now(f, &keep);

	(void)ino;
	if (ph && f && f->watch_at) { /* one per open file: of one per inode, 1 of 3 pollers woke */
		if (f->ph)
			fuse_pollhandle_destroy(f->ph);
		f->ph = ph;
	} else if (ph) {
		fuse_pollhandle_destroy(ph);
	}
	fuse_reply_poll(req, events);
}
