/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The measure of an origin. Figures move towards what is seen: the delay goes down at once and up slowly,
 * because what comes on top of the least is somebody's queue; the rate goes up at once and down slowly,
 * because a moment with little to do says nothing of what the way can carry. Any thread, with the owner's lock.
 */
#include "http/http_pace.h"

#include "base/macros.h"

#define WINDOW_NS     (10 * NSEC_PER_MSEC) /* of busy time: shorter ones are noise */
#define WINDOW_BYTES  KIB(512)
#define PART_MIN      MIB(1)
#define GAP_SHARE     4
#define PART_DELAYS   4 /* the pause between two requests is a small part of the time */
#define OPENING_TIMES 8
#define OPENING_MIN   KIB(512)
#define PART_NS       (16 * NSEC_PER_MSEC) /* a part that comes in faster is mostly overhead */

/* The new figure is 1/@weight on the way from @old to @seen. */
static uint64_t towards(uint64_t old, uint64_t seen, uint64_t weight)
{
	return seen < old ? old - (old - seen) / weight : old + (seen - old) / weight;
}

void http_pace_answer(struct http_pace *p, uint64_t ns, bool alone)
{
	uint64_t old = atomic_load_explicit(&p->delay_ns, memory_order_relaxed);
	uint64_t weight = ns < old ? 2 : alone ? 8 : 256;

	ns = MAX(ns, 1u);
	atomic_store_explicit(&p->delay_ns, old ? towards(old, ns, weight) : ns,
			      memory_order_relaxed);
	p->mean_ns = p->mean_ns ? towards(p->mean_ns, ns, 8) : ns;
}

/* A full window says what the rate is. */
static void pace_settle(struct http_pace *p, uint64_t total, uint64_t now_ns)
{
	uint64_t old = atomic_load_explicit(&p->rate, memory_order_relaxed);
	uint64_t rate;

	p->busy_ns += now_ns - p->since_ns;
	p->bytes += total - p->counted;
	p->since_ns = now_ns;
	p->counted = total;
	if (p->busy_ns < WINDOW_NS || p->bytes < WINDOW_BYTES)
		return;
	rate = (uint64_t)((double)p->bytes * (double)NSEC_PER_SEC / (double)p->busy_ns);
	atomic_store_explicit(&p->rate, rate > old ? rate : towards(old, rate, 8),
			      memory_order_relaxed);
	p->busy_ns = p->bytes = 0;
}

void http_pace_flow_begin(struct http_pace *p, uint64_t total, uint64_t now_ns)
{
	if (p->flows++ > 0)
		return;
	p->since_ns = now_ns;
	p->counted = total;
}

void http_pace_flow_end(struct http_pace *p, uint64_t total, uint64_t now_ns)
{
	pace_settle(p, total, now_ns);
	p->flows--;
}

/*
 * A young connection brings in a few round trips only several times of what it has brought before: a long part on one
 * would keep its reader waiting while all others are done.
 */
static uint64_t opening(uint64_t delay_ns, unsigned parts, uint64_t total)
{
	return delay_ns > HTTP_FAR_NS ? MAX(OPENING_TIMES * total / parts, OPENING_MIN)
				      : UINT64_MAX;
}

uint64_t http_pace_part(const struct http_pace *p, unsigned parts, uint64_t total, uint64_t max)
{
	uint64_t rate = atomic_load_explicit(&p->rate, memory_order_relaxed);
	uint64_t delay = atomic_load_explicit(&p->delay_ns, memory_order_relaxed);
	double bytes = (double)rate / MAX(parts, 1u) / (double)NSEC_PER_SEC *
		(double)MAX(PART_DELAYS * delay, PART_NS);

	max = MIN(max, opening(delay, MAX(parts, 1u), total));
	if (!rate || bytes >= (double)max)
		return max & ~UINT64_C(0xfff);
	return MAX((uint64_t)bytes, MIN(PART_MIN, max)) & ~UINT64_C(0xfff);
}

/* A request can wait beside others, bytes cannot: so a part of the delay counts. */
uint64_t http_pace_gap(const struct http_pace *p)
{
	uint64_t rate = atomic_load_explicit(&p->rate, memory_order_relaxed);
	uint64_t delay = atomic_load_explicit(&p->delay_ns, memory_order_relaxed);

	return (uint64_t)((double)rate * (double)(delay / GAP_SHARE) / (double)NSEC_PER_SEC);
}
