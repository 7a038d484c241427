/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which changes get a joint. Changes with less than a part between them go up together, with what is between them. Where the
 * usual plan would fetch more to fill a part with, and enough of the base is before them, they get a joint. Then the object
 * is planned again as if joints had changed as a whole, and where that plan uploads, it is cut at their borders. A joint that leaves
 * less than a part beside it is given up, and all is done again without. Pure functions, any thread.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "s3/s3_assemble.h"

/* -- what is fetched -------------------------------------------------------------------------- */

static uint64_t lacks(const struct s3_joints_task *t, uint64_t off, uint64_t end)
{
	if (off >= end)
		return 0;
	return t->lacks ? t->lacks(t->arg, off, end - off) : end - off;
}

/* Bytes of [off, end) that have to be fetched to be sent; *c: the first change that may be in it. */
static uint64_t fetches_in(const struct s3_joints_task *t, uint64_t off, uint64_t end, unsigned *c)
{
	uint64_t n = 0;

	while (*c < t->n_changed && t->changed[*c].off < end) {
		const struct vmofs_changed *v = &t->changed[*c];

		n += lacks(t, off, v->off);
		off = MAX(off, v->off + v->len);
		if (off > end)
			return n;
		(*c)++;
	}
	return n + lacks(t, off, end);
}

/* Of a plan; what joints upload may have gaps too. */
static uint64_t fetches(const struct s3_joints_task *t, const struct s3_plan *p,
			const struct s3_joints *j)
{
	uint64_t n = 0;
	unsigned c = 0;

	for (unsigned i = 0; i < p->n; i++) {
		const struct s3_part *v = &p->v[i];

		if (v->from)
			n += fetches_in(t, j->v[v->from - 1].at, v->off + v->len, &c);
		else if (!v->copy)
			n += fetches_in(t, v->off, v->off + v->len, &c);
	}
	return n;
}

/* -- finding them ----------------------------------------------------------------------------- */

/* Changes with less than a part between them, and what has not changed on both sides. */
struct cluster {
	uint64_t before;
	uint64_t off;
	uint64_t end;
	uint64_t behind;
};

/* From change *c on, which is moved to the next cluster's; @before: where the last one ends. */
static struct cluster cluster_next(const struct s3_joints_task *t, uint64_t before, unsigned *c)
{
	const struct vmofs_changed *v = t->changed;
	struct cluster k = { before, v[*c].off, v[*c].off + v[*c].len, t->size };

	for ((*c)++; *c < t->n_changed; (*c)++) {
		if (v[*c].off - k.end >= t->l->min) {
			k.behind = v[*c].off;
			break;
		}
		k.end = v[*c].off + v[*c].len;
	}
	return k;
}

/* What the usual plan fetches beside the cluster; *i: the first of its parts that may be there. */
static uint64_t fetched_beside(const struct s3_joints_task *t, const struct s3_plan *usual,
			       const struct cluster *k, unsigned *i)
{
	uint64_t n = 0;

	while (*i < usual->n && usual->v[*i].off + usual->v[*i].len <= k->before)
		(*i)++;
	for (unsigned p = *i; p < usual->n && usual->v[p].off < k->behind; p++) {
		const struct s3_part *v = &usual->v[p];

		if (v->copy)
			continue;
		n += lacks(t, MAX(v->off, k->before), MIN(v->off + v->len, k->off));
		n += lacks(t, MAX(v->off, k->end), MIN(v->off + v->len, k->behind));
	}
	return n;
}

static void joints_find(struct s3_joints *j, const struct s3_joints_task *t,
			const struct s3_plan *usual)
{
	uint64_t min = t->l->min, before = 0;
	unsigned c = 0, i = 0;

	j->n = 0;
	while (c < t->n_changed && j->n < S3_JOINTS_MAX) {
		struct cluster k = cluster_next(t, before, &c);
		uint64_t room = k.off - before;

		before = k.end;
		/* The end of the object may be short as it is; and all that a joint copies has to be the base's. */
		if (k.end == t->size || room < min || k.end - k.off >= min ||
		    fetched_beside(t, usual, &k, &i) < min / 5)
			continue;
		j->v[j->n++] =
			(struct s3_joint){ room >= 2 * min ? k.off - min : k.before, k.off, k.end };
	}
}

/* The first part from @i on that is (not) uploaded. */
static unsigned skip(const struct s3_plan *p, unsigned i, bool copy)
{
	while (i < p->n && p->v[i].copy == copy)
		i++;
	return i;
}

/* -- planning with them ----------------------------------------------------------------------- */

/* The changes, and joints in place of theirs; how many. @out has room for as many as there are changes. */
static unsigned changes_with(struct vmofs_changed *out, const struct s3_joints_task *t,
			     const struct s3_joints *j)
{
	unsigned n = 0, k = 0;

	for (unsigned c = 0; c < t->n_changed; c++) {
		const struct vmofs_changed *v = &t->changed[c];

		while (k < j->n && v->off >= j->v[k].end)
			k++;
		if (k == j->n || v->off < j->v[k].at)
			out[n++] = *v;
		else if (v->off == j->v[k].at)
			out[n++] = (struct vmofs_changed){ j->v[k].off, j->v[k].end - j->v[k].off };
	}
	return n;
}

struct cut {
	const struct s3_joints_task *t;
	const struct s3_joints *j;
	struct s3_plan *out;
	unsigned next; /* joint */
	unsigned bad;  /* the joint that has to go; j->n: none */
};

/* Between joints; @beside: the one that is to blame if this is too short. */
static int cut_stretch(struct cut *c, uint64_t off, uint64_t end, unsigned beside)
{
	const struct s3_limits *l = c->t->l;
	struct s3_stretch s = { off, end, false, end == c->t->size };

	if (off == end)
		return 0;
	if (end - off < l->min && !s.last) {
		c->bad = beside;
		return 0;
	}
	return s3_plan_add(c->out, &s, l->min, MAX(l->part, l->min));
}

/* What is uploaded in [off, end), but for joints. */
static int cut_group(struct cut *c, uint64_t off, uint64_t end)
{
	int r = 0;

	for (; r == 0 && c->next < c->j->n && c->j->v[c->next].off < end; c->next++) {
		const struct s3_joint *v = &c->j->v[c->next];
		const struct s3_part p = { v->off, v->end - v->off, true, c->next + 1 };

		r = cut_stretch(c, off, v->off, c->next);
		if (r == 0)
			r = s3_plan_part(c->out, &p);
		off = v->end;
	}
	return r < 0 ? r : cut_stretch(c, off, end, c->next ? c->next - 1 : c->j->n);
}

static int cut_all(struct cut *c, const struct s3_plan *p)
{
	int r = 0;

	for (unsigned i = 0, e; i < p->n && r == 0; i = e) {
		e = i + 1;
		if (p->v[i].copy) {
			r = s3_plan_part(c->out, &p->v[i]);
			continue;
		}
		e = skip(p, i, false);
		r = cut_group(c, p->v[i].off, p->v[e - 1].off + p->v[e - 1].len);
	}
	return r;
}

/* *bad: the joint that cannot be; j->n: all can. */
static int plan_try(struct s3_plan *out, const struct s3_joints_task *t, const struct s3_joints *j,
		    unsigned *bad)
{
	cleanup(mem_freep) struct vmofs_changed *v = calloc(t->n_changed + 1, sizeof *v);
	struct cut c = { .t = t, .j = j, .out = out, .bad = j->n };
	struct s3_plan p = { 0 };
	int r = v ? s3_plan_make(&p, t->l, t->size, t->base_size, v, changes_with(v, t, j))
		  : -ENOMEM;

	if (r == 0)
		r = cut_all(&c, &p);
	s3_plan_clear(&p);
	*bad = c.bad;
	return r;
}

/* As many of the joints as can be, and are worth it together. */
int s3_joints_plan(struct s3_plan *out, struct s3_joints *j, const struct s3_joints_task *t,
		   const struct s3_plan *usual)
{
	uint64_t worth = t->l->min / 5, was;
	unsigned bad;
	int r;

	*out = (struct s3_plan){ 0 };
	joints_find(j, t, usual);
	was = j->n > 0 ? fetches(t, usual, j) : 0;
	while (j->n > 0) {
		bad = 0;
		r = plan_try(out, t, j, &bad);
		if (r == 0 && bad == j->n && out->n <= t->l->parts &&
		    fetches(t, out, j) + j->n * worth <= was)
			break;
		bad = r < 0 || bad == j->n ? j->n - 1 : bad;
		s3_plan_clear(out);
		if (r == -ENOMEM)
			return r;
		memmove(&j->v[bad], &j->v[bad + 1], (j->n - bad - 1) * sizeof *j->v);
		j->n--;
	}
	return 0;
}
