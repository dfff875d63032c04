/*
 * What only tests read of the fake Vast.ai: the billing meter, the journal, the violations; and what
 * they do to it from outside.
 *
 * Rules whose breaking is written down, beside the refusal if the service refuses:
 *	of the protocol: path, method, slash, query, get-body, content-type, json, body, unknown-member,
 *	create-body, manage, price, search, bare-filter, filter, unknown-field, id-filter, gpu-name,
 *	list-filter, list-param, list-limit, token, instance-id, ssh-key, auth-form, env-text, deprecated;
 *	of a careful client: key-in-url, label-missing, label-long, label-twice, cancel-unavail,
 *	undocumented-member, reused (a create on a used connection), private-key, foreign; and what the
 *	server adds: http-* (its own parser's).
 */
#include "vastai_parts.h"

size_t fakevast_count(const struct fakevast *f)
{
	return f->instance_count;
}

static size_t keys_in_force(const struct fakevast *f, const struct fv_instance *i)
{
	size_t n = 0;

	for (size_t k = 0; k < i->key_count; k++)
		n += i->keys[k].from_us <= f->now_us;
	return i->no_login ? 0 : n;
}

void fakevast_view(struct fakevast *f, int64_t now_us, size_t k, struct fakevast_view *out)
{
	struct fv_instance *i;

	fakevast_advance(f, now_us);
	CHECK(k < f->instance_count);
	i = f->instances[k];
	bill(f, i);
	*out = (struct fakevast_view){
		.id = i->id,
		.offer_id = i->offer_id,
		.machine_id = i->m.machine_id,
		.foreign = i->foreign,
		.alive = instance_alive(i) && i->cur != I_UNLOADED,
		.deleted = i->deleted,
		.status = instance_alive(i) ? actual_names[i->actual] : "gone",
		.created_us = i->created_us,
		.destroyed_us = i->gone_us,
		.running_us = i->running_us,
		.price_u6 = i->gpu_u6 + i->disk_u6,
		.rate_u6 = i->rate_u6,
		.billed_u6 = billed_u6(i),
		.gpu_seconds = i->gpu_us / SECOND_US,
		.login = instance_alive(i) && i->actual == A_RUNNING && !i->deaf,
		.deaf = i->deaf,
		.keys = keys_in_force(f, i),
	};
	COPY(out->label, i->label);
}

void fakevast_keys(struct fakevast *f, int64_t now_us, int64_t id, struct buf *out)
{
	struct fv_instance *i;

	fakevast_advance(f, now_us);
	i = instance_find(f, id);
	for (size_t k = 0; i && !i->no_login && k < i->key_count; k++)
		if (i->keys[k].from_us <= f->now_us)
			buf_printf(out, "%s\n", i->keys[k].line);
}

void fakevast_set_endpoint(struct fakevast *f, int64_t id, const char *host, int proxy_port,
			   int direct_port)
{
	struct fv_instance *i = instance_any(f, id);

	CHECK(i != NULL);
	COPY(i->ssh_host, host);
	i->proxy_port = proxy_port;
	i->direct_port = direct_port;
	i->proxy_only = i->proxy_only || !direct_port;
}

/* Type and base64 of a key line, without the comment. */
static size_t key_length(const char *line)
{
	size_t n = strcspn(line, " ");

	return line[n] ? n + 1 + strcspn(line + n + 1, " \r\n") : n;
}

static bool key_in_force(const struct fakevast *f, const struct fv_instance *i, const char *line)
{
	size_t n = key_length(line);

	for (size_t k = 0; k < i->key_count && !i->no_login; k++)
		if (i->keys[k].from_us <= f->now_us && key_length(i->keys[k].line) == n &&
		    !strncmp(i->keys[k].line, line, n))
			return true;
	return false;
}

enum fakevast_ssh fakevast_login(struct fakevast *f, int64_t now_us, const char *host, int64_t port,
				 const char *public_key, int64_t *id, char host_key[96])
{
	*id = 0;
	fakevast_advance(f, now_us);
	for (size_t k = f->instance_count; k-- > 0;) {
		struct fv_instance *i = f->instances[k];
		bool proxy = !strcmp(host, i->ssh_host) && port == i->proxy_port;
		bool direct = !strcmp(host, f->c.own_ssh ? i->ssh_host : i->m.ip) &&
			      port == i->direct_port && !i->proxy_only;
		bool up = i->actual == A_RUNNING && !i->deaf;

		if (!instance_alive(i) || (!proxy && !direct))
			continue;
		if (!up && !proxy && !i->deaf)
			break;
		*id = i->id;
		if (!up)
			return FV_SSH_SILENT;
		if (host_key)
			snprintf(host_key, 96,
				 "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHostKey%024lld",
				 (long long)i->id);
		return key_in_force(f, i, public_key) ? FV_SSH_OK : FV_SSH_DENIED;
	}
	return FV_SSH_REFUSED;
}

void fakevast_meter(struct fakevast *f, int64_t now_us, struct fakevast_meter *out)
{
	fakevast_advance(f, now_us);
	*out = (struct fakevast_meter){.created = f->created,
				       .credit_u6 = (int64_t)(f->credit_left / HOUR_US),
				       .requests = f->requests,
				       .throttled = f->throttled,
				       .violations = (int64_t)f->violation_count};
	memcpy(out->calls, f->calls, sizeof(out->calls));
	for (size_t k = 0; k < f->instance_count; k++) {
		struct fv_instance *i = f->instances[k];
		bool alive = instance_alive(i) && i->cur != I_UNLOADED;

		bill(f, i);
		out->alive += alive;
		if (i->foreign)
			continue;
		out->alive_ours += alive;
		out->rate_u6 += i->rate_u6;
		out->billed_u6 += billed_u6(i);
	}
}

size_t fakevast_journal_count(const struct fakevast *f)
{
	return f->journal_count;
}

const struct fakevast_entry *fakevast_journal(const struct fakevast *f, size_t i)
{
	CHECK(i < f->journal_count);
	return &f->journal[i];
}

size_t fakevast_violation_count(const struct fakevast *f)
{
	return f->violation_count;
}

const struct fakevast_violation *fakevast_violation(const struct fakevast *f, size_t i)
{
	CHECK(i < f->violation_count);
	return &f->violations[i];
}

void fakevast_add_violation(struct fakevast *f, int64_t now_us, const char *rule, const char *text)
{
	fakevast_advance(f, now_us);
	violate_at(f, rule, "%s", text);
}

void fakevast_forget(struct fakevast *f)
{
	f->journal_count = 0;
	f->requests = f->throttled = 0;
	memset(f->calls, 0, sizeof(f->calls));
	free(f->violations);
	f->violations = NULL;
	f->violation_count = 0;
}

/* ---- from outside ---- */

bool fakevast_event(struct fakevast *f, int64_t now_us, int64_t id, enum fakevast_event e)
{
	struct fv_instance *i;

	fakevast_advance(f, now_us);
	i = instance_find(f, id);
	if (!i || i->cur == I_UNLOADED)
		return false;
	switch (e) {
	case FVE_VANISH:
		i->vanished = true;
		instance_gone(f, i);
		return true;
	case FVE_STOP:
		i->event_count = 0;
		instance_event(i, now_us, E_OUTBID, A_NULL);
		break;
	case FVE_EXIT:
		i->event_count = 0;
		instance_event(i, now_us, E_STATUS, A_EXITED);
		break;
	case FVE_OFFLINE:
		instance_event(i, now_us, E_CLOUD, A_OFFLINE);
		break;
	case FVE_UNHEARD:
		instance_event(i, now_us, E_CLOUD, A_UNKNOWN);
		break;
	case FVE_BACK:
		if (i->actual != A_OFFLINE && i->actual != A_UNKNOWN)
			return false;
		instance_event(i, now_us, E_RETURN, A_NULL);
		break;
	case FVE_RUN:
		i->event_count = 0;
		instance_event(i, now_us, E_STATUS, A_RUNNING);
		break;
	}
	instance_step(f, i);
	return true;
}

int64_t fakevast_add_foreign(struct fakevast *f, int64_t now_us, const char *label)
{
	struct machine_info m;
	struct fv_instance *i;

	fakevast_advance(f, now_us);
	CHECK(f->offer_count > 0);
	m = f->offers[f->instance_count % f->offer_count].m;
	i = instance_new(f, &m);
	i->foreign = true;
	i->label_null = !label;
	COPY(i->label, label ? label : "");
	COPY(i->image, "ubuntu:22.04");
	COPY(i->runtype, "ssh ssh_direc ssh_proxy");
	i->disk_gb = 16;
	i->disk_u6 = storage_hour_u6(m.storage_u6, i->disk_gb);
	i->gpu_u6 = m.gpu_u6;
	i->min_bid_u6 = m.min_bid_u6;
	i->shown_us = i->created_us;
	if (f->c.own_ssh) {
		COPY(i->ssh_host, "203.0.113.99");
		i->proxy_port = 22;
	}
	instance_event(i, now_us, E_STATUS, A_RUNNING);
	instance_step(f, i);
	return i->id;
}
