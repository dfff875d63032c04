/*
 * What a provider's answer says of time, by its headers: Date on the first line, Retry-After on the second. No
 * wait is negative or longer than a day. The functions are their file's own, so the file is included.
 */
#include "../../src/io/http_reply.c"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	FREE char *text = xcalloc(n + 1, 1);
	char *rest = text, *date;
	int64_t date_us, wait_us;

	memcpy(text, data, n);
	date = strsep(&rest, "\n");
	date_us = http_date_us(date);
	CHECK(date_us == UNKNOWN || date_us >= 0);
	wait_us = retry_after(rest, date_us);
	CHECK(wait_us == UNKNOWN || (wait_us >= 0 && wait_us <= RETRY_AFTER_MAX_US));
	return 0;
}
