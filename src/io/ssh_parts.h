/*
 * Between the two files of the SSH login: ssh_probe.c (the steps, on the loop) and ssh_wire.c (libssh2's
 * session with its memory and its bounded socket). Nobody else includes this.
 */
#ifndef GPUFS_IO_SSH_PARTS_H
#define GPUFS_IO_SSH_PARTS_H

#include <libssh2.h>
#include <stdbool.h>
#include <stddef.h>

struct mem_head;

struct ssh_wire {
	LIBSSH2_SESSION *ssh;
	LIBSSH2_CHANNEL *channel; /* opened by the steps, freed by ssh_wire_close */
	struct mem_head *memory;  /* all that libssh2 has taken and not given back */
	size_t turn_bytes, turn_calls, attempt_bytes;
	bool closed; /* every read and write fails at once */
};

/* A session that does not block and wants the pinned key's type first. -ENOMEM. The struct must stay
 * where it is until ssh_wire_close. */
int ssh_wire_open(struct ssh_wire *w, const char *pinned);
void ssh_wire_turn(struct ssh_wire *w); /* a turn of the loop begins */
/* It has sent all that one attempt reads. */
bool ssh_wire_flooded(const struct ssh_wire *w);
void ssh_wire_close(struct ssh_wire *w);

/* "type base64" of the key that the server showed, malloc'd; NULL if it cannot be read. */
char *ssh_host_key_text(LIBSSH2_SESSION *ssh);
/* The same type and the same key; a comment behind the pinned one does not count. */
bool ssh_host_key_is(const char *pinned, const char *seen);

#endif
