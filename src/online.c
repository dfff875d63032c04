/*
 * --check --online: asks each configured cloud for the account and for a first page of offers, and says
 * what came. A cloud that is down or refuses the key stops no start (its sessions must be watched all the
 * more), so these rows only warn. See online.h.
 */
#include "online.h"

#include <string.h>

#include "core/check.h"
#include "core/text.h"
#include "io/io.h"
#include "start.h"

/* What one cloud said. */
struct ask {
	struct online *o;
	struct result account, offers; /* without their rows */
	size_t offer_count;
	struct offer cheapest;
	struct cloud_view view;
	struct shape shape; /* priced for it */
};

static void keep(struct result *to, const struct result *from)
{
	*to = *from;
	to->offers = NULL;
	to->instances = NULL;
	to->templates = NULL;
}

static void account_came(void *arg, const struct result *res)
{
	struct ask *a = arg;

	keep(&a->account, res);
	a->o->pending--;
}

static void offers_came(void *arg, const struct result *res)
{
	struct ask *a = arg;

	keep(&a->offers, res);
	for (size_t i = 0; i < res->count; i++) {
		const struct offer *offer = &res->offers[i];

		if (!offer->available)
			continue;
		if (!a->offer_count++ || offer->price_u6 < a->cheapest.price_u6)
			a->cheapest = *offer;
	}
	a->o->pending--;
}

static void ask_cloud(struct ask *a, struct cloud *c, const struct dialect *d)
{
	struct page_ask page = {.limit = d->page_rows, .shape = a->shape};
	struct call account = {.op = CALL_ACCOUNT};
	struct call offers = {.op = CALL_OFFERS, .page = &page};

	a->o->pending += 2;
	cloud_act(c, &account, account_came, a);
	cloud_act(c, &offers, offers_came, a);
}

/* ---- what it means ---- */

/* It answered, whatever it said. */
static bool answered(const struct result *r)
{
	return r->verdict != LATER || r->error == PE_RATE;
}

static const char *key_word(const struct ask *a)
{
	if (a->account.verdict == SURE_YES)
		return "accepted";
	if (a->account.verdict == KEY_DEAD || a->offers.verdict == KEY_DEAD)
		return "refused";
	return "unknown";
}

static void row_reachable(const struct ask *a, struct finding *f)
{
	const struct result *first = answered(&a->account) ? &a->account : &a->offers;

	f->good = answered(first);
	if (!f->good)
		buf_printf(&f->text, "no: %s", a->account.text);
	else if (first->took_us > 0)
		buf_printf(&f->text, "answered in %lld ms", (long long)(first->took_us / 1000));
	else
		buf_puts(&f->text, "it answered");
}

static void row_key(const struct ask *a, struct finding *f)
{
	const char *word = key_word(a);

	f->good = !strcmp(word, "accepted");
	if (f->good)
		buf_puts(&f->text, word);
	else if (!strcmp(word, "refused"))
		buf_printf(&f->text,
			   "refused: %s; nothing can be bought or ended there with this key",
			   a->account.verdict == KEY_DEAD ? a->account.text : a->offers.text);
	else
		buf_printf(&f->text, "not known: %s", a->account.text);
}

static void row_balance(const struct ask *a, struct finding *f)
{
	int64_t left = a->account.balance_u6;

	f->good = a->account.verdict == SURE_YES && left > 0;
	if (a->account.verdict != SURE_YES) {
		buf_puts(&f->text, "not known");
		return;
	}
	if (left == UNKNOWN) {
		f->good = true;
		buf_puts(&f->text, "this provider does not tell");
		return;
	}
	buf_puts(&f->text, "$");
	put_money(&f->text, left);
	if (left == 0)
		buf_puts(&f->text, ": purchases there will be refused");
}

static void row_offers(const struct ask *a, struct finding *f)
{
	f->good = a->offers.verdict == SURE_YES && a->offer_count > 0;
	if (a->offers.verdict != SURE_YES) {
		buf_printf(&f->text, "not known: %s", a->offers.text);
		return;
	}
	buf_printf(&f->text, "%zu on a first page, with %lld GB of disk", a->offer_count,
		   (long long)a->shape.disk_gb);
	if (a->offers.dropped)
		buf_printf(&f->text, " (%zu unusable rows left out)", a->offers.dropped);
	if (!a->offer_count)
		return;
	buf_puts(&f->text, "; the cheapest is $");
	put_money(&f->text, a->cheapest.price_u6);
	buf_printf(&f->text, " an hour: %lld x %s, %s", (long long)a->cheapest.gpu_count,
		   a->cheapest.gpu_type, a->cheapest.id);
}

static void row_clock(const struct ask *a, struct finding *f)
{
	int64_t off = a->view.skew_us;

	if (off == UNKNOWN) {
		buf_puts(&f->text, "not known");
		return;
	}
	f->good = off <= SKEW_ALARM_US && off >= -SKEW_ALARM_US;
	if (off > -2 * SECOND_US && off < 2 * SECOND_US)
		buf_puts(&f->text, "this machine's agrees with the provider's");
	else
		buf_printf(&f->text, "this machine's is %lld s %s the provider's",
			   (long long)((off < 0 ? -off : off) / SECOND_US),
			   off > 0 ? "ahead of" : "behind");
	if (!f->good)
		buf_puts(&f->text, ": sessions would end at the wrong time; set it (timedatectl "
				   "set-ntp true)");
}

static const struct row {
	const char *name;
	void (*say)(const struct ask *a, struct finding *f);
} rows[] = {
	{"reachable", row_reachable}, {"key", row_key},	    {"balance", row_balance},
	{"offers", row_offers},	      {"clock", row_clock},
};

/* ---- printing ---- */

static void put_rows(const struct ask *a, bool json, struct buf *out)
{
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct finding f = {.text = {.max = 1024}};

		rows[i].say(a, &f);
		if (json && i)
			buf_putc(out, ',');
		start_finding(out, rows[i].name, false, &f, json);
		buf_free(&f.text);
	}
}

/* Facts first; a number that is not known is absent. */
static void put_json(const struct ask *a, const struct provider *p, struct buf *out)
{
	bool reached = answered(&a->account) || answered(&a->offers);

	buf_json(out, p->name, strlen(p->name));
	buf_puts(out, ":{\"base_url\":");
	buf_json(out, p->account.base_url, strlen(p->account.base_url));
	buf_printf(out, ",\"reachable\":%s,\"key\":\"%s\"", reached ? "true" : "false",
		   key_word(a));
	if (a->account.verdict == SURE_YES && a->account.balance_u6 != UNKNOWN) {
		buf_puts(out, ",\"balance\":");
		put_money(out, a->account.balance_u6);
	}
	if (a->offers.verdict == SURE_YES)
		buf_printf(out, ",\"offers\":%zu", a->offer_count);
	if (a->offer_count) {
		buf_puts(out, ",\"cheapest\":{\"id\":");
		buf_json(out, a->cheapest.id, strlen(a->cheapest.id));
		buf_puts(out, ",\"gpu_type\":");
		buf_json(out, a->cheapest.gpu_type, strlen(a->cheapest.gpu_type));
		buf_puts(out, ",\"price_per_hour\":");
		put_money(out, a->cheapest.price_u6);
		buf_putc(out, '}');
	}
	if (a->view.skew_us != UNKNOWN)
		buf_printf(out, ",\"clock_ahead_seconds\":%lld",
			   (long long)(a->view.skew_us / SECOND_US));
	buf_puts(out, ",\"rows\":{");
	put_rows(a, true, out);
	buf_puts(out, "}}");
}

static void put_text(const struct ask *a, const struct provider *p, struct buf *out)
{
	buf_printf(out, "\nWhat %s says (", p->name);
	buf_escape(out, p->account.base_url, strlen(p->account.base_url));
	buf_puts(out, ")\n");
	put_rows(a, false, out);
}

bool online_check(const struct settings *s, const struct policy *p, bool json, struct buf *out)
{
	const struct shape wanted = {p->default_disk_gb > 0 ? p->default_disk_gb : 1,
				     p->default_vcpus, p->default_ram_gb};
	struct ask asks[CONFIGURED_MAX] = {0};
	struct online o;
	struct error why;
	bool works = online_new(&o, s, p, &why) == 0;

	if (json)
		buf_puts(out, ",\"online\":{");
	for (size_t i = 0; works && i < o.count; i++) {
		asks[i].o = &o;
		asks[i].shape = provider_shape(o.clouds[i].p, &wanted);
		ask_cloud(&asks[i], o.cloud[i], o.clouds[i].p->dialect);
	}
	online_wait(&o);
	for (size_t i = 0; works && i < o.count; i++) {
		cloud_view(o.cloud[i], &asks[i].view);
		if (json && i)
			buf_putc(out, ',');
		(json ? put_json : put_text)(&asks[i], o.clouds[i].p, out);
	}
	if (json && !works) {
		buf_puts(out, "\"error\":");
		buf_json(out, why.text, strlen(why.text));
	}
	if (json)
		buf_putc(out, '}');
	else if (!works)
		buf_printf(out, "\nNo cloud can be asked: %s\n", why.text);
	else if (!o.count)
		buf_puts(out, "\nNo cloud is configured, so none was asked.\n");
	online_free(&o);
	return works;
}
