/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The planner against S3's limits and against the best there is: with small numbers, the fewest bytes that any row of parts
 * can upload are found by trying all borders.
 */
#include <errno.h>
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
#include "s3/s3_plan.h"

#define TINY_MAX 96

static const struct s3_limits tiny = {
	.min = 5, .max = 40, .part = 8, .copy = 16, .parts = 1000, .size = 1 << 20
};

/* -- what every plan must be ------------------------------------------------------------------ */

static bool is_changed(uint64_t off, uint64_t len, uint64_t base, const struct vmofs_changed *c,
		       unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (c[i].off < off + len && off < c[i].off + c[i].len)
			return true;
	return off + len > base;
}

static void check(const struct s3_plan *p, const struct s3_limits *l, uint64_t size, uint64_t base,
		  const struct vmofs_changed *c, unsigned n)
{
	uint64_t at = 0, up = 0;

	assert_in_range(p->n, 1, l->parts);
	for (unsigned i = 0; i < p->n; i++) {
		const struct s3_part *v = &p->v[i];

		assert_int_equal(v->off, at);
		assert_in_range(v->len, i + 1 < p->n ? l->min : 1, l->max);
		if (v->copy)
			assert_false(is_changed(v->off, v->len, base, c, n));
		up += v->copy ? 0 : v->len;
		at += v->len;
	}
	assert_int_equal(at, size);
	assert_int_equal(p->uploaded, up);
	assert_int_equal(p->copied, size - up);
}

/* -- the best --------------------------------------------------------------------------------- */

/* Fewest uploaded bytes of [0, size) with any borders. */
static uint64_t best(const struct s3_limits *l, unsigned size, unsigned base,
		     const struct vmofs_changed *c, unsigned n)
{
	uint64_t cost[TINY_MAX + 1];

	for (unsigned end = 0; end <= size; end++) {
		cost[end] = end ? UINT32_MAX : 0;
		for (unsigned off = 0; off < end; off++) {
			unsigned len = end - off;
			bool copy = !is_changed(off, len, base, c, n);

			if (len > l->max || (len < l->min && end < size))
				continue;
			cost[end] = MIN(cost[end], cost[off] + (copy ? 0 : len));
		}
	}
	return cost[size];
}

static unsigned random_changes(struct prng *r, unsigned size, unsigned base,
			       struct vmofs_changed *c)
{
	unsigned n = 0, at = 0, wanted = (unsigned)prng_below(r, 7);

	while (n < wanted && at < MIN(size, base)) {
		unsigned off = at + 1 + (unsigned)prng_below(r, 24) - (n == 0);
		unsigned len = 1 + (unsigned)prng_below(r, prng_below(r, 3) ? 3 : 12);

		if (off >= MIN(size, base))
			break;
		len = MIN(len, size - off);
		c[n++] = (struct vmofs_changed){ off, len };
		at = off + len;
	}
	if (size <= base || (n > 0 && at >= size))
		return n;
	/* What is beyond the base is changed; it may not touch what is before it. */
	if (n > 0 && at >= base)
		c[n - 1].len = size - c[n - 1].off;
	else
		c[n++] = (struct vmofs_changed){ base, size - base };
	return n;
}

static void test_no_other_plan_uploads_less(void **state UNUSED)
{
	struct prng r = { 4711 };
	struct vmofs_changed c[10];
	struct s3_plan p;

	for (unsigned i = 0; i < 20000; i++) {
		unsigned size = 1 + (unsigned)prng_below(&r, TINY_MAX);
		unsigned base = prng_below(&r, 4) ? 1 + (unsigned)prng_below(&r, TINY_MAX) : 0;
		unsigned n = random_changes(&r, size, base, c);
		uint64_t least = best(&tiny, size, base, c, n);

		assert_int_equal(s3_plan_make(&p, &tiny, size, base, c, n), 0);
		check(&p, &tiny, size, base, c, n);
		if (p.uploaded != least)
			fail_msg("try %u: %ju bytes instead of %ju (size %u base %u)", i,
				 (uintmax_t)p.uploaded, (uintmax_t)least, size, base);
		s3_plan_clear(&p);
	}
}

/* -- the real limits -------------------------------------------------------------------------- */

static void plan(struct s3_plan *p, uint64_t size, uint64_t base, const struct vmofs_changed *c,
		 unsigned n)
{
	assert_int_equal(s3_plan_make(p, &s3_limits, size, base, c, n), 0);
	check(p, &s3_limits, size, base, c, n);
}

static void test_one_page_of_a_large_object(void **state UNUSED)
{
	static const uint64_t offsets[] = { 0, KIB(4), MIB(5), MIB(512), GIB(1) - KIB(4) };
	struct s3_plan p;

	for (size_t i = 0; i < ARRAY_LEN(offsets); i++) {
		struct vmofs_changed c = { offsets[i], KIB(4) };

		plan(&p, GIB(1), GIB(1), &c, 1);
		assert_in_range(p.uploaded, KIB(4), MIB(5));
		assert_in_range(p.n, 2, 4);
		s3_plan_clear(&p);
	}
}

static void test_an_append(void **state UNUSED)
{
	struct vmofs_changed c = { GIB(1), MIB(1) };
	struct s3_plan p;

	plan(&p, GIB(1) + MIB(1), GIB(1), &c, 1);
	assert_int_equal(p.uploaded, MIB(1));
	assert_int_equal(p.n, 3);
	s3_plan_clear(&p);
}

static void test_nothing_changed(void **state UNUSED)
{
	struct s3_plan p;

	plan(&p, GIB(1), GIB(2), NULL, 0);
	assert_int_equal(p.uploaded, 0);
	assert_int_equal(p.n, 2);
	s3_plan_clear(&p);
}

static void test_all_new(void **state UNUSED)
{
	static const uint64_t sizes[] = { 1, MIB(5), MIB(8) + 1, GIB(70), GIB(100), GIB(5) << 10 };
	struct s3_plan p;

	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		struct vmofs_changed c = { 0, sizes[i] };

		plan(&p, sizes[i], 0, &c, 1);
		assert_int_equal(p.copied, 0);
		s3_plan_clear(&p);
	}
}

/* So many changes that each for itself would be a part too many. */
static void test_many_changes_of_the_largest_object(void **state UNUSED)
{
	uint64_t size = s3_limits.size, step = MIB(12);
	unsigned n = (unsigned)(size / step);
	struct vmofs_changed *c = calloc(n, sizeof *c);
	struct s3_plan p;

	assert_non_null(c);
	for (unsigned i = 0; i < n; i++)
		c[i] = (struct vmofs_changed){ i * step, KIB(4) };
	plan(&p, size, size, c, n);
	s3_plan_clear(&p);
	free(c);
}

/* Parts are counted with what there are few of too. */
static void test_few_parts(void **state UNUSED)
{
	struct s3_limits few = tiny;
	struct prng r = { 815 };
	struct vmofs_changed c[10];
	struct s3_plan p;

	few.parts = 4;
	few.size = 120;
	for (unsigned i = 0; i < 5000; i++) {
		unsigned size = 1 + (unsigned)prng_below(&r, TINY_MAX);
		unsigned n = random_changes(&r, size, size, c);
		int e = s3_plan_make(&p, &few, size, size, c, n);

		if (e == 0)
			check(&p, &few, size, size, c, n);
		else
			assert_true(e == -EFBIG && size > 40);
		s3_plan_clear(&p);
	}
}

static void test_bad_input(void **state UNUSED)
{
	static const struct vmofs_changed bad[][2] = {
		{ { 4096, 4096 }, { 0, 4096 } },
		{ { 0, 0 }, { 4096, 4096 } },
		{ { 0, 4096 }, { 4096, UINT64_MAX } },
		{ { 0, 4096 }, { MIB(1), 1 } },
	};
	struct s3_plan p;

	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(s3_plan_make(&p, &s3_limits, MIB(1), MIB(1), bad[i], 2), -EINVAL);
	assert_int_equal(s3_plan_make(&p, &s3_limits, (GIB(5) << 10) + 1, 0, NULL, 0), -EFBIG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_other_plan_uploads_less),
		cmocka_unit_test(test_one_page_of_a_large_object),
		cmocka_unit_test(test_an_append),
		cmocka_unit_test(test_nothing_changed),
		cmocka_unit_test(test_all_new),
		cmocka_unit_test(test_many_changes_of_the_largest_object),
		cmocka_unit_test(test_few_parts),
		cmocka_unit_test(test_bad_input),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
