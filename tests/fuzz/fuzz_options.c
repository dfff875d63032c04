/* The command line, one argument a line: understood, or refused with a sentence. */
#include <stdlib.h>
#include <string.h>

#include "../../src/core/check.h"
#include "../../src/options.h"
#include "fuzz.h"

#define ARGUMENTS_MAX 200

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	FREE char *text = xcalloc(n + 1, 1);
	char *arguments[ARGUMENTS_MAX + 1] = {NULL}, *rest = text, name[] = "gpufs";
	struct options o = {0};
	struct error why = {0};
	int count = 0;

	memcpy(text, data, n);
	arguments[count++] = name;
	while (rest && count < ARGUMENTS_MAX)
		arguments[count++] = strsep(&rest, "\n");
	if (options_parse(count, arguments, &o, &why))
		CHECK(why.code != ERR_NONE && why.text[0]);
	else
		CHECK(!o.settings[o.settings_count]);
	options_free(&o);
	return 0;
}
