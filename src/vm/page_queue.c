/* SPDX-License-Identifier: Apache-2.0 */
/* Generations and counts of all pages; which leaf is filed where. */
#include "vm/page_queue.h"

#include <assert.h>
#include <errno.h>

void page_queue_init(struct page_queue *q)
{
	*q = (struct page_queue){ 0 };
	mutex_init(&q->lock, LOCK_RANK_PAGE_QUEUE);
	for (unsigned i = 0; i <= PAGE_QUEUE_ISOLATE; i++)
		vmofs_list_init(&q->leaves[i]);
}

void page_queue_release(struct page_queue *q)
{
	for (unsigned i = 0; i <= PAGE_QUEUE_ISOLATE; i++)
		assert(vmofs_list_empty(&q->leaves[i]));
	mutex_destroy(&q->lock);
}

static enum page_queue_id clean_queue(uint8_t byte)
{
	if (byte & PAGE_BYTE_ISOLATED)
		return PAGE_QUEUE_ISOLATE;
	return PAGE_QUEUE_RECLAIM_0 + ((byte & PAGE_BYTE_GEN) >> PAGE_BYTE_GEN_SHIFT);
}

enum page_queue_id page_queue_of(uint8_t byte)
{
	switch (byte & PAGE_BYTE_STATE) {
	case PAGE_CLEAN:
		return clean_queue(byte);
	case PAGE_DIRTY:
	case PAGE_AWAITING_CLEAN:
		return PAGE_QUEUE_DIRTY;
	case PAGE_UNTRACKED:
		return PAGE_QUEUE_ANONYMOUS;
	default:
		return PAGE_QUEUE_NONE;
	}
}

uint8_t page_queue_mru_bits(struct page_queue *q)
{
	uint64_t mru = atomic_load_explicit(&q->mru, memory_order_relaxed);

	return (uint8_t)((mru % PAGE_QUEUE_GENERATIONS) << PAGE_BYTE_GEN_SHIFT);
}

unsigned page_queue_age(struct page_queue *q, uint8_t byte)
{
	uint64_t mru = atomic_load_explicit(&q->mru, memory_order_relaxed);
	unsigned gen = (byte & PAGE_BYTE_GEN) >> PAGE_BYTE_GEN_SHIFT;

	return (unsigned)(mru - gen) % PAGE_QUEUE_GENERATIONS;
}

void page_queue_count(struct page_queue *q, uint8_t from, uint8_t to, int64_t n)
{
	enum page_queue_id a = page_queue_of(from);
	enum page_queue_id b = page_queue_of(to);

	if (a == b)
		return;
	if (a != PAGE_QUEUE_NONE)
		atomic_fetch_sub_explicit(&q->count[a], n, memory_order_relaxed);
	if (b != PAGE_QUEUE_NONE)
		atomic_fetch_add_explicit(&q->count[b], n, memory_order_relaxed);
	if (a == PAGE_QUEUE_NONE)
		atomic_fetch_add_explicit(&q->inserted, (uint64_t)n, memory_order_relaxed);
}

/* A generation that the evictor had left behind holds a page again: it was read before the newest moved. */
static void reopen(struct page_queue *q, unsigned id) REQUIRES(q->lock)
{
	uint64_t age = (q->mru - id) % PAGE_QUEUE_GENERATIONS;

	if (id < PAGE_QUEUE_GENERATIONS && age <= q->mru && q->mru - age < q->lru)
		atomic_store(&q->lru, q->mru - age);
}

void page_queue_file(struct page_queue *q, struct page_leaf *leaf, unsigned id)
{
	if (!leaf->vmo || id > PAGE_QUEUE_ISOLATE)
		return;
	mutex_lock(&q->lock);
	if (leaf->queue != id) {
		if (leaf->queue == PAGE_QUEUE_NONE)
			atomic_fetch_add(&q->n_filed, 1);
		vmofs_list_del(&leaf->queue_link);
		vmofs_list_add_tail(&q->leaves[id], &leaf->queue_link);
		leaf->queue = (uint8_t)id;
		reopen(q, id);
	}
	mutex_unlock(&q->lock);
}

void page_queue_unfile(struct page_queue *q, struct page_leaf *leaf)
{
	if (!leaf->vmo)
		return;
	mutex_lock(&q->lock);
	if (leaf->queue != PAGE_QUEUE_NONE)
		atomic_fetch_sub(&q->n_filed, 1);
	vmofs_list_del(&leaf->queue_link);
	leaf->queue = PAGE_QUEUE_NONE;
	mutex_unlock(&q->lock);
}

int page_queue_rotate(struct page_queue *q)
{
	int r = 0;

	mutex_lock(&q->lock);
	if (q->mru - q->lru == PAGE_QUEUE_GENERATIONS - 1) {
		r = -EAGAIN;
	} else {
		atomic_fetch_add(&q->mru, 1);
		atomic_store(&q->inserted, 0);
	}
	mutex_unlock(&q->lock);
	return r;
}
