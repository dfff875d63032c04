/*
 * A provider on its stage: what the cases of test_contract.c are made of. A cloud is reached through the HTTP
 * engine and played by its strict fake, `local` has a host in memory; time is virtual. A new provider is one
 * row in `kinds`. Not thread-safe; one stage at a time.
 */
#ifndef GPUFS_TESTS_CONTRACT_H
#define GPUFS_TESTS_CONTRACT_H

#include "../../src/engine/cloud.h"
#include "../fake/fake_http.h"
#include "fake_world.h"

struct kind {
	const char *name;
	/* A cloud, and its fake. NULL: this machine. */
	struct provider *(*provider)(const struct account *account);
	const char *key, *image, *stale; /* stale: the fault of an offer that was taken */
	void *(*make)(void);
	void (*free)(void *fake);
	void (*request)(void *fake, int64_t now_us, const struct fake_http_request *q,
			struct fake_http_reply *out);
	int (*control)(void *fake, int64_t now_us, const char *line, struct buf *out);
	const char *balance_id;
};
#define KIND_COUNT 4
extern const struct kind kinds[KIND_COUNT];

#define GUESTS 8
struct stage {
	struct fake f; /* first: the world's callbacks get it */
	const struct kind *kind;
	struct provider *p;
	struct cloud *c; /* NULL: native */
	void *fake;
	struct fake_http_reply reply;
	/* this machine */
	struct host_instance guests[GUESTS];
	size_t guest_count;
	/* the last answer, and what of it outlives the callback */
	int answers;
	struct result got;
	struct offer offer; /* the first */
	struct instance instances[32];
};
struct stage *stage_new(const struct kind *k);
void stage_free(struct stage *st);
/* The server of the stage's world: requests go to the fake. */
void serve(struct fake *f, const struct http_args *args, struct fake_reply *r);

/* A line to the fake, in the control language that all fakes have in common; the answer's first line, without
 * its newline, until the next one. */
const char *control(struct stage *st, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int64_t meter(struct stage *st, const char *name); /* a number of the fake's meter */
int64_t alive(struct stage *st);		   /* machines of ours */

/* A call; act returns when it is answered, however long that takes. The answer is in st->got, its first offer
 * in st->offer, its machines in st->instances. */
void answered(void *arg, const struct result *res);
void act(struct stage *st, const struct call *call);
void search(struct stage *st);
void create(struct stage *st, const char *label); /* of st->offer */
void list(struct stage *st);
void look(struct stage *st, const char *id);
void destroy(struct stage *st, const char *id);

#define LABEL "gpufs-test1-aaaaaaaaaaaaaaaaaaaaaaaaaa-1-aaaaaaaaaa"

const char *new_label(void); /* one label, one create: each has its own */
/* The row of the last list with that label; NULL. */
const struct instance *listed(const struct stage *st, const char *label);
/* A machine of an offer that was found, with LABEL; its id. */
void have_one(struct stage *st, char id[96]);
/* After the provider's times, a look and a complete list agree that LABEL is no more. */
void prove_gone(struct stage *st, const char *id);

#endif
