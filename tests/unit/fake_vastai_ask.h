/*
 * What the tests of the fake Vast.ai share: one fake, one request at a time, virtual time in `now`.
 */
#ifndef TEST_FAKE_VASTAI_ASK_H
#define TEST_FAKE_VASTAI_ASK_H

#include <jansson.h>

#include "../fake/vastai_fake.h"

#define CREATE(label)                                                                              \
	"{\"client_id\":\"me\",\"image\":\"ubuntu:22.04\",\"disk\":40,\"runtype\":\"ssh_direct\"," \
	"\"cancel_unavail\":true,\"label\":\"" label "\""

extern struct fakevast *fake;
extern struct fake_http_reply reply;
extern json_t *answer; /* of the last request, or NULL */
extern int64_t now;

/* A calm fake without spacings, but for what `change` changes. */
void begin(void (*change)(struct fakevast_config *c));
int end(void **state);
int ask_as(const char *auth, const char *method, const char *target, const char *body);
int ask(const char *method, const char *target, const char *body);
const char *text_at(const char *name);
struct fakevast_meter meter(void);
size_t broken(const char *rule);
/* The cheapest offer with room for 40 GB. */
json_int_t an_offer(void);
int create_with(json_int_t offer, const char *body);
int64_t create(const char *label);
/* .../instances/ID and the rest of the path. */
int call(const char *method, const char *fmt, int64_t id, const char *body);
json_t *instance(int64_t id);
/* actual_status; "null", "gone". */
const char *status_of(int64_t id);
struct fakevast_view view(size_t i);
/* total_instances of the list. */
json_int_t listed(void);
bool near(double a, double b);
double real(const json_t *row, const char *name);

#endif
