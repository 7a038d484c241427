/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Listings ahead of somebody who walks through the tree. Once a directory has been read to its end and two
 * of its sub-directories are opened in order, the rest of it is told by a flat listing: a few requests
 * for hundreds of directories. It goes on as the walker moves, stays a bounded number of entries ahead,
 * and stands still when the walker does. Where the source has no flat listings, the next few
 * sub-directories are listed at once.
 *
 * The directories of the last key are on a stack. A key beside one of them shows that it is complete.
 *
 * The same code loads a source that is told at once (a list file), from the root.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "fs/names.h"
#include "fs/tree_private.h"

enum {
	WALK_RUN = 2,       /* sub-directories opened in order make a walk */
	WALK_PAGES_FOR = 2, /* asked for the sake of one directory, before it is listed by itself */
	WALK_AHEAD = 30000, /* entries */
	WALK_PAGE = 1000,   /* where the source does not say */
	WALK_PAGES_MAX = 8, /* of the source in one query */
	WALK_LARGE_PAGES = 4, /* directories larger than this are better listed by themselves */
	WALK_SIBLINGS = 4,    /* listed ahead where there are no flat listings */
	WALK_SIBLINGS_SEEK = 256,
};
#define WALK_IDLE_NS (30 * NSEC_PER_SEC)

struct walk_level {
	struct dir *dir; /* pinned */
	size_t len;      /* of its key */
};

struct walk {
	struct vmofs_query q;
	struct tree *tree;
	struct vmofs_list link;   /* in tree->walks */
	struct vmofs_list waits;  /* for directories it has not come to */
	struct walk_level *stack; /* owned; the first one is where it began */
	unsigned n_levels;
	unsigned cap_levels;
	bool whole; /* also what is directly in the first directory: a load */
	bool in_flight;
	bool wanted; /* the walker has moved since the page was asked for */
	bool broken; /* the source does not keep its order */
	bool lost;   /* a directory on the stack has another key now, or none */
	uint32_t id;
	unsigned pages;          /* of the next query */
	uint64_t asked_ns;       /* of this one */
	uint64_t seq;            /* and how many changes had been made here */
	struct tree_asked asked; /* of the oldest listing that is not complete */
	uint64_t delivered;      /* entries, since the beginning */
	uint64_t walker;         /* how many of them the walker has left behind */
	char base[VMOFS_KEY_MAX];
	char pos[VMOFS_KEY_MAX];   /* the last key */
	char after[VMOFS_KEY_MAX]; /* what this query began with */
};

/* ---- the stack ---- */

static struct walk_level *top(const struct walk *w)
{
	return &w->stack[w->n_levels - 1];
}

static int push(struct walk *w, struct dir *d, size_t len)
{
	unsigned cap = w->cap_levels ? 2 * w->cap_levels : 8;
	struct walk_level *stack;

	if (w->n_levels == w->cap_levels) {
		stack = realloc(w->stack, cap * sizeof *stack);
		if (!stack)
			return -ENOMEM;
		w->stack = stack;
		w->cap_levels = cap;
	}
	w->stack[w->n_levels++] = (struct walk_level){ d, len };
	d->pins++;
	return 0;
}

/* The listing has left the directory on top: with @code 0 it is complete. */
static void pop(struct tree *t, struct walk *w, int code) REQUIRES(t->lock)
{
	struct dir *d = w->stack[--w->n_levels].dir;

	d->pins--;
	if (d->lister == w)
		tree_end_listing(t, d, code);
	if (d->node->flags & NODE_NAMELESS)
		tree_put_away(t, d->node);
}

static int enter(struct tree *t, struct walk *w, const char *name, size_t len, size_t key_len)
	REQUIRES(t->lock)
{
	bool old = tree_is_old(t, name + len + 1 - key_len, key_len - 1, w->seq);
	struct node *n = old ? NULL : tree_add_dir(t, top(w)->dir, name, len, 0);
	struct dir *d = n ? tree_dir(t, n) : NULL;

	if (!d || push(w, d, key_len) < 0)
		return -ENOMEM;
	if (d->state != DIR_LISTING && (w->whole || !tree_dir_is_fresh(t, d, NULL)))
		tree_begin_listing(t, d, w, w->asked_ns, w->seq);
	d->walk_id = w->id;
	d->walk_seq = w->delivered;
	return 0;
}

/* ---- entries ---- */

/* A query about it would not fit. */
static bool is_too_long(size_t key_len)
{
	return key_len + NAME_RCLONE_LEN + 2 > VMOFS_KEY_MAX;
}

static void add_last(struct tree *t, struct walk *w, const char *name, size_t len,
		     const struct vmofs_entry *e) REQUIRES(t->lock)
{
	struct dir *d = top(w)->dir;
	int why = !len                    ? NAME_OK
		: is_too_long(e->key_len) ? (int)FS_HIDDEN_LONG
					  : name_check(name, len);

	if (d->lister != w)
		return; /* it is known from elsewhere */
	if (!len)
		tree_add_marker(t, d, e);
	else if (why != NAME_OK)
		tree_hide(t, d, (enum fs_hidden)why, e->key, e->key_len);
	else if (!tree_key_is_old(t, e->key, e->key_len - len, e->key_len, w->seq))
		tree_add_file(t, d, name, len, e, 0);
}

static void add_key(struct tree *t, struct walk *w, const struct vmofs_entry *e) REQUIRES(t->lock)
{
	const char *slash;
	size_t at;

	while (w->n_levels > 1 && (e->key_len < top(w)->len || memcmp(e->key, w->pos, top(w)->len)))
		pop(t, w, 0);
	for (at = top(w)->len; (slash = memchr(e->key + at, '/', e->key_len - at));) {
		size_t len = (size_t)(slash - e->key) - at;
		int why = is_too_long(at + len + 1) ? (int)FS_HIDDEN_LONG
						    : name_check(e->key + at, len);

		if (why != NAME_OK) {
			tree_hide(t, top(w)->dir, (enum fs_hidden)why, e->key, e->key_len);
			return;
		}
		if (enter(t, w, e->key + at, len, at + len + 1) < 0)
			return;
		at += len + 1;
	}
	add_last(t, w, e->key + at, e->key_len - at, e);
}

static void add_entry(struct tree *t, struct walk *w, const struct vmofs_entry *e) REQUIRES(t->lock)
{
	size_t base = w->stack[0].len;
	int order = strcmp(e->key, w->pos);

	if (e->type != VMOFS_ENTRY_FILE || e->key_len < base || e->key_len >= VMOFS_KEY_MAX ||
	    memcmp(e->key, w->base, base))
		return;
	if (order < 0 && *w->pos)
		w->broken = true;
	if (w->broken || (!order && *w->pos))
		return;
	w->delivered++;
	t->st.entries++;
	if (!tree_is_away(t, e))
		add_key(t, w, e);
	memcpy(w->pos, e->key, e->key_len + 1);
}

/* Whether the keys that come still are those of the directories on the stack. */
static bool is_lost(struct tree *t, struct walk *w) REQUIRES(t->lock)
{
	const char *key = w->n_levels > 1 ? w->pos : w->base;

	w->lost = w->lost || (!w->whole && !tree_is_at(t, top(w)->dir, key, top(w)->len));
	return w->lost;
}

static bool walk_entries(struct vmofs_query *q, const struct vmofs_entry *v, unsigned n)
{
	struct walk *w = container_of(q, struct walk, q);
	struct tree *t = w->tree;
	bool more;

	tree_lock(t);
	for (unsigned i = 0; i < n && !is_lost(t, w); i++)
		add_entry(t, w, &v[i]);
	for (unsigned i = 0; i < w->n_levels; i++)
		if (w->stack[i].dir->lister == w && !w->stack[i].dir->again)
			tree_wake(t, &w->stack[i].dir->waits, 0);
	tree_wake(t, &w->waits, 0);
	tree_evict(t);
	more = !t->stopped && !w->broken && !w->lost;
	tree_unlock(t);
	return more;
}

/* ---- life ---- */

static void walk_done(struct vmofs_query *q, const struct vmofs_query_result *result);

/* Whether a directory was begun with an earlier page than the next. */
static bool has_begun(const struct walk *w)
{
	for (unsigned i = 0; i < w->n_levels; i++)
		if (w->stack[i].dir->lister == w)
			return true;
	return false;
}

static void ask_page(struct tree *t, struct walk *w) REQUIRES(t->lock)
{
	uint64_t page = t->page ? t->page : WALK_PAGE;

	if (!has_begun(w)) {
		tree_answered(t, &w->asked);
		tree_ask(t, &w->asked);
	}
	w->seq = t->n_changes;
	w->in_flight = true;
	w->wanted = false;
	w->asked_ns = tree_now(t);
	strcpy(w->after, w->pos);
	w->q = (struct vmofs_query){
		.kind = VMOFS_QUERY_FLAT,
		.key = w->base,
		.after = w->after,
		.limit = w->whole ? 0 : w->pages * page,
		.deadline_ns = tree_deadline(t),
		.entries = walk_entries,
		.done = walk_done,
	};
	w->pages = MIN(2 * w->pages, WALK_PAGES_MAX);
	t->st.flat_listings++;
	vmofs_list_add_tail(&t->send, &w->q.link);
}

static struct walk *walk_new(struct tree *t, struct dir *d, bool whole) REQUIRES(t->lock)
{
	struct walk *w = calloc(1, sizeof *w);
	int len = w ? tree_key(t, d->node, w->base) : -ENOMEM;

	if (len < 0 || push(w, d, (size_t)len) < 0) {
		free(w);
		return NULL;
	}
	w->tree = t;
	w->whole = whole;
	w->id = ++t->next_walk;
	w->pages = 1;
	vmofs_list_init(&w->waits);
	vmofs_list_init(&w->asked.link);
	vmofs_list_add(&t->walks, &w->link);
	return w;
}

static void load_done(struct tree *t, int code) REQUIRES(t->lock);

/* @code 0: it has come to its end; -ECANCELED: whoever waits asks in another way. */
static void walk_end(struct tree *t, struct walk *w, int code) REQUIRES(t->lock)
{
	while (w->n_levels)
		pop(t, w, code);
	vmofs_list_del(&w->link);
	tree_answered(t, &w->asked);
	tree_wake(t, &w->waits, code == -ECANCELED ? 0 : code);
	if (w->whole)
		load_done(t, code);
	free(w->stack);
	free(w);
}

static bool may_go_on(const struct walk *w)
{
	return !w->in_flight && w->delivered - w->walker < WALK_AHEAD;
}

/* Somebody waits for the end of a directory that the walk is in. */
static bool is_awaited(const struct walk *w)
{
	for (unsigned i = 0; i < w->n_levels; i++)
		if (w->stack[i].dir->lister == w && !vmofs_list_empty(&w->stack[i].dir->waits))
			return true;
	return false;
}

static int walk_code(struct tree *t, struct walk *w, const struct vmofs_query_result *result)
	REQUIRES(t->lock)
{
	if (t->stopped)
		return -ESHUTDOWN;
	if (w->broken || is_lost(t, w))
		return w->whole ? -EIO : -ECANCELED;
	return result->code == -ENOENT ? -EIO : result->code;
}

static void expire(struct dir *d)
{
	d->asked_ns = 0;
	d->whole_ns = 0;
}

/* What it has told to be complete may not be. */
static void disbelieve(struct tree *t, const struct walk *w) REQUIRES(t->lock)
{
	struct vmofs_list *pos;

	t->can &= ~BIT(VMOFS_QUERY_FLAT);
	vmofs_list_for_each(pos, &t->lru) {
		struct dir *d = vmofs_list_entry(pos, struct dir, lru);

		if (d->walk_id == w->id)
			expire(d);
	}
}

static void walk_done(struct vmofs_query *q, const struct vmofs_query_result *result)
{
	struct walk *w = container_of(q, struct walk, q);
	struct tree *t = w->tree;
	int code;

	tree_lock(t);
	tree_count_result(t, result);
	w->in_flight = false;
	code = walk_code(t, w, result);
	if (w->broken)
		disbelieve(t, w);
	if (code < 0 || !result->more) {
		walk_end(t, w, code);
	} else {
		tree_wake(t, &w->waits, 0);
		if (is_awaited(w) || (w->wanted && may_go_on(w)))
			ask_page(t, w);
	}
	tree_unlock_evict(t);
	tree_query_over(t);
}

void tree_walks_wake(struct tree *t, int status)
{
	struct vmofs_list *pos;

	vmofs_list_for_each(pos, &t->walks)
		tree_wake(t, &vmofs_list_entry(pos, struct walk, link)->waits, status);
}

void tree_walks_end(struct tree *t)
{
	while (!vmofs_list_empty(&t->walks))
		walk_end(t, vmofs_list_first(&t->walks, struct walk, link), -ESHUTDOWN);
}

/* ---- a source that is told at once ---- */

static int load_start(struct tree *t) REQUIRES(t->lock)
{
	struct dir *d = tree_dir(t, t->root);
	struct walk *w;

	if (d && d->state == DIR_LISTING)
		return -EAGAIN;
	w = d ? walk_new(t, d, true) : NULL;
	if (!w)
		return -ENOMEM;
	if (t->load == TREE_LOAD_NONE)
		t->load = TREE_LOAD_RUNNING;
	t->loading = true;
	tree_drop_negatives(t);
	ask_page(t, w);
	tree_begin_listing(t, d, w, w->asked_ns, w->seq);
	return 0;
}

static void load_done(struct tree *t, int code)
{
	bool again = t->reload && !code;

	if (code == 0)
		t->load = TREE_LOAD_DONE;
	else if (t->load == TREE_LOAD_RUNNING)
		t->load = TREE_LOAD_NONE;
	t->reload = false;
	t->loading = false;
	tree_wake(t, &t->load_waits, code);
	if (again)
		(void)load_start(t);
}

int tree_want_load(struct tree *t, struct fs_tree_wait *w)
{
	int r = 0;

	if (!t->complete || t->load == TREE_LOAD_DONE)
		return 0;
	if (t->stopped)
		return -ESHUTDOWN;
	if (!w)
		return -EAGAIN;
	if (t->load == TREE_LOAD_NONE)
		r = load_start(t);
	return r < 0 ? r : tree_wait_on(t, w, &t->load_waits, tree_now(t));
}

/* Everything that is known is stale. */
static void expire_all(struct tree *t) REQUIRES(t->lock)
{
	struct vmofs_list *pos;

	vmofs_list_for_each(pos, &t->lru)
		expire(vmofs_list_entry(pos, struct dir, lru));
	tree_drop_negatives(t);
}

void tree_reload(struct tree *t)
{
	tree_lock(t);
	if (!t->complete)
		expire_all(t);
	else if (t->loading)
		t->reload = true;
	else if (t->load == TREE_LOAD_DONE)
		(void)load_start(t);
	tree_unlock(t);
}

/* ---- a walker ---- */

static struct walk *find_walk(struct tree *t, uint32_t id) REQUIRES(t->lock)
{
	struct vmofs_list *pos;

	vmofs_list_for_each(pos, &t->walks) {
		struct walk *w = vmofs_list_entry(pos, struct walk, link);

		if (w->id == id)
			return w;
	}
	return NULL;
}

/* The walk that will come to the directory @key. */
static struct walk *walk_towards(struct tree *t, const char *key) REQUIRES(t->lock)
{
	struct vmofs_list *pos;

	vmofs_list_for_each(pos, &t->walks) {
		struct walk *w = vmofs_list_entry(pos, struct walk, link);

		if (!w->whole && !strncmp(key, w->base, w->stack[0].len) &&
		    strncmp(key, w->pos, strlen(key)) > 0)
			return w;
	}
	return NULL;
}

/* Makes room for one more; false: all are busy. */
static bool make_room(struct tree *t, const struct dir *base) REQUIRES(t->lock)
{
	struct vmofs_list *pos, *tmp;
	unsigned n = 0;

	vmofs_list_for_each_safe(pos, tmp, &t->walks) {
		struct walk *w = vmofs_list_entry(pos, struct walk, link);

		n++;
		if (w->in_flight && w->stack[0].dir == base)
			return false;
		/* The newest come first, so what goes is the oldest. */
		if (!w->in_flight &&
		    (w->stack[0].dir == base || n >= TREE_WALKS_MAX ||
		     tree_now(t) - w->asked_ns > WALK_IDLE_NS)) {
			walk_end(t, w, -ECANCELED);
			n--;
		}
	}
	return n < TREE_WALKS_MAX;
}

/*
 * A walk through @base from its sub-directory @key on. It begins before "dir/" but behind what sorts
 * before "dir.", so that a key for the directory itself is told.
 */
static struct walk *walk_from(struct tree *t, struct dir *base, const char *key) REQUIRES(t->lock)
{
	struct walk *w = make_room(t, base) ? walk_new(t, base, false) : NULL;

	if (!w)
		return NULL;
	strcpy(w->pos, key);
	w->pos[strlen(key) - 1] = '.';
	ask_page(t, w);
	return w;
}

static bool is_walked(const struct tree *t, const struct dir *d)
{
	const struct node *p = d->node->parent;

	return p && p->dir && p->dir->walk_run >= WALK_RUN && p->dir->walk_slot == d->node->slot &&
		!t->complete;
}

static void list_siblings(struct tree *t, struct dir *d) REQUIRES(t->lock)
{
	struct dir *p = d->node->parent->dir;
	uint32_t slot = d->node->slot + 1;
	unsigned n = 0;

	for (unsigned i = 0; i < WALK_SIBLINGS_SEEK && slot < p->n_slots && n < WALK_SIBLINGS;
	     i++, slot++) {
		struct node *s = p->slots[slot];
		struct dir *sd = s && node_is_dir(s) ? tree_dir(t, s) : NULL;

		if (!sd)
			continue;
		n++;
		if (sd->state != DIR_LISTING && !tree_dir_is_fresh(t, sd, NULL))
			(void)tree_list(t, sd, NULL);
	}
}

static int wait_for_walk(struct tree *t, struct walk *k, struct dir *d, struct fs_tree_wait *w)
	REQUIRES(t->lock)
{
	if (!k->in_flight) {
		d->walk_pages++;
		ask_page(t, k);
	}
	k->wanted = true;
	return tree_wait_on(t, w, &k->waits, k->asked_ns);
}

int tree_want_listing(struct tree *t, struct dir *d, struct fs_tree_wait *w)
{
	char key[VMOFS_KEY_MAX];
	struct walk *k;
	int r = tree_key(t, d->node, key);

	if (t->stopped)
		return -ESHUTDOWN;
	if (r < 0)
		return r;
	k = walk_towards(t, key);
	if (k && d->walk_pages < WALK_PAGES_FOR)
		return wait_for_walk(t, k, d, w);
	if (is_walked(t, d) && t->can & BIT(VMOFS_QUERY_FLAT) && d->walk_pages < WALK_PAGES_FOR) {
		d->walk_pages++;
		k = walk_from(t, d->node->parent->dir, key);
		if (k)
			return wait_for_walk(t, k, d, w);
	}
	r = tree_list(t, d, w);
	if (is_walked(t, d) && !(t->can & BIT(VMOFS_QUERY_FLAT)))
		list_siblings(t, d);
	return r;
}

void tree_walk_push(struct tree *t, struct dir *d)
{
	struct walk *w = d->walk_id ? find_walk(t, d->walk_id) : NULL;

	if (!w || d->lister != w)
		return;
	w->wanted = true;
	if (!w->in_flight)
		ask_page(t, w);
}

/* Counts sub-directories that are opened in the order of their parent. */
static void count_run(struct tree *t, struct dir *p, const struct dir *d) REQUIRES(t->lock)
{
	const struct node *last = p->walk_slot < p->n_slots ? p->slots[p->walk_slot] : NULL;
	uint32_t slot = d->node->slot;

	if (!p->read_whole || slot == p->walk_slot)
		return;
	p->walk_run = last && slot > p->walk_slot ? p->walk_run + 1 : 1;
	if (last && node_is_dir(last) && last->dir && t->page &&
	    last->dir->n_live > WALK_LARGE_PAGES * t->page)
		p->walk_run = 1;
	p->walk_slot = slot;
}

void tree_walk_opened(struct tree *t, struct dir *d)
{
	struct node *parent = d->node->parent;
	struct walk *w = d->walk_id ? find_walk(t, d->walk_id) : NULL;

	if (parent && parent->dir)
		count_run(t, parent->dir, d);
	if (w) {
		w->walker = MAX(w->walker, d->walk_seq);
		w->wanted = true;
		if (may_go_on(w))
			ask_page(t, w);
	} else if (is_walked(t, d) && !(t->can & BIT(VMOFS_QUERY_FLAT)) && !t->stopped &&
		   tree_dir_is_fresh(t, d, NULL)) {
		list_siblings(t, d);
	}
}
