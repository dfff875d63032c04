/*
 * The routes of the fake Vast.ai as one table (method, path, spacing, how a bad key is told), and what
 * all handlers answer with. Spacings: wire page, section 2; 0 where none is stated.
 */
#include <stdarg.h>

#include "vastai_parts.h"

#define S(x)  ((int64_t)((x)*1e6))
#define V0(p) "/api/v0/" p

const struct route fakevast_routes[] = {
	{"POST", V0("bundles/"), FV_SEARCH, 0, 0, 10, AUTH_OPEN, false, serve_search},
	{"GET", V0("bundles/"), FV_SEARCH, 0, 0, 10, AUTH_OPEN, false, serve_search},
	{"PUT", V0("search/asks/"), FV_SEARCH, 0, 0, 10, AUTH_404, false, serve_search_asks},
	{"PUT", V0("asks/#/"), FV_CREATE, S(4.5), S(12), 0, AUTH_401, false, serve_create},
	{"GET", "/api/v1/instances/", FV_LIST, S(1), 0, 0, AUTH_401, false, serve_list},
	{"GET", V0("instances/"), FV_LIST_V0, S(1), 0, 0, AUTH_401, false, serve_list_v0},
	{"POST", V0("instances/start"), FV_MANAGE, S(2), 0, 0, AUTH_401, true, serve_start_many},
	{"GET", V0("instances/filters/"), FV_MISC, S(1), 0, 0, AUTH_401, false, serve_filters},
	{"GET", V0("instances/pending-price-increases/"), FV_MISC, S(1), 0, 0, AUTH_401, false,
	 serve_increases},
	{"PUT", V0("instances/accept-price-increase/"), FV_MISC, S(1), 0, 0, AUTH_401, false,
	 serve_increases},
	{"PUT", V0("instances/reject-price-increase/"), FV_MISC, S(1), 0, 0, AUTH_401, false,
	 serve_increases},
	{"PUT", V0("instances/bid_price/#/"), FV_BID, S(5.5), 0, 0, AUTH_401, false, serve_bid},
	{"PUT", V0("instances/reboot/#/"), FV_REBOOT, S(1), 0, 0, AUTH_401, false, serve_reboot},
	{"PUT", V0("instances/recycle/#/"), FV_REBOOT, S(1), 0, 0, AUTH_401, false, serve_reboot},
	{"PUT", V0("instances/request_logs/#/"), FV_MISC, S(1), 0, 0, AUTH_401, false, serve_logs},
	{"GET", V0("instances/#/"), FV_GET, S(2), 0, 0, AUTH_401, false, serve_get},
	{"PUT", V0("instances/#/"), FV_MANAGE, S(1), 0, 0, AUTH_401, false, serve_manage},
	{"DELETE", V0("instances/#/"), FV_DESTROY, S(3), 0, 0, AUTH_401, false, serve_destroy},
	{"POST", V0("instances/#/ssh/"), FV_ATTACH, 0, 0, 0, AUTH_401, false, serve_attach},
	{"GET", V0("instances/#/ssh/"), FV_INST_KEYS, 0, 0, 0, AUTH_401, false,
	 serve_instance_keys},
	{"DELETE", V0("instances/#/ssh/#/"), FV_DETACH, S(2), 0, 0, AUTH_401, false, serve_detach},
	{"POST", V0("ssh/"), FV_KEYS, S(1), 0, 0, AUTH_401, false, serve_keys},
	{"GET", V0("ssh/"), FV_KEYS, 0, 0, 0, AUTH_401, false, serve_keys},
	{"PUT", V0("ssh/#/"), FV_KEYS, S(1), 0, 0, AUTH_401, false, serve_keys},
	{"DELETE", V0("ssh/#/"), FV_KEYS, 0, 0, 0, AUTH_401, false, serve_keys},
	{"GET", V0("users/current/"), FV_ACCOUNT, 0, 0, 0, AUTH_401, false, serve_account},
	{"GET", V0("template/"), FV_TEMPLATES, S(3), 0, 0, AUTH_401, false, serve_templates},
	{"GET", V0("charges/"), FV_CHARGES, S(1), 0, 0, AUTH_404, false, serve_charges},
	{"GET", "/api/v1/invoices/", FV_INVOICES, S(3), 0, 0, AUTH_404, false, serve_invoices},
	{"GET", V0("volumes/"), FV_MISC, S(5.5), 0, 0, AUTH_DETAIL, false, serve_volumes},
	{"DELETE", V0("volumes/"), FV_MISC, S(5.5), 0, 0, AUTH_DETAIL, false, serve_volumes},
};
const size_t fakevast_route_count = ARRAY_LEN(fakevast_routes);

/* ---- answers ---- */

__attribute__((format(printf, 2, 0))) static void put_va(struct buf *b, const char *fmt, va_list ap)
{
	char *text = NULL;
	int n = vasprintf(&text, fmt, ap);

	CHECK(n >= 0);
	buf_add(b, text, (size_t)n);
	free(text);
}

void say(struct ctx *x, int status, const char *fmt, ...)
{
	va_list ap;

	x->out->status = status;
	x->out->content_type = "application/json";
	buf_reset(&x->out->body);
	va_start(ap, fmt);
	put_va(&x->out->body, fmt, ap);
	va_end(ap);
}

void refuse(struct ctx *x, int status, const char *code, const char *fmt, ...)
{
	BUF msg = {.data = NULL};
	struct buf *b = &x->out->body;
	va_list ap;

	va_start(ap, fmt);
	put_va(&msg, fmt, ap);
	va_end(ap);
	say(x, status, "{\"success\": false, ");
	if (code)
		buf_printf(b, "\"error\": \"%s\", ", code);
	buf_puts(b, "\"msg\": ");
	buf_json(b, msg.data, msg.len);
	/* Recorded with these codes, and without it for a lack of credit. */
	if (x->route && x->route->op == FV_CREATE && code &&
	    (!strncmp(code, "invalid_", 8) || !strcmp(code, "no_such_ask")))
		buf_printf(b, ", \"ask_id\": %lld", (long long)x->id);
	buf_puts(b, "}");
}

void html(struct ctx *x, int status, const char *title)
{
	say(x, status,
	    "<html>\r\n<head><title>%s</title></head>\r\n<body>\r\n<center><h1>%s</h1></center>\r\n"
	    "<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n",
	    title, title);
	x->out->content_type = "text/html";
}

/* A bad key is told as 401, or as 404: never to be taken for "gone". */
void say_auth(struct ctx *x, enum fakevast_fault_kind why)
{
	if (why == FVF_EXPIRED)
		say(x, 404,
		    "{\"error\": \"auth_error\", \"msg\": \"Session expired. Please log in "
		    "again.\"}");
	else
		refuse(x,
		       x->route && (x->route->auth == AUTH_404 || x->route->auth == AUTH_OPEN)
			       ? 404
			       : 401,
		       "auth_error", "Invalid user key");
}

/* The documented forms of a 429, and the one with a number in it. */
void say_429(struct ctx *x, int shape)
{
	double threshold = (double)x->route->spacing_us / 1e6;

	switch (shape > 0 ? shape : (int)(x->f->turn_429++ % 5) + 1) {
	case 1:
		say(x, 429,
		    "{\"message\": \"The action could not be performed because there were too many "
		    "requests by the client.\\n\\nAPI requests too frequent: endpoint "
		    "threshold=%.1f*1.0\\n\\n\", \"code\": \"429 Too Many Requests\"}",
		    threshold);
		break;
	case 2:
		say(x, 429, "{\"detail\": \"API requests too frequent endpoint threshold=%.1f\"}",
		    threshold);
		break;
	case 3:
		refuse(x, 429, "rate_limit_exceeded",
		       "API requests too frequent endpoint threshold=%.1f", threshold);
		break;
	case 4:
		say(x, 429, "API requests too frequent endpoint threshold=%.1f", threshold);
		x->out->content_type = "text/plain";
		break;
	default:
		say(x, 429, "{\"error\": \"HTTPTooManyRequests\", \"retry_after\": %.1f}",
		    threshold > 0 ? threshold : 1.0);
		break;
	}
}

/* ---- violations ---- */

__attribute__((format(printf, 3, 0))) static void
add_violation(struct fakevast *f, const char *rule, const char *fmt, va_list ap)
{
	struct fakevast_violation *v;
	char text[200];

	f->violations = grow(f->violations, f->violation_count, sizeof(*f->violations));
	v = &f->violations[f->violation_count++];
	vsnprintf(text, sizeof(text), fmt, ap);
	*v = (struct fakevast_violation){.at_us = f->now_us, .rule = rule};
	printable_text(v->text, sizeof(v->text), text);
}

void violate(struct ctx *x, const char *rule, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	add_violation(x->f, rule, fmt, ap);
	va_end(ap);
}

void violate_at(struct fakevast *f, const char *rule, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	add_violation(f, rule, fmt, ap);
	va_end(ap);
}

/* ---- what a request says ---- */

static int hex(char c)
{
	return c >= '0' && c <= '9'		    ? c - '0'
	       : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10
						    : -1;
}

static void decode(const char *s, size_t n, char *out, size_t size)
{
	size_t o = 0;

	for (size_t i = 0; i < n && o + 1 < size; i++) {
		if (s[i] == '%' && i + 2 < n && hex(s[i + 1]) >= 0 && hex(s[i + 2]) >= 0) {
			out[o++] = (char)(hex(s[i + 1]) * 16 + hex(s[i + 2]));
			i += 2;
		} else {
			out[o++] = s[i] == '+' ? ' ' : s[i];
		}
	}
	out[o] = '\0';
}

const char *param(struct ctx *x, const char *name)
{
	size_t want = strlen(name);

	for (const char *p = x->query; *p;) {
		size_t n = strcspn(p, "&");

		if (n > want && !strncmp(p, name, want) && p[want] == '=') {
			decode(p + want + 1, n - want - 1, x->text, sizeof(x->text));
			return x->text;
		}
		p += n + (p[n] == '&');
	}
	return NULL;
}

static bool in_list(const char *const *names, const char *name, size_t n)
{
	for (; *names; names++)
		if (strlen(*names) == n && !strncmp(*names, name, n))
			return true;
	return false;
}

bool query_only(struct ctx *x, const char *const *names)
{
	bool good = true;

	for (const char *p = x->query; *p;) {
		size_t n = strcspn(p, "&"), word = strcspn(p, "=&");

		if (!in_list(names, p, word) && !(word == 7 && !strncmp(p, "api_key", 7))) {
			violate(x, "query", "%s has no parameter \"%.*s\"", x->path, (int)word, p);
			good = false;
		}
		/* JSON has characters that no URL has: they must be encoded. */
		if (strcspn(p, "{}\"[] <>") < n) {
			violate(x, "query", "parameter \"%.*s\" is not URL-encoded", (int)word, p);
			good = false;
		}
		p += n + (p[n] == '&');
	}
	return good;
}

bool body_only(struct ctx *x, const char *const *names)
{
	const char *key;
	json_t *value;

	if (!x->body) {
		violate(x, "body", "%s %s without a body", x->q->method, x->path);
		refuse(x, 400, "invalid_args", "error 400/1782: Invalid args: invalid json: {}");
		return false;
	}
	json_object_foreach(x->body, key, value)
	{
		if (in_list(names, key, strlen(key)))
			continue;
		violate(x, "unknown-member", "%s %s: member \"%s\" is not documented", x->q->method,
			x->path, key);
		refuse(x, 400, "invalid_args", "error 400/3467: Invalid args: unknown '%s'", key);
		return false;
	}
	return true;
}
