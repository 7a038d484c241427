/* SPDX-License-Identifier: Apache-2.0 */
/* A VMO with a disk tier, for tests; see the header. */
#include "lib/disk_scene.h"

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
#include "lib/vmo_scene.h"
#include "vm/disk_tier_private.h"

/* ---- the disk: a gate, and failures ---- */

static pthread_mutex_t gate_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t gate_cond = PTHREAD_COND_INITIALIZER;
static bool gate_shut;        /* gate_lock */
static unsigned gate_waiting; /* gate_lock: threads at it */
_Atomic int pread_error, write_error;
_Atomic unsigned n_preads;

void gate_set(bool shut)
{
	pthread_mutex_lock(&gate_lock);
	gate_shut = shut;
	pthread_cond_broadcast(&gate_cond);
	pthread_mutex_unlock(&gate_lock);
}

static void gate_pass(void)
{
	pthread_mutex_lock(&gate_lock);
	gate_waiting++;
	pthread_cond_broadcast(&gate_cond);
	while (gate_shut)
		pthread_cond_wait(&gate_cond, &gate_lock);
	gate_waiting--;
	pthread_mutex_unlock(&gate_lock);
}

/* Until @n threads stand at the gate. */
void gate_wait(unsigned n)
{
	pthread_mutex_lock(&gate_lock);
	while (gate_waiting < n)
		pthread_cond_wait(&gate_cond, &gate_lock);
	pthread_mutex_unlock(&gate_lock);
}

static int gated_openat(int dir, const char *path, int flags, mode_t mode)
{
	gate_pass();
	return cache_io_system.openat(dir, path, flags, mode);
}

static ssize_t failing_pread(int fd, void *buf, size_t n, off_t off)
{
	atomic_fetch_add(&n_preads, 1);
	gate_pass();
	if (pread_error) {
		errno = pread_error;
		return -1;
	}
	return cache_io_system.pread(fd, buf, n, off);
}

static ssize_t failing_pwritev(int fd, const struct iovec *iov, int n, off_t off)
{
	gate_pass();
	if (write_error) {
		errno = write_error;
		return -1;
	}
	return cache_io_system.pwritev(fd, iov, n, off);
}

/* ---- a VMO with a tier ---- */

void scene_open(struct scene *s)
{
	struct vmofs_err err = VMOFS_ERR_INIT;
	const struct cache_key key = { .url = URL, .validator = "\"v1\"", .size = s->size };

	s->own = fake_new(0, KEY);
	assert_int_equal(vmo_new(&s->vmo, s->pool, fake_base(s->own), s->size, 0, &err), 0);
	fake_attach(s->own, s->vmo);
	assert_int_equal(disk_tier_new(&s->tier, s->disk, s->vmo, &key), 0);
}

void scene_close(struct scene *s)
{
	vmo_check(s->vmo);
	vmo_close(s->vmo);
	disk_tier_put(s->tier);
	vmo_put(s->vmo);
	fake_free(s->own);
}

void scene_disk(struct scene *s, unsigned threads, uint64_t backlog)
{
	const struct disk_io_params p = {
		.cache = s->dir->cache[0],
		.threads = threads,
		.backlog = backlog,
		.patience_ns = 3600 * NSEC_PER_SEC,
	};

	assert_int_equal(disk_io_new(&s->disk, &p), 0);
}

void scene_begin(struct scene *s, struct cache_dir *d, uint64_t size)
{
	struct vmofs_err err = VMOFS_ERR_INIT;

	*s = (struct scene){ .dir = d, .size = size };
	assert_int_equal(vm_pool_new(&s->pool, 4 * VM_POOL_MIN, &err), 0);
	scene_disk(s, 4, MIB(64));
	scene_open(s);
}

void scene_end(struct scene *s)
{
	scene_close(s);
	assert_int_equal(disk_io_free(s->disk), 0);
	pool_end(s->pool);
}

uint64_t scene_soon(void)
{
	return test_now_ns() + test_timeout_ns();
}

void scene_drain(struct scene *s)
{
	assert_int_equal(disk_tier_drain(s->tier, scene_soon()), 0);
}

static bool is_open(void *arg)
{
	return ((struct scene *)arg)->tier->state != TIER_OPENING;
}

/* From now on nothing but reads and writes goes through the gate. */
void gate_shut_when_open(struct scene *s)
{
	test_wait_until(is_open, s, "the entry is not opened");
	gate_set(true);
}

/* Another VMO of the same object, as after a restart. */
void scene_again(struct scene *s)
{
	scene_drain(s);
	scene_close(s);
	scene_open(s);
}

/* The same with nothing trusted any more. */
void scene_restart(struct scene *s)
{
	scene_drain(s);
	scene_close(s);
	disk_io_free(s->disk);
	cache_dir_reopen(s->dir, 0);
	scene_disk(s, 4, MIB(64));
	scene_open(s);
}

struct disk_tier_stats scene_stats(struct scene *s)
{
	struct disk_tier_stats st;

	disk_io_stats(s->disk, &st);
	return st;
}

/* Reads and compares: 0, or the error. */
int64_t reader_run(void *arg)
{
	struct reader *r = arg;
	uint64_t len = MIN(r->n * PAGE, r->s->size - r->page * PAGE);
	char *buf = malloc(len);
	int64_t got = vmo_read(r->s->vmo, r->page * PAGE, buf, len, NULL);
	int64_t status = got < 0 ? got : 0;

	if (got >= 0 && (got != (int64_t)len || fake_compare(KEY, r->page * PAGE, buf, len) != -1))
		status = -EILSEQ;
	free(buf);
	return status;
}

void reader_start(struct reader *r, struct scene *s, uint64_t page, uint64_t n)
{
	*r = (struct reader){ .s = s, .page = page, .n = n };
	thread_run(&r->thread, reader_run, r);
}

/* A read that the disk alone answers. */
void read_from_disk(struct scene *s, uint64_t page, uint64_t n)
{
	struct reader r = { .s = s, .page = page, .n = n };

	assert_int_equal(reader_run(&r), 0);
	assert_int_equal(fake_count(s->own, FAKE_SEND), 0);
}

/* A read of which the provider gives exactly [page, page + n). */
void read_from_provider(struct scene *s, uint64_t page, uint64_t n)
{
	struct reader r;

	reader_start(&r, s, page, n);
	fake_wait_read(s->own, page, n);
	fake_supply(s->own, page, n);
	assert_int_equal(thread_join_status(&r.thread), 0);
}

int disk_scene_setup(void **state)
{
	int r = cache_dir_setup(state);
	struct cache_dir *d = *state;

	d->io.openat = gated_openat;
	d->io.pread = failing_pread;
	d->io.pwritev = failing_pwritev;
	cache_dir_reopen(d, 0);
	gate_shut = false;
	pread_error = write_error = 0;
	return r;
}
