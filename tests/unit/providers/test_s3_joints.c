/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Plans with joints, carried out on bytes: what comes of them is the base with the changes, every part is as long as the server wants it,
 * and nothing is made that saves nothing.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/macros.h"
#include "lib/prng.h"
#include "s3/s3_assemble.h"

#define TINY_MAX 240

static const struct s3_limits tiny = {
	.min = 10, .max = 60, .part = 16, .copy = 32, .parts = 1000, .size = 1 << 20
};

/* -- carrying out ----------------------------------------------------------------------------- */

/* Contents are numbers: what a byte is, and of which version. */
struct world {
	unsigned size, base;
	bool changed[TINY_MAX];
	bool here[TINY_MAX];
};

static uint64_t world_lacks(void *arg, uint64_t off, uint64_t len)
{
	const struct world *w = arg;
	uint64_t n = 0;

	for (uint64_t i = off; i < off + len; i++) {
		assert_false(w->changed[i]);
		n += !w->here[i];
	}
	return n;
}

static void check_joint(const struct world *w, const struct s3_joint *v)
{
	assert_true(v->off < v->at && v->at < v->end && v->end < w->size);
	assert_in_range(v->at - v->off, tiny.min, tiny.max);
	assert_in_range(v->end - v->off, tiny.min, tiny.max);
	assert_true(v->end - v->at < tiny.min);
	for (uint64_t i = v->off; i < v->at; i++)
		assert_true(!w->changed[i] && i < w->base);
}

/* Of the base where it may be: all else is read here. */
static void check_parts(const struct world *w, const struct s3_plan *p, const struct s3_joints *j)
{
	uint64_t at = 0;
	unsigned joints = 0;

	for (unsigned i = 0; i < p->n; i++) {
		const struct s3_part *v = &p->v[i];

		assert_int_equal(v->off, at);
		assert_in_range(v->len, i + 1 < p->n ? tiny.min : 1, tiny.max);
		if (v->from) {
			assert_int_equal(v->from, ++joints);
			assert_int_equal(v->off, j->v[v->from - 1].off);
			assert_int_equal(v->off + v->len, j->v[v->from - 1].end);
		}
		for (uint64_t b = v->off; v->copy && !v->from && b < v->off + v->len; b++)
			assert_true(!w->changed[b] && b < w->base);
		at += v->len;
	}
	assert_int_equal(at, w->size);
	assert_int_equal(joints, j->n);
}

/* What has to come from the origin to be sent. */
static uint64_t fetched(const struct world *w, const struct s3_plan *p, const struct s3_joints *j)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < p->n; i++)
		for (uint64_t b = p->v[i].off; b < p->v[i].off + p->v[i].len; b++)
			n += !p->v[i].copy && !w->changed[b] && !w->here[b];
	for (unsigned i = 0; j && i < j->n; i++)
		for (uint64_t b = j->v[i].at; b < j->v[i].end; b++)
			n += !w->changed[b] && !w->here[b];
	return n;
}

static unsigned world_make(struct world *w, struct prng *r, struct vmofs_changed *c)
{
	unsigned n = 0, at = 0;

	*w = (struct world){ .size = 1 + (unsigned)prng_below(r, TINY_MAX) };
	w->base = prng_below(r, 3) ? w->size : 1 + (unsigned)prng_below(r, TINY_MAX);
	for (unsigned i = 0; i < w->size; i++)
		w->here[i] = prng_below(r, 4) == 0 && i % 32 < 16;
	while (n < 8 && at < MIN(w->size, w->base)) {
		unsigned off = at + (unsigned)prng_below(r, 60) + (n > 0);
		unsigned len = 1 + (unsigned)prng_below(r, prng_below(r, 4) ? 3 : 15);

		if (off >= MIN(w->size, w->base))
			break;
		len = MIN(len, w->size - off);
		c[n++] = (struct vmofs_changed){ off, len };
		at = off + len;
	}
	if (w->size > w->base && n > 0 && at >= w->base)
		c[n - 1].len = w->size - c[n - 1].off;
	else if (w->size > w->base)
		c[n++] = (struct vmofs_changed){ w->base, w->size - w->base };
	for (unsigned i = 0; i < n; i++)
		memset(&w->changed[c[i].off], 1, c[i].len);
	return n;
}

static void test_random_changes(void **state UNUSED)
{
	struct prng r = { 20 };
	struct vmofs_changed c[10];
	unsigned with = 0, several = 0;

	for (unsigned i = 0; i < 60000; i++) {
		struct world w;
		struct s3_joints_task t = { .l = &tiny, .changed = c, .arg = &w };
		struct s3_plan usual, p;
		struct s3_joints j;

		t.n_changed = world_make(&w, &r, c);
		t.size = w.size;
		t.base_size = w.base;
		t.lacks = world_lacks;
		assert_int_equal(s3_plan_make(&usual, &tiny, w.size, w.base, c, t.n_changed), 0);
		assert_int_equal(s3_joints_plan(&p, &j, &t, &usual), 0);
		for (unsigned k = 0; k < j.n; k++)
			check_joint(&w, &j.v[k]);
		if (j.n > 0) {
			check_parts(&w, &p, &j);
			assert_true(fetched(&w, &p, &j) < fetched(&w, &usual, NULL));
		} else {
			assert_int_equal(p.n, 0);
		}
		with += j.n > 0;
		several += j.n > 1;
		s3_plan_clear(&p);
		s3_plan_clear(&usual);
	}
	assert_true(with > 5000 && several > 500);
}

/* -- the real limits -------------------------------------------------------------------------- */

static uint64_t nothing_lacks(void *arg, uint64_t off UNUSED, uint64_t len UNUSED)
{
	(*(unsigned *)arg)++;
	return 0;
}

static void plan(struct s3_plan *p, struct s3_joints *j, struct s3_joints_task *t)
{
	struct s3_plan usual;

	t->l = &s3_limits;
	t->size = t->base_size = GIB(1);
	assert_int_equal(
		s3_plan_make(&usual, t->l, t->size, t->base_size, t->changed, t->n_changed), 0);
	assert_int_equal(s3_joints_plan(p, j, t, &usual), 0);
	s3_plan_clear(&usual);
}

static void test_one_page_of_a_large_object(void **state UNUSED)
{
	static const struct {
		uint64_t off;
		uint64_t joint; /* where it begins */
		unsigned parts; /* 0: as usual */
	} v[] = {
		{ 0, 0, 0 },
		{ MIB(5) - KIB(4), 0, 0 },
		{ MIB(5), 0, 3 },
		{ MIB(10) - KIB(4), 0, 3 },
		{ MIB(10), MIB(5), 4 },
		{ MIB(512), MIB(507), 3 },
		{ GIB(1) - MIB(4), GIB(1) - MIB(9), 4 },
		{ GIB(1) - MIB(1), 0, 0 },
		{ GIB(1) - KIB(4), 0, 0 }, /* the last part is short anyway */
	};

	for (size_t i = 0; i < ARRAY_LEN(v); i++) {
		struct vmofs_changed c = { v[i].off, KIB(4) };
		struct s3_joints_task t = { .changed = &c, .n_changed = 1 };
		struct s3_joints j;
		struct s3_plan p;

		plan(&p, &j, &t);
		if (j.n != (v[i].parts > 0))
			fail_msg("%u joints at %ju", j.n, (uintmax_t)v[i].off);
		if (j.n) {
			assert_int_equal(p.n, v[i].parts);
			assert_int_equal(p.uploaded, 0);
			assert_int_equal(j.v[0].off, v[i].joint);
			assert_int_equal(j.v[0].at, v[i].off);
			assert_int_equal(j.v[0].end, v[i].off + KIB(4));
		}
		s3_plan_clear(&p);
	}
}

/* Then nothing would be fetched either way. */
static void test_what_is_here_needs_no_joint(void **state UNUSED)
{
	struct vmofs_changed c = { MIB(512), KIB(4) };
	unsigned asked = 0;
	struct s3_joints_task t = {
		.changed = &c, .n_changed = 1, .lacks = nothing_lacks, .arg = &asked
	};
	struct s3_joints j;
	struct s3_plan p;

	plan(&p, &j, &t);
	assert_int_equal(j.n, 0);
	assert_true(asked > 0);
	s3_plan_clear(&p);
}

static void test_many_changes(void **state UNUSED)
{
	struct vmofs_changed c[20];
	struct s3_joints_task t = { .changed = c, .n_changed = ARRAY_LEN(c) };
	struct s3_joints j;
	struct s3_plan p;

	for (unsigned i = 0; i < ARRAY_LEN(c); i++)
		c[i] = (struct vmofs_changed){ MIB(30) * (i + 1), KIB(4) };
	plan(&p, &j, &t);
	assert_int_equal(j.n, S3_JOINTS_MAX);
	assert_int_equal(p.uploaded, MIB(5) * (ARRAY_LEN(c) - S3_JOINTS_MAX));
	s3_plan_clear(&p);
}

static void test_names(void **state UNUSED)
{
	static const struct {
		const char *key;
		bool is;
	} v[] = {
		{ "vmofs-tmp-0123456789abcdef0123456789abcdef", true },
		{ "a/b/vmofs-tmp-0123456789abcdef0123456789abcdef", true },
		{ "a-vmofs-tmp-0123456789abcdef0123456789abcdef", false },
		{ "vmofs-tmp-0123456789abcdef0123456789abcdeg", false },
		{ "vmofs-tmp-0123456789abcdef0123456789abcde", false },
		{ "vmofs-tmp-0123456789abcdef0123456789abcdef0", false },
		{ "vmofs-tmp-0123456789abcdef0123456789abcdef/", false },
		{ "vmofs-tmp-", false },
		{ "", false },
	};

	for (size_t i = 0; i < ARRAY_LEN(v); i++)
		if (s3_temp_is_key(v[i].key, strlen(v[i].key)) != v[i].is)
			fail_msg("'%s'", v[i].key);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random_changes),
		cmocka_unit_test(test_one_page_of_a_large_object),
		cmocka_unit_test(test_what_is_here_needs_no_joint),
		cmocka_unit_test(test_many_changes),
		cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
