/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The housekeeping thread of a cache directory: looks once a second, or when it is told that there is something to
 * do, whether limit and floor are kept, and closes what has not been used lately. Nobody waits for it.
 *
 * What other processes write it sees by the free space of the file system: that may be somebody else's doing,
 * so it is only a reason to count.
 */
#include <errno.h>
#include <signal.h>

#include "base/loop.h"
#include "base/macros.h"
#include "store/cache_clean.h"

#define TICK_NS     NSEC_PER_SEC
#define STOP_NS     (5 * NSEC_PER_SEC) /* a disk that has not answered by then hangs */
#define FIRST_TICKS 1u                 /* a start has better things to do */
#define VAIN_TICKS  5u                 /* after a round that freed nothing */
#define COUNT_TICKS 10u                /* between two counts that only the free space asked for */
#define CLOSE_TICKS 15u

void cache_kick(struct cache *c)
{
	mutex_lock(&c->lock);
	c->kicked = true;
	cond_signal(&c->wake);
	mutex_unlock(&c->lock);
}

/* Whether to count and clean: 2 for sure, 1 perhaps. */
static int house_is_due(struct cache *c)
{
	uint64_t spare = cache_disk_free(c), seen = atomic_load(&c->free_seen);
	uint64_t others = spare < seen ? seen - spare : 0;

	if (c->limit && atomic_load(&c->bytes) > cache_high(c))
		return 2;
	if (spare < c->floor && atomic_load(&c->bytes))
		return 1;
	return c->limit && atomic_load(&c->counted) + others > cache_high(c);
}

struct house {
	struct cache *c;
	uint64_t tick;
	uint64_t counted_at; /* tick */
	bool counted;
	bool vain; /* the last round freed nothing */
};

static bool house_may_work(const struct house *h, int due, bool kicked)
{
	uint64_t ticks = h->tick - h->counted_at;

	/* The first count tells how much there is; writing goes on meanwhile. */
	if (!h->counted)
		return h->tick >= FIRST_TICKS || kicked;
	if (!due || (h->vain && ticks < VAIN_TICKS))
		return false;
	return due > 1 || ticks >= COUNT_TICKS;
}

/* Where somebody waits for room it is not gentle. */
static void house_work(struct house *h, bool kicked)
{
	struct cache_clean how = { .gentle = !kicked, .above = cache_high(h->c) };
	struct cache_work work = { .entries = 0 };

	if (!house_may_work(h, house_is_due(h->c), kicked))
		return;
	if (cache_clean(h->c, &how, &work) == 0) {
		h->counted = true;
		h->counted_at = h->tick;
		h->vain = !work.bytes;
	}
}

/* True: because there is something to do. */
static bool house_wait(struct cache *c, uint64_t deadline_ns) EXCLUDES(c->lock)
{
	bool kicked;

	mutex_lock(&c->lock);
	while (!c->kicked && !atomic_load(&c->stopping) &&
	       cond_wait_until(&c->wake, &c->lock, deadline_ns))
		;
	kicked = c->kicked;
	c->kicked = false;
	mutex_unlock(&c->lock);
	return kicked;
}

static void *house_main(void *arg)
{
	struct house h = { .c = arg };
	uint64_t next = loop_now_ns() + TICK_NS;

	pthread_setname_np(pthread_self(), "vmofs-cache");
	while (!atomic_load(&h.c->stopping)) {
		bool kicked = house_wait(h.c, next);

		if (loop_now_ns() >= next) {
			next = loop_now_ns() + TICK_NS;
			h.tick++;
			if (h.tick % CLOSE_TICKS == 0)
				cache_close_idle(h.c);
		}
		if (!atomic_load(&h.c->stopping))
			house_work(&h, kicked);
	}
	mutex_lock(&h.c->lock);
	h.c->has_ended = true;
	cond_signal(&h.c->wake);
	mutex_unlock(&h.c->lock);
	return NULL;
}

int cache_house_start(struct cache *c)
{
	sigset_t all, old;
	int r;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&c->thread, NULL, house_main, c);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	c->has_thread = r == 0;
	return r == 0 ? 0 : -EAGAIN;
}

int cache_house_stop(struct cache *c)
{
	const uint64_t until = loop_now_ns() + STOP_NS;
	bool ended;

	if (!c->has_thread)
		return 0;
	atomic_store(&c->stopping, true);
	cache_kick(c);
	mutex_lock(&c->lock);
	while (!c->has_ended && cond_wait_until(&c->wake, &c->lock, until))
		;
	ended = c->has_ended;
	mutex_unlock(&c->lock);
	if (!ended)
		return -ETIMEDOUT;
	pthread_join(c->thread, NULL);
	c->has_thread = false;
	return 0;
}
