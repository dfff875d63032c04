/*
 * The keys of a spec that say what machine it is to be and how it starts: disk, image, template,
 * script, ports, bid. Whether a provider can give it is the purchase's question (spec_wants); here only
 * the form is checked. Pure; any thread. Tests: tests/unit/test_spec.c.
 */
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "spec_parts.h"
#include "text_parts.h"

const char *const launch_mode_names[1] = {"ssh"};

unsigned spec_wants(const struct spec *s)
{
	return (s->disk_gb != UNKNOWN ? WANT_DISK : 0u) | (s->vcpus != UNKNOWN ? WANT_VCPUS : 0u) |
	       (s->ram_gb != UNKNOWN ? WANT_RAM : 0u) | (s->image[0] ? WANT_IMAGE : 0u) |
	       (s->template_id[0] ? WANT_TEMPLATE : 0u) | (s->on_start ? WANT_ON_START : 0u) |
	       (s->port_count ? WANT_PORTS : 0u) |
	       (s->bid_u6 != UNKNOWN || spec_interruptible(s) ? WANT_BID : 0u);
}

int spec_read_bid(struct spec *s, struct str v, struct error *why)
{
	int64_t u6 = 0;
	int err = parse_money(v, &u6, why);

	if (err == 0 && (u6 < SPEC_BID_MIN_U6 || u6 > SPEC_BID_MAX_U6))
		err = fail(why, ERR_RANGE, "must be 0.001 to 128 USD an hour");
	if (err == 0)
		s->bid_u6 = u6;
	return err;
}

int spec_read_disk(struct spec *s, struct str v, struct error *why)
{
	return parse_int(v, 1, SPEC_DISK_GB_MAX, &s->disk_gb, why);
}

int spec_read_vcpus(struct spec *s, struct str v, struct error *why)
{
	return parse_int(v, 1, SPEC_VCPUS_MAX, &s->vcpus, why);
}

int spec_read_ram(struct spec *s, struct str v, struct error *why)
{
	return parse_int(v, 1, SPEC_RAM_GB_MAX, &s->ram_gb, why);
}

/* 1 to max of letters, digits and `more`; the first is a letter or digit. */
static bool is_word_of(struct str v, const char *more, size_t max)
{
	for (size_t i = 0; i < v.n; i++) {
		char c = v.p[i];

		if (!((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
		      (i && c && strchr(more, c))))
			return false;
	}
	return v.n >= 1 && v.n <= max;
}

int spec_read_image(struct spec *s, struct str v, struct error *why)
{
	if (!is_word_of(v, "._-/:@", sizeof(s->image) - 1))
		return fail(why, ERR_INVALID,
			    "must be the name of a container image, such as "
			    "pytorch/pytorch:latest: at most %zu letters, digits and ._-/:@",
			    sizeof(s->image) - 1);
	memcpy(s->image, v.p, v.n);
	s->image[v.n] = '\0';
	return 0;
}

int spec_read_template(struct spec *s, struct str v, struct error *why)
{
	if (!is_word_of(v, "_-", sizeof(s->template_id) - 1))
		return fail(
			why, ERR_INVALID,
			"must be the id of a template: at most %zu letters, digits, '_' and '-'",
			sizeof(s->template_id) - 1);
	memcpy(s->template_id, v.p, v.n);
	s->template_id[v.n] = '\0';
	return 0;
}

int spec_read_on_start(struct spec *s, struct str v, struct error *why)
{
	char *copy;

	if (v.n > SPEC_ON_START_MAX)
		return fail(why, ERR_INVALID,
			    "is too long; at most %d bytes are allowed (fetch a longer script with "
			    "curl)",
			    SPEC_ON_START_MAX);
	copy = strndup(v.p, v.n);
	if (!copy)
		return fail(why, ERR_NO_MEMORY, "out of memory");
	free(s->on_start);
	s->on_start = copy;
	return 0;
}

int spec_read_ports(struct spec *s, struct str v, struct error *why)
{
	int64_t ports[SPEC_PORTS_MAX];
	size_t count = 0;

	for (size_t at = 0; at <= v.n;) {
		const char *comma = memchr(v.p + at, ',', v.n - at);
		struct str one = {v.p + at, comma ? (size_t)(comma - v.p) - at : v.n - at};
		int64_t port = 0;
		int err = parse_int(one, 1, 65535, &port, NULL);

		if (err)
			return fail(why, err == -ERANGE ? ERR_RANGE : ERR_INVALID,
				    "must be port numbers of 1 to 65535 with commas between them");
		for (size_t i = 0; i < count; i++)
			if (ports[i] == port)
				return fail(why, ERR_INVALID, "%d is there twice", (int)port);
		if (count == SPEC_PORTS_MAX)
			return fail(why, ERR_INVALID, "at most %d ports are allowed",
				    SPEC_PORTS_MAX);
		ports[count++] = port;
		at += one.n + 1;
	}
	memcpy(s->ports, ports, sizeof(s->ports[0]) * count);
	s->port_count = count;
	return 0;
}

int spec_read_launch_mode(struct spec *s, struct str v, struct error *why)
{
	if (str_is(v, "entrypoint"))
		return fail(why, ERR_INVALID,
			    "is not supported: a session is logged in to; write launch_mode=ssh, "
			    "and start the program with on_start=");
	if (!str_is(v, launch_mode_names[0]))
		return fail(why, ERR_INVALID, "must be %s", launch_mode_names[0]);
	s->launch_mode = 0;
	return 0;
}
