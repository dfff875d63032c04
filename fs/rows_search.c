/*
 * search/QUERY/: what matches, by price: links, tables for people and programs, and the reason why
 * not. Everything follows the market, so it is derived; what is long is rendered once per market
 * (mount_cached). Loop thread. Tests: tests/unit/test_search.c.
 */
#include <string.h>

#include "../src/core/check.h"
#include "rows.h"

#define CACHE_FROM 4096 /* bytes: below, rendering again is cheaper than keeping */

/* What a query shows at this moment. */
struct results {
	const struct inventory *inv;
	const uint32_t *indexes;
	size_t count;
};

static struct results results_of(const struct ctx *x)
{
	struct results r = {.inv = engine_inventory(x->e)};

	query_node_asked(x->query, x->e);
	r.count = query_node_matches(mount_queries(x->m), x->query, r.inv, &r.indexes);
	return r;
}

static const struct offer *result_at(const struct results *r, size_t i)
{
	return &r->inv->offers[r->indexes[i]];
}

/* Renders through the mount's cache of texts, keyed by node and market. */
static int show_cached(const struct ctx *x, struct buf *out,
		       void (*render)(const struct results *r, struct buf *out))
{
	uint64_t id = node_id(OBJ_QUERY, x->serial, (unsigned)(x->row - query_rows) + 1);
	const struct inventory *inv = engine_inventory(x->e);
	const struct buf *kept = inv ? mount_cached(x->m, id, inv->generation) : NULL;

	if (kept) {
		query_node_asked(x->query, x->e);
		buf_add(out, kept->data, kept->len);
		return 0;
	}
	BUF text = {0};
	struct results r = results_of(x);

	if (r.count)
		render(&r, &text);
	if (text.failed)
		return -ENOMEM;
	buf_add(out, text.data, text.len);
	if (inv && text.len >= CACHE_FROM)
		mount_cache(x->m, id, inv->generation, &text);
	return 0;
}

static void render_tsv(const struct results *r, struct buf *out)
{
	buf_puts(out, "# id");
	for (size_t f = 0; f < offer_field_count; f++)
		buf_printf(out, "\t%s", offer_fields[f].name);
	buf_putc(out, '\n');
	for (size_t i = 0; i < r->count; i++) {
		const struct offer *o = result_at(r, i);

		buf_puts(out, o->id);
		for (size_t f = 0; f < offer_field_count; f++) {
			buf_putc(out, '\t');
			offer_fields[f].show(o, out);
		}
		buf_putc(out, '\n');
	}
}

static void render_json(const struct results *r, struct buf *out)
{
	for (size_t i = 0; i < r->count; i++) {
		offer_put_json(result_at(r, i), out);
		buf_putc(out, '\n');
	}
}

/* Columns of the table for people; the head of a column is the field's name. */
static const struct column {
	const char *field; /* NULL: the id */
	bool right;
} columns[] = {
	{NULL, false},
	{"gpu_type", false},
	{"gpu_count", true},
	{"vram_gb", true},
	{"price_per_hour", true},
	{"reliability", true},
	{"availability_confidence", true},
	{"location", false},
};

static void put_padded(struct buf *out, const char *s, size_t n, size_t width, bool right,
		       bool last)
{
	size_t pad = width > n ? width - n : 0;

	for (size_t i = 0; right && i < pad; i++)
		buf_putc(out, ' ');
	buf_add(out, s, n);
	for (size_t i = 0; !right && !last && i < pad; i++)
		buf_putc(out, ' ');
	buf_puts(out, last ? "\n" : "  ");
}

/* Cells in a row, each ended by a NUL; an unknown one is "-", so that columns stay in line. */
static void put_cells(const struct offer *o, const struct offer_field *const *fields,
		      struct buf *cells)
{
	for (size_t c = 0; c < ARRAY_LEN(columns); c++) {
		size_t before = cells->len;

		if (!columns[c].field)
			buf_puts(cells, o ? o->id : "# id");
		else if (!o)
			buf_puts(cells, columns[c].field);
		else
			fields[c]->show(o, cells);
		if (cells->len == before)
			buf_putc(cells, '-');
		buf_putc(cells, '\0');
	}
}

static void render_table(const struct results *r, struct buf *out)
{
	const struct offer_field *fields[ARRAY_LEN(columns)] = {NULL};
	size_t width[ARRAY_LEN(columns)] = {0};
	BUF cells = {0};

	for (size_t c = 0; c < ARRAY_LEN(columns); c++) {
		fields[c] = columns[c].field ? offer_field_named(columns[c].field) : NULL;
		CHECK(fields[c] || !columns[c].field);
	}
	put_cells(NULL, fields, &cells);
	for (size_t i = 0; i < r->count; i++)
		put_cells(result_at(r, i), fields, &cells);
	if (cells.failed) {
		out->failed = true;
		return;
	}
	for (size_t at = 0, c = 0; at < cells.len; c = (c + 1) % ARRAY_LEN(columns)) {
		size_t n = strlen(cells.data + at);

		if (n > width[c])
			width[c] = n;
		at += n + 1;
	}
	for (size_t at = 0, c = 0; at < cells.len; c = (c + 1) % ARRAY_LEN(columns)) {
		size_t n = strlen(cells.data + at);

		put_padded(out, cells.data + at, n, width[c], columns[c].right,
			   c + 1 == ARRAY_LEN(columns));
		at += n + 1;
	}
}

static int show_table(const struct ctx *x, struct buf *out)
{
	return show_cached(x, out, render_table);
}

static int show_tsv(const struct ctx *x, struct buf *out)
{
	return show_cached(x, out, render_tsv);
}

static int show_offers_json(const struct ctx *x, struct buf *out)
{
	return show_cached(x, out, render_json);
}

static int show_count(const struct ctx *x, struct buf *out)
{
	return put_int_line(out, (int64_t)results_of(x).count);
}

static int show_best(const struct ctx *x, struct buf *out)
{
	struct results r = results_of(x);

	if (r.count == 0)
		return -ENOENT;
	result_put_target(x->query, result_at(&r, 0), out);
	return 0;
}

static int show_why(const struct ctx *x, struct buf *out)
{
	query_node_asked(x->query, x->e);
	if (engine_inventory(x->e))
		query_node_why(mount_queries(x->m), x->query, engine_inventory(x->e), out);
	return 0;
}

static int result_show(const struct ctx *x, struct buf *out)
{
	result_put_target(x->query, x->offer, out);
	return 0;
}

/* The n-th match itself; its name and target follow the market. */
const struct row result_link = {
	.path = ".",
	.mode = 0777,
	.cache = C_DERIVED,
	.type = V_LINK,
	.show = result_show,
	.doc = "leads to the offer; 001 is the cheapest, ties go by id",
};

#define RESULT(name, bits, value_type, function, text) \
	READ_ROW(name, bits, 0, C_DERIVED, value_type, function, text)

const struct row query_rows[] = {
	RESULT("best", 0777, V_LINK, show_best, "leads to the cheapest match; not there if none"),
	RESULT("count", 0444, V_INT, show_count, "how many offers match"),
	RESULT("table", 0444, V_TEXT, show_table, "the matches by price, aligned for people"),
	RESULT("table.tsv", 0444, V_TABLE, show_tsv, "the same with all values, tab separated"),
	RESULT("offers.json", 0444, V_JSON, show_offers_json, "the same, one JSON object a line"),
	RESULT("why", 0444, V_TABLE, show_why,
	       "how many offers each condition left over, and the nearest one that it removed"),
	{.path = NULL},
};
