/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The VMO as its own files and the evictor see it. One lock, the page source's, covers a whole
 * hierarchy: the root, its clones and the hidden nodes between them. Every public operation locks,
 * works, and leaves through vmo_unlock(), which then runs completions and serves those who wait for
 * memory.
 */
#ifndef VM_VMO_PRIVATE_H
#define VM_VMO_PRIVATE_H

#include <stdatomic.h>

#include "base/range_set.h"
#include "store/store.h"
#include "vm/page_bits.h"
#include "vm/page_list.h"
#include "vm/page_source_private.h"
#include "vm/pool_private.h"
#include "vm/vmo.h"

struct vmo {
	_Atomic unsigned refs;
	/*
	 * Set: this is only a name under which a provider knows that VMO (borrowed; who has a reference to the name
	 * has one to the VMO too), and nothing below is used. A provider whose name is not the source's is an old one.
	 */
	struct vmo *stands_for;
	/* Fixed at creation. */
	struct vm_pool *pool;       /* borrowed */
	struct page_source *source; /* owned by the root, borrowed by the others */
	struct vmo *root;           /* borrowed; the root itself for a root */
	unsigned flags;
	char name[64];

	/* lock: source->lock, everything below */
	uint64_t size; /* bytes: the one authority */
	bool writable;
	bool resizable;
	uint64_t
		origin_size; /* what is left of what the provider has: its size, less what was cut off */
	uint64_t base_size;      /* the size of the version that the provider has */
	struct vmo_guard *guard; /* borrowed; NULL: none */
	uint64_t charged;        /* pages that the guard has granted */
	struct page_list pages;
	struct store *store;          /* owned */
	struct vmofs_list old_stores; /* struct old_store.link: until nobody holds anything */
	struct vmo *parent;           /* counted; NULL for a root */
	uint64_t parent_off;          /* pages: where this VMO's first page is in the parent */
	uint64_t root_off;            /* pages: and in the root */
	uint64_t parent_limit;        /* pages of this VMO from which on the parent is not seen */
	bool frozen;                  /* a hidden node: its pages are never written */
	struct vmofs_list children;   /* of struct vmo.sibling */
	struct vmofs_list sibling;
	struct rb_tree pins;      /* struct vmo_pin.range */
	struct rb_tree holds;     /* root: ranges that are not evicted */
	struct vmofs_list tokens; /* root: struct vmo_token.link */
	uint64_t put_aside; /* root: pages of the budget that writers hold for grants over zeros */
	uint64_t aside_due; /* root: what the writers that wait for grants have put there */
	bool modified;
	uint64_t n_evicted;
	uint64_t writeback_errors; /* how many so far */
	int writeback_error;       /* the last one */
};

/* Pages under writeback. */
struct vmo_token {
	struct vmofs_list link;     /* vmo->tokens */
	struct vmo *vmo;            /* counted */
	uint64_t seq;               /* of the source, at begin */
	uint64_t size;              /* of the VMO at begin */
	uint64_t least_size;        /* and since */
	struct page_bits all_pages; /* what was dirty at begin */
	struct range_set all_zeros;
	struct page_bits pages; /* not written since */
	struct range_set zeros; /* not written since */
};

/* Memory that readers may still have addresses of, though the contents are elsewhere now. */
struct old_store {
	struct vmofs_list link;
	struct store *store; /* owned */
};

/* Where the contents of a page are, seen through the chain of parents. */
struct vmo_slot {
	struct vmo *owner;
	uint64_t page; /* in the owner */
	uint64_t n;    /* pages of the same kind from here */
	enum page_state kind;
};

void vmo_lock(struct vmo *v) ACQUIRE(v->source->lock);
/* Gives the guard back what is not dirty any more, unlocks, runs @wake, serves those who wait for memory. */
void vmo_unlock(struct vmo *v, struct page_wakeups *wake) RELEASE(v->source->lock);

bool vmo_get_unless_dead(struct vmo *v);
/* A reference to a name alone. */
void vmo_put_name(struct vmo *name);
/* At close: nothing is charged any more. */
void vmo_drop_guard(struct vmo *v) REQUIRES(v->source->lock);

/* What is at @page of @v, for at most up to @limit. */
struct vmo_slot vmo_look(struct vmo *v, uint64_t page, uint64_t limit) REQUIRES(v->source->lock);
/* Pages of [first, end) whose contents have to come from the provider. */
uint64_t vmo_n_missing(struct vmo *v, uint64_t first, uint64_t end) REQUIRES(v->source->lock);
void *vmo_slot_addr(const struct vmo_slot *s);
void vmo_touch_slot(const struct vmo_slot *s);

/*
 * Parks @w on [first, end) of @v and asks for every gap. @reserved pages of budget were reserved for
 * it; what is not needed is given back. 0 or -errno (then nothing is parked and all given back).
 */
int vmo_ask(struct vmo *v, struct page_waiter *w, uint64_t first, uint64_t end, uint64_t reserved)
	REQUIRES(v->source->lock);

/* The core's own members of a read that begins; it has a reference. */
void vmo_read_init(struct vmo *v, struct vmo_read *r);
/* Pins [first, end), which is present, without counting as use. 0 or -ENOMEM (nothing is held then). */
int vmo_read_pin_untouched(struct vmo *v, struct vmo_read *r, uint64_t first, uint64_t end)
	REQUIRES(v->source->lock);

/*
 * One step of a blocking operation: a waiter, the range it holds, and the memory it has reserved. The
 * lock is held around all of these; those that wait drop it meanwhile.
 */
struct vmo_step {
	struct page_waiter waiter;
	struct itree_node hold;
	uint64_t first, end;      /* pages */
	uint64_t from, to;        /* bytes that are overwritten; none: 0, 0 */
	bool now;                 /* -EAGAIN instead of waiting */
	struct page_wakeups wake; /* readers who have what they waited for, as it was overwritten */
	uint64_t reserved;
};
void vmo_step_init(struct vmo_step *t, const struct vmo_wait *wait, uint64_t first, uint64_t end);
/* Holds the range. */
void vmo_step_begin(struct vmo *v, struct vmo_step *t) REQUIRES(v->source->lock);
/*
 * Waits for memory for @n pages in all, holding nothing meanwhile: those who wait for memory must not
 * keep others from getting it. Look again after it.
 */
int vmo_step_reserve(struct vmo *v, struct vmo_step *t, uint64_t n) REQUIRES(v->source->lock);
/* Waits for the waiter, which is parked. */
int vmo_step_wait(struct vmo *v, struct vmo_step *t) REQUIRES(v->source->lock);
/* Everything is given back; page_waiter_release() follows without the lock. */
void vmo_step_finish(struct vmo *v, struct vmo_step *t) REQUIRES(v->source->lock);

/* Protects [first, end) of @v from eviction until removed. */
void vmo_hold_add(struct vmo *v, struct itree_node *hold, uint64_t first, uint64_t end)
	REQUIRES(v->source->lock);
void vmo_hold_del(struct vmo *v, struct itree_node *hold) REQUIRES(v->source->lock);

/* Evicts what of [first, end) is clean and that nobody holds or waits on; returns how many pages. */
uint64_t vmo_evict_clean(struct vmo *v, uint64_t first, uint64_t end, bool ignore_hints)
	REQUIRES(v->source->lock);

/*
 * Pages of [first, end) that were asked for will not come: memory that was prepared for them whole
 * blocks at a time is given back.
 */
void vmo_trim(struct vmo *v, uint64_t first, uint64_t end);

/* Pages that leave: memory is given back, tokens forget them, READ and DIRTY waiters look again. */
void vmo_drop_pages(struct vmo *v, uint64_t first, uint64_t end) REQUIRES(v->source->lock);
/* [first, end) was written (or dropped) since begin: no token cleans it. */
void vmo_tokens_forget(struct vmo *v, uint64_t first, uint64_t end) REQUIRES(v->source->lock);
/* Non-absent pages of the root become DIRTY; zeros become pages (memory reserved by the caller). */
int vmo_make_dirty(struct vmo *v, uint64_t first, uint64_t end, struct page_wakeups *wake)
	REQUIRES(v->source->lock);
/* @n pages more are about to be dirty. 0, or what the guard says. */
int vmo_grant(struct vmo *v, uint64_t n) REQUIRES(v->source->lock);
/* What was granted and is not dirty is given back. */
void vmo_settle_guard(struct vmo *v) REQUIRES(v->source->lock);

/* vmo_step.c: one step towards @page being writable, see there. */
int64_t vmo_writable_step(struct vmo *v, struct vmo_step *w, uint64_t page)
	REQUIRES(v->source->lock);
/* Bytes [off, off + len) were written to pages that are dirty. */
void vmo_wrote(struct vmo *v, uint64_t off, uint64_t len) REQUIRES(v->source->lock);
/* Pages of the root that are about to be overwritten whole, absent now, become dirty. Paid, prepared, granted. */
void vmo_fill_dirty(struct vmo *v, uint64_t first, uint64_t end, struct page_wakeups *wake)
	REQUIRES(v->source->lock);

/* vmo_write(), vmo_write_now(). */
int64_t vmo_write_bounded(struct vmo *v, uint64_t off, const void *buf, uint64_t len, bool now,
			  const struct vmo_wait *wait);

/* The store has room for @pages, by moving the contents to another one if need be. */
int vmo_store_grow(struct vmo *v, uint64_t pages) REQUIRES(v->source->lock);
/* Nobody holds anything: what readers had addresses of goes. */
void vmo_free_old_stores(struct vmo *v);
/* The VMO is @size bytes from now on. */
void vmo_note_size(struct vmo *v, uint64_t size) REQUIRES(v->source->lock);

/* Zero pages without memory in the range. */
uint64_t vmo_n_zeros(struct vmo *v, uint64_t first, uint64_t end) REQUIRES(v->source->lock);

/* For the evictor; each locks. */
uint64_t vmo_evict_isolated(struct vmo *v, uint64_t leaf_index, bool follow_hints);
void vmo_isolate_leaf(struct vmo *v, uint64_t leaf_index, uint64_t generation);

/* The largest range that one step of a long operation takes on. */
uint64_t vmo_step_pages(const struct vmo *v);
/* -EINVAL misaligned, -ERANGE beyond the size. @len may end at the exact size. */
int vmo_check_range(struct vmo *v, uint64_t off, uint64_t len) REQUIRES(v->source->lock);

#endif
