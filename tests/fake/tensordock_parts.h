/*
 * Inside of the fake TensorDock: what its files share. See tensordock_fake.h.
 *	tensordock_fake.c    life, books, what is asked by tests    tensordock_market.c   locations
 *	tensordock_create.c  what a create must be		    tensordock_calls.c	  requests, faults
 *	tensordock_vms.c     machines: status, addresses, bills	    tensordock_control.c  the control language
 */
#ifndef FAKE_TENSORDOCK_PARTS_H
#define FAKE_TENSORDOCK_PARTS_H

#include <jansson.h>
#include <string.h>

#include "../../src/core/check.h"
#include "../../src/core/text.h"
#include "tensordock_fake.h"

#define NEVER	     INT64_MAX
#define FORWARDS_MAX 64
#define DISK_U6	     50 /* USD per GB and hour, 10^-6 */
#define VCPU_U6	     3000
#define RAM_U6	     2000

struct td_row { /* a model at a location */
	char location[40];
	const char *city, *state, *country, *model, *display;
	int tier;
	int64_t most, gpu_u6, vcpus, ram_gb, disk_gb;
	bool address, forwards;
};

struct td_vm {
	int64_t number;
	char id[40], name[128], ip[40];
	bool foreign, address, ignored_forwards, no_login;
	const struct td_row *row; /* NULL: foreign */
	int64_t gpus, vcpus, ram_gb, disk_gb, price_u6;
	int64_t created_us, run_us, address_us, login_us; /* NEVER: not at all */
	int64_t stop_us, deleted_us, gone_us;		  /* likewise */
	const char *boot_word, *run_word, *stop_word;
	char *keys; /* of `user`, lines; NULL: none */
	int forward_count;
	int inside[FORWARDS_MAX], outside[FORWARDS_MAX];
};

struct td_fault {
	enum faketd_op op;
	enum faketd_fault_kind kind;
	int64_t param, count, ppm;
};

struct faketd {
	struct faketd_config c;
	struct td_row *rows;
	size_t row_count;
	struct td_vm **vms;
	size_t vm_count;
	struct td_fault *faults;
	size_t fault_count;
	struct faketd_entry *journal;
	size_t journal_count;
	struct faketd_violation *violations;
	size_t violation_count;
	int64_t calls[FT_OP_COUNT], throttled, created, turn;
	int64_t recent[100]; /* when the last requests came, a ring */
	size_t recent_at;
	uint64_t random;
	bool key_dead;
};

/* One request being answered. */
struct td_call {
	struct faketd *f;
	int64_t now_us;
	const struct fake_http_request *q;
	struct fake_http_reply *out;
	enum faketd_op op;
	enum faketd_fault_kind fault;
	int64_t param;
	char id[100];	  /* in the path */
	const char *verb; /* behind it */
	char name[64];	  /* of a create */
};

uint64_t td_random(struct faketd *f);
int64_t td_below(struct faketd *f, int64_t n);
bool td_chance(struct faketd *f, int64_t ppm);
void td_violate(struct td_call *x, const char *rule, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* Take `body` and answer with it. */
void td_answer(struct td_call *x, int status, json_t *body);
void td_error(struct td_call *x, int status, const char *text);	    /* {"error":…} */
void td_error_200(struct td_call *x, int status, const char *text); /* with a status in the body */

/* tensordock_market.c */
void td_market_make(struct faketd *f, size_t n);
void td_search(struct td_call *x);
const struct td_row *td_row_find(const struct faketd *f, const char *location, const char *model);
bool td_location_known(const struct faketd *f, const char *location);
int64_t td_row_most(const struct faketd *f, const struct td_row *r, int64_t now_us);

/* tensordock_create.c */
void td_create(struct td_call *x);

/* tensordock_vms.c */
struct td_vm *td_vm_new(struct faketd *f, const char *name, int64_t at_us);
struct td_vm *td_vm_find(const struct faketd *f, const char *id);
bool td_vm_alive(const struct td_vm *v, int64_t now_us);
const char *td_vm_status(const struct td_vm *v, int64_t now_us);
bool td_vm_login(const struct td_vm *v, int64_t now_us);
int64_t td_vm_rate_u6(const struct td_vm *v, int64_t now_us);
int64_t td_vm_billed_u6(const struct td_vm *v, int64_t now_us);
int64_t td_credit_u6(const struct faketd *f, int64_t now_us);
void td_list(struct td_call *x);
void td_get(struct td_call *x);
void td_destroy(struct td_call *x);
void td_manage(struct td_call *x);

/* tensordock_calls.c */
enum faketd_fault_kind td_fault_draw(struct faketd *f, enum faketd_op op, int64_t *param);

#endif
