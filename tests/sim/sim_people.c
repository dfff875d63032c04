/*
 * People: random orders through engine.h, as the doors give them; and that each order is answered
 * exactly once, and in time. See sim.h.
 */
#include <string.h>

#include "sim.h"

/* Tree rule 7: an order is answered after 2 s at the latest; what waits behind another order's record may
 * take that once more. */
#define ANSWER_LIMIT_US (5 * SECOND_US)

static const struct caller people[] = {
	{.uid = 1001, .gid = 1001, .pid = 10, .name = "alice"},
	{.uid = 1002, .gid = 1002, .pid = 11, .name = "bob"},
	{.uid = 0, .gid = 0, .pid = 1, .name = "root", .admin = true},
};

/* ---- orders and their answers ---- */

static void kept_word(struct sim *s, const struct sim_order *o)
{
	struct sim_session *x = o->session[0] ? sim_session_of(s, o->session) : NULL;

	if (!x)
		return;
	if (!strcmp(o->what, "rmdir"))
		x->gone_promised = true;
	else if (!strcmp(o->what, "spec") || !strcmp(o->what, "commit"))
		x->bought |= engine_by_id(s->e, o->session) &&
			     engine_by_id(s->e, o->session)->state != S_DRAFT;
}

static void answered(void *arg, int err, const struct error *why)
{
	struct sim_order *o = arg;
	struct sim *s = o->s;

	if (s->dead) /* nobody hears it */
		return;
	if (o->process != s->process)
		sim_wrong(s, "`%s %s` is answered by a process that did not get it", o->what,
			  o->name);
	if (o->answers++)
		sim_wrong(s, "`%s %s` is answered twice", o->what, o->name);
	o->err = err;
	sim_tell(s, "answer: `%s %s`: %s%s%s", o->what, o->name, err ? strerror(-err) : "ok",
		 err ? ": " : "", err && why ? why->text : "");
	if (!err)
		kept_word(s, o);
}

static struct sim_order *order(struct sim *s, const char *what, const char *name,
			       const struct session *of)
{
	struct sim_order *o = xcalloc(1, sizeof *o);

	CHECK(s->order_count < ARRAY_LEN(s->orders));
	*o = (struct sim_order){.s = s, .what = what, .process = s->process, .asked_us = s->now_us};
	COPY(o->name, name);
	if (of)
		COPY(o->session, of->id);
	s->orders[s->order_count++] = o;
	s->counts->people++;
	return o;
}

void sim_orders_die(struct sim *s)
{
	for (size_t i = 0; i < s->order_count; i++)
		if (s->orders[i]->process == s->process && !s->orders[i]->answers)
			s->orders[i]->answers = 1; /* its asker saw the mount die */
}

void sim_orders_check(struct sim *s)
{
	for (size_t i = 0; i < s->order_count && !s->dead; i++) {
		const struct sim_order *o = s->orders[i];

		if (!o->answers && s->now_us > o->asked_us + ANSWER_LIMIT_US)
			sim_wrong(s, "`%s %s` has no answer after %d s", o->what, o->name,
				  (int)((s->now_us - o->asked_us) / SECOND_US));
	}
}

void sim_orders_free(struct sim *s)
{
	for (size_t i = 0; i < s->order_count; i++)
		free(s->orders[i]);
	s->order_count = 0;
}

/* ---- what they write ---- */

#define A_KEY                                                                                \
	"'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f " \
	"me@home'"

static void spec_text(struct sim *s, struct buf *b)
{
	static const char *const selections[] = {
		"gpu=RTX_4090 max_price=2 hours=1",
		"gpu=RTX_3090 max_price=1 hours=2",
		"min_vram=20 max_price=5 hours=1",
		"max_price=30 hours=3",
		"max_price=3 hours=12",
		"min_vram=40 max_price=9 hours=1 interruptible=1 bid=1.5",
		"max_price=9 hours=2 interruptible=1 bid=0.4",
		"provider=vastai max_price=9 hours=2",
		"provider=tensordock max_price=3 hours=1",
	};
	static const char *const wishes[] = {
		" wait=max",
		" wait=10m",
		" retries=2 retry_scope=any",
		" retries=5",
		" retries=4 retry_scope=any wait=max",
		" vcpus=4 ram_gb=16 disk_gb=150",
		" disk_gb=40",
		" ssh_public_key=" A_KEY,
		" ssh_timeout_minutes=2",
		" ports=8080,9090",
		" env.MODE=fast",
		" protect=1",
		" retries=1 wait=max",
	};
	const struct inventory *inv = engine_inventory(s->e);

	if (inv && inv->count && chance_below(&s->people, 3) == 0)
		buf_printf(b, "offer=%s hours=%d max_price=40",
			   inv->offers[chance_below(&s->people, (int64_t)inv->count)].id,
			   (int)chance_between(&s->people, 1, 3));
	else
		buf_puts(b, selections[chance_below(&s->people, ARRAY_LEN(selections))]);
	if (chance_below(&s->people, 3))
		buf_puts(b, wishes[chance_below(&s->people, ARRAY_LEN(wishes))]);
	if (chance_below(&s->people, 12))
		buf_puts(b, "\n");
}

static void write_text(struct sim *s, const struct caller *who, const struct session *of,
		       const char *text)
{
	enum spec_end end = SPEC_FINISHED;
	struct error why = {0};
	bool commit = false;
	int err;

	sim_tell(s, "%s: echo \"%s\" > %s/spec", who->name, text, of->name);
	err = engine_spec_set(s->e, who, of, text, strlen(text), &end, &commit, &why);
	if (err) {
		sim_tell(s, "answer: %s", why.text);
		return;
	}
	engine_spec_close(s->e, who, of, false, end == SPEC_UNFINISHED, answered,
			  order(s, "spec", of->name, of));
}

static void write_spec(struct sim *s, const struct caller *who, const struct session *of)
{
	BUF text = {0};

	spec_text(s, &text);
	write_text(s, who, of, text.data);
}

static void write_ctl(struct sim *s, const struct caller *who, const struct session *of)
{
	static const char *const verbs[] = {"done",  "destroy",	  "retry",
					    "probe", "extend 1h", "commit"};
	const char *verb = verbs[chance_below(&s->people, ARRAY_LEN(verbs))];
	struct sim_session *x = sim_session_of(s, of->id);

	sim_tell(s, "%s: echo %s > %s/ctl", who->name, verb, of->name);
	if (!strcmp(verb, "done") || !strcmp(verb, "destroy"))
		x->end_ordered = true;
	engine_ctl(s->e, who, of, str_of(verb), answered, order(s, verb, of->name, of));
}

static void remove_it(struct sim *s, const struct caller *who, const struct session *of)
{
	struct sim_session *x = sim_session_of(s, of->id);
	int times = chance_below(&s->people, 6) ? 1 : 2; /* two rmdir at once */
	char id[40], name[64];

	COPY(id, of->id);
	COPY(name, of->name);
	for (int i = 0; i < times && (of = engine_by_id(s->e, id)) != NULL; i++) {
		sim_tell(s, "%s: rmdir %s", who->name, name);
		if (!of->protect)
			x->end_ordered = true;
		engine_rmdir(s->e, who, of, answered, order(s, "rmdir", name, of));
	}
}

static void hold_it(struct sim *s, const struct session *of)
{
	bool held = chance_below(&s->people, 2);

	sim_tell(s, "%s/hold is %s", of->name, held ? "opened" : "closed");
	sim_session_of(s, of->id)->held_once |= held;
	engine_hold(s->e, of, held);
}

static void small_order(struct sim *s, const struct caller *who, const struct session *of)
{
	char name[16];

	switch (chance_below(&s->people, 4)) {
	case 0:
		snprintf(name, sizeof name, "n%d", (int)chance_below(&s->people, SIM_PEOPLE_NAMES));
		sim_tell(s, "%s: mv %s %s", who->name, of->name, name);
		engine_rename(s->e, who, of, name, answered, order(s, "mv", of->name, of));
		break;
	case 1:
		sim_tell(s, "%s: echo 0 > %s/protect", who->name, of->name);
		engine_protect(s->e, who, of, str_of("0"), answered,
			       order(s, "protect", of->name, of));
		break;
	case 2:
		sim_tell(s, "%s: echo +30m > %s/remaining", who->name, of->name);
		engine_remaining(s->e, who, of, str_of("+30m"), answered,
				 order(s, "remaining", of->name, of));
		break;
	default:
		engine_looked_at_market(s->e);
		break;
	}
}

void sim_person(struct sim *s)
{
	const struct caller *who = &people[chance_below(&s->people, ARRAY_LEN(people))];
	const struct session *of;
	char name[8];

	if (s->dead || s->order_count + 4 > ARRAY_LEN(s->orders))
		return;
	snprintf(name, sizeof name, "n%d", (int)chance_below(&s->people, SIM_PEOPLE_NAMES));
	of = engine_by_name(s->e, name);
	if (!of) {
		sim_tell(s, "%s: mkdir %s", who->name, name);
		engine_mkdir(s->e, who, name, 0750, answered, order(s, "mkdir", name, NULL));
		of = engine_by_name(s->e, name);
		if (of && chance_below(&s->people, 2))
			write_spec(s, who, of);
		return;
	}
	if (of->state == S_DRAFT && chance_below(&s->people, 4)) {
		write_spec(s, who, of);
		return;
	}
	switch (chance_below(&s->people, 8)) {
	case 0:
		write_spec(s, who, of);
		break;
	case 1:
		write_ctl(s, who, of);
		break;
	case 2:
		remove_it(s, who, of);
		break;
	case 3:
		if (chance_below(&s->people, 3) == 0)
			hold_it(s, of);
		break;
	default:
		small_order(s, who, of);
		break;
	}
}

bool sim_want(struct sim *s, const char *name, const char *spec)
{
	const struct caller *who = &people[0];
	const struct session *of = s->dead ? NULL : engine_by_name(s->e, name);

	if (s->dead || s->order_count + 4 > ARRAY_LEN(s->orders))
		return false;
	if (!spec) {
		if (!of)
			return true;
		sim_tell(s, "%s: rmdir %s", who->name, name);
		sim_session_of(s, of->id)->end_ordered = true;
		engine_rmdir(s->e, who, of, answered, order(s, "rmdir", name, of));
		return false;
	}
	if (!of) {
		sim_tell(s, "%s: mkdir %s", who->name, name);
		engine_mkdir(s->e, who, name, 0750, answered, order(s, "mkdir", name, NULL));
	} else if (of->state == S_DRAFT) {
		write_text(s, who, of, spec);
	}
	return of && of->state == S_RUNNING;
}
