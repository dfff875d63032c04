/*
 * Whose turn it is. A life that was woken stands in a line, first come first served; one that waits for
 * a time is in a heap by that time. A turn of the loop drives those that are due until about a
 * millisecond is spent, and the rest in the next turns: whatever wakes five hundred lives at once (a
 * change of the market, a list, a tick) delays nobody's read. No wake-up is lost: whoever was not driven
 * keeps its place. What a turn costs does not depend on how many lives wait. Loop thread.
 * Tests: tests/unit/test_turns.c.
 */
#include <string.h>

#include "internal.h"

/* ---- the line ---- */

static void line_leave(struct life *l)
{
	struct engine *e = l->e;

	if (!l->line_at)
		return;
	*l->line_at = l->line_next;
	if (l->line_next)
		l->line_next->line_at = l->line_at;
	else
		e->line_end = l->line_at;
	l->line_at = NULL;
	l->line_next = NULL;
	e->line_count--;
}

static void line_join(struct life *l)
{
	struct engine *e = l->e;

	if (!e->line_end)
		e->line_end = &e->line;
	l->line_at = e->line_end;
	l->line_next = NULL;
	*e->line_end = l;
	e->line_end = &l->line_next;
	e->line_count++;
}

/* ---- the heap: by due_us, the earliest first ---- */

static void heap_put(struct engine *e, size_t at, struct life *l)
{
	e->heap[at] = l;
	l->heap_at = at + 1;
}

/* From `at`, which is free, to where l belongs. */
static void heap_settle(struct engine *e, size_t at, struct life *l)
{
	while (at && e->heap[(at - 1) / 2]->due_us > l->due_us) {
		heap_put(e, at, e->heap[(at - 1) / 2]);
		at = (at - 1) / 2;
	}
	for (;;) {
		size_t child = 2 * at + 1;

		if (child + 1 < e->heap_count &&
		    e->heap[child + 1]->due_us < e->heap[child]->due_us)
			child++;
		if (child >= e->heap_count || e->heap[child]->due_us >= l->due_us)
			break;
		heap_put(e, at, e->heap[child]);
		at = child;
	}
	heap_put(e, at, l);
}

static void heap_leave(struct life *l)
{
	struct engine *e = l->e;
	size_t at = l->heap_at - 1;
	struct life *last;

	if (!l->heap_at)
		return;
	l->heap_at = 0;
	last = e->heap[--e->heap_count];
	if (last != l)
		heap_settle(e, at, last);
}

static void heap_join(struct life *l)
{
	struct engine *e = l->e;

	if (e->heap_count == e->heap_cap) {
		e->heap_cap = e->heap_cap ? e->heap_cap * 2 : 16;
		e->heap = reallocarray(e->heap, e->heap_cap, sizeof(struct life *));
		CHECK(e->heap);
	}
	heap_settle(e, e->heap_count++, l);
}

/* ---- waking and waiting ---- */

void turns_wake(struct life *l)
{
	if (l->line_at || l->driving) /* its drive says at its end when it goes on */
		return;
	heap_leave(l);
	line_join(l);
}

void turns_wait(struct life *l, int64_t until_us)
{
	if (l->line_at)
		return;
	heap_leave(l);
	l->due_us = until_us;
	heap_join(l);
}

void turns_leave(struct life *l)
{
	line_leave(l);
	heap_leave(l);
}

void turns_free(struct engine *e)
{
	free(e->heap);
	e->heap = NULL;
	e->heap_count = e->heap_cap = e->line_count = 0;
	e->line = NULL;
	e->line_end = NULL;
}

/* ---- a turn ---- */

static void check_all_gone(struct engine *e)
{
	order_cb cb = e->all_gone;

	if (!cb)
		return;
	for (size_t i = 0; i < e->life_count; i++)
		if (e->lives[i]->s.state != S_DRAFT && !engine_proven(&e->lives[i]->s))
			return;
	e->all_gone = NULL;
	cb(e->all_gone_arg, 0, NULL);
}

/* The safety net: everybody looks, whatever its time (a wall clock that stepped). */
static void tick(struct engine *e, int64_t now)
{
	if (now < e->next_tick_us && e->next_tick_us <= now + e->p->tick_us)
		return;
	e->next_tick_us = now + e->p->tick_us;
	for (size_t i = 0; i < e->life_count; i++)
		turns_wake(e->lives[i]);
}

/* Those that are woken meanwhile come in the next turn. */
static void drive_line(struct engine *e, int64_t begun)
{
	const struct world *w = e->w;

	for (size_t n = e->line_count; n && e->line; n--) {
		struct life *l = e->line;

		line_leave(l);
		drive_now(l);
		if (w->mono_us(w->self) - begun >= TURN_US)
			break;
	}
}

static int64_t drive_strays(struct engine *e, int64_t now)
{
	int64_t next = INT64_MAX;

	for (size_t i = 0; i < e->source_count; i++) {
		strays_drive(&e->sources[i], now);
		if (strays_next_us(&e->sources[i]) < next)
			next = strays_next_us(&e->sources[i]);
	}
	return next;
}

void engine_drive(struct engine *e)
{
	int64_t now = engine_now(e), begun = e->w->mono_us(e->w->self), next, at;

	if (e->stopping)
		return;
	tick(e, now);
	clock_follow_sources(e, now);
	market_drive(e, now);
	while (e->heap_count && e->heap[0]->due_us <= now)
		turns_wake(e->heap[0]);
	drive_line(e, begun);
	next = drive_strays(e, now);
	check_all_gone(e);
	if (e->stopping)
		return;
	at = market_next_us(e);
	next = at < next ? at : next;
	next = e->next_tick_us < next ? e->next_tick_us : next;
	if (e->heap_count && e->heap[0]->due_us < next)
		next = e->heap[0]->due_us;
	if (e->line || next <= engine_now(e))
		e->w->timer_set(e->w->self, e->timer, TURN_PAUSE_US);
	else
		engine_wake(e, next);
}
