/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernel's requests that change names, in a mount that can be written: each runs on a thread of job.h, for the origin
 * is told of it first. What is done is in local_names.c.
 */
#include <errno.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "fs/session_private.h"

static struct local *local_of(const struct fs_job *j)
{
	return j->session->p.local;
}

static void reply_status(const struct fs_job *j, int r)
{
	fuse_reply_err(j->req, r < 0 ? fs_change_errno(r) : 0);
}

static void run_unlink(struct fs_job *j)
{
	reply_status(j, local_unlink(local_of(j), j->ino, j->name));
}

static void run_rmdir(struct fs_job *j)
{
	reply_status(j, local_rmdir(local_of(j), j->ino, j->name));
}

static void run_rename(struct fs_job *j)
{
	const struct local_rename rn = {
		.parent = j->ino,
		.name = j->name,
		.new_parent = j->ino2,
		.new_name = j->name2,
		.no_replace = j->flags & RENAME_NOREPLACE,
	};

	reply_status(j, local_rename(local_of(j), &rn));
}

static void reply_made(const struct fs_job *j, int r, const struct fs_tree_attr *a)
{
	struct fs_tree *t = j->session->p.tree;
	struct fuse_entry_param e;

	if (r < 0) {
		reply_status(j, r);
		return;
	}
	fs_fill_entry(&e, a);
	if (fuse_reply_entry(j->req, &e) < 0)
		t->ops->forget(t, e.ino, 1);
}

static struct local_create create_of(const struct fs_job *j)
{
	return (struct local_create){
		.parent = j->ino, .name = j->name, .mode = j->mode, .uid = j->uid, .gid = j->gid
	};
}

static void run_mkdir(struct fs_job *j)
{
	const struct local_create c = create_of(j);
	struct fs_tree_attr a;
	int r = local_mkdir(local_of(j), &c, &a);

	reply_made(j, r, &a);
}

static void run_symlink(struct fs_job *j)
{
	const struct local_create c = create_of(j);
	struct fs_tree_attr a;
	int r = local_symlink(local_of(j), &c, j->data, &a);

	reply_made(j, r, &a);
}

static struct fs_job *take(fuse_req_t req, fuse_ino_t parent, const char *name,
			   void (*run)(struct fs_job *j))
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);
	struct fs_session *s = fs_session_of(req);
	struct fs_job *j;

	if (local_is_fixed(s->p.local)) {
		fuse_reply_err(req, EPERM);
		return NULL;
	}
	j = job_take_named(s, req, parent, name);
	if (!j)
		return NULL;
	j->run = run;
	j->uid = ctx->uid;
	j->gid = ctx->gid;
	return j;
}

static void ops_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fs_job *j = take(req, parent, name, run_unlink);

	if (j)
		job_post(j);
}

static void ops_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fs_job *j = take(req, parent, name, run_rmdir);

	if (j)
		job_post(j);
}

static void ops_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	struct fs_job *j = take(req, parent, name, run_mkdir);

	if (!j)
		return;
	j->mode = mode;
	job_post(j);
}

static void ops_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
	struct fs_job *j = take(req, parent, name, run_symlink);

	if (!j)
		return;
	j->data = strdup(target);
	if (!j->data) {
		fuse_reply_err(req, ENOMEM);
		job_drop(j);
		return;
	}
	job_post(j);
}

static void ops_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
		       const char *new_name, unsigned flags)
{
	struct fs_job *j;

	if (flags & ~(unsigned)RENAME_NOREPLACE || strlen(new_name) > JOB_NAME_MAX) {
		fuse_reply_err(req, flags & ~(unsigned)RENAME_NOREPLACE ? EINVAL : ENAMETOOLONG);
		return;
	}
	j = take(req, parent, name, run_rename);
	if (!j)
		return;
	j->ino2 = new_parent;
	strcpy(j->name2, new_name);
	j->flags = (int)flags;
	job_post(j);
}

/* An object has one key. */
static void ops_link(fuse_req_t req, fuse_ino_t ino UNUSED, fuse_ino_t parent UNUSED,
		     const char *name UNUSED)
{
	fuse_reply_err(req, EPERM);
}

void fs_ops_add_names(struct fuse_lowlevel_ops *ops)
{
	ops->unlink = ops_unlink;
	ops->rmdir = ops_rmdir;
	ops->mkdir = ops_mkdir;
	ops->symlink = ops_symlink;
	ops->rename = ops_rename;
	ops->link = ops_link;
}
