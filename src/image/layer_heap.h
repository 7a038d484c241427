/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The names and the extended attributes of an index while it is made: each text, and each set of attributes, is there once.
 * Tables are hashed with a key of their own, so nobody's choice of names makes them slow; what comes out depends only on what was
 * put in, in which order. One thread.
 */
#ifndef IMAGE_LAYER_HEAP_H
#define IMAGE_LAYER_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "image/layer_index.h"

/* Offsets by the hash of what is there: open addressing. */
struct layer_table {
	struct layer_slot {
		uint32_t at; /* and one more; 0: free */
		uint32_t hash;
	} * slot;
	uint32_t n;
	uint32_t mask;
};

struct layer_heap {
	char *p; /* texts, each with a zero behind it */
	size_t len, cap;
	uint8_t *sets; /* as in the index */
	size_t sets_len, sets_cap;
	uint64_t limit; /* of both together */
	uint64_t key[2];
	struct layer_table texts;
	struct layer_table set_table;
};

/* @limit: bytes, at most 4 GiB count. 0, -errno. */
int layer_heap_init(struct layer_heap *h, uint64_t limit);
void layer_heap_release(struct layer_heap *h);
/* What finds things goes, what was put in stays: nothing can be added any more. */
void layer_heap_close(struct layer_heap *h);

/* *@at: where in the texts these @len bytes are; a zero follows. -E2BIG: over the limit; -ENOMEM. */
int layer_heap_text(struct layer_heap *h, const char *p, size_t len, uint32_t *at);
bool layer_heap_find(const struct layer_heap *h, const char *p, size_t len, uint32_t *at);
/*
 * *@at: where the set of @n is, n > 0; sorted here, of two of one name the later counts. -EBADMSG: no file can have it; -E2BIG;
 * -ENOMEM.
 */
int layer_heap_xattrs(struct layer_heap *h, const struct layer_xattr *x, unsigned n, uint32_t *at);

/* Room for @need more bytes of @size behind @len in *@p, which has *@cap of them. -ENOMEM. */
int layer_grow(void *p, size_t *cap, size_t len, size_t need, size_t size);

#endif
