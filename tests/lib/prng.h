/* SPDX-License-Identifier: Apache-2.0 */
/* Reproducible random numbers for tests (splitmix64): the same seed gives the same run anywhere. */
#ifndef TESTS_LIB_PRNG_H
#define TESTS_LIB_PRNG_H

#include <stdbool.h>
#include <stdint.h>

struct prng {
	uint64_t state;
};

static inline uint64_t prng_next(struct prng *r)
{
	uint64_t z = r->state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

/* 0..n-1; @n > 0. The bias is far below what a test could see. */
static inline uint64_t prng_below(struct prng *r, uint64_t n)
{
	return prng_next(r) % n;
}

/* True in @percent of 100. */
static inline bool prng_chance(struct prng *r, unsigned percent)
{
	return prng_below(r, 100) < percent;
}

#endif
