/*
 * POST /sessions: mkdir, the spec, commit, and the key pair, as one answer. The steps are engine
 * orders, each begun by the one before; they go on whether or not the client still listens. A
 * refused commit takes its draft away again. The answer waits for the key pair, which is made
 * right after the order is durable, but not for the machine.
 *
 * The steps of one create are a struct in a list of the server, found again by its session's
 * serial, never by a kept pointer. Loop thread. Tests: tests/mount/http.bats.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "parts.h"

#define SESSION_MODE 0750

struct create {
	struct create *next, **at;
	struct http *h;
	struct request *r; /* NULL: answered; only the draft has to go */
	int64_t serial;	   /* UNKNOWN until its draft exists */
	int64_t again_ms;  /* when to try that */
	bool busy;	   /* it could not go: it is tried again once the session changes */
	bool missed;	   /* it changed while that was being found out */
	bool bought;	   /* the order is durable: only the key is awaited */
	struct caller who;
	char offer[OFFER_ID_MAX], provider[24];
	char *consumer;
	struct buf spec;
};

/* ---- the body ---- */

enum {
	CF_CONSUMER,
	CF_OFFER,
	CF_WORKLOAD,
	CF_HOURS,
	CF_IDLE,
	CF_STORAGE,
	CF_LAUNCH,
	CF_IMAGE,
	CF_MODEL,
	CF_QUANTIZATION,
	CF_PORTS,
	CF_TEMPLATE,
	CF_ON_START,
	CF_DISK,
	CF_VCPUS,
	CF_RAM,
	CF_AUTO_RETRY,
	CF_MAX_RETRIES,
	CF_RETRY_SCOPE,
	CF_SSH_TIMEOUT,
	CF_PUBLIC_KEY,
	CF_LABEL,
	CF_PROTECT,
	CF_COUNT
};

#define LATER "not supported yet: 400 if it is set"

const struct field create_fields[] = {
	[CF_CONSUMER] = {"consumer_id", PT_TEXT, true, 0, 0, "whose cost it is: any text"},
	[CF_OFFER] = {"offer_id", PT_TEXT, true, 0, 0, "id of an offer of /inventory"},
	[CF_WORKLOAD] = {"workload_type", PT_TEXT, true, 0, 0,
			 "llm, llm_vllm, llm_tgi, training, batch, interactive, inference, ssh or "
			 "benchmark"},
	[CF_HOURS] = {"reservation_hours", PT_INT, true, 1, 12, "how long it may live"},
	[CF_IDLE] = {"idle_threshold_minutes", PT_INT, false, 0, 0, LATER},
	[CF_STORAGE] = {"storage_policy", PT_TEXT, false, 0, 0,
			"destroy; preserve is not supported yet: 400"},
	[CF_LAUNCH] = {"launch_mode", PT_TEXT, false, 0, 0,
		       "ssh; entrypoint is not supported: 400"},
	[CF_IMAGE] = {"docker_image", PT_TEXT, false, 0, 0,
		      "container image, where the provider has them"},
	[CF_MODEL] = {"model_id", PT_TEXT, false, 0, 0, LATER},
	[CF_QUANTIZATION] = {"quantization", PT_TEXT, false, 0, 0, LATER},
	[CF_PORTS] = {"exposed_ports", PT_LIST, false, 0, 0,
		      "ports to be reached from outside, where the provider maps them"},
	[CF_TEMPLATE] = {"template_hash_id", PT_TEXT, false, 0, 0,
			 "id of a template of the provider"},
	[CF_ON_START] = {"on_start_cmd", PT_TEXT, false, 0, 0,
			 "what the machine runs when it starts; at most 4096 bytes"},
	[CF_DISK] = {"disk_gb", PT_INT, false, 0, 0, "size of its disk; 0: the default"},
	[CF_VCPUS] = {"vcpus", PT_INT, false, 0, 0,
		      "its virtual CPUs, where the provider lets you choose; 0: the default"},
	[CF_RAM] = {"ram_gb", PT_INT, false, 0, 0,
		    "its memory, where the provider lets you choose; 0: the default"},
	[CF_AUTO_RETRY] = {"auto_retry", PT_BOOL, false, 0, 0, "take another offer if this fails"},
	[CF_MAX_RETRIES] = {"max_retries", PT_INT, false, 0, 0,
			    "with auto_retry: 3 if left out, "
			    "at most 5"},
	[CF_RETRY_SCOPE] = {"retry_scope", PT_TEXT, false, 0, 0,
			    "with auto_retry: same_gpu, same_vram or any"},
	[CF_SSH_TIMEOUT] = {"ssh_timeout_minutes", PT_INT, false, 0, 0,
			    "how long SSH may take once the machine runs: up to 60"},
	[CF_PUBLIC_KEY] = {"ssh_public_key", PT_TEXT, false, 0, 0,
			   "one OpenSSH public key to install beside the session's own"},
	[CF_LABEL] = {"label", PT_TEXT, false, 0, 0, "text for people; at most 63 bytes"},
	[CF_PROTECT] = {"protect", PT_BOOL, false, 0, 0,
			"refuse every end but the expiry, until the session's protect is 0"},
};
const size_t create_field_count = ARRAY_LEN(create_fields);
_Static_assert(ARRAY_LEN(create_fields) == CF_COUNT, "every field has a row");

static bool one_of(const char *text, const char *const *names, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!strcmp(names[i], text))
			return true;
	return false;
}

/* Fields that gpufs knows of and cannot honour yet: refused by name, never ignored. */
static int check_effects(const struct value *v, struct error *why)
{
	static const int later[] = {CF_MODEL, CF_QUANTIZATION};

	if (v[CF_IDLE].set && v[CF_IDLE].num > 0)
		return fail(why, ERR_INVALID,
			    "idle_threshold_minutes: not supported yet; leave it out, the session "
			    "ends after reservation_hours");
	if (v[CF_STORAGE].set && !strcmp(v[CF_STORAGE].text, "preserve"))
		return fail(why, ERR_INVALID,
			    "storage_policy: preserve is not supported yet; use destroy");
	if (v[CF_LAUNCH].set && !strcmp(v[CF_LAUNCH].text, "entrypoint"))
		return fail(why, ERR_INVALID, "launch_mode: entrypoint is not supported; use ssh");
	for (size_t i = 0; i < ARRAY_LEN(later); i++)
		if (v[later[i]].set)
			return fail(why, ERR_INVALID, "%s: not supported yet; leave it out",
				    create_fields[later[i]].name);
	if (v[CF_SSH_TIMEOUT].set && v[CF_SSH_TIMEOUT].num > 60)
		return fail(why, ERR_INVALID,
			    "ssh_timeout_minutes: must be at most 60, got %" PRId64,
			    v[CF_SSH_TIMEOUT].num);
	return 0;
}

static int check_words(const struct value *v, struct error *why)
{
	if (!one_of(v[CF_WORKLOAD].text, workload_names, W_COUNT))
		return fail(
			why, ERR_INVALID,
			"invalid workload_type: must be one of: llm, llm_vllm, llm_tgi, training, "
			"batch, interactive, inference, ssh, benchmark");
	if (v[CF_AUTO_RETRY].num && v[CF_RETRY_SCOPE].set &&
	    !one_of(v[CF_RETRY_SCOPE].text, retry_scope_names, 3))
		return fail(why, ERR_INVALID,
			    "invalid retry_scope: must be one of: same_gpu, same_vram, any");
	return check_effects(v, why);
}

/* What a spec calls as the body does. Whether the offer's provider can do it, the engine says. */
static void put_same(const struct value *v, struct buf *out)
{
	static const int texts[] = {CF_IMAGE, CF_TEMPLATE, CF_ON_START, CF_PUBLIC_KEY, CF_LABEL};
	static const int numbers[] = {CF_DISK, CF_VCPUS, CF_RAM};

	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		if (!v[texts[i]].set)
			continue;
		buf_printf(out, ",\"%s\":", create_fields[texts[i]].name);
		buf_json(out, v[texts[i]].text, strlen(v[texts[i]].text));
	}
	if (v[CF_PORTS].set) {
		buf_puts(out, ",\"exposed_ports\":");
		put_json_list(out, &v[CF_PORTS]);
	}
	for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
		if (v[numbers[i]].set)
			buf_printf(out, ",\"%s\":%" PRId64, create_fields[numbers[i]].name,
				   v[numbers[i]].num);
	if (v[CF_PROTECT].num)
		buf_puts(out, ",\"protect\":true");
}

static void put_spec(const struct value *v, struct buf *out)
{
	int64_t retries = v[CF_MAX_RETRIES].num;

	buf_puts(out, "{\"offer_id\":");
	buf_json(out, v[CF_OFFER].text, strlen(v[CF_OFFER].text));
	buf_puts(out, ",\"consumer_id\":");
	buf_json(out, v[CF_CONSUMER].text, strlen(v[CF_CONSUMER].text));
	buf_printf(out, ",\"workload_type\":\"%s\",\"reservation_hours\":%" PRId64,
		   v[CF_WORKLOAD].text, v[CF_HOURS].num);
	if (v[CF_AUTO_RETRY].set && !v[CF_AUTO_RETRY].num)
		buf_puts(out, ",\"max_retries\":0");
	if (v[CF_AUTO_RETRY].num) {
		retries = retries <= 0 ? 3 : retries > 5 ? 5 : retries;
		buf_printf(out, ",\"max_retries\":%" PRId64, retries);
		if (v[CF_RETRY_SCOPE].set)
			buf_printf(out, ",\"retry_scope\":\"%s\"", v[CF_RETRY_SCOPE].text);
	}
	if (v[CF_SSH_TIMEOUT].num > 0)
		buf_printf(out, ",\"ssh_timeout_minutes\":%" PRId64, v[CF_SSH_TIMEOUT].num);
	put_same(v, out);
	buf_putc(out, '}');
}

/* ---- whose, and not twice ---- */

static int check_rights(const struct request *r, const struct value *v, struct error *why)
{
	if (!r->may_make)
		return fail(
			why, ERR_FORBIDDEN,
			"you may not make sessions here (SESSIONS_ACCESS); ask an administrator");
	if (r->consumer[0] && strcmp(r->consumer, v[CF_CONSUMER].text) != 0)
		return fail(why, ERR_FORBIDDEN,
			    "this token is for the consumer %s only; use it as consumer_id",
			    r->consumer);
	return 0;
}

static bool active(const struct session *s)
{
	return s->state == S_PENDING || s->state == S_PROVISIONING || s->state == S_RUNNING;
}

static bool refuse_second(struct request *r, const char *consumer, const char *offer)
{
	char c[REQUEST_ID_MAX + 1], o[REQUEST_ID_MAX + 1];

	clean(c, consumer);
	clean(o, offer);
	for (const struct create *k = r->h->creates; k; k = k->next)
		if (k->r && !k->bought && !strcmp(k->consumer, consumer) &&
		    !strcmp(k->offer, offer)) {
			answer_fail(r, 409, "consumer %s is just making a session for offer %s", c,
				    o);
			return true;
		}
	for (const struct session *s = engine_next(r->h->e, 0, false); s;
	     s = engine_next(r->h->e, s->serial, false)) {
		if (!active(s) || !engine_may(&r->who, s) ||
		    strcmp(session_consumer(s), consumer) != 0 || strcmp(s->offer_id, offer) != 0)
			continue;
		answer_fail(r, 409,
			    "consumer %s already has active session %s for offer %s (status: %s)",
			    c, s->id, o, state_name((enum session_state)s->state));
		return true;
	}
	return false;
}

/* ---- the answers ---- */

static void create_free(struct create *k)
{
	*k->at = k->next;
	if (k->next)
		k->next->at = k->at;
	buf_free(&k->spec);
	free(k->consumer);
	free(k);
}

/* The predecessor's extended errors: which kind, and whether another try makes sense. */
static void refuse(struct create *k, const struct error *why)
{
	struct request *r = k->r;
	const char *type = NULL;
	int status = err_http(why->code);

	if (why->code == ERR_NO_MATCH)
		type = "stale_inventory";
	else if (why->code == ERR_UNREACHABLE || why->code == ERR_DRAINING)
		type = "provider_unavailable";
	else if (status >= 500)
		type = "provision_failed";
	k->r = NULL;
	if (!type) {
		answer_error(r, why);
		return;
	}
	buf_puts(&r->out, "{\"error\":");
	put_json_text(&r->out, why->text);
	buf_printf(&r->out, ",\"error_type\":\"%s\"", type);
	if (why->code == ERR_NO_MATCH) {
		buf_puts(&r->out,
			 ",\"message\":\"The selected offer is no longer available. Please "
			 "refresh inventory and select a different offer.\",\"offer_id\":");
		put_json_text(&r->out, k->offer);
		buf_puts(&r->out, ",\"provider\":");
		put_json_text(&r->out, k->provider);
	}
	buf_puts(&r->out, ",\"request_id\":");
	put_json_text(&r->out, r->id);
	buf_puts(&r->out, ",\"retry_suggested\":true}");
	answer(r, status);
}

static void created(struct create *k, const struct session *s)
{
	struct request *r = k->r;
	struct render x = {.now_us = engine_now(r->h->e), .created = true, .thing = s};

	answer_secret(r);
	buf_puts(&r->out, "{\"session\":");
	put_json_object(&r->out, session_members, session_member_count, &x);
	buf_puts(&r->out, ",\"ssh_private_key\":");
	put_json_text(&r->out, s->private_key.len ? s->private_key.bytes : "");
	buf_putc(&r->out, '}');
	answer(r, 201);
	create_free(k);
}

/* Has the key come, or can it not come any more? */
static void look_for_key(struct create *k, bool late)
{
	const struct session *s = engine_by_serial(k->h->e, k->serial);
	struct error why;

	if (!s) {
		(void)fail(&why, ERR_NOT_FOUND, "the session was removed at once");
		refuse(k, &why);
		create_free(k);
	} else if (late || s->private_key.len || !active(s)) {
		created(k, s); /* without a key: GET /sessions/ID/key has it later */
	}
}

static void key_late(struct request *r)
{
	for (struct create *k = r->h->creates; k; k = k->next)
		if (k->r == r) {
			look_for_key(k, true);
			return;
		}
}

/* Not from inside the engine's own call. */
static void draft_retry(struct create *k)
{
	k->busy = false;
	k->again_ms = (int64_t)uv_now(k->h->loop);
	deadline_arm(k->h, k->again_ms);
}

void creates_changed(struct http *h, const struct change *c)
{
	struct create *k = h->creates;

	while (k && !(c->session && c->session->serial == k->serial))
		k = k->next;
	if (!k)
		return;
	if (k->bought && c->kind == CH_SESSION)
		look_for_key(k, false);
	else if (k->busy)
		draft_retry(k);
	else
		k->missed = true;
}

void creates_stop(struct http *h)
{
	while (h->creates)
		create_free(h->creates); /* its request is answered by http_stop */
}

/* ---- a refused draft goes away ---- */

static void draft_left(void *arg, int err, const struct error *why)
{
	struct create *k = arg;

	(void)why;
	if (err != -EBUSY)
		create_free(k);
	else if (k->missed) /* a slow disk had the record of the refused purchase, and is done */
		draft_retry(k);
	else
		k->busy = true;
}

static void draft_leave(struct create *k)
{
	const struct session *s = engine_by_serial(k->h->e, k->serial);

	k->again_ms = INT64_MAX;
	k->missed = false;
	if (s && s->state == S_DRAFT)
		engine_rmdir(k->h->e, &k->who, s, draft_left, k);
	else
		create_free(k);
}

int64_t creates_due_ms(const struct http *h)
{
	int64_t next = INT64_MAX;

	for (const struct create *k = h->creates; k; k = k->next)
		if (k->again_ms < next)
			next = k->again_ms;
	return next;
}

void creates_due(struct http *h, int64_t now_ms)
{
	for (struct create *k = h->creates, *next; k; k = next) {
		next = k->next;
		if (k->again_ms <= now_ms)
			draft_leave(k);
	}
}

/* ---- the steps ---- */

static void committed(void *arg, int err, const struct error *why)
{
	struct create *k = arg;

	if (err) {
		refuse(k, why);
		draft_leave(k);
		return;
	}
	k->bought = true;
	request_deadline(k->r, KEY_LIMIT_MS, key_late);
	look_for_key(k, false);
}

static void made(void *arg, int err, const struct error *why)
{
	struct create *k = arg;
	struct http *h = k->h;
	const struct session *s = engine_by_serial(h->e, k->serial);
	struct error refusal = {0};
	enum spec_end end;
	bool commit;

	if (!err && !s) {
		err = fail(&refusal, ERR_NOT_FOUND, "the session was removed at once");
		why = &refusal;
	}
	if (err) {
		refuse(k, why);
		draft_leave(k);
		return;
	}
	engine_rename(h->e, &k->r->who, s, s->id, NULL, NULL);
	err = engine_spec_set(h->e, &k->r->who, s, k->spec.data, k->spec.len, &end, &commit,
			      &refusal);
	if (err) {
		refuse(k, &refusal);
		draft_leave(k);
		return;
	}
	engine_commit(h->e, &k->r->who, s, committed, k);
}

static struct create *create_new(struct request *r, const struct offer *o, const struct value *v)
{
	struct create *k = calloc(1, sizeof(*k));

	if (k)
		k->consumer = strdup(v[CF_CONSUMER].text);
	if (!k || !k->consumer) {
		free(k);
		return NULL;
	}
	k->h = r->h;
	k->r = r;
	k->who = r->who;
	k->again_ms = INT64_MAX;
	k->serial = UNKNOWN;
	k->spec.max = SPEC_MAX;
	COPY(k->offer, o->id);
	COPY(k->provider, o->provider);
	put_spec(v, &k->spec);
	k->next = r->h->creates;
	if (k->next)
		k->next->at = &k->next;
	k->at = &r->h->creates;
	r->h->creates = k;
	return k;
}

/* Its directory is named after its id; until that exists it has a name that nobody uses. */
static void create_begin(struct create *k)
{
	struct http *h = k->h;
	char uuid[40], name[NAME_MAX_LEN + 1] = "new-";
	const struct session *s;

	make_uuid(uuid);
	copy_text(name + strlen(name), sizeof(name) - strlen(name), uuid);
	engine_mkdir(h->e, &k->r->who, name, SESSION_MODE, made, k);
	s = engine_by_name(h->e, name);
	k->serial = s ? s->serial : UNKNOWN;
}

static void create_ask(struct request *r, const struct value *v)
{
	const struct offer *o = inventory_find(engine_inventory(r->h->e), v[CF_OFFER].text);
	char shown[REQUEST_ID_MAX + 1];
	struct error why;
	struct create *k;

	engine_looked_at_market(r->h->e);
	if (!o) {
		clean(shown, v[CF_OFFER].text);
		answer_fail(r, 404, "offer not found: %s", shown);
		return;
	}
	if (refuse_second(r, v[CF_CONSUMER].text, o->id))
		return;
	k = create_new(r, o, v);
	if (!k) {
		answer_fail(r, 500, "out of memory");
	} else if (k->spec.failed) {
		(void)fail(
			&why, ERR_TOO_BIG,
			"consumer_id: the order would be longer than %zu KiB, which is all that a "
			"spec may have; use a shorter one",
			SPEC_MAX / 1024);
		answer_error(r, &why);
		create_free(k);
	} else {
		create_begin(k);
	}
}

void post_session(struct request *r)
{
	struct value v[CF_COUNT];
	struct error why;
	void *root;
	int err = body_parse(r->body.data, r->body.len, create_fields, CF_COUNT, v, &root, &why);

	if (!err)
		err = check_words(v, &why);
	if (!err)
		err = check_rights(r, v, &why);
	if (err)
		answer_error(r, &why);
	else
		create_ask(r, v);
	body_free(root);
}
