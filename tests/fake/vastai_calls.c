/*
 * Calls that change an instance: manage, bid, reboot, destroy.
 */
#include "vastai_parts.h"

/* Gone already: each documented way of saying it in turn (or the first of `ways` only). */
static void say_missing(struct ctx *x, bool destroy)
{
	unsigned turn = x->f->c.gone_variants ? x->f->turn_gone++ : 0;

	if (destroy && turn % 3 == 1)
		refuse(x, 404, "not_found", "Instance not found");
	else if (destroy && turn % 3 == 2)
		refuse(x, 200, "no_such_instance", "Instance %lld not found.", (long long)x->id);
	else
		refuse(x, 404, "no_such_instance", "Instance %lld not found.", (long long)x->id);
}

/* The living instance of the path, or answered and NULL. */
static struct fv_instance *target(struct ctx *x, bool changes)
{
	struct fv_instance *i = x->id > 0 ? instance_find(x->f, x->id) : NULL;

	if (x->id <= 0) {
		violate(x, "instance-id", "%s is no instance", x->path);
		refuse(x, 400, "invalid_args", "invalid instance_id");
		return NULL;
	}
	if (i && i->foreign && changes)
		violate(x, "foreign", "%s %s: that machine is somebody else's", x->q->method,
			x->path);
	if (i && !fault_is(x, FVF_GONE))
		return i;
	say_missing(x, x->route->op == FV_DESTROY);
	return NULL;
}

/* ---- changes ---- */

static void set_state(struct ctx *x, struct fv_instance *i, const char *state)
{
	if (!strcmp(state, "stopped")) {
		instance_stop(x->f, i);
		return;
	}
	if (x->f->credit_left <= 0) {
		refuse(x, 400, "missing_billing",
		       "Your account lacks credit; see the billing page.");
		return;
	}
	if (fault_is(x, FVF_CONTRADICT)) { /* queued: may start, and be billed, later */
		instance_start(x->f, i, scaled(x->f, 60 * SECOND_US));
		refuse(x, 200, "resources_unavailable",
		       "Required resources are currently unavailable, state change queued.");
		return;
	}
	instance_start(x->f, i, x->f->c.boot_min_us);
}

static void say_label(struct ctx *x, const struct fv_instance *i)
{
	BUF msg = {.data = NULL};

	buf_printf(&msg, "label for %lld set to '%s'", (long long)i->id, i->label);
	say(x, 200, "{\"success\": true, \"msg\": ");
	buf_json(&x->out->body, msg.data, msg.len);
	buf_puts(&x->out->body, "}");
}

void serve_manage(struct ctx *x)
{
	static const char *const names[] = {"state", "label", NULL};
	struct fv_instance *i = target(x, true);
	const char *state, *label;

	if (!i || !body_only(x, names))
		return;
	state = json_string_value(json_object_get(x->body, "state"));
	label = json_string_value(json_object_get(x->body, "label"));
	if ((!state && !label) ||
	    (state && strcmp(state, "running") != 0 && strcmp(state, "stopped") != 0)) {
		violate(x, "manage", "state is running or stopped");
		refuse(x, 400, "invalid_args", "error 400/1782: Invalid args: state");
		return;
	}
	if (label && strlen(label) > 1024) {
		refuse(x, 400, "label_too_long",
		       "Please limit label length to 1024 characters, ideally less than 128.");
		return;
	}
	say(x, 200, "{\"success\": true}");
	if (label) {
		COPY(i->label, label);
		i->label_null = false;
		say_label(x, i);
	}
	if (state)
		set_state(x, i, state);
}

void serve_start_many(struct ctx *x)
{
	static const char *const names[] = {"IDs", NULL};
	size_t k;
	json_t *id;

	if (!body_only(x, names))
		return;
	json_array_foreach(json_object_get(x->body, "IDs"), k, id)
	{
		struct fv_instance *i = instance_find(x->f, json_integer_value(id));

		if (i)
			instance_start(x->f, i, x->f->c.boot_min_us);
	}
	say(x, 200, "{\"success\": true, \"msg\": \"Instances started successfully\"}");
}

void serve_bid(struct ctx *x)
{
	static const char *const names[] = {"client_id", "price", NULL};
	struct fv_instance *i = target(x, true);
	double price;

	if (!i || !body_only(x, names))
		return;
	price = json_number_value(json_object_get(x->body, "price"));
	if (price < 0.001 || price > 128) {
		violate(x, "price", "price %g is outside of 0.001 to 128", price);
		refuse(x, 400, "invalid_args", "Please set a bid price >= 0.001.");
		return;
	}
	i->bid = true;
	i->gpu_u6 = (int64_t)(price * 1e6 + 0.5);
	i->gpu_u6 = i->gpu_u6 < i->m.gpu_u6 ? i->gpu_u6 : i->m.gpu_u6;
	instance_rate(x->f, i);
	if (price * 1e6 >= (double)i->m.min_bid_u6 && i->intended == I_STOPPED)
		instance_start(x->f, i, x->f->c.boot_min_us);
	say(x, 200, "{\"success\": true}");
}

void serve_reboot(struct ctx *x)
{
	static const char *const none[] = {NULL};
	struct fv_instance *i = target(x, true);

	if (!i || (x->body && !body_only(x, none)))
		return;
	if (i->actual == A_RUNNING) {
		instance_event(i, x->f->now_us, E_STATUS, A_REBOOTING);
		instance_start(x->f, i, x->f->c.boot_min_us);
	}
	say(x, 200, "{\"success\": true}");
}

/* Billing ends with the DELETE; it is out of sight a little later. */
void destroy_effect(struct fakevast *f, struct fv_instance *i, int64_t after_us)
{
	i->deleted = true;
	if (after_us > f->now_us) { /* lingers, and is billed as if nothing had been said */
		i->event_count = 0;
		instance_event(i, after_us, E_GONE, A_NULL);
		return;
	}
	i->event_count = 0;
	i->intended = I_STOPPED;
	i->cur = I_UNLOADED;
	i->actual = i->actual == A_RUNNING ? A_EXITED : i->actual;
	instance_rate(f, i);
	if (f->c.destroy_us > 0)
		instance_event(i, f->now_us + f->c.destroy_us, E_GONE, A_NULL);
	else
		instance_gone(f, i);
}

void serve_destroy(struct ctx *x)
{
	static const char *const none[] = {NULL};
	struct fakevast *f = x->f;
	struct fv_instance *i = target(x, true);
	int64_t us = fault_param(x, 60 * SECOND_US);

	query_only(x, none);
	if (!i || (x->body && !body_only(x, none)))
		return;
	if (i->cur == I_UNLOADED) { /* asked again while it goes */
		say(x, 200, "{\"success\": true, \"msg\": \"Instance destroyed successfully\"}");
		return;
	}
	if (fault_is(x, FVF_LATE) || fault_is(x, FVF_LATE_DROP)) {
		f->pending = grow(f->pending, f->pending_count, sizeof(*f->pending));
		f->pending[f->pending_count++] = (struct pending){
			f->now_us + fault_param(x, 30 * SECOND_US), 0, i->id, NULL};
		return; /* answered in fault_after */
	}
	if (fault_is(x, FVF_LINGER))
		destroy_effect(f, i, f->now_us + us);
	else if (!fault_is(x, FVF_IGNORED))
		destroy_effect(f, i, 0);
	if (fault_is(x, FVF_RESURRECT))
		i->returns_us = f->now_us + f->c.destroy_us + us;
	say(x, 200, "{\"success\": true, \"msg\": \"Instance destroyed successfully\"}");
}
