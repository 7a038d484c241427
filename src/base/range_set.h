/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A sorted set of disjoint half-open ranges in one array: small sets that are mostly built by
 * appending and then eaten from (the pages of a writeback token). No locking.
 */
#ifndef BASE_RANGE_SET_H
#define BASE_RANGE_SET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct range {
	uint64_t first;
	uint64_t end;
};

struct range_set {
	struct range *v; /* owned */
	size_t n;
	size_t cap;
};

void range_set_release(struct range_set *s);
/* Adds a range at or after the end of the last one; touching ranges become one. 0 or -ENOMEM. */
int range_set_append(struct range_set *s, uint64_t first, uint64_t end);
/* Makes room for @n more ranges, so that as many splits cannot fail. */
int range_set_reserve(struct range_set *s, size_t n);
/*
 * Takes [first, end) out. When a split finds no memory, the rest of the split range after it is
 * taken out too and given in @lost (else @lost is empty): the caller decides what that means.
 */
void range_set_subtract(struct range_set *s, uint64_t first, uint64_t end, struct range *lost);
/* The first range that overlaps [first, end), clipped to it; false: none. */
bool range_set_find(const struct range_set *s, uint64_t first, uint64_t end, struct range *out);

#endif
