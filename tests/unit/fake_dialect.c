/* See fake_dialect.h. */
#include "fake_dialect.h"

#include <string.h>

#include "../../src/core/check.h"

/* These tests crash nothing: what is not freed is a leak. */
int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void)
{
	return 0;
}

/* ---- the dialect ---- */

static int plain_build(const struct provider *p, const struct call *call, const char *cursor,
		       struct wire_request *out, struct error *why)
{
	static const enum http_method methods[CALL_OP_COUNT] = {
		[CALL_CREATE] = HTTP_PUT, [CALL_DESTROY] = HTTP_DELETE, [CALL_ATTACH] = HTTP_POST};
	const struct stage *st = p->state;

	if (st->refuse_build)
		return fail(why, ERR_INVALID, "this dialect has no words for it");
	CHECK(out->body.secret && !out->path.len && !out->body.len);
	out->method = methods[call->op];
	out->endpoint = (unsigned)call->op;
	buf_printf(&out->path, "/%s", call_op_names[call->op]);
	if (call->instance_id)
		buf_printf(&out->path, "/%s", call->instance_id);
	if (cursor[0])
		buf_printf(&out->path, "?after=%s", cursor);
	if (call->op == CALL_CREATE)
		buf_puts(&out->body, call->create->label);
	return 0;
}

static int word_of(const char *const *names, int n, const char *word)
{
	for (int i = 0; i < n; i++)
		if (!strcmp(names[i], word))
			return i;
	CHECK(names == NULL);
	return -1;
}

static void by_status(const struct wire_ask *ask, int status, struct wire_result *out)
{
	bool writes = ask->op == CALL_CREATE || ask->op == CALL_DESTROY || ask->op == CALL_ATTACH;

	if (status >= 200 && status < 300) {
		wire_say(out, SURE_YES, PE_NONE, "done");
		out->r.complete = true;
	} else if (status == 401) {
		wire_say(out, KEY_DEAD, PE_AUTH, "the key is refused");
	} else if (status == 404) {
		wire_say(out, SURE_NO, PE_GONE, "there is no such thing");
	} else if (status == 429) {
		wire_say(out, LATER, PE_RATE, "too many requests");
	} else if (status >= 500) {
		wire_say(out, writes ? UNSURE : LATER, PE_UNAVAILABLE, "status %d", status);
	} else {
		wire_say(out, SURE_NO, PE_INVALID, "status %d", status);
	}
}

static void by_line(struct wire_result *out, const char *word, const char *value)
{
	if (!strcmp(word, "verdict"))
		out->r.verdict = (enum verdict)word_of(verdict_names, 5, value);
	else if (!strcmp(word, "error"))
		out->r.error = (enum provider_error)word_of(provider_error_names, PE_COUNT, value);
	else if (!strcmp(word, "id"))
		copy_text(wire_add_instance(out)->id, 96, value);
	else if (!strcmp(word, "gone"))
		wire_add_instance(out)->status = INST_GONE;
	else if (!strcmp(word, "next"))
		COPY(out->next, value);
	else if (!strcmp(word, "total"))
		out->total = atoll(value);
	else if (!strcmp(word, "dropped"))
		out->r.dropped = (size_t)atoll(value);
	else if (!strcmp(word, "retry"))
		out->r.retry_after_us = atoll(value);
	else if (!strcmp(word, "partial"))
		out->r.complete = false;
	else if (!strcmp(word, "cut"))
		out->truncated_cursor = true;
	else if (!strcmp(word, "say"))
		COPY(out->r.text, value);
	else
		CHECK(!strcmp(word, "pad"));
}

static void plain_parse(const struct wire_ask *ask, const struct wire_reply *reply,
			struct wire_result *out)
{
	FREE char *text = strdup(reply->body);
	char *rest = text, *line;

	/* What was asked comes along, though the caller's words are gone. */
	CHECK(ask->op != CALL_OFFERS || ask->page.limit == 64);
	CHECK(ask->op != CALL_DESTROY || ask->instance_id[0]);
	by_status(ask, reply->status, out);
	while ((line = strsep(&rest, "\n"))) {
		char *value = strchr(line, ' ');

		if (value)
			*value++ = '\0';
		if (*line)
			by_line(out, line, value ? value : "");
	}
}

/* ---- the server ---- */

static uint32_t dice(struct stage *st, uint32_t sides)
{
	uint32_t r;

	st->f.w.random(&st->f, &r, sizeof r);
	return r % sides;
}

static void random_reply(struct stage *st, struct fake_reply *reply)
{
	static const int statuses[] = {0,   0,	 200, 200, 200, 200, 201, 302,
				       400, 401, 404, 429, 500, 502, 503, 504};
	static const char *const bodies[] = {"",
					     "id m1",
					     "id m1\nid m1",
					     "verdict later",
					     "verdict sure_no",
					     "verdict unsure\nid m2",
					     "next a",
					     "next b\nid m3",
					     "total 1\nid m4",
					     "verdict key_dead",
					     "error rate\nverdict later"};

	reply->status = statuses[dice(st, sizeof statuses / sizeof statuses[0])];
	reply->unsent = dice(st, 2);
	reply->body = bodies[dice(st, sizeof bodies / sizeof bodies[0])];
	reply->delay_us = dice(st, 8) ? (int64_t)dice(st, 3000000) : (int64_t)dice(st, 200000000);
	reply->retry_after_us = dice(st, 4) ? UNKNOWN : (int64_t)dice(st, 60000000);
}

struct closing {
	struct stage *st;
	enum call_op op;
};

/* How many are open at once, seen by the server: from sending to the reply. */
static void reply_left(struct fake *f, void *arg)
{
	struct closing *cl = arg;

	(void)f;
	cl->st->open[cl->op]--;
	free(cl);
}

static void note_open(struct stage *st, enum call_op op, int64_t us)
{
	struct closing *cl = xcalloc(1, sizeof *cl);
	unsigned all = 0;

	*cl = (struct closing){st, op};
	st->open[op]++;
	for (int i = 0; i < CALL_OP_COUNT; i++)
		all += st->open[i];
	CHECK(st->open[CALL_CREATE] <= 1);
	if (all > st->open_most)
		st->open_most = all;
	if (op != CALL_DESTROY && all > st->open_most_ordinary)
		st->open_most_ordinary = all;
	fake_later(&st->f, us, reply_left, free, cl);
}

static void serve(struct fake *f, const struct http_args *args, struct fake_reply *reply)
{
	struct stage *st = (struct stage *)f;
	struct sent *s = &st->sent[st->sent_count++];
	const char *path = strstr(args->url, "://test/");
	enum call_op op;

	CHECK(st->sent_count <= SENT_MAX && path);
	CHECK(args->auth && !strcmp(args->auth, "Authorization: Bearer " TEST_KEY));
	CHECK(!strstr(args->url, TEST_KEY));
	path += strlen("://test");
	for (op = 0; op < CALL_OP_COUNT; op++) {
		size_t n = strlen(call_op_names[op]);

		char behind = strncmp(path + 1, call_op_names[op], n) ? 'x' : path[n + 1];

		if (!behind || behind == '/' || behind == '?')
			break;
	}
	CHECK(op < CALL_OP_COUNT);
	*s = (struct sent){.op = op,
			   .at_us = f->now_us,
			   .timeout_us = args->timeout_us,
			   .connect_us = args->connect_us,
			   .reply_max = args->reply_max,
			   .fresh = args->fresh};
	COPY(s->path, path);
	COPY(s->body, args->body ? args->body : "");
	if (st->random_replies) {
		random_reply(st, reply);
	} else if (st->script_len[op]) {
		*reply = st->script[op][st->script_at[op]];
		if (st->script_at[op] + 1 < st->script_len[op])
			st->script_at[op]++;
	} else {
		reply->delay_us = 10000;
	}
	note_open(st, op, reply->delay_us < args->timeout_us ? reply->delay_us : args->timeout_us);
}

void script(struct stage *st, enum call_op op, const struct fake_reply *replies, size_t n)
{
	CHECK(n && n <= SCRIPT_MAX);
	memcpy(st->script[op], replies, n * sizeof *replies);
	st->script_len[op] = n;
	st->script_at[op] = 0;
}

/* ---- calls ---- */

static void answered(void *arg, const struct result *res)
{
	struct told *t = arg;

	CHECK(!t->st->acting && t->st->c); /* from the loop; never after cloud_free */
	t->times++;
	t->at_us = t->st->f.now_us;
	t->res = *res;
	t->ids[0] = '\0';
	for (size_t i = 0; i < res->count && res->instances; i++) {
		size_t n = strlen(t->ids);

		snprintf(t->ids + n, sizeof t->ids - n, "%s ", res->instances[i].id);
	}
	if (t->st->free_in_answer) {
		cloud_free(t->st->c);
		t->st->c = NULL;
	}
}

static bool go(void *arg)
{
	struct told *t = arg;

	CHECK(!t->st->acting && t->st->c);
	t->asked++;
	if (t->st->free_in_go) {
		cloud_free(t->st->c);
		t->st->c = NULL;
	}
	return t->wanted;
}

struct told *ask_named(struct stage *st, enum call_op op, const char *name)
{
	struct told *t = &st->told[st->told_count++];
	/* All of it is gone when this returns. */
	struct offer *offer = xcalloc(1, sizeof *offer);
	struct page_ask *page = xcalloc(1, sizeof *page);
	char *word = strdup(name);
	struct create_args args = {.label = word, .offer = offer};
	struct call call = {.op = op};

	CHECK(st->told_count <= CALLS_MAX && word);
	*t = (struct told){.st = st, .op = op, .wanted = true};
	if (op == CALL_CREATE) {
		call.create = &args;
		call.go = go;
	} else if (op == CALL_LOOK || op == CALL_DESTROY || op == CALL_ATTACH) {
		call.instance_id = word;
	} else if (op == CALL_OFFERS) {
		page->limit = 64;
		call.page = page;
	}
	st->acting = true;
	cloud_act(st->c, &call, answered, t);
	st->acting = false;
	memset(word, 'x', strlen(word));
	free(word);
	free(offer);
	free(page);
	return t;
}

struct told *ask(struct stage *st, enum call_op op)
{
	return ask_named(st, op, "m1");
}

struct told *ask_and_wait(struct stage *st, enum call_op op)
{
	struct told *t = ask(st, op);

	while (!t->times)
		CHECK(fake_step(&st->f));
	return t;
}

size_t sent_of(const struct stage *st, enum call_op op)
{
	size_t n = 0;

	for (size_t i = 0; i < st->sent_count; i++)
		n += st->sent[i].op == op;
	return n;
}

/* ---- life ---- */

void stage_init(struct stage *st)
{
	memset(st, 0, sizeof *st);
	fake_init(&st->f);
	st->f.serve = serve;
	st->f.work_us = 5000;
	for (int i = 0; i < CALL_OP_COUNT; i++)
		st->endpoints[i] = (struct endpoint){.name = call_op_names[i], .burst = 1};
	st->d = (struct dialect){.auth_prefix = "Authorization: Bearer ",
				 .endpoints = st->endpoints,
				 .endpoint_count = CALL_OP_COUNT,
				 .account_burst = 2,
				 .build = plain_build,
				 .parse = plain_parse};
	st->p = (struct provider){.name = "plain", .dialect = &st->d, .state = st};
	COPY(st->p.account.base_url, "https://test");
	st->p.account.key = TEST_KEY;
}

void stage_open(struct stage *st)
{
	st->c = cloud_new(&st->f.w, &st->p);
}

void stage_close(struct stage *st)
{
	cloud_free(st->c);
	st->c = NULL;
	CHECK(st->f.https_open == 0); /* what was under way is cancelled */
	while (fake_step(&st->f))     /* a worker comes back late */
		;
	fake_drop(&st->f);
}
