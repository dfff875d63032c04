/*
 * The inside of --orphans, shared by orphans*.c only.
 *	orphans.c       lists, what is whose, the order of things
 *	orphans_end.c   destroying, with a look before and after
 *	orphans_show.c  as a table, as JSON
 */
#ifndef GPUFS_ORPHANS_PARTS_H
#define GPUFS_ORPHANS_PARTS_H

#include "core/session.h"
#include "io/io.h"
#include "online.h"

enum machine_end {
	ENDED_NOT_TRIED = 0,
	ENDED_GONE,	   /* destroyed, and a direct query says that it is gone */
	ENDED_GONE_BEFORE, /* it was gone when we looked */
	ENDED_UNCONFIRMED, /* DELETE was accepted, and it is still shown */
	ENDED_SPARED,	   /* at a second look it was not what the list had shown */
	ENDED_REFUSED,	   /* it could not be destroyed */
	ENDED_COUNT
};
extern const char *const machine_end_names[ENDED_COUNT];

enum machine_step { STEP_LOOK_BEFORE, STEP_DELETE, STEP_LOOK_AFTER };

/* A machine that carries a mark like ours and is not a known session's. */
struct machine {
	struct hunt *h;
	size_t at; /* which cloud */
	char id[96], label[64];
	enum instance_status status;
	int64_t price_u6, created_us;
	bool verified; /* the mark is ours; below: only then */
	enum mark mark;
	char session[40], name[NAME_MAX_LEN + 1]; /* name "": no such session */
	int64_t attempt;

	enum machine_end end;
	char text[256]; /* why */
	/* While it is being destroyed: */
	struct timer *timer;
	enum machine_step step;
	unsigned tries;
	bool unsure, stands; /* what became of the DELETE; a look after it shows the machine */
	int64_t deadline_us; /* monotonic */
};

/* What one cloud's list held. */
struct place {
	bool complete;
	char text[256];
	size_t machines, known,
		foreign; /* foreign: no valid mark of ours, whatever it looks like */
};

struct hunt {
	const struct options *options;
	const struct settings *settings;
	const struct policy *policy;
	char deployment[16];
	unsigned char label_key[32]; /* wiped at the end */
	struct online online;
	struct store_books books;
	struct place places[CONFIGURED_MAX];
	struct machine *machines;
	size_t count, cap;
	char refusal[480]; /* why nothing was destroyed though it was asked for; "" */
};

/* May it be destroyed by this command? */
bool machine_condemned(const struct machine *m);
/* Whose is it, by the books as they were read last? */
void machine_judge(struct machine *m);
const char *machine_kind(const struct machine *m);

/* Destroy what is condemned, all at once; each has an end when this returns. */
void hunt_destroy(struct hunt *h);

void hunt_table(const struct hunt *h, struct buf *out);	  /* what was found */
void hunt_outcome(const struct hunt *h, struct buf *out); /* what became of it */
void hunt_json(const struct hunt *h, struct buf *out);

#endif
