/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Changes made here: names that come, go and move, files whose contents are ours until the origin has them. All in
 * memory and at once; the origin is told by others. What keeps older answers from undoing it is in tree_news.c and,
 * for files that are held, in tree_entry.c. Any thread.
 *
 * A node is kept, against whatever the source tells, when it is held (a file with changes), made (a directory that the
 * source need not know), or a directory with such nodes below it: dir->n_kept counts those right in it.
 */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "base/macros.h"
#include "fs/names.h"
#include "fs/object_cache.h"
#include "fs/tree_private.h"

/* ---- what is kept ---- */

bool tree_is_kept(const struct node *n)
{
	return n->flags & (NODE_HELD | NODE_MADE) || (node_is_dir(n) && n->dir && n->dir->n_kept);
}

/* @n, which is in its directory, has become one that is kept, or is none any more. */
static void count_up(const struct node *n, int sign)
{
	for (const struct node *p = n->parent; p; p = p->parent) {
		bool before = tree_is_kept(p);

		p->dir->n_kept += (uint32_t)sign;
		if (tree_is_kept(p) == before)
			return;
	}
}

void tree_count_kept(struct tree *t UNUSED, const struct node *n, int sign)
{
	if (tree_is_kept(n))
		count_up(n, sign);
}

void tree_keep(struct tree *t UNUSED, struct node *n, uint16_t flag)
{
	bool before = tree_is_kept(n);

	n->flags |= flag;
	if (!before)
		count_up(n, 1);
}

void tree_unkeep(struct tree *t UNUSED, struct node *n, uint16_t flag)
{
	bool before = tree_is_kept(n);

	n->flags &= (uint16_t)~flag;
	if (before && !tree_is_kept(n))
		count_up(n, -1);
}

/* ---- directories that are changed ---- */

static bool is_read_only(const struct tree *t)
{
	return !t->p.local_attr || t->complete || t->p.immutable;
}

/* The directory @ino, where names can be changed. */
static int change_in(struct tree *t, uint64_t ino, struct dir **out) REQUIRES(t->lock)
{
	int r = is_read_only(t) ? -EROFS : tree_find_dir(t, ino, out);

	if (!r && (*out)->node->flags & NODE_NAMELESS)
		r = -ENOENT;
	return r;
}

static int check_name(const struct tree *t, const char *name)
{
	size_t len = strlen(name);
	int why = name_check(name, len);

	if (why != NAME_OK)
		return why == FS_HIDDEN_LONG ? -ENAMETOOLONG : -EINVAL;
	/* It would be shown by another name. */
	return t->p.object_metadata && name_is_rclone_link(name, len) ? -EINVAL : 0;
}

/* Of @name in @d, as a directory if @slash. The length. */
static int key_of(struct tree *t, const struct dir *d, const char *name, bool slash,
		  char key[VMOFS_KEY_MAX]) REQUIRES(t->lock)
{
	size_t len = strlen(name);
	int base = tree_key(t, d->node, key);

	if (base < 0)
		return base;
	if ((size_t)base + len + NAME_RCLONE_LEN + 2 > VMOFS_KEY_MAX)
		return -ENAMETOOLONG;
	memcpy(key + base, name, len);
	key[(size_t)base + len] = slash ? '/' : '\0';
	key[(size_t)base + len + slash] = '\0';
	return base + (int)len + slash;
}

static void touch_dir(struct dir *d)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	d->node->mtime_ns = (int64_t)now.tv_sec * (int64_t)NSEC_PER_SEC + now.tv_nsec;
	d->attr.timed = false;
}

/* Something is in @d, or @n has come there. */
static void come(struct tree *t, struct dir *d, struct node *n, const char *key, size_t len)
	REQUIRES(t->lock)
{
	tree_drop_negative(t, d->node->ino, node_name(n), n->name_len);
	tree_changed(t, d, node_name(n), n->name_len);
	if (node_is_dir(n))
		tree_away_dir(t, key, len, false);
	else
		(void)tree_gone(t, key);
	n->fresh = tree_tick(t, tree_now(t));
	n->flags &= (uint16_t) ~(NODE_DOUBT | NODE_DOUBT_NEW);
	d->node->flags &= (uint16_t) ~(NODE_DOUBT | NODE_DOUBT_NEW);
	touch_dir(d);
}

/* @name has left @d, which stays, though there may be no key in it any more. */
static void go(struct tree *t, struct dir *d, const char *name, size_t len) REQUIRES(t->lock)
{
	tree_changed(t, d, name, len);
	tree_add_negative(t, d->node->ino, name, len, tree_now(t));
	touch_dir(d);
	if (d->node != t->root && !(d->state == DIR_LISTED && d->marker))
		tree_keep(t, d->node, NODE_MADE);
}

/* ---- made ---- */

/* A listing may have told already of what the origin has been told of. */
static int made_before(struct tree *t, struct node *n, const struct vmofs_entry *e, bool local,
		       struct fs_tree_attr *out) REQUIRES(t->lock)
{
	bool is_dir = e->type == VMOFS_ENTRY_PREFIX;

	if (local || node_is_dir(n) != is_dir || (!is_dir && !node_is_version(n, e)))
		return -EEXIST;
	tree_changed(t, n->parent->dir, node_name(n), n->name_len);
	n->fresh = tree_tick(t, tree_now(t));
	n->flags |= NODE_TOLD;
	tree_hold(t, n);
	tree_fill_attr(t, n, out);
	return 0;
}

static int made_in(struct tree *t, struct dir *d, const char *name, const struct vmofs_entry *e,
		   bool local, struct fs_tree_attr *out) REQUIRES(t->lock)
{
	bool is_dir = e->type == VMOFS_ENTRY_PREFIX;
	size_t len = strlen(name);
	char key[VMOFS_KEY_MAX];
	int key_len = key_of(t, d, name, is_dir, key);
	struct node *n;

	if (key_len < 0)
		return key_len;
	n = dir_find(d, name, len);
	if (n)
		return made_before(t, n, e, local, out);
	n = tree_add_node(t, d, node_new(name, len, e));
	if (!n)
		return -ENOMEM;
	come(t, d, n, key, (size_t)key_len);
	n->flags |= NODE_TOLD | NODE_HEADED;
	if (is_dir)
		touch_dir(tree_dir(t, n) ? n->dir : d);
	if (is_dir)
		tree_tell_dir(t, n, e);
	if (local && !is_dir)
		n->flags |= NODE_OPENED;
	if (local)
		tree_keep(t, n, is_dir ? NODE_MADE : NODE_HELD);
	tree_hold(t, n);
	tree_fill_attr(t, n, out);
	return 0;
}

static int made_locked(struct tree *t, uint64_t parent, const char *name,
		       const struct vmofs_entry *e, bool local, struct fs_tree_attr *out)
	REQUIRES(t->lock)
{
	struct dir *d;
	int r = change_in(t, parent, &d);

	if (!r)
		r = check_name(t, name);
	return r < 0 ? r : made_in(t, d, name, e, local, out);
}

int tree_made(struct fs_tree *base, uint64_t parent, const char *name, const struct vmofs_entry *e,
	      bool local, struct fs_tree_attr *out)
{
	struct tree *t = tree_of_base(base);
	int r;

	tree_lock(t);
	r = made_locked(t, parent, name, e, local, out);
	tree_unlock(t);
	return r;
}

static int dir_attr_locked(struct tree *t, uint64_t ino, const struct vmofs_entry *e)
	REQUIRES(t->lock)
{
	struct dir *d;
	int r = change_in(t, ino, &d);

	if (r < 0)
		return r;
	/* Whoever was asked before does not know. */
	if (d->node->parent)
		tree_changed(t, d->node->parent->dir, node_name(d->node), d->node->name_len);
	tree_tell_dir(t, d->node, e);
	d->node->flags |= NODE_HEADED;
	return 0;
}

int tree_dir_attr(struct fs_tree *base, uint64_t ino, const struct vmofs_entry *e)
{
	struct tree *t = tree_of_base(base);
	int r;

	tree_lock(t);
	r = dir_attr_locked(t, ino, e);
	tree_unlock(t);
	return r;
}

/* The directory @name of @d, made where it is not known. */
static int descend(struct tree *t, struct dir **d, const char *name) REQUIRES(t->lock)
{
	struct node *n = dir_find(*d, name, strlen(name));
	int r = check_name(t, name);

	if (r < 0)
		return r;
	if (!n)
		n = tree_add_dir(t, *d, name, strlen(name), tree_tick(t, tree_now(t)));
	if (n && !node_is_dir(n))
		return -ENOTDIR;
	*d = n ? tree_dir(t, n) : NULL;
	return *d ? 0 : -ENOMEM;
}

static int made_key_locked(struct tree *t, const char *key, const struct vmofs_entry *e,
			   struct fs_tree_attr *out) REQUIRES(t->lock)
{
	struct dir *d;
	char name[NAME_LEN_MAX + 1];
	const char *slash;
	int r = change_in(t, t->root->ino, &d);

	for (; !r && (slash = strchr(key, '/')); key = slash + 1) {
		size_t len = (size_t)(slash - key);

		if (len > NAME_LEN_MAX)
			return -ENAMETOOLONG;
		memcpy(name, key, len);
		name[len] = '\0';
		r = descend(t, &d, name);
	}
	if (!r)
		r = check_name(t, key);
	return r < 0 ? r : made_in(t, d, key, e, true, out);
}

int tree_made_key(struct fs_tree *base, const char *key, const struct vmofs_entry *e,
		  struct fs_tree_attr *out)
{
	struct tree *t = tree_of_base(base);
	int r;

	tree_lock(t);
	r = made_key_locked(t, key, e, out);
	tree_unlock(t);
	return r;
}

/* ---- removed ---- */

static int removed_locked(struct tree *t, uint64_t parent, const char *name, bool told)
	REQUIRES(t->lock)
{
	char key[VMOFS_KEY_MAX];
	struct dir *d;
	int r = change_in(t, parent, &d);
	struct node *n = r ? NULL : dir_find(d, name, strlen(name));

	if (!n)
		return r ? r : -ENOENT;
	r = tree_key(t, n, key);
	if (r < 0)
		return r;
	if (node_is_dir(n))
		tree_away_dir(t, key, (size_t)r, true);
	else if (!told && tree_away(t, key, (size_t)r) < 0)
		return -ENOMEM;
	tree_remove(t, n, false);
	go(t, d, name, strlen(name));
	return 0;
}

int tree_removed(struct fs_tree *base, uint64_t parent, const char *name, bool told)
{
	struct tree *t = tree_of_base(base);
	int r;

	tree_lock(t);
	r = removed_locked(t, parent, name, told);
	tree_unlock(t);
	return r;
}

/* The directory that @key is in, as far as it is known. */
static struct dir *dir_of_key(struct tree *t, const char *key) REQUIRES(t->lock)
{
	struct dir *d = t->root->dir;
	const char *slash;

	for (; d && (slash = strchr(key, '/')); key = slash + 1) {
		struct node *n = dir_find(d, key, (size_t)(slash - key));

		d = n && node_is_dir(n) ? n->dir : NULL;
	}
	return d;
}

void tree_told_gone(struct fs_tree *base, const char *key)
{
	struct tree *t = tree_of_base(base);
	struct dir *d;
	size_t at, len = strlen(key);

	tree_lock(t);
	if (tree_gone(t, key)) {
		at = len;
		while (at && key[at - 1] != '/')
			at--;
		if (t->p.object_metadata && name_is_rclone_link(key + at, len - at))
			len -= NAME_RCLONE_LEN;
		tree_changed_path(t, key, len);
		d = dir_of_key(t, key);
		if (d && d->node != t->root)
			tree_keep(t, d->node, NODE_MADE);
	}
	tree_unlock(t);
}

/* ---- moved ---- */

static void forget_listing(struct tree *t, struct dir *d) REQUIRES(t->lock)
{
	if (d->state == DIR_LISTING)
		tree_end_listing(t, d, -ECANCELED);
	else if (d->state == DIR_LISTED)
		dir_set_state(d, DIR_UNLISTED);
	d->asked_ns = 0;
	d->whole_ns = 0;
}

/* What is known below @d was told of other keys. */
static void forget_below(struct tree *t, struct dir *d) REQUIRES(t->lock)
{
	forget_listing(t, d);
	for (uint32_t i = 0; i < d->n_slots; i++) {
		struct node *n = d->slots[i];

		if (!n)
			continue;
		n->fresh = 0;
		if (node_is_dir(n) && n->dir)
			forget_below(t, n->dir);
	}
}

/* The contents of the directory @old are @now's. */
static void hand_over(struct node *old, struct node *now)
{
	struct dir *d = old->dir;

	if (!node_is_dir(old) || !d)
		return;
	d->node = now;
	for (uint32_t i = 0; i < d->n_slots; i++)
		if (d->slots[i])
			d->slots[i]->parent = now;
}

/* @now takes the place of @n in the table, and @at in @to, where @target was, if anything. */
static int replace(struct tree *t, struct dir *to, struct node *n, struct node *now,
		   struct node *target) REQUIRES(t->lock)
{
	struct dir *from = n->parent->dir;
	uint64_t before = dir_bytes(to);

	node_free(tree_take_other(n));
	if (!target && dir_add(to, now) < 0)
		return -ENOMEM;
	t->st.bytes += dir_bytes(to) - before;
	if (target) {
		tree_count_kept(t, target, -1);
		dir_replace(to, target, now);
		tree_put_away(t, target);
	}
	tree_count_kept(t, n, -1);
	dir_remove(from, n);
	hand_over(n, now);
	tree_renumber(t, n, now);
	now->parent = to->node;
	now->flags = (uint16_t)((now->flags & ~NODE_SEEN) | (to->seen ? NODE_SEEN : 0));
	tree_count_kept(t, now, 1);
	return 0;
}

static bool is_within(const struct node *n, const struct node *outer)
{
	while (n && n != outer)
		n = n->parent;
	return n;
}

static int move(struct tree *t, struct dir *from, struct node *n, struct dir *to,
		const char *new_name) REQUIRES(t->lock)
{
	struct node *target = dir_find(to, new_name, strlen(new_name));
	char name[NAME_LEN_MAX + 1], key[VMOFS_KEY_MAX];
	int key_len = key_of(t, to, new_name, node_is_dir(n), key);
	char old[VMOFS_KEY_MAX];
	int old_len;
	struct node *now;

	if (key_len < 0 || target == n)
		return key_len < 0 ? key_len : 0;
	if (is_within(to->node, n) || (target && is_within(from->node, target)))
		return -EINVAL;
	now = node_renamed(n, new_name, strlen(new_name));
	if (!now)
		return -ENOMEM;
	memcpy(name, node_name(n), n->name_len + 1u);
	old_len = node_is_dir(n) ? tree_key(t, n, old) : -1;
	if (replace(t, to, n, now, target) < 0) {
		node_free(now);
		return -ENOMEM;
	}
	if (node_is_dir(now) && now->dir)
		forget_below(t, now->dir);
	if (old_len >= 0)
		tree_away_dir(t, old, (size_t)old_len, true);
	come(t, to, now, key, (size_t)key_len);
	go(t, from, name, strlen(name));
	return 0;
}

int tree_moved(struct fs_tree *base, uint64_t parent, const char *name, uint64_t new_parent,
	       const char *new_name)
{
	struct tree *t = tree_of_base(base);
	struct dir *from, *to;
	struct node *n = NULL;
	uint64_t forget = 0;
	int r;

	tree_lock(t);
	r = change_in(t, parent, &from);
	if (!r)
		r = change_in(t, new_parent, &to);
	if (!r)
		r = check_name(t, new_name);
	if (!r)
		n = dir_find(from, name, strlen(name));
	if (n) {
		forget = n->flags & (NODE_DIR | NODE_HELD) ? 0 : n->ino;
		r = move(t, from, n, to, new_name);
	} else if (!r) {
		r = -ENOENT;
	}
	tree_unlock(t);
	/* What asks the origin for it asks by its old key. */
	if (!r && forget)
		object_cache_forget(t->p.cache, forget);
	return r;
}

void tree_set_away_below(struct fs_tree *base, const char *key, bool away)
{
	struct tree *t = tree_of_base(base);
	size_t len = strlen(key);

	tree_lock(t);
	if (away)
		(void)tree_away_below(t, key,
				      len); /* without memory they are seen until they are gone */
	else if (tree_gone(t, key))
		tree_changed_path(t, key, len - 1);
	tree_unlock(t);
}

/* ---- held, settled ---- */

int tree_hold_file(struct fs_tree *base, uint64_t ino)
{
	struct tree *t = tree_of_base(base);
	struct node *n;
	int r = 0;

	tree_lock(t);
	n = tree_find_ino(t, ino);
	if (is_read_only(t))
		r = -EROFS;
	else if (!n || n->flags & NODE_NAMELESS)
		r = -ESTALE;
	else if (node_is_dir(n))
		r = -EISDIR;
	else
		tree_keep(t, n, NODE_HELD | NODE_OPENED);
	tree_unlock(t);
	return r;
}

/* What was written here counts no more: the name is asked for again. */
static void give_up(struct tree *t, struct node *n) REQUIRES(t->lock)
{
	struct dir *d = n->parent->dir;

	tree_changed(t, d, node_name(n), n->name_len);
	tree_drop_negative(t, d->node->ino, node_name(n), n->name_len);
	forget_listing(t, d);
	tree_remove(t, n, true);
}

/* As @e has it, but for what that does not tell and @n has of its own. */
static struct node *settled_node(struct tree *t, const struct node *n, const struct vmofs_entry *e)
	REQUIRES(t->lock)
{
	struct vmofs_entry file = *e;
	struct node_ext x = { 0 };
	struct node *now;

	(void)node_ext(n, &x);
	file.type = VMOFS_ENTRY_FILE;
	if (!(file.has & VMOFS_HAS_MODE))
		file.mode = x.mode;
	if (!(file.has & VMOFS_HAS_UID))
		file.uid = x.uid;
	if (!(file.has & VMOFS_HAS_GID))
		file.gid = x.gid;
	file.has |= x.has & (VMOFS_HAS_MODE | VMOFS_HAS_UID | VMOFS_HAS_GID);
	now = node_new(node_name(n), n->name_len, &file);
	if (now) {
		now->flags |= NODE_HEADED | NODE_TOLD;
		now->fresh = tree_tick(t, tree_now(t));
	}
	return now;
}

static void settle(struct tree *t, struct node *n, const struct vmofs_entry *e) REQUIRES(t->lock)
{
	struct node *now = e ? settled_node(t, n, e) : NULL;

	if (n->flags & NODE_NAMELESS) {
		n->flags &= (uint16_t)~NODE_HELD;
		node_free(now);
		return;
	}
	if (!now) {
		give_up(t, n);
		return;
	}
	tree_changed(t, n->parent->dir, node_name(n), n->name_len);
	tree_swap_node(t, n, now);
	tree_unkeep(t, now, NODE_HELD);
	tree_evict(t);
}

void tree_settled(struct fs_tree *base, uint64_t ino, const struct vmofs_entry *e)
{
	struct tree *t = tree_of_base(base);
	struct node *n;

	tree_lock(t);
	n = is_read_only(t) ? NULL : tree_find_ino(t, ino);
	if (n && !node_is_dir(n))
		settle(t, n, e);
	tree_unlock(t);
	/* One that nobody uses has the contents of before. */
	object_cache_forget_idle(t->p.cache, ino);
}

/* ---- looking ---- */

/* What it has of its own. */
static void dir_entry(const struct node *n, struct vmofs_entry *e)
{
	const struct dir *d = n->dir;

	e->has = d ? d->attr.has : 0;
	if (!e->has && !(d && d->attr.timed))
		e->mtime = (struct timespec){ 0 };
	if (!e->has)
		return;
	e->mode = d->attr.mode;
	e->uid = d->attr.uid;
	e->gid = d->attr.gid;
}

int tree_entry(struct fs_tree *base, uint64_t ino, char key[VMOFS_KEY_MAX], char validator[512],
	       struct vmofs_entry *e)
{
	struct tree *t = tree_of_base(base);
	const struct node *n;
	int len;

	tree_lock(t);
	n = tree_find_ino(t, ino);
	len = n ? tree_key(t, n, key) : -ESTALE;
	if (len >= 0) {
		node_entry(n, e, validator);
		e->key = key;
		e->key_len = (size_t)len;
	}
	if (len >= 0 && node_is_dir(n))
		dir_entry(n, e);
	if (len >= 0 && node_is_dir(n)) {
		e->type = VMOFS_ENTRY_PREFIX;
		e->size = 0;
	}
	tree_unlock(t);
	return len;
}

uint64_t tree_number_of(struct fs_tree *base, uint64_t parent, const char *name)
{
	struct tree *t = tree_of_base(base);
	const struct node *p, *n = NULL;
	uint64_t ino;

	tree_lock(t);
	p = tree_find_ino(t, parent);
	if (p && node_is_dir(p) && p->dir)
		n = dir_find(p->dir, name, strlen(name));
	ino = n ? n->ino : 0;
	tree_unlock(t);
	return ino;
}

/* Something that is certain to be in @d, for @w. */
static bool has_entry(struct tree *t, const struct dir *d, const struct fs_tree_wait *w)
	REQUIRES(t->lock)
{
	for (uint32_t i = 0; i < d->n_slots; i++)
		if (d->slots[i] && tree_node_is_fresh(t, d->slots[i], w))
			return true;
	return false;
}

/* Keys that cannot be shown are there all the same; the directory's own goes with it. */
static bool has_hidden(const struct dir *d)
{
	for (unsigned i = 0; i < FS_HIDDEN_NREASONS; i++)
		if (i != FS_HIDDEN_MARKER && d->hidden[i])
			return true;
	return false;
}

static int empty_locked(struct tree *t, struct dir *d, struct fs_tree_wait *w) REQUIRES(t->lock)
{
	uint64_t since;
	int r;

	if (has_entry(t, d, w))
		return -ENOTEMPTY;
	if (!w)
		return -EAGAIN;
	if (w->since_ns && d->state == DIR_LISTED && d->asked_ns >= w->since_ns)
		return has_hidden(d) ? -ENOTEMPTY : 0;
	since = w->since_ns ? w->since_ns : tree_now(t);
	if (d->state == DIR_LISTING)
		r = tree_wait_for_listing(t, d, w);
	else
		r = tree_list(t, d, w);
	/* A listing that was asked for earlier is only waited for. */
	if (r == -EINPROGRESS)
		w->since_ns = since;
	return r;
}

int tree_empty(struct fs_tree *base, uint64_t ino, struct fs_tree_wait *w)
{
	struct tree *t = tree_of_base(base);
	struct dir *d;
	int r;

	tree_lock(t);
	r = tree_find_dir(t, ino, &d);
	if (!r)
		r = tree_want_load(t, w);
	if (!r)
		r = empty_locked(t, d, w);
	tree_unlock(t);
	return r;
}
