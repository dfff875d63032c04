/* The words of the control languages: see control_words.h. */
#include "control_words.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

int complain(struct buf *out, const char *what, const char *word)
{
	buf_printf(out, "error: %s: %s\n", what, word);
	return -EINVAL;
}

int control_split(char *line, char *words[CONTROL_WORDS_MAX], struct buf *out)
{
	char *save = NULL;
	int n = 0;

	for (char *p = strtok_r(line, " \t\r\n", &save); p; p = strtok_r(NULL, " \t\r\n", &save)) {
		if (n == CONTROL_WORDS_MAX)
			return complain(out, "too many words", p);
		words[n++] = p;
	}
	return n;
}

bool control_number(const char *s, double *out)
{
	char *end;

	*out = strtod(s, &end);
	return *s && !*end && isfinite(*out) && fabs(*out) < 1e12;
}

int control_name(const char *const *names, size_t n, const char *word)
{
	for (size_t i = 0; i < n; i++)
		if (!strcmp(names[i], word))
			return (int)i;
	return -1;
}

/* Takes `c` away from the end of a word that has it there. */
static bool take_last(char *word, char c)
{
	size_t n = strlen(word);

	if (!n || word[n - 1] != c)
		return false;
	word[n - 1] = '\0';
	return true;
}

int control_fault(char *kind, char *how_often, struct control_fault *fault, struct buf *out)
{
	char *param = strchr(kind, ':');
	double p = 0, unit = 1, count = 1, rate = 0;

	if (param) {
		*param++ = '\0';
		if (take_last(param, 's'))
			unit = 1e6;
		if (!control_number(param, &p))
			return complain(out, "no number", param);
	}
	if (how_often && !strcmp(how_often, "always")) {
		count = -1;
	} else if (how_often && take_last(how_often, '%')) {
		count = 0;
		if (!control_number(how_often, &rate))
			return complain(out, "no rate", how_often);
	} else if (how_often && (!control_number(how_often, &count) || count < 1)) {
		return complain(out, "neither a count nor a rate", how_often);
	}
	*fault = (struct control_fault){(int64_t)(p * unit), (int64_t)count, (int64_t)(rate * 1e4)};
	return 0;
}
