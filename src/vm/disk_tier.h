/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The disk cache of one VMO: a nearer place of its contents than its provider. Pages that the cache may have are asked of
 * it first; what turns out not to be there goes on to the provider (vmo_elsewhere()). What the provider
 * supplied is written to the cache by threads that nobody waits for.
 *
 *   TIER_OPENING -> TIER_READY   tier_opened(): the entry is there (a thread opens it: that may block)
 *   TIER_OPENING -> TIER_OFF     no memory for it, or closed or not trusted before
 *   TIER_READY   -> TIER_OFF     closed, or the contents are not trusted
 *
 *   OPENING: every request is the tier's, and waits
 *   READY:   requests for what the entry may have are the tier's
 *   OFF:     nothing is the tier's, and nothing waits to be written
 *
 * Readers never wait for writing. What has arrived and is not written yet is spared by eviction as far as
 * disk_io_params.backlog allows (and a quarter of the pool); what arrives beyond it is written if it is still
 * there when its turn comes. What is gone by then is not kept, and counted.
 *
 * A disk that hangs is not asked for anything until it has come back, and as long again.
 */
#ifndef VM_DISK_TIER_H
#define VM_DISK_TIER_H

#include <vmofs/provider.h>

#include "store/cache.h"
#include "vm/vmo.h"

struct disk_io; /* the threads of a mount that read and write the cache */
struct disk_tier;

enum disk_tier_state { TIER_OPENING, TIER_READY, TIER_OFF, TIER_NSTATES };

struct disk_io_params {
	struct cache *cache; /* borrowed */
	unsigned threads;    /* at most; they start when they are needed. 0: 16 */
	uint64_t backlog;    /* bytes that wait to be written and are spared, all tiers together */
	/* What is asked of a disk that neither answers nor fails goes on after so long. 0: 2 s. */
	uint64_t patience_ns;
};
/* 0, -ENOMEM or -EAGAIN (no thread can be started). */
int disk_io_new(struct disk_io **out, const struct disk_io_params *p);
/*
 * Every tier has been put; waits for what they are being closed with. Before the pool of their VMOs is freed. NULL is
 * fine. -ETIMEDOUT: the disk hangs, and nothing has been freed: the threads that hang use the cache and the pool, which
 * have to stay. It may be tried again.
 */
int disk_io_free(struct disk_io *io);
/*
 * Writes what waits, of all tiers, until @deadline_ns (CLOCK_MONOTONIC) or until the disk is found to hang; returns the
 * bytes that are left. Blocks; for the time before the VMOs are closed: when it runs out, no tier is waited for any more.
 */
uint64_t disk_io_drain(struct disk_io *io, uint64_t deadline_ns);

/*
 * Puts a tier before the provider of @v; what is present already is written like what arrives. vmo_close() ends it. The key
 * is copied. The owner's reference is ended by disk_tier_put() after vmo_close(). Never blocks. -ENOMEM; -ESHUTDOWN: closed.
 */
int disk_tier_new(struct disk_tier **out, struct disk_io *io, struct vmo *v,
		  const struct cache_key *key);
/* Never blocks: the entry is closed by a thread. NULL is fine. */
void disk_tier_put(struct disk_tier *t);

/*
 * For passthrough, at an open; never blocks. A descriptor (borrowed, valid until disk_tier_unpass()) of a file that is the object,
 * whole and verified, and stays so; or -EAGAIN: not (yet). Asking makes a tier that is whole but not verified verify itself;
 * so does the last page that is written.
 */
int disk_tier_pass(struct disk_tier *t);
void disk_tier_unpass(struct disk_tier *t);

/* Whether something waits to be written. */
bool disk_tier_is_busy(struct disk_tier *t);
/* As disk_io_drain(), of one tier. */
uint64_t disk_tier_drain(struct disk_tier *t, uint64_t deadline_ns);
/*
 * What of the byte range is present is written too, whenever it came. Blocks until that is done, or
 * cannot be, or @deadline_ns has passed.
 */
void disk_tier_keep(struct disk_tier *t, uint64_t off, uint64_t len, uint64_t deadline_ns);

/* An object of the mount is not to be kept on disk at all. Whether it is the first, so that the log may tell of it once. */
bool disk_io_first_refusal(struct disk_io *io);

struct disk_tier_stats {
	uint64_t hits;    /* pages supplied from the disk */
	uint64_t misses;  /* pages that were asked of it and sent on */
	uint64_t written; /* pages */
	uint64_t skipped; /* pages that were gone before they could be written, or could not be */
	uint64_t backlog; /* bytes waiting (a gauge) */
	uint64_t hangs;   /* how often the disk was found to hang */
};
void disk_io_stats(struct disk_io *io, struct disk_tier_stats *out);

#endif
