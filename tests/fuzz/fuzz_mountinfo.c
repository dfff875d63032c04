/*
 * A line of /proc/self/mountinfo: any user of the machine chooses names in it. The functions are their file's
 * own, so the file is included.
 */
#include "../../src/mountpoint.c"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	FREE char *line = xcalloc(n + 1, 1);
	struct mount_entry m = {0};

	memcpy(line, data, n);
	line[strcspn(line, "\n")] = '\0';
	if (parse_mount(line, &m))
		CHECK(m.point && strlen(m.point) <= n && m.ours == !strcmp(m.type, "fuse.gpufs"));
	return 0;
}
