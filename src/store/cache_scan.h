/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A cache directory read from the outside: names, and what indexes say. No locks, nothing is changed; what is
 * found may have changed by the time it is told. Any thread that may block.
 */
#ifndef STORE_CACHE_SCAN_H
#define STORE_CACHE_SCAN_H

#include "store/cache_private.h"

/* How a walk is done. */
struct cache_walk {
	struct cache *c;
	bool gentle; /* sleeps half of the time */
	/* @name as cache_name_of(). False ends. */
	bool (*fn)(void *arg, const char *name, bool has_index, bool has_data);
	void *arg;
};
/* In no order; ends when the cache is stopping. 0, or -errno when the directory cannot be read. */
int cache_walk(const struct cache_walk *w);

/* An entry as its index has it. */
struct cache_look {
	struct cache_header header;
	int fd; /* of the index; -1: it cannot be opened */
	bool damaged;
	bool lent; /* somebody may have its data file mapped */
	uint64_t index_size;
	uint64_t index_disk, data_disk; /* bytes allocated */
};
/* Always to be ended by cache_look_end(). False: there is no header to speak of, look->damaged tells why. */
bool cache_look_begin(struct cache *c, const char *name, struct cache_look *look);
/* Calls @fn for each record that has been written; @r as cache_record_decode(). False ends. */
void cache_look_records(struct cache *c, const struct cache_look *look,
			bool (*fn)(void *arg, uint64_t idx, int r,
				   const struct cache_record *record),
			void *arg);
void cache_look_end(struct cache *c, struct cache_look *look);
/* Whether the name is that of what the header says. */
bool cache_look_is_named(const struct cache_look *look, const char *name);
/* Bytes allocated for both files. */
uint64_t cache_disk_of(struct cache *c, const char *name);

#endif
