/*
 * What is written to the ctl files: a verb that there is, with an argument if it takes one, or a sentence. The
 * function is its file's own, so the file is included.
 */
#include "../../src/engine/ends.c"
#include "fuzz.h"

static void verb(const struct verb *verbs, int count, struct str line)
{
	struct error why = {0};
	char argument[64];
	int i = find_verb(verbs, line, argument, &why);

	if (i < 0)
		CHECK(why.text[0]);
	else
		CHECK(i < count && (verbs[i].args[0] || !argument[0]));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	FREE char *text = xcalloc(n + 1, 1); /* a copy: reads beyond its end are seen */

	memcpy(text, data, n);
	verb(session_verbs, V_VERB_COUNT, (struct str){text, n});
	verb(root_verbs, R_VERB_COUNT, (struct str){text, n});
	return 0;
}
