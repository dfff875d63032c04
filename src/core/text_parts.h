/*
 * Small helpers that the text side of core shares and nobody else needs: one step through UTF-8,
 * places in a text, and how a value from outside is shown inside an error sentence. Pure; any
 * thread.
 */
#ifndef GPUFS_CORE_TEXT_PARTS_H
#define GPUFS_CORE_TEXT_PARTS_H

#include "text.h"

#define UTF8_CUT (-1)

/* Length of the valid sequence at s (1 to 4); 0 if the bytes are wrong; UTF8_CUT if the text ends
 * in the middle of a sequence that is valid so far. n must not be 0. */
int utf8_step(const char *s, size_t n);
/* A C0 or C1 control character, DEL, or a line separator: whatever could end or forge a line. */
bool utf8_is_control(const char *s, int step);
/* A copy for an error sentence: escaped, and cut with "..." if it does not fit. */
void show_value(char *out, size_t size, struct str s);
/* Line and column (in characters) of an offset; both count from 1. */
void text_place(const char *text, size_t offset, int *line, int *column);

#endif
