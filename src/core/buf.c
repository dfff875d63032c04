/*
 * Growing text with a ceiling (buf.h), and the ways in which text from outside is quoted: JSON,
 * shell, one line for people. After a failed growth nothing more is added, so what is there is a
 * prefix of what was meant. Pure; one thread at a time. Tests: tests/unit/test_text.c.
 */
#include "buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "text_parts.h"

/* realloc would leave the old copy in freed memory. NULL: nothing has changed. */
static char *grow_secret(const struct buf *b, size_t cap)
{
	char *data = malloc(cap);

	if (!data || !b->data)
		return data;
	memcpy(data, b->data, b->len + 1);
	explicit_bzero(b->data, b->cap);
	free(b->data);
	return data;
}

/* Room for n more bytes and the NUL. */
static bool buf_room(struct buf *b, size_t n)
{
	size_t max = b->max ? b->max : BUF_MAX_DEFAULT, want, cap;
	char *data;

	if (b->failed)
		return false;
	if (n > max || b->len > max - n) {
		b->failed = true;
		return false;
	}
	want = b->len + n + 1;
	if (want <= b->cap)
		return true;
	cap = b->cap < 64 ? 64 : b->cap * 2;
	if (cap < want)
		cap = want;
	data = b->secret ? grow_secret(b, cap) : realloc(b->data, cap);
	if (!data) {
		b->failed = true;
		return false;
	}
	b->data = data;
	b->cap = cap;
	return true;
}

void buf_reserve(struct buf *b, size_t n)
{
	bool failed = b->failed;

	(void)buf_room(b, n);
	b->failed = failed;
}

void buf_add(struct buf *b, const void *data, size_t n)
{
	if (!buf_room(b, n))
		return;
	if (n)
		memcpy(b->data + b->len, data, n);
	b->len += n;
	b->data[b->len] = '\0';
}

void buf_puts(struct buf *b, const char *s)
{
	buf_add(b, s, strlen(s));
}

void buf_putc(struct buf *b, char c)
{
	buf_add(b, &c, 1);
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
	char small[256];
	va_list ap, again;
	int n;

	va_start(ap, fmt);
	va_copy(again, ap);
	n = vsnprintf(small, sizeof(small), fmt, ap);
	va_end(ap);
	if (n < 0) {
		b->failed = true;
	} else if ((size_t)n < sizeof(small)) {
		buf_add(b, small, (size_t)n);
	} else if (buf_room(b, (size_t)n)) {
		vsnprintf(b->data + b->len, (size_t)n + 1, fmt, again);
		b->len += (size_t)n;
	}
	va_end(again);
}

/* Control characters of both kinds as \u00XX: a terminal that shows JSON must not obey it. */
static void json_control(struct buf *b, const char *s, int step)
{
	const unsigned char *u = (const unsigned char *)s;

	switch (*s) {
	case '\n':
		buf_puts(b, "\\n");
		return;
	case '\t':
		buf_puts(b, "\\t");
		return;
	case '\r':
		buf_puts(b, "\\r");
		return;
	default:
		break;
	}
	if (step == 3)
		buf_printf(b, "\\u20%02x", 0x28u + (u[2] & 1u)); /* U+2028, U+2029 */
	else
		buf_printf(b, "\\u%04x", step == 2 ? 0x80u | (u[1] & 0x3fu) : u[0]);
}

/* How much from the beginning is printed as it is in JSON and elsewhere: most of what there is. */
static size_t plain_run(const char *s, size_t n)
{
	size_t i = 0;

	while (i < n && s[i] >= ' ' && s[i] < 0x7f && s[i] != '"' && s[i] != '\\')
		i++;
	return i;
}

void buf_json(struct buf *b, const char *s, size_t n)
{
	buf_putc(b, '"');
	for (size_t i = 0; i < n;) {
		size_t run = plain_run(s + i, n - i);
		int step;

		if (run) {
			buf_add(b, s + i, run);
			i += run;
			continue;
		}
		step = utf8_step(s + i, n - i);
		if (step <= 0) {
			buf_puts(b, "\xef\xbf\xbd");
			i++;
			continue;
		}
		if (s[i] == '"' || s[i] == '\\') {
			buf_putc(b, '\\');
			buf_putc(b, s[i]);
		} else if (utf8_is_control(s + i, step)) {
			json_control(b, s + i, step);
		} else {
			buf_add(b, s + i, (size_t)step);
		}
		i += (size_t)step;
	}
	buf_putc(b, '"');
}

void buf_shell(struct buf *b, const char *s)
{
	buf_putc(b, '\'');
	for (const char *q; (q = strchr(s, '\'')); s = q + 1) {
		buf_add(b, s, (size_t)(q - s));
		buf_puts(b, "'\\''");
	}
	buf_puts(b, s);
	buf_putc(b, '\'');
}

void buf_escape(struct buf *b, const char *s, size_t n)
{
	for (size_t i = 0; i < n;) {
		size_t run = plain_run(s + i, n - i), k;
		int step;

		buf_add(b, s + i, run);
		i += run;
		if (i == n)
			return;
		step = utf8_step(s + i, n - i);
		k = step <= 0 ? 1 : (size_t)step;
		if (step > 0 && !utf8_is_control(s + i, step)) {
			buf_add(b, s + i, k);
			i += k;
			continue;
		}
		for (; k; k--, i++)
			buf_printf(b, "\\x%02x", (unsigned char)s[i]);
	}
}

void buf_reset(struct buf *b)
{
	if (b->secret && b->data)
		explicit_bzero(b->data, b->cap);
	b->len = 0;
	b->failed = false;
	if (b->data)
		b->data[0] = '\0';
}

void buf_free(struct buf *b)
{
	if (b->secret && b->data)
		explicit_bzero(b->data, b->cap);
	free(b->data);
	b->data = NULL;
	b->len = b->cap = 0;
	b->failed = false;
}

char *buf_take(struct buf *b)
{
	char *data;

	buf_add(b, "", 0); /* so that nothing at all is "" too */
	if (b->failed) {
		buf_free(b);
		return NULL;
	}
	data = b->data;
	b->data = NULL;
	buf_free(b);
	return data;
}

struct str str_of(const char *s)
{
	return (struct str){s, strlen(s)};
}

bool str_is(struct str a, const char *s)
{
	return strlen(s) == a.n && (a.n == 0 || memcmp(a.p, s, a.n) == 0);
}
