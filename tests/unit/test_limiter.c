/* Buckets and breakers in time that the test moves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "../../src/core/limiter.h"

#include <cmocka.h>

#define T0 (1000 * SECOND_US) /* any moment */

static struct bucket a_bucket(int64_t spacing_us, int64_t burst)
{
	struct bucket b;

	bucket_init(&b, spacing_us, burst);
	return b;
}

static void spacing_is_exact(void **state)
{
	struct bucket b = a_bucket(4500000, 1);
	int64_t now = T0;

	(void)state;
	for (int i = 0; i < 10; i++) {
		assert_int_equal(bucket_wait_us(&b, 0, now), 0);
		bucket_take(&b, now);
		assert_int_equal(bucket_wait_us(&b, 0, now), 4500000);
		assert_int_equal(bucket_wait_us(&b, 0, now + 4499999), 1);
		now += 4500000;
	}
}

static void a_full_bucket_gives_its_burst_and_no_more(void **state)
{
	struct bucket b = a_bucket(SECOND_US, 3);

	(void)state;
	for (int round = 0; round < 3; round++) {
		int64_t now = T0 + round * HOUR_US; /* an hour's rest is no greater burst */

		for (int i = 0; i < 3; i++) {
			assert_int_equal(bucket_wait_us(&b, 0, now), 0);
			bucket_take(&b, now);
		}
		assert_int_equal(bucket_wait_us(&b, 0, now), SECOND_US);
		assert_int_equal(bucket_wait_us(&b, 0, now + SECOND_US), 0);
	}
}

static void the_reserve_is_left_to_those_who_may_take_it(void **state)
{
	struct bucket b = a_bucket(SECOND_US, 2);

	(void)state;
	assert_int_equal(bucket_wait_us(&b, 1, T0), 0);
	bucket_take(&b, T0);
	assert_int_equal(bucket_wait_us(&b, 1, T0), SECOND_US);
	assert_int_equal(bucket_wait_us(&b, 0, T0), 0);
	bucket_take(&b, T0);
	assert_int_equal(bucket_wait_us(&b, 0, T0), SECOND_US);
	assert_int_equal(bucket_wait_us(&b, 1, T0), 2 * SECOND_US);
}

static void no_spacing_is_no_limit(void **state)
{
	struct bucket b = a_bucket(0, 1);

	(void)state;
	for (int i = 0; i < 1000; i++) {
		assert_int_equal(bucket_wait_us(&b, 0, T0), 0);
		bucket_take(&b, T0);
	}
}

static void a_refusal_pauses_for_the_providers_word(void **state)
{
	struct bucket b = a_bucket(SECOND_US, 1);

	(void)state;
	assert_int_equal(bucket_refused(&b, 7 * SECOND_US, 12 * SECOND_US, T0, 0), 7 * SECOND_US);
	assert_int_equal(bucket_pause_us(&b, T0), 19 * SECOND_US);
	assert_int_equal(bucket_pause_us(&b, T0 + 19 * SECOND_US), 0);
	assert_int_equal(bucket_refused(&b, DAY_US, 0, T0, 0), 15 * MINUTE_US); /* bounded */
	assert_int_equal(bucket_refused(&b, INT64_MAX, 0, T0, 0), 15 * MINUTE_US);
	bucket_hold(&b, T0 + 1); /* never shorter */
	assert_int_equal(bucket_pause_us(&b, T0), 15 * MINUTE_US);
}

static void refusals_without_a_word_pause_longer_and_longer(void **state)
{
	static const int64_t tops[] = {2, 4, 8, 16, 32, 60, 60, 60};

	(void)state;
	for (unsigned chance = 0; chance < 3; chance++) {
		static const uint32_t chances[] = {0, UINT32_MAX / 2, UINT32_MAX};
		struct bucket b = a_bucket(SECOND_US, 1);

		for (size_t i = 0; i < sizeof tops / sizeof tops[0]; i++) {
			int64_t top = tops[i] * SECOND_US;
			int64_t us = bucket_refused(&b, i % 2 ? UNKNOWN : 0, 0, T0,
						    chances[chance]);

			assert_in_range(us, top / 2, top);
			if (chance != 1)
				assert_int_equal(us, chance ? top : top / 2);
		}
		bucket_accepted(&b);
		assert_in_range(bucket_refused(&b, UNKNOWN, 0, T0, chances[chance]), SECOND_US,
				2 * SECOND_US);
		b.refusals = UINT32_MAX; /* no overflow after years */
		assert_in_range(bucket_refused(&b, UNKNOWN, 0, T0, chances[chance]), 30 * SECOND_US,
				60 * SECOND_US);
	}
}

static void jitter_is_full(void **state)
{
	(void)state;
	assert_int_equal(full_jitter_us(SECOND_US / 2, MINUTE_US, 0, 0), 0);
	assert_int_equal(full_jitter_us(SECOND_US / 2, MINUTE_US, 0, UINT32_MAX), SECOND_US / 2);
	assert_int_equal(full_jitter_us(SECOND_US / 2, MINUTE_US, 2, UINT32_MAX), 2 * SECOND_US);
	assert_int_equal(full_jitter_us(SECOND_US / 2, MINUTE_US, 4000000000u, UINT32_MAX),
			 MINUTE_US);
}

static void fail_times(struct breaker *b, int n, int64_t now)
{
	for (int i = 0; i < n; i++)
		assert_false(breaker_outcome(b, true, now));
}

static void five_failures_in_a_row_open_it(void **state)
{
	struct breaker b = {0};

	(void)state;
	fail_times(&b, 4, T0);
	assert_false(breaker_outcome(&b, false, T0)); /* not in a row */
	fail_times(&b, 4, T0);
	assert_true(breaker_passes(&b, T0));
	assert_true(breaker_outcome(&b, true, T0));
	assert_int_equal(breaker_state(&b, T0), BREAKER_OPEN);
	assert_false(breaker_passes(&b, T0 + 5 * SECOND_US - 1));
	assert_true(breaker_passes(&b, T0 + 5 * SECOND_US));
}

static void half_open_lets_one_through_and_doubles(void **state)
{
	static const int64_t rests[] = {5, 10, 20, 40, 60, 60};
	struct breaker b = {0};
	int64_t now = T0;

	(void)state;
	fail_times(&b, 4, now);
	assert_true(breaker_outcome(&b, true, now));
	for (size_t i = 0; i < sizeof rests / sizeof rests[0]; i++) {
		assert_false(breaker_passes(&b, now + rests[i] * SECOND_US - 1));
		assert_false(breaker_outcome(&b, true, now)); /* a late one changes nothing */
		now += rests[i] * SECOND_US;
		assert_int_equal(breaker_state(&b, now), BREAKER_HALF_OPEN);
		assert_true(breaker_passes(&b, now));
		breaker_sent(&b, now);
		assert_false(breaker_passes(&b, now)); /* one */
		assert_true(breaker_outcome(&b, true, now));
	}
	now += 60 * SECOND_US;
	breaker_sent(&b, now);
	assert_false(breaker_outcome(&b, false, now));
	assert_int_equal(breaker_state(&b, now), BREAKER_CLOSED);
	fail_times(&b, 4, now); /* and everything starts over */
	assert_true(breaker_outcome(&b, true, now));
	assert_true(breaker_passes(&b, now + 5 * SECOND_US));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(spacing_is_exact),
		cmocka_unit_test(a_full_bucket_gives_its_burst_and_no_more),
		cmocka_unit_test(the_reserve_is_left_to_those_who_may_take_it),
		cmocka_unit_test(no_spacing_is_no_limit),
		cmocka_unit_test(a_refusal_pauses_for_the_providers_word),
		cmocka_unit_test(refusals_without_a_word_pause_longer_and_longer),
		cmocka_unit_test(jitter_is_full),
		cmocka_unit_test(five_failures_in_a_row_open_it),
		cmocka_unit_test(half_open_lets_one_through_and_doubles),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
