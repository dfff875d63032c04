/*
 * The contract between the engine and a provider: calls, typed answers. A provider translates; it
 * decides nothing and keeps no state about sessions. Two kinds: a *native* provider carries calls out
 * itself (act); a *dialect* only builds requests and reads replies (wire.h), and src/engine/cloud.c
 * does the rest for all of them. Borrowed pointers in a call live until its answer; those in a result
 * live until the callback returns. Loop thread.
 */
#ifndef GPUFS_CORE_PROVIDER_H
#define GPUFS_CORE_PROVIDER_H

#include "offer.h"
#include "spec.h"

struct world;	/* src/engine/world.h: native providers act through it */
struct dialect; /* wire.h */

/* Names are the metrics' label `operation`. */
enum call_op {
	CALL_OFFERS,  /* native: all offers; dialect: one page of them */
	CALL_CREATE,  /* sent once, whatever happens */
	CALL_LIST,    /* everything of this account, all pages */
	CALL_LOOK,    /* one instance */
	CALL_DESTROY, /* idempotent */
	CALL_ATTACH,  /* give a public key to an instance; idempotent */
	CALL_ACCOUNT, /* is the key accepted, and the balance */
	CALL_TEMPLATES,
	CALL_OP_COUNT
};
extern const char *const call_op_names[CALL_OP_COUNT];

/* How far an answer may be trusted. Nothing else exists. */
enum verdict {
	SURE_YES, /* done; of a create: the id is known */
	SURE_NO,  /* not done, and nothing was made */
	UNSURE,	  /* may have been done: resolve by looking, never by sending again */
	LATER,	  /* not done; may be tried again (throttled, unavailable) */
	KEY_DEAD, /* the account's key is refused; nothing was done, and nothing is thought gone */
};
extern const char *const verdict_names[5]; /* sure_yes sure_no unsure later key_dead */

enum provider_error {
	PE_NONE,
	PE_GONE,	/* no such instance; never an authentication error */
	PE_STALE_OFFER, /* the offer was taken or withdrawn */
	PE_AUTH,
	PE_MONEY, /* no credit, spending limit */
	PE_RATE,
	PE_UNAVAILABLE,
	PE_INVALID,
	PE_UNKNOWN,
	PE_COUNT
};
extern const char *const provider_error_names[PE_COUNT];

/* What the provider says about a machine. INST_UNKNOWN and INST_OFFLINE mean: keep waiting. None but
 * INST_GONE means gone. */
enum instance_status {
	INST_UNKNOWN,
	INST_BOOTING,
	INST_RUNNING,
	INST_STOPPING,
	INST_STOPPED, /* not by us: outbid, out of credit, stopped in the provider's console */
	INST_BROKEN,  /* will never run: a boot that failed */
	INST_OFFLINE, /* its host lost the network */
	INST_GONE,
	INST_COUNT
};
extern const char *const instance_status_names[INST_COUNT]; /* failed for INST_BROKEN */

#define PORTS_MAX 64 /* mapped ports of one machine (Vast.ai's limit) */

struct port_map {
	uint16_t port, host_port;
};

struct instance {
	char id[96], label[64]; /* label "" where the provider shows none */
	enum instance_status status;
	char status_text
		[160]; /* the provider's own words, one line, for `reason` and provider.log */
	char ssh_host[128], ssh_user[64];
	int64_t ssh_port;    /* 0 unknown */
	char host_key[256];  /* "ssh-ed25519 AAAA…" where the provider can vouch for it; "" */
	int64_t created_us;  /* when it was made, by the provider's clock; 0 unknown */
	int64_t price_u6;    /* all-in USD an hour while it runs, or UNKNOWN */
	int64_t rate_u6;     /* USD an hour charged in its present status (disk only while loading,
			     * 0 offline); UNKNOWN: price_u6 */
	char port_host[128]; /* where the ports are reached; "" unknown */
	struct port_map ports[PORTS_MAX];
	size_t port_count;
	bool interruptible;
	unsigned reach; /* how it is reached, as far as its address tells; 0: it does not */
};

struct create_args {
	const char *label;
	const struct offer *offer;
	int64_t owner_uid, owner_gid; /* for native providers */
	const char *authorized_keys;  /* lines of OpenSSH public keys */
	const struct spec_env *env;
	size_t env_count;
	struct shape shape;
	const char *image;	 /* never NULL for a dialect: the spec's, else the account's */
	const char *template_id; /* NULL: none */
	const char *on_start;	 /* NULL: none */
	const int64_t *ports;	 /* to be mapped */
	size_t port_count;
	int64_t bid_u6; /* USD an hour: interruptible; UNKNOWN: on demand */
	unsigned reach; /* one bit of the offer's; 0: it has no choice */
};

/* One page of a search. A plain value: it travels to a worker thread with the reply. */
struct page_ask {
	char gpu[64];	       /* a gpu_type of its offers, exact; "": all */
	int64_t from_price_u6; /* rows from this price on; 0: from the cheapest */
	int64_t limit;	       /* rows asked for */
	struct shape shape;    /* priced for it; UNKNOWN or 0: the dialect's own */
	bool interruptible;    /* the market of bids instead of the one on demand */
};

struct call {
	enum call_op op;
	const struct create_args *create; /* CALL_CREATE */
	const char *instance_id;	  /* CALL_LOOK, CALL_DESTROY, CALL_ATTACH */
	const char *public_key;		  /* CALL_ATTACH: one OpenSSH public key line */
	const struct page_ask *page;	  /* CALL_OFFERS of a dialect */
	/* Asked right before the first byte leaves, since a call may wait its turn in the limiter.
	 * False: not wanted any more; answered SURE_NO with PE_NONE, and nothing was sent. NULL:
	 * always wanted. Native providers do not ask. */
	bool (*go)(void *arg);
};

struct template_info {
	char id[64]; /* what a spec's template= takes */
	char name[128], image[256];
	bool recommended;
	/* What else is told of it; "" and UNKNOWN where the provider does not. */
	int64_t number; /* the provider's own */
	char tag[64], runtype[32];
	bool use_ssh, ssh_direct;
	int64_t disk_gb;	 /* recommended */
	char extra_filters[512]; /* JSON of the provider's search; "" also if it is longer */
	int64_t min_cuda_m, min_vram_mb; /* what extra_filters ask of a machine */
	int64_t creator, count_created;
	int64_t created_us; /* 0 unknown */
};

struct result {
	enum verdict verdict;
	enum provider_error error;
	char text[256];		    /* sentence, without secrets */
	bool complete;		    /* OFFERS, LIST: every page came and counts agree */
	const struct offer *offers; /* CALL_OFFERS */
	/* OFFERS of a dialect: who owns the array. Whoever wants to keep it takes it from there, leaves
	 * NULL, and frees it. NULL: it is only lent. */
	struct offer **owner;
	const struct instance *instances; /* LIST; CREATE and LOOK: one, if known */
	const struct template_info *templates;
	size_t count;
	char evidence[160]; /* LOOK that says gone: what was seen ("cgroup populated 0") */
	/* Of dialects: */
	size_t rows;		/* OFFERS: rows that came, before any was dropped */
	size_t dropped;		/* rows that were malformed or broke a filter */
	int64_t last_price_u6;	/* OFFERS: highest price among the rows that came; 0: none */
	int64_t balance_u6;	/* ACCOUNT: USD left, or UNKNOWN */
	char account[48];	/* ACCOUNT: whose key it is, the provider's own id; "" unknown */
	int64_t retry_after_us; /* the provider's own word with a refusal, or UNKNOWN */
	bool other_reach;	/* CREATE: refused only for the way in which it was to be reached */
	int64_t took_us;	/* the exchange itself, without waiting its turn; 0: not measured */
};

typedef void (*result_cb)(void *arg, const struct result *res);

/* Does the answer to a look or a destroy say that the instance does not exist? */
bool says_gone(const struct result *res);

/* What a dialect's account needs; read from the settings by main.c. */
struct account {
	char base_url[256];    /* scheme://host[:port], no slash at the end */
	const char *key;       /* secret; goes into one header and nowhere else */
	char image[256];       /* when a spec names none */
	bool account_key;      /* VASTAI_ACCOUNT_KEY */
	char balance_url[256]; /* likewise, of an API that is for the balance only; "": none */
	const char
		*balance_id; /* secret; what that API wants beside the key; NULL, "": not asked */
};

struct provider {
	const char *name;
	const char *doc;
	int64_t lag_us;	      /* how long a list may lag behind a create or a delete */
	int64_t boot_poll_us; /* first pause between looks at a booting machine */
	bool free_of_charge;  /* may everybody make sessions by default (SESSIONS_ACCESS) */
	unsigned can;	      /* native: what a spec may ask for here, bits of enum spec_want */
	/* Native: carry the call out through the world and answer exactly once, now or later. */
	void (*act)(struct provider *p, struct world *w, const struct call *call, result_cb cb,
		    void *arg);
	void *state; /* native provider's own settings; owned by main.c */
	/* Or a dialect (then act is NULL). */
	const struct dialect *dialect;
	struct account account;
};

/* What a spec may ask for at a provider. The contract of a dialect has words for everything. */
unsigned provider_can(const struct provider *p);

#endif
