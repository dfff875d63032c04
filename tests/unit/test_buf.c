/*
 * Secret text buffers leave no copy behind: every block of memory is searched at the moment it is
 * freed. The linker sends malloc, realloc and free of buf.c here (--wrap).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../src/core/buf.h"
#include "../../src/core/check.h"

#include <cmocka.h>

#define SECRET	   "-----BEGIN OPENSSH PRIVATE KEY-----"
#define BLOCKS_MAX 64

void *__real_malloc(size_t n);
void *__real_realloc(void *p, size_t n);
void __real_free(void *p);
void *__wrap_malloc(size_t n);
void *__wrap_realloc(void *p, size_t n);
void __wrap_free(void *p);

static struct {
	char *p;
	size_t n;
} blocks[BLOCKS_MAX];
static size_t found, freed; /* blocks given back with the secret in them; all */
static bool watching, broke;

static void block_add(char *p, size_t n)
{
	for (size_t i = 0; p && i < BLOCKS_MAX; i++)
		if (!blocks[i].p) {
			blocks[i].p = p;
			blocks[i].n = n;
			return;
		}
}

static void block_look(const char *p)
{
	for (size_t i = 0; p && i < BLOCKS_MAX; i++)
		if (blocks[i].p == p) {
			freed++;
			found += memmem(p, blocks[i].n, SECRET, strlen(SECRET)) != NULL;
			blocks[i].p = NULL;
		}
}

void *__wrap_malloc(size_t n)
{
	char *p = watching && broke ? NULL : __real_malloc(n);

	if (p && watching) {
		memset(p, 0, n); /* so that the search reads nothing undefined */
		block_add(p, n);
	}
	return p;
}

/* Always moves, as it may. */
void *__wrap_realloc(void *p, size_t n)
{
	char *to;
	size_t old = 0;

	if (!watching)
		return __real_realloc(p, n);
	to = __wrap_malloc(n);
	for (size_t i = 0; p && i < BLOCKS_MAX; i++)
		if (blocks[i].p == p)
			old = blocks[i].n;
	if (to && p)
		memcpy(to, p, old < n ? old : n);
	if (to)
		__wrap_free(p);
	return to;
}

void __wrap_free(void *p)
{
	if (watching)
		block_look(p);
	__real_free(p);
}

/* Grows over many blocks with the secret at its beginning. */
static void fill(struct buf *b)
{
	buf_puts(b, SECRET);
	for (int i = 0; i < 1000; i++)
		buf_puts(b, "0123456789");
}

static void watch_begin(void)
{
	found = freed = 0;
	watching = true;
}

static void test_plain_leaves_copies(void **state)
{
	struct buf b = {0};

	(void)state;
	watch_begin();
	fill(&b);
	buf_free(&b);
	watching = false;
	assert_true(freed > 4);
	assert_int_equal(found, freed); /* else the test would prove nothing about the next one */
}

static void test_secret_leaves_none(void **state)
{
	struct buf b = {.secret = true};

	(void)state;
	watch_begin();
	fill(&b);
	watching = false;
	assert_false(b.failed);
	assert_int_equal(b.len, strlen(SECRET) + 10000);
	assert_memory_equal(b.data, SECRET "0123456789", strlen(SECRET) + 10);
	watching = true;
	buf_free(&b);
	watching = false;
	assert_true(freed > 4);
	assert_int_equal(found, 0);
}

static void test_secret_reset(void **state)
{
	struct buf b = {.secret = true};

	(void)state;
	watch_begin();
	buf_puts(&b, "short");
	fill(&b);
	buf_reset(&b);
	watching = false;
	assert_null(memmem(b.data, b.cap, SECRET, strlen(SECRET)));
	assert_true(b.secret);
	watching = true;
	fill(&b);
	buf_free(&b);
	watching = false;
	assert_int_equal(found, 0);
}

/* What is there stays whole and is wiped in the end. */
static void test_secret_without_memory(void **state)
{
	struct buf b = {.secret = true};

	(void)state;
	watch_begin();
	buf_puts(&b, SECRET);
	broke = true;
	fill(&b);
	broke = watching = false;
	assert_true(b.failed);
	assert_memory_equal(b.data, SECRET, strlen(SECRET));
	watching = true;
	buf_free(&b);
	watching = false;
	assert_int_equal(freed, 1);
	assert_int_equal(found, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_plain_leaves_copies),
		cmocka_unit_test(test_secret_leaves_none),
		cmocka_unit_test(test_secret_reset),
		cmocka_unit_test(test_secret_without_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
