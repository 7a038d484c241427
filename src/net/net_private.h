/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of src/net share: the insides of settings and endpoints, and an easy handle that has
 * been set up for one. The only header that knows libcurl's types.
 */
#ifndef NET_PRIVATE_H
#define NET_PRIVATE_H

#include <curl/curl.h>
#include <stdatomic.h>

#include "net/http_settings.h"

struct http_settings {
	atomic_uint refs;
	char *proxy;
	char *cacert;
	char *userpwd;
	char *netrc;
	char *token_file;
	char **headers;
	unsigned nheaders;
	bool insecure;
	enum http_version version;
	uint64_t connect_timeout_ns;
	uint64_t stall_timeout_ns;
};

struct http_endpoint {
	atomic_uint refs;
	struct http_settings *settings; /* counted */
	char *url;
	bool trusted;
	struct http_expect expect; /* its strings are the two below */
	char *etag;
	char *last_modified;
	struct curl_slist *headers;
};

/* What all requests with these settings have in common; credentials only where @trusted. */
void http_easy_configure(CURL *easy, const struct http_settings *s, bool trusted);
/* URL and headers: all that differs between two endpoints of the same settings and trust. */
int http_easy_target(CURL *easy, const struct http_endpoint *ep);

/* The headers that every request has, in front of its own; http_headers_free() also after a failure. */
int http_headers_begin(struct curl_slist **list, const struct http_settings *s, bool trusted,
		       struct vmofs_err *err);
int http_headers_add(struct curl_slist **list, const char *line);
/* Wipes them first. */
void http_headers_free(struct curl_slist *list);

/* Once a process; -EIO when libcurl cannot start. */
int http_curl_init(void);

/* From the request, on a connection that is there, to the first byte of its answer; 0: none came. */
uint64_t http_easy_answer_ns(CURL *easy);

/* What a transfer's CURLcode means where no answer's head has decided. */
enum http_outcome http_curl_outcome(CURLcode code);

#endif
