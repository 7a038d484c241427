/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A queue and a thread behind it. Not a thread pool: who needs more throughput than one blocking
 * thread gives has asynchronous means. Signals are blocked in the thread.
 */
#include "base/worker.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

#include "base/sync.h"

struct worker {
	const char *name; /* borrowed */
	struct mutex lock;
	struct cond wake;
	struct vmofs_list tasks; /* lock: lock */
	bool started;            /* lock: lock */
	bool ending;             /* lock: lock */
	pthread_t thread;
};

struct worker *worker_new(const char *name)
{
	struct worker *w = calloc(1, sizeof *w);

	if (!w)
		return NULL;
	w->name = name;
	mutex_init(&w->lock, LOCK_RANK_LOOP);
	cond_init(&w->wake);
	vmofs_list_init(&w->tasks);
	return w;
}

/* The next task, or NULL when it is time to end. */
static struct worker_task *worker_next(struct worker *w) EXCLUDES(w->lock)
{
	struct worker_task *t;

	mutex_lock(&w->lock);
	while (vmofs_list_empty(&w->tasks) && !w->ending)
		cond_wait(&w->wake, &w->lock);
	t = vmofs_list_first(&w->tasks, struct worker_task, link);
	if (t)
		vmofs_list_del(&t->link);
	mutex_unlock(&w->lock);
	return t;
}

static void *worker_main(void *arg)
{
	struct worker *w = arg;
	struct worker_task *t;

	pthread_setname_np(pthread_self(), w->name);
	while ((t = worker_next(w)))
		t->run(t);
	return NULL;
}

static int worker_start_locked(struct worker *w) REQUIRES(w->lock)
{
	sigset_t all, old;
	int r;

	if (w->started)
		return 0;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&w->thread, NULL, worker_main, w);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	w->started = r == 0;
	return r == 0 ? 0 : -EAGAIN;
}

int worker_post(struct worker *w, struct worker_task *t)
{
	int r;

	mutex_lock(&w->lock);
	r = worker_start_locked(w);
	if (r == 0) {
		vmofs_list_add_tail(&w->tasks, &t->link);
		cond_signal(&w->wake);
	}
	mutex_unlock(&w->lock);
	return r;
}

void worker_free(struct worker *w)
{
	bool started;

	if (!w)
		return;
	mutex_lock(&w->lock);
	w->ending = true;
	started = w->started;
	cond_signal(&w->wake);
	mutex_unlock(&w->lock);
	if (started)
		pthread_join(w->thread, NULL);
	cond_destroy(&w->wake);
	mutex_destroy(&w->lock);
	free(w);
}
