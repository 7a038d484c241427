/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An index while it is written: dirents and inodes are filled in breadth first, with the dirents as the queue, then all else is put
 * behind them. Where the sections of records begin is fixed by the most there can be, and what is not needed is closed up at the end. One thread.
 */
#ifndef IMAGE_LAYER_OUT_H
#define IMAGE_LAYER_OUT_H

#include "image/layer_format.h"
#include "image/layer_heap.h"

struct layer_out {
	uint8_t *p; /* from malloc() */
	size_t cap;
	struct layer_inode *inodes;   /* in p */
	struct layer_dirent *dirents; /* `pad` is the maker's until the end, then zero */
	uint32_t n_inodes;
	uint32_t n_dirents;
	uint32_t max_inodes;
	uint32_t max_dirents;
};

/* The sections behind the records, each where it is borrowed from; and what the header says. */
struct layer_tail {
	enum layer_layout layout;
	uint32_t n_layers;
	struct layer_id id;
	const struct layer_heap *heap;
	const struct layer_span *spans;
	const void *digests;
	const void *windows;
	uint32_t n_spans;
	uint32_t n_digests;
	size_t windows_len;
};

/* Room for so many. */
int layer_out_init(struct layer_out *o, uint32_t max_inodes, uint32_t max_dirents);
/* The next inode, of zeros; its number is o->n_inodes then. */
struct layer_inode *layer_out_inode(struct layer_out *o);
/* Puts the directory's names, from @first to the last one, in their order. */
void layer_out_sort(struct layer_out *o, uint32_t first, const char *names);
/* All the rest; *out is the caller's. */
int layer_out_end(struct layer_out *o, const struct layer_tail *t, void **out, size_t *len,
		  struct vmofs_err *err);
void layer_out_release(struct layer_out *o);

#endif
