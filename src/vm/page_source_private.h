/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the VMO layer and the page source share: the calls that are made with the hierarchy's lock
 * held, and the list of completions that they collect to be run after it is released.
 */
#ifndef VM_PAGE_SOURCE_PRIVATE_H
#define VM_PAGE_SOURCE_PRIVATE_H

#include "vm/page_request.h"
#include "vm/page_source.h"

struct page_source {
	/* Fixed at creation. */
	struct vmofs_provider *provider; /* borrowed; lock: lock */
	struct vmo_near *near;           /* borrowed; NULL: none. lock: lock, set once */
	struct vmo *vmo;                 /* borrowed: the root */
	struct vmofs_provider nobody;    /* who is asked while it is held: nothing ever answers */
	struct vm_pool *pool;            /* borrowed; NULL: no accounting */
	struct page_source_properties props;

	struct mutex lock; /* the lock of the whole hierarchy */

	/* lock: lock */
	struct vmo *
		name; /* under which the provider knows the VMO; owned unless it is the VMO itself */
	bool held;    /* READ requests wait for another provider */
	bool near_off;         /* the nearer place is asked nothing and told nothing any more */
	_Atomic bool detached; /* written with the lock; also read by those who wait for memory */
	int gone_status; /* what is refused once detached: -ESHUTDOWN; -EBADMSG where it is not trusted */
	bool closed;
	uint64_t seq; /* grows with every request and every writeback token */
	struct rb_tree requests[VMOFS_REQUEST_NTYPES];
	struct rb_tree waiters[VMOFS_REQUEST_NTYPES];
	unsigned n_requests[VMOFS_REQUEST_NTYPES];
	unsigned n_waiters[VMOFS_REQUEST_NTYPES];
	struct rb_tree timers;
	uint64_t n_sent, n_cleared, n_swapped, n_timeouts;
};

/* Waiters whose done() is due once the lock is released. */
struct page_wakeups {
	struct vmofs_list done;
};

#define PAGE_WAKEUPS_INIT(name)              \
	{                                    \
		VMOFS_LIST_INIT((name).done) \
	}

/* Runs the completions; no lock is held. */
void page_wakeups_run(struct page_wakeups *wake);

/* Parks @w on pages [first, end); what it misses is then asked for gap by gap. */
int page_source_park_locked(struct page_source *s, struct page_waiter *w,
			    enum vmofs_request_type type, uint64_t first, uint64_t end)
	REQUIRES(s->lock);
/* Asks for what is not pending yet in a gap of the parked @w. -ENOMEM: nothing was sent. */
int page_source_ask_locked(struct page_source *s, struct page_waiter *w, uint64_t first,
			   uint64_t end) REQUIRES(s->lock);
/* An early-woken, parked waiter goes on from @page; signalled at once if that has come meanwhile. */
void page_source_continue_locked(struct page_source *s, struct page_waiter *w, uint64_t page)
	REQUIRES(s->lock);
void page_waiter_set_state(struct page_waiter *w, enum page_waiter_state to);
/* Ends a parked waiter with @status; its done() or its event follows. */
void page_source_complete_locked(struct page_source *s, struct page_waiter *w, int status,
				 struct page_wakeups *wake) REQUIRES(s->lock);
/* Takes a parked waiter off and drops the requests that nobody else wants. */
void page_source_unpark_locked(struct page_source *s, struct page_waiter *w) REQUIRES(s->lock);

/*
 * The pending pages of the type in [first, end) are resolved: only those asked for before @before
 * (UINT64_MAX: all). Returns how many; for READ their reservation is now the caller's.
 */
uint64_t page_source_resolve_locked(struct page_source *s, enum vmofs_request_type type,
				    uint64_t first, uint64_t end, uint64_t before,
				    struct page_wakeups *wake) REQUIRES(s->lock);
/* The same for pages that are not to come any more (shrink, zero): the reservation is released. */
void page_source_forget_locked(struct page_source *s, enum vmofs_request_type type, uint64_t first,
			       uint64_t end, struct page_wakeups *wake) REQUIRES(s->lock);
void page_source_fail_locked(struct page_source *s, uint64_t first, uint64_t end, int status,
			     unsigned types, struct page_wakeups *wake) REQUIRES(s->lock);
/* Wakes the waiters of the type in the range with 0 so that they look again. */
void page_source_release_locked(struct page_source *s, enum vmofs_request_type type, uint64_t first,
				uint64_t end, struct page_wakeups *wake) REQUIRES(s->lock);
/* [page, ...) is gone: nothing of it is pending any more, and no request reaches into it. */
void page_source_truncate_locked(struct page_source *s, uint64_t page, struct page_wakeups *wake)
	REQUIRES(s->lock);
void page_source_detach_locked(struct page_source *s, struct page_wakeups *wake) REQUIRES(s->lock);
void page_source_close_locked(struct page_source *s, struct page_wakeups *wake) REQUIRES(s->lock);

/* READ requests of the provider wait; those at the nearer place stay there. */
void page_source_hold_locked(struct page_source *s) REQUIRES(s->lock);
/* All requests, wherever they are, are asked anew of @to, which knows the VMO as @name; the provider before is closed. */
void page_source_switch_locked(struct page_source *s, struct vmofs_provider *to, struct vmo *name)
	REQUIRES(s->lock);

/* What of [first, end) is pending at the nearer place is asked of the provider. */
void page_source_elsewhere_locked(struct page_source *s, uint64_t first, uint64_t end,
				  struct page_wakeups *wake) REQUIRES(s->lock);

/* The first page of [page, limit) that is pending, and how many are. */
uint64_t page_source_next_pending_locked(struct page_source *s, enum vmofs_request_type type,
					 uint64_t page, uint64_t limit) REQUIRES(s->lock);
uint64_t page_source_n_pending_locked(struct page_source *s, enum vmofs_request_type type,
				      uint64_t first, uint64_t end) REQUIRES(s->lock);
void page_source_check_locked(struct page_source *s) REQUIRES(s->lock);

#endif
