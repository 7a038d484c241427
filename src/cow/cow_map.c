/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the contents of one version of a file are: extents of a file of data, zeros, the origin's below. Pure but for the
 * life of a map, which is counted; one that is superseded lives until nobody reads by it any more, and the space that only it
 * had is then free.
 */
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "cow/cow_private.h"

#define PAGE_MASK (VMOFS_PAGE_SIZE - 1)

bool cow_extent_join(struct cow_extent *e, const struct cow_extent *next)
{
	bool zeros = e->at == COW_ZEROS;

	if (e->off + e->len != next->off || zeros != (next->at == COW_ZEROS) ||
	    (!zeros && e->at + e->len != next->at))
		return false;
	e->len += next->len;
	return true;
}

/* ---- overlaying ---- */

struct out {
	struct cow_extent *e;
	uint64_t n;
};

static void put(struct out *o, struct cow_extent e)
{
	if (e.len && !(o->n && cow_extent_join(&o->e[o->n - 1], &e)))
		o->e[o->n++] = e;
}

/* The part [from, to) of @e. */
static struct cow_extent part(const struct cow_extent *e, uint64_t from, uint64_t to)
{
	struct cow_extent p = { MAX(from, e->off), 0, e->at };
	uint64_t end = MIN(to, e->off + e->len);

	p.len = end > p.off ? end - p.off : 0;
	if (p.at != COW_ZEROS)
		p.at += p.off - e->off;
	return p;
}

uint64_t cow_map_overlay(const struct cow_extent *old, uint64_t n_old, const struct cow_extent *now,
			 uint64_t n_now, uint64_t size, struct cow_extent *out)
{
	struct out o = { out, 0 };
	uint64_t at = 0, i = 0;

	/* What is old in each gap between the new ones, and then the new one. */
	for (uint64_t k = 0; k <= n_now; k++) {
		uint64_t to = k < n_now ? now[k].off : size;

		for (; i < n_old && old[i].off < to; i++) {
			put(&o, part(&old[i], at, MIN(to, size)));
			if (old[i].off + old[i].len > to)
				break;
		}
		if (k == n_now)
			break;
		put(&o, part(&now[k], 0, size));
		/* The end of a file that has grown since was in the middle of a page. */
		at = (now[k].off + now[k].len + PAGE_MASK) & ~PAGE_MASK;
	}
	return o.n;
}

/* ---- looking ---- */

static const struct cow_extent *first_behind(const struct cow_map *m, uint64_t off)
{
	uint64_t lo = 0, hi = m->n;

	while (lo < hi) {
		uint64_t mid = lo + (hi - lo) / 2;

		if (m->e[mid].off + m->e[mid].len <= off)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < m->n ? &m->e[lo] : NULL;
}

/* The base ends within a page only where the file ends there too: else that page is ours. */
static uint64_t below_end(const struct cow_map *m)
{
	return m->kept == m->size ? m->kept : m->kept & ~PAGE_MASK;
}

enum cow_where cow_map_find(const struct cow_map *m, uint64_t off, uint64_t *end, uint64_t *at)
{
	const struct cow_extent *e = first_behind(m, off);

	*end = m->size;
	if (e && e->off <= off) {
		*end = e->off + e->len;
		*at = e->at == COW_ZEROS ? 0 : e->at + (off - e->off);
		return e->at == COW_ZEROS ? COW_NOWHERE : COW_HERE;
	}
	if (e)
		*end = e->off;
	if (off >= below_end(m))
		return COW_NOWHERE;
	*end = MIN(*end, below_end(m));
	return COW_BELOW;
}

/* ---- life ---- */

struct cow_map *cow_map_new(struct cow *c, struct cow_data *data, struct cow_base *base,
			    uint64_t size, uint64_t kept, const struct cow_map *old,
			    const struct cow_extent *now, uint64_t n_now)
{
	uint64_t n_old = old ? old->n : 0;
	struct cow_map *m, *fit;

	m = calloc(1, sizeof *m + (size_t)(2 * n_now + n_old) * sizeof m->e[0]);
	if (!m)
		return NULL;
	m->n = cow_map_overlay(old ? old->e : NULL, n_old, now, n_now, size, m->e);
	fit = realloc(m, sizeof *m + (size_t)m->n * sizeof m->e[0]);
	m = fit ? fit : m;
	m->refs = 1;
	m->c = c;
	m->size = size;
	m->kept = base ? kept : 0;
	m->base = base ? cow_base_get(base) : NULL;
	vmofs_list_init(&m->link);
	vmofs_list_init(&m->dead);
	mutex_lock(&c->lock);
	if (data) {
		m->data = data;
		data->refs++;
		vmofs_list_add(&data->maps, &m->link);
	}
	mutex_unlock(&c->lock);
	return m;
}

struct cow_map *cow_map_get_locked(struct cow_map *m)
{
	m->refs++;
	return m;
}
