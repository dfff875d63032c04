/*
 * Settings: values from the command line, the environment, $CREDENTIALS_DIRECTORY and gpufs.conf,
 * each checked by its row of the table (settings_docs.c). The later source wins; within one source
 * a setting given twice is an error, because one of the two would have no effect. Every refusal
 * names the place ("gpufs.conf:3") and, for an unknown key, the nearest one that exists. Values of
 * secret rows are never quoted in a refusal.
 *
 * Start-up, and a worker at SIGHUP: no state of its own, so any thread. Tests:
 * tests/unit/test_settings.c.
 */
#include "settings.h"

#include <ctype.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/check.h"
#include "core/text.h"

#define KEY_LEN_MAX    64
#define VALUE_LEN_MAX  4096
#define CONF_BYTES_MAX ((size_t)1 << 20)

extern char **environ;

/* Variables with our prefix that are no settings. A '*' at the end: any such name. */
static const char *const env_known[] = {
	"MOUNT",    "LIVE",   "INSTANCE", /* inside a local session: its mark (local_procs.c) */
#ifdef GPUFS_TEST
	"CRASH_AT", "TEST_*",
#endif
};

static void *keep(void *p)
{
	CHECK(p != NULL); /* start-up: out of memory stops (style.md) */
	return p;
}

/* ---- keys ---- */

static bool alias_is(const struct setting *row, const char *upper)
{
	for (const char *a = row->aliases; *a; a += strcspn(a, ","), a += *a == ',') {
		a += *a == '*';
		size_t n = strcspn(a, ",");
		if (n == strlen(upper) && !memcmp(a, upper, n))
			return true;
	}
	return false;
}

static int find_row(const char *upper)
{
	for (int i = 0; i < SET_COUNT; i++)
		if (!strcmp(settings_table[i].name, upper) || alias_is(&settings_table[i], upper))
			return i;
	return -1;
}

/* The row of a key in any case, with or without _FILE; -1 if there is none. */
static int find_key(const char *key, bool *from_file)
{
	char upper[KEY_LEN_MAX + 8];
	size_t n = strlen(key);

	if (n == 0 || n > KEY_LEN_MAX)
		return -1;
	for (size_t i = 0; i <= n; i++)
		upper[i] = (char)toupper((unsigned char)key[i]);
	int row = find_row(upper);
	*from_file = false;
	if (row >= 0 || n <= 5 || strcmp(upper + n - 5, "_FILE") != 0)
		return row;
	upper[n - 5] = '\0';
	*from_file = true;
	return find_row(upper);
}

bool settings_known(const char *key)
{
	bool from_file;

	return find_key(key, &from_file) >= 0;
}

/* Number of letters to insert, drop or exchange (Levenshtein), without regard to case. */
static size_t distance(const char *a, const char *b)
{
	size_t row[KEY_LEN_MAX + 1], n = strlen(b);

	if (n > KEY_LEN_MAX)
		return SIZE_MAX;
	for (size_t j = 0; j <= n; j++)
		row[j] = j;
	for (size_t i = 1; a[i - 1]; i++) {
		size_t corner = row[0];

		row[0] = i;
		for (size_t j = 1; j <= n; j++) {
			bool same = toupper((unsigned char)a[i - 1]) ==
				    toupper((unsigned char)b[j - 1]);
			size_t best = corner + (same ? 0 : 1);

			corner = row[j];
			if (row[j] + 1 < best)
				best = row[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			row[j] = best;
		}
	}
	return row[n];
}

static int refuse_unknown(const char *where, const char *key, const char *prefix, struct error *why)
{
	BUF shown = {.max = 256};
	const char *near = NULL;
	size_t best = 4; /* farther away it is a guess, not a hint */

	for (size_t i = 0; i < SET_COUNT; i++) {
		size_t d = distance(key, settings_table[i].name);
		if (d < best) {
			best = d;
			near = settings_table[i].name;
		}
	}
	buf_escape(&shown, key, strnlen(key, 60));
	char hint[KEY_LEN_MAX + 1] = "";
	if (near)
		COPY(hint, near);
	for (char *p = hint; !*prefix && *p; p++)
		*p = (char)tolower((unsigned char)*p);
	return fail(why, ERR_INVALID,
		    "%s: unknown setting '%s%s'%s%s%s; all are listed by gpufs "
		    "--help-settings",
		    where, prefix, shown.data ? shown.data : "", near ? ", did you mean " : "",
		    near ? prefix : "", hint);
}

/* ---- values ---- */

/* In bytes of a mapping that holds this text, NUL included. */
static size_t secret_room(const char *v)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	return (strlen(v) + page) / page * page;
}

/* A secret in pages of its own: they can be locked, left out of core dumps, and wiped. */
static char *secret_new(const char *v)
{
	char *p = mmap(NULL, secret_room(v), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		       -1, 0);

	CHECK(p != MAP_FAILED);
	(void)madvise(p, secret_room(v), MADV_DONTDUMP);
	memcpy(p, v, strlen(v) + 1);
	return p;
}

static void value_free(int key, char *v)
{
	size_t room;

	if (!v)
		return;
	if (!settings_table[key].secret) {
		free(v);
		return;
	}
	room = secret_room(v);
	explicit_bzero(v, room);
	munmap(v, room);
}

static char *value_new(int key, const char *v)
{
	return settings_table[key].secret ? secret_new(v) : keep(strdup(v));
}

void settings_lock(const struct settings *s)
{
	for (int i = 0; i < SET_COUNT; i++)
		if (settings_table[i].secret && s->value[i])
			(void)mlock(s->value[i], secret_room(s->value[i])); /* a courtesy */
}

/* Put a checked value in. `origin` is what --check shows. */
static int set_value(struct settings *s, int key, const char *v, const char *where,
		     const char *origin, struct error *why)
{
	int err = settings_check((enum setting_key)key, where, v, why);

	if (err)
		return err;
	value_free(key, s->value[key]);
	free(s->origin[key]);
	s->value[key] = value_new(key, v);
	s->origin[key] = keep(strdup(origin));
	return 0;
}

/* ---- files ---- */

/* A whole small file as text. -ENOENT without a sentence if it is not there and may be absent. */
static int read_text(const char *path, bool may_be_absent, size_t max, struct buf *out,
		     struct error *why)
{
	char piece[4096];
	ssize_t n = 0;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a fifo must not stop the start */

	if (fd < 0 && may_be_absent && (errno == ENOENT || errno == ENOTDIR))
		return -ENOENT;
	if (fd < 0)
		return fail(why, ERR_INVALID, "%.200s: cannot be read: %s", path, strerror(errno));
	struct stat st;
	if (fstat(fd, &st) == 0 && !S_ISREG(st.st_mode)) {
		close(fd);
		return fail(why, ERR_INVALID, "%.200s: is not a regular file", path);
	}
	while (out->len <= max && (n = read(fd, piece, sizeof(piece))) > 0)
		buf_add(out, piece, (size_t)n);
	int eno = errno;
	close(fd);
	explicit_bzero(piece, sizeof(piece));
	if (n < 0)
		return fail(why, ERR_INVALID, "%.200s: cannot be read: %s", path, strerror(eno));
	if (out->len > max || out->failed)
		return fail(why, ERR_INVALID, "%.200s: is larger than %zu bytes", path, max);
	if (out->len && memchr(out->data, '\0', out->len))
		return fail(why, ERR_INVALID, "%.200s: holds a NUL byte; is it really a text?",
			    path);
	return 0;
}

static void cut_end(char *s)
{
	size_t n = strlen(s);

	while (n && isspace((unsigned char)s[n - 1]))
		s[--n] = '\0';
}

/* The value itself, or the content of the file that it names (NAME_FILE). */
static int take(struct settings *s, int key, bool from_file, const char *v, const char *where,
		const char *origin, struct error *why)
{
	BUF text = {.secret = true};
	BUF place = {.max = 1024};

	if (!from_file)
		return set_value(s, key, v, where, origin, why);
	if (*v != '/') /* at SIGHUP the working directory is another one */
		return fail(why, ERR_INVALID, "%s: %s_FILE must be an absolute path", where,
			    settings_table[key].name);
	int err = read_text(v, false, VALUE_LEN_MAX, &text, why);
	if (err)
		return err;
	buf_puts(&text, "");
	if (text.data)
		cut_end(text.data);
	buf_printf(&place, "%s, file %.200s", origin, v);
	err = set_value(s, key, text.data ? text.data : "", place.data ? place.data : where,
			place.data ? place.data : origin, why);
	return err;
}

/* "key = value   # comment" in place; *key is "" for an empty line. */
static int split_line(char *line, const char *where, char **key, char **value, struct error *why)
{
	line += strspn(line, " \t\r");
	cut_end(line);
	*key = line;
	if (*line == '#' || !*line)
		return *line = '\0', 0;
	char *eq = strchr(line, '=');
	if (!eq)
		return fail(why, ERR_INVALID, "%s: there is no '=' in this line; write key = value",
			    where);
	*eq = '\0';
	cut_end(line);
	*value = eq + 1 + strspn(eq + 1, " \t");
	if (**value == '"') {
		char *end = strchr(++*value, '"');
		char *rest = end ? end + 1 + strspn(end + 1, " \t") : NULL;
		if (!rest || (*rest && *rest != '#'))
			return fail(why, ERR_INVALID,
				    "%s: %.60s: the value begins with a quote that does not end it",
				    where, *key);
		*end = '\0';
		return 0;
	}
	for (char *p = *value; *p; p++)
		if (*p == '#' && (p == *value || isspace((unsigned char)p[-1]))) {
			*p = '\0';
			break;
		}
	cut_end(*value);
	return 0;
}

static int read_conf(struct settings *s, const char *path, bool may_be_absent, struct error *why)
{
	BUF text = {.secret = true}; /* it may hold keys */
	int line_of[SET_COUNT] = {0}, line = 0;
	const char *base = strrchr(path, '/');
	char *p, *key, *value = NULL, *next;
	int err = read_text(path, may_be_absent, CONF_BYTES_MAX, &text, why);

	if (err)
		return err == -ENOENT ? 0 : err;
	base = base ? base + 1 : path;
	for (p = text.data; p && *p; p = next) {
		char where[128];
		bool from_file;

		line++;
		next = p + strcspn(p, "\n");
		if (*next)
			*next++ = '\0';
		BUF w = {.max = sizeof(where) - 1};
		buf_printf(&w, "%.80s:%d", base, line);
		COPY(where, w.data ? w.data : path);
		err = split_line(p, where, &key, &value, why);
		if (err)
			return err;
		if (!*key)
			continue;
		int row = find_key(key, &from_file);
		if (row < 0)
			return refuse_unknown(where, key, "", why);
		if (line_of[row])
			return fail(why, ERR_INVALID,
				    "%s: '%s' was already set on line %d; keep one", where, key,
				    line_of[row]);
		line_of[row] = line;
		err = take(s, row, from_file, value, where, where, why);
		if (err)
			return err;
	}
	return 0;
}

/* ---- environment ---- */

static bool env_exempt(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(env_known); i++) {
		size_t n = strcspn(env_known[i], "*");
		if (!strncmp(name, env_known[i], n) && (env_known[i][n] == '*' || !name[n]))
			return true;
	}
	return false;
}

static int check_env_names(struct error *why)
{
	for (char **e = environ; e && *e; e++) {
		char name[KEY_LEN_MAX + 1];
		const char *eq = strchr(*e, '=');
		bool from_file;

		if (!eq || strncmp(*e, "GPUFS_", 6) != 0)
			continue;
		size_t n = (size_t)(eq - *e) - 6;
		if (n > KEY_LEN_MAX)
			n = KEY_LEN_MAX;
		memcpy(name, *e + 6, n);
		name[n] = '\0';
		if (!env_exempt(name) && find_key(name, &from_file) < 0)
			return refuse_unknown("environment", name, "GPUFS_", why);
	}
	return 0;
}

/* PREFIX + NAME, and PREFIX + NAME + _FILE. Empty counts as not set. */
static int take_env(struct settings *s, int key, const char *prefix, const char *name, size_t len,
		    struct error *why)
{
	char var[KEY_LEN_MAX + 32], var_file[KEY_LEN_MAX + 40];
	BUF text = {.max = sizeof(var) - 1}, where = {.max = 256};

	buf_printf(&text, "%s%.*s", prefix, (int)len, name);
	CHECK(text.data != NULL);
	COPY(var, text.data);
	buf_reset(&text);
	text.max = sizeof(var_file) - 1;
	buf_printf(&text, "%s_FILE", var);
	COPY(var_file, text.data);

	const char *v = getenv(var), *f = getenv(var_file);
	if (v && !*v)
		v = NULL;
	if (f && !*f)
		f = NULL;
	if (v && f)
		return fail(why, ERR_INVALID, "environment: %s and %s are both set; keep one", var,
			    var_file);
	if (!v && !f)
		return 0;
	buf_printf(&where, "environment, %s", v ? var : var_file);
	return take(s, key, f != NULL, v ? v : f, where.data ? where.data : "environment",
		    "environment", why);
}

/* Names without our prefix first, aliases before names: the more exact one wins. */
static int read_env(struct settings *s, struct error *why)
{
	int err = check_env_names(why);

	for (int pass = 0; pass < 2 && !err; pass++)
		for (int i = 0; i < SET_COUNT && !err; i++) {
			const struct setting *row = &settings_table[i];

			for (const char *a = row->aliases; *a && !err;) {
				bool star = *a == '*';
				size_t n = strcspn(a += star, ",");

				bool same = n == strlen(row->name) && !memcmp(a, row->name, n);

				if ((star || pass == 1) && !same)
					err = take_env(s, i, pass ? "GPUFS_" : "", a, n, why);
				a += n;
				a += *a == ',';
			}
			bool star = alias_is(row, row->name);
			if (!err && (star || pass == 1))
				err = take_env(s, i, pass ? "GPUFS_" : "", row->name,
					       strlen(row->name), why);
		}
	return err;
}

/* systemd's LoadCredential=: one file a setting, in lower case. Other files there are not ours. */
static int read_credentials(struct settings *s, struct error *why)
{
	const char *dir = getenv("CREDENTIALS_DIRECTORY");

	for (int i = 0; dir && *dir == '/' && i < SET_COUNT; i++) {
		BUF path = {.max = 4096};

		buf_printf(&path, "%s/", dir);
		for (const char *p = settings_table[i].name; *p; p++)
			buf_putc(&path, (char)tolower((unsigned char)*p));
		if (path.failed || access(path.data, F_OK) != 0)
			continue;
		int err = take(s, i, true, path.data, "credentials", "credentials", why);
		if (err)
			return err;
	}
	return 0;
}

static int read_options(struct settings *s, const char *const *options, struct error *why)
{
	bool seen[SET_COUNT] = {false};

	for (; options && *options; options++) {
		const char *eq = strchr(*options, '=');
		char key[KEY_LEN_MAX + 1];
		bool from_file;

		if (!eq)
			return fail(why, ERR_INVALID, "-o %.60s: write key=value", *options);
		size_t n = (size_t)(eq - *options);
		if (n > KEY_LEN_MAX)
			n = KEY_LEN_MAX;
		memcpy(key, *options, n);
		key[n] = '\0';
		int row = find_key(key, &from_file);
		if (row < 0)
			return refuse_unknown("-o", key, "", why);
		if (seen[row])
			return fail(why, ERR_INVALID, "-o: '%s' is given twice; keep one", key);
		seen[row] = true;
		int err = take(s, row, from_file, eq + 1, "-o", "-o", why);
		if (err)
			return err;
	}
	return 0;
}

/* ---- defaults ---- */

/* An XDG base directory: the variable if it is absolute (as its specification demands), else HOME.
 */
static int xdg_path(const char *variable, const char *below_home, const char *tail, struct buf *out,
		    struct error *why)
{
	const char *dir = getenv(variable), *home = getenv("HOME");

	if (dir && *dir == '/') {
		buf_printf(out, "%s/%s", dir, tail);
		return 0;
	}
	if (!home || *home != '/') {
		const struct passwd *pw = getpwuid(geteuid());
		home = pw ? pw->pw_dir : NULL;
	}
	if (!home || *home != '/')
		return fail(why, ERR_INVALID,
			    "neither $%s nor $HOME is an absolute path, and you have no home "
			    "directory: set database_path and --config",
			    variable);
	buf_printf(out, "%s/%s/%s", home, below_home, tail);
	return 0;
}

static int conf_path(struct buf *out, struct error *why)
{
	if (geteuid() == 0)
		return buf_puts(out, "/etc/gpufs/gpufs.conf"), 0;
	return xdg_path("XDG_CONFIG_HOME", ".config", "gpufs/gpufs.conf", out, why);
}

/* Defaults that depend on who starts us. */
static int fill_paths(struct settings *s, struct error *why)
{
	BUF path = {.max = VALUE_LEN_MAX};
	const char *state = getenv("STATE_DIRECTORY"); /* systemd; a list divided by colons */
	int err = 0;

	if (!s->value[SET_DATABASE_PATH][0]) {
		if (state && *state == '/')
			buf_printf(&path, "%.*s/gpufs.db", (int)strcspn(state, ":"), state);
		else if (geteuid() == 0)
			buf_puts(&path, "/var/lib/gpufs/gpufs.db");
		else
			err = xdg_path("XDG_STATE_HOME", ".local/state", "gpufs/gpufs.db", &path,
				       why);
		if (!err)
			err = set_value(s, SET_DATABASE_PATH, path.data ? path.data : "", "default",
					"default", why);
	}
	if (err || s->value[SET_KEY_PATH][0])
		return err;
	const char *db = s->value[SET_DATABASE_PATH];
	buf_reset(&path);
	buf_printf(&path, "%.*s/gpufs.key", (int)(strrchr(db, '/') - db), db);
	return set_value(s, SET_KEY_PATH, path.data ? path.data : "", "default", "default", why);
}

int settings_read(struct settings *s, const char *file, const char *const *options,
		  struct error *why)
{
	BUF path = {.max = VALUE_LEN_MAX};
	int err = 0;

	*s = (struct settings){0};
	for (int i = 0; i < SET_COUNT; i++) {
		s->value[i] = value_new(i, settings_table[i].fallback);
		s->origin[i] = keep(strdup("default"));
	}
	if (file)
		buf_puts(&path, file);
	else
		(void)conf_path(&path, NULL); /* no home: then there is no such file either */
	if (path.len)
		err = read_conf(s, path.data, file == NULL, why);
	if (!err)
		err = read_credentials(s, why);
	if (!err)
		err = read_env(s, why);
	if (!err)
		err = read_options(s, options, why);
	if (!err)
		err = fill_paths(s, why);
	if (err)
		settings_free(s);
	return err;
}

void settings_free(struct settings *s)
{
	for (int i = 0; i < SET_COUNT; i++) {
		value_free(i, s->value[i]);
		free(s->origin[i]);
		s->value[i] = s->origin[i] = NULL;
	}
}
