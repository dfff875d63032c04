/*
 * wire-parse PROVIDER OPERATION STATUS FILE: what a dialect makes of a recorded reply, as one line of
 * JSON. FILE may be "-". Ends with 0 for every reply, however broken; with 2 if it was not asked rightly or
 * the file cannot be read.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../src/core/check.h"
#include "wire_entry.h"

static int usage(void)
{
	fprintf(stderr, "usage: wire-parse PROVIDER OPERATION STATUS FILE\n"
			"PROVIDER: vastai tensordock toy\nOPERATION:");
	for (size_t i = 0; wire_operations[i]; i++)
		fprintf(stderr, " %s", wire_operations[i]);
	fprintf(stderr, "\nSTATUS: HTTP status, 100 to 599\n");
	return 2;
}

/* The engine never hands over more than this. */
static bool read_all(FILE *f, struct buf *out)
{
	char piece[65536];
	size_t n;

	out->max = HTTP_BODY_MAX_OFFERS;
	while ((n = fread(piece, 1, sizeof piece, f)) > 0)
		buf_add(out, piece, n);
	return !ferror(f) && !out->failed;
}

int main(int argc, char **argv)
{
	BUF body = {0};
	BUF line = {0};
	struct error why;
	int64_t status;
	FILE *f;
	bool ok;

	if (argc != 5 || parse_int(str_of(argv[3]), 100, 599, &status, &why))
		return usage();
	f = strcmp(argv[4], "-") == 0 ? stdin : fopen(argv[4], "rb");
	ok = f && read_all(f, &body);
	if (!ok) {
		fprintf(stderr, "wire-parse: %s: %s\n", argv[4],
			body.failed ? "more than the 32 MiB that are read of a reply"
				    : strerror(errno));
		return 2;
	}
	if (f != stdin)
		fclose(f);
	if (!wire_entry(argv[1], argv[2], (int)status, body.data ? body.data : "", body.len, &line))
		return usage();
	CHECK(!line.failed);
	puts(line.data);
	return 0;
}
