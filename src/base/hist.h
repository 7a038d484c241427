/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Latency histogram: atomic counters in half-octave buckets of microseconds, the layout of
 * vmofs_provider_stats.latency. Adding is one atomic increment, from any thread.
 */
#ifndef BASE_HIST_H
#define BASE_HIST_H

#include <stdatomic.h>
#include <stdint.h>
#include <vmofs/provider.h>

struct hist {
	_Atomic uint64_t bucket[VMOFS_LATENCY_BUCKETS];
};

void hist_add_ns(struct hist *h, uint64_t ns);
void hist_copy(struct hist *h, uint64_t out[VMOFS_LATENCY_BUCKETS]);
/* Percentile @p in 0..100 in microseconds, interpolated inside the bucket; 0 when empty. */
double hist_percentile_us(const uint64_t bucket[VMOFS_LATENCY_BUCKETS], double p);
uint64_t hist_count(const uint64_t bucket[VMOFS_LATENCY_BUCKETS]);

#endif
