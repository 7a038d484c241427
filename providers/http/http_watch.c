/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Watching over requests under way: what nobody wants any more is cut, what has gone silent is given up, and
 * what falls far behind its siblings is raced by a second request for its rest (a hedge; the rules are
 * http_hedge.c's). The two are twins: both supply what they bring, pages that are there already stay as
 * they are, and as soon as one has brought everything the other is cut. The pieces stay with the first
 * until it fails; then the second has them.
 *
 * Runs on the lane's loop, which both twins are on; what is called with the object's lock held comes from
 * any thread.
 */
#include <errno.h>

#include "base/macros.h"
#include "http/http_private.h"

#define DRAIN_MAX    KIB(256) /* so much of an unwanted body is read, to keep the connection */
#define STALL_MIN    (5 * NSEC_PER_SEC)
#define STALL_DELAYS 32
#define WATCH_NS     (50 * NSEC_PER_MSEC)

/* -- the end of what is not wanted, or silent ------------------------------------------------- */

/* A short rest is read, which keeps the connection; but not of one that has been given up as too slow. */
static void cut_locked(struct http *h, struct http_fetch *f) REQUIRES(h->lock)
{
	uint64_t left = f->get.off + f->get.len - atomic_load(&f->pos);

	if (!h->ranges || left <= (f->twin ? 0 : DRAIN_MAX) || atomic_exchange(&f->cut, true) ||
	    h->closed)
		return;
	http_lane_cut(f->lane);
}

void http_fetch_unwanted_locked(struct http *h, struct http_fetch *f)
{
	if (f->twin)
		cut_locked(h, f->twin);
	cut_locked(h, f);
}

void http_fetch_cut_all(struct http *h)
{
	struct http_lane *lanes = h->origin->lanes;
	struct vmofs_list *pos;
	uint64_t where = 0;

	mutex_lock(&h->lock);
	vmofs_list_for_each(pos, &h->fetches) {
		struct http_fetch *f = vmofs_list_entry(pos, struct http_fetch, link);

		atomic_store(&f->cut, true);
		where |= UINT64_C(1) << (f->lane - lanes);
	}
	mutex_unlock(&h->lock);
	for (unsigned i = 0; where; i++, where >>= 1)
		if (where & 1)
			http_lane_cut(&lanes[i]);
}

/* One fetch of @lane that @pick chooses, or NULL. */
static struct http_fetch *lane_find(struct http_lane *lane,
				    bool (*pick)(const struct http_fetch *f, uint64_t now_ns),
				    uint64_t now_ns)
{
	struct vmofs_list *pos;

	vmofs_list_for_each(pos, &lane->active) {
		struct http_fetch *f = vmofs_list_entry(pos, struct http_fetch, lane_link);

		if (f->get.easy && pick(f, now_ns))
			return f;
	}
	return NULL;
}

static void lane_end(struct http_lane *lane,
		     bool (*pick)(const struct http_fetch *f, uint64_t now_ns),
		     void (*end)(struct http_client *c, struct http_get *g),
		     const struct http_result *result)
{
	uint64_t now = loop_now_ns();
	struct http_fetch *f;

	while ((f = lane_find(lane, pick, now))) {
		end(lane->client, &f->get);
		http_fetch_done(f, result);
	}
}

static bool is_cut(const struct http_fetch *f, uint64_t now_ns UNUSED)
{
	return atomic_load(&f->cut);
}

/*
 * Before its answer has begun a server may have its reasons; what is in the middle of one and stands still far
 * longer than it takes the origin to answer is on a connection that is no more.
 */
static bool is_stalled(const struct http_fetch *f, uint64_t now_ns)
{
	uint64_t most = http_settings_stall_ns(f->h->origin->settings);
	uint64_t delay = atomic_load_explicit(&f->h->origin->pace.delay_ns, memory_order_relaxed);

	if (f->get.head_ns)
		most = MIN(most, MAX(STALL_DELAYS * delay, STALL_MIN));
	return now_ns >= f->get.active_ns + most;
}

void http_lane_end_cut(struct http_lane *lane)
{
	static const struct http_result cut = {
		.outcome = HTTP_OUTCOME_CUT,
		.retry_after = HTTP_LENGTH_UNKNOWN,
		.request_id = "",
		.msg = "nobody wants it any more",
	};

	lane_end(lane, is_cut, http_client_cancel, &cut);
}

void http_lane_end_stalled(struct http_lane *lane)
{
	static const struct http_result stalled = {
		.outcome = HTTP_OUTCOME_TIMEOUT,
		.retry_after = HTTP_LENGTH_UNKNOWN,
		.request_id = "",
		.msg = "the server has gone silent",
	};

	lane_end(lane, is_stalled, http_client_abandon, &stalled);
}

/* -- twins ------------------------------------------------------------------------------------ */

static void hedge_account(struct http_fetch *f)
{
	http_count(f->h, HTTP_COUNT_HEDGED, f->get.got);
	http_hedge_ended(f->h->origin, f->get.len, f->get.got);
}

/* From now on the second request is like any other. */
static void hand_over_locked(struct http *h UNUSED, struct http_fetch *from, struct http_fetch *to)
	REQUIRES(h->lock)
{
	struct vmofs_list *pos;

	hedge_account(to);
	to->second = false;
	vmofs_list_for_each(pos, &from->pieces)
		vmofs_list_entry(pos, struct http_piece, link)->fetch = to;
	vmofs_list_splice_tail(&to->pieces, &from->pieces);
	to->wanted += from->wanted;
	from->wanted = 0;
}

/* If the sum of all is wrong, nobody need wait until @first, which may stand still, has seen it too. */
static void second_ended_locked(struct http *h, const struct http_fetch *f,
				struct http_fetch *first, enum http_outcome outcome)
	REQUIRES(h->lock)
{
	if (outcome == HTTP_OUTCOME_OK)
		http_count(h, HTTP_COUNT_HEDGES_WON, 1);
	if (f->supply_error != -EBADMSG)
		return;
	first->supply_error = -EBADMSG;
	cut_locked(h, first);
}

void http_twin_part_locked(struct http *h, struct http_fetch *f, enum http_outcome outcome,
			   bool retry)
{
	struct http_fetch *twin = f->twin;

	if (!twin)
		return;
	if (f->second) {
		second_ended_locked(h, f, twin, outcome);
	} else if (retry && !atomic_load(&twin->cut)) {
		hand_over_locked(h, f, twin);
	} else {
		cut_locked(h, twin);
	}
	f->twin = twin->twin = NULL;
}

/* -- hedging ---------------------------------------------------------------------------------- */

/* The median of what one request brings: of those that have ended of late, and of those under way. */
static uint64_t sibling_rate(const struct http_lane *lane, const struct http_fetch *but)
{
	uint64_t v[2 * HTTP_RATES];
	struct vmofs_list *pos;
	unsigned n = 0;

	for (; n < MIN(lane->nrates, HTTP_RATES); n++)
		v[n] = lane->rates[n];
	vmofs_list_for_each(pos, &lane->active) {
		struct http_fetch *f = vmofs_list_entry(pos, struct http_fetch, lane_link);

		if (n < ARRAY_LEN(v) && f != but && f->gauge.rate && f->is_long)
			v[n++] = f->gauge.rate;
	}
	return http_hedge_median(v, n);
}

/* When any request of the origin but @but was last heard of. */
static uint64_t sibling_heard(const struct http_lane *lane, const struct http_fetch *but)
{
	const struct http_origin *o = lane->o;
	struct vmofs_list *pos;
	uint64_t heard = 0;

	for (unsigned i = 0; i < o->nlanes; i++)
		heard = MAX(heard,
			    atomic_load_explicit(&o->lanes[i].heard_ns, memory_order_relaxed));
	vmofs_list_for_each(pos, &lane->active) {
		struct http_fetch *f = vmofs_list_entry(pos, struct http_fetch, lane_link);

		if (f != but && f->get.head_ns)
			heard = MAX(heard, f->get.active_ns);
	}
	return heard;
}

void http_watch_ended(struct http_fetch *f, enum http_outcome outcome)
{
	struct http_lane *lane = f->lane;
	uint64_t ns = f->get.active_ns - f->get.start_ns;

	if (f->second)
		hedge_account(f);
	if (outcome != HTTP_OUTCOME_OK)
		return;
	atomic_store_explicit(&lane->heard_ns, f->get.active_ns, memory_order_relaxed);
	if (f->is_long && ns > 0)
		lane->rates[lane->nrates++ % HTTP_RATES] =
			(uint64_t)((double)f->get.len * (double)NSEC_PER_SEC / (double)ns);
}

static enum http_hedge why_hedge(const struct http_fetch *f, uint64_t now_ns)
{
	struct http_hedge_part part = {
		.left = f->get.len - f->get.got,
		.start_ns = f->get.start_ns,
		.active_ns = f->get.active_ns,
		.rate = f->gauge.rate,
	};
	struct http_hedge_others others = {
		.heard_ns = sibling_heard(f->lane, f),
		.rate = sibling_rate(f->lane, f),
	};

	http_hedge_pace(f->h->origin, &others);
	if (now_ns < f->second_ns + http_hedge_pause(&others, f->n_seconds))
		return HTTP_HEDGE_NO;
	return http_hedge_why(&part, &others, now_ns);
}

/* The slot has not been used. */
static void unhedge(struct http_lane *lane, uint64_t bytes)
{
	http_hedge_ended(lane->o, bytes, 0);
	http_slot_return(lane);
}

/* The second request for @f, in a slot that is its; NULL: there is none, or nothing left to ask for. */
static struct http_fetch *second_new(struct http_fetch *f, enum http_hedge why, uint64_t now_ns)
{
	struct http_lane *lane = f->lane;
	struct http_fetch *second = NULL;
	struct http *h = f->h;
	uint64_t left;

	mutex_lock(&h->lock);
	left = f->get.off + f->get.len - atomic_load(&f->pos);
	if (h->ranges && h->adopted && !h->closed && !h->renewing && f->wanted > 0 && left > 0 &&
	    http_hedge_slot(lane, left, now_ns)) {
		second = http_lane_fetch(lane);
		if (second)
			http_fetch_second_locked(h, f, second, now_ns);
		else
			unhedge(lane, left);
	}
	mutex_unlock(&h->lock);
	if (!second)
		return NULL;
	f->n_seconds++;
	f->second_ns = now_ns;
	f->silent = why != HTTP_HEDGE_SLOW;
	second->get.fresh = why == HTTP_HEDGE_DEAD || http_settings_multiplex(h->origin->settings);
	http_get_ref(h);
	return second;
}

static void hedge(struct http_fetch *f, uint64_t now_ns)
{
	enum http_hedge why = why_hedge(f, now_ns);
	struct http_fetch *second;

	if (why == HTTP_HEDGE_NO)
		return;
	second = second_new(f, why, now_ns);
	if (!second)
		return;
	http_count(f->h, HTTP_COUNT_HEDGES, 1);
	http_fetch_start(second);
}

/* Those that somebody waits for come first. */
static void hedge_class(struct http_lane *lane, enum vmofs_request_class cls, uint64_t now_ns)
{
	struct vmofs_list *pos, *tmp;

	vmofs_list_for_each_safe(pos, tmp, &lane->active) {
		struct http_fetch *f = vmofs_list_entry(pos, struct http_fetch, lane_link);

		if (f->cls == cls && f->get.easy && !f->twin && !atomic_load(&f->cut))
			hedge(f, now_ns);
	}
}

void http_lane_watch(struct http_lane *lane, uint64_t now_ns)
{
	struct vmofs_list *pos;

	if (now_ns < lane->watch_ns || vmofs_list_empty(&lane->active))
		return;
	lane->watch_ns = now_ns + WATCH_NS;
	vmofs_list_for_each(pos, &lane->active) {
		struct http_fetch *f = vmofs_list_entry(pos, struct http_fetch, lane_link);

		http_gauge_look(&f->gauge, f->get.got, now_ns);
	}
	if (lane->o->limits.hedge_percent == 0)
		return;
	for (unsigned cls = 0; cls < VMOFS_NCLASSES; cls++)
		hedge_class(lane, cls, now_ns);
}
