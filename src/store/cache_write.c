/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pages kept in an entry: contents first, then they are marked in memory; the index follows with the next flush.
 * What fails is not kept, and that is all. Any thread that may block.
 */
#include <errno.h>

#include "base/macros.h"
#include "store/cache_private.h"

enum { IOVS = 128 }; /* of one system call */

/* A place in the caller's buffers. */
struct place {
	const struct iovec *v;
	unsigned n; /* from v on */
	size_t off; /* in v[0] */
};

/* How many of the next @bytes lie side by side, after buffers that are used up. */
static size_t place_here(struct place *p, size_t bytes)
{
	while (p->n && p->off == p->v->iov_len) {
		p->v++;
		p->n--;
		p->off = 0;
	}
	return p->n ? MIN(p->v->iov_len - p->off, bytes) : 0;
}

/* There are as many. */
static void place_skip(struct place *p, size_t bytes)
{
	while (bytes) {
		size_t here = place_here(p, bytes);

		p->off += here;
		bytes -= here;
	}
}

/* The next @bytes, moving on. */
static uint32_t place_crc(struct place *p, size_t bytes)
{
	uint64_t crc = 0;

	while (bytes) {
		size_t here = place_here(p, bytes);

		crc = digest_crc(DIGEST_CRC32C, crc, (const char *)p->v->iov_base + p->off, here);
		p->off += here;
		bytes -= here;
	}
	return (uint32_t)crc;
}

/* Of the next @bytes as many as fit in @out; returns how many buffers. Does not move on. */
static int place_iov(const struct place *at, size_t bytes, struct iovec out[IOVS])
{
	struct place p = *at;
	int n = 0;

	while (bytes && n < IOVS) {
		size_t here = place_here(&p, bytes);

		out[n].iov_base = (char *)p.v->iov_base + p.off;
		out[n++].iov_len = here;
		p.off += here;
		bytes -= here;
	}
	return n;
}

static int write_fully(struct cache_entry *e, struct place p, size_t bytes, uint64_t off)
{
	struct iovec iov[IOVS];

	while (bytes) {
		int n = place_iov(&p, bytes, iov);
		ssize_t r = e->c->io->pwritev(e->data_fd, iov, n, (off_t)off);

		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0)
			return r < 0 ? -errno : -ENOSPC;
		place_skip(&p, (size_t)r);
		bytes -= (size_t)r;
		off += (size_t)r;
	}
	return 0;
}

/* The part of a segment that one call brings. */
struct piece {
	struct cache_segment *s;
	uint32_t at, n;     /* pages within the segment */
	struct place place; /* of page @at */
	uint32_t crc[CACHE_SEG_PAGES];
};

static size_t piece_bytes(const struct cache_entry *e, const struct piece *p, uint32_t n)
{
	uint64_t from = (p->s->idx * CACHE_SEG_PAGES + p->at) * CACHE_PAGE;

	return (size_t)MIN((uint64_t)n * CACHE_PAGE, e->size - from);
}

/* Moves to the next run of pages that are not there, among the @left from p->at on. -EBUSY: they are going. */
static int piece_next(struct cache_entry *e, struct piece *p, uint32_t *left) EXCLUDES(e->lock)
{
	uint32_t end = p->at + *left, from;
	bool busy;

	mutex_lock(&e->lock);
	busy = p->s->punching;
	from = (uint32_t)bits_find(p->s->present, false, p->at, end);
	p->n = (uint32_t)bits_find(p->s->present, true, from, end) - from;
	mutex_unlock(&e->lock);
	place_skip(&p->place, p->n ? (size_t)(from - p->at) * CACHE_PAGE : 0);
	*left -= from - p->at;
	p->at = from;
	return busy ? -EBUSY : 0;
}

static void piece_mark(struct cache_entry *e, struct piece *p, size_t bytes) EXCLUDES(e->lock)
{
	mutex_lock(&e->lock);
	for (uint32_t i = 0; i < p->n; i++)
		segment_add(e, p->s, p->at + i, p->crc[i]);
	p->s->written = ++e->n_writes;
	p->s->used_sec = e->c->io->now_sec();
	e->unsynced += bytes;
	mutex_unlock(&e->lock);
	cache_account(e->c, (int64_t)bytes);
}

static int write_reserved(struct cache_entry *e, struct piece *p, size_t bytes, uint64_t off)
{
	int r = entry_reserve(e, p->s);

	return r < 0 ? r : write_fully(e, p->place, bytes, off);
}

/* Writes the p->n pages at p->at, none of which is there, and moves behind them. */
static int piece_write(struct cache_entry *e, struct piece *p)
{
	size_t bytes = piece_bytes(e, p, p->n);
	uint64_t off = (p->s->idx * CACHE_SEG_PAGES + p->at) * CACHE_PAGE;
	int r = write_reserved(e, p, bytes, off);

	if (r < 0 && cache_write_failed(e->c, r)) {
		r = write_reserved(e, p, bytes, off);
		if (r < 0)
			cache_write_gave_up(e->c, r);
	}
	if (r < 0)
		return r;
	for (uint32_t i = 0; i < p->n; i++)
		p->crc[i] = place_crc(&p->place, MIN(bytes - (size_t)i * CACHE_PAGE, CACHE_PAGE));
	piece_mark(e, p, bytes);
	p->at += p->n;
	return 0;
}

/* Pages [first, first + n) of one segment, contents at @place. */
static int write_here(struct cache_entry *e, uint64_t first, uint32_t n, struct place place)
{
	struct piece p = { .at = first % CACHE_SEG_PAGES, .place = place };
	int r = segment_hold(e, first / CACHE_SEG_PAGES, true, &p.s);

	if (r < 0)
		return r;
	while (r == 0 && n) {
		r = piece_next(e, &p, &n);
		if (r < 0 || !p.n)
			break;
		r = piece_write(e, &p);
		n -= p.n;
	}
	segment_release(e, p.s);
	return r;
}

static size_t sum_of(const struct iovec *iov, unsigned n)
{
	size_t sum = 0;

	for (unsigned i = 0; i < n; i++)
		sum += iov[i].iov_len;
	return sum;
}

static int write_entered(struct cache_entry *e, uint64_t first, uint64_t n, struct place place)
{
	int r = 0;

	while (r == 0 && n) {
		uint32_t here = (uint32_t)MIN(n, CACHE_SEG_PAGES - first % CACHE_SEG_PAGES);

		r = write_here(e, first, here, place);
		first += here;
		n -= here;
		if (r == 0 && n)
			place_skip(&place, (size_t)here * CACHE_PAGE);
	}
	return r;
}

/* With files, made where there are none. */
static int enter_to_write(struct cache_entry *e)
{
	int r = entry_enter(e, ENTRY_MAKE);

	if (r < 0 && cache_write_failed(e->c, r)) {
		r = entry_enter(e, ENTRY_MAKE);
		if (r < 0)
			cache_write_gave_up(e->c, r);
	}
	return r;
}

int cache_entry_write(struct cache_entry *e, uint64_t first, const struct iovec *iov, unsigned n)
{
	uint64_t pages = (sum_of(iov, n) + CACHE_PAGE - 1) / CACHE_PAGE;
	struct place place = { .v = iov, .n = n };
	int r;

	if (first >= e->n_pages || !pages)
		return 0;
	pages = MIN(pages, e->n_pages - first);
	r = cache_may_write(e->c);
	if (r == 0)
		r = enter_to_write(e);
	if (r == 0) {
		r = write_entered(e, first, pages, place);
		entry_leave(e);
	}
	return r;
}
