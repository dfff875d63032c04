/*
 * The engine's life and look-ups: who owns the sessions, what doors are told, when the one timer
 * fires. Loop thread only. Invariants: docs/DESIGN.md. Tests: tests/unit/test_engine.c.
 */
#include <string.h>

#include "internal.h"

static void timer_fired(void *arg)
{
	engine_drive(arg);
}

static void tell_now(void *arg)
{
	struct engine *e = arg;
	unsigned kinds = e->untold;

	e->untold = 0;
	for (unsigned kind = 0; kinds >> kind; kind++)
		if (kinds >> kind & 1)
			tell(e, (enum change_kind)kind, NULL, NULL);
}

static void source_init(struct engine *e, struct provider *p, size_t i)
{
	const struct dialect *d = p->dialect;
	const struct policy *policy = e->p;
	const struct shape wanted = {policy->default_disk_gb > 0 ? policy->default_disk_gb : 1,
				     policy->default_vcpus, policy->default_ram_gb};
	struct market_shape shape = {.provider = p->name};

	if (d) {
		shape.page_rows = d->page_rows;
		shape.budget = d->pages_per_refresh;
		shape.machine = provider_shape(p, &wanted);
		shape.bids = d->bids;
		shape.whole = d->whole_market;
	}
	e->sources[i] = (struct source){.e = e,
					.p = p,
					.cloud = d && !p->act ? cloud_new(e->w, p) : NULL,
					.market = market_new(&shape),
					.index = i,
					.enabled = true,
					.wanted_us = INT64_MAX,
					.unhide_us = INT64_MAX,
					.balance_u6 = UNKNOWN,
					.state = "ok"};
}

struct engine *engine_new(struct world *w, const struct policy *p, struct provider **providers,
			  size_t provider_count)
{
	struct engine *e = xcalloc(1, sizeof *e);

	e->w = w;
	e->p = p;
	e->next_seq = 1;
	e->sources = xcalloc(provider_count, sizeof *e->sources);
	e->source_count = provider_count;
	for (size_t i = 0; i < provider_count; i++)
		source_init(e, providers[i], i);
	e->inv = inventory_new(NULL, 0, 0);
	CHECK(e->inv);
	e->timer = w->timer_new(w->self, timer_fired, e);
	e->tell_timer = w->timer_new(w->self, tell_now, e);
	return e;
}

const struct policy *engine_policy(const struct engine *e)
{
	return e->p;
}

int64_t engine_now(const struct engine *e)
{
	return e->w->wall_us(e->w->self);
}

void engine_wake(struct engine *e, int64_t at_us)
{
	int64_t delay = at_us - engine_now(e);

	if (e->stopping || !e->started)
		return;
	e->w->timer_set(e->w->self, e->timer, delay > 0 ? delay : 0);
}

/* ---- lives ---- */

struct life *life_of(const struct engine *e, const struct session *s)
{
	struct life *l = container_of(s, struct life, s);

	CHECK(l->e == e);
	return l;
}

struct life *life_new(struct engine *e, const struct session *s)
{
	struct life *l = xcalloc(1, sizeof *l);
	size_t at = e->life_count;

	l->s = *s;
	l->e = e;
	l->refs = 1;
	if (e->life_count == e->life_cap) {
		e->life_cap = e->life_cap ? e->life_cap * 2 : 16;
		e->lives = reallocarray(e->lives, e->life_cap, sizeof(struct life *));
		CHECK(e->lives);
	}
	index_add(l);
	turns_wake(l);
	while (at > 0 && e->lives[at - 1]->s.serial > s->serial) {
		e->lives[at] = e->lives[at - 1];
		at--;
	}
	e->lives[at] = l;
	e->life_count++;
	if (s->serial > e->last_serial)
		e->last_serial = s->serial;
	return l;
}

static void life_free(struct life *l)
{
	events_free(l);
	said_free(l);
	free(l->error_text);
	session_free(&l->s);
	free(l);
}

void life_unref(struct life *l)
{
	CHECK(l->refs > 0);
	if (--l->refs == 0)
		life_free(l);
}

void life_drop(struct life *l)
{
	struct engine *e = l->e;

	CHECK(!l->dead);
	l->dead = true;
	probe_stop(l);
	turns_leave(l);
	index_drop(l);
	e->waiting -= l->waits;
	tell(e, CH_SESSION_GONE, &l->s, NULL);
	for (size_t i = 0; i < e->life_count; i++) {
		if (e->lives[i] != l)
			continue;
		memmove(&e->lives[i], &e->lives[i + 1],
			(e->life_count - i - 1) * sizeof(struct life *));
		e->life_count--;
		break;
	}
	life_unref(l);
}

void life_wake(struct life *l)
{
	turns_wake(l);
	engine_wake(l->e, 0);
}

/* Strictly greater, so that it also tells whether anything happened meanwhile. */
static void touch(struct life *l)
{
	int64_t now = engine_now(l->e);

	l->s.changed_us = now > l->s.changed_us ? now : l->s.changed_us + 1;
}

void life_changed_soon(struct life *l)
{
	touch(l);
	if (!l->dirty) /* else a write failed, and the next one has its time */
		l->next_put_us = 0;
	l->dirty = l->o.journal_busy = l->untold = true;
	life_wake(l);
}

void life_changed(struct life *l)
{
	touch(l);
	life_put(l);
	if (l->driving)
		l->untold = true; /* once, at the end of its turn */
	else
		life_tell(l);
	life_wake(l);
}

void life_tell(struct life *l)
{
	l->untold = false;
	tell(l->e, CH_SESSION, &l->s, NULL);
}

void life_reason(struct life *l, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(l->s.reason, sizeof l->s.reason, fmt, ap);
	va_end(ap);
}

void life_state(struct life *l, enum session_state to, const char *reason, const struct caller *who)
{
	enum session_state from = (enum session_state)l->s.state;
	int64_t now = engine_now(l->e);

	CHECK(state_may(from, to));
	if (reason)
		copy_text(l->s.reason, sizeof l->s.reason, reason);
	if (from == to)
		return;
	l->s.state = to;
	l->s.state_us = now;
	if (state_terminal(to))
		l->s.stopped_us = now;
	count_state(l, from);
	event(l->e, l, who, state_name(to), "%s", l->s.reason);
	tell(l->e, CH_SESSION_STATE, &l->s, NULL);
	tell_soon(l->e, CH_STATUS);
}

bool session_living(const struct session *s)
{
	return s->state != S_DRAFT && !state_terminal((enum session_state)s->state);
}

bool engine_proven(const struct session *s)
{
	return state_terminal((enum session_state)s->state) &&
	       (s->instance_state == I_NONE || s->instance_state == I_GONE);
}

/* ---- loading and running ---- */

/* Two rows can bear one name after a crash on a failing disk (a rename or the end of a draft that was
 * not written, then the name taken again). Neither may be lost: this one gets a name of its own. */
static void free_name(const struct engine *e, struct session *s)
{
	char name[64];

	if (!engine_by_name(e, s->name))
		return;
	snprintf(name, sizeof name, "%.40s-%lld", s->name, (long long)s->serial);
	if (!engine_by_name(e, name))
		COPY(s->name, name);
	else
		snprintf(s->name, sizeof s->name, "session-%s", s->id);
}

int engine_load(struct engine *e, const struct journal_op *row, struct error *why)
{
	struct session s;
	int err;

	switch (row->table) {
	case J_SESSION:
		err = session_unpack(&s, row, why);
		if (err)
			return err;
		if (engine_by_serial(e, s.serial) || engine_by_id(e, s.id)) {
			session_free(&s);
			return fail(why, ERR_INVALID, "session %s stands twice in the database",
				    s.id);
		}
		if (!s.removed_us)
			free_name(e, &s);
		books_reach(e, s.created_us);
		life_new(e, &s);
		return 0;
	case J_EVENT:
		event_load(e, row);
		return 0;
	case J_META:
		if (row->n == 2 && row->v[0].type == JV_TEXT && row->v[1].type == JV_TEXT &&
		    !strcmp(row->v[0].text, "last_serial"))
			e->last_serial = strtoll(row->v[1].text, NULL, 10) > e->last_serial
						 ? strtoll(row->v[1].text, NULL, 10)
						 : e->last_serial;
		return 0;
	case J_TABLE_COUNT:
		break;
	}
	return fail(why, ERR_INVALID, "a row of an unknown table");
}

void engine_start(struct engine *e)
{
	e->started = true;
	e->started_us = engine_now(e);
	e->looked_us = e->started_us; /* somebody will: the first refresh is at once */
	for (size_t i = 0; i < e->life_count; i++) {
		struct life *l = e->lives[i];

		l->o.watched_us = e->started_us;
		/* Whether a create left before the end of the last process nobody knows. */
		if (l->s.instance_state == I_ASKED)
			l->o.sent_by_us = e->started_us;
		if (!l->s.held)
			continue;
		/* A restart never releases a hold (tree, `hold`). */
		l->s.held = 0;
		life_put(l);
		if (session_living(&l->s))
			engine_alarm(
				e, "hold", l->s.name,
				"gpufs was restarted while somebody held this session; its "
				"holders could not be carried over, so the normal expiry applies");
	}
	event(e, NULL, NULL, "started", "%zu sessions known", e->life_count);
	events_forget_old(e);
	events_past_free(e);
	engine_wake(e, 0);
}

void engine_stop(struct engine *e)
{
	e->stopping = true;
	e->w->timer_set(e->w->self, e->timer, -1);
	e->w->timer_set(e->w->self, e->tell_timer, -1);
	for (size_t i = 0; i < e->life_count; i++) {
		struct life *l = e->lives[i];

		probe_stop(l);
		if (l->dirty)
			life_put(l);
	}
	orders_stop(e);
}

void engine_free(struct engine *e)
{
	if (!e)
		return;
	e->stopping = true; /* answers only let go from now on */
	for (size_t i = 0; i < e->source_count; i++)
		if (e->sources[i].cloud)
			cloud_hang_up(e->sources[i].cloud);
	orders_free(e);
	/* A life that an answer still refers to stays: the process is about to end. */
	while (e->life_count)
		life_unref(e->lives[--e->life_count]);
	free(e->lives);
	index_free(&e->index);
	turns_free(e);
	publish_forget(e);
	for (size_t i = 0; i < e->source_count; i++)
		cloud_free(e->sources[i].cloud);
	for (size_t i = 0; i < e->source_count; i++)
		strays_free(&e->sources[i]);
	for (size_t i = 0; i < e->source_count; i++) {
		market_drop_arrival(&e->sources[i]);
		market_free(e->sources[i].market);
		free(e->sources[i].gone);
		free(e->sources[i].templates);
	}
	free(e->sources);
	free(e->alarms);
	free(e->old_events);
	events_past_free(e);
	inventory_unref(e->inv);
	e->w->timer_free(e->w->self, e->timer);
	e->w->timer_free(e->w->self, e->tell_timer);
	free(e);
}

/* ---- doors ---- */

void engine_add_door(struct engine *e, struct door *d)
{
	d->next = e->doors;
	e->doors = d;
}

void tell(struct engine *e, enum change_kind kind, const struct session *s, const char *text)
{
	struct change c = {.kind = kind, .session = s, .text = text};

	for (struct door *d = e->doors; d && e->started; d = d->next)
		d->changed(d, &c);
}

/* A list that touches hundreds of sessions would have every door render the root's rows hundreds of
 * times over. */
void tell_soon(struct engine *e, enum change_kind kind)
{
	if (e->stopping || !e->started)
		return;
	if (!e->untold)
		e->w->timer_set(e->w->self, e->tell_timer, 0);
	e->untold |= 1U << kind;
}

/* ---- looking ---- */

const struct session *engine_by_name(const struct engine *e, const char *name)
{
	for (struct life *l = index_by_name(e, name); l; l = l->same_name)
		if (!session_in_history(&l->s) && !strcmp(l->s.name, name))
			return &l->s;
	return NULL;
}

const struct session *engine_by_id(const struct engine *e, const char *id)
{
	struct life *l = index_by_id(e, id);

	return l ? &l->s : NULL;
}

/* Index of the first life whose serial is greater than `after`. */
static size_t upper(const struct engine *e, int64_t after)
{
	size_t lo = 0, hi = e->life_count;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (e->lives[mid]->s.serial > after)
			hi = mid;
		else
			lo = mid + 1;
	}
	return lo;
}

const struct session *engine_by_serial(const struct engine *e, int64_t serial)
{
	size_t at = upper(e, serial - 1);

	if (at < e->life_count && e->lives[at]->s.serial == serial)
		return &e->lives[at]->s;
	return NULL;
}

const struct session *engine_next(const struct engine *e, int64_t after, bool history)
{
	for (size_t i = upper(e, after); i < e->life_count; i++)
		if (session_in_history(&e->lives[i]->s) == history)
			return &e->lives[i]->s;
	return NULL;
}

const struct session *engine_last(const struct engine *e, const char *name, int64_t uid)
{
	const struct session *last = NULL;

	for (const struct life *l = index_by_name(e, name); l; l = l->same_name)
		if (session_in_history(&l->s) && !strcmp(l->s.name, name) &&
		    (uid == 0 || l->s.owner_uid == uid) && (!last || l->s.serial > last->serial))
			last = &l->s;
	return last;
}

bool engine_may(const struct caller *who, const struct session *s)
{
	return who->admin || who->uid == 0 || who->uid == s->owner_uid;
}

const char *engine_session_error(const struct engine *e, const struct session *s)
{
	struct life *l = life_of(e, s);

	return l->error_text ? l->error_text : "";
}

const struct error *engine_session_refusal(const struct engine *e, const struct session *s)
{
	struct life *l = life_of(e, s);

	return l->refusal.code ? &l->refusal : NULL;
}

void engine_note_error(struct engine *e, const struct session *s, const struct error *why)
{
	struct life *l = life_of(e, s);
	BUF b = {0};

	put_time(&b, engine_now(e));
	buf_printf(&b, " %s ", errno_name(err_errno(why->code)));
	if (why->line)
		buf_printf(&b, "line %d, column %d: ", why->line, why->column);
	buf_escape(&b, why->text, strlen(why->text));
	buf_putc(&b, '\n');
	free(l->error_text);
	l->error_text = buf_take(&b);
	tell(e, CH_SESSION, s, NULL);
}
