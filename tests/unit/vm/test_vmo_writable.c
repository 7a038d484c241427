/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing in place: the guard, memory that grows, writes that never wait, growth with contents, what is fresh, and another
 * provider under the same pages. The provider is played by hand.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/macros.h"
#include "lib/aread.h"
#include "lib/fake_provider.h"
#include "lib/vmo_scene.h"
#include "store/small.h"
#include "vm/vmo.h"

#define PAGE VMOFS_PAGE_SIZE
#define KEY  UINT64_C(0x1100000000000000)
#define KEY2 UINT64_C(0x2200000000000000)
#define MINE UINT64_C(0x3300000000000000)

/* ---- a guard with a limit ---- */

struct limit {
	struct vmo_guard guard;
	uint64_t used;
	uint64_t max;
	int refusal;
};

static int limit_grant(struct vmo_guard *g, uint64_t n)
{
	struct limit *l = container_of(g, struct limit, guard);

	assert_true(n > 0);
	if (l->used + n > l->max)
		return l->refusal;
	l->used += n;
	return 0;
}

static void limit_release(struct vmo_guard *g, uint64_t n)
{
	struct limit *l = container_of(g, struct limit, guard);

	assert_true(n > 0 && n <= l->used);
	l->used -= n;
}

static const struct vmo_guard_ops limit_ops = { .grant = limit_grant, .release = limit_release };

struct scene {
	struct vm_pool *pool;
	struct fake_provider *f;
	struct vmo *v;
	struct limit limit;
};

static void scene_end(struct scene *s)
{
	vmo_check(s->v);
	assert_int_equal(s->limit.used, vmo_n_dirty(s->v));
	vmo_close(s->v);
	assert_int_equal(s->limit.used, 0);
	vmo_put(s->v);
	fake_free(s->f);
	pool_end(s->pool);
}

static struct scene scene_of(uint64_t size)
{
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct scene s = { .f = fake_new(0, KEY) };

	s.limit = (struct limit){ .guard.ops = &limit_ops, .max = UINT64_MAX, .refusal = -EAGAIN };
	assert_int_equal(vm_pool_new(&s.pool, MIB(64), &err), 0);
	assert_int_equal(vmo_new(&s.v, s.pool, fake_base(s.f), size, 0, &err), 0);
	fake_attach(s.f, s.v);
	return s;
}

/* The guard lies in the scene, which must not move any more. */
#define SCENE(name, size)                                      \
	cleanup(scene_end) struct scene name = scene_of(size); \
	assert_int_equal(vmo_make_writable(name.v, &name.limit.guard), 0)

static void *filled(uint64_t key, uint64_t off, uint64_t len)
{
	void *p = malloc(len);

	assert_non_null(p);
	fake_fill(key, off, p, len);
	return p;
}

static void must_write(struct vmo *v, uint64_t off, uint64_t len)
{
	void *p = filled(MINE, off, len);

	assert_int_equal(vmo_write_extend(v, off, p, len, true, NULL), len);
	free(p);
}

/* Bytes of the version with the contents of @key. */
static int64_t supply(struct scene *s, uint64_t off, uint64_t len)
{
	void *p = filled(KEY, off, len);
	int64_t n = vmofs_supply(s->v, off, p, len);

	free(p);
	return n;
}

static void must_hold(struct vmo *v, uint64_t key, uint64_t off, uint64_t len)
{
	void *p = malloc(len);

	assert_int_equal(vmo_read(v, off, p, len, NULL), len);
	if (key)
		assert_int_equal(fake_compare(key, off, p, len), -1);
	else
		assert_true(reads_as_zero(p, len));
	free(p);
}

static void store_all(struct vmo *v, int status)
{
	struct vmo_token *t;

	assert_int_equal(vmo_writeback_begin(v, 0, vmo_size(v), VMO_WRITEBACK_ALL, &t), 0);
	vmo_writeback_end(t, status);
}

/* ---- who may write ---- */

static void read_only_until_it_is_made_writable(void **state)
{
	cleanup(scene_end) struct scene s = scene_of(4 * PAGE);

	(void)state;
	assert_int_equal(vmo_write(s.v, 0, "x", 1, NULL), -EROFS);
	assert_int_equal(vmo_write_now(s.v, 0, "x", 1), -EROFS);
	assert_int_equal(vmo_write_extend(s.v, 4 * PAGE, "x", 1, true, NULL), -EROFS);
	assert_int_equal(vmo_zero(s.v, 0, PAGE, NULL), -EROFS);
	assert_int_equal(vmo_resize(s.v, PAGE, NULL), -EROFS);
	assert_int_equal(vmo_n_dirty(s.v), 0);
	assert_int_equal(vmo_make_writable(s.v, &s.limit.guard), 0);
	assert_int_equal(vmo_make_writable(s.v, &s.limit.guard), 0);
	must_write(s.v, 0, PAGE);
	assert_int_equal(vmo_resize(s.v, PAGE, NULL), 0);
}

static void pinned_readers_see_what_they_had(void **state)
{
	static const uint64_t sizes[] = { 4 * PAGE, STORE_SMALL_MAX, MIB(4) };

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(sizes); i++) {
		cleanup(scene_end) struct scene s = scene_of(sizes[i]);
		struct aread a = { 0 };

		assert_int_equal(fake_supply(s.f, 0, 4), 4 * PAGE);
		aread_start(&a, s.v, 0, 2);
		assert_int_equal(a.r.state, VMO_READ_PINNED);
		assert_int_equal(vmo_make_writable(s.v, &s.limit.guard), 0);
		must_write(s.v, 0, 3 * PAGE);
		must_write(s.v, sizes[i], MIB(1));
		assert_int_equal(fake_compare(KEY, 0, a.r.iov[0].iov_base, 2 * PAGE), -1);
		vmo_read_end(&a.r);
		must_hold(s.v, MINE, 0, 3 * PAGE);
		must_hold(s.v, KEY, 3 * PAGE, PAGE);
		must_hold(s.v, MINE, sizes[i], MIB(1));
	}
}

static void small_ones_grow_and_shrink(void **state)
{
	SCENE(s, 0);
	uint64_t size = 0;

	(void)state;
	for (unsigned i = 0; i < 500; i++) {
		must_write(s.v, size, 777);
		size += 777;
		assert_int_equal(vmo_size(s.v), size);
	}
	must_hold(s.v, MINE, 0, size);
	assert_int_equal(vmo_resize(s.v, 100, NULL), 0);
	assert_int_equal(vmo_n_dirty(s.v), 1);
	assert_int_equal(vmo_resize(s.v, 3 * PAGE, NULL), 0);
	must_hold(s.v, 0, 100, 3 * PAGE - 100);
	must_hold(s.v, MINE, 0, 100);
}

/* ---- the guard ---- */

static void guard_counts_what_is_dirty(void **state)
{
	SCENE(s, 16 * PAGE);
	struct vmo_token *t;

	(void)state;
	must_write(s.v, 0, 4 * PAGE);
	assert_int_equal(s.limit.used, 4);
	must_write(s.v, PAGE, PAGE); /* dirty already */
	assert_int_equal(s.limit.used, 4);
	assert_int_equal(vmo_zero(s.v, 0, PAGE, NULL), 0);
	assert_int_equal(s.limit.used, 3);
	assert_int_equal(vmo_writeback_begin(s.v, 0, 16 * PAGE, VMO_WRITEBACK_ALL, &t), 0);
	assert_int_equal(s.limit.used, 3);
	must_write(s.v, 2 * PAGE, PAGE);
	vmo_writeback_end(t, 0);
	assert_int_equal(s.limit.used, 1);
	store_all(s.v, -EIO);
	assert_int_equal(s.limit.used, 1);
	must_write(s.v, 20 * PAGE, PAGE);
	assert_int_equal(s.limit.used, 2);
	assert_int_equal(vmo_resize(s.v, 2 * PAGE, NULL), 0);
	assert_int_equal(s.limit.used, 0);
	must_write(s.v, 0, PAGE);
	vmo_detach(s.v);
	assert_int_equal(s.limit.used, 1);
}

static void guard_that_refuses_changes_nothing(void **state)
{
	SCENE(s, 16 * PAGE);
	void *p = filled(MINE, 0, 16 * PAGE);

	(void)state;
	assert_int_equal(fake_supply(s.f, 8, 4), 4 * PAGE);
	s.limit.max = 2;
	assert_int_equal(vmo_write_now(s.v, 0, p, 4 * PAGE), -EAGAIN);
	assert_int_equal(vmo_write_extend(s.v, 16 * PAGE, p, 3 * PAGE, false, NULL), -EAGAIN);
	assert_int_equal(vmo_size(s.v), 16 * PAGE);
	assert_int_equal(vmo_n_dirty(s.v), 0);
	s.limit.refusal = -ENOSPC;
	s.limit.max = 0;
	assert_int_equal(vmo_write(s.v, 8 * PAGE, p, 10, NULL), -ENOSPC);
	assert_int_equal(vmo_resize(s.v, 8 * PAGE + 10, NULL), -ENOSPC);
	assert_int_equal(vmo_size(s.v), 16 * PAGE);
	assert_int_equal(vmo_resize(s.v, 8 * PAGE, NULL), 0);
	assert_int_equal(vmo_resize(s.v, 16 * PAGE, NULL), 0);
	assert_int_equal(vmo_write(s.v, 8 * PAGE, p, 10, NULL), -ENOSPC);
	assert_int_equal(vmo_zero(s.v, 0, 4 * PAGE, NULL), 0);
	s.limit.refusal = -EAGAIN;
	s.limit.max = 4;
	assert_int_equal(vmo_write(s.v, 0, p, 3 * PAGE, NULL), 3 * PAGE);
	assert_int_equal(vmo_write(s.v, 3 * PAGE, p, PAGE, NULL), PAGE);
	assert_int_equal(vmo_write(s.v, 8 * PAGE, p, 1, NULL), -EAGAIN);
	free(p);
}

static void what_is_dirty_already_is_charged(void **state)
{
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct scene s = scene_of(0);
	struct vmo *v;
	struct fake_provider *f = fake_new(0, KEY);

	(void)state;
	assert_int_equal(
		vmo_new(&v, s.pool, fake_base(f), 4 * PAGE, VMO_WRITABLE | VMO_RESIZABLE, &err), 0);
	must_write(v, 0, 3 * PAGE);
	s.limit.max = 2;
	assert_int_equal(vmo_make_writable(v, &s.limit.guard), -EAGAIN);
	s.limit.max = 3;
	assert_int_equal(vmo_make_writable(v, &s.limit.guard), 0);
	assert_int_equal(s.limit.used, 3);
	vmo_close(v);
	assert_int_equal(s.limit.used, 0);
	vmo_put(v);
	fake_free(f);
	scene_end(&s);
}

/* ---- without waiting, without reading ---- */

static void now_never_waits(void **state)
{
	SCENE(s, 8 * PAGE + 10);
	void *p = filled(MINE, 0, 9 * PAGE);

	(void)state;
	assert_int_equal(vmo_write_now(s.v, 10, p, 10), -EAGAIN);
	assert_int_equal(fake_count(s.f, FAKE_SEND), 0);
	/* The first pages are overwritten whole, the last is not. */
	assert_int_equal(vmo_write_now(s.v, 0, p, 2 * PAGE + 5), 2 * PAGE);
	assert_int_equal(vmo_write_now(s.v, 2 * PAGE, p, 5), -EAGAIN);
	/* To the end of the object is whole too. */
	assert_int_equal(vmo_write_now(s.v, 8 * PAGE, (char *)p + 8 * PAGE, 10), 10);
	must_hold(s.v, MINE, 0, 2 * PAGE);
	must_hold(s.v, MINE, 8 * PAGE, 10);
	assert_int_equal(fake_count(s.f, FAKE_SEND), 0);
	assert_int_equal(vmo_resize(s.v, 9 * PAGE, NULL), 0);
	must_hold(s.v, 0, 8 * PAGE + 10, PAGE - 10);
	free(p);
}

static void now_finds_memory_or_says_so(void **state)
{
	SCENE(s, MIB(128));
	void *p = filled(MINE, 0, MIB(1));
	uint64_t n = 0;
	int64_t r;

	(void)state;
	/* Clean pages make room. */
	for (uint64_t i = 0; i < MIB(56) / PAGE; i += 256)
		assert_int_equal(fake_supply(s.f, i, 256), 256 * PAGE);
	while ((r = vmo_write_now(s.v, n, p, MIB(1))) == (int64_t)MIB(1))
		n += MIB(1);
	assert_true(n >= MIB(50));
	assert_true(r == -EAGAIN || r > 0);
	assert_int_equal(vmo_write_extend(s.v, MIB(128), p, MIB(1), true, NULL) > 0, 0);
	store_all(s.v, 0);
	assert_int_equal(vmo_write_now(s.v, n, p, MIB(1)), MIB(1));
	free(p);
}

static void overwritten_pages_end_the_wait_for_them(void **state)
{
	SCENE(s, 8 * PAGE);
	struct aread a = { 0 };
	struct aread b = { 0 };

	(void)state;
	aread_park(&a, s.v, 0, 4);
	aread_park(&b, s.v, 1, 2);
	must_write(s.v, PAGE, 2 * PAGE);
	assert_int_equal(b.n_done, 1);
	assert_int_equal(b.status, 0);
	assert_int_equal(fake_compare(MINE, PAGE, b.r.iov[0].iov_base, 2 * PAGE), -1);
	vmo_read_end(&b.r);
	assert_int_equal(a.n_done, 0);
	assert_int_equal(fake_supply(s.f, 0, 4), 2 * PAGE);
	assert_int_equal(a.n_done, 1);
	vmo_read_end(&a.r);
	must_hold(s.v, MINE, PAGE, 2 * PAGE);
	must_hold(s.v, KEY, 3 * PAGE, PAGE);
	assert_int_equal(pool_reserved(s.pool), 0);
}

/* Objects of @pages come and go, full of something. */
static void leave_memory_behind(struct scene *s, uint64_t pages)
{
	struct vmofs_err err = VMOFS_ERR_INIT;

	for (unsigned i = 0; i < 8; i++) {
		struct fake_provider *f = fake_new(0, KEY);
		struct vmo *v;

		assert_int_equal(
			vmo_new(&v, s->pool, fake_base(f), pages * PAGE, VMO_WRITABLE, &err), 0);
		must_write(v, 0, pages * PAGE);
		vmo_close(v);
		vmo_put(v);
		fake_free(f);
	}
}

static void new_pages_are_zero_beside_what_is_written(void **state)
{
	struct scene s = scene_of(0);

	(void)state;
	leave_memory_behind(&s, 8);
	assert_int_equal(vmo_make_writable(s.v, &s.limit.guard), 0);
	must_write(s.v, 4 * PAGE + 100, PAGE);
	must_write(s.v, 7 * PAGE, 100);
	assert_int_equal(vmo_resize(s.v, 8 * PAGE, NULL), 0);
	must_hold(s.v, 0, 0, 4 * PAGE + 100);
	must_hold(s.v, MINE, 4 * PAGE + 100, PAGE);
	must_hold(s.v, 0, 5 * PAGE + 100, 2 * PAGE - 100);
	must_hold(s.v, 0, 7 * PAGE + 100, PAGE - 100);
	must_hold(s.v, MINE, 7 * PAGE, 100);
	scene_end(&s);
}

static void the_end_of_an_overwritten_last_page_is_zero(void **state)
{
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct scene s = scene_of(0);
	struct fake_provider *f = fake_new(0, KEY);
	struct vmo *v;

	(void)state;
	leave_memory_behind(&s, 5);
	assert_int_equal(vmo_new(&v, s.pool, fake_base(f), 4 * PAGE + 10, 0, &err), 0);
	assert_int_equal(vmo_make_writable(v, NULL), 0);
	must_write(v, 4 * PAGE, 10);
	assert_int_equal(vmo_resize(v, 5 * PAGE, NULL), 0);
	must_hold(v, MINE, 4 * PAGE, 10);
	must_hold(v, 0, 4 * PAGE + 10, PAGE - 10);
	vmo_close(v);
	vmo_put(v);
	fake_free(f);
	assert_int_equal(vmo_make_writable(s.v, &s.limit.guard), 0);
	scene_end(&s);
}

/* ---- growth ---- */

static void growth_comes_with_its_contents(void **state)
{
	SCENE(s, 2 * PAGE + 100);

	(void)state;
	/* A gap, and a page that is written in its middle. */
	must_write(s.v, 5 * PAGE + 50, 100);
	assert_int_equal(vmo_size(s.v), 5 * PAGE + 150);
	must_hold(s.v, 0, 3 * PAGE, 2 * PAGE + 50);
	must_hold(s.v, MINE, 5 * PAGE + 50, 100);
	assert_int_equal(vmo_n_dirty(s.v), 1);
	assert_int_equal(vmo_page_state(s.v, 3 * PAGE), PAGE_ZERO_DIRTY);
	/* The old last page: what the origin has beyond its end reads as zero. */
	assert_int_equal(supply(&s, 2 * PAGE, 100), 100);
	must_hold(s.v, KEY, 2 * PAGE, 100);
	must_hold(s.v, 0, 2 * PAGE + 100, PAGE - 100);
	/* Over the end, beginning before it. */
	must_write(s.v, 5 * PAGE + 100, 3 * PAGE);
	must_hold(s.v, MINE, 5 * PAGE + 50, 3 * PAGE + 50);
	must_write(s.v, vmo_size(s.v), MIB(9) + 3);
	must_hold(s.v, MINE, 8 * PAGE, vmo_size(s.v) - 8 * PAGE);
	assert_int_equal(vmo_write_extend(s.v, UINT64_MAX - 5, "x", 1, true, NULL), -EFBIG);
}

static void append_reads_only_the_last_page(void **state)
{
	SCENE(s, 100 * PAGE + 100);

	(void)state;
	assert_int_equal(vmo_write_extend(s.v, 100 * PAGE + 100, "x", 1, true, NULL), -EAGAIN);
	assert_int_equal(vmo_size(s.v), 100 * PAGE + 100);
	assert_int_equal(supply(&s, 100 * PAGE, 100), 100);
	must_write(s.v, 100 * PAGE + 100, 10 * PAGE);
	must_hold(s.v, KEY, 100 * PAGE, 100);
	must_hold(s.v, MINE, 100 * PAGE + 100, 10 * PAGE);
	assert_int_equal(s.limit.used, 11);
}

static void nothing_old_comes_back_after_a_cut(void **state)
{
	SCENE(s, 8 * PAGE);
	struct aread a = { 0 };

	(void)state;
	aread_park(&a, s.v, 0, 8);
	assert_int_equal(vmo_resize(s.v, 2 * PAGE, NULL), 0);
	assert_int_equal(vmo_origin_size(s.v), 2 * PAGE);
	assert_int_equal(vmo_resize(s.v, 8 * PAGE, NULL), 0);
	assert_int_equal(vmo_origin_size(s.v), 2 * PAGE);
	/* What was on its way comes for the old size. */
	assert_int_equal(fake_supply(s.f, 0, 8), 2 * PAGE);
	assert_int_equal(a.n_done, 1);
	vmo_read_end(&a.r);
	must_hold(s.v, 0, 2 * PAGE, 6 * PAGE);
	must_hold(s.v, KEY, 0, 2 * PAGE);
}

/* ---- what is fresh ---- */

static uint64_t copy_fresh(struct vmo *v, uint64_t off, uint64_t cap, uint64_t *at)
{
	char *p = malloc(cap);
	int64_t n;

	*at = off;
	n = vmo_fresh_copy(v, at, p, cap);
	if (n > 0)
		assert_int_equal(fake_compare(MINE, *at, p, (uint64_t)n), -1);
	free(p);
	return (uint64_t)n;
}

static void fresh_pages_are_copied_once(void **state)
{
	SCENE(s, 300 * PAGE);
	struct vmo_token *t;
	uint64_t at;

	(void)state;
	must_write(s.v, 60 * PAGE, 140 * PAGE);
	must_write(s.v, 299 * PAGE, PAGE);
	assert_int_equal(copy_fresh(s.v, 0, 100 * PAGE, &at), 100 * PAGE);
	assert_int_equal(at, 60 * PAGE);
	assert_int_equal(copy_fresh(s.v, 0, 100 * PAGE, &at), 40 * PAGE);
	assert_int_equal(at, 160 * PAGE);
	assert_int_equal(copy_fresh(s.v, 0, 100 * PAGE, &at), PAGE);
	assert_int_equal(at, 299 * PAGE);
	assert_int_equal(copy_fresh(s.v, 0, 100 * PAGE, &at), 0);
	/* Also while it is stored; not what is clean. */
	assert_int_equal(vmo_writeback_begin(s.v, 0, 300 * PAGE, VMO_WRITEBACK_ALL, &t), 0);
	must_write(s.v, 63 * PAGE, 2 * PAGE);
	vmo_fresh_again(s.v, 64 * PAGE, 5 * PAGE);
	vmo_writeback_end(t, 0);
	vmo_fresh_again(s.v, 0, 300 * PAGE);
	assert_int_equal(copy_fresh(s.v, 0, 100 * PAGE, &at), 2 * PAGE);
	assert_int_equal(at, 63 * PAGE);
	/* What was cut or zeroed is not. */
	must_write(s.v, 63 * PAGE, 2 * PAGE);
	assert_int_equal(vmo_zero(s.v, 63 * PAGE, PAGE, NULL), 0);
	assert_int_equal(copy_fresh(s.v, 0, 100 * PAGE, &at), PAGE);
	assert_int_equal(at, 64 * PAGE);
	must_write(s.v, 200 * PAGE, PAGE);
	assert_int_equal(vmo_resize(s.v, 200 * PAGE, NULL), 0);
	assert_int_equal(copy_fresh(s.v, 0, 100 * PAGE, &at), 0);
}

/* ---- tokens ---- */

/* As far as the guard lets them: dirty, fresh, and not evicted. */
static void clean_pages_are_kept(void **state)
{
	SCENE(s, 600 * PAGE);
	uint64_t off = 0;
	char *buf = malloc(400 * PAGE);

	(void)state;
	assert_non_null(buf);
	assert_int_equal(supply(&s, 0, 300 * PAGE), 300 * PAGE);
	assert_int_equal(supply(&s, 400 * PAGE, 2 * PAGE), 2 * PAGE);
	must_write(s.v, 2 * PAGE, PAGE);
	s.limit.max = 301;
	assert_int_equal(vmo_keep(s.v, &off), 2 * PAGE);
	while (off < 300 * PAGE)
		assert_true(vmo_keep(s.v, &off) > 0);
	assert_int_equal(vmo_keep(s.v, &off), -EAGAIN);
	s.limit.max = 302;
	assert_int_equal(vmo_keep(s.v, &off), 2 * PAGE);
	assert_int_equal(off, 402 * PAGE);
	assert_int_equal(vmo_keep(s.v, &off), 0);
	assert_int_equal(vmo_n_dirty(s.v), 302);
	assert_int_equal(vmo_evict(s.v, 0, 600 * PAGE, true), 0);
	off = 0;
	assert_int_equal(vmo_fresh_copy(s.v, &off, buf, 400 * PAGE), 300 * PAGE);
	free(buf);
	must_hold(s.v, KEY, 3 * PAGE, 297 * PAGE);
}

static void abandoned_token_leaves_it_dirty(void **state)
{
	SCENE(s, 8 * PAGE);
	struct vmo_token *t;
	uint64_t since = 0;

	(void)state;
	must_write(s.v, 0, 4 * PAGE);
	assert_int_equal(vmo_zero(s.v, 6 * PAGE, PAGE, NULL), 0);
	assert_int_equal(vmo_writeback_begin(s.v, 0, 8 * PAGE, VMO_WRITEBACK_ALL, &t), 0);
	assert_int_equal(vmo_page_state(s.v, 0), PAGE_AWAITING_CLEAN);
	vmo_writeback_abandon(t);
	assert_int_equal(vmo_page_state(s.v, 0), PAGE_DIRTY);
	assert_int_equal(vmo_page_state(s.v, 6 * PAGE), PAGE_ZERO_DIRTY);
	assert_int_equal(vmo_writeback_error(s.v, &since), 0);
	store_all(s.v, 0);
	assert_int_equal(vmo_n_dirty(s.v), 0);
}

/* What was written since the first token was taken is only the second's. */
static void tokens_have_what_was_not_written_since(void **state)
{
	SCENE(s, 8 * PAGE);
	struct vmo_token *t;
	struct vmo_token *u;

	(void)state;
	must_write(s.v, 0, 4 * PAGE);
	assert_int_equal(vmo_writeback_begin(s.v, 0, 8 * PAGE, VMO_WRITEBACK_ALL, &t), 0);
	must_write(s.v, PAGE, PAGE);
	assert_int_equal(vmo_writeback_begin(s.v, 0, 8 * PAGE, VMO_WRITEBACK_ALL, &u), 0);
	vmo_writeback_end(t, 0);
	assert_int_equal(vmo_page_state(s.v, 0), PAGE_CLEAN);
	assert_int_equal(vmo_page_state(s.v, PAGE), PAGE_AWAITING_CLEAN);
	vmo_writeback_end(u, -EIO);
	assert_int_equal(vmo_page_state(s.v, 0), PAGE_CLEAN);
	assert_int_equal(vmo_page_state(s.v, PAGE), PAGE_DIRTY);
}

/* Every other page is dirty, and is written again while all of it is stored. */
static void scattered_writes_during_a_store_are_cheap(void **state)
{
	enum { N = 6000 };
	SCENE(s, UINT64_C(2) * N * PAGE);
	struct vmo_dirty_range r[2];
	struct vmo_token *t;
	struct vmo_token *u;

	(void)state;
	for (uint64_t i = 0; i < N; i++)
		must_write(s.v, 2 * i * PAGE, PAGE);
	assert_int_equal(vmo_query_dirty(s.v, 0, vmo_size(s.v), NULL, 0), N);
	for (uint64_t i = 0; i < N; i += 2) {
		uint64_t off = 2 * i * PAGE;

		assert_int_equal(vmo_next_dirty(s.v, off, vmo_size(s.v) - off, r, 2),
				 MIN(2, N - i));
		assert_int_equal(r[0].off, off);
		assert_int_equal(r[1].off, off + 2 * PAGE);
	}
	assert_int_equal(vmo_writeback_begin(s.v, 0, vmo_size(s.v), VMO_WRITEBACK_ALL, &t), 0);
	assert_int_equal(vmo_writeback_begin(s.v, 0, vmo_size(s.v) / 2, VMO_WRITEBACK_ALL, &u), 0);
	for (uint64_t i = 0; i < N; i += 2)
		must_write(s.v, 2 * i * PAGE, PAGE);
	vmo_check(s.v);
	vmo_writeback_end(u, -EIO);
	vmo_writeback_end(t, 0);
	assert_int_equal(vmo_n_dirty(s.v), N / 2);
	for (uint64_t i = 0; i < N; i += 2)
		assert_int_equal(vmo_page_state(s.v, 2 * i * PAGE), PAGE_DIRTY);
}

/* ---- another provider ---- */

static void switch_asks_anew(void **state)
{
	struct fake_provider *g = fake_new(0, KEY2);
	struct fake_provider *old;
	SCENE(s, 8 * PAGE);
	struct aread a = { 0 };
	struct vmo *first = vmofs_vmo_get(s.v);
	struct vmo *second;
	char *p = filled(KEY, 0, 8 * PAGE);

	(void)state;
	aread_park(&a, s.v, 0, 4);
	assert_int_equal(fake_n_owned(s.f), 1);
	assert_int_equal(fake_supply(s.f, 0, 2), 2 * PAGE);
	assert_int_equal(vmo_switch(s.v, fake_base(g), 8 * PAGE), 0);
	assert_int_equal(fake_n_owned(s.f), 0);
	assert_int_equal(fake_count(s.f, FAKE_CLOSE), 1);
	old = s.f;
	s.f = g;
	fake_wait_read(g, 2, 2);
	second = vmofs_vmo_get(fake_named_vmo(g));
	assert_ptr_not_equal(second, s.v);
	fake_attach(g, second);
	/* What the old one still says is nothing. */
	assert_int_equal(vmofs_supply(first, 2 * PAGE, p, PAGE), -ESHUTDOWN);
	assert_int_equal(vmofs_supply_zero(first, 2 * PAGE, PAGE), -ESHUTDOWN);
	assert_int_equal(vmofs_fail(first, 2 * PAGE, PAGE, -EIO, 1), -ESHUTDOWN);
	vmofs_distrust(first);
	assert_int_equal(vmo_supply_near(s.v, 2 * PAGE, p, PAGE), -ESHUTDOWN);
	assert_false(vmo_is_distrusted(s.v));
	assert_int_equal(a.n_done, 0);
	fake_free(old);
	assert_int_equal(fake_supply(g, 0, 8), 6 * PAGE);
	assert_int_equal(a.n_done, 1);
	vmo_read_end(&a.r);
	must_hold(s.v, KEY, 0, 2 * PAGE);
	must_hold(s.v, KEY2, 2 * PAGE, 6 * PAGE);
	vmofs_vmo_put(second);
	vmofs_vmo_put(first);
	free(p);
}

static void held_requests_wait(void **state)
{
	SCENE(s, 8 * PAGE);
	struct aread a = { 0 };
	struct aread b = { 0 };

	(void)state;
	aread_park(&a, s.v, 0, 2);
	assert_int_equal(vmo_switch(s.v, NULL, 0), 0);
	assert_int_equal(fake_n_owned(s.f), 0);
	aread_park(&b, s.v, 4, 2);
	assert_int_equal(fake_n_owned(s.f), 0);
	/* Failures do not count, contents do. */
	assert_int_equal(fake_fail(s.f, 0, 8, -ESTALE), 0);
	vmofs_distrust(s.v);
	assert_false(vmo_is_distrusted(s.v));
	assert_int_equal(a.n_done, 0);
	assert_int_equal(fake_supply(s.f, 0, 2), 2 * PAGE);
	assert_int_equal(a.n_done, 1);
	vmo_read_end(&a.r);
	/* Nothing came of the store: the same one again. */
	assert_ptr_equal(vmo_provider(s.v), fake_base(s.f));
	assert_int_equal(vmo_switch(s.v, fake_base(s.f), 0), 0);
	assert_int_equal(vmo_origin_size(s.v), 8 * PAGE);
	fake_wait_read(s.f, 4, 2);
	assert_int_equal(fake_fail(s.f, 4, 2, -EIO), 0);
	assert_int_equal(b.status, -EIO);
	/* Cancelled, expired, closed while held. */
	assert_int_equal(vmo_switch(s.v, NULL, 0), 0);
	aread_park(&a, s.v, 4, 2);
	assert_true(vmo_read_cancel(&a.r));
	b = (struct aread){ 0 };
	aread_park(&b, s.v, 4, 2);
	vmo_detach(s.v);
	assert_int_equal(b.status, -ESHUTDOWN);
	assert_int_equal(vmo_switch(s.v, fake_base(s.f), 0), -ESHUTDOWN);
}

static void cut_during_a_store_lowers_the_origin(void **state)
{
	struct fake_provider *g = fake_new(0, KEY2);
	struct fake_provider *old;
	SCENE(s, 8 * PAGE);
	struct vmo_token *t;

	(void)state;
	/* Cut before the token: the new version has all of it again. */
	assert_int_equal(vmo_resize(s.v, PAGE, NULL), 0);
	must_write(s.v, PAGE, 7 * PAGE);
	assert_int_equal(vmo_writeback_begin(s.v, 0, UINT64_MAX, VMO_WRITEBACK_ALL, &t), 0);
	assert_int_equal(vmo_resize(s.v, 5 * PAGE, NULL), 0);
	assert_int_equal(vmo_token_size(t), 8 * PAGE);
	assert_int_equal(vmo_resize(s.v, 6 * PAGE, NULL), 0);
	assert_int_equal(vmo_origin_size(s.v), PAGE);
	assert_int_equal(vmo_switch(s.v, fake_base(g), 8 * PAGE), 0);
	old = s.f;
	s.f = g;
	fake_free(old);
	vmo_writeback_end(t, 0);
	assert_int_equal(vmo_origin_size(s.v), 5 * PAGE);
	assert_int_equal(vmo_page_state(s.v, 4 * PAGE), PAGE_CLEAN);
	assert_int_equal(vmo_page_state(s.v, 5 * PAGE), PAGE_ZERO_DIRTY);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(read_only_until_it_is_made_writable),
		cmocka_unit_test(pinned_readers_see_what_they_had),
		cmocka_unit_test(small_ones_grow_and_shrink),
		cmocka_unit_test(guard_counts_what_is_dirty),
		cmocka_unit_test(guard_that_refuses_changes_nothing),
		cmocka_unit_test(what_is_dirty_already_is_charged),
		cmocka_unit_test(now_never_waits),
		cmocka_unit_test(now_finds_memory_or_says_so),
		cmocka_unit_test(overwritten_pages_end_the_wait_for_them),
		cmocka_unit_test(new_pages_are_zero_beside_what_is_written),
		cmocka_unit_test(the_end_of_an_overwritten_last_page_is_zero),
		cmocka_unit_test(growth_comes_with_its_contents),
		cmocka_unit_test(append_reads_only_the_last_page),
		cmocka_unit_test(nothing_old_comes_back_after_a_cut),
		cmocka_unit_test(fresh_pages_are_copied_once),
		cmocka_unit_test(clean_pages_are_kept),
		cmocka_unit_test(abandoned_token_leaves_it_dirty),
		cmocka_unit_test(tokens_have_what_was_not_written_since),
		cmocka_unit_test(scattered_writes_during_a_store_are_cheap),
		cmocka_unit_test(switch_asks_anew),
		cmocka_unit_test(held_requests_wait),
		cmocka_unit_test(cut_during_a_store_lowers_the_origin),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
