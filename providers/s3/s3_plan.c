/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The planner. The object is a row of runs, changed and clean in turns. A clean run may be copied (all of it or what its
 * neighbours leave of it) or uploaded too; what lies between two copied runs is one group of uploaded bytes. A group shorter than the
 * smallest part takes what it lacks from the copied runs beside it, which must stay as long as a part has to be; the last part
 * alone may be short. Which runs are copied is found by dynamic programming over them:
 *
 * - A clean run shorter than a part cannot be copied, unless it is the last.
 * - A group never swallows more than two others (three, with the last): a copy of the middle one would save it, and leaves
 *   both halves long enough. So each run is reached from few others.
 * - How much of a run the group before it has taken decides what the group behind can take: the best few
 *   ways are kept that are cheaper or have taken less than each other.
 *
 * Where the parts become too many, the same again with a larger smallest part. Pure functions, any thread.
 */
#include "s3/s3_plan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"

#define SWALLOWED 3
#define WAYS      4

const struct s3_limits s3_limits = {
	.min = MIB(5),
	.max = GIB(5),
	.part = MIB(8),
	.copy = MIB(512),
	.parts = 10000,
	.size = GIB(5) << 10,
};

/* A clean run that may be copied. */
struct run {
	uint64_t off;
	uint64_t len;
	bool last; /* it ends the object */
};

/* One way to a copied run. */
struct way {
	uint64_t cost;  /* bytes uploaded before it */
	uint64_t taken; /* of this run, by the group before it */
	uint64_t back;  /* of the run that is copied before it, by the same group */
	int from;       /* -1: there is none */
	int from_way;
};

struct planner {
	const struct s3_limits *l;
	uint64_t size;
	uint64_t min; /* at least the limits' */
	struct run *runs;
	unsigned n;
	struct way (*ways)[WAYS]; /* of each run, and one more for the end */
	unsigned *nways;
};

/* -- runs ------------------------------------------------------------------------------------- */

static void run_add(struct planner *p, uint64_t off, uint64_t end)
{
	if (end > off && (end - off >= p->min || end == p->size))
		p->runs[p->n++] = (struct run){ off, end - off, end == p->size };
}

static int runs_find(struct planner *p, uint64_t base_size, const struct vmofs_changed *c,
		     unsigned n)
{
	uint64_t at = 0, limit = MIN(p->size, base_size);

	p->n = 0;
	for (unsigned i = 0; i < n; i++) {
		if (c[i].len == 0 || c[i].off < at || c[i].off >= p->size ||
		    c[i].len > p->size - c[i].off)
			return -EINVAL;
		run_add(p, at, MIN(c[i].off, limit));
		at = c[i].off + c[i].len;
	}
	run_add(p, at, limit);
	return 0;
}

/* -- ways ------------------------------------------------------------------------------------- */

static void way_add(struct planner *p, unsigned j, const struct way *w)
{
	struct way *v = p->ways[j];
	unsigned n = 0, worst = 0;

	for (unsigned i = 0; i < p->nways[j]; i++)
		if (v[i].cost <= w->cost && v[i].taken <= w->taken)
			return;
	for (unsigned i = 0; i < p->nways[j]; i++)
		if (v[i].cost < w->cost || v[i].taken < w->taken)
			v[n++] = v[i];
	if (n == WAYS) {
		for (unsigned i = 1; i < n; i++)
			if (v[i].cost > v[worst].cost)
				worst = i;
		v[worst] = *w;
	} else {
		v[n++] = *w;
	}
	p->nways[j] = n;
}

/* What groups may take of a run: the copy must stay a part. */
static uint64_t spare(const struct planner *p, const struct run *r)
{
	return r->last ? r->len - 1 : r->len - p->min;
}

/* From the copied run @i (-1: the beginning) by its @k-th way to the next one, @j (p->n: the end). */
static void way_try(struct planner *p, int i, unsigned k, unsigned j)
{
	const struct way *prev = i < 0 ? NULL : &p->ways[i][k];
	uint64_t begin = i < 0 ? 0 : p->runs[i].off + p->runs[i].len;
	uint64_t end = j == p->n ? p->size : p->runs[j].off;
	uint64_t lacks =
		end == begin || j == p->n || end - begin >= p->min ? 0 : p->min - (end - begin);
	struct way w = { .from = i, .from_way = (int)k };

	if (prev)
		w.back = MIN(lacks, spare(p, &p->runs[i]) - prev->taken);
	w.taken = lacks - w.back;
	if (w.taken > 0 && w.taken > spare(p, &p->runs[j]))
		return;
	w.cost = (prev ? prev->cost : 0) + end - begin + lacks;
	way_add(p, j, &w);
}

static void ways_find(struct planner *p)
{
	memset(p->nways, 0, (p->n + 1) * sizeof *p->nways);
	for (int i = -1; i < (int)p->n; i++) {
		unsigned nways = i < 0 ? 1 : p->nways[i];

		for (unsigned k = 0; k < nways; k++)
			for (unsigned j = (unsigned)(i + 1);
			     j <= p->n && j <= (unsigned)(i + 1) + SWALLOWED; j++)
				way_try(p, i, k, j);
	}
}

/* -- parts ------------------------------------------------------------------------------------ */

int s3_plan_part(struct s3_plan *out, const struct s3_part *p)
{
	if (out->n == out->cap) {
		unsigned cap = out->cap ? 2 * out->cap : 64;
		struct s3_part *v = realloc(out->v, cap * sizeof *v);

		if (!v)
			return -ENOMEM;
		out->v = v;
		out->cap = cap;
	}
	out->v[out->n++] = *p;
	*(p->copy ? &out->copied : &out->uploaded) += p->len;
	return 0;
}

static int part_add(struct s3_plan *out, uint64_t off, uint64_t len, bool copy)
{
	const struct s3_part p = { off, len, copy, 0 };

	return s3_plan_part(out, &p);
}

int s3_plan_add(struct s3_plan *out, const struct s3_stretch *s, uint64_t min, uint64_t usual)
{
	uint64_t off = s->off, len = s->end - off, n = (len + usual - 1) / usual;
	int r = 0;

	if (s->last) {
		for (; off < s->end && r == 0; off += MIN(usual, s->end - off))
			r = part_add(out, off, MIN(usual, s->end - off), s->copy);
		return r;
	}
	n = MAX(MIN(n, len / min), 1);
	for (uint64_t i = 0; i < n && r == 0; i++) {
		uint64_t a = off + len / n * i + MIN(i, len % n);
		uint64_t b = off + len / n * (i + 1) + MIN(i + 1, len % n);

		r = part_add(out, a, b - a, s->copy);
	}
	return r;
}

static int parts_add(struct s3_plan *out, const struct planner *p, uint64_t off, uint64_t end,
		     uint64_t usual, bool copy)
{
	const struct s3_stretch s = { off, end, copy, end == p->size };

	return s3_plan_add(out, &s, p->min, usual);
}

struct region {
	uint64_t off;
	uint64_t end;
};

/* The copied regions, in order; the number of them. */
static unsigned regions_find(const struct planner *p, struct region *v)
{
	const struct way *w = &p->ways[p->n][0];
	unsigned n = 0;

	for (unsigned i = 1; i < p->nways[p->n]; i++)
		w = p->ways[p->n][i].cost < w->cost ? &p->ways[p->n][i] : w;
	for (; w->from >= 0; n++) {
		const struct run *r = &p->runs[w->from];
		const struct way *own = &p->ways[w->from][w->from_way];

		v[n] = (struct region){ r->off + own->taken, r->off + r->len - w->back };
		w = own;
	}
	for (unsigned i = 0; i < n / 2; i++) {
		struct region t = v[i];

		v[i] = v[n - 1 - i];
		v[n - 1 - i] = t;
	}
	return n;
}

static int plan_emit(struct s3_plan *out, const struct planner *p, const struct region *v,
		     unsigned n)
{
	uint64_t part = MIN(MAX(p->l->part, p->min), p->l->max);
	uint64_t copy = MIN(MAX(p->l->copy, 2 * p->min), p->l->max);
	uint64_t at = 0;
	int r = 0;

	out->n = 0;
	out->uploaded = out->copied = 0;
	for (unsigned i = 0; i <= n && r == 0; i++) {
		uint64_t end = i < n ? v[i].off : p->size;

		if (end > at)
			r = parts_add(out, p, at, end, part, false);
		if (i < n && r == 0) {
			r = parts_add(out, p, v[i].off, v[i].end, copy, true);
			at = v[i].end;
		}
	}
	return r;
}

static int plan_once(struct s3_plan *out, struct planner *p, uint64_t base_size,
		     const struct vmofs_changed *changed, unsigned n)
{
	cleanup(mem_freep) struct region *v = NULL;
	int r = runs_find(p, base_size, changed, n);

	if (r < 0)
		return r;
	v = calloc(p->n + 1, sizeof *v);
	if (!v)
		return -ENOMEM;
	ways_find(p);
	return plan_emit(out, p, v, regions_find(p, v));
}

int s3_plan_make(struct s3_plan *out, const struct s3_limits *l, uint64_t size, uint64_t base_size,
		 const struct vmofs_changed *changed, unsigned n_changed)
{
	struct planner p = { .l = l, .size = size, .min = l->min };
	int r = 0;

	*out = (struct s3_plan){ 0 };
	if (size == 0 || size > l->size)
		return size ? -EFBIG : -EINVAL;
	p.runs = calloc(n_changed + 1, sizeof *p.runs);
	p.ways = calloc(n_changed + 2, sizeof *p.ways);
	p.nways = calloc(n_changed + 2, sizeof *p.nways);
	if (!p.runs || !p.ways || !p.nways)
		r = -ENOMEM;
	for (; r == 0; p.min *= 2) {
		r = plan_once(out, &p, base_size, changed, n_changed);
		if (r < 0 || out->n <= l->parts)
			break;
		if (p.min > l->max / 4)
			r = -EFBIG;
	}
	free(p.runs);
	free(p.ways);
	free(p.nways);
	return r;
}

void s3_plan_clear(struct s3_plan *p)
{
	free(p->v);
	*p = (struct s3_plan){ 0 };
}
