/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernel's requests, other than reads of contents. What the namespace knows is answered at once; what
 * it has to ask for waits in pending.c, and the operation is tried again. Runs on the loops, and
 * on whatever thread brings what was waited for.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/log.h"
#include "base/macros.h"
#include "fs/object.h"
#include "fs/session_private.h"

/* One year: what does not change while the mount lives. */
static const double FOREVER = 365 * 24 * 3600.0;

static double seconds(uint64_t ttl_ns)
{
	return ttl_ns == FS_TREE_FOREVER ? FOREVER : (double)ttl_ns / (double)NSEC_PER_SEC;
}

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

/*
 * The kernel stacks nothing below what the cache's files are on (depth 0), so that an overlay fits on top of us. It also
 * takes no file system mounted from one of our files then, which is what `-o passthrough=no` is for.
 */
static void want_passthrough(struct fs_session *s UNUSED, struct fuse_conn_info *conn UNUSED)
{
#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 17)
	if (!fuse_set_feature_flag(conn, FUSE_CAP_PASSTHROUGH)) {
		log_info("no passthrough, files are read through the daemon: it needs Linux 6.9");
		return;
	}
	conn->max_backing_stack_depth = 0;
	passthrough_enable(&s->pass);
#else
	log_info(
		"no passthrough, files are read through the daemon: libfuse %s has none, 3.17 is needed",
		fuse_pkgversion());
#endif
}

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
	/* With what else an open does, and so not seen half done. */
	want(conn, FUSE_CAP_ATOMIC_O_TRUNC, true);
	/* It takes such bits away itself, by SETATTR. */
	want(conn, FUSE_CAP_HANDLE_KILLPRIV, false);
	/* The kernel waits for such reads where no signal reaches it. */
	want(conn, FUSE_CAP_ASYNC_DIO, s->p.async_dio);
	want(conn, FUSE_CAP_PARALLEL_DIROPS, true);
	want(conn, FUSE_CAP_CACHE_SYMLINKS, true);
	/*
	 * Entries of a listing with their attributes, always: the kernel's choice of when (AUTO) makes
	 * `ls -l` look most of them up one by one, and costs `find` more than it spares.
	 */
	want(conn, FUSE_CAP_READDIRPLUS, true);
	want(conn, FUSE_CAP_READDIRPLUS_AUTO, false);
	want(conn, FUSE_CAP_NO_OPENDIR_SUPPORT, !s->p.tree->ops->opendir);
	s->no_opendir = !s->p.tree->ops->opendir && (conn->capable & FUSE_CAP_NO_OPENDIR_SUPPORT);
	/* The kernel sizes its read requests by max_write. */
	conn->max_write = (uint32_t)MIN(conn->max_write, s->p.max_request);
	conn->max_background = s->p.max_background;
	conn->congestion_threshold = s->p.congestion ? s->p.congestion : s->p.max_background;
	if (s->p.local)
		log_debug("no passthrough: files can be changed");
	else if (s->p.passthrough && geteuid() != 0)
		log_info("no passthrough, files are read through the daemon: it needs root");
	else if (s->p.passthrough)
		want_passthrough(s, conn);
	s->greeted = true;
}

/* ---- names and attributes ---- */

static struct fs_tree *tree_of(const struct pending *p)
{
	return p->session->p.tree;
}

void fs_fill_entry(struct fuse_entry_param *e, const struct fs_tree_attr *a)
{
	*e = (struct fuse_entry_param){
		.ino = a->st.st_ino,
		.attr = a->st,
		.entry_timeout = seconds(a->ttl_ns),
		.attr_timeout = seconds(a->attr_ttl_ns),
	};
}

static int try_lookup(struct pending *p)
{
	struct fs_tree *t = tree_of(p);
	struct fs_tree_attr a = { 0 };
	struct fuse_entry_param e;
	int r = t->ops->lookup(t, p->ino, p->name, &p->wait, &a);

	if (r == -EINPROGRESS)
		return r;
	if (r < 0 && (r != -ENOENT || !a.ttl_ns)) {
		fuse_reply_err(p->req, fs_meta_errno(r));
		return 0;
	}
	/* A name that is not there is remembered too, by the number 0. */
	fs_fill_entry(&e, &a);
	e.ino = r < 0 ? 0 : a.st.st_ino;
	if (fuse_reply_entry(p->req, &e) < 0 && e.ino)
		t->ops->forget(t, e.ino, 1);
	return 0;
}

static void ops_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct pending *p;

	if (strlen(name) > PENDING_NAME_MAX) {
		fuse_reply_err(req, ENAMETOOLONG);
		return;
	}
	p = pending_take(fs_session_of(req), req);
	if (!p)
		return;
	p->try = try_lookup;
	p->ino = parent;
	strcpy(p->name, name);
	pending_run(p);
}

static void ops_forget(fuse_req_t req, fuse_ino_t ino, uint64_t n)
{
	struct fs_tree *t = fs_session_of(req)->p.tree;

	t->ops->forget(t, ino, n);
	fuse_reply_none(req);
}

static void ops_forget_multi(fuse_req_t req, size_t n, struct fuse_forget_data *v)
{
	struct fs_tree *t = fs_session_of(req)->p.tree;

	for (size_t i = 0; i < n; i++)
		t->ops->forget(t, v[i].ino, v[i].nlookup);
	fuse_reply_none(req);
}

void fs_reply_attr(fuse_req_t req, const struct fs_tree_attr *a)
{
	fuse_reply_attr(req, &a->st, seconds(a->attr_ttl_ns));
}

static int try_getattr(struct pending *p)
{
	struct fs_tree *t = tree_of(p);
	struct fs_tree_attr a;
	int r = t->ops->getattr(t, p->ino, &p->wait, &a);

	if (r == -EINPROGRESS)
		return r;
	if (r < 0)
		fuse_reply_err(p->req, fs_meta_errno(r));
	else
		fs_reply_attr(p->req, &a);
	return 0;
}

/* Requests that have a node and nothing more. */
static void run_on_node(fuse_req_t req, fuse_ino_t ino, int (*try)(struct pending *p))
{
	struct pending *p = pending_take(fs_session_of(req), req);

	if (!p)
		return;
	p->try = try;
	p->ino = ino;
	pending_run(p);
}

static void ops_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi UNUSED)
{
	run_on_node(req, ino, try_getattr);
}

static int try_readlink(struct pending *p)
{
	struct fs_tree *t = tree_of(p);
	char target[VMOFS_PAGE_SIZE + 1];
	int64_t n = t->ops->readlink(t, p->ino, &p->wait, target, sizeof target - 1);

	if (n == -EINPROGRESS)
		return (int)n;
	if (n < 0) {
		fuse_reply_err(p->req, fs_meta_errno((int)n));
		return 0;
	}
	target[n] = '\0';
	fuse_reply_readlink(p->req, target);
	return 0;
}

static void ops_readlink(fuse_req_t req, fuse_ino_t ino)
{
	run_on_node(req, ino, try_readlink);
}

/* ---- files ---- */

/* Where files can be changed what is open is a handle, else the object itself. */
static struct local_handle *handle_of(const struct fuse_file_info *fi)
{
	return (struct local_handle *)(uintptr_t)fi->fh;
}

static struct fs_object *object_of(fuse_req_t req, const struct fuse_file_info *fi)
{
	const struct fs_session *s = fuse_req_userdata(req);

	return s->p.local ? local_object(handle_of(fi)) : (struct fs_object *)(uintptr_t)fi->fh;
}

/*
 * What the kernel has cached stays, but where it reads by itself from now on it has it twice, and drops it; and where it may be
 * wrong, for all that is known now.
 */
static void set_mode(struct fuse_file_info *fi, struct fs_object *o, int backing)
{
	fi->keep_cache = !backing && !vmo_is_distrusted(o->vmo);
#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 17)
	fi->backing_id = backing;
#endif
}

/* As the kernel is told of it: 0, -EAGAIN (then again from the beginning). @o goes to it from a success on. */
static int open_object(struct fs_session *s, struct fs_object *o, struct fuse_file_info *fi)
{
	struct local_handle *h;
	int backing = 0;
	int r;

	if (s->p.local) {
		r = local_open_read(s->p.local, o, &h);
		fi->fh = r < 0 ? 0 : (uintptr_t)h;
	} else {
		r = passthrough_open(&s->pass, o, &backing);
		fi->fh = (uintptr_t)o;
	}
	if (!r)
		set_mode(fi, o, backing);
	return r;
}

static void close_object(struct fs_session *s, struct fuse_file_info *fi)
{
	struct fs_object *o = (struct fs_object *)(uintptr_t)fi->fh;

	if (s->p.local) {
		if (!local_close_now(s->p.local, handle_of(fi)))
			local_close(s->p.local, handle_of(fi));
		return;
	}
	passthrough_close(&s->pass, o);
	s->p.tree->ops->close(s->p.tree, o);
}

static int try_open(struct pending *p)
{
	struct fs_tree *t = tree_of(p);
	struct fuse_file_info fi = { .noflush = 1 };
	struct fs_object *o;
	int r;

	do {
		o = NULL;
		r = t->ops->open(t, p->ino, &p->wait, &o);
		if (r == -EINPROGRESS)
			return r;
		if (!r)
			r = open_object(p->session, o, &fi);
		if (r < 0)
			t->ops->close(t, o);
	} while (r == -EAGAIN);
	if (r < 0)
		fuse_reply_err(p->req, fs_meta_errno(r));
	else if (fuse_reply_open(p->req, &fi) < 0)
		close_object(p->session, &fi);
	return 0;
}

static void ops_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	const struct fs_session *s = fuse_req_userdata(req);

	if ((fi->flags & O_ACCMODE) == O_RDONLY && !(fi->flags & O_TRUNC))
		run_on_node(req, ino, try_open);
	else if (s->p.local)
		fs_open_write(req, ino, fi->flags);
	else
		fuse_reply_err(req, EROFS);
}

static void ops_release(fuse_req_t req, fuse_ino_t ino UNUSED, struct fuse_file_info *fi)
{
	struct fs_session *s = fuse_req_userdata(req);

	if (s->p.local) {
		fs_release(req, handle_of(fi));
		return;
	}
	close_object(fs_session_of(req), fi);
	fuse_reply_err(req, 0);
}

static void ops_read(fuse_req_t req, fuse_ino_t ino UNUSED, size_t size, off_t off,
		     struct fuse_file_info *fi)
{
	fs_read(req, object_of(req, fi), (uint64_t)off, size);
}

static void ops_ioctl(fuse_req_t req, fuse_ino_t ino UNUSED, unsigned cmd, void *arg UNUSED,
		      struct fuse_file_info *fi, unsigned flags, const void *in, size_t n_in,
		      size_t n_out UNUSED)
{
	if (flags & FUSE_IOCTL_DIR)
		fuse_reply_err(req, ENOTTY);
	else
		fs_ioctl(req, object_of(req, fi), cmd, in, n_in);
}

/* ---- directories ---- */

static void ops_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct fs_session *s = fs_session_of(req);
	struct fs_tree *t = s->p.tree;
	int r = 0;

	/* Nothing changes: the kernel need not ask again, and may keep what it reads. */
	if (!t->ops->opendir && s->no_opendir)
		r = -ENOSYS;
	else if (t->ops->opendir)
		r = t->ops->opendir(t, ino);
	if (r < 0) {
		fuse_reply_err(req, r == -ENOSYS ? ENOSYS : fs_meta_errno(r));
		return;
	}
	fi->noflush = 1;
	if (fuse_reply_open(req, fi) < 0 && t->ops->releasedir)
		t->ops->releasedir(t, ino);
}

static void ops_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi UNUSED)
{
	struct fs_tree *t = fs_session_of(req)->p.tree;

	if (t->ops->releasedir)
		t->ops->releasedir(t, ino);
	fuse_reply_err(req, 0);
}

struct dirents {
	fuse_req_t req;
	char *buf;
	size_t len;
	size_t cap;
	bool plus;
};

static size_t dirents_put(struct dirents *d, const struct fs_tree_entry *e)
{
	char *to = d->buf + d->len;
	size_t room = d->cap - d->len;
	struct fuse_entry_param p;

	if (!d->plus)
		return fuse_add_direntry(d->req, to, room, e->name, &e->attr->st, (off_t)e->next);
	fs_fill_entry(&p, e->attr);
	/* Without a number the kernel takes the name alone, and looks it up when it needs more. */
	if (!e->whole)
		p.ino = 0;
	return fuse_add_direntry_plus(d->req, to, room, e->name, &p, (off_t)e->next);
}

static bool dirents_add(void *arg, const struct fs_tree_entry *e)
{
	struct dirents *d = arg;
	size_t n = dirents_put(d, e);

	if (n > d->cap - d->len)
		return false;
	d->len += n;
	return true;
}

/* The kernel does not want the answer any more: it has taken no reference either. */
static void dirents_undo(const struct dirents *d, struct fs_tree *t)
{
	for (size_t at = 0; d->plus && at < d->len;) {
		struct fuse_direntplus e;

		memcpy(&e, d->buf + at, sizeof e);
		if (e.entry_out.nodeid)
			t->ops->forget(t, e.entry_out.nodeid, 1);
		at += FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET_DIRENTPLUS + e.dirent.namelen);
	}
}

static int try_readdir_as(struct pending *p, bool plus)
{
	struct fs_tree *t = tree_of(p);
	cleanup(mem_freep) char *buf = malloc(p->size);
	struct dirents d = { .req = p->req, .buf = buf, .cap = p->size, .plus = plus };
	int r = buf ? t->ops->readdir(t, p->ino, p->off, plus, &p->wait, dirents_add, &d) : -ENOMEM;

	if (r == -EINPROGRESS)
		return r;
	if (r < 0)
		fuse_reply_err(p->req, fs_meta_errno(r));
	else if (fuse_reply_buf(p->req, d.buf, d.len) < 0)
		dirents_undo(&d, t);
	return 0;
}

static int try_readdir(struct pending *p)
{
	return try_readdir_as(p, false);
}

static int try_readdirplus(struct pending *p)
{
	return try_readdir_as(p, true);
}

static void run_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
			int (*try)(struct pending *p))
{
	struct pending *p = pending_take(fs_session_of(req), req);

	if (!p)
		return;
	p->try = try;
	p->ino = ino;
	p->size = size;
	p->off = (uint64_t)off;
	pending_run(p);
}

static void ops_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
			struct fuse_file_info *fi UNUSED)
{
	run_readdir(req, ino, size, off, try_readdir);
}

static void ops_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
			    struct fuse_file_info *fi UNUSED)
{
	run_readdir(req, ino, size, off, try_readdirplus);
}

/* The origin does not say how much room it has. */
static void fill_room(struct statvfs *st)
{
	st->f_flag = 0;
	st->f_bfree = st->f_bavail = GIB(1) * KIB(1) / VMOFS_PAGE_SIZE;
	st->f_blocks += st->f_bfree;
	st->f_ffree = st->f_favail = UINT32_MAX;
	st->f_files += st->f_ffree;
}

static void ops_statfs(fuse_req_t req, fuse_ino_t ino UNUSED)
{
	struct fs_session *s = fs_session_of(req);
	struct fs_tree *t = s->p.tree;
	struct fs_tree_stats ts;
	struct statvfs st = {
		.f_bsize = VMOFS_PAGE_SIZE,
		.f_frsize = VMOFS_PAGE_SIZE,
		.f_namemax = 255,
		.f_flag = ST_RDONLY,
	};

	t->ops->stats(t, &ts);
	st.f_blocks = (ts.file_bytes + VMOFS_PAGE_SIZE - 1) / VMOFS_PAGE_SIZE;
	st.f_files = ts.nodes;
	if (s->p.local)
		fill_room(&st);
	fuse_reply_statfs(req, &st);
}

/* ---- extended attributes ---- */

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

static const char xattr_prefix[] = "user.vmofs.";

/* The object tells them all; it is made for it where nobody has the file open. */
static int try_getxattr(struct pending *p)
{
	struct fs_tree *t = tree_of(p);
	cleanup(mem_freep) char *value = NULL;
	struct fs_object *o = NULL;
	int64_t len;
	int r = t->ops->open(t, p->ino, &p->wait, &o);

	if (r == -EINPROGRESS)
		return r;
	if (r == -EISDIR || r == -ELOOP)
		r = -ENODATA;
	len = r < 0 ? r : fs_object_xattr(o, p->name, &value);
	if (len < 0)
		len = -fs_meta_errno((int)len);
	reply_xattr(p->req, value, len, p->size);
	t->ops->close(t, o);
	return 0;
}

/*
 * Others ask for security labels and lists of rights at every turn: two questions a file by `ls -l`, nine
 * tenths of its time in a large tree. ENOSYS is the one answer after which the kernel asks no more.
 */
static void ops_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
	struct fs_session *s = fs_session_of(req);
	struct pending *p;

	if (!s->p.xattrs) {
		fuse_reply_err(req, ENOSYS);
		return;
	}
	if (strncmp(name, xattr_prefix, sizeof xattr_prefix - 1) ||
	    strlen(name) > PENDING_NAME_MAX) {
		fuse_reply_err(req, ENODATA);
		return;
	}
	p = pending_take(s, req);
	if (!p)
		return;
	p->try = try_getxattr;
	p->ino = ino;
	p->size = size;
	strcpy(p->name, name);
	pending_run(p);
}

/* Of a file that nobody has open only what every file has: `ls` may ask for thousands of them. */
static void ops_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
	static const char always[] = "user.vmofs.url\0user.vmofs.resident";
	struct fs_session *s = fs_session_of(req);
	struct fs_tree *t = s->p.tree;
	struct fs_object *o = t->ops->find(t, ino);
	cleanup(mem_freep) char *names = NULL;
	struct fs_tree_attr a;
	int64_t len = 0;

	if (!s->p.xattrs)
		len = -ENOSYS;
	else if (o)
		len = fs_object_xattr_list(o, &names);
	else if (t->ops->getattr(t, ino, NULL, &a) == 0 && S_ISREG(a.st.st_mode))
		len = sizeof always;
	reply_xattr(req, o ? names : always, len, size);
	t->ops->close(t, o);
}

const struct fuse_lowlevel_ops fs_ops = {
	.init = ops_init,
	.lookup = ops_lookup,
	.forget = ops_forget,
	.forget_multi = ops_forget_multi,
	.getattr = ops_getattr,
	.readlink = ops_readlink,
	.open = ops_open,
	.read = ops_read,
	.ioctl = ops_ioctl,
	.release = ops_release,
	.opendir = ops_opendir,
	.readdir = ops_readdir,
	.readdirplus = ops_readdirplus,
	.releasedir = ops_releasedir,
	.statfs = ops_statfs,
	.getxattr = ops_getxattr,
	.listxattr = ops_listxattr,
};
