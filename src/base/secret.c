/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small first-fit allocator over mappings of its own. A mapping is a row of blocks, each with its size in
 * front; free neighbours become one while somebody looks for room. A mapping with nothing in it is given
 * back, but for the last one. Any thread.
 */
#include "base/secret.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <vmofs/list.h>

#include "base/log.h"
#include "base/sync.h"

enum { SECRET_ALIGN = 16, SECRET_REGION = 32 << 10, SECRET_MAX = 64 << 20 };

struct secret_block {
	size_t size; /* with this head, a multiple of SECRET_ALIGN */
	size_t used; /* bytes asked for and one, 0: free */
};
_Static_assert(sizeof(struct secret_block) == SECRET_ALIGN, "blocks stay aligned");

struct secret_region {
	struct vmofs_list link;
	size_t size; /* of the mapping */
	size_t blocks;
};
#define SECRET_FIRST \
	((sizeof(struct secret_region) + SECRET_ALIGN - 1) & ~(size_t)(SECRET_ALIGN - 1))

static struct mutex lock = { .m = PTHREAD_MUTEX_INITIALIZER, .rank = LOCK_RANK_LOG };
static struct vmofs_list regions = VMOFS_LIST_INIT(regions); /* lock: lock */

static void say_not_locked(int error)
{
	static atomic_bool said;

	if (!atomic_exchange(&said, true))
		log_warn("cannot lock the memory of access keys, it may be swapped out: %s; "
			 "a higher limit of locked memory (ulimit -l) mends it",
			 strerror(error));
}

/* For a block of @size; blocks while the kernel finds the pages, so without the lock. */
static struct secret_region *region_new(size_t size)
{
	size_t need = SECRET_FIRST + size;
	size_t len = need <= SECRET_REGION ? SECRET_REGION : (need + 4095) & ~(size_t)4095;
	struct secret_region *r =
		mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct secret_block *b;

	if ((void *)r == MAP_FAILED)
		return NULL;
	madvise(r, len, MADV_DONTDUMP);
	madvise(r, len, MADV_DONTFORK); /* a child that used it would fail loudly */
	if (mlock(r, len) < 0)
		say_not_locked(errno);
	r->size = len;
	b = (void *)((char *)r + SECRET_FIRST);
	b->size = len - SECRET_FIRST;
	return r;
}

static struct secret_block *block_first(struct secret_region *r)
{
	return (void *)((char *)r + SECRET_FIRST);
}

/* NULL: @b is the last one. */
static struct secret_block *block_next(struct secret_region *r, struct secret_block *b)
{
	char *next = (char *)b + b->size;

	return next < (char *)r + r->size ? (void *)next : NULL;
}

static void block_merge(struct secret_region *r, struct secret_block *b)
{
	struct secret_block *next = block_next(r, b);

	for (; next && !next->used; next = block_next(r, b))
		b->size += next->size;
}

/* Cuts what @b does not need into a free block of its own. */
static void block_split(struct secret_block *b, size_t size)
{
	struct secret_block *rest = (void *)((char *)b + size);

	if (b->size - size < 2 * SECRET_ALIGN)
		return;
	rest->size = b->size - size;
	rest->used = 0;
	b->size = size;
}

static void *region_take(struct secret_region *r, size_t size, size_t n)
{
	for (struct secret_block *b = block_first(r); b; b = block_next(r, b)) {
		if (b->used)
			continue;
		block_merge(r, b);
		if (b->size < size)
			continue;
		block_split(b, size);
		b->used = n + 1;
		r->blocks++;
		return memset(b + 1, 0, b->size - sizeof *b);
	}
	return NULL;
}

static void *secret_take_locked(size_t size, size_t n) REQUIRES(lock)
{
	void *p = NULL;

	for (struct vmofs_list *l = regions.next; l != &regions && !p; l = l->next)
		p = region_take(container_of(l, struct secret_region, link), size, n);
	return p;
}

void *secret_alloc(size_t n)
{
	size_t size =
		sizeof(struct secret_block) + ((n + SECRET_ALIGN) & ~(size_t)(SECRET_ALIGN - 1));
	struct secret_region *r;
	void *p;

	if (n > SECRET_MAX)
		return NULL;
	mutex_lock(&lock);
	p = secret_take_locked(size, n);
	mutex_unlock(&lock);
	if (p)
		return p;
	r = region_new(size);
	if (!r)
		return NULL;
	mutex_lock(&lock);
	vmofs_list_add_tail(&regions, &r->link);
	p = region_take(r, size, n);
	mutex_unlock(&lock);
	return p;
}

static struct secret_region *region_of_locked(const void *p) REQUIRES(lock)
{
	struct vmofs_list *l = regions.next;

	for (; l != &regions; l = l->next) {
		struct secret_region *r = container_of(l, struct secret_region, link);

		if ((const char *)p > (const char *)r &&
		    (const char *)p < (const char *)r + r->size)
			return r;
	}
	assert(!"a block of secret memory");
	return NULL;
}

void secret_free(void *p)
{
	struct secret_region *r;
	struct secret_block *b;
	bool empty;
	int saved = errno;

	if (!p)
		return;
	b = (struct secret_block *)p - 1;
	mutex_lock(&lock);
	r = region_of_locked(p);
	assert(b->used);
	explicit_bzero(p, b->size - sizeof *b);
	b->used = 0;
	empty = --r->blocks == 0 && (regions.next != &r->link || regions.prev != &r->link);
	if (empty)
		vmofs_list_del(&r->link);
	mutex_unlock(&lock);
	if (empty)
		munmap(r, r->size);
	errno = saved;
}

void *secret_realloc(void *p, size_t n)
{
	void *q = secret_alloc(n);

	if (!q)
		return NULL;
	if (p)
		memcpy(q, p, MIN(n, ((struct secret_block *)p - 1)->used - 1));
	secret_free(p);
	return q;
}

char *secret_copy(const char *text, size_t n)
{
	char *p = secret_alloc(n + 1);

	return p ? memcpy(p, text, n) : NULL;
}
