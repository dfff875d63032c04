/*
 * Tests of reading other people's JSON: bytes that jansson refuses, rows of which some are bad, depth,
 * size, and the typed members.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../src/core/check.h"
#include "../../src/core/wire.h"
#include "../../src/core/wire_json.h"

#include <cmocka.h>

#define JSON __attribute__((cleanup(wire_json_free))) struct wire_json

static void decref(json_t **j)
{
	json_decref(*j);
}
#define ROW __attribute__((cleanup(decref))) json_t

/* From memory of exactly its size, so that the sanitizer sees every byte read too far. */
static void read_n(struct wire_json *j, const char *body, size_t n)
{
	FREE char *copy = malloc(n ? n : 1);

	assert_non_null(copy);
	memcpy(copy, body, n);
	wire_json_read(j, copy, n, "rows");
}

static void read_text(struct wire_json *j, const char *body)
{
	read_n(j, body, strlen(body));
}

/* What the member `a` of the only row reads as. */
static void assert_member(const char *body, size_t n, const char *wanted)
{
	JSON j;
	BUF whole = {0};

	buf_puts(&whole, "{\"rows\":[{\"a\":\"");
	buf_add(&whole, body, n);
	buf_puts(&whole, "\"}]}");
	read_n(&j, whole.data, whole.len);
	ROW *row = wire_json_row(&j, 0);
	assert_non_null(row);
	assert_string_equal(wire_word(row, "a"), wanted);
}

static void test_bytes_are_made_valid(void **state)
{
	static const struct {
		const char *body, *wanted;
	} t[] = {
		{"plain", "plain"},
		{"\xff", "?"},
		{"a\xc3\xa9z", "a\xc3\xa9z"},
		{"a\xc3", "a?"},
		{"\xed\xa0\x80", "???"},
		{"\xf4\x90\x80\x80", "????"},
		{"\xc0\xaf", "??"},
		{"a\nb\tc\x01", "a b c?"},
		{"\\u0000", "\xef\xbf\xbd"},
		{"\\ud800", "\xef\xbf\xbd"},
		{"\\udc00x", "\xef\xbf\xbdx"},
		{"\\ud800\\ud800", "\xef\xbf\xbd\xef\xbf\xbd"},
		{"\\ud83d\\ude00", "\xf0\x9f\x98\x80"},
		{"\\u00e9\\n\\\"\\\\", "\xc3\xa9\n\"\\"},
		{"\\x41", "?x41"},
		{"\\u12g4", "?u12g4"},
		{"\\u", "?u"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(t); i++)
		assert_member(t[i].body, strlen(t[i].body), t[i].wanted);
	assert_member("a\0b", 3, "a?b");
}

/* Rows may be a member of a member; what is called so elsewhere is not them. */
static void test_rows_of_a_member(void **state)
{
	static const struct {
		const char *body;
		enum wire_rows kind;
		size_t rows;
	} t[] = {
		{"{\"data\":{\"rows\":[{},{}]}}", WIRE_ROWS_ARRAY, 2},
		{"{\"data\":{\"x\":{\"rows\":[1]},\"rows\":[{}]}}", WIRE_ROWS_ARRAY, 1},
		{"{\"x\":{\"rows\":[1]},\"data\":{\"rows\":[{}]}}", WIRE_ROWS_ARRAY, 1},
		{"{\"rows\":[1],\"data\":{\"rows\":[{},{}]}}", WIRE_ROWS_ARRAY, 2},
		{"{\"data\":{\"rows\":{}}}", WIRE_ROWS_OBJECT, 1},
		{"{\"rows\":[1]}", WIRE_ROWS_NONE, 0},
		{"{\"data\":[{\"rows\":[1]}]}", WIRE_ROWS_NONE, 0},
		{"{\"data\":{\"data\":{\"rows\":[1]}}}", WIRE_ROWS_NONE, 0},
		{"{\"data\":1,\"x\":{\"rows\":[1]}}", WIRE_ROWS_NONE, 0},
		{"{\"data\":{},\"rows\":[1]}", WIRE_ROWS_NONE, 0},
		{"{\"data\":{\"y\":{}},\"x\":{\"rows\":[1]}}", WIRE_ROWS_NONE, 0},
		{"{\"data.rows\":[1]}", WIRE_ROWS_NONE, 0},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		struct wire_json j;

		wire_json_read(&j, t[i].body, strlen(t[i].body), "data.rows");
		assert_non_null(j.root);
		assert_int_equal(j.kind, t[i].kind);
		assert_int_equal(j.row_count, t[i].rows);
		wire_json_free(&j);
	}
}

static void test_unreadable(void **state)
{
	static const char *const bodies[] = {
		"",
		" ",
		"<html>",
		"{",
		"{\"rows\":[",
		"{\"rows\":[{}",
		"{\"rows\":[{}}",
		"{]",
		"}",
		"{\"rows\":[{}]",
		"{\"a\":\"",
		"{\"a\":\"\\",
		"{\"a\":1}x",
		"{\"a\":1}{\"a\":1}",
		"{\"a\":1,\"a\":2}",
		"{\"rows\":[],\"rows\":[]}",
		"{\"rows\":[],\"rows\":null}",
		"{\"rows\":null,\"rows\":[]}",
		"{\"a\":tru}",
		"{\"a\" 1}",
		"{\"a\":01}",
		"\x01",
		"nul",
		"API requests too frequent",
		"{\"a\":+1}",
		"{\"rows\":[{\"a\":[}]}]}",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
		JSON j;

		read_text(&j, bodies[i]);
		if (j.root)
			print_error("readable: %s\n", bodies[i]);
		assert_null(j.root);
		assert_null(wire_json_row(&j, 0));
	}
	JSON j;
	read_n(&j, "\0{}", 3);
	assert_null(j.root);
}

static void test_a_bad_row_costs_one_row(void **state)
{
	static const char body[] = "\xef\xbb\xbf {\"n\": 7, \"rows\": [ {\"a\":1}, "
				   "{\"a\":1,\"a\":2}, 5, null, \"x\", [1],"
				   " {\"a\" 1}, {\"a\":01}, , {\"a\":{\"rows\":[2]}, "
				   "\"rows\":[3]}, {}\n, {\"a\":nope} ],"
				   " \"more\": {\"rows\": 1} }";
	static const bool good[] = {true,  false, false, false, false, false,
				    false, false, false, true,	true,  false};
	JSON j;

	(void)state;
	read_text(&j, body);
	assert_non_null(j.root);
	assert_int_equal(j.kind, WIRE_ROWS_ARRAY);
	assert_int_equal(j.row_count, ARRAY_LEN(good));
	assert_int_equal(json_array_size(json_object_get(j.root, "rows")), 0);
	assert_int_equal(json_integer_value(json_object_get(j.root, "n")), 7);
	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		ROW *row = wire_json_row(&j, i);

		if (!row == good[i])
			print_error("row %zu\n", i);
		assert_int_equal(row != NULL, good[i]);
	}
}

static void test_kinds_of_rows(void **state)
{
	static const struct {
		const char *body;
		enum wire_rows kind;
		size_t count;
	} t[] = {
		{"{}", WIRE_ROWS_NONE, 0},
		{"{\"rows\":null}", WIRE_ROWS_NONE, 0},
		{"{\"rows\":3}", WIRE_ROWS_NONE, 0},
		{"{\"x\":{\"rows\":[{}]}}", WIRE_ROWS_NONE, 0},
		{"{\"x\":\"rows\",\"y\":[1]}", WIRE_ROWS_NONE, 0},
		{"{\"rows\":[]}", WIRE_ROWS_ARRAY, 0},
		{"{\"rows\":[ ]}", WIRE_ROWS_ARRAY, 0},
		{"{\"rows\":{}}", WIRE_ROWS_OBJECT, 1},
		{"{\"rows\":{\"a\":1,\"b\":[1,2]},\"z\":1}", WIRE_ROWS_OBJECT, 1},
		{"[]", WIRE_ROWS_ARRAY, 0},
		{"[{},{}]", WIRE_ROWS_ARRAY, 2},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		JSON j;

		read_text(&j, t[i].body);
		assert_non_null(j.root);
		assert_int_equal(j.kind, t[i].kind);
		assert_int_equal(j.row_count, t[i].count);
		for (size_t k = 0; k < t[i].count; k++) {
			ROW *row = wire_json_row(&j, k);

			assert_non_null(row);
		}
	}
}

/* n opening brackets, with or without as many closing ones, as the value of a row's member. */
static void nested(struct buf *b, size_t n, bool closed)
{
	buf_puts(b, "{\"rows\":[{\"deep\":");
	for (size_t i = 0; i < n; i++)
		buf_puts(b, i & 1 ? "{\"x\":" : "[");
	buf_puts(b, "1");
	for (size_t i = n; closed && i-- > 0;)
		buf_putc(b, i & 1 ? '}' : ']');
	buf_puts(b, ",\"a\":5},{\"a\":6}]}");
}

static void test_depth_is_bounded(void **state)
{
	static const size_t depths[] = {1, 20, 29, 30, 31, 32, 33, 100, 5000, 100000};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(depths); i++) {
		JSON j, cut;
		BUF b = {0};
		BUF open = {0};
		int64_t v = 0;

		nested(&b, depths[i], true);
		read_n(&j, b.data, b.len);
		assert_int_equal(j.row_count, 2);
		ROW *row = wire_json_row(&j, 0);
		assert_true(wire_int(row, "a", 0, 10, &v));
		assert_int_equal(v, 5);
		nested(&open, depths[i], false);
		read_n(&cut, open.data, open.len);
		assert_null(cut.root);
	}
}

static void test_size_is_bounded(void **state)
{
	JSON j;
	BUF b = {0};
	size_t n = WIRE_ROWS_MAX + 5;

	(void)state;
	buf_puts(&b, "{\"rows\":[");
	for (size_t i = 0; i < n; i++)
		buf_puts(&b, i ? ",{}" : "{}");
	buf_puts(&b, "],\"text\":\"");
	while (b.len < HTTP_BODY_MAX_OFFERS)
		buf_puts(&b, "\xff\xff\xff\\u0000\\ud800 some more text of whatever sort ");
	buf_puts(&b, "\"}");
	assert_false(b.failed);
	read_n(&j, b.data, b.len);
	assert_non_null(j.root);
	assert_int_equal(j.row_count, n);
	ROW *last = wire_json_row(&j, WIRE_ROWS_MAX - 1);
	assert_non_null(last);
	assert_null(wire_json_row(&j, WIRE_ROWS_MAX));
}

static void test_numbers(void **state)
{
	static const struct {
		const char *text;
		bool is_number, is_int;
		double x;
		int64_t n;
	} t[] = {
		{"3", true, true, 3, 3},
		{"-3", true, true, -3, -3},
		{"3.0", true, true, 3, 3},
		{"3.5", true, false, 3.5, 0},
		{"\"3\"", true, true, 3, 3},
		{"\"0.25\"", true, false, 0.25, 0},
		{"\" 3\"", false, false, 0, 0},
		{"\"0x10\"", false, false, 0, 0},
		{"\"nan\"", false, false, 0, 0},
		{"\"inf\"", false, false, 0, 0},
		{"\"1e400\"", false, false, 0, 0},
		{"\"\"", false, false, 0, 0},
		{"\"-\"", false, false, 0, 0},
		{"1e400", false, false, 0, 0},
		{"-1e400", false, false, 0, 0},
		{"1e-400", true, true, 0, 0},
		{"NaN", false, false, 0, 0},
		{"Infinity", false, false, 0, 0},
		{"-Infinity", false, false, 0, 0},
		{"null", false, false, 0, 0},
		{"true", false, false, 0, 0},
		{"[]", false, false, 0, 0},
		{"{}", false, false, 0, 0},
		{"999999999999999999", true, true, 1e18, 999999999999999999},
		{"99999999999999999999", true, false, 1e20, 0},
		{"9007199254740993.0", true, true, 9007199254740992.0, 9007199254740992},
		{"1e300", true, false, 1e300, 0},
		{"-0", true, true, 0, 0},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		BUF b = {0};
		JSON j;
		double x = 77;
		int64_t n = 77;

		buf_printf(&b, "{\"a\":%s}", t[i].text);
		read_n(&j, b.data, b.len);
		if (!j.root || wire_number(j.root, "a", &x) != t[i].is_number ||
		    wire_int(j.root, "a", INT64_MIN, INT64_MAX, &n) != t[i].is_int)
			print_error("%s\n", t[i].text);
		assert_non_null(j.root);
		assert_int_equal(wire_number(j.root, "a", &x), t[i].is_number);
		assert_int_equal(wire_int(j.root, "a", INT64_MIN, INT64_MAX, &n), t[i].is_int);
		assert_true(x == (t[i].is_number ? t[i].x : 77));
		assert_int_equal(n, t[i].is_int ? t[i].n : 77);
	}
}

static void test_long_numbers_are_unknown(void **state)
{
	JSON j;
	BUF b = {0};
	double x;

	(void)state;
	buf_puts(&b, "{\"a\":");
	for (int i = 0; i < 1000000; i++)
		buf_putc(&b, '1');
	buf_puts(&b, ",\"b\":2}");
	read_n(&j, b.data, b.len);
	assert_non_null(j.root);
	assert_false(wire_number(j.root, "a", &x));
	assert_true(wire_number(j.root, "b", &x));
}

static void test_typed_members(void **state)
{
	JSON j;
	int64_t v = 77;
	char id[24], text[8];

	(void)state;
	read_text(&j,
		  "{\"m\":0.2466759259,\"neg\":-0.5,\"big\":1e18,\"t\":true,\"f\":false,\"one\":1,"
		  "\"zero\":0.0,\"two\":2,\"word\":\" tab\\there\\u001b[2J \",\"id\":33402296,"
		  "\"ids\":\"123\",\"idf\":5.0,\"id0\":0,\"idn\":-4,\"idx\":\"12x\","
		  "\"idl\":1234567890123456789012}");
	assert_true(wire_scaled(j.root, "m", 1e6, 0, INT64_MAX, &v));
	assert_int_equal(v, 246676);
	v = 77;
	assert_false(wire_scaled(j.root, "neg", 1e6, 0, INT64_MAX, &v));
	assert_false(wire_scaled(j.root, "big", 1e6, 0, INT64_MAX, &v));
	assert_false(wire_scaled(j.root, "missing", 1e6, 0, INT64_MAX, &v));
	assert_false(wire_scaled(NULL, "m", 1e6, 0, INT64_MAX, &v));
	assert_int_equal(v, 77);
	assert_int_equal(wire_flag(j.root, "t"), 1);
	assert_int_equal(wire_flag(j.root, "f"), 0);
	assert_int_equal(wire_flag(j.root, "one"), 1);
	assert_int_equal(wire_flag(j.root, "zero"), 0);
	assert_int_equal(wire_flag(j.root, "two"), -1);
	assert_int_equal(wire_flag(j.root, "word"), -1);
	assert_int_equal(wire_flag(j.root, "missing"), -1);
	wire_text(j.root, "word", text, sizeof text);
	assert_string_equal(text, "tab her");
	wire_text(j.root, "m", text, sizeof text);
	assert_string_equal(text, "");
	assert_true(wire_id(j.root, "id", id, sizeof id));
	assert_string_equal(id, "33402296");
	assert_true(wire_id(j.root, "ids", id, sizeof id));
	assert_string_equal(id, "123");
	assert_true(wire_id(j.root, "idf", id, sizeof id));
	assert_false(wire_id(j.root, "id0", id, sizeof id));
	assert_false(wire_id(j.root, "idn", id, sizeof id));
	assert_false(wire_id(j.root, "idx", id, sizeof id));
	assert_false(wire_id(j.root, "idl", id, sizeof id));
	assert_false(wire_id(j.root, "m", id, sizeof id));
}

/* Every text that is cut or has a byte changed is read without harm; what is cut is unreadable. */
static void test_broken_texts(void **state)
{
	static const char body[] =
		"{\"rows\":[{\"a\":\"\\ud83d\\ude00\\u0000\xc3\xa9\",\"b\":-1.5e3},"
		"{\"c\":[true,null,{\"d\":[]}]}],\"n\":\"x\"}";
	char text[sizeof body];

	(void)state;
	for (size_t n = 0; n < sizeof body - 1; n++) {
		JSON j;

		read_n(&j, body, n);
		assert_null(j.root);
	}
	for (size_t i = 0; i < sizeof body - 1; i++)
		for (unsigned c = 0; c < 256; c++) {
			JSON j;

			memcpy(text, body, sizeof body);
			text[i] = (char)c;
			read_n(&j, text, sizeof body - 1);
			for (size_t k = 0; k < j.row_count; k++) {
				ROW *row = wire_json_row(&j, k);

				(void)row;
			}
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bytes_are_made_valid),
		cmocka_unit_test(test_rows_of_a_member),
		cmocka_unit_test(test_unreadable),
		cmocka_unit_test(test_a_bad_row_costs_one_row),
		cmocka_unit_test(test_kinds_of_rows),
		cmocka_unit_test(test_depth_is_bounded),
		cmocka_unit_test(test_size_is_bounded),
		cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_long_numbers_are_unknown),
		cmocka_unit_test(test_typed_members),
		cmocka_unit_test(test_broken_texts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
