/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How an origin answers: the time to the first byte, and the bytes per second while bytes are coming in.
 * Pure: times and counts are told. The owner's lock guards it, but for the two figures that anybody
 * may read.
 */
#ifndef PROVIDERS_HTTP_PACE_H
#define PROVIDERS_HTTP_PACE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define HTTP_FAR_NS (5 * NSEC_PER_MSEC) /* beyond it the start of a connection is slow */

struct http_pace {
	/* Written with the lock held, read without; 0: not known. */
	_Atomic uint64_t delay_ns; /* near the least that an answer takes to begin */
	_Atomic uint64_t rate;     /* bytes per second; the most of late */

	/* The owner's lock. */
	uint64_t mean_ns;  /* an answer takes so long to begin, with whatever queueing there is */
	unsigned flows;    /* long answers that are coming in */
	uint64_t since_ns; /* flows > 0: the time up to here has been counted */
	uint64_t counted;  /* and the bytes up to this total */
	uint64_t busy_ns;  /* of the window: time with flows > 0 */
	uint64_t bytes;    /* that came in it */
};

/*
 * An answer began @ns after its request had been sent. @alone: nothing
 * else was under way, so nothing else is in the figure.
 */
void http_pace_answer(struct http_pace *p, uint64_t ns, bool alone);
/* A long answer begins or ends to come in; @total counts all bytes of the origin so far. */
void http_pace_flow_begin(struct http_pace *p, uint64_t total, uint64_t now_ns);
void http_pace_flow_end(struct http_pace *p, uint64_t total, uint64_t now_ns);
/*
 * How long a request has to be to be worth a connection of its own, of @parts that share the rate and have brought
 * @total bytes so far.
 */
uint64_t http_pace_part(const struct http_pace *p, unsigned parts, uint64_t total, uint64_t max);
/* The longest gap that is cheaper to read than to leave out, which costs another request; 0: not known. */
uint64_t http_pace_gap(const struct http_pace *p);

#endif
