/* SPDX-License-Identifier: Apache-2.0 */
/* Index files: what is written is read, any bit that differs is noticed, and nothing fits where it does not belong. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/macros.h"
#include "store/cache_index.h"

static struct cache_header header_of(uint64_t size, size_t url)
{
	struct cache_header h = { .at = { .salt = UINT64_C(0x123456789abcdef0), .size = size } };

	memset(h.url, 'u', url);
	strcpy(h.validator, "\"etag\"");
	return h;
}

static void test_header_is_read_as_written(void **state)
{
	static const size_t urls[] = { 0, 1, 400, 453, 454, 455, 1000, CACHE_URL_MAX - 1 };
	uint8_t buf[CACHE_HEADER_MAX];

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(urls); i++) {
		struct cache_header h = header_of(77 + i, urls[i]), got;
		int n = cache_header_encode(&h, buf);

		assert_true(n > 0 && n % (int)CACHE_HEADER_STEP == 0);
		assert_int_equal(cache_header_decode(&got, buf, (size_t)n), 0);
		assert_string_equal(got.url, h.url);
		assert_string_equal(got.validator, h.validator);
		assert_int_equal(got.at.size, h.at.size);
		assert_int_equal(got.at.salt, h.at.salt);
		assert_int_equal(cache_header_decode(&got, buf, (size_t)n - 1), -EBADMSG);
	}
}

static void test_header_with_an_identity(void **state)
{
	static const size_t urls[] = { 0, 421, 422, 423, CACHE_URL_MAX - 1 };
	uint8_t plain[CACHE_HEADER_MAX], buf[CACHE_HEADER_MAX];

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(urls); i++) {
		struct cache_header h = header_of(77, urls[i]), got;
		int n;

		assert_true(cache_header_encode(&h, plain) > 0);
		assert_null(cache_header_identity(&h));
		h.has_identity = true;
		memset(h.identity, 0xa0 + (int)i, sizeof h.identity);
		n = cache_header_encode(&h, buf);
		assert_true(n > 0 && (size_t)n <= sizeof buf);
		assert_int_equal(cache_header_decode(&got, buf, (size_t)n), 0);
		assert_true(got.has_identity);
		assert_memory_equal(got.identity, h.identity, sizeof h.identity);
		assert_string_equal(got.url, h.url);
		assert_string_equal(got.validator, h.validator);
		/* Those without one are as they always were. */
		assert_int_equal(plain[8], 1);
		assert_int_equal(buf[8], 2);
	}
}

static void test_every_bit_of_a_header_counts(void **state)
{
	struct cache_header h = header_of(MIB(3), 100), got;
	uint8_t buf[CACHE_HEADER_MAX];
	int n = cache_header_encode(&h, buf);

	(void)state;
	for (int bit = 0; bit < 8 * n; bit++) {
		buf[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_int_equal(cache_header_decode(&got, buf, (size_t)n), -EBADMSG);
		buf[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
}

static void test_what_cannot_be_kept(void **state)
{
	uint8_t buf[CACHE_HEADER_MAX];
	struct cache_header h = header_of(0, 1);

	(void)state;
	assert_int_equal(cache_header_encode(&h, buf), -EINVAL);
	h = header_of(CACHE_SIZE_MAX + 1, 1);
	assert_int_equal(cache_header_encode(&h, buf), -EINVAL);
	h = header_of(1, CACHE_URL_MAX);
	assert_int_equal(cache_header_encode(&h, buf), -EINVAL);
}

static struct cache_record record_of(unsigned seed)
{
	struct cache_record r = { .hits = seed, .used_sec = UINT64_C(1) << 40 | seed };

	for (unsigned i = 0; i < CACHE_SEG_PAGES; i++) {
		if (i * seed % 7 < 4)
			bits_set(r.present, i);
		r.crc[i] = i * 2654435761u + seed;
	}
	return r;
}

static void test_records(void **state)
{
	static const uint64_t sizes[] = { 1, 4096, 4097, MIB(2) - 1, MIB(2), MIB(2) + 1, MIB(9) };

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(sizes); i++) {
		struct cache_layout at = { .salt = 99, .size = sizes[i], .len = 512 };
		uint64_t last = cache_segments_of(at.size) - 1;
		uint32_t pages = cache_segment_pages(at.size, last);
		struct cache_record r = record_of(i + 1), got;
		uint8_t buf[CACHE_RECORD_MAX];

		cache_record_encode(&at, last, &r, buf);
		assert_int_equal(cache_record_decode(&at, last, buf, sizeof buf, &got), 0);
		assert_int_equal(got.hits, r.hits);
		assert_int_equal(got.used_sec, r.used_sec);
		for (uint32_t p = 0; p < CACHE_SEG_PAGES; p++) {
			assert_int_equal(bits_has(got.present, p),
					 p < pages && bits_has(r.present, p));
			if (bits_has(got.present, p))
				assert_int_equal(got.crc[p], r.crc[p]);
		}
		/* Another place, another file. */
		assert_int_equal(cache_record_decode(&at, last + 1, buf, sizeof buf, &got),
				 -EBADMSG);
		at.salt++;
		assert_int_equal(cache_record_decode(&at, last, buf, sizeof buf, &got), -EBADMSG);
		assert_int_equal(bits_count(got.present, CACHE_SEG_WORDS), 0);
	}
}

static void test_every_bit_of_a_record_counts(void **state)
{
	struct cache_layout at = { .salt = 5, .size = MIB(4), .len = 512 };
	struct cache_record r = record_of(3), got;
	uint8_t buf[CACHE_RECORD_MAX], zeros[CACHE_RECORD_MAX] = { 0 };

	(void)state;
	cache_record_encode(&at, 1, &r, buf);
	for (unsigned bit = 0; bit < 8 * sizeof buf; bit += 3) {
		buf[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_int_equal(cache_record_decode(&at, 1, buf, sizeof buf, &got), -EBADMSG);
		buf[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	assert_int_equal(cache_record_decode(&at, 1, buf, sizeof buf - 1, &got), -EBADMSG);
	assert_int_equal(cache_record_decode(&at, 1, zeros, sizeof zeros, &got), -ENODATA);
	assert_int_equal(cache_record_decode(&at, 1, NULL, 0, &got), -ENODATA);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_header_is_read_as_written),
		cmocka_unit_test(test_header_with_an_identity),
		cmocka_unit_test(test_every_bit_of_a_header_counts),
		cmocka_unit_test(test_what_cannot_be_kept),
		cmocka_unit_test(test_records),
		cmocka_unit_test(test_every_bit_of_a_record_counts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
