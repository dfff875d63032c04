/*
 * JSON of others, for all dialects. jansson refuses a whole reply for one byte 0xff, a \u0000, a lone
 * surrogate, a NaN or a number that fits nowhere, so the text is made valid first; and rows are cut out
 * of it and read one by one, so that a bad row costs one row and a reply of 32 MiB never becomes one
 * tree. What is not JSON at all (cut off, HTML, brackets that do not match) stays unreadable.
 *
 * Changed on the way: invalid UTF-8, control bytes and unknown escapes become '?' (white space a space),
 * \u0000 and lone surrogates U+FFFD; integers of more than 18 digits become reals; NaN, Infinity, numbers
 * beyond a double or longer than 128 characters, and what is nested deeper than WIRE_DEPTH_MAX become the
 * text "?" (and not null, which means something). An object with a member twice is a bad row, and an envelope with one
 * is unreadable: which of the two is meant would be a guess.
 *
 * Pure; any thread. Tests: tests/unit/test_wire_json.c, tests/fuzz.
 */
#ifndef GPUFS_CORE_WIRE_JSON_H
#define GPUFS_CORE_WIRE_JSON_H

#include <jansson.h>

#include "buf.h"

#define WIRE_DEPTH_MAX 32

enum wire_rows {
	WIRE_ROWS_NONE,	  /* no such member, or it is null or a plain value: see root */
	WIRE_ROWS_ARRAY,  /* an array; its elements are the rows */
	WIRE_ROWS_OBJECT, /* one object: one row */
};

struct wire_json {
	json_t *root; /* the reply with its rows cut out ([] or {} is left); NULL: unreadable */
	enum wire_rows kind;
	size_t row_count; /* rows that came; those beyond WIRE_ROWS_MAX cannot be read */
	/* private */
	struct buf rows;
	size_t *row_end, row_cap;
};

/* Read a body. rows_key names the member of the reply whose value holds the rows, "data.rows" a member of
 * its member (a reply that is an array is itself the rows); NULL: there are none. Call wire_json_free in any
 * case. */
void wire_json_read(struct wire_json *j, const char *body, size_t len, const char *rows_key);
/* Row i as a new reference (json_decref); NULL if it is no object or cannot be read. */
json_t *wire_json_row(const struct wire_json *j, size_t i);
void wire_json_free(struct wire_json *j);

/* Members of an object, typed. o may be NULL or no object: then nothing is there. Each leaves *out as it
 * is and says false where the value is absent, null, of another kind, not finite or out of range. Numbers
 * may be written as text ("0.25"). */
bool wire_number(const json_t *o, const char *key, double *out);
/* A whole number; 3.0 is one, 3.5 and what a double cannot hold exactly are not. */
bool wire_int(const json_t *o, const char *key, int64_t min, int64_t max, int64_t *out);
/* llround(number * scale): money in micro-dollars (1e6), thousandths (1e3). The limits are of the result. */
bool wire_scaled(const json_t *o, const char *key, double scale, int64_t min, int64_t max,
		 int64_t *out);
/* An account's balance in micro-dollars; less than nothing, which was seen, is 0, since it would read as
 * UNKNOWN. */
bool wire_balance(const json_t *o, const char *key, double scale, int64_t *out_u6);
/* A positive whole number as digits, or a text of at most 18 digits. */
bool wire_id(const json_t *o, const char *key, char *out, size_t size);
/* true, false, 1, 0; -1 where it is none of them. */
int wire_flag(const json_t *o, const char *key);
/* For people: one line (printable_text), cut at size; "" where there is no text. */
void wire_text(const json_t *o, const char *key, char *out, size_t size);
/* A name or address that ssh may be given: it cannot look like an option or hold a command. "" where the
 * text is none; white space at its ends, which was seen, is left out. */
void wire_host(const json_t *o, const char *key, char *out, size_t size);
/* A label, for telling ours from others': one that is not exactly what it is printed as (blanks at the
 * ends, control bytes, too long) begins with '?', so that it does not become one of ours by being cleaned. */
void wire_label(const json_t *o, const char *key, char *out, size_t size);
/* The text as it came, for comparing; NULL if there is none. Borrowed from o. */
const char *wire_word(const json_t *o, const char *key);

#endif
