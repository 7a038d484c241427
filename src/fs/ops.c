/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernel's requests, other than reads of contents: each is answered at once from what is known
 * here. The namespace and the version of every object are fixed, so the kernel is told to keep what it
 * has learnt. Runs on the loops.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#include "base/macros.h"
#include "fs/object.h"
#include "fs/session_private.h"

/* One year: nothing here changes while the mount lives. */
static const double FOREVER = 365 * 24 * 3600.0;

#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 17)
static void want(struct fuse_conn_info *conn, uint64_t cap, bool on)
{
	if (on)
		fuse_set_feature_flag(conn, cap); /* only what the kernel offers */
	else
		fuse_unset_feature_flag(conn, cap);
}
#else
static void want(struct fuse_conn_info *conn, unsigned cap, bool on)
{
	if (on)
		conn->want |= conn->capable & cap;
	else
		conn->want &= ~cap;
}
#endif

/* Splicing costs three times a copy; contents never change behind the kernel's back. */
static void ops_init(void *userdata, struct fuse_conn_info *conn)
{
	struct fs_session *s = userdata;

	want(conn, FUSE_CAP_SPLICE_READ, false);
	want(conn, FUSE_CAP_SPLICE_WRITE, false);
	want(conn, FUSE_CAP_SPLICE_MOVE, false);
	want(conn, FUSE_CAP_WRITEBACK_CACHE, false);
	want(conn, FUSE_CAP_AUTO_INVAL_DATA, false);
	want(conn, FUSE_CAP_EXPLICIT_INVAL_DATA, true);
	want(conn, FUSE_CAP_ASYNC_READ, true);
	/* The kernel waits for such reads where no signal reaches it. */
	want(conn, FUSE_CAP_ASYNC_DIO, s->p.async_dio);
	want(conn, FUSE_CAP_PARALLEL_DIROPS, true);
	want(conn, FUSE_CAP_NO_OPENDIR_SUPPORT, true);
	/* The kernel sizes its read requests by max_write. */
	conn->max_write = (uint32_t)MIN(conn->max_write, s->p.max_request);
	conn->max_background = s->p.max_background;
	conn->congestion_threshold = s->p.max_background;
	s->greeted = true;
}

static void ops_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fs_tree *t = fs_session_of(req)->p.tree;
	struct fuse_entry_param e = { .attr_timeout = FOREVER, .entry_timeout = FOREVER };
	int r = t->ops->lookup(t, parent, name, &e.attr);

	/* A name that is not there is remembered too: e.ino stays 0. */
	if (r < 0 && r != -ENOENT) {
		fuse_reply_err(req, -r);
		return;
	}
	e.ino = r < 0 ? 0 : e.attr.st_ino;
	fuse_reply_entry(req, &e);
}

static void ops_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi UNUSED)
{
	struct fs_tree *t = fs_session_of(req)->p.tree;
	struct stat st;
	int r = t->ops->getattr(t, ino, &st);

	if (r < 0)
		fuse_reply_err(req, -r);
	else
		fuse_reply_attr(req, &st, FOREVER);
}

static void ops_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct fs_tree *t = fs_session_of(req)->p.tree;

	if ((fi->flags & O_ACCMODE) != O_RDONLY || (fi->flags & O_TRUNC)) {
		fuse_reply_err(req, EROFS);
		return;
	}
	if (!t->ops->object(t, ino)) {
		fuse_reply_err(req, EISDIR);
		return;
	}
	fi->keep_cache = 1;
	fi->noflush = 1;
	fuse_reply_open(req, fi);
}

static void ops_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		     struct fuse_file_info *fi UNUSED)
{
	struct fs_tree *t = fs_session_of(req)->p.tree;
	struct fs_object *o = t->ops->object(t, ino);

	if (!o)
		fuse_reply_err(req, EISDIR);
	else
		fs_read(req, o, (uint64_t)off, size);
}

struct dirents {
	fuse_req_t req;
	char *buf;
	size_t len;
	size_t cap;
};

static bool dirents_add(void *arg, const struct fs_tree_entry *e)
{
	struct dirents *d = arg;
	size_t n = fuse_add_direntry(d->req, d->buf + d->len, d->cap - d->len, e->name, e->st,
				     (off_t)e->next);

	if (n > d->cap - d->len)
		return false;
	d->len += n;
	return true;
}

static void ops_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
			struct fuse_file_info *fi UNUSED)
{
	struct fs_tree *t = fs_session_of(req)->p.tree;
	cleanup(mem_freep) char *buf = malloc(size);
	struct dirents d = { .req = req, .buf = buf, .cap = size };
	int r = buf ? t->ops->readdir(t, ino, (uint64_t)off, dirents_add, &d) : -ENOMEM;

	if (r < 0)
		fuse_reply_err(req, -r);
	else
		fuse_reply_buf(req, d.buf, d.len);
}

static void ops_statfs(fuse_req_t req, fuse_ino_t ino UNUSED)
{
	const struct fs_tree *t = fs_session_of(req)->p.tree;
	struct statvfs st = {
		.f_bsize = VMOFS_PAGE_SIZE,
		.f_frsize = VMOFS_PAGE_SIZE,
		.f_blocks = (t->size + VMOFS_PAGE_SIZE - 1) / VMOFS_PAGE_SIZE,
		.f_files = t->n_files,
		.f_namemax = 255,
		.f_flag = ST_RDONLY,
	};

	fuse_reply_statfs(req, &st);
}

/* The protocol of extended attributes: size 0 asks how much room is needed. */
static void reply_xattr(fuse_req_t req, const char *value, int64_t len, size_t size)
{
	if (len < 0)
		fuse_reply_err(req, (int)-len);
	else if (!size)
		fuse_reply_xattr(req, (size_t)len);
	else if (size < (size_t)len)
		fuse_reply_err(req, ERANGE);
	else
		fuse_reply_buf(req, value, (size_t)len);
}

static void ops_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
	struct fs_tree *t = fs_session_of(req)->p.tree;
	struct fs_object *o = t->ops->object(t, ino);
	cleanup(mem_freep) char *value = NULL;
	int64_t len = o ? fs_object_xattr(o, name, &value) : -ENODATA;

	reply_xattr(req, value, len, size);
}

static void ops_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
	struct fs_tree *t = fs_session_of(req)->p.tree;
	struct fs_object *o = t->ops->object(t, ino);
	cleanup(mem_freep) char *names = NULL;
	int64_t len = o ? fs_object_xattr_list(o, &names) : 0;

	reply_xattr(req, names, len, size);
}

const struct fuse_lowlevel_ops fs_ops = {
	.init = ops_init,
	.lookup = ops_lookup,
	.getattr = ops_getattr,
	.open = ops_open,
	.read = ops_read,
	.readdir = ops_readdir,
	.statfs = ops_statfs,
	.getxattr = ops_getxattr,
	.listxattr = ops_listxattr,
};
