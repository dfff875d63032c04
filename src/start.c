/*
 * Before anything is mounted: whom this mount is for, which names stand behind the settings, where
 * the log goes, and everything that would make a start fail and can be seen beforehand, so that a
 * bad setting is a sentence on the terminal and never a mount that comes and goes.
 *
 * The command's thread; may block (getpwnam, disk). Tests: tests/unit/test_settings.c, tests/mount.
 */
#include "start.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/check.h"
#include "core/text.h"
#include "io/io.h"
#include "mountpoint.h"
#include "names.h"

#define WHERE_MAX 160

/* The user who typed the command: through sudo it is the one who typed sudo. */
static int64_t starter_uid(void)
{
	const char *sudo = getenv("SUDO_UID");
	int64_t uid;

	if (geteuid() == 0 && sudo && parse_int(str_of(sudo), 0, UINT32_MAX - 1, &uid, NULL) == 0)
		return uid;
	return (int64_t)geteuid();
}

static int resolve_user_mount(struct start *st, const char *access, int64_t uid, const char *origin,
			      struct error *why)
{
	struct policy *p = &st->policy;

	if (p->access == ACCESS_ALL || p->access == ACCESS_GROUP ||
	    (p->access == ACCESS_OWNER && uid != (int64_t)geteuid()))
		return fail(why, ERR_INVALID,
			    "%s = %s: a mount that an ordinary user makes is for that "
			    "user alone; leave it out, or start gpufs as root",
			    origin, access);
	p->access = ACCESS_OWNER;
	p->access_uid = (int64_t)geteuid();
	return 0;
}

/* Where a name was written, as the other refusals of settings say it: "FILE:LINE: KEY". */
static void put_where(char where[WHERE_MAX], const struct settings *s, int key)
{
	snprintf(where, WHERE_MAX, "%.100s: %s", s->origin[key], settings_table[key].name);
}

/* "gpufs.conf:3: ADMIN_GROUP", where a name that is not known was written. */
static void place_of(const struct settings *s, enum setting_key key, char out[256])
{
	snprintf(out, 256, "%.180s: %s", s->origin[key], settings_table[key].name);
}

static int resolve_access(struct start *st, const struct settings *s, struct error *why)
{
	struct policy *p = &st->policy;
	const char *text = s->value[SET_SESSIONS_ACCESS], *name = strchr(text, ':');
	char where[256];
	int err = 0;

	place_of(s, SET_SESSIONS_ACCESS, where);
	p->access_uid = starter_uid();
	if (name && p->access == ACCESS_OWNER)
		err = names_find_user(name + 1, where, &p->access_uid, why);
	if (name && p->access == ACCESS_GROUP)
		err = names_find_group(name + 1, where, &p->access_gid, why);
	if (!err && st->user_mount)
		err = resolve_user_mount(st, text, p->access_uid, where, why);
	return err;
}

int start_resolve(struct start *st, const struct options *o, struct settings *s, struct error *why)
{
	const char *group = s->value[SET_ADMIN_GROUP];
	char where[WHERE_MAX];

	*st = (struct start){.log_fd = -1, .user_mount = geteuid() != 0};
	st->owner_uid = st->user_mount ? (int64_t)geteuid() : 0;
	st->owner_gid = st->user_mount ? (int64_t)getegid() : 0;
	int err = settings_policy(s, &st->policy, why);
	if (!err)
		err = resolve_access(st, s, why);
	put_where(where, s, SET_ADMIN_GROUP);
	if (!err && strcmp(group, "none") != 0)
		err = names_find_group(group, where, &st->policy.admin_gid, why);
	if (!err && o->mountpoint)
		err = mountpoint_resolve(o->mountpoint, &st->mountpoint, why);
	if (err) {
		start_free(st);
		return err;
	}
	if (st->mountpoint && !s->value[SET_PUBLIC_MOUNT][0]) {
		free(s->value[SET_PUBLIC_MOUNT]);
		s->value[SET_PUBLIC_MOUNT] = strdup(st->mountpoint);
		CHECK(s->value[SET_PUBLIC_MOUNT] != NULL);
	}
	COPY(st->policy.public_mount, s->value[SET_PUBLIC_MOUNT]);
	return 0;
}

void start_free(struct start *st)
{
	free(st->mountpoint);
	st->mountpoint = NULL;
	if (st->log_fd > STDERR_FILENO)
		close(st->log_fd);
	st->log_fd = -1;
}

enum sessions_access start_access(enum sessions_access wanted, bool all_free)
{
	if (wanted != ACCESS_AUTO)
		return wanted;
	/* Letting every account of a machine spend money must be said (settings.md). */
	return all_free ? ACCESS_ALL : ACCESS_OWNER;
}

/* ---- the log ---- */

static int log_word(const char *value, const char *const *words, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!strcmp(value, words[i]))
			return (int)i;
	return 0;
}

void start_log_apply(const struct start *st, const struct settings *s)
{
	static const char *const levels[] = {"debug", "info", "warn", "error"};
	const char *format = s->value[SET_LOG_FORMAT];
	bool text = !strcmp(format, "text") || (!strcmp(format, "auto") && isatty(st->log_fd));

	log_open(st->log_fd,
		 (enum log_level)log_word(s->value[SET_LOG_LEVEL], levels, ARRAY_LEN(levels)),
		 text ? LOG_TEXT : LOG_JSON);
}

/* Directories above `path`. 0711, as the store makes them: owners of sessions on this machine must
 * pass through to their own files. */
static void make_parents(char *path)
{
	for (char *p = path + 1; (p = strchr(p, '/')); p++) {
		*p = '\0';
		(void)mkdir(path, 0711);
		*p = '/';
	}
}

int start_log(struct start *st, const struct options *o, const struct settings *s,
	      struct error *why)
{
	BUF path = {.max = 4200};
	const char *db = s->value[SET_DATABASE_PATH];

	st->log_fd = STDERR_FILENO;
	if (!o->foreground) {
		buf_printf(&path, "%.*s/gpufs.log", (int)(strrchr(db, '/') - db), db);
		CHECK(path.data != NULL);
		make_parents(path.data);
		st->log_fd = open(path.data, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW,
				  0600);
		if (st->log_fd < 0)
			return fail(why, ERR_INVALID,
				    "%.250s: the log cannot be written: %s; set database_path to a "
				    "place "
				    "that can, or start with -f",
				    path.data, strerror(errno));
	}
	start_log_apply(st, s);
	return 0;
}

/* ---- what can be seen beforehand ---- */

int start_check_mountpoint(const struct start *st, const struct options *o, struct error *why)
{
	struct mountpoint_view v;

	mountpoint_look(st->mountpoint, o->nonempty, &v);
	switch (v.state) {
	case MP_EMPTY:
	case MP_MISSING:
	case MP_DEAD:
		return 0;
	case MP_NOT_EMPTY:
	case MP_OTHER:
	case MP_LIVE:
	case MP_NO_ANSWER:
		return fail(why, ERR_BUSY, "%s", v.text);
	case MP_BAD:
		return fail(why, ERR_INVALID, "%s", v.text);
	}
	return 0;
}

int start_check_database(const struct settings *s, struct error *why)
{
	BUF found = {0};

	return store_probe(s->value[SET_DATABASE_PATH], &found, why);
}
