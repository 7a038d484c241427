/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernel's requests for extended attributes, in a mount that can be written. user.vmofs.* are told as in any mount, but not
 * listed: who copies a file with all that is listed would have them refused where it goes. Other user.* are the file's own. On threads of
 * job.h, as the origin may have to be asked.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

#include "base/macros.h"
#include "fs/session_private.h"

static const char ours[] = "user.vmofs.";
static const char kept[] = "user.";

static bool begins(const char *name, const char *with)
{
	return strncmp(name, with, strlen(with)) == 0;
}

/* Not of what vmofs tells, nor of what others have put beside. */
static bool is_kept(const char *name)
{
	return begins(name, kept) && !begins(name, ours);
}

static struct local *local_of(const struct fs_job *j)
{
	return j->session->p.local;
}

static bool are_there(const struct fs_session *s)
{
	return s->p.xattrs && local_has_xattrs(s->p.local);
}

/* ---- reading ---- */

/* Size 0 asks how much room is needed. */
static void reply(const struct fs_job *j, const void *value, size_t len)
{
	if (!j->len)
		fuse_reply_xattr(j->req, len);
	else if (j->len < len)
		fuse_reply_err(j->req, ERANGE);
	else
		fuse_reply_buf(j->req, value, len);
}

/* 1: there are some; 0: directories and links have none; -errno. */
static int take_xattrs(const struct fs_job *j, struct vmofs_xattrs **out)
{
	struct fs_tree *t = j->session->p.tree;
	struct fs_tree_attr a;
	int r = t->ops->getattr(t, j->ino, NULL, &a);

	if (r < 0 || !S_ISREG(a.st.st_mode))
		return MIN(r, 0);
	r = local_xattrs(local_of(j), j->ino, out);
	return r < 0 ? r : 1;
}

static void run_getxattr(struct fs_job *j)
{
	struct vmofs_xattrs *x = NULL;
	struct vmofs_xattr a;
	int r = take_xattrs(j, &x);

	if (r < 0)
		fuse_reply_err(j->req, fs_change_errno(r));
	else if (!vmofs_xattrs_find(x, j->name, &a))
		fuse_reply_err(j->req, ENODATA);
	else
		reply(j, a.value, a.len);
	vmofs_xattrs_put(x);
}

static void run_listxattr(struct fs_job *j)
{
	char names[VMOFS_XATTRS_MAX];
	struct vmofs_xattrs *x = NULL;
	struct vmofs_xattr a;
	uint32_t at = 0;
	size_t len = 0;
	int r = take_xattrs(j, &x);

	while (vmofs_xattrs_next(x, &at, &a))
		if (is_kept(a.name)) {
			memcpy(names + len, a.name, strlen(a.name) + 1);
			len += strlen(a.name) + 1;
		}
	if (r < 0)
		fuse_reply_err(j->req, fs_change_errno(r));
	else
		reply(j, names, len);
	vmofs_xattrs_put(x);
}

static void ops_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
	struct fs_session *s = fs_session_of(req);
	struct fs_job *j;

	if (!are_there(s) || !is_kept(name)) {
		fs_ops.getxattr(req, ino, name, size);
		return;
	}
	j = job_take_named(s, req, ino, name);
	if (!j)
		return;
	j->run = run_getxattr;
	j->len = size;
	job_post(j);
}

static void ops_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
	struct fs_session *s = fs_session_of(req);
	struct fs_job *j;

	if (!are_there(s)) {
		fs_ops.listxattr(req, ino, size);
		return;
	}
	j = job_take(s, req);
	if (!j)
		return;
	j->run = run_listxattr;
	j->ino = ino;
	j->len = size;
	job_post(j);
}

/* ---- changing ---- */

static void run_change(struct fs_job *j)
{
	const struct vmofs_xattr a = { j->name, j->data, (uint32_t)j->len };
	int r = local_set_xattr(local_of(j), j->ino, &a, (enum vmofs_xattrs_how)j->flags);

	fuse_reply_err(j->req, r == -ENODATA ? ENODATA : r < 0 ? fs_change_errno(r) : 0);
}

/* ENOSYS is the one answer after which the kernel asks no more. */
static struct fs_job *take_change(fuse_req_t req, fuse_ino_t ino, const char *name)
{
	struct fs_session *s = fs_session_of(req);
	struct fs_job *j;

	if (!s->p.xattrs || !local_has_xattrs(s->p.local) || !is_kept(name)) {
		fuse_reply_err(req,
			       !s->p.xattrs                 ? ENOSYS
				       : begins(name, ours) ? EPERM
							    : EOPNOTSUPP);
		return NULL;
	}
	j = job_take_named(s, req, ino, name);
	if (j)
		j->run = run_change;
	return j;
}

static void ops_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value,
			 size_t size, int flags)
{
	struct fs_job *j = take_change(req, ino, name);

	if (!j)
		return;
	j->data = malloc(size + 1);
	if (!j->data) {
		fuse_reply_err(req, ENOMEM);
		job_drop(j);
		return;
	}
	memcpy(j->data, value, size);
	j->len = size;
	j->flags = flags & XATTR_CREATE ? VMOFS_XATTRS_CREATE
		: flags & XATTR_REPLACE ? VMOFS_XATTRS_REPLACE
					: VMOFS_XATTRS_SET;
	job_post(j);
}

static void ops_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
	struct fs_job *j = take_change(req, ino, name);

	if (j)
		job_post(j);
}

void fs_ops_add_xattrs(struct fuse_lowlevel_ops *ops)
{
	ops->getxattr = ops_getxattr;
	ops->listxattr = ops_listxattr;
	ops->setxattr = ops_setxattr;
	ops->removexattr = ops_removexattr;
}
