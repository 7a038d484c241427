/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests of the kernel, other than reads, that wait for the tree: LOOKUP, GETATTR, READLINK, OPEN, READDIR,
 * GETXATTR. Each is an operation that is repeated until it does not have to wait any more. An
 * interrupt, the deadline and the end of the session give it up earlier; the query goes on.
 *
 * As with parked reads, the memory keeps its type for the life of the session: an interrupt handler may
 * come with the address of a request that has just been answered.
 *
 *   PENDING_FREE    -> PENDING_HELD     taken for a request
 *   PENDING_HELD    -> PENDING_FREE     answered
 *   PENDING_HELD    -> PENDING_EARLY    done() came while another thread works on the request
 *   PENDING_HELD    -> PENDING_WAITING  the holder lets go
 *   PENDING_EARLY   -> PENDING_HELD     the holder repeats the operation, or answers
 *   PENDING_WAITING -> PENDING_HELD     done() came, or somebody gives the request up
 */
#ifndef FS_PENDING_H
#define FS_PENDING_H

#include <stdbool.h>
#include <stdint.h>
#include <vmofs/list.h>

#include "base/loop.h"
#include "base/sync.h"
#include "fs/tree.h"

struct fs_session;
struct fuse_req;
struct parked_set;

enum { PENDING_NAME_MAX = 255 };

enum pending_state { PENDING_FREE, PENDING_HELD, PENDING_EARLY, PENDING_WAITING, PENDING_NSTATES };

struct pending {
	struct fs_tree_wait wait;
	struct fs_session *session; /* borrowed; for life */
	struct loop_task task;      /* carries done() from a ring thread to a loop */
	struct vmofs_list link;     /* in the free list, or in the list of those that wait */
	struct fuse_req *req;
	/*
	 * Tries the operation: -EINPROGRESS (done() of the wait follows), or it has answered. Fixed while
	 * taken, as the arguments are.
	 */
	int (*try)(struct pending *p);
	uint64_t ino;
	uint64_t off;
	uint64_t flags;
	size_t size;
	char name[PENDING_NAME_MAX + 1];
	uint64_t deadline_ns; /* 0: none */
	/* lock: the session's parked.lock, from here */
	enum pending_state state;
	int status;             /* that done() brought */
	int given_up;           /* -errno; 0: not */
	struct fuse_req *armed; /* req while its interrupts come here, else NULL */
};

struct pending_set {
	struct vmofs_list free;    /* lock: the session's parked.lock, as all of it */
	struct vmofs_list waiting; /* those that have waited once, until they are answered */
	struct vmofs_list slabs;
	bool stopped;
};

void pending_set_init(struct pending_set *set);
/* Nothing is outstanding. */
void pending_set_release(struct pending_set *set);

/* A request's memory with its arguments zero; NULL without memory, and then it has been answered. */
struct pending *pending_take(struct fs_session *s, struct fuse_req *req);
/* Runs @p->try until it has answered, now or later. */
void pending_run(struct pending *p);

/* Gives up what is beyond its deadline; loop 0's clock. */
void pending_expire(struct fs_session *s, uint64_t now_ns);
/* Gives up everything that waits, and whatever will. */
void pending_stop(struct fs_session *s);

/* The only function that writes p->state. */
void pending_set_state(struct pending *p, enum pending_state to);

#endif
