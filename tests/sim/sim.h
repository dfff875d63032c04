/*
 * The simulator: core/, engine/ and a dialect run unchanged in a virtual world (struct world over
 * virtual time, a disk, a network, the state machine of a cloud from tests/fake), while random people
 * order and random things go wrong (faults.md, The simulator). The same seed gives the same life, byte
 * for byte. A *life* has three parts: safety (people and faults for simulated hours), liveness (faults
 * stop, everything must settle within a stated time), audit (what lives and what it cost against the
 * cloud's meter, which the engine never sees).
 *
 *	sim_time.c    events, clocks, timers, chance    sim_people.c  orders, and that each is answered
 *	sim_disk.c    the journal                       sim_trouble.c what goes wrong: the fault matrix
 *	sim_net.c     HTTP, SSH, workers                sim_rules.c   what must hold after every event
 *	sim_life.c    processes, phases                 sim_money.c   the meter and the books
 *	sim_standard.c  one life, killed at each boundary  sim_audit.c what must hold in the end
 *	test_sim.c    runs many, replays one
 *
 * A violation is noted once (sim_wrong) and ends the life; test_sim.c prints the command that replays
 * it as a story. One thread; many lives may run in one process one after another.
 */
#ifndef GPUFS_TESTS_SIM_H
#define GPUFS_TESTS_SIM_H

#include <stdio.h>

#include "../../src/core/check.h"
#include "../../src/engine/engine.h"
#include "../fake/vastai_fake.h"

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

/* ---- what the simulator remembers, and the engine does not see ---- */

/* A create that was handed to the network. */
struct sim_attempt {
	char label[64], session[40];
	int64_t sent_us, price_u6;
	unsigned list_lies; /* that were told before it */
};

/* A machine at the cloud, by its place in fakevast_view. */
struct sim_machine {
	int64_t id;
	size_t attempt; /* its create; SIZE_MAX: not ours */
	char session[40];
	bool told, told_running, told_gone; /* what the last answer about it said to the engine */
	bool died;			    /* was gone at some time, and may have come back */
	int64_t told_gone_us;
	int64_t denied_us;    /* the told_gone_us after which it lived all the same; 0: none */
	int64_t seen_rate_u6; /* USD an hour that the engine was told last */
	int64_t billed_u6;    /* by the meter, when we looked last */
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
		braked;
	uint64_t faults[FV_OP_COUNT][FVF_COUNT];
	uint64_t troubles[64];
	int64_t settle_max_us;
};

struct sim {
	struct world w;
	struct policy p;
	struct provider *provider;
	struct provider *providers[1];
	struct engine *e;
	struct door door;
	struct fakevast *cloud;

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
	unsigned open_https;

	struct sim_disk disk;

	/* weather: chance of a fault for each op, in thousandths */
	int64_t weather[FV_OP_COUNT];
	bool lying; /* complete answers of this life may be untrue */
	unsigned list_lies, get_lies;
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
	int64_t watched_us;  /* the meter was read */
	size_t journal_seen; /* entries of the cloud's journal that were judged */
	unsigned keys;	     /* made */
	bool dirty;	     /* the cloud or a record changed: look at all rules */

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
void sim_begin(struct sim *s, uint64_t seed, FILE *story, struct sim_counts *counts);
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
/* One of them who wants a session of this name: the next order towards it, or towards its end. True:
 * nothing is left to be ordered. */
bool sim_want(struct sim *s, const char *name, bool gone);
void sim_orders_die(struct sim *s); /* the process died: nobody is answered any more */
void sim_orders_check(struct sim *s);
void sim_orders_free(struct sim *s);

/* ---- sim_standard.c ---- */
/* mkdir, spec, running, rmdir, receipt, with nothing going wrong but one kill at the given boundary of
 * the journal or of HTTP. False: s->wrong. s->boundaries < at: there are no more. */
bool sim_standard_life(struct sim *s, uint64_t at, FILE *story, struct sim_counts *counts);

/* ---- sim_trouble.c ---- */
void sim_trouble(struct sim *s);
void sim_peace(struct sim *s);
/* The fault for the next call of op, set at the cloud. */
enum fakevast_fault_kind sim_draw_fault(struct sim *s, enum fakevast_op op);
size_t sim_trouble_count(void);
const char *sim_trouble_name(size_t i);

/* ---- sim_rules.c ---- */
void sim_rules_init(struct sim *s); /* the door */
struct sim_session *sim_session_of(struct sim *s, const char *id);
const struct session *sim_owner(const struct sim *s, const char *label, int64_t *attempt);
void sim_rules_create(struct sim *s, const char *label);
void sim_rules_delete(struct sim *s, int64_t id);
void sim_rules_event(struct sim *s);   /* after every event */
void sim_rules_born(struct sim *s);    /* a process has read the journal */
void sim_machines_look(struct sim *s); /* new machines at the cloud */

/* ---- sim_money.c ---- */
void sim_money_watch(struct sim *s); /* before every event, and whenever a rate may change */
/* A whole answer reached the engine: what it told. `plain`: it must be believed; else it depends on the
 * dialect whether it can be read, which shows in the record. */
void sim_money_told(struct sim *s, enum fakevast_op op, int64_t id, const struct sim_rate *rates,
		    size_t rate_count, const struct fake_http_reply *r, bool plain);
/* It came to be, somewhat before this look. */
void sim_money_exists(struct sim *s, struct sim_machine *m, const struct fakevast_view *v);
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
