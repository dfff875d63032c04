/*
 * This machine as a provider: takes a call on the loop, does it on a worker, answers on the loop.
 *
 * Calls about one label run one after another, in the order in which they came; others run side by side.
 * A list may run beside a start: the lock on the instance's record tells it what is being made.
 *
 * Owner: the loop thread; a job belongs to its worker while it runs. After local_host_free no callback
 * comes any more; what runs is finished (a kill is not stopped half-way), then the memory is freed.
 * Must never: answer inside the call, touch a session when it goes away, print an env value.
 * Tests: tests/unit/test_local_host.c
 */
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../core/check.h"
#include "io_parts.h"
#include "local_parts.h"

#define GPUS_MAX      64
#define INSTANCES_MAX 4096
#define LOG_TAIL      ((size_t)2 << 10)

struct host_job {
	uv_work_t req;
	struct local_host *h;
	struct host_job *next; /* of all jobs, oldest first */
	bool running;
	struct host_call call; /* its texts are copies of ours */
	host_cb cb;
	void *arg;
	struct host_result res;
	struct host_gpu *gpus;
	struct host_instance *instances;
	size_t cap;
};

struct local_host {
	uv_loop_t *loop;
	struct local_conf conf;
	struct host_job *jobs;
	bool freed;
};

/* ---- results, on the worker ---- */

__attribute__((format(printf, 3, 4))) static void job_fail(struct host_job *j, int err,
							   const char *fmt, ...)
{
	va_list ap;

	j->res.err = err;
	va_start(ap, fmt);
	vsnprintf(j->res.text, sizeof(j->res.text), fmt, ap);
	va_end(ap);
}

static struct host_instance *job_add_instance(struct host_job *j)
{
	if (j->res.count == j->cap) {
		size_t cap = j->cap ? j->cap * 2 : 8;
		struct host_instance *more = reallocarray(j->instances, cap, sizeof(*more));

		if (!more)
			return NULL;
		j->instances = more;
		j->cap = cap;
	}
	memset(&j->instances[j->res.count], 0, sizeof(*j->instances));
	return &j->instances[j->res.count++];
}

static void describe(const struct local_conf *c, const struct local_record *r, int load_err,
		     bool starting, struct host_instance *out)
{
	char dir[PATH_MAX], log[LOG_TAIL], evidence[160];
	enum local_life life = local_life(c, r, evidence, sizeof(evidence));

	COPY(out->label, r->label);
	COPY(out->user, r->user);
	COPY(out->host_key, r->host_key);
	COPY(out->visible_devices, r->visible_devices);
	out->port = r->port;
	/* Not knowing is not the same as gone. */
	out->alive = starting || life != LIFE_NONE;
	out->listening = out->alive && !load_err && local_port_listens(r->port, r->uid);
	if (!out->alive)
		COPY(out->evidence, evidence);
	if (load_err) {
		COPY(out->text, "its record cannot be read; it can only be ended");
	} else if (starting) {
		COPY(out->text, "sshd is being started");
	} else if (life == LIFE_UNSURE) {
		COPY(out->text, evidence);
	} else if (!local_path(c, r->label, "", dir)) {
		local_file_tail(dir, "sshd.log", log, sizeof(log));
		local_last_line(log, out->text, sizeof(out->text));
	}
}

static void job_describe(struct host_job *j, const struct local_record *r, int load_err,
			 bool starting)
{
	struct host_instance *out = job_add_instance(j);

	if (out)
		describe(&j->h->conf, r, load_err, starting, out);
	else
		job_fail(j, -ENOMEM, "out of memory");
}

/* ---- the five operations, on the worker ---- */

static void do_gpus(struct host_job *j)
{
	j->gpus = calloc(GPUS_MAX, sizeof(*j->gpus));
	if (j->gpus)
		j->res.count = local_gpus(&j->h->conf, j->gpus, GPUS_MAX);
	else
		job_fail(j, -ENOMEM, "out of memory");
}

static void do_start(struct host_job *j)
{
	const struct local_conf *c = &j->h->conf;
	struct local_record r;
	struct error why = {.code = ERR_NONE};
	char evidence[160];
	bool starting;
	int err = local_record_load(c, j->call.label, &r, &starting);
	enum local_life life = local_life(c, &r, evidence, sizeof(evidence));

	if (err != -ENOENT && life != LIFE_NONE) { /* one label, one machine */
		job_describe(j, &r, err, starting);
		return;
	}
	if (err != -ENOENT) {
		job_fail(j, -EEXIST, "%s was started before and has ended (%s)", j->call.label,
			 evidence);
		return;
	}
	if (life != LIFE_NONE) {
		j->res.maybe = true;
		job_fail(j, -EEXIST, "something of %s runs already, without its files (%s)",
			 j->call.label, evidence);
		return;
	}
	err = local_sshd_start(c, &j->call, &r, &j->res.maybe, &why);
	if (err)
		job_fail(j, err, "%s", why.text);
	else
		job_describe(j, &r, 0, false);
}

static void do_look(struct host_job *j)
{
	const struct local_conf *c = &j->h->conf;
	struct local_record r;
	char evidence[160];
	bool starting;
	int err = local_record_load(c, j->call.label, &r, &starting);
	enum local_life life;

	if (err != -ENOENT) {
		job_describe(j, &r, err, starting);
		return;
	}
	life = local_life(c, &r, evidence, sizeof(evidence));
	if (life == LIFE_NONE)
		job_fail(j, -ENOENT, "no directory, %s", evidence);
	else
		job_describe(j, &r, -EIO, false);
}

static void do_kill(struct host_job *j)
{
	const struct local_conf *c = &j->h->conf;
	struct local_record r;
	char path[PATH_MAX], evidence[160];
	bool starting;
	int err, known = local_record_load(c, j->call.label, &r, &starting);

	/* An sshd that a killed daemon was about to start then finds no configuration and ends. */
	if (!local_path(c, r.label, "sshd_config", path))
		unlink(path);
	err = local_kill(c, &r, evidence, sizeof(evidence));
	if (err) {
		job_fail(j, err, "not all processes of %s are gone: %s", r.label, evidence);
		return;
	}
	if (known != -ENOENT && !local_path(c, r.label, "", path))
		err = local_dir_remove(path);
	if (err) /* gone all the same; a later look finds the directory and no process */
		job_fail(j, 0, "%s; its directory stays: %s", evidence, strerror(-err));
	else
		job_fail(j, 0, "no directory, %s", evidence);
}

static void do_list(struct host_job *j)
{
	const struct local_conf *c = &j->h->conf;
	DIR *d = opendir(c->dir);
	struct dirent *e;

	if (!d) {
		job_fail(j, -EIO, "cannot read %s: %s", c->dir, strerror(errno));
		return;
	}
	while (!j->res.err && (errno = 0, e = readdir(d)) != NULL) {
		struct local_record r;
		bool starting;
		int err;

		if (!local_label_ok(e->d_name))
			continue;
		err = local_record_load(c, e->d_name, &r, &starting);
		if (err == -ENOENT) /* ended while we read */
			continue;
		if (!err && strcmp(r.deployment, c->deployment) != 0)
			continue;
		if (j->res.count >= INSTANCES_MAX)
			job_fail(j, -EOVERFLOW, "more than %d directories in %s", INSTANCES_MAX,
				 c->dir);
		else
			job_describe(j, &r, err, starting);
	}
	if (!j->res.err && errno)
		job_fail(j, -EIO, "cannot read %s: %s", c->dir, strerror(errno));
	closedir(d);
}

static bool op_has_label(enum host_op op)
{
	return op == HOST_START || op == HOST_LOOK || op == HOST_KILL;
}

static void job_work(uv_work_t *req)
{
	struct host_job *j = container_of(req, struct host_job, req);

	if (op_has_label(j->call.op) && !local_label_ok(j->call.label)) {
		job_fail(j, -EINVAL, "a local instance cannot have this label");
		return;
	}
	switch (j->call.op) {
	case HOST_GPUS:
		do_gpus(j);
		break;
	case HOST_START:
		do_start(j);
		break;
	case HOST_LIST:
		do_list(j);
		break;
	case HOST_LOOK:
		do_look(j);
		break;
	case HOST_KILL:
		do_kill(j);
		break;
	}
	if (j->res.err)
		j->res.count = 0;
}

/* ---- jobs, on the loop ---- */

static void job_free(struct host_job *j)
{
	free((void *)(uintptr_t)j->call.label);
	free((void *)(uintptr_t)j->call.authorized_keys);
	free((void *)(uintptr_t)j->call.visible_devices);
	if (j->call.env) {
		void *env = (void *)(uintptr_t)j->call.env;

		explicit_bzero(env, j->call.env_count * sizeof(*j->call.env));
		free(env);
	}
	free(j->gpus);
	free(j->instances);
	free(j);
}

static void host_destroy(struct local_host *h)
{
	free(h->conf.cgroup_root);
	free(h->conf.dir);
	free(h);
}

static void job_unlink(struct host_job *j)
{
	struct host_job **at = &j->h->jobs;

	while (*at != j)
		at = &(*at)->next;
	*at = j->next;
}

static void job_done(uv_work_t *req, int status);

/* Starts every job that no earlier one of the same label holds back. */
static void jobs_run(struct local_host *h)
{
	for (struct host_job *j = h->jobs; j; j = j->next) {
		struct host_job *before = h->jobs;

		if (j->running)
			continue;
		while (before != j && !(op_has_label(j->call.op) && op_has_label(before->call.op) &&
					strcmp(before->call.label, j->call.label) == 0))
			before = before->next;
		if (before != j)
			continue;
		j->running = true;
		CHECK(uv_queue_work(h->loop, &j->req, job_work, job_done) == 0);
	}
}

static void job_done(uv_work_t *req, int status)
{
	struct host_job *j = container_of(req, struct host_job, req);
	struct local_host *h = j->h;

	if (status) /* cancelled before it ran: nothing was done */
		job_fail(j, -ECANCELED, "gpufs is stopping");
	job_unlink(j);
	if (h->freed) {
		job_free(j);
		if (!h->jobs)
			host_destroy(h);
		return;
	}
	jobs_run(h);
	j->res.gpus = j->gpus;
	j->res.instances = j->instances;
	j->cb(j->arg, &j->res);
	job_free(j);
}

void local_host_call(struct local_host *h, const struct host_call *call, host_cb cb, void *arg)
{
	struct host_job *j = xcalloc(1, sizeof(*j)), **at = &h->jobs;

	CHECK(!h->freed);
	j->h = h;
	j->cb = cb;
	j->arg = arg;
	j->call = *call;
	j->call.label = copy_of(call->label);
	j->call.authorized_keys = copy_of(call->authorized_keys);
	j->call.visible_devices = copy_of(call->visible_devices);
	j->call.env = NULL;
	if (call->env_count) {
		void *env = xcalloc(call->env_count, sizeof(*call->env));

		memcpy(env, call->env, call->env_count * sizeof(*call->env));
		j->call.env = env;
	}
	while (*at)
		at = &(*at)->next;
	*at = j;
	jobs_run(h);
}

/* ---- life ---- */

/* Started from inside one of its own sessions, gpufs would end itself with it. */
static int check_not_inside(const struct local_conf *c, struct error *why)
{
	const char *label = getenv(LOCAL_MARK);
	char path[PATH_MAX];

	if (!label || !local_label_ok(label) || local_path(c, label, "", path) ||
	    access(path, F_OK) < 0)
		return 0;
	return fail(
		why, ERR_BUSY,
		"gpufs was started from inside its own session %s and would end together with it. "
		"Start it from a login of the machine itself",
		label);
}

/* What a start that was killed half-way left aside; no process exists at that point. */
static void sweep_aside(const struct local_conf *c)
{
	DIR *d = opendir(c->dir);
	struct dirent *e;

	while (d && (e = readdir(d)) != NULL) {
		char path[PATH_MAX];

		if (strncmp(e->d_name, LOCAL_ASIDE, strlen(LOCAL_ASIDE)) == 0 &&
		    snprintf(path, sizeof(path), "%s/%s", c->dir, e->d_name) < (int)sizeof(path))
			local_dir_remove(path);
	}
	if (d)
		closedir(d);
}

/* sshd of an ordinary user must reach its files. */
static void note_closed_parent(const struct local_conf *c, struct buf *note)
{
	char path[PATH_MAX];
	struct stat st;

	copy_text(path, sizeof(path), c->dir);
	for (char *slash = path + strlen(path); slash; slash = strrchr(path, '/')) {
		*slash = '\0';
		if (!path[0])
			return;
		if (stat(path, &st) == 0 && !(st.st_mode & S_IXOTH)) {
			buf_printf(note,
				   "; other users cannot pass through %s, so their local sessions "
				   "will "
				   "fail: chmod o+x %s",
				   path, path);
			return;
		}
	}
}

struct local_host *local_host_new(uv_loop_t *loop, const char *dir, const char *deployment,
				  struct buf *note, struct error *why)
{
	struct local_host *h = xcalloc(1, sizeof(*h));
	struct local_conf *c = &h->conf;
	int err = local_dirs_make(dir, 0711);

	h->loop = loop;
	COPY(c->deployment, deployment);
	c->uid = geteuid();
	c->nvidia_dir = "/proc/driver/nvidia/gpus";
	c->nvidia_smi = "nvidia-smi";
	c->dir = err ? NULL : realpath(dir, NULL);
	if (!c->dir) {
		fail(why, ERR_UNREACHABLE, "cannot make the directory %s for local sessions: %s",
		     dir, strerror(err ? -err : errno));
		host_destroy(h);
		return NULL;
	}
	/* Every name below it has its place in a path and in a line of sshd_config. */
	if (strlen(c->dir) > PATH_MAX - 256 || strpbrk(c->dir, "\n\r")) {
		fail(why, ERR_INVALID, "%s cannot be the directory of local sessions", dir);
		host_destroy(h);
		return NULL;
	}
	if (check_not_inside(c, why)) {
		host_destroy(h);
		return NULL;
	}
	sweep_aside(c);
	c->cgroup_root = local_cgroup_find(deployment, note);
	if (c->uid == 0)
		note_closed_parent(c, note);
	return h;
}

struct local_conf *local_host_conf(struct local_host *h)
{
	return &h->conf;
}

void local_host_free(struct local_host *h)
{
	struct host_job *j, *next;

	if (!h)
		return;
	h->freed = true;
	for (j = h->jobs; j; j = next) {
		next = j->next;
		if (j->running) {
			/* Not begun yet: job_done comes with UV_ECANCELED. */
			uv_cancel((uv_req_t *)&j->req);
			continue;
		}
		job_unlink(j);
		job_free(j);
	}
	if (h->conf.cgroup_root)
		rmdir(h->conf.cgroup_root); /* stays as long as a session lives in it */
	if (!h->jobs)
		host_destroy(h);
}
