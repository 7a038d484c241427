/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The index of a layer, of any bytes: what the check takes can be asked anything. Header fields that no mutation keeps (length, checksum)
 * are put right first, as whoever means ill would.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "image/layer_build.h"
#include "image/layer_format.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static unsigned long touched; /* so that nothing that is read can be left out */

static void repair(uint8_t *p, size_t len)
{
	struct layer_header h;

	memcpy(&h, p, sizeof h);
	memcpy(h.magic, LAYER_MAGIC, sizeof h.magic);
	h.version = LAYER_VERSION;
	h.len = len;
	memcpy(p, &h, sizeof h);
	h.crc = layer_crc(p, len);
	memcpy(p, &h, sizeof h);
}

static void touch(const void *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		touched += ((const uint8_t *)p)[i];
}

static void look_at_inode(const struct layer_index *x, const struct layer_inode *i)
{
	uint32_t n = layer_n_xattrs(x, i);

	assert(i->layer < x->n_layers && i->nlink);
	if (S_ISLNK(i->mode))
		assert(strlen(layer_target(x, i)) == i->size);
	if (S_ISREG(i->mode) && x->layout != LAYER_LAYOUT_MERGED)
		assert(i->data + i->size <= x->id.data_size);
	/* Sets are shared: not all of all of them, or that is quadratic. */
	for (uint32_t k = 0; k < MIN(n, 4u); k++) {
		struct layer_xattr a = layer_xattr(x, i, k);

		assert(strlen(a.name) == a.name_len);
		touch(a.value, a.len);
	}
}

static void look_at_dir(const struct layer_index *x, uint32_t ino)
{
	const struct layer_inode *dir = layer_inode(x, ino);

	assert(ino == LAYER_ROOT || dir->parent < ino);
	for (uint32_t k = dir->first; k < dir->first + dir->n; k++) {
		const struct layer_dirent *d = &x->dirents[k];

		assert(strlen(layer_name(x, d)) == d->len);
		assert(layer_lookup(x, ino, layer_name(x, d), d->len) == d);
		assert(layer_inode(x, d->ino)->mode >> 12 == d->type);
	}
}

static void look_at_spans(const struct layer_index *x)
{
	uint8_t *window = malloc(LAYER_WINDOW_MAX);
	uint64_t end = 0;

	assert(window);
	for (uint32_t k = 0; k < x->n_spans; k++) {
		const struct layer_span *s = &x->spans[k];

		assert(s->data >= end && s->blob + s->blob_len <= x->id.blob_size);
		assert(layer_span_at(x, end) == k && layer_span_at(x, s->data) == k);
		end = s->data + s->data_len;
		if (layer_span_digest(x, s))
			touch(layer_span_digest(x, s), LAYER_DIGEST_LEN);
		if (k < 8)
			touched += (unsigned)layer_span_window(x, s, window);
	}
	assert(end <= x->id.data_size && layer_span_at(x, end) == x->n_spans);
	free(window);
}

/* Any index is a layer of an image. */
static void merge(const struct layer_index *x)
{
	const struct layer_index *twice[2] = { x, x };
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct layer_index merged;
	void *p = NULL;
	size_t len;

	if (x->layout == LAYER_LAYOUT_MERGED)
		return;
	assert(layer_merge(twice, 2, &p, &len, &err) == 0);
	assert(layer_index_check(&merged, p, len, &err) == 0);
	free(p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct layer_index x;
	uint8_t *p = malloc(len + 1);

	if (!p)
		return 0;
	if (len)
		memcpy(p, data, len);
	if (len >= LAYER_HEADER_LEN)
		repair(p, len);
	if (layer_index_check(&x, p, len, &err) == 0) {
		for (uint32_t ino = LAYER_ROOT; ino <= x.n_inodes; ino++) {
			look_at_inode(&x, layer_inode(&x, ino));
			if (S_ISDIR(layer_inode(&x, ino)->mode))
				look_at_dir(&x, ino);
		}
		look_at_spans(&x);
		assert(layer_walk(&x, "a/b/../c") == 0);
		merge(&x);
	} else {
		assert(err.code < 0 && err.msg[0]);
	}
	free(p);
	return 0;
}
