/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is to be written. Pages that arrive are remembered as bits of segments, the cache's own units; a segment is ripe
 * when enough of it has come, when it has waited long enough, or when somebody is in a hurry, and is then written
 * from the store's memory, run by run. The pages stay clean and evictable but for what is spared, so memory is
 * never short because of the disk.
 */
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/loop.h"
#include "base/macros.h"
#include "vm/disk_tier_private.h"
#include "vm/vmo_private.h"

/* So long few pages wait for more, and the index for more data. */
#define YOUNG_NS     NSEC_PER_SEC
#define UNFLUSHED_NS (5 * NSEC_PER_SEC)
/* Or until so much has been written. */
enum { FLUSH_PAGES = 8192 };
/* No more than this part of the pool is spared. */
enum { SPARED_SHARE = 4 };

static struct tier_seg *seg_of(struct itree_node *n)
{
	return n ? container_of(n, struct tier_seg, pages) : NULL;
}

static struct tier_seg *first_seg(struct disk_tier *t, uint64_t first, uint64_t end)
{
	return seg_of(itree_first(&t->segs, first, end));
}

static struct tier_seg *next_seg(struct tier_seg *s, uint64_t first, uint64_t end)
{
	return seg_of(itree_next(&s->pages, first, end));
}

/* ---- bits ---- */

/* Clears what is set in @which; returns how many were set. */
static unsigned clear_bits(uint64_t *bits, const uint64_t *which)
{
	unsigned n = 0;

	for (unsigned i = 0; i < TIER_SEGMENT_WORDS; i++) {
		n += (unsigned)__builtin_popcountll(bits[i] & which[i]);
		bits[i] &= ~which[i];
	}
	return n;
}

/* ---- segments ---- */

/* Pages of the segment that the object has. */
static unsigned seg_size(const struct disk_tier *t, const struct tier_seg *s)
{
	return (unsigned)(MIN(s->pages.end, t->n_pages) - s->pages.first);
}

static uint64_t spared_max(const struct disk_io *io, const struct disk_tier *t)
{
	return MIN(io->spared_max, t->vmo->pool->limit / SPARED_SHARE);
}

/* @n pages more of @s wait. */
static void count_locked(struct disk_io *io, struct disk_tier *t, struct tier_seg *s, unsigned n)
	REQUIRES(io->lock)
{
	s->n += n;
	t->n_waiting += n;
	io->waiting += n;
	io->spared += s->spared ? n : 0;
}

static void discount_locked(struct disk_io *io, struct disk_tier *t, struct tier_seg *s, unsigned n)
	REQUIRES(io->lock)
{
	s->n -= n;
	t->n_waiting -= n;
	io->waiting -= n;
	io->spared -= s->spared ? n : 0;
}

static void seg_free(struct disk_tier *t, struct tier_seg *s)
{
	itree_remove(&t->segs, &s->pages);
	vmofs_list_del(&s->link);
	free(s);
}

static struct tier_seg *seg_get_locked(struct disk_io *io, struct disk_tier *t, uint64_t page)
	REQUIRES(io->lock)
{
	struct tier_seg *s = first_seg(t, page, page + 1);

	if (s)
		return s;
	s = calloc(1, sizeof *s);
	if (!s)
		return NULL;
	s->pages.first = page - page % CACHE_SEGMENT_PAGES;
	s->pages.end = s->pages.first + CACHE_SEGMENT_PAGES;
	s->since_ns = loop_now_ns();
	s->spared = io->spared + CACHE_SEGMENT_PAGES <= spared_max(io, t);
	vmofs_list_init(&s->link);
	itree_insert(&t->segs, &s->pages);
	return s;
}

/* ---- ripening ---- */

static bool is_hurried(const struct disk_io *io, const struct disk_tier *t) REQUIRES(io->lock)
{
	return io->hurry || t->hurry || io->spared > spared_max(io, t) / 2;
}

/* Whoever is idle writes it. */
static void set_ripe_locked(struct disk_io *io, struct disk_tier *t, struct tier_seg *s)
	REQUIRES(io->lock)
{
	vmofs_list_del(&s->link);
	vmofs_list_add_tail(&t->ripe, &s->link);
	s->ripe = true;
	if (t->state == TIER_READY)
		disk_io_queue_locked(io, t, TIER_WORK_WRITE);
}

/* Files @s where it belongs; the thread that writes it does so at the end. */
static void file_locked(struct disk_io *io, struct disk_tier *t, struct tier_seg *s)
	REQUIRES(io->lock)
{
	if (s->writing || s->ripe)
		return;
	if (s->n >= TIER_RIPE_PAGES || s->n == seg_size(t, s) || is_hurried(io, t)) {
		set_ripe_locked(io, t, s);
	} else if (vmofs_list_empty(&s->link)) {
		vmofs_list_add_tail(&t->young, &s->link);
		disk_io_watch_locked(io, t, s->since_ns + YOUNG_NS);
	}
}

static void want_flush_locked(struct disk_io *io, struct disk_tier *t) REQUIRES(io->lock)
{
	if (t->flushing || t->state != TIER_READY)
		return;
	t->flushing = true;
	disk_io_queue_locked(io, t, TIER_WORK_FLUSH);
}

/* When the segments that are too young at @now ripen. */
static uint64_t ripen_young_locked(struct disk_io *io, struct disk_tier *t, uint64_t now)
	REQUIRES(io->lock)
{
	bool hurried = is_hurried(io, t);
	struct tier_seg *s;

	while ((s = vmofs_list_first(&t->young, struct tier_seg, link))) {
		if (!hurried && s->since_ns + YOUNG_NS > now)
			return s->since_ns + YOUNG_NS;
		set_ripe_locked(io, t, s);
	}
	return UINT64_MAX;
}

uint64_t disk_tier_ripen_locked(struct disk_io *io, struct disk_tier *t, uint64_t now_ns)
{
	uint64_t at = ripen_young_locked(io, t, now_ns);

	if (!t->n_unflushed)
		return at;
	if (t->unflushed_ns + UNFLUSHED_NS > now_ns)
		return MIN(at, t->unflushed_ns + UNFLUSHED_NS);
	want_flush_locked(io, t);
	return at;
}

/* ---- the near place ---- */

/* Remembers [first, end), which lies in one segment. */
static void remember_locked(struct disk_io *io, struct disk_tier *t, uint64_t first, uint64_t end)
	REQUIRES(io->lock)
{
	struct tier_seg *s = seg_get_locked(io, t, first);
	unsigned n;

	if (!s) {
		atomic_fetch_add(&io->skipped, end - first);
		return;
	}
	n = (unsigned)bits_fill(s->bits, true, first - s->pages.first, end - s->pages.first);
	count_locked(io, t, s, n);
	if (n)
		file_locked(io, t, s);
}

void disk_tier_arrived(struct vmo_near *n, uint64_t first, uint64_t end)
{
	struct disk_tier *t = container_of(n, struct disk_tier, near);
	struct disk_io *io = t->io;

	mutex_lock(&io->lock);
	while (t->state != TIER_OFF && first < end) {
		uint64_t next = (first / CACHE_SEGMENT_PAGES + 1) * CACHE_SEGMENT_PAGES;

		remember_locked(io, t, first, MIN(next, end));
		first = next;
	}
	mutex_unlock(&io->lock);
}

static bool seg_spares(const struct tier_seg *s, uint64_t *first, uint64_t *end)
{
	uint64_t base = s->pages.first;
	uint64_t from = MAX(*first, base) - base;
	uint64_t to = MIN(*end, s->pages.end) - base;

	if (!s->spared || !bits_next_run(s->bits, &from, &to))
		return false;
	*first = base + from;
	*end = base + to;
	return true;
}

static bool first_spared_locked(struct disk_io *io UNUSED, struct disk_tier *t, uint64_t *first,
				uint64_t *end) REQUIRES(io->lock)
{
	for (struct tier_seg *s = first_seg(t, *first, *end); s; s = next_seg(s, *first, *end))
		if (seg_spares(s, first, end))
			return true;
	return false;
}

bool disk_tier_spares(struct vmo_near *n, uint64_t *first, uint64_t *end)
{
	struct disk_tier *t = container_of(n, struct disk_tier, near);
	struct disk_io *io = t->io;
	bool found = false;

	mutex_lock(&io->lock);
	if (io->state != DISK_HANGS)
		found = first_spared_locked(io, t, first, end);
	mutex_unlock(&io->lock);
	return found;
}

void disk_tier_unneeded(struct vmo_near *n, uint64_t first, uint64_t end)
{
	struct disk_tier *t = container_of(n, struct disk_tier, near);
	struct disk_io *io = t->io;

	mutex_lock(&io->lock);
	for (struct tier_seg *s = first_seg(t, first, end); s; s = next_seg(s, first, end))
		s->unneeded |= s->pages.first >= first && MIN(s->pages.end, t->n_pages) <= end;
	mutex_unlock(&io->lock);
}

void disk_tier_give_up_locked(struct disk_io *io, struct disk_tier *t)
{
	struct tier_seg *s;

	while ((s = first_seg(t, 0, UINT64_MAX))) {
		atomic_fetch_add(&io->skipped, s->n);
		discount_locked(io, t, s, s->n);
		seg_free(t, s);
	}
	cond_broadcast(&io->settled);
}

/* ---- writing ---- */

void disk_tier_next_segment_locked(struct disk_io *io UNUSED, struct disk_tier *t,
				   struct tier_job *job)
{
	struct tier_seg *s = vmofs_list_first(&t->ripe, struct tier_seg, link);

	vmofs_list_del(&s->link);
	s->ripe = false;
	s->writing = true;
	job->first = s->pages.first;
	job->end = s->pages.end;
	memcpy(job->bits, s->bits, sizeof job->bits);
}

/* Writes the clean pages with which [*first, end) begins, skipping what is gone; false: nothing is left of it. */
static bool write_some(struct disk_tier *t, struct vmo *v, uint64_t *first, uint64_t end)
{
	struct disk_io *io = t->io;
	struct vmo_read r = { .off = page_bytes(*first), .len = page_bytes(end - *first) };
	uint64_t gone = end - *first;
	uint64_t n;

	if (vmo_read_present(v, &r) < 0) {
		atomic_fetch_add(&io->skipped, gone);
		return false;
	}
	gone = page_floor(r.off) - *first;
	n = page_ceil(r.len);
	if (cache_entry_write(t->entry, page_floor(r.off), r.iov, r.n_iov) < 0)
		gone += n;
	else
		atomic_fetch_add(&io->written, n);
	atomic_fetch_add(&io->skipped, gone);
	*first = page_floor(r.off) + n;
	vmo_read_end(&r);
	return *first < end;
}

/* The segment has been written as it was when it was taken. Whether nothing keeps it from being evicted, as it should have been. */
static bool written_locked(struct disk_io *io, struct disk_tier *t, const struct tier_job *job)
	REQUIRES(io->lock)
{
	struct tier_seg *s = first_seg(t, job->first, job->end);
	bool unneeded;

	/* Given up meanwhile. */
	if (!s)
		return false;
	unneeded = s->unneeded;
	s->writing = false;
	discount_locked(io, t, s, clear_bits(s->bits, job->bits));
	s->since_ns = loop_now_ns();
	if (s->n) {
		file_locked(io, t, s);
		return false;
	}
	seg_free(t, s);
	return unneeded;
}

/* The index is behind by @n pages more. */
static void unflushed_locked(struct disk_io *io, struct disk_tier *t, uint64_t n) REQUIRES(io->lock)
{
	if (t->state != TIER_READY)
		return;
	if (!t->n_unflushed)
		t->unflushed_ns = loop_now_ns();
	t->n_unflushed += n;
	t->incomplete = false;
	if (t->n_unflushed >= FLUSH_PAGES)
		want_flush_locked(io, t);
	else
		disk_io_watch_locked(io, t, t->unflushed_ns + UNFLUSHED_NS);
}

/*
 * Whether every page may be there, as far as is known without asking the disk. The last one first: it comes last to who
 * reads in order, and what lies before it is a long walk.
 */
static bool seems_whole(struct disk_tier *t)
{
	uint64_t last = t->n_pages;
	uint64_t end = t->n_pages;

	return cache_entry_may_have(t->entry, t->n_pages - 1, &last) &&
		cache_entry_may_have(t->entry, 0, &end) && end == t->n_pages;
}

void disk_tier_write(struct disk_tier *t, const struct tier_job *job)
{
	struct disk_io *io = t->io;
	uint64_t from = 0;
	uint64_t to = CACHE_SEGMENT_PAGES;
	uint64_t n = 0;
	bool unneeded;

	while (bits_next_run(job->bits, &from, &to)) {
		uint64_t first = job->first + from;

		while (write_some(t, job->vmo, &first, job->first + to))
			;
		n += to - from;
		from = to;
		to = CACHE_SEGMENT_PAGES;
	}
	mutex_lock(&io->lock);
	unneeded = written_locked(io, t, job);
	unflushed_locked(io, t, n);
	if (!t->n_waiting && seems_whole(t))
		disk_tier_want_verify_locked(io, t);
	cond_broadcast(&io->settled);
	mutex_unlock(&io->lock);
	/* Whole, so that the store can use the block again as it is. */
	if (unneeded)
		vmo_evict(job->vmo, page_bytes(job->first), page_bytes(job->end - job->first),
			  false);
}

void disk_tier_flush(struct disk_tier *t)
{
	struct disk_io *io = t->io;

	mutex_lock(&io->lock);
	t->n_unflushed = 0;
	mutex_unlock(&io->lock);
	/* What fails is counted by the cache, and is only a miss later. */
	(void)cache_entry_flush(t->entry);
	mutex_lock(&io->lock);
	t->flushing = false;
	mutex_unlock(&io->lock);
}

/* ---- waiting for it ---- */

bool disk_tier_is_busy(struct disk_tier *t)
{
	struct disk_io *io = t->io;
	bool busy;

	mutex_lock(&io->lock);
	busy = t->n_waiting > 0;
	mutex_unlock(&io->lock);
	return busy;
}

static void hurry_locked(struct disk_io *io, struct disk_tier *t) REQUIRES(io->lock)
{
	t->hurry++;
	ripen_young_locked(io, t, 0);
}

static bool is_worth_waiting_locked(struct disk_io *io) REQUIRES(io->lock)
{
	return io->state != DISK_HANGS && !io->drained;
}

uint64_t disk_tier_drain(struct disk_tier *t, uint64_t deadline_ns)
{
	struct disk_io *io = t->io;
	uint64_t left;

	mutex_lock(&io->lock);
	hurry_locked(io, t);
	while (t->n_waiting && is_worth_waiting_locked(io) &&
	       cond_wait_until(&io->settled, &io->lock, deadline_ns))
		;
	t->hurry--;
	left = t->n_waiting;
	mutex_unlock(&io->lock);
	return page_bytes(left);
}

static bool is_waiting_locked(struct disk_io *io UNUSED, struct disk_tier *t, uint64_t first,
			      uint64_t end) REQUIRES(io->lock)
{
	for (struct tier_seg *s = first_seg(t, first, end); s; s = next_seg(s, first, end)) {
		uint64_t from = MAX(first, s->pages.first) - s->pages.first;
		uint64_t to = MIN(end, s->pages.end) - s->pages.first;

		if (bits_next_run(s->bits, &from, &to))
			return true;
	}
	return false;
}

/* Pages [first, end) are to be written as far as they are not known to be on the disk. */
static void remember_missing(struct disk_tier *t, uint64_t first, uint64_t end)
{
	while (first < end) {
		uint64_t to = end;

		if (t->state != TIER_READY || !cache_entry_may_have(t->entry, first, &to))
			disk_tier_arrived(&t->near, first, to);
		first = to;
	}
}

void disk_tier_keep(struct disk_tier *t, uint64_t off, uint64_t len, uint64_t deadline_ns)
{
	struct disk_io *io = t->io;
	uint64_t first = page_floor(off);
	uint64_t end = MIN(page_ceil(off + len), t->n_pages);

	mutex_lock(&io->lock);
	hurry_locked(io, t);
	mutex_unlock(&io->lock);
	remember_missing(t, first, end);
	mutex_lock(&io->lock);
	while (is_waiting_locked(io, t, first, end) && is_worth_waiting_locked(io) &&
	       cond_wait_until(&io->settled, &io->lock, deadline_ns))
		;
	t->hurry--;
	mutex_unlock(&io->lock);
}
