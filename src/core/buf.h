/*
 * Growing text with a ceiling. A failed growth is remembered (`failed`), so a renderer may append
 * without looking and its caller checks once. Always NUL-terminated when data is not NULL.
 * Owner: whoever declared it; free with buf_free or the cleanup attribute. One thread at a time.
 */
#ifndef GPUFS_CORE_BUF_H
#define GPUFS_CORE_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BUF_MAX_DEFAULT ((size_t)64 << 20) /* no text of the tree may grow beyond 64 MiB */

struct buf {
	char *data;
	size_t len, cap;
	size_t max;  /* ceiling in bytes; 0 means BUF_MAX_DEFAULT */
	bool failed; /* something did not fit, or memory was out: the content is not whole */
	bool secret; /* set before the first byte: no copy is left behind in freed memory */
};

/* A borrowed piece of text, not NUL-terminated. Never outlives what it points into. */
struct str {
	const char *p;
	size_t n;
};

void buf_add(struct buf *b, const void *data, size_t n);
/* Room for n more bytes at once, where growing by and by would copy megabytes. If that cannot be had,
 * nothing happens: adding will say so. */
void buf_reserve(struct buf *b, size_t n);
void buf_puts(struct buf *b, const char *s);
void buf_putc(struct buf *b, char c);
void buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* As a JSON string with its quotes; invalid UTF-8 becomes U+FFFD. */
void buf_json(struct buf *b, const char *s, size_t n);
/* In single quotes, safe to source in any POSIX shell, whatever the bytes. */
void buf_shell(struct buf *b, const char *s);
/* One line for people: control bytes and invalid UTF-8 as \xNN, so nothing can forge a line. */
void buf_escape(struct buf *b, const char *s, size_t n);
void buf_reset(struct buf *b); /* empty, keeps the memory (of a secret one: wiped) */
void buf_free(struct buf *b);
/* The content as malloc'd text (caller frees), leaving the buffer empty; NULL if it failed. */
char *buf_take(struct buf *b);

#define BUF __attribute__((cleanup(buf_free))) struct buf

struct str str_of(const char *s);
bool str_is(struct str a, const char *s);

#endif
