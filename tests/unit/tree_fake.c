/*
 * See tree_fake.h. Everything answers at once from the two global structs; fake_reset empties them.
 */
#include "tree_fake.h"

#include <stdio.h>
#include <string.h>

#include "../../src/core/check.h"

struct engine fake_engine;
struct mount fake_mount;

static const struct mount_args fake_args = {.version = "0.0.test"};

const struct verb session_verbs[] = {
	{"commit", "", "buy now"}, {"extend", "2h", "move the end"}, {"", "", ""}};
const struct verb root_verbs[] = {{"refresh", "[PROVIDER]", "ask for offers now"}, {"", "", ""}};

void fake_free(void)
{
	query_table_free(fake_mount.queries);
	offer_index_free(fake_mount.offers);
	mount_text_unref(&fake_mount, fake_mount.cached);
	for (size_t i = 0; i < FAKE_SESSIONS; i++)
		session_free(&fake_engine.sessions[i]);
	inventory_unref(fake_engine.inv);
	memset(&fake_engine, 0, sizeof(fake_engine));
	memset(&fake_mount, 0, sizeof(fake_mount));
}

void fake_reset(void)
{
	fake_free();
	COPY(fake_engine.policy.public_mount, "/gpu");
	fake_engine.inv = inventory_new(NULL, 0, 1);
	fake_engine.status.state = "ok";
	fake_mount.queries = query_table_new();
	fake_mount.offers = offer_index_new();
}

void fake_market(const struct offer *offers, size_t n)
{
	uint64_t generation = fake_engine.inv->generation + 1;

	inventory_unref(fake_engine.inv);
	fake_engine.inv = inventory_new(offers, n, generation);
	CHECK(fake_engine.inv != NULL);
}

struct session *fake_session(int64_t serial, const char *name, int64_t uid)
{
	CHECK(serial > 0 && serial < FAKE_SESSIONS);
	struct session *s = &fake_engine.sessions[serial];

	session_init(s);
	s->serial = serial;
	COPY(s->name, name);
	snprintf(s->id, sizeof(s->id), "00000000-0000-4000-8000-%012lld", (long long)serial);
	s->owner_uid = uid;
	s->owner_gid = uid;
	s->dir_mode = 0750;
	s->created_us = SECOND_US * 1000;
	return s;
}

struct ctx fake_ctx(enum object class, uint64_t serial, int64_t uid)
{
	struct ctx x = {.m = &fake_mount,
			.e = &fake_engine,
			.args = &fake_args,
			.class = class,
			.serial = serial,
			.who = {.uid = uid, .gid = uid, .name = "", .admin = uid == 0},
			.now_us = SECOND_US * 5000};

	return x;
}

const struct row *fake_row(enum object class, const char *path)
{
	for (const struct row *r = object_classes[class].rows; r->path; r++)
		if (strcmp(r->path, path) == 0)
			return r;
	return NULL;
}

char *fake_show(struct ctx x, const char *path)
{
	struct buf out = {0};

	x.row = fake_row(x.class, path);
	if (!x.row || !object_classes[x.class].resolve(&x) || tree_show(&x, &out) < 0) {
		buf_free(&out);
		return NULL;
	}
	return buf_take(&out);
}

/* ---- engine.h ---- */

const struct policy *engine_policy(const struct engine *e)
{
	return &e->policy;
}

const struct session *engine_by_serial(const struct engine *e, int64_t serial)
{
	if (serial <= 0 || serial >= FAKE_SESSIONS || e->sessions[serial].serial == 0)
		return NULL;
	return &e->sessions[serial];
}

const struct session *engine_next(const struct engine *e, int64_t after, bool history)
{
	for (int64_t i = after + 1; i < FAKE_SESSIONS; i++)
		if (e->sessions[i].serial && session_in_history(&e->sessions[i]) == history)
			return &e->sessions[i];
	return NULL;
}

const struct session *engine_by_name(const struct engine *e, const char *name)
{
	const struct session *s = engine_next(e, 0, false);

	while (s && strcmp(s->name, name) != 0)
		s = engine_next(e, s->serial, false);
	return s;
}

const struct session *engine_by_id(const struct engine *e, const char *id)
{
	for (int64_t i = 1; i < FAKE_SESSIONS; i++)
		if (e->sessions[i].serial && strcmp(e->sessions[i].id, id) == 0)
			return &e->sessions[i];
	return NULL;
}

const struct session *engine_last(const struct engine *e, const char *name, int64_t uid)
{
	const struct session *found = NULL;

	for (const struct session *s = engine_next(e, 0, true); s;
	     s = engine_next(e, s->serial, true))
		if (strcmp(s->name, name) == 0 && (uid == 0 || s->owner_uid == uid))
			found = s;
	return found;
}

const char *engine_session_error(const struct engine *e, const struct session *s)
{
	(void)s;
	return e->session_error ? e->session_error : "";
}

const struct error *engine_session_refusal(const struct engine *e, const struct session *s)
{
	(void)s;
	return e->refusal.code == ERR_NONE ? NULL : &e->refusal;
}

void engine_session_log(const struct engine *e, const struct session *s, bool json, struct buf *out)
{
	(void)e;
	buf_printf(out, json ? "{\"name\":\"%s\"}\n" : "log of %s\n", s->name);
}

void engine_provider_log(const struct engine *e, const struct session *s, struct buf *out)
{
	(void)s;
	buf_puts(out, e->provider_log ? e->provider_log : "");
}

void engine_plan(struct engine *e, const struct session *s, const struct caller *who,
		 struct buf *out)
{
	(void)e;
	buf_printf(out, "plan of %s for %lld\n", s->name, (long long)who->uid);
}

void engine_receipt(const struct engine *e, const struct session *s, struct buf *out)
{
	(void)e;
	buf_printf(out, "receipt of %s\n", s->name);
}

bool engine_proven(const struct session *s)
{
	(void)s;
	return fake_engine.proven;
}

const struct inventory *engine_inventory(const struct engine *e)
{
	return e->inv;
}

void engine_looked_at_market(struct engine *e)
{
	e->looked++;
}

void engine_asked_for(struct engine *e, const struct query *q)
{
	e->looked++;
	e->asked = *q;
}

size_t engine_provider_count(const struct engine *e)
{
	return e->provider_count;
}

bool engine_provider_view(const struct engine *e, size_t i, struct provider_view *out)
{
	if (i >= e->provider_count)
		return false;
	*out = e->providers[i];
	return true;
}

void engine_status(const struct engine *e, struct status_view *out)
{
	*out = e->status;
}

void engine_alarms(const struct engine *e, struct buf *out)
{
	buf_puts(out, e->alarms ? e->alarms : "");
}

static void fake_order(struct engine *e, const char *what, struct str text, order_cb cb, void *arg)
{
	snprintf(e->order, sizeof(e->order), "%s %.*s", what, (int)text.n, text.p);
	cb(arg, 0, NULL);
}

void engine_ctl(struct engine *e, const struct caller *who, const struct session *s,
		struct str line, order_cb cb, void *arg)
{
	(void)who;
	fake_order(e, s->name, line, cb, arg);
}

void engine_root_ctl(struct engine *e, const struct caller *who, struct str line, order_cb cb,
		     void *arg)
{
	(void)who;
	fake_order(e, "root", line, cb, arg);
}

void engine_remaining(struct engine *e, const struct caller *who, const struct session *s,
		      struct str text, order_cb cb, void *arg)
{
	(void)who;
	(void)s;
	fake_order(e, "remaining", text, cb, arg);
}

void engine_protect(struct engine *e, const struct caller *who, const struct session *s,
		    struct str text, order_cb cb, void *arg)
{
	(void)who;
	(void)s;
	fake_order(e, "protect", text, cb, arg);
}

void engine_provider_enable(struct engine *e, const struct caller *who, size_t provider,
			    struct str text, order_cb cb, void *arg)
{
	(void)who;
	(void)provider;
	fake_order(e, "enable", text, cb, arg);
}

/* ---- tree.h, what the mount offers ---- */

struct offer_index *mount_offers(struct mount *m)
{
	return m->offers;
}

struct query_table *mount_queries(struct mount *m)
{
	return m->queries;
}

const char *mount_last_error(const struct mount *m, int64_t uid)
{
	(void)uid;
	return m->last_error ? m->last_error : "";
}

void mount_metrics(struct mount *m, struct buf *out)
{
	(void)m;
	buf_puts(out, "# TYPE gpufs_alarms gauge\ngpufs_alarms 0\n");
}

void mount_counters(const struct mount *m, struct buf *out)
{
	(void)m;
	buf_puts(out, "LOOKUP 1\n");
}

struct shared_text *mount_cached(struct mount *m, uint64_t nodeid, uint64_t version)
{
	if (m->cached_id != nodeid || m->cached_version != version || !m->cached)
		return NULL;
	m->cache_hits++;
	m->cached->refs++;
	return m->cached;
}

struct shared_text *mount_cache(struct mount *m, uint64_t nodeid, uint64_t version,
				struct buf *take)
{
	mount_text_unref(m, m->cached);
	m->cached = xcalloc(1, sizeof(*m->cached));
	m->cached->refs = 2; /* the fake's and the caller's */
	m->cached->text = *take;
	memset(take, 0, sizeof(*take));
	m->cached_id = nodeid;
	m->cached_version = version;
	return m->cached;
}

void mount_text_unref(struct mount *m, struct shared_text *t)
{
	(void)m;
	if (!t || --t->refs)
		return;
	buf_free(&t->text);
	free(t);
}

uint64_t node_id(enum object class, uint64_t serial, unsigned field)
{
	return (uint64_t) class << 56 | serial << 8 | field;
}
