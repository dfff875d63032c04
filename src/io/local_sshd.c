/*
 * The sshd of an instance: its files, its environment, its start. As whom it runs is local_owner.c, what
 * its sshd_config says is local_config.c.
 *
 * It runs as the session's owner, which also means that it can log in nobody else. The daemon forks twice,
 * so that it is nobody's child here: an instance is always found through its directory and its cgroup,
 * which is then the only way and the tested one. All is on disk before the fork.
 *
 * Between fork and exec only async-signal-safe calls are made (other threads may hold any lock): what the
 * child needs is in struct launch, computed before. The child joins its cgroup first and gives up if it
 * cannot, so that nothing ever runs outside of what a kill would reach.
 *
 * Owner: any worker. Blocks at most LOCAL_WAIT_US for each port that it tries.
 * Tests: tests/unit/test_local_host.c
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/close_range.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../core/check.h"
#include "io_parts.h"
#include "local_parts.h"

#define SAFE_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#define LOG_TAIL  ((size_t)16 << 10)
#define PAUSE_MS  5

static void pause_ms(long ms)
{
	nanosleep(&(struct timespec){.tv_nsec = ms * 1000000}, NULL);
}

/* ---- finding sshd, choosing a port ---- */

static char *find_sshd(void)
{
	const char *path = getenv("PATH");
	FREE char *all = NULL;
	char *rest, *dir;

	if (asprintf(&all, "%s:/usr/sbin:/usr/local/sbin:/sbin", path ? path : "") < 0) {
		all = NULL;
		return NULL;
	}
	rest = all;
	while ((dir = strsep(&rest, ":")) != NULL) {
		char *full = NULL;

		if (dir[0] != '/') /* sshd starts itself again and wants an absolute path */
			continue;
		if (asprintf(&full, "%s/sshd", dir) < 0)
			return NULL;
		if (access(full, X_OK) == 0)
			return full;
		free(full);
	}
	return NULL;
}

static int pick_free_port(void)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t n = sizeof(a);
	FD fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (const struct sockaddr *)&a, n) < 0 ||
	    getsockname(fd, (struct sockaddr *)&a, &n) < 0)
		return -errno;
	return ntohs(a.sin_port);
}

static int choose_port(const struct local_conf *c, struct local_record *r, struct error *why)
{
	int port = c->pick_port ? c->pick_port(c->pick_port_arg) : pick_free_port();

	if (port <= 0)
		return fail(why, ERR_UNREACHABLE, "no free port on 127.0.0.1: %s",
			    strerror(port ? -port : EADDRINUSE));
	r->port = port;
	return 0;
}

/* ---- fork and exec ---- */

enum launch_step { LAUNCH_FORK, LAUNCH_CGROUP, LAUNCH_FDS, LAUNCH_USER, LAUNCH_EXEC };
static const char *const launch_words[] = {
	[LAUNCH_FORK] = "forking",	  [LAUNCH_CGROUP] = "entering its cgroup",
	[LAUNCH_FDS] = "opening its log", [LAUNCH_USER] = "becoming its user",
	[LAUNCH_EXEC] = "starting sshd",
};
struct launch_failure {
	int step, err;
};

/* All that the child needs; nothing is computed after the fork. */
struct launch {
	char *sshd, *argv[8], *envp[10];
	char config[PATH_MAX];
	char env[8][PATH_MAX + 64];
	const struct local_owner *owner;
	bool change_user;
	int cgroup_fd, log_fd, null_fd, status_fd;
};

static void launch_env(struct launch *l, const struct local_owner *o, const struct local_record *r)
{
	const struct {
		const char *name, *value;
	} vars[] = {
		{"PATH", SAFE_PATH},
		{"HOME", o->home},
		{"USER", o->name},
		{"LOGNAME", o->name},
		{"SHELL", o->shell},
		{LOCAL_MARK, r->label},
		{"CUDA_VISIBLE_DEVICES", r->visible_devices},
	};

	for (size_t i = 0; i < ARRAY_LEN(vars); i++) {
		snprintf(l->env[i], sizeof(l->env[i]), "%s=%s", vars[i].name, vars[i].value);
		l->envp[i] = l->env[i];
	}
}

__attribute__((noreturn)) static void child_fail(const struct launch *l, enum launch_step step)
{
	struct launch_failure f = {.step = (int)step, .err = errno};
	ssize_t put = write(l->status_fd, &f, sizeof(f));

	(void)put;
	_exit(127);
}

static bool child_become_owner(const struct launch *l)
{
	const struct local_owner *o = l->owner;

	if (!l->change_user)
		return true;
	return setgroups((size_t)o->group_count, o->groups) == 0 &&
	       setresgid((gid_t)o->gid, (gid_t)o->gid, (gid_t)o->gid) == 0 &&
	       setresuid((uid_t)o->uid, (uid_t)o->uid, (uid_t)o->uid) == 0;
}

__attribute__((noreturn)) static void child_run(const struct launch *l)
{
	sigset_t none;

	if (setsid() < 0)
		child_fail(l, LAUNCH_FORK);
	if (l->cgroup_fd >= 0 && write(l->cgroup_fd, "0", 1) != 1)
		child_fail(l, LAUNCH_CGROUP);
	if (dup2(l->null_fd, 0) < 0 || dup2(l->log_fd, 1) < 0 || dup2(l->log_fd, 2) < 0 ||
	    chdir("/") < 0)
		child_fail(l, LAUNCH_FDS);
	umask(022);
	if (!child_become_owner(l))
		child_fail(l, LAUNCH_USER);
	/* Closed by exec, so that the status pipe can still tell of a failure; its end is success. */
	if (close_range(3, ~0U, CLOSE_RANGE_CLOEXEC) < 0)
		child_fail(l, LAUNCH_FDS);
	for (int s = 1; s < NSIG; s++)
		signal(s,
		       SIG_DFL); /* handlers of the daemon must not run here; ignored ones would stay */
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	execve(l->sshd, l->argv, l->envp);
	child_fail(l, LAUNCH_EXEC);
}

/* Signals are blocked around the fork: a handler of ours that ran in the child would write into the
 * daemon's own pipe. */
static int fork_twice(const struct launch *l)
{
	sigset_t all, old;
	pid_t pid;
	int err, status;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	pid = fork();
	if (pid == 0) {
		pid_t inner = fork();

		if (inner == 0)
			child_run(l);
		if (inner < 0)
			child_fail(l, LAUNCH_FORK);
		_exit(0);
	}
	err = pid < 0 ? -errno : 0;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return err;
}

static int wait_for_exec(int fd, struct error *why)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	struct launch_failure f;
	ssize_t n;

	while (poll(&p, 1, (int)(LOCAL_WAIT_US / 1000)) < 0 && errno == EINTR)
		;
	if (!p.revents)
		return fail(why, ERR_TIMED_OUT, "sshd could not be started within 5 seconds");
	n = read(fd, &f, sizeof(f));
	if (n != (ssize_t)sizeof(f) || f.step < 0 || f.step > LAUNCH_EXEC)
		return 0;
	return fail(why, ERR_UNREACHABLE, "sshd could not be started: %s: %s", launch_words[f.step],
		    strerror(f.err));
}

static int launch(const struct local_conf *c, const char *dir, const struct local_owner *o,
		  const struct local_record *r, char *sshd, bool *forked, struct error *why)
{
	FREE struct launch *l = calloc(1, sizeof(*l));
	char log[PATH_MAX];
	int status[2] = {-1, -1};
	FD cgroup_fd = -1;
	FD log_fd = -1;
	FD null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	FD status_in = -1;
	FD status_out = -1;
	int err = 0;

	if (!l)
		return fail(why, ERR_NO_MEMORY, "out of memory while starting sshd");
	if (snprintf(log, sizeof(log), "%s/sshd.log", dir) >= (int)sizeof(log))
		return fail(why, ERR_NAME_LONG, "the path %s is too long", dir);
	if (r->cgroup[0])
		err = local_cgroup_make(r->cgroup, &cgroup_fd);
	if (err)
		return fail(why, ERR_UNREACHABLE, "cannot make the cgroup %s: %s", r->cgroup,
			    strerror(-err));
	log_fd = open(log, O_WRONLY | O_APPEND | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (log_fd < 0 || null_fd < 0 || pipe2(status, O_CLOEXEC) < 0)
		return fail(why, ERR_UNREACHABLE, "cannot open the log %s: %s", log,
			    strerror(errno));
	status_out = status[0];
	status_in = status[1];
	*l = (struct launch){.sshd = sshd,
			     .owner = o,
			     .change_user = c->uid == 0,
			     .cgroup_fd = cgroup_fd,
			     .log_fd = log_fd,
			     .null_fd = null_fd,
			     .status_fd = status_in};
	if (local_path(c, r->label, "sshd_config", l->config))
		return fail(why, ERR_NAME_LONG, "the path %s is too long", dir);
	memcpy(l->argv, (const char *[]){sshd, "-D", "-e", "-f", l->config, NULL},
	       6 * sizeof(char *));
	launch_env(l, o, r);
	err = fork_twice(l);
	if (err)
		return fail(why, ERR_NO_MEMORY, "cannot start a process for sshd: %s",
			    strerror(-err));
	*forked = true;
	fd_close(&status_in);
	return wait_for_exec(status_out, why);
}

/* ---- waiting until it listens ---- */

enum listening { LISTENS, PORT_TAKEN, ENDED, SLOW };

/* The log and the kernel's table must both say so: the port alone could be another process of the same
 * user. */
static enum listening wait_listening(const struct local_conf *c, const char *dir,
				     const struct local_record *r, char *log, size_t log_size)
{
	int64_t deadline_us = clock_mono_us() + LOCAL_WAIT_US;
	char evidence[160];

	for (;;) {
		enum local_life life = local_life(c, r, evidence, sizeof(evidence));

		local_file_tail(dir, "sshd.log", log, log_size);
		if (strstr(log, "Server listening on") && local_port_listens(r->port, r->uid))
			return LISTENS;
		if (life == LIFE_NONE)
			return strstr(log, "Address already in use") ? PORT_TAKEN : ENDED;
		if (clock_mono_us() >= deadline_us)
			return SLOW;
		pause_ms(PAUSE_MS);
	}
}

/* ---- the files ---- */

static int files_fail(struct error *why, const char *dir, int err)
{
	return fail(why, ERR_UNREACHABLE, "cannot write the files of a local session in %s: %s",
		    dir, strerror(-err));
}

/* What can still change with the port: the record and the configuration. */
static int write_for_port(const struct local_conf *c, const char *at, const struct local_record *r,
			  const struct local_owner *o, const struct host_call *call, int *lock_fd)
{
	char final[PATH_MAX];
	BUF text = {.data = NULL};
	int err = local_path(c, r->label, "", final);

	if (!err)
		err = local_record_store(at, r, lock_fd);
	if (err)
		return err;
	local_sshd_config(final, r, call, &text);
	/* 0400: it holds the session's env words, which may be secrets, and is the owner's to read. */
	if (text.failed)
		err = -ENOMEM;
	else
		err = local_file_write(at, "sshd_config", text.data, text.len, 0400, o->uid,
				       o->gid);
	if (text.data)
		explicit_bzero(text.data, text.cap);
	return err;
}

static int write_keys(const char *at, struct local_record *r, const struct local_owner *o,
		      const struct host_call *call, struct error *why)
{
	struct secret priv = {.bytes = NULL};
	BUF pub = {.data = NULL};
	int err = keys_make("", &priv, &pub, why);

	if (err)
		return err;
	COPY(r->host_key, pub.data);
	err = local_file_write(at, "host_key", priv.bytes, priv.len, 0600, o->uid, o->gid);
	secret_wipe(&priv);
	if (!err)
		err = local_file_write(at, "authorized_keys", call->authorized_keys,
				       strlen(call->authorized_keys), 0644, UNKNOWN, UNKNOWN);
	return err ? files_fail(why, at, err) : 0;
}

/* Everything aside, then renamed: a directory under its own name always has its record. */
static int make_dir(const struct local_conf *c, const struct host_call *call,
		    const struct local_owner *o, struct local_record *r, int *lock_fd,
		    struct error *why)
{
	char aside[PATH_MAX], final[PATH_MAX];
	int err = local_path(c, r->label, "", final);

	if (err || snprintf(aside, sizeof(aside), "%s/" LOCAL_ASIDE "%s", c->dir, r->label) >=
			   (int)sizeof(aside))
		return files_fail(why, c->dir, -ENAMETOOLONG);
	err = local_dir_remove(aside);
	if (!err && mkdir(aside, 0755) < 0)
		err = -errno;
	if (!err && chmod(aside, 0755) < 0)
		err = -errno;
	if (err)
		return files_fail(why, aside, err);
	err = write_keys(aside, r, o, call, why);
	if (!err)
		err = choose_port(c, r, why);
	if (!err) {
		int bad = write_for_port(c, aside, r, o, call, lock_fd);

		if (!bad && rename(aside, final) < 0)
			bad = -errno;
		err = bad ? files_fail(why, aside, bad) : 0;
	}
	if (err)
		local_dir_remove(aside);
	return err;
}

/* sshd separates privileges only as root, and then wants its empty directory. */
static void make_privsep_dir(int64_t uid)
{
	if (uid == 0)
		mkdir("/run/sshd", 0755);
}

/* ---- start ---- */

/* One port after another; 0 when sshd listens. */
static int run_sshd(const struct local_conf *c, const struct host_call *call,
		    const struct local_owner *o, struct local_record *r, char *sshd, int *lock_fd,
		    bool *forked, struct error *why)
{
	char dir[PATH_MAX], line[200];
	FREE char *log = calloc(1, LOG_TAIL);

	if (!log || local_path(c, r->label, "", dir))
		return fail(why, ERR_NO_MEMORY, "out of memory while starting sshd");
	for (int i = 0; i < LOCAL_PORT_TRIES; i++) {
		int err = i ? choose_port(c, r, why) : 0;
		int bad = i && !err ? write_for_port(c, dir, r, o, call, lock_fd) : 0;

		if (err)
			return err;
		if (bad)
			return files_fail(why, dir, bad);
		err = launch(c, dir, o, r, sshd, forked, why);
		if (err)
			return err;
		switch (wait_listening(c, dir, r, log, LOG_TAIL)) {
		case LISTENS:
			return 0;
		case PORT_TAKEN:
			continue;
		case ENDED:
			local_last_line(log, line, sizeof(line));
			return fail(why, ERR_UNREACHABLE, "sshd ended at once: %s",
				    line[0] ? line : "it said nothing");
		case SLOW:
			local_last_line(log, line, sizeof(line));
			return fail(why, ERR_TIMED_OUT,
				    "sshd did not listen on port %lld within 5 seconds: %s",
				    (long long)r->port, line[0] ? line : "it said nothing");
		}
	}
	return fail(why, ERR_UNREACHABLE,
		    "%d ports of 127.0.0.1 in a row were taken by others before sshd had them",
		    LOCAL_PORT_TRIES);
}

/* Takes back what a failed start made; true if nothing is left for sure. */
static bool take_back(const struct local_conf *c, const struct local_record *r, bool forked)
{
	char dir[PATH_MAX], evidence[160];

	if (forked && local_kill(c, r, evidence, sizeof(evidence)))
		return false;
	if (!forked && r->cgroup[0])
		rmdir(r->cgroup);
	if (!local_path(c, r->label, "", dir))
		local_dir_remove(dir);
	return true;
}

int local_sshd_start(const struct local_conf *c, const struct host_call *call,
		     struct local_record *r, bool *maybe, struct error *why)
{
	FREE struct local_owner *o = calloc(1, sizeof(*o));
	FREE char *sshd = find_sshd();
	FD lock_fd = -1;
	bool forked = false;
	int err;

	*maybe = false;
	if (!o)
		return fail(why, ERR_NO_MEMORY, "out of memory while starting sshd");
	err = local_env_check(call, why);
	if (!err)
		err = local_owner_find(c, call->uid, o, why);
	if (err)
		return err;
	if (!sshd)
		return fail(why, ERR_UNREACHABLE,
			    "sshd is not installed: apt-get install openssh-server");
	memset(r, 0, sizeof(*r));
	COPY(r->label, call->label);
	COPY(r->deployment, c->deployment);
	r->uid = o->uid;
	COPY(r->user, o->name);
	COPY(r->visible_devices, call->visible_devices ? call->visible_devices : "");
	r->created_us = clock_wall_us();
	if (c->cgroup_root && snprintf(r->cgroup, sizeof(r->cgroup), "%s/%s", c->cgroup_root,
				       r->label) >= (int)sizeof(r->cgroup))
		return fail(why, ERR_NAME_LONG, "the path of the cgroup is too long");
	make_privsep_dir(o->uid);
	err = make_dir(c, call, o, r, &lock_fd, why);
	if (err)
		return err;
	err = run_sshd(c, call, o, r, sshd, &lock_fd, &forked, why);
	if (err)
		*maybe = !take_back(c, r, forked);
	return err;
}
