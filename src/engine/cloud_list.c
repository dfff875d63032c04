/*
 * A list over all its pages (faults.md, Reconciling): complete only if every page came, the counts
 * agree and nothing repeated. An incomplete one may add knowledge and never removes any, so whatever
 * came is handed over.
 */
#include <string.h>

#include "cloud_parts.h"

struct walk {
	struct instance *rows;
	size_t count, cap;
	size_t pages, dropped;
	uint64_t cursors[PAGES_MAX]; /* hashes; two that are equal by chance cost completeness */
	int64_t total;
	bool incomplete;
	char why[200]; /* the first reason */
};

struct walk *walk_new(void)
{
	struct walk *wk = xcalloc(1, sizeof *wk);

	wk->total = UNKNOWN;
	return wk;
}

void walk_free(struct walk *wk)
{
	if (!wk)
		return;
	free(wk->rows);
	free(wk);
}

__attribute__((format(printf, 2, 3))) static void spoil(struct walk *wk, const char *fmt, ...)
{
	va_list ap;

	if (wk->incomplete)
		return;
	wk->incomplete = true;
	va_start(ap, fmt);
	vsnprintf(wk->why, sizeof wk->why, fmt, ap);
	va_end(ap);
}

static bool take_rows(struct walk *wk, const struct result *r)
{
	size_t want = wk->count + r->count;

	if (want > WIRE_ROWS_MAX)
		return false;
	if (want > wk->cap) {
		size_t cap = wk->cap * 2 > want ? wk->cap * 2 : want;
		struct instance *more = reallocarray(wk->rows, cap, sizeof *more);

		if (!more)
			return false;
		wk->rows = more;
		wk->cap = cap;
	}
	if (r->count)
		memcpy(wk->rows + wk->count, r->instances, r->count * sizeof *wk->rows);
	wk->count = want;
	return true;
}

/* What one page says against the completeness of the whole. */
static void judge_page(struct walk *wk, int status, const struct wire_result *page)
{
	if (status < 200 || status > 299)
		spoil(wk, "page %zu came with status %d", wk->pages, status);
	/* Only the last page can say that it is the last. */
	if (!page->next[0] && !page->r.complete)
		spoil(wk, "page %zu, the last, is not whole", wk->pages);
	if (page->r.dropped)
		spoil(wk, "page %zu has %zu rows that could not be read", wk->pages,
		      page->r.dropped);
	if (page->truncated_cursor)
		spoil(wk, "the cursor behind page %zu is too long", wk->pages);
	if (page->total == UNKNOWN)
		return;
	if (wk->total != UNKNOWN && wk->total != page->total)
		spoil(wk, "the total changed from %lld to %lld on page %zu", (long long)wk->total,
		      (long long)page->total, wk->pages);
	wk->total = page->total;
}

/* The next page's cursor was not seen before and may be followed. */
static bool follow(struct walk *wk, const char *next)
{
	uint64_t hash = hash64(next, strlen(next), 0);

	if (wk->pages >= PAGES_MAX) {
		spoil(wk, "there are more than %d pages", PAGES_MAX);
		return false;
	}
	for (size_t i = 1; i < wk->pages; i++)
		if (wk->cursors[i] == hash) {
			spoil(wk, "the cursor behind page %zu was seen before", wk->pages);
			return false;
		}
	wk->cursors[wk->pages] = hash;
	return true;
}

static int by_id_and_place(const void *a, const void *b)
{
	const struct instance *x = *(const struct instance *const *)a;
	const struct instance *y = *(const struct instance *const *)b;
	int order = strcmp(x->id, y->id);

	return order ? order : x < y ? -1 : x > y;
}

/* Rows that repeat an id go: the first stays. Sorted, since a hostile list has 20 000 rows. */
static void drop_repeated(struct walk *wk)
{
	FREE struct instance **sorted = reallocarray(NULL, wk->count + 1, sizeof *sorted);
	size_t keep = 0;

	if (!sorted) {
		spoil(wk, "out of memory");
		return;
	}
	for (size_t i = 0; i < wk->count; i++)
		sorted[i] = &wk->rows[i];
	qsort(sorted, wk->count, sizeof(struct instance *), by_id_and_place);
	if (wk->count && !sorted[0]->id[0])
		spoil(wk, "there is a machine without an id");
	for (size_t i = wk->count; i-- > 1;) {
		if (strcmp(sorted[i]->id, sorted[i - 1]->id))
			continue;
		spoil(wk, "machine %s came twice", sorted[i]->id);
		sorted[i]->status = INST_COUNT; /* marked: the one before it stays */
	}
	for (size_t i = 0; i < wk->count; i++)
		if (wk->rows[i].status != INST_COUNT && keep++ != i)
			wk->rows[keep - 1] = wk->rows[i];
	wk->count = keep;
}

static void conclude(struct walk *wk, struct result *out)
{
	size_t came = wk->count;

	drop_repeated(wk);
	if (wk->total != UNKNOWN && wk->total != (int64_t)came)
		spoil(wk, "%zu machines came, the provider counts %lld", came,
		      (long long)wk->total);
	*out = (struct result){.verdict = SURE_YES,
			       .error = PE_NONE,
			       .complete = !wk->incomplete,
			       .instances = wk->rows,
			       .count = wk->count,
			       .rows = came + wk->dropped,
			       .dropped = wk->dropped,
			       .balance_u6 = UNKNOWN,
			       .retry_after_us = UNKNOWN};
	if (wk->incomplete)
		snprintf(out->text, sizeof out->text, "the list is incomplete: %s", wk->why);
	else
		snprintf(out->text, sizeof out->text, "%zu machines on %zu pages", wk->count,
			 wk->pages);
}

bool walk_page(struct walk *wk, int status, const struct wire_result *page, char cursor[512],
	       struct result *out)
{
	if (page->r.verdict != SURE_YES) {
		/* A dead key knows nothing (and nothing is thought gone); no page, no list. */
		if (page->r.verdict == KEY_DEAD || !wk->pages) {
			*out = page->r;
			out->complete = false;
			out->instances = NULL;
			out->count = 0;
			return false;
		}
		spoil(wk, "page %zu did not come: %s", wk->pages + 1, page->r.text);
		conclude(wk, out);
		out->retry_after_us = page->r.retry_after_us;
		return false;
	}
	wk->pages++;
	wk->dropped += page->r.dropped;
	judge_page(wk, status, page);
	if (!take_rows(wk, &page->r)) {
		spoil(wk, "more than %d machines, or memory is out", WIRE_ROWS_MAX);
		conclude(wk, out);
		return false;
	}
	if (page->next[0] && follow(wk, page->next)) {
		copy_text(cursor, 512, page->next);
		return true;
	}
	conclude(wk, out);
	return false;
}
