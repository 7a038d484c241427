/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Everything at once over one cache directory whose disk lies: readers of two VMOs of one object, eviction, prefetch, pages
 * that are dropped from the disk, verification, closing while all that goes on. No reader ever sees a wrong byte or an
 * error but that of the closing. For the thread sanitizer above all.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/macros.h"
#include "lib/cache_dir.h"
#include "lib/fake_provider.h"
#include "lib/prng.h"
#include "lib/vmo_scene.h"
#include "vm/disk_tier.h"
#include "vm/pool.h"
#include "vm/vmo.h"

#define PAGE VMOFS_PAGE_SIZE
#define KEY  UINT64_C(0x4400000000000000)
#define SIZE (MIB(12) - 1234)

enum { READERS = 6, READS = 150, ROUNDS = 8, LONGEST = 96 };

/* ---- a disk that lies ---- */

static _Atomic bool disk_lies;
static _Atomic uint64_t n_calls;

/* Every @one_in-th call on average, without a lock. */
static bool happens(unsigned one_in)
{
	uint64_t n = atomic_fetch_add(&n_calls, 1);

	n *= UINT64_C(0x9e3779b97f4a7c15);
	return disk_lies && (n >> 33) % one_in == 0;
}

static ssize_t lying_pread(int fd, void *buf, size_t n, off_t off)
{
	ssize_t r;

	if (happens(40)) {
		errno = EIO;
		return -1;
	}
	r = cache_io_system.pread(fd, buf, happens(40) ? n / 2 : n, off);
	if (r > 0 && happens(40))
		((char *)buf)[r / 2] ^= 0x10;
	return r;
}

static ssize_t lying_pwritev(int fd, const struct iovec *iov, int n, off_t off)
{
	if (happens(60)) {
		errno = ENOSPC;
		return -1;
	}
	return cache_io_system.pwritev(fd, iov, happens(40) ? 1 : n, off);
}

static int lying_fdatasync(int fd)
{
	if (!happens(20))
		return cache_io_system.fdatasync(fd);
	errno = EDQUOT;
	return -1;
}

/* ---- two VMOs of one object ---- */

struct world {
	struct cache_dir *dir;
	struct disk_io *disk;
	struct vm_pool *pool;
	struct fake_provider *own[2];
	struct vmo *vmo[2];
	struct disk_tier *tier[2];
	_Atomic bool closing;
};

struct worker {
	struct test_thread thread;
	struct world *w;
	uint64_t seed;
};

static void world_open(struct world *w, unsigned i)
{
	struct vmofs_err err = VMOFS_ERR_INIT;
	const struct cache_key key = { .url = "http://o.test/x",
				       .validator = "\"1\"",
				       .size = SIZE };

	w->own[i] = fake_new(0, KEY);
	assert_int_equal(vmo_new(&w->vmo[i], w->pool, fake_base(w->own[i]), SIZE, 0, &err), 0);
	fake_attach(w->own[i], w->vmo[i]);
	assert_int_equal(disk_tier_new(&w->tier[i], w->disk, w->vmo[i], &key), 0);
	fake_start(w->own[i], FAKE_AT_ONCE, 2, i + 1);
}

static void world_close(struct world *w, unsigned i)
{
	vmo_close(w->vmo[i]);
	vmo_check(w->vmo[i]);
	fake_stop(w->own[i]);
	disk_tier_put(w->tier[i]);
	vmo_put(w->vmo[i]);
	fake_free(w->own[i]);
}

static uint64_t pick_page(struct prng *p)
{
	return prng_below(p, SIZE / PAGE);
}

static int64_t read_once(struct worker *r, struct prng *p, char *buf)
{
	uint64_t off = pick_page(p) * PAGE + prng_below(p, PAGE);
	uint64_t most = 1 + prng_below(p, LONGEST * PAGE);
	uint64_t len = MIN(most, SIZE - off);
	int64_t got = vmo_read(r->w->vmo[prng_below(p, 2)], off, buf, len, NULL);

	if (got == -ESHUTDOWN && r->w->closing)
		return 0;
	if (got < 0)
		return got;
	if (got != (int64_t)len && !r->w->closing)
		return -EPROTO;
	return fake_compare(KEY, off, buf, (uint64_t)got) == -1 ? 0 : -EILSEQ;
}

static int64_t reader(void *arg)
{
	struct worker *r = arg;
	struct prng p = { r->seed };
	char *buf = malloc(LONGEST * PAGE);
	int64_t status = 0;

	for (unsigned i = 0; i < READS && !status; i++)
		status = read_once(r, &p, buf);
	free(buf);
	return status;
}

/* One thing that goes on beside the readers. */
static void disturb(struct world *w, struct prng *p)
{
	unsigned i = (unsigned)prng_below(p, 2);
	uint64_t off = pick_page(p) * PAGE;
	uint64_t most = prng_below(p, 512) * PAGE;
	uint64_t len = MIN(most, SIZE - off);
	struct cache_work done;

	switch (prng_below(p, 8)) {
	case 0:
		vmo_evict(w->vmo[i], 0, SIZE, true);
		break;
	case 1:
		vmo_evict(w->vmo[i], off, len, false);
		break;
	case 2:
		vmo_prefetch(w->vmo[i], off, len, 0);
		break;
	case 3:
		vm_pool_evict(w->pool, 256);
		break;
	case 4:
		(void)cache_gc(w->dir->cache[0], &done);
		break;
	case 5:
		if (disk_tier_pass(w->tier[i]) >= 0)
			disk_tier_unpass(w->tier[i]);
		break;
	case 6:
		disk_tier_drain(w->tier[i], test_now_ns() + NSEC_PER_MSEC);
		break;
	default:
		/* What was full once is tried again. */
		cache_dir_tick(60 * 1000);
		break;
	}
}

static int64_t disturber(void *arg)
{
	struct worker *r = arg;
	struct prng p = { r->seed };

	for (unsigned i = 0; i < READS / 2; i++)
		disturb(r->w, &p);
	return 0;
}

static void run_round(struct world *w, uint64_t round, bool close_early)
{
	struct worker workers[READERS + 1];

	w->closing = false;
	for (unsigned i = 0; i < 2; i++)
		world_open(w, i);
	for (unsigned i = 0; i <= READERS; i++) {
		workers[i] = (struct worker){ .w = w, .seed = round * 100 + i };
		thread_run(&workers[i].thread, i < READERS ? reader : disturber, &workers[i]);
	}
	if (close_early) {
		w->closing = true;
		vmo_close(w->vmo[round % 2]);
	}
	for (unsigned i = 0; i <= READERS; i++)
		assert_int_equal(thread_join_status(&workers[i].thread), 0);
	for (unsigned i = 0; i < 2; i++)
		world_close(w, i);
}

static void world_disk(struct world *w)
{
	const struct disk_io_params p = {
		.cache = w->dir->cache[0],
		.threads = 4,
		.backlog = MIB(2),
	};

	assert_int_equal(disk_io_new(&w->disk, &p), 0);
}

static void stress(struct cache_dir *d, bool lies)
{
	struct world w = { .dir = d };
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct disk_tier_stats seen;

	assert_int_equal(vm_pool_new(&w.pool, 2 * VM_POOL_MIN, &err), 0);
	disk_lies = lies;
	world_disk(&w);
	for (unsigned round = 0; round < ROUNDS; round++) {
		run_round(&w, round, round % 3 == 2);
		if (round % 4 != 3)
			continue;
		disk_io_stats(w.disk, &seen);
		disk_io_free(w.disk);
		/* What says which version the directory is of is believed as it is. */
		disk_lies = false;
		cache_dir_reopen(d, 0);
		disk_lies = lies;
		world_disk(&w);
	}
	disk_io_free(w.disk);
	disk_lies = false;
	/* It was of some use all the same. */
	assert_true(seen.hits > 0 && seen.written > 0);
	pool_end(w.pool);
}

static void test_a_good_disk(void **state)
{
	stress(*state, false);
}

static void test_a_disk_that_lies(void **state)
{
	stress(*state, true);
}

static int setup(void **state)
{
	int r = cache_dir_setup(state);
	struct cache_dir *d = *state;

	d->io.pread = lying_pread;
	d->io.pwritev = lying_pwritev;
	d->io.fdatasync = lying_fdatasync;
	d->limit = MIB(8);
	cache_dir_reopen(d, 0);
	return r;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_a_good_disk, setup, cache_dir_teardown),
		cmocka_unit_test_setup_teardown(test_a_disk_that_lies, setup, cache_dir_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
