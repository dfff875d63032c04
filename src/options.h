/*
 * The command line, as mount(8) and people write it. Parsing only: nothing here touches a disk.
 * main.c is the one reader. Tests: tests/unit/test_settings.c.
 */
#ifndef GPUFS_OPTIONS_H
#define GPUFS_OPTIONS_H

#include "core/buf.h"
#include "core/error.h"

#define OPTIONS_SETTINGS_MAX 128

struct options {
	char *mountpoint; /* owned; as written; NULL if none was given */
	char *config;	  /* owned; --config FILE or NULL */
	char *print;	  /* owned; --print=WHAT or NULL */
	bool foreground, check, json, help, help_settings, version, destroy_on_exit;
	bool online;		    /* of --check */
	bool orphans, destroy, yes; /* the last two are of --orphans */
	bool nonempty, read_only, noexec;
	char *settings[OPTIONS_SETTINGS_MAX + 1]; /* owned; NULL-ended key=value of -o */
	size_t settings_count;
};

/* 0, or a negative errno with the sentence. Free with options_free in both cases. */
int options_parse(int argc, char *const *argv, struct options *o, struct error *why);
void options_free(struct options *o);
void options_help(struct buf *out); /* --help */

#endif
