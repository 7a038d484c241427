/* SPDX-License-Identifier: Apache-2.0 */
/* An index is put together: records first, then the sections that others have ready, then the header over all. */
#include "image/layer_out.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"

int layer_out_init(struct layer_out *o, uint32_t max_inodes, uint32_t max_dirents)
{
	/* Memory that is never touched costs nothing. */
	*o = (struct layer_out){ .max_inodes = max_inodes, .max_dirents = max_dirents };
	o->cap = LAYER_HEADER_LEN + sizeof *o->inodes * (size_t)max_inodes +
		sizeof *o->dirents * (size_t)max_dirents;
	o->p = malloc(o->cap);
	if (!o->p)
		return -ENOMEM;
	memset(o->p, 0, LAYER_HEADER_LEN);
	o->inodes = (void *)(o->p + LAYER_HEADER_LEN);
	o->dirents = (void *)(o->inodes + max_inodes);
	return 0;
}

void layer_out_release(struct layer_out *o)
{
	free(o->p);
	*o = (struct layer_out){ 0 };
}

struct layer_inode *layer_out_inode(struct layer_out *o)
{
	struct layer_inode *i = &o->inodes[o->n_inodes++];

	memset(i, 0, sizeof *i);
	return i;
}

static int layer_dirent_cmp(const void *a, const void *b, void *names)
{
	const struct layer_dirent *x = a, *y = b;
	const char *p = names;

	return layer_name_cmp(p + x->name, x->len, p + y->name, y->len);
}

void layer_out_sort(struct layer_out *o, uint32_t first, const char *names)
{
	for (uint32_t k = first + 1; k < o->n_dirents; k++) {
		if (layer_dirent_cmp(&o->dirents[k - 1], &o->dirents[k], (void *)(uintptr_t)names) <
		    0)
			continue;
		qsort_r(&o->dirents[first], o->n_dirents - first, sizeof *o->dirents,
			layer_dirent_cmp, (void *)(uintptr_t)names);
		return;
	}
}

/* @len bytes and zeros up to the next section. */
static uint64_t layer_out_section(uint8_t *p, uint64_t at, const void *bytes, uint64_t len)
{
	if (len)
		memmove(p + at, bytes, (size_t)len);
	memset(p + at + len, 0, (size_t)(layer_align(len) - len));
	return at + layer_align(len);
}

static void layer_out_header(struct layer_header *h, const struct layer_out *o,
			     const struct layer_tail *t)
{
	memset(h, 0, sizeof *h);
	memcpy(h->magic, LAYER_MAGIC, sizeof h->magic);
	h->version = LAYER_VERSION;
	h->layout = t->layout;
	h->section[LAYER_SECTION_INODES] = (uint64_t)o->n_inodes * sizeof *o->inodes;
	h->section[LAYER_SECTION_DIRENTS] = (uint64_t)o->n_dirents * sizeof *o->dirents;
	h->section[LAYER_SECTION_NAMES] = t->heap->len;
	h->section[LAYER_SECTION_XATTRS] = t->heap->sets_len;
	h->section[LAYER_SECTION_SPANS] = (uint64_t)t->n_spans * sizeof *t->spans;
	h->section[LAYER_SECTION_DIGESTS] = (uint64_t)t->n_digests * LAYER_DIGEST_LEN;
	h->section[LAYER_SECTION_WINDOWS] = t->windows_len;
	h->len = LAYER_HEADER_LEN;
	for (unsigned s = 0; s < LAYER_NSECTIONS; s++)
		h->len += layer_align(h->section[s]);
	memcpy(h->diff, t->id.diff, sizeof h->diff);
	memcpy(h->blob, t->id.blob, sizeof h->blob);
	h->blob_size = t->id.blob_size;
	h->data_size = t->id.data_size;
	h->n_layers = t->n_layers;
}

int layer_out_end(struct layer_out *o, const struct layer_tail *t, void **out, size_t *len,
		  struct vmofs_err *err)
{
	const size_t old = (size_t)((uint8_t *)o->dirents - o->p);
	struct layer_header h;
	struct layer_index x;
	uint64_t at = LAYER_HEADER_LEN;
	uint8_t *p;
	int r;

	for (uint32_t k = 0; k < o->n_dirents; k++)
		o->dirents[k].pad = 0;
	layer_out_header(&h, o, t);
	at += h.section[LAYER_SECTION_INODES];
	memmove(o->p + at, o->p + old, (size_t)h.section[LAYER_SECTION_DIRENTS]);
	at += h.section[LAYER_SECTION_DIRENTS];
	p = realloc(o->p, (size_t)h.len);
	if (!p)
		return vmofs_err_set(err, -ENOMEM, "cannot write a layer's index");
	o->p = p;
	at = layer_out_section(p, at, t->heap->p, t->heap->len);
	at = layer_out_section(p, at, t->heap->sets, t->heap->sets_len);
	at = layer_out_section(p, at, t->spans, h.section[LAYER_SECTION_SPANS]);
	at = layer_out_section(p, at, t->digests, h.section[LAYER_SECTION_DIGESTS]);
	layer_out_section(p, at, t->windows, t->windows_len);
	memcpy(p, &h, sizeof h);
	h.crc = layer_crc(p, (size_t)h.len);
	memcpy(p, &h, sizeof h);
	/* Nothing is kept that would not be taken when it is mapped. */
	r = layer_index_check(&x, p, (size_t)h.len, err);
	if (r < 0)
		return r;
	*out = steal_ptr(&o->p);
	*len = (size_t)h.len;
	return 0;
}
