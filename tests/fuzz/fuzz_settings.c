/*
 * gpufs.conf, and key=value words of -o (lines behind a first byte of 1): all values are good, or there is a
 * sentence; nothing leaks, and what was read can be shown.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../../src/core/check.h"
#include "../../src/settings.h"
#include "fuzz.h"

#define WORDS_MAX 64

static void use(struct settings *s, const char *file, const char *const *words)
{
	struct error why = {0};
	struct policy policy = {0};
	BUF report = {0};

	if (settings_read(s, file, words, &why)) {
		CHECK(why.code != ERR_NONE && why.text[0]);
	} else {
		for (int i = 0; i < SET_COUNT; i++)
			CHECK(s->value[i] && s->origin[i]);
		(void)settings_policy(s, &policy, &why);
		settings_report(s, true, &report);
		CHECK(!report.failed);
	}
	settings_free(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	FREE char *text = xcalloc(n + 1, 1);
	const char *words[WORDS_MAX + 1] = {NULL};
	struct settings s = {0};
	char path[32], *rest = text;
	int fd;

	if (!n)
		return 0;
	/* Secrets may be named as files: what a mutation finds on this machine is not to be read. */
	if (memmem(data, n, "_file", 5) || memmem(data, n, "_FILE", 5))
		return 0;
	memcpy(text, data + 1, n - 1);
	if (data[0] == 1) {
		for (size_t i = 0; rest && i < WORDS_MAX; i++)
			words[i] = strsep(&rest, "\n");
		use(&s, "/dev/null", words);
		return 0;
	}
	fd = memfd_create("conf", MFD_CLOEXEC);
	CHECK(fd >= 0 && write(fd, text, n - 1) == (ssize_t)(n - 1));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	use(&s, path, words);
	close(fd);
	return 0;
}
