/* See url.h. */
#include "url.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "text.h"

#define HOST_MAX_LEN  253 /* RFC 1035 */
#define LABEL_MAX_LEN 63

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_host_char(char c)
{
	return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' ||
	       c == '_';
}

/* Would the C library read a name that ends so as one of its old forms of an address (127.1,
 * 0x7f.1)? Then it is another host than what people see. */
static bool is_number(const char *label)
{
	return !strncasecmp(label, "0x", 2) || strspn(label, "0123456789") == strlen(label);
}

/* A name of labels, or four numbers. */
static bool host_name_valid(const char *host)
{
	size_t label = 0;
	const char *last = strrchr(host, '.');
	struct in_addr a;

	if (strlen(host) > HOST_MAX_LEN)
		return false;
	for (const char *p = host; *p; p++) {
		if (*p == '.' ? !label : !is_host_char(*p) || label == LABEL_MAX_LEN)
			return false;
		label = *p == '.' ? 0 : label + 1;
	}
	last = last ? last + 1 : host;
	return label && (!is_number(last) || inet_pton(AF_INET, host, &a) == 1);
}

static bool is_this_machine(const char *host, bool ipv6)
{
	struct in6_addr six;
	struct in_addr four;

	if (ipv6)
		return inet_pton(AF_INET6, host, &six) == 1 && IN6_IS_ADDR_LOOPBACK(&six);
	if (inet_pton(AF_INET, host, &four) == 1)
		return (ntohl(four.s_addr) >> 24) == 127;
	return !strcasecmp(host, "localhost");
}

static bool port_valid(const char *s)
{
	int64_t port;

	return is_digit(*s) && strlen(s) <= 5 && !parse_int(str_of(s), 1, 65535, &port, NULL);
}

/* HOST[:PORT], already known to hold nothing else. */
static int host_check(const char *at, char host[HOST_MAX_LEN + 3], bool *ipv6, struct error *why)
{
	const char *end = at + strcspn(at, ":");
	struct in6_addr six;

	*ipv6 = *at == '[';
	if (*ipv6) {
		at++;
		end = at + strcspn(at, "]");
		if (!*end)
			return fail(why, ERR_INVALID, "base URL: the bracket is not closed");
	}
	if ((size_t)(end - at) > HOST_MAX_LEN)
		return fail(why, ERR_INVALID, "base URL: the host is longer than %d bytes",
			    HOST_MAX_LEN);
	memcpy(host, at, (size_t)(end - at));
	host[end - at] = '\0';
	if (*ipv6 ? inet_pton(AF_INET6, host, &six) != 1 : !host_name_valid(host))
		return fail(why, ERR_INVALID, "base URL: \"%.80s\" is no host name and no address",
			    host);
	end += *ipv6;
	if (*end && (*end != ':' || !port_valid(end + 1)))
		return fail(why, ERR_INVALID,
			    "base URL: behind the host there may only be a port, "
			    "1 to 65535");
	return 0;
}

int cloud_url_check(const char *url, bool allow_insecure, struct error *why)
{
	const char *at = strstr(url, "://");
	char host[HOST_MAX_LEN + 3];
	bool secure, ipv6;
	int err;

	secure = !strncasecmp(url, "https://", 8);
	if (!secure && strncasecmp(url, "http://", 7))
		return fail(why, ERR_INVALID,
			    "base URL: must begin with https://, such as https://api.example.com");
	if (strlen(url) > CLOUD_URL_MAX)
		return fail(why, ERR_INVALID, "base URL: longer than %d bytes", CLOUD_URL_MAX);
	at += 3;
	if (strchr(at, '@')) /* may be a password: not quoted */
		return fail(
			why, ERR_INVALID,
			"base URL: holds a user or a password; the key has a setting of its own");
	if (strpbrk(at, "?#"))
		return fail(
			why, ERR_INVALID,
			"base URL: holds a query or fragment; only the origin is wanted, such as "
			"https://api.example.com");
	if (strpbrk(at, "/\\"))
		return fail(why, ERR_INVALID,
			    "base URL: holds a path or ends in a slash; only the origin is wanted, "
			    "such as https://api.example.com");
	err = host_check(at, host, &ipv6, why);
	if (err)
		return err;
	if (!secure && !allow_insecure && !is_this_machine(host, ipv6))
		return fail(why, ERR_INVALID,
			    "base URL: http:// would send the account's key unencrypted to %.80s; "
			    "use https://, or set ALLOW_INSECURE=yes",
			    host);
	return 0;
}

void url_put_encoded(struct buf *b, const char *s)
{
	static const char plain[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";

	for (; *s; s++) {
		if (strchr(plain, *s))
			buf_putc(b, *s);
		else
			buf_printf(b, "%%%02X", (unsigned char)*s);
	}
}
