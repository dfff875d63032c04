/*
 * README, schema.json and the manual page gpufs-tree(7), printed from the tables of the tree, so
 * that they cannot lie: paths, modes, types and docs from the rows, verbs from the engine, keys of
 * the spec and of queries, states and errors from core. Loop thread, or before a loop exists
 * (mount_print). Invariants: README fits a screen of 24 lines of 79 columns where the mount point's
 * name is short; a row for root only is documented nowhere. Tests: tests/unit/test_docs.c.
 */
#include <string.h>

#include "../src/core/spec.h"
#include "rows.h"

static const char *type_name(const struct row *r)
{
	if (r->flags & ROW_DIR)
		return "directory";
	switch (r->type) {
	case V_TEXT:
		return "text";
	case V_INT:
		return "integer";
	case V_DECIMAL:
		return "decimal";
	case V_MONEY:
		return "money";
	case V_BOOL:
		return "boolean";
	case V_TIME:
		return "time";
	case V_TABLE:
		return "table";
	case V_JSON:
		return "json";
	case V_LINK:
		return "link";
	}
	return "text";
}

/* ---- README ---- */

/* The commands of a session's life and what helps with them; %s is the mount point. */
static const char *const readme_head[] = {
	"gpufs: GPU machines as directories. Looking costs nothing; a whole spec buys.",
	"",
	"  mkdir %s/sessions/train",
	"  echo 'max_price=0.50 hours=2' > %s/sessions/train/spec",
	"  timeout 15m cat %s/sessions/train/wait/ready",
	"  ssh -F %s/sessions/train/ssh/config train.gpu",
	"  rmdir %s/sessions/train",
	"",
	"It takes the cheapest match: add gpu=RTX_4090 min_vram=24, or name an offer=ID.",
	"Proof that it is gone:  cat %s/history/last/train/wait/gone",
	"After a refusal:        cat %s/error",
	"find -delete destroys:  echo 1 > %s/sessions/train/protect",
	"",
};

/* Files of the root that are worth a line of the screen; directories all are. */
static bool readme_shows(const struct row *r)
{
	static const char *const files[] = {"status", "alarms", "list", "schema.json"};

	if (r->flags & ROW_UNLISTED)
		return false;
	if (r->flags & ROW_DIR)
		return true;
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
		if (strcmp(r->path, files[i]) == 0)
			return true;
	return false;
}

static void put_replaced(struct buf *out, const char *line, const char *mount)
{
	const char *mark = strstr(line, "%s");

	if (!mark) {
		buf_puts(out, line);
		return;
	}
	buf_add(out, line, (size_t)(mark - line));
	buf_puts(out, mount);
	buf_puts(out, mark + 2);
}

int show_readme(const struct ctx *x, struct buf *out)
{
	BUF quoted = {0};
	const char *mount = public_mount(x);

	if (strcspn(mount, " '\"\\$`*?;&|<>()") != strlen(mount)) {
		buf_shell(&quoted, mount); /* the commands are there to be copied */
		mount = quoted.failed ? mount : quoted.data;
	}
	for (size_t i = 0; i < sizeof(readme_head) / sizeof(readme_head[0]); i++) {
		put_replaced(out, readme_head[i], mount);
		buf_putc(out, '\n');
	}
	for (const struct row *r = root_rows; r->path; r++)
		if (readme_shows(r))
			buf_printf(out, "  %-13s %s\n", r->path, r->doc);
	buf_puts(out, "Everything: gpufs --print=man | man -l -\n");
	return 0;
}

/* ---- schema.json ---- */

/* Kinds of objects in the order of documents. OBJ_READER is left out: its rows are the root's. */
static const enum object documented[] = {OBJ_ROOT, OBJ_OFFER,	OBJ_QUERY, OBJ_RESULT,	OBJ_SESSION,
					 OBJ_PORT, OBJ_HISTORY, OBJ_LAST,  OBJ_PROVIDER};
#define DOCUMENTED (sizeof(documented) / sizeof(documented[0]))

/* Permission bits of an object's own directory as it is made; a session's owner may change them. */
static mode_t object_mode(enum object class)
{
	if (object_classes[class].link)
		return object_classes[class].link->mode;
	return class == OBJ_SESSION ? 0750 : class == OBJ_HISTORY ? 0550 : 0555;
}

static void schema_put(struct buf *out, const char *object, const char *path, mode_t mode,
		       const char *type, const struct row *r, const char *doc)
{
	BUF whole = {0};

	buf_printf(&whole, "%s%s%s", object, *object && *path ? "/" : "", path);
	buf_puts(out, "{\"path\":");
	buf_json(out, whole.data, whole.len);
	buf_printf(out, ",\"mode\":\"%04o\",\"type\":\"%s\"", (unsigned)mode, type);
	if (r && r->unit) {
		buf_puts(out, ",\"unit\":");
		buf_json(out, r->unit, strlen(r->unit));
	}
	if (r && (r->cache == C_WAIT || r->cache == C_STREAM))
		buf_puts(out, ",\"blocks\":true");
	buf_puts(out, ",\"doc\":");
	buf_json(out, doc, strlen(doc));
	buf_puts(out, "}\n");
	out->failed |= whole.failed;
}

static void schema_put_class(struct buf *out, enum object class)
{
	const struct object_class *c = &object_classes[class];

	if (c->link)
		schema_put(out, c->pattern, "", object_mode(class), type_name(c->link), NULL,
			   c->link->doc);
	else if (*c->pattern)
		schema_put(out, c->pattern, "", object_mode(class), "directory", NULL, c->doc);
	for (const struct row *r = c->rows; r->path; r++)
		if (!(r->flags & ROW_ROOT_ONLY))
			schema_put(out, c->pattern, r->path, r->mode, type_name(r), r, r->doc);
}

int show_schema(const struct ctx *x, struct buf *out)
{
	(void)x;
	for (size_t i = 0; i < DOCUMENTED; i++)
		schema_put_class(out, documented[i]);
	return 0;
}

/* ---- gpufs-tree(7), in mdoc ---- */

/* A paragraph: words wrapped, and nothing of it read as a macro or an escape. */
static void man_text(struct buf *out, const char *s)
{
	size_t column = 0;
	bool sentence = false; /* the word before ended one: mdoc wants the next on a new line */

	while (*s) {
		size_t n = strcspn(s, " ");

		if (column && (sentence || column + 1 + n > 78)) {
			buf_putc(out, '\n');
			column = 0;
		}
		if (column)
			buf_putc(out, ' ');
		else if (*s == '.' || *s == '\'')
			buf_puts(out, "\\&");
		for (size_t i = 0; i < n; i++) {
			if (s[i] == '\\')
				buf_puts(out, "\\e");
			else
				buf_putc(out, s[i]);
		}
		column += n + (column ? 1 : 0);
		sentence = n >= 2 && s[n - 1] == '.' && s[n - 2] != '.';
		s += n;
		while (*s == ' ')
			s++;
	}
	buf_putc(out, '\n');
}

static void man_item(struct buf *out, const char *macro, const char *name)
{
	buf_printf(out, ".It %s %s\n", macro, name);
}

static void man_list(struct buf *out)
{
	buf_puts(out, ".Bl -tag -width Ds\n");
}

static void man_end(struct buf *out)
{
	buf_puts(out, ".El\n");
}

static void man_row(struct buf *out, const struct row *r)
{
	if (r->flags & ROW_ROOT_ONLY)
		return;
	buf_printf(out, ".It Pa %s Pq %s%s%s, %04o%s\n", r->path, type_name(r), r->unit ? ", " : "",
		   r->unit ? r->unit : "", (unsigned)r->mode,
		   r->cache == C_WAIT || r->cache == C_STREAM ? ", waits" : "");
	man_text(out, r->doc);
}

static void man_class(struct buf *out, enum object class)
{
	const struct object_class *c = &object_classes[class];

	buf_printf(out, ".Ss %s\n", *c->pattern ? c->pattern : "The root");
	man_text(out, c->link ? c->link->doc : c->doc);
	if (!c->rows->path)
		return;
	man_list(out);
	for (const struct row *r = c->rows; r->path; r++)
		man_row(out, r);
	man_end(out);
}

static void man_verbs(struct buf *out, const char *where, const struct verb *verbs)
{
	buf_printf(out, ".Ss %s\n", where);
	man_list(out);
	for (; verbs->name && *verbs->name; verbs++) {
		bool args = verbs->args && *verbs->args;

		buf_printf(out, ".It Cm %s%s%s\n", verbs->name, args ? " Ar " : "",
			   args ? verbs->args : "");
		man_text(out, verbs->doc);
	}
	man_end(out);
}

static void man_key(struct buf *out, const char *name, const char *unit, const char *doc,
		    const char *more)
{
	BUF text = {0};

	man_item(out, "Cm", name);
	buf_puts(&text, doc);
	if (unit)
		buf_printf(&text, " (%s)", unit);
	buf_puts(&text, more);
	man_text(out, text.data ? text.data : "");
	out->failed |= text.failed;
}

static void man_spec(struct buf *out)
{
	man_text(out,
		 "The words of a spec, key=value with white space between them, or the same keys "
		 "in one JSON object:");
	man_list(out);
	for (size_t i = 0; i < spec_key_count; i++) {
		const struct spec_key *k = &spec_keys[i];
		BUF more = {0};

		if (k->example)
			buf_printf(&more, ", for example %s", k->example);
		if (k->json_alias)
			buf_printf(&more, "; in JSON also %s", k->json_alias);
		bool family = k->name[strlen(k->name) - 1] == '.'; /* env.NAME */

		man_key(out, family ? "env.NAME" : k->name, k->unit, k->doc,
			more.data ? more.data : "");
	}
	man_end(out);
	buf_puts(out, ".Ss Selections\n");
	man_text(out, "Conditions of a spec and of search/, there joined by commas:");
	man_list(out);
	for (int i = 0; i < Q_KEY_COUNT; i++)
		man_key(out, query_keys[i].name, query_keys[i].unit, query_keys[i].doc, "");
	man_end(out);
}

static void man_states(struct buf *out)
{
	man_list(out);
	for (int i = 0; i < S_COUNT; i++) {
		man_item(out, "Li", state_name((enum session_state)i));
		man_text(out, state_doc((enum session_state)i));
	}
	man_end(out);
}

static void man_errors(struct buf *out)
{
	man_text(out,
		 "A refusal reaches the writer as errno; the sentence that explains it is in the "
		 "error file of the session and of the root.");
	man_list(out);
	for (int i = ERR_NONE + 1; i < ERR_COUNT; i++) {
		buf_printf(out, ".It Bq Er %s\n", errno_name(err_errno((enum err)i)));
		man_text(out, err_text((enum err)i));
	}
	man_end(out);
}

static const char *const man_rules[] = {
	"One value a file, with one newline at the end; what is unknown is an empty file.",
	"Time is in seconds, dates are RFC 3339 in UTC, money is USD, sizes are GB.",
	"Every object has info and info.json with all of its values that are no secret.",
	"Tables are tab separated with one # line of names, and empty without rows.",
	"Nothing waits but the files below wait/ and watch/, and those names are never listed.",
	"Watch with wait/, watch/ or poll(2); inotify sees only what this kernel's users do.",
};

static int print_man(struct buf *out)
{
	buf_puts(out, ".Dd November 24, 2026\n.Dt GPUFS-TREE 7\n.Os\n.Sh NAME\n.Nm gpufs-tree\n"
		      ".Nd GPU machines as directories\n.Sh DESCRIPTION\n");
	man_text(out, "What gpufs(1) shows below its mount point, here /gpu. Offers are read-only "
		      "directories. A directory made in sessions/ and a spec written into it "
		      "provision a machine; rmdir destroys it, and history/ keeps the proof.");
	buf_puts(out, ".Bl -bullet\n");
	for (size_t i = 0; i < sizeof(man_rules) / sizeof(man_rules[0]); i++) {
		buf_puts(out, ".It\n");
		man_text(out, man_rules[i]);
	}
	buf_puts(out, ".El\n.Sh FILES\n");
	man_text(out, "Each with its type, unit and mode.");
	for (size_t i = 0; i < DOCUMENTED; i++)
		man_class(out, documented[i]);
	buf_puts(out, ".Sh STATES\n");
	man_states(out);
	buf_puts(out, ".Sh SPEC\n");
	man_spec(out);
	buf_puts(out, ".Sh VERBS\n");
	man_verbs(out, "sessions/NAME/ctl", session_verbs);
	man_verbs(out, "ctl", root_verbs);
	buf_puts(out, ".Sh EXAMPLES\n.Bd -literal\n");
	for (size_t i = 2; i < 7; i++) {
		put_replaced(out, readme_head[i] + 2, "/gpu");
		buf_putc(out, '\n');
	}
	buf_puts(out, ".Ed\n.Sh REFUSALS\n");
	man_errors(out);
	buf_puts(out, ".Sh SEE ALSO\n.Xr gpufs.conf 5\n");
	return 0;
}

int mount_print(const char *what, struct buf *out)
{
	static const struct {
		const char *name;
		int (*show)(const struct ctx *x, struct buf *out);
	} documents[] = {{"README", show_readme}, {"schema.json", show_schema}};
	int rc = -EINVAL;

	if (strcmp(what, "man") == 0)
		rc = print_man(out);
	for (size_t i = 0; i < sizeof(documents) / sizeof(documents[0]); i++)
		if (strcmp(what, documents[i].name) == 0)
			rc = documents[i].show(NULL, out);
	return rc < 0 ? rc : out->failed ? -ENOMEM : 0;
}
