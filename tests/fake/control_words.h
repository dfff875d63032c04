/*
 * What the control languages of the fake clouds share: a line as words, numbers, names of a table, and
 * the words of a fault. Pure.
 */
#ifndef FAKE_CONTROL_WORDS_H
#define FAKE_CONTROL_WORDS_H

#include "../../src/core/buf.h"

#define CONTROL_WORDS_MAX 8

/* "error: WHAT: WORD"; -EINVAL. */
int complain(struct buf *out, const char *what, const char *word);

/* The words of a line, which it cuts up; how many, or -EINVAL and a complaint. */
int control_split(char *line, char *words[CONTROL_WORDS_MAX], struct buf *out);

/* A finite number and nothing else. */
bool control_number(const char *s, double *out);

/* The index of `word` in `names`, or -1. */
int control_name(const char *const *names, size_t n, const char *word);

struct control_fault {
	int64_t param; /* behind the KIND: a duration ("30s") in microseconds, else as it is; 0: none */
	int64_t count; /* -1: always; 0: by `ppm` */
	int64_t ppm;
};

/* "KIND[:PARAM[s]]" and, unless NULL, "COUNT", "always" or "RATE%"; leaves KIND in `kind`. 0, or -EINVAL
 * and a complaint. */
int control_fault(char *kind, char *how_often, struct control_fault *fault, struct buf *out);

#endif
