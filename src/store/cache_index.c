/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Encoding and decoding of index files. Nothing that is read is believed before its checksum agrees, and then its
 * lengths are checked all the same. Knows nothing of files. Any thread.
 */
#include "store/cache_index.h"

#include <errno.h>
#include <string.h>

#include "base/digest.h"
#include "base/little.h"
#include "base/macros.h"

#define MAGIC            "vmofsidx"
#define VERSION          1u
#define VERSION_IDENTITY 2u

/* Offsets in the header. */
enum { H_VERSION = 8, H_PAGE = 12, H_SEG = 16, H_LEN = 20, H_SALT = 24, H_SIZE = 32 };
enum { H_URL_LEN = 40, H_VALIDATOR_LEN = 44, H_TEXT = 48 };
/* Offsets in a record. */
enum { R_CRC = 0, R_HITS = 4, R_USED = 8, R_BITS = 16 };
_Static_assert(R_BITS + CACHE_SEG_PAGES / 8 == CACHE_RECORD_HEAD, "the bitmap ends the head");

static uint32_t crc_of(uint64_t begin, const void *p, size_t n)
{
	return (uint32_t)digest_crc(DIGEST_CRC32C, begin, p, n);
}

/* -- header ----------------------------------------------------------------------------------- */

/* Of the header with these texts, and an identity where @h has one. */
static uint32_t header_len(const struct cache_header *h, size_t url, size_t validator)
{
	size_t identity = h->has_identity ? CACHE_ID_LEN : 0;
	size_t len = H_TEXT + url + validator + identity + 4;

	return (uint32_t)((len + CACHE_HEADER_STEP - 1) / CACHE_HEADER_STEP * CACHE_HEADER_STEP);
}

int cache_header_encode(struct cache_header *h, uint8_t out[CACHE_HEADER_MAX])
{
	size_t url = strnlen(h->url, CACHE_URL_MAX);
	size_t validator = strnlen(h->validator, CACHE_VALIDATOR_MAX);

	if (url == CACHE_URL_MAX || validator == CACHE_VALIDATOR_MAX || !h->at.size ||
	    h->at.size > CACHE_SIZE_MAX)
		return -EINVAL;
	h->at.len = header_len(h, url, validator);
	memset(out, 0, h->at.len);
	memcpy(out, MAGIC, 8);
	put32(out + H_VERSION, h->has_identity ? VERSION_IDENTITY : VERSION);
	put32(out + H_PAGE, CACHE_PAGE);
	put32(out + H_SEG, CACHE_SEG_PAGES);
	put32(out + H_LEN, h->at.len);
	put64(out + H_SALT, h->at.salt);
	put64(out + H_SIZE, h->at.size);
	put32(out + H_URL_LEN, (uint32_t)url);
	put32(out + H_VALIDATOR_LEN, (uint32_t)validator);
	memcpy(out + H_TEXT, h->url, url);
	memcpy(out + H_TEXT + url, h->validator, validator);
	if (h->has_identity)
		memcpy(out + H_TEXT + url + validator, h->identity, CACHE_ID_LEN);
	put32(out + h->at.len - 4, crc_of(0, out, h->at.len - 4));
	return (int)h->at.len;
}

/* The length that the header says it has, when it is one that a header can have and @n has it all; else 0. */
static uint32_t header_len_told(const uint8_t *p, size_t n)
{
	uint32_t len;

	if (n < CACHE_HEADER_STEP || memcmp(p, MAGIC, 8) != 0)
		return 0;
	len = get32(p + H_LEN);
	if (len < CACHE_HEADER_STEP || len > CACHE_HEADER_MAX || len % CACHE_HEADER_STEP || len > n)
		return 0;
	return crc_of(0, p, len - 4) == get32(p + len - 4) ? len : 0;
}

/* @p is a whole header whose checksum agrees. */
static int header_take(struct cache_header *h, const uint8_t *p)
{
	uint32_t url = get32(p + H_URL_LEN);
	uint32_t validator = get32(p + H_VALIDATOR_LEN);

	if (url >= CACHE_URL_MAX || validator >= CACHE_VALIDATOR_MAX ||
	    h->at.len != header_len(h, url, validator) || !h->at.size ||
	    h->at.size > CACHE_SIZE_MAX)
		return -EBADMSG;
	memcpy(h->url, p + H_TEXT, url);
	memcpy(h->validator, p + H_TEXT + url, validator);
	if (h->has_identity)
		memcpy(h->identity, p + H_TEXT + url + validator, CACHE_ID_LEN);
	/* A text with a zero in it would be another text when it is written again. */
	return strlen(h->url) == url && strlen(h->validator) == validator ? 0 : -EBADMSG;
}

int cache_header_decode(struct cache_header *h, const void *buf, size_t n)
{
	const uint8_t *p = buf;
	uint32_t version;

	memset(h, 0, sizeof *h);
	h->at.len = header_len_told(p, n);
	if (!h->at.len)
		return -EBADMSG;
	version = get32(p + H_VERSION);
	if ((version != VERSION && version != VERSION_IDENTITY) ||
	    get32(p + H_PAGE) != CACHE_PAGE || get32(p + H_SEG) != CACHE_SEG_PAGES)
		return -EPROTO;
	h->has_identity = version == VERSION_IDENTITY;
	h->at.salt = get64(p + H_SALT);
	h->at.size = get64(p + H_SIZE);
	return header_take(h, p);
}

/* -- records ---------------------------------------------------------------------------------- */

uint32_t cache_segment_pages(uint64_t size, uint64_t seg)
{
	uint64_t pages = cache_pages_of(size) - seg * CACHE_SEG_PAGES;

	return pages < CACHE_SEG_PAGES ? (uint32_t)pages : CACHE_SEG_PAGES;
}

/* A record that was moved, or is another file's, has another one. */
static uint32_t record_crc(const struct cache_layout *at, uint64_t seg, const uint8_t *p)
{
	uint8_t place[16];

	put64(place, at->salt);
	put64(place + 8, seg);
	return crc_of(crc_of(0, place, sizeof place), p + R_HITS,
		      cache_record_len(at->size) - R_HITS);
}

/* Clears the bits of pages that a segment does not have; whether there were none. */
static bool record_clip(uint64_t bits[CACHE_SEG_WORDS], uint32_t pages)
{
	return bits_fill(bits, false, pages, CACHE_SEG_PAGES) == 0;
}

void cache_record_encode(const struct cache_layout *at, uint64_t seg, const struct cache_record *r,
			 uint8_t *out)
{
	uint64_t bits[CACHE_SEG_WORDS];
	uint32_t n = cache_record_pages(at->size);

	memcpy(bits, r->present, sizeof bits);
	record_clip(bits, cache_segment_pages(at->size, seg));
	put32(out + R_HITS, r->hits);
	put64(out + R_USED, r->used_sec);
	for (unsigned i = 0; i < CACHE_SEG_WORDS; i++)
		put64(out + R_BITS + 8 * i, bits[i]);
	for (uint32_t i = 0; i < n; i++)
		put32(out + CACHE_RECORD_HEAD + 4 * i, bits_has(bits, i) ? r->crc[i] : 0);
	put32(out + R_CRC, record_crc(at, seg, out));
}

static bool all_zero(const uint8_t *p, size_t n)
{
	return n == 0 || (p[0] == 0 && memcmp(p, p + 1, n - 1) == 0);
}

int cache_record_decode(const struct cache_layout *at, uint64_t seg, const void *buf, size_t n,
			struct cache_record *r)
{
	const uint8_t *p = buf;
	uint32_t len = cache_record_len(at->size);

	memset(r, 0, sizeof *r);
	if (n > len)
		n = len;
	if (all_zero(p, n))
		return -ENODATA;
	if (n < len || get32(p + R_CRC) != record_crc(at, seg, p))
		return -EBADMSG;
	for (unsigned i = 0; i < CACHE_SEG_WORDS; i++)
		r->present[i] = get64(p + R_BITS + 8 * i);
	if (!record_clip(r->present, cache_segment_pages(at->size, seg))) {
		memset(r, 0, sizeof *r);
		return -EBADMSG;
	}
	r->hits = get32(p + R_HITS);
	r->used_sec = get64(p + R_USED);
	for (uint32_t i = 0; i < cache_record_pages(at->size); i++)
		r->crc[i] = get32(p + CACHE_RECORD_HEAD + 4 * i);
	return 0;
}
