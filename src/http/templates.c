/*
 * /templates, /inventory/ID/compatible-templates, /offer-health, and the template filter of /inventory.
 * All from memory; only who asks before the first list of templates came waits for it, as a request
 * that is handled again when a provider has news. Loop thread. Tests: tests/mount/http_docs.bats,
 * tests/mount/market.bats.
 */
#include <stdlib.h>
#include <string.h>

#include "parts.h"

#define TEMPLATES_LIMIT_MS 45000 /* more than a read and its retries take */

/* ---- waiting for the first list ---- */

static void templates_late(struct request *r)
{
	r->waits_provider = false;
	answer_fail(r, 500, "failed to list templates: the provider does not answer");
}

/* A provider with templates, and whether they are here. */
enum have { HAVE, HAVE_NOT_YET, HAVE_FAILED, HAVE_NO_PROVIDER };

static enum have templates_get(struct request *r, struct templates_view *v)
{
	if (!engine_templates(r->h->e, v))
		return HAVE_NO_PROVIDER;
	if (v->fetched_us)
		return HAVE;
	if (!v->busy)
		return HAVE_FAILED;
	r->waits_provider = true;
	request_deadline(r, TEMPLATES_LIMIT_MS, templates_late);
	return HAVE_NOT_YET;
}

void templates_changed(struct http *h)
{
	for (struct conn *k = h->conns; k; k = k->next) {
		if (!k->r || !k->r->waits_provider || k->r->answered)
			continue;
		k->r->waits_provider = false;
		request_again(k->r);
	}
}

static const struct template_info *template_find(const struct templates_view *v, const char *id)
{
	for (size_t i = 0; i < v->count; i++)
		if (!strcmp(v->list[i].id, id))
			return &v->list[i];
	return NULL;
}

/* ---- one template ---- */

#define TEMPLATE(name, how) SHOW_MEMBER(template, template_info, t, name, how)

/* "image:tag" is what a machine runs; the API has the two apart. */
static bool put_image(struct buf *b, const struct template_info *t)
{
	size_t n = strlen(t->image), tail = strlen(t->tag);
	char image[sizeof(t->image)];

	COPY(image, t->image);
	if (tail && n > tail + 1 && image[n - tail - 1] == ':' && !strcmp(image + n - tail, t->tag))
		image[n - tail - 1] = '\0';
	return member_text(b, image);
}

TEMPLATE(id, member_int(b, t->number))
TEMPLATE(hash, member_text(b, t->id))
TEMPLATE(name, member_text(b, t->name))
TEMPLATE(image, put_image(b, t))
TEMPLATE(tag, member_optional(b, t->tag))
TEMPLATE(runtype, member_optional(b, t->runtype))
TEMPLATE(use_ssh, member_bool(b, t->use_ssh))
TEMPLATE(ssh_direct, member_bool(b, t->ssh_direct))
TEMPLATE(recommended, member_bool(b, t->recommended))
TEMPLATE(disk, t->disk_gb > 0 && member_int(b, t->disk_gb))
TEMPLATE(filters, member_optional(b, t->extra_filters))
TEMPLATE(creator, t->creator > 0 && member_int(b, t->creator))
TEMPLATE(created, member_time(b, t->created_us))
TEMPLATE(count, t->count_created > 0 && member_int(b, t->count_created))

const struct member template_members[] = {
	{"id", JT_INT, false, show_template_id, "the provider's own number of it"},
	{"hash_id", JT_TEXT, false, show_template_hash, "what template= of a spec names"},
	{"name", JT_TEXT, false, show_template_name, "for people"},
	{"image", JT_TEXT, false, show_template_image, "container image, without its tag"},
	{"tag", JT_TEXT, true, show_template_tag, "of the image"},
	{"runtype", JT_TEXT, true, show_template_runtype, "how it is started"},
	{"use_ssh", JT_BOOL, false, show_template_use_ssh, "it has an SSH server"},
	{"ssh_direct", JT_BOOL, false, show_template_ssh_direct, "reached without a proxy"},
	{"recommended", JT_BOOL, false, show_template_recommended, "by the provider"},
	{"recommended_disk_space", JT_INT, true, show_template_disk, "GB"},
	{"extra_filters", JT_TEXT, true, show_template_filters,
	 "what it asks of a machine: JSON in the provider's words"},
	{"creator_id", JT_INT, true, show_template_creator, "who made it"},
	{"created_at", JT_TIME, false, show_template_created, "when it was made"},
	{"count_created", JT_INT, true, show_template_count, "how often it was used"},
};
const size_t template_member_count = ARRAY_LEN(template_members);

static void put_template(const struct template_info *t, struct buf *out)
{
	struct render x = {.thing = t};

	put_json_object(out, template_members, template_member_count, &x);
}

/* ---- /templates ---- */

enum { TP_RECOMMENDED, TP_USE_SSH, TP_NAME, TP_IMAGE, TP_COUNT };

const struct param templates_params[] = {
	[TP_RECOMMENDED] = {"recommended", PT_BOOL, 0, 0, "only those that are, or are not"},
	[TP_USE_SSH] = {"use_ssh", PT_BOOL, 0, 0, "only those with an SSH server, or without"},
	[TP_NAME] = {"name", PT_TEXT, 0, 0, "a part of the name; case is ignored"},
	[TP_IMAGE] = {"image", PT_TEXT, 0, 0, "a part of the image; case is ignored"},
};
const size_t templates_param_count = ARRAY_LEN(templates_params);
_Static_assert(ARRAY_LEN(templates_params) == TP_COUNT, "every parameter has a row");

static bool template_wanted(const struct template_info *t, const struct value *v)
{
	if (v[TP_RECOMMENDED].set && t->recommended != (v[TP_RECOMMENDED].num != 0))
		return false;
	if (v[TP_USE_SSH].set && t->use_ssh != (v[TP_USE_SSH].num != 0))
		return false;
	if (v[TP_NAME].set && !strcasestr(t->name, v[TP_NAME].text))
		return false;
	return !v[TP_IMAGE].set || strcasestr(t->image, v[TP_IMAGE].text);
}

/* False: they are here. True: the request is answered, or waits. */
static bool templates_refused(struct request *r, struct templates_view *v)
{
	switch (templates_get(r, v)) {
	case HAVE:
		return false;
	case HAVE_NOT_YET:
		break;
	case HAVE_FAILED:
		answer_fail(r, 500, "failed to list templates: %s", v->error);
		break;
	case HAVE_NO_PROVIDER:
		answer_fail(
			r, 500,
			"template provider not available: no provider with templates is set up");
		break;
	}
	return true;
}

void get_templates(struct request *r)
{
	struct value v[TP_COUNT];
	struct templates_view all;
	BUF list = {0};
	int64_t n = 0;

	if (params_read(r, templates_params, TP_COUNT, v) != 0 || templates_refused(r, &all))
		return;
	for (size_t i = 0; i < all.count; i++) {
		if (!template_wanted(&all.list[i], v))
			continue;
		if (n++)
			buf_putc(&list, ',');
		put_template(&all.list[i], &list);
	}
	buf_printf(&r->out, "{\"count\":%lld,\"templates\":[%s]}", (long long)n,
		   list.data ? list.data : "");
	r->out.failed |= list.failed;
	answer(r, 200);
}

void get_template(struct request *r)
{
	const struct template_info *t;
	struct templates_view all;
	char shown[REQUEST_ID_MAX + 1];

	if (templates_refused(r, &all))
		return;
	t = template_find(&all, r->param);
	if (!t) {
		clean(shown, r->param);
		answer_fail(r, 404, "template not found: %s", shown);
		return;
	}
	put_template(t, &r->out);
	answer(r, 200);
}

/* ---- templates and offers ---- */

/* MB of the provider's filter, against nominal GB: a card of 24564 MB is one of 24 GB. */
static int64_t vram_gb(const struct template_info *t)
{
	return t->min_vram_mb > 0 ? (t->min_vram_mb + 1023) / 1024 : 0;
}

static void at_least(struct query *q, enum query_key key, int64_t min)
{
	if (min <= 0 || (q->set & UINT32_C(1) << key && q->num[key] >= min))
		return;
	q->set |= UINT32_C(1) << key;
	q->num[key] = min;
}

bool template_filter(struct request *r, const char *id, const char *provider, struct query *q)
{
	static const char *const refused = "template filtering requires Vast.ai provider";
	const struct template_info *t;
	struct templates_view all;
	char shown[REQUEST_ID_MAX + 1];

	switch (templates_get(r, &all)) {
	case HAVE:
		break;
	case HAVE_NOT_YET:
		return false;
	case HAVE_FAILED:
		clean(shown, id);
		answer_fail(r, 404, "template not found: %s", shown);
		return false;
	case HAVE_NO_PROVIDER:
		answer_fail(r, 400, "%s: no provider with templates is set up", refused);
		return false;
	}
	if (provider && strcmp(provider, all.provider) != 0) {
		clean(shown, provider);
		answer_fail(r, 400, "%s: got %s", refused, shown);
		return false;
	}
	t = template_find(&all, id);
	if (!t) {
		clean(shown, id);
		answer_fail(r, 404, "template not found: %s", shown);
		return false;
	}
	at_least(q, Q_MIN_VRAM, vram_gb(t));
	at_least(q, Q_MIN_CUDA, t->min_cuda_m);
	return query_set(q, Q_PROVIDER, str_of(all.provider), NULL) == 0;
}

static bool fits(const struct template_info *t, const struct offer *o)
{
	return o->vram_gb >= vram_gb(t) && (t->min_cuda_m <= 0 || o->cuda_m >= t->min_cuda_m);
}

static void put_fitting(const struct templates_view *all, const struct offer *o, struct buf *out)
{
	BUF list = {0};
	int64_t n = 0;

	for (size_t i = 0; i < all->count; i++) {
		const struct template_info *t = &all->list[i];

		if (!fits(t, o))
			continue;
		buf_puts(&list, n++ ? ",{\"hash_id\":" : "{\"hash_id\":");
		put_json_text(&list, t->id);
		buf_puts(&list, ",\"name\":");
		put_json_text(&list, t->name);
		if (t->image[0]) {
			buf_puts(&list, ",\"image\":");
			put_json_text(&list, t->image);
		}
		buf_putc(&list, '}');
	}
	buf_printf(out, "{\"compatible_templates\":[%s],\"count\":%lld,\"gpu_type\":",
		   list.data ? list.data : "", (long long)n);
	out->failed |= list.failed;
	put_json_text(out, o->gpu_type);
	buf_puts(out, ",\"offer_id\":");
	put_json_text(out, o->id);
	buf_puts(out, ",\"vram_gb\":");
	put_json_int(out, o->vram_gb == UNKNOWN ? 0 : o->vram_gb);
	buf_putc(out, '}');
}

void get_compatible_templates(struct request *r)
{
	const struct offer *o = inventory_find(engine_inventory(r->h->e), r->param);
	struct templates_view all = {0};
	char shown[REQUEST_ID_MAX + 1];
	enum have have;

	if (!o) {
		clean(shown, r->param);
		answer_fail(r, 404, "offer not found: %s", shown);
		return;
	}
	have = templates_get(r, &all);
	if (have == HAVE_NO_PROVIDER || strcmp(all.provider, o->provider) != 0) {
		r->waits_provider = false;
		buf_puts(&r->out, "{\"compatible_templates\":[],\"count\":0,\"note\":\"templates "
				  "are only available for Vast.ai offers\",\"offer_id\":");
		put_json_text(&r->out, o->id);
		buf_puts(&r->out, ",\"provider\":");
		put_json_text(&r->out, o->provider);
		buf_putc(&r->out, '}');
		answer(r, 200);
	} else if (have == HAVE_FAILED) {
		answer_fail(r, 500, "failed to get compatible templates: %s", all.error);
	} else if (have == HAVE) {
		put_fitting(&all, o, &r->out);
		answer(r, 200);
	}
}

/* ---- /offer-health ---- */

enum { HP_PROVIDER, HP_GPU_TYPE, HP_COUNT };

const struct param offer_health_params[] = {
	[HP_PROVIDER] = {"provider", PT_TEXT, 0, 0, "offers of this provider only, exact"},
	[HP_GPU_TYPE] = {"gpu_type", PT_TEXT, 0, 0, "offers of this model only, exact"},
};
const size_t offer_health_param_count = ARRAY_LEN(offer_health_params);
_Static_assert(ARRAY_LEN(offer_health_params) == HP_COUNT, "every parameter has a row");

#define HEALTH(name, how) SHOW_MEMBER(health, offer_health, o, name, how)

HEALTH(offer, member_text(b, o->offer_id))
HEALTH(provider, member_text(b, o->provider))
HEALTH(gpu_type, member_text(b, o->gpu_type))
HEALTH(failures, member_int(b, o->failures))
HEALTH(suppressed, member_bool(b, o->until_us > 0))
HEALTH(since, o->until_us > 0 && member_time(b, o->hidden_us))
HEALTH(until, o->until_us > 0 && member_time(b, o->until_us))
HEALTH(multiplier, member_fixed(b, o->multiplier_m, 3))
HEALTH(last, o->last_us > 0 && member_time(b, o->last_us))
HEALTH(type, member_optional(b, o->kind))
HEALTH(reason, member_optional(b, o->reason))

const struct member offer_health_members[] = {
	{"offer_id", JT_TEXT, false, show_health_offer, "also one that has left the market"},
	{"provider", JT_TEXT, false, show_health_provider, "who rents it out"},
	{"gpu_type", JT_TEXT, false, show_health_gpu_type, "empty if it is not known any more"},
	{"recent_failures", JT_INT, false, show_health_failures, "of its machine, within a day"},
	{"is_suppressed", JT_BOOL, false, show_health_suppressed, "hidden from the market"},
	{"suppressed_at", JT_TIME, true, show_health_since, "hidden since"},
	{"suppressed_until", JT_TIME, true, show_health_until, "hidden until"},
	{"confidence_multiplier", JT_NUMBER, false, show_health_multiplier,
	 "what its availability_confidence is multiplied by"},
	{"last_failure", JT_TIME, true, show_health_last, "when"},
	{"last_failure_type", JT_TEXT, true, show_health_type, "boot_failed or ssh_timeout"},
	{"last_failure_reason", JT_TEXT, true, show_health_reason, "a sentence"},
};
const size_t offer_health_member_count = ARRAY_LEN(offer_health_members);

/* Models that have offers with failures. */
struct model_health {
	struct model_health *next;
	int64_t offers;
	char key[96];
};

struct health_list {
	const struct value *v;
	struct buf offers;
	int64_t count;
	struct model_health *models;
	bool failed;
};

static void count_model(struct health_list *l, const struct offer_health *o)
{
	struct model_health **at = &l->models;
	char key[96];

	snprintf(key, sizeof(key), "%s:%s", o->provider, o->gpu_type);
	while (*at && strcmp((*at)->key, key) != 0)
		at = &(*at)->next;
	if (!*at) {
		*at = calloc(1, sizeof(**at));
		if (!*at) {
			l->failed = true;
			return;
		}
		COPY((*at)->key, key);
	}
	(*at)->offers++;
}

static void take_health(void *arg, const struct offer_health *o)
{
	struct health_list *l = arg;
	struct render x = {.thing = o};

	count_model(l, o);
	if ((l->v[HP_PROVIDER].set && strcmp(l->v[HP_PROVIDER].text, o->provider) != 0) ||
	    (l->v[HP_GPU_TYPE].set && strcmp(l->v[HP_GPU_TYPE].text, o->gpu_type) != 0))
		return;
	if (l->count++)
		buf_putc(&l->offers, ',');
	put_json_object(&l->offers, offer_health_members, offer_health_member_count, &x);
}

void get_offer_health(struct request *r)
{
	struct value v[HP_COUNT];
	struct health_list l = {.v = v};
	struct model_health *next;

	if (params_read(r, offer_health_params, HP_COUNT, v) != 0)
		return;
	engine_offer_health(r->h->e, take_health, &l);
	buf_printf(&r->out, "{\"count\":%lld,\"gpu_types\":[", (long long)l.count);
	for (struct model_health *m = l.models; m; m = next) {
		next = m->next;
		buf_puts(&r->out, "{\"gpu_type_key\":");
		put_json_text(&r->out, m->key);
		/* A model is as good as its machines: nothing is held against all of them. */
		buf_printf(&r->out, ",\"failed_offer_count\":%lld,\"is_degraded\":false}%s",
			   (long long)m->offers, next ? "," : "");
		free(m);
	}
	buf_puts(&r->out, "],\"offers\":[");
	buf_add(&r->out, l.offers.data ? l.offers.data : "", l.offers.len);
	buf_puts(&r->out, "]}");
	l.failed = l.failed || l.offers.failed;
	buf_free(&l.offers);
	if (l.failed)
		answer_fail(r, 500, "out of memory");
	else
		answer(r, 200);
}
