/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The merged tree of an image: what overlayfs shows of the layers' trees, with the one difference that a directory which a layer only
 * implies has the attributes that lower layers gave it, also where it is opaque. Breadth first, directory by directory: the sorted
 * names of all layers that have a part in it are merged, so memory is needed for the result and a list of parts, and for nothing else.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/digest.h"
#include "base/macros.h"
#include "image/layer_build.h"
#include "image/layer_out.h"

#define LAYER_MERGE_MAX 1024u /* overlayfs takes 500 */
#define LAYER_LAST      UINT32_MAX

/* A layer's directory that has a part in a merged one. */
struct layer_part {
	uint32_t layer; /* LAYER_LAST: the list ends */
	uint32_t ino;
};

/* What is left of a part's names. */
struct layer_cursor {
	uint32_t layer;
	const struct layer_dirent *d, *end;
};

/* An inode of a layer. */
struct layer_found {
	uint32_t layer;
	uint32_t ino;
	const struct layer_inode *i;
};

struct layer_merger {
	const struct layer_index *const *layers;
	unsigned n;
	struct layer_out out;
	struct layer_heap heap;
	struct layer_part *parts; /* lists, the uppermost first */
	size_t n_parts, parts_cap;
	struct layer_cursor *cursors; /* [n] */
	struct layer_found *found;    /* [n]: of one name, the uppermost first */
	uint64_t *base;               /* [n]: where a layer's inodes begin in `number` */
	uint32_t *number;             /* by inode of a layer: its number here; 0: none */
};

/* -- inodes ------------------------------------------------------------------------------------ */

static int layer_merge_xattrs(struct layer_merger *m, const struct layer_index *x,
			      const struct layer_inode *from, struct layer_inode *i)
{
	cleanup(mem_freep) struct layer_xattr *a = NULL;
	uint32_t n = layer_n_xattrs(x, from);

	if (!n)
		return 0;
	a = malloc(n * sizeof *a);
	if (!a)
		return -ENOMEM;
	for (uint32_t k = 0; k < n; k++)
		a[k] = layer_xattr(x, from, k);
	return layer_heap_xattrs(&m->heap, a, n, &i->xattrs);
}

/* A new inode with the attributes of @f; its number is m->out.n_inodes then. */
static int layer_merge_inode(struct layer_merger *m, const struct layer_found *f)
{
	struct layer_inode *i = layer_out_inode(&m->out);
	const struct layer_index *x = m->layers[f->layer];
	uint32_t at;
	int r = 0;

	*i = *f->i;
	i->flags &= LAYER_XATTRS;
	i->nlink = S_ISDIR(i->mode) ? 2 : 1;
	i->first = i->n = i->parent = 0;
	i->layer = f->layer;
	if (S_ISLNK(i->mode)) {
		r = layer_heap_text(&m->heap, layer_target(x, f->i), (size_t)i->size, &at);
		i->data = r < 0 ? 0 : at;
	}
	return r < 0 ? r : layer_merge_xattrs(m, x, f->i, i);
}

/* -- names ------------------------------------------------------------------------------------- */

static int layer_merge_part(struct layer_merger *m, uint32_t layer, uint32_t ino)
{
	int r = layer_grow(&m->parts, &m->parts_cap, m->n_parts, 1, sizeof *m->parts);

	if (r == 0)
		m->parts[m->n_parts++] = (struct layer_part){ layer, ino };
	return r;
}

/*
 * The parts of the directory that m->found[0] to [n - 1] make, as far down as it goes, and an inode for it; *from: where the list begins.
 */
static int layer_merge_dir_inode(struct layer_merger *m, unsigned n, uint32_t *from)
{
	const struct layer_found *attr = NULL;
	bool closed = false;
	int r = 0;

	*from = (uint32_t)m->n_parts;
	for (unsigned k = 0; r == 0 && k < n && !(closed && attr); k++) {
		const struct layer_found *f = &m->found[k];

		if (!S_ISDIR(f->i->mode))
			break;
		if (!closed)
			r = layer_merge_part(m, f->layer, f->ino);
		closed = closed || f->i->flags & LAYER_OPAQUE;
		if (!attr && !(f->i->flags & LAYER_IMPLIED))
			attr = f;
	}
	if (r == 0)
		r = layer_merge_part(m, LAYER_LAST, 0);
	return r < 0 ? r : layer_merge_inode(m, attr ? attr : &m->found[0]);
}

/* A file; *ino: its number, which it has already when another name of it was there before. */
static int layer_merge_file(struct layer_merger *m, uint32_t *ino)
{
	const struct layer_found *f = &m->found[0];
	uint32_t *number = &m->number[m->base[f->layer] + f->ino - 1];
	int r;

	if (*number) {
		*ino = *number;
		m->out.inodes[*ino - 1].nlink++;
		return 0;
	}
	r = layer_merge_inode(m, f);
	*ino = *number = m->out.n_inodes;
	return r;
}

/* The name @d of the directory @dir, of which m->found has what @n layers say. */
static int layer_merge_name(struct layer_merger *m, uint32_t dir, const struct layer_index *x,
			    const struct layer_dirent *d, unsigned n)
{
	struct layer_out *o = &m->out;
	struct layer_dirent *to = &o->dirents[o->n_dirents];
	int r;

	if (m->found[0].i->flags & LAYER_WHITEOUT)
		return 0;
	*to = (struct layer_dirent){ .len = d->len, .type = d->type };
	r = layer_heap_text(&m->heap, layer_name(x, d), d->len, &to->name);
	if (r < 0)
		return r;
	o->n_dirents++;
	if (!S_ISDIR(m->found[0].i->mode))
		return layer_merge_file(m, &to->ino);
	r = layer_merge_dir_inode(m, n, &to->pad);
	if (r < 0)
		return r;
	to->ino = o->n_inodes;
	o->inodes[to->ino - 1].parent = dir;
	o->inodes[dir - 1].nlink++;
	return 0;
}

/* -- directories ------------------------------------------------------------------------------- */

/* The next name in all of @n cursors; NULL: none. *x: whose. */
static const struct layer_dirent *layer_merge_least(const struct layer_merger *m, unsigned n,
						    const struct layer_index **x)
{
	const struct layer_dirent *least = NULL;

	for (unsigned k = 0; k < n; k++) {
		const struct layer_cursor *c = &m->cursors[k];
		const struct layer_index *of = m->layers[c->layer];

		if (c->d == c->end)
			continue;
		if (least &&
		    layer_name_cmp(layer_name(of, c->d), c->d->len, layer_name(*x, least),
				   least->len) >= 0)
			continue;
		least = c->d;
		*x = of;
	}
	return least;
}

/* What each layer has under the name of @d; the cursors go on. Returns how many have it. */
static unsigned layer_merge_find(struct layer_merger *m, unsigned n, const struct layer_index *x,
				 const struct layer_dirent *d)
{
	unsigned found = 0;

	for (unsigned k = 0; k < n; k++) {
		struct layer_cursor *c = &m->cursors[k];
		const struct layer_index *of = m->layers[c->layer];

		if (c->d == c->end ||
		    layer_name_cmp(layer_name(of, c->d), c->d->len, layer_name(x, d), d->len) != 0)
			continue;
		m->found[found++] =
			(struct layer_found){ c->layer, c->d->ino, &of->inodes[c->d->ino - 1] };
		c->d++;
	}
	return found;
}

/* The directory @dir, whose list of parts begins at @from. */
static int layer_merge_dir(struct layer_merger *m, uint32_t dir, uint32_t from)
{
	struct layer_inode *i = &m->out.inodes[dir - 1];
	const struct layer_index *x = NULL;
	const struct layer_dirent *d;
	unsigned n = 0;
	int r = 0;

	for (; m->parts[from].layer != LAYER_LAST; from++, n++) {
		const struct layer_part *p = &m->parts[from];
		const struct layer_inode *part;

		x = m->layers[p->layer];
		part = &x->inodes[p->ino - 1];
		m->cursors[n] = (struct layer_cursor){ p->layer, x->dirents + part->first,
						       x->dirents + part->first + part->n };
	}
	i->first = m->out.n_dirents;
	while (r == 0 && (d = layer_merge_least(m, n, &x)))
		r = layer_merge_name(m, dir, x, d, layer_merge_find(m, n, x, d));
	i->n = m->out.n_dirents - i->first;
	return r;
}

static int layer_merge_tree(struct layer_merger *m)
{
	const struct layer_out *o = &m->out;
	uint32_t from;
	int r;

	for (unsigned k = 0; k < m->n; k++) {
		unsigned layer = m->n - 1 - k;

		m->found[k] =
			(struct layer_found){ layer, LAYER_ROOT, &m->layers[layer]->inodes[0] };
	}
	r = layer_merge_dir_inode(m, m->n, &from);
	m->out.inodes[0].parent = LAYER_ROOT;
	if (r == 0)
		r = layer_merge_dir(m, LAYER_ROOT, from);
	for (uint32_t k = 0; r == 0 && k < o->n_dirents; k++)
		if (o->dirents[k].type == S_IFDIR >> 12)
			r = layer_merge_dir(m, o->dirents[k].ino, o->dirents[k].pad);
	return r;
}

/* ---------------------------------------------------------------------------------------------- */

static int layer_merge_init(struct layer_merger *m)
{
	uint64_t inodes = 0, dirents = 0;
	int r;

	for (unsigned k = 0; k < m->n; k++) {
		if (m->layers[k]->layout == LAYER_LAYOUT_MERGED)
			return -EINVAL;
		inodes += m->layers[k]->n_inodes;
		dirents += m->layers[k]->n_dirents;
	}
	if (inodes >= UINT32_MAX || dirents >= UINT32_MAX)
		return -E2BIG;
	r = layer_heap_init(&m->heap, UINT32_MAX);
	if (r == 0)
		r = layer_out_init(&m->out, (uint32_t)inodes, (uint32_t)dirents);
	if (r < 0)
		return r;
	m->cursors = calloc(m->n, sizeof *m->cursors);
	m->found = calloc(m->n, sizeof *m->found);
	m->base = calloc(m->n, sizeof *m->base);
	m->number = calloc((size_t)inodes, sizeof *m->number);
	if (!m->cursors || !m->found || !m->base || !m->number)
		return -ENOMEM;
	for (unsigned k = 1; k < m->n; k++)
		m->base[k] = m->base[k - 1] + m->layers[k - 1]->n_inodes;
	return 0;
}

static void layer_merge_release(struct layer_merger *m)
{
	layer_out_release(&m->out);
	layer_heap_release(&m->heap);
	free(m->parts);
	free(m->cursors);
	free(m->found);
	free(m->base);
	free(m->number);
}

/* What the image is known by. */
static int layer_merge_id(const struct layer_merger *m, struct layer_id *id)
{
	struct sha256 *s = sha256_new();

	if (!s)
		return -ENOMEM;
	for (unsigned k = 0; k < m->n; k++)
		sha256_add(s, m->layers[k]->id.diff, LAYER_DIGEST_LEN);
	sha256_end(s, id->blob);
	sha256_free(s);
	return 0;
}

int layer_merge(const struct layer_index *const *layers, unsigned n, void **out, size_t *len,
		struct vmofs_err *err)
{
	struct layer_merger m = { .layers = layers, .n = n };
	struct layer_tail tail = { .layout = LAYER_LAYOUT_MERGED, .n_layers = n, .heap = &m.heap };
	int r;

	if (n == 0 || n > LAYER_MERGE_MAX)
		return vmofs_err_set(err, n ? -E2BIG : -EINVAL, "an image of %u layers", n);
	r = layer_merge_init(&m);
	if (r == 0)
		r = layer_merge_tree(&m);
	if (r == 0)
		r = layer_merge_id(&m, &tail.id);
	if (r < 0) {
		vmofs_err_set(err, r, "cannot merge %u layers: %s", n, strerror(-r));
	} else {
		layer_heap_close(&m.heap);
		r = layer_out_end(&m.out, &tail, out, len, err);
	}
	layer_merge_release(&m);
	return r;
}
