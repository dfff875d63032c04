/*
 * Open files: open, read, write, flush, release of everything that is not a spec, a wait or a
 * stream.
 * Owner: the loop thread.
 *
 * Invariants: a plain row has no state per open (fh 0): the kernel caches its pages for all
 * readers, so every READ gives the value of now, never an older snapshot that would stay in the
 * cache. Every other row is rendered once per open (tree, rule 10). Orders are given in the name of
 * whoever opened the file, as everywhere in Unix: a descriptor that was passed on gives no rights
 * and takes none.
 * Tests: tests/mount/.
 */
#include <fcntl.h>
#include <string.h>

#include "internal.h"

#define SLOT_BITS 20

/* ---- the table of open files ---- */

struct file *file_find(struct mount *m, uint64_t fh)
{
	uint64_t slot = fh & (((uint64_t)1 << SLOT_BITS) - 1);

	if (fh == 0 || slot >= m->file_room || !m->files[slot] || m->files[slot]->fh != fh)
		return NULL;
	return m->files[slot];
}

bool file_writes(const struct file *f)
{
	return (f->flags & O_ACCMODE) != O_RDONLY;
}

void file_who(const struct file *f, struct caller *who)
{
	who_fill(f->m, f->uid, f->gid, f->pid, who);
}

int file_ctx(const struct file *f, struct ctx *x)
{
	ctx_init(f->m, NULL, x);
	file_who(f, &x->who);
	return node_resolve_open(f->ino, x);
}

const struct buf *file_text(const struct file *f)
{
	return f->shared ? &f->shared->text : &f->text;
}

void file_charge(struct file *f)
{
	f->m->snapshot_bytes += f->text.cap - f->charged;
	f->charged = f->text.cap;
}

static bool files_grow(struct mount *m)
{
	size_t room = m->file_room ? m->file_room * 2 : 64;
	struct file **files;

	if (room > FILES_MAX)
		return false;
	files = reallocarray(m->files, room, sizeof(*files));
	if (!files)
		return false;
	memset(files + m->file_room, 0, (room - m->file_room) * sizeof(struct file *));
	m->file_free = m->file_room;
	m->files = files;
	m->file_room = room;
	return true;
}

/* So that one user cannot take all of the table; counted only when it could matter. */
static bool user_may_open(const struct mount *m, int64_t uid)
{
	size_t n = 0;

	if (uid == 0 || m->file_count < FILES_PER_USER)
		return true;
	for (size_t i = 0; i < m->file_room; i++)
		n += m->files[i] && m->files[i]->uid == uid;
	return n < FILES_PER_USER;
}

static size_t free_slot(const struct mount *m)
{
	for (size_t n = 0; n < m->file_room; n++) {
		size_t i = (m->file_free + n) % m->file_room;

		if (!m->files[i])
			return i;
	}
	return m->file_room;
}

static int file_new(const struct ctx *x, int flags, struct file **out, struct error *why)
{
	struct mount *m = x->m;
	struct file *f;
	size_t slot;

	if (!user_may_open(m, x->who.uid)) {
		COPY(why->text, "too many files of yours are open here; close some of them");
		return -EMFILE;
	}
	if (m->file_count == m->file_room && !files_grow(m)) {
		COPY(why->text, "too many files are open here");
		return -ENFILE;
	}
	f = calloc(1, sizeof(*f));
	if (!f)
		return -ENOMEM;
	slot = free_slot(m);
	f->fh = m->file_seq++ << SLOT_BITS | slot;
	f->m = m;
	f->ino = node_of(x);
	f->row = x->row;
	f->class = x->class;
	f->serial = x->serial;
	f->flags = flags;
	f->uid = x->who.uid;
	f->gid = x->who.gid;
	f->pid = x->who.pid;
	m->files[slot] = f;
	m->file_free = slot + 1;
	m->file_count++;
	*out = f;
	return 0;
}

static bool held_by_others(const struct file *f)
{
	for (size_t i = 0; i < f->m->file_room; i++) {
		const struct file *o = f->m->files[i];

		if (o && o != f && o->holds && o->serial == f->serial)
			return true;
	}
	return false;
}

static void hold_begin(struct file *f, const struct ctx *x)
{
	f->holds = true;
	if (!held_by_others(f))
		engine_hold(x->e, x->session, true);
}

static void hold_end(struct file *f)
{
	struct ctx x;

	/* A stop of the daemon never releases a hold (tree, `hold`). */
	if (!f->holds || f->m->stopped || held_by_others(f))
		return;
	f->holds = false;
	if (file_ctx(f, &x) == 0)
		engine_hold(x.e, x.session, false);
}

static void file_free(struct file *f)
{
	struct mount *m = f->m;
	size_t slot = f->fh & (((size_t)1 << SLOT_BITS) - 1);

	wait_release(f);
	hold_end(f);
	m->snapshot_bytes -= f->charged;
	if (f->text.data && (f->row->flags & (ROW_SECRET | ROW_SPEC)))
		explicit_bzero(f->text.data, f->text.cap);
	buf_free(&f->text);
	mount_text_unref(m, f->shared);
	m->files[slot] = NULL;
	m->file_count--;
	m->file_free = slot;
	free(f);
}

void files_free(struct mount *m)
{
	for (size_t i = 0; i < m->file_room; i++)
		if (m->files[i])
			file_free(m->files[i]);
	free(m->files);
	m->files = NULL;
	m->file_room = 0;
}

/* ---- open ---- */

static int open_check(const struct ctx *x, int flags, struct error *why)
{
	bool reads = (flags & O_ACCMODE) != O_WRONLY;
	bool writes = (flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC);

	if (node_is_dir(x))
		return fail(why, ERR_NOT_YOURS, "this is a directory");
	/* The kernel has checked the mode bits, except for root, which it lets through
	 * everywhere. */
	if (writes && !(x->row->mode & 0222))
		return fail(why, ERR_NOT_YOURS, "%s is read-only", x->row->path);
	if (reads && !(x->row->mode & 0444))
		return fail(why, ERR_NOT_YOURS,
			    "%s takes orders and cannot be read, by root neither", x->row->path);
	if ((x->row->flags & ROW_ROOT_ONLY) && x->who.uid != 0 && x->who.uid != x->args->owner_uid)
		return fail(why, ERR_NOT_YOURS, "%s is for root only", x->row->path);
	return 0;
}

static int snapshot(struct file *f, const struct ctx *x, struct error *why)
{
	int err = 0;

	buf_reset(&f->text);
	if (x->row->share) {
		mount_text_unref(f->m, f->shared);
		f->shared = x->row->share(x);
		err = f->shared ? 0 : -ENOMEM;
	} else {
		err = tree_show(x, &f->text);
	}
	if (!err && f->text.failed)
		err = -ENOMEM;
	file_charge(f);
	if (!err && f->uid != 0 && f->m->snapshot_bytes > SNAPSHOT_BYTES_MAX)
		return fail(why, ERR_NO_MEMORY,
			    "too much text is held by open files; close some of them");
	f->rendered = !err;
	return err;
}

/* Its pages are the kernel's, for all readers; nothing is kept here, except that somebody reads. */
static void open_plain(fuse_req_t req, const struct ctx *x, struct fuse_file_info *fi)
{
	struct mount *m = x->m;
	uint64_t serial = x->serial;
	bool offer = x->class == OBJ_OFFER;

	if (offer) {
		market_tell_now(m, node_of(x));
		offer_opened(m, serial);
	}
	fi->keep_cache = fi->noflush = 1;
	/* If the open was interrupted no RELEASE will come. */
	if (fuse_reply_open(req, fi) < 0 && offer)
		offer_closed(m, serial);
}

static int open_fill(struct file *f, const struct ctx *x, struct error *why)
{
	if (x->row->flags & ROW_HOLD && file_writes(f))
		hold_begin(f, x);
	if (x->row->cache == C_WAIT || x->row->cache == C_STREAM ||
	    (x->row->flags & ROW_STATE_POLL))
		wait_open(f, x);
	if (x->row->cache == C_WAIT || x->row->cache == C_STREAM)
		return 0;
	if ((x->row->flags & ROW_SPEC) && file_writes(f)) {
		spec_open(f, x);
		return 0;
	}
	return (f->flags & O_ACCMODE) == O_WRONLY ? 0 : snapshot(f, x, why);
}

void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct mount *m = fuse_req_userdata(req);
	bool writes = (fi->flags & O_ACCMODE) != O_RDONLY;
	struct error why = {0};
	struct file *f = NULL;
	struct ctx x;
	int err;

	ctx_init(m, req, &x);
	err = node_resolve(ino, &x);
	if (err) {
		fuse_reply_err(req, -err);
		return;
	}
	err = open_check(&x, fi->flags, &why);
	fi->fh = 0;
	if (!err && node_caching(&x) == C_PLAIN && !writes && !(fi->flags & O_TRUNC)) {
		open_plain(req, &x, fi);
		return;
	}
	if (!err)
		err = file_new(&x, fi->flags, &f, &why);
	if (!err)
		err = open_fill(f, &x, &why);
	if (err) {
		if (f)
			file_free(f);
		refuse(req, &x, NULL, err, &why);
		return;
	}
	fi->fh = f->fh;
	fi->direct_io = 1;
	fi->noflush = !writes;
	fi->nonseekable = x.row->cache == C_STREAM;
	if (fuse_reply_open(req, fi) < 0)
		file_free(f); /* the open was interrupted: no RELEASE will come */
}

/* ---- read ---- */

void reply_slice(fuse_req_t req, const struct buf *text, size_t size, off_t off)
{
	size_t from = off < 0 || (uint64_t)off > text->len ? text->len : (size_t)off;
	size_t n = text->len - from;

	fuse_reply_buf(req, text->data ? text->data + from : NULL, n < size ? n : size);
}

/* No state of this open: the content of now. Also of a derived row after a restart of the
 * daemon. */
static void read_now(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off)
{
	BUF text = {0};
	struct ctx x;
	int err;

	ctx_init(fuse_req_userdata(req), req, &x);
	err = node_resolve_open(ino, &x);
	if (!err && (node_is_dir(&x) || node_is_link(&x)))
		err = -EINVAL;
	if (!err && (x.row->cache == C_WAIT || x.row->cache == C_STREAM))
		err = -ESTALE;
	if (!err && x.class == OBJ_OFFER)
		market_tell_now(x.m, ino);
	if (!err)
		err = tree_show(&x, &text);
	if (!err && text.failed)
		err = -ENOMEM;
	if (err)
		fuse_reply_err(req, -err);
	else
		reply_slice(req, &text, size, off);
	if (!err && (x.row->flags & ROW_SECRET) && text.data)
		explicit_bzero(text.data, text.cap);
}

void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	struct mount *m = fuse_req_userdata(req);
	struct file *f = file_find(m, fi->fh);
	struct error why = {0};
	struct ctx x;

	if (!f) {
		read_now(req, ino, size, off);
		return;
	}
	f->flags = fi->flags; /* O_NONBLOCK may have been set since (fcntl) */
	if (f->row->cache == C_WAIT) {
		wait_read(req, f, size, off);
		return;
	}
	if (f->row->cache == C_STREAM) {
		stream_read(req, f, size);
		return;
	}
	/* As in sysfs: from the beginning again means the state of now, and poll counts from
	 * there. */
	if ((f->row->flags & ROW_STATE_POLL) && off == 0 && file_ctx(f, &x) == 0) {
		state_read(f, &x);
		snapshot(f, &x, &why);
	}
	reply_slice(req, file_text(f), size, off);
}

/* ---- write ---- */

static int text_check(const char *p, size_t n, struct error *why)
{
	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)p[i];

		if ((c < ' ' && c != '\n' && c != '\t') || c == 127)
			return fail(why, ERR_INVALID,
				    "byte %zu is not text (0x%02x); nothing was done", i + 1, c);
	}
	if (!utf8_valid(p, n))
		return fail(why, ERR_INVALID, "this is not valid UTF-8; nothing was done");
	return 0;
}

static void write_done(struct op *op, int err)
{
	if (err)
		fuse_reply_err(op->req, -err);
	else
		fuse_reply_write(op->req, op->n);
}

static struct op *write_op(fuse_req_t req, const struct ctx *x, const char *data, size_t n)
{
	struct op *op = op_new(x, req, NULL, write_done);

	if (!op)
		return NULL;
	op->n = n;
	buf_add(&op->text, data, n);
	return op;
}

static bool line_next(struct op *op, struct str *line)
{
	while (op->at_byte < op->text.len) {
		const char *p = op->text.data + op->at_byte;
		size_t left = op->text.len - op->at_byte;
		const char *end = memchr(p, '\n', left);

		line->p = p;
		line->n = end ? (size_t)(end - p) : left;
		op->at_byte += line->n + (end ? 1 : 0);
		if (line->n > strspn(p, " \t")) /* p is NUL-terminated; blank lines say nothing */
			return true;
	}
	return false;
}

/* In order, up to the first refusal; what was ordered before it stands. */
static bool lines_more(struct op *op)
{
	struct str line;
	struct ctx x;

	while (line_next(op, &line)) {
		ctx_init(op->m, NULL, &x);
		who_fill(op->m, op->who.uid, op->who.gid, op->who.pid, &x.who);
		op->err = node_resolve(op->ino, &x);
		if (op->err)
			return false; /* an earlier line ended what the later ones are about */
		op->answered = false;
		op->calling = true;
		x.row->store(&x, line, op_answer, op);
		op->calling = false;
		if (!op->answered)
			return true;
		if (op->err)
			return false;
	}
	return false;
}

static int lines_check(const char *data, size_t n, struct error *why)
{
	int err = text_check(data, n, why);
	size_t line = 0;

	for (size_t i = 0; !err && i < n; i++) {
		line = data[i] == '\n' ? 0 : line + 1;
		if (line > LINE_LEN_MAX)
			err = fail(why, ERR_INVALID, "a line is longer than %d bytes",
				   LINE_LEN_MAX);
	}
	return err;
}

static int value_check(const struct file *f, const char *data, size_t n, off_t off,
		       struct error *why)
{
	int err = text_check(data, n, why);

	if (err)
		return err;
	if (off != 0 && !(f->flags & O_APPEND))
		return fail(why, ERR_INVALID,
			    "%s takes one value, written at once from the beginning", f->row->path);
	if (n > LINE_LEN_MAX)
		return fail(why, ERR_INVALID, "%s takes one value of at most %d bytes",
			    f->row->path, LINE_LEN_MAX);
	if (n > 1 && memchr(data, '\n', n - 1))
		return fail(why, ERR_INVALID, "%s takes one value on one line", f->row->path);
	return 0;
}

static void write_row(fuse_req_t req, struct file *f, const struct ctx *x, const char *data,
		      size_t n, off_t off)
{
	bool lines = (f->row->flags & ROW_LINES) != 0;
	struct error why = {0};
	struct op *op;
	int err;

	err = lines ? lines_check(data, n, &why) : value_check(f, data, n, off, &why);
	if (err) {
		refuse_order(req, x, NULL, err, &why);
		return;
	}
	if (!f->row->store) { /* hold: that it is open counts, not what is written */
		fuse_reply_write(req, n);
		return;
	}
	op = write_op(req, x, data, n);
	if (!op)
		return;
	if (op->text.failed) {
		op_answer(op, -ENOMEM, NULL);
		return;
	}
	if (lines) {
		op->more = lines_more;
		op_run(op);
		return;
	}
	struct str text = {op->text.data, n && data[n - 1] == '\n' ? n - 1 : n};

	f->row->store(x, text, op_answer, op);
}

void op_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t n, off_t off,
	      struct fuse_file_info *fi)
{
	struct mount *m = fuse_req_userdata(req);
	struct file *f = file_find(m, fi->fh);
	struct error why = {0};
	struct ctx x;
	int err;

	(void)ino;
	if (!f || !file_writes(f)) {
		fuse_reply_err(req, f ? EBADF : ESTALE);
		return;
	}
	err = file_ctx(f, &x);
	x.who.pid = fuse_req_ctx(req)->pid;
	if (err || (x.class == OBJ_SESSION && session_in_history(x.session))) {
		err = fail(&why, ERR_NOT_FOUND, "the session was removed; nothing was done");
		x.session = NULL;
		refuse(req, &x, NULL, err, &why);
		return;
	}
	if (f->row->flags & ROW_SPEC)
		spec_write(req, f, data, n, off);
	else
		write_row(req, f, &x, data, n, off);
}

/* ---- close ---- */

void op_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct file *f = file_find(fuse_req_userdata(req), fi->fh);

	(void)ino;
	if (f && (f->row->flags & ROW_SPEC) && file_writes(f))
		spec_flush(req, f);
	else
		fuse_reply_err(req, 0);
}

void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct mount *m = fuse_req_userdata(req);
	struct file *f = file_find(m, fi->fh);

	if (fi->fh == 0 && ino >> 56 == OBJ_OFFER)
		offer_closed(m, node_serial(ino));
	if (f && (f->row->flags & ROW_SPEC) && file_writes(f))
		spec_release(f);
	if (f)
		file_free(f);
	fuse_reply_err(req, 0);
}
