/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mode, owner and time of directories: the origin is told at once, for there is no store that they could go with. In a bucket they are
 * metadata of the key that ends in "/", which is made where there is none. Blocks.
 */
#include <errno.h>

#include "base/log.h"
#include "fs/local_private.h"

int local_tell_dir(struct local *l, const char *key, const struct vmofs_change_attr *a)
{
	const struct vmofs_change_ops *ops = l->p.source->ops->change;
	const struct vmofs_change_wait wait = local_wait(l);
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct vmofs_version now;
	int r = ops->set_attr(l->p.source, key, NULL, a, &now, &wait, &err);

	if (r == -ENOENT) {
		err = (struct vmofs_err){ 0 };
		r = ops->make_dir(l->p.source, key, a, &wait, &err);
	}
	/* It is so while the mount lives, as with files there. */
	if (r == -EOPNOTSUPP)
		return 0;
	if (r < 0)
		log_warn("the attributes of '%s' cannot be changed: %s", key, err.msg);
	return r;
}

int local_dir_attr(struct local *l, uint64_t ino, struct vmofs_change_attr *out)
{
	struct vmofs_entry e;
	char key[VMOFS_KEY_MAX], validator[512];
	int r = l->tree->ops->entry(l->tree, ino, key, validator, &e);

	*out = (struct vmofs_change_attr){ 0 };
	if (r < 0)
		return r;
	out->has = e.has & (VMOFS_HAS_MODE | VMOFS_HAS_UID | VMOFS_HAS_GID);
	out->mode = e.mode & 07777;
	out->uid = e.uid;
	out->gid = e.gid;
	out->mtime = e.mtime;
	return 0;
}

static int set_attr(struct local *l, uint64_t ino, const struct vmofs_change_attr *a)
{
	struct vmofs_entry e;
	char key[VMOFS_KEY_MAX], validator[512];
	int r = l->tree->ops->entry(l->tree, ino, key, validator, &e);

	/* The root has no key. */
	if (r <= 0)
		return r;
	r = local_tell_dir(l, key, a);
	if (r < 0)
		return r;
	e = (struct vmofs_entry){ .type = VMOFS_ENTRY_PREFIX,
				  .validator = "",
				  .has = a->has,
				  .mode = a->mode,
				  .uid = a->uid,
				  .gid = a->gid,
				  .mtime = a->mtime };
	return l->tree->ops->dir_attr(l->tree, ino, &e);
}

int local_set_dir_attr(struct local *l, uint64_t ino, const struct vmofs_change_attr *a)
{
	const struct local_place p[2] = { { ino, "" }, { ino, "" } };
	struct local_turn t;
	int r;

	if (l->p.fixed)
		return 0;
	/* Or its key might be one that is about to go, with a directory above it. */
	r = local_turn_begin(l, &t, p, false);
	if (r < 0)
		return r;
	r = set_attr(l, ino, a);
	local_turn_end(l, &t);
	return r;
}
