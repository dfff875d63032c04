/*
 * What every dialect's reading of a reply is made of: arrays that grow within a bound, and a verdict
 * with a sentence that can be printed. Pure; any thread. Tests: tests/unit/test_wire.c.
 */
#include "wire.h"

#include <stdarg.h>
#include <string.h>

#include "check.h"
#include "mutant.h"

#define SECRET_MIN 32 /* tokens and keys are longer runs than any word; an id is divided by '-' */

unsigned provider_can(const struct provider *p)
{
	if (!p->dialect)
		return p->can;
	return WANT_ALL & ~(p->dialect->lacks | (p->dialect->bids ? 0u : (unsigned)WANT_BID));
}

struct shape provider_shape(const struct provider *p, const struct shape *wanted)
{
	const struct dialect *d = p->dialect;
	unsigned can = provider_can(p);
	struct shape s = {can & WANT_DISK && wanted->disk_gb > 0 ? wanted->disk_gb : UNKNOWN,
			  can & WANT_VCPUS && wanted->vcpus > 0 ? wanted->vcpus : UNKNOWN,
			  can & WANT_RAM && wanted->ram_gb > 0 ? wanted->ram_gb : UNKNOWN};

	if (d && s.disk_gb != UNKNOWN && s.disk_gb < d->disk_min_gb)
		s.disk_gb = d->disk_min_gb;
	if (d && d->fit)
		d->fit(&s);
	return s;
}

bool says_gone(const struct result *res)
{
	if (MUTANT(7) && res->verdict == KEY_DEAD)
		return true;
	if (res->verdict == SURE_NO)
		return res->error == PE_GONE;
	return res->verdict == SURE_YES &&
	       (res->error == PE_GONE || (res->count && res->instances[0].status == INST_GONE));
}

void wire_result_init(struct wire_result *w)
{
	memset(w, 0, sizeof *w);
	w->total = UNKNOWN;
	w->r.verdict = LATER;
	w->r.error = PE_UNKNOWN;
	w->r.balance_u6 = w->r.retry_after_us = UNKNOWN;
}

void wire_result_free(struct wire_result *w)
{
	free(w->offers);
	free(w->instances);
	free(w->templates);
	memset(w, 0, sizeof *w);
}

/* One zeroed row more in *rows, of which w has one array at most. */
static void *add_row(struct wire_result *w, void **rows, size_t size)
{
	if (w->r.count == WIRE_ROWS_MAX) {
		w->r.dropped++;
		return NULL;
	}
	if (w->r.count == w->cap) {
		size_t cap = w->cap ? 2 * w->cap : 16;
		void *more = reallocarray(*rows, cap, size);

		if (!more) {
			w->r.dropped++;
			return NULL;
		}
		*rows = more;
		w->cap = cap;
	}
	return memset((char *)*rows + w->r.count++ * size, 0, size);
}

struct offer *wire_add_offer(struct wire_result *w)
{
	void *rows = w->offers;
	struct offer *o = add_row(w, &rows, sizeof *o);

	w->r.offers = w->offers = rows;
	return o;
}

struct instance *wire_add_instance(struct wire_result *w)
{
	void *rows = w->instances;
	struct instance *in = add_row(w, &rows, sizeof *in);

	w->r.instances = w->instances = rows;
	return in;
}

struct template_info *wire_add_template(struct wire_result *w)
{
	void *rows = w->templates;
	struct template_info *t = add_row(w, &rows, sizeof *t);

	w->r.templates = w->templates = rows;
	return t;
}

__attribute__((format(printf, 4, 0))) static void
say(struct wire_result *w, enum verdict v, enum provider_error e, const char *fmt, va_list ap)
{
	char text[sizeof w->r.text];

	w->r.verdict = v;
	w->r.error = e;
	vsnprintf(text, sizeof text, fmt, ap);
	printable_text(w->r.text, sizeof w->r.text, text);
}

void wire_say(struct wire_result *w, enum verdict v, enum provider_error e, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say(w, v, e, fmt, ap);
	va_end(ap);
}

void wire_done(struct wire_result *w)
{
	wire_say(w, SURE_YES, PE_NONE, "%s", "");
}

void wire_unclear(const struct wire_ask *ask, struct wire_result *w, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say(w, wire_is_write(ask->op) ? UNSURE : LATER, PE_UNAVAILABLE, fmt, ap);
	va_end(ap);
}

bool wire_is_write(enum call_op op)
{
	return op == CALL_CREATE || op == CALL_DESTROY || op == CALL_ATTACH;
}

#define PLAIN_CHARS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

void wire_hide_secrets(char *text)
{
	for (char *p = text; *p;) {
		size_t n = strspn(p, PLAIN_CHARS "+/=_");

		if (n >= SECRET_MIN)
			memset(p, '*', n);
		p += n ? n : 1;
	}
}

bool wire_id_ok(const char *id)
{
	size_t n = strspn(id, PLAIN_CHARS "._-");

	return n && n < sizeof((struct instance *)0)->id && !id[n] && id[0] != '.';
}
