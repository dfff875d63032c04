/*
 * The classes of objects: how to find, list and resolve what the tree is made of, and who owns it.
 * Loop thread.
 *
 * Invariants: listings go by serial, so that an entry that stays is neither doubled nor left out
 * while others come and go (fuse.md 5.3). Nothing here waits or changes a session.
 * Tests: tests/unit/test_rows.c, tests/mount/.
 */
#include <string.h>

#include "../src/core/check.h"
#include "rows.h"

struct offer_index *offer_index_now(const struct ctx *x)
{
	struct offer_index *ix = mount_offers(x->m);

	offer_index_update(ix, engine_inventory(x->e));
	return ix;
}

uint64_t offer_serial(const struct mount *m, const char *offer_id)
{
	/* mount_offers hands out the mount's index for writing; here it is only read. */
	return offer_index_serial(mount_offers((struct mount *)(uintptr_t)m), offer_id);
}

/* ---- the root and its per-reader rows ---- */

static bool root_resolve(struct ctx *x)
{
	return x->serial == 0;
}

static bool reader_resolve(struct ctx *x)
{
	x->who.uid = (int64_t)x->serial;
	return true;
}

static void root_attr(const struct ctx *x, int64_t *uid, int64_t *gid, mode_t *mode,
		      int64_t *changed_us)
{
	*uid = x->args->owner_uid;
	*gid = x->args->owner_gid;
	*mode = 0755;
	*changed_us = 0;
}

/* Read-only directories of gpufs's own: offers, providers, queries, and links. */
static void fixed_attr(const struct ctx *x, int64_t *uid, int64_t *gid, mode_t *mode,
		       int64_t *changed_us)
{
	root_attr(x, uid, gid, mode, changed_us);
	*mode = 0555;
}

/* ---- offers ---- */

static bool offer_find(const struct ctx *x, const char *name, uint64_t *serial)
{
	struct offer_index *ix = offer_index_now(x);
	const struct offer *o = inventory_find(engine_inventory(x->e), name);
	const struct indexed_offer *row = o ? offer_index_row_of(ix, o) : NULL;

	engine_looked_at_market(x->e);
	if (!row)
		return false;
	*serial = row->serial;
	return true;
}

static bool offer_next(const struct ctx *x, uint64_t after, uint64_t *serial, char name[256])
{
	const struct offer *o = offer_index_after(offer_index_now(x), after, serial);

	if (after == 0)
		engine_looked_at_market(x->e);
	if (!o)
		return false;
	copy_text(name, 256, o->id);
	return true;
}

static bool offer_resolve(struct ctx *x)
{
	x->offer = offer_index_get(offer_index_now(x), x->serial);
	return x->offer != NULL;
}

/* ---- sessions, living and ended ---- */

static bool session_find(const struct ctx *x, const char *name, uint64_t *serial)
{
	const struct session *s = engine_by_name(x->e, name);

	if (!s || session_in_history(s))
		return false;
	*serial = (uint64_t)s->serial;
	return true;
}

static bool session_next(const struct ctx *x, uint64_t after, uint64_t *serial, char name[256])
{
	const struct session *s = engine_next(x->e, (int64_t)after, false);

	if (!s)
		return false;
	*serial = (uint64_t)s->serial;
	copy_text(name, 256, s->name);
	return true;
}

static bool session_resolve(struct ctx *x)
{
	x->session = engine_by_serial(x->e, (int64_t)x->serial);
	return x->session && !session_in_history(x->session);
}

static void session_attr(const struct ctx *x, int64_t *uid, int64_t *gid, mode_t *mode,
			 int64_t *changed_us)
{
	const struct session *s = x->session;

	*uid = s->owner_uid;
	*gid = s->owner_gid;
	*mode = (mode_t)(s->dir_mode & 0777);
	*changed_us = s->changed_us;
}

static bool history_find(const struct ctx *x, const char *name, uint64_t *serial)
{
	const struct session *s = engine_by_id(x->e, name);

	if (!s || !session_in_history(s))
		return false;
	*serial = (uint64_t)s->serial;
	return true;
}

static bool history_next(const struct ctx *x, uint64_t after, uint64_t *serial, char name[256])
{
	const struct session *s = engine_next(x->e, (int64_t)after, true);

	if (!s)
		return false;
	*serial = (uint64_t)s->serial;
	copy_text(name, 256, s->id);
	return true;
}

static bool history_resolve(struct ctx *x)
{
	x->session = engine_by_serial(x->e, (int64_t)x->serial);
	return x->session && session_in_history(x->session);
}

static void history_attr(const struct ctx *x, int64_t *uid, int64_t *gid, mode_t *mode,
			 int64_t *changed_us)
{
	session_attr(x, uid, gid, mode, changed_us);
	*mode &= 0555; /* nothing in history can be changed */
}

/* history/last/NAME: the newest life of a name among the reader's own. */
static bool last_find(const struct ctx *x, const char *name, uint64_t *serial)
{
	const struct session *s = engine_last(x->e, name, x->who.uid);

	if (!s)
		return false;
	*serial = (uint64_t)s->serial;
	return true;
}

static bool last_next(const struct ctx *x, uint64_t after, uint64_t *serial, char name[256])
{
	const struct session *s = engine_next(x->e, (int64_t)after, true);

	for (; s; s = engine_next(x->e, s->serial, true)) {
		if (x->who.uid != 0 && s->owner_uid != x->who.uid)
			continue;
		if (engine_last(x->e, s->name, x->who.uid) != s)
			continue;
		*serial = (uint64_t)s->serial;
		copy_text(name, 256, s->name);
		return true;
	}
	return false;
}

static int last_show(const struct ctx *x, struct buf *out)
{
	buf_printf(out, "../%s", x->session->id);
	return 0;
}

const struct row last_link = {
	.path = ".",
	.mode = 0777,
	.cache = C_READER,
	.type = V_LINK,
	.show = last_show,
	.doc = "leads to the newest ended life of that name among your own (root: among all)",
};

/* ---- providers ---- */

static bool provider_find(const struct ctx *x, const char *name, uint64_t *serial)
{
	struct provider_view v;

	for (size_t i = 0; i < engine_provider_count(x->e); i++) {
		if (!engine_provider_view(x->e, i, &v) || strcmp(v.name, name) != 0)
			continue;
		*serial = i + 1;
		return true;
	}
	return false;
}

static bool provider_next(const struct ctx *x, uint64_t after, uint64_t *serial, char name[256])
{
	struct provider_view v;

	if (after >= engine_provider_count(x->e) || !engine_provider_view(x->e, after, &v))
		return false;
	*serial = after + 1;
	copy_text(name, 256, v.name);
	return true;
}

static bool provider_resolve(struct ctx *x)
{
	if (x->serial == 0 || x->serial > engine_provider_count(x->e))
		return false;
	x->provider = (int64_t)x->serial - 1;
	return true;
}

static void provider_attr(const struct ctx *x, int64_t *uid, int64_t *gid, mode_t *mode,
			  int64_t *changed_us)
{
	struct provider_view v;

	fixed_attr(x, uid, gid, mode, changed_us);
	if (engine_provider_view(x->e, (size_t)x->provider, &v))
		*changed_us = v.changed_us;
}

/* ---- queries and their results ---- */

static bool query_find(const struct ctx *x, const char *name, uint64_t *serial)
{
	struct query_node *parent = x->class == OBJ_QUERY ? x->query : NULL;

	return query_table_get(mount_queries(x->m), parent, name, x->e, serial, NULL) == 0;
}

static bool query_next(const struct ctx *x, uint64_t after, uint64_t *serial, char name[256])
{
	if (x->class == OBJ_QUERY)
		return false; /* below a query any other can be looked up; none is listed */
	return query_table_next_listed(mount_queries(x->m), x->e, after, serial, name);
}

static bool query_resolve(struct ctx *x)
{
	x->query = query_table_find(mount_queries(x->m), x->serial);
	return x->query != NULL;
}

static const struct offer *result_offer(const struct ctx *x, struct query_node *q, uint64_t rank,
					size_t *count)
{
	const struct inventory *inv = engine_inventory(x->e);
	const uint32_t *indexes;

	*count = query_node_matches(mount_queries(x->m), q, inv, &indexes);
	if (rank == 0 || rank > *count)
		return NULL;
	return &inv->offers[indexes[rank - 1]];
}

static bool result_find(const struct ctx *x, const char *name, uint64_t *serial)
{
	uint64_t rank = 0;
	size_t count;
	char right[256];

	for (const char *p = name; *p >= '0' && *p <= '9' && rank < (1 << RESULT_RANK_BITS); p++)
		rank = rank * 10 + (uint64_t)(*p - '0');
	if (rank == 0 || rank >= (1 << RESULT_RANK_BITS))
		return false;
	const struct offer *o = result_offer(x, x->query, rank, &count);

	if (!o)
		return false;
	result_put_name(right, rank, count, o);
	*serial = x->serial << RESULT_RANK_BITS | rank;
	return strcmp(name, right) == 0;
}

static bool result_next(const struct ctx *x, uint64_t after, uint64_t *serial, char name[256])
{
	uint64_t rank = after ? (after & ((1 << RESULT_RANK_BITS) - 1)) + 1 : 1;
	size_t count;
	const struct offer *o = result_offer(x, x->query, rank, &count);

	if (after == 0)
		query_node_asked(x->query, x->e);
	if (!o || rank >= (1 << RESULT_RANK_BITS))
		return false;
	result_put_name(name, rank, count, o);
	*serial = x->serial << RESULT_RANK_BITS | rank;
	return true;
}

static bool result_resolve(struct ctx *x)
{
	size_t count;

	x->query = query_table_find(mount_queries(x->m), x->serial >> RESULT_RANK_BITS);
	if (!x->query)
		return false;
	x->offer = result_offer(x, x->query, x->serial & ((1 << RESULT_RANK_BITS) - 1), &count);
	return x->offer != NULL;
}

static bool none_find(const struct ctx *x, const char *name, uint64_t *serial)
{
	(void)x;
	(void)name;
	(void)serial;
	return false;
}

static bool none_next(const struct ctx *x, uint64_t after, uint64_t *serial, char name[256])
{
	(void)x;
	(void)after;
	(void)serial;
	(void)name;
	return false;
}

static bool none_resolve(struct ctx *x)
{
	(void)x;
	return false;
}

static const struct row no_rows[] = {{.path = NULL}};

const struct object_class object_classes[OBJ_COUNT] = {
	[OBJ_NONE] = {"", no_rows, none_find, none_next, none_resolve, root_attr},
	[OBJ_ROOT] = {"", root_rows, none_find, none_next, root_resolve, root_attr,
		      .doc = "the mount point"},
	[OBJ_OFFER] = {"inventory/OFFER", offer_rows, offer_find, offer_next, offer_resolve,
		       fixed_attr, .doc = "an offer that is on the market now"},
	[OBJ_SESSION] =
		{"sessions/NAME", session_rows, session_find, session_next, session_resolve,
		 session_attr,
		 .doc = "a session: mkdir makes a draft, a written spec buys, rmdir destroys"},
	[OBJ_HISTORY] = {"history/ID", history_rows, history_find, history_next, history_resolve,
			 history_attr, .doc = "a session that was ended, with its receipt"},
	[OBJ_PROVIDER] = {"providers/NAME", provider_rows, provider_find, provider_next,
			  provider_resolve, provider_attr, .doc = "a configured provider"},
	[OBJ_QUERY] =
		{"search/QUERY", query_rows, query_find, query_next, query_resolve, fixed_attr,
		 .listed = OBJ_RESULT, .by_lookup = OBJ_QUERY,
		 .doc = "what matches, such as gpu=RTX_4090,min_vram=24; queries nest, and all "
			"of them must match"},
	[OBJ_RESULT] = {"search/QUERY/NNN.OFFER", no_rows, result_find, result_next, result_resolve,
			fixed_attr, .link = &result_link, .doc = "an offer that matches"},
	[OBJ_READER] = {"", root_rows, none_find, none_next, reader_resolve, root_attr},
	[OBJ_LAST] = {"history/last/NAME", no_rows, last_find, last_next, history_resolve,
		      history_attr, .link = &last_link, .doc = "the newest life of a name"},
	[OBJ_PORT] = {"sessions/NAME/ports/N", no_rows, port_find, port_next, port_resolve,
		      session_attr, .link = &port_file, .doc = "where a port is reached"},
};
