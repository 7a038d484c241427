/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finds out what stands behind a URL: follows redirects by hand, learns size and validator and whether
 * ranges work. Blocks; for set-up threads only, never on a loop. No locks.
 */
#ifndef NET_HTTP_PROBE_H
#define NET_HTTP_PROBE_H

#include <stdatomic.h>
#include <vmofs/err.h>

#include "net/http_settings.h"
#include "net/url.h"

enum http_probe_method { HTTP_PROBE_GET, HTTP_PROBE_HEAD };

struct http_object {
	char url[URL_MAX]; /* where the redirects ended; may carry secrets: not for messages */
	bool trusted;      /* of the origin that the probe began at */
	bool ranges;       /* false: the server gives the whole object only */
	uint64_t size;
	char etag[256];
	char last_modified[64];
	unsigned redirects;
	unsigned requests;
	uint64_t answer_ns;   /* from the last request to its answer's first byte */
	int status;           /* of the last answer, 0: none */
	char request_id[128]; /* of the last answer */
};

/*
 * 0, or -errno with @err: -ENOENT 404 and 410, -EACCES 401 and 403, -ETIMEDOUT, -EOPNOTSUPP no
 * length, -EBADMSG nonsense, -EIO the rest, -ECANCELED once @cancel (may be NULL) is set. Failures that
 * may pass are tried again @retries times.
 */
int http_probe(struct http_settings *s, const char *url, enum http_probe_method method,
	       unsigned retries, const atomic_bool *cancel, struct http_object *out,
	       struct vmofs_err *err);

#endif
