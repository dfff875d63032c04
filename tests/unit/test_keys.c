/*
 * src/io/keys.c: the pair against the real ssh-keygen, the key file against everything that can be
 * wrong with it. Needs ssh-keygen (openssh-client).
 */
#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../src/core/check.h"
#include "../../src/io/io.h"

#include <cmocka.h> /* after ours: it makes `fail` a macro */

struct fixture {
	char dir[64], key[96];
};

static int setup(void **state)
{
	struct fixture *f = xcalloc(1, sizeof(*f));

	snprintf(f->dir, sizeof(f->dir), "/tmp/gpufs-test-keys-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->key, sizeof(f->key), "%s/gpufs.key", f->dir);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	char cmd[128];

	snprintf(cmd, sizeof(cmd), "rm -rf '%s'", f->dir);
	assert_int_equal(system(cmd), 0);
	free(f);
	return 0;
}

static void put_file(const char *path, const char *text, mode_t mode)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
	assert_int_equal(chmod(path, mode), 0);
}

static void read_command(const char *cmd, char *out, size_t size)
{
	FILE *f = popen(cmd, "r");
	size_t n;

	assert_non_null(f);
	n = fread(out, 1, size - 1, f);
	out[n] = '\0';
	assert_int_equal(pclose(f), 0);
}

/* ---- the pair ---- */

static void pair_is_what_ssh_keygen_reads(void **state)
{
	const struct fixture *f = *state;
	static const char *const comments[] = {"", "a", "gpufs session 12", "1234567"};

	for (size_t i = 0; i < ARRAY_LEN(comments); i++) {
		struct secret priv = {.bytes = NULL};
		BUF pub = {.data = NULL};
		char path[128], cmd[200], got[512];

		assert_int_equal(keys_make(comments[i], &priv, &pub, NULL), 0);
		snprintf(path, sizeof(path), "%s/id%zu", f->dir, i);
		put_file(path, priv.bytes, 0600);
		snprintf(cmd, sizeof(cmd), "ssh-keygen -y -f %s", path);
		read_command(cmd, got, sizeof(got));
		got[strcspn(got, "\n")] = '\0';
		assert_string_equal(got, pub.data);
		for (char *line = priv.bytes; *line; line += strcspn(line, "\n") + 1)
			assert_true(strcspn(line, "\n") <= 70);
		secret_wipe(&priv);
	}
}

static void pairs_differ(void **state)
{
	struct secret a = {.bytes = NULL}, b = {.bytes = NULL};
	BUF pa = {.data = NULL}, pb = {.data = NULL};

	(void)state;
	assert_int_equal(keys_make("x", &a, &pa, NULL), 0);
	assert_int_equal(keys_make("x", &b, &pb, NULL), 0);
	assert_string_not_equal(a.bytes, b.bytes);
	assert_string_not_equal(pa.data, pb.data);
	secret_wipe(&a);
	secret_wipe(&b);
}

static void comment_of_two_lines_is_refused(void **state)
{
	struct secret priv = {.bytes = NULL};
	BUF pub = {.data = NULL};
	struct error why;

	(void)state;
	assert_int_equal(keys_make("a\nssh-ed25519 AAAA", &priv, &pub, &why), -EINVAL);
	assert_null(priv.bytes);
	assert_non_null(strstr(why.text, "one line"));
}

struct async_seen {
	int calls;
	bool begun;
	char priv[64], pub[256];
};

static void on_key(void *arg, const char *priv, const char *pub, const struct error *why)
{
	struct async_seen *s = arg;

	assert_true(s->begun); /* never inside the call */
	assert_null(why);
	s->calls++;
	snprintf(s->priv, sizeof(s->priv), "%.40s", priv);
	snprintf(s->pub, sizeof(s->pub), "%s", pub);
}

static void async_answers_on_the_loop(void **state)
{
	struct async_seen s = {.calls = 0};
	uv_loop_t loop;

	(void)state;
	assert_int_equal(uv_loop_init(&loop), 0);
	keys_make_async(&loop, "async", on_key, &s);
	s.begun = true;
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(s.calls, 1);
	assert_non_null(strstr(s.priv, "-----BEGIN OPENSSH PRIVATE KEY-----"));
	assert_non_null(strstr(s.pub, "ssh-ed25519 AAAA"));
	assert_non_null(strstr(s.pub, " async"));
	assert_int_equal(uv_loop_close(&loop), 0);
}

/* ---- gpufs.key ---- */

static void made_once_and_kept(void **state)
{
	const struct fixture *f = *state;
	char a[16], b[16];
	unsigned char ka[32], kb[32];
	struct stat st;
	struct error why;

	assert_int_equal(keys_load(f->key, "", a, ka, &why), 0);
	assert_int_equal(strlen(a), 8);
	assert_int_equal(stat(f->key, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(keys_load(f->key, NULL, b, kb, &why), 0);
	assert_string_equal(a, b);
	assert_memory_equal(ka, kb, 32);
	assert_int_equal(keys_load(f->key, a, b, kb, &why), 0);
}

static void made_with_the_wanted_id_in_a_new_directory(void **state)
{
	const struct fixture *f = *state;
	char path[128], id[16];
	unsigned char key[32];
	struct error why;

	snprintf(path, sizeof(path), "%s/a/b/gpufs.key", f->dir);
	assert_int_equal(keys_load(path, "prod1", id, key, &why), 0);
	assert_string_equal(id, "prod1");
}

static void nothing_is_left_aside(void **state)
{
	const struct fixture *f = *state;
	char aside[128], id[16];
	unsigned char key[32];
	struct error why;

	snprintf(aside, sizeof(aside), "%s.new", f->key);
	put_file(aside, "half a k", 0600); /* a start that was killed */
	assert_int_equal(keys_load(f->key, "", id, key, &why), 0);
	assert_int_equal(access(aside, F_OK), -1);
}

static void another_id_says_what_would_be_lost(void **state)
{
	const struct fixture *f = *state;
	char id[16];
	unsigned char key[32];
	struct error why;

	assert_int_equal(keys_load(f->key, "first", id, key, &why), 0);
	assert_int_equal(keys_load(f->key, "second", id, key, &why), -EINVAL);
	assert_non_null(strstr(why.text, "first"));
	assert_non_null(strstr(why.text, "second"));
	assert_non_null(strstr(why.text, "no longer recognise"));
	assert_int_equal(keys_load(f->key, "No Good", id, key, &why), -EINVAL);
	assert_int_equal(keys_load(f->key, "abc", id, key, &why), -EINVAL);
}

static void open_to_others_is_refused(void **state)
{
	const struct fixture *f = *state;
	char id[16];
	unsigned char key[32];
	struct error why;

	assert_int_equal(keys_load(f->key, "", id, key, &why), 0);
	assert_int_equal(chmod(f->key, 0640), 0);
	assert_int_equal(keys_load(f->key, "", id, key, &why), -EPERM);
	assert_non_null(strstr(why.text, "chmod 600"));
}

static void links_and_directories_are_refused(void **state)
{
	const struct fixture *f = *state;
	char id[16], other[128];
	unsigned char key[32];
	struct error why;

	snprintf(other, sizeof(other), "%s/real.key", f->dir);
	assert_int_equal(keys_load(other, "", id, key, &why), 0);
	assert_int_equal(symlink(other, f->key), 0);
	assert_int_equal(keys_load(f->key, "", id, key, &why), -EPERM);
	assert_non_null(strstr(why.text, "symbolic link"));
	assert_int_equal(keys_load(f->dir, "", id, key, &why), -EPERM);
}

#define HEX64 "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"

static void damage_is_a_sentence(void **state)
{
	const struct fixture *f = *state;
	static const struct {
		const char *text, *says;
	} bad[] = {
		{"", "not whole"},
		{"deployment abcd1234\n", "'key' is missing"},
		{"key " HEX64 "\n", "'deployment' is missing"},
		{"deployment abcd1234\nkey 0011\n", "line 2"},
		{"deployment ABCD1234\nkey " HEX64 "\n", "line 1"},
		{"deployment abcd1234\ndeployment abcd1234\nkey " HEX64 "\n", "line 2"},
		{"deployment abcd1234\nkey " HEX64 "\nmore\n", "line 3"},
		{"deployment abcd1234 \nkey " HEX64 "\n", "line 1"},
	};
	char id[16], *big;
	unsigned char key[32];
	struct error why;

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		put_file(f->key, bad[i].text, 0600);
		assert_int_equal(keys_load(f->key, "", id, key, &why), -EINVAL);
		if (!strstr(why.text, bad[i].says))
			fail_msg("row %zu says: %s", i, why.text);
		assert_non_null(strstr(why.text, "backup"));
	}
	big = xcalloc(1, 10001);
	memset(big, '#', 10000);
	put_file(f->key, big, 0600);
	free(big);
	assert_int_equal(keys_load(f->key, "", id, key, &why), -EINVAL);
	put_file(f->key, "# c\ndeployment abcd1234\nkey " HEX64 "\n", 0600);
	assert_int_equal(keys_load(f->key, "", id, key, &why), 0);
	assert_int_equal(key[31], 0x1f);
}

static void a_place_that_cannot_be_written_is_a_sentence(void **state)
{
	char id[16];
	unsigned char key[32];
	struct error why;

	(void)state;
	assert_int_equal(keys_load("/proc/no/gpufs.key", "", id, key, &why), -EIO);
	assert_non_null(strstr(why.text, "/proc/no/gpufs.key"));
}

/* What only looks makes nothing, and agrees with what a start made. */
static void reading_makes_no_key(void **state)
{
	struct fixture *f = *state;
	char id[16], again[16];
	unsigned char key[32], same[32];
	struct error why;

	assert_int_equal(keys_read(f->key, "", id, key, &why), -ENOENT);
	assert_non_null(strstr(why.text, f->key));
	assert_int_equal(access(f->key, F_OK), -1);
	assert_int_equal(keys_load(f->key, "prod1", id, key, &why), 0);
	assert_int_equal(keys_read(f->key, "", again, same, &why), 0);
	assert_string_equal(again, "prod1");
	assert_memory_equal(key, same, sizeof(key));
	assert_int_equal(keys_read(f->key, "prod2", again, same, &why), -EINVAL);
	put_file(f->key, "deployment prod1\n", 0600);
	assert_int_equal(keys_read(f->key, "", again, same, &why), -EINVAL);
	assert_non_null(strstr(why.text, "not whole"));
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(pair_is_what_ssh_keygen_reads),
		TEST(pairs_differ),
		TEST(comment_of_two_lines_is_refused),
		TEST(async_answers_on_the_loop),
		TEST(made_once_and_kept),
		TEST(made_with_the_wanted_id_in_a_new_directory),
		TEST(nothing_is_left_aside),
		TEST(another_id_says_what_would_be_lost),
		TEST(open_to_others_is_refused),
		TEST(links_and_directories_are_refused),
		TEST(damage_is_a_sentence),
		TEST(a_place_that_cannot_be_written_is_a_sentence),
		TEST(reading_makes_no_key),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
