/*
 * The values of an offer as one table: the files of inventory/OFFER/, their units and their
 * documentation. Rules 1 to 4 of the tree: one value, unknown is nothing, booleans are 1 and 0.
 * Texts come from a provider, so they are escaped: none can hold a newline or a tab of its own.
 * Pure; any thread. Tests: tests/unit/test_inventory.c.
 */
#include "offer.h"

#include <inttypes.h>
#include <string.h>

#include "check.h"

#define SHOW_TEXT(field)                                                        \
	static void show_##field(const struct offer *o, struct buf *out)        \
	{                                                                       \
		buf_escape(out, o->field, strnlen(o->field, sizeof(o->field))); \
	}
#define SHOW_INT(field)                                                  \
	static void show_##field(const struct offer *o, struct buf *out) \
	{                                                                \
		if (o->field >= 0)                                       \
			buf_printf(out, "%" PRId64, o->field);           \
	}
#define SHOW_MILLI(field)                                                \
	static void show_##field(const struct offer *o, struct buf *out) \
	{                                                                \
		if (o->field >= 0)                                       \
			put_decimal(out, o->field, 3);                   \
	}
#define SHOW_MONEY(field)                                                \
	static void show_##field(const struct offer *o, struct buf *out) \
	{                                                                \
		put_money(out, o->field);                                \
	}
#define SHOW_BOOL(field)                                                 \
	static void show_##field(const struct offer *o, struct buf *out) \
	{                                                                \
		buf_putc(out, o->field ? '1' : '0');                     \
	}

SHOW_TEXT(provider)
SHOW_TEXT(provider_id)
SHOW_TEXT(gpu_type)
SHOW_INT(gpu_count)
SHOW_INT(vram_gb)
SHOW_MONEY(price_u6)
SHOW_TEXT(location)
SHOW_MILLI(reliability_m)
SHOW_BOOL(available)
SHOW_INT(max_duration_hours)
SHOW_MILLI(confidence_m)
SHOW_MILLI(cuda_m)
SHOW_TEXT(machine_id)
SHOW_BOOL(interruptible)
SHOW_MONEY(min_bid_u6)

#define SHOWN(field) show_##field, offsetof(struct offer, field), sizeof(((struct offer *)0)->field)

const struct offer_field offer_fields[] = {
	{"provider", NULL, "who rents it out", V_TEXT, SHOWN(provider)},
	{"provider_id", NULL, "the provider's own id of this offer", V_TEXT, SHOWN(provider_id)},
	{"gpu_type", NULL, "model of the GPU; CPU where there is none", V_TEXT, SHOWN(gpu_type)},
	{"gpu_count", NULL, "number of GPUs", V_INT, SHOWN(gpu_count)},
	{"vram_gb", "GB", "memory of each GPU, nominal", V_INT, SHOWN(vram_gb)},
	{"price_per_hour", "USD/h", "all-in price at the default disk size", V_MONEY,
	 SHOWN(price_u6)},
	{"location", NULL, "where the machine stands", V_TEXT, SHOWN(location)},
	{"reliability", NULL, "0 to 1, as the provider rates the machine", V_DECIMAL,
	 SHOWN(reliability_m)},
	{"available", NULL, "1 if it can be bought now", V_BOOL, SHOWN(available)},
	{"max_duration_hours", "h", "longest time for which it is offered", V_INT,
	 SHOWN(max_duration_hours)},
	{"availability_confidence", NULL,
	 "0 to 1; falls while refreshed lists no longer show the offer", V_DECIMAL,
	 SHOWN(confidence_m)},
	{"cuda_version", NULL, "newest CUDA that the driver supports", V_DECIMAL, SHOWN(cuda_m)},
	{"machine_id", NULL, "the provider's id of the machine behind the offer", V_TEXT,
	 SHOWN(machine_id)},
	{"interruptible", NULL, "1 if the machine may be taken away by a higher bid", V_BOOL,
	 SHOWN(interruptible)},
	{"min_bid", "USD/h", "lowest bid for an interruptible machine", V_MONEY, SHOWN(min_bid_u6)},
};
const size_t offer_field_count = ARRAY_LEN(offer_fields);

/* ---- as a line ---- */

void offer_put_tsv(const struct offer *o, struct buf *out)
{
	buf_puts(out, o->id);
	for (size_t i = 0; i < offer_field_count; i++) {
		buf_putc(out, '\t');
		offer_fields[i].show(o, out);
	}
}

/* JSON's own grammar of numbers, as far as ours go: -?digits[.digits], no leading zeros. */
static bool json_number(const char *s, size_t n)
{
	size_t i = n > 0 && s[0] == '-' ? 1 : 0, digits = 0;

	if (n > i + 1 && s[i] == '0' && s[i + 1] != '.')
		return false;
	for (; i < n && s[i] >= '0' && s[i] <= '9'; i++)
		digits++;
	if (digits == 0)
		return false;
	if (i == n)
		return true;
	if (s[i++] != '.' || i == n)
		return false;
	for (; i < n; i++)
		if (s[i] < '0' || s[i] > '9')
			return false;
	return true;
}

void put_json_value(struct buf *out, enum value_type type, const char *s, size_t n)
{
	switch (type) {
	case V_BOOL:
		if (n == 1 && (s[0] == '0' || s[0] == '1')) {
			buf_puts(out, s[0] == '1' ? "true" : "false");
			return;
		}
		break;
	case V_INT:
	case V_DECIMAL:
	case V_MONEY:
		if (json_number(s, n)) { /* else it is a word, such as `max` */
			buf_add(out, s, n);
			return;
		}
		break;
	case V_TEXT:
	case V_TIME:
	case V_TABLE:
	case V_JSON:
	case V_LINK:
		break;
	}
	buf_json(out, s, n);
}

void put_json_key(struct buf *out, const char *name)
{
	if (out->len > 0 && out->data[out->len - 1] != '{')
		buf_putc(out, ',');
	buf_json(out, name, strlen(name));
	buf_putc(out, ':');
}

void offer_put_json(const struct offer *o, struct buf *out)
{
	BUF value = {0};

	buf_putc(out, '{');
	put_json_key(out, "id");
	buf_json(out, o->id, strlen(o->id));
	for (size_t i = 0; i < offer_field_count; i++) {
		buf_reset(&value);
		offer_fields[i].show(o, &value);
		if (value.len == 0)
			continue;
		put_json_key(out, offer_fields[i].name);
		put_json_value(out, offer_fields[i].type, value.data, value.len);
	}
	buf_putc(out, '}');
	out->failed |= value.failed;
}

/* ---- differences ---- */

static bool same_part(const struct part *a, const struct part *b)
{
	return a->size == b->size && a->rate_u9 == b->rate_u9 && a->max == b->max;
}

static bool same_terms(const struct offer *a, const struct offer *b)
{
	return same_part(&a->disk, &b->disk) && same_part(&a->vcpus, &b->vcpus) &&
	       same_part(&a->ram, &b->ram) && a->reach == b->reach && a->ports_max == b->ports_max;
}

uint64_t offer_diff(const struct offer *a, const struct offer *b)
{
	uint64_t bits = same_terms(a, b) ? 0 : OFFER_TERMS;
	BUF x = {0};
	BUF y = {0};

	/* A market of 10 000 offers is compared every minute and hardly any differ; equal bytes are
	 * equal values (unequal ones need not differ: what stands behind a NUL does not count). */
	if (memcmp(a, b, sizeof(*a)) == 0)
		return 0;
	for (size_t i = 0; i < offer_field_count; i++) {
		const struct offer_field *f = &offer_fields[i];

		if (memcmp((const char *)a + f->at, (const char *)b + f->at, f->size) == 0)
			continue;
		buf_reset(&x);
		buf_reset(&y);
		f->show(a, &x);
		f->show(b, &y);
		if (x.failed || y.failed || x.len != y.len ||
		    (x.len && memcmp(x.data, y.data, x.len) != 0))
			bits |= UINT64_C(1) << i;
	}
	return bits;
}

/* ---- shapes ---- */

/* What more of a part costs. A size is at most 10^6 (spec), a rate below 10^12 (dialect): no overflow.
 * Rounded up: a cap is compared with it. */
static int64_t part_price(const struct part *p, int64_t size)
{
	int64_t more = size == UNKNOWN ? 0 : (size - p->size) * p->rate_u9;

	return more > 0 ? (more + 999) / 1000 : more / 1000;
}

struct shape_excess offer_lacks(const struct offer *o, const struct shape *shape)
{
	const struct {
		const struct part *part;
		int64_t asked;
		const char *key, *unit;
	} parts[] = {
		{&o->disk, shape->disk_gb, "disk_gb", " GB"},
		{&o->vcpus, shape->vcpus, "vcpus", ""},
		{&o->ram, shape->ram_gb, "ram_gb", " GB"},
	};

	for (size_t i = 0; i < ARRAY_LEN(parts); i++)
		if (parts[i].asked != UNKNOWN && parts[i].part->max != UNKNOWN &&
		    parts[i].asked > parts[i].part->max)
			return (struct shape_excess){parts[i].key, parts[i].unit, parts[i].asked,
						     parts[i].part->max};
	return (struct shape_excess){0};
}

int64_t offer_price(const struct offer *o, const struct shape *shape)
{
	if (offer_lacks(o, shape).key)
		return UNKNOWN;
	return o->price_u6 + part_price(&o->disk, shape->disk_gb) +
	       part_price(&o->vcpus, shape->vcpus) + part_price(&o->ram, shape->ram_gb);
}

int64_t vram_nominal_gb(int64_t mb)
{
	static const int64_t sizes[] = {1,  2,	3,  4,	5,  6,	8,  10,	 11,  12,  16,	20,  24, 32,
					40, 48, 64, 72, 80, 94, 96, 128, 141, 144, 180, 192, 288};
	int64_t rounded = (mb + 512) / 1024;

	if (mb <= 0)
		return 0;
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
		if (sizes[i] >= rounded)
			return (sizes[i] * 1024 - mb) * 1000 <= 75 * mb ? sizes[i] : rounded;
	return rounded;
}
