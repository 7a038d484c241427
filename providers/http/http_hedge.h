/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When a request under way is raced by a second one for what is left of it. Pure: everything is told, also
 * the time; http_watch.c sees to it that it happens. Any thread.
 */
#ifndef PROVIDERS_HTTP_HEDGE_H
#define PROVIDERS_HTTP_HEDGE_H

#include <stdbool.h>
#include <stdint.h>

enum http_hedge {
	HTTP_HEDGE_NO,
	HTTP_HEDGE_SLOW,   /* far below what its siblings do */
	HTTP_HEDGE_SILENT, /* not a byte, while others are heard of */
	HTTP_HEDGE_DEAD,   /* nobody is heard of: only a new connection can tell */
};

struct http_hedge_part {
	uint64_t left; /* bytes to come */
	uint64_t start_ns;
	uint64_t active_ns; /* last heard of */
	uint64_t rate;      /* of late, bytes per second; 0: not measured */
};

struct http_hedge_others {
	uint64_t delay_ns; /* the origin's pace; 0: not known */
	uint64_t mean_ns;
	uint64_t heard_ns; /* when any other request was last heard of */
	uint64_t rate;     /* median of one request; 0: not known */
};

enum http_hedge http_hedge_why(const struct http_hedge_part *p, const struct http_hedge_others *o,
			       uint64_t now_ns);
/* So long a silence is normal. */
uint64_t http_hedge_patience(const struct http_hedge_others *o);
/* So long after the last of @n second requests for one and the same there is no other; they have failed. */
uint64_t http_hedge_pause(const struct http_hedge_others *o, unsigned n);

/*
 * What second requests may cost. A request counts as bytes too, so that those for single pages have a
 * limit; the first few are free, so that a short transfer can have one.
 */
struct http_hedge_budget {
	unsigned percent; /* 0: none at all */
	uint64_t requests;
	uint64_t fetched; /* bytes, of all requests */
	uint64_t hedges;
	uint64_t hedged; /* bytes, of second requests; those under way in full */
	uint64_t part;   /* the largest range of one request */
};
bool http_hedge_affordable(const struct http_hedge_budget *b, uint64_t bytes);

/* Of @n figures, whose order changes; 0 of none. */
uint64_t http_hedge_median(uint64_t *v, unsigned n);

/* How fast a request is, measured now and then. */
struct http_gauge {
	uint64_t seen_ns;
	uint64_t seen; /* bytes */
	uint64_t rate; /* bytes per second, 0: not known yet */
};
void http_gauge_start(struct http_gauge *g, uint64_t now_ns);
void http_gauge_look(struct http_gauge *g, uint64_t got, uint64_t now_ns);

#endif
