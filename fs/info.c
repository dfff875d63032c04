/*
 * Rendering what the rows say: one row (tree_show), all values of an object at once (info,
 * info.json, the search tables), and the printers of single values that the row files share. Loop
 * thread. Invariants: a value that is unknown is an empty file, no line in info and no key in
 * info.json; no text from outside can forge a line or a JSON key; secrets are never part of info.
 * Tests: tests/unit/test_rows.c.
 */
#include <string.h>

#include "../src/core/check.h"
#include "rows.h"

int put_line(struct buf *out, const char *s)
{
	if (!s || !*s)
		return 0;
	buf_escape(out, s, strlen(s));
	buf_putc(out, '\n');
	return 0;
}

int put_int_line(struct buf *out, int64_t v)
{
	if (v >= 0)
		buf_printf(out, "%lld\n", (long long)v);
	return 0;
}

int put_money_line(struct buf *out, int64_t u6)
{
	if (u6 < 0)
		return 0;
	put_money(out, u6);
	buf_putc(out, '\n');
	return 0;
}

int put_time_line(struct buf *out, int64_t wall_us)
{
	if (wall_us <= 0)
		return 0;
	put_time(out, wall_us);
	buf_putc(out, '\n');
	return 0;
}

const char *public_mount(const struct ctx *x)
{
	const char *p = x && x->e ? engine_policy(x->e)->public_mount : "";

	return *p ? p : "/gpu";
}

int tree_show(const struct ctx *x, struct buf *out)
{
	if (x->row->flags & ROW_DIR)
		return -EISDIR;
	if (!x->row->show)
		return -EINVAL;
	int rc = x->row->show(x, out);

	if (rc < 0)
		return rc;
	return out->failed ? -ENOMEM : 0;
}

/* The key of a row: its path, with '_' for '/', so that `ssh/host` reads ssh_host everywhere. */
static void row_key(const struct row *r, char key[64])
{
	copy_text(key, 64, r->path);
	for (char *p = strchr(key, '/'); p; p = strchr(p, '/'))
		*p = '_';
}

/* Calls `put` with each known value of x's object, without its newline. */
static int info_each(const struct ctx *x, struct buf *out,
		     void (*put)(struct buf *out, const char *key, const struct row *r,
				 const char *s, size_t n))
{
	struct ctx one = *x;
	BUF value = {0};
	char key[64];

	for (one.row = object_classes[x->class].rows; one.row->path; one.row++) {
		if (!(one.row->flags & ROW_INFO))
			continue;
		CHECK(!(one.row->flags & (ROW_SECRET | ROW_DIR)) && one.row->show);
		buf_reset(&value);
		int rc = tree_show(&one, &value);

		if (rc < 0)
			return rc;
		if (value.len > 0 && value.data[value.len - 1] == '\n')
			value.len--;
		if (value.len == 0)
			continue;
		row_key(one.row, key);
		put(out, key, one.row, value.data, value.len);
	}
	return 0;
}

static void info_put_line(struct buf *out, const char *key, const struct row *r, const char *s,
			  size_t n)
{
	(void)r;
	buf_puts(out, key);
	buf_putc(out, ' ');
	buf_escape(out, s, n);
	buf_putc(out, '\n');
}

static void info_put_json(struct buf *out, const char *key, const struct row *r, const char *s,
			  size_t n)
{
	put_json_key(out, key);
	put_json_value(out, r->type, s, n);
}

int show_info(const struct ctx *x, struct buf *out)
{
	return info_each(x, out, info_put_line);
}

int show_info_json(const struct ctx *x, struct buf *out)
{
	buf_putc(out, '{');
	int rc = info_each(x, out, info_put_json);

	buf_puts(out, "}\n");
	return rc;
}

const struct offer_field *offer_field_named(const char *name)
{
	for (size_t i = 0; i < offer_field_count; i++)
		if (strcmp(offer_fields[i].name, name) == 0)
			return &offer_fields[i];
	return NULL;
}
