/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The memfd store: addresses that stay valid while it grows, holes that read as zero and cost
 * nothing, and a size of 1 TiB. Memory is measured as the pages of its mapping that are in core.
 */
#include "store/store.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "base/macros.h"
#include "lib/prng.h"
#include "vmofs/provider.h"

#define PAGE VMOFS_PAGE_SIZE

static struct store *store_of(uint64_t size)
{
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct store *st = NULL;

	assert_int_equal(store_memfd_new(&st, size, &err), 0);
	assert_int_equal(st->size, size);
	return st;
}

static void fill(unsigned char *buf, uint64_t len, uint64_t seed)
{
	struct prng r = { seed };

	for (uint64_t i = 0; i < len; i++)
		buf[i] = (unsigned char)prng_next(&r);
}

static bool all_zero(const unsigned char *p, uint64_t len)
{
	return len == 0 || (p[0] == 0 && memcmp(p, p + 1, len - 1) == 0);
}

/* Pages of [off, off+len) that take memory. */
static uint64_t in_core(struct store *st, uint64_t off, uint64_t len)
{
	unsigned char *vec = malloc(len / PAGE);
	uint64_t n = 0;

	assert_non_null(vec);
	assert_int_equal(mincore(store_addr(st, off, len), len, vec), 0);
	for (uint64_t i = 0; i < len / PAGE; i++)
		n += vec[i] & 1;
	free(vec);
	return n;
}

static void what_is_written_is_read(void **state UNUSED)
{
	static unsigned char buf[8 * PAGE];
	struct store *st = store_of(16 * PAGE);

	fill(buf, sizeof buf, 1);
	store_write(st, 3 * PAGE, buf, sizeof buf);
	assert_memory_equal(store_addr(st, 3 * PAGE, sizeof buf), buf, sizeof buf);
	store_write(st, 3 * PAGE + 100, "hello", 5);
	assert_memory_equal((char *)store_addr(st, 3 * PAGE, PAGE) + 100, "hello", 5);
	assert_memory_equal((char *)store_addr(st, 3 * PAGE, PAGE) + 105, buf + 105, PAGE - 105);
	store_free(st);
}

/* Long writes may take another way than short ones. */
static void writes_of_every_length(void **state UNUSED)
{
	static const uint64_t lens[] = { 1, 4095, 4096, 4097, 65536, MIB(1), MIB(2) + 17, MIB(5) };
	struct store *st = store_of(MIB(8));
	unsigned char *buf = malloc(MIB(8));

	assert_non_null(buf);
	for (unsigned i = 0; i < ARRAY_LEN(lens); i++) {
		fill(buf, lens[i], i);
		store_write(st, PAGE, buf, lens[i]);
		assert_memory_equal(store_addr(st, PAGE, lens[i]), buf, lens[i]);
	}
	free(buf);
	store_free(st);
}

static void addresses_survive_growth(void **state UNUSED)
{
	struct store *st = store_of(4 * PAGE);
	unsigned char *p = store_addr(st, PAGE, PAGE);
	unsigned char *q;

	store_write(st, PAGE, "first", 6);
	for (uint64_t size = 8 * PAGE; size <= GIB(64); size *= 4) {
		assert_int_equal(store_resize(st, size), 0);
		assert_int_equal(st->size, size);
		assert_string_equal((char *)p, "first");
		store_write(st, size - PAGE, "last", 5);
		q = store_addr(st, size - PAGE, PAGE);
		assert_string_equal((char *)q, "last");
		store_write(st, PAGE + 10, "same memory", 12);
		assert_string_equal((char *)p + 10, "same memory");
	}
	store_free(st);
}

static void punched_pages_are_zero_and_free(void **state UNUSED)
{
	enum { N = 256 };
	static unsigned char buf[N * PAGE];
	struct store *st = store_of(sizeof buf);

	fill(buf, sizeof buf, 2);
	store_write(st, 0, buf, sizeof buf);
	assert_int_equal(in_core(st, 0, sizeof buf), N);
	assert_int_equal(store_punch(st, 10 * PAGE, 100 * PAGE), 0);
	assert_int_equal(in_core(st, 0, sizeof buf), N - 100);
	assert_memory_equal(store_addr(st, 0, 10 * PAGE), buf, 10 * PAGE);
	assert_memory_equal(store_addr(st, 110 * PAGE, PAGE), buf + 110 * PAGE, PAGE);
	assert_true(all_zero(store_addr(st, 10 * PAGE, 100 * PAGE), 100 * PAGE));
	store_free(st);
}

static void shrinking_gives_memory_back(void **state UNUSED)
{
	static unsigned char buf[64 * PAGE];
	struct store *st = store_of(sizeof buf);

	fill(buf, sizeof buf, 3);
	store_write(st, 0, buf, sizeof buf);
	assert_int_equal(store_resize(st, 16 * PAGE), 0);
	assert_int_equal(store_resize(st, 64 * PAGE), 0);
	assert_int_equal(in_core(st, 0, 64 * PAGE), 16);
	assert_memory_equal(store_addr(st, 0, 16 * PAGE), buf, 16 * PAGE);
	assert_true(all_zero(store_addr(st, 16 * PAGE, 48 * PAGE), 48 * PAGE));
	store_free(st);
}

static void an_empty_store_grows(void **state UNUSED)
{
	struct store *st = store_of(0);

	assert_int_equal(store_resize(st, PAGE), 0);
	store_write(st, 0, "x", 2);
	assert_string_equal((char *)store_addr(st, 0, PAGE), "x");
	assert_int_equal(store_resize(st, 0), 0);
	store_free(st);
	store_free(NULL);
}

/* A sanitizer's shadow leaves less room for addresses. */
#ifdef VMOFS_SANITIZED
#define FAR GIB(2)
#else
#define FAR GIB(8)
#endif
#define N_FAR UINT64_C(128)

/* 1 TiB with a page in every 8 GiB: it costs what was written. */
static void sparse_terabyte(void **state UNUSED)
{
	struct store *st = store_of(N_FAR * FAR);
	char want[32];

	for (uint64_t i = 0; i < N_FAR; i++) {
		snprintf(want, sizeof want, "page %u", (unsigned)i);
		store_write(st, i * FAR + i * PAGE, want, sizeof want);
	}
	for (uint64_t i = 0; i < N_FAR; i++) {
		uint64_t off = i * FAR + i * PAGE;

		snprintf(want, sizeof want, "page %u", (unsigned)i);
		assert_string_equal((char *)store_addr(st, off, PAGE), want);
		assert_int_equal(in_core(st, off & ~(MIB(1) - 1), MIB(1)), 1);
	}
	assert_int_equal(store_punch(st, 0, N_FAR * FAR), 0);
	assert_int_equal(in_core(st, 0, MIB(64)), 0);
	store_free(st);
}

static void random_writes_and_holes(void **state UNUSED)
{
	enum { N = 64, STEPS = 3000 };
	static unsigned char model[N * PAGE], buf[N * PAGE];
	struct store *st = store_of(sizeof model);
	struct prng r = { 4 };

	for (unsigned i = 0; i < STEPS; i++) {
		uint64_t off = prng_below(&r, sizeof model);
		uint64_t len = 1 + prng_below(&r, MIN(sizeof model - off, 5 * PAGE));

		if (prng_chance(&r, 30)) {
			off &= ~(PAGE - 1);
			len = (len + PAGE - 1) & ~(PAGE - 1);
			len = MIN(len, sizeof model - off);
			assert_int_equal(store_punch(st, off, len), 0);
			memset(model + off, 0, len);
		} else {
			fill(buf, MIN(len, 64), i);
			store_write(st, off, buf, len);
			memcpy(model + off, buf, len);
		}
		assert_memory_equal(store_addr(st, off, len), model + off, len);
	}
	assert_memory_equal(store_addr(st, 0, sizeof model), model, sizeof model);
	store_free(st);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_written_is_read),
		cmocka_unit_test(writes_of_every_length),
		cmocka_unit_test(addresses_survive_growth),
		cmocka_unit_test(punched_pages_are_zero_and_free),
		cmocka_unit_test(shrinking_gives_memory_back),
		cmocka_unit_test(an_empty_store_grows),
		cmocka_unit_test(sparse_terabyte),
		cmocka_unit_test(random_writes_and_holes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
