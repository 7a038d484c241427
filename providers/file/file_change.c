/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Changes of files in a local directory: names, attributes, and how a finished file takes the place of another. A thread that may block.
 *
 * What is replaced is exchanged for what is new in one system call, and then looked at: where it is not what was expected, they are
 * exchanged back. Where the file system has no exchange, there is a moment between looking and renaming.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/macros.h"
#include "file/file.h"

/* -- what all need ---------------------------------------------------------------------------- */

int file_error(struct vmofs_err *err, int code, const char *verb, const struct file_tree *t,
	       const char *key)
{
	static const int known[] = { -ESTALE, -ENOENT,    -EACCES,     -EFBIG,    -ENAMETOOLONG,
				     -ENOSPC, -EDQUOT,    -EOPNOTSUPP, -EIO,      -ETIMEDOUT,
				     -EINTR,  -ECANCELED, -ENOMEM,     -ENOTEMPTY };
	const char *why = strerror(-code);
	int told = code == -EPERM || code == -EROFS ? -EACCES : -EIO;

	for (size_t i = 0; i < ARRAY_LEN(known); i++)
		if (known[i] == code)
			told = code;
	if (code == -ESTALE)
		why = "another version is there";
	return vmofs_err_set(err, told, "cannot %s '%s/%s': %s", verb, t->path, key, why);
}

void file_version_of(const struct stat *st, struct vmofs_version *out)
{
	*out = (struct vmofs_version){
		.exists = true,
		.size = (uint64_t)st->st_size,
		.mtime = st->st_mtim,
	};
	file_version(st, out->validator);
}

static bool is_expected(const struct vmofs_version *expect, const struct stat *st)
{
	char version[FILE_VERSION_MAX];

	if (!expect->exists || !st->st_nlink)
		return expect->exists == (st->st_nlink > 0);
	file_version(st, version);
	return !expect->validator[0] || strcmp(version, expect->validator) == 0;
}

int file_check(const struct file_tree *t, const struct file_where *w,
	       const struct vmofs_version *expect, struct stat *st)
{
	int r = file_stat_at(t, w, st);

	if (r == -ENOENT)
		*st = (struct stat){ 0 };
	else if (r < 0)
		return r;
	return !expect || is_expected(expect, st) ? 0 : -ESTALE;
}

void file_temporary_name(char out[NAME_MAX + 1])
{
	char random[VMOFS_ATTEMPT_LEN + 1];

	vmofs_attempt_new(random);
	snprintf(out, NAME_MAX + 1, "%s%s", FILE_TEMPORARY, random);
}

/* A name lasts only when its directory does. */
static int sync_dir(int dir)
{
	return fsync(dir) == 0 || errno == EINVAL ? 0 : -errno;
}

/* They want a file that may be written, whatever it was opened for; its owner may make it one. */
static int set_xattrs(int fd, mode_t mode, const struct vmofs_xattrs *x)
{
	int r = file_set_xattrs(fd, x);

	if (r != -EACCES || mode & S_IWUSR || fchmod(fd, mode | S_IWUSR) < 0)
		return r;
	r = file_set_xattrs(fd, x);
	return fchmod(fd, mode) < 0 && r == 0 ? -errno : r;
}

int file_set_attr(int fd, const struct vmofs_change_attr *attr)
{
	struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, attr->mtime };
	uid_t uid = attr->has & VMOFS_HAS_UID ? attr->uid : (uid_t)-1;
	gid_t gid = attr->has & VMOFS_HAS_GID ? attr->gid : (gid_t)-1;
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	/* Only root can give files away: whoever else tries has them as they are. */
	if ((uid != (uid_t)-1 && uid != st.st_uid) || (gid != (gid_t)-1 && gid != st.st_gid))
		if (fchown(fd, uid, gid) < 0 && errno != EPERM)
			return -errno;
	/* Before the mode, which may forbid that. */
	if (attr->xattrs) {
		int r = set_xattrs(fd, st.st_mode & 07777, attr->xattrs);

		if (r < 0)
			return r;
	}
	if (attr->has & VMOFS_HAS_MODE && fchmod(fd, attr->mode & 07777) < 0)
		return -errno;
	if (attr->mtime.tv_sec && futimens(fd, times) < 0)
		return -errno;
	return 0;
}

/* -- replacing -------------------------------------------------------------------------------- */

/* What is there is not what was expected: it is put back, unless that has been replaced again. */
static int exchange_back(const struct file_where *w, const char *name, const struct stat *ours)
{
	struct stat st;

	if (fstatat(w->dir, w->name, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_ino == ours->st_ino)
		(void)renameat2(w->dir, name, w->dir, w->name, RENAME_EXCHANGE);
	(void)unlinkat(w->dir, name, 0);
	return -ESTALE;
}

static int exchange(const struct file_tree *t, const struct file_where *w, const char *name,
		    const struct vmofs_version *expect)
{
	struct file_where temporary = { .dir = w->dir };
	struct stat ours, theirs;

	strcpy(temporary.name, name);
	if (fstatat(w->dir, name, &ours, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	if (renameat2(w->dir, name, w->dir, w->name, RENAME_EXCHANGE) < 0)
		return errno == ENOENT ? -ESTALE : -errno;
	if (file_check(t, &temporary, expect, &theirs) < 0)
		return exchange_back(w, name, &ours);
	if (unlinkat(w->dir, name, 0) < 0)
		return -errno;
	return 0;
}

static int rename_over(const struct file_tree *t, const struct file_where *w, const char *name,
		       const struct vmofs_version *expect)
{
	struct stat st;
	int r = file_check(t, w, expect, &st);

	if (r == 0 && renameat(w->dir, name, w->dir, w->name) < 0)
		r = -errno;
	return r;
}

static int rename_new(const struct file_tree *t, const struct file_where *w, const char *name,
		      const struct vmofs_version *expect)
{
	if (renameat2(w->dir, name, w->dir, w->name, RENAME_NOREPLACE) == 0)
		return 0;
	if (errno == EEXIST)
		return -ESTALE;
	return errno == EINVAL ? rename_over(t, w, name, expect) : -errno;
}

int file_replace(const struct file_tree *t, const struct file_where *w, const char *name,
		 const struct vmofs_version *expect)
{
	int r;

	if (!expect) {
		r = renameat(w->dir, name, w->dir, w->name) < 0 ? -errno : 0;
	} else if (!expect->exists) {
		r = rename_new(t, w, name, expect);
	} else {
		r = exchange(t, w, name, expect);
		if (r == -EINVAL || r == -ENOSYS)
			r = rename_over(t, w, name, expect);
	}
	if (r < 0)
		(void)unlinkat(w->dir, name, 0);
	return r < 0 ? r : sync_dir(w->dir);
}

/* -- the operations --------------------------------------------------------------------------- */

static struct file_tree *tree_of(struct vmofs_source *s)
{
	return container_of(s, struct file_tree, base);
}

void file_attempt(const struct stat *st, char out[VMOFS_ATTEMPT_LEN + 1])
{
	snprintf(out, VMOFS_ATTEMPT_LEN + 1, "%016" PRIx64 "%016" PRIx64, (uint64_t)st->st_ino,
		 (uint64_t)st->st_mtim.tv_sec * NSEC_PER_SEC + (uint64_t)st->st_mtim.tv_nsec);
}

static int change_attempted(struct vmofs_source *s, const char *key, const char *attempt,
			    struct vmofs_version *now, const struct vmofs_change_wait *wait UNUSED,
			    struct vmofs_err *err)
{
	char text[VMOFS_ATTEMPT_LEN + 1];
	struct file_where w;
	struct stat st;
	int r = file_where(tree_of(s), key, &w);

	*now = (struct vmofs_version){ .exists = false };
	if (r == 0)
		r = file_stat_at(tree_of(s), &w, &st);
	fd_closep(&w.dir);
	if (r < 0)
		return r == -ENOENT ? 0 : file_error(err, r, "look up", tree_of(s), key);
	file_version_of(&st, now);
	file_attempt(&st, text);
	return strcmp(text, attempt) == 0;
}

static int change_remove(struct vmofs_source *s, const char *key,
			 const struct vmofs_version *expect,
			 const struct vmofs_change_wait *wait UNUSED, struct vmofs_err *err)
{
	bool dir = key[0] && key[strlen(key) - 1] == '/';
	struct file_where w;
	struct stat st;
	int r = file_where(tree_of(s), key, &w);

	if (r == 0)
		r = file_check(tree_of(s), &w, expect, &st);
	if (r == -ESTALE && !st.st_nlink)
		r = -ENOENT;
	if (r == 0 && unlinkat(w.dir, w.name, dir ? AT_REMOVEDIR : 0) < 0)
		r = -errno;
	if (r == 0)
		r = sync_dir(w.dir);
	fd_closep(&w.dir);
	if (r == -ENOENT && !expect)
		return 0;
	return r < 0 ? file_error(err, r, "remove", tree_of(s), key) : 0;
}

/*
 * Another name of the same file: whoever copies here is about to remove the first one. @name: a temporary one in @to->dir. A link where
 * the file system has them, else a copy.
 */
static int copy_to(const struct file_tree *t, const struct file_where *from,
		   const struct file_where *to, const char *name, const struct stat *st)
{
	int fd, r;

	if (linkat(from->dir, from->name, to->dir, name, 0) == 0)
		return 0;
	if (errno != EPERM && errno != EOPNOTSUPP && errno != EMLINK)
		return -errno;
	fd = openat(from->dir, from->name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return -errno;
	r = file_copy(fd, st, to->dir, name);
	close(fd);
	(void)t;
	return r;
}

static int copy_between(const struct file_tree *t, const struct file_where *from,
			const struct vmofs_version *expect, const struct file_where *to,
			const struct vmofs_version *to_expect, struct stat *st)
{
	char name[NAME_MAX + 1];
	int r = file_check(t, from, expect, st);

	if (r == -ESTALE && !st->st_nlink)
		r = -ENOENT;
	if (r == 0 && !st->st_nlink)
		r = -ENOENT;
	file_temporary_name(name);
	if (r == 0)
		r = copy_to(t, from, to, name, st);
	if (r == 0)
		r = file_replace(t, to, name, to_expect);
	if (r == 0)
		r = file_stat_at(t, to, st);
	return r;
}

static int change_copy(struct vmofs_source *s, const char *from, const struct vmofs_version *expect,
		       const char *to, const struct vmofs_version *to_expect,
		       struct vmofs_version *now, const struct vmofs_change_wait *wait UNUSED,
		       struct vmofs_err *err)
{
	struct file_where a, b = { .dir = -1 };
	struct stat st;
	int r = file_where(tree_of(s), from, &a);

	if (r == 0)
		r = file_where(tree_of(s), to, &b);
	if (r == 0)
		r = copy_between(tree_of(s), &a, expect, &b, to_expect, &st);
	fd_closep(&a.dir);
	fd_closep(&b.dir);
	if (r < 0)
		return file_error(err, r, "copy", tree_of(s), from);
	file_version_of(&st, now);
	return 0;
}

static int made(struct file_tree *t, int r, struct file_where *w, const char *key,
		struct vmofs_err *err)
{
	if (r == 0)
		r = sync_dir(w->dir);
	fd_closep(&w->dir);
	if (r == -EEXIST)
		r = -ESTALE;
	return r < 0 ? file_error(err, r, "make", t, key) : 0;
}

static int set_attr_at(const struct file_where *w, int flags, const struct vmofs_change_attr *attr)
{
	int fd = openat(w->dir, w->name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW | flags);
	int r = fd < 0 ? -errno : file_set_attr(fd, attr);

	fd_closep(&fd);
	return r;
}

static int change_make_dir(struct vmofs_source *s, const char *key,
			   const struct vmofs_change_attr *attr,
			   const struct vmofs_change_wait *wait UNUSED, struct vmofs_err *err)
{
	struct vmofs_change_attr a = attr ? *attr : (struct vmofs_change_attr){ 0 };
	struct file_where w;
	int r = file_where(tree_of(s), key, &w);

	if (r == 0 && mkdirat(w.dir, w.name, a.has & VMOFS_HAS_MODE ? a.mode & 07777 : 0777) < 0)
		r = -errno;
	a.mtime = (struct timespec){ 0 };
	if (r == 0)
		r = set_attr_at(&w, O_DIRECTORY, &a);
	return made(tree_of(s), r, &w, key, err);
}

static int change_make_link(struct vmofs_source *s, const char *key, const char *target,
			    const struct vmofs_change_attr *attr UNUSED, struct vmofs_version *now,
			    const struct vmofs_change_wait *wait UNUSED, struct vmofs_err *err)
{
	struct file_where w;
	struct stat st;
	int r = file_where(tree_of(s), key, &w);

	if (r == 0 && symlinkat(target, w.dir, w.name) < 0)
		r = -errno;
	if (r == 0)
		r = file_stat_at(tree_of(s), &w, &st);
	if (r == 0)
		file_version_of(&st, now);
	return made(tree_of(s), r, &w, key, err);
}

static int change_set_attr(struct vmofs_source *s, const char *key,
			   const struct vmofs_version *expect, const struct vmofs_change_attr *attr,
			   struct vmofs_version *now, const struct vmofs_change_wait *wait UNUSED,
			   struct vmofs_err *err)
{
	struct file_where w;
	struct stat st;
	int r = file_where(tree_of(s), key, &w);

	if (r == 0)
		r = file_check(tree_of(s), &w, expect, &st);
	if (r == 0)
		r = set_attr_at(&w, 0, attr);
	if (r == 0)
		r = file_stat_at(tree_of(s), &w, &st);
	fd_closep(&w.dir);
	if (r < 0)
		return file_error(err, r, "change", tree_of(s), key);
	file_version_of(&st, now);
	return 0;
}

const struct vmofs_change_ops file_change_ops = {
	.real_dirs = true,
	.store = file_store,
	.attempted = change_attempted,
	.remove = change_remove,
	.copy = change_copy,
	.make_dir = change_make_dir,
	.set_attr = change_set_attr,
	.make_link = change_make_link,
	.get_xattrs = file_get_xattrs,
	.can_xattrs = file_can_xattrs,
};
