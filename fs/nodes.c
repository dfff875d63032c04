/*
 * Nodes: from an id to what it is about, and its attributes. An id is computed from class, serial
 * and row, so nothing is allocated for a lookup and FORGET has nothing to free (fuse.md 5.3); only
 * queries are counted. Owner: the loop thread.
 *
 * Invariants: st_size is exact, since tools and mmap believe it (tree, rule 10): so the attributes
 * of a file are known by rendering it. An id whose object is gone is -ENOENT, never a stale answer.
 * A row of the reader has a node per uid, because the page cache is shared by all users.
 * Tests: tests/mount/.
 */
#include <string.h>

#include "internal.h"

#define SERIAL_MASK (((uint64_t)1 << 48) - 1)
#define BLOCK_SIZE  4096

/* ---- who and what ---- */

void who_fill(const struct mount *m, int64_t uid, int64_t gid, int64_t pid, struct caller *who)
{
	const char *name = m->args.user_name ? m->args.user_name(m->args.arg, uid) : NULL;

	who->uid = uid;
	who->gid = gid;
	who->pid = pid;
	who->name = name ? name : "";
	who->admin = uid == 0 || (m->args.is_admin && m->args.is_admin(m->args.arg, uid, gid));
}

void ctx_init(struct mount *m, fuse_req_t req, struct ctx *x)
{
	const struct fuse_ctx *c = req ? fuse_req_ctx(req) : NULL;

	memset(x, 0, sizeof(*x));
	x->m = m;
	x->e = m->e;
	x->args = &m->args;
	x->provider = UNKNOWN;
	x->now_us = engine_now(m->e);
	if (c)
		who_fill(m, c->uid, c->gid, c->pid, &x->who);
	else
		who_fill(m, m->args.owner_uid, m->args.owner_gid, 0, &x->who);
}

const struct row *class_rows(enum object class)
{
	return object_classes[class == OBJ_READER ? OBJ_ROOT : class].rows;
}

/* Counted once: every request asks. */
static unsigned row_count(enum object class)
{
	static unsigned counts[OBJ_COUNT]; /* plus one; 0: not counted yet */
	const struct row *rows = class_rows(class);

	if (counts[class])
		return counts[class] - 1;
	counts[class] = 1;
	while (rows && rows[counts[class] - 1].path)
		counts[class]++;
	return counts[class] - 1;
}

uint64_t node_id(enum object class, uint64_t serial, unsigned field)
{
	if (class == OBJ_ROOT && field == 0)
		return FUSE_ROOT_ID;
	return (uint64_t) class << 56 | (serial & SERIAL_MASK) << 8 | (field & 255);
}

uint64_t node_of(const struct ctx *x)
{
	const struct row *rows = class_rows(x->class);

	/* The row of a link is not among the rows: the link is the object itself. */
	if (!x->row || object_classes[x->class].link)
		return node_id(x->class, x->serial, 0);
	return node_id(x->class, x->serial, (unsigned)(x->row - rows) + 1);
}

uint64_t node_serial(uint64_t ino)
{
	return ino >> 8 & SERIAL_MASK;
}

static void split(uint64_t ino, struct ctx *x, unsigned *field)
{
	x->class = ino == FUSE_ROOT_ID ? OBJ_ROOT : (enum object)(ino >> 56);
	x->serial = ino == FUSE_ROOT_ID ? 0 : node_serial(ino);
	*field = ino == FUSE_ROOT_ID ? 0 : (unsigned)(ino & 255);
}

/* The reader of a node of OBJ_READER is in its id, whoever asks. */
static void set_reader(struct ctx *x)
{
	if (x->class != OBJ_READER || x->who.uid == (int64_t)x->serial)
		return;
	who_fill(x->m, (int64_t)x->serial, UNKNOWN, 0, &x->who);
}

static int resolve(uint64_t ino, struct ctx *x, bool open)
{
	const struct object_class *c;
	unsigned field;

	split(ino, x, &field);
	if (x->class <= OBJ_NONE || x->class >= OBJ_COUNT) {
		x->class = OBJ_NONE;
		return -ENOENT;
	}
	if (field > row_count(x->class))
		return -ENOENT;
	c = &object_classes[x->class];
	x->row = field ? &class_rows(x->class)[field - 1] : c->link;
	set_reader(x);
	if (!c->resolve || c->resolve(x))
		return 0;
	if (open && x->class == OBJ_SESSION) {
		x->session = engine_by_serial(x->e, (int64_t)x->serial);
		return x->session ? 0 : -ENOENT;
	}
	if (open && x->class == OBJ_OFFER) {
		x->offer = gone_offer_find(x->m, x->serial);
		return x->offer ? 0 : -ENOENT;
	}
	/* A query that the full table dropped: ESTALE makes the kernel look its path up again. */
	return x->class == OBJ_QUERY ? -ESTALE : -ENOENT;
}

int node_resolve(uint64_t ino, struct ctx *x)
{
	return resolve(ino, x, false);
}

int node_resolve_open(uint64_t ino, struct ctx *x)
{
	return resolve(ino, x, true);
}

void ctx_set_row(struct ctx *x, unsigned i)
{
	x->row = &class_rows(x->class)[i];
	if (x->class != OBJ_ROOT && x->class != OBJ_READER)
		return;
	x->class = x->row->cache == C_READER ? OBJ_READER : OBJ_ROOT;
	x->serial = x->class == OBJ_READER ? (uint64_t)x->who.uid : 0;
}

bool ctx_set_object(struct ctx *x, enum object class, uint64_t serial)
{
	return node_resolve(node_id(class, serial, 0), x) == 0;
}

/* ---- directories ---- */

bool node_is_link(const struct ctx *x)
{
	return x->row && x->row->type == V_LINK && !(x->row->flags & ROW_DIR);
}

bool node_is_dir(const struct ctx *x)
{
	return !x->row || (x->row->flags & ROW_DIR);
}

mode_t node_type(const struct ctx *x)
{
	return node_is_link(x) ? S_IFLNK : node_is_dir(x) ? S_IFDIR : S_IFREG;
}

void dir_children(const struct ctx *x, enum object *listed, enum object *by_lookup)
{
	const struct object_class *c = &object_classes[x->class];

	*listed = x->row ? x->row->children : c->listed;
	*by_lookup = x->row ? OBJ_NONE : c->by_lookup;
}

const char *dir_row_name(const struct ctx *x, unsigned i)
{
	const char *path = class_rows(x->class)[i].path;
	const char *dir = x->row ? x->row->path : "";
	size_t n = strlen(dir);

	if (n) {
		if (strncmp(path, dir, n) != 0 || path[n] != '/')
			return NULL;
		path += n + 1;
	}
	return strchr(path, '/') ? NULL : path;
}

uint64_t root_dir_of(enum object class)
{
	const struct row *rows = class_rows(OBJ_ROOT);

	for (unsigned i = 0; rows[i].path; i++)
		if ((rows[i].flags & ROW_DIR) && rows[i].children == class)
			return node_id(OBJ_ROOT, 0, i + 1);
	return FUSE_ROOT_ID;
}

void node_path(const struct ctx *x, const char *name, struct buf *out)
{
	const char *mount = engine_policy(x->e)->public_mount;
	struct provider_view v;

	buf_puts(out, mount[0] ? mount : "/gpu");
	switch (x->class) {
	case OBJ_OFFER:
		buf_printf(out, "/inventory/%s", x->offer ? x->offer->id : "");
		break;
	case OBJ_SESSION:
		buf_printf(out, "/sessions/%s", x->session ? x->session->name : "");
		break;
	case OBJ_HISTORY:
		buf_printf(out, "/history/%s", x->session ? x->session->id : "");
		break;
	case OBJ_LAST:
		buf_printf(out, "/history/last/%s", x->session ? x->session->name : "");
		break;
	case OBJ_PORT:
		buf_printf(out, "/sessions/%s/ports/%d", x->session ? x->session->name : "",
			   (int)(x->serial & UINT16_MAX));
		break;
	case OBJ_PROVIDER:
		if (x->provider >= 0 && engine_provider_view(x->e, (size_t)x->provider, &v))
			buf_printf(out, "/providers/%s", v.name);
		break;
	case OBJ_QUERY:
	case OBJ_RESULT:
		buf_puts(out, "/search/...");
		break;
	case OBJ_ROOT:
	case OBJ_READER:
	case OBJ_NONE:
	case OBJ_COUNT:
		break;
	}
	if (x->row && !object_classes[x->class].link)
		buf_printf(out, "/%s", x->row->path);
	if (name)
		buf_printf(out, "/%s", name);
}

/* ---- refusals ---- */

/* A refusal without a sentence gets the meaning of its errno. */
static const struct error *sentence(int err, const struct error *why, struct error *plain)
{
	if (why && why->text[0])
		return why;
	memset(plain, 0, sizeof(*plain));
	if (err == -ENOENT) /* the table's first ENOENT is about offers */
		plain->code = ERR_NOT_FOUND;
	for (int c = 1; c < ERR_COUNT && !plain->code; c++)
		if (err_errno((enum err)c) == -err)
			plain->code = (enum err)c;
	COPY(plain->text, plain->code ? err_text(plain->code) : strerror(-err));
	return plain;
}

void refusal_note(const struct ctx *x, const char *name, int err, const struct error *why)
{
	struct error plain;
	BUF path = {0};

	node_path(x, name, &path);
	mount_set_error(x->m, x->who.uid, path.data ? path.data : "", -err,
			sentence(err, why, &plain)->text);
}

void refuse(fuse_req_t req, const struct ctx *x, const char *name, int err, const struct error *why)
{
	refusal_note(x, name, err, why);
	fuse_reply_err(req, -err);
}

void order_note(const struct ctx *x, const char *name, int err, const struct error *why)
{
	struct error plain;

	refusal_note(x, name, err, why);
	if (x->session && x->class == OBJ_SESSION)
		engine_note_error(x->e, x->session, sentence(err, why, &plain));
}

void refuse_order(fuse_req_t req, const struct ctx *x, const char *name, int err,
		  const struct error *why)
{
	order_note(x, name, err, why);
	fuse_reply_err(req, -err);
}

/* ---- attributes ---- */

/* sessions/: who may make directories in it is a setting; sticky, so that only owners remove
 * theirs. */
static void sessions_dir(const struct ctx *x, struct stat *st)
{
	const struct policy *p = engine_policy(x->e);

	switch (p->access) {
	case ACCESS_ALL:
		st->st_mode = S_IFDIR | 01777;
		break;
	case ACCESS_GROUP:
		st->st_mode = S_IFDIR | 03775;
		if (p->access_gid >= 0)
			st->st_gid = (gid_t)p->access_gid;
		break;
	case ACCESS_AUTO:
	case ACCESS_OWNER:
		st->st_mode = S_IFDIR | 01755;
		if (p->access_uid >= 0)
			st->st_uid = (uid_t)p->access_uid;
		if (p->access_gid >= 0)
			st->st_gid = (gid_t)p->access_gid;
		break;
	}
}

static void row_rights(const struct ctx *x, mode_t dir_mode, struct stat *st)
{
	mode_t mode = x->row->mode & 07777;
	int64_t admin_gid = engine_policy(x->e)->admin_gid;

	if (x->class == OBJ_ROOT && x->row->children == OBJ_SESSION) {
		sessions_dir(x, st);
		return;
	}
	if ((x->row->flags & ROW_ADMIN) && admin_gid >= 0)
		st->st_gid = (gid_t)admin_gid;
	else if (x->row->flags & ROW_ADMIN)
		mode &= ~(mode_t)0020;
	/* chmod g+w on the session's directory lets the group act, not only look (tree, rule
	 * 12). */
	if (x->class == OBJ_SESSION && (dir_mode & 0020) && (mode & 0200))
		mode |= 0020 | (mode & 0400) >> 3;
	st->st_mode = node_type(x) | (node_is_link(x) ? 0777 : mode);
}

static bool row_readable(const struct row *row)
{
	return (row->mode & 0444) != 0;
}

enum caching node_caching(const struct ctx *x)
{
	/* Nothing tells us which queries a new market changes, so theirs are never left to the
	 * kernel. */
	if (x->class == OBJ_QUERY && x->row->cache == C_PLAIN)
		return C_DERIVED;
	return x->row->flags & ROW_SPEC ? C_DERIVED : x->row->cache;
}

static void node_timeouts(const struct ctx *x, struct node_attr *a)
{
	a->entry_s = a->attr_s = TIMEOUT_LONG_S;
	if (x->class == OBJ_READER || x->class == OBJ_RESULT || x->class == OBJ_LAST) {
		a->entry_s = a->attr_s = 0;
	} else if (node_is_dir(x)) {
		if (x->class == OBJ_QUERY)
			a->attr_s = TIMEOUT_QUERY_DIR_S;
	} else {
		switch (node_caching(x)) {
		case C_PLAIN:
			break;
		case C_READER:
			a->entry_s = a->attr_s = 0;
			break;
		case C_DERIVED:
		case C_WAIT:
		case C_STREAM:
			a->attr_s = 0;
			break;
		}
	}
}

/* The content, for its hash, and its size; of a shared text the size only. A link that leads nowhere is
 * not there. */
static int node_text(const struct ctx *x, struct buf *text, size_t *size)
{
	int err;

	*size = 0;
	if (x->row && x->row->share) {
		struct shared_text *shared = x->row->share(x);

		*size = shared ? shared->text.len : 0;
		mount_text_unref(x->m, shared);
		return 0;
	}
	if (node_is_dir(x) || (!node_is_link(x) && !row_readable(x->row)))
		return 0;
	if (x->row->cache == C_WAIT || x->row->cache == C_STREAM)
		return 0;
	err = object_classes[x->class].link ? x->row->show(x, text) : tree_show(x, text);
	*size = text->len;
	if (node_is_link(x))
		return err < 0 ? -ENOENT : 0;
	if (err < 0)
		buf_reset(text); /* the open will say why; stat shows an empty file */
	*size = text->len;
	return 0;
}

int node_attr(const struct ctx *x, struct node_attr *a)
{
	struct stat *st = &a->st;
	int64_t uid = 0, gid = 0, changed_us = 0, mtime_ns;
	mode_t dir_mode = 0;
	size_t size;
	BUF text = {0};
	int err = node_text(x, &text, &size);

	memset(a, 0, sizeof(*a));
	if (err)
		return err;
	object_classes[x->class].attr(x, &uid, &gid, &dir_mode, &changed_us);
	st->st_uid = (uid_t)uid;
	st->st_gid = (gid_t)gid;
	if (x->row)
		row_rights(x, dir_mode, st);
	else
		st->st_mode = S_IFDIR | (dir_mode & 07777);
	if (x->row && x->row->changed_us)
		changed_us = x->row->changed_us(x);
	mtime_ns = node_mtime_ns(x, node_is_dir(x) ? NULL : &text, changed_us);
	st->st_ino = node_of(x);
	st->st_nlink = node_is_dir(x) ? 2 : 1;
	st->st_size = (off_t)size;
	st->st_blksize = BLOCK_SIZE;
	st->st_blocks = (blkcnt_t)((size + 511) / 512);
	st->st_mtim.tv_sec = mtime_ns / 1000000000;
	st->st_mtim.tv_nsec = mtime_ns % 1000000000;
	st->st_atim = st->st_ctim = st->st_mtim;
	node_timeouts(x, a);
	if (x->row && (x->row->flags & ROW_SECRET) && text.data)
		explicit_bzero(text.data, text.cap);
	return 0;
}

void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct mount *m = fuse_req_userdata(req);
	struct file *f = fi ? file_find(m, fi->fh) : NULL;
	struct node_attr a;
	struct ctx x;
	int err;

	ctx_init(m, req, &x);
	/* A read asks as well, with its descriptor: of an offer that has left it reads on. */
	err = fi && ino >> 56 == OBJ_OFFER ? node_resolve_open(ino, &x) : node_resolve(ino, &x);
	if (!err)
		err = node_attr(&x, &a);
	if (err) {
		fuse_reply_err(req, -err);
		return;
	}
	if (f && f->rendered) /* this descriptor's own snapshot */
		a.st.st_size = (off_t)file_text(f)->len;
	fuse_reply_attr(req, &a.st, a.attr_s);
}

static void chmod_done(struct op *op, int err)
{
	struct node_attr a;
	struct ctx x;

	ctx_init(op->m, op->req, &x);
	if (!err)
		err = node_resolve(op->ino, &x);
	if (!err)
		err = node_attr(&x, &a);
	if (err)
		fuse_reply_err(op->req, -err);
	else
		fuse_reply_attr(op->req, &a.st, a.attr_s);
}

/* What may not be set here: 0 if all of it may. */
static int setattr_check(const struct ctx *x, int to_set, struct error *why)
{
	bool writable = x->row && !node_is_dir(x) && (x->row->mode & 0222);
	int times = FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_ATIME_NOW |
		    FUSE_SET_ATTR_MTIME_NOW;

	if ((to_set & FUSE_SET_ATTR_MODE) && (x->class != OBJ_SESSION || x->row))
		return fail(why, ERR_FORBIDDEN,
			    "chmod works on a session's own directory only; the modes of its files "
			    "follow from it");
	if (to_set & (FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID))
		return fail(why, ERR_FORBIDDEN,
			    "chown does not work here: a session belongs to the user who made it");
	if ((to_set & FUSE_SET_ATTR_SIZE) && !writable)
		return fail(why, ERR_FORBIDDEN, "this cannot be truncated: it is read-only");
	if ((to_set & times) && !writable)
		return fail(why, ERR_FORBIDDEN,
			    "times cannot be set here: they say when a value last changed");
	return 0;
}

/* truncate(2) of a spec: by descriptor it empties that descriptor's text, by path the draft's. */
static int setattr_size(const struct ctx *x, struct file *f, off_t size, struct error *why)
{
	enum spec_end end;
	bool commit;

	if (!(x->row->flags & ROW_SPEC))
		return 0; /* of a value that is written whole it means nothing */
	if (f && f->row == x->row)
		return spec_truncate(f, size, why);
	if (size != 0)
		return fail(why, ERR_INVALID, "a spec can be truncated to nothing only");
	CHECK(x->session != NULL);
	if (x->session->state != S_DRAFT)
		return 0; /* after the purchase truncation is ignored */
	return engine_spec_set(x->e, &x->who, x->session, "", 0, &end, &commit, why);
}

void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set,
		struct fuse_file_info *fi)
{
	struct mount *m = fuse_req_userdata(req);
	struct error why = {0};
	struct ctx x;
	struct op *op;
	int err;

	ctx_init(m, req, &x);
	err = node_resolve(ino, &x);
	if (err) {
		fuse_reply_err(req, -err);
		return;
	}
	err = setattr_check(&x, to_set, &why);
	if (!err && (to_set & FUSE_SET_ATTR_SIZE))
		err = setattr_size(&x, fi ? file_find(m, fi->fh) : NULL, attr->st_size, &why);
	if (err) {
		refuse_order(req, &x, NULL, err, &why);
		return;
	}
	if (!(to_set & FUSE_SET_ATTR_MODE)) {
		op_getattr(req, ino, fi);
		return;
	}
	op = op_new(&x, req, NULL, chmod_done);
	if (op)
		engine_chmod(m->e, x.session, attr->st_mode & 0777, op_answer, op);
}

void op_statfs(fuse_req_t req, fuse_ino_t ino)
{
	/* All zeros, as procfs: there are no blocks to run out of (tree, The root). */
	struct statvfs s = {.f_namemax = 255};

	(void)ino;
	fuse_reply_statfs(req, &s);
}
