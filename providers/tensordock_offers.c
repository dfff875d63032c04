/*
 * The market of TensorDock: one reply with all locations, each with its models of GPU (wire page 2). A
 * model at a location becomes an offer for 1, 2, 4 and 8 GPUs, as far as there are so many and the shape
 * that is asked for fits. A price has four terms; where one of them is missing it is unknown, and the row is
 * dropped. City and state are for people only: they repeat, and some are swapped. Pure; any thread.
 * Tests: tests/unit/test_tensordock.c, tests/wire.
 */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "../src/core/check.h"
#include "tensordock_parts.h"

#define GPUS_MAX    1024
#define RATE_MAX_U9 INT64_C(10000000000) /* 10 USD an hour for one vCPU or GB is a mistake */
#define SIZE_MAX_GB ((int64_t)1 << 40)
#define VRAM_MAX_GB 4096

/* ---- names of GPUs ---- */

int64_t td_vram_gb(const char *model)
{
	const char *last = strrchr(model, '-');
	size_t digits = last ? strspn(last + 1, "0123456789") : 0;
	struct error why;
	int64_t gb;

	if (!digits || strcmp(last + 1 + digits, "gb") != 0 ||
	    parse_int((struct str){last + 1, digits}, 1, VRAM_MAX_GB, &gb, &why))
		return UNKNOWN;
	return gb;
}

/* Maker and family in front of a model. */
static const char *without_vendor(const char *s)
{
	static const char *const words[] = {"nvidia", "geforce", "tesla", "quadro", "amd"};

	for (size_t i = 0; i < ARRAY_LEN(words);) {
		size_t n = strlen(words[i]);

		if (strncmp(s, words[i], n) == 0 && s[n] && s[n] != '-') {
			s += n;
			i = 0;
		} else {
			i++;
		}
	}
	return s;
}

/* The words behind a model's number that make it another card. "lhr" does not: its memory and cores are
 * those of the card without it. */
static const struct {
	const char *word, *reads;
} suffixes[] = {
	{"tisuper", " Ti SUPER"}, {"ti", " Ti"}, {"super", " SUPER"}, {"ada", " Ada"}, {"lhr", ""},
};

static void put_suffixes(struct buf *b, const char *s, size_t n)
{
	while (n) {
		size_t i = 0, len = 0;

		while (i < ARRAY_LEN(suffixes)) {
			len = strlen(suffixes[i].word);
			if (len <= n && strncmp(s, suffixes[i].word, len) == 0)
				break;
			i++;
		}
		if (i < ARRAY_LEN(suffixes)) {
			buf_puts(b, suffixes[i].reads);
		} else {
			buf_putc(b, (char)toupper((unsigned char)*s));
			len = 1;
		}
		s += len;
		n -= len;
	}
}

/* "rtx4070tisuper", "rtxa6000", "l40s": as far as the first '-'. */
static void put_model(struct buf *b, const char *s, size_t n)
{
	size_t at = 0;

	if (n > 3 && (strncmp(s, "rtx", 3) == 0 || strncmp(s, "gtx", 3) == 0)) {
		buf_printf(b, "%cTX ", toupper((unsigned char)s[0]));
		at = 3;
	}
	for (; at < n && !isdigit((unsigned char)s[at]); at++)
		buf_putc(b, (char)toupper((unsigned char)s[at]));
	for (; at < n && isdigit((unsigned char)s[at]); at++)
		buf_putc(b, s[at]);
	put_suffixes(b, s + at, n - at);
}

/* The bus makes another card only where a model is made for more than one: A100 SXM4 and A100 PCIE. */
static void put_bus(struct buf *b, const char *model, size_t n, const char *bus, size_t bus_len)
{
	static const char *const both[] = {"a100", "a800", "h100", "h800"};
	bool sxm = bus_len >= 3 && strncmp(bus, "sxm", 3) == 0;
	bool pcie = bus_len == 4 && strncmp(bus, "pcie", 4) == 0;
	bool of_both = false;

	for (size_t i = 0; i < ARRAY_LEN(both); i++)
		of_both |= n == strlen(both[i]) && strncmp(model, both[i], n) == 0;
	if (sxm && model[0] == 'h') /* one generation of it: H100 SXM */
		buf_puts(b, " SXM");
	else if (sxm)
		buf_printf(b, " SXM%.*s", (int)(bus_len - 3), bus + 3);
	else if (pcie && of_both)
		buf_puts(b, " PCIE");
	else if (!pcie && bus_len) {
		buf_putc(b, ' ');
		for (size_t i = 0; i < bus_len; i++)
			buf_putc(b, (char)toupper((unsigned char)bus[i]));
	}
}

void td_gpu_name(const char *model, char *out, size_t size)
{
	const char *s = without_vendor(model), *end = s + strlen(s);
	const char *bus = strchr(s, '-');
	BUF b = {.max = 128};
	size_t n;

	if (td_vram_gb(s) != UNKNOWN)
		end = strrchr(s, '-');
	if (!bus || bus > end)
		bus = end;
	n = (size_t)(bus - s);
	put_model(&b, s, n);
	put_bus(&b, s, n, bus < end ? bus + 1 : end, bus < end ? (size_t)(end - bus - 1) : 0);
	copy_text(out, size, b.data && !b.failed ? b.data : "");
}

/* ---- shapes ---- */

/* Wire page 4. */
static const int64_t ram_sizes[] = {2,	 4,   6,   8,	10,  16,  32,  48,  64,	 80,  96,
				    112, 128, 144, 160, 176, 192, 208, 224, 240, 256, 512};

int64_t td_ram_at_most(int64_t gb)
{
	int64_t best = 0;

	for (size_t i = 0; i < ARRAY_LEN(ram_sizes) && ram_sizes[i] <= gb; i++)
		best = ram_sizes[i];
	return best;
}

void td_fit(struct shape *shape)
{
	size_t i = 0;

	if (shape->vcpus != UNKNOWN)
		shape->vcpus += shape->vcpus % 2;
	while (i < ARRAY_LEN(ram_sizes) && ram_sizes[i] < shape->ram_gb)
		i++;
	if (shape->ram_gb != UNKNOWN && i < ARRAY_LEN(ram_sizes))
		shape->ram_gb = ram_sizes[i];
}

struct shape td_shape(const struct shape *wanted)
{
	struct shape s = {wanted->disk_gb > TD_DISK_GB ? wanted->disk_gb : TD_DISK_GB,
			  wanted->vcpus > 0 ? wanted->vcpus : TD_VCPUS,
			  wanted->ram_gb > 0 ? wanted->ram_gb : TD_RAM_GB};

	td_fit(&s);
	return s;
}

/* ---- rows ---- */

bool td_location_ok(const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (i == 8 || i == 13 || i == 18 || i == 23 ? s[i] != '-'
							    : !isxdigit((unsigned char)s[i]))
			return false;
	return n == TD_LOCATION_LEN;
}

bool td_model_ok(const char *s)
{
	size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");

	return n && n <= TD_MODEL_MAX && !s[n];
}

/* "Chubbuck, Idaho, United States", what repeats once. */
static void read_location(const json_t *row, char *out, size_t size)
{
	static const char *const keys[] = {"city", "stateprovince", "country"};
	char before[64] = "", text[64];
	BUF b = {.max = 256};

	for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
		wire_text(row, keys[i], text, sizeof text);
		if (!text[0] || strcmp(text, before) == 0)
			continue;
		buf_printf(&b, "%s%s", b.len ? ", " : "", text);
		COPY(before, text);
	}
	printable_text(out, size, b.data ? b.data : "");
}

static int64_t read_most(const json_t *resources, const char *key)
{
	int64_t most = UNKNOWN;

	wire_scaled(resources, key, 1, 0, SIZE_MAX_GB, &most);
	return most;
}

/* What is common to all offers of a model at a location, as an offer without GPUs: its price is that of the
 * shape alone. False: a price is missing. */
static bool read_shape(const json_t *gpu, const struct shape *shape, struct offer *o)
{
	const json_t *prices = json_object_get(gpu, "pricing");
	const json_t *most = json_object_get(gpu, "resources");
	int64_t vcpus = read_most(most, "max_vcpus"), ram = read_most(most, "max_ram_gb");

	o->disk = (struct part){.size = shape->disk_gb, .max = read_most(most, "max_storage_gb")};
	o->vcpus = (struct part){.size = shape->vcpus,
				 .max = vcpus == UNKNOWN ? UNKNOWN : vcpus - vcpus % 2};
	/* One location says 1546793, which are MB. More than the list has cannot be asked for. */
	o->ram = (struct part){.size = shape->ram_gb,
			       .max = td_ram_at_most(ram == UNKNOWN ? INT64_MAX : ram)};
	return wire_scaled(prices, "per_gb_storage_hr", 1e9, 0, RATE_MAX_U9, &o->disk.rate_u9) &&
	       wire_scaled(prices, "per_vcpu_hr", 1e9, 0, RATE_MAX_U9, &o->vcpus.rate_u9) &&
	       wire_scaled(prices, "per_gb_ram_hr", 1e9, 0, RATE_MAX_U9, &o->ram.rate_u9);
}

/* Absent features are unknown ones: then forwarding is tried. */
static unsigned read_reach(const json_t *gpu)
{
	const json_t *net = json_object_get(gpu, "network_features");
	unsigned reach = 0;

	if (wire_flag(net, "port_forwarding_available") != 0)
		reach |= REACH_FORWARD;
	if (wire_flag(net, "dedicated_ip_available") == 1)
		reach |= REACH_ADDRESS;
	return reach;
}

static void set_gpus(struct offer *o, const char *base, int64_t count, int64_t gpu_u9)
{
	int64_t u9 = count * gpu_u9 + o->disk.size * o->disk.rate_u9 +
		     o->vcpus.size * o->vcpus.rate_u9 + o->ram.size * o->ram.rate_u9;

	o->gpu_count = count;
	o->price_u6 = (u9 + 999) / 1000;
	if (count == 1)
		snprintf(o->id, sizeof o->id, "tensordock-%s", base);
	else
		snprintf(o->id, sizeof o->id, "tensordock-%s-x%u", base, (unsigned)count);
}

/* False: it cannot be read, or has no price. */
static bool add_model(struct td_reply *r, const json_t *gpu, const char *location,
		      const char *place)
{
	const struct shape shape = td_shape(&r->ask->page.shape);
	const char *model = wire_word(gpu, "v0Name");
	int64_t most, gpu_u9;
	struct offer o = {.min_bid_u6 = UNKNOWN,
			  .reliability_m = UNKNOWN, /* a tier is none */
			  .confidence_m = 1000,
			  .max_duration_hours = UNKNOWN,
			  .cuda_m = UNKNOWN,
			  .ports_max = UNKNOWN,
			  .available = true};

	if (!model || !td_model_ok(model) || !wire_int(gpu, "max_count", 0, GPUS_MAX, &most) ||
	    !wire_scaled(gpu, "price_per_hr", 1e9, 1, TD_PRICE_MAX_U6 * 1000, &gpu_u9) ||
	    !read_shape(gpu, &shape, &o))
		return false;
	snprintf(o.provider_id, sizeof o.provider_id, "%s-%s", location, model);
	COPY(o.provider, "tensordock");
	COPY(o.location, place);
	td_gpu_name(model, o.gpu_type, sizeof o.gpu_type);
	o.vram_gb = td_vram_gb(model);
	o.reach = read_reach(gpu);
	/* Where the shape does not fit nothing can be made, whatever max_count says. */
	if (offer_lacks(&o, &shape).key || !o.reach)
		return true;
	for (int64_t count = 1; count <= 8 && count <= most; count *= 2) {
		struct offer *at;

		set_gpus(&o, o.provider_id, count, gpu_u9);
		at = o.price_u6 <= TD_PRICE_MAX_U6 ? wire_add_offer(r->out) : NULL;
		if (at)
			*at = o;
	}
	return true;
}

/* The number of rows in it, models; 1 where it cannot be read. */
static size_t add_location(struct td_reply *r, const json_t *row)
{
	const char *id = wire_word(row, "id");
	const json_t *gpus = json_object_get(row, "gpus");
	char place[64];

	if (!id || !td_location_ok(id, strlen(id)) || !json_is_array(gpus)) {
		r->out->r.dropped++;
		return 1;
	}
	read_location(row, place, sizeof place);
	for (size_t i = 0; i < json_array_size(gpus); i++)
		if (!add_model(r, json_array_get(gpus, i), id, place))
			r->out->r.dropped++;
	return json_array_size(gpus);
}

void td_read_offers(struct td_reply *r)
{
	const json_t *data = json_object_get(r->json.root, "data");

	if (r->json.kind != WIRE_ROWS_ARRAY || !json_is_array(json_object_get(data, "locations"))) {
		td_unreadable(r, "no locations in it");
		return;
	}
	wire_done(r->out);
	for (size_t i = 0; i < r->json.row_count; i++) {
		json_t *row = wire_json_row(&r->json, i);

		r->out->r.rows += add_location(r, row);
		json_decref(row);
	}
	for (size_t i = 0; i < r->out->r.count; i++)
		if (r->out->offers[i].price_u6 > r->out->r.last_price_u6)
			r->out->r.last_price_u6 = r->out->offers[i].price_u6;
	r->out->r.complete = true;
}
