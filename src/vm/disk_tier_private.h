/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the disk tier share. One lock a mount, disk_io.lock, covers the queues of all its tiers; it is
 * taken under a VMO's lock and never held across a call of the cache that may block, or of a VMO.
 */
#ifndef VM_DISK_TIER_PRIVATE_H
#define VM_DISK_TIER_PRIVATE_H

#include <stdatomic.h>

#include "base/itree.h"
#include "base/sync.h"
#include "base/workers.h"
#include "vm/disk_tier.h"
#include "vm/page.h"

/* What threads do for tiers; a smaller number goes first. */
enum tier_work {
	TIER_WORK_OPEN,
	TIER_WORK_DEMAND,
	TIER_WORK_PREFETCH,
	TIER_WORK_WRITE,
	TIER_WORK_FLUSH,
	TIER_WORK_DISCARD,
	TIER_WORK_CLOSE,
	TIER_WORK_VERIFY,
	TIER_NWORKS
};

enum {
	TIER_PIECE_PAGES = 256, /* that one thread reads at a time */
	TIER_RIPE_PAGES = 64,   /* of a segment: worth writing at once */
	TIER_SEGMENT_WORDS = CACHE_SEGMENT_PAGES / 64,
};
_Static_assert(CACHE_SEGMENT_PAGES % 64 == 0, "a segment is whole words of bits");

/* Which pages of a segment wait to be written. Made by the first that arrives, gone with the last. */
struct tier_seg {
	struct itree_node pages; /* all of the segment; in tier->segs */
	struct vmofs_list link;  /* in tier->young or tier->ripe; empty while it is being written */
	uint64_t since_ns;       /* when the first of them came */
	unsigned n;
	bool spared;   /* its pages count into io->spared */
	bool ripe;     /* in tier->ripe */
	bool writing;  /* a thread has it */
	bool unneeded; /* to be evicted when it is written */
	uint64_t bits[TIER_SEGMENT_WORDS];
};

struct disk_tier {
	struct vmo_near near;
	struct vmofs_provider provider; /* the near one */
	struct disk_io *io;             /* borrowed */
	struct vmo *vmo;                /* borrowed; not used once OFF */
	struct cache_key key;           /* its texts are owned */
	/* The key's, where it has one. */
	uint8_t identity[CACHE_IDENTITY_LEN];
	uint64_t n_pages;
	_Atomic unsigned refs;     /* the owner's, and one for each thread at work for it */
	_Atomic unsigned state;    /* enum disk_tier_state; written with io->lock */
	struct cache_entry *entry; /* owned; set before READY, then fixed */

	/* lock: io->lock, everything below */
	struct vmofs_list requests[VMOFS_NCLASSES]; /* struct vmofs_request.link */
	struct vmofs_list turn[TIER_NWORKS];        /* in io->turns[] while there is such work */
	struct vmofs_list watched; /* in io->watched while something waits for time to pass */
	struct vmofs_list queued;  /* in io->queued while there are requests */
	uint64_t queued_ns;        /* since when none of them has been taken */
	struct rb_tree segs;       /* struct tier_seg.pages */
	struct vmofs_list young;   /* struct tier_seg.link: oldest first */
	struct vmofs_list ripe;
	uint64_t n_waiting;    /* pages of segs */
	uint64_t n_unflushed;  /* pages written since the index was */
	uint64_t unflushed_ns; /* when the first of them was */
	bool flushing;
	bool verifying;
	bool proving; /* the verifier's alone: it was whole when that began, and more is left */
	bool incomplete; /* the last look said that pages are missing, and none has been written since */
	unsigned hurry;  /* somebody waits for it to be written */
	unsigned n_jobs; /* pieces of work under way */
	bool distrusted; /* its entry is discarded as soon as there are none */
};

/*
 *   DISK_ANSWERS -> DISK_HANGS   hangs_now(): something has waited for longer than patience_ns
 *   DISK_HANGS -> DISK_ANSWERS   comes_back(): what hung has come back
 */
enum disk_state { DISK_ANSWERS, DISK_HANGS, DISK_NSTATES };

struct disk_io {
	struct cache *cache;     /* borrowed */
	struct workers *workers; /* owned */
	struct workers *watch;   /* owned: the one thread of disk_watch.c */
	uint64_t patience_ns;
	_Atomic unsigned state;         /* enum disk_state; written with lock */
	_Atomic uint64_t rest_until_ns; /* the same; it is not asked before then. 0: never hung */
	unsigned limit[TIER_NWORKS];    /* threads at one kind of work */
	uint64_t spared_max;            /* pages */

	struct mutex lock;
	/* lock: lock */
	struct cond settled; /* something was written or given up, a tier has gone */
	struct vmofs_list turns[TIER_NWORKS]; /* struct disk_tier.turn[] */
	struct vmofs_list watched;
	unsigned running[TIER_NWORKS];
	uint64_t n_tiers;
	uint64_t waiting; /* pages of all tiers */
	uint64_t spared;  /* those of spared segments */
	unsigned hurry;
	struct vmofs_list asked; /* struct tier_job.watched: under way and not late, oldest first */
	struct vmofs_list queued; /* struct disk_tier.queued: oldest first */
	uint64_t look_ns;         /* when disk_watch.c looks again; UINT64_MAX: no need */
	uint64_t hangs_since_ns;
	uint64_t n_jobs;  /* pieces of work under way */
	uint64_t n_late;  /* those of them that hang */
	uint64_t n_ended; /* all that have ended */
	bool ending;      /* disk_io_free() waits */
	bool drained;     /* disk_io_drain() has run out of time: no tier is waited for any more */

	_Atomic uint64_t hits, misses, written, skipped; /* pages */
	_Atomic uint64_t hangs;
	_Atomic bool refused; /* an object, whose version nobody can prove */
};

/* One piece of work, taken from the queues. */
struct tier_job {
	enum tier_work work;
	struct disk_tier *tier; /* counted */
	struct vmo *vmo;        /* counted; NULL for DISCARD and CLOSE */
	uint64_t first, end;    /* pages to be read; of the segment to be written */
	/* lock: io->lock */
	struct vmofs_list watched; /* in io->asked until it is late */
	uint64_t since_ns;
	bool late;
	uint64_t bits[TIER_SEGMENT_WORDS];
};

void disk_tier_ref(struct disk_tier *t);
/* @t has work of that kind: somebody will come. */
void disk_io_queue_locked(struct disk_io *io, struct disk_tier *t, enum tier_work work)
	REQUIRES(io->lock);
/* What waits in @t for time to pass is looked at then. */
void disk_io_watch_locked(struct disk_io *io, struct disk_tier *t, uint64_t when_ns)
	REQUIRES(io->lock);

/* disk_watch.c */
/* -ENOMEM or -EAGAIN. */
int disk_watch_init(struct disk_io *io, uint64_t patience_ns);
/* Whether it is not to be asked just now. Without the lock. */
bool disk_is_away(struct disk_io *io);
/* @t has requests. */
void disk_watch_queued_locked(struct disk_io *io, struct disk_tier *t) REQUIRES(io->lock);
/* Some of its requests have been taken. */
void disk_watch_taken_locked(struct disk_io *io, struct disk_tier *t) REQUIRES(io->lock);
/* Some of them have gone. */
void disk_watch_cleared_locked(struct disk_io *io, struct disk_tier *t) REQUIRES(io->lock);
/* @job stays where it is until its end. */
void disk_watch_begin_locked(struct disk_io *io, struct tier_job *job) REQUIRES(io->lock);
void disk_watch_end_locked(struct disk_io *io, struct tier_job *job) REQUIRES(io->lock);
/* Until all tiers are gone. -ETIMEDOUT: nothing comes back any more. */
int disk_watch_wait_locked(struct disk_io *io) REQUIRES(io->lock);

/* disk_tier.c */
void disk_tier_open(struct disk_tier *t, struct vmo *v);
void disk_tier_destroy(struct disk_tier *t);
/* A piece of work for @t, which is not gone yet, has ended. */
void disk_tier_job_ended_locked(struct disk_io *io, struct disk_tier *t) REQUIRES(io->lock);
void disk_tier_discard(struct disk_tier *t);
/* What is whole is verified when there is nothing else to do. */
void disk_tier_want_verify_locked(struct disk_io *io, struct disk_tier *t) REQUIRES(io->lock);
void disk_tier_verify(struct disk_tier *t);

/* disk_tier_read.c */
/* The calls of the page source. */
void disk_tier_send(struct vmofs_provider *p, struct vmofs_request *req);
void disk_tier_clear(struct vmofs_provider *p, struct vmofs_request *req);
void disk_tier_swap(struct vmofs_provider *p, struct vmofs_request *old, struct vmofs_request *now);
/* The next piece of that class, of which there is one. */
void disk_tier_next_piece_locked(struct disk_io *io, struct disk_tier *t,
				 enum vmofs_request_class cls, struct tier_job *job)
	REQUIRES(io->lock);
/* Supplies [first, end) or sends it on. @buf has TIER_PIECE_PAGES. */
void disk_tier_serve(struct disk_tier *t, struct vmo *v, uint64_t first, uint64_t end, void *buf);

/* disk_tier_write.c */
void disk_tier_arrived(struct vmo_near *n, uint64_t first, uint64_t end);
bool disk_tier_spares(struct vmo_near *n, uint64_t *first, uint64_t *end);
void disk_tier_unneeded(struct vmo_near *n, uint64_t first, uint64_t end);
/* Nothing of it waits any more; counts it as skipped. */
void disk_tier_give_up_locked(struct disk_io *io, struct disk_tier *t) REQUIRES(io->lock);
/* The next ripe segment, of which there is one. */
void disk_tier_next_segment_locked(struct disk_io *io, struct disk_tier *t, struct tier_job *job)
	REQUIRES(io->lock);
void disk_tier_write(struct disk_tier *t, const struct tier_job *job);
void disk_tier_flush(struct disk_tier *t);
/* What is old enough at @now becomes work. Returns when to look again; UINT64_MAX: no need. */
uint64_t disk_tier_ripen_locked(struct disk_io *io, struct disk_tier *t, uint64_t now_ns)
	REQUIRES(io->lock);

#endif
