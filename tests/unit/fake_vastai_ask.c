/* See fake_vastai_ask.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#undef fail /* cmocka's macro; ours is in error.h */

#include <jansson.h>

#include "../../src/core/check.h"
#include "../../src/core/text.h"
#include "../fake/vastai_fake.h"

#include "fake_vastai_ask.h"

struct fakevast *fake;
struct fake_http_reply reply;
json_t *answer; /* of the last request, or NULL */
int64_t now;

void begin(void (*change)(struct fakevast_config *c))
{
	struct fakevast_config c;

	fakevast_calm(&c);
	c.spacing_permille = 0;
	if (change)
		change(&c);
	now = 0;
	fake = fakevast_new(&c);
}

int end(void **state)
{
	(void)state;
	json_decref(answer);
	answer = NULL;
	fake_http_reply_free(&reply);
	memset(&reply, 0, sizeof(reply));
	fakevast_free(fake);
	fake = NULL;
	return 0;
}

int ask_as(const char *auth, const char *method, const char *target, const char *body)
{
	fakevast_request(
		fake, now,
		&(struct fake_http_request){.method = method,
					    .target = target,
					    .auth = auth,
					    .content_type = body ? "application/json" : NULL,
					    .body = body,
					    .len = body ? strlen(body) : 0},
		&reply);
	json_decref(answer);
	answer = json_loadb(reply.body.data ? reply.body.data : "", reply.body.len, 0, NULL);
	return reply.status;
}

int ask(const char *method, const char *target, const char *body)
{
	return ask_as("Bearer " FAKEVAST_KEY, method, target, body);
}

const char *text_at(const char *name)
{
	return json_string_value(json_object_get(answer, name));
}

struct fakevast_meter meter(void)
{
	struct fakevast_meter m;

	fakevast_meter(fake, now, &m);
	return m;
}

size_t broken(const char *rule)
{
	size_t n = 0;

	for (size_t i = 0; i < fakevast_violation_count(fake); i++)
		n += !strcmp(fakevast_violation(fake, i)->rule, rule);
	return n;
}

/* The cheapest offer for a disk of 40 GB. */
json_int_t an_offer(void)
{
	assert_int_equal(200,
			 ask("POST", "/api/v0/bundles/",
			     "{\"rentable\":{\"eq\":true},\"disk_space\":{\"gte\":40},\"order\":[["
			     "\"dph_total\",\"asc\"]],\"allocated_storage\":40,\"limit\":1}"));
	return json_integer_value(
		json_object_get(json_array_get(json_object_get(answer, "offers"), 0), "id"));
}

int create_with(json_int_t offer, const char *body)
{
	char target[80];

	snprintf(target, sizeof(target), "/api/v0/asks/%lld/", (long long)offer);
	return ask("PUT", target, body);
}

int64_t create(const char *label)
{
	char body[400];

	snprintf(body, sizeof(body), CREATE("%s") "}", label);
	assert_int_equal(200, create_with(an_offer(), body));
	return json_integer_value(json_object_get(answer, "new_contract"));
}

int call(const char *method, const char *fmt, int64_t id, const char *body)
{
	char target[120];

	snprintf(target, sizeof(target), "/api/v0/instances/%lld%s", (long long)id, fmt);
	return ask(method, target, body);
}

json_t *instance(int64_t id)
{
	int status = call("GET", "/", id, NULL);

	/* Of one that is gone, every fourth time a 404. */
	assert_true(status == 200 ||
		    (status == 404 && !strcmp("no_such_instance", text_at("error"))));
	return json_object_get(answer, "instances");
}

const char *status_of(int64_t id)
{
	json_t *i = instance(id);
	const json_t *s = json_object_get(i, "actual_status");

	return json_is_object(i) ? json_is_string(s) ? json_string_value(s) : "null" : "gone";
}

struct fakevast_view view(size_t i)
{
	struct fakevast_view v;

	fakevast_view(fake, now, i, &v);
	return v;
}

bool near(double a, double b)
{
	return a - b < 1e-6 && b - a < 1e-6;
}

double real(const json_t *row, const char *name)
{
	return json_number_value(json_object_get(row, name));
}

json_int_t listed(void)
{
	assert_int_equal(200, ask("GET", "/api/v1/instances/", NULL));
	return json_integer_value(json_object_get(answer, "total_instances"));
}
