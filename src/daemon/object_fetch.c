/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Contents are fetched in steps, a few of them ahead; of a directory also the beginnings of the files that come
 * next, so that many small ones cost little more than one large.
 */
#include "daemon/object_fetch.h"

#include <errno.h>
#include <string.h>

#include "base/loop.h"
#include "base/macros.h"
#include "daemon/mount.h"
#include "fs/object.h"
#include "fs/tree.h"
#include "vm/disk_tier.h"

enum { FILES_AHEAD = 32 };
#define STEP        MIB(8)
#define AHEAD       (4 * STEP)
#define BYTES_AHEAD MIB(64) /* of a directory's files */
/* The longest that one step waits for the disk cache. */
#define KEEP_NS (10 * NSEC_PER_SEC)

uint64_t object_fetch_room(struct mount *m)
{
	struct vm_pool_stats st;

	vm_pool_stats(m->pool, &st);
	return st.limit / 4 * 3;
}

static int fetch_failed(struct fs_object *o, uint64_t off, int r, struct vmofs_err *err)
{
	struct vmofs_provider_stats st = { 0 };

	o->provider->ops->stats(o->provider, &st);
	return vmofs_err_set(err, r, "cannot fetch '%s' at %llu: %s", fs_object_url(o),
			     (unsigned long long)off, st.last.code ? st.last.msg : strerror(-r));
}

int object_fetch(struct fs_object *o, uint64_t off, uint64_t end,
		 int (*each)(struct vmo *v, uint64_t off, uint64_t len),
		 const atomic_bool *cancelled, struct vmofs_err *err)
{
	const struct vmo_wait wait = { .cls = VMOFS_CLASS_PREFETCH };

	for (; off < end; off += STEP) {
		uint64_t len = MIN(STEP, end - off);
		int r;

		if (*cancelled)
			return vmofs_err_set(err, -EINTR, "given up");
		if (off + len < end)
			(void)vmo_prefetch(o->vmo, off + len, MIN(AHEAD, end - off - len), 0);
		r = vmo_commit(o->vmo, off, len, &wait);
		if (!r && o->tier)
			disk_tier_keep(o->tier, off, len, loop_now_ns() + KEEP_NS);
		if (!r && each)
			r = each(o->vmo, off, len);
		if (r < 0)
			return fetch_failed(o, off, r, err);
	}
	return 0;
}

/* ---- a directory ---- */

struct dir_fetch {
	struct mount *mount;
	const atomic_bool *cancelled;
	struct object_fetch_sum *sum;
	struct vmofs_err *err;
	/* Asked for, the oldest first; open. */
	struct fs_object *ahead[FILES_AHEAD];
	unsigned first;
	unsigned n;
	uint64_t bytes_ahead;
	uint64_t in_memory; /* of what has no other place */
	uint64_t room;
	uint64_t n_failed;
	struct vmofs_err failed; /* the first one */
};

static void note_failure(struct dir_fetch *d, const struct vmofs_err *why)
{
	if (!d->n_failed++)
		d->failed = *why;
}

static uint64_t asked_of(const struct fs_object *o)
{
	return MIN(o->size, AHEAD);
}

static struct fs_object *take_oldest(struct dir_fetch *d)
{
	struct fs_object *o = d->ahead[d->first];

	d->first = (d->first + 1) % FILES_AHEAD;
	d->n--;
	d->bytes_ahead -= asked_of(o);
	return o;
}

/* Waits for the oldest of what is ahead; -EINTR. */
static int finish_one(struct dir_fetch *d)
{
	struct fs_object *o = take_oldest(d);
	struct vmofs_err why = VMOFS_ERR_INIT;
	int r = object_fetch(o, 0, o->size, NULL, d->cancelled, &why);

	if (!r) {
		d->sum->files++;
		d->sum->bytes += o->size;
	} else if (r != -EINTR) {
		note_failure(d, &why);
	}
	d->mount->tree->ops->close(d->mount->tree, o);
	return r == -EINTR ? r : 0;
}

static int finish_all(struct dir_fetch *d)
{
	int r = 0;

	while (d->n && !r)
		r = finish_one(d);
	return r;
}

static bool fits(struct dir_fetch *d, const struct fs_object *o)
{
	if (o->tier)
		return true;
	if (o->size > d->room - d->in_memory)
		return false;
	d->in_memory += page_bytes(page_ceil(o->size));
	d->in_memory = MIN(d->in_memory, d->room);
	return true;
}

static int no_room(struct dir_fetch *d, const char *path)
{
	int r = finish_all(d);

	if (r < 0)
		return r;
	return vmofs_err_set(d->err, -ENOSPC,
			     "'%s' does not fit: %llu files with %llu MiB are present, and three "
			     "quarters of the option 'memory' are %llu MiB; mount with more "
			     "memory, or with a disk cache (cache-dir)",
			     path, (unsigned long long)d->sum->files,
			     (unsigned long long)(d->sum->bytes >> 20),
			     (unsigned long long)(d->room >> 20));
}

static int pass_over(void *arg, const char *path, int code)
{
	struct vmofs_err why = VMOFS_ERR_INIT;

	(void)vmofs_err_set(&why, code, "cannot look at '%s': %s", path, strerror(-code));
	note_failure(arg, &why);
	return 0;
}

static int fetch_file(void *arg, const char *path, uint64_t ino)
{
	struct dir_fetch *d = arg;
	struct fs_tree *t = d->mount->tree;
	struct fs_object *o;
	int r = t->ops->open(t, ino, NULL, &o);

	if (r < 0)
		return pass_over(d, path, r);
	if (!fits(d, o)) {
		t->ops->close(t, o);
		return no_room(d, path);
	}
	(void)vmo_prefetch(o->vmo, 0, asked_of(o), 0);
	d->ahead[(d->first + d->n++) % FILES_AHEAD] = o;
	d->bytes_ahead += asked_of(o);
	r = 0;
	while (!r && (d->n == FILES_AHEAD || (d->n > 1 && d->bytes_ahead > BYTES_AHEAD)))
		r = finish_one(d);
	return r;
}

static int dir_failed(struct dir_fetch *d, const char *path, int r)
{
	if (r == -EINTR)
		return vmofs_err_set(d->err, r, "given up");
	if (r == -ENOSPC)
		return r; /* it has been said */
	return vmofs_err_set(d->err, r, "cannot read the directory '%s': %s", path, strerror(-r));
}

int object_fetch_dir(struct mount *m, const char *path, uint64_t timeout_ns,
		     const atomic_bool *cancelled, struct object_fetch_sum *sum,
		     struct vmofs_err *err)
{
	struct dir_fetch d = {
		.mount = m,
		.cancelled = cancelled,
		.sum = sum,
		.err = err,
		.room = object_fetch_room(m),
		.failed = VMOFS_ERR_INIT,
	};
	const struct fs_tree_files files = {
		.timeout_ns = timeout_ns,
		.cancelled = cancelled,
		.file = fetch_file,
		.failed = pass_over,
		.arg = &d,
	};
	int r;

	*sum = (struct object_fetch_sum){ 0 };
	r = fs_tree_files_wait(m->tree, path, &files);
	if (!r)
		r = finish_all(&d);
	while (d.n)
		m->tree->ops->close(m->tree, take_oldest(&d));
	if (r < 0)
		return dir_failed(&d, path, r);
	if (!d.n_failed)
		return 0;
	return vmofs_err_set(err, d.failed.code, "%s (so are %llu more; %llu files are present)",
			     d.failed.msg, (unsigned long long)(d.n_failed - 1),
			     (unsigned long long)sum->files);
}
