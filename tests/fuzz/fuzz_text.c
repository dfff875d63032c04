/*
 * The small readers that everything else is made of: numbers, money, durations, names, base URLs, labels. What
 * is taken prints as a text that reads as the same, and what is printed for people is printable.
 */
#include <stdlib.h>
#include <string.h>

#include "../../src/core/check.h"
#include "../../src/core/session.h"
#include "../../src/core/url.h"
#include "fuzz.h"

static void money(struct str s)
{
	BUF text = {0};
	struct error why = {0};
	int64_t v = 0, again = 0;

	if (parse_money(s, &v, &why)) {
		CHECK(why.text[0]);
		return;
	}
	put_money(&text, v);
	CHECK(v >= 0 && !text.failed);
	CHECK(parse_money((struct str){text.data, text.len}, &again, &why) == 0 && again == v);
}

static void decimal(struct str s, int places)
{
	BUF text = {0};
	struct error why = {0};
	int64_t v = 0, again = 0;

	if (parse_decimal(s, places, &v, &why)) {
		CHECK(why.text[0]);
		return;
	}
	put_decimal(&text, v, places);
	CHECK(v >= 0 && !text.failed);
	CHECK(parse_decimal((struct str){text.data, text.len}, places, &again, &why) == 0 &&
	      again == v);
}

static void duration(struct str s)
{
	BUF text = {0};
	struct error why = {0};
	int64_t us = 0, again = 0;

	if (parse_duration(s, &us, &why)) {
		CHECK(why.text[0]);
		return;
	}
	put_duration(&text, us);
	CHECK(us >= 0 && !text.failed);
	CHECK(parse_duration((struct str){text.data, text.len}, &again, &why) == 0 && again == us);
}

static void integer(struct str s)
{
	struct error why = {0};
	int64_t v = 0;
	bool yes;

	if (parse_int(s, -5, 1000000, &v, &why) == 0)
		CHECK(v >= -5 && v <= 1000000);
	else
		CHECK(why.text[0]);
	(void)parse_int(s, INT64_MIN, INT64_MAX, &v, &why);
	(void)parse_bool(s, &yes, &why);
}

/* A name is a file name; a text for people has no control byte and nothing that is not UTF-8. */
static void names(const char *text)
{
	struct error why = {0};
	char shown[40], folded[40];

	if (name_check(text, &why) == 0)
		CHECK(text[0] && text[0] != '.' && !strchr(text, '/'));
	else
		CHECK(why.text[0]);
	printable_text(shown, sizeof(shown), text);
	for (const char *p = shown; *p; p++)
		CHECK((unsigned char)*p >= ' ' && *p != 0x7f);
	fold(text, folded, sizeof(folded));
	CHECK(strlen(folded) < sizeof(folded));
}

static void url(const char *text)
{
	struct error why = {0};
	BUF encoded = {0};

	if (cloud_url_check(text, false, &why) == 0)
		CHECK(!strpbrk(text, "@?# \r\n\\"));
	else
		CHECK(why.text[0]);
	(void)cloud_url_check(text, true, &why);
	url_put_encoded(&encoded, text);
	CHECK(!encoded.len || !strpbrk(encoded.data, "/?&=#@: \r\n"));
}

/* A label that is verified is one that we would make: nothing else is ever called ours. */
static void label(const char *text)
{
	static const unsigned char key[32] = {1, 2, 3};
	char id[40], made[64];
	int64_t attempt = 0;

	if (!label_verify(text, "abcd1234", key, id, &attempt))
		return;
	label_make(made, "abcd1234", id, attempt, key);
	CHECK(!strcmp(made, text));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	FREE char *text = xcalloc(n + 1, 1);
	struct str s = {text, n};

	memcpy(text, data, n);
	money(s);
	decimal(s, 0);
	decimal(s, 3);
	decimal(s, 18);
	duration(s);
	integer(s);
	names(text);
	url(text);
	label(text);
	(void)utf8_valid(text, n);
	return 0;
}
