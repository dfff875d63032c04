/*
 * Small helpers that several files of this room need, and nobody else includes: descriptors that close
 * themselves, a write that goes on until all is written, what is left until a deadline, texts.
 *
 * Any thread: nothing here keeps state. The clocks are in loop.c (io.h).
 * Tests: through their users, tests/unit/test_keys.c, test_local_host.c, test_ssh_probe.c, test_store.c
 */
#ifndef GPUFS_IO_IO_PARTS_H
#define GPUFS_IO_IO_PARTS_H

#include <stddef.h>
#include <stdint.h>

/* Close what a scope owns: FD fd = open(path, O_RDONLY | O_CLOEXEC); keep it by setting it to -1. */
void fd_close(int *fd);
#define FD __attribute__((cleanup(fd_close))) int

/* All of it, or -errno. */
int fd_write_all(int fd, const char *p, size_t n);
/* For poll(2): milliseconds until this moment of clock_mono_us, rounded up, within 0 and at_most_ms. */
int ms_until(int64_t deadline_us, int at_most_ms);
/* A copy of the caller's text, "" for NULL; out of memory stops the process with a sentence. */
char *copy_of(const char *s);
/* Somebody else's words: what is not printable ASCII becomes '?', in place. */
void printable(char *s);

#endif
