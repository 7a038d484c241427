/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Extended attributes of local files: user.* are those of a file here too, all others stay as they are. A thread that may block.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/macros.h"
#include "file/file.h"

/* All names of a file; the kernel has no more. */
struct names {
	char text[KIB(64)];
	ssize_t n;
};

static int names_of(int fd, struct names *out)
{
	out->n = flistxattr(fd, out->text, sizeof out->text);
	return out->n < 0 ? -errno : 0;
}

static bool is_ours(const char *name)
{
	return strncmp(name, "user.", 5) == 0;
}

/* -- reading ---------------------------------------------------------------------------------- */

static int add_one(int fd, const char *name, struct vmofs_xattrs **set)
{
	char value[VMOFS_XATTRS_MAX];
	ssize_t n = fgetxattr(fd, name, value, sizeof value);
	struct vmofs_xattr a = { .name = name, .value = value };
	struct vmofs_xattrs *more;
	int r;

	if (n < 0)
		return errno == ENODATA ? 0 : errno == ERANGE ? -E2BIG : -errno;
	a.len = (uint32_t)n;
	r = vmofs_xattrs_with(*set, &a, VMOFS_XATTRS_SET, &more);
	if (r < 0)
		return r == -ENOSPC ? -E2BIG : r;
	vmofs_xattrs_put(*set);
	*set = more;
	return 0;
}

static int read_all(int fd, struct vmofs_xattrs **out)
{
	struct vmofs_xattrs *set = vmofs_xattrs_get(&vmofs_xattrs_none);
	struct names names;
	int r = names_of(fd, &names);

	for (const char *at = names.text; r == 0 && at < names.text + names.n; at += strlen(at) + 1)
		if (is_ours(at))
			r = add_one(fd, at, &set);
	if (r < 0 && r != -EOPNOTSUPP) {
		vmofs_xattrs_put(set);
		return r;
	}
	*out = set;
	return 0;
}

int file_get_xattrs(struct vmofs_source *s, const char *key, struct vmofs_xattrs **out,
		    const struct vmofs_change_wait *wait UNUSED, struct vmofs_err *err)
{
	struct file_tree *t = container_of(s, struct file_tree, base);
	struct file_where w;
	int r = file_where(t, key, &w);
	int fd = -1;

	if (r == 0)
		fd = openat(w.dir, w.name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
	if (r == 0)
		r = fd < 0 ? -errno : read_all(fd, out);
	fd_closep(&fd);
	fd_closep(&w.dir);
	if (r == -E2BIG)
		return vmofs_err_set(err, r, "'%s/%s' has more than %u bytes of them", t->path, key,
				     VMOFS_XATTRS_MAX);
	return r < 0 ? file_error(err, r, "read the attributes of", t, key) : 0;
}

/* -- writing ---------------------------------------------------------------------------------- */

static int remove_others(int fd, const struct vmofs_xattrs *x)
{
	struct vmofs_xattr a;
	struct names names;
	int r = names_of(fd, &names);

	if (r == -EOPNOTSUPP)
		return 0;
	for (const char *at = names.text; r == 0 && at < names.text + names.n; at += strlen(at) + 1)
		if (is_ours(at) && !vmofs_xattrs_find(x, at, &a) && fremovexattr(fd, at) < 0 &&
		    errno != ENODATA)
			r = -errno;
	return r;
}

/* What others may have put into an object's metadata, of other kinds than user.*, is not for here. */
int file_set_xattrs(int fd, const struct vmofs_xattrs *x)
{
	struct vmofs_xattr a;
	uint32_t at = 0;
	int r = remove_others(fd, x);

	while (r == 0 && vmofs_xattrs_next(x, &at, &a))
		if (is_ours(a.name) && fsetxattr(fd, a.name, a.value, a.len, 0) < 0)
			r = -errno;
	return r;
}

/* ext4 has them in one block, each with a head and on a border of four bytes; others have more room. */
enum { EXT4_HEAD = 24, EXT4_ROOM = 4000 };

int file_can_xattrs(struct vmofs_source *s, const struct vmofs_xattrs *x, struct vmofs_err *err)
{
	struct file_tree *t = container_of(s, struct file_tree, base);
	struct vmofs_xattr a;
	uint32_t at = 0, need = 0;
	char value[1];

	if (fgetxattr(t->fd, "user.vmofs.none", value, sizeof value) < 0 && errno == EOPNOTSUPP)
		return vmofs_err_set(err, -EOPNOTSUPP, "the file system of '%s' has none", t->path);
	while (vmofs_xattrs_next(x, &at, &a))
		need += EXT4_HEAD + (uint32_t)strlen(a.name) + a.len;
	if (need > EXT4_ROOM)
		return vmofs_err_set(err, -ENOSPC, "they take %u bytes, and there is room for %u",
				     need, (unsigned)EXT4_ROOM);
	return 0;
}
