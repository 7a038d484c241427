/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a tier: opening its entry, closing it, verifying it, and lending its file. Reading is in disk_tier_read.c,
 * writing in disk_tier_write.c, the threads in disk_io.c.
 */
#include "vm/disk_tier.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/macros.h"
#include "vm/disk_tier_private.h"

/* Pages that are verified before others get a turn. */
enum { VERIFY_PAGES = 1024 };

static const uint8_t disk_tier_next[] = {
	[TIER_OPENING] = BIT(TIER_READY) | BIT(TIER_OFF),
	[TIER_READY] = BIT(TIER_OFF),
	[TIER_OFF] = 0,
};
_Static_assert(ARRAY_LEN(disk_tier_next) == TIER_NSTATES, "one row per state");

/* The only function that writes t->state. */
static void disk_tier_set_state_locked(struct disk_io *io UNUSED, struct disk_tier *t,
				       enum disk_tier_state to) REQUIRES(io->lock)
{
	assert(disk_tier_next[t->state] & BIT(to));
	t->state = to;
}

/* ---- the near place ---- */

static bool disk_tier_has(struct vmo_near *n, uint64_t first, uint64_t *end)
{
	struct disk_tier *t = container_of(n, struct disk_tier, near);
	enum disk_tier_state state = t->state;

	if (disk_is_away(t->io))
		return false;
	if (state == TIER_READY)
		return cache_entry_may_have(t->entry, first, end);
	return state == TIER_OPENING;
}

static void off_locked(struct disk_io *io, struct disk_tier *t) REQUIRES(io->lock)
{
	disk_tier_give_up_locked(io, t);
	disk_tier_set_state_locked(io, t, TIER_OFF);
	for (unsigned w = 0; w < TIER_NWORKS; w++)
		vmofs_list_del(&t->turn[w]);
	vmofs_list_del(&t->watched);
	vmofs_list_del(&t->queued);
}

/* Not before those who are at work for it have ended: they would make the entry anew. */
static void discard_when_idle_locked(struct disk_io *io, struct disk_tier *t) REQUIRES(io->lock)
{
	if (!t->distrusted || t->n_jobs)
		return;
	t->distrusted = false;
	disk_tier_ref(t);
	disk_io_queue_locked(io, t, TIER_WORK_DISCARD);
}

static void disk_tier_distrust(struct vmo_near *n)
{
	struct disk_tier *t = container_of(n, struct disk_tier, near);
	struct disk_io *io = t->io;

	mutex_lock(&io->lock);
	if (t->state != TIER_OFF)
		off_locked(io, t);
	t->distrusted = true;
	discard_when_idle_locked(io, t);
	mutex_unlock(&io->lock);
}

void disk_tier_job_ended_locked(struct disk_io *io, struct disk_tier *t)
{
	t->n_jobs--;
	discard_when_idle_locked(io, t);
}

void disk_tier_discard(struct disk_tier *t)
{
	int r = 0;

	if (!t->entry)
		r = cache_entry_open(t->io->cache, &t->key, &t->entry);
	if (!r)
		r = cache_entry_discard(t->entry);
	if (r < 0)
		log_warn("what is kept of '%s' cannot be removed from the cache directory: %s",
			 t->key.url, strerror(-r));
}

/*
 * Nothing of it is pinned any more that can change: what a thread has pinned it still writes, for readers of the version that
 * it is of. Requests that are here go on to the provider.
 */
static void disk_tier_written(struct vmo_near *n)
{
	struct disk_tier *t = container_of(n, struct disk_tier, near);
	struct disk_io *io = t->io;

	mutex_lock(&io->lock);
	if (t->state != TIER_OFF)
		off_locked(io, t);
	mutex_unlock(&io->lock);
}

static const struct vmo_near_ops disk_tier_near = {
	.has = disk_tier_has,
	.arrived = disk_tier_arrived,
	.spares = disk_tier_spares,
	.unneeded = disk_tier_unneeded,
	.written = disk_tier_written,
	.distrust = disk_tier_distrust,
};

/* ---- opening ---- */

static void ready_locked(struct disk_io *io, struct disk_tier *t) REQUIRES(io->lock)
{
	disk_tier_set_state_locked(io, t, TIER_READY);
	if (!vmofs_list_empty(&t->requests[VMOFS_CLASS_DEMAND]))
		disk_io_queue_locked(io, t, TIER_WORK_DEMAND);
	if (!vmofs_list_empty(&t->requests[VMOFS_CLASS_PREFETCH]))
		disk_io_queue_locked(io, t, TIER_WORK_PREFETCH);
	if (!vmofs_list_empty(&t->ripe))
		disk_io_queue_locked(io, t, TIER_WORK_WRITE);
}

/* Returns whether nothing of it is on the disk. */
static bool tier_opened(struct disk_tier *t, int r)
{
	struct disk_io *io = t->io;
	bool empty = r < 0 || cache_entry_is_empty(t->entry);

	mutex_lock(&io->lock);
	if (t->state == TIER_OPENING && r < 0)
		off_locked(io, t);
	else if (t->state == TIER_OPENING)
		ready_locked(io, t);
	mutex_unlock(&io->lock);
	return empty;
}

void disk_tier_open(struct disk_tier *t, struct vmo *v)
{
	/* What waited meanwhile need not come here piece by piece. */
	if (tier_opened(t, cache_entry_open(t->io->cache, &t->key, &t->entry)))
		vmo_elsewhere(v, 0, t->key.size);
}

/* ---- closing ---- */

static void disk_tier_on_detach(struct vmofs_provider *p UNUSED)
{
}

static void disk_tier_on_close(struct vmofs_provider *p)
{
	struct disk_tier *t = container_of(p, struct disk_tier, provider);
	struct disk_io *io = t->io;

	mutex_lock(&io->lock);
	if (t->state != TIER_OFF)
		off_locked(io, t);
	mutex_unlock(&io->lock);
}

void disk_tier_destroy(struct disk_tier *t)
{
	cache_entry_close(t->entry);
	free((char *)t->key.url);
	free((char *)t->key.validator);
	free(t);
}

void disk_tier_ref(struct disk_tier *t)
{
	atomic_fetch_add(&t->refs, 1);
}

void disk_tier_put(struct disk_tier *t)
{
	struct disk_io *io;

	if (!t || atomic_fetch_sub(&t->refs, 1) > 1)
		return;
	io = t->io;
	assert(t->state == TIER_OFF);
	mutex_lock(&io->lock);
	disk_io_queue_locked(io, t, TIER_WORK_CLOSE);
	mutex_unlock(&io->lock);
}

/* ---- lending its file ---- */

void disk_tier_want_verify_locked(struct disk_io *io, struct disk_tier *t)
{
	if (t->state != TIER_READY || t->verifying || t->incomplete)
		return;
	t->verifying = true;
	disk_io_queue_locked(io, t, TIER_WORK_VERIFY);
}

int disk_tier_pass(struct disk_tier *t)
{
	struct disk_io *io = t->io;

	if (t->state != TIER_READY || disk_is_away(io))
		return -EAGAIN;
	if (cache_entry_is_complete(t->entry))
		return cache_entry_pin(t->entry);
	mutex_lock(&io->lock);
	disk_tier_want_verify_locked(io, t);
	mutex_unlock(&io->lock);
	return -EAGAIN;
}

void disk_tier_unpass(struct disk_tier *t)
{
	cache_entry_unpin(t->entry);
}

void disk_tier_verify(struct disk_tier *t)
{
	struct disk_io *io = t->io;
	/* That is a walk over all of it: before the first piece, and after the last one. */
	bool whole = t->proving || cache_entry_is_whole(t->entry);
	bool more = whole && cache_entry_verify(t->entry, VERIFY_PAGES) > 0;

	if (t->proving && !more)
		whole = cache_entry_is_whole(t->entry);
	mutex_lock(&io->lock);
	t->proving = more;
	if (more && t->state == TIER_READY) {
		disk_io_queue_locked(io, t, TIER_WORK_VERIFY);
	} else {
		t->verifying = false;
		t->incomplete = !whole;
	}
	mutex_unlock(&io->lock);
}

/* ---- life ---- */

static const struct vmofs_provider_ops tier_provider = {
	.name = "disk",
	.supports = VMOFS_TYPE_BIT(VMOFS_REQUEST_READ),
	.send = disk_tier_send,
	.clear = disk_tier_clear,
	.swap = disk_tier_swap,
	.on_detach = disk_tier_on_detach,
	.on_close = disk_tier_on_close,
};

static struct disk_tier *tier_alloc(struct disk_io *io, struct vmo *v, const struct cache_key *key)
{
	struct disk_tier *t = calloc(1, sizeof *t);

	if (!t)
		return NULL;
	t->near = (struct vmo_near){ .ops = &disk_tier_near, .provider = &t->provider };
	t->provider.ops = &tier_provider;
	t->io = io;
	t->vmo = v;
	t->refs = 1;
	t->key = (struct cache_key){ .url = strdup(key->url),
				     .validator = strdup(key->validator),
				     .size = key->size };
	if (key->identity)
		t->key.identity = memcpy(t->identity, key->identity, sizeof t->identity);
	t->n_pages = page_ceil(key->size);
	for (unsigned c = 0; c < VMOFS_NCLASSES; c++)
		vmofs_list_init(&t->requests[c]);
	for (unsigned w = 0; w < TIER_NWORKS; w++)
		vmofs_list_init(&t->turn[w]);
	vmofs_list_init(&t->watched);
	vmofs_list_init(&t->queued);
	itree_init(&t->segs);
	vmofs_list_init(&t->young);
	vmofs_list_init(&t->ripe);
	if (t->key.url && t->key.validator)
		return t;
	disk_tier_destroy(t);
	return NULL;
}

/* Asking has gone on before: what came then did not come here. */
static void keep_resident(void *arg, uint64_t off, uint64_t len)
{
	struct disk_tier *t = arg;

	disk_tier_arrived(&t->near, page_floor(off), page_ceil(off + len));
}

int disk_tier_new(struct disk_tier **out, struct disk_io *io, struct vmo *v,
		  const struct cache_key *key)
{
	struct disk_tier *t = tier_alloc(io, v, key);
	int r = t ? vmo_set_near(v, &t->near) : -ENOMEM;

	if (r < 0) {
		if (t)
			disk_tier_destroy(t);
		return r;
	}
	mutex_lock(&io->lock);
	io->n_tiers++;
	/* Else it has been closed since. */
	if (t->state == TIER_OPENING)
		disk_io_queue_locked(io, t, TIER_WORK_OPEN);
	mutex_unlock(&io->lock);
	vmo_each_resident(v, keep_resident, t);
	*out = t;
	return 0;
}
