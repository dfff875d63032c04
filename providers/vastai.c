/*
 * The provider "vastai": what Vast.ai's HTTP API is asked, and the numbers of its rate limits. Source of
 * every path, member and limit: the wire page vastai.md, whose sections are named below. Bodies are
 * written from integers, so that no price or size passes through a double. Reading: vastai_reply.c.
 * Pure; any thread. Tests: tests/unit/test_vastai.c.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../src/core/check.h"
#include "../src/core/text.h"
#include "../src/core/url.h"
#include "providers.h"
#include "vastai_parts.h"

#define PAGE_ROWS     64 /* of a search; asked for more it still brings these (4.3) */
#define DISK_MIN_GB   8	 /* 5.1 */
#define LABEL_MAX     60 /* 5.1: known good */
#define IMAGE_MAX     1024
#define ONSTART_MAX   4096
#define ENV_VALUE_MAX 256
#define ENV_MAX	      32768 /* bytes of the whole environment */
#define BID_MIN_U6    1000  /* 0.001 USD an hour */
#define BID_MAX_U6    (INT64_C(128) * 1000000)
#define LIST_LAG_US   (600 * SECOND_US) /* 8: absence before this was seen of healthy machines */

/* Section 2. Spacing in seconds, as the page reads `threshold`. */
enum vast_endpoint {
	EP_SEARCH,
	EP_CREATE,
	EP_LIST,
	EP_LOOK,
	EP_DESTROY,
	EP_ATTACH,
	EP_ACCOUNT,
	EP_TEMPLATES
};
static const struct endpoint endpoints[] = {
	/* "10 per minute": 3 at once and one every 8 s are at most 10 in any minute. */
	[EP_SEARCH] = {"search", 8 * SECOND_US, 3, 0},
	[EP_CREATE] = {"create", 4500000, 1, 12 * SECOND_US},
	[EP_LIST] = {"list", SECOND_US, 1, 0},
	[EP_LOOK] = {"look", 2 * SECOND_US, 1, 0},
	[EP_DESTROY] = {"destroy", 3 * SECOND_US, 1, 0},
	[EP_ATTACH] = {"attach", SECOND_US, 1, 0},
	[EP_ACCOUNT] = {"account", SECOND_US, 1, 0}, /* none stated */
	[EP_TEMPLATES] = {"templates", 3 * SECOND_US, 1, 0},
};

/* ---- small pieces ---- */

static void put_text(struct buf *b, const char *s)
{
	buf_json(b, s, strlen(s));
}

static void put_member(struct buf *b, const char *key, const char *value)
{
	buf_printf(b, ",\"%s\":", key);
	put_text(b, value);
}

/* An id goes into a path: it must be a number, whoever says it. */
static int check_id(const char *id, const char *what, struct error *why)
{
	size_t n = strlen(id);

	if (n > 0 && n <= 18 && strspn(id, "0123456789") == n)
		return 0;
	return fail(why, ERR_INVALID, "vastai: the id of %s is not a number", what);
}

/* ---- create (5.1) ---- */

static int check_env_name(const char *name, struct error *why)
{
	size_t n = strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_");

	/* Keys of `env` that begin with a '-' are options of docker. */
	if (n > 0 && !name[n] && !(name[0] >= '0' && name[0] <= '9'))
		return 0;
	return fail(why, ERR_INVALID, "vastai: \"env.%s\" is not the name of a variable", name);
}

static int put_env(struct buf *b, const struct create_args *c, struct error *why)
{
	size_t total = 0;
	const char *comma = "";
	int err;

	if (!c->env_count && !c->port_count)
		return 0;
	buf_puts(b, ",\"env\":{");
	for (size_t i = 0; i < c->env_count; i++, comma = ",") {
		const struct spec_env *e = &c->env[i];

		err = check_env_name(e->name, why);
		if (err)
			return err;
		if (strlen(e->value) > ENV_VALUE_MAX)
			return fail(why, ERR_INVALID,
				    "vastai: env.%s is longer than the %d characters that Vast.ai "
				    "takes",
				    e->name, ENV_VALUE_MAX);
		total += strlen(e->name) + strlen(e->value);
		buf_puts(b, comma);
		put_text(b, e->name);
		buf_putc(b, ':');
		put_text(b, e->value);
	}
	if (total > ENV_MAX)
		return fail(why, ERR_INVALID, "vastai: all env together are longer than %d bytes",
			    ENV_MAX);
	for (size_t i = 0; i < c->port_count; i++, comma = ",") {
		if (c->ports[i] < 1 || c->ports[i] > UINT16_MAX)
			return fail(why, ERR_INVALID, "vastai: no port %" PRId64, c->ports[i]);
		buf_printf(b, "%s\"-p %" PRId64 ":%" PRId64 "\":\"1\"", comma, c->ports[i],
			   c->ports[i]);
	}
	buf_putc(b, '}');
	return 0;
}

/* The image, the template, or both: then the request's image wins at Vast.ai, so the account's default
 * must not be sent along with a template. */
static int put_image(struct buf *b, const struct provider *p, const struct create_args *c,
		     struct error *why)
{
	bool is_default = !c->image || strcmp(c->image, p->account.image) == 0;

	if (c->template_id && !vast_is_hash(c->template_id))
		return fail(why, ERR_INVALID,
			    "vastai: a template is named by its hash of 32 digits 0-9a-f");
	if (c->image && strlen(c->image) > IMAGE_MAX)
		return fail(why, ERR_INVALID, "vastai: an image's name has at most %d characters",
			    IMAGE_MAX);
	if (!c->template_id && (!c->image || !c->image[0]))
		return fail(why, ERR_INVALID,
			    "vastai: no image: set image= in the spec, or VASTAI_IMAGE");
	if (c->template_id)
		put_member(b, "template_hash_id", c->template_id);
	if (c->image && c->image[0] && !(c->template_id && is_default))
		put_member(b, "image", c->image);
	return 0;
}

static int64_t disk_of(const struct create_args *c)
{
	int64_t gb = c->shape.disk_gb;

	if (gb == UNKNOWN) /* as it was priced */
		gb = c->offer->disk.size;
	return gb < DISK_MIN_GB ? DISK_MIN_GB : gb;
}

/* No key goes with it: in the body it was unreliable, and the account's would open every machine of the
 * account (6); CALL_ATTACH follows. */
static int build_create(const struct provider *p, const struct call *call, const char *cursor,
			struct wire_request *out, struct error *why)
{
	const struct create_args *c = call->create;
	struct buf *b = &out->body;
	int err = check_id(c->offer->provider_id, "the offer", why);

	(void)cursor;
	if (err)
		return err;
	b->secret = true; /* env may hold tokens */
	if (strlen(c->label) > LABEL_MAX)
		return fail(why, ERR_INVALID, "vastai: a label has at most %d characters",
			    LABEL_MAX);
	buf_printf(&out->path, "/api/v0/asks/%s/", c->offer->provider_id);
	buf_puts(b, "{\"client_id\":\"me\"");
	err = put_image(b, p, c, why);
	if (err)
		return err;
	buf_printf(b, ",\"disk\":%" PRId64, disk_of(c));
	put_member(b, "label", c->label);
	/* Direct where the host has ports, and the proxy always. cancel_unavail: else a stopped, billed
	 * instance may stay behind. */
	buf_puts(
		b,
		",\"runtype\":\"ssh_direct\",\"target_state\":\"running\",\"cancel_unavail\":true");
	err = put_env(b, c, why);
	if (err)
		return err;
	if (c->on_start && c->on_start[0]) {
		if (strlen(c->on_start) > ONSTART_MAX)
			return fail(why, ERR_INVALID, "vastai: on_start has at most %d bytes",
				    ONSTART_MAX);
		put_member(b, "onstart", c->on_start);
	}
	/* `price` is what makes it interruptible: a 0 would be a bid. */
	if (c->bid_u6 != UNKNOWN) {
		if (c->bid_u6 < BID_MIN_U6 || c->bid_u6 > BID_MAX_U6)
			return fail(why, ERR_RANGE, "vastai: a bid is 0.001 to 128 USD an hour");
		buf_puts(b, ",\"price\":");
		put_decimal(b, c->bid_u6, 6);
	}
	buf_putc(b, '}');
	return 0;
}

/* ---- search (4.1) ---- */

static int build_search(const struct provider *p, const struct call *call, const char *cursor,
			struct wire_request *out, struct error *why)
{
	const struct page_ask *ask = call->page;
	struct buf *b = &out->body;

	(void)p, (void)cursor, (void)why;
	buf_puts(&out->path, "/api/v0/bundles/");
	/* Defaults of the server, said all the same; `external` as the official client. */
	buf_puts(b,
		 "{\"verified\":{\"eq\":true},\"rentable\":{\"eq\":true},\"rented\":{\"eq\":false},"
		 "\"external\":{\"eq\":false}");
	if (ask->gpu[0]) {
		buf_puts(b, ",\"gpu_name\":{\"in\":");
		vast_gpu_spellings(ask->gpu, b);
		buf_putc(b, '}');
	}
	if (ask->shape.disk_gb > 0)
		buf_printf(b, ",\"disk_space\":{\"gte\":%" PRId64 "}", ask->shape.disk_gb);
	if (ask->from_price_u6 > 0) {
		/* A micro-dollar less: a price that was rounded up here must not leave out others
		 * that are as high. */
		buf_puts(b, ",\"dph_total\":{\"gte\":");
		put_decimal(b, ask->from_price_u6 - 1, 6);
		buf_putc(b, '}');
	}
	buf_printf(b, ",\"order\":[[\"dph_total\",\"asc\"]],\"type\":\"%s\",\"limit\":%" PRId64,
		   ask->interruptible ? "bid" : "on-demand",
		   ask->limit > 0 ? ask->limit : PAGE_ROWS);
	if (ask->shape.disk_gb > 0)
		buf_printf(b, ",\"allocated_storage\":%" PRId64, ask->shape.disk_gb);
	buf_putc(b, '}');
	return 0;
}

/* ---- the others ---- */

/* 8. All columns: computed ones (dph_total) cannot be named there. */
static int build_list(const struct provider *p, const struct call *call, const char *cursor,
		      struct wire_request *out, struct error *why)
{
	(void)p, (void)call, (void)why;
	buf_puts(&out->path, "/api/v1/instances/?limit=25&order_by=");
	url_put_encoded(&out->path, "[{\"col\":\"id\",\"dir\":\"asc\"}]");
	if (cursor && cursor[0]) {
		buf_puts(&out->path, "&after_token=");
		url_put_encoded(&out->path, cursor);
	}
	return 0;
}

static int build_instance(const struct provider *p, const struct call *call, const char *cursor,
			  struct wire_request *out, struct error *why)
{
	int err = check_id(call->instance_id, "the instance", why);

	(void)p, (void)cursor;
	if (err)
		return err;
	buf_printf(&out->path, "/api/v0/instances/%s/", call->instance_id);
	if (call->op == CALL_DESTROY)
		buf_puts(&out->body, "{}"); /* as the official client */
	return 0;
}

static int build_attach(const struct provider *p, const struct call *call, const char *cursor,
			struct wire_request *out, struct error *why)
{
	const char *key = call->public_key;
	int err = build_instance(p, call, cursor, out, why);

	if (err)
		return err;
	if (!key || !key[0] || !utf8_valid(key, strlen(key)) || strpbrk(key, "\r\n"))
		return fail(why, ERR_INVALID, "vastai: a public key is one line");
	buf_puts(&out->path, "ssh/");
	buf_puts(&out->body, "{\"ssh_key\":");
	put_text(&out->body, key);
	buf_putc(&out->body, '}');
	return 0;
}

static int build_account(const struct provider *p, const struct call *call, const char *cursor,
			 struct wire_request *out, struct error *why)
{
	(void)p, (void)call, (void)cursor, (void)why;
	buf_puts(&out->path, "/api/v0/users/current/");
	return 0;
}

/* 10. Recommended ones: of all there are more than 2000. */
static int build_templates(const struct provider *p, const struct call *call, const char *cursor,
			   struct wire_request *out, struct error *why)
{
	(void)p, (void)call, (void)cursor, (void)why;
	buf_puts(&out->path, "/api/v0/template/?select_filters=");
	url_put_encoded(&out->path, "{\"recommended\":{\"eq\":true}}");
	buf_puts(&out->path, "&select_cols=");
	url_put_encoded(&out->path, "[\"*\"]");
	return 0;
}

static const struct {
	enum http_method method;
	enum vast_endpoint endpoint;
	int (*build)(const struct provider *p, const struct call *call, const char *cursor,
		     struct wire_request *out, struct error *why);
} requests[CALL_OP_COUNT] = {
	[CALL_OFFERS] = {HTTP_POST, EP_SEARCH, build_search},
	[CALL_CREATE] = {HTTP_PUT, EP_CREATE, build_create},
	[CALL_LIST] = {HTTP_GET, EP_LIST, build_list},
	[CALL_LOOK] = {HTTP_GET, EP_LOOK, build_instance},
	[CALL_DESTROY] = {HTTP_DELETE, EP_DESTROY, build_instance},
	[CALL_ATTACH] = {HTTP_POST, EP_ATTACH, build_attach},
	[CALL_ACCOUNT] = {HTTP_GET, EP_ACCOUNT, build_account},
	[CALL_TEMPLATES] = {HTTP_GET, EP_TEMPLATES, build_templates},
};

static int vast_build(const struct provider *p, const struct call *call, const char *cursor,
		      struct wire_request *out, struct error *why)
{
	CHECK(call->op < CALL_OP_COUNT);
	out->method = requests[call->op].method;
	out->endpoint = requests[call->op].endpoint;
	return requests[call->op].build(p, call, cursor, out, why);
}

static const struct dialect vastai = {
	.auth_prefix = "Authorization: Bearer ",
	.endpoints = endpoints,
	.endpoint_count = ARRAY_LEN(endpoints),
	/* 2: every long-lived client came down to this. */
	.account_spacing_us = SECOND_US,
	.account_burst = 2,
	.page_rows = PAGE_ROWS,
	/* Of the 10 searches a minute; what is left serves whoever looks for a model just then. */
	.pages_per_refresh = 6,
	.disk_min_gb = DISK_MIN_GB,
	.lacks = WANT_VCPUS | WANT_RAM, /* a machine has its own */
	.attach_key = true,
	.bids = true,
	.templates = true,
	.lists_show_boot = true,
	.build = vast_build,
	.parse = vast_parse,
};

struct provider *provider_vastai_new(const struct account *account)
{
	struct provider *p = calloc(1, sizeof *p);

	if (!p)
		return NULL;
	p->name = "vastai";
	p->doc = "Vast.ai: machines of many hosts";
	p->lag_us = LIST_LAG_US;
	p->boot_poll_us = 2 * SECOND_US;
	p->dialect = &vastai;
	p->account = *account;
	return p;
}

void provider_vastai_free(struct provider *p)
{
	free(p);
}
