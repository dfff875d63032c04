/*
 * The market: fetches offers page by page (what to ask for next says core/market.h), and notes what
 * every answer says about its provider. One provider that fails hides nothing of the others. Loop
 * thread. Tests: tests/unit/test_engine.c, tests/unit/test_engine_market.c.
 */
#include <string.h>

#include "internal.h"

#define MARKET_ERROR_US (5 * SECOND_US)	 /* first pause after a refresh that failed */
#define EARLY_RETRY_US	(15 * SECOND_US) /* between refreshes because somebody asks */
#define SLICE_ROWS	1000		 /* of a page that one turn puts into the market: 0.5 ms */
#define SLOW_US		(5 * SECOND_US)	 /* an answer that takes longer: `slow` */

struct source *source_of(const struct engine *e, const char *provider)
{
	for (size_t i = 0; i < e->source_count; i++)
		if (!strcmp(e->sources[i].p->name, provider))
			return &e->sources[i];
	return NULL;
}

void source_act(struct source *src, const struct call *call, result_cb cb, void *arg)
{
	if (src->cloud)
		cloud_act(src->cloud, call, cb, arg);
	else
		src->p->act(src->p, src->e->w, call, cb, arg);
}

static void source_state(struct source *src, const char *state, const char *reason)
{
	if (!strcmp(src->state, state) && !strcmp(src->reason, reason))
		return;
	src->state = state;
	copy_text(src->reason, sizeof src->reason, reason);
	src->changed_us = engine_now(src->e);
	tell_soon(src->e, CH_PROVIDER);
	tell_soon(src->e, CH_STATUS);
}

/* Times that we compare with a provider's, and deadlines that people read, need a clock that is right. */
static void check_clock(struct source *src)
{
	struct cloud_view v = {.skew_us = UNKNOWN};
	BUF text = {.max = 256};
	int64_t off;

	if (!src->cloud)
		return;
	cloud_view(src->cloud, &v);
	if (v.skew_us == UNKNOWN)
		return;
	off = v.skew_us < 0 ? -v.skew_us : v.skew_us;
	if (off <= SKEW_ALARM_US) {
		engine_alarm_clear(src->e, "clock", src->p->name);
		return;
	}
	if (alarm_stands(src->e, "clock", src->p->name))
		return;
	buf_printf(&text,
		   "this machine's clock is %lld s %s that of provider %s: sessions would end at "
		   "the wrong time; set it (timedatectl set-ntp true)",
		   (long long)(off / SECOND_US), v.skew_us > 0 ? "ahead of" : "behind",
		   src->p->name);
	engine_alarm(src->e, "clock", src->p->name, text.data ? text.data : "");
}

/* Does the answer prove that the key is accepted? A search may be answered without looking at it. */
static bool proves_key(const struct result *res, enum call_op op)
{
	if (op != CALL_LIST && op != CALL_LOOK && op != CALL_ACCOUNT && op != CALL_CREATE)
		return false;
	return res->verdict == SURE_YES ||
	       (res->verdict == SURE_NO &&
		(res->error == PE_GONE || res->error == PE_MONEY || res->error == PE_STALE_OFFER));
}

static void source_good(struct source *src, const struct result *res, enum call_op op,
			int64_t asked_us)
{
	int64_t took = res->took_us;
	char text[80];

	if (proves_key(res, op))
		src->key_dead = false;
	/* `throttled` stands for as long as it keeps us from asking. */
	if (res->verdict != SURE_YES || src->key_dead || (src->throttled && op != CALL_OFFERS))
		return;
	if (!took && !src->cloud)
		took = src->e->w->mono_us(src->e->w->self) - asked_us;
	if (took <= SLOW_US) {
		source_state(src, "ok", "");
		return;
	}
	snprintf(text, sizeof text, "its last answer (%s) took %lld s", call_op_names[op],
		 (long long)(took / SECOND_US));
	source_state(src, "slow", text);
}

/* What every answer says about the provider's health. */
void source_note(struct source *src, const struct result *res, enum call_op op, int64_t asked_us)
{
	bool bad = res->verdict == UNSURE || res->verdict == LATER || res->verdict == KEY_DEAD;

	if (src->e->stopping)
		return;
	count_answer(src, res, op, asked_us);
	check_clock(src);
	if (op == CALL_CREATE && (res->verdict == SURE_YES || res->verdict == UNSURE))
		account_spent(src);
	if (!bad) {
		if (asked_us != UNKNOWN)
			source_good(src, res, op, asked_us);
		return;
	}
	src->errors++;
	if (res->verdict == KEY_DEAD)
		src->key_dead = true;
	if (res->verdict == KEY_DEAD)
		source_state(src, "badkey", res->text);
	else if (src->key_dead)
		return; /* what else fails there does not matter */
	else if (res->error == PE_RATE)
		source_state(src, "throttled", res->text);
	else
		source_state(src, "down", res->text);
}

/* ---- what is asked for ---- */

/* Drafts and orders that wait want to find current offers. */
static void note_spec(struct engine *e, const struct session *s, int64_t now_us)
{
	const struct offer *o;
	struct query q = {0};
	struct spec sp;

	if ((s->state != S_DRAFT && s->state != S_PENDING) || parse_spec_of(s, &sp, NULL))
		return;
	o = sp.offer[0] ? inventory_find(e->inv, sp.offer) : NULL;
	if (o) {
		q.set = 1u << Q_GPU | 1u << Q_PROVIDER | 1u << Q_INTERRUPTIBLE;
		q.gpu_exact = true;
		q.num[Q_INTERRUPTIBLE] = o->interruptible;
		COPY(q.text[Q_GPU], o->gpu_type);
		COPY(q.text[Q_PROVIDER], o->provider);
	}
	interest_note(&e->interests, o ? &q : &sp.query, now_us);
	spec_free(&sp);
}

/* ---- a refresh ---- */

/* A stale list stays visible with its age. */
static void refresh_failed(struct source *src, const struct result *res)
{
	struct engine *e = src->e;
	int64_t pause = e->p->market_backoff_us;
	uint32_t chance;

	src->throttled = res->error == PE_RATE;
	if (src->throttled && res->retry_after_us > pause)
		pause = res->retry_after_us;
	e->w->random(e->w->self, &chance, sizeof chance);
	if (!src->throttled)
		pause = backoff_us(MARKET_ERROR_US, pause, src->failures++, chance);
	src->next_refresh_us = engine_now(e) + pause;
}

static void refresh_worked(struct source *src, bool complete)
{
	src->throttled = false;
	src->failures = 0;
	src->fetched_us = src->refreshed_us = engine_now(src->e);
	src->complete = complete;
	src->next_refresh_us = 0;
}

static void refresh_over(struct source *src)
{
	tell_soon(src->e, CH_PROVIDER);
	if (src->refresh_again) {
		src->refresh_again = false;
		market_refresh(src);
	}
	engine_wake(src->e, 0);
}

/* A native provider tells everything at once. */
static void offers_done(void *arg, const struct result *res)
{
	struct source *src = arg;

	src->offers_busy = false;
	if (src->e->stopping)
		return;
	source_note(src, res, CALL_OFFERS, src->offers_asked_us);
	if (res->verdict == SURE_YES) {
		market_whole(src->market, res->offers, res->count);
		refresh_worked(src, res->complete);
		market_publish(src->e);
	} else {
		refresh_failed(src, res);
	}
	refresh_over(src);
}

static void page_done(void *arg, const struct result *res);

static bool page_next(struct source *src)
{
	struct call call = {.op = CALL_OFFERS, .page = &src->page};

	if (!market_next(src->market, &src->page))
		return false;
	src->offers_busy = true;
	src->offers_asked_us = count_call(src, CALL_OFFERS);
	source_act(src, &call, page_done, src);
	return true;
}

/* A page of a dialect is in the market, or did not come: it shows at once, the next one is asked for, and
 * what no page of the refresh showed is judged at its end. */
static void page_over(struct source *src, bool worked)
{
	struct engine *e = src->e;

	if (worked) {
		refresh_worked(src, market_complete(src->market));
		if (page_next(src)) {
			market_publish(e);
			tell_soon(e, CH_PROVIDER);
			return;
		}
	}
	market_end(src->market);
	market_publish(e);
	refresh_over(src);
}

/* ---- a large page ---- */

/* Ten thousand rows take several milliseconds: a slice in each turn. */
struct arrival {
	struct result res; /* of it only the rows, which are ours, and what market_page reads */
	struct offer *rows;
	size_t at;
};

void market_drop_arrival(struct source *src)
{
	if (src->arrival)
		free(src->arrival->rows);
	free(src->arrival);
	src->arrival = NULL;
}

static void rows_free(void *arg)
{
	free(arg);
}

static void rows_freed(void *arg)
{
	(void)arg;
}

static void arrival_slice(struct source *src)
{
	struct arrival *a = src->arrival;
	struct world *w = src->e->w;

	if (!market_page_slice(src->market, &a->res, &a->at, SLICE_ROWS, engine_now(src->e)))
		return;
	w->work(w->self, rows_free, rows_freed, a->rows); /* megabytes */
	a->rows = NULL;
	market_drop_arrival(src);
	src->offers_busy = false;
	page_over(src, true);
}

static void arrival_begin(struct source *src, const struct result *res)
{
	struct arrival *a = xcalloc(1, sizeof(*a));

	a->res = *res;
	a->rows = *res->owner;
	*res->owner = NULL;
	src->arrival = a;
	src->offers_busy = true; /* still: the next search waits for it */
	engine_wake(src->e, 0);
}

static void page_done(void *arg, const struct result *res)
{
	struct source *src = arg;
	struct engine *e = src->e;

	src->offers_busy = false;
	if (e->stopping)
		return;
	source_note(src, res, CALL_OFFERS, src->offers_asked_us);
	src->dropped += (int64_t)res->dropped;
	if (res->verdict != SURE_YES) {
		refresh_failed(src, res);
		page_over(src, false);
	} else if (res->owner && (res->count > SLICE_ROWS || market_lent(src->market))) {
		arrival_begin(src, res);
	} else {
		market_page(src->market, res, engine_now(e));
		page_over(src, true);
	}
}

void market_refresh(struct source *src)
{
	struct call call = {.op = CALL_OFFERS};
	struct engine *e = src ? src->e : NULL;
	int64_t now;

	if (!src || e->stopping)
		return;
	if (src->offers_busy) { /* what is under way may be older than what the asker knows */
		src->refresh_again = true;
		return;
	}
	now = engine_now(e);
	if (market_lent(src->market)) { /* for some milliseconds: publish_done wakes us */
		src->wanted_us = now;
		return;
	}
	src->tried_us = now;
	src->wanted_us = INT64_MAX;
	if (src->cloud) {
		for (size_t i = 0; i < e->life_count; i++)
			note_spec(e, &e->lives[i]->s, now);
		market_begin(src->market, &e->interests, now);
		page_next(src); /* a budget has room for one at least */
		return;
	}
	src->offers_busy = true;
	src->offers_asked_us = count_call(src, CALL_OFFERS);
	source_act(src, &call, offers_done, src);
}

/* Does somebody look, or an order wait for an offer? */
static bool watched(const struct engine *e, int64_t now_us)
{
	return now_us - e->looked_us < 2 * e->p->market_us || e->waiting;
}

static int64_t refresh_due(const struct source *src, int64_t now_us)
{
	const struct policy *p = src->e->p;

	int64_t due = src->next_refresh_us;

	if (!due && src->refreshed_us)
		due = src->refreshed_us +
		      (watched(src->e, now_us) ? p->market_us : p->market_idle_us);
	return due < src->wanted_us ? due : src->wanted_us;
}

/* When a refresh is wanted because somebody asks, although none is due; INT64_MAX: it is not. */
static int64_t refresh_early(const struct source *src, int64_t now_us, bool fresh)
{
	int64_t age = src->e->p->market_us, soon = src->tried_us + EARLY_RETRY_US;

	if (src->offers_busy || !src->tried_us)
		return INT64_MAX;
	if (src->next_refresh_us) /* after an error: sooner than the back-off, unless told to wait */
		return src->throttled || src->key_dead ? INT64_MAX : soon;
	if (fresh && src->cloud)
		return soon;
	if (now_us - src->refreshed_us > age && now_us - src->e->looked_us > age)
		return now_us;
	return INT64_MAX;
}

/* Not from here: a provider that answers at once would change the market under the reader's hands. */
static void looked(struct engine *e, bool fresh)
{
	int64_t now = engine_now(e);

	for (size_t i = 0; i < e->source_count; i++) {
		struct source *src = &e->sources[i];
		int64_t at = refresh_early(src, now, fresh);

		if (at >= src->wanted_us)
			continue;
		src->wanted_us = at;
		engine_wake(e, 0); /* to set its timer anew */
	}
	e->looked_us = now;
}

void engine_looked_at_market(struct engine *e)
{
	looked(e, false);
}

void engine_asked_for(struct engine *e, const struct query *q)
{
	looked(e, interest_note(&e->interests, q, engine_now(e)));
}

const struct inventory *engine_inventory(const struct engine *e)
{
	return e->inv;
}

/* ---- what was taken, and what failed ---- */

static void gone_apply(struct source *src)
{
	bool any = market_gone_all(src->market, (const char(*)[OFFER_ID_MAX])src->gone,
				   src->gone_count, engine_now(src->e));

	src->gone_count = 0;
	if (any)
		market_publish(src->e);
}

/* Five hundred machines bought at once are one pass over a large market, and it is not copied because
 * its rows are lent. */
void market_offer_gone(struct source *src, const char *offer_id)
{
	if (!src)
		return;
	if (src->gone_count == src->gone_cap) {
		src->gone_cap = src->gone_cap ? src->gone_cap * 2 : 4;
		src->gone = reallocarray(src->gone, src->gone_cap, sizeof(*src->gone));
		CHECK(src->gone);
	}
	copy_text(src->gone[src->gone_count++], OFFER_ID_MAX, offer_id);
	if (market_rows(src->market) <= SLICE_ROWS && !market_lent(src->market))
		gone_apply(src);
	else
		engine_wake(src->e, 0);
}

void market_machine_failed(struct engine *e, const char *provider, const char *offer_id,
			   enum end_cause cause, const char *reason)
{
	struct source *src = source_of(e, provider);

	if (!src)
		return;
	market_failed(src->market, offer_id, cause == END_SSH ? "ssh_timeout" : "boot_failed",
		      reason, engine_now(e));
	market_publish(e);
}

void engine_offer_health(const struct engine *e,
			 void (*fn)(void *arg, const struct offer_health *h), void *arg)
{
	for (size_t i = 0; i < e->source_count; i++)
		market_health(e->sources[i].market, engine_now(e), fn, arg);
}

/* ---- time ---- */

void market_drive(struct engine *e, int64_t now_us)
{
	if (e->publish_due)
		publish_now(e);
	for (size_t i = 0; i < e->source_count; i++) {
		struct source *src = &e->sources[i];

		bool lent = market_lent(src->market);

		if (src->gone_count && !lent)
			gone_apply(src);
		if (src->arrival && !lent)
			arrival_slice(src);
		if (!src->offers_busy && !lent && now_us >= refresh_due(src, now_us))
			market_refresh(src);
		if (!src->list_busy && now_us >= src->next_list_us)
			market_list(src);
		account_drive(src, now_us);
		if (now_us >= src->unhide_us)
			market_publish(e);
	}
}

int64_t market_next_us(const struct engine *e)
{
	int64_t now = engine_now(e), next = e->publish_due ? now : INT64_MAX;

	for (size_t i = 0; i < e->source_count; i++) {
		const struct source *src = &e->sources[i];
		bool lent = market_lent(src->market);
		int64_t due = src->offers_busy || lent ? INT64_MAX : refresh_due(src, now);
		int64_t list = src->list_busy ? INT64_MAX : src->next_list_us;

		next = due < next ? due : next;
		next = list < next ? list : next;
		next = account_next_us(src) < next ? account_next_us(src) : next;
		next = src->unhide_us < next ? src->unhide_us : next;
		next = (src->arrival || src->gone_count) && !lent ? now : next;
	}
	return next;
}

/* ---- looking ---- */

size_t engine_provider_count(const struct engine *e)
{
	return e->source_count;
}

bool engine_provider_view(const struct engine *e, size_t i, struct provider_view *out)
{
	const struct source *src;

	if (i >= e->source_count)
		return false;
	src = &e->sources[i];
	*out = (struct provider_view){
		.name = src->p->name,
		.state = src->enabled ? src->state : "off",
		.reason = src->reason,
		.offers = (int64_t)src->offer_count,
		.list_age_us = src->fetched_us ? engine_now(e) - src->fetched_us : UNKNOWN,
		.calls = src->calls,
		.errors = src->errors,
		.foreign = src->foreign,
		.balance_u6 = src->balance_u6,
		.dropped = src->dropped,
		.list_complete = src->complete,
		.enabled = src->enabled,
		.changed_us = src->changed_us ? src->changed_us : e->started_us,
	};
	return true;
}
