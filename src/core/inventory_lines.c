/*
 * What a snapshot holds beside its offers (inventory.h): the texts that offers share as numbers, the
 * numbers side by side, what parts cost at most, and each offer's line of the search tables. Lines are
 * most of the cost of a snapshot, and hardly any offer changes from one to the next, so they are copied
 * where the offer reads the same. Loop thread, or one worker before the snapshot is shared. Tests:
 * tests/unit/test_inventory.c.
 */
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "inventory_parts.h"

/* ---- words ---- */

static const char *word_text(const struct offer *o, enum inventory_word kind)
{
	switch (kind) {
	case WORD_PROVIDER:
		return o->provider;
	case WORD_MODEL:
		return o->gpu_type;
	case WORD_LOCATION:
		return o->location;
	case WORD_COUNT:
		break;
	}
	CHECK(false);
}

/* slots: a hash table of word numbers + 1, a power of two in size and all 0. */
static void number_one_kind(struct inventory *inv, enum inventory_word kind, uint32_t *slots,
			    size_t size)
{
	struct inventory_words *w = &inv->words[kind];

	for (size_t i = 0; i < inv->count; i++) {
		const char *text = word_text(&inv->offers[i], kind);
		size_t at = (size_t)hash64(text, strlen(text), 0) & (size - 1);

		while (slots[at] && strcmp(w->text[slots[at] - 1], text) != 0)
			at = (at + 1) & (size - 1);
		if (!slots[at]) {
			w->text[w->count] = text;
			slots[at] = (uint32_t)++w->count;
		}
		w->of[i] = slots[at] - 1;
	}
}

bool inventory_number_words(struct inventory *inv)
{
	size_t size = 64;
	FREE uint32_t *slots = NULL;

	while (size < 2 * inv->count)
		size *= 2;
	slots = calloc(size, sizeof(*slots));
	if (!slots)
		return false;
	for (enum inventory_word kind = 0; kind < WORD_COUNT; kind++) {
		struct inventory_words *w = &inv->words[kind];
		const char **fewer;

		w->text = calloc(inv->count + 1, sizeof(*w->text));
		w->of = calloc(inv->count + 1, sizeof(*w->of));
		if (!w->text || !w->of)
			return false;
		memset(slots, 0, size * sizeof(*slots));
		number_one_kind(inv, kind, slots, size);
		fewer = realloc(w->text, (w->count + 1) * sizeof(*w->text));
		w->text = fewer ? fewer : w->text;
	}
	return true;
}

/* ---- numbers ---- */

static int64_t number_of(const struct offer *o, enum inventory_number n)
{
	switch (n) {
	case NUMBER_GPU_COUNT:
		return o->gpu_count;
	case NUMBER_VRAM:
		return o->vram_gb;
	case NUMBER_PRICE:
		return o->price_u6;
	case NUMBER_RELIABILITY:
		return o->reliability_m;
	case NUMBER_CONFIDENCE:
		return o->confidence_m;
	case NUMBER_CUDA:
		return o->cuda_m;
	case NUMBER_AVAILABLE:
		return o->available;
	case NUMBER_INTERRUPTIBLE:
		return o->interruptible;
	case NUMBER_COUNT:
		break;
	}
	CHECK(false);
}

bool inventory_collect_numbers(struct inventory *inv)
{
	int64_t *all = calloc(NUMBER_COUNT * (inv->count + 1), sizeof(*all));

	if (!all)
		return false;
	for (enum inventory_number n = 0; n < NUMBER_COUNT; n++)
		inv->numbers[n] = all + n * (inv->count + 1); /* one block, owned by the first */
	for (size_t i = 0; i < inv->count; i++)
		for (enum inventory_number n = 0; n < NUMBER_COUNT; n++)
			inv->numbers[n][i] = number_of(&inv->offers[i], n);
	return true;
}

/* ---- parts ---- */

static void part_most(struct part *most, const struct part *p)
{
	if (most->size < p->size)
		most->size = p->size;
	if (most->rate_u9 < p->rate_u9)
		most->rate_u9 = p->rate_u9;
}

bool inventory_collect_parts(struct inventory *inv)
{
	inv->parts = calloc(inv->words[WORD_PROVIDER].count + 1, sizeof(*inv->parts));
	if (!inv->parts)
		return false;
	for (size_t i = 0; i < inv->count; i++) {
		struct inventory_parts *most = &inv->parts[inv->words[WORD_PROVIDER].of[i]];

		part_most(&most->disk, &inv->offers[i].disk);
		part_most(&most->vcpus, &inv->offers[i].vcpus);
		part_most(&most->ram, &inv->offers[i].ram);
	}
	return true;
}

/* A rate is never negative, so that nothing but a smaller size costs less. Rounded up. */
static int64_t part_saves(const struct part *most, int64_t size)
{
	if (size == UNKNOWN || size >= most->size)
		return 0;
	return ((most->size - size) * most->rate_u9 + 999) / 1000;
}

int64_t inventory_saves(const struct inventory *inv, uint32_t provider, const struct shape *shape)
{
	const struct inventory_parts *most = &inv->parts[provider];

	return part_saves(&most->disk, shape->disk_gb) + part_saves(&most->vcpus, shape->vcpus) +
	       part_saves(&most->ram, shape->ram_gb);
}

/* ---- lines ---- */

/* By index in inv: 1 + the index in `before` of the offer that reads the same, or 0. */
static void find_same(const struct inventory *inv, const struct inventory *before, uint32_t *same)
{
	size_t i = 0, j = 0;

	while (i < before->count && j < inv->count) {
		uint32_t b = before->by_id[i], a = inv->by_id[j];
		int order = strcmp(before->offers[b].id, inv->offers[a].id);

		if (order == 0 &&
		    (offer_diff(&before->offers[b], &inv->offers[a]) & ~OFFER_TERMS) == 0)
			same[a] = b + 1;
		i += order <= 0;
		j += order >= 0;
	}
}

static void copy_line(const struct inventory_lines *from, size_t i, struct buf *out)
{
	size_t begin = i ? from->end[i - 1] : 0;

	buf_add(out, from->text + begin, from->end[i] - begin);
}

static void (*const put_line[LINE_COUNT])(const struct offer *o, struct buf *out) = {
	[LINE_TSV] = offer_put_tsv,
	[LINE_JSON] = offer_put_json,
};

static bool render_one_kind(struct inventory *inv, const struct inventory *before,
			    const uint32_t *same, enum inventory_line kind)
{
	struct inventory_lines *l = &inv->lines[kind];
	BUF out = {.max = SIZE_MAX / 4}; /* it is bounded by the number of offers */
	char *exact;

	l->end = calloc(inv->count + 1, sizeof(*l->end));
	if (!l->end)
		return false;
	for (size_t i = 0; i < inv->count; i++) {
		if (same[i]) {
			copy_line(&before->lines[kind], same[i] - 1, &out);
		} else {
			put_line[kind](&inv->offers[i], &out);
			buf_putc(&out, '\n');
		}
		l->end[i] = out.len;
	}
	size_t len = out.len;

	l->text = buf_take(&out);
	if (!l->text)
		return false;
	exact = realloc(l->text, len + 1); /* it may have room for as much again */
	l->text = exact ? exact : l->text;
	return true;
}

bool inventory_render_lines(struct inventory *inv, const struct inventory *before)
{
	FREE uint32_t *same = calloc(inv->count + 1, sizeof(*same));

	if (!same)
		return false;
	if (before)
		find_same(inv, before, same);
	for (enum inventory_line kind = 0; kind < LINE_COUNT; kind++)
		if (!render_one_kind(inv, before, same, kind))
			return false;
	return true;
}
