/* SPDX-License-Identifier: Apache-2.0 */
/* The pending bitmap of one request. */
#include "vm/page_request.h"

#include <stdlib.h>

#include "base/bits.h"
#include "base/macros.h"
#include "vm/page.h"

struct page_request *page_request_new(enum vmofs_request_type type, uint64_t first, uint64_t end)
{
	uint64_t n = end - first;
	struct page_request *r = calloc(1, sizeof *r + BITS_WORDS(n) * sizeof r->bitmap[0]);

	if (!r)
		return NULL;
	r->pub.type = type;
	r->pub.off = page_bytes(first);
	r->pub.len = page_bytes(n);
	vmofs_list_init(&r->pub.link);
	r->range.first = first;
	r->range.end = end;
	r->n_pending = bits_fill(r->bitmap, true, 0, n);
	return r;
}

void page_request_free(struct page_request *r)
{
	free(r);
}

struct page_request *page_request_narrow(const struct page_request *r, uint64_t first, uint64_t end)
{
	struct page_request *n = page_request_new(r->pub.type, first, end);
	uint64_t p = first;

	if (!n)
		return NULL;
	n->pub.cls = r->pub.cls;
	n->pub.deadline_ns = r->pub.deadline_ns;
	n->pub.vmo = r->pub.vmo;
	n->to = r->to;
	n->seq = r->seq;
	while ((p = page_request_next_settled(r, p, end)) < end) {
		uint64_t next = page_request_next_pending(r, p, end);

		page_request_resolve(n, p, next);
		p = next;
	}
	return n;
}

uint64_t page_request_next_pending(const struct page_request *r, uint64_t page, uint64_t limit)
{
	uint64_t base = r->range.first;

	return base + bits_find(r->bitmap, true, page - base, limit - base);
}

uint64_t page_request_next_settled(const struct page_request *r, uint64_t page, uint64_t limit)
{
	uint64_t base = r->range.first;

	return base + bits_find(r->bitmap, false, page - base, limit - base);
}

uint64_t page_request_resolve(struct page_request *r, uint64_t first, uint64_t end)
{
	uint64_t from = MAX(first, r->range.first) - r->range.first;
	uint64_t to = MIN(end, r->range.end) - r->range.first;
	uint64_t n = bits_fill(r->bitmap, false, from, to);

	r->n_pending -= n;
	return n;
}
