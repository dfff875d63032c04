/* HTTP and the worker of the virtual world: see fake_world.h. */
#include "fake_world.h"

#include <string.h>

#include "../../src/core/check.h"

struct http_send {
	struct fake_event *ev;
	http_cb cb;
	void *arg;
	struct http_reply reply;
	char *body;
};

static void send_free(void *arg)
{
	struct http_send *h = arg;

	free(h->body);
	free(h);
}

static void http_run(struct fake *f, void *arg)
{
	struct http_send *h = arg;

	f->https_open--;
	h->cb(h->arg, &h->reply);
	send_free(h);
}

struct http_send *fake_http(void *self, const struct http_args *args, http_cb cb, void *arg)
{
	struct fake *f = self;
	struct http_send *h = xcalloc(1, sizeof *h);
	struct fake_reply r = {.status = 200, .retry_after_us = UNKNOWN, .date_us = UNKNOWN};

	CHECK(strstr(args->url, "://") && args->timeout_us > 0 && args->connect_us > 0 &&
	      args->reply_max > 0 && !args->body == !args->body_len);
	if (f->serve)
		f->serve(f, args, &r);
	else
		r = (struct fake_reply){.unsent = true};
	if (r.delay_us > args->timeout_us)
		r = (struct fake_reply){.delay_us = args->timeout_us};
	h->cb = cb;
	h->arg = arg;
	h->body = strdup(r.status && r.body ? r.body : "");
	CHECK(h->body);
	h->reply = (struct http_reply){.status = r.status,
				       .sent = !r.unsent,
				       .content_type = "text/plain",
				       .body = h->body,
				       .len = strlen(h->body),
				       .retry_after_us = r.status ? r.retry_after_us : UNKNOWN,
				       .date_us = r.status ? r.date_us : UNKNOWN};
	if (!r.status)
		COPY(h->reply.text, r.unsent ? "connection refused" : "timed out");
	f->https_open++;
	h->ev = fake_later(f, r.delay_us, http_run, send_free, h);
	return h;
}

void fake_http_cancel(void *self, struct http_send *h)
{
	struct fake *f = self;

	f->https_open--;
	fake_forget(f, h->ev);
	send_free(h);
}

/* Two events, as with a thread: it runs some time, and its end is seen later. */
struct work {
	void (*run)(void *arg);
	void (*done)(void *arg);
	void *arg;
};

static void work_done(struct fake *f, void *arg)
{
	struct work *job = arg;

	(void)f;
	job->done(job->arg);
	free(job);
}

static void work_run(struct fake *f, void *arg)
{
	struct work *job = arg;

	job->run(job->arg);
	fake_later(f, f->work_us / 2, work_done, free, job);
}

void fake_work(void *self, void (*run)(void *arg), void (*done)(void *arg), void *arg)
{
	struct fake *f = self;
	struct work *job = xcalloc(1, sizeof *job);

	*job = (struct work){run, done, arg};
	f->works++;
	fake_later(f, f->work_us / 2, work_run, free, job);
}
