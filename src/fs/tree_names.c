/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a number, a key and a moment stand for in a tree. Numbers count up and are never used twice; the
 * table of them is dense, so the number itself is the hash.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "fs/names.h"
#include "fs/tree_private.h"

enum { BUCKETS_MIN = 1024, NEGATIVE_BUCKETS = 4096 };

/* ---- numbers ---- */

static struct node **bucket(struct tree *t, uint64_t ino) REQUIRES(t->lock)
{
	return &t->by_ino[ino & (t->n_buckets - 1)];
}

struct node *tree_find_ino(struct tree *t, uint64_t ino)
{
	struct node *n = *bucket(t, ino);

	while (n && n->ino != ino)
		n = n->hash_next;
	return n;
}

static void buckets_resize(struct tree *t, uint64_t cap) REQUIRES(t->lock)
{
	struct node **old = t->by_ino;
	uint64_t n_old = t->n_buckets;
	struct node **now = calloc(cap, sizeof(struct node *));

	if (!now)
		return; /* longer chains */
	t->by_ino = now;
	t->n_buckets = cap;
	for (uint64_t i = 0; i < n_old; i++)
		while (old[i]) {
			struct node *n = old[i];

			old[i] = n->hash_next;
			n->hash_next = *bucket(t, n->ino);
			*bucket(t, n->ino) = n;
		}
	free(old);
}

/* The file that is the root, for the first time. */
static bool is_root_file(struct tree *t, const struct node *n) REQUIRES(t->lock)
{
	return t->p.root_file && t->root && n->parent == t->root &&
		!strcmp(node_name(n), t->p.root_file) && !tree_find_ino(t, FS_TREE_ROOT);
}

void tree_number(struct tree *t, struct node *n)
{
	if (t->n_nodes >= t->n_buckets)
		buckets_resize(t, 2 * t->n_buckets);
	n->ino = is_root_file(t, n) ? FS_TREE_ROOT : t->next_ino++;
	n->hash_next = *bucket(t, n->ino);
	*bucket(t, n->ino) = n;
	t->n_nodes++;
	tree_count_node(t, n, 1);
}

static struct node **link_of(struct tree *t, const struct node *n) REQUIRES(t->lock)
{
	struct node **link = bucket(t, n->ino);

	while (*link != n)
		link = &(*link)->hash_next;
	return link;
}

void tree_unnumber(struct tree *t, struct node *n)
{
	*link_of(t, n) = n->hash_next;
	t->n_nodes--;
	tree_count_node(t, n, -1);
	if (t->n_buckets > BUCKETS_MIN && t->n_nodes < t->n_buckets / 8)
		buckets_resize(t, t->n_buckets / 4);
}

void tree_renumber(struct tree *t, struct node *old, struct node *now)
{
	now->ino = old->ino;
	now->n_lookup = old->n_lookup;
	now->parent = old->parent;
	now->hash_next = old->hash_next;
	*link_of(t, old) = now;
	tree_count_node(t, old, -1);
	tree_count_node(t, now, 1);
	node_free(old);
}

/* ---- keys ---- */

static size_t key_part(const struct node *n)
{
	return n->name_len + (node_is_dir(n) ? 1u : n->flags & NODE_RCLONE ? NAME_RCLONE_LEN : 0u);
}

int tree_key(struct tree *t, const struct node *n, char key[VMOFS_KEY_MAX])
{
	size_t len = 0;
	const struct node *i;

	for (i = n; i->parent; i = i->parent)
		len += key_part(i);
	if (i != t->root)
		return -ESTALE;
	if (len >= VMOFS_KEY_MAX)
		return -ENAMETOOLONG;
	key[len] = '\0';
	for (size_t at = len; n->parent; n = n->parent) {
		at -= key_part(n);
		memcpy(key + at, node_name(n), n->name_len);
		if (node_is_dir(n))
			key[at + n->name_len] = '/';
		else if (n->flags & NODE_RCLONE)
			memcpy(key + at + n->name_len, NAME_RCLONE, NAME_RCLONE_LEN);
	}
	return (int)len;
}

/* ---- freshness ---- */

static bool lasts(const struct tree *t)
{
	return t->p.immutable || t->complete;
}

bool tree_is_fresh(struct tree *t, uint64_t asked_ns, const struct fs_tree_wait *w)
{
	if (!asked_ns)
		return false;
	if (w && w->since_ns && asked_ns >= w->since_ns)
		return true;
	return lasts(t) || tree_now(t) < asked_ns + t->p.ttl_ns;
}

/* Whether all was told that @w has waited for; by now the next listing may be under way. */
static bool dir_is_whole(const struct dir *d, const struct fs_tree_wait *w)
{
	return d->whole_ns && w && w->since_ns && d->whole_ns >= w->since_ns;
}

bool tree_dir_is_fresh(struct tree *t, const struct dir *d, const struct fs_tree_wait *w)
{
	return (d->state == DIR_LISTED && tree_is_fresh(t, d->asked_ns, w)) || dir_is_whole(d, w);
}

uint32_t tree_tick(struct tree *t, uint64_t ns)
{
	return (uint32_t)((ns - t->start_ns) / TREE_TICK_NS) + 1;
}

static uint64_t tick_ns(const struct tree *t, uint32_t tick)
{
	return tick ? t->start_ns + (tick - 1) * TREE_TICK_NS : 0;
}

static bool seen_by_listing(const struct dir *d, const struct node *n)
{
	return !!(n->flags & NODE_SEEN) == d->seen;
}

/* When what is known of @n was asked for by a listing of its directory; 0: it does not count. */
static uint64_t listed_ns(const struct node *n)
{
	const struct dir *d = n->parent ? n->parent->dir : NULL;

	if (!d || n->flags & NODE_DOUBT)
		return 0;
	if (d->state == DIR_LISTED || (d->state == DIR_LISTING && seen_by_listing(d, n)))
		return d->asked_ns;
	return 0;
}

bool tree_node_is_fresh(struct tree *t, const struct node *n, const struct fs_tree_wait *w)
{
	if (!n->parent)
		return n == t->root;
	if (tree_is_kept(n) || tree_is_fresh(t, listed_ns(n), w))
		return true;
	if (!(n->flags & NODE_DOUBT) && dir_is_whole(n->parent->dir, w))
		return true;
	if (!n->fresh)
		return false;
	/* A tick may have been asked for anywhere in it. */
	if (w && w->since_ns && n->fresh >= tree_tick(t, w->since_ns))
		return true;
	return tree_is_fresh(t, tick_ns(t, n->fresh), NULL);
}

uint64_t tree_rest(struct tree *t, uint64_t asked_ns, uint64_t ttl_ns)
{
	uint64_t now = tree_now(t);

	if (t->p.immutable)
		return FS_TREE_FOREVER;
	if (t->complete)
		return ttl_ns;
	return asked_ns + ttl_ns > now ? asked_ns + ttl_ns - now : 0;
}

uint64_t tree_node_ttl(struct tree *t, const struct node *n)
{
	uint64_t own = tick_ns(t, n->fresh);
	uint64_t listed = listed_ns(n);

	if (n == t->root)
		return t->p.immutable ? FS_TREE_FOREVER : t->p.ttl_ns;
	if (tree_is_kept(n))
		return t->p.ttl_ns;
	return tree_rest(t, MAX(own, listed), t->p.ttl_ns);
}

uint64_t tree_negative_ttl(struct tree *t, uint64_t asked_ns)
{
	return tree_rest(t, asked_ns, t->p.negative_ttl_ns);
}

/* ---- names known not to exist ---- */

static uint64_t negative_hash(uint64_t dir, const char *name, size_t len)
{
	uint64_t h = 0xcbf29ce484222325 ^ dir;

	for (size_t i = 0; i < len; i++)
		h = (h ^ (unsigned char)name[i]) * 0x100000001b3;
	return (h ^ h >> 32) % NEGATIVE_BUCKETS;
}

static struct negative **negative_link(struct tree *t, uint64_t dir, const char *name, size_t len)
	REQUIRES(t->lock)
{
	struct negative **link = &t->negatives[negative_hash(dir, name, len)];

	while (*link &&
	       ((*link)->dir != dir || (*link)->len != len || memcmp((*link)->name, name, len)))
		link = &(*link)->next;
	return link;
}

uint64_t tree_negative(struct tree *t, uint64_t dir, const char *name, size_t len)
{
	const struct negative *g;

	if (!t->n_negative)
		return 0;
	g = *negative_link(t, dir, name, len);
	return g ? g->asked_ns : 0;
}

static void negative_free(struct tree *t, struct negative **link) REQUIRES(t->lock)
{
	struct negative *g = *link;

	*link = g->next;
	vmofs_list_del(&g->link);
	free(g);
	t->n_negative--;
}

void tree_drop_negative(struct tree *t, uint64_t dir, const char *name, size_t len)
{
	struct negative **link;

	if (!t->n_negative)
		return;
	link = negative_link(t, dir, name, len);
	if (*link)
		negative_free(t, link);
}

void tree_add_negative(struct tree *t, uint64_t dir, const char *name, size_t len,
		       uint64_t asked_ns)
{
	struct negative **link;
	struct negative *g;

	if (!t->negatives)
		t->negatives = calloc(NEGATIVE_BUCKETS, sizeof(struct negative *));
	g = t->negatives ? malloc(sizeof *g + len) : NULL;
	if (!g)
		return; /* it will be asked for again */
	tree_drop_negative(t, dir, name, len);
	*g = (struct negative){ .dir = dir, .asked_ns = asked_ns, .len = (uint8_t)len };
	memcpy(g->name, name, len);
	link = negative_link(t, dir, name, len);
	*link = g;
	vmofs_list_add_tail(&t->negative_lru, &g->link);
	if (++t->n_negative <= TREE_NEGATIVE_MAX)
		return;
	g = vmofs_list_first(&t->negative_lru, struct negative, link);
	tree_drop_negative(t, g->dir, g->name, g->len);
}

void tree_drop_negatives(struct tree *t)
{
	while (!vmofs_list_empty(&t->negative_lru)) {
		struct negative *g = vmofs_list_first(&t->negative_lru, struct negative, link);

		tree_drop_negative(t, g->dir, g->name, g->len);
	}
}
