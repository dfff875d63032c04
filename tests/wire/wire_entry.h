/*
 * One reply through a dialect, as one line of JSON: what wire-parse prints and the fuzzer feeds.
 */
#ifndef GPUFS_TESTS_WIRE_ENTRY_H
#define GPUFS_TESTS_WIRE_ENTRY_H

#include "../../src/core/wire.h"

/* The operations by name: search list get create destroy attach account. NULL behind the last. */
extern const char *const wire_operations[];

/* Append the line, without a newline. False: no such provider or operation. body is read for exactly len
 * bytes. */
bool wire_entry(const char *provider, const char *operation, int status, const char *body,
		size_t len, struct buf *out);

#endif
