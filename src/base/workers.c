/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A number of calls to be made, and threads that make them. All idle threads watch the one alarm; whoever sees it first
 * makes a call of it. There is one as long as another may be started. Signals are blocked in the threads.
 */
#include "base/workers.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

#include "base/sync.h"

struct workers {
	struct workers_params p;
	struct mutex lock;
	struct cond wake;
	/* lock: lock, everything below */
	uint64_t due; /* calls that nobody has taken */
	unsigned n_idle;
	unsigned n_threads;
	uint64_t alarm_ns; /* UINT64_MAX: none */
	bool ending;
	pthread_t thread[];
};

/* Idle until a call is due or the alarm goes off. */
static void rest_locked(struct workers *w) REQUIRES(w->lock)
{
	uint64_t alarm = w->alarm_ns;

	w->n_idle++;
	if (alarm == UINT64_MAX) {
		cond_wait(&w->wake, &w->lock);
	} else if (!cond_wait_until(&w->wake, &w->lock, alarm) && w->alarm_ns == alarm) {
		w->alarm_ns = UINT64_MAX;
		w->due++;
	}
	w->n_idle--;
}

static int start_locked(struct workers *w) REQUIRES(w->lock);

/* Somebody looks at the alarm, however long the others are at work. */
static void watch_alarm_locked(struct workers *w) REQUIRES(w->lock)
{
	if (w->alarm_ns != UINT64_MAX && !w->n_idle && w->n_threads < w->p.max && !w->ending)
		(void)start_locked(w);
}

/* false: time to end. */
static bool take(struct workers *w) EXCLUDES(w->lock)
{
	bool taken;

	mutex_lock(&w->lock);
	while (!w->due && !w->ending)
		rest_locked(w);
	taken = w->due > 0;
	w->due -= taken;
	if (taken)
		watch_alarm_locked(w);
	mutex_unlock(&w->lock);
	return taken;
}

static void *workers_main(void *arg)
{
	struct workers *w = arg;
	void *own = NULL;

	pthread_setname_np(pthread_self(), w->p.name);
	while (take(w))
		w->p.work(w->p.arg, &own);
	free(own);
	return NULL;
}

static int start_locked(struct workers *w) REQUIRES(w->lock)
{
	sigset_t all, old;
	int r;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&w->thread[w->n_threads], NULL, workers_main, w);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	w->n_threads += r == 0;
	return r == 0 ? 0 : -EAGAIN;
}

int workers_new(struct workers **out, const struct workers_params *p)
{
	struct workers *w = calloc(1, sizeof *w + p->max * sizeof w->thread[0]);
	int r;

	if (!w)
		return -ENOMEM;
	w->p = *p;
	w->alarm_ns = UINT64_MAX;
	mutex_init(&w->lock, LOCK_RANK_LOOP);
	cond_init(&w->wake);
	mutex_lock(&w->lock);
	r = start_locked(w);
	mutex_unlock(&w->lock);
	if (r < 0)
		workers_free(w);
	else
		*out = w;
	return r;
}

void workers_call(struct workers *w)
{
	mutex_lock(&w->lock);
	w->due++;
	/* Where none can be started, those that are there get to it. */
	if (w->due > w->n_idle && w->n_threads < w->p.max && !w->ending)
		(void)start_locked(w);
	cond_signal(&w->wake);
	mutex_unlock(&w->lock);
}

void workers_call_at(struct workers *w, uint64_t when_ns)
{
	mutex_lock(&w->lock);
	if (when_ns < w->alarm_ns) {
		w->alarm_ns = when_ns;
		cond_broadcast(&w->wake);
		watch_alarm_locked(w);
	}
	mutex_unlock(&w->lock);
}

/* No thread starts any more once it ends, so the number of them stands. */
void workers_free(struct workers *w)
{
	unsigned n;

	if (!w)
		return;
	mutex_lock(&w->lock);
	w->ending = true;
	n = w->n_threads;
	cond_broadcast(&w->wake);
	mutex_unlock(&w->lock);
	for (unsigned i = 0; i < n; i++)
		pthread_join(w->thread[i], NULL);
	cond_destroy(&w->wake);
	mutex_destroy(&w->lock);
	free(w);
}
