/*
 * Creating an instance: the body as the wire page has it (section 5), and nothing else. What the page
 * warns of without the service refusing it (no explicit cancel_unavail, a long label, env as a
 * string) is carried out as the service would, and written down as a violation.
 */
#include "vastai_parts.h"

#define LABEL_MAX     256 /* documented at create */
#define LABEL_KNOWN   60  /* known to be kept */
#define IMAGE_MAX     1024
#define SCRIPT_MAX    4096 /* onstart, args and args_str together */
#define ENV_VAR_MAX   256
#define ENV_TOTAL_MAX 32768
#define PORTS_OF_ONE  64
#define DISK_MIN      8

enum { T_TEXT = 1, T_NUMBER = 2, T_BOOL = 4, T_OBJECT = 8, T_ARRAY = 16, T_NULL = 32 };
static const struct {
	const char *name;
	int types;
} members[] = {
	{"client_id", T_TEXT},
	{"image", T_TEXT | T_NULL},
	{"template_hash_id", T_TEXT | T_NULL},
	{"label", T_TEXT | T_NULL},
	{"disk", T_NUMBER},
	{"runtype", T_TEXT},
	{"target_state", T_TEXT},
	{"price", T_NUMBER | T_NULL},
	{"env", T_OBJECT | T_TEXT},
	{"onstart", T_TEXT | T_NULL},
	{"args", T_ARRAY | T_NULL},
	{"args_str", T_TEXT | T_NULL},
	{"image_login", T_TEXT | T_NULL},
	{"cancel_unavail", T_BOOL},
	{"vm", T_BOOL},
	{"volume_info", T_OBJECT | T_NULL},
	{"use_jupyter_lab", T_BOOL | T_NULL},
	{"jupyter_dir", T_TEXT | T_NULL},
	{"python_utf8", T_BOOL | T_NULL},
	{"lang_utf8", T_BOOL | T_NULL},
	{"force", T_BOOL | T_NULL},
	{"user", T_TEXT | T_NULL},
	{"extra", T_TEXT | T_NULL},
	{"create_from", T_TEXT | T_NULL},
};

static int type_of(const json_t *v)
{
	switch (json_typeof(v)) {
	case JSON_STRING:
		return T_TEXT;
	case JSON_INTEGER:
	case JSON_REAL:
		return T_NUMBER;
	case JSON_TRUE:
	case JSON_FALSE:
		return T_BOOL;
	case JSON_OBJECT:
		return T_OBJECT;
	case JSON_ARRAY:
		return T_ARRAY;
	case JSON_NULL:
		return T_NULL;
	}
	return 0;
}

static const char *text_of(const json_t *body, const char *name)
{
	return json_string_value(json_object_get(body, name));
}

static bool bad(struct ctx *x, const char *what, const char *detail)
{
	violate(x, "create-body", "%s: %s", what, detail);
	refuse(x, 400, "invalid_args", "error 400/3467: Invalid args: %s %s", what, detail);
	return false;
}

static bool types_ok(struct ctx *x)
{
	const char *name;
	json_t *v;

	json_object_foreach(x->body, name, v)
	{
		size_t i = 0;

		while (i < ARRAY_LEN(members) && strcmp(members[i].name, name) != 0)
			i++;
		if (i < ARRAY_LEN(members) && (type_of(v) & members[i].types))
			continue;
		/* Seen to be sent by another client, and found unreliable: without effect. */
		if (!strcmp(name, "ssh_key") || !strcmp(name, "ports")) {
			violate(x, "undocumented-member", "create with \"%s\"", name);
			continue;
		}
		return bad(x, i < ARRAY_LEN(members) ? "wrong type of" : "unknown member", name);
	}
	return true;
}

static bool runtype_ok(const char *runtype)
{
	static const char *const words[] = {
		"ssh",		 "ssh_proxy",	   "ssh_direct",    "ssh_direc", "jupyter",
		"jupyter_proxy", "jupyter_direct", "jupyter_direc", "args"};

	for (const char *p = runtype; *p;) {
		size_t n = strcspn(p, " "), i = 0;

		while (i < ARRAY_LEN(words) &&
		       (strlen(words[i]) != n || strncmp(words[i], p, n) != 0))
			i++;
		if (i == ARRAY_LEN(words))
			return false;
		p += n + (p[n] == ' ');
	}
	return runtype[0] != '\0';
}

/* "-p 8000:8000" or "-p 9000:9000/udp". */
static bool port_of(const char *key, struct instance_port *p)
{
	int host, inside, used = 0;

	if (strncmp(key, "-p ", 3) != 0)
		return false;
	if (sscanf(key + 3, "%d:%d%n", &host, &inside, &used) != 2)
		return false;
	*p = (struct instance_port){.port = inside};
	if (!strcmp(key + 3 + used, "/udp"))
		p->udp = true;
	else if (key[3 + used] && strcmp(key + 3 + used, "/tcp") != 0)
		return false;
	return host > 0 && inside > 0 && (inside < 65536 || host == inside);
}

static bool env_ok(struct ctx *x, const json_t *env)
{
	const char *key;
	json_t *v;
	size_t total = 0, ports = 0;
	struct instance_port p;

	if (json_is_string(env)) {
		violate(x, "env-text", "env as a string is not applied at create");
		return true;
	}
	json_object_foreach((json_t *)env, key, v)
	{
		size_t n = strlen(key) + (json_is_string(v) ? json_string_length(v) : 0);

		if (!json_is_string(v))
			return bad(x, "env value must be a string:", key);
		if (n > ENV_VAR_MAX)
			return bad(x, "env variable too long:", key);
		if (!strncmp(key, "-p", 2) && !port_of(key, &p))
			return bad(x, "port mapping:", key);
		ports += !strncmp(key, "-p", 2);
		total += n;
	}
	if (total > ENV_TOTAL_MAX)
		return bad(x, "env", "is too long");
	return ports <= PORTS_OF_ONE || bad(x, "env", "maps more than 64 ports");
}

static bool script_ok(struct ctx *x)
{
	const json_t *args = json_object_get(x->body, "args");
	const char *onstart = text_of(x->body, "onstart"), *args_str = text_of(x->body, "args_str");
	size_t n = (onstart ? strlen(onstart) : 0) + (args_str ? strlen(args_str) : 0), i;
	json_t *a;

	json_array_foreach(args, i, a)
	{
		if (!json_is_string(a))
			return bad(x, "args", "must be strings");
		n += json_string_length(a);
	}
	return n <= SCRIPT_MAX || bad(x, "onstart and args", "exceed 4096 characters");
}

/* A label names one create; used again it cannot tell two instances apart. Seen of every create that
 * came, whatever became of it: who does not know its outcome may not send it again. */
void create_note(struct ctx *x)
{
	struct fakevast *f = x->f;
	const char *label = text_of(x->body, "label");

	if (!label || !label[0])
		return;
	COPY(x->entry->label, label);
	for (size_t i = 0; i < f->label_count; i++) {
		if (strcmp(f->labels[i], label) != 0)
			continue;
		violate(x, "label-twice", "a second create with label %s", label);
		return;
	}
	f->labels = grow(f->labels, f->label_count, sizeof(*f->labels));
	f->labels[f->label_count++] = copy_of(label);
}

static bool label_ok(struct ctx *x)
{
	const char *label = text_of(x->body, "label");
	size_t n = label ? strlen(label) : 0;

	if (!n)
		violate(x, "label-missing", "create without a label");
	if (n > LABEL_KNOWN)
		violate(x, "label-long", "label of %zu characters", n);
	if (n <= LABEL_MAX)
		return true;
	refuse(x, 400, "label_too_long",
	       "Please limit label length to 1024 characters, ideally less than 128.");
	return false;
}

static bool price_ok(struct ctx *x)
{
	const json_t *price = json_object_get(x->body, "price");
	double v = json_number_value(price);

	if (!price || json_is_null(price) || (v >= 0.001 && v <= 128))
		return true;
	violate(x, "price", "price %g is outside of 0.001 to 128", v);
	refuse(x, 400, "invalid_price", "Please set a bid price >= 0.001.");
	return false;
}

static bool body_ok(struct ctx *x)
{
	const json_t *disk = json_object_get(x->body, "disk"),
		     *env = json_object_get(x->body, "env");
	const char *image = text_of(x->body, "image"), *hash = text_of(x->body, "template_hash_id");
	const char *runtype = text_of(x->body, "runtype"),
		   *state = text_of(x->body, "target_state");
	const char *client = text_of(x->body, "client_id");

	if (!types_ok(x))
		return false;
	if ((!image || !image[0]) && !hash)
		return bad(x, "image", "is required");
	if (image && strlen(image) > IMAGE_MAX)
		return bad(x, "image", "is too long");
	if (hash && !template_known(hash))
		return bad(x, "template_hash_id", "is not known");
	if (disk && json_number_value(disk) < DISK_MIN)
		return bad(x, "disk", "must be at least 8 GB");
	if (runtype && !runtype_ok(runtype))
		return bad(x, "runtype", runtype);
	if (state && strcmp(state, "running") != 0 && strcmp(state, "stopped") != 0)
		return bad(x, "target_state", state);
	if (client && strcmp(client, "me") != 0)
		return bad(x, "client_id", client);
	if (!json_is_true(json_object_get(x->body, "cancel_unavail")))
		violate(x, "cancel-unavail", "create without cancel_unavail: true");
	return price_ok(x) && env_ok(x, env) && script_ok(x) && label_ok(x);
}

/* ---- effect ---- */

static void take_env(struct fv_instance *i, const json_t *body)
{
	const json_t *env = json_object_get(body, "env");
	const char *key;
	json_t *v, *pairs = json_array();

	if (json_is_object(env)) {
		json_object_foreach((json_t *)env, key, v)
		{
			struct instance_port p;

			json_array_append_new(pairs, json_pack("[ss]", key, json_string_value(v)));
			if (i->port_count < ARRAY_LEN(i->ports) && port_of(key, &p))
				i->ports[i->port_count++] = p;
		}
	}
	i->env = json_dumps(pairs, 0);
	CHECK(i->env != NULL);
	json_decref(pairs);
}

static void take_body(struct fakevast *f, struct fv_instance *i, const json_t *body)
{
	const char *label = text_of(body, "label"), *image = text_of(body, "image");
	const char *runtype = text_of(body, "runtype"), *onstart = text_of(body, "onstart");
	const char *hash = text_of(body, "template_hash_id");
	const json_t *disk = json_object_get(body, "disk"), *price = json_object_get(body, "price");

	i->label_null = !label;
	COPY(i->label, label ? label : "");
	COPY(i->image, image ? image : "vastai/base-image:@vastai-automatic-tag");
	COPY(i->template_hash, hash ? hash : "");
	COPY(i->onstart_shown, onstart ? onstart : "");
	COPY(i->runtype, runtype && strstr(runtype, "jupyter") ? "jupyter_direc ssh_direc ssh_proxy"
			 : runtype && !strcmp(runtype, "args") ? "args"
			 : runtype && !strstr(runtype, "direc") ? "ssh ssh_proxy"
								: "ssh ssh_direc ssh_proxy");
	if (!strstr(i->runtype, "direc"))
		i->proxy_only = true;
	i->disk_gb = disk ? (int64_t)json_number_value(disk) : DISK_MIN;
	i->disk_u6 = storage_hour_u6(i->m.storage_u6, i->disk_gb);
	i->gpu_u6 = i->m.gpu_u6;
	i->min_bid_u6 = i->m.min_bid_u6;
	if (json_is_number(price)) {
		int64_t bid_u6 = (int64_t)(json_number_value(price) * 1e6 + 0.5);

		/* Measured: charged is the lesser of the bid and the price on demand. */
		i->bid = true;
		i->gpu_u6 = bid_u6 < i->gpu_u6 ? bid_u6 : i->gpu_u6;
	}
	take_env(i, body);
	for (size_t k = 0; k < f->account_key_count; k++)
		instance_key(f, i, f->account_keys[k].line, f->now_us);
}

/* Below the going price: an instance exists, stopped, and its disk is billed. */
static bool outbid_at_once(const struct fv_instance *i, const json_t *body)
{
	const json_t *price = json_object_get(body, "price");

	return json_is_number(price) &&
	       (int64_t)(json_number_value(price) * 1e6 + 0.5) < i->m.min_bid_u6;
}

struct fv_instance *create_effect(struct fakevast *f, int64_t offer_id, const json_t *body)
{
	struct fv_offer *o = market_find(f, offer_id);
	const char *state = text_of(body, "target_state");
	struct fv_instance *i;

	if (!o || o->rented || o->storage_only)
		return NULL;
	o->rented = true;
	i = instance_new(f, &o->m);
	i->offer_id = offer_id;
	take_body(f, i, body);
	f->created++;
	instance_boot(f, i);
	if (outbid_at_once(i, body) || (state && !strcmp(state, "stopped"))) {
		i->event_count = 0;
		instance_stop(f, i);
	}
	return i;
}

/* ---- the call ---- */

static void say_stale(struct ctx *x)
{
	static const int statuses[] = {400, 400, 404, 410};
	int64_t want = x->fault == FVF_STALE_OFFER ? x->param : 0;
	int status = want ? (int)want : statuses[x->f->turn_stale++ % ARRAY_LEN(statuses)];

	if (status == 410)
		refuse(x, 410, "no_such_ask",
		       "error 410/3907: no_such_ask  Offer %lld is not available.",
		       (long long)x->id);
	else
		refuse(x, status, "invalid_args",
		       "error 404/3603: no_such_ask  Instance type by id %lld is not available.",
		       (long long)x->id);
}

static bool offer_there(struct ctx *x, struct fv_offer *o)
{
	if (fault_is(x, FVF_STALE_OFFER) ||
	    (o && random_hit(&x->f->rnd_sample, x->f->c.stale_ppm))) {
		if (o && !o->rented)
			market_withdraw(x->f, o);
		o = NULL;
	}
	return o && !o->rented && !o->storage_only;
}

void serve_create(struct ctx *x)
{
	static const char *const none[] = {NULL};
	struct fakevast *f = x->f;
	struct fv_offer *o = market_find(f, x->id);
	const json_t *disk;
	struct fv_instance *i;

	query_only(x, none);
	if (x->q->reused)
		violate(x, "reused", "create on a connection that was used before");
	if (!x->body) {
		bad(x, "invalid json:", "{}");
		return;
	}
	if (x->id < 0) {
		bad(x, "'id'", "is required and must be a valid offer ID");
		return;
	}
	if (!body_ok(x))
		return;
	if (fault_is(x, FVF_NO_CREDIT) || f->credit_left <= 0) {
		refuse(x, 400, "insufficient_credit",
		       "Your account lacks credit; see the billing page.");
		return;
	}
	if (!offer_there(x, o)) {
		say_stale(x);
		return;
	}
	disk = json_object_get(x->body, "disk");
	if (disk && json_number_value(disk) > o->m.disk_gb) {
		bad(x, "disk", "exceeds the space of the offer");
		return;
	}
	if (fault_is(x, FVF_LATE) || fault_is(x, FVF_LATE_DROP)) {
		f->pending = grow(f->pending, f->pending_count, sizeof(*f->pending));
		f->pending[f->pending_count++] = (struct pending){
			f->now_us + fault_param(x, 30 * SECOND_US), x->id, 0,
			json_deep_copy(x->body)};
		return; /* answered in fault_after */
	}
	i = create_effect(f, x->id, x->body);
	x->entry->instance = i->id;
	if (fault_is(x, FVF_CONTRADICT) || outbid_at_once(i, x->body)) {
		i->event_count = 0;
		if (i->intended == I_RUNNING)
			instance_stop(f, i);
		say(x, 200,
		    "{\"success\": false, \"error\": \"insufficient_bid\", \"msg\": \"Your bid is "
		    "below the "
		    "current price, the instance is stopped.\", \"new_contract\": %lld}",
		    (long long)i->id);
	} else if (fault_is(x, FVF_NO_ID)) {
		say(x, 200, "{\"success\": true}");
	} else {
		say(x, 200,
		    "{\"success\": true, \"new_contract\": %lld, \"instance_api_key\": "
		    "\"%016llx%016llx%016llx%016llx\"}",
		    (long long)i->id, (unsigned long long)random_next(&f->rnd_reply),
		    (unsigned long long)random_next(&f->rnd_reply),
		    (unsigned long long)random_next(&f->rnd_reply),
		    (unsigned long long)random_next(&f->rnd_reply));
	}
}
