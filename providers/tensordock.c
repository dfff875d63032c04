/*
 * The provider "tensordock": what TensorDock's HTTP API is asked, and the numbers of its rate limit. Source
 * of every path, member and limit: the wire page tensordock.md, whose sections are named below. A key goes
 * into the create; there is nothing to attach later. Reading: tensordock_reply.c. Pure; any thread.
 * Tests: tests/unit/test_tensordock.c.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "../src/core/check.h"
#include "../src/core/text.h"
#include "../src/core/url.h"
#include "providers.h"
#include "tensordock_parts.h"

#define NAME_LEN_MAX  60 /* 4: known to work */
#define KEYS_LEN_MAX  16384
#define ENV_LINE_MAX  32768		/* of all variables together */
#define LIST_LAG_US   (5 * MINUTE_US)	/* 4: a create that was given up may show this late */
#define BOOT_POLL_US  (5 * SECOND_US)	/* 4: the address comes after 5 to 30 s */
#define CREATE_MAX_US (180 * SECOND_US) /* 1: it regularly takes longer than 60 s */
#define DELETE_MAX_US (90 * SECOND_US)

/* 1: at most 100 requests a minute, of everything in the organisation: 20 at once and one a second are
 * 80, which leaves some to a person in the console. The older API wants one a second. */
#define SPACING_US SECOND_US
#define BURST	   20
enum td_endpoint { EP_SEARCH, EP_CREATE, EP_LIST, EP_LOOK, EP_DESTROY, EP_ACCOUNT };
static const struct endpoint endpoints[] = {
	[EP_SEARCH] = {"search", 5 * SECOND_US, 2, 0, 0}, /* its replies take 4 to 5 s */
	[EP_CREATE] = {"create", SPACING_US, 2, 0, CREATE_MAX_US},
	[EP_LIST] = {"list", SPACING_US, 2, 0, 0},
	[EP_LOOK] = {"look", SPACING_US, 10, 0, 0},
	[EP_DESTROY] = {"destroy", SPACING_US, 5, 0, DELETE_MAX_US},
	[EP_ACCOUNT] = {"account", SPACING_US, 1, 0, 0},
};

/* ---- small pieces ---- */

static void put_text(struct buf *b, const char *s)
{
	buf_json(b, s, strlen(s));
}

/* One command more in `runcmd`; takes what stands in it. */
static void put_command(struct buf *b, struct buf *command)
{
	if (command->failed) {
		b->failed = true;
		return;
	}
	if (b->data[b->len - 1] != '[')
		buf_putc(b, ',');
	buf_json(b, command->data, command->len);
	buf_reset(command);
}

/* ---- create: what the machine does when it boots (4, Login) ---- */

/* Whether it is one line that means what it shows. */
static bool is_one_line(const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)s[i] < 0x20 || s[i] == 0x7f)
			return false;
	return n && utf8_valid(s, n);
}

/* The keys, one shell word each. */
static int put_keys(struct buf *b, const char *keys, struct error *why)
{
	if (!keys || !keys[0] || keys[0] == '\n' || strlen(keys) > KEYS_LEN_MAX)
		return fail(why, ERR_INVALID,
			    "tensordock: a machine needs public keys, at most "
			    "%d bytes of them",
			    KEYS_LEN_MAX);
	for (const char *p = keys; *p;) {
		size_t n = strcspn(p, "\n");
		BUF line = {0};

		if (n) {
			if (!is_one_line(p, n))
				return fail(why, ERR_INVALID,
					    "tensordock: a public key is one line of text");
			buf_add(&line, p, n);
			buf_putc(b, ' ');
			buf_shell(b, line.failed ? "" : line.data);
			b->failed |= line.failed;
		}
		p += n + (p[n] == '\n');
	}
	return 0;
}

/* `ssh_key` alone is not to be relied on. Written, not appended: cloud-init puts the key of `ssh_key` into
 * root's file with a command that refuses the login, and the first line with a key counts. */
static int put_key_commands(struct buf *b, const struct create_args *c, struct error *why)
{
	BUF line = {.secret = true};
	int err;

	buf_puts(&line, "install -d -m 700 /root/.ssh");
	put_command(b, &line);
	buf_puts(&line, "printf '%s\\n'");
	err = put_keys(&line, c->authorized_keys, why);
	if (err)
		return err;
	buf_puts(&line, " > /root/.ssh/authorized_keys");
	put_command(b, &line);
	buf_puts(&line, "chmod 600 /root/.ssh/authorized_keys");
	put_command(b, &line);
	buf_puts(&line, "install -d -m 700 -o user -g user /home/user/.ssh");
	put_command(b, &line);
	buf_puts(&line, "install -m 600 -o user -g user /root/.ssh/authorized_keys "
			"/home/user/.ssh/authorized_keys");
	put_command(b, &line);
	return 0;
}

static int check_env(const struct create_args *c, struct error *why)
{
	static const char chars[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_";
	size_t total = 0;

	for (size_t i = 0; i < c->env_count; i++) {
		const struct spec_env *e = &c->env[i];
		size_t n = strspn(e->name, chars);

		if (!n || e->name[n] || (e->name[0] >= '0' && e->name[0] <= '9'))
			return fail(why, ERR_INVALID,
				    "tensordock: \"env.%s\" is not the name of a variable",
				    e->name);
		if (e->value[0] && !is_one_line(e->value, strlen(e->value)))
			return fail(why, ERR_INVALID, "tensordock: env.%s is not one line of text",
				    e->name);
		total += strlen(e->name) + strlen(e->value);
	}
	if (total > ENV_LINE_MAX)
		return fail(why, ERR_INVALID,
			    "tensordock: all env together are longer than %d bytes", ENV_LINE_MAX);
	return 0;
}

/* sshd gives them to every login; it obeys one line of SetEnv only, in which a backslash guards quotes. */
static void put_env_command(struct buf *b, const struct create_args *c)
{
	BUF conf = {.secret = true};
	BUF line = {.secret = true};

	if (!c->env_count)
		return;
	buf_puts(&conf, "SetEnv");
	for (size_t i = 0; i < c->env_count; i++) {
		buf_printf(&conf, " \"%s=", c->env[i].name);
		for (const char *p = c->env[i].value; *p; p++) {
			if (*p == '"' || *p == '\\')
				buf_putc(&conf, '\\');
			buf_putc(&conf, *p);
		}
		buf_putc(&conf, '"');
	}
	b->failed |= conf.failed;
	buf_puts(&line, "umask 077; printf '%s\\n' ");
	buf_shell(&line, conf.failed ? "" : conf.data);
	buf_puts(&line, " > /etc/ssh/sshd_config.d/10-gpufs.conf; umask 022");
	put_command(b, &line);
	buf_puts(&line, "systemctl reload ssh || service ssh reload");
	put_command(b, &line);
}

/* Last, and in the background: it may be a server that never ends. */
static void put_start_command(struct buf *b, const struct create_args *c)
{
	BUF line = {.secret = true};

	if (!c->on_start || !c->on_start[0])
		return;
	buf_puts(&line, "printf '%s\\n' ");
	buf_shell(&line, c->on_start);
	buf_puts(&line, " > /root/on_start.sh");
	put_command(b, &line);
	buf_puts(&line, "env HOME=/root");
	for (size_t i = 0; i < c->env_count; i++) {
		buf_printf(&line, " %s=", c->env[i].name);
		buf_shell(&line, c->env[i].value);
	}
	buf_puts(&line, " nohup bash /root/on_start.sh > /var/log/on_start.log 2>&1 &");
	put_command(b, &line);
}

/* ---- create (4) ---- */

static int put_machine(struct buf *b, const struct create_args *c, struct error *why)
{
	const struct offer *o = c->offer;
	const struct shape s = td_shape(&c->shape);
	const char *model = o->provider_id + TD_LOCATION_LEN + 1;

	if (strlen(o->provider_id) <= TD_LOCATION_LEN + 1 ||
	    !td_location_ok(o->provider_id, TD_LOCATION_LEN) ||
	    o->provider_id[TD_LOCATION_LEN] != '-' || !td_model_ok(model) || o->gpu_count < 1)
		return fail(why, ERR_INVALID,
			    "tensordock: the offer does not name a location and a model of GPU");
	if (td_ram_at_most(s.ram_gb) != s.ram_gb)
		return fail(why, ERR_RANGE,
			    "tensordock: a machine has at most %" PRId64 " GB of memory",
			    td_ram_at_most(INT64_MAX));
	buf_printf(b, ",\"location_id\":\"%.*s\"", TD_LOCATION_LEN, o->provider_id);
	buf_printf(b,
		   ",\"resources\":{\"vcpu_count\":%" PRId64 ",\"ram_gb\":%" PRId64
		   ",\"storage_gb\":%" PRId64 ",\"gpus\":{\"%s\":{\"count\":%" PRId64 "}}}",
		   s.vcpus, s.ram_gb, s.disk_gb, model, o->gpu_count);
	return 0;
}

/* With an address of its own all its ports are open. Else port 22 must be forwarded, to any. */
static int put_reach(struct buf *b, const struct create_args *c, struct error *why)
{
	if (c->reach == REACH_ADDRESS) {
		buf_puts(b, ",\"useDedicatedIp\":true");
		return 0;
	}
	buf_puts(b, ",\"port_forwards\":[{\"internal_port\":22,\"external_port\":0}");
	for (size_t i = 0; i < c->port_count; i++) {
		if (c->ports[i] < 1 || c->ports[i] > UINT16_MAX)
			return fail(why, ERR_INVALID, "tensordock: no port %" PRId64, c->ports[i]);
		if (c->ports[i] != 22)
			buf_printf(b, ",{\"internal_port\":%" PRId64 ",\"external_port\":0}",
				   c->ports[i]);
	}
	buf_puts(b, "],\"useDedicatedIp\":false");
	return 0;
}

/* The first key; the others are installed when it boots. */
static void put_ssh_key(struct buf *b, const char *keys)
{
	buf_puts(b, ",\"ssh_key\":");
	buf_json(b, keys, strcspn(keys, "\n"));
}

static int build_create(const struct provider *p, const struct call *call, struct wire_request *out,
			struct error *why)
{
	const struct create_args *c = call->create;
	struct buf *b = &out->body;
	int err = check_env(c, why);

	(void)p;
	if (err)
		return err;
	if (!c->label[0] || strlen(c->label) > NAME_LEN_MAX)
		return fail(why, ERR_INVALID, "tensordock: a name has 1 to %d characters",
			    NAME_LEN_MAX);
	if (!c->image || !c->image[0])
		return fail(why, ERR_INVALID,
			    "tensordock: no image: set image= in the spec, or "
			    "TENSORDOCK_DEFAULT_IMAGE");
	b->secret = true; /* the environment may hold tokens */
	buf_puts(&out->path, "/api/v2/instances");
	buf_puts(b, "{\"data\":{\"type\":\"virtualmachine\",\"attributes\":{\"name\":");
	put_text(b, c->label);
	buf_puts(b, ",\"type\":\"virtualmachine\",\"image\":");
	put_text(b, c->image);
	err = put_machine(b, c, why);
	if (!err)
		err = put_reach(b, c, why);
	if (err)
		return err;
	put_ssh_key(b, c->authorized_keys ? c->authorized_keys : "");
	buf_puts(b, ",\"cloud_init\":{\"runcmd\":[");
	err = put_key_commands(b, c, why);
	if (err)
		return err;
	put_env_command(b, c);
	put_start_command(b, c);
	buf_puts(b, "]}}}}");
	return 0;
}

/* ---- the others ---- */

static int build_search(const struct provider *p, const struct call *call, struct wire_request *out,
			struct error *why)
{
	(void)p, (void)call, (void)why;
	buf_puts(&out->path, "/api/v2/locations");
	return 0;
}

static int build_list(const struct provider *p, const struct call *call, struct wire_request *out,
		      struct error *why)
{
	(void)p, (void)call, (void)why;
	buf_puts(&out->path, "/api/v2/instances");
	return 0;
}

static int build_instance(const struct provider *p, const struct call *call,
			  struct wire_request *out, struct error *why)
{
	(void)p;
	if (!wire_id_ok(call->instance_id))
		return fail(why, ERR_INVALID,
			    "tensordock: what names the instance cannot be a part of a path");
	buf_printf(&out->path, "/api/v2/instances/%s", call->instance_id);
	return 0;
}

/* 9: the balance is told by the older API only, for an authorisation id and the same token, as a form. A
 * token alone is tried with a list. */
static int build_account(const struct provider *p, const struct call *call,
			 struct wire_request *out, struct error *why)
{
	const struct account *a = &p->account;

	if (!a->balance_id || !a->balance_id[0] || !a->balance_url[0] || !a->key)
		return build_list(p, call, out, why);
	out->method = HTTP_POST;
	out->origin = a->balance_url;
	out->form = out->keyless = true;
	out->body.secret = true;
	buf_puts(&out->path, "/api/v0/billing/balance");
	buf_puts(&out->body, "api_key=");
	url_put_encoded(&out->body, a->balance_id);
	buf_puts(&out->body, "&api_token=");
	url_put_encoded(&out->body, a->key);
	return 0;
}

static const struct {
	enum http_method method;
	enum td_endpoint endpoint;
	int (*build)(const struct provider *p, const struct call *call, struct wire_request *out,
		     struct error *why);
} requests[CALL_OP_COUNT] = {
	[CALL_OFFERS] = {HTTP_GET, EP_SEARCH, build_search},
	[CALL_CREATE] = {HTTP_POST, EP_CREATE, build_create},
	[CALL_LIST] = {HTTP_GET, EP_LIST, build_list},
	[CALL_LOOK] = {HTTP_GET, EP_LOOK, build_instance},
	[CALL_DESTROY] = {HTTP_DELETE, EP_DESTROY, build_instance},
	[CALL_ACCOUNT] = {HTTP_GET, EP_ACCOUNT, build_account},
};

static int td_build(const struct provider *p, const struct call *call, const char *cursor,
		    struct wire_request *out, struct error *why)
{
	CHECK(call->op < CALL_OP_COUNT);
	(void)cursor; /* nothing has pages */
	if (!requests[call->op].build)
		return fail(why, ERR_INVALID, "tensordock: there is no such call: %s",
			    call_op_names[call->op]);
	out->method = requests[call->op].method;
	out->endpoint = requests[call->op].endpoint;
	return requests[call->op].build(p, call, out, why);
}

static const struct dialect tensordock = {
	.auth_prefix = "Authorization: Bearer ",
	.endpoints = endpoints,
	.endpoint_count = ARRAY_LEN(endpoints),
	.account_spacing_us = SPACING_US,
	.account_burst = BURST,
	.page_rows = WIRE_ROWS_MAX,
	.pages_per_refresh = 1,
	.whole_market = true,
	.disk_min_gb = TD_DISK_GB,
	.fit = td_fit,
	.lacks = WANT_TEMPLATE,
	.build = td_build,
	.parse = td_parse,
};

struct provider *provider_tensordock_new(const struct account *account)
{
	struct provider *p = calloc(1, sizeof *p);

	if (!p)
		return NULL;
	p->name = "tensordock";
	p->doc = "TensorDock: virtual machines in many places";
	p->lag_us = LIST_LAG_US;
	p->boot_poll_us = BOOT_POLL_US;
	p->dialect = &tensordock;
	p->account = *account;
	return p;
}

void provider_tensordock_free(struct provider *p)
{
	free(p);
}
