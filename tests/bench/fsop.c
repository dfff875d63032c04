/*
 * One operation of a file system, again and again, each one timed:
 *
 *	fsop OPERATION CLIENTS SECONDS|once LIST
 *
 * LIST is a file of paths, one a line; each client (a process) walks it round and round from a place of
 * its own; with `once` each client walks its share of it, to the end. Prints `count p50 p99 max`
 * (nanoseconds) of all clients together; exits with 1 if a call failed, and says which. OPERATION is a
 * name of the table below.
 *
 * Every sample is kept (4 bytes each), so the percentiles are exact. Used by tests/bench/run and scale.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CLIENTS_MAX 64
#define PATHS_MAX   16384
#define TABLE_MAX   ((size_t)8 << 20)
#define SAMPLES_MAX ((size_t)1 << 20) /* of one client; more than a second of stat() */

struct client {
	size_t count;
	int failed; /* errno of the first call that failed */
	uint32_t ns[SAMPLES_MAX];
};

static char *paths[PATHS_MAX];
static size_t path_count;

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* ---- the operations: 0, or -1 with errno ---- */

static int do_stat(const char *path)
{
	struct stat st;

	return lstat(path, &st);
}

/* The path is of something that is not there: one LOOKUP where misses are not cached. */
static int do_missing(const char *path)
{
	struct stat st;

	if (lstat(path, &st) == 0)
		errno = EEXIST;
	return errno == ENOENT ? 0 : -1;
}

static int do_read(const char *path)
{
	char data[4096];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -1;
	do
		n = read(fd, data, sizeof(data));
	while (n > 0);
	close(fd);
	return n < 0 ? -1 : 0;
}

/* A file that may have gone meanwhile. */
static int do_read_if_there(const char *path)
{
	return do_read(path) == 0 || errno == ENOENT ? 0 : -1;
}

/* ---- a whole table.tsv ---- */

static char table[TABLE_MAX];
static size_t table_size;

static int do_table(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = -1;

	table_size = 0;
	if (fd < 0)
		return -1;
	while (table_size < TABLE_MAX &&
	       (n = read(fd, table + table_size, TABLE_MAX - table_size)) > 0)
		table_size += (size_t)n;
	close(fd);
	return n < 0 ? -1 : 0;
}

/* Every line is complete: as many columns as the first one, a newline at the end, and as many lines as
 * there were before (no offer comes or goes meanwhile). */
static int check_table(void)
{
	static size_t lines_before;
	size_t lines = 0, columns = 0, tabs = 0;

	for (size_t i = 0; i < table_size; i++) {
		tabs += table[i] == '\t';
		if (table[i] != '\n')
			continue;
		if (lines++ == 0)
			columns = tabs;
		if (tabs != columns)
			break;
		tabs = 0;
	}
	if (!lines_before)
		lines_before = lines;
	if (lines && tabs == 0 && table[table_size - 1] == '\n' && lines == lines_before)
		return 0;
	errno = EILSEQ;
	return -1;
}

static int do_readlink(const char *path)
{
	char target[4096];

	return readlink(path, target, sizeof(target)) > 0 ? 0 : -1;
}

static int do_list(const char *path)
{
	DIR *d = opendir(path);

	if (!d)
		return -1;
	errno = 0;
	while (readdir(d))
		;
	if (errno) {
		closedir(d);
		return -1;
	}
	return closedir(d);
}

/* For a comparison with what is durable when it returns. */
static int sync_parent(const char *path)
{
	char dir[4096];
	const char *slash = strrchr(path, '/');
	int fd, err;

	snprintf(dir, sizeof(dir), "%.*s", slash ? (int)(slash - path) : 1, slash ? path : ".");
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	err = fsync(fd);
	close(fd);
	return err;
}

static int do_mkdir(const char *path)
{
	return mkdir(path, 0750);
}

static int do_mkdir_sync(const char *path)
{
	return mkdir(path, 0750) == 0 ? sync_parent(path) : -1;
}

static int do_rmdir_sync(const char *path)
{
	return rmdir(path) == 0 ? sync_parent(path) : -1;
}

/* `before` and `after` are not timed; with one of them each client appends its number to the path. `check`, not
 * timed either, looks at what was read. */
static const struct operation {
	const char *name;
	int (*before)(const char *), (*timed)(const char *), (*after)(const char *);
	int (*check)(void);
} operations[] = {
	{"stat", NULL, do_stat, NULL, NULL},
	{"missing", NULL, do_missing, NULL, NULL},
	{"read", NULL, do_read, NULL, NULL},
	{"read-if-there", NULL, do_read_if_there, NULL, NULL},
	{"list", NULL, do_list, NULL, NULL},
	{"table", NULL, do_table, NULL, check_table},
	{"readlink", NULL, do_readlink, NULL, NULL},
	{"mkdir", NULL, do_mkdir, rmdir, NULL},
	{"rmdir", do_mkdir, rmdir, NULL, NULL},
	{"mkdir+fsync", NULL, do_mkdir_sync, rmdir, NULL},
	{"rmdir+fsync", do_mkdir, do_rmdir_sync, NULL, NULL},
};

static const struct operation *find_operation(const char *name)
{
	for (size_t i = 0; i < sizeof(operations) / sizeof(operations[0]); i++)
		if (strcmp(operations[i].name, name) == 0)
			return &operations[i];
	return NULL;
}

/* ---- clients ---- */

static int once(const struct operation *op, const char *path, uint32_t *ns)
{
	uint64_t start, took;
	int err;

	if (op->before && op->before(path) != 0)
		return -1;
	start = now_ns();
	err = op->timed(path);
	took = now_ns() - start;
	*ns = took < UINT32_MAX ? (uint32_t)took : UINT32_MAX;
	if (err || (op->check && op->check() != 0))
		return -1;
	return op->after ? op->after(path) : 0;
}

/* end_ns 0: paths `number`, `number` + `step` and so on, each once. */
static void run_client(const struct operation *op, struct client *c, size_t number, size_t step,
		       uint64_t end_ns)
{
	char own[4096];
	size_t at = end_ns ? number * 61 : number;

	if (op->check)
		memset(table, 1, sizeof(table)); /* the first read pays for no page of ours */
	while (c->count < SAMPLES_MAX && (end_ns ? now_ns() < end_ns : at < path_count)) {
		const char *path = paths[at % path_count];

		at += end_ns ? 1 : step;
		if (op->before || op->after) {
			snprintf(own, sizeof(own), "%s-%zu", path, number);
			path = own;
		}
		if (once(op, path, &c->ns[c->count++]) != 0) {
			c->failed = errno ? errno : EIO;
			fprintf(stderr, "fsop: %s %s: %s\n", op->name, path, strerror(c->failed));
			return;
		}
	}
}

static int by_size(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static int report(const struct client *clients, size_t n)
{
	size_t count = 0, used = 0;
	int failed = 0;
	uint32_t *all;

	for (size_t i = 0; i < n; i++) {
		count += clients[i].count;
		failed |= clients[i].failed;
	}
	all = malloc((count + 1) * sizeof(*all));
	if (failed || count == 0 || !all) {
		free(all);
		return 1;
	}
	for (size_t i = 0; i < n; i++) {
		memcpy(all + used, clients[i].ns, clients[i].count * sizeof(*all));
		used += clients[i].count;
	}
	qsort(all, count, sizeof(*all), by_size);
	printf("%zu %u %u %u\n", count, all[count / 2], all[count * 99 / 100], all[count - 1]);
	free(all);
	return 0;
}

static int read_paths(const char *list)
{
	FILE *f = fopen(list, "re");
	char line[4096];

	if (!f)
		return -1;
	while (path_count < PATHS_MAX && fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\n")] = 0;
		paths[path_count] = strdup(line);
		if (paths[path_count])
			path_count++;
	}
	fclose(f);
	return path_count > 0 ? 0 : -1;
}

int main(int argc, char **argv)
{
	const struct operation *op = argc == 5 ? find_operation(argv[1]) : NULL;
	size_t n = op ? strtoul(argv[2], NULL, 10) : 0;
	struct client *clients;
	uint64_t end_ns;

	if (n < 1 || n > CLIENTS_MAX || read_paths(argv[4]) != 0) {
		fprintf(stderr, "usage: fsop OPERATION CLIENTS SECONDS|once LIST\n");
		return 2;
	}
	clients = mmap(NULL, n * sizeof(*clients), PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (clients == MAP_FAILED)
		return 2;
	end_ns = strcmp(argv[3], "once") == 0 ? 0
					      : now_ns() + (uint64_t)(strtod(argv[3], NULL) * 1e9);
	for (size_t i = 0; i < n; i++) {
		pid_t pid = fork();

		if (pid < 0)
			return 2;
		if (pid == 0) {
			run_client(op, &clients[i], i, n, end_ns);
			_exit(0);
		}
	}
	while (wait(NULL) > 0)
		;
	return report(clients, n);
}
