/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the source tells becomes nodes: files, directories, other versions of them, and keys that cannot
 * be shown. Under the tree's lock, on whatever thread the source answers.
 *
 * A directory wins over a file of its name, in whatever order they are told. A listing tells a file and
 * the directory that was there before: then only the end of the listing shows whether the directory
 * has become the file, which waits beside it till then (dir->other).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "fs/names.h"
#include "fs/tree_private.h"

/* ---- what is not shown ---- */

static void keep_example(struct tree *t, enum fs_hidden why, const char *key, size_t len)
	REQUIRES(t->lock)
{
	char *copy;

	if (t->n_hidden == TREE_HIDDEN_EXAMPLES)
		return;
	len = strnlen(key, len);
	for (unsigned i = 0; i < t->n_hidden; i++)
		if (t->hidden[i].why == why && !strncmp(t->hidden[i].key, key, len) &&
		    !t->hidden[i].key[len])
			return;
	copy = strndup(key, len);
	if (copy)
		t->hidden[t->n_hidden++] = (struct hidden_example){ why, copy };
}

void tree_hide(struct tree *t, struct dir *d, enum fs_hidden why, const char *key, size_t len)
{
	d->hidden[why]++;
	t->st.hidden[why]++;
	keep_example(t, why, key, len);
}

/* The file @name of @d, which a directory stands before. */
static void hide_shadowed(struct tree *t, struct dir *d, const char *name, size_t len)
	REQUIRES(t->lock)
{
	char key[VMOFS_KEY_MAX + NAME_LEN_MAX];
	int base = tree_key(t, d->node, key);

	if (base < 0)
		base = 0;
	memcpy(key + base, name, len);
	tree_hide(t, d, FS_HIDDEN_SHADOWED, key, (size_t)base + len);
}

void tree_unhide(struct tree *t, struct dir *d)
{
	for (unsigned i = 0; i < FS_HIDDEN_NREASONS; i++) {
		t->st.hidden[i] -= d->hidden[i];
		d->hidden[i] = 0;
	}
}

/* ---- nodes come and go ---- */

struct dir *tree_dir(struct tree *t, struct node *n)
{
	if (n->dir)
		return n->dir;
	n->dir = dir_new(n);
	if (!n->dir)
		return NULL;
	t->st.bytes += dir_bytes(n->dir);
	vmofs_list_add(&t->lru, &n->dir->lru);
	return n->dir;
}

struct node *tree_take_other(struct node *n)
{
	return node_is_dir(n) && n->dir ? steal_ptr(&n->dir->other) : NULL;
}

static void mark_seen(struct dir *d, struct node *n)
{
	d->told_slot = n->slot;
	n->flags = (uint16_t)((n->flags & ~NODE_SEEN) | (d->seen ? NODE_SEEN : 0));
}

static bool is_seen(const struct dir *d, const struct node *n)
{
	return !!(n->flags & NODE_SEEN) == d->seen;
}

struct node *tree_add_node(struct tree *t, struct dir *d, struct node *n)
{
	uint64_t before = dir_bytes(d);

	if (!n || dir_add(d, n) < 0) {
		node_free(n);
		return NULL;
	}
	n->parent = d->node;
	mark_seen(d, n);
	t->st.bytes += dir_bytes(d) - before;
	tree_number(t, n);
	tree_drop_negative(t, d->node->ino, node_name(n), n->name_len);
	return n;
}

void tree_tell_kernel(struct tree *t, const struct node *n)
{
	if (!n->n_lookup || !n->parent)
		return;
	invalidator_add(t->invalidator, n->parent->ino, node_name(n), n->name_len);
	t->st.invalidations++;
}

/* @now has the name of @old. Takes @now; NULL: there is no memory for it, @old is gone all the same. */
static void supersede(struct tree *t, struct dir *d, struct node *old, struct node *now)
	REQUIRES(t->lock)
{
	tree_tell_kernel(t, old);
	tree_count_kept(t, old, -1);
	if (now) {
		dir_replace(d, old, now);
		now->parent = d->node;
		mark_seen(d, now);
		tree_number(t, now);
	} else {
		dir_remove(d, old);
	}
	tree_put_away(t, old);
}

void tree_remove(struct tree *t, struct node *n, bool tell)
{
	struct dir *d = n->parent->dir;

	if (tell)
		tree_tell_kernel(t, n);
	tree_count_kept(t, n, -1);
	dir_remove(d, n);
	tree_put_away(t, n);
}

void tree_swap_node(struct tree *t, struct node *old, struct node *now)
{
	const uint16_t keep = NODE_SEEN | NODE_OPENED | NODE_NAMELESS | NODE_TOLD | NODE_RCLONE |
		NODE_HEADED | NODE_HELD;

	now->flags |= old->flags & keep;
	now->fresh = MAX(now->fresh, old->fresh);
	if (old->slot != NODE_NO_SLOT)
		dir_replace(old->parent->dir, old, now);
	tree_renumber(t, old, now);
}

/* Whether the listing under way was asked for after all that is known of the directory @n. */
static bool is_news(const struct dir *d, const struct node *n)
{
	return d->state == DIR_LISTING && !(n->flags & NODE_DOUBT_NEW);
}

struct node *tree_add_dir(struct tree *t, struct dir *d, const char *name, size_t len,
			  uint32_t fresh)
{
	struct node *n = dir_find(d, name, len);
	struct node *other = n ? tree_take_other(n) : NULL;

	if (n && n->flags & NODE_HELD) {
		mark_seen(d, n);
		return NULL;
	}
	if (n && !node_is_dir(n)) {
		/* A key of the same name that this listing has told of, too. */
		if (d->state == DIR_LISTING && is_seen(d, n))
			hide_shadowed(t, d, name, len);
		supersede(t, d, n, node_new(name, len, NULL));
		n = dir_find(d, name, len);
	} else if (!n) {
		n = tree_add_node(t, d, node_new(name, len, NULL));
	} else if (other) {
		hide_shadowed(t, d, name, len);
		node_free(other);
	}
	if (!n)
		return NULL;
	mark_seen(d, n);
	if (fresh)
		n->fresh = fresh;
	else /* its attributes may be others since */
		n->flags &= (uint16_t)~NODE_HEADED;
	if (fresh || is_news(d, n))
		n->flags &= (uint16_t) ~(NODE_DOUBT | NODE_DOUBT_NEW);
	tree_unkeep(t, n, NODE_MADE);
	return n;
}

void tree_tell_dir(struct tree *t, struct node *n, const struct vmofs_entry *e)
{
	unsigned has = e->has & (VMOFS_HAS_MODE | VMOFS_HAS_UID | VMOFS_HAS_GID);
	struct dir *d = has || e->mtime.tv_sec ? tree_dir(t, n) : NULL;

	if (!d)
		return;
	d->attr.has |= has;
	if (has & VMOFS_HAS_MODE)
		d->attr.mode = e->mode & 07777;
	if (has & VMOFS_HAS_UID)
		d->attr.uid = e->uid;
	if (has & VMOFS_HAS_GID)
		d->attr.gid = e->gid;
	if (!e->mtime.tv_sec)
		return;
	n->mtime_ns = (int64_t)e->mtime.tv_sec * (int64_t)NSEC_PER_SEC + e->mtime.tv_nsec;
	d->attr.timed = true;
}

/* The same file as before, as far as @e can tell. */
static void keep_file(struct dir *d, struct node *n, const struct vmofs_entry *e, uint32_t fresh)
{
	mark_seen(d, n);
	if (fresh)
		n->fresh = fresh;
	/* Only another HEAD can tell whether it still is what it was. */
	if (e->size == VMOFS_SIZE_UNKNOWN)
		n->flags = (uint16_t)((n->flags & ~NODE_HEADED) | NODE_VAGUE);
}

static void tree_put_file(struct tree *t, struct dir *d, struct node *old, struct node *now,
			  uint32_t fresh) REQUIRES(t->lock)
{
	if (!now)
		return;
	now->fresh = fresh;
	if (!old) {
		(void)tree_add_node(t, d, now);
		return;
	}
	t->st.versions++;
	supersede(t, d, old, now);
}

static struct node *new_file(struct tree *t, const char *name, size_t len,
			     const struct vmofs_entry *e) REQUIRES(t->lock)
{
	bool link = t->p.object_metadata && name_is_rclone_link(name, len);
	struct node *n = node_new(name, link ? len - NAME_RCLONE_LEN : len, e);

	if (n && link)
		n->flags |= NODE_RCLONE | NODE_LINK;
	return n;
}

/* The listing has told of a file, and may yet tell of the directory @n. Of two files the plain one counts. */
static void keep_other(struct tree *t, struct node *n, struct node *file) REQUIRES(t->lock)
{
	struct dir *d = file ? tree_dir(t, n) : NULL;

	if (!d || (d->other && file->flags & NODE_RCLONE)) {
		node_free(file);
		return;
	}
	node_free(d->other);
	d->other = file;
}

void tree_add_file(struct tree *t, struct dir *d, const char *name, size_t len,
		   const struct vmofs_entry *e, uint32_t fresh)
{
	bool link = t->p.object_metadata && name_is_rclone_link(name, len);
	size_t shown = link ? len - NAME_RCLONE_LEN : len;
	struct node *n = dir_find(d, name, shown);

	if (n && tree_is_kept(n) && (fresh || n->flags & NODE_HELD)) {
		mark_seen(d, n);
		return;
	}
	if (n && node_is_dir(n) && (!fresh || link)) {
		/* Told by this listing, or perhaps yet to be. */
		if (is_seen(d, n))
			tree_hide(t, d, FS_HIDDEN_SHADOWED, e->key, e->key_len);
		else if (d->state == DIR_LISTING)
			keep_other(t, n, new_file(t, name, len, e));
		return;
	}
	/* "name" and "name.rclonelink": the plain one is shown. */
	if (n && link != !!(n->flags & NODE_RCLONE) && is_seen(d, n)) {
		tree_hide(t, d, FS_HIDDEN_SHADOWED, e->key, e->key_len);
		if (link)
			return;
	}
	if (n && !node_is_dir(n) && link == !!(n->flags & NODE_RCLONE) && node_is_version(n, e))
		keep_file(d, n, e, fresh);
	else
		tree_put_file(t, d, n, new_file(t, name, len, e), fresh);
}

void tree_add_marker(struct tree *t, struct dir *d, const struct vmofs_entry *e)
{
	d->marker = true;
	if (e->size && e->size != VMOFS_SIZE_UNKNOWN)
		tree_hide(t, d, FS_HIDDEN_MARKER, e->key, e->key_len);
	/* It may have been changed here since. */
	if (e->mtime.tv_sec && !d->attr.timed)
		d->node->mtime_ns =
			MAX(d->node->mtime_ns,
			    (int64_t)e->mtime.tv_sec * (int64_t)NSEC_PER_SEC + e->mtime.tv_nsec);
}

/* @e is of the directory @part of @d, or of something in it. */
static void add_prefix(struct tree *t, struct dir *d, const char *part, size_t len,
		       const struct vmofs_entry *e) REQUIRES(t->lock)
{
	struct node *n = tree_add_dir(t, d, part, len, 0);

	if (n && e->type == VMOFS_ENTRY_PREFIX && part + len + 1 == e->key + e->key_len && e->has)
		tree_tell_dir(t, n, e);
}

/* A key with more parts than the listing should tell is shown by the first of them. */
void tree_add_listed(struct tree *t, struct dir *d, size_t base_len, const struct vmofs_entry *e,
		     uint64_t seq)
{
	const char *rest = e->key + base_len;
	size_t len = e->key_len - base_len;
	const char *slash = memchr(rest, '/', len);
	size_t part = slash ? (size_t)(slash - rest) : len;
	int why = len ? name_check(rest, part) : NAME_OK;

	if (!len)
		tree_add_marker(t, d, e);
	else if (why == NAME_OK && e->key_len + NAME_RCLONE_LEN + 2 > VMOFS_KEY_MAX)
		tree_hide(t, d, FS_HIDDEN_LONG, e->key, e->key_len);
	else if (why != NAME_OK)
		tree_hide(t, d, (enum fs_hidden)why, e->key, e->key_len);
	else if (tree_key_is_old(t, e->key, base_len, base_len + part, seq))
		return;
	else if (slash || e->type == VMOFS_ENTRY_PREFIX)
		add_prefix(t, d, rest, part, e);
	else
		tree_add_file(t, d, rest, len, e, 0);
}

/* ---- listings ---- */

void tree_begin_listing(struct tree *t, struct dir *d, const void *lister, uint64_t asked_ns,
			uint64_t seq)
{
	uint64_t before = dir_bytes(d);

	d->again = d->state == DIR_LISTED && d->n_live;
	if (!d->opens) {
		dir_compact(d);
		t->st.bytes += dir_bytes(d) - before;
	}
	dir_set_state(d, DIR_LISTING);
	d->seen = !d->seen;
	d->lister = lister;
	d->told_slot = NODE_NO_SLOT;
	d->asked_ns = asked_ns;
	d->seq = seq;
	d->read_whole = false;
	d->marker = false;
	d->walk_slot = NODE_NO_SLOT;
	d->walk_pages = 0;
	d->walk_run = 0;
	tree_unhide(t, d);
	tree_touch(t, d);
}

/* The listing need not have told of it: it was changed here, then or since. */
static bool is_ours(struct tree *t, const struct dir *d, const struct node *n) REQUIRES(t->lock)
{
	return tree_is_kept(n) || tree_name_is_old(t, d, node_name(n), n->name_len, d->seq);
}

/* What the listing has not told is gone. */
static void sweep(struct tree *t, struct dir *d) REQUIRES(t->lock)
{
	for (uint32_t i = 0; i < d->n_slots; i++) {
		struct node *n = d->slots[i];
		struct node *other;

		if (!n)
			continue;
		if (is_seen(d, n)) {
			n->flags &= (uint16_t)~NODE_DOUBT_NEW;
			continue;
		}
		other = tree_take_other(n);
		if (is_ours(t, d, n)) {
			node_free(other);
			mark_seen(d, n);
		} else if (other) {
			supersede(t, d, n, other);
		} else {
			tree_remove(t, n, true);
		}
	}
}

/* An empty directory that nothing stands for may not exist: its name is asked for again. */
static void doubt_empty(struct tree *t, struct dir *d) REQUIRES(t->lock)
{
	const struct node *parent = d->node->parent;
	bool any = d->n_live || d->marker || d->node == t->root;

	for (unsigned i = 0; i < FS_HIDDEN_NREASONS; i++)
		any = any || d->hidden[i];
	if (any || tree_is_kept(d->node))
		return;
	d->node->flags |= NODE_DOUBT;
	if (parent && parent->dir->state == DIR_LISTING)
		d->node->flags |= NODE_DOUBT_NEW;
	d->node->fresh = 0;
}

/* A listing that has failed is no news: whatever the next one does not tell, it has not seen. */
static void unsee(struct dir *d)
{
	for (uint32_t i = 0; i < d->n_slots; i++) {
		if (!d->slots[i])
			continue;
		mark_seen(d, d->slots[i]);
		d->slots[i]->flags &= (uint16_t)~NODE_DOUBT_NEW;
		node_free(tree_take_other(d->slots[i]));
	}
}

void tree_end_listing(struct tree *t, struct dir *d, int code)
{
	if (code == 0 && d->seq < t->all_old)
		code = -ECANCELED;
	if (code == 0)
		sweep(t, d);
	else
		unsee(d);
	dir_set_state(d, code == 0 ? DIR_LISTED : DIR_UNLISTED);
	d->lister = NULL;
	d->again = false;
	d->n_asked = 0;
	if (code < 0)
		d->asked_ns = 0;
	d->whole_ns = d->asked_ns;
	if (code == 0)
		doubt_empty(t, d);
	tree_wake(t, &d->waits, code == -ECANCELED ? 0 : code);
}

/* ---- HEAD ---- */

static bool is_same(const struct node *a, const struct node *b)
{
	char va[NODE_VALIDATOR_MAX], vb[NODE_VALIDATOR_MAX];

	node_validator(a, va);
	node_validator(b, vb);
	return a->size == b->size && a->mtime_ns == b->mtime_ns && !strcmp(va, vb);
}

void tree_headed(struct tree *t, struct node *n, struct node *file, uint64_t asked_ns)
{
	struct dir *d = n->parent->dir;

	if (!file) {
		tree_add_negative(t, n->parent->ino, node_name(n), n->name_len, asked_ns);
		tree_remove(t, n, false);
		return;
	}
	file->flags |= NODE_HEADED;
	if (n->flags & NODE_RCLONE)
		file->flags |= NODE_RCLONE | NODE_LINK;
	file->fresh = tree_tick(t, asked_ns);
	if (!(n->flags & NODE_TOLD) || is_same(n, file)) {
		tree_swap_node(t, n, file);
		return;
	}
	t->st.versions++;
	supersede(t, d, n, file);
}
