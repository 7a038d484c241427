/* SPDX-License-Identifier: Apache-2.0 */
/* A cache directory kept under its limit: what goes, what stays, and what people ask of it. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/macros.h"
#include "lib/cache_dir.h"
#include "store/cache_clean.h"

#define SEG 512u

/* Writes and forgets. */
static void fill(struct cache_dir *d, const char *url, uint64_t size)
{
	struct cache_entry *e = cache_dir_entry(d, 0, url, size);

	for (uint64_t p = 0; p < e->n_pages; p += SEG)
		assert_int_equal(cache_dir_write(e, p, MIN(e->n_pages - p, SEG)), 0);
	cache_entry_close(e);
}

/* How many pages of it there are; reading them is a use. */
static uint64_t touch(struct cache_dir *d, const char *url, uint64_t size)
{
	struct cache_entry *e = cache_dir_entry(d, 0, url, size);
	uint64_t n = 0, p = 0;

	while (p < e->n_pages) {
		uint64_t end = e->n_pages, got;

		if (!cache_entry_may_have(e, p, &end)) {
			p = end;
			continue;
		}
		got = cache_dir_read(e, p, MIN(e->n_pages - p, SEG));
		n += got;
		p += got ? got : 1;
	}
	cache_entry_close(e);
	return n;
}

static void set_limit(struct cache_dir *d, uint64_t limit)
{
	d->limit = limit;
	cache_dir_reopen(d, 0);
}

static uint64_t gc(struct cache_dir *d)
{
	struct cache_work w;

	assert_int_equal(cache_gc(d->cache[0], &w), 0);
	return w.bytes;
}

static void test_oldest_goes_first(void **state)
{
	struct cache_dir *d = *state;
	char url[8];

	for (unsigned i = 0; i < 16; i++) {
		snprintf(url, sizeof url, "%u", i);
		fill(d, url, MIB(4));
		cache_dir_tick(UINT64_C(100000) << (16 - i));
	}
	set_limit(d, MIB(32));
	assert_true(gc(d) >= MIB(32));
	assert_true(cache_dir_bytes(d) <= MIB(32));
	assert_true(cache_dir_bytes(d) >= MIB(24));
	for (unsigned i = 0; i < 16; i++) {
		snprintf(url, sizeof url, "%u", i);
		if (i < 8)
			assert_int_equal(touch(d, url, MIB(4)), 0);
		else if (i > 8)
			assert_int_equal(touch(d, url, MIB(4)), 1024);
	}
	assert_int_equal(gc(d), 0);
}

static void test_small_objects_go_whole(void **state)
{
	struct cache_dir *d = *state;
	char url[8];

	for (unsigned i = 0; i < 200; i++) {
		snprintf(url, sizeof url, "%u", i);
		fill(d, url, 5000);
		if (i == 149)
			cache_dir_tick(1000000);
	}
	set_limit(d, KIB(600));
	gc(d);
	assert_true(cache_dir_bytes(d) <= KIB(600));
	assert_true(cache_dir_bytes(d) >= KIB(500));
	for (unsigned i = 0; i < 150; i++) {
		snprintf(url, sizeof url, "%u", i);
		assert_int_equal(touch(d, url, 5000), 0);
	}
}

static void test_scan_does_not_drive_out_what_is_used(void **state)
{
	struct cache_dir *d = *state;

	fill(d, "hot", MIB(16));
	cache_dir_tick(60000);
	assert_int_equal(touch(d, "hot", MIB(16)), 4096);
	cache_dir_tick(60000);
	/* Younger, but nobody comes back to it. */
	fill(d, "scan", MIB(48));
	cache_dir_tick(1000);
	set_limit(d, MIB(32));
	gc(d);
	assert_true(cache_dir_bytes(d) <= MIB(32));
	assert_int_equal(touch(d, "hot", MIB(16)), 4096);
	assert_true(touch(d, "scan", MIB(48)) > 0);
}

static void test_protected_share_is_bounded(void **state)
{
	struct cache_dir *d = *state;

	fill(d, "used", MIB(32));
	cache_dir_tick(60000);
	assert_int_equal(touch(d, "used", MIB(32)), 8192);
	cache_dir_tick(600000);
	fill(d, "new", MIB(4));
	set_limit(d, MIB(32));
	gc(d);
	/* The older protected ones beyond three quarters went before the new one. */
	assert_int_equal(touch(d, "new", MIB(4)), 1024);
	assert_true(cache_dir_bytes(d) <= MIB(32));
	assert_true(touch(d, "used", MIB(32)) >= 4096);
}

static void test_a_full_disk_takes_what_is_protected_too(void **state)
{
	struct cache_dir *d = *state;

	fill(d, "used", MIB(8));
	cache_dir_tick(60000);
	assert_int_equal(touch(d, "used", MIB(8)), 2048);
	cache_dir_tick(60000);
	/* More is missing than all of the cache has. */
	d->floor = UINT64_C(1) << 60;
	cache_dir_reopen(d, 0);
	gc(d);
	assert_int_equal(touch(d, "used", MIB(8)), 0);
}

static void test_who_reads_in_a_circle_finds_some(void **state)
{
	struct cache_dir *d = *state;
	uint64_t size = MIB(48), again = 0;
	struct cache_entry *e;

	set_limit(d, MIB(24));
	e = cache_dir_entry(d, 0, "a", size);
	for (unsigned round = 0; round < 3; round++)
		for (uint64_t p = 0; p < e->n_pages; p += SEG) {
			uint64_t got = cache_dir_read(e, p, SEG);

			if (round)
				again += got;
			if (!got)
				cache_dir_write(e, p, SEG);
			if (atomic_load(&d->cache[0]->bytes) > cache_high(d->cache[0]))
				gc(d);
			cache_dir_tick(100);
		}
	/* A quarter of the two rounds, where the best is a half. */
	assert_true(again >= e->n_pages / 2);
	cache_entry_close(e);
}

static void test_pinned_and_foreign_stay(void **state)
{
	struct cache_dir *d = *state;
	struct cache_entry *pinned, *foreign;

	cache_dir_reopen(d, 1);
	pinned = cache_dir_entry(d, 0, "pinned", MIB(8));
	assert_int_equal(cache_dir_write(pinned, 0, 2048), 0);
	assert_int_equal(cache_entry_verify(pinned, 4096), 2048);
	assert_true(cache_entry_pin(pinned) >= 0);
	foreign = cache_dir_entry(d, 1, "foreign", MIB(8));
	assert_int_equal(cache_dir_write(foreign, 0, 2048), 0);
	assert_int_equal(cache_entry_flush(foreign), 0);
	cache_dir_tick(100000);
	fill(d, "free", MIB(8));
	d->cache[0]->limit = MIB(1);
	gc(d);
	assert_int_equal(cache_dir_read(pinned, 0, 2048), 2048);
	assert_int_equal(cache_dir_read(foreign, 0, 2048), 2048);
	assert_int_equal(touch(d, "free", MIB(8)), 0);
	/* Unpinned it goes, though it is open. */
	cache_entry_unpin(pinned);
	gc(d);
	assert_int_equal(cache_dir_read(pinned, 0, 2048), 0);
	assert_false(cache_entry_is_complete(pinned));
	d->cache[0]->limit = 0;
	assert_int_equal(cache_dir_write(pinned, 0, 2048), 0);
	assert_int_equal(cache_dir_read(pinned, 0, 2048), 2048);
	cache_entry_close(pinned);
	cache_entry_close(foreign);
}

static void test_pinned_by_a_reader_stays(void **state)
{
	struct cache_dir *d = *state;
	struct cache_entry *a = cache_dir_entry(d, 0, "a", MIB(4)), *b;

	cache_dir_reopen(d, 1);
	assert_int_equal(cache_dir_write(a, 0, 1024), 0);
	assert_int_equal(cache_entry_flush(a), 0);
	b = cache_dir_entry(d, 1, "a", MIB(4));
	while (cache_entry_verify(b, 1000))
		;
	assert_true(cache_entry_pin(b) >= 0);
	cache_dir_tick(100000);
	d->cache[0]->limit = MIB(1);
	gc(d);
	assert_int_equal(cache_dir_read(a, 0, 1024), 1024);
	cache_entry_unpin(b);
	cache_entry_close(b);
	gc(d);
	assert_int_equal(cache_dir_read(a, 0, 1024), 0);
	cache_entry_close(a);
}

static void test_writing_stops_above_the_limit(void **state)
{
	struct cache_dir *d = *state;
	struct cache_entry *e;

	set_limit(d, MIB(4));
	e = cache_dir_entry(d, 0, "a", MIB(16));
	for (uint64_t p = 0; p < 1024; p += 128)
		assert_int_equal(cache_dir_write(e, p, 128), 0);
	assert_int_equal(cache_dir_write(e, 1024, 128), 0);
	assert_int_equal(cache_dir_write(e, 1152, 128), -ENOSPC);
	assert_int_equal(cache_entry_flush(e), 0);
	cache_dir_tick(100000);
	gc(d);
	assert_int_equal(cache_dir_write(e, 1152, 128), 0);
	cache_entry_close(e);
}

static void test_one_cleaner_at_a_time(void **state)
{
	struct cache_dir *d = *state;
	struct cache_clean how = { .extra = 1 };
	char path[300];
	int fd;

	fill(d, "a", MIB(1));
	snprintf(path, sizeof path, "%s/lock", d->path);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(cache_io_system.flock(fd, 2), 0);
	assert_int_equal(cache_clean(d->cache[0], &how, NULL), -EBUSY);
	close(fd);
	assert_int_equal(cache_clean(d->cache[0], &how, NULL), 0);
	assert_int_equal(touch(d, "a", MIB(1)), 0);
}

/* -- commands --------------------------------------------------------------------------------- */

static bool sum_info(void *arg, const struct cache_info *i)
{
	struct cache_info *sum = arg;

	sum->present += i->present;
	sum->size += i->size;
	sum->disk += i->disk;
	sum->damaged |= i->damaged;
	sum->in_use |= i->in_use;
	assert_true(i->damaged || strcmp(i->validator, "\"v1\"") == 0);
	return true;
}

static void test_list_verify_clear(void **state)
{
	struct cache_dir *d = *state;
	struct cache_info sum = { .size = 0 };
	struct cache_entry *e;
	struct cache_work w;

	fill(d, "one", MIB(5) + 1);
	fill(d, "two", 77);
	assert_int_equal(cache_each(d->cache[0], sum_info, &sum), 0);
	assert_int_equal(sum.present, MIB(5) + 1 + 77);
	assert_int_equal(sum.size, MIB(5) + 1 + 77);
	assert_false(sum.damaged || sum.in_use);
	assert_int_equal(cache_verify(d->cache[0], &w), 0);
	assert_int_equal(w.entries, 2);
	assert_int_equal(w.pages, 1282);
	assert_int_equal(w.bad, 0);

	e = cache_dir_entry(d, 0, "one", MIB(5) + 1);
	cache_dir_flip(e, ".data", MIB(3));
	cache_dir_flip(e, ".index", e->at.len + 100);
	assert_int_equal(cache_each(d->cache[0], sum_info, &sum), 0);
	assert_true(sum.damaged && sum.in_use);
	assert_int_equal(cache_verify(d->cache[0], &w), 0);
	assert_int_equal(w.skipped, 1);
	cache_entry_close(e);
	assert_int_equal(cache_verify(d->cache[0], &w), 0);
	assert_int_equal(w.bad, 2);
	assert_true(w.bytes >= MIB(1));
	assert_int_equal(cache_verify(d->cache[0], &w), 0);
	assert_int_equal(w.bad, 0);
	assert_int_equal(touch(d, "one", MIB(5) + 1), 1281 - 512 - 1);

	assert_int_equal(cache_clear(d->cache[0], "two", &w), 0);
	assert_int_equal(w.pages, 1);
	assert_int_equal(touch(d, "two", 77), 0);
	e = cache_dir_entry(d, 0, "one", MIB(5) + 1);
	assert_int_equal(cache_clear(d->cache[0], NULL, &w), 0);
	assert_int_equal(w.skipped, 1);
	cache_entry_close(e);
	assert_int_equal(cache_clear(d->cache[0], NULL, &w), 0);
	assert_true(w.bytes >= MIB(2));
	assert_true(cache_dir_bytes(d) <= 2 * 4096);
}

static void test_gc_removes_what_crashes_leave(void **state)
{
	struct cache_dir *d = *state;
	struct cache_entry *e = cache_dir_entry(d, 0, "lost", MIB(8));
	char path[600], zeros[64] = { 0 };
	uint64_t before;

	/* Written, but the index does not know of the second half. */
	assert_int_equal(cache_dir_write(e, 0, 2048), 0);
	assert_int_equal(cache_entry_flush(e), 0);
	for (unsigned i = 2; i < 4; i++)
		for (unsigned k = 0; k < 40; k++)
			cache_dir_poke(e, ".index", cache_record_at(&e->at, i) + 54 * k, zeros, 54);
	cache_entry_close(e);
	fill(d, "orphan", 100);
	e = cache_dir_entry(d, 0, "orphan", 100);
	snprintf(path, sizeof path, "%s/%s.index", d->path, e->name);
	cache_entry_close(e);
	assert_int_equal(unlink(path), 0);
	before = cache_dir_bytes(d);
	assert_true(gc(d) >= MIB(4));
	assert_true(cache_dir_bytes(d) + MIB(4) <= before);
	assert_int_equal(touch(d, "lost", MIB(8)), 1024);
	assert_int_equal(touch(d, "orphan", 100), 0);
	assert_int_equal(gc(d), 0);
}

static void test_other_files_are_left_alone(void **state)
{
	struct cache_dir *d = *state;
	struct cache_work w;
	char path[300];
	int fd;

	fill(d, "a", 100);
	snprintf(path, sizeof path, "%s/ab", d->path);
	mkdir(path, 0700);
	snprintf(path, sizeof path, "%s/ab/mine.data", d->path);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	close(fd);
	gc(d);
	assert_int_equal(cache_clear(d->cache[0], NULL, &w), 0);
	assert_int_equal(access(path, F_OK), 0);
}

static void test_ages_grow(void **state)
{
	unsigned last = 0;

	(void)state;
	for (uint64_t age = 0; age < UINT64_C(1) << 40; age += 1 + age / 50) {
		assert_true(cache_age_bucket(age) >= last);
		last = cache_age_bucket(age);
	}
	assert_true(last < 64);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, cache_dir_setup, cache_dir_teardown)
	const struct CMUnitTest tests[] = {
		T(test_oldest_goes_first),
		T(test_small_objects_go_whole),
		T(test_scan_does_not_drive_out_what_is_used),
		T(test_protected_share_is_bounded),
		T(test_a_full_disk_takes_what_is_protected_too),
		T(test_who_reads_in_a_circle_finds_some),
		T(test_pinned_and_foreign_stay),
		T(test_pinned_by_a_reader_stays),
		T(test_writing_stops_above_the_limit),
		T(test_one_cleaner_at_a_time),
		T(test_list_verify_clear),
		T(test_gc_removes_what_crashes_leave),
		T(test_other_files_are_left_alone),
		cmocka_unit_test(test_ages_grow),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
