/*
 * Replies through a dialect, by the entry that wire-parse has: whatever the bytes, every call makes one line
 * of JSON of them, in which nothing is "gone" that the body does not say.
 */
#ifndef GPUFS_TESTS_FUZZ_DIALECT_H
#define GPUFS_TESTS_FUZZ_DIALECT_H

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "../../src/core/check.h"
#include "../wire/wire_entry.h"
#include "fuzz.h"

/* Letters in either case; blanks may be any white space. */
static inline bool body_has(const uint8_t *data, size_t n, const char *word)
{
	size_t len = strlen(word);

	for (size_t i = 0; i + len <= n; i++) {
		size_t k = 0;

		while (k < len && (tolower(data[i + k]) == word[k] ||
				   (word[k] == ' ' && (data[i + k] < ' ' || data[i + k] >= 0x7f))))
			k++;
		if (k == len)
			return true;
	}
	return false;
}

/* `gone`: what a body has that says so, one of them; NULL-ended. */
static inline void fuzz_dialect(const char *provider, const char *const *gone, const uint8_t *data,
				size_t n)
{
	static const int statuses[] = {200, 204, 400, 401, 403, 404, 410, 429, 502};

	for (size_t i = 0; wire_operations[i]; i++)
		for (size_t k = 0; k < ARRAY_LEN(statuses); k++) {
			BUF line = {0};
			const char *error;
			bool said = false;
			json_t *o;

			CHECK(wire_entry(provider, wire_operations[i], statuses[k],
					 (const char *)data, n, &line));
			CHECK(!line.failed && !strchr(line.data, '\n'));
			o = json_loadb(line.data, line.len, JSON_REJECT_DUPLICATES, NULL);
			CHECK(o != NULL);
			error = json_string_value(json_object_get(o, "error"));
			for (size_t w = 0; gone[w]; w++)
				said = said || body_has(data, n, gone[w]);
			CHECK(!error || strcmp(error, "gone") != 0 || said);
			json_decref(o);
		}
}

#endif
