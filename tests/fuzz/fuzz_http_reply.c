/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Heads of answers: the input is a head line by line. What is judged good is for the range that was
 * asked for, of the size and version that were expected, and unencoded.
 */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "net/http_reply.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check_good(const struct http_reply *r, const struct http_expect *e, uint64_t off,
		       uint64_t len)
{
	assert(strcmp(r->etag, e->etag) == 0 && !r->encoding[0]);
	if (r->status == 206)
		assert(r->range.first == off && r->range.last == off + len - 1);
	else
		assert(r->status == 200 && off == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static const struct http_expect e = { 10000, "\"v1\"", "", 1 << 20, false };
	char location[256], msg[128];
	struct http_reply r = { .location = location, .location_cap = sizeof location };
	const char *p = (const char *)data;

	http_reply_reset(&r);
	while (len > 0) {
		const char *end = memchr(p, '\n', len);
		size_t n = end ? (size_t)(end - p) + 1 : len;

		http_reply_line(&r, p, n, 1000000000);
		p += n;
		len -= n;
	}
	if (http_reply_check(&r, &e, 4096, 4096, false, msg, sizeof msg) == HTTP_OUTCOME_OK)
		check_good(&r, &e, 4096, 4096);
	if (http_reply_check(&r, &e, 0, 10000, true, msg, sizeof msg) == HTTP_OUTCOME_OK)
		check_good(&r, &e, 0, 10000);
	assert(strlen(location) < sizeof location && strlen(r.etag) < sizeof r.etag);
	assert(strlen(r.version_id) < sizeof r.version_id);
	assert(strlen(r.checksums) < sizeof r.checksums);
	assert(!r.checksums[0] || r.checksums[strlen(r.checksums) - 1] == ';');
	return 0;
}
