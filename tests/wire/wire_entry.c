/* See wire_entry.h. Values that the reply did not tell are left out of a row. */
#include "wire_entry.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "../../providers/providers.h"
#include "../../src/core/check.h"
#include "../toy/toy.h"

static const struct {
	const char *name;
	enum call_op op;
} operations[] = {
	{"search", CALL_OFFERS},   {"list", CALL_LIST},	      {"get", CALL_LOOK},
	{"create", CALL_CREATE},   {"destroy", CALL_DESTROY}, {"attach", CALL_ATTACH},
	{"account", CALL_ACCOUNT},
};
const char *const wire_operations[] = {"search",  "list",   "get",     "create",
				       "destroy", "attach", "account", NULL};

static const struct {
	const char *name;
	struct provider *(*make)(const struct account *account);
	void (*free)(struct provider *p);
} dialects[] = {
	{"vastai", provider_vastai_new, provider_vastai_free},
	{"tensordock", provider_tensordock_new, provider_tensordock_free},
	{"toy", provider_toy_new, provider_toy_free},
};

/* ---- members of a row ---- */

static void put_key(struct buf *b, const char *key)
{
	if (b->len && b->data[b->len - 1] != '{')
		buf_putc(b, ',');
	buf_printf(b, "\"%s\":", key);
}

static void put_text(struct buf *b, const char *key, const char *s)
{
	if (!s[0])
		return;
	put_key(b, key);
	buf_json(b, s, strlen(s));
}

static void put_int(struct buf *b, const char *key, int64_t v)
{
	if (v < 0)
		return;
	put_key(b, key);
	buf_printf(b, "%" PRId64, v);
}

static void put_scaled(struct buf *b, const char *key, int64_t v, int places)
{
	if (v < 0)
		return;
	put_key(b, key);
	put_decimal(b, v, places);
}

static void put_bool(struct buf *b, const char *key, bool v)
{
	put_key(b, key);
	buf_puts(b, v ? "true" : "false");
}

static void put_offer(struct buf *b, const struct offer *o)
{
	buf_putc(b, '{');
	put_text(b, "id", o->id);
	put_text(b, "provider", o->provider);
	put_text(b, "provider_id", o->provider_id);
	put_text(b, "gpu_type", o->gpu_type);
	put_int(b, "gpu_count", o->gpu_count);
	put_int(b, "vram_gb", o->vram_gb);
	put_scaled(b, "price_per_hour", o->price_u6, 6);
	put_text(b, "location", o->location);
	put_scaled(b, "reliability", o->reliability_m, 3);
	put_bool(b, "available", o->available);
	put_int(b, "max_duration_hours", o->max_duration_hours);
	put_scaled(b, "availability_confidence", o->confidence_m, 3);
	put_scaled(b, "cuda_version", o->cuda_m, 3);
	put_text(b, "machine_id", o->machine_id);
	put_bool(b, "interruptible", o->interruptible);
	put_scaled(b, "min_bid", o->min_bid_u6, 6);
	buf_putc(b, '}');
}

static void put_instance(struct buf *b, const struct instance *in)
{
	buf_putc(b, '{');
	put_text(b, "id", in->id);
	put_key(b, "label");
	buf_json(b, in->label, strlen(in->label));
	put_text(b, "state", instance_status_names[in->status]);
	put_text(b, "status_text", in->status_text);
	put_text(b, "ssh_host", in->ssh_host);
	if (in->ssh_port)
		put_int(b, "ssh_port", in->ssh_port);
	put_text(b, "ssh_user", in->ssh_user);
	put_text(b, "host_key", in->host_key);
	put_scaled(b, "price_per_hour", in->price_u6, 6);
	put_scaled(b, "rate_per_hour", in->rate_u6, 6);
	put_text(b, "port_host", in->port_host);
	put_key(b, "ports");
	buf_putc(b, '{');
	for (size_t i = 0; i < in->port_count; i++)
		buf_printf(b, "%s\"%u\":%u", i ? "," : "", in->ports[i].port,
			   in->ports[i].host_port);
	buf_putc(b, '}');
	put_bool(b, "interruptible", in->interruptible);
	buf_putc(b, '}');
}

/* ---- the line ---- */

static void put_rows(struct buf *b, enum call_op op, const struct result *r)
{
	put_key(b, "offers");
	buf_putc(b, '[');
	for (size_t i = 0; op == CALL_OFFERS && i < r->count; i++) {
		if (i)
			buf_putc(b, ',');
		put_offer(b, &r->offers[i]);
	}
	buf_putc(b, ']');
	put_key(b, "instances");
	buf_putc(b, '[');
	for (size_t i = 0; (op == CALL_LIST || op == CALL_LOOK) && i < r->count; i++) {
		if (i)
			buf_putc(b, ',');
		put_instance(b, &r->instances[i]);
	}
	buf_putc(b, ']');
	put_key(b, "created_id");
	if (op == CALL_CREATE && r->count)
		buf_json(b, r->instances[0].id, strlen(r->instances[0].id));
	else
		buf_puts(b, "null");
}

static void put_line(struct buf *b, enum call_op op, const struct wire_result *w)
{
	buf_putc(b, '{');
	put_text(b, "verdict", verdict_names[w->r.verdict]);
	if (w->r.error != PE_NONE)
		put_text(b, "error", provider_error_names[w->r.error]);
	put_text(b, "text", w->r.text);
	put_rows(b, op, &w->r);
	put_int(b, "dropped", (int64_t)w->r.dropped);
	put_key(b, "next");
	if (w->next[0])
		buf_json(b, w->next, strlen(w->next));
	else
		buf_puts(b, "null");
	if (op == CALL_LIST)
		put_int(b, "total", w->total);
	if (op == CALL_ACCOUNT)
		put_scaled(b, "balance", w->r.balance_u6, 6);
	put_scaled(b, "retry_after", w->r.retry_after_us, 6);
	put_text(b, "evidence", w->r.evidence);
	buf_putc(b, '}');
}

bool wire_entry(const char *provider, const char *operation, int status, const char *body,
		size_t len, struct buf *out)
{
	static const struct account account = {.base_url = "https://example.invalid", .key = ""};
	struct wire_reply reply = {status, "application/json", body, len};
	struct wire_ask ask = {0};
	struct wire_result w;
	size_t d = 0, o = 0;
	struct provider *p;

	while (d < ARRAY_LEN(dialects) && strcmp(dialects[d].name, provider) != 0)
		d++;
	while (o < ARRAY_LEN(operations) && strcmp(operations[o].name, operation) != 0)
		o++;
	if (d == ARRAY_LEN(dialects) || o == ARRAY_LEN(operations))
		return false;
	p = dialects[d].make(&account);
	CHECK(p != NULL);
	ask.op = operations[o].op;
	ask.page.limit = p->dialect->page_rows;
	wire_result_init(&w);
	p->dialect->parse(&ask, &reply, &w);
	put_line(out, ask.op, &w);
	wire_result_free(&w);
	dialects[d].free(p);
	return true;
}
