/*
 * The HTTP door's place in the daemon: its settings as arguments, and whether there is one at all.
 * What cannot be right (a bad tokens file, an unknown user) refuses the start; a port that is
 * taken does not.
 *
 * Loop thread, at start. Tests: tests/mount/http.bats.
 */
#include <string.h>

#include "core/check.h"
#include "daemon_parts.h"
#include "start.h"

static bool is_admin(void *arg, int64_t uid, int64_t gid)
{
	const struct daemon *d = arg;

	return names_is_admin(d->names, uid, gid);
}

static const char *user_name(void *arg, int64_t uid)
{
	struct daemon *d = arg;

	return names_user(d->names, uid);
}

void start_http(const struct settings *s, struct http_options *out)
{
	int64_t port = 0;

	CHECK(parse_int(str_of(s->value[SET_SERVER_PORT]), 0, 65535, &port, NULL) == 0);
	*out = (struct http_options){
		.host = s->value[SET_SERVER_HOST],
		.port = (int)port,
		.auth = strcmp(s->value[SET_API_AUTH], "none") ? API_AUTH_TOKEN : API_AUTH_NONE,
		.tokens_file = s->value[SET_API_TOKENS_FILE],
		.api_user = s->value[SET_API_UID],
		.version = GPUFS_VERSION,
	};
}

int daemon_http_start(struct daemon *d)
{
	struct http_options a;

	start_http(d->args->settings, &a);
	if (a.port == 0)
		return 0;
	a.metrics = d->metrics;
	a.is_admin = is_admin;
	a.user_name = user_name;
	a.arg = d;
	d->http = http_new(&d->loop, d->engine, &a, &d->why);
	return d->http ? 0 : -err_errno(d->why.code);
}
