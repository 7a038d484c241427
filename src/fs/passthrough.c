/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The mode of each inode that is open (see the header for the states), and the two system calls that tell the
 * kernel of a file to read from. Runs on the loops. What is borrowed is fetched and given back without the lock:
 * an open prepares, then looks again whether its inode still has no mode.
 */
#include "fs/passthrough.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/log.h"
#include "base/macros.h"
#include "fs/object.h"
#include "vm/disk_tier.h"

static const uint8_t pass_next[] = {
	[PASS_CLOSED] = BIT(PASS_CACHED) | BIT(PASS_THROUGH),
	[PASS_CACHED] = BIT(PASS_CLOSED),
	[PASS_THROUGH] = BIT(PASS_CLOSED),
};
_Static_assert(ARRAY_LEN(pass_next) == PASS_NSTATES, "one row per state");

void pass_set_state(struct pass_inode *i, enum pass_state to)
{
	assert(pass_next[i->state] & BIT(to));
	i->state = to;
}

void passthrough_init(struct passthrough *p, const struct passthrough_ops *ops, void *arg)
{
	memset(p, 0, sizeof *p);
	p->ops = ops;
	p->arg = arg;
	mutex_init(&p->lock, LOCK_RANK_PASS);
}

/* Nobody else is left, so there is nothing to lock. */
void passthrough_release(struct passthrough *p) NO_TSA
{
	struct rb_node *n;

	while ((n = rb_first(&p->inodes))) {
		struct pass_inode *i = container_of(n, struct pass_inode, node);

		if (i->state == PASS_THROUGH)
			p->ops->unlend(i->object);
		rb_erase(&p->inodes, n);
		free(i);
	}
	mutex_destroy(&p->lock);
}

void passthrough_enable(struct passthrough *p)
{
	p->able = true;
	atomic_store(&p->on, true);
}

/* ---- the inodes that are open ---- */

static struct pass_inode *pass_find_locked(struct passthrough *p, uint64_t ino,
					   struct rb_node **parent, struct rb_node ***link)
	REQUIRES(p->lock)
{
	*parent = NULL;
	*link = &p->inodes.root;
	while (**link) {
		struct pass_inode *i = container_of(**link, struct pass_inode, node);

		if (i->object->ino == ino)
			return i;
		*parent = **link;
		*link = &(**link)->child[i->object->ino < ino];
	}
	return NULL;
}

/* One more open in the mode that @o's inode has; false: it has none. */
static bool pass_join(struct passthrough *p, struct fs_object *o, int *backing) EXCLUDES(p->lock)
{
	struct rb_node *parent;
	struct rb_node **link;
	struct pass_inode *i;

	mutex_lock(&p->lock);
	i = pass_find_locked(p, o->ino, &parent, &link);
	if (i) {
		i->opens++;
		*backing = i->backing;
	}
	mutex_unlock(&p->lock);
	return i;
}

/* @i gives its inode a mode, unless another thread's was quicker: then false. */
static bool pass_begin(struct passthrough *p, struct pass_inode *i, int backing) EXCLUDES(p->lock)
{
	struct rb_node *parent;
	struct rb_node **link;
	bool taken;

	mutex_lock(&p->lock);
	taken = pass_find_locked(p, i->object->ino, &parent, &link);
	if (!taken) {
		rb_insert(&p->inodes, &i->node, parent, link);
		pass_set_state(i, backing ? PASS_THROUGH : PASS_CACHED);
		i->backing = backing;
		i->opens = 1;
	}
	mutex_unlock(&p->lock);
	return !taken;
}

/* ---- opens ---- */

/* What it needs is missing here, and will be: the mount goes on without. */
static void pass_turn_off(struct passthrough *p, int status)
{
	if (atomic_exchange(&p->on, false))
		log_info("no passthrough, files are read through the daemon: %s%s",
			 strerror(-status),
			 status == -ELOOP ? " (the cache directory is on a stacked file system)"
				 : status == -EPERM ? " (it needs root)"
						    : "");
}

/* A file for the kernel to read from, lent and taken; 0: none. */
static int pass_prepare(struct passthrough *p, struct fs_object *o)
{
	int fd = atomic_load(&p->on) ? p->ops->lend(o) : -EAGAIN;
	int backing;

	if (fd < 0)
		return 0;
	backing = p->ops->take(p->arg, fd);
	if (backing > 0)
		return backing;
	p->ops->unlend(o);
	pass_turn_off(p, backing);
	return 0;
}

static void pass_undo(struct passthrough *p, struct fs_object *o, int backing)
{
	if (!backing)
		return;
	p->ops->drop(p->arg, backing);
	p->ops->unlend(o);
}

/* The first open of an inode. -EAGAIN: another thread has come between. */
static int pass_first(struct passthrough *p, struct fs_object *o, int *backing)
{
	struct pass_inode *i = calloc(1, sizeof *i);

	if (!i)
		return -ENOMEM;
	i->object = o;
	*backing = pass_prepare(p, o);
	if (pass_begin(p, i, *backing))
		return 0;
	pass_undo(p, o, *backing);
	free(i);
	return -EAGAIN;
}

int passthrough_open(struct passthrough *p, struct fs_object *o, int *backing)
{
	int r = 0;

	*backing = 0;
	if (!p->able)
		return 0;
	while (!pass_join(p, o, backing)) {
		r = pass_first(p, o, backing);
		if (r != -EAGAIN)
			break;
	}
	if (*backing)
		atomic_fetch_add(&p->n_opens, 1);
	return r == -EAGAIN ? 0 : r;
}

static bool pass_leave_locked(struct passthrough *p, struct pass_inode *i) REQUIRES(p->lock)
{
	assert(i && i->opens);
	if (--i->opens)
		return false;
	rb_erase(&p->inodes, &i->node);
	pass_set_state(i, PASS_CLOSED);
	return true;
}

void passthrough_close(struct passthrough *p, struct fs_object *o)
{
	struct rb_node *parent;
	struct rb_node **link;
	struct pass_inode *i;
	bool last;

	if (!p->able)
		return;
	mutex_lock(&p->lock);
	i = pass_find_locked(p, o->ino, &parent, &link);
	last = pass_leave_locked(p, i);
	mutex_unlock(&p->lock);
	if (!last)
		return;
	pass_undo(p, o, i->backing);
	free(i);
}

/* ---- the kernel's side ---- */

/* As in <linux/fuse.h> since 6.9; the headers of older systems do not have them. */
struct pass_map {
	int32_t fd;
	uint32_t flags;
	uint64_t padding;
};
#define PASS_IOC_OPEN  _IOW(229, 1, struct pass_map)
#define PASS_IOC_CLOSE _IOW(229, 2, uint32_t)

static int kernel_lend(struct fs_object *o)
{
	return o->tier ? disk_tier_pass(o->tier) : -EAGAIN;
}

static void kernel_unlend(struct fs_object *o)
{
	disk_tier_unpass(o->tier);
}

static int kernel_take(void *arg, int fd)
{
	const struct pass_map map = { .fd = fd };
	int r = ioctl(*(int *)arg, PASS_IOC_OPEN, &map);

	return r > 0 ? r : r < 0 ? -errno : -EIO;
}

static void kernel_drop(void *arg, int backing)
{
	const uint32_t id = (uint32_t)backing;

	if (ioctl(*(int *)arg, PASS_IOC_CLOSE, &id) < 0)
		log_debug("the kernel does not let go of a file of the cache: %s", strerror(errno));
}

const struct passthrough_ops passthrough_kernel = {
	.lend = kernel_lend,
	.unlend = kernel_unlend,
	.take = kernel_take,
	.drop = kernel_drop,
};
