/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Changes and signals at once: threads make, write, sync, cut, rename and remove files of their own in a directory, while one more
 * thread sends them signals whose handler does nothing, so that calls are interrupted at every moment of their lives. Prints how
 * many were done, interrupted, failed. What was interrupted may be done or not, so its name may be there or not.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/interrupts.h"

enum { THREADS = 8, NAMES = 3, NAME_LEN = 32 };

static int dir;
static atomic_bool stop;
static atomic_ulong done, interrupted, failed;

static bool judge(const char *what, long r)
{
	if (r >= 0 || errno == ENOENT || errno == EEXIST) {
		atomic_fetch_add(&done, 1);
	} else if (errno == EINTR) {
		atomic_fetch_add(&interrupted, 1);
	} else {
		fprintf(stderr, "%s: %s\n", what, strerror(errno));
		atomic_fetch_add(&failed, 1);
	}
	return r >= 0;
}

static void fill(int fd, unsigned *seed)
{
	char buf[5000];
	off_t at = rand_r(seed) % 20000;

	memset(buf, 'a' + rand_r(seed) % 26, sizeof buf);
	judge("write", pwrite(fd, buf, sizeof buf, at));
	if (rand_r(seed) % 2)
		judge("fsync", fsync(fd));
	if (rand_r(seed) % 4 == 0)
		judge("ftruncate", ftruncate(fd, at));
}

static void change_one(unsigned thread, unsigned *seed)
{
	char name[NAME_LEN], other[NAME_LEN];
	int fd;

	snprintf(name, sizeof name, "%u.%u", thread, (unsigned)rand_r(seed) % NAMES);
	snprintf(other, sizeof other, "%u.%u", thread, (unsigned)rand_r(seed) % NAMES);
	switch (rand_r(seed) % 4) {
	case 0:
		judge("rename", renameat(dir, name, dir, other));
		return;
	case 1:
		judge("unlink", unlinkat(dir, name, 0));
		return;
	default:
		fd = openat(dir, name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
		if (!judge("open", fd))
			return;
		fill(fd, seed);
		close(fd);
	}
}

static void *changer(void *arg)
{
	unsigned thread = (unsigned)(uintptr_t)arg, seed = thread;

	while (!stop)
		change_one(thread, &seed);
	return NULL;
}

int main(int argc, char **argv)
{
	if (argc != 3) {
		fprintf(stderr, "usage: interrupt_changes SECONDS DIR\n");
		return 2;
	}
	dir = open(argv[2], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0) {
		fprintf(stderr, "interrupt_changes: cannot open '%s': %s\n", argv[2],
			strerror(errno));
		return 1;
	}
	if (interrupts_run(THREADS, changer, &stop, strtod(argv[1], NULL)) < 0)
		return 1;
	printf("{\"done\": %lu, \"interrupted\": %lu, \"failed\": %lu}\n", done, interrupted,
	       failed);
	return failed != 0;
}
