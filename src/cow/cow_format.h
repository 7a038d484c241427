/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The names of a copy-on-write child as bytes: a header, then records, each of which says what one key is from then on. Pure
 * functions over (pointer, length); bytes come from a disk that anything may have happened to. Any thread.
 *
 *   header   "vmofscow", u32 version, u32 0, u64 salt, u32 0, u32 CRC32C of all before it; 32 bytes
 *   record   head: u32 magic, u32 CRC32C of where it stands (u64), of the rest of the head and of the payload, u64 salt, u64 number of
 *            the record, u64 so much of the file was on disk before, u32 payload length, u32 0; 40 bytes; then the payload
 *   payload  fixed fields, then the texts (key, target or key of the origin, validator, attempt), then, where a flag says so, a u32 and so
 *            many bytes of extended attributes, then the extents
 *
 * Little endian. Numbers of records ascend.
 */
#ifndef COW_COW_FORMAT_H
#define COW_COW_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <vmofs/change.h>

#define COW_HEADER_LEN  32u
#define COW_HEAD_LEN    40u
#define COW_FIXED_LEN   112u
#define COW_EXTENT_LEN  24u
#define COW_PAYLOAD_MAX (64u << 20)
#define COW_MAGIC       0x574f4356u /* "VCOW" */
/* No file ends behind it. */
#define COW_OFF_MAX ((uint64_t)INT64_MAX - VMOFS_PAGE_SIZE)
/* As where an extent is: nowhere, it reads as zeros. */
#define COW_ZEROS UINT64_MAX

enum cow_kind {
	COW_FILE = 1, /* contents: extents of a file of data, the origin's below them */
	COW_LINK,     /* a symbolic link that was made here */
	COW_DIR, /* a directory that was made here, with its attributes: nothing that the origin has below its key counts */
	COW_GONE,   /* what the origin has at that key, or below it, does not count */
	COW_FORGET, /* nothing is known of the key any more: it is as the origin has it */
	COW_NKINDS
};

/* Page aligned but for the end of the last one. */
struct cow_extent {
	uint64_t off;
	uint64_t len;
	uint64_t at; /* in the file of data, page aligned; COW_ZEROS */
};

struct cow_text {
	const char *p; /* no zero at its end, and none inside */
	uint32_t len;
};

/* One record; the texts and @extents are borrowed. */
struct cow_rec {
	enum cow_kind kind;
	bool over;  /* the origin had something at the key */
	bool delta; /* FILE: @extents lie over those that the key had; all else is whole */
	struct vmofs_change_attr attr;
	uint64_t number; /* of the version; never used twice */
	struct cow_text key;
	struct cow_text target;  /* LINK */
	struct cow_text attempt; /* FILE */
	/* FILE: the bytes of a set; not there: as the origin has them. attr.xattrs does not count. */
	bool has_xattrs;
	struct cow_text xattrs;
	/* FILE, the rest. */
	uint64_t size;
	uint64_t data; /* the file of data; 0: none */
	bool has_origin;
	uint64_t kept; /* so much of the origin's version counts */
	struct cow_text origin_key;
	struct cow_text origin_validator;
	uint64_t origin_size;
	struct timespec origin_mtime;
	uint64_t n_extents;
	const uint8_t *extents; /* as bytes; see cow_extent_get() */
};

struct cow_head {
	uint64_t salt;
	uint64_t number;
	uint64_t durable;
	uint32_t payload_len;
};

void cow_header_encode(uint64_t salt, uint8_t out[COW_HEADER_LEN]);
/* 0; -EBADMSG: not one of ours, or not whole; -EPROTO: of another version. */
int cow_header_decode(const void *p, size_t n, uint64_t *salt);

/* How long the record will be; 0: longer than any can be. @n_extents in place of the record's. */
size_t cow_rec_len(const struct cow_rec *r, uint64_t n_extents);
/* Writes cow_rec_len() bytes, for the place @place. @h's payload_len does not count. */
void cow_rec_encode(const struct cow_rec *r, const struct cow_extent *e, uint64_t n,
		    const struct cow_head *h, uint64_t place, uint8_t *out);
/* @n bytes that stand at @place. Returns the length of the record, or -EBADMSG. */
int64_t cow_rec_decode(struct cow_rec *r, struct cow_head *h, uint64_t place, const void *p,
		       size_t n);
struct cow_extent cow_extent_get(const struct cow_rec *r, uint64_t i);

/*
 * The records of a file in memory, one after the other, as far as they belong there; *@end: where that ends. Not 0 from @fn ends it and is
 * returned. -EBADMSG: not even a header, or, behind the end, there is a record that was written when more than that was
 * on disk: damage, which no crash makes. -EPROTO.
 */
int cow_walk(const void *p, size_t n, struct cow_head *last, uint64_t *end,
	     int (*fn)(void *arg, const struct cow_rec *r), void *arg);

#endif
