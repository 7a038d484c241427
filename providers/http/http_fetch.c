/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fetches: which pieces go into one GET, what happens to its bytes, and what becomes of the pieces of
 * one that failed. Runs on the loops; each fetch stays on the loop that started it.
 *
 * A failed fetch puts back what it has not supplied. How often and when a piece is tried again is
 * decided by the table `rules`, and its deadline ends it in any case (http_queue.c).
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/log.h"
#include "base/macros.h"
#include "http/http_private.h"

#define PART_MIN     MIB(1)   /* a large request is not split below this */
#define DRAIN_MAX    KIB(256) /* so much of an unwanted body is read, to keep the connection */
#define BACKOFF_MAX  (10 * NSEC_PER_SEC)
#define PAUSE_MAX    (30 * NSEC_PER_SEC)
#define NO_MEMORY_NS (20 * NSEC_PER_MSEC)
#define SPARES_MAX   16

/* -- choosing --------------------------------------------------------------------------------- */

/* A quarter of the connections is kept for demand. */
static uint64_t class_limit(const struct http *h, enum vmofs_request_class cls)
{
	uint64_t n = h->limits.connections;

	return cls == VMOFS_CLASS_DEMAND ? n : n - (n + 3) / 4 + (n == 1);
}

static bool may_start_locked(const struct http *h, enum vmofs_request_class cls) REQUIRES(h->lock)
{
	return !vmofs_list_empty(&h->queue[cls]) && h->nactive < class_limit(h, cls) &&
		(h->object.ranges || h->nactive == 0);
}

/*
 * The most that one GET takes: while connections idle, a large request is spread over them, and
 * neighbours are not glued together beyond what one connection does well.
 */
static uint64_t part_locked(const struct http *h, enum vmofs_request_class cls) REQUIRES(h->lock)
{
	const struct http_piece *first;
	uint64_t free_slots = class_limit(h, cls) - h->nactive;
	uint64_t share;

	first = vmofs_list_first(&h->queue[cls], struct http_piece, link);
	if (free_slots <= 1)
		return h->limits.part_size;
	share = (first->end - first->off) / free_slots & ~(VMOFS_PAGE_SIZE - 1);
	return MIN(MAX(share, PART_MIN), h->limits.part_size);
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
	uint64_t off = p->off;
	uint64_t end = p->end;

	fetch_carry_locked(h, f, p);
	while (end - off < part) {
		p = http_take_next_locked(h, p, f->cls, part - (end - off));
		if (!p)
			break;
		end = p->end;
		fetch_carry_locked(h, f, p);
	}
	f->get.off = off;
	f->get.len = MIN(end, h->object.size) - off;
}

static struct http_fetch *fetch_new(struct http_lane *lane)
{
	struct http_fetch *f = vmofs_list_first(&lane->spares, struct http_fetch, spare);

	if (f) {
		vmofs_list_del(&f->spare);
		lane->nspares--;
		return f;
	}
	f = calloc(1, sizeof *f);
	if (!f)
		return NULL;
	vmofs_list_init(&f->spare);
	vmofs_list_init(&f->link);
	vmofs_list_init(&f->pieces);
	f->h = lane->h;
	f->lane = lane;
	return f;
}

static void fetch_free(struct http_fetch *f)
{
	struct http_lane *lane = f->lane;

	if (lane->nspares >= SPARES_MAX) {
		free(f);
		return;
	}
	vmofs_list_add(&lane->spares, &f->spare);
	lane->nspares++;
}

static const struct http_get_ops fetch_ops;

static void fetch_prepare_locked(struct http *h, struct http_fetch *f, enum vmofs_request_class cls)
	REQUIRES(h->lock)
{
	struct http_piece *first;

	f->get = (struct http_get){ .ops = &fetch_ops, .whole = !h->object.ranges };
	f->cls = cls;
	f->wanted = 0;
	f->cut = false;
	f->supply_error = 0;
	f->staged = 0;
	f->epoch = h->epoch;
	f->ep = http_endpoint_get(h->ep);
	fetch_fill_locked(h, f, part_locked(h, cls));
	first = vmofs_list_first(&f->pieces, struct http_piece, link);
	f->vmo = vmofs_vmo_get(first->req->vmo);
	if (f->get.whole) {
		f->get.off = 0;
		f->get.len = h->object.size;
	}
	atomic_store(&f->pos, f->get.off);
	vmofs_list_add_tail(&h->fetches, &f->link);
	h->nactive++;
	f->lane->nactive++;
}

/* The next fetch for this lane, or NULL: nothing to do, or no room. */
static struct http_fetch *lane_next_locked(struct http *h, struct http_lane *lane, uint64_t now_ns)
	REQUIRES(h->lock)
{
	struct http_fetch *f;

	if (h->closed || h->refreshing || h->pause_until_ns > now_ns ||
	    lane->nactive >= h->lane_limit)
		return NULL;
	for (unsigned cls = 0; cls < VMOFS_NCLASSES; cls++) {
		if (!may_start_locked(h, cls))
			continue;
		f = fetch_new(lane);
		if (f)
			fetch_prepare_locked(h, f, cls);
		else
			http_due_locked(h, now_ns + NO_MEMORY_NS);
		return f;
	}
	return NULL;
}

/* -- starting --------------------------------------------------------------------------------- */

static void fetch_done(struct http_get *g, const struct http_result *result);

static void fetch_start(struct http_fetch *f)
{
	static const struct http_result no_memory = {
		.outcome = HTTP_OUTCOME_RETRY,
		.retry_after = HTTP_LENGTH_UNKNOWN,
		.request_id = "",
		.msg = "out of memory",
	};
	struct http_endpoint *ep = f->ep;
	int r;

	f->ep = NULL;
	r = http_client_start(f->lane->client, &f->get, ep);
	http_endpoint_put(ep);
	if (r < 0)
		fetch_done(&f->get, &no_memory);
	else
		atomic_fetch_add(&f->h->counters.requests, 1);
}

/* Makes the lane's timer fire no later than @due. */
static void lane_arm(struct http_lane *lane, uint64_t due_ns)
{
	if (due_ns == UINT64_MAX || (lane->timer.due_ns && lane->timer.due_ns <= due_ns))
		return;
	loop_timer_set(lane->loop, &lane->timer, due_ns);
}

/* Starts what this loop has room for, offers the rest to another. */
static void lane_pump(struct http_lane *lane)
{
	struct http *h = lane->h;
	struct vmofs_list starts;
	struct http_fetch *f;
	uint64_t due, now = loop_now_ns();
	bool more;

	vmofs_list_init(&starts);
	mutex_lock(&h->lock);
	http_absorb_locked(h, now);
	while ((f = lane_next_locked(h, lane, now)))
		vmofs_list_add_tail(&starts, &f->spare);
	more = !h->closed && h->nlanes > 1 && lane->nactive >= h->lane_limit &&
		h->nactive < h->limits.connections && !http_idle_locked(h);
	due = h->next_due_ns;
	mutex_unlock(&h->lock);

	if (!vmofs_list_empty(&starts))
		due = MIN(due, now + http_settings_stall_ns(h->settings));
	while ((f = vmofs_list_first(&starts, struct http_fetch, spare))) {
		vmofs_list_del(&f->spare);
		fetch_start(f);
	}
	if (more)
		http_net_share(h->net, &h->source, lane->loop);
	lane_arm(lane, due);
}

void http_pump(struct http_source *s, struct http_client *c)
{
	struct http *h = container_of(s, struct http, source);

	lane_pump(&h->lanes[loop_index(http_client_loop(c))]);
}

/* -- bytes ------------------------------------------------------------------------------------ */

/* The position moves first: clear(), which supply calls back, asks how much is left. */
static int fetch_supply(struct http_fetch *f, const void *buf, uint64_t n)
{
	uint64_t pos = atomic_load_explicit(&f->pos, memory_order_relaxed);
	int64_t fresh;

	atomic_store(&f->pos, pos + n);
	fresh = vmofs_supply(f->vmo, pos, buf, n);
	if (fresh < 0) {
		atomic_store(&f->pos, pos);
		f->supply_error = (int)fresh;
		return (int)fresh;
	}
	if ((uint64_t)fresh < n)
		atomic_fetch_add_explicit(&f->h->counters.bytes_discarded, n - (uint64_t)fresh,
					  memory_order_relaxed);
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

	atomic_fetch_add_explicit(&f->h->counters.bytes_fetched, n, memory_order_relaxed);
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

/* -- failures --------------------------------------------------------------------------------- */

/* What is done with the pieces of a fetch by its outcome. */
enum rule_action { RULE_LATER, RULE_ONCE, RULE_REFRESH, RULE_FAIL };

static const struct {
	enum rule_action action;
	int code;
} rules[] = {
	[HTTP_OUTCOME_OK] = { RULE_LATER, -EIO },
	[HTTP_OUTCOME_RETRY] = { RULE_LATER, -EIO },
	[HTTP_OUTCOME_TIMEOUT] = { RULE_LATER, -ETIMEDOUT },
	[HTTP_OUTCOME_INTEGRITY] = { RULE_ONCE, -EBADMSG },
	[HTTP_OUTCOME_CHANGED] = { RULE_FAIL, -ESTALE },
	[HTTP_OUTCOME_DENIED] = { RULE_REFRESH, -EACCES },
	[HTTP_OUTCOME_GONE] = { RULE_REFRESH, -ESTALE },
	[HTTP_OUTCOME_MOVED] = { RULE_REFRESH, -EIO },
	[HTTP_OUTCOME_REFUSED] = { RULE_FAIL, -EIO },
	[HTTP_OUTCOME_CUT] = { RULE_FAIL, -EIO },
};
_Static_assert(ARRAY_LEN(rules) == HTTP_NOUTCOMES, "one rule per outcome");

static uint64_t jitter(uint64_t ns)
{
	uint32_t r = 0;

	if (getrandom(&r, sizeof r, GRND_NONBLOCK) < 0)
		r = (uint32_t)loop_now_ns();
	return ns / 2 + ns / 2 * (r >> 16) / 0xffff;
}

/* Exponential with jitter, or what the server asks for; a last try is left before the deadline. */
static uint64_t retry_time(const struct http *h, const struct http_piece *p,
			   const struct http_result *result, uint64_t now_ns)
{
	uint64_t backoff = h->limits.retry_base_ns << MIN(p->attempts - 1, 16u);
	uint64_t delay = jitter(MIN(backoff, BACKOFF_MAX));
	uint64_t left = p->deadline_ns > now_ns ? p->deadline_ns - now_ns : 0;

	if (result->retry_after != HTTP_LENGTH_UNKNOWN)
		delay = MAX(delay, MIN(result->retry_after, UINT64_C(1) << 30) * NSEC_PER_SEC);
	if (delay >= left)
		delay = left - MIN(left / 4, NSEC_PER_SEC);
	return now_ns + delay;
}

/* The lookup may have been renewed since the fetch began: then it is just tried again. */
static void refresh_or_fail_locked(struct http *h, struct http_fetch *f, struct http_piece *p,
				   int code, struct http_fails *fails) REQUIRES(h->lock)
{
	if (p->refreshed > 0) {
		http_piece_fail_locked(h, p, code, fails);
		return;
	}
	p->refreshed++;
	p->last_code = code;
	if (f->epoch == h->epoch)
		http_refresh_locked(h);
	http_piece_requeue_locked(h, p);
}

static void piece_failed_locked(struct http *h, struct http_fetch *f, struct http_piece *p,
				const struct http_result *result, uint64_t now_ns,
				struct http_fails *fails) REQUIRES(h->lock)
{
	int code = rules[result->outcome].code;

	p->attempts++;
	switch (rules[result->outcome].action) {
	case RULE_LATER:
		p->last_code = code;
		http_piece_delay_locked(h, p, retry_time(h, p, result, now_ns));
		return;
	case RULE_ONCE:
		if (p->integrity++ == 0)
			http_piece_requeue_locked(h, p);
		else
			http_piece_fail_locked(h, p, code, fails);
		return;
	case RULE_REFRESH:
		refresh_or_fail_locked(h, f, p, code, fails);
		return;
	case RULE_FAIL:
		http_piece_fail_locked(h, p, code, fails);
		return;
	}
}

/* The core did not take the bytes. */
static void piece_refused_locked(struct http *h, struct http_fetch *f, struct http_piece *p,
				 uint64_t now_ns, struct http_fails *fails) REQUIRES(h->lock)
{
	int code = f->supply_error == -ESHUTDOWN ? -ESHUTDOWN : -EIO;

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
	if (!f->get.whole)
		p->off = MAX(p->off, atomic_load(&f->pos));
	return p->off < MIN(p->end, h->object.size);
}

/*
 * Distributes the pieces of an ended fetch. Failures beyond the room in @fails stay for the next
 * round: true then.
 */
static bool distribute_locked(struct http *h, struct http_fetch *f,
			      const struct http_result *result, uint64_t now_ns,
			      struct http_fails *fails) REQUIRES(h->lock)
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
			piece_failed_locked(h, f, p, result, now_ns, fails);
	}
	return false;
}

static void fetch_close_locked(struct http *h, struct http_fetch *f) REQUIRES(h->lock)
{
	vmofs_list_del(&f->link);
	h->nactive--;
	f->lane->nactive--;
}

static void note_failure_locked(struct http *h, const struct http_result *result) REQUIRES(h->lock)
{
	struct vmofs_failure *recent = &h->recent;

	recent->status = result->status;
	snprintf(recent->request_id, sizeof recent->request_id, "%s", result->request_id);
	snprintf(recent->msg, sizeof recent->msg, "%s", result->msg);
	clock_gettime(CLOCK_REALTIME, &recent->when);
}

/* A busy server is left alone by everybody for a while. */
static void pause_locked(struct http *h, const struct http_result *result, uint64_t now_ns)
	REQUIRES(h->lock)
{
	uint64_t ns;

	if (result->retry_after == HTTP_LENGTH_UNKNOWN || result->outcome != HTTP_OUTCOME_RETRY)
		return;
	ns = MIN(MIN(result->retry_after, UINT64_C(1) << 30) * NSEC_PER_SEC, PAUSE_MAX);
	h->pause_until_ns = MAX(h->pause_until_ns, now_ns + ns);
	http_due_locked(h, h->pause_until_ns);
}

static void count_result(struct http *h, const struct http_result *result)
{
	atomic_fetch_add(&h->counters.connections, result->connections);
	if (result->outcome == HTTP_OUTCOME_OK)
		hist_add_ns(&h->latency, result->elapsed_ns);
	else if (result->outcome == HTTP_OUTCOME_INTEGRITY ||
		 result->outcome == HTTP_OUTCOME_CHANGED)
		atomic_fetch_add(&h->counters.integrity_errors, 1);
}

static void fetch_log(const struct http_fetch *f, const struct http_result *result)
{
	if (result->outcome == HTTP_OUTCOME_OK || result->outcome == HTTP_OUTCOME_CUT)
		return;
	log_debug("'%s' at %llu+%llu: %s", f->h->shown, (unsigned long long)f->get.off,
		  (unsigned long long)f->get.len, result->msg);
}

/* Gives up the pieces of an ended fetch, then the fetch. */
static void fetch_end(struct http_fetch *f, const struct http_result *result)
{
	struct http *h = f->h;
	struct http_fails fails = { 0 };
	uint64_t now = loop_now_ns();
	bool more = true;

	fetch_log(f, result);
	mutex_lock(&h->lock);
	fetch_close_locked(h, f);
	if (result->outcome != HTTP_OUTCOME_OK && result->outcome != HTTP_OUTCOME_CUT)
		note_failure_locked(h, result);
	pause_locked(h, result, now);
	while (more) {
		more = distribute_locked(h, f, result, now, &fails);
		mutex_unlock(&h->lock);
		http_fail_all(h, &fails);
		mutex_lock(&h->lock);
	}
	if (!h->closed && (result->outcome != HTTP_OUTCOME_OK || !http_idle_locked(h)))
		http_net_ready(h->net, &h->source);
	mutex_unlock(&h->lock);

	vmofs_vmo_put(f->vmo);
	f->vmo = NULL;
	fetch_free(f);
}

static void fetch_done(struct http_get *g, const struct http_result *result)
{
	struct http_fetch *f = container_of(g, struct http_fetch, get);

	count_result(f->h, result);
	fetch_end(f, result);
}

static const struct http_get_ops fetch_ops = { .data = fetch_data, .done = fetch_done };

/* -- cutting and stalls ----------------------------------------------------------------------- */

void http_fetch_unwanted_locked(struct http *h, struct http_fetch *f)
{
	struct http_lane *lane = f->lane;
	uint64_t left = f->get.off + f->get.len - atomic_load(&f->pos);

	if (f->cut || f->get.whole || left <= DRAIN_MAX)
		return;
	f->cut = true;
	if (lane->cut_posted || h->closed)
		return;
	lane->cut_posted = true;
	http_get_ref(h);
	loop_post(lane->loop, &lane->cut_task);
}

/* One fetch of @lane that @pick chooses, or NULL. */
static struct http_fetch *lane_find(struct http_lane *lane,
				    bool (*pick)(const struct http_fetch *f, uint64_t now_ns),
				    uint64_t now_ns)
{
	struct http_fetch *found = NULL;
	struct vmofs_list *pos;

	mutex_lock(&lane->h->lock);
	vmofs_list_for_each(pos, &lane->h->fetches) {
		struct http_fetch *f = vmofs_list_entry(pos, struct http_fetch, link);

		if (f->lane != lane || !f->get.easy || !pick(f, now_ns))
			continue;
		found = f;
		break;
	}
	mutex_unlock(&lane->h->lock);
	return found;
}

static void lane_cut(struct http_lane *lane,
		     bool (*pick)(const struct http_fetch *f, uint64_t now_ns),
		     void (*end)(struct http_client *c, struct http_get *g),
		     const struct http_result *result)
{
	uint64_t now = loop_now_ns();
	struct http_fetch *f;

	while ((f = lane_find(lane, pick, now))) {
		end(lane->client, &f->get);
		fetch_done(&f->get, result);
	}
}

static bool is_cut(const struct http_fetch *f, uint64_t now_ns UNUSED)
{
	return f->cut;
}

static bool is_stalled(const struct http_fetch *f, uint64_t now_ns)
{
	return now_ns >= f->get.active_ns + http_settings_stall_ns(f->h->settings);
}

static bool is_any(const struct http_fetch *f UNUSED, uint64_t now_ns UNUSED)
{
	return true;
}

static const struct http_result result_cut = {
	.outcome = HTTP_OUTCOME_CUT,
	.retry_after = HTTP_LENGTH_UNKNOWN,
	.request_id = "",
	.msg = "nobody wants it any more",
};

static const struct http_result result_stalled = {
	.outcome = HTTP_OUTCOME_TIMEOUT,
	.retry_after = HTTP_LENGTH_UNKNOWN,
	.request_id = "",
	.msg = "the server has gone silent",
};

static void cut_run(struct loop_task *t, struct loop *l UNUSED)
{
	struct http_lane *lane = container_of(t, struct http_lane, cut_task);
	struct http *h = lane->h;

	mutex_lock(&h->lock);
	lane->cut_posted = false;
	mutex_unlock(&h->lock);
	lane_cut(lane, is_cut, http_client_cancel, &result_cut);
	http_put(h);
}

/* When the quietest fetch of the lane will have been silent for too long. */
static uint64_t lane_stall_time(struct http_lane *lane)
{
	uint64_t due = UINT64_MAX;
	struct vmofs_list *pos;

	mutex_lock(&lane->h->lock);
	vmofs_list_for_each(pos, &lane->h->fetches) {
		struct http_fetch *f = vmofs_list_entry(pos, struct http_fetch, link);

		if (f->lane == lane && f->get.easy)
			due = MIN(due, f->get.active_ns);
	}
	mutex_unlock(&lane->h->lock);
	return due == UINT64_MAX ? due : due + http_settings_stall_ns(lane->h->settings);
}

static void timer_fire(struct loop_timer *t, struct loop *l UNUSED)
{
	struct http_lane *lane = container_of(t, struct http_lane, timer);
	struct http_fails fails = { 0 };
	struct http *h = lane->h;

	lane_cut(lane, is_stalled, http_client_abandon, &result_stalled);
	mutex_lock(&h->lock);
	http_sweep_locked(h, loop_now_ns(), &fails);
	mutex_unlock(&h->lock);
	http_fail_all(h, &fails);
	lane_pump(lane);
	lane_arm(lane, lane_stall_time(lane));
}

/* -- the lane --------------------------------------------------------------------------------- */

/* The provider has been freed: the last thing that runs on this lane. */
static void close_run(struct loop_task *t, struct loop *l)
{
	struct http_lane *lane = container_of(t, struct http_lane, close_task);
	struct http *h = lane->h;
	struct http_fetch *f;

	lane_cut(lane, is_any, http_client_cancel, &result_cut);
	loop_timer_del(l, &lane->timer);
	while ((f = vmofs_list_first(&lane->spares, struct http_fetch, spare))) {
		vmofs_list_del(&f->spare);
		free(f);
	}
	http_client_drop(lane->client, h->settings);
	http_put(h);
}

void http_lane_init(struct http_lane *lane, struct http *h, struct loop *l)
{
	lane->h = h;
	lane->loop = l;
	lane->client = http_net_client(h->net, l);
	lane->timer.fire = timer_fire;
	lane->cut_task.run = cut_run;
	lane->close_task.run = close_run;
	vmofs_list_init(&lane->spares);
}
