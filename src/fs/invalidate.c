/* SPDX-License-Identifier: Apache-2.0 */
/* A queue of names before a worker, and a clock on loop 0 that reminds it of looking. */
#include "fs/invalidate.h"

#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "base/loop.h"
#include "base/macros.h"
#include "base/sync.h"
#include "base/worker.h"

enum { QUEUE_MAX = 100000 };
#define POLL_NS NSEC_PER_SEC

struct inval_item {
	struct vmofs_list link;
	uint64_t parent;
	size_t len;
	char name[];
};

struct invalidator {
	struct loop_pool *loops; /* borrowed */
	struct worker *worker;   /* owned */
	void (*poll)(void *arg);
	void *arg;
	struct loop_timer clock; /* loop 0 only */
	struct mutex lock;
	struct cond told;
	/* lock: lock, from here */
	struct worker_task task;
	bool posted;
	bool stopped;
	bool telling;
	bool trim;
	bool look;
	struct vmofs_list items;
	unsigned n_items;
	struct fs_tree_notify notify;
};

static void post_locked(struct invalidator *v) REQUIRES(v->lock)
{
	if (!v->posted && !v->stopped)
		v->posted = worker_post(v->worker, &v->task) == 0;
}

/* ---- the thread ---- */

static struct inval_item *next_item_locked(struct invalidator *v, struct fs_tree_notify *to)
	REQUIRES(v->lock)
{
	struct inval_item *i = vmofs_list_first(&v->items, struct inval_item, link);

	v->telling = i;
	if (!i)
		return NULL;
	vmofs_list_del(&i->link);
	v->n_items--;
	*to = v->notify;
	return i;
}

static void tell_all(struct invalidator *v) EXCLUDES(v->lock)
{
	struct fs_tree_notify to;
	struct inval_item *i;

	do {
		mutex_lock(&v->lock);
		i = next_item_locked(v, &to);
		cond_broadcast(&v->told);
		mutex_unlock(&v->lock);
		if (i && to.entry)
			to.entry(to.arg, i->parent, i->name, i->len);
		free(i);
	} while (i);
}

static void run(struct worker_task *task)
{
	struct invalidator *v = container_of(task, struct invalidator, task);
	bool trim, look;

	mutex_lock(&v->lock);
	v->posted = false;
	trim = v->trim;
	look = v->look && !v->stopped;
	v->trim = false;
	v->look = false;
	mutex_unlock(&v->lock);
	tell_all(v);
	if (trim)
		malloc_trim(0);
	if (look)
		v->poll(v->arg);
}

/* ---- the clock ---- */

static void clock_fire(struct loop_timer *timer, struct loop *l)
{
	struct invalidator *v = container_of(timer, struct invalidator, clock);

	mutex_lock(&v->lock);
	v->look = true;
	post_locked(v);
	mutex_unlock(&v->lock);
	loop_timer_set(l, timer, loop_now_ns() + POLL_NS);
}

static void clock_start(void *arg, struct loop *l)
{
	struct invalidator *v = arg;

	v->clock.fire = clock_fire;
	loop_timer_set(l, &v->clock, loop_now_ns() + POLL_NS);
}

static void clock_stop(void *arg, struct loop *l)
{
	struct invalidator *v = arg;

	loop_timer_del(l, &v->clock);
}

/* ---- life ---- */

struct invalidator *invalidator_new(struct loop_pool *loops, void (*poll)(void *arg), void *arg)
{
	struct invalidator *v = calloc(1, sizeof *v);

	if (!v)
		return NULL;
	mutex_init(&v->lock, LOCK_RANK_STREAM);
	cond_init(&v->told);
	vmofs_list_init(&v->items);
	v->task.run = run;
	v->poll = poll;
	v->arg = arg;
	v->loops = poll ? loops : NULL;
	v->worker = worker_new("vmofs-tree");
	if (!v->worker) {
		invalidator_free(v);
		return NULL;
	}
	if (v->loops)
		loop_call(loop_pool_nth(v->loops, 0), clock_start, v);
	return v;
}

void invalidator_stop(struct invalidator *v)
{
	if (v->loops)
		loop_call(loop_pool_nth(v->loops, 0), clock_stop, v);
	v->loops = NULL;
	mutex_lock(&v->lock);
	v->stopped = true;
	mutex_unlock(&v->lock);
	worker_free(steal_ptr(&v->worker)); /* NULL: stopped before */
}

void invalidator_free(struct invalidator *v)
{
	if (!v)
		return;
	if (v->worker)
		invalidator_stop(v);
	while (!vmofs_list_empty(&v->items)) {
		struct inval_item *i = vmofs_list_first(&v->items, struct inval_item, link);

		vmofs_list_del(&i->link);
		free(i);
	}
	cond_destroy(&v->told);
	mutex_destroy(&v->lock);
	free(v);
}

void invalidator_set_notify(struct invalidator *v, const struct fs_tree_notify *n)
{
	mutex_lock(&v->lock);
	v->notify = n ? *n : (struct fs_tree_notify){ 0 };
	while (!n && v->telling)
		cond_wait(&v->told, &v->lock);
	mutex_unlock(&v->lock);
}

void invalidator_add(struct invalidator *v, uint64_t parent, const char *name, size_t len)
{
	struct inval_item *i = malloc(sizeof *i + len + 1);

	if (!i)
		return;
	i->parent = parent;
	i->len = len;
	memcpy(i->name, name, len);
	i->name[len] = '\0';
	mutex_lock(&v->lock);
	if (v->n_items < QUEUE_MAX && !v->stopped) {
		vmofs_list_add_tail(&v->items, &i->link);
		v->n_items++;
		i = NULL;
		post_locked(v);
	}
	mutex_unlock(&v->lock);
	free(i);
}

void invalidator_trim(struct invalidator *v)
{
	mutex_lock(&v->lock);
	v->trim = true;
	post_locked(v);
	mutex_unlock(&v->lock);
}
