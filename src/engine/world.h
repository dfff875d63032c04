/*
 * The world, as the engine sees it: one table of functions. main.c fills it with src/io/; tests and
 * the simulator fill it with a virtual clock and a virtual disk. Every callback comes on the loop
 * thread, never from inside the call that asked for it, and exactly once unless the request was
 * cancelled.
 */
#ifndef GPUFS_ENGINE_WORLD_H
#define GPUFS_ENGINE_WORLD_H

#include "../core/error.h"
#include "../core/record.h"
#include "../core/session.h"
#include "../core/wire.h"

struct timer;
struct probe;
struct http_send;

/* Work that may be long is done in slices: so much in one turn of the loop, the rest in the next turns,
 * which begin after this pause. Not after 0: the loop serves its timers until none is due, so nobody
 * else would have a turn. */
#define TURN_US	      1000
#define TURN_PAUSE_US 1

enum log_level { LOG_DEBUG_, LOG_INFO_, LOG_WARN_, LOG_ERROR_, LOG_AUDIT_ /* no level hides it */ };

/* err is 0, or a negative errno: the row is not on disk. */
typedef void (*journal_cb)(void *arg, int err);

/* Texts borrowed until the callback returns; NULL and a sentence if no key could be made. */
typedef void (*keygen_cb)(void *arg, const char *private_openssh, const char *public_line,
			  const struct error *why);

/* One attempt to log in: connect, handshake, check the host key, public key login, `echo ok`. */
struct probe_args {
	const char *host, *user;
	int64_t port;
	const struct secret *private_key;
	const char *public_key;
	const char *host_key; /* pinned "ssh-ed25519 AAAA…", or "" = accept and report */
	int64_t timeout_us;   /* of the whole attempt */
};
enum probe_verdict {
	PROBE_OK,	     /* logged in, the command ran */
	PROBE_NOT_YET,	     /* refused, reset, no banner, time-out: normal while booting */
	PROBE_LOGIN_REFUSED, /* handshake done, key refused: normal for the first minutes */
	PROBE_HOST_KEY,	     /* another host key than the pinned one: alarm */
};
typedef void (*probe_cb)(void *arg, enum probe_verdict v, const char *host_key, const char *text);

/* This machine, for the provider `local`. */
enum host_op { HOST_GPUS, HOST_START, HOST_LIST, HOST_LOOK, HOST_KILL };
struct host_call {
	enum host_op op;
	const char *label;	     /* START, LOOK, KILL: also the instance's id */
	int64_t uid, gid;	     /* START */
	const char *authorized_keys; /* START */
	const char *visible_devices; /* START: CUDA_VISIBLE_DEVICES, "" = none */
	const struct spec_env *env;  /* START */
	size_t env_count;
};
struct host_gpu {
	char name[64];
	int64_t index, memory_mb;
};
struct host_instance {
	char label[64];
	bool alive;	/* any process left */
	bool listening; /* sshd answers on the port */
	char user[64];
	int64_t port;
	char host_key[256];
	char visible_devices[64];
	char text[160];	    /* last line of its log, or why it is not listening */
	char evidence[160]; /* when not alive: how that was established */
};
struct host_result {
	int err;    /* 0 or negative errno; -ENOENT: no such instance */
	bool maybe; /* START failed in a way that may have left something: look */
	char text[256];
	const struct host_gpu *gpus;
	const struct host_instance *instances;
	size_t count;
};
typedef void (*host_cb)(void *arg, const struct host_result *res);

/* One HTTP request, sent at most once by this table: whoever wants it again asks again. Texts are
 * borrowed until the callback. */
struct http_args {
	enum http_method method;
	const char *url;  /* absolute; never a secret */
	const char *auth; /* whole header line with the key, or NULL; secret */
	const char *body; /* NULL: none */
	bool form;	  /* the body is application/x-www-form-urlencoded, not application/json */
	size_t body_len, reply_max;
	int64_t connect_us, timeout_us; /* limits of connecting, and of the whole */
	/* A create: own connection, no resend whatever libcurl believes (faults.md, first fact). */
	bool fresh;
};
/* What came. status 0: no whole reply (then `text` says why, and `sent` whether any byte of the
 * request may have left: false is proof that nothing happened). A body that was cut off or too long
 * is status 0 too. Everything borrowed until the callback returns. */
struct http_reply {
	int status;
	bool sent;
	const char *content_type; /* "" if absent */
	const char *body;	  /* NUL-terminated behind len */
	size_t len;
	struct buf *
		owner; /* of body: whoever needs it longer moves it from there, leaving {0}; or NULL */
	int64_t retry_after_us; /* from Retry-After, both forms; or UNKNOWN */
	int64_t date_us;	/* from Date, UTC; or UNKNOWN */
	char text[200];		/* sentence, no secret, no URL */
};
typedef void (*http_cb)(void *arg, const struct http_reply *reply);

struct world {
	void *self;
	int64_t (*wall_us)(void *self); /* UTC; may step */
	int64_t (*mono_us)(void *self); /* never steps */
	void (*random)(void *self, void *out, size_t n);

	struct timer *(*timer_new)(void *self, void (*fire)(void *arg), void *arg);
	void (*timer_set)(void *self, struct timer *t, int64_t delay_us); /* negative: stop */
	void (*timer_free)(void *self, struct timer *t);		  /* NULL is fine */

	/* In order. Takes the op's texts (the struct itself may live on the caller's stack). */
	void (*journal)(void *self, struct journal_op *op, journal_cb cb, void *arg);
	/* Free the ballast: orders to destroy must go through on a full disk. true if there was
	 * one. */
	bool (*journal_ballast)(void *self);

	void (*keygen)(void *self, const char *comment, keygen_cb cb, void *arg);
	struct probe *(*probe)(void *self, const struct probe_args *args, probe_cb cb, void *arg);
	void (*probe_cancel)(void *self, struct probe *p); /* its callback will not come */
	void (*host)(void *self, const struct host_call *call, host_cb cb, void *arg);

	struct http_send *(*http)(void *self, const struct http_args *args, http_cb cb, void *arg);
	void (*http_cancel)(void *self, struct http_send *h); /* its callback will not come */
	/* run on a worker thread, then done on the loop. For what takes longer than a millisecond;
	 * run may touch nothing but arg. */
	void (*work)(void *self, void (*run)(void *arg), void (*done)(void *arg), void *arg);

	void (*log)(void *self, enum log_level level, const char *fmt, ...)
		__attribute__((format(printf, 3, 4)));
};

#endif
