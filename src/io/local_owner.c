/*
 * As whom a local session runs: the account of a uid, and whether sshd would let that account log in.
 *
 * sshd says no more than "Permission denied" to a client, so whatever would make it refuse is looked for
 * before anything is made, and told with its reason and its remedy.
 *
 * Owner: any worker (the _r calls only). Must never: keep a line of the shadow file in memory.
 * Tests: tests/unit/test_local_host.c
 */
#include <grp.h>
#include <pwd.h>
#include <shadow.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../core/check.h"
#include "local_parts.h"

#define PASSWD_MAX ((size_t)64 << 10) /* one account's line, with all its texts */

static int owner_check(const struct local_owner *o, struct error *why)
{
	const char *base = strrchr(o->shell, '/');
	struct spwd sp, *got = NULL;
	char text[2048];

	base = base ? base + 1 : o->shell;
	if (strcmp(base, "nologin") == 0 || strcmp(base, "false") == 0)
		return fail(why, ERR_FORBIDDEN,
			    "user %s may not log in on this machine (shell %s), so a local session "
			    "would be of no use. Use another user",
			    o->name, o->shell);
	if (access(o->shell, X_OK) < 0)
		return fail(why, ERR_FORBIDDEN,
			    "the shell of user %s, %s, cannot be run (%s), and sshd refuses users "
			    "without one. Set one with: chsh %s",
			    o->name, o->shell, strerror(errno), o->name);
	/* Only root's sshd can read the shadow file, and without PAM it refuses a locked account. */
	if (o->uid == 0 && getspnam_r(o->name, &sp, text, sizeof(text), &got) == 0 && got &&
	    got->sp_pwdp[0] == '!') {
		explicit_bzero(text, sizeof(text));
		return fail(why, ERR_FORBIDDEN,
			    "the account of %s is locked, so sshd would refuse it. Use an ordinary "
			    "user, or replace the lock by \"no password\": usermod -p '*' %s",
			    o->name, o->name);
	}
	explicit_bzero(text, sizeof(text));
	return 0;
}

int local_owner_find(const struct local_conf *c, int64_t uid, struct local_owner *o,
		     struct error *why)
{
	FREE char *text = malloc(PASSWD_MAX);
	struct passwd pw, *got = NULL;
	int err;

	memset(o, 0, sizeof(*o));
	if (!text)
		return fail(why, ERR_NO_MEMORY, "out of memory while looking up uid %lld",
			    (long long)uid);
	if (uid < 0 || uid >= UINT32_MAX)
		return fail(why, ERR_INVALID, "%lld is not a uid", (long long)uid);
	if (c->uid != 0 && uid != c->uid)
		return fail(
			why, ERR_FORBIDDEN,
			"this gpufs does not run as root, so it can start local sessions only for "
			"its own user (uid %lld), not for uid %lld",
			(long long)c->uid, (long long)uid);
	err = getpwuid_r((uid_t)uid, &pw, text, PASSWD_MAX, &got);
	if (!got)
		return fail(
			why, ERR_FORBIDDEN,
			"uid %lld has no account on this machine (%s), and sshd serves only users "
			"that have one",
			(long long)uid, err ? strerror(err) : "not in passwd");
	o->uid = uid;
	o->gid = pw.pw_gid;
	if (strlen(pw.pw_name) >= sizeof(o->name) || strlen(pw.pw_dir) >= sizeof(o->home) ||
	    strlen(pw.pw_shell) >= sizeof(o->shell))
		return fail(why, ERR_INVALID, "the account of uid %lld has a name that is too long",
			    (long long)uid);
	COPY(o->name, pw.pw_name);
	COPY(o->home, pw.pw_dir[0] ? pw.pw_dir : "/");
	COPY(o->shell, pw.pw_shell[0] ? pw.pw_shell : "/bin/sh");
	o->group_count = (int)ARRAY_LEN(o->groups);
	if (getgrouplist(o->name, pw.pw_gid, o->groups, &o->group_count) < 0)
		o->group_count = (int)ARRAY_LEN(o->groups); /* the first ones are filled in */
	return owner_check(o, why);
}
