/*
 * What the files of the mount's mechanism share: mount.c (session, loop), counters.c, nodes.c (ids,
 * attributes), dirs.c, files.c, spec_file.c, waits.c, coherence.c, coherence_market.c, texts.c. The rows do not include this.
 * Owner: the loop thread, except struct stale_name, which a worker carries to the kernel.
 *
 * Invariants: every request is answered exactly once; nothing here waits. A session pointer is
 * never kept across a return to the loop: nodes, files and orders remember its serial. `fh` is a
 * number that is looked up, never a pointer, so an unknown one (of a daemon before this one) is an
 * error, no crash.
 * Tests: tests/mount/.
 */
#ifndef GPUFS_FS_INTERNAL_H
#define GPUFS_FS_INTERNAL_H

#include <fuse_lowlevel.h>
#include <uv.h>

#include "../src/core/check.h"
#include "../src/core/spec.h"
#include "tree.h"

#define REQUESTS_PER_TURN   32 /* fuse.md 1: the bound keeps timers alive */
#define WRITE_SIZE_MAX	    ((unsigned)128 << 10)
#define OPCODES		    64
#define READERS_MAX	    256
#define KNOWN_TEXTS	    32
#define KEPT_BYTES_MAX	    ((size_t)512 << 10)
#define LINE_LEN_MAX	    4096 /* one value or one order */
#define STREAM_LINES_MAX    1024
#define STREAM_BYTES_MAX    ((size_t)256 << 10)
#define FILES_MAX	    65536
#define FILES_PER_USER	    8192
#define SNAPSHOT_BYTES_MAX  ((size_t)512 << 20) /* of all open files together */
#define QUERY_NAMES_MAX	    2048		/* far below what the table of queries holds */
#define OPEN_OFFER_BUCKETS  256
#define WATCH_BUCKETS	    1024
#define NS_PER_US	    1000
#define TIMEOUT_LONG_S	    3600.0 /* fuse.md 5.2 */
#define TIMEOUT_QUERY_DIR_S 1.0	   /* a query's directory: nothing tells us when it changes */

/* ---- nodes.c ---- */

struct node_attr {
	struct stat st;
	double entry_s, attr_s;
};

void who_fill(const struct mount *m, int64_t uid, int64_t gid, int64_t pid, struct caller *who);
/* Everything but the object: the requester (req NULL: the mount's owner) and the time. */
void ctx_init(struct mount *m, fuse_req_t req, struct ctx *x);
/* Fill class, serial, row and object from a node id. 0 or -ENOENT. */
int node_resolve(uint64_t ino, struct ctx *x);
/* The same for a descriptor that is open: what left its directory can still be read. */
int node_resolve_open(uint64_t ino, struct ctx *x);
uint64_t node_of(const struct ctx *x); /* the id of what x is about */
uint64_t node_serial(uint64_t ino);
const struct row *class_rows(enum object class);
/* Point x to row i of its object (of the root: also to the reader's own node). */
void ctx_set_row(struct ctx *x, unsigned i);
/* Point x to the object `serial` of a class; false if it is gone. */
bool ctx_set_object(struct ctx *x, enum object class, uint64_t serial);
bool node_is_dir(const struct ctx *x);
bool node_is_link(const struct ctx *x);
/* 0, or -ENOENT for a link that leads nowhere. */
int node_attr(const struct ctx *x, struct node_attr *a);
/* Type and id only: what a listing needs. */
mode_t node_type(const struct ctx *x);
/* The caching of a row as it is served: a spec is derived, and so is what queries show. */
enum caching node_caching(const struct ctx *x);
/* The entries of a directory that are objects: *listed, *by_lookup; OBJ_NONE if none. */
void dir_children(const struct ctx *x, enum object *listed, enum object *by_lookup);
/* If row i of x's object is an entry of directory x: its name, else NULL. */
const char *dir_row_name(const struct ctx *x, unsigned i);
/* The node of the root's directory whose entries are of this class: inventory/, sessions/ … */
uint64_t root_dir_of(enum object class);
/* "/gpu/sessions/x/spec", as readers see it; name (may be NULL) is an entry below. */
void node_path(const struct ctx *x, const char *name, struct buf *out);

/* ---- refusing (nodes.c) ---- */

/* Remember the sentence for the reader. err is negative; why NULL: the table's meaning. */
void refusal_note(const struct ctx *x, const char *name, int err, const struct error *why);
/* The same, and answer the request with it. */
void refuse(fuse_req_t req, const struct ctx *x, const char *name, int err,
	    const struct error *why);
/* Of an order, which a session's own `error` file shows as well. Reads and waits are no orders: a
 * `grep -r` of root must not overwrite the reason that somebody is about to look up. */
void order_note(const struct ctx *x, const char *name, int err, const struct error *why);
void refuse_order(fuse_req_t req, const struct ctx *x, const char *name, int err,
		  const struct error *why);

/* ---- orders that are answered later (mount.c) ---- */

struct op {
	struct op *next, **at;
	struct mount *m;
	fuse_req_t req; /* NULL: nobody waits (RELEASE) */
	struct caller who;
	uint64_t ino;	 /* the node it is about; of mkdir, rmdir, rename the directory */
	uint64_t serial; /* of the session that a rmdir or rename is about; else 0 */
	uint64_t fh;
	char name[256];
	struct buf text;   /* lines still to be carried out */
	size_t at_byte, n; /* where in it; what fuse_reply_write says */
	bool calling, answered;
	int err;
	/* Answers the request; the refusal is noted already. Then the op is freed. */
	void (*done)(struct op *op, int err);
	/* Gives the next of several orders: true if one is under way, false if all is done
	 * (op->err). */
	bool (*more)(struct op *op);
};
/* Made before the order is given, since the answer may come from inside it. NULL: no memory. */
struct op *op_new(const struct ctx *x, fuse_req_t req, const char *name,
		  void (*done)(struct op *op, int err));
void op_answer(void *arg, int err, const struct error *why); /* the order_cb; arg is the op */
void op_run(struct op *op);				     /* one with `more`: begin */
bool op_moves(const struct mount *m, uint64_t serial); /* is a rmdir or rename of it under way? */

/* ---- open files (files.c) ---- */

struct waiter; /* waits.c */

struct file {
	uint64_t fh, ino;
	struct mount *m;
	const struct row *row;
	enum object class;
	uint64_t serial;
	int flags;
	int64_t uid, gid, pid; /* who opened it: orders are given in this name */
	struct buf text; /* snapshot, answer, pending lines of a stream, or the spec's buffer */
	struct shared_text *shared; /* instead of text: the snapshot of a row that shares it */
	size_t charged;		    /* of text, in m->snapshot_bytes */
	bool rendered;		    /* text is the content */
	bool holds;

	struct file *watch_next, **watch_at; /* C_WAIT, C_STREAM, ROW_STATE_POLL */
	struct waiter *waiters;
	struct fuse_pollhandle *ph;
	int64_t seen;	    /* C_WAIT: the row's own */
	size_t head, lines; /* C_STREAM: what was read of text, lines not read yet */
	int64_t lost;
	bool ending, ended;	 /* the end is near; nothing more will come */
	int64_t state, state_us; /* ROW_STATE_POLL: as last read */

	/* ROW_SPEC, open for writing */
	bool fresh;   /* truncated: stands for an empty spec until a write is accepted */
	bool written; /* any write came */
	bool dirty;   /* a write came since the last close that counted */
	bool spoilt, unfinished;
};

struct file *file_find(struct mount *m, uint64_t fh);
bool file_writes(const struct file *f);
void file_who(const struct file *f, struct caller *who);
/* Resolve the file's object in the opener's name. */
int file_ctx(const struct file *f, struct ctx *x);
const struct buf *file_text(const struct file *f);
void file_charge(struct file *f); /* after text grew or shrank */
void reply_slice(fuse_req_t req, const struct buf *text, size_t size, off_t off);

void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi);
void op_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t n, off_t off,
	      struct fuse_file_info *fi);
void op_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void files_free(struct mount *m);

/* ---- spec_file.c ---- */

void spec_open(struct file *f, const struct ctx *x);
void spec_write(fuse_req_t req, struct file *f, const char *data, size_t n, off_t off);
void spec_flush(fuse_req_t req, struct file *f);
void spec_release(struct file *f);
int spec_truncate(struct file *f, off_t size, struct error *why); /* ftruncate */

/* ---- waits.c ---- */

void wait_open(struct file *f, const struct ctx *x);
void wait_read(fuse_req_t req, struct file *f, size_t size, off_t off);
void stream_read(fuse_req_t req, struct file *f, size_t size);
void state_read(struct file *f, const struct ctx *x); /* this descriptor saw the state */
void wait_release(struct file *f);
void waits_change(struct mount *m, const struct change *c);
void waits_stop(struct mount *m);
void waits_later(struct mount *m); /* what waited for the end of this turn of the loop */
void op_poll(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, struct fuse_pollhandle *ph);

/* ---- dirs.c ---- */

void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name);
void op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi);
void op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		    struct fuse_file_info *fi);
void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode);
void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name);
void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t newparent,
	       const char *newname, unsigned flags);
void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name);
void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev);
void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
	       struct fuse_file_info *fi);
void op_symlink(fuse_req_t req, const char *link, fuse_ino_t parent, const char *name);
void op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t newparent, const char *newname);
void op_readlink(fuse_req_t req, fuse_ino_t ino);

/* ---- attributes, as asked for (nodes.c) ---- */

void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set,
		struct fuse_file_info *fi);
void op_statfs(fuse_req_t req, fuse_ino_t ino);

/* ---- coherence.c ---- */

struct stamp {
	uint64_t ino;	  /* 0: an empty place */
	uint64_t hash;	  /* of the content that was last shown or compared */
	int64_t mtime_ns; /* strictly grows with every change of content */
};
struct stamps {
	struct stamp *at; /* open addressing; room is a power of two */
	size_t room, used, sweep_at;
};
/* mtime of a node. text: its content, where that is hashed (plain rows); else NULL. */
int64_t node_mtime_ns(const struct ctx *x, const struct buf *text, int64_t changed_us);
void coherence_change(struct mount *m, const struct change *c);
/* The kernel is to ask for these attributes again. false: it does not know this inode. */
bool notify_attr(struct mount *m, uint64_t ino);
/* Something in this directory is new, whatever it says: a newer mtime, and notify_attr. */
void touch(struct mount *m, uint64_t ino);
void coherence_free(struct mount *m);

/* ---- coherence_market.c ---- */

struct notify_queue { /* offers of which the kernel is to be told */
	uint64_t *serial;
	size_t n, done, room;
};
/* An offer of which files are open. */
struct open_offer {
	struct open_offer *next;
	uint64_t serial;
	size_t opens;
	struct offer *gone; /* its last record, once it has left the market */
};

void market_changed(struct mount *m, const struct change *c);
/* mtime of a node of an offer. */
int64_t offer_mtime_ns(const struct mount *m, uint64_t ino);
/* Somebody opens or reads this file of an offer: if the kernel is still to be told, then now. */
void market_tell_now(struct mount *m, uint64_t ino);
bool coherence_slice(struct mount *m); /* send some of what is queued; true: there is more */
/* A file of an offer was opened, and closed. */
void offer_opened(struct mount *m, uint64_t serial);
void offer_closed(struct mount *m, uint64_t serial);
/* What an offer that left while files of it were open last was; NULL: nothing is known of it. */
const struct offer *gone_offer_find(const struct mount *m, uint64_t serial);
void coherence_market_free(struct mount *m);

/* ---- texts.c ---- */

/* A new market: what is not read now is made anew when somebody asks. */
void texts_forget(struct mount *m);

/* ---- counters.c ---- */

void counters_start(struct mount *m);
void counters_request(struct mount *m); /* the one in m->in */

/* ---- mount.c ---- */

struct query_name { /* a name in search/ that the kernel knows */
	uint64_t parent;
	char *name;
};
struct reader_error {
	int64_t uid, used_us;
	char *text; /* NULL: a free place */
};
struct known_text {
	uint64_t nodeid, version, used;
	struct shared_text *shared; /* NULL: a free place */
	bool kept;		    /* a reference of our own: else it goes with its last reader */
};

struct mount {
	struct mount_args args;
	struct engine *e;
	uv_loop_t *loop;
	struct fuse_session *se;
	struct fuse_buf in;
	uv_poll_t poll;
	uv_idle_t later;
	uv_timer_t linger; /* texts.c */
	int refs;	   /* open handles and workers under way; the last one frees a dead mount */
	bool inited, stopped, gone_told, dead;
	struct door door;
	struct query_table *queries;
	struct query_name query_names[QUERY_NAMES_MAX]; /* a ring */
	size_t query_next;
	struct offer_index *offers;
	uint64_t counts[OPCODES];
	struct metric_source metric_source;
	struct buf metrics; /* the last text, and how things stood then */
	uint64_t metrics_ns, metrics_changes, changes;
	struct op *ops;

	struct file **files; /* slots */
	size_t file_room, file_count;
	size_t file_free; /* where to look first */
	uint64_t file_seq;
	size_t snapshot_bytes;
	struct file *watchers[WATCH_BUCKETS], *root_watchers;
	bool streams_end; /* some are `ending` */

	struct reader_error errors[READERS_MAX];
	struct known_text known[KNOWN_TEXTS];
	uint64_t known_clock;
	size_t kept_bytes;
	struct shared_text *lingering; /* the last large one, for a second */

	struct stamps stamps;
	struct notify_queue notify;
	bool market_seen;	/* there were offers, so the kernel may know some */
	int64_t market_ns;	/* every offer's files are at least as new */
	int64_t market_last_ns; /* the last change; the next one is later */
	struct open_offer *open_offers[OPEN_OFFER_BUCKETS];
	int64_t started_us;
};

void mount_later(struct mount *m); /* waits_later and coherence_slice in the next turn */
/* Tell the kernel that a name is no longer what it was, from a worker: from the loop it
 * deadlocks. */
void mount_forget_name(struct mount *m, uint64_t parent, const char *name);

#endif
