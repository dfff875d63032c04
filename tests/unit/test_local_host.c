/*
 * src/io/local_*.c and providers/local.c with a real sshd, real users, real processes, a real loop.
 * Every test has its own directory and deployment; the user is made once and removed at the end. Needs
 * root, openssh-server, openssh-client. Everything that ends processes is done twice: with a cgroup (where
 * one can be written) and by marks.
 */
#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pwd.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../providers/providers.h"
#include "../../src/core/check.h"
#include "../../src/io/local_parts.h"

#include <cmocka.h> /* after ours: it makes `fail` a macro */

static struct {
	char name[32];
	uid_t uid;
	gid_t gid;
} user;

struct fixture {
	char dir[64], instances[96], deployment[16], label[64], key_file[96], public_key[256];
	uv_loop_t loop;
	struct local_host *host;
	bool cgroup;
};

/* ---- helpers ---- */

static int run(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static int run(const char *fmt, ...)
{
	FREE char *cmd = NULL;
	va_list ap;
	int status;

	va_start(ap, fmt);
	if (vasprintf(&cmd, fmt, ap) < 0)
		abort();
	va_end(ap);
	status = system(cmd);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void output_of(const char *cmd, char *out, size_t size)
{
	FILE *f = popen(cmd, "r");
	size_t n;

	assert_non_null(f);
	n = fread(out, 1, size - 1, f);
	out[n] = '\0';
	pclose(f);
}

static void put_file(const char *path, const char *text, mode_t mode)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
	assert_int_equal(chmod(path, mode), 0);
}

/* One answer, with what it pointed to. */
struct answer {
	int calls, err;
	bool maybe;
	char text[256];
	size_t count;
	struct host_instance inst[8];
	struct host_gpu gpus[8];
};

static void on_answer(void *arg, const struct host_result *res)
{
	struct answer *a = arg;

	a->calls++;
	a->err = res->err;
	a->maybe = res->maybe;
	COPY(a->text, res->text);
	a->count = res->count;
	assert_true(res->count <= 8);
	for (size_t i = 0; i < res->count; i++) {
		if (res->instances)
			a->inst[i] = res->instances[i];
		if (res->gpus)
			a->gpus[i] = res->gpus[i];
	}
}

static void wait_for(struct fixture *f, const struct answer *a)
{
	while (!a->calls)
		assert_true(uv_run(&f->loop, UV_RUN_ONCE) || a->calls);
}

static struct answer ask(struct fixture *f, const struct host_call *call)
{
	struct answer a = {.calls = 0};

	local_host_call(f->host, call, on_answer, &a);
	assert_int_equal(a.calls, 0); /* never inside the call */
	wait_for(f, &a);
	return a;
}

static struct host_call start_call(const struct fixture *f)
{
	return (struct host_call){.op = HOST_START,
				  .label = f->label,
				  .uid = user.uid,
				  .gid = user.gid,
				  .authorized_keys = f->public_key,
				  .visible_devices = ""};
}

static struct answer start(struct fixture *f)
{
	struct host_call call = start_call(f);

	return ask(f, &call);
}

static struct answer ask_label(struct fixture *f, enum host_op op)
{
	return ask(f, &(struct host_call){.op = op, .label = f->label});
}

static void open_host(struct fixture *f)
{
	BUF note = {.data = NULL};
	struct error why;

	f->host = local_host_new(&f->loop, f->instances, f->deployment, &note, &why);
	assert_non_null(f->host);
	f->cgroup = strstr(note.data, "cgroup v2") != NULL;
}

/* As after a kill of the daemon: nothing is kept but what is outside of it. */
static void reopen_host(struct fixture *f)
{
	local_host_free(f->host);
	open_host(f);
}

static int setup_any(void **state)
{
	static int number;
	struct fixture *f = xcalloc(1, sizeof(*f));
	struct secret priv = {.bytes = NULL};
	BUF pub = {.data = NULL};

	snprintf(f->dir, sizeof(f->dir), "/tmp/gpufs-test-host-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	assert_int_equal(chmod(f->dir, 0755), 0);
	snprintf(f->instances, sizeof(f->instances), "%s/local dir%%h", f->dir);
	snprintf(f->deployment, sizeof(f->deployment), "t%06x", (unsigned)getpid() & 0xffffff);
	snprintf(f->label, sizeof(f->label), "gpufs-%s-%d", f->deployment, ++number);
	snprintf(f->key_file, sizeof(f->key_file), "%s/id", f->dir);
	assert_int_equal(keys_make("test", &priv, &pub, NULL), 0);
	put_file(f->key_file, priv.bytes, 0600);
	secret_wipe(&priv);
	COPY(f->public_key, pub.data);
	assert_int_equal(uv_loop_init(&f->loop), 0);
	open_host(f);
	*state = f;
	return 0;
}

static int setup(void **state)
{
	unsetenv("GPUFS_TEST_NO_CGROUP");
	return setup_any(state);
}

static int setup_marks(void **state)
{
	setenv("GPUFS_TEST_NO_CGROUP", "1", 1);
	return setup_any(state);
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	struct answer a = ask_label(f, HOST_KILL);

	assert_int_equal(a.err, 0);
	local_host_free(f->host);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&f->loop), 0);
	assert_int_equal(run("rm -rf '%s'", f->dir), 0);
	free(f);
	return 0;
}

/* Real ssh, strict about the host key that we reported. The exit code; output in out. */
static int ssh(const struct fixture *f, const struct host_instance *i, const char *key,
	       const char *command, char *out, size_t size)
{
	FREE char *cmd = NULL;
	char known[128], line[400];
	FILE *p;
	size_t n;
	int status;

	snprintf(known, sizeof(known), "%s/known", f->dir);
	snprintf(line, sizeof(line), "[127.0.0.1]:%d %s\n", (int)i->port, i->host_key);
	put_file(known, line, 0600);
	if (asprintf(
		    &cmd,
		    "ssh -F none -i %s -o IdentitiesOnly=yes -o BatchMode=yes -o LogLevel=ERROR "
		    "-o StrictHostKeyChecking=yes -o UserKnownHostsFile=%s -p %d %s@127.0.0.1 '%s' "
		    "</dev/null 2>&1",
		    key, known, (int)i->port, i->user, command) < 0)
		abort();
	p = popen(cmd, "r");
	assert_non_null(p);
	n = fread(out, 1, size - 1, p);
	out[n] = '\0';
	status = pclose(p);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* Living processes whose command line has this text, or begins with it. */
static int count_lines(const char *needle, size_t size, bool at_start)
{
	DIR *d = opendir("/proc");
	struct dirent *e;
	int count = 0;

	assert_non_null(d);
	while ((e = readdir(d)) != NULL) {
		char path[300], text[4096], *found;
		ssize_t n;
		int fd;

		snprintf(path, sizeof(path), "/proc/%s/cmdline", e->d_name);
		fd = e->d_name[0] >= '1' && e->d_name[0] <= '9' ? open(path, O_RDONLY) : -1;
		if (fd < 0)
			continue;
		n = read(fd, text, sizeof(text));
		close(fd);
		found = n > 0 ? memmem(text, (size_t)n, needle, size) : NULL;
		count += at_start ? found == text : found != NULL;
	}
	closedir(d);
	return count;
}

static int count_processes(const char *needle)
{
	return count_lines(needle, strlen(needle), false);
}

/* Only what has become `sleep SECONDS`: the shells before it have the number in their lines too. */
static int count_sleeps(const char *seconds)
{
	char line[64];
	int n = snprintf(line, sizeof(line), "sleep%c%s", '\0', seconds);

	return count_lines(line, (size_t)n + 1, true);
}

/* ---- a whole life ---- */

static void starts_serves_and_ends_with_proof(void **state)
{
	struct fixture *f = *state;
	char out[1000], cmd[300], seconds[32];
	struct answer a;

	a = start(f);
	if (a.err)
		fail_msg("start: %s", a.text);
	assert_int_equal(a.count, 1);
	assert_true(a.inst[0].alive);
	assert_true(a.inst[0].listening);
	assert_string_equal(a.inst[0].user, user.name);
	assert_string_equal(a.inst[0].label, f->label);
	assert_int_equal(strncmp(a.inst[0].host_key, "ssh-ed25519 AAAA", 16), 0);

	assert_int_equal(
		ssh(f, &a.inst[0], f->key_file, "id -un; echo m=$GPUFS_INSTANCE", out, sizeof(out)),
		0);
	assert_non_null(strstr(out, user.name));
	assert_non_null(strstr(out, f->label));

	/* What a hang-up does not end. */
	snprintf(seconds, sizeof(seconds), "98%05d", (int)getpid() % 100000);
	snprintf(cmd, sizeof(cmd),
		 "nohup sleep %s >/dev/null 2>&1 & setsid sleep %s >/dev/null 2>&1 & echo left",
		 seconds, seconds);
	assert_int_equal(ssh(f, &a.inst[0], f->key_file, cmd, out, sizeof(out)), 0);
	/* ssh may be back before both have become `sleep`. */
	for (int i = 0; i < 1000 && count_sleeps(seconds) != 2; i++)
		nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
	assert_int_equal(count_sleeps(seconds), 2);

	reopen_host(f); /* a new daemon finds it */
	a = ask(f, &(struct host_call){.op = HOST_LIST});
	assert_int_equal(a.err, 0);
	assert_int_equal(a.count, 1);
	assert_true(a.inst[0].alive && a.inst[0].listening);
	assert_string_equal(a.inst[0].label, f->label);
	assert_int_equal(ssh(f, &a.inst[0], f->key_file, "echo again", out, sizeof(out)), 0);

	a = ask_label(f, HOST_KILL);
	assert_int_equal(a.err, 0);
	assert_non_null(strstr(a.text, "no process carries its mark"));
	if (f->cgroup)
		assert_non_null(strstr(a.text, "cgroup populated 0"));
	assert_int_equal(count_processes(seconds), 0);
	assert_int_equal(count_processes(f->label),
			 0); /* its sshd: the path of its configuration */

	a = ask_label(f, HOST_LOOK);
	assert_int_equal(a.err, -ENOENT);
	assert_non_null(strstr(a.text, "no directory"));
	assert_non_null(strstr(a.text, "no process carries its mark"));
	assert_int_equal(ask_label(f, HOST_KILL).err, 0); /* once more is the same */
	assert_int_equal(ask(f, &(struct host_call){.op = HOST_LIST}).count, 0);
}

static void connections_that_are_open_end_too(void **state)
{
	struct fixture *f = *state;
	struct answer a = start(f);
	char out[100], mark[64];

	assert_int_equal(a.err, 0);
	snprintf(mark, sizeof(mark), "97%05d", (int)getpid() % 100000);
	/* A login that is still there: its sshd has overwritten its own environment. */
	assert_int_equal(ssh(f, &a.inst[0], f->key_file, "true", out, sizeof(out)), 0);
	assert_int_equal(run("ssh -f -F none -i %s -o IdentitiesOnly=yes -o BatchMode=yes "
			     "-o StrictHostKeyChecking=yes -o UserKnownHostsFile=%s/known -p %d "
			     "%s@127.0.0.1 'echo up; exec sleep %s' </dev/null >%s/up 2>/dev/null",
			     f->key_file, f->dir, (int)a.inst[0].port, user.name, mark, f->dir),
			 0);
	assert_int_equal(ask_label(f, HOST_KILL).err, 0);
	snprintf(out, sizeof(out), "sshd: %s", user.name);
	assert_int_equal(count_processes(out), 0);
}

static void another_key_is_refused(void **state)
{
	struct fixture *f = *state;
	struct secret priv = {.bytes = NULL};
	BUF pub = {.data = NULL};
	char path[128], out[500];
	struct answer a = start(f);

	assert_int_equal(a.err, 0);
	assert_int_equal(keys_make("other", &priv, &pub, NULL), 0);
	snprintf(path, sizeof(path), "%s/other", f->dir);
	put_file(path, priv.bytes, 0600);
	secret_wipe(&priv);
	assert_int_not_equal(ssh(f, &a.inst[0], path, "echo in", out, sizeof(out)), 0);
	assert_non_null(strstr(out, "Permission denied (publickey)"));
}

static void root_can_own_one(void **state)
{
	struct fixture *f = *state;
	struct host_call call = start_call(f);
	struct answer a;
	char out[200];

	call.uid = call.gid = 0;
	a = ask(f, &call);
	if (a.err && strstr(a.text, "locked"))
		skip(); /* and the sentence says what to do */
	assert_int_equal(a.err, 0);
	assert_int_equal(ssh(f, &a.inst[0], f->key_file, "id -u", out, sizeof(out)), 0);
	assert_string_equal(out, "0\n");
}

static void files_are_as_private_as_they_must_be(void **state)
{
	static const struct {
		const char *name;
		mode_t mode;
		bool owners;
	} files[] = {{"", 0755, false},		  {"host_key", 0600, true},
		     {"sshd_config", 0400, true}, {"authorized_keys", 0644, false},
		     {"instance", 0644, false},	  {"sshd.log", 0600, false}};
	struct fixture *f = *state;

	assert_int_equal(start(f).err, 0);
	for (size_t i = 0; i < ARRAY_LEN(files); i++) {
		char path[PATH_MAX];
		struct stat st;

		snprintf(path, sizeof(path), "%s/%s/%s", f->instances, f->label, files[i].name);
		assert_int_equal(stat(path, &st), 0);
		assert_int_equal(st.st_mode & 07777, files[i].mode);
		assert_int_equal(st.st_uid, files[i].owners ? user.uid : 0);
	}
}

/* ---- one label, one machine ---- */

static void starting_again_finds_the_same(void **state)
{
	struct fixture *f = *state;
	struct host_call call = start_call(f);
	struct answer first = {.calls = 0}, second = {.calls = 0}, third;

	local_host_call(f->host, &call, on_answer, &first);
	local_host_call(f->host, &call, on_answer, &second); /* at the same time */
	wait_for(f, &first);
	wait_for(f, &second);
	reopen_host(f);
	third = start(f);
	assert_int_equal(first.err | second.err | third.err, 0);
	assert_int_equal(first.inst[0].port, second.inst[0].port);
	assert_int_equal(first.inst[0].port, third.inst[0].port);
	assert_string_equal(first.inst[0].host_key, third.inst[0].host_key);
}

static void what_ended_is_not_started_again(void **state)
{
	struct fixture *f = *state;
	char path[PATH_MAX], cmd[PATH_MAX + 100], pid[64];
	struct answer a = start(f);

	assert_int_equal(a.err, 0);
	if (!f->cgroup)
		skip();
	snprintf(path, sizeof(path), "%s/%s", local_host_conf(f->host)->cgroup_root, f->label);
	snprintf(cmd, sizeof(cmd), "cat %s/cgroup.procs", path);
	output_of(cmd, pid, sizeof(pid));
	assert_int_equal(kill((pid_t)atoi(pid), SIGKILL), 0);
	for (int i = 0; i < 1000 && a.inst[0].alive; i++)
		a = ask_label(f, HOST_LOOK);
	assert_int_equal(a.err, 0);
	assert_false(a.inst[0].alive);
	assert_non_null(strstr(a.inst[0].evidence, "populated 0"));
	a = start(f);
	assert_int_equal(a.err, -EEXIST);
	assert_false(a.maybe);
}

static void a_list_never_takes_a_start_for_gone(void **state)
{
	struct fixture *f = *state;
	struct host_call call = start_call(f);
	struct answer started = {.calls = 0};

	local_host_call(f->host, &call, on_answer, &started);
	while (!started.calls) {
		struct answer list = ask(f, &(struct host_call){.op = HOST_LIST});

		assert_int_equal(list.err, 0);
		for (size_t i = 0; i < list.count; i++)
			assert_true(list.inst[i].alive);
	}
	assert_int_equal(started.err, 0);
}

static void a_kill_waits_for_the_start(void **state)
{
	struct fixture *f = *state;
	struct host_call call = start_call(f), end = {.op = HOST_KILL, .label = f->label};
	struct answer started = {.calls = 0}, ended = {.calls = 0};

	local_host_call(f->host, &call, on_answer, &started);
	local_host_call(f->host, &end, on_answer, &ended);
	wait_for(f, &ended);
	assert_int_equal(started.calls, 1);
	assert_int_equal(ended.err, 0);
	assert_int_equal(ask_label(f, HOST_LOOK).err, -ENOENT);
}

static void the_daemon_may_go_while_it_starts(void **state)
{
	struct fixture *f = *state;
	struct host_call call = start_call(f);
	struct answer dropped = {.calls = 0};

	local_host_call(f->host, &call, on_answer, &dropped);
	local_host_call(f->host, &call, on_answer, &dropped);
	local_host_free(f->host);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	assert_int_equal(dropped.calls, 0);
	open_host(f);
	assert_int_equal(ask_label(f, HOST_KILL).err, 0);
	assert_int_equal(ask_label(f, HOST_LOOK).err, -ENOENT);
}

/* ---- ports ---- */

struct picker {
	int taken, calls, bad;
};

static int pick(void *arg)
{
	struct picker *p = arg;
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t n = sizeof(a);
	int fd;

	if (p->calls++ < p->bad)
		return p->taken;
	fd = socket(AF_INET, SOCK_STREAM, 0);
	if (bind(fd, (struct sockaddr *)&a, n) < 0 ||
	    getsockname(fd, (struct sockaddr *)&a, &n) < 0)
		abort();
	close(fd);
	return ntohs(a.sin_port);
}

static int listen_somewhere(int *port)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t n = sizeof(a);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&a, n), 0);
	assert_int_equal(listen(fd, 5), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &n), 0);
	*port = ntohs(a.sin_port);
	return fd;
}

static void a_port_that_is_taken_is_left_alone(void **state)
{
	struct fixture *f = *state;
	struct picker p = {.bad = 2};
	int fd = listen_somewhere(&p.taken);
	struct answer a;
	char out[100];

	local_host_conf(f->host)->pick_port = pick;
	local_host_conf(f->host)->pick_port_arg = &p;
	a = start(f);
	if (a.err)
		fail_msg("start: %s", a.text);
	assert_int_equal(p.calls, 3);
	assert_int_not_equal(a.inst[0].port, p.taken);
	assert_int_equal(ssh(f, &a.inst[0], f->key_file, "true", out, sizeof(out)), 0);
	close(fd);
}

static void no_port_at_all_is_a_sentence_and_leaves_nothing(void **state)
{
	struct fixture *f = *state;
	struct picker p = {.bad = 100};
	int fd = listen_somewhere(&p.taken);
	struct answer a;

	local_host_conf(f->host)->pick_port = pick;
	local_host_conf(f->host)->pick_port_arg = &p;
	a = start(f);
	assert_true(a.err < 0);
	assert_false(a.maybe);
	assert_int_equal(p.calls, LOCAL_PORT_TRIES);
	assert_non_null(strstr(a.text, "taken by others"));
	assert_int_equal(ask_label(f, HOST_LOOK).err, -ENOENT);
	assert_int_equal(ask(f, &(struct host_call){.op = HOST_LIST}).count, 0);
	close(fd);
}

/* ---- refusals ---- */

static void refused(struct fixture *f, const struct host_call *call, int err, const char *says)
{
	struct answer a = ask(f, call);

	if (a.err != err || !strstr(a.text, says))
		fail_msg("wanted %d '%s', got %d: %s", err, says, a.err, a.text);
	assert_false(a.maybe);
	assert_int_equal(ask(f, &(struct host_call){.op = HOST_LIST}).count, 0);
}

static void refusals_are_sentences_and_leave_nothing(void **state)
{
	struct fixture *f = *state;
	struct host_call call;
	struct spec_env env = {.name = "A", .value = "two\nlines"};

	call = start_call(f);
	call.uid = 3999999;
	refused(f, &call, -EPERM, "has no account");
	call.uid = -7;
	refused(f, &call, -EINVAL, "not a uid");
	call.uid = 1; /* daemon: /usr/sbin/nologin on Debian */
	refused(f, &call, -EPERM, "may not log in");
	call = start_call(f);
	call.authorized_keys = "";
	refused(f, &call, -EINVAL, "needs a key");
	call = start_call(f);
	call.env = &env;
	call.env_count = 1;
	refused(f, &call, -EINVAL, "newline");
	COPY(env.name, "1A");
	refused(f, &call, -EINVAL, "environment variable");
	call = start_call(f);
	local_host_conf(f->host)->uid = 4000000; /* as if this were not root */
	refused(f, &call, -EPERM, "does not run as root");
}

#define LONG "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" /* 64 */

static void labels_cannot_leave_the_directory(void **state)
{
	static const char *const bad[] = {"",	   ".",	  "..",	  "../x", "a/b", "-rf",
					  ".new-", "a b", "a\nb", "\x80", LONG};
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct host_call call = start_call(f);

		call.label = bad[i];
		assert_int_equal(ask(f, &call).err, -EINVAL);
		call.op = HOST_KILL;
		assert_int_equal(ask(f, &call).err, -EINVAL);
	}
}

static void a_config_that_sshd_refuses_is_told_with_its_words(void **state)
{
	struct fixture *f = *state;
	struct answer a;

	assert_int_equal(chmod(f->dir, 0700), 0); /* the owner cannot reach his files */
	a = start(f);
	assert_int_equal(chmod(f->dir, 0755), 0);
	assert_true(a.err < 0);
	assert_false(a.maybe);
	assert_non_null(strstr(a.text, "Permission denied"));
	assert_int_equal(ask_label(f, HOST_LOOK).err, -ENOENT);
}

static void gpufs_does_not_start_inside_its_own_session(void **state)
{
	struct fixture *f = *state;
	BUF note = {.data = NULL};
	struct error why;

	assert_int_equal(start(f).err, 0);
	setenv("GPUFS_INSTANCE", f->label, 1);
	assert_null(local_host_new(&f->loop, f->instances, f->deployment, &note, &why));
	unsetenv("GPUFS_INSTANCE");
	assert_non_null(strstr(why.text, "its own session"));
}

/* ---- environment ---- */

static void env_words_arrive_as_they_are(void **state)
{
	static const char *const values[] = {"plain",
					     "",
					     "two words",
					     "  edges  ",
					     "quote\"in",
					     "it's",
					     "back\\slash",
					     "\\\"",
					     "trail\\",
					     "$HOME `id` $(id)",
					     "# no comment",
					     "tab\there",
					     "\xc3\xa9\xe2\x82\xac",
					     "a=b;c",
					     "%h %u ~"};
	struct fixture *f = *state;
	struct host_call call = start_call(f);
	struct spec_env env[ARRAY_LEN(values)];
	struct answer a;
	char cmd[64], out[500];

	for (size_t i = 0; i < ARRAY_LEN(values); i++) {
		snprintf(env[i].name, sizeof(env[i].name), "V%zu", i);
		COPY(env[i].value, values[i]);
	}
	call.env = env;
	call.env_count = ARRAY_LEN(values);
	call.visible_devices = "3";
	a = ask(f, &call);
	if (a.err)
		fail_msg("start: %s", a.text);
	assert_string_equal(a.inst[0].visible_devices, "3");
	for (size_t i = 0; i < ARRAY_LEN(values); i++) {
		snprintf(cmd, sizeof(cmd), "printf %%s. \"$V%zu\"", i);
		assert_int_equal(ssh(f, &a.inst[0], f->key_file, cmd, out, sizeof(out)), 0);
		assert_true(strlen(out) > 0 && out[strlen(out) - 1] == '.');
		out[strlen(out) - 1] = '\0';
		assert_string_equal(out, values[i]);
	}
	assert_int_equal(ssh(f, &a.inst[0], f->key_file, "echo $CUDA_VISIBLE_DEVICES", out, 500),
			 0);
	assert_string_equal(out, "3\n");
}

/* ---- strays and damage ---- */

extern char **environ;

static void a_stray_process_with_the_mark_is_found_and_ended(void **state)
{
	struct fixture *f = *state;
	char mark[128];
	char *argv[] = {(char[]){"sleep"}, (char[]){"1000"}, NULL}, *envp[] = {mark, NULL};
	struct answer a;
	pid_t pid;
	int status;

	snprintf(mark, sizeof(mark), "GPUFS_INSTANCE=%s", f->label);
	assert_int_equal(posix_spawn(&pid, "/bin/sleep", NULL, NULL, argv, envp), 0);
	for (int i = 0; i < 1000; i++) { /* until its exec is through */
		a = ask_label(f, HOST_LOOK);
		if (!a.err)
			break;
	}
	assert_int_equal(a.err, 0);
	assert_true(a.inst[0].alive);
	a = start(f); /* one label, one machine */
	assert_int_equal(a.err, -EEXIST);
	assert_true(a.maybe);
	assert_int_equal(ask_label(f, HOST_KILL).err,
			 0); /* a zombie now, and that counts as gone */
	assert_int_equal(ask_label(f, HOST_LOOK).err, -ENOENT);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void a_damaged_record_is_still_an_instance(void **state)
{
	struct fixture *f = *state;
	char path[PATH_MAX];
	struct answer a;

	assert_int_equal(start(f).err, 0);
	snprintf(path, sizeof(path), "%s/%s/instance", f->instances, f->label);
	put_file(path, "label x\nuid many\n", 0644);
	a = ask(f, &(struct host_call){.op = HOST_LIST});
	assert_int_equal(a.err, 0);
	assert_int_equal(a.count, 1);
	assert_true(a.inst[0].alive);
	assert_non_null(strstr(a.inst[0].text, "cannot be read"));
	assert_int_equal(unlink(path), 0);
	assert_true(ask_label(f, HOST_LOOK).inst[0].alive);
	assert_int_equal(ask_label(f, HOST_KILL).err, 0);
	assert_int_equal(count_processes(f->label), 0);
}

static void what_a_killed_start_left_aside_is_swept(void **state)
{
	struct fixture *f = *state;
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/.new-%s", f->instances, f->label);
	assert_int_equal(mkdir(path, 0755), 0);
	reopen_host(f);
	assert_int_equal(access(path, F_OK), -1);
	assert_int_equal(mkdir(path, 0755), 0);
	assert_int_equal(start(f).err, 0);
}

static void a_record_without_processes_is_gone_and_can_be_ended(void **state)
{
	struct fixture *f = *state;
	struct local_record r = {.uid = user.uid, .port = 1};
	char path[PATH_MAX];
	struct answer a;
	int lock = -1;

	COPY(r.label, f->label);
	COPY(r.deployment, f->deployment);
	snprintf(path, sizeof(path), "%s/%s", f->instances, f->label);
	assert_int_equal(mkdir(path, 0755), 0);
	assert_int_equal(local_record_store(path, &r, &lock), 0);
	assert_true(ask_label(f, HOST_LOOK).inst[0].alive); /* a start holds the lock */
	close(lock);
	a = ask_label(f, HOST_LOOK); /* its daemon was killed */
	assert_int_equal(a.err, 0);
	assert_false(a.inst[0].alive);
	assert_non_null(strstr(a.inst[0].evidence, "no process carries its mark"));
	assert_int_equal(ask_label(f, HOST_KILL).err, 0);
	assert_int_equal(ask_label(f, HOST_LOOK).err, -ENOENT);
}

/* ---- GPUs ---- */

static void fake_gpu(const struct fixture *f, const char *bus, const char *model)
{
	assert_int_equal(run("mkdir -p '%s/nv/%s' && printf 'Model: \\t\\t %s\\nIRQ: 5\\n' "
			     "> '%s/nv/%s/information'",
			     f->dir, bus, model, f->dir, bus),
			 0);
}

static void gpus_are_read_from_the_driver_and_nvidia_smi(void **state)
{
	struct fixture *f = *state;
	struct local_conf *c = local_host_conf(f->host);
	char nv[128], smi[128];
	struct answer a;

	snprintf(nv, sizeof(nv), "%s/nv", f->dir);
	snprintf(smi, sizeof(smi), "%s/smi", f->dir);
	c->nvidia_dir = nv;
	c->nvidia_smi = smi;
	assert_int_equal(ask(f, &(struct host_call){.op = HOST_GPUS}).count, 0);
	fake_gpu(f, "0000:01:00.0", "NVIDIA GeForce RTX 4090");
	fake_gpu(f, "0000:02:00.0", "NVIDIA A10");
	a = ask(f, &(struct host_call){.op = HOST_GPUS}); /* no nvidia-smi */
	assert_int_equal(a.count, 2);
	assert_string_equal(a.gpus[0].name, "NVIDIA GeForce RTX 4090");
	assert_int_equal(a.gpus[0].memory_mb, UNKNOWN);
	put_file(smi,
		 "#!/bin/sh\necho '0, NVIDIA GeForce RTX 4090, 24564'\necho '1, NVIDIA A10, "
		 "23028'\n",
		 0755);
	a = ask(f, &(struct host_call){.op = HOST_GPUS});
	assert_int_equal(a.count, 2);
	assert_int_equal(a.gpus[0].memory_mb, 24564);
	assert_int_equal(a.gpus[1].index, 1);
	put_file(smi, "#!/bin/sh\necho 'Failed to initialize NVML'\nexit 9\n", 0755);
	a = ask(f, &(struct host_call){.op = HOST_GPUS});
	assert_int_equal(a.count, 2);
	assert_int_equal(a.gpus[1].memory_mb, UNKNOWN);
}

/* ---- the providers ---- */

static void world_host(void *self, const struct host_call *call, host_cb cb, void *arg)
{
	struct fixture *f = self;

	local_host_call(f->host, call, cb, arg);
}

struct seen {
	int calls;
	struct result res;
	struct instance inst;
	struct offer offers[8];
};

static void on_result(void *arg, const struct result *res)
{
	struct seen *s = arg;

	s->calls++;
	s->res = *res;
	if (res->instances && res->count)
		s->inst = res->instances[0];
	for (size_t i = 0; res->offers && i < res->count && i < 8; i++)
		s->offers[i] = res->offers[i];
}

static struct seen act(struct fixture *f, struct provider *p, enum call_op op, const char *offer)
{
	struct world w = {.self = f, .host = world_host};
	struct offer o = {.available = true};
	struct create_args args = {.label = f->label,
				   .offer = &o,
				   .owner_uid = user.uid,
				   .owner_gid = user.gid,
				   .authorized_keys = f->public_key};
	struct call call = {.op = op, .create = &args, .instance_id = f->label};
	struct seen s = {.calls = 0};

	COPY(o.id, offer ? offer : "");
	p->act(p, &w, &call, on_result, &s);
	while (!s.calls)
		uv_run(&f->loop, UV_RUN_ONCE);
	assert_int_equal(s.calls, 1);
	return s;
}

static void local_offers_the_cpu(void **state)
{
	struct fixture *f = *state;
	struct provider *p = provider_local_new(70000, 1);
	char first[60], out[100];
	struct host_instance target = {.alive = true};
	struct seen s;

	local_host_conf(f->host)->nvidia_dir = "/nonexistent";
	s = act(f, p, CALL_OFFERS, NULL);
	assert_int_equal(s.res.count, 1);
	assert_true(s.res.complete && s.offers[0].available);
	assert_string_equal(s.offers[0].id, "local-cpu");
	assert_string_equal(s.offers[0].gpu_type, "CPU");
	assert_int_equal(s.offers[0].price_u6, 70000);
	assert_int_equal(s.offers[0].gpu_count, 0);

	s = act(f, p, CALL_CREATE, "local-gpuX");
	assert_int_equal(s.res.verdict, SURE_NO);
	s = act(f, p, CALL_CREATE, "local-cpu");
	assert_int_equal(s.res.verdict, SURE_YES);
	assert_int_equal(s.inst.status, INST_RUNNING);
	COPY(target.user, s.inst.ssh_user);
	COPY(target.host_key, s.inst.host_key);
	target.port = s.inst.ssh_port;
	assert_int_equal(ssh(f, &target, f->key_file, "true", out, sizeof(out)), 0);
	assert_false(act(f, p, CALL_OFFERS, NULL).offers[0].available);
	assert_int_equal(act(f, p, CALL_CREATE, "local-cpu").inst.ssh_port, target.port);

	COPY(first, f->label);
	snprintf(f->label, sizeof(f->label), "%.50s-b", first);
	s = act(f, p, CALL_CREATE, "local-cpu");
	assert_int_equal(s.res.verdict, SURE_NO);
	assert_int_equal(s.res.error, PE_STALE_OFFER);
	COPY(f->label, first);

	s = act(f, p, CALL_LIST, NULL);
	assert_true(s.res.complete);
	assert_int_equal(s.res.count, 1);
	assert_string_equal(s.inst.id, f->label);
	s = act(f, p, CALL_DESTROY, NULL);
	assert_int_equal(s.res.verdict, SURE_YES);
	s = act(f, p, CALL_LOOK, NULL);
	assert_int_equal(s.res.verdict, SURE_YES);
	assert_int_equal(s.inst.status, INST_GONE);
	assert_non_null(strstr(s.res.evidence, "no process carries its mark"));
	provider_local_free(p);
}

static void local_sells_a_gpu_once(void **state)
{
	struct fixture *f = *state;
	struct local_conf *c = local_host_conf(f->host);
	struct provider *p = provider_local_new(0, 4);
	struct world w = {.self = f, .host = world_host};
	char nv[128], smi[128], other[64];
	struct seen s, a = {.calls = 0}, b = {.calls = 0};
	struct offer o = {.id = "local-gpu1"};
	struct create_args first = {.offer = &o,
				    .label = f->label,
				    .owner_uid = user.uid,
				    .authorized_keys = f->public_key},
			   second = first;

	snprintf(nv, sizeof(nv), "%s/nv", f->dir);
	snprintf(smi, sizeof(smi), "%s/smi", f->dir);
	c->nvidia_dir = nv;
	c->nvidia_smi = smi;
	fake_gpu(f, "0000:01:00.0", "NVIDIA GeForce RTX 4090");
	fake_gpu(f, "0000:02:00.0", "NVIDIA A10");
	put_file(smi,
		 "#!/bin/sh\necho '0, NVIDIA GeForce RTX 4090, 24564'\necho '1, NVIDIA A10, "
		 "23028'\n",
		 0755);
	s = act(f, p, CALL_OFFERS, NULL);
	assert_int_equal(s.res.count, 2);
	assert_string_equal(s.offers[0].id, "local-gpu0");
	assert_string_equal(s.offers[0].gpu_type, "RTX 4090");
	assert_int_equal(s.offers[0].vram_gb, 24);
	assert_string_equal(s.offers[1].gpu_type, "A10");
	assert_int_equal(s.offers[1].vram_gb, 24);

	snprintf(other, sizeof(other), "%.50s-b", f->label);
	second.label = other;
	p->act(p, &w, &(struct call){.op = CALL_CREATE, .create = &first}, on_result, &a);
	p->act(p, &w, &(struct call){.op = CALL_CREATE, .create = &second}, on_result, &b);
	while (!a.calls || !b.calls)
		uv_run(&f->loop, UV_RUN_ONCE);
	assert_int_equal(a.res.verdict, SURE_YES);
	assert_int_equal(b.res.verdict, SURE_NO);
	assert_int_equal(b.res.error, PE_STALE_OFFER);
	s = act(f, p, CALL_OFFERS, NULL);
	assert_true(s.offers[0].available);
	assert_false(s.offers[1].available);
	provider_local_free(p);
}

static void synthetic_is_the_same_every_time_and_never_sold(void **state)
{
	struct fixture *f = *state;
	struct provider *p = provider_synthetic_new(7, 4900, 100, 0),
			*q = provider_synthetic_new(7, 4900, 100, 0);
	struct provider *r = provider_synthetic_new(8, 4900, 100, 0);
	struct seen a = act(f, p, CALL_OFFERS, NULL), b = act(f, q, CALL_OFFERS, NULL);
	struct seen c = act(f, r, CALL_OFFERS, NULL);

	assert_int_equal(a.res.count, 5000);
	assert_memory_equal(a.offers, b.offers, sizeof(a.offers));
	assert_memory_not_equal(a.offers, c.offers, sizeof(a.offers));
	assert_int_equal(act(f, p, CALL_CREATE, a.offers[0].id).res.verdict, SURE_NO);
	assert_int_equal(act(f, p, CALL_LIST, NULL).res.count, 0);
	assert_int_equal(act(f, p, CALL_LOOK, NULL).inst.status, INST_GONE);
	provider_synthetic_free(p);
	provider_synthetic_free(q);
	provider_synthetic_free(r);
}

static void synthetic_prices_change_as_the_seed_says(void **state)
{
	struct fixture *f = *state;
	struct provider *p = provider_synthetic_new(7, 4900, 100, 1000),
			*q = provider_synthetic_new(7, 4900, 100, 1000);
	struct seen first = act(f, p, CALL_OFFERS, NULL), before = first;

	assert_memory_equal(first.offers, act(f, q, CALL_OFFERS, NULL).offers,
			    sizeof(first.offers));
	for (int turn = 0; turn < 50; turn++) {
		struct seen a = act(f, p, CALL_OFFERS, NULL), b = act(f, q, CALL_OFFERS, NULL);

		assert_memory_equal(a.offers, b.offers, sizeof(a.offers));
		for (size_t i = 0; i < ARRAY_LEN(a.offers); i++) {
			int64_t now = a.offers[i].price_u6, base = first.offers[i].price_u6;

			assert_int_not_equal(now, before.offers[i].price_u6);
			assert_in_range(now, base * 94 / 100, base * 106 / 100);
		}
		before = a;
	}
	provider_synthetic_free(p);
	provider_synthetic_free(q);
}

/* ---- all ---- */

static int make_user(void **state)
{
	const struct passwd *pw;

	(void)state;
	unsetenv("GPUFS_INSTANCE");
	snprintf(user.name, sizeof(user.name), "gpufst%d", (int)getpid());
	if (run("useradd -M -d / -s /bin/sh %s", user.name) != 0)
		return -1;
	pw = getpwnam(user.name);
	if (!pw)
		return -1;
	user.uid = pw->pw_uid;
	user.gid = pw->pw_gid;
	return 0;
}

static int remove_user(void **state)
{
	(void)state;
	/* -f: zombies of the user may still be waiting for init */
	return run("userdel -f %s 2>/dev/null", user.name) == 0 ? 0 : -1;
}

int main(void)
{
#define BOTH(fn)                                                \
	cmocka_unit_test_setup_teardown(fn, setup, teardown),   \
	{                                                       \
#fn " (marks)", fn, setup_marks, teardown, NULL \
	}
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {
		BOTH(starts_serves_and_ends_with_proof),
		BOTH(connections_that_are_open_end_too),
		BOTH(starting_again_finds_the_same),
		BOTH(a_list_never_takes_a_start_for_gone),
		BOTH(a_kill_waits_for_the_start),
		BOTH(the_daemon_may_go_while_it_starts),
		BOTH(a_damaged_record_is_still_an_instance),
		BOTH(a_stray_process_with_the_mark_is_found_and_ended),
		BOTH(a_record_without_processes_is_gone_and_can_be_ended),
		BOTH(no_port_at_all_is_a_sentence_and_leaves_nothing),
		TEST(another_key_is_refused),
		TEST(root_can_own_one),
		TEST(files_are_as_private_as_they_must_be),
		TEST(what_ended_is_not_started_again),
		TEST(a_port_that_is_taken_is_left_alone),
		TEST(refusals_are_sentences_and_leave_nothing),
		TEST(labels_cannot_leave_the_directory),
		TEST(a_config_that_sshd_refuses_is_told_with_its_words),
		TEST(gpufs_does_not_start_inside_its_own_session),
		TEST(env_words_arrive_as_they_are),
		TEST(what_a_killed_start_left_aside_is_swept),
		TEST(gpus_are_read_from_the_driver_and_nvidia_smi),
		TEST(local_offers_the_cpu),
		TEST(local_sells_a_gpu_once),
		TEST(synthetic_is_the_same_every_time_and_never_sold),
		TEST(synthetic_prices_change_as_the_seed_says),
	};

	if (geteuid() != 0) {
		printf("1..0 # SKIP needs root: it makes a user and starts sshd as that user\n");
		return 77;
	}
	return cmocka_run_group_tests(tests, make_user, remove_user);
}
