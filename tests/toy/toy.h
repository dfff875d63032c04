/*
 * The example of docs/providers.md: a dialect of a cloud that does not exist ("toy"), and the cloud, as a
 * fake. Both are as short as a dialect and a fake can be and still pass the contract suite.
 */
#ifndef GPUFS_TESTS_TOY_H
#define GPUFS_TESTS_TOY_H

#include "../../src/core/provider.h"
#include "../fake/fake_http.h"

/* toy.c. Copies the account, except for the key's bytes, which must outlive it. NULL when memory is out. */
struct provider *provider_toy_new(const struct account *account);
void provider_toy_free(struct provider *p);

/* toy_fake.c: one account of it as a state machine, as tests/fake/vastai_fake.h says of all fakes. */
#define FAKETOY_KEY "toy-3f0c9a7e21b84d06f1e2d3c4b5a69788"
struct faketoy;
struct faketoy *faketoy_new(void);
void faketoy_free(struct faketoy *f);
void faketoy_request(struct faketoy *f, int64_t now_us, const struct fake_http_request *q,
		     struct fake_http_reply *out);
/* One line: meter, violations, fault OP KIND[:PARAM[s]] [COUNT | always], no-faults, event vanish ID,
 * foreign [NAME]. Answers are appended. Negative: it was not understood. */
int faketoy_control(struct faketoy *f, int64_t now_us, const char *line, struct buf *out);

#endif
