/*
 * Metrics: the table of what is declared, the counters and histograms that are kept, and the text of
 * all of it for Prometheus. Owner: the loop thread.
 *
 * Invariants: gauges are never kept, they are asked for at every scrape, so none can drift from the
 * state (lessons.md F: +1/-1 bookkeeping went negative). Nothing negative is ever shown, and a
 * counter only grows; it begins at 0 with each start of the daemon, as Prometheus expects. Label
 * values are cleaned, cut to LABEL_BYTES and bounded in number: what comes on top of the bound goes
 * to the label value "other", so that no request from outside can fill the memory. Without memory a
 * sample is dropped, never the work that it counts. Tests: tests/unit/test_metrics.c,
 * tests/unit/test_engine_metrics.c, tests/mount/metrics.bats.
 */
#include "metrics.h"

#include <string.h>

#include "check.h"
#include "text.h"
#include "text_parts.h"

#define LABEL_BYTES 64 /* of one value, with its NUL */
#define BOUNDS_MAX  16
#define OTHER	    "other"

const struct metric_info metric_table[METRIC_COUNT] = {
#define X(id, name_, type_, unit_, labels_, help_) \
	[METRIC_##id] = {name_, labels_, help_, type_, unit_},
	METRIC_TABLE(X)
#undef X
};

/* Upper bounds of the buckets, in the stored unit; 0 ends a list. */
static const int64_t bounds_answer[BOUNDS_MAX] = {/* of a server: 1 ms to 60 s */
						  1000,	   5000,     10000,    25000,	50000,
						  100000,  250000,   500000,   1000000, 2500000,
						  5000000, 10000000, 30000000, 60000000};
static const int64_t bounds_boot[BOUNDS_MAX] = {/* of a machine: 1 s to 30 min */
						1000000,   2000000,   5000000,	 10000000,
						20000000,  30000000,  60000000,	 90000000,
						120000000, 180000000, 300000000, 600000000,
						900000000, 1800000000};
static const int64_t bounds_count[BOUNDS_MAX] = {1, 2, 3, 5, 10, 20, 30, 50, 100, 200};

static const int64_t *const bounds[METRIC_COUNT] = {
	[METRIC_SSH_DURATION] = bounds_boot, [METRIC_SSH_ATTEMPTS] = bounds_count,
	[METRIC_PROVISIONING] = bounds_boot, [METRIC_API_TIME] = bounds_answer,
	[METRIC_HTTP_TIME] = bounds_answer,
};

struct series {
	char label[METRIC_LABELS_MAX][LABEL_BYTES];
	int64_t value;		       /* of a histogram: the sum */
	int64_t count, in[BOUNDS_MAX]; /* of a histogram; in[] is per bucket, not cumulative */
};
struct family {
	struct series *at;
	size_t n, room;
};
struct metrics {
	struct family kept[METRIC_COUNT];
	struct metric_source *sources;
};
struct metric_sink {
	struct family got[METRIC_COUNT];
};

/* ---- label sets ---- */

static size_t label_count(enum metric id)
{
	size_t n = metric_table[id].labels[0] != '\0';

	for (const char *p = metric_table[id].labels; *p; p++)
		n += *p == ',';
	CHECK(n <= METRIC_LABELS_MAX);
	return n;
}

/* Control characters and broken UTF-8 become '?': a label may come from a provider or a client, and
 * the file is read on terminals. Cut between characters. */
static void label_clean(char out[LABEL_BYTES], const char *s)
{
	size_t at = 0, n;

	if (!s)
		s = "";
	n = strnlen(s, LABEL_BYTES * 2); /* more cannot fit anyway */
	for (size_t i = 0; i < n;) {
		int step = utf8_step(s + i, n - i);
		bool bad = step <= 0 || utf8_is_control(s + i, step);
		size_t k = step <= 0 ? 1 : (size_t)step;

		if (at + (bad ? 1 : k) >= LABEL_BYTES)
			break;
		if (bad)
			out[at++] = '?';
		else
			memcpy(out + at, s + i, k);
		at += bad ? 0 : k;
		i += k;
	}
	out[at] = '\0';
}

static struct series *family_find(const struct family *f, const struct series *like, size_t labels)
{
	for (size_t i = 0; i < f->n; i++) {
		size_t k = 0;

		while (k < labels && !strcmp(f->at[i].label[k], like->label[k]))
			k++;
		if (k == labels)
			return &f->at[i];
	}
	return NULL;
}

/* The series of these labels, made if there is room, else the one called "other". NULL: no memory. */
static struct series *family_series(struct family *f, enum metric id, const char *const values[])
{
	size_t labels = label_count(id);
	struct series like = {0}, *s;

	for (size_t k = 0; k < labels && k < METRIC_LABELS_MAX; k++)
		label_clean(like.label[k], values[k]);
	s = family_find(f, &like, labels);
	if (s)
		return s;
	if (f->n >= METRIC_SERIES_MAX - 1) {
		for (size_t k = 0; k < labels; k++)
			label_clean(like.label[k], OTHER);
		s = family_find(f, &like, labels);
		if (s)
			return s;
	}
	CHECK(f->n < METRIC_SERIES_MAX);
	if (f->n == f->room) {
		size_t room = f->room ? f->room * 2 : 4;
		struct series *at = reallocarray(f->at, room, sizeof *at);

		if (!at)
			return NULL;
		f->at = at;
		f->room = room;
	}
	CHECK(f->at);
	f->at[f->n] = like;
	return &f->at[f->n++];
}

static void families_free(struct family families[METRIC_COUNT])
{
	for (size_t i = 0; i < METRIC_COUNT; i++)
		free(families[i].at);
}

/* A counter that is full stays full: it never turns around. */
static void add_to(int64_t *to, int64_t n)
{
	if (__builtin_add_overflow(*to, n, to))
		*to = INT64_MAX;
}

/* ---- what is counted ---- */

struct metrics *metrics_new(void)
{
	return xcalloc(1, sizeof(struct metrics));
}

void metrics_free(struct metrics *m)
{
	if (!m)
		return;
	families_free(m->kept);
	free(m);
}

void metric_add(struct metrics *m, enum metric id, const char *a, const char *b, const char *c,
		int64_t n)
{
	const char *const values[METRIC_LABELS_MAX] = {a, b, c};
	struct series *s;

	CHECK(id < METRIC_COUNT && metric_table[id].type == M_COUNTER && n >= 0);
	s = m ? family_series(&m->kept[id], id, values) : NULL;
	if (s)
		add_to(&s->value, n);
}

void metric_observe(struct metrics *m, enum metric id, const char *a, const char *b, int64_t v)
{
	const char *const values[METRIC_LABELS_MAX] = {a, b, NULL};
	struct series *s;
	size_t i = 0;

	CHECK(id < METRIC_COUNT && metric_table[id].type == M_HISTOGRAM && bounds[id]);
	s = m ? family_series(&m->kept[id], id, values) : NULL;
	if (!s)
		return;
	if (v < 0) /* a wall clock that stepped back: no time has passed */
		v = 0;
	add_to(&s->value, v);
	add_to(&s->count, 1);
	while (i < BOUNDS_MAX - 1 && bounds[id][i] && v > bounds[id][i])
		i++;
	if (bounds[id][i])
		add_to(&s->in[i], 1);
}

/* ---- what is asked for at scrape time ---- */

void metric_put(struct metric_sink *sink, enum metric id, const char *a, const char *b, int64_t v)
{
	const char *const values[METRIC_LABELS_MAX] = {a, b, NULL};
	struct series *s;

	CHECK(id < METRIC_COUNT && metric_table[id].type != M_HISTOGRAM);
	if (v < 0) /* UNKNOWN is absent, not zero */
		return;
	s = family_series(&sink->got[id], id, values);
	if (s)
		add_to(&s->value, v);
}

void metrics_add_source(struct metrics *m, struct metric_source *src)
{
	src->next = m->sources;
	m->sources = src;
}

/* ---- the text ---- */

static void put_value(struct buf *out, enum metric_unit unit, int64_t v)
{
	int64_t rest = v % 1000000;
	int digits = 6;

	if (unit == MU_NONE) {
		buf_printf(out, "%lld", (long long)v);
		return;
	}
	buf_printf(out, "%lld", (long long)(v / 1000000)); /* micro-dollars, microseconds */
	if (!rest)
		return;
	for (; rest % 10 == 0; digits--)
		rest /= 10;
	buf_printf(out, ".%0*lld", digits, (long long)rest);
}

static void put_label(struct buf *out, const char *name, size_t n, const char *value)
{
	buf_add(out, name, n);
	buf_puts(out, "=\"");
	for (; *value; value++) {
		if (*value == '"' || *value == '\\')
			buf_putc(out, '\\');
		buf_putc(out, *value);
	}
	buf_putc(out, '"');
}

/* {a="x",b="y"}, with one more label if `le` is given; nothing if there are none. */
static void put_labels(struct buf *out, enum metric id, const struct series *s, const char *le)
{
	const char *name = metric_table[id].labels;
	size_t labels = label_count(id);

	if (!labels && !le)
		return;
	buf_putc(out, '{');
	for (size_t k = 0; k < labels; k++) {
		size_t n = strcspn(name, ",");

		put_label(out, name, n, s->label[k]);
		name += n + (name[n] == ',');
		if (k + 1 < labels || le)
			buf_putc(out, ',');
	}
	if (le)
		put_label(out, "le", 2, le);
	buf_putc(out, '}');
}

static void put_histogram(struct buf *out, enum metric id, const struct series *s)
{
	const struct metric_info *info = &metric_table[id];
	int64_t below = 0;

	CHECK(bounds[id]);
	for (size_t i = 0; i < BOUNDS_MAX && bounds[id][i]; i++) {
		BUF le = {.max = 64};

		below += s->in[i];
		put_value(&le, info->unit, bounds[id][i]);
		buf_printf(out, "%s_bucket", info->name);
		put_labels(out, id, s, le.data ? le.data : "");
		buf_printf(out, " %lld\n", (long long)below);
	}
	buf_printf(out, "%s_bucket", info->name);
	put_labels(out, id, s, "+Inf");
	buf_printf(out, " %lld\n%s_sum", (long long)s->count, info->name);
	put_labels(out, id, s, NULL);
	buf_putc(out, ' ');
	put_value(out, info->unit, s->value);
	buf_printf(out, "\n%s_count", info->name);
	put_labels(out, id, s, NULL);
	buf_printf(out, " %lld\n", (long long)s->count);
}

static const char *type_word(const struct metric_info *info)
{
	size_t n = strlen(info->name);

	switch (info->type) {
	case M_COUNTER:
		/* gpu_ssh_verify_errors_by_type has the predecessor's name, so dashboards find it;
		 * promtool wants _total of a counter, and takes any name of an untyped one. */
		return n > 6 && !strcmp(info->name + n - 6, "_total") ? "counter" : "untyped";
	case M_GAUGE:
		return "gauge";
	case M_HISTOGRAM:
		return "histogram";
	}
	return "untyped";
}

static void put_family(struct buf *out, enum metric id, const struct family *f)
{
	const struct metric_info *info = &metric_table[id];

	if (!f->n)
		return;
	buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", info->name, info->help, info->name,
		   type_word(info));
	for (size_t i = 0; i < f->n; i++) {
		if (info->type == M_HISTOGRAM) {
			put_histogram(out, id, &f->at[i]);
			continue;
		}
		buf_puts(out, info->name);
		put_labels(out, id, &f->at[i], NULL);
		buf_putc(out, ' ');
		put_value(out, info->unit, f->at[i].value);
		buf_putc(out, '\n');
	}
}

void metrics_text(struct metrics *m, struct buf *out)
{
	struct metric_sink sink = {0};

	for (struct metric_source *src = m->sources; src; src = src->next)
		src->collect(src, &sink);
	for (size_t i = 0; i < METRIC_COUNT; i++) {
		/* Either somebody keeps it here or somebody tells it: never both. */
		CHECK(!m->kept[i].n || !sink.got[i].n);
		put_family(out, (enum metric)i, m->kept[i].n ? &m->kept[i] : &sink.got[i]);
	}
	families_free(sink.got);
}
