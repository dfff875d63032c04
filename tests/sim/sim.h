/*
 * The simulator: core/, engine/ and dialects run unchanged in a virtual world (struct world over virtual
 * time, a disk, a network, the state machines of one or two clouds from tests/fake), while random people
 * order and random things go wrong (faults.md, The simulator). The same seed gives the same life, byte
 * for byte. A *life* has three parts: safety (people and faults for simulated hours), liveness (faults
 * stop, everything must settle within a stated time), audit (what lives and what it cost against the
 * cloud's meter, which the engine never sees).
 *
 *	sim_time.c    events, clocks, timers, chance    sim_people.c  orders, and that each is answered
 *	sim_disk.c    the journal                       sim_trouble.c what goes wrong: the fault matrix
 *	sim_net.c     HTTP, SSH, workers                sim_rules.c   what must hold after every event
 *	sim_life.c    processes, phases                 sim_money.c   the meter and the books
 *	sim_standard.c  lives that follow a plan        sim_audit.c   what must hold in the end
 *	sim_vastai.c, sim_tensordock.c  the clouds      test_sim.c    runs many, replays one
 *
 * A violation is noted once (sim_wrong) and ends the life; test_sim.c prints the command that replays
 * it as a story. One thread; many lives may run in one process one after another.
 */
#ifndef GPUFS_TESTS_SIM_H
#define GPUFS_TESTS_SIM_H

#include <stdio.h>

#include "../../src/core/check.h"
#include "../../src/engine/engine.h"
#include "../fake/fake_http.h"

#define SIM_EPOCH_US	 (INT64_C(1800000000) * SECOND_US) /* wall clock when a life begins */
#define SIM_PEOPLE_NAMES 5				   /* names in use at once */

/* ---- sim_time.c ---- */

struct sim;
struct sim_event;

/* splitmix64; a stream for each use, so that one more draw here changes nothing there. */
struct chance {
	uint64_t state;
};
uint64_t chance_next(struct chance *c);
int64_t chance_below(struct chance *c, int64_t n); /* 0 .. n-1; 0 if n < 1 */
bool chance_hit(struct chance *c, int64_t per_mille);
int64_t chance_between(struct chance *c, int64_t a, int64_t b); /* a .. b */

/* `lose` frees arg of an event that will never come (NULL: nothing to free). */
struct sim_event *sim_later(struct sim *s, int64_t delay_us, void (*run)(struct sim *s, void *arg),
			    void (*lose)(void *arg), void *arg);
void sim_cancel(struct sim *s, struct sim_event *ev); /* arg stays the caller's */
bool sim_step(struct sim *s);			      /* the next event; false: none */
int64_t sim_next_us(const struct sim *s);	      /* when it comes; INT64_MAX */
void sim_lose_events(struct sim *s);
int64_t sim_wall_us(const struct sim *s);
void sim_time_world(struct world *w);

/* ---- sim_disk.c ---- */

struct sim_write;

struct sim_disk {
	struct journal_op *rows; /* what is durable */
	size_t row_count, row_cap;
	struct sim_write *first; /* handed over and not acknowledged, in order */
	size_t waiting;
	int64_t delay_us;
	int err; /* every write fails with it */
	bool ballast;
	unsigned writes;
};
void sim_disk_world(struct world *w);
void sim_disk_crash(struct sim *s); /* any prefix of what was not acknowledged is kept */
void sim_disk_free(struct sim *s);
void sim_disk_lose(struct sim *s); /* the database is gone */
bool sim_disk_intends(const struct sim *s,
		      const char *label); /* an asked attempt of this label is durable */

/* ---- clouds: sim_vastai.c, sim_tensordock.c ---- */

/* What is asked of a cloud; BOOT is no call: the life of the next machine. */
enum sim_op {
	SIM_SEARCH,
	SIM_CREATE,
	SIM_LIST,
	SIM_GET,
	SIM_DESTROY,
	SIM_ATTACH,
	SIM_ACCOUNT,
	SIM_TEMPLATES,
	SIM_BOOT,
	SIM_OP_COUNT /* as an op: none of these */
};
extern const char *const sim_op_names[SIM_OP_COUNT];

#define SIM_FAULTS_MAX 80 /* kinds of faults of one cloud; 0 is none */

/* What the parameter of a fault is, and so how it is drawn (sim_trouble.c). */
enum sim_param {
	PARAM_NONE,
	PARAM_LATE,   /* until an effect that was put off, mostly within the provider's lag */
	PARAM_LINGER, /* until an effect that was put off, some minutes */
	PARAM_SLOW,   /* until the answer */
	PARAM_PAST,   /* how old an answer is */
	PARAM_HUGE,   /* bytes */
};
struct sim_fault {
	bool fits;  /* it means something for this op */
	bool lie;   /* the answer is whole and untrue: the engine can only doubt it */
	bool plain; /* the answer's bytes are as without a fault */
	enum sim_param param;
};

/* What happens to a machine from outside. A cloud need not know all of them. */
enum sim_fate { FATE_VANISH, FATE_STOP, FATE_EXIT, FATE_OFFLINE, FATE_UNHEARD, FATE_BACK };

/* A machine when it came to be. */
struct sim_identity {
	char id[40], label[64], host[40]; /* host: where its SSH is, on one of these ports */
	int64_t ports[2], created_us;
	bool foreign;
};
/* A machine now, as the meter has it. */
struct sim_view {
	const char *status;
	bool alive, login;
	bool running;		    /* is called so */
	bool ill;		    /* ran, and is not called running */
	int64_t created_us;	    /* when it came, or will come, to be */
	int64_t price_u6;	    /* USD an hour while it runs */
	int64_t rate_u6, billed_u6; /* now; so far */
};
struct sim_entry { /* a request, in the cloud's journal */
	int64_t at_us;
	const char *method, *path; /* borrowed until the next request */
	bool early;		   /* refused because it came too soon */
};
/* What an answer says about a machine. */
enum sim_word { WORD_NONE, WORD_EXISTS, WORD_RATE /* and what it costs */ };

struct sim_call {
	enum http_method method;
	const char *path; /* '#': an instance's id */
	enum sim_op op;
};

/* A cloud: the state machine, and what the simulator must know about its wire. `at`: a machine's place in
 * the state machine, from 0 on. */
struct sim_cloud_kind {
	const char *name, *base_url, *image, *user; /* user: whom its machines let in */
	const char *key;
	const char *balance_id;	  /* NULL: none */
	const char *label_member; /* what stands before the label in a create */
	const struct sim_call *calls;
	size_t call_count;
	unsigned fault_kinds;
	int64_t destroy_us; /* so long at most it lives on after its DELETE was answered */
	struct provider *(*provider_new)(const struct account *account);
	void (*provider_free)(struct provider *p);
	void *(*make)(struct chance *c);
	void (*free)(void *cloud);
	void (*request)(void *cloud, int64_t now_us, const struct fake_http_request *q,
			struct fake_http_reply *out);
	size_t (*count)(const void *cloud); /* also those that will come to be */
	void (*meet)(void *cloud, int64_t now_us, size_t at, struct sim_identity *out); /* once */
	void (*view)(void *cloud, int64_t now_us, size_t at, struct sim_view *out);
	void (*keys)(void *cloud, int64_t now_us, size_t at, struct buf *out);

	const char *(*fault_name)(unsigned kind);
	struct sim_fault (*fault)(enum sim_op op, unsigned kind);
	void (*set_fault)(void *cloud, enum sim_op op, unsigned kind, int64_t param); /* once */
	void (*no_faults)(void *cloud);
	bool (*fate)(void *cloud, int64_t now_us, size_t at, enum sim_fate fate);
	void (*add_foreign)(void *cloud, int64_t now_us, const char *label); /* NULL: none */
	void (*set_key_dead)(void *cloud, bool dead);
	void (*set_credit)(void *cloud, int64_t now_us, int64_t credit_u6);
	void (*be_kind)(void *cloud); /* no faults, no chance, the truth */

	size_t (*journal_count)(const void *cloud);
	void (*journal)(const void *cloud, size_t i, struct sim_entry *out);
	bool (*violation)(const void *cloud, char *text, size_t size); /* the first; false: none */

	/* Of a whole answer: does it tell of machines at all? */
	bool (*speaks)(enum sim_op op, const struct fake_http_reply *r);
	bool (*is_whole_list)(const char *body);
	enum sim_word (*word)(const char *body, const char *id);
};
extern const struct sim_cloud_kind sim_vastai, sim_tensordock;
#define SIM_CLOUDS 2
extern const struct sim_cloud_kind *const sim_cloud_kinds[SIM_CLOUDS];
#define SIM_LISTS_LAG_US MINUTE_US /* so long at most until lists show a machine, unless they lie */
#define SIM_ALL_CLOUDS	 ((1u << SIM_CLOUDS) - 1)

struct sim_cloud {
	const struct sim_cloud_kind *kind;
	size_t number; /* in sim_cloud_kinds */
	void *state;
	struct provider *provider;
	int64_t weather[SIM_OP_COUNT]; /* chance of a fault for each op, in thousandths */
	unsigned always;	       /* every call has this fault; 0: as the weather is */
	unsigned list_lies, get_lies, open_https;
	size_t met;	     /* machines below this are in sim.machines */
	size_t journal_seen; /* entries of its journal that were judged */
};

/* ---- what the simulator remembers, and the engine does not see ---- */

/* A create that was handed to the network. */
struct sim_attempt {
	const struct sim_cloud *cloud;
	char label[64], session[40];
	int64_t sent_us, price_u6;
	unsigned list_lies; /* that were told before it */
};

struct sim_machine {
	struct sim_cloud *cloud;
	size_t at; /* its place there */
	char id[40], host[40];
	int64_t ports[2];
	size_t attempt; /* its create; SIZE_MAX: not ours */
	char session[40];
	bool told, told_running, told_gone; /* what the last answer about it said to the engine */
	bool died;			    /* was gone at some time, and may have come back */
	int64_t told_gone_us;
	int64_t ended_us;     /* since then it costs nothing by its record; 0: it does */
	unsigned deletes;     /* under way */
	int64_t denied_us;    /* the told_gone_us after which it lived all the same; 0: none */
	int64_t seen_rate_u6; /* USD an hour that the engine was told last */
	int64_t billed_u6;    /* by the meter, when we looked last */
	int64_t charged_n9;   /* nano-dollars that are no whole micro-dollar yet */
	int64_t unknown_u6;   /* what the books cannot know: see sim_money.c */
	int64_t stopped_us;   /* something stopped it, took it away or silenced it; 0 */
};

/* What each machine cost when an answer was made. */
struct sim_rate {
	int64_t rate_u6, price_u6;
	bool alive, running;
};

/* A session, by its id. */
struct sim_session {
	char id[40];
	enum session_state state;
	bool ran; /* people were told: running */
	bool end_ordered, held_once, bought, gone_promised;
	int64_t unknown_u6;
	int64_t cost_u6, hourly_u6; /* when the process died, and what an hour more would cost */
};

/* An order and its answer. */
struct sim_order {
	struct sim *s;
	const char *what; /* static */
	char session[40], name[24];
	unsigned process;
	int64_t asked_us;
	unsigned answers;
	int err;
};

/* Counted over all lives of a run: no row of the fault matrix may be without effect. */
struct sim_counts {
	uint64_t lives, events, requests, crashes, people, sessions, machines, running, receipts,
		braked, moved; /* moved: attempts at another cloud than the one before */
	uint64_t faults[SIM_CLOUDS][SIM_OP_COUNT][SIM_FAULTS_MAX];
	uint64_t troubles[64];
	int64_t settle_max_us;
};

struct sim {
	struct world w;
	struct policy p;
	struct engine *e;
	struct door door;
	struct sim_cloud clouds[SIM_CLOUDS];
	size_t cloud_count;

	uint64_t seed;
	struct chance own, people, trouble, net, boundary; /* own: the engine's */
	FILE *story;					   /* where it is told; NULL: nowhere */
	uint64_t hash;					   /* of everything that happened */
	char wrong[512];

	/* time */
	int64_t now_us; /* since the life began; the cloud's clock */
	int64_t wall_step_us, mono_base_us;
	struct sim_event *queue;
	size_t queued;
	uint64_t order;

	/* the process */
	unsigned process;   /* counts starts */
	bool dead;	    /* nothing of it has an effect any more */
	int64_t started_us; /* now_us */
	int64_t died_wall_us;
	int64_t crash_ppm;	       /* at each boundary of the journal and of HTTP */
	uint64_t boundaries, crash_at; /* so many were passed; the one to die at, 0: none */

	struct sim_disk disk;

	bool lying;	       /* complete answers of this life may be untrue */
	int64_t late_until_us; /* effects that were put off have come by then */
	bool beyond_lag;       /* ... and may come later than the provider's lag */
	bool lost_disk, clock_days, clock_stepped;
	bool braked; /* at some time lists were doubted */
	int64_t vanished_us;

	struct sim_attempt *attempts;
	size_t attempt_count, attempt_cap;
	struct sim_machine *machines;
	size_t machine_count, machine_cap;
	struct sim_session *sessions;
	size_t session_count, session_cap;
	struct sim_order *orders[512]; /* of this life */
	size_t order_count;
	int64_t watched_us; /* the meter was read */
	unsigned keys;	    /* made */
	bool dirty;	    /* the cloud or a record changed: look at all rules */

	struct sim_counts *counts;
};

/* The first violation; `what` is a sentence. Ends the life. */
void sim_wrong(struct sim *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* A line of the story: into the hash always, to stderr if it is told. */
void sim_tell(struct sim *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void sim_hash(struct sim *s, const void *data, size_t n);
void *sim_grow(void *array, size_t count, size_t *cap, size_t size);

/* ---- sim_net.c ---- */
void sim_net_world(struct world *w);

/* ---- sim_life.c ---- */
/* One whole life. False: s->wrong says what was violated. */
bool sim_life(struct sim *s, uint64_t seed, FILE *story, struct sim_counts *counts);
/* `clouds`: a bit for each of sim_cloud_kinds; 0: as the seed says. */
void sim_begin(struct sim *s, uint64_t seed, unsigned clouds, FILE *story,
	       struct sim_counts *counts);
void sim_start(struct sim *s);			     /* the process */
void sim_run_until(struct sim *s, int64_t end_us);   /* restarts what died */
void sim_settle(struct sim *s);			     /* or sim_wrong, after its limit */
void sim_end(struct sim *s);			     /* frees all but the struct */
void sim_boundary(struct sim *s, const char *where); /* the process may die here */
void sim_kill(struct sim *s, const char *where);     /* nothing after this has an effect */
#define SIM_SAFETY_MIN_US (15 * MINUTE_US)
#define SIM_SAFETY_MAX_US (105 * MINUTE_US)

/* ---- sim_people.c ---- */
void sim_person(struct sim *s);
/* One of them who wants a session of this name: the next order towards it (`spec`), or towards its end
 * (NULL). True: nothing is left to be ordered. */
bool sim_want(struct sim *s, const char *name, const char *spec);
void sim_orders_die(struct sim *s); /* the process died: nobody is answered any more */
void sim_orders_check(struct sim *s);
void sim_orders_free(struct sim *s);

/* ---- sim_standard.c ---- */
/* mkdir, spec, running, rmdir, receipt at these clouds, with nothing going wrong but one kill at the given
 * boundary of the journal or of HTTP. False: s->wrong. s->boundaries < at: there are no more. */
bool sim_standard_life(struct sim *s, unsigned clouds, uint64_t at, FILE *story,
		       struct sim_counts *counts);
/* The same at all clouds, of which this one fails from the beginning, or after a while. The others must be
 * as quick as ever. */
enum sim_failure { NEVER_ANSWERS, ANSWERS_503, REFUSES_THE_KEY, SIM_FAILURES };
bool sim_beside_life(struct sim *s, size_t failing, enum sim_failure how, bool later, FILE *story,
		     struct sim_counts *counts);

/* ---- sim_trouble.c ---- */
void sim_trouble(struct sim *s);
void sim_peace(struct sim *s);
/* The fault for the next call of op, set at the cloud; 0: none. */
unsigned sim_draw_fault(struct sim *s, struct sim_cloud *c, enum sim_op op);
/* Left out where it costs more than it teaches. */
bool sim_fault_never(enum sim_op op, const struct sim_fault *f);
size_t sim_trouble_count(void);
const char *sim_trouble_name(size_t i);

/* ---- sim_rules.c ---- */
void sim_rules_init(struct sim *s); /* the door */
struct sim_session *sim_session_of(struct sim *s, const char *id);
const struct session *sim_owner(const struct sim *s, const char *label, int64_t *attempt);
void sim_rules_create(struct sim *s, const struct sim_cloud *c, const char *label);
void sim_rules_delete(struct sim *s, const struct sim_cloud *c, const char *id);
void sim_delete_over(struct sim *s, const struct sim_cloud *c, const char *id); /* or lost */
void sim_rules_event(struct sim *s);   /* after every event */
void sim_rules_born(struct sim *s);    /* a process has read the journal */
void sim_machines_look(struct sim *s); /* new machines at the clouds */
static inline void sim_see(const struct sim *s, const struct sim_machine *m, struct sim_view *out)
{
	m->cloud->kind->view(m->cloud->state, s->now_us, m->at, out);
}

/* ---- sim_money.c ---- */
void sim_money_watch(struct sim *s); /* before every event, and whenever a rate may change */
/* A whole answer of c reached the engine: what it told. `plain`: it must be believed; else it depends on
 * the dialect whether it can be read, which shows in the record. */
void sim_money_told(struct sim *s, const struct sim_cloud *c, enum sim_op op, const char *id,
		    const struct sim_rate *rates, size_t rate_count,
		    const struct fake_http_reply *r, bool plain);
/* It came to be, somewhat before this look. */
void sim_money_exists(struct sim *s, struct sim_machine *m, const struct sim_view *v);
/* The engine knows by itself: a login worked. */
void sim_money_runs(struct sim *s, const struct session *of);
void sim_money_clock(struct sim *s, int64_t step_us);
void sim_money_die(struct sim *s);
void sim_money_born(struct sim *s);
void sim_money_audit(struct sim *s);

/* ---- sim_audit.c ---- */
bool sim_settled(struct sim *s, char *why, size_t size);
void sim_audit(struct sim *s);

#endif
