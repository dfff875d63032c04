/*
 * From a reply to a verdict (faults.md, Buying 3): what a missing reply means, which reads are tried
 * again, the dialect's reading (on a worker if it is large), and the guards that hold whatever a
 * dialect says: a create that may have worked is UNSURE, and an error never means gone.
 */
#include <string.h>

#include "cloud_parts.h"

/* Before this program existed no Date is a clock's: 2024-01-01. */
#define DATE_MIN_US ((int64_t)1704067200 * SECOND_US)

/* A reply that is being read. On the worker nothing but this is touched. */
struct parse_job {
	struct request *r; /* NULL: the cloud was freed meanwhile */
	const struct dialect *d;
	struct wire_ask ask;
	struct wire_reply reply; /* points into what is below */
	int64_t retry_after_us;
	struct buf body;
	char *content_type;
	struct wire_result out;
};

static bool server_failed(int status)
{
	return status == 0 || status >= 500;
}

static void note_trouble(struct request *r, const struct http_reply *reply)
{
	char text[sizeof r->trouble];

	if (reply->status)
		snprintf(text, sizeof text, "status %d", reply->status);
	else
		COPY(text, reply->text);
	printable_text(r->trouble, sizeof r->trouble, text);
	COPY(r->c->trouble, r->trouble);
}

static void note_outcome(struct request *r, bool failed)
{
	struct cloud *c = r->c;

	if (breaker_outcome(request_breaker(r), failed, cloud_now(c)))
		c->w->log(c->w->self, LOG_WARN_, "%s: %s left alone for a while: %s", c->p->name,
			  op_rows[r->op].destroys ? "destroying is"
						  : "everything but destroying is",
			  c->trouble);
}

/* Our clock against the reply's Date. The median of a few: one wrong proxy is no clock. */
static void note_date(struct cloud *c, int64_t date_us)
{
	int64_t skew;

	if (date_us < DATE_MIN_US)
		return;
	/* Date is cut to the second: half of one on the average. */
	skew = c->w->wall_us(c->w->self) - (date_us + SECOND_US / 2);
	if (skew == UNKNOWN)
		skew = 0;
	if (c->skew_count == SKEWS)
		memmove(c->skews, c->skews + 1, sizeof c->skews - sizeof c->skews[0]);
	else
		c->skew_count++;
	c->skews[c->skew_count - 1] = skew;
}

/* ---- verdicts ---- */

/* Whether this endpoint, and the account, must pause. */
static void note_rate(struct request *r, int status, int64_t retry_after_us, struct wire_result *w)
{
	struct cloud *c = r->c;
	struct bucket *own = &c->endpoints[r->wire.endpoint];
	int64_t now = cloud_now(c), pause;
	size_t paused = 0;

	if (retry_after_us > w->r.retry_after_us)
		w->r.retry_after_us = retry_after_us;
	if (w->r.retry_after_us > RETRY_AFTER_MAX)
		w->r.retry_after_us = RETRY_AFTER_MAX;
	if (status == 429 && w->r.verdict == LATER)
		w->r.error = PE_RATE;
	if (status != 429 && w->r.error != PE_RATE) {
		/* During a pause only what was sent before it comes back. */
		if (!server_failed(status) && !bucket_pause_us(own, now))
			bucket_accepted(own);
		return;
	}
	pause = bucket_refused(own, w->r.retry_after_us,
			       c->p->dialect->endpoints[r->wire.endpoint].penalty_us, now,
			       cloud_chance(c));
	for (size_t i = 0; i < c->p->dialect->endpoint_count; i++)
		paused += bucket_pause_us(&c->endpoints[i], now) > 0;
	if (paused > 1) /* then it is the account that is asked to slow down */
		bucket_hold(&c->account, now + pause);
	c->w->log(c->w->self, LOG_INFO_, "%s: %s: too many requests; pause of %lld ms%s",
		  c->p->name, call_op_names[r->op], (long long)(pause / 1000),
		  paused > 1 ? " for the account" : "");
}

/* A create's verdict must never be better than what is known: something that has an id exists, yes
 * means a 2xx and an id, and after a 5xx, or a 2xx that says neither yes nor no, nobody knows. */
static void guard_create(int status, struct result *r)
{
	bool named = r->count && r->instances[0].id[0];
	bool good = status >= 200 && status < 300;
	bool lost = status >= 500 || (good && r->verdict == LATER);

	r->count = named ? 1 : 0;
	if (r->verdict == SURE_YES && named && good)
		return;
	if (named || lost || r->verdict == SURE_YES)
		r->verdict = UNSURE;
}

/* Gone is what a query says, never a refused key, a limit or a failure (faults.md, Destroying 3). */
static void guard_gone(int status, struct result *r)
{
	bool gone = r->error == PE_GONE ||
		    (r->verdict == SURE_YES && r->count && r->instances[0].status == INST_GONE);

	if (!gone || (status < 500 && status != 401 && status != 403 && status != 429))
		return;
	r->verdict = LATER;
	r->error = PE_UNAVAILABLE;
	r->instances = NULL;
	r->count = 0;
	r->evidence[0] = '\0';
}

static void fetch_next_page(struct request *r)
{
	const struct call call = {.op = CALL_LIST};

	request_build(r, &call, r->ask.cursor);
	r->deadline_us = 0;
	r->tries = 0;
	request_requeue(r, 0);
}

static void conclude(struct request *r, int status, int64_t retry_after_us, struct wire_result *w)
{
	struct result res;

	note_rate(r, status, retry_after_us, w);
	if (r->op == CALL_CREATE)
		guard_create(status, &w->r);
	else if (r->op == CALL_LOOK || r->op == CALL_DESTROY)
		guard_gone(status, &w->r);
	note_outcome(r, server_failed(status) || (r->op == CALL_CREATE && w->r.verdict == UNSURE));
	res = w->r;
	res.owner = w->offers ? &w->offers : NULL;
	if (r->walk && walk_page(r->walk, status, w, r->ask.cursor, &res)) {
		fetch_next_page(r);
		return;
	}
	res.took_us = r->took_us;
	request_answer(r, &res);
}

/* No whole reply. What was provably not sent made nothing: LATER, for a create too (nothing is sent
 * again under that label; the engine makes a new attempt). Of a write that may have left nobody knows
 * what it did. */
static void conclude_unanswered(struct request *r, const struct http_reply *reply)
{
	const char *name = r->c->p->name;
	struct wire_result w;

	wire_result_init(&w);
	if (!reply->sent)
		wire_say(&w, LATER, PE_UNAVAILABLE, "%s: nothing was sent: %s", name, reply->text);
	else if (op_rows[r->op].read)
		wire_say(&w, LATER, PE_UNAVAILABLE, "%s: no whole answer: %s", name, reply->text);
	else
		wire_say(&w, UNSURE, PE_UNAVAILABLE, "%s: sent, and no whole answer: %s", name,
			 reply->text);
	conclude(r, 0, UNKNOWN, &w);
	wire_result_free(&w);
}

/* ---- once more ---- */

/* Reads only, and only within the time of the call. */
static bool retry(struct request *r, const struct http_reply *reply)
{
	int64_t now = cloud_now(r->c), at;

	if (!op_rows[r->op].read || r->tries > RETRIES_MAX)
		return false;
	if (reply->status != 0 && reply->status != 502 && reply->status != 503 &&
	    reply->status != 504)
		return false;
	at = now + full_jitter_us(RETRY_US, MINUTE_US, r->tries - 1, cloud_chance(r->c));
	if (reply->retry_after_us > 0) {
		if (reply->retry_after_us >= r->deadline_us - now)
			return false;
		if (at < now + reply->retry_after_us)
			at = now + reply->retry_after_us;
	}
	if (at + SECOND_US > r->deadline_us) /* no time for an answer */
		return false;
	note_outcome(r, true);
	request_requeue(r, at);
	return true;
}

/* ---- reading ---- */

static void job_free(struct parse_job *job)
{
	wire_result_free(&job->out);
	buf_free(&job->body);
	free(job->content_type);
	free(job);
}

static void job_run(void *arg)
{
	struct parse_job *job = arg;

	job->d->parse(&job->ask, &job->reply, &job->out);
	buf_free(&job->body); /* here: what was read is in `out` */
	job->reply.body = NULL;
}

static void job_done(void *arg)
{
	struct parse_job *job = arg;
	struct request *r = job->r;

	if (r) {
		struct cloud *c = r->c;

		cloud_enter(c);
		r->job = NULL;
		conclude(r, job->reply.status, job->retry_after_us, &job->out);
		cloud_leave(c);
	}
	job_free(job);
}

void parse_abandon(struct parse_job *job)
{
	job->r = NULL;
}

/* Megabytes: taken over where that can be, since a copy is many new pages in one turn of the loop. */
static bool job_take_body(struct parse_job *job, const struct http_reply *reply)
{
	job->content_type = strdup(reply->content_type ? reply->content_type : "");
	if (reply->owner && job->content_type) {
		job->body = *reply->owner;
		*reply->owner = (struct buf){0};
	} else {
		job->body.max = reply->len + 1;
		buf_add(&job->body, reply->body, reply->len);
	}
	return job->content_type && !job->body.failed;
}

/* False: no memory for it. */
static bool parse_on_worker(struct request *r, const struct http_reply *reply)
{
	struct parse_job *job = calloc(1, sizeof *job);

	if (!job)
		return false;
	if (!job_take_body(job, reply)) {
		job_free(job);
		return false;
	}
	job->r = r;
	job->d = r->c->p->dialect;
	job->ask = r->ask;
	job->retry_after_us = reply->retry_after_us;
	job->reply = (struct wire_reply){.status = reply->status,
					 .content_type = job->content_type,
					 .body = job->body.data,
					 .len = job->body.len};
	wire_result_init(&job->out);
	r->job = job;
	r->c->w->work(r->c->w->self, job_run, job_done, job);
	return true;
}

static void parse_here(struct request *r, const struct wire_reply *reply, int64_t retry_after_us)
{
	struct wire_result w;

	wire_result_init(&w);
	r->c->p->dialect->parse(&r->ask, reply, &w);
	conclude(r, reply->status, retry_after_us, &w);
	wire_result_free(&w);
}

static void read_reply(struct request *r, const struct http_reply *reply)
{
	const struct wire_reply wire = {.status = reply->status,
					.content_type = reply->content_type ? reply->content_type
									    : "",
					.body = reply->body ? reply->body : "",
					.len = reply->body ? reply->len : 0};

	if (wire.len <= PARSE_INLINE_MAX || !parse_on_worker(r, reply))
		parse_here(r, &wire, reply->retry_after_us);
}

void reply_came(void *arg, const struct http_reply *reply)
{
	struct request *r = arg;
	struct cloud *c = r->c;

	cloud_enter(c);
	r->http = NULL;
	buf_free(&r->url);
	buf_free(&r->auth); /* wiped */
	r->state = REQ_PARSING;
	c->in_flight--;
	r->took_us = cloud_now(c) - r->sent_us;
	cloud_kick(c);
	c->w->log(c->w->self, LOG_DEBUG_, "%s: %s: status %d after %lld ms%s%s", c->p->name,
		  call_op_names[r->op], reply->status, (long long)(r->took_us / 1000),
		  reply->status ? "" : ": ", reply->status ? "" : reply->text);
	if (reply->status)
		note_date(c, reply->date_us);
	if (server_failed(reply->status))
		note_trouble(r, reply);
	if (retry(r, reply))
		; /* it is in the queue again */
	else if (!reply->status)
		conclude_unanswered(r, reply);
	else
		read_reply(r, reply);
	cloud_leave(c);
}
