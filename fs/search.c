/*
 * The table of queries behind search/: any query can be looked up, so this is the one place of the
 * tree where a look-up allocates. Loop thread.
 *
 * Invariants: at most QUERY_NODES_MAX nodes; serials count up and are never reused. When the table
 * is full a node goes below which nothing hangs and that search/ does not list: the oldest that the
 * kernel has forgotten, else the oldest of all. The kernel keeps look-ups for as long as it has
 * memory, so waiting for it would let 4096 queries of anybody end all searching; a request for what
 * went is ESTALE, upon which the kernel walks the path again by itself. Queries of one parent with
 * the same canonical text are one node. Lists of matches are kept per market and dropped, oldest
 * first, beyond MATCHES_MAX. What may be dropped stands in lists in that order: a look-up in a full
 * table costs no walk over all nodes.
 * Tests: tests/unit/test_search.c.
 */
#include <stdio.h>
#include <string.h>
#include <sys/queue.h>

#include "../src/core/check.h"
#include "rows.h"

#define BUCKETS	    1024
#define MATCHES_MAX ((size_t)4 << 20) /* indexes kept over all nodes: 16 MiB */
#define MODELS_MAX  512		      /* listed in search/; others can still be looked up */
#define NO_OFFER    UINT32_MAX

struct query_node {
	uint64_t serial;
	struct query_node *parent; /* NULL: directly below search/ */
	unsigned depth;
	struct query own; /* the conditions of this level only */
	char *text;	  /* canonical */
	uint64_t refs;	  /* look-ups that the kernel has not forgotten */
	size_t children;
	bool listed;
	bool droppable;
	uint64_t market; /* generation + 1 of `matches`; 0: none */
	uint32_t *matches;
	size_t match_count;
	uint64_t best_market;			    /* generation + 1 of `best`; 0: not known */
	uint32_t best;				    /* index of an offer; NO_OFFER: no match */
	struct query_node *next_text, *next_serial; /* in the buckets */
	TAILQ_ENTRY(query_node) by_use;		    /* if it is droppable */
	TAILQ_ENTRY(query_node) by_match;	    /* if it has matches */
};
TAILQ_HEAD(query_list, query_node);

struct query_table {
	struct query_node *by_text[BUCKETS], *by_serial[BUCKETS];
	size_t count, match_total;
	/* Nodes that may be dropped, the one that was used longest ago first: those that the kernel has
	 * forgotten, and those that it holds. */
	struct query_list forgotten, held;
	struct query_list matched; /* with a list of matches, the oldest first */
	uint64_t last_serial;
	const struct inventory *listed_inv; /* borrowed: only compared */
	uint64_t listed_market;
	uint64_t listed[MODELS_MAX + 1]; /* serials, ascending */
	size_t listed_count;
};

static size_t bucket_of_text(const struct query_node *parent, const char *text)
{
	return hash64(text, strlen(text), parent ? parent->serial : 0) % BUCKETS;
}

static struct query_list *list_of(struct query_table *t, const struct query_node *q)
{
	return q->refs ? &t->held : &t->forgotten;
}

/* Out of the lists, before anything that decides in which one it stands changes. */
static void node_unlist(struct query_table *t, struct query_node *q)
{
	if (q->droppable)
		TAILQ_REMOVE(list_of(t, q), q, by_use);
	q->droppable = false;
}

/* Into the list where it belongs, as the one that was just used. */
static void node_touch(struct query_table *t, struct query_node *q)
{
	node_unlist(t, q);
	q->droppable = !q->children && !q->listed;
	if (q->droppable)
		TAILQ_INSERT_TAIL(list_of(t, q), q, by_use);
}

static void node_children(struct query_table *t, struct query_node *q, bool more)
{
	if (!q)
		return;
	node_unlist(t, q);
	q->children += more ? 1 : (size_t)-1;
	node_touch(t, q);
}

static void node_drop_matches(struct query_table *t, struct query_node *q)
{
	if (q->market)
		TAILQ_REMOVE(&t->matched, q, by_match);
	t->match_total -= q->match_count;
	free(q->matches);
	q->matches = NULL;
	q->match_count = 0;
	q->market = 0;
}

static void node_link(struct query_table *t, struct query_node *q)
{
	size_t bt = bucket_of_text(q->parent, q->text), bs = q->serial % BUCKETS;

	q->next_text = t->by_text[bt];
	t->by_text[bt] = q;
	q->next_serial = t->by_serial[bs];
	t->by_serial[bs] = q;
	t->count++;
	node_children(t, q->parent, true);
}

static void node_free(struct query_table *t, struct query_node *q)
{
	struct query_node **p = &t->by_text[bucket_of_text(q->parent, q->text)];

	while (*p != q)
		p = &(*p)->next_text;
	*p = q->next_text;
	p = &t->by_serial[q->serial % BUCKETS];
	while (*p != q)
		p = &(*p)->next_serial;
	*p = q->next_serial;
	t->count--;
	node_children(t, q->parent, false);
	node_unlist(t, q);
	node_drop_matches(t, q);
	free(q->text);
	free(q);
}

static void node_list(struct query_table *t, struct query_node *q, bool listed)
{
	node_unlist(t, q);
	q->listed = listed;
	node_touch(t, q);
}

/* Takes `text`; NULL if memory is out. */
static struct query_node *node_new(struct query_table *t, struct query_node *parent,
				   const struct query *own, char *text)
{
	struct query_node *q = text ? calloc(1, sizeof(*q)) : NULL;

	if (!q) {
		free(text);
		return NULL;
	}
	q->serial = ++t->last_serial;
	q->parent = parent;
	q->depth = parent ? parent->depth + 1 : 1;
	q->own = *own;
	q->text = text;
	node_link(t, q);
	node_touch(t, q);
	return q;
}

struct query_table *query_table_new(void)
{
	struct query_table *t = xcalloc(1, sizeof(*t));
	struct query everything = {0};
	struct query_node *all;

	TAILQ_INIT(&t->forgotten);
	TAILQ_INIT(&t->held);
	TAILQ_INIT(&t->matched);
	all = node_new(t, NULL, &everything, strdup("all"));
	CHECK(all != NULL);
	node_list(t, all, true);
	t->listed[t->listed_count++] = all->serial;
	return t;
}

void query_table_free(struct query_table *t)
{
	if (!t)
		return;
	for (size_t i = 0; i < BUCKETS; i++) {
		for (struct query_node *q = t->by_serial[i], *next; q; q = next) {
			next = q->next_serial;
			free(q->matches);
			free(q->text);
			free(q);
		}
	}
	free(t);
}

size_t query_table_count(const struct query_table *t)
{
	return t->count;
}

/* Makes room for one node. There always is a leaf to drop: few are listed, and levels are bounded. */
static void table_make_room(struct query_table *t)
{
	struct query_node *oldest = TAILQ_FIRST(&t->forgotten);

	if (t->count < QUERY_NODES_MAX)
		return;
	if (!oldest)
		oldest = TAILQ_FIRST(&t->held);
	CHECK(oldest != NULL);
	node_free(t, oldest);
}

static int query_of_name(const struct query_node *parent, const char *name, struct query *own,
			 struct buf *text, struct error *why)
{
	memset(own, 0, sizeof(*own));
	if (!parent && strcmp(name, "all") == 0) {
		buf_puts(text, name);
		return 0;
	}
	if (!strchr(name, '='))
		return fail(why, ERR_NOT_FOUND,
			    "'%s' is no query: write conditions such as gpu=RTX_4090,min_vram=24",
			    name);
	if (parent && parent->depth >= QUERY_DEPTH_MAX)
		return fail(why, ERR_INVALID,
			    "queries nest at most %d deep: join conditions with commas",
			    QUERY_DEPTH_MAX);
	int rc = query_parse(own, name, why);

	if (rc == 0)
		query_put(own, text);
	return rc;
}

int query_table_get(struct query_table *t, struct query_node *parent, const char *name,
		    const struct engine *e, uint64_t *serial, struct error *why)
{
	struct query own;
	BUF text = {0};
	int rc = query_of_name(parent, name, &own, &text, why);

	(void)e; /* what is asked does not depend on the market */
	if (rc < 0)
		return rc;
	if (text.failed || !text.data)
		return fail(why, ERR_NO_MEMORY, "out of memory for a query");
	struct query_node *q = t->by_text[bucket_of_text(parent, text.data)];

	while (q && (q->parent != parent || strcmp(q->text, text.data) != 0))
		q = q->next_text;
	if (!q) {
		node_children(t, parent, true); /* making room must not take it */
		table_make_room(t);
		node_children(t, parent, false);
		q = node_new(t, parent, &own, buf_take(&text));
		if (!q)
			return fail(why, ERR_NO_MEMORY, "out of memory for a query");
	}
	node_touch(t, q);
	*serial = q->serial;
	return 0;
}

struct query_node *query_table_find(struct query_table *t, uint64_t serial)
{
	struct query_node *q = t->by_serial[serial % BUCKETS];

	while (q && q->serial != serial)
		q = q->next_serial;
	if (q)
		node_touch(t, q);
	return q;
}

void query_node_ref(struct query_table *t, struct query_node *q)
{
	node_unlist(t, q);
	q->refs++;
	node_touch(t, q);
}

void query_node_forget(struct query_table *t, uint64_t serial, uint64_t n)
{
	struct query_node *q = query_table_find(t, serial);

	if (!q)
		return;
	node_unlist(t, q);
	q->refs -= n < q->refs ? n : q->refs; /* never trust the count below zero */
	node_touch(t, q);
}

unsigned query_node_depth(const struct query_node *q)
{
	return q->depth;
}

void query_node_asked(const struct query_node *q, struct engine *e)
{
	struct query whole = {0};

	for (; q; q = q->parent) {
		const struct query *own = &q->own;

		for (size_t k = 0; k < Q_KEY_COUNT; k++) { /* the inner level is the narrower one */
			if (whole.set & UINT32_C(1) << k || !(own->set & UINT32_C(1) << k))
				continue;
			COPY(whole.text[k], own->text[k]);
			whole.num[k] = own->num[k];
			whole.gpu_exact = k == Q_GPU ? own->gpu_exact : whole.gpu_exact;
		}
		whole.set |= own->set;
	}
	engine_asked_for(e, &whole);
}

const char *query_node_name(const struct query_node *q)
{
	return q->text;
}

/* ---- matches ---- */

static struct query_scan *node_scan(const struct query_node *q, const struct inventory *inv)
{
	const struct query *levels[QUERY_LEVELS_MAX];
	size_t n = 0;

	for (; q; q = q->parent) {
		CHECK(n < QUERY_LEVELS_MAX);
		levels[n++] = &q->own;
	}
	return query_scan_new(levels, n, inv);
}

static void matches_limit(struct query_table *t, const struct query_node *keep)
{
	struct query_node *oldest = TAILQ_FIRST(&t->matched);

	/* The one in use stays: it may be as long as the market. */
	while (t->match_total > MATCHES_MAX && oldest != keep) {
		node_drop_matches(t, oldest);
		oldest = TAILQ_FIRST(&t->matched);
	}
}

/* Takes `matches`. */
static void node_keep_matches(struct query_table *t, struct query_node *q, uint64_t market,
			      uint32_t *matches, size_t n)
{
	node_drop_matches(t, q);
	q->matches = matches;
	q->match_count = n;
	q->market = market;
	t->match_total += n;
	TAILQ_INSERT_TAIL(&t->matched, q, by_match);
	matches_limit(t, q);
}

size_t query_node_matches(struct query_table *t, struct query_node *q, const struct inventory *inv,
			  const uint32_t **indexes)
{
	uint64_t market = inv ? inv->generation + 1 : 0;
	struct query_scan *scan;
	uint32_t *found, *fitted;
	size_t n = 0;

	*indexes = NULL;
	if (!inv)
		return 0;
	if (q->market == market) {
		*indexes = q->matches;
		return q->match_count;
	}
	found = malloc((inv->count + 1) * sizeof(*found));
	scan = found ? node_scan(q, inv) : NULL;
	if (!scan) {
		free(found);
		return 0;
	}
	for (size_t i = query_scan_next(scan, 0); i < inv->count; i = query_scan_next(scan, i + 1))
		found[n++] = (uint32_t)i;
	query_scan_free(scan);
	fitted = realloc(found, (n + 1) * sizeof(*found));
	node_keep_matches(t, q, market, fitted ? fitted : found, n);
	*indexes = q->matches;
	return n;
}

const struct offer *query_node_best(struct query_node *q, const struct inventory *inv)
{
	uint64_t market = inv ? inv->generation + 1 : 0;
	struct query_scan *scan;
	size_t i;

	if (!inv)
		return NULL;
	if (q->best_market != market) {
		scan = node_scan(q, inv);
		if (!scan)
			return NULL;
		i = query_scan_next(scan, 0);
		query_scan_free(scan);
		q->best = i < inv->count ? (uint32_t)i : NO_OFFER;
		q->best_market = market;
	}
	return q->best == NO_OFFER ? NULL : &inv->offers[q->best];
}

/* Levels AND. Conditions of different keys make one query; a key that stands on two levels cannot,
 * since a query holds each key once: then the outer level explains itself, and this one adds its
 * line. */
static bool levels_repeat_key(const struct query_node *q)
{
	uint32_t seen = 0;

	for (; q; q = q->parent) {
		if (seen & q->own.set)
			return true;
		seen |= q->own.set;
	}
	return false;
}

void query_node_why(struct query_table *t, struct query_node *q, const struct inventory *inv,
		    struct buf *out)
{
	struct query_node *added[QUERY_DEPTH_MAX];
	size_t n = 0;
	struct query whole = {0};
	const uint32_t *indexes;

	while (levels_repeat_key(q)) {
		CHECK(n < QUERY_DEPTH_MAX);
		added[n++] = q;
		q = q->parent;
	}
	for (const struct query_node *p = q; p; p = p->parent)
		if (p->own.set)
			query_parse(&whole, p->text, NULL);
	query_why(&whole, inv, out);
	while (n > 0) {
		q = added[--n];
		buf_printf(out, "%s\t%zu\t\n", q->text, query_node_matches(t, q, inv, &indexes));
	}
}

void result_put_name(char name[256], size_t rank, size_t count, const struct offer *o)
{
	int width = 3; /* all names of one listing are of one width, so that ls sorts by price */

	for (size_t limit = 1000; count >= limit; limit *= 10)
		width++;
	snprintf(name, 256, "%0*zu.%s", width, rank, o->id);
}

void result_put_target(const struct query_node *q, const struct offer *o, struct buf *out)
{
	for (unsigned i = 0; i <= q->depth; i++)
		buf_puts(out, "../");
	buf_puts(out, "inventory/");
	buf_puts(out, o->id);
}

/* ---- what search/ lists ---- */

static int serial_compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* "gpu=RTX_4090" of a model; false if the model's name holds what a path must not (tree, rule 4).
 */
static bool model_put_query(const char *model, char out[128])
{
	size_t n = strlen(model);

	if (n == 0 || n > 100)
		return false;
	snprintf(out, 128, "gpu=%s", model);
	for (char *p = out + 4; *p; p++) {
		if (*p == ' ')
			*p = '_';
		else if (!strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				 "0123456789._+-",
				 *p))
			return false;
	}
	return true;
}

static void table_list_models(struct query_table *t, const struct engine *e,
			      const struct inventory *inv)
{
	const struct inventory_words *models = &inv->words[WORD_MODEL];
	char name[128];
	uint64_t serial = 0;

	for (size_t i = 1; i < t->listed_count; i++) {
		struct query_node *q = query_table_find(t, t->listed[i]);

		CHECK(q != NULL);
		node_list(t, q, false);
	}
	t->listed_count = 1; /* `all` is always there and has the smallest serial */
	for (size_t i = 0; i < models->count && t->listed_count <= MODELS_MAX; i++) {
		if (!model_put_query(models->text[i], name) ||
		    query_table_get(t, NULL, name, e, &serial, NULL) < 0)
			continue;
		struct query_node *q = query_table_find(t, serial);

		if (q->listed)
			continue; /* two spellings of one model */
		node_list(t, q, true);
		t->listed[t->listed_count++] = serial;
	}
	qsort(t->listed, t->listed_count, sizeof(t->listed[0]), serial_compare);
	t->listed_inv = inv;
	t->listed_market = inv->generation;
}

bool query_table_next_listed(struct query_table *t, const struct engine *e, uint64_t after,
			     uint64_t *serial, char name[256])
{
	const struct inventory *inv = engine_inventory(e);

	if (inv && (inv != t->listed_inv || inv->generation != t->listed_market))
		table_list_models(t, e, inv);
	for (size_t i = 0; i < t->listed_count; i++) {
		if (t->listed[i] <= after)
			continue;
		*serial = t->listed[i];
		copy_text(name, 256, query_table_find(t, *serial)->text);
		return true;
	}
	return false;
}
