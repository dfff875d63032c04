/*
 * What the tests of the dialects share: a request that is built, a reply that is parsed, and values that
 * no member of a reply is expected to have. Include before cmocka.h.
 */
#ifndef TEST_WIRE_TEST_H
#define TEST_WIRE_TEST_H

#include "../../src/core/provider.h"
#include "../../src/core/wire.h"

struct request {
	struct wire_request r;
	int err;
	struct error why;
};
void request_free(struct request *q);
#define REQUEST __attribute__((cleanup(request_free))) struct request

/* A refusal has a sentence, a request an endpoint that exists. */
void wire_build(const struct provider *p, const struct call *call, const char *cursor,
		struct request *q);

#define RESULT __attribute__((cleanup(wire_result_free))) struct wire_result

/* `body` is copied into a block of just that size, so that a sanitizer sees who reads on. Whatever it
 * is, what was understood agrees with itself. */
void wire_parse(const struct provider *p, const struct wire_ask *ask, int status, const char *body,
		size_t n, struct wire_result *w);

/* JSON of every kind, and what is none. */
#define WIRE_JUNK_COUNT 16
extern const char *const wire_junk[WIRE_JUNK_COUNT];

#endif
