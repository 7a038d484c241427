/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the parts of a copy-on-write child share:
 *
 *   cow_format.c  records as bytes                       cow_query.c   listings: the origin's and ours in one
 *   cow_map.c     extents of a file; pure                cow_change.c  <vmofs/change.h>
 *   cow_table.c   all records, in memory                 cow_store.c   contents that are stored, and the rest of it
 *   cow_names.c   all records, on disk                   cow_object.c  a provider of a file that was changed
 *   cow_data.c    files of data, and what is free in them cow_base.c   the origin's contents below such a file
 *   cow.c         the directory, the life of it all      cow_single.c  one object as a source
 *
 * Locks: names.lock (LOCK_RANK_COW_NAMES) is held across writing and syncing of names; cow.lock (LOCK_RANK_SOURCE) has the table, maps
 * and files of data, and nothing blocks under it; base.lock (LOCK_RANK_COW_BASE) has the making of a base.
 */
#ifndef COW_COW_PRIVATE_H
#define COW_COW_PRIVATE_H

#include <stdatomic.h>
#include <vmofs/list.h>

#include "base/rbtree.h"
#include "base/sync.h"
#include "base/worker.h"
#include "cow/cow.h"
#include "cow/cow_format.h"
#include "store/cache_io.h"
#include "vm/vmo.h"

struct cow;
struct cow_map;
struct disk_tier;

/* ---- the origin's version of a file that was changed; shared by all maps that have it ---- */

struct cow_base {
	atomic_uint refs;
	struct cow *c;
	struct vmofs_list link; /* lock: c->lock; in c->bases */
	struct vmofs_version version;
	atomic_bool told; /* the log has a line of what is wrong with it */
	/* Its contents, from the first need until nobody uses them. */
	struct mutex lock;
	unsigned users; /* lock: lock */
	struct vmofs_provider
		*provider;      /* lock: lock; owned. Of a single object: from the beginning */
	struct vmo *vmo;        /* lock: lock; counted */
	struct disk_tier *tier; /* lock: lock; owned */
	/* Of a single object, which cannot be opened again. */
	bool stays;
	struct vmofs_object_info *info; /* owned */
	char key[];
};

/* NULL: no memory. */
struct cow_base *cow_base_new(struct cow *c, const char *key, const struct vmofs_version *v);
struct cow_base *cow_base_get(struct cow_base *b);
/* One that was found in a list: NULL, its last reference has gone, and it goes itself. */
struct cow_base *cow_base_try_get(struct cow_base *b);
void cow_base_put(struct cow_base *b); /* NULL is fine */
/* Between these two its contents stay; with a reference, made at the first need. Never block. */
void cow_base_use(struct cow_base *b);
int cow_base_vmo(struct cow_base *b, struct vmo **out);
void cow_base_unuse(struct cow_base *b);
/* Reads under way end. */
void cow_base_stop(struct cow_base *b);
void cow_base_tell(struct cow_base *b, int code, const char *why);

/* ---- files of data ---- */

struct cow_data {
	struct rb_node node; /* lock: c->lock; in c->datas */
	unsigned refs;       /* lock: c->lock; of maps and stores */
	uint64_t id;
	uint64_t end;           /* lock: c->lock; where the next extent goes */
	struct vmofs_list maps; /* lock: c->lock */
	bool kept; /* lock: c->lock; a record on disk may have of it what none in memory has */
};

/* The file @id with a reference more, made if need be; 0: a new one. In memory only. NULL: no memory. */
struct cow_data *cow_data_get(struct cow *c, uint64_t id);
/* A descriptor, or -errno. */
int cow_data_open(struct cow *c, const struct cow_data *d, bool make);
/* Space for @len bytes, page aligned. */
uint64_t cow_data_take(struct cow *c, struct cow_data *d, uint64_t len);
/* The last reference removes the file. NULL is fine. */
void cow_data_put(struct cow *c, struct cow_data *d);
/* Nothing may be there but what maps have: [at, at + len) was taken for nothing. */
void cow_data_give(struct cow *c, struct cow_data *d, uint64_t at, uint64_t len);
/* After the replay: what no record has goes. 0 or -errno. */
int cow_data_tidy(struct cow *c);

/* ---- extents of one version of a file; never changed ---- */

struct cow_map {
	unsigned refs; /* lock: c->lock */
	struct cow *c;
	struct cow_data *data;  /* counted; NULL: nothing of it is here */
	struct cow_base *base;  /* counted; NULL: it was made here */
	struct vmofs_list link; /* lock: c->lock; in data->maps */
	struct vmofs_list dead; /* lock: c->lock; in c->dead */
	uint64_t size;
	uint64_t kept; /* so much of the base counts */
	uint64_t n;
	struct cow_extent e[];
};

enum cow_where { COW_HERE, COW_NOWHERE, COW_BELOW };
/* Where the contents at @off are, up to *@end: in data at *@at, zeros, or in the base. */
enum cow_where cow_map_find(const struct cow_map *m, uint64_t off, uint64_t *end, uint64_t *at);
/*
 * The extents of @old (@n_old), as far as @size, with @now above them, in @out, which has room for 2 * n_now + n_old. Returns how many.
 */
uint64_t cow_map_overlay(const struct cow_extent *old, uint64_t n_old, const struct cow_extent *now,
			 uint64_t n_now, uint64_t size, struct cow_extent *out);
/* @e with @next behind it, where that is one extent: true. */
bool cow_extent_join(struct cow_extent *e, const struct cow_extent *next);

/* Counted; the data and the base are counted too. @base, @data may be NULL. @old NULL: no extents before. NULL: no memory. */
struct cow_map *cow_map_new(struct cow *c, struct cow_data *data, struct cow_base *base,
			    uint64_t size, uint64_t kept, const struct cow_map *old,
			    const struct cow_extent *now, uint64_t n_now);
struct cow_map *cow_map_get_locked(struct cow_map *m);
/* May free space on disk, so not on a loop. NULL is fine. */
void cow_map_put(struct cow_map *m);
/* The same, by the worker where there is anything to be freed. */
void cow_map_put_later(struct cow_map *m);
void cow_bury(struct worker_task *t);

/* ---- records ---- */

struct cow_entry {
	struct rb_node node;
	enum cow_kind kind;
	bool over;
	struct vmofs_change_attr attr; /* xattrs: counted */
	uint64_t number;
	struct cow_map *map; /* FILE: counted */
	char *target;        /* LINK: owned, in the same piece of memory */
	char attempt[VMOFS_ATTEMPT_LEN + 1];
	struct vmofs_list dead; /* in a list of those that have been replaced */
	size_t key_len;
	char key[];
};

struct cow {
	struct vmofs_source base;   /* first */
	struct vmofs_source *lower; /* owned */
	struct cow_params p;
	const struct cache_io *io;
	struct cow_base *single; /* counted; of one object, the only one */
	char *dir;
	int dir_fd, data_fd, lock_fd;
	struct worker *worker;
	struct worker_task start; /* so that its thread is there */

	struct mutex lock;
	/* lock: lock, all below */
	struct rb_tree entries; /* by key */
	uint64_t n_entries;
	struct vmofs_list bases;
	struct rb_tree datas;   /* by id */
	struct vmofs_list dead; /* maps for the worker to put */
	struct worker_task bury;
	bool burying;
	uint64_t next_number;
	uint64_t next_data;
	bool stopped;
	atomic_bool closing; /* nothing is removed any more */

	struct {
		struct mutex lock;
		struct cond synced;
		int fd; /* lock: lock, all below */
		uint64_t salt;
		uint64_t number; /* of the last record */
		uint64_t end;
		uint64_t durable;
		uint64_t compacted; /* how long it was then */
		bool syncing;
		bool broken; /* what is on disk is not known; it is written anew first of all */
	} names;
};

/* ---- cow_table.c; all with c->lock ---- */

struct cow_entry *cow_find_locked(struct cow *c, const char *key, size_t len) REQUIRES(c->lock);
/* The first one at or after @key. */
struct cow_entry *cow_from_locked(struct cow *c, const char *key, size_t len) REQUIRES(c->lock);
struct cow_entry *cow_next(const struct cow_entry *e);
/* Whether all that the origin has at @key is hidden by one of the directories above it. */
bool cow_is_covered_locked(struct cow *c, const char *key) REQUIRES(c->lock);
/* An entry for @r, without a map. Not under the lock. NULL: no memory. */
struct cow_entry *cow_entry_new(const struct cow_rec *r);
void cow_entry_free(struct cow_entry *e); /* it has no map any more */
/*
 * @e takes the place of what has its key, and of all below that where it is a directory that is gone. These go to @dead.
 */
void cow_apply_locked(struct cow *c, struct cow_entry *e, struct vmofs_list *dead)
	REQUIRES(c->lock);
void cow_put_dead(struct vmofs_list *dead);
/* The record that @e is; its extents are those of the map. */
void cow_entry_rec(const struct cow_entry *e, struct cow_rec *out);
/* Borrowed from @x; NULL: none are said. */
void cow_rec_xattrs(struct cow_rec *r, const struct vmofs_xattrs *x);
void cow_entry_validator(const struct cow_entry *e, char out[32]);
void cow_entry_version(const struct cow_entry *e, struct vmofs_version *out);
/* What the source tells of it; false: nothing is there. @validator backs it. */
bool cow_entry_tell(const struct cow_entry *e, struct vmofs_entry *out, char validator[32]);

/* ---- cow_names.c ---- */

/* Reads what there is, or makes it. */
int cow_names_open(struct cow *c, struct vmofs_err *err);
void cow_names_close(struct cow *c);
/*
 * @e, which is taken with its map, is in the table from now on, and on disk when 0 is returned. @over: its map is that one with @now over
 * it, so no more than these need to be written; NULL: all of it. -EIO and the like: it may be either; see
 * cow_names_settle().
 */
int cow_names_add(struct cow *c, struct cow_entry *e, const struct cow_map *over,
		  const struct cow_extent *now, uint64_t n_now);
/* What the table has is on disk, or -errno. */
int cow_names_settle(struct cow *c);

/* ---- the ops ---- */

void cow_query(struct vmofs_source *src, struct vmofs_query *q);
int cow_object(struct vmofs_source *src, const struct vmofs_entry *e, struct vmofs_provider **out,
	       struct vmofs_object_info *info, struct vmofs_err *err);
extern const struct vmofs_change_ops cow_change_ops;
int cow_store(struct vmofs_source *src, struct vmofs_store *st, struct vmofs_err *err);
/* What the origin itself has at @key: asks, and waits. @attr may be NULL. */
int cow_ask_origin(struct cow *c, const char *key, struct vmofs_version *out,
		   struct vmofs_change_attr *attr, const struct vmofs_change_wait *wait,
		   struct vmofs_err *err);
/* The version @v that the change is based on, made sure of where it is not known well enough; and its attributes. */
int cow_pin_origin(struct cow *c, const char *key, struct vmofs_version *v,
		   struct vmofs_change_attr *attr, const struct vmofs_change_wait *wait,
		   struct vmofs_err *err);
/* What is said of @key here: 1 with @now and, of a file, a counted map; 0: nothing is, ask the origin (or, with @covered, it has nothing). */
struct cow_known {
	bool known;   /* the next ones count */
	bool covered; /* not known, and the origin's does not count */
	enum cow_kind kind;
	bool over;
	struct vmofs_version version;
	struct vmofs_change_attr attr; /* xattrs: counted */
	struct cow_map *map;           /* counted; FILE */
	char attempt[VMOFS_ATTEMPT_LEN + 1];
	char *target; /* owned; LINK */
};
void cow_look(struct cow *c, const char *key, struct cow_known *out);
void cow_known_release(struct cow_known *k);
/* Whether what is there is what was expected. */
bool cow_is_expected(const struct cow_known *k, const struct vmofs_version *expect);
uint64_t cow_new_number(struct cow *c);
/* @a with what @more has above it, which is borrowed; its time, or now. */
void cow_add_attr(struct vmofs_change_attr *a, const struct vmofs_change_attr *more);

struct cow *cow_of(struct vmofs_source *s);

/* One object as a source. */
struct vmofs_source *cow_single_new(const struct vmofs_object_info *object);

#endif
