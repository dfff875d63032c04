/*
 * Whose turn it is. One pass looks at everything that waits: first whoever need not wait any longer
 * is told so (the breaker is open, a pause is long), then the most urgent that may go is sent, until
 * nobody may; then the timer is set to when the next one may. No token is taken but by what is sent.
 * Hundreds that are refused at once are told in several turns of the loop.
 */
#include <string.h>

#include "cloud_parts.h"

/* Time-outs: 30 s, 60 s for a search, 120 s for a create as in Vast.ai's own client. */
const struct op_row op_rows[CALL_OP_COUNT] = {
	[CALL_DESTROY] = {0, false, true, 30 * SECOND_US, HTTP_BODY_MAX},
	[CALL_CREATE] = {1, false, false, 120 * SECOND_US, HTTP_BODY_MAX},
	[CALL_ATTACH] = {2, false, false, 30 * SECOND_US, HTTP_BODY_MAX},
	[CALL_LOOK] = {3, true, false, 30 * SECOND_US, HTTP_BODY_MAX},
	[CALL_LIST] = {4, true, false, 30 * SECOND_US, HTTP_BODY_MAX},
	[CALL_ACCOUNT] = {5, true, false, 30 * SECOND_US, HTTP_BODY_MAX},
	[CALL_OFFERS] = {6, true, false, 60 * SECOND_US, HTTP_BODY_MAX_OFFERS},
	[CALL_TEMPLATES] = {7, true, false, 30 * SECOND_US, HTTP_BODY_MAX},
};

/* Strict urgency would let hundreds of attaches starve the lists that proofs are made of. */
static int rank_of(const struct request *r, int64_t now)
{
	int rank = op_rows[r->op].rank, aged = op_rows[CALL_ATTACH].rank;

	return rank > aged && now - r->queued_us >= AGED_US ? aged : rank;
}

enum gate_answer {
	GATE_GO,
	GATE_WAIT,   /* until at_us; INT64_MAX: until something else is answered */
	GATE_UNSENT, /* refuse: the dialect cannot say it */
	GATE_LATE,   /* refuse: the time of a read is used up */
	GATE_BREAKER,
	GATE_PAUSE,
	GATE_FULL
};
struct gate {
	enum gate_answer answer;
	int64_t at_us;
};

static struct gate gate_until(int64_t at_us, int64_t now)
{
	return (struct gate){at_us > now ? GATE_WAIT : GATE_GO, at_us};
}

/* The breaker's word: GATE_GO if it has nothing against it. */
static struct gate breaker_gate(const struct request *r, int64_t now)
{
	const struct breaker *b = request_breaker(r);

	if (breaker_passes(b, now))
		return (struct gate){GATE_GO, now};
	if (breaker_state(b, now) == BREAKER_HALF_OPEN)
		return (struct gate){GATE_WAIT, INT64_MAX};
	/* A destroy waits for a door that opens soon: who is told `later` comes back later. */
	if (!op_rows[r->op].destroys || b->until_us - now > WAIT_MAX_US)
		return (struct gate){GATE_BREAKER, b->until_us};
	return (struct gate){GATE_WAIT, b->until_us};
}

/* Since when it may go as far as pauses and tokens are concerned. */
static struct gate bucket_gate(const struct request *r, int64_t now)
{
	const struct cloud *c = r->c;
	const struct bucket *own = &c->endpoints[r->wire.endpoint];
	bool destroys = op_rows[r->op].destroys;
	/* An account's pause is what we made of two endpoints' refusals; destroys do not keep it. */
	int64_t pause = bucket_pause_us(own, now), account = bucket_pause_us(&c->account, now);
	int64_t wait = bucket_wait_us(own, 0, now);
	int64_t token = bucket_wait_us(&c->account, destroys ? 0 : 1, now);

	if (!destroys && account > pause)
		pause = account;
	if (pause > WAIT_MAX_US)
		return (struct gate){GATE_PAUSE, now + pause};
	if (token > wait)
		wait = token;
	return gate_until(now + (pause > wait ? pause : wait), now);
}

static struct gate gate_of(const struct request *r, int64_t now)
{
	const struct cloud *c = r->c;
	bool destroys = op_rows[r->op].destroys;
	struct gate g;

	if (r->build_err)
		return (struct gate){GATE_UNSENT, now};
	if (r->unwelcome)
		return (struct gate){GATE_FULL, now};
	if (r->deadline_us && now >= r->deadline_us)
		return (struct gate){GATE_LATE, now};
	g = breaker_gate(r, now);
	if (g.answer == GATE_GO) {
		g = bucket_gate(r, now);
		if (g.answer != GATE_PAUSE && g.at_us < r->not_before_us)
			g = gate_until(r->not_before_us, now);
		if (g.answer == GATE_GO && (c->in_flight >= IN_FLIGHT_MAX + (destroys ? 1 : 0) ||
					    (r->op == CALL_CREATE && c->create_busy)))
			g = (struct gate){GATE_WAIT, INT64_MAX};
	}
	if (g.answer == GATE_WAIT && r->deadline_us && r->deadline_us < g.at_us)
		g.at_us = r->deadline_us;
	return g;
}

static long long seconds_until(int64_t at_us, int64_t now)
{
	return (long long)((at_us - now + SECOND_US - 1) / SECOND_US);
}

static void refuse(struct request *r, struct gate g, int64_t now)
{
	const char *name = r->c->p->name;

	switch (g.answer) {
	case GATE_UNSENT:
		if (r->build_why.code == ERR_NO_MEMORY)
			request_say(r, LATER, PE_UNAVAILABLE, UNKNOWN, "%s: nothing was sent: %s",
				    name, r->build_why.text);
		else
			request_say(r, SURE_NO, PE_INVALID, UNKNOWN, "%s: nothing was sent: %s",
				    name, r->build_why.text);
		break;
	case GATE_LATE:
		request_say(r, LATER, PE_UNAVAILABLE, UNKNOWN,
			    "%s: no answer in %lld s, tried %u times: %s", name,
			    (long long)(op_rows[r->op].timeout_us / SECOND_US), r->tries,
			    r->trouble);
		break;
	case GATE_BREAKER:
		request_say(r, LATER, PE_UNAVAILABLE, UNKNOWN,
			    "%s failed %d times or more in a row and is left alone; it is tried "
			    "again in %lld s%s%s",
			    name, BREAKER_FAILURES, seconds_until(g.at_us, now),
			    r->c->trouble[0] ? "; last: " : "", r->c->trouble);
		break;
	case GATE_PAUSE:
		request_say(r, LATER, PE_RATE, g.at_us - now,
			    "%s asks for fewer requests; it is asked again in %lld s", name,
			    seconds_until(g.at_us, now));
		break;
	case GATE_FULL:
		request_say(r, LATER, PE_RATE, UNKNOWN,
			    "%s: %d calls wait for their turn already, nothing was sent", name,
			    QUEUE_MAX);
		break;
	case GATE_GO:
	case GATE_WAIT:
		CHECK(g.answer != GATE_GO && g.answer != GATE_WAIT);
	}
}

static int64_t request_timeout(struct request *r, int64_t now)
{
	const struct op_row *op = &op_rows[r->op];
	int64_t own_us = r->c->p->dialect->endpoints[r->wire.endpoint].timeout_us;
	int64_t timeout_us = own_us ? own_us : op->timeout_us;

	if (!op->read)
		return timeout_us;
	if (!r->deadline_us)
		r->deadline_us = now + timeout_us;
	return r->deadline_us - now;
}

/* Everything allows it: ask whether it is still wanted, and hand it to the world, once. */
static void request_send(struct request *r, int64_t now)
{
	struct cloud *c = r->c;
	struct wire_request *wire = &r->wire;
	struct http_args args;

	r->auth.secret = true;
	buf_puts(&r->url, wire->origin ? wire->origin : c->p->account.base_url);
	buf_puts(&r->url, wire->path.data);
	if (c->p->account.key && !wire->keyless) {
		buf_puts(&r->auth, c->p->dialect->auth_prefix);
		buf_puts(&r->auth, c->p->account.key);
	}
	if (r->url.failed || r->auth.failed) {
		request_say(r, LATER, PE_UNAVAILABLE, UNKNOWN,
			    "%s: out of memory, nothing was sent", c->p->name);
		return;
	}
	if (r->go && !r->go(r->arg)) {
		if (!c->closed)
			request_say(r, SURE_NO, PE_NONE, UNKNOWN, "withdrawn, nothing was sent");
		return;
	}
	if (c->closed) /* by go: then r is freed */
		return;
	args = (struct http_args){.method = wire->method,
				  .url = r->url.data,
				  .auth = r->auth.len ? r->auth.data : NULL,
				  .body = wire->body.len ? wire->body.data : NULL,
				  .body_len = wire->body.len,
				  .form = wire->form,
				  .reply_max = op_rows[r->op].reply_max,
				  .connect_us = CONNECT_US,
				  .timeout_us = request_timeout(r, now),
				  .fresh = r->op == CALL_CREATE};
	bucket_take(&c->endpoints[wire->endpoint], now);
	bucket_take(&c->account, now);
	breaker_sent(request_breaker(r), now);
	CHECK(r->op != CALL_CREATE || !r->tries); /* rule 2: sent once */
	r->tries++;
	r->state = REQ_SENT;
	r->sent_us = now;
	c->queued--;
	c->in_flight++;
	c->sent++;
	c->create_busy |= r->op == CALL_CREATE;
	r->http = c->w->http(c->w->self, &args, reply_came, r);
}

/* One step of the queue. False: nothing more can be done before *next_us. */
static bool step(struct cloud *c, int64_t *next_us)
{
	int64_t now = cloud_now(c);
	struct request *best = NULL;

	*next_us = INT64_MAX;
	for (struct request *r = c->requests; r; r = r->next) {
		struct gate g;

		if (r->state != REQ_QUEUED)
			continue;
		g = gate_of(r, now);
		if (g.answer == GATE_WAIT) {
			if (g.at_us < *next_us)
				*next_us = g.at_us;
		} else if (g.answer != GATE_GO) {
			refuse(r, g, now);
			return true;
		} else if (!best || rank_of(r, now) < rank_of(best, now)) {
			best = r;
		}
	}
	if (best)
		request_send(best, now);
	return best != NULL;
}

void cloud_pump(void *arg)
{
	struct cloud *c = arg;
	int64_t next_us = INT64_MAX, begun = cloud_now(c), now;
	bool more = true;

	cloud_enter(c);
	while (!c->closed && more && cloud_now(c) - begun < TURN_US)
		more = step(c, &next_us);
	if (!c->closed) {
		now = cloud_now(c);
		c->w->timer_set(c->w->self, c->timer,
				more		       ? TURN_PAUSE_US
				: next_us == INT64_MAX ? -1
				: next_us > now	       ? next_us - now
						       : 0);
	}
	cloud_leave(c);
}
