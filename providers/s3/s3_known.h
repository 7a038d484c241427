/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a listing has handed out, by hashes of 64 bits: asked only where a server has been caught breaking
 * the order of its keys, when one key in 2^40 or so might be taken for another. Pure data, no locks.
 */
#ifndef PROVIDERS_S3_KNOWN_H
#define PROVIDERS_S3_KNOWN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct s3_known {
	uint64_t *v;
	size_t n;
	size_t cap; /* a power of two */
};

uint64_t s3_known_hash(const char *p, size_t n);
bool s3_known_has(const struct s3_known *k, uint64_t h);
int s3_known_add(struct s3_known *k, uint64_t h); /* -ENOMEM */
void s3_known_clear(struct s3_known *k);

#endif
