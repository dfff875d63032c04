/* A query's name, and models: taken or refused with a sentence; what is taken reads back as the same. */
#include <stdlib.h>
#include <string.h>

#include "../../src/core/check.h"
#include "../../src/core/query.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	FREE char *text = xcalloc(n + 1, 1);
	struct query q = {0}, again = {0};
	struct error why = {0};
	BUF name = {0};

	memcpy(text, data, n);
	(void)gpu_model_match(text, "RTX 4090", false);
	(void)gpu_model_match("A100", text, n & 1);
	if (query_parse(&q, text, &why)) {
		CHECK(why.code != ERR_NONE && why.text[0]);
		return 0;
	}
	query_put(&q, &name);
	CHECK(!name.failed && query_parse(&again, name.data ? name.data : "", &why) == 0);
	CHECK(again.set == q.set);
	return 0;
}
