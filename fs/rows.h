/*
 * What the row files share, and nobody else needs: the values of a session as one table that makes
 * both sessions/NAME/ and history/ID/, the little printers, and the search table's results. Loop
 * thread. Invariants: a printer writes one line with its newline, or nothing when the value is
 * unknown (tree, rule 1); text from outside is escaped here, so no value can forge a second line.
 * Tests: tests/unit/test_docs.c, tests/unit/test_rows.c, tests/unit/test_search.c.
 */
#ifndef GPUFS_FS_ROWS_H
#define GPUFS_FS_ROWS_H

#include "../src/core/query.h"
#include "offer_index.h"
#include "tree.h"

/*
 * One value each, of living and ended sessions: name, type, unit, caching while in sessions/,
 * caching in history/, doc. Add at the end of a group only after the first release (node ids).
 */
#define SESSION_VALUES(X)                                                                        \
	X(reason, V_TEXT, NULL, C_PLAIN, C_DERIVED, "the sentence behind the state")             \
	X(id, V_TEXT, NULL, C_PLAIN, C_PLAIN, "the session's own id; its name in history/")      \
	X(owner, V_TEXT, NULL, C_PLAIN, C_PLAIN,                                                 \
	  "the user who made it, and whose permission counts")                                   \
	X(consumer, V_TEXT, NULL, C_PLAIN, C_PLAIN, "the word under which the books file it")    \
	X(workload_type, V_TEXT, NULL, C_PLAIN, C_PLAIN, "what it is for, a word for the books") \
	X(label, V_TEXT, NULL, C_PLAIN, C_PLAIN, "the free text of label= in the spec")          \
	X(provider, V_TEXT, NULL, C_PLAIN, C_PLAIN, "who provides the machine")                  \
	X(instance_id, V_TEXT, NULL, C_PLAIN, C_PLAIN, "the provider's id of the machine")       \
	X(offer_id, V_TEXT, NULL, C_PLAIN, C_PLAIN, "the offer that was bought")                 \
	X(gpu_type, V_TEXT, NULL, C_PLAIN, C_PLAIN, "model of the GPU that was bought")          \
	X(gpu_count, V_INT, NULL, C_PLAIN, C_PLAIN, "number of GPUs")                            \
	X(vram_gb, V_INT, "GB", C_PLAIN, C_PLAIN, "memory of each GPU, nominal")                 \
	X(location, V_TEXT, NULL, C_PLAIN, C_PLAIN, "where the machine stands")                  \
	X(price_per_hour, V_MONEY, "USD/h", C_PLAIN, C_PLAIN, "what an hour costs")              \
	X(price_quoted, V_MONEY, "USD/h", C_PLAIN, C_PLAIN,                                      \
	  "what the offer said that an hour costs")                                              \
	X(created_at, V_TIME, NULL, C_PLAIN, C_PLAIN, "when mkdir made it")                      \
	X(bought_at, V_TIME, NULL, C_PLAIN, C_PLAIN, "when the first create was sent")           \
	X(running_at, V_TIME, NULL, C_PLAIN, C_PLAIN, "when SSH was first verified")             \
	X(expires_at, V_TIME, NULL, C_PLAIN, C_PLAIN, "when it will be destroyed by itself")     \
	X(stopped_at, V_TIME, NULL, C_PLAIN, C_PLAIN, "when it ended")                           \
	X(cost, V_MONEY, "USD", C_DERIVED, C_DERIVED,                                            \
	  "accrued so far, from recorded times and prices")                                      \
	X(cost_max, V_MONEY, "USD", C_PLAIN, C_PLAIN, "what it will have cost at expires_at")    \
	X(attempts, V_INT, NULL, C_PLAIN, C_PLAIN,                                               \
	  "how many machines were asked for, retries included")                                  \
	X(failed_offers, V_TEXT, NULL, C_PLAIN, C_PLAIN,                                         \
	  "offers that were tried in vain, with commas")

/*
 * The rows of all tables that only show something: READ_ROW; with a unit; of one line of SESSION_VALUES.
 * Rows that also store, wait, stream or have entries are written out where they stand.
 */
#define READ_ROW(name, bits, more, caching, value_type, function, text) \
	UNIT_ROW(name, bits, more, caching, value_type, NULL, function, text)
#define UNIT_ROW(name, bits, more, caching, value_type, value_unit, function, text)              \
	{                                                                                        \
		.path = name, .mode = bits, .flags = more, .cache = caching, .type = value_type, \
		.unit = value_unit, .show = function, .doc = text                                \
	}
#define VALUE_ROW(name, value_type, value_unit, caching, text) \
	UNIT_ROW(#name, 0440, ROW_INFO, caching, value_type, value_unit, session_show_##name, text)
/* The two files that show all of an object's values at once. */
#define INFO_ROWS(bits, caching, more)                                          \
	READ_ROW("info", bits, 0, caching, V_TEXT, show_info,                   \
		 "all values at once, one `key value` a line" more),            \
		READ_ROW("info.json", bits, 0, caching, V_JSON, show_info_json, \
			 "the same as one line of JSON; an unknown value has no key")

#define X(name, type, unit, living, ended, doc) \
	int session_show_##name(const struct ctx *x, struct buf *out);
SESSION_VALUES(X)
#undef X
int session_show_state(const struct ctx *x, struct buf *out);
int session_show_remaining(const struct ctx *x, struct buf *out);
int session_show_protect(const struct ctx *x, struct buf *out);
int session_show_hold(const struct ctx *x, struct buf *out);
int session_show_offer(const struct ctx *x, struct buf *out);
int session_show_ssh_host(const struct ctx *x, struct buf *out);
int session_show_ssh_port(const struct ctx *x, struct buf *out);
int session_show_ssh_user(const struct ctx *x, struct buf *out);
int session_show_provider_cost(const struct ctx *x, struct buf *out);
int session_show_provider_log(const struct ctx *x, struct buf *out);
int session_show_error(const struct ctx *x, struct buf *out);
int session_show_log(const struct ctx *x, struct buf *out);
int session_show_events(const struct ctx *x, struct buf *out);

/* What both tables end with, in this order: rows that came later than the first ones. */
#define SESSION_LATER_ROWS                                                                       \
	UNIT_ROW("provider_cost", 0440, ROW_INFO, C_PLAIN, V_MONEY, "USD",                       \
		 session_show_provider_cost, "what the provider itself reports, where it does"), \
		{.path = "ports",                                                                \
		 .mode = 0550,                                                                   \
		 .flags = ROW_DIR,                                                               \
		 .children = OBJ_PORT,                                                           \
		 .doc = "where the machine's ports are reached, one file a port of the spec's "  \
			"ports="},                                                               \
		READ_ROW("provider.log", 0440, 0, C_DERIVED, V_TEXT, session_show_provider_log,  \
			 "the provider's own words while the machine boots, when it gives any; " \
			 "from this start of gpufs on")

/* ---- ports ---- */
#define PORT_BITS 16
bool port_find(const struct ctx *x, const char *name, uint64_t *serial);
bool port_next(const struct ctx *x, uint64_t after, uint64_t *serial, char name[256]);
bool port_resolve(struct ctx *x);
extern const struct row port_file;

/* May x->who see this session in `list`: what the kernel would say of its directory (r-x), as far
 * as uid and primary gid tell. */
bool session_visible(const struct ctx *x, const struct session *s);
/* The Host block of a session, for ssh_config and ssh/config; nothing while it cannot be reached.
 */
void ssh_put_block(const struct ctx *x, const struct session *s, struct buf *out);
bool ssh_known(const struct session *s); /* host, port and user are there and of sane characters */

/* PUBLIC_MOUNT, never empty. */
const char *public_mount(const struct ctx *x);

/* One line, escaped; nothing for NULL or "". Return 0, so that a show function can return them. */
int put_line(struct buf *out, const char *s);
int put_int_line(struct buf *out, int64_t v);	 /* nothing for a negative */
int put_money_line(struct buf *out, int64_t u6); /* likewise */
int put_time_line(struct buf *out, int64_t wall_us);

/* ---- offers ---- */
const struct offer_field *offer_field_named(const char *name); /* NULL: no such field */
/* The market in order of serial, brought up to date with the engine's. */
struct offer_index *offer_index_now(const struct ctx *x);

/* ---- search ---- */
/* Offers that match q and all queries above it, as indexes into inv->offers, by price. Borrowed
 * until the next call of any function of the table. */
size_t query_node_matches(struct query_table *t, struct query_node *q, const struct inventory *inv,
			  const uint32_t **indexes);
/* The cheapest of them, without making a list of all; NULL if none. */
const struct offer *query_node_best(struct query_node *q, const struct inventory *inv);
unsigned query_node_depth(const struct query_node *q); /* 1: directly below search/ */
/* Somebody looks at its results: what all its levels ask for together is kept current. */
void query_node_asked(const struct query_node *q, struct engine *e);
const char *query_node_name(const struct query_node *q);
void query_node_why(struct query_table *t, struct query_node *q, const struct inventory *inv,
		    struct buf *out);
/* The queries that search/ lists (all, and one a model), in order of serial. */
bool query_table_next_listed(struct query_table *t, const struct engine *e, uint64_t after,
			     uint64_t *serial, char name[256]);
size_t query_table_count(const struct query_table *t); /* nodes that are alive */

#define QUERY_NODES_MAX	 4096
#define QUERY_DEPTH_MAX	 8
#define RESULT_RANK_BITS 20 /* a result's serial: query serial << 20 | rank */

/* Where the n-th result of a query links to; up is the way to the root. */
void result_put_target(const struct query_node *q, const struct offer *o, struct buf *out);
void result_put_name(char name[256], size_t rank, size_t count, const struct offer *o);
extern const struct row result_link, last_link;

#endif
