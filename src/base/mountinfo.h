/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Looks a mount up in /proc/self/mountinfo, without touching the file system itself: that would hang or
 * fail when its daemon is busy or gone. Any thread.
 */
#ifndef BASE_MOUNTINFO_H
#define BASE_MOUNTINFO_H

#include <stdint.h>
#include <sys/types.h>

struct mountinfo {
	unsigned major;
	unsigned minor;
	uid_t owner;           /* user_id= of FUSE mounts, else 0 */
	char mountpoint[4096]; /* decoded */
	char fstype[64];
};

/*
 * The mount of type @fstype with the longest mountpoint that is @path or above it (the topmost one
 * where several are stacked). -ENOENT when there is none, -errno when the table cannot be read.
 */
int mountinfo_find(const char *path, const char *fstype, struct mountinfo *out);

/* Calls @fn for every mount of type @fstype, in the order of the table; not 0 ends it and is returned. -errno. */
int mountinfo_each(const char *fstype, int (*fn)(void *arg, const struct mountinfo *m), void *arg);

/* The parser behind it: one line of the table, 0 or -EINVAL. Writes to @line. */
int mountinfo_parse(char *line, struct mountinfo *out);

#endif
