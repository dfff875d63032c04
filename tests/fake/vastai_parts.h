/*
 * Inside of the fake Vast.ai: what its files share. See vastai_fake.h for what it is.
 */
#ifndef FAKE_VASTAI_PARTS_H
#define FAKE_VASTAI_PARTS_H

#include <jansson.h>
#include <string.h>

#include "../../src/core/check.h"
#include "../../src/core/text.h"
#include "vastai_fake.h"

#define NEVER	    INT64_MAX
#define COLUMNS_MAX 200 /* columns of one row at most */

/* ---- values of columns: written into rows, compared by filters (vastai_filter.c) ---- */

enum value_kind { V_NULL, V_BOOL, V_INT, V_REAL, V_TEXT, V_RAW /* JSON text, never filtered */ };
struct value {
	enum value_kind kind;
	double num; /* BOOL, INT, REAL */
	const char *text;
};
struct column {
	const char *name;
	struct value v;
};
struct columns {
	struct column c[COLUMNS_MAX];
	size_t n;
	char text[8][320]; /* room for texts that had to be made */
	size_t texts;
};
void col_null(struct columns *c, const char *name);
void col_bool(struct columns *c, const char *name, bool v);
void col_int(struct columns *c, const char *name, int64_t v);
void col_real(struct columns *c, const char *name, double v);
void col_text(struct columns *c, const char *name, const char *v); /* NULL: null */
void col_raw(struct columns *c, const char *name, const char *json);
/* printf into the columns' own room. */
const char *col_print(struct columns *c, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
const struct value *col_find(const struct columns *c, const char *name);
void cols_json(struct buf *b, const struct columns *c); /* one object */

/* Is `filter` ({"field":{"op":value}}) a query of this shape; false: `why` has error and msg. */
struct filter_error {
	const char *code;
	char msg[200];
};
struct fakevast;
bool filter_check(struct fakevast *f, const json_t *filter, struct filter_error *why);
/* Does the row obey? Unknown columns are ignored, as the service does; `skip` holds one name that is
 * not looked at (to break a filter on purpose), or NULL. */
bool filter_match(const json_t *filter, const struct columns *row, const char *skip);
int value_compare(const struct value *a, const struct value *b);

/* ---- the market ---- */

struct gpu_model {
	const char *name;
	int ram_mb, compute_cap, watts;
	double usd, tflops, dlperf, mem_bw;
	bool amd;
};
struct machine_info {
	const struct gpu_model *gpu;
	int64_t machine_id, host_id, bundle_id;
	int num_gpus, machine_gpus;
	int64_t gpu_u6;	    /* dph_base, USD an hour of all GPUs of the offer */
	int64_t storage_u6; /* USD per GB and month */
	int64_t min_bid_u6;
	double disk_gb, reliability, inet_down, inet_up, cuda;
	int64_t duration_s;
	int ports, cores, cpu_ram_mb, verification; /* 1 verified, 0 un-, -1 deverified */
	const char *place;
	uint64_t quirks; /* bits decide what is null, float, padded */
	char ip[24];
};
struct fv_offer {
	int64_t id;
	struct machine_info m;
	bool rented, storage_only;
	int64_t back_us; /* listed again, under a new id, at this moment; NEVER: it is there */
};

/* ---- instances ---- */

enum actual {
	A_NULL,
	A_CREATED,
	A_LOADING,
	A_RUNNING,
	A_EXITED,
	A_STOPPED,
	A_FROZEN,
	A_REBOOTING,
	A_UNKNOWN,
	A_OFFLINE,
	A_COUNT
};
extern const char *const actual_names[A_COUNT];
enum intent { I_RUNNING, I_STOPPED, I_FROZEN, I_UNLOADED };
extern const char *const intent_names[4];

struct fv_key {
	int64_t id, from_us;
	char *line;
};
#define INST_EVENTS 16
enum inst_what {
	E_NONE,
	E_STATUS, /* another actual_status */
	E_STOP,	  /* it has exited, as ordered */
	E_OUTBID, /* the same without an order */
	E_GONE,
	E_CLOUD,  /* offline or unknown for a while */
	E_RETURN, /* heard again */
};
struct inst_event {
	int64_t at_us;
	enum inst_what what;
	enum actual status; /* E_STATUS, E_CLOUD (offline or unknown for a while) */
};
struct instance_port {
	int port, host_port;
	bool udp;
};
struct fv_instance {
	int64_t id, offer_id;
	struct machine_info m;
	char label[260], image[1100], runtype[64], onstart_shown[260], text[200];
	bool label_null, foreign, bid, deleted, vanished;
	bool no_login, deaf, proxy_only, stuck;
	enum actual actual, before; /* before: what it goes back to */
	enum intent intended, cur;
	int64_t disk_gb, gpu_u6, disk_u6, min_bid_u6;	   /* per hour */
	int64_t created_us, gone_us, running_us, shown_us; /* -1: not yet */
	int64_t rate_u6, since_us;
	__int128 billed; /* micro-dollars an hour times microseconds */
	int64_t gpu_us;
	struct inst_event events[INST_EVENTS];
	size_t event_count;
	struct fv_key *keys;
	size_t key_count;
	char ssh_host[64];
	int proxy_port, direct_port; /* 0: not known yet */
	struct instance_port ports[64];
	size_t port_count;
	char *env; /* JSON array of pairs */
	char template_hash[40];
	int64_t returns_us; /* resurrection; NEVER */
};

/* A create or a DELETE whose effect comes later than its answer. */
struct pending {
	int64_t at_us, offer_id, instance_id;
	json_t *body; /* of a create */
};

struct fault {
	enum fakevast_op op;
	enum fakevast_fault_kind kind;
	int64_t param, count, ppm;
};

struct random {
	uint64_t state;
};
uint64_t random_next(struct random *r);
int64_t random_below(struct random *r, int64_t n); /* 0 for n < 1 */
bool random_hit(struct random *r, int64_t ppm);

struct spacing {
	int64_t last_us, blocked_us;
	int64_t window[16]; /* of endpoints with a cap in a period */
	size_t window_next;
};

struct fakevast {
	struct fakevast_config c;
	char key[80], redirect[200];
	bool key_dead, kind;
	int64_t now_us, credit_from_us, rate_sum_u6; /* of all that live, foreign ones too */
	__int128 credit_left; /* micro-dollars times microseconds of an hour, as `billed` */
	bool broke;	      /* credit was used up, what ran was stopped */
	struct random rnd_market, rnd_sample, rnd_boot, rnd_fault, rnd_reply;

	struct fv_offer *offers;
	size_t offer_count;
	int64_t next_offer, next_instance, next_key;
	struct fv_instance **instances;
	size_t instance_count;
	struct fv_key *account_keys;
	size_t account_key_count;
	struct pending *pending;
	size_t pending_count;
	struct fault *faults;
	size_t fault_count;

	struct spacing *spacing; /* one a route */
	int64_t burst_from_us, burst_count, burst_until_us;
	unsigned turn_429, turn_stale, turn_gone, turn_get;

	struct fakevast_entry *journal;
	size_t journal_count, journal_cap;
	struct fakevast_violation *violations;
	size_t violation_count;
	char **labels; /* of all creates that ever came */
	size_t label_count;
	int64_t requests, throttled, created;
	int64_t calls[FV_OP_COUNT];
};

/* ---- a call while it is answered ---- */

struct ctx {
	struct fakevast *f;
	const struct fake_http_request *q;
	struct fake_http_reply *out;
	struct fakevast_entry *entry; /* index kept in the journal: pointer valid for this call */
	const struct route *route;
	int64_t id, id2;   /* numbers of the path */
	const char *query; /* behind '?', "" if none */
	char path[512];
	json_t *body; /* NULL: none or not JSON */
	enum fakevast_fault_kind fault;
	int64_t param;
	char text[1200]; /* room for a query parameter */
};

enum auth_style { AUTH_401, AUTH_404, AUTH_DETAIL, AUTH_OPEN /* works without a key */ };
struct route {
	const char *method, *pattern; /* '#': a number */
	enum fakevast_op op;
	int64_t spacing_us, penalty_us;
	int cap_per_minute; /* 0: none */
	enum auth_style auth;
	bool no_slash; /* documented without the slash at its end */
	void (*serve)(struct ctx *x);
};
extern const struct route fakevast_routes[];
extern const size_t fakevast_route_count;

/* Answers. */
void say(struct ctx *x, int status, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* {"success":false,"error":code,"msg":...}; code NULL: without. */
void refuse(struct ctx *x, int status, const char *code, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
void html(struct ctx *x, int status, const char *title);
void say_auth(struct ctx *x, enum fakevast_fault_kind why);
void violate(struct ctx *x, const char *rule, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void violate_at(struct fakevast *f, const char *rule, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* Decoded query parameter, or NULL. */
const char *param(struct ctx *x, const char *name);
bool query_only(struct ctx *x, const char *const *names); /* others are violations */
/* The body as an object whose members are all in `names` (NULL-ended); else answered, false. */
bool body_only(struct ctx *x, const char *const *names);
bool fault_is(const struct ctx *x, enum fakevast_fault_kind k);
int64_t fault_param(const struct ctx *x, int64_t otherwise);
int64_t scaled(const struct fakevast *f, int64_t us); /* a documented duration */

/* Handlers, by file. */
void serve_search(struct ctx *x);
void serve_search_asks(struct ctx *x);
void serve_create(struct ctx *x);
void serve_list(struct ctx *x);
void serve_list_v0(struct ctx *x);
void serve_get(struct ctx *x);
void serve_manage(struct ctx *x);
void serve_start_many(struct ctx *x);
void serve_destroy(struct ctx *x);
void serve_bid(struct ctx *x);
void serve_reboot(struct ctx *x);
void serve_attach(struct ctx *x);
void serve_detach(struct ctx *x);
void serve_instance_keys(struct ctx *x);
void serve_keys(struct ctx *x);
void serve_account(struct ctx *x);
void serve_templates(struct ctx *x);
void serve_charges(struct ctx *x);
void serve_invoices(struct ctx *x);
void serve_filters(struct ctx *x);
void serve_increases(struct ctx *x);
void serve_logs(struct ctx *x);
void serve_volumes(struct ctx *x);
bool template_known(const char *hash);

/* Market. */
void market_make(struct fakevast *f, size_t n);
void market_unmake(struct fakevast *f);
struct fv_offer *market_find(struct fakevast *f, int64_t id);
void market_withdraw(struct fakevast *f, struct fv_offer *o); /* comes back under a new id */
void market_release(struct fakevast *f, int64_t machine_id);
void market_advance(struct fakevast *f);
int64_t market_due_us(const struct fakevast *f);
int64_t storage_hour_u6(int64_t storage_month_u6, int64_t gb);

/* Instances. */
struct fv_instance *instance_find(struct fakevast *f, int64_t id); /* visible to a get */
struct fv_instance *instance_any(struct fakevast *f, int64_t id);
struct fv_instance *instance_new(struct fakevast *f, const struct machine_info *m);
void instance_boot(struct fakevast *f, struct fv_instance *i); /* schedules its life */
void instance_stop(struct fakevast *f, struct fv_instance *i);
void instance_start(struct fakevast *f, struct fv_instance *i, int64_t delay_us);
void instance_gone(struct fakevast *f, struct fv_instance *i);
bool instance_alive(const struct fv_instance *i);
void instance_event(struct fv_instance *i, int64_t at_us, enum inst_what what, enum actual status);
void instance_rate(struct fakevast *f, struct fv_instance *i); /* after a change of status */
void instance_step(struct fakevast *f, struct fv_instance *i); /* what is due by now */
int64_t instance_next_us(const struct fv_instance *i);
void instance_key(struct fakevast *f, struct fv_instance *i, const char *line, int64_t from_us);
void instance_columns(const struct fakevast *f, const struct fv_instance *i, struct columns *c,
		      struct buf *room);
void instance_free(struct fv_instance *i);
void settle_credit(struct fakevast *f, int64_t now_us);
void bill(const struct fakevast *f, struct fv_instance *i); /* up to f->now_us */
int64_t billed_u6(const struct fv_instance *i);
void create_note(struct ctx *x); /* before anything else is looked at */
/* Carries out the create of a checked body; the new instance, NULL: the offer is gone. */
struct fv_instance *create_effect(struct fakevast *f, int64_t offer_id, const json_t *body);
void destroy_effect(struct fakevast *f, struct fv_instance *i, int64_t after_us);

/* Faults. */
enum fakevast_fault_kind fault_draw(struct fakevast *f, enum fakevast_op op, int64_t *param);
bool fault_before(struct ctx *x); /* true: answered, nothing is to be done */
void fault_after(struct ctx *x);
void say_429(struct ctx *x, int shape);

/* Growth of arrays; stops when memory is out. */
void *grow(void *array, size_t count, size_t size);
char *copy_of(const char *s);

#endif
