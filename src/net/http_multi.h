/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside src/net: libcurl's multi interface on an event loop. It moves sockets and timers between
 * the two and hands ended transfers to http_client_finished(). Loop thread only.
 */
#ifndef NET_HTTP_MULTI_H
#define NET_HTTP_MULTI_H

#include "net/http_client.h"
#include "net/net_private.h"

struct http_multi;

struct http_multi *http_client_multi(struct http_client *c);
struct vmofs_list *http_client_idle(struct http_client *c);

/* Sets the options by which a handle's sockets belong to @m. */
void http_multi_prepare(struct http_multi *m, CURL *easy);
int http_multi_add(struct http_multi *m, CURL *easy);
void http_multi_remove(struct http_multi *m, CURL *easy);

/* In http_client.c: a transfer of the multi has ended; every handle that idles goes. */
void http_client_finished(CURL *curl, CURLcode code);
void http_client_free_idle(struct http_client *c);

#endif
