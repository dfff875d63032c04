/*
 * Inside the dialect of Vast.ai only: what its files share.
 *	vastai.c	   requests, the table, the provider
 *	vastai_reply.c	   replies: verdicts, and what is not offers or instances
 *	vastai_offers.c	   rows of a search, names of GPUs
 *	vastai_instances.c rows of machines, their status and addresses
 */
#ifndef GPUFS_VASTAI_PARTS_H
#define GPUFS_VASTAI_PARTS_H

#include "../src/core/wire.h"
#include "../src/core/wire_json.h"

/* No offer costs more than this an hour; what does is a mistake of somebody (an 8 x H200 costs 40). */
#define VAST_PRICE_MAX_U6 (INT64_C(10000) * 1000000)

/* A reply being read. */
struct vast_reply {
	const struct wire_ask *ask;
	const struct wire_reply *http;
	struct wire_json json;
	const char *code; /* member `error`; "" */
	char words[160];  /* msg, message or detail, or the code: for people; "" */
	struct wire_result *out;
};

/* Whether the body says this anywhere in its first 8 KiB (wire page 3, rule 1). */
bool vast_says(const struct vast_reply *r, const char *what);
/* What came is not what the documents promise: of a write, it may have been done (UNSURE); of a read,
 * later. */
void vast_unreadable(struct vast_reply *r, const char *why);

/* Offers and lists that came with a 2xx and no word of failure. */
void vast_read_offers(struct vast_reply *r);
void vast_read_list(struct vast_reply *r);
void vast_read_look(struct vast_reply *r);
/* It is proven by the provider's own form that there is no such machine. */
void vast_gone(struct vast_reply *r, const char *how);

/* struct dialect, parse. */
void vast_parse(const struct wire_ask *ask, const struct wire_reply *reply,
		struct wire_result *out);

/* What names a template: 32 digits 0-9a-f. */
bool vast_is_hash(const char *s);

/* One machine, without a status or numbers that are known. */
void vast_instance_init(struct instance *in);

/* The word that people use for what Vast.ai calls a GPU: "Tesla V100" -> "V100",
 * "RTX 6000Ada" -> "RTX 6000 Ada", "RTX 4080S" -> "RTX 4080 SUPER". */
void vast_gpu_name(const char *raw, char *out, size_t size);
/* The other way: every spelling by which Vast.ai may know that model, as a JSON array. */
void vast_gpu_spellings(const char *name, struct buf *out);

#endif
