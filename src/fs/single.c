/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The namespace of one object. Everything is fixed at creation, because the version of the object
 * is: so there is no lock, and the kernel may cache all of it for as long as it likes.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/macros.h"
#include "fs/object.h"
#include "fs/tree.h"

enum { SINGLE_FILE_INO = 2, DIRENTS_PER_DIR = 3 };

struct fs_single {
	struct fs_tree base;
	struct fs_object *object; /* borrowed */
	uint64_t file_ino;        /* FS_TREE_ROOT when the root is the file */
	char name[256];
	struct stat dir;
	struct stat file;
};

static struct fs_single *fs_single(struct fs_tree *t)
{
	return container_of(t, struct fs_single, base);
}

static void single_fill(struct fs_tree_attr *out, const struct stat *st)
{
	*out = (struct fs_tree_attr){ *st, FS_TREE_FOREVER, FS_TREE_FOREVER };
}

static int single_getattr(struct fs_tree *t, uint64_t ino, struct fs_tree_wait *w UNUSED,
			  struct fs_tree_attr *out)
{
	const struct fs_single *s = fs_single(t);

	if (ino == s->file_ino)
		single_fill(out, &s->file);
	else if (ino == FS_TREE_ROOT)
		single_fill(out, &s->dir);
	else
		return -ENOENT;
	return 0;
}

static int single_lookup(struct fs_tree *t, uint64_t parent, const char *name,
			 struct fs_tree_wait *w UNUSED, struct fs_tree_attr *out)
{
	const struct fs_single *s = fs_single(t);

	if (parent == s->file_ino)
		return -ENOTDIR;
	single_fill(out, &s->file);
	return parent != FS_TREE_ROOT || strcmp(name, s->name) ? -ENOENT : 0;
}

static void single_forget(struct fs_tree *t UNUSED, uint64_t ino UNUSED, uint64_t n UNUSED)
{
}

static int64_t single_readlink(struct fs_tree *t UNUSED, uint64_t ino UNUSED,
			       struct fs_tree_wait *w UNUSED, char *buf UNUSED, size_t cap UNUSED)
{
	return -EINVAL;
}

static int single_readdir(struct fs_tree *t, uint64_t ino, uint64_t cookie, bool plus UNUSED,
			  struct fs_tree_wait *w UNUSED, fs_tree_fill *fill, void *arg)
{
	const struct fs_single *s = fs_single(t);
	const struct fs_tree_attr dir = { s->dir, FS_TREE_FOREVER, FS_TREE_FOREVER };
	const struct fs_tree_attr file = { s->file, FS_TREE_FOREVER, FS_TREE_FOREVER };
	const struct fs_tree_entry entries[DIRENTS_PER_DIR] = { { ".", &dir, false, 1 },
								{ "..", &dir, false, 2 },
								{ s->name, &file, true, 3 } };

	if (ino == s->file_ino)
		return -ENOTDIR;
	for (uint64_t i = cookie; i < ARRAY_LEN(entries); i++)
		if (!fill(arg, &entries[i]))
			break;
	return 0;
}

static struct fs_object *single_find(struct fs_tree *t, uint64_t ino)
{
	struct fs_single *s = fs_single(t);

	return ino == s->file_ino ? s->object : NULL;
}

static int single_open(struct fs_tree *t, uint64_t ino, struct fs_tree_wait *w UNUSED,
		       struct fs_object **out)
{
	*out = single_find(t, ino);
	return *out ? 0 : -EISDIR;
}

static void single_close(struct fs_tree *t UNUSED, struct fs_object *o UNUSED)
{
}

static bool single_cancel(struct fs_tree *t UNUSED, struct fs_tree_wait *w UNUSED)
{
	return false;
}

static void single_each_object(struct fs_tree *t, void (*fn)(void *arg, struct fs_object *o),
			       void *arg)
{
	fn(arg, fs_single(t)->object);
}

static void single_stats(struct fs_tree *t, struct fs_tree_stats *out)
{
	*out = (struct fs_tree_stats){ .nodes = 1,
				       .file_bytes = (uint64_t)fs_single(t)->file.st_size };
}

static void single_each_hidden(struct fs_tree *t UNUSED,
			       void (*fn)(void *arg, enum fs_hidden why, const char *key) UNUSED,
			       void *arg UNUSED)
{
}

static void single_set_notify(struct fs_tree *t UNUSED, const struct fs_tree_notify *n UNUSED)
{
}

static void single_stop(struct fs_tree *t UNUSED)
{
}

static void single_free(struct fs_tree *t)
{
	free(fs_single(t));
}

static const struct fs_tree_ops single_ops = {
	.lookup = single_lookup,
	.forget = single_forget,
	.getattr = single_getattr,
	.readlink = single_readlink,
	.readdir = single_readdir,
	.open = single_open,
	.find = single_find,
	.close = single_close,
	.cancel = single_cancel,
	.each_object = single_each_object,
	.stats = single_stats,
	.each_hidden = single_each_hidden,
	.set_notify = single_set_notify,
	.stop = single_stop,
	.free = single_free,
};

static void single_fill_stat(struct stat *st, uint64_t ino, mode_t mode, uint64_t size,
			     struct timespec mtime)
{
	*st = (struct stat){
		.st_ino = ino,
		.st_mode = mode,
		.st_nlink = S_ISDIR(mode) ? 2 : 1,
		.st_uid = geteuid(),
		.st_gid = getegid(),
		.st_size = (off_t)size,
		.st_blocks = (blkcnt_t)((size + 511) / 512),
		.st_blksize = (blksize_t)KIB(128),
		.st_atim = mtime,
		.st_mtim = mtime,
		.st_ctim = mtime,
	};
}

int fs_tree_single_new(struct fs_tree **out, struct fs_object *o, const char *name, bool as_root)
{
	struct fs_single *s = calloc(1, sizeof *s);
	struct timespec mtime = o->mtime;

	if (!s)
		return -ENOMEM;
	if (!mtime.tv_sec)
		clock_gettime(CLOCK_REALTIME, &mtime);
	s->base = (struct fs_tree){ .ops = &single_ops };
	s->object = o;
	s->file_ino = as_root ? FS_TREE_ROOT : SINGLE_FILE_INO;
	o->ino = s->file_ino;
	strncpy(s->name, name, sizeof s->name - 1);
	single_fill_stat(&s->dir, FS_TREE_ROOT, S_IFDIR | 0555, 0, mtime);
	single_fill_stat(&s->file, s->file_ino, S_IFREG | 0444, o->size, mtime);
	*out = &s->base;
	return 0;
}
