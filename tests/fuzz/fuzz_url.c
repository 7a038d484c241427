/* SPDX-License-Identifier: Apache-2.0 */
/*
 * URLs and references from servers: the input up to the first newline is a base, the rest a
 * Location. What comes out is a URL again, of at most its buffer, without userinfo.
 */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "net/url.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check_text(const struct url *u)
{
	char out[URL_MAX], other[URL_MAX], name[256];
	struct url again;
	bool shown;

	if (url_strip(u, out, sizeof out) == 0) {
		assert(url_parse(out, strlen(out), &again) == 0);
		assert(!again.userinfo.p && url_same_origin(u, &again));
	}
	if (url_identity(u, out, sizeof out, &shown) == 0) {
		assert(url_redact(u, other, sizeof other) < 0 || !shown || strcmp(out, other) == 0);
		assert(url_parse(out, strlen(out), &again) == 0 && !again.userinfo.p);
		assert(url_identity(&again, other, sizeof other, &shown) == 0);
		assert(strcmp(out, other) == 0);
	}
	url_redact(u, out, sizeof out);
	url_credentials(u, out, sizeof out);
	if (url_name(u, name, sizeof name) == 0)
		assert(name[0] && !strchr(name, '/'));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	const char *text = (const char *)data;
	const char *newline = len ? memchr(text, '\n', len) : NULL;
	size_t n = newline ? (size_t)(newline - text) : len;
	char out[URL_MAX];
	struct url base, next;

	if (url_parse(text, n, &base) < 0)
		return 0;
	check_text(&base);
	if (!newline || url_resolve(&base, newline + 1, len - n - 1, out, sizeof out) < 0)
		return 0;
	assert(url_parse(out, strlen(out), &next) == 0 && !next.userinfo.p);
	check_text(&next);
	return 0;
}
