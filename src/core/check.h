/*
 * Assertions that stay in the product: a state that must not be is a reason to stop, since the
 * journal and the parent catch the fall; going on could cost money.
 */
#ifndef GPUFS_CORE_CHECK_H
#define GPUFS_CORE_CHECK_H

#include <stdio.h>
#include <stdlib.h>

#define CHECK(cond)                                                                              \
	do {                                                                                     \
		if (!(cond)) {                                                                   \
			fprintf(stderr, "gpufs: %s:%d: %s: must hold: %s\n", __FILE__, __LINE__, \
				__func__, #cond);                                                \
			abort();                                                                 \
		}                                                                                \
	} while (0)

#define ARRAY_LEN(a)		     (sizeof(a) / sizeof((a)[0]))
#define container_of(p, type, field) ((type *)(void *)((char *)(p)-offsetof(type, field)))

/* Free what a scope owns: FREE char *text = strdup(x); */
static inline void free_ptr(void *p)
{
	free(*(void **)p);
}
#define FREE __attribute__((cleanup(free_ptr)))

/* Start-up and small fixed objects: out of memory stops the process with a sentence. */
static inline void *xcalloc(size_t n, size_t size)
{
	void *p = calloc(n ? n : 1, size ? size : 1);

	CHECK(p != NULL);
	return p;
}

#endif
