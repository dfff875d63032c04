/*
 * The OpenAPI 3.1 document, printed from the tables that serve: routes, parameters, fields of
 * bodies and members of answers. docs/openapi.json is this text; a test compares them. Pure.
 * Tests: tests/mount/http_docs.bats.
 */
#include <inttypes.h>
#include <string.h>

#include "parts.h"

static const char *type_of(enum member_type t)
{
	switch (t) {
	case JT_TEXT:
		return "\"type\":\"string\"";
	case JT_INT:
		return "\"type\":\"integer\"";
	case JT_NUMBER:
		return "\"type\":\"number\"";
	case JT_BOOL:
		return "\"type\":\"boolean\"";
	case JT_TIME:
		return "\"type\":\"string\",\"format\":\"date-time\"";
	}
	return "";
}

static const char *type_in(enum param_type t)
{
	switch (t) {
	case PT_TEXT:
		return "\"type\":\"string\"";
	case PT_INT:
		return "\"type\":\"integer\"";
	case PT_REAL:
		return "\"type\":\"number\"";
	case PT_BOOL:
		return "\"type\":\"boolean\"";
	case PT_LIST:
		return "\"type\":\"array\",\"items\":{\"type\":\"integer\"}";
	}
	return "";
}

static void put_doc(struct buf *out, const char *doc)
{
	buf_puts(out, "\"description\":");
	buf_json(out, doc, strlen(doc));
}

/* ---- schemas ---- */

static void put_members(struct buf *out, const char *name, const struct member *m, size_t n)
{
	bool first = true;

	buf_printf(out, ",\n\"%s\":{\"type\":\"object\",\"required\":[", name);
	for (size_t i = 0; i < n; i++)
		if (!m[i].optional) {
			buf_printf(out, "%s\"%s\"", first ? "" : ",", m[i].name);
			first = false;
		}
	buf_puts(out, "],\"properties\":{");
	for (size_t i = 0; i < n; i++) {
		buf_printf(out, "%s\n \"%s\":{%s,", i ? "," : "", m[i].name, type_of(m[i].type));
		put_doc(out, m[i].doc);
		buf_putc(out, '}');
	}
	buf_puts(out, "}}");
}

/* Small objects whose members are written where they are answered. */
struct small {
	const char *name;
	struct {
		const char *name, *schema;
	} members[6];
};

#define S_TEXT	     "{\"type\":\"string\"}"
#define S_INT	     "{\"type\":\"integer\"}"
#define S_BOOL	     "{\"type\":\"boolean\"}"
#define S_TIME	     "{\"type\":\"string\",\"format\":\"date-time\"}"
#define S_REF(name)  "{\"$ref\":\"#/components/schemas/" name "\"}"
#define S_LIST(name) "{\"type\":\"array\",\"items\":" S_REF(name) "}"

static const struct small smalls[] = {
	{"Error", {{"error", S_TEXT}, {"request_id", S_TEXT}}},
	{"Health",
	 {{"status", S_TEXT},
	  {"timestamp", S_TIME},
	  {"services", "{\"type\":\"object\",\"additionalProperties\":" S_TEXT "}"}}},
	{"Ready", {{"ready", S_BOOL}, {"timestamp", S_TIME}}},
	{"OfferList", {{"count", S_INT}, {"offers", S_LIST("Offer")}, {"total", S_INT}}},
	{"SessionList", {{"count", S_INT}, {"sessions", S_LIST("Session")}}},
	{"Created", {{"session", S_REF("Session")}, {"ssh_private_key", S_TEXT}}},
	{"Message", {{"message", S_TEXT}, {"session_id", S_TEXT}}},
	{"Extended", {{"message", S_TEXT}, {"new_expires_at", S_TIME}, {"session_id", S_TEXT}}},
	{"Key", {{"ssh_private_key", S_TEXT}}},
	{"TemplateList", {{"count", S_INT}, {"templates", S_LIST("Template")}}},
	/* One of another provider has a `note` and its name instead of what follows the id. */
	{"CompatibleTemplates",
	 {{"compatible_templates", "{\"type\":\"array\",\"items\":" S_REF("Any") "}"},
	  {"count", S_INT},
	  {"offer_id", S_TEXT}}},
	{"GpuHealth",
	 {{"gpu_type_key", S_TEXT}, {"failed_offer_count", S_INT}, {"is_degraded", S_BOOL}}},
	{"OfferHealthList",
	 {{"count", S_INT}, {"gpu_types", S_LIST("GpuHealth")}, {"offers", S_LIST("OfferHealth")}}},
};

static void put_small(struct buf *out, const struct small *s, bool first)
{
	size_t n = 0;

	while (n < ARRAY_LEN(s->members) && s->members[n].name)
		n++;
	buf_printf(out, "%s\n\"%s\":{\"type\":\"object\",\"required\":[", first ? "" : ",",
		   s->name);
	for (size_t i = 0; i < n; i++)
		buf_printf(out, "%s\"%s\"", i ? "," : "", s->members[i].name);
	buf_puts(out, "],\"properties\":{");
	for (size_t i = 0; i < n; i++)
		buf_printf(out, "%s\n \"%s\":%s", i ? "," : "", s->members[i].name,
			   s->members[i].schema);
	buf_puts(out, "}}");
}

static void put_components(struct buf *out)
{
	buf_puts(out, "\"components\":{\n\"securitySchemes\":{\"token\":{\"type\":\"http\","
		      "\"scheme\":\"bearer\"}},\n\"schemas\":{");
	for (size_t i = 0; i < ARRAY_LEN(smalls); i++)
		put_small(out, &smalls[i], i == 0);
	put_members(out, "Offer", offer_members, offer_member_count);
	put_members(out, "Session", session_members, session_member_count);
	put_members(out, "Template", template_members, template_member_count);
	put_members(out, "OfferHealth", offer_health_members, offer_health_member_count);
	put_members(out, "Diagnostics", diagnostics_members, diagnostics_member_count);
	buf_puts(out, ",\n\"Any\":{\"type\":\"object\"}}}");
}

/* ---- paths ---- */

/* "/sessions/:id/done" as "/sessions/{id}/done". */
static void put_path(struct buf *out, const char *path)
{
	const char *colon = strchr(path, ':');
	size_t n = colon ? strcspn(colon, "/") : 0;

	if (!colon) {
		buf_puts(out, path);
		return;
	}
	buf_add(out, path, (size_t)(colon - path));
	buf_printf(out, "{%.*s}", (int)n - 1, colon + 1);
	buf_puts(out, colon + n);
}

static void put_parameters(struct buf *out, const struct route *r)
{
	size_t n = r->params ? *r->param_count : 0;
	bool id = strchr(r->path, ':') != NULL;

	if (!n && !id)
		return;
	buf_puts(out, ",\n \"parameters\":[");
	if (id)
		buf_puts(out,
			 "{\"name\":\"id\",\"in\":\"path\",\"required\":true,\"schema\":" S_TEXT
			 "}");
	for (size_t i = 0; i < n; i++) {
		const struct param *p = &r->params[i];

		buf_printf(out, "%s\n  {\"name\":\"%s\",\"in\":\"query\",\"schema\":{%s",
			   i || id ? "," : "", p->name, type_in(p->type));
		if (p->type == PT_INT || p->type == PT_REAL)
			buf_printf(out, ",\"minimum\":%" PRId64, p->min);
		if ((p->type == PT_INT || p->type == PT_REAL) && p->max != INT64_MAX)
			buf_printf(out, ",\"maximum\":%" PRId64, p->max);
		buf_puts(out, "},");
		put_doc(out, p->doc);
		buf_putc(out, '}');
	}
	buf_putc(out, ']');
}

static void put_body(struct buf *out, const struct route *r)
{
	size_t n = r->fields ? *r->field_count : 0;
	bool first = true;

	if (!n)
		return;
	buf_puts(out, ",\n \"requestBody\":{\"required\":true,\"content\":{\"application/json\":"
		      "{\"schema\":{\"type\":\"object\",\"required\":[");
	for (size_t i = 0; i < n; i++)
		if (r->fields[i].required) {
			buf_printf(out, "%s\"%s\"", first ? "" : ",", r->fields[i].name);
			first = false;
		}
	buf_puts(out, "],\"properties\":{");
	for (size_t i = 0; i < n; i++) {
		const struct field *f = &r->fields[i];

		buf_printf(out, "%s\n  \"%s\":{%s,", i ? "," : "", f->name, type_in(f->type));
		if (f->required && f->type == PT_INT)
			buf_printf(out, "\"minimum\":%" PRId64 ",\"maximum\":%" PRId64 ",", f->min,
				   f->max);
		put_doc(out, f->doc);
		buf_putc(out, '}');
	}
	buf_puts(out, "}}}}}");
}

static void put_response(struct buf *out, int status, const char *doc, const char *schema)
{
	buf_printf(out, "\"%d\":{", status);
	put_doc(out, doc);
	if (schema)
		buf_printf(
			out,
			",\"content\":{\"application/json\":{\"schema\":{\"$ref\":\"#/components/"
			"schemas/%s\"}}}",
			schema);
	buf_putc(out, '}');
}

static void put_responses(struct buf *out, const struct route *r)
{
	buf_puts(out, ",\n \"responses\":{\n  ");
	put_response(out, r->status, "done", r->answer[0] ? r->answer : NULL);
	for (size_t i = 0; i < ARRAY_LEN(r->errors) && r->errors[i].status; i++) {
		buf_puts(out, ",\n  ");
		put_response(out, r->errors[i].status, r->errors[i].text, "Error");
	}
	if (!r->open) {
		bool has_403 = false;

		for (size_t i = 0; i < ARRAY_LEN(r->errors); i++)
			has_403 = has_403 || r->errors[i].status == 403;
		buf_puts(out, ",\n  ");
		put_response(out, 401, "a valid token is needed", "Error");
		if (!has_403) {
			buf_puts(out, ",\n  ");
			put_response(out, 403, "the API is switched off", "Error");
		}
	}
	buf_putc(out, '}');
}

static void put_operation(struct buf *out, const struct route *r)
{
	buf_putc(out, '"');
	for (const char *p = r->method; *p; p++)
		buf_putc(out, (char)(*p | 0x20));
	buf_puts(out, "\":{\"summary\":");
	buf_json(out, r->doc, strlen(r->doc));
	buf_puts(out, r->open ? ",\"security\":[]" : ",\"security\":[{\"token\":[]}]");
	put_parameters(out, r);
	put_body(out, r);
	put_responses(out, r);
	buf_putc(out, '}');
}

/* Rows of one path stand next to each other: they are one object. */
static void put_paths(struct buf *out)
{
	buf_puts(out, "\"paths\":{");
	for (size_t i = 0; i < route_count; i++) {
		bool same = i && !strcmp(routes[i].path, routes[i - 1].path);

		if (!same) {
			buf_puts(out, i ? "},\n\"" : "\n\"");
			put_path(out, routes[i].path);
			buf_puts(out, "\":{");
		} else {
			buf_puts(out, ",\n");
		}
		put_operation(out, &routes[i]);
	}
	buf_puts(out, "}},\n");
}

void http_openapi(struct buf *out)
{
	buf_puts(out, "{\"openapi\":\"3.1.0\",\n\"info\":{\"title\":\"gpufs\",\"version\":\"");
	buf_puts(out, GPUFS_VERSION);
	buf_puts(out, "\",\"license\":{\"name\":\"MIT\"},");
	put_doc(out,
		"Rent GPUs by the hour. The same sessions are directories below the mount. Every "
		"answer has an X-Request-ID, and every error body has it as request_id.");
	buf_puts(out, "},\n");
	put_paths(out);
	put_components(out);
	buf_puts(out, "}\n");
}
