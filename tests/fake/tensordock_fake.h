/*
 * A strict fake of TensorDock: one account of it as a pure state machine, in the style of vastai_fake.h,
 * which says what all fakes have in common (time is passed in, effects and answers are separate things, one
 * thread). It does what the last section of the wire page demands; what the documents do not allow is
 * refused as the service would, or written down as a violation where it would let it pass.
 *
 * A machine's status is a function of its record and the time, so nothing has to happen between requests.
 * Not simulated: credit that runs out stops no machine, hostnodes, secrets and changes of a machine.
 * Tests: tests/unit/test_fake_tensordock.c
 */
#ifndef FAKE_TENSORDOCK_H
#define FAKE_TENSORDOCK_H

#include "fake_http.h"

struct faketd;

#define FAKETD_KEY     "tdk5f3c9a7e21b84d06f1e2d3c4b5a69788796a5b4c3d2e1f0"
#define FAKETD_AUTH_ID "7b1c5c36-7a52-4a5e-9c1f-0d3b8a7f2e11"

enum faketd_op {
	FT_SEARCH,  /* GET locations */
	FT_CREATE,  /* POST instances */
	FT_LIST,    /* GET instances */
	FT_GET,	    /* GET instances/ID */
	FT_DESTROY, /* DELETE instances/ID */
	FT_MANAGE,  /* POST instances/ID/start, stop */
	FT_BALANCE, /* POST v0 billing/balance */
	FT_UNKNOWN, /* no such path */
	FT_BOOT,    /* not a call: the life of the next machine (see FTI_) */
	FT_OP_COUNT
};
/* search create list get destroy manage balance unknown boot */
extern const char *const faketd_op_names[FT_OP_COUNT];

/* `param` is in brackets; 0 takes the default. "done": the effect happened. */
enum faketd_fault_kind {
	FTF_NONE,
	FTF_DROP,	/* nothing done, no answer */
	FTF_UNSENT,	/* nothing done, never arrived (simulator) */
	FTF_STALL,	/* nothing done, no answer, closed after [us; 240 s] */
	FTF_LOST,	/* done, then no answer */
	FTF_LOST_SLOW,	/* done, no answer, closed after [us; 240 s] */
	FTF_SLOW,	/* done, answered after [us; 60 s] */
	FTF_LATE,	/* create: 504 now, made [us; 60 s] later */
	FTF_429,	/* refused; every other one with Retry-After */
	FTF_500,	/* nothing done; JSON */
	FTF_502,	/* nothing done; HTML */
	FTF_503,	/* nothing done; JSON */
	FTF_DONE_502,	/* done, answered with HTML */
	FTF_AUTH,	/* nothing done; 401, bare text and JSON in turn */
	FTF_403_HTML,	/* nothing done; a gateway's */
	FTF_BODY_500,	/* nothing done; 200 with {"status":500,"error":…} */
	FTF_TRUNCATE,	/* done; body cut at [bytes; half] */
	FTF_EMPTY,	/* done; 200 without a body */
	FTF_NOT_JSON,	/* done; 200 with a page of HTML */
	FTF_UTF8,	/* done; a byte 0xff in the first string */
	FTF_HUGE,	/* done; [bytes; 40 MiB] of an extra member in front */
	FTF_NODES,	/* create: 200 "No available nodes found" */
	FTF_NO_IP,	/* create: 200 "No available public IPs on hostnode" */
	FTF_UNEXPECTED, /* create: 200, status 500, "unexpected error during deployment" */
	FTF_NO_CREDIT,	/* create: 400, balance */
	FTF_NO_ID,	/* create: done, an empty id */
	FTF_EMPTY_LIST, /* list: nothing there, which is a lie */
	FTF_PARTIAL,	/* list: every other machine missing */
	FTF_GONE,	/* get, destroy: says there is none, though there is */
	FTF_LINGER,	/* destroy: 200, but it lives (and is billed) [us; 60 s] longer */
	FTF_IGNORED,	/* destroy: 200, and nothing happens */
	/* Lives, for FT_BOOT only: */
	FTI_STUCK,	   /* creating for ever */
	FTI_FAILED,	   /* failed instead of running */
	FTI_STOPS,	   /* runs, and stopped after [us; 10 s] */
	FTI_DISASSOCIATED, /* runs, then StoppedDisassociated after [us; 30 s] */
	FTI_VANISH,	   /* runs, then 404 after [us; 30 s] */
	FTI_ODD_CASE,	   /* RUNNING */
	FTI_WORD,	   /* a status that nobody knows */
	FTI_NO_FORWARDS,   /* accepted and ignored */
	FTI_PRICE,	   /* charged [per mille; 1500] of what was listed */
	FTI_NO_LOGIN,	   /* keys never work */
	FTF_COUNT
};
const char *faketd_fault_name(enum faketd_fault_kind kind); /* lower case, '-' for '_' */
bool faketd_fault_fits(enum faketd_op op, enum faketd_fault_kind kind);

struct faketd_config {
	uint64_t seed;
	const char *key, *auth_id; /* accepted; borrowed for life */
	int64_t time_permille;	   /* of the durations below, as vastai_fake.h has it */
	int64_t offers;		   /* models at locations */
	int64_t drift_ppm;	   /* of a price that differs from the listed average, at most */
	int64_t stale_ppm;	   /* chance that nothing is available after all */
	int64_t churn_us;	   /* how often numbers change; 0: never */
	int64_t search_us, create_min_us, create_max_us, other_us; /* until the answer */
	int64_t run_us;	    /* from create until it is called running */
	int64_t address_us; /* until its address shows */
	int64_t login_us;   /* until keys work */
	int64_t destroy_us; /* from DELETE until a query says 404 */
	int64_t lag_us;	    /* until lists show a new machine */
	int list_form;	    /* 0 to 3 as in the wire page; -1: in turn */
	bool terse_list;    /* lists show ids, names and states only */
	bool limited;	    /* 100 requests a minute */
	int64_t credit_u6;
	bool own_ssh; /* addresses come from faketd_set_endpoint; nothing has an own address */
};
/* The documented behaviour: slow creates, 20 % stale, drifting prices, terse lists in all forms. */
void faketd_defaults(struct faketd_config *c);
/* The same without chance: nothing stale, no drift, no churn, plain lists. */
void faketd_calm(struct faketd_config *c);

struct faketd *faketd_new(const struct faketd_config *c);
void faketd_free(struct faketd *f);
void faketd_request(struct faketd *f, int64_t now_us, const struct fake_http_request *q,
		    struct fake_http_reply *out);
int64_t faketd_next_us(const struct faketd *f, int64_t now_us); /* INT64_MAX: nothing is due */

/* As fakevast_fault. */
int faketd_fault(struct faketd *f, enum faketd_op op, enum faketd_fault_kind kind, int64_t param,
		 int64_t count, int64_t ppm);
void faketd_no_faults(struct faketd *f);
/* From outside, at once. false: no such living machine. */
enum faketd_event { FTE_VANISH, FTE_STOP, FTE_RUN };
bool faketd_event(struct faketd *f, int64_t now_us, const char *id, enum faketd_event e);
/* Somebody else's machine in this organisation; its id, which lives as long as the fake. */
const char *faketd_add_foreign(struct faketd *f, int64_t now_us, const char *name);
void faketd_set_key_dead(struct faketd *f, bool dead);
void faketd_set_credit(struct faketd *f, int64_t now_us, int64_t credit_u6);
/* Faults and chances off; lists tell the truth: the second phase of a simulation. */
void faketd_be_kind(struct faketd *f);

/* ---- only for tests ---- */

struct faketd_view {
	int64_t number;
	const char *id, *name, *model, *status; /* "gone" */
	bool foreign, alive, deleted,
		address; /* deleted: a DELETE was accepted; address: its own */
	int64_t created_us, running_us, gone_us; /* NEVER is INT64_MAX */
	int64_t price_u6, rate_u6, billed_u6;
	int64_t vcpus, ram_gb, disk_gb;
	const char *ip;
	int ssh_port; /* there; 0: none */
	bool login;
};
size_t faketd_count(const struct faketd *f); /* all that ever were, and those that will be */
void faketd_view(const struct faketd *f, int64_t now_us, size_t i, struct faketd_view *out);
/* Key lines that cloud-init installed for `user`; none before logins work. */
void faketd_keys(const struct faketd *f, int64_t now_us, int64_t number, struct buf *out);
void faketd_set_endpoint(struct faketd *f, int64_t number, const char *host, int port);
/* Would a login of `user` at this address with this key line work now? */
bool faketd_login(const struct faketd *f, int64_t now_us, const char *host, int64_t port,
		  const char *public_key);

struct faketd_meter {
	int64_t alive, alive_ours, created, billed_u6, rate_u6, credit_u6;
	int64_t requests, throttled, violations, calls[FT_OP_COUNT];
};
void faketd_meter(const struct faketd *f, int64_t now_us, struct faketd_meter *out);

struct faketd_entry {
	int64_t at_us;
	enum faketd_op op;
	char method[8], path[160], name[64]; /* name: of a create; cut */
	int status;			     /* 0: no answer */
	bool reused;
	enum faketd_fault_kind fault;
};
size_t faketd_journal_count(const struct faketd *f);
const struct faketd_entry *faketd_journal(const struct faketd *f, size_t i);
struct faketd_violation {
	int64_t at_us;
	const char *rule; /* static */
	char text[200];
};
size_t faketd_violation_count(const struct faketd *f);
const struct faketd_violation *faketd_violation(const struct faketd *f, size_t i);
void faketd_add_violation(struct faketd *f, int64_t now_us, const char *rule, const char *text);
/* One line of the control language; answers are appended. Negative: it was not understood. */
int faketd_control(struct faketd *f, int64_t now_us, const char *line, struct buf *out);

#endif
