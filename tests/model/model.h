/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The model test of src/vm: a plain reference of each VMO (a byte array, a state per page and sets of
 * pages) gets the same random operations as the real one, and after each step the two are compared.
 *
 *   model_main.c      options, runs, what is printed when something is wrong
 *   model_sched.c     blocking calls as deterministic tasks
 *   model_provider.c  a provider that only records, and checks its contract
 *   model_ref.c       the reference VMO
 *   model_ops.c       operations of readers, of the evictor, clones, life
 *   model_task.c      operations that may block: write, zero, resize, commit, pin, hint, writeback
 *   model_answer.c    what providers and writeback threads do
 *   model_check.c     the comparison
 *
 * Pages of the reference have indices 0..63, so a set of pages is a 64-bit mask. In a sparse VMO they
 * are a few windows far apart; in a dense one they lie where the
 * store's blocks meet.
 */
#ifndef TESTS_MODEL_MODEL_H
#define TESTS_MODEL_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/prng.h"
#include "model/model_sched.h"
#include "store/store.h"
#include "vm/pool.h"
#include "vm/vmo.h"

#define PAGE       VMOFS_PAGE_SIZE
#define MASK_ALL   UINT64_MAX
#define MASK_OF(i) (UINT64_C(1) << (i))

enum {
	MODEL_PAGES = 64,
	MODEL_WINDOWS = 4,
	MODEL_ROOTS = 2,
	MODEL_VMOS = 6, /* the first ones are roots */
	MODEL_READS = 16,
	MODEL_TOKENS = 5,
	MODEL_PINS = 3,
	MODEL_ASKED = 256,
	MODEL_TRACE = 30,
	MODEL_WRITE_MAX = 8 * 4096,
};

/* ---- the reference ---- */

struct ref_page {
	enum page_state kind;
	unsigned allow;       /* BIT()s of the kinds that the real page may have after this step */
	uint64_t version;     /* moves when a writeback token over the page goes stale */
	uint64_t zero_touch;  /* moves when a dirty zero page is zeroed again */
	uint64_t content_ver; /* moves when its bytes change */
};

/* One request that the provider owns. */
struct asked {
	struct vmofs_request *req;
	enum vmofs_request_type type;
	uint64_t off;
	uint64_t len;
	uint64_t unresolved; /* pages */
	uint64_t born;       /* step */
	bool outside;        /* some of it lies between the windows */
	bool near;           /* asked of the nearer place */
	uint64_t joined;     /* step: when it was asked for last (WRITEBACK) */
};

struct script {
	struct vmofs_provider base;
	struct ref_vmo *v;
	struct asked asked[MODEL_ASKED];
	unsigned n;
	unsigned n_sent;
	unsigned n_cleared;
	bool detached;
	bool closed;
	/* The nearer place, which says to have what it likes; its requests are in asked[] too. */
	struct vmo_near near;
	struct vmofs_provider by;
	bool has_near;
	bool near_detached;
	bool near_closed;
	uint64_t arrived; /* pages that it was told of in this step */
	bool written;     /* it was told that it is over */
	/* Of a root that was made writable. */
	struct vmo_guard guard;
	uint64_t charged;
	bool guarded;
};

struct ref_vmo {
	struct vmo *vmo; /* owned reference; NULL: put, or the slot is free */
	bool used;
	unsigned n; /* pages of the reference */
	unsigned window_len;
	uint64_t window[MODEL_WINDOWS]; /* first page number of each */
	uint64_t size;
	unsigned flags;
	bool detached;
	bool modified;
	bool zeroed; /* then modified is not exact */
	struct ref_page page[MODEL_PAGES];
	unsigned char *data;  /* n pages */
	uint64_t prefetched;  /* roots: pages asked for without anybody waiting */
	struct script script; /* roots */

	/* clones */
	struct ref_vmo *parent; /* NULL: a root */
	uint64_t shift;         /* page i is page i + shift of the parent */
	uint64_t limit;         /* pages from here on have no parent */
	unsigned n_children;
	unsigned char *frozen; /* bytes of pages in frozen_data */
	uint64_t frozen_data;
	uint64_t frozen_zero;
	bool snapshotted; /* its pages have been frozen once: they are again for each new clone */
};

enum visible { VISIBLE_ABSENT, VISIBLE_ZERO, VISIBLE_DATA };

struct sight {
	enum visible what;
	const unsigned char *data; /* VISIBLE_DATA */
	struct ref_vmo *owner;
	unsigned idx; /* in owner */
};

struct ref_vmo *ref_root(struct ref_vmo *v);
uint64_t ref_off(const struct ref_vmo *v, unsigned i);
int ref_idx(const struct ref_vmo *v, uint64_t page);
/* Pages that intersect the bytes [off, off+len). */
uint64_t ref_mask(const struct ref_vmo *v, uint64_t off, uint64_t len);
/* The same in the coordinates of the root; pages beyond limits are left out. */
uint64_t ref_root_mask(struct ref_vmo *v, uint64_t mask);
/* The pages of the root below @mask of @v, whether they are seen or not. */
uint64_t ref_beneath(const struct ref_vmo *v, uint64_t mask);
uint64_t ref_with(const struct ref_vmo *v, unsigned kinds);
/* Whole pages wholly inside [off, off+len), the last page of the object counting as whole. */
uint64_t ref_whole(const struct ref_vmo *v, uint64_t off, uint64_t len);
struct sight ref_see(struct ref_vmo *v, unsigned i);
uint64_t ref_absent(struct ref_vmo *v, uint64_t mask);
void ref_set(struct ref_vmo *v, unsigned i, enum page_state kind);
void ref_set_mask(struct ref_vmo *v, uint64_t mask, enum page_state kind);
/* Bytes of the object at the origin; @gen differs for each supply. */
void ref_origin(unsigned char *buf, uint64_t len, uint64_t gen);
/* The size changes now: what is beyond is dropped, what is new is zero. */
void ref_resize(struct ref_vmo *v, uint64_t size);
void ref_detach(struct ref_vmo *v);
/* The pages of @mask are resolved in all older requests of @types, and in the parked reads. */
void ref_resolve(struct ref_vmo *root, uint64_t mask, unsigned types);
void ref_fail(struct ref_vmo *root, uint64_t mask, int code, unsigned types);
uint64_t ref_unresolved(const struct ref_vmo *root, unsigned types);

/* ---- the world ---- */

enum read_state { READ_FREE, READ_PARKED, READ_HELD };

struct mread {
	struct vmo_read r;
	enum read_state state;
	struct ref_vmo *v;
	uint64_t len;     /* as asked for */
	bool resized;     /* while it was parked */
	uint64_t mask;    /* pages of v */
	uint64_t pending; /* pages of the root it waits for */
	uint64_t stale;   /* held pages whose bytes may have moved on */
	unsigned stop;    /* first failed page of the root, or MODEL_PAGES */
	int code;
	unsigned codes; /* BIT()s of model_codes that hit it */
	bool expired;
	unsigned n_done;
	int status;
};

enum task_op {
	OP_WRITE,
	OP_ZERO,
	OP_RESIZE,
	OP_COMMIT,
	OP_READ,
	OP_PIN,
	OP_HINT,
	OP_WRITEBACK,
	OP_NTASKOPS
};

struct mtask {
	bool used;
	enum task_op op;
	struct ref_vmo *v;
	uint64_t off;
	uint64_t len; /* RESIZE: unused, off is the new size */
	uint64_t old_size;
	unsigned char *buf;
	enum vmo_hint hint;
	struct vmo_pin *pin;
	bool pin_write;
	struct vmo_wait wait;
	int64_t result;
	uint64_t mask; /* pages that it may touch */
	unsigned codes;
	bool expired;
	bool resized; /* the size changed while it was under way */
	bool applied; /* RESIZE: the reference has followed */
	uint64_t content_ver[MODEL_PAGES];
	const struct ref_vmo *owner[MODEL_PAGES];
	uint64_t absent; /* READ: at its start; WRITE, ZERO: not yet seen as written */
};

struct mtoken {
	struct vmo_token *token; /* NULL: free */
	struct ref_vmo *v;
	uint64_t off;
	uint64_t len;
	uint64_t mask;   /* pages covered and not ended */
	uint64_t pinned; /* of them: pinned for writing at begin, so they stay dirty */
	uint64_t born;   /* step */
	uint64_t version[MODEL_PAGES];
	uint64_t zero_touch[MODEL_PAGES];
};

struct mpin {
	struct vmo_pin pin;
	struct ref_vmo *v; /* NULL: free */
	uint64_t mask;
	bool write;
	bool busy; /* a task is at it */
};

struct trace {
	uint64_t step;
	const char *what;
	unsigned vmo;
	uint64_t off;
	uint64_t len;
	int64_t arg;
	int64_t ret;
};

struct world {
	struct prng rng;
	uint64_t seed;
	uint64_t step;
	bool tight;
	bool sparse;
	bool dense; /* windows at the borders of the store's blocks, which come and go whole */
	struct vm_pool *pool;
	struct vmo *ballast; /* dirty pages that leave little of the budget */
	struct script ballast_script;
	uint64_t ballast_pages;
	bool lingering; /* a prefetch may keep a clone that was put */
	struct ref_vmo vmo[MODEL_VMOS];
	struct mread read[MODEL_READS];
	struct mtask task[SCHED_TASKS];
	struct mtoken token[MODEL_TOKENS];
	struct mpin pin[MODEL_PINS];
	uint64_t n_evicted;
	uint64_t gen;
	struct trace trace[MODEL_TRACE];
	unsigned n_trace;
	bool verbose;
	uint64_t n_ops;
};

extern struct world world;

extern const int model_codes[];
extern const unsigned model_n_codes;

void model_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));
/* Remembers an operation; its result is filled in by trace_ret(). */
void trace_op(const char *what, const struct ref_vmo *v, uint64_t off, uint64_t len, int64_t arg);
int64_t trace_ret(int64_t ret);

static inline uint64_t pick(uint64_t n)
{
	return prng_below(&world.rng, n);
}

static inline bool chance(unsigned percent)
{
	return prng_chance(&world.rng, percent);
}

/* A VMO with a handle; NULL when there is none. */
struct ref_vmo *pick_vmo(void);
struct ref_vmo *pick_root(void);
struct range {
	uint64_t off;
	uint64_t len;
};
/* Inside one window and below the size; len 0 when there is nothing. */
struct range pick_pages(const struct ref_vmo *v, unsigned max);
struct range pick_bytes(const struct ref_vmo *v, uint64_t max);

/* model_provider.c */
void script_init(struct script *s, struct ref_vmo *v, bool trap, bool writeback);
/* Makes its VMO writable in place. 0 or -errno. */
int script_make_writable(struct script *s, struct vmo *vmo);
/* Puts its nearer place before it. */
void script_set_near(struct script *s, struct vmo *vmo);

/* model_ops.c */
struct model_op {
	const char *name;
	unsigned weight;
	void (*run)(void);
};
extern const struct model_op model_reader_ops[];
/* The pages of the read, clipped to the size as it is now. */
void read_clip(struct mread *m);
/* The read is pinned from now on. */
void read_hold(struct mread *m);
/* Ends the held ones; cancels the parked ones too. */
void ops_end_reads(void);
void ops_finish_reads(void);
void expire_after(uint64_t ns);
void op_evict_range(struct ref_vmo *v, struct range g, bool ignore);
/* Asks for a whole block of the store. */
void prefetch_block(struct ref_vmo *v, uint64_t off);
void ops_put_clones(void);
void op_detach_all(void);

/* model_task.c */
extern const struct model_op model_task_ops[];
/* Runs a ready task; false: none is. */
bool task_run_one(void);
bool task_any(void);
bool task_overlaps(const struct ref_vmo *v, uint64_t mask);
/* The byte at page @i, @at that a task under way may have put there. */
bool task_may_have_written(const struct ref_vmo *v, unsigned i, unsigned at, unsigned char c);

/* model_answer.c */
extern const struct model_op model_answer_ops[];
/* Answers one outstanding request in full; false: there is none. */
bool answer_one(struct ref_vmo *root);
void ops_end_tokens(void);

/* model_check.c */
void check_step(void);
void check_states(struct ref_vmo *v);
/* Bytes of the visible pages of @mask; the reference takes over what a task may have written. */
void check_contents(struct ref_vmo *v, uint64_t mask);
/* Whether the present page @i begins with these bytes. */
bool real_is(struct ref_vmo *v, unsigned i, const unsigned char *bytes, uint64_t len);

#endif
