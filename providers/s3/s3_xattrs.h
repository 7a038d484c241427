/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Extended attributes as s3fs keeps them with an object: x-amz-meta-xattr is a JSON object of names and base64 of their values,
 * with everything but letters, digits and "-_.~" as %XX. Pure functions over (pointer, length).
 */
#ifndef PROVIDERS_S3_XATTRS_H
#define PROVIDERS_S3_XATTRS_H

#include <vmofs/xattrs.h>

#define S3_XATTRS_HEADER "x-amz-meta-xattr"
/*
 * S3 has room for 2 KiB of metadata with an object. What mode, owner, time and the attempt take is not for this; nor is what
 * s3fs and rclone add.
 */
#define S3_XATTRS_MAX (2048u - 352u)
/* A longer value of the header is not looked at: no server keeps that much. */
#define S3_XATTRS_TEXT_MAX (64u << 10)

/* The value of the header; owned by the caller. NULL: no memory. */
char *s3_xattrs_encode(const struct vmofs_xattrs *x);
/* 0; -EBADMSG: it is not that; -E2BIG: more than a set can have; -ENOMEM. */
int s3_xattrs_decode(const char *value, size_t n, struct vmofs_xattrs **out);

#endif
