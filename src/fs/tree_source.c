/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A tree over a source of keys: what the kernel asks, answered from the nodes, or by asking the source. How
 * it is done is told in README.md. Runs on the loops and on threads of the control socket; each
 * operation takes the lock once and does what must not be done under it when it lets go.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/macros.h"
#include "fs/names.h"
#include "fs/object.h"
#include "fs/object_cache.h"
#include "fs/tree_private.h"

enum { COOKIE_DOT = 1, COOKIE_DOTDOT = 2, COOKIE_FIRST = 2, HEADS_AHEAD = 8 };

/* ---- attributes ---- */

static mode_t node_mode(const struct tree *t, const struct node *n, const struct node_ext *x)
{
	if (node_is_dir(n))
		return S_IFDIR | (x->has & VMOFS_HAS_MODE ? x->mode & 07777 : t->p.dir_mode);
	if (n->flags & NODE_LINK)
		return S_IFLNK | 0777;
	return S_IFREG | (x->has & VMOFS_HAS_MODE ? x->mode & 07777 : t->p.file_mode);
}

static uint64_t node_size(const struct node *n)
{
	size_t len;

	if (node_is_dir(n))
		return 0;
	if (n->flags & NODE_LINK && node_target(n, &len))
		return len;
	return n->size == VMOFS_SIZE_UNKNOWN ? 0 : n->size;
}

void tree_fill_attr(struct tree *t, const struct node *n, struct fs_tree_attr *out)
{
	int64_t mtime = n->mtime_ns ? n->mtime_ns : t->birth_ns;
	struct timespec ts = { mtime / (int64_t)NSEC_PER_SEC, mtime % (int64_t)NSEC_PER_SEC };
	uint64_t size = node_size(n);
	struct node_ext x = { 0 };

	(void)node_ext(n, &x);
	if (node_is_dir(n) && n->dir)
		x = (struct node_ext){ .has = n->dir->attr.has,
				       .mode = n->dir->attr.mode,
				       .uid = n->dir->attr.uid,
				       .gid = n->dir->attr.gid };
	*out = (struct fs_tree_attr){
		.st = {
			.st_ino = n->ino,
			.st_mode = node_mode(t, n, &x),
			.st_nlink = n->flags & NODE_NAMELESS ? 0 : 1,
			.st_uid = x.has & VMOFS_HAS_UID ? x.uid : t->p.uid,
			.st_gid = x.has & VMOFS_HAS_GID ? x.gid : t->p.gid,
			.st_size = (off_t)size,
			.st_blocks = (blkcnt_t)((size + 511) / 512),
			.st_blksize = (blksize_t)KIB(128),
			.st_atim = ts,
			.st_mtim = ts,
			.st_ctim = ts,
		},
		.ttl_ns = tree_node_ttl(t, n),
	};
	/* A version does not change; a directory's time may. */
	out->attr_ttl_ns = node_is_dir(n) ? out->ttl_ns : FS_TREE_FOREVER;
	if (!(n->flags & NODE_HELD))
		return;
	out->attr_ttl_ns = t->p.ttl_ns;
	if (t->p.local_attr)
		t->p.local_attr(t->p.local_arg, n->ino, &out->st);
}

static int source_getattr(struct fs_tree *base, uint64_t ino, struct fs_tree_wait *w,
			  struct fs_tree_attr *out)
{
	struct tree *t = tree_of_base(base);
	struct node *n;
	int r = 0;

	tree_lock(t);
	n = tree_find_ino(t, ino);
	if (!n)
		r = -ESTALE;
	else if (tree_needs_head(t, n) && !(n->flags & NODE_TOLD))
		r = w ? tree_ask_head(t, n, w) : -EAGAIN;
	else
		tree_fill_attr(t, n, out);
	tree_unlock(t);
	return r;
}

/* ---- names ---- */

/* Others that follow will be asked for next, when one after the other is. */
static void heads_ahead(struct tree *t, const struct node *n) REQUIRES(t->lock)
{
	struct dir *d = n->parent->dir;
	struct node *before = n->slot ? d->slots[n->slot - 1] : NULL;
	uint32_t end = MIN(n->slot + 1 + HEADS_AHEAD, d->n_slots);

	if (!before || !(before->flags & NODE_HEADED))
		return;
	for (uint32_t i = n->slot + 1; i < end; i++)
		if (d->slots[i] && tree_needs_head(t, d->slots[i]))
			(void)tree_ask_head(t, d->slots[i], NULL);
}

static int give(struct tree *t, struct node *n, struct fs_tree_wait *w, struct fs_tree_attr *out)
	REQUIRES(t->lock)
{
	if (tree_needs_head(t, n)) {
		int r = w ? tree_ask_head(t, n, w) : -EAGAIN;

		if (r == -EINPROGRESS)
			heads_ahead(t, n);
		return r;
	}
	tree_hold(t, n);
	n->flags = (uint16_t)((n->flags & ~NODE_AWAITED) | NODE_TOLD);
	tree_fill_attr(t, n, out);
	return 0;
}

/* What is not in a listing does not exist. */
static uint64_t absent_ttl(struct tree *t, uint64_t listed_ns) REQUIRES(t->lock)
{
	uint64_t ttl = tree_rest(t, listed_ns, t->p.ttl_ns);

	return t->p.immutable ? ttl : MIN(ttl, t->p.negative_ttl_ns);
}

static bool fresh_negative(struct tree *t, uint64_t asked_ns, const struct fs_tree_wait *w)
	REQUIRES(t->lock)
{
	if (!asked_ns)
		return false;
	return (w && w->since_ns && asked_ns >= w->since_ns) || tree_negative_ttl(t, asked_ns) > 0;
}

/* More of it, or the end. A walk that fills it goes on as long as somebody waits. */
int tree_wait_for_listing(struct tree *t, struct dir *d, struct fs_tree_wait *w)
{
	int r = tree_wait_on(t, w, &d->waits, d->asked_ns);

	if (r == -EINPROGRESS)
		tree_walk_push(t, d);
	return r;
}

static int lookup_in(struct tree *t, struct dir *d, const char *name, struct fs_tree_wait *w,
		     struct fs_tree_attr *out) REQUIRES(t->lock)
{
	size_t len = strlen(name);
	struct node *n = dir_find(d, name, len);
	uint64_t negative;

	if (n && tree_node_is_fresh(t, n, w))
		return give(t, n, w, out);
	*out = (struct fs_tree_attr){ 0 };
	if (!n && tree_dir_is_fresh(t, d, w)) {
		out->ttl_ns = absent_ttl(t, d->whole_ns);
		return -ENOENT;
	}
	negative = n ? 0 : tree_negative(t, d->node->ino, name, len);
	if (fresh_negative(t, negative, w)) {
		out->ttl_ns = tree_negative_ttl(t, negative);
		return -ENOENT;
	}
	if (!w)
		return -EAGAIN;
	if (d->state == DIR_LISTING)
		return tree_wait_for_listing(t, d, w);
	return tree_ask_name(t, d, name, w);
}

static int lookup_locked(struct tree *t, uint64_t parent, const char *name, struct fs_tree_wait *w,
			 struct fs_tree_attr *out) REQUIRES(t->lock)
{
	struct node *p = tree_find_ino(t, parent);
	int why = name_check(name, strlen(name));
	struct dir *d;
	int r;

	*out = (struct fs_tree_attr){ 0 };
	if (!p)
		return -ESTALE;
	if (!node_is_dir(p))
		return -ENOTDIR;
	if (why != NAME_OK)
		return why == FS_HIDDEN_LONG ? -ENAMETOOLONG : -ENOENT;
	r = tree_want_load(t, w);
	if (r)
		return r;
	d = tree_dir(t, p);
	if (!d)
		return -ENOMEM;
	tree_touch(t, d);
	return lookup_in(t, d, name, w, out);
}

static int source_lookup(struct fs_tree *base, uint64_t parent, const char *name,
			 struct fs_tree_wait *w, struct fs_tree_attr *out)
{
	struct tree *t = tree_of_base(base);
	int r;

	tree_lock(t);
	r = lookup_locked(t, parent, name, w, out);
	tree_unlock(t);
	return r;
}

static void source_forget(struct fs_tree *base, uint64_t ino, uint64_t n)
{
	struct tree *t = tree_of_base(base);

	tree_lock(t);
	tree_forget(t, ino, n);
	tree_unlock(t);
}

/* ---- directories ---- */

int tree_find_dir(struct tree *t, uint64_t ino, struct dir **out)
{
	struct node *n = tree_find_ino(t, ino);

	if (!n)
		return -ESTALE;
	if (!node_is_dir(n))
		return -ENOTDIR;
	*out = tree_dir(t, n);
	return *out ? 0 : -ENOMEM;
}

static int source_opendir(struct fs_tree *base, uint64_t ino)
{
	struct tree *t = tree_of_base(base);
	struct dir *d;
	int r;

	tree_lock(t);
	r = tree_find_dir(t, ino, &d);
	if (!r)
		d->opens++;
	tree_unlock(t);
	return r;
}

static void source_releasedir(struct fs_tree *base, uint64_t ino)
{
	struct tree *t = tree_of_base(base);
	struct dir *d;

	tree_lock(t);
	if (tree_find_dir(t, ino, &d) == 0 && d->opens) {
		d->opens--;
		if (d->node->flags & NODE_NAMELESS)
			tree_put_away(t, d->node);
		tree_evict_now(t);
	}
	tree_unlock(t);
}

static bool fill_dots(struct tree *t, const struct dir *d, uint64_t *cookie, fs_tree_fill *fill,
		      void *arg) REQUIRES(t->lock)
{
	const struct node *self = d->node;
	const struct node *parent = self->parent ? self->parent : self;
	struct fs_tree_attr a;

	for (; *cookie < COOKIE_FIRST; ++*cookie) {
		tree_fill_attr(t, *cookie ? parent : self, &a);
		if (!fill(arg,
			  &(struct fs_tree_entry){
				  .name = *cookie ? ".." : ".", .attr = &a, .next = *cookie + 1 }))
			return false;
	}
	return true;
}

/*
 * Whether a directory of the name of the file @n may be what the listing tells next, or soon: in order
 * there is nothing between "x" and "x/" but names that begin with "x".
 */
static bool may_be_dir(const struct dir *d, const struct node *n)
{
	const struct node *last = NULL;

	if (d->state == DIR_LISTING && !d->again && d->told_slot < d->n_slots)
		last = d->slots[d->told_slot];
	return last && !node_is_dir(n) && last->name_len >= n->name_len &&
		!memcmp(node_name(last), node_name(n), n->name_len) &&
		(unsigned char)node_name(last)[n->name_len] < '/';
}

/* How many entries were given. */
static unsigned fill_entries(struct tree *t, const struct dir *d, uint64_t cookie, bool plus,
			     fs_tree_fill *fill, void *arg) REQUIRES(t->lock)
{
	unsigned n_given = 0;

	for (uint64_t i = cookie - COOKIE_FIRST; i < d->n_slots; i++) {
		struct node *n = d->slots[i];
		bool whole = n && !tree_needs_head(t, n);
		struct fs_tree_attr a;

		if (!n)
			continue;
		if (may_be_dir(d, n))
			break;
		tree_fill_attr(t, n, &a);
		if (!fill(arg,
			  &(struct fs_tree_entry){ .name = node_name(n),
						   .attr = &a,
						   .whole = whole,
						   .next = i + COOKIE_FIRST + 1 }))
			break;
		n_given++;
		if (!plus || !whole)
			continue;
		tree_hold(t, n);
		n->flags |= NODE_TOLD;
	}
	return n_given;
}

/* Whether the reader has to wait before anything is given; else 0. */
static int readdir_begin(struct tree *t, struct dir *d, uint64_t cookie, struct fs_tree_wait *w)
	REQUIRES(t->lock)
{
	int r = 0;

	if (!cookie) {
		tree_touch(t, d);
		tree_walk_opened(t, d);
	}
	/* In the middle it goes on with what it has begun with, unless that has failed. */
	if (d->state == DIR_UNLISTED || (!cookie && !tree_dir_is_fresh(t, d, w))) {
		if (d->state != DIR_LISTING)
			r = w ? tree_want_listing(t, d, w) : -EAGAIN;
		else if (d->again)
			r = tree_wait_for_listing(t, d, w);
	}
	return r;
}

static int readdir_locked(struct tree *t, uint64_t ino, uint64_t cookie, bool plus,
			  struct fs_tree_wait *w, fs_tree_fill *fill, void *arg) REQUIRES(t->lock)
{
	struct dir *d;
	uint64_t at = cookie;
	int r = tree_find_dir(t, ino, &d);

	if (!r)
		r = tree_want_load(t, w);
	if (!r)
		r = readdir_begin(t, d, cookie, w);
	if (r)
		return r;
	if (!fill_dots(t, d, &at, fill, arg))
		return 0;
	if (fill_entries(t, d, at, plus, fill, arg) || at > cookie)
		return 0;
	if (d->state == DIR_LISTING && !tree_dir_is_fresh(t, d, w))
		return tree_wait_for_listing(t, d, w);
	d->read_whole = true;
	return 0;
}

static int source_readdir(struct fs_tree *base, uint64_t ino, uint64_t cookie, bool plus,
			  struct fs_tree_wait *w, fs_tree_fill *fill, void *arg)
{
	struct tree *t = tree_of_base(base);
	int r;

	tree_lock(t);
	r = readdir_locked(t, ino, cookie, plus, w, fill, arg);
	tree_unlock(t);
	return r;
}

/* ---- files ---- */

static int64_t readlink_locked(struct tree *t, uint64_t ino, struct fs_tree_wait *w, char *buf,
			       size_t cap) REQUIRES(t->lock)
{
	struct node *n = tree_find_ino(t, ino);
	const char *target;
	size_t len;

	if (!n)
		return -ESTALE;
	if (!(n->flags & NODE_LINK))
		return -EINVAL;
	target = node_target(n, &len);
	if (!target)
		return w ? tree_ask_target(t, n, w) : -EAGAIN;
	len = MIN(len, cap);
	memcpy(buf, target, len);
	return (int64_t)len;
}

static int64_t source_readlink(struct fs_tree *base, uint64_t ino, struct fs_tree_wait *w,
			       char *buf, size_t cap)
{
	struct tree *t = tree_of_base(base);
	int64_t r;

	tree_lock(t);
	r = readlink_locked(t, ino, w, buf, cap);
	tree_unlock(t);
	return r;
}

/* What the object is made of. -ESTALE: it can only be open already. */
struct to_open {
	struct vmofs_entry entry;
	char key[VMOFS_KEY_MAX];
	char validator[NODE_VALIDATOR_MAX];
};

static int open_locked(struct tree *t, uint64_t ino, struct fs_tree_wait *w, struct to_open *o)
	REQUIRES(t->lock)
{
	struct node *n = tree_find_ino(t, ino);
	int len;

	if (!n)
		return -ESTALE;
	if (node_is_dir(n))
		return -EISDIR;
	if (n->flags & NODE_LINK)
		return -ELOOP;
	len = tree_key(t, n, o->key);
	if (len < 0)
		return len;
	if (tree_needs_head(t, n) && !(n->flags & NODE_TOLD))
		return w ? tree_ask_head(t, n, w) : -EAGAIN;
	if (n->size == VMOFS_SIZE_UNKNOWN)
		return -EIO; /* the origin does not say where it ends */
	node_entry(n, &o->entry, o->validator);
	o->entry.key = o->key;
	o->entry.key_len = (size_t)len;
	n->flags |= NODE_OPENED;
	return 0;
}

static struct fs_object *source_find(struct fs_tree *base, uint64_t ino)
{
	return object_cache_find(tree_of_base(base)->p.cache, ino);
}

static int source_open(struct fs_tree *base, uint64_t ino, struct fs_tree_wait *w,
		       struct fs_object **out)
{
	struct tree *t = tree_of_base(base);
	struct to_open o;
	int r;

	*out = NULL;
	tree_lock(t);
	r = open_locked(t, ino, w, &o);
	tree_unlock(t);
	if (r == -ESTALE)
		*out = source_find(base, ino);
	if (r < 0)
		return *out ? 0 : r;
	return object_cache_open(t->p.cache, ino, &o.entry, out);
}

static void source_close(struct fs_tree *base, struct fs_object *o)
{
	object_cache_put(tree_of_base(base)->p.cache, o);
}

static bool source_place(struct fs_tree *base, uint64_t ino, uint64_t *dir, uint64_t *place)
{
	struct tree *t = tree_of_base(base);
	struct node *n;
	bool known;

	tree_lock(t);
	n = tree_find_ino(t, ino);
	known = n && n->parent && n->parent->dir && n->parent->dir->state == DIR_LISTED;
	if (known) {
		*dir = n->parent->ino;
		*place = n->slot;
	}
	tree_unlock(t);
	return known;
}

static unsigned source_following(struct fs_tree *base, uint64_t dir, uint64_t place,
				 struct fs_sibling *out, unsigned n)
{
	struct tree *t = tree_of_base(base);
	const struct dir *d;
	const struct node *p;
	unsigned found = 0;

	tree_lock(t);
	p = tree_find_ino(t, dir);
	d = p && node_is_dir(p) ? p->dir : NULL;
	for (uint64_t i = place; d && i < d->n_slots && found < n; i++) {
		const struct node *s = d->slots[i];

		if (!s || s->flags & (NODE_DIR | NODE_LINK | NODE_HELD) ||
		    s->size == VMOFS_SIZE_UNKNOWN || tree_needs_head(t, s))
			continue;
		out[found++] = (struct fs_sibling){ s->ino, i, s->size };
	}
	tree_unlock(t);
	return found;
}

static void source_each_object(struct fs_tree *base, void (*fn)(void *arg, struct fs_object *o),
			       void *arg)
{
	object_cache_each(tree_of_base(base)->p.cache, fn, arg);
}

/* ---- looking ---- */

static void source_stats(struct fs_tree *base, struct fs_tree_stats *out)
{
	struct tree *t = tree_of_base(base);

	tree_lock(t);
	*out = t->st;
	out->bytes += t->n_buckets * sizeof(struct node *);
	out->negative = t->n_negative;
	tree_unlock(t);
}

static void source_each_hidden(struct fs_tree *base,
			       void (*fn)(void *arg, enum fs_hidden why, const char *key),
			       void *arg)
{
	struct tree *t = tree_of_base(base);
	struct hidden_example copy[TREE_HIDDEN_EXAMPLES];
	unsigned n = 0;

	tree_lock(t);
	for (unsigned i = 0; i < t->n_hidden; i++) {
		copy[n] = (struct hidden_example){ t->hidden[i].why, strdup(t->hidden[i].key) };
		n += copy[n].key != NULL;
	}
	tree_unlock(t);
	for (unsigned i = 0; i < n; i++) {
		fn(arg, copy[i].why, copy[i].key);
		free(copy[i].key);
	}
}

static void source_set_notify(struct fs_tree *base, const struct fs_tree_notify *n)
{
	invalidator_set_notify(tree_of_base(base)->invalidator, n);
}

/* ---- life ---- */

static void wake_dir(struct tree *t, struct dir *d) REQUIRES(t->lock)
{
	struct vmofs_list *pos;

	tree_wake(t, &d->waits, -ESHUTDOWN);
	vmofs_list_for_each(pos, &d->queries)
		tree_wake(t, &vmofs_list_entry(pos, struct tree_query, link)->waits, -ESHUTDOWN);
}

static void source_stop(struct fs_tree *base)
{
	struct tree *t = tree_of_base(base);
	struct vmofs_list *pos;

	tree_lock(t);
	t->stopped = true;
	vmofs_list_for_each(pos, &t->lru)
		wake_dir(t, vmofs_list_entry(pos, struct dir, lru));
	tree_wake(t, &t->load_waits, -ESHUTDOWN);
	tree_walks_wake(t, -ESHUTDOWN);
	tree_unlock(t);
	invalidator_stop(t->invalidator);
}

static void free_nodes(struct tree *t)
{
	for (uint64_t i = 0; t->by_ino && i < t->n_buckets; i++)
		while (t->by_ino[i]) {
			struct node *n = t->by_ino[i];

			t->by_ino[i] = n->hash_next;
			if (node_is_dir(n))
				dir_free(n->dir);
			node_free(n);
		}
	free(t->by_ino);
}

static void source_free(struct fs_tree *base)
{
	struct tree *t = tree_of_base(base);

	invalidator_free(t->invalidator);
	tree_lock(t);
	while (t->n_out)
		cond_wait(&t->idle, &t->lock);
	tree_walks_end(t);
	tree_drop_negatives(t);
	tree_news_free(t);
	tree_unlock(t);
	free_nodes(t);
	free(t->negatives);
	for (unsigned i = 0; i < t->n_hidden; i++)
		free(t->hidden[i].key);
	cond_destroy(&t->idle);
	mutex_destroy(&t->lock);
	free(t);
}

static const struct fs_tree_ops source_tree_ops = {
	.lookup = source_lookup,
	.forget = source_forget,
	.getattr = source_getattr,
	.readlink = source_readlink,
	.opendir = source_opendir,
	.releasedir = source_releasedir,
	.readdir = source_readdir,
	.open = source_open,
	.find = source_find,
	.close = source_close,
	.cancel = tree_cancel,
	.place = source_place,
	.following = source_following,
	.made = tree_made,
	.removed = tree_removed,
	.gone = tree_told_gone,
	.moved = tree_moved,
	.away_below = tree_set_away_below,
	.hold = tree_hold_file,
	.settled = tree_settled,
	.entry = tree_entry,
	.dir_attr = tree_dir_attr,
	.number = tree_number_of,
	.empty = tree_empty,
	.made_key = tree_made_key,
	.each_object = source_each_object,
	.stats = source_stats,
	.each_hidden = source_each_hidden,
	.set_notify = source_set_notify,
	.stop = source_stop,
	.free = source_free,
};

void tree_poll(void *arg)
{
	struct tree *t = arg;

	if (t->p.source->ops->changed && t->p.source->ops->changed(t->p.source))
		tree_reload(t);
}

static void tree_init(struct tree *t, const struct fs_tree_source_params *p)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	t->base.ops = &source_tree_ops;
	t->p = *p;
	t->can = p->info->can;
	t->page = p->info->page;
	t->dirs = p->object_metadata && p->info->dirs;
	t->complete = p->info->complete && t->can & BIT(VMOFS_QUERY_FLAT);
	t->birth_ns = (int64_t)now.tv_sec * (int64_t)NSEC_PER_SEC;
	t->start_ns = tree_now(t);
	mutex_init(&t->lock, LOCK_RANK_TREE);
	cond_init(&t->idle);
	vmofs_list_init(&t->lru);
	vmofs_list_init(&t->negative_lru);
	vmofs_list_init(&t->asked);
	vmofs_list_init(&t->recents);
	vmofs_list_init(&t->away);
	vmofs_list_init(&t->walks);
	vmofs_list_init(&t->load_waits);
	vmofs_list_init(&t->send);
	vmofs_list_init(&t->woken);
	t->next_ino = p->root_file ? FS_TREE_ABOVE : FS_TREE_ROOT;
	t->n_buckets = 1024;
}

static int tree_make_root(struct tree *t)
{
	t->by_ino = calloc(t->n_buckets, sizeof(struct node *));
	t->root = t->by_ino ? node_new("", 0, NULL) : NULL;
	if (!t->root)
		return -ENOMEM;
	tree_lock(t);
	tree_number(t, t->root);
	tree_hold(t, t->root);
	tree_unlock(t);
	return 0;
}

int fs_tree_source_new(struct fs_tree **out, const struct fs_tree_source_params *p,
		       struct vmofs_err *err)
{
	struct tree *t = calloc(1, sizeof *t);

	if (!t)
		return vmofs_err_set(err, -ENOMEM, "no memory for the tree");
	tree_init(t, p);
	t->invalidator = invalidator_new(p->loops, p->source->ops->changed ? tree_poll : NULL, t);
	if (!t->invalidator || tree_make_root(t) < 0) {
		source_free(&t->base);
		return vmofs_err_set(err, -ENOMEM, "no memory for the tree");
	}
	*out = &t->base;
	return 0;
}
