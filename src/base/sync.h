/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mutexes with a rank, and clang's thread-safety annotations.
 *
 * One ranked list for the whole program, outermost (taken first) at the top. A thread may only take
 * a lock of a higher number than any it holds; debug builds assert it, two locks of one rank are
 * never held together. Nothing is called with a lock held that can block or call back.
 */
#ifndef BASE_SYNC_H
#define BASE_SYNC_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

enum lock_rank {
	LOCK_RANK_MOUNT = 10,     /* daemon: the list of mounts, shutdown */
	LOCK_RANK_LOG_FILE = 12,  /* write: a file's log in the journal; held across system calls */
	LOCK_RANK_TREE = 17,      /* fs: the nodes of a namespace */
	LOCK_RANK_LOCAL = 18,     /* fs: which files are changed here */
	LOCK_RANK_WRITER = 19,    /* write: files that are changed here */
	LOCK_RANK_OBJECTS = 20,   /* fs: open objects of a namespace */
	LOCK_RANK_READ = 25,      /* fs: parked kernel requests */
	LOCK_RANK_PASS = 27,      /* fs: how inodes are open */
	LOCK_RANK_STREAM = 30,    /* fs: read-ahead streams */
	LOCK_RANK_COW_NAMES = 34, /* cow: the file of names; held across system calls */
	LOCK_RANK_COW_BASE = 36,  /* cow: the contents below a changed file are being opened */
	LOCK_RANK_VMO = 40,       /* vm: one hierarchy of VMOs and its page source */
	LOCK_RANK_TIER = 44,      /* vm: what a disk cache is asked for and given */
	LOCK_RANK_WRAPPER = 45,   /* a provider over another: taken in send, clear, swap */
	LOCK_RANK_PROVIDER = 50,  /* a provider's queue: taken in send, clear, swap */
	LOCK_RANK_SOURCE = 47,    /* a source's queries */
	LOCK_RANK_ORIGIN = 53,    /* providers: slots of an origin, taken under a provider's */
	LOCK_RANK_NET = 55,       /* net: sources that have something to start */
	LOCK_RANK_CACHE_IO = 56,  /* store: files of a cached object; held across system calls */
	LOCK_RANK_CACHE = 57,     /* store: the entries of a cache directory */
	LOCK_RANK_STORE = 58,     /* store: the memory that small objects share */
	LOCK_RANK_CACHE_PAGE = 59, /* store: what is known of a cached object's pages */
	LOCK_RANK_PAGE_QUEUE = 60, /* vm: generations of all VMOs */
	LOCK_RANK_ROOM = 62,       /* write: dirty pages of a mount and those who wait for room */
	LOCK_RANK_BUDGET = 65,     /* vm: memory budget and those who wait for it */
	LOCK_RANK_KEYS = 70,       /* providers: access keys and where they come from */
	LOCK_RANK_SERVICE = 75,    /* base: what a loop pool has once */
	LOCK_RANK_LOOP = 80,       /* base: a loop's task queue */
	LOCK_RANK_LOG = 90,        /* leaves: taken anywhere */
};

#if defined(__clang__)
#define TSA(x) __attribute__((x))
#else
#define TSA(x)
#endif
#define CAPABILITY    TSA(capability("mutex"))
#define REQUIRES(...) TSA(requires_capability(__VA_ARGS__))
#define EXCLUDES(...) TSA(locks_excluded(__VA_ARGS__))
#define ACQUIRE(...)  TSA(acquire_capability(__VA_ARGS__))
#define RELEASE(...)  TSA(release_capability(__VA_ARGS__))
#define NO_TSA        TSA(no_thread_safety_analysis)

struct CAPABILITY mutex {
	pthread_mutex_t m;
	enum lock_rank rank;
};

void mutex_init(struct mutex *m, enum lock_rank rank);
void mutex_destroy(struct mutex *m);
void mutex_lock(struct mutex *m) ACQUIRE(*m);
void mutex_unlock(struct mutex *m) RELEASE(*m);
/* False: somebody has it. */
bool mutex_try_lock(struct mutex *m) TSA(try_acquire_capability(true, *m));

/* Waits of condition variables use CLOCK_MONOTONIC. */
struct cond {
	pthread_cond_t c;
};
void cond_init(struct cond *c);
void cond_destroy(struct cond *c);
void cond_wait(struct cond *c, struct mutex *m) REQUIRES(*m);
/* @deadline_ns CLOCK_MONOTONIC; false when it passed. */
bool cond_wait_until(struct cond *c, struct mutex *m, uint64_t deadline_ns) REQUIRES(*m);
void cond_signal(struct cond *c);
void cond_broadcast(struct cond *c);

/* Debug builds: the calling thread holds no ranked lock. */
void sync_assert_none_held(void);

#endif
