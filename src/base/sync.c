/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ranked mutexes over pthread. In debug builds each thread remembers the ranks it holds, so that a
 * wrong order is an assertion at the first run instead of a deadlock at the thousandth.
 */
#include "base/sync.h"

#include <assert.h>
#include <errno.h>
#include <time.h>

#include "base/macros.h"

#ifndef NDEBUG
enum { RANKS_HELD_MAX = 16 };
static _Thread_local enum lock_rank ranks_held[RANKS_HELD_MAX];
static _Thread_local unsigned n_ranks_held;

static void rank_push(enum lock_rank rank)
{
	assert(n_ranks_held < RANKS_HELD_MAX);
	for (unsigned i = 0; i < n_ranks_held; i++)
		assert(ranks_held[i] < rank && "lock order");
	ranks_held[n_ranks_held++] = rank;
}

static void rank_pop(enum lock_rank rank)
{
	unsigned i = n_ranks_held;

	while (i-- > 0 && ranks_held[i] != rank)
		;
	assert(i < n_ranks_held && "unlock of a lock that is not held");
	for (n_ranks_held--; i < n_ranks_held; i++)
		ranks_held[i] = ranks_held[i + 1];
}
#else
static void rank_push(enum lock_rank rank UNUSED)
{
}

static void rank_pop(enum lock_rank rank UNUSED)
{
}
#endif

void mutex_init(struct mutex *m, enum lock_rank rank)
{
	pthread_mutexattr_t attr;

	/* Held for microseconds: a little spinning is cheaper than a sleep and a wakeup. */
	pthread_mutexattr_init(&attr);
	pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_ADAPTIVE_NP);
	pthread_mutex_init(&m->m, &attr);
	pthread_mutexattr_destroy(&attr);
	m->rank = rank;
}

void mutex_destroy(struct mutex *m)
{
	pthread_mutex_destroy(&m->m);
}

void mutex_lock(struct mutex *m) NO_TSA
{
	rank_push(m->rank);
	pthread_mutex_lock(&m->m);
}

bool mutex_try_lock(struct mutex *m) NO_TSA
{
	if (pthread_mutex_trylock(&m->m) != 0)
		return false;
	rank_push(m->rank);
	return true;
}

void mutex_unlock(struct mutex *m) NO_TSA
{
	rank_pop(m->rank); /* first: who gets the lock next may free it */
	pthread_mutex_unlock(&m->m);
}

void cond_init(struct cond *c)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&c->c, &attr);
	pthread_condattr_destroy(&attr);
}

void cond_destroy(struct cond *c)
{
	pthread_cond_destroy(&c->c);
}

void cond_wait(struct cond *c, struct mutex *m)
{
	pthread_cond_wait(&c->c, &m->m);
}

bool cond_wait_until(struct cond *c, struct mutex *m, uint64_t deadline_ns)
{
	struct timespec ts = {
		.tv_sec = (time_t)(deadline_ns / NSEC_PER_SEC),
		.tv_nsec = (long)(deadline_ns % NSEC_PER_SEC),
	};

	return pthread_cond_timedwait(&c->c, &m->m, &ts) != ETIMEDOUT;
}

void cond_signal(struct cond *c)
{
	pthread_cond_signal(&c->c);
}

void cond_broadcast(struct cond *c)
{
	pthread_cond_broadcast(&c->c);
}

void sync_assert_none_held(void)
{
#ifndef NDEBUG
	assert(n_ranks_held == 0 && "about to block with a lock held");
#endif
}
