/* SPDX-License-Identifier: Apache-2.0 */
/* Latency histogram in half-octave buckets of microseconds; lock-free, any thread. */
#include "base/hist.h"

#include <math.h>

/* Bucket i begins at 2^(i/2) us; bucket 0 also takes everything shorter. */
static double bucket_floor(unsigned i)
{
	return i ? exp2(i / 2.0) : 0;
}

static unsigned bucket_of(uint64_t us)
{
	unsigned octave;
	unsigned i;

	if (us < 2)
		return 0;
	octave = 63 - (unsigned)__builtin_clzll(us);
	/* The upper half of an octave begins at its floor times sqrt(2). */
	i = 2 * octave + ((double)us >= exp2(octave + 0.5));
	return i < VMOFS_LATENCY_BUCKETS ? i : VMOFS_LATENCY_BUCKETS - 1;
}

void hist_add_ns(struct hist *h, uint64_t ns)
{
	atomic_fetch_add_explicit(&h->bucket[bucket_of(ns / 1000)], 1, memory_order_relaxed);
}

void hist_copy(struct hist *h, uint64_t out[VMOFS_LATENCY_BUCKETS])
{
	for (unsigned i = 0; i < VMOFS_LATENCY_BUCKETS; i++)
		out[i] = atomic_load_explicit(&h->bucket[i], memory_order_relaxed);
}

uint64_t hist_count(const uint64_t bucket[VMOFS_LATENCY_BUCKETS])
{
	uint64_t n = 0;

	for (unsigned i = 0; i < VMOFS_LATENCY_BUCKETS; i++)
		n += bucket[i];
	return n;
}

double hist_percentile_us(const uint64_t bucket[VMOFS_LATENCY_BUCKETS], double p)
{
	double rank = (double)hist_count(bucket) * p / 100;
	double seen = 0;

	for (unsigned i = 0; i < VMOFS_LATENCY_BUCKETS; i++) {
		double n = (double)bucket[i];

		if (n > 0 && seen + n >= rank) {
			double lo = bucket_floor(i);

			return lo + (bucket_floor(i + 1) - lo) * (rank - seen) / n;
		}
		seen += n;
	}
	return 0;
}
