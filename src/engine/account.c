/*
 * What a provider says about our account (its balance) and about its templates. Neither is needed to
 * buy or to end anything: a failure only leaves the old answer standing. Loop thread.
 * Tests: tests/unit/test_engine_market.c.
 */
#include <string.h>

#include "internal.h"

#define ACCOUNT_US	   (15 * MINUTE_US)
#define ACCOUNT_SOON_US	   (5 * SECOND_US) /* after a purchase */
#define ACCOUNT_AGAIN_US   (5 * MINUTE_US) /* after a failure */
#define TEMPLATES_US	   HOUR_US
#define TEMPLATES_AGAIN_US (10 * SECOND_US) /* after a failure, when somebody asks */

/* ---- balance ---- */

static void account_done(void *arg, const struct result *res)
{
	struct source *src = arg;
	struct engine *e = src->e;

	src->account_busy = false;
	if (e->stopping)
		return;
	source_note(src, res, CALL_ACCOUNT, src->account_asked_us);
	src->next_account_us = engine_now(e) + ACCOUNT_AGAIN_US;
	if (res->verdict == SURE_YES) {
		src->next_account_us = engine_now(e) + ACCOUNT_US;
		COPY(src->account, res->account);
		src->account_us = src->account_begun_us;
		if (src->balance_u6 != res->balance_u6) {
			src->balance_u6 = res->balance_u6;
			src->changed_us = engine_now(e);
			tell_soon(e, CH_PROVIDER);
		}
	}
	engine_wake(e, 0);
}

int64_t account_next_us(const struct source *src)
{
	return src->p->dialect && !src->account_busy ? src->next_account_us : INT64_MAX;
}

void account_drive(struct source *src, int64_t now_us)
{
	struct call call = {.op = CALL_ACCOUNT};

	if (now_us < account_next_us(src))
		return;
	src->account_busy = true;
	src->account_begun_us = now_us;
	src->account_asked_us = count_call(src, CALL_ACCOUNT);
	source_act(src, &call, account_done, src);
}

void account_spent(struct source *src)
{
	int64_t soon = engine_now(src->e) + ACCOUNT_SOON_US;

	if (src->next_account_us > soon)
		src->next_account_us = soon;
}

void account_refresh(struct source *src)
{
	src->next_account_us = engine_now(src->e);
}

/* ---- templates ---- */

static void templates_done(void *arg, const struct result *res)
{
	struct source *src = arg;
	struct engine *e = src->e;

	src->templates_busy = false;
	if (e->stopping)
		return;
	source_note(src, res, CALL_TEMPLATES, src->templates_asked_us);
	if (res->verdict == SURE_YES) {
		free(src->templates);
		src->templates = xcalloc(res->count, sizeof(*src->templates));
		if (res->count)
			memcpy(src->templates, res->templates,
			       res->count * sizeof(*src->templates));
		src->template_count = res->count;
		src->templates_us = engine_now(e);
		src->templates_error[0] = '\0';
	} else {
		COPY(src->templates_error, res->text[0] ? res->text : "the provider failed");
	}
	tell_soon(e, CH_PROVIDER);
}

static void templates_refresh(struct source *src)
{
	int64_t now = engine_now(src->e);
	struct call call = {.op = CALL_TEMPLATES};

	if (src->templates_busy || src->e->stopping ||
	    (src->templates_us && now - src->templates_us < TEMPLATES_US) ||
	    (src->templates_tried_us && now - src->templates_tried_us < TEMPLATES_AGAIN_US))
		return;
	src->templates_busy = true;
	src->templates_tried_us = now;
	src->templates_asked_us = count_call(src, CALL_TEMPLATES);
	source_act(src, &call, templates_done, src);
}

bool engine_templates(struct engine *e, struct templates_view *out)
{
	for (size_t i = 0; i < e->source_count; i++) {
		struct source *src = &e->sources[i];

		if (!src->p->dialect || !src->p->dialect->templates)
			continue;
		templates_refresh(src);
		*out = (struct templates_view){.provider = src->p->name,
					       .list = src->templates,
					       .count = src->template_count,
					       .fetched_us = src->templates_us,
					       .busy = src->templates_busy,
					       .error = src->templates_error};
		return true;
	}
	return false;
}
