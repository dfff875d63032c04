/*
 * Machines of the fake TensorDock: what a status is at a moment, what it has cost, the four forms of a list,
 * and the calls on one machine. Members that are not known yet are told as absent, null and "" in turn.
 */
#include "tensordock_parts.h"

/* ---- one machine at a moment ---- */

struct td_vm *td_vm_new(struct faketd *f, const char *name, int64_t at_us)
{
	struct td_vm *v = xcalloc(1, sizeof *v);

	v->number = (int64_t)f->vm_count + 1;
	snprintf(v->id, sizeof v->id, "%08x-%04x-4%03x-9000-%012llx", (unsigned)td_random(f),
		 (unsigned)td_below(f, 65536), (unsigned)td_below(f, 4096), (long long)v->number);
	snprintf(v->ip, sizeof v->ip, "203.0.113.%lld", (long long)(v->number % 250 + 1));
	copy_text(v->name, sizeof v->name, name);
	v->created_us = at_us;
	v->run_us = v->address_us = v->login_us = NEVER;
	v->stop_us = v->deleted_us = v->gone_us = NEVER;
	v->boot_word = "creating";
	v->run_word = "running";
	v->stop_word = "stopped";
	f->vms = reallocarray(f->vms, f->vm_count + 1, sizeof(struct td_vm *));
	CHECK(f->vms);
	f->vms[f->vm_count++] = v;
	return v;
}

bool td_vm_alive(const struct td_vm *v, int64_t now_us)
{
	return now_us >= v->created_us && now_us < v->gone_us;
}

struct td_vm *td_vm_find(const struct faketd *f, const char *id)
{
	for (size_t i = 0; i < f->vm_count; i++)
		if (!strcmp(f->vms[i]->id, id))
			return f->vms[i];
	return NULL;
}

const char *td_vm_status(const struct td_vm *v, int64_t now_us)
{
	if (!td_vm_alive(v, now_us))
		return "gone";
	if (now_us >= v->deleted_us)
		return "deleting";
	if (now_us >= v->stop_us)
		return v->stop_word;
	return now_us >= v->run_us ? v->run_word : v->boot_word;
}

bool td_vm_login(const struct td_vm *v, int64_t now_us)
{
	return td_vm_alive(v, now_us) && now_us >= v->login_us && now_us < v->stop_us &&
	       !v->ignored_forwards && !v->no_login;
}

static int64_t least(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/* Neither factor can lose precision, and the product does not fit 64 bits. */
static int64_t cost(int64_t u6, int64_t us)
{
	return us > 0 ? (int64_t)((__int128)u6 * us / HOUR_US) : 0;
}

int64_t td_vm_billed_u6(const struct td_vm *v, int64_t now_us)
{
	int64_t end = least(now_us, v->gone_us), stop = least(end, v->stop_us);

	return cost(v->price_u6, stop - v->created_us) + cost(v->disk_gb * DISK_U6, end - stop);
}

int64_t td_vm_rate_u6(const struct td_vm *v, int64_t now_us)
{
	if (!td_vm_alive(v, now_us))
		return 0;
	return now_us >= v->stop_us ? v->disk_gb * DISK_U6 : v->price_u6;
}

int64_t td_credit_u6(const struct faketd *f, int64_t now_us)
{
	int64_t left = f->c.credit_u6;

	for (size_t i = 0; i < f->vm_count; i++)
		if (!f->vms[i]->foreign)
			left -= td_vm_billed_u6(f->vms[i], now_us);
	return left;
}

/* ---- how it is told ---- */

/* Absent, null or "" (of a list: absent, null or []). */
static void put_unknown(struct td_call *x, json_t *o, const char *key, json_t *empty)
{
	switch (x->f->turn++ % 3) {
	case 0:
		break;
	case 1:
		json_object_set_new(o, key, json_null());
		break;
	default:
		json_object_set(o, key, empty);
	}
	json_decref(empty);
}

static void put_network(struct td_call *x, const struct td_vm *v, json_t *o)
{
	json_t *forwards = json_array();

	for (int i = 0; i < v->forward_count && !v->ignored_forwards; i++)
		json_array_append_new(forwards,
				      json_pack("{s:i, s:i}", "internal_port", v->inside[i],
						"external_port", v->outside[i]));
	if (x->now_us < v->address_us) {
		put_unknown(x, o, "ipAddress", json_string(""));
		put_unknown(x, o, "portForwards", json_array());
		json_decref(forwards);
		return;
	}
	json_object_set_new(o, "ipAddress", json_string(v->ip));
	json_object_set_new(o, "portForwards", forwards);
}

static json_t *whole(struct td_call *x, const struct td_vm *v)
{
	json_t *o = json_pack("{s:s, s:s, s:s, s:s}", "type",
			      v->number % 2 ? "virtualmachine" : "instance", "id", v->id, "name",
			      v->name, "status", td_vm_status(v, x->now_us));
	/* The key may be a display name. */
	const char *model = v->row ? v->row->model : "l4-pcie-24gb";
	const char *key = v->row && v->number % 3 == 0 ? v->row->display : model;

	put_network(x, v, o);
	json_object_set_new(o, "resources",
			    json_pack("{s:I, s:I, s:I, s:{s:{s:I, s:s}}}", "vcpu_count",
				      (json_int_t)v->vcpus, "ram_gb", (json_int_t)v->ram_gb,
				      "storage_gb", (json_int_t)v->disk_gb, "gpus", key, "count",
				      (json_int_t)v->gpus, "v0Name", model));
	if (x->now_us >= v->run_us)
		json_object_set_new(o, "rateHourly", json_real((double)v->price_u6 / 1e6));
	return o;
}

static json_t *listed(struct td_call *x, const struct td_vm *v, int form)
{
	const char *status = td_vm_status(v, x->now_us);

	if (form >= 2)
		return json_pack("{s:s, s:s, s:{s:s, s:s}}", "type", "VM", "id", v->id,
				 "attributes", "name", v->name, "status", status);
	if (x->f->c.terse_list)
		return json_pack("{s:s, s:s, s:s, s:s}", "type", "virtualmachine", "id", v->id,
				 "name", v->name, "status", status);
	return whole(x, v);
}

void td_list(struct td_call *x)
{
	struct faketd *f = x->f;
	int form = f->c.list_form < 0 ? (int)(f->turn++ % 4) : f->c.list_form;
	json_t *rows = json_array();

	for (size_t i = 0; i < f->vm_count; i++) {
		const struct td_vm *v = f->vms[i];

		if (!td_vm_alive(v, x->now_us) || x->now_us < v->created_us + f->c.lag_us ||
		    x->fault == FTF_EMPTY_LIST || (x->fault == FTF_PARTIAL && i % 2))
			continue;
		json_array_append_new(rows, listed(x, v, form));
	}
	if (form == 0)
		td_answer(x, 200, json_pack("{s:o}", "data", rows));
	else if (form < 3)
		td_answer(x, 200, json_pack("{s:{s:o}}", "data", "instances", rows));
	else
		td_answer(x, 200,
			  json_pack("{s:{s:s, s:s, s:{s:o}}}", "data", "type", "list", "id",
				    "instances", "attributes", "instances", rows));
}

/* ---- calls on one machine ---- */

/* NULL: there is none, and that is answered. */
static struct td_vm *wanted(struct td_call *x)
{
	struct td_vm *v = td_vm_find(x->f, x->id);

	if (v && td_vm_alive(v, x->now_us) && x->fault != FTF_GONE)
		return v;
	if (x->f->turn++ % 3 == 0)
		td_error_200(x, 404, "Instance not found");
	else
		td_error(x, 404, "Instance not found");
	return NULL;
}

void td_get(struct td_call *x)
{
	const struct td_vm *v = wanted(x);

	if (v)
		td_answer(x, 200,
			  v->number % 4 ? whole(x, v) : json_pack("{s:o}", "data", whole(x, v)));
}

void td_destroy(struct td_call *x)
{
	struct td_vm *v = wanted(x);
	int64_t more = x->fault == FTF_LINGER ? x->param ? x->param : 60 * SECOND_US : 0;

	if (!v)
		return;
	if (v->foreign)
		td_violate(x, "foreign-destroyed", "%s", v->name);
	if (x->fault != FTF_IGNORED && x->now_us < v->deleted_us) {
		v->deleted_us = x->now_us;
		v->gone_us = least(v->gone_us, x->now_us + x->f->c.destroy_us + more);
	}
	if (v->number % 3 == 0) {
		x->out->status = 204;
		x->out->content_type = "";
		return;
	}
	td_answer(x, 200,
		  json_pack("{s:{s:s, s:{s:s}}}", "data", "type", "success", "attributes",
			    "message", "Instance deleted successfully"));
}

void td_manage(struct td_call *x)
{
	struct td_vm *v = wanted(x);
	bool start = !strcmp(x->verb, "start"), stopped;

	if (!v)
		return;
	if (v->foreign)
		td_violate(x, "foreign-changed", "%s", v->name);
	stopped = x->now_us >= v->stop_us;
	if (start && stopped && strcmp(v->stop_word, "stopped") != 0) {
		td_error(x, 400, "The GPU of this instance is not available any more");
		return;
	}
	if (start != stopped) {
		td_error(x, 409, start ? "Instance is already running" : "Instance is not running");
		return;
	}
	v->stop_us = start ? NEVER : x->now_us;
	td_answer(x, 200,
		  json_pack("{s:{s:s, s:s, s:{s:s}}}", "data", "type", "instance", "id", v->id,
			    "attributes", "status", start ? "starting" : "stopping"));
}
