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
#include "online.h"
#include "start.h"

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
	f->good = find_program("sshd", &f->text) || !settings_local_on(s);
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

static void look_port(const struct start *st, const struct options *o, const struct settings *s,
		      struct finding *f)
{
	struct http_options http;
	struct error why;

	(void)st;
	(void)o;
	start_http(s, &http);
	f->good = http.port == 0 || http_check_port(&http, &why) == 0;
	if (!f->good)
		buf_puts(&f->text, why.text);
	else if (http.port == 0)
		buf_puts(&f->text, "switched off (SERVER_PORT)");
	else
		buf_printf(&f->text, "%s port %d is free", http.host, http.port);
}

static void look_access(const struct start *st, const struct options *o, const struct settings *s,
			struct finding *f)
{
	struct http_options http;
	struct error why;
	size_t tokens;

	(void)st;
	(void)o;
	start_http(s, &http);
	f->good = http.port == 0 || http_check_access(&http, &tokens, &why) == 0;
	if (!f->good)
		buf_puts(&f->text, why.text);
	else if (http.port == 0)
		buf_puts(&f->text, "not looked at");
	else if (http.auth == API_AUTH_NONE)
		buf_printf(&f->text, "whoever can connect acts as %s", http.api_user);
	else if (http.tokens_file[0])
		buf_printf(&f->text, "%zu tokens in %s", tokens, http.tokens_file);
	else
		buf_puts(&f->text, "no tokens: only /health, /ready and /metrics answer");
}

/* What a provider's rows say of purchases there. */
static void put_switch(struct finding *f, bool on)
{
	if (!on)
		buf_puts(&f->text, "; no new purchases, what exists is watched and destroyed");
}

static void look_cloud(const struct settings *s, enum setting_key key, enum setting_key url,
		       enum setting_key enabled, struct finding *f)
{
	bool on = true;

	f->good = true;
	if (!s->value[key][0]) {
		buf_printf(&f->text, "not configured (%s)", settings_table[key].name);
		return;
	}
	(void)parse_bool(str_of(s->value[enabled]), &on, NULL);
	buf_printf(&f->text, "%s, with a key", s->value[url]);
	put_switch(f, on);
}

static void look_vastai(const struct start *st, const struct options *o, const struct settings *s,
			struct finding *f)
{
	(void)st;
	(void)o;
	look_cloud(s, SET_VASTAI_API_KEY, SET_VASTAI_BASE_URL, SET_PROVIDERS_VASTAI_ENABLED, f);
}

static void look_tensordock(const struct start *st, const struct options *o,
			    const struct settings *s, struct finding *f)
{
	(void)st;
	(void)o;
	look_cloud(s, SET_TENSORDOCK_API_TOKEN, SET_TENSORDOCK_BASE_URL,
		   SET_PROVIDERS_TENSORDOCK_ENABLED, f);
}

static void look_local(const struct start *st, const struct options *o, const struct settings *s,
		       struct finding *f)
{
	bool on;

	(void)st;
	(void)o;
	f->good = true;
	buf_puts(&f->text, "this machine");
	if (!settings_local_on(s) &&
	    parse_bool(str_of(s->value[SET_PROVIDERS_LOCAL_ENABLED]), &on, NULL) != 0)
		buf_puts(&f->text, ", beside another provider (PROVIDERS_LOCAL_ENABLED=auto)");
	put_switch(f, settings_local_on(s));
}

static const struct look looks[] = {
	{"database", true, look_database}, {"mount point", true, look_mountpoint},
	{"/dev/fuse", true, look_fuse},	   {"fusermount3", true, look_fusermount},
	{"sshd", false, look_sshd},	   {"process groups", false, look_cgroup},
	{"HTTP port", false, look_port},   {"HTTP access", true, look_access},
	{"vastai", false, look_vastai},	   {"tensordock", false, look_tensordock},
	{"local", false, look_local},
};

/* The lines of one finding, aligned behind its name. */
static void put_finding(struct buf *out, const char *name, bool needed, const struct finding *f)
{
	const char *p = f->text.data ? f->text.data : "";
	const char *verdict = f->good ? "ok  " : needed ? "BAD " : "warn";

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

static void put_finding_json(struct buf *out, const char *name, bool needed,
			     const struct finding *f)
{
	size_t n = f->text.len;

	while (n && f->text.data[n - 1] == '\n')
		n--;
	buf_json(out, name, strlen(name));
	buf_printf(out, ":{\"good\":%s,\"needed\":%s,\"text\":", f->good ? "true" : "false",
		   needed ? "true" : "false");
	buf_json(out, f->text.data ? f->text.data : "", n);
	buf_putc(out, '}');
}

void start_finding(struct buf *out, const char *name, bool needed, const struct finding *f,
		   bool json)
{
	(json ? put_finding_json : put_finding)(out, name, needed, f);
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
		start_finding(out, looks[i].name, looks[i].needed, &f, o->json);
		works = works && (f.good || !looks[i].needed);
		buf_free(&f.text);
	}
	if (o->json)
		buf_putc(out, '}');
	if (o->online)
		works = online_check(s, &st->policy, o->json, out) && works;
	if (o->json)
		buf_printf(out, ",\"works\":%s}\n", works ? "true" : "false");
	else
		buf_puts(out, works ? "\nA start would work.\n" : "\nA start would fail.\n");
	return works ? 0 : 1;
}
