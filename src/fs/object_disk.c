/* SPDX-License-Identifier: Apache-2.0 */
/* Which objects are kept on disk. Any thread; nothing blocks. */
#include "base/log.h"
#include "fs/object.h"
#include "vm/disk_tier.h"

void fs_object_use_disk(struct fs_object *o, struct disk_io *disk)
{
	const struct cache_key key = {
		.url = fs_object_url(o),
		.validator = fs_object_validator(o),
		.size = o->size,
	};

	/* Nothing proves that bytes which are read later are of this version. */
	if (!disk || o->weak || !*key.validator || !o->size)
		return;
	if (disk_tier_new(&o->tier, disk, o->vmo, &key) < 0)
		log_warn("no memory to keep '%s' on disk", key.url);
}
