/*
 * The holder. One thread, no loop of libuv, no memory to speak of: it must outlive everything that
 * can go wrong in the daemon. It waits in one poll(2) for signals, for the daemon's word, and for
 * the child that asks the mount whether it answers.
 *
 * What happens when:
 *  - the daemon ends with 0 (SIGTERM, or somebody unmounted): detach what is left, end with 0;
 *  - the daemon dies: detach, close /dev/fuse (so that no reader is left waiting), mount afresh,
 * start a new daemon; five deaths within a minute are too many: unmount and give up with a
 * sentence;
 *  - SIGTERM or SIGINT: forwarded; after stop_limit_ms SIGKILL; detach, end;
 *  - the holder itself is killed: the daemon sees the end of its socket and goes on serving.
 * Children of the daemon that lost their parent come here (child subreaper) and are reaped.
 *
 * "Ready" is not the daemon's word alone: a child stats the mount point, so the command returns
 * when the mount has really answered. The holder itself never asks the mount: that could hang for
 * good. Tests: tests/mount.
 */
#include "holder.h"

#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/check.h"
#include "core/text.h"
#include "io/io.h"

#define DEATHS_MAX	 5
#define DEATHS_WITHIN_US (60 * SECOND_US)
#define NEVER_US	 INT64_MAX

struct holder {
	const struct holder_args *a;
	int signal_fd, fuse_fd, daemon_fd; /* daemon_fd: our end of the socket */
	char device[32];
	pid_t daemon, asker;
	bool stopping, told; /* told: the caller knows the outcome */
	bool heard;	     /* this daemon has said whether it is ready */
	int64_t kill_at_us;
	int64_t deaths_us[DEATHS_MAX]; /* a ring, oldest at deaths % DEATHS_MAX */
	size_t deaths;
	sigset_t before; /* the mask that children get back */
	char refusal[sizeof(((struct error *)NULL)->text)];
};

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* ---- telling ---- */

static void write_all(int fd, const char *s, size_t n)
{
	while (n > 0) {
		ssize_t did = send(fd, s, n, MSG_NOSIGNAL);
		if (did < 0 && errno == ENOTSOCK)
			did = write(fd, s, n);
		if (did < 0 && errno == EINTR)
			continue;
		if (did <= 0)
			return; /* nobody listens any more */
		s += did;
		n -= (size_t)did;
	}
}

/* One byte of verdict, then the sentence, then end of file. */
void holder_tell(int fd, const char *refusal)
{
	write_all(fd, refusal ? "-" : "+", 1);
	if (refusal)
		write_all(fd, refusal, strlen(refusal));
}

int holder_outcome(int caller_fd, struct buf *sentence)
{
	char piece[512];
	ssize_t n;

	while ((n = read(caller_fd, piece, sizeof(piece))) != 0) {
		if (n < 0 && errno != EINTR)
			break;
		if (n > 0)
			buf_add(sentence, piece, (size_t)n);
	}
	if (!sentence->len) {
		buf_puts(sentence, "-it ended before it could say why; its log may tell more");
	}
	bool good = sentence->data && sentence->data[0] == '+';
	if (sentence->data && sentence->len) { /* without the verdict */
		memmove(sentence->data, sentence->data + 1, sentence->len);
		sentence->len--;
	}
	return good ? 0 : 1;
}

/* The outcome of the start goes to the command that waits for it, later news to the log. */
static void tell_caller(struct holder *h, const char *refusal)
{
	bool first = !h->told;

	h->told = true;
	if (first && h->a->caller_fd >= 0) {
		holder_tell(h->a->caller_fd, refusal);
		close(h->a->caller_fd);
	}
	if (refusal && h->a->caller_fd < 0)
		dprintf(STDERR_FILENO, "gpufs: %s\n", refusal);
	else if (refusal && !first)
		log_line(LOG_ERROR_, "%s", refusal);
}

/* ---- children ---- */

/* What every child undoes of the holder. */
static void child_begin(struct holder *h)
{
	sigprocmask(SIG_SETMASK, &h->before, NULL);
	close_fd(&h->signal_fd);
	close_fd(&h->daemon_fd);
	if (!h->told && h->a->caller_fd >= 0)
		close(h->a->caller_fd);
}

static int start_daemon(struct holder *h, struct error *why)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
		return fail(why, ERR_NO_MEMORY, "no socket for the daemon: %s", strerror(errno));
	h->refusal[0] = '\0';
	h->heard = false;
	fflush(NULL);
	h->daemon = fork();
	if (h->daemon < 0) {
		int eno = errno;
		close(pair[0]);
		close(pair[1]);
		return fail(why, ERR_NO_MEMORY, "the daemon cannot be started: %s", strerror(eno));
	}
	if (h->daemon == 0) {
		child_begin(h);
		close(pair[0]);
		setsid(); /* Ctrl-C goes to the holder alone, which forwards it once */
		exit(h->a->daemon(h->a->arg, h->fuse_fd, pair[1], h->device));
	}
	close(pair[1]);
	h->daemon_fd = pair[0];
	mountpoint_sign(h->a->claim_fd, h->a->mountpoint, getpid(), h->daemon);
	return 0;
}

/* A child that asks the mount for its attributes: the answer is the proof that it is served. */
static void start_asker(struct holder *h)
{
	struct stat st;

	h->asker = fork();
	if (h->asker != 0)
		return;
	child_begin(h);
	close_fd(&h->fuse_fd); /* else its own descriptor would keep a dead mount waiting */
	_exit(stat(h->a->mountpoint, &st) == 0 ? 0 : errno & 0xff);
}

/* One byte of verdict, then perhaps a sentence; it may come in pieces. */
static void read_daemon(struct holder *h)
{
	char piece[sizeof(h->refusal)], *p = piece;
	ssize_t n;

	while (h->daemon_fd >= 0 &&
	       (n = recv(h->daemon_fd, piece, sizeof(piece) - 1, MSG_DONTWAIT)) >= 0) {
		size_t len = strlen(h->refusal);

		if (n == 0)
			return close_fd(&h->daemon_fd);
		piece[n] = '\0';
		p = piece;
		if (!h->heard && *p == '+' && !h->told)
			start_asker(h);
		if (!h->heard)
			p++;
		h->heard = true;
		copy_text(h->refusal + len, sizeof(h->refusal) - len, p);
	}
}

/* ---- the end ---- */

static void drop_mount(struct holder *h)
{
	close_fd(&h->fuse_fd); /* first: ends every request that waits */
	mountpoint_detach(h->a->mountpoint, h->device);
}

static bool too_many_deaths(struct holder *h)
{
	int64_t now = clock_mono_us();

	h->deaths_us[h->deaths++ % DEATHS_MAX] = now;
	int64_t oldest = h->deaths_us[h->deaths % DEATHS_MAX]; /* of the last DEATHS_MAX */
	return h->deaths >= DEATHS_MAX && now - oldest <= DEATHS_WITHIN_US;
}

static int mount_and_start(struct holder *h, struct error *why)
{
	const struct holder_args *a = h->a;
	int err = mountpoint_mount(a->mountpoint, &a->how, &h->fuse_fd, h->device, why);

	return err ? err : start_daemon(h, why);
}

static const char *how_it_ended(int status, char *text, size_t n)
{
	if (WIFSIGNALED(status))
		snprintf(text, n, "was ended by signal %d (%s)", WTERMSIG(status),
			 strsignal(WTERMSIG(status)));
	else
		snprintf(text, n, "ended with status %d", WEXITSTATUS(status));
	return text;
}

/* The daemon is gone. Returns the holder's exit status, or -1 to go on with a new daemon. */
static int daemon_ended(struct holder *h, int status)
{
	struct error why = {0};
	char how[96];

	if (h->daemon_fd >= 0)
		read_daemon(h); /* its last words may have come after the signal */
	close_fd(&h->daemon_fd);
	h->daemon = 0;
	drop_mount(h);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
		tell_caller(h, h->told ? NULL : "it was stopped before it was ready");
		return 0;
	}
	if (h->stopping) {
		tell_caller(
			h, "the daemon did not stop in time and was killed; sessions keep running");
		return 1;
	}
	if (!h->told) { /* the first start: whoever typed the command decides what next */
		BUF text = {.max = 512};
		buf_printf(&text, "the daemon %s before the mount answered; its log may tell more",
			   how_it_ended(status, how, sizeof(how)));
		tell_caller(h, h->refusal[0] ? h->refusal : text.data);
		return 1;
	}
	log_line(LOG_ERROR_, "the daemon %s; mounting %s afresh%s%s",
		 how_it_ended(status, how, sizeof(how)), h->a->mountpoint,
		 h->refusal[0] ? ": " : "", h->refusal);
	if (too_many_deaths(h)) {
		tell_caller(
			h,
			"the daemon died 5 times within a minute; unmounted and given up. Sessions "
			"keep running; gpufs started again finds them");
		return 1;
	}
	if (mount_and_start(h, &why) == 0)
		return -1;
	tell_caller(h, why.text);
	drop_mount(h);
	return 1;
}

/* ---- the wait ---- */

static void stop_daemon(struct holder *h)
{
	if (h->stopping) { /* asked twice: the daemon stops at once, whatever it was doing */
		kill(h->daemon, SIGTERM);
		return;
	}
	h->stopping = true;
	h->kill_at_us = clock_mono_us() + (int64_t)h->a->stop_limit_ms * 1000;
	kill(h->daemon, SIGTERM);
}

/* The answer of the mount itself. A refusal because the daemon is dying is told by its end. */
static void asker_ended(struct holder *h, int status)
{
	int eno = WIFEXITED(status) ? WEXITSTATUS(status) : EINTR;

	h->asker = 0;
	if (eno == 0) {
		tell_caller(h, NULL);
	} else if (eno != ENOTCONN && eno != ECONNABORTED && h->daemon > 0) {
		snprintf(h->refusal, sizeof(h->refusal), "%.200s: the mount does not answer: %s",
			 h->a->mountpoint, strerror(eno));
		kill(h->daemon, SIGKILL);
	}
}

/* Reap everything. Returns the exit status once the daemon's end ends the holder, else -1. */
static int reap(struct holder *h)
{
	int status, end = -1;
	pid_t pid;

	while (end < 0 && (pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid == h->asker) {
			asker_ended(h, status);
		} else if (pid == h->daemon) {
			end = daemon_ended(h, status);
		}
	}
	return end;
}

static int take_signals(struct holder *h)
{
	struct signalfd_siginfo si;
	int end = -1;

	while (end < 0 && read(h->signal_fd, &si, sizeof(si)) == (ssize_t)sizeof(si)) {
		if (si.ssi_signo == SIGCHLD)
			end = reap(h);
		else if (si.ssi_signo == SIGHUP)
			kill(h->daemon, SIGHUP);
		else
			stop_daemon(h);
	}
	return end;
}

static int wait_for_end(struct holder *h)
{
	for (int end = -1;;) {
		struct pollfd p[2] = {{.fd = h->signal_fd, .events = POLLIN},
				      {.fd = h->daemon_fd, .events = POLLIN}};
		int64_t left_us = h->kill_at_us == NEVER_US ? -1 : h->kill_at_us - clock_mono_us();

		if (h->kill_at_us != NEVER_US && left_us <= 0) {
			kill(h->daemon, SIGKILL);
			close_fd(&h->fuse_fd);
			h->kill_at_us = NEVER_US;
			continue;
		}
		if (poll(p, 2, left_us < 0 ? -1 : (int)(left_us / 1000) + 1) < 0 && errno != EINTR)
			return 1;
		if (p[1].revents)
			read_daemon(h);
		if (p[0].revents)
			end = take_signals(h);
		if (end >= 0)
			return end;
	}
}

int holder_run(const struct holder_args *a)
{
	struct holder h = {.a = a, .fuse_fd = -1, .daemon_fd = -1, .kill_at_us = NEVER_US};
	struct error why = {0};
	sigset_t mine;
	int end = 1;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&mine);
	sigaddset(&mine, SIGTERM);
	sigaddset(&mine, SIGINT);
	sigaddset(&mine, SIGHUP);
	sigaddset(&mine, SIGCHLD);
	sigprocmask(SIG_BLOCK, &mine, &h.before);
	(void)prctl(PR_SET_CHILD_SUBREAPER, 1);
	h.signal_fd = signalfd(-1, &mine, SFD_CLOEXEC | SFD_NONBLOCK);
	if (h.signal_fd < 0)
		tell_caller(&h, "no signalfd: too many files are open");
	else if (mount_and_start(&h, &why) != 0)
		tell_caller(&h, why.text);
	else
		end = wait_for_end(&h);
	drop_mount(&h);
	mountpoint_unclaim(a->claim_fd, a->mountpoint);
	close_fd(&h.signal_fd);
	return end;
}
