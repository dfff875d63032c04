/* The record, the arrows, money and labels: pure core, no world at all. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "../../src/core/check.h"
#include "../../src/core/session.h"

#include <cmocka.h>

static uint64_t seed = 7;

static uint32_t chance(void)
{
	seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
	return (uint32_t)(seed >> 32);
}

static void fill(struct session *s)
{
	session_init(s);
	for (size_t i = 0; i < session_field_count; i++) {
		const struct session_field *f = &session_fields[i];
		char *at = (char *)s + f->offset;
		char text[32];

		snprintf(text, sizeof text, "v%08x", chance());
		switch (f->kind) {
		case F_TEXT:
			copy_text(at, f->size, text);
			break;
		case F_INT:
			*(int64_t *)(void *)at = 1 + chance() % 4;
			break;
		case F_LONG:
			*(char **)(void *)at = strdup(text);
			break;
		case F_SECRET:
			secret_set((struct secret *)(void *)at, text, strlen(text));
			break;
		}
	}
	COPY(s->id, "0123abcd-4567-4bcd-8def-0123456789ab");
	COPY(s->name, "train");
}

static void every_field_survives_the_journal(void **state)
{
	struct session a, b;
	struct journal_op op;
	struct error why;

	(void)state;
	for (int round = 0; round < 50; round++) {
		fill(&a);
		assert_int_equal(session_pack(&a, &op), 0);
		assert_int_equal(session_unpack(&b, &op, &why), 0);
		for (size_t i = 0; i < session_field_count; i++) {
			const struct session_field *f = &session_fields[i];
			char *x = (char *)&a + f->offset, *y = (char *)&b + f->offset;

			if (f->kind == F_TEXT)
				assert_string_equal(x, y);
			else if (f->kind == F_INT)
				assert_int_equal(*(int64_t *)(void *)x, *(int64_t *)(void *)y);
			else if (f->kind == F_LONG)
				assert_string_equal(*(char **)(void *)x, *(char **)(void *)y);
			else
				assert_string_equal(((struct secret *)(void *)x)->bytes,
						    ((struct secret *)(void *)y)->bytes);
		}
		journal_op_free(&op);
		session_free(&a);
		session_free(&b);
	}
}

static void a_spoilt_row_is_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < session_field_count; i++) {
		struct session a, b;
		struct journal_op op;
		struct error why = {0};

		fill(&a);
		assert_int_equal(session_pack(&a, &op), 0);
		if (session_fields[i].kind == F_INT) {
			op.v[i].type = JV_TEXT;
			op.v[i].text = strdup("x");
			op.v[i].len = 1;
		} else {
			free(op.v[i].text);
			op.v[i].text = xcalloc(300001, 1);
			memset(op.v[i].text, 'x', 300000);
			op.v[i].len = 300000;
		}
		if (session_fields[i].kind != F_SECRET) {
			assert_int_equal(session_unpack(&b, &op, &why), -EINVAL);
			assert_non_null(strstr(why.text, session_fields[i].name));
		}
		journal_op_free(&op);
		session_free(&a);
	}
}

static void numbers_that_no_sum_could_hold_are_refused(void **state)
{
	static const int64_t bad[] = {INT64_MIN, -2, ((int64_t)1 << 60) + 1, INT64_MAX};

	(void)state;
	for (size_t i = 0; i < session_field_count; i++)
		for (size_t k = 0; k < ARRAY_LEN(bad); k++) {
			bool never = !strcmp(session_fields[i].name, "start_by_us") &&
				     bad[k] == INT64_MAX;
			struct session a, b;
			struct journal_op op;
			struct error why = {0};

			if (session_fields[i].kind != F_INT)
				continue;
			fill(&a);
			assert_int_equal(session_pack(&a, &op), 0);
			op.v[i].i = bad[k];
			assert_int_equal(session_unpack(&b, &op, &why), never ? 0 : -EINVAL);
			if (never)
				session_free(&b);
			journal_op_free(&op);
			session_free(&a);
		}
	assert_int_equal(cost_of((int64_t)1 << 60, (int64_t)1 << 60), (int64_t)1 << 60);
}

static void arrows(void **state)
{
	(void)state;
	assert_true(state_may(S_DRAFT, S_PENDING));
	assert_false(state_may(S_DRAFT, S_RUNNING));
	assert_false(state_may(S_STOPPED, S_RUNNING));
	assert_false(state_may(S_RUNNING, S_PROVISIONING));
	assert_true(state_may(S_FAILED, S_PENDING));
	for (enum session_state s = 0; s < S_COUNT; s++) {
		assert_true(state_may(s, s));
		assert_non_null(state_name(s));
		assert_non_null(state_doc(s));
	}
}

static void labels(void **state)
{
	unsigned char key[32] = {1, 2, 3}, other[32] = {9};
	char label[64], id[40];
	int64_t attempt;

	(void)state;
	label_make(label, "abcd1234", "0123abcd-4567-4bcd-8def-0123456789ab", 999, key);
	assert_in_range(strlen(label), 40, LABEL_MAX);
	assert_int_equal(strspn(label, "abcdefghijklmnopqrstuvwxyz0123456789-"), strlen(label));
	assert_true(label_verify(label, "abcd1234", key, id, &attempt));
	assert_string_equal(id, "0123abcd-4567-4bcd-8def-0123456789ab");
	assert_int_equal(attempt, 999);
	assert_false(label_verify(label, "abcd1234", other, id, &attempt));
	assert_false(label_verify(label, "abcd", key, id, &attempt));
	assert_false(label_verify("gpufs-abcd1234-", "abcd1234", key, id, &attempt));
	assert_false(label_verify("", "abcd1234", key, id, &attempt));
	/* Any changed byte is foreign. */
	for (size_t i = 0; label[i]; i++) {
		char was = label[i];

		label[i] = was == 'a' ? 'b' : 'a';
		assert_false(label_verify(label, "abcd1234", key, id, &attempt));
		label[i] = was;
	}
}

static void money(void **state)
{
	struct session s;

	(void)state;
	session_init(&s);
	assert_int_equal(session_cost_u6(&s, 0), 0);
	assert_int_equal(session_cost_max_u6(&s), UNKNOWN);
	s.price_u6 = 900000;
	s.bought_us = s.asked_us = 1000 * SECOND_US;
	s.expires_us = s.bought_us + 2 * HOUR_US;
	s.instance_state = I_EXISTS;
	assert_int_equal(session_cost_u6(&s, s.asked_us + 5 * SECOND_US), 1250);
	assert_int_equal(session_cost_u6(&s, s.asked_us + HOUR_US), 900000);
	assert_int_equal(session_cost_u6(&s, s.asked_us - HOUR_US), 0); /* the clock stepped back */
	assert_int_equal(session_cost_max_u6(&s), 1800000);
	s.instance_state = I_GONE;
	s.gone_us = s.asked_us + 100 * SECOND_US;
	s.delete_us = s.asked_us + 60 * SECOND_US;
	assert_int_equal(session_billed_us(&s, s.asked_us + DAY_US), 60 * SECOND_US);
	s.instance_state = I_NONE; /* a void attempt costs nothing */
	s.cost_prior_u6 = 77;
	assert_int_equal(session_cost_u6(&s, s.asked_us + DAY_US), 77);
	assert_int_equal(cost_of(INT64_C(1) << 40, 8760 * HOUR_US), (INT64_C(1) << 40) * 8760);
}

/* The bill is split where the price or the rate changed, and nothing is priced anew. */
static void rates_split_the_bill(void **state)
{
	struct session s;
	int64_t t = 1000 * SECOND_US;

	(void)state;
	session_init(&s);
	s.instance_state = I_EXISTS;
	s.asked_us = s.bought_us = t;
	s.price_u6 = 3600000; /* a micro-dollar a millisecond */
	s.expires_us = t + HOUR_US;
	assert_int_equal(session_cost_max_u6(&s), 3600000);
	assert_false(session_charge(&s, 3600000, UNKNOWN, t + 10 * SECOND_US));
	/* Ten seconds at the price, twenty at a tenth of it (loading), then the price again. */
	assert_true(session_charge(&s, 3600000, 360000, t + 10 * SECOND_US));
	assert_int_equal(session_cost_u6(&s, t + 20 * SECOND_US), 11000);
	assert_true(session_charge(&s, 3600000, UNKNOWN, t + 30 * SECOND_US));
	assert_int_equal(session_cost_u6(&s, t + 40 * SECOND_US), 22000);
	assert_int_equal(session_cost_max_u6(&s), 12000 + 3570000);
	/* Offline costs nothing: zero is not absent. */
	assert_true(session_charge(&s, 3600000, 0, t + 40 * SECOND_US));
	assert_int_equal(session_cost_u6(&s, t + HOUR_US), 22000);
	s.instance_state = I_GONE;
	s.gone_us = t + HOUR_US;
	assert_int_equal(session_cost_u6(&s, t + DAY_US), 22000);
	s.instance_state = I_NONE; /* a void attempt */
	assert_int_equal(session_cost_u6(&s, t + DAY_US), 0);
}

/* A change of price or status splits the bill where it happened. */
static void money_by_status(void **state)
{
	const int64_t t0 = 1000 * SECOND_US;
	struct session s;

	(void)state;
	session_init(&s);
	s.price_u6 = 900000;
	s.bought_us = s.asked_us = t0;
	s.expires_us = t0 + 4 * HOUR_US;
	s.instance_state = I_EXISTS;
	assert_int_equal(session_rate_u6(&s), 900000);
	assert_true(session_charge(&s, 900000, 90000, t0)); /* it boots: the disk alone */
	assert_false(session_charge(&s, 900000, 90000, t0 + 5));
	assert_int_equal(session_cost_u6(&s, t0 + HOUR_US), 90000);
	assert_true(session_charge(&s, 900000, UNKNOWN, t0 + HOUR_US));
	assert_int_equal(session_cost_u6(&s, t0 + 2 * HOUR_US), 990000);
	assert_true(session_charge(&s, 900000, 0, t0 + 2 * HOUR_US)); /* offline */
	assert_int_equal(session_rate_u6(&s), 0);
	assert_int_equal(session_cost_u6(&s, t0 + 3 * HOUR_US), 990000);
	/* At the most it runs from now on. */
	assert_int_equal(session_cost_max_u6(&s), 990000 + 2 * 900000);
	s.instance_state = I_GONE;
	s.delete_us = s.gone_us = t0 + 3 * HOUR_US;
	assert_int_equal(session_cost_u6(&s, t0 + DAY_US), 990000);
	assert_int_equal(session_billed_us(&s, t0 + DAY_US), 3 * HOUR_US);
}

/* Every row: what is recorded, what is seen, whose it is. */
static void marks(void **state)
{
	static const struct {
		int64_t attempt;
		enum instance_state instance;
		const char *id;
		int64_t seen_attempt;
		const char *seen_id;
		enum mark want;
	} rows[] = {
		{1, I_EXISTS, "7", 1, "7", MARK_OURS}, {1, I_ASKED, "", 1, "7", MARK_OURS},
		{1, I_UNSURE, "", 1, "7", MARK_OURS},  {1, I_EXISTS, "7", 1, "8", MARK_LATE},
		{1, I_GONE, "7", 1, "8", MARK_LATE},   {2, I_EXISTS, "9", 1, "7", MARK_LATE},
		{2, I_ASKED, "", 1, "7", MARK_LATE},   {1, I_NONE, "", 1, "7", MARK_LATE},
		{1, I_GONE, "7", 1, "7", MARK_RISEN},  {1, I_EXISTS, "7", 2, "8", MARK_NEWER},
		{0, I_NONE, "", 1, "7", MARK_NEWER},
	};

	(void)state;
	assert_int_equal(session_mark(NULL, 1, "7"), MARK_ORPHAN);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct session s;

		session_init(&s);
		s.attempt = rows[i].attempt;
		s.instance_state = rows[i].instance;
		COPY(s.instance_id, rows[i].id);
		assert_int_equal(session_mark(&s, rows[i].seen_attempt, rows[i].seen_id),
				 rows[i].want);
		session_free(&s);
	}
}

static void secrets_are_wiped(void **state)
{
	struct secret k = {0};

	(void)state;
	secret_set(&k, "hush", 4);
	assert_string_equal(k.bytes, "hush");
	secret_wipe(&k);
	assert_null(k.bytes);
	secret_wipe(&k);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_field_survives_the_journal),
		cmocka_unit_test(a_spoilt_row_is_refused),
		cmocka_unit_test(numbers_that_no_sum_could_hold_are_refused),
		cmocka_unit_test(arrows),
		cmocka_unit_test(labels),
		cmocka_unit_test(money),
		cmocka_unit_test(money_by_status),
		cmocka_unit_test(rates_split_the_bill),
		cmocka_unit_test(marks),
		cmocka_unit_test(secrets_are_wiped),
	};

	return cmocka_run_group_tests_name("session", tests, NULL, NULL);
}
