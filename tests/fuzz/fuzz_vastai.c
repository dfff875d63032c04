/* Replies of Vast.ai: see fuzz_dialect.h. */
#include "fuzz_dialect.h"

/* In a code, letters may be written as \uXXXX. */
static const char *const gone[] = {"null", "no_such_instance", "not_found", "\\u", NULL};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	fuzz_dialect("vastai", gone, data, n);
	return 0;
}
