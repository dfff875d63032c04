/*
 * Rows of a search at Vast.ai. The service does not always obey its own filters (wire page 4.2), so each
 * row is held against what was asked: a row that says otherwise is dropped and counted, one that says
 * nothing of it is believed. Pure; any thread. Tests: tests/unit/test_vastai.c, tests/wire.
 */
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "../src/core/check.h"
#include "vastai_parts.h"

#define STORAGE_HOURS  720 /* of Vast.ai's month (wire page 4.5) */
#define STORAGE_MAX    100 /* USD per GB and month; more is a mistake */
#define GPUS_MAX       1024
#define DURATION_MAX_S ((int64_t)1 << 40)
#define VRAM_MAX_MB    ((int64_t)1 << 24)
#define DISK_MAX_GB    ((int64_t)1 << 30)
#define CUDA_MAX_M     ((int64_t)100 * 1000)

/* ---- names of GPUs ---- */

/* Maker and family in front of a model; "Q" is Vast.ai's Quadro. "Radeon VII" stays: it is a name. */
static const struct {
	const char *word, *before; /* only where this follows */
} vendor_words[] = {
	{"NVIDIA ", ""}, {"AMD ", ""}, {"GeForce ", ""},  {"Tesla ", ""},
	{"Quadro ", ""}, {"Q ", ""},   {"Instinct ", ""}, {"Radeon ", "RX "},
};

static const char *without_vendor(const char *s)
{
	for (size_t i = 0; i < ARRAY_LEN(vendor_words);) {
		size_t n = strlen(vendor_words[i].word);
		const char *before = vendor_words[i].before;

		if (strncasecmp(s, vendor_words[i].word, n) == 0 && s[n] &&
		    strncasecmp(s + n, before, strlen(before)) == 0) {
			s += n;
			i = 0;
		} else {
			i++;
		}
	}
	return s;
}

/* "RTX 4080S", "RTX 4070S Ti": the length up to the S; 0: no such name. */
static size_t super_at(const char *s)
{
	size_t n = strspn(s, "RGTX"), digits;

	if (n != 3 || s[n] != ' ')
		return 0;
	digits = strspn(s + 4, "0123456789");
	n = 4 + digits;
	return digits == 4 && s[n] == 'S' && (s[n + 1] == '\0' || s[n + 1] == ' ') ? n : 0;
}

void vast_gpu_name(const char *raw, char *out, size_t size)
{
	char text[96];
	const char *s, *ada;
	size_t n;

	printable_text(text, sizeof text, raw);
	for (char *p = text; *p; p++)
		if (*p == '_')
			*p = ' ';
	s = without_vendor(text);
	n = super_at(s);
	ada = strstr(s, "Ada");
	if (n)
		snprintf(out, size, "%.*s%s SUPER", (int)n, s, s + n + 1);
	else if (ada && ada > s && isdigit((unsigned char)ada[-1]))
		snprintf(out, size, "%.*s %s", (int)(ada - s), s, ada);
	else
		copy_text(out, size, s);
}

/* What Vast.ai's own lists call the models whose names are changed above. */
void vast_gpu_spellings(const char *name, struct buf *out)
{
	const char *super = strstr(name, " SUPER"), *ada = strstr(name, " Ada");
	size_t digits;
	BUF other = {0};

	buf_putc(out, '[');
	buf_json(out, name, strlen(name));
	if (strchr("VPKMT", name[0]) && isdigit((unsigned char)name[1]))
		buf_printf(&other, "Tesla %s", name);
	else if (super && super - name > 3 && !super[6] && strncmp(super - 3, " Ti", 3) == 0)
		buf_printf(&other, "%.*sS Ti", (int)(super - 3 - name), name);
	else if (super && super > name && !super[6])
		buf_printf(&other, "%.*sS", (int)(super - name), name);
	else if (ada && ada > name && isdigit((unsigned char)ada[-1]))
		buf_printf(&other, "%.*s%s", (int)(ada - name), name, ada + 1);
	else if (strncmp(name, "RTX ", 4) == 0) {
		digits = strspn(name + 4, "0123456789");
		if (digits == 4 && !name[8] && strcmp(name + 5, "000") == 0)
			buf_printf(&other, "Q %s", name);
	}
	if (other.len) {
		buf_putc(out, ',');
		buf_json(out, other.data, other.len);
	}
	buf_putc(out, ']');
}

/* ---- rows ---- */

/* "Ontario, CA"; an empty city is left out: ", CN" -> "CN". */
static void read_location(const json_t *row, char *out, size_t size)
{
	char text[96];

	wire_text(row, "geolocation", text, sizeof text);
	copy_text(out, size, text + strspn(text, ", "));
}

/* Whether the row says that it is not what was asked for. */
static bool breaks_filter(const struct page_ask *ask, const json_t *row, const struct offer *o)
{
	const char *kind = wire_word(row, "resource_type"), *state = wire_word(row, "verification");
	bool unverified = state ? strcmp(state, "verified") != 0 : !wire_flag(row, "verified");
	char wanted[sizeof o->gpu_type], a[64], b[64];
	double space;

	if (kind && strcmp(kind, "gpu") != 0)
		return true;
	if (unverified || !wire_flag(row, "rentable") || wire_flag(row, "rented") == 1 ||
	    wire_flag(row, "external") == 1)
		return true;
	if (wire_number(row, "disk_space", &space) && space < (double)ask->shape.disk_gb)
		return true;
	/* One micro-dollar less: prices are rounded here and not there. */
	if (o->price_u6 + 1 < ask->from_price_u6)
		return true;
	if (!ask->gpu[0])
		return false;
	vast_gpu_name(ask->gpu, wanted, sizeof wanted);
	fold(wanted, a, sizeof a);
	fold(o->gpu_type, b, sizeof b);
	return strcmp(a, b) != 0;
}

/* What another disk costs. Unknown: no other size than the one that was priced. */
static bool read_disk(const struct page_ask *ask, const json_t *row, struct offer *o)
{
	double cost, space;

	o->disk.size = ask->shape.disk_gb > 0 ? ask->shape.disk_gb : 0;
	o->disk.max = UNKNOWN;
	if (wire_number(row, "disk_space", &space) && space >= 0 && space < (double)DISK_MAX_GB)
		o->disk.max = (int64_t)space;
	if (!wire_number(row, "storage_cost", &cost)) {
		o->disk.max = o->disk.size;
		return true;
	}
	if (cost < 0 || cost > STORAGE_MAX)
		return false;
	o->disk.rate_u9 = llround(cost * 1e9 / STORAGE_HOURS);
	return true;
}

static void read_quality(const json_t *row, struct offer *o)
{
	int64_t v;

	/* Beyond 1 and below 0 was seen (lessons.md, raw numbers): a share of time is neither. */
	o->reliability_m = UNKNOWN;
	if (wire_scaled(row, "reliability2", 1000, INT64_MIN, INT64_MAX, &v) ||
	    wire_scaled(row, "reliability", 1000, INT64_MIN, INT64_MAX, &v))
		o->reliability_m = v < 0 ? 0 : v > 1000 ? 1000 : v;
	o->cuda_m = UNKNOWN;
	wire_scaled(row, "cuda_max_good", 1000, 1, CUDA_MAX_M, &o->cuda_m);
	o->ports_max = UNKNOWN; /* 0: SSH by proxy only (4.5) */
	wire_int(row, "direct_port_count", 0, UINT16_MAX, &o->ports_max);
	o->max_duration_hours = UNKNOWN;
	if (wire_scaled(row, "duration", 1, INT64_MIN, DURATION_MAX_S, &v))
		o->max_duration_hours = v > 0 ? v / 3600 : 0;
}

/* False: not an offer, or one that cannot be trusted. */
static bool read_offer(const struct page_ask *ask, const json_t *row, struct offer *o)
{
	char ask_id[24] = "", id[24] = "", name[96];
	int64_t mb;
	int bid = wire_flag(row, "is_bid");

	wire_id(row, "ask_contract_id", ask_id, sizeof ask_id);
	wire_id(row, "id", id, sizeof id);
	if (!ask_id[0] && !id[0])
		return false;
	if (ask_id[0] && id[0] && strcmp(ask_id, id) != 0) /* equal, says the wire page */
		return false;
	COPY(o->provider_id, ask_id[0] ? ask_id : id);
	snprintf(o->id, sizeof o->id, "vastai-%s", o->provider_id);
	COPY(o->provider, "vastai");
	wire_text(row, "gpu_name", name, sizeof name);
	vast_gpu_name(name, o->gpu_type, sizeof o->gpu_type);
	if (!o->gpu_type[0] || !wire_int(row, "num_gpus", 1, GPUS_MAX, &o->gpu_count))
		return false;
	if (!wire_scaled(row, "dph_total", 1e6, 1, VAST_PRICE_MAX_U6, &o->price_u6))
		return false;
	o->vram_gb = UNKNOWN;
	if (wire_scaled(row, "gpu_ram", 1, 1, VRAM_MAX_MB, &mb))
		o->vram_gb = vram_nominal_gb(mb);
	else if (wire_scaled(row, "gpu_total_ram", 1, 1, VRAM_MAX_MB, &mb))
		o->vram_gb = vram_nominal_gb(mb / o->gpu_count);
	/* min_bid stands on rows of both markets; only is_bid tells which one this is. */
	o->interruptible = bid < 0 ? ask->interruptible : bid;
	o->min_bid_u6 = UNKNOWN;
	wire_scaled(row, "min_bid", 1e6, 1, VAST_PRICE_MAX_U6, &o->min_bid_u6);
	o->confidence_m = 1000;
	o->available = true;
	if (!wire_id(row, "machine_id", o->machine_id, sizeof o->machine_id))
		o->machine_id[0] = '\0';
	read_location(row, o->location, sizeof o->location);
	read_quality(row, o);
	return read_disk(ask, row, o);
}

static void add_offer(struct vast_reply *r, const json_t *row)
{
	const struct page_ask *ask = &r->ask->page;
	struct offer o = {0}, *at;
	int64_t price;

	/* Of every row that came: where the next page begins. */
	if (wire_scaled(row, "dph_total", 1e6, 1, VAST_PRICE_MAX_U6, &price) &&
	    price > r->out->r.last_price_u6)
		r->out->r.last_price_u6 = price;
	if (!read_offer(ask, row, &o) || breaks_filter(ask, row, &o)) {
		r->out->r.dropped++;
		return;
	}
	at = wire_add_offer(r->out);
	if (at)
		*at = o;
}

void vast_read_offers(struct vast_reply *r)
{
	const json_t *root = r->json.root;
	size_t n = r->json.row_count;

	if (r->json.kind == WIRE_ROWS_NONE) {
		/* One offer by itself, as the documentation draws some. */
		if (!json_object_get(root, "gpu_name")) {
			vast_unreadable(r, "no offers in it");
			return;
		}
		n = 1;
	}
	wire_done(r->out);
	r->out->r.rows = n;
	for (size_t i = 0; i < n; i++) {
		json_t *row = r->json.kind == WIRE_ROWS_NONE ? json_incref((json_t *)root)
							     : wire_json_row(&r->json, i);

		add_offer(r, row);
		json_decref(row);
	}
	r->out->r.complete = true;
}
