/* SPDX-License-Identifier: Apache-2.0 */
/* What session.c (life), ops.c (requests), read.c and pending.c (requests that wait) share. */
#ifndef FS_SESSION_PRIVATE_H
#define FS_SESSION_PRIVATE_H

#ifndef FUSE_USE_VERSION
#define FUSE_USE_VERSION 312
#endif
#include <fuse_lowlevel.h>
#include <stdatomic.h>

#include "base/hist.h"
#include "base/loop.h"
#include "fs/job.h"
#include "fs/local.h"
#include "fs/parked.h"
#include "fs/passthrough.h"
#include "fs/pending.h"
#include "fs/session.h"
#include "fs/siblings.h"
#include "fs/tree.h"
#include "fs/uring.h"

struct session_loop {
	struct loop_watch watch;
	struct fs_session *session; /* borrowed */
	struct fuse_buf buf;        /* owned (mem, by libfuse); this loop's only */
	bool watching;              /* this loop's only */
};

struct fs_session {
	struct fs_session_params p; /* texts not used after creation */
	struct fuse_session *fuse;  /* owned */
	bool mounted;
	bool greeted;    /* INIT has been answered */
	bool no_opendir; /* the kernel need not ask to open a directory */
	unsigned major, minor;
	_Atomic bool ended;
	/*
	 * Rings have no watch to be taken off: operations that come by them and may wait are counted while
	 * they run, and refused from the end on.
	 */
	_Atomic bool closing;
	_Atomic unsigned n_on_rings;
	int device; /* of the kernel's connection, for pass */
	struct passthrough pass;
	struct parked_set parked;
	struct siblings siblings;
	struct pending_set
		pending;     /* its lock is parked.lock, and so is its count of those that wait */
	struct job_set jobs; /* the same */
	unsigned n_loops;
	struct session_loop *per_loop; /* owned, n_loops */

	_Atomic uint64_t n_requests;
	_Atomic uint64_t n_reads;
	_Atomic uint64_t n_hits;
	_Atomic uint64_t n_misses;
	_Atomic uint64_t n_bytes_asked;
	_Atomic uint64_t n_writes;
	_Atomic uint64_t n_bytes_written;
	_Atomic uint64_t n_errors;
	_Atomic uint64_t n_interrupted;
	_Atomic uint64_t n_timed_out;
	struct hist latency;
};

extern const struct fuse_lowlevel_ops fs_ops;
/* What a mount has beside, whose files can be changed: ops_write.c, ops_names.c, ops_xattr.c. */
void fs_ops_add_write(struct fuse_lowlevel_ops *ops);
void fs_ops_add_names(struct fuse_lowlevel_ops *ops);
void fs_ops_add_xattrs(struct fuse_lowlevel_ops *ops);

static inline void count(_Atomic uint64_t *n, uint64_t add)
{
	atomic_fetch_add_explicit(n, add, memory_order_relaxed);
}

/* Of every request once, on the thread that took it; those of rings are counted here, others where they are read. */
static inline struct fs_session *fs_session_of(fuse_req_t req)
{
	struct fs_session *s = fuse_req_userdata(req);

	if (uring_enter(req))
		count(&s->n_requests, 1);
	return s;
}

/*
 * Around operations that may wait, for requests of rings. False: the end has come, and the request has been
 * answered.
 */
bool fs_ring_begin(struct fs_session *s, fuse_req_t req);
void fs_ring_end(struct fs_session *s);

/* Starts the clock of deadlines when it stands; returns whether the caller is to post parked.arm. */
bool fs_clock_wanted_locked(struct fs_session *s) REQUIRES(s->parked.lock);

/* The positive errno of a failed operation of the tree. */
int fs_meta_errno(int status);

/* The same of what was to change something. */
int fs_change_errno(int status);

void fs_fill_entry(struct fuse_entry_param *e, const struct fs_tree_attr *a);
void fs_reply_attr(fuse_req_t req, const struct fs_tree_attr *a);

/* FUSE_OPEN for writing, in a mount that can be written. */
void fs_open_write(fuse_req_t req, uint64_t ino, int flags);
/* FUSE_RELEASE there. */
void fs_release(fuse_req_t req, struct local_handle *h);

/* FUSE_READ, all of it: hit, miss, interrupt, deadline. */
void fs_read(fuse_req_t req, struct fs_object *o, uint64_t off, uint64_t len);

/* FUSE_IOCTL of a file. */
void fs_ioctl(fuse_req_t req, struct fs_object *o, unsigned cmd, const void *in, size_t n_in);

/* The file @ino of @size bytes has been read from its beginning: fetches the small ones that come next. */
void fs_read_siblings(struct fs_session *s, uint64_t ino, uint64_t size, uint64_t deadline_ns);

#endif
