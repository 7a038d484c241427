/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Read-ahead: what counts as a stream, how its window grows, and that random readers get nothing.
 *
 * LINK: -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/macros.h"
#include "fs/stream_private.h"
#include "lib/fail_alloc.h"

static struct stream_set set;

static void start_far(uint64_t size, uint64_t window_max, uint64_t delay_ns)
{
	const struct vmofs_pace pace = { .delay_ns = delay_ns };

	stream_set_init(&set, size, window_max, 0, &pace);
}

static void start(uint64_t size, uint64_t window_max)
{
	start_far(size, window_max, 0);
}

/* A read, and that all that is asked for is given. Where that begins, and how much it is. */
static struct stream_piece ask_as(uint64_t off, uint64_t len, enum stream_how how)
{
	struct stream_piece all = { 0 };
	struct stream_ask ask;

	if (!stream_read(&set, off, len, how, &ask))
		return all;
	all.off = ask.piece[0].off;
	for (unsigned i = 0; i < ask.n; i++) {
		all.off = MIN(all.off, ask.piece[i].off);
		all.len += ask.piece[i].len;
	}
	stream_asked(&set, &ask, all.len, 0);
	return all;
}

/* It waits, but nothing was evicted. */
static struct stream_piece ask_late(uint64_t off, uint64_t len)
{
	return ask_as(off, len, STREAM_LATE);
}

static void stop(void)
{
	stream_set_release(&set);
}

static void test_random_reader(void **state UNUSED)
{
	uint64_t asked = 0;

	start(MIB(64), MIB(64));
	srand(1);
	for (unsigned i = 0; i < 100000; i++) {
		uint64_t page = (uint64_t)rand() % (MIB(64) / 4096);

		asked += ask_late(page * 4096, 4096).len;
	}
	/* Of 100,000 reads of 4 KiB: less than 10 % more. */
	assert_true(asked <= 100000 * UINT64_C(4096) / 10);
	stop();
}

static void test_third_read_makes_a_stream(void **state UNUSED)
{
	struct stream_piece ask;

	start(GIB(1), MIB(64));
	assert_int_equal(ask_late(0, 4096).len, 0);
	assert_int_equal(ask_late(4096, 4096).len, 0);
	ask = ask_late(8192, 4096);
	assert_int_equal(ask.off, 12288);
	assert_int_equal(ask.len, KIB(64));
	stop();
}

static void test_large_reads_out_of_order(void **state UNUSED)
{
	start(GIB(1), MIB(64));
	assert_int_equal(ask_late(MIB(1), MIB(1)).len, 0);
	/* It might be the next one of a reader who goes backwards. */
	assert_int_equal(ask_late(0, MIB(1)).len, 0);
	assert_int_equal(ask_late(MIB(2), MIB(1)).off, MIB(3));
	stop();
}

/* Reads on from @off to @end in steps; returns the end of what was asked for. */
static uint64_t read_through(uint64_t off, uint64_t end, uint64_t step, bool missed)
{
	uint64_t ahead = 0;

	for (; off < end; off += step) {
		struct stream_piece ask = ask_as(off, step, missed ? STREAM_LATE : STREAM_HIT);

		if (ask.len)
			ahead = ask.off + ask.len;
		stream_served(&set, off, step, 0);
	}
	return ahead;
}

static void test_window_grows_with_stalls(void **state UNUSED)
{
	uint64_t ahead;

	start(GIB(4), MIB(64));
	ahead = read_through(0, MIB(300), KIB(128), true);
	/* Between half a window and a window beyond the reader. */
	assert_true(ahead >= MIB(331) && ahead <= MIB(364));
	stop();
}

static void test_window_stays_without_stalls(void **state UNUSED)
{
	uint64_t ahead;

	start(GIB(4), MIB(64));
	ahead = read_through(0, MIB(300), KIB(128), false);
	assert_true(ahead > MIB(299) && ahead <= MIB(301));
	stop();
}

static void test_bursts_without_answers_cost_little(void **state UNUSED)
{
	uint64_t asked = 0;
	uint64_t ahead = 0;

	start(GIB(4), MIB(64));
	srand(3);
	/* Page faults at random: the kernel reads 8 MiB around each, all at once. */
	for (unsigned i = 0; i < 100; i++) {
		uint64_t off = (uint64_t)(rand() % 512) * MIB(8);

		for (unsigned k = 0; k < 8; k++) {
			struct stream_piece ask = ask_late(off + MIB(k), MIB(1));

			if (ask.len)
				ahead = ask.off + ask.len;
		}
		asked += ahead > off + MIB(8) ? ahead - off - MIB(8) : 0;
		ahead = 0;
		stream_served(&set, off, MIB(8), 0);
	}
	/* A tenth beyond the 800 MiB that the kernel asks for. */
	assert_true(asked <= MIB(80));
	stop();
}

static void test_short_runs_cost_little(void **state UNUSED)
{
	uint64_t asked = 0;

	start(GIB(4), MIB(64));
	srand(2);
	/* Random reads of 2 MiB, which the kernel sends in two requests. */
	for (unsigned i = 0; i < 100; i++) {
		uint64_t off = (uint64_t)(rand() % 2048) * MIB(2);

		asked += ask_late(off, MIB(1)).len;
		asked += ask_late(off + MIB(1), MIB(1)).len;
	}
	assert_true(asked <= MIB(200) / 5);
	stop();
}

static void test_window_obeys_its_limit(void **state UNUSED)
{
	start(GIB(4), MIB(3));
	assert_true(read_through(0, MIB(100), KIB(128), true) <= MIB(103));
	stop();
}

static void test_nothing_twice(void **state UNUSED)
{
	uint64_t ahead = 0;

	start(MIB(100), MIB(16));
	for (uint64_t off = 0; off < MIB(100); off += KIB(256)) {
		struct stream_piece ask = ask_late(off, KIB(256));

		stream_served(&set, off, KIB(256), 0);
		if (!ask.len)
			continue;
		assert_true(ask.off >= ahead);
		assert_true(ask.off >= off + KIB(256));
		assert_true(ask.off + ask.len <= MIB(100));
		ahead = ask.off + ask.len;
	}
	assert_int_equal(ahead, MIB(100));
	stop();
}

static void test_switched_off(void **state UNUSED)
{
	start(GIB(1), 0);
	assert_int_equal(read_through(0, MIB(10), KIB(128), true), 0);
	stop();
}

static void test_streams_side_by_side(void **state UNUSED)
{
	uint64_t asked[4] = { 0 };

	start(GIB(4), MIB(8));
	for (uint64_t i = 0; i < 200; i++) {
		for (uint64_t k = 0; k < 4; k++) {
			asked[k] += ask_late(GIB(k) + i * KIB(128), KIB(128)).len;
			stream_served(&set, GIB(k) + i * KIB(128), KIB(128), 0);
		}
		ask_late((uint64_t)rand() % GIB(4), 4096);
	}
	for (uint64_t k = 0; k < 4; k++)
		assert_true(asked[k] >= MIB(25));
	stop();
}

/* What is asked ahead of a reader of 2 MiB in pieces of 128 KiB, when answers take @took_ns. */
static uint64_t asked_after_two(uint64_t took_ns)
{
	uint64_t asked = 0;

	start(GIB(4), MIB(64));
	for (uint64_t off = 0; off < MIB(2); off += KIB(128)) {
		asked += ask_as(off, KIB(128), off == 0 ? STREAM_MISS : STREAM_LATE).len;
		if (off == 0)
			stream_served(&set, off, KIB(128), took_ns);
	}
	stop();
	return asked;
}

static void test_far_origin_opens_wide(void **state UNUSED)
{
	assert_true(asked_after_two(100 * 1000) <= MIB(2));
	assert_true(asked_after_two(20 * NSEC_PER_MSEC) >= MIB(12));
	/* Never more than sixteen times what was read. */
	assert_true(asked_after_two(10 * NSEC_PER_SEC) <= MIB(34));
}

static uint64_t window_of_first(void)
{
	return set.state->streams[0].seq.window;
}

static void test_refused_memory_halves_the_window(void **state UNUSED)
{
	struct stream_ask ask = { .stream = 1 };
	uint64_t before;

	start(GIB(4), MIB(64));
	read_through(0, MIB(100), MIB(1), true);
	before = window_of_first();
	stream_asked(&set, &ask, 0, MIB(1));
	assert_int_equal(window_of_first(), before / 2);
	/* And it rests, whatever stalls. */
	read_through(MIB(100), MIB(110), MIB(1), true);
	assert_int_equal(window_of_first(), before / 2);
	stop();
}

static void test_evicted_unread_halves_the_window(void **state UNUSED)
{
	uint64_t before;
	struct stream_piece again;

	start(GIB(4), MIB(64));
	read_through(0, MIB(100), MIB(1), false);
	before = window_of_first();
	again = ask_as(MIB(100), MIB(1), STREAM_MISS);
	assert_int_equal(window_of_first(), before / 2);
	/* What follows may be gone too: it is asked for anew. */
	assert_int_equal(again.off, MIB(101));
	stop();
}

static void test_who_leaves_much_is_trusted_less(void **state UNUSED)
{
	uint64_t first = 0;
	uint64_t last = 0;

	start_far(GIB(64), MIB(64), 20 * NSEC_PER_MSEC);
	for (uint64_t i = 0; i < 400; i++) {
		uint64_t off = (uint64_t)(rand() % 4001) * MIB(16);
		uint64_t asked = 0;

		for (unsigned k = 0; k < 2; k++) {
			asked += ask_late(off + MIB(k), MIB(1)).len;
			stream_served(&set, off + MIB(k), MIB(1), 20 * NSEC_PER_MSEC);
		}
		if (i == 0)
			first = asked;
		last = asked;
	}
	assert_true(first >= MIB(16));
	assert_true(last <= KIB(128));
	stop();
}

static void test_steps_ask_for_pieces_alone(void **state UNUSED)
{
	uint64_t asked = 0;
	struct stream_ask ask;

	start(GIB(1), MIB(64));
	for (uint64_t i = 0; i < 100; i++) {
		if (!stream_read(&set, i * MIB(1), KIB(64), i < 5 ? STREAM_MISS : STREAM_LATE,
				 &ask))
			continue;
		for (unsigned k = 0; k < ask.n; k++) {
			assert_int_equal(ask.piece[k].off % MIB(1), 0);
			assert_int_equal(ask.piece[k].len, KIB(64));
			assert_true(ask.piece[k].off > i * MIB(1));
			asked++;
		}
	}
	/* All but the first three, and at most a quarter beyond the last. */
	assert_in_range(asked, 97, 122);
	stop();
}

/* One of many small reads here and there, which make no row. */
static void noise(uint64_t i)
{
	assert_int_equal(ask_as(GIB(1) + i * i * MIB(1), 4096, STREAM_MISS).len, 0);
}

/* The same while there is no memory to remember more of them. */
static struct stream_piece ask_without_memory(uint64_t off, uint64_t len)
{
	struct stream_piece asked;

	fail_alloc_arm(1);
	asked = ask_as(off, len, STREAM_MISS);
	assert_true(fail_alloc_disarm());
	return asked;
}

static void test_steps_are_seen_after_memory_was_short(void **state UNUSED)
{
	struct stream_piece ask;
	uint64_t i = 0;

	start(GIB(8), MIB(64));
	while (i < 2 * STREAM_RUNS_MIN)
		noise(i++);
	assert_int_equal(ask_without_memory(MIB(10), KIB(64)).len, 0);
	assert_int_equal(ask_without_memory(MIB(20), KIB(64)).len, 0);
	/* There is memory again. */
	noise(i++);
	assert_int_equal(set.state->n_runs, 2 * STREAM_RUNS_MIN);
	noise(i++);
	ask = ask_as(MIB(30), KIB(64), STREAM_MISS);
	assert_int_equal(ask.off, MIB(40));
	assert_int_equal(ask.len, KIB(64));
	stop();
}

static void test_as_many_streams_as_read(void **state UNUSED)
{
	unsigned served = 0;

	start(GIB(64), GIB(1));
	for (uint64_t i = 0; i < 20; i++)
		for (uint64_t k = 0; k < STREAMS_MAX; k++)
			served += ask_late(GIB(k) + i * KIB(128), KIB(128)).len > 0;
	assert_int_equal(set.state->n_streams, STREAMS_MAX);
	assert_true(served >= STREAMS_MAX * 8);
	stop();
	/* Who reads one stream pays for two places. */
	start(GIB(64), GIB(1));
	read_through(0, MIB(100), KIB(128), true);
	assert_int_equal(set.state->n_streams, 2);
	stop();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random_reader),
		cmocka_unit_test(test_third_read_makes_a_stream),
		cmocka_unit_test(test_large_reads_out_of_order),
		cmocka_unit_test(test_window_grows_with_stalls),
		cmocka_unit_test(test_window_stays_without_stalls),
		cmocka_unit_test(test_bursts_without_answers_cost_little),
		cmocka_unit_test(test_short_runs_cost_little),
		cmocka_unit_test(test_window_obeys_its_limit),
		cmocka_unit_test(test_nothing_twice),
		cmocka_unit_test(test_switched_off),
		cmocka_unit_test(test_streams_side_by_side),
		cmocka_unit_test(test_far_origin_opens_wide),
		cmocka_unit_test(test_refused_memory_halves_the_window),
		cmocka_unit_test(test_evicted_unread_halves_the_window),
		cmocka_unit_test(test_who_leaves_much_is_trusted_less),
		cmocka_unit_test(test_steps_ask_for_pieces_alone),
		cmocka_unit_test(test_steps_are_seen_after_memory_was_short),
		cmocka_unit_test(test_as_many_streams_as_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
