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

int daemon_http_start(struct daemon *d)
{
	const struct settings *s = d->args->settings;
	struct http_args a = {.host = s->value[SET_SERVER_HOST],
			      .tokens_file = s->value[SET_API_TOKENS_FILE],
			      .api_user = s->value[SET_API_UID],
			      .version = GPUFS_VERSION,
			      .metrics = d->metrics,
			      .is_admin = is_admin,
			      .user_name = user_name,
			      .arg = d};
	int64_t port = 0;

	CHECK(parse_int(str_of(s->value[SET_SERVER_PORT]), 0, 65535, &port, NULL) == 0);
	if (port == 0)
		return 0;
	a.port = (int)port;
	a.auth = strcmp(s->value[SET_API_AUTH], "none") ? API_AUTH_TOKEN : API_AUTH_NONE;
	d->http = http_new(&d->loop, d->engine, &a, &d->why);
	return d->http ? 0 : -err_errno(d->why.code);
}
