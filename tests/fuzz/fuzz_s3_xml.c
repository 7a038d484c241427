/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Listings and error documents of S3 servers. The first byte says in pieces of what size a listing
 * arrives; what the parser accepts keeps its promises: keys of the page end in a zero and have none inside,
 * tags have quotes, and the size of the pieces makes no difference.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <vmofs/source.h>

#include "base/macros.h"
#include "s3/s3_xml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static int parse(const uint8_t *data, size_t len, size_t piece, struct s3_page *page)
{
	struct s3_xml *x = s3_xml_new(page);
	int r = 0;

	assert(x);
	for (size_t i = 0; i < len && r == 0; i += piece)
		r = s3_xml_add(x, data + i, MIN(piece, len - i));
	if (r == 0)
		r = s3_xml_end(x);
	s3_xml_free(x);
	return r;
}

static void check_page(const struct s3_page *p)
{
	for (unsigned i = 0; i < p->n; i++) {
		const struct s3_entry *e = &p->v[i];

		assert(e->key_len > 0 && e->key_len < VMOFS_KEY_MAX);
		assert(strlen(s3_page_key(p, e)) == e->key_len);
		assert(e->etag < p->len);
	}
	assert(!p->truncated || p->token);
}

static void check_error(const uint8_t *data, size_t len)
{
	struct s3_error e;

	s3_xml_error((const char *)data, len, &e);
	assert(strlen(e.code) < sizeof e.code && strlen(e.message) < sizeof e.message);
	assert(!strpbrk(e.message, "\r\n\t") && !strpbrk(e.request_id, "\r\n\t"));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct s3_page whole = { 0 }, pieces = { 0 };
	int r;

	if (len < 2)
		return 0;
	r = parse(data + 1, len - 1, len, &whole);
	if (r == 0)
		check_page(&whole);
	assert((parse(data + 1, len - 1, data[0] % 64 + 1u, &pieces) == 0) == (r == 0));
	if (r == 0) {
		check_page(&pieces);
		assert(pieces.n == whole.n && pieces.truncated == whole.truncated);
	}
	s3_page_clear(&whole);
	s3_page_clear(&pieces);
	check_error(data + 1, len - 1);
	return 0;
}
