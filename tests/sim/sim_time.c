/* Virtual time: events in order, the two clocks, timers, chance. See sim.h. */
#include <string.h>

#include "sim.h"

/* ---- chance ---- */

uint64_t chance_next(struct chance *c)
{
	uint64_t z = (c->state += 0x9e3779b97f4a7c15u);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

int64_t chance_below(struct chance *c, int64_t n)
{
	return n < 1 ? 0 : (int64_t)(chance_next(c) % (uint64_t)n);
}

bool chance_hit(struct chance *c, int64_t per_mille)
{
	return per_mille > 0 && chance_below(c, 1000) < per_mille;
}

int64_t chance_between(struct chance *c, int64_t a, int64_t b)
{
	return a + chance_below(c, b - a + 1);
}

/* ---- events ---- */

struct sim_event {
	struct sim_event *next;
	int64_t at_us;
	uint64_t order;
	void (*run)(struct sim *s, void *arg);
	void (*lose)(void *arg);
	void *arg;
};

struct sim_event *sim_later(struct sim *s, int64_t delay_us, void (*run)(struct sim *, void *),
			    void (*lose)(void *), void *arg)
{
	struct sim_event *ev = xcalloc(1, sizeof *ev), **p = &s->queue;

	*ev = (struct sim_event){.at_us = s->now_us + (delay_us > 0 ? delay_us : 0),
				 .order = s->order++,
				 .run = run,
				 .lose = lose,
				 .arg = arg};
	while (*p && (*p)->at_us <= ev->at_us)
		p = &(*p)->next;
	ev->next = *p;
	*p = ev;
	s->queued++;
	return ev;
}

void sim_cancel(struct sim *s, struct sim_event *ev)
{
	struct sim_event **p = &s->queue;

	while (*p != ev) {
		CHECK(*p != NULL);
		p = &(*p)->next;
	}
	*p = ev->next;
	s->queued--;
	free(ev);
}

bool sim_step(struct sim *s)
{
	struct sim_event *ev = s->queue;

	if (!ev)
		return false;
	s->queue = ev->next;
	s->queued--;
	if (ev->at_us > s->now_us)
		s->now_us = ev->at_us;
	s->counts->events++;
	ev->run(s, ev->arg);
	free(ev);
	return true;
}

int64_t sim_next_us(const struct sim *s)
{
	return s->queue ? s->queue->at_us : INT64_MAX;
}

void sim_lose_events(struct sim *s)
{
	while (s->queue) {
		struct sim_event *ev = s->queue;

		s->queue = ev->next;
		s->queued--;
		if (ev->lose)
			ev->lose(ev->arg);
		free(ev);
	}
}

/* ---- clocks ---- */

int64_t sim_wall_us(const struct sim *s)
{
	return SIM_EPOCH_US + s->now_us + s->wall_step_us;
}

static int64_t wall_us(void *self)
{
	return sim_wall_us(self);
}

static int64_t mono_us(void *self)
{
	const struct sim *s = self;

	return s->mono_base_us + s->now_us;
}

static void world_random(void *self, void *out, size_t n)
{
	struct sim *s = self;
	unsigned char *p = out;

	while (n) {
		uint64_t r = chance_next(&s->own);
		size_t some = n < sizeof r ? n : sizeof r;

		memcpy(p, &r, some);
		p += some;
		n -= some;
	}
}

/* ---- timers ---- */

struct timer {
	void (*fire)(void *arg);
	void *arg;
	struct sim_event *set;
};

static void timer_run(struct sim *s, void *arg)
{
	struct timer *t = arg;

	(void)s;
	t->set = NULL;
	t->fire(t->arg);
}

static struct timer *timer_new(void *self, void (*fire)(void *), void *arg)
{
	struct timer *t = xcalloc(1, sizeof *t);

	(void)self;
	*t = (struct timer){.fire = fire, .arg = arg};
	return t;
}

static void timer_set(void *self, struct timer *t, int64_t delay_us)
{
	if (t->set)
		sim_cancel(self, t->set);
	t->set = NULL;
	/* A real loop takes at most some decades. */
	if (delay_us >= 0 && delay_us < INT64_MAX / 4)
		t->set = sim_later(self, delay_us, timer_run, NULL, t);
}

static void timer_free(void *self, struct timer *t)
{
	if (!t)
		return;
	timer_set(self, t, -1);
	free(t);
}

/* ---- the story ---- */

/* Eight bytes at a time: everything that happens goes through here. */
void sim_hash(struct sim *s, const void *data, size_t n)
{
	const char *p = data;
	uint64_t h = s->hash ^ n, word;

	for (; n; p += n < 8 ? n : 8, n -= n < 8 ? n : 8) {
		word = 0;
		memcpy(&word, p, n < 8 ? n : 8);
		h = (h ^ word) * 0x9e3779b97f4a7c15u;
		h ^= h >> 29;
	}
	s->hash = h;
}

__attribute__((format(printf, 2, 0))) static void tell(struct sim *s, const char *fmt, va_list ap)
{
	char text[600];
	int n = vsnprintf(text, sizeof text, fmt, ap);

	CHECK(n >= 0);
	sim_hash(s, &s->now_us, sizeof s->now_us);
	sim_hash(s, text, strlen(text));
	if (s->story)
		fprintf(s->story, "%5d:%09.6f  %s\n", (int)(s->now_us / MINUTE_US),
			(double)(s->now_us % MINUTE_US) / 1e6, text);
}

void sim_tell(struct sim *s, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	tell(s, fmt, ap);
	va_end(ap);
}

void sim_wrong(struct sim *s, const char *fmt, ...)
{
	va_list ap;

	if (s->wrong[0])
		return;
	va_start(ap, fmt);
	vsnprintf(s->wrong, sizeof s->wrong, fmt, ap);
	va_end(ap);
	sim_tell(s, "*** %s", s->wrong);
}

/* What the daemon would log; only for the story. */
__attribute__((format(printf, 3, 4))) static void world_log(void *self, enum log_level level,
							    const char *fmt, ...)
{
	struct sim *s = self;
	char text[400];
	va_list ap;

	if (!s->story || s->dead || level == LOG_DEBUG_)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	fprintf(s->story, "%16s log: %s\n", "", text);
}

void *sim_grow(void *array, size_t count, size_t *cap, size_t size)
{
	if (count < *cap)
		return array;
	*cap = *cap ? *cap * 2 : 16;
	array = realloc(array, *cap * size);
	CHECK(array != NULL);
	return array;
}

void sim_time_world(struct world *w)
{
	w->wall_us = wall_us;
	w->mono_us = mono_us;
	w->random = world_random;
	w->timer_new = timer_new;
	w->timer_set = timer_set;
	w->timer_free = timer_free;
	w->log = world_log;
}
