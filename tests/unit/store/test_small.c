/* SPDX-License-Identifier: Apache-2.0 */
/* The store of small objects: what they share, what is used again, what is given back and counted. */
#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "base/macros.h"
#include "store/small.h"

enum { PAGE = 4096, MANY = 40000 };

static struct store *new_store(struct small_arena *a, uint64_t pages)
{
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct store *st;

	assert_int_equal(store_small_new(&st, pages * PAGE, a, &err), 0);
	return st;
}

static void write_page(struct store *st, uint64_t page, int byte)
{
	char buf[PAGE];

	memset(buf, byte, sizeof buf);
	store_write(st, page * PAGE, buf, sizeof buf);
}

static bool page_is(struct store *st, uint64_t page, char byte)
{
	const char *p = store_addr(st, page * PAGE, PAGE);

	for (unsigned i = 0; i < PAGE; i++)
		if (p[i] != byte)
			return false;
	return true;
}

static unsigned n_in_memory(struct store *st)
{
	unsigned char in[STORE_SMALL_MAX / PAGE];
	unsigned n = 0;

	assert_int_equal(mincore(store_addr(st, 0, st->size), st->size, in), 0);
	for (unsigned i = 0; i < st->size / PAGE; i++)
		n += in[i] & 1;
	return n;
}

static void test_memory_comes_with_the_first_write(void **state)
{
	struct store_heat heat = { .limit = 0 };
	struct small_arena *a = small_arena_new(&heat);
	struct store *st = new_store(a, 32);

	(void)state;
	assert_int_equal(n_in_memory(st), 0);
	write_page(st, 31, 'x');
	write_page(st, 3, 'y');
	assert_int_equal(n_in_memory(st), 2);
	assert_true(page_is(st, 31, 'x'));
	assert_true(page_is(st, 3, 'y'));
	assert_int_equal(store_punch(st, 3 * PAGE, PAGE), 0);
	assert_int_equal(n_in_memory(st), 1);
	assert_true(page_is(st, 31, 'x'));
	assert_int_equal(store_resize(st, st->size), 0);
	assert_int_equal(store_resize(st, PAGE), -EOPNOTSUPP);
	store_free(st);
	small_arena_free(a);
}

static void test_many_objects_share_few_mappings(void **state)
{
	struct store_heat heat = { .limit = 0 };
	struct small_arena *a = small_arena_new(&heat);
	struct store **all = calloc(MANY, sizeof *all);

	(void)state;
	for (unsigned i = 0; i < MANY; i++) {
		all[i] = new_store(a, 1 + i % 4);
		write_page(all[i], i % 4, (int)(i % 251));
	}
	assert_in_range(small_arena_n_maps(a), 1, 8);
	for (unsigned i = 0; i < MANY; i++)
		assert_true(page_is(all[i], i % 4, (char)(i % 251)));
	for (unsigned i = 0; i < MANY; i++)
		store_free(all[i]);
	free(all);
	assert_int_equal(heat.used, 0);
	small_arena_free(a);
}

/* Every page that has memory is an object's or counted as heat. */
static void test_hot_memory_is_used_again_and_counted(void **state)
{
	struct store_heat heat = { .limit = 3 * PAGE };
	struct small_arena *a = small_arena_new(&heat);
	struct store *st = new_store(a, 2);
	void *where = store_addr(st, 0, PAGE);
	struct store *other;

	(void)state;
	write_page(st, 0, 'a');
	write_page(st, 1, 'b');
	store_free(st);
	assert_int_equal(heat.used, 2 * PAGE);
	other = new_store(a, 1);
	assert_ptr_not_equal(store_addr(other, 0, PAGE), where);
	st = new_store(a, 2);
	assert_ptr_equal(store_addr(st, 0, PAGE), where);
	assert_int_equal(n_in_memory(st), 2);
	assert_int_equal(heat.used, 2 * PAGE);
	write_page(st, 1, 'c');
	assert_int_equal(heat.used, PAGE);
	store_punch(st, 0, 2 * PAGE);
	assert_int_equal(heat.used, 0);
	assert_int_equal(n_in_memory(st), 0);
	store_free(st);
	store_free(other);
	small_arena_free(a);
	assert_int_equal(heat.used, 0);
}

static void test_heat_is_bounded_and_cools(void **state)
{
	struct store_heat heat = { .limit = 5 * PAGE };
	struct small_arena *a = small_arena_new(&heat);
	struct store *st[10];

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(st); i++) {
		st[i] = new_store(a, 2);
		write_page(st[i], 0, 'a');
		write_page(st[i], 1, 'a');
	}
	for (unsigned i = 0; i < ARRAY_LEN(st); i++)
		store_free(st[i]);
	assert_int_equal(heat.used, 4 * PAGE);
	small_arena_cool(a);
	assert_int_equal(heat.used, 0);
	for (unsigned i = 0; i < ARRAY_LEN(st); i++) {
		st[i] = new_store(a, 2);
		assert_int_equal(n_in_memory(st[i]), 0);
	}
	for (unsigned i = 0; i < ARRAY_LEN(st); i++)
		store_free(st[i]);
	small_arena_free(a);
}

/* Part of a run has memory: it goes, or an object of one page would keep that of many. */
static void test_what_was_not_whole_is_not_kept(void **state)
{
	struct store_heat heat = { .limit = 100 * PAGE };
	struct small_arena *a = small_arena_new(&heat);
	struct store *st = new_store(a, 8);

	(void)state;
	write_page(st, 5, 'a');
	store_free(st);
	assert_int_equal(heat.used, 0);
	st = new_store(a, 8);
	assert_int_equal(n_in_memory(st), 0);
	store_free(st);
	small_arena_free(a);
}

static void test_an_empty_object(void **state)
{
	struct store_heat heat = { .limit = 0 };
	struct small_arena *a = small_arena_new(&heat);
	struct store *st = new_store(a, 0);

	(void)state;
	assert_int_equal(small_arena_n_maps(a), 0);
	store_free(st);
	small_arena_free(a);
}

static void *churn(void *arg)
{
	struct small_arena *a = arg;

	for (unsigned i = 0; i < 20000; i++) {
		struct store *st = new_store(a, 1 + i % 32);

		write_page(st, i % (1 + i % 32), 'x');
		store_free(st);
	}
	return NULL;
}

static void test_threads(void **state)
{
	struct store_heat heat = { .limit = 50 * PAGE };
	struct small_arena *a = small_arena_new(&heat);
	pthread_t thread[4];

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(thread); i++)
		assert_int_equal(pthread_create(&thread[i], NULL, churn, a), 0);
	for (unsigned i = 0; i < ARRAY_LEN(thread); i++)
		pthread_join(thread[i], NULL);
	assert_in_range(heat.used, 0, heat.limit);
	small_arena_free(a);
	assert_int_equal(heat.used, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_memory_comes_with_the_first_write),
		cmocka_unit_test(test_many_objects_share_few_mappings),
		cmocka_unit_test(test_hot_memory_is_used_again_and_counted),
		cmocka_unit_test(test_heat_is_bounded_and_cools),
		cmocka_unit_test(test_what_was_not_whole_is_not_kept),
		cmocka_unit_test(test_an_empty_object),
		cmocka_unit_test(test_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
