/*
 * Inside the dialect of TensorDock only: what its files share.
 *	tensordock.c		requests, the table, the provider
 *	tensordock_reply.c	replies: verdicts, and what is neither offers nor machines
 *	tensordock_offers.c	locations, names of GPUs, what a shape costs there
 *	tensordock_instances.c	machines, their status and addresses
 */
#ifndef GPUFS_TENSORDOCK_PARTS_H
#define GPUFS_TENSORDOCK_PARTS_H

#include "../src/core/wire.h"
#include "../src/core/wire_json.h"

/* No machine costs more than this an hour; what does is a mistake of somebody. */
#define TD_PRICE_MAX_U6 (INT64_C(10000) * 1000000)

#define TD_LOCATION_LEN 36 /* an UUID */
#define TD_MODEL_MAX	34 /* behind it in an offer's provider_id; the longest seen has 28 */

/* What a machine has where nobody says it (wire page 4: the least disk; 8 and 32 as its clients ask). */
#define TD_DISK_GB 100
#define TD_VCPUS   8
#define TD_RAM_GB  32

/* A reply being read. */
struct td_reply {
	const struct wire_ask *ask;
	const struct wire_reply *http;
	struct wire_json json;
	int status;	 /* HTTP's; or the one that an error in the body of a 200 names (8b) */
	bool failed;	 /* it says that it failed, whatever HTTP says */
	char words[160]; /* the provider's, for people; "" */
	struct wire_result *out;
};

/* What came is not what is promised: of a write, it may have been done (UNSURE); of a read, later. */
void td_unreadable(struct td_reply *r, const char *why);

/* Replies with a 2xx and no word of failure. */
void td_read_offers(struct td_reply *r);
void td_read_list(struct td_reply *r);
void td_read_look(struct td_reply *r);
/* The rows of a list in any of its four forms (6), borrowed; NULL: it is none. */
const json_t *td_list_rows(const struct td_reply *r);

/* struct dialect, parse. */
void td_parse(const struct wire_ask *ask, const struct wire_reply *reply, struct wire_result *out);

/* 8-4-4-4-12 hexadecimal digits. */
bool td_location_ok(const char *s, size_t n);
/* A model as TensorDock's keys are, such as "geforcertx4090-pcie-24gb". */
bool td_model_ok(const char *s);

/* The word that people use for that model: "RTX 4090", "A100 SXM4", "H100 SXM". */
void td_gpu_name(const char *model, char *out, size_t size);
/* Nominal GB of a GPU, at the end of its key; UNKNOWN. */
int64_t td_vram_gb(const char *model);

/* struct dialect, fit: an even number of vCPUs, memory of the documented list. More than the list has is
 * left as it is, which no offer has. */
void td_fit(struct shape *shape);
/* The same, and what is not said yet as above. */
struct shape td_shape(const struct shape *wanted);
/* The most of the list that is at most so much; 0: less than its least. */
int64_t td_ram_at_most(int64_t gb);

#endif
