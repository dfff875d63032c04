/*
 * Where a provider's key may be sent: the check of base URLs in settings; and pieces of URLs. Pure; any thread. Tests:
 * tests/unit/test_url.c.
 */
#ifndef GPUFS_CORE_URL_H
#define GPUFS_CORE_URL_H

#include <stdbool.h>

#include "buf.h"
#include "error.h"

#define CLOUD_URL_MAX 255 /* bytes: struct account's base_url */

/* 0 if `url` is an origin to which a key may go: https://HOST[:PORT], or http:// where HOST is this
 * machine (127.0.0.0/8, [::1], localhost) or allow_insecure is set. No path (not even a slash), query,
 * fragment or user. Else -EINVAL and a sentence that never quotes what may be a password. */
int cloud_url_check(const char *url, bool allow_insecure, struct error *why);

/* As one piece of a query or form: everything but unreserved characters (RFC 3986) encoded. */
void url_put_encoded(struct buf *b, const char *s);

#endif
