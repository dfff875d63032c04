/*
 * Long texts that many read: rendered once per market and shared by everybody who has them open at the
 * same time. Since whoever opens a file asked for its size just before, small ones are kept a little
 * longer, and of the large ones the last for a second: megabytes that nobody reads are not held. Loop
 * thread.
 *
 * Invariants: a text that is shared never changes; the one who holds a reference may read it, however
 * the market moves on. The memory of all of them is part of m->snapshot_bytes.
 * Tests: tests/mount/scale.bats, tests/mount/search.bats.
 */
#include <string.h>

#include "internal.h"

#define LINGER_MS 1000

static void linger_end(struct mount *m)
{
	struct shared_text *t = m->lingering;

	m->lingering = NULL;
	mount_text_unref(m, t);
}

static void on_linger(uv_timer_t *timer)
{
	linger_end(timer->data);
}

static void linger(struct mount *m, struct shared_text *t)
{
	linger_end(m);
	if (m->stopped || !m->linger.data)
		return;
	t->refs++;
	m->lingering = t;
	uv_timer_start(&m->linger, on_linger, LINGER_MS, 0);
}

static void known_forget(struct mount *m, struct known_text *k)
{
	struct shared_text *t = k->shared;

	k->shared = NULL;
	if (!t || !k->kept)
		return;
	m->kept_bytes -= t->text.cap;
	mount_text_unref(m, t);
}

void mount_text_unref(struct mount *m, struct shared_text *t)
{
	if (!t || --t->refs)
		return;
	for (size_t i = 0; i < KNOWN_TEXTS; i++)
		if (m->known[i].shared == t)
			m->known[i].shared = NULL;
	m->snapshot_bytes -= t->text.cap;
	buf_free(&t->text);
	free(t);
}

struct shared_text *mount_cached(struct mount *m, uint64_t nodeid, uint64_t version)
{
	for (size_t i = 0; i < KNOWN_TEXTS; i++) {
		struct known_text *k = &m->known[i];

		if (!k->shared || k->nodeid != nodeid || k->version != version)
			continue;
		k->used = ++m->known_clock;
		k->shared->refs++;
		return k->shared;
	}
	return NULL;
}

/* The node's own old text, else a free place, else the one that was not used for the longest time. */
static struct known_text *known_place(struct mount *m, uint64_t nodeid)
{
	struct known_text *oldest = &m->known[0];

	for (size_t i = 0; i < KNOWN_TEXTS; i++) {
		struct known_text *k = &m->known[i];

		if (k->shared && k->nodeid == nodeid)
			return k;
		if (oldest->shared && (!k->shared || k->used < oldest->used))
			oldest = k;
	}
	return oldest;
}

static struct known_text *kept_oldest(struct mount *m)
{
	struct known_text *oldest = NULL;

	for (size_t i = 0; i < KNOWN_TEXTS; i++)
		if (m->known[i].shared && m->known[i].kept &&
		    (!oldest || m->known[i].used < oldest->used))
			oldest = &m->known[i];
	return oldest;
}

struct shared_text *mount_cache(struct mount *m, uint64_t nodeid, uint64_t version,
				struct buf *take)
{
	struct shared_text *t = take->failed ? NULL : calloc(1, sizeof(*t));
	struct known_text *k;

	if (!t)
		return NULL;
	t->refs = 1;
	t->text = *take;
	memset(take, 0, sizeof(*take));
	m->snapshot_bytes += t->text.cap;
	k = known_place(m, nodeid);
	known_forget(m, k);
	*k = (struct known_text){
		.nodeid = nodeid, .version = version, .used = ++m->known_clock, .shared = t};
	if (t->text.cap > KEPT_BYTES_MAX) {
		linger(m, t);
		return t;
	}
	while (m->kept_bytes + t->text.cap > KEPT_BYTES_MAX && kept_oldest(m))
		known_forget(m, kept_oldest(m));
	k->kept = true;
	t->refs++;
	m->kept_bytes += t->text.cap;
	return t;
}

void texts_forget(struct mount *m)
{
	linger_end(m);
	for (size_t i = 0; i < KNOWN_TEXTS; i++)
		known_forget(m, &m->known[i]);
}
