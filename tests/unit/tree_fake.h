/*
 * A fake engine and a fake mount for tests of the tree's rows: the functions of engine.h and tree.h
 * that the rows call, answering from plain arrays that a test fills. It decides nothing and
 * remembers what it was asked. One thread. Used by test_docs.c, test_rows.c, test_search.c.
 */
#ifndef GPUFS_TESTS_TREE_FAKE_H
#define GPUFS_TESTS_TREE_FAKE_H

#include "../../fs/rows.h"

#define FAKE_SESSIONS 16

struct engine {
	struct policy policy;
	struct inventory *inv;
	struct session sessions[FAKE_SESSIONS]; /* by serial, from 1; serial 0: a free place */
	struct provider_view providers[2];
	size_t provider_count;
	struct status_view status;
	struct error refusal; /* code ERR_NONE: none */
	const char *session_error, *alarms, *provider_log;
	bool proven;
	int looked; /* engine_looked_at_market, engine_asked_for */
	struct query asked;
	char order[128]; /* the last order: "ctl done" */
};

struct mount {
	struct query_table *queries;
	struct offer_index *offers;
	const char *last_error;
	struct shared_text *cached; /* one text is enough */
	uint64_t cached_id, cached_version;
	int cache_hits;
};

extern struct engine fake_engine;
extern struct mount fake_mount;

void fake_reset(void);
void fake_free(void);
/* A market of these offers, one generation further. */
void fake_market(const struct offer *offers, size_t n);
struct session *fake_session(int64_t serial, const char *name, int64_t uid);
/* A ctx of the fake world, for uid. */
struct ctx fake_ctx(enum object class, uint64_t serial, int64_t uid);
/* Resolves x and renders the row of that path; NULL if it failed. Caller frees. */
char *fake_show(struct ctx x, const char *path);
const struct row *fake_row(enum object class, const char *path);

#endif
