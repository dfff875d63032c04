/*
 * The table of metrics, what is counted, and the text: bounds, escaping, numbers, and that nothing is
 * shown that has no sample. Pure core, no world at all.
 */
#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "../../src/core/check.h"
#include "../../src/core/metrics.h"

#include <cmocka.h>

static struct metrics *m;

static int begin(void **state)
{
	(void)state;
	m = metrics_new();
	return 0;
}

static int end(void **state)
{
	(void)state;
	metrics_free(m);
	return 0;
}

static char text[1 << 20];

static const char *scrape(void)
{
	BUF out = {0};

	metrics_text(m, &out);
	assert_false(out.failed);
	assert_true(out.len < sizeof text);
	memcpy(text, out.data ? out.data : "", out.len + 1);
	return text;
}

static void has(const char *line)
{
	BUF want = {0};

	buf_printf(&want, "\n%s\n", line);
	scrape();
	if (!strstr(text, want.data))
		fail_msg("no line '%s' in:\n%s", line, text);
}

static size_t lines_with(const char *start)
{
	size_t n = 0;

	scrape();
	for (const char *p = text; p; p = strchr(p, '\n') ? strchr(p, '\n') + 1 : NULL)
		n += !strncmp(p, start, strlen(start));
	return n;
}

/* ---- the table ---- */

static bool name_good(const char *s, size_t n, bool label)
{
	for (size_t i = 0; i < n; i++)
		if (!islower((unsigned char)s[i]) && s[i] != '_' &&
		    !(i > 0 && isdigit((unsigned char)s[i])))
			return false;
	return n > 0 && !(label && n > 1 && s[0] == '_' && s[1] == '_');
}

static void the_table_is_well_formed(void **state)
{
	(void)state;
	for (size_t i = 0; i < METRIC_COUNT; i++) {
		const struct metric_info *t = &metric_table[i];
		size_t labels = 0;

		assert_true(name_good(t->name, strlen(t->name), false));
		assert_true(t->help[0] && !strpbrk(t->help, "\n\\"));
		for (const char *p = t->labels; *p; labels++) {
			size_t n = strcspn(p, ",");

			assert_true(name_good(p, n, true));
			assert_false(n == 2 && !strncmp(p, "le", 2));
			p += n + (p[n] == ',');
		}
		assert_true(labels <= METRIC_LABELS_MAX);
		/* metric_observe and metric_put take two */
		assert_true(labels <= 2 || t->type == M_COUNTER);
		for (size_t k = 0; k < i; k++)
			assert_string_not_equal(t->name, metric_table[k].name);
	}
}

static void without_samples_there_is_no_text(void **state)
{
	(void)state;
	assert_string_equal(scrape(), "");
}

/* ---- counters ---- */

static void counters_add_up_by_labels(void **state)
{
	(void)state;
	metric_add(m, METRIC_HTTP_REQUESTS, "GET", "/health", "200", 1);
	metric_add(m, METRIC_HTTP_REQUESTS, "GET", "/health", "200", 2);
	metric_add(m, METRIC_HTTP_REQUESTS, "GET", "/health", "503", 1);
	has("http_requests_total{method=\"GET\",path=\"/health\",status=\"200\"} 3");
	has("http_requests_total{method=\"GET\",path=\"/health\",status=\"503\"} 1");
	has("# TYPE http_requests_total counter");
	assert_int_equal(lines_with("# TYPE"), 1);
	assert_int_equal(lines_with("# HELP"), 1);
}

static void a_full_counter_does_not_turn_around(void **state)
{
	(void)state;
	metric_add(m, METRIC_GHOSTS_DETECTED, "p", NULL, NULL, INT64_MAX - 1);
	metric_add(m, METRIC_GHOSTS_DETECTED, "p", NULL, NULL, 7);
	has("gpu_ghosts_detected_total{provider=\"p\"} 9223372036854775807");
}

static void a_name_without_total_is_no_counter_to_promtool(void **state)
{
	(void)state;
	metric_add(m, METRIC_SSH_ERRORS, "p", "no_answer", NULL, 1);
	has("# TYPE gpu_ssh_verify_errors_by_type untyped");
	has("gpu_ssh_verify_errors_by_type{provider=\"p\",error_type=\"no_answer\"} 1");
}

static void nobody_has_to_count(void **state)
{
	(void)state;
	metric_add(NULL, METRIC_HARD_MAX, "p", NULL, NULL, 1);
	metric_observe(NULL, METRIC_PROVISIONING, "p", NULL, 1);
	metrics_free(NULL);
}

/* ---- labels ---- */

static void label_values_are_bounded_in_number(void **state)
{
	char path[32];
	int64_t sum = 0;

	(void)state;
	for (int i = 0; i < 1000; i++) {
		snprintf(path, sizeof path, "/%d", i);
		metric_add(m, METRIC_HTTP_REQUESTS, "GET", path, "200", 1);
	}
	assert_int_equal(lines_with("http_requests_total{"), METRIC_SERIES_MAX);
	snprintf(path, sizeof path, "%d", 1000 - (METRIC_SERIES_MAX - 1));
	BUF line = {0};
	buf_printf(&line,
		   "http_requests_total{method=\"other\",path=\"other\",status=\"other\"} %s",
		   path);
	has(line.data);
	/* What was known before goes on being counted by itself, and nothing is lost. */
	metric_add(m, METRIC_HTTP_REQUESTS, "GET", "/0", "200", 1);
	has("http_requests_total{method=\"GET\",path=\"/0\",status=\"200\"} 2");
	scrape();
	for (const char *p = text; (p = strstr(p, "\nhttp_requests_total{")); p++)
		sum += strtoll(strstr(p, "} ") + 2, NULL, 10);
	assert_int_equal(sum, 1001);
}

static void label_values_cannot_forge_a_line(void **state)
{
	(void)state;
	metric_add(m, METRIC_ORPHANS_DETECTED, "a\"b\\c\nd\x1b\xff\xc3\xa9", NULL, NULL, 1);
	has("gpu_orphans_detected_total{provider=\"a\\\"b\\\\c?d??\xc3\xa9\"} 1");
	assert_int_equal(lines_with(""), 4); /* help, type, sample, and the end */
}

static void label_values_are_cut_between_characters(void **state)
{
	char in[300], *at, *stop;

	(void)state;
	memset(in, 'x', 62);
	memcpy(in + 62, "\xc3\xa9\xc3\xa9", 5);
	metric_add(m, METRIC_ORPHANS_DETECTED, in, NULL, NULL, 1);
	memset(in, 'x', sizeof in - 1);
	in[sizeof in - 1] = '\0';
	metric_add(m, METRIC_ORPHANS_DETECTED, in, NULL, NULL, 1);
	scrape();
	at = strstr(text, "provider=\"") + 10;
	stop = strchr(at, '"');
	assert_int_equal(stop - at, 62);
	assert_non_null(strstr(stop, "xxx\"} 1\n"));
	metric_add(m, METRIC_ORPHANS_DETECTED, NULL, NULL, NULL, 1);
	has("gpu_orphans_detected_total{provider=\"\"} 1");
}

/* ---- histograms ---- */

static void buckets_are_cumulative(void **state)
{
	static const int64_t waits_us[] = {0, 1000, 1001, 4000000, 60000000, 60000001, -5};
	int64_t last = 0, n, buckets = 0;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(waits_us); i++)
		metric_observe(m, METRIC_API_TIME, "p", "list", waits_us[i]);
#define API "gpu_provider_api_response_time_seconds"
#define OF  "{provider=\"p\",operation=\"list\""
	has("# TYPE " API " histogram");
	has(API "_bucket" OF ",le=\"0.001\"} 3"); /* 0, 1000, and the clock that stepped back */
	has(API "_bucket" OF ",le=\"0.005\"} 4");
	has(API "_bucket" OF ",le=\"5\"} 5");
	has(API "_bucket" OF ",le=\"60\"} 6");
	has(API "_bucket" OF ",le=\"+Inf\"} 7");
	has(API "_count" OF "} 7");
	has(API "_sum" OF "} 124.002002");
	for (const char *p = scrape(); (p = strstr(p, "_bucket{")); p++, buckets++) {
		n = strtoll(strstr(p, "} ") + 2, NULL, 10);
		assert_true(n >= last);
		last = n;
	}
	assert_int_equal(buckets, 15);
}

static void every_histogram_has_bounds_that_rise(void **state)
{
	(void)state;
	for (size_t i = 0; i < METRIC_COUNT; i++)
		if (metric_table[i].type == M_HISTOGRAM)
			metric_observe(m, (enum metric)i, "a", "b", INT64_MAX);
	for (const char *p = scrape(); (p = strstr(p, "le=\"")); p++) {
		const char *next = strstr(p + 1, "le=\"");

		if (strncmp(p, "le=\"+Inf", 8) && next)
			assert_true(!strncmp(next, "le=\"+Inf", 8) ||
				    strtod(p + 4, NULL) < strtod(next + 4, NULL));
	}
	has("gpu_ssh_verify_attempts_bucket{provider=\"a\",le=\"200\"} 0");
	has("gpu_ssh_verify_attempts_sum{provider=\"a\"} 9223372036854775807");
}

/* ---- gauges ---- */

struct told {
	struct metric_source src;
	int64_t cost_u6, age_us, alarms;
	int asked;
};

static void tell_all(struct metric_source *src, struct metric_sink *sink)
{
	struct told *t = container_of(src, struct told, src);

	t->asked++;
	metric_put(sink, METRIC_COST_ACCRUED, "p", NULL, t->cost_u6);
	metric_put(sink, METRIC_LIST_AGE, "p", NULL, t->age_us);
	metric_put(sink, METRIC_ALARMS, NULL, NULL, t->alarms);
}

static void gauges_are_asked_for_at_each_scrape(void **state)
{
	struct told t = {.src = {.collect = tell_all}, .cost_u6 = 1250000, .age_us = -1};

	(void)state;
	metrics_add_source(m, &t.src);
	has("gpu_cost_accrued_usd{provider=\"p\"} 1.25");
	has("gpufs_alarms 0");
	assert_int_equal(lines_with("gpufs_offers_age_seconds"), 0); /* unknown is absent */
	t = (struct told){.src = t.src, .cost_u6 = 1, .age_us = 61000000, .alarms = 3};
	has("gpu_cost_accrued_usd{provider=\"p\"} 0.000001");
	has("gpufs_offers_age_seconds{provider=\"p\"} 61");
	has("gpufs_alarms 3");
	assert_int_equal(t.asked, 3);
}

static void what_several_say_is_added(void **state)
{
	struct told a = {.src = {.collect = tell_all}, .cost_u6 = 500000, .age_us = -1};
	struct told b = {.src = {.collect = tell_all}, .cost_u6 = 700000, .age_us = -1};

	(void)state;
	metrics_add_source(m, &a.src);
	metrics_add_source(m, &b.src);
	has("gpu_cost_accrued_usd{provider=\"p\"} 1.2");
	assert_int_equal(lines_with("gpu_cost_accrued_usd{"), 1);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, begin, end)
	const struct CMUnitTest tests[] = {
		T(the_table_is_well_formed),
		T(without_samples_there_is_no_text),
		T(counters_add_up_by_labels),
		T(a_full_counter_does_not_turn_around),
		T(a_name_without_total_is_no_counter_to_promtool),
		T(nobody_has_to_count),
		T(label_values_are_bounded_in_number),
		T(label_values_cannot_forge_a_line),
		T(label_values_are_cut_between_characters),
		T(buckets_are_cumulative),
		T(every_histogram_has_bounds_that_rise),
		T(gauges_are_asked_for_at_each_scrape),
		T(what_several_say_is_added),
	};

	return cmocka_run_group_tests_name("metrics", tests, NULL, NULL);
}
