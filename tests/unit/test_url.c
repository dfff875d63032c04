/* Where an account's key may be sent. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "../../src/core/check.h"
#include "../../src/core/url.h"

#include <cmocka.h>

static void origins_are_taken(void **state)
{
	static const char *const good[] = {
		"https://console.vast.ai",
		"https://console.vast.ai:8443",
		"HTTPS://a",
		"https://10.0.0.1",
		"https://[2001:db8::1]:443",
		"https://3proxy",
		"http://127.0.0.1:9",
		"http://127.9.8.7",
		"http://localhost:65535",
		"http://LOCALHOST",
		"http://[::1]:80",
		"http://[0:0::1]",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		struct error why = {0};

		if (cloud_url_check(good[i], false, &why))
			fail_msg("%s: %s", good[i], why.text);
	}
}

static void everything_else_is_refused(void **state)
{
	static const char *const bad[] = {
		"",
		"console.vast.ai",
		"ftp://a",
		"https:/a",
		"https//a",
		" https://a",
		"https://",
		"https://:80",
		"https://a/",
		"https://a/api",
		"https://a\\b",
		"https://a?x",
		"https://a#x",
		"https://u@a",
		"https://u:p@a",
		"https://a b",
		"https://a\n",
		"https://a\x01",
		"https://\xc3\xa4",
		"https://a..b",
		"https://.a",
		"https://a.",
		"https://a:",
		"https://a:0",
		"https://a:65536",
		"https://a:-1",
		"https://a:+1",
		"https://a:8x",
		"https://a:99999999999999999999",
		"https://a:1:2",
		"https://[::1",
		"https://[::1]x",
		"https://[::g]",
		"https://[127.0.0.1]",
		"https://::1",
		"https://127.1",
		"https://0x7f.0.0.1",
		"https://256.1.1.1",
		"https://1.2.3.4.5",
		"https://2130706433",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct error why = {0};

		if (cloud_url_check(bad[i], true, &why) != -EINVAL)
			fail_msg("taken: %s", bad[i]);
		assert_int_equal(why.code, ERR_INVALID);
		assert_non_null(strstr(why.text, "base URL"));
	}
}

static void plain_http_leaves_this_machine_only_when_allowed(void **state)
{
	static const char *const open[] = {
		"http://console.vast.ai", "http://128.0.0.1", "http://127.0.0.1.example.com",
		"http://localhost.a",	  "http://[::2]",     "http://[::ffff:127.0.0.1]",
		"http://0.0.0.0"};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(open); i++) {
		struct error why = {0};

		if (cloud_url_check(open[i], false, &why) != -EINVAL)
			fail_msg("taken: %s", open[i]);
		assert_non_null(strstr(why.text, "ALLOW_INSECURE"));
		assert_int_equal(cloud_url_check(open[i], true, NULL), 0);
	}
}

static void passwords_are_not_quoted(void **state)
{
	struct error why = {0};

	(void)state;
	assert_int_equal(cloud_url_check("https://me:hunter2@a/b", false, &why), -EINVAL);
	assert_null(strstr(why.text, "hunter2"));
	assert_int_equal(cloud_url_check("http://a?api_key=hunter2", false, &why), -EINVAL);
	assert_null(strstr(why.text, "hunter2"));
	assert_int_equal(cloud_url_check("me:hunter2", false, &why), -EINVAL);
	assert_null(strstr(why.text, "hunter2"));
}

static void lengths_are_bounded(void **state)
{
	char url[600];

	(void)state;
	for (size_t n = 0; n < sizeof url - 10; n++) {
		size_t at = 8;

		strcpy(url, "https://");
		for (; at < 8 + n; at++)
			url[at] = at % 50 == 49 && at + 1 < 8 + n ? '.' : 'a';
		url[at] = '\0';
		assert_int_equal(cloud_url_check(url, false, NULL),
				 n && strlen(url) <= CLOUD_URL_MAX ? 0 : -EINVAL);
	}
	memset(url + 8, 'a', 64); /* one label */
	url[8 + 64] = '\0';
	assert_int_equal(cloud_url_check(url, false, NULL), -EINVAL);
	url[8 + 63] = '\0';
	assert_int_equal(cloud_url_check(url, false, NULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(origins_are_taken),
		cmocka_unit_test(everything_else_is_refused),
		cmocka_unit_test(plain_http_leaves_this_machine_only_when_allowed),
		cmocka_unit_test(passwords_are_not_quoted),
		cmocka_unit_test(lengths_are_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
