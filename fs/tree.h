/*
 * The tree as a table: what exists below the mount point, and how each file is shown, stored,
 * cached and explained. The code loops over these rows for lookup, readdir, getattr, open, read and
 * write; README, schema.json, info, info.json and the manual page are printed from them. Adding a
 * file means adding one row and its functions. Loop thread.
 *
 * A tree is made of objects (the root, an offer, a session, …). Each kind of object has a class:
 * its table of rows, and how to find and list its instances. A node id is computed, never allocated:
 *	class (8 bits) | serial (48 bits) | field (8 bits)
 * field 0 is the object's own directory, field i+1 its i-th row; add rows at the end of a table
 * only, so that inode numbers survive an upgrade. The root is FUSE_ROOT_ID (1).
 */
#ifndef GPUFS_FS_TREE_H
#define GPUFS_FS_TREE_H

#include <sys/stat.h>

#include "../src/engine/engine.h"
#include "mount.h"

enum object {
	OBJ_NONE,
	OBJ_ROOT,     /* serial 0 */
	OBJ_OFFER,    /* inventory/OFFER/; serial: 48-bit hash of the id, probed on collision */
	OBJ_SESSION,  /* sessions/NAME/; serial: session.serial */
	OBJ_HISTORY,  /* history/ID/; serial: session.serial */
	OBJ_PROVIDER, /* providers/NAME/; serial: index + 1 */
	OBJ_QUERY,    /* search/QUERY/ and below; serial: from a bounded, reference-counted table */
	OBJ_RESULT,   /* search/QUERY/NNN.OFFER link; serial: query serial << 20 | rank (from 1) */
	OBJ_READER,   /* a per-reader row of the root; serial: uid; field: the root's row */
	OBJ_LAST,     /* history/last/NAME link; serial: session.serial that it leads to */
	OBJ_PORT,     /* sessions/NAME/ports/N file; serial: session.serial << 16 | N */
	OBJ_COUNT
};

enum caching {
	C_PLAIN, /* kernel caches for 3600 s; a change bumps mtime and notifies. open: keep_cache */
	C_DERIVED, /* from the clock: attr timeout 0, direct_io, rendered once per open */
	C_READER,  /* like C_DERIVED, entry timeout 0, one node per uid (class OBJ_READER) */
	C_WAIT,	   /* blocks; size 0; EOF at offset > 0 */
	C_STREAM,  /* blocks; nonseekable; one cursor per open */
};

enum row_flags {
	ROW_DIR = 1,	  /* a directory; its entries are rows below its path, and `children` */
	ROW_UNLISTED = 2, /* look-up only */
	ROW_INFO = 4,	  /* a value that info and info.json show */
	ROW_ADMIN = 8,	  /* root:ADMIN_GROUP; g+w only means something with that group */
	ROW_SECRET = 16,  /* never in info, schema examples or logs */
	ROW_SPEC = 32,	  /* fs/spec_file.c handles open, write and close */
	ROW_HOLD = 64,	  /* engine_hold follows its writers */
	ROW_LINES = 128,  /* store gets one line at a time (ctl) */
	ROW_STATE_POLL =
		256, /* poll(2) says POLLPRI|POLLERR when the state changed since last read */
	ROW_ROOT_ONLY = 512, /* 0400 root, not part of the public interface (counters) */
	ROW_FIXED = 1024,    /* never changes while gpufs runs */
};

/* What a show or store function is about. Borrowed, valid during the call only. */
struct ctx {
	struct mount *m;
	struct engine *e;
	const struct mount_args *args;
	const struct row *row;
	enum object class;
	uint64_t serial;
	/* the object, by class; NULL where it does not apply */
	const struct offer *offer;
	const struct session *session;
	struct query_node *query;
	int64_t provider;  /* index */
	struct caller who; /* the requester; of class OBJ_READER the uid of the node */
	int64_t now_us;
};

struct row {
	const char *path; /* relative to its object, no trailing slash: "ssh/key" */
	mode_t mode;	  /* permission bits */
	unsigned flags;
	enum caching cache;
	enum value_type type;
	const char *unit;     /* "s", "USD/h", "GB", "%" … or NULL */
	enum object children; /* ROW_DIR: entries that are objects of this class */
	/* Content, with its final newline; nothing = unknown (an empty file). Negative errno fails
	 * the open. Of V_LINK: the target without newline; -ENOENT: the link is not there. */
	int (*show)(const struct ctx *x, struct buf *out);
	/* Besides show, of a long text that many read: the same text, as a reference to one that is
	 * shared until it changes (mount_text_unref gives it back); NULL if memory is out. */
	struct shared_text *(*share)(const struct ctx *x);
	/* Whole text of one write (or one line with ROW_LINES), answered through cb exactly once.
	 */
	void (*store)(const struct ctx *x, struct str text, order_cb cb, void *arg);
	/* C_WAIT: 1 = `out` is the answer now; 0 = wait on; negative errno = the wait ends with it
	 * and why. Called at open with *seen 0 (only to let the row note in *seen, which belongs to
	 * the descriptor, where things stand), at the first read, and at every change. */
	int (*wait)(const struct ctx *x, int64_t *seen, struct buf *out, struct error *why);
	/* When the content last changed (wall clock); NULL: the object's changed time. */
	int64_t (*changed_us)(const struct ctx *x);
	const char *doc;
};

/* A class of objects. Functions are pure look-ups in the engine's memory. find and next belong to
 * the class of the *children* and get the ctx of the parent:
 * object_classes[x->row->children].find(x, …). */
struct object_class {
	const char *pattern;	/* "sessions/NAME", for documents */
	const struct row *rows; /* ends with .path == NULL */
	/* Find the entry `name` below directory row x->row of x's object (the row with .children;
	 * NULL for the object's own directory). Of OBJ_QUERY: ask query_table_get, which can say
	 * EINVAL. */
	bool (*find)(const struct ctx *x, const char *name, uint64_t *serial);
	/* The first entry with serial > after, for readdir in stable order; name into `name`. */
	bool (*next)(const struct ctx *x, uint64_t after, uint64_t *serial, char name[256]);
	/* Fill x->offer, x->session … from x->serial; false: it is gone (ENOENT). */
	bool (*resolve)(struct ctx *x);
	/* Owner, group, permission bits of the object's directory, and when it last changed (0: not
	 * known here). The rows belong to the same owner and group. */
	void (*attr)(const struct ctx *x, int64_t *uid, int64_t *gid, mode_t *mode,
		     int64_t *changed_us);
	/* Children of the objects' own directory besides their rows; OBJ_NONE if none. Looked up in
	 * this order: rows, `listed`, `by_lookup`. OBJ_QUERY: OBJ_RESULT (listed), OBJ_QUERY (by
	 * look-up). */
	enum object listed, by_lookup;
	/* Not NULL: these objects are no directories. Field 0 is this row: a symbolic link, whose show
	 * gives the target, or a file. */
	const struct row *link;
	const char *doc; /* what one of them is, for documents */
};
extern const struct object_class object_classes[OBJ_COUNT];

/* rows_*.c */
extern const struct row root_rows[], offer_rows[], session_rows[], history_rows[], provider_rows[],
	query_rows[];

/* Render a row for x (x->row set). 0 or negative errno. */
int tree_show(const struct ctx *x, struct buf *out);
/* `info` and `info.json` of x's object: loops over its rows with ROW_INFO. */
int show_info(const struct ctx *x, struct buf *out);
int show_info_json(const struct ctx *x, struct buf *out);
int show_readme(const struct ctx *x, struct buf *out);
int show_schema(const struct ctx *x, struct buf *out);

/* search.c: the table of queries. Node references follow the kernel's lookups and FORGETs. */
struct query_node;
struct query_table;
struct query_table *query_table_new(void);
void query_table_free(struct query_table *t);
/* Look up or make search/NAME (parent NULL) or PARENT/NAME; -EINVAL malformed (with why), -ENOENT
 * no query at all. A full table drops its oldest: what is asked of that node later is -ESTALE. */
int query_table_get(struct query_table *t, struct query_node *parent, const char *name,
		    const struct engine *e, uint64_t *serial, struct error *why);
struct query_node *query_table_find(struct query_table *t, uint64_t serial);
void query_node_ref(struct query_table *t, struct query_node *q); /* one LOOKUP was answered */
void query_node_forget(struct query_table *t, uint64_t serial, uint64_t n); /* FORGET */

/* What mount.c offers to the rows. */
struct offer_index; /* offer_index.h */
struct offer_index *mount_offers(struct mount *m);
struct query_table *mount_queries(struct mount *m);
/* /gpu/error: the reader's last refusal. Text with its newline; "" if none. */
const char *mount_last_error(const struct mount *m, int64_t uid);
void mount_set_error(struct mount *m, int64_t uid, const char *path, int eno, const char *text);
/* Lines "OPERATION COUNT" of requests served since start. */
void mount_counters(const struct mount *m, struct buf *out);
/* The Prometheus text of the whole daemon, as over HTTP, at most a second old; nothing if the daemon
 * counts nothing. */
void mount_metrics(struct mount *m, struct buf *out);
/* A long text, never changed while somebody has a reference. */
struct shared_text {
	unsigned refs;
	struct buf text;
};
/* By node id and version: a reference to the one that is in use, or was just now; NULL: make it.
 * mount_cache takes the text and makes it known: a reference; NULL if memory is out or the text has
 * failed. */
struct shared_text *mount_cached(struct mount *m, uint64_t nodeid, uint64_t version);
struct shared_text *mount_cache(struct mount *m, uint64_t nodeid, uint64_t version,
				struct buf *take);
void mount_text_unref(struct mount *m, struct shared_text *t); /* NULL is fine */

uint64_t node_id(enum object class, uint64_t serial, unsigned field);
uint64_t offer_serial(const struct mount *m, const char *offer_id); /* probing on collision */

#endif
