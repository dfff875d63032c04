/*
 * What comes in: query strings and JSON bodies, each by a table that the OpenAPI document is
 * printed from too. One rule for every bad value: 400 with the name of the parameter. The names of
 * a query string are exact, an empty value counts as absent and the first of several wins; the
 * names of a body's fields ignore case, unknown ones are ignored, null leaves a field out, and
 * text after the object does not count. jansson bounds the depth. Pure but for the look-up in the
 * request; loop thread. Tests: tests/unit/test_http_parse.c.
 */
#include <ctype.h>
#include <inttypes.h>
#include <jansson.h>
#include <string.h>
#include <strings.h>

#include "parts.h"

/* ---- query strings ---- */

struct look_up {
	const char *name, *found;
};

static enum MHD_Result look(void *cls, enum MHD_ValueKind kind, const char *key, const char *value)
{
	struct look_up *l = cls;

	(void)kind;
	if (strcmp(key, l->name) != 0)
		return MHD_YES;
	l->found = value;
	return MHD_NO;
}

const char *query_text(const struct request *r, const char *name)
{
	struct look_up l = {.name = name};

	MHD_get_connection_values(r->c, MHD_GET_ARGUMENT_KIND, look, &l);
	return l.found && l.found[0] ? l.found : NULL;
}

/* "-12.5" in millionths; digits beyond those are cut. False if it is no plain decimal number. */
static bool real_read(const char *s, int64_t *out)
{
	bool minus = *s == '-', digits = false;
	int64_t v = 0, unit = 1000000;

	for (s += minus; isdigit((unsigned char)*s); s++, digits = true)
		if (v < 100000000000) /* larger ones compare alike */
			v = v * 10 + (*s - '0');
	v *= 1000000;
	if (*s == '.' && digits)
		for (s++; isdigit((unsigned char)*s); s++) {
			unit /= 10;
			v += unit * (*s - '0');
		}
	*out = minus ? -v : v;
	return digits && !*s && s[-1] != '.';
}

static int number_range(const struct param *p, int64_t v, int64_t unit, const char *shown,
			struct error *why)
{
	if (v >= p->min * unit && (p->max == INT64_MAX || v <= p->max * unit))
		return 0;
	if (p->max != INT64_MAX)
		return fail(why, ERR_INVALID,
			    "invalid %s: must be between %" PRId64 " and %" PRId64 ", got %s",
			    p->name, p->min, p->max, shown);
	return fail(why, ERR_INVALID, "invalid %s: must be %s, got %s", p->name,
		    p->min > 0 ? "positive" : "non-negative", shown);
}

int number_read(const struct param *p, const char *text, int64_t *out, struct error *why)
{
	char shown[REQUEST_ID_MAX + 1];
	bool real = p->type == PT_REAL;

	clean(shown, text);
	if (real ? !real_read(text, out)
		 : parse_int(str_of(text), INT64_MIN, INT64_MAX, out, NULL) != 0)
		return fail(why, ERR_INVALID, "invalid %s: must be a valid %s, got \"%s\"", p->name,
			    real ? "number" : "integer", shown);
	/* "-0.0000001" is negative, though nothing of it is left in millionths */
	if (real && text[0] == '-' && *out == 0 && strpbrk(text, "123456789"))
		*out = -1;
	return number_range(p, *out, real ? 1000000 : 1, shown, why);
}

/* The words of Go's strconv.ParseBool, which the predecessor takes. */
static int bool_read(const struct param *p, const char *text, int64_t *out, struct error *why)
{
	static const char *const words[2][6] = {{"0", "f", "F", "false", "False", "FALSE"},
						{"1", "t", "T", "true", "True", "TRUE"}};
	char shown[REQUEST_ID_MAX + 1];

	for (*out = 0; *out < 2; ++*out)
		for (size_t i = 0; i < ARRAY_LEN(words[0]); i++)
			if (!strcmp(words[*out][i], text))
				return 0;
	clean(shown, text);
	return fail(why, ERR_INVALID, "invalid %s: must be true or false, got \"%s\"", p->name,
		    shown);
}

int params_read(struct request *r, const struct param *p, size_t n, struct value *out)
{
	struct error why;

	for (size_t i = 0; i < n; i++) {
		out[i] = (struct value){.text = query_text(r, p[i].name)};
		out[i].set = out[i].text != NULL;
		if (!out[i].set || p[i].type == PT_TEXT)
			continue;
		if ((p[i].type == PT_BOOL ? bool_read : number_read)(&p[i], out[i].text,
								     &out[i].num, &why) != 0) {
			answer_error(r, &why);
			return -1;
		}
	}
	return 0;
}

/* ---- bodies ---- */

static const char *wanted(enum param_type t)
{
	switch (t) {
	case PT_TEXT:
		return "a string";
	case PT_INT:
		return "a whole number, without quotes and without a fraction";
	case PT_REAL:
		return "a number";
	case PT_BOOL:
		return "true or false";
	case PT_LIST:
		return "a list";
	}
	return "";
}

static bool value_take(const struct field *f, json_t *v, struct value *out)
{
	switch (f->type) {
	case PT_TEXT:
		out->text = json_string_value(v);
		out->set = out->text && out->text[0];
		return out->text != NULL;
	case PT_INT:
		out->num = json_integer_value(v);
		out->set = out->num != 0;
		return json_is_integer(v);
	case PT_BOOL:
		out->num = json_is_true(v);
		out->set = true;
		return json_is_boolean(v);
	case PT_LIST:
		out->num = (int64_t)json_array_size(v);
		out->list = v;
		out->set = out->num > 0;
		return json_is_array(v);
	case PT_REAL:
		break;
	}
	return false;
}

/* In Go names match without regard to case, and the last of several wins. */
static int fields_take(json_t *object, const struct field *f, size_t count, struct value *out,
		       struct error *why)
{
	const char *key;
	json_t *v;

	json_object_foreach(object, key, v)
	{
		size_t i = 0;

		while (i < count && strcasecmp(f[i].name, key) != 0)
			i++;
		if (i == count || json_is_null(v))
			continue;
		out[i] = (struct value){0};
		if (!value_take(&f[i], v, &out[i]))
			return fail(why, ERR_INVALID, "%s must be %s", f[i].name,
				    wanted(f[i].type));
	}
	return 0;
}

/* All that is missing or out of range at once, in the order of the table. */
static int fields_check(const struct field *f, size_t count, const struct value *v,
			struct error *why)
{
	BUF all = {.max = 400};

	for (size_t i = 0; i < count; i++) {
		const char *between = all.len ? "; " : "";

		if (!f[i].required)
			continue;
		if (!v[i].set)
			buf_printf(&all, "%s%s is required", between, f[i].name);
		else if (f[i].type == PT_INT && v[i].num < f[i].min)
			buf_printf(&all, "%s%s must be at least %" PRId64, between, f[i].name,
				   f[i].min);
		else if (f[i].type == PT_INT && v[i].num > f[i].max)
			buf_printf(&all, "%s%s must be at most %" PRId64, between, f[i].name,
				   f[i].max);
	}
	return all.len ? fail(why, ERR_INVALID, "%s", all.data) : 0;
}

/* jansson's sentence without the piece of the body that it quotes: that may be a secret. */
static int fail_syntax(const json_error_t *e, size_t n, struct error *why)
{
	enum json_error_code code = json_error_code(e);
	char text[sizeof(e->text)], *near;

	COPY(text, e->text);
	near = strstr(text, " near '");
	if (near)
		*near = '\0';
	if (n == 0)
		return fail(why, ERR_INVALID, "EOF: the request has no body; send one JSON object");
	if (code == json_error_null_character || code == json_error_null_byte_in_key)
		COPY(text, "\\u0000 is not allowed");
	if (code == json_error_premature_end_of_input)
		COPY(text, "unexpected EOF");
	return fail(why, ERR_INVALID, "the body is not valid JSON: line %d, column %d: %s", e->line,
		    e->column, text);
}

int body_parse(const char *text, size_t n, const struct field *f, size_t count, struct value *out,
	       void **root, struct error *why)
{
	json_error_t e;
	json_t *object = json_loadb(n ? text : "", n, JSON_DISABLE_EOF_CHECK, &e);
	int err;

	*root = NULL;
	memset(out, 0, count * sizeof(*out));
	if (!object)
		return fail_syntax(&e, n, why);
	if (json_is_object(object))
		err = fields_take(object, f, count, out, why);
	else
		err = fail(why, ERR_INVALID, "the body must be one JSON object");
	if (!err)
		err = fields_check(f, count, out, why);
	if (err)
		json_decref(object);
	else
		*root = object;
	return err;
}

void put_json_list(struct buf *b, const struct value *v)
{
	char *text = json_dumps(v->list, JSON_COMPACT | JSON_ENCODE_ANY);

	if (text)
		buf_puts(b, text);
	b->failed |= !text;
	free(text);
}

void body_free(void *root)
{
	json_decref(root);
}
