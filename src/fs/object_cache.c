/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Objects by inode number. An object is *shown* while the table has it: then it can be found. It has
 * users (opens), and visits (somebody looks at all objects); shown and without users it is idle:
 *
 *   made -> used <-> idle -> gone        too many idle ones, without pages, forgotten
 *            \-> not shown (forgotten while used) -> gone at the last put
 *
 * What is gone is taken off the table under the lock and closed and freed outside of it, large objects and those that are
 * still being written to disk by a thread of their own, for that takes time. Any thread.
 */
#include "fs/object_cache.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/loop.h"
#include "base/macros.h"
#include "base/sync.h"
#include "base/worker.h"
#include "vm/disk_tier.h"

enum {
	TABLE_MIN = 64,
	/* Of the oldest idle objects, how many are looked at whenever one becomes idle. */
	LOOK_AT = 2,
};
/* More memory than this is given back by the worker. */
#define LARGE MIB(8)
/* As long the worker waits for an object to be written to the disk cache. */
#define DRAIN_NS (5 * NSEC_PER_SEC)

struct cached_object {
	struct fs_object object;
	struct cached_object *next; /* lock: lock; in its bucket */
	struct vmofs_list all;      /* lock: lock; in cache->all until it is gone */
	struct vmofs_list idle; /* lock: lock; in cache->idle while idle; then in a list of gone */
	struct worker_task task;
	unsigned users;  /* lock: lock */
	unsigned visits; /* lock: lock */
	bool shown;      /* lock: lock */
	bool forgotten;  /* lock: lock */
};

struct object_cache {
	struct object_cache_params p;
	struct fs_object_params object;
	struct worker *worker; /* owned */

	struct mutex lock;
	/* lock: lock, everything below */
	struct cached_object **bucket; /* owned */
	uint32_t n_buckets;            /* a power of two */
	uint64_t n_shown;
	uint64_t n_idle;
	struct vmofs_list all;  /* newest first */
	struct vmofs_list idle; /* the one that rested longest first */
	bool closed;
	uint64_t opened;
	uint64_t reused;
};

static struct cached_object *cached_of(struct fs_object *o)
{
	return container_of(o, struct cached_object, object);
}

/* ---- the table ---- */

static struct cached_object **bucket_of(struct object_cache *c, uint64_t ino)
{
	return &c->bucket[(ino * UINT64_C(0x9e3779b97f4a7c15)) >> 32 & (c->n_buckets - 1)];
}

static struct cached_object *find_locked(struct object_cache *c, uint64_t ino) REQUIRES(c->lock)
{
	struct cached_object *o = *bucket_of(c, ino);

	while (o && o->object.ino != ino)
		o = o->next;
	return o;
}

static void link_locked(struct object_cache *c, struct cached_object *o) REQUIRES(c->lock)
{
	struct cached_object **b = bucket_of(c, o->object.ino);

	o->next = *b;
	*b = o;
}

/* Without memory for it the chains only get longer. */
static void grow_locked(struct object_cache *c) REQUIRES(c->lock)
{
	struct cached_object **old = c->bucket;
	uint32_t n_old = c->n_buckets;
	struct cached_object **bucket = calloc(2 * (size_t)n_old, sizeof *bucket);

	if (!bucket)
		return;
	c->bucket = bucket;
	c->n_buckets = 2 * n_old;
	for (uint32_t i = 0; i < n_old; i++) {
		struct cached_object *o;

		while ((o = old[i])) {
			old[i] = o->next;
			link_locked(c, o);
		}
	}
	free(old);
}

static void show_locked(struct object_cache *c, struct cached_object *o) REQUIRES(c->lock)
{
	if (c->n_shown >= c->n_buckets)
		grow_locked(c);
	link_locked(c, o);
	vmofs_list_add(&c->all, &o->all);
	o->shown = true;
	o->users = 1;
	c->n_shown++;
	c->opened++;
}

static void unidle_locked(struct object_cache *c, struct cached_object *o) REQUIRES(c->lock)
{
	if (vmofs_list_empty(&o->idle))
		return;
	vmofs_list_del(&o->idle);
	c->n_idle--;
}

/* Not found from now on; it goes to @gone unless somebody uses it or looks at it. */
static void hide_locked(struct object_cache *c, struct cached_object *o, struct vmofs_list *gone)
	REQUIRES(c->lock)
{
	struct cached_object **at = bucket_of(c, o->object.ino);

	if (o->shown) {
		while (*at != o)
			at = &(*at)->next;
		*at = o->next;
		o->shown = false;
		c->n_shown--;
		unidle_locked(c, o);
	}
	if (o->users || o->visits)
		return;
	vmofs_list_del(&o->all);
	vmofs_list_add_tail(gone, &o->idle);
}

/* ---- making and ending ---- */

static void destroy(struct cached_object *o)
{
	struct vmofs_provider *provider = o->object.provider;

	vmo_close(o->object.vmo);
	fs_object_release(&o->object);
	provider->ops->free(provider);
	free(o);
}

/* On the worker, so it may wait for the disk before the pages go. */
static void destroy_task(struct worker_task *t)
{
	struct cached_object *o = container_of(t, struct cached_object, task);

	if (o->object.tier)
		(void)disk_tier_drain(o->object.tier, loop_now_ns() + DRAIN_NS);
	destroy(o);
}

static bool takes_time(struct cached_object *o)
{
	if (o->object.tier && disk_tier_is_busy(o->object.tier))
		return true;
	return vmo_n_resident(o->object.vmo) * VMOFS_PAGE_SIZE >= LARGE;
}

static void destroy_all(struct object_cache *c, struct vmofs_list *gone)
{
	struct vmofs_list *pos, *tmp;

	vmofs_list_for_each_safe(pos, tmp, gone) {
		struct cached_object *o = vmofs_list_entry(pos, struct cached_object, idle);

		vmofs_list_del(&o->idle);
		if (!takes_time(o) || worker_post(c->worker, &o->task) < 0)
			destroy(o);
	}
}

/* Over the provider, which is the object's from a success on. */
static int make_over(struct object_cache *c, struct vmofs_provider *provider,
		     const struct vmofs_object_info *info, struct cached_object **out)
{
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct cached_object *o = calloc(1, sizeof *o);
	struct vmo *vmo = NULL;
	int r = o ? vmo_new(&vmo, c->p.pool, provider, info->size, 0, &err) : -ENOMEM;

	if (!r) {
		vmo_set_name(vmo, info->name);
		r = fs_object_init(&o->object, info, provider, vmo, &c->object);
		if (r < 0)
			vmo_close(vmo);
		vmo_put(vmo);
	}
	if (r < 0) {
		free(o);
		return r;
	}
	fs_object_use_disk(&o->object, c->p.disk);
	vmofs_list_init(&o->idle);
	o->task.run = destroy_task;
	*out = o;
	return 0;
}

static int make(struct object_cache *c, uint64_t ino, const struct vmofs_entry *e,
		struct cached_object **out)
{
	struct vmofs_object_info info;
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct vmofs_provider *provider;
	int r = c->p.source->ops->object(c->p.source, e, &provider, &info, &err);

	if (r < 0) {
		log_error("cannot open '%s': %s", e->key, err.code ? err.msg : strerror(-r));
		return r;
	}
	r = make_over(c, provider, &info, out);
	if (r < 0)
		provider->ops->free(provider);
	else
		(*out)->object.ino = ino;
	return r;
}

/* ---- opening and closing ---- */

static struct cached_object *use_locked(struct object_cache *c, uint64_t ino) REQUIRES(c->lock)
{
	struct cached_object *o = find_locked(c, ino);

	if (!o)
		return NULL;
	c->reused += !o->users;
	unidle_locked(c, o);
	o->users++;
	return o;
}

struct fs_object *object_cache_find(struct object_cache *c, uint64_t ino)
{
	struct cached_object *o;

	mutex_lock(&c->lock);
	o = c->closed ? NULL : use_locked(c, ino);
	mutex_unlock(&c->lock);
	return o ? &o->object : NULL;
}

/* @o, or the one that another thread was quicker to make; -ESHUTDOWN: none. */
static int settle(struct object_cache *c, struct cached_object *o, struct fs_object **out)
{
	struct cached_object *now = NULL;

	mutex_lock(&c->lock);
	if (!c->closed) {
		now = use_locked(c, o->object.ino);
		if (!now) {
			show_locked(c, o);
			now = o;
		}
	}
	mutex_unlock(&c->lock);
	if (now != o)
		destroy(o);
	if (!now)
		return -ESHUTDOWN;
	*out = &now->object;
	return 0;
}

int object_cache_open(struct object_cache *c, uint64_t ino, const struct vmofs_entry *e,
		      struct fs_object **out)
{
	struct cached_object *o;
	int r;

	*out = object_cache_find(c, ino);
	if (*out)
		return 0;
	r = make(c, ino, e, &o);
	return r < 0 ? r : settle(c, o, out);
}

/* Nothing of it is here or under way, so it is as good as none. */
static bool is_bare(struct cached_object *o)
{
	return !vmo_n_resident(o->object.vmo) &&
		!page_source_n_requests(vmo_page_source(o->object.vmo), VMOFS_REQUEST_READ);
}

/* Idle objects beyond the limit go, and of the oldest those that have lost their pages. */
static void shrink_locked(struct object_cache *c, struct vmofs_list *gone) REQUIRES(c->lock)
{
	for (unsigned looked = 0; c->n_idle > c->p.idle_max || looked < LOOK_AT; looked++) {
		struct cached_object *o = vmofs_list_first(&c->idle, struct cached_object, idle);

		if (!o || (c->n_idle <= c->p.idle_max && !is_bare(o)))
			return;
		hide_locked(c, o, gone);
	}
}

static void put_locked(struct object_cache *c, struct cached_object *o, struct vmofs_list *gone)
	REQUIRES(c->lock)
{
	assert(o->users);
	if (--o->users)
		return;
	if (o->forgotten || !o->shown || c->closed) {
		hide_locked(c, o, gone);
		return;
	}
	vmofs_list_add_tail(&c->idle, &o->idle);
	c->n_idle++;
	shrink_locked(c, gone);
}

void object_cache_put(struct object_cache *c, struct fs_object *o)
{
	struct vmofs_list gone = VMOFS_LIST_INIT(gone);

	if (!o)
		return;
	mutex_lock(&c->lock);
	put_locked(c, cached_of(o), &gone);
	mutex_unlock(&c->lock);
	destroy_all(c, &gone);
}

void object_cache_forget(struct object_cache *c, uint64_t ino)
{
	struct vmofs_list gone = VMOFS_LIST_INIT(gone);
	struct cached_object *o;

	mutex_lock(&c->lock);
	o = find_locked(c, ino);
	if (o && o->users)
		o->forgotten = true;
	else if (o)
		hide_locked(c, o, &gone);
	mutex_unlock(&c->lock);
	destroy_all(c, &gone);
}

void object_cache_forget_idle(struct object_cache *c, uint64_t ino)
{
	struct vmofs_list gone = VMOFS_LIST_INIT(gone);
	struct cached_object *o;

	mutex_lock(&c->lock);
	o = find_locked(c, ino);
	if (o && !o->users)
		hide_locked(c, o, &gone);
	mutex_unlock(&c->lock);
	destroy_all(c, &gone);
}

void object_cache_retire(struct object_cache *c, struct fs_object *o)
{
	struct vmofs_list gone = VMOFS_LIST_INIT(gone);

	mutex_lock(&c->lock);
	assert(cached_of(o)->users);
	hide_locked(c, cached_of(o), &gone);
	mutex_unlock(&c->lock);
	o->retired = true;
}

/* ---- all of them ---- */

/* The end of a visit: what was hidden meanwhile goes. */
static void leave_locked(struct object_cache *c, struct cached_object *o, struct vmofs_list *gone)
	REQUIRES(c->lock)
{
	o->visits--;
	if (!o->shown)
		hide_locked(c, o, gone);
}

void object_cache_each(struct object_cache *c, void (*fn)(void *arg, struct fs_object *o),
		       void *arg)
{
	struct vmofs_list gone = VMOFS_LIST_INIT(gone);
	struct cached_object *o;

	mutex_lock(&c->lock);
	o = vmofs_list_first(&c->all, struct cached_object, all);
	while (o) {
		struct vmofs_list *next;

		o->visits++;
		mutex_unlock(&c->lock);
		fn(arg, &o->object);
		mutex_lock(&c->lock);
		/* It is still in the list: new ones come before it, and it cannot go. */
		next = o->all.next;
		leave_locked(c, o, &gone);
		o = next == &c->all ? NULL : vmofs_list_entry(next, struct cached_object, all);
	}
	mutex_unlock(&c->lock);
	destroy_all(c, &gone);
}

/* It is being visited: hidden now, it goes at the end of that. */
static void trim_one(void *arg, struct fs_object *o)
{
	struct vmofs_list gone = VMOFS_LIST_INIT(gone);
	struct cached_object *co = cached_of(o);
	struct object_cache *c = arg;

	mutex_lock(&c->lock);
	if (!co->users && co->shown && is_bare(co))
		hide_locked(c, co, &gone);
	mutex_unlock(&c->lock);
	destroy_all(c, &gone);
}

void object_cache_trim(struct object_cache *c)
{
	object_cache_each(c, trim_one, c);
}

static void close_one(void *arg UNUSED, struct fs_object *o)
{
	vmo_close(o->vmo);
}

void object_cache_close(struct object_cache *c)
{
	mutex_lock(&c->lock);
	c->closed = true;
	mutex_unlock(&c->lock);
	object_cache_each(c, close_one, NULL);
}

void object_cache_stats(struct object_cache *c, struct object_cache_stats *out)
{
	mutex_lock(&c->lock);
	*out = (struct object_cache_stats){
		.open = c->n_shown - c->n_idle,
		.idle = c->n_idle,
		.opened = c->opened,
		.reused = c->reused,
	};
	mutex_unlock(&c->lock);
}

/* ---- life ---- */

int object_cache_new(struct object_cache **out, const struct object_cache_params *p,
		     struct vmofs_err *err)
{
	struct object_cache *c = calloc(1, sizeof *c);

	if (!c)
		return vmofs_err_set(err, -ENOMEM, "no memory for the objects");
	mutex_init(&c->lock, LOCK_RANK_OBJECTS);
	vmofs_list_init(&c->all);
	vmofs_list_init(&c->idle);
	c->p = *p;
	c->object = (struct fs_object_params){
		.readahead_max = p->readahead_max,
		.keep_behind = p->keep_behind,
		.delay_ns = p->delay_ns,
	};
	c->n_buckets = TABLE_MIN;
	c->bucket = calloc(c->n_buckets, sizeof *c->bucket);
	c->worker = worker_new("vmofs-objects");
	if (!c->bucket || !c->worker) {
		object_cache_free(c);
		return vmofs_err_set(err, -ENOMEM, "no memory for the objects");
	}
	*out = c;
	return 0;
}

/* Nobody else is left, so there is nothing to lock. */
void object_cache_free(struct object_cache *c) NO_TSA
{
	struct vmofs_list *pos, *tmp;

	if (!c)
		return;
	vmofs_list_for_each_safe(pos, tmp, &c->all)
		destroy(vmofs_list_entry(pos, struct cached_object, all));
	worker_free(c->worker);
	free(c->bucket);
	mutex_destroy(&c->lock);
	free(c);
}
