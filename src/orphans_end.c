/*
 * Destroying what --orphans found: a look right before (an id can have become somebody else's since the
 * list), the DELETE, and looks until the provider says gone. One machine is one small row of steps with
 * its own timer; the limiter of engine/cloud.h spaces all of them. Errors never mean gone.
 */
#include <string.h>

#include "core/check.h"
#include "core/text.h"
#include "orphans_parts.h"

#define PAUSE_MIN_US	   SECOND_US
#define PAUSE_MAX_US	   (15 * SECOND_US)
#define LOOKS_BEFORE_AGAIN 4 /* looks that still show it, before the DELETE goes again */
#define TIME_US		   (3 * MINUTE_US)  /* after that it is said to be unfinished */
#define TIME_EACH_US	   (10 * SECOND_US) /* more, for each machine: calls are spaced */

const char *const machine_end_names[ENDED_COUNT] = {
	[ENDED_NOT_TRIED] = "not_tried",     [ENDED_GONE] = "gone",
	[ENDED_GONE_BEFORE] = "gone_before", [ENDED_UNCONFIRMED] = "unconfirmed",
	[ENDED_SPARED] = "spared",	     [ENDED_REFUSED] = "failed",
};

static void step(void *arg);

static void finish(struct machine *m, enum machine_end end, const char *text)
{
	struct world *w = &m->h->online.world;

	m->end = end;
	COPY(m->text, text);
	w->timer_free(w->self, m->timer);
	m->timer = NULL;
	m->h->online.pending--;
}

static void later(struct machine *m, const struct result *res)
{
	struct world *w = &m->h->online.world;
	int64_t pause = PAUSE_MIN_US;

	for (unsigned i = 0; i < m->tries && pause < PAUSE_MAX_US; i++)
		pause *= 2;
	m->tries++;
	if (res->retry_after_us > pause)
		pause = res->retry_after_us;
	if (clock_mono_us() + pause < m->deadline_us) {
		w->timer_set(w->self, m->timer, pause);
		return;
	}
	if (m->step == STEP_LOOK_AFTER)
		finish(m, ENDED_UNCONFIRMED,
		       res->verdict == SURE_YES
			       ? "the order was sent, and the provider still shows it"
			       : res->text);
	else
		finish(m, ENDED_REFUSED, res->text);
}

static void go_on(struct machine *m, enum machine_step to)
{
	m->step = to;
	m->tries = 0;
	step(m);
}

/* The machine that the list had shown, and not another one under its id. */
static bool same(const struct machine *m, const struct result *res)
{
	return res->count == 1 && !strcmp(res->instances[0].label, m->label);
}

static void looked_before(void *arg, const struct result *res)
{
	struct machine *m = arg;

	if (says_gone(res))
		finish(m, ENDED_GONE_BEFORE, "it was gone already");
	else if (res->verdict == SURE_YES && same(m, res))
		go_on(m, STEP_DELETE);
	else if (res->verdict == SURE_YES)
		finish(m, ENDED_SPARED, "it does not carry this mark any more");
	else if (res->verdict == LATER)
		later(m, res);
	else
		finish(m, ENDED_REFUSED, res->text);
}

static void destroyed(void *arg, const struct result *res)
{
	struct machine *m = arg;

	/* What is unsure is looked at too: a DELETE may be sent again. */
	m->unsure = res->verdict == UNSURE;
	m->stands = false;
	if (res->verdict == SURE_YES || m->unsure || says_gone(res))
		go_on(m, STEP_LOOK_AFTER);
	else if (res->verdict == LATER)
		later(m, res);
	else
		finish(m, ENDED_REFUSED, res->text);
}

static void looked_after(void *arg, const struct result *res)
{
	struct machine *m = arg;

	if (says_gone(res))
		finish(m, ENDED_GONE, "destroyed; the provider says that it is gone");
	else if (res->verdict == KEY_DEAD)
		finish(m, ENDED_UNCONFIRMED, res->text);
	else if (res->verdict == SURE_YES && !same(m, res))
		finish(m, ENDED_UNCONFIRMED, "its id shows another machine now");
	else {
		m->stands = res->verdict == SURE_YES;
		later(m, res);
	}
}

static void step(void *arg)
{
	static const struct {
		enum call_op op;
		result_cb cb;
	} steps[] = {[STEP_LOOK_BEFORE] = {CALL_LOOK, looked_before},
		     [STEP_DELETE] = {CALL_DESTROY, destroyed},
		     [STEP_LOOK_AFTER] = {CALL_LOOK, looked_after}};
	struct machine *m = arg;
	struct call call = {.instance_id = m->id};

	/* It was just seen to stand: at once if nobody knows what became of the DELETE. */
	if (m->step == STEP_LOOK_AFTER && m->stands &&
	    (m->unsure || m->tries >= LOOKS_BEFORE_AGAIN)) {
		m->step = STEP_DELETE;
		m->tries = 0;
	}
	call.op = steps[m->step].op;
	cloud_act(m->h->online.cloud[m->at], &call, steps[m->step].cb, m);
}

void hunt_destroy(struct hunt *h)
{
	struct world *w = &h->online.world;
	int64_t deadline_us = clock_mono_us() + TIME_US + (int64_t)h->count * TIME_EACH_US;

	for (size_t i = 0; i < h->count; i++) {
		struct machine *m = &h->machines[i];

		if (!machine_condemned(m))
			continue;
		m->deadline_us = deadline_us;
		m->timer = w->timer_new(w->self, step, m);
		h->online.pending++;
		go_on(m, STEP_LOOK_BEFORE);
	}
	online_wait(&h->online);
}
