/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is known of one URL without its contents: HEAD, with redirects followed hop by hop, so that credentials
 * go to the origin's own host only; a GET of the first byte where HEAD does not do.
 */
#ifndef PROVIDERS_HTTP_HEAD_H
#define PROVIDERS_HTTP_HEAD_H

#include "http/http_origin.h"
#include "net/url.h"

struct http_head {
	/* Set by the owner before http_head_start(). */
	struct http_origin *origin; /* borrowed */
	enum vmofs_request_class cls;
	uint64_t deadline_ns; /* 0: the origin's timeout */
	/*
	 * Once, on a loop. 0: the results are there. -ENOENT: there is nothing. @why is never
	 * NULL; @h may be freed in it.
	 */
	void (*done)(struct http_head *h, int code, const struct http_refusal *why);

	/* Results. */
	bool dir; /* the URL leads to itself with a slash: a directory, nothing else is known */
	uint64_t size;  /* HTTP_LENGTH_UNKNOWN: the server does not say */
	char etag[256]; /* a strong one; "" */
	char last_modified[64];
	unsigned requests;

	/* Its own. */
	struct http_ask ask;
	unsigned hops;
	bool by_get;
	char *location; /* of the last answer */
	char first[URL_MAX];
	char at[URL_MAX];
};

/* @url without userinfo, copied. Any thread; never blocks, done() follows. -ENAMETOOLONG, -EINVAL: not started. */
int http_head_start(struct http_head *h, const char *url);

#endif
