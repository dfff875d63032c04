/* The virtual world: see fake_world.h. */
#include "fake_world.h"

#include <string.h>

#include "../../src/core/check.h"

/* A killed process frees nothing: fake_crash leaves what it held where it is. Weak: a test that never
 * crashes has its leaks looked for. */
int __lsan_is_turned_off(void);
__attribute__((weak)) int __lsan_is_turned_off(void)
{
	return 1;
}

const struct caller alice = {.uid = 1001, .gid = 1001, .pid = 10, .name = "alice"};
const struct caller bob = {.uid = 1002, .gid = 1002, .pid = 11, .name = "bob"};
const struct caller root_user = {.uid = 0, .gid = 0, .pid = 1, .name = "root", .admin = true};

struct fake_event {
	struct fake_event *next;
	int64_t at_us;
	uint64_t order;
	void (*run)(struct fake *f, void *arg);
	void (*drop)(void *arg);
	void *arg;
};

struct timer {
	void (*fire)(void *arg);
	void *arg;
	struct fake_event *set;
};

static void queue_remove(struct fake *f, struct fake_event *ev)
{
	for (struct fake_event **p = &f->queue; *p; p = &(*p)->next) {
		if (*p != ev)
			continue;
		*p = ev->next;
		return;
	}
}

static struct fake_event *later(struct fake *f, int64_t delay_us,
				void (*run)(struct fake *, void *), void (*drop)(void *), void *arg)
{
	struct fake_event *ev = xcalloc(1, sizeof *ev), **p = &f->queue;

	*ev = (struct fake_event){.at_us = f->now_us + delay_us,
				  .order = f->order++,
				  .run = run,
				  .drop = drop,
				  .arg = arg};
	while (*p &&
	       ((*p)->at_us < ev->at_us || ((*p)->at_us == ev->at_us && (*p)->order < ev->order)))
		p = &(*p)->next;
	ev->next = *p;
	*p = ev;
	return ev;
}

struct fake_event *fake_later(struct fake *f, int64_t delay_us, void (*run)(struct fake *, void *),
			      void (*drop)(void *), void *arg)
{
	return later(f, delay_us, run, drop, arg);
}

void fake_forget(struct fake *f, struct fake_event *ev)
{
	queue_remove(f, ev);
	free(ev);
}

void fake_drop(struct fake *f)
{
	while (f->queue) {
		struct fake_event *ev = f->queue;

		f->queue = ev->next;
		if (ev->drop)
			ev->drop(ev->arg);
		free(ev);
	}
}

bool fake_step(struct fake *f)
{
	struct fake_event *ev = f->queue;

	if (!ev)
		return false;
	f->queue = ev->next;
	if (ev->at_us > f->now_us)
		f->now_us = ev->at_us;
	ev->run(f, ev->arg);
	free(ev);
	return true;
}

void fake_run(struct fake *f, int64_t us)
{
	int64_t end = f->now_us + us;

	for (int i = 0; f->queue && f->queue->at_us <= end; i++) {
		CHECK(i < 1000000); /* a loop without an end */
		fake_step(f);
	}
	f->now_us = end;
}

/* ---- clock, chance, timers ---- */

static int64_t mono(void *self)
{
	struct fake *f = self;

	f->looked_us += f->look_us;
	return f->now_us + f->looked_us;
}

static int64_t wall(void *self)
{
	struct fake *f = self;

	return f->now_us + f->wall_step_us;
}

static void chance(void *self, void *out, size_t n)
{
	struct fake *f = self;
	unsigned char *p = out;

	while (n--) {
		f->seed = f->seed * 6364136223846793005ULL + 1442695040888963407ULL;
		*p++ = (unsigned char)(f->seed >> 56);
	}
}

static void timer_run(struct fake *f, void *arg)
{
	struct timer *t = arg;

	(void)f;
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
	struct fake *f = self;

	if (t->set) {
		queue_remove(f, t->set);
		free(t->set);
		t->set = NULL;
	}
	if (delay_us >= 0 && delay_us < INT64_MAX / 4)
		t->set = later(f, delay_us, timer_run, NULL, t);
}

static void timer_free(void *self, struct timer *t)
{
	if (!t)
		return;
	timer_set(self, t, -1);
	free(t);
}

/* ---- the disk ---- */

struct write {
	struct journal_op op;
	journal_cb cb;
	void *arg;
};

static void write_free(void *arg)
{
	struct write *w = arg;

	journal_op_free(&w->op);
	free(w);
}

static bool same_key(const struct journal_op *a, const struct journal_op *b)
{
	if (a->table != b->table || a->v[0].type != b->v[0].type)
		return false;
	return a->v[0].type == JV_INT ? a->v[0].i == b->v[0].i
				      : !strcmp(a->v[0].text, b->v[0].text);
}

static void disk_write(struct fake *f, struct journal_op *op)
{
	size_t at = 0;

	f->writes++;
	if (op->table == J_EVENT)
		return; /* the virtual disk keeps no history of events */
	while (at < f->disk_rows && !same_key(&f->disk[at], op))
		at++;
	if (at < f->disk_rows)
		journal_op_free(&f->disk[at]);
	if (op->erase) {
		if (at < f->disk_rows)
			f->disk[at] = f->disk[--f->disk_rows];
		return;
	}
	if (at == f->disk_rows)
		f->disk_rows++;
	CHECK(f->disk_rows <= ROWS_MAX);
	f->disk[at] = *op;
	op->n = 0;
}

static void write_run(struct fake *f, void *arg)
{
	struct write *w = arg;
	int err = f->disk_err;

	if (!err)
		disk_write(f, &w->op);
	if (w->cb)
		w->cb(w->arg, err);
	write_free(w);
}

static void journal(void *self, struct journal_op *op, journal_cb cb, void *arg)
{
	struct fake *f = self;
	struct write *w = xcalloc(1, sizeof *w);

	*w = (struct write){.op = *op, .cb = cb, .arg = arg};
	op->n = 0;
	/* In order, also when the disk has become faster meanwhile. */
	f->disk_done_us = f->now_us + f->disk_delay_us > f->disk_done_us
				  ? f->now_us + f->disk_delay_us
				  : f->disk_done_us;
	later(f, f->disk_done_us - f->now_us, write_run, write_free, w);
}

static bool ballast(void *self)
{
	struct fake *f = self;
	bool had = f->ballast;

	f->ballast = false;
	if (had)
		f->disk_err = 0;
	return had;
}

/* ---- keys, SSH, this machine ---- */

struct keygen {
	keygen_cb cb;
	void *arg;
};

static void keygen_run(struct fake *f, void *arg)
{
	struct keygen *k = arg;

	(void)f;
	k->cb(k->arg, "PRIVATE-KEY", "ssh-ed25519 AAAA test", NULL);
	free(k);
}

static void keygen(void *self, const char *comment, keygen_cb cb, void *arg)
{
	struct keygen *k = xcalloc(1, sizeof *k);

	(void)comment;
	*k = (struct keygen){cb, arg};
	later(self, 1000, keygen_run, free, k);
}

struct probe {
	probe_cb cb;
	void *arg;
	struct fake_event *ev;
	char host[128];
};

static void probe_run(struct fake *f, void *arg)
{
	struct probe *p = arg;

	f->probes++;
	p->cb(p->arg, fake_login(f, p->host), "ssh-ed25519 HOSTKEY", "as the test wants");
	free(p);
}

static struct probe *probe(void *self, const struct probe_args *args, probe_cb cb, void *arg)
{
	struct probe *p = xcalloc(1, sizeof *p);

	CHECK(args->private_key->bytes && args->port > 0);
	*p = (struct probe){.cb = cb, .arg = arg};
	COPY(p->host, args->host);
	p->ev = later(self, ((struct fake *)self)->probe_us, probe_run, free, p);
	return p;
}

static void probe_cancel(void *self, struct probe *p)
{
	queue_remove(self, p->ev);
	free(p->ev);
	free(p);
}

static void no_host(void *self, const struct host_call *call, host_cb cb, void *arg)
{
	const bool the_fake_provider_has_a_host = false;

	(void)self;
	(void)call;
	(void)cb;
	(void)arg;
	CHECK(the_fake_provider_has_a_host);
}

/* FAKE_LOG=1 tells the story of a run. */
__attribute__((format(printf, 3, 4))) static void story(void *self, enum log_level level,
							const char *fmt, ...)
{
	struct fake *f = self;
	va_list ap;

	if (!getenv("FAKE_LOG"))
		return;
	fprintf(stderr, "%12.6f %d ", (double)(f->now_us % 100000000000) / 1e6, (int)level);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

/* ---- life ---- */

void fake_init(struct fake *f)
{
	memset(f, 0, sizeof *f);
	f->now_us = 1800000000 * SECOND_US;
	f->seed = 42;
	f->disk_delay_us = 300;
	f->call_delay_us = 50000;
	f->boot_us = 10 * SECOND_US;
	f->offers = 3;
	f->price_u6 = 500000;
	f->ballast = true;
	f->create_effect = f->destroy_effect = true;
	f->p = (struct policy){.tick_us = MINUTE_US,
			       .reconcile_us = 5 * MINUTE_US,
			       .market_us = MINUTE_US,
			       .market_idle_us = 5 * MINUTE_US,
			       .market_backoff_us = 5 * MINUTE_US,
			       .start_timeout_us = 30 * MINUTE_US,
			       .boot_timeout_us = 30 * MINUTE_US,
			       .ssh_verify_timeout_us = 10 * MINUTE_US,
			       .ssh_backoff_max_us = 5 * SECOND_US,
			       .hold_grace_us = 30 * SECOND_US,
			       .keep_ended_us = 24 * HOUR_US,
			       .history_keep_us = 400 * DAY_US,
			       .hard_max_us = 12 * HOUR_US,
			       .default_hours = UNKNOWN,
			       .default_max_price_u6 = UNKNOWN,
			       .price_tolerance_pct = 5,
			       .max_sessions = 200,
			       .max_sessions_per_user = 20,
			       .auto_commit = true,
			       .admin_gid = UNKNOWN,
			       .access = ACCESS_ALL,
			       .public_mount = "/gpu",
			       .deployment = "test1"};
	f->w = (struct world){.self = f,
			      .wall_us = wall,
			      .mono_us = mono,
			      .random = chance,
			      .timer_new = timer_new,
			      .timer_set = timer_set,
			      .timer_free = timer_free,
			      .journal = journal,
			      .journal_ballast = ballast,
			      .keygen = keygen,
			      .probe = probe,
			      .probe_cancel = probe_cancel,
			      .host = no_host,
			      .http = fake_http,
			      .http_cancel = fake_http_cancel,
			      .work = fake_work,
			      .log = story};
	f->provider = (struct provider){.name = "fake",
					.doc = "a cloud of the tests",
					.boot_poll_us = 200000,
					.act = fake_act,
					.state = f};
	f->providers[0] = &f->provider;
	f->probe_verdict = PROBE_OK;
	f->probe_us = 20000;
	f->charge_u6 = UNKNOWN;
}

void fake_start(struct fake *f)
{
	struct error why = {0};

	f->e = engine_new(&f->w, &f->p, f->providers, 1);
	for (size_t i = 0; i < f->disk_rows; i++)
		if (engine_load(f->e, &f->disk[i], &why)) {
			fprintf(stderr, "load: %s\n", why.text);
			CHECK(false);
		}
	engine_start(f->e);
	fake_run(f, SECOND_US);
}

void fake_crash(struct fake *f)
{
	fake_drop(f);
	f->disk_done_us = 0;
	/* What the dead process held is leaked on purpose: nothing of it may be used again. */
	f->e = NULL;
	fake_start(f);
}

void fake_free(struct fake *f)
{
	engine_stop(f->e);
	fake_run(f, MINUTE_US);
	engine_free(f->e);
	fake_drop(f);
	for (size_t i = 0; i < f->disk_rows; i++)
		journal_op_free(&f->disk[i]);
}

/* ---- orders ---- */

void fake_answered(void *arg, int err, const struct error *why)
{
	struct fake *f = arg;

	f->answered++;
	f->last_err = err;
	f->last_why = why ? *why : (struct error){0};
}

static int wait_answer(struct fake *f, int before)
{
	while (f->answered == before && fake_step(f))
		;
	CHECK(f->answered == before + 1);
	return f->last_err;
}

const struct session *fake_get(const struct fake *f, const char *name)
{
	const struct session *s = engine_by_name(f->e, name);

	return s ? s : engine_last(f->e, name, 0);
}

int fake_mkdir(struct fake *f, const char *name)
{
	int before = f->answered;

	engine_mkdir(f->e, &alice, name, 0750, fake_answered, f);
	return wait_answer(f, before);
}

int fake_spec(struct fake *f, const char *name, const char *text)
{
	const struct session *s = engine_by_name(f->e, name);
	int before = f->answered, err;
	enum spec_end end;
	bool commit;

	CHECK(s);
	err = engine_spec_set(f->e, &alice, s, text, strlen(text), &end, &commit, &f->last_why);
	if (err)
		return err;
	engine_spec_close(f->e, &alice, s, false, end == SPEC_UNFINISHED, fake_answered, f);
	return wait_answer(f, before);
}

int fake_rmdir(struct fake *f, const char *name)
{
	int before = f->answered;

	CHECK(engine_by_name(f->e, name));
	engine_rmdir(f->e, &alice, engine_by_name(f->e, name), fake_answered, f);
	return wait_answer(f, before);
}

int fake_ctl(struct fake *f, const char *name, const char *line)
{
	int before = f->answered;

	CHECK(engine_by_name(f->e, name));
	engine_ctl(f->e, &alice, engine_by_name(f->e, name), str_of(line), fake_answered, f);
	return wait_answer(f, before);
}

bool fake_until(struct fake *f, const char *name, enum session_state want, int64_t us)
{
	int64_t end = f->now_us + us;

	for (;;) {
		const struct session *s = fake_get(f, name);

		if (s && s->state == (int64_t)want)
			return true;
		if (!f->queue || f->queue->at_us > end)
			return false;
		fake_step(f);
	}
}
