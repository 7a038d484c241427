/* SPDX-License-Identifier: Apache-2.0 */
/* The system's own calls behind the table of cache_io.h. No state; any thread. */
#include "store/cache_io.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "base/macros.h"

static int sys_openat(int dir, const char *path, int flags, mode_t mode)
{
	return openat(dir, path, flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, mode);
}

static int sys_unlinkat(int dir, const char *path)
{
	return unlinkat(dir, path, 0);
}

static int sys_renameat(int dir, const char *from, const char *to)
{
	return renameat(dir, from, dir, to);
}

static int sys_list(int dir, int (*fn)(void *arg, const char *name), void *arg)
{
	int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0, e;
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *ent;

	if (!d) {
		fd_closep(&fd);
		return -1;
	}
	while (r == 0 && (errno = 0, ent = readdir(d)))
		if (strcmp(ent->d_name, ".") != 0 && strcmp(ent->d_name, "..") != 0)
			r = fn(arg, ent->d_name);
	e = errno;
	closedir(d);
	errno = e;
	return r == 0 && e != 0 ? -1 : r;
}

static int sys_fstatat(int dir, const char *path, struct stat *st)
{
	return fstatat(dir, path, st, AT_SYMLINK_NOFOLLOW);
}

static off_t sys_seek_data(int fd, off_t off)
{
	return lseek(fd, off, SEEK_DATA);
}

static ssize_t sys_pwritev(int fd, const struct iovec *iov, int n, off_t off)
{
	return pwritev(fd, iov, n, off);
}

static int sys_lock(int fd, short type, off_t byte)
{
	struct flock l = { .l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1 };

	return fcntl(fd, F_OFD_SETLK, &l);
}

static int sys_is_locked(int fd, off_t byte, off_t n)
{
	struct flock l = {
		.l_type = F_WRLCK,
		.l_whence = SEEK_SET,
		.l_start = byte,
		.l_len = n,
	};

	if (fcntl(fd, F_OFD_GETLK, &l) < 0)
		return -1;
	return l.l_type != F_UNLCK;
}

static uint64_t clock_of(clockid_t id, uint64_t per_second)
{
	struct timespec t;

	clock_gettime(id, &t);
	return (uint64_t)t.tv_sec * per_second + (uint64_t)t.tv_nsec * per_second / 1000000000u;
}

static uint64_t sys_now_sec(void)
{
	return clock_of(CLOCK_REALTIME, 1);
}

static uint64_t sys_now_ms(void)
{
	return clock_of(CLOCK_MONOTONIC, 1000);
}

const struct cache_io cache_io_system = {
	.openat = sys_openat,
	.close = close,
	.mkdirat = mkdirat,
	.unlinkat = sys_unlinkat,
	.renameat = sys_renameat,
	.list = sys_list,
	.pread = pread,
	.pwritev = sys_pwritev,
	.fallocate = fallocate,
	.fdatasync = fdatasync,
	.fsync = fsync,
	.ftruncate = ftruncate,
	.fchmod = fchmod,
	.fstat = fstat,
	.fstatat = sys_fstatat,
	.seek_data = sys_seek_data,
	.fstatvfs = fstatvfs,
	.lock = sys_lock,
	.is_locked = sys_is_locked,
	.flock = flock,
	.now_sec = sys_now_sec,
	.now_ms = sys_now_ms,
};
