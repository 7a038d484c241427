/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Another version, and another provider, under the same VMO. Each provider knows the VMO by a name of its own: what one says that
 * was switched away is told by the name, however late it comes. The first one's name is the VMO itself. Any thread.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/macros.h"
#include "vm/vmo_private.h"

static struct vmo *name_new(struct vmo *v)
{
	struct vmo *name = calloc(1, sizeof *name);

	if (!name)
		return NULL;
	name->refs = 1;
	name->stands_for = v;
	return name;
}

void vmo_put_name(struct vmo *name)
{
	if (atomic_fetch_sub(&name->refs, 1) == 1)
		free(name);
}

/* What a store that is under way has not got was cut off since its token was taken. */
static uint64_t least_size(struct vmo *v) REQUIRES(v->source->lock)
{
	uint64_t least = v->size;
	struct vmofs_list *pos;

	vmofs_list_for_each(pos, &v->tokens)
		least = MIN(least, container_of(pos, struct vmo_token, link)->least_size);
	return least;
}

static int switch_locked(struct vmo *v, struct vmofs_provider *to, uint64_t origin_size)
	REQUIRES(v->source->lock)
{
	struct vmo *name;

	if (v->source->detached)
		return v->source->gone_status;
	if (!to) {
		page_source_hold_locked(v->source);
		return 0;
	}
	if (to == v->source->provider) {
		page_source_switch_locked(v->source, to, v->source->name);
		return 0;
	}
	name = name_new(v);
	if (!name)
		return -ENOMEM;
	v->base_size = origin_size;
	v->origin_size = MIN(origin_size, least_size(v));
	page_source_switch_locked(v->source, to, name);
	return 0;
}

int vmo_switch(struct vmo *v, struct vmofs_provider *to, uint64_t origin_size)
{
	struct page_wakeups wake = PAGE_WAKEUPS_INIT(wake);
	int r;

	assert(!v->parent);
	vmo_lock(v);
	r = switch_locked(v, to, origin_size);
	vmo_unlock(v, &wake);
	return r;
}

struct vmofs_provider *vmo_provider(struct vmo *v)
{
	struct vmofs_provider *p;

	vmo_lock(v);
	p = v->source->provider;
	mutex_unlock(&v->source->lock);
	return p;
}

uint64_t vmo_origin_size(struct vmo *v)
{
	uint64_t size;

	vmo_lock(v);
	size = v->origin_size;
	mutex_unlock(&v->source->lock);
	return size;
}
