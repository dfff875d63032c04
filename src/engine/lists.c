/*
 * Lists: what exists at a provider. One list observes every session there, however many there are
 * (architecture.md, Reconciliation), and shows what no session owns (strays.c). An incomplete list may
 * add knowledge and never removes any. Loop thread. Tests: tests/unit/test_engine.c,
 * test_engine_cloud.c.
 */
#include <string.h>

#include "../core/mutant.h"
#include "internal.h"

#define TRANSIT_US	    (3 * MINUTE_US) /* lists come often for so long after a start or unsure create */
#define GHOST_BRAKE_COUNT   2		    /* faults.md, Reconciling: more than 2 … */
#define GHOST_BRAKE_PERCENT 30		    /* … and more than 30 % at once */

static bool awaits_list(const struct life *l)
{
	const struct session *s = &l->s;

	return s->label[0] &&
	       (s->instance_state == I_UNSURE || s->instance_state == I_EXISTS ||
		(s->instance_state == I_ASKED && !l->o.may_create && !l->o.call_busy));
}

static bool is_of(const struct life *l, const struct source *src)
{
	return !strcmp(l->s.provider, src->p->name);
}

/* When the create whose outcome is unknown left, at the latest. */
static int64_t sent_us(const struct life *l)
{
	return l->s.asked_us > l->o.sent_by_us ? l->s.asked_us : l->o.sent_by_us;
}

/* Does it need lists to come often? */
static bool life_in_transit(const struct life *l, int64_t now)
{
	const struct session *s = &l->s;

	if (!awaits_list(l))
		return false;
	if (s->instance_state != I_EXISTS)
		return now < sent_us(l) + TRANSIT_US;
	if (s->state != S_RUNNING)
		return true;
	return l->o.by_list && l->o.status == INST_BOOTING && now < s->running_us + UNTOLD_US;
}

/* Is something being created or stopped there? */
static bool in_transit(const struct source *src, int64_t now)
{
	if (now - src->e->started_us < TRANSIT_US)
		return true;
	for (size_t i = 0; i < src->e->life_count; i++)
		if (is_of(src->e->lives[i], src) && life_in_transit(src->e->lives[i], now))
			return true;
	return false;
}

/* How long until this one needs the next list (lifecycle.md, Timers). */
static int64_t list_pause(struct life *l, int64_t now)
{
	int64_t lag_over, pause;

	if (l->s.instance_state != I_EXISTS) {
		/* Only lists begun after the lag can prove that nothing was made. */
		lag_over = sent_us(l) + l->o.lag_us;
		pause = now < sent_us(l) + TRANSIT_US ? TRANSIT_LIST_US : l->e->p->reconcile_us;
		if (now > lag_over)
			return l->o.by_list ? POLL_MIN_US : LIST_PAUSE_US;
		return pause < lag_over + 1 - now ? pause : lag_over + 1 - now;
	}
	if (!l->o.by_list)
		return LIST_PAUSE_US;
	if (l->s.state == S_RUNNING)
		return source_of(l->e, l->s.provider)->ghost_brake ? l->e->p->reconcile_us
								   : POLL_MAX_US;
	pause = POLL_MIN_US + l->polls++ * (SECOND_US / 2);
	return pause < POLL_MAX_US ? pause : POLL_MAX_US;
}

/* ---- what a list says about a session ---- */

static void list_seen(struct life *l, const struct instance *in)
{
	struct session *s = &l->s;
	struct source *src = source_of(l->e, s->provider);
	bool found = s->instance_state != I_EXISTS, changed;
	/* It may be older than a deletion that a direct query already confirmed. */
	bool stale = l->o.destroy_ok_us && l->o.gone_us[1] &&
		     src->list_begun_us <= l->o.gone_us[1] + src->p->lag_us;

	if (!stale)
		seen_alive(l);
	else
		memset(l->o.absent_us, 0, sizeof l->o.absent_us);
	if (found) {
		/* The lost create is found: it exists, it costs, it is ours. */
		s->instance_state = I_EXISTS;
		COPY(s->instance_id, in->id);
		l->o.next_look_us = 0;
		l->o.next_list_us = engine_now(l->e) + POLL_MIN_US;
		event(l->e, l, NULL, "found", "%s: the order had worked", in->id);
		if (s->state == S_PROVISIONING && !s->attempt_cause)
			life_reason(l, "the machine is starting");
		offer_taken(src, s);
	}
	changed = take_instance(l, in, src->list_begun_us);
	if (found || changed)
		life_changed_soon(l);
}

/* A complete list lacks it. */
static void list_lacks(struct life *l, int64_t begun_us)
{
	if (!l->o.absent_us[1])
		l->o.absent_since_us = begun_us;
	note_pair(l->o.absent_us, begun_us);
}

/* A list's rows by id and by label, for the time of one list: not every session against every row. */
struct row_index {
	const struct result *res;
	uint32_t *ids, *labels; /* row + 1, or 0 */
	size_t slots;		/* a power of two */
};

static const char *key_of(const struct row_index *ix, const uint32_t *slots, size_t row)
{
	const struct instance *in = &ix->res->instances[row];

	return slots == ix->ids ? in->id : in->label;
}

/* The slot of this key: its first row's, or a free one. */
static uint32_t *slot_of(const struct row_index *ix, uint32_t *slots, const char *key)
{
	size_t at = hash64(key, strlen(key), 0) & (ix->slots - 1);

	while (slots[at] && strcmp(key_of(ix, slots, slots[at] - 1), key) != 0)
		at = (at + 1) & (ix->slots - 1);
	return &slots[at];
}

static void index_row(struct row_index *ix, uint32_t *slots, size_t row)
{
	uint32_t *slot = slot_of(ix, slots, key_of(ix, slots, row));

	if (!*slot)
		*slot = (uint32_t)row + 1;
}

static void row_index_init(struct row_index *ix, const struct result *res)
{
	*ix = (struct row_index){.res = res, .slots = 16};
	while (ix->slots < 2 * res->count)
		ix->slots *= 2;
	ix->ids = xcalloc(ix->slots, sizeof(*ix->ids));
	ix->labels = xcalloc(ix->slots, sizeof(*ix->labels));
	for (size_t i = 0; i < res->count; i++) {
		if (!res->instances[i].id[0])
			continue;
		index_row(ix, ix->ids, i);
		index_row(ix, ix->labels, i);
	}
}

static void row_index_free(struct row_index *ix)
{
	free(ix->ids);
	free(ix->labels);
}

/* Its row: by its id (people relabel in consoles, providers lose labels), else by its label. */
static size_t row_of(const struct session *s, const struct row_index *ix)
{
	uint32_t row = s->instance_id[0] ? *slot_of(ix, ix->ids, s->instance_id)
					 : *slot_of(ix, ix->labels, s->label);

	return row ? row - 1 : ix->res->count;
}

/* Should it be there, and nobody sent it away? */
static bool expected(const struct source *src, const struct life *l)
{
	return l->s.instance_state == I_EXISTS && !l->s.delete_us &&
	       src->list_begun_us > l->s.asked_us + src->p->lag_us;
}

/* ---- rows that no session claimed ---- */

static void unclaimed(struct source *src, const struct instance *in)
{
	struct engine *e = src->e;
	char session_id[40] = "";
	int64_t attempt = 1;

	if (in->status == INST_GONE)
		return;
	/* Look-alikes and other deployments are never touched, only counted (rule 5). */
	if (!label_verify(in->label, e->p->deployment, e->p->label_key, session_id, &attempt) &&
	    !(MUTANT(2) && !strncmp(in->label, "gpufs-", 6)))
		src->foreign++;
	else
		stray_seen(src, in, session_id, attempt);
}

/* ---- the whole list ---- */

struct sighting {
	size_t *rows; /* of each life; res->count: none */
	bool *claimed;
	size_t expected, missing, ours;
};

static void sight(struct source *src, const struct result *res, struct sighting *v)
{
	struct engine *e = src->e;
	struct row_index ix;

	row_index_init(&ix, res);
	v->rows = xcalloc(e->life_count + 1, sizeof *v->rows);
	v->claimed = xcalloc(res->count + 1, sizeof *v->claimed);
	for (size_t i = 0; i < e->life_count; i++) {
		const struct life *l = e->lives[i];
		size_t row = res->count;

		if (is_of(l, src) && awaits_list(l))
			row = row_of(&l->s, &ix);
		if (row < res->count &&
		    (v->claimed[row] || res->instances[row].status == INST_GONE))
			row = res->count;
		v->rows[i] = row;
		if (row < res->count) {
			v->claimed[row] = true;
			v->ours++;
		}
		if (is_of(l, src) && expected(src, l)) {
			v->expected++;
			v->missing += row == res->count;
		}
	}
	row_index_free(&ix);
}

/* So many of ours vanished at once that the list is doubted, not the machines. */
static void brake(struct source *src, const struct sighting *v)
{
	bool on = v->missing > GHOST_BRAKE_COUNT &&
		  v->missing * 100 > v->expected * GHOST_BRAKE_PERCENT;
	char text[200];

	if (on && !src->ghost_brake) {
		snprintf(
			text, sizeof text,
			"%zu of %zu machines are missing from its list at once; nothing is decided "
			"by that, each is asked for directly",
			v->missing, v->expected);
		engine_alarm(src->e, "brake", src->p->name, text);
		src->brake_us = engine_now(src->e);
		account_refresh(src);
	} else if (!on && src->ghost_brake) {
		engine_alarm_clear(src->e, "brake", src->p->name);
	}
	src->ghost_brake = on;
}

/* Asked since the brake is on: is it still the account in whose lists we saw our machines? */
static bool at_home(const struct source *src)
{
	return src->home[0] && src->account_us >= src->brake_us && !strcmp(src->home, src->account);
}

/* May this list speak for the absence of l? Under the brake only once a direct query said gone; and
 * unless the account is known to be the same as before, a list without a single machine of ours says
 * nothing about any that it did not take our DELETE for. */
static bool may_convict(const struct source *src, const struct life *l, const struct sighting *v)
{
	if (!src->ghost_brake)
		return true;
	return l->o.gone_us[1] &&
	       (v->ours || !src->p->dialect || l->o.destroy_ok_us || at_home(src));
}

static void doubt(struct life *l)
{
	if (l->s.instance_state != I_EXISTS || l->o.call_busy || l->o.gone_us[1] ||
	    engine_now(l->e) < l->o.next_look_us)
		return;
	call_look(l, false);
}

static bool list_lives(struct source *src, const struct result *res, const struct sighting *v)
{
	struct engine *e = src->e;
	int64_t now = engine_now(e);
	bool odd = false;

	for (size_t i = 0; i < e->life_count; i++) {
		struct life *l = e->lives[i];
		int64_t pause;

		if (!is_of(l, src) || !awaits_list(l))
			continue;
		pause = list_pause(l, now);
		/* One that failed may have failed at once: nothing was sent. */
		if (src->p->dialect && res->verdict != SURE_YES && pause < POLL_MIN_US)
			pause = POLL_MIN_US;
		l->o.next_list_us = now + pause;
		life_wake(l);
		if (res->verdict != SURE_YES)
			continue;
		if (v->rows[i] < res->count) {
			odd = odd || l->s.instance_state != I_EXISTS;
			list_seen(l, &res->instances[v->rows[i]]);
		} else if ((res->complete || MUTANT(8)) && src->list_begun_us >= l->s.asked_us) {
			odd = odd || expected(src, l);
			if (may_convict(src, l, v))
				list_lacks(l, src->list_begun_us);
			else
				doubt(l);
		}
	}
	return odd;
}

static void list_done(void *arg, const struct result *res)
{
	struct source *src = arg;
	struct engine *e = src->e;
	struct sighting v = {0};
	int64_t now = engine_now(e);
	bool odd;

	src->list_busy = false;
	if (e->stopping)
		return;
	source_note(src, res, CALL_LIST, src->list_asked_us);
	if (res->verdict == SURE_YES) {
		sight(src, res, &v);
		if (v.ours && src->account[0])
			COPY(src->home, src->account);
		if (res->complete)
			brake(src, &v);
	}
	odd = list_lives(src, res, &v);
	if (res->verdict == SURE_YES) {
		src->foreign = 0;
		for (size_t i = 0; i < res->count; i++)
			if (!v.claimed[i])
				unclaimed(src, &res->instances[i]);
		odd = strays_listed(src, res->complete) || odd;
		if (res->complete)
			src->whole_list_us = src->list_begun_us;
	}
	free(v.rows);
	free(v.claimed);
	src->next_list_us = now + e->p->reconcile_us;
	if (e->p->reconcile_us > TRANSIT_LIST_US &&
	    (in_transit(src, now) || strays_await_list(src)))
		src->next_list_us = now + TRANSIT_LIST_US;
	if (odd && res->complete)
		count_mismatch(src);
	engine_wake(e, 0);
}

void market_list(struct source *src)
{
	struct call call = {.op = CALL_LIST};

	if (!src || src->list_busy || src->e->stopping)
		return;
	src->list_busy = true;
	src->list_begun_us = engine_now(src->e);
	src->list_asked_us = count_call(src, CALL_LIST);
	source_act(src, &call, list_done, src);
}
