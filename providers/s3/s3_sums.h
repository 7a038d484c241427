/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The checksum of a whole object, computed over its bytes as they arrive, in whatever order: sums of CRCs
 * are combined at the end; SHA-256 is computed while the bytes come in order, and not otherwise. Bytes that come
 * again (after eviction) are not counted again. Pure data; the caller has one thread at a time in it.
 */
#ifndef PROVIDERS_S3_SUMS_H
#define PROVIDERS_S3_SUMS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/digest.h"

/* What the server says: one of the CRCs, SHA-256, or that there is nothing to compare. */
enum s3_sum_kind {
	S3_SUM_CRC32,
	S3_SUM_CRC32C,
	S3_SUM_CRC64NVME,
	S3_SUM_SHA256,
	S3_SUM_UNKNOWN, /* it has not been asked yet: all of them are computed */
	S3_SUM_NONE,
	S3_SUM_NKINDS
};

struct s3_sum_wanted {
	enum s3_sum_kind kind;
	uint8_t value[SHA256_LEN]; /* big endian, as many bytes as the kind has */
};

/* "crc32=BASE64;type=FULL_OBJECT;" of the object with that ETag: the cheapest that is of the full object; NONE: nothing. */
void s3_sum_parse(const char *checksums, const char *etag, struct s3_sum_wanted *out);

struct s3_sums;

struct s3_sums *s3_sums_new(uint64_t size); /* NULL: no memory */
void s3_sums_free(struct s3_sums *s);       /* NULL is fine */
/* From now on only this one matters. */
void s3_sums_want(struct s3_sums *s, const struct s3_sum_wanted *w);
/* New bytes. -EBADMSG: with these the object is whole, and is not what the server says. */
int s3_sums_add(struct s3_sums *s, uint64_t off, const void *p, uint64_t n);
/* Whole, or given up: nothing more is computed. */
bool s3_sums_over(const struct s3_sums *s);
/* 0: whole and right; -EBADMSG: whole and wrong; -EAGAIN: not whole, given up, or nothing to compare. */
int s3_sums_verdict(const struct s3_sums *s);
const char *s3_sum_name(enum s3_sum_kind kind);

#endif
