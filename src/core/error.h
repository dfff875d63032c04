/*
 * Errors, once: every way in which gpufs refuses something, with the errno that a shell sees and
 * the HTTP status of the same refusal. Source of the list: the errno table of the public tree.
 *
 * Functions that can refuse return 0 or a negative errno, and put the sentence (what, where, why,
 * what to do) into a struct error, because errno cannot carry it. Pure; any thread.
 */
#ifndef GPUFS_CORE_ERROR_H
#define GPUFS_CORE_ERROR_H

#include <errno.h>
#include <stdarg.h>

/*   name           errno         HTTP  meaning (also the row in the documentation) */
#define ERROR_TABLE(X)                                                                          \
	X(INVALID, EINVAL, 400, "malformed spec, query, verb or name")                          \
	X(RANGE, ERANGE, 400, "a number outside its range")                                     \
	X(TOO_BIG, EFBIG, 413, "more than 64 KiB written to a spec")                            \
	X(NAME_LONG, ENAMETOOLONG, 400, "a name of more than 63 characters")                    \
	X(EXISTS, EEXIST, 409, "name in use")                                                   \
	X(BUSY, EBUSY, 409, "bought already, protected, or in the wrong state")                 \
	X(QUOTA, EDQUOT, 402, "budget or session count used up, or no credit at the provider")  \
	X(NO_MATCH, ENOSPC, 503, "no offer matches, or the last match was taken")               \
	X(NO_OFFER, ENOENT, 404, "that offer is not on the market")                             \
	X(NOT_FOUND, ENOENT, 404, "there is nothing of that name")                              \
	X(NOT_YOURS, EACCES, 404, "not yours")                                                  \
	X(FORBIDDEN, EPERM, 403, "for administrators only, or never allowed here")              \
	X(UNREACHABLE, EHOSTUNREACH, 503, "provider unreachable, down or throttling")           \
	X(NO_KEY, ENOKEY, 503, "provider key missing")                                          \
	X(KEY_REFUSED, EKEYREJECTED, 503, "provider key refused")                               \
	X(STALE, ESTALE, 410, "a descriptor from before a restart that cannot be carried over") \
	X(DRAINING, EROFS, 503, "draining: no new purchases")                                   \
	X(CANCELED, ECANCELED, 409, "waiting ended: destroyed")                                 \
	X(TIMED_OUT, ETIMEDOUT, 504, "waiting ended: not in time")                              \
	X(LOST, EHOSTDOWN, 503, "waiting ended: the machine was lost")                          \
	X(DRAFT_GONE, ENODATA, 404, "waiting ended: the draft was removed")                     \
	X(NOT_DURABLE, EIO, 500, "the order could not be made durable")                         \
	X(NO_MEMORY, ENOMEM, 500, "out of memory")

enum err {
	ERR_NONE,
#define X(name, eno, http, text) ERR_##name,
	ERROR_TABLE(X)
#undef X
		ERR_COUNT
};

/* One refusal. line and column count from 1; 0 means that the place is not known. */
struct error {
	enum err code;
	int line, column;
	char text[480];
};

int err_errno(enum err code);	     /* positive errno; 0 for ERR_NONE */
int err_http(enum err code);	     /* HTTP status; 200 for ERR_NONE */
const char *err_name(enum err code); /* "INVALID" */
const char *err_text(enum err code); /* the table's meaning */
const char *errno_name(int eno);     /* "EINVAL"; "E?" if it is not in the table */

/* Fill `why` (may be NULL) and return the negative errno of `code`. The text is cut, never overrun.
 */
int fail(struct error *why, enum err code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
int fail_at(struct error *why, enum err code, int line, int column, const char *fmt, ...)
	__attribute__((format(printf, 5, 6)));

#endif
