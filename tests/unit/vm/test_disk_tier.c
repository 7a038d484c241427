/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The disk tier over a real cache directory: what is kept comes back without the provider, what is not or is damaged
 * comes from it, and no failure of the disk is a reader's. The provider is played by hand, the tier has its own
 * threads; a gate in the system calls holds them where a test needs it.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/macros.h"
#include "lib/disk_scene.h"
#include "store/cache_private.h"
#include "vm/disk_tier_private.h"

enum { PAGES = 1024 };

/* ---- reading and writing ---- */

static void test_what_was_fetched_comes_back(void **state)
{
	cleanup(scene_end) struct scene s;

	scene_begin(&s, *state, PAGES * PAGE - 77);
	read_from_provider(&s, 0, PAGES);
	scene_drain(&s);
	assert_int_equal(scene_stats(&s).written, PAGES);
	assert_int_equal(scene_stats(&s).skipped, 0);
	scene_again(&s);
	read_from_disk(&s, 0, PAGES);
	assert_int_equal(scene_stats(&s).hits, PAGES);
	assert_int_equal(scene_stats(&s).written, PAGES);
	scene_restart(&s);
	read_from_disk(&s, 100, 3);
	read_from_disk(&s, 0, PAGES);
}

static void test_a_small_object_comes_back(void **state)
{
	cleanup(scene_end) struct scene s;

	scene_begin(&s, *state, 5 * PAGE + 9);
	read_from_provider(&s, 0, 6);
	scene_restart(&s);
	read_from_disk(&s, 0, 6);
}

static void test_only_what_is_missing_is_fetched(void **state)
{
	cleanup(scene_end) struct scene s;
	struct reader r;

	scene_begin(&s, *state, PAGES * PAGE);
	read_from_provider(&s, 4, 4);
	read_from_provider(&s, 600, 10);
	scene_restart(&s);
	reader_start(&r, &s, 0, 16);
	fake_wait_read(s.own, 0, 4);
	fake_wait_read(s.own, 8, 8);
	fake_supply(s.own, 0, 4);
	fake_supply(s.own, 8, 8);
	assert_int_equal(thread_join_status(&r.thread), 0);
	assert_int_equal(scene_stats(&s).hits, 4);
	fake_expect_none(s.own);
	/* What came from the disk is not written again. */
	scene_drain(&s);
	assert_int_equal(scene_stats(&s).written, 12);
}

static void test_zeros_come_back(void **state)
{
	cleanup(scene_end) struct scene s;
	char buf[PAGE], zero[PAGE] = { 0 };

	scene_begin(&s, *state, PAGES * PAGE);
	assert_int_equal(fake_supply_zero(s.own, 0, PAGES), PAGES * PAGE);
	scene_restart(&s);
	assert_int_equal(vmo_read(s.vmo, 77 * PAGE, buf, PAGE, NULL), PAGE);
	assert_memory_equal(buf, zero, PAGE);
	assert_int_equal(fake_count(s.own, FAKE_SEND), 0);
}

static bool is_read(void *arg)
{
	return scene_stats(arg).hits == 8;
}

/* What waits for the one thread, and lies side by side, is read at once. */
static void test_neighbours_are_read_together(void **state)
{
	cleanup(scene_end) struct scene s;

	scene_begin(&s, *state, PAGES * PAGE);
	read_from_provider(&s, 0, 64);
	scene_drain(&s);
	scene_close(&s);
	disk_io_free(s.disk);
	scene_disk(&s, 1, MIB(64));
	scene_open(&s);
	/* The index is read here. */
	read_from_disk(&s, 63, 1);
	gate_set(true);
	n_preads = 0;
	assert_int_equal(vmo_prefetch(s.vmo, 0, PAGE, 0), PAGE);
	gate_wait(1);
	for (unsigned i = 1; i < 7; i++)
		assert_int_equal(vmo_prefetch(s.vmo, i * PAGE, PAGE, 0), PAGE);
	gate_set(false);
	test_wait_until(is_read, &s, "prefetches are not read");
	assert_int_equal(n_preads, 2);
	assert_int_equal(fake_count(s.own, FAKE_SEND), 0);
}

/* The version of some objects is known with their first answer only. */
static void test_what_came_before_the_tier_is_kept(void **state)
{
	cleanup(scene_end) struct scene s;
	struct vmofs_err err = VMOFS_ERR_INIT;
	const struct cache_key key = { .url = URL, .validator = "\"v1\"", .size = PAGES * PAGE };

	scene_begin(&s, *state, PAGES * PAGE);
	scene_close(&s);
	s.own = fake_new(0, KEY);
	assert_int_equal(vmo_new(&s.vmo, s.pool, fake_base(s.own), s.size, 0, &err), 0);
	fake_attach(s.own, s.vmo);
	read_from_provider(&s, 100, 7);
	assert_int_equal(disk_tier_new(&s.tier, s.disk, s.vmo, &key), 0);
	read_from_provider(&s, 107, 3);
	scene_drain(&s);
	assert_int_equal(scene_stats(&s).written, 10);
	scene_again(&s);
	read_from_disk(&s, 100, 10);
	/* Nothing begins at what is closed. */
	vmo_close(s.vmo);
	disk_tier_put(s.tier);
	assert_int_equal(disk_tier_new(&s.tier, s.disk, s.vmo, &key), -ESHUTDOWN);
	s.tier = NULL;
}

static void test_two_vmos_of_one_object(void **state)
{
	cleanup(scene_end) struct scene s;
	struct scene t;

	scene_begin(&s, *state, PAGES * PAGE);
	t = s;
	scene_open(&t);
	read_from_provider(&s, 0, 16);
	scene_drain(&s);
	read_from_disk(&t, 4, 8);
	read_from_provider(&t, 32, 8);
	scene_drain(&t);
	scene_again(&s);
	read_from_disk(&s, 0, 16);
	read_from_disk(&s, 32, 8);
	scene_close(&t);
}

/* ---- a request while the entry is being opened ---- */

static void test_requests_wait_for_the_entry(void **state)
{
	cleanup(scene_end) struct scene s;
	struct reader r;

	scene_begin(&s, *state, PAGES * PAGE);
	read_from_provider(&s, 0, 8);
	scene_drain(&s);
	scene_close(&s);
	disk_io_free(s.disk);
	cache_dir_reopen(s.dir, 0);
	scene_disk(&s, 4, MIB(64));
	gate_set(true);
	scene_open(&s);
	gate_wait(1);
	reader_start(&r, &s, 0, 16);
	fake_wait_blocked(s.own, 1);
	fake_expect_none(s.own);
	assert_int_equal(disk_tier_pass(s.tier), -EAGAIN);
	gate_set(false);
	fake_wait_read(s.own, 8, 8);
	fake_supply(s.own, 8, 8);
	assert_int_equal(thread_join_status(&r.thread), 0);
}

static void test_closing_while_the_entry_is_opened(void **state)
{
	cleanup(scene_end) struct scene s;
	struct reader r;

	scene_begin(&s, *state, PAGES * PAGE);
	scene_close(&s);
	gate_set(true);
	scene_open(&s);
	reader_start(&r, &s, 0, 16);
	fake_wait_blocked(s.own, 1);
	vmo_close(s.vmo);
	assert_int_equal(thread_join_status(&r.thread), -ESHUTDOWN);
	gate_set(false);
}

static void test_closing_while_a_read_is_under_way(void **state)
{
	cleanup(scene_end) struct scene s;
	struct reader r;

	scene_begin(&s, *state, PAGES * PAGE);
	read_from_provider(&s, 0, 64);
	scene_restart(&s);
	read_from_disk(&s, 0, 1);
	gate_shut_when_open(&s);
	reader_start(&r, &s, 8, 8);
	gate_wait(1);
	vmo_close(s.vmo);
	assert_int_equal(thread_join_status(&r.thread), -ESHUTDOWN);
	gate_set(false);
}

/* A prefetch that is somebody's demand now overtakes the others; one that nobody wants is not read. */
static void test_requests_change_while_they_wait(void **state)
{
	cleanup(scene_end) struct scene s;
	struct reader r;

	scene_begin(&s, *state, PAGES * PAGE);
	read_from_provider(&s, 0, 64);
	scene_restart(&s);
	gate_shut_when_open(&s);
	assert_int_equal(vmo_prefetch(s.vmo, 0, 8 * PAGE, 0), 8 * PAGE);
	assert_int_equal(vmo_prefetch(s.vmo, 16 * PAGE, 8 * PAGE, 1), 8 * PAGE);
	reader_start(&r, &s, 2, 2);
	fake_wait_blocked(s.own, 3);
	vmo_expire(s.vmo, 2);
	vmo_check(s.vmo);
	gate_set(false);
	assert_int_equal(thread_join_status(&r.thread), 0);
	assert_int_equal(fake_count(s.own, FAKE_SEND), 0);
}

/* ---- a disk that fails ---- */

static void test_reads_fail(void **state)
{
	cleanup(scene_end) struct scene s;

	scene_begin(&s, *state, PAGES * PAGE);
	read_from_provider(&s, 0, 16);
	scene_restart(&s);
	pread_error = EIO;
	read_from_provider(&s, 0, 16);
	pread_error = 0;
}

static void test_writes_fail(void **state)
{
	cleanup(scene_end) struct scene s;
	static const int errors[] = { ENOSPC, EIO, EROFS, EDQUOT };

	scene_begin(&s, *state, PAGES * PAGE);
	for (unsigned i = 0; i < ARRAY_LEN(errors); i++) {
		write_error = errors[i];
		read_from_provider(&s, 16 * i, 16);
		scene_drain(&s);
		assert_int_equal(scene_stats(&s).skipped, 16 * (i + 1));
		assert_int_equal(scene_stats(&s).backlog, 0);
	}
	write_error = 0;
	assert_int_equal(scene_stats(&s).written, 0);
	scene_again(&s);
	read_from_provider(&s, 0, 64);
}

static void test_damage_is_a_miss(void **state)
{
	cleanup(scene_end) struct scene s;
	struct cache_entry *e;
	struct reader r;

	scene_begin(&s, *state, PAGES * PAGE);
	read_from_provider(&s, 0, 16);
	scene_restart(&s);
	e = cache_dir_entry(s.dir, 0, URL, s.size);
	cache_dir_flip(e, ".data", 5 * PAGE + 77);
	cache_entry_close(e);
	reader_start(&r, &s, 0, 16);
	fake_wait_read(s.own, 5, 1);
	fake_supply(s.own, 5, 1);
	assert_int_equal(thread_join_status(&r.thread), 0);
	/* What was fetched instead is kept. */
	scene_restart(&s);
	read_from_disk(&s, 0, 16);
}

static void test_a_data_file_that_was_cut_is_a_miss(void **state)
{
	cleanup(scene_end) struct scene s;
	struct cache_entry *e;
	struct reader r;
	char path[512];

	scene_begin(&s, *state, PAGES * PAGE);
	read_from_provider(&s, 0, 16);
	scene_drain(&s);
	scene_close(&s);
	disk_io_free(s.disk);
	cache_dir_reopen(s.dir, 0);
	e = cache_dir_entry(s.dir, 0, URL, s.size);
	snprintf(path, sizeof path, "%s/%s.data", s.dir->path, e->name);
	cache_entry_close(e);
	assert_int_equal(truncate(path, 8 * PAGE), 0);
	scene_disk(&s, 4, MIB(64));
	scene_open(&s);
	reader_start(&r, &s, 0, 16);
	fake_start(s.own, FAKE_AT_ONCE, 1, 1);
	assert_int_equal(thread_join_status(&r.thread), 0);
	fake_stop(s.own);
}

/* ---- what waits to be written ---- */

static void test_eviction_waits_for_writing(void **state)
{
	cleanup(scene_end) struct scene s;

	scene_begin(&s, *state, PAGES * PAGE);
	gate_shut_when_open(&s);
	read_from_provider(&s, 0, 512);
	gate_wait(1);
	assert_int_equal(vmo_evict(s.vmo, 0, 512 * PAGE, false), 0);
	assert_int_equal(vm_pool_evict(s.pool, 512), 0);
	assert_int_equal(scene_stats(&s).backlog, 512 * PAGE);
	gate_set(false);
	scene_drain(&s);
	/* It was asked to go while it could not. */
	disk_tier_keep(s.tier, 0, 512 * PAGE, scene_soon());
	scene_again(&s);
	read_from_disk(&s, 0, 512);
}

static bool is_evicted(void *arg)
{
	struct scene *s = arg;

	return vmo_n_resident(s->vmo) == 0;
}

static void test_what_was_left_behind_goes_when_written(void **state)
{
	cleanup(scene_end) struct scene s;

	scene_begin(&s, *state, PAGES * PAGE);
	gate_shut_when_open(&s);
	read_from_provider(&s, 0, PAGES);
	assert_int_equal(vmo_evict(s.vmo, 0, PAGES * PAGE, false), 0);
	gate_set(false);
	scene_drain(&s);
	test_wait_until(is_evicted, &s, "what was left behind is still there");
	assert_int_equal(scene_stats(&s).written, PAGES);
}

/* The disk has no part in what memory is there for. */
static void test_beyond_the_backlog_pages_go_unwritten(void **state)
{
	cleanup(scene_end) struct scene s;
	uint64_t gone;

	scene_begin(&s, *state, 4 * PAGES * PAGE);
	scene_close(&s);
	disk_io_free(s.disk);
	scene_disk(&s, 4, 512 * PAGE);
	scene_open(&s);
	gate_shut_when_open(&s);
	read_from_provider(&s, 0, PAGES);
	read_from_provider(&s, PAGES, PAGES);
	gone = vmo_evict(s.vmo, 0, 2 * PAGES * PAGE, false);
	assert_in_range(gone, 2 * PAGES - 2 * 512, 2 * PAGES - 512);
	gate_set(false);
	scene_drain(&s);
	assert_int_equal(scene_stats(&s).skipped, gone);
	assert_int_equal(scene_stats(&s).written, 2 * PAGES - gone);
}

static void test_closing_gives_up_what_waits(void **state)
{
	cleanup(scene_end) struct scene s;

	scene_begin(&s, *state, PAGES * PAGE);
	gate_shut_when_open(&s);
	read_from_provider(&s, 0, 512);
	assert_true(disk_tier_is_busy(s.tier));
	assert_int_equal(disk_tier_drain(s.tier, test_now_ns()), 512 * PAGE);
	assert_int_equal(disk_io_drain(s.disk, test_now_ns()), 512 * PAGE);
	vmo_close(s.vmo);
	assert_false(disk_tier_is_busy(s.tier));
	assert_int_equal(disk_io_drain(s.disk, test_now_ns()), 0);
	gate_set(false);
}

/* Few pages wait for more to come, unless somebody is in a hurry. */
static void test_all_is_drained(void **state)
{
	cleanup(scene_end) struct scene s;

	scene_begin(&s, *state, PAGES * PAGE);
	for (unsigned i = 0; i < 10; i++)
		read_from_provider(&s, 100 * i, 1);
	assert_int_equal(disk_io_drain(s.disk, scene_soon()), 0);
	assert_int_equal(scene_stats(&s).written, 10);
}

static void test_keeping_what_is_there(void **state)
{
	cleanup(scene_end) struct scene s;

	scene_begin(&s, *state, PAGES * PAGE);
	write_error = ENOSPC;
	read_from_provider(&s, 0, 64);
	scene_drain(&s);
	write_error = 0;
	cache_dir_tick(3600 * 1000);
	assert_int_equal(scene_stats(&s).written, 0);
	disk_tier_keep(s.tier, 0, 64 * PAGE, scene_soon());
	assert_int_equal(scene_stats(&s).written, 64);
	/* What is there is not written again. */
	disk_tier_keep(s.tier, 0, 64 * PAGE, scene_soon());
	assert_int_equal(scene_stats(&s).written, 64);
	scene_restart(&s);
	read_from_disk(&s, 0, 64);
}

/* ---- lending the file ---- */

static bool is_passed(void *arg)
{
	struct scene *s = arg;
	int fd = disk_tier_pass(s->tier);

	if (fd >= 0)
		disk_tier_unpass(s->tier);
	return fd >= 0;
}

static void test_a_whole_object_is_lent(void **state)
{
	cleanup(scene_end) struct scene s;
	char buf[PAGE];
	int fd;

	scene_begin(&s, *state, PAGES * PAGE - 5);
	read_from_provider(&s, 0, PAGES - 1);
	scene_drain(&s);
	assert_int_equal(disk_tier_pass(s.tier), -EAGAIN);
	read_from_provider(&s, PAGES - 1, 1);
	/* It verifies itself when the last page is written. */
	scene_drain(&s);
	test_wait_until(is_passed, &s, "what was written is not lent");
	fd = disk_tier_pass(s.tier);
	assert_true(fd >= 0);
	assert_int_equal(pread(fd, buf, PAGE, 33 * PAGE), PAGE);
	assert_int_equal(fake_compare(KEY, 33 * PAGE, buf, PAGE), -1);
	disk_tier_unpass(s.tier);
	/* After a restart it is only after having been verified, which asking brings about. */
	scene_restart(&s);
	assert_false(is_passed(&s));
	test_wait_until(is_passed, &s, "a whole object is not verified");
	assert_int_equal(fake_count(s.own, FAKE_SEND), 0);
}

static bool is_found_out(void *arg)
{
	struct scene *s = arg;
	struct cache_stats st;

	assert_int_equal(disk_tier_pass(s->tier), -EAGAIN);
	cache_stats(s->dir->cache[0], &st);
	return st.corrupt > 0;
}

static void test_a_damaged_object_is_not_lent(void **state)
{
	cleanup(scene_end) struct scene s;
	struct cache_entry *e;

	scene_begin(&s, *state, PAGES * PAGE);
	read_from_provider(&s, 0, PAGES);
	scene_restart(&s);
	e = cache_dir_entry(s.dir, 0, URL, s.size);
	cache_dir_flip(e, ".data", 900 * PAGE);
	cache_entry_close(e);
	test_wait_until(is_found_out, &s, "damage is not noticed");
	read_from_provider(&s, 900, 1);
	scene_drain(&s);
	test_wait_until(is_passed, &s, "a mended object is not lent");
}

/* ---- */

#define TEST(name) cmocka_unit_test_setup_teardown(name, disk_scene_setup, cache_dir_teardown)

/* ---- what cannot be trusted ---- */

static bool count_one(void *arg, const struct cache_info *i UNUSED)
{
	++*(unsigned *)arg;
	return true;
}

/* Of the directory, as another process sees it. */
static unsigned n_entries(struct scene *s)
{
	unsigned n = 0;

	assert_int_equal(cache_each(s->dir->cache[0], count_one, &n), 0);
	return n;
}

static bool has_none(void *arg)
{
	return n_entries(arg) == 0;
}

/* It comes from the provider again, in this process and after a restart, and is kept again. */
static void test_what_is_distrusted_goes(void **state)
{
	cleanup(scene_end) struct scene s;
	char buf[PAGE];

	scene_begin(&s, *state, PAGES * PAGE);
	read_from_provider(&s, 0, 600);
	scene_drain(&s);
	assert_int_equal(n_entries(&s), 1);
	vmofs_distrust(s.vmo);
	assert_int_equal(vmo_read(s.vmo, 0, buf, PAGE, NULL), -EBADMSG);
	assert_int_equal(disk_tier_pass(s.tier), -EAGAIN);
	test_wait_until(has_none, &s, "the entry stays");
	scene_restart(&s);
	read_from_provider(&s, 0, 600);
	scene_again(&s);
	read_from_disk(&s, 0, 600);
	assert_int_equal(n_entries(&s), 1);
}

/* Nothing of it has been opened yet, and what is on the disk is of an earlier run. */
static void test_distrusted_before_it_is_open(void **state)
{
	cleanup(scene_end) struct scene s;

	scene_begin(&s, *state, PAGES * PAGE);
	read_from_provider(&s, 0, 64);
	scene_drain(&s);
	scene_close(&s);
	disk_io_free(s.disk);
	cache_dir_reopen(s.dir, 0);
	scene_disk(&s, 4, MIB(64));
	gate_set(true);
	scene_open(&s);
	gate_wait(1);
	vmofs_distrust(s.vmo);
	gate_set(false);
	test_wait_until(has_none, &s, "the entry stays");
}

/* Who is at work writing does not make it anew. */
static void test_distrusted_while_it_is_written(void **state)
{
	cleanup(scene_end) struct scene s;

	scene_begin(&s, *state, PAGES * PAGE);
	read_from_provider(&s, 0, 512);
	scene_drain(&s);
	gate_shut_when_open(&s);
	assert_int_equal(fake_supply(s.own, 512, 512), 512 * PAGE);
	gate_wait(1);
	vmofs_distrust(s.vmo);
	assert_false(disk_tier_is_busy(s.tier));
	gate_set(false);
	test_wait_until(has_none, &s, "the entry stays");
	scene_restart(&s);
	assert_int_equal(n_entries(&s), 0);
	read_from_provider(&s, 0, PAGES);
}

static bool is_lent(void *arg)
{
	return disk_tier_pass(((struct scene *)arg)->tier) >= 0;
}

/* Who reads the file itself goes on with what he has, as when the object has changed; nobody else gets it. */
static void test_distrusted_while_it_is_lent(void **state)
{
	cleanup(scene_end) struct scene s;

	scene_begin(&s, *state, PAGES * PAGE);
	read_from_provider(&s, 0, PAGES);
	scene_drain(&s);
	test_wait_until(is_lent, &s, "the file is not lent");
	vmofs_distrust(s.vmo);
	test_wait_until(has_none, &s, "the entry stays");
	assert_int_equal(disk_tier_pass(s.tier), -EAGAIN);
	disk_tier_unpass(s.tier);
	scene_again(&s);
	read_from_provider(&s, 0, PAGES);
}

/* ---- writing in place ---- */

/* What is being written is of the version that was read; nothing that comes later is kept. */
static void test_writing_ends_it(void **state)
{
	cleanup(scene_end) struct scene s;
	struct reader r;

	scene_begin(&s, *state, PAGES * PAGE);
	read_from_provider(&s, 0, 16);
	scene_drain(&s);
	gate_shut_when_open(&s);
	assert_int_equal(fake_supply(s.own, 512, 512), 512 * PAGE);
	gate_wait(1);
	assert_int_equal(vmo_make_writable(s.vmo, NULL), 0);
	assert_false(disk_tier_is_busy(s.tier));
	assert_int_equal(vmo_zero(s.vmo, 0, 8 * PAGE, NULL), 0);
	for (uint64_t i = 512; i < 600; i++)
		assert_int_equal(vmo_write_now(s.vmo, i * PAGE, "not the origin's", 16), 16);
	gate_set(false);
	assert_int_equal(fake_supply(s.own, 32, 16), 16 * PAGE);
	scene_drain(&s);
	assert_int_equal(disk_tier_pass(s.tier), -EAGAIN);
	scene_again(&s);
	read_from_disk(&s, 0, 16);
	read_from_provider(&s, 32, 16);
	fake_start(s.own, FAKE_AT_ONCE, 1, 0);
	reader_start(&r, &s, 512, 512);
	assert_int_equal(thread_join_status(&r.thread), 0);
}

static void test_writing_sends_requests_on(void **state)
{
	cleanup(scene_end) struct scene s;
	struct reader r;

	scene_begin(&s, *state, PAGES * PAGE);
	read_from_provider(&s, 0, 64);
	scene_restart(&s);
	read_from_disk(&s, 0, 1);
	gate_shut_when_open(&s);
	reader_start(&r, &s, 8, 8);
	gate_wait(1);
	assert_int_equal(vmo_make_writable(s.vmo, NULL), 0);
	fake_wait_read(s.own, 8, 8);
	assert_int_equal(fake_supply(s.own, 8, 4), 4 * PAGE);
	/* What the disk was asked for before is of the same version still. */
	gate_set(false);
	assert_int_equal(thread_join_status(&r.thread), 0);
	read_from_provider(&s, 20, 4);
}

static void test_writing_before_it_is_open(void **state)
{
	cleanup(scene_end) struct scene s;
	struct reader r;

	scene_begin(&s, *state, PAGES * PAGE);
	scene_close(&s);
	gate_set(true);
	scene_open(&s);
	reader_start(&r, &s, 0, 16);
	fake_wait_blocked(s.own, 1);
	assert_int_equal(vmo_make_writable(s.vmo, NULL), 0);
	fake_wait_read(s.own, 0, 16);
	assert_int_equal(fake_supply(s.own, 0, 16), 16 * PAGE);
	assert_int_equal(thread_join_status(&r.thread), 0);
	gate_set(false);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_what_was_fetched_comes_back),
		TEST(test_a_small_object_comes_back),
		TEST(test_only_what_is_missing_is_fetched),
		TEST(test_zeros_come_back),
		TEST(test_neighbours_are_read_together),
		TEST(test_what_came_before_the_tier_is_kept),
		TEST(test_two_vmos_of_one_object),
		TEST(test_requests_wait_for_the_entry),
		TEST(test_closing_while_the_entry_is_opened),
		TEST(test_closing_while_a_read_is_under_way),
		TEST(test_requests_change_while_they_wait),
		TEST(test_reads_fail),
		TEST(test_writes_fail),
		TEST(test_damage_is_a_miss),
		TEST(test_a_data_file_that_was_cut_is_a_miss),
		TEST(test_eviction_waits_for_writing),
		TEST(test_what_was_left_behind_goes_when_written),
		TEST(test_beyond_the_backlog_pages_go_unwritten),
		TEST(test_closing_gives_up_what_waits),
		TEST(test_all_is_drained),
		TEST(test_keeping_what_is_there),
		TEST(test_a_whole_object_is_lent),
		TEST(test_a_damaged_object_is_not_lent),
		TEST(test_what_is_distrusted_goes),
		TEST(test_distrusted_before_it_is_open),
		TEST(test_distrusted_while_it_is_written),
		TEST(test_distrusted_while_it_is_lent),
		TEST(test_writing_ends_it),
		TEST(test_writing_sends_requests_on),
		TEST(test_writing_before_it_is_open),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
