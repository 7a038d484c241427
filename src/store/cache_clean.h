/* SPDX-License-Identifier: Apache-2.0 */
/* Room made in a cache directory; see cache_clean.c. Any thread that may block; no lock of an entry is held. */
#ifndef STORE_CACHE_CLEAN_H
#define STORE_CACHE_CLEAN_H

#include "store/cache_scan.h"

struct cache_clean {
	bool gentle;
	uint64_t above; /* the limit matters when there are more bytes than this */
	uint64_t extra; /* at least so much is to be freed */
};
/* One round: counts, and frees what is too much. -EBUSY: another one is at it. */
int cache_clean(struct cache *c, const struct cache_clean *how, struct cache_work *out);

/* The entry that @look saw. As cache_entry_get(). */
int cache_entry_of(struct cache *c, const struct cache_look *look, struct cache_entry **out);
/* Frees segments that take place but have no page in the index. Within entry_enter(), as the writer. */
void cache_punch_lost(struct cache_entry *e, struct cache_work *work);
/* The first 64 seconds are one bucket, then each half octave is; below 64. */
unsigned cache_age_bucket(uint64_t age);

#endif
