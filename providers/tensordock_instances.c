/*
 * Machines at TensorDock: lists in four forms, and single looks (wire page 5 and 6). Outer members are
 * camelCase, inner ones snake_case; a list shows an id and a name, and mostly a status. What cannot be read
 * is unknown; only a row without an id is dropped, and then the list is not complete. Pure; any thread.
 * Tests: tests/unit/test_tensordock.c, tests/wire.
 */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "../src/core/check.h"
#include "tensordock_parts.h"

/* USD per GB and hour of the disk that a stopped machine keeps, 10^-6: on every row that was recorded, and
 * in the documents of the older API (wire page 2). */
#define DISK_RATE_U6 50
#define DISK_MAX_GB  ((int64_t)1 << 30)

/* ---- status ---- */

/* Lower case, without '_', '-' and blanks: "Stopped_Disassociated". */
static void normalise(const char *word, char *out, size_t size)
{
	size_t n = 0;

	for (; *word && n + 1 < size; word++)
		if (!strchr("_- ", *word))
			out[n++] = (char)tolower((unsigned char)*word);
	out[n] = '\0';
}

/* A word that is not in here means: keep asking. None means gone: that is what only a 404 says. */
static enum instance_status status_of(const char *word)
{
	static const struct {
		const char *word;
		enum instance_status status;
	} known[] = {
		{"running", INST_RUNNING},
		{"creating", INST_BOOTING},
		{"queued", INST_BOOTING},
		{"provisioning", INST_BOOTING},
		{"pending", INST_BOOTING},
		{"starting", INST_BOOTING},
		{"stopping", INST_STOPPING},
		{"deleting", INST_STOPPING},
		{"deleted", INST_STOPPED},
		{"terminated", INST_STOPPED},
		{"stopped", INST_STOPPED},
		{"stoppeddisassociated", INST_STOPPED}, /* and its GPU was taken back */
		{"error", INST_BROKEN},
		{"failed", INST_BROKEN},
	};
	char text[40];

	normalise(word, text, sizeof text);
	for (size_t i = 0; i < ARRAY_LEN(known); i++)
		if (strcmp(text, known[i].word) == 0)
			return known[i].status;
	return INST_UNKNOWN;
}

/* ---- rows ---- */

/* A machine's members stand in it, or in its `attributes`. */
struct vm {
	const json_t *row, *attributes;
};

static const json_t *holder(const struct vm *vm, const char *key)
{
	return json_object_get(vm->row, key) ? vm->row : vm->attributes;
}

static void read_status(const struct vm *vm, struct instance *in)
{
	const char *word = wire_word(holder(vm, "status"), "status");

	in->status = word ? status_of(word) : INST_UNKNOWN;
	if (word)
		wire_text(holder(vm, "status"), "status", in->status_text, sizeof in->status_text);
}

/* The price is said while it runs, and means that; a stopped one pays for its disk (wire page 2). What is
 * being deleted says the price too, whatever it pays: then nothing is known. */
static void read_price(const struct vm *vm, struct instance *in)
{
	const json_t *resources = json_object_get(holder(vm, "resources"), "resources");
	int64_t gb;

	if (in->status == INST_STOPPING)
		return;
	wire_scaled(holder(vm, "rateHourly"), "rateHourly", 1e6, 1, TD_PRICE_MAX_U6, &in->price_u6);
	in->rate_u6 = in->price_u6;
	if (in->status == INST_STOPPED && wire_int(resources, "storage_gb", 0, DISK_MAX_GB, &gb) &&
	    (in->price_u6 == UNKNOWN || gb * DISK_RATE_U6 < in->price_u6))
		in->rate_u6 = gb * DISK_RATE_U6;
}

static void read_forwards(const json_t *forwards, struct instance *in)
{
	int64_t inside, outside;

	for (size_t i = 0; i < json_array_size(forwards); i++) {
		const json_t *one = json_array_get(forwards, i);

		if (!wire_int(one, "internal_port", 1, UINT16_MAX, &inside) ||
		    !wire_int(one, "external_port", 1, UINT16_MAX, &outside))
			continue;
		if (inside == 22)
			in->ssh_port = outside;
		if (in->port_count < PORTS_MAX)
			in->ports[in->port_count++] = (struct port_map){(uint16_t)inside,
									(uint16_t)outside};
	}
}

/* Without forwards the address is its own, and SSH is on 22. A list may leave both out; then nothing is
 * known. `whole`: this is a look, in which absent forwards are none. */
static void read_address(const struct vm *vm, bool whole, struct instance *in)
{
	const json_t *forwards = json_object_get(holder(vm, "portForwards"), "portForwards");

	COPY(in->ssh_user, "user"); /* the account that its images have (wire page 4, Login) */
	wire_host(holder(vm, "ipAddress"), "ipAddress", in->port_host, sizeof in->port_host);
	if (!in->port_host[0] || (!forwards && !whole))
		return;
	read_forwards(forwards, in);
	if (json_array_size(forwards)) {
		in->reach = REACH_FORWARD;
	} else {
		in->reach = REACH_ADDRESS;
		in->ssh_port = 22;
	}
	if (in->ssh_port)
		COPY(in->ssh_host, in->port_host);
}

/* False: it has no id. */
static bool read_vm(const json_t *row, bool whole, struct instance *in)
{
	const struct vm vm = {row, json_object_get(row, "attributes")};
	const char *id = wire_word(row, "id");

	memset(in, 0, sizeof *in);
	in->price_u6 = in->rate_u6 = UNKNOWN;
	if (!id || !wire_id_ok(id))
		return false;
	copy_text(in->id, sizeof in->id, id);
	wire_label(holder(&vm, "name"), "name", in->label, sizeof in->label);
	read_status(&vm, in);
	read_price(&vm, in);
	read_address(&vm, whole, in);
	return true;
}

/* ---- lists and looks ---- */

const json_t *td_list_rows(const struct td_reply *r)
{
	const json_t *data = json_object_get(r->json.root, "data");
	const json_t *forms[] = {data, json_object_get(data, "instances"),
				 json_object_get(json_object_get(data, "attributes"), "instances")};

	for (size_t i = 0; i < ARRAY_LEN(forms); i++)
		if (json_is_array(forms[i]))
			return forms[i];
	return NULL;
}

/* All there are: there are no pages (wire page 6). What is no list is not an empty one (trap 15). */
void td_read_list(struct td_reply *r)
{
	const json_t *rows = td_list_rows(r);
	struct instance in, *at;

	if (!rows) {
		td_unreadable(r, "no list of instances in it");
		return;
	}
	wire_done(r->out);
	r->out->r.rows = json_array_size(rows);
	for (size_t i = 0; i < json_array_size(rows); i++)
		if (!read_vm(json_array_get(rows, i), false, &in))
			r->out->r.dropped++;
		else if ((at = wire_add_instance(r->out)))
			*at = in;
	r->out->r.complete = !r->out->r.dropped;
}

/* Flat, or in `data` (wire page 5). */
void td_read_look(struct td_reply *r)
{
	const json_t *data = json_object_get(r->json.root, "data");
	const char *asked = r->ask->instance_id;
	struct instance in, *at;

	if (!read_vm(json_is_object(data) ? data : r->json.root, true, &in)) {
		td_unreadable(r, "no instance in it");
		return;
	}
	if (asked[0] && strcmp(asked, in.id) != 0) {
		td_unreadable(r, "it is about another instance");
		return;
	}
	wire_done(r->out);
	at = wire_add_instance(r->out);
	if (at)
		*at = in;
	else
		wire_say(r->out, LATER, PE_UNAVAILABLE, "out of memory");
}
