/*
 * The grammar of words: key=value separated by white space, '…' and "…" to quote a value or a part
 * of it, # at the beginning of a word for a comment. Cuts the text into words and applies them one
 * by one; a word that touches the end of the text is not looked at, since a shell may still be
 * writing it. The bytes were checked by spec.c. Pure; any thread. Tests: tests/unit/test_spec.c.
 */
#include <string.h>

#include "check.h"
#include "spec_parts.h"
#include "text_parts.h"

struct scan {
	const char *text;
	size_t n, at;
	char *value; /* the unquoted value of the present word; room for n bytes */
	size_t len;
};

/* Of one step of the scanner: the word went on to its end, or the text ended first. */
enum step { STEP_DONE, STEP_CUT, STEP_ERROR };

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\n';
}

/* Leaves `at` on the first byte of a word, or at the end. `open`: the text ended inside a comment.
 */
static void skip_blanks(struct scan *sc, bool *open)
{
	*open = false;
	while (sc->at < sc->n) {
		if (sc->text[sc->at] == '#') {
			const char *line = memchr(sc->text + sc->at, '\n', sc->n - sc->at);

			sc->at = line ? (size_t)(line - sc->text) : sc->n;
			*open = !line;
		} else if (is_blank(sc->text[sc->at])) {
			sc->at++;
		} else {
			return;
		}
	}
}

static int fail_place(struct spec_parse_state *st, const struct scan *sc, size_t at,
		      const char *text)
{
	int line, column;

	text_place(sc->text, at, &line, &column);
	return fail_at(st->why, ERR_INVALID, line, column, "%s", text);
}

/* From an opening quote to behind the closing one. */
/* Behind a backslash: the byte that is meant, or -1. *used: how many bytes of text that is; 0: the
 * text ends first. \xNN is how the canonical print writes what must not break a line. */
static int unescape(const char *s, size_t n, size_t *used)
{
	static const char digits[] = "0123456789abcdef";
	int byte = 0;

	*used = n ? 1 : 0;
	if (n == 0 || s[0] == '"' || s[0] == '\\')
		return n ? s[0] : 0;
	if (s[0] != 'x')
		return -1;
	for (size_t i = 1; i <= 2; i++) {
		const char *at = i < n && s[i] ? strchr(digits, s[i] | 0x20) : NULL;

		if (i == n) {
			*used = 0;
			return 0;
		}
		if (!at)
			return -1;
		byte = byte * 16 + (int)(at - digits);
	}
	*used = 3;
	return byte ? byte : -1;
}

static enum step scan_quoted(struct spec_parse_state *st, struct scan *sc)
{
	size_t open = sc->at, newline = 0;
	char quote = sc->text[sc->at++];

	for (; sc->at < sc->n; sc->at++) {
		char c = sc->text[sc->at];

		if (c == quote) {
			sc->at++;
			if (!newline)
				return STEP_DONE;
			fail_place(st, sc, open,
				   "a quote that begins here goes on in the next line; close it in "
				   "its "
				   "own line (a value cannot hold a line break)");
			return STEP_ERROR;
		}
		if (c == '\n')
			newline = sc->at;
		if (quote == '"' && c == '\\') {
			size_t used;
			int byte = unescape(sc->text + sc->at + 1, sc->n - sc->at - 1, &used);

			if (byte < 0) {
				fail_place(st, sc, sc->at,
					   "inside \"...\" a backslash may stand before \", \\ or "
					   "xNN (a byte in hexadecimal, not 00) only; use '...' to "
					   "keep backslashes as they are");
				return STEP_ERROR;
			}
			if (!used)
				break;
			sc->at += used;
			c = (char)byte;
		}
		sc->value[sc->len++] = c;
	}
	sc->at = sc->n;
	return STEP_CUT;
}

static enum step scan_value(struct spec_parse_state *st, struct scan *sc, struct spec_word *w)
{
	sc->len = 0;
	while (sc->at < sc->n && !is_blank(sc->text[sc->at])) {
		char c = sc->text[sc->at];
		enum step step;

		if (c != '\'' && c != '"') {
			sc->value[sc->len++] = c;
			sc->at++;
			continue;
		}
		w->quoted = true;
		step = scan_quoted(st, sc);
		if (step != STEP_DONE)
			return step;
	}
	w->value = (struct str){sc->value, sc->len};
	return sc->at < sc->n ? STEP_DONE : STEP_CUT;
}

/* `at` is on the first byte of a word. */
static enum step scan_word(struct spec_parse_state *st, struct scan *sc, struct spec_word *w)
{
	size_t begin = sc->at;

	*w = (struct spec_word){.kind = WORD_BARE, .value = {"", 0}};
	text_place(sc->text, begin, &w->line, &w->column);
	while (sc->at < sc->n && !is_blank(sc->text[sc->at]) && sc->text[sc->at] != '=') {
		char c = sc->text[sc->at];

		if (c == '\'' || c == '"' || c == '{') {
			fail_place(
				st, sc, sc->at,
				c == '{' ? "'{' begins a JSON object, which must be the whole spec"
					 : "a quote belongs behind the '=': write key='a value'");
			return STEP_ERROR;
		}
		sc->at++;
	}
	w->key = (struct str){sc->text + begin, sc->at - begin};
	if (sc->at == sc->n)
		return STEP_CUT;
	if (sc->text[sc->at] != '=')
		return STEP_DONE;
	sc->at++;
	w->kind = WORD_PLAIN;
	return scan_value(st, sc, w);
}

/* True if the cut word could still become override_hard_max, so that hours=13 before it may be
 * right. */
static bool may_be_override(struct str cut)
{
	const char *name = spec_keys[K_OVERRIDE_HARD_MAX].name;
	size_t n = strlen(name);

	return cut.n <= n && memcmp(cut.p, name, cut.n) == 0;
}

int spec_parse_words(struct spec_parse_state *st, const char *text, size_t n, enum spec_end *end)
{
	FREE char *value = malloc(n + 1);
	struct scan sc = {.text = text, .n = n, .value = value};
	size_t behind = 0; /* the last word */

	if (!value)
		return fail(st->why, ERR_NO_MEMORY, "out of memory");
	for (;;) {
		struct spec_word w;
		enum step step;
		bool open;
		int err;

		skip_blanks(&sc, &open);
		if (sc.at == n) {
			/* Finished: a newline behind the last word, or no word at all. */
			bool whole = !open &&
				     (behind == 0 || memchr(text + behind, '\n', n - behind));

			*end = whole ? SPEC_FINISHED : SPEC_UNFINISHED;
			return 0;
		}
		step = scan_word(st, &sc, &w);
		if (step == STEP_ERROR)
			return -EINVAL;
		if (step == STEP_CUT) {
			st->hours_undecided = may_be_override(w.key);
			*end = SPEC_UNFINISHED;
			return 0;
		}
		err = spec_apply(st, &w, false);
		if (err)
			return err;
		behind = sc.at;
	}
}
