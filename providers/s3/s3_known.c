/* SPDX-License-Identifier: Apache-2.0 */
/* A hash table of hashes, open addressing, never more than three quarters full. Pure, any thread. */
#include "s3/s3_known.h"

#include <errno.h>
#include <stdlib.h>

uint64_t s3_known_hash(const char *p, size_t n)
{
	uint64_t h = UINT64_C(0xcbf29ce484222325);

	for (size_t i = 0; i < n; i++)
		h = (h ^ (uint8_t)p[i]) * UINT64_C(0x100000001b3);
	h = (h ^ h >> 32) * UINT64_C(0x9e3779b97f4a7c15);
	h ^= h >> 29;
	return h ? h : 1;
}

bool s3_known_has(const struct s3_known *k, uint64_t h)
{
	for (size_t i = h; k->cap; i++) {
		if (k->v[i & (k->cap - 1)] == h)
			return true;
		if (k->v[i & (k->cap - 1)] == 0)
			return false;
	}
	return false;
}

static void known_put(struct s3_known *k, uint64_t h)
{
	size_t i = h;

	while (k->v[i & (k->cap - 1)])
		i++;
	k->v[i & (k->cap - 1)] = h;
	k->n++;
}

static int known_grow(struct s3_known *k)
{
	struct s3_known bigger = { .cap = k->cap ? k->cap * 2 : 4096 };

	bigger.v = calloc(bigger.cap, sizeof *bigger.v);
	if (!bigger.v)
		return -ENOMEM;
	for (size_t i = 0; i < k->cap; i++)
		if (k->v[i])
			known_put(&bigger, k->v[i]);
	free(k->v);
	*k = bigger;
	return 0;
}

int s3_known_add(struct s3_known *k, uint64_t h)
{
	if (k->n * 4 >= k->cap * 3 && known_grow(k) < 0)
		return -ENOMEM;
	if (!s3_known_has(k, h))
		known_put(k, h);
	return 0;
}

void s3_known_clear(struct s3_known *k)
{
	free(k->v);
	*k = (struct s3_known){ 0 };
}
