/*
 * A create at the fake TensorDock: what the documents ask of it, each as an issue of the validator (400, an
 * array); what they are silent about and no client does is a violation. Then whether there is room, credit
 * and a way to reach it, and then there is a machine, whatever becomes of the answer. The keys are those that
 * its cloud-init would install: `ssh_key` alone installs none.
 */
#include "tensordock_parts.h"

static const char *const images[] = {
	"ubuntu2204",
	"ubuntu2404",
	"ubuntu2404_ml_everything",
	"ubuntu2404_ml_pytorch",
	"ubuntu2404_ml_tensorflow",
	"windows10",
};
static const int ram_sizes[] = {2,   4,	  6,   8,   10,	 16,  32,  48,	64,  80,  96,
				112, 128, 144, 160, 176, 192, 208, 224, 240, 256, 512};

struct check {
	struct td_call *x;
	json_t *issues;
};

static void issue(struct check *c, const char *message, const char *member)
{
	json_array_append_new(c->issues,
			      json_pack("{s:s, s:s, s:[s, s, s]}", "code", "custom", "message",
					message, "path", "data", "attributes", member));
}

static bool is_one_of(const char *s, const char *const *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (s && !strcmp(s, list[i]))
			return true;
	return false;
}

static void known_members(struct check *c, const json_t *o, const char *where, const char *names)
{
	json_t *value;
	const char *key;

	json_object_foreach((json_t *)(uintptr_t)o, key, value)
	{
		char word[64];

		snprintf(word, sizeof word, " %.60s ", key);
		if (!strstr(names, word))
			td_violate(c->x, "unknown-member", "%s in %s", key, where);
	}
}

static void check_resources(struct check *c, const json_t *r, struct td_vm *v)
{
	const json_t *gpus = json_object_get(r, "gpus"), *one;
	void *at = json_object_iter((json_t *)(uintptr_t)gpus);
	bool listed = false;

	known_members(c, r, "resources", " vcpu_count ram_gb storage_gb gpus ");
	v->vcpus = json_integer_value(json_object_get(r, "vcpu_count"));
	v->ram_gb = json_integer_value(json_object_get(r, "ram_gb"));
	v->disk_gb = json_integer_value(json_object_get(r, "storage_gb"));
	if (v->vcpus < 2 || v->vcpus % 2)
		issue(c, "vcpu_count must be even", "resources");
	for (size_t i = 0; i < ARRAY_LEN(ram_sizes); i++)
		listed |= v->ram_gb == ram_sizes[i];
	if (!listed)
		issue(c, "Invalid ram_gb", "resources");
	if (v->disk_gb < 100)
		issue(c, "storage_gb must be at least 100", "resources");
	if (json_object_size(gpus) != 1) {
		issue(c, "At least one GPU is required", "resources");
		return;
	}
	one = json_object_iter_value(at);
	v->gpus = json_integer_value(json_object_get(one, "count"));
	if (v->gpus < 1)
		issue(c, "count must be at least 1", "resources");
	known_members(c, one, "gpus", " count ");
}

static void check_forwards(struct check *c, const json_t *a, bool linux_image, struct td_vm *v)
{
	const json_t *forwards = json_object_get(a, "port_forwards");
	const json_t *address = json_object_get(a, "useDedicatedIp");
	bool ssh = false;

	v->address = json_is_true(address);
	if (address && !json_is_boolean(address))
		issue(c, "Expected boolean", "useDedicatedIp");
	if (v->address && json_array_size(forwards))
		td_violate(c->x, "forwards-and-address", "one of the two");
	for (size_t i = 0; i < json_array_size(forwards); i++) {
		const json_t *one = json_array_get(forwards, i);
		int64_t inside = json_integer_value(json_object_get(one, "internal_port"));
		const json_t *outside = json_object_get(one, "external_port");

		known_members(c, one, "port_forwards", " internal_port external_port ");
		if (inside < 1 || inside > 65535 || !json_is_integer(outside) ||
		    v->forward_count == FORWARDS_MAX) {
			issue(c, "Invalid port", "port_forwards");
			continue;
		}
		ssh |= inside == 22;
		v->inside[v->forward_count] = (int)inside;
		v->outside[v->forward_count++] = 20000 + (int)td_below(c->x->f, 40000);
	}
	if (linux_image && !v->address && !ssh)
		issue(c, "SSH port (22) must be forwarded for Ubuntu VMs", "port_forwards");
}

/* ---- what cloud-init would do ---- */

/* The shell words in single quotes of a command that look like keys, one a line. */
static void quoted_keys(const char *command, struct buf *out)
{
	for (const char *p = strchr(command, '\''); p; p = strchr(p, '\'')) {
		BUF word = {0};

		for (p++; *p; p++) {
			if (*p != '\'') {
				buf_putc(&word, *p);
			} else if (!strncmp(p, "'\\''", 4)) { /* a quote among quotes */
				buf_putc(&word, '\'');
				p += 3;
			} else {
				p++;
				break;
			}
		}
		if (word.data &&
		    (!strncmp(word.data, "ssh-", 4) || !strncmp(word.data, "ecdsa-", 6) ||
		     !strncmp(word.data, "sk-", 3)))
			buf_printf(out, "%s\n", word.data);
		if (!*p)
			break;
	}
}

static void check_cloud_init(struct check *c, const json_t *init, struct td_vm *v)
{
	const json_t *commands = json_object_get(init, "runcmd");
	bool user = false;
	BUF keys = {0};

	if (!init)
		return;
	if (!json_is_object(init)) {
		issue(c, "Expected object", "cloud_init");
		return;
	}
	known_members(c, init, "cloud_init",
		      " package_update package_upgrade packages runcmd write_files ");
	for (size_t i = 0; i < json_array_size(commands); i++) {
		const char *s = json_string_value(json_array_get(commands, i));

		if (!s) {
			issue(c, "Expected string", "cloud_init");
			continue;
		}
		if (strstr(s, "> /root/.ssh/authorized_keys"))
			quoted_keys(s, &keys);
		user |= strstr(s, "/home/user/.ssh/authorized_keys") != NULL;
	}
	if (user && keys.len) {
		free(v->keys);
		v->keys = buf_take(&keys);
	}
}

static void check_attributes(struct check *c, const json_t *root, struct td_vm *v)
{
	const json_t *data = json_object_get(root, "data"),
		     *a = json_object_get(data, "attributes");
	const char *type = json_string_value(json_object_get(data, "type"));
	const char *own = json_string_value(json_object_get(a, "type"));
	const char *name = json_string_value(json_object_get(a, "name"));
	const char *image = json_string_value(json_object_get(a, "image"));
	const char *key = json_string_value(json_object_get(a, "ssh_key"));

	known_members(c, root, "the request", " data ");
	known_members(c, data, "data", " type attributes ");
	known_members(c, a, "attributes",
		      " name type image location_id hostnode_id resources port_forwards "
		      "useDedicatedIp ssh_key cloud_init ");
	if (!type || strcmp(type, "virtualmachine") || !own || strcmp(own, "virtualmachine"))
		issue(c, "Invalid literal value, expected \"virtualmachine\"", "type");
	if (!name || !name[0])
		issue(c, "Required", "name");
	else if (strlen(name) > 60)
		td_violate(c->x, "long-name", "%zu characters", strlen(name));
	if (!is_one_of(image, images, ARRAY_LEN(images)))
		issue(c, "Invalid image", "image");
	if (!json_object_get(a, "location_id") == !json_object_get(a, "hostnode_id"))
		issue(c, "Exactly one of location_id and hostnode_id is required", "location_id");
	if (!key || !key[0])
		issue(c, "Required", "ssh_key");
	else if (strchr(key, '\n') || !strchr(key, ' '))
		issue(c, "Invalid SSH key format", "ssh_key");
	check_resources(c, json_object_get(a, "resources"), v);
	check_forwards(c, a, image && !strncmp(image, "ubuntu", 6), v);
	check_cloud_init(c, json_object_get(a, "cloud_init"), v);
	if (name)
		copy_text(v->name, sizeof v->name, name);
}

/* ---- is there room ---- */

/* True: refused. */
static bool refuse(struct td_call *x, struct td_vm *v, const json_t *a)
{
	struct faketd *f = x->f;
	const json_t *gpus = json_object_get(json_object_get(a, "resources"), "gpus");
	const char *model = json_object_iter_key(json_object_iter((json_t *)(uintptr_t)gpus));
	const char *location = json_string_value(json_object_get(a, "location_id"));

	if (x->fault == FTF_NO_CREDIT || td_credit_u6(f, x->now_us) < 1000000) {
		td_error(x, 400, "Insufficient balance, you need at least $1 to deploy");
		return true;
	}
	if (!location || !td_location_known(f, location)) {
		td_error(x, 404, "Location not found");
		return true;
	}
	v->row = td_row_find(f, location, model ? model : "");
	if (x->fault == FTF_UNEXPECTED)
		td_error_200(x, 500, "unexpected error during deployment");
	else if (x->fault == FTF_NO_IP ||
		 (v->address && v->row && (!v->row->address || f->c.own_ssh)))
		td_error_200(x, 400, "No available public IPs on hostnode");
	else if (x->fault == FTF_NODES || !v->row || td_chance(f, f->c.stale_ppm) ||
		 v->gpus > td_row_most(f, v->row, x->now_us) || v->vcpus > v->row->vcpus ||
		 v->ram_gb > v->row->ram_gb || v->disk_gb > v->row->disk_gb ||
		 (!v->address && !v->row->forwards))
		td_error_200(x, 400, "No available nodes found");
	else
		return false;
	return true;
}

/* ---- the life of a machine ---- */

static void give_life(struct td_call *x, struct td_vm *v)
{
	const struct faketd_config *c = &x->f->c;
	int64_t param, price = v->gpus * v->row->gpu_u6 + v->vcpus * VCPU_U6 + v->ram_gb * RAM_U6 +
			       v->disk_gb * DISK_U6;
	enum faketd_fault_kind life = td_fault_draw(x->f, FT_BOOT, &param);

	v->price_u6 = price + price * td_below(x->f, c->drift_ppm + 1) / 1000000;
	v->run_us = v->created_us + c->run_us;
	v->address_us = v->created_us + c->address_us;
	v->login_us = v->created_us + c->login_us;
	switch ((int)life) {
	case FTI_STUCK:
		v->run_us = v->address_us = v->login_us = NEVER;
		break;
	case FTI_FAILED:
		v->run_word = "failed";
		v->address_us = v->login_us = NEVER;
		break;
	case FTI_STOPS:
	case FTI_DISASSOCIATED:
		v->stop_us = v->run_us + (param ? param : 10 * SECOND_US);
		v->stop_word = life == FTI_STOPS ? "stopped" : "StoppedDisassociated";
		break;
	case FTI_VANISH:
		v->gone_us = v->run_us + (param ? param : 30 * SECOND_US);
		break;
	case FTI_ODD_CASE:
		v->run_word = "RUNNING";
		break;
	case FTI_WORD:
		v->run_word = "contemplating";
		break;
	case FTI_NO_FORWARDS:
		v->ignored_forwards = true;
		break;
	case FTI_PRICE:
		v->price_u6 = price * (param ? param : 1500) / 1000;
		break;
	case FTI_NO_LOGIN:
		v->no_login = true;
		break;
	default:
		break;
	}
}

/* It exists from now on (or later, if it is late), whatever is answered. */
static struct td_vm *make(struct td_call *x, struct td_vm *asked, int64_t late_us)
{
	struct faketd *f = x->f;
	struct td_vm *v;

	v = td_vm_new(f, asked->name, x->now_us + late_us);
	v->row = asked->row;
	v->address = asked->address;
	v->gpus = asked->gpus;
	v->vcpus = asked->vcpus;
	v->ram_gb = asked->ram_gb;
	v->disk_gb = asked->disk_gb;
	v->forward_count = asked->forward_count;
	memcpy(v->inside, asked->inside, sizeof v->inside);
	memcpy(v->outside, asked->outside, sizeof v->outside);
	v->keys = asked->keys;
	asked->keys = NULL;
	give_life(x, v);
	f->created++;
	return v;
}

void td_create(struct td_call *x)
{
	struct faketd *f = x->f;
	json_t *root = json_loadb(x->q->body ? x->q->body : "", x->q->len, JSON_REJECT_DUPLICATES,
				  NULL);
	struct check c = {x, json_array()};
	struct td_vm asked = {0}, *v;
	int64_t late = x->fault == FTF_LATE ? x->param ? x->param : 60 * SECOND_US : 0;

	if (x->q->reused)
		td_violate(x, "create-on-used-connection", "a lost answer could be sent again");
	check_attributes(&c, root, &asked);
	COPY(x->name, asked.name);
	for (size_t i = 0; i < f->journal_count; i++)
		if (f->journal[i].op == FT_CREATE && f->journal[i].name[0] &&
		    !strcmp(f->journal[i].name, x->name))
			td_violate(x, "name-twice", "a second create with name %s", x->name);
	if (json_array_size(c.issues)) {
		td_answer(x, 400, json_incref(c.issues));
	} else if (!refuse(x, &asked,
			   json_object_get(json_object_get(root, "data"), "attributes"))) {
		v = make(x, &asked, late);
		if (late)
			td_error(x, 504, "Gateway Timeout");
		else
			td_answer(x, f->created % 2 ? 200 : 201,
				  json_pack("{s:{s:s, s:s, s:s, s:s}}", "data", "type",
					    "virtualmachine", "id",
					    x->fault == FTF_NO_ID ? "" : v->id, "name", v->name,
					    "status", f->created % 3 ? "running" : "creating"));
	}
	free(asked.keys);
	json_decref(c.issues);
	json_decref(root);
}
