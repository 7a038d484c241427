/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How to speak to servers: proxy, certificates, credentials, timeouts; and an endpoint: one URL with
 * everything that goes out with each request for it. Both are immutable and counted, so that
 * transfers under way keep theirs while a new one takes its place. Any thread.
 */
#ifndef NET_HTTP_SETTINGS_H
#define NET_HTTP_SETTINGS_H

#include <stdbool.h>
#include <stdint.h>
#include <vmofs/err.h>

#include "base/digest.h"
#include "net/http_reply.h"

enum http_version { HTTP_VERSION_11, HTTP_VERSION_2, HTTP_VERSION_AUTO, HTTP_NVERSIONS };

/* Plain values; NULL: not set. http_settings_new() copies them. */
struct http_settings_init {
	const char *proxy;
	const char *cacert;
	const char *userpwd;    /* NAME:PASSWORD */
	const char *netrc;      /* file */
	const char *token_file; /* bearer token, read again for each endpoint */
	const char *const *headers;
	unsigned nheaders;
	bool insecure;
	enum http_version version;
	uint64_t connect_timeout_ns;
	uint64_t stall_timeout_ns;
};

struct http_settings;

struct http_settings *http_settings_new(const struct http_settings_init *init,
					struct vmofs_err *err);
struct http_settings *http_settings_get(struct http_settings *s);
void http_settings_put(struct http_settings *s);
uint64_t http_settings_stall_ns(const struct http_settings *s);
/*
 * What servers that are told credentials may choose an answer by: a digest of the further header lines and the user's
 * name. Not of what only proves who that is (password, token, a line Authorization), for that is renewed.
 * 1; 0: there is nothing; -ENOMEM, -EIO.
 */
int http_settings_asker(const struct http_settings *s, uint8_t out[SHA256_LEN]);
/* Whether several requests may share a connection. */
bool http_settings_multiplex(const struct http_settings *s);

struct http_endpoint;

/*
 * @trusted: the URL is of the origin that credentials were given for; else none is sent. @expect
 * (may be NULL) is copied: its validator goes out as a condition and each answer is checked
 * against it.
 */
struct http_endpoint *http_endpoint_new(struct http_settings *s, const char *url, bool trusted,
					const struct http_expect *expect, struct vmofs_err *err);
/*
 * One whose owner signs: it has header lines of its own ("Name: value", copied, cleared at the end) and
 * nothing of the settings' credentials and headers.
 */
struct http_endpoint *http_endpoint_new_lines(struct http_settings *s, const char *url,
					      const char *const *lines, unsigned nlines,
					      const struct http_expect *expect,
					      struct vmofs_err *err);
struct http_endpoint *http_endpoint_get(struct http_endpoint *ep);
void http_endpoint_put(struct http_endpoint *ep);
const struct http_expect *http_endpoint_expect(const struct http_endpoint *ep);

#endif
