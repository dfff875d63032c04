/*
 * What a start finds out before anything is mounted: where, as whom, with which policy, into which
 * log. Also --check, which shows exactly that. Start-up; may block.
 */
#ifndef GPUFS_START_H
#define GPUFS_START_H

#include "http/http.h"
#include "options.h"
#include "settings.h"

struct start {
	char *mountpoint; /* resolved; owned; NULL with --check without one */
	bool user_mount;
	int64_t owner_uid, owner_gid; /* of the root's files */
	struct policy policy;	      /* names resolved; deployment and label_key not yet */
	int log_fd;		      /* -1 until start_log */
};
/* Settings to numbers and names; nothing is touched on disk. */
int start_resolve(struct start *st, const struct options *o, struct settings *s, struct error *why);
void start_free(struct start *st);
/* Open the log (stderr with -f, else gpufs.log beside the database) and make its directory. */
int start_log(struct start *st, const struct options *o, const struct settings *s,
	      struct error *why);
void start_log_apply(const struct start *st, const struct settings *s); /* level, format */
/* What would make a start fail and can be seen beforehand, in this order: the claim on the mount point
 * lies between the two, since a predecessor that is just dying still holds the database too. */
int start_check_mountpoint(const struct start *st, const struct options *o, struct error *why);
int start_check_database(const struct settings *s, struct error *why);
/* ACCESS_AUTO, once it is known whether every provider is free of charge. */
enum sessions_access start_access(enum sessions_access wanted, bool all_free);
/* The HTTP door's settings; port 0: it is switched off. Texts are the settings' own. */
void start_http(const struct settings *s, struct http_options *out);
/* One row of --check: what was found, in lines. */
struct finding {
	bool good;
	struct buf text;
};
/* The row's lines, or a member of a JSON object. needed: a start fails without it. */
void start_finding(struct buf *out, const char *name, bool needed, const struct finding *f,
		   bool json);
/* --check: prints into `out`; returns 0 if a start would work, else 1. */
int start_report(const struct start *st, const struct options *o, const struct settings *s,
		 struct buf *out);

#endif
