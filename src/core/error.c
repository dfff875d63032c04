/*
 * Errors: the one table of error.h as functions, and the two ways to refuse something. A sentence
 * is one line whatever it quotes: control bytes are replaced here, once, so that no file name, spec
 * or provider can forge a second line in `error` or in a log. Pure; any thread. Tests:
 * tests/unit/test_text.c.
 */
#include "error.h"

#include <stdio.h>
#include <string.h>

#include "check.h"
#include "text_parts.h"

struct err_row {
	const char *name, *symbol, *text;
	int eno, http;
};

static const struct err_row err_rows[ERR_COUNT] = {[ERR_NONE] = {"NONE", "", "no error", 0, 200},
#define X(name, eno, http, text) [ERR_##name] = {#name, #eno, text, eno, http},
						   ERROR_TABLE(X)
#undef X
};

static const struct err_row *err_row_of(enum err code)
{
	CHECK((unsigned)code < ERR_COUNT);
	return &err_rows[code];
}

int err_errno(enum err code)
{
	return err_row_of(code)->eno;
}

int err_http(enum err code)
{
	return err_row_of(code)->http;
}

const char *err_name(enum err code)
{
	return err_row_of(code)->name;
}

const char *err_text(enum err code)
{
	return err_row_of(code)->text;
}

const char *errno_name(int eno)
{
	for (size_t i = ERR_NONE + 1; i < ERR_COUNT; i++)
		if (err_rows[i].eno == eno)
			return err_rows[i].symbol;
	return "E?";
}

/* One line, valid UTF-8, even where the format was cut in the middle of a character. */
static void sentence_clean(char *s)
{
	size_t n = strlen(s), i = 0;

	while (i < n) {
		int step = utf8_step(s + i, n - i);

		if (step == UTF8_CUT) {
			s[i] = '\0';
			return;
		}
		if (step == 0 || utf8_is_control(s + i, step))
			memset(s + i, '?', step ? (size_t)step : 1);
		i += step ? (size_t)step : 1;
	}
}

static int fail_va(struct error *why, enum err code, int line, int column, const char *fmt,
		   va_list ap) __attribute__((format(printf, 5, 0)));

static int fail_va(struct error *why, enum err code, int line, int column, const char *fmt,
		   va_list ap)
{
	char text[sizeof(why->text)]; /* the arguments may point into *why */

	CHECK(code != ERR_NONE);
	if (!why)
		return -err_errno(code);
	if (vsnprintf(text, sizeof(text), fmt, ap) < 0)
		text[0] = '\0';
	sentence_clean(text);
	why->code = code;
	why->line = line;
	why->column = column;
	memcpy(why->text, text, sizeof(text));
	return -err_errno(code);
}

int fail(struct error *why, enum err code, const char *fmt, ...)
{
	va_list ap;
	int err;

	va_start(ap, fmt);
	err = fail_va(why, code, 0, 0, fmt, ap);
	va_end(ap);
	return err;
}

int fail_at(struct error *why, enum err code, int line, int column, const char *fmt, ...)
{
	va_list ap;
	int err;

	va_start(ap, fmt);
	err = fail_va(why, code, line, column, fmt, ap);
	va_end(ap);
	return err;
}
