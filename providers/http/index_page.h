/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One index page fetched and parsed: redirects on the same origin followed, HTML or JSON, whatever the server
 * offers. The struct belongs to its owner until ended().
 */
#ifndef PROVIDERS_HTTP_INDEX_PAGE_H
#define PROVIDERS_HTTP_INDEX_PAGE_H

#include "http/http_origin.h"
#include "http/index_list.h"
#include "net/url.h"

struct index_page {
	/* Set by the owner. */
	struct http_origin *origin; /* borrowed */
	uint64_t deadline_ns;       /* 0: the origin's timeout */
	char url[URL_MAX];          /* of the directory, with its slash; becomes the page's own */
	/*
	 * Once. 0: `list` is complete. -ENOENT: there is no such directory. Other codes: @why->msg
	 * says why, or `msg` where that is not empty.
	 */
	void (*ended)(struct index_page *p, int code, const struct http_refusal *why);

	struct index_list list;
	char msg[512];
	unsigned requests;

	/* Its own. */
	struct http_ask ask;
	bool again; /* a redirect is to be followed */
	bool blocking;
	unsigned hops;
	char *body;
	size_t len;
	size_t cap;
	char *location;
	char type[128];
};

/* Any thread, never blocks; ended() follows on a loop. */
void index_page_get(struct index_page *p);
/* The same for a thread that may block: ended() has been called when it returns. */
void index_page_get_wait(struct index_page *p);
/* What the page owns, its list too. */
void index_page_release(struct index_page *p);

#endif
