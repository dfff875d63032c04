/*
 * Names of users and groups. getpwuid(3) may ask a directory service across the network, so it
 * never runs on the loop: an unknown uid is shown as its number and a worker resolves it. To be
 * wrong rarely, the local accounts are read from /etc/passwd at start, and again (by a worker)
 * whenever that file is replaced, which is how useradd makes a user.
 *
 * Everything here is bounded: uids come from whoever knocks. Loop thread; a job owns its data while
 * it is with a worker. Tests: tests/mount.
 */
#include "names.h"

#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "core/text.h"

#define USERS_MAX   65536 /* more uids than that are shown as numbers */
#define SLOTS	    (2 * USERS_MAX)
#define MEMBERS_MAX 4096
#define LOCAL_MAX   20000 /* lines of /etc/passwd */
#define NSS_BYTES   ((size_t)1 << 20)

struct user {
	int64_t uid;
	bool asked;	/* a worker has answered, or is about to */
	char *names[2]; /* [0] the number, [1] the name or NULL; both stay for life, since
			   callers keep pointers to them */
};

/* What a worker finds. */
struct found {
	int64_t uid;
	char name[64];
};
struct job {
	uv_work_t req;
	struct names *n;
	enum { JOB_USER, JOB_LOCAL, JOB_GROUP } what;
	int64_t uid;
	char group[64];
	struct found *found;
	size_t count;
	int64_t gid; /* JOB_GROUP: UNKNOWN if there is none */
};

struct names {
	uv_loop_t *loop;
	uv_fs_event_t watch;
	bool watching;
	struct user **slots; /* open addressing by uid */
	size_t users;
	bool local_queued, local_again;
	int64_t owner_uid, admin_gid;
	char admin_group[64];
	int64_t *members;
	size_t member_count;
};

static void *keep(void *p)
{
	CHECK(p != NULL);
	return p;
}

/* ---- the cache ---- */

static struct user **slot_of(struct names *n, int64_t uid)
{
	size_t i = (size_t)(hash64(&uid, sizeof(uid), 0) % SLOTS);

	while (n->slots[i] && n->slots[i]->uid != uid)
		i = (i + 1) % SLOTS; /* half of the slots stay empty, so this ends */
	return &n->slots[i];
}

static struct user *user_get(struct names *n, int64_t uid)
{
	struct user **slot = slot_of(n, uid);
	char number[24];

	if (*slot || n->users == USERS_MAX)
		return *slot;
	struct user *u = calloc(1, sizeof(*u));
	if (!u)
		return NULL;
	snprintf(number, sizeof(number), "%lld", (long long)uid);
	u->uid = uid;
	u->names[0] = strdup(number);
	if (!u->names[0]) {
		free(u);
		return NULL;
	}
	n->users++;
	return *slot = u;
}

static void user_learn(struct names *n, int64_t uid, const char *name)
{
	struct user *u = user_get(n, uid);

	if (!u)
		return;
	u->asked = true;
	/* The first account of a uid counts, as for getpwuid(3). A renamed user keeps the name
	 * under which the daemon met it until the next start: callers hold pointers to it. */
	if (!u->names[1] && *name)
		u->names[1] = strdup(name);
}

/* ---- what workers do ---- */

/* The name goes into tables and the books: only what cannot forge a column or a line. */
static bool name_good(const char *s)
{
	if (!*s || strlen(s) > 63)
		return false;
	for (; *s; s++)
		if ((unsigned char)*s <= 0x20 || *s == 0x7f || *s == ':')
			return false;
	return true;
}

static void found_add(struct job *j, size_t max, int64_t uid, const char *name)
{
	if (j->count >= max)
		return;
	if ((j->count & (j->count + 1)) == 0 || !j->found) { /* grow at 0, 1, 3, 7, ... */
		struct found *more = realloc(j->found, (2 * j->count + 2) * sizeof(*more));
		if (!more)
			return;
		j->found = more;
	}
	j->found[j->count].uid = uid;
	COPY(j->found[j->count].name, name);
	j->count++;
}

static void find_local(struct job *j)
{
	FILE *f = fopen("/etc/passwd", "re");
	struct passwd *pw;

	/* fgetpwent(3) keeps a static buffer; only one such job exists at a time (local_queued) */
	while (f && j->count < LOCAL_MAX && (pw = fgetpwent(f)))
		if (name_good(pw->pw_name))
			found_add(j, LOCAL_MAX, pw->pw_uid, pw->pw_name);
	if (f)
		fclose(f);
}

static void find_user(struct job *j)
{
	struct passwd pw, *res = NULL;
	FREE char *mem = malloc(NSS_BYTES);

	if (mem && getpwuid_r((uid_t)j->uid, &pw, mem, NSS_BYTES, &res) == 0 && res &&
	    name_good(res->pw_name))
		found_add(j, 1, j->uid, res->pw_name);
}

static void find_group(struct job *j)
{
	struct group gr, *res = NULL;
	struct passwd pw, *user = NULL;
	FREE char *mem = malloc(NSS_BYTES), *user_mem = malloc(NSS_BYTES);

	j->gid = UNKNOWN;
	if (!mem || !user_mem || getgrnam_r(j->group, &gr, mem, NSS_BYTES, &res) != 0 || !res)
		return;
	j->gid = gr.gr_gid;
	for (char **m = gr.gr_mem; m && *m && j->count < MEMBERS_MAX; m++)
		if (getpwnam_r(*m, &pw, user_mem, NSS_BYTES, &user) == 0 && user)
			found_add(j, MEMBERS_MAX, user->pw_uid, name_good(*m) ? *m : "");
}

static void job_work(uv_work_t *req)
{
	struct job *j = container_of(req, struct job, req);

	switch (j->what) {
	case JOB_USER:
		find_user(j);
		break;
	case JOB_LOCAL:
		find_local(j);
		break;
	case JOB_GROUP:
		find_group(j);
		break;
	}
}

/* ---- what comes back ---- */

static bool job_queue(struct names *n, const struct job *what);

static void take_members(struct names *n, const struct job *j)
{
	int64_t *members = calloc(j->count + 1, sizeof(*members));

	if (!members || j->gid == UNKNOWN) { /* the old list is better than none */
		free(members);
		return;
	}
	for (size_t i = 0; i < j->count; i++)
		members[i] = j->found[i].uid;
	free(n->members);
	n->members = members;
	n->member_count = j->count;
}

static void job_finish(struct job *j)
{
	struct names *n = j->n;

	for (size_t i = 0; i < j->count; i++)
		user_learn(n, j->found[i].uid, j->found[i].name);
	switch (j->what) {
	case JOB_USER:
		break;
	case JOB_LOCAL:
		n->local_queued = n->local_again && job_queue(n, &(struct job){.what = JOB_LOCAL});
		n->local_again = false;
		break;
	case JOB_GROUP:
		take_members(n, j);
		break;
	}
	free(j->found);
	j->found = NULL;
}

static void job_done(uv_work_t *req, int status)
{
	struct job *j = container_of(req, struct job, req);

	(void)status; /* a cancelled job found nothing, which is an answer */
	job_finish(j);
	free(j);
}

static bool job_queue(struct names *n, const struct job *what)
{
	struct job *j = malloc(sizeof(*j));

	if (!j)
		return false;
	*j = *what;
	j->n = n;
	if (uv_queue_work(n->loop, &j->req, job_work, job_done) != 0) {
		free(j);
		return false;
	}
	return true;
}

static void passwd_changed(uv_fs_event_t *w, const char *file, int events, int status)
{
	struct names *n = w->data;

	(void)events;
	if (status < 0 || !file || strcmp(file, "passwd") != 0)
		return;
	if (n->local_queued) { /* it may have read the old file already */
		n->local_again = true;
		return;
	}
	n->local_queued = job_queue(n, &(struct job){.what = JOB_LOCAL});
}

/* ---- the door ---- */

struct names *names_new(uv_loop_t *loop)
{
	struct names *n = keep(calloc(1, sizeof(*n)));
	struct job local = {.n = n, .what = JOB_LOCAL};

	n->loop = loop;
	n->slots = keep(calloc(SLOTS, sizeof(*n->slots)));
	n->owner_uid = n->admin_gid = UNKNOWN;
	n->watch.data = n;
	/* the directory, since the file is replaced, not written */
	n->watching = uv_fs_event_init(loop, &n->watch) == 0;
	if (n->watching) {
		(void)uv_fs_event_start(&n->watch, passwd_changed, "/etc", 0);
		uv_unref((uv_handle_t *)&n->watch);
	}
	find_local(&local);
	job_finish(&local);
	return n;
}

const char *names_user(struct names *n, int64_t uid)
{
	struct user *u = user_get(n, uid);

	if (!u)
		return "";
	if (!u->asked)
		u->asked = job_queue(n, &(struct job){.what = JOB_USER, .uid = uid});
	return u->names[u->names[1] != NULL];
}

bool names_is_admin(const struct names *n, int64_t uid, int64_t gid)
{
	if (uid == 0 || (n->owner_uid != UNKNOWN && uid == n->owner_uid))
		return true;
	if (n->admin_gid != UNKNOWN && gid == n->admin_gid)
		return true;
	for (size_t i = 0; i < n->member_count; i++)
		if (n->members[i] == uid)
			return true;
	return false;
}

void names_set_owner(struct names *n, int64_t uid)
{
	n->owner_uid = uid;
}

int names_admin_resolve(struct names *n, const char *group, int64_t *gid, struct error *why)
{
	struct job j = {.n = n, .what = JOB_GROUP};

	*gid = UNKNOWN;
	if (!strcmp(group, "none"))
		return 0;
	COPY(j.group, group);
	find_group(&j);
	n->admin_gid = *gid = j.gid;
	job_finish(&j);
	if (*gid == UNKNOWN)
		return fail(
			why, ERR_INVALID,
			"ADMIN_GROUP = %s: there is no such group; make it with groupadd, or take "
			"another one",
			group);
	COPY(n->admin_group, group);
	return 0;
}

void names_admin_refresh(struct names *n)
{
	struct job j = {.what = JOB_GROUP};

	if (!n->admin_group[0])
		return;
	COPY(j.group, n->admin_group);
	(void)job_queue(n, &j);
}

void names_close(struct names *n)
{
	if (n->watching && !uv_is_closing((uv_handle_t *)&n->watch))
		uv_close((uv_handle_t *)&n->watch, NULL);
	n->watching = false;
}

void names_free(struct names *n)
{
	for (size_t i = 0; n && i < SLOTS; i++) {
		if (!n->slots[i])
			continue;
		free(n->slots[i]->names[0]);
		free(n->slots[i]->names[1]);
		free(n->slots[i]);
	}
	if (!n)
		return;
	free(n->slots);
	free(n->members);
	free(n);
}

int names_find_user(const char *name, const char *where, int64_t *uid, struct error *why)
{
	const struct passwd *pw = getpwnam(name);

	if (!pw)
		return fail(why, ERR_INVALID, "%s: there is no user called '%s'", where, name);
	*uid = pw->pw_uid;
	return 0;
}

int names_find_group(const char *name, const char *where, int64_t *gid, struct error *why)
{
	const struct group *gr = getgrnam(name);

	if (!gr)
		return fail(why, ERR_INVALID, "%s: there is no group called '%s'", where, name);
	*gid = gr->gr_gid;
	return 0;
}
