/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The HTTP provider on a server that behaves: every size and offset, what is asked for on the
 * wire, coalescing, splitting, order of classes, cancel, narrowing, 10,000 reads at once.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/macros.h"
#include "lib/httpd.h"
#include "lib/sink.h"

#define PAGE VMOFS_PAGE_SIZE

static bool content_ok(struct sink *s, uint64_t off, uint64_t len)
{
	uint64_t size = sink_info(s)->size;

	return httpd_is(sink_bytes(s) + off, off, MIN(len, size - off), 0);
}

static void read_everything(uint64_t size)
{
	struct httpd *h = httpd_new(size, NULL);
	struct sink *s = sink_must_open(httpd_url(h, "/some%20dir/na%6De.bin?x=1"), NULL, 2);
	uint64_t pages = (size + PAGE - 1) / PAGE;

	assert_int_equal(sink_info(s)->size, size);
	assert_string_equal(sink_info(s)->name, "name.bin");
	assert_false(sink_info(s)->weak);
	if (pages > 0) {
		assert_string_equal(sink_info(s)->validator, "\"v0\"");
		assert_int_equal(sink_info(s)->mtime.tv_sec, 1000000000);
		assert_int_equal(sink_read(s, (pages - 1) * PAGE, PAGE), 0);
		if (pages > 1)
			assert_int_equal(sink_read(s, 0, (pages - 1) * PAGE), 0);
		assert_true(content_ok(s, 0, size));
		assert_int_equal(sink_supplied(s), size);
	}
	sink_close(s);
	httpd_free(h);
}

static void test_all_sizes(void **state UNUSED)
{
	static const uint64_t sizes[] = { 0,     1,     4095,    4096,          4097,
					  10000, 65536, 1048577, (9 << 20) + 5, 33 << 20 };

	for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
		read_everything(sizes[i]);
}

static void test_offsets_beyond_32_bits(void **state UNUSED)
{
	uint64_t size = (UINT64_C(1) << 36) + 123;
	struct httpd *h = httpd_new(size, NULL);
	struct sink *s = sink_must_open(httpd_url(h, "/huge"), NULL, 1);
	static const uint64_t offs[] = { UINT64_C(1) << 32, (UINT64_C(1) << 32) - PAGE,
					 UINT64_C(1) << 35, UINT64_C(1) << 36 };

	for (size_t i = 0; i < ARRAY_LEN(offs); i++) {
		assert_int_equal(sink_read(s, offs[i], PAGE), 0);
		assert_true(content_ok(s, offs[i], PAGE));
	}
	sink_close(s);
	httpd_free(h);
}

static void test_a_miss_is_one_exact_range(void **state UNUSED)
{
	struct httpd *h = httpd_new(1 << 20, NULL);
	struct sink *s = sink_must_open(httpd_url(h, "/object"), NULL, 2);
	struct vmofs_provider_stats stats;
	struct httpd_entry e;

	assert_int_equal(sink_read(s, 5 * PAGE, PAGE), 0);
	assert_int_equal(httpd_requests(h), 2); /* the probe was the first */
	assert_true(httpd_entry(h, 0, &e));
	assert_true(e.has_range && e.first == 0 && e.last == 0);
	assert_string_equal(e.if_match, "");
	assert_true(httpd_entry(h, 1, &e));
	assert_string_equal(e.method, "GET");
	assert_true(e.has_range && e.first == 5 * PAGE && e.last == 6 * PAGE - 1);
	assert_string_equal(e.if_match, "\"v0\"");
	assert_string_equal(e.accept_encoding, "identity");
	assert_memory_equal(e.user_agent, "vmofs/", 6);
	sink_stats(s, &stats);
	assert_int_equal(stats.requests, 2);
	assert_int_equal(stats.bytes_fetched, PAGE);
	assert_int_equal(stats.bytes_discarded, 0);
	assert_int_equal(stats.retries, 0);
	assert_int_equal(stats.in_flight, 0);
	sink_close(s);
	httpd_free(h);
}

static void test_connections_are_used_again(void **state UNUSED)
{
	struct httpd *h = httpd_new(1 << 20, NULL);
	struct sink *s = sink_must_open(httpd_url(h, "/object"), NULL, 1);

	for (uint64_t i = 0; i < 100; i++)
		assert_int_equal(sink_read(s, i * PAGE, PAGE), 0);
	assert_int_equal(httpd_connections(h), 2); /* one of the probe, one of the loop */
	assert_true(content_ok(s, 0, 100 * PAGE));
	sink_close(s);
	httpd_free(h);
}

/* The ranges asked for while the server stood still, in the order in which they were asked. */
static void read_while_busy(struct httpd *h, struct sink *s, const uint64_t (*pages)[2], unsigned n)
{
	struct sink_read *r[8];
	uint64_t before = httpd_requests(h);

	assert_true(n < ARRAY_LEN(r));
	httpd_set(h, "freeze=1");
	r[n] = sink_send(s, 0, PAGE, VMOFS_CLASS_DEMAND, 0);
	httpd_wait_requests(h, before + 1);
	for (unsigned i = 0; i < n; i++)
		r[i] = sink_send(s, pages[i][0] * PAGE, pages[i][1] * PAGE, VMOFS_CLASS_DEMAND, 0);
	httpd_set(h, "freeze=0");
	for (unsigned i = 0; i <= n; i++)
		assert_int_equal(sink_wait(r[i]), 0);
	sink_evict(s, 0, PAGE);
}

/* Where a request costs more than the bytes between two pieces, they are read too; up to a share. */
static void test_small_gaps_are_read_over(void **state UNUSED)
{
	static const uint64_t near[][2] = { { 5000, 20 }, { 5025, 20 }, { 5046, 4 } };
	static const uint64_t wide[][2] = { { 6000, 20 }, { 6033, 20 } };
	struct httpd *h = httpd_new(MIB(64), NULL);
	struct sink *s =
		sink_must_open(httpd_url(h, "/object"), "connections=1,hedge=0,part-size=32M", 1);
	struct httpd_entry e;
	uint64_t n;

	httpd_set(
		h,
		"delay=50"); /* to the end: a busy machine reads in many parts, and learns of each */
	assert_int_equal(sink_read(s, MIB(1), PAGE), 0);
	assert_int_equal(sink_read(s, MIB(2), PAGE), 0);
	assert_int_equal(sink_read(s, MIB(32), MIB(32)), 0);
	n = httpd_requests(h);
	read_while_busy(h, s, near, ARRAY_LEN(near));
	assert_int_equal(httpd_requests(h), n + 2);
	assert_true(httpd_entry(h, n + 1, &e));
	assert_int_equal(e.first, 5000 * PAGE);
	assert_int_equal(e.last, 5050 * PAGE - 1);
	assert_true(content_ok(s, 5000 * PAGE, 50 * PAGE));
	read_while_busy(h, s, wide, ARRAY_LEN(wide)); /* 13 pages to 40 */
	assert_int_equal(httpd_requests(h), n + 5);
	sink_close(s);
	httpd_free(h);
}

/* While the only connection is busy, what is queued grows together. */
static void test_neighbours_become_one_request(void **state UNUSED)
{
	struct httpd *h = httpd_new(1 << 20, NULL);
	struct sink *s = sink_must_open(httpd_url(h, "/object"), "connections=1", 1);
	struct sink_read *r[9];
	struct httpd_entry e;

	httpd_set(h, "silent=0&freeze=1");
	r[0] = sink_send(s, 100 * PAGE, PAGE, VMOFS_CLASS_DEMAND, 0);
	httpd_wait_requests(h, 2);
	for (unsigned i = 1; i < 9; i++) /* in an order of their own */
		r[i] = sink_send(s, (i * 3 % 8) * PAGE, PAGE, VMOFS_CLASS_DEMAND, 0);
	httpd_set(h, "freeze=0");
	for (unsigned i = 0; i < 9; i++)
		assert_int_equal(sink_wait(r[i]), 0);
	assert_true(httpd_entry(h, 2, &e));
	assert_int_equal(e.first, 3 * PAGE); /* the one that waited longest begins */
	assert_int_equal(e.last, 8 * PAGE - 1);
	assert_true(httpd_entry(h, 3, &e));
	assert_int_equal(e.first, PAGE);
	assert_int_equal(e.last, 3 * PAGE - 1);
	assert_int_equal(httpd_requests(h), 5);
	assert_true(content_ok(s, 0, 8 * PAGE));
	sink_close(s);
	httpd_free(h);
}

static void test_large_reads_use_many_connections(void **state UNUSED)
{
	struct httpd *h = httpd_new(64 << 20, NULL);
	struct sink *s = sink_must_open(httpd_url(h, "/object"), "connections=4", 1);
	struct vmofs_provider_stats st;

	assert_int_equal(sink_read(s, 0, 64 << 20), 0);
	assert_true(content_ok(s, 0, 64 << 20));
	/* Where the machine does nothing for a while, what does not come is asked for a second time. */
	sink_stats(s, &st);
	assert_in_range(httpd_connections(h), 1 + 4, 1 + 4 + st.hedges);
	/* Parts have 1 MiB, or 512 KiB where a busy machine is like a far one. */
	assert_in_range(httpd_requests(h), 1 + 8, 1 + 128 + st.hedges);
	sink_close(s);
	httpd_free(h);
}

static void test_demand_overtakes_prefetch(void **state UNUSED)
{
	struct httpd *h = httpd_new(1 << 20, NULL);
	struct sink *s = sink_must_open(httpd_url(h, "/object"), "connections=1", 1);
	struct sink_read *pre[3], *demand;
	struct httpd_entry e;

	httpd_set(h, "freeze=1");
	pre[0] = sink_send(s, 0, PAGE, VMOFS_CLASS_PREFETCH, 0);
	httpd_wait_requests(h, 2);
	pre[1] = sink_send(s, 10 * PAGE, PAGE, VMOFS_CLASS_PREFETCH, 0);
	pre[2] = sink_send(s, 20 * PAGE, PAGE, VMOFS_CLASS_PREFETCH, 0);
	demand = sink_send(s, 30 * PAGE, PAGE, VMOFS_CLASS_DEMAND, 0);
	sink_promote(pre[2], 0);
	httpd_set(h, "freeze=0");
	assert_int_equal(sink_wait(demand), 0);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(sink_wait(pre[i]), 0);
	assert_true(httpd_entry(h, 2, &e));
	assert_int_equal(e.first, 30 * PAGE);
	assert_true(httpd_entry(h, 3, &e));
	assert_int_equal(e.first, 20 * PAGE);
	assert_true(httpd_entry(h, 4, &e));
	assert_int_equal(e.first, 10 * PAGE);
	sink_close(s);
	httpd_free(h);
}

static void test_prefetch_leaves_room_for_demand(void **state UNUSED)
{
	struct httpd *h = httpd_new(1 << 20, NULL);
	struct sink *s = sink_must_open(httpd_url(h, "/object"), "connections=8", 1);
	struct sink_read *pre[20], *demand;

	httpd_set(h, "freeze=1");
	for (unsigned i = 0; i < 20; i++)
		pre[i] = sink_send(s, i * 2 * PAGE, PAGE, VMOFS_CLASS_PREFETCH, 0);
	httpd_wait_requests(h, 1 + 6);
	demand = sink_send(s, 100 * PAGE, PAGE, VMOFS_CLASS_DEMAND, 0);
	httpd_wait_requests(h, 1 + 7);
	httpd_set(h, "freeze=0");
	assert_int_equal(sink_wait(demand), 0);
	for (unsigned i = 0; i < 20; i++)
		assert_int_equal(sink_wait(pre[i]), 0);
	sink_close(s);
	httpd_free(h);
}

static void test_cancel_of_what_waits(void **state UNUSED)
{
	struct httpd *h = httpd_new(1 << 20, NULL);
	struct sink *s = sink_must_open(httpd_url(h, "/object"), "connections=1", 1);
	struct sink_read *first, *second;

	httpd_set(h, "freeze=1");
	first = sink_send(s, 0, PAGE, VMOFS_CLASS_DEMAND, 0);
	httpd_wait_requests(h, 2);
	second = sink_send(s, 50 * PAGE, PAGE, VMOFS_CLASS_DEMAND, 0);
	sink_cancel(second);
	assert_int_equal(sink_wait(second), -ECANCELED);
	httpd_set(h, "freeze=0");
	assert_int_equal(sink_wait(first), 0);
	assert_int_equal(httpd_requests(h), 2);
	sink_close(s);
	httpd_free(h);
}

/* A large transfer that nobody wants is cut; the connection is free for somebody else. */
static void test_cancel_of_what_runs(void **state UNUSED)
{
	struct httpd *h = httpd_new(64 << 20, NULL);
	struct sink *s = sink_must_open(httpd_url(h, "/object"), "connections=1", 1);
	struct sink_read *big;

	httpd_set(h, "stall=1");
	big = sink_send(s, 0, 8 << 20, VMOFS_CLASS_DEMAND, 0);
	httpd_wait_requests(h, 2);
	sink_cancel(big);
	assert_int_equal(sink_wait(big), -ECANCELED);
	httpd_set(h, "stall=0");
	assert_int_equal(sink_read(s, 32 << 20, PAGE), 0);
	assert_true(content_ok(s, 32 << 20, PAGE));
	sink_close(s);
	httpd_free(h);
}

static void test_narrowing(void **state UNUSED)
{
	struct httpd *h = httpd_new(1 << 20, NULL);
	struct sink *s = sink_must_open(httpd_url(h, "/object"), "connections=1", 1);
	struct sink_read *busy, *waiting;
	struct httpd_entry e;

	httpd_set(h, "freeze=1");
	busy = sink_send(s, 0, 16 * PAGE, VMOFS_CLASS_DEMAND, 0);
	httpd_wait_requests(h, 2);
	waiting = sink_send(s, 100 * PAGE, 50 * PAGE, VMOFS_CLASS_DEMAND, 0);
	sink_narrow(waiting, 110 * PAGE, 5 * PAGE);
	sink_narrow(busy, 8 * PAGE, PAGE);
	httpd_set(h, "freeze=0");
	assert_int_equal(sink_wait(waiting), 0);
	assert_int_equal(sink_wait(busy), 0);
	assert_true(httpd_entry(h, 2, &e));
	assert_int_equal(e.first, 110 * PAGE);
	assert_int_equal(e.last, 115 * PAGE - 1);
	assert_true(content_ok(s, 8 * PAGE, PAGE));
	assert_true(content_ok(s, 110 * PAGE, 5 * PAGE));
	sink_close(s);
	httpd_free(h);
}

static void test_close_with_reads_outstanding(void **state UNUSED)
{
	struct httpd *h = httpd_new(64 << 20, NULL);
	struct sink *s = sink_must_open(httpd_url(h, "/object"), NULL, 2);
	struct sink_read *r[40];

	httpd_set(h, "stall=1");
	for (unsigned i = 0; i < 40; i++)
		r[i] = sink_send(s, i * (UINT64_C(1) << 20), 1 << 20, VMOFS_CLASS_DEMAND, 0);
	httpd_wait_requests(h, 3);
	for (unsigned i = 0; i < 40; i += 2)
		sink_cancel(r[i]);
	for (unsigned i = 0; i < 40; i += 2)
		sink_wait(r[i]); /* a neighbour's transfer may have brought it all the same */
	for (unsigned i = 1; i < 40; i += 2)
		sink_cancel(r[i]);
	for (unsigned i = 1; i < 40; i += 2)
		sink_wait(r[i]);
	sink_close(s);
	httpd_free(h);
}

static void count_done(void *arg, int code)
{
	atomic_uint *left = arg;

	assert_int_equal(code, 0);
	atomic_fetch_sub(left, 1);
}

static void test_ten_thousand_reads_at_once(void **state UNUSED)
{
	struct httpd *h = httpd_new(UINT64_C(10000) * 2 * PAGE, NULL);
	struct sink *s = sink_must_open(httpd_url(h, "/object"), NULL, 2);
	static atomic_uint left;
	struct sink_read *last;

	left = 9999;
	httpd_set(h, "freeze=1");
	for (uint64_t i = 0; i < 9999; i++)
		sink_send_cb(s, i * 2 * PAGE, PAGE, count_done, &left);
	last = sink_send(s, UINT64_C(9999) * 2 * PAGE, PAGE, VMOFS_CLASS_PREFETCH, 0);
	httpd_set(h, "freeze=0");
	assert_int_equal(sink_wait(last), 0); /* behind all the demand */
	while (atomic_load(&left) > 0) {
		struct sink_read *r = sink_send(s, PAGE, PAGE, VMOFS_CLASS_PREFETCH, 0);

		sink_wait(r);
		sink_evict(s, PAGE, PAGE);
	}
	for (uint64_t i = 0; i < 10000; i += 97)
		assert_true(content_ok(s, i * 2 * PAGE, PAGE));
	sink_close(s);
	httpd_free(h);
}

static void test_core_without_room(void **state UNUSED)
{
	struct httpd *h = httpd_new(1 << 20, NULL);
	struct sink *s = sink_must_open(httpd_url(h, "/object"), "timeout=1s", 1);
	struct sink_read *r;

	sink_refuse(s, 1, -ENOMEM);
	assert_int_equal(sink_read(s, 0, PAGE), -ENOBUFS);
	r = sink_send(s, 0, PAGE, VMOFS_CLASS_DEMAND, 0);
	sink_refuse(s, 1, 0);
	assert_int_equal(sink_wait(r), 0);
	sink_close(s);
	httpd_free(h);
}

/* Many threads send, cancel and promote at once; meant for the sanitizers. */
static void *storm_main(void *arg)
{
	struct sink *s = ((void **)arg)[0];
	uint64_t base = (uint64_t)(uintptr_t)((void **)arg)[1];

	for (uint64_t i = 0; i < 150; i++) {
		uint64_t off = (base * 1024 + i * 4) * PAGE;
		struct sink_read *r = sink_send(s, off, 4 * PAGE, i & 1, 0);
		int code;

		if (i % 5 == 1)
			sink_promote(r, 0);
		if (i % 7 == 2)
			sink_narrow(r, off + PAGE, PAGE);
		if (i % 3 == 0)
			sink_cancel(r);
		code = sink_wait(r);
		assert_true(code == 0 || code == -ECANCELED);
	}
	return NULL;
}

static void test_storm(void **state UNUSED)
{
	struct httpd *h = httpd_new(UINT64_C(4) * 1024 * PAGE, NULL);
	struct sink *s = sink_must_open(httpd_url(h, "/object"), "connections=6", 3);
	void *args[4][2];
	pthread_t t[4];

	for (uintptr_t i = 0; i < 4; i++) {
		args[i][0] = s;
		args[i][1] = (void *)i;
		assert_int_equal(pthread_create(&t[i], NULL, storm_main, args[i]), 0);
	}
	for (unsigned i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	sink_close(s);
	httpd_free(h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_sizes),
		cmocka_unit_test(test_offsets_beyond_32_bits),
		cmocka_unit_test(test_a_miss_is_one_exact_range),
		cmocka_unit_test(test_connections_are_used_again),
		cmocka_unit_test(test_small_gaps_are_read_over),
		cmocka_unit_test(test_neighbours_become_one_request),
		cmocka_unit_test(test_large_reads_use_many_connections),
		cmocka_unit_test(test_demand_overtakes_prefetch),
		cmocka_unit_test(test_prefetch_leaves_room_for_demand),
		cmocka_unit_test(test_cancel_of_what_waits),
		cmocka_unit_test(test_cancel_of_what_runs),
		cmocka_unit_test(test_narrowing),
		cmocka_unit_test(test_close_with_reads_outstanding),
		cmocka_unit_test(test_ten_thousand_reads_at_once),
		cmocka_unit_test(test_core_without_room),
		cmocka_unit_test(test_storm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
