/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The end of a builder: hard links find what they link to, the tree is written breadth first, spans are put in order. Only what is found
 * from the root is written. Tables are freed as soon as nothing needs them, so that the index does not come on top of all.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "image/layer_build.h"
#include "image/layer_build_private.h"
#include "image/layer_out.h"

/* -- hard links -------------------------------------------------------------------------------- */

static int layer_link_bad(const struct layer_build *b, const struct layer_pending *p,
			  struct vmofs_err *err)
{
	const char *name = b->heap.p + b->tree.nodes[p->node].name;
	char shown[128], target[128];

	return vmofs_err_set(err, -EBADMSG,
			     "a hard link of a layer is to what is not there: '%s' to '%s'",
			     layer_build_show(name, strlen(name), shown),
			     layer_build_show(b->targets + p->target, p->len, target));
}

/* It still is what its name stands for, and a directory that is there has it. */
static bool layer_link_counts(const struct layer_build *b, uint32_t k)
{
	const struct layer_tree *t = &b->tree;
	uint32_t node = b->pending[k].node;

	if (node == LAYER_NONE || t->nodes[node].file != (LAYER_PENDING | k))
		return false;
	while (node && node != LAYER_NONE)
		node = t->nodes[node].parent;
	return node == 0;
}

/* What a pending link is to: LAYER_NONE: nothing. */
static uint32_t layer_link_to(const struct layer_build *b, uint32_t node)
{
	const struct layer_pending *p = &b->pending[b->tree.nodes[node].file & ~LAYER_PENDING];

	return layer_build_find(b, b->targets + p->target, p->len);
}

/* All links of the chain that begins at @node are resolved at once, so the sum of all steps is their number. */
static int layer_link_resolve(struct layer_build *b, uint32_t node)
{
	struct layer_tree *t = &b->tree;
	uint32_t to = node, file;
	const struct layer_file *f;

	for (size_t steps = 0; t->nodes[to].file & LAYER_PENDING; steps++) {
		if (steps > b->n_pending)
			return -EBADMSG;
		to = layer_link_to(b, to);
		if (to == LAYER_NONE)
			return -EBADMSG;
	}
	f = layer_tree_file_of(t, to);
	if (S_ISDIR(f->mode) || f->flags & LAYER_WHITEOUT)
		return -EBADMSG;
	file = t->nodes[to].file;
	while (t->nodes[node].file & LAYER_PENDING) {
		to = layer_link_to(b, node);
		t->nodes[node].file = file;
		node = to;
	}
	return 0;
}

int layer_build_resolve(struct layer_build *b, struct vmofs_err *err)
{
	for (uint32_t k = 0; k < b->n_pending; k++)
		if (layer_link_counts(b, k) && layer_link_resolve(b, b->pending[k].node) < 0)
			return layer_link_bad(b, &b->pending[k], err);
	return 0;
}

/* -- spans ------------------------------------------------------------------------------------- */

static int layer_span_cmp(const void *a, const void *b)
{
	const struct layer_span *x = a, *y = b;

	return (x->data > y->data) - (x->data < y->data);
}

/* Digests in the order of their spans: who reads on has them side by side. */
static int layer_sort_digests(struct layer_build *b)
{
	uint8_t(*sorted)[LAYER_DIGEST_LEN];
	uint32_t n = 0;

	if (!b->n_digests)
		return 0;
	sorted = malloc(b->n_digests * sizeof *sorted);
	if (!sorted)
		return -ENOMEM;
	for (size_t k = 0; k < b->n_spans; k++) {
		struct layer_span *s = &b->spans[k];

		if (!s->digest)
			continue;
		memcpy(sorted[n], b->digests[s->digest - 1], sizeof *sorted);
		s->digest = ++n;
	}
	free(b->digests);
	b->digests = sorted;
	return 0;
}

int layer_build_sort_spans(struct layer_build *b, const struct layer_id *id, struct vmofs_err *err)
{
	bool sorted = true;

	for (size_t k = 1; sorted && k < b->n_spans; k++)
		sorted = b->spans[k - 1].data <= b->spans[k].data;
	if (!sorted) {
		qsort(b->spans, b->n_spans, sizeof *b->spans, layer_span_cmp);
		if (layer_sort_digests(b) < 0)
			return vmofs_err_set(err, -ENOMEM, "cannot sort a layer's spans");
	}
	for (size_t k = 0; k < b->n_spans; k++) {
		const struct layer_span *s = &b->spans[k];

		if (s->data > id->data_size || s->data_len > id->data_size - s->data)
			return vmofs_err_set(err, -EBADMSG,
					     "a span at %llu is beyond the layer's data",
					     (unsigned long long)s->data);
		if (k && s->data < s[-1].data + s[-1].data_len)
			return vmofs_err_set(err, -EBADMSG, "two spans of a layer have byte %llu",
					     (unsigned long long)s->data);
		if (s->kind != LAYER_SPAN_ZERO &&
		    (s->blob > id->blob_size || !s->blob_len ||
		     s->blob_len > id->blob_size - s->blob))
			return vmofs_err_set(err, -EBADMSG,
					     "a span at %llu comes from beyond the blob",
					     (unsigned long long)s->data);
	}
	return 0;
}

/* -- the tree ---------------------------------------------------------------------------------- */

struct layer_writer {
	struct layer_build *b;
	struct layer_out out;
	const struct layer_id *id;
	struct vmofs_err *err;
};

static int layer_write_inode(struct layer_writer *w, const struct layer_file *f, const char *name)
{
	struct layer_inode *i = layer_out_inode(&w->out);
	bool dir = S_ISDIR(f->mode);
	char shown[128];

	*i = (struct layer_inode){ .data = f->data,
				   .size = f->size,
				   .mtime = f->mtime,
				   .mtime_nsec = f->mtime_nsec,
				   .mode = f->mode,
				   .flags = (uint16_t)(f->flags & ~(LAYER_REAL | LAYER_CLOSED)),
				   .uid = f->uid,
				   .gid = f->gid,
				   .nlink = dir ? 2 : 1,
				   .xattrs = f->xattrs };
	if (!S_ISREG(f->mode) ||
	    (f->data <= w->id->data_size && f->size <= w->id->data_size - f->data))
		return 0;
	return vmofs_err_set(w->err, -EBADMSG, "a file of a layer is beyond the layer's data: '%s'",
			     layer_build_show(name, strlen(name), shown));
}

/* What the dirent @d of @dir names: a link to what has a number, or a new inode. */
static int layer_write_dirent(struct layer_writer *w, uint32_t dir, struct layer_dirent *d)
{
	struct layer_file *f = layer_tree_file_of(&w->b->tree, d->pad);
	struct layer_out *o = &w->out;
	int r;

	d->type = f->mode >> 12;
	if (!S_ISDIR(f->mode) && f->link) {
		d->ino = f->link;
		o->inodes[f->link - 1].nlink++;
		return 0;
	}
	r = layer_write_inode(w, f, w->b->heap.p + d->name);
	d->ino = o->n_inodes;
	if (S_ISDIR(f->mode)) {
		o->inodes[d->ino - 1].parent = dir;
		o->inodes[dir - 1].nlink++;
	} else {
		f->link = d->ino;
	}
	return r;
}

/*
 * Whether the child @f of a directory is there at all: where lower layers have no part, whiteouts say nothing, and what only they
 * imply does not exist.
 */
static bool layer_child_counts(struct layer_file *f, bool closed)
{
	if (!closed)
		return true;
	if (!S_ISDIR(f->mode))
		return !(f->flags & LAYER_WHITEOUT);
	f->flags |= LAYER_CLOSED;
	return f->flags & LAYER_REAL;
}

static int layer_write_dir(struct layer_writer *w, uint32_t dir, uint32_t node)
{
	const struct layer_tree *t = &w->b->tree;
	const struct layer_file *f = layer_tree_file_of(t, node);
	bool closed = f->flags & (LAYER_OPAQUE | LAYER_CLOSED);
	struct layer_out *o = &w->out;
	uint32_t first = o->n_dirents;
	int r = 0;

	for (uint32_t k = f->link; k != LAYER_NONE; k = t->nodes[k].next_child) {
		const char *name = w->b->heap.p + t->nodes[k].name;

		if (!layer_child_counts(layer_tree_file_of(t, k), closed))
			continue;
		o->dirents[o->n_dirents++] = (struct layer_dirent){ .name = t->nodes[k].name,
								    .len = (uint16_t)strlen(name),
								    .pad = k };
	}
	layer_out_sort(o, first, w->b->heap.p);
	o->inodes[dir - 1].first = first;
	o->inodes[dir - 1].n = o->n_dirents - first;
	for (uint32_t k = first; r == 0 && k < o->n_dirents; k++)
		r = layer_write_dirent(w, dir, &o->dirents[k]);
	return r;
}

static int layer_write_tree(struct layer_writer *w)
{
	const struct layer_out *o = &w->out;
	int r = layer_write_inode(w, layer_tree_file_of(&w->b->tree, 0), "");

	w->out.inodes[0].parent = LAYER_ROOT;
	if (r == 0)
		r = layer_write_dir(w, LAYER_ROOT, 0);
	for (uint32_t k = 0; r == 0 && k < o->n_dirents; k++)
		if (o->dirents[k].type == S_IFDIR >> 12)
			r = layer_write_dir(w, o->dirents[k].ino, o->dirents[k].pad);
	return r;
}

/* What the tree needed is given back; what is left goes into the index. */
static int layer_write_rest(struct layer_writer *w, void **out, size_t *len)
{
	struct layer_build *b = w->b;
	const struct layer_tail tail = { .layout = b->layout,
					 .n_layers = 1,
					 .id = *w->id,
					 .heap = &b->heap,
					 .spans = b->spans,
					 .digests = b->digests,
					 .windows = b->windows,
					 .n_spans = (uint32_t)b->n_spans,
					 .n_digests = (uint32_t)b->n_digests,
					 .windows_len = b->windows_len };

	layer_tree_release(&b->tree);
	return layer_out_end(&w->out, &tail, out, len, w->err);
}

int layer_build_end(struct layer_build *b, struct layer_id *id, void **out, size_t *len,
		    struct vmofs_err *err)
{
	struct layer_writer w = { .b = b, .id = id, .err = err };
	int r;

	if (b->layout == LAYER_LAYOUT_PAGES)
		id->data_size = b->placed;
	r = layer_build_resolve(b, err);
	if (r == 0)
		r = layer_build_sort_spans(b, id, err);
	if (r < 0)
		return r;
	layer_heap_close(&b->heap);
	layer_tree_close(&b->tree);
	if (layer_out_init(&w.out, (uint32_t)b->tree.n_nodes, (uint32_t)b->tree.n_nodes) < 0)
		return vmofs_err_set(err, -ENOMEM, "cannot write a layer's index");
	r = layer_write_tree(&w);
	if (r == 0)
		r = layer_write_rest(&w, out, len);
	layer_out_release(&w.out);
	return r;
}
