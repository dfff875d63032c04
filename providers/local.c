/*
 * The provider "local": this machine, the default that needs no account. Each GPU is an offer; without
 * any there is one offer, local-cpu. A session on it is an sshd on loopback (src/io/local_host.c).
 *
 * Translates only: what runs is asked from the machine at every call, nothing is remembered. Creates run
 * one after another, so that of two for the same GPU the second sees the first.
 *
 * Owner: the loop thread. A gone machine is one that the host proved to have no process left; whatever
 * the host cannot tell is answered as LATER or UNSURE.
 * Tests: tests/unit/test_local_host.c
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../src/core/check.h"
#include "../src/engine/world.h"
#include "providers.h"

#define BOOT_POLL_US ((int64_t)200000)

struct local_op {
	struct local_state *state;
	struct world *w;
	struct local_op *next;
	enum call_op op;
	bool running;
	/* CREATE: copies, since the sequence takes several calls */
	char label[64], visible[64], offer_id[OFFER_ID_MAX];
	int64_t uid, gid;
	char *authorized_keys;
	struct spec_env *env;
	size_t env_count;
	/* OFFERS: the first answer, kept until the second comes */
	struct host_gpu *gpus;
	size_t gpu_count;
	char id[96];
	result_cb cb;
	void *arg;
};

struct local_state {
	struct provider p;
	int64_t price_u6, max_sessions;
	char location[64];
	struct local_op *ops; /* unanswered, oldest first */
	bool freed;
};

static void creates_run(struct local_state *s);

/* ---- life of an operation ---- */

static void op_free(struct local_op *op)
{
	free(op->authorized_keys);
	if (op->env)
		explicit_bzero(op->env, op->env_count * sizeof(*op->env));
	free(op->env);
	free(op->gpus);
	free(op);
}

static void op_answer(struct local_op *op, const struct result *res)
{
	struct local_state *s = op->state;
	struct local_op **at = &s->ops;

	while (*at != op)
		at = &(*at)->next;
	*at = op->next;
	op->cb(op->arg, res);
	op_free(op);
	creates_run(s);
}

__attribute__((format(printf, 4, 5))) static void
op_refuse(struct local_op *op, enum verdict v, enum provider_error e, const char *fmt, ...)
{
	struct result res = {.verdict = v, .error = e};
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(res.text, sizeof(res.text), fmt, ap);
	va_end(ap);
	op_answer(op, &res);
}

static void host_ask(struct local_op *op, enum host_op what, host_cb cb)
{
	struct host_call call = {.op = what,
				 .label = op->op == CALL_CREATE ? op->label : op->id,
				 .uid = op->uid,
				 .gid = op->gid,
				 .authorized_keys = op->authorized_keys,
				 .visible_devices = op->visible,
				 .env = op->env,
				 .env_count = op->env_count};

	op->w->host(op->w->self, &call, cb, op);
}

/* ---- translations ---- */

static void to_instance(const struct local_state *s, const struct host_instance *h,
			struct instance *out)
{
	memset(out, 0, sizeof(*out));
	COPY(out->id, h->label);
	COPY(out->label, h->label);
	COPY(out->status_text, h->text);
	if (h->alive && h->listening)
		out->status = INST_RUNNING;
	else if (h->alive)
		out->status = INST_BOOTING;
	else
		out->status = INST_GONE;
	COPY(out->ssh_host, "127.0.0.1");
	COPY(out->ssh_user, h->user);
	out->ssh_port = h->port;
	COPY(out->host_key, h->host_key);
	out->price_u6 = s->price_u6;
	out->rate_u6 = UNKNOWN;
}

/* The word people use: "NVIDIA GeForce RTX 4090" is an RTX 4090. */
static void gpu_model(const char *name, char out[64])
{
	static const char *const brands[] = {"NVIDIA ", "GeForce "};

	for (size_t i = 0; i < ARRAY_LEN(brands); i++)
		if (strncmp(name, brands[i], strlen(brands[i])) == 0)
			name += strlen(brands[i]);
	copy_text(out, 64, name[0] ? name : "unknown GPU");
}

static void offer_base(const struct local_state *s, struct offer *o)
{
	memset(o, 0, sizeof(*o));
	COPY(o->provider, s->p.name);
	COPY(o->location, s->location);
	o->price_u6 = s->price_u6;
	o->min_bid_u6 = UNKNOWN;
	o->reliability_m = 1000;
	o->confidence_m = 1000;
	o->max_duration_hours = UNKNOWN;
	o->cuda_m = UNKNOWN;
}

static bool device_in_use(const struct host_result *list, const char *device)
{
	for (size_t i = 0; i < list->count; i++)
		if (list->instances[i].alive &&
		    strcmp(list->instances[i].visible_devices, device) == 0)
			return true;
	return false;
}

static int64_t alive_count(const struct host_result *list)
{
	int64_t n = 0;

	for (size_t i = 0; i < list->count; i++)
		n += list->instances[i].alive;
	return n;
}

static void cpu_offer(const struct local_state *s, const struct host_result *list, struct offer *o)
{
	offer_base(s, o);
	COPY(o->id, "local-cpu");
	COPY(o->provider_id, "cpu");
	COPY(o->gpu_type, "CPU");
	o->available = alive_count(list) < s->max_sessions;
}

static void gpu_offer(const struct local_state *s, const struct host_result *list,
		      const struct host_gpu *g, struct offer *o)
{
	char device[32];

	offer_base(s, o);
	snprintf(device, sizeof(device), "%lld", (long long)g->index);
	snprintf(o->id, sizeof(o->id), "local-gpu%s", device);
	snprintf(o->provider_id, sizeof(o->provider_id), "gpu%s", device);
	gpu_model(g->name, o->gpu_type);
	o->gpu_count = 1;
	o->vram_gb = vram_nominal_gb(g->memory_mb);
	o->available = !device_in_use(list, device);
}

/* ---- offers ---- */

static void on_offers_list(void *arg, const struct host_result *list)
{
	struct local_op *op = arg;
	const struct local_state *s = op->state;
	struct result res = {.verdict = SURE_YES, .complete = true};
	FREE struct offer *offers = NULL;

	if (list->err) {
		op_refuse(op, LATER, PE_UNAVAILABLE, "%s", list->text);
		return;
	}
	res.count = op->gpu_count ? op->gpu_count : 1;
	offers = xcalloc(res.count, sizeof(*offers));
	if (!op->gpu_count)
		cpu_offer(s, list, offers);
	for (size_t i = 0; i < op->gpu_count; i++)
		gpu_offer(s, list, &op->gpus[i], &offers[i]);
	res.offers = offers;
	op_answer(op, &res);
}

static void on_offers_gpus(void *arg, const struct host_result *res)
{
	struct local_op *op = arg;

	if (res->err) {
		op_refuse(op, LATER, PE_UNAVAILABLE, "%s", res->text);
		return;
	}
	if (res->count) {
		op->gpus = xcalloc(res->count, sizeof(*op->gpus));
		memcpy(op->gpus, res->gpus, res->count * sizeof(*op->gpus));
		op->gpu_count = res->count;
	}
	host_ask(op, HOST_LIST, on_offers_list);
}

/* ---- create ---- */

static enum provider_error start_error(int err)
{
	switch (err) {
	case -EINVAL:
	case -EPERM:
	case -EEXIST:
		return PE_INVALID;
	default:
		return PE_UNAVAILABLE;
	}
}

static void on_started(void *arg, const struct host_result *host)
{
	struct local_op *op = arg;
	struct result res = {.verdict = SURE_YES, .count = 1};
	struct instance inst;

	if (host->err) {
		op_refuse(op, host->maybe ? UNSURE : SURE_NO,
			  host->maybe ? PE_UNKNOWN : start_error(host->err), "%s", host->text);
		return;
	}
	if (host->count != 1) {
		op_refuse(op, UNSURE, PE_UNKNOWN, "the machine did not say what it started");
		return;
	}
	to_instance(op->state, &host->instances[0], &inst);
	res.instances = &inst;
	op_answer(op, &res);
}

static const struct host_instance *find_label(const struct host_result *list, const char *label)
{
	for (size_t i = 0; i < list->count; i++)
		if (strcmp(list->instances[i].label, label) == 0)
			return &list->instances[i];
	return NULL;
}

static void on_create_list(void *arg, const struct host_result *list)
{
	struct local_op *op = arg;
	const struct local_state *s = op->state;

	if (list->err) {
		op_refuse(op, SURE_NO, PE_UNAVAILABLE, "%s", list->text);
		return;
	}
	if (!find_label(list, op->label)) { /* the same create again only looks at what is there */
		if (op->visible[0] && device_in_use(list, op->visible)) {
			op_refuse(op, SURE_NO, PE_STALE_OFFER, "%s is in use by another session",
				  op->offer_id);
			return;
		}
		if (!op->visible[0] && alive_count(list) >= s->max_sessions) {
			op_refuse(op, SURE_NO, PE_STALE_OFFER,
				  "this machine runs %lld sessions already (LOCAL_MAX_SESSIONS)",
				  (long long)alive_count(list));
			return;
		}
	}
	host_ask(op, HOST_START, on_started);
}

static void creates_run(struct local_state *s)
{
	struct local_op *first = NULL;

	for (struct local_op *op = s->ops; op && !first; op = op->next)
		if (op->op == CALL_CREATE)
			first = op;
	if (!first || first->running || s->freed)
		return;
	first->running = true;
	host_ask(first, HOST_LIST, on_create_list);
}

static bool create_copy(struct local_op *op, const struct create_args *a)
{
	const char *id = a->offer->id;

	COPY(op->label, a->label);
	COPY(op->offer_id, id);
	op->uid = a->owner_uid;
	op->gid = a->owner_gid;
	op->authorized_keys = strdup(a->authorized_keys ? a->authorized_keys : "");
	CHECK(op->authorized_keys != NULL);
	if (a->env_count) {
		op->env = xcalloc(a->env_count, sizeof(*op->env));
		memcpy(op->env, a->env, a->env_count * sizeof(*op->env));
		op->env_count = a->env_count;
	}
	if (strcmp(id, "local-cpu") == 0)
		return true;
	if (strncmp(id, "local-gpu", 9) != 0 || !id[9])
		return false;
	COPY(op->visible, id + 9);
	return strspn(op->visible, "0123456789") == strlen(op->visible);
}

/* ---- list, look, destroy ---- */

static void on_list(void *arg, const struct host_result *host)
{
	struct local_op *op = arg;
	struct result res = {.verdict = SURE_YES, .complete = true, .count = host->count};
	FREE struct instance *list = NULL;

	if (host->err) {
		op_refuse(op, LATER, PE_UNAVAILABLE, "%s", host->text);
		return;
	}
	list = xcalloc(host->count, sizeof(*list));
	for (size_t i = 0; i < host->count; i++)
		to_instance(op->state, &host->instances[i], &list[i]);
	res.instances = list;
	op_answer(op, &res);
}

static void gone_instance(const char *id, struct instance *out)
{
	memset(out, 0, sizeof(*out));
	COPY(out->id, id);
	COPY(out->label, id);
	out->status = INST_GONE;
	out->price_u6 = UNKNOWN;
}

static void on_look(void *arg, const struct host_result *host)
{
	struct local_op *op = arg;
	struct result res = {.verdict = SURE_YES};
	struct instance inst;

	if (host->err == -ENOENT) {
		gone_instance(op->id, &inst);
		COPY(res.evidence, host->text);
	} else if (host->err || host->count != 1) {
		op_refuse(op, LATER, PE_UNAVAILABLE, "%s", host->text);
		return;
	} else {
		to_instance(op->state, &host->instances[0], &inst);
		COPY(res.evidence, host->instances[0].evidence);
	}
	if (inst.status == INST_GONE) {
		res.error = PE_GONE;
		COPY(res.text, "no process of the instance is left");
	}
	res.instances = &inst;
	res.count = 1;
	op_answer(op, &res);
}

static void on_killed(void *arg, const struct host_result *host)
{
	struct local_op *op = arg;
	struct result res = {.verdict = SURE_YES};

	if (host->err) { /* some processes may be left: try again, never call it gone */
		op_refuse(op, LATER, PE_UNAVAILABLE, "%s", host->text);
		return;
	}
	COPY(res.text, host->text);
	COPY(res.evidence, host->text);
	op_answer(op, &res);
}

/* ---- the one door ---- */

static void local_act(struct provider *p, struct world *w, const struct call *call, result_cb cb,
		      void *arg)
{
	struct local_state *s = p->state;
	struct local_op *op = xcalloc(1, sizeof(*op)), **at = &s->ops;

	*op = (struct local_op){.state = s, .w = w, .op = call->op, .cb = cb, .arg = arg};
	COPY(op->id, call->instance_id ? call->instance_id : "");
	while (*at)
		at = &(*at)->next;
	*at = op;
	switch (call->op) {
	case CALL_OFFERS:
		host_ask(op, HOST_GPUS, on_offers_gpus);
		return;
	case CALL_CREATE:
		if (create_copy(op, call->create))
			creates_run(s);
		else
			op_refuse(op, SURE_NO, PE_STALE_OFFER, "%s is no offer of this machine",
				  op->offer_id);
		return;
	case CALL_LIST:
		host_ask(op, HOST_LIST, on_list);
		return;
	case CALL_LOOK:
		host_ask(op, HOST_LOOK, on_look);
		return;
	case CALL_DESTROY:
		host_ask(op, HOST_KILL, on_killed);
		return;
	case CALL_ATTACH:
	case CALL_ACCOUNT:
	case CALL_TEMPLATES:
	case CALL_OP_COUNT:
		break;
	}
	op_refuse(op, SURE_NO, PE_INVALID, "this machine has no such call");
}

/* The host's name, of letters, digits, '.' and '-' only. */
static void host_name(char out[64])
{
	char name[256] = "";
	size_t n = 0;

	if (gethostname(name, sizeof(name) - 1) < 0)
		name[0] = '\0';
	for (const char *c = name; *c && n < 63; c++)
		if ((*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') ||
		    (*c >= '0' && *c <= '9') || *c == '.' || *c == '-')
			out[n++] = *c;
	out[n] = '\0';
}

struct provider *provider_local_new(int64_t price_u6, int64_t max_sessions)
{
	struct local_state *s = xcalloc(1, sizeof(*s));

	s->price_u6 = price_u6;
	s->max_sessions = max_sessions;
	host_name(s->location);
	s->p = (struct provider){.name = "local",
				 .doc = "this machine: an sshd on loopback for each session",
				 .lag_us = 0,
				 .boot_poll_us = BOOT_POLL_US,
				 .free_of_charge = true,
				 .act = local_act,
				 .state = s};
	return &s->p;
}

void provider_local_free(struct provider *p)
{
	struct local_state *s;

	if (!p)
		return;
	s = p->state;
	s->freed = true;
	while (s->ops) {
		struct local_op *op = s->ops;

		s->ops = op->next;
		op_free(op);
	}
	free(s);
}
