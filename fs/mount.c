/*
 * The mount itself: the libfuse session on an open /dev/fuse, driven by a uv_poll; the orders that
 * are answered later; what the rows may ask of the mount (errors per reader, counters).
 * Owner: the loop thread; a worker only carries stale names to the kernel.
 *
 * Invariants: a request is answered exactly once. From the loop only attributes are invalidated; a
 * notification about a name waits for a lock that a request of ours may hold, and from the loop
 * that is a deadlock that SIGKILL does not end (measured, fuse.md 4). At most 32 requests a turn,
 * so timers run.
 * Tests: tests/mount/.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "internal.h"
#include "offer_index.h"

/* ---- what the kernel and we agree on (fuse.md 5.1) ---- */

static void op_init(void *arg, struct fuse_conn_info *conn)
{
	struct mount *m = arg;
	unsigned on = FUSE_CAP_READDIRPLUS | FUSE_CAP_READDIRPLUS_AUTO | FUSE_CAP_AUTO_INVAL_DATA |
		      FUSE_CAP_PARALLEL_DIROPS | FUSE_CAP_ASYNC_READ | FUSE_CAP_ATOMIC_O_TRUNC;
	unsigned off = FUSE_CAP_WRITEBACK_CACHE | FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE |
		       FUSE_CAP_SPLICE_MOVE | FUSE_CAP_POSIX_ACL | FUSE_CAP_EXPORT_SUPPORT |
		       FUSE_CAP_EXPLICIT_INVAL_DATA | FUSE_CAP_POSIX_LOCKS | FUSE_CAP_FLOCK_LOCKS |
		       FUSE_CAP_CACHE_SYMLINKS;

	conn->want |= on & conn->capable;
	conn->want &= ~off;
	conn->max_write = WRITE_SIZE_MAX;
	conn->max_background = 64;
	conn->congestion_threshold = 48;
	conn->time_gran = 1;
	m->inited = true;
}

static void forget(struct mount *m, uint64_t ino, uint64_t n)
{
	if (ino != FUSE_ROOT_ID && ino >> 56 == OBJ_QUERY)
		query_node_forget(m->queries, node_serial(ino), n);
}

static void op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t n)
{
	forget(fuse_req_userdata(req), ino, n);
	fuse_reply_none(req);
}

static void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
	for (size_t i = 0; i < count; i++)
		forget(fuse_req_userdata(req), forgets[i].ino, forgets[i].nlookup);
	fuse_reply_none(req);
}

/* Left out: what the kernel does better by itself or remembers as not there after one ENOSYS. */
static const struct fuse_lowlevel_ops operations = {
	.init = op_init,
	.lookup = op_lookup,
	.forget = op_forget,
	.forget_multi = op_forget_multi,
	.getattr = op_getattr,
	.setattr = op_setattr,
	.readlink = op_readlink,
	.mknod = op_mknod,
	.create = op_create,
	.mkdir = op_mkdir,
	.unlink = op_unlink,
	.rmdir = op_rmdir,
	.symlink = op_symlink,
	.link = op_link,
	.rename = op_rename,
	.open = op_open,
	.read = op_read,
	.write = op_write,
	.flush = op_flush,
	.release = op_release,
	.poll = op_poll,
	.opendir = op_opendir,
	.readdir = op_readdir,
	.readdirplus = op_readdirplus,
	.statfs = op_statfs,
};

/* ---- the loop ---- */

static ssize_t io_read(int fd, void *buf, size_t n, void *arg)
{
	(void)arg;
	return read(fd, buf, n);
}

static ssize_t io_writev(int fd, struct iovec *iov, int count, void *arg)
{
	(void)arg;
	return writev(fd, iov, count);
}

static void connection_lost(struct mount *m)
{
	if (m->gone_told || m->stopped)
		return;
	m->gone_told = true;
	uv_poll_stop(&m->poll);
	fuse_session_exit(m->se); /* answers can no longer arrive; libfuse need not say so */
	if (m->args.gone)
		m->args.gone(m->args.arg);
}

static void on_requests(uv_poll_t *handle, int status, int events)
{
	struct mount *m = handle->data;

	(void)events;
	if (status < 0) { /* umount and abort come as UV_EBADF (fuse.md 5.7) */
		connection_lost(m);
		return;
	}
	for (int i = 0; i < REQUESTS_PER_TURN && !m->stopped && !m->gone_told; i++) {
		int n = fuse_session_receive_buf(m->se, &m->in);

		if (n == -EINTR)
			continue;
		if (n == -EAGAIN)
			return;
		if (n <= 0) {
			connection_lost(m);
			return;
		}
		counters_request(m);
		fuse_session_process_buf(m->se, &m->in);
	}
}

static void on_later(uv_idle_t *handle)
{
	struct mount *m = handle->data;

	uv_idle_stop(handle);
	waits_later(m);
	if (coherence_slice(m))
		mount_later(m);
}

void mount_later(struct mount *m)
{
	if (!m->stopped)
		uv_idle_start(&m->later, on_later);
}

static void on_change(struct door *d, const struct change *c)
{
	struct mount *m = container_of(d, struct mount, door);

	if (m->stopped)
		return;
	m->changes++;
	coherence_change(m, c); /* first: who is woken below must find the new values */
	waits_change(m, c);
}

/* ---- orders that are answered later ---- */

static void op_link_in(struct mount *m, struct op *op)
{
	op->next = m->ops;
	if (op->next)
		op->next->at = &op->next;
	op->at = &m->ops;
	m->ops = op;
}

static void op_free(struct op *op)
{
	*op->at = op->next;
	if (op->next)
		op->next->at = op->at;
	buf_free(&op->text);
	free(op);
}

struct op *op_new(const struct ctx *x, fuse_req_t req, const char *name,
		  void (*done)(struct op *op, int err))
{
	struct op *op = calloc(1, sizeof(*op));

	if (!op) {
		if (req)
			fuse_reply_err(req, ENOMEM);
		return NULL;
	}
	op->m = x->m;
	op->req = req;
	op->who = x->who;
	op->ino = node_of(x);
	op->done = done;
	COPY(op->name, name ? name : "");
	op_link_in(x->m, op);
	return op;
}

bool op_moves(const struct mount *m, uint64_t serial)
{
	for (const struct op *op = m->ops; op; op = op->next)
		if (op->serial == serial)
			return true;
	return false;
}

static void op_note(struct op *op, int err, const struct error *why)
{
	struct ctx x;

	ctx_init(op->m, NULL, &x);
	who_fill(op->m, op->who.uid, op->who.gid, op->who.pid, &x.who);
	node_resolve_open(op->ino, &x);
	order_note(&x, op->name[0] ? op->name : NULL, err, why);
}

void op_answer(void *arg, int err, const struct error *why)
{
	struct op *op = arg;

	CHECK(!op->answered);
	if (err)
		op_note(op, err, why);
	op->err = err;
	op->answered = true;
	if (op->calling)
		return; /* whoever gave the order goes on */
	if (!err && op->more && op->more(op))
		return;
	op->done(op, op->err);
	op_free(op);
}

void op_run(struct op *op)
{
	if (op->more(op))
		return;
	op->done(op, op->err);
	op_free(op);
}

static void ops_stop(struct mount *m)
{
	while (m->ops) {
		struct op *op = m->ops;

		engine_forget(m->e, op_answer, op); /* the order itself stands */
		if (op->req)
			fuse_reply_err(op->req, ECANCELED);
		op_free(op);
	}
}

/* ---- names that the kernel should forget ---- */

struct stale_name {
	uv_work_t work;
	struct mount *m;
	uint64_t parent;
	char name[256];
};

static void mount_destroy(struct mount *m)
{
	for (size_t i = 0; i < READERS_MAX; i++)
		free(m->errors[i].text);
	texts_forget(m);
	for (size_t i = 0; i < QUERY_NAMES_MAX; i++)
		free(m->query_names[i].name);
	if (m->se)
		fuse_session_destroy(m->se); /* closes the descriptor */
	free(m->in.mem);
	buf_free(&m->metrics);
	query_table_free(m->queries);
	offer_index_free(m->offers);
	coherence_free(m);
	free(m);
}

static void unref(struct mount *m)
{
	if (--m->refs == 0 && m->dead)
		mount_destroy(m);
}

static void stale_name_work(uv_work_t *work)
{
	struct stale_name *n = container_of(work, struct stale_name, work);

	fuse_lowlevel_notify_inval_entry(n->m->se, n->parent, n->name, strlen(n->name));
}

static void stale_name_done(uv_work_t *work, int status)
{
	struct stale_name *n = container_of(work, struct stale_name, work);

	(void)status;
	unref(n->m);
	free(n);
}

void mount_forget_name(struct mount *m, uint64_t parent, const char *name)
{
	struct stale_name *n = m->inited && !m->stopped ? calloc(1, sizeof(*n)) : NULL;

	if (!n)
		return; /* then it stays for an hour at most; its attributes say ENOENT */
	n->m = m;
	n->parent = parent;
	COPY(n->name, name);
	if (uv_queue_work(m->loop, &n->work, stale_name_work, stale_name_done) != 0)
		free(n);
	else
		m->refs++;
}

/* ---- life ---- */

static int session_make(struct mount *m, struct error *why)
{
	static const struct fuse_custom_io io = {.writev = io_writev, .read = io_read};
	char name[] = "gpufs";
	char *argv[] = {name, NULL};
	struct fuse_args args = FUSE_ARGS_INIT(1, argv);
	int fd = m->args.fuse_fd;

	if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		return fail(why, ERR_INVALID, "the descriptor %d of /dev/fuse is not open: %s", fd,
			    strerror(errno));
	m->se = fuse_session_new(&args, &operations, sizeof(operations), m);
	fuse_opt_free_args(&args);
	if (!m->se)
		return fail(why, ERR_NO_MEMORY, "libfuse cannot make a session");
	if (fuse_session_custom_io(m->se, &io, fd) != 0)
		return fail(why, ERR_INVALID, "libfuse does not take the descriptor %d", fd);
	return 0;
}

static int loop_join(struct mount *m, struct error *why)
{
	int err = uv_poll_init(m->loop, &m->poll, m->args.fuse_fd);

	if (err)
		return fail(why, ERR_INVALID, "cannot watch /dev/fuse: %s", uv_strerror(err));
	m->poll.data = m;
	m->refs++;
	uv_idle_init(m->loop, &m->later);
	m->later.data = m;
	m->refs++;
	uv_timer_init(m->loop, &m->linger);
	m->linger.data = m;
	m->refs++;
	err = uv_poll_start(&m->poll, UV_READABLE, on_requests);
	if (err)
		return fail(why, ERR_INVALID, "cannot watch /dev/fuse: %s", uv_strerror(err));
	return 0;
}

struct mount *mount_new(uv_loop_t *loop, struct engine *e, const struct mount_args *args,
			struct error *why)
{
	struct mount *m = xcalloc(1, sizeof(*m));

	m->args = *args;
	m->e = e;
	m->loop = loop;
	m->file_seq = 1;
	m->started_us = engine_now(e);
	m->market_ns = m->market_last_ns = m->started_us * NS_PER_US;
	m->queries = query_table_new();
	m->offers = offer_index_new();
	if (session_make(m, why) != 0) {
		close(args->fuse_fd);
		mount_destroy(m);
		return NULL;
	}
	if (loop_join(m, why) != 0) {
		mount_stop(m);
		mount_free(m);
		return NULL;
	}
	m->door.changed = on_change;
	engine_add_door(e, &m->door);
	counters_start(m);
	return m;
}

static void on_closed(uv_handle_t *handle)
{
	unref(handle->data);
}

void mount_stop(struct mount *m)
{
	if (m->stopped)
		return;
	m->stopped = true;
	waits_stop(m);
	ops_stop(m);
	if (m->poll.data) {
		uv_poll_stop(&m->poll);
		uv_close((uv_handle_t *)&m->poll, on_closed);
	}
	if (m->later.data) {
		uv_idle_stop(&m->later);
		uv_close((uv_handle_t *)&m->later, on_closed);
	}
	if (m->linger.data)
		uv_close((uv_handle_t *)&m->linger, on_closed); /* which stops it */
}

/* The engine's doors cannot be taken off: `stopped` keeps ours shut until the engine is freed,
 * so this comes after engine_stop. */
void mount_free(struct mount *m)
{
	if (!m)
		return;
	mount_stop(m);
	files_free(m);
	m->dead = true;
	if (m->refs == 0)
		mount_destroy(m);
}

/* ---- what the rows may ask ---- */

struct offer_index *mount_offers(struct mount *m)
{
	return m->offers;
}

struct query_table *mount_queries(struct mount *m)
{
	return m->queries;
}

const char *mount_last_error(const struct mount *m, int64_t uid)
{
	for (size_t i = 0; i < READERS_MAX; i++)
		if (m->errors[i].text && m->errors[i].uid == uid)
			return m->errors[i].text;
	return "";
}

/* The reader's own place, else a free one, else the oldest. */
static struct reader_error *error_place(struct mount *m, int64_t uid)
{
	struct reader_error *best = &m->errors[0];

	for (size_t i = 0; i < READERS_MAX; i++) {
		struct reader_error *r = &m->errors[i];

		if (r->text && r->uid == uid)
			return r;
		if (best->text && (!r->text || r->used_us < best->used_us))
			best = r;
	}
	return best;
}

void mount_set_error(struct mount *m, int64_t uid, const char *path, int eno, const char *text)
{
	struct reader_error *r = error_place(m, uid);
	int64_t now_us = engine_now(m->e);
	BUF line = {0};

	put_time(&line, now_us);
	buf_putc(&line, ' ');
	buf_escape(&line, path, strlen(path));
	buf_printf(&line, " %s: ", strerrorname_np(eno) ? strerrorname_np(eno) : "E?");
	buf_escape(&line, text, strlen(text));
	buf_putc(&line, '\n');
	char *taken = buf_take(&line);

	if (!taken)
		return;
	free(r->text);
	r->text = taken;
	r->uid = uid;
	r->used_us = now_us;
}
