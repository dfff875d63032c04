/*
 * Which NVIDIA GPUs this machine has. The driver's directory says whether there are any; nvidia-smi, where
 * it is installed, says their order and memory. It may hang with a sick driver, so it has 5 seconds.
 *
 * Owner: any worker. What is not known is UNKNOWN, never zero.
 * Tests: tests/unit/test_local_host.c (with a directory and a program of the test)
 */
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../core/check.h"
#include "io_parts.h"
#include "local_parts.h"

#define OUTPUT_MAX ((size_t)16 << 10)
#define GPUS_MAX   64

extern char **environ;

static char *trim(char *s)
{
	size_t n;

	s += strspn(s, " \t");
	n = strlen(s);
	while (n > 0 && (s[n - 1] == ' ' || s[n - 1] == '\t' || s[n - 1] == '\r'))
		s[--n] = '\0';
	return s;
}

/* ---- the driver's directory ---- */

static int not_hidden(const struct dirent *e)
{
	return e->d_name[0] != '.';
}

/* "Model: \t\t NVIDIA GeForce RTX 4090" */
static void read_model(const char *dir, const char *bus, char out[64])
{
	char path[PATH_MAX];
	FREE char *line = NULL;
	size_t cap = 0;
	FILE *f = NULL;

	out[0] = '\0';
	if (snprintf(path, sizeof(path), "%s/%s/information", dir, bus) < (int)sizeof(path))
		f = fopen(path, "re");
	while (f && getline(&line, &cap, f) > 0) {
		if (strncmp(line, "Model:", 6) != 0)
			continue;
		line[strcspn(line, "\n")] = '\0';
		copy_text(out, 64, trim(line + 6));
		printable(out);
		break;
	}
	if (f)
		fclose(f);
}

/* In order of the PCI address, as CUDA counts with CUDA_DEVICE_ORDER=PCI_BUS_ID. */
static size_t gpus_of_driver(const char *dir, struct host_gpu *out, size_t max)
{
	struct dirent **list = NULL;
	int n = scandir(dir, &list, not_hidden, alphasort);
	size_t count = 0;

	for (int i = 0; i < n; i++) {
		if (count < max) {
			out[count] = (struct host_gpu){.index = (int64_t)count,
						       .memory_mb = UNKNOWN};
			read_model(dir, list[i]->d_name, out[count].name);
			count++;
		}
		free(list[i]);
	}
	free(list);
	return count;
}

/* ---- nvidia-smi ---- */

static pid_t smi_spawn(const char *program, int out_fd)
{
	char query[] = "--query-gpu=index,name,memory.total";
	char format[] = "--format=csv,noheader,nounits";
	FREE char *name = strdup(program);
	char *argv[] = {name, query, format, NULL};
	posix_spawn_file_actions_t files;
	pid_t pid = -1;

	if (!name || posix_spawn_file_actions_init(&files))
		return -1;
	posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&files, out_fd, 1);
	posix_spawn_file_actions_addopen(&files, 2, "/dev/null", O_WRONLY, 0);
	if (posix_spawnp(&pid, program, &files, NULL, argv, environ))
		pid = -1;
	posix_spawn_file_actions_destroy(&files);
	return pid;
}

/* Ended, or killed and given a second; a process stuck in the driver is left behind. */
static bool smi_reap(pid_t pid, int64_t deadline_us)
{
	int fd = pidfd_open(pid, 0), status = 0;
	struct pollfd p = {.fd = fd, .events = POLLIN};
	bool in_time;

	poll(&p, 1, ms_until(deadline_us, INT_MAX));
	in_time = waitpid(pid, &status, WNOHANG) == pid;
	if (!in_time) {
		kill(pid, SIGKILL);
		p.revents = 0;
		poll(&p, 1, 1000);
		waitpid(pid, &status, WNOHANG);
	}
	if (fd >= 0)
		close(fd);
	return in_time && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static bool smi_run(const char *program, char *out, size_t size)
{
	int64_t deadline_us = clock_mono_us() + LOCAL_WAIT_US;
	struct pollfd p = {.events = POLLIN};
	size_t n = 0;
	int ends[2];
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return false;
	pid = smi_spawn(program, ends[1]);
	close(ends[1]);
	p.fd = ends[0];
	while (pid > 0 && n < size - 1 && poll(&p, 1, ms_until(deadline_us, INT_MAX)) > 0) {
		ssize_t got = read(p.fd, out + n, size - 1 - n);

		if (got <= 0)
			break;
		n += (size_t)got;
	}
	out[n] = '\0';
	close(p.fd);
	return pid > 0 && smi_reap(pid, deadline_us) && strlen(out) == n;
}

/* "0, NVIDIA GeForce RTX 4090, 24564" */
static bool smi_line(char *line, struct host_gpu *out)
{
	char *rest = line, *index = strsep(&rest, ","), *name = strsep(&rest, ",");

	if (!index || !name || !rest ||
	    parse_int(str_of(trim(index)), 0, GPUS_MAX - 1, &out->index, NULL))
		return false;
	copy_text(out->name, sizeof(out->name), trim(name));
	printable(out->name);
	if (parse_int(str_of(trim(rest)), 1, INT32_MAX, &out->memory_mb, NULL))
		out->memory_mb = UNKNOWN; /* "[N/A]" on some boards */
	return out->name[0] != '\0';
}

static size_t gpus_of_smi(const char *program, struct host_gpu *out, size_t max)
{
	FREE char *text = calloc(1, OUTPUT_MAX);
	char *rest = text;
	size_t n = 0;

	if (!text || !smi_run(program, text, OUTPUT_MAX))
		return 0;
	while (rest && *rest && n < max) {
		char *line = strsep(&rest, "\n");

		if (line[0] && !smi_line(line, &out[n++]))
			return 0; /* not understood: the driver's directory stands */
	}
	return n;
}

size_t local_gpus(const struct local_conf *c, struct host_gpu *out, size_t max)
{
	size_t driver = gpus_of_driver(c->nvidia_dir, out, max);
	FREE struct host_gpu *better = driver ? calloc(max, sizeof(*better)) : NULL;
	size_t n = better ? gpus_of_smi(c->nvidia_smi, better, max) : 0;

	/* Fewer than the driver shows: one fell off the bus, so the numbers are not to be trusted. */
	if (n != driver || n == 0)
		return driver;
	memcpy(out, better, n * sizeof(*out));
	return n;
}
