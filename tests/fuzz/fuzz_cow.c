/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names of a copy-on-write child of any bytes: what is taken for a record is in its limits and is the same bytes when it is written again.
 * An odd last byte repairs checksums, or nothing would get past them.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/digest.h"
#include "base/little.h"
#include "base/macros.h"
#include "cow/cow_format.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static uint32_t crc(uint32_t c, const uint8_t *p, size_t n)
{
	return (uint32_t)digest_crc(DIGEST_CRC32C, c, p, n);
}

/* The header and each record as whoever can compute checksums would have them. */
static void repair(uint8_t *p, size_t n)
{
	put32(p + 28, crc(0, p, 28));
	for (size_t at = COW_HEADER_LEN; n - at >= COW_HEAD_LEN;) {
		uint8_t place[8] = { 0 };
		uint32_t len = p[at + 32] | (uint32_t)p[at + 33] << 8 | (uint32_t)p[at + 34] << 16;

		if (len > n - at - COW_HEAD_LEN)
			return;
		put32(place, (uint32_t)at);
		put32(p + at, COW_MAGIC);
		memcpy(p + at + 8, p + 16, 8);
		put32(p + at + 36, 0);
		p[at + 35] = 0;
		put32(p + at + 4,
		      crc(crc(0, place, sizeof place), p + at + 8, COW_HEAD_LEN - 8 + len));
		at += COW_HEAD_LEN + len;
	}
}

struct walk {
	const uint8_t *p;
	size_t n;
	uint64_t at;
};

static int look(void *arg, const struct cow_rec *r)
{
	struct walk *w = arg;
	struct cow_extent *e = calloc((size_t)r->n_extents + 1, sizeof *e);
	struct cow_rec again;
	struct cow_head h;
	uint64_t end = 0;
	uint8_t *out;
	int64_t len = cow_rec_decode(&again, &h, w->at, w->p + w->at, w->n - (size_t)w->at);

	assert(len > 0 && e);
	assert(r->key.len > 0 && r->key.len < VMOFS_KEY_MAX);
	for (uint64_t i = 0; i < r->n_extents; i++) {
		e[i] = cow_extent_get(r, i);
		assert(e[i].off >= end && e[i].off + e[i].len <= r->size);
		end = e[i].off + e[i].len;
	}
	assert(r->kept <= r->size);
	assert(cow_rec_len(r, r->n_extents) == (size_t)len);
	out = malloc((size_t)len);
	assert(out);
	cow_rec_encode(&again, e, r->n_extents, &h, w->at, out);
	assert(memcmp(out, w->p + w->at, (size_t)len) == 0);
	free(out);
	free(e);
	w->at += (uint64_t)len;
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	uint8_t *p = malloc(len + 1);
	struct walk w = { p, len, COW_HEADER_LEN };
	struct cow_head last;
	uint64_t end;

	if (!p)
		return 0;
	if (len)
		memcpy(p, data, len);
	if (len > COW_HEADER_LEN && data[len - 1] & 1)
		repair(p, len);
	if (cow_walk(p, len, &last, &end, look, &w) == 0)
		assert(end <= len && end == w.at);
	free(p);
	return 0;
}
