/* SPDX-License-Identifier: Apache-2.0 */
/* Bucket borders, percentiles inside a bucket, and counts that survive many threads. */
#include "base/hist.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/macros.h"

static unsigned bucket_of_us(uint64_t us)
{
	static struct hist h;
	uint64_t bucket[VMOFS_LATENCY_BUCKETS];
	unsigned found = VMOFS_LATENCY_BUCKETS;

	h = (struct hist){ 0 };
	hist_add_ns(&h, us * 1000);
	hist_copy(&h, bucket);
	assert_int_equal(hist_count(bucket), 1);
	for (unsigned i = 0; i < VMOFS_LATENCY_BUCKETS; i++)
		if (bucket[i])
			found = i;
	return found;
}

static void buckets_are_half_octaves(void **state UNUSED)
{
	static const struct {
		uint64_t us;
		unsigned bucket;
	} expect[] = {
		{ 0, 0 },     { 1, 0 },        { 2, 2 },           { 3, 3 },           { 4, 4 },
		{ 5, 4 },     { 6, 5 },        { 7, 5 },           { 8, 6 },           { 11, 6 },
		{ 12, 7 },    { 1024, 20 },    { 1448, 20 },       { 1449, 21 },       { 2047, 21 },
		{ 2048, 22 }, { 1 << 20, 40 }, { 1518500249, 60 }, { 1518500250, 61 },
	};

	for (unsigned i = 0; i < ARRAY_LEN(expect); i++)
		assert_int_equal(bucket_of_us(expect[i].us), expect[i].bucket);
}

static void the_last_bucket_takes_the_rest(void **state UNUSED)
{
	assert_int_equal(bucket_of_us(UINT64_MAX / 1000), VMOFS_LATENCY_BUCKETS - 1);
}

static void percentiles_of_nothing_are_zero(void **state UNUSED)
{
	uint64_t bucket[VMOFS_LATENCY_BUCKETS] = { 0 };

	assert_true(hist_percentile_us(bucket, 50) == 0);
	assert_int_equal(hist_count(bucket), 0);
}

static void percentiles_interpolate(void **state UNUSED)
{
	uint64_t bucket[VMOFS_LATENCY_BUCKETS] = { [20] = 100 }; /* 1024 to 1448.15 us */
	double p50 = hist_percentile_us(bucket, 50);

	assert_true(p50 > 1235 && p50 < 1237);
	assert_true(hist_percentile_us(bucket, 100) < 1449);
	assert_true(hist_percentile_us(bucket, 1) < 1030);
}

/* 1 to 10000 us once each: every percentile is within half an octave of the truth, and ordered. */
static void percentiles_of_a_ramp(void **state UNUSED)
{
	static struct hist h;
	uint64_t bucket[VMOFS_LATENCY_BUCKETS];
	double last = 0;

	for (unsigned us = 1; us <= 10000; us++)
		hist_add_ns(&h, us * UINT64_C(1000));
	hist_copy(&h, bucket);
	for (unsigned p = 1; p <= 100; p++) {
		double got = hist_percentile_us(bucket, p);
		double want = p * 100.0;

		assert_true(got >= last);
		assert_true(got > want / 1.42 && got < want * 1.42);
		last = got;
	}
}

enum { N_THREADS = 4, N_ADDS = 50000 };

static void *add_many(void *arg)
{
	for (unsigned i = 0; i < N_ADDS; i++)
		hist_add_ns(arg, i * UINT64_C(1000));
	return NULL;
}

static void adding_is_atomic(void **state UNUSED)
{
	static struct hist h;
	uint64_t bucket[VMOFS_LATENCY_BUCKETS];
	pthread_t t[N_THREADS];

	for (unsigned i = 0; i < N_THREADS; i++)
		assert_int_equal(pthread_create(&t[i], NULL, add_many, &h), 0);
	for (unsigned i = 0; i < N_THREADS; i++)
		pthread_join(t[i], NULL);
	hist_copy(&h, bucket);
	assert_int_equal(hist_count(bucket), N_THREADS * N_ADDS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(buckets_are_half_octaves),
		cmocka_unit_test(the_last_bucket_takes_the_rest),
		cmocka_unit_test(percentiles_of_nothing_are_zero),
		cmocka_unit_test(percentiles_interpolate),
		cmocka_unit_test(percentiles_of_a_ramp),
		cmocka_unit_test(adding_is_atomic),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
