/* SPDX-License-Identifier: Apache-2.0 */
/* Sorted words of page bits. */
#include "vm/page_bits.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/macros.h"

enum { WORD_PAGES = 64 };

void page_bits_release(struct page_bits *b)
{
	free(b->v);
	*b = (struct page_bits){ 0 };
}

/* Bits of the pages [first, end) in word @index. */
static uint64_t bits_of(uint64_t index, uint64_t first, uint64_t end)
{
	uint64_t base = index * WORD_PAGES;
	uint64_t lo = first > base ? first - base : 0;
	uint64_t hi = end - base;

	return (hi >= WORD_PAGES ? 0 : UINT64_C(1) << hi) - (UINT64_C(1) << lo);
}

static struct page_bits_word *push(struct page_bits *b, uint64_t index)
{
	size_t cap = b->cap ? 2 * b->cap : 4;
	struct page_bits_word *v;

	if (b->n == b->cap) {
		v = reallocarray(b->v, cap, sizeof *v);
		if (!v)
			return NULL;
		b->v = v;
		b->cap = cap;
	}
	b->v[b->n] = (struct page_bits_word){ .index = index };
	return &b->v[b->n++];
}

int page_bits_append(struct page_bits *b, uint64_t first, uint64_t end)
{
	for (uint64_t i = first / WORD_PAGES; i * WORD_PAGES < end; i++) {
		struct page_bits_word *w = b->n ? &b->v[b->n - 1] : NULL;

		assert(!w || w->index <= i);
		if (!w || w->index < i)
			w = push(b, i);
		if (!w)
			return -ENOMEM;
		w->bits |= bits_of(i, first, end);
	}
	return 0;
}

/* Index of the first word at or after @index. */
static size_t lower(const struct page_bits *b, uint64_t index)
{
	size_t lo = 0;
	size_t hi = b->n;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (b->v[mid].index >= index)
			hi = mid;
		else
			lo = mid + 1;
	}
	return lo;
}

void page_bits_clear(struct page_bits *b, uint64_t first, uint64_t end)
{
	size_t i = lower(b, first / WORD_PAGES);

	for (; i < b->n && b->v[i].index * WORD_PAGES < end; i++)
		b->v[i].bits &= ~bits_of(b->v[i].index, first, end);
}

bool page_bits_has(const struct page_bits *b, uint64_t page)
{
	size_t i = lower(b, page / WORD_PAGES);

	return i < b->n && b->v[i].index == page / WORD_PAGES &&
		(b->v[i].bits >> page % WORD_PAGES & 1);
}

/* The end of the run that begins at @page, which is in word @i. */
static uint64_t run_end(const struct page_bits *b, size_t i, uint64_t page)
{
	for (; i < b->n && b->v[i].index == page / WORD_PAGES; i++) {
		uint64_t gone = ~b->v[i].bits >> page % WORD_PAGES;
		uint64_t left = WORD_PAGES - page % WORD_PAGES;
		uint64_t n = gone ? (uint64_t)__builtin_ctzll(gone) : left;

		if (n < left)
			return page + n;
		page += left;
	}
	return page;
}

bool page_bits_find(const struct page_bits *b, uint64_t first, uint64_t end, struct range *out)
{
	if (first >= end)
		return false;
	for (size_t i = lower(b, first / WORD_PAGES); i < b->n && b->v[i].index * WORD_PAGES < end;
	     i++) {
		uint64_t bits = b->v[i].bits & bits_of(b->v[i].index, first, end);

		if (!bits)
			continue;
		out->first = b->v[i].index * WORD_PAGES + (uint64_t)__builtin_ctzll(bits);
		out->end = MIN(run_end(b, i, out->first), end);
		return true;
	}
	return false;
}
