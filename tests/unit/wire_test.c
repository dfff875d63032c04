/* What the tests of the dialects share: see wire_test.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../src/core/check.h"
#include "../../src/core/text.h"
#include "wire_test.h"

#include <cmocka.h>
#undef fail

const char *const wire_junk[WIRE_JUNK_COUNT] = {
	"null",
	"true",
	"0",
	"-1",
	"1.5",
	"1e400",
	"99999999999999999999999",
	"\"\"",
	"\"x\"",
	"\"\xff\\u0000\\udfff\"",
	"[]",
	"[[[[]]]]",
	"{}",
	"{\"id\":{}}",
	"[null]",
	"NaN",
};

void request_free(struct request *q)
{
	buf_free(&q->r.path);
	buf_free(&q->r.body);
}

void wire_build(const struct provider *p, const struct call *call, const char *cursor,
		struct request *q)
{
	memset(q, 0, sizeof *q);
	q->err = p->dialect->build(p, call, cursor, &q->r, &q->why);
	if (q->err)
		assert_true(q->why.text[0]);
	else
		assert_in_range(q->r.endpoint, 0, p->dialect->endpoint_count - 1);
}

void wire_parse(const struct provider *p, const struct wire_ask *ask, int status, const char *body,
		size_t n, struct wire_result *w)
{
	FREE char *copy = malloc(n ? n : 1);
	struct wire_reply reply = {status, "", copy, n};

	assert_non_null(copy);
	memcpy(copy, body, n);
	wire_result_init(w);
	p->dialect->parse(ask, &reply, w);
	assert_true(w->r.verdict == SURE_YES || w->r.text[0]);
	assert_true((w->r.verdict == KEY_DEAD) == (w->r.error == PE_AUTH));
	assert_true(w->r.verdict != LATER || w->r.error == PE_RATE || w->r.error == PE_UNAVAILABLE);
}
