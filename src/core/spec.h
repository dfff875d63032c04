/*
 * The spec: what a person writes to buy a session. Two grammars, one result: words key=value
 * (quotes, # comments), or one JSON object (also with the REST API's field names). A table of keys
 * drives both, the canonical print, the documentation and the error texts. Pure; loop thread.
 */
#ifndef GPUFS_CORE_SPEC_H
#define GPUFS_CORE_SPEC_H

#include "query.h"

#define SPEC_MAX	  ((size_t)64 << 10) /* bytes of text; more is EFBIG */
#define SPEC_ENV_MAX	  64		     /* env.NAME words */
#define SPEC_ENV_VALUE	  1024
#define SPEC_PORTS_MAX	  64   /* as many as a machine maps (PORTS_MAX) */
#define SPEC_ON_START_MAX 4096 /* bytes; Vast.ai's limit */
#define SPEC_DISK_GB_MAX  1000000
#define SPEC_VCPUS_MAX	  1024
#define SPEC_RAM_GB_MAX	  65536
#define SPEC_BID_MIN_U6	  1000 /* what Vast.ai takes: 0.001 .. 128 USD an hour */
#define SPEC_BID_MAX_U6	  128000000

enum retry_scope { RETRY_SAME_GPU, RETRY_SAME_VRAM, RETRY_ANY };
enum workload {
	W_LLM,
	W_LLM_VLLM,
	W_LLM_TGI,
	W_TRAINING,
	W_BATCH,
	W_INTERACTIVE,
	W_INFERENCE,
	W_SSH,
	W_BENCHMARK,
	W_COUNT
};
extern const char *const workload_names[W_COUNT];
extern const char *const retry_scope_names[3];

struct spec_env {
	char name[64];
	char value[SPEC_ENV_VALUE];
};

/* Absent numbers are UNKNOWN (-1), absent texts "". */
struct spec {
	char offer[OFFER_ID_MAX];
	struct query query; /* selection keys, max_price among them */
	int64_t hours;	    /* 1..12, or more with override_hard_max; UNKNOWN */
	bool override_hard_max;
	char *consumer;	  /* owned; any text, line breaks too; NULL */
	int64_t workload; /* enum workload; UNKNOWN = llm */
	char label[64];
	int64_t retries;	/* 0..5 */
	int64_t retry_scope;	/* enum retry_scope */
	char *ssh_public_key;	/* owned; one OpenSSH public key line; NULL */
	int64_t ssh_timeout_us; /* 1..60 min */
	int64_t wait_us;	/* INT64_MAX = for ever (wait=max) */
	int64_t protect;	/* 0, 1 */
	bool commit;		/* the word `commit` stood in it */
	int64_t bid_u6;		/* USD an hour; belongs to interruptible=1 of the query */
	int64_t disk_gb, vcpus, ram_gb;
	char image[256];
	char template_id[65];
	char *on_start; /* owned; any text, line breaks too; NULL */
	int64_t ports[SPEC_PORTS_MAX];
	size_t port_count;
	int64_t launch_mode;  /* 0 = ssh, the only one; UNKNOWN */
	struct spec_env *env; /* owned */
	size_t env_count;
};

/* Whether the text ended where a spec may end. */
enum spec_end {
	SPEC_FINISHED,	 /* newline at the end, or the closing brace, or nothing at all */
	SPEC_UNFINISHED, /* the last line has no newline, a quote or brace is open: its last word
			    (of JSON: everything) was not looked at and is not in the result */
};

struct spec_key {
	const char *name;	/* "hours"; "env." for the family */
	const char *json_alias; /* REST field name, or NULL */
	const char *unit, *doc, *example;
};
extern const struct spec_key spec_keys[]; /* without the selection keys, which are query_keys */
extern const size_t spec_key_count;

/* What of a spec a provider may be unable to give (struct provider's `can`). */
enum spec_want {
	WANT_DISK = 1,
	WANT_IMAGE = 2,
	WANT_TEMPLATE = 4,
	WANT_ON_START = 8,
	WANT_PORTS = 16,
	WANT_BID = 32,
	WANT_VCPUS = 64,
	WANT_RAM = 128,
	WANT_ALL = 255
};
/* The bits that this spec asks for. */
unsigned spec_wants(const struct spec *s);

/* Does a purchase of it ask for an interruptible machine? */
static inline bool spec_interruptible(const struct spec *s)
{
	return s->query.set & UINT32_C(1) << Q_INTERRUPTIBLE && s->query.num[Q_INTERRUPTIBLE];
}

void spec_init(struct spec *s);
void spec_free(struct spec *s);
/* Parse `text` whole. All or nothing: on an error *out is as after spec_init. NUL bytes, invalid
 * UTF-8 and control bytes are refused; a consumer and on_start may hold the latter, written as \xNN
 * or JSON's \uNNNN. why->line and why->column say where. Hours over 12 without override_hard_max are ERANGE;
 * whether the caller may override is the engine's question. */
int spec_parse(const char *text, size_t n, struct spec *out, enum spec_end *end, struct error *why);
/* One `key=value` a line, quoted where needed, at most SPEC_MAX bytes; parses back to the same.
 * `commit` is not printed. */
void spec_put(const struct spec *s, struct buf *out);

#endif
