/*
 * The fake TensorDock's life and books: its settings, chance, what is seen of it by tests, and its control
 * language.
 */
#include <errno.h>
#include <math.h>

#include "tensordock_parts.h"

/* ---- life ---- */

void faketd_defaults(struct faketd_config *c)
{
	*c = (struct faketd_config){
		.seed = 1,
		.key = FAKETD_KEY,
		.auth_id = FAKETD_AUTH_ID,
		.time_permille = 1000,
		.offers = 11,
		.drift_ppm = 20000,
		.stale_ppm = 200000,
		.churn_us = 10 * MINUTE_US,
		.search_us = 4 * SECOND_US,
		.create_min_us = 20 * SECOND_US,
		.create_max_us = 90 * SECOND_US,
		.other_us = SECOND_US / 2,
		.run_us = 5 * SECOND_US,
		.address_us = 20 * SECOND_US,
		.login_us = 90 * SECOND_US,
		.destroy_us = 15 * SECOND_US,
		.list_form = -1,
		.terse_list = true,
		.limited = true,
		.credit_u6 = 100 * 1000000,
	};
}

void faketd_calm(struct faketd_config *c)
{
	faketd_defaults(c);
	c->drift_ppm = c->stale_ppm = c->churn_us = 0;
	c->create_max_us = c->create_min_us;
	c->list_form = 0;
}

struct faketd *faketd_new(const struct faketd_config *c)
{
	struct faketd *f = xcalloc(1, sizeof *f);
	int64_t *const durations[] = {&f->c.churn_us,	   &f->c.search_us, &f->c.create_min_us,
				      &f->c.create_max_us, &f->c.other_us,  &f->c.run_us,
				      &f->c.address_us,	   &f->c.login_us,  &f->c.destroy_us,
				      &f->c.lag_us};

	f->c = *c;
	f->random = c->seed * 2 + 1;
	for (size_t i = 0; i < ARRAY_LEN(durations); i++)
		*durations[i] = *durations[i] * c->time_permille / 1000;
	td_market_make(f, (size_t)c->offers);
	return f;
}

void faketd_free(struct faketd *f)
{
	if (!f)
		return;
	for (size_t i = 0; i < f->vm_count; i++) {
		free(f->vms[i]->keys);
		free(f->vms[i]);
	}
	free(f->vms);
	free(f->rows);
	free(f->faults);
	free(f->journal);
	free(f->violations);
	free(f);
}

/* splitmix64 */
uint64_t td_random(struct faketd *f)
{
	uint64_t z = f->random += 0x9e3779b97f4a7c15u;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

int64_t td_below(struct faketd *f, int64_t n)
{
	return n > 1 ? (int64_t)(td_random(f) % (uint64_t)n) : 0;
}

bool td_chance(struct faketd *f, int64_t ppm)
{
	return ppm > 0 && td_below(f, 1000000) < ppm;
}

int64_t faketd_next_us(const struct faketd *f, int64_t now_us)
{
	int64_t next = NEVER;

	for (size_t i = 0; i < f->vm_count; i++) {
		const struct td_vm *v = f->vms[i];
		const int64_t at[] = {v->created_us, v->run_us,	 v->address_us,
				      v->login_us,   v->stop_us, v->gone_us};

		for (size_t k = 0; k < ARRAY_LEN(at); k++)
			if (at[k] > now_us && at[k] < next)
				next = at[k];
	}
	return next;
}

/* ---- violations ---- */

void faketd_add_violation(struct faketd *f, int64_t now_us, const char *rule, const char *text)
{
	struct faketd_violation *v;

	f->violations = reallocarray(f->violations, f->violation_count + 1, sizeof *f->violations);
	CHECK(f->violations);
	v = &f->violations[f->violation_count++];
	*v = (struct faketd_violation){.at_us = now_us, .rule = rule};
	printable_text(v->text, sizeof v->text, text);
}

void td_violate(struct td_call *x, const char *rule, const char *fmt, ...)
{
	char text[200];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	faketd_add_violation(x->f, x->now_us, rule, text);
}

size_t faketd_violation_count(const struct faketd *f)
{
	return f->violation_count;
}

const struct faketd_violation *faketd_violation(const struct faketd *f, size_t i)
{
	return &f->violations[i];
}

size_t faketd_journal_count(const struct faketd *f)
{
	return f->journal_count;
}

const struct faketd_entry *faketd_journal(const struct faketd *f, size_t i)
{
	return &f->journal[i];
}

/* ---- from outside ---- */

bool faketd_event(struct faketd *f, int64_t now_us, const char *id, enum faketd_event e)
{
	struct td_vm *v = td_vm_find(f, id);

	if (!v || !td_vm_alive(v, now_us))
		return false;
	switch (e) {
	case FTE_VANISH:
		v->gone_us = now_us;
		break;
	case FTE_STOP: /* what is stopped was so since then: it was billed so */
		v->stop_us = v->stop_us < now_us ? v->stop_us : now_us;
		break;
	case FTE_RUN:
		v->run_us = v->address_us = v->login_us = now_us;
		break;
	}
	return true;
}

const char *faketd_add_foreign(struct faketd *f, int64_t now_us, const char *name)
{
	struct td_vm *v = td_vm_new(f, name, now_us);

	v->foreign = true;
	v->run_us = v->address_us = v->login_us = now_us;
	v->price_u6 = 500000;
	v->gpus = 1;
	v->vcpus = 4;
	v->ram_gb = 16;
	v->disk_gb = 100;
	return v->id;
}

void faketd_set_key_dead(struct faketd *f, bool dead)
{
	f->key_dead = dead;
}

void faketd_set_credit(struct faketd *f, int64_t now_us, int64_t credit_u6)
{
	f->c.credit_u6 += credit_u6 - td_credit_u6(f, now_us);
}

void faketd_be_kind(struct faketd *f)
{
	faketd_no_faults(f);
	f->c.drift_ppm = f->c.stale_ppm = f->c.lag_us = 0;
	f->key_dead = false;
}

/* ---- what tests see ---- */

/* Where its SSH is: on 22 of its own address, else where 22 is forwarded to. */
static int ssh_port(const struct td_vm *v)
{
	for (int i = 0; i < v->forward_count; i++)
		if (v->inside[i] == 22)
			return v->outside[i];
	return v->address ? 22 : 0;
}

size_t faketd_count(const struct faketd *f)
{
	return f->vm_count;
}

void faketd_view(const struct faketd *f, int64_t now_us, size_t i, struct faketd_view *out)
{
	const struct td_vm *v = f->vms[i];

	*out = (struct faketd_view){.number = v->number,
				    .id = v->id,
				    .name = v->name,
				    .model = v->row ? v->row->model : "",
				    .status = td_vm_status(v, now_us),
				    .foreign = v->foreign,
				    .alive = td_vm_alive(v, now_us),
				    .deleted = now_us >= v->deleted_us,
				    .address = v->address,
				    .created_us = v->created_us,
				    .running_us = v->run_us,
				    .gone_us = v->gone_us,
				    .price_u6 = v->price_u6,
				    .rate_u6 = td_vm_rate_u6(v, now_us),
				    .billed_u6 = td_vm_billed_u6(v, now_us),
				    .vcpus = v->vcpus,
				    .ram_gb = v->ram_gb,
				    .disk_gb = v->disk_gb,
				    .ip = v->ip,
				    .ssh_port = ssh_port(v),
				    .login = td_vm_login(v, now_us)};
}

void faketd_keys(const struct faketd *f, int64_t now_us, int64_t number, struct buf *out)
{
	const struct td_vm *v = number > 0 && (size_t)number <= f->vm_count ? f->vms[number - 1]
									    : NULL;

	if (v && v->keys && td_vm_login(v, now_us))
		buf_puts(out, v->keys);
}

void faketd_set_endpoint(struct faketd *f, int64_t number, const char *host, int port)
{
	struct td_vm *v = f->vms[number - 1];

	copy_text(v->ip, sizeof v->ip, host);
	for (int i = 0; i < v->forward_count; i++)
		if (v->inside[i] == 22)
			v->outside[i] = port;
}

/* Type and bytes of a key line, without its comment. */
static size_t key_length(const char *line)
{
	size_t n = strcspn(line, " \n");

	return line[n] == ' ' ? n + 1 + strcspn(line + n + 1, " \n") : n;
}

bool faketd_login(const struct faketd *f, int64_t now_us, const char *host, int64_t port,
		  const char *public_key)
{
	size_t n = key_length(public_key);

	for (size_t i = 0; i < f->vm_count; i++) {
		const struct td_vm *v = f->vms[i];

		if (!v->keys || !td_vm_login(v, now_us) || strcmp(v->ip, host) ||
		    ssh_port(v) != port)
			continue;
		for (const char *p = v->keys; *p; p += strcspn(p, "\n"), p += *p == '\n')
			if (key_length(p) == n && !strncmp(p, public_key, n))
				return true;
	}
	return false;
}

void faketd_meter(const struct faketd *f, int64_t now_us, struct faketd_meter *out)
{
	*out = (struct faketd_meter){.created = f->created,
				     .credit_u6 = td_credit_u6(f, now_us),
				     .requests = (int64_t)f->journal_count,
				     .throttled = f->throttled,
				     .violations = (int64_t)f->violation_count};
	memcpy(out->calls, f->calls, sizeof out->calls);
	for (size_t i = 0; i < f->vm_count; i++) {
		const struct td_vm *v = f->vms[i];
		bool alive = td_vm_alive(v, now_us);

		out->alive += alive;
		out->alive_ours += alive && !v->foreign;
		out->billed_u6 += v->foreign ? 0 : td_vm_billed_u6(v, now_us);
		out->rate_u6 += v->foreign ? 0 : td_vm_rate_u6(v, now_us);
	}
}
