/*
 * Who asks: tokens from a file of mode 0600, one a line: TOKEN CONSUMER UID. A token may do what
 * its user may at the mount, for its consumer. Users are looked up while the file is read (at
 * start, or on a worker), never on the loop. A token is compared in constant time and never
 * appears in a sentence.
 *
 * With API_AUTH=none whoever can connect acts as API_UID. A browser can connect, sent by any web
 * page, so what only browsers send is refused then. Loop thread, except tokens_read and
 * account_find. Tests: tests/unit/test_http_parse.c, tests/mount/http.bats.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "parts.h"

#define FILE_MAX     ((size_t)256 << 10)
#define TOKEN_MIN    16
#define NSS_BYTES    ((size_t)1 << 16)
#define NOBODY_GROUP 65534 /* of a uid without an account */

/* ---- accounts ---- */

static void account_groups(const char *name, gid_t gid, struct api_account *out)
{
	gid_t list[GROUPS_MAX];
	int n = GROUPS_MAX;

	(void)getgrouplist(name, gid, list, &n); /* cut if there are more */
	for (int i = 0; i < n && i < GROUPS_MAX; i++)
		out->groups[out->group_count++] = list[i];
}

int account_find(const char *text, struct api_account *out, struct error *why)
{
	struct passwd pw, *res = NULL;
	FREE char *mem = malloc(NSS_BYTES);
	int64_t uid = UNKNOWN;

	*out = (struct api_account){.uid = UNKNOWN, .gid = NOBODY_GROUP};
	if (!mem)
		return fail(why, ERR_NO_MEMORY, "out of memory");
	if (parse_int(str_of(text), 0, UINT32_MAX - 1, &uid, NULL) == 0) {
		(void)getpwuid_r((uid_t)uid, &pw, mem, NSS_BYTES, &res);
	} else {
		(void)getpwnam_r(text, &pw, mem, NSS_BYTES, &res);
		if (!res)
			return fail(why, ERR_INVALID, "there is no user called '%.60s'", text);
		uid = pw.pw_uid;
	}
	out->uid = uid;
	if (res) {
		out->gid = pw.pw_gid;
		account_groups(pw.pw_name, pw.pw_gid, out);
	}
	return 0;
}

/* ---- the file ---- */

static bool token_good(const char *s)
{
	size_t n = strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
			     "-._~+/=");

	return !s[n] && n >= TOKEN_MIN && n <= REQUEST_ID_MAX;
}

static bool same_token(const char *a, const char *b)
{
	unsigned char diff = 0;

	/* Both are arrays of this size, zero behind the end: all of it is looked at, always. */
	for (size_t i = 0; i <= REQUEST_ID_MAX; i++)
		diff |= (unsigned char)(a[i] ^ b[i]);
	return diff == 0;
}

static int line_parse(char *line, int number, struct tokens *t, struct error *why)
{
	struct token *k = &t->list[t->count];
	struct error inner = {0};
	char *save = NULL;
	const char *text = strtok_r(line, " \t\r", &save),
		   *consumer = strtok_r(NULL, " \t\r", &save),
		   *user = strtok_r(NULL, " \t\r", &save);

	if (!text || text[0] == '#')
		return 0;
	if (!consumer || !user || strtok_r(NULL, " \t\r", &save))
		return fail(why, ERR_INVALID, "line %d: must be TOKEN CONSUMER UID", number);
	if (!token_good(text))
		return fail(why, ERR_INVALID,
			    "line %d: a token is %d to %d of A-Z a-z 0-9 - . _ ~ + / =; make one "
			    "with: openssl rand -hex 32",
			    number, TOKEN_MIN, REQUEST_ID_MAX);
	if (strlen(consumer) >= sizeof(k->consumer) || !utf8_valid(consumer, strlen(consumer)))
		return fail(why, ERR_INVALID,
			    "line %d: the consumer is longer than %zu bytes, or not "
			    "UTF-8",
			    number, sizeof(k->consumer) - 1);
	if (t->count == TOKENS_MAX)
		return fail(why, ERR_INVALID, "line %d: more than %d tokens", number, TOKENS_MAX);
	memset(k, 0, sizeof(*k));
	COPY(k->text, text);
	COPY(k->consumer, consumer);
	for (size_t i = 0; i < t->count; i++)
		if (same_token(t->list[i].text, k->text))
			return fail(why, ERR_INVALID, "line %d: the same token stands above",
				    number);
	if (account_find(user, &k->account, &inner))
		return fail(why, ERR_INVALID, "line %d: %s", number, inner.text);
	t->count++;
	return 0;
}

int tokens_parse(const char *text, size_t n, struct tokens *out, struct error *why)
{
	FREE char *copy = calloc(1, n + 1);
	int err = 0, number = 0;

	*out = (struct tokens){.list = calloc(TOKENS_MAX + 1, sizeof(*out->list))};
	if (!copy || !out->list) {
		tokens_free(out);
		return fail(why, ERR_NO_MEMORY, "out of memory");
	}
	if (text)
		memcpy(copy, text, n);
	if (strlen(copy) != n)
		err = fail(why, ERR_INVALID, "it holds a NUL byte; is it really a text?");
	for (char *line = copy, *next; !err && *line; line = next) {
		next = line + strcspn(line, "\n");
		if (*next)
			*next++ = '\0';
		err = line_parse(line, ++number, out, why);
	}
	explicit_bzero(copy, n);
	if (err)
		tokens_free(out);
	return err;
}

int tokens_read(const char *path, struct tokens *out, struct error *why)
{
	FREE char *text = malloc(FILE_MAX + 1);
	struct error inner = {0};
	struct stat st = {0};
	size_t len = 0;
	ssize_t n = 1;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), err = 0;

	*out = (struct tokens){0};
	if (fd < 0)
		return fail(why, ERR_INVALID, "API_TOKENS_FILE %.200s: cannot be read: %s", path,
			    strerror(errno));
	if (!text || fstat(fd, &st) != 0)
		err = fail(why, ERR_NO_MEMORY, "out of memory");
	else if (!S_ISREG(st.st_mode))
		err = fail(why, ERR_INVALID, "API_TOKENS_FILE %.200s: is not a regular file", path);
	else if (st.st_mode & 077)
		err = fail(
			why, ERR_FORBIDDEN,
			"API_TOKENS_FILE %.200s: others may read or change it (mode %04o); chmod "
			"600 it",
			path, (unsigned)(st.st_mode & 07777));
	while (!err && n > 0 && len <= FILE_MAX) {
		n = read(fd, text + len, FILE_MAX + 1 - len);
		len += n > 0 ? (size_t)n : 0;
	}
	close(fd);
	if (!err && (n < 0 || len > FILE_MAX))
		err = fail(why, ERR_INVALID,
			   "API_TOKENS_FILE %.200s: cannot be read, or is larger "
			   "than %zu bytes",
			   path, FILE_MAX);
	if (!err && tokens_parse(text, len, out, &inner))
		err = fail(why, ERR_INVALID, "API_TOKENS_FILE %.200s: %s", path, inner.text);
	if (text)
		explicit_bzero(text, len);
	return err;
}

void tokens_free(struct tokens *t)
{
	if (t->list)
		explicit_bzero(t->list, (TOKENS_MAX + 1) * sizeof(*t->list));
	free(t->list);
	*t = (struct tokens){0};
}

const struct token *tokens_find(const struct tokens *t, const char *authorization)
{
	char text[REQUEST_ID_MAX + 1] = {0};
	const struct token *found = NULL;

	if (!authorization || strncasecmp(authorization, "Bearer ", 7) != 0)
		return NULL;
	authorization += 7 + strspn(authorization + 7, " ");
	if (!token_good(authorization))
		return NULL;
	COPY(text, authorization);
	for (size_t i = 0; i < t->count; i++)
		if (same_token(t->list[i].text, text))
			found = &t->list[i];
	explicit_bzero(text, sizeof(text));
	return found;
}

/* ---- read again ---- */

struct reading {
	uv_work_t req;
	struct http *h;
	struct tokens tokens;
	struct error why;
	int err;
};

static void reading_work(uv_work_t *req)
{
	struct reading *g = container_of(req, struct reading, req);

	g->err = tokens_read(g->h->args.tokens_file, &g->tokens, &g->why);
}

static void reading_done(uv_work_t *req, int status)
{
	struct reading *g = container_of(req, struct reading, req);
	struct http *h = g->h;

	h->reading = false;
	if (status == 0 && g->err && !h->stopped) {
		engine_alarm(h->e, "tokens", "http", g->why.text);
	} else if (status == 0 && !h->stopped) {
		struct tokens old = h->tokens;

		h->tokens = g->tokens;
		g->tokens = old;
		engine_alarm_clear(h->e, "tokens", "http");
		streams_stop(h); /* who may still listen comes again, and goes on where it was */
	}
	tokens_free(&g->tokens);
	free(g);
	if (h->read_again && !h->stopped)
		reload_begin(h);
}

void reload_begin(struct http *h)
{
	struct reading *g;

	if (!h->args.tokens_file[0])
		return;
	h->read_again = h->reading; /* it may have changed after it was read */
	if (h->reading)
		return;
	g = calloc(1, sizeof(*g));
	if (!g)
		return;
	g->h = h;
	h->reading = uv_queue_work(h->loop, &g->req, reading_work, reading_done) == 0;
	if (!h->reading)
		free(g);
}

/* ---- a request ---- */

const char *browser_refusal(const char *origin, const char *host)
{
	char name[64];
	unsigned char address[16];
	const char *end;
	size_t n;

	if (origin)
		return "API_AUTH=none refuses requests that a web page makes (they have an Origin)";
	if (!host)
		return NULL;
	/* A foreign name that was made to point here has a dot in it; an address is no name. */
	end = host[0] == '[' ? strchr(host, ']') : strchr(host, ':');
	if (host[0] == '[')
		host++;
	n = end ? (size_t)(end - host) : strlen(host);
	if (!memchr(host, '.', n))
		return NULL;
	snprintf(name, sizeof(name), "%.*s", (int)n, host);
	if (n < sizeof(name) &&
	    (inet_pton(AF_INET, name, address) == 1 || inet_pton(AF_INET6, name, address) == 1))
		return NULL;
	return "API_AUTH=none answers only where the Host is an address or a name without a dot "
	       "(else a web page could reach it under a name of its own); use tokens";
}

/* What the rights of sessions/ say at the mount. */
static bool may_make(const struct http *h, const struct api_account *a)
{
	const struct policy *p = engine_policy(h->e);

	switch (p->access) {
	case ACCESS_AUTO:
	case ACCESS_ALL:
		return true;
	case ACCESS_OWNER:
		return a->uid == 0 || a->uid == p->access_uid;
	case ACCESS_GROUP:
		for (size_t i = 0; i < a->group_count; i++)
			if (a->groups[i] == p->access_gid)
				return true;
		return a->uid == 0 || a->gid == p->access_gid;
	}
	return false;
}

static void act_as(struct request *r, const struct api_account *a)
{
	const struct http_options *args = &r->h->args;

	r->who = (struct caller){.uid = a->uid,
				 .gid = a->gid,
				 .name = args->user_name(args->arg, a->uid),
				 .admin = args->is_admin(args->arg, a->uid, a->gid)};
	r->may_make = may_make(r->h, a);
}

void authorize(struct request *r)
{
	struct http *h = r->h;
	const char *refusal;
	const struct token *t;

	if (h->args.auth == API_AUTH_NONE) {
		refusal = browser_refusal(
			MHD_lookup_connection_value(r->c, MHD_HEADER_KIND, "Origin"),
			MHD_lookup_connection_value(r->c, MHD_HEADER_KIND, "Host"));
		if (refusal)
			answer_fail(r, 403, "%s", refusal);
		else
			act_as(r, &h->account);
		return;
	}
	if (!h->args.tokens_file[0]) {
		answer_fail(
			r, 403,
			"the API is switched off: set API_TOKENS_FILE to a file of mode 0600 with "
			"lines TOKEN CONSUMER UID, or API_AUTH=none and API_UID, and start gpufs "
			"again");
		return;
	}
	t = tokens_find(&h->tokens,
			MHD_lookup_connection_value(r->c, MHD_HEADER_KIND, "Authorization"));
	if (!t) {
		answer_fail(r, 401, "a valid token is needed: send Authorization: Bearer TOKEN");
		return;
	}
	act_as(r, &t->account);
	if (!r->who.admin)
		COPY(r->consumer, t->consumer);
}
