/* Replies of TensorDock: see fuzz_dialect.h. */
#include "fuzz_dialect.h"

static const char *const gone[] = {"not found", "does not exist", "no such", "already ", "\\",
				   NULL};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	fuzz_dialect("tensordock", gone, data, n);
	return 0;
}
