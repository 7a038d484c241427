/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which objects are kept on disk: those whose version can be proved. Some origins tell it in their listing, some with the
 * first answer; what came before is kept then too. Any thread; nothing blocks.
 */
#include <errno.h>
#include <stdatomic.h>

#include "base/log.h"
#include "fs/object.h"
#include "vm/disk_tier.h"

static void make_tier(struct fs_object *o, struct disk_io *disk, const char *validator)
{
	const struct cache_key key = {
		.url = fs_object_url(o),
		.validator = validator,
		.size = o->size,
		.identity = fs_object_identity(o),
	};
	struct disk_tier *tier;
	int r = disk_tier_new(&tier, disk, o->vmo, &key);

	if (!r)
		o->tier = tier;
	else if (r == -ENOMEM)
		log_warn("no memory to keep '%s' on disk", key.url);
}

/* Once a mount is enough. */
static void tell_not_kept(struct fs_object *o, struct disk_io *disk)
{
	if (disk_io_first_refusal(disk))
		log_warn("'%s' has no strong validator: it, and others like it, are not kept in "
			 "the cache directory",
			 fs_object_url(o));
}

void fs_object_use_disk(struct fs_object *o, struct disk_io *disk)
{
	const char *validator = fs_object_validator(o);

	if (!disk || !o->size || o->local)
		return;
	if (!o->weak && *validator)
		make_tier(o, disk, validator);
	else if (!*validator && o->ahead && o->provider->ops->version)
		o->disk = disk;
	else
		tell_not_kept(o, disk);
}

void fs_object_look_at_version(struct fs_object *o)
{
	char validator[sizeof((struct vmofs_object_info *)NULL)->validator];
	int r = o->provider->ops->version(o->provider, validator, sizeof validator);
	struct disk_io *disk;

	if (r == -EAGAIN)
		return;
	/* Whoever takes it makes the tier; it is not looked at again. */
	disk = atomic_exchange(&o->disk, NULL);
	if (disk && r == 0)
		make_tier(o, disk, validator);
	else if (disk)
		tell_not_kept(o, disk);
}
