/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An origin: slots for requests under way, those who wait for one, and the lanes on which they run. It
 * knows nothing of what a request is for (http_fetch.c, http_ask.c). Pumps and timers on the loops;
 * the rest on any thread.
 *
 * A list that holds an object holds a reference to it, or is left by it before it is freed: a waiter has
 * one, a place among the busy has none. A lane needs no reference to its origin on its own thread: the
 * origin is freed by the last close_run(), and each lane's comes after all else that runs on it.
 */
#include "http/http_origin.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/macros.h"
#include "http/http_private.h"

#define SPARES_MAX 32

/* -- counting --------------------------------------------------------------------------------- */

void http_count_origin(struct http_origin *o, enum http_counter what, uint64_t n)
{
	atomic_fetch_add_explicit(&o->counters.v[what], n, memory_order_relaxed);
}

void http_stats_fill(const struct http_counters *c, struct vmofs_provider_stats *out)
{
	out->requests += atomic_load(&c->v[HTTP_COUNT_REQUESTS]);
	out->retries += atomic_load(&c->v[HTTP_COUNT_RETRIES]);
	out->bytes_fetched += atomic_load(&c->v[HTTP_COUNT_FETCHED]);
	out->bytes_discarded += atomic_load(&c->v[HTTP_COUNT_DISCARDED]);
	out->connections += atomic_load(&c->v[HTTP_COUNT_CONNECTIONS]);
	out->redirects += atomic_load(&c->v[HTTP_COUNT_REDIRECTS]);
	out->errors += atomic_load(&c->v[HTTP_COUNT_ERRORS]);
	out->integrity_errors += atomic_load(&c->v[HTTP_COUNT_INTEGRITY]);
	out->hedges += atomic_load(&c->v[HTTP_COUNT_HEDGES]);
	out->hedges_won += atomic_load(&c->v[HTTP_COUNT_HEDGES_WON]);
	out->hedged_bytes += atomic_load(&c->v[HTTP_COUNT_HEDGED]);
}

void http_origin_stats(struct http_origin *o, struct vmofs_provider_stats *out)
{
	uint64_t latency[VMOFS_LATENCY_BUCKETS];

	http_stats_fill(&o->counters, out);
	hist_copy(&o->latency, latency);
	for (unsigned i = 0; i < VMOFS_LATENCY_BUCKETS; i++)
		out->latency[i] += latency[i];
	out->in_flight += atomic_load(&o->nactive);
	mutex_lock(&o->lock);
	if (o->last.code)
		out->last = o->last;
	mutex_unlock(&o->lock);
}

bool http_note_failure(struct http_origin *o, const struct vmofs_failure *f)
{
	uint64_t now = loop_now_ns();
	bool quiet;

	mutex_lock(&o->lock);
	o->last = *f;
	quiet = now < o->quiet_until_ns;
	if (!quiet)
		o->quiet_until_ns = now + NSEC_PER_SEC;
	mutex_unlock(&o->lock);
	return !quiet;
}

/* -- spares ----------------------------------------------------------------------------------- */

struct http_fetch *http_lane_fetch(struct http_lane *lane)
{
	struct http_fetch *f = vmofs_list_first(&lane->spares, struct http_fetch, lane_link);

	if (f) {
		vmofs_list_del(&f->lane_link);
		lane->nspares--;
		return f;
	}
	f = calloc(1, sizeof *f);
	if (!f)
		return NULL;
	vmofs_list_init(&f->lane_link);
	vmofs_list_init(&f->link);
	vmofs_list_init(&f->pieces);
	f->lane = lane;
	return f;
}

void http_lane_spare(struct http_lane *lane, struct http_fetch *f)
{
	if (lane->nspares >= SPARES_MAX) {
		free(f);
		return;
	}
	vmofs_list_add(&lane->spares, &f->lane_link);
	lane->nspares++;
}

/* -- pumping ---------------------------------------------------------------------------------- */

void http_due_locked(struct http_origin *o, uint64_t due_ns)
{
	o->due_ns = MIN(o->due_ns, due_ns);
}

/* Makes the lane's timer fire no later than @due. */
static void lane_arm(struct http_lane *lane, uint64_t due_ns)
{
	if (due_ns == UINT64_MAX || (lane->timer.due_ns && lane->timer.due_ns <= due_ns))
		return;
	loop_timer_set(lane->loop, &lane->timer, due_ns);
}

static struct http_ask *ended_take(struct http_origin *o) EXCLUDES(o->lock)
{
	struct http_ask *a;

	mutex_lock(&o->lock);
	a = vmofs_list_first(&o->ended, struct http_ask, waiter.link);
	if (a)
		vmofs_list_del(&a->waiter.link);
	mutex_unlock(&o->lock);
	return a;
}

/* Starts what this loop has room for, offers the rest to another. */
static void lane_pump(struct http_lane *lane)
{
	struct http_origin *o = lane->o;
	uint64_t due, now = loop_now_ns();
	struct http_waiter *w;
	struct http_ask *a;
	bool more;

	while ((a = ended_take(o)))
		http_ask_finish(a);
	http_lane_watch(lane, now);
	for (;;) {
		mutex_lock(&o->lock);
		w = http_slot_take_locked(o, lane, now);
		if (!w)
			break;
		mutex_unlock(&o->lock);
		w->start(w, lane);
	}
	more = o->nlanes > 1 && lane->nactive >= o->lane_limit && o->pause_until_ns <= now &&
		http_any_waits_locked(o);
	due = o->due_ns;
	mutex_unlock(&o->lock);
	if (!vmofs_list_empty(&lane->active))
		due = MIN(due, lane->watch_ns);
	if (more)
		http_net_share(o->net, &o->source, lane->loop);
	lane_arm(lane, due);
}

static void origin_pump(struct http_source *s, struct http_client *c)
{
	struct http_origin *o = container_of(s, struct http_origin, source);

	lane_pump(&o->lanes[loop_index(http_client_loop(c))]);
}

/* -- time ------------------------------------------------------------------------------------- */

static struct http *busy_take(struct http_origin *o, struct vmofs_list *work) EXCLUDES(o->lock)
{
	struct http *h;

	mutex_lock(&o->lock);
	h = vmofs_list_first(work, struct http, busy);
	if (h) {
		vmofs_list_del(&h->busy);
		http_get_ref(h);
	}
	mutex_unlock(&o->lock);
	return h;
}

static void object_sweep(struct http *h, uint64_t now_ns)
{
	struct http_fails fails = { 0 };

	mutex_lock(&h->lock);
	http_sweep_locked(h, now_ns, &fails);
	http_wake_locked(h);
	mutex_unlock(&h->lock);
	http_fail_all(h, &fails);
}

/* Everything that is due; what stays says when it is next. */
static void origin_sweep(struct http_origin *o, uint64_t now_ns)
{
	struct vmofs_list work;
	struct http *h;

	vmofs_list_init(&work);
	mutex_lock(&o->lock);
	if (now_ns < o->due_ns) {
		mutex_unlock(&o->lock);
		return;
	}
	o->due_ns = o->pause_until_ns > now_ns ? o->pause_until_ns : UINT64_MAX;
	http_ask_sweep_locked(o, now_ns);
	vmofs_list_splice_tail(&work, &o->busy);
	mutex_unlock(&o->lock);
	while ((h = busy_take(o, &work))) {
		object_sweep(h, now_ns);
		http_put(h);
	}
}

static void timer_fire(struct loop_timer *t, struct loop *l UNUSED)
{
	struct http_lane *lane = container_of(t, struct http_lane, timer);

	http_lane_end_stalled(lane);
	origin_sweep(lane->o, loop_now_ns());
	lane_pump(lane);
}

/* -- cutting ---------------------------------------------------------------------------------- */

void http_lane_cut(struct http_lane *lane)
{
	bool posted;

	mutex_lock(&lane->o->lock);
	posted = lane->cut_posted;
	lane->cut_posted = true;
	mutex_unlock(&lane->o->lock);
	if (posted)
		return;
	http_origin_get(lane->o);
	loop_post(lane->loop, &lane->cut_task);
}

static void cut_run(struct loop_task *t, struct loop *l UNUSED)
{
	struct http_lane *lane = container_of(t, struct http_lane, cut_task);
	struct http_origin *o = lane->o;
	bool stopped;

	mutex_lock(&o->lock);
	lane->cut_posted = false;
	stopped = o->stopped;
	mutex_unlock(&o->lock);
	http_lane_end_cut(lane);
	if (stopped) {
		http_ask_lane_stop(lane);
		lane_pump(lane);
	}
	http_origin_put(o);
}

void http_origin_stop(struct http_origin *o)
{
	mutex_lock(&o->lock);
	o->stopped = true;
	http_ask_sweep_locked(o, loop_now_ns());
	mutex_unlock(&o->lock);
	for (unsigned i = 0; i < o->nlanes; i++)
		http_lane_cut(&o->lanes[i]);
}

/* -- life ------------------------------------------------------------------------------------- */

static void *lookup_make(struct loop_pool *p UNUSED)
{
	return worker_new("vmofs-lookup");
}

static void lookup_free(void *it)
{
	worker_free(it);
}

static const struct loop_service lookup_service = { lookup_make, lookup_free };

static void origin_destroy(struct http_origin *o)
{
	http_settings_put(o->settings);
	free(o->url);
	free(o->lanes);
	mutex_destroy(&o->lock);
	free(o);
}

/* The last thing that runs on this lane; the last lane frees. */
static void close_run(struct loop_task *t, struct loop *l)
{
	struct http_lane *lane = container_of(t, struct http_lane, close_task);
	struct http_origin *o = lane->o;
	struct http_fetch *f;

	assert(vmofs_list_empty(&lane->active) && vmofs_list_empty(&lane->asks));
	loop_timer_del(l, &lane->timer);
	while ((f = vmofs_list_first(&lane->spares, struct http_fetch, lane_link))) {
		vmofs_list_del(&f->lane_link);
		free(f);
	}
	http_client_drop(lane->client, o->settings);
	if (atomic_fetch_sub(&o->lanes_open, 1) == 1)
		origin_destroy(o);
}

struct http_origin *http_origin_get(struct http_origin *o)
{
	atomic_fetch_add(&o->refs, 1);
	return o;
}

/* Each lane ends itself on its own loop. */
void http_origin_put(struct http_origin *o)
{
	unsigned n;

	if (!o || atomic_fetch_sub(&o->refs, 1) > 1)
		return;
	if (!o->nlanes) {
		origin_destroy(o);
		return;
	}
	http_net_forget(o->net, &o->source);
	n = o->nlanes;
	atomic_store(&o->lanes_open, n);
	for (unsigned i = 0; i < n; i++)
		loop_post(o->lanes[i].loop, &o->lanes[i].close_task);
}

static void lane_init(struct http_lane *lane, struct http_origin *o, struct loop *l)
{
	lane->o = o;
	lane->loop = l;
	lane->client = http_net_client(o->net, l);
	lane->timer.fire = timer_fire;
	lane->cut_task.run = cut_run;
	lane->close_task.run = close_run;
	vmofs_list_init(&lane->timer.link);
	vmofs_list_init(&lane->cut_task.link);
	vmofs_list_init(&lane->close_task.link);
	vmofs_list_init(&lane->active);
	vmofs_list_init(&lane->asks);
	vmofs_list_init(&lane->spares);
}

static int make_lanes(struct http_origin *o, struct loop_pool *loops, struct vmofs_err *err)
{
	unsigned n = loop_pool_size(loops);

	o->loops = loops;
	o->net = http_net_of(loops);
	o->worker = loop_pool_service(loops, &lookup_service);
	o->lanes = calloc(n, sizeof *o->lanes);
	if (!o->net || !o->worker || !o->lanes)
		return vmofs_err_set(err, -ENOMEM, "cannot allocate HTTP clients");
	for (; o->nlanes < n; o->nlanes++)
		lane_init(&o->lanes[o->nlanes], o, loop_pool_nth(loops, o->nlanes));
	o->limit = (unsigned)o->limits.connections;
	http_climb_init(&o->climb, o->limit);
	o->lane_limit = (o->limit + n - 1) / n;
	return 0;
}

static struct http_origin *origin_alloc(void)
{
	struct http_origin *o = calloc(1, sizeof *o);

	if (!o)
		return NULL;
	o->refs = 1;
	o->due_ns = UINT64_MAX;
	mutex_init(&o->lock, LOCK_RANK_ORIGIN);
	http_source_init(&o->source, origin_pump);
	for (unsigned rank = 0; rank < HTTP_NRANKS; rank++) {
		vmofs_list_init(&o->waiting[rank][false]);
		vmofs_list_init(&o->waiting[rank][true]);
	}
	vmofs_list_init(&o->delayed);
	vmofs_list_init(&o->ended);
	vmofs_list_init(&o->busy);
	return o;
}

static int set_url(struct http_origin *o, const char *source, struct url *u, struct vmofs_err *err)
{
	int r = url_parse(source, strlen(source), u);

	if (r < 0)
		return vmofs_err_set(err, r, "the source is not a valid http URL");
	o->url = calloc(1, URL_MAX);
	if (!o->url)
		return vmofs_err_set(err, -ENOMEM, "cannot allocate an HTTP source");
	r = url_redact(u, o->url, URL_MAX);
	return r < 0 ? vmofs_err_set(err, r, "the source's URL is too long") : 0;
}

int http_origin_new(struct http_origin **out, const struct http_origin_params *p,
		    struct vmofs_err *err)
{
	struct http_origin *o = origin_alloc();
	struct url u;
	int r;

	if (!o)
		return vmofs_err_set(err, -ENOMEM, "cannot allocate an HTTP source");
	r = set_url(o, p->url, &u, err);
	if (r == 0)
		r = http_options_read(p, &u, &o->settings, &o->limits, err);
	if (r == 0)
		r = make_lanes(o, p->env->loops, err);
	if (r < 0) {
		http_origin_put(o);
		return r;
	}
	*out = o;
	return 0;
}

struct http_settings *http_origin_settings(struct http_origin *o)
{
	return o->settings;
}

uint64_t http_origin_timeout_ns(const struct http_origin *o)
{
	return o->limits.timeout_ns;
}

/* -- looking ---------------------------------------------------------------------------------- */

static unsigned count(const struct vmofs_list *list)
{
	const struct vmofs_list *pos;
	unsigned n = 0;

	for (pos = list->next; pos != list; pos = pos->next)
		n++;
	return n;
}

static unsigned waiting_locked(const struct http_origin *o, enum http_rank rank) REQUIRES(o->lock)
{
	return count(&o->waiting[rank][false]) + count(&o->waiting[rank][true]);
}

void http_origin_dump(struct http_origin *o, FILE *out, unsigned depth)
{
	uint64_t now = loop_now_ns();

	mutex_lock(&o->lock);
	fprintf(out,
		"%*sorigin '%s' active %u of %u (at most %" PRIu64
		") long %u of %u waiting: demand %u asks %u prefetch %u delayed %u%s%s\n",
		(int)depth * 2, "", o->url, atomic_load(&o->nactive), o->limit,
		o->limits.connections, o->nlong, o->climb.n, waiting_locked(o, HTTP_RANK_DEMAND),
		waiting_locked(o, HTTP_RANK_ASK), waiting_locked(o, HTTP_RANK_PREFETCH),
		count(&o->delayed), o->pause_until_ns > now ? " paused" : "",
		o->stopped ? " stopped" : "");
	if (o->last.code)
		fprintf(out, "%*slast failure: %s (status %d)\n", (int)depth * 2 + 2, "",
			o->last.msg, o->last.status);
	mutex_unlock(&o->lock);
}
