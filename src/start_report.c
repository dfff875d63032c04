/*
 * gpufs --check: the effective settings with their origins, then what a start would find. It
 * changes nothing. Rows are a table: a name, how to look, and whether a bad answer stops a start.
 *
 * The command's thread. Tests: tests/unit/test_settings.c (settings), tests/mount.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/check.h"
#include "core/text.h"
#include "io/io.h"
#include "mountpoint.h"
#include "start.h"

struct finding {
	bool good;
	struct buf text;
};
struct look {
	const char *name;
	bool needed; /* a start fails without it */
	void (*at)(const struct start *st, const struct options *o, const struct settings *s,
		   struct finding *f);
};

/* A program in PATH or where daemons live. */
static bool find_program(const char *name, struct buf *out)
{
	const char *path = getenv("PATH");
	BUF dirs = {.max = 16384};
	char *save = NULL;

	buf_printf(&dirs, "%s:/usr/sbin:/usr/local/sbin:/sbin", path ? path : "/usr/bin:/bin");
	if (!dirs.data)
		return false;
	for (char *d = strtok_r(dirs.data, ":", &save); d; d = strtok_r(NULL, ":", &save)) {
		buf_reset(out);
		buf_printf(out, "%s/%s", d, name);
		if (*d == '/' && out->data && access(out->data, X_OK) == 0)
			return true;
	}
	buf_reset(out);
	return false;
}

static void look_database(const struct start *st, const struct options *o, const struct settings *s,
			  struct finding *f)
{
	struct error why = {0};

	(void)st;
	(void)o;
	f->good = store_probe(s->value[SET_DATABASE_PATH], &f->text, &why) == 0;
	if (!f->good) {
		buf_reset(&f->text);
		buf_puts(&f->text, why.text);
	}
}

static void look_mountpoint(const struct start *st, const struct options *o,
			    const struct settings *s, struct finding *f)
{
	struct mountpoint_view v;

	(void)s;
	if (!st->mountpoint) {
		f->good = true;
		buf_puts(&f->text,
			 "none given; write gpufs --check MOUNTPOINT to have it looked at");
		return;
	}
	mountpoint_look(st->mountpoint, o->nonempty, &v);
	f->good = v.state == MP_EMPTY || v.state == MP_MISSING || v.state == MP_DEAD;
	buf_puts(&f->text, v.text);
}

static void look_fuse(const struct start *st, const struct options *o, const struct settings *s,
		      struct finding *f)
{
	int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);

	(void)st;
	(void)o;
	(void)s;
	f->good = fd >= 0;
	if (fd >= 0) {
		close(fd);
		buf_puts(&f->text, "can be opened");
		return;
	}
	buf_printf(&f->text, "cannot be opened: %s; %s", strerror(errno),
		   errno == EACCES ? "an ordinary user needs it to be mode 0666"
				   : "modprobe fuse loads the kernel's module");
}

static void look_fusermount(const struct start *st, const struct options *o,
			    const struct settings *s, struct finding *f)
{
	struct stat file;
	bool there = find_program("fusermount3", &f->text);

	(void)o;
	(void)s;
	f->good = there || !st->user_mount;
	if (!there)
		buf_puts(&f->text,
			 st->user_mount ? "missing: apt-get install fuse3"
					: "missing; only ordinary users need it to mount (fuse3)");
	if (there && st->user_mount && stat(f->text.data, &file) == 0 &&
	    !(file.st_mode & S_ISUID)) {
		f->good = false;
		buf_puts(&f->text, " is not set-uid root, so it cannot mount for you (chmod u+s)");
	}
}

static void look_sshd(const struct start *st, const struct options *o, const struct settings *s,
		      struct finding *f)
{
	(void)st;
	(void)o;
	f->good = find_program("sshd", &f->text) ||
		  parse_bool(str_of(s->value[SET_PROVIDERS_LOCAL_ENABLED]), &(bool){false}, NULL) ==
			  0;
	if (!f->text.len)
		buf_puts(&f->text,
			 "missing: sessions on this machine cannot start; apt-get install "
			 "openssh-server");
}

/* The last cgroup2 mount of /proc/self/mounts. */
static void look_cgroup(const struct start *st, const struct options *o, const struct settings *s,
			struct finding *f)
{
	FILE *mounts = fopen("/proc/self/mounts", "re");
	FREE char *line = NULL;
	size_t size = 0;

	(void)st;
	(void)o;
	(void)s;
	f->good = true; /* either way works */
	while (mounts && getline(&line, &size, mounts) > 0) {
		char *save = NULL;
		const char *source = strtok_r(line, " ", &save), *at = strtok_r(NULL, " ", &save);
		const char *type = strtok_r(NULL, " ", &save);

		if (!source || !at || !type || strcmp(type, "cgroup2") != 0)
			continue;
		buf_reset(&f->text);
		if (access(at, W_OK) == 0)
			buf_printf(&f->text, "cgroup v2 at %s", at);
	}
	if (mounts)
		fclose(mounts);
	if (!f->text.len)
		buf_puts(&f->text,
			 "no cgroup v2 that can be written: processes of a session are found by "
			 "a marker in their environment, which is slower");
}

static const struct look looks[] = {
	{"database", true, look_database}, {"mount point", true, look_mountpoint},
	{"/dev/fuse", true, look_fuse},	   {"fusermount3", true, look_fusermount},
	{"sshd", false, look_sshd},	   {"process groups", false, look_cgroup},
};

/* The lines of one finding, aligned behind its name. */
static void put_finding(struct buf *out, const struct look *l, const struct finding *f)
{
	const char *p = f->text.data ? f->text.data : "";
	const char *name = l->name, *verdict = f->good ? "ok  " : l->needed ? "BAD " : "warn";

	do {
		size_t n = strcspn(p, "\n");

		buf_printf(out, "  %-15s %s ", name, verdict);
		buf_escape(out, p, n);
		buf_putc(out, '\n');
		p += n;
		p += *p == '\n';
		name = "";
		verdict = "    ";
	} while (*p);
}

static void put_finding_json(struct buf *out, const struct look *l, const struct finding *f)
{
	size_t n = f->text.len;

	while (n && f->text.data[n - 1] == '\n')
		n--;
	buf_json(out, l->name, strlen(l->name));
	buf_printf(out, ":{\"good\":%s,\"needed\":%s,\"text\":", f->good ? "true" : "false",
		   l->needed ? "true" : "false");
	buf_json(out, f->text.data ? f->text.data : "", n);
	buf_putc(out, '}');
}

int start_report(const struct start *st, const struct options *o, const struct settings *s,
		 struct buf *out)
{
	bool works = true;

	buf_puts(out, o->json ? "{\"settings\":" : "Settings\n");
	settings_report(s, o->json, out);
	buf_puts(out, o->json ? ",\"start\":{" : "\nWhat a start would find\n");
	for (size_t i = 0; i < ARRAY_LEN(looks); i++) {
		struct finding f = {.text = {.max = 4096}};

		looks[i].at(st, o, s, &f);
		if (o->json && i)
			buf_putc(out, ',');
		if (o->json)
			put_finding_json(out, &looks[i], &f);
		else
			put_finding(out, &looks[i], &f);
		works = works && (f.good || !looks[i].needed);
		buf_free(&f.text);
	}
	if (o->json)
		buf_printf(out, "},\"works\":%s}\n", works ? "true" : "false");
	else
		buf_puts(out, works ? "\nA start would work.\n" : "\nA start would fail.\n");
	return works ? 0 : 1;
}
