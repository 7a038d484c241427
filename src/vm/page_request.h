/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a provider has been asked for: a range of one type with a bitmap of the pages that are still
 * pending. No page is pending in two requests of a type. A request is owned by its page source;
 * from send() to clear() the provider knows it too. Everything runs under the source's lock.
 */
#ifndef VM_PAGE_REQUEST_H
#define VM_PAGE_REQUEST_H

#include <stdint.h>
#include <vmofs/provider.h>

#include "base/itree.h"

struct page_request {
	struct vmofs_request pub;  /* first: what the provider sees */
	struct itree_node range;   /* in source->requests[type] */
	struct vmofs_provider *to; /* borrowed: who was asked */
	uint64_t seq;              /* when it was last asked for: see writeback */
	uint64_t n_pending;
	uint64_t bitmap[]; /* bit i: page range.first + i is pending */
};

/* All pages pending. NULL: out of memory. */
struct page_request *page_request_new(enum vmofs_request_type type, uint64_t first, uint64_t end);
void page_request_free(struct page_request *r);
/* A new request for the part [first, end) of @r, with its pending bits. NULL: out of memory. */
struct page_request *page_request_narrow(const struct page_request *r, uint64_t first,
					 uint64_t end);

/* The first pending (not pending) page in [page, limit), both inside the request; limit if none. */
uint64_t page_request_next_pending(const struct page_request *r, uint64_t page, uint64_t limit);
uint64_t page_request_next_settled(const struct page_request *r, uint64_t page, uint64_t limit);
/* Resolves what is pending in [first, end), clipped to the request; returns how many pages. */
uint64_t page_request_resolve(struct page_request *r, uint64_t first, uint64_t end);

#endif
