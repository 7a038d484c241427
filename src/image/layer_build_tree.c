/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names and files while a layer's index is made (layer_build_private.h). A node is found by its parent and its name's place in the
 * heap, through one hash table of all; the multiplier is random, so nobody chooses names that collide.
 */
#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "base/macros.h"
#include "image/layer_build_private.h"

enum { LAYER_BUCKET_BITS_MIN = 8 };

static uint32_t *layer_bucket(const struct layer_tree *t, uint32_t parent, uint32_t name)
{
	uint64_t h = ((uint64_t)parent << 32 | name) * t->key;

	return &t->buckets[h >> (64 - t->bucket_bits)];
}

static int layer_tree_rehash(struct layer_tree *t, unsigned bits)
{
	uint32_t *buckets = malloc(sizeof *buckets << bits);

	if (!buckets)
		return -ENOMEM;
	memset(buckets, 0xff, sizeof *buckets << bits);
	free(t->buckets);
	t->buckets = buckets;
	t->bucket_bits = bits;
	for (size_t i = 1; i < t->n_nodes; i++) {
		struct layer_node *n = &t->nodes[i];
		uint32_t *head;

		if (n->parent == LAYER_NONE)
			continue;
		head = layer_bucket(t, n->parent, n->name);
		n->next_hash = *head;
		*head = (uint32_t)i;
	}
	return 0;
}

int layer_tree_init(struct layer_tree *t, uint32_t limit)
{
	*t = (struct layer_tree){ .limit = limit };
	if (getrandom(&t->key, sizeof t->key, 0) != (ssize_t)sizeof t->key)
		return -EIO;
	t->key |= 1;
	return layer_tree_rehash(t, LAYER_BUCKET_BITS_MIN);
}

void layer_tree_close(struct layer_tree *t)
{
	free(t->buckets);
	t->buckets = NULL;
}

void layer_tree_release(struct layer_tree *t)
{
	layer_tree_close(t);
	free(t->nodes);
	free(t->files);
	*t = (struct layer_tree){ 0 };
}

uint32_t layer_tree_find(const struct layer_tree *t, uint32_t parent, uint32_t name)
{
	uint32_t i = *layer_bucket(t, parent, name);

	while (i != LAYER_NONE && (t->nodes[i].parent != parent || t->nodes[i].name != name))
		i = t->nodes[i].next_hash;
	return i;
}

struct layer_file *layer_tree_file_of(const struct layer_tree *t, uint32_t node)
{
	uint32_t file = t->nodes[node].file;

	return file & LAYER_PENDING ? NULL : &t->files[file];
}

bool layer_tree_is_dir(const struct layer_tree *t, uint32_t node)
{
	const struct layer_file *f = layer_tree_file_of(t, node);

	return f && S_ISDIR(f->mode);
}

int layer_tree_file(struct layer_tree *t, const struct layer_file *f, uint32_t *file)
{
	int r;

	/* A name may have had many, one after the other: as many as there are entries, and no more. */
	if (t->n_files >= 2 * (size_t)t->limit)
		return -E2BIG;
	r = layer_grow(&t->files, &t->files_cap, t->n_files, 1, sizeof *t->files);
	if (r < 0)
		return r;
	*file = (uint32_t)t->n_files++;
	t->files[*file] = *f;
	if (S_ISDIR(f->mode))
		t->files[*file].link = LAYER_NONE;
	return 0;
}

int layer_tree_add(struct layer_tree *t, uint32_t parent, uint32_t name, uint32_t file,
		   uint32_t *node)
{
	struct layer_node *n;
	int r;

	if (t->n_nodes >= t->limit)
		return -E2BIG;
	r = layer_grow(&t->nodes, &t->nodes_cap, t->n_nodes, 1, sizeof *t->nodes);
	if (r == 0 && t->n_nodes >> t->bucket_bits)
		r = layer_tree_rehash(t, t->bucket_bits + 1);
	if (r < 0)
		return r;
	*node = (uint32_t)t->n_nodes++;
	n = &t->nodes[*node];
	*n = (struct layer_node){ parent, name, LAYER_NONE, LAYER_NONE, file };
	if (*node) {
		struct layer_file *dir = layer_tree_file_of(t, parent);
		uint32_t *head = layer_bucket(t, parent, name);

		n->next_child = dir->link;
		dir->link = *node;
		n->next_hash = *head;
		*head = *node;
	}
	return 0;
}

/* Nobody finds @node any more. */
static void layer_tree_forget(struct layer_tree *t, uint32_t node)
{
	struct layer_node *n = &t->nodes[node];
	uint32_t *at = layer_bucket(t, n->parent, n->name);

	while (*at != node)
		at = &t->nodes[*at].next_hash;
	*at = n->next_hash;
	n->parent = LAYER_NONE;
}

void layer_tree_set(struct layer_tree *t, uint32_t node, uint32_t file)
{
	if (layer_tree_is_dir(t, node)) {
		struct layer_file *f = layer_tree_file_of(t, node);

		for (uint32_t i = f->link; i != LAYER_NONE; i = t->nodes[i].next_child)
			layer_tree_forget(t, i);
	}
	t->nodes[node].file = file;
}

int layer_path_next(struct layer_path *path, const char **name, size_t *len)
{
	while (path->p < path->end) {
		const char *slash = memchr(path->p, '/', (size_t)(path->end - path->p));
		const char *p = path->p;
		size_t n = (size_t)((slash ? slash : path->end) - p);

		path->p = slash ? slash + 1 : path->end;
		if (!n || (n == 1 && p[0] == '.'))
			continue;
		if (n > LAYER_NAME_MAX || (n == 2 && p[0] == '.' && p[1] == '.'))
			return -EBADMSG;
		*name = p;
		*len = n;
		return 1;
	}
	return 0;
}

const char *layer_build_show(const char *p, size_t len, char out[128])
{
	size_t n = MIN(len, (size_t)127);

	for (size_t i = 0; i < n; i++)
		out[i] = (unsigned char)p[i] < 0x20 || p[i] == 0x7f ? '?' : p[i];
	out[n] = 0;
	return out;
}
