/* What every dialect's reading is made of: bounded rows, printable sentences, prices for a shape. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "../../src/core/check.h"
#include "../../src/core/wire.h"

#include <cmocka.h>

static void rows_are_bounded(void **state)
{
	struct wire_result w;

	(void)state;
	wire_result_init(&w);
	for (int i = 0; i < WIRE_ROWS_MAX; i++) {
		struct instance *in = wire_add_instance(&w);

		assert_non_null(in);
		assert_int_equal(in->ssh_port, 0);
		in->ssh_port = i;
	}
	assert_null(wire_add_instance(&w));
	assert_int_equal(w.r.count, WIRE_ROWS_MAX);
	assert_int_equal(w.r.dropped, 1);
	assert_int_equal(w.r.instances[777].ssh_port, 777);
	wire_result_free(&w);
	assert_null(w.r.instances);
	wire_result_init(&w);
	assert_non_null(wire_add_offer(&w));
	assert_ptr_equal(w.r.offers, w.offers);
	wire_result_free(&w);
	wire_result_init(&w);
	assert_non_null(wire_add_template(&w));
	assert_int_equal(w.r.verdict, LATER);
	assert_int_equal(w.r.balance_u6, UNKNOWN);
	wire_result_free(&w);
}

static void words_of_others_become_one_line(void **state)
{
	static const struct {
		const char *in, *out;
	} rows[] = {
		{"", ""},
		{"  \n ", ""},
		{" pulled \n", "pulled"},
		{"a\nb\r\nc", "a b  c"},
		{"\033[2J\a", "?[2J?"},
		{"gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f"},
		{"\xff"
		 "a\xc3",
		 "?a?"},
		{"\xed\xa0\x80x", "???x"},
		{"\xf0\x9f\x98\x80!", "\xf0\x9f\x98\x80!"},
	};
	struct wire_result w;
	char out[64], four[4];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		printable_text(out, sizeof out, rows[i].in);
		assert_string_equal(out, rows[i].out);
	}
	printable_text(four, sizeof four, "ab\xc3\xbc"); /* never half a character */
	assert_string_equal(four, "ab");
	printable_text(four, sizeof four, "a  b");
	assert_string_equal(four, "a");
	wire_result_init(&w);
	wire_say(&w, SURE_NO, PE_MONEY, "no credit: %s", "pay\nup\x1b");
	assert_string_equal(w.r.text, "no credit: pay up?");
	assert_int_equal(w.r.error, PE_MONEY);
	wire_result_free(&w);
}

static int64_t disk_price(const struct offer *o, int64_t disk_gb)
{
	const struct shape s = {disk_gb, UNKNOWN, UNKNOWN};

	return offer_price(o, &s);
}

static void a_disk_has_a_price(void **state)
{
	struct offer o = {.price_u6 = 400000, .disk = {50, 208334, 200}};

	(void)state;
	assert_int_equal(disk_price(&o, UNKNOWN), 400000);
	assert_int_equal(disk_price(&o, 50), 400000);
	assert_int_equal(disk_price(&o, 60), 402084); /* 2083.34 more, rounded up */
	assert_int_equal(disk_price(&o, 40), 397917); /* 2083.34 less, rounded up */
	assert_int_equal(disk_price(&o, 200), 431251);
	assert_int_equal(disk_price(&o, 201), UNKNOWN);
	o.disk.max = UNKNOWN;
	assert_true(disk_price(&o, 1000000) > 0);
	o.disk.rate_u9 = 0;
	assert_int_equal(disk_price(&o, 201), 400000);
}

static void a_shape_has_a_price(void **state)
{
	struct offer o = {.price_u6 = 493000,
			  .disk = {100, 50000, 1000},
			  .vcpus = {8, 3000000, 16},
			  .ram = {32, 2000000, UNKNOWN}};
	struct shape s = {UNKNOWN, UNKNOWN, UNKNOWN};

	(void)state;
	assert_int_equal(offer_price(&o, &s), 493000);
	s = (struct shape){200, 16, 64};
	assert_int_equal(offer_price(&o, &s), 493000 + 5000 + 24000 + 64000);
	s = (struct shape){100, 2, 8};
	assert_int_equal(offer_price(&o, &s), 493000 - 18000 - 48000);
	s = (struct shape){UNKNOWN, 18, 1000000};
	assert_int_equal(offer_price(&o, &s), UNKNOWN);
	assert_string_equal(offer_lacks(&o, &s).key, "vcpus");
	assert_int_equal(offer_lacks(&o, &s).max, 16);
	s.vcpus = 16;
	assert_null(offer_lacks(&o, &s).key);
}

static void make_even(struct shape *s)
{
	s->vcpus += s->vcpus != UNKNOWN && s->vcpus % 2;
}

static void a_shape_is_what_the_provider_makes(void **state)
{
	struct dialect d = {.disk_min_gb = 100, .fit = make_even};
	struct provider p = {.dialect = &d};
	const struct shape wanted = {40, 3, 5}, none = {UNKNOWN, 0, UNKNOWN};
	struct shape s = provider_shape(&p, &wanted);

	(void)state;
	assert_int_equal(s.disk_gb, 100);
	assert_int_equal(s.vcpus, 4);
	assert_int_equal(s.ram_gb, 5);
	s = provider_shape(&p, &none);
	assert_int_equal(s.disk_gb, UNKNOWN);
	assert_int_equal(s.vcpus, UNKNOWN);
	d.lacks = WANT_RAM | WANT_VCPUS;
	s = provider_shape(&p, &wanted);
	assert_int_equal(s.vcpus, UNKNOWN);
	assert_int_equal(s.ram_gb, UNKNOWN);
	p.dialect = NULL; /* a native one that gives no choice */
	s = provider_shape(&p, &wanted);
	assert_int_equal(s.disk_gb, UNKNOWN);
}

static void unclear_follows_the_call(void **state)
{
	(void)state;
	for (int op = 0; op < CALL_OP_COUNT; op++) {
		const struct wire_ask ask = {.op = (enum call_op)op};
		bool write = op == CALL_CREATE || op == CALL_DESTROY || op == CALL_ATTACH;
		struct wire_result w;

		wire_result_init(&w);
		wire_unclear(&ask, &w, "HTTP %d", 502);
		assert_int_equal(w.r.verdict, write ? UNSURE : LATER);
		assert_int_equal(w.r.error, PE_UNAVAILABLE);
		assert_string_equal(w.r.text, "HTTP 502");
		wire_done(&w);
		assert_int_equal(w.r.verdict, SURE_YES);
		assert_int_equal(w.r.error, PE_NONE);
		assert_string_equal(w.r.text, "");
	}
}

static void secrets_are_hidden(void **state)
{
	char key[] = "key=0123456789abcdef0123456789ABCDEF, 0123456789abcdef0123456789ABCDE";
	char id[] = "8dd95ff0-dff9-489c-9b02-b38a366b6ab1 of ssh-ed25519 "
		    "AAAAC3NzaC1lZDI1NTE5AAAAIAECAwQF";

	(void)state;
	wire_hide_secrets(key);
	assert_null(strstr(key, "0123456789abcdef0123456789ABCDEF"));
	assert_non_null(strstr(key, "0123456789abcdef0123456789ABCDE")); /* 31 are a word */
	wire_hide_secrets(id);
	assert_string_equal(id, "8dd95ff0-dff9-489c-9b02-b38a366b6ab1 of ssh-ed25519 "
				"********************************");
}

static void ids_are_parts_of_paths(void **state)
{
	char id[97] = "";

	(void)state;
	assert_true(wire_id_ok("m-1_a.B"));
	assert_false(wire_id_ok(""));
	assert_false(wire_id_ok("."));
	assert_false(wire_id_ok(".."));
	assert_false(wire_id_ok("a/b"));
	assert_false(wire_id_ok("a?b"));
	assert_false(wire_id_ok("a%2fb"));
	memset(id, 'a', 95);
	assert_true(wire_id_ok(id));
	id[95] = 'a';
	assert_false(wire_id_ok(id));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(unclear_follows_the_call),
		cmocka_unit_test(secrets_are_hidden),
		cmocka_unit_test(ids_are_parts_of_paths),
		cmocka_unit_test(rows_are_bounded),
		cmocka_unit_test(words_of_others_become_one_line),
		cmocka_unit_test(a_disk_has_a_price),
		cmocka_unit_test(a_shape_has_a_price),
		cmocka_unit_test(a_shape_is_what_the_provider_makes),
	};

	return cmocka_run_group_tests_name("wire", tests, NULL, NULL);
}
