/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which changes get a joint. The usual plan tells where bytes would be fetched only to fill a part; a joint takes the place of
 * such a group where enough of the base is before it. Then the object is planned again as if joints had changed as a whole,
 * and where the planner uploads, it is cut at their borders. A joint that leaves less than a part beside it is given up, and
 * all is done again without. Pure functions, any thread.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "s3/s3_assemble.h"

/* -- finding them ----------------------------------------------------------------------------- */

/* What is uploaded between two copies, and the changes in it: there is one at least. */
struct group {
	uint64_t off;
	uint64_t end;
	uint64_t at;     /* where the first change begins */
	uint64_t to;     /* where the last one ends */
	uint64_t before; /* where the one before this group ends */
};

static uint64_t lacks(const struct s3_joints_task *t, uint64_t off, uint64_t end)
{
	if (off >= end)
		return 0;
	return t->lacks ? t->lacks(t->arg, off, end - off) : end - off;
}

static void joint_try(struct s3_joints *j, const struct s3_joints_task *t, const struct group *g)
{
	uint64_t min = t->l->min, room = g->at - g->before;
	uint64_t saved = lacks(t, g->off, g->at) + lacks(t, g->to, g->end);
	struct s3_joint v = { .at = g->at, .end = g->to };

	/* The end of the object may be short as it is; and all that a joint copies has to be the base's. */
	if (j->n == S3_JOINTS_MAX || g->to == t->size || room < min || saved < min / 5)
		return;
	v.off = room >= 2 * min ? g->at - min : g->before;
	if (v.end - v.off <= t->l->max)
		j->v[j->n++] = v;
}

/* The first part from @i on that is (not) uploaded. */
static unsigned skip(const struct s3_plan *p, unsigned i, bool copy)
{
	while (i < p->n && p->v[i].copy == copy)
		i++;
	return i;
}

static void joints_find(struct s3_joints *j, const struct s3_joints_task *t,
			const struct s3_plan *usual)
{
	uint64_t before = 0;
	unsigned c = 0;

	j->n = 0;
	for (unsigned i = skip(usual, 0, true), e; i < usual->n; i = skip(usual, e, true)) {
		struct group g = { .off = usual->v[i].off, .before = before };

		e = skip(usual, i, false);
		g.end = usual->v[e - 1].off + usual->v[e - 1].len;
		g.at = g.to = g.end;
		for (; c < t->n_changed && t->changed[c].off < g.end; c++) {
			g.at = MIN(g.at, t->changed[c].off);
			g.to = t->changed[c].off + t->changed[c].len;
		}
		if (g.at < g.to)
			joint_try(j, t, &g);
		before = MAX(before, g.to);
	}
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

int s3_joints_plan(struct s3_plan *out, struct s3_joints *j, const struct s3_joints_task *t,
		   const struct s3_plan *usual)
{
	unsigned bad = 0;
	int r = 0;

	*out = (struct s3_plan){ 0 };
	joints_find(j, t, usual);
	while (j->n > 0) {
		r = plan_try(out, t, j, &bad);
		if (r == 0 && bad == j->n)
			break;
		s3_plan_clear(out);
		if (r < 0)
			bad = 0;
		memmove(&j->v[bad], &j->v[bad + 1], (j->n - bad - 1) * sizeof *j->v);
		j->n--;
		if (r == -ENOMEM)
			j->n = 0;
	}
	if (j->n > 0 &&
	    (out->n > t->l->parts || fetches(t, out, j) + t->l->min / 5 > fetches(t, usual, j))) {
		s3_plan_clear(out);
		j->n = 0;
	}
	return r == -ENOMEM ? r : 0;
}
