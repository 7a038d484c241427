/* SPDX-License-Identifier: Apache-2.0 */
/* Makes blobs of layers. */
#include "lib/layer_blob.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "base/macros.h"
#include "lib/prng.h"

/* Room for @n more bytes. */
static void grow(struct blob *b, size_t n)
{
	if (b->p && b->len + n < b->cap)
		return;
	b->cap = MAX(2 * b->cap, b->len + n + 1);
	b->p = realloc(b->p, b->cap);
	assert(b->p);
}

void blob_add(struct blob *b, const void *p, size_t n)
{
	grow(b, n);
	if (n)
		memcpy(b->p + b->len, p, n);
	b->len += n;
}

void blob_free(struct blob *b)
{
	free(b->p);
	*b = (struct blob){ 0 };
}

static uint8_t data_byte(struct prng *random, unsigned kind, const uint8_t *at)
{
	if (kind == 0)
		return (uint8_t)prng_next(random);
	if (kind == 1)
		return 0;
	return kind < 5 ? at[-(ptrdiff_t)(20000 + kind * 3000)]
			: (uint8_t) "abcdefgh etaoin"[prng_below(random, 15)];
}

void blob_add_data(struct blob *b, size_t n, uint64_t seed)
{
	struct prng random = { seed };
	size_t at = b->len, end = at + n;

	grow(b, n);
	while (at < end) {
		size_t len = 1 + (size_t)prng_below(&random, 4000);
		unsigned kind = (unsigned)prng_below(&random, 8);

		if (kind > 1 && at - b->len < 40000)
			kind = 7;
		for (len = MIN(len, end - at); len > 0; len--, at++)
			b->p[at] = data_byte(&random, kind, b->p + at);
	}
	b->len = end;
}

void blob_add_header(struct blob *b, const char *name, char type, uint64_t size)
{
	char h[512] = { 0 };
	unsigned sum = 0;

	snprintf(h, 100, "%s", name);
	snprintf(h + 100, 8, "%07o", 0644);
	snprintf(h + 108, 8, "%07o", 0);
	snprintf(h + 116, 8, "%07o", 0);
	snprintf(h + 124, 12, "%011" PRIo64, size);
	snprintf(h + 136, 12, "%011o", 1234567890);
	memset(h + 148, ' ', 8);
	h[156] = type;
	memcpy(h + 257,
	       "ustar\0"
	       "00",
	       8);
	for (size_t i = 0; i < sizeof h; i++)
		sum += (uint8_t)h[i];
	snprintf(h + 148, 8, "%06o", sum);
	blob_add(b, h, sizeof h);
}

void blob_pad(struct blob *b)
{
	static const uint8_t zeros[512];

	blob_add(b, zeros, -b->len % sizeof zeros);
}

void blob_add_tar(struct blob *b, unsigned files, size_t most, uint64_t seed)
{
	static const uint8_t zeros[1024];
	struct prng random = { seed };
	char name[100];

	blob_add_header(b, "dir/", '5', 0);
	for (unsigned i = 0; i < files; i++) {
		size_t n = (size_t)prng_below(&random, most + 1);

		snprintf(name, sizeof name, "dir/file%u", i);
		blob_add_header(b, name, '0', n);
		blob_add_data(b, n, seed + i);
		blob_pad(b);
	}
	blob_add(b, zeros, sizeof zeros);
}

void blob_add_gzip(struct blob *b, const void *p, size_t n, int level)
{
	z_stream z = { .next_in = (Bytef *)p, .avail_in = (uInt)n };
	int r = deflateInit2(&z, level, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY);
	size_t cap = deflateBound(&z, n);

	assert(r == Z_OK);
	grow(b, cap);
	z.next_out = b->p + b->len;
	z.avail_out = (uInt)cap;
	r = deflate(&z, Z_FINISH);
	assert(r == Z_STREAM_END);
	b->len += cap - z.avail_out;
	deflateEnd(&z);
}

void blob_add_zstd(struct blob *b, const void *p, size_t n, int level)
{
	size_t cap = ZSTD_compressBound(n), len;

	grow(b, cap);
	len = ZSTD_compress(b->p + b->len, cap, p, n, level);
	assert(!ZSTD_isError(len));
	b->len += len;
}
