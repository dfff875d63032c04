/*
 * The text of search/QUERY/why: so that "none" is explained. The conditions are applied one after
 * the other, in the order of the keys; each row says how many offers are left after it and which of
 * those that it removed came nearest, so that a person sees which condition to loosen and by how
 * much. One pass over the market, in which each distinct text is compared once. Pure; any thread. Tests: tests/unit/test_query.c.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "query.h"

/* Row 0 is "available"; key k is row k + 1. */
#define WHY_ROWS (Q_KEY_COUNT + 1)

struct why_row {
	size_t left;
	const struct offer *nearest;
	uint64_t distance;
};

static uint64_t gap(int64_t a, int64_t b)
{
	if (a < 0)
		return UINT64_MAX; /* unknown is farther than anything known */
	return a > b ? (uint64_t)a - (uint64_t)b : (uint64_t)b - (uint64_t)a;
}

/* How far an offer is from a condition that it does not meet. Texts have no distance, except a
 * model: the fewer letters it shares with the wanted one from the left, the farther. */
static uint64_t why_distance(const struct query *q, enum query_key key, const struct offer *o)
{
	char a[64], b[64];
	size_t same = 0;

	switch (key) {
	case Q_PROVIDER:
	case Q_LOCATION:
	case Q_INTERRUPTIBLE:
	case Q_KEY_COUNT:
		return 0;
	case Q_GPU:
		fold(q->text[key], a, sizeof(a));
		fold(o->gpu_type, b, sizeof(b));
		while (a[same] && a[same] == b[same])
			same++;
		return sizeof(a) - same;
	case Q_GPU_COUNT:
	case Q_MIN_GPU_COUNT:
		return gap(o->gpu_count, q->num[key]);
	case Q_MIN_VRAM:
	case Q_MAX_VRAM:
		return gap(o->vram_gb, q->num[key]);
	case Q_MAX_PRICE:
		return gap(o->price_u6, q->num[key]);
	case Q_MIN_RELIABILITY:
		return gap(o->reliability_m, q->num[key]);
	case Q_MIN_CONFIDENCE:
		return gap(o->confidence_m, q->num[key]);
	case Q_MIN_CUDA:
		return gap(o->cuda_m, q->num[key]);
	}
	return 0;
}

/* The value that the condition looked at, under its name in offer_fields. */
static const char *why_field(enum query_key key)
{
	switch (key) {
	case Q_PROVIDER:
		return "provider";
	case Q_GPU:
		return "gpu_type";
	case Q_GPU_COUNT:
	case Q_MIN_GPU_COUNT:
		return "gpu_count";
	case Q_MIN_VRAM:
	case Q_MAX_VRAM:
		return "vram_gb";
	case Q_MAX_PRICE:
		return "price_per_hour";
	case Q_LOCATION:
		return "location";
	case Q_MIN_RELIABILITY:
		return "reliability";
	case Q_MIN_CONFIDENCE:
		return "availability_confidence";
	case Q_MIN_CUDA:
		return "cuda_version";
	case Q_INTERRUPTIBLE:
		return "interruptible";
	case Q_KEY_COUNT:
		break;
	}
	return "available";
}

static void why_put_nearest(const struct offer *o, const char *field, struct buf *out)
{
	BUF value = {0};

	if (!o)
		return;
	for (size_t i = 0; i < offer_field_count; i++)
		if (strcmp(offer_fields[i].name, field) == 0)
			offer_fields[i].show(o, &value);
	buf_printf(out, "%s %s", o->id, value.len ? value.data : "unknown");
}

static void why_put_row(const char *condition, const struct why_row *row, const char *field,
			struct buf *out)
{
	buf_escape(out, condition, strlen(condition));
	buf_printf(out, "\t%zu\t", row->left);
	why_put_nearest(row->nearest, field, out);
	buf_putc(out, '\n');
}

/* Also the condition that stands where no other is said: machines that may be taken away are left out. */
static bool why_meets(const struct query *q, enum query_key key, const struct offer *o)
{
	if (key == Q_INTERRUPTIBLE && !(q->set & UINT32_C(1) << key))
		return !o->interruptible;
	return query_match_key(q, key, o);
}

/* What a condition says of an offer. */
struct judged {
	bool known, met;
	uint64_t distance; /* if it is not met */
};

static struct judged why_judge(const struct query *q, enum query_key key, const struct offer *o)
{
	struct judged j = {.known = true, .met = why_meets(q, key, o)};

	if (!j.met)
		j.distance = why_distance(q, key, o);
	return j;
}

/* By key and word, as far as they were met; NULL: the key asks for no text. */
struct judgements {
	struct judged *of_word[Q_KEY_COUNT];
	const uint32_t *word[Q_KEY_COUNT];
};

static void judgements_make(struct judgements *js, const struct query *q,
			    const struct inventory *inv)
{
	for (enum inventory_word w = 0; w < WORD_COUNT; w++) {
		enum query_key key = query_word_keys[w];

		if (!(q->set & UINT32_C(1) << key))
			continue;
		js->word[key] = inv->words[w].of;
		/* NULL, if memory is out: then it takes longer */
		js->of_word[key] = calloc(inv->words[w].count + 1, sizeof(*js->of_word[key]));
	}
}

static struct judged judgement(const struct judgements *js, const struct query *q,
			       enum query_key key, const struct inventory *inv, size_t i)
{
	struct judged *j = js->of_word[key];

	if (!j)
		return why_judge(q, key, &inv->offers[i]);
	j += js->word[key][i];
	if (!j->known)
		*j = why_judge(q, key, &inv->offers[i]);
	return *j;
}

static void why_count(const struct judgements *js, const struct query *q,
		      const struct inventory *inv, size_t i, struct why_row rows[WHY_ROWS])
{
	const struct offer *o = &inv->offers[i];

	for (size_t r = 0; r < WHY_ROWS; r++) {
		struct judged j = r ? judgement(js, q, (enum query_key)(r - 1), inv, i)
				    : (struct judged){.met = o->available};

		if (j.met) {
			rows[r].left++;
			continue;
		}
		/* ties: the cheaper, which comes first */
		if (!rows[r].nearest || j.distance < rows[r].distance) {
			rows[r].nearest = o;
			rows[r].distance = j.distance;
		}
		return;
	}
}

void query_why(const struct query *q, const struct inventory *inv, struct buf *out)
{
	struct why_row rows[WHY_ROWS] = {0};
	const struct why_row all = {.left = inv ? inv->count : 0};
	struct judgements js = {0};

	if (inv)
		judgements_make(&js, q, inv);
	for (size_t i = 0; i < all.left; i++)
		why_count(&js, q, inv, i, rows);
	for (enum query_key k = 0; k < Q_KEY_COUNT; k++)
		free(js.of_word[k]);
	buf_puts(out, "# condition\tleft\tnearest_removed\n");
	why_put_row("all", &all, "", out);
	if (rows[0].nearest) /* a row only where it explains something */
		why_put_row("available=1", &rows[0], why_field(Q_KEY_COUNT), out);
	for (enum query_key k = 0; k < Q_KEY_COUNT; k++) {
		struct query one = {.set = q->set & UINT32_C(1) << k, .gpu_exact = q->gpu_exact};
		BUF condition = {0};

		if (!one.set && k == Q_INTERRUPTIBLE && rows[k + 1].nearest)
			why_put_row("interruptible=0", &rows[k + 1], why_field(k), out);
		if (!one.set)
			continue;
		COPY(one.text[k], q->text[k]);
		query_put(&one, &condition);
		why_put_row(condition.data ? condition.data : "", &rows[k + 1], why_field(k), out);
	}
}
