/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The book-keeper between one root VMO and its provider: which pages have been asked for, who waits
 * for them, who is to be woken. It knows nothing of protocols, and nothing of page contents.
 *
 * Two things that are one in Zircon are two here. A `page_request` is what the provider has been
 * asked for: disjoint per type, with a bitmap of the pages not resolved yet. A `page_waiter` is
 * somebody parked on a range of any length: all gaps in it are asked for at once, and it wakes when
 * the pages up to its end, or up to its first failed page, are resolved. A request lives as long as a
 * waiter wants one of its pages.
 *
 * The source's lock is the lock of the whole hierarchy of VMOs above it (Zircon's paged_vmo_lock and
 * page_source_mtx in one), so a state change and the waking of those who waited for it are one step.
 *
 * A waiter:
 *
 *   PAGE_WAITER_IDLE   -> PAGE_WAITER_PARKED  page_source_get_pages() and its siblings accept it
 *   PAGE_WAITER_PARKED -> PAGE_WAITER_DONE    resolved, failed, timed out, detached, released
 *   PAGE_WAITER_PARKED -> PAGE_WAITER_IDLE    page_source_cancel(), an interrupted wait
 *   PAGE_WAITER_DONE   -> PAGE_WAITER_IDLE    its owner has seen the status
 *
 *   PARKED: in the source's tree of its type, at least one page up to its stop is pending
 *   An early wake signals the event and leaves it PARKED
 */
#ifndef VM_PAGE_SOURCE_H
#define VM_PAGE_SOURCE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <vmofs/provider.h>

#include "base/itree.h"
#include "base/sync.h"

struct page_source;
struct vm_pool;

/* Immutable, cached at creation. */
struct page_source_properties {
	bool is_user_pager; /* the provider gives contents, not specific memory */
	bool supports_request_type[VMOFS_REQUEST_NTYPES];
	uint64_t
		max_request_pages; /* longer requests are split in parts that complete on their own */
};

enum page_waiter_state {
	PAGE_WAITER_IDLE,
	PAGE_WAITER_PARKED,
	PAGE_WAITER_DONE,
	PAGE_WAITER_NSTATES
};

/* Embedded in its owner; zeroed by page_waiter_init(). */
struct page_waiter {
	/* Set by the owner while idle. */
	enum vmofs_request_class cls;
	bool early; /* also wake when only the first missing pages have come; events only */
	uint64_t deadline_ns; /* CLOCK_MONOTONIC, 0: none; then -ETIMEDOUT */
	/*
	 * Asynchronous completion, called once, without locks, from the thread that resolved the
	 * last page. NULL: an event for page_waiter_wait().
	 */
	void (*done)(struct page_waiter *w, int status);

	/* lock: source->lock, everything below */
	struct page_source *source; /* borrowed; set while parked */
	enum vmofs_request_type type;
	enum page_waiter_state state;
	struct itree_node range;   /* the pages wanted; in source->waiters[type] while parked */
	struct rb_node timer_node; /* in source->timers, by deadline */
	uint64_t wake;             /* the first page that may still be missing */
	uint64_t stop;             /* the first failed page, or the range's end */
	int status;                /* what DONE reports; 0 or -errno */
	bool signalled;            /* event: latched until consumed by a wait */
	int signal_status;
	struct cond cond;
	struct vmofs_list done_link; /* on its way to done() */
	_Atomic uint64_t n_fresh; /* pages that the last vmo_ask() was the first to want; no lock */
};

void page_waiter_init(struct page_waiter *w);
/* Only when idle. */
void page_waiter_release(struct page_waiter *w);

/* vm.pool may be NULL (no memory accounting: tests of the book-keeping alone). Takes nothing. */
int page_source_new(struct page_source **out, struct vmofs_provider *provider, struct vmo *vmo,
		    const struct page_source_properties *props, struct vm_pool *pool);
/* Only when detached and closed, and no waiter is parked. Does not free the provider. */
void page_source_free(struct page_source *s);

/*
 * Zircon's GetPages: parks @w on [off, off+len) bytes (page aligned, len > 0), whose pages are all
 * missing, and asks the provider for what nobody has asked for yet, all gaps at once.
 * -EINPROGRESS: parked; -ESHUTDOWN: detached; -EOPNOTSUPP: type not supported; -ENOMEM. A waiter
 * that is parked after an early wake may be passed again: an offset inside its range moves on, one
 * outside cancels and parks anew. @w->done == NULL: then page_waiter_wait().
 */
int page_source_get_pages(struct page_source *s, uint64_t off, uint64_t len, struct page_waiter *w);
/* Zircon's RequestDirtyTransition: the same for DIRTY. */
int page_source_request_dirty_transition(struct page_source *s, uint64_t off, uint64_t len,
					 struct page_waiter *w);
/* The same for WRITEBACK, which Zircon reserved and never issued. */
int page_source_request_writeback(struct page_source *s, uint64_t off, uint64_t len,
				  struct page_waiter *w);

/* Pages [off, off+len) are newly supplied, newly dirty, newly cleaned; nothing when detached. */
void page_source_on_pages_supplied(struct page_source *s, uint64_t off, uint64_t len);
void page_source_on_pages_dirtied(struct page_source *s, uint64_t off, uint64_t len);
void page_source_on_pages_cleaned(struct page_source *s, uint64_t off, uint64_t len);
/* @status must be an internal failure code; @types: VMOFS_TYPE_BIT()s. */
void page_source_on_pages_failed(struct page_source *s, uint64_t off, uint64_t len, int status,
				 unsigned types);

/* What a provider may report, and that plus -ENOMEM, which the VMO layer may add. */
bool page_source_is_valid_external_failure_code(int code);
bool page_source_is_valid_internal_failure_code(int code);

/*
 * Every waiter ends with -ESHUTDOWN, every request is cleared, the provider's on_detach() runs.
 * Idempotent. Close detaches first.
 */
void page_source_detach(struct page_source *s);
void page_source_close(struct page_source *s);
bool page_source_is_detached(struct page_source *s);

/*
 * true: @w was parked and is idle now, done() will not run. false: it was not parked, or done() has
 * been or is about to be called by another thread.
 */
bool page_source_cancel(struct page_source *s, struct page_waiter *w);

/*
 * Blocks until @w is signalled: 0, resolved (or early wake); else its status. -EINTR after
 * page_waiter_interrupt(). Anything but 0 leaves @w idle. No lock may be held.
 */
int page_waiter_wait(struct page_source *s, struct page_waiter *w);
void page_waiter_interrupt(struct page_source *s, struct page_waiter *w);

/* Ends the waiters whose deadline is at or before @now with -ETIMEDOUT; returns the next deadline or 0. */
uint64_t page_source_expire(struct page_source *s, uint64_t now_ns);

bool page_source_supports_request_type(const struct page_source *s, enum vmofs_request_type t);
bool page_source_should_trap_dirty_transitions(const struct page_source *s);
const struct page_source_properties *page_source_properties(const struct page_source *s);
struct mutex *page_source_paged_vmo_lock(struct page_source *s);
uint64_t page_source_get_provider_koid(const struct page_source *s);
void page_source_free_pages(struct page_source *s, uint64_t off, uint64_t len);
bool page_source_debug_is_page_ok(struct page_source *s, const void *page, uint64_t off);

/* Counters and the outstanding requests and waiters, at most @max_items of each; bounded output. */
void page_source_dump(struct page_source *s, FILE *out, unsigned depth, unsigned max_items);
void page_source_dump_self(struct page_source *s, FILE *out, unsigned depth, unsigned max_items);

/* Tests and dump: outstanding requests of a type, parked waiters of a type. */
unsigned page_source_n_requests(struct page_source *s, enum vmofs_request_type t);
unsigned page_source_n_waiters(struct page_source *s, enum vmofs_request_type t);

#endif
