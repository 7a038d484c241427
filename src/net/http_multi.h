/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside src/net: libcurl's multi interface on an event loop. It moves sockets and timers between
 * the two and tells transfers that they have ended. Loop thread only.
 */
#ifndef NET_HTTP_MULTI_H
#define NET_HTTP_MULTI_H

#include "net/http_client.h"
#include "net/net_private.h"

struct http_multi;

struct http_multi *http_client_multi(struct http_client *c);
struct vmofs_list *http_client_idle(struct http_client *c);       /* struct http_easy */
struct vmofs_list *http_client_idle_calls(struct http_client *c); /* struct call_easy */

/* Sets the options by which a handle's sockets belong to @m. */
void http_multi_prepare(struct http_multi *m, CURL *easy);
int http_multi_add(struct http_multi *m, CURL *easy);
void http_multi_remove(struct http_multi *m, CURL *easy);

/* What CURLOPT_PRIVATE of each handle in a multi points to. */
struct http_transfer {
	void (*finished)(struct http_transfer *t, CURL *curl, CURLcode code);
};

/* In http_client.c and http_call.c: every handle that idles goes. */
void http_client_free_idle(struct http_client *c);
void http_call_free_idle(struct http_client *c);

#endif
