/*
 * What libssh2 works on, for one login: memory, a socket that is read in bounded pieces, the host key.
 *
 * Owner: the loop thread. The other end is hostile: what one turn of the loop reads, and what one attempt
 * reads, are bounded (a server that sends banner lines for ever would otherwise keep libssh2 inside one
 * call), and the key that it shows is looked at byte by byte before it becomes text.
 * Must never: keep a private key in freed memory; wait for the other end when it is closed.
 * Tests: tests/unit/test_ssh_probe.c
 */
#include "ssh_parts.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define TURN_BYTES_MAX	  ((size_t)64 << 10) /* read in one turn of the loop */
#define TURN_CALLS_MAX	  ((size_t)1000)     /* libssh2 reads a banner byte by byte */
#define ATTEMPT_BYTES_MAX ((size_t)1 << 20)  /* read in one attempt; a normal one reads 5 KiB */
#define HOST_KEY_BLOB_MAX ((size_t)2 << 10)
#define FREE_TRIES	  100

/* ---- memory of libssh2 ----
 * Wiped before it is freed, since our private key passes through it; and kept in a list, since libssh2
 * 1.10 loses the two halves of its exchange key when a session is freed in the middle of the exchange. */

struct mem_head {
	_Alignas(max_align_t) size_t size;
	struct mem_head *prev, *next;
};

static void *mem_alloc(size_t n, void **abstract)
{
	struct ssh_wire *w = *abstract;
	struct mem_head *h;

	if (n > SIZE_MAX - sizeof(*h))
		return NULL;
	h = malloc(sizeof(*h) + n);
	if (!h)
		return NULL;
	*h = (struct mem_head){.size = n, .next = w->memory};
	if (h->next)
		h->next->prev = h;
	w->memory = h;
	return h + 1;
}

static void mem_free(void *ptr, void **abstract)
{
	struct ssh_wire *w = *abstract;
	struct mem_head *h = ptr;

	if (!h)
		return;
	h--;
	if (h->next)
		h->next->prev = h->prev;
	if (h->prev)
		h->prev->next = h->next;
	else
		w->memory = h->next;
	explicit_bzero(h, sizeof(*h) + h->size);
	free(h);
}

static void *mem_realloc(void *ptr, size_t n, void **abstract)
{
	size_t old = ptr ? ((struct mem_head *)ptr - 1)->size : 0;
	void *fresh = mem_alloc(n, abstract);

	if (fresh && ptr) {
		memcpy(fresh, ptr, old < n ? old : n);
		mem_free(ptr, abstract);
	}
	return fresh;
}

/* ---- bytes in and out ---- */

static ssize_t wire_recv(libssh2_socket_t fd, void *buffer, size_t n, int flags, void **abstract)
{
	struct ssh_wire *w = *abstract;
	ssize_t got;

	if (w->closed || w->attempt_bytes >= ATTEMPT_BYTES_MAX)
		return -ECONNRESET;
	if (w->turn_bytes >= TURN_BYTES_MAX || w->turn_calls++ >= TURN_CALLS_MAX)
		return -EAGAIN; /* the poll is level triggered: the next turn goes on */
	got = recv(fd, buffer, n, flags);
	if (got < 0)
		return -errno;
	w->turn_bytes += (size_t)got;
	w->attempt_bytes += (size_t)got;
	return got;
}

static ssize_t wire_send(libssh2_socket_t fd, const void *buffer, size_t n, int flags,
			 void **abstract)
{
	struct ssh_wire *w = *abstract;
	ssize_t put;

	if (w->closed)
		return -EPIPE;
	put = send(fd, buffer, n, flags | MSG_NOSIGNAL);
	return put < 0 ? -errno : put;
}

/* libssh2 takes its callbacks as data pointers; a union says so without a forbidden cast. */
static void wire_hook_io(LIBSSH2_SESSION *ssh)
{
	union {
		ssize_t (*fn)(libssh2_socket_t, void *, size_t, int, void **);
		void *data;
	} in = {.fn = wire_recv};
	union {
		ssize_t (*fn)(libssh2_socket_t, const void *, size_t, int, void **);
		void *data;
	} out = {.fn = wire_send};

	libssh2_session_callback_set(ssh, LIBSSH2_CALLBACK_RECV, in.data);
	libssh2_session_callback_set(ssh, LIBSSH2_CALLBACK_SEND, out.data);
}

/* ---- host key ---- */

char *ssh_host_key_text(LIBSSH2_SESSION *ssh)
{
	size_t n = 0;
	int type;
	const char *blob = libssh2_session_hostkey(ssh, &n, &type);
	char b64[HOST_KEY_BLOB_MAX * 4 / 3 + 8];
	size_t name_len;
	char *out = NULL;

	if (!blob || n < 4 || n > HOST_KEY_BLOB_MAX)
		return NULL;
	name_len = (size_t)(unsigned char)blob[0] << 24 | (size_t)(unsigned char)blob[1] << 16 |
		   (size_t)(unsigned char)blob[2] << 8 | (size_t)(unsigned char)blob[3];
	if (name_len == 0 || name_len > 64 || name_len > n - 4)
		return NULL;
	for (size_t i = 0; i < name_len; i++)
		if (blob[4 + i] <= ' ' || blob[4 + i] >= 0x7f)
			return NULL;
	EVP_EncodeBlock((unsigned char *)b64, (const unsigned char *)blob, (int)n);
	if (asprintf(&out, "%.*s %s", (int)name_len, blob + 4, b64) < 0)
		return NULL;
	return out;
}

bool ssh_host_key_is(const char *pinned, const char *seen)
{
	size_t n = strlen(seen);

	return strncmp(pinned, seen, n) == 0 && (pinned[n] == '\0' || pinned[n] == ' ');
}

/* The pinned type first: a server with several keys must show the one that we know. */
static void prefer_host_key(LIBSSH2_SESSION *ssh, const char *pinned)
{
	static const char others[] =
		"ssh-ed25519,ecdsa-sha2-nistp256,ecdsa-sha2-nistp384,ecdsa-sha2-nistp521,ssh-rsa";
	char list[256];
	int type_len = (int)strcspn(pinned, " ");

	if (type_len == 0 || type_len > 64)
		snprintf(list, sizeof(list), "%s", others);
	else
		snprintf(list, sizeof(list), "%.*s,%s", type_len, pinned, others);
	libssh2_session_method_pref(ssh, LIBSSH2_METHOD_HOSTKEY, list);
}

/* ---- the session ---- */

int ssh_wire_open(struct ssh_wire *w, const char *pinned)
{
	w->ssh = libssh2_session_init_ex(mem_alloc, mem_free, mem_realloc, w);
	if (!w->ssh)
		return -ENOMEM;
	libssh2_session_set_blocking(w->ssh, 0);
	wire_hook_io(w->ssh);
	prefer_host_key(w->ssh, pinned);
	return 0;
}

void ssh_wire_turn(struct ssh_wire *w)
{
	w->turn_bytes = w->turn_calls = 0;
}

bool ssh_wire_flooded(const struct ssh_wire *w)
{
	return w->attempt_bytes >= ATTEMPT_BYTES_MAX;
}

/* With `closed` set, every read and write fails at once, so this cannot wait for the other end. */
void ssh_wire_close(struct ssh_wire *w)
{
	w->closed = true;
	for (int i = 0; w->channel && i < FREE_TRIES; i++)
		if (libssh2_channel_free(w->channel) != LIBSSH2_ERROR_EAGAIN)
			w->channel = NULL;
	for (int i = 0; w->ssh && i < FREE_TRIES; i++)
		if (libssh2_session_free(w->ssh) != LIBSSH2_ERROR_EAGAIN)
			w->ssh = NULL;
	w->ssh = NULL;
	while (w->memory) {
		void *self = w;

		mem_free(w->memory + 1, &self);
	}
}
