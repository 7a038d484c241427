/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every system call of the disk cache and of the journal, and their clocks, so that tests can count them, make each of them fail
 * and stop the world after any of them. Members return what the system calls do: -1 and errno, not
 * -errno. A member that is not mentioned in a test's table is copied from cache_io_system.
 */
#ifndef STORE_CACHE_IO_H
#define STORE_CACHE_IO_H

#include <stdint.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/types.h>
#include <sys/uio.h>

struct cache_io {
	int (*openat)(int dir, const char *path, int flags, mode_t mode);
	int (*close)(int fd);
	int (*mkdirat)(int dir, const char *path, mode_t mode);
	int (*unlinkat)(int dir, const char *path);
	int (*renameat)(int dir, const char *from, const char *to);
	/* Calls @fn for each name in the directory @dir, but . and ..; not 0 ends it, and is returned. */
	int (*list)(int dir, int (*fn)(void *arg, const char *name), void *arg);
	ssize_t (*pread)(int fd, void *buf, size_t n, off_t off);
	ssize_t (*pwritev)(int fd, const struct iovec *iov, int n, off_t off);
	int (*fallocate)(int fd, int mode, off_t off, off_t len);
	int (*fdatasync)(int fd);
	int (*fsync)(int fd); /* of directories */
	int (*ftruncate)(int fd, off_t len);
	int (*fchmod)(int fd, mode_t mode);
	int (*fstat)(int fd, struct stat *st);
	int (*fstatat)(int dir, const char *path, struct stat *st);
	off_t (*seek_data)(int fd,
			   off_t off); /* where data begins, at or behind @off; -1: nowhere */
	int (*fstatvfs)(int fd, struct statvfs *st);
	/* An OFD lock of one byte, F_RDLCK, F_WRLCK or F_UNLCK; never waits. */
	int (*lock)(int fd, short type, off_t byte);
	/* Whether another open file holds a lock on one of [byte, byte + n): 1, 0, -1. */
	int (*is_locked)(int fd, off_t byte, off_t n);
	int (*flock)(int fd, int op);
	uint64_t (*now_sec)(void); /* CLOCK_REALTIME: what is kept */
	uint64_t (*now_ms)(void);  /* CLOCK_MONOTONIC: pauses */
};

extern const struct cache_io cache_io_system;

#endif
