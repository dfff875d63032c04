/*
 * What --orphans found and did, as a table for people and as JSON. Words of others are escaped; what is
 * not known is "-" in the table and absent in JSON.
 */
#include <string.h>

#include "core/check.h"
#include "core/text.h"
#include "orphans_parts.h"

static const char *cloud_name(const struct hunt *h, size_t at)
{
	return h->online.clouds[at].p->name;
}

/* ---- the table ---- */

/* A cell that is padded; "-" for nothing. */
static void put_cell(struct buf *out, const char *text, size_t width)
{
	size_t before = out->len;

	if (!text[0])
		text = "-";
	buf_escape(out, text, strlen(text));
	do
		buf_putc(out, ' ');
	while (!out->failed && out->len - before < width);
}

static void put_machine(struct buf *out, const struct machine *m)
{
	int64_t age_us = clock_wall_us() - m->created_us;
	BUF price = {0}, age = {0};

	if (m->price_u6 != UNKNOWN) {
		buf_putc(&price, '$');
		put_money(&price, m->price_u6);
	}
	if (m->created_us > 0 && age_us >= 0)
		put_duration(&age, age_us - age_us % SECOND_US);
	put_cell(out, cloud_name(m->h, m->at), 12);
	put_cell(out, m->id, 12);
	put_cell(out, machine_kind(m), 9);
	put_cell(out, m->verified ? "yes" : "no", 10);
	put_cell(out, instance_status_names[m->status], 10);
	put_cell(out, price.data ? price.data : "", 12);
	put_cell(out, age.data ? age.data : "", 12);
	buf_escape(out, m->label, strlen(m->label));
	buf_putc(out, '\n');
}

static void put_place(struct buf *out, const struct hunt *h, size_t at)
{
	const struct place *place = &h->places[at];

	buf_printf(out, "%s: machines seen: %zu, of known sessions: %zu, not ours: %zu",
		   cloud_name(h, at), place->machines, place->known, place->foreign);
	if (place->foreign)
		buf_puts(out, " (never touched)");
	if (!place->complete) {
		buf_puts(out, "; there may be more: ");
		buf_escape(out, place->text, strlen(place->text));
	}
	buf_putc(out, '\n');
}

static void put_books(struct buf *out, const struct hunt *h)
{
	const char *db = h->settings->value[SET_DATABASE_PATH];

	buf_puts(out, h->books.exists ? "database " : "there is no database ");
	buf_escape(out, db, strlen(db));
	if (!h->books.exists)
		buf_puts(out, ": no session is known, so every machine with our mark is an orphan");
	else
		buf_printf(out, ": %zu sessions are known", h->books.count);
	if (h->books.holder > 0)
		buf_printf(out, "; process %lld is its daemon", (long long)h->books.holder);
	else if (h->books.holder < 0)
		buf_puts(out, "; a daemon uses it");
	buf_putc(out, '\n');
}

/* What the words under KIND mean, of those that are there. */
static void put_legend(struct buf *out, const struct hunt *h)
{
	static const struct {
		const char *kind, *text;
	} words[] = {
		{"orphan", "its mark is ours and no session of it is known"},
		{"late", "of an attempt that its session gave up, or a second machine of one"},
		{"risen", "its session ended and it was proven gone, and here it is again"},
		{"newer", "of an attempt that the database does not know yet: is that an old copy? "
			  "It is not destroyed"},
		{"foreign", "looks like ours and the mark cannot be verified. It is not destroyed"},
	};

	for (size_t w = 0; w < ARRAY_LEN(words); w++) {
		size_t n = 0;

		for (size_t i = 0; i < h->count; i++)
			n += !strcmp(machine_kind(&h->machines[i]), words[w].kind);
		if (n)
			buf_printf(out, "  %-8s %s\n", words[w].kind, words[w].text);
	}
}

void hunt_table(const struct hunt *h, struct buf *out)
{
	for (size_t i = 0; i < h->online.count; i++)
		put_place(out, h, i);
	put_books(out, h);
	if (!h->count)
		return;
	buf_puts(out, "\nPROVIDER    ID          KIND     VERIFIED  STATUS    PRICE/HR    AGE"
		      "         LABEL\n");
	for (size_t i = 0; i < h->count; i++)
		put_machine(out, &h->machines[i]);
	put_legend(out, h);
}

void hunt_outcome(const struct hunt *h, struct buf *out)
{
	size_t left = 0, tried = 0;

	for (size_t i = 0; i < h->count; i++) {
		const struct machine *m = &h->machines[i];

		left += machine_condemned(m) && m->end == ENDED_NOT_TRIED;
		if (m->end == ENDED_NOT_TRIED)
			continue;
		if (!tried++)
			buf_putc(out, '\n');
		buf_printf(out, "%s %s %s: ", cloud_name(h, m->at), m->id,
			   machine_end_names[m->end]);
		buf_escape(out, m->text, strlen(m->text));
		buf_putc(out, '\n');
	}
	if (left && h->books.holder)
		buf_puts(out, "\nNothing was destroyed. While a daemon runs that is its task: see "
			      "ORPHAN_ACTION and ORPHAN_GRACE_PERIOD.\n");
	else if (left && !h->options->destroy)
		buf_printf(out, "\nNothing was destroyed. gpufs --orphans --destroy ends %s.\n",
			   left == 1 ? "it" : "them");
	else if (!left && !h->count)
		buf_puts(out, "\nThere is nothing of ours that no session owns.\n");
}

/* ---- JSON ---- */

static void json_text(struct buf *out, const char *key, const char *text)
{
	buf_json(out, key, strlen(key));
	buf_putc(out, ':');
	buf_json(out, text, strlen(text));
}

static void json_machine(struct buf *out, const struct machine *m)
{
	BUF created = {0};

	buf_putc(out, '{');
	json_text(out, "provider", cloud_name(m->h, m->at));
	buf_putc(out, ',');
	json_text(out, "id", m->id);
	buf_putc(out, ',');
	json_text(out, "label", m->label);
	buf_printf(out, ",\"verified\":%s,\"kind\":\"%s\",\"status\":\"%s\"",
		   m->verified ? "true" : "false", machine_kind(m),
		   instance_status_names[m->status]);
	if (m->price_u6 != UNKNOWN) {
		buf_puts(out, ",\"price_per_hour\":");
		put_money(out, m->price_u6);
	}
	if (m->created_us > 0) {
		put_time(&created, m->created_us);
		buf_putc(out, ',');
		json_text(out, "created_at", created.data ? created.data : "");
	}
	if (m->verified) {
		buf_putc(out, ',');
		json_text(out, "session_id", m->session);
		buf_printf(out, ",\"attempt\":%lld", (long long)m->attempt);
	}
	if (m->name[0]) {
		buf_putc(out, ',');
		json_text(out, "session", m->name);
	}
	if (m->end != ENDED_NOT_TRIED) {
		buf_printf(out, ",\"result\":\"%s\",", machine_end_names[m->end]);
		json_text(out, "text", m->text);
	}
	buf_putc(out, '}');
}

static void json_machines(struct buf *out, const struct hunt *h, const char *key, bool verified)
{
	const char *comma = "";

	buf_printf(out, ",\"%s\":[", key);
	for (size_t i = 0; i < h->count; i++) {
		if (h->machines[i].verified != verified)
			continue;
		buf_puts(out, comma);
		json_machine(out, &h->machines[i]);
		comma = ",";
	}
	buf_putc(out, ']');
}

static void json_places(struct buf *out, const struct hunt *h)
{
	buf_puts(out, ",\"providers\":[");
	for (size_t i = 0; i < h->online.count; i++) {
		const struct place *place = &h->places[i];

		buf_puts(out, i ? ",{" : "{");
		json_text(out, "name", cloud_name(h, i));
		buf_printf(out, ",\"complete\":%s,\"machines\":%zu,\"known\":%zu,\"foreign\":%zu,",
			   place->complete ? "true" : "false", place->machines, place->known,
			   place->foreign);
		json_text(out, "text", place->text);
		buf_putc(out, '}');
	}
	buf_putc(out, ']');
}

void hunt_json(const struct hunt *h, struct buf *out)
{
	bool complete = true;
	size_t gone = 0;

	for (size_t i = 0; i < h->online.count; i++)
		complete = complete && h->places[i].complete;
	for (size_t i = 0; i < h->count; i++)
		gone += h->machines[i].end == ENDED_GONE;
	buf_printf(out, "{\"complete\":%s,\"database\":{", complete ? "true" : "false");
	json_text(out, "path", h->settings->value[SET_DATABASE_PATH]);
	buf_printf(out, ",\"exists\":%s,\"sessions\":%zu,\"in_use\":%s",
		   h->books.exists ? "true" : "false", h->books.count,
		   h->books.holder ? "true" : "false");
	if (h->books.holder > 0)
		buf_printf(out, ",\"pid\":%lld", (long long)h->books.holder);
	buf_putc(out, '}');
	json_places(out, h);
	json_machines(out, h, "orphans", true);
	json_machines(out, h, "unverified", false);
	buf_printf(out, ",\"destroyed\":%zu", gone);
	if (h->refusal[0]) {
		buf_putc(out, ',');
		json_text(out, "refused", h->refusal);
	}
	buf_puts(out, "}\n");
}
