/*
 * The network: HTTP to the clouds' state machines, where effect and answer are separate draws (sim_trouble.c
 * sets the fault, the cloud carries it out); SSH logins, key pairs and workers in virtual time. What a
 * dead process asks for never leaves it. See sim.h.
 */
#include <errno.h>
#include <string.h>

#include "sim.h"

#define LATENCY_MIN_US 20000
#define LATENCY_MAX_US 400000
#define HASHED_MAX     ((size_t)4096) /* of a body */
#define OPEN_MAX       5	      /* requests at once: cloud_parts.h */

/* ---- HTTP ---- */

struct http_send {
	struct sim *s;
	struct sim_event *ev;
	http_cb cb;
	void *arg;
	struct sim_cloud *cloud;
	enum sim_op op;
	char id[96]; /* in the path; "" */
	int64_t asked_us, delay_us;
	unsigned fault;
	struct fake_http_reply r;
	struct sim_rate *rates; /* of each machine when the answer was made */
	size_t rate_count;
	bool whole, sent, mute;
};

const char *const sim_op_names[SIM_OP_COUNT] = {
	"search", "create", "list", "get", "destroy", "attach", "account", "templates", "boot",
};
const struct sim_cloud_kind *const sim_cloud_kinds[SIM_CLOUDS] = {&sim_vastai, &sim_tensordock};

static bool path_is(const char *path, const char *pattern, char id[96])
{
	size_t n;

	id[0] = '\0';
	for (; *pattern; pattern++) {
		if (*pattern != '#') {
			if (*path++ != *pattern)
				return false;
			continue;
		}
		n = strcspn(path, "/?");
		if (!n || n >= 96)
			return false;
		snprintf(id, 96, "%.*s", (int)n, path);
		path += n;
	}
	return !*path || *path == '?';
}

static enum sim_op op_of(const struct sim_cloud_kind *k, enum http_method method, const char *path,
			 char id[96])
{
	for (size_t i = 0; i < k->call_count; i++)
		if (k->calls[i].method == method && path_is(path, k->calls[i].path, id))
			return k->calls[i].op;
	id[0] = '\0';
	return SIM_OP_COUNT;
}

/* Whose URL it is; *target becomes its path and query. */
static struct sim_cloud *cloud_of(struct sim *s, const char *url, const char **target)
{
	for (size_t i = 0; i < s->cloud_count; i++) {
		size_t n = strlen(s->clouds[i].kind->base_url);

		*target = url + n;
		if (!strncmp(url, s->clouds[i].kind->base_url, n) && url[n] == '/')
			return &s->clouds[i];
	}
	return NULL;
}

static void label_of(const struct http_args *args, const char *member, char out[64])
{
	const char *at = args->body ? strstr(args->body, member) : NULL;
	size_t n;

	out[0] = '\0';
	if (!at)
		return;
	at += strlen(member);
	n = strcspn(at, "\"");
	if (n < 64)
		snprintf(out, 64, "%.*s", (int)n, at);
}

static void send_free(void *arg)
{
	struct http_send *h = arg;

	fake_http_reply_free(&h->r);
	free(h->rates);
	free(h);
}

static void answer(struct sim *s, void *arg)
{
	struct http_send *h = arg;
	struct http_reply r = {.sent = h->sent,
			       .retry_after_us = UNKNOWN,
			       .date_us = UNKNOWN,
			       .content_type = "",
			       .body = ""};

	if (!h->mute)
		h->cloud->open_https--;
	if (h->op == SIM_DESTROY && !h->mute)
		sim_delete_over(s, h->cloud, h->id);
	sim_boundary(s, "before an answer");
	if (h->whole && !h->mute && !s->dead) {
		r.status = h->r.status;
		r.content_type = h->r.content_type;
		r.body = h->r.body.data ? h->r.body.data : "";
		r.len = h->r.body.len;
		r.date_us = SIM_EPOCH_US + h->asked_us;
		r.date_us -= r.date_us % SECOND_US;
	} else {
		COPY(r.text, h->sent ? "the connection ended" : "connection refused");
	}
	h->cb(h->arg, &r);
	if (r.status && !s->dead)
		sim_money_told(s, h->cloud, h->op, h->id, h->rates, h->rate_count, &h->r,
			       h->cloud->kind->fault(h->op, h->fault).plain);
	sim_boundary(s, "after an answer");
	send_free(h);
}

/* How the answer arrives, if it does. */
static void deliver(struct http_send *h, const struct http_args *args, int64_t latency_us)
{
	const struct fake_http_reply *r = &h->r;

	h->sent = r->delivery != FAKE_UNSENT;
	h->whole = r->delivery == FAKE_WHOLE || r->delivery == FAKE_CHUNKED ||
		   r->delivery == FAKE_DRIP;
	h->delay_us = latency_us + r->delay_us * (r->delivery == FAKE_DRIP ? 2 : 1);
	if (r->body.len > args->reply_max)
		h->whole = false;
	if (h->delay_us > args->timeout_us) {
		h->delay_us = args->timeout_us;
		h->whole = false;
	}
}

static void check_args(struct sim *s, const struct sim_cloud *c, const struct http_args *args,
		       enum sim_op op)
{
	const struct sim_cloud_kind *k = c->kind;

	if (op == SIM_OP_COUNT)
		sim_wrong(s, "a request that no part of the dialect makes: %s %s",
			  http_method_names[args->method], args->url);
	if (strstr(args->url, k->key) || (k->balance_id && strstr(args->url, k->balance_id)))
		sim_wrong(s, "the key stands in a URL");
	if (args->timeout_us <= 0 || args->connect_us <= 0 || !args->reply_max)
		sim_wrong(s, "a request without limits");
	if (c->open_https >= OPEN_MAX)
		sim_wrong(s, "more than %d requests at once", OPEN_MAX);
	if (op == SIM_CREATE && !args->fresh)
		sim_wrong(s, "a create that may be resent on an old connection");
}

static void note_rates(struct sim *s, struct http_send *h)
{
	struct sim_view v;

	if (h->op != SIM_LIST && h->op != SIM_GET && h->op != SIM_DESTROY)
		return;
	h->rates = xcalloc(s->machine_count + 1, sizeof *h->rates);
	h->rate_count = s->machine_count;
	for (size_t i = 0; i < h->rate_count; i++) {
		if (s->machines[i].cloud != h->cloud)
			continue;
		sim_see(s, &s->machines[i], &v);
		h->rates[i] = (struct sim_rate){v.rate_u6, v.price_u6, v.alive, v.running};
	}
}

static void tell_call(struct sim *s, const struct http_send *h, const char *about)
{
	const char *how = h->whole ? "answered" : h->sent ? "no whole answer" : "never arrived";

	if (h->op == SIM_LIST && !h->fault && h->r.status == 200)
		return;
	sim_tell(s, "%s: %s %s%s%s: %s, status %d", h->cloud->kind->name,
		 h->op < SIM_OP_COUNT ? sim_op_names[h->op] : "unknown", about,
		 h->fault ? ", fault " : "", h->fault ? h->cloud->kind->fault_name(h->fault) : "",
		 how, h->r.status);
}

static const char *type_of(const struct http_args *args)
{
	if (!args->body)
		return NULL;
	return args->form ? "application/x-www-form-urlencoded" : "application/json";
}

static void ask_cloud(struct sim *s, struct http_send *h, const struct http_args *args,
		      const char *target)
{
	const char *value = args->auth ? strchr(args->auth, ':') : NULL;
	struct fake_http_request q = {.method = http_method_names[args->method],
				      .target = target,
				      .auth = value ? value + 2 : NULL,
				      .content_type = type_of(args),
				      .body = args->body,
				      .len = args->body_len,
				      .reused = !args->fresh};
	char label[64];

	if (h->op == SIM_CREATE) {
		label_of(args, h->cloud->kind->label_member, label);
		sim_rules_create(s, h->cloud, label);
	} else if (h->op == SIM_DESTROY) {
		sim_rules_delete(s, h->cloud, h->id);
	}
	h->fault = sim_draw_fault(s, h->cloud, h->op);
	h->cloud->kind->request(h->cloud->state, s->now_us, &q, &h->r);
	sim_machines_look(s);
	note_rates(s, h);
	s->counts->requests++;
	s->dirty = true;
	deliver(h, args, chance_between(&s->net, LATENCY_MIN_US, LATENCY_MAX_US));
	sim_hash(s, target, strlen(target));
	sim_hash(s, &h->r.body.len, sizeof h->r.body.len);
	sim_hash(s, h->r.body.data, h->r.body.len < HASHED_MAX ? h->r.body.len : HASHED_MAX);
	tell_call(s, h, h->op == SIM_CREATE ? label : target);
}

static struct http_send *http(void *self, const struct http_args *args, http_cb cb, void *arg)
{
	struct sim *s = self;
	struct http_send *h = xcalloc(1, sizeof *h);
	const char *target;

	*h = (struct http_send){.s = s, .cb = cb, .arg = arg, .asked_us = s->now_us};
	h->cloud = cloud_of(s, args->url, &target);
	CHECK(h->cloud && !args->body == !args->body_len);
	h->op = op_of(h->cloud->kind, args->method, target, h->id);
	h->delay_us = 1000;
	sim_boundary(s, "before a request");
	h->mute = s->dead;
	if (!s->dead) {
		check_args(s, h->cloud, args, h->op);
		ask_cloud(s, h, args, target);
		h->cloud->open_https++;
		sim_boundary(s, "after a request");
	}
	h->ev = sim_later(s, h->delay_us, answer, send_free, h);
	return h;
}

static void http_cancel(void *self, struct http_send *h)
{
	struct sim *s = self;

	if (!h->mute)
		h->cloud->open_https--;
	sim_cancel(s, h->ev);
	send_free(h);
}

/* ---- SSH ---- */

struct probe {
	probe_cb cb;
	void *arg;
	struct sim_event *ev;
	char host[64], user[16];
	int64_t port;
	char key[200], pinned[80];
};

static bool is_at(const struct sim_machine *m, const struct probe *p)
{
	return !strcmp(m->host, p->host) && (m->ports[0] == p->port || m->ports[1] == p->port);
}

static enum probe_verdict login_at(struct sim *s, const struct sim_machine *m,
				   const struct probe *p, char host_key[80])
{
	const struct sim_cloud_kind *k = m->cloud->kind;
	BUF keys = {0};

	snprintf(host_key, 80, "ssh-ed25519 AAAAhost%s", m->id);
	if (strcmp(p->user, k->user))
		sim_wrong(s, "a login as %s at %s", p->user, k->name);
	if (p->pinned[0] && strcmp(p->pinned, host_key))
		return PROBE_HOST_KEY;
	k->keys(m->cloud->state, s->now_us, m->at, &keys);
	if (!keys.data || !strstr(keys.data, p->key))
		return PROBE_LOGIN_REFUSED;
	sim_tell(s, "ssh: the login at machine %s works", m->id);
	return PROBE_OK;
}

static enum probe_verdict login(struct sim *s, const struct probe *p, char host_key[80])
{
	struct sim_view v;

	for (size_t i = 0; i < s->machine_count; i++) {
		if (!is_at(&s->machines[i], p))
			continue;
		sim_see(s, &s->machines[i], &v);
		if (v.alive && v.login && !chance_hit(&s->net, 100))
			return login_at(s, &s->machines[i], p, host_key);
	}
	return PROBE_NOT_YET;
}

static void probe_run(struct sim *s, void *arg)
{
	struct probe *p = arg;
	char host_key[80] = "";
	enum probe_verdict v = s->dead ? PROBE_NOT_YET : login(s, p, host_key);

	p->cb(p->arg, v, v == PROBE_OK || v == PROBE_LOGIN_REFUSED ? host_key : "",
	      "as the machine is");
	free(p);
}

static struct probe *probe(void *self, const struct probe_args *args, probe_cb cb, void *arg)
{
	struct sim *s = self;
	struct probe *p = xcalloc(1, sizeof *p);

	CHECK(args->private_key->bytes && args->port > 0 && args->public_key);
	*p = (struct probe){.cb = cb, .arg = arg, .port = args->port};
	COPY(p->host, args->host);
	COPY(p->user, args->user);
	COPY(p->key, args->public_key);
	COPY(p->pinned, args->host_key);
	p->ev = sim_later(s, chance_between(&s->net, 20000, 300000), probe_run, free, p);
	return p;
}

static void probe_cancel(void *self, struct probe *p)
{
	sim_cancel(self, p->ev);
	free(p);
}

/* ---- keys, workers, this machine ---- */

struct keygen {
	keygen_cb cb;
	void *arg;
	char comment[80];
};

static void keygen_run(struct sim *s, void *arg)
{
	struct keygen *k = arg;
	char line[160];

	snprintf(line, sizeof line, "ssh-ed25519 AAAAC3Nza%08u %s", ++s->keys, k->comment);
	k->cb(k->arg, "PRIVATE-KEY", line, NULL);
	free(k);
}

static void keygen(void *self, const char *comment, keygen_cb cb, void *arg)
{
	struct sim *s = self;
	struct keygen *k = xcalloc(1, sizeof *k);

	*k = (struct keygen){.cb = cb, .arg = arg};
	COPY(k->comment, comment);
	sim_later(s, chance_between(&s->net, 1000, 200000), keygen_run, free, k);
}

/* Two events, as with a thread: it runs some time, and its end is seen later. */
struct work {
	void (*run)(void *arg);
	void (*done)(void *arg);
	void *arg;
};

static void work_done(struct sim *s, void *arg)
{
	struct work *job = arg;

	(void)s;
	job->done(job->arg);
	free(job);
}

static void work_run(struct sim *s, void *arg)
{
	struct work *job = arg;

	job->run(job->arg);
	sim_later(s, 2000, work_done, free, job);
}

static void work(void *self, void (*run)(void *), void (*done)(void *), void *arg)
{
	struct sim *s = self;
	struct work *job = xcalloc(1, sizeof *job);

	*job = (struct work){run, done, arg};
	sim_later(s, chance_between(&s->net, 1000, 9000), work_run, free, job);
}

static void no_host(void *self, const struct host_call *call, host_cb cb, void *arg)
{
	const bool this_machine_is_a_provider = false;

	(void)self, (void)call, (void)cb, (void)arg;
	CHECK(this_machine_is_a_provider);
}

void sim_net_world(struct world *w)
{
	w->http = http;
	w->http_cancel = http_cancel;
	w->probe = probe;
	w->probe_cancel = probe_cancel;
	w->keygen = keygen;
	w->work = work;
	w->host = no_host;
}
