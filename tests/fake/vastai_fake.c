/*
 * The fake Vast.ai: settings, time, and what every request passes before its handler: host, path, form
 * of the request, key, burst, spacing, faults. The routes are one table (vastai_routes.c).
 * Time advances event by event, so that money and states are exact whoever looks, and whenever.
 */
#include <stdarg.h>

#include "vastai_parts.h"

#define HOUR_OF_CREDIT ((__int128)HOUR_US)

const char *const fakevast_op_names[FV_OP_COUNT] = {
	"search",    "create",	"list",	     "list_v0", "get",	   "manage", "destroy",
	"attach",    "detach",	"inst_keys", "keys",	"bid",	   "reboot", "account",
	"templates", "charges", "invoices",  "misc",	"unknown", "boot",
};

/* ---- small helpers ---- */

void *grow(void *array, size_t count, size_t size)
{
	/* Doubled at each power of two, so the callers need not remember a capacity. */
	if (count & (count - 1))
		return array;
	array = realloc(array, (count ? count * 2 : 1) * size);
	CHECK(array != NULL);
	return array;
}

char *copy_of(const char *s)
{
	char *out = strdup(s);

	CHECK(out != NULL);
	return out;
}

/* splitmix64: small, good, and the same everywhere. */
uint64_t random_next(struct random *r)
{
	uint64_t z = (r->state += 0x9e3779b97f4a7c15u);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

int64_t random_below(struct random *r, int64_t n)
{
	return n < 1 ? 0 : (int64_t)(random_next(r) % (uint64_t)n);
}

bool random_hit(struct random *r, int64_t ppm)
{
	return ppm > 0 && random_below(r, 1000000) < ppm;
}

void fake_http_reply_free(struct fake_http_reply *r)
{
	buf_free(&r->body);
}

int64_t scaled(const struct fakevast *f, int64_t us)
{
	return us * f->c.time_permille / 1000;
}

/* ---- life of the fake ---- */

void fakevast_defaults(struct fakevast_config *c)
{
	*c = (struct fakevast_config){
		.seed = 1,
		.key = FAKEVAST_KEY,
		.epoch_us = 1787700000 * SECOND_US,
		.time_permille = 1000,
		.offers = 200,
		.sample_ppm = 250000,
		.stale_ppm = 250000,
		.page_cap = 64,
		.boot_min_us = 30 * SECOND_US,
		.boot_max_us = 90 * SECOND_US,
		.created_us = 2 * SECOND_US,
		.loading_us = 4 * SECOND_US,
		.attach_us = 12 * SECOND_US,
		.destroy_us = 2 * SECOND_US,
		.gone_variants = true,
		.spacing_permille = 1000,
		.burst_max = 20,
		.credit_u6 = 100000000,
		.redirect_to = "http://127.0.0.1:9/",
	};
}

void fakevast_calm(struct fakevast_config *c)
{
	fakevast_defaults(c);
	c->sample_ppm = c->stale_ppm = 0;
	c->boot_max_us = c->boot_min_us;
}

static void scale_durations(struct fakevast *f)
{
	int64_t *const all[] = {&f->c.boot_min_us, &f->c.boot_max_us, &f->c.created_us,
				&f->c.loading_us,  &f->c.attach_us,   &f->c.destroy_us,
				&f->c.lag_us,	   &f->c.lag_gone_us};

	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		*all[i] = scaled(f, *all[i]);
}

struct fakevast *fakevast_new(const struct fakevast_config *c)
{
	struct fakevast *f = xcalloc(1, sizeof(*f));
	struct random seeds = {c->seed};
	struct random *const all[] = {&f->rnd_market, &f->rnd_sample, &f->rnd_boot, &f->rnd_fault,
				      &f->rnd_reply};

	f->c = *c;
	COPY(f->key, c->key);
	COPY(f->redirect, c->redirect_to ? c->redirect_to : "");
	f->c.key = f->key;
	f->c.redirect_to = f->redirect;
	/* A stream for each use: one more fault drawn does not change the market. */
	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		all[i]->state = random_next(&seeds);
	scale_durations(f);
	f->credit_left = (__int128)c->credit_u6 * HOUR_OF_CREDIT;
	f->next_offer = 40112233 + random_below(&f->rnd_market, 100000);
	f->next_instance = 33402296 + random_below(&f->rnd_market, 100000);
	f->next_key = 123;
	f->spacing = xcalloc(fakevast_route_count, sizeof(*f->spacing));
	for (size_t i = 0; i < fakevast_route_count; i++) {
		f->spacing[i].last_us = INT64_MIN / 2;
		for (size_t k = 0; k < ARRAY_LEN(f->spacing[i].window); k++)
			f->spacing[i].window[k] = INT64_MIN / 2;
	}
	market_make(f, (size_t)c->offers);
	return f;
}

void fakevast_free(struct fakevast *f)
{
	if (!f)
		return;
	market_unmake(f);
	for (size_t i = 0; i < f->instance_count; i++)
		instance_free(f->instances[i]);
	for (size_t i = 0; i < f->account_key_count; i++)
		free(f->account_keys[i].line);
	for (size_t i = 0; i < f->pending_count; i++)
		json_decref(f->pending[i].body);
	for (size_t i = 0; i < f->label_count; i++)
		free(f->labels[i]);
	free(f->instances);
	free(f->account_keys);
	free(f->pending);
	free(f->faults);
	free(f->spacing);
	free(f->journal);
	free(f->violations);
	free(f->labels);
	free(f);
}

/* ---- time ---- */

void settle_credit(struct fakevast *f, int64_t now_us)
{
	f->credit_left -= (__int128)f->rate_sum_u6 * (now_us - f->credit_from_us);
	f->credit_from_us = now_us;
}

static int64_t broke_us(const struct fakevast *f)
{
	__int128 left;

	if (f->broke || f->rate_sum_u6 <= 0)
		return NEVER;
	if (f->credit_left <= 0)
		return f->credit_from_us;
	left = (f->credit_left + f->rate_sum_u6 - 1) / f->rate_sum_u6;
	return left > NEVER / 4 ? NEVER : f->credit_from_us + (int64_t)left;
}

int64_t fakevast_next_us(const struct fakevast *f)
{
	int64_t next = broke_us(f), t = market_due_us(f);

	next = t < next ? t : next;
	for (size_t i = 0; i < f->pending_count; i++)
		next = f->pending[i].at_us < next ? f->pending[i].at_us : next;
	for (size_t i = 0; i < f->instance_count; i++) {
		t = instance_next_us(f->instances[i]);
		next = t < next ? t : next;
	}
	return next;
}

/* Credit is used up: what runs is stopped, without a marker; disks go on being billed. */
static void go_broke(struct fakevast *f)
{
	f->broke = true;
	for (size_t i = 0; i < f->instance_count; i++)
		if (instance_alive(f->instances[i]) && f->instances[i]->intended == I_RUNNING)
			instance_stop(f, f->instances[i]);
}

static void pending_step(struct fakevast *f)
{
	for (size_t i = 0; i < f->pending_count;) {
		struct pending p = f->pending[i];
		struct fv_instance *inst;

		if (p.at_us > f->now_us) {
			i++;
			continue;
		}
		f->pending[i] = f->pending[--f->pending_count];
		inst = p.instance_id ? instance_any(f, p.instance_id) : NULL;
		if (p.body)
			create_effect(f, p.offer_id, p.body);
		else if (inst && instance_alive(inst))
			destroy_effect(f, inst, 0);
		json_decref(p.body);
	}
}

void fakevast_advance(struct fakevast *f, int64_t now_us)
{
	CHECK(now_us >= f->now_us);
	for (;;) {
		int64_t next = fakevast_next_us(f);

		if (next > now_us)
			break;
		if (next > f->now_us)
			f->now_us = next;
		settle_credit(f, f->now_us);
		if (broke_us(f) <= f->now_us)
			go_broke(f);
		pending_step(f);
		market_advance(f);
		for (size_t i = 0; i < f->instance_count; i++)
			instance_step(f, f->instances[i]);
	}
	f->now_us = now_us;
	settle_credit(f, now_us);
}

void fakevast_set_credit(struct fakevast *f, int64_t now_us, int64_t credit_u6)
{
	fakevast_advance(f, now_us);
	f->credit_left = (__int128)credit_u6 * HOUR_OF_CREDIT;
	f->broke = false;
}

void fakevast_set_key_dead(struct fakevast *f, bool dead)
{
	f->key_dead = dead;
}

void fakevast_be_kind(struct fakevast *f)
{
	fakevast_no_faults(f);
	f->c.sample_ppm = f->c.stale_ppm = 0;
	f->c.storage_rows = f->c.breaking_rows = false;
	f->c.lag_us = f->c.lag_gone_us = 0;
	f->key_dead = false;
	for (size_t i = 0; i < f->instance_count; i++)
		f->instances[i]->shown_us = f->instances[i]->created_us;
}

/* ---- what a request passes ---- */

static bool pattern_fits(const char *pattern, const char *path, int64_t *id, int64_t *id2)
{
	int64_t *where = id;

	*id = *id2 = 0;
	while (*pattern && *path) {
		if (*pattern != '#') {
			if (*pattern++ != *path++)
				return false;
			continue;
		}
		pattern++;
		*where = -1; /* not a number: its handler refuses it in its own words */
		if (*path == '/')
			return false;
		for (int64_t n = 0; *path && *path != '/'; path++) {
			if (*path < '0' || *path > '9' || n > INT64_MAX / 100)
				n = INT64_MIN;
			n = n < 0 ? n : n * 10 + (*path - '0');
			*where = n < 0 ? -1 : n;
		}
		where = id2;
	}
	return !*pattern && !*path;
}

enum path_fit { FITS, OTHER_METHOD, NO_SLASH, NOWHERE };

static enum path_fit find_route(struct ctx *x)
{
	enum path_fit fit = NOWHERE;
	char longer[520];

	snprintf(longer, sizeof(longer), "%s/", x->path);
	for (size_t i = 0; i < fakevast_route_count; i++) {
		const struct route *r = &fakevast_routes[i];
		int64_t id, id2;

		if (pattern_fits(r->pattern, x->path, &id, &id2)) {
			if (!strcmp(r->method, x->q->method)) {
				x->route = r;
				x->id = id;
				x->id2 = id2;
				return FITS;
			}
			fit = OTHER_METHOD;
		} else if (fit == NOWHERE && pattern_fits(r->pattern, longer, &id, &id2)) {
			fit = NO_SLASH;
		}
	}
	return fit;
}

/* Answered if the path leads nowhere. */
static bool path_ok(struct ctx *x)
{
	switch (find_route(x)) {
	case FITS:
		return true;
	case OTHER_METHOD:
		violate(x, "method", "%s is not documented for %s", x->q->method, x->path);
		say(x, 405, "{\"detail\": \"Method Not Allowed\"}");
		return false;
	case NO_SLASH:
		violate(x, "slash", "%s %s lacks its trailing slash", x->q->method, x->path);
		if (!strcmp(x->q->method, "GET")) {
			html(x, 308, "308 Permanent Redirect");
			snprintf(x->out->location, sizeof(x->out->location), "%.200s/", x->path);
		} else {
			html(x, 404, "404 Not Found");
		}
		return false;
	case NOWHERE:
		break;
	}
	violate(x, "path", "%s %s is not documented", x->q->method, x->path);
	html(x, 404, "404 Not Found");
	return false;
}

static bool form_ok(struct ctx *x)
{
	const struct fake_http_request *q = x->q;
	json_error_t e;

	if (q->len && !strcmp(q->method, "GET")) {
		violate(x, "get-body", "GET %s with a body of %zu bytes", x->path, q->len);
		refuse(x, 400, "invalid_request", "GET takes no body");
		return false;
	}
	if (!q->len)
		return true;
	if (!q->content_type || strncmp(q->content_type, "application/json", 16) ||
	    (q->content_type[16] && q->content_type[16] != ';')) {
		violate(x, "content-type", "%s %s: body as %s", q->method, x->path,
			q->content_type ? q->content_type : "nothing");
		refuse(x, 400, "invalid_request", "Invalid json body");
		return false;
	}
	x->body = json_loadb(q->body, q->len, JSON_REJECT_DUPLICATES, &e);
	if (!json_is_object(x->body)) {
		violate(x, "json", "%s %s: the body is no JSON object: %s", q->method, x->path,
			x->body ? "another type" : e.text);
		if (x->route->op == FV_SEARCH)
			say(x, 400,
			    "{\"error\": \"invalid_request\", \"msg\": \"Invalid json body\"}");
		else
			refuse(x, 400, "invalid_args",
			       "error 400/1782: Invalid args: invalid json");
		return false;
	}
	return true;
}

static bool key_ok(struct ctx *x)
{
	const char *in_url = param(x, "api_key"), *given = x->q->auth;
	bool right = false;

	if (in_url) {
		violate(x, "key-in-url", "%s %s has the key in its query", x->q->method, x->path);
		right = !strcmp(in_url, x->f->key);
	}
	if (given) {
		right = !strncmp(given, "Bearer ", 7) && !strcmp(given + 7, x->f->key);
		if (strncmp(given, "Bearer ", 7))
			violate(x, "auth-form", "Authorization is not \"Bearer KEY\"");
	} else if (!in_url) {
		if (x->route->auth == AUTH_OPEN)
			return true;
		if (x->route->auth == AUTH_DETAIL)
			say(x, 401,
			    "{\"detail\": \"Authentication credentials were not provided.\"}");
		else
			refuse(x, 403, "auth_error", "This action requires login.");
		return false;
	}
	if (right && !x->f->key_dead)
		return true;
	say_auth(x, FVF_AUTH);
	return false;
}

/* More than burst_max requests in a second: the edge answers for the rest of it and one more. */
static bool burst_ok(struct ctx *x)
{
	struct fakevast *f = x->f;
	int64_t second = scaled(f, SECOND_US) * f->c.spacing_permille / 1000;

	if (f->c.burst_max <= 0 || second <= 0)
		return true;
	if (f->now_us - f->burst_from_us >= second) {
		f->burst_from_us = f->now_us;
		f->burst_count = 0;
	}
	if (++f->burst_count > f->c.burst_max)
		f->burst_until_us = f->now_us + second;
	if (f->now_us >= f->burst_until_us)
		return true;
	x->entry->early = true;
	f->throttled++;
	html(x, 403, "403 Forbidden");
	return false;
}

static bool spacing_ok(struct ctx *x)
{
	struct fakevast *f = x->f;
	struct spacing *s = &f->spacing[x->route - fakevast_routes];
	int64_t factor = f->c.spacing_permille, now = f->now_us, slack = f->c.tolerance_us;
	int64_t apart = scaled(f, x->route->spacing_us) * factor / 1000;
	int64_t minute = scaled(f, MINUTE_US) * factor / 1000;
	bool early = now + slack < s->last_us + apart || now + slack < s->blocked_us;
	size_t cap = (size_t)x->route->cap_per_minute;

	if (cap && now + slack < s->window[s->window_next] + minute)
		early = true;
	if (early) {
		/* The penalty counts from the first refusal: asking on does not make it longer. */
		if (x->route->penalty_us && now >= s->blocked_us)
			s->blocked_us = now + scaled(f, x->route->penalty_us) * factor / 1000;
		x->entry->early = true;
		f->throttled++;
		say_429(x, 0);
		return false;
	}
	s->last_us = now;
	if (cap) {
		CHECK(cap <= ARRAY_LEN(s->window));
		s->window[s->window_next] = now;
		s->window_next = (s->window_next + 1) % cap;
	}
	return true;
}

static void open_entry(struct ctx *x)
{
	struct fakevast *f = x->f;
	struct fakevast_entry *e;

	if (f->journal_count == f->journal_cap) {
		f->journal_cap = f->journal_cap ? f->journal_cap * 2 : 64;
		f->journal = realloc(f->journal, f->journal_cap * sizeof(*f->journal));
		CHECK(f->journal != NULL);
	}
	e = &f->journal[f->journal_count++];
	*e = (struct fakevast_entry){.at_us = f->now_us,
				     .op = FV_UNKNOWN,
				     .reused = x->q->reused,
				     .digest = x->q->len ? hash64(x->q->body, x->q->len, 0) : 0};
	COPY(e->method, x->q->method);
	COPY(e->path, x->path);
	x->entry = e;
	f->requests++;
}

static void pass(struct ctx *x)
{
	if (x->q->host && !strcmp(x->q->host, "vast.ai")) {
		html(x, 308, "308 Permanent Redirect");
		snprintf(x->out->location, sizeof(x->out->location),
			 "https://console.vast.ai%.200s", x->q->target);
		return;
	}
	if (!path_ok(x))
		return;
	x->entry->op = x->route->op;
	x->entry->instance = x->route->op == FV_CREATE || x->route->op == FV_KEYS ? 0 : x->id;
	x->f->calls[x->route->op]++;
	if (!form_ok(x))
		return;
	if (x->route->op == FV_CREATE)
		create_note(x);
	if (!key_ok(x) || !burst_ok(x) || !spacing_ok(x))
		return;
	x->fault = fault_draw(x->f, x->route->op, &x->param);
	x->entry->fault = x->fault;
	if (fault_before(x))
		return;
	x->route->serve(x);
	fault_after(x);
}

void fakevast_request(struct fakevast *f, int64_t now_us, const struct fake_http_request *q,
		      struct fake_http_reply *out)
{
	struct ctx x = {.f = f, .q = q, .out = out};
	size_t n = strcspn(q->target, "?");

	fakevast_advance(f, now_us);
	buf_reset(&out->body);
	*out = (struct fake_http_reply){.body = out->body, .content_type = "application/json"};
	out->body.max = (size_t)256 << 20;
	snprintf(x.path, sizeof(x.path), "%.*s", (int)(n < 511 ? n : 511), q->target);
	x.query = q->target[n] ? q->target + n + 1 : "";
	open_entry(&x);
	pass(&x);
	CHECK(!out->body.failed);
	x.entry->status = out->delivery == FAKE_DROP || out->delivery == FAKE_UNSENT ? 0
										     : out->status;
	json_decref(x.body);
}
