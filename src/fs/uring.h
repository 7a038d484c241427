/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests by io_uring (libfuse 3.18, Linux 6.14): beside the loops there is then a thread of libfuse's for each CPU, which
 * calls the operations of ops.c itself. FORGET, INTERRUPT, INIT and what we tell the kernel stay on /dev/fuse.
 *
 * A ring thread holds a lock of its ring while it calls us, and an answer to another ring's request takes that
 * ring's. So a ring thread answers only what it has just been asked; whatever else ends on it (a
 * read that waited for the same page) is answered from a loop. libfuse ends these threads by cancelling them,
 * which is off from their first call on: they leave by themselves when they are woken.
 *
 * libfuse finds no request of a ring when it is interrupted: such reads end by their answer or their deadline.
 */
#ifndef FS_URING_H
#define FS_URING_H

#include <stdbool.h>

#include "fs/session.h"

struct fuse_req;
struct fuse_session;

/* Whether to ask libfuse for rings. Says in the log what is in the way. */
bool uring_is_wanted(enum fs_choice c);

/* A request comes in: whether by a ring, on the calling thread. */
bool uring_enter(struct fuse_req *req);
/* On a ring thread, which answers nothing but the request that it has just been given. */
bool uring_on_ring(void);
/* The calling ring thread's number among all that there have been. */
unsigned uring_thread(void);

/* No operation runs or will answer: the threads end. Also without rings. */
void uring_stop(struct fuse_session *fuse);

/* Requests waiting for an answer on a ring, each as large as the largest request; for each CPU. */
#define URING_DEPTH 16

#endif
