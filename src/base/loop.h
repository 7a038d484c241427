/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Event loops: a few threads, each an epoll set. The FUSE device, the HTTP sockets, the control
 * socket and timers all live here, so that a cache miss is read from the kernel, sent to the
 * server, and answered on ONE thread without a wakeup of another. Handlers never block.
 *
 * A `struct loop` is used by its own thread only, except loop_post() and loop_wake(), which any
 * thread may call. loop_current() tells whether one is on a loop thread.
 */
#ifndef BASE_LOOP_H
#define BASE_LOOP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <vmofs/err.h>
#include <vmofs/list.h>

struct loop;
struct loop_pool;

/* A watched descriptor, embedded in its owner. */
struct loop_watch {
	int fd;          /* borrowed */
	uint32_t events; /* EPOLLIN, EPOLLOUT, EPOLLEXCLUSIVE, ... */
	void (*ready)(struct loop_watch *w, struct loop *l, uint32_t events);
};

/* Work handed to a loop; embedded in its owner, on one queue at a time. */
struct loop_task {
	struct vmofs_list link;
	void (*run)(struct loop_task *t, struct loop *l);
};

/* A one-shot timer; loop thread only. */
struct loop_timer {
	struct vmofs_list link;
	uint64_t due_ns; /* CLOCK_MONOTONIC; 0: not armed */
	void (*fire)(struct loop_timer *t, struct loop *l);
};

/* Runs at the end of every turn of a loop, after all events and tasks: where queues are drained. */
struct loop_hook {
	struct vmofs_list link;
	void (*turn)(struct loop_hook *h, struct loop *l);
};

struct loop_pool *loop_pool_new(unsigned nthreads, struct vmofs_err *err);
/* Starts the threads (signals blocked in them). loop_pool_new() starts none, so a daemon can fork between. */
int loop_pool_start(struct loop_pool *p, struct vmofs_err *err);
/* Stops and joins the threads; queued tasks have run. */
void loop_pool_stop(struct loop_pool *p);
void loop_pool_free(struct loop_pool *p);
unsigned loop_pool_size(const struct loop_pool *p);
struct loop *loop_pool_nth(struct loop_pool *p, unsigned i);
/* The calling thread's loop when it belongs to @p, else the one that slept last: good for a first send. */
struct loop *loop_pool_pick(struct loop_pool *p);
/* A loop of @p other than @but that sleeps just now, or NULL: work may be handed to it. */
struct loop *loop_pool_idle(struct loop_pool *p, const struct loop *but);

/*
 * A thing that a pool has once: made at its first use, freed by loop_pool_free(). It spares the
 * layers above a global for what belongs to the loops (HTTP connections, a reading thread).
 */
struct loop_service {
	void *(*make)(struct loop_pool *p); /* NULL: no memory; must not ask for another service */
	void (*free)(void *it);             /* the loops have stopped */
};
void *loop_pool_service(struct loop_pool *p, const struct loop_service *s);

struct loop *loop_current(void); /* NULL off the loop threads */
unsigned loop_index(const struct loop *l);
uint64_t loop_now_ns(void); /* CLOCK_MONOTONIC */

int loop_watch_add(struct loop *l, struct loop_watch *w);
int loop_watch_mod(struct loop *l, struct loop_watch *w, uint32_t events);
/* After it no further ready() of @w; loop thread only (or before start, after stop). */
void loop_watch_del(struct loop *l, struct loop_watch *w);

/*
 * Any thread. The task runs once on @l's thread. From @l itself no system call is made. Before
 * loop_pool_start() it waits for it (or for loop_pool_free()); after loop_pool_stop() it runs at
 * once on the caller's thread, which then counts as the loop's.
 */
void loop_post(struct loop *l, struct loop_task *t);
/* Any thread: makes @l go through one turn (its hooks run). Free of system calls from @l itself. */
void loop_wake(struct loop *l);

void loop_timer_set(struct loop *l, struct loop_timer *t, uint64_t due_ns);
void loop_timer_del(struct loop *l, struct loop_timer *t);

void loop_hook_add(struct loop *l, struct loop_hook *h);
void loop_hook_del(struct loop *l, struct loop_hook *h);

/*
 * Runs @run on @l's thread and waits for it; set-up and shut-down paths only, never from a loop.
 * Where the threads do not run (before start, after stop) it runs on the caller's.
 */
void loop_call(struct loop *l, void (*run)(void *arg, struct loop *l), void *arg);

#endif
