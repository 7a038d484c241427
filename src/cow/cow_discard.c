/* SPDX-License-Identifier: Apache-2.0 */
/* Forgetting what was changed: the folder of a child goes, as long as nobody has it. For programs with one thread; blocks. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/macros.h"
#include "cow/cow.h"
#include "store/cache_io.h"

enum { SOURCE_MAX = 8192, FDS = 16 };

/* Whether the folder at @path is that of a child called @name. */
static bool is_named(const char *path, const char *name)
{
	char text[SOURCE_MAX], file[PATH_MAX], want[PATH_MAX + 8];
	cleanup(fd_closep) int fd = -1;
	size_t len;
	ssize_t n;

	snprintf(want, sizeof want, " as %s\n", name);
	len = strlen(want);
	if (snprintf(file, sizeof file, "%s/source", path) >= (int)sizeof file)
		return false;
	fd = open(file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	n = fd < 0 ? -1 : read(fd, text, sizeof text);
	return n > 0 && (size_t)n >= len && !memcmp(text + (size_t)n - len, want, len);
}

static int remove_one(const char *path, const struct stat *st UNUSED, int type,
		      struct FTW *ftw UNUSED)
{
	return type == FTW_DP ? rmdir(path) : unlink(path);
}

static int discard(const char *path, struct vmofs_err *err)
{
	char file[PATH_MAX];
	cleanup(fd_closep) int fd = -1;

	if (snprintf(file, sizeof file, "%s/lock", path) >= (int)sizeof file)
		return vmofs_err_set(err, -ENAMETOOLONG, "'%s': the name is too long", path);
	fd = open(file, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (fd >= 0 && cache_io_system.lock(fd, F_WRLCK, 0) < 0)
		return vmofs_err_set(err, -EBUSY, "it is mounted; unmount it first");
	if (nftw(path, remove_one, FDS, FTW_DEPTH | FTW_PHYS) < 0)
		return vmofs_err_set(err, -errno, "cannot remove '%s': %s", path, strerror(errno));
	return 0;
}

int cow_discard(const char *dir, const char *name, unsigned *found, struct vmofs_err *err)
{
	DIR *d = opendir(dir);
	const struct dirent *e;
	char path[PATH_MAX];
	int r = 0;

	*found = 0;
	if (!d)
		return errno == ENOENT
			? 0
			: vmofs_err_set(err, -errno, "cannot read '%s': %s", dir, strerror(errno));
	while (!r && (e = readdir(d))) {
		if (e->d_name[0] == '.' ||
		    snprintf(path, sizeof path, "%s/%s", dir, e->d_name) >= (int)sizeof path ||
		    !is_named(path, name))
			continue;
		r = discard(path, err);
		*found += !r;
	}
	closedir(d);
	return r;
}
