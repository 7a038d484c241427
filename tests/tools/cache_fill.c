/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fills a cache directory with many small objects that no server has: what a mount finds after months of use.
 *
 *   cache_fill DIR N [SIZE]    objects http://fill.invalid/0 ... of SIZE bytes (4096)
 *
 * It is the product's own code that writes them; only the waiting for the disk is left out.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/config.h"
#include "base/macros.h"
#include "store/cache.h"
#include "store/cache_io.h"

static int no_wait(int fd)
{
	(void)fd;
	return 0;
}

static int fill_one(struct cache *c, uint64_t i, void *page, uint64_t size)
{
	char url[64];
	struct cache_key key = { .url = url, .validator = "\"filled\"", .size = size };
	struct cache_entry *e;
	int r;

	snprintf(url, sizeof url, "http://fill.invalid/%llu", (unsigned long long)i);
	memcpy(page, url, sizeof url);
	r = cache_entry_open(c, &key, &e);
	if (r < 0)
		return r;
	for (uint64_t off = 0; r == 0 && off < size; off += 4096) {
		struct iovec iov = { .iov_base = page, .iov_len = MIN(UINT64_C(4096), size - off) };

		r = cache_entry_write(e, off / 4096, &iov, 1);
	}
	cache_entry_close(e);
	return r;
}

static int fill(const char *dir, uint64_t n, uint64_t size)
{
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct cache_io io = cache_io_system;
	struct cache_params p = { .dir = dir, .io = &io };
	static char page[4096];
	struct cache *c;
	int r;

	io.fdatasync = no_wait;
	if (cache_open(&c, &p, &err) < 0) {
		fprintf(stderr, "%s\n", err.msg);
		return 1;
	}
	for (uint64_t i = 0; i < n; i++) {
		r = fill_one(c, i, page, size);
		if (r < 0) {
			fprintf(stderr, "object %llu: %s\n", (unsigned long long)i, strerror(-r));
			return 1;
		}
	}
	cache_free(c);
	return 0;
}

int main(int argc, char **argv)
{
	uint64_t n, size = 4096;

	if (argc < 3 || config_parse_size(argv[2], &n) ||
	    (argc > 3 && config_parse_size(argv[3], &size))) {
		fprintf(stderr, "usage: cache_fill DIR N [SIZE]\n");
		return 2;
	}
	return fill(argv[1], n, size);
}
