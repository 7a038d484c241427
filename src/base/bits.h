/* SPDX-License-Identifier: Apache-2.0 */
/* Bits in an array of words, and their runs. Bit i is in word i / 64. Header only, no state, no locking. */
#ifndef BASE_BITS_H
#define BASE_BITS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/macros.h"

/* Words for @n bits. */
#define BITS_WORDS(n) (((n) + 63) / 64)

static inline bool bits_has(const uint64_t *bits, uint64_t i)
{
	return bits[i / 64] >> (i % 64) & 1;
}

static inline void bits_set(uint64_t *bits, uint64_t i)
{
	bits[i / 64] |= UINT64_C(1) << (i % 64);
}

static inline void bits_clear(uint64_t *bits, uint64_t i)
{
	bits[i / 64] &= ~(UINT64_C(1) << (i % 64));
}

/* How many of all in @n_words are set. */
static inline unsigned bits_count(const uint64_t *bits, unsigned n_words)
{
	unsigned n = 0;

	for (unsigned i = 0; i < n_words; i++)
		n += (unsigned)__builtin_popcountll(bits[i]);
	return n;
}

/* The first in [i, end) that is @value; @end: none. */
static inline uint64_t bits_find(const uint64_t *bits, bool value, uint64_t i, uint64_t end)
{
	while (i < end) {
		uint64_t word = (value ? bits[i / 64] : ~bits[i / 64]) >> (i % 64);

		if (word)
			return MIN(i + (uint64_t)__builtin_ctzll(word), end);
		i = (i / 64 + 1) * 64;
	}
	return end;
}

/* The first run of set bits in [*from, *to); false: none. */
static inline bool bits_next_run(const uint64_t *bits, uint64_t *from, uint64_t *to)
{
	*from = bits_find(bits, true, *from, *to);
	*to = bits_find(bits, false, *from, *to);
	return *from < *to;
}

/* Makes all of [from, to) @value; how many were not. */
static inline uint64_t bits_fill(uint64_t *bits, bool value, uint64_t from, uint64_t to)
{
	uint64_t n = 0;

	for (uint64_t next; from < to; from = next) {
		uint64_t *word = &bits[from / 64];
		uint64_t mask;

		next = MIN((from / 64 + 1) * 64, to);
		mask = UINT64_MAX >> (64 - (next - from)) << (from % 64);
		n += (uint64_t)__builtin_popcountll((value ? ~*word : *word) & mask);
		*word = value ? *word | mask : *word & ~mask;
	}
	return n;
}

#endif
