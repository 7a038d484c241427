/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hill climbing over the number of long requests at a time. More are kept only when they bring clearly more,
 * fewer also when they bring the same: each costs the server a connection and the reader order. What did
 * not pay is tried again ever more rarely. A window counts only when the number under test was
 * under way nearly all the time, so a reader who wants little changes nothing. Any thread, with the owner's lock.
 */
#include "http/http_climb.h"

#include "base/macros.h"

#define NEAR_NS      (2 * NSEC_PER_MSEC) /* closer than that, few connections fill the way */
#define NEAR_START   4
#define FAR_START    32
#define FAR_REST     4 /* windows in which new connections get up to speed */
#define LEAST        2 /* one pauses between two requests */
#define PATIENCE_MAX 32
#define WINDOW_NS    (100 * NSEC_PER_MSEC)
#define WINDOW_BYTES MIB(1) /* for each request */

/* A part of the slots is left to those who want little, or want it now. */
void http_climb_init(struct http_climb *c, unsigned connections)
{
	*c = (struct http_climb){ .max = MAX(connections - connections / 8, 1u), .patience = 1 };
	c->n = MIN(FAR_START, c->max);
}

static void climb_start(struct http_climb *c, uint64_t delay_ns)
{
	c->started = true;
	c->up = delay_ns < NEAR_NS;
	if (c->up)
		c->n = MIN(NEAR_START, c->max);
	else
		c->rest = FAR_REST;
}

static unsigned climb_next(const struct http_climb *c)
{
	if (c->up)
		return MIN(c->n + MAX(c->n / 4, 1u), c->max);
	return MAX(c->n - MAX(c->n / 4, 1u), MIN(LEAST, c->max));
}

/* The next trial goes the other way. */
static void climb_turn(struct http_climb *c)
{
	c->trying = false;
	c->up = !c->up;
	c->rest = c->patience;
	c->patience = MIN(2 * c->patience, PATIENCE_MAX);
}

static void climb_try(struct http_climb *c, uint64_t rate)
{
	unsigned next = climb_next(c);

	if (next == c->n) {
		climb_turn(c);
		return;
	}
	c->usual = rate;
	c->back = c->n;
	c->n = next;
	c->trying = true;
}

static bool climb_pays(const struct http_climb *c, uint64_t rate)
{
	return c->up ? rate > c->usual + c->usual / 12 : rate > c->usual - c->usual / 32;
}

/* The window with n at a time has given @rate. */
static void climb_judge(struct http_climb *c, uint64_t rate)
{
	if (c->rest > 0) {
		c->rest--;
	} else if (!c->trying) {
		climb_try(c, rate);
	} else if (climb_pays(c, rate)) {
		c->patience = 1;
		climb_try(c, rate);
	} else {
		c->n = c->back;
		climb_turn(c);
	}
}

static void window_begin(struct http_climb *c, uint64_t total, uint64_t now_ns)
{
	c->begin_ns = c->since_ns = now_ns;
	c->begin_total = total;
	c->full_ns = 0;
}

static void window_end(struct http_climb *c, uint64_t total, uint64_t delay_ns, uint64_t now_ns)
{
	uint64_t ns = now_ns - c->begin_ns;
	unsigned n = c->n;

	if (c->full_ns >= ns - ns / 4)
		climb_judge(c,
			    (uint64_t)((double)(total - c->begin_total) * (double)NSEC_PER_SEC /
				       (double)ns));
	if (c->n != n)
		c->open_ns = now_ns + MAX(4 * delay_ns, WINDOW_NS / 4);
	window_begin(c, total, now_ns);
}

void http_climb_change(struct http_climb *c, unsigned active, uint64_t total, uint64_t delay_ns,
		       uint64_t now_ns)
{
	if (!c->started && delay_ns)
		climb_start(c, delay_ns);
	if (c->active >= c->n)
		c->full_ns += now_ns - c->since_ns;
	c->since_ns = now_ns;
	c->active = active;
	if (now_ns < c->open_ns || !c->begin_ns)
		window_begin(c, total, now_ns);
	else if (now_ns - c->begin_ns >= MAX(8 * delay_ns, WINDOW_NS) &&
		 total - c->begin_total >= c->n * WINDOW_BYTES)
		window_end(c, total, delay_ns, now_ns);
}
