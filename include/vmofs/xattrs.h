/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All extended attributes of one file, as bytes: for each its name, a zero, the length of its value (u32, little endian) and
 * the value. A set is counted and never changes: who sets one attribute makes another set. Pure functions; any thread.
 */
#ifndef VMOFS_XATTRS_H
#define VMOFS_XATTRS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Of a set. What ext4 has room for in a file, and twice of what S3 has. */
#define VMOFS_XATTRS_MAX     4096u
#define VMOFS_XATTR_NAME_MAX 255u

struct vmofs_xattrs {
	atomic_uint refs;
	uint32_t len;
	uint8_t bytes[];
};

/* One of them; borrowed from the set. */
struct vmofs_xattr {
	const char *name;
	const void *value;
	uint32_t len;
};

/* None at all. It is counted as any other, and is always there. */
extern struct vmofs_xattrs vmofs_xattrs_none;

/* Of bytes from anywhere. 0; -EBADMSG: they are no set (names are not empty, and there once); -E2BIG; -ENOMEM. */
int vmofs_xattrs_new(struct vmofs_xattrs **out, const void *bytes, size_t len);
int vmofs_xattrs_check(const void *bytes, size_t len);
struct vmofs_xattrs *vmofs_xattrs_get(struct vmofs_xattrs *x); /* NULL is fine, as below */
void vmofs_xattrs_put(struct vmofs_xattrs *x);

/* The one at *@at, which is 0 at first. False: that was the last one. */
bool vmofs_xattrs_next(const struct vmofs_xattrs *x, uint32_t *at, struct vmofs_xattr *out);
bool vmofs_xattrs_find(const struct vmofs_xattrs *x, const char *name, struct vmofs_xattr *out);

/* What XATTR_CREATE and XATTR_REPLACE of setxattr(2) say. */
enum vmofs_xattrs_how { VMOFS_XATTRS_SET, VMOFS_XATTRS_CREATE, VMOFS_XATTRS_REPLACE };
/* @x with @a. 0; -EEXIST, -ENODATA as @how has it; -ENOSPC: more than VMOFS_XATTRS_MAX; -ERANGE: no such name; -ENOMEM. */
int vmofs_xattrs_with(const struct vmofs_xattrs *x, const struct vmofs_xattr *a,
		      enum vmofs_xattrs_how how, struct vmofs_xattrs **out);
/* -ENODATA: it is not there. */
int vmofs_xattrs_without(const struct vmofs_xattrs *x, const char *name, struct vmofs_xattrs **out);

#endif
