/*
 * Numbers, times, money and names, as text and back (text.h). Everything is integers; strtol and
 * friends are not used because they accept signs, spaces, hex and half a number. The sentences of
 * the parse_ functions begin with "must": the caller puts the key and the value in front. Pure; any
 * thread. Tests: tests/unit/test_text.c.
 */
#include "text.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "check.h"
#include "text_parts.h"

#define MONEY_MAX_USD  INT64_C(1000000000) /* nobody's price: a slip of the decimal point */
#define DURATION_MAX_S (INT64_MAX / SECOND_US)

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_alnum(char c)
{
	return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

int name_check(const char *name, struct error *why)
{
	char shown[80];
	size_t n = strlen(name), i = 0;

	show_value(shown, sizeof(shown), (struct str){name, n});
	if (n == 0)
		return fail(why, ERR_INVALID, "a name must not be empty");
	if (n > NAME_MAX_LEN)
		return fail(why, ERR_NAME_LONG,
			    "%s: a name of %zu bytes is too long; at most %d are allowed", shown, n,
			    NAME_MAX_LEN);
	if (!is_alnum(name[0]))
		return fail(why, ERR_INVALID, "%s: a name must begin with a letter or a digit",
			    shown);
	while (i < n && (is_alnum(name[i]) || strchr("._-", name[i])))
		i++;
	if (i < n)
		return fail(why, ERR_INVALID,
			    "%s: a name may hold letters, digits, '.', '_' and '-' only", shown);
	return 0;
}

/* v = v * 10 + digit, or false when that is more than max. */
static bool add_digit(int64_t *v, char c, int64_t max)
{
	int64_t d = c - '0';

	if (*v > (max - d) / 10)
		return false;
	*v = *v * 10 + d;
	return true;
}

static int fail_int_range(struct error *why, int64_t min, int64_t max)
{
	if (max == INT64_MAX)
		return fail(why, ERR_RANGE, "must be a whole number of at least %" PRId64, min);
	return fail(why, ERR_RANGE, "must be a whole number from %" PRId64 " to %" PRId64, min,
		    max);
}

int parse_int(struct str s, int64_t min, int64_t max, int64_t *out, struct error *why)
{
	bool negative = s.n > 0 && s.p[0] == '-', fits = true;
	int64_t v = 0;
	size_t i = negative;

	if (i == s.n)
		return fail(why, ERR_INVALID, "must be a whole number");
	for (; i < s.n; i++) {
		if (!is_digit(s.p[i]))
			return fail(why, ERR_INVALID, "must be a whole number");
		fits = fits && add_digit(&v, s.p[i], INT64_MAX);
	}
	if (negative)
		v = -v;
	if (!fits || v < min || v > max)
		return fail_int_range(why, min, max);
	*out = v;
	return 0;
}

int parse_bool(struct str s, bool *out, struct error *why)
{
	static const struct {
		const char *word;
		bool value;
	} words[] = {
		{"0", false},	  {"1", true},	  {"no", false},  {"yes", true},
		{"false", false}, {"true", true}, {"off", false}, {"on", true},
	};

	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		if (str_is(s, words[i].word)) {
			*out = words[i].value;
			return 0;
		}
	}
	return fail(why, ERR_INVALID, "must be 1 or 0 (yes, no, true, false, on and off work too)");
}

/* Digits, and after a point 1 to `places` more. The value in units of 10^-places; max in the same.
 */
static int parse_fixed(struct str s, int places, int64_t max, int64_t *out, const char *wanted,
		       struct error *why)
{
	int64_t v = 0;
	bool fits = true;
	size_t i = 0;
	int got = 0;

	for (; i < s.n && is_digit(s.p[i]); i++)
		fits = fits && add_digit(&v, s.p[i], max);
	if (i == 0)
		return fail(why, ERR_INVALID, "must be %s", wanted);
	if (i < s.n && s.p[i] == '.') {
		for (i++; i < s.n && is_digit(s.p[i]); i++, got++) {
			if (got == places)
				return fail(why, ERR_INVALID,
					    "must have at most %d digits behind the point", places);
			fits = fits && add_digit(&v, s.p[i], max);
		}
		if (got == 0)
			return fail(why, ERR_INVALID, "must be %s", wanted);
	}
	if (i < s.n)
		return fail(why, ERR_INVALID, "must be %s", wanted);
	for (; got < places; got++)
		fits = fits && add_digit(&v, '0', max);
	if (!fits)
		return fail(why, ERR_RANGE, "is too large");
	*out = v;
	return 0;
}

int parse_money(struct str s, int64_t *out_u6, struct error *why)
{
	return parse_fixed(s, 6, MONEY_MAX_USD * 1000000, out_u6, "an amount of USD such as 0.50",
			   why);
}

int parse_decimal(struct str s, int places, int64_t *out, struct error *why)
{
	CHECK(places >= 0 && places <= 18);
	return parse_fixed(s, places, INT64_MAX, out, "a number such as 0.95", why);
}

static const struct {
	char letter;
	int64_t seconds;
} duration_units[] = {{'d', 86400}, {'h', 3600}, {'m', 60}, {'s', 1}};

int parse_duration(struct str s, int64_t *out_us, struct error *why)
{
	static const char wanted[] = "must be a duration such as 90s, 5m, 1h30m, 2d, or seconds";
	int64_t total = 0;
	size_t i = 0, unit = 0; /* units come in this order, each at most once */
	bool fits = true;

	if (s.n == 0)
		return fail(why, ERR_INVALID, "%s", wanted);
	while (i < s.n) {
		size_t begin = i;
		int64_t v = 0, factor = 1;

		for (; i < s.n && is_digit(s.p[i]); i++)
			fits = fits && add_digit(&v, s.p[i], DURATION_MAX_S);
		if (i == begin || (i == s.n && begin > 0))
			return fail(why, ERR_INVALID, "%s", wanted);
		if (i < s.n) {
			while (unit < ARRAY_LEN(duration_units) &&
			       duration_units[unit].letter != s.p[i])
				unit++;
			if (unit == ARRAY_LEN(duration_units))
				return fail(why, ERR_INVALID, "%s", wanted);
			factor = duration_units[unit++].seconds;
			i++;
		}
		fits = fits && v <= (DURATION_MAX_S - total) / factor;
		total = fits ? total + v * factor : 0;
	}
	if (!fits)
		return fail(why, ERR_RANGE, "is too long");
	*out_us = total * SECOND_US;
	return 0;
}

void put_time(struct buf *b, int64_t wall_us)
{
	time_t t = wall_us / SECOND_US;
	struct tm tm;
	char text[32];

	if (wall_us <= 0 || !gmtime_r(&t, &tm) || tm.tm_year > 9999 - 1900)
		return;
	if (strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm) > 0)
		buf_puts(b, text);
}

/* v in units of 10^-places with at least `keep` digits behind the point. */
static void put_fixed(struct buf *b, int64_t v, int places, int keep)
{
	char digits[24];
	uint64_t u = v < 0 ? 0 - (uint64_t)v : (uint64_t)v, scale = 1;

	for (int i = 0; i < places; i++)
		scale *= 10;
	buf_printf(b, "%s%" PRIu64, v < 0 ? "-" : "", u / scale);
	if (places == 0)
		return;
	u %= scale;
	for (int i = places; i-- > 0; u /= 10)
		digits[i] = (char)('0' + u % 10);
	while (places > keep && digits[places - 1] == '0')
		places--;
	buf_putc(b, '.');
	buf_add(b, digits, (size_t)places);
}

void put_money(struct buf *b, int64_t u6)
{
	if (u6 >= 0)
		put_fixed(b, u6, 6, 2);
}

void put_decimal(struct buf *b, int64_t v, int places)
{
	CHECK(places >= 0 && places <= 18);
	put_fixed(b, v, places, places > 0);
}

void put_duration(struct buf *b, int64_t us)
{
	int64_t s = us / SECOND_US;

	if (us < 0) {
		buf_putc(b, '-');
		s = -s;
	}
	if (s < 120) { /* people say 90s, and 1h30m */
		buf_printf(b, "%" PRId64 "s", s);
		return;
	}
	for (size_t i = 0; i < ARRAY_LEN(duration_units); i++) {
		int64_t n = s / duration_units[i].seconds;

		s %= duration_units[i].seconds;
		if (n)
			buf_printf(b, "%" PRId64 "%c", n, duration_units[i].letter);
	}
}

void fold(const char *s, char *out, size_t n)
{
	size_t len = 0;

	CHECK(n > 0);
	for (; *s && len + 1 < n; s++) {
		if (*s == ' ' || *s == '_' || *s == '-')
			continue;
		out[len++] = *s >= 'A' && *s <= 'Z' ? (char)(*s | 0x20) : *s;
	}
	out[len] = '\0';
}

int utf8_step(const char *s, size_t n)
{
	const unsigned char *u = (const unsigned char *)s;
	/* What the second byte may be: this alone rules out overlong forms, surrogates, > U+10FFFF.
	 */
	unsigned low = 0x80, high = 0xbf;
	int len;

	CHECK(n > 0);
	if (u[0] < 0x80)
		return 1;
	if (u[0] < 0xc2 || u[0] > 0xf4)
		return 0;
	len = u[0] < 0xe0 ? 2 : u[0] < 0xf0 ? 3 : 4;
	if (u[0] == 0xe0)
		low = 0xa0;
	else if (u[0] == 0xed)
		high = 0x9f;
	else if (u[0] == 0xf0)
		low = 0x90;
	else if (u[0] == 0xf4)
		high = 0x8f;
	for (int i = 1; i < len; i++, low = 0x80, high = 0xbf) {
		if ((size_t)i == n)
			return UTF8_CUT;
		if (u[i] < low || u[i] > high)
			return 0;
	}
	return len;
}

bool utf8_valid(const char *s, size_t n)
{
	for (size_t i = 0; i < n;) {
		int step = utf8_step(s + i, n - i);

		if (step <= 0)
			return false;
		i += (size_t)step;
	}
	return true;
}

bool utf8_is_control(const char *s, int step)
{
	const unsigned char *u = (const unsigned char *)s;

	if (step == 1)
		return u[0] < 0x20 || u[0] == 0x7f;
	if (step == 2)
		return u[0] == 0xc2 && u[1] < 0xa0;
	return step == 3 && u[0] == 0xe2 && u[1] == 0x80 && (u[2] == 0xa8 || u[2] == 0xa9);
}

void show_value(char *out, size_t size, struct str s)
{
	BUF b = {0};

	buf_escape(&b, s.p, s.n < size ? s.n : size); /* what cannot fit need not be escaped */
	if (b.failed || b.len >= size || s.n > size) {
		copy_text(out, size - 3, b.failed ? "" : b.data);
		copy_text(out + strlen(out), 4, "...");
		return;
	}
	copy_text(out, size, b.data ? b.data : "");
}

void text_place(const char *text, size_t offset, int *line, int *column)
{
	*line = *column = 1;
	for (size_t i = 0; i < offset; i++) {
		if (text[i] == '\n') {
			++*line;
			*column = 1;
		} else if (((unsigned char)text[i] & 0xc0) != 0x80) {
			++*column; /* one per character, not per byte */
		}
	}
}

uint64_t hash64(const void *data, size_t n, uint64_t seed)
{
	const unsigned char *p = data;
	uint64_t h = UINT64_C(0xcbf29ce484222325) ^ seed;

	for (size_t i = 0; i < n; i++)
		h = (h ^ p[i]) * UINT64_C(0x100000001b3);
	return h;
}

void copy_text(char *out, size_t size, const char *s)
{
	size_t n, i;

	CHECK(size > 0);
	n = strnlen(s, size);
	if (n == size) { /* cut: never in the middle of a character */
		n = size - 1;
		for (i = n; i > 0 && n - i < 3 && ((unsigned char)s[i - 1] & 0xc0) == 0x80; i--)
			;
		if (i > 0 && utf8_step(s + i - 1, n - i + 1) == UTF8_CUT)
			n = i - 1;
	}
	memcpy(out, s, n);
	out[n] = '\0';
}

void printable_text(char *out, size_t size, const char *s)
{
	size_t at = 0, n = 0;

	while (*s && at + 1 < size) {
		unsigned char c = (unsigned char)*s;
		size_t k = 1;

		while (c >= 0xc0 && k < 4 && ((unsigned char)s[k] & 0xc0) == 0x80)
			k++; /* a whole character, if it is one */
		if (c >= 0x80 && (k == 1 || !utf8_valid(s, k)))
			out[at++] = '?', k = 1;
		else if (c == '\n' || c == '\r' || c == '\t' || c == ' ')
			out[at++] = ' ';
		else if (c < 0x20 || c == 0x7f)
			out[at++] = '?';
		else if (at + k >= size)
			break;
		else
			memcpy(out + at, s, k), at += k;
		s += k;
		if (at == 1 && out[0] == ' ')
			at = 0;
		if (at && out[at - 1] != ' ')
			n = at;
	}
	out[n] = '\0';
}
