/*
 * The command: reads the command line and the settings, answers the questions that need no mount,
 * and otherwise starts the holder, in front (-f) or in the background. In the background it returns
 * when the mount has answered, or with the sentence of why it does not.
 *
 * Exit status: 0 mounted (with -f: stopped cleanly); 1 could not start, or had to give up; 2 the
 * command line or a setting is wrong. --check and --orphans: see --help.
 *
 * One thread; the loop belongs to daemon.c, which runs in a child. Tests: tests/mount.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../fs/mount.h"
#include "core/check.h"
#include "daemon.h"
#include "holder.h"
#include "http/http.h"
#include "online.h"

#define STOP_LIMIT_MS	      10000 /* fuse.md 5.7: the daemon stops in seconds */
#define STOP_DESTROY_LIMIT_MS 75000 /* --on-exit=destroy may take 60 s before that */

static int say_and_exit(int status, const struct error *why)
{
	fprintf(stderr, "gpufs: %s\n", why->text);
	return status;
}

static int show(const struct buf *text)
{
	bool good = !text->failed && (!text->len || fwrite(text->data, text->len, 1, stdout) == 1);

	return good && fflush(stdout) == 0 ? 0 : 1;
}

/* --print=WHAT; -ENOENT if there is no such text. */
static int print_text(const char *what, struct buf *out)
{
	if (!strcmp(what, "gpufs.conf"))
		return settings_example(out), 0;
	if (!strcmp(what, "gpufs.conf.5"))
		return settings_man(out), 0;
	if (!strcmp(what, "openapi"))
		return http_openapi(out), 0;
	return mount_print(what, out) == 0 ? 0 : -ENOENT;
}

/* Questions that need no settings. -1: it was none of them. */
static int answer(const struct options *o)
{
	BUF out = {0};

	if (o->help)
		options_help(&out);
	else if (o->help_settings)
		settings_help(&out);
	else if (o->version)
		buf_puts(&out, "gpufs " GPUFS_VERSION "\n");
	else if (!o->print)
		return -1;
	else if (print_text(o->print, &out) != 0) {
		fprintf(stderr,
			"gpufs: --print=%s: choose README, schema.json, man, gpufs.conf, "
			"gpufs.conf.5 "
			"or openapi\n",
			o->print);
		return 2;
	}
	return show(&out);
}

/* A directory to mount on, without anything dead on it. */
static int prepare_mountpoint(const struct start *st, struct error *why)
{
	int err = mountpoint_clear(st->mountpoint, why);

	if (!err && mkdir(st->mountpoint, 0755) != 0 && errno != EEXIST)
		return fail(why, ERR_INVALID, "%s: cannot be made: %s", st->mountpoint,
			    strerror(errno));
	return err;
}

/* In the background nothing may keep the terminal. */
static void leave_terminal(const struct start *st)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null >= 0)
		dup2(null, STDIN_FILENO);
	dup2(st->log_fd, STDOUT_FILENO);
	dup2(st->log_fd, STDERR_FILENO);
	if (null > STDERR_FILENO)
		close(null);
}

static int run_in_background(struct holder_args *h, const struct start *st)
{
	int outcome[2];
	BUF sentence = {.max = 1024};

	if (pipe2(outcome, O_CLOEXEC) != 0)
		return say_and_exit(1, &(struct error){.text = "too many files are open"});
	fflush(NULL);
	pid_t pid = fork();
	if (pid < 0)
		return say_and_exit(1, &(struct error){.text = "no process can be started"});
	if (pid == 0) {
		close(outcome[0]);
		h->caller_fd = outcome[1];
		setsid();
		leave_terminal(st);
		exit(holder_run(h));
	}
	close(outcome[1]);
	if (holder_outcome(outcome[0], &sentence) == 0)
		return 0;
	fprintf(stderr, "gpufs: %s\n", sentence.data ? sentence.data : "it did not start");
	return 1;
}

static int mount_it(const struct options *o, struct settings *s, struct start *st)
{
	struct error why = {0};
	struct daemon_args d = {.options = o, .settings = s, .start = st, .claim_fd = -1};
	struct holder_args h = {
		.mountpoint = st->mountpoint,
		.how = {o->read_only, o->noexec, o->nonempty},
		.claim_fd = -1,
		.caller_fd = -1,
		.stop_limit_ms = o->destroy_on_exit ? STOP_DESTROY_LIMIT_MS : STOP_LIMIT_MS,
		.daemon = daemon_run,
		.arg = &d,
	};

	int err = start_check_mountpoint(st, o, &why);
	if (!err)
		err = mountpoint_claim(st->mountpoint, &h.claim_fd, &why);
	if (err)
		return say_and_exit(1, &why);
	d.claim_fd = h.claim_fd;
	err = start_check_database(s, &why);
	if (!err)
		err = prepare_mountpoint(st, &why);
	if (!err)
		err = start_log(st, o, s, &why);
	if (err) {
		mountpoint_unclaim(h.claim_fd, st->mountpoint);
		return say_and_exit(1, &why);
	}
	if (chdir("/") != 0) /* never hold, and never stand in, the mount point */
		return say_and_exit(1, &(struct error){.text = "cannot go to /"});
	umask(077);
	return o->foreground ? holder_run(&h) : run_in_background(&h, st);
}

/* 0, 1 and 2 must be open, else a database would get one of their numbers; everything above is the
 * caller's and must not be kept open by a daemon (a script may wait for the end of a pipe). */
static void tidy_descriptors(void)
{
	int fd;

	(void)close_range(STDERR_FILENO + 1, ~0U, 0);
	do {
		fd = open("/dev/null", O_RDWR);
	} while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
}

int main(int argc, char **argv)
{
	struct options o;
	struct settings s = {0};
	struct start st = {.log_fd = -1};
	struct error why = {0};
	int status = 2;

	tidy_descriptors();
	/* Keys are in memory: no core file may hold them (architecture.md, invariant 11). */
	(void)setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
	int err = options_parse(argc, argv, &o, &why);
	if (!err && (status = answer(&o)) >= 0) {
		options_free(&o);
		return status;
	}
	if (!err)
		err = settings_read(&s, o.config, (const char *const *)o.settings, &why);
	if (!err &&
	    o.config) { /* read again at SIGHUP, when the working directory is another one */
		char *absolute = realpath(o.config, NULL);
		if (absolute) {
			free(o.config);
			o.config = absolute;
		}
	}
	if (!err)
		settings_lock(&s);
	if (!err)
		err = start_resolve(&st, &o, &s, &why);
	if (err) {
		status = say_and_exit(2, &why);
	} else if (o.check) {
		BUF out = {0};
		status = start_report(&st, &o, &s, &out);
		if (show(&out) != 0)
			status = 1;
	} else if (o.orphans) {
		status = orphans_run(&o, &s, &st.policy);
	} else {
		status = mount_it(&o, &s, &st);
	}
	start_free(&st);
	settings_free(&s);
	options_free(&o);
	return status;
}
