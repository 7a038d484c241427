/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Room made in a cache directory: what was used longest ago goes, in runs of segments. One cleaner at a time for
 * the whole directory (flock), and nobody waits to be it; it is told nothing by others: it counts.
 *
 * Segments that were read again later than they were written are protected: a scan of everything, once, only drives out
 * what nobody has come back to. At most 3/4 of the contents are protected, the oldest beyond that are not.
 * Ages are kept in a histogram, so that a round needs two walks after the one that counts, and no memory for each object.
 * Its buckets are wide on purpose: among what is about as old, objects go in the order of their names, which is as good
 * as none, and an object goes from its end. Strictly by age, whoever reads more than the cache holds again and again
 * would always find that what comes next has just gone.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>

#include "base/macros.h"
#include "store/cache_clean.h"
#include "store/cache_scan.h"

enum { AGES = 64 };                    /* as cache_age_bucket() */
enum { RUN_MAX = 32, DROP_MAX = 256 }; /* segments that go by one system call, and in one go */

struct plan {
	struct cache *c;
	bool gentle;
	uint64_t now_sec;
	uint64_t bytes, entries; /* of the directory */
	uint64_t fresh[AGES];    /* bytes of segments by age */
	uint64_t kept[AGES];     /* of protected ones */
	unsigned demoted;        /* older protected ones are as others, and of this age */
	uint64_t spill;          /* as many bytes */
	bool deep;               /* the others all go; `edge` is of protected ones */
	unsigned edge;           /* older ones go, and of this age as many as `margin` says */
	uint64_t margin;         /* bytes */
	uint64_t beside; /* of the entry that is looked at: bytes that go with its segment */
	uint64_t need;   /* bytes still to be freed */
	struct cache_work *work;
};

uint64_t cache_high(const struct cache *c)
{
	return c->limit - c->limit / 32;
}

static uint64_t low(const struct cache *c)
{
	return c->limit - c->limit / 16;
}

/* -- the state of the disk -------------------------------------------------------------------- */

uint64_t cache_disk_free(struct cache *c)
{
	struct statvfs st;

	if (c->io->fstatvfs(c->dir_fd, &st) < 0)
		return UINT64_MAX;
	return (uint64_t)st.f_bavail * st.f_frsize;
}

static bool count_one(void *arg, const char *name, bool has_index, bool has_data)
{
	struct plan *p = arg;

	(void)has_index;
	(void)has_data;
	p->bytes += cache_disk_of(p->c, name);
	p->entries++;
	return true;
}

/* How much the directory has. */
static int plan_count(struct plan *p)
{
	struct cache_walk w = { .c = p->c, .gentle = p->gentle, .fn = count_one, .arg = p };
	int r = cache_walk(&w);

	if (r < 0 || atomic_load(&p->c->stopping))
		return r < 0 ? r : -EINTR;
	atomic_store(&p->c->bytes, p->bytes);
	atomic_store(&p->c->counted, p->bytes);
	atomic_store(&p->c->entries, p->entries);
	atomic_store(&p->c->free_seen, cache_disk_free(p->c));
	return 0;
}

/* What limit and floor ask for, above @at bytes. */
static uint64_t need_of(struct cache *c, uint64_t at)
{
	uint64_t bytes = atomic_load(&c->bytes), spare = cache_disk_free(c), need = 0;

	if (c->limit && bytes > at)
		need = bytes - low(c);
	/* A little more than the floor, or each page would be a round. */
	if (spare < c->floor)
		need = MAX(need, c->floor - spare + MIN(c->floor / 8, bytes / 16));
	return need;
}

/* -- ages ------------------------------------------------------------------------------------- */

unsigned cache_age_bucket(uint64_t age)
{
	unsigned top;

	if (age < 64)
		return 0;
	if (age > UINT32_MAX)
		age = UINT32_MAX;
	top = 63 - (unsigned)__builtin_clzll(age);
	return 2 * (top - 6) + (unsigned)(age >> (top - 1) & 1) + 1;
}

static unsigned age_of(const struct plan *p, uint64_t used_sec)
{
	return cache_age_bucket(used_sec < p->now_sec ? p->now_sec - used_sec : 0);
}

/* The index of an object of one segment goes with it. */
static uint64_t beside_of(const struct cache_look *look)
{
	return cache_segments_of(look->header.at.size) == 1 ? look->index_disk : 0;
}

static bool census_record(void *arg, uint64_t idx, int r, const struct cache_record *record)
{
	struct plan *p = arg;
	uint64_t bytes =
		(uint64_t)bits_count(record->present, CACHE_SEG_WORDS) * CACHE_PAGE + p->beside;

	(void)idx;
	if (r == 0)
		(record->hits ? p->kept : p->fresh)[age_of(p, record->used_sec)] += bytes;
	return true;
}

/* Of an entry that goes whole or not at all: as young as the youngest of its segments. */
struct lent_sum {
	uint64_t pages;
	uint64_t used_sec;
	uint32_t hits;
};

static bool lent_record(void *arg, uint64_t idx, int r, const struct cache_record *record)
{
	struct lent_sum *sum = arg;

	(void)idx;
	if (r < 0)
		return true;
	sum->pages += bits_count(record->present, CACHE_SEG_WORDS);
	sum->used_sec = MAX(sum->used_sec, record->used_sec);
	sum->hits = MAX(sum->hits, record->hits);
	return true;
}

static struct lent_sum lent_sum_of(struct cache *c, const struct cache_look *look)
{
	struct lent_sum sum = { .pages = 0 };

	cache_look_records(c, look, lent_record, &sum);
	return sum;
}

static void census_lent(struct plan *p, const struct cache_look *look)
{
	struct lent_sum sum = lent_sum_of(p->c, look);

	(sum.hits ? p->kept : p->fresh)[age_of(p, sum.used_sec)] += sum.pages * CACHE_PAGE;
}

static bool census_one(void *arg, const char *name, bool has_index, bool has_data)
{
	struct plan *p = arg;
	struct cache_look look;

	(void)has_data;
	if (has_index && cache_look_begin(p->c, name, &look)) {
		p->beside = beside_of(&look);
		if (look.lent && !p->beside)
			census_lent(p, &look);
		else
			cache_look_records(p->c, &look, census_record, p);
		cache_look_end(p->c, &look);
	} else if (has_index) {
		cache_look_end(p->c, &look);
	}
	return true;
}

/* The youngest of the buckets that have to be touched for @need bytes, the oldest first. False: all have less, and go. */
static bool plan_edge(struct plan *p, const uint64_t age[AGES], uint64_t need)
{
	for (p->edge = AGES; need && p->edge > 0;) {
		p->margin = need;
		p->edge--;
		need -= MIN(need, age[p->edge]);
	}
	return need == 0;
}

/* The oldest @excess bytes of what is protected are not. */
static void plan_demote(struct plan *p, uint64_t excess)
{
	while (excess && p->demoted-- > 0) {
		p->spill = MIN(excess, p->kept[p->demoted]);
		excess -= p->spill;
	}
}

/* From which age on what goes. */
static void plan_ages(struct plan *p)
{
	uint64_t room = (p->c->limit ? p->c->limit : p->bytes) / 4 * 3;
	uint64_t all[AGES], rest[AGES], kept = 0, others = 0;

	for (unsigned i = 0; i < AGES; i++)
		kept += p->kept[i];
	p->demoted = AGES;
	plan_demote(p, kept > room ? kept - room : 0);
	for (unsigned i = 0; i < AGES; i++) {
		uint64_t spills = i > p->demoted ? p->kept[i] : i == p->demoted ? p->spill : 0;

		all[i] = p->fresh[i] + spills;
		rest[i] = p->kept[i] - spills;
		others += all[i];
	}
	p->deep = !plan_edge(p, all, p->need);
	if (p->deep)
		plan_edge(p, rest, p->need - others);
}

static bool is_due(const struct plan *p, uint32_t hits, uint64_t used_sec)
{
	unsigned age = age_of(p, used_sec);
	bool other = !hits || age > p->demoted || (age == p->demoted && p->spill);

	if (other == p->deep)
		return p->deep;
	return age > p->edge || (age == p->edge && p->margin);
}

/* Something that is due goes. */
static void bytes_go(struct plan *p, uint32_t hits, uint64_t used_sec, uint64_t bytes)
{
	unsigned age = age_of(p, used_sec);

	if (age == p->edge)
		p->margin -= MIN(p->margin, bytes);
	if (hits && age == p->demoted)
		p->spill -= MIN(p->spill, bytes);
}

static void due_goes(struct plan *p, const struct cache_segment *s)
{
	bytes_go(p, s->hits, s->used_sec, (uint64_t)s->n_present * CACHE_PAGE + p->beside);
}

/* -- dropping pages --------------------------------------------------------------------------- */

struct run {
	struct cache_segment *seg[RUN_MAX]; /* held, side by side, the last first; no page left */
	unsigned n;
	uint64_t pages;
};

/*
 * The pages of @s are gone from memory and nobody may write new ones; false: it is in use, or not due after all.
 * One without pages may have some on the disk that nobody knows of any more.
 */
static bool segment_empty(struct cache_entry *e, struct cache_segment *s, struct plan *p,
			  uint64_t *pages) EXCLUDES(e->lock)
{
	bool gone;

	mutex_lock(&e->lock);
	gone = s->users == 1 && (!s->n_present || is_due(p, s->hits, s->used_sec));
	if (gone) {
		segment_dirty(e, s);
		*pages += s->n_present;
		due_goes(p, s);
		for (uint32_t i = 0; i < s->n_pages; i++)
			segment_drop_page(e, s, i);
		s->hits = 0;
		s->punching = true;
	}
	mutex_unlock(&e->lock);
	return gone;
}

static void run_end(struct cache_entry *e, struct run *run) EXCLUDES(e->lock)
{
	mutex_lock(&e->lock);
	for (unsigned i = 0; i < run->n; i++) {
		run->seg[i]->punching = false;
		run->seg[i]->users--;
	}
	mutex_unlock(&e->lock);
	run->n = 0;
	run->pages = 0;
}

/* Gives the disk back what the run had. */
static void run_punch(struct cache_entry *e, struct run *run, struct plan *p) REQUIRES(e->io)
{
	uint64_t from, len;

	if (!run->n)
		return;
	from = run->seg[run->n - 1]->idx * CACHE_SEG_PAGES * CACHE_PAGE;
	len = (uint64_t)run->n * CACHE_SEG_PAGES * CACHE_PAGE;
	/* Where it fails, the pages are gone all the same, only their place is not free. */
	if (e->c->io->fallocate(e->data_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)from,
				(off_t)len) == 0) {
		uint64_t bytes = run->pages * CACHE_PAGE;

		p->need -= MIN(p->need, bytes);
		p->work->bytes += bytes;
		cache_account(e->c, -(int64_t)bytes);
	} else {
		cache_count(e->c, CACHE_WRITE_ERRORS, 1);
	}
	p->work->pages += run->pages;
	cache_count(e->c, CACHE_EVICTED, run->pages);
	run_end(e, run);
}

/* Segments that are due, as an index told. */
struct due {
	struct plan *plan;
	struct cache_entry *e;
	struct run run;
	size_t n, cap;
	uint64_t *idx; /* owned; upwards */
};

static void drop_one(struct cache_entry *e, struct due *d, uint64_t idx) REQUIRES(e->io)
{
	struct cache_segment *s;
	struct run *run = &d->run;

	if (run->n && (run->n == RUN_MAX || run->seg[run->n - 1]->idx != idx + 1))
		run_punch(e, run, d->plan);
	if (!d->plan->need || segment_hold(e, idx, true, &s) < 0)
		return;
	if (segment_empty(e, s, d->plan, &run->pages))
		run->seg[run->n++] = s;
	else
		segment_release(e, s);
}

/*
 * Contents first, then the index: after a crash in between there are pages whose checksum does not agree,
 * which is noticed, and not pages that nobody knows of, which is not.
 */
static int drop_due(struct cache_entry *e, struct due *d) REQUIRES(e->io)
{
	int r = entry_lock_pages(e);

	if (r < 0)
		return r;
	if (entry_is_lent(e)) {
		entry_unlock_pages(e);
		return -EBUSY;
	}
	for (unsigned i = 0; d->n && i < DROP_MAX; i++)
		drop_one(e, d, d->idx[--d->n]);
	run_punch(e, &d->run, d->plan);
	r = entry_flush_io(e);
	entry_unlock_pages(e);
	return r;
}

/* From the end on, with a chance for others in between. */
static void due_drop(struct due *d)
{
	int r = 0;

	while (r == 0 && d->n && d->plan->need) {
		mutex_lock(&d->e->io);
		r = drop_due(d->e, d);
		mutex_unlock(&d->e->io);
	}
	free(d->idx);
	d->idx = NULL;
	if (r == -EBUSY)
		d->plan->work->skipped++;
	else if (r < 0)
		cache_write_gave_up(d->e->c, r);
}

/* False: no memory for more. */
static bool due_add(struct due *d, uint64_t idx)
{
	if (d->n == d->cap) {
		size_t cap = d->cap ? 2 * d->cap : 64;
		uint64_t *more = realloc(d->idx, cap * sizeof *more);

		if (!more)
			return false;
		d->idx = more;
		d->cap = cap;
	}
	d->idx[d->n++] = idx;
	return true;
}

static bool due_record(void *arg, uint64_t idx, int r, const struct cache_record *record)
{
	struct due *d = arg;

	/* What a damaged record spoke of is nobody's. */
	if (r == 0 &&
	    (!is_due(d->plan, record->hits, record->used_sec) ||
	     !bits_count(record->present, CACHE_SEG_WORDS)))
		return true;
	return due_add(d, idx);
}

/* -- whole entries ---------------------------------------------------------------------------- */

/* Whether the one segment of a small object is due, as far as this process knows. */
static bool small_is_due(struct cache_entry *e, struct plan *p)
{
	struct cache_segment *s;
	bool due = true;

	if (segment_hold(e, 0, false, &s) < 0)
		return false;
	if (!s)
		return true;
	mutex_lock(&e->lock);
	due = s->users == 1 && is_due(p, s->hits, s->used_sec);
	if (due)
		due_goes(p, s);
	mutex_unlock(&e->lock);
	segment_release(e, s);
	return due;
}

static bool any_record(void *arg, uint64_t idx, int r, const struct cache_record *record)
{
	bool *any = arg;

	(void)idx;
	*any = r < 0 || bits_count(record->present, CACHE_SEG_WORDS);
	return !*any;
}

/* Nothing of it is left, neither in the index nor on its way there. */
static bool is_empty_now(struct cache_entry *e, const struct cache_look *look)
{
	bool any = false;

	mutex_lock(&e->lock);
	any = !vmofs_list_empty(&e->dirty);
	mutex_unlock(&e->lock);
	if (!any)
		cache_look_records(e->c, look, any_record, &any);
	return !any;
}

static void removed(struct plan *p, struct cache_entry *e, uint64_t pages)
{
	uint64_t freed = 0;

	if (entry_remove(e, &freed) < 0) {
		p->work->skipped++;
		return;
	}
	p->need -= MIN(p->need, freed);
	p->work->bytes += freed;
	p->work->pages += pages;
	cache_account(e->c, -(int64_t)freed);
	cache_count(e->c, CACHE_EVICTED, pages);
	if (atomic_load(&e->c->entries))
		atomic_fetch_sub(&e->c->entries, 1);
}

struct small_sum {
	const struct plan *p;
	uint64_t pages;
	bool due;
};

static bool small_record(void *arg, uint64_t idx, int r, const struct cache_record *record)
{
	struct small_sum *s = arg;

	(void)idx;
	s->due = r < 0 || is_due(s->p, record->hits, record->used_sec);
	s->pages = r < 0 ? 0 : bits_count(record->present, CACHE_SEG_WORDS);
	return false;
}

/* An object of one segment: its files go, for they are most of what it costs. */
static void evict_small(struct plan *p, struct cache_entry *e, const struct cache_look *look)
{
	/* Without a record it is what a crash left, or somebody is just filling it: then it cannot be locked. */
	struct small_sum sum = { .p = p, .due = true };
	bool due;

	p->beside = beside_of(look);
	cache_look_records(p->c, look, small_record, &sum);
	if (!sum.due || entry_enter(e, ENTRY_LOOK) < 0)
		return;
	due = small_is_due(e, p);
	entry_leave(e);
	if (due)
		removed(p, e, sum.pages);
}

/* Mappings of it see nothing of that. */
static void evict_lent(struct plan *p, struct cache_entry *e, const struct cache_look *look)
{
	struct lent_sum sum = lent_sum_of(p->c, look);

	if (!is_due(p, sum.hits, sum.used_sec) || entry_enter(e, ENTRY_LOOK) < 0)
		return;
	entry_leave(e);
	bytes_go(p, sum.hits, sum.used_sec, sum.pages * CACHE_PAGE);
	removed(p, e, sum.pages);
}

static void evict_large(struct plan *p, struct cache_entry *e, const struct cache_look *look)
{
	struct due d = { .plan = p, .e = e };
	bool empty;

	if (entry_enter(e, ENTRY_LOOK) < 0)
		return;
	cache_look_records(p->c, look, due_record, &d);
	due_drop(&d);
	empty = is_empty_now(e, look);
	entry_leave(e);
	if (empty)
		removed(p, e, 0);
}

void cache_punch_lost(struct cache_entry *e, struct cache_work *work)
{
	/* Nothing is due by its age. */
	struct plan p = {
		.c = e->c,
		.demoted = AGES,
		.edge = AGES,
		.need = UINT64_MAX,
		.work = work,
	};
	struct due d = { .plan = &p, .e = e };
	struct stat before = { .st_blocks = 0 }, after = { .st_blocks = 0 };
	off_t off = 0;
	bool on = e->c->io->fstat(e->data_fd, &before) == 0;

	while (on && (off = e->c->io->seek_data(e->data_fd, off)) >= 0) {
		uint64_t idx = (uint64_t)off / CACHE_PAGE / CACHE_SEG_PAGES;

		on = idx < e->n_segments && due_add(&d, idx);
		off = (off_t)((idx + 1) * CACHE_SEG_PAGES * CACHE_PAGE);
	}
	due_drop(&d);
	if (e->c->io->fstat(e->data_fd, &after) == 0 && after.st_blocks < before.st_blocks) {
		uint64_t bytes = (uint64_t)(before.st_blocks - after.st_blocks) * 512;

		work->bytes += bytes;
		cache_account(e->c, -(int64_t)bytes);
	}
}

int cache_entry_of(struct cache *c, const struct cache_look *look, struct cache_entry **out)
{
	struct cache_key key = {
		.url = look->header.url,
		.validator = look->header.validator,
		.size = look->header.at.size,
		.identity = cache_header_identity(&look->header),
	};

	return cache_entry_get(c, &key, out);
}

static bool evict_one(void *arg, const char *name, bool has_index, bool has_data)
{
	struct plan *p = arg;
	struct cache_look look;
	struct cache_entry *e;

	(void)has_data;
	if (!p->need || !has_index)
		return p->need > 0;
	p->work->entries++;
	p->beside = 0;
	if (cache_look_begin(p->c, name, &look) && cache_look_is_named(&look, name) &&
	    cache_entry_of(p->c, &look, &e) == 0) {
		if (e->n_segments == 1)
			evict_small(p, e, &look);
		else if (look.lent)
			evict_lent(p, e, &look);
		else
			evict_large(p, e, &look);
		cache_entry_close(e);
	}
	cache_look_end(p->c, &look);
	return p->need > 0;
}

/* -- rounds ----------------------------------------------------------------------------------- */

static int plan_evict(struct plan *p)
{
	struct cache_walk census = { .c = p->c, .gentle = p->gentle, .fn = census_one, .arg = p };
	struct cache_walk evict = { .c = p->c, .gentle = p->gentle, .fn = evict_one, .arg = p };
	int r;

	/* What this process knows better than its indexes. */
	cache_flush_open(p->c);
	r = cache_walk(&census);
	if (r < 0)
		return r;
	plan_ages(p);
	r = cache_walk(&evict);
	atomic_store(&p->c->free_seen, cache_disk_free(p->c));
	atomic_store(&p->c->counted, atomic_load(&p->c->bytes));
	return r;
}

/* Only one cleaner at a time. */
static int clean_lock(struct cache *c)
{
	int fd = c->io->openat(c->dir_fd, "lock", O_RDWR | O_CREAT, 0600);
	int r;

	if (fd < 0)
		return -errno;
	if (c->io->flock(fd, LOCK_EX | LOCK_NB) == 0)
		return fd;
	r = errno == EWOULDBLOCK ? -EBUSY : -errno;
	c->io->close(fd);
	return r;
}

int cache_clean(struct cache *c, const struct cache_clean *how, struct cache_work *out)
{
	struct cache_work work = { .entries = 0 };
	struct plan p = { .c = c, .gentle = how->gentle, .work = out ? out : &work };
	int fd = clean_lock(c), r;

	if (fd < 0)
		return fd;
	p.now_sec = c->io->now_sec();
	r = plan_count(&p);
	p.need = MAX(need_of(c, how->above), how->extra);
	if (r == 0 && p.need)
		r = plan_evict(&p);
	c->io->close(fd);
	return r;
}

int cache_make_room(struct cache *c)
{
	struct cache_work work = { .entries = 0 };
	struct cache_clean how = { .above = UINT64_MAX };
	int r;

	how.extra = MAX(atomic_load(&c->bytes) / 32, MIB(4));
	r = cache_clean(c, &how, &work);
	if (r == -EBUSY)
		return r;
	return work.bytes > 0;
}
