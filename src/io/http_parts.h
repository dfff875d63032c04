/*
 * Between the two files of the HTTP client: http_client.c (transfers, on the loop) and http_reply.c
 * (what a transfer that is over has to say). Nobody else includes this.
 */
#ifndef GPUFS_IO_HTTP_PARTS_H
#define GPUFS_IO_HTTP_PARTS_H

#include <curl/curl.h>

#include "io.h"

#define HTTP_HEADERS_MAX ((size_t)64 << 10) /* bytes of all header lines of a reply */
#define HTTP_WHERE_MAX	 280		    /* a host name has at most 253 characters */

/* Why a transfer ended; what libcurl's own code does not say. */
enum http_end {
	HTTP_END_CURL,	       /* libcurl's code tells */
	HTTP_END_TIMEOUT,      /* the limit of the whole */
	HTTP_END_BODY_LONG,    /* more than reply_max after decompression */
	HTTP_END_HEADERS_LONG, /* more than HTTP_HEADERS_MAX */
	HTTP_END_MEMORY,
};
struct http_outcome {
	CURL *easy;
	CURLcode code;
	enum http_end end;
	const char *where; /* "host:port" */
	const char *error; /* of CURLOPT_ERRORBUFFER */
	size_t reply_max;
	int64_t connect_us, timeout_us;
	bool fresh;
	struct buf *body;
};

/* Fill a reply from a transfer that is over; the easy handle must still be there. content_type is cut
 * to its room. The reply borrows body and content_type. */
void http_reply_fill(struct http_reply *r, const struct http_outcome *o, char *content_type,
		     size_t content_type_size);
/* status 0, nothing sent: "WHERE: not sent: WHY". */
void http_reply_refuse(struct http_reply *r, const char *where, const char *why);

#endif
