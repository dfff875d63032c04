/*
 * /health, /ready, /metrics, /inventory. The text of every offer is kept until the market changes,
 * since a client may ask for ten thousand of them: an answer is then made of pieces of it. Selection
 * is core's query, the same as in search/ and in a spec. Loop thread. Tests: tests/mount/http.bats,
 * tests/mount/http_slices.bats.
 */
#include <stdlib.h>
#include <string.h>

#include "parts.h"

#define OFFERS_A_STEP  64   /* about 50 us */
#define MATCHES_A_STEP 4096 /* likewise; what does not match costs next to nothing */

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

void market_text_unref(struct market_text *t)
{
	if (!t || --t->refs)
		return;
	inventory_unref(t->inv);
	buf_free(&t->text);
	free(t->ends);
	free(t);
}

/* One more reference to the text of the market as it is now; NULL: memory is out. */
static struct market_text *market_now(struct http *h)
{
	const struct inventory *inv = engine_inventory(h->e);
	int64_t fetched_s = fetched_us(h, NULL) / SECOND_US; /* what fetched_at shows of it */
	struct market_text *t = h->market;

	if (!t || t->inv != inv || t->fetched_s != fetched_s || t->text.failed) {
		t = calloc(1, sizeof(*t));
		if (t)
			t->ends = calloc(inv->count + 1, sizeof(*t->ends));
		if (!t || !t->ends) {
			free(t);
			return NULL;
		}
		t->refs = 1;
		t->inv = inventory_ref((struct inventory *)(uintptr_t)inv);
		t->fetched_s = fetched_s;
		market_text_unref(h->market);
		h->market = t;
	}
	t->refs++;
	return t;
}

/* False: memory is out. */
static bool market_render(const struct http *h, struct market_text *t)
{
	for (int i = 0; i < OFFERS_A_STEP && t->done < t->inv->count; i++) {
		buf_putc(&t->text, ',');
		put_offer(h, &t->inv->offers[t->done], &t->text);
		t->ends[t->done++] = (uint32_t)t->text.len; /* at most BUF_MAX_DEFAULT */
	}
	return !t->text.failed;
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
	[IP_TEMPLATE] = {"template_hash_id", PT_TEXT, 0, 0,
			 "offers that meet what this template asks of a machine"},
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

/* ---- one page ---- */

/* First the offers of the page are found, then the market's text is made as far as it is not there
 * yet, and the answer is put together from pieces of it. A small page needs no such text. */
struct page {
	struct query q;
	int64_t skip, room, total;
	struct market_text *market;
	struct query_scan *scan;
	size_t looked; /* so many offers were compared */
	uint32_t *at;  /* indexes of those on the page */
	size_t count;
};

static void page_free(void *job)
{
	struct page *p = job;

	query_scan_free(p->scan);
	market_text_unref(p->market);
	free(p->at);
	free(p);
}

static struct page *page_new(struct request *r, const struct query *q, const struct value *v)
{
	struct page *p = calloc(1, sizeof(*p));
	const struct query *level;

	if (!p)
		return NULL;
	p->q = *q;
	level = &p->q;
	p->skip = v[IP_OFFSET].set ? v[IP_OFFSET].num : 0;
	p->room = v[IP_LIMIT].set ? v[IP_LIMIT].num : INT64_MAX;
	p->market = market_now(r->h);
	p->at = p->market ? calloc(p->market->inv->count + 1, sizeof(*p->at)) : NULL;
	p->scan = p->at ? query_scan_new(&level, 1, p->market->inv) : NULL;
	if (p->scan)
		return p;
	page_free(p);
	return NULL;
}

static void page_find(struct page *p)
{
	const struct inventory *inv = p->market->inv;

	for (int i = 0; i < MATCHES_A_STEP && p->looked < inv->count; i++) {
		size_t at = query_scan_next(p->scan, p->looked);

		if (at < inv->count && ++p->total > p->skip && (int64_t)p->count < p->room)
			p->at[p->count++] = (uint32_t)at;
		p->looked = at < inv->count ? at + 1 : at;
	}
}

static void put_head(const struct page *p, struct buf *out)
{
	buf_puts(out, "{\"count\":");
	put_json_int(out, (int64_t)p->count);
	buf_puts(out, ",\"offers\":[");
}

static void put_tail(const struct page *p, struct buf *out)
{
	buf_puts(out, "],\"total\":");
	put_json_int(out, p->total);
	buf_putc(out, '}');
}

static void page_small(struct request *r, const struct page *p)
{
	put_head(p, &r->out);
	for (size_t i = 0; i < p->count; i++) {
		if (i)
			buf_putc(&r->out, ',');
		put_offer(r->h, &p->market->inv->offers[p->at[i]], &r->out);
	}
	put_tail(p, &r->out);
	answer(r, 200);
}

/* False: memory is out. */
static bool page_pieces(struct request *r, const struct page *p)
{
	const struct market_text *t = p->market;
	struct large *l = large_new(r);
	size_t head;
	bool fits;

	if (!l)
		return false;
	l->market = p->market;
	l->market->refs++;
	put_head(p, &l->own);
	head = l->own.len;
	put_tail(p, &l->own);
	fits = !l->own.failed && large_add(l, l->own.data, head);
	for (size_t i = 0; fits && i < p->count; i++) {
		size_t at = p->at[i], from = at ? t->ends[at - 1] : 0, comma = i ? 0 : 1;

		fits = large_add(l, t->text.data + from + comma, t->ends[at] - from - comma);
	}
	fits = fits && large_add(l, l->own.data + head, l->own.len - head);
	if (!fits) {
		large_free(l);
		return false;
	}
	r->stream = large_response(l);
	return r->stream != NULL;
}

static void page_step(struct request *r)
{
	struct page *p = r->job;
	struct market_text *t = p->market;

	if (p->looked < t->inv->count) {
		page_find(p);
	} else if (p->count <= OFFERS_A_STEP) {
		page_small(r, p);
	} else if (t->done < t->inv->count || t->text.failed) { /* it is cut off then */
		if (!market_render(r->h, t))
			answer_fail(r, 500, "out of memory");
	} else if (page_pieces(r, p)) {
		answer(r, 200);
	} else {
		answer_fail(r, 500, "out of memory");
	}
}

void get_inventory(struct request *r)
{
	struct value v[IP_COUNT];
	struct query q = {0};
	struct error why;
	char shown[REQUEST_ID_MAX + 1];
	const char *provider = query_text(r, "provider");

	if (provider && !provider_known(r->h, provider)) {
		clean(shown, provider);
		answer_fail(r, 400, "provider not found: %s", shown);
		return;
	}
	if (params_read(r, inventory_params, IP_COUNT, v) != 0)
		return;
	if (query_fill(v, &q, &why) != 0) {
		answer_error(r, &why);
		return;
	}
	if (v[IP_TEMPLATE].set && !template_filter(r, v[IP_TEMPLATE].text, provider, &q))
		return;
	engine_asked_for(r->h->e, &q);
	r->job = page_new(r, &q, v);
	if (!r->job) {
		answer_fail(r, 500, "out of memory");
		return;
	}
	r->job_free = page_free;
	r->step = page_step;
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
