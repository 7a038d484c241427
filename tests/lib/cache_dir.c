/* SPDX-License-Identifier: Apache-2.0 */
/* A cache directory for tests; see the header. Directories are made below TMPDIR and removed. */
#include "lib/cache_dir.h"

#include <assert.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/macros.h"
#include "store/cache_private.h"

static _Atomic uint64_t clock_ms = 1000000;

static uint64_t test_now_ms(void)
{
	return atomic_load(&clock_ms);
}

static uint64_t test_now_sec(void)
{
	return 1700000000 + atomic_load(&clock_ms) / 1000;
}

void cache_dir_tick(uint64_t ms)
{
	atomic_fetch_add(&clock_ms, ms);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *f)
{
	(void)st;
	(void)type;
	(void)f;
	return remove(path);
}

static _Thread_local uint64_t sum_bytes;

static int sum_one(const char *path, const struct stat *st, int type, struct FTW *f)
{
	(void)path;
	(void)f;
	if (type == FTW_F)
		sum_bytes += (uint64_t)st->st_blocks * 512;
	return 0;
}

uint64_t cache_dir_bytes(struct cache_dir *d)
{
	sum_bytes = 0;
	nftw(d->path, sum_one, 16, FTW_PHYS);
	return sum_bytes;
}

void cache_dir_close(struct cache_dir *d, unsigned which)
{
	cache_free(d->cache[which]);
	d->cache[which] = NULL;
}

void cache_dir_reopen(struct cache_dir *d, unsigned which)
{
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct cache_params p = {
		.dir = d->path,
		.limit = d->limit,
		.floor = d->floor,
		.io = &d->io_of[which],
	};

	cache_dir_close(d, which);
	d->io_of[which] = d->io;
	if (cache_open(&d->cache[which], &p, &err) < 0) {
		fprintf(stderr, "%s\n", err.msg);
		abort();
	}
}

int cache_dir_setup(void **state)
{
	struct cache_dir *d = calloc(1, sizeof *d);
	const char *tmp = getenv("TMPDIR");

	if (!d)
		return -1;
	snprintf(d->path, sizeof d->path, "%s/vmofs-cache-XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(d->path))
		return -1;
	d->io = cache_io_system;
	d->io.now_ms = test_now_ms;
	d->io.now_sec = test_now_sec;
	cache_dir_reopen(d, 0);
	*state = d;
	return 0;
}

int cache_dir_teardown(void **state)
{
	struct cache_dir *d = *state;

	cache_dir_close(d, 0);
	cache_dir_close(d, 1);
	nftw(d->path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	free(d);
	return 0;
}

struct cache_entry *cache_dir_entry(struct cache_dir *d, unsigned which, const char *url,
				    uint64_t size)
{
	struct cache_key key = { .url = url, .validator = "\"v1\"", .size = size };
	struct cache_entry *e;

	if (cache_entry_open(d->cache[which], &key, &e) < 0)
		abort();
	return e;
}

void cache_dir_page(const char *url, uint64_t page, void *out)
{
	uint64_t seed = page * UINT64_C(0x9e3779b97f4a7c15) + 1;
	uint64_t *p = out;

	for (const char *s = url; *s; s++)
		seed = seed * 31 + (uint8_t)*s;
	for (unsigned i = 0; i < CACHE_PAGE / 8; i++) {
		seed ^= seed << 13;
		seed ^= seed >> 7;
		seed ^= seed << 17;
		p[i] = seed;
	}
}

int cache_dir_write(struct cache_entry *e, uint64_t first, uint64_t n)
{
	size_t len = MIN(n * CACHE_PAGE, e->size - first * CACHE_PAGE);
	char *buf = malloc(n * CACHE_PAGE);
	struct iovec iov[3];
	size_t cut = len / 3;
	int r;

	assert(buf);
	for (uint64_t i = 0; i < n; i++)
		cache_dir_page(e->url, first + i, buf + i * CACHE_PAGE);
	/* Buffers end where they like. */
	iov[0] = (struct iovec){ buf, cut };
	iov[1] = (struct iovec){ buf + cut, 0 };
	iov[2] = (struct iovec){ buf + cut, len - cut };
	r = cache_entry_write(e, first, iov, 3);
	free(buf);
	return r;
}

static void check_page(struct cache_entry *e, uint64_t page, const char *got)
{
	char want[CACHE_PAGE];
	size_t len = MIN((uint64_t)CACHE_PAGE, e->size - page * CACHE_PAGE);

	cache_dir_page(e->url, page, want);
	memset(want + len, 0, CACHE_PAGE - len);
	if (memcmp(got, want, CACHE_PAGE) != 0) {
		fprintf(stderr, "wrong bytes in page %llu of '%s'\n", (unsigned long long)page,
			e->url);
		abort();
	}
}

uint64_t cache_dir_read(struct cache_entry *e, uint64_t first, uint64_t n)
{
	char *buf = malloc(n * CACHE_PAGE);
	uint64_t got, missing = 0;

	assert(buf);
	memset(buf, 0x55, n * CACHE_PAGE);
	got = cache_entry_read(e, first, n, buf, &missing);
	assert(got || missing || first >= e->n_pages);
	for (uint64_t i = 0; i < got; i++)
		check_page(e, first + i, buf + i * CACHE_PAGE);
	free(buf);
	return got;
}

static int open_file(struct cache_entry *e, const char *ending)
{
	char path[600];
	int fd;

	snprintf(path, sizeof path, "%s/%s%s", e->c->dir, e->name, ending);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		abort();
	return fd;
}

void cache_dir_poke(struct cache_entry *e, const char *ending, uint64_t off, const void *p,
		    size_t n)
{
	int fd = open_file(e, ending);

	if (pwrite(fd, p, n, (off_t)off) != (ssize_t)n)
		abort();
	close(fd);
}

void cache_dir_flip(struct cache_entry *e, const char *ending, uint64_t off)
{
	int fd = open_file(e, ending);
	char b;

	if (pread(fd, &b, 1, (off_t)off) != 1)
		abort();
	b = (char)(b ^ 0x10);
	if (pwrite(fd, &b, 1, (off_t)off) != 1)
		abort();
	close(fd);
}
