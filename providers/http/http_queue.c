/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The queue of the HTTP provider: requests become pieces, pieces wait by class, in order, or for a
 * point in time. Nothing here talks to a server. send, clear and swap come from any thread with the
 * page source's lock held; the _locked functions from the loops.
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "base/macros.h"
#include "http/http_private.h"

#define LOOK_AHEAD   64 /* pieces looked at for a neighbour */
#define GAPS_PERCENT 30 /* of what is asked for may be read over, whatever it costs */

static struct http *http_of(struct vmofs_provider *p)
{
	return container_of(p, struct http, base);
}

void http_piece_due_locked(struct http *h, uint64_t due_ns)
{
	h->next_due_ns = MIN(h->next_due_ns, due_ns);
}

/* -- pieces ----------------------------------------------------------------------------------- */

static void piece_attach(struct http_piece *p, struct vmofs_request *req)
{
	p->req = req;
	p->sibling = req->priv;
	req->priv = p;
}

/* Takes @p out of its request's chain. */
static void piece_detach(struct http_piece *p)
{
	struct http_piece *pos;

	if (!p->req)
		return;
	if (p->req->priv == p) {
		p->req->priv = p->sibling;
	} else {
		for (pos = p->req->priv; pos->sibling != p; pos = pos->sibling)
			;
		pos->sibling = p->sibling;
	}
	p->sibling = NULL;
	p->req = NULL;
}

void http_piece_free_locked(struct http *h UNUSED, struct http_piece *p)
{
	piece_detach(p);
	vmofs_list_del(&p->link);
	free(p);
}

/* Nobody wants @p: a waiting one goes at once, a carried one when its fetch ends. */
static void piece_orphan_locked(struct http *h, struct http_piece *p) REQUIRES(h->lock)
{
	struct http_fetch *f = p->fetch;

	if (!f) {
		http_piece_free_locked(h, p);
		return;
	}
	piece_detach(p);
	f->wanted--;
	if (f->wanted == 0)
		http_fetch_unwanted_locked(h, f);
}

/* Nobody waits for ever. */
static uint64_t deadline_of(const struct http *h, const struct vmofs_request *req)
{
	return req->deadline_ns ? req->deadline_ns : loop_now_ns() + h->origin->limits.timeout_ns;
}

static struct http_piece *piece_new_locked(struct http *h, struct vmofs_request *req,
					   enum vmofs_request_class cls, uint64_t deadline_ns)
	REQUIRES(h->lock)
{
	struct http_piece *p = calloc(1, sizeof *p);

	if (!p)
		return NULL;
	p->off = req->off;
	p->end = req->off + req->len;
	p->cls = cls;
	p->deadline_ns = deadline_ns;
	piece_attach(p, req);
	http_piece_due_locked(h, deadline_ns);
	vmofs_list_add_tail(&h->queue[cls], &p->link);
	return p;
}

/* Cuts the front [p->off, at) off @p as a piece of its own; NULL without memory. */
static struct http_piece *piece_split(struct http_piece *p, uint64_t at)
{
	struct http_piece *front = malloc(sizeof *front);

	if (!front)
		return NULL;
	*front = *p;
	vmofs_list_init(&front->link);
	front->end = at;
	p->off = at;
	piece_attach(front, p->req);
	return front;
}

/* -- the queue -------------------------------------------------------------------------------- */

/* Another try for the requests that send() had no memory for; they get the usual time. */
void http_absorb_locked(struct http *h, uint64_t now_ns)
{
	for (unsigned cls = 0; cls < VMOFS_NCLASSES; cls++) {
		while (!vmofs_list_empty(&h->incoming[cls])) {
			struct vmofs_request *req;

			req = vmofs_list_first(&h->incoming[cls], struct vmofs_request, link);
			if (!piece_new_locked(h, req, cls, now_ns + h->origin->limits.timeout_ns)) {
				http_piece_due_locked(h, now_ns + 10 * NSEC_PER_MSEC);
				return;
			}
			vmofs_list_del(&req->link);
		}
	}
}

/* Takes @p, or as much of its front as @max allows, out of its queue. */
static struct http_piece *take_front(struct http_piece *p, uint64_t max)
{
	struct http_piece *front = NULL;

	if (p->end - p->off > max)
		front = piece_split(p, p->off + max);
	if (front)
		return front;
	vmofs_list_del(&p->link);
	return p;
}

struct http_piece *http_take_locked(struct http *h, enum vmofs_request_class cls, uint64_t max)
{
	struct http_piece *p = vmofs_list_first(&h->queue[cls], struct http_piece, link);

	return p ? take_front(p, max) : NULL;
}

/* Whether @p may come next: adjacent, or behind a gap that is cheaper to read than a request is to send. */
static bool joins(const struct http_join *j, const struct http_piece *p)
{
	uint64_t gap = p->off - j->end;
	uint64_t wanted;

	if (p->off <= j->end)
		return p->off == j->end;
	if (gap > j->gap || gap >= j->room)
		return false;
	wanted = j->wanted + MIN(p->end - p->off, j->room - gap);
	return (j->gaps + gap) * 100 <= wanted * GAPS_PERCENT;
}

struct http_piece *http_take_next_locked(struct http *h, struct http_join *j, const struct vmo *vmo,
					 enum vmofs_request_class cls)
{
	struct http_piece *best = NULL;
	struct vmofs_list *pos;
	unsigned looked = 0;
	uint64_t gap;

	vmofs_list_for_each(pos, &h->queue[cls]) {
		struct http_piece *p = vmofs_list_entry(pos, struct http_piece, link);

		if (looked++ == LOOK_AHEAD)
			break;
		if (p->req->vmo == vmo && joins(j, p) && (!best || p->off < best->off))
			best = p;
		if (best && best->off == j->end)
			break;
	}
	if (!best)
		return NULL;
	gap = best->off - j->end;
	best = take_front(best, j->room - gap);
	http_join_add(j, best);
	return best;
}

void http_join_add(struct http_join *j, const struct http_piece *p)
{
	uint64_t gap = j->wanted ? p->off - j->end : 0;
	uint64_t len = p->end - p->off;

	j->end = p->end;
	j->room -= MIN(j->room, gap + len);
	j->wanted += len;
	j->gaps += gap;
}

/* Back to the head of its queue: it has waited before. */
void http_piece_requeue_locked(struct http *h, struct http_piece *p)
{
	p->fetch = NULL;
	http_count(h, HTTP_COUNT_RETRIES, 1);
	vmofs_list_del(&p->link);
	vmofs_list_add(&h->queue[p->cls], &p->link);
}

void http_piece_delay_locked(struct http *h, struct http_piece *p, uint64_t until_ns)
{
	p->fetch = NULL;
	p->not_before_ns = until_ns;
	http_count(h, HTTP_COUNT_RETRIES, 1);
	vmofs_list_del(&p->link);
	vmofs_list_add_tail(&h->delayed, &p->link);
	http_piece_due_locked(h, until_ns);
}

bool http_idle_locked(const struct http *h)
{
	for (unsigned cls = 0; cls < VMOFS_NCLASSES; cls++)
		if (!vmofs_list_empty(&h->queue[cls]) || !vmofs_list_empty(&h->incoming[cls]))
			return false;
	return true;
}

/* -- the core's calls ------------------------------------------------------------------------- */

static bool has_pieces_locked(const struct http *h) REQUIRES(h->lock)
{
	return !http_idle_locked(h) || !vmofs_list_empty(&h->delayed) ||
		!vmofs_list_empty(&h->fetches);
}

static void tell_due_locked(struct http_origin *o, struct http *h) REQUIRES(o->lock)
{
	if (vmofs_list_empty(&h->busy))
		vmofs_list_add_tail(&o->busy, &h->busy);
	http_due_locked(o, h->next_due_ns);
	h->next_due_ns = UINT64_MAX;
}

void http_tell_due_locked(struct http *h)
{
	struct http_origin *o = h->origin;

	if (h->closed || h->next_due_ns == UINT64_MAX)
		return;
	mutex_lock(&o->lock);
	tell_due_locked(o, h);
	mutex_unlock(&o->lock);
}

static bool wait_locked(struct http *h, struct http_origin *o, enum vmofs_request_class cls,
			uint64_t now_ns) REQUIRES(h->lock) REQUIRES(o->lock)
{
	const struct http_piece *p = vmofs_list_first(&h->queue[cls], struct http_piece, link);
	struct http_waiter *w = &h->waiter[cls];

	if (vmofs_list_empty(&w->link))
		w->is_long = p && p->end - p->off >= HTTP_LONG;
	return http_wait_locked(o, w, now_ns);
}

void http_wake_locked(struct http *h)
{
	struct http_origin *o = h->origin;
	uint64_t now = loop_now_ns();

	if (h->closed || !has_pieces_locked(h))
		return;
	mutex_lock(&o->lock);
	tell_due_locked(o, h);
	for (unsigned cls = 0; cls < VMOFS_NCLASSES; cls++)
		if ((!vmofs_list_empty(&h->queue[cls]) || !vmofs_list_empty(&h->incoming[cls])) &&
		    wait_locked(h, o, cls, now))
			http_get_ref(h);
	mutex_unlock(&o->lock);
	http_net_ready(o->net, &o->source);
}

void http_send(struct vmofs_provider *provider, struct vmofs_request *req)
{
	struct http *h = http_of(provider);
	uint64_t deadline = deadline_of(h, req);

	mutex_lock(&h->lock);
	if (!piece_new_locked(h, req, req->cls, deadline))
		vmofs_list_add_tail(&h->incoming[req->cls], &req->link);
	http_wake_locked(h);
	mutex_unlock(&h->lock);
}

void http_clear(struct vmofs_provider *provider, struct vmofs_request *req)
{
	struct http *h = http_of(provider);

	mutex_lock(&h->lock);
	vmofs_list_del(&req->link);
	while (req->priv)
		piece_orphan_locked(h, req->priv);
	mutex_unlock(&h->lock);
}

/* A piece of @old goes to @now as far as it lies in it. */
static void piece_narrow_locked(struct http *h, struct http_piece *p, struct vmofs_request *now)
	REQUIRES(h->lock)
{
	uint64_t now_end = now->off + now->len;

	if (p->end <= now->off || p->off >= now_end) {
		piece_orphan_locked(h, p);
		return;
	}
	piece_detach(p);
	piece_attach(p, now);
	if (!p->fetch) {
		p->off = MAX(p->off, now->off);
		p->end = MIN(p->end, now_end);
	}
}

/* Class or deadline of the request have changed; only another class is another place to wait. */
static void piece_update_locked(struct http *h, struct http_piece *p) REQUIRES(h->lock)
{
	const struct vmofs_request *req = p->req;
	enum vmofs_request_class cls = p->cls;

	p->cls = req->cls;
	p->deadline_ns = deadline_of(h, req);
	http_piece_due_locked(h, p->deadline_ns);
	if (cls == p->cls || p->fetch || p->not_before_ns)
		return;
	vmofs_list_del(&p->link);
	vmofs_list_add_tail(&h->queue[p->cls], &p->link);
}

static void swap_locked(struct http *h, struct vmofs_request *old, struct vmofs_request *now)
	REQUIRES(h->lock)
{
	struct http_piece *p, *next;

	if (!vmofs_list_empty(&old->link)) { /* still without a piece */
		if (old == now) {
			vmofs_list_del(&old->link);
			vmofs_list_add_tail(&h->incoming[now->cls], &now->link);
		} else {
			vmofs_list_replace(&old->link, &now->link);
		}
		return;
	}
	for (p = old->priv; p; p = next) {
		next = p->sibling;
		if (old == now)
			piece_update_locked(h, p);
		else
			piece_narrow_locked(h, p, now);
	}
}

void http_swap(struct vmofs_provider *provider, struct vmofs_request *old,
	       struct vmofs_request *now)
{
	struct http *h = http_of(provider);

	mutex_lock(&h->lock);
	swap_locked(h, old, now);
	http_wake_locked(h);
	mutex_unlock(&h->lock);
}

/* -- time ------------------------------------------------------------------------------------- */

void http_piece_fail_locked(struct http *h, struct http_piece *p, int code,
			    struct http_fails *fails)
{
	const struct vmofs_request *req = p->req;
	uint64_t off = MAX(p->off, req->off);
	uint64_t end = MIN(p->end, req->off + req->len);
	struct http_trouble *t = http_trouble_locked(h);

	assert(fails->n < HTTP_FAILS);
	if (t) {
		t->last = t->recent;
		t->last.code = code;
		t->last.attempts = MAX(p->attempts, 1u);
	}
	fails->v[fails->n++] = (struct http_fail){ vmofs_vmo_get(req->vmo), off, end - off, code };
	if (!p->fetch)
		http_piece_free_locked(h, p);
	else
		piece_orphan_locked(h, p);
}

/* One line a second says what all of an origin have in common. */
static void log_failure(struct http *h, const struct http_fail *f) EXCLUDES(h->lock)
{
	struct vmofs_failure last = { .code = f->code };
	char url[URL_MAX];

	mutex_lock(&h->lock);
	if (h->trouble)
		last = h->trouble->last;
	mutex_unlock(&h->lock);
	if (!http_note_failure(h->origin, &last) || f->code == -ESHUTDOWN)
		return;
	log_warn("cannot read '%s' at %" PRIu64 "+%" PRIu64 ": %s: %s (attempts: %u%s%s)",
		 http_shown(h, url, sizeof url), f->off, f->len, strerror(-f->code), last.msg,
		 last.attempts, last.request_id[0] ? ", request " : "", last.request_id);
}

void http_fail_all(struct http *h, struct http_fails *fails)
{
	if (fails->n > 0)
		log_failure(h, &fails->v[0]);
	for (unsigned i = 0; i < fails->n; i++) {
		struct http_fail *f = &fails->v[i];

		http_count(h, HTTP_COUNT_ERRORS, 1);
		vmofs_fail(f->vmo, f->off, f->len, f->code, VMOFS_TYPE_BIT(VMOFS_REQUEST_READ));
		vmofs_vmo_put(f->vmo);
	}
	fails->n = 0;
}

/* What the deadline of @p makes of it: its last failure, or that there was no answer at all. */
static int deadline_code_locked(struct http *h, const struct http_piece *p) REQUIRES(h->lock)
{
	struct http_trouble *t = http_trouble_locked(h);

	if (p->last_code)
		return p->last_code;
	if (t) {
		t->recent = (struct vmofs_failure){ .msg = "no answer in time" };
		clock_gettime(CLOCK_REALTIME, &t->recent.when);
	}
	return -ETIMEDOUT;
}

/* Fails what is past its deadline; what stays counts for the next due time. */
static void expire_list_locked(struct http *h, struct vmofs_list *list, uint64_t now_ns,
			       struct http_fails *fails) REQUIRES(h->lock)
{
	struct vmofs_list *pos, *tmp;

	vmofs_list_for_each_safe(pos, tmp, list) {
		struct http_piece *p = vmofs_list_entry(pos, struct http_piece, link);

		if (!p->req)
			continue;
		if (p->deadline_ns <= now_ns && fails->n < HTTP_FAILS)
			http_piece_fail_locked(h, p, deadline_code_locked(h, p), fails);
		else
			http_piece_due_locked(h, p->deadline_ns);
	}
}

static void release_delayed_locked(struct http *h, uint64_t now_ns) REQUIRES(h->lock)
{
	struct vmofs_list *pos, *tmp;

	vmofs_list_for_each_safe(pos, tmp, &h->delayed) {
		struct http_piece *p = vmofs_list_entry(pos, struct http_piece, link);

		if (p->not_before_ns > now_ns) {
			http_piece_due_locked(h, p->not_before_ns);
			continue;
		}
		p->not_before_ns = 0;
		vmofs_list_del(&p->link);
		vmofs_list_add_tail(&h->queue[p->cls], &p->link);
	}
}

void http_sweep_locked(struct http *h, uint64_t now_ns, struct http_fails *fails)
{
	struct vmofs_list *pos;

	h->next_due_ns = UINT64_MAX;
	for (unsigned cls = 0; cls < VMOFS_NCLASSES; cls++)
		expire_list_locked(h, &h->queue[cls], now_ns, fails);
	expire_list_locked(h, &h->delayed, now_ns, fails);
	vmofs_list_for_each(pos, &h->fetches)
		expire_list_locked(h, &vmofs_list_entry(pos, struct http_fetch, link)->pieces,
				   now_ns, fails);
	release_delayed_locked(h, now_ns);
}
