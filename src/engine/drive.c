/*
 * Carrying out: asks reconcile for the next action of a session that is due (turns.c) and does it, until
 * it says wait. Loop thread. Tests: tests/unit/test_engine.c.
 */
#include <string.h>

#include "../core/mutant.h"
#include "internal.h"

#define STEPS_MAX 16 /* of one session in one turn; more would be a loop without an end */

uint32_t engine_chance(struct engine *e)
{
	uint32_t r;

	e->w->random(e->w->self, &r, sizeof r);
	return r;
}

/* ---- key pair ---- */

static void key_made(void *arg, const char *private_openssh, const char *public_line,
		     const struct error *why)
{
	struct life *l = arg;

	l->o.keygen_busy = false;
	if (!l->dead && !l->e->stopping) {
		if (private_openssh) {
			secret_set(&l->s.private_key, private_openssh, strlen(private_openssh));
			free(l->s.public_key);
			l->s.public_key = strdup(public_line);
			CHECK(l->s.public_key);
			life_changed(l);
		} else {
			event(l->e, l, NULL, "error", "no key pair: %s", why->text);
			life_end(l, END_REFUSED, "no key pair could be made", NULL);
		}
	}
	life_unref(l);
}

static void do_keygen(struct life *l)
{
	struct world *w = l->e->w;
	char comment[80];

	snprintf(comment, sizeof comment, "gpufs-%s", l->s.name);
	l->o.keygen_busy = true;
	l->refs++;
	w->keygen(w->self, comment, key_made, l);
}

/* ---- SSH ---- */

static void probe_done(void *arg, enum probe_verdict v, const char *host_key, const char *text)
{
	struct life *l = arg;
	struct engine *e = l->e;
	struct session *s = &l->s;
	int64_t now = engine_now(e), pause = PROBE_PAUSE_US;
	char before[sizeof s->reason];

	COPY(before, s->reason);
	l->probe = NULL;
	l->o.probe_busy = false;
	/* Of an attempt that is given up the reason stays what it was given up for. */
	if (l->dead || e->stopping || s->instance_state != I_EXISTS || s->attempt_cause) {
		life_unref(l);
		return;
	}
	count_login(l, v);
	switch (v) {
	case PROBE_OK:
		if (!s->host_key || !s->host_key[0]) {
			free(s->host_key);
			s->host_key = strdup(host_key); /* pinned at the first verified login */
			CHECK(s->host_key);
		}
		l->o.probe_ok = true;
		engine_alarm_clear(e, "host_key", s->name);
		break;
	case PROBE_NOT_YET:
		/* While it boots the provider's words say more. */
		if (!l->o.by_list || s->booted_us)
			life_reason(l, "waiting for its SSH server: %s", text);
		break;
	case PROBE_LOGIN_REFUSED:
		/* Normal for the first minutes; only refused logins back off. */
		l->login_refusals++;
		life_reason(l, "SSH refused the key %u times", l->login_refusals);
		pause = backoff_us(PROBE_PAUSE_US, e->p->ssh_backoff_max_us, l->login_refusals,
				   engine_chance(e));
		break;
	case PROBE_HOST_KEY:
		life_reason(l, "the machine answers with another host key than before");
		engine_alarm(e, "host_key", s->name,
			     "the machine answers with another host key than the one pinned; it is "
			     "not trusted");
		break;
	}
	l->o.next_probe_us = now + pause;
	if (s->state == S_PROVISIONING && strcmp(before, s->reason) != 0)
		life_tell(l);
	else if (s->state == S_RUNNING)
		event(e, l, NULL, "probe", "%s", v == PROBE_OK ? "the login works" : text);
	life_wake(l);
	life_unref(l);
}

void probe_now(struct life *l)
{
	struct session *s = &l->s;
	struct world *w = l->e->w;
	struct probe_args args = {.host = s->ssh_host,
				  .user = s->ssh_user,
				  .port = s->ssh_port,
				  .private_key = &s->private_key,
				  .public_key = s->public_key,
				  .host_key = s->host_key ? s->host_key : "",
				  .timeout_us = PROBE_LIMIT_US};

	if (l->probe || !s->ssh_host[0] || !s->ssh_port || !s->private_key.bytes)
		return;
	l->o.probe_busy = true;
	l->refs++;
	l->probe = w->probe(w->self, &args, probe_done, l);
	CHECK(l->probe);
}

void probe_stop(struct life *l)
{
	if (!l->probe)
		return;
	l->e->w->probe_cancel(l->e->w->self, l->probe);
	l->probe = NULL;
	l->o.probe_busy = false;
	life_unref(l);
}

static void do_running(struct life *l)
{
	struct session *s = &l->s;

	s->running_us = engine_now(l->e);
	if (!s->booted_us)
		s->booted_us = s->running_us;
	/* It runs and is charged as such, whether or not the provider says so yet. */
	if (l->o.status == INST_BOOTING)
		session_charge(s, s->price_u6, UNKNOWN, s->running_us);
	engine_alarm_clear(l->e, "offline", s->name);
	life_state(l, S_RUNNING, "SSH is verified", NULL);
	life_changed(l);
}

/* ---- failing and ending ---- */

static void do_fail_attempt(struct life *l, enum end_cause cause)
{
	char last[200];

	COPY(last, l->s.reason);
	l->s.attempt_cause = cause;
	count_attempt_failed(l, cause);
	if (cause == END_SSH)
		life_reason(l, "SSH verification timeout: %s", last);
	else if (cause == END_BOOT)
		life_reason(l, "boot failed: %s", last);
	if (cause == END_SSH || cause == END_BOOT)
		market_machine_failed(l->e, l->s.provider, l->s.offer_id, cause, l->s.reason);
	event(l->e, l, NULL, "attempt_failed", "%s", l->s.reason);
	life_changed(l);
}

static void do_end(struct life *l, enum end_cause cause)
{
	static const char *const texts[END_COUNT] = {
		[END_NONE] = "",
		[END_DESTROYED] = "destroyed",
		[END_DONE] = "done",
		[END_EXPIRED] = "expired",
		[END_HARD_MAX] = "hard maximum",
		[END_HOLD] = "hold released",
		[END_LOST] = "instance lost",
		[END_NO_OFFER] = "no offer",
		[END_BOOT] = "boot failed",
		[END_SSH] = "SSH verification timeout",
		[END_REFUSED] = "create refused",
		[END_PREEMPTED] = "preempted",
		[END_MONEY] = "no credit",
		[END_KEY] = "key refused",
	};
	char reason[sizeof l->s.reason];

	CHECK(cause < END_COUNT);
	count_end(l, cause);
	if (cause == END_LOST) {
		l->s.delete_us = l->o.absent_since_us; /* billed until the first list without it */
		event(l->e, l, NULL, "lost",
		      "two complete lists and two queries agree that %s is gone", l->s.instance_id);
	}
	COPY(reason, texts[cause] ? texts[cause] : l->s.reason);
	life_end(l, cause, reason, NULL);
}

static void do_gone(struct life *l)
{
	struct session *s = &l->s;

	s->instance_state = I_GONE;
	s->gone_us = engine_now(l->e);
	engine_alarm_clear(l->e, "stopping", s->name);
	reason_settled(l);
	event(l->e, l, NULL, "gone", "%s: %s", s->instance_id, s->evidence ? s->evidence : "");
	life_changed(l);
	/* What a native provider offers again only a new list tells; a search of a sampled market is
	 * not spent on it. */
	if (!source_of(l->e, s->provider)->p->dialect)
		market_refresh(source_of(l->e, s->provider));
}

static void do_void(struct life *l)
{
	struct session *s = &l->s;

	/* One that never left did not begin the session's time. */
	if (l->o.may_create && s->bought_us == s->asked_us)
		s->bought_us = s->expires_us = 0;
	s->instance_state = I_NONE;
	s->asked_us = 0;
	l->o.may_create = false;
	index_order_drop(l);
	free(s->evidence);
	s->evidence = strdup("no machine of this label was ever made");
	l->o.next_choose_us = engine_now(l->e) + attempt_pause_us(l);
	event(l->e, l, NULL, "void", "attempt %d had no effect", (int)s->attempt);
	life_changed(l);
}

static void do_finish(struct life *l)
{
	struct session *s = &l->s;
	enum session_state to = s->running_us ? S_STOPPED : S_FAILED;

	/* The key opens nothing any more. */
	secret_wipe(&s->private_key);
	if (s->instance_state == I_GONE)
		s->late_look_us = engine_now(l->e) + LATE_LOOK_US;
	life_state(l, to, NULL, NULL);
	event(l->e, l, NULL, "receipt", "%s", s->evidence ? s->evidence : "nothing was ever made");
	life_changed(l);
	tell(l->e, CH_SESSION_PROVEN, s, NULL);
}

static void do_retire(struct life *l)
{
	event(l->e, l, NULL, "retire", "kept long enough in sessions/");
	l->want_removed_us = engine_now(l->e);
	order_put(l, ORDER_FIRM, NULL, life_removed, NULL, NULL);
	l->o.journal_busy = true;
}

static void do_purge(struct life *l)
{
	struct journal_op op = {.table = J_SESSION, .erase = true};
	struct engine *e = l->e;

	CHECK(journal_op_text(&op, l->s.id, strlen(l->s.id)) == 0);
	life_drop(l);
	order_op(e, &op, ORDER_LIMIT_US, NULL, NULL);
}

/* ---- one session's turn ---- */

/* True: look again at once. */
static bool do_step(struct life *l, const struct step *step)
{
	switch (step->act) {
	case ACT_WAIT:
		l->next_us = step->at_us;
		return false;
	case ACT_KEYGEN:
		do_keygen(l);
		return true;
	case ACT_CHOOSE:
		attempt_choose(l);
		return true;
	case ACT_CREATE:
		call_create(l);
		return true;
	case ACT_LIST:
		market_list(source_of(l->e, l->s.provider));
		return true;
	case ACT_LOOK:
		call_look(l, false);
		return true;
	case ACT_VOID:
		do_void(l);
		return true;
	case ACT_ATTACH:
		call_attach(l);
		return true;
	case ACT_PROBE:
		probe_now(l);
		return true;
	case ACT_RUNNING:
		do_running(l);
		return true;
	case ACT_FAIL_ATTEMPT:
		do_fail_attempt(l, step->cause);
		return true;
	case ACT_END:
		do_end(l, step->cause);
		return true;
	case ACT_DESTROY:
		call_destroy(l);
		return true;
	case ACT_GONE:
		do_gone(l);
		return true;
	case ACT_NEXT_ATTEMPT:
		attempt_next(l);
		return true;
	case ACT_FINISH:
		do_finish(l);
		return true;
	case ACT_LATE_LOOK:
		call_look(l, true);
		return true;
	case ACT_RETIRE:
		do_retire(l);
		return true;
	case ACT_PURGE:
		do_purge(l);
		return false;
	}
	return false;
}

static void stopping_alarm(struct life *l, int64_t now)
{
	if (l->s.state != S_STOPPING || now < l->s.state_us + STOPPING_ALARM_US)
		return;
	engine_alarm(l->e, "stopping", l->s.name,
		     "ordered to end more than 15 minutes ago and not proven gone; it is tried for "
		     "ever");
}

/* The keys that its machine is to be given after the create: ours, and the spec's if there is one. */
static int64_t keys_of(struct life *l, const struct source *src)
{
	struct spec sp;

	if (!src || !src->p->dialect || !src->p->dialect->attach_key || !l->s.public_key ||
	    (l->s.state != S_PROVISIONING && l->s.state != S_RUNNING))
		return 0;
	if (!l->keys && !parse_spec_of(&l->s, &sp, NULL)) {
		l->keys = sp.ssh_public_key ? 2 : 1;
		spec_free(&sp);
	}
	return l->keys;
}

/* What reconcile must know of the provider. */
static void observe_source(struct life *l)
{
	const struct source *src = source_of(l->e, l->s.provider);

	l->o.lag_us = src ? src->p->lag_us : 0;
	l->o.list_busy = src && src->list_busy;
	l->o.by_list = src && src->p->dialect && src->p->dialect->lists_show_boot;
	l->o.keys = keys_of(l, src);
}

/* Somebody who waits for an offer is a reason to keep the market fresh. */
static void note_waits(struct life *l)
{
	bool waits = !l->dead && l->s.state == S_PENDING && l->o.next_choose_us == INT64_MAX;

	if (waits && !l->waits)
		l->e->waiting++;
	else if (!waits && l->waits && !l->dead) /* life_drop has counted it out */
		l->e->waiting--;
	l->waits = waits;
}

void drive_now(struct life *l)
{
	struct engine *e = l->e;
	int64_t now = engine_now(e);

	if (l->driving || l->dead || e->stopping)
		return;
	l->driving = true;
	l->refs++;
	l->next_us = INT64_MAX;
	clock_follow(l, now);
	if (l->dirty && !l->ordering && now >= l->next_put_us)
		life_put(l);
	for (int i = 0; i < STEPS_MAX && !l->dead; i++) {
		struct step step;

		observe_source(l);
		now = engine_now(e);
		step = reconcile(&l->s, &l->o, e->p, now);
		if (!do_step(l, &step))
			break;
		l->next_us = now; /* in case the bound ends this: the next turn goes on */
	}
	stopping_alarm(l, now);
	watch_status(l, now);
	if (l->dirty && !l->ordering && l->next_put_us < l->next_us)
		l->next_us = l->next_put_us;
	l->driving = false;
	note_waits(l);
	if (l->untold && !l->dead)
		life_tell(l);
	if (l->dead)
		; /* out of every line */
	else if (l->next_us <= now)
		turns_wake(l);
	else
		turns_wait(l, l->next_us);
	life_unref(l);
}
