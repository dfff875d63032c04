/*
 * A strict fake of Vast.ai: one account of it as a pure state machine. No I/O, no clock, no global state:
 * time is passed in, randomness comes from the seed, so the same calls give the same bytes. What it
 * does is the last section of the wire page; what the documents do not allow is refused, or written
 * down as a violation where the real service would let it pass. Its billing meter, journal and
 * violations are for tests only; no request shows them.
 *
 *	struct fakevast_config c;
 *	fakevast_defaults(&c);
 *	c.seed = 7;
 *	struct fakevast *f = fakevast_new(&c);
 *	struct fake_http_reply reply = {0};
 *	fakevast_request(f, now_us, &(struct fake_http_request){.method = "GET",
 *		.target = "/api/v1/instances/", .auth = "Bearer " FAKEVAST_KEY}, &reply);
 *	... reply.delay_us later: reply.status, reply.body, delivered as reply.delivery says ...
 *	fake_http_reply_free(&reply);
 *
 * Effects happen inside fakevast_request at now_us (a fault may move them), the answer is a separate
 * thing: FAKE_DROP with the effect done is a lost reply. Between requests things happen by themselves
 * (boots, keys that start to work, credit running out): every function with now_us first brings the
 * machine to that moment, exactly, in order. now_us is monotonic, from 0, and may not go back; the
 * wall clock of the cloud is epoch_us + now_us. fakevast_next_us tells when something happens next.
 *
 * One thread. Out of memory stops the process. Tests: tests/unit/test_fake_vastai.c
 */
#ifndef FAKE_VASTAI_H
#define FAKE_VASTAI_H

#include "fake_http.h"

struct fakevast;

#define FAKEVAST_KEY "5f3c9a7e21b84d06f1e2d3c4b5a69788796a5b4c3d2e1f0f1e2d3c4b5a697887"

/* What can be asked for, and what a fault can be set on. */
enum fakevast_op {
	FV_SEARCH,    /* POST, GET bundles; PUT search/asks */
	FV_CREATE,    /* PUT asks/ID */
	FV_LIST,      /* GET v1 instances */
	FV_LIST_V0,   /* GET v0 instances (deprecated) */
	FV_GET,	      /* GET instances/ID */
	FV_MANAGE,    /* PUT instances/ID, POST instances/start */
	FV_DESTROY,   /* DELETE instances/ID */
	FV_ATTACH,    /* POST instances/ID/ssh */
	FV_DETACH,    /* DELETE instances/ID/ssh/KEY */
	FV_INST_KEYS, /* GET instances/ID/ssh */
	FV_KEYS,      /* ssh/: the account's keys */
	FV_BID,	      /* PUT instances/bid_price/ID */
	FV_REBOOT,    /* PUT instances/reboot/ID, recycle/ID */
	FV_ACCOUNT,   /* GET users/current */
	FV_TEMPLATES, /* template/ */
	FV_CHARGES,   /* GET charges */
	FV_INVOICES,  /* GET v1 invoices */
	FV_MISC,      /* prices, deposits, logs, volumes, filters */
	FV_UNKNOWN,   /* no such path */
	FV_BOOT,      /* not a call: the life of the next instance (see FVI_) */
	FV_OP_COUNT
};
/* search create list list_v0 get manage destroy attach detach inst_keys keys bid reboot account
 * templates charges invoices misc unknown boot */
extern const char *const fakevast_op_names[FV_OP_COUNT];

/* What can go wrong with a call. `param` is in brackets; 0 takes the default. "done": the effect
 * happened. */
enum fakevast_fault_kind {
	FVF_NONE,
	FVF_DROP,	  /* nothing done, no answer */
	FVF_UNSENT,	  /* nothing done, never arrived (simulator) */
	FVF_STALL,	  /* nothing done, no answer, closed after [us; 180 s] */
	FVF_LOST,	  /* done, then no answer: the lost reply */
	FVF_LOST_SLOW,	  /* done, no answer, closed after [us; 180 s] */
	FVF_SLOW,	  /* done, answered after [us; 45 s] */
	FVF_DRIP,	  /* done, answered byte by byte over [us; 45 s] */
	FVF_LATE,	  /* create, destroy: 504 now, done [us; 30 s] later */
	FVF_LATE_DROP,	  /* the same with no answer at all */
	FVF_429,	  /* refused; shape [1..5], 0: in rotation */
	FVF_500,	  /* nothing done; the JSON of server_error */
	FVF_502,	  /* nothing done; HTML */
	FVF_503,	  /* nothing done; HTML */
	FVF_504,	  /* nothing done; HTML */
	FVF_DONE_502,	  /* done, answered with the HTML of a 502 */
	FVF_HTML_403,	  /* nothing done; the edge's burst block */
	FVF_AUTH,	  /* nothing done; wrong key, as this endpoint says it */
	FVF_EXPIRED,	  /* nothing done; 404 "Session expired" */
	FVF_REDIRECT,	  /* nothing done; 308 to config.redirect_to */
	FVF_TRUNCATE,	  /* done; body cut at [bytes; half] */
	FVF_CHUNK_CUT,	  /* done; chunked, cut at [bytes; half] */
	FVF_CHUNKED,	  /* done; chunked, whole */
	FVF_TYPE,	  /* done; JSON as text/html */
	FVF_EMPTY,	  /* done; 200 without a body */
	FVF_NOT_JSON,	  /* done; a sentence instead of JSON */
	FVF_HUGE,	  /* done; [bytes; 40 MiB] of an extra member in front */
	FVF_DEEP,	  /* done; an extra member [levels; 5000] deep */
	FVF_DUPLICATE,	  /* done; members twice, with another value first */
	FVF_UTF8,	  /* done; bytes 0xff inside of strings */
	FVF_NUL,	  /* done; \u0000 inside of strings */
	FVF_TYPES,	  /* done; about a third of all values get another type */
	FVF_EXTRA,	  /* done; unknown members, numbers as 1.0 or 1e400 in them */
	FVF_CONTRADICT,	  /* create: success:false *and* new_contract (it exists, stopped);
			   * others: done, success:false */
	FVF_NO_ID,	  /* create: done, success:true without new_contract */
	FVF_OTHER,	  /* answer of another account: other ids, labels, balance */
	FVF_STALE_OFFER,  /* create: no_such_ask; status [400|404|410], 0: in rotation */
	FVF_NO_CREDIT,	  /* create: insufficient_credit */
	FVF_SPEND_LIMIT,  /* create: spend_rate_limit (status and text are a guess) */
	FVF_PARTIAL,	  /* lists: [rows; half] of this page missing, counters as if they came */
	FVF_OUTDATED,	  /* lists: as it was [us; 120 s] ago */
	FVF_EMPTY_LIST,	  /* lists: "nothing there", with counters 0 */
	FVF_NULL_LIST,	  /* lists: instances null, counters right */
	FVF_REPEAT_PAGE,  /* lists: the first page again, with its token */
	FVF_SHUFFLE_PAGE, /* lists: one row of this page is replaced by the first of all */
	FVF_410,	  /* deprecated_endpoint */
	FVF_GONE,	  /* get, destroy, attach: says there is none, though there is */
	FVF_LINGER,	  /* destroy: 200, but it lives (and is billed) [us; 60 s] longer */
	FVF_IGNORED,	  /* destroy: 200, and nothing happens */
	FVF_RESURRECT,	  /* destroy: gone, and back [us; 60 s] later */
	/* Lives, for FV_BOOT only: */
	FVI_STUCK,	 /* loading for ever */
	FVI_MANIFEST,	 /* loading with "manifest ... not found" for ever */
	FVI_ABANDONED,	 /* created, intended stopped, OCI text */
	FVI_RACE,	 /* loading, intended stopped */
	FVI_EXITED,	 /* runs, then exited after [us; 30 s] */
	FVI_VANISH,	 /* runs, then null after [us; 30 s] */
	FVI_VANISH_BOOT, /* null while loading */
	FVI_OFFLINE,	 /* runs, offline for [us; 60 s], and back */
	FVI_UNHEARD,	 /* runs, unknown for [us; 60 s], and back */
	FVI_OUTBID,	 /* runs, then stopped after [us; 30 s] without a marker */
	FVI_FROZEN,	 /* runs, then frozen after [us; 30 s]: billed in full */
	FVI_SLOW_BOOT,	 /* running after [us; 1 h] */
	FVI_PRICE,	 /* charged [per mille; 1500] of what was offered */
	FVI_NO_LOGIN,	 /* keys never work */
	FVI_DEAF,	 /* its SSH port accepts and says nothing */
	FVI_PROXY_ONLY,	 /* no direct ports */
	FVF_COUNT
};
const char *fakevast_fault_name(enum fakevast_fault_kind kind); /* lower case, '-' for '_' */

struct fakevast_config {
	uint64_t seed;
	const char *key;       /* accepted; borrowed until fakevast_new returns */
	int64_t epoch_us;      /* wall clock at now_us 0 */
	int64_t time_permille; /* of all the documented durations below; 100: ten times faster.
				 * Applied once by fakevast_new, also to what was set by hand */
	int64_t offers;	       /* rows in the market */
	int64_t sample_ppm;    /* chance that a row is missing from one reply */
	int64_t stale_ppm;     /* chance that an offer is gone when it is created from */
	int64_t page_cap;      /* rows of a search, whatever limit asks for */
	bool storage_rows;     /* searches contain storage-only rows */
	bool breaking_rows;    /* searches contain rows that break a filter */
	bool terse; /* rows carry only the columns that clients read: for the simulator */
	int64_t boot_min_us, boot_max_us; /* from create to running */
	int64_t created_us, loading_us;	  /* from create to those states */
	int64_t attach_us;		  /* until an attached key works */
	int64_t destroy_us;	  /* from DELETE until it is out of sight (not billed any more) */
	int64_t lag_us;		  /* until lists show a new instance */
	int64_t lag_gone_us;	  /* until lists stop showing one that is gone */
	bool v0_gone;		  /* the old list answers 410 */
	bool gone_variants;	  /* a missing instance is told in each documented way in turn */
	int64_t spacing_permille; /* of the documented spacings, on top of time_permille; 0: none */
	int64_t tolerance_us;	  /* how much too early a request may come: jitter of real clocks */
	int64_t burst_max; /* more requests than this in one (scaled) second: 403 HTML; 0: off */
	int64_t credit_u6;
	const char *redirect_to; /* of FVF_REDIRECT; borrowed for life */
	bool own_ssh;		 /* the addresses come from fakevast_set_endpoint; none before */
};
/* The documented behaviour: 25 % of rows missing, 25 % of offers stale, boots of 30 to 90 s, full
 * spacings, no lag, credit 100 USD. */
void fakevast_defaults(struct fakevast_config *c);
/* The same without chance: all rows, no stale offer, boot_min = boot_max. */
void fakevast_calm(struct fakevast_config *c);

struct fakevast *fakevast_new(const struct fakevast_config *c);
void fakevast_free(struct fakevast *f);

/* One request and its answer; `out` is zeroed or was used before, freed by the caller. */
void fakevast_request(struct fakevast *f, int64_t now_us, const struct fake_http_request *q,
		      struct fake_http_reply *out);
void fakevast_advance(struct fakevast *f, int64_t now_us);
int64_t fakevast_next_us(const struct fakevast *f); /* INT64_MAX: nothing is due */

/* The next `count` calls of this kind (count > 0), or each with a chance (count 0, ppm), or all
 * (count < 0). Faults of one op are tried in the order in which they were set; one a call.
 * -EINVAL: this kind means nothing for this op. */
int fakevast_fault(struct fakevast *f, enum fakevast_op op, enum fakevast_fault_kind kind,
		   int64_t param, int64_t count, int64_t ppm);
void fakevast_no_faults(struct fakevast *f);
/* Does this kind mean something for this op? To draw from. */
bool fakevast_fault_fits(enum fakevast_op op, enum fakevast_fault_kind kind);

/* What happens to an instance from outside, at once. false: no such living instance. */
enum fakevast_event {
	FVE_VANISH,  /* gone, as if it had never been */
	FVE_STOP,    /* stopped without a marker: outbid, or in the console */
	FVE_EXIT,    /* its container ends; intended stays running */
	FVE_OFFLINE, /* its host loses the network */
	FVE_UNHEARD,
	FVE_BACK, /* and is back */
	FVE_RUN,  /* what boots is running now */
};
bool fakevast_event(struct fakevast *f, int64_t now_us, int64_t id, enum fakevast_event e);
/* Somebody else's machine in this account (console, other tool): calls that change it are
 * violations. Its id; label NULL: null. */
int64_t fakevast_add_foreign(struct fakevast *f, int64_t now_us, const char *label);
void fakevast_set_credit(struct fakevast *f, int64_t now_us, int64_t credit_u6);
/* The key is refused from now on (dead), or accepted again. */
void fakevast_set_key_dead(struct fakevast *f, bool dead);
/* Faults and chances off; lists and gets tell the truth: the second phase of a simulation. */
void fakevast_be_kind(struct fakevast *f);

/* ---- only for tests ---- */

/* One instance as the meter has it, living or gone. */
struct fakevast_view {
	int64_t id, offer_id, machine_id;
	char label[260];
	bool foreign, alive;
	bool deleted;	      /* a DELETE was accepted (it may linger) */
	const char *status;   /* actual_status, "null" before the first; "gone" */
	int64_t created_us;   /* now_us of the effect */
	int64_t destroyed_us; /* -1 while alive */
	int64_t running_us;   /* first became running; -1 never */
	int64_t price_u6;     /* all-in USD an hour while running */
	int64_t rate_u6;      /* billed now */
	int64_t billed_u6;    /* so far */
	int64_t gpu_seconds;  /* billed as running */
	bool login;	      /* keys can work, and its sshd may be up */
	bool deaf;
	size_t keys; /* attached and in force now */
};
size_t fakevast_count(const struct fakevast *f); /* all that ever were */
void fakevast_view(struct fakevast *f, int64_t now_us, size_t i, struct fakevast_view *out);
/* Key lines in force now, one a line. */
void fakevast_keys(struct fakevast *f, int64_t now_us, int64_t id, struct buf *out);
/* Where its SSH is (own_ssh): the proxy's address, and the direct one's (0: proxy only). */
void fakevast_set_endpoint(struct fakevast *f, int64_t id, const char *host, int proxy_port,
			   int direct_port);

/* A login at an address that a reply gave: what the SSH of the machine there would do now. */
enum fakevast_ssh {
	FV_SSH_REFUSED, /* nobody listens there */
	FV_SSH_SILENT, /* TCP is accepted, no banner comes (a proxy before the boot, a deaf host) */
	FV_SSH_DENIED, /* handshake done, this key is not in force (yet) */
	FV_SSH_OK,
};
/* public_key: an OpenSSH line, compared without its comment. host_key may be NULL; it is made up, another
 * one for every instance. *id: whose SSH it is, 0 if refused. */
enum fakevast_ssh fakevast_login(struct fakevast *f, int64_t now_us, const char *host, int64_t port,
				 const char *public_key, int64_t *id, char host_key[96]);

struct fakevast_meter {
	int64_t alive, alive_ours; /* without foreign ones */
	int64_t created;	   /* effects of creates, foreign ones not counted */
	int64_t billed_u6;	   /* ours, all that ever were */
	int64_t rate_u6;	   /* ours, now */
	int64_t credit_u6;
	int64_t requests, throttled, violations;
	int64_t calls[FV_OP_COUNT];
};
void fakevast_meter(struct fakevast *f, int64_t now_us, struct fakevast_meter *out);

/* A request that came. */
struct fakevast_entry {
	int64_t at_us;
	enum fakevast_op op;
	char method[8];
	char path[160];	  /* without the query; cut */
	int status;	  /* 0: no answer */
	bool early;	  /* refused for its spacing */
	bool reused;	  /* not the first of its connection */
	uint64_t digest;  /* of the body, FNV-1a; 0: none */
	int64_t instance; /* that it was about, or that it made; 0: none */
	char label[64];	  /* of a create; cut */
	enum fakevast_fault_kind fault;
};
size_t fakevast_journal_count(const struct fakevast *f);
const struct fakevast_entry *fakevast_journal(const struct fakevast *f, size_t i);

/* What the client did against the documents (or against its own promises: a label twice, a create on
 * a used connection, a foreign machine touched, the key in a URL). */
struct fakevast_violation {
	int64_t at_us;
	const char *rule; /* static word, see vastai_books.c */
	char text[200];
};
size_t fakevast_violation_count(const struct fakevast *f);
const struct fakevast_violation *fakevast_violation(const struct fakevast *f, size_t i);
/* For the server: what only the transport sees. `rule` is static. */
void fakevast_add_violation(struct fakevast *f, int64_t now_us, const char *rule, const char *text);
/* Journal, violations and counters of requests start anew; instances and money stay. */
void fakevast_forget(struct fakevast *f);

/* One line of the control language (`help` prints it). 0, or -EINVAL with a sentence in out. */
int fakevast_control(struct fakevast *f, int64_t now_us, const char *line, struct buf *out);

#endif
