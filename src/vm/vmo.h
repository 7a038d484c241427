/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A VMO is the local, page-addressed memory of one object version. A root VMO has a page source; a
 * clone sees its parent's pages and keeps what was written to it for itself.
 *
 * Offsets and lengths are bytes. Operations of providers and of writeback take page aligned ranges
 * (-EINVAL otherwise); reads, writes, zero, hints take any range. Beyond the size: -ERANGE.
 *
 * Blocking calls may be made from any thread that is not an event loop; they hold no lock while
 * they wait. A `struct vmo_wait` bounds them; NULL waits for ever as demand.
 */
#ifndef VM_VMO_H
#define VM_VMO_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/uio.h>
#include <vmofs/provider.h>

#include "vm/page.h"
#include "vm/page_source.h"
#include "vm/pool.h"

struct vmo;
struct vmo_token;

enum vmo_flags {
	VMO_TRAP_DIRTY = 1u << 0, /* clean to dirty is asked of the provider (type DIRTY) */
	VMO_RESIZABLE = 1u << 1,
	/* Can be written from the start. That with neither of the three: after vmo_make_writable(). */
	VMO_WRITABLE = 1u << 2,
};

struct vmo_wait {
	enum vmofs_request_class cls;
	uint64_t deadline_ns; /* CLOCK_MONOTONIC, 0: none */
};

/* ---- life ---- */

/*
 * A root VMO of @size bytes over @provider (borrowed: it must live until vmo_close() returned and is
 * freed by its owner after that). One reference, the caller's.
 */
int vmo_new(struct vmo **out, struct vm_pool *pool, struct vmofs_provider *provider, uint64_t size,
	    unsigned flags, struct vmofs_err *err);
struct vmo *vmo_get(struct vmo *v);
void vmo_put(struct vmo *v);

/* Clean pages are dropped, dirty ones stay readable; waiters end with -ESHUTDOWN. Idempotent. */
int vmo_detach(struct vmo *v);
/*
 * The contents of this version cannot be trusted as a whole, says who knows: as detached, but everything that is refused
 * from now on is refused with -EBADMSG, and the nearer place drops what it has. Of a root; nothing when it is detached.
 */
void vmo_distrust(struct vmo *v);
bool vmo_is_distrusted(struct vmo *v);
/* Detach, and the provider is told that nothing follows. Before the last vmo_put() of a root. */
void vmo_close(struct vmo *v);

uint64_t vmo_size(struct vmo *v);
struct page_source *vmo_page_source(struct vmo *v); /* of the root */
void vmo_set_name(struct vmo *v, const char *name); /* for dump */

/* ---- reading ---- */

enum { VMO_READ_INLINE_IOV = 8 };

/*
 * IDLE becomes QUEUED (waits for memory), PARKED (waits for pages) or PINNED in vmo_read_start();
 * QUEUED and PARKED become PARKED again or PINNED when what they waited for has come; all become
 * IDLE by failure, cancel and vmo_read_end().
 */
enum vmo_read_state { VMO_READ_IDLE, VMO_READ_QUEUED, VMO_READ_PARKED, VMO_READ_PINNED };

/*
 * An asynchronous read: one per FUSE request, embedded in its owner. The range is clipped to the
 * size. When it is all present it is pinned (not evicted, not overwritten by supply) and @iov
 * describes it; zero ranges point to shared zeros. vmo_read_end() unpins.
 */
struct vmo_read {
	/* Set by the owner before vmo_read_start(). */
	uint64_t off;
	uint64_t len; /* clipped to the size by vmo_read_start() */
	enum vmofs_request_class cls;
	uint64_t deadline_ns;
	/* Called once, without locks, when vmo_read_start() returned -EINPROGRESS. 0: pinned. */
	void (*done)(struct vmo_read *r, int status);

	/* Results while pinned. */
	struct iovec *iov;
	unsigned n_iov;

	/* The core's own. */
	struct vmo *vmo; /* counted while parked or pinned */
	struct page_waiter waiter;
	struct pool_waiter budget;
	struct itree_node hold; /* in the root's holds: not evicted */
	bool held;
	bool cancelled;
	bool touches; /* counts as use of its pages */
	enum vmo_read_state state;
	uint64_t reserved; /* pages of the budget */
	struct iovec iov_inline[VMO_READ_INLINE_IOV];
};

/*
 * 0: pinned, @r->iov is valid (a hit; done() is not called). -EINPROGRESS: parked, done() follows.
 * Else the error. A read at or beyond the size gives 0 with len 0 and no pin to end (ending is
 * harmless).
 */
int vmo_read_start(struct vmo *v, struct vmo_read *r);
void vmo_read_end(struct vmo_read *r);
/* After -EINPROGRESS: how many of its missing pages nobody had asked for before. */
uint64_t vmo_read_n_fresh(const struct vmo_read *r);
/*
 * true: it was parked; done() will not be called. false: done() has been or will be called. The
 * caller has a reference of its own to the VMO, and keeps @r from being freed meanwhile.
 */
bool vmo_read_cancel(struct vmo_read *r);

/* Blocking; wakes early and copies progressively. Returns bytes read (short at the size) or -errno. */
int64_t vmo_read(struct vmo *v, uint64_t off, void *buf, uint64_t len, const struct vmo_wait *wait);

/* Makes the range present (Zircon's commit): one waiter for all of it. */
int vmo_commit(struct vmo *v, uint64_t off, uint64_t len, const struct vmo_wait *wait);

/*
 * Asks for what is absent in the range as prefetch and returns; failures go nowhere. What does not
 * fit into the budget without waiting is not asked for. Returns the bytes asked for.
 */
int64_t vmo_prefetch(struct vmo *v, uint64_t off, uint64_t len, uint64_t deadline_ns);
/*
 * The same; returns the offset up to which everything is present or under way (at least @off rounded down), and how many
 * bytes of it were asked for just now.
 */
uint64_t vmo_prefetch_to(struct vmo *v, uint64_t off, uint64_t len, uint64_t deadline_ns,
			 uint64_t *fresh);

/* ---- writing ---- */

/*
 * Blocking. Absent pages are READ first unless they are overwritten whole (to the end of the object, for its last
 * one); under VMO_TRAP_DIRTY clean runs are then asked for with DIRTY. Returns bytes written; an error only when none were.
 */
int64_t vmo_write(struct vmo *v, uint64_t off, const void *buf, uint64_t len,
		  const struct vmo_wait *wait);
/* Whole pages become dirty zero ranges without READ or DIRTY; edges are ordinary writes. */
int vmo_zero(struct vmo *v, uint64_t off, uint64_t len, const struct vmo_wait *wait);
/*
 * Byte exact. Growth reads as zero and is dirty; shrinking drops what is beyond, dirty or not. The
 * tail of a last partial page is zeroed before the size is published. -EPERM not resizable,
 * -EBUSY a pinned page is in the way.
 */
int vmo_resize(struct vmo *v, uint64_t size, const struct vmo_wait *wait);
/* Decommit is refused for paged VMOs and their clones, as in Zircon: -EOPNOTSUPP. */
int vmo_decommit(struct vmo *v, uint64_t off, uint64_t len);

/* Pins for direct access; a write pin makes the range dirty and keeps it so. */
struct vmo_pin {
	struct vmo *vmo;         /* counted; NULL: nothing is pinned */
	struct itree_node range; /* in the VMO's pins */
	struct itree_node hold;  /* in the root's holds */
	bool write;
};
int vmo_pin(struct vmo *v, struct vmo_pin *pin, uint64_t off, uint64_t len, bool write,
	    const struct vmo_wait *wait);
void vmo_unpin(struct vmo_pin *pin);

/*
 * What guards the way from clean to dirty: the policy of a mount. Called under the source's lock: it never blocks and
 * never calls back.
 */
struct vmo_guard {
	const struct vmo_guard_ops *ops;
};
struct vmo_guard_ops {
	/*
	 * @n more pages of @v are about to be dirty: 0, and they count from now on. Else nothing happens and the writer
	 * gets the code: -EAGAIN (no room now), -EROFS, -ESTALE, -ENOSPC ...
	 */
	int (*grant)(struct vmo_guard *g, uint64_t n);
	/* @n pages that were granted are dirty no more: stored, cut off, or zero without memory. */
	void (*release)(struct vmo_guard *g, uint64_t n);
};

/*
 * From now on @v, a root, can be written and resized: what writes and resizes before this was called is refused with
 * -EROFS, unless it was made with VMO_RESIZABLE. Its pages move to memory that can grow; clean ones that nobody holds may be
 * dropped on the way. The nearer place is not asked any more and keeps nothing of what comes (ops->written). @guard
 * is borrowed until vmo_close(), NULL: none; it sees all pages that become dirty, also those of vmo_zero() that have memory,
 * and is asked at once for what is dirty already. 0 when it is so already. -ESHUTDOWN; -ENOMEM, -EMFILE; -EBUSY: pinned by
 * vmo_pin(). May take milliseconds: not on a loop.
 */
int vmo_make_writable(struct vmo *v, struct vmo_guard *guard);

/*
 * As vmo_write(), but never waits: -EAGAIN where a page has to be read first, or for memory, or as the guard says. Any
 * thread. Bytes written so far count, then the error is given at the next call.
 */
int64_t vmo_write_now(struct vmo *v, uint64_t off, const void *buf, uint64_t len);
/*
 * Writes at @off, beyond the size too: the VMO grows in the same step, so that nobody sees the one without the other. With @now
 * it never waits, as vmo_write_now().
 */
int64_t vmo_write_extend(struct vmo *v, uint64_t off, const void *buf, uint64_t len, bool now,
			 const struct vmo_wait *wait);

/*
 * Pages that were written since they were last copied by vmo_fresh_copy() are *fresh*: what a journal does not have
 * yet; ranges of zeros that have no memory never are. Copies the first run of fresh dirty pages at or after *@off, as much as fits into @cap (a multiple of the page size), and they
 * are fresh no more. Returns the bytes (whole pages) and *@off, 0 when there is none.
 */
int64_t vmo_fresh_copy(struct vmo *v, uint64_t *off, void *buf, uint64_t cap);
/* What was copied has not been kept after all: dirty pages of the range are fresh again. */
void vmo_fresh_again(struct vmo *v, uint64_t off, uint64_t len);

/*
 * Clean pages that are here become dirty (and fresh) as they are: what the origin does not have any more must not be evicted. Of
 * pages at or after *@off, a run at most; *@off moves behind it. Returns its bytes, 0 when there is none, or what the guard says.
 */
int64_t vmo_keep(struct vmo *v, uint64_t *off);

/*
 * Another version takes the place of the one that @v was of: the one with which its contents agree in every page that is not
 * dirty. Before the end of the token whose pages it has. Requests go to @to from now on, those under way too (they are asked
 * anew). @origin_size: of the new version. When this returns the old provider is detached and closed, as at vmo_close(); its owner
 * may free it; nothing that it still says counts.
 *
 * @to NULL: requests wait for the next call, and no failure that the provider still reports counts: while it is being found out
 * what became of a store. The provider is kept: when the store has surely failed, the next call may give the same one again,
 * which is asked anew, and @origin_size does not count. -ESHUTDOWN.
 */
int vmo_switch(struct vmo *v, struct vmofs_provider *to, uint64_t origin_size);
/* The one that is asked, or was last asked: what vmo_switch() goes back to. */
struct vmofs_provider *vmo_provider(struct vmo *v);
/*
 * The least size since creation, or since the token was taken whose store led to the last vmo_switch(): what the origin's
 * version has beyond it is not there.
 */
uint64_t vmo_origin_size(struct vmo *v);

/* Whether contents were changed since creation or the last reset (Zircon's modified). */
bool vmo_modified(struct vmo *v, bool reset);

/* ---- the provider's side (include/vmofs/provider.h gives these under public names) ---- */

int64_t vmo_supply(struct vmo *v, uint64_t off, const void *buf, uint64_t len);
int64_t vmo_supply_zero(struct vmo *v, uint64_t off, uint64_t len);
int vmo_fail(struct vmo *v, uint64_t off, uint64_t len, int code, unsigned types);
/* OP_DIRTY: all or nothing; -ENOENT when a page of the range is absent (waiters are released). */
int vmo_dirty(struct vmo *v, uint64_t off, uint64_t len);

/* ---- a nearer place ---- */

/*
 * Where contents may be found sooner than at the provider (a disk cache; see disk_tier.h). READ requests
 * for what it says to have go to its provider, which supplies with vmo_supply_near(). All other requests, and what
 * it did not have after all, go to the VMO's own provider.
 */
struct vmo_near {
	const struct vmo_near_ops *ops;
	struct vmofs_provider *provider; /* borrowed: send, clear, swap, on_detach, on_close */
};
/* All are called under the source's lock: they never block. None after on_detach() but distrust(). */
struct vmo_near_ops {
	/*
	 * Whether page @first is asked of it; *@end (at most what it was, beyond @first) becomes where
	 * that answer ends.
	 */
	bool (*has)(struct vmo_near *n, uint64_t first, uint64_t *end);
	/* The VMO's own provider has supplied pages [first, end). */
	void (*arrived)(struct vmo_near *n, uint64_t first, uint64_t end);
	/*
	 * Whether eviction spares pages of [first, end) for it: [*first, *end) becomes the first
	 * stretch of such.
	 */
	bool (*spares)(struct vmo_near *n, uint64_t *first, uint64_t *end);
	/* vmo_evict() was called for pages [first, end): what was spared of them is not needed for long. */
	void (*unneeded)(struct vmo_near *n, uint64_t first, uint64_t end);
	/* @v is going to be written: what is here is not the origin's any more, and nothing of it is kept. Once. */
	void (*written)(struct vmo_near *n);
	/*
	 * What the VMO's own provider has supplied, whenever it did, may be wrong: nothing of it is kept, or
	 * given to anybody. Once, right after on_detach().
	 */
	void (*distrust)(struct vmo_near *n);
};
/*
 * Once, of a root; what has been asked for before stays with the provider. @near is borrowed until vmo_close()
 * has returned. What vmo_read_present() gives it is the provider's as long as nobody writes. -ESHUTDOWN: detached, or
 * made writable.
 */
int vmo_set_near(struct vmo *v, struct vmo_near *near);
/* As vmo_supply(), but @near is not told that it arrived. */
int64_t vmo_supply_near(struct vmo *v, uint64_t off, const void *buf, uint64_t len);
/*
 * What is pending in the range at the nearer place is asked of the VMO's own provider instead. Those who wait see
 * nothing of it; without memory for it they get -ENOMEM. Page aligned.
 */
void vmo_elsewhere(struct vmo *v, uint64_t off, uint64_t len);
/*
 * Pins the longest run of clean pages that begins with the first clean page in the (page aligned) range, for
 * vmo_read_end() to end; @r->off and @r->len become that run, clipped to the size. Does not count as use. Never
 * waits, never asks anybody. -ENODATA: nothing of the range is there; -ENOMEM.
 */
int vmo_read_present(struct vmo *v, struct vmo_read *r);

/* ---- writeback ---- */

struct vmo_dirty_range {
	uint64_t off;
	uint64_t len;
	bool is_zero; /* reads as zero and costs no memory */
};

/*
 * Dirty ranges in ascending order, maximal runs of one kind, clipped to the query rounded outward
 * to pages. At most @n are written; returns how many exist in the range (then call again from the
 * end of the last one), or -errno. @ranges may be NULL with @n 0.
 */
int64_t vmo_query_dirty(struct vmo *v, uint64_t off, uint64_t len, struct vmo_dirty_range *ranges,
			uint64_t n);
/* As that, and no more are looked for than @n: for who takes them in turn. */
int64_t vmo_next_dirty(struct vmo *v, uint64_t off, uint64_t len, struct vmo_dirty_range *ranges,
		       uint64_t n);
uint64_t vmo_n_dirty(struct vmo *v); /* dirty and awaiting pages, zero ranges not counted */

enum vmo_writeback_what {
	VMO_WRITEBACK_ALL,
	/* Only ranges that read as zero without a page: what was written meanwhile stays dirty. */
	VMO_WRITEBACK_ZEROS,
};
/*
 * Takes a token over what is dirty in the range now; @off 0, @len UINT64_MAX: in all of it, however long that is. Several tokens
 * may overlap. Ends exactly once.
 */
int vmo_writeback_begin(struct vmo *v, uint64_t off, uint64_t len, enum vmo_writeback_what what,
			struct vmo_token **out);
/* The size of the VMO when it was taken. */
uint64_t vmo_token_size(const struct vmo_token *token);
/*
 * Status 0: what was not written since begin becomes clean. Else it is dirty again and the failure
 * is counted and kept for vmo_writeback_error(). Frees the token.
 */
void vmo_writeback_end(struct vmo_token *token, int status);
/* Ends a part of the token; the rest stays under way. */
void vmo_writeback_end_part(struct vmo_token *token, uint64_t off, uint64_t len, int status);
/* Nothing was tried: what the token has is dirty again, and no error is counted. Frees it. */
void vmo_writeback_abandon(struct vmo_token *token);
/* errseq: the error of a failed writeback since *@since, which is moved on; 0: none. */
int vmo_writeback_error(struct vmo *v, uint64_t *since);

/*
 * Asks the provider (type WRITEBACK) to store what is dirty in the range and waits until nothing
 * that was dirty at the call still is, or for the first error. What is pinned for writing is stored
 * too, but stays dirty.
 */
int vmo_writeback(struct vmo *v, uint64_t off, uint64_t len, const struct vmo_wait *wait);

/* ---- hints and eviction ---- */

enum vmo_hint {
	VMO_HINT_DONT_NEED,   /* clean pages are the first to go */
	VMO_HINT_ALWAYS_NEED, /* read in, and kept unless memory is at its very end */
	VMO_HINT_NORMAL,      /* takes ALWAYS_NEED back */
	VMO_HINT_PREFETCH,    /* read in and wait; an error is returned */
};
int vmo_hint(struct vmo *v, uint64_t off, uint64_t len, enum vmo_hint hint,
	     const struct vmo_wait *wait);
/* Drops clean pages of the range that nobody holds; returns how many. */
uint64_t vmo_evict(struct vmo *v, uint64_t off, uint64_t len, bool ignore_hints);
uint64_t vmo_n_evicted(struct vmo *v);

/* ---- clones ---- */

enum vmo_clone_kind {
	VMO_SNAPSHOT,                   /* full snapshot: -EOPNOTSUPP for paged VMOs */
	VMO_SNAPSHOT_AT_LEAST_ON_WRITE, /* sees the parent's later changes in pages it has not forked */
	VMO_SNAPSHOT_MODIFIED,          /* a clone's own pages are frozen for both */
};
int vmo_clone(struct vmo **out, struct vmo *parent, uint64_t off, uint64_t len,
	      enum vmo_clone_kind kind, unsigned flags, struct vmofs_err *err);

/* ---- looking ---- */

/* State of the page at @off as this VMO itself holds it (PAGE_ABSENT in a clone: see the parent). */
enum page_state vmo_page_state(struct vmo *v, uint64_t off);
uint64_t vmo_n_resident(struct vmo *v); /* pages with memory, this VMO's own */
/* Bytes of the pages of [off, off + len) that this VMO has nothing of: to read them asks the provider. */
uint64_t vmo_n_absent(struct vmo *v, uint64_t off, uint64_t len);
/* Bytes of the book-keeping: leaves, intervals, requests. */
uint64_t vmo_overhead_bytes(struct vmo *v);
/* "0-3,7": resident pages as byte ranges for the user.vmofs.resident xattr: calls @fn per run. */
void vmo_each_resident(struct vmo *v, void (*fn)(void *arg, uint64_t off, uint64_t len), void *arg);

uint64_t vmo_expire(struct vmo *v, uint64_t now_ns); /* deadlines; see page_source_expire() */
void vmo_dump(struct vmo *v, FILE *out, unsigned max_items);
/* Asserts the invariants of page.h and of the page source; O(resident). Debug and tests. */
void vmo_check(struct vmo *v);

#endif
