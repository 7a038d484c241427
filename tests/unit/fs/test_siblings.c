/* SPDX-License-Identifier: Apache-2.0 */
/* Who reads small files in order is recognised, gets what comes next, and no more than pays. */
#include <assert.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/macros.h"
#include "fs/siblings.h"
#include "lib/prng.h"

enum { DIR = 5, FILES = 1000 };

struct bench {
	struct siblings s;
	bool asked[FILES + 200];
	unsigned n_asked;
	unsigned n_missed; /* reads of what had not been asked for */
};

static void bench_up(struct bench *b, uint64_t bytes_max)
{
	memset(b, 0, sizeof *b);
	siblings_init(&b->s, bytes_max);
}

static void bench_down(struct bench *b)
{
	siblings_release(&b->s);
}

static struct sibling_ask read_one(struct bench *b, uint64_t place, uint64_t size)
{
	struct sibling_ask ask = siblings_read(&b->s, DIR, place, size);

	b->n_missed += !b->asked[place];
	for (unsigned i = 0; i < ask.n; i++) {
		assert_false(b->asked[ask.place + i]);
		b->asked[ask.place + i] = true;
		b->n_asked++;
	}
	if (ask.n)
		siblings_asked(&b->s, &ask, ask.place + ask.n);
	return ask;
}

static void test_in_order(void **state)
{
	struct bench b;

	(void)state;
	bench_up(&b, MIB(8));
	assert_int_equal(read_one(&b, 0, 4096).n, 0);
	assert_int_equal(read_one(&b, 1, 4096).n, 0);
	assert_int_equal(read_one(&b, 2, 4096).n, 4);
	for (uint64_t i = 3; i < FILES; i++)
		read_one(&b, i, 4096);
	assert_int_equal(b.n_missed, 3);
	bench_down(&b);
}

/* How far ahead it is after each read: it doubles, and stays within the limit. */
static void test_the_window_grows_as_it_pays(void **state)
{
	unsigned widest = 0;
	struct bench b;

	(void)state;
	bench_up(&b, MIB(8));
	for (unsigned i = 0; i < 200; i++) {
		unsigned ahead = 0;

		read_one(&b, i, 4096);
		while (b.asked[i + 1 + ahead])
			ahead++;
		if (i == 4)
			assert_in_range(ahead, 1, 4);
		widest = MAX(widest, ahead);
	}
	assert_in_range(widest, 32, 64);
	bench_down(&b);
}

static void test_who_stops_early_costs_little(void **state)
{
	struct bench b;

	(void)state;
	bench_up(&b, MIB(8));
	for (unsigned i = 0; i < 5; i++)
		read_one(&b, i, 4096);
	assert_in_range(b.n_asked, 1, 8);
	bench_down(&b);
}

static void test_random_reads_ask_for_nothing(void **state)
{
	struct prng r = { 1 };
	struct bench b;

	(void)state;
	bench_up(&b, MIB(8));
	for (unsigned i = 0; i < 300; i++) {
		struct sibling_ask ask = siblings_read(&b.s, DIR, prng_below(&r, 1000000), 4096);

		assert_int_equal(ask.n, 0);
	}
	/* Nor does reading one file again and again. */
	for (unsigned i = 0; i < 20; i++)
		assert_int_equal(read_one(&b, 7, 4096).n, 0);
	bench_down(&b);
}

/* Backwards is no order that can be served, but it must do no harm. */
static void test_backwards(void **state)
{
	struct bench b;

	(void)state;
	bench_up(&b, MIB(8));
	for (unsigned i = 100; i > 0; i--)
		assert_int_equal(read_one(&b, i, 4096).n, 0);
	bench_down(&b);
}

/* Eight readers that share one list of files: nearly in order. */
static void test_readers_that_share(void **state)
{
	uint64_t order[FILES];
	struct prng r = { 2 };
	struct bench b;

	(void)state;
	bench_up(&b, MIB(8));
	for (unsigned i = 0; i < FILES; i++)
		order[i] = i;
	for (unsigned i = 0; i + 8 <= FILES; i += 4) {
		unsigned j = i + (unsigned)prng_below(&r, 4), k = i + (unsigned)prng_below(&r, 4);
		uint64_t t = order[j];

		order[j] = order[k];
		order[k] = t;
	}
	for (unsigned i = 0; i < FILES; i++)
		read_one(&b, order[i], 4096);
	assert_in_range(b.n_missed, 1, 16);
	bench_down(&b);
}

static void test_readers_apart(void **state)
{
	struct bench b;

	(void)state;
	bench_up(&b, MIB(8));
	for (unsigned i = 0; i < 125; i++)
		for (unsigned j = 0; j < 8; j++)
			(void)siblings_read(&b.s, DIR, j * 125 + i, 4096);
	/* All eight are streams by now. */
	for (unsigned j = 0; j < 8; j++) {
		struct sibling_ask ask = siblings_read(&b.s, DIR, 10000 + j * 1000, 4096);

		assert_int_equal(ask.n, 0);
	}
	for (unsigned i = 0; i < SIBLING_STREAMS; i++)
		b.n_asked += b.s.streams[i].window > 0;
	assert_in_range(b.n_asked, 8, SIBLING_STREAMS);
	bench_down(&b);
}

static void test_bytes_are_bounded(void **state)
{
	struct bench b;

	(void)state;
	bench_up(&b, MIB(1));
	for (unsigned i = 0; i < 100; i++) {
		unsigned ahead = 0;

		read_one(&b, i, KIB(256));
		while (b.asked[i + 1 + ahead])
			ahead++;
		assert_in_range(ahead, 0, 4);
	}
	assert_in_range(b.n_missed, 3, 3);
	bench_down(&b);
	bench_up(&b, 0);
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(read_one(&b, i, 4096).n, 0);
	bench_down(&b);
}

/* Other entries lie between the files, and the directory has an end. */
static void test_gaps_and_the_end(void **state)
{
	struct bench b;
	struct sibling_ask ask;

	(void)state;
	bench_up(&b, MIB(8));
	siblings_read(&b.s, DIR, 0, 10);
	siblings_read(&b.s, DIR, 3, 10);
	ask = siblings_read(&b.s, DIR, 6, 10);
	assert_int_equal(ask.place, 7);
	assert_int_equal(ask.n, 4);
	siblings_asked(&b.s, &ask, 19); /* 9, 12, 15, 18 */
	assert_int_equal(siblings_read(&b.s, DIR, 9, 10).n, 0);
	ask = siblings_read(&b.s, DIR, 18, 10);
	assert_int_equal(ask.place, 19);
	siblings_asked(&b.s, &ask, UINT64_MAX);
	assert_int_equal(siblings_read(&b.s, DIR, 21, 10).n, 0);
	assert_int_equal(siblings_read(&b.s, DIR, 24, 10).n, 0);
	bench_down(&b);
}

static void test_directories_are_told_apart(void **state)
{
	struct bench b;

	(void)state;
	bench_up(&b, MIB(8));
	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(siblings_read(&b.s, 100 + i, i, 4096).n, 0);
	bench_down(&b);
}

/* What is asked for in each of @dirs directories of @files, of which @read are read in order. */
static unsigned asked_in_walk(unsigned dirs, unsigned files, unsigned read, unsigned *in_last)
{
	struct siblings s;
	unsigned all = 0;

	siblings_init(&s, MIB(8));
	for (uint64_t dir = 1; dir <= dirs; dir++) {
		*in_last = 0;
		for (uint64_t place = 0; place < read; place++) {
			struct sibling_ask ask = siblings_read(&s, dir, place, 4096);

			*in_last += ask.n;
			if (ask.n)
				siblings_asked(&s, &ask,
					       ask.place + ask.n < files ? ask.place + ask.n
									 : UINT64_MAX);
		}
		all += *in_last;
	}
	siblings_release(&s);
	return all;
}

static void test_small_directories_of_a_walk(void **state)
{
	unsigned in_last;

	(void)state;
	assert_in_range(asked_in_walk(20, 5, 5, &in_last), 60, 200);
	assert_true(in_last >= 4);
	/* One file in each is no walk that pays. */
	asked_in_walk(20, 5, 1, &in_last);
	assert_int_equal(in_last, 0);
}

/* The first of each of many directories, after a walk: given up soon. */
static void test_a_walk_ends(void **state)
{
	unsigned asked = 0;
	struct siblings s;

	(void)state;
	siblings_init(&s, MIB(8));
	for (uint64_t place = 0; place < 50; place++)
		(void)siblings_read(&s, 1, place, 4096);
	for (uint64_t dir = 2; dir < 100; dir++)
		asked += siblings_read(&s, dir, 0, 4096).n;
	assert_in_range(asked, 1, 32);
	siblings_release(&s);
}

static void test_large_files_between(void **state)
{
	struct bench b;

	(void)state;
	bench_up(&b, MIB(8));
	for (unsigned i = 0; i < 100; i++)
		read_one(&b, i, i % 50 > 20 ? GIB(1) : 4096);
	assert_int_equal(b.n_missed, 3);
	bench_down(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_in_order),
		cmocka_unit_test(test_the_window_grows_as_it_pays),
		cmocka_unit_test(test_who_stops_early_costs_little),
		cmocka_unit_test(test_random_reads_ask_for_nothing),
		cmocka_unit_test(test_backwards),
		cmocka_unit_test(test_readers_that_share),
		cmocka_unit_test(test_readers_apart),
		cmocka_unit_test(test_bytes_are_bounded),
		cmocka_unit_test(test_gaps_and_the_end),
		cmocka_unit_test(test_small_directories_of_a_walk),
		cmocka_unit_test(test_a_walk_ends),
		cmocka_unit_test(test_large_files_between),
		cmocka_unit_test(test_directories_are_told_apart),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
