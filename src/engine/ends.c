/*
 * Everything that a user orders about a session besides buying it: mkdir, rmdir, rename, the verbs,
 * extensions, protection, hold. Entry, checks with an early return, change, event; in that order.
 * Loop thread. Tests: tests/unit/test_engine.c, tests/mount/.
 */
#include <string.h>

#include "internal.h"

static void refuse(struct engine *e, int err, const struct error *why, order_cb cb, void *arg)
{
	order_answer(e, err, why, cb, arg);
}

static int check_free(const struct life *l, struct error *why)
{
	if (l->ordering)
		return fail(why, ERR_BUSY,
			    "an order for this session is being recorded right now; try again");
	if (l->want_removed_us)
		return fail(why, ERR_BUSY, "this session is being removed");
	return 0;
}

static int check_protect(const struct session *s, struct error *why)
{
	if (s->protect)
		return fail(why, ERR_BUSY,
			    "the session is protected: write 0 to its file `protect` first");
	return 0;
}

/* ---- mkdir, rename, chmod ---- */

static void make_uuid(struct world *w, char out[40])
{
	unsigned char b[16];

	w->random(w->self, b, sizeof b);
	b[6] = (unsigned char)((b[6] & 0x0f) | 0x40);
	b[8] = (unsigned char)((b[8] & 0x3f) | 0x80);
	snprintf(out, 40, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
		 b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12],
		 b[13], b[14], b[15]);
}

static int check_name(const struct engine *e, const char *name, struct error *why)
{
	int err = name_check(name, why);

	if (!err && engine_by_name(e, name))
		err = fail(why, ERR_EXISTS, "there is a session of the name %s already", name);
	return err;
}

static int check_draft(const struct engine *e, const struct caller *who, const char *name,
		       struct error *why)
{
	int64_t drafts = 0;
	int err = check_name(e, name, why);

	for (size_t i = 0; i < e->life_count; i++)
		drafts += e->lives[i]->s.state == S_DRAFT && e->lives[i]->s.owner_uid == who->uid;
	if (!err && drafts >= DRAFTS_PER_USER_MAX)
		err = fail(why, ERR_QUOTA, "you have %d drafts already: buy or remove some",
			   DRAFTS_PER_USER_MAX);
	if (!err && e->stopping)
		err = fail(why, ERR_BUSY, "gpufs is stopping");
	return err;
}

/* A draft whose record failed at once is taken back: mkdir said no. */
static void mkdir_done(void *arg, int err, const struct error *why)
{
	struct relay *r = arg;

	if (err && !r->l->dead)
		life_drop(r->l);
	relay_answer(r, err, why);
}

/* Serials are never reused (node ids come from them), not even of drafts whose row is erased. */
static void keep_serial(struct engine *e)
{
	struct journal_op op = {.table = J_META};
	char text[24];
	int n = snprintf(text, sizeof text, "%lld", (long long)e->last_serial);

	CHECK(journal_op_text(&op, "last_serial", strlen("last_serial")) == 0);
	CHECK(journal_op_text(&op, text, (size_t)n) == 0);
	order_op(e, &op, ORDER_LIMIT_US, NULL, NULL);
}

void engine_mkdir(struct engine *e, const struct caller *who, const char *name, int64_t mode,
		  order_cb cb, void *arg)
{
	struct error why = {0};
	struct session s;
	struct life *l;
	int err = check_draft(e, who, name, &why);

	if (err) {
		refuse(e, err, &why, cb, arg);
		return;
	}
	session_init(&s);
	make_uuid(e->w, s.id);
	s.serial = e->last_serial + 1;
	COPY(s.name, name);
	COPY(s.owner_name, who->name);
	s.consumer = strdup(who->name);
	CHECK(s.consumer);
	s.owner_uid = who->uid;
	s.owner_gid = who->gid;
	s.dir_mode = mode & 0777;
	s.created_us = s.state_us = s.changed_us = engine_now(e);
	l = life_new(e, &s);
	keep_serial(e);
	event(e, l, who, "mkdir", "%s", name);
	tell(e, CH_SESSION_NEW, &l->s, NULL);
	order_put(l, ORDER_SOFT, NULL, NULL, mkdir_done, relay_new(l, cb, arg));
}

void engine_rename(struct engine *e, const struct caller *who, const struct session *s,
		   const char *name, order_cb cb, void *arg)
{
	struct life *l = life_of(e, s);
	struct error why = {0};
	char old[64];
	int err = check_name(e, name, &why);

	if (!err)
		err = check_free(l, &why);
	if (err) {
		refuse(e, err, &why, cb, arg);
		return;
	}
	COPY(old, s->name);
	index_rename(l, name);
	event(e, l, who, "rename", "%s to %s", old, name);
	tell(e, CH_SESSION_NAME, s, old);
	life_changed(l);
	order_put(l, ORDER_SOFT, NULL, NULL, cb, arg);
}

void engine_chmod(struct engine *e, const struct session *s, int64_t mode, order_cb cb, void *arg)
{
	struct life *l = life_of(e, s);
	struct error why = {0};
	int err = check_free(l, &why);

	if (err) {
		refuse(e, err, &why, cb, arg);
		return;
	}
	l->s.dir_mode = mode & 0777;
	life_changed(l);
	order_put(l, ORDER_SOFT, NULL, NULL, cb, arg);
}

/* ---- the end ---- */

/* Order the end of whatever the session has. Carried out from memory whatever the disk does. */
void life_end(struct life *l, enum end_cause cause, const char *text, const struct caller *who)
{
	struct session *s = &l->s;

	if (!s->end_us) {
		s->end_us = engine_now(l->e);
		s->end_cause = cause;
		s->end_by_uid = who ? who->uid : UNKNOWN;
		copy_text(s->end_by, sizeof s->end_by, who ? who->name : "gpufs");
	}
	s->start_by_us = 0;
	l->destroys = 0;
	l->o.next_destroy_us = 0;
	l->o.hold_released_us = 0;
	probe_stop(l);
	forget_status_alarms(l);
	life_state(l, S_STOPPING, text, who);
	life_changed(l);
}

static void ended_by(struct life *l, enum end_cause cause, const struct caller *who)
{
	BUF b = {0};

	if (cause == END_DONE)
		buf_puts(&b, "done");
	else if (who->name[0])
		buf_printf(&b, "destroyed by %s", who->name);
	else
		buf_printf(&b, "destroyed by uid %d", (int)who->uid);
	life_end(l, cause, b.data, who);
}

void engine_rmdir(struct engine *e, const struct caller *who, const struct session *s, order_cb cb,
		  void *arg)
{
	struct life *l = life_of(e, s);
	struct error why = {0};
	/* A second rmdir while the first is being recorded is the same order. */
	int err = l->want_removed_us ? 0 : check_free(l, &why);

	if (!err)
		err = check_protect(s, &why);
	if (!err && session_in_history(s))
		err = fail(&why, ERR_FORBIDDEN, "history cannot be removed; it leaves by itself");
	if (err) {
		refuse(e, err, &why, cb, arg);
		return;
	}
	if (s->state == S_DRAFT) {
		event(e, l, who, "rmdir", "%s, a draft", s->name);
		order_erase(l, cb, arg);
		return;
	}
	event(e, l, who, "rmdir", "%s, %s", s->name, state_name((enum session_state)s->state));
	if (session_living(s))
		ended_by(l, END_DESTROYED, who);
	if (!l->want_removed_us)
		l->want_removed_us = engine_now(e);
	order_put(l, ORDER_FIRM, NULL, life_removed, cb, arg);
}

/* ---- verbs ---- */

enum session_verb { V_COMMIT, V_DONE, V_EXTEND, V_DESTROY, V_RETRY, V_PROBE, V_VERB_COUNT };

const struct verb session_verbs[] = {
	[V_COMMIT] = {"commit", "", "buy what the spec says, now"},
	[V_DONE] = {"done", "", "end the machine, leave the directory"},
	[V_EXTEND] = {"extend", "TIME", "move the end by so much: extend 2h"},
	[V_DESTROY] = {"destroy", "", "end the machine, leave the directory; may be repeated"},
	[V_RETRY] = {"retry", "", "give up this attempt and take the next offer, or start again"},
	[V_PROBE] = {"probe", "", "try the SSH login now"},
	[V_VERB_COUNT] = {"", "", ""},
};

enum root_verb { R_REFRESH, R_RECONCILE, R_DRAIN, R_UNDRAIN, R_VERB_COUNT };

const struct verb root_verbs[] = {
	[R_REFRESH] = {"refresh", "[PROVIDER]", "fetch the offers and the balance now"},
	[R_RECONCILE] = {"reconcile", "", "compare sessions and machines now"},
	[R_DRAIN] = {"drain", "", "no new purchases; what runs goes on"},
	[R_UNDRAIN] = {"undrain", "", "purchases again"},
	[R_VERB_COUNT] = {"", "", ""},
};

/* Split "verb argument" and look the verb up; -EINVAL quotes what was written. */
static int find_verb(const struct verb *verbs, struct str line, char argument[64],
		     struct error *why)
{
	char word[32] = "";
	size_t n = 0, at = 0;

	argument[0] = '\0';
	while (line.n && (line.p[line.n - 1] == ' ' || line.p[line.n - 1] == '\n'))
		line.n--;
	while (at < line.n && line.p[at] == ' ')
		at++;
	while (at < line.n && line.p[at] != ' ' && n < sizeof word - 1)
		word[n++] = line.p[at++];
	while (at < line.n && line.p[at] == ' ')
		at++;
	if (line.n - at >= 64)
		return fail(why, ERR_INVALID, "the argument of '%s' is too long", word);
	memcpy(argument, line.p + at, line.n - at);
	argument[line.n - at] = '\0';
	for (int i = 0; verbs[i].name[0]; i++) {
		if (strcmp(verbs[i].name, word))
			continue;
		if (!verbs[i].args[0] && argument[0])
			return fail(why, ERR_INVALID, "'%s' takes no argument, got '%s'", word,
				    argument);
		if (verbs[i].args[0] && verbs[i].args[0] != '[' && !argument[0])
			return fail(why, ERR_INVALID, "'%s' needs %s", word, verbs[i].args);
		return i;
	}
	BUF list = {0};
	for (int i = 0; verbs[i].name[0]; i++)
		buf_printf(&list, "%s%s", i ? " " : "", verbs[i].name);
	return fail(why, ERR_INVALID, "unknown verb '%s'; known are: %s", word, list.data);
}

static int verb_end(struct life *l, enum end_cause cause, const struct caller *who,
		    struct error *why)
{
	struct session *s = &l->s;
	int err = check_protect(s, why);

	if (err)
		return err;
	if (s->state == S_DRAFT)
		return fail(why, ERR_BUSY, "a draft has no machine: remove it with rmdir");
	if (state_terminal((enum session_state)s->state)) {
		if (cause == END_DESTROYED)
			return 0; /* repeating it is always allowed, and this is the truth */
		return fail(why, ERR_BUSY, "the session has ended: it is %s",
			    state_name((enum session_state)s->state));
	}
	if (s->state == S_STOPPING) { /* a real order each time: send the DELETE again now */
		l->o.next_destroy_us = l->o.next_look_us = l->o.next_list_us = 0;
		l->destroys = 0;
		l->o.destroy_ok_us = 0;
		event(l->e, l, who, cause == END_DONE ? "done" : "destroy", "again");
		life_changed(l);
		return 0;
	}
	event(l->e, l, who, cause == END_DONE ? "done" : "destroy", "ordered");
	ended_by(l, cause, who);
	return 0;
}

static int verb_retry(struct life *l, const struct caller *who, struct error *why)
{
	struct session *s = &l->s;

	if (s->state == S_FAILED && !session_in_history(s)) {
		attempt_bill(l);
		attempt_forget(s);
		s->late_look_us = 0;
		s->bought_us = s->expires_us = s->stopped_us = s->end_us = 0;
		s->end_cause = s->attempt_cause = 0;
		s->end_by[0] = '\0';
		s->start_by_us = engine_now(l->e) + l->e->p->start_timeout_us;
		free(s->failed_offers);
		s->failed_offers = NULL;
		event(l->e, l, who, "retry", "from the beginning");
		life_state(l, S_PENDING, "ordered again", who);
		life_changed(l);
		return 0;
	}
	if (s->state != S_PROVISIONING)
		return fail(why, ERR_BUSY,
			    "retry works while provisioning or when failed; it is %s",
			    state_name((enum session_state)s->state));
	if (!s->attempt_cause) {
		s->attempt_cause = END_BOOT;
		s->retries_left++;
		life_reason(l, "given up by %s, the next offer is taken", who->name);
		event(l->e, l, who, "retry", "attempt %d is given up", (int)s->attempt);
		life_changed(l);
	}
	return 0;
}

static void extended(struct life *l)
{
	tell(l->e, CH_SESSION, &l->s, NULL);
	life_wake(l);
}

static void verb_extend(struct life *l, const struct caller *who, bool relative, int64_t us,
			order_cb cb, void *arg)
{
	struct session *s = &l->s;
	int64_t now = engine_now(l->e), end, most = s->bought_us + s->hard_max_us;
	struct error why = {0};
	struct session next;
	int err = check_free(l, &why);
	BUF b = {0};

	if (!err && ((s->state != S_RUNNING && s->state != S_PROVISIONING) || !s->bought_us))
		err = fail(&why, ERR_BUSY, "only a running session has an end to move; it is %s",
			   state_name((enum session_state)s->state));
	end = (relative ? s->expires_us : now) + us;
	if (!err && end > most) {
		put_duration(&b, s->hard_max_us);
		err = fail(&why, ERR_RANGE,
			   "that is past the hard maximum: no session lives longer than %s",
			   b.data);
	}
	if (!err && end <= now)
		err = fail(&why, ERR_RANGE, "that would end it now: use rmdir or `done`");
	if (err) {
		refuse(l->e, err, &why, cb, arg);
		return;
	}
	session_copy(&next, s);
	next.expires_us = end;
	put_time(&b, end);
	event(l->e, l, who, "extend", "expires at %s", b.data);
	order_put(l, ORDER_SWAP, &next, extended, cb, arg);
}

void engine_ctl(struct engine *e, const struct caller *who, const struct session *s,
		struct str line, order_cb cb, void *arg)
{
	struct life *l = life_of(e, s);
	struct error why = {0};
	char argument[64];
	int64_t us = 0;
	int verb = find_verb(session_verbs, line, argument, &why), err = verb;

	if (verb < 0) {
		refuse(e, verb, &why, cb, arg);
		return;
	}
	err = check_free(l, &why);
	if (!err)
		switch ((enum session_verb)verb) {
		case V_COMMIT:
			engine_commit(e, who, s, cb, arg);
			return;
		case V_EXTEND:
			err = parse_duration(str_of(argument[0] == '+' ? argument + 1 : argument),
					     &us, &why);
			if (err)
				break;
			verb_extend(l, who, true, us, cb, arg);
			return;
		case V_DONE:
		case V_DESTROY:
			err = verb_end(l, verb == V_DONE ? END_DONE : END_DESTROYED, who, &why);
			break;
		case V_RETRY:
			err = verb_retry(l, who, &why);
			break;
		case V_PROBE:
			if (s->state != S_PROVISIONING && s->state != S_RUNNING) {
				err = fail(&why, ERR_BUSY, "there is no machine to probe");
				break;
			}
			l->o.next_probe_us = l->o.next_look_us = 0;
			probe_now(l);
			err = 0;
			break;
		case V_VERB_COUNT:
			CHECK(false);
		}
	if (err)
		refuse(e, err, &why, cb, arg);
	else if (verb == V_PROBE || state_terminal((enum session_state)s->state))
		order_answer(e, 0, NULL, cb, arg);
	else
		order_put(l, ORDER_FIRM, NULL, NULL, cb, arg);
}

static void root_refresh(struct engine *e, const char *name, order_cb cb, void *arg)
{
	struct error why = {0};

	if (name[0] && !source_of(e, name)) {
		refuse(e,
		       fail(&why, ERR_INVALID, "there is no provider '%s'; see providers/", name),
		       &why, cb, arg);
		return;
	}
	for (size_t i = 0; i < e->source_count; i++) {
		if (name[0] && strcmp(e->sources[i].p->name, name) != 0)
			continue;
		market_refresh(&e->sources[i]);
		account_refresh(&e->sources[i]); /* credit may have been added */
	}
	engine_wake(e, 0);
	order_answer(e, 0, NULL, cb, arg);
}

void engine_root_ctl(struct engine *e, const struct caller *who, struct str line, order_cb cb,
		     void *arg)
{
	struct error why = {0};
	char argument[64];
	int verb = find_verb(root_verbs, line, argument, &why);

	if (verb < 0) {
		refuse(e, verb, &why, cb, arg);
		return;
	}
	event(e, NULL, who, "ctl", "%s %s", root_verbs[verb].name, argument);
	switch ((enum root_verb)verb) {
	case R_REFRESH:
		root_refresh(e, argument, cb, arg);
		return;
	case R_RECONCILE:
		for (size_t i = 0; i < e->source_count; i++)
			market_list(&e->sources[i]);
		break;
	case R_DRAIN:
	case R_UNDRAIN:
		e->draining = verb == R_DRAIN;
		tell_soon(e, CH_STATUS);
		break;
	case R_VERB_COUNT:
		CHECK(false);
	}
	order_answer(e, 0, NULL, cb, arg);
}

/* ---- single values ---- */

void engine_remaining(struct engine *e, const struct caller *who, const struct session *s,
		      struct str text, order_cb cb, void *arg)
{
	bool relative = text.n && text.p[0] == '+';
	struct error why = {0};
	int64_t us;
	int err;

	if (relative) {
		text.p++;
		text.n--;
	}
	err = parse_duration(text, &us, &why);
	if (err)
		refuse(e, err, &why, cb, arg);
	else
		verb_extend(life_of(e, s), who, relative, us, cb, arg);
}

void engine_protect(struct engine *e, const struct caller *who, const struct session *s,
		    struct str text, order_cb cb, void *arg)
{
	struct life *l = life_of(e, s);
	struct error why = {0};
	bool on;
	int err = parse_bool(text, &on, &why);

	if (!err)
		err = check_free(l, &why);
	if (err) {
		refuse(e, err, &why, cb, arg);
		return;
	}
	if (on != (l->s.protect != 0)) {
		l->s.protect = on;
		event(e, l, who, "protect", "%d", on);
		life_changed(l);
	}
	/* Answered when it is durable: people rely on it. */
	order_put(l, ORDER_FIRM, NULL, NULL, cb, arg);
}

void engine_provider_enable(struct engine *e, const struct caller *who, size_t provider,
			    struct str text, order_cb cb, void *arg)
{
	struct error why = {0};
	bool on;
	int err = parse_bool(text, &on, &why);

	CHECK(provider < e->source_count);
	if (!err && e->sources[provider].enabled != on) {
		e->sources[provider].enabled = on;
		e->sources[provider].changed_us = engine_now(e);
		event(e, NULL, who, "provider", "%s %s", e->sources[provider].p->name,
		      on ? "enabled" : "disabled");
		tell_soon(e, CH_PROVIDER);
		tell_soon(e, CH_STATUS);
		market_publish(e);
	}
	order_answer(e, err, &why, cb, arg);
}

void engine_hold(struct engine *e, const struct session *s, bool held)
{
	struct life *l = life_of(e, s);

	if ((l->s.held != 0) == held)
		return;
	l->s.held = held;
	l->o.hold_released_us = 0;
	if (!held && session_living(s) && s->state != S_STOPPING) {
		l->o.hold_released_us = engine_now(e);
		event(e, l, NULL, "hold", "released; the session ends after the grace");
	} else if (held) {
		event(e, l, NULL, "hold", "held");
	}
	life_changed(l);
}

/* ---- all ---- */

void engine_destroy_all(struct engine *e, const struct caller *who, order_cb cb, void *arg)
{
	e->draining = true;
	e->all_gone = cb;
	e->all_gone_arg = arg;
	for (size_t i = 0; i < e->life_count; i++) {
		struct life *l = e->lives[i];

		if (session_living(&l->s) && l->s.state != S_STOPPING)
			ended_by(l, END_DESTROYED, who);
	}
	engine_wake(e, 0);
}
