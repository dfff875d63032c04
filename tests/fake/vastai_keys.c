/*
 * SSH keys of the fake Vast.ai: attached to an instance (in force only after a delay), and of the
 * account (baked into every instance created afterwards).
 */
#include "vastai_parts.h"

/* "ssh-ed25519 AAAA... comment": one line, a known word, base64. */
static bool key_line_ok(const char *s)
{
	static const char *const types[] = {"ssh-ed25519 ", "ssh-rsa ", "ecdsa-sha2-nistp256 ",
					    "ecdsa-sha2-nistp384 ", "ecdsa-sha2-nistp521 "};

	if (!s || strchr(s, '\n'))
		return false;
	for (size_t i = 0; i < ARRAY_LEN(types); i++) {
		size_t n = strlen(types[i]);

		if (!strncmp(s, types[i], n))
			return !strncmp(s + n, "AAAA", 4) && strlen(s) < 16384;
	}
	return false;
}

/* The key of a body {"ssh_key": ..}; NULL: answered. */
static const char *body_key(struct ctx *x, const char *const *names)
{
	const char *line;

	if (!body_only(x, names))
		return NULL;
	line = json_string_value(json_object_get(x->body, "ssh_key"));
	if (key_line_ok(line))
		return line;
	violate(x, "ssh-key", "ssh_key is no OpenSSH public key line");
	refuse(x, 400, "no_ssh_key", "No ssh key provided");
	return NULL;
}

static struct fv_instance *target(struct ctx *x, bool changes)
{
	struct fv_instance *i = x->id > 0 ? instance_find(x->f, x->id) : NULL;

	if (i && i->foreign && changes)
		violate(x, "foreign", "%s %s: that machine is somebody else's", x->q->method,
			x->path);
	if (i && !fault_is(x, FVF_GONE))
		return i;
	refuse(x, 404, "no_such_instance", "Instance %lld not found.", (long long)x->id);
	return NULL;
}

void serve_attach(struct ctx *x)
{
	static const char *const names[] = {"ssh_key", NULL};
	struct fv_instance *i = target(x, true);
	const char *line = i ? body_key(x, names) : NULL;

	if (!line)
		return;
	if (strstr(line, "PRIVATE KEY"))
		violate(x, "private-key", "a private key was sent");
	instance_key(x->f, i, line, x->f->now_us + x->f->c.attach_us);
	say(x, 200, "{\"success\": true, \"msg\": \"SSH key attached successfully\"}");
}

/* JSON inside of a JSON string. */
void serve_instance_keys(struct ctx *x)
{
	struct fv_instance *i = target(x, false);
	json_t *list = json_array();
	char *text;

	for (size_t k = 0; i && k < i->key_count; k++)
		json_array_append_new(list,
				      json_pack("{s:I,s:s,s:s}", "id", (json_int_t)i->keys[k].id,
						"name", "key", "public_key", i->keys[k].line));
	text = json_dumps(list, 0);
	if (i) {
		say(x, 200, "{\"success\": true, \"ssh_keys\": ");
		buf_json(&x->out->body, text, strlen(text));
		buf_puts(&x->out->body, "}");
	}
	free(text);
	json_decref(list);
}

static bool key_remove(struct fv_key *keys, size_t *count, int64_t id)
{
	for (size_t k = 0; k < *count; k++) {
		if (keys[k].id != id)
			continue;
		free(keys[k].line);
		memmove(keys + k, keys + k + 1, (--*count - k) * sizeof(*keys));
		return true;
	}
	return false;
}

void serve_detach(struct ctx *x)
{
	struct fv_instance *i = target(x, true);

	if (!i)
		return;
	if (key_remove(i->keys, &i->key_count, x->id2))
		say(x, 200, "{\"success\": true, \"msg\": \"SSH key removed from instance.\"}");
	else
		refuse(x, 500, "delete_ssh_from_instance", "Error deleting SSH key from instance");
}

/* ---- of the account ---- */

static void put_key(struct buf *b, const struct fv_key *k, const char *member)
{
	buf_printf(b, "{\"id\": %lld, \"user_id\": 456, \"%s\": ", (long long)k->id, member);
	buf_json(b, k->line, strlen(k->line));
	buf_puts(b, ", \"created_at\": \"2026-08-20T12:00:00Z\", \"deleted_at\": null}");
}

static void say_key(struct ctx *x, const struct fv_key *k)
{
	say(x, 200, "{\"success\": true, \"key\": ");
	put_key(&x->out->body, k, "public_key");
	buf_puts(&x->out->body, "}");
}

static void keys_show(struct ctx *x)
{
	struct fakevast *f = x->f;

	if (!f->account_key_count) {
		refuse(x, 404, "no_ssh_key", "No ssh key provided");
		return;
	}
	say(x, 200, "[");
	for (size_t k = 0; k < f->account_key_count; k++) {
		buf_puts(&x->out->body, k ? ", " : "");
		put_key(&x->out->body, &f->account_keys[k], k % 2 ? "public_key" : "key");
	}
	buf_puts(&x->out->body, "]");
}

static void keys_add(struct ctx *x)
{
	static const char *const names[] = {"ssh_key", NULL};
	struct fakevast *f = x->f;
	const char *line = body_key(x, names);

	if (!line)
		return;
	f->account_keys = grow(f->account_keys, f->account_key_count, sizeof(*f->account_keys));
	f->account_keys[f->account_key_count++] = (struct fv_key){f->next_key++, f->now_us,
								  copy_of(line)};
	say_key(x, &f->account_keys[f->account_key_count - 1]);
}

static void key_edit(struct ctx *x)
{
	static const char *const names[] = {"id", "ssh_key", NULL};
	struct fakevast *f = x->f;
	const char *line = body_key(x, names);

	for (size_t k = 0; line && k < f->account_key_count; k++) {
		if (f->account_keys[k].id != x->id)
			continue;
		free(f->account_keys[k].line);
		f->account_keys[k].line = copy_of(line);
		say_key(x, &f->account_keys[k]);
		return;
	}
	if (line)
		refuse(x, 400, "no_ssh_key", "No ssh key provided");
}

static void key_delete(struct ctx *x)
{
	if (key_remove(x->f->account_keys, &x->f->account_key_count, x->id))
		say(x, 200, "{\"success\": true}");
	else
		refuse(x, 400, "invalid_request", "Invalid request parameters");
}

void serve_keys(struct ctx *x)
{
	static const struct {
		const char *method;
		void (*serve)(struct ctx *x);
	} table[] = {
		{"GET", keys_show}, {"POST", keys_add}, {"PUT", key_edit}, {"DELETE", key_delete}};

	for (size_t i = 0; i < ARRAY_LEN(table); i++)
		if (!strcmp(x->q->method, table[i].method))
			table[i].serve(x);
}
