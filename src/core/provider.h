/*
 * The contract between the engine and a provider: five calls, typed answers. A provider translates;
 * it decides nothing and keeps no state about sessions. Borrowed pointers in a call live until its
 * answer; those in a result live until the callback returns. Loop thread.
 */
#ifndef GPUFS_CORE_PROVIDER_H
#define GPUFS_CORE_PROVIDER_H

#include "offer.h"
#include "spec.h"

struct world; /* src/engine/world.h: native providers act through it */

enum call_op { CALL_OFFERS, CALL_CREATE, CALL_LIST, CALL_LOOK, CALL_DESTROY, CALL_OP_COUNT };
extern const char *const call_op_names[CALL_OP_COUNT];

/* How far an answer may be trusted. Nothing else exists. */
enum verdict {
	SURE_YES, /* done; of a create: the id is known */
	SURE_NO,  /* not done, and nothing was made */
	UNSURE,	  /* may have been done: resolve by looking, never by sending again */
	LATER,	  /* not done; may be tried again (throttled, unavailable) */
	KEY_DEAD, /* the account's key is refused */
};

enum provider_error {
	PE_NONE,
	PE_GONE,
	PE_STALE_OFFER,
	PE_AUTH,
	PE_MONEY,
	PE_RATE,
	PE_UNAVAILABLE,
	PE_INVALID,
	PE_UNKNOWN,
	PE_COUNT
};
extern const char *const provider_error_names[PE_COUNT];

/* What the provider says about a machine. INST_UNKNOWN means: keep waiting. */
enum instance_status {
	INST_UNKNOWN,
	INST_BOOTING,
	INST_RUNNING,
	INST_STOPPED,
	INST_BROKEN,
	INST_GONE
};

struct instance {
	char id[96], label[64];
	enum instance_status status;
	char status_text[160]; /* the provider's own words, for `reason` */
	char ssh_host[128], ssh_user[64];
	int64_t ssh_port;   /* 0 unknown */
	char host_key[256]; /* "ssh-ed25519 AAAA…" where the provider can vouch for it; "" */
	int64_t price_u6;   /* USD an hour as charged, or UNKNOWN */
};

struct create_args {
	const char *label;
	const struct offer *offer;
	int64_t owner_uid, owner_gid; /* for native providers */
	const char *authorized_keys;  /* lines of OpenSSH public keys */
	const struct spec_env *env;
	size_t env_count;
};

struct call {
	enum call_op op;
	const struct create_args *create; /* CALL_CREATE */
	const char *instance_id;	  /* CALL_LOOK, CALL_DESTROY */
};

struct result {
	enum verdict verdict;
	enum provider_error error;
	char text[256];			  /* sentence, without secrets */
	bool complete;			  /* OFFERS, LIST: every page came and counts agree */
	const struct offer *offers;	  /* CALL_OFFERS */
	const struct instance *instances; /* CALL_LIST; CALL_CREATE and CALL_LOOK: one, if known */
	size_t count;
	char evidence[160]; /* LOOK that says gone: what was seen ("cgroup populated 0") */
};

typedef void (*result_cb)(void *arg, const struct result *res);

struct provider {
	const char *name;
	const char *doc;
	int64_t lag_us;	      /* how long a list may lag behind a create or a delete */
	int64_t boot_poll_us; /* first pause between looks at a booting machine */
	bool free_of_charge;  /* may everybody make sessions by default (SESSIONS_ACCESS) */
	/* Native: carry the call out through the world and answer exactly once, now or later. */
	void (*act)(struct provider *p, struct world *w, const struct call *call, result_cb cb,
		    void *arg);
	void *state; /* native provider's own settings; owned by main.c */
};

#endif
