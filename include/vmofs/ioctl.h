/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hints on an open file of a mount, for programs that know what they will read: posix_fadvise(2) reaches the kernel's page
 * cache, but never the daemon. Needs nothing but this header.
 *
 *   struct vmofs_ioctl_range r = { .off = 1 << 30, .len = 16 << 20 };
 *   ioctl(fd, VMOFS_IOC_PREFETCH, &r);
 *
 * Both return 0, or -1 with errno ENOTTY (no file of vmofs), EINVAL (off + len overflows).
 */
#ifndef VMOFS_IOCTL_H
#define VMOFS_IOCTL_H

#include <stdint.h>
#include <sys/ioctl.h>

/* Bytes of the file; what lies beyond its end does not count. */
struct vmofs_ioctl_range {
	uint64_t off;
	uint64_t len; /* 0: to the end of the file */
};

/*
 * Asks for what is not in the daemon's memory, and returns at once. The range becomes the part from @off on that is there or
 * under way now: less than was given where memory has no room without dropping what was used lately, and
 * never more than VMOFS_IOC_PREFETCH_MAX. Readers go first; a failure is reported to nobody.
 */
#define VMOFS_IOC_PREFETCH     _IOWR('V', 0xe0, struct vmofs_ioctl_range)
#define VMOFS_IOC_PREFETCH_MAX (UINT64_C(64) << 20)

/*
 * The daemon's memory for the range may go. The kernel's page cache keeps what it has: that is what
 * posix_fadvise(POSIX_FADV_DONTNEED) is for.
 */
#define VMOFS_IOC_DONTNEED _IOW('V', 0xe1, struct vmofs_ioctl_range)

#endif
