/*
 * How to log in to a session, as files: rows_ssh.c. For rows_session.c and rows_root.c only; what
 * history/ shows too is declared in rows.h. Loop thread.
 */
#ifndef GPUFS_FS_ROWS_SSH_H
#define GPUFS_FS_ROWS_SSH_H

#include "tree.h"

int ssh_show_command(const struct ctx *x, struct buf *out);
int ssh_show_key(const struct ctx *x, struct buf *out);
int ssh_show_key_pub(const struct ctx *x, struct buf *out);
int ssh_show_known_hosts(const struct ctx *x, struct buf *out);
int ssh_show_config(const struct ctx *x, struct buf *out);
int ssh_show_env(const struct ctx *x, struct buf *out);

#endif
