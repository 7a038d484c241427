/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How many long requests an origin gets at a time, found by trying: one more or fewer, measure, keep or drop.
 * Pure: counts and times are told. The owner's lock guards it.
 */
#ifndef PROVIDERS_HTTP_CLIMB_H
#define PROVIDERS_HTTP_CLIMB_H

#include <stdbool.h>
#include <stdint.h>

struct http_climb {
	unsigned n;   /* long requests at a time */
	unsigned max; /* fixed */

	/* the trial */
	bool started;      /* n has been chosen by the origin's delay */
	bool up;           /* where the next trial goes */
	bool trying;       /* n is being tried, against usual */
	unsigned back;     /* where it returns to when that does not pay */
	unsigned rest;     /* windows without a trial */
	unsigned patience; /* windows to rest after the next trial that does not pay; it doubles */
	uint64_t usual;    /* bytes per second before the trial */

	/* the window */
	unsigned active;  /* long requests under way */
	uint64_t open_ns; /* it does not begin before: what follows a step is no measure of it */
	uint64_t begin_ns;
	uint64_t begin_total; /* bytes */
	uint64_t since_ns;    /* up to here full_ns has been counted */
	uint64_t full_ns;     /* of it, n or more were under way */
};

void http_climb_init(struct http_climb *c, unsigned connections);
/* @active long requests are under way from @now_ns on; @total counts all bytes so far. */
void http_climb_change(struct http_climb *c, unsigned active, uint64_t total, uint64_t delay_ns,
		       uint64_t now_ns);

#endif
