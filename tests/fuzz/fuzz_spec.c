/*
 * The spec: whatever the bytes, it is taken as a whole or refused with a sentence, and what is taken
 * prints as something that reads as the same.
 */
#include <string.h>

#include "../../src/core/check.h"
#include "../../src/core/spec.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct error why = {0};
	enum spec_end end;
	struct spec s, again;
	BUF first = {0};
	BUF second = {0};

	if (spec_parse((const char *)data, n, &s, &end, &why)) {
		CHECK(why.code != ERR_NONE && why.text[0]);
		return 0;
	}
	spec_put(&s, &first);
	spec_free(&s);
	CHECK(!first.failed);
	CHECK(spec_parse(first.data ? first.data : "", first.len, &again, &end, &why) == 0);
	CHECK(end == SPEC_FINISHED);
	spec_put(&again, &second);
	spec_free(&again);
	CHECK(first.len == second.len);
	CHECK(!first.len || !memcmp(first.data, second.data, first.len));
	return 0;
}
