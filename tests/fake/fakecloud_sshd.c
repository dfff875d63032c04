/*
 * A real sshd for each machine of the fake cloud, on loopback: root by key, a host key of its own, and
 * exactly the keys that are in force. From its creation on a machine has two ports, as with a proxy and a
 * direct one: the first accepts TCP before there is an sshd and says nothing, as the real proxy does; the
 * second refuses. When it runs, sshd takes both.
 *
 * Each sshd is the first process of a pid namespace of its own, so that one SIGKILL takes its logins along;
 * it dies with the server too, whatever kills that. It sees its own empty home of root (the one of the
 * test machine may have any start-up files) and is called C.ID, as the containers of Vast.ai are.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../src/core/check.h"
#include "fakecloud.h"

#define SSHD	 "/usr/sbin/sshd"
#define KEYGEN	 "/usr/bin/ssh-keygen"
#define RETRY_US (100 * 1000) /* an sshd that ended by itself is started again after this */
#define LOOK_US	 (200 * 1000) /* how often a dead one is noticed */

enum { PROXY, DIRECT };
struct guest {
	int64_t id;
	size_t index; /* in the cloud */
	char dir[200];
	int fd[2]; /* the ports while no sshd has them; -1 */
	int port[2];
	pid_t pid; /* 0: none */
	int64_t again_us;
	uint64_t keys;
};

/* ---- files and ports ---- */

static void guest_path(const struct guest *g, const char *name, char *out, size_t size)
{
	CHECK(snprintf(out, size, "%s/%s", g->dir, name) < (int)size);
}

static bool file_write(const struct guest *g, const char *name, const char *text, size_t n)
{
	char path[300], aside[300];
	FILE *f;
	bool good;

	guest_path(g, name, path, sizeof(path));
	guest_path(g, ".new", aside, sizeof(aside));
	f = fopen(aside, "w");
	if (!f)
		return false;
	good = fwrite(text, 1, n, f) == n;
	good = fclose(f) == 0 && good;
	return good && rename(aside, path) == 0;
}

/* Takes a port (0: any), so that nobody else gets it. */
static int port_take(int *port)
{
	struct sockaddr_in a = {.sin_family = AF_INET,
				.sin_port = htons((uint16_t)*port),
				.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t n = sizeof(a);
	int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
	    bind(fd, (const struct sockaddr *)&a, n) < 0 ||
	    getsockname(fd, (struct sockaddr *)&a, &n) < 0) {
		if (fd >= 0)
			close(fd);
		return -1;
	}
	*port = ntohs(a.sin_port);
	return fd;
}

static void ports_take(struct guest *g)
{
	for (int k = PROXY; k <= DIRECT; k++)
		if (g->fd[k] < 0)
			g->fd[k] = port_take(&g->port[k]);
	if (g->fd[PROXY] >= 0)
		listen(g->fd[PROXY], 64); /* accepted by the kernel, and never spoken to */
}

static void ports_leave(struct guest *g)
{
	for (int k = PROXY; k <= DIRECT; k++) {
		if (g->fd[k] >= 0)
			close(g->fd[k]);
		g->fd[k] = -1;
	}
}

static void config_write(const struct guest *g)
{
	BUF b = {.data = NULL};

	buf_printf(&b,
		   "Port %d\nPort %d\nListenAddress 127.0.0.1\nHostKey %s/host_key\n"
		   "AuthorizedKeysFile %s/authorized_keys\nPermitRootLogin prohibit-password\n"
		   "PasswordAuthentication no\nKbdInteractiveAuthentication no\nUsePAM no\n"
		   "StrictModes no\nPidFile none\nUseDNS no\nPrintMotd no\nX11Forwarding no\n"
		   "MaxStartups 200\nLogLevel VERBOSE\n",
		   g->port[PROXY], g->port[DIRECT], g->dir, g->dir);
	file_write(g, "sshd_config", b.data, b.len);
}

static void keygen(const struct guest *g)
{
	char path[300];
	pid_t pid;
	int status;

	guest_path(g, "host_key", path, sizeof(path));
	pid = fork();
	if (pid == 0) {
		execl(KEYGEN, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", path,
		      (char *)NULL);
		_exit(127);
	}
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
}

/* ---- processes ---- */

/* The account that the cloud's images have, which the test machine has not: root by another name. It is
 * written before the fork and seen by this machine's sshd only. */
static void passwd_write(const struct server *s, const struct guest *g)
{
	BUF text = {.data = NULL};
	char line[512];
	FILE *f = s->cloud->user ? fopen("/etc/passwd", "r") : NULL;

	if (!f)
		return;
	while (fgets(line, sizeof(line), f))
		buf_puts(&text, line);
	fclose(f);
	buf_printf(&text, "%s:x:0:0::/root:/bin/bash\n", s->cloud->user);
	file_write(g, "passwd", text.data, text.len);
}

/* Where mounting is not allowed, the home stays the real one. */
static void own_world(const struct server *s, const struct guest *g)
{
	char home[300], passwd[300], name[40];

	guest_path(g, "home", home, sizeof(home));
	guest_path(g, "passwd", passwd, sizeof(passwd));
	snprintf(name, sizeof(name), "C.%lld", (long long)g->id);
	if (sethostname(name, strlen(name)) != 0 ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
		return;
	if (strncmp(g->dir, "/root/", 6) != 0)
		mount(home, "/root", NULL, MS_BIND, NULL);
	if (s->cloud->user)
		mount(passwd, "/etc/passwd", NULL, MS_BIND, NULL);
	mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
}

/* Between the fork and the death signal the server may have died already: its end of the pipe says so. */
static void child(const struct server *s, const struct guest *g, bool apart)
{
	struct pollfd p = {.fd = s->alive[0], .events = POLLIN};
	char config[300], log[300];
	int null_fd = open("/dev/null", O_RDWR);
	sigset_t none;

	close(s->alive[1]);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (poll(&p, 1, 0) != 0)
		_exit(127);
	if (apart)
		own_world(s, g);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	guest_path(g, "sshd_config", config, sizeof(config));
	guest_path(g, "sshd.log", log, sizeof(log));
	setsid();
	dup2(null_fd, 0);
	dup2(null_fd, 1);
	dup2(null_fd, 2);
	execl(SSHD, SSHD, "-D", "-f", config, "-E", log, (char *)NULL);
	_exit(127);
}

static void sshd_start(const struct server *s, struct guest *g)
{
	const unsigned long apart = CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWUTS;
	bool alone = true;
	long pid;

	mkdir("/run/sshd", 0755); /* sshd wants it for the separation of privileges */
	config_write(g);
	passwd_write(s, g);
	ports_leave(g);
	pid = syscall(SYS_clone, apart | SIGCHLD, NULL, NULL, NULL, 0L);
	if (pid < 0) { /* not allowed here: then without namespaces */
		alone = false;
		pid = fork();
	}
	if (pid == 0)
		child(s, g, alone);
	g->pid = pid > 0 ? (pid_t)pid : 0;
}

static void sshd_stop(struct guest *g)
{
	int status;

	if (g->pid <= 0)
		return;
	kill(g->pid, SIGKILL);
	while (waitpid(g->pid, &status, 0) < 0 && errno == EINTR)
		;
	g->pid = 0;
}

/* ---- guests ---- */

static struct guest *guest_new(struct server *s, size_t index, int64_t id)
{
	struct guest *g = xcalloc(1, sizeof(*g));
	char home[300];

	*g = (struct guest){.id = id, .index = index, .fd = {-1, -1}, .keys = 1};
	CHECK(snprintf(g->dir, sizeof(g->dir), "%s/%lld", s->o.dir, (long long)id) <
	      (int)sizeof(g->dir));
	guest_path(g, "home", home, sizeof(home));
	if ((mkdir(g->dir, 0755) < 0 || mkdir(home, 0700) < 0) && errno != EEXIST)
		perror("fakecloud: directory of a machine");
	keygen(g);
	ports_take(g);
	s->cloud->endpoint(s->state, id, "127.0.0.1", g->port[PROXY], g->port[DIRECT]);
	return g;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st, (void)type, (void)at;
	return remove(path);
}

static void guest_free(struct guest *g)
{
	sshd_stop(g);
	ports_leave(g);
	nftw(g->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
	free(g);
}

static void keys_write(struct server *s, struct guest *g)
{
	BUF lines = {.data = NULL};
	uint64_t sum;

	s->cloud->keys(s->state, server_now_us(s), g->id, &lines);
	sum = hash64(lines.data ? lines.data : "", lines.len, 0);
	if (sum != g->keys &&
	    file_write(g, "authorized_keys", lines.data ? lines.data : "", lines.len))
		g->keys = sum;
}

/* false: it is gone. */
static bool guest_step(struct server *s, struct guest *g, int64_t *due_us)
{
	struct fake_guest want;
	int64_t now = server_now_us(s);
	int status;

	s->cloud->guest(s->state, now, g->index, &want);
	if (!want.wanted)
		return false;
	keys_write(s, g);
	if (g->pid && waitpid(g->pid, &status, WNOHANG) == g->pid) {
		g->pid = 0;
		g->again_us = now + RETRY_US;
	}
	if (!want.login && g->pid)
		sshd_stop(g);
	if (!want.login)
		ports_take(g);
	else if (!g->pid && g->again_us <= now)
		sshd_start(s, g);
	if (want.login)
		*due_us = now + LOOK_US < *due_us ? now + LOOK_US : *due_us;
	return true;
}

void guests_step(struct server *s, int64_t *due_us)
{
	if (!s->o.ssh)
		return;
	if (s->alive[1] <= 0)
		CHECK(pipe2(s->alive, O_CLOEXEC) == 0);
	for (; s->guests_seen < s->cloud->guests(s->state); s->guests_seen++) {
		struct fake_guest want;

		s->cloud->guest(s->state, server_now_us(s), s->guests_seen, &want);
		if (!want.wanted)
			continue;
		s->guests = realloc(s->guests, (s->guest_count + 1) * sizeof(struct guest *));
		CHECK(s->guests != NULL);
		s->guests[s->guest_count++] = guest_new(s, s->guests_seen, want.id);
	}
	for (size_t i = 0; i < s->guest_count;) {
		if (guest_step(s, s->guests[i], due_us)) {
			i++;
			continue;
		}
		guest_free(s->guests[i]);
		s->guests[i] = s->guests[--s->guest_count];
	}
}

void guests_free(struct server *s)
{
	while (s->guest_count)
		guest_free(s->guests[--s->guest_count]);
	free(s->guests);
	s->guests = NULL;
}

void guests_show(const struct server *s, struct buf *out)
{
	for (size_t i = 0; i < s->guest_count; i++) {
		const struct guest *g = s->guests[i];

		buf_printf(out, "%lld %d %d %d %s\n", (long long)g->id, (int)g->pid, g->port[PROXY],
			   g->port[DIRECT], g->dir);
	}
}
