/*
 * sessions/NAME/ports/N and history/ID/ports/N: where a port of the machine is reached. The directory
 * has those ports of the spec whose mapping the provider has told. Loop thread.
 *
 * Invariants: a file here is an object of its own (OBJ_PORT), since which there are is known only once
 * the machine runs; its serial is the session's with the port in the low 16 bits, so an inode number
 * stays the same in history/. Tests: tests/unit/test_rows.c.
 */
#include <inttypes.h>
#include <string.h>

#include "../src/core/check.h"
#include "rows.h"

/* Did the spec ask for it? A machine has other mapped ports as well, such as SSH's. The text is canonical:
 * one key a line, and a list of ports needs no quotes. */
static bool port_wanted(const struct session *s, uint64_t port)
{
	static const char key[] = "ports=";
	const char *line = s->spec;

	while (line && strncmp(line, key, sizeof(key) - 1) != 0) {
		line = strchr(line, '\n');
		line = line ? line + 1 : NULL;
	}
	for (const char *p = line ? line + sizeof(key) - 1 : ""; *p && *p != '\n';) {
		size_t n = strcspn(p, ",\n");
		int64_t one = 0;

		if (parse_int((struct str){p, n}, 1, UINT16_MAX, &one, NULL) == 0 &&
		    (uint64_t)one == port)
			return true;
		p += n + (p[n] == ',');
	}
	return false;
}

struct mapping {
	uint64_t port;
	struct str host, host_port;
};

/* One line of session.ports, "PORT HOST HOSTPORT". False at the end, and at what is no such line. */
static bool mapping_next(const char **at, struct mapping *m)
{
	const char *p = *at, *end = p ? strchr(p, '\n') : NULL, *host, *number;
	int64_t port = 0;

	if (!end)
		return false;
	host = memchr(p, ' ', (size_t)(end - p));
	number = host ? memchr(host + 1, ' ', (size_t)(end - host - 1)) : NULL;
	if (!number ||
	    parse_int((struct str){p, (size_t)(host - p)}, 1, UINT16_MAX, &port, NULL) != 0)
		return false;
	m->port = (uint64_t)port;
	m->host = (struct str){host + 1, (size_t)(number - host - 1)};
	m->host_port = (struct str){number + 1, (size_t)(end - number - 1)};
	*at = end + 1;
	return true;
}

/* The smallest port above `after` that is shown. */
static bool port_above(const struct session *s, uint64_t after, struct mapping *out)
{
	const char *at = s->ports;
	struct mapping m;
	bool found = false;

	while (mapping_next(&at, &m))
		if (m.port > after && m.host.n && (!found || m.port < out->port) &&
		    port_wanted(s, m.port)) {
			*out = m;
			found = true;
		}
	return found;
}

static bool port_exactly(const struct session *s, uint64_t port, struct mapping *out)
{
	return port > 0 && port_above(s, port - 1, out) && out->port == port;
}

bool port_find(const struct ctx *x, const char *name, uint64_t *serial)
{
	struct mapping m;
	int64_t port = 0;

	if (name[0] == '0' || parse_int(str_of(name), 1, UINT16_MAX, &port, NULL) != 0 ||
	    !port_exactly(x->session, (uint64_t)port, &m))
		return false;
	*serial = (uint64_t)x->session->serial << PORT_BITS | m.port;
	return true;
}

bool port_next(const struct ctx *x, uint64_t after, uint64_t *serial, char name[256])
{
	BUF text = {.max = 32};
	struct mapping m;

	if (!port_above(x->session, after & UINT16_MAX, &m))
		return false;
	*serial = (uint64_t)x->session->serial << PORT_BITS | m.port;
	buf_printf(&text, "%" PRIu64, m.port);
	copy_text(name, 256, text.data ? text.data : "");
	return true;
}

bool port_resolve(struct ctx *x)
{
	struct mapping m;

	x->session = engine_by_serial(x->e, (int64_t)(x->serial >> PORT_BITS));
	return x->session && port_exactly(x->session, x->serial & UINT16_MAX, &m);
}

static int show_port(const struct ctx *x, struct buf *out)
{
	struct mapping m;
	bool six;

	if (!port_exactly(x->session, x->serial & UINT16_MAX, &m))
		return -ENOENT;
	six = memchr(m.host.p, ':', m.host.n) !=
	      NULL; /* host:port of an IPv6 address needs brackets */
	buf_puts(out, six ? "[" : "");
	buf_escape(out, m.host.p, m.host.n);
	buf_puts(out, six ? "]:" : ":");
	buf_escape(out, m.host_port.p, m.host_port.n);
	buf_putc(out, '\n');
	return 0;
}

const struct row port_file = {
	.path = ".",
	.mode = 0440,
	.cache = C_DERIVED,
	.type = V_TEXT,
	.show = show_port,
	.doc = "host:port where this port of the machine is reached; there are those of the spec's "
	       "ports= whose place is known",
};
