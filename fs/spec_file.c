/*
 * Writing a spec: the purchase. Owner: the loop thread.
 *
 * Why it is not a plain store: shells flush a descriptor before its first byte and once for every
 * child, bash writes a text line by line, and no shell sees an error of close (fuse.md 5.4,
 * measured). So every write is checked with all that was written before it, and refused at once;
 * what is complete is bought when its opener closes it: a FLUSH by the opening thread that follows
 * a write, else RELEASE.
 *
 * Invariants: each descriptor has a buffer of its own; the last accepted write wins whole. A
 * refused write leaves the buffer as it was and spoils the descriptor: nothing is bought through it
 * any more. A close of a draft that is gone, or that was bought meanwhile, does nothing.
 * Tests: tests/mount/.
 */
#include <fcntl.h>
#include <string.h>

#include "internal.h"

void spec_open(struct file *f, const struct ctx *x)
{
	f->rendered = true; /* what is read through this descriptor is its own buffer */
	f->fresh = (f->flags & O_TRUNC) != 0;
	if (!f->fresh && x->session->spec)
		buf_puts(&f->text, x->session->spec);
	file_charge(f);
}

/* The file's session if it is still a draft, else NULL. */
static const struct session *draft_of(const struct file *f, struct ctx *x)
{
	if (file_ctx(f, x) != 0 || session_in_history(x->session))
		return NULL;
	return x->session->state == S_DRAFT ? x->session : NULL;
}

/* The whole text as it would be after this write. */
static int candidate(const struct file *f, const char *data, size_t n, off_t off, struct buf *out,
		     struct error *why)
{
	size_t len = f->text.len, at = f->flags & O_APPEND ? len : (size_t)off;
	size_t end;

	if (off < 0 || at > len)
		return fail(why, ERR_INVALID,
			    "this write leaves a gap: the text so far has %zu bytes", len);
	if (n > SPEC_MAX || at > SPEC_MAX - n)
		return fail(why, ERR_TOO_BIG, "a spec has at most %zu bytes", SPEC_MAX);
	end = at + n;
	if (at)
		buf_add(out, f->text.data, at);
	buf_add(out, data, n);
	if (end < len)
		buf_add(out, f->text.data + end, len - end);
	return out->failed ? fail(why, ERR_NO_MEMORY, "out of memory") : 0;
}

static void commit_done(struct op *op, int err)
{
	struct file *f = file_find(op->m, op->fh);

	if (err && f)
		f->spoilt = true;
	if (err)
		fuse_reply_err(op->req, -err);
	else
		fuse_reply_write(op->req, op->n);
}

/* Accepted: it is the draft's spec from now on; with `commit` in it the purchase is made at
 * once. */
static void accept_text(fuse_req_t req, struct file *f, const struct ctx *x, struct buf *text,
			size_t n, bool commit)
{
	struct op *op;

	buf_free(&f->text);
	f->text = *text;
	memset(text, 0, sizeof(*text));
	file_charge(f);
	f->fresh = false;
	if (!commit) {
		fuse_reply_write(req, n);
		return;
	}
	op = op_new(x, req, NULL, commit_done);
	if (!op)
		return;
	op->n = n;
	op->fh = f->fh;
	engine_commit(x->e, &op->who, x->session, op_answer, op);
}

void spec_write(fuse_req_t req, struct file *f, const char *data, size_t n, off_t off)
{
	bool commit = false, draft;
	enum spec_end end = SPEC_FINISHED;
	struct error why = {0};
	BUF text = {0};
	struct ctx x;
	int err;

	f->written = f->dirty = true;
	if (f->spoilt) { /* without a new sentence: the first refusal is the one to read */
		fuse_reply_err(req, EINVAL);
		return;
	}
	err = file_ctx(f, &x);
	if (err) {
		fuse_reply_err(req, -err);
		return;
	}
	draft = x.session->state == S_DRAFT;
	err = candidate(f, data, n, off, &text, &why);
	if (!err && draft)
		err = engine_spec_set(x.e, &x.who, x.session, text.data ? text.data : "", text.len,
				      &end, &commit, &why);
	else if (!err) /* bought: the same text again is fine, another one is EBUSY */
		err = engine_spec_check(x.e, &x.who, x.session, text.data ? text.data : "",
					text.len, &end, &commit, &why);
	if (err) {
		f->spoilt = draft;
		refuse_order(req, &x, NULL, err, &why);
		return;
	}
	f->unfinished = end == SPEC_UNFINISHED;
	accept_text(req, f, &x, &text, n, commit && draft);
}

int spec_truncate(struct file *f, off_t size, struct error *why)
{
	enum spec_end end;
	bool commit;
	struct ctx x;

	if (size >= 0 && (size_t)size == f->text.len)
		return 0;
	if (size != 0)
		return fail(why, ERR_INVALID, "a spec can be truncated to nothing only");
	if (!file_writes(f))
		return fail(why, ERR_INVALID, "this descriptor is not open for writing");
	buf_reset(&f->text);
	f->fresh = true;
	f->unfinished = false;
	if (!f->written || f->spoilt || !draft_of(f, &x))
		return 0;
	return engine_spec_set(x.e, &x.who, x.session, "", 0, &end, &commit, why);
}

static void close_done(struct op *op, int err)
{
	if (op->req)
		fuse_reply_err(op->req, -err);
}

/* The close that counts. req NULL: RELEASE, whose answer nobody sees. */
static void spec_close(struct file *f, fuse_req_t req)
{
	struct ctx x;
	struct op *op;

	f->dirty = false;
	if (!draft_of(f, &x)) {
		if (req)
			fuse_reply_err(req, 0);
		return;
	}
	op = op_new(&x, req, NULL, close_done);
	if (op)
		engine_spec_close(x.e, &op->who, x.session, f->spoilt, f->unfinished, op_answer,
				  op);
}

void spec_flush(fuse_req_t req, struct file *f)
{
	pid_t pid = fuse_req_ctx(req)->pid;

	/* The pid is a thread's, and 0 for everyone in another pid namespace: then RELEASE
	 * counts. */
	if (f->dirty && pid != 0 && pid == f->pid)
		spec_close(f, req);
	else
		fuse_reply_err(req, 0);
}

void spec_release(struct file *f)
{
	enum spec_end end;
	struct error why;
	bool commit;
	struct ctx x;

	if (f->m->stopped)
		return;
	if (f->dirty)
		spec_close(f, NULL);
	else if (f->fresh && !f->written && draft_of(f, &x)) /* `: > spec` */
		engine_spec_set(x.e, &x.who, x.session, "", 0, &end, &commit, &why);
}
