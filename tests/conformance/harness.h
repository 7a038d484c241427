/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The vocabulary of the conformance cases. Zircon's PageSource is described by 300 numbered cases;
 * each stands here once, as CASE(number, how, title, reason) { body }, and is run in a process of its
 * own, so that a case that aborts, leaks or hangs takes nothing with it.
 *
 * AS_IS:      run as it stands there (a fault through a mapping is a read or write of one page here,
 *             since FUSE has no faults; that alone makes no case an improved one).
 * IMPROVED:   this design answers better or at another place on purpose; the reason says how.
 * NOT_APPLICABLE: there is nothing to run; the reason says why.
 */
#ifndef TESTS_CONFORMANCE_HARNESS_H
#define TESTS_CONFORMANCE_HARNESS_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/macros.h"
#include "lib/aread.h"
#include "lib/fake_provider.h"
#include "lib/source_rig.h"
#include "vm/page.h"
#include "vm/page_source.h"
#include "vm/pool.h"
#include "vm/vmo.h"

enum { N_CASES = 300, MAX_NOT_APPLICABLE = 30 };

/* ---- the register ---- */

enum case_how { AS_IS, IMPROVED, NOT_APPLICABLE, N_HOWS };

struct conformance_case {
	unsigned number;
	enum case_how how;
	const char *title;
	const char *reason;
	void (*run)(void);
};

void case_register(const struct conformance_case *c);

#define CASE(num, how_, title_, reason_)                              \
	static void case_##num(void);                                 \
	static const struct conformance_case entry_##num = {          \
		.number = (num),                                      \
		.how = (how_),                                        \
		.title = (title_),                                    \
		.reason = (reason_),                                  \
		.run = case_##num,                                    \
	};                                                            \
	__attribute__((constructor)) static void register_##num(void) \
	{                                                             \
		case_register(&entry_##num);                          \
	}                                                             \
	static void case_##num(void)

/* ---- checks: the first that fails ends the case with a dump ---- */

#define CHECK(cond)                                                                 \
	do {                                                                        \
		if (!(cond))                                                        \
			test_die("%s:%d: not true: %s", __FILE__, __LINE__, #cond); \
	} while (0)

#define CHECK_EQ(got, want) check_eq(__FILE__, __LINE__, #got, (int64_t)(got), (int64_t)(want))

void check_eq(const char *file, int line, const char *what, int64_t got, int64_t want);

/* ---- a VMO over a fake provider ---- */

#define PAGE  VMOFS_PAGE_SIZE
#define KEY   UINT64_C(0x1100000000000000) /* what the provider holds */
#define NEW   UINT64_C(0x2200000000000000) /* what writers write */
#define NEWER UINT64_C(0x3300000000000000) /* what other writers write */

struct rig {
	struct vm_pool *pool;
	struct fake_provider *f;
	struct vmo *v;
	bool trap;
};

/* @flags: enum vmo_flags. */
struct rig rig_new(uint64_t pages, unsigned flags);
/* Checks the VMO's invariants, closes it, and the provider's contract. */
void rig_release(struct rig *r);
#define RIG(name, pages, flags) cleanup(rig_release) struct rig name = rig_new(pages, flags)

/* Fails the case when the call would block for long. */
struct vmo_wait *soon(void);

void rig_supply(struct rig *r, uint64_t page, uint64_t n); /* all of it must be new */
void rig_zeros(struct rig *r, uint64_t page, uint64_t n);
void rig_grant(struct rig *r, uint64_t page, uint64_t n);
void rig_fail(struct rig *r, uint64_t page, uint64_t n, int code);
/* Absent pages become dirty with contents of @key, by supply, grant where it is asked for, write. */
void rig_dirty(struct rig *r, uint64_t page, uint64_t n, uint64_t key);
/* The VMO ends the writeback of the range with status 0. */
void rig_clean(struct rig *r, uint64_t page, uint64_t n);
void rig_resize(struct rig *r, uint64_t pages);

void write_now(struct vmo *v, uint64_t page, uint64_t n, uint64_t key);
void zero_now(struct vmo *v, uint64_t page, uint64_t n);
void expect_data(struct vmo *v, uint64_t page, uint64_t n, uint64_t key);
void expect_zero(struct vmo *v, uint64_t page, uint64_t n);
void expect_read_error(struct vmo *v, uint64_t page, uint64_t n, int error);
void expect_write_error(struct vmo *v, uint64_t page, uint64_t n, int error);
void expect_state(struct vmo *v, uint64_t page, uint64_t n, enum page_state state);

struct vmo_token *begin(struct vmo *v, uint64_t page, uint64_t n, enum vmo_writeback_what what);
struct vmo *clone_new(struct vmo *parent, uint64_t page, uint64_t n, enum vmo_clone_kind kind);
void vmo_putp(struct vmo **v);
#define CLONE(name, parent, page, n, kind) \
	cleanup(vmo_putp) struct vmo *name = clone_new(parent, page, n, kind)

/* What vmo_query_dirty() must give: EXPECT_DIRTY(v, D(0, 2), Z(4, 1)), EXPECT_CLEAN(v). */
struct dirty_entry {
	uint64_t page;
	uint64_t n;
	bool zero;
};
#define D(page, n)                 \
	{                          \
		(page), (n), false \
	}
#define Z(page, n)                \
	{                         \
		(page), (n), true \
	}
#define EXPECT_DIRTY(v, ...)                                                  \
	do {                                                                  \
		static const struct dirty_entry want_[] = { __VA_ARGS__ };    \
		expect_dirty(__FILE__, __LINE__, v, want_, ARRAY_LEN(want_)); \
	} while (0)
#define EXPECT_CLEAN(v) expect_dirty(__FILE__, __LINE__, v, NULL, 0)
void expect_dirty(const char *file, int line, struct vmo *v, const struct dirty_entry *want,
		  uint64_t n);

/* ---- somebody else who may block: one thread each ---- */

struct op;
struct op *op_read(struct vmo *v, uint64_t page, uint64_t n);
struct op *op_read_bytes(struct vmo *v, uint64_t off, uint64_t len);
struct op *op_read_each(struct vmo *v, uint64_t page, uint64_t n); /* page by page */
struct op *op_commit(struct vmo *v, uint64_t page, uint64_t n);
struct op *op_write(struct vmo *v, uint64_t page, uint64_t n, uint64_t key);
struct op *op_write_bytes(struct vmo *v, uint64_t off, uint64_t len, uint64_t key);
struct op *op_write_each(struct vmo *v, uint64_t page, uint64_t n, uint64_t key);
struct op *op_zero(struct vmo *v, uint64_t off, uint64_t len);
struct op *op_resize(struct vmo *v, uint64_t size);
struct op *op_pin(struct vmo *v, uint64_t page, uint64_t n, bool write, struct vmo_pin *pin);
struct op *op_hint(struct vmo *v, uint64_t page, uint64_t n, enum vmo_hint hint);
struct op *op_writeback(struct vmo *v, uint64_t page, uint64_t n);
/* The thread has not ended: it is known to be parked when this is called after a wait for that. */
void op_expect_blocked(struct op *op);
/* Joins, checks what the call returned (bytes, 0 or -errno), frees. */
void op_expect(struct op *op, int64_t status);
/* For reads: all bytes, with the contents of @key, or zeros. Frees. */
void op_expect_data(struct op *op, uint64_t key);
void op_expect_zero(struct op *op);
/* For reads and writes: all bytes. */
void op_expect_all(struct op *op);

/* ---- the page source alone ---- */

#define DIRTY_BIT VMOFS_TYPE_BIT(VMOFS_REQUEST_DIRTY)
#define WAITER(name)             \
	struct page_waiter name; \
	page_waiter_init(&name)

int wait_for(struct source_rig *r, struct page_waiter *w);

/* READ requests for exactly [page, page + n), in order, in as many parts as it takes. */
void wait_reads(struct fake_provider *f, uint64_t page, uint64_t n);
/* Answers whatever is asked until @op has ended; joins and checks its status. */
void answer_until_done(struct rig *r, struct op *op, int64_t status);
int64_t op_len(const struct op *op);
bool op_is_done(struct op *op);

/* A generator for random cases; the seed is in the case. */
uint64_t rnd(uint64_t *seed, uint64_t below);

#endif
