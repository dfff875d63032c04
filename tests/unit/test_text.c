/*
 * Tests of the smallest pieces: errors, buffers, numbers, times, money, names and journal records.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#undef fail /* cmocka's macro; ours is in error.h */

#include "../../src/core/check.h"
#include "../../src/core/record.h"
#include "../../src/core/text.h"
#include "../../src/core/text_parts.h"

/* xorshift64*: the same bytes on every machine. */
static uint64_t rng_next(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * UINT64_C(2685821657736338717);
}

static const char *text_of(const struct buf *b)
{
	return b->data ? b->data : "";
}

static void test_error_table(void **state)
{
	(void)state;
	for (enum err e = ERR_NONE + 1; e < ERR_COUNT; e++) {
		assert_true(err_errno(e) > 0);
		assert_true(err_http(e) >= 400);
		assert_true(strlen(err_name(e)) > 0 && strlen(err_text(e)) > 0);
		assert_int_equal(errno_name(err_errno(e))[0], 'E');
		assert_string_not_equal(errno_name(err_errno(e)), "E?");
	}
	assert_int_equal(err_errno(ERR_NONE), 0);
	assert_int_equal(err_http(ERR_NONE), 200);
	assert_string_equal(err_name(ERR_RANGE), "RANGE");
	assert_string_equal(errno_name(EINVAL), "EINVAL");
	assert_string_equal(errno_name(ENOENT), "ENOENT");
	assert_string_equal(errno_name(EXDEV), "E?");
	assert_string_equal(errno_name(0), "E?");
}

static void test_fail(void **state)
{
	struct error why = {0};
	char big[2000];

	(void)state;
	assert_int_equal(fail(NULL, ERR_BUSY, "x"), -EBUSY);
	assert_int_equal(fail_at(&why, ERR_RANGE, 3, 7, "hours=%d", 13), -ERANGE);
	assert_int_equal(why.code, ERR_RANGE);
	assert_int_equal(why.line, 3);
	assert_int_equal(why.column, 7);
	assert_string_equal(why.text, "hours=13");
	fail(&why, ERR_INVALID, "again: %s", why.text); /* its own text as an argument */
	assert_string_equal(why.text, "again: hours=13");
	assert_int_equal(why.line, 0);
	fail(&why, ERR_INVALID, "a%sb", "\n\x1b[31m\xff\xc2\x85");
	assert_string_equal(why.text, "a??[31m???b");
	memset(big, 'x', sizeof(big));
	for (size_t i = 0; i + 1 < sizeof(big); i += 2)
		memcpy(big + i, "\xc3\xa4", 2);
	big[sizeof(big) - 1] = '\0';
	big[sizeof(big) - 2] = '\0';
	for (int pad = 0; pad < 2; pad++) {
		fail(&why, ERR_INVALID, "%s%s", pad ? "p" : "", big);
		assert_true(strlen(why.text) >= sizeof(why.text) - 3);
		assert_true(utf8_valid(why.text, strlen(why.text)));
	}
}

static void test_buf(void **state)
{
	BUF b = {.max = 1000};
	BUF empty = {0};
	char *taken;

	(void)state;
	for (int i = 0; i < 100; i++)
		buf_printf(&b, "%09d|", i);
	assert_false(b.failed);
	assert_int_equal(b.len, 1000);
	buf_putc(&b, 'x');
	assert_true(b.failed);
	assert_int_equal(b.len, 1000);
	assert_null(buf_take(&b));
	buf_printf(&b, "%300s", "end"); /* longer than the small array inside */
	assert_int_equal(b.len, 300);
	assert_string_equal(b.data + 297, "end");
	buf_printf(&b, "%701s", "");
	assert_true(b.failed);
	buf_reset(&b);
	assert_false(b.failed);
	assert_int_equal(b.len, 0);
	buf_puts(&b, "kept");
	taken = buf_take(&b);
	assert_string_equal(taken, "kept");
	assert_null(b.data);
	free(taken);
	taken = buf_take(&empty);
	assert_string_equal(taken, "");
	free(taken);
	assert_true(str_is(str_of("abc"), "abc"));
	assert_false(str_is(str_of("abc"), "ab"));
	assert_true(str_is((struct str){0}, ""));
}

static void test_quoting(void **state)
{
	static const char nasty[] = "a\"\\\n\t\r\x01\x7f\xff\xc2\x85\xe2\x80\xa9\xc3\xa4";
	BUF b = {0};

	(void)state;
	buf_json(&b, nasty, sizeof(nasty) - 1);
	assert_string_equal(text_of(&b), "\"a\\\"\\\\\\n\\t\\r\\u0001\\u007f\xef\xbf\xbd"
					 "\\u0085\\u2029\xc3\xa4\"");
	buf_reset(&b);
	buf_json(&b, "\0\xe2\x82", 3);
	assert_string_equal(text_of(&b), "\"\\u0000\xef\xbf\xbd\xef\xbf\xbd\"");
	buf_reset(&b);
	buf_escape(&b, nasty, sizeof(nasty) - 1);
	assert_string_equal(text_of(&b), "a\"\\\\x0a\\x09\\x0d\\x01\\x7f\\xff\\xc2\\x85"
					 "\\xe2\\x80\\xa9\xc3\xa4");
	buf_reset(&b);
	buf_shell(&b, "it's `$x`\n'");
	assert_string_equal(text_of(&b), "'it'\\''s `$x`\n'\\'''");
	buf_reset(&b);
	buf_shell(&b, "");
	assert_string_equal(text_of(&b), "''");
}

static void test_names(void **state)
{
	static const char *const good[] = {"a", "0", "train-1", "A.b_c-d", "x..y"};
	static const char *const bad[] = {"",	 ".",	"..",	"-x",	 ".x",	     "_x",
					  "a b", "a/b", "a\nb", "a\x01", "\xc3\xa4", "a=b"};
	char name[301];
	struct error why;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(good); i++)
		assert_int_equal(name_check(good[i], &why), 0);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		assert_int_equal(name_check(bad[i], &why), -EINVAL);
		assert_true(strlen(why.text) > 10);
	}
	memset(name, 'a', 300);
	name[300] = '\0';
	assert_int_equal(name_check(name, &why), -ENAMETOOLONG);
	name[63] = '\0';
	assert_int_equal(name_check(name, &why), 0);
}

static void test_int_bool(void **state)
{
	static const char *const bad[] = {"",	 "-",	"+1",  " 1",  "1 ", "1.5",     "0x10",
					  "1e3", "NaN", "inf", "--1", "1-", "\xd9\xa1"};
	struct error why;
	int64_t v = 77;
	bool b = false;

	(void)state;
	assert_int_equal(parse_int(str_of("12"), 1, 12, &v, &why), 0);
	assert_int_equal(v, 12);
	assert_int_equal(parse_int(str_of("-7"), -10, 0, &v, NULL), 0);
	assert_int_equal(v, -7);
	assert_int_equal(parse_int(str_of("007"), 0, 9, &v, NULL), 0);
	assert_int_equal(v, 7);
	assert_int_equal(parse_int(str_of("9223372036854775807"), 0, INT64_MAX, &v, NULL), 0);
	assert_true(v == INT64_MAX);
	assert_int_equal(parse_int(str_of("9223372036854775808"), 0, INT64_MAX, &v, &why), -ERANGE);
	assert_int_equal(parse_int(str_of("13"), 1, 12, &v, &why), -ERANGE);
	assert_string_equal(why.text, "must be a whole number from 1 to 12");
	assert_int_equal(parse_int(str_of("-1"), 0, 12, &v, &why), -ERANGE);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(parse_int(str_of(bad[i]), 0, 9, &v, &why), -EINVAL);
	assert_true(v == INT64_MAX); /* untouched by refusals */
	assert_int_equal(parse_bool(str_of("yes"), &b, &why), 0);
	assert_true(b);
	assert_int_equal(parse_bool(str_of("off"), &b, &why), 0);
	assert_false(b);
	assert_int_equal(parse_bool(str_of("2"), &b, &why), -EINVAL);
	assert_int_equal(parse_bool(str_of(""), &b, &why), -EINVAL);
}

static void test_money(void **state)
{
	static const struct {
		const char *text;
		int64_t u6;
		const char *back;
	} good[] = {
		{"0", 0, "0.00"},
		{"12", 12000000, "12.00"},
		{"0.50", 500000, "0.50"},
		{"0.123456", 123456, "0.123456"},
		{"1.2345", 1234500, "1.2345"},
		{"0.000001", 1, "0.000001"},
	};
	static const char *const bad[] = {"",	 ".5",	"1.",  "-1",  "+1",	   "1,5",  "$1",
					  "1e3", "0x1", "NaN", "inf", "1.1234567", "1.2.3"};
	struct error why;
	int64_t v;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		BUF b = {0};

		assert_int_equal(parse_money(str_of(good[i].text), &v, &why), 0);
		assert_int_equal(v, good[i].u6);
		put_money(&b, v);
		assert_string_equal(text_of(&b), good[i].back);
	}
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(parse_money(str_of(bad[i]), &v, &why), -EINVAL);
	assert_int_equal(parse_money(str_of("99999999999999999999"), &v, &why), -ERANGE);
	assert_int_equal(parse_money(str_of("1000000001"), &v, &why), -ERANGE);
	assert_int_equal(parse_money(str_of("1000000000"), &v, &why), 0);
}

static void test_decimal(void **state)
{
	BUF b = {0};
	int64_t v;

	(void)state;
	assert_int_equal(parse_decimal(str_of("0.987"), 3, &v, NULL), 0);
	assert_int_equal(v, 987);
	assert_int_equal(parse_decimal(str_of("12.4"), 3, &v, NULL), 0);
	assert_int_equal(v, 12400);
	assert_int_equal(parse_decimal(str_of("0.9871"), 3, &v, NULL), -EINVAL);
	assert_int_equal(parse_decimal(str_of("1.0"), 0, &v, NULL), -EINVAL);
	put_decimal(&b, 12400, 3);
	buf_putc(&b, ' ');
	put_decimal(&b, 1000, 3);
	buf_putc(&b, ' ');
	put_decimal(&b, 7, 0);
	buf_putc(&b, ' ');
	put_decimal(&b, -1050, 3);
	buf_putc(&b, ' ');
	put_money(&b, UNKNOWN);
	put_money(&b, INT64_MAX);
	assert_string_equal(text_of(&b), "12.4 1.0 7 -1.05 9223372036854.775807");
}

static void test_duration(void **state)
{
	static const struct {
		const char *text;
		int64_t seconds;
	} good[] = {{"90s", 90},    {"5m", 300}, {"1h30m", 5400},    {"2d", 172800},
		    {"7200", 7200}, {"0", 0},	 {"1d2h3m4s", 93784}};
	static const char *const bad[] = {"",	 "h",	"1h1h", "1m1h", "1h30", "1.5h", "-1h",
					  "+1h", "1 h", "1H",	"5min", "1ms",	"max",	"NaN"};
	uint64_t rng = 7;
	struct error why;
	int64_t v;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		assert_int_equal(parse_duration(str_of(good[i].text), &v, &why), 0);
		assert_int_equal(v, good[i].seconds * SECOND_US);
	}
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(parse_duration(str_of(bad[i]), &v, &why), -EINVAL);
	assert_int_equal(parse_duration(str_of("9223372036855"), &v, &why), -ERANGE);
	assert_int_equal(parse_duration(str_of("999999999999d"), &v, &why), -ERANGE);
	for (int i = 0; i < 1000; i++) {
		int64_t us = (int64_t)(rng_next(&rng) >> 24) * SECOND_US;
		BUF b = {0};

		put_duration(&b, us);
		assert_int_equal(parse_duration(str_of(text_of(&b)), &v, &why), 0);
		assert_true(v == us);
	}
}

static void test_put_times(void **state)
{
	BUF b = {0};

	(void)state;
	put_time(&b, 0);
	put_time(&b, -5);
	put_time(&b, INT64_MAX);
	assert_int_equal(b.len, 0);
	put_time(&b, INT64_C(1704067199) * SECOND_US + 999999);
	assert_string_equal(text_of(&b), "2023-12-31T23:59:59Z");
	buf_reset(&b);
	put_duration(&b, 90 * SECOND_US);
	buf_putc(&b, ' ');
	put_duration(&b, 0);
	buf_putc(&b, ' ');
	put_duration(&b, -150 * SECOND_US);
	buf_putc(&b, ' ');
	put_duration(&b, HOUR_US);
	assert_string_equal(text_of(&b), "90s 0s -2m30s 1h");
}

static void test_utf8(void **state)
{
	static const char *const bad[] = {"\x80",
					  "\xc0\x80",
					  "\xc1\xbf",
					  "\xe0\x80\x80",
					  "\xed\xa0\x80",
					  "\xf0\x80\x80\x80",
					  "\xf4\x90\x80\x80",
					  "\xf5\x80\x80\x80",
					  "\xc3(",
					  "\xe2\x82",
					  "\xff"};
	static const char *const good[] = {"",
					   "abc",
					   "\xc3\xa4",
					   "\xe2\x82\xac",
					   "\xf0\x9f\x98\x80",
					   "\xed\x9f\xbf",
					   "\xf4\x8f\xbf\xbf"};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_false(utf8_valid(bad[i], strlen(bad[i])));
	for (size_t i = 0; i < ARRAY_LEN(good); i++)
		assert_true(utf8_valid(good[i], strlen(good[i])));
	assert_int_equal(utf8_step("\xe2\x82", 2), UTF8_CUT);
	assert_int_equal(utf8_step("\xe0\x80", 2), 0);
	assert_int_equal(utf8_step("\xf0", 1), UTF8_CUT);
}

static void test_small_things(void **state)
{
	char out[8], shown[24];
	int line, column;

	(void)state;
	fold("RTX_40 90-Ti", shown, sizeof(shown));
	assert_string_equal(shown, "rtx4090ti");
	fold("abcdefghijkl", out, sizeof(out));
	assert_string_equal(out, "abcdefg");
	COPY(out, "short");
	assert_string_equal(out, "short");
	COPY(out, "1234567");
	assert_string_equal(out, "1234567");
	COPY(out, "123456\xc3\xa4");
	assert_string_equal(out, "123456"); /* not half a character */
	COPY(out, "1234\xf0\x9f\x98\x80");
	assert_string_equal(out, "1234");
	COPY(out, "12345\xc3\xa4");
	assert_string_equal(out, "12345\xc3\xa4");
	copy_text(out, 1, "x");
	assert_string_equal(out, "");
	show_value(shown, sizeof(shown), str_of("a\nb"));
	assert_string_equal(shown, "a\\x0ab");
	show_value(shown, sizeof(shown), str_of("0123456789012345678901234567890"));
	assert_string_equal(shown, "01234567890123456789...");
	text_place("ab\n\xc3\xa4x", 5, &line, &column);
	assert_int_equal(line, 2);
	assert_int_equal(column, 2);
	assert_true(hash64("", 0, 0) == UINT64_C(0xcbf29ce484222325));
	assert_true(hash64("a", 1, 0) == UINT64_C(0xaf63dc4c8601ec8c));
	assert_true(hash64("a", 1, 1) != hash64("a", 1, 0));
}

static void test_record(void **state)
{
	static struct journal_op op; /* large: 72 values */

	(void)state;
	assert_int_equal(journal_op_int(&op, -5), 0);
	assert_int_equal(journal_op_text(&op, NULL, 0), 0);
	assert_int_equal(journal_op_text(&op, "a\0b", 3), 0);
	assert_int_equal(journal_op_text(&op, "", 0), 0);
	assert_int_equal(op.n, 4);
	assert_int_equal(op.v[0].type, JV_INT);
	assert_int_equal(op.v[0].i, -5);
	assert_int_equal(op.v[1].type, JV_NULL);
	assert_int_equal(op.v[2].len, 3);
	assert_memory_equal(op.v[2].text, "a\0b", 4);
	assert_int_equal(op.v[3].type, JV_TEXT);
	journal_op_free(&op);
	assert_int_equal(op.n, 0);
	journal_op_free(&op);
	for (size_t i = 0; i < JOURNAL_COLUMNS_MAX; i++)
		assert_int_equal(journal_op_text(&op, "x", 1), 0);
	journal_op_free(&op);
}

/* Whatever the bytes are: no crash, no overrun, output is one valid line. */
static void test_random_bytes(void **state)
{
	uint64_t rng = 4711;

	(void)state;
	for (int round = 0; round < 20000; round++) {
		size_t n = rng_next(&rng) % 40;
		char *text = malloc(n + 1);
		struct str s = {text, n};
		char small[17];
		int64_t v;
		bool yes;
		BUF b = {0};

		assert_non_null(text);
		for (size_t i = 0; i < n; i++)
			text[i] = rng_next(&rng) % 3 ? "0123456789.-dhms"[rng_next(&rng) % 16]
						     : (char)rng_next(&rng);
		text[n] = '\0';
		parse_int(s, INT64_MIN, INT64_MAX, &v, NULL);
		parse_money(s, &v, NULL);
		parse_decimal(s, 3, &v, NULL);
		parse_duration(s, &v, NULL);
		parse_bool(s, &yes, NULL);
		name_check(text, NULL);
		fold(text, small, sizeof(small));
		COPY(small, text);
		show_value(small, sizeof(small), s);
		assert_true(strlen(small) < sizeof(small));
		buf_escape(&b, text, n);
		buf_json(&b, text, n);
		assert_true(utf8_valid(text_of(&b), b.len));
		assert_null(strchr(text_of(&b), '\n'));
		free(text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_error_table), cmocka_unit_test(test_fail),
		cmocka_unit_test(test_buf),	    cmocka_unit_test(test_quoting),
		cmocka_unit_test(test_names),	    cmocka_unit_test(test_int_bool),
		cmocka_unit_test(test_money),	    cmocka_unit_test(test_decimal),
		cmocka_unit_test(test_duration),    cmocka_unit_test(test_put_times),
		cmocka_unit_test(test_utf8),	    cmocka_unit_test(test_small_things),
		cmocka_unit_test(test_record),	    cmocka_unit_test(test_random_bytes),
	};

	return cmocka_run_group_tests_name("text", tests, NULL, NULL);
}
