/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A store into a local directory: a new file beside the old one, synced, which takes its place in one step. What has not changed is cloned
 * where the file system can do that, else copied by the kernel; so little is read here. Mode, owner and extended attributes of
 * the old one go along. A thread that may block.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/macros.h"
#include "file/file.h"

#define PIECE MIB(1)
enum { NEW_MODE = 0644 };

struct storing {
	struct file_tree *t;
	struct vmofs_store *st;
	struct file_where where;
	char name[NAME_MAX + 1]; /* temporary, in where.dir; "": there is none */
	int base;                /* what is replaced, opened; -1: nothing is */
	struct stat base_st;
	int fd; /* the new one */
	uint8_t *piece;
};

/* -- contents --------------------------------------------------------------------------------- */

static int write_all(int fd, const uint8_t *p, uint64_t n, uint64_t off)
{
	while (n) {
		ssize_t r = pwrite(fd, p, n, (off_t)off);

		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0)
			return r < 0 ? -errno : -EIO;
		p += r;
		n -= (uint64_t)r;
		off += (uint64_t)r;
	}
	return 0;
}

/* [off, end) as it is in what comes. */
static int write_range(struct storing *g, uint64_t off, uint64_t end)
{
	struct vmofs_store *st = g->st;
	int r = 0;

	while (r == 0 && off < end) {
		uint64_t n = MIN(end - off, PIECE);

		r = st->read(st, off, g->piece, n);
		if (r == 0)
			r = write_all(g->fd, g->piece, n, off);
		if (r == 0 && st->progress)
			st->progress(st, n, 0);
		st->bytes_up += n;
		off += n;
	}
	return r;
}

/* [off, end) of @from by the kernel. -EOPNOTSUPP: it cannot, nothing has been done. */
static int copy_range(int from, int to, uint64_t off, uint64_t end)
{
	while (off < end) {
		loff_t in = (loff_t)off, out = (loff_t)off;
		ssize_t n = copy_file_range(from, &in, to, &out, end - off, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EXDEV || errno == EINVAL || errno == ENOSYS ? -EOPNOTSUPP
										    : -errno;
		if (n == 0)
			return -ESTALE;
		off += (uint64_t)n;
	}
	return 0;
}

/* The data of [off, end) of @from; its holes stay holes. */
static int copy_data(int from, int to, uint64_t off, uint64_t end)
{
	int r = 0;

	while (r == 0 && off < end) {
		off_t data = lseek(from, (off_t)off, SEEK_DATA);
		off_t hole = data < 0 ? -1 : lseek(from, data, SEEK_HOLE);

		if (data < 0 && errno == ENXIO)
			return 0;
		if (data < 0 || hole < 0)
			return copy_range(from, to, off, end);
		if ((uint64_t)data >= end)
			return 0;
		r = copy_range(from, to, (uint64_t)data, MIN((uint64_t)hole, end));
		off = (uint64_t)hole;
	}
	return r;
}

static int keep_range(struct storing *g, uint64_t off, uint64_t end)
{
	int r = copy_data(g->base, g->fd, off, end);

	if (r == -EOPNOTSUPP)
		return write_range(g, off, end);
	if (r == 0) {
		g->st->bytes_copied += end - off;
		if (g->st->progress)
			g->st->progress(g->st, 0, end - off);
	}
	return r;
}

static int write_changed(struct storing *g)
{
	const struct vmofs_store *st = g->st;
	int r = 0;

	for (unsigned i = 0; r == 0 && i < st->n_changed; i++)
		r = write_range(g, st->changed[i].off, st->changed[i].off + st->changed[i].len);
	return r;
}

static int copy_unchanged(struct storing *g)
{
	const struct vmofs_store *st = g->st;
	uint64_t end = st->base.exists ? MIN(st->size, st->base.size) : 0;
	uint64_t off = 0;
	int r = 0;

	for (unsigned i = 0; r == 0 && i < st->n_changed && off < end; i++) {
		r = keep_range(g, off, MIN(st->changed[i].off, end));
		off = st->changed[i].off + st->changed[i].len;
	}
	return r == 0 && off < end ? keep_range(g, off, end) : r;
}

static int write_contents(struct storing *g)
{
	int r = 0;

	if (g->base < 0 || ioctl(g->fd, FICLONE, g->base) < 0)
		r = copy_unchanged(g);
	if (r == 0)
		r = write_changed(g);
	if (r == 0 && ftruncate(g->fd, (off_t)g->st->size) < 0)
		r = -errno;
	return r;
}

/* -- what belongs to it ----------------------------------------------------------------------- */

static int copy_xattr(int from, int to, const char *name)
{
	char value[KIB(64)];
	ssize_t n = fgetxattr(from, name, value, sizeof value);

	if (n < 0)
		return errno == ENODATA ? 0 : -errno;
	/* Some are not everybody's to set, or not any file system's to have. */
	return fsetxattr(to, name, value, (size_t)n, 0) == 0 || errno == EPERM ||
			errno == EOPNOTSUPP || errno == EACCES
		? 0
		: -errno;
}

static int copy_xattrs(int from, int to)
{
	char names[KIB(64)];
	ssize_t n = flistxattr(from, names, sizeof names);
	int r = 0;

	if (n < 0)
		return errno == EOPNOTSUPP ? 0 : -errno;
	for (const char *at = names; r == 0 && at < names + n; at += strlen(at) + 1)
		r = copy_xattr(from, to, at);
	return r;
}

static struct vmofs_change_attr attr_of(const struct stat *st)
{
	return (struct vmofs_change_attr){
		.has = VMOFS_HAS_MODE | VMOFS_HAS_UID | VMOFS_HAS_GID,
		.mode = st->st_mode,
		.uid = st->st_uid,
		.gid = st->st_gid,
	};
}

/* As the old one has it, but for what is said. */
static int write_attr(struct storing *g)
{
	struct vmofs_change_attr a = { .has = VMOFS_HAS_MODE, .mode = NEW_MODE };
	int r = 0;

	if (g->base >= 0) {
		a = attr_of(&g->base_st);
		r = copy_xattrs(g->base, g->fd);
	}
	if (r == 0)
		r = file_set_attr(g->fd, &a);
	if (r == 0 && g->st->attr)
		r = file_set_attr(g->fd, g->st->attr);
	return r;
}

int file_copy(int from, const struct stat *st, int dir, const char *name)
{
	struct vmofs_change_attr a = attr_of(st);
	int fd = openat(dir, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	int r = fd < 0 ? -errno : 0;

	a.mtime = st->st_mtim;
	if (r == 0 && ioctl(fd, FICLONE, from) < 0)
		r = copy_data(from, fd, 0, (uint64_t)st->st_size);
	if (r == 0 && ftruncate(fd, st->st_size) < 0)
		r = -errno;
	if (r == 0)
		r = copy_xattrs(from, fd);
	if (r == 0)
		r = file_set_attr(fd, &a);
	if (r == 0 && fsync(fd) < 0)
		r = -errno;
	if (fd >= 0 && r < 0)
		(void)unlinkat(dir, name, 0);
	fd_closep(&fd);
	return r;
}

/* -- the store -------------------------------------------------------------------------------- */

static bool is_cancelled(const struct vmofs_store *st)
{
	return st->wait.cancel && atomic_load(st->wait.cancel);
}

/* What is replaced, of the version that is expected. */
static int open_base(struct storing *g)
{
	struct stat st;
	char version[FILE_VERSION_MAX];
	int r = file_check(g->t, &g->where, &g->st->base, &st);

	if (r < 0 || !st.st_nlink)
		return r;
	if (!S_ISREG(st.st_mode))
		return -ESTALE;
	g->base =
		openat(g->where.dir, g->where.name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
	if (g->base < 0)
		return errno == ENOENT || errno == ELOOP ? -ESTALE : -errno;
	if (fstat(g->base, &g->base_st) < 0)
		return -errno;
	file_version(&g->base_st, version);
	return !g->st->base.validator[0] || strcmp(version, g->st->base.validator) == 0 ? 0
											: -ESTALE;
}

static int make_file(struct storing *g)
{
	char name[NAME_MAX + 1];

	file_temporary_name(name);
	g->fd = openat(g->where.dir, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (g->fd < 0)
		return -errno;
	memcpy(g->name, name, sizeof name);
	/* So others know that somebody works at it. */
	(void)flock(g->fd, LOCK_SH | LOCK_NB);
	return 0;
}

/* Whoever writes into the old one while it is copied makes another version of it. */
static int check_base(struct storing *g)
{
	struct stat st;

	return file_check(g->t, &g->where, &g->st->base, &st);
}

static int finish(struct storing *g, struct stat *st)
{
	int r = fsync(g->fd) < 0 || fstat(g->fd, st) < 0 ? -errno : 0;

	if (r == 0)
		r = check_base(g);
	if (r < 0)
		return r;
	file_attempt(st, g->st->attempt);
	r = is_cancelled(g->st) ? -EINTR : g->st->commit(g->st);
	if (r != 0)
		return r;
	r = file_replace(g->t, &g->where, g->name, &g->st->base);
	g->name[0] = '\0';
	return r;
}

static int store_anew(struct storing *g, struct stat *st)
{
	int r = make_file(g);

	if (r == 0)
		r = write_contents(g);
	if (r == 0)
		r = write_attr(g);
	return r == 0 ? finish(g, st) : r;
}

/* The contents are the base's. */
static int store_attr(struct storing *g, struct stat *st)
{
	struct vmofs_change_attr none = { 0 };
	int r = file_set_attr(g->base, g->st->attr ? g->st->attr : &none);

	if (r == 0 && fsync(g->base) < 0)
		r = -errno;
	return r == 0 && fstat(g->base, st) < 0 ? -errno : r;
}

static bool is_attributes_only(const struct vmofs_store *st)
{
	return st->base.exists && !st->n_changed && st->size == st->base.size;
}

static int run(struct storing *g, struct stat *st)
{
	int r = file_where(g->t, g->st->key, &g->where);

	if (r == 0)
		r = open_base(g);
	if (r < 0)
		return r;
	g->piece = malloc(PIECE);
	if (!g->piece)
		return -ENOMEM;
	return is_attributes_only(g->st) && g->base >= 0 ? store_attr(g, st) : store_anew(g, st);
}

int file_store(struct vmofs_source *source, struct vmofs_store *st, struct vmofs_err *err)
{
	struct storing g = {
		.t = container_of(source, struct file_tree, base),
		.st = st,
		.where.dir = -1,
		.base = -1,
		.fd = -1,
	};
	bool taken = st->size && st->take && st->take(st, PIECE);
	struct stat now;
	int r = run(&g, &now);

	if (g.name[0])
		(void)unlinkat(g.where.dir, g.name, 0);
	if (taken)
		st->give(st, PIECE);
	st->requests++;
	fd_closep(&g.fd);
	fd_closep(&g.base);
	fd_closep(&g.where.dir);
	free(g.piece);
	if (r < 0)
		return file_error(err, r, "store", g.t, st->key);
	file_version_of(&now, &st->now);
	return 0;
}
