/*
 * An offer: one machine that a provider would rent now. Plain data, immutable once it is in an
 * inventory. Absent is not zero: every optional number has a value that means "unknown".
 */
#ifndef GPUFS_CORE_OFFER_H
#define GPUFS_CORE_OFFER_H

#include "text.h"

#define OFFER_ID_MAX 96

/* What a machine is to have beyond its GPUs; UNKNOWN: the provider's default, or no choice. */
struct shape {
	int64_t disk_gb, vcpus, ram_gb;
};

/* One of these parts in an offer. */
struct part {
	int64_t size;	 /* that price_u6 counts; 0: the part costs nothing */
	int64_t rate_u9; /* 10^-9 USD per GB (or vCPU) and hour; 0: nothing */
	int64_t max;	 /* or UNKNOWN */
};

/* How a machine is reached, where a create has to choose: bits. */
enum reach {
	REACH_FORWARD = 1, /* ports of its host are forwarded to it */
	REACH_ADDRESS = 2, /* it has a public address of its own */
};

struct offer {
	char id[OFFER_ID_MAX]; /* "local-gpu0"; [A-Za-z0-9._=,+-] only */
	char provider[24];     /* "local" */
	char provider_id[72];  /* the provider's own id of it */
	char gpu_type[64];     /* "RTX 4090"; "CPU" where there is none */
	char location[64];     /* "" unknown */
	char machine_id[48];   /* "" unknown */
	int64_t gpu_count;
	int64_t vram_gb;	    /* per GPU, nominal GB */
	int64_t price_u6;	    /* all-in USD an hour at the default shape */
	int64_t min_bid_u6;	    /* lowest bid, where the provider tells; UNKNOWN */
	int64_t reliability_m;	    /* thousandths, 0..1000, or UNKNOWN */
	int64_t confidence_m;	    /* availability_confidence in thousandths, 0..1000 */
	int64_t max_duration_hours; /* or UNKNOWN */
	int64_t cuda_m;		    /* CUDA version times 1000 ("12.4" -> 12400), or UNKNOWN */
	bool available, interruptible;
	struct part disk, vcpus, ram; /* what another shape costs */
	unsigned reach;		      /* of enum reach: there is a choice; 0: none */
	int64_t ports_max;	      /* that can be mapped, SSH's own among them; or UNKNOWN */
};

/* How a value reads in info.json, in schema.json and on the manual page. */
enum value_type { V_TEXT, V_INT, V_DECIMAL, V_MONEY, V_BOOL, V_TIME, V_TABLE, V_JSON, V_LINK };

/* The offer's values as a table: the files of inventory/OFFER/, the columns of search tables. */
struct offer_field {
	const char *name, *unit, *doc;
	enum value_type type;
	void (*show)(const struct offer *o, struct buf *out); /* no newline; nothing = unknown */
	size_t at, size;				      /* of the value in struct offer */
};
extern const struct offer_field offer_fields[];
extern const size_t offer_field_count;

/* Its row of search/QUERY/table.tsv: the id and every field, tab separated; no newline. */
void offer_put_tsv(const struct offer *o, struct buf *out);
/* One object, with its id, without what is unknown; no newline. */
void offer_put_json(const struct offer *o, struct buf *out);
/* One value as JSON by its type: numbers and booleans bare if they are such, else a string. */
void put_json_value(struct buf *out, enum value_type type, const char *s, size_t n);
/* `"name":` with a comma in front unless it is the first of the object. */
void put_json_key(struct buf *out, const char *name);

/* All-in price for another shape, rounded up; UNKNOWN if the machine has not so much. What is UNKNOWN in
 * the shape: as price_u6 counts it. */
int64_t offer_price(const struct offer *o, const struct shape *shape);
/* The first part that the offer has not so much of: its name, what was asked for and the most there is. */
struct shape_excess {
	const char *key, *unit; /* "disk_gb", " GB"; NULL: it fits */
	int64_t asked, max;
};
struct shape_excess offer_lacks(const struct offer *o, const struct shape *shape);

/* What is printed on the box: drivers show up to 1/16 less (ECC), so 23028 MB are 24 GB, and 15360 MB
 * are 16. Between the sizes that exist, the next one if it is at most 7.5 % away; else rounded. 0 for
 * what is not positive. mb: at most 2^40. */
int64_t vram_nominal_gb(int64_t mb);

/* Bit i set: field i of offer_fields reads differently; OFFER_TERMS: what no field shows, another shape's
 * price or how a machine is reached. */
#define OFFER_TERMS (UINT64_C(1) << 63)
uint64_t offer_diff(const struct offer *a, const struct offer *b);

#endif
