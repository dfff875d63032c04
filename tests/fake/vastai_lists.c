/*
 * Calls that show instances: one, the list of v1 in pages, and the old list. They tell the truth of the
 * moment, but for the lag of lists and for the faults that were set.
 */
#include "vastai_parts.h"

#define PAGE_MAX 25

static const char base64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static void put_instance(struct ctx *x, const struct fv_instance *i)
{
	struct columns *c = xcalloc(1, sizeof(*c));
	BUF room = {.data = NULL};

	instance_columns(x->f, i, c, &room);
	cols_json(&x->out->body, c);
	free(c);
}

/* ---- one ---- */

void serve_get(struct ctx *x)
{
	static const char *const names[] = {"owner", NULL};
	struct fv_instance *i = x->id > 0 ? instance_find(x->f, x->id) : NULL;

	query_only(x, names);
	if (x->id <= 0) {
		violate(x, "instance-id", "%s is no instance", x->path);
		refuse(x, 400, "invalid_args", "error 400/1782: Invalid args: invalid json: {}");
		return;
	}
	if (!i || fault_is(x, FVF_GONE)) {
		/* "sometimes 404": one of four. */
		if (x->f->c.gone_variants && x->f->turn_get++ % 4 == 3)
			refuse(x, 404, "no_such_instance", "Instance %lld not found.",
			       (long long)x->id);
		else
			say(x, 200, "{\"instances\": null}");
		return;
	}
	say(x, 200, "{\"instances\": ");
	put_instance(x, i);
	buf_puts(&x->out->body, "}");
}

/* ---- lists ---- */

struct row {
	const struct fv_instance *i;
	struct columns *c;
	struct buf room;
};
struct list {
	struct row *rows;
	size_t n;
	const char *order; /* column */
	bool down;
};

/* What a list shows: new ones late, gone ones for a while longer; `ago` earlier if outdated. */
static bool in_list(const struct fakevast *f, const struct fv_instance *i, int64_t ago)
{
	int64_t at = f->now_us - ago;

	if (i->shown_us > at || i->created_us > at)
		return false;
	return i->gone_us < 0 || i->gone_us + f->c.lag_gone_us > at;
}

static int row_compare(const void *a, const void *b, void *arg)
{
	const struct list *l = arg;
	const struct row *ra = a, *rb = b;
	const struct value *va = col_find(ra->c, l->order), *vb = col_find(rb->c, l->order);
	int order = va && vb ? value_compare(va, vb) : 0;

	order = order ? order : (ra->i->id > rb->i->id) - (ra->i->id < rb->i->id);
	return l->down ? -order : order;
}

static void list_make(struct ctx *x, struct list *l, const json_t *filter)
{
	struct fakevast *f = x->f;
	int64_t ago = fault_is(x, FVF_OUTDATED) ? fault_param(x, 120 * SECOND_US) : 0;

	l->rows = xcalloc(f->instance_count, sizeof(*l->rows));
	for (size_t k = 0; k < f->instance_count; k++) {
		struct row *r = &l->rows[l->n];

		if (!in_list(f, f->instances[k], ago))
			continue;
		*r = (struct row){.i = f->instances[k], .c = xcalloc(1, sizeof(*r->c))};
		instance_columns(f, r->i, r->c, &r->room);
		if (!filter || filter_match(filter, r->c, NULL)) {
			l->n++;
			continue;
		}
		free(r->c);
		buf_free(&r->room);
	}
	qsort_r(l->rows, l->n, sizeof(*l->rows), row_compare, l);
}

static void list_free(struct list *l)
{
	for (size_t k = 0; k < l->n; k++) {
		free(l->rows[k].c);
		buf_free(&l->rows[k].room);
	}
	free(l->rows);
}

/* The first row of the page behind the token. -1: no such token. Tokens are base64 of
 * {"values": {"id": N}, "skip": K}; nobody is to look into them. */
static int64_t page_start(const struct list *l, const char *token)
{
	long long id, skip;
	unsigned char raw[200];
	size_t n = 0, bits = 0, value = 0;

	if (!token)
		return 0;
	for (; *token && *token != '='; token++) {
		const char *at = strchr(base64, *token);

		if (!at || n + 2 > sizeof(raw))
			return -1;
		value = value << 6 | (size_t)(at - base64);
		bits += 6;
		if (bits >= 8)
			raw[n++] = (unsigned char)(value >> (bits -= 8));
	}
	raw[n] = '\0';
	if (sscanf((char *)raw, "{\"values\": {\"id\": %lld}, \"skip\": %lld}", &id, &skip) != 2 ||
	    skip < 0)
		return -1;
	if (strcmp(l->order, "id") != 0)
		return skip;
	/* By id the place is exact even when rows before it have come or gone meanwhile. */
	for (size_t k = 0; k < l->n; k++)
		if (l->down ? l->rows[k].i->id < id : l->rows[k].i->id > id)
			return (int64_t)k;
	return (int64_t)l->n;
}

static void put_token(struct buf *b, int64_t id, size_t skip)
{
	char text[100];
	int n = snprintf(text, sizeof(text), "{\"values\": {\"id\": %lld}, \"skip\": %zu}",
			 (long long)id, skip);

	buf_putc(b, '"');
	for (int k = 0; k < n; k += 3) {
		unsigned v = (unsigned)(unsigned char)text[k] << 16;

		v |= k + 1 < n ? (unsigned)(unsigned char)text[k + 1] << 8 : 0;
		v |= k + 2 < n ? (unsigned)(unsigned char)text[k + 2] : 0;
		buf_putc(b, base64[v >> 18]);
		buf_putc(b, base64[v >> 12 & 63]);
		buf_putc(b, k + 1 < n ? base64[v >> 6 & 63] : '=');
		buf_putc(b, k + 2 < n ? base64[v & 63] : '=');
	}
	buf_putc(b, '"');
}

static void put_label_counts(struct ctx *x, const struct list *l)
{
	json_t *counts = json_object();
	const char *key;
	json_t *v;
	struct buf *b = &x->out->body;
	const char *comma = "";

	for (size_t k = 0; k < l->n; k++) {
		const char *label = l->rows[k].i->label;
		json_t *have = json_object_get(counts, label);

		json_object_set_new(counts, label, json_integer(json_integer_value(have) + 1));
	}
	buf_puts(b, "\"label_counts\": {");
	json_object_foreach(counts, key, v)
	{
		buf_puts(b, comma);
		buf_json(b, key, strlen(key));
		buf_printf(b, ": %lld", (long long)json_integer_value(v));
		comma = ", ";
	}
	buf_puts(b, "}");
	json_decref(counts);
}

/* {"col": ..} of `select_cols`: unknown names come back as null. */
static void put_row(struct ctx *x, const struct row *r, const json_t *cols)
{
	struct columns *c;
	size_t k;
	json_t *name;

	if (!cols || (json_array_size(cols) == 1 &&
		      !strcmp(json_string_value(json_array_get(cols, 0)), "*"))) {
		cols_json(&x->out->body, r->c);
		return;
	}
	c = xcalloc(1, sizeof(*c));
	json_array_foreach(cols, k, name)
	{
		const struct value *v = col_find(r->c, json_string_value(name));

		c->c[c->n++] = (struct column){json_string_value(name),
					       v ? *v : (struct value){V_NULL, 0, NULL}};
		if (c->n == COLUMNS_MAX)
			break;
	}
	cols_json(&x->out->body, c);
	free(c);
}

static void put_page(struct ctx *x, const struct list *l, size_t from, size_t limit,
		     const json_t *cols)
{
	struct buf *b = &x->out->body;
	size_t to = from + limit < l->n ? from + limit : l->n, n = to - from, skip = 0;
	bool repeat = fault_is(x, FVF_REPEAT_PAGE), lie = fault_is(x, FVF_EMPTY_LIST);

	if (fault_is(x, FVF_PARTIAL) && n) {
		skip = (size_t)fault_param(x, (int64_t)(n + 1) / 2);
		skip = skip < n ? skip : n;
	}
	if (repeat) {
		from = 0;
		to = limit < l->n ? limit : l->n;
		n = to;
	}
	say(x, 200, "{\"success\": true, \"instances_found\": %zu, \"total_instances\": %zu, ",
	    lie ? 0 : n, lie ? 0 : l->n);
	if (lie)
		buf_puts(b, "\"label_counts\": {}");
	else
		put_label_counts(x, l);
	buf_puts(b, ", \"next_token\": ");
	if (!lie && ((to < l->n && to > from) || (repeat && l->n)))
		put_token(b, l->rows[to - 1].i->id, to);
	else
		buf_puts(b, "null");
	buf_puts(b, ", \"instances\": ");
	if (fault_is(x, FVF_NULL_LIST)) {
		buf_puts(b, "null}");
		return;
	}
	buf_puts(b, "[");
	for (size_t k = from + skip; k < to && !lie; k++) {
		bool shuffled = fault_is(x, FVF_SHUFFLE_PAGE) && k == to - 1 && l->n > 1;

		buf_puts(b, k > from + skip ? ", " : "");
		put_row(x, &l->rows[shuffled ? 0 : k], cols);
	}
	buf_puts(b, "]}");
}

/* Stored columns only can be filtered and ordered by. */
static bool list_filter_ok(struct ctx *x, const json_t *filter)
{
	static const char *const stored[] = {
		"id",	      "label",	      "actual_status", "intended_status",  "cur_state",
		"next_state", "gpu_name",     "verification",  "machine_id",	   "host_id",
		"start_date", "end_date",     "image_uuid",    "template_hash_id", "ssh_port",
		"ssh_host",   "public_ipaddr"};
	struct filter_error why;
	const char *field;
	json_t *v;

	json_object_foreach((json_t *)filter, field, v)
	{
		size_t k = 0;

		while (k < ARRAY_LEN(stored) && strcmp(stored[k], field) != 0)
			k++;
		if (k < ARRAY_LEN(stored))
			continue;
		violate(x, "list-filter", "instances cannot be filtered by %s", field);
		say(x, 400,
		    "{\"error\": \"invalid_request\", \"msg\": \"Error in query parameters: %.60s "
		    "is not a "
		    "valid search key\"}",
		    field);
		return false;
	}
	if (filter_check(x->f, filter, &why))
		return true;
	say(x, 400, "{\"error\": \"%s\", \"msg\": \"%s\"}", why.code, why.msg);
	return false;
}

/* A parameter that holds JSON of a type; false: answered. Absent: NULL. */
static bool json_param(struct ctx *x, const char *name, bool array, json_t **out)
{
	const char *text = param(x, name);

	*out = text ? json_loads(text, JSON_REJECT_DUPLICATES, NULL) : NULL;
	if (!text || (array ? json_is_array(*out) : json_is_object(*out)))
		return true;
	violate(x, "list-param", "%s is no JSON %s", name, array ? "array" : "object");
	say(x, 400, "{\"error\": \"invalid_request\", \"msg\": \"Error in query parameters: %s\"}",
	    name);
	return false;
}

static bool list_order(struct ctx *x, struct list *l, const json_t *order)
{
	const json_t *first = json_array_get(order, 0);
	const char *col = json_string_value(json_object_get(first, "col"));
	const char *dir = json_string_value(json_object_get(first, "dir"));

	l->order = "id";
	if (!order)
		return true;
	if (!col || !dir || (strcmp(dir, "asc") != 0 && strcmp(dir, "desc") != 0)) {
		violate(x, "list-param", "order_by is no list of {\"col\",\"dir\"}");
		say(x, 400,
		    "{\"error\": \"invalid_request\", \"msg\": \"Error in query parameters: "
		    "order_by\"}");
		return false;
	}
	l->order = col;
	l->down = !strcmp(dir, "desc");
	return true;
}

static bool all_texts(const json_t *array)
{
	size_t k;
	json_t *v;

	json_array_foreach(array, k, v)
	{
		if (!json_is_string(v))
			return false;
	}
	return true;
}

static void list_page(struct ctx *x, struct list *l, const json_t *cols)
{
	const char *text = param(x, "limit");
	char *end = NULL;
	long limit = text ? strtol(text, &end, 10) : PAGE_MAX;
	int64_t from;

	if (text && (!*text || *end)) {
		violate(x, "list-param", "limit is no number");
		say(x, 400,
		    "{\"error\": \"invalid_request\", \"msg\": \"Error in query parameters: "
		    "limit\"}");
		return;
	}
	if (text && limit > PAGE_MAX)
		violate(x, "list-limit", "limit %ld is above %d", limit, PAGE_MAX);
	limit = limit <= 0 ? 5 : limit > PAGE_MAX ? PAGE_MAX : limit;
	from = page_start(l, param(x, "after_token"));
	if (from < 0) {
		violate(x, "token", "after_token was never given out");
		refuse(x, 400, "invalid_token", "Invalid pagination token");
		return;
	}
	put_page(x, l, (size_t)from < l->n ? (size_t)from : l->n, (size_t)limit, cols);
}

void serve_list(struct ctx *x)
{
	static const char *const names[] = {"limit",	   "order_by",	  "select_filters",
					    "select_cols", "after_token", NULL};
	json_t *filter = NULL, *cols = NULL, *order = NULL;
	struct list l = {.rows = NULL};

	query_only(x, names);
	if (json_param(x, "select_filters", false, &filter) &&
	    json_param(x, "select_cols", true, &cols) && json_param(x, "order_by", true, &order) &&
	    (!filter || list_filter_ok(x, filter)) && list_order(x, &l, order)) {
		if (cols && (!json_array_size(cols) || !all_texts(cols))) {
			json_decref(cols);
			cols = NULL;
		}
		list_make(x, &l, filter);
		list_page(x, &l, cols);
		list_free(&l);
	}
	json_decref(filter);
	json_decref(cols);
	json_decref(order);
}

/* The old list: everything in one piece, or withdrawn. */
void serve_list_v0(struct ctx *x)
{
	static const char *const names[] = {"owner", NULL};
	struct list l = {.order = "id"};

	query_only(x, names);
	violate(x, "deprecated", "the list of v0 is withdrawn");
	if (x->f->c.v0_gone) {
		say(x, 410,
		    "{\"error\": \"deprecated_endpoint\", \"msg\": \"Use /api/v1/instances/ "
		    "instead\"}");
		return;
	}
	list_make(x, &l, NULL);
	say(x, 200, "{\"instances_found\": %zu, \"instances\": [", l.n);
	for (size_t k = 0; k < l.n; k++) {
		buf_puts(&x->out->body, k ? ", " : "");
		cols_json(&x->out->body, l.rows[k].c);
	}
	buf_puts(&x->out->body, "]}");
	list_free(&l);
}
