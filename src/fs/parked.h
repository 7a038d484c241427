/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where reads live that wait for the origin: their memory, and the clock that ends them.
 *
 * A parked_read's memory keeps its type for the life of the session (slabs, free lists): libfuse may
 * call an interrupt handler with the address of a request whose answer is just going out, and must
 * then find something to compare with.
 *
 *   PARKED_FREE    -> PARKED_HELD     taken for a request
 *   PARKED_HELD    -> PARKED_FREE     a hit, or an error at once
 *   PARKED_HELD    -> PARKED_EARLY    done() came while another thread works on the read
 *   PARKED_HELD    -> PARKED_WAITING  the holder lets go
 *   PARKED_HELD    -> PARKED_ENDING   the holder has cancelled it
 *   PARKED_WAITING -> PARKED_HELD     an interrupt came
 *   PARKED_WAITING -> PARKED_ENDING   done() came
 *   PARKED_EARLY   -> PARKED_ENDING   the holder answers in place of done()
 *   PARKED_ENDING  -> PARKED_FREE     the answer has been sent
 */
#ifndef FS_PARKED_H
#define FS_PARKED_H

#include <stdbool.h>
#include <stdint.h>
#include <vmofs/list.h>

#include "base/loop.h"
#include "base/sync.h"
#include "vm/vmo.h"

struct fs_object;
struct fs_session;
struct fuse_req;

enum parked_state {
	PARKED_FREE,
	PARKED_HELD, /* a thread starts or cancels it */
	PARKED_EARLY,
	PARKED_WAITING,
	PARKED_ENDING,
	PARKED_NSTATES
};

struct parked_read {
	struct vmo_read read;
	struct fs_session *session; /* borrowed; for life: a late interrupt handler looks at it */
	struct fs_object *object;   /* borrowed */
	struct loop_task task;      /* carries done() from a ring thread to a loop */
	struct vmofs_list link;     /* in a free list */
	struct fuse_req *req;       /* the request to answer; set by the starting thread */
	uint64_t start_ns;
	/*
	 * lock: parked_set.lock, from here. The exception is HELD before anybody else knows of
	 * the read: a hit takes no lock.
	 */
	enum parked_state state;
	int status;
	struct fuse_req *armed; /* req while its interrupts come here, else NULL */
	bool interrupted;
};

enum { PARKED_LOCAL_MAX = 128 };

/* A free list that one loop, or one thread of a ring, uses alone. */
struct parked_cache {
	struct vmofs_list free;
	unsigned n;
};

struct parked_set {
	struct mutex lock;
	struct fs_session *session; /* borrowed */
	struct vmofs_list free;     /* lock: lock */
	struct vmofs_list slabs;    /* lock: lock */
	struct cond idle;           /* signalled when nothing is outstanding */
	uint64_t n_waiting;         /* lock: lock */
	struct parked_cache *local; /* owned */
	unsigned n_loops;
	unsigned n_local;        /* of loops, then of ring threads */
	struct loop_timer clock; /* loop 0 only */
	struct loop_task arm;
	bool ticking; /* lock: lock; the clock runs or has been sent for */
	bool stopped; /* lock: lock; the clock stays off */
};

int parked_set_init(struct parked_set *set, struct fs_session *s, unsigned n_loops);
/* Nothing is outstanding. */
void parked_set_release(struct parked_set *set);

/* A free read; NULL without memory. Loops and ring threads. */
struct parked_read *parked_take(struct parked_set *set) EXCLUDES(set->lock);
void parked_give_back(struct parked_set *set, struct parked_read *r) EXCLUDES(set->lock);

/* The only function that writes r->state. */
void parked_set_state(struct parked_read *r, enum parked_state to);

#endif
