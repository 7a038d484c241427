/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ioctls of <vmofs/ioctl.h> for case scripts: `ioctl_hint prefetch|dontneed|unknown FILE OFF LEN` prints the length that
 * came back, or the name of the error.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <vmofs/ioctl.h>

static unsigned long number_of(const char *what)
{
	if (!strcmp(what, "prefetch"))
		return VMOFS_IOC_PREFETCH;
	if (!strcmp(what, "dontneed"))
		return VMOFS_IOC_DONTNEED;
	return _IOW('V', 0xef, struct vmofs_ioctl_range);
}

static const char *error_name(int error)
{
	switch (error) {
	case ENOTTY:
		return "ENOTTY";
	case EINVAL:
		return "EINVAL";
	default:
		return strerror(error);
	}
}

int main(int argc, char **argv)
{
	struct vmofs_ioctl_range r;
	int fd;

	if (argc != 5) {
		fprintf(stderr, "usage: ioctl_hint prefetch|dontneed|unknown FILE OFF LEN\n");
		return 2;
	}
	fd = open(argv[2], O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		perror(argv[2]);
		return 1;
	}
	r.off = strtoull(argv[3], NULL, 0);
	r.len = strtoull(argv[4], NULL, 0);
	if (ioctl(fd, number_of(argv[1]), &r) < 0)
		printf("%s\n", error_name(errno));
	else
		printf("%llu\n", (unsigned long long)r.len);
	return 0;
}
