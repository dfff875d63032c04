/*
 * /health, /ready, /metrics, /inventory. The text of every offer is kept until the market changes,
 * since a client may ask for ten thousand of them: an answer is then a copy. Selection is core's
 * query, the same as in search/ and in a spec. Loop thread. Tests: tests/mount/http.bats.
 */
#include <stdlib.h>
#include <string.h>

#include "parts.h"

/* ---- alive and ready ---- */

static void put_status(struct request *r, bool health)
{
	struct status_view v;
	bool ready;

	engine_status(r->h->e, &v);
	ready = strcmp(v.state, "starting") != 0;
	if (health)
		buf_printf(&r->out,
			   "{\"status\":\"%s\",\"timestamp\":", ready ? "ok" : "unavailable");
	else
		buf_printf(&r->out, "{\"ready\":%s,\"timestamp\":", ready ? "true" : "false");
	put_json_time(&r->out, engine_now(r->h->e));
	if (health)
		buf_printf(&r->out,
			   ",\"services\":{\"inventory\":\"%s\",\"lifecycle\":\"running\","
			   "\"ready\":\"%s\"}",
			   ready ? "ok" : "starting", ready ? "true" : "false");
	buf_putc(&r->out, '}');
	answer(r, ready ? 200 : 503);
}

void get_health(struct request *r)
{
	put_status(r, true);
}

void get_ready(struct request *r)
{
	put_status(r, false);
}

void get_metrics(struct request *r)
{
	r->type = "text/plain; version=0.0.4; charset=utf-8";
	if (r->h->args.metrics)
		metrics_text(r->h->args.metrics, &r->out);
	answer(r, 200);
}

void get_openapi(struct request *r)
{
	http_openapi(&r->out);
	answer(r, 200);
}

/* ---- the market as text ---- */

static int64_t fetched_us(const struct http *h, const char *provider)
{
	struct provider_view v;
	int64_t newest = 0, now = engine_now(h->e);

	for (size_t i = 0; engine_provider_view(h->e, i, &v); i++)
		if ((!provider || !strcmp(v.name, provider)) && v.list_age_us != UNKNOWN &&
		    now - v.list_age_us > newest)
			newest = now - v.list_age_us;
	return newest;
}

static void put_offer(const struct http *h, const struct offer *o, struct buf *out)
{
	struct render x = {.thing = o, .fetched_us = fetched_us(h, o->provider)};

	put_json_object(out, offer_members, offer_member_count, &x);
}

void offers_forget(struct http *h)
{
	struct offer_cache *c = &h->offers;

	inventory_unref(c->inv);
	buf_free(&c->text);
	free(c->ends);
	*c = (struct offer_cache){0};
}

/* False: memory is out. */
static bool offers_render(struct http *h)
{
	struct offer_cache *c = &h->offers;
	const struct inventory *inv = engine_inventory(h->e);
	int64_t fetched = fetched_us(h, NULL) / SECOND_US; /* what fetched_at shows of it */

	if (c->inv == inv && c->fetched_us == fetched)
		return true;
	offers_forget(h);
	c->ends = calloc(inv->count + 1, sizeof(*c->ends));
	if (!c->ends)
		return false;
	for (size_t i = 0; i < inv->count; i++) {
		put_offer(h, &inv->offers[i], &c->text);
		c->ends[i] = (uint32_t)c->text.len; /* at most BUF_MAX_DEFAULT */
	}
	if (c->text.failed) {
		offers_forget(h);
		return false;
	}
	c->inv = inventory_ref((struct inventory *)(uintptr_t)inv);
	c->fetched_us = fetched;
	return true;
}

/* ---- /inventory ---- */

enum {
	IP_PROVIDER,
	IP_GPU_TYPE,
	IP_LOCATION,
	IP_MIN_VRAM,
	IP_MAX_PRICE,
	IP_GPU_COUNT,
	IP_MIN_GPU_COUNT,
	IP_MIN_RELIABILITY,
	IP_MIN_CONFIDENCE,
	IP_MIN_CUDA,
	IP_TEMPLATE,
	IP_LIMIT,
	IP_OFFSET,
	IP_COUNT
};

#define AT_LEAST(n) n, INT64_MAX

const struct param inventory_params[] = {
	[IP_PROVIDER] = {"provider", PT_TEXT, 0, 0, "offers of this provider only"},
	[IP_GPU_TYPE] = {"gpu_type", PT_TEXT, 0, 0, "model, in every form factor; case is ignored"},
	[IP_LOCATION] = {"location", PT_TEXT, 0, 0, "a part of the place's name"},
	[IP_MIN_VRAM] = {"min_vram", PT_INT, AT_LEAST(0), "GB on each GPU"},
	[IP_MAX_PRICE] = {"max_price", PT_REAL, AT_LEAST(0), "USD an hour; 0 is zero"},
	[IP_GPU_COUNT] = {"gpu_count", PT_INT, AT_LEAST(0), "at least so many GPUs"},
	[IP_MIN_GPU_COUNT] = {"min_gpu_count", PT_INT, AT_LEAST(0), "the same; it wins"},
	[IP_MIN_RELIABILITY] = {"min_reliability", PT_REAL, 0, 1, "at least this rating"},
	[IP_MIN_CONFIDENCE] = {"min_availability_confidence", PT_REAL, 0, 1, "at least this"},
	[IP_MIN_CUDA] = {"min_cuda", PT_REAL, AT_LEAST(0), "at least this CUDA version"},
	[IP_TEMPLATE] = {"template_hash_id", PT_TEXT, 0, 0, "not supported yet: 400"},
	[IP_LIMIT] = {"limit", PT_INT, AT_LEAST(1), "offers on a page; all if left out"},
	[IP_OFFSET] = {"offset", PT_INT, AT_LEAST(0), "offers before the page"},
};
const size_t inventory_param_count = ARRAY_LEN(inventory_params);
_Static_assert(ARRAY_LEN(inventory_params) == IP_COUNT, "every parameter has a row");

static void query_number(struct query *q, enum query_key key, const struct value *v, int64_t unit)
{
	if (!v->set)
		return;
	q->set |= UINT32_C(1) << key;
	q->num[key] = v->num / unit + (v->num % unit != 0); /* a minimum is never rounded down */
}

static int query_text_set(struct query *q, enum query_key key, const struct param *p,
			  const struct value *v, struct error *why)
{
	struct error inner;

	if (!v->set || query_set(q, key, str_of(v->text), &inner) == 0)
		return 0;
	return fail(why, ERR_INVALID, "invalid %s: %s", p->name, inner.text);
}

static int query_fill(const struct value *v, struct query *q, struct error *why)
{
	const struct param *p = inventory_params;
	const struct value *count = &v[v[IP_MIN_GPU_COUNT].set ? IP_MIN_GPU_COUNT : IP_GPU_COUNT];
	int err = query_text_set(q, Q_PROVIDER, &p[IP_PROVIDER], &v[IP_PROVIDER], why);

	if (!err)
		err = query_text_set(q, Q_GPU, &p[IP_GPU_TYPE], &v[IP_GPU_TYPE], why);
	if (!err)
		err = query_text_set(q, Q_LOCATION, &p[IP_LOCATION], &v[IP_LOCATION], why);
	if (!err && v[IP_TEMPLATE].set)
		err = fail(
			why, ERR_INVALID,
			"invalid template_hash_id: templates are not supported yet; leave it out");
	query_number(q, Q_MIN_VRAM, &v[IP_MIN_VRAM], 1);
	query_number(q, Q_MIN_GPU_COUNT, count, 1);
	query_number(q, Q_MIN_RELIABILITY, &v[IP_MIN_RELIABILITY], 1000);
	query_number(q, Q_MIN_CONFIDENCE, &v[IP_MIN_CONFIDENCE], 1000);
	query_number(q, Q_MIN_CUDA, &v[IP_MIN_CUDA], 1000);
	query_number(q, Q_MAX_PRICE, &v[IP_MAX_PRICE], 1);
	return err;
}

static bool provider_known(const struct http *h, const char *name)
{
	struct provider_view v;

	for (size_t i = 0; engine_provider_view(h->e, i, &v); i++)
		if (!strcmp(v.name, name))
			return true;
	return false;
}

/* The offers of one page as indexes, so that their texts are copied once. */
struct page {
	uint32_t *at;
	int64_t count, total;
};

static bool page_find(const struct inventory *inv, const struct query *q, const struct value *v,
		      struct page *page)
{
	int64_t skip = v[IP_OFFSET].set ? v[IP_OFFSET].num : 0;
	int64_t room = v[IP_LIMIT].set ? v[IP_LIMIT].num : INT64_MAX;

	page->at = calloc(inv->count + 1, sizeof(*page->at));
	if (!page->at)
		return false;
	for (size_t i = 0; i < inv->count; i++)
		if (query_match(q, &inv->offers[i]) && ++page->total > skip && page->count < room)
			page->at[page->count++] = (uint32_t)i;
	return true;
}

static void put_page(struct request *r, const struct query *q, const struct value *v)
{
	const struct offer_cache *c = &r->h->offers;
	struct page page = {0};

	if (!page_find(c->inv, q, v, &page)) {
		answer_fail(r, 500, "out of memory");
		return;
	}
	buf_puts(&r->out, "{\"count\":");
	put_json_int(&r->out, page.count);
	buf_puts(&r->out, ",\"offers\":[");
	for (int64_t i = 0; i < page.count; i++) {
		size_t at = page.at[i], from = at ? c->ends[at - 1] : 0;

		if (i)
			buf_putc(&r->out, ',');
		buf_add(&r->out, c->text.data + from, c->ends[at] - from);
	}
	buf_puts(&r->out, "],\"total\":");
	put_json_int(&r->out, page.total);
	buf_putc(&r->out, '}');
	free(page.at);
	answer(r, 200);
}

void get_inventory(struct request *r)
{
	struct value v[IP_COUNT];
	struct query q = {0};
	struct error why;
	char shown[REQUEST_ID_MAX + 1];
	const char *provider = query_text(r, "provider");

	engine_looked_at_market(r->h->e);
	if (provider && !provider_known(r->h, provider)) {
		clean(shown, provider);
		answer_fail(r, 400, "provider not found: %s", shown);
		return;
	}
	if (params_read(r, inventory_params, IP_COUNT, v) != 0)
		return;
	if (query_fill(v, &q, &why) != 0)
		answer_error(r, &why);
	else if (!offers_render(r->h))
		answer_fail(r, 500, "out of memory");
	else
		put_page(r, &q, v);
}

void get_offer(struct request *r)
{
	const struct offer *o = inventory_find(engine_inventory(r->h->e), r->param);
	char shown[REQUEST_ID_MAX + 1];

	engine_looked_at_market(r->h->e);
	if (!o) {
		clean(shown, r->param);
		answer_fail(r, 404, "offer not found: %s", shown);
		return;
	}
	put_offer(r->h, o, &r->out);
	answer(r, 200);
}
