/*
 * The tree's table itself: every row is documented, unique and of a combination that the mechanism
 * can serve; and what is printed from it (README, schema.json, gpufs-tree(7)) is whole and
 * well-formed.
 */
#include "tree_fake.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h> /* after ours: it makes `fail` a macro */
#include <jansson.h>

#include "../../src/core/check.h"

#define EACH_ROW(class, r)                                      \
	for (int class = OBJ_ROOT; class < OBJ_COUNT; class ++) \
		for (const struct row *r = object_classes[class].rows; r->path; r++)

static void rows_have_docs(void **state)
{
	(void)state;
	EACH_ROW(class, r)
	{
		if (!r->doc || strlen(r->doc) < 8 || strlen(r->doc) > 200)
			fail_msg("%s: doc line", r->path);
		assert_null(strchr(r->doc, '\n'));
		assert_null(strchr(r->doc, '\t'));
		assert_null(strstr(r->doc, "  "));
	}
	for (int c = OBJ_ROOT; c < OBJ_COUNT; c++) {
		if (c == OBJ_READER)
			continue;
		assert_non_null(object_classes[c].doc);
		if (object_classes[c].link)
			assert_non_null(object_classes[c].link->doc);
	}
}

static void paths_are_unique_and_plain(void **state)
{
	(void)state;
	EACH_ROW(class, r)
	{
		assert_int_equal(strspn(r->path, "abcdefghijklmnopqrstuvwxyzADEMR_./"),
				 strlen(r->path));
		for (const struct row *other = r + 1; other->path; other++)
			if (strcmp(r->path, other->path) == 0)
				fail_msg("%s: twice", r->path);
		assert_true(r - object_classes[class].rows < 254); /* a field has 8 bits */
	}
}

/* "ssh/key" needs a row "ssh" that is a directory. */
static void parents_are_directories(void **state)
{
	(void)state;
	EACH_ROW(class, r)
	{
		char parent[64];
		const char *slash = strchr(r->path, '/');

		if (!slash)
			continue;
		assert_null(strchr(slash + 1, '/'));
		snprintf(parent, sizeof(parent), "%.*s", (int)(slash - r->path), r->path);
		const struct row *p = fake_row((enum object) class, parent);

		if (!p || !(p->flags & ROW_DIR))
			fail_msg("%s: no directory %s", r->path, parent);
	}
}

static void check_directory(const struct row *r)
{
	assert_null(r->show);
	assert_null(r->store);
	assert_int_equal(r->flags & ~(unsigned)(ROW_DIR | ROW_UNLISTED), 0);
	assert_int_equal(r->mode & 0222 & ~0200u, r->mode & 01000 ? 022 : 0);
}

static void check_file(const struct row *r)
{
	bool writes = (r->mode & 0222) != 0, link = r->type == V_LINK;

	assert_int_equal(r->children, OBJ_NONE);
	assert_int_equal(r->mode & 0111, link ? 0111 : 0);
	/* Who can read, reads something; who can write, reaches somebody. */
	if ((r->mode & 0444) && r->cache != C_WAIT && r->cache != C_STREAM)
		assert_non_null(r->show);
	assert_int_equal(!link && writes, r->store != NULL || (r->flags & ROW_SPEC) != 0);
	assert_int_equal(r->cache == C_WAIT, r->wait != NULL);
	/* The page cache would keep what was written (fuse.md 5.2). */
	if (writes && !link)
		assert_int_equal(r->cache, C_DERIVED);
	/* What info shows must be one value that its readers may see. */
	if (r->flags & ROW_INFO) {
		assert_non_null(r->show);
		assert_int_equal(r->flags & ROW_SECRET, 0);
		assert_true(r->type != V_TABLE && r->type != V_JSON && r->type != V_LINK);
	}
	if (r->flags & ROW_SECRET)
		assert_int_equal(r->mode & 077, 0);
	if (r->flags & ROW_ROOT_ONLY)
		assert_int_equal(r->mode, 0400);
	if (r->flags & ROW_LINES)
		assert_int_equal(r->mode & 0444, 0); /* grep -r must not hang on it */
	assert_int_equal((r->flags & ROW_HOLD) && !(r->mode & 0200), 0);
}

static void modes_and_flags_agree(void **state)
{
	(void)state;
	EACH_ROW(class, r)
	{
		if (r->flags & ROW_DIR)
			check_directory(r);
		else
			check_file(r);
		if (r->cache == C_READER)
			assert_ptr_equal(object_classes[class].rows, root_rows);
	}
	assert_true(fake_row(OBJ_SESSION, "state")->flags & ROW_STATE_POLL);
}

/* Nothing that blocks can be met by walking the tree: the directory above is never listed. */
static void what_waits_is_unlisted(void **state)
{
	(void)state;
	EACH_ROW(class, r)
	{
		char parent[64];

		if (r->cache != C_WAIT && r->cache != C_STREAM)
			continue;
		snprintf(parent, sizeof(parent), "%.*s", (int)strcspn(r->path, "/"), r->path);
		assert_true(fake_row((enum object) class, parent)->flags & ROW_UNLISTED);
	}
}

static void offers_are_offer_fields(void **state)
{
	(void)state;
	for (size_t i = 0; i < offer_field_count; i++) {
		assert_string_equal(offer_rows[i].path, offer_fields[i].name);
		assert_string_equal(offer_rows[i].doc, offer_fields[i].doc);
		assert_int_equal(offer_rows[i].type, offer_fields[i].type);
		if (offer_fields[i].unit)
			assert_string_equal(offer_rows[i].unit, offer_fields[i].unit);
		else
			assert_null(offer_rows[i].unit);
	}
	assert_string_equal(offer_rows[offer_field_count].path, "info");
}

/* What a script may rely on in this version: a row that is lost is a broken interface. */
static void rows_of_the_interface(void **state)
{
	static const struct {
		enum object class;
		const char *paths;
	} wanted[] = {
		{OBJ_ROOT,
		 "README version status status.json alarms list error ssh_config schema.json "
		 "ctl inventory search sessions history history/last providers watch/events"},
		{OBJ_OFFER,
		 "provider provider_id gpu_type gpu_count vram_gb price_per_hour location "
		 "reliability available max_duration_hours availability_confidence "
		 "cuda_version machine_id interruptible min_bid info info.json"},
		{OBJ_SESSION,
		 "spec plan ctl state reason error id owner consumer provider instance_id "
		 "offer_id offer gpu_type gpu_count vram_gb location price_per_hour "
		 "price_quoted created_at bought_at running_at expires_at stopped_at "
		 "remaining cost cost_max protect hold ssh/host ssh/port ssh/user "
		 "ssh/command ssh/key ssh/key.pub ssh/known_hosts ssh/config env log "
		 "events.json info info.json wait/ready wait/change watch/events attempts "
		 "failed_offers workload_type label provider_cost ports provider.log"},
		{OBJ_HISTORY,
		 "state reason id owner consumer provider instance_id offer_id gpu_type "
		 "cost receipt wait/gone log events.json info info.json name provider_cost "
		 "ports provider.log"},
		{OBJ_PROVIDER,
		 "state reason offers list_age list_complete balance calls errors dropped foreign "
		 "info info.json enabled"},
		{OBJ_QUERY, "best count table table.tsv offers.json why"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(wanted); i++) {
		char words[1024], *save;

		copy_text(words, sizeof(words), wanted[i].paths);
		for (char *w = strtok_r(words, " ", &save); w; w = strtok_r(NULL, " ", &save))
			if (!fake_row(wanted[i].class, w))
				fail_msg("%s is missing", w);
	}
}

static void readme_fits_a_screen(void **state)
{
	BUF out = {0};
	int lines = 0;

	(void)state;
	assert_int_equal(mount_print("README", &out), 0);
	for (const char *p = out.data; *p; lines++) {
		size_t n = strcspn(p, "\n");

		if (n > 79)
			fail_msg("%zu columns: %.*s", n, (int)n, p);
		assert_int_equal(p[n], '\n');
		p += n + 1;
	}
	assert_in_range(lines, 12, 24);
	assert_non_null(strstr(out.data, "mkdir /gpu/sessions/train\n"));
	assert_null(strstr(out.data, "%s"));
	assert_null(strstr(out.data, "counters"));
}

static void readme_says_where_readers_see_it(void **state)
{
	(void)state;
	fake_reset();
	COPY(fake_engine.policy.public_mount, "/mnt/my gpus");
	FREE char *text = fake_show(fake_ctx(OBJ_ROOT, 0, 0), "README");

	assert_non_null(strstr(text, "mkdir '/mnt/my gpus'/sessions/train\n"));
	assert_null(strstr(text, " /gpu/"));
	fake_free();
}

static void schema_is_json(void **state)
{
	BUF out = {0};
	size_t lines = 0, rows = 0;

	(void)state;
	assert_int_equal(mount_print("schema.json", &out), 0);
	for (char *p = out.data; *p; lines++) {
		char *end = strchr(p, '\n');
		json_error_t why;

		assert_non_null(end);
		json_t *line = json_loadb(p, (size_t)(end - p), 0, &why);

		if (!line)
			fail_msg("%s: %.*s", why.text, (int)(end - p), p);
		assert_true(json_is_string(json_object_get(line, "doc")));
		assert_true(json_is_string(json_object_get(line, "type")));
		assert_int_equal(strlen(json_string_value(json_object_get(line, "mode"))), 4);
		const char *path = json_string_value(json_object_get(line, "path"));

		assert_true(path && *path && *path != '/' && path[strlen(path) - 1] != '/');
		json_decref(line);
		p = end + 1;
	}
	EACH_ROW(class, r)
	rows += class != OBJ_READER && !(r->flags & ROW_ROOT_ONLY);
	assert_int_equal(lines, rows + 8); /* and the objects themselves, except the root */
	assert_non_null(strstr(out.data, "{\"path\":\"sessions/NAME/state\",\"mode\":\"0440\","
					 "\"type\":\"text\",\"doc\":\""));
	assert_null(strstr(out.data, "counters"));
}

/* mandoc(1) is the judge where it is installed; the shape is checked everywhere. */
static void man_page_is_whole(void **state)
{
	BUF out = {0};
	char command[128], name[] = "/tmp/gpufs-tree.XXXXXX.7";

	(void)state;
	assert_int_equal(mount_print("man", &out), 0);
	assert_memory_equal(out.data, ".Dd ", 4);
	assert_non_null(strstr(out.data, ".It Pa ssh/known_hosts Pq text, 0440\n"));
	assert_non_null(strstr(out.data, ".It Cm extend Ar 2h\n"));
	assert_non_null(strstr(out.data, ".It Bq Er ENOSPC\n"));
	assert_null(strstr(out.data, "counters"));
	EACH_ROW(class, r)
	{
		snprintf(command, sizeof(command), ".It Pa %s Pq ", r->path);
		if (!(r->flags & ROW_ROOT_ONLY) && !strstr(out.data, command))
			fail_msg("%s is missing", r->path);
	}
	if (system("command -v mandoc >/dev/null") != 0)
		return;
	int fd = mkstemps(name, 2);
	FILE *f = fd < 0 ? NULL : fdopen(fd, "w");

	assert_non_null(f);
	fwrite(out.data, 1, out.len, f);
	fclose(f);
	snprintf(command, sizeof(command), "mandoc -T lint -W warning %s", name);
	int rc = system(command);

	remove(name);
	assert_int_equal(rc, 0);
}

static void unknown_document(void **state)
{
	BUF out = {0};

	(void)state;
	assert_int_equal(mount_print("nothing", &out), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rows_have_docs),
		cmocka_unit_test(paths_are_unique_and_plain),
		cmocka_unit_test(parents_are_directories),
		cmocka_unit_test(modes_and_flags_agree),
		cmocka_unit_test(what_waits_is_unlisted),
		cmocka_unit_test(offers_are_offer_fields),
		cmocka_unit_test(rows_of_the_interface),
		cmocka_unit_test(readme_fits_a_screen),
		cmocka_unit_test(readme_says_where_readers_see_it),
		cmocka_unit_test(schema_is_json),
		cmocka_unit_test(man_page_is_whole),
		cmocka_unit_test(unknown_document),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
