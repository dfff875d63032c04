/*
 * The part of struct world that needs no more than a loop and an HTTP client: clock, random numbers, timers,
 * HTTP and workers, all of src/io/. The daemon and the commands that ask clouds share it. Loop thread.
 * Tests: tests/mount.
 */
#ifndef GPUFS_WORLD_IO_H
#define GPUFS_WORLD_IO_H

#include "io/io.h"

/* Whoever has a world keeps this in a struct of its own; world.self points here. */
struct world_io {
	uv_loop_t *loop;
	struct http_client *client; /* NULL: nothing is sent (any more) */
};

/* Sets those functions of w, and its self; the others are the caller's. */
void world_io_fill(struct world *w, struct world_io *io);

#endif
