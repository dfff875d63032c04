/*
 * SIGHUP. The files are read on a worker, because a disk may stall; the new values are taken on the
 * loop, all or none: one bad line leaves everything as it was (style.md, D6). A setting that needs
 * a restart and differs is named in the log, so that nobody waits for its effect.
 *
 * Loop thread, except reload_work. Tests: tests/mount.
 */
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "daemon_parts.h"

struct reload {
	uv_work_t req;
	struct daemon *d;
	struct settings fresh;
	struct error why;
	int err;
};

static void reload_work(uv_work_t *req)
{
	struct reload *r = container_of(req, struct reload, req);
	const struct options *o = r->d->args->options;

	r->err = settings_read(&r->fresh, o->config, (const char *const *)o->settings, &r->why);
}

/* Exchange what may change while running; the old values end up in `fresh`. */
static void exchange(struct settings *now, struct settings *fresh)
{
	for (int i = 0; i < SET_COUNT; i++) {
		if (!settings_table[i].reload)
			continue;
		char *value = now->value[i], *origin = now->origin[i];
		now->value[i] = fresh->value[i];
		now->origin[i] = fresh->origin[i];
		fresh->value[i] = value;
		fresh->origin[i] = origin;
	}
}

/* The numbers of `fresh`; what was resolved at start stays. */
static void take_policy(struct policy *now, const struct policy *fresh)
{
	struct policy old = *now;

	*now = *fresh;
	now->admin_gid = old.admin_gid;
	now->access = old.access;
	now->access_uid = old.access_uid;
	now->access_gid = old.access_gid;
	now->local_max_sessions = old.local_max_sessions;
	memcpy(now->public_mount, old.public_mount, sizeof(now->public_mount));
	memcpy(now->deployment, old.deployment, sizeof(now->deployment));
	memcpy(now->label_key, old.label_key, sizeof(now->label_key));
	explicit_bzero(&old, sizeof(old));
}

static void name_restarts(const struct settings *now, const struct settings *fresh)
{
	for (int i = 0; i < SET_COUNT; i++) {
		/* its default is the mount point, which only the start knows */
		bool filled = i == SET_PUBLIC_MOUNT && !fresh->value[i][0];

		if (!settings_table[i].reload && !filled &&
		    strcmp(now->value[i], fresh->value[i]) != 0)
			log_line(LOG_WARN_, "SIGHUP: %s (%s) changes at the next start only",
				 settings_table[i].name, fresh->origin[i]);
	}
}

static void reload_done(uv_work_t *req, int status)
{
	struct reload *r = container_of(req, struct reload, req);
	struct daemon *d = r->d;
	struct policy policy;

	d->reloading = false;
	if (status == 0 && !r->err) {
		name_restarts(d->args->settings, &r->fresh);
		exchange(d->args->settings, &r->fresh);
		r->err = settings_policy(d->args->settings, &policy, &r->why);
		if (r->err) {
			exchange(d->args->settings, &r->fresh);
		} else {
			take_policy(&d->policy, &policy);
			start_log_apply(d->args->start, d->args->settings);
			log_line(LOG_INFO_, "SIGHUP: settings were read again");
		}
	}
	if (r->err)
		log_line(LOG_ERROR_, "SIGHUP: nothing was changed: %s", r->why.text);
	settings_free(&r->fresh);
	free(r);
	if (d->reload_again) {
		d->reload_again = false;
		daemon_reload(d);
	}
}

void daemon_reload(struct daemon *d)
{
	struct reload *r;

	if (d->reloading) { /* the file may have changed after it was read */
		d->reload_again = true;
		return;
	}
	names_admin_refresh(d->names);
	http_reload(d->http);
	r = calloc(1, sizeof(*r));
	if (!r)
		return;
	r->d = d;
	d->reloading = uv_queue_work(&d->loop, &r->req, reload_work, reload_done) == 0;
	if (!d->reloading)
		free(r);
}
