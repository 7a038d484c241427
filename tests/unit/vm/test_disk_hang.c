/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk that neither answers nor fails: what it was asked for goes on to the provider, nobody asks it until it has
 * come back, and nobody waits for it at the end. The provider is played by hand; a gate in the system calls holds the
 * tier's threads.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/macros.h"
#include "lib/disk_scene.h"
#include "vm/disk_tier_private.h"

enum { PAGES = 1024 };

static void set_patience(struct scene *s, uint64_t ns)
{
	mutex_lock(&s->disk->lock);
	s->disk->patience_ns = ns;
	mutex_unlock(&s->disk->lock);
}

/* From now on the disk hangs, and soon that is noticed. */
static void hang(struct scene *s)
{
	gate_set(true);
	set_patience(s, NSEC_PER_SEC / 50);
}

/* The first pages are on the disk, and reads of it hang. */
static void scene_hang(struct scene *s, struct cache_dir *d, unsigned threads)
{
	scene_begin(s, d, PAGES * PAGE);
	read_from_provider(s, 0, 64);
	scene_drain(s);
	scene_close(s);
	assert_int_equal(disk_io_free(s->disk), 0);
	scene_disk(s, threads, MIB(64));
	scene_open(s);
	read_from_disk(s, 63, 1);
	hang(s);
}

static bool is_back(void *arg)
{
	return !disk_is_away(((struct scene *)arg)->disk);
}

/* What hung comes back, and the disk is asked again. */
static void scene_come_back(struct scene *s)
{
	struct reader r = { .s = s, .page = 48, .n = 4 };
	uint64_t sent;

	gate_set(false);
	test_wait_until(is_back, s, "the disk is not asked again");
	set_patience(s, 3600 * NSEC_PER_SEC);
	sent = fake_count(s->own, FAKE_SEND);
	assert_int_equal(reader_run(&r), 0);
	assert_int_equal(fake_count(s->own, FAKE_SEND), sent);
}

static void test_reads_hang(void **state)
{
	cleanup(scene_end) struct scene s;

	scene_hang(&s, *state, 4);
	read_from_provider(&s, 8, 8);
	assert_int_equal(scene_stats(&s).hangs, 1);
	/* Nobody asks it now. */
	n_preads = 0;
	read_from_provider(&s, 32, 8);
	assert_int_equal(disk_tier_pass(s.tier), -EAGAIN);
	assert_int_equal(n_preads, 0);
	scene_come_back(&s);
}

/* More of them than threads. */
static void test_all_threads_hang(void **state)
{
	cleanup(scene_end) struct scene s;
	struct reader r[6];

	scene_hang(&s, *state, 2);
	for (unsigned i = 0; i < ARRAY_LEN(r); i++)
		reader_start(&r[i], &s, 7 * i, 2);
	for (unsigned i = 0; i < ARRAY_LEN(r); i++)
		fake_wait_read(s.own, 7 * i, 2);
	for (unsigned i = 0; i < ARRAY_LEN(r); i++) {
		fake_supply(s.own, 7 * i, 2);
		assert_int_equal(thread_join_status(&r[i].thread), 0);
	}
	scene_come_back(&s);
}

/* Nobody waits for writing, but it may have the thread that a reader waits for. */
static void test_a_write_hangs(void **state)
{
	cleanup(scene_end) struct scene s;

	scene_hang(&s, *state, 1);
	read_from_provider(&s, 64, 64);
	gate_wait(1);
	assert_int_equal(scene_stats(&s).hangs, 0);
	read_from_provider(&s, 8, 8);
	assert_int_equal(scene_stats(&s).hangs, 1);
	scene_come_back(&s);
}

static void test_opening_hangs(void **state)
{
	cleanup(scene_end) struct scene s;

	scene_hang(&s, *state, 4);
	gate_set(false);
	scene_close(&s);
	assert_int_equal(disk_io_free(s.disk), 0);
	cache_dir_reopen(s.dir, 0);
	scene_disk(&s, 4, MIB(64));
	hang(&s);
	scene_open(&s);
	read_from_provider(&s, 8, 8);
	assert_int_equal(scene_stats(&s).hangs, 1);
	scene_come_back(&s);
}

/* It may be the quicker one after all. */
static void test_a_late_answer_is_one(void **state)
{
	cleanup(scene_end) struct scene s;
	struct reader r;

	scene_hang(&s, *state, 4);
	reader_start(&r, &s, 8, 8);
	fake_wait_read(s.own, 8, 8);
	gate_set(false);
	assert_int_equal(thread_join_status(&r.thread), 0);
	scene_come_back(&s);
}

static void test_nobody_waits_for_a_disk_that_hangs(void **state)
{
	cleanup(scene_end) struct scene s;
	uint64_t deadline = scene_soon();

	scene_hang(&s, *state, 4);
	read_from_provider(&s, 8, 8);
	read_from_provider(&s, 512, 128);
	gate_wait(2);
	read_from_provider(&s, 128, 64);
	assert_int_equal(disk_tier_drain(s.tier, deadline), (8 + 128 + 64) * PAGE);
	disk_tier_keep(s.tier, 128 * PAGE, 64 * PAGE, deadline);
	/* What no thread has to write yet need not stay either. */
	assert_int_equal(vmo_evict(s.vmo, 128 * PAGE, 8 * PAGE, false), 8);
	assert_int_equal(disk_io_drain(s.disk, deadline), (8 + 128 + 64) * PAGE);
	assert_true(test_now_ns() < deadline);
	scene_come_back(&s);
}

static bool is_freed(void *arg)
{
	return disk_io_free(((struct scene *)arg)->disk) == 0;
}

static void test_closing_leaves_a_disk_that_hangs(void **state)
{
	struct scene s;

	scene_hang(&s, *state, 4);
	read_from_provider(&s, 8, 8);
	scene_close(&s);
	assert_int_equal(disk_io_free(s.disk), -ETIMEDOUT);
	gate_set(false);
	test_wait_until(is_freed, &s, "what hung does not end");
	vm_pool_free(s.pool);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, disk_scene_setup, cache_dir_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_reads_hang),
		TEST(test_all_threads_hang),
		TEST(test_a_write_hangs),
		TEST(test_opening_hangs),
		TEST(test_a_late_answer_is_one),
		TEST(test_nobody_waits_for_a_disk_that_hangs),
		TEST(test_closing_leaves_a_disk_that_hangs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
