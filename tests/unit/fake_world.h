/*
 * A virtual world for the real engine: a clock that only tests move, a journal in memory that can
 * be slow, full, or lose everything after a crash, a provider with a billing meter that the engine
 * never sees except through its calls. One thread, no waiting, the same seed gives the same run.
 */
#ifndef GPUFS_TESTS_FAKE_WORLD_H
#define GPUFS_TESTS_FAKE_WORLD_H

#include "../../src/engine/engine.h"

#define MACHINES_MAX 64
#define ROWS_MAX     256

/* What the fake cloud does with the next create, destroy or list. Effect and answer are separate.
 */
enum fake_answer { ANSWER_OK, ANSWER_NO, ANSWER_LOST, ANSWER_LATER, ANSWER_STALE };

struct machine {
	char label[64];
	bool alive;
	int64_t born_us, died_us;
	int64_t boots_us; /* when it says running */
};

struct fake {
	struct world w;
	struct policy p;
	struct provider provider;
	struct provider *providers[1];
	struct engine *e;
	int64_t now_us;
	uint64_t seed;
	struct fake_event *queue;
	uint64_t order;

	/* the disk */
	struct journal_op disk[ROWS_MAX];
	size_t disk_rows;
	int64_t disk_delay_us;
	int disk_err; /* every write fails with it */
	bool ballast;
	unsigned writes;

	/* the cloud */
	struct machine machines[MACHINES_MAX];
	size_t machine_count;
	int offers;
	int64_t price_u6, boot_us, call_delay_us;
	enum fake_answer create_answer, destroy_answer, list_answer, look_answer;
	bool create_effect, destroy_effect;
	bool list_empty; /* complete, and lies */
	unsigned creates, destroys, lists, looks, double_creates;

	/* SSH */
	enum probe_verdict probe_verdict;
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
/* Run until the session reaches the state, or for at most `us`. */
bool fake_until(struct fake *f, const char *name, enum session_state s, int64_t us);
size_t fake_alive(const struct fake *f);
int64_t fake_meter_us(const struct fake *f, const char *label);

extern const struct caller alice, bob, root_user;
void fake_answered(void *arg, int err, const struct error *why); /* an order_cb; arg: the fake */
int fake_mkdir(struct fake *f, const char *name);		 /* and run until answered */
int fake_spec(struct fake *f, const char *name,
	      const char *text); /* set, close, run until answered */
int fake_rmdir(struct fake *f, const char *name);
int fake_ctl(struct fake *f, const char *name, const char *line);
const struct session *fake_get(const struct fake *f, const char *name);

#endif
