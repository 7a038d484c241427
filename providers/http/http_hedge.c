/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rules of hedging. A fixed timeout would be too long for a fast way and too short for a slow one, so
 * everything is a multiple of what the origin itself was seen to do. Pure; any thread.
 */
#include "http/http_hedge.h"

#include "base/macros.h"

#define PATIENCE_MIN    (200 * NSEC_PER_MSEC)
#define DEAD_MIN        NSEC_PER_SEC
#define SLOW_FACTOR     4 /* slower than its siblings by so much */
#define REQUEST_COST    KIB(128)
#define FREE_PARTS      2
#define PAUSE_DOUBLINGS 8u
#define GAUGE_MIN_NS    (40 * NSEC_PER_MSEC)

uint64_t http_hedge_patience(const struct http_hedge_others *o)
{
	return MAX(MAX(4 * o->delay_ns, 2 * o->mean_ns), PATIENCE_MIN);
}

uint64_t http_hedge_pause(const struct http_hedge_others *o, unsigned n)
{
	return n ? http_hedge_patience(o) << MIN(n, PAUSE_DOUBLINGS) : 0;
}

static uint64_t time_for(uint64_t bytes, uint64_t rate)
{
	return (uint64_t)((double)bytes / (double)rate * (double)NSEC_PER_SEC);
}

/* Whether a new request would be there long before it. */
static bool is_slow(const struct http_hedge_part *p, const struct http_hedge_others *o,
		    uint64_t now_ns)
{
	uint64_t patience = http_hedge_patience(o);

	if (!p->rate || !o->rate || now_ns < p->start_ns + patience)
		return false;
	return time_for(p->left, p->rate) >
		SLOW_FACTOR * (o->delay_ns + time_for(p->left, o->rate)) + patience;
}

enum http_hedge http_hedge_why(const struct http_hedge_part *p, const struct http_hedge_others *o,
			       uint64_t now_ns)
{
	uint64_t patience = http_hedge_patience(o);
	uint64_t silence = now_ns > p->active_ns ? now_ns - p->active_ns : 0;

	if (silence > patience && o->heard_ns > p->active_ns + o->delay_ns)
		return HTTP_HEDGE_SILENT;
	if (silence > MAX(4 * patience, DEAD_MIN))
		return HTTP_HEDGE_DEAD;
	return is_slow(p, o, now_ns) ? HTTP_HEDGE_SLOW : HTTP_HEDGE_NO;
}

bool http_hedge_affordable(const struct http_hedge_budget *b, uint64_t bytes)
{
	uint64_t spent = b->hedged + b->hedges * REQUEST_COST;
	uint64_t earned = (b->fetched + b->requests * REQUEST_COST) / 100 * b->percent;

	return b->percent && spent + bytes <= earned + FREE_PARTS * MAX(b->part, MIB(8));
}

uint64_t http_hedge_median(uint64_t *v, unsigned n)
{
	for (unsigned i = 1; i < n; i++) {
		uint64_t x = v[i];
		unsigned j = i;

		for (; j > 0 && v[j - 1] > x; j--)
			v[j] = v[j - 1];
		v[j] = x;
	}
	return n ? v[n / 2] : 0;
}

void http_gauge_start(struct http_gauge *g, uint64_t now_ns)
{
	*g = (struct http_gauge){ .seen_ns = now_ns };
}

void http_gauge_look(struct http_gauge *g, uint64_t got, uint64_t now_ns)
{
	uint64_t ns = now_ns - g->seen_ns;
	uint64_t rate;

	if (ns < GAUGE_MIN_NS)
		return;
	rate = (uint64_t)((double)(got - g->seen) * (double)NSEC_PER_SEC / (double)ns);
	rate = MAX(rate, 1u); /* 0 would be: not known */
	g->rate = g->seen ? (g->rate + rate) / 2 : rate;
	g->seen_ns = now_ns;
	g->seen = got;
}
