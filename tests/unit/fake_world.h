/*
 * A virtual world for the real engine: a clock that only tests move, a journal in memory that can
 * be slow, full, or lose everything after a crash, a provider with a billing meter that the engine
 * never sees except through its calls. One thread, no waiting, the same seed gives the same run.
 */
#ifndef GPUFS_TESTS_FAKE_WORLD_H
#define GPUFS_TESTS_FAKE_WORLD_H

#include "../../src/engine/engine.h"

#define MACHINES_MAX 128
#define ROWS_MAX     256

/* What the fake cloud does with the next create, destroy or list. Effect and answer are separate.
 */
enum fake_answer {
	ANSWER_OK,
	ANSWER_NO,
	ANSWER_LOST,
	ANSWER_LATER,
	ANSWER_STALE,
	ANSWER_MONEY,
	ANSWER_KEY
};

struct machine {
	char label[64], id[96];
	bool alive;
	int64_t born_us, died_us;    /* born later than now: an effect that is still to come */
	int64_t boots_us;	     /* when it says running */
	unsigned keys;		     /* attached */
	enum instance_status forced; /* says this, whatever the clock; 0: nothing forced */
	int64_t price_u6;
	int64_t paid_us, meter_u6; /* its meter, and until when it was read */
	unsigned reach;		   /* that its create asked for */
};

/* What the test's server says to one HTTP request; a whole reply with status 200 and no body before
 * it is asked. The body is copied. */
struct fake_reply {
	int status;  /* 0: no whole reply */
	bool unsent; /* of status 0: provably nothing left */
	const char *body;
	int64_t delay_us; /* beyond the request's time-out: status 0, sent */
	int64_t retry_after_us, date_us;
};

struct fake {
	struct world w;
	struct policy p;
	struct provider provider;
	struct provider *providers[1];
	struct engine *e;
	int64_t now_us, wall_step_us; /* the wall clock is set off by so much */
	/* Every look at the monotonic clock takes so long: what bounds its turns by it can be seen. */
	int64_t look_us, looked_us;
	uint64_t seed;
	struct fake_event *queue;
	uint64_t order;

	/* the disk */
	struct journal_op disk[ROWS_MAX];
	size_t disk_rows;
	int64_t disk_delay_us, disk_done_us; /* when the last write that was asked for lands */
	int disk_err;			     /* every write fails with it */
	bool ballast;
	unsigned writes;

	/* the cloud */
	struct machine machines[MACHINES_MAX];
	size_t machine_count;
	int offers;
	int64_t price_u6, boot_us, call_delay_us;
	enum fake_answer create_answer, destroy_answer, list_answer, look_answer, attach_answer;
	bool create_effect, destroy_effect;
	bool create_tells_id; /* whatever its verdict */
	const char *account;  /* what it says to CALL_ACCOUNT; NULL: nothing */
	bool list_empty;      /* complete, and lies */
	bool list_cut;	   /* the last row is missing, and the list says that it is not complete */
	int64_t queue_us;  /* what a create waits before it is sent */
	int64_t late_us;   /* between a create and its effect */
	int64_t charge_u6; /* an hour; UNKNOWN: the offer's price */
	unsigned creates, destroys, lists, looks, double_creates, attaches, withdrawn;
	/* Of a provider like the clouds (fake_cloudlike): */
	struct dialect dialect;
	int64_t list_lag_us; /* lists show creates and deletions so late */
	bool bids;	     /* its offers are bid for */
	unsigned reach;	     /* that its offers have */
	unsigned reach_refused,
		reach_ignored; /* creates are refused for it; machines have it not */
	bool own_ports;	       /* machines tell no mapped ports */

	/* HTTP (fake_http.c). NULL: nobody listens, nothing is sent */
	void (*serve)(struct fake *f, const struct http_args *args, struct fake_reply *reply);
	unsigned https_open, works;
	int64_t work_us; /* what a worker takes */

	/* SSH */
	enum probe_verdict probe_verdict;
	int64_t probe_us; /* how long a login takes */
	unsigned probes;

	/* answers to orders */
	int answered, last_err;
	struct error last_why;
};

void fake_init(struct fake *f);
void fake_start(struct fake *f); /* engine_new, load the disk, engine_start */
void fake_crash(struct fake *f); /* kill -9: forget everything but disk and cloud, then start */
void fake_free(struct fake *f);
void fake_run(struct fake *f, int64_t us); /* let time pass */
bool fake_step(struct fake *f);		   /* the next event; false: none */
/* An event of the test's own; `drop` frees arg if it never comes (NULL: nothing to free). */
struct fake_event *fake_later(struct fake *f, int64_t delay_us,
			      void (*run)(struct fake *f, void *arg), void (*drop)(void *arg),
			      void *arg);
void fake_forget(struct fake *f, struct fake_event *ev); /* it will not come; arg is the caller's */
void fake_drop(struct fake *f);				 /* all events that have not come */

/* ---- fake_http.c: the world's HTTP and its worker, in virtual time ---- */
struct http_send *fake_http(void *self, const struct http_args *args, http_cb cb, void *arg);
void fake_http_cancel(void *self, struct http_send *h);
void fake_work(void *self, void (*run)(void *arg), void (*done)(void *arg), void *arg);

/* Run until the session reaches the state, or for at most `us`. */
bool fake_until(struct fake *f, const char *name, enum session_state s, int64_t us);
size_t fake_alive(const struct fake *f);
int64_t fake_meter_us(const struct fake *f, const char *label);

/* ---- fake_cloud.c: the provider ---- */
/* Before fake_start: it has ids of its own, wants keys attached, shows everything in lists, charges by
 * status, and its lists may lag for ten minutes. */
void fake_cloudlike(struct fake *f);
void fake_act(struct provider *p, struct world *w, const struct call *call, result_cb cb,
	      void *arg);
struct machine *fake_machine(struct fake *f, const char *label); /* NULL: none of that label */
/* A machine that nobody ordered through an engine. */
struct machine *fake_plant(struct fake *f, const char *session_id, int64_t attempt);
void fake_kill(struct fake *f, struct machine *m);
/* From now on it says so, and costs accordingly; 0: what the clock says. */
void fake_force(struct fake *f, struct machine *m, enum instance_status status);
int64_t fake_meter_u6(struct fake *f, const char *session_id); /* of all its machines */
enum probe_verdict fake_login(struct fake *f, const char *host);

extern const struct caller alice, bob, root_user;
void fake_answered(void *arg, int err, const struct error *why); /* an order_cb; arg: the fake */
int fake_mkdir(struct fake *f, const char *name);		 /* and run until answered */
int fake_spec(struct fake *f, const char *name,
	      const char *text); /* set, close, run until answered */
int fake_rmdir(struct fake *f, const char *name);
int fake_ctl(struct fake *f, const char *name, const char *line);
const struct session *fake_get(const struct fake *f, const char *name);

#endif
