/* SPDX-License-Identifier: Apache-2.0 */
/* What is different about a request that came by a ring; see the header. Ring threads, and set-up. */
#ifndef FUSE_USE_VERSION
#define FUSE_USE_VERSION 312
#endif
#include "fs/uring.h"

#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/macros.h"

#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 18)

static const char parameter[] = "/sys/module/fuse/parameters/enable_uring";

static _Thread_local bool on_ring;
static _Thread_local unsigned ring_thread;
static _Atomic unsigned n_ring_threads;

/* 'Y', 'N', or 0 where the kernel does not have it. */
static char parameter_get(void)
{
	cleanup(fd_closep) int fd = open(parameter, O_RDONLY | O_CLOEXEC);
	char c = '\0';

	return fd >= 0 && read(fd, &c, 1) == 1 ? c : '\0';
}

static int parameter_set(void)
{
	cleanup(fd_closep) int fd = open(parameter, O_WRONLY | O_CLOEXEC);

	return fd < 0 || write(fd, "1", 1) != 1 ? -errno : 0;
}

/* AUTO takes it where it is switched on; the administrator's switch is turned by YES only. */
bool uring_is_wanted(enum fs_choice c)
{
	char now = c == FS_NO ? '\0' : parameter_get();
	int r;

	if (now == 'Y' || c != FS_YES)
		return now == 'Y';
	r = now ? parameter_set() : -ENOSYS;
	if (r < 0)
		log_warn("no io_uring, requests come through /dev/fuse: cannot switch on '%s': %s",
			 parameter, strerror(-r));
	return r == 0;
}

bool uring_enter(struct fuse_req *req)
{
	if (!fuse_req_is_uring(req))
		return false;
	if (!on_ring) {
		on_ring = true;
		ring_thread = atomic_fetch_add(&n_ring_threads, 1);
		pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
	}
	return true;
}

bool uring_on_ring(void)
{
	return on_ring;
}

unsigned uring_thread(void)
{
	return ring_thread;
}

/* libfuse ends its rings at the end of its own loop. */
void uring_stop(struct fuse_session *fuse)
{
	fuse_session_exit(fuse);
	(void)fuse_session_loop(fuse);
}

#else

bool uring_is_wanted(enum fs_choice c)
{
	if (c == FS_YES)
		log_warn(
			"no io_uring, requests come through /dev/fuse: libfuse %s has none, 3.18 is needed",
			fuse_pkgversion());
	return false;
}

bool uring_enter(struct fuse_req *req UNUSED)
{
	return false;
}

bool uring_on_ring(void)
{
	return false;
}

unsigned uring_thread(void)
{
	return 0;
}

void uring_stop(struct fuse_session *fuse UNUSED)
{
}

#endif
