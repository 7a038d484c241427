/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every operation with its first, second, ... allocation failing, until it needs no more: it ends
 * well or with -ENOMEM, the VMO is in order, and the same operation then succeeds. Leaks are left to
 * the address sanitizer.
 *
 * LINK: -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/macros.h"
#include "base/sync.h"
#include "lib/fail_alloc.h"
#include "lib/vmo_scene.h"
#include "vm/pool.h"
#include "vm/vmo.h"

#define PAGE VMOFS_PAGE_SIZE

enum { N_PAGES = 300, ALLOCATIONS_MAX = 1000 };

/* ---- a provider that needs no memory: its thread answers everything at once, unless told to wait ---- */

struct answerer {
	struct vmofs_provider base;
	pthread_mutex_t lock;
	pthread_cond_t more;
	struct vmofs_list queue; /* lock: lock; requests nobody has answered */
	bool hold;               /* lock: lock */
	bool stop;               /* lock: lock */
	struct vmo *vmo;
	pthread_t thread;
};

static struct answerer *answerer_of(struct vmofs_provider *p)
{
	return container_of(p, struct answerer, base);
}

static void answerer_send(struct vmofs_provider *p, struct vmofs_request *req)
{
	struct answerer *a = answerer_of(p);

	pthread_mutex_lock(&a->lock);
	vmofs_list_add_tail(&a->queue, &req->link);
	pthread_cond_signal(&a->more);
	pthread_mutex_unlock(&a->lock);
}

static void answerer_clear(struct vmofs_provider *p, struct vmofs_request *req)
{
	struct answerer *a = answerer_of(p);

	pthread_mutex_lock(&a->lock);
	vmofs_list_del(&req->link);
	pthread_mutex_unlock(&a->lock);
}

static void answerer_swap(struct vmofs_provider *p, struct vmofs_request *old,
			  struct vmofs_request *now)
{
	struct answerer *a = answerer_of(p);

	pthread_mutex_lock(&a->lock);
	if (old != now && !vmofs_list_empty(&old->link))
		vmofs_list_replace(&old->link, &now->link);
	pthread_mutex_unlock(&a->lock);
}

static void answerer_nothing(struct vmofs_provider *p UNUSED)
{
}

static const struct vmofs_provider_ops answerer_ops = {
	.name = "answerer",
	.supports =
		BIT(VMOFS_REQUEST_READ) | BIT(VMOFS_REQUEST_DIRTY) | BIT(VMOFS_REQUEST_WRITEBACK),
	.send = answerer_send,
	.clear = answerer_clear,
	.swap = answerer_swap,
	.on_detach = answerer_nothing,
	.on_close = answerer_nothing,
};

static void answer(struct vmo *vmo, const struct vmofs_request *q)
{
	static unsigned char bytes[N_PAGES * 4096];
	struct vmo_token *token;

	switch (q->type) {
	case VMOFS_REQUEST_READ:
		vmofs_supply(vmo, q->off, bytes, q->len);
		break;
	case VMOFS_REQUEST_DIRTY:
		vmofs_grant_dirty(vmo, q->off, q->len);
		break;
	default:
		if (vmo_writeback_begin(vmo, q->off, q->len, VMO_WRITEBACK_ALL, &token) == 0)
			vmo_writeback_end(token, 0);
	}
}

static void *answerer_main(void *arg)
{
	struct answerer *a = arg;

	pthread_mutex_lock(&a->lock);
	while (!a->stop) {
		struct vmofs_request *req =
			a->hold ? NULL : vmofs_list_first(&a->queue, struct vmofs_request, link);
		struct vmofs_request copy;

		if (!req) {
			pthread_cond_wait(&a->more, &a->lock);
			continue;
		}
		copy = *req;
		vmofs_list_del(&req->link);
		pthread_mutex_unlock(&a->lock);
		answer(a->vmo, &copy);
		pthread_mutex_lock(&a->lock);
	}
	pthread_mutex_unlock(&a->lock);
	return NULL;
}

static void answerer_hold(struct answerer *a, bool hold)
{
	pthread_mutex_lock(&a->lock);
	a->hold = hold;
	pthread_cond_signal(&a->more);
	pthread_mutex_unlock(&a->lock);
}

/* ---- a scene, anew for each attempt ---- */

struct pending {
	struct vmo_read r;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool ended; /* lock: lock */
	int status; /* lock: lock */
};

struct scene {
	struct vm_pool *pool;
	struct answerer provider;
	struct vmo *vmo;
	struct vmo *clone;
	struct vmo_token *token;
	struct pending pending[2];
};

static unsigned char bytes[N_PAGES * 4096];

static struct scene *scene_new(void)
{
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct scene *s = calloc(1, sizeof *s);

	assert_non_null(s);
	for (unsigned i = 0; i < ARRAY_LEN(s->pending); i++) {
		pthread_mutex_init(&s->pending[i].lock, NULL);
		pthread_cond_init(&s->pending[i].changed, NULL);
	}
	s->provider.base.ops = &answerer_ops;
	pthread_mutex_init(&s->provider.lock, NULL);
	pthread_cond_init(&s->provider.more, NULL);
	vmofs_list_init(&s->provider.queue);
	assert_int_equal(vm_pool_new(&s->pool, VM_POOL_MIN, &err), 0);
	assert_int_equal(vmo_new(&s->vmo, s->pool, &s->provider.base, N_PAGES * PAGE,
				 VMO_TRAP_DIRTY | VMO_RESIZABLE, &err),
			 0);
	s->provider.vmo = s->vmo;
	assert_int_equal(pthread_create(&s->provider.thread, NULL, answerer_main, &s->provider), 0);
	return s;
}

static void scene_free(struct scene *s)
{
	if (s->token)
		vmo_writeback_end(s->token, 0);
	vmo_close(s->vmo);
	pthread_mutex_lock(&s->provider.lock);
	s->provider.stop = true;
	pthread_cond_signal(&s->provider.more);
	pthread_mutex_unlock(&s->provider.lock);
	pthread_join(s->provider.thread, NULL);
	if (s->clone)
		vmo_put(s->clone);
	vmo_put(s->vmo);
	pool_end(s->pool);
	free(s);
}

/* ---- what is tried ---- */

static int64_t try_new(struct scene *s)
{
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct vm_pool *pool = NULL;
	struct vmo *v = NULL;
	int r = vm_pool_new(&pool, VM_POOL_MIN, &err);

	if (r < 0)
		return r;
	r = vmo_new(&v, pool, &s->provider.base, MIB(1), VMO_RESIZABLE, &err);
	assert_int_equal(r, err.code);
	if (r == 0) {
		vmo_close(v);
		vmo_put(v);
	}
	vm_pool_free(pool);
	return r;
}

static void read_done(struct vmo_read *r, int status)
{
	struct pending *p = container_of(r, struct pending, r);

	pthread_mutex_lock(&p->lock);
	p->ended = true;
	p->status = status;
	pthread_cond_signal(&p->changed);
	pthread_mutex_unlock(&p->lock);
}

static int pending_start(struct scene *s, struct pending *p, uint64_t off, uint64_t len)
{
	p->ended = false;
	p->r = (struct vmo_read){ .off = off, .len = len, .done = read_done };
	return vmo_read_start(s->vmo, &p->r);
}

static int pending_wait(struct pending *p)
{
	pthread_mutex_lock(&p->lock);
	while (!p->ended)
		pthread_cond_wait(&p->changed, &p->lock);
	pthread_mutex_unlock(&p->lock);
	return p->status;
}

static int64_t try_async_read(struct scene *s)
{
	struct pending *p = &s->pending[0];
	int r = pending_start(s, p, PAGE, 200 * PAGE);

	if (r == -EINPROGRESS)
		r = pending_wait(p);
	vmo_read_end(&p->r);
	return r;
}

/* A reader leaves, another stays: the request is cut down to what that one wants. */
static int64_t try_cancel(struct scene *s)
{
	int r[2];

	answerer_hold(&s->provider, true);
	r[0] = pending_start(s, &s->pending[0], 0, 200 * PAGE);
	r[1] = pending_start(s, &s->pending[1], 150 * PAGE, 100 * PAGE);
	if (r[0] == -EINPROGRESS)
		assert_true(vmo_read_cancel(&s->pending[0].r));
	answerer_hold(&s->provider, false);
	if (r[1] == -EINPROGRESS)
		r[1] = pending_wait(&s->pending[1]);
	vmo_read_end(&s->pending[0].r);
	vmo_read_end(&s->pending[1].r);
	if (r[0] == -ENOMEM)
		return r[0];
	return r[1];
}

static int64_t try_read(struct scene *s)
{
	static unsigned char buf[200 * 4096];

	return vmo_read(s->vmo, 10, buf, sizeof buf, NULL);
}

static int64_t try_commit(struct scene *s)
{
	return vmo_commit(s->vmo, 20 * PAGE, 250 * PAGE, NULL);
}

static int64_t try_prefetch(struct scene *s)
{
	return vmo_prefetch(s->vmo, 0, N_PAGES * PAGE, 0);
}

static int64_t try_supply(struct scene *s)
{
	int64_t r = 0;

	/* Runs with holes, so that leaves and runs are made. */
	for (unsigned i = 0; i < N_PAGES && r >= 0; i += 70)
		r = vmofs_supply(s->vmo, i * PAGE, bytes, 3 * PAGE);
	return r;
}

static int64_t try_supply_zero(struct scene *s)
{
	int64_t r = 0;

	for (unsigned i = 0; i < N_PAGES - 10 && r >= 0; i += 70)
		r = vmofs_supply_zero(s->vmo, i * PAGE, 10 * PAGE);
	return r;
}

static int64_t try_write(struct scene *s)
{
	return vmo_write(s->vmo, 100 * PAGE + 7, bytes, 30 * PAGE, NULL);
}

static int64_t try_write_over_zeros(struct scene *s)
{
	int64_t r = vmofs_supply_zero(s->vmo, 0, 20 * PAGE);

	return r < 0 ? r : vmo_write(s->vmo, 5 * PAGE, bytes, 3 * PAGE, NULL);
}

static int64_t try_zero(struct scene *s)
{
	int64_t r = 0;

	for (unsigned i = 0; i < N_PAGES - 70 && r >= 0; i += 70)
		r = vmo_zero(s->vmo, i * PAGE + 100, 5 * PAGE, NULL);
	return r;
}

static int64_t try_resize(struct scene *s)
{
	int64_t r = vmo_resize(s->vmo, 100 * PAGE + 5, NULL);

	return r < 0 ? r : vmo_resize(s->vmo, 2000 * PAGE, NULL);
}

static int64_t try_clone(struct scene *s)
{
	struct vmofs_err err = VMOFS_ERR_INIT;
	int r;

	if (s->clone)
		vmo_put(s->clone);
	s->clone = NULL;
	r = vmo_clone(&s->clone, s->vmo, 10 * PAGE, 100 * PAGE, VMO_SNAPSHOT_AT_LEAST_ON_WRITE, 0,
		      &err);
	assert_int_equal(r, err.code);
	return r < 0 ? r : vmo_write(s->clone, 3 * PAGE + 1, bytes, 20 * PAGE, NULL);
}

static int64_t try_clone_of_clone(struct scene *s)
{
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct vmo *second = NULL;
	int64_t r = try_clone(s);

	if (r < 0)
		return r;
	r = vmo_clone(&second, s->clone, 2 * PAGE, 50 * PAGE, VMO_SNAPSHOT_MODIFIED, 0, &err);
	if (r < 0)
		return r;
	r = vmo_write(second, 5, bytes, 10 * PAGE, NULL);
	if (r >= 0)
		r = vmo_write(s->clone, 4 * PAGE + 3, bytes, PAGE, NULL);
	vmo_put(second);
	return r;
}

/* Dirty pages and zeros with gaps between them. */
static void make_dirty(struct scene *s)
{
	for (unsigned i = 0; i < N_PAGES - 20; i += 20) {
		assert_int_equal(vmo_write(s->vmo, i * PAGE, bytes, 2 * PAGE, NULL), 2 * PAGE);
		assert_int_equal(vmo_zero(s->vmo, (i + 5) * PAGE, 3 * PAGE, NULL), 0);
	}
}

static int64_t try_begin_end(struct scene *s)
{
	int r = 0;

	if (!s->token)
		r = vmo_writeback_begin(s->vmo, 0, N_PAGES * PAGE, VMO_WRITEBACK_ALL, &s->token);
	if (r < 0)
		return r;
	vmo_writeback_end_part(s->token, 20 * PAGE, 50 * PAGE, 0);
	vmo_writeback_end_part(s->token, 100 * PAGE, 10 * PAGE, -EIO);
	r = vmo_write(s->vmo, 120 * PAGE, bytes, 1, NULL) == 1 ? 0 : -ENOMEM;
	vmo_writeback_end(s->token, 0);
	s->token = NULL;
	return r;
}

static int64_t try_writeback(struct scene *s)
{
	return vmo_writeback(s->vmo, 0, N_PAGES * PAGE, NULL);
}

static int64_t try_query(struct scene *s)
{
	struct vmo_dirty_range got[50];

	return vmo_query_dirty(s->vmo, 0, N_PAGES * PAGE, got, ARRAY_LEN(got));
}

static int64_t try_hints(struct scene *s)
{
	static const enum vmo_hint hints[] = { VMO_HINT_PREFETCH, VMO_HINT_DONT_NEED,
					       VMO_HINT_ALWAYS_NEED, VMO_HINT_NORMAL };
	int r = 0;

	for (unsigned i = 0; i < ARRAY_LEN(hints) && r >= 0; i++)
		r = vmo_hint(s->vmo, 0, 100 * PAGE, hints[i], NULL);
	return r;
}

static int64_t try_evict(struct scene *s)
{
	int64_t r = try_supply(s);

	if (r < 0)
		return r;
	vm_pool_age(s->pool);
	vmo_evict(s->vmo, 0, 100 * PAGE, true);
	vm_pool_evict(s->pool, 5);
	return 0;
}

static int64_t try_pin(struct scene *s)
{
	struct vmo_pin pin;
	int r = vmo_pin(s->vmo, &pin, 30 * PAGE, 5 * PAGE, true, NULL);

	if (r == 0)
		vmo_unpin(&pin);
	return r;
}

static int64_t try_dump(struct scene *s)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	assert_non_null(out);
	vmo_dump(s->vmo, out, 10);
	page_source_dump(vmo_page_source(s->vmo), out, 0, 10);
	vm_pool_dump(s->pool, out);
	fclose(out);
	free(text);
	return 0;
}

static int64_t try_detach(struct scene *s)
{
	return vmo_detach(s->vmo);
}

static void quiet_send(struct vmofs_provider *p UNUSED, struct vmofs_request *req UNUSED)
{
}

static void quiet_swap(struct vmofs_provider *p UNUSED, struct vmofs_request *old UNUSED,
		       struct vmofs_request *now UNUSED)
{
}

static const struct vmofs_provider_ops quiet_ops = {
	.name = "quiet",
	.supports = BIT(VMOFS_REQUEST_READ),
	.send = quiet_send,
	.clear = quiet_send,
	.swap = quiet_swap,
	.on_detach = answerer_nothing,
	.on_close = answerer_nothing,
};

static int64_t write_in_place(struct vmo *v, struct vmofs_provider *second)
{
	struct vmo_token *t;
	int64_t r = vmo_make_writable(v, NULL);

	if (r == 0)
		r = vmo_write_extend(v, 0, bytes, 2 * PAGE, true, NULL);
	if (r == 2 * (int64_t)PAGE)
		r = vmo_write_extend(v, 9 * PAGE + 5, bytes, 60 * PAGE, true, NULL);
	if (r == 60 * (int64_t)PAGE)
		r = vmo_writeback_begin(v, 0, 9 * PAGE, VMO_WRITEBACK_ALL, &t);
	if (r != 0)
		return r < 0 ? r : -ENOMEM;
	vmo_prefetch(v, 2 * PAGE, 6 * PAGE, 0);
	vmofs_supply(v, 2 * PAGE, bytes, PAGE);
	r = vmo_switch(v, NULL, 0);
	if (r == 0)
		r = vmo_switch(v, second, 8 * PAGE);
	vmo_check(v);
	vmo_writeback_end(t, (int)r);
	return r;
}

static int64_t try_write_in_place(struct scene *s)
{
	static struct vmofs_provider first = { &quiet_ops };
	static struct vmofs_provider second = { &quiet_ops };
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct vmo *v;
	int64_t r = vmo_new(&v, s->pool, &first, 8 * PAGE, 0, &err);

	if (r < 0)
		return r;
	r = write_in_place(v, &second);
	vmo_check(v);
	vmo_close(v);
	vmo_put(v);
	return r;
}

/* ---- the loop ---- */

static int fail_each(int64_t (*try)(struct scene *s), void (*prepare)(struct scene *s))
{
	bool fired = true;
	unsigned n;

	for (n = 1; fired; n++) {
		struct scene *s = scene_new();
		int64_t r;

		assert_true(n < ALLOCATIONS_MAX);
		if (prepare)
			prepare(s);
		fail_alloc_arm(n);
		r = try(s);
		fired = fail_alloc_disarm();
		if (r < 0 && !(fired && r == -ENOMEM))
			fail_msg("attempt %u gives %d", n, (int)r);
		vmo_check(s->vmo);
		assert_true(try(s) >= 0);
		vmo_check(s->vmo);
		scene_free(s);
	}
	return (int)n - 2;
}

#define CASE(name, prepare)                                                          \
	static void fail_in_##name(void **state UNUSED)                              \
	{                                                                            \
		print_message("  %d allocations\n", fail_each(try_##name, prepare)); \
	}

CASE(new, NULL)
CASE(async_read, NULL)
CASE(cancel, NULL)
CASE(read, NULL)
CASE(commit, NULL)
CASE(prefetch, NULL)
CASE(supply, NULL)
CASE(supply_zero, NULL)
CASE(write, NULL)
CASE(write_over_zeros, NULL)
CASE(zero, NULL)
CASE(resize, NULL)
CASE(clone, NULL)
CASE(clone_of_clone, NULL)
CASE(begin_end, make_dirty)
CASE(writeback, make_dirty)
CASE(query, make_dirty)
CASE(hints, NULL)
CASE(evict, NULL)
CASE(pin, NULL)
CASE(dump, make_dirty)
CASE(detach, make_dirty)
CASE(write_in_place, NULL)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fail_in_new),
		cmocka_unit_test(fail_in_async_read),
		cmocka_unit_test(fail_in_cancel),
		cmocka_unit_test(fail_in_read),
		cmocka_unit_test(fail_in_commit),
		cmocka_unit_test(fail_in_prefetch),
		cmocka_unit_test(fail_in_supply),
		cmocka_unit_test(fail_in_supply_zero),
		cmocka_unit_test(fail_in_write),
		cmocka_unit_test(fail_in_write_over_zeros),
		cmocka_unit_test(fail_in_zero),
		cmocka_unit_test(fail_in_resize),
		cmocka_unit_test(fail_in_clone),
		cmocka_unit_test(fail_in_clone_of_clone),
		cmocka_unit_test(fail_in_begin_end),
		cmocka_unit_test(fail_in_writeback),
		cmocka_unit_test(fail_in_query),
		cmocka_unit_test(fail_in_hints),
		cmocka_unit_test(fail_in_evict),
		cmocka_unit_test(fail_in_pin),
		cmocka_unit_test(fail_in_dump),
		cmocka_unit_test(fail_in_detach),
		cmocka_unit_test(fail_in_write_in_place),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
