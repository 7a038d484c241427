/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fetches: which pieces go into one GET, what happens to its bytes, and what becomes of the pieces of
 * one that failed. Runs on the loops; each fetch stays on the loop that started it, holds a slot of
 * the origin, and a reference to its object.
 *
 * A failed fetch puts back what it has not supplied. How often and when a piece is tried again is
 * decided by the rules (http_rules.c), and its deadline ends it in any case (http_queue.c).
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/macros.h"
#include "http/http_private.h"

#define PART_MIN     MIB(1) /* a large request is not split below this */
#define FAR_PART_MIN KIB(128)
#define FAR_OPENING  KIB(512) /* what is fetched ahead before a rate is known */
#define FAR_FIRST    16       /* requests */
#define NO_MEMORY_NS (20 * NSEC_PER_MSEC)

/* -- choosing --------------------------------------------------------------------------------- */

/* An object without ranges, or of a version that is not known yet, has one GET at a time. */
static bool may_start_locked(const struct http *h, enum vmofs_request_class cls) REQUIRES(h->lock)
{
	return !h->closed && !h->renewing && !vmofs_list_empty(&h->queue[cls]) &&
		((h->ranges && h->adopted) || h->nactive == 0);
}

/*
 * Far away, a new connection brings little at first: what the first reader waits for is spread over many, which
 * then are open for what comes next. On one that is open, what is fetched ahead is worth the pause before it only if
 * it is long.
 */
static uint64_t least_part(const struct http_origin *o, enum vmofs_request_class cls, uint64_t part)
{
	uint64_t delay = atomic_load_explicit(&o->pace.delay_ns, memory_order_relaxed);
	uint64_t sent =
		atomic_load_explicit(&o->counters.v[HTTP_COUNT_REQUESTS], memory_order_relaxed);

	if (delay <= HTTP_FAR_NS)
		return PART_MIN;
	if (cls == VMOFS_CLASS_DEMAND)
		return sent < FAR_FIRST ? FAR_PART_MIN : PART_MIN;
	if (!atomic_load_explicit(&o->pace.rate, memory_order_relaxed))
		return FAR_OPENING;
	return MAX(part / 2 & ~(VMOFS_PAGE_SIZE - 1), PART_MIN);
}

/*
 * The most that one GET takes: while slots are free, a large request is spread over them, and
 * neighbours are not glued together beyond what one connection does well.
 */
static uint64_t part_locked(struct http *h, enum vmofs_request_class cls) REQUIRES(h->lock)
{
	struct http_origin *o = h->origin;
	uint64_t part = http_part_size(o);
	const struct http_piece *first;
	unsigned slots = http_parts_free(o, h->waiter[cls].rank);
	uint64_t share;

	if (slots <= 1)
		return part;
	first = vmofs_list_first(&h->queue[cls], struct http_piece, link);
	share = (first->end - first->off) / slots & ~(VMOFS_PAGE_SIZE - 1);
	return MIN(MAX(share, least_part(o, cls, part)), part);
}

static void fetch_carry_locked(struct http *h UNUSED, struct http_fetch *f, struct http_piece *p)
	REQUIRES(h->lock)
{
	p->fetch = f;
	f->wanted++;
	vmofs_list_add_tail(&f->pieces, &p->link);
}

/* Takes the first piece of the queue and the neighbours behind it. */
static void fetch_fill_locked(struct http *h, struct http_fetch *f, uint64_t part) REQUIRES(h->lock)
{
	struct http_piece *p = http_take_locked(h, f->cls, part);
	struct http_join join = { .room = part, .gap = http_pace_gap(&h->origin->pace) };
	const struct vmo *vmo = p->req->vmo;
	uint64_t off = p->off;

	http_join_add(&join, p);
	while (p) {
		fetch_carry_locked(h, f, p);
		p = join.room > 0 ? http_take_next_locked(h, &join, vmo, f->cls) : NULL;
	}
	f->get.off = off;
	f->get.len = MIN(join.end, h->size) - off;
	f->get.whole = off == 0 && f->get.len == h->size;
	if (!h->ranges) {
		f->get.off = 0;
		f->get.len = h->size;
		f->get.whole = true;
	}
}

static const struct http_get_ops fetch_ops;

/* The endpoint that is there; the place is empty where it has to be made. */
static struct http_endpoint *endpoint_locked(struct http *h, uint64_t now_ns) REQUIRES(h->lock)
{
	if (!h->ep || (h->ep_until_ns && h->ep_until_ns <= now_ns))
		return NULL;
	return http_endpoint_get(h->ep);
}

/* What does not depend on its range. */
static void fetch_init_locked(struct http *h, struct http_fetch *f, enum vmofs_request_class cls,
			      uint64_t now_ns) REQUIRES(h->lock)
{
	f->get = (struct http_get){ .ops = &fetch_ops };
	f->h = h;
	f->cls = cls;
	f->wanted = 0;
	f->twin = NULL;
	f->second = f->silent = false;
	f->n_seconds = 0;
	atomic_store(&f->cut, false);
	f->supply_error = 0;
	f->untrue = false;
	f->staged = 0;
	f->is_long = f->flow = false;
	f->alone = atomic_load_explicit(&h->origin->nactive, memory_order_relaxed) == 1;
	f->epoch = h->epoch;
	f->ep = endpoint_locked(h, now_ns);
	if (h->location && h->location->refused)
		f->get.keep_error = HTTP_ERROR_BODY;
	http_gauge_start(&f->gauge, now_ns);
}

static void fetch_enter_locked(struct http *h, struct http_fetch *f, struct vmo *vmo)
	REQUIRES(h->lock)
{
	f->vmo = vmofs_vmo_get(vmo);
	atomic_store(&f->pos, f->get.off);
	vmofs_list_add_tail(&h->fetches, &f->link);
	h->nactive++;
	f->is_long = f->get.len >= HTTP_LONG;
	if (f->is_long)
		http_long_begin(h->origin);
}

static void fetch_prepare_locked(struct http *h, struct http_fetch *f, enum vmofs_request_class cls,
				 uint64_t now_ns) REQUIRES(h->lock)
{
	struct http_piece *first;

	fetch_init_locked(h, f, cls, now_ns);
	fetch_fill_locked(h, f, part_locked(h, cls));
	first = vmofs_list_first(&f->pieces, struct http_piece, link);
	f->get.fresh = first->anew;
	fetch_enter_locked(h, f, first->req->vmo);
}

void http_fetch_second_locked(struct http *h, struct http_fetch *f, struct http_fetch *second,
			      uint64_t now_ns)
{
	uint64_t pos = atomic_load(&f->pos);

	fetch_init_locked(h, second, f->cls, now_ns);
	second->second = true;
	second->get.off = pos;
	second->get.len = f->get.off + f->get.len - pos;
	second->get.whole = f->get.whole && pos == 0;
	second->twin = f;
	f->twin = second;
	fetch_enter_locked(h, second, f->vmo);
}

/* -- starting --------------------------------------------------------------------------------- */

/* It has not even been sent. @status of the result is 0. */
static void fetch_failed(struct http_fetch *f, int code, const char *why)
{
	struct http_result result = {
		.outcome = code == -EAGAIN || code == -EACCES ? HTTP_OUTCOME_DENIED
			: code == -ENOMEM                     ? HTTP_OUTCOME_RETRY
							      : HTTP_OUTCOME_REFUSED,
		.retry_after = HTTP_LENGTH_UNKNOWN,
		.request_id = "",
		.msg = why,
	};

	http_fetch_done(f, &result);
}

void http_fetch_start(struct http_fetch *f)
{
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct http_endpoint *ep;
	int r;

	vmofs_list_add_tail(&f->lane->active, &f->lane_link);
	r = http_endpoint_for(f, &err);
	if (r < 0) {
		fetch_failed(f, r, err.msg);
		return;
	}
	ep = f->ep;
	f->ep = NULL;
	r = http_client_start(f->lane->client, &f->get, ep);
	http_endpoint_put(ep);
	if (r < 0)
		fetch_failed(f, r, "out of memory");
	else
		http_count(f->h, HTTP_COUNT_REQUESTS, 1);
}

/* The object has a slot: one fetch, and it waits for another slot if there is more to do. */
void http_start(struct http_waiter *w, struct http_lane *lane)
{
	enum vmofs_request_class cls =
		w->rank == HTTP_RANK_DEMAND ? VMOFS_CLASS_DEMAND : VMOFS_CLASS_PREFETCH;
	struct http *h = container_of(w - cls, struct http, waiter[0]);
	struct http_fetch *f = NULL;
	uint64_t now = loop_now_ns();

	mutex_lock(&h->lock);
	http_absorb_locked(h, now);
	if (may_start_locked(h, cls)) {
		f = http_lane_fetch(lane);
		if (f)
			fetch_prepare_locked(h, f, cls, now);
		else
			http_piece_due_locked(h, now + NO_MEMORY_NS);
	}
	if (f && may_start_locked(h, cls))
		http_wake_locked(h);
	else
		http_tell_due_locked(h);
	mutex_unlock(&h->lock);
	if (f) { /* which has the waiter's reference */
		http_fetch_start(f);
		return;
	}
	http_slot_return(lane);
	http_put(h);
}

/* -- bytes ------------------------------------------------------------------------------------ */

/* The location's digest of the whole object gets everything, in whatever order fetches bring it. */
static int fetch_check(struct http_fetch *f, uint64_t pos, const uint8_t *buf, uint64_t n)
{
	struct http *h = f->h;
	int r;

	if (!h->location || !h->location->check)
		return 0;
	mutex_lock(&h->check_lock);
	r = h->location->check(h->arg, f->vmo, pos, buf, n);
	mutex_unlock(&h->check_lock);
	if (r == 0)
		return 0;
	http_count(h, HTTP_COUNT_INTEGRITY, 1);
	f->supply_error = -EBADMSG;
	f->untrue = true;
	return -EBADMSG;
}

/* The position moves first: clear(), which supply calls back, asks how much is left. */
static int fetch_supply(struct http_fetch *f, const void *buf, uint64_t n)
{
	uint64_t pos = atomic_load_explicit(&f->pos, memory_order_relaxed);
	int64_t fresh = fetch_check(f, pos, buf, n);

	if (fresh < 0)
		return (int)fresh;
	atomic_store(&f->pos, pos + n);
	fresh = vmofs_supply(f->vmo, pos, buf, n);
	if (fresh < 0) {
		atomic_store(&f->pos, pos);
		f->supply_error = (int)fresh;
		return (int)fresh;
	}
	if ((uint64_t)fresh < n)
		http_count(f->h, HTTP_COUNT_DISCARDED, n - (uint64_t)fresh);
	return 0;
}

/* Completes the page that the last bytes began. */
static int fetch_fill_stage(struct http_fetch *f, const uint8_t **buf, uint64_t *n, bool last)
{
	uint64_t take = MIN(*n, VMOFS_PAGE_SIZE - f->staged);
	int r = 0;

	memcpy(f->stage + f->staged, *buf, take);
	f->staged += (unsigned)take;
	*buf += take;
	*n -= take;
	if (f->staged == VMOFS_PAGE_SIZE || (last && *n == 0)) {
		r = fetch_supply(f, f->stage, f->staged);
		f->staged = 0;
	}
	return r;
}

static int fetch_data(struct http_get *g, const void *data, uint64_t n)
{
	struct http_fetch *f = container_of(g, struct http_fetch, get);
	bool last = g->got == g->len;
	const uint8_t *buf = data;
	uint64_t whole;
	int r;

	http_count(f->h, HTTP_COUNT_FETCHED, n);
	if (f->staged > 0) {
		r = fetch_fill_stage(f, &buf, &n, last);
		if (r < 0 || n == 0)
			return r;
	}
	whole = last ? n : n & ~(VMOFS_PAGE_SIZE - 1);
	if (whole > 0) {
		r = fetch_supply(f, buf, whole);
		if (r < 0)
			return r;
	}
	memcpy(f->stage, buf + whole, n - whole);
	f->staged = (unsigned)(n - whole);
	return 0;
}

static enum http_outcome fetch_head(struct http_get *g, const struct http_reply *r, char *msg,
				    size_t cap)
{
	struct http_fetch *f = container_of(g, struct http_fetch, get);
	struct http *h = f->h;
	enum http_outcome o = HTTP_OUTCOME_OK;
	bool adopted;

	if (f->is_long && !f->flow) {
		f->flow = true;
		http_flow_begin(h->origin);
	}
	mutex_lock(&h->lock);
	adopted = h->adopted;
	h->ranges_known |= r->status == 206;
	mutex_unlock(&h->lock);
	if (!adopted)
		o = http_adopt(h, r, msg, cap);
	if (o == HTTP_OUTCOME_OK && h->location && h->location->answered)
		h->location->answered(h->arg, r);
	return o;
}

/* -- failures --------------------------------------------------------------------------------- */

/* How a fetch ended, once who knows the server has looked at it. */
struct ending {
	enum http_outcome outcome;
	struct http_refusal why;
	struct http_verdict verdict; /* for the origin */
	uint64_t retry_after;
	bool changed; /* the outcome is not what the status says */
	bool whole;   /* the server knows no ranges: again, for all of the object */
	bool stale;   /* refused at an endpoint that has been replaced since: it says nothing */
};

static bool can_renew(const struct http *h)
{
	return !h->location || !h->location->endpoint || h->location->renew;
}

/*
 * The location may have been renewed since the fetch began: then it is just tried again. Each piece has one
 * renewal for a refusal and one because there was nothing to ask with.
 */
static void renew_or_fail_locked(struct http *h, struct http_fetch *f, struct http_piece *p,
				 const struct ending *end, int code, struct http_fails *fails)
	REQUIRES(h->lock)
{
	bool *once = end->why.status ? &p->renewed : &p->signed_anew;

	if (*once || !can_renew(h)) {
		http_piece_fail_locked(h, p, code, fails);
		return;
	}
	*once = true;
	p->last_code = code;
	if (f->epoch == h->epoch)
		http_renew_locked(h, &end->why);
	http_piece_requeue_locked(h, p);
}

static void piece_failed_locked(struct http *h, struct http_fetch *f, struct http_piece *p,
				const struct ending *end, uint64_t now_ns, struct http_fails *fails)
	REQUIRES(h->lock)
{
	const struct http_rule *rule = http_rule_of(end->outcome);

	p->attempts++;
	if (end->stale && !p->outdated) {
		p->outdated = true;
		p->last_code = rule->code;
		http_piece_requeue_locked(h, p);
		return;
	}
	switch (rule->action) {
	case HTTP_LATER:
		p->last_code = rule->code;
		p->anew = end->why.status == 0;
		if (end->changed && p->attempts == 1)
			http_piece_requeue_locked(h, p);
		else
			http_piece_delay_locked(h, p,
						http_retry_time(&h->origin->limits, p->attempts,
								p->deadline_ns, end->retry_after,
								now_ns));
		return;
	case HTTP_ONCE:
		if (end->whole || p->integrity++ == 0)
			http_piece_requeue_locked(h, p);
		else
			http_piece_fail_locked(h, p, rule->code, fails);
		return;
	case HTTP_RENEW:
		renew_or_fail_locked(h, f, p, end, rule->code, fails);
		return;
	case HTTP_FAIL:
		http_piece_fail_locked(h, p, rule->code, fails);
		return;
	}
}

/* The core did not take the bytes. */
static void piece_refused_locked(struct http *h, struct http_fetch *f, struct http_piece *p,
				 uint64_t now_ns, struct http_fails *fails) REQUIRES(h->lock)
{
	int code = f->supply_error == -ESHUTDOWN || f->supply_error == -EBADMSG ? f->supply_error
										: -EIO;

	if (f->supply_error == -ENOMEM) {
		p->last_code = -ENOBUFS;
		http_piece_delay_locked(h, p, now_ns + NO_MEMORY_NS);
	} else {
		http_piece_fail_locked(h, p, code, fails);
	}
}

/* Leaves of @p what has not been supplied; false: nothing of it is left, or wanted. */
static bool piece_trim_locked(struct http *h, struct http_fetch *f, struct http_piece *p)
	REQUIRES(h->lock)
{
	struct vmofs_request *req = p->req;

	if (!req)
		return false;
	p->off = MAX(p->off, req->off);
	p->end = MIN(p->end, req->off + req->len);
	if (h->ranges)
		p->off = MAX(p->off, atomic_load(&f->pos));
	return p->off < MIN(p->end, h->size);
}

/*
 * Distributes the pieces of an ended fetch. Failures beyond the room in @fails stay for the next
 * round: true then.
 */
static bool distribute_locked(struct http *h, struct http_fetch *f, const struct ending *end,
			      uint64_t now_ns, struct http_fails *fails) REQUIRES(h->lock)
{
	struct http_piece *p;

	while ((p = vmofs_list_first(&f->pieces, struct http_piece, link))) {
		if (fails->n == HTTP_FAILS)
			return true;
		p->fetch = NULL;
		if (!piece_trim_locked(h, f, p)) {
			http_piece_free_locked(h, p);
			continue;
		}
		if (f->supply_error)
			piece_refused_locked(h, f, p, now_ns, fails);
		else
			piece_failed_locked(h, f, p, end, now_ns, fails);
	}
	return false;
}

static void note_failure_locked(struct http *h, const struct http_fetch *f,
				const struct ending *end) REQUIRES(h->lock)
{
	bool digest = f->supply_error == -EBADMSG;
	struct http_trouble *t;

	if (!digest && (end->outcome == HTTP_OUTCOME_OK || end->outcome == HTTP_OUTCOME_CUT))
		return;
	t = http_trouble_locked(h);
	if (!t)
		return;
	t->recent.status = end->why.status;
	memcpy(t->recent.request_id, end->why.request_id, sizeof t->recent.request_id);
	if (digest)
		snprintf(t->recent.msg, sizeof t->recent.msg,
			 "the bytes do not match the object's checksum");
	else
		memcpy(t->recent.msg, end->why.msg, sizeof t->recent.msg);
	clock_gettime(CLOCK_REALTIME, &t->recent.when);
}

static void count_ending(struct http *h, const struct http_result *result, const struct ending *end)
{
	http_count(h, HTTP_COUNT_CONNECTIONS, result->connections);
	if (end->outcome == HTTP_OUTCOME_OK)
		hist_add_ns(&h->origin->latency, result->elapsed_ns);
	else if (end->outcome == HTTP_OUTCOME_INTEGRITY || end->outcome == HTTP_OUTCOME_CHANGED)
		http_count(h, HTTP_COUNT_INTEGRITY, 1);
}

static void fetch_log(const struct http_fetch *f, const struct ending *end)
{
	char url[URL_MAX];

	if (end->outcome == HTTP_OUTCOME_OK || end->outcome == HTTP_OUTCOME_CUT)
		return;
	log_debug("'%s' at %llu+%llu: %s", http_shown(f->h, url, sizeof url),
		  (unsigned long long)f->get.off, (unsigned long long)f->get.len, end->why.msg);
}

/* A renewal for another fetch has ended while this one was under way, and it was refused. */
static bool is_stale(const struct http_fetch *f, const struct http_result *result)
{
	struct http *h = f->h;
	bool stale;

	if (result->status < 300 || result->status >= 500 ||
	    http_rule_of(result->outcome)->action == HTTP_LATER)
		return false;
	mutex_lock(&h->lock);
	stale = f->epoch != h->epoch;
	mutex_unlock(&h->lock);
	return stale;
}

/* The earliest of those who wait for it. */
static uint64_t fetch_deadline(const struct http_fetch *f)
{
	uint64_t deadline = UINT64_MAX;
	struct vmofs_list *pos;

	mutex_lock(&f->h->lock);
	for (pos = f->pieces.next; pos != &f->pieces; pos = pos->next)
		deadline =
			MIN(deadline, vmofs_list_entry(pos, struct http_piece, link)->deadline_ns);
	mutex_unlock(&f->h->lock);
	return deadline;
}

/* Asks who knows the server what a refusal means. */
static void fetch_judge(struct http_fetch *f, const struct http_result *result, struct ending *end)
{
	struct http *h = f->h;

	http_refusal_init(&end->why, result);
	end->changed = end->stale = false;
	if (result->status >= 300 && result->outcome != HTTP_OUTCOME_CUT && h->location &&
	    h->location->refused) {
		end->stale = is_stale(f, result);
		if (!end->stale)
			h->location->refused(h->arg, &end->why);
		end->changed = end->why.outcome != result->outcome;
	}
	end->outcome = end->why.outcome;
	end->whole = result->whole && end->outcome == HTTP_OUTCOME_INTEGRITY;
	end->retry_after =
		end->outcome == HTTP_OUTCOME_RETRY ? result->retry_after : HTTP_LENGTH_UNKNOWN;
	end->verdict = (struct http_verdict){
		.start_ns = f->get.start_ns,
		.good = end->outcome == HTTP_OUTCOME_OK,
		.slow_down = end->outcome == HTTP_OUTCOME_RETRY && end->why.slow_down,
		.is_long = f->is_long,
		.alone = f->alone,
		.flow = f->flow,
		.answer_ns = result->answer_ns,
		.retry_after = end->changed ? HTTP_LENGTH_UNKNOWN : end->retry_after,
		.deadline_ns = end->retry_after == HTTP_LENGTH_UNKNOWN ? 0 : fetch_deadline(f),
	};
}

/*
 * The whole object came where a range was asked for. Where no range has ever come, the server has none: from
 * now on it is taken whole, as far as that is allowed.
 */
static bool goes_whole_locked(struct http *h, struct ending *end) REQUIRES(h->lock)
{
	if (h->ranges_known && h->ranges)
		return false;
	if (h->size <= h->origin->limits.whole_limit) {
		h->ranges = false;
		h->ranges_known = true;
		return true;
	}
	snprintf(end->why.msg, sizeof end->why.msg,
		 "the server does not serve ranges, and %" PRIu64
		 " bytes are more than 'whole-limit'",
		 h->size);
	return false;
}

/* Whether what it has not brought may well come by another request. */
static bool is_worth_another(const struct http_fetch *f, const struct ending *end)
{
	enum http_action action = http_rule_of(end->outcome)->action;

	return end->outcome != HTTP_OUTCOME_OK && !f->supply_error && !end->whole &&
		(action == HTTP_LATER || action == HTTP_ONCE);
}

/* Gives up the pieces of an ended fetch, then the fetch. */
static void fetch_end(struct http_fetch *f, struct ending *end)
{
	struct http_endpoint *old = NULL;
	struct http *h = f->h;
	struct http_fails fails = { 0 };
	uint64_t now = loop_now_ns();
	bool more = true;

	mutex_lock(&h->lock);
	vmofs_list_del(&f->link);
	h->nactive--;
	http_twin_part_locked(h, f, end->outcome, is_worth_another(f, end));
	end->whole = end->whole && goes_whole_locked(h, end);
	note_failure_locked(h, f, end);
	if (end->changed && f->epoch == h->epoch && h->location->endpoint) {
		old = h->ep;
		h->ep = NULL;
	}
	while (more) {
		more = distribute_locked(h, f, end, now, &fails);
		mutex_unlock(&h->lock);
		http_fail_all(h, &fails);
		mutex_lock(&h->lock);
	}
	if (!end->verdict.good || !http_idle_locked(h))
		http_wake_locked(h);
	mutex_unlock(&h->lock);
	http_endpoint_put(old);
}

static void fetch_release(struct http_fetch *f)
{
	struct http *h = f->h;

	vmofs_vmo_put(f->vmo);
	f->vmo = NULL;
	http_endpoint_put(f->ep);
	f->ep = NULL;
	f->h = NULL;
	http_lane_spare(f->lane, f);
	http_put(h);
}

void http_fetch_done(struct http_fetch *f, const struct http_result *result)
{
	struct ending end;

	fetch_judge(f, result, &end);
	count_ending(f->h, result, &end);
	fetch_log(f, &end);
	vmofs_list_del(&f->lane_link);
	http_watch_ended(f, end.outcome);
	http_slot_free(f->lane, &end.verdict);
	fetch_end(f, &end);
	/* Its own readers have been told why; now everything of the object goes that came before. */
	if (f->untrue)
		vmofs_distrust(f->vmo);
	fetch_release(f);
}

static void fetch_done(struct http_get *g, const struct http_result *result)
{
	http_fetch_done(container_of(g, struct http_fetch, get), result);
}

static const struct http_get_ops fetch_ops = {
	.head = fetch_head,
	.data = fetch_data,
	.done = fetch_done,
};
