/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a tier is asked for: queued under the VMO's lock, taken in pieces that threads read side by side, so that one
 * long request uses the disk as well as many short ones; short ones that follow each other are one piece.
 */
#include "base/macros.h"
#include "vm/disk_tier_private.h"

/* ---- the page source's calls ---- */

/* Pages of @req that have been taken already: what a piece begins with. */
static uint64_t taken(const struct vmofs_request *req)
{
	return (uintptr_t)req->priv;
}

static void set_taken(struct vmofs_request *req, uint64_t pages)
{
	req->priv = (void *)(uintptr_t)pages;
}

static uint64_t first_of(const struct vmofs_request *req)
{
	return page_floor(req->off) + taken(req);
}

static uint64_t end_of(const struct vmofs_request *req)
{
	return page_floor(req->off + req->len);
}

static enum tier_work work_of(enum vmofs_request_class cls)
{
	return cls == VMOFS_CLASS_DEMAND ? TIER_WORK_DEMAND : TIER_WORK_PREFETCH;
}

static void add_locked(struct disk_io *io, struct disk_tier *t, struct vmofs_request *req)
	REQUIRES(io->lock)
{
	vmofs_list_add_tail(&t->requests[req->cls], &req->link);
	disk_watch_queued_locked(io, t);
	/* Else it waits for the entry. */
	if (t->state == TIER_READY)
		disk_io_queue_locked(io, t, work_of(req->cls));
}

/* @req is not waiting any more; neither is the tier when it was the last. */
static void unlink_locked(struct disk_io *io UNUSED, struct disk_tier *t, struct vmofs_request *req)
	REQUIRES(io->lock)
{
	vmofs_list_del(&req->link);
	for (unsigned c = 0; c < VMOFS_NCLASSES; c++)
		if (vmofs_list_empty(&t->requests[c]))
			vmofs_list_del(&t->turn[work_of(c)]);
}

void disk_tier_send(struct vmofs_provider *p, struct vmofs_request *req)
{
	struct disk_tier *t = container_of(p, struct disk_tier, provider);
	struct disk_io *io = t->io;

	mutex_lock(&io->lock);
	add_locked(io, t, req);
	mutex_unlock(&io->lock);
}

/* A piece that is being read is supplied all the same; the core takes what it still wants. */
void disk_tier_clear(struct vmofs_provider *p, struct vmofs_request *req)
{
	struct disk_tier *t = container_of(p, struct disk_tier, provider);
	struct disk_io *io = t->io;

	mutex_lock(&io->lock);
	unlink_locked(io, t, req);
	disk_watch_cleared_locked(io, t);
	mutex_unlock(&io->lock);
}

void disk_tier_swap(struct vmofs_provider *p, struct vmofs_request *old, struct vmofs_request *now)
{
	struct disk_tier *t = container_of(p, struct disk_tier, provider);
	struct disk_io *io = t->io;
	uint64_t next;

	mutex_lock(&io->lock);
	next = MAX(first_of(old), page_floor(now->off));
	if (vmofs_list_empty(&old->link))
		next = end_of(now);
	/* It may be the same one, of another class. */
	unlink_locked(io, t, old);
	if (next < end_of(now)) {
		set_taken(now, next - page_floor(now->off));
		add_locked(io, t, now);
	}
	disk_watch_cleared_locked(io, t);
	mutex_unlock(&io->lock);
}

/* ---- serving ---- */

void disk_tier_next_piece_locked(struct disk_io *io, struct disk_tier *t,
				 enum vmofs_request_class cls, struct tier_job *job)
{
	struct vmofs_request *req = vmofs_list_first(&t->requests[cls], struct vmofs_request, link);

	job->first = first_of(req);
	job->end = job->first;
	while (req && first_of(req) == job->end && job->end - job->first < TIER_PIECE_PAGES) {
		uint64_t from = job->end;

		job->end = MIN(end_of(req), job->first + TIER_PIECE_PAGES);
		set_taken(req, taken(req) + job->end - from);
		if (job->end < end_of(req))
			break;
		unlink_locked(io, t, req);
		req = vmofs_list_first(&t->requests[cls], struct vmofs_request, link);
	}
	disk_watch_taken_locked(io, t);
}

/* Supplies what has been read of it, [first, first + n). Whether the VMO took it. */
static bool supply(struct disk_tier *t, struct vmo *v, uint64_t first, uint64_t n, const void *buf)
{
	uint64_t off = page_bytes(first);
	uint64_t len = MIN(page_bytes(n), t->key.size - off);

	/* Counted first: who reads the counters after a read that it served finds it in them. */
	atomic_fetch_add(&t->io->hits, n);
	if (vmo_supply_near(v, off, buf, len) >= 0)
		return true;
	atomic_fetch_sub(&t->io->hits, n);
	return false;
}

/*
 * Page @first is not there, nor are the @missing - 1 after it: the provider is asked for them, and for what else is
 * known not to follow, for a request in pieces costs it more. Returns where that ends.
 */
static uint64_t send_on(struct disk_tier *t, struct vmo *v, uint64_t first, uint64_t missing)
{
	uint64_t end = MIN(first + MAX(missing, UINT64_C(1)), t->n_pages);
	uint64_t more = t->n_pages;

	atomic_fetch_add(&t->io->misses, end - first);
	if (end < more && !cache_entry_may_have(t->entry, end, &more))
		end = more;
	vmo_elsewhere(v, page_bytes(first), page_bytes(end - first));
	return end;
}

void disk_tier_serve(struct disk_tier *t, struct vmo *v, uint64_t first, uint64_t end, void *buf)
{
	while (first < end) {
		uint64_t missing = 0;
		uint64_t n = cache_entry_read(t->entry, first, end - first, buf, &missing);

		if (!n) {
			first = send_on(t, v, first, MIN(missing, end - first));
			continue;
		}
		if (!supply(t, v, first, n, buf))
			vmo_elsewhere(v, page_bytes(first), page_bytes(n));
		first += n;
	}
}
