/*
 * What the files of the spec share: one word as both grammars deliver it, the ids of the keys, and
 * where each was seen. spec_words.c and spec_json.c cut a text into words; spec_keys.c and
 * spec_machine.c give them a meaning; spec.c decides which grammar it is and checks the whole. Pure; any thread.
 */
#ifndef GPUFS_CORE_SPEC_PARTS_H
#define GPUFS_CORE_SPEC_PARTS_H

#include "spec.h"

#define SPEC_HOURS_MAX		12   /* without override_hard_max */
#define SPEC_HOURS_OVERRIDE_MAX 8760 /* a year, with it */
#define SPEC_WAIT_MINUTES_MAX	525600

/* In the order of the canonical print: override_hard_max before hours, so that a shell that writes
 * line by line is never refused in between. */
enum spec_key_id {
	K_OFFER,
	K_OVERRIDE_HARD_MAX,
	K_HOURS,
	K_CONSUMER,
	K_WORKLOAD_TYPE,
	K_LABEL,
	K_RETRIES,
	K_RETRY_SCOPE,
	K_SSH_PUBLIC_KEY,
	K_SSH_TIMEOUT_MINUTES,
	K_WAIT,
	K_PROTECT,
	K_BID,
	K_DISK_GB,
	K_VCPUS,
	K_RAM_GB,
	K_IMAGE,
	K_TEMPLATE,
	K_ON_START,
	K_PORTS,
	K_LAUNCH_MODE,
	K_ENV,
	K_COMMIT,
	K_COUNT
};

enum word_kind {
	WORD_BARE,  /* no '=' */
	WORD_PLAIN, /* key=value, quoted or not */
	WORD_TEXT,
	WORD_NUMBER,
	WORD_BOOL,  /* of JSON; a bool's value is "1" or "0" */
	WORD_LIST,  /* of JSON: an array of whole numbers; the value has them with commas */
	WORD_OTHER, /* of JSON: null, another array, an object: no key takes one */
};

struct spec_word {
	struct str key, value;
	enum word_kind kind;
	bool quoted; /* the value had quotes: '' is an empty text, not a missing one */
	int line, column;
};

/* What a parse remembers beside the result. */
struct spec_parse_state {
	struct spec *out;
	struct error *why;
	struct {
		int line, column;
	} place[K_COUNT], query_place[Q_KEY_COUNT]; /* line 0: not seen */
	bool hours_undecided; /* the unfinished word may turn out to be override_hard_max */
};

extern const char *const launch_mode_names[1];

/* Apply one word. `once`: a second one of the same key is refused (JSON); else it replaces. */
int spec_apply(struct spec_parse_state *st, const struct spec_word *w, bool once);
/* env.NAME=VALUE, kept sorted by name. `once` as above. */
int spec_env_set(struct spec *s, struct str name, struct str value, bool once, struct error *why);

/* spec_machine.c: how these keys' values are read. */
int spec_read_bid(struct spec *s, struct str v, struct error *why);
int spec_read_disk(struct spec *s, struct str v, struct error *why);
int spec_read_vcpus(struct spec *s, struct str v, struct error *why);
int spec_read_ram(struct spec *s, struct str v, struct error *why);
int spec_read_image(struct spec *s, struct str v, struct error *why);
int spec_read_template(struct spec *s, struct str v, struct error *why);
int spec_read_on_start(struct spec *s, struct str v, struct error *why);
int spec_read_ports(struct spec *s, struct str v, struct error *why);
int spec_read_launch_mode(struct spec *s, struct str v, struct error *why);

/* The grammars. Both call spec_apply for each word and set *end. */
int spec_parse_words(struct spec_parse_state *st, const char *text, size_t n, enum spec_end *end);
int spec_parse_json(struct spec_parse_state *st, const char *text, size_t n, enum spec_end *end);

#endif
