/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The index file of one cached object, as bytes: a header, then one record for each segment. Pure functions
 * over (pointer, length); bytes come from a disk that anything may have happened to. Any thread.
 *
 *   header   "vmofsidx", u32 version, u32 page size, u32 pages of a segment, u32 header length (a multiple
 *            of 512), u64 salt, u64 object size, u32 url length, u32 validator length, url, validator,
 *            32 bytes of identity (version 2; in version 1 there is none), zeros, u32 CRC32C of all before it
 *   record   u32 CRC32C of salt, segment number and all that follows; u32 hits, u64 last use (seconds),
 *            64 bytes: bitmap of pages that are there, u32 CRC32C of each page
 *
 * Little endian. The records of an object of less than a segment are as long as it has pages, so that the
 * index of a small object is one block of the disk.
 */
#ifndef STORE_CACHE_INDEX_H
#define STORE_CACHE_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bits.h"

#define CACHE_PAGE          4096u
#define CACHE_SEG_PAGES     512u
#define CACHE_SEG_WORDS     BITS_WORDS(CACHE_SEG_PAGES)
#define CACHE_URL_MAX       4096u /* with the final zero */
#define CACHE_VALIDATOR_MAX 512u
#define CACHE_SIZE_MAX      (UINT64_C(1) << 46) /* 64 TiB */
#define CACHE_HEADER_STEP   512u
#define CACHE_HEADER_MAX    (CACHE_URL_MAX + CACHE_VALIDATOR_MAX + CACHE_HEADER_STEP)
#define CACHE_ID_LEN        32u
#define CACHE_RECORD_HEAD   80u /* of a record, up to the bitmap's end */
#define CACHE_RECORD_MAX    (CACHE_RECORD_HEAD + 4 * CACHE_SEG_PAGES)

/* What records depend on. */
struct cache_layout {
	uint64_t salt;
	uint64_t size; /* of the object */
	uint32_t len;  /* of the header: where record 0 is */
};

struct cache_header {
	struct cache_layout at;
	char url[CACHE_URL_MAX];
	char validator[CACHE_VALIDATOR_MAX];
	bool has_identity; /* else the url is it, and this is zeros */
	uint8_t identity[CACHE_ID_LEN];
};

/* As in struct cache_key. */
static inline const uint8_t *cache_header_identity(const struct cache_header *h)
{
	return h->has_identity ? h->identity : NULL;
}

struct cache_record {
	uint32_t hits;
	uint64_t used_sec;
	uint64_t present[CACHE_SEG_WORDS];
	uint32_t crc[CACHE_SEG_PAGES];
};

/* Pages of an object, and of its records each. */
static inline uint64_t cache_pages_of(uint64_t size)
{
	return (size + CACHE_PAGE - 1) / CACHE_PAGE;
}

static inline uint32_t cache_record_pages(uint64_t size)
{
	uint64_t pages = cache_pages_of(size);

	return pages < CACHE_SEG_PAGES ? (uint32_t)pages : CACHE_SEG_PAGES;
}

static inline uint32_t cache_record_len(uint64_t size)
{
	return CACHE_RECORD_HEAD + 4 * cache_record_pages(size);
}

static inline uint64_t cache_segments_of(uint64_t size)
{
	return (cache_pages_of(size) + CACHE_SEG_PAGES - 1) / CACHE_SEG_PAGES;
}

/* Where the record of @seg begins. */
static inline uint64_t cache_record_at(const struct cache_layout *at, uint64_t seg)
{
	return at->len + seg * cache_record_len(at->size);
}

/* Sets at.len; returns it. -EINVAL: texts too long, size 0 or beyond what is kept. */
int cache_header_encode(struct cache_header *h, uint8_t out[CACHE_HEADER_MAX]);
/* @n bytes from the file's start, CACHE_HEADER_MAX or what it has. 0; -EBADMSG: not one of ours; -EPROTO: other version. */
int cache_header_decode(struct cache_header *h, const void *p, size_t n);

/* Writes cache_record_len() bytes. Bits beyond the object's pages are left out. */
void cache_record_encode(const struct cache_layout *at, uint64_t seg, const struct cache_record *r,
			 uint8_t *out);
/*
 * 0; -ENODATA: never written (zeros, or beyond the end of the file); -EBADMSG: damaged. Then @r is that of an
 * empty segment.
 */
int cache_record_decode(const struct cache_layout *at, uint64_t seg, const void *p, size_t n,
			struct cache_record *r);

/* Pages of segment @seg, at most CACHE_SEG_PAGES. */
uint32_t cache_segment_pages(uint64_t size, uint64_t seg);

#endif
