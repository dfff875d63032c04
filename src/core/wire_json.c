/* See wire_json.h. One pass over the text, no recursion; what jansson then reads is bounded in depth. */
#include "wire_json.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "check.h"
#include "text.h"
#include "text_parts.h"
#include "wire.h"

/* Instead of a value that cannot be kept. No null: a null means something ("gone", in one dialect). */
#define UNREADABLE     "\"?\""
#define NUMBER_MAX     128	   /* characters of a number that are looked at */
#define EXACT_MAX      (1LL << 53) /* integers up to here are exact in a double */
#define BALANCE_MAX_U6 (INT64_C(1000000000) * 1000000)

struct walk {
	struct wire_json *j;
	const char *s, *rows_key;
	size_t n, at;
	struct buf *out; /* the envelope, or the rows while inside them */
	struct buf envelope;
	char stack[WIRE_DEPTH_MAX]; /* closing brackets that are due */
	size_t depth;
	size_t on_path;	   /* members of rows_key that are open around here */
	size_t rows_depth; /* depth inside the rows' brackets; 0: not in the rows */
	size_t row_start;
	char prev;	/* the last token: a bracket, ',' or ':'; 'v': a value */
	bool rows_next; /* the key that was just read is rows_key, */
	bool path_next; /* or a part of it that more follows */
	bool rows_seen, bad;
};

/* ---- strings ---- */

static int hex4(const char *s, size_t n)
{
	int v = 0;

	if (n < 4)
		return -1;
	for (int i = 0; i < 4; i++) {
		char c = s[i];

		if (c >= '0' && c <= '9')
			v = v * 16 + (c - '0');
		else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
			v = v * 16 + ((c | 0x20) - 'a' + 10);
		else
			return -1;
	}
	return v;
}

/* How many bytes of the escape at s are good as they stand; 0: none, and *instead takes the place of
 * *skip bytes. */
static size_t escape_step(const char *s, size_t n, const char **instead, size_t *skip)
{
	int high, low;

	*instead = "?";
	*skip = 1; /* the backslash alone: what follows is looked at again */
	if (n < 2)
		return 0;
	if (s[1] != 'u')
		return strchr("\"\\/bfnrt", s[1]) && s[1] ? 2 : 0;
	high = hex4(s + 2, n - 2);
	if (high < 0)
		return 0;
	if (high != 0 && (high < 0xd800 || high > 0xdfff))
		return 6;
	if (high >= 0xd800 && high < 0xdc00 && n >= 12 && s[6] == '\\' && s[7] == 'u') {
		low = hex4(s + 8, n - 8);
		if (low >= 0xdc00 && low <= 0xdfff)
			return 12;
	}
	*instead = "\\ufffd";
	*skip = 6;
	return 0;
}

/* The string at w->at, to w->out in valid form; *start and *len say where its content is there. */
static void walk_string(struct walk *w, size_t *start, size_t *len)
{
	size_t from, step, skip;
	const char *instead;

	buf_putc(w->out, '"');
	*start = w->out->len;
	from = ++w->at;
	while (w->at < w->n && w->s[w->at] != '"') {
		unsigned char c = (unsigned char)w->s[w->at];

		instead = "?";
		skip = 1;
		if (c >= 0x80) {
			int k = utf8_step(w->s + w->at, w->n - w->at);

			step = k > 0 ? (size_t)k : 0;
		} else if (c == '\\') {
			step = escape_step(w->s + w->at, w->n - w->at, &instead, &skip);
		} else {
			step = c >= 0x20;
			if (c == '\n' || c == '\r' || c == '\t')
				instead = " ";
		}
		if (!step) {
			buf_add(w->out, w->s + from, w->at - from);
			buf_puts(w->out, instead);
			from = w->at + skip;
		}
		w->at += step ? step : skip;
	}
	if (w->at >= w->n) {
		w->bad = true; /* cut off */
		return;
	}
	buf_add(w->out, w->s + from, w->at - from);
	*len = w->out->len - *start;
	buf_putc(w->out, '"');
	w->at++;
}

/* ---- numbers and words ---- */

static bool is_number_char(char c)
{
	return (c >= '0' && c <= '9') || c == '-' || c == '+' || c == '.' || c == 'e' || c == 'E';
}

static bool is_letter(char c)
{
	return (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
}

static void walk_number(struct walk *w)
{
	const char *p = w->s + w->at;
	char text[NUMBER_MAX + 1];
	size_t len = 0;

	while (w->at + len < w->n && is_number_char(p[len]))
		len++;
	w->at += len;
	if (len > NUMBER_MAX) {
		buf_puts(w->out, UNREADABLE);
		return;
	}
	memcpy(text, p, len);
	text[len] = '\0';
	if (strpbrk(text, "eE") && !isfinite(strtod(text, NULL)))
		buf_puts(w->out, UNREADABLE);
	else
		buf_add(w->out, p, len);
	if (len > 18 && !strpbrk(text, ".eE"))
		buf_puts(w->out, ".0");
}

/* true, false, null; and what is none of JSON's but common: NaN and its kin. Anything else is copied and
 * refused by jansson, with its row. */
static void walk_word(struct walk *w)
{
	static const char *const unknown[] = {"nan", "inf", "infinity"};
	size_t len = w->s[w->at] == '-', start = w->at;
	char word[16];

	while (w->at + len < w->n && is_letter(w->s[w->at + len]))
		len++;
	w->at += len;
	if (len < sizeof word) {
		size_t sign = w->s[start] == '-';

		for (size_t i = sign; i <= len; i++)
			word[i - sign] = i < len ? (char)(w->s[start + i] | 0x20) : '\0';
		for (size_t i = 0; i < ARRAY_LEN(unknown); i++)
			if (strcmp(word, unknown[i]) == 0) {
				buf_puts(w->out, UNREADABLE);
				return;
			}
	}
	buf_add(w->out, w->s + start, len);
}

/* ---- brackets and rows ---- */

static void row_ends(struct walk *w)
{
	struct wire_json *j = w->j;

	if (j->row_count < WIRE_ROWS_MAX) {
		if (j->row_count == j->row_cap) {
			size_t cap = j->row_cap ? 2 * j->row_cap : 64;
			size_t *more = reallocarray(j->row_end, cap, sizeof *more);

			if (!more) {
				w->bad = true;
				return;
			}
			j->row_end = more;
			j->row_cap = cap;
		}
		j->row_end[j->row_count] = j->rows.len;
	} else {
		j->rows.len = w->row_start; /* cannot be read; only counted */
	}
	j->row_count++;
	w->row_start = j->rows.len;
}

static void open_rows(struct walk *w, char c)
{
	struct wire_json *j = w->j;

	w->rows_seen = true;
	w->rows_depth = w->depth;
	buf_puts(&w->envelope, c == '[' ? "[]" : "{}");
	w->out = &j->rows;
	j->kind = c == '[' ? WIRE_ROWS_ARRAY : WIRE_ROWS_OBJECT;
	if (c == '{')
		buf_putc(w->out, c);
}

/* Over a value that is nested too deep. */
static void skip_deep(struct walk *w)
{
	size_t due = 0;

	buf_puts(w->out, UNREADABLE);
	for (; w->at < w->n; w->at++) {
		char c = w->s[w->at];

		if (c == '"') {
			for (w->at++; w->at < w->n && w->s[w->at] != '"'; w->at++)
				if (w->s[w->at] == '\\')
					w->at++;
		} else if (c == '[' || c == '{') {
			due++;
		} else if ((c == ']' || c == '}') && --due == 0) {
			w->at++;
			w->prev = 'v';
			return;
		}
	}
	w->bad = true;
}

static void walk_open(struct walk *w)
{
	char c = w->s[w->at];
	bool top = w->depth == 0 && c == '[' && w->rows_key && !w->rows_seen;
	bool rows = !w->rows_seen && w->rows_next && w->prev == ':';

	if (w->depth == WIRE_DEPTH_MAX) {
		skip_deep(w);
		return;
	}
	if (w->path_next && w->prev == ':' && c == '{')
		w->on_path++;
	w->path_next = false;
	w->stack[w->depth++] = c == '{' ? '}' : ']';
	w->at++;
	w->prev = c;
	if (top || rows)
		open_rows(w, c);
	else
		buf_putc(w->out, c);
}

static void walk_close(struct walk *w)
{
	char c = w->s[w->at++];
	bool empty = w->prev == '[';

	if (w->depth == 0 || w->stack[w->depth - 1] != c) {
		w->bad = true;
		return;
	}
	w->prev = 'v';
	if (w->rows_depth && w->depth == w->rows_depth) {
		if (c == '}')
			buf_putc(w->out, c);
		if (!empty)
			row_ends(w);
		w->out = &w->envelope;
		w->rows_depth = 0;
	} else {
		buf_putc(w->out, c);
	}
	w->depth--;
	if (w->on_path && w->on_path >= w->depth)
		w->on_path = w->depth ? w->depth - 1 : 0;
}

/* Part `i` of rows_key. */
static struct str path_part(const struct walk *w, size_t i)
{
	const char *p = w->rows_key;

	for (; i; i--)
		p += strcspn(p, ".") + 1;
	return (struct str){p, strcspn(p, ".")};
}

static void walk_key_or_text(struct walk *w)
{
	/* Objects on the path are the outermost ones, one in the other. */
	bool key = w->rows_key && w->depth == w->on_path + 1 && w->stack[w->depth - 1] == '}' &&
		   (w->prev == '{' || w->prev == ',');
	size_t start = 0, len = 0;
	struct str part;
	bool same;

	walk_string(w, &start, &len);
	w->rows_next = w->path_next = false;
	w->prev = 'v';
	if (!key || w->bad || w->out->failed)
		return;
	part = path_part(w, w->on_path);
	same = len == part.n && memcmp(w->out->data + start, part.p, len) == 0;
	w->rows_next = same && !part.p[part.n];
	w->path_next = same && part.p[part.n];
}

static void walk_token(struct walk *w)
{
	char c = w->s[w->at];

	switch (c) {
	case ' ':
	case '\t':
	case '\n':
	case '\r':
		w->at++;
		return;
	case '"':
		walk_key_or_text(w);
		return;
	case '{':
	case '[':
		walk_open(w);
		return;
	case '}':
	case ']':
		walk_close(w);
		return;
	case ',':
	case ':':
		w->at++;
		w->prev = c;
		if (c == ',' && w->rows_depth && w->depth == w->rows_depth &&
		    w->j->kind == WIRE_ROWS_ARRAY)
			row_ends(w);
		else
			buf_putc(w->out, c);
		return;
	default:
		break;
	}
	w->prev = 'v';
	if (is_letter(c) || (c == '-' && w->at + 1 < w->n && is_letter(w->s[w->at + 1])))
		walk_word(w);
	else if (is_number_char(c))
		walk_number(w);
	else
		w->bad = true;
}

void wire_json_read(struct wire_json *j, const char *body, size_t len, const char *rows_key)
{
	struct walk w = {.j = j, .s = body, .n = len, .rows_key = rows_key};

	/* Replies hold keys and tokens (wire page, trap 25): no copy of them stays in freed memory. */
	*j = (struct wire_json){.rows = {.secret = true}};
	w.envelope.secret = true;
	w.out = &w.envelope;
	if (len >= 3 && memcmp(body, "\xef\xbb\xbf", 3) == 0)
		w.at = 3; /* byte order mark */
	while (w.at < w.n && !w.bad && !w.out->failed)
		walk_token(&w);
	if (!w.bad && !w.depth && !w.envelope.failed && !j->rows.failed && w.envelope.len)
		j->root = json_loadb(w.envelope.data, w.envelope.len, JSON_REJECT_DUPLICATES, NULL);
	buf_free(&w.envelope);
}

json_t *wire_json_row(const struct wire_json *j, size_t i)
{
	size_t from;
	json_t *row;

	if (!j->root || i >= j->row_count || i >= WIRE_ROWS_MAX)
		return NULL;
	from = i ? j->row_end[i - 1] : 0;
	if (j->row_end[i] == from) /* nothing between two commas */
		return NULL;
	row = json_loadb(j->rows.data + from, j->row_end[i] - from, JSON_REJECT_DUPLICATES, NULL);
	if (json_is_object(row))
		return row;
	json_decref(row);
	return NULL;
}

void wire_json_free(struct wire_json *j)
{
	json_decref(j->root);
	buf_free(&j->rows);
	free(j->row_end);
	*j = (struct wire_json){0};
}

/* ---- typed members ---- */

bool wire_number(const json_t *o, const char *key, double *out)
{
	const json_t *v = json_object_get(o, key);
	double x;

	if (json_is_number(v)) {
		x = json_number_value(v);
	} else if (json_is_string(v)) {
		const char *s = json_string_value(v);
		char *end;

		/* Digits only: strtod would take hex, names of infinity and leading blanks. */
		if (!*s || strlen(s) > NUMBER_MAX || strspn(s, "0123456789+-.eE") != strlen(s))
			return false;
		x = strtod(s, &end);
		if (*end)
			return false;
	} else {
		return false;
	}
	if (!isfinite(x))
		return false;
	*out = x;
	return true;
}

bool wire_int(const json_t *o, const char *key, int64_t min, int64_t max, int64_t *out)
{
	const json_t *v = json_object_get(o, key);
	struct error why;
	int64_t n;
	double x;

	if (json_is_integer(v)) {
		n = json_integer_value(v);
	} else if (!json_is_string(v) ||
		   parse_int(str_of(json_string_value(v)), INT64_MIN, INT64_MAX, &n, &why)) {
		if (!wire_number(o, key, &x) || fabs(x) > (double)EXACT_MAX || x != trunc(x))
			return false;
		n = (int64_t)x;
	}
	if (n < min || n > max)
		return false;
	*out = n;
	return true;
}

bool wire_scaled(const json_t *o, const char *key, double scale, int64_t min, int64_t max,
		 int64_t *out)
{
	double x;
	int64_t n;

	if (!wire_number(o, key, &x) || fabs(x * scale) > (double)EXACT_MAX)
		return false;
	n = llround(x * scale);
	if (n < min || n > max)
		return false;
	*out = n;
	return true;
}

bool wire_balance(const json_t *o, const char *key, double scale, int64_t *out_u6)
{
	if (!wire_scaled(o, key, scale, -BALANCE_MAX_U6, BALANCE_MAX_U6, out_u6))
		return false;
	if (*out_u6 < 0)
		*out_u6 = 0;
	return true;
}

bool wire_id(const json_t *o, const char *key, char *out, size_t size)
{
	int64_t n;

	if (!wire_int(o, key, 1, INT64_C(999999999999999999), &n))
		return false;
	snprintf(out, size, "%" PRId64, n);
	return true;
}

int wire_flag(const json_t *o, const char *key)
{
	const json_t *v = json_object_get(o, key);
	int64_t n;

	if (json_is_boolean(v))
		return json_is_true(v);
	if (json_is_number(v) && wire_int(o, key, 0, 1, &n))
		return (int)n;
	return -1;
}

void wire_text(const json_t *o, const char *key, char *out, size_t size)
{
	const char *s = wire_word(o, key);

	printable_text(out, size, s ? s : "");
}

const char *wire_word(const json_t *o, const char *key)
{
	return json_string_value(json_object_get(o, key));
}

/* ---- texts with a meaning ---- */

static bool is_host(const char *s)
{
	static const char allowed[] =
		".-:abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

	return *s && *s != '.' && *s != '-' && s[strspn(s, allowed)] == '\0';
}

void wire_host(const json_t *o, const char *key, char *out, size_t size)
{
	char text[256];

	wire_text(o, key, text, sizeof text);
	copy_text(out, size, is_host(text) && strlen(text) < size ? text : "");
}

void wire_label(const json_t *o, const char *key, char *out, size_t size)
{
	const char *raw = wire_word(o, key);

	printable_text(out, size, raw ? raw : "");
	if (raw && strcmp(out, raw) != 0) {
		out[0] = '?';
		printable_text(out + 1, size - 1, raw);
	}
}
