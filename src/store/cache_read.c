/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pages read from an entry, and what may be said of them without reading. A page leaves this file only when its
 * checksum agrees, at each read: a disk that fails may take back what it had, and 10 GiB/s are cheap. Any
 * thread; reads of one entry run side by side.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "store/cache_private.h"

#define VERIFY_PAGES 256u /* read at once */

/* -- without the disk ------------------------------------------------------------------------- */

/* Whether page @page may be there, and where the part of its segment of which that is true ends. */
static bool may_have_here(struct cache_entry *e, uint64_t page, uint64_t *end) REQUIRES(e->lock)
{
	uint64_t idx = page / CACHE_SEG_PAGES, base = idx * CACHE_SEG_PAGES;
	struct cache_segment *s;
	int known = segment_peek(e, idx, &s);
	bool has;

	*end = MIN(base + CACHE_SEG_PAGES, e->n_pages);
	if (!s)
		return known != 0;
	has = bits_has(s->present, page - base);
	*end = base + bits_find(s->present, !has, page - base, s->n_pages);
	return has;
}

static bool may_have_locked(struct cache_entry *e, uint64_t first, uint64_t *end) REQUIRES(e->lock)
{
	uint64_t limit = MIN(*end, e->n_pages), at;
	bool has;

	if (e->state == ENTRY_SHUT || e->state == ENTRY_NONE || e->state == ENTRY_OFF)
		return e->state == ENTRY_SHUT;
	if (e->discarded)
		return false;
	/* What another process has written since may be asked for, if not too often. */
	if (e->state == ENTRY_READER && e->c->io->now_ms() >= e->refresh_ms)
		return true;
	if (first >= limit)
		return false;
	has = may_have_here(e, first, &at);
	while (at < limit) {
		uint64_t next;

		if (may_have_here(e, at, &next) != has)
			break;
		at = next;
	}
	*end = MIN(at, limit);
	return has;
}

bool cache_entry_may_have(struct cache_entry *e, uint64_t first, uint64_t *end)
{
	bool has;

	mutex_lock(&e->lock);
	has = may_have_locked(e, first, end);
	mutex_unlock(&e->lock);
	return has;
}

bool cache_entry_is_empty(struct cache_entry *e)
{
	bool empty;

	mutex_lock(&e->lock);
	empty = e->state == ENTRY_NONE || e->state == ENTRY_OFF || e->discarded ||
		(e->state == ENTRY_WRITER && !e->known_end && !e->chunk);
	mutex_unlock(&e->lock);
	return empty;
}

bool cache_entry_is_complete(struct cache_entry *e)
{
	bool complete;

	mutex_lock(&e->lock);
	complete = e->n_segments && e->n_whole == e->n_segments && !e->discarded;
	mutex_unlock(&e->lock);
	return complete;
}

/* -- one segment ------------------------------------------------------------------------------ */

/*
 * A part of a segment that is there, as it is being read. With what was known of it when that began: of a disk that
 * fails, others drop pages and write them again meanwhile.
 */
struct part {
	struct cache_segment *s;
	uint32_t first, n;             /* pages, within the segment */
	uint64_t written;              /* the segment's */
	uint32_t crc[CACHE_SEG_PAGES]; /* of page first + i */
};

/* @p->s and @p->first are set, @n pages from there on are present. */
static void part_begin_locked(struct cache_entry *e UNUSED, struct part *p, uint32_t n)
	REQUIRES(e->lock)
{
	p->n = n;
	p->written = p->s->written;
	memcpy(p->crc, p->s->crc + p->first, n * sizeof *p->crc);
}

/* Bytes of pages [@page, @page + @n), of which the last one may be cut. */
static size_t bytes_of(const struct cache_entry *e, uint64_t page, uint64_t n)
{
	uint64_t from = page * CACHE_PAGE;

	return (size_t)MIN(n * CACHE_PAGE, e->size - from);
}

static ssize_t read_fully(struct cache_entry *e, char *buf, size_t n, uint64_t off)
{
	size_t done = 0;

	while (done < n) {
		ssize_t r = e->c->io->pread(e->data_fd, buf + done, n - done, (off_t)(off + done));

		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return -errno;
		if (r == 0)
			break;
		done += (size_t)r;
	}
	return (ssize_t)done;
}

/* What is not right is gone, here and for good where this process is the writer. */
static void part_drop(struct cache_entry *e, struct part *p, uint32_t from, uint32_t to)
	EXCLUDES(e->lock)
{
	mutex_lock(&e->lock);
	for (uint32_t i = from; i < to; i++)
		segment_drop_page(e, p->s, i);
	mutex_unlock(&e->lock);
}

/* Page @i of the part. */
static bool page_is_right(struct cache_entry *e, const struct part *p, uint32_t i, const char *buf)
{
	uint64_t page = p->s->idx * CACHE_SEG_PAGES + p->first + i;

	return digest_crc(DIGEST_CRC32C, 0, buf, bytes_of(e, page, 1)) == p->crc[i];
}

/* How many pages from the first on are right, of the @got bytes that came. */
static uint32_t part_check(struct cache_entry *e, struct part *p, const char *buf, size_t got)
{
	uint64_t base = p->s->idx * CACHE_SEG_PAGES;
	uint32_t i = 0;

	while (i < p->n && bytes_of(e, base + p->first, i + 1) <= got &&
	       page_is_right(e, p, i, buf + (size_t)i * CACHE_PAGE))
		i++;
	return i;
}

/* What was written since then has not been read. */
static void part_trust(struct cache_entry *e, struct part *p, uint32_t n) EXCLUDES(e->lock)
{
	mutex_lock(&e->lock);
	for (uint32_t i = 0; i < n && p->written == p->s->written; i++)
		segment_trust(e, p->s, p->first + i);
	segment_use(e, p->s);
	mutex_unlock(&e->lock);
}

/* How many pages of the part are right in @buf now. */
static uint32_t part_read(struct cache_entry *e, struct part *p, char *buf)
{
	uint64_t page = p->s->idx * CACHE_SEG_PAGES + p->first;
	size_t want = bytes_of(e, page, p->n);
	ssize_t got = read_fully(e, buf, want, page * CACHE_PAGE);
	uint32_t right;

	if (got < 0) {
		/* The disk is asked once, or each reader would wait for its retries. */
		cache_read_failed(e->c, (int)got);
		part_drop(e, p, p->first, p->first + p->n);
		return 0;
	}
	right = part_check(e, p, buf, (size_t)got);
	if (right < p->n) {
		/* Of another writer's it may just have been dropped. */
		if (e->state == ENTRY_WRITER)
			cache_count(e->c, CACHE_CORRUPT, 1);
		part_drop(e, p, p->first + right, p->first + right + 1);
	}
	part_trust(e, p, right);
	if (right == p->n && want % CACHE_PAGE)
		memset(buf + want, 0, CACHE_PAGE - want % CACHE_PAGE);
	return right;
}

/* The run of pages that are there from @first on, at most @n; with users counted. False: the first is not. */
static bool part_take(struct cache_entry *e, uint64_t first, uint64_t n, struct part *p)
{
	uint32_t at = first % CACHE_SEG_PAGES, end;

	if (segment_hold(e, first / CACHE_SEG_PAGES, false, &p->s) < 0 || !p->s)
		return false;
	mutex_lock(&e->lock);
	p->first = at;
	end = (uint32_t)bits_find(p->s->present, false, at, MIN(at + n, p->s->n_pages));
	part_begin_locked(e, p, end - at);
	mutex_unlock(&e->lock);
	if (!p->n)
		segment_release(e, p->s);
	return p->n > 0;
}

/* -- reading ---------------------------------------------------------------------------------- */

static void refresh(struct cache_entry *e) EXCLUDES(e->lock)
{
	uint64_t now = e->c->io->now_ms();

	mutex_lock(&e->lock);
	segments_refresh(e, now);
	mutex_unlock(&e->lock);
}

/* Pages of one segment at most; 0: the first is not there. */
static uint64_t read_here(struct cache_entry *e, uint64_t first, uint64_t n, char *buf)
{
	struct part p;
	uint32_t right;

	if (!part_take(e, first, n, &p)) {
		refresh(e);
		if (!part_take(e, first, n, &p))
			return 0;
	}
	right = part_read(e, &p, buf);
	segment_release(e, p.s);
	return right;
}

static uint64_t read_entered(struct cache_entry *e, uint64_t first, uint64_t n, char *buf)
{
	uint64_t done = 0;

	while (done < n) {
		uint64_t left = CACHE_SEG_PAGES - (first + done) % CACHE_SEG_PAGES;
		uint64_t want = MIN(n - done, left);
		uint64_t got = read_here(e, first + done, want, buf + done * CACHE_PAGE);

		done += got;
		if (got < want)
			break;
	}
	return done;
}

/* Pages from @first on of which nothing is there; at least one, for that one was not. */
static uint64_t missing_from(struct cache_entry *e, uint64_t first, uint64_t n)
{
	uint64_t end = first + n;

	return cache_entry_may_have(e, first, &end) ? 1 : MAX(end - first, 1);
}

uint64_t cache_entry_read(struct cache_entry *e, uint64_t first, uint64_t n, void *buf,
			  uint64_t *missing)
{
	uint64_t got = 0, none = n;

	if (first >= e->n_pages || !n)
		return 0;
	n = MIN(n, e->n_pages - first);
	if (entry_enter(e, ENTRY_LOOK) == 0) {
		got = read_entered(e, first, n, buf);
		if (!got)
			none = missing_from(e, first, n);
		entry_leave(e);
	}
	if (!got && missing)
		*missing = MIN(none, n);
	return got;
}

/* -- whole and verified ----------------------------------------------------------------------- */

/* Whether every page of segment @idx is there; what is in memory is asked first. */
static bool segment_is_whole(struct cache_entry *e, uint64_t idx)
{
	struct cache_record r;
	struct cache_segment *s;
	uint32_t pages = cache_segment_pages(e->size, idx);
	int known;
	bool whole;

	mutex_lock(&e->lock);
	known = segment_peek(e, idx, &s);
	whole = s ? s->n_present == pages : known > 0;
	mutex_unlock(&e->lock);
	if (s || known >= 0)
		return whole;
	return record_read(e->c, e->index_fd, &e->at, idx, &r) == 0 &&
		bits_count(r.present, CACHE_SEG_WORDS) == pages;
}

bool cache_entry_is_whole(struct cache_entry *e)
{
	bool whole;

	if (entry_enter(e, ENTRY_LOOK) < 0)
		return false;
	refresh(e);
	whole = e->n_segments > 0;
	for (uint64_t idx = 0; whole && idx < e->n_segments; idx++)
		whole = segment_is_whole(e, idx);
	entry_leave(e);
	return whole;
}

/* The next run of pages of @s that are there and not trusted, from @at on. */
static bool untrusted_run(struct cache_entry *e, struct cache_segment *s, uint32_t at, uint32_t max,
			  struct part *p) EXCLUDES(e->lock)
{
	uint64_t rest[CACHE_SEG_WORDS];
	bool any;

	mutex_lock(&e->lock);
	for (unsigned i = 0; i < CACHE_SEG_WORDS; i++)
		rest[i] = s->present[i] & ~s->trusted[i];
	at = (uint32_t)bits_find(rest, true, at, s->n_pages);
	any = at < s->n_pages;
	if (any) {
		p->s = s;
		p->first = at;
		part_begin_locked(
			e, p, (uint32_t)bits_find(rest, false, at, MIN(s->n_pages, at + max)) - at);
	}
	mutex_unlock(&e->lock);
	return any;
}

/* Checks pages of @s; every one is either trusted or dropped afterwards. Returns how many were looked at. */
static uint64_t verify_segment(struct cache_entry *e, struct cache_segment *s, uint64_t max,
			       char *buf)
{
	uint64_t n = 0;
	struct part p = { .first = 0 };

	while (n < max && p.first < s->n_pages &&
	       untrusted_run(e, s, p.first, (uint32_t)MIN(max - n, VERIFY_PAGES), &p)) {
		uint32_t right = part_read(e, &p, buf);
		uint32_t step = right < p.n ? right + 1 : p.n;

		p.first += step;
		n += step;
	}
	return n;
}

static uint64_t verify_entered(struct cache_entry *e, uint64_t max, char *buf)
{
	uint64_t n = 0, idx, looked;

	mutex_lock(&e->lock);
	idx = e->verify_at;
	mutex_unlock(&e->lock);
	for (looked = 0; n < max && looked <= e->n_segments; looked++) {
		struct cache_segment *s;

		if (segment_hold(e, idx, false, &s) < 0)
			break;
		if (s) {
			n += verify_segment(e, s, max - n, buf);
			segment_release(e, s);
		}
		if (n < max)
			idx = (idx + 1) % e->n_segments;
	}
	mutex_lock(&e->lock);
	e->verify_at = idx;
	mutex_unlock(&e->lock);
	return n;
}

uint64_t cache_entry_verify(struct cache_entry *e, uint64_t max)
{
	uint64_t n = 0;
	char *buf;

	if (entry_enter(e, ENTRY_LOOK) < 0)
		return 0;
	buf = malloc((size_t)VERIFY_PAGES * CACHE_PAGE);
	/* Nothing could be trusted of what others may drop meanwhile, or the disk may not have. */
	if (buf && entry_hold_pages(e) == 0 && entry_sync(e) == 0)
		n = verify_entered(e, max, buf);
	free(buf);
	entry_leave(e);
	return n;
}
