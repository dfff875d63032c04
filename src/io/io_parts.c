/*
 * Small helpers of this room (io_parts.h says which). Any thread; no state.
 *
 * Invariants: fd_close leaves -1 behind, so closing early and at the end of the scope is safe, and no
 * descriptor of another thread is ever closed by a number that was used before; a write that a signal
 * interrupted goes on.
 * Tests: through their users, tests/unit/test_keys.c, test_local_host.c, test_ssh_probe.c, test_store.c
 */
#include "io_parts.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "../core/check.h"
#include "io.h"

void fd_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

int fd_write_all(int fd, const char *p, size_t n)
{
	while (n > 0) {
		ssize_t put = write(fd, p, n);

		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0)
			return -errno;
		p += put;
		n -= (size_t)put;
	}
	return 0;
}

int ms_until(int64_t deadline_us, int at_most_ms)
{
	int64_t ms = (deadline_us - clock_mono_us() + 999) / 1000;

	if (ms < 0)
		return 0;
	return ms < at_most_ms ? (int)ms : at_most_ms;
}

char *copy_of(const char *s)
{
	char *c = strdup(s ? s : "");

	CHECK(c != NULL);
	return c;
}

void printable(char *s)
{
	for (; *s; s++)
		if ((unsigned char)*s < ' ' || (unsigned char)*s >= 0x7f)
			*s = '?';
}
