/*
 * The command line. gpufs is called in three ways: by people (`gpufs /gpu`), by scripts with flags,
 * and by mount(8), which runs `gpufs SOURCE MOUNTPOINT -o rw,nosuid,dev,...`. So two positionals
 * and the standard words of mount(8) are accepted; a key=value in -o is a setting; anything else is
 * an error, because a word that is accepted without an effect would lie (tree.md, rule 13).
 *
 * The standard words that change nothing here are in one table below with the reason why not.
 * Start-up thread. Tests: tests/unit/test_settings.c.
 */
#include "options.h"

#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "core/text.h"
#include "settings.h"

/* Words of mount(8) and mount.fuse3 that are accepted and need nothing from us: either they are
 * true anyway (nosuid and nodev always hold), or they are for mount(8) and fstab alone. */
static const char *const mount_words[] = {
	"rw",	    "nosuid",	  "suid",     "nodev",	    "dev",	   "exec",
	"auto",	    "noauto",	  "user",     "users",	    "nouser",	   "owner",
	"group",    "nofail",	  "_netdev",  "defaults",   "async",	   "sync",
	"atime",    "noatime",	  "relatime", "norelatime", "strictatime", "nostrictatime",
	"diratime", "nodiratime", "lazytime", "nolazytime", "allow_other", "default_permissions",
};

struct flag {
	const char *name;
	size_t offset;
};
#define FLAG(name, field)                             \
	{                                             \
		name, offsetof(struct options, field) \
	}
static const struct flag flags[] = {
	FLAG("-f", foreground),
	FLAG("--foreground", foreground),
	FLAG("--check", check),
	FLAG("--online", online),
	FLAG("--orphans", orphans),
	FLAG("--destroy", destroy),
	FLAG("--yes", yes),
	FLAG("--json", json),
	FLAG("-h", help),
	FLAG("--help", help),
	FLAG("--version", version),
	FLAG("-V", version),
	FLAG("--help-settings", help_settings),
	FLAG("--on-exit=destroy", destroy_on_exit),
};

static void *keep(void *p)
{
	CHECK(p != NULL); /* start-up: out of memory stops (style.md) */
	return p;
}

static int take_text(char **slot, const char *text, const char *flag, struct error *why)
{
	if (!text || !*text)
		return fail(why, ERR_INVALID, "%s needs a value; see gpufs --help", flag);
	free(*slot);
	*slot = keep(strdup(text));
	return 0;
}

/* One word between the commas of -o. */
static int take_mount_word(struct options *o, const char *word, struct error *why)
{
	const char *eq = strchr(word, '=');

	if (!strncmp(word, "x-", 2) || !strncmp(word, "X-", 2) || !strncmp(word, "comment=", 8))
		return 0; /* for systemd and for people, by mount(8)'s own rule */
	if (!strncmp(word, "fsname=", 7) || !strncmp(word, "subtype=", 8))
		return 0; /* always gpufs: start-up finds its dead mounts by that name */
	for (size_t i = 0; i < ARRAY_LEN(mount_words); i++)
		if (!strcmp(word, mount_words[i]))
			return 0;
	if (!strcmp(word, "ro"))
		return o->read_only = true, 0;
	if (!strcmp(word, "noexec"))
		return o->noexec = true, 0;
	if (!strcmp(word, "nonempty"))
		return o->nonempty = true, 0;
	if (!eq)
		return fail(why, ERR_INVALID,
			    "-o %.60s: neither a mount option nor a setting; settings are written "
			    "key=value (see gpufs --help-settings)",
			    word);
	if (o->settings_count == OPTIONS_SETTINGS_MAX)
		return fail(why, ERR_INVALID, "-o: more than %d settings; use a file and --config",
			    OPTIONS_SETTINGS_MAX);
	o->settings[o->settings_count++] = keep(strdup(word)); /* settings_read judges the key */
	return 0;
}

/* mount(8) escapes a comma inside a value as "\,"; a backslash otherwise stands for itself. */
static int take_mount_options(struct options *o, const char *list, struct error *why)
{
	size_t n = strlen(list), len = 0;
	FREE char *word = keep(malloc(n + 1));

	for (size_t i = 0; i <= n; i++) {
		if (list[i] == '\\' && list[i + 1] == ',') {
			word[len++] = ',';
			i++;
			continue;
		}
		if (i < n && list[i] != ',') {
			word[len++] = list[i];
			continue;
		}
		word[len] = '\0';
		int err = len ? take_mount_word(o, word, why) : 0;
		if (err)
			return err;
		len = 0;
	}
	return 0;
}

static bool take_flag(struct options *o, const char *arg)
{
	for (size_t i = 0; i < ARRAY_LEN(flags); i++)
		if (!strcmp(arg, flags[i].name))
			return *(bool *)((char *)o + flags[i].offset) = true;
	return false;
}

/* A flag with a value, as "--flag VALUE" or "--flag=VALUE". Returns the value, NULL if it is not
 * this flag, "" if the value is missing; moves *i over what it used. */
static const char *flag_value(const char *flag, int argc, char *const *argv, int *i)
{
	size_t n = strlen(flag);
	const char *arg = argv[*i];

	if (!arg || strncmp(arg, flag, n) != 0)
		return NULL;
	if (arg[n] == '=' && flag[1] == '-')
		return arg + n + 1;
	if (arg[n] != '\0')
		return flag[1] == '-' ? NULL : arg + n; /* -oLIST */
	return *i + 1 < argc ? argv[++*i] : "";
}

static int take_argument(struct options *o, int argc, char *const *argv, int *i, struct error *why)
{
	const char *arg = argv[*i], *v;

	if (take_flag(o, arg))
		return 0;
	if ((v = flag_value("-o", argc, argv, i)))
		return *v ? take_mount_options(o, v, why)
			  : fail(why, ERR_INVALID, "-o needs a value; see gpufs --help");
	if ((v = flag_value("--config", argc, argv, i)))
		return take_text(&o->config, v, "--config", why);
	if ((v = flag_value("--print", argc, argv, i)))
		return take_text(&o->print, v, "--print", why);
	if (!strncmp(arg, "--on-exit", 9))
		return fail(why, ERR_INVALID,
			    "%.60s: the only choice is --on-exit=destroy; without it sessions keep "
			    "running when gpufs stops",
			    arg);
	return fail(why, ERR_INVALID, "%.60s: gpufs has no such option; see gpufs --help", arg);
}

/* A word without an effect would lie. */
static int check_together(const struct options *o, size_t words, struct error *why)
{
	if (o->check && o->orphans)
		return fail(why, ERR_INVALID, "--check and --orphans are two commands");
	if (o->json && !o->check && !o->orphans)
		return fail(why, ERR_INVALID, "--json goes with --check or --orphans only");
	if (o->online && !o->check)
		return fail(why, ERR_INVALID, "--online goes with --check only");
	if (o->destroy && !o->orphans)
		return fail(why, ERR_INVALID, "--destroy goes with --orphans only");
	if (o->yes && !o->destroy)
		return fail(why, ERR_INVALID, "--yes goes with --orphans --destroy only");
	if (o->orphans && words)
		return fail(why, ERR_INVALID, "--orphans asks the clouds and takes no mount point");
	return 0;
}

int options_parse(int argc, char *const *argv, struct options *o, struct error *why)
{
	const char *words[2] = {NULL, NULL};
	size_t count = 0;
	bool only_words = false;

	*o = (struct options){0};
	for (int i = 1; i < argc; i++) {
		const char *arg = argv[i];

		if (!only_words && !strcmp(arg, "--")) {
			only_words = true;
		} else if (!only_words && arg[0] == '-' && arg[1] != '\0') {
			int err = take_argument(o, argc, argv, &i, why);
			if (err)
				return err;
		} else if (count == ARRAY_LEN(words)) {
			return fail(why, ERR_INVALID,
				    "%.60s: one word too many; write gpufs MOUNTPOINT [-o OPTIONS]",
				    arg);
		} else {
			words[count++] = arg;
		}
	}
	int err = check_together(o, count, why);
	if (err)
		return err;
	if (count) { /* of two, the first is mount(8)'s SOURCE, which means nothing here */
		o->mountpoint = keep(strdup(words[count - 1]));
		return 0;
	}
	if (o->help || o->help_settings || o->version || o->print || o->check || o->orphans)
		return 0;
	return fail(why, ERR_INVALID,
		    "where should it be mounted? Write gpufs MOUNTPOINT, for "
		    "example: gpufs /gpu");
}

void options_free(struct options *o)
{
	free(o->mountpoint);
	free(o->config);
	free(o->print);
	for (size_t i = 0; i < o->settings_count; i++) {
		explicit_bzero(o->settings[i], strlen(o->settings[i])); /* may be a secret */
		free(o->settings[i]);
	}
	*o = (struct options){0};
}

void options_help(struct buf *out)
{
	buf_puts(
		out,
		"gpufs shows GPUs for rent as directories: make a directory to get a machine.\n"
		"\n"
		"  gpufs MOUNTPOINT            mount there and go to the background\n"
		"  gpufs MOUNTPOINT -f         stay in front; Ctrl-C unmounts\n"
		"  umount MOUNTPOINT           stop; sessions keep running\n"
		"\n"
		"Options\n"
		"  -o KEY=VALUE[,...]          a setting, for example -o hard_max_hours=6\n"
		"  -o ro, noexec, nonempty     read only; no programs; cover what is there\n"
		"  --config FILE               read settings from FILE\n"
		"  --on-exit=destroy           stopping also destroys every session\n"
		"  --check [--online] [--json] show all settings and what a start would find;\n"
		"                              --online asks the clouds: key, credit, offers\n"
		"  --orphans [--json]          machines at clouds with our mark that no session\n"
		"                              in the database owns; only shows them\n"
		"  --orphans --destroy [--yes] end them: asks first, or with --yes does not ask.\n"
		"                              Not while a daemon runs, which does it by itself\n"
		"  --help-settings             what can be set\n"
		"  --print=README              the guide that is also in MOUNTPOINT/README; or\n"
		"                              man, schema.json, openapi, gpufs.conf(.5)\n"
		"  --version, --help           as their names say\n"
		"\n"
		"In fstab: none MOUNTPOINT fuse.gpufs defaults 0 0\n"
		"An ordinary user may mount too (gpufs ~/gpu); that mount is for that user alone.\n"
		"\n"
		"Exit status: 0 it is mounted (with -f: it was stopped cleanly); 1 it could not\n"
		"start, or had to give up; 2 the command line or a setting is wrong. --check: 1 a\n"
		"start would fail. --orphans: 1 refused, or not everything is proven gone; 3 a\n"
		"cloud's list was not complete, so there may be more.\n");
}
