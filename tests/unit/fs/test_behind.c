/* SPDX-License-Identifier: Apache-2.0 */
/* What a sequential reader leaves behind, and what it does not. */
#include <assert.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/macros.h"
#include "fs/behind.h"
#include "store/store.h"

#define KEEP MIB(32)

/* Reads [from, to) in steps of a megabyte; returns the bytes let go, which must follow each other. */
static uint64_t read_all(struct behind *b, uint64_t from, uint64_t to, uint64_t *next)
{
	uint64_t n = 0;

	for (uint64_t off = from; off < to; off += MIB(1)) {
		struct behind_drop d = behind_read(b, off, MIB(1));

		if (!d.len)
			continue;
		if (*next != UINT64_MAX)
			assert_int_equal(d.off, *next);
		assert_int_equal(d.off % STORE_BLOCK, 0);
		assert_int_equal(d.len % STORE_BLOCK, 0);
		assert_true(d.off + d.len + KEEP <= off + MIB(1));
		*next = d.off + d.len;
		n += d.len;
	}
	return n;
}

static void test_a_long_stream(void **state)
{
	struct behind b;
	uint64_t next = 0;

	(void)state;
	behind_init(&b, KEEP);
	assert_int_equal(read_all(&b, 0, 2 * KEEP, &next), 0);
	assert_true(read_all(&b, 2 * KEEP, MIB(512), &next) >= MIB(512) - KEEP - MIB(8));
	behind_release(&b);
}

static void test_elsewhere_starts_over(void **state)
{
	struct behind b;
	uint64_t next = UINT64_MAX;

	(void)state;
	behind_init(&b, KEEP);
	for (uint64_t i = 0; i < 1000; i++)
		assert_int_equal(behind_read(&b, (i * 7919 % 1000) * MIB(40), 4096).len, 0);
	assert_int_equal(read_all(&b, GIB(90), GIB(90) + 2 * KEEP, &next), 0);
	assert_true(read_all(&b, GIB(90) + 2 * KEEP, GIB(90) + MIB(256), &next) > 0);
	behind_release(&b);
}

static void test_out_of_order_is_one_stream(void **state)
{
	struct behind b;
	uint64_t n = 0;

	(void)state;
	behind_init(&b, KEEP);
	for (uint64_t off = 0; off < MIB(256); off += MIB(4)) {
		n += behind_read(&b, off + MIB(2), MIB(2)).len;
		n += behind_read(&b, off, MIB(2)).len;
	}
	assert_true(n >= MIB(200));
	behind_release(&b);
}

static void test_nothing_is_dropped_when_all_is_kept(void **state)
{
	struct behind b;
	uint64_t next = 0;

	(void)state;
	behind_init(&b, 0);
	assert_int_equal(read_all(&b, 0, MIB(512), &next), 0);
	behind_release(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_long_stream),
		cmocka_unit_test(test_elsewhere_starts_over),
		cmocka_unit_test(test_out_of_order_is_one_stream),
		cmocka_unit_test(test_nothing_is_dropped_when_all_is_kept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
