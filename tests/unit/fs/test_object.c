/* SPDX-License-Identifier: Apache-2.0 */
/* A shown object: its texts, when it reads ahead, and that reading ahead may outlive it. */
#include <assert.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/macros.h"
#include "fs/object.h"
#include "lib/fake_provider.h"

struct bench {
	struct vm_pool *pool;
	struct fake_provider *fake;
	struct vmo *vmo;
	struct fs_object object;
};

static void bench_up(struct bench *b, uint64_t size)
{
	const struct fs_object_params p = { .readahead_max = MIB(1) };
	struct vmofs_object_info info = {
		.size = size,
		.url = "http://host/x",
		.validator = "\"1\"",
		.weak = true,
	};
	struct vmofs_err err = VMOFS_ERR_INIT;

	assert_int_equal(vm_pool_new(&b->pool, MIB(16), &err), 0);
	b->fake = fake_new(0, 7);
	assert_int_equal(vmo_new(&b->vmo, b->pool, fake_base(b->fake), size, 0, &err), 0);
	fake_attach(b->fake, b->vmo);
	assert_int_equal(fs_object_init(&b->object, &info, fake_base(b->fake), b->vmo, &p), 0);
}

static void bench_down(struct bench *b)
{
	fs_object_release(&b->object);
	vmo_close(b->vmo);
	vmo_put(b->vmo);
	fake_free(b->fake);
	vm_pool_free(b->pool);
}

static void test_what_it_says_of_itself(void **state)
{
	struct bench b;

	(void)state;
	bench_up(&b, 4096);
	assert_string_equal(fs_object_url(&b.object), "http://host/x");
	assert_string_equal(fs_object_validator(&b.object), "\"1\"");
	assert_null(fs_object_identity(&b.object));
	assert_int_equal(b.object.size, 4096);
	assert_true(b.object.weak);
	bench_down(&b);
}

static void test_its_identity_is_kept(void **state)
{
	const struct fs_object_params p = { .readahead_max = MIB(1) };
	struct vmofs_object_info info = {
		.size = 4096,
		.url = "http://host/x?key=***",
		.validator = "\"1\"",
		.has_identity = true,
	};
	struct fs_object o;
	struct bench b;

	(void)state;
	bench_up(&b, 4096);
	memset(info.identity, 7, sizeof info.identity);
	assert_int_equal(fs_object_init(&o, &info, fake_base(b.fake), b.vmo, &p), 0);
	assert_memory_equal(fs_object_identity(&o), info.identity, sizeof info.identity);
	assert_string_equal(fs_object_validator(&o), "\"1\"");
	fs_object_release(&o);
	bench_down(&b);
}

static void test_small_ones_do_not_read_ahead(void **state)
{
	struct bench b;

	(void)state;
	bench_up(&b, FS_OBJECT_SMALL);
	assert_null(fs_ahead_get(&b.object));
	fs_ahead_put(NULL);
	fs_object_served(&b.object, 0, 4096, 1000);
	bench_down(&b);
}

static void test_a_sequential_reader_is_read_ahead_of(void **state)
{
	struct fs_ahead *a;
	struct bench b;

	(void)state;
	bench_up(&b, MIB(4));
	a = fs_ahead_get(&b.object);
	for (unsigned i = 0; i < 3; i++)
		fs_ahead_read(a, i * KIB(128), KIB(128), true, 0);
	assert_in_range(fake_next(b.fake).page, 2 * 32, 3 * 32);
	fs_ahead_put(a);
	bench_down(&b);
}

/* As when a file is closed, and its object goes, right after the answer to its last read. */
static void test_reading_ahead_outlives_the_object(void **state)
{
	struct fs_ahead *a;
	struct bench b;

	(void)state;
	bench_up(&b, MIB(4));
	a = fs_ahead_get(&b.object);
	fs_ahead_read(a, 0, KIB(128), true, 0);
	fs_object_release(&b.object);
	vmo_close(b.vmo);
	for (unsigned i = 1; i < 5; i++)
		fs_ahead_read(a, i * KIB(128), KIB(128), true, 0);
	fake_expect_none(b.fake);
	fs_ahead_put(a);
	bench_down(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_it_says_of_itself),
		cmocka_unit_test(test_its_identity_is_kept),
		cmocka_unit_test(test_small_ones_do_not_read_ahead),
		cmocka_unit_test(test_a_sequential_reader_is_read_ahead_of),
		cmocka_unit_test(test_reading_ahead_outlives_the_object),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
