/*
 * Columns of rows, and the filters of the fake Vast.ai: {"field": {op: value}}, all ANDed. Used by the
 * search, the list of instances and the templates alike. What the documents do not allow (a bare
 * value, an unknown operator) is refused; an unknown field is ignored, as seen of the service.
 */
#include <math.h>
#include <stdarg.h>

#include "vastai_parts.h"

/* ---- columns ---- */

static void add(struct columns *c, const char *name, struct value v)
{
	CHECK(c->n < COLUMNS_MAX);
	c->c[c->n++] = (struct column){name, v};
}

void col_null(struct columns *c, const char *name)
{
	add(c, name, (struct value){V_NULL, 0, NULL});
}

void col_bool(struct columns *c, const char *name, bool v)
{
	add(c, name, (struct value){V_BOOL, v, NULL});
}

void col_int(struct columns *c, const char *name, int64_t v)
{
	add(c, name, (struct value){V_INT, (double)v, NULL});
}

void col_real(struct columns *c, const char *name, double v)
{
	add(c, name, (struct value){V_REAL, v, NULL});
}

void col_text(struct columns *c, const char *name, const char *v)
{
	add(c, name, (struct value){v ? V_TEXT : V_NULL, 0, v});
}

void col_raw(struct columns *c, const char *name, const char *json)
{
	add(c, name, (struct value){V_RAW, 0, json});
}

const char *col_print(struct columns *c, const char *fmt, ...)
{
	char *out;
	va_list ap;

	CHECK(c->texts < ARRAY_LEN(c->text));
	out = c->text[c->texts++];
	va_start(ap, fmt);
	vsnprintf(out, sizeof(c->text[0]), fmt, ap);
	va_end(ap);
	return out;
}

/* Names that official clients use for the same column. */
static const char *canonical(const char *name)
{
	static const char *const alias[][2] = {
		{"reliability2", "reliability"},
		{"dphtotal", "dph_total"},
		{"gpu_totalram", "gpu_total_ram"},
		{"ubuntu_version", "os_version"},
		{"target_reliability", "expected_reliability"},
	};

	for (size_t i = 0; i < ARRAY_LEN(alias); i++)
		if (!strcmp(name, alias[i][0]))
			return alias[i][1];
	return name;
}

const struct value *col_find(const struct columns *c, const char *name)
{
	const char *other = canonical(name);

	for (size_t i = 0; i < c->n; i++)
		if (!strcmp(c->c[i].name, name) || !strcmp(c->c[i].name, other))
			return &c->c[i].v;
	return NULL;
}

static void value_json(struct buf *b, const struct value *v)
{
	switch (v->kind) {
	case V_NULL:
		buf_puts(b, "null");
		break;
	case V_BOOL:
		buf_puts(b, v->num != 0 ? "true" : "false");
		break;
	case V_INT:
		buf_printf(b, "%lld", (long long)v->num);
		break;
	case V_REAL:
		/* As Python prints a float: the shortest of both that reads back, never without a point. */
		if (v->num == floor(v->num) && fabs(v->num) < 1e15)
			buf_printf(b, "%.1f", v->num);
		else
			buf_printf(b, "%.16g", v->num);
		break;
	case V_TEXT:
		buf_json(b, v->text, strlen(v->text));
		break;
	case V_RAW:
		buf_puts(b, v->text);
		break;
	}
}

/* Columns whose name starts with '.' are there for filters alone. */
void cols_json(struct buf *b, const struct columns *c)
{
	const char *comma = "";

	buf_puts(b, "{");
	for (size_t i = 0; i < c->n; i++) {
		if (c->c[i].name[0] == '.')
			continue;
		buf_printf(b, "%s\"%s\": ", comma, c->c[i].name);
		value_json(b, &c->c[i].v);
		comma = ", ";
	}
	buf_puts(b, "}");
}

/* null sorts first; a text never equals a number. */
int value_compare(const struct value *a, const struct value *b)
{
	bool at = a->kind == V_TEXT, bt = b->kind == V_TEXT;

	if (a->kind == V_NULL || b->kind == V_NULL)
		return (a->kind != V_NULL) - (b->kind != V_NULL);
	if (at && bt)
		return strcmp(a->text, b->text);
	if (at != bt)
		return at ? 1 : -1;
	return (a->num > b->num) - (a->num < b->num);
}

/* ---- filters ---- */

static const char *const ops[] = {"eq", "neq", "gt", "gte", "lt", "lte", "in", "notin"};
enum { OP_EQ, OP_NEQ, OP_GT, OP_GTE, OP_LT, OP_LTE, OP_IN, OP_NOTIN };

static int find_op(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(ops); i++)
		if (!strcmp(ops[i], name))
			return (int)i;
	return -1;
}

static bool plain(const json_t *v)
{
	return v && !json_is_object(v) && !json_is_array(v);
}

static bool operand_ok(int op, const json_t *v)
{
	size_t i;
	json_t *item;

	if (op < OP_IN)
		return plain(v);
	if (!json_is_array(v))
		return false;
	json_array_foreach(v, i, item)
	{
		if (!plain(item))
			return false;
	}
	return true;
}

bool filter_check(struct fakevast *f, const json_t *filter, struct filter_error *why)
{
	const char *field, *name;
	json_t *ops_of, *v;

	why->code = "invalid_request";
	json_object_foreach((json_t *)filter, field, ops_of)
	{
		if (!json_is_object(ops_of) || !json_object_size(ops_of)) {
			snprintf(why->msg, sizeof(why->msg), "%.60s needs an object of operators",
				 field);
			violate_at(f, "bare-filter", "filter %s is a bare value", field);
			return false;
		}
		json_object_foreach(ops_of, name, v)
		{
			int op = find_op(name);

			if (op >= 0 && operand_ok(op, v))
				continue;
			snprintf(why->msg, sizeof(why->msg),
				 op < 0 ? "%.60s is not a valid search op" : "bad operand of %.60s",
				 name);
			violate_at(f, "filter", "filter %s: %s", field, why->msg);
			return false;
		}
	}
	return true;
}

static struct value of_json(const json_t *v)
{
	if (json_is_string(v))
		return (struct value){V_TEXT, 0, json_string_value(v)};
	if (json_is_number(v))
		return (struct value){V_REAL, json_number_value(v), NULL};
	if (json_is_boolean(v))
		return (struct value){V_BOOL, json_is_true(v), NULL};
	return (struct value){V_NULL, 0, NULL};
}

static bool among(const struct value *have, const json_t *list)
{
	size_t i;
	json_t *item;

	json_array_foreach(list, i, item)
	{
		struct value v = of_json(item);

		if (!value_compare(have, &v))
			return true;
	}
	return false;
}

static bool obeys(const struct value *have, int op, const json_t *operand)
{
	struct value v = of_json(operand);
	int order;

	if (op == OP_IN || op == OP_NOTIN)
		return among(have, operand) == (op == OP_IN);
	order = value_compare(have, &v);
	if (op == OP_EQ || op == OP_NEQ)
		return (order == 0) == (op == OP_EQ);
	if (have->kind == V_NULL) /* as in SQL: nothing is more or less than null */
		return false;
	return op == OP_GT    ? order > 0
	       : op == OP_GTE ? order >= 0
	       : op == OP_LT  ? order < 0
			      : order <= 0;
}

/* What a filter names may be another thing than what the row shows (wire page, 4.2). */
static const struct value *filter_column(const struct columns *row, const char *field)
{
	static const char *const virtual[] = {"geolocation", "datacenter", "duration", "verified"};
	char hidden[32];

	for (size_t i = 0; i < ARRAY_LEN(virtual); i++) {
		const struct value *v;

		if (strcmp(field, virtual[i]))
			continue;
		snprintf(hidden, sizeof(hidden), ".%s", field);
		v = col_find(row, hidden);
		if (v)
			return v;
	}
	return col_find(row, field);
}

bool filter_match(const json_t *filter, const struct columns *row, const char *skip)
{
	const char *field, *name;
	json_t *ops_of, *operand;

	json_object_foreach((json_t *)filter, field, ops_of)
	{
		const struct value *have = filter_column(row, field);

		if (!have || have->kind == V_RAW || (skip && !strcmp(skip, field)))
			continue;
		json_object_foreach(ops_of, name, operand)
		{
			if (!obeys(have, find_op(name), operand))
				return false;
		}
	}
	return true;
}
