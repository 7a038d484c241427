/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The disk cache stopped after every one of its system calls, with each of them failing, and with what had not been
 * synced lost, zeroed or garbage: whoever comes next finds pages that are right, or none. Nobody sleeps.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"
#include "base/macros.h"
#include "lib/cache_dir.h"
#include "store/cache_clean.h"

/* -- a disk that fails ------------------------------------------------------------------------ */

/* What was written and is not safe yet: what was there before it. */
struct unsafe {
	struct unsafe *next;
	dev_t dev;
	ino_t ino;
	int fd; /* owned */
	off_t off;
	size_t len;
	off_t size; /* of the file before */
	char old[];
};

static struct {
	unsigned calls;
	unsigned fail_at; /* the number of the call that fails; 0: none */
	bool stop;        /* that one and all after it: the process is dead */
	int err;
	bool remember; /* writes, for power_cut() */
	struct unsafe *unsafe;
} disk;

static bool fails(void)
{
	disk.calls++;
	if (!disk.fail_at || disk.calls < disk.fail_at || (disk.calls > disk.fail_at && !disk.stop))
		return false;
	errno = disk.err;
	return true;
}

static int bad_openat(int dir, const char *path, int flags, mode_t mode)
{
	return fails() ? -1 : cache_io_system.openat(dir, path, flags, mode);
}

static int bad_mkdirat(int dir, const char *path, mode_t mode)
{
	return fails() ? -1 : cache_io_system.mkdirat(dir, path, mode);
}

static int bad_unlinkat(int dir, const char *path)
{
	return fails() ? -1 : cache_io_system.unlinkat(dir, path);
}

static ssize_t bad_pread(int fd, void *buf, size_t n, off_t off)
{
	return fails() ? -1 : cache_io_system.pread(fd, buf, n, off);
}

static void remember(int fd, off_t off, size_t len)
{
	struct unsafe *u = calloc(1, sizeof *u + len);
	char path[32];
	struct stat st;

	if (!u || fstat(fd, &st) < 0)
		abort();
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	u->dev = st.st_dev;
	u->ino = st.st_ino;
	u->size = st.st_size;
	u->fd = open(path, O_RDWR | O_CLOEXEC);
	u->off = off;
	u->len = len;
	if (pread(u->fd, u->old, len, off) < 0)
		abort();
	u->next = disk.unsafe;
	disk.unsafe = u;
}

static void forget(int fd)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		abort();
	for (struct unsafe **p = &disk.unsafe, *u; (u = *p);) {
		if (fd >= 0 && (u->ino != st.st_ino || u->dev != st.st_dev)) {
			p = &u->next;
			continue;
		}
		*p = u->next;
		close(u->fd);
		free(u);
	}
}

static ssize_t bad_pwritev(int fd, const struct iovec *iov, int n, off_t off)
{
	size_t len = 0;

	for (int i = 0; i < n; i++)
		len += iov[i].iov_len;
	if (fails()) {
		struct iovec half = { iov[0].iov_base, iov[0].iov_len / 2 };

		/* A crash may come in the middle of it. */
		if (disk.stop && disk.calls == disk.fail_at)
			cache_io_system.pwritev(fd, &half, 1, off);
		errno = disk.err;
		return -1;
	}
	if (disk.remember)
		remember(fd, off, len);
	return cache_io_system.pwritev(fd, iov, n, off);
}

static int bad_fallocate(int fd, int mode, off_t off, off_t len)
{
	return fails() ? -1 : cache_io_system.fallocate(fd, mode, off, len);
}

static int bad_fdatasync(int fd)
{
	if (fails())
		return -1;
	if (disk.remember)
		forget(fd);
	return 0;
}

static int bad_ftruncate(int fd, off_t len)
{
	return fails() ? -1 : cache_io_system.ftruncate(fd, len);
}

static int bad_fstat(int fd, struct stat *st)
{
	return fails() ? -1 : cache_io_system.fstat(fd, st);
}

static int bad_lock(int fd, short type, off_t byte)
{
	return fails() ? -1 : cache_io_system.lock(fd, type, byte);
}

static struct cache_io good_io, bad_io;

/* Sanitizers take their time; there, not every call has its turn. */
#ifdef VMOFS_SANITIZED
enum { EACH = 5 };
#else
enum { EACH = 1 };
#endif

static void disk_reset(unsigned fail_at, bool stop, int err)
{
	disk.calls = 0;
	disk.fail_at = fail_at;
	disk.stop = stop;
	disk.err = err;
}

static int setup(void **state)
{
	int r = cache_dir_setup(state);
	struct cache_dir *d = *state;

	memset(&disk, 0, sizeof disk);
	good_io = bad_io = d->io;
	bad_io.openat = bad_openat;
	bad_io.mkdirat = bad_mkdirat;
	bad_io.unlinkat = bad_unlinkat;
	bad_io.pread = bad_pread;
	bad_io.pwritev = bad_pwritev;
	bad_io.fallocate = bad_fallocate;
	bad_io.fdatasync = bad_fdatasync;
	bad_io.ftruncate = bad_ftruncate;
	bad_io.fstat = bad_fstat;
	bad_io.lock = bad_lock;
	return r;
}

enum loss { LOSS_NONE, LOSS_OLD, LOSS_ZEROS, LOSS_GARBAGE, LOSS_MIXED, LOSS_NKINDS };

static void lose_one(const struct unsafe *u, enum loss how)
{
	char *buf = malloc(u->len);

	memcpy(buf, u->old, u->len);
	if (how == LOSS_ZEROS)
		memset(buf, 0, u->len);
	for (size_t i = 0; how == LOSS_GARBAGE && i < u->len; i++)
		buf[i] = (char)(rand() >> 7);
	if (pwrite(u->fd, buf, u->len, u->off) < 0)
		abort();
	free(buf);
}

/* What was not synced did not reach the disk, in some order or none. */
static void power_cut(enum loss how)
{
	for (struct unsafe *u = disk.unsafe, *next; u; u = next) {
		enum loss this = how == LOSS_MIXED ? (enum loss)(rand() % LOSS_MIXED) : how;

		next = u->next;
		if (this != LOSS_NONE)
			lose_one(u, this);
		close(u->fd);
		free(u);
	}
	disk.unsafe = NULL;
}

#define SIZE (MIB(2) + 50000) /* 525 pages, two segments */

/* -- what goes on ----------------------------------------------------------------------------- */

/* A little of everything; what fails fails. Reads check each byte. */
static void life(struct cache_dir *d)
{
	struct cache_entry *a = cache_dir_entry(d, 0, "a", SIZE), *s;
	struct cache_clean how = { .extra = MIB(2) };

	cache_dir_write(a, 0, 300);
	cache_dir_write(a, 300, 200);
	cache_dir_read(a, 290, 30);
	cache_entry_flush(a);
	cache_dir_write(a, 505, 20);
	s = cache_dir_entry(d, 0, "small", 5000);
	cache_dir_write(s, 0, 2);
	cache_entry_close(s);
	cache_dir_read(a, 480, 45);
	cache_entry_close(a);
	cache_dir_tick(100000);
	a = cache_dir_entry(d, 0, "a", SIZE);
	cache_dir_read(a, 0, 10);
	cache_dir_write(a, 490, 20);
	cache_entry_verify(a, 5000);
	cache_clean(d->cache[0], &how, NULL);
	cache_dir_read(a, 0, 50);
	if (cache_entry_pin(a) >= 0)
		cache_entry_unpin(a);
	cache_entry_close(a);
	cache_dir_tick(CACHE_PAUSE_MS);
}

/* Everything that can be read is right, and everything can be written. */
static void check_after(struct cache_dir *d)
{
	static const struct {
		const char *url;
		uint64_t size;
	} object[] = { { "a", SIZE }, { "small", 5000 } };

	for (unsigned i = 0; i < ARRAY_LEN(object); i++) {
		struct cache_entry *e = cache_dir_entry(d, 0, object[i].url, object[i].size);
		uint64_t p = 0;

		while (p < e->n_pages) {
			uint64_t end = e->n_pages, got;

			if (!cache_entry_may_have(e, p, &end)) {
				p = end;
				continue;
			}
			got = cache_dir_read(e, p, MIN(end - p, 64));
			p += got ? got : 1;
		}
		assert_int_equal(cache_dir_write(e, 0, e->n_pages), 0);
		assert_int_equal(cache_dir_read(e, 0, e->n_pages), e->n_pages);
		while (cache_entry_verify(e, 5000))
			;
		assert_true(cache_entry_is_complete(e));
		cache_entry_close(e);
	}
}

static void wipe(struct cache_dir *d)
{
	struct cache_work w;

	assert_int_equal(cache_clear(d->cache[0], NULL, &w), 0);
	assert_int_equal(w.skipped, 0);
}

/* How many calls life() takes. */
static unsigned count_calls(struct cache_dir *d)
{
	unsigned n;

	d->io = bad_io;
	cache_dir_reopen(d, 0);
	disk_reset(0, false, 0);
	life(d);
	n = disk.calls;
	check_after(d);
	wipe(d);
	return n;
}

/* Life with call @k failing, or the last one; then another process on what is left. */
static void one_life(struct cache_dir *d, unsigned k, bool stop, int err, enum loss loss)
{
	d->io = bad_io;
	disk_reset(0, false, 0);
	cache_dir_reopen(d, 0);
	disk.remember = loss != LOSS_NONE;
	disk_reset(k, stop, err);
	life(d);
	disk_reset(0, false, 0);
	/* The dead process's descriptors and locks go, and with them nothing is written. */
	disk_reset(stop ? 1 : 0, stop, EIO);
	cache_dir_close(d, 0);
	power_cut(loss);
	disk.remember = false;
	d->io = good_io;
	cache_dir_reopen(d, 0);
	check_after(d);
	wipe(d);
}

static void test_stop_after_every_call(void **state)
{
	struct cache_dir *d = *state;
	unsigned n = count_calls(d);

	assert_true(n > 50);
	for (unsigned k = 1; k <= n + 1; k += EACH)
		one_life(d, k, true, EIO, LOSS_NONE);
}

static void test_power_cut_after_every_call(void **state)
{
	struct cache_dir *d = *state;
	unsigned n = count_calls(d);

	for (unsigned k = 1; k <= n + 1; k += EACH)
		one_life(d, k, true, EIO, (enum loss)(LOSS_OLD + k / EACH % (LOSS_NKINDS - 1)));
}

static void test_every_call_fails(void **state)
{
	static const int errs[] = { EIO, ENOSPC, EROFS, EMFILE };
	struct cache_dir *d = *state;
	unsigned n = count_calls(d);

	for (unsigned k = 1; k <= n; k += EACH)
		one_life(d, k, false, errs[k / EACH % ARRAY_LEN(errs)], LOSS_NONE);
}

/* A disk that takes everything, and later has lost it and says so once. */
static void test_writes_that_are_lost_later(void **state)
{
	struct cache_dir *d = *state;
	struct cache_entry *e;
	struct cache_stats st;

	d->io = bad_io;
	disk_reset(0, false, 0);
	cache_dir_reopen(d, 0);
	disk.remember = true;
	e = cache_dir_entry(d, 0, "a", SIZE);
	assert_int_equal(cache_dir_write(e, 0, 525), 0);
	power_cut(LOSS_ZEROS);
	/* Each read checks. */
	assert_int_equal(cache_dir_read(e, 0, 525), 0);
	disk.remember = false;
	disk_reset(1, false, EIO);
	assert_int_equal(cache_entry_verify(e, 5000), 0);
	assert_false(cache_entry_is_complete(e));
	cache_stats(d->cache[0], &st);
	assert_false(st.writing);
	cache_entry_close(e);
	disk_reset(0, false, 0);
	assert_true(cache_dir_bytes(d) <= 4096);
}

/* -- processes that are killed ---------------------------------------------------------------- */

/* Tells of every step. */
static void step(int out)
{
	if (write(out, "", 1) != 1)
		_exit(0);
}

static void fill_for_ever(struct cache_dir *d, int out)
{
	for (uint64_t i = 0;; i++) {
		struct cache_entry *e = cache_dir_entry(d, 1, "a", MIB(16));

		for (uint64_t p = 0; p < e->n_pages; p += 128) {
			step(out);
			cache_dir_write(e, p, 128);
			if (p % 256 == 0)
				cache_entry_flush(e);
			cache_dir_read(e, p, 128);
		}
		cache_entry_close(e);
		e = cache_dir_entry(d, 1, "small", 5000 + i);
		cache_dir_write(e, 0, 2);
		cache_entry_close(e);
		step(out);
	}
}

/* A child that fills the cache, killed when it has made @steps steps or a few more. */
static void fill_and_kill(struct cache_dir *d, unsigned steps)
{
	int ends[2], status;
	char byte;
	pid_t pid;

	assert_int_equal(pipe(ends), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		close(ends[0]);
		cache_dir_reopen(d, 1);
		fill_for_ever(d, ends[1]);
	}
	close(ends[1]);
	while (steps--)
		assert_int_equal(read(ends[0], &byte, 1), 1);
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	close(ends[0]);
}

/* What a killed process leaves is right or not there. */
static void test_kill(void **state)
{
	struct cache_dir *d = *state;
	uint64_t had = 0;

	for (unsigned i = 0; i < 40; i++) {
		struct cache_entry *e;

		fill_and_kill(d, 1 + i * 7 % 45);
		e = cache_dir_entry(d, 0, "a", MIB(16));
		assert_int_not_equal(e->state, ENTRY_READER);
		for (uint64_t p = 0; p < e->n_pages; p += 64)
			had += cache_dir_read(e, p, 64);
		cache_entry_close(e);
		if (i % 4 == 3)
			wipe(d);
	}
	assert_true(had > 0);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, cache_dir_teardown)
	const struct CMUnitTest tests[] = {
		T(test_stop_after_every_call),
		T(test_power_cut_after_every_call),
		T(test_every_call_fails),
		T(test_writes_that_are_lost_later),
		T(test_kill),
	};

	log_set_level(LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
