/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The words of the cases: a VMO over a fake provider, and those who may block on it. Everything
 * that fails ends the process with a dump; nothing here sleeps except in a wait with a time limit.
 */
#include "conformance/harness.h"

#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

void check_eq(const char *file, int line, const char *what, int64_t got, int64_t want)
{
	if (got != want)
		test_die("%s:%d: %s is %" PRId64 ", not %" PRId64, file, line, what, got, want);
}

uint64_t rnd(uint64_t *seed, uint64_t below)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed % below;
}

static void *must_alloc(uint64_t n, uint64_t size)
{
	void *p = calloc(n ? n : 1, size);

	if (!p)
		test_die("no memory");
	return p;
}

/* ---- the rig ---- */

struct rig rig_new(uint64_t pages, unsigned flags)
{
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct rig r = { .trap = flags & VMO_TRAP_DIRTY };
	unsigned supports = VMOFS_TYPE_BIT(VMOFS_REQUEST_WRITEBACK);

	if (r.trap)
		supports |= VMOFS_TYPE_BIT(VMOFS_REQUEST_DIRTY);
	r.f = fake_new(supports, KEY);
	CHECK_EQ(vm_pool_new(&r.pool, MIB(256), &err), 0);
	CHECK_EQ(vmo_new(&r.v, r.pool, fake_base(r.f), page_bytes(pages), flags | VMO_WRITABLE,
			 &err),
		 0);
	fake_attach(r.f, r.v);
	return r;
}

void rig_release(struct rig *r)
{
	if (r->v) {
		vmo_check(r->v);
		vmo_close(r->v);
		vmo_check(r->v);
		vmo_put(r->v);
	}
	fake_free(r->f);
	vm_pool_free(r->pool);
}

struct vmo_wait *soon(void)
{
	static _Thread_local struct vmo_wait wait;

	wait = (struct vmo_wait){ .deadline_ns = test_now_ns() + test_timeout_ns() };
	return &wait;
}

void rig_supply(struct rig *r, uint64_t page, uint64_t n)
{
	CHECK_EQ(fake_supply(r->f, page, n), page_bytes(n));
}

void rig_zeros(struct rig *r, uint64_t page, uint64_t n)
{
	CHECK_EQ(fake_supply_zero(r->f, page, n), page_bytes(n));
}

void rig_grant(struct rig *r, uint64_t page, uint64_t n)
{
	CHECK_EQ(fake_grant(r->f, page, n), 0);
}

void rig_fail(struct rig *r, uint64_t page, uint64_t n, int code)
{
	CHECK_EQ(fake_fail(r->f, page, n, code), 0);
}

void rig_dirty(struct rig *r, uint64_t page, uint64_t n, uint64_t key)
{
	rig_supply(r, page, n);
	if (r->trap)
		rig_grant(r, page, n);
	write_now(r->v, page, n, key);
}

void rig_clean(struct rig *r, uint64_t page, uint64_t n)
{
	vmo_writeback_end(begin(r->v, page, n, VMO_WRITEBACK_ALL), 0);
}

void rig_resize(struct rig *r, uint64_t pages)
{
	CHECK_EQ(vmo_resize(r->v, page_bytes(pages), soon()), 0);
}

void write_now(struct vmo *v, uint64_t page, uint64_t n, uint64_t key)
{
	uint8_t *buf = must_alloc(n, PAGE);

	fake_fill(key, page_bytes(page), buf, page_bytes(n));
	CHECK_EQ(vmo_write(v, page_bytes(page), buf, page_bytes(n), soon()), page_bytes(n));
	free(buf);
}

void zero_now(struct vmo *v, uint64_t page, uint64_t n)
{
	CHECK_EQ(vmo_zero(v, page_bytes(page), page_bytes(n), soon()), 0);
}

static uint8_t *read_now(struct vmo *v, uint64_t page, uint64_t n)
{
	uint8_t *buf = must_alloc(n, PAGE);

	memset(buf, 0xee, page_bytes(n));
	CHECK_EQ(vmo_read(v, page_bytes(page), buf, page_bytes(n), soon()), page_bytes(n));
	return buf;
}

void expect_data(struct vmo *v, uint64_t page, uint64_t n, uint64_t key)
{
	uint8_t *buf = read_now(v, page, n);

	CHECK_EQ(fake_compare(key, page_bytes(page), buf, page_bytes(n)), -1);
	free(buf);
}

void expect_zero(struct vmo *v, uint64_t page, uint64_t n)
{
	uint8_t *buf = read_now(v, page, n);

	CHECK(reads_as_zero(buf, page_bytes(n)));
	free(buf);
}

void expect_read_error(struct vmo *v, uint64_t page, uint64_t n, int error)
{
	uint8_t *buf = must_alloc(n, PAGE);

	CHECK_EQ(vmo_read(v, page_bytes(page), buf, page_bytes(n), soon()), error);
	free(buf);
}

void expect_write_error(struct vmo *v, uint64_t page, uint64_t n, int error)
{
	uint8_t *buf = must_alloc(n, PAGE);

	CHECK_EQ(vmo_write(v, page_bytes(page), buf, page_bytes(n), soon()), error);
	free(buf);
}

void expect_state(struct vmo *v, uint64_t page, uint64_t n, enum page_state state)
{
	for (uint64_t i = page; i < page + n; i++) {
		enum page_state is = vmo_page_state(v, page_bytes(i));

		if (is != state)
			test_die("page %lu is %s, not %s", i, page_state_name(is),
				 page_state_name(state));
	}
}

struct vmo_token *begin(struct vmo *v, uint64_t page, uint64_t n, enum vmo_writeback_what what)
{
	struct vmo_token *token = NULL;

	CHECK_EQ(vmo_writeback_begin(v, page_bytes(page), page_bytes(n), what, &token), 0);
	CHECK(token);
	return token;
}

struct vmo *clone_new(struct vmo *parent, uint64_t page, uint64_t n, enum vmo_clone_kind kind)
{
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct vmo *c = NULL;

	CHECK_EQ(vmo_clone(&c, parent, page_bytes(page), page_bytes(n), kind, VMO_RESIZABLE, &err),
		 0);
	return c;
}

void vmo_putp(struct vmo **v)
{
	if (*v)
		vmo_put(*v);
	*v = NULL;
}

void expect_dirty(const char *file, int line, struct vmo *v, const struct dirty_entry *want,
		  uint64_t n)
{
	struct vmo_dirty_range got[64];
	uint64_t size = page_bytes(page_ceil(vmo_size(v)));
	int64_t n_got = vmo_query_dirty(v, 0, size, got, ARRAY_LEN(got));
	bool same = n_got == (int64_t)n;

	for (uint64_t i = 0; same && i < n; i++)
		same = got[i].off == page_bytes(want[i].page) &&
			got[i].len == page_bytes(want[i].n) && got[i].is_zero == want[i].zero;
	if (same)
		return;
	fprintf(stderr, "dirty ranges:");
	for (int64_t i = 0; i < MIN(n_got, (int64_t)ARRAY_LEN(got)); i++)
		fprintf(stderr, " (%" PRIu64 ",%" PRIu64 "%s)", page_floor(got[i].off),
			page_floor(got[i].len), got[i].is_zero ? ",Z" : "");
	test_die("\n%s:%d: the dirty ranges are others (%" PRId64 ")", file, line, n_got);
}

/* ---- those who may block ---- */

struct op {
	struct test_thread thread;
	struct vmo *v;
	uint64_t off;
	uint64_t len;
	uint64_t key;
	uint8_t *buf;
	struct vmo_pin *pin;
	enum vmo_hint hint;
	bool write;
};

static struct op *op_run(struct op proto, int64_t (*fn)(void *))
{
	struct op *op = must_alloc(1, sizeof *op);

	*op = proto;
	op->buf = must_alloc(op->len, 1);
	memset(op->buf, 0xee, op->len);
	thread_run(&op->thread, fn, op);
	return op;
}

static int64_t run_read(void *arg)
{
	struct op *op = arg;

	return vmo_read(op->v, op->off, op->buf, op->len, NULL);
}

static int64_t run_read_each(void *arg)
{
	struct op *op = arg;
	int64_t r;

	for (uint64_t i = 0; i < op->len; i += PAGE) {
		r = vmo_read(op->v, op->off + i, op->buf + i, PAGE, NULL);
		if (r != (int64_t)PAGE)
			return r;
	}
	return (int64_t)op->len;
}

static int64_t run_commit(void *arg)
{
	struct op *op = arg;

	return vmo_commit(op->v, op->off, op->len, NULL);
}

static int64_t run_write(void *arg)
{
	struct op *op = arg;

	fake_fill(op->key, op->off, op->buf, op->len);
	return vmo_write(op->v, op->off, op->buf, op->len, NULL);
}

static int64_t run_write_each(void *arg)
{
	struct op *op = arg;
	int64_t r;

	fake_fill(op->key, op->off, op->buf, op->len);
	for (uint64_t i = 0; i < op->len; i += PAGE) {
		r = vmo_write(op->v, op->off + i, op->buf + i, PAGE, NULL);
		if (r != (int64_t)PAGE)
			return r;
	}
	return (int64_t)op->len;
}

static int64_t run_zero(void *arg)
{
	struct op *op = arg;

	return vmo_zero(op->v, op->off, op->len, NULL);
}

static int64_t run_resize(void *arg)
{
	struct op *op = arg;

	return vmo_resize(op->v, op->off, NULL);
}

static int64_t run_pin(void *arg)
{
	struct op *op = arg;

	return vmo_pin(op->v, op->pin, op->off, op->len, op->write, NULL);
}

static int64_t run_hint(void *arg)
{
	struct op *op = arg;

	return vmo_hint(op->v, op->off, op->len, op->hint, NULL);
}

static int64_t run_writeback(void *arg)
{
	struct op *op = arg;

	return vmo_writeback(op->v, op->off, op->len, NULL);
}

struct op *op_read(struct vmo *v, uint64_t page, uint64_t n)
{
	return op_read_bytes(v, page_bytes(page), page_bytes(n));
}

struct op *op_read_bytes(struct vmo *v, uint64_t off, uint64_t len)
{
	return op_run((struct op){ .v = v, .off = off, .len = len }, run_read);
}

struct op *op_read_each(struct vmo *v, uint64_t page, uint64_t n)
{
	return op_run((struct op){ .v = v, .off = page_bytes(page), .len = page_bytes(n) },
		      run_read_each);
}

struct op *op_commit(struct vmo *v, uint64_t page, uint64_t n)
{
	return op_run((struct op){ .v = v, .off = page_bytes(page), .len = page_bytes(n) },
		      run_commit);
}

struct op *op_write(struct vmo *v, uint64_t page, uint64_t n, uint64_t key)
{
	return op_write_bytes(v, page_bytes(page), page_bytes(n), key);
}

struct op *op_write_bytes(struct vmo *v, uint64_t off, uint64_t len, uint64_t key)
{
	return op_run((struct op){ .v = v, .off = off, .len = len, .key = key }, run_write);
}

struct op *op_write_each(struct vmo *v, uint64_t page, uint64_t n, uint64_t key)
{
	return op_run(
		(struct op){ .v = v, .off = page_bytes(page), .len = page_bytes(n), .key = key },
		run_write_each);
}

struct op *op_zero(struct vmo *v, uint64_t off, uint64_t len)
{
	return op_run((struct op){ .v = v, .off = off, .len = len }, run_zero);
}

struct op *op_resize(struct vmo *v, uint64_t size)
{
	return op_run((struct op){ .v = v, .off = size }, run_resize);
}

struct op *op_pin(struct vmo *v, uint64_t page, uint64_t n, bool write, struct vmo_pin *pin)
{
	return op_run((struct op){ .v = v,
				   .off = page_bytes(page),
				   .len = page_bytes(n),
				   .pin = pin,
				   .write = write },
		      run_pin);
}

struct op *op_hint(struct vmo *v, uint64_t page, uint64_t n, enum vmo_hint hint)
{
	return op_run(
		(struct op){ .v = v, .off = page_bytes(page), .len = page_bytes(n), .hint = hint },
		run_hint);
}

struct op *op_writeback(struct vmo *v, uint64_t page, uint64_t n)
{
	return op_run((struct op){ .v = v, .off = page_bytes(page), .len = page_bytes(n) },
		      run_writeback);
}

void op_expect_blocked(struct op *op)
{
	CHECK(!thread_is_done(&op->thread));
}

static void op_free(struct op *op)
{
	free(op->buf);
	free(op);
}

void op_expect(struct op *op, int64_t status)
{
	CHECK_EQ(thread_join_status(&op->thread), status);
	op_free(op);
}

void op_expect_all(struct op *op)
{
	CHECK_EQ(thread_join_status(&op->thread), op->len);
	op_free(op);
}

void op_expect_data(struct op *op, uint64_t key)
{
	CHECK_EQ(thread_join_status(&op->thread), op->len);
	CHECK_EQ(fake_compare(key, op->off, op->buf, op->len), -1);
	op_free(op);
}

void op_expect_zero(struct op *op)
{
	CHECK_EQ(thread_join_status(&op->thread), op->len);
	CHECK(reads_as_zero(op->buf, op->len));
	op_free(op);
}

/* ---- the page source alone ---- */

int wait_for(struct source_rig *r, struct page_waiter *w)
{
	return page_waiter_wait(r->s, w);
}

void wait_reads(struct fake_provider *f, uint64_t page, uint64_t n)
{
	for (uint64_t end = page + n; page < end;) {
		struct fake_request r = fake_next(f);

		CHECK_EQ(r.type, VMOFS_REQUEST_READ);
		CHECK_EQ(r.page, page);
		page += r.n;
		CHECK(page <= end);
	}
}

void answer_until_done(struct rig *r, struct op *op, int64_t status)
{
	uint64_t deadline = test_now_ns() + test_timeout_ns();
	struct fake_request req;

	while (!thread_is_done(&op->thread)) {
		if (fake_try_next(r->f, &req))
			fake_answer(r->f, &req);
		else
			sched_yield();
		if (test_now_ns() > deadline)
			test_die("an operation does not end though everything was answered");
	}
	op_expect(op, status);
}

int64_t op_len(const struct op *op)
{
	return (int64_t)op->len;
}

bool op_is_done(struct op *op)
{
	return thread_is_done(&op->thread);
}
