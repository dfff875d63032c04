/*
 * Names of users and groups without ever waiting for them on the loop: the answer is what is known
 * now, and a worker finds out the rest (tree.md, last line). Loop thread, except where a comment
 * says start.
 */
#ifndef GPUFS_NAMES_H
#define GPUFS_NAMES_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "core/error.h"

struct names;

/* Reads /etc/passwd and watches it for new users. Start: may block. */
struct names *names_new(uv_loop_t *loop);
/* Name of a uid; its number as text until a worker knows better. Lives as long as `n`. */
const char *names_user(struct names *n, int64_t uid);
/* uid 0, the admin group as primary group, or a member of it when it was last looked up. */
bool names_is_admin(const struct names *n, int64_t uid, int64_t gid);
/* In a user mount its user is the administrator of it. */
void names_set_owner(struct names *n, int64_t uid);
/* Look up ADMIN_GROUP and its members; "none" = there is none. Start: may block. */
int names_admin_resolve(struct names *n, const char *group, int64_t *gid, struct error *why);
/* The same on a worker, at SIGHUP; a group that cannot be found leaves everything as it is. */
void names_admin_refresh(struct names *n);
void names_close(struct names *n); /* stop watching; free after the loop has ended */
void names_free(struct names *n);

/* One name, now. Start: may block. -EINVAL with a sentence that begins with `where`. */
int names_find_user(const char *name, const char *where, int64_t *uid, struct error *why);
int names_find_group(const char *name, const char *where, int64_t *gid, struct error *why);

#endif
