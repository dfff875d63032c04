/*
 * Directories: lookup, listing, and the three orders that are made of names (mkdir, rmdir, rename);
 * everything else that would change a directory is refused with a sentence. Owner: the loop thread.
 *
 * Invariants: a listing goes by serial with stable cookies, so an entry that stays is neither
 * doubled nor left out and no descriptor carries state (fuse.md 5.3). mkdir and rmdir hold the
 * kernel's lock of sessions/ until they are answered, so the engine answers them when durable,
 * never after a provider. unlink is never allowed: rm -rf of the wrong directory must not end a
 * paid machine.
 * Tests: tests/mount/.
 */
#include <string.h>

#include "internal.h"

#define COOKIE_ROWS	  3	 /* after "." and ".." */
#define COOKIE_OBJECTS	  0x1000 /* cookie of an object: this + its serial */
#define LISTING_MAX	  ((size_t)256 << 10)
#define RENAME_NOREPLACE_ 1u   /* linux/fs.h */
#define SESSION_MODE_MAX  0750 /* tree, rule 12: more only by the owner's chmod */

/* ---- lookup ---- */

static int object_find(const struct ctx *dir, enum object class, const char *name,
		       struct ctx *child, struct error *why)
{
	uint64_t serial = 0;
	int err;

	if (class == OBJ_NONE)
		return -ENOENT;
	if (class == OBJ_QUERY) {
		err = query_table_get(dir->m->queries, dir->class == OBJ_QUERY ? dir->query : NULL,
				      name, dir->e, &serial, why);
		if (err)
			return err;
	} else if (!object_classes[class].find(dir, name, &serial)) {
		return -ENOENT;
	}
	*child = *dir;
	return ctx_set_object(child, class, serial) ? 0 : -ENOENT;
}

/* The entry `name` of directory dir. */
static int entry_find(const struct ctx *dir, const char *name, struct ctx *child, struct error *why)
{
	const struct row *rows = class_rows(dir->class);
	enum object listed, by_lookup;
	int err;

	if (!node_is_dir(dir))
		return -ENOTDIR;
	for (unsigned i = 0; rows[i].path; i++) {
		const char *entry = dir_row_name(dir, i);

		if (!entry || strcmp(entry, name) != 0)
			continue;
		*child = *dir;
		ctx_set_row(child, i);
		return 0;
	}
	dir_children(dir, &listed, &by_lookup);
	err = object_find(dir, listed, name, child, why);
	if (err != -ENOENT || by_lookup == OBJ_NONE)
		return err;
	return object_find(dir, by_lookup, name, child, why);
}

static int entry_fill(const struct ctx *x, struct fuse_entry_param *e)
{
	struct node_attr a;
	int err = node_attr(x, &a);

	memset(e, 0, sizeof(*e));
	if (err)
		return err;
	e->ino = a.st.st_ino;
	e->attr = a.st;
	e->attr_timeout = a.attr_s;
	e->entry_timeout = a.entry_s;
	return 0;
}

/* The kernel keeps a name until memory is short, and each holds a place in the table of queries:
 * so the name that was asked for longest ago is taken from it. Whoever stands in that directory
 * stays. */
static void query_name_keep(struct mount *m, uint64_t parent, const char *name)
{
	struct query_name *q = &m->query_names[m->query_next++ % QUERY_NAMES_MAX];

	if (q->name)
		mount_forget_name(m, q->parent, q->name);
	free(q->name);
	q->name = strdup(name);
	q->parent = parent;
}

/* Every answered lookup of a query is one reference, until the kernel forgets it. */
static void entry_reply(fuse_req_t req, const struct ctx *child)
{
	struct query_table *queries = child->m->queries;
	struct fuse_entry_param e;
	int err = entry_fill(child, &e);

	if (err) {
		fuse_reply_err(req, -err);
		return;
	}
	if (child->class == OBJ_QUERY)
		query_node_ref(queries, child->query);
	err = fuse_reply_entry(req, &e);
	if (err && child->class == OBJ_QUERY)
		query_node_forget(queries, child->serial, 1);
}

void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct mount *m = fuse_req_userdata(req);
	struct error why = {0};
	struct ctx dir, child;
	int err;

	ctx_init(m, req, &dir);
	err = node_resolve(parent, &dir);
	if (!err)
		err = entry_find(&dir, name, &child, &why);
	if (err && why.text[0])
		refuse(req, &dir, name, err, &why);
	else if (err)
		fuse_reply_err(req, -err);
	else
		entry_reply(req, &child);
	if (!err && child.class == OBJ_QUERY && !child.row)
		query_name_keep(m, parent, name);
}

void op_readlink(fuse_req_t req, fuse_ino_t ino)
{
	struct mount *m = fuse_req_userdata(req);
	BUF target = {0};
	struct ctx x;
	int err;

	ctx_init(m, req, &x);
	err = node_resolve(ino, &x);
	if (!err && !node_is_link(&x))
		err = -EINVAL;
	if (!err)
		err = object_classes[x.class].link ? x.row->show(&x, &target)
						   : tree_show(&x, &target);
	if (!err && (target.failed || !target.data))
		err = -ENOENT;
	if (err)
		fuse_reply_err(req, -err);
	else
		fuse_reply_readlink(req, target.data);
}

/* ---- listing ---- */

void op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct mount *m = fuse_req_userdata(req);
	struct ctx x;
	int err;

	ctx_init(m, req, &x);
	err = node_resolve(ino, &x);
	if (!err && !node_is_dir(&x))
		err = -ENOTDIR;
	if (err) {
		fuse_reply_err(req, -err);
		return;
	}
	fi->fh = 0;
	/* Only where a new mtime and a notification follow every change (fuse.md 5.2). */
	if (x.class == OBJ_OFFER || x.class == OBJ_PROVIDER ||
	    (x.class == OBJ_ROOT &&
	     (!x.row || x.row->children == OBJ_OFFER || x.row->children == OBJ_PROVIDER)))
		fi->cache_readdir = fi->keep_cache = 1;
	fuse_reply_open(req, fi);
}

struct listing {
	fuse_req_t req;
	char *data;
	size_t size, used;
	bool plus;
};

/* false: the buffer is full. */
static bool listing_put(struct listing *l, const char *name, struct fuse_entry_param *e,
			off_t cookie)
{
	size_t room = l->size - l->used, need;

	if (l->plus)
		need = fuse_add_direntry_plus(l->req, l->data + l->used, room, name, e, cookie);
	else
		need = fuse_add_direntry(l->req, l->data + l->used, room, name, &e->attr, cookie);
	if (need > room)
		return false;
	l->used += need;
	return true;
}

/* Type and number only. In a READDIRPLUS it tells the kernel nothing to remember. */
static bool listing_put_bare(struct listing *l, const char *name, uint64_t ino, mode_t type,
			     off_t cookie)
{
	struct fuse_entry_param e = {.attr = {.st_ino = ino, .st_mode = type}};

	return listing_put(l, name, &e, cookie);
}

/* Attributes are worth sending along where the kernel may keep them. */
static bool listing_put_node(struct listing *l, const char *name, const struct ctx *child,
			     off_t cookie)
{
	bool keeps = child->class != OBJ_READER && child->class != OBJ_QUERY &&
		     !object_classes[child->class].link &&
		     (node_is_dir(child) || node_caching(child) == C_PLAIN);
	struct fuse_entry_param e;

	if (!l->plus || !keeps) {
		if (node_is_link(child) && !object_classes[child->class].link &&
		    entry_fill(child, &e) != 0)
			return true; /* a link that leads nowhere is left out */
		return listing_put_bare(l, name, node_of(child), node_type(child), cookie);
	}
	if (entry_fill(child, &e) != 0)
		return true;
	return listing_put(l, name, &e, cookie);
}

static bool listing_rows(struct listing *l, const struct ctx *dir, off_t off)
{
	const struct row *rows = class_rows(dir->class);
	unsigned i = off < COOKIE_ROWS ? 0 : (unsigned)(off - COOKIE_ROWS) + 1;

	for (; rows && rows[i].path; i++) {
		const char *name = dir_row_name(dir, i);
		struct ctx child = *dir;

		if (!name || (rows[i].flags & ROW_UNLISTED))
			continue;
		ctx_set_row(&child, i);
		if (!listing_put_node(l, name, &child, COOKIE_ROWS + (off_t)i))
			return false;
	}
	return true;
}

static void listing_objects(struct listing *l, const struct ctx *dir, off_t off)
{
	uint64_t after = off > COOKIE_OBJECTS ? (uint64_t)(off - COOKIE_OBJECTS) : 0, serial;
	enum object class, by_lookup;
	char name[256];

	dir_children(dir, &class, &by_lookup);
	if (class == OBJ_NONE)
		return;
	while (object_classes[class].next(dir, after, &serial, name)) {
		off_t cookie = COOKIE_OBJECTS + (off_t)serial;
		const struct row *link = object_classes[class].link;
		struct ctx child = *dir;

		after = serial;
		if (!l->plus || link) {
			if (!listing_put_bare(l, name, node_id(class, serial, 0),
					      !link		     ? S_IFDIR
					      : link->type == V_LINK ? S_IFLNK
								     : S_IFREG,
					      cookie))
				return;
		} else if (ctx_set_object(&child, class, serial) &&
			   !listing_put_node(l, name, &child, cookie)) {
			return;
		}
	}
}

static void list(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, bool plus)
{
	struct mount *m = fuse_req_userdata(req);
	struct listing l = {
		.req = req, .size = size < LISTING_MAX ? size : LISTING_MAX, .plus = plus};
	struct ctx dir;
	bool room = true;
	int err;

	ctx_init(m, req, &dir);
	err = node_resolve(ino, &dir);
	if (!err && !node_is_dir(&dir))
		err = -ENOTDIR;
	FREE char *data = err ? NULL : malloc(l.size);

	if (!err && !data)
		err = -ENOMEM;
	if (err) {
		fuse_reply_err(req, -err);
		return;
	}
	l.data = data;
	if (off < 1)
		room = listing_put_bare(&l, ".", ino, S_IFDIR, 1);
	if (room && off < 2)
		room = listing_put_bare(&l, "..", FUSE_ROOT_ID, S_IFDIR, 2);
	if (room && off < COOKIE_OBJECTS)
		room = listing_rows(&l, &dir, off);
	if (room)
		listing_objects(&l, &dir, off);
	fuse_reply_buf(req, l.data, l.used);
}

void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	(void)fi;
	list(req, ino, size, off, false);
}

void op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		    struct fuse_file_info *fi)
{
	(void)fi;
	list(req, ino, size, off, true);
}

/* ---- mkdir, rmdir, rename: only in sessions/ ---- */

static bool is_sessions(const struct ctx *dir)
{
	return dir->class == OBJ_ROOT && dir->row && dir->row->children == OBJ_SESSION;
}

static int session_find(const struct ctx *sessions, const char *name, struct ctx *child,
			struct error *why)
{
	if (entry_find(sessions, name, child, why) == 0)
		return 0;
	return fail(why, ERR_NOT_FOUND, "there is no session %s", name);
}

/* Resolve a parent directory; answers the request itself if that fails. */
static bool parent_resolve(fuse_req_t req, fuse_ino_t parent, struct ctx *dir)
{
	int err;

	ctx_init(fuse_req_userdata(req), req, dir);
	err = node_resolve(parent, dir);
	if (err)
		fuse_reply_err(req, -err);
	return !err;
}

static void mkdir_done(struct op *op, int err)
{
	const struct session *s = err ? NULL : engine_by_name(op->m->e, op->name);
	struct ctx child;

	if (!err && !s)
		err = -ENOENT; /* made, and removed again by another door */
	if (!err) {
		ctx_init(op->m, op->req, &child);
		if (!ctx_set_object(&child, OBJ_SESSION, (uint64_t)s->serial))
			err = -ENOENT;
	}
	if (err)
		fuse_reply_err(op->req, -err);
	else
		entry_reply(op->req, &child);
}

void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	struct error why = {0};
	struct ctx dir;
	struct op *op;
	int err = 0;

	if (!parent_resolve(req, parent, &dir))
		return;
	if (!is_sessions(&dir))
		err = fail(&why, ERR_FORBIDDEN,
			   "directories can be made in sessions/ only: mkdir sessions/NAME");
	if (!err)
		err = name_check(name, &why);
	if (err) {
		refuse(req, &dir, name, err, &why);
		return;
	}
	op = op_new(&dir, req, name, mkdir_done);
	if (op)
		engine_mkdir(dir.e, &op->who, name, mode & SESSION_MODE_MAX, op_answer, op);
}

static void plain_done(struct op *op, int err)
{
	fuse_reply_err(op->req, -err);
}

void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct error why = {0};
	struct ctx dir, child;
	struct op *op;
	int err;

	if (!parent_resolve(req, parent, &dir))
		return;
	if (!is_sessions(&dir))
		err = fail(&why, ERR_FORBIDDEN,
			   "only directories of sessions/ can be removed: rmdir sessions/NAME");
	else
		err = session_find(&dir, name, &child, &why);
	if (err) {
		refuse(req, &dir, name, err, &why);
		return;
	}
	op = op_new(&child, req, NULL, plain_done);
	if (!op)
		return;
	op->serial = child.serial;
	engine_rmdir(dir.e, &op->who, child.session, op_answer, op);
}

static int rename_check(const struct ctx *from, const struct ctx *to, const char *newname,
			unsigned flags, struct error *why)
{
	struct ctx other;
	int err;

	if (!is_sessions(from) || !is_sessions(to))
		return fail(why, ERR_FORBIDDEN,
			    "only sessions can be renamed, and only inside sessions/; a file that "
			    "was written elsewhere is copied here with cat or cp");
	if (flags & ~RENAME_NOREPLACE_)
		return fail(why, ERR_INVALID, "sessions cannot be exchanged; rename one at a time");
	err = name_check(newname, why);
	if (err)
		return err;
	if (entry_find(to, newname, &other, why) == 0)
		return fail(why, ERR_EXISTS, "there is a session %s already; choose another name",
			    newname);
	return 0;
}

void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t newparent,
	       const char *newname, unsigned flags)
{
	struct error why = {0};
	struct ctx from, to, child;
	struct op *op;
	int err;

	if (!parent_resolve(req, parent, &from) || !parent_resolve(req, newparent, &to))
		return;
	if (parent == newparent && strcmp(name, newname) == 0) {
		fuse_reply_err(req, 0);
		return;
	}
	err = rename_check(&from, &to, newname, flags, &why);
	if (!err)
		err = session_find(&from, name, &child, &why);
	if (err) {
		refuse(req, &from, name, err, &why);
		return;
	}
	op = op_new(&child, req, NULL, plain_done);
	if (!op)
		return;
	op->serial = child.serial;
	engine_rename(to.e, &op->who, child.session, newname, op_answer, op);
}

/* ---- what is never possible ---- */

static void forbid(fuse_req_t req, fuse_ino_t parent, const char *name, const char *text)
{
	struct error why = {0};
	struct ctx dir;

	if (parent_resolve(req, parent, &dir))
		refuse(req, &dir, name, fail(&why, ERR_FORBIDDEN, "%s", text), &why);
}

void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	forbid(req, parent, name,
	       "files cannot be removed here; to end a session: rmdir sessions/NAME");
}

void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
	(void)mode;
	(void)rdev;
	forbid(req, parent, name,
	       "files cannot be made here; write into those that are there (sed -i, install and mv "
	       "make a new file: use cat or cp), and mkdir sessions/NAME makes a session");
}

void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
	       struct fuse_file_info *fi)
{
	(void)fi;
	op_mknod(req, parent, name, mode, 0);
}

void op_symlink(fuse_req_t req, const char *link, fuse_ino_t parent, const char *name)
{
	(void)link;
	forbid(req, parent, name, "links cannot be made here");
}

void op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t newparent, const char *newname)
{
	(void)ino;
	forbid(req, newparent, newname, "links cannot be made here");
}
