/*
 * The toy dialect of docs/providers.md, what neither the contract suite nor a recorded reply shows: requests
 * to the letter, and replies about something else than was asked for.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "../../src/core/check.h"
#include "../toy/toy.h"
#include "wire_test.h"

#include <cmocka.h>
#undef fail

static struct provider *p;

static int make(void **state)
{
	static const struct account account = {.base_url = "https://toy.invalid", .key = "k"};

	(void)state;
	p = provider_toy_new(&account);
	return !p;
}

static int drop(void **state)
{
	(void)state;
	provider_toy_free(p);
	return 0;
}

/* Text of users stays text, whatever stands in it. */
static void create_to_the_letter(void **state)
{
	struct spec_env env[] = {{"MODEL", "a\"b\\c"}, {"N", "2"}};
	struct offer offer = {.provider_id = "a100.2"};
	struct create_args a = {.label = "gpufs-x",
				.offer = &offer,
				.image = "debian",
				.authorized_keys = "ssh-ed25519 AAAA \"a\"\n\nssh-rsa BBBB\n",
				.env = env,
				.env_count = 2,
				.on_start = "echo 'hi'\n"};
	const struct call call = {.op = CALL_CREATE, .create = &a};
	REQUEST q;

	(void)state;
	wire_build(p, &call, "", &q);
	assert_int_equal(q.err, 0);
	assert_int_equal(q.r.method, HTTP_POST);
	assert_string_equal(q.r.path.data, "/v1/machines");
	assert_string_equal(
		q.r.body.data,
		"{\"sku\":\"a100.2\",\"tags\":{\"name\":\"gpufs-x\"},\"image\":\"debian\","
		"\"ssh_keys\":[\"ssh-ed25519 AAAA \\\"a\\\"\",\"ssh-rsa BBBB\"],"
		"\"env\":{\"MODEL\":\"a\\\"b\\\\c\",\"N\":\"2\"},"
		"\"user_data\":\"echo 'hi'\\n\"}");
}

static void what_cannot_be_said_is_refused(void **state)
{
	static const char *const ids[] = {"", "../account", "a/b", "a?b", ".", "a b"};
	struct offer offer = {.provider_id = "a100.2"};
	struct create_args a = {.label = "x", .offer = &offer, .image = "", .authorized_keys = "k"};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
		const struct call call = {.op = CALL_DESTROY, .instance_id = ids[i]};
		REQUEST q;

		wire_build(p, &call, "", &q);
		assert_int_equal(q.err, -EINVAL);
	}
	for (int i = 0; i < 2; i++) { /* without an image, then without a key */
		const struct call call = {.op = CALL_CREATE, .create = &a};
		REQUEST q;

		wire_build(p, &call, "", &q);
		assert_int_equal(q.err, -EINVAL);
		a.image = "debian";
		a.authorized_keys = "";
	}
}

static void pages_follow_their_cursor(void **state)
{
	const struct call call = {.op = CALL_LIST};
	REQUEST first;
	REQUEST second;

	(void)state;
	wire_build(p, &call, "", &first);
	assert_string_equal(first.r.path.data, "/v1/machines");
	wire_build(p, &call, "a&b=c", &second);
	assert_string_equal(second.r.path.data, "/v1/machines?after=a%26b%3Dc");
}

static void a_look_is_about_what_was_asked(void **state)
{
	static const char other[] = "{\"machine\":{\"id\":\"m-2\",\"state\":\"ended\"}}";
	struct wire_ask ask = {.op = CALL_LOOK, .instance_id = "m-1"};
	RESULT w;

	(void)state;
	wire_parse(p, &ask, 200, other, sizeof other - 1, &w);
	assert_int_equal(w.r.verdict, LATER);
	assert_false(says_gone(&w.r));
}

static void junk_says_nothing(void **state)
{
	static const int statuses[] = {200, 202, 301, 404, 500};

	(void)state;
	for (int op = 0; op < CALL_OP_COUNT; op++)
		for (size_t i = 0; i < WIRE_JUNK_COUNT; i++)
			for (size_t k = 0; k < ARRAY_LEN(statuses); k++) {
				struct wire_ask ask = {.op = (enum call_op)op};
				RESULT w;

				wire_parse(p, &ask, statuses[k], wire_junk[i], strlen(wire_junk[i]),
					   &w);
				assert_int_equal(w.r.verdict,
						 wire_is_write(ask.op) ? UNSURE : LATER);
				assert_false(says_gone(&w.r));
			}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(create_to_the_letter),
		cmocka_unit_test(what_cannot_be_said_is_refused),
		cmocka_unit_test(pages_follow_their_cursor),
		cmocka_unit_test(a_look_is_about_what_was_asked),
		cmocka_unit_test(junk_says_nothing),
	};

	return cmocka_run_group_tests(tests, make, drop);
}
