/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Threads of two processes' caches on one directory at once: readers, writers, verifiers, who closes descriptors and
 * who makes room. Each byte that is read is checked; the threads take a fixed number of steps, nobody sleeps.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/log.h"
#include "base/macros.h"
#include "lib/cache_dir.h"
#include "store/cache_clean.h"

#ifdef VMOFS_SANITIZED
enum { STEPS = 150 };
#else
enum { STEPS = 600 };
#endif
enum { OBJECTS = 12, THREADS = 6 };

struct worker_arg {
	struct cache_dir *d;
	unsigned id;
	uint64_t had;
};

static const uint64_t sizes[] = { 5000, MIB(2), MIB(6) + 1, 100 };

static void one_step(struct worker_arg *w, unsigned r)
{
	unsigned which = r % 2, o = r / 2 % OBJECTS;
	char url[8];
	struct cache_entry *e;
	uint64_t first, n;

	snprintf(url, sizeof url, "%u", o);
	e = cache_dir_entry(w->d, which, url, sizes[o % ARRAY_LEN(sizes)]);
	first = r / 31 % e->n_pages;
	n = MIN(1 + r % 90, e->n_pages - first);
	switch (r / 7 % 8) {
	case 0:
		cache_entry_flush(e);
		break;
	case 1:
		cache_entry_verify(e, 100);
		break;
	case 2:
		if (cache_entry_pin(e) >= 0) {
			w->had += cache_dir_read(e, first, n);
			cache_entry_unpin(e);
		}
		break;
	case 3:
	case 4:
	case 5:
		cache_dir_write(e, first, n);
		break;
	default:
		w->had += cache_dir_read(e, first, n);
		break;
	}
	cache_entry_close(e);
}

static void *worker_main(void *arg)
{
	struct worker_arg *w = arg;
	unsigned r = w->id * 7919 + 1;

	for (unsigned i = 0; i < STEPS; i++) {
		struct cache_work work;
		struct cache_clean how = { .extra = MIB(2) };

		r = r * 1103515245 + 12345;
		one_step(w, r >> 8);
		if (i % 50 == w->id)
			cache_clean(w->d->cache[i / 50 % 2], &how, NULL);
		if (i % 97 == w->id)
			cache_verify(w->d->cache[0], &work);
		if (i % 20 == w->id)
			cache_dir_tick(CACHE_RETRY_MS);
		if (i % 70 == w->id)
			cache_close_idle(w->d->cache[1]);
	}
	return NULL;
}

static void test_all_at_once(void **state)
{
	struct cache_dir *d = *state;
	struct worker_arg arg[THREADS];
	pthread_t thread[THREADS];
	uint64_t had = 0;

	cache_dir_reopen(d, 1);
	d->cache[0]->open_max = 6;
	d->cache[1]->records_max = KIB(8);
	for (unsigned i = 0; i < THREADS; i++) {
		arg[i] = (struct worker_arg){ .d = d, .id = i };
		assert_int_equal(pthread_create(&thread[i], NULL, worker_main, &arg[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		pthread_join(thread[i], NULL);
		had += arg[i].had;
	}
	assert_true(had > 0);
	assert_int_equal(d->cache[0]->n_open, 0);
	assert_int_equal(d->cache[1]->n_open, 0);
	assert_int_equal(atomic_load(&d->cache[0]->record_bytes), 0);
	assert_int_equal(atomic_load(&d->cache[1]->record_bytes), 0);
}

/* Every fifth read of contents fails, so that its pages are dropped while others read them, and written again. */
static ssize_t pread_failing(int fd, void *buf, size_t n, off_t off)
{
	static _Atomic unsigned calls;

	if (n >= CACHE_PAGE && atomic_fetch_add(&calls, 1) % 5 == 4) {
		errno = EIO;
		return -1;
	}
	return cache_io_system.pread(fd, buf, n, off);
}

static void *failing_main(void *arg)
{
	struct worker_arg *w = arg;

	for (unsigned i = 0; i < STEPS; i++) {
		struct cache_entry *e = cache_dir_entry(w->d, 0, "failing", MIB(2));

		if ((i + w->id) % 3 == 0)
			cache_dir_write(e, 0, 64);
		else if ((i + w->id) % 64 == 1)
			cache_entry_verify(e, 64);
		else
			w->had += cache_dir_read(e, i % 32, 32);
		cache_entry_close(e);
	}
	return NULL;
}

static void test_reads_fail_beside_others(void **state)
{
	struct cache_dir *d = *state;
	struct worker_arg arg[THREADS];
	pthread_t thread[THREADS];
	struct cache_stats st;
	uint64_t had = 0;

	d->io.pread = pread_failing;
	cache_dir_reopen(d, 0);
	for (unsigned i = 0; i < THREADS; i++) {
		arg[i] = (struct worker_arg){ .d = d, .id = i };
		assert_int_equal(pthread_create(&thread[i], NULL, failing_main, &arg[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		pthread_join(thread[i], NULL);
		had += arg[i].had;
	}
	cache_stats(d->cache[0], &st);
	assert_true(had > 0);
	assert_true(st.read_errors > 0);
}

/* The housekeeping thread comes and goes, and keeps the limit without being asked. */
static void test_housekeeping(void **state)
{
	struct cache_dir *d = *state;
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct cache_params p = { .dir = d->path, .limit = MIB(16), .housekeeping = true };
	struct cache_stats st = { .evicted = 0 };
	struct cache *c;

	assert_int_equal(cache_open(&c, &p, &err), 0);
	d->cache[1] = c;
	for (unsigned i = 0; st.evicted == 0; i++) {
		struct cache_entry *e;
		char url[8];

		snprintf(url, sizeof url, "%u", i % 100);
		e = cache_dir_entry(d, 1, url, MIB(2));
		cache_dir_write(e, 0, 512);
		cache_entry_close(e);
		cache_stats(c, &st);
	}
	cache_dir_close(d, 1);
	assert_true(cache_dir_bytes(d) <= MIB(20));
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, cache_dir_setup, cache_dir_teardown)
	const struct CMUnitTest tests[] = {
		T(test_all_at_once),
		T(test_reads_fail_beside_others),
		T(test_housekeeping),
	};

	log_set_level(LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
