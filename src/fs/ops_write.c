/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernel's requests that change contents and attributes, in a mount that can be written. A write is first tried on the
 * thread that took it; where it would wait its data is copied, and a thread of job.h does the rest. So does
 * whatever else may block. Each write(2) comes here before it is acknowledged; stores through a shared mapping come when the kernel
 * writes its pages back, at the latest before the last release.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/macros.h"
#include "fs/object.h"
#include "fs/session_private.h"

static struct local_handle *handle_of(const struct fuse_file_info *fi)
{
	return (struct local_handle *)(uintptr_t)fi->fh;
}

static struct local *local_of(const struct fs_job *j)
{
	return j->session->p.local;
}

/* What one sees who changes something; the rest is in the log. */
int fs_change_errno(int status)
{
	switch (status) {
	case -E2BIG:
	case -EBADF:
	case -EBUSY:
	case -EDQUOT:
	case -EEXIST:
	case -EFBIG:
	case -ENOSPC:
	case -ENOTEMPTY:
	case -EOPNOTSUPP:
	case -EPERM:
	case -EXDEV:
		return -status;
	case -ESHUTDOWN:
		return ENOTCONN;
	default:
		return fs_meta_errno(status);
	}
}

static void reply_status(fuse_req_t req, int r)
{
	fuse_reply_err(req, r < 0 ? fs_change_errno(r) : 0);
}

/* ---- open, create, release ---- */

static void set_open_mode(const struct fs_session *s, struct fuse_file_info *fi,
			  struct local_handle *h)
{
	fi->fh = (uintptr_t)h;
	fi->keep_cache = !vmo_is_distrusted(local_object(h)->vmo);
	fi->noflush = !local_close_waits(s->p.local);
	/* The kernel refuses shared mappings of such a file. */
	fi->direct_io = s->p.exact_dirty;
}

static void run_open(struct fs_job *j)
{
	struct fuse_file_info fi = { 0 };
	struct local_handle *h;
	int r = local_open_write(local_of(j), j->ino, j->flags & O_TRUNC, &h);

	if (r < 0) {
		reply_status(j->req, r);
		return;
	}
	set_open_mode(j->session, &fi, h);
	if (fuse_reply_open(j->req, &fi) < 0)
		local_close(local_of(j), h);
}

void fs_open_write(fuse_req_t req, uint64_t ino, int flags)
{
	struct fs_job *j = job_take(fs_session_of(req), req);

	if (!j)
		return;
	j->run = run_open;
	j->ino = ino;
	j->flags = flags;
	job_post(j);
}

static struct local_create create_of(const struct fs_job *j)
{
	return (struct local_create){
		.parent = j->ino,
		.name = j->name,
		.mode = j->mode,
		.uid = j->uid,
		.gid = j->gid,
		.excl = j->flags & O_EXCL,
		.truncate = j->flags & O_TRUNC,
	};
}

static void forget(const struct fs_job *j, const struct fs_tree_attr *a)
{
	j->session->p.tree->ops->forget(j->session->p.tree, a->st.st_ino, 1);
}

static void run_create(struct fs_job *j)
{
	const struct local_create c = create_of(j);
	struct fuse_file_info fi = { 0 };
	struct fuse_entry_param e;
	struct fs_tree_attr a;
	struct local_handle *h;
	int r = local_create(local_of(j), &c, &h, &a);

	if (r < 0) {
		reply_status(j->req, r);
		return;
	}
	fs_fill_entry(&e, &a);
	set_open_mode(j->session, &fi, h);
	if (fuse_reply_create(j->req, &e, &fi) < 0) {
		local_close(local_of(j), h);
		forget(j, &a);
	}
}

static void run_mknod(struct fs_job *j)
{
	const struct local_create c = create_of(j);
	struct fuse_entry_param e;
	struct fs_tree_attr a;
	struct local_handle *h;
	int r = local_create(local_of(j), &c, &h, &a);

	if (r < 0) {
		reply_status(j->req, r);
		return;
	}
	local_close(local_of(j), h);
	fs_fill_entry(&e, &a);
	if (fuse_reply_entry(j->req, &e) < 0)
		forget(j, &a);
}

static void post_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, int flags,
			void (*run)(struct fs_job *j))
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);
	struct fs_job *j = job_take_named(fs_session_of(req), req, parent, name);

	if (!j)
		return;
	j->run = run;
	j->mode = mode;
	j->uid = ctx->uid;
	j->gid = ctx->gid;
	j->flags = flags;
	job_post(j);
}

static void ops_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
		       struct fuse_file_info *fi)
{
	post_create(req, parent, name, mode, fi->flags, run_create);
}

static void ops_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
		      dev_t rdev UNUSED)
{
	if (S_ISREG(mode))
		post_create(req, parent, name, mode, O_EXCL, run_mknod);
	else
		fuse_reply_err(req, EPERM);
}

static void run_release(struct fs_job *j)
{
	local_close(local_of(j), j->handle);
	fuse_reply_err(j->req, 0);
}

void fs_release(fuse_req_t req, struct local_handle *h)
{
	struct fs_session *s = fs_session_of(req);
	struct fs_job *j;

	if (local_close_now(s->p.local, h)) {
		fuse_reply_err(req, 0);
		return;
	}
	j = job_take(s, req);
	if (!j)
		return; /* closed with the mount */
	j->run = run_release;
	j->must = true;
	j->handle = h;
	job_post(j);
}

/* ---- writes ---- */

/* The kernel takes what is missing of a page that it writes back for an error; of a write(2) it tells how much there is. */
static void reply_write(fuse_req_t req, const struct fs_job *j, int64_t r)
{
	if (r < 0 && (!j->done || j->flags))
		reply_status(req, (int)r);
	else
		fuse_reply_write(req, j->done);
}

static int64_t write_some(struct wfile *w, uint64_t off, const char *buf, uint64_t len, bool back,
			  bool now)
{
	return back ? wfile_write_back(w, off, buf, len, now)
		    : wfile_write(w, off, buf, len, false, now);
}

static void run_write(struct fs_job *j)
{
	struct wfile *w = local_wfile(j->handle);
	uint64_t at = 0;
	int64_t r = 1;

	while (at < j->len && r > 0) {
		r = write_some(w, j->off + at, j->data + at, j->len - at, j->flags, false);
		at += r > 0 ? (uint64_t)r : 0;
	}
	j->done += at;
	count(&j->session->n_bytes_written, at);
	reply_write(j->req, j, r);
}

static void give_up_write(struct fs_job *j, int code)
{
	reply_write(j->req, j, code);
}

/* @done of it has been written already. */
static void write_later(fuse_req_t req, const char *buf, size_t size, off_t off, size_t done,
			const struct fuse_file_info *fi)
{
	struct fs_session *s = fuse_req_userdata(req);
	struct fs_job *j = job_take(s, req);

	if (!j)
		return;
	j->data = malloc(size - done);
	if (!j->data) {
		fuse_reply_err(req, ENOMEM);
		job_drop(j);
		return;
	}
	memcpy(j->data, buf + done, size - done);
	j->run = run_write;
	j->give_up = give_up_write;
	j->handle = handle_of(fi);
	j->off = (uint64_t)off + done;
	j->len = size - done;
	j->done = done;
	j->flags = fi->writepage;
	j->must = fi->writepage;
	j->lane = fi->writepage ? JOB_LANE_BACK : JOB_LANE_WRITE;
	job_post(j);
}

static void ops_write(fuse_req_t req, fuse_ino_t ino UNUSED, const char *buf, size_t size,
		      off_t off, struct fuse_file_info *fi)
{
	struct fs_session *s = fs_session_of(req);
	struct wfile *w = local_wfile(handle_of(fi));
	int64_t n;

	count(&s->n_writes, 1);
	if (!w) {
		fuse_reply_err(req, EBADF);
		return;
	}
	if (!fs_ring_begin(s, req))
		return;
	n = write_some(w, (uint64_t)off, buf, size, fi->writepage, true);
	fs_ring_end(s);
	if (n > 0)
		count(&s->n_bytes_written, (uint64_t)n);
	if (n == (int64_t)size)
		fuse_reply_write(req, size);
	else if (n >= 0 || n == -EAGAIN)
		write_later(req, buf, size, off, n > 0 ? (size_t)n : 0, fi);
	else
		reply_status(req, (int)n);
}

/* ---- fsync, flush ---- */

static void run_sync(struct fs_job *j)
{
	struct local_sync *sync = (struct local_sync *)j->data;
	int r = local_sync_wait(local_of(j), sync);

	if (job_answers(j))
		reply_status(j->req, r);
	local_sync_end(local_of(j), sync);
}

static void give_up_sync(struct fs_job *j, int code)
{
	reply_status(j->req, code);
	local_sync_end(local_of(j), (struct local_sync *)j->data);
}

static void post_sync(fuse_req_t req, struct local_handle *h, bool closing)
{
	struct fs_job *j = job_take(fs_session_of(req), req);
	struct local_sync *sync = j ? malloc(sizeof *sync) : NULL;

	if (!j)
		return;
	if (!sync || !local_sync_begin(local_of(j), h, closing, sync)) {
		fuse_reply_err(req, sync ? 0 : ENOMEM);
		free(sync);
		job_drop(j);
		return;
	}
	j->data = (char *)sync;
	j->run = run_sync;
	j->give_up = give_up_sync;
	j->detached = true;
	j->lane = JOB_LANE_WAIT;
	job_post(j);
}

static void ops_fsync(fuse_req_t req, fuse_ino_t ino UNUSED, int datasync UNUSED,
		      struct fuse_file_info *fi)
{
	post_sync(req, handle_of(fi), false);
}

static void ops_flush(fuse_req_t req, fuse_ino_t ino UNUSED, struct fuse_file_info *fi)
{
	post_sync(req, handle_of(fi), true);
}

/* ---- attributes ---- */

/* What differs from @now, of what can be changed. */
static struct vmofs_change_attr changed_attr(const struct fs_job *j, const struct stat *now)
{
	struct vmofs_change_attr a = { 0 };

	if (j->flags & FUSE_SET_ATTR_MODE && (j->attr.st_mode ^ now->st_mode) & 07777) {
		a.has |= VMOFS_HAS_MODE;
		a.mode = j->attr.st_mode & 07777;
	}
	if (j->flags & FUSE_SET_ATTR_UID && j->attr.st_uid != now->st_uid) {
		a.has |= VMOFS_HAS_UID;
		a.uid = j->attr.st_uid;
	}
	if (j->flags & FUSE_SET_ATTR_GID && j->attr.st_gid != now->st_gid) {
		a.has |= VMOFS_HAS_GID;
		a.gid = j->attr.st_gid;
	}
	if (j->flags & FUSE_SET_ATTR_MTIME_NOW)
		clock_gettime(CLOCK_REALTIME, &a.mtime);
	else if (j->flags & FUSE_SET_ATTR_MTIME &&
		 (j->attr.st_mtim.tv_sec != now->st_mtim.tv_sec ||
		  j->attr.st_mtim.tv_nsec != now->st_mtim.tv_nsec))
		a.mtime = j->attr.st_mtim;
	return a;
}

static int set_attr_of(const struct fs_job *j, struct local_handle *h,
		       const struct vmofs_change_attr *a)
{
	struct wfile *w = local_wfile(h);
	int r = 0;

	if (j->flags & FUSE_SET_ATTR_SIZE)
		r = wfile_truncate(w, (uint64_t)j->attr.st_size);
	if (!r && (a->has || a->mtime.tv_sec))
		r = wfile_set_attr(w, a);
	return r;
}

/* By the handle that was given, or by one of its own. */
static int set_attr(const struct fs_job *j, const struct vmofs_change_attr *a)
{
	struct local_handle *h = j->handle;
	int r = 0;

	if (!h || !local_wfile(h)) {
		r = local_open_write(local_of(j), j->ino, false, &h);
		if (r < 0)
			return r;
	}
	r = set_attr_of(j, h, a);
	if (h != j->handle)
		local_close(local_of(j), h);
	return r;
}

/* Links are as the mount has them: who sets something of them is told that it is so. */
static int change_attr(const struct fs_job *j, const struct stat *now)
{
	struct vmofs_change_attr a = changed_attr(j, now);
	bool any = a.has || a.mtime.tv_sec;

	if (S_ISREG(now->st_mode) && (any || j->flags & FUSE_SET_ATTR_SIZE))
		return set_attr(j, &a);
	return S_ISDIR(now->st_mode) && any ? local_set_dir_attr(local_of(j), j->ino, &a) : 0;
}

static void run_setattr(struct fs_job *j)
{
	struct fs_tree *t = j->session->p.tree;
	struct fs_tree_attr now;
	int r = t->ops->getattr(t, j->ino, NULL, &now);

	if (!r)
		r = change_attr(j, &now.st);
	if (!r)
		r = t->ops->getattr(t, j->ino, NULL, &now);
	if (r < 0)
		reply_status(j->req, r);
	else
		fs_reply_attr(j->req, &now);
}

static void ops_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set,
			struct fuse_file_info *fi)
{
	struct fs_job *j = job_take(fs_session_of(req), req);

	if (!j)
		return;
	j->run = run_setattr;
	j->ino = ino;
	j->attr = *attr;
	j->flags = to_set;
	j->handle = fi ? handle_of(fi) : NULL;
	job_post(j);
}

/* ---- room ---- */

static int reserve(struct wfile *w, uint64_t end)
{
	struct vmofs_change_attr a;
	uint64_t size;

	wfile_stat(w, &size, &a);
	return end > size ? wfile_truncate(w, end) : 0;
}

static void run_fallocate(struct fs_job *j)
{
	struct wfile *w = local_wfile(j->handle);
	bool keep = j->flags & FALLOC_FL_KEEP_SIZE;
	int r = 0;

	if (j->flags & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE))
		r = wfile_zero(w, j->off, j->len, !keep);
	else if (!keep)
		r = reserve(w, j->off + j->len);
	reply_status(j->req, r);
}

static void ops_fallocate(fuse_req_t req, fuse_ino_t ino UNUSED, int mode, off_t off, off_t len,
			  struct fuse_file_info *fi)
{
	const int known = FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE;
	struct fs_job *j;

	if (mode & ~known || !local_wfile(handle_of(fi))) {
		fuse_reply_err(req, mode & ~known ? EOPNOTSUPP : EBADF);
		return;
	}
	j = job_take(fs_session_of(req), req);
	if (!j)
		return;
	j->run = run_fallocate;
	j->handle = handle_of(fi);
	j->flags = mode;
	j->off = (uint64_t)off;
	j->len = (uint64_t)len;
	job_post(j);
}

void fs_ops_add_write(struct fuse_lowlevel_ops *ops)
{
	ops->create = ops_create;
	ops->mknod = ops_mknod;
	ops->write = ops_write;
	ops->fsync = ops_fsync;
	ops->flush = ops_flush;
	ops->setattr = ops_setattr;
	ops->fallocate = ops_fallocate;
}
