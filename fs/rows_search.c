/*
 * search/QUERY/: what matches, by price: links, tables for people and programs, and the reason why
 * not. Everything follows the market, so it is derived; the tables are texts that their readers share,
 * made once per market from the snapshot's own lines. Loop thread. Tests:
 * tests/unit/test_search.c.
 */
#include <string.h>

#include "../src/core/check.h"
#include "rows.h"

/* What a query shows at this moment. */
struct results {
	const struct inventory *inv;
	const uint32_t *indexes;
	size_t count;
};

static struct results results_of(const struct ctx *x)
{
	struct results r = {.inv = engine_inventory(x->e)};

	r.count = query_node_matches(mount_queries(x->m), x->query, r.inv, &r.indexes);
	return r;
}

/* The text of x's row at this moment, as a reference. */
static struct shared_text *share(const struct ctx *x,
				 void (*render)(const struct ctx *x, struct buf *out))
{
	uint64_t id = node_id(OBJ_QUERY, x->serial, (unsigned)(x->row - query_rows) + 1);
	const struct inventory *inv = engine_inventory(x->e);
	uint64_t version = inv ? inv->generation : 0;
	struct shared_text *kept = mount_cached(x->m, id, version);
	BUF text = {0};

	query_node_asked(x->query, x->e);
	if (kept)
		return kept;
	render(x, &text);
	return mount_cache(x->m, id, version, &text);
}

static int show_shared(const struct ctx *x, struct buf *out)
{
	struct shared_text *t = x->row->share(x);

	if (!t)
		return -ENOMEM;
	buf_add(out, t->text.data, t->text.len);
	mount_text_unref(x->m, t);
	return 0;
}

static struct str line_at(const struct results *r, enum inventory_line kind, size_t i)
{
	const struct inventory_lines *l = &r->inv->lines[kind];
	size_t at = r->indexes[i], from = at ? l->end[at - 1] : 0;

	return (struct str){l->text + from, l->end[at] - from};
}

/* Lines that stand side by side in the snapshot are copied at once. */
static void render_lines(const struct results *r, enum inventory_line kind, struct buf *out)
{
	for (size_t i = 0; i < r->count;) {
		struct str lines = line_at(r, kind, i++);

		for (; i < r->count && r->indexes[i] == r->indexes[i - 1] + 1; i++)
			lines.n += line_at(r, kind, i).n;
		buf_add(out, lines.p, lines.n);
	}
}

static void put_heads(struct buf *out)
{
	buf_puts(out, "# id");
	for (size_t f = 0; f < offer_field_count; f++)
		buf_printf(out, "\t%s", offer_fields[f].name);
	buf_putc(out, '\n');
}

static void render_tsv(const struct ctx *x, struct buf *out)
{
	struct results r = results_of(x);

	if (r.count == 0)
		return;
	put_heads(out);
	render_lines(&r, LINE_TSV, out);
}

static void render_json(const struct ctx *x, struct buf *out)
{
	struct results r = results_of(x);

	render_lines(&r, LINE_JSON, out);
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

#define CELLS_MAX 64

/* By cell of a line of table.tsv: the column that shows it, plus one; 0: none does. */
static void columns_find(unsigned char shown_in[CELLS_MAX])
{
	CHECK(offer_field_count < CELLS_MAX);
	for (unsigned char c = 0; c < ARRAY_LEN(columns); c++) {
		const struct offer_field *f = columns[c].field ? offer_field_named(columns[c].field)
							       : NULL;

		CHECK(f || !columns[c].field);
		shown_in[f ? f - offer_fields + 1 : 0] = c + 1;
	}
}

/* The columns' cells of a line of table.tsv; an unknown one is "-", so that columns stay in line. */
static void line_split(struct str line, const unsigned char shown_in[CELLS_MAX],
		       struct str cells[ARRAY_LEN(columns)])
{
	const char *p = line.p, *end = line.p + line.n - 1; /* its newline */

	for (size_t i = 0; i <= offer_field_count; i++) {
		const char *from = p;

		while (p < end && *p != '\t')
			p++;
		if (shown_in[i])
			cells[shown_in[i] - 1] = p > from ? (struct str){from, (size_t)(p - from)}
							  : (struct str){"-", 1};
		p += p < end;
	}
}

static void put_aligned(const struct str cells[ARRAY_LEN(columns)],
			const size_t width[ARRAY_LEN(columns)], struct buf *line)
{
	char *at = line->data;

	memset(line->data, ' ', line->len);
	for (size_t c = 0; c < ARRAY_LEN(columns); c++) {
		memcpy(at + (columns[c].right ? width[c] - cells[c].n : 0), cells[c].p, cells[c].n);
		at += width[c] + 2;
	}
}

/* Lines of one length, of which the last cell may be shorter: that is how they are cut. */
static void put_lines(const struct results *r, struct str heads,
		      const unsigned char shown_in[CELLS_MAX],
		      const size_t width[ARRAY_LEN(columns)], struct buf *out)
{
	enum { LAST = ARRAY_LEN(columns) - 1 };
	struct str cells[ARRAY_LEN(columns)];
	size_t whole = 0;
	BUF line = {0};

	for (size_t c = 0; c <= LAST; c++)
		whole += width[c] + 2;
	while (line.len < whole && !line.failed)
		buf_putc(&line, ' ');
	if (line.failed) {
		out->failed = true;
		return;
	}
	for (size_t i = 0; i <= r->count; i++) {
		line_split(i ? line_at(r, LINE_TSV, i - 1) : heads, shown_in, cells);
		put_aligned(cells, width, &line);
		size_t n = whole - 2 - width[LAST] + cells[LAST].n;

		line.data[n] = '\n';
		buf_add(out, line.data, n + 1);
	}
}

static void render_table(const struct ctx *x, struct buf *out)
{
	struct results r = results_of(x);
	unsigned char shown_in[CELLS_MAX] = {0};
	size_t width[ARRAY_LEN(columns)] = {0};
	struct str cells[ARRAY_LEN(columns)];
	BUF heads = {0};

	if (r.count == 0)
		return;
	put_heads(&heads);
	if (heads.failed) {
		out->failed = true;
		return;
	}
	columns_find(shown_in);
	for (size_t i = 0; i <= r.count; i++) {
		line_split(i ? line_at(&r, LINE_TSV, i - 1) : (struct str){heads.data, heads.len},
			   shown_in, cells);
		for (size_t c = 0; c < ARRAY_LEN(columns); c++)
			if (cells[c].n > width[c])
				width[c] = cells[c].n;
	}
	put_lines(&r, (struct str){heads.data, heads.len}, shown_in, width, out);
}

static struct shared_text *share_table(const struct ctx *x)
{
	return share(x, render_table);
}

static struct shared_text *share_tsv(const struct ctx *x)
{
	return share(x, render_tsv);
}

static struct shared_text *share_json(const struct ctx *x)
{
	return share(x, render_json);
}

static void render_why(const struct ctx *x, struct buf *out)
{
	if (engine_inventory(x->e))
		query_node_why(mount_queries(x->m), x->query, engine_inventory(x->e), out);
}

static struct shared_text *share_why(const struct ctx *x)
{
	return share(x, render_why);
}

static int show_count(const struct ctx *x, struct buf *out)
{
	query_node_asked(x->query, x->e);
	return put_int_line(out, (int64_t)results_of(x).count);
}

static int show_best(const struct ctx *x, struct buf *out)
{
	const struct offer *o = query_node_best(x->query, engine_inventory(x->e));

	query_node_asked(x->query, x->e);
	if (!o)
		return -ENOENT;
	result_put_target(x->query, o, out);
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
#define SHARED(name, value_type, function, text)                                    \
	{                                                                           \
		.path = name, .mode = 0444, .cache = C_DERIVED, .type = value_type, \
		.show = show_shared, .share = function, .doc = text                 \
	}

const struct row query_rows[] = {
	RESULT("best", 0777, V_LINK, show_best, "leads to the cheapest match; not there if none"),
	RESULT("count", 0444, V_INT, show_count, "how many offers match"),
	SHARED("table", V_TEXT, share_table, "the matches by price, aligned for people"),
	SHARED("table.tsv", V_TABLE, share_tsv, "the same with all values, tab separated"),
	SHARED("offers.json", V_JSON, share_json, "the same, one JSON object a line"),
	SHARED("why", V_TABLE, share_why,
	       "how many offers each condition left over, and the nearest one that it removed"),
	{.path = NULL},
};
