/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A cache directory for tests: up to two caches on it, contents that can be told from wrong ones, a clock that
 * moves when it is told to, and files that can be damaged. One thread, but for reads and writes of entries.
 */
#ifndef TESTS_LIB_CACHE_DIR_H
#define TESTS_LIB_CACHE_DIR_H

#include <stdint.h>

#include "store/cache.h"
#include "store/cache_io.h"

struct cache_dir {
	char path[256];
	struct cache *cache[2];
	/* Of caches opened from now on. */
	uint64_t limit, floor;
	struct cache_io io;       /* those of the system, with the clock below */
	struct cache_io io_of[2]; /* of the open ones */
};

int cache_dir_setup(void **state); /* *state: struct cache_dir with cache[0] open */
int cache_dir_teardown(void **state);
void cache_dir_reopen(struct cache_dir *d, unsigned which);
void cache_dir_close(struct cache_dir *d, unsigned which);

/* The clock of the caches: that of the system does not count. */
void cache_dir_tick(uint64_t ms);

struct cache_entry *cache_dir_entry(struct cache_dir *d, unsigned which, const char *url,
				    uint64_t size);
/* Writes the right contents. */
int cache_dir_write(struct cache_entry *e, uint64_t first, uint64_t n);
/* Reads, and fails on any byte that is wrong. How many pages. */
uint64_t cache_dir_read(struct cache_entry *e, uint64_t first, uint64_t n);
/* The right contents of a page of an object of that URL. */
void cache_dir_page(const char *url, uint64_t page, void *out);
void cache_dir_poke(struct cache_entry *e, const char *ending, uint64_t off, const void *p,
		    size_t n);
void cache_dir_flip(struct cache_entry *e, const char *ending, uint64_t off);
/* Bytes allocated below @d. */
uint64_t cache_dir_bytes(struct cache_dir *d);

#endif
