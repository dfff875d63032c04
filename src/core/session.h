/*
 * A session and its instance, as recorded. This struct is the whole durable truth about one
 * session: the table of its fields (session_fields) is the list of columns for insert, update and
 * select alike. The instance has a life of its own beside the session's state, so that no session
 * state can end the attempts to destroy it. Pure data; owned by the engine; loop thread.
 */
#ifndef GPUFS_CORE_SESSION_H
#define GPUFS_CORE_SESSION_H

#include "record.h"
#include "text.h"

/*   name, word, doc */
#define STATE_TABLE(X)                                                                        \
	X(DRAFT, draft, "made with mkdir; nothing is bought, it costs nothing")               \
	X(PENDING, pending, "the order is durable; waiting for the provider or for an offer") \
	X(PROVISIONING, provisioning, "an attempt is being created, booted or verified")      \
	X(RUNNING, running, "SSH is verified; the machine is yours")                          \
	X(STOPPING, stopping, "the order to destroy is durable and being carried out")        \
	X(STOPPED, stopped, "it ran, and is proven gone")                                     \
	X(FAILED, failed, "it could not be provided; reason says why")

enum session_state {
#define X(name, word, doc) S_##name,
	STATE_TABLE(X)
#undef X
		S_COUNT
};
const char *state_name(enum session_state s);
const char *state_doc(enum session_state s);
/* The table of legal arrows. A state may always stay itself. */
bool state_may(enum session_state from, enum session_state to);
bool state_terminal(enum session_state s); /* stopped, failed */

/* The instance's own life. It is ours until the provider said gone. */
enum instance_state { I_NONE, I_ASKED, I_UNSURE, I_EXISTS, I_GONE, I_COUNT };
const char *instance_state_name(enum instance_state i);

/* Why a session ended or is ending; decides what wait/ready answers and stopped against failed. */
enum end_cause {
	END_NONE,
	END_DESTROYED,
	END_DONE,
	END_EXPIRED,
	END_HARD_MAX,
	END_HOLD,
	END_LOST,
	END_NO_OFFER,
	END_BOOT,
	END_SSH,
	END_REFUSED,
	END_PREEMPTED, /* an interruptible machine was taken back */
	END_MONEY,     /* the provider wants money first: its words are in `reason` */
	END_PRICE,     /* it charges more than the cap */
	END_KEY,       /* the provider refuses our key */
	END_COUNT
};
enum err end_cause_err(enum end_cause c); /* what a wait for ready is told */

/* Text whose content must never be printed; wiped when freed. No formatter takes it. */
struct secret {
	char *bytes; /* NUL-terminated, or NULL */
	size_t len;
};
void secret_set(struct secret *s, const char *bytes, size_t len);
void secret_wipe(struct secret *s);

/* T(name, size): text; N(name): int64; L(name): long text (owned); K(name): secret.
 * Add at the end and add a migration: the order is the order of the columns. */
#define SESSION_FIELDS(T, N, L, K)                                                  \
	T(id, 40)   /* UUID, the primary key */                                     \
	N(serial)   /* never reused; node ids are derived from it */                \
	T(name, 64) /* in sessions/; keeps the last one in history/ */              \
	N(owner_uid)                                                                \
	N(owner_gid)                                                                \
	T(owner_name, 64)                                                           \
	N(dir_mode) /* permission bits of the directory */                          \
	L(consumer) /* any text; see session_consumer */                            \
	T(workload, 16)                                                             \
	T(label_text, 64)                                                           \
	N(state)                                                                    \
	N(state_us) /* enum session_state, and when it was entered */               \
	T(reason, 256)                                                              \
	L(spec) /* canonical text */                                                \
	N(created_us)                                                               \
	N(bought_us)                                                                \
	N(running_us)                                                               \
	N(expires_us)                                                               \
	N(stopped_us)                                                               \
	N(removed_us)                                                               \
	N(changed_us)	  /* last change of anything here */                        \
	N(hours)	  /* as ordered; extensions move expires_us only */         \
	N(hard_max_us)	  /* ceiling of age, counted from bought_us */              \
	N(start_by_us)	  /* while pending: when to give up; INT64_MAX = never */   \
	N(ssh_timeout_us) /* 0: the setting */                                      \
	N(protect)                                                                  \
	N(held)                                                                     \
	T(provider, 24)                                                             \
	T(offer_id, 96)                                                             \
	T(gpu_type, 64)                                                             \
	N(gpu_count)                                                                \
	N(vram_gb)                                                                  \
	T(location, 64)                                                             \
	N(price_u6)                                                                 \
	N(price_quoted_u6)                                                          \
	N(cap_u6)	 /* USD an hour; UNKNOWN until bought */                    \
	N(attempt)	 /* counts creates; in the label */                         \
	N(attempt_cause) /* enum end_cause: why it is given up; 0 = it is wanted */ \
	N(retries_left)                                                             \
	L(failed_offers) /* comma list */                                           \
	T(label, 64)	 /* what the instance carries at the provider */            \
	N(instance_state)                                                           \
	T(instance_id, 96)                                                          \
	N(asked_us)  /* the create of this attempt was sent: billing begins */      \
	N(booted_us) /* provider first said running */                              \
	N(delete_us) /* the DELETE that worked was answered */                      \
	N(gone_us)   /* proven gone: billing ends (delete_us when that is known) */ \
	N(billed_prior_us)                                                          \
	N(cost_prior_u6) /* of earlier attempts */                                  \
	T(ssh_host, 128)                                                            \
	N(ssh_port)                                                                 \
	T(ssh_user, 64)                                                             \
	L(host_key)                                                                 \
	K(private_key)                                                              \
	L(public_key)                                                               \
	N(end_cause)                                                                \
	T(end_by, 64)                                                               \
	N(end_by_uid)                                                               \
	N(end_us)                                                                   \
	N(creates)                                                                  \
	N(deletes)                                                                  \
	N(looks)	/* calls made for this session */                           \
	L(evidence)	/* why we believe that the instance is gone */              \
	N(late_look_us) /* when to look once more after the receipt; 0 = done */    \
	/* Version 2. */                                                            \
	N(rate_u6)    /* USD an hour charged since rate_us; UNKNOWN: price_u6 */    \
	N(rate_us)    /* 0: since asked_us */                                       \
	N(settled_u6) /* cost of this attempt before rate_us */                     \
	N(disk_gb)    /* as bought; UNKNOWN: the default */                         \
	N(bid_u6)     /* USD an hour; UNKNOWN: on demand */                         \
	N(attached)   /* how many keys this attempt's instance was given */         \
	L(ports)      /* lines "PORT HOST HOSTPORT" of its mapped ports */          \
	/* Version 3. */                                                            \
	N(vcpus)  /* as bought; UNKNOWN: the default, or no choice */               \
	N(ram_gb) /* likewise */                                                    \
	N(reach)  /* enum reach that this attempt asked for; 0: no choice */

struct session {
#define T(name, size) char name[size];
#define N(name)	      int64_t name;
#define L(name)	      char *name;
#define K(name)	      struct secret name;
	SESSION_FIELDS(T, N, L, K)
#undef T
#undef N
#undef L
#undef K
};

static inline const char *session_consumer(const struct session *s)
{
	return s->consumer ? s->consumer : "";
}

enum field_kind { F_TEXT, F_INT, F_LONG, F_SECRET };
struct session_field {
	const char *name;
	enum field_kind kind;
	size_t offset, size;
};
extern const struct session_field session_fields[];
extern const size_t session_field_count;

void session_init(struct session *s); /* zeros, UNKNOWN where absent is not zero */
void session_free(struct session *s); /* frees what it owns, wipes secrets; not s itself */
int session_copy(struct session *to, const struct session *from); /* deep; -ENOMEM */

/* To and from a journal record. Unpack checks every bound: a database is hostile until parsed. */
int session_pack(const struct session *s, struct journal_op *op);
int session_unpack(struct session *s, const struct journal_op *op, struct error *why);

/* Money, a function of recorded times and prices: right at any moment and after any restart. */
int64_t session_billed_us(const struct session *s, int64_t now_us); /* all attempts */
int64_t session_cost_u6(const struct session *s, int64_t now_us);
/* From now on the machine is charged at `rate_u6` (UNKNOWN: the price); what it cost so far stays as
 * it is. True if that is a change. */
bool session_charge(struct session *s, int64_t price_u6, int64_t rate_u6, int64_t now_us);
/* USD an hour charged now: in its present status, else the price. */
int64_t session_rate_u6(const struct session *s);
int64_t session_cost_max_u6(const struct session *s); /* at expires_us; UNKNOWN before purchase */
int64_t cost_of(int64_t price_u6, int64_t us);	      /* rounded to the nearest, no overflow */

/* gpufs-<deployment>-<session>-<attempt>-<mac>: at most 60 of [a-z0-9-]; one label = one create. */
#define LABEL_MAX 60
void label_make(char out[64], const char *deployment, const char *session_id, int64_t attempt,
		const unsigned char key[32]);
/* true and the parts if the label is well-formed and its mac is ours. */
bool label_verify(const char *label, const char *deployment, const unsigned char key[32],
		  char session_id[40], int64_t *attempt);

/* What a machine that carries a verified label is, seen from the record of its session. */
enum mark {
	MARK_OURS,   /* the session's own machine, or may be: its attempt is not resolved yet */
	MARK_ORPHAN, /* no such session is recorded */
	MARK_LATE,   /* of an attempt that is over, or a second machine of one create */
	MARK_NEWER,  /* of an attempt that is not recorded yet: the records are an old copy */
	MARK_RISEN,  /* was proven gone, and is seen again */
};
#define ORPHANS_AT_ONCE \
	5 /* more of them in one list: our books may be wrong rather than the cloud */
/* Of the session (NULL: none of that id) only attempt, instance_state and instance_id count. */
enum mark session_mark(const struct session *s, int64_t attempt, const char *instance_id);

#endif
