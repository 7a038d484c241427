/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is known of the pages of an entry: records of segments, read from the index when they are needed and
 * forgotten when there are too many in memory. Of a forgotten one whose pages were all there and trusted one
 * bit stays, so that a large object that is complete costs 64 bytes a GiB. Any thread; memory only, but for
 * record_read().
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "store/cache_private.h"

#define TOUCH_SEC 60u /* a last use that is that much older in the index is written again */

/* -- where segments are kept ------------------------------------------------------------------ */

static uint64_t n_chunks(const struct cache_entry *e)
{
	return (e->n_segments + CACHE_CHUNK_SEGMENTS - 1) / CACHE_CHUNK_SEGMENTS;
}

static unsigned chunk_segments(const struct cache_entry *e, uint64_t chunk)
{
	return (unsigned)MIN(e->n_segments - chunk * CACHE_CHUNK_SEGMENTS, CACHE_CHUNK_SEGMENTS);
}

static struct cache_chunk *chunk_of(struct cache_entry *e, uint64_t idx) REQUIRES(e->lock)
{
	return e->chunk ? e->chunk[idx / CACHE_CHUNK_SEGMENTS] : NULL;
}

static struct cache_chunk *chunk_make(struct cache_entry *e, uint64_t idx) REQUIRES(e->lock)
{
	uint64_t at = idx / CACHE_CHUNK_SEGMENTS;

	if (!e->chunk)
		e->chunk = calloc(n_chunks(e), sizeof *e->chunk);
	if (!e->chunk)
		return NULL;
	if (!e->chunk[at])
		e->chunk[at] = calloc(
			1,
			sizeof **e->chunk + chunk_segments(e, at) * sizeof(struct cache_segment *));
	return e->chunk[at];
}

static size_t segment_bytes(uint32_t pages)
{
	return sizeof(struct cache_segment) + pages * sizeof(uint32_t);
}

static void whole_set(struct cache_entry *e, uint64_t idx, bool whole) REQUIRES(e->lock)
{
	struct cache_chunk *k = chunk_of(e, idx);
	uint32_t i = idx % CACHE_CHUNK_SEGMENTS;

	if (bits_has(k->whole, i) == whole)
		return;
	if (whole) {
		bits_set(k->whole, i);
		e->n_whole++;
	} else {
		bits_clear(k->whole, i);
		e->n_whole--;
	}
}

/* Out of memory; its whole[] bit stays. */
static void segment_forget(struct cache_entry *e, struct cache_segment *s) REQUIRES(e->lock)
{
	struct cache_chunk *k = chunk_of(e, s->idx);

	assert(!s->users);
	k->seg[s->idx % CACHE_CHUNK_SEGMENTS] = NULL;
	vmofs_list_del(&s->link);
	atomic_fetch_sub(&e->c->record_bytes, segment_bytes(s->n_pages));
	free(s);
}

/* Not while it knows more than the index, or of writes that the disk has not confirmed. */
static bool can_forget(const struct cache_entry *e, const struct cache_segment *s) REQUIRES(e->lock)
{
	return s && !s->users && !s->punching && vmofs_list_empty(&s->link) &&
		s->written <= e->n_synced;
}

/* Makes room for one more record: those of this entry go in turn, a few steps each time. */
static void forget_some(struct cache_entry *e) REQUIRES(e->lock)
{
	for (unsigned i = 0; i < 64 && atomic_load(&e->c->record_bytes) > e->c->records_max; i++) {
		struct cache_chunk *k = chunk_of(e, e->hand);
		struct cache_segment *s = k ? k->seg[e->hand % CACHE_CHUNK_SEGMENTS] : NULL;

		if (can_forget(e, s))
			segment_forget(e, s);
		e->hand = (k ? e->hand + 1 : (e->hand | (CACHE_CHUNK_SEGMENTS - 1)) + 1) %
			e->n_segments;
	}
}

static struct cache_segment *segment_new(struct cache_entry *e, uint64_t idx) REQUIRES(e->lock)
{
	uint32_t pages = cache_segment_pages(e->size, idx);
	struct cache_chunk *k = chunk_make(e, idx);
	struct cache_segment *s;

	forget_some(e);
	s = k ? calloc(1, segment_bytes(pages)) : NULL;
	if (!s)
		return NULL;
	vmofs_list_init(&s->link);
	s->idx = idx;
	s->n_pages = pages;
	k->seg[idx % CACHE_CHUNK_SEGMENTS] = s;
	bits_clear(k->empty, idx % CACHE_CHUNK_SEGMENTS);
	atomic_fetch_add(&e->c->record_bytes, segment_bytes(pages));
	return s;
}

void segments_drop(struct cache_entry *e)
{
	for (uint64_t at = 0; e->chunk && at < n_chunks(e); at++) {
		for (unsigned i = 0; e->chunk[at] && i < chunk_segments(e, at); i++)
			if (e->chunk[at]->seg[i])
				segment_forget(e, e->chunk[at]->seg[i]);
		free(e->chunk[at]);
	}
	free(e->chunk);
	e->chunk = NULL;
	e->n_whole = 0;
	e->unsynced = e->n_writes = e->n_synced = 0;
	e->synced = e->broken = e->discarded = false;
	e->verify_at = 0;
	e->hand = 0;
}

/* Of one chunk: what is not whole is not known any more. */
static void chunk_refresh(struct cache_entry *e, uint64_t at) REQUIRES(e->lock)
{
	struct cache_chunk *k = e->chunk[at];

	memset(k->empty, 0, sizeof k->empty);
	for (unsigned i = 0; i < chunk_segments(e, at); i++)
		if (can_forget(e, k->seg[i]) && !bits_has(k->whole, i))
			segment_forget(e, k->seg[i]);
}

void segments_refresh(struct cache_entry *e, uint64_t now_ms)
{
	if (e->state != ENTRY_READER || now_ms < e->refresh_ms)
		return;
	e->refresh_ms = now_ms + CACHE_REFRESH_MS;
	e->known_end = UINT64_MAX;
	for (uint64_t at = 0; e->chunk && at < n_chunks(e); at++)
		if (e->chunk[at])
			chunk_refresh(e, at);
}

int segment_peek(struct cache_entry *e, uint64_t idx, struct cache_segment **out)
{
	struct cache_chunk *k = chunk_of(e, idx);
	uint32_t i = idx % CACHE_CHUNK_SEGMENTS;

	*out = k ? k->seg[i] : NULL;
	if (*out)
		return (*out)->n_present > 0;
	if (k && bits_has(k->whole, i))
		return 1;
	if (idx >= e->known_end || (k && bits_has(k->empty, i)))
		return 0;
	return -1;
}

/* -- reading ---------------------------------------------------------------------------------- */

int record_read(struct cache *c, int fd, const struct cache_layout *at, uint64_t idx,
		struct cache_record *r)
{
	uint8_t buf[CACHE_RECORD_MAX];
	ssize_t n =
		c->io->pread(fd, buf, cache_record_len(at->size), (off_t)cache_record_at(at, idx));

	if (n < 0) {
		cache_read_failed(c, -errno);
		return -EIO;
	}
	return cache_record_decode(at, idx, buf, (size_t)n, r);
}

static bool may_trust(const struct cache_entry *e) REQUIRES(e->lock)
{
	return e->state == ENTRY_WRITER || e->held;
}

static void segment_fill(struct cache_entry *e, struct cache_segment *s,
			 const struct cache_record *r) REQUIRES(e->lock)
{
	struct cache_chunk *k = chunk_of(e, s->idx);
	bool whole;

	s->hits = r->hits;
	s->used_sec = s->kept_used_sec = r->used_sec;
	s->reserved = true;
	memcpy(s->present, r->present, sizeof s->present);
	memcpy(s->crc, r->crc, s->n_pages * sizeof *s->crc);
	s->n_present = bits_count(s->present, CACHE_SEG_WORDS);
	/* It was, before it was forgotten, and the lock has been ours since. */
	whole = bits_has(k->whole, s->idx % CACHE_CHUNK_SEGMENTS) && s->n_present == s->n_pages &&
		may_trust(e);
	if (whole) {
		memcpy(s->trusted, s->present, sizeof s->trusted);
		s->n_trusted = s->n_pages;
	}
	whole_set(e, s->idx, whole);
}

/* What the disk says of segment @idx, unless it has become known meanwhile. */
static int segment_install(struct cache_entry *e, uint64_t idx, int r,
			   const struct cache_record *record) EXCLUDES(e->lock)
{
	struct cache_segment *s;
	int ret = 0;

	mutex_lock(&e->lock);
	if (segment_peek(e, idx, &s) == 0 || s) {
		/* known by now */
	} else if (r == 0 && bits_count(record->present, CACHE_SEG_WORDS)) {
		s = segment_new(e, idx);
		if (s)
			segment_fill(e, s, record);
		else
			ret = -ENOMEM;
	} else if (chunk_make(e, idx)) {
		whole_set(e, idx, false);
		bits_set(chunk_of(e, idx)->empty, idx % CACHE_CHUNK_SEGMENTS);
	} else {
		ret = -ENOMEM;
	}
	mutex_unlock(&e->lock);
	return ret;
}

static int segment_load(struct cache_entry *e, uint64_t idx) EXCLUDES(e->lock)
{
	struct cache_record record;
	int r = record_read(e->c, e->index_fd, &e->at, idx, &record);

	if (r == -EBADMSG && e->state == ENTRY_WRITER)
		cache_count(e->c, CACHE_CORRUPT, 1);
	return segment_install(e, idx, r, &record);
}

/* 0, or -EAGAIN: it is to be read from the index. */
static int hold_locked(struct cache_entry *e, uint64_t idx, bool make, struct cache_segment **out)
	REQUIRES(e->lock)
{
	int known = segment_peek(e, idx, out);

	if (!*out && known != 0)
		return -EAGAIN;
	if (!*out && make) {
		*out = segment_new(e, idx);
		if (!*out)
			return -ENOMEM;
		(*out)->used_sec = e->c->io->now_sec();
	}
	if (*out)
		(*out)->users++;
	return 0;
}

int segment_hold(struct cache_entry *e, uint64_t idx, bool make, struct cache_segment **out)
{
	int r = -EAGAIN;

	/* Once is enough, but another thread may want the memory at the wrong moment. */
	for (unsigned i = 0; r == -EAGAIN && i < 4; i++) {
		mutex_lock(&e->lock);
		r = hold_locked(e, idx, make, out);
		mutex_unlock(&e->lock);
		if (r == -EAGAIN && segment_load(e, idx) < 0)
			return -ENOMEM;
	}
	return r;
}

void segment_release(struct cache_entry *e, struct cache_segment *s)
{
	mutex_lock(&e->lock);
	assert(s->users);
	s->users--;
	mutex_unlock(&e->lock);
}

/* -- changes ---------------------------------------------------------------------------------- */

void segment_dirty(struct cache_entry *e, struct cache_segment *s)
{
	if (e->state == ENTRY_WRITER && vmofs_list_empty(&s->link))
		vmofs_list_add_tail(&e->dirty, &s->link);
}

void segment_trust(struct cache_entry *e, struct cache_segment *s, uint32_t i)
{
	if (!may_trust(e) || !e->synced || s->written > e->n_synced)
		return;
	if (!bits_has(s->present, i) || bits_has(s->trusted, i))
		return;
	bits_set(s->trusted, i);
	s->n_trusted++;
	if (s->n_trusted == s->n_pages)
		whole_set(e, s->idx, true);
}

void segment_add(struct cache_entry *e, struct cache_segment *s, uint32_t i, uint32_t crc)
{
	if (bits_has(s->present, i))
		return;
	s->crc[i] = crc;
	bits_set(s->present, i);
	s->n_present++;
	segment_dirty(e, s);
}

void segment_drop_page(struct cache_entry *e, struct cache_segment *s, uint32_t i)
{
	if (!bits_has(s->present, i))
		return;
	if (bits_has(s->trusted, i)) {
		bits_clear(s->trusted, i);
		s->n_trusted--;
		whole_set(e, s->idx, false);
	}
	bits_clear(s->present, i);
	s->n_present--;
	segment_dirty(e, s);
}

void segment_use(struct cache_entry *e, struct cache_segment *s)
{
	uint64_t now = e->c->io->now_sec();
	bool again = now >= s->used_sec + CACHE_VISIT_SEC;

	if (now <= s->used_sec)
		return;
	if (again && s->hits < UINT32_MAX)
		s->hits++;
	s->used_sec = now;
	if ((again && s->hits == 1) || now >= s->kept_used_sec + TOUCH_SEC)
		segment_dirty(e, s);
}

void segment_record(const struct cache_segment *s, struct cache_record *r)
{
	r->hits = s->hits;
	r->used_sec = s->used_sec;
	memcpy(r->present, s->present, sizeof r->present);
	memcpy(r->crc, s->crc, s->n_pages * sizeof *r->crc);
	memset(r->crc + s->n_pages, 0, sizeof r->crc - s->n_pages * sizeof *r->crc);
}
