/*
 * --orphans: machines in the accounts that carry our mark and that no session of the database owns.
 *
 * Order matters. The lists come first and the database is read after them: an attempt is journaled before
 * it is created, so what was listed and is still not in the books is nobody's. Destroying takes the lock
 * that daemons take, reads the books once more under it, and looks at each machine right before. What is
 * not verified, and what is newer than our books, is never touched. While a daemon uses the database
 * nothing is destroyed here: it does that itself, and could be adopting one.
 *
 * The command's thread. Tests: tests/mount/online.bats.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/check.h"
#include "core/text.h"
#include "orphans_parts.h"

enum { EXIT_DONE, EXIT_REFUSED, EXIT_USAGE, EXIT_INCOMPLETE };

/* ---- what is whose ---- */

const char *machine_kind(const struct machine *m)
{
	static const char *const names[] = {[MARK_OURS] = "known",
					    [MARK_ORPHAN] = "orphan",
					    [MARK_LATE] = "late",
					    [MARK_NEWER] = "newer",
					    [MARK_RISEN] = "risen"};

	return m->verified ? names[m->mark] : "foreign";
}

bool machine_condemned(const struct machine *m)
{
	return m->verified && m->mark != MARK_OURS && m->mark != MARK_NEWER;
}

void machine_judge(struct machine *m)
{
	const struct store_row *row;
	struct session s = {0};

	m->verified = label_verify(m->label, m->h->deployment, m->h->label_key, m->session,
				   &m->attempt);
	m->name[0] = '\0';
	if (!m->verified)
		return;
	row = store_books_find(&m->h->books, m->session);
	if (row) {
		s.attempt = row->attempt;
		s.instance_state = row->instance_state;
		COPY(s.instance_id, row->instance_id);
		COPY(m->name, row->name);
	}
	m->mark = session_mark(row ? &s : NULL, m->attempt, m->id);
}

static struct machine *machine_add(struct hunt *h)
{
	if (h->count == h->cap) {
		h->cap = h->cap ? h->cap * 2 : 16;
		h->machines = reallocarray(h->machines, h->cap, sizeof *h->machines);
		CHECK(h->machines != NULL);
	}
	h->machines[h->count] = (struct machine){.h = h};
	return &h->machines[h->count++];
}

/* The books are not read yet: everything that looks like ours is kept. */
static void take_row(struct hunt *h, size_t at, const struct instance *in)
{
	struct place *place = &h->places[at];
	struct machine *m;

	if (in->status == INST_GONE)
		return;
	place->machines++;
	if (strncmp(in->label, "gpufs-", 6) != 0) {
		place->foreign++;
		return;
	}
	m = machine_add(h);
	m->at = at;
	COPY(m->id, in->id);
	COPY(m->label, in->label);
	m->status = in->status;
	m->price_u6 = in->price_u6;
	m->created_us = in->created_us;
}

/* ---- lists ---- */

struct list_ask {
	struct hunt *h;
	size_t at;
};

static void list_came(void *arg, const struct result *res)
{
	struct list_ask *a = arg;
	struct place *place = &a->h->places[a->at];

	place->complete = res->verdict == SURE_YES && res->complete;
	COPY(place->text, res->text);
	for (size_t i = 0; i < res->count; i++)
		take_row(a->h, a->at, &res->instances[i]);
	a->h->online.pending--;
}

static void ask_lists(struct hunt *h)
{
	struct list_ask asks[CONFIGURED_MAX];
	const struct call call = {.op = CALL_LIST};

	for (size_t i = 0; i < h->online.count; i++) {
		asks[i] = (struct list_ask){h, i};
		h->online.pending++;
		cloud_act(h->online.cloud[i], &call, list_came, &asks[i]);
	}
	online_wait(&h->online);
}

static int read_books(struct hunt *h, bool locked, struct error *why)
{
	store_books_free(&h->books);
	return store_books_read(h->settings->value[SET_DATABASE_PATH], locked, &h->books, why);
}

/* Judge all; those of living sessions are only counted. */
static void judge_lists(struct hunt *h)
{
	size_t kept = 0;

	for (size_t i = 0; i < h->count; i++) {
		struct machine *m = &h->machines[i];
		struct place *place = &h->places[m->at];

		machine_judge(m);
		if (!m->verified)
			place->foreign++;
		else if (m->mark == MARK_OURS)
			place->known++;
		if (m->verified && m->mark == MARK_OURS)
			continue;
		if (kept != i)
			h->machines[kept] = *m;
		kept++;
	}
	h->count = kept;
}

static bool lists_complete(const struct hunt *h)
{
	for (size_t i = 0; i < h->online.count; i++)
		if (!h->places[i].complete)
			return false;
	return true;
}

/* ---- may it be done? ---- */

static size_t condemned(const struct hunt *h, bool orphans_only)
{
	size_t n = 0;

	for (size_t i = 0; i < h->count; i++)
		n += machine_condemned(&h->machines[i]) &&
		     (!orphans_only || h->machines[i].mark == MARK_ORPHAN);
	return n;
}

static bool beside(const char *a, const char *b)
{
	const char *end_a = strrchr(a, '/'), *end_b = strrchr(b, '/');

	return end_a && end_b && end_a - a == end_b - b && !strncmp(a, b, (size_t)(end_a - a));
}

/* A script cannot see that it holds the wrong books: those that would make everything an orphan are for
 * a person to judge (faults.md, the brake). */
static int check_script(const struct hunt *h, struct error *why)
{
	const char *db = h->settings->value[SET_DATABASE_PATH];
	size_t orphans = condemned(h, true);

	if (orphans && !h->books.exists && !beside(db, h->settings->value[SET_KEY_PATH]))
		return fail(why, ERR_FORBIDDEN,
			    "there is no database %s beside the key file, so it may be the wrong "
			    "place; --yes does not answer that: name it (-o database_path=...), or "
			    "leave --yes out and answer",
			    db);
	if (orphans > ORPHANS_AT_ONCE)
		return fail(why, ERR_FORBIDDEN,
			    "%zu orphans at once are more than an accident makes: is %s the right "
			    "database? --yes does not answer that: leave it out and answer",
			    orphans, db);
	return 0;
}

static int check_daemon(const struct hunt *h, struct error *why)
{
	char who[40] = "a daemon";
	BUF grace = {0};

	if (!h->books.holder)
		return 0;
	if (h->books.holder > 0)
		snprintf(who, sizeof who, "process %lld", (long long)h->books.holder);
	if (!h->policy->orphan_destroy)
		return fail(why, ERR_BUSY,
			    "%s uses this database, and ORPHAN_ACTION=alert lets it only show "
			    "orphans; stop it (sessions go on) and try again",
			    who);
	put_duration(&grace, h->policy->orphan_grace_us);
	return fail(why, ERR_BUSY,
		    "%s uses this database and destroys orphans by itself, %s after it first saw "
		    "them; wait for that, or stop it (sessions go on) and try again",
		    who, grace.data ? grace.data : "some time");
}

/* One question for all. Whatever is not yes is no. */
static bool confirmed(size_t n)
{
	char line[16] = "";

	fprintf(stderr, "Destroy %s? This cannot be undone. [y/N] ",
		n == 1 ? "this machine" : "these machines");
	fflush(stderr);
	if (!fgets(line, sizeof line, stdin))
		line[0] = '\0';
	line[strcspn(line, "\r\n")] = '\0';
	return !strcasecmp(line, "y") || !strcasecmp(line, "yes");
}

/* ---- the order of things ---- */

static void judge_again(struct machine *m)
{
	bool before = machine_condemned(m);

	machine_judge(m);
	if (!before || machine_condemned(m))
		return;
	m->end = ENDED_SPARED;
	COPY(m->text, "a session owns it by now");
}

/* Under the lock, by the books of this moment. */
static int destroy_locked(struct hunt *h, struct error *why)
{
	int lock = -1, err = store_lock(h->settings->value[SET_DATABASE_PATH], &lock, why);

	if (!err)
		err = read_books(h, true, why);
	for (size_t i = 0; !err && i < h->count; i++)
		judge_again(&h->machines[i]);
	if (!err)
		hunt_destroy(h);
	store_unlock(lock);
	return err;
}

static int destroy(struct hunt *h, struct error *why)
{
	size_t n = condemned(h, false);
	int err = n ? check_daemon(h, why) : 0;

	if (!err && h->options->yes)
		err = check_script(h, why);
	if (err || !n)
		return err;
	if (!h->options->yes && !confirmed(n))
		return fail(why, ERR_CANCELED, "not confirmed: nothing was destroyed");
	return destroy_locked(h, why);
}

static bool put(FILE *to, const struct buf *text)
{
	return !text->failed && (!text->len || fwrite(text->data, text->len, 1, to) == 1) &&
	       fflush(to) == 0;
}

static int exit_status(const struct hunt *h)
{
	bool all_gone = true;

	for (size_t i = 0; i < h->count; i++)
		all_gone = all_gone && (h->machines[i].end == ENDED_NOT_TRIED ||
					h->machines[i].end == ENDED_GONE ||
					h->machines[i].end == ENDED_GONE_BEFORE);
	if (h->refusal[0] || !all_gone)
		return EXIT_REFUSED;
	return lists_complete(h) ? EXIT_DONE : EXIT_INCOMPLETE;
}

/* Everything is listed and judged: show, and do. */
static int conclude(struct hunt *h)
{
	const struct options *o = h->options;
	BUF table = {0}, result = {0};
	struct error why;
	bool shown = true;

	hunt_table(h, &table);
	if (!o->json)
		shown = put(stdout, &table);
	else if (o->destroy && !o->yes) /* whoever answers must see what about */
		shown = put(stderr, &table);
	if (shown && o->destroy && destroy(h, &why) != 0) {
		COPY(h->refusal, why.text);
		fprintf(stderr, "gpufs: %s\n", why.text);
	}
	(o->json ? hunt_json : hunt_outcome)(h, &result);
	shown = put(stdout, &result) && shown;
	for (size_t i = 0; i < h->online.count; i++)
		if (!h->places[i].complete)
			fprintf(stderr,
				"gpufs: %s: there may be more machines than were seen: %s\n",
				h->online.clouds[i].p->name, h->places[i].text);
	return shown ? exit_status(h) : EXIT_REFUSED;
}

static int hunt_run(struct hunt *h, struct error *why)
{
	const struct settings *s = h->settings;
	int err = keys_read(s->value[SET_KEY_PATH], s->value[SET_DEPLOYMENT_ID], h->deployment,
			    h->label_key, why);

	if (!err)
		err = online_new(&h->online, s, h->policy, why);
	else
		return err;
	if (!err && !h->online.count)
		err = fail(why, ERR_NO_KEY,
			   "no cloud is configured, so none can be asked for machines; its key "
			   "configures it (gpufs --help-settings)");
	if (!err) {
		ask_lists(h);
		err = read_books(h, false, why);
	}
	if (!err)
		judge_lists(h);
	return err;
}

int orphans_run(const struct options *o, const struct settings *s, const struct policy *p)
{
	struct hunt h = {.options = o, .settings = s, .policy = p};
	struct error why;
	int status = EXIT_REFUSED;

	if (o->destroy && !o->yes && !isatty(STDIN_FILENO)) {
		fprintf(stderr, "gpufs: --destroy asks on a terminal, and standard input is none; "
				"scripts say --yes\n");
		return EXIT_USAGE;
	}
	if (hunt_run(&h, &why) == 0)
		status = conclude(&h);
	else
		fprintf(stderr, "gpufs: %s\n", why.text);
	if (h.online.world.self)
		online_free(&h.online);
	store_books_free(&h.books);
	free(h.machines);
	explicit_bzero(h.label_key, sizeof h.label_key);
	return status;
}
