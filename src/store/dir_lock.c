/* SPDX-License-Identifier: Apache-2.0 */
#include "store/dir_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/macros.h"

enum { LOOK_MS = 20, LOOKS = 1500, OWNER_LEN = 48 };

/* A process, however often its number is used again. */
struct owner {
	int pid;
	uint64_t start; /* in ticks since the machine began; 0: not known */
};

/* -- processes -------------------------------------------------------------------------------- */

/* What /proc/@pid/@name says; false: there is no such process to be seen. */
static bool proc_read(int pid, const char *name, char *buf, size_t cap)
{
	char path[64];
	ssize_t n;
	int fd;

	snprintf(path, sizeof path, "/proc/%d/%s", pid, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, buf, cap - 1);
	if (fd >= 0)
		close(fd);
	buf[MAX(n, 0)] = '\0';
	return n > 0;
}

/* Field 22 of proc_pid_stat(5); the name, field 2, may have anything in it. 0: not to be had. */
static uint64_t process_start(int pid)
{
	char text[1024], *p;
	uint64_t start = 0;

	p = proc_read(pid, "stat", text, sizeof text) ? strrchr(text, ')') : NULL;
	for (unsigned field = 2; p && field < 22; field++)
		p = strchr(p + 1, ' ');
	return p && sscanf(p, " %" SCNu64, &start) == 1 ? start : 0;
}

static uint64_t status_mask(const char *text, const char *name)
{
	const char *p = strstr(text, name);
	uint64_t mask = 0;

	return p && sscanf(p + strlen(name), " %" SCNx64, &mask) == 1 ? mask : 0;
}

/*
 * Whether it has been killed, or its first thread has ended already. SIGKILL stays among the pending ones of the process
 * until it is gone.
 */
static bool is_ending(const struct owner *o)
{
	const uint64_t kill = UINT64_C(1) << (9 - 1);
	char text[4096];
	const char *p;

	if (!o->start || process_start(o->pid) != o->start ||
	    !proc_read(o->pid, "status", text, sizeof text))
		return false;
	p = strstr(text, "\nState:");
	if (p && (p += strlen("\nState:"), p += strspn(p, " \t"), *p == 'Z' || *p == 'X'))
		return true;
	return ((status_mask(text, "\nSigPnd:") | status_mask(text, "\nShdPnd:")) & kill) ||
		status_mask(text, "\nCoreDumping:");
}

/* -- the file --------------------------------------------------------------------------------- */

/* Not synced: after a crash of the machine nobody has the lock. */
static void owner_write(const struct cache_io *io, int fd)
{
	char text[OWNER_LEN + 1];
	struct iovec v = { text, OWNER_LEN };

	snprintf(text, sizeof text, "%-*d %-*" PRIu64 "\n", 15, (int)getpid(), OWNER_LEN - 17,
		 process_start(getpid()));
	(void)io->pwritev(fd, &v, 1, 0);
}

static struct owner owner_read(const struct cache_io *io, int fd)
{
	char text[OWNER_LEN + 1];
	struct owner o = { 0 };
	ssize_t n = io->pread(fd, text, OWNER_LEN, 0);

	text[MAX(n, 0)] = '\0';
	if (sscanf(text, "%d %" SCNu64, &o.pid, &o.start) != 2)
		o.start = 0;
	return o;
}

/* 0, -EAGAIN: somebody has it, -errno */
static int try_lock(const struct cache_io *io, int fd)
{
	if (io->lock(fd, F_WRLCK, 0) == 0)
		return 0;
	return errno == EACCES ? -EAGAIN : -errno;
}

static int lock_or_wait(const struct cache_io *io, int fd)
{
	const struct timespec pause = { .tv_nsec = LOOK_MS * 1000000L };
	int r = try_lock(io, fd);

	for (unsigned i = 0; r == -EAGAIN && i < LOOKS; i++) {
		struct owner o = owner_read(io, fd);

		if (!is_ending(&o))
			/* It may have ended just now. */
			return try_lock(io, fd);
		if (i == 0)
			log_info("process %d, which was killed, has not quite ended", o.pid);
		nanosleep(&pause, NULL);
		r = try_lock(io, fd);
		if (r == -EAGAIN && i + 1 == LOOKS)
			log_error("process %d was killed, but does not end", o.pid);
	}
	return r == -EAGAIN ? -EBUSY : r;
}

int dir_lock(const struct cache_io *io, int dir, int *fd)
{
	int r;

	*fd = io->openat(dir, "lock", O_RDWR | O_CREAT, 0600);
	if (*fd < 0)
		return -errno;
	r = lock_or_wait(io, *fd);
	if (r == 0) {
		owner_write(io, *fd);
		return 0;
	}
	io->close(*fd);
	*fd = -1;
	return r;
}
