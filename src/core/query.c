/*
 * Selections (query.h): the table of keys, how their values are read, and what they match. The same
 * code serves search/ and a purchase, so what is shown is what is taken. An offer that does not say
 * a value never satisfies a condition on it. Pure; any thread. Tests: tests/unit/test_query.c.
 */
#include "query.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "check.h"
#include "text_parts.h"

#define COUNT_MAX    1024   /* GPUs in one machine */
#define GB_MAX	     100000 /* memory of one GPU */
#define CUDA_MAX_M   1000000
#define MODEL_TOKENS 16

const struct query_key_info query_keys[Q_KEY_COUNT] = {
	[Q_PROVIDER] = {"provider", NULL, "offers of this provider only", V_TEXT},
	[Q_GPU] = {"gpu", NULL,
		   "model, in every form factor and memory size; ==MODEL means exactly this one",
		   V_TEXT},
	[Q_GPU_COUNT] = {"gpu_count", NULL, "exactly so many GPUs", V_INT},
	[Q_MIN_GPU_COUNT] = {"min_gpu_count", NULL, "at least so many GPUs", V_INT},
	[Q_MIN_VRAM] = {"min_vram", "GB", "at least so much memory on each GPU", V_INT},
	[Q_MAX_VRAM] = {"max_vram", "GB", "at most so much memory on each GPU", V_INT},
	[Q_MAX_PRICE] = {"max_price", "USD/h", "at most this price, a hard cap", V_MONEY},
	[Q_LOCATION] = {"location", NULL, "a part of the place's name", V_TEXT},
	[Q_MIN_RELIABILITY] = {"min_reliability", NULL, "at least this rating, 0 to 1", V_DECIMAL},
	[Q_MIN_CONFIDENCE] = {"min_confidence", NULL,
			      "at least this availability_confidence, 0 to 1", V_DECIMAL},
	[Q_MIN_CUDA] = {"min_cuda", NULL, "at least this CUDA version", V_DECIMAL},
	[Q_INTERRUPTIBLE] = {"interruptible", NULL,
			     "1: only machines that may be taken away; 0 or absent: only others",
			     V_BOOL},
};

int query_key_find(struct str key)
{
	for (int i = 0; i < Q_KEY_COUNT; i++)
		if (str_is(key, query_keys[i].name))
			return i;
	return -1;
}

/* ---- models ---- */

/* Makers and families that some providers put in front of the model and others leave out. */
static const char *const vendor_words[] = {"nvidia", "corporation", "geforce",	"tesla", "quadro",
					   "amd",    "radeon",	    "instinct", "intel"};

static const char *vendor_skip(const char *folded)
{
	for (size_t i = 0; i < ARRAY_LEN(vendor_words);) {
		size_t n = strlen(vendor_words[i]);

		if (strlen(folded) > n && memcmp(folded, vendor_words[i], n) == 0) {
			folded += n;
			i = 0;
		} else {
			i++;
		}
	}
	return folded;
}

static size_t digits_at(const char *s)
{
	return strspn(s, "0123456789");
}

/* A form factor, kind of memory or memory size: it does not make another card. This is a list of
 * what is allowed, not of what is not: an unknown suffix makes another model, so that nobody buys a
 * surprise. */
static bool is_qualifier(const char *t)
{
	static const char *const words[] = {"pcie", "pci", "nvl", "nvlink", "oam", "sxm", "hbm"};
	size_t n = digits_at(t);

	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		if (strcmp(t, words[i]) == 0)
			return true;
	if (n > 0 && n <= 4)
		return strcmp(t + n, "gb") == 0 || strcmp(t + n, "g") == 0 ||
		       strcmp(t + n, "gib") == 0;
	if (strncmp(t, "sxm", 3) == 0)
		return digits_at(t + 3) == 1 && t[4] == '\0';
	if (strncmp(t, "hbm", 3) == 0 && digits_at(t + 3) == 1)
		return t[4] == '\0' || strcmp(t + 4, "e") == 0;
	return false;
}

/* A model taken apart: "NVIDIA A100-SXM4-80GB" is base "a100" with the qualifiers sxm4 and 80gb. */
struct model {
	char words[MODEL_TOKENS][64];
	size_t count, base_count;
	char base[64];
};

/* "A100SXM4": a form factor that is stuck to the number in front of it becomes a word. */
static void model_unstick(struct model *m)
{
	static const char *const stuck[] = {"sxm", "pcie", "nvl"};
	char *last = m->words[m->base_count - 1];

	if (m->count == MODEL_TOKENS)
		return;
	for (size_t i = 0; i < ARRAY_LEN(stuck); i++) {
		char *at = strstr(last, stuck[i]);

		if (!at || at == last || !digits_at(at - 1) || !is_qualifier(at))
			continue;
		COPY(m->words[m->count], at);
		m->count++;
		*at = '\0';
		return;
	}
}

static void model_split(const char *text, struct model *m)
{
	size_t n = 0;
	char joined[64];

	m->count = 0;
	while (*text && m->count < MODEL_TOKENS) {
		size_t len = strcspn(text, " _-");
		char word[64];

		copy_text(word, len < sizeof(word) ? len + 1 : sizeof(word), text);
		if (len)
			fold(word, m->words[m->count++], sizeof(m->words[0]));
		text += len + (text[len] != '\0');
	}
	for (m->base_count = m->count; m->base_count > 1; m->base_count--) {
		const char *last = m->words[m->base_count - 1];
		const char *before = m->words[m->base_count - 2];
		bool is_unit = strcmp(last, "gb") == 0 || strcmp(last, "gib") == 0;

		if (is_unit && m->base_count > 2 && digits_at(before) == strlen(before) &&
		    strlen(before) <= 3) { /* "24 GB" */
			snprintf(joined, sizeof(joined), "%.8sgb", before);
			COPY(m->words[m->base_count - 2], joined);
			COPY(m->words[m->base_count - 1], joined);
		} else if (!is_qualifier(last)) {
			break;
		}
	}
	if (m->base_count)
		model_unstick(m);
	joined[0] = '\0';
	for (size_t i = 0; i < m->base_count; i++) {
		n = strlen(joined);
		copy_text(joined + n, sizeof(joined) - n, m->words[i]);
	}
	COPY(m->base, vendor_skip(joined));
}

static bool model_has(const struct model *m, const char *wanted)
{
	for (size_t i = m->base_count; i < m->count; i++) {
		const char *have = m->words[i];

		if (strcmp(have, wanted) == 0)
			return true;
		if ((strcmp(wanted, "sxm") == 0 || strcmp(wanted, "hbm") == 0) &&
		    strncmp(have, wanted, 3) == 0)
			return true;
	}
	return false;
}

bool gpu_model_match(const char *wanted, const char *model, bool exact)
{
	char a[128], b[128];
	struct model w, m;

	fold(wanted, a, sizeof(a));
	fold(model, b, sizeof(b));
	if (strcmp(vendor_skip(a), vendor_skip(b)) == 0)
		return a[0] != '\0';
	if (exact)
		return false;
	if (*vendor_skip(a) != *vendor_skip(b)) /* cheap, and most of a market ends here */
		return false;
	model_split(model, &m);
	model_split(wanted, &w);
	if (!m.base[0] || strcmp(w.base, m.base) != 0)
		return false;
	for (size_t i = w.base_count; i < w.count; i++)
		if (!model_has(&m, w.words[i]))
			return false;
	return true;
}

/* ---- reading ---- */

/* What a number of this key may be; all of them are at least 0. */
static int64_t key_max(enum query_key key)
{
	switch (key) {
	case Q_GPU_COUNT:
	case Q_MIN_GPU_COUNT:
		return COUNT_MAX;
	case Q_MIN_VRAM:
	case Q_MAX_VRAM:
		return GB_MAX;
	case Q_MIN_RELIABILITY:
	case Q_MIN_CONFIDENCE:
		return 1000;
	case Q_MIN_CUDA:
		return CUDA_MAX_M;
	case Q_MAX_PRICE:
	case Q_PROVIDER:
	case Q_GPU:
	case Q_LOCATION:
	case Q_INTERRUPTIBLE:
	case Q_KEY_COUNT:
		break;
	}
	return INT64_MAX;
}

static int read_number(enum query_key key, struct str value, int64_t *num, char text[64],
		       struct error *why)
{
	int64_t max = key_max(key);
	bool yes = false;
	BUF out = {.max = 63};
	int err = 0;

	switch (query_keys[key].type) {
	case V_INT:
		err = parse_int(value, 0, max, num, why);
		if (err == 0)
			buf_printf(&out, "%" PRId64, *num);
		break;
	case V_DECIMAL:
		err = parse_decimal(value, 3, num, why);
		if (err == 0 && *num > max)
			err = fail(why, ERR_RANGE, "must be 0 to %" PRId64, max / 1000);
		if (err == 0)
			put_decimal(&out, *num, 3);
		break;
	case V_MONEY:
		err = parse_money(value, num, why);
		if (err == 0)
			put_money(&out, *num);
		break;
	case V_BOOL:
		err = parse_bool(value, &yes, why);
		*num = yes;
		if (err == 0)
			buf_putc(&out, yes ? '1' : '0');
		break;
	case V_TEXT:
	case V_TIME:
	case V_TABLE:
	case V_JSON:
	case V_LINK:
		return fail(why, ERR_INVALID, "does not hold a number"); /* no key is of these */
	}
	if (err == 0 && (out.failed || !out.data))
		return fail(why, ERR_NO_MEMORY, "out of memory");
	if (err == 0)
		copy_text(text, 64, out.data);
	return err;
}

static int read_text(struct str value, char text[64], struct error *why)
{
	char folded[64];

	if (value.n > 63)
		return fail(why, ERR_INVALID, "is too long; at most 63 bytes are allowed");
	for (size_t i = 0; i < value.n;) {
		int step = utf8_step(value.p + i, value.n - i);

		if (step <= 0)
			return fail(why, ERR_INVALID, "is not valid UTF-8");
		if (utf8_is_control(value.p + i, step))
			return fail(why, ERR_INVALID, "must not hold control characters");
		i += (size_t)step;
	}
	if (value.n)
		memcpy(text, value.p, value.n);
	text[value.n] = '\0';
	fold(text, folded, sizeof(folded));
	if (!folded[0])
		return fail(why, ERR_INVALID, "must not be empty");
	return 0;
}

int query_set(struct query *q, enum query_key key, struct str value, struct error *why)
{
	char text[64], shown[56];
	bool is_text, exact = false;
	struct error inner;
	int64_t num = 0;
	int err;

	CHECK((unsigned)key < Q_KEY_COUNT);
	show_value(shown, sizeof(shown), value);
	is_text = query_keys[key].type == V_TEXT;
	if (key == Q_GPU && value.n && value.p[0] == '=') {
		exact = true;
		value = (struct str){value.p + 1, value.n - 1};
	}
	if (value.n == 0)
		return fail(why, ERR_INVALID, "%s: a value is missing; write %s=VALUE",
			    query_keys[key].name, query_keys[key].name);
	err = is_text ? read_text(value, text, &inner)
		      : read_number(key, value, &num, text, &inner);
	if (err)
		return fail(why, inner.code, "%s=%s: %s", query_keys[key].name, shown, inner.text);
	if (key == Q_GPU)
		q->gpu_exact = exact;
	COPY(q->text[key], text);
	q->num[key] = num;
	q->set |= UINT32_C(1) << key;
	return 0;
}

/* AND of two conditions on one key, since levels of search/ nest: the narrower one, or false if one
 * query cannot say both. */
static bool query_narrow(struct query *q, enum query_key key, const struct query *more)
{
	char a[64], b[64];
	bool take = false;

	switch (key) {
	case Q_MIN_GPU_COUNT:
	case Q_MIN_VRAM:
	case Q_MIN_RELIABILITY:
	case Q_MIN_CONFIDENCE:
	case Q_MIN_CUDA:
		take = more->num[key] > q->num[key];
		break;
	case Q_MAX_VRAM:
	case Q_MAX_PRICE:
		take = more->num[key] < q->num[key];
		break;
	case Q_GPU_COUNT:
	case Q_INTERRUPTIBLE:
		if (more->num[key] != q->num[key])
			return false;
		break;
	case Q_GPU:
		if (gpu_model_match(q->text[key], more->text[key], q->gpu_exact))
			take = more->gpu_exact || !q->gpu_exact;
		else if (!gpu_model_match(more->text[key], q->text[key], more->gpu_exact))
			return false;
		break;
	case Q_PROVIDER:
	case Q_LOCATION:
		fold(q->text[key], a, sizeof(a));
		fold(more->text[key], b, sizeof(b));
		take = key == Q_LOCATION ? strstr(b, a) != NULL : strcmp(a, b) == 0;
		if (!take && (key == Q_PROVIDER || !strstr(a, b)))
			return false;
		break;
	case Q_KEY_COUNT:
		break;
	}
	if (take) {
		COPY(q->text[key], more->text[key]);
		q->num[key] = more->num[key];
		q->gpu_exact = key == Q_GPU ? more->gpu_exact : q->gpu_exact;
	}
	return true;
}

static int fail_unknown_key(struct str key, int column, struct error *why)
{
	char shown[40];
	BUF list = {.max = 320};

	show_value(shown, sizeof(shown), key);
	for (size_t i = 0; i < Q_KEY_COUNT; i++)
		buf_printf(&list, "%s%s", i ? " " : "", query_keys[i].name);
	return fail_at(why, ERR_INVALID, 1, column, "%s: unknown key; a query may use: %s", shown,
		       list.data ? list.data : "");
}

/* One condition, "key=value". */
static int query_parse_part(struct query *q, struct str part, int column, struct error *why)
{
	const char *equals = part.n ? memchr(part.p, '=', part.n) : NULL;
	struct query one = {0};
	struct error inner;
	struct str name, value;
	char shown[40];
	int key;

	if (!equals) {
		show_value(shown, sizeof(shown), part);
		return fail_at(why, ERR_INVALID, 1, column,
			       "%s: a condition must read key=value; several are separated by ','",
			       part.n ? shown : "nothing between two commas");
	}
	name = (struct str){part.p, (size_t)(equals - part.p)};
	value = (struct str){equals + 1, part.n - name.n - 1};
	key = query_key_find(name);
	if (key < 0)
		return fail_unknown_key(name, column, why);
	if (query_set(&one, (enum query_key)key, value, &inner))
		return fail_at(why, inner.code, 1, column, "%s", inner.text);
	if (q->set & UINT32_C(1) << key) {
		if (query_narrow(q, (enum query_key)key, &one))
			return 0;
		return fail_at(
			why, ERR_INVALID, 1, column,
			"%s=%s: nothing can match this and %s=%s, which came before; leave out "
			"one of them",
			query_keys[key].name, one.text[key], query_keys[key].name, q->text[key]);
	}
	COPY(q->text[key], one.text[key]);
	q->num[key] = one.num[key];
	if (key == Q_GPU)
		q->gpu_exact = one.gpu_exact;
	q->set |= one.set;
	return 0;
}

int query_parse(struct query *q, const char *text, struct error *why)
{
	struct query all = *q;
	const char *p = text;

	if (strcmp(text, "all") == 0)
		return 0;
	for (;;) {
		size_t n = strcspn(p, ",");
		int line, column, err;

		text_place(text, (size_t)(p - text), &line, &column);
		err = query_parse_part(&all, (struct str){p, n}, column, why);
		if (err)
			return err;
		p += n;
		if (!*p)
			break;
		p++;
	}
	*q = all;
	return 0;
}

void query_put(const struct query *q, struct buf *out)
{
	bool first = true;

	for (size_t i = 0; i < Q_KEY_COUNT; i++) {
		if (!(q->set & UINT32_C(1) << i))
			continue;
		buf_printf(out, "%s%s=%s", first ? "" : ",", query_keys[i].name,
			   i == Q_GPU && q->gpu_exact ? "=" : "");
		for (const char *c = q->text[i]; *c; c++)
			buf_putc(out, *c == ' ' ? '_' : *c);
		first = false;
	}
	if (first)
		buf_puts(out, "all");
}

/* ---- matching ---- */

static bool provider_is(const char *wanted, const char *name)
{
	char a[64], b[64];

	fold(wanted, a, sizeof(a));
	fold(name, b, sizeof(b));
	return strcmp(a, b) == 0;
}

static bool location_has(const char *wanted, const char *location)
{
	char a[64], b[64];

	fold(wanted, a, sizeof(a));
	fold(location, b, sizeof(b));
	return strstr(b, a) != NULL;
}

/* min <= have; an unknown value (negative) never is. */
static bool at_least(int64_t have, int64_t min)
{
	return have >= 0 && have >= min;
}

static bool at_most(int64_t have, int64_t max)
{
	return have >= 0 && have <= max;
}

bool query_match_key(const struct query *q, enum query_key key, const struct offer *o)
{
	int64_t num = q->num[key];

	if (!(q->set & UINT32_C(1) << key))
		return true;
	switch (key) {
	case Q_PROVIDER:
		return provider_is(q->text[key], o->provider);
	case Q_GPU:
		return gpu_model_match(q->text[key], o->gpu_type, q->gpu_exact);
	case Q_GPU_COUNT:
		return o->gpu_count == num;
	case Q_MIN_GPU_COUNT:
		return at_least(o->gpu_count, num);
	case Q_MIN_VRAM:
		return at_least(o->vram_gb, num);
	case Q_MAX_VRAM:
		return at_most(o->vram_gb, num);
	case Q_MAX_PRICE:
		return at_most(o->price_u6, num);
	case Q_LOCATION:
		return location_has(q->text[key], o->location);
	case Q_MIN_RELIABILITY:
		return at_least(o->reliability_m, num);
	case Q_MIN_CONFIDENCE:
		return at_least(o->confidence_m, num);
	case Q_MIN_CUDA:
		return at_least(o->cuda_m, num);
	case Q_INTERRUPTIBLE:
		return o->interruptible == (num != 0);
	case Q_KEY_COUNT:
		break;
	}
	return false;
}

bool query_match(const struct query *q, const struct offer *o)
{
	/* A machine that may be taken away is for those who ask for it. */
	if (o->interruptible && !(q->set & UINT32_C(1) << Q_INTERRUPTIBLE))
		return false;
	return query_match_said(q, o);
}

bool query_match_said(const struct query *q, const struct offer *o)
{
	if (!o->available)
		return false;
	/* The model last: it is the only test that costs something. */
	for (enum query_key k = 0; k < Q_KEY_COUNT; k++)
		if (k != Q_GPU && !query_match_key(q, k, o))
			return false;
	return query_match_key(q, Q_GPU, o);
}
