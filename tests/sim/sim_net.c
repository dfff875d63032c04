/*
 * The network: HTTP to the cloud's state machine, where effect and answer are separate draws (sim_trouble.c
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
	enum fakevast_op op;
	int64_t id, asked_us, delay_us;
	enum fakevast_fault_kind fault;
	struct fake_http_reply r;
	struct sim_rate *rates; /* of each machine when the answer was made */
	size_t rate_count;
	bool whole, sent, mute;
};

/* What the engine asks for, and nothing else. */
static const struct {
	enum http_method method;
	const char *path; /* '#': a number, and the call's id */
	enum fakevast_op op;
} calls[] = {
	{HTTP_POST, "/api/v0/bundles/", FV_SEARCH},
	{HTTP_PUT, "/api/v0/asks/#/", FV_CREATE},
	{HTTP_GET, "/api/v1/instances/", FV_LIST},
	{HTTP_GET, "/api/v0/instances/#/", FV_GET},
	{HTTP_DELETE, "/api/v0/instances/#/", FV_DESTROY},
	{HTTP_POST, "/api/v0/instances/#/ssh/", FV_ATTACH},
	{HTTP_GET, "/api/v0/users/current/", FV_ACCOUNT},
	{HTTP_GET, "/api/v0/template/", FV_TEMPLATES},
};

static bool path_is(const char *path, const char *pattern, int64_t *id)
{
	*id = 0;
	for (; *pattern; pattern++) {
		if (*pattern != '#') {
			if (*path++ != *pattern)
				return false;
			continue;
		}
		if (*path < '0' || *path > '9')
			return false;
		while (*path >= '0' && *path <= '9')
			*id = *id * 10 + (*path++ - '0');
	}
	return !*path || *path == '?';
}

static enum fakevast_op op_of(enum http_method method, const char *path, int64_t *id)
{
	for (size_t i = 0; i < ARRAY_LEN(calls); i++)
		if (calls[i].method == method && path_is(path, calls[i].path, id))
			return calls[i].op;
	*id = 0;
	return FV_UNKNOWN;
}

static void label_of(const struct http_args *args, char out[64])
{
	static const char member[] = "\"label\":\"";
	const char *at = args->body ? strstr(args->body, member) : NULL;
	size_t n;

	out[0] = '\0';
	if (!at)
		return;
	at += sizeof member - 1;
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

/* The answer's bytes are as without a fault. */
static bool is_plain(enum fakevast_fault_kind k)
{
	return k == FVF_NONE || k == FVF_SLOW || k == FVF_DRIP || k == FVF_CHUNKED ||
	       k == FVF_IGNORED || k == FVF_LINGER || k == FVF_RESURRECT;
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
		s->open_https--;
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
		sim_money_told(s, h->op, h->id, h->rates, h->rate_count, &h->r, is_plain(h->fault));
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

static void check_args(struct sim *s, const struct http_args *args, enum fakevast_op op)
{
	if (op == FV_UNKNOWN)
		sim_wrong(s, "a request that no part of the dialect makes: %s %s",
			  http_method_names[args->method], args->url);
	if (strstr(args->url, FAKEVAST_KEY))
		sim_wrong(s, "the key stands in a URL");
	if (args->timeout_us <= 0 || args->connect_us <= 0 || !args->reply_max)
		sim_wrong(s, "a request without limits");
	if (s->open_https >= OPEN_MAX)
		sim_wrong(s, "more than %d requests at once", OPEN_MAX);
	if (op == FV_CREATE && !args->fresh)
		sim_wrong(s, "a create that may be resent on an old connection");
}

static void note_rates(struct sim *s, struct http_send *h)
{
	struct fakevast_view v;

	if (h->op != FV_LIST && h->op != FV_GET && h->op != FV_DESTROY)
		return;
	h->rates = xcalloc(s->machine_count + 1, sizeof *h->rates);
	h->rate_count = s->machine_count;
	for (size_t i = 0; i < h->rate_count; i++) {
		fakevast_view(s->cloud, s->now_us, i, &v);
		h->rates[i] = (struct sim_rate){v.rate_u6, v.price_u6, v.alive,
						!strcmp(v.status, "running")};
	}
}

static void ask_cloud(struct sim *s, struct http_send *h, const struct http_args *args,
		      const char *target)
{
	const char *value = args->auth ? strchr(args->auth, ':') : NULL;
	struct fake_http_request q = {.method = http_method_names[args->method],
				      .target = target,
				      .auth = value ? value + 2 : NULL,
				      .content_type = args->body ? "application/json" : NULL,
				      .body = args->body,
				      .len = args->body_len,
				      .reused = !args->fresh};
	char label[64];

	if (h->op == FV_CREATE) {
		label_of(args, label);
		sim_rules_create(s, label);
	} else if (h->op == FV_DESTROY) {
		sim_rules_delete(s, h->id);
	}
	h->fault = sim_draw_fault(s, h->op);
	fakevast_request(s->cloud, s->now_us, &q, &h->r);
	sim_machines_look(s);
	note_rates(s, h);
	s->counts->requests++;
	s->dirty = true;
	deliver(h, args, chance_between(&s->net, LATENCY_MIN_US, LATENCY_MAX_US));
	sim_hash(s, target, strlen(target));
	sim_hash(s, &h->r.body.len, sizeof h->r.body.len);
	sim_hash(s, h->r.body.data, h->r.body.len < HASHED_MAX ? h->r.body.len : HASHED_MAX);
	if (h->op != FV_LIST || h->fault || h->r.status != 200)
		sim_tell(s, "provider: %s %s%s%s: %s, status %d", fakevast_op_names[h->op],
			 h->op == FV_CREATE ? label : target, h->fault ? ", fault " : "",
			 h->fault ? fakevast_fault_name(h->fault) : "",
			 h->whole  ? "answered"
			 : h->sent ? "no whole answer"
				   : "never arrived",
			 h->r.status);
}

static struct http_send *http(void *self, const struct http_args *args, http_cb cb, void *arg)
{
	struct sim *s = self;
	struct http_send *h = xcalloc(1, sizeof *h);
	const char *host = strstr(args->url, "://"), *target;

	CHECK(host && !args->body == !args->body_len);
	target = strchr(host + 3, '/');
	CHECK(target);
	*h = (struct http_send){.s = s, .cb = cb, .arg = arg, .asked_us = s->now_us};
	h->op = op_of(args->method, target, &h->id);
	h->delay_us = 1000;
	sim_boundary(s, "before a request");
	h->mute = s->dead;
	if (!s->dead) {
		check_args(s, args, h->op);
		ask_cloud(s, h, args, target);
		s->open_https++;
		sim_boundary(s, "after a request");
	}
	h->ev = sim_later(s, h->delay_us, answer, send_free, h);
	return h;
}

static void http_cancel(void *self, struct http_send *h)
{
	struct sim *s = self;

	if (!h->mute)
		s->open_https--;
	sim_cancel(s, h->ev);
	send_free(h);
}

/* ---- SSH ---- */

struct probe {
	probe_cb cb;
	void *arg;
	struct sim_event *ev;
	int64_t id;
	char key[200], pinned[80];
};

static enum probe_verdict login(struct sim *s, const struct probe *p, char host_key[80])
{
	struct fakevast_view v;
	BUF keys = {0};

	snprintf(host_key, 80, "ssh-ed25519 AAAAhost%lld", (long long)p->id);
	for (size_t i = 0; i < s->machine_count; i++) {
		fakevast_view(s->cloud, s->now_us, i, &v);
		if (v.id != p->id || !v.alive || !v.login || chance_hit(&s->net, 100))
			continue;
		if (p->pinned[0] && strcmp(p->pinned, host_key))
			return PROBE_HOST_KEY;
		fakevast_keys(s->cloud, s->now_us, v.id, &keys);
		return keys.data && strstr(keys.data, p->key) ? PROBE_OK : PROBE_LOGIN_REFUSED;
	}
	return PROBE_NOT_YET;
}

static void probe_run(struct sim *s, void *arg)
{
	struct probe *p = arg;
	char host_key[80];
	enum probe_verdict v = PROBE_NOT_YET;

	if (!s->dead)
		v = login(s, p, host_key);
	if (!s->dead && v == PROBE_OK)
		sim_tell(s, "ssh: the login at machine %lld works", (long long)p->id);
	p->cb(p->arg, v, v == PROBE_OK || v == PROBE_LOGIN_REFUSED ? host_key : "",
	      "as the machine is");
	free(p);
}

static struct probe *probe(void *self, const struct probe_args *args, probe_cb cb, void *arg)
{
	struct sim *s = self;
	struct probe *p = xcalloc(1, sizeof *p);

	CHECK(args->private_key->bytes && args->port > 0 && args->public_key);
	*p = (struct probe){.cb = cb, .arg = arg};
	p->id = args->host[0] == 'm' ? strtoll(args->host + 1, NULL, 10) : 0;
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
