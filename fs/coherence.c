/*
 * Coherence: what the kernel caches follows every change. The kernel keeps attributes and pages for
 * an hour; a change gives the file a strictly newer mtime and sends one notification about its
 * attributes, and the kernel drops the pages itself when it next sees the mtime (fuse.md 4,
 * measured).
 * Owner: the loop thread.
 *
 * Invariants: only inval_inode(ino, -1, 0) is sent from here; it never waits. A name that is no
 * longer valid goes to a worker. mtime says when the value last changed (tree, rule 11): plain rows
 * are compared by the hash of their text; of offers see coherence_market.c. An inode that the kernel
 * does not know answers -ENOENT: that is fine.
 * Tests: tests/mount/.
 */
#include <string.h>

#include "internal.h"

#define STAMPS_MIN 4096

/* ---- stamps: a map from node id to hash and mtime ---- */

static size_t stamp_slot(const struct stamps *t, uint64_t ino)
{
	size_t i = (size_t)(ino * 0x9e3779b97f4a7c15u >> 20) & (t->room - 1);

	while (t->at[i].ino && t->at[i].ino != ino)
		i = (i + 1) & (t->room - 1);
	return i;
}

static struct stamp *stamp_find(struct mount *m, uint64_t ino)
{
	struct stamps *t = &m->stamps;
	struct stamp *s = t->room ? &t->at[stamp_slot(t, ino)] : NULL;

	return s && s->ino ? s : NULL;
}

static bool stamp_alive(struct ctx *x, uint64_t ino)
{
	if (node_resolve(ino, x) != 0)
		return false;
	return x->class != OBJ_HISTORY || !engine_proven(x->session);
}

/* To twice the room of what is left once stamps of objects that are gone were dropped. */
static bool stamps_rebuild(struct mount *m)
{
	struct stamps *t = &m->stamps, next = {0};
	size_t alive = 0;
	struct ctx x;

	ctx_init(m, NULL, &x);
	for (size_t i = 0; i < t->room; i++) {
		if (t->at[i].ino && !stamp_alive(&x, t->at[i].ino))
			t->at[i].ino = UINT64_MAX;
		alive += t->at[i].ino && t->at[i].ino != UINT64_MAX;
	}
	for (next.room = STAMPS_MIN; next.room < alive * 4;)
		next.room *= 2;
	next.at = calloc(next.room, sizeof(*next.at));
	if (!next.at)
		return false;
	for (size_t i = 0; i < t->room; i++)
		if (t->at[i].ino && t->at[i].ino != UINT64_MAX)
			next.at[stamp_slot(&next, t->at[i].ino)] = t->at[i];
	next.used = alive;
	free(t->at);
	*t = next;
	return true;
}

/* Found or made; NULL if memory is out: then the mtime is the object's. */
static struct stamp *stamp_get(struct mount *m, uint64_t ino, bool *made)
{
	struct stamps *t = &m->stamps;
	struct stamp *s = stamp_find(m, ino);

	*made = !s;
	if (s)
		return s;
	if (t->used * 2 >= t->room && !stamps_rebuild(m) && t->used + 1 >= t->room)
		return NULL;
	s = &t->at[stamp_slot(t, ino)];
	s->ino = ino;
	s->hash = 0;
	s->mtime_ns = 0;
	t->used++;
	return s;
}

static void stamp_bump(struct mount *m, struct stamp *s)
{
	int64_t now_ns = engine_now(m->e) * NS_PER_US;

	s->mtime_ns = now_ns > s->mtime_ns ? now_ns : s->mtime_ns + 1;
}

static void stamp_touch(struct mount *m, uint64_t ino)
{
	bool made;
	struct stamp *s = stamp_get(m, ino, &made);

	if (s)
		stamp_bump(m, s);
}

bool notify_attr(struct mount *m, uint64_t ino)
{
	if (!m->inited || m->gone_told)
		return false;
	return fuse_lowlevel_notify_inval_inode(m->se, ino, -1, 0) != -ENOENT;
}

/* Something in this directory is new, whatever it says. */
void touch(struct mount *m, uint64_t ino)
{
	stamp_touch(m, ino);
	notify_attr(m, ino);
}

void coherence_free(struct mount *m)
{
	coherence_market_free(m);
	free(m->stamps.at);
	memset(&m->stamps, 0, sizeof(m->stamps));
}

/* ---- mtime ---- */

static int64_t later(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

static int64_t stamp_mtime(struct mount *m, uint64_t ino)
{
	const struct stamp *s = stamp_find(m, ino);

	return s ? s->mtime_ns : 0;
}

static uint64_t text_hash(const struct buf *text)
{
	return hash64(text->len ? text->data : "", text->len, 0);
}

static bool is_stamped(const struct ctx *x)
{
	if (!x->row || node_is_dir(x) || node_caching(x) != C_PLAIN || !(x->row->mode & 0444))
		return false;
	switch (x->class) {
	case OBJ_SESSION:
	case OBJ_PROVIDER:
	case OBJ_ROOT:
		return true;
	case OBJ_HISTORY: /* what is proven stays as it is; a stamp from before still counts */
		return !engine_proven(x->session) || stamp_find(x->m, node_of(x));
	case OBJ_NONE:
	case OBJ_OFFER:
	case OBJ_QUERY:
	case OBJ_RESULT:
	case OBJ_READER:
	case OBJ_LAST:
	case OBJ_PORT:
	case OBJ_COUNT:
		return false;
	}
	return false;
}

int64_t node_mtime_ns(const struct ctx *x, const struct buf *text, int64_t changed_us)
{
	struct mount *m = x->m;
	int64_t base_ns = (changed_us > 0 ? changed_us : m->started_us) * NS_PER_US;
	uint64_t ino = node_of(x);
	struct stamp *s;
	bool made;

	if (x->class == OBJ_OFFER)
		return offer_mtime_ns(m, ino);
	if (x->class == OBJ_QUERY || x->class == OBJ_RESULT)
		return m->market_last_ns; /* what they show follows the market */
	if (!text || !is_stamped(x))
		return later(base_ns, stamp_mtime(m, ino));
	s = stamp_get(m, ino, &made);
	if (!s)
		return base_ns;
	if (made)
		s->mtime_ns = base_ns;
	else if (s->hash != text_hash(text))
		stamp_bump(m, s);
	s->hash = text_hash(text);
	return s->mtime_ns;
}

/* ---- an object's rows ---- */

/* Compare what the kernel may know with what is true now. x is the object; everything: its owner or
 * mode changed, so every row's attributes did. */
static void object_changed(const struct ctx *object, bool everything)
{
	const struct row *rows = class_rows(object->class);
	struct mount *m = object->m;

	for (unsigned i = 0; rows[i].path; i++) {
		struct ctx x = *object;
		struct stamp *s;
		BUF text = {0};

		x.row = &rows[i];
		if (everything)
			notify_attr(m, node_of(&x));
		if ((x.class == OBJ_ROOT && x.row->cache == C_READER) || (x.row->flags & ROW_FIXED))
			continue;
		s = is_stamped(&x) ? stamp_find(m, node_of(&x)) : NULL;
		if (!s)
			continue; /* nobody asked for it yet */
		if (tree_show(&x, &text) != 0)
			buf_reset(&text);
		if (!text.failed && text_hash(&text) != s->hash) {
			s->hash = text_hash(&text);
			stamp_bump(m, s);
			notify_attr(m, s->ino);
		}
		if ((x.row->flags & ROW_SECRET) && text.data)
			explicit_bzero(text.data, text.cap);
	}
}

static void class_changed(struct mount *m, enum object class, uint64_t serial)
{
	struct ctx x;

	ctx_init(m, NULL, &x);
	if (ctx_set_object(&x, class, serial))
		object_changed(&x, false);
}

static void session_changed(struct mount *m, const struct session *s)
{
	enum object class = session_in_history(s) ? OBJ_HISTORY : OBJ_SESSION;
	uint64_t dir = node_id(class, (uint64_t)s->serial, 0);
	int64_t rights[3] = {s->owner_uid, s->owner_gid, s->dir_mode};
	uint64_t hash = hash64(rights, sizeof(rights), 0);
	struct stamp *stamp;
	struct ctx x;
	bool made;

	ctx_init(m, NULL, &x);
	x.class = class;
	x.serial = (uint64_t)s->serial;
	x.session = s;
	stamp = stamp_get(m, dir, &made);
	object_changed(&x, !stamp || stamp->hash != hash);
	stamp = stamp_find(m, dir);
	if (stamp)
		stamp->hash = hash;
	notify_attr(m, dir);
}

/* A name in sessions/ is no longer what it was. If the kernel asked for that itself, it knows. */
static void name_changed(struct mount *m, const struct session *s, const char *old_name)
{
	uint64_t sessions = root_dir_of(OBJ_SESSION);

	touch(m, sessions);
	notify_attr(m, node_id(OBJ_SESSION, (uint64_t)s->serial, 0));
	if (old_name && old_name[0] && !op_moves(m, (uint64_t)s->serial))
		mount_forget_name(m, sessions, old_name);
}

/* ---- changes ---- */

void coherence_change(struct mount *m, const struct change *c)
{
	switch (c->kind) {
	case CH_SESSION_NEW:
		touch(m, root_dir_of(OBJ_SESSION));
		break;
	case CH_SESSION:
	case CH_SESSION_PROVEN:
		session_changed(m, c->session);
		break;
	case CH_SESSION_NAME:
		name_changed(m, c->session, c->text);
		session_changed(m, c->session);
		break;
	case CH_SESSION_ENDED:
		name_changed(m, c->session, c->session->name);
		touch(m, root_dir_of(OBJ_HISTORY));
		break;
	case CH_SESSION_GONE:
		if (c->session->state == S_DRAFT)
			name_changed(m, c->session, c->session->name);
		touch(m, root_dir_of(OBJ_HISTORY));
		notify_attr(m, node_id(OBJ_HISTORY, (uint64_t)c->session->serial, 0));
		break;
	case CH_MARKET:
		market_changed(m, c);
		break;
	case CH_PROVIDER:
		for (size_t i = 0; i < engine_provider_count(m->e); i++)
			class_changed(m, OBJ_PROVIDER, i + 1);
		break;
	case CH_STATUS:
		/* Its owner and mode are a setting, which a reload may have changed. */
		notify_attr(m, root_dir_of(OBJ_SESSION));
		class_changed(m, OBJ_ROOT, 0);
		break;
	case CH_ALARMS:
		class_changed(m, OBJ_ROOT, 0);
		break;
	case CH_SESSION_STATE: /* CH_SESSION follows */
	case CH_EVENT:
		break;
	}
}
