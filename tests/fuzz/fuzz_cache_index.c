/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Index files of the disk cache of any bytes: what is accepted is written again as it was read, and what is
 * taken for a record has only pages that the object has. The last byte repairs checksums, or nothing would get
 * past them.
 */
#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/digest.h"
#include "base/little.h"
#include "store/cache_index.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* As whoever can compute them would. */
static void repair_header(uint8_t *p, size_t len)
{
	uint32_t n = len >= CACHE_HEADER_STEP ? get32(p + 20) : 0;

	if (n >= CACHE_HEADER_STEP && n <= len)
		put32(p + n - 4, (uint32_t)digest_crc(DIGEST_CRC32C, 0, p, n - 4));
}

static void repair_record(const struct cache_layout *at, uint64_t seg, uint8_t *p, size_t len)
{
	uint32_t n = cache_record_len(at->size);
	uint8_t place[16];

	if (len < n)
		return;
	for (unsigned i = 0; i < 8; i++) {
		place[i] = (uint8_t)(at->salt >> 8 * i);
		place[8 + i] = (uint8_t)(seg >> 8 * i);
	}
	put32(p,
	      (uint32_t)digest_crc(DIGEST_CRC32C, digest_crc(DIGEST_CRC32C, 0, place, sizeof place),
				   p + 4, n - 4));
}

static void check_header(const struct cache_header *h)
{
	uint8_t out[CACHE_HEADER_MAX];
	struct cache_header copy = *h, again;
	int n = cache_header_encode(&copy, out);

	assert(n > 0 && (uint32_t)n == h->at.len);
	assert(cache_header_decode(&again, out, (size_t)n) == 0);
	assert(again.at.salt == h->at.salt && again.at.size == h->at.size);
	assert(strcmp(again.url, h->url) == 0 && strcmp(again.validator, h->validator) == 0);
	assert(again.has_identity == h->has_identity);
	assert(memcmp(again.identity, h->identity, sizeof h->identity) == 0);
}

static void check_record(const struct cache_layout *at, uint64_t seg, const uint8_t *p, size_t len)
{
	struct cache_record r, again;
	uint8_t out[CACHE_RECORD_MAX];
	int got = cache_record_decode(at, seg, p, len, &r);

	assert(got == 0 || got == -ENODATA || got == -EBADMSG);
	assert(got == 0 || bits_count(r.present, CACHE_SEG_WORDS) == 0);
	assert(bits_count(r.present, CACHE_SEG_WORDS) <= cache_segment_pages(at->size, seg));
	if (got < 0)
		return;
	cache_record_encode(at, seg, &r, out);
	assert(cache_record_decode(at, seg, out, sizeof out, &again) == 0);
	assert(memcmp(r.present, again.present, sizeof r.present) == 0);
	assert(r.hits == again.hits && r.used_sec == again.used_sec);
	for (uint32_t i = 0; i < CACHE_SEG_PAGES; i++)
		assert(!bits_has(r.present, i) || r.crc[i] == again.crc[i]);
	/* It is nobody else's. */
	assert(cache_record_decode(at, seg + 1, out, sizeof out, &again) == -EBADMSG);
}

static void check_records(const struct cache_header *h, uint8_t *p, size_t len, bool repair)
{
	uint64_t n = cache_segments_of(h->at.size);

	for (uint64_t seg = 0; seg < n && seg < 8; seg++) {
		uint64_t off = cache_record_at(&h->at, seg);

		if (off >= len)
			break;
		if (repair)
			repair_record(&h->at, seg, p + off, len - off);
		check_record(&h->at, seg, p + off, len - off);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct cache_header h;
	bool repair = len && data[len - 1] & 1;
	uint8_t *p = malloc(len + 1);

	assert(p);
	if (len)
		memcpy(p, data, len);
	if (repair)
		repair_header(p, len);
	if (cache_header_decode(&h, p, len) == 0) {
		check_header(&h);
		check_records(&h, p, len, repair);
	}
	free(p);
	return 0;
}
