/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A set of pages as words of 64 in one sorted array: built by appending, then only eaten from. Taking pages out never moves
 * anything and never fails, however scattered they are. No locking.
 */
#ifndef VM_PAGE_BITS_H
#define VM_PAGE_BITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/range_set.h"

struct page_bits_word {
	uint64_t index; /* page / 64 */
	uint64_t bits;
};

struct page_bits {
	struct page_bits_word *v; /* owned */
	size_t n;
	size_t cap;
};

void page_bits_release(struct page_bits *b);
/* Adds pages at or after the last that were added. 0 or -ENOMEM. */
int page_bits_append(struct page_bits *b, uint64_t first, uint64_t end);
void page_bits_clear(struct page_bits *b, uint64_t first, uint64_t end);
bool page_bits_has(const struct page_bits *b, uint64_t page);
/* The first run in [first, end); false: none. */
bool page_bits_find(const struct page_bits *b, uint64_t first, uint64_t end, struct range *out);

#endif
