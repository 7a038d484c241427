/* SPDX-License-Identifier: Apache-2.0 */
/* Blobs for the tests of what decodes layers: bytes that compress as files do, tars, gzip members, zstd frames. */
#ifndef TESTS_LIB_LAYER_BLOB_H
#define TESTS_LIB_LAYER_BLOB_H

#include <stddef.h>
#include <stdint.h>

struct blob {
	uint8_t *p;
	size_t len;
	size_t cap; /* 0: it is not known */
};

void blob_add(struct blob *b, const void *p, size_t n);
void blob_free(struct blob *b);

/* @n bytes: words, repetitions of what came long before, noise, zeros. */
void blob_add_data(struct blob *b, size_t n, uint64_t seed);
/* A ustar header for a file of @size bytes; whoever calls this adds them, and blob_pad(). */
void blob_add_header(struct blob *b, const char *name, char type, uint64_t size);
void blob_pad(struct blob *b); /* to whole blocks of tar */
/* A tar of @files files of up to @most bytes. */
void blob_add_tar(struct blob *b, unsigned files, size_t most, uint64_t seed);

void blob_add_gzip(struct blob *b, const void *p, size_t n, int level);
void blob_add_zstd(struct blob *b, const void *p, size_t n, int level);

#endif
