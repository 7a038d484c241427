/* SPDX-License-Identifier: Apache-2.0 */
/* Tables of contents as writers of layers pack them, and reading them in pieces. For tests. */
#ifndef TESTS_TOC_PACK_H
#define TESTS_TOC_PACK_H

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "base/macros.h"
#include "image/toc.h"

struct packed {
	uint8_t *p;
	size_t n;
};

static inline struct packed pack_zstd(const void *p, size_t n)
{
	size_t cap = ZSTD_compressBound(n);
	struct packed out = { .p = malloc(cap) };

	assert(out.p);
	out.n = ZSTD_compress(out.p, cap, p, n, 3);
	assert(!ZSTD_isError(out.n));
	return out;
}

/* A gzip member. */
static inline struct packed pack_gzip(const void *p, size_t n)
{
	z_stream z = { 0 };
	struct packed out;
	int r = deflateInit2(&z, 6, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY);
	size_t cap;

	assert(r == Z_OK);
	cap = deflateBound(&z, n);
	out.p = malloc(cap);
	assert(out.p);
	z.next_in = (Bytef *)(uintptr_t)p;
	z.avail_in = (uInt)n;
	z.next_out = out.p;
	z.avail_out = (uInt)cap;
	r = deflate(&z, Z_FINISH);
	assert(r == Z_STREAM_END);
	out.n = cap - z.avail_out;
	deflateEnd(&z);
	return out;
}

/* A header and a file in a tar, padded. */
static inline struct packed pack_tar_file(const char *name, char type, const void *p, size_t n)
{
	size_t padded = (n + 511) / 512 * 512;
	struct packed out = { .p = calloc(1, 512 + padded), .n = 512 + padded };
	unsigned sum = 0;
	char *head = (char *)out.p;

	assert(out.p);
	snprintf(head, 100, "%s", name);
	memcpy(head + 100, "0000444\0000000000\0000000000\0", 24);
	snprintf(head + 124, 12, "%011o", (unsigned)n);
	memcpy(head + 136, "00000000000\0        ", 20);
	head[156] = type;
	memcpy(head + 257, "ustar\00000", 8);
	for (unsigned i = 0; i < 512; i++)
		sum += out.p[i];
	snprintf(head + 148, 8, "%06o", sum & 0777777);
	if (n)
		memcpy(out.p + 512, p, n);
	return out;
}

static inline void packed_add(struct packed *to, struct packed take)
{
	to->p = realloc(to->p, to->n + take.n + 1);
	assert(to->p);
	memcpy(to->p + to->n, take.p, take.n);
	to->n += take.n;
	free(take.p);
}

/* As the last file of a layer. */
static inline struct packed pack_stargz(const void *p, size_t n)
{
	struct packed tar = pack_tar_file(TOC_STARGZ_NAME, '0', p, n), out;
	struct packed end = { .p = calloc(1, 1024), .n = 1024 };

	packed_add(&tar, end);
	out = pack_gzip(tar.p, tar.n);
	free(tar.p);
	return out;
}

static inline struct packed pack_toc(enum toc_kind kind, const void *p, size_t n)
{
	return kind == TOC_ZSTD_CHUNKED ? pack_zstd(p, n) : pack_stargz(p, n);
}

/* In pieces of @piece bytes, each in memory of its own. */
static inline int toc_read_pieces(const struct toc_options *options, struct layer_build *b,
				  struct packed in, size_t piece, struct toc_facts *facts,
				  struct vmofs_err *err)
{
	struct toc_reader *reader;
	int r = toc_reader_new(&reader, options, b);

	assert(r == 0);
	for (size_t at = 0; at < in.n && r == 0; at += piece) {
		size_t n = MIN(piece, in.n - at);
		uint8_t *copy = malloc(n);

		assert(copy);
		memcpy(copy, in.p + at, n);
		r = toc_reader_feed(reader, copy, n, err);
		free(copy);
	}
	if (r == 0)
		r = toc_reader_end(reader, facts, err);
	toc_reader_free(reader);
	return r;
}

#endif
