/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A cache directory treated badly: files swapped and removed under it, mappings that outlive their pins, clocks that
 * jump, objects of every awkward size, and two caches that write, read, verify and clean the same objects at once.
 * Bytes are right or missing.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/macros.h"
#include "lib/cache_dir.h"
#include "lib/prng.h"
#include "store/cache_private.h"

#define SEG 512u

static void fill(struct cache_entry *e)
{
	for (uint64_t p = 0; p < e->n_pages; p += SEG)
		assert_int_equal(cache_dir_write(e, p, MIN(e->n_pages - p, SEG)), 0);
}

static void complete(struct cache_entry *e)
{
	while (cache_entry_verify(e, UINT64_MAX))
		;
	assert_true(cache_entry_is_complete(e));
}

/* ---- what the kernel has been given ---- */

static bool is_right(const char *url, const char *map, uint64_t n_pages)
{
	char want[CACHE_PAGE];

	for (uint64_t p = 0; p < n_pages; p++) {
		cache_dir_page(url, p, want);
		if (memcmp(map + p * CACHE_PAGE, want, CACHE_PAGE) != 0)
			return false;
	}
	return true;
}

/* A mapping of a file that was lent lives on when it has been given back. */
static void mapped(struct cache_dir *d, uint64_t size, void (*clean)(struct cache_dir *d))
{
	struct cache_entry *e = cache_dir_entry(d, 0, "m", size);
	char *map;
	int fd;

	fill(e);
	complete(e);
	fd = cache_entry_pin(e);
	assert_true(fd >= 0);
	map = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
	assert_true(map != MAP_FAILED);
	cache_entry_unpin(e);
	cache_entry_close(e);
	clean(d);
	assert_true(is_right("m", map, size / CACHE_PAGE));
	munmap(map, size);
}

static void clean_to_nothing(struct cache_dir *d)
{
	struct cache_work w;

	cache_dir_tick(1000000);
	d->limit = KIB(64);
	cache_dir_reopen(d, 0);
	assert_int_equal(cache_gc(d->cache[0], &w), 0);
	assert_true(cache_dir_bytes(d) <= KIB(64));
}

static void clean_a_part(struct cache_dir *d)
{
	struct cache_work w;

	cache_dir_tick(1000000);
	d->limit = MIB(6);
	cache_dir_reopen(d, 0);
	assert_int_equal(cache_gc(d->cache[0], &w), 0);
	assert_true(cache_dir_bytes(d) <= MIB(6));
}

static void clean_by_people(struct cache_dir *d)
{
	struct cache_work w;

	assert_int_equal(cache_clear(d->cache[0], NULL, &w), 0);
	assert_true(w.bytes > 0);
}

/* A page goes bad on the disk, is found to be so, and is written again. */
static void damage_and_write(struct cache_dir *d)
{
	struct cache_entry *e = cache_dir_entry(d, 0, "m", MIB(8));
	struct cache_work w;

	cache_entry_close(e);
	assert_int_equal(cache_verify(d->cache[0], &w), 0);
	e = cache_dir_entry(d, 0, "m", MIB(8));
	for (uint64_t p = 0; p < e->n_pages; p += SEG)
		cache_dir_write(e, p, SEG);
	cache_entry_close(e);
}

static void test_mappings_outlive_pins(void **state)
{
	struct cache_dir *d = *state;
	void (*const ways[])(struct cache_dir *) = {
		clean_to_nothing,
		clean_a_part,
		clean_by_people,
		damage_and_write,
	};

	for (unsigned i = 0; i < ARRAY_LEN(ways); i++) {
		d->limit = 0;
		cache_dir_reopen(d, 0);
		mapped(d, MIB(8), ways[i]);
	}
}

/* ---- files that change under it ---- */

static struct cache *other;
static struct cache_entry *others;
static unsigned n_swaps;

static struct cache_entry *open_other(void)
{
	struct cache_key key = { .url = "s", .validator = "\"v1\"", .size = MIB(4) };
	struct cache_entry *e;

	if (cache_entry_open(other, &key, &e) < 0)
		abort();
	return e;
}

/* Another process, the writer, removes them and makes them anew. */
static void *swap(void *arg)
{
	struct cache_work w;

	(void)arg;
	cache_entry_close(others);
	if (cache_clear(other, NULL, &w) < 0 || w.bytes < MIB(4))
		abort();
	others = open_other();
	for (uint64_t p = 0; p < others->n_pages; p += SEG)
		(void)cache_dir_write(others, p, SEG);
	(void)cache_entry_flush(others);
	return NULL;
}

/* Right before the data file is opened both files are replaced. */
static int swapping_openat(int dir, const char *path, int flags, mode_t mode)
{
	const char *dot = strrchr(path, '.');
	pthread_t t;

	if (n_swaps && dot && !strcmp(dot, ".data")) {
		n_swaps--;
		assert_int_equal(pthread_create(&t, NULL, swap, NULL), 0);
		pthread_join(t, NULL);
	}
	return cache_io_system.openat(dir, path, flags, mode);
}

/* What a reader trusts is what the writer may not drop. */
static void test_files_swapped_while_they_are_opened(void **state)
{
	struct cache_dir *d = *state;
	struct cache_entry *e;
	struct cache_work w;
	int fd;

	cache_dir_reopen(d, 1);
	other = d->cache[1];
	others = open_other();
	fill(others);
	cache_entry_flush(others);
	d->io.openat = swapping_openat;
	cache_dir_reopen(d, 0);
	n_swaps = 1;
	e = cache_dir_entry(d, 0, "s", MIB(4));
	(void)cache_dir_read(e, 0, 1);
	assert_int_equal(n_swaps, 0);
	while (cache_entry_verify(e, UINT64_MAX))
		;
	fd = cache_entry_pin(e);
	if (fd >= 0) {
		char *map = mmap(NULL, MIB(4), PROT_READ, MAP_SHARED, fd, 0);

		assert_true(map != MAP_FAILED);
		cache_dir_tick(1000000);
		other->limit = KIB(64);
		cache_gc(other, &w);
		assert_true(is_right("s", map, MIB(4) / CACHE_PAGE));
		munmap(map, MIB(4));
		cache_entry_unpin(e);
	}
	cache_dir_read(e, 0, 1024);
	cache_entry_close(e);
	cache_entry_close(others);
}

static void run(const char *format, const char *path)
{
	char command[400];

	snprintf(command, sizeof command, format, path);
	assert_int_equal(system(command), 0);
}

static void test_the_directory_goes(void **state)
{
	struct cache_dir *d = *state;
	struct cache_entry *e = cache_dir_entry(d, 0, "g", MIB(4));
	struct cache_entry *n;
	struct cache_stats st;
	struct cache_work w;

	fill(e);
	run("rm -rf '%s'/*", d->path);
	assert_int_equal(cache_dir_read(e, 0, 1024), 1024);
	assert_int_equal(cache_dir_write(e, 0, 512), 0);
	cache_entry_close(e);
	/* It is made anew. */
	e = cache_dir_entry(d, 0, "g", MIB(4));
	assert_int_equal(cache_dir_read(e, 0, 1024), 0);
	fill(e);
	assert_int_equal(cache_dir_read(e, 0, 1024) ? 1 : 0, 1);
	run("rm -rf '%s'", d->path);
	(void)cache_dir_read(e, 0, 1024);
	(void)cache_dir_write(e, 0, 512);
	n = cache_dir_entry(d, 0, "new", MIB(4));
	assert_true(cache_dir_write(n, 0, 512) < 0);
	assert_int_equal(cache_dir_read(n, 0, 512), 0);
	cache_entry_close(n);
	cache_entry_close(e);
	(void)cache_gc(d->cache[0], &w);
	(void)cache_verify(d->cache[0], &w);
	cache_stats(d->cache[0], &st);
	assert_false(st.writing);
	run("mkdir '%s'", d->path);
}

/* What stands in a file's place is no file of ours. */
static void test_odd_things_in_the_way(void **state)
{
	static const char *const make[] = { "mkdir", "ln -s /etc/passwd", "mkfifo" };
	struct cache_dir *d = *state;

	for (unsigned i = 0; i < ARRAY_LEN(make); i++)
		for (unsigned k = 0; k < 2; k++) {
			struct cache_entry *e;
			struct cache_work w;
			char command[900];
			char url[16];

			snprintf(url, sizeof url, "odd%u%u", i, k);
			cache_dir_reopen(d, 0);
			e = cache_dir_entry(d, 0, url, MIB(4));
			snprintf(command, sizeof command, "mkdir -p '%s/%.2s' && %s '%s/%s%s'",
				 d->path, e->name, make[i], d->path, e->name,
				 k ? ".data" : ".index");
			assert_int_equal(system(command), 0);
			assert_int_equal(cache_dir_read(e, 0, 512), 0);
			(void)cache_dir_write(e, 0, 512);
			(void)cache_dir_read(e, 0, 512);
			cache_entry_close(e);
			(void)cache_gc(d->cache[0], &w);
			(void)cache_verify(d->cache[0], &w);
			(void)cache_clear(d->cache[0], NULL, &w);
		}
}

/* ---- sizes, names, clocks ---- */

static void test_awkward_sizes(void **state)
{
	static const uint64_t sizes[] = {
		0, 1, 4095, 4096, 4097, MIB(2) - 1, MIB(2), MIB(2) + 1, MIB(4), UINT64_C(1) << 40,
	};
	struct cache_dir *d = *state;
	char url[32];

	for (unsigned i = 0; i < ARRAY_LEN(sizes); i++) {
		uint64_t last = sizes[i] ? (sizes[i] - 1) / CACHE_PAGE : 0;
		struct cache_entry *e;
		unsigned n = sizes[i] > 0;

		snprintf(url, sizeof url, "size %u", i);
		for (unsigned again = 0; again < 2; again++) {
			e = cache_dir_entry(d, 0, url, sizes[i]);
			if (!again)
				(void)cache_dir_write(e, last, 1);
			assert_int_equal(cache_dir_read(e, last, 1), n);
			assert_int_equal(cache_dir_read(e, last + 1, 1), 0);
			assert_false(sizes[i] > MIB(2) && cache_entry_is_whole(e));
			(void)cache_entry_verify(e, UINT64_MAX);
			cache_entry_close(e);
			cache_dir_reopen(d, 0);
		}
	}
}

static void test_long_names(void **state)
{
	struct cache_dir *d = *state;
	char *url = malloc(8192);

	assert_non_null(url);
	for (size_t n = 4090; n < 4100; n++) {
		struct cache_entry *e;
		bool kept;

		memset(url, 'u', n);
		url[n] = '\0';
		e = cache_dir_entry(d, 0, url, 10000);
		kept = cache_dir_write(e, 0, 3) == 0;
		assert_int_equal(kept, n < 4096);
		cache_entry_close(e);
		cache_dir_reopen(d, 0);
		e = cache_dir_entry(d, 0, url, 10000);
		assert_int_equal(cache_dir_read(e, 0, 3), kept ? 3 : 0);
		cache_entry_close(e);
	}
	free(url);
}

static atomic_int jump_sec;

static uint64_t jumping_sec(void)
{
	return (uint64_t)((int64_t)1700000000 + atomic_load(&jump_sec));
}

/* Of whatever the clock said, room is made, and what is read is right. */
static void test_the_clock_jumps(void **state)
{
	static const int jumps[] = { 0, 1000000000, -1600000000, 5, -1699999999, 1 };
	struct cache_dir *d = *state;
	struct cache_work w;

	d->io.now_sec = jumping_sec;
	d->limit = MIB(8);
	cache_dir_reopen(d, 0);
	for (unsigned i = 0; i < 5 * ARRAY_LEN(jumps); i++) {
		char url[16];
		struct cache_entry *e;

		atomic_store(&jump_sec, jumps[i % ARRAY_LEN(jumps)]);
		snprintf(url, sizeof url, "j%u", i % 7);
		e = cache_dir_entry(d, 0, url, MIB(4));
		if (cache_dir_read(e, 0, 512) < 512)
			(void)cache_dir_write(e, 0, 512);
		(void)cache_dir_read(e, 0, 512);
		cache_entry_close(e);
		assert_int_equal(cache_gc(d->cache[0], &w), 0);
		assert_true(cache_dir_bytes(d) <= MIB(8));
	}
}

/* ---- all at once ---- */

enum { THREADS = 6, URLS = 5 };

struct worker {
	struct cache_dir *d;
	pthread_t thread;
	struct prng rng;
	unsigned which;
	unsigned rounds;
	uint64_t read;
};

static uint64_t size_of(unsigned u)
{
	static const uint64_t sizes[URLS] = { 5000, MIB(2), MIB(5) + 77, MIB(9), 4096 };

	return sizes[u];
}

/* As a mount lends a file: what is mapped is right for as long as it is. */
static void lend(struct cache_entry *e, const char *url)
{
	int fd;
	char *map;

	while (cache_entry_verify(e, UINT64_MAX))
		;
	fd = cache_entry_pin(e);
	if (fd < 0)
		return;
	map = mmap(NULL, e->size, PROT_READ, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		abort();
	if (!is_right(url, map, e->size / CACHE_PAGE))
		abort();
	cache_entry_unpin(e);
	if (!is_right(url, map, e->size / CACHE_PAGE))
		abort();
	munmap(map, e->size);
}

static void one_step(struct worker *w, struct cache_entry *e, const char *url)
{
	uint64_t first = prng_below(&w->rng, e->n_pages);
	uint64_t n = 1 + prng_below(&w->rng, MIN(e->n_pages - first, 700));
	uint64_t end = e->n_pages;
	struct cache_work work;

	switch (prng_below(&w->rng, 12)) {
	case 0:
	case 1:
	case 2:
	case 3:
		(void)cache_dir_write(e, first, n);
		break;
	case 4:
	case 5:
	case 6:
	case 7:
		w->read += cache_dir_read(e, first, n);
		break;
	case 8:
		lend(e, url);
		break;
	case 9:
		(void)cache_entry_may_have(e, first, &end);
		(void)cache_entry_is_whole(e);
		(void)cache_entry_flush(e);
		break;
	case 10:
		cache_dir_tick(prng_below(&w->rng, 3000));
		cache_close_idle(w->d->cache[w->which]);
		break;
	default:
		(void)cache_gc(w->d->cache[w->which], &work);
		if (prng_below(&w->rng, 4) == 0)
			(void)cache_clear(w->d->cache[w->which], NULL, &work);
		else if (prng_below(&w->rng, 4) == 0)
			(void)cache_verify(w->d->cache[w->which], &work);
	}
}

static void *worker_run(void *arg)
{
	struct worker *w = arg;

	for (unsigned i = 0; i < w->rounds; i++) {
		unsigned u = (unsigned)prng_below(&w->rng, URLS);
		struct cache_entry *e;
		char url[8];

		snprintf(url, sizeof url, "u%u", u);
		e = cache_dir_entry(w->d, w->which, url, size_of(u));
		for (unsigned k = 0; k < 8; k++)
			one_step(w, e, url);
		cache_entry_close(e);
	}
	return NULL;
}

/* Threads of two caches on one directory, with a limit that all of it does not fit into. */
static void test_two_caches_at_once(void **state)
{
	struct cache_dir *d = *state;
	struct worker w[THREADS];
	uint64_t read = 0;

	d->limit = MIB(10);
	cache_dir_reopen(d, 0);
	cache_dir_reopen(d, 1);
	for (unsigned i = 0; i < THREADS; i++) {
		w[i] = (struct worker){ .d = d, .which = i % 2, .rounds = 60 };
		w[i].rng.state = i + 1;
		assert_int_equal(pthread_create(&w[i].thread, NULL, worker_run, &w[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		pthread_join(w[i].thread, NULL);
		read += w[i].read;
	}
	assert_true(read > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_awkward_sizes, cache_dir_setup,
						cache_dir_teardown),
		cmocka_unit_test_setup_teardown(test_files_swapped_while_they_are_opened,
						cache_dir_setup, cache_dir_teardown),
		cmocka_unit_test_setup_teardown(test_long_names, cache_dir_setup,
						cache_dir_teardown),
		cmocka_unit_test_setup_teardown(test_mappings_outlive_pins, cache_dir_setup,
						cache_dir_teardown),
		cmocka_unit_test_setup_teardown(test_odd_things_in_the_way, cache_dir_setup,
						cache_dir_teardown),
		cmocka_unit_test_setup_teardown(test_the_clock_jumps, cache_dir_setup,
						cache_dir_teardown),
		cmocka_unit_test_setup_teardown(test_the_directory_goes, cache_dir_setup,
						cache_dir_teardown),
		cmocka_unit_test_setup_teardown(test_two_caches_at_once, cache_dir_setup,
						cache_dir_teardown),
	};

	alarm(300);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
