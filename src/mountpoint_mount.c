/*
 * Mounting and detaching. Root opens /dev/fuse and calls mount(2) by itself; an ordinary user asks
 * the set-uid helper fusermount3, which sends the open descriptor over a socket (_FUSE_COMMFD).
 * Both give a descriptor that is closed on exec: a child that kept it would keep a dead mount
 * hanging (fuse.md 5.7).
 *
 * One thread. Tests: tests/mount.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/check.h"
#include "core/text.h"
#include "mountpoint_parts.h"

static int mount_as_root(const char *path, const struct mount_how *how, int *fuse_fd,
			 struct error *why)
{
	BUF data = {.max = 256};
	unsigned long flags = MS_NOSUID | MS_NODEV;
	int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return fail(why, ERR_INVALID,
			    "/dev/fuse cannot be opened: %s; the kernel module fuse must be loaded "
			    "(modprobe fuse), and a container needs --device /dev/fuse and "
			    "--cap-add SYS_ADMIN",
			    strerror(errno));
	buf_printf(&data,
		   "fd=%d,rootmode=40000,user_id=0,group_id=0,default_permissions,allow_other", fd);
	flags |= (how->read_only ? MS_RDONLY : 0UL) | (how->noexec ? MS_NOEXEC : 0UL);
	CHECK(data.data != NULL);
	if (mount("gpufs", path, "fuse.gpufs", flags, data.data) != 0) {
		int eno = errno;

		close(fd);
		return fail(why, ERR_INVALID, "%s: cannot be mounted: %s%s", path, strerror(eno),
			    eno == EPERM ? "; in a container add --cap-add SYS_ADMIN" : "");
	}
	*fuse_fd = fd;
	return 0;
}

/* Run fusermount3; its complaints go into `said`. `comm` is its end of the socket or -1. */
static int run_fusermount(char *const argv[], int comm, struct buf *said)
{
	int err_fd[2];
	char piece[256], number[16];
	int status = -1;
	ssize_t n;

	if (pipe2(err_fd, O_CLOEXEC) != 0)
		return -1;
	pid_t pid = fork();
	if (pid == 0) {
		sigset_t none;

		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		signal(SIGPIPE, SIG_DFL);
		if (comm >= 0) {
			snprintf(number, sizeof(number), "%d", comm);
			if (fcntl(comm, F_SETFD, 0) != 0 || setenv("_FUSE_COMMFD", number, 1) != 0)
				_exit(127);
		}
		if (dup2(err_fd[1], 2) < 0 || chdir("/") != 0)
			_exit(127);
		execvp(argv[0], argv);
		_exit(127);
	}
	close(err_fd[1]);
	while (pid > 0 && (n = read(err_fd[0], piece, sizeof(piece))) != 0) {
		if (n < 0 && errno != EINTR)
			break;
		if (n > 0)
			buf_add(said, piece, (size_t)n);
	}
	close(err_fd[0]);
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int receive_fd(int socket)
{
	union {
		char space[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control;
	char byte;
	struct iovec iov = {.iov_base = &byte, .iov_len = 1};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control.space,
			     .msg_controllen = sizeof(control.space)};
	int fd = -1;

	if (recvmsg(socket, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT) <= 0)
		return -1;
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS &&
	    c->cmsg_len == CMSG_LEN(sizeof(int)))
		memcpy(&fd, CMSG_DATA(c), sizeof(fd));
	return fd;
}

static int mount_as_user(const char *path, const struct mount_how *how, int *fuse_fd,
			 struct error *why)
{
	BUF options = {.max = 256}, said = {.max = 512};
	char helper[] = "fusermount3", o[] = "-o", dashes[] = "--";
	int pair[2];

	buf_printf(&options, "default_permissions,fsname=gpufs,subtype=gpufs%s%s",
		   how->read_only ? ",ro" : "", how->noexec ? ",noexec" : "");
	FREE char *where = strdup(path);
	CHECK(options.data && where);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
		return fail(why, ERR_INVALID, "no socket for fusermount3: %s", strerror(errno));
	char *argv[] = {helper, o, options.data, dashes, where, NULL};
	int rc = run_fusermount(argv, pair[1], &said);
	int fd = rc == 0 ? receive_fd(pair[0]) : -1;
	close(pair[0]);
	close(pair[1]);
	if (fd >= 0) {
		*fuse_fd = fd;
		return 0;
	}
	if (rc == 127)
		return fail(
			why, ERR_INVALID,
			"fusermount3 is needed to mount without being root: apt-get install fuse3");
	BUF text = {.max = 320};
	buf_puts(&said, "");
	if (said.data)
		buf_escape(&text, said.data, strcspn(said.data, "\n"));
	return fail(why, ERR_INVALID,
		    "%s: fusermount3 could not mount it: %.200s; for ordinary users the directory "
		    "must be theirs, /dev/fuse must have mode 0666 and fusermount3 must be set-uid "
		    "root",
		    path, text.data && text.len ? text.data : "it gave no reason");
}

int mountpoint_mount(const char *path, const struct mount_how *how, int *fuse_fd, char device[32],
		     struct error *why)
{
	struct mount_entry m;
	int err = geteuid() == 0 ? mount_as_root(path, how, fuse_fd, why)
				 : mount_as_user(path, how, fuse_fd, why);

	if (err)
		return err;
	device[0] = '\0';
	if (mount_entry_find(path, NULL, &m) && m.ours)
		copy_text(device, 32, m.device);
	return 0;
}

void mountpoint_detach(const char *path, const char *device)
{
	struct mount_entry m;
	BUF said = {.max = 512};
	char helper[] = "fusermount3", quiet[] = "-uqz", dashes[] = "--";

	/* Only the topmost can be detached by its path, so it must be the one that is meant. */
	if (!mount_entry_find(path, NULL, &m) || !m.ours)
		return;
	if (*device && strcmp(device, m.device) != 0)
		return;
	if (geteuid() == 0) {
		(void)umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW);
		return;
	}
	FREE char *where = strdup(path);
	CHECK(where != NULL);
	char *argv[] = {helper, quiet, dashes, where, NULL};
	(void)run_fusermount(argv, -1, &said);
}
