/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the parts of a tree over a source share (README.md of this folder tells how they work together):
 *
 *   tree_source.c  the operations and the life
 *   tree_wait.c    the lock, those who wait
 *   tree_names.c   numbers, keys, freshness, names known not to exist
 *   tree_entry.c   entries become nodes, versions, what is hidden
 *   tree_query.c   queries under way, and who waits for them
 *   tree_walk.c    flat listings ahead of a walker, and of a source that is told at once
 *   tree_news.c    which answers are older than what was changed here
 *   tree_change.c  the changes made here
 *   tree_forget.c  what the kernel lets go, the soft limit
 *   tree_link.c    targets of symbolic links that are contents
 *
 * One lock. tree_unlock() does what must not be done under it: it sends the queries, ends the waits
 * and lets objects go that have been put aside while it was held.
 */
#ifndef FS_TREE_PRIVATE_H
#define FS_TREE_PRIVATE_H

#include "base/loop.h"
#include "base/sync.h"
#include "fs/dir.h"
#include "fs/invalidate.h"
#include "fs/node.h"
#include "fs/tree.h"

#define TREE_TICK_NS UINT64_C(100000000)

enum {
	TREE_NEGATIVE_MAX = 8192,
	TREE_HIDDEN_EXAMPLES = 64,
	TREE_WALKS_MAX = 4,
	TREE_TARGET_MAX = 4096,
};

/* A name known not to exist, in a directory that is not listed. */
struct negative {
	struct vmofs_list link; /* the one asked longest ago first */
	struct negative *next;  /* in the table */
	uint64_t dir;
	uint64_t asked_ns;
	uint8_t len;
	char name[];
};

/* A question that is out: what has been changed since is not for it to tell. */
struct tree_asked {
	struct vmofs_list link; /* the oldest first */
	uint64_t seq;           /* how many changes there had been */
};

/* A name changed here while somebody was asking, and one that the origin still has, though it is removed. */
struct recent;
struct away;

struct hidden_example {
	enum fs_hidden why;
	char *key; /* owned */
};

enum tree_query_kind { TREE_QUERY_LIST, TREE_QUERY_NAME, TREE_QUERY_HEAD, TREE_QUERY_LINK };

struct tree_query {
	struct vmofs_query q; /* its link is ours until it is sent; LINK: priv is the reading */
	struct tree *tree;
	enum tree_query_kind kind;
	struct dir *dir;         /* pinned */
	struct vmofs_list link;  /* in dir->queries */
	struct vmofs_list waits; /* LIST: those are in the directory */
	uint64_t asked_ns;
	struct tree_asked asked;
	/* What came; under the lock of the tree. */
	bool insists; /* HEAD: it counts, whatever a listing says */
	bool prefix;
	struct vmofs_entry told; /* mode, owner, time of a directory itself; no texts of it */
	struct node *file;       /* owned */
	size_t base_len;         /* of the directory's key, which `key` begins with */
	size_t name_len;
	char key[]; /* and the name */
};

struct walk;

enum tree_load { TREE_LOAD_NONE, TREE_LOAD_RUNNING, TREE_LOAD_DONE };

struct tree {
	struct fs_tree base;
	struct fs_tree_source_params p;
	unsigned can; /* of the source, fixed as all up to the lock */
	unsigned page;
	bool dirs;     /* HEAD tells of directories too, and is asked */
	bool complete; /* one FLAT tells all, and it stays right until the source says otherwise */
	uint64_t start_ns;
	int64_t birth_ns;                /* CLOCK_REALTIME: the time of directories */
	struct invalidator *invalidator; /* owned */
	struct mutex lock;

	/* lock: lock, from here */
	struct node **by_ino;
	uint64_t n_buckets;
	uint64_t n_nodes;
	uint64_t next_ino;
	struct node *root;
	struct vmofs_list lru; /* directories with entries, the one not used longest at the end */

	struct negative **negatives;
	struct vmofs_list negative_lru;
	unsigned n_negative;

	uint64_t n_changes;        /* made here, ever */
	uint64_t all_old;          /* what was asked before so many does not count at all */
	struct vmofs_list asked;   /* of struct tree_asked */
	struct vmofs_list recents; /* the oldest first */
	struct recent **recent;    /* owned; by path */
	unsigned n_recent;
	struct vmofs_list away;

	struct vmofs_list walks;
	uint32_t next_walk;
	enum tree_load load;
	struct vmofs_list load_waits;
	bool loading; /* the first time or again */
	bool reload;  /* once more when the load under way is done */

	struct vmofs_list send;  /* queries to be sent */
	struct vmofs_list woken; /* waits to be ended */
	struct node *dead;       /* nodes whose objects are to be forgotten; by hash_next */
	bool stopped;

	unsigned n_out; /* queries sent whose done() has not come to its end */
	struct cond idle;
	uint64_t evict_at;      /* free bytes; 0: the soft limit */
	uint64_t evicted_bytes; /* since the allocator was told to give back */
	struct hidden_example hidden[TREE_HIDDEN_EXAMPLES];
	unsigned n_hidden;
	struct fs_tree_stats st;
};

static inline struct tree *tree_of_base(struct fs_tree *t)
{
	return (struct tree *)t;
}

/* ---- tree_wait.c, tree_source.c ---- */

void tree_lock(struct tree *t) ACQUIRE(t->lock);
/* And does what has been put aside. No lock is held after it. */
void tree_unlock(struct tree *t) RELEASE(t->lock);
/* The same; then, when those who waited have come for what they waited for, memory is looked at. */
void tree_unlock_evict(struct tree *t) RELEASE(t->lock);
/* The last thing that the done() of a query does: the tree may be freed after it. */
void tree_query_over(struct tree *t) EXCLUDES(t->lock);
uint64_t tree_now(const struct tree *t);
/* Looks whether the source has changed. A thread that may block. */
void tree_poll(void *arg);

/* Queues @w, which has to wait for what was asked for at @asked_ns. -EINPROGRESS, -EAGAIN, -ESHUTDOWN. */
int tree_wait_on(struct tree *t, struct fs_tree_wait *w, struct vmofs_list *waits,
		 uint64_t asked_ns) REQUIRES(t->lock);
void tree_wake(struct tree *t, struct vmofs_list *waits, int status) REQUIRES(t->lock);
bool tree_cancel(struct fs_tree *base, struct fs_tree_wait *w);

/* ---- tree_names.c ---- */

struct node *tree_find_ino(struct tree *t, uint64_t ino) REQUIRES(t->lock);
void tree_number(struct tree *t, struct node *n) REQUIRES(t->lock);
void tree_unnumber(struct tree *t, struct node *n) REQUIRES(t->lock);
/* @now takes the number of @old, which is freed. */
void tree_renumber(struct tree *t, struct node *old, struct node *now) REQUIRES(t->lock);

/* The key of @n, with the "/" of a directory; the length, -ESTALE nameless, -ENAMETOOLONG. */
int tree_key(struct tree *t, const struct node *n, char key[VMOFS_KEY_MAX]) REQUIRES(t->lock);

/* Whether what was asked at @asked_ns still counts, for @w at least. */
bool tree_is_fresh(struct tree *t, uint64_t asked_ns, const struct fs_tree_wait *w)
	REQUIRES(t->lock);
bool tree_dir_is_fresh(struct tree *t, const struct dir *d, const struct fs_tree_wait *w)
	REQUIRES(t->lock);
bool tree_node_is_fresh(struct tree *t, const struct node *n, const struct fs_tree_wait *w)
	REQUIRES(t->lock);
/* How long the kernel may keep it. */
uint64_t tree_node_ttl(struct tree *t, const struct node *n) REQUIRES(t->lock);
uint64_t tree_rest(struct tree *t, uint64_t asked_ns, uint64_t ttl_ns) REQUIRES(t->lock);
uint64_t tree_negative_ttl(struct tree *t, uint64_t asked_ns) REQUIRES(t->lock);
uint32_t tree_tick(struct tree *t, uint64_t ns);

/* When @name was found not to exist in @dir; 0: it was not. */
uint64_t tree_negative(struct tree *t, uint64_t dir, const char *name, size_t len)
	REQUIRES(t->lock);
void tree_add_negative(struct tree *t, uint64_t dir, const char *name, size_t len,
		       uint64_t asked_ns) REQUIRES(t->lock);
void tree_drop_negative(struct tree *t, uint64_t dir, const char *name, size_t len)
	REQUIRES(t->lock);
void tree_drop_negatives(struct tree *t) REQUIRES(t->lock);

/* ---- tree_entry.c ---- */

/* The contents of @n, empty so far if need be; NULL: no memory. */
struct dir *tree_dir(struct tree *t, struct node *n) REQUIRES(t->lock);
/* NULL: no memory, or a name that cannot be. @fresh: a tick, 0: it is as fresh as the listing. */
struct node *tree_add_dir(struct tree *t, struct dir *d, const char *name, size_t len,
			  uint32_t fresh) REQUIRES(t->lock);
void tree_add_file(struct tree *t, struct dir *d, const char *name, size_t len,
		   const struct vmofs_entry *e, uint32_t fresh) REQUIRES(t->lock);
/* One key of a listing of @d, whose own key has @base_len bytes; asked for after @seq changes. */
void tree_add_listed(struct tree *t, struct dir *d, size_t base_len, const struct vmofs_entry *e,
		     uint64_t seq) REQUIRES(t->lock);
void tree_add_marker(struct tree *t, struct dir *d, const struct vmofs_entry *e) REQUIRES(t->lock);
void tree_hide(struct tree *t, struct dir *d, enum fs_hidden why, const char *key, size_t len)
	REQUIRES(t->lock);
/* A file that was told with the name of the directory @n, if any; owned by the caller. */
struct node *tree_take_other(struct node *n);
/* Nothing that was hidden in @d counts any more. */
void tree_unhide(struct tree *t, struct dir *d) REQUIRES(t->lock);
/* The name stands for nothing any more. */
void tree_remove(struct tree *t, struct node *n, bool tell) REQUIRES(t->lock);
/* A HEAD has told @file (owned; NULL: there is none) of @n. */
void tree_headed(struct tree *t, struct node *n, struct node *file, uint64_t asked_ns)
	REQUIRES(t->lock);
/* @now, with the number of @old, in its place. */
void tree_swap_node(struct tree *t, struct node *old, struct node *now) REQUIRES(t->lock);

void tree_begin_listing(struct tree *t, struct dir *d, const void *lister, uint64_t asked_ns,
			uint64_t seq) REQUIRES(t->lock);
/* @code 0: it has told all. */
void tree_end_listing(struct tree *t, struct dir *d, int code) REQUIRES(t->lock);

/* A node that is new here; takes @n. NULL: no memory. */
struct node *tree_add_node(struct tree *t, struct dir *d, struct node *n) REQUIRES(t->lock);
/* What the kernel has cached of its name is not right any more. */
void tree_tell_kernel(struct tree *t, const struct node *n) REQUIRES(t->lock);

/* ---- tree_news.c ---- */

/* @a is asked now; tree_answered() ends it, and may follow without the other. */
void tree_ask(struct tree *t, struct tree_asked *a) REQUIRES(t->lock);
void tree_answered(struct tree *t, struct tree_asked *a) REQUIRES(t->lock);
/* @name in @d is changed here, now: what was asked before does not count. */
void tree_changed(struct tree *t, const struct dir *d, const char *name, size_t len)
	REQUIRES(t->lock);
/* The same for a path from the root. */
void tree_changed_path(struct tree *t, const char *path, size_t len) REQUIRES(t->lock);
/* Whether that was after @seq changes. @path is a key as it is shown, without a final "/". */
bool tree_is_old(struct tree *t, const char *path, size_t len, uint64_t seq) REQUIRES(t->lock);
bool tree_name_is_old(struct tree *t, const struct dir *d, const char *name, size_t len,
		      uint64_t seq) REQUIRES(t->lock);
/* The same for the part of a key that ends at @end and begins at @at. */
bool tree_key_is_old(struct tree *t, const char *key, size_t at, size_t end, uint64_t seq)
	REQUIRES(t->lock);
/* Whether the key of @d still is @key. */
bool tree_is_at(struct tree *t, const struct dir *d, const char *key, size_t len) REQUIRES(t->lock);

/* A key that the origin still has, until tree_gone(). 0 or -ENOMEM. */
int tree_away(struct tree *t, const char *key, size_t len) REQUIRES(t->lock);
/* The same for all keys that begin with @key ("dir/"). */
int tree_away_below(struct tree *t, const char *key, size_t len) REQUIRES(t->lock);
/* False: it was not away. */
bool tree_gone(struct tree *t, const char *key) REQUIRES(t->lock);
/* The directory @key ("dir/") is removed, with the keys in it that are away; or, not @removed, it is made. */
void tree_away_dir(struct tree *t, const char *key, size_t len, bool removed) REQUIRES(t->lock);
/* What the source tells by @e is removed here. */
bool tree_is_away(struct tree *t, const struct vmofs_entry *e) REQUIRES(t->lock);
void tree_news_free(struct tree *t) REQUIRES(t->lock);

/* ---- tree_change.c ---- */

/* It stays, whatever the source tells: there are changes of it, or in it, that were made here. */
bool tree_is_kept(const struct node *n);
void tree_keep(struct tree *t, struct node *n, uint16_t flag) REQUIRES(t->lock);
void tree_unkeep(struct tree *t, struct node *n, uint16_t flag) REQUIRES(t->lock);
/* @n comes to its directory (1), or is about to leave it (-1). */
void tree_count_kept(struct tree *t, const struct node *n, int sign) REQUIRES(t->lock);
int tree_made(struct fs_tree *base, uint64_t parent, const char *name, const struct vmofs_entry *e,
	      bool local, struct fs_tree_attr *out);
int tree_made_key(struct fs_tree *base, const char *key, const struct vmofs_entry *e,
		  struct fs_tree_attr *out);
int tree_removed(struct fs_tree *base, uint64_t parent, const char *name, bool told);
void tree_told_gone(struct fs_tree *base, const char *key);
int tree_moved(struct fs_tree *base, uint64_t parent, const char *name, uint64_t new_parent,
	       const char *new_name);
void tree_set_away_below(struct fs_tree *base, const char *key, bool away);
int tree_hold_file(struct fs_tree *base, uint64_t ino);
void tree_settled(struct fs_tree *base, uint64_t ino, const struct vmofs_entry *e);
int tree_entry(struct fs_tree *base, uint64_t ino, char key[VMOFS_KEY_MAX], char validator[512],
	       struct vmofs_entry *e);
int tree_dir_attr(struct fs_tree *base, uint64_t ino, const struct vmofs_entry *e);
uint64_t tree_number_of(struct fs_tree *base, uint64_t parent, const char *name);
int tree_empty(struct fs_tree *base, uint64_t ino, struct fs_tree_wait *w);

/* ---- tree_source.c ---- */

void tree_fill_attr(struct tree *t, const struct node *n, struct fs_tree_attr *out)
	REQUIRES(t->lock);
int tree_find_dir(struct tree *t, uint64_t ino, struct dir **out) REQUIRES(t->lock);
/* More of the listing of @d, or its end. */
int tree_wait_for_listing(struct tree *t, struct dir *d, struct fs_tree_wait *w) REQUIRES(t->lock);

/* ---- tree_query.c ---- */

/* Whether HEAD is to be asked before the kernel is told of @n. */
/* What the source, or who changed it here, says of the directory @n itself. Without memory nothing. */
void tree_tell_dir(struct tree *t, struct node *n, const struct vmofs_entry *e) REQUIRES(t->lock);
bool tree_needs_head(const struct tree *t, const struct node *n);
/* These return what tree_wait_on() does, or -ENOMEM and the like; @w NULL: nobody waits. */
int tree_list(struct tree *t, struct dir *d, struct fs_tree_wait *w) REQUIRES(t->lock);
int tree_ask_name(struct tree *t, struct dir *d, const char *name, struct fs_tree_wait *w)
	REQUIRES(t->lock);
int tree_ask_head(struct tree *t, struct node *n, struct fs_tree_wait *w) REQUIRES(t->lock);
struct tree_query *tree_query_new(struct tree *t, enum tree_query_kind kind, struct dir *d,
				  const char *name, int *r) REQUIRES(t->lock);
/* The key of @n has a suffix that its name has not. */
void tree_query_suffix(struct tree_query *q, const struct node *n);
void tree_query_free(struct tree *t, struct tree_query *q) REQUIRES(t->lock);
/* One of @kind about @name that is under way, or NULL. */
struct tree_query *tree_query_find(struct tree *t, struct dir *d, enum tree_query_kind kind,
				   const char *name) REQUIRES(t->lock);
uint64_t tree_deadline(const struct tree *t);
void tree_count_result(struct tree *t, const struct vmofs_query_result *r) REQUIRES(t->lock);

/* ---- tree_walk.c ---- */

/*
 * Somebody reads @d, which is not listed or is stale: by a walk that is on its way, by a new one, or
 * by itself. As tree_list().
 */
int tree_want_listing(struct tree *t, struct dir *d, struct fs_tree_wait *w) REQUIRES(t->lock);
/* @d is about to be read from its beginning. */
void tree_walk_opened(struct tree *t, struct dir *d) REQUIRES(t->lock);
/* The walk that fills @d goes on, if it stands. */
void tree_walk_push(struct tree *t, struct dir *d) REQUIRES(t->lock);
/* Waits for the one listing of a source that is told at once; 0: that is done. */
int tree_want_load(struct tree *t, struct fs_tree_wait *w) REQUIRES(t->lock);
/* The source has changed. */
void tree_reload(struct tree *t) EXCLUDES(t->lock);
void tree_walks_wake(struct tree *t, int status) REQUIRES(t->lock);
void tree_walks_end(struct tree *t) REQUIRES(t->lock);

/* ---- tree_forget.c ---- */

void tree_forget(struct tree *t, uint64_t ino, uint64_t n) REQUIRES(t->lock);
void tree_hold(struct tree *t, struct node *n) REQUIRES(t->lock);
void tree_touch(struct tree *t, struct dir *d) REQUIRES(t->lock);
/* Back below the soft limit, as far as that can be. */
void tree_evict(struct tree *t) REQUIRES(t->lock);
/* The same when something has come out of use that was in the way. */
void tree_evict_now(struct tree *t) REQUIRES(t->lock);
/* Frees @n, or leaves it until nobody needs it any more. It has no name. */
void tree_put_away(struct tree *t, struct node *n) REQUIRES(t->lock);
void tree_count_node(struct tree *t, const struct node *n, int sign) REQUIRES(t->lock);

/* ---- tree_link.c ---- */

/* Reads the target of @n from its contents. As tree_list(). */
int tree_ask_target(struct tree *t, struct node *n, struct fs_tree_wait *w) REQUIRES(t->lock);
/* Its turn to be sent has come; no locks. */
void tree_link_start(struct tree_query *q);

#endif
