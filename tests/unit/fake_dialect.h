/*
 * A dialect that says everything plainly, a server that answers from a script, and a notebook of what
 * was sent and answered: what the tests of the HTTP engine are made with. Each operation has its own
 * endpoint, and its path is "/OPERATION". A reply's body is lines:
 *	verdict WORD   error WORD   id ID   gone   next CURSOR   total N   dropped N   retry US
 *	partial (the page says itself that it is not whole)   cut (truncated cursor)   say TEXT
 * Without a verdict the status decides: 2xx sure_yes, 401 key_dead, 404 sure_no and gone, 429 later
 * and rate, 5xx unsure for what changes something and later for what does not.
 */
#ifndef GPUFS_TESTS_FAKE_DIALECT_H
#define GPUFS_TESTS_FAKE_DIALECT_H

#include "../../src/engine/cloud.h"
#include "fake_world.h"

#define SENT_MAX   4096
#define CALLS_MAX  2048
#define SCRIPT_MAX 8
#define TEST_KEY   "secret-key-of-the-tests"

struct sent {
	enum call_op op;
	int64_t at_us, timeout_us, connect_us;
	size_t reply_max;
	bool fresh;
	char path[160], body[64];
};

/* One call and its answer. */
struct told {
	struct stage *st;
	enum call_op op;
	int times; /* that it was answered */
	int64_t at_us;
	struct result res; /* pointers are gone */
	char ids[256];	   /* of its instances, each with a space behind */
	int asked;	   /* that `go` was asked */
	bool wanted;	   /* what `go` says */
};

struct stage {
	struct fake f; /* first: the server gets it */
	struct endpoint endpoints[CALL_OP_COUNT];
	struct dialect d;
	struct provider p;
	struct cloud *c;
	struct fake_reply script[CALL_OP_COUNT][SCRIPT_MAX]; /* the last one stays */
	size_t script_len[CALL_OP_COUNT], script_at[CALL_OP_COUNT];
	bool random_replies;
	bool free_in_go, free_in_answer;
	bool acting; /* inside cloud_act */
	bool refuse_build;
	struct sent sent[SENT_MAX];
	size_t sent_count;
	struct told told[CALLS_MAX];
	size_t told_count;
	unsigned open_most, open_most_ordinary, open[CALL_OP_COUNT];
};

/* No limits, replies after 10 ms. Change endpoints and d before stage_open. */
void stage_init(struct stage *st);
void stage_open(struct stage *st);
void stage_close(struct stage *st); /* cloud_free, if it is still there, and what is left */
struct told *ask(struct stage *st, enum call_op op);
struct told *ask_named(struct stage *st, enum call_op op, const char *name); /* instance or label */
struct told *ask_and_wait(struct stage *st, enum call_op op); /* until it is answered */
void script(struct stage *st, enum call_op op, const struct fake_reply *replies, size_t n);
#define SCRIPT(st, op, ...)                                          \
	script((st), (op), (const struct fake_reply[]){__VA_ARGS__}, \
	       sizeof((const struct fake_reply[]){__VA_ARGS__}) / sizeof(struct fake_reply))
/* Replies with defaults. */
#define SAYS(code, text)                                                                         \
	{                                                                                        \
		.status = (code), .body = (text), .retry_after_us = UNKNOWN, .date_us = UNKNOWN, \
		.delay_us = 10000                                                                \
	}
#define LOST                      \
	{                         \
		.delay_us = 10000 \
	} /* sent, no whole reply */
#define UNSENT                                    \
	{                                         \
		.unsent = true, .delay_us = 10000 \
	} /* provably not sent */
size_t sent_of(const struct stage *st, enum call_op op);

#endif
