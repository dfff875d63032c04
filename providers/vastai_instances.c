/*
 * Machines at Vast.ai: lists and single looks. `actual_status` alone lies, so the status is read from
 * three fields (wire page 7.2), and a row is never left out for a bad value: what cannot be read is
 * unknown, only a row without an id is dropped. Members that hold secrets (jupyter_token, extra_env,
 * instance_api_key, onstart) are not looked at. Pure; any thread. Tests: tests/unit/test_vastai.c,
 * tests/wire.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "../src/core/check.h"
#include "vastai_parts.h"

#define STORAGE_HOURS 720 /* of Vast.ai's month (wire page 4.5) */

/* What a status costs (wire page 7.2, Billed). */
enum billed { BILLED_ALL, BILLED_DISK, BILLED_NOTHING, BILLED_UNKNOWN };

/* ---- status ---- */

/* The three fields as their table has them; "" where one is null or missing. */
struct states {
	const char *actual, *intended, *contract;
};

static bool is_one_of(const char *word, const char *const *words, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(word, words[i]) == 0)
			return true;
	return false;
}

/* A boot that will never succeed, in the host's words (wire page 7.2). */
static bool is_boot_failure(const char *text)
{
	static const char *const words[] = {
		"OCI runtime create failed", "docker_build() error writing dockerfile",
		"manifest unknown",	     "pull access denied",
		"unresolvable CDI devices",
	};
	const char *manifest;

	if (!text)
		return false;
	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		if (strstr(text, words[i]))
			return true;
	manifest = strstr(text, "manifest ");
	return manifest && strstr(manifest, "not found");
}

static enum instance_status read_running(const struct states *s)
{
	if (s->intended[0] && strcmp(s->intended, "running") != 0)
		return INST_STOPPING;
	/* All three must agree; a contract that does not run makes `running` a stale word. */
	return !s->contract[0] || strcmp(s->contract, "running") == 0 ? INST_RUNNING : INST_UNKNOWN;
}

/* Its container has ended. With `running` intended it is being started again (grace: the engine's boot
 * time-out) or has crashed and may come back: nothing that may be taken for stopped. */
static enum instance_status read_ended(const struct states *s)
{
	if (strcmp(s->contract, "unloaded") == 0)
		return INST_STOPPING; /* the hardware is released: being destroyed */
	if (s->intended[0] && strcmp(s->intended, "running") != 0)
		return INST_STOPPED; /* by hand, outbid, out of credit: all look the same */
	return strcmp(s->contract, "running") == 0 ? INST_BOOTING : INST_UNKNOWN;
}

static enum instance_status read_status(const struct states *s, const char *text,
					enum billed *billed)
{
	static const char *const booting[] = {"", "created", "loading", "scheduling", "connecting"};
	static const char *const again[] = {"rebooting", "recycling"};
	static const char *const ended[] = {"exited", "stopped"};
	bool to_stop = strcmp(s->intended, "stopped") == 0;

	*billed = BILLED_DISK;
	if (strcmp(s->actual, "running") == 0) {
		*billed = BILLED_ALL;
		return read_running(s);
	}
	if (strcmp(s->actual, "frozen") == 0) {
		*billed = BILLED_ALL; /* its memory is kept, and the GPU is billed */
		return INST_STOPPED;
	}
	if (strcmp(s->actual, "offline") == 0) {
		*billed = BILLED_NOTHING;
		return INST_OFFLINE;
	}
	if (is_one_of(s->actual, ended, ARRAY_LEN(ended)))
		return is_boot_failure(text) ? INST_BROKEN : read_ended(s);
	if (is_one_of(s->actual, booting, ARRAY_LEN(booting))) {
		if (is_boot_failure(text) || (to_stop && strcmp(s->actual, "created") == 0))
			return INST_BROKEN; /* the latter: abandoned by the host */
		/* `loading` while stopped is intended: a start that is queued. */
		return to_stop && !s->actual[0] ? INST_STOPPED : INST_BOOTING;
	}
	*billed = BILLED_UNKNOWN;
	return is_one_of(s->actual, again, ARRAY_LEN(again)) ? INST_BOOTING : INST_UNKNOWN;
}

static const char *word_or_nothing(const json_t *row, const char *key)
{
	const char *s = wire_word(row, key);

	return s ? s : "";
}

/* The disk's part of the price, or UNKNOWN. */
static int64_t disk_rate(const json_t *row, int64_t price_u6)
{
	double monthly, gb;
	int64_t base, rate = UNKNOWN;

	if (wire_scaled(row, "storage_total_cost", 1e6, 0, VAST_PRICE_MAX_U6, &rate))
		;
	else if (price_u6 != UNKNOWN &&
		 wire_scaled(row, "dph_base", 1e6, 0, VAST_PRICE_MAX_U6, &base) && base <= price_u6)
		rate = price_u6 - base;
	else if (wire_number(row, "storage_cost", &monthly) &&
		 wire_number(row, "disk_space", &gb) && monthly >= 0 && gb >= 0 &&
		 monthly * gb < 1e9)
		rate = (int64_t)(monthly * gb * 1e6 / STORAGE_HOURS);
	return price_u6 != UNKNOWN && rate > price_u6 ? price_u6 : rate;
}

static void read_state(const json_t *row, struct instance *in)
{
	struct states s = {word_or_nothing(row, "actual_status"),
			   word_or_nothing(row, "intended_status"),
			   word_or_nothing(row, "cur_state")};
	const char *text = wire_word(row, "status_msg");
	enum billed billed;

	in->status = read_status(&s, text, &billed);
	wire_text(row, "status_msg", in->status_text, sizeof in->status_text);
	if (!in->status_text[0]) {
		char words[120];

		snprintf(words, sizeof words, "%.30s (intended %.30s, contract %.30s)",
			 s.actual[0] ? s.actual : "no word from the host",
			 s.intended[0] ? s.intended : "-", s.contract[0] ? s.contract : "-");
		printable_text(in->status_text, sizeof in->status_text, words);
	}
	wire_scaled(row, "dph_total", 1e6, 1, VAST_PRICE_MAX_U6, &in->price_u6);
	switch (billed) {
	case BILLED_ALL:
		in->rate_u6 = in->price_u6;
		break;
	case BILLED_DISK:
		in->rate_u6 = disk_rate(row, in->price_u6);
		break;
	case BILLED_NOTHING:
		in->rate_u6 = 0;
		break;
	case BILLED_UNKNOWN:
		in->rate_u6 = UNKNOWN;
		break;
	}
}

/* ---- addresses ---- */

/* "22/tcp": [{"HostIp": "0.0.0.0", "HostPort": "30022"}, …]; the first that can be read. */
static int64_t host_port(const json_t *bindings)
{
	int64_t port;

	for (size_t i = 0; i < json_array_size(bindings) && i < PORTS_MAX; i++)
		if (wire_int(json_array_get(bindings, i), "HostPort", 1, UINT16_MAX, &port))
			return port;
	return 0;
}

static void read_ports(const json_t *row, struct instance *in, int64_t *ssh)
{
	json_t *ports = json_object_get(row, "ports"), *bindings;
	const char *key;

	*ssh = 0;
	if (!in->port_host[0])
		return;
	json_object_foreach(ports, key, bindings)
	{
		const char *slash = strchr(key, '/');
		int64_t port, mapped = host_port(bindings);
		struct error why;

		if (!slash || strcmp(slash, "/tcp") != 0 || !mapped ||
		    parse_int((struct str){key, (size_t)(slash - key)}, 1, UINT16_MAX, &port, &why))
			continue;
		if (port == 22)
			*ssh = mapped;
		if (in->port_count < PORTS_MAX)
			in->ports[in->port_count++] = (struct port_map){(uint16_t)port,
									(uint16_t)mapped};
	}
}

/* Direct if port 22 is mapped, else through the proxy; jupyter images take the port after it for SSH
 * (wire page 7.3). */
static void read_addresses(const json_t *row, struct instance *in)
{
	int64_t direct, port;

	wire_host(row, "public_ipaddr", in->port_host, sizeof in->port_host);
	read_ports(row, in, &direct);
	COPY(in->ssh_user, "root");
	if (direct) {
		COPY(in->ssh_host, in->port_host);
		in->ssh_port = direct;
		return;
	}
	wire_host(row, "ssh_host", in->ssh_host, sizeof in->ssh_host);
	if (!in->ssh_host[0] || !wire_int(row, "ssh_port", 1, UINT16_MAX, &port)) {
		in->ssh_host[0] = '\0';
		return;
	}
	port += strstr(word_or_nothing(row, "image_runtype"), "jupyter") != NULL;
	if (port <= UINT16_MAX)
		in->ssh_port = port;
	else
		in->ssh_host[0] = '\0';
}

/* ---- rows ---- */

void vast_instance_init(struct instance *in)
{
	memset(in, 0, sizeof *in);
	in->status = INST_UNKNOWN;
	in->price_u6 = in->rate_u6 = UNKNOWN;
}

static void read_instance(const json_t *row, struct instance *in)
{
	vast_instance_init(in);
	wire_id(row, "id", in->id, sizeof in->id);
	wire_label(row, "label", in->label, sizeof in->label);
	read_state(row, in);
	read_addresses(row, in);
	in->interruptible = wire_flag(row, "is_bid") == 1;
	wire_scaled(row, "start_date", 1e6, 0, INT64_MAX / 2, &in->created_us);
}

static void read_rows(struct vast_reply *r)
{
	for (size_t i = 0; i < r->json.row_count; i++) {
		json_t *row = wire_json_row(&r->json, i);
		struct instance in, *at;

		read_instance(row, &in);
		if (!in.id[0])
			r->out->r.dropped++;
		else if ((at = wire_add_instance(r->out)))
			*at = in;
		json_decref(row);
	}
}

/* One page. An absence is only believed where the reply counts: null, or nothing at all, without a
 * total of 0 is no empty list (faults.md, Reconciling). */
void vast_read_list(struct vast_reply *r)
{
	struct wire_result *out = r->out;
	const json_t *root = r->json.root;
	const json_t *token = json_object_get(root, "next_token");
	const char *next = json_string_value(token);
	int64_t total = UNKNOWN, found = UNKNOWN;

	wire_int(root, "total_instances", 0, INT64_MAX, &total);
	wire_int(root, "instances_found", 0, INT64_MAX, &found);
	if (r->json.kind == WIRE_ROWS_OBJECT ||
	    (r->json.kind == WIRE_ROWS_NONE &&
	     (total != 0 || !json_is_null(json_object_get(root, "instances"))))) {
		vast_unreadable(r, "no list of instances in it");
		return;
	}
	/* The old form (v0) is one piece and counts it in instances_found. */
	if (total == UNKNOWN && !r->ask->cursor[0] && !(next && next[0]))
		total = found;
	if (!r->json.row_count && total == UNKNOWN) {
		vast_unreadable(r, "neither instances nor their number in it");
		return;
	}
	wire_say(out, SURE_YES, PE_NONE, "%s", "");
	out->total = total;
	if (next && strlen(next) < sizeof out->next)
		COPY(out->next, next);
	else
		out->truncated_cursor = token && !json_is_null(token);
	read_rows(r);
	out->r.rows = r->json.row_count;
	out->r.complete = !out->next[0] && !out->truncated_cursor && !out->r.dropped;
}

/* {"instances": {…}} is the machine, {"instances": null} says that there is none (wire page 7). */
void vast_read_look(struct vast_reply *r)
{
	struct wire_result *out = r->out;
	const char *asked = r->ask->instance_id;
	struct instance in, *at;
	json_t *row;

	if (r->json.kind == WIRE_ROWS_NONE &&
	    json_is_null(json_object_get(r->json.root, "instances"))) {
		vast_gone(r, "instances: null");
		return;
	}
	row = r->json.row_count == 1 ? wire_json_row(&r->json, 0) : NULL;
	if (!row || !json_object_size(row)) {
		json_decref(row);
		vast_unreadable(r, "no instance in it");
		return;
	}
	read_instance(row, &in);
	json_decref(row);
	if (asked[0] && in.id[0] && strcmp(asked, in.id) != 0) {
		vast_unreadable(r, "it is about another instance");
		return;
	}
	if (!in.id[0])
		COPY(in.id, asked);
	wire_say(out, SURE_YES, PE_NONE, "%s", "");
	at = wire_add_instance(out);
	if (at)
		*at = in;
	else
		wire_say(out, LATER, PE_UNAVAILABLE, "out of memory");
}
