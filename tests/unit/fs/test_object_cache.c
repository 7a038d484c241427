/* SPDX-License-Identifier: Apache-2.0 */
/* The cache of objects: one object a number, what is kept idle, what goes, and what it costs. */
#include <assert.h>
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/macros.h"
#include "fs/object_cache.h"
#include "lib/prng.h"
#include "vm/page_source.h"

/* ---- a source whose objects are zero bytes, answered when the test says so ---- */

struct null_provider {
	struct vmofs_provider base;
	struct null_source *source;
	struct vmofs_list owned; /* under the page source's lock, and the tests' order */
};

struct null_source {
	struct vmofs_source base;
	_Atomic int n_alive;
	_Atomic int n_made;
	int fail; /* what object() returns */
};

static void null_send(struct vmofs_provider *p, struct vmofs_request *req)
{
	struct null_provider *n = container_of(p, struct null_provider, base);

	vmofs_list_add_tail(&n->owned, &req->link);
}

static void null_clear(struct vmofs_provider *p, struct vmofs_request *req)
{
	(void)p;
	vmofs_list_del(&req->link);
}

static void null_swap(struct vmofs_provider *p, struct vmofs_request *old,
		      struct vmofs_request *now)
{
	(void)p;
	if (old != now)
		vmofs_list_replace(&old->link, &now->link);
}

static void null_nothing(struct vmofs_provider *p)
{
	(void)p;
}

static uint64_t null_koid(struct vmofs_provider *p)
{
	(void)p;
	return 0;
}

static void null_free(struct vmofs_provider *p)
{
	struct null_provider *n = container_of(p, struct null_provider, base);

	assert_true(vmofs_list_empty(&n->owned));
	n->source->n_alive--;
	free(n);
}

static const struct vmofs_provider_ops null_ops = {
	.name = "null",
	.supports = VMOFS_TYPE_BIT(VMOFS_REQUEST_READ),
	.send = null_send,
	.clear = null_clear,
	.swap = null_swap,
	.on_detach = null_nothing,
	.on_close = null_nothing,
	.koid = null_koid,
	.free = null_free,
};

static int null_object(struct vmofs_source *s, const struct vmofs_entry *e,
		       struct vmofs_provider **out, struct vmofs_object_info *info,
		       struct vmofs_err *err)
{
	struct null_source *src = container_of(s, struct null_source, base);
	struct null_provider *n;

	if (src->fail)
		return vmofs_err_set(err, src->fail, "told to fail");
	n = calloc(1, sizeof *n);
	n->base.ops = &null_ops;
	n->source = src;
	vmofs_list_init(&n->owned);
	src->n_alive++;
	src->n_made++;
	*info = (struct vmofs_object_info){ .size = e->size, .mtime = e->mtime };
	snprintf(info->name, sizeof info->name, "%s", e->key);
	snprintf(info->url, sizeof info->url, "null:%s", e->key);
	snprintf(info->validator, sizeof info->validator, "\"%s\"", e->key);
	*out = &n->base;
	return 0;
}

static const struct vmofs_source_ops source_ops = { .object = null_object };

/* ---- the pieces of every test ---- */

struct bench {
	struct vm_pool *pool;
	struct object_cache *cache;
	struct null_source source;
};

static void bench_up(struct bench *b, unsigned idle_max)
{
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct object_cache_params p = { .readahead_max = MIB(1), .idle_max = idle_max };

	*b = (struct bench){ .source.base.ops = &source_ops };
	assert_int_equal(vm_pool_new(&b->pool, MIB(256), &err), 0);
	p.pool = b->pool;
	p.source = &b->source.base;
	assert_int_equal(object_cache_new(&b->cache, &p, &err), 0);
}

static void bench_down(struct bench *b)
{
	object_cache_close(b->cache);
	object_cache_free(b->cache);
	assert_int_equal(b->source.n_alive, 0);
	vm_pool_free(b->pool);
}

static int try_open(struct bench *b, uint64_t ino, uint64_t size, struct fs_object **out)
{
	char key[32];
	struct vmofs_entry e = { .key = key, .size = size };

	snprintf(key, sizeof key, "dir/%llu", (unsigned long long)ino);
	e.key_len = strlen(key);
	return object_cache_open(b->cache, ino, &e, out);
}

static struct fs_object *open_object(struct bench *b, uint64_t ino)
{
	struct fs_object *o = NULL;

	assert_int_equal(try_open(b, ino, 4096, &o), 0);
	return o;
}

static void supply(struct fs_object *o)
{
	static const char page[4096];

	assert_int_equal(vmofs_supply(o->vmo, 0, page, sizeof page), sizeof page);
}

static void open_fill_put(struct bench *b, uint64_t ino)
{
	struct fs_object *o = open_object(b, ino);

	supply(o);
	object_cache_put(b->cache, o);
}

static struct object_cache_stats stats_of(struct bench *b)
{
	struct object_cache_stats st;

	object_cache_stats(b->cache, &st);
	return st;
}

static bool is_there(struct bench *b, uint64_t ino)
{
	struct fs_object *o = object_cache_find(b->cache, ino);

	object_cache_put(b->cache, o);
	return o != NULL;
}

/* ---- the tests ---- */

static void test_one_object_a_number(void **state)
{
	struct fs_object *a, *c, *d;
	struct bench b;

	(void)state;
	bench_up(&b, 10);
	a = open_object(&b, 7);
	c = open_object(&b, 7);
	d = open_object(&b, 8);
	assert_ptr_equal(a, c);
	assert_ptr_not_equal(a, d);
	assert_int_equal(a->ino, 7);
	assert_int_equal(a->size, 4096);
	assert_string_equal(fs_object_url(a), "null:dir/7");
	assert_string_equal(fs_object_validator(a), "\"dir/7\"");
	assert_int_equal(b.source.n_made, 2);
	assert_null(object_cache_find(b.cache, 9));
	assert_int_equal(stats_of(&b).open, 2);
	object_cache_put(b.cache, a);
	object_cache_put(b.cache, c);
	object_cache_put(b.cache, d);
	object_cache_put(b.cache, NULL);
	bench_down(&b);
}

static void test_pages_outlive_the_last_close(void **state)
{
	struct fs_object *o;
	struct bench b;

	(void)state;
	bench_up(&b, 10);
	open_fill_put(&b, 1);
	assert_int_equal(stats_of(&b).open, 0);
	assert_int_equal(stats_of(&b).idle, 1);
	o = open_object(&b, 1);
	assert_int_equal(vmo_n_resident(o->vmo), 1);
	assert_int_equal(stats_of(&b).idle, 0);
	assert_int_equal(stats_of(&b).reused, 1);
	assert_int_equal(b.source.n_made, 1);
	object_cache_put(b.cache, o);
	bench_down(&b);
}

static void test_the_oldest_idle_goes_first(void **state)
{
	struct bench b;

	(void)state;
	bench_up(&b, 3);
	for (uint64_t ino = 1; ino <= 3; ino++)
		open_fill_put(&b, ino);
	assert_true(is_there(&b, 1)); /* used again: now 2 is the oldest */
	open_fill_put(&b, 4);
	assert_false(is_there(&b, 2));
	assert_int_equal(stats_of(&b).idle, 3);
	assert_int_equal(b.source.n_alive, 3);
	for (uint64_t ino = 100; ino < 110; ino++)
		open_fill_put(&b, ino);
	assert_int_equal(b.source.n_alive, 3);
	bench_down(&b);
}

static void test_objects_without_pages_are_not_kept(void **state)
{
	struct fs_object *o;
	struct bench b;

	(void)state;
	bench_up(&b, 100);
	object_cache_put(b.cache, open_object(&b, 1));
	assert_int_equal(b.source.n_alive, 0);
	/* But one that waits for an answer is. */
	o = open_object(&b, 2);
	assert_int_equal(vmo_prefetch(o->vmo, 0, 4096, 0), 4096);
	object_cache_put(b.cache, o);
	assert_int_equal(b.source.n_alive, 1);
	assert_true(is_there(&b, 2));
	open_fill_put(&b, 3);
	o = open_object(&b, 2);
	supply(o);
	assert_int_equal(vmo_evict(o->vmo, 0, 4096, true), 1);
	object_cache_put(b.cache, o);
	assert_true(is_there(&b, 2)); /* behind number 3, which is looked at first */
	bench_down(&b);
}

static void test_a_trim_takes_what_has_lost_its_pages(void **state)
{
	struct fs_object *o[4];
	struct bench b;

	(void)state;
	bench_up(&b, 100);
	for (unsigned i = 0; i < 4; i++) {
		o[i] = open_object(&b, 1 + i);
		supply(o[i]);
	}
	for (unsigned i = 0; i < 3; i++)
		object_cache_put(b.cache, o[i]);
	object_cache_trim(b.cache);
	assert_int_equal(b.source.n_alive, 4);
	/* One of those in the middle, and one that is open. */
	assert_int_equal(vmo_evict(o[1]->vmo, 0, 4096, true), 1);
	assert_int_equal(vmo_evict(o[3]->vmo, 0, 4096, true), 1);
	object_cache_trim(b.cache);
	assert_int_equal(b.source.n_alive, 3);
	assert_false(is_there(&b, 2));
	assert_int_equal(stats_of(&b).idle, 2);
	object_cache_put(b.cache, o[3]);
	bench_down(&b);
}

static void test_forgotten(void **state)
{
	struct fs_object *o;
	struct bench b;

	(void)state;
	bench_up(&b, 10);
	open_fill_put(&b, 1);
	object_cache_forget(b.cache, 1);
	assert_int_equal(b.source.n_alive, 0);
	object_cache_forget(b.cache, 1);

	o = open_object(&b, 2);
	supply(o);
	object_cache_forget(b.cache, 2);
	assert_int_equal(b.source.n_alive, 1);
	assert_ptr_equal(open_object(&b, 2), o);
	object_cache_put(b.cache, o);
	assert_int_equal(b.source.n_alive, 1);
	object_cache_put(b.cache, o);
	assert_int_equal(b.source.n_alive, 0);
	assert_null(object_cache_find(b.cache, 2));
	bench_down(&b);
}

static void test_what_cannot_be_made(void **state)
{
	struct fs_object *o;
	struct bench b;

	(void)state;
	bench_up(&b, 10);
	b.source.fail = -EACCES;
	assert_int_equal(try_open(&b, 1, 4096, &o), -EACCES);
	b.source.fail = 0;
	assert_int_equal(try_open(&b, 1, UINT64_C(1) << 63, &o), -ERANGE);
	assert_int_equal(b.source.n_alive, 0);
	assert_int_equal(stats_of(&b).opened, 0);
	bench_down(&b);
}

struct parked {
	struct vmo_read read;
	int status;
};

static void parked_done(struct vmo_read *r, int status)
{
	container_of(r, struct parked, read)->status = status;
}

static void test_close_ends_reads_and_free_takes_what_was_never_put(void **state)
{
	struct parked p = { .read = { .len = 4096, .done = parked_done }, .status = 1 };
	struct fs_object *o, *found;
	struct bench b;

	(void)state;
	bench_up(&b, 10);
	o = open_object(&b, 1);
	assert_int_equal(vmo_read_start(o->vmo, &p.read), -EINPROGRESS);
	object_cache_close(b.cache);
	assert_int_equal(p.status, -ESHUTDOWN);
	assert_int_equal(try_open(&b, 1, 4096, &found), -ESHUTDOWN);
	assert_int_equal(try_open(&b, 2, 4096, &found), -ESHUTDOWN);
	assert_int_equal(b.source.n_alive, 1);
	bench_down(&b);
}

struct tour {
	struct bench *b;
	uint64_t sum;
	bool forget;
};

static void tour_visit(void *arg, struct fs_object *o)
{
	struct tour *t = arg;

	t->sum += o->ino;
	if (t->forget)
		object_cache_forget(t->b->cache, o->ino);
	assert_int_equal(vmo_size(o->vmo), 4096);
}

static void test_a_tour_sees_all_and_changes_no_order(void **state)
{
	struct bench b;
	struct tour t = { .b = &b };

	(void)state;
	bench_up(&b, 4);
	for (uint64_t ino = 1; ino <= 4; ino++)
		open_fill_put(&b, ino);
	object_cache_each(b.cache, tour_visit, &t);
	assert_int_equal(t.sum, 10);
	open_fill_put(&b, 5);
	assert_false(is_there(&b, 1));
	t = (struct tour){ .b = &b, .forget = true };
	object_cache_each(b.cache, tour_visit, &t);
	assert_int_equal(t.sum, 2 + 3 + 4 + 5);
	assert_int_equal(b.source.n_alive, 0);
	bench_down(&b);
}

/* ---- many at once ---- */

enum { INOS = 40, ROUNDS = 4000 };

struct churn {
	struct bench *b;
	uint64_t seed;
};

static void touch(void *arg, struct fs_object *o)
{
	*(uint64_t *)arg += vmo_n_resident(o->vmo);
}

static void *churn(void *arg)
{
	struct churn *c = arg;
	struct prng r = { c->seed };
	uint64_t sum = 0;

	for (unsigned i = 0; i < ROUNDS; i++) {
		uint64_t ino = 1 + prng_next(&r) % INOS;
		struct fs_object *o = open_object(c->b, ino);
		static const char page[4096];

		assert_int_equal(o->ino, ino);
		(void)vmofs_supply(o->vmo, 0, page, sizeof page);
		if (prng_next(&r) % 16 == 0)
			object_cache_forget(c->b->cache, ino);
		object_cache_put(c->b->cache, o);
		if (prng_next(&r) % 64 == 0)
			object_cache_each(c->b->cache, touch, &sum);
	}
	return NULL;
}

static void test_threads(void **state)
{
	pthread_t thread[4];
	struct churn c[4];
	struct bench b;

	(void)state;
	bench_up(&b, INOS / 4);
	for (unsigned i = 0; i < ARRAY_LEN(thread); i++) {
		c[i] = (struct churn){ &b, 1000 + i };
		assert_int_equal(pthread_create(&thread[i], NULL, churn, &c[i]), 0);
	}
	for (unsigned i = 0; i < ARRAY_LEN(thread); i++)
		pthread_join(thread[i], NULL);
	assert_int_equal(stats_of(&b).open, 0);
	assert_int_equal(stats_of(&b).idle, b.source.n_alive);
	assert_in_range(stats_of(&b).idle, 0, INOS / 4);
	bench_down(&b);
}

/* ---- what it costs ---- */

enum { MANY = 20000, COST_MAX = 1500 };

static unsigned n_mappings(void)
{
	FILE *f = fopen("/proc/self/maps", "re");
	unsigned n = 0;
	int ch;

	assert_non_null(f);
	while ((ch = getc(f)) != EOF)
		n += ch == '\n';
	fclose(f);
	return n;
}

static void test_an_idle_object_is_cheap(void **state)
{
	unsigned maps = n_mappings();
	struct bench b;
	size_t before;

	(void)state;
	bench_up(&b, MANY);
	before = mallinfo2().uordblks;
	for (uint64_t ino = 1; ino <= MANY; ino++)
		open_fill_put(&b, ino);
	assert_int_equal(stats_of(&b).idle, MANY);
#ifndef VMOFS_SANITIZED /* they have mappings and a malloc of their own */
	assert_in_range(n_mappings(), 0, maps + 64);
	/* Beside its page and its provider. */
	assert_in_range((mallinfo2().uordblks - before) / MANY, 1,
			COST_MAX + sizeof(struct null_provider));
#endif
	(void)before;
	(void)maps;
	bench_down(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_object_a_number),
		cmocka_unit_test(test_pages_outlive_the_last_close),
		cmocka_unit_test(test_the_oldest_idle_goes_first),
		cmocka_unit_test(test_objects_without_pages_are_not_kept),
		cmocka_unit_test(test_a_trim_takes_what_has_lost_its_pages),
		cmocka_unit_test(test_forgotten),
		cmocka_unit_test(test_what_cannot_be_made),
		cmocka_unit_test(test_close_ends_reads_and_free_takes_what_was_never_put),
		cmocka_unit_test(test_a_tour_sees_all_and_changes_no_order),
		cmocka_unit_test(test_threads),
		cmocka_unit_test(test_an_idle_object_is_cheap),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
