/* SPDX-License-Identifier: Apache-2.0 */
/* The life of a shown object and its read-ahead. Any thread; the attributes are in xattr.c. */
#include "fs/object.h"

#include "base/macros.h"

void fs_object_init(struct fs_object *o, const struct vmofs_object_info *info,
		    struct vmofs_provider *provider, struct vmo *vmo, uint64_t readahead_max,
		    uint64_t keep_behind, uint64_t delay_ns)
{
	o->info = *info;
	o->provider = provider;
	o->vmo = vmo_get(vmo);
	stream_set_init(&o->streams, info->size, readahead_max, delay_ns);
	behind_init(&o->behind, keep_behind);
}

void fs_object_release(struct fs_object *o)
{
	if (!o->vmo)
		return;
	stream_set_release(&o->streams);
	behind_release(&o->behind);
	vmo_put(steal_ptr(&o->vmo));
}

void fs_object_read_ahead(struct fs_object *o, uint64_t off, uint64_t len, bool missed,
			  uint64_t deadline_ns)
{
	struct behind_drop drop = behind_read(&o->behind, off, len);
	struct stream_ask ask = stream_read(&o->streams, off, len, missed);

	if (drop.len)
		vmo_evict(o->vmo, drop.off, drop.len, false);
	/* What does not fit into memory is not asked for: its reader will ask itself. */
	if (ask.len)
		(void)vmo_prefetch(o->vmo, ask.off, ask.len, deadline_ns);
}
