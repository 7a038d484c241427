/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Slots: how many requests an origin has under way, who has the next one, and what an ended one says about
 * how many there should be and how fast the origin is. Loop threads, with the origin's lock.
 */
#include <assert.h>

#include "base/macros.h"
#include "http/http_private.h"

#define PAUSE_MAX (30 * NSEC_PER_SEC)

/* The slots that requests of @rank may fill: of prefetch a quarter is kept free, an eighth where it is long. */
static unsigned room_locked(const struct http_origin *o, enum http_rank rank, bool is_long)
	REQUIRES(o->lock)
{
	unsigned n = o->limit;

	if (rank != HTTP_RANK_PREFETCH)
		return n;
	return n - (is_long ? n / 8 : (n + 3) / 4 - (n == 1));
}

/* Of what is long there are as many as have proven good, and a few more that are no prefetch. */
static bool may_have_locked(const struct http_origin *o, enum http_rank rank, bool is_long)
	REQUIRES(o->lock)
{
	unsigned many = o->climb.n;

	if (rank != HTTP_RANK_PREFETCH)
		many += MAX(many / 4, 1u);
	return atomic_load(&o->nactive) < room_locked(o, rank, is_long) &&
		(!is_long || o->nlong < many);
}

unsigned http_parts_free(struct http_origin *o, enum http_rank rank)
{
	unsigned taken, n, longs;

	mutex_lock(&o->lock);
	taken = atomic_load(&o->nactive) - 1;
	n = room_locked(o, rank, true);
	longs = o->climb.n > o->nlong ? o->climb.n - o->nlong : 1;
	mutex_unlock(&o->lock);
	return MIN(n > taken ? n - taken : 1, longs);
}

bool http_wait_locked(struct http_origin *o, struct http_waiter *w, uint64_t now_ns)
{
	if (!vmofs_list_empty(&w->link))
		return false;
	w->since_ns = now_ns;
	vmofs_list_add_tail(&o->waiting[w->rank][w->is_long], &w->link);
	return true;
}

/* Who has waited longest of a rank and may have a slot, or NULL. */
static struct http_waiter *first_locked(const struct http_origin *o, enum http_rank rank)
	REQUIRES(o->lock)
{
	struct http_waiter *best = NULL;

	for (unsigned is_long = 0; is_long < 2; is_long++) {
		struct http_waiter *w =
			vmofs_list_first(&o->waiting[rank][is_long], struct http_waiter, link);

		if (w && may_have_locked(o, rank, is_long) &&
		    (!best || w->since_ns < best->since_ns))
			best = w;
	}
	return best;
}

bool http_any_waits_locked(const struct http_origin *o)
{
	for (unsigned rank = 0; rank < HTTP_NRANKS; rank++)
		if (first_locked(o, rank))
			return true;
	return false;
}

/* Who is to have the next slot; NULL: nobody that may. */
static struct http_waiter *next_locked(struct http_origin *o) REQUIRES(o->lock)
{
	static const uint64_t handicap_ns[] = {
		[HTTP_RANK_DEMAND] = 0,
		[HTTP_RANK_ASK] = 50 * NSEC_PER_MSEC,
		[HTTP_RANK_PREFETCH] = 2 * NSEC_PER_SEC,
	};
	struct http_waiter *best = NULL;

	_Static_assert(ARRAY_LEN(handicap_ns) == HTTP_NRANKS, "one handicap per rank");
	for (unsigned rank = 0; rank < HTTP_NRANKS; rank++) {
		struct http_waiter *w = first_locked(o, rank);

		if (w &&
		    (!best ||
		     w->since_ns + handicap_ns[rank] < best->since_ns + handicap_ns[best->rank]))
			best = w;
	}
	return best;
}

static bool is_open_locked(const struct http_origin *o, const struct http_lane *lane,
			   uint64_t now_ns) REQUIRES(o->lock)
{
	return o->pause_until_ns <= now_ns && lane->nactive < o->lane_limit;
}

static void slot_fill_locked(struct http_origin *o, struct http_lane *lane) REQUIRES(o->lock)
{
	atomic_fetch_add(&o->nactive, 1);
	lane->nactive++;
}

static void slot_give_locked(struct http_origin *o, struct http_lane *lane) REQUIRES(o->lock)
{
	assert(lane->nactive > 0);
	atomic_fetch_sub(&o->nactive, 1);
	lane->nactive--;
}

struct http_waiter *http_slot_take_locked(struct http_origin *o, struct http_lane *lane,
					  uint64_t now_ns)
{
	struct http_waiter *w = is_open_locked(o, lane, now_ns) ? next_locked(o) : NULL;

	if (!w)
		return NULL;
	vmofs_list_del(&w->link);
	slot_fill_locked(o, lane);
	return w;
}

/*
 * A server that says it is busy gets half as much, and more again only as it copes. What was under way when
 * the limit was halved says nothing of the new limit, be it good or bad.
 */
static void adapt_locked(struct http_origin *o, const struct http_verdict *v, uint64_t now_ns)
	REQUIRES(o->lock)
{
	if (v->start_ns < o->lowered_ns)
		return;
	if (v->slow_down) {
		o->limit = MAX(o->limit / 2, 1u);
		o->lowered_ns = now_ns;
		o->good = 0;
	} else if (v->good && o->limit < o->limits.connections && ++o->good >= o->limit) {
		o->limit++;
		o->good = 0;
	}
}

/* It is left alone by everybody for a while, but for a last try of who was refused. */
static void pause_locked(struct http_origin *o, const struct http_verdict *v, uint64_t now_ns)
	REQUIRES(o->lock)
{
	uint64_t ns, until;

	if (v->retry_after == HTTP_LENGTH_UNKNOWN)
		return;
	ns = MIN(MIN(v->retry_after, UINT64_C(1) << 30) * NSEC_PER_SEC, PAUSE_MAX);
	until = MIN(now_ns + ns, http_last_try(v->deadline_ns, now_ns));
	o->pause_until_ns = MAX(o->pause_until_ns, until);
	http_due_locked(o, o->pause_until_ns);
}

static uint64_t fetched(const struct http_origin *o)
{
	return atomic_load_explicit(&o->counters.v[HTTP_COUNT_FETCHED], memory_order_relaxed);
}

uint64_t http_part_size(const struct http_origin *o)
{
	return http_pace_part(&o->pace, atomic_load_explicit(&o->parts, memory_order_relaxed),
			      fetched(o), o->limits.part_size);
}

static void long_change_locked(struct http_origin *o, unsigned n, uint64_t now_ns) REQUIRES(o->lock)
{
	o->nlong = n;
	http_climb_change(&o->climb, n, fetched(o),
			  atomic_load_explicit(&o->pace.delay_ns, memory_order_relaxed), now_ns);
	atomic_store_explicit(&o->parts, MIN(o->climb.n, o->limit), memory_order_relaxed);
}

void http_long_begin(struct http_origin *o)
{
	uint64_t now = loop_now_ns();

	mutex_lock(&o->lock);
	long_change_locked(o, o->nlong + 1, now);
	mutex_unlock(&o->lock);
}

static void measure_locked(struct http_origin *o, const struct http_verdict *v, uint64_t now_ns)
	REQUIRES(o->lock)
{
	if (v->answer_ns)
		http_pace_answer(&o->pace, v->answer_ns, v->alone);
	if (v->flow)
		http_pace_flow_end(&o->pace, fetched(o), now_ns);
	if (v->is_long)
		long_change_locked(o, o->nlong - 1, now_ns);
}

void http_first_answer(struct http_origin *o, uint64_t ns)
{
	mutex_lock(&o->lock);
	if (ns)
		http_pace_answer(&o->pace, ns, true);
	mutex_unlock(&o->lock);
}

void http_flow_begin(struct http_origin *o)
{
	uint64_t now = loop_now_ns();

	mutex_lock(&o->lock);
	http_pace_flow_begin(&o->pace, fetched(o), now);
	mutex_unlock(&o->lock);
}

void http_slot_free(struct http_lane *lane, const struct http_verdict *v)
{
	struct http_origin *o = lane->o;
	uint64_t now = loop_now_ns();
	bool more;

	mutex_lock(&o->lock);
	slot_give_locked(o, lane);
	measure_locked(o, v, now);
	adapt_locked(o, v, now);
	pause_locked(o, v, now);
	more = http_any_waits_locked(o) || o->pause_until_ns > now;
	mutex_unlock(&o->lock);
	if (more)
		http_net_ready(o->net, &o->source);
}

void http_slot_return(struct http_lane *lane)
{
	mutex_lock(&lane->o->lock);
	slot_give_locked(lane->o, lane);
	mutex_unlock(&lane->o->lock);
}

/* -- hedges ----------------------------------------------------------------------------------- */

static bool affordable_locked(const struct http_origin *o, uint64_t bytes) REQUIRES(o->lock)
{
	struct http_hedge_budget b = {
		.percent = o->limits.hedge_percent,
		.requests = atomic_load(&o->counters.v[HTTP_COUNT_REQUESTS]),
		.fetched = fetched(o),
		.hedges = atomic_load(&o->counters.v[HTTP_COUNT_HEDGES]),
		.hedged = o->hedged,
		.part = o->limits.part_size,
	};

	return http_hedge_affordable(&b, bytes);
}

bool http_hedge_slot(struct http_lane *lane, uint64_t bytes, uint64_t now_ns)
{
	struct http_origin *o = lane->o;
	bool taken;

	mutex_lock(&o->lock);
	taken = is_open_locked(o, lane, now_ns) && atomic_load(&o->nactive) < o->limit &&
		affordable_locked(o, bytes);
	if (taken) {
		o->hedged += bytes;
		slot_fill_locked(o, lane);
	}
	mutex_unlock(&o->lock);
	return taken;
}

void http_hedge_ended(struct http_origin *o, uint64_t bytes, uint64_t got)
{
	mutex_lock(&o->lock);
	o->hedged -= bytes - MIN(got, bytes);
	mutex_unlock(&o->lock);
}

void http_hedge_pace(struct http_origin *o, struct http_hedge_others *out)
{
	mutex_lock(&o->lock);
	out->delay_ns = atomic_load_explicit(&o->pace.delay_ns, memory_order_relaxed);
	out->mean_ns = o->pace.mean_ns;
	mutex_unlock(&o->lock);
}
