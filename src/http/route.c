/*
 * The table of routes. It drives dispatch, 404, 405, OPTIONS, the redirect of a trailing slash,
 * the label `path` of the metrics, and the OpenAPI document; a row is all that an endpoint needs
 * besides its handler. Loop thread. Tests: tests/unit/test_http_parse.c, tests/mount/http.bats.
 */
#include <stdlib.h>
#include <string.h>

#include "parts.h"

#define PARAMS(name) .params = name##_params, .param_count = &name##_param_count
#define FIELDS(name) .reads_body = true, .fields = name##_fields, .field_count = &name##_field_count
#define NOT_FOUND                                    \
	{                                            \
		404, "no such session, or not yours" \
	}
#define NOT_DURABLE                                        \
	{                                                  \
		500, "the order could not be made durable" \
	}

/* clang-format off: one row, one block */
const struct route routes[] = {
	{"GET", "/health", .open = true, .handle = get_health, .status = 200, .answer = "Health",
	 .doc = "Is it alive, and does it serve?",
	 .errors = {{503, "not ready yet: the offers are being fetched"}}},
	{"GET", "/ready", .open = true, .handle = get_ready, .status = 200, .answer = "Ready",
	 .doc = "Can sessions be made now?", .errors = {{503, "not yet"}}},
	{"GET", "/metrics", .open = true, .handle = get_metrics, .status = 200, .answer = "",
	 .doc = "Prometheus text, the same as /gpu/metrics."},
	{"GET", API "/openapi.json", .open = true, .handle = get_openapi, .status = 200,
	 .answer = "Any", .doc = "This document."},
	{"GET", API "/inventory", PARAMS(inventory), .handle = get_inventory, .status = 200,
	 .answer = "OfferList", .doc = "Available offers, cheapest first.",
	 .errors = {{400, "a bad parameter, by name"}, {404, "no such template"}}},
	{"GET", API "/inventory/:id", .handle = get_offer, .status = 200, .answer = "Offer",
	 .doc = "One offer.", .errors = {{404, "no such offer on the market"}}},
	{"GET", API "/inventory/:id/compatible-templates", .handle = get_compatible_templates,
	 .status = 200, .answer = "CompatibleTemplates",
	 .doc = "Templates whose demands this offer meets.",
	 .errors = {{404, "no such offer on the market"},
		    {500, "the provider did not tell its templates"}}},
	{"GET", API "/templates", PARAMS(templates), .handle = get_templates, .status = 200,
	 .answer = "TemplateList", .doc = "The templates that the provider recommends.",
	 .errors = {{400, "a bad parameter, by name"},
		    {500, "no provider has templates, or it did not tell them"}}},
	{"GET", API "/templates/:id", .handle = get_template, .status = 200, .answer = "Template",
	 .doc = "One template.",
	 .errors = {{404, "no such template"},
		    {500, "no provider has templates, or it did not tell them"}}},
	{"GET", API "/offer-health", PARAMS(offer_health), .handle = get_offer_health,
	 .status = 200, .answer = "OfferHealthList",
	 .doc = "Offers whose machines failed within a day, also those that are hidden for it."},
	{"POST", API "/sessions", FIELDS(create), .handle = post_session, .status = 201,
	 .answer = "Created",
	 .doc = "Rent a machine. Answered when the order is durable and the key pair is made.",
	 .errors = {{400, "a bad field, by name"},
		    {402, "session count used up"},
		    {403, "not your consumer, or you may not make sessions"},
		    {404, "no such offer on the market"},
		    {409, "this consumer has a session on this offer"},
		    {413, "the order is longer than a spec may be"},
		    {500, "the order could not be made durable"},
		    {503, "the offer is taken, its provider does not answer, or gpufs drains"}}},
	{"GET", API "/sessions", PARAMS(sessions), .handle = get_sessions, .status = 200,
	 .answer = "SessionList", .doc = "Your sessions, newest first, without drafts.",
	 .errors = {{400, "a bad parameter, by name"}}},
	{"GET", API "/sessions/:id", .handle = get_session, .status = 200, .answer = "Session",
	 .doc = "One session, also one that has ended.", .errors = {NOT_FOUND}},
	{"DELETE", API "/sessions/:id", .handle = delete_session, .status = 200,
	 .answer = "Message",
	 .doc = "Order the end. It may be repeated; `session destroyed` means that it is proven.",
	 .errors = {NOT_FOUND, {409, "it is protected"}, NOT_DURABLE}},
	{"POST", API "/sessions/:id/done", .handle = post_done, .status = 200, .answer = "Message",
	 .doc = "Order the end, leave the directory. No body is needed.",
	 .errors = {NOT_FOUND, {409, "it has ended, or is protected"}, NOT_DURABLE}},
	{"POST", API "/sessions/:id/extend", FIELDS(extend), .handle = post_extend, .status = 200,
	 .answer = "Extended", .doc = "Move the end.",
	 .errors = {{400, "a bad field, or past the hard maximum"},
		    NOT_FOUND,
		    {409, "it has ended"},
		    NOT_DURABLE}},
	{"GET", API "/sessions/:id/diagnostics", .handle = get_diagnostics, .status = 200,
	 .answer = "Diagnostics", .doc = "Of a running session.",
	 .errors = {{400, "it is not running"}, NOT_FOUND}},
	{"GET", API "/sessions/:id/key", .handle = get_key, .status = 200, .answer = "Key",
	 .doc = "The session's private key again, for its owner, while the session lives.",
	 .errors = {NOT_FOUND}},
	{"GET", API "/events", .handle = get_events, .status = 200, .answer = "",
	 .doc = "Server-sent events: the lines of /gpu/watch/events. Last-Event-ID continues; "
		"an event `lost` says how many a slow reader missed.",
	 .errors = {{400, "a bad Last-Event-ID"}, {503, "too many streams"}}},
};
/* clang-format on */
const size_t route_count = ARRAY_LEN(routes);

static const char *const methods[] = {"GET", "HEAD", "POST", "DELETE", "OPTIONS", "PUT", "PATCH"};

/* ---- matching ---- */

static bool path_match(const char *pattern, const char *path, char param[PARAM_MAX + 1])
{
	const char *colon = strchr(pattern, ':');
	size_t head = colon ? (size_t)(colon - pattern) : 0, n;

	if (!colon)
		return strcmp(pattern, path) == 0;
	if (strncmp(pattern, path, head) != 0)
		return false;
	n = strcspn(path + head, "/");
	if (n == 0 || strcmp(path + head + n, colon + strcspn(colon, "/")) != 0)
		return false;
	n = n > PARAM_MAX ? PARAM_MAX : n; /* no id is so long, so it is found nowhere */
	memcpy(param, path + head, n);
	param[n] = '\0';
	return true;
}

const struct route *route_find(const char *method, const char *path, char param[PARAM_MAX + 1],
			       bool *path_known)
{
	*path_known = false;
	param[0] = '\0';
	for (size_t i = 0; i < ARRAY_LEN(routes); i++) {
		if (!path_match(routes[i].path, path, param))
			continue;
		*path_known = true;
		if (!strcmp(routes[i].method, method))
			return &routes[i];
	}
	return NULL;
}

/* ---- what is answered here ---- */

/* Of a path that is known: its methods, and those that always work. */
static void allow_fill(struct request *r, const char *path)
{
	char param[PARAM_MAX + 1];
	BUF list = {.max = sizeof(r->allow) - 1};

	for (size_t i = 0; i < ARRAY_LEN(routes); i++) {
		if (!path_match(routes[i].path, path, param))
			continue;
		buf_printf(&list, "%s, ", routes[i].method);
		if (!strcmp(routes[i].method, "GET"))
			buf_puts(&list, "HEAD, ");
	}
	buf_puts(&list, "OPTIONS");
	COPY(r->allow, list.data ? list.data : "");
}

/* The same address without the slash at the end of its path, as the predecessor redirects. */
static bool redirect(struct request *r, const char *url)
{
	size_t n = strlen(url), path = strcspn(r->uri, "?");
	char param[PARAM_MAX + 1];
	FREE char *bare = strdup(url);
	BUF to = {.max = CONNECTION_MEMORY};
	bool known, get = !strcmp(r->method, "GET") || !strcmp(r->method, "HEAD");

	if (!bare || n < 2 || url[n - 1] != '/' || path < 2 || r->uri[path - 1] != '/')
		return false;
	bare[n - 1] = '\0';
	(void)route_find(r->method, bare, param, &known);
	if (!known || r->uri[0] != '/' || r->uri[1] == '/')
		return false;
	buf_add(&to, r->uri, path - 1);
	buf_puts(&to, r->uri + path);
	r->location = buf_take(&to);
	answer_fail(r, get ? 301 : 307, "moved: leave out the slash at the end");
	return true;
}

void route_begin(struct request *r, const char *url, const char *method)
{
	bool known, head = !strcmp(method, "HEAD");

	r->method = "other";
	for (size_t i = 0; i < ARRAY_LEN(methods); i++)
		if (!strcmp(methods[i], method))
			r->method = methods[i];
	r->route = route_find(head ? "GET" : method, url, r->param, &known);
	if (r->route) {
		if (!r->route->open)
			authorize(r);
		return;
	}
	if (known) {
		allow_fill(r, url);
		if (!strcmp(method, "OPTIONS"))
			answer(r, 204);
		else
			answer_fail(r, 405, "the method is not one of: %s", r->allow);
	} else if (!redirect(r, url)) {
		answer_fail(r, 404,
			    "there is nothing at this address; see GET " API
			    "/openapi.json for what there is");
	}
}
