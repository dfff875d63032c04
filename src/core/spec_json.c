/*
 * The grammar of JSON: one object with the keys of the spec or the REST API's field names. jansson
 * decides what is JSON (and refuses duplicates, NUL, bad UTF-8 and absurd depth); a walk over the
 * same text, in step with jansson's objects (which keep their order), adds what it does not keep:
 * the place of each key, and a number as it was written, so that money is never a double. Pure; any
 * thread. Tests: test_spec.c.
 */
#include <jansson.h>
#include <string.h>

#include "check.h"
#include "spec_parts.h"
#include "text_parts.h"

/* The text is known to be valid JSON when these run; n bounds them all the same. */
struct walk {
	const char *text;
	size_t n, at;
};

static bool is_json_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static void walk_to_token(struct walk *w) /* over blanks, ',' and ':' */
{
	while (w->at < w->n &&
	       (is_json_blank(w->text[w->at]) || w->text[w->at] == ',' || w->text[w->at] == ':'))
		w->at++;
}

static void walk_string(struct walk *w)
{
	for (w->at++; w->at < w->n && w->text[w->at] != '"'; w->at++)
		if (w->text[w->at] == '\\')
			w->at++;
	w->at++;
}

/* Behind the value that begins here. Depth is a counter: no recursion over a text from outside. */
static void walk_value(struct walk *w)
{
	size_t depth = 0;

	while (w->at < w->n) {
		char c = w->text[w->at];

		if (c == '"') {
			walk_string(w);
		} else if (c == '{' || c == '[') {
			depth++;
			w->at++;
		} else if (c == '}' || c == ']') {
			if (depth == 0)
				return; /* of the enclosing object: a number ended here */
			depth--;
			w->at++;
		} else if (depth == 0 && (c == ',' || is_json_blank(c))) {
			return;
		} else {
			w->at++;
			continue;
		}
		if (depth == 0)
			return;
	}
}

/* The one array that a key takes: whole numbers, as the words say them with commas. False: another. */
static bool numbers_of(json_t *array, struct buf *out)
{
	size_t i;
	json_t *one;

	json_array_foreach(array, i, one)
	{
		if (!json_is_integer(one))
			return false;
		buf_printf(out, "%s%" JSON_INTEGER_FORMAT, i ? "," : "", json_integer_value(one));
	}
	return !out->failed;
}

static int apply_member(struct spec_parse_state *st, struct spec_word *word, json_t *value,
			struct str raw)
{
	BUF numbers = {.max = SPEC_MAX};

	switch (json_typeof(value)) {
	case JSON_STRING:
		word->kind = WORD_TEXT;
		word->quoted = true;
		word->value = (struct str){json_string_value(value), json_string_length(value)};
		break;
	case JSON_INTEGER:
	case JSON_REAL:
		word->kind = WORD_NUMBER;
		word->value = raw;
		break;
	case JSON_TRUE:
	case JSON_FALSE:
		word->kind = WORD_BOOL;
		word->value = str_of(json_is_true(value) ? "1" : "0");
		break;
	case JSON_ARRAY:
		if (numbers_of(value, &numbers)) {
			word->kind = WORD_LIST;
			word->value = (struct str){numbers.data ? numbers.data : "", numbers.len};
			break;
		}
		__attribute__((fallthrough));
	case JSON_NULL:
	case JSON_OBJECT:
		word->kind = WORD_OTHER;
		word->value = str_of("");
		break;
	}
	return spec_apply(st, word, true);
}

static int apply_object(struct spec_parse_state *st, json_t *object, struct walk *w, bool env);

/* One "key": value; the walk stands on the key. */
static int apply_pair(struct spec_parse_state *st, const char *key, json_t *value, struct walk *w,
		      bool env)
{
	struct spec_word word = {0};
	struct str raw;
	BUF name = {.max = SPEC_MAX + 8};

	text_place(w->text, w->at, &word.line, &word.column);
	walk_string(w);
	walk_to_token(w);
	raw.p = w->text + w->at;
	if (!env && strcmp(key, "env") == 0 && json_is_object(value))
		return apply_object(st, value, w, true);
	walk_value(w);
	raw.n = (size_t)(w->text + w->at - raw.p);
	buf_printf(&name, "%s%s", env ? "env." : "", key);
	if (name.failed)
		return fail(st->why, ERR_NO_MEMORY, "out of memory");
	word.key = (struct str){name.data, name.len};
	return apply_member(st, &word, value, raw);
}

/* The walk stands on the '{'. Nests once at most: env, which holds no object. */
static int apply_object(struct spec_parse_state *st, json_t *object, struct walk *w, bool env)
{
	const char *key;
	json_t *value;

	w->at++;
	json_object_foreach(object, key, value)
	{
		int err;

		walk_to_token(w);
		err = apply_pair(st, key, value, w, env);
		if (err)
			return err;
	}
	walk_to_token(w);
	w->at++; /* '}' */
	return 0;
}

/* Refuse with jansson's sentence, but without the piece of the text that it quotes (`near '...'`), since
 * that may be the value of an env variable. The place says where to look. */
static int fail_syntax(struct spec_parse_state *st, const json_error_t *e)
{
	enum json_error_code code = json_error_code(e);
	char text[sizeof(e->text)], *near;
	enum err refusal = ERR_INVALID;

	COPY(text, e->text);
	near = strstr(text, " near '");
	if (near)
		*near = '\0';
	if (code == json_error_out_of_memory)
		return fail(st->why, ERR_NO_MEMORY, "out of memory");
	if (code == json_error_null_character || code == json_error_null_byte_in_key)
		COPY(text, "\\u0000 is not allowed");
	if (code == json_error_numeric_overflow)
		refusal = ERR_RANGE;
	return fail_at(st->why, refusal, e->line, e->column, "not valid JSON: %s", text);
}

/* The text ends too early, or in the middle of a word such as `tru`: somebody is still writing it. */
static bool is_unfinished(const json_error_t *e, size_t n)
{
	enum json_error_code code = json_error_code(e);

	return code == json_error_premature_end_of_input ||
	       (code == json_error_invalid_syntax && e->position >= 0 && (size_t)e->position >= n);
}

int spec_parse_json(struct spec_parse_state *st, const char *text, size_t n, enum spec_end *end)
{
	struct walk w = {.text = text, .n = n};
	json_error_t e;
	json_t *root = json_loadb(text, n, JSON_REJECT_DUPLICATES, &e);
	int err;

	*end = SPEC_FINISHED;
	if (!root && is_unfinished(&e, n)) {
		*end = SPEC_UNFINISHED;
		return 0;
	}
	if (!root)
		return fail_syntax(st, &e);
	walk_to_token(&w);
	err = apply_object(st, root, &w, false);
	json_decref(root);
	return err;
}
