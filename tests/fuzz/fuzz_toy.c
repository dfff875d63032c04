/* Replies of the cloud that docs/providers.md invents: see fuzz_dialect.h. */
#include "fuzz_dialect.h"

/* In a code, letters may be written as \uXXXX. */
static const char *const gone[] = {"no_such_machine", "already_ended", "ended", "\\u", NULL};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	fuzz_dialect("toy", gone, data, n);
	return 0;
}
