/* SPDX-License-Identifier: Apache-2.0 */
/* Bits and their runs, compared with a plain array of bool: every range of an array of a few words, at random. */
#include "base/bits.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "lib/prng.h"

enum { N = 200, WORDS = BITS_WORDS(N) };

struct pair {
	uint64_t bits[WORDS];
	bool plain[64 * WORDS];
};

/* Runs of different lengths, also across words. */
static struct pair pair_random(struct prng *r)
{
	struct pair p = { 0 };

	for (unsigned i = 0; i < N;) {
		unsigned n = 1 + (unsigned)prng_below(r, 90);
		bool value = prng_chance(r, 50);

		for (; n && i < N; n--, i++) {
			p.plain[i] = value;
			if (value)
				bits_set(p.bits, i);
		}
	}
	return p;
}

static unsigned count(const bool *plain, unsigned from, unsigned to)
{
	unsigned n = 0;

	for (unsigned i = from; i < to; i++)
		n += plain[i];
	return n;
}

static unsigned find(const bool *plain, bool value, unsigned i, unsigned end)
{
	while (i < end && plain[i] != value)
		i++;
	return MIN(i, end);
}

static void check_same(const struct pair *p)
{
	for (unsigned i = 0; i < 64 * WORDS; i++)
		assert_int_equal(bits_has(p->bits, i), p->plain[i]);
	assert_int_equal(bits_count(p->bits, WORDS), count(p->plain, 0, 64 * WORDS));
}

static void test_one_bit(void **state UNUSED)
{
	struct prng r = { 1 };
	struct pair p = pair_random(&r);

	for (unsigned i = 0; i < N; i++) {
		bits_set(p.bits, i);
		assert_true(bits_has(p.bits, i));
		bits_clear(p.bits, i);
		assert_false(bits_has(p.bits, i));
		p.plain[i] = false;
		check_same(&p);
	}
}

static void check_runs(const struct pair *p, unsigned from, unsigned end)
{
	uint64_t first = from, to = end;
	bool any = bits_next_run(p->bits, &first, &to);

	assert_int_equal(bits_find(p->bits, true, from, end), find(p->plain, true, from, end));
	assert_int_equal(bits_find(p->bits, false, from, end), find(p->plain, false, from, end));
	assert_int_equal(first, find(p->plain, true, from, end));
	assert_int_equal(to, find(p->plain, false, (unsigned)first, end));
	assert_int_equal(any, count(p->plain, from, end) > 0);
}

static void test_runs(void **state UNUSED)
{
	struct prng r = { 2 };

	for (unsigned round = 0; round < 20; round++) {
		struct pair p = pair_random(&r);

		for (unsigned from = 0; from <= N; from++)
			for (unsigned end = from; end <= N; end++)
				check_runs(&p, from, end);
	}
}

static void check_fill(const struct pair *before, bool value, unsigned from, unsigned to)
{
	struct pair p = *before;
	unsigned set = count(p.plain, from, to);

	assert_int_equal(bits_fill(p.bits, value, from, to), value ? to - from - set : set);
	for (unsigned i = from; i < to; i++)
		p.plain[i] = value;
	check_same(&p);
}

static void test_fill(void **state UNUSED)
{
	struct prng r = { 3 };
	struct pair p = pair_random(&r);

	for (unsigned from = 0; from <= N; from += 3)
		for (unsigned to = from; to <= N; to++) {
			check_fill(&p, true, from, to);
			check_fill(&p, false, from, to);
		}
}

/* Nothing beyond the end is looked at, not even its word. */
static void test_an_empty_range(void **state UNUSED)
{
	uint64_t from = 64, to = 64;

	assert_int_equal(bits_find(NULL, true, 64, 64), 64);
	assert_int_equal(bits_fill(NULL, true, 64, 64), 0);
	assert_false(bits_next_run(NULL, &from, &to));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_bit),
		cmocka_unit_test(test_runs),
		cmocka_unit_test(test_fill),
		cmocka_unit_test(test_an_empty_range),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
