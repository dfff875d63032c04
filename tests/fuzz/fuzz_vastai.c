/*
 * Replies of Vast.ai, through the entry that wire-parse has: whatever the bytes, every call makes one line
 * of JSON of them, in which nothing is "gone" that the body does not say.
 */
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "../../src/core/check.h"
#include "../wire/wire_entry.h"
#include "fuzz.h"

static bool body_has(const uint8_t *data, size_t n, const char *word)
{
	return n && memmem(data, n, word, strlen(word));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static const int statuses[] = {200, 400, 403, 404, 410, 429, 502};

	for (size_t i = 0; wire_operations[i]; i++)
		for (size_t k = 0; k < ARRAY_LEN(statuses); k++) {
			BUF line = {0};
			json_t *o;
			const char *error;

			CHECK(wire_entry("vastai", wire_operations[i], statuses[k],
					 (const char *)data, n, &line));
			CHECK(!line.failed && !strchr(line.data, '\n'));
			o = json_loadb(line.data, line.len, JSON_REJECT_DUPLICATES, NULL);
			CHECK(o != NULL);
			error = json_string_value(json_object_get(o, "error"));
			/* In a code, letters may be written as \uXXXX. */
			if (error && strcmp(error, "gone") == 0)
				CHECK(body_has(data, n, "null") ||
				      body_has(data, n, "no_such_instance") ||
				      body_has(data, n, "not_found") || body_has(data, n, "\\u"));
			json_decref(o);
		}
	return 0;
}
