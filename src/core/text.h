/*
 * Numbers, times, money and names, as text and back. Strict: the whole text must be the value, no
 * signs or spaces that the format does not name, no hex, no NaN. Pure; any thread.
 *
 * Units used everywhere in gpufs: wall and monotonic times and durations are int64_t microseconds
 * with the suffix _us; money is int64_t micro-dollars (USD) with the suffix _u6.
 */
#ifndef GPUFS_CORE_TEXT_H
#define GPUFS_CORE_TEXT_H

#include "buf.h"
#include "error.h"

#define SECOND_US ((int64_t)1000000)
#define MINUTE_US (60 * SECOND_US)
#define HOUR_US	  (60 * MINUTE_US)
#define DAY_US	  (24 * HOUR_US)

#define UNKNOWN (-1) /* of every optional number that cannot be negative: absent is not zero */

#define NAME_MAX_LEN 63 /* tree rule 4 */

/* [A-Za-z0-9][A-Za-z0-9._-]{0,62}, else -EINVAL or -ENAMETOOLONG with the sentence. */
int name_check(const char *name, struct error *why);

/* Decimal integer, optional leading '-'. -EINVAL not a number, -ERANGE outside [min, max]. */
int parse_int(struct str s, int64_t min, int64_t max, int64_t *out, struct error *why);
/* 0, 1, yes, no, true, false, on, off. */
int parse_bool(struct str s, bool *out, struct error *why);
/* USD such as "0.50", "12", ".5" is refused; at most 6 decimals; result in micro-dollars >= 0. */
int parse_money(struct str s, int64_t *out_u6, struct error *why);
/* A fixed-point decimal of at most `places` digits behind the point: "0.987", 3 -> 987. */
int parse_decimal(struct str s, int places, int64_t *out, struct error *why);
/* "90s", "5m", "1h30m", "2d", "7200" (seconds); result in microseconds >= 0. */
int parse_duration(struct str s, int64_t *out_us, struct error *why);

void put_time(struct buf *b, int64_t wall_us);		/* RFC 3339 UTC with Z; nothing for 0 */
void put_money(struct buf *b, int64_t u6);		/* 2 to 6 places; nothing for a negative */
void put_decimal(struct buf *b, int64_t v, int places); /* trailing zeros cut, one digit kept */
void put_duration(struct buf *b, int64_t us);		/* "1h30m", "90s" as people read it */

/* Models and places compare without case, spaces, '_' and '-'. Writes the folded form (cut at n).
 */
void fold(const char *s, char *out, size_t n);
bool utf8_valid(const char *s, size_t n);
/* 64-bit FNV-1a; used for node ids and change detection, never for secrets. */
uint64_t hash64(const void *data, size_t n, uint64_t seed);

/* printf into a fixed array, cut at its end, never overrun. */
void copy_text(char *out, size_t size, const char *s);
/* The same for words of others that people will read: one line, without control bytes, invalid UTF-8
 * and white space at the ends (each such byte inside becomes '?', a line break a space). */
void printable_text(char *out, size_t size, const char *s);
#define COPY(array, s) copy_text((array), sizeof(array), (s))

#endif
