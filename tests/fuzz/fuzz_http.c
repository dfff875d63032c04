/*
 * What the HTTP door parses by itself. The first byte chooses: numbers of a query string, a JSON body, a
 * file of tokens with an Authorization header, a route, Origin and Host (two lines).
 */
#include <stdlib.h>
#include <string.h>

#include "../../src/http/parts.h"
#include "fuzz.h"

static const struct field fields[] = {
	{"name", PT_TEXT, true, 0, 0, ""},   {"hours", PT_INT, true, 1, 12, ""},
	{"retry", PT_BOOL, false, 0, 0, ""}, {"ports", PT_LIST, false, 0, 0, ""},
	{"more", PT_TEXT, false, 0, 0, ""},
};

static void numbers(const char *text)
{
	static const struct param params[] = {{"i", PT_INT, 0, INT64_MAX, ""},
					      {"r", PT_REAL, 0, 1, ""},
					      {"m", PT_REAL, 0, INT64_MAX, ""}};
	struct error why;
	int64_t v;

	for (size_t i = 0; i < ARRAY_LEN(params); i++)
		if (number_read(&params[i], text, &v, &why) == 0)
			CHECK(v >= 0);
}

static void body(const char *text, size_t n)
{
	struct value v[ARRAY_LEN(fields)];
	struct error why = {0};
	void *root = NULL;

	if (body_parse(text, n, fields, ARRAY_LEN(fields), v, &root, &why) == 0)
		body_free(root);
	else
		CHECK(why.text[0]);
}

static void tokens(const char *text, size_t n)
{
	struct tokens t = {0};
	struct error why;

	if (tokens_parse(text, n, &t, &why))
		return;
	(void)tokens_find(&t, text);
	tokens_free(&t);
}

/* Of a web page: refused whenever there is an Origin, or a name with a dot. */
static void browser(char *text)
{
	char *host = text, *origin = strsep(&host, "\n");
	size_t n = host ? strcspn(host, ":") : 0;

	CHECK(browser_refusal(origin, host));
	if (host && *host != '[' && !browser_refusal(NULL, host))
		CHECK(!memchr(host, '.', n) || strspn(host, "0123456789.") >= n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	char param[PARAM_MAX + 1];
	FREE char *text = xcalloc(n + 1, 1);
	bool known;

	if (!n)
		return 0;
	memcpy(text, data + 1, n - 1);
	switch (data[0] % 5) {
	case 0:
		numbers(text);
		break;
	case 1:
		body(text, n - 1);
		break;
	case 2:
		tokens(text, n - 1);
		break;
	case 4:
		browser(text);
		break;
	default:
		(void)route_find("GET", text, param, &known);
		(void)route_find(text, "/api/v1/sessions/x", param, &known);
		break;
	}
	return 0;
}
