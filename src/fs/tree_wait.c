/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The lock of a tree and what follows it: queries are sent, those who wait are told and objects forgotten
 * by the thread that lets it go, because all of these may call back. Any thread.
 */
#include <errno.h>

#include "base/macros.h"
#include "fs/object_cache.h"
#include "fs/tree_private.h"

uint64_t tree_now(const struct tree *t)
{
	return t->p.now_ns ? t->p.now_ns() : loop_now_ns();
}

void tree_lock(struct tree *t)
{
	mutex_lock(&t->lock);
}

static void send_all(struct tree *t, struct vmofs_list *send)
{
	while (!vmofs_list_empty(send)) {
		struct vmofs_query *q = vmofs_list_first(send, struct vmofs_query, link);

		vmofs_list_del(&q->link);
		if (q->kind == VMOFS_NQUERIES)
			tree_link_start(container_of(q, struct tree_query, q));
		else
			t->p.source->ops->query(t->p.source, q);
	}
}

static void wake_all(struct vmofs_list *woken)
{
	while (!vmofs_list_empty(woken)) {
		struct fs_tree_wait *w = vmofs_list_first(woken, struct fs_tree_wait, link);

		vmofs_list_del(&w->link);
		w->done(w, w->status);
	}
}

static void bury_all(struct tree *t, struct node *dead)
{
	while (dead) {
		struct node *n = dead;

		dead = n->hash_next;
		object_cache_forget(t->p.cache, n->ino);
		node_free(n);
	}
}

void tree_query_over(struct tree *t)
{
	mutex_lock(&t->lock);
	if (--t->n_out == 0)
		cond_broadcast(&t->idle);
	mutex_unlock(&t->lock);
}

void tree_unlock(struct tree *t)
{
	struct vmofs_list send, woken;
	struct node *dead = steal_ptr(&t->dead);

	vmofs_list_init(&send);
	vmofs_list_init(&woken);
	for (const struct vmofs_list *i = t->send.next; i != &t->send; i = i->next)
		t->n_out++;
	vmofs_list_splice_tail(&send, &t->send);
	vmofs_list_splice_tail(&woken, &t->woken);
	mutex_unlock(&t->lock);
	send_all(t, &send);
	wake_all(&woken);
	bury_all(t, dead);
}

void tree_unlock_evict(struct tree *t)
{
	tree_unlock(t);
	tree_lock(t);
	tree_evict_now(t);
	tree_unlock(t);
}

int tree_wait_on(struct tree *t, struct fs_tree_wait *w, struct vmofs_list *waits,
		 uint64_t asked_ns)
{
	if (t->stopped)
		return -ESHUTDOWN;
	if (!w)
		return -EAGAIN;
	if (!w->since_ns || asked_ns < w->since_ns)
		w->since_ns = asked_ns;
	w->queued = true;
	vmofs_list_add_tail(waits, &w->link);
	t->st.waiting++;
	return -EINPROGRESS;
}

void tree_wake(struct tree *t, struct vmofs_list *waits, int status)
{
	while (!vmofs_list_empty(waits)) {
		struct fs_tree_wait *w = vmofs_list_first(waits, struct fs_tree_wait, link);

		vmofs_list_del(&w->link);
		vmofs_list_add_tail(&t->woken, &w->link);
		w->queued = false;
		w->status = status;
		t->st.waiting--;
	}
}

bool tree_cancel(struct fs_tree *base, struct fs_tree_wait *w)
{
	struct tree *t = tree_of_base(base);
	bool queued;

	tree_lock(t);
	queued = w->queued;
	if (queued) {
		vmofs_list_del(&w->link);
		w->queued = false;
		t->st.waiting--;
	}
	tree_unlock(t);
	return queued;
}
