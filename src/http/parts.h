/*
 * The inside of the HTTP door, shared by its files and by nobody else.
 *	server.c   connections and their limits, one request's life
 *	slices.c   turns of the loop, large answers
 *	listen.c   the listener on the loop, start and stop
 *	route.c    the table of routes: dispatch, 404, 405, redirects
 *	access.c   tokens: who asks		params.c   query strings and JSON bodies, by tables
 *	json.c     values and objects, by tables	offers.c   /inventory
 *	sessions.c /sessions			create.c   POST /sessions, over several orders
 *	templates.c /templates, /offer-health
 *	stream.c   /events			openapi.c  the description of all this
 *
 * A request is never freed while its connection is suspended, so an order's callback may keep a
 * pointer to it. Everything a handler needs after it has returned is copied into the request. Loop
 * thread only.
 */
#ifndef GPUFS_HTTP_PARTS_H
#define GPUFS_HTTP_PARTS_H

#include <microhttpd.h>

#include "../core/check.h"
#include "http.h"

#define API		  "/api/v1"
#define BODY_MAX	  ((size_t)1 << 20)  /* as the predecessor */
#define BODIES_MAX	  ((size_t)32 << 20) /* all bodies under way together */
#define DRAIN_MAX	  ((size_t)8 << 20)  /* of a refused body, so that its sender reads why */
#define CONNECTIONS_MAX	  1100
#define CONNECTION_MEMORY ((size_t)16 << 10) /* request line and headers */
#define IDLE_LIMIT_S	  30		     /* no byte either way */
#define HEAD_LIMIT_MS	  30000 /* until the headers are whole, however slowly they come */
#define BODY_LIMIT_MS	  60000
#define SEND_LIMIT_MS	  300000
#define KEY_LIMIT_MS	  5000 /* a create waits so long for its key pair */
#define RETRY_MS	  5000
#define STREAMS_MAX	  128
#define STREAM_QUEUE_MAX  ((size_t)64 << 10)
#define STREAM_BEAT_MS	  15000
#define PAST_EVENTS	  EVENTS_PAST_MAX /* kept for Last-Event-ID */
#define TOKENS_MAX	  1000
#define GROUPS_MAX	  64
#define REQUEST_ID_MAX	  128
#define PARAM_MAX	  255
#define LARGE_ANSWER	  ((size_t)128 << 10) /* from here on sent in slices */
#define CONSUMER_MAX	  255		      /* of a token: one word of its line */

/* ---- access.c ---- */

/* A user of this machine as looked up on a worker or at start; never on the loop. */
struct api_account {
	int64_t uid, gid;
	int64_t groups[GROUPS_MAX];
	size_t group_count;
};
struct token {
	char text[REQUEST_ID_MAX + 1], consumer[CONSUMER_MAX + 1];
	struct api_account account;
};
struct tokens {
	struct token *list;
	size_t count;
};
int tokens_parse(const char *text, size_t n, struct tokens *out, struct error *why);
int tokens_read(const char *path, struct tokens *out, struct error *why);	/* may block */
void tokens_free(struct tokens *t);						/* wipes */
int account_find(const char *text, struct api_account *out, struct error *why); /* may block */
const struct token *tokens_find(const struct tokens *t, const char *authorization);
/* An API without tokens trusts whoever can connect; a web page in that user's browser must not be
 * among them. NULL: fine; else the sentence. */
const char *browser_refusal(const char *origin, const char *host);

/* ---- json.c ---- */

enum member_type { JT_TEXT, JT_INT, JT_NUMBER, JT_BOOL, JT_TIME };
struct render {
	const struct engine *e;
	int64_t now_us;
	bool created; /* the answer to a create shows what is not stored */
	const void *thing;
	int64_t fetched_us; /* of an offer's list */
};
/* One member of an object. put returns false for an optional member that is empty. */
struct member {
	const char *name;
	enum member_type type;
	bool optional;
	bool (*put)(const struct render *x, struct buf *out);
	const char *doc;
};
void put_json_text(struct buf *b, const char *s); /* as the predecessor: also < > & escaped */
void put_json_int(struct buf *b, int64_t v);
void put_json_fixed(struct buf *b, int64_t v, int places); /* shortest: 400000, 6 -> 0.4 */
void put_json_time(struct buf *b, int64_t wall_us);	   /* 0: the predecessor's zero time */
/* Values of members: whether there was one. A number that is not known is 0. */
bool member_text(struct buf *b, const char *s);
bool member_optional(struct buf *b, const char *s); /* false: "" */
bool member_int(struct buf *b, int64_t v);
bool member_fixed(struct buf *b, int64_t v, int places);
bool member_bool(struct buf *b, bool v);
bool member_time(struct buf *b, int64_t wall_us);
/* show_KIND_NAME of a table of members; how: the value, made of `x` and of `var`, its thing. */
#define SHOW_MEMBER(kind, type, var, name, how)                                 \
	static bool show_##kind##_##name(const struct render *x, struct buf *b) \
	{                                                                       \
		const struct type *var = x->thing;                              \
                                                                                \
		return how;                                                     \
	}
void put_json_object(struct buf *b, const struct member *m, size_t n, const struct render *x);
extern const struct member offer_members[], session_members[], diagnostics_members[];
extern const size_t offer_member_count, session_member_count, diagnostics_member_count;
extern const struct member template_members[], offer_health_members[];
extern const size_t template_member_count, offer_health_member_count;
/* Cut to 128 bytes, without control characters and angle brackets. */
void clean(char out[REQUEST_ID_MAX + 1], const char *s);

/* ---- params.c ---- */

struct request;
enum param_type { PT_TEXT, PT_INT, PT_REAL, PT_BOOL, PT_LIST };
/* One parameter of a query string. Numbers of type PT_REAL are in millionths. */
struct param {
	const char *name;
	enum param_type type;
	int64_t min, max;
	const char *doc;
};
struct value {
	bool set;
	int64_t num;
	const char *text; /* borrowed from the query string or the body */
	const void *list; /* PT_LIST of a body: borrowed; see put_json_list */
};
/* One field of a JSON body. */
struct field {
	const char *name;
	enum param_type type;
	bool required;
	int64_t min, max; /* of required numbers */
	const char *doc;
};
int number_read(const struct param *p, const char *text, int64_t *out, struct error *why);
const char *query_text(const struct request *r, const char *name); /* NULL: absent or empty */
/* -1: the request is answered (400). */
int params_read(struct request *r, const struct param *p, size_t n, struct value *out);
/* Fills out; *root keeps what it points to and is the caller's to release (body_free). */
int body_parse(const char *text, size_t n, const struct field *f, size_t count, struct value *out,
	       void **root, struct error *why);
void body_free(void *root);
void put_json_list(struct buf *b, const struct value *v); /* as it came, compact */

/* ---- route.c ---- */

struct reply_doc {
	int status;
	const char *text;
};
struct route {
	const char *method, *path; /* ":id" stands for one path element */
	bool open;		   /* without a token */
	bool reads_body;
	int status; /* of success */
	const struct param *params;
	const size_t *param_count;
	const struct field *fields;
	const size_t *field_count;
	void (*handle)(struct request *r);
	const char *doc;
	const char *answer; /* schema in openapi.c, or "" for text */
	struct reply_doc errors[8];
};
extern const struct route routes[];
extern const size_t route_count;
/* The route, or NULL; then *path_known says whether only the method is wrong. */
const struct route *route_find(const char *method, const char *path, char param[PARAM_MAX + 1],
			       bool *path_known);
void route_begin(struct request *r, const char *url, const char *method);

/* ---- server.c ---- */

/* libmicrohttpd's callbacks: their signatures are its own. */
void conn_event(void *cls, struct MHD_Connection *c, void **slot,
		enum MHD_ConnectionNotificationCode code);
void *request_seen(void *cls, const char *uri, struct MHD_Connection *c);
enum MHD_Result request_turn(void *cls, struct MHD_Connection *c, const char *url,
			     const char *method, const char *version, const char *data,
			     size_t *size, void **slot);
void request_ended(void *cls, struct MHD_Connection *c, void **slot,
		   enum MHD_RequestTerminationCode code);
size_t uri_unescape(void *cls, struct MHD_Connection *c, char *s);

enum phase { PH_HEAD, PH_BODY, PH_WORK, PH_SEND, PH_STREAM };
struct conn {
	struct conn *next, **at;
	struct MHD_Connection *c;
	enum phase phase;
	int64_t deadline_ms; /* of the phase; INT64_MAX = none */
	struct request *r;
	struct http *h;
	bool waits; /* in line for a turn, suspended */
	struct conn *behind;
};

struct request {
	struct http *h;
	struct conn *conn;
	struct MHD_Connection *c;
	const struct route *route; /* NULL: answered by route_begin */
	char *uri;		   /* as it came */
	const char *method;	   /* one of a bounded set, for the label */
	char id[REQUEST_ID_MAX + 1];
	char param[PARAM_MAX + 1];
	struct caller who;
	char consumer[CONSUMER_MAX + 1]; /* the only one it may use; "" = any */
	bool may_make;
	struct buf body;
	size_t drained;
	bool started, began, suspended, answered, expects;
	int64_t begun_ns;
	/* The answer. */
	int status;
	struct buf out;
	const char *type;
	bool secret, plain;
	bool waits_provider; /* handled again when a provider has news */
	char allow[64];
	char *location;
	struct MHD_Response *stream;
	/* Work that may take long: step is called until the request is answered, each time for a
	 * fraction of a millisecond; job is freed with the request. */
	void (*step)(struct request *r);
	void *job;
	void (*job_free)(void *job);
	/* What it waits for. */
	char session[40];
	int64_t number;
	void (*late)(struct request *r); /* PH_WORK took too long */
};

/* The text of every offer of one market, made a piece at a time and shared by reference. */
struct market_text {
	unsigned refs;
	struct inventory *inv;
	int64_t fetched_s; /* newest list in it */
	size_t done;	   /* so many of the offers are in `text` */
	struct buf text;   /* ",{...},{...}" */
	uint32_t *ends;	   /* of each offer's text */
};

struct create;
struct stream;
struct past_event {
	int64_t seq, owner_uid; /* UNKNOWN: of no session, everybody may see it */
	char *json;
};

struct http {
	struct http_options args;
	struct engine *e;
	uv_loop_t *loop;
	struct door door;
	uv_timer_t run_timer, deadline_timer, retry_timer;
	uv_idle_t again; /* there is more to do in the next turn */
	uv_poll_t poll;
	bool polling, stopped, reading, read_again;
	int64_t deadline_ms; /* when deadline_timer fires */
	int64_t head_limit_ms, body_limit_ms;
	struct MHD_Daemon *mhd;
	struct conn *conns;
	size_t body_bytes;
	struct api_account account; /* API_AUTH=none */
	struct tokens tokens;
	struct market_text *market; /* the newest, or NULL */
	uint64_t turn_ns;	    /* when this turn began */
	struct conn *line, *line_end;
	struct create *creates;
	struct stream *streams;
	size_t stream_count;
	struct past_event *past; /* a ring; past_at is where the next one goes */
	size_t past_at, past_count;
	int64_t past_lost_seq; /* nothing up to here is known any more */
};

/* Each ends the request's work; the connection goes on with it when the loop comes around. */
void answer(struct request *r, int status); /* r->out is the JSON body */
void answer_fail(struct request *r, int status, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void answer_error(struct request *r, const struct error *why);
/* Before the first byte of an answer that holds a key: it is wiped wherever it was. */
void answer_secret(struct request *r);
void answer_message(struct request *r, const char *message, const char *session_id);
/* Wait at most so long; then r->late is called. */
/* Its handler is called once more, soon. */
void request_again(struct request *r);
void request_deadline(struct request *r, int64_t limit_ms, void (*late)(struct request *r));
void conn_phase(struct http *h, struct conn *k, enum phase phase, int64_t limit_ms);
void deadline_arm(struct http *h, int64_t at_ms);
void http_kick(struct http *h); /* listen.c: let libmicrohttpd run soon */
void make_uuid(char out[40]);
void reload_begin(struct http *h); /* access.c */
void authorize(struct request *r); /* access.c: fills who, or answers 401 or 403 */

/* ---- handlers, and what else the files need of each other ---- */

void get_health(struct request *r);
void get_ready(struct request *r);
void get_metrics(struct request *r);
void get_openapi(struct request *r);
void get_inventory(struct request *r);
void get_offer(struct request *r);
void get_templates(struct request *r);
void get_template(struct request *r);
void get_compatible_templates(struct request *r);
void get_offer_health(struct request *r);
/* What a template asks of a machine, into q. False: the request is answered, or waits for the list.
 * provider: the one that was asked for, or NULL. */
bool template_filter(struct request *r, const char *id, const char *provider, struct query *q);
void templates_changed(struct http *h); /* a provider has news */
void post_session(struct request *r);
void get_sessions(struct request *r);
void get_session(struct request *r);
void delete_session(struct request *r);
void post_done(struct request *r);
void post_extend(struct request *r);
void get_diagnostics(struct request *r);
void get_key(struct request *r);
void get_events(struct request *r);
extern const struct param inventory_params[], sessions_params[], templates_params[],
	offer_health_params[];
extern const size_t inventory_param_count, sessions_param_count, templates_param_count,
	offer_health_param_count;
extern const struct field create_fields[], extend_fields[];
extern const size_t create_field_count, extend_field_count;

/* ---- slices.c ---- */
/* This turn's share of the loop is used up: whatever is not begun has to wait. */
bool turn_spent(const struct http *h);
void turn_wait(struct conn *k); /* suspends it; when it is resumed its callback is called again */
void turn_next(struct http *h, bool all); /* those in line for longest */
struct large {
	struct conn *k;
	struct buf own;		    /* pieces may point into it: not changed after the first */
	struct market_text *market; /* the same; one reference, or NULL */
	struct str *pieces;
	size_t count, cap, at, used; /* at, used: what is sent */
	uint64_t total;
};
struct large *large_new(struct request *r); /* NULL: memory is out; so with all of these */
bool large_add(struct large *l, const char *p, size_t n);
void large_free(void *large);
struct MHD_Response *large_response(struct large *l); /* takes l */

void market_text_unref(struct market_text *t); /* NULL is fine */
void creates_changed(struct http *h, const struct change *c);
void creates_stop(struct http *h);
void creates_due(struct http *h, int64_t now_ms);
int64_t creates_due_ms(const struct http *h); /* INT64_MAX = nothing is */
void stream_changed(struct http *h, const struct change *c);
void stream_beat(struct http *h, int64_t now_ms);
int64_t stream_beat_ms(const struct http *h); /* when the next one is due; INT64_MAX = never */
void streams_begin(struct http *h);	      /* learn of past events */
void streams_stop(struct http *h);
void streams_free(struct http *h);
/* What this request may see of `id`: not a draft, and its own; NULL after a 404. */
const struct session *session_of(struct request *r);

#endif
