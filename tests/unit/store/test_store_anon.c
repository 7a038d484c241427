/* SPDX-License-Identifier: Apache-2.0 */
/* The store in anonymous memory: what it keeps, where it puts it, what it gives back. */
#include <assert.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "base/macros.h"
#include "store/store.h"

enum { BLOCKS = 20 };

static struct store *new_store(struct store_heat *heat)
{
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct store *st;

	assert_int_equal(store_anon_new(&st, BLOCKS * STORE_BLOCK, heat, &err), 0);
	return st;
}

/* Pages with memory in the block. */
static unsigned n_pages(struct store *st, uint64_t block)
{
	unsigned char in[STORE_BLOCK / 4096];
	unsigned n = 0;

	assert_int_equal(mincore(store_addr(st, block * STORE_BLOCK, STORE_BLOCK), STORE_BLOCK, in),
			 0);
	for (unsigned i = 0; i < ARRAY_LEN(in); i++)
		n += in[i] & 1;
	return n;
}

static void write_block(struct store *st, uint64_t block, int byte)
{
	static char buf[STORE_BLOCK];

	memset(buf, byte, sizeof buf);
	store_write(st, block * STORE_BLOCK, buf, sizeof buf);
}

static bool block_is(struct store *st, uint64_t block, char byte)
{
	const char *p = store_addr(st, block * STORE_BLOCK, STORE_BLOCK);

	for (uint64_t i = 0; i < STORE_BLOCK; i++)
		if (p[i] != byte)
			return false;
	return true;
}

static void test_memory_is_used_again(void **state)
{
	struct store_heat heat = { .limit = 2 * STORE_BLOCK };
	struct store *st = new_store(&heat);

	(void)state;
	st->ops->dense(st, 3 * STORE_BLOCK);
	assert_true(st->ops->is_dense(st, 3 * STORE_BLOCK));
	assert_int_equal(n_pages(st, 3), 512);
	write_block(st, 3, 'a');
	store_punch(st, 3 * STORE_BLOCK, STORE_BLOCK);
	assert_int_equal(heat.used, STORE_BLOCK);
	st->ops->dense(st, 7 * STORE_BLOCK);
	assert_int_equal(heat.used, 0);
	assert_int_equal(n_pages(st, 7), 512);
	assert_int_equal(n_pages(st, 3), 0);
	assert_true(block_is(st, 7, 'a'));
	write_block(st, 7, 'b');
	assert_true(block_is(st, 7, 'b'));
	/* Where the memory went away, everything is as new. */
	assert_true(block_is(st, 3, 0));
	store_free(st);
	assert_int_equal(heat.used, 0);
}

static void test_the_same_block_again(void **state)
{
	struct store_heat heat = { .limit = 2 * STORE_BLOCK };
	struct store *st = new_store(&heat);

	(void)state;
	st->ops->dense(st, 0);
	write_block(st, 0, 'x');
	store_punch(st, 0, STORE_BLOCK);
	assert_false(st->ops->is_dense(st, 0));
	st->ops->dense(st, 0);
	assert_int_equal(heat.used, 0);
	assert_true(block_is(st, 0, 'x'));
	store_free(st);
}

static void test_heat_is_bounded(void **state)
{
	struct store_heat heat = { .limit = 2 * STORE_BLOCK };
	struct store *st = new_store(&heat);

	(void)state;
	for (uint64_t b = 0; b < 5; b++) {
		st->ops->dense(st, b * STORE_BLOCK);
		write_block(st, b, 'h');
	}
	store_punch(st, 0, 5 * STORE_BLOCK);
	assert_int_equal(heat.used, 2 * STORE_BLOCK);
	assert_int_equal(n_pages(st, 0) + n_pages(st, 1) + n_pages(st, 2) + n_pages(st, 3) +
				 n_pages(st, 4),
			 1024);
	store_free(st);
	assert_int_equal(heat.used, 0);
}

static void test_a_small_write_cools(void **state)
{
	struct store_heat heat = { .limit = 2 * STORE_BLOCK };
	struct store *st = new_store(&heat);
	char page[4096] = { 'p' };

	(void)state;
	st->ops->dense(st, 0);
	write_block(st, 0, 'x');
	store_punch(st, 0, STORE_BLOCK);
	store_write(st, 8192, page, sizeof page);
	assert_int_equal(heat.used, 0);
	assert_int_equal(n_pages(st, 0), 1);
	store_free(st);
}

static void test_punch_in_pieces(void **state)
{
	struct store_heat heat = { .limit = 2 * STORE_BLOCK };
	struct store *st = new_store(&heat);

	(void)state;
	st->ops->dense(st, 0);
	st->ops->dense(st, STORE_BLOCK);
	write_block(st, 0, 'x');
	write_block(st, 1, 'y');
	/* Half of the first, all of the second, and a part of what has nothing. */
	store_punch(st, STORE_BLOCK / 2, STORE_BLOCK * 3 / 2 + 4096);
	assert_int_equal(n_pages(st, 0), 256);
	assert_int_equal(heat.used, STORE_BLOCK);
	assert_true(st->ops->is_dense(st, 0));
	store_punch(st, 0, STORE_BLOCK / 2);
	assert_int_equal(n_pages(st, 0), 0);
	store_free(st);
}

static void test_a_long_stream_in_little_memory(void **state)
{
	struct store_heat heat = { .limit = 4 * STORE_BLOCK };
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct store *st;

	(void)state;
	assert_int_equal(store_anon_new(&st, 4096 * STORE_BLOCK, &heat, &err), 0);
	for (uint64_t b = 0; b < 4096; b++) {
		st->ops->dense(st, b * STORE_BLOCK);
		memset(store_addr(st, b * STORE_BLOCK, 1), (int)b, 1);
		if (b >= 2) {
			assert_int_equal(*(char *)store_addr(st, (b - 2) * STORE_BLOCK, 1),
					 (char)(b - 2));
			store_punch(st, (b - 2) * STORE_BLOCK, STORE_BLOCK);
		}
	}
	assert_true(heat.used <= heat.limit);
	store_free(st);
	assert_int_equal(heat.used, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_memory_is_used_again),
		cmocka_unit_test(test_the_same_block_again),
		cmocka_unit_test(test_heat_is_bounded),
		cmocka_unit_test(test_a_small_write_cools),
		cmocka_unit_test(test_punch_in_pieces),
		cmocka_unit_test(test_a_long_stream_in_little_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
