/*
 * The real world: constructors of the parts that main.c puts into struct world. Each part is one
 * file. None of them knows the engine.
 */
#ifndef GPUFS_IO_IO_H
#define GPUFS_IO_IO_H

#include <uv.h>

#include "../engine/world.h"

/* ---- loop.c: clock, random numbers, timers on libuv ---- */
struct timer *loop_timer_new(uv_loop_t *loop, void (*fire)(void *), void *arg);
void loop_timer_set(struct timer *t, int64_t delay_us);
void loop_timer_free(struct timer *t);
int64_t clock_wall_us(void);
int64_t clock_mono_us(void);
void random_bytes(void *out, size_t n); /* getrandom(2); stops the process if there are none */
/* world.work; both are called also at the end, if the loop is run until it is empty. */
void loop_work(uv_loop_t *loop, void (*run)(void *), void (*done)(void *), void *arg);

/* ---- log.c: one line an event, escaped; text or JSON; AUDIT is never hidden ---- */
enum log_format { LOG_TEXT, LOG_JSON };
void log_open(int fd, enum log_level level, enum log_format format);
void log_line(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void log_vline(enum log_level level, const char *fmt, va_list ap)
	__attribute__((format(printf, 2, 0)));

/* ---- store.c: SQLite behind one worker thread ---- */
struct store;
/* Opens or makes the database (directories too, 0600), takes the lock against a second daemon,
 * migrates. Every refusal is a sentence: locked by whom, newer version, read only, full, not a
 * database. */
int store_open(const char *path, struct store **out, struct error *why);
/* Calls fn for every row, in key order; stops at the first negative answer and returns it. */
int store_load(struct store *s, int (*fn)(void *arg, const struct journal_op *row), void *arg,
	       struct error *why);
/* Start the worker; completions come on the loop. */
int store_start(struct store *s, uv_loop_t *loop);
void store_write(struct store *s, struct journal_op *op, journal_cb cb, void *arg);
bool store_drop_ballast(struct store *s);
/* Microseconds that the oldest unfinished write has waited; 0 if none waits. */
int64_t store_lag_us(const struct store *s);
/* Write everything that is queued (at most timeout_us), stop the worker, give up the lock. */
void store_close(struct store *s, int64_t timeout_us);
/* For --check: what a start would find, without changing anything. */
int store_probe(const char *path, struct buf *out, struct error *why);

/* ---- store_look.c: what a database says, read beside a daemon that may be using it ---- */
/* A session as far as it takes to know its machine; no secret is read. */
struct store_row {
	char id[40], name[64], instance_id[96];
	int64_t attempt, state, instance_state; /* enum session_state, enum instance_state */
};
struct store_books {
	bool exists;	/* false: there is no database, and so no session is known */
	int64_t holder; /* 0: nobody has it open; the process of its daemon; -1: not known which */
	struct store_row *rows; /* owned; by id */
	size_t count;
};
/* Read only, and nothing beside the file changes while nobody has it open. `locked`: by the caller
 * (store_lock); then holder is 0. May block. */
int store_books_read(const char *path, bool locked, struct store_books *out, struct error *why);
void store_books_free(struct store_books *b);
const struct store_row *store_books_find(const struct store_books *b, const char *id); /* or NULL */
/* Keep daemons away from it: the lock that they take. *fd is to be given to store_unlock. A database
 * whose directory does not exist needs none: *fd is -1 then. -EBUSY and a sentence: it is held. */
int store_lock(const char *path, int *fd, struct error *why);
void store_unlock(int fd); /* -1 is fine */

/* ---- keys.c: Ed25519 pairs in OpenSSH format, gpufs.key ---- */
int keys_make(const char *comment, struct secret *private_openssh, struct buf *public_line,
	      struct error *why); /* any thread */
void keys_make_async(uv_loop_t *loop, const char *comment, keygen_cb cb, void *arg);
/* Deployment id and label key; made at first start with mode 0600 (O_EXCL, fsync). */
int keys_load(const char *path, const char *wanted_deployment, char deployment[16],
	      unsigned char label_key[32], struct error *why);
/* The same, and never makes one: -ENOENT and a sentence. wanted_deployment "": any. */
int keys_read(const char *path, const char *wanted_deployment, char deployment[16],
	      unsigned char label_key[32], struct error *why);

/* ---- ssh_probe.c: libssh2 on the loop ---- */
struct probe *ssh_probe_start(uv_loop_t *loop, const struct probe_args *args, probe_cb cb,
			      void *arg);
void ssh_probe_cancel(struct probe *p);

/* ---- http_client.c: libcurl on the loop ---- */
struct http_client;
/* trusted: the only certificates to trust, a PEM file or a folder with hashed names; NULL: the system's.
 * NULL and a sentence if libcurl cannot be started. The environment's proxy settings count, except for
 * loopback. */
struct http_client *http_client_new(uv_loop_t *loop, const char *trusted, struct error *why);
/* world.http; args->timeout_us and reply_max are positive. A PUT or POST is always `fresh`. `sent` is
 * false only if no byte of the request was given to a socket. A Retry-After is at most a day. */
struct http_send *http_client_send(struct http_client *c, const struct http_args *args, http_cb cb,
				   void *arg);
/* Not after its callback has begun. What args borrowed is free when this returns. */
void http_client_cancel(struct http_send *h);
/* Cancels everything. Never from inside a callback; the loop must turn once more to close what it
 * watched. NULL is fine. */
void http_client_free(struct http_client *c);

/* ---- local_host.c: sshd, cgroups, /proc ---- */
struct local_host;
/* `dir` keeps one directory per instance (made if missing). Says in `note` how processes will be
 * counted: by cgroup v2 (with its path) or by marker. */
struct local_host *local_host_new(uv_loop_t *loop, const char *dir, const char *deployment,
				  struct buf *note, struct error *why);
void local_host_call(struct local_host *h, const struct host_call *call, host_cb cb, void *arg);
void local_host_free(struct local_host *h);

#endif
