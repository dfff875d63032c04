/*
 * The HTTP engine's life, its answers, and what can be seen of it: see cloud.h. No call is answered
 * from inside cloud_act: everything happens in the timer's and the world's callbacks.
 */
#include <string.h>

#include "cloud_parts.h"

/* Account-wide burst where the dialect states less: one token is kept for destroys, and one must be
 * left for everything else. */
#define ACCOUNT_BURST_MIN 2

#define KEY_LEN_MIN 8 /* shorter ones are placeholders of tests, and part of any text */

/* ---- life ---- */

struct cloud *cloud_new(struct world *w, struct provider *p)
{
	const struct dialect *d = p->dialect;
	struct cloud *c = xcalloc(1, sizeof *c);

	CHECK(d && d->build && d->parse && d->endpoint_count);
	CHECK(d->account_burst >= ACCOUNT_BURST_MIN);
	c->w = w;
	c->p = p;
	c->endpoints = xcalloc(d->endpoint_count, sizeof *c->endpoints);
	for (size_t i = 0; i < d->endpoint_count; i++)
		bucket_init(&c->endpoints[i], d->endpoints[i].spacing_us, d->endpoints[i].burst);
	bucket_init(&c->account, d->account_spacing_us, d->account_burst);
	c->timer = w->timer_new(w->self, cloud_pump, c);
	return c;
}

static void request_free(struct request *r)
{
	struct world *w = r->c->w;

	if (r->http)
		w->http_cancel(w->self, r->http);
	if (r->job)
		parse_abandon(r->job);
	walk_free(r->walk);
	buf_free(&r->wire.path);
	buf_free(&r->wire.body);
	buf_free(&r->url);
	buf_free(&r->auth);
	free(r);
}

void cloud_free(struct cloud *c)
{
	struct request *r;

	if (!c)
		return;
	CHECK(!c->closed);
	c->closed = true;
	while ((r = c->requests)) {
		c->requests = r->next;
		request_free(r);
	}
	c->w->timer_free(c->w->self, c->timer);
	free(c->endpoints);
	c->endpoints = NULL;
	if (!c->busy)
		free(c);
}

void cloud_enter(struct cloud *c)
{
	c->busy++;
}

void cloud_leave(struct cloud *c)
{
	CHECK(c->busy > 0);
	if (!--c->busy && c->closed)
		free(c);
}

void cloud_kick(struct cloud *c)
{
	if (!c->closed)
		c->w->timer_set(c->w->self, c->timer, 0);
}

/* ---- calls ---- */

void request_build(struct request *r, const struct call *call, const char *cursor)
{
	struct wire_request *wire = &r->wire;

	buf_free(&wire->path);
	buf_free(&wire->body);
	/* A create's body holds the user's environment. */
	*wire = (struct wire_request){.body.secret = true};
	r->build_why = (struct error){0};
	r->build_err = r->c->p->dialect->build(r->c->p, call, cursor, wire, &r->build_why);
	if (r->build_err)
		return;
	if (wire->path.failed || wire->body.failed)
		r->build_err = fail(&r->build_why, ERR_NO_MEMORY,
				    "the request does not fit into memory");
	else
		CHECK(wire->endpoint < r->c->p->dialect->endpoint_count && wire->path.len &&
		      wire->path.data[0] == '/');
}

void cloud_act(struct cloud *c, const struct call *call, result_cb cb, void *arg)
{
	struct request *r = xcalloc(1, sizeof *r), **end = &c->requests;

	CHECK(!c->closed && call->op < CALL_OP_COUNT);
	r->c = c;
	r->op = r->ask.op = call->op;
	r->go = call->go;
	r->cb = cb;
	r->arg = arg;
	r->queued_us = cloud_now(c);
	r->unwelcome = c->queued >= QUEUE_MAX && !op_rows[call->op].destroys;
	if (call->page)
		r->ask.page = *call->page;
	if (call->instance_id)
		COPY(r->ask.instance_id, call->instance_id);
	if (call->op == CALL_LIST)
		r->walk = walk_new();
	request_build(r, call, "");
	while (*end)
		end = &(*end)->next;
	*end = r;
	c->queued++;
	cloud_kick(c);
}

void request_requeue(struct request *r, int64_t not_before_us)
{
	CHECK(r->state != REQ_QUEUED && op_rows[r->op].read);
	r->state = REQ_QUEUED;
	r->not_before_us = not_before_us;
	r->c->queued++;
	cloud_kick(r->c);
}

/* Providers quote what they were sent, keys too: such a sentence is not passed on. */
static void hide_key(const struct cloud *c, char *text, size_t size)
{
	const char *const keys[] = {c->p->account.key, c->p->account.balance_id};

	for (size_t i = 0; i < ARRAY_LEN(keys); i++)
		if (keys[i] && strlen(keys[i]) >= KEY_LEN_MIN && strstr(text, keys[i]))
			copy_text(text, size,
				  "the provider's words are left out: they quote the key");
}

void request_answer(struct request *r, struct result *res)
{
	struct cloud *c = r->c;
	struct request **at = &c->requests;

	CHECK(c->busy);
	while (*at != r)
		at = &(*at)->next;
	*at = r->next;
	if (r->state == REQ_QUEUED)
		c->queued--;
	if (r->op == CALL_CREATE && r->state != REQ_QUEUED)
		c->create_busy = false;
	hide_key(c, res->text, sizeof res->text);
	hide_key(c, res->evidence, sizeof res->evidence);
	r->cb(r->arg, res);
	request_free(r); /* the rows of a list are its own */
	cloud_kick(c);
}

void request_say(struct request *r, enum verdict v, enum provider_error e, int64_t retry_after_us,
		 const char *fmt, ...)
{
	struct wire_result w;
	struct result res;
	char text[sizeof w.r.text];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	wire_result_init(&w);
	wire_say(&w, v, e, "%s", text);
	w.r.retry_after_us = retry_after_us;
	res = w.r;
	if (r->walk) /* a list that got some pages hands them over */
		walk_page(r->walk, 0, &w, r->ask.cursor, &res);
	request_answer(r, &res);
}

void cloud_hang_up(struct cloud *c)
{
	struct request *r;

	cloud_enter(c);
	while (!c->closed && (r = c->requests)) {
		bool open = r->state != REQ_QUEUED && !op_rows[r->op].read;

		request_say(r, open ? UNSURE : LATER, PE_UNAVAILABLE, UNKNOWN, "%s: stopping",
			    c->p->name);
	}
	cloud_leave(c);
}

/* ---- what can be seen ---- */

static int64_t median_skew_us(const struct cloud *c)
{
	int64_t sorted[SKEWS];
	size_t n = 0;

	for (; n < c->skew_count; n++) {
		size_t at = n;

		for (; at && sorted[at - 1] > c->skews[n]; at--)
			sorted[at] = sorted[at - 1];
		sorted[at] = c->skews[n];
	}
	return n ? sorted[n / 2] : UNKNOWN;
}

void cloud_view(const struct cloud *c, struct cloud_view *out)
{
	int64_t now = cloud_now(c), until = c->account.paused_us;

	for (size_t i = 0; i < c->p->dialect->endpoint_count; i++)
		if (c->endpoints[i].paused_us > until)
			until = c->endpoints[i].paused_us;
	*out = (struct cloud_view){
		.requests = c->sent,
		.throttled_until_us = until > now ? until : 0,
		.breaker = (int)breaker_state(&c->breaker, now),
		.destroy_breaker = (int)breaker_state(&c->destroy_breaker, now),
		.skew_us = median_skew_us(c),
		.queued = c->queued,
	};
}
